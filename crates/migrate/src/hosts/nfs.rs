//! The NFS server of a lab, as in the reference setup: its lines for storage's shell, and those that stop it
//! and start it again as a reboot would.
//!
//! Its clients hold locks: QEMU's, on the guest's disk. A server that starts lets those claim them again who
//! had some (the grace period, RFC 8881 section 8.4.2.1), and must know who had: nfsdcld(8) keeps that. A server
//! that does not know refuses, and the client, who has lost a lock, then fails each write with EIO.

use crate::plan::PlanStorage;

/// By its path: busybox's shell would take its own.
const MOUNT: &str = "/usr/bin/mount";
/// Where the kernel asks nfsdcld.
const PIPES: &str = "/var/lib/nfs/rpc_pipefs";
/// Nobody has locks of NFS 3, which lockd waits for; all locks wait with it.
const NO_NLM: &str = "echo Y >/proc/fs/lockd/nlm_end_grace";

/// The lines that set it up, with the image that is copied there.
pub(crate) fn set_up(storage: &PlanStorage, image: &str) -> Vec<String> {
    let (folder, export) = (&storage.folder, &storage.export);
    let mut lines = vec![
        format!("mkdir -p {folder} {PIPES} /var/lib/nfs/nfsdcld"),
        format!("cp {image} {folder}/{}", storage.image),
        format!("mountpoint -q /proc/fs/nfsd || {MOUNT} -t nfsd nfsd /proc/fs/nfsd"),
        format!("echo '{folder} *({export})' >/etc/exports"),
        "echo 10 >/proc/fs/nfsd/nfsv4leasetime; echo 10 >/proc/fs/nfsd/nfsv4gracetime".to_owned(),
        "rpcbind -w && exportfs -ra && rpc.mountd".to_owned(),
    ];
    if is_v3(storage) {
        lines.push("rpc.statd && rpc.nfsd 4".to_owned());
    } else {
        lines.push(format!("{MOUNT} -t rpc_pipefs rpc_pipefs {PIPES} && nfsdcld"));
        // nfsdcld says nowhere when it is ready; asked too early, the server goes without it.
        lines.push(format!(
            "n=0; until rpc.nfsd 4 && [ -p {PIPES}/nfsd/cld ]; do rpc.nfsd 0; n=$((n+1)); [ $n -lt 20 ] || exit 1; \
             sleep 0.5; done"
        ));
    }
    // At first there is nobody who had any. A kernel that has seen that by itself has no grace period left to
    // be ended, and refuses with EIO.
    lines.push(format!("echo Y >/proc/fs/nfsd/v4_end_grace; {NO_NLM}; true"));
    lines
}

/// The line that stops it: it forgets all that its clients have.
pub(crate) const STOP: &str = "rpc.nfsd 0 && [ $(cat /proc/fs/nfsd/threads) = 0 ]";

/// The line that starts it again; none for NFS 3, whose clients know of it by statd alone.
pub(crate) fn start(storage: &PlanStorage) -> Option<String> {
    (!is_v3(storage))
        .then(|| format!("rpc.nfsd 4 && [ $(cat /proc/fs/nfsd/threads) -gt 0 ] && {NO_NLM}"))
}

fn is_v3(storage: &PlanStorage) -> bool {
    storage.nfs == "3"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{MigrationPlan, SEED};

    #[test]
    fn a_server_that_starts_again_leaves_time_to_claim_locks() {
        let storage = MigrationPlan::parse(SEED).unwrap().storage;
        let lines = set_up(&storage, "/image").join("\n");
        assert!(lines.contains("/srv *(rw,sync,no_root_squash,no_subtree_check,insecure)"));
        assert!(lines.contains("nfsdcld\n") && lines.contains("v4_end_grace"));
        let start = start(&storage).unwrap();
        assert!(start.starts_with("rpc.nfsd 4") && !start.contains("v4_end_grace"), "{start}");
        let v3 = PlanStorage { nfs: "3".to_owned(), ..storage };
        assert!(set_up(&v3, "/image").join("\n").contains("rpc.statd && rpc.nfsd 4"));
        assert_eq!(super::start(&v3), None);
    }
}
