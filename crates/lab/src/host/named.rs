//! Machines by name.

use super::{Host, HostError, Local, Ssh};

/// The machine of a name: `local`, or `ssh://[user@]host[:port]`.
///
/// Errors: it is neither.
pub fn named(name: &str) -> Result<Box<dyn Host>, HostError> {
    if name == "local" { Ok(Box::new(Local)) } else { Ok(Box::new(Ssh::parse(name)?)) }
}
