//! The BSD checksum, as `sum -r` prints it (coreutils, `src/sum.c`). Written again, and not shared
//! with the judge on the host: what the guest sees is said by the guest's own code.

/// A sum in the making.
#[derive(Clone, Copy, Debug, Default)]
pub struct BsdSum {
    sum: u16,
    bytes: u64,
}

impl BsdSum {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let add = |sum: u16, &byte| sum.rotate_right(1).wrapping_add(u16::from(byte));
        self.sum = bytes.iter().fold(self.sum, add);
        self.bytes += bytes.len() as u64;
    }
}

impl std::fmt::Display for BsdSum {
    /// Five digits, and the size in blocks of 1 KiB.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:05} {:5}", self.sum, self.bytes.div_ceil(1024))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn it_is_what_sum_prints() {
        let mut long = vec![0xa5; 70_001];
        fastrand::Rng::with_seed(1).fill(&mut long);
        for bytes in [&b""[..], b"memtwin", &long] {
            let mut sum = BsdSum::default();
            // In parts, to see that they may be.
            bytes.chunks(1000).for_each(|part| sum.update(part));
            assert_eq!(sum.to_string(), theirs(bytes));
        }
    }

    fn theirs(bytes: &[u8]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut sum = Command::new("sum");
        let output = sum.arg("-r").stdin(file).stderr(Stdio::inherit()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}
