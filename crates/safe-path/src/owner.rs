//! Who a file belongs to, and who can change what a directory holds.

use rustix::fs::Stat;
use std::fmt;
use std::sync::OnceLock;

/// A user: shown as `NAME (uid N)`, or `uid N` where the system has no name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User(u32);

impl User {
    /// The user with a number.
    pub fn new(uid: u32) -> Self {
        Self(uid)
    }

    /// The user whom this process acts as.
    pub fn this() -> Self {
        Self(rustix::process::geteuid().as_raw())
    }

    /// The user's number.
    pub fn uid(self) -> u32 {
        self.0
    }

    /// Whether it is the user of this process, or root.
    pub fn is_ours(self) -> bool {
        self.0 == 0 || self == Self::this()
    }

    /// Whether the user may do anything on this system anyway. In a user namespace that does not have
    /// the host's root, the owner of `/` is shown with the overflow uid (user_namespaces(7)).
    fn rules_here(self) -> bool {
        static OWNER_OF_ROOT: OnceLock<Option<u32>> = OnceLock::new();
        let owner = OWNER_OF_ROOT.get_or_init(|| Some(rustix::fs::stat("/").ok()?.st_uid));
        self.is_ours() || Some(self.0) == *owner
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut parts = line.split(':');
            let name = parts.next()?;
            (parts.nth(1)?.parse() == Ok(self.0)).then_some(name)
        });
        match name {
            Some(name) => write!(f, "{name} (uid {})", self.0),
            None => write!(f, "uid {}", self.0),
        }
    }
}

/// Whether others than the owner can make, rename and remove names in a directory. What an access
/// control list gives shows in the group's bits (acl(5)).
fn others_write(directory: &Stat) -> bool {
    directory.st_mode & 0o022 != 0
}

/// Whether only we and root can have put into a directory what is there.
pub(crate) fn is_private(directory: &Stat) -> bool {
    User(directory.st_uid).rules_here() && !others_write(directory)
}

/// Whether nobody but the owner of the directory, who also owns what is there, can have put it there.
pub(crate) fn is_its_owners(directory: &Stat, there: &Stat) -> bool {
    directory.st_uid == there.st_uid && !others_write(directory)
}
