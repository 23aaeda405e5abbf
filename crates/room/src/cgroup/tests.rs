//! Hierarchies of files as kernels make them.

use super::*;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct FakeHost(TempDir);

impl FakeHost {
    fn new(cgroup: &str, mountinfo: &str) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.file("proc/self/cgroup", cgroup).file("proc/self/mountinfo", mountinfo);
        this
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn limits(&self) -> Vec<(u64, String)> {
        let found = limits(self.0.path(), &self.0.path().join("proc/self"));
        found.into_iter().map(|limit| (limit.available / MIB, limit.source)).collect()
    }

    fn one(&self, folder: &str, limit: u64, used: u64, stat: &str) -> &Self {
        self.file(&format!("{folder}/memory.limit_in_bytes"), &format!("{limit}\n"));
        self.file(&format!("{folder}/memory.usage_in_bytes"), &format!("{used}\n"));
        self.file(&format!("{folder}/memory.use_hierarchy"), "1\n");
        self.file(&format!("{folder}/memory.stat"), stat)
    }
}

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

#[test]
fn each_group_of_version_1_up_to_the_root_limits() {
    let host = FakeHost::new("4:memory:/a/b\n1:cpu:/other\n0::/\n", HYBRID);
    let root = "sys/fs/cgroup/memory";
    host.one(&format!("{root}/a/b"), 800 * MIB, 700 * MIB, "inactive_file 9\n");
    let stat = format!(
        "cache 7\ninactive_file 1\ntotal_inactive_file {}\ntotal_active_file {}\n",
        100 * MIB,
        60 * MIB
    );
    host.one(&format!("{root}/a"), 500 * MIB, 480 * MIB, &stat);
    host.one(root, 0x7fff_ffff_ffff_f000, 9000 * MIB, "");
    let found = host.limits();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].0, 100);
    assert_eq!(found[1].0, 150, "what is used less what can be given back");
    assert!(found[1].1.ends_with("memory.limit_in_bytes of the memory cgroup /a"), "{found:?}");
    // A parent that does not count its children's memory does not limit them.
    host.file(&format!("{root}/a/memory.use_hierarchy"), "0\n");
    assert_eq!(host.limits().len(), 1);
}

#[test]
fn the_smaller_of_high_and_max_of_version_2_limits() {
    let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    let host = FakeHost::new("0::/user.slice/x.scope\n", mounts);
    let leaf = "sys/fs/cgroup/user.slice/x.scope";
    host.file(&format!("{leaf}/memory.max"), "max\n");
    host.file(&format!("{leaf}/memory.high"), &format!("{}\n", 300 * MIB));
    host.file(&format!("{leaf}/memory.current"), &format!("{}\n", 200 * MIB));
    host.file(&format!("{leaf}/memory.stat"), &format!("inactive_file {}\n", 20 * MIB));
    let slice = "sys/fs/cgroup/user.slice";
    host.file(&format!("{slice}/memory.max"), "max\n");
    host.file(&format!("{slice}/memory.high"), "max\n");
    host.file(&format!("{slice}/memory.current"), "5\n");
    let found = host.limits();
    assert_eq!(found.len(), 1, "the slice has no limit, the root no files: {found:?}");
    assert_eq!(found[0].0, 120);
    assert!(found[0].1.contains("memory.high of the memory cgroup /user.slice/x.scope"));
}

#[test]
fn in_a_container_the_mount_is_the_top() {
    let mounts = "9 8 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let host = FakeHost::new("4:memory:/docker/abc/child\n", mounts);
    host.one("sys/fs/cgroup/memory/child", 70 * MIB, 0, "");
    host.one("sys/fs/cgroup/memory", 60 * MIB, 0, "");
    assert_eq!(host.limits().iter().map(|limit| limit.0).collect::<Vec<_>>(), [70, 60]);
    // A path that lies elsewhere, as a cgroup namespace shows it.
    for odd in ["4:memory:/../../else", "4:memory:/else"] {
        host.file("proc/self/cgroup", odd);
        assert_eq!(host.limits().iter().map(|limit| limit.0).collect::<Vec<_>>(), [60], "{odd}");
    }
}

#[test]
fn without_a_memory_controller_there_is_no_limit() {
    assert!(FakeHost::new("", "").limits().is_empty());
    assert!(FakeHost::new("1:cpu:/a\n0::/\n", HYBRID).limits().is_empty());
    assert!(FakeHost::new("4:memory:/a\n", "").limits().is_empty());
    let host = FakeHost::new("4:memory:/a\n", HYBRID);
    host.file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "not a number");
    assert!(host.limits().is_empty());
}
