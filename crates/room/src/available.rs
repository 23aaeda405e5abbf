//! All limits of a process together.

use crate::meminfo::field;
use crate::{MemoryLimit, MemoryNeed, NoRoom, cgroup, process};
use std::fs;
use std::path::{Path, PathBuf};

/// The room of a process: every limit that is known.
#[derive(Clone, Debug)]
pub struct MemoryRoom {
    root: PathBuf,
    process: PathBuf,
}

impl MemoryRoom {
    /// Of this process.
    pub fn of_self() -> Self {
        Self::at(Path::new("/"), "self")
    }

    /// Of another process. One that has ended has the machine's limits.
    pub fn of_process(pid: u32) -> Self {
        Self::at(Path::new("/"), &pid.to_string())
    }

    /// Of a process as it is seen below another root: a folder with `proc`, and what its `mountinfo`
    /// names.
    pub fn at(root: &Path, process: &str) -> Self {
        Self { root: root.to_owned(), process: root.join("proc").join(process) }
    }

    /// The limits of memory, as they are now: the machine's and those of the memory cgroups. None
    /// where the system says nothing.
    pub fn memory(&self) -> Vec<MemoryLimit> {
        let mut limits = cgroup::limits(&self.root, &self.process);
        limits.extend(self.machine());
        limits
    }

    fn machine(&self) -> Option<MemoryLimit> {
        let meminfo = fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        Some(MemoryLimit {
            available: field(&meminfo, "MemAvailable")?,
            total: field(&meminfo, "MemTotal")?,
            source: "MemAvailable of /proc/meminfo".to_owned(),
        })
    }

    /// The limit that leaves the least room for memory.
    pub fn tightest(&self) -> Option<MemoryLimit> {
        tightest(self.memory())
    }

    /// The same, where another process, whose room is `there`, takes memory as well because of it.
    /// What limits both has to have room for both.
    pub fn check_beside(
        &self,
        need: &MemoryNeed<'_>,
        there: &Self,
        theirs: &MemoryNeed<'_>,
    ) -> Result<(), NoRoom> {
        self.check(need)?;
        let ours = self.memory();
        let limits = if theirs.memory > 0 { there.memory() } else { Vec::new() };
        for limit in limits {
            let both = ours.iter().any(|ours| ours.source == limit.source);
            let all = theirs.memory.saturating_add(if both { need.memory } else { 0 });
            // Without ours it may fit: then what is said of ours helps.
            if theirs.memory > limit.spendable() {
                return Err(theirs.refused(theirs.memory, limit));
            }
            if all > limit.spendable() {
                return Err(need.refused(all, limit));
            }
        }
        Ok(())
    }

    /// Errors unless what is needed fits within every limit, its reserve left alone.
    ///
    /// Where the system does not say what there is, everything fits.
    pub fn check(&self, need: &MemoryNeed<'_>) -> Result<(), NoRoom> {
        let asked = [
            (need.memory, tightest(self.memory())),
            (need.address_space, process::address_space(&self.process)),
            (need.data, process::data(&self.process)),
        ];
        for (bytes, limit) in asked {
            if let Some(limit) = limit
                && bytes > limit.spendable()
            {
                return Err(need.refused(bytes, limit));
            }
        }
        Ok(())
    }
}

fn tightest(limits: Vec<MemoryLimit>) -> Option<MemoryLimit> {
    limits.into_iter().min_by_key(MemoryLimit::spendable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn host(available: u64) -> (tempfile::TempDir, MemoryRoom) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/7")).unwrap();
        let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 16 << 20, available >> 10);
        fs::write(dir.path().join("proc/meminfo"), text).unwrap();
        let room = MemoryRoom::at(dir.path(), "7");
        (dir, room)
    }

    #[test]
    fn what_fits_leaves_the_reserve() {
        let (_dir, room) = host(1000 * MIB);
        let need = |memory| MemoryNeed { memory, ..MemoryNeed::of("the twin") };
        room.check(&need(744 * MIB)).unwrap();
        let refused = room.check(&need(745 * MIB)).unwrap_err();
        assert_eq!(refused.limit.available, 1000 * MIB);
        let said = refused.to_string();
        for part in ["the twin", "745 MiB", "1000 MiB", "MemAvailable", "256 MiB"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(said.lines().count(), 1);
    }

    #[test]
    fn the_tightest_limit_is_the_one_that_is_named() {
        let (dir, room) = host(1000 * MIB);
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("proc/7/cgroup", "0::/small\n");
        file("proc/7/mountinfo", "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
        file("cg/small/memory.max", &format!("{}", 200 * MIB));
        file("cg/small/memory.current", &format!("{}", 50 * MIB));
        let tightest = room.tightest().unwrap();
        assert_eq!(tightest.available, 150 * MIB);
        assert_eq!(tightest.reserve(), 10 * MIB);
        file("proc/7/limits", &format!("Max address space  {}  unlimited bytes\n", 64 * MIB));
        file("proc/7/status", "VmSize: 0 kB\n");
        let need =
            MemoryNeed { memory: MIB, address_space: 65 * MIB, ..MemoryNeed::of("the twin") };
        assert!(room.check(&need).unwrap_err().to_string().contains("RLIMIT_AS"));
    }

    #[test]
    fn what_limits_both_has_room_for_both() {
        let (dir, room) = host(1000 * MIB);
        let need = MemoryNeed { memory: 500 * MIB, ..MemoryNeed::of("the twin") };
        let there = MemoryRoom::at(dir.path(), "8");
        let check = |mib| {
            let theirs = MemoryNeed { memory: mib * MIB, ..MemoryNeed::of("the guest") };
            room.check_beside(&need, &there, &theirs)
        };
        check(0).unwrap();
        check(244).unwrap();
        let refused = check(245).unwrap_err();
        assert_eq!((refused.bytes, refused.what.as_str()), (745 * MIB, "the twin"));
        let refused = check(745).unwrap_err();
        assert_eq!((refused.bytes, refused.what.as_str()), (745 * MIB, "the guest"));
        // One that only the other has.
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("proc/8/cgroup", "0::/guest\n");
        file("proc/8/mountinfo", "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
        file("cg/guest/memory.max", &format!("{}", 200 * MIB));
        file("cg/guest/memory.current", &format!("{}", 100 * MIB));
        check(90).unwrap();
        let refused = check(91).unwrap_err();
        assert!(refused.to_string().contains("the memory cgroup /guest"), "{refused}");
    }

    #[test]
    fn where_nothing_is_known_everything_fits() {
        let room = MemoryRoom::at(Path::new("/nonexistent"), "self");
        room.check(&MemoryNeed { memory: u64::MAX, ..MemoryNeed::of("the twin") }).unwrap();
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let tightest = MemoryRoom::of_self().tightest().unwrap();
        assert!(tightest.total >= tightest.available && tightest.available > 0, "{tightest:?}");
        let all = MemoryNeed { memory: tightest.total, ..MemoryNeed::of("all of it") };
        MemoryRoom::of_self().check(&all).unwrap_err();
    }
}
