//! The guests' machine code: asm/*.s, assembled once and kept beside it, so that nobody needs an
//! assembler. Where one is, a test assembles the sources and compares.

use crate::job::{GuestJob, timer};
use std::time::Duration;

/// A guest's machine code, before it is told its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareImage {
    /// A multiboot image for `pc` and `q35` (asm/x86.s).
    X86,
    /// An arm64 Image for `virt` (asm/aarch64.s).
    Aarch64,
    /// Firmware for `virt` on riscv64 (asm/riscv64.s).
    Riscv64,
}

impl BareImage {
    /// The machine code with all words of its job zero.
    pub fn code(self) -> &'static [u8] {
        match self {
            Self::X86 => include_bytes!("../asm/x86.bin"),
            Self::Aarch64 => include_bytes!("../asm/aarch64.bin"),
            Self::Riscv64 => include_bytes!("../asm/riscv64.bin"),
        }
    }

    /// A firmware of 64 KiB, up to 4 GiB, that puts an x86 image where its loader would and enters it.
    pub fn firmware(image: &[u8]) -> Vec<u8> {
        let mut flash = image.to_vec();
        flash.resize((64 << 10) - Self::RESET.len(), 0xff);
        [&flash, Self::RESET].concat()
    }

    /// The end of that firmware, in which an x86 processor begins (asm/firmware.s).
    pub const RESET: &[u8] = include_bytes!("../asm/firmware.bin");

    /// The page size in bytes of all that the guest does: its own choice.
    pub const PAGE: u64 = 4096;

    /// The guest-physical address of its [`crate::Report`].
    pub fn report(self) -> u64 {
        match self {
            Self::X86 => 0x11_1000,
            Self::Aarch64 => 0x4008_8000,
            Self::Riscv64 => 0x8000_8000,
        }
    }

    /// Where its RAM begins, guest-physical.
    pub fn ram(self) -> u64 {
        match self {
            Self::X86 => 0,
            Self::Aarch64 => 0x4000_0000,
            Self::Riscv64 => 0x8000_0000,
        }
    }

    /// The image that does this job; `None` if this architecture's can't.
    pub fn with(self, job: GuestJob) -> Option<Vec<u8>> {
        let micros = |pace: Duration| u32::try_from(pace.as_micros()).ok();
        let ticks = |pace: Duration| u32::try_from(pace.as_nanos().checked_mul(2)?).ok();
        let words = match (self, job) {
            (_, GuestJob::Idle) => vec![0],
            (_, GuestJob::Write { base, pages }) => vec![1, base, pages],
            (Self::X86, GuestJob::ReadDisk { base, pages, sectors }) => {
                vec![2, base, pages, 0, sectors]
            }
            (Self::X86, GuestJob::Reset { base, pages, seconds }) => {
                vec![3, base, pages, 0, 0, seconds]
            }
            (Self::X86, GuestJob::FrameBuffer { pages }) => vec![4, 0, pages],
            (Self::X86, GuestJob::Flash { base, pages }) => vec![8, base, pages],
            (Self::Aarch64, GuestJob::Flash { base, pages }) => vec![4, base, pages],
            (Self::Aarch64 | Self::Riscv64, GuestJob::Touch { pace }) => {
                vec![2, 0, 0, micros(pace)?]
            }
            (Self::Aarch64 | Self::Riscv64, GuestJob::TouchByWriting { pace }) => {
                vec![3, 0, 0, micros(pace)?]
            }
            (Self::X86, GuestJob::Touch { pace }) => vec![5, 0, 0, ticks(pace)?],
            (Self::X86, GuestJob::TouchByWriting { pace }) => vec![6, 0, 0, ticks(pace)?],
            (Self::X86, GuestJob::Batches { base, pages, batch, interval }) => {
                let whole = batch > 0 && batch % 8 == 0 && pages % batch == 0;
                let stride = pages.checked_div(batch)?.checked_mul(Self::PAGE as u32)?;
                vec![7, base, pages, timer(interval).filter(|_| whole)?, 0, 0, stride]
            }
            _ => return None,
        };
        let mut image = self.code().to_vec();
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let job = self.job();
        image.get_mut(job..job + bytes.len())?.copy_from_slice(&bytes);
        Some(image)
    }

    /// For a guest of [`GuestJob::Batches`] that runs: where in its memory its pace lies, guest-physical,
    /// and the word to write there for this interval. `None`: there is none.
    pub fn pace(self, interval: Duration) -> Option<(u64, u32)> {
        /// Where the loader puts the image.
        const ORIGIN: u64 = 0x10_0000;
        match self {
            Self::X86 => Some((ORIGIN + self.job() as u64 + 12, timer(interval)?)),
            Self::Aarch64 | Self::Riscv64 => None,
        }
    }

    /// Where the words of the job begin in the image.
    fn job(self) -> usize {
        match self {
            Self::X86 => 0x20,
            Self::Aarch64 | Self::Riscv64 => 0x40,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_written_where_the_code_looks_for_it() {
        let image = BareImage::X86.with(GuestJob::Write { base: 0x0123_4567, pages: 9 }).unwrap();
        assert_eq!(image[0x20..0x2c], [1, 0, 0, 0, 0x67, 0x45, 0x23, 0x01, 9, 0, 0, 0]);
        assert_eq!(image[..0x20], BareImage::X86.code()[..0x20]);
        assert_eq!(image[0x2c..], BareImage::X86.code()[0x2c..]);
        let touch = GuestJob::Touch { pace: Duration::from_millis(4) };
        let image = BareImage::Aarch64.with(touch).unwrap();
        assert_eq!(image[0x4c..0x50], 4000u32.to_le_bytes());
    }

    #[test]
    fn a_firmware_has_the_guest_first_and_the_reset_vector_last() {
        let image = BareImage::X86.code();
        let firmware = BareImage::firmware(image);
        assert_eq!(firmware.len(), 64 << 10);
        assert!(firmware.starts_with(image) && firmware.ends_with(BareImage::RESET));
        // A jump, 16 bytes before the end.
        assert_eq!(firmware[firmware.len() - 16], 0xe9);
    }

    #[test]
    fn an_interval_is_as_few_ticks_of_the_timer_as_can_be() {
        let ms = |ms: f64| timer(Duration::from_secs_f64(ms / 1e3));
        assert_eq!(ms(1.0), Some(1 << 16 | 1193));
        assert_eq!(ms(54.0), Some(1 << 16 | 64431));
        assert_eq!(ms(100.0), Some(2 << 16 | 59659));
        assert_eq!((ms(0.0), ms(1e9)), (None, None));
        let batches = |pages, batch| {
            let interval = Duration::from_millis(20);
            BareImage::X86.with(GuestJob::Batches { base: 1 << 28, pages, batch, interval })
        };
        let image = batches(65536, 2048).unwrap();
        assert_eq!(image[0x38..0x3c], (32 * 4096_u32).to_le_bytes());
        let (at, pace) = BareImage::X86.pace(Duration::from_millis(20)).unwrap();
        assert_eq!((at, &image[0x2c..0x30]), (0x10_002c, &pace.to_le_bytes()[..]));
        assert_eq!(
            (batches(65536, 0), batches(65536, 4), batches(65535, 2048)),
            (None, None, None)
        );
    }

    #[test]
    fn what_an_architecture_can_not_do_is_no_image() {
        assert_eq!(BareImage::Aarch64.with(GuestJob::FrameBuffer { pages: 1 }), None);
        let disk = GuestJob::ReadDisk { base: 0, pages: 2, sectors: 16 };
        assert_eq!(BareImage::Riscv64.with(disk), None);
        let hours = GuestJob::Touch { pace: Duration::from_secs(7200) };
        assert_eq!(BareImage::Aarch64.with(hours), None, "more than fits the word");
    }

    #[test]
    fn no_job_is_left_over_in_the_code() {
        for image in [BareImage::X86, BareImage::Aarch64, BareImage::Riscv64] {
            let job = &image.code()[image.job()..image.job() + 16];
            assert!(job.iter().all(|&byte| byte == 0), "{image:?}");
        }
    }
}
