//! A QEMU with a bare-metal guest in it: everything that its command line says, in one place.

use crate::image::BareImage;
use crate::job::GuestJob;
#[cfg(doc)]
use crate::report::Report;
use crate::version::{ReleaseVersion, VersionError};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU translates it.
    Tcg,
    /// The host's CPU and kernel.
    Kvm,
    /// The same, with the log as a ring of 4,096 pages for each CPU (QEMU 6.1 and later).
    KvmRing,
}

/// A QEMU with a bare-metal guest in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareMachine {
    /// The QEMU to run: by default Debian's and everybody's name for it.
    pub program: PathBuf,
    /// The guest's machine code.
    pub image: BareImage,
    /// What the guest does.
    pub job: GuestJob,
    /// The machine type.
    pub machine: Cow<'static, str>,
    /// Who runs the guest's code.
    pub accelerator: Accelerator,
    /// The CPU model; `None`: the machine's own.
    pub cpu: Option<&'static str>,
    /// Main RAM in MiB.
    pub memory: u32,
    /// The size in MiB of another RAMBlock that is made before main RAM, so that main RAM lies behind
    /// it in QEMU's ram offsets (an `ivshmem-plain`); `None`: main RAM is the first block.
    pub before: Option<u32>,
    /// Arguments that are added.
    pub arguments: Vec<&'static str>,
}

/// The names of a machine's files in its folder.
const IMAGE: &str = "guest.img";
const DISK: &str = "disk.img";
const FLASH: &str = "flash.img";

/// Where the second flash of a `pc` or `q35` lies: below the first, which ends at 4 GiB.
pub(crate) const X86_FLASH: Range<u64> = 0xfffb_0000..0xffff_0000;
/// Where that of `virt` on aarch64 begins.
pub(crate) const AARCH64_FLASH: u64 = 0x0400_0000;

/// Why a machine can't be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The guest can't do the job.
    #[error("a guest of {image:?} can't do {job:?}")]
    NoJob {
        /// The guest's machine code.
        image: BareImage,
        /// The job.
        job: GuestJob,
    },
    /// A file can't be written.
    #[error("{path}: {errno}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        errno: io::Error,
    },
}

impl BareMachine {
    /// A guest in the plainest machine of its architecture: TCG, main RAM of 64 MiB as the first
    /// RAMBlock, no device that the machine type can do without.
    pub fn new(image: BareImage, job: GuestJob) -> Self {
        let (program, machine, cpu) = match image {
            BareImage::X86 => ("qemu-system-x86_64", "pc", None),
            BareImage::Aarch64 => ("qemu-system-aarch64", "virt", Some("cortex-a72")),
            BareImage::Riscv64 => ("qemu-system-riscv64", "virt", None),
        };
        Self {
            program: program.into(),
            image,
            job,
            machine: machine.into(),
            accelerator: Accelerator::Tcg,
            cpu,
            memory: 64,
            before: None,
            arguments: Vec::new(),
        }
    }

    /// Which QEMU it is.
    pub fn version(&self) -> Result<ReleaseVersion, VersionError> {
        ReleaseVersion::of(&self.program)
    }

    /// What the CPU's page-table walker has to update by itself ([`Report::walker`]); where it updates
    /// less, the guest's fault handler does the rest, and the machine shows nothing of its walker.
    pub fn required_walker(&self) -> u64 {
        match (self.image, self.cpu, self.job) {
            (BareImage::Aarch64, Some("max"), GuestJob::Touch { .. }) => 1,
            (BareImage::Aarch64, Some("max"), GuestJob::TouchByWriting { .. }) => 2,
            _ => 0,
        }
    }

