//! The window in a file, summed as sum(1) does it with `-r`, and two such files, compared while the guest's
//! program writes.

use memtwin_lab::aeshmem::Window;
use memtwin_report::record::GuestSum;
use memtwin_verdict::Digester;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The window's sum in a file.
///
/// Errors: it can't be read.
pub(crate) fn sum(path: &Path, window: &Window) -> io::Result<GuestSum> {
    let file = File::open(path)?;
    let mut digester = Digester::new();
    let mut chunk = vec![0; 1 << 20];
    let (mut at, end) = (window.offset, window.offset + window.bytes);
    while at < end {
        let part = &mut chunk[..(end - at).min(1 << 20) as usize];
        file.read_exact_at(part, at)?;
        digester.update(part);
        at += part.len() as u64;
    }
    Ok(sum_of(digester.finish().bsd_sum, window.bytes))
}

/// The sum of this many bytes.
pub(crate) fn sum_of(bsd_sum: u16, bytes: u64) -> GuestSum {
    GuestSum { bsd_sum, blocks: bytes.div_ceil(1024) }
}

/// How often both files were summed while the program wrote, and how often they differed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SumChecks {
    pub(crate) taken: u32,
    pub(crate) differed: u32,
}

impl SumChecks {
    /// Sums both files; a line about them. `None` while there is no twin, in pre-copy.
    ///
    /// Errors: the memory file can't be read.
    pub(crate) fn check(
        &mut self,
        memory: &Path,
        twin: &Path,
        window: &Window,
    ) -> io::Result<Option<String>> {
        let Ok(theirs) = sum(twin, window) else { return Ok(None) };
        let ours = sum(memory, window)?;
        let differs = ours != theirs;
        self.taken += 1;
        self.differed += u32::from(differs);
        let how = if differs { "they differ" } else { "they are the same" };
        Ok(Some(format!("sum -r: memory {ours}, twin {theirs}: {how}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_is_summed_as_sum_does() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, part) = (dir.path().join("whole"), dir.path().join("part"));
        let bytes: Vec<u8> =
            (0..3 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&whole, &bytes).unwrap();
        std::fs::write(&part, &bytes[4096..4096 + (2 << 20)]).unwrap();
        let output = std::process::Command::new("sum").arg("-r").arg(&part).output().unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        let window = Window { address: None, offset: 4096, bytes: 2 << 20 };
        assert!(theirs.starts_with(&sum(&whole, &window).unwrap().to_string()), "{theirs}");

        let mut checks = SumChecks::default();
        let none = checks.check(&whole, &dir.path().join("none"), &window).unwrap();
        assert_eq!(none, None);
        let other = Window { offset: 0, ..window };
        checks.check(&whole, &whole, &other).unwrap();
        std::fs::write(dir.path().join("twin"), vec![0; 3 << 20]).unwrap();
        let line = checks.check(&whole, &dir.path().join("twin"), &other).unwrap().unwrap();
        assert!(line.ends_with("they differ"), "{line}");
        assert_eq!((checks.taken, checks.differed), (2, 1));
    }
}
