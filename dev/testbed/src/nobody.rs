//! Another local user, for tests of what such a one may do to us.

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::thread;

/// The number of `nobody`, user and group.
pub const NOBODY: u32 = 65534;

/// Runs something as `nobody`, in a thread of its own: the kernel gives each thread its own
/// credentials (the notes in setuid(2)). Files that it makes, locks and sockets are nobody's.
///
/// Panics where we are not root (`lacks(&[Need::Root])` asks), or where the closure does.
pub fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            let become_nobody = set_thread_groups(&[])
                .and_then(|()| set_thread_res_gid(group, group, group))
                .and_then(|()| set_thread_res_uid(user, user, user));
            assert_eq!(become_nobody, Ok(()), "only root can become another user");
            work()
        });
        match other.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
