//! libvirt's own monitor of a domain, spoken with through virsh(1), which is wherever libvirt's clients are.
//!
//! A thread stands between a socket, on which our client speaks QMP as with any monitor, and a virsh that
//! stays and is given one command after the other (`qemu-monitor-command`). A descriptor goes with a virsh
//! of its own (`--pass-fds`, libvirt 8.2 and later). No events come this way: virsh prints them by another
//! process, and nothing says which came before an answer.
//!
//! | what comes from our client | what becomes of it |
//! |---|---|
//! | `qmp_capabilities` | answered here: libvirt has entered command mode long ago |
//! | a command | handed to virsh, without its `id`, which libvirt gives itself |
//! | a command with a descriptor | handed to a virsh of its own, which has it as standard input |
//! | what is no JSON | refused as QEMU does |

mod message;
mod shell;

use crate::QmpError;
use crate::address::{LibvirtDomain, MonitorAddress};
use message::CommandReader;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use serde_json::{Value, json};
use shell::{VirshError, VirshShell, quoted, run_with_descriptor};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::thread;

/// A connection to a domain's monitor, and the thread behind it, which ends when the connection does.
pub(crate) struct Bridge {
    /// Our client's end.
    pub(crate) socket: OwnedFd,
    /// Why there is no monitor, once that is known.
    pub(crate) why: Arc<OnceLock<String>>,
}

impl Bridge {
    /// Begins to connect; the greeting comes when libvirt has answered for the first time.
    ///
    /// Errors: why the domain can't be reached from here, and what would help.
    pub(crate) fn start(domain: &LibvirtDomain) -> Result<Self, String> {
        domain.check_host()?;
        let system = |errno: std::io::Error| errno.to_string();
        let flags = SocketFlags::CLOEXEC;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| system(errno.into()))?;
        let why = Arc::new(OnceLock::new());
        let (domain, reason) = (domain.clone(), Arc::clone(&why));
        let serve = move || {
            if let Err(error) = serve(&theirs, &domain) {
                // Before the end of the connection is seen.
                let _ = reason.set(error.to_string());
            }
        };
        thread::Builder::new().name("libvirt-monitor".to_owned()).spawn(serve).map_err(system)?;
        Ok(Self { socket, why })
    }
}

impl LibvirtDomain {
    /// What libvirt says of the domain's state (`running`, `shut off`). Its monitor is not used, so that it is not
    /// marked.
    ///
    /// Errors: libvirt does not have it, or can't be asked.
    pub fn state(&self) -> Result<String, QmpError> {
        let ask = || {
            let mut shell = VirshShell::start(self.uri.as_deref())?;
            shell.run(&format!("domstate {}", quoted(&self.domain)))
        };
        let state =
            self.check_host().and_then(|()| ask().map_err(|error: VirshError| error.to_string()));
        state.map_err(|reason| QmpError::Libvirt {
            address: MonitorAddress::Libvirt(self.clone().into()),
            reason,
        })
    }

    /// Errors if its libvirt is another host's.
    fn check_host(&self) -> Result<(), String> {
        match self.other_host() {
            Some(host) => Err(format!(
                "its libvirt is on {host}, and so is the guest's memory; run Memtwin there"
            )),
            None => Ok(()),
        }
    }
}

/// The UUID of a domain, if this libvirt has it and it runs.
pub(crate) fn running_uuid(domain: &LibvirtDomain) -> Option<String> {
    let mut shell = VirshShell::start(domain.uri.as_deref()).ok()?;
    shell.run(&format!("domuuid {}", quoted(&domain.domain))).ok()
}

/// Serves our client until it is gone.
///
/// Errors: there is no monitor, or none any more.
fn serve(socket: &OwnedFd, domain: &LibvirtDomain) -> Result<(), VirshError> {
    let uri = domain.uri.as_deref();
    let mut shell = VirshShell::start(uri)?;
    // Another domain may have this name tomorrow.
    let uuid = shell.run(&format!("domuuid {}", quoted(&domain.domain)))?;
    let version = ask(&mut shell, &uuid, &json!({ "execute": "query-version" }))?;
    let greeting = json!({ "QMP": { "version": version["return"], "capabilities": [] } });
    if !sent(socket, &greeting) {
        return Ok(());
    }
    let mut reader = CommandReader::default();
    while let Some((line, fd)) = reader.next(socket.as_fd()) {
        let answer = match serde_json::from_slice::<Value>(&line) {
            Err(_) => refusal("GenericError", "JSON parse error"),
            Ok(mut command) => {
                let id = command.as_object_mut().and_then(|command| command.remove("id"));
                let mut answer = answer(&mut shell, uri, &uuid, &command, fd)?;
                // libvirt's own, if there is one.
                answer.as_object_mut().and_then(|answer| answer.remove("id"));
                if let Some(id) = id {
                    answer["id"] = id;
                }
                answer
            }
        };
        if !sent(socket, &answer) {
            break;
        }
    }
    Ok(())
}

fn answer(
    shell: &mut VirshShell,
    uri: Option<&str>,
    uuid: &str,
    command: &Value,
    fd: Option<OwnedFd>,
) -> Result<Value, VirshError> {
    if command["execute"] == "qmp_capabilities" {
        return Ok(json!({ "return": {} }));
    }
    if command.get("exec-oob").is_some() {
        return Ok(refusal("CommandNotFound", "libvirt executes no command out of band"));
    }
    let said = match fd {
        None => ask(shell, uuid, command),
        // As QEMU says it of one that did not come, so that our client looks for another way.
        Some(fd) => run_with_descriptor(uri, uuid, &ascii(command), fd).map_err(|error| {
            let why = format!("no file descriptor came via SCM_RIGHTS: {error}");
            VirshError::Refused(why)
        }),
    };
    match said {
        Err(VirshError::Refused(why)) => Ok(refusal("GenericError", &why)),
        // Without virsh there is no monitor: our client's connection ends, and it may make another.
        said => said,
    }
}

fn ask(shell: &mut VirshShell, uuid: &str, command: &Value) -> Result<Value, VirshError> {
    let line = format!("qemu-monitor-command {uuid} {}", quoted(&ascii(command)));
    let said = shell.run(&line)?;
    serde_json::from_str(&said).map_err(|_| VirshError::Refused(format!("not JSON: {said}")))
}

fn refusal(class: &str, desc: &str) -> Value {
    json!({ "error": { "class": class, "desc": desc } })
}

/// JSON in ASCII: what a line editor makes of other bytes depends on its locale.
fn ascii(value: &Value) -> String {
    let mut text = String::new();
    for letter in value.to_string().chars() {
        if letter.is_ascii() {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// Whether our client has it.
fn sent(socket: &OwnedFd, message: &Value) -> bool {
    let text = format!("{message}\n");
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match rustix::io::retry_on_intr(|| send(socket, left, SendFlags::NOSIGNAL)) {
            Ok(some) => left = &left[some..],
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_said_in_ascii() {
        let value = json!({ "a": "é𝄞\t'" });
        let text = ascii(&value);
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn another_host_s_domain_is_refused_before_anything_is_started() {
        let domain =
            LibvirtDomain { domain: "g".to_owned(), uri: Some("qemu+ssh://far/system".to_owned()) };
        let why = Bridge::start(&domain).err().unwrap();
        assert!(why.contains("on far") && why.contains("run Memtwin there"), "{why}");
    }
}
