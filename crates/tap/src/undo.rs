//! Leaving QEMU as it was found: whoever does it, the tap at its end, the guardian after our death, or a
//! later run after the death of both, does it by this.
//!
//! Undoing touches what is ours and nothing else. Our migration is ended by its own stream, so no command
//! can hit another one; nothing lets a guest run but QEMU itself, which does so when our migration
//! fails; a setting is put back only if it still has a value that we gave it. That holds for a migration of
//! somebody else's too: left at our few bytes a second it would never end. Its capabilities nobody can set.

use crate::socket::StreamSocket;
use memtwin_qemu::{
    Capabilities, MigrationStatus, Parameters, ProcessId, QemuSettings, RunState, SettingsError,
    migration, remove_bitmap_node, set_capabilities, set_parameters, status,
};
use memtwin_qmp::{MonitorAddress, Qmp, QmpError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take to close the stream of a migration that was ended. It takes milliseconds,
/// unless QEMU is stuck in a device.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after that it may still be said to be under way.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after that the guest may take to run.
const RUN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a monitor may take to greet us again.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long QEMU is woken that has not closed it.
const WAKE_INTERVAL: Duration = Duration::from_millis(50);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// What there is to undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// The settings that were changed, as they were before.
    pub settings: QemuSettings,
    /// The capabilities, as we have set them.
    pub capabilities: Capabilities,
    /// Every value that we give to each parameter.
    pub parameters: BTreeMap<String, Vec<Value>>,
    /// The block node with a dirty bitmap that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether the guest ran.
    pub ran: bool,
    /// QEMU's process.
    pub qemu: ProcessId,
    /// Where its monitor is.
    pub monitor: MonitorAddress,
    /// The process that this connection named, if it named one.
    pub peer: Option<u32>,
}

/// Why QEMU could not be left as it was.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// QEMU has ended: there is nothing left to undo.
    #[error("QEMU (process {pid}) has ended")]
    Gone {
        /// Its process.
        pid: u32,
    },
    /// QEMU can't be asked.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The settings can't be put back.
    #[error("putting back the migration settings: {0}")]
    Settings(#[from] SettingsError),
    /// The block node can't be removed.
    #[error("removing the block node {node}, which was added to hold QEMU: {error}")]
    Node {
        /// The node.
        node: String,
        /// Why.
        error: QmpError,
    },
    /// The migration to us does not end.
    #[error(
        "QEMU has not ended the migration to us {} s after its stream was ended: it hangs",
        CLOSE_TIMEOUT.as_secs()
    )]
    Stuck,
    /// A migration that is not ours is under way.
    #[error(
        "a migration of somebody else's is under way ('{status}'), which is left alone, and with it the capabilities"
    )]
    NotOurs {
        /// Where it is.
        status: MigrationStatus,
    },
    /// The guest does not run.
    #[error(
        "the guest ran before and is '{status}' {} s after the migration to us has ended; see query-status and query-migrate",
        RUN_TIMEOUT.as_secs()
    )]
    NotRunning {
        /// QEMU's word for its state.
        status: RunState,
    },
    /// Who answers at the monitor's socket is another process than before.
    #[error("{address} is another process's now")]
    OtherMonitor {
        /// Where it is.
        address: MonitorAddress,
    },
}

impl UndoError {
    /// Whether the connection to the monitor has ended.
    pub(crate) fn is_disconnected(&self) -> bool {
        let (Self::Qmp(error)
        | Self::Settings(SettingsError::Qmp(error))
        | Self::Node { error, .. }) = self
        else {
            return false;
        };
        error.is_disconnected()
    }
}

impl Undo {
    /// Once our stream was [ended](StreamSocket::end): waits until our migration has ended too, sees that the
    /// guest runs if it did, and puts the settings back. Does nothing where there is nothing to do.
    ///
    /// Errors: the first thing that failed; the settings are tried also when the guest does not run.
    pub(crate) fn run(&self, qmp: &mut Qmp, stream: &StreamSocket) -> Result<(), UndoError> {
        Self::see_it_closed(qmp, stream)?;
        self.settle(qmp)
    }

    /// Waits until QEMU has closed the stream. QEMU 11.1 may have ended the migration and sleep over closing
    /// it, until something wakes its main loop: so it is asked something, and not waited for. A monitor that
    /// does not work ends no wait: what comes after it is for a migration that has ended.
    fn see_it_closed(qmp: &mut Qmp, stream: &StreamSocket) -> Result<(), UndoError> {
        let since = Instant::now();
        let mut asked = None;
        let mut wake = || {
            if let Some(pending) = &asked
                && qmp.try_answer::<Value>(pending, Duration::ZERO)?.is_none()
            {
                return Ok::<(), QmpError>(());
            }
            asked = Some(qmp.submit("query-status", json!({}))?);
            Ok(())
        };
        let mut works = true;
        while !stream.closed_by_qemu(WAKE_INTERVAL) {
            if since.elapsed() > CLOSE_TIMEOUT {
                return Err(UndoError::Stuck);
            }
            works = works && wake().is_ok();
        }
        Ok(())
    }

