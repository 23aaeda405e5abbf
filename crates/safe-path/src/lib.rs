//! Files, directories and sockets that another local user can't have planted.
//!
//! Memtwin runs as root as a rule, and writes to places where everybody can put names: `/tmp`,
//! `/dev/shm`. A [`Place`] is a name in a directory that is held open. It is found one component at a
//! time (path_resolution(7)), and a symbolic link is followed only if nobody but us and root can have
//! put it there. All that is done to the name is done from that directory, with `O_NOFOLLOW`.
//!
//! | what is there | [`Place::create_new`] | [`Place::open_ours`] | [`Place::open_output`], [`Place::draft`] |
//! |---|---|---|---|
//! | nothing | made | nothing | made |
//! | a regular file of ours or root's, with one name | refused | opened | emptied or replaced |
//! | another user's, or one with other names; private directory | refused | opened | emptied or replaced |
//! | another user's, in a directory that is that user's alone | refused | refused | emptied or replaced |
//! | another user's, or one with other names; elsewhere | refused | refused | refused |
//!
//! A directory is *private* if it belongs to us or root and nobody else can write to it; what is in it
//! was put there by us or root. [`runtime_dir`] is one of our own, for what has no path on the command
//! line. [`check_peer`] says who is at the other end of a local socket.

#![forbid(unsafe_code)]

mod check;
mod dirs;
mod draft;
mod error;
mod owner;
mod peer;
mod place;
mod runtime;
mod walk;

pub use dirs::make_dirs;
pub use draft::Draft;
pub use error::SafePathError;
pub use owner::User;
pub use peer::{SocketPeer, check_peer, connect, is_from_us};
pub use place::Place;
pub use runtime::{check_private_dir, new_private_dir, private_dir, runtime_dir};
