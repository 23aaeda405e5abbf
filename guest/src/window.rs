//! The device memory that `tstaeshm` tests: found, and then written, filled or summed.

use crate::device::{MapError, MappedDevice, WORD};
use crate::ivshmem::Ivshmem;
use crate::quantity::{self, Unreadable};
use crate::sum::BsdSum;
use fastrand::Rng;
use std::io;
use std::path::{Path, PathBuf};

/// The size of the window unless another is asked for: the specification's 1 MiB.
pub const DEFAULT_BYTES: u64 = 1 << 20;

/// Where the window is, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowPlace {
    /// The only ivshmem device.
    Auto,
    /// A physical address.
    Address(u64),
}

impl WindowPlace {
    /// Reads `auto` or an address.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        if text == "auto" { Ok(Self::Auto) } else { quantity::parse(text).map(Self::Address) }
    }
}

/// Why there is no window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// No device.
    #[error(
        "no ivshmem device (PCI 1af4:1110 with memory at BAR 2): give QEMU -device ivshmem-plain, or give an address"
    )]
    NoDevice,
    /// Several.
    #[error("several ivshmem devices, at {}: give the address of one", addresses.join(", "))]
    Several {
        /// Their addresses.
        addresses: Vec<String>,
    },
    /// More than the device has.
    #[error(
        "{device} has {found:#x} bytes from {at:#x} on, expected at least {expected:#x}: --size"
    )]
    TooShort {
        /// The device's PCI name.
        device: String,
        /// The address asked for.
        at: u64,
        /// Bytes asked for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The list of devices can't be read, or the device not be enabled.
    #[error("{}: {error}", file.display())]
    Sysfs {
        /// Where.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It can't be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Finds the window and maps it. An address inside an ivshmem device's memory is reached through
/// that device, and any other through /dev/mem. Without a size it is 1 MiB, or what the device has
/// if that is less.
///
/// Returns it with a line that says what it is.
///
/// Errors: it isn't there, or can't be mapped.
pub fn open(place: WindowPlace, bytes: Option<u64>) -> Result<(MappedDevice, String), WindowError> {
    let sysfs = Path::new(crate::ivshmem::SYSFS);
    let devices = Ivshmem::find(sysfs)
        .map_err(|error| WindowError::Sysfs { file: sysfs.to_owned(), error })?;
    let Some((device, address)) = choose(&devices, place)? else {
        let WindowPlace::Address(address) = place else { return Err(WindowError::NoDevice) };
        let bytes = bytes.unwrap_or(DEFAULT_BYTES);
        let window = MappedDevice::map(Path::new("/dev/mem"), address, bytes)?;
        return Ok((window, format!("{bytes:#x} bytes at {address:#x} (/dev/mem)")));
    };
    let bytes = extent(device, address, bytes)?;
    let file = device
        .enable()
        .map_err(|error| WindowError::Sysfs { file: sysfs.join(device.name()), error })?;
    let window = MappedDevice::map(&file, address - device.address, bytes)?;
    Ok((window, format!("{bytes:#x} bytes at {address:#x} (ivshmem {})", device.name())))
}

/// The device that is meant, and the address; none if an address is no device's.
fn choose(devices: &[Ivshmem], place: WindowPlace) -> Result<Option<(&Ivshmem, u64)>, WindowError> {
    match (place, devices) {
        (WindowPlace::Address(address), _) => {
            Ok(devices.iter().find(|device| device.has(address)).map(|device| (device, address)))
        }
        (WindowPlace::Auto, [device]) => Ok(Some((device, device.address))),
        (WindowPlace::Auto, []) => Err(WindowError::NoDevice),
        (WindowPlace::Auto, several) => {
            let addresses = several.iter().map(|device| format!("{:#x}", device.address));
            Err(WindowError::Several { addresses: addresses.collect() })
        }
    }
}

fn extent(device: &Ivshmem, address: u64, bytes: Option<u64>) -> Result<u64, WindowError> {
    let found = device.bytes - (address - device.address);
    let expected = bytes.unwrap_or(DEFAULT_BYTES.min(found));
    if expected > found {
        return Err(WindowError::TooShort { device: device.name(), at: address, expected, found });
    }
    Ok(expected)
}

/// Stores to random pages of a window.
#[derive(Debug)]
pub struct Updates {
    rng: Rng,
    words_per_page: usize,
    /// How many were made.
    pub made: u64,
}

impl Updates {
    /// None yet. `page_size` in bytes.
    pub fn new(seed: u64, page_size: usize) -> Self {
        Self { rng: Rng::with_seed(seed), words_per_page: page_size / WORD, made: 0 }
    }

    /// Changes a random word of a random page: what was there is not stored again.
    pub fn make(&mut self, window: &MappedDevice) {
        let pages = window.words().div_ceil(self.words_per_page);
        let first = self.rng.usize(..pages) * self.words_per_page;
        let last = (first + self.words_per_page).min(window.words());
        let word = self.rng.usize(first..last);
        let (old, new) = (window.load(word), self.rng.u64(..));
        window.store(word, if new == old { !old } else { new });
        self.made += 1;
    }
}

/// The word that `fill` puts at an index: SplitMix64 (Steele, Lea, Flood 2014) of seed and index.
pub fn pattern(seed: u64, word: u64) -> u64 {
    let mut z = seed.wrapping_add(word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills a window with the pattern of a seed.
pub fn fill(window: &MappedDevice, seed: u64) {
    (0..window.words()).for_each(|word| window.store(word, pattern(seed, word as u64)));
}

/// The sum of a window's bytes.
pub fn sum(window: &MappedDevice) -> BsdSum {
    let mut sum = BsdSum::default();
    (0..window.words()).for_each(|word| sum.update(&window.load(word).to_ne_bytes()));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    fn window(bytes: usize) -> (tempfile::NamedTempFile, MappedDevice) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![0; bytes]).unwrap();
        let device = MappedDevice::map(file.path(), 0, bytes as u64).unwrap();
        (file, device)
    }

    #[test]
    fn the_guest_sums_what_sum_does() {
        let (file, device) = window(1 << 20);
        fill(&device, 7);
        let output = Command::new("sum").arg("-r").arg(file.path()).output().unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert!(theirs.starts_with(&sum(&device).to_string()), "{theirs}");
        device.store(5, !device.load(5));
        assert!(!theirs.starts_with(&sum(&device).to_string()), "a change shows");
    }

    #[test]
    fn the_pattern_is_the_known_sequence() {
        // The first values of SplitMix64 for the seed 1234567, as published with it.
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([pattern(1_234_567, 0), pattern(1_234_567, 1)], expected);
    }

    #[test]
    fn updates_come_by_each_page_and_change_it() {
        // Two pages and a part of a third.
        let (file, device) = window(2 * 4096 + 64);
        let mut updates = Updates::new(1, 4096);
        (0..300).for_each(|_| updates.make(&device));
        assert_eq!(updates.made, 300);
        let bytes = fs::read(file.path()).unwrap();
        assert!(bytes.chunks(4096).all(|page| page.iter().any(|&byte| byte != 0)));
    }

    #[test]
    fn a_place_is_auto_or_an_address() {
        assert_eq!(WindowPlace::parse("auto"), Ok(WindowPlace::Auto));
        assert_eq!(WindowPlace::parse("0x20000000"), Ok(WindowPlace::Address(0x2000_0000)));
        assert!(WindowPlace::parse("here").is_err());
    }

    fn devices(n: u64) -> Vec<Ivshmem> {
        let sysfs = tempfile::tempdir().unwrap();
        for i in 1..=n {
            let folder = sysfs.path().join(format!("0000:00:0{i}.0"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("vendor"), "0x1af4").unwrap();
            fs::write(folder.join("device"), "0x1110").unwrap();
            let line = format!("{:#018x} {:#018x} 0x0\n", i << 28, (i << 28) + 0xf_ffff);
            fs::write(folder.join("resource"), line.repeat(3)).unwrap();
        }
        Ivshmem::find(sysfs.path()).unwrap()
    }

    #[test]
    fn auto_means_the_only_one() {
        let one = devices(1);
        assert_eq!(choose(&one, WindowPlace::Auto).unwrap(), Some((&one[0], 0x1000_0000)));
        assert!(matches!(choose(&[], WindowPlace::Auto), Err(WindowError::NoDevice)));
        let error = choose(&devices(2), WindowPlace::Auto).unwrap_err().to_string();
        let expected =
            "several ivshmem devices, at 0x10000000, 0x20000000: give the address of one";
        assert_eq!(error, expected);
    }

    #[test]
    fn an_address_in_a_device_is_reached_through_it() {
        let two = devices(2);
        let inside = choose(&two, WindowPlace::Address(0x2000_1000)).unwrap();
        assert_eq!(inside, Some((&two[1], 0x2000_1000)));
        assert_eq!(choose(&two, WindowPlace::Address(0x5f80_0000)).unwrap(), None);
        assert_eq!(extent(&two[1], 0x2000_0000, None).unwrap(), 1 << 20);
        assert_eq!(extent(&two[1], 0x2008_0000, None).unwrap(), 1 << 19);
        let error = extent(&two[1], 0x2008_0000, Some(1 << 20)).unwrap_err().to_string();
        assert!(error.contains("has 0x80000 bytes from 0x20080000 on"), "{error}");
    }
}
