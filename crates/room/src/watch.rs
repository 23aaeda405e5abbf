//! A look now and then at what is left, while memory is being taken.

use crate::{MemoryLimit, MemoryRoom, mebibytes};

/// After how many bytes that were taken it looks again: small beside the reserve of any limit that
/// is large enough to work in.
const STEP: u64 = 8 << 20;

/// The room has fallen below its reserve: what goes on now may cost somebody's life.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory is running out: {} are left by {}, expected {} at least; ended before the OOM killer \
     ends a process",
    mebibytes(limit.available), limit.source, mebibytes(limit.reserve())
)]
pub struct RunningOut {
    /// The limit that is near.
    pub limit: MemoryLimit,
}

/// Looks at the room of this process each time that some more memory was taken.
#[derive(Debug)]
pub struct RoomWatch {
    room: MemoryRoom,
    taken: u64,
}

impl Default for RoomWatch {
    fn default() -> Self {
        Self::of(MemoryRoom::of_self())
    }
}

impl RoomWatch {
    /// Watches this room.
    pub fn of(room: MemoryRoom) -> Self {
        // The first bytes are looked at too.
        Self { room, taken: STEP }
    }

    /// This many bytes are about to be taken. Errors: then less than the reserve would be left.
    pub fn take(&mut self, bytes: u64) -> Result<(), RunningOut> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken < STEP {
            return Ok(());
        }
        self.taken = 0;
        match self.room.tightest() {
            Some(limit) if limit.available < limit.reserve().saturating_add(bytes) => {
                Err(RunningOut { limit })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_ends_when_less_than_the_reserve_is_left() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        let have = |mib: u64| {
            let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 1 << 20, mib << 10);
            fs::write(dir.path().join("proc/meminfo"), text).unwrap();
        };
        // The reserve of 1 GiB is 51 MiB and a bit.
        have(60);
        let mut watch = RoomWatch::of(MemoryRoom::at(dir.path(), "self"));
        watch.take(4096).unwrap();
        have(40);
        let small = (0..).find(|_| watch.take(1 << 20).is_err()).unwrap();
        assert_eq!(small, 7, "looked at after 8 MiB");
        let said = watch.take(STEP).unwrap_err().to_string();
        assert!(said.contains("40 MiB are left by MemAvailable"), "{said}");
        have(60);
        watch.take(8 << 20).unwrap();
    }
}
