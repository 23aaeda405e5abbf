//! Every QEMU of this host, one after the other: one record, in which each case's name has the process id of
//! its QEMU (`audit/7/pc.ram`), and those that can't be reached are listed with the reason.

use super::{AuditConfig, audit, preview_audit};
use crate::observer::SessionObserver;
use memtwin_qemu::ProcessId;
use memtwin_qmp::{LibvirtDomain, MonitorAddress, RunningQemu, running};
use memtwin_replicate::CancelToken;
use memtwin_report::{Case, ExitCode, Failure, exit};

/// What the audits of all QEMUs came to.
#[derive(Debug)]
pub struct AuditAll {
    /// Every QEMU's cases.
    pub cases: Vec<Case>,
    /// What there is to say beside them, for the record.
    pub notes: Vec<String>,
    /// The worst of what each came to.
    pub code: ExitCode,
}

/// Audits each QEMU that runs now, as `config` says for its monitor and its process id, and leaves each as it
/// was found. One that can't be reached, or can't be audited, keeps no other from it.
///
/// Errors: no QEMU runs here.
pub fn audit_all(
    config: impl Fn(MonitorAddress, u32) -> AuditConfig,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<AuditAll, Failure> {
    let (mut cases, mut notes, mut failed) = (Vec::new(), Vec::new(), None);
    for qemu in some_running()? {
        if stop.is_set() {
            break;
        }
        let mut marked = None;
        let done = through_any(&qemu, |monitor| {
            let domain = matches!(monitor, MonitorAddress::Libvirt(_)).then(|| monitor.to_string());
            let done = audit(&config(monitor, qemu.pid), stop, observer);
            // An audit that came to its end says so in its own notes.
            marked = domain.filter(|_| done.is_err());
            done
        });
        notes.extend(marked.map(|domain| format!("{domain}: {}", LibvirtDomain::TAINT)));
        match done {
            Ok(done) => {
                cases.extend(done.cases.into_iter().map(|case| of_process(&qemu, case)));
                notes
                    .extend(done.notes.into_iter().map(|note| format!("{}: {note}", title(&qemu))));
            }
            // Found, and gone before its turn came.
            Err(_) if ProcessId::of(qemu.pid).is_err() => {
                notes.push(format!("{}: it has ended meanwhile", title(&qemu)));
            }
            Err(Failure { code, message }) => {
                failed = Some(failed.map_or(code, |failed: ExitCode| failed.or(code)));
                let name = format!("audit/{}", qemu.pid);
                cases.push(Case::skipped(name, title(&qemu), &message));
            }
        }
    }
    let judged = exit::of_cases(&cases, false, stop.is_set());
    Ok(AuditAll { code: failed.map_or(judged, |failed| failed.or(judged)), cases, notes })
}

/// What would be done to each, in lines. Changes nothing.
///
/// Errors: no QEMU runs here.
pub fn preview_all(
    config: impl Fn(MonitorAddress, u32) -> AuditConfig,
) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for qemu in some_running()? {
        let done = through_any(&qemu, |monitor| {
            let source = monitor.source();
            preview_audit(&config(monitor, qemu.pid)).map(|lines| (source, lines))
        });
        match done {
            Ok((source, about)) => {
                lines.push(format!("{}: {source}", title(&qemu)));
                lines.extend(about.into_iter().map(|line| format!("  {line}")));
            }
            Err(Failure { message, .. }) => {
                lines.push(format!("{}: skipped: {message}", title(&qemu)));
            }
        }
    }
    Ok(lines)
}

fn some_running() -> Result<Vec<RunningQemu>, Failure> {
    let found = running();
    if found.is_empty() {
        let message = "no QEMU with a machine (qemu-system-*, qemu-kvm) runs on this host, as far as may be seen";
        return Err(Failure::environment(message));
    }
    Ok(found)
}

/// Does something through the first monitor that works: libvirt's last, as that marks the domain.
///
/// Errors: none works, and why the first does not; or there is none.
fn through_any<T>(
    qemu: &RunningQemu,
    mut work: impl FnMut(MonitorAddress) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut reachable: Vec<_> = qemu.monitors.iter().flatten().cloned().collect();
    reachable.sort_by_key(|monitor| matches!(monitor, MonitorAddress::Libvirt(_)));
    let mut first = None;
    for monitor in reachable {
        match work(monitor) {
            // Another may be free.
            Err(failure) if failure.code == ExitCode::Environment => {
                first.get_or_insert(failure);
            }
            done => return done,
        }
    }
    Err(first.unwrap_or_else(|| {
        let why = qemu.monitors.iter().find_map(|monitor| monitor.as_ref().err());
        let none =
            "it was started without a QMP monitor; start it with -qmp unix:PATH,server=on,wait=off";
        Failure::environment(why.map_or(none, String::as_str))
    }))
}

fn title(qemu: &RunningQemu) -> String {
    match &qemu.name {
        Some(name) => format!("QEMU process {} ({name})", qemu.pid),
        None => format!("QEMU process {}", qemu.pid),
    }
}

fn of_process(qemu: &RunningQemu, case: Case) -> Case {
    let name = case.name().strip_prefix("audit/").unwrap_or(case.name());
    let name = format!("audit/{}/{name}", qemu.pid);
    case.named(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qemu(monitors: Vec<Result<MonitorAddress, String>>) -> RunningQemu {
        RunningQemu { pid: 7, name: Some("a".to_owned()), monitors }
    }

    #[test]
    fn the_first_monitor_that_works_is_taken_and_libvirt_s_last() {
        let at = |address: &str| address.parse::<MonitorAddress>().unwrap();
        let taken = |qemu: RunningQemu, busy: &str| {
            through_any(&qemu, |monitor| match monitor.to_string() == busy {
                true => Err(Failure::environment("it is busy")),
                false => Ok(monitor),
            })
        };
        let some = || {
            qemu(vec![Err("it is far".to_owned()), Ok(at("libvirt:g")), Ok(at("/a")), Ok(at("/b"))])
        };
        assert_eq!(taken(some(), "").unwrap(), at("/a"));
        assert_eq!(taken(some(), "/a").unwrap(), at("/b"));
        let busy = taken(qemu(vec![Ok(at("/a"))]), "/a").unwrap_err();
        assert_eq!(busy.message, "it is busy");
        let last = qemu(vec![Ok(at("/a")), Ok(at("libvirt:g"))]);
        assert_eq!(taken(last, "/a").unwrap(), at("libvirt:g"));
        let far = taken(qemu(vec![Err("it is far".to_owned())]), "").unwrap_err();
        assert_eq!((far.message.as_str(), far.code), ("it is far", ExitCode::Environment));
        let none = taken(qemu(Vec::new()), "").unwrap_err();
        assert!(none.message.contains("-qmp unix:PATH"), "{none:?}");
    }

    #[test]
    fn a_case_says_whose_it_is() {
        let of = |name: &str| {
            of_process(&qemu(Vec::new()), Case::skipped(name, "x", "y")).name().to_owned()
        };
        assert_eq!(of("audit/pc.ram"), "audit/7/pc.ram");
        assert_eq!(of("audit/pc.ram/control"), "audit/7/pc.ram/control");
        assert_eq!(title(&qemu(Vec::new())), "QEMU process 7 (a)");
    }
}