    /// Main RAM's RAMBlock, by QEMU's name.
    pub fn main_block(&self) -> &'static str {
        match (self.before, self.image) {
            (Some(_), _) => "main",
            (None, BareImage::X86) => "pc.ram",
            (None, BareImage::Aarch64) => "mach-virt.ram",
            (None, BareImage::Riscv64) => "riscv_virt_board.ram",
        }
    }

    /// The command that starts it, with QMP listening on the socket. Writes its files into the folder.
    pub fn command(&self, qmp_socket: &Path, folder: &Path) -> Result<Command, PrepareError> {
        self.prepare(folder)?;
        Ok(self.prepared_command(qmp_socket, folder))
    }

    /// Writes the guest's image into the folder, and the disk or the flash if it has one.
    pub fn prepare(&self, folder: &Path) -> Result<(), PrepareError> {
        let code = self
            .image
            .with(self.job)
            .ok_or(PrepareError::NoJob { image: self.image, job: self.job })?;
        match self.job {
            GuestJob::ReadDisk { sectors, .. } => {
                write(&folder.join(DISK), &noise(sectors as usize * 512))?;
            }
            GuestJob::Flash { .. } => {
                let path = folder.join(FLASH);
                let made = File::create(&path).and_then(|file| file.set_len(self.flash_bytes()));
                made.map_err(|errno| PrepareError::File { path, errno })?;
            }
            _ => {}
        }
        let is_firmware =
            matches!(self.job, GuestJob::Flash { .. }) && self.image == BareImage::X86;
        let code = if is_firmware { BareImage::firmware(&code) } else { code };
        write(&folder.join(IMAGE), &code)
    }

    /// The flash that a guest of [`GuestJob::Flash`] programs, in the folder of its files.
    pub fn flash_in(folder: &Path) -> PathBuf {
        folder.join(FLASH)
    }

    /// The size of its second flash: `virt` has one of this size, `pc` and `q35` one of its file's.
    fn flash_bytes(&self) -> u64 {
        if self.image == BareImage::X86 { X86_FLASH.end - X86_FLASH.start } else { 64 << 20 }
    }

    /// The command that starts it, with its files in the folder already.
    pub fn prepared_command(&self, qmp_socket: &Path, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        let backend = if self.before.is_some() { ",memory-backend=main" } else { "" };
        command.args(["-M", &format!("{}{backend}", self.machine)]);
        command.args(["-accel", self.accelerator.name()]);
        if let Some(cpu) = self.cpu {
            command.args(["-cpu", cpu]);
        }
        command.args(["-m", &format!("{}M", self.memory)]);
        if let Some(before) = self.before {
            command.args(["-object", &format!("memory-backend-ram,id=first,size={before}M")]);
            command.args(["-object", &format!("memory-backend-ram,id=main,size={}M", self.memory)]);
            // A peer can't migrate; a master can.
            command.args(["-device", "ivshmem-plain,memdev=first,master=on"]);
        }
        command.args(&self.arguments);
        let mut drive = |before: &str, file| {
            command
                .arg("-drive")
                .arg(option(&format!("format=raw,{before},file="), &folder.join(file)));
        };
        match (self.job, self.image) {
            (GuestJob::ReadDisk { .. }, _) => drive("if=ide,index=0", DISK),
            (GuestJob::Flash { .. }, BareImage::X86) => {
                drive("if=pflash,unit=0,readonly=on", IMAGE);
                drive("if=pflash,unit=1", FLASH);
            }
            (GuestJob::Flash { .. }, _) => drive("if=pflash,unit=1", FLASH),
            _ => {}
        }
        let load = match (self.job, self.image) {
            (GuestJob::Flash { .. }, BareImage::X86) => None,
            (_, BareImage::Riscv64) => Some("-bios"),
            (_, BareImage::X86 | BareImage::Aarch64) => Some("-kernel"),
        };
        if let Some(load) = load {
            command.arg(load).arg(folder.join(IMAGE));
        }
        let mut qmp = option("unix:", qmp_socket);
        qmp.push(",server=on,wait=off");
        command.arg("-qmp").arg(qmp);
        command
    }
}

impl Accelerator {
    fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
            Self::KvmRing => "kvm,dirty-ring-size=4096",
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PrepareError> {
    fs::write(path, bytes).map_err(|errno| PrepareError::File { path: path.into(), errno })
}

/// A path as the last value of a QEMU option: a comma in it is doubled.
fn option(before: &str, path: &Path) -> OsString {
    let mut bytes = before.as_bytes().to_vec();
    for &byte in OsStr::as_bytes(path.as_os_str()) {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

/// Bytes that differ from sector to sector, the same each time (xorshift64).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| word()).take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        assert_eq!(option("unix:", Path::new("/a,b/c")), "unix:/a,,b/c");
    }

    #[test]
    fn no_two_sectors_are_alike() {
        let noise = noise(512 * 100);
        let mut sectors: Vec<_> = noise.chunks(512).collect();
        assert_eq!(sectors.len(), 100);
        sectors.sort_unstable();
        sectors.dedup();
        assert_eq!(sectors.len(), 100);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let qmp = folder.path().join("qmp");
        let frame = BareMachine::new(BareImage::Aarch64, GuestJob::FrameBuffer { pages: 1 });
        let error = frame.command(&qmp, folder.path()).unwrap_err().to_string();
        assert!(error.contains("a guest of Aarch64 can't do FrameBuffer"), "{error}");
        let idle = BareMachine::new(BareImage::Aarch64, GuestJob::Idle);
        let error = idle.command(&qmp, Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(error.starts_with("/no/such/folder/guest.img: "), "{error}");
    }
}