    /// The rest, once our migration has ended.
    ///
    /// Errors: as [`Undo::run`].
    pub(crate) fn settle(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        // Each is tried, also when another fails.
        let parameters = self.put_back_parameters(qmp);
        self.is_free(qmp)?;
        let runs = self.see_it_run(qmp);
        let node = self.remove_node(qmp);
        self.put_back_capabilities(qmp)?;
        parameters?;
        node?;
        runs
    }

    /// Over a new connection to the same monitor.
    ///
    /// Errors: QEMU is gone, or does not serve us.
    pub(crate) fn reconnect(&self) -> Result<Qmp, UndoError> {
        if !self.qemu.exists() {
            return Err(UndoError::Gone { pid: self.qemu.pid });
        }
        // Its number means another thing, or nothing, to another process.
        if let MonitorAddress::Descriptor(_) = self.monitor {
            return Err(QmpError::NoWayBack { address: self.monitor.clone() }.into());
        }
        let qmp = Qmp::connect_to(&self.monitor, GREETING_TIMEOUT)?;
        if qmp.peer_pid().ok().flatten() != self.peer {
            return Err(UndoError::OtherMonitor { address: self.monitor.clone() });
        }
        Ok(qmp)
    }

    /// Puts back each setting that still has a value of ours.
    ///
    /// Errors: a migration is under way, which can't be ours; or QEMU refuses.
    pub(crate) fn put_back(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        let parameters = self.put_back_parameters(qmp);
        self.is_free(qmp)?;
        let node = self.remove_node(qmp);
        self.put_back_capabilities(qmp)?;
        node?;
        parameters
    }

