//! Descriptors that go to QEMU with a command (SCM_RIGHTS, unix(7)), where they pass.

use crate::message::CommandBand;
use crate::route::MonitorRoute;
use crate::{Qmp, QmpError, silent};
use serde::de::IgnoredAny;
use serde_json::json;
use std::os::fd::{AsFd, BorrowedFd};

impl Qmp {
    /// Gives QEMU a copy of a descriptor, which its commands may then name (`fd:NAME`). One of
    /// the same name is replaced.
    ///
    /// Errors: as [`Qmp::execute`].
    pub fn send_fd(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        if !self.passes_descriptors {
            return Err(self.no_descriptors());
        }
        let arguments = json!({ "fdname": name });
        let sent =
            self.run::<IgnoredAny>(CommandBand::In, "getfd", arguments, Some(fd)).map(|_| ());
        sent.map_err(|error| match error {
            // `qmp_getfd()` in `monitor/fds.c`.
            QmpError::Refused { desc, .. } if desc.contains("SCM_RIGHTS") => self.no_descriptors(),
            error => error,
        })
    }

    fn no_descriptors(&self) -> QmpError {
        let between = match self.route {
            MonitorRoute::Tcp => Some("TCP".to_owned()),
            MonitorRoute::Libvirt => Some("libvirt".to_owned()),
            MonitorRoute::Unix => silent::listener(self.wire.socket()),
        };
        QmpError::NoDescriptors { between: between.unwrap_or("something".to_owned()) }
    }

    /// Whether descriptors reach QEMU, which they do not through a program that stands between: passes one,
    /// and has QEMU close it at once.
    ///
    /// Errors: [`QmpError::NoDescriptors`] if they do not; as [`Qmp::execute`].
    pub fn try_descriptors(&mut self) -> Result<(), QmpError> {
        const NAME: &str = "memtwin-try";
        let copy = self
            .try_clone()
            .map_err(|errno| QmpError::Socket { doing: "getfd".to_owned(), errno })?;
        self.send_fd(NAME, copy.as_fd())?;
        self.execute("closefd", json!({ "fdname": NAME })).map(|_: IgnoredAny| ())
    }

    /// The same connection, of which it is known that no descriptor passes.
    #[must_use]
    pub fn without_descriptors(mut self) -> Self {
        self.passes_descriptors = false;
        self
    }
}
