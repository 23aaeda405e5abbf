//! Finds QEMU's ivshmem-plain device (`docs/specs/ivshmem-spec.rst`): a PCI device 1af4:1110 whose
//! BAR 2 is the shared memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel lists PCI devices.
pub const SYSFS: &str = "/sys/bus/pci/devices";

const VENDOR: u64 = 0x1af4;
const DEVICE: u64 = 0x1110;
const BAR: usize = 2;

/// An ivshmem device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ivshmem {
    folder: PathBuf,
    /// The physical address of its memory.
    pub address: u64,
    /// The size of its memory in bytes.
    pub bytes: u64,
}

impl Ivshmem {
    /// The ivshmem devices of a machine, in the order of their PCI addresses. One whose BAR has no
    /// address is left out.
    ///
    /// Errors: a device can't be read. A machine without PCI has none.
    pub fn find(sysfs: &Path) -> io::Result<Vec<Self>> {
        let listed = match fs::read_dir(sysfs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut folders = listed
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<PathBuf>>>()?;
        folders.sort();
        let found = folders.into_iter().filter_map(|folder| Self::read(folder).transpose());
        found.collect()
    }

    fn read(folder: PathBuf) -> io::Result<Option<Self>> {
        let id = |name| fs::read_to_string(folder.join(name)).map(|text| hex(&text));
        if id("vendor")? != Some(VENDOR) || id("device")? != Some(DEVICE) {
            return Ok(None);
        }
        let resource = fs::read_to_string(folder.join("resource"))?;
        let bar = resource.lines().nth(BAR).and_then(range);
        Ok(bar.map(|(address, bytes)| Self { folder, address, bytes }))
    }

    /// Its name among PCI devices: `0000:00:02.0`.
    pub fn name(&self) -> String {
        self.folder.file_name().map_or_else(String::new, |name| name.display().to_string())
    }

    /// Enables it, which lets its BAR answer; the file through which that is mapped.
    ///
    /// Errors: the kernel refuses.
    pub fn enable(&self) -> io::Result<PathBuf> {
        fs::write(self.folder.join("enable"), "1")?;
        Ok(self.folder.join(format!("resource{BAR}")))
    }

    /// Whether a physical address lies in its memory.
    pub fn has(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|offset| offset < self.bytes)
    }
}

/// A line of `resource`: first and last address, flags.
fn range(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (first, last) = (hex(words.next()?)?, hex(words.next()?)?);
    (first != 0).then_some((first, last.checked_sub(first)?.checked_add(1)?))
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(sysfs: &Path, name: &str, device: &str, bar: &str) {
        let folder = sysfs.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("vendor"), "0x1af4\n").unwrap();
        fs::write(folder.join("device"), format!("{device}\n")).unwrap();
        let empty = "0x0000000000000000 0x0000000000000000 0x0000000000000000";
        let lines = ["0x0000000010000000 0x00000000100000ff 0x0000000000040200", empty, bar, empty];
        fs::write(folder.join("resource"), lines.join("\n")).unwrap();
        fs::write(folder.join("enable"), "0\n").unwrap();
    }

    const MEMORY: &str = "0x0000000020000000 0x00000000200fffff 0x000000000014220c";

    #[test]
    fn it_is_found_among_others() {
        let sysfs = tempfile::tempdir().unwrap();
        device(sysfs.path(), "0000:00:01.0", "0x1000", MEMORY);
        device(sysfs.path(), "0000:00:03.0", "0x1110", MEMORY);
        let found = Ivshmem::find(sysfs.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name(), "0000:00:03.0");
        assert_eq!((found[0].address, found[0].bytes), (0x2000_0000, 1 << 20));
        assert!(found[0].has(0x2000_0000) && found[0].has(0x200f_ffff));
        assert!(!found[0].has(0x1fff_ffff) && !found[0].has(0x2010_0000));
        let bar = found[0].enable().unwrap();
        assert_eq!(bar, sysfs.path().join("0000:00:03.0/resource2"));
        assert_eq!(fs::read_to_string(bar.with_file_name("enable")).unwrap(), "1");
    }

    #[test]
    fn one_without_an_address_is_of_no_use() {
        let sysfs = tempfile::tempdir().unwrap();
        let nowhere = "0x0000000000000000 0x0000000000000000 0x0000000000000000";
        device(sysfs.path(), "0000:00:03.0", "0x1110", nowhere);
        assert_eq!(Ivshmem::find(sysfs.path()).unwrap(), []);
    }

    #[test]
    fn a_machine_without_pci_has_none() {
        assert_eq!(Ivshmem::find(Path::new("/no/such/folder")).unwrap(), []);
    }
}
