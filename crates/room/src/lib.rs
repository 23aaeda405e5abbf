//! How much memory a process may still take, asked before it is taken and watched while it is.
//!
//! Linux overcommits: an allocation succeeds, and the page that is touched later is what there is
//! no room for. Then the OOM killer ends a process, and in a guest's own memory cgroup that is
//! likely the guest. So whoever needs memory in proportion to a guest says what it needs first
//! ([`MemoryRoom::check`]), looks again while it takes it ([`RoomWatch`]), and offers itself as the first
//! to be ended ([`go_first`]).
//!
//! What limits a process: the machine (`MemAvailable`, proc_meminfo(5)), every memory cgroup above
//! it (cgroup v1 and v2, `Documentation/admin-guide/cgroup-v1/memory.rst` and `cgroup-v2.rst`),
//! its resource limits (getrlimit(2)), and for a file in memory the size of its tmpfs.

#![forbid(unsafe_code)]

mod available;
mod cgroup;
mod limit;
mod meminfo;
mod oom;
mod process;
mod refusal;
mod tmpfs;
mod watch;

pub use available::MemoryRoom;
pub use limit::MemoryLimit;
pub use oom::{OomScore, OomScoreError, go_first};
pub use refusal::{MemoryNeed, NoRoom, mebibytes};
pub use tmpfs::{is_memory, tmpfs_limit};
pub use watch::{RoomWatch, RunningOut};
