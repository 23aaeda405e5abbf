//! A QEMU with a bare-metal guest in it: everything that its command line says, in one place.

use crate::image::BareImage;
use crate::job::GuestJob;
use crate::version::{ReleaseVersion, VersionError};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
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
    pub machine: &'static str,
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
            machine,
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

    /// Main RAM's RAMBlock, by QEMU's name.
    pub fn main_block(&self) -> &'static str {
        match (self.before, self.image) {
            (Some(_), _) => "main",
            (None, BareImage::X86) => "pc.ram",
            (None, BareImage::Aarch64) => "mach-virt.ram",
            (None, BareImage::Riscv64) => "riscv_virt_board.ram",
        }
    }

    /// The command that starts it, with QMP listening on the socket. Writes the guest's image, and
    /// the disk if it reads one, into the folder.
    pub fn command(&self, qmp_socket: &Path, folder: &Path) -> Result<Command, PrepareError> {
        let image = folder.join("guest.img");
        let code = self
            .image
            .with(self.job)
            .ok_or(PrepareError::NoJob { image: self.image, job: self.job })?;
        write(&image, &code)?;

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
        if let GuestJob::ReadDisk { sectors, .. } = self.job {
            let disk = folder.join("disk.img");
            write(&disk, &noise(sectors as usize * 512))?;
            command.arg("-drive").arg(option("if=ide,index=0,format=raw,file=", &disk));
        }
        let load = if self.image == BareImage::Riscv64 { "-bios" } else { "-kernel" };
        command.arg(load).arg(image);
        let mut qmp = option("unix:", qmp_socket);
        qmp.push(",server=on,wait=off");
        command.arg("-qmp").arg(qmp);
        Ok(command)
    }
}

impl Accelerator {
    fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
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
