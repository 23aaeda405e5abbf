//! What can be broken in a lab of boards: a cable, and the NFS server.

use super::{Breakable, FaultKind};
use crate::hosts::nfs;
use memtwin_lab::Silent;
use memtwin_lab::boards::Port;
use memtwin_lab::host::{self, Host};
use std::sync::Arc;
use std::time::Duration;

/// How long a server may take to stop or to start on an emulated board.
const LINE: Duration = Duration::from_secs(120);

/// The cables of A and B, and the server's board.
#[derive(Debug)]
pub(crate) struct BoardFaults {
    pub(crate) a: Port,
    pub(crate) b: Port,
    pub(crate) storage: Arc<dyn Host>,
    /// The line that starts its server again, if it can be.
    pub(crate) start: Option<String>,
}

impl Breakable for BoardFaults {
    fn set(&self, what: FaultKind, hop: u16, broken: bool) -> Result<(), String> {
        match what {
            FaultKind::Link => {
                // The guest goes back to A in every second hop.
                let port = if hop.is_multiple_of(2) && hop > 0 { &self.a } else { &self.b };
                port.cut(broken);
                Ok(())
            }
            FaultKind::Nfs => {
                let none = "stop-nfs needs a plan with nfs = \"4.2\" or \"4.1\"";
                let start = self.start.as_deref().ok_or(none)?;
                let line = if broken { nfs::STOP } else { start };
                let done = host::run(&*self.storage, line, LINE, &mut Silent);
                done.map(drop).map_err(|error| error.to_string())
            }
        }
    }
}