    /// Removes the node that was added. QEMU may use its bitmap for a moment after the migration has ended.
    fn remove_node(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        let Some(node) = &self.node else { return Ok(()) };
        let since = Instant::now();
        loop {
            match remove_bitmap_node(qmp, node) {
                Err(QmpError::Refused { .. }) if since.elapsed() < END_TIMEOUT => {
                    thread::sleep(POLL_INTERVAL);
                }
                Err(error) => return Err(UndoError::Node { node: node.clone(), error }),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn put_back_parameters(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        let parameters = self.parameters_to_restore(&self.settings.before(qmp)?);
        if !parameters.is_empty() {
            set_parameters(qmp, &parameters).map_err(SettingsError::from)?;
        }
        Ok(())
    }

    fn put_back_capabilities(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        let capabilities = self.capabilities_to_restore(&self.settings.before(qmp)?);
        if !capabilities.is_empty() {
            set_capabilities(qmp, &capabilities).map_err(SettingsError::from)?;
        }
        Ok(())
    }

    /// The QMP commands that put everything back that we have changed.
    pub fn commands(&self) -> String {
        let ours = QemuSettings {
            capabilities: self.capabilities.clone(),
            parameters: self
                .parameters
                .iter()
                .filter_map(|(name, values)| Some((name.clone(), values.first()?.clone())))
                .collect(),
        };
        let list: Vec<Value> = self
            .capabilities_to_restore(&ours)
            .into_iter()
            .map(|(name, state)| json!({ "capability": name, "state": state }))
            .collect();
        let capabilities = json!({
            "execute": "migrate-set-capabilities", "arguments": { "capabilities": list },
        });
        let parameters = json!({
            "execute": "migrate-set-parameters", "arguments": self.parameters_to_restore(&ours),
        });
        let mut commands = format!("{capabilities} {parameters}");
        if let Some(node) = &self.node {
            let bitmap = json!({
                "execute": "block-dirty-bitmap-remove", "arguments": { "node": node, "name": node },
            });
            let node = json!({ "execute": "blockdev-del", "arguments": { "node-name": node } });
            commands.push_str(&format!(" {bitmap} {node}"));
        }
        commands
    }

    /// No migration is under way. Ours may be for a moment after QEMU has shut its stream; one that still
    /// is after that is somebody else's, and nothing was done to either meanwhile.
    fn is_free(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        let since = Instant::now();
        loop {
            let status = migration(qmp)?.status;
            if !status.is_under_way() {
                return Ok(());
            }
            if since.elapsed() > END_TIMEOUT {
                return Err(UndoError::NotOurs { status });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// QEMU lets the guest run on by itself when a migration ends without success. It never does
    /// so with a guest that somebody else paused, and neither do we.
    fn see_it_run(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        let since = Instant::now();
        loop {
            let now = status(qmp)?;
            // Only this is a state of a migration that has not come to its end. Whatever else stopped
            // the guest, it was not us: somebody has paused it, or moved it away.
            if !self.ran || now.running || now.status != RunState::FinishMigrate {
                return Ok(());
            }
            if since.elapsed() > RUN_TIMEOUT {
                return Err(UndoError::NotRunning { status: now.status });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn capabilities_to_restore(&self, now: &QemuSettings) -> Capabilities {
        let before = self.settings.capabilities.iter();
        before
            .filter(|(name, before)| {
                let now = now.capabilities.get(*name);
                now != Some(before) && now == self.capabilities.get(*name)
            })
            .map(|(name, before)| (name.clone(), *before))
            .collect()
    }

    fn parameters_to_restore(&self, now: &QemuSettings) -> Parameters {
        let before = self.settings.parameters.iter();
        before
            .filter(|(name, before)| {
                let now = now.parameters.get(*name);
                let is_ours = |now| self.parameters.get(*name).is_some_and(|all| all.contains(now));
                now != Some(before) && now.is_some_and(is_ours)
            })
            .map(|(name, before)| (name.clone(), before.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo() -> Undo {
        Undo {
            settings: QemuSettings::new()
                .capability("return-path", false)
                .capability("xbzrle", true)
                .capability("multifd", false)
                .parameter("max-bandwidth", 128)
                .parameter("downtime-limit", 300),
            capabilities: [("return-path", true), ("xbzrle", false), ("multifd", false)]
                .map(|(name, on)| (name.to_owned(), on))
                .into(),
            parameters: [("max-bandwidth", vec![10_u64, 1 << 40]), ("downtime-limit", vec![1, 62])]
                .map(|(name, all)| (name.to_owned(), all.into_iter().map(Value::from).collect()))
                .into(),
            node: None,
            ran: true,
            qemu: ProcessId { pid: 7, started: 1, boot: String::new() },
            monitor: MonitorAddress::Path("/run/qmp".into()),
            peer: None,
        }
    }

    #[test]
    fn what_somebody_else_has_set_meanwhile_stays() {
        let undo = undo();
        let now = QemuSettings::new()
            .capability("return-path", true)
            .capability("xbzrle", true)
            .capability("multifd", true)
            .parameter("max-bandwidth", 10)
            .parameter("downtime-limit", 1000);
        let capabilities: Vec<_> = undo.capabilities_to_restore(&now).into_iter().collect();
        assert_eq!(capabilities, [("return-path".to_owned(), false)]);
        let parameters: Vec<_> = undo.parameters_to_restore(&now).into_iter().collect();
        assert_eq!(parameters, [("max-bandwidth".to_owned(), Value::from(128))]);
    }

    #[test]
    fn the_commands_put_back_all_that_was_changed() {
        let commands = undo().commands();
        let all: Vec<Value> = serde_json::Deserializer::from_str(&commands)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap();
        let [capabilities, parameters] = &all[..] else { panic!("{commands}") };
        let expected = json!([
            { "capability": "return-path", "state": false }, { "capability": "xbzrle", "state": true },
        ]);
        assert_eq!(capabilities["arguments"]["capabilities"], expected);
        let expected = json!({ "max-bandwidth": 128, "downtime-limit": 300 });
        assert_eq!(parameters["arguments"], expected);
    }

    #[test]
    fn it_survives_being_written_down() {
        let text = serde_json::to_string(&undo()).unwrap();
        assert_eq!(serde_json::from_str::<Undo>(&text).unwrap(), undo());
        // As it always was: a plain path.
        assert!(text.contains("\"monitor\":\"/run/qmp\""), "{text}");
        let far = Undo { monitor: "libvirt:g@qemu:///system".parse().unwrap(), ..undo() };
        let text = serde_json::to_string(&far).unwrap();
        assert_eq!(serde_json::from_str::<Undo>(&text).unwrap(), far);
    }

    #[test]
    fn a_descriptor_without_a_name_is_no_way_back() {
        let qemu = ProcessId::of(std::process::id()).unwrap();
        let undo = Undo { monitor: MonitorAddress::Descriptor(0), qemu, ..undo() };
        let why = undo.reconnect().unwrap_err().to_string();
        assert!(
            why.contains("fd:0 was given as a connection, and can't be connected to again"),
            "{why}"
        );
    }
}
