//! Why we may not read QEMU's memory, and what to do about it: the rules of ptrace(2), "Ptrace
//! access mode checking".

use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Says it of this process, as the end of a sentence.
pub(crate) fn why(pid: u32) -> String {
    let owner = fs::metadata(format!("/proc/{pid}")).map(|about| about.uid()).ok();
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    explain(owner, geteuid().as_raw(), scope.and_then(|scope| scope.trim().parse().ok()))
}

/// `scope` is Yama's (`Documentation/admin-guide/LSM/Yama.rst`), if the kernel has it.
fn explain(owner: Option<u32>, us: u32, scope: Option<u32>) -> String {
    let root = "run Memtwin as root";
    let privileged = "or with CAP_SYS_PTRACE";
    match (owner, scope) {
        (_, Some(3)) => {
            "kernel.yama.ptrace_scope is 3, which forbids it to everybody until the next boot; give \
             the guest's RAM a shared file (memory-backend-file,share=on) that we may read"
                .to_owned()
        }
        _ if us == 0 => {
            format!("root lacks CAP_SYS_PTRACE here, as in most containers; {root} outside, or give it")
        }
        (Some(owner), _) if owner != us => {
            format!("it runs as user {owner}, and we as user {us}; {root} {privileged}")
        }
        (_, Some(scope @ 1..)) => format!(
            "kernel.yama.ptrace_scope is {scope}; {root} {privileged}, or set it to 0 with sysctl"
        ),
        _ => format!("it has privileges that we have not, or forbids core dumps; {root} {privileged}"),
    }
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn each_reason_has_its_way_out() {
        let cases = [
            (Some(0), 1000, None, "runs as user 0, and we as user 1000; run Memtwin as root"),
            (Some(1000), 1000, Some(1), "ptrace_scope is 1; run Memtwin as root"),
            (Some(1000), 1000, Some(2), "ptrace_scope is 2"),
            (Some(1000), 0, Some(3), "memory-backend-file"),
            (Some(1000), 1000, Some(0), "forbids core dumps"),
            (Some(1000), 0, Some(0), "containers"),
            (None, 1000, None, "as root"),
        ];
        for (owner, us, scope, part) in cases {
            let text = explain(owner, us, scope);
            assert!(text.contains(part), "{text}");
            assert!(!text.contains("  "), "{text}");
        }
    }
}
