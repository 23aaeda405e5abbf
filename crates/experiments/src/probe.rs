//! What a machine offers for our work: architecture, kernel, page size, CPUs, KVM, QEMU.

use memtwin_kvm::Mode;
use memtwin_lab::Progress;
use memtwin_lab::host::{self, Host, HostError};
use memtwin_report::Failure;
use memtwin_report::record::HostFacts;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// How long a machine may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a shell returns for a program that isn't there.
const NOT_FOUND: i32 = 127;

/// What each of our needs takes: the oldest QEMU that has it.
const NEEDS: [(&str, (u32, u32)); 4] = [
    ("audit and replicate", (7, 2)),
    ("audit without a pause (switchover-ack)", (8, 1)),
    ("dirty ring (dirty-ring-size)", (6, 1)),
    ("emulated boards (reconnect-ms)", (10, 0)),
];
/// The devices of our guests.
const DEVICES: [&str; 4] = ["ivshmem-plain", "virtio-blk-pci", "virtio-net-pci", "virtio-rng-pci"];

/// What there is to know about this machine.
pub fn probe_this_machine() -> Value {
    let HostFacts { arch, kernel, page_size, cpus, .. } = HostFacts::this_machine();
    let qemu = format!("qemu-system-{arch}");
    let said = |words: &[&str]| {
        let output = Command::new(&qemu).args(words).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let kvm = match memtwin_vmm::probe() {
        Ok(offered) => {
            let modes = Mode::ALL.map(|mode| {
                let why = offered.has(mode).err();
                (mode.name().to_owned(), why.map_or(Value::Bool(true), Value::String))
            });
            json!({
                "modes": modes.into_iter().collect::<serde_json::Map<_, _>>(),
                "ring_bitmap": offered.ring_bitmap(),
            })
        }
        Err(error) => json!({ "error": error.to_string() }),
    };
    let about = said(&["--version"]);
    let devices = said(&["-device", "help"]).unwrap_or_default();
    let about = about.as_deref().map(|about| qemu_of(about, &devices));
    json!({
        "arch": arch, "kernel": kernel, "page_size": page_size, "cpus": cpus, "kvm": kvm,
        "qemu": about.unwrap_or_else(|| json!({ "error": format!("{qemu} is not installed") })),
    })
}

/// What a QEMU says of itself, and which needs it meets.
fn qemu_of(about: &str, devices: &str) -> Value {
    let version = about.split_once("version ").map(|(_, rest)| rest);
    let version = version.and_then(|rest| rest.split_whitespace().next()).unwrap_or("unknown");
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let found = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    let needs = NEEDS.map(|(need, least)| (need.to_owned(), Value::Bool(found >= Some(least))));
    let devices = DEVICES.map(|device| {
        let there = devices.contains(&format!("\"{device}\""));
        (device.to_owned(), Value::Bool(there))
    });
    let needs: serde_json::Map<_, _> = needs.into_iter().chain(devices).collect();
    json!({ "version": version, "needs": needs })
}

/// The same for another machine: Memtwin there says it, or else its shell, which can't ask KVM.
///
/// Errors: it is not reached, or its answer can't be read.
pub fn probe_host(host: &dyn Host, progress: &mut dyn Progress) -> Result<Value, Failure> {
    match host::run(host, "memtwin lab probe local --json", TIMEOUT, progress) {
        Ok(said) => serde_json::from_str(&said)
            .map_err(|error| Failure::environment(format!("{}: {error}", host.name()))),
        Err(HostError::Failed { rc: NOT_FOUND, .. }) => {
            let line = "uname -m; uname -r; \
                        awk '/^KernelPageSize/ {print $2 * 1024; exit}' /proc/self/smaps; nproc; \
                        if [ -w /dev/kvm ]; then echo yes; else echo no; fi; \
                        qemu-system-$(uname -m) --version | head -n1; \
                        qemu-system-$(uname -m) -device help";
            let said = host::run(host, line, TIMEOUT, progress).map_err(Failure::environment)?;
            Ok(of_shell(&said))
        }
        Err(error) => Err(Failure::environment(error)),
    }
}

fn of_shell(said: &str) -> Value {
    let mut lines = said.lines();
    let mut line = || lines.next().unwrap_or_default().to_owned();
    let (arch, kernel, page, cpus) = (line(), line(), line(), line());
    let kvm = match line().as_str() {
        "yes" => "/dev/kvm is there; memtwin is not, to ask it for more",
        _ => "/dev/kvm: not there, or not for us",
    };
    let about = line();
    let devices: String = lines.collect();
    let qemu = if about.is_empty() {
        json!({ "error": format!("qemu-system-{arch} is not installed") })
    } else {
        qemu_of(&about, &devices)
    };
    let number = |text: String| text.parse::<u64>().ok();
    json!({
        "arch": arch, "kernel": kernel, "page_size": number(page), "cpus": number(cpus),
        "kvm": { "error": kvm }, "qemu": qemu,
    })
}

/// What was found on the machine of this name, in lines for a person.
pub fn probe_table(name: &str, found: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    };
    let mut lines = Vec::new();
    let mut row = |key: &str, value: String| lines.push(format!("{key:<40} {value}"));
    row("host", name.to_owned());
    for (key, field) in [("architecture", "arch"), ("kernel", "kernel"), ("page size", "page_size")]
    {
        row(key, text(&found[field]));
    }
    row("CPUs", text(&found["cpus"]));
    let nested = |value: &Value| value.as_object().cloned().unwrap_or_default();
    match found["kvm"]["error"].as_str() {
        Some(error) => row("KVM", error.to_owned()),
        None => {
            for (mode, has) in nested(&found["kvm"]["modes"]) {
                row(&format!("KVM {mode}"), text(&has));
            }
            row("KVM ring with bitmap", text(&found["kvm"]["ring_bitmap"]));
        }
    }
    match found["qemu"]["error"].as_str() {
        Some(error) => row("QEMU", error.to_owned()),
        None => {
            row("QEMU", text(&found["qemu"]["version"]));
            for (need, has) in nested(&found["qemu"]["needs"]) {
                row(&format!("QEMU {need}"), text(&has));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_is_measured_by_our_needs() {
        let old = qemu_of("QEMU emulator version 7.2.19 (Debian)", "name \"ivshmem-plain\", bus");
        assert_eq!(old["version"], "7.2.19");
        assert_eq!(old["needs"]["audit and replicate"], true);
        assert_eq!(old["needs"]["emulated boards (reconnect-ms)"], false);
        assert_eq!(old["needs"]["ivshmem-plain"], true);
        assert_eq!(old["needs"]["virtio-blk-pci"], false);
        let odd = qemu_of("what?", "");
        assert_eq!(odd["needs"]["audit and replicate"], false);
    }

    #[test]
    fn a_shell_answers_where_memtwin_is_not() {
        let found = of_shell("aarch64\n6.12\n16384\n4\nno\n");
        assert_eq!(found["page_size"], 16384);
        assert_eq!(found["qemu"]["error"], "qemu-system-aarch64 is not installed");
        let lines = probe_table("ssh://b", &found);
        assert!(lines.iter().any(|line| line.starts_with("KVM ") && line.contains("not for us")));
    }

    #[test]
    fn this_machine_answers() {
        let found = probe_this_machine();
        assert_eq!(found["arch"], std::env::consts::ARCH);
        assert!(found["cpus"].as_u64().unwrap() >= 1);
    }
}
