//! The memory cgroups above a process, of version 1, 2 or both (a hybrid mount has its memory
//! controller in one of them): what each still has room for.

use crate::MemoryLimit;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What a cgroup without a limit says in version 1: the largest number of whole pages, whatever
/// the page size. Nothing real is in this range.
const UNLIMITED: u64 = 1 << 62;

/// Which files say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CgroupVersion {
    One,
    Two,
}

/// Every limit of a memory cgroup on the way from this process's own to the root of the mount.
///
/// `root` is where the file system begins (`/`, but in tests), `process` the process's folder in
/// /proc. Where nothing can be read there is no limit that is known.
pub(crate) fn limits(root: &Path, process: &Path) -> Vec<MemoryLimit> {
    let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
    let mounts = read("mountinfo");
    let own = read("cgroup");
    let groups = own.lines().filter_map(MemoryCgroup::parse);
    groups.flat_map(|group| group.limits(root, &mounts)).collect()
}

/// A line of /proc/PID/cgroup that has to do with memory.
#[derive(Debug)]
struct MemoryCgroup<'t> {
    version: CgroupVersion,
    path: &'t str,
}

impl<'t> MemoryCgroup<'t> {
    /// `4:memory:/a/b`, or `0::/a/b` of version 2.
    fn parse(line: &'t str) -> Option<Self> {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let version = if controllers.split(',').any(|name| name == "memory") {
            CgroupVersion::One
        } else if number == "0" && controllers.is_empty() {
            CgroupVersion::Two
        } else {
            return None;
        };
        Some(Self { version, path })
    }

    fn limits(&self, root: &Path, mounts: &str) -> Vec<MemoryLimit> {
        let Some(mount) = mounts.lines().find_map(|line| CgroupMount::parse(line, self.version))
        else {
            return Vec::new();
        };
        let top = root.join(mount.point.trim_start_matches('/'));
        let below = below(mount.root, self.path);
        let folders = below.ancestors().map(|part| top.join(part));
        folders.filter_map(|folder| limit(self.version, &folder, &top)).collect()
    }
}

/// The path of a cgroup below what is mounted. In a container the mount may begin at the
/// container's own cgroup, or the path may be one that is not visible: then the mount itself is
/// the nearest that there is.
fn below<'p>(mounted: &str, path: &'p str) -> &'p Path {
    let path = Path::new(path);
    match path.strip_prefix(mounted) {
        Ok(below) if below.components().all(|part| matches!(part, Component::Normal(_))) => below,
        _ => Path::new(""),
    }
}

/// A mount of a cgroup hierarchy with the memory controller: proc_pid_mountinfo(5).
#[derive(Debug)]
struct CgroupMount<'t> {
    root: &'t str,
    point: &'t str,
}

impl<'t> CgroupMount<'t> {
    fn parse(line: &'t str, version: CgroupVersion) -> Option<Self> {
        let (mount, about) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut about = about.split(' ');
        let (kind, options) = (about.next()?, about.nth(1)?);
        let fits = match version {
            CgroupVersion::One => {
                kind == "cgroup" && options.split(',').any(|name| name == "memory")
            }
            CgroupVersion::Two => kind == "cgroup2",
        };
        fits.then_some(Self { root, point })
    }
}

/// What a cgroup still has room for; none if it has no limit, or no memory controller.
fn limit(version: CgroupVersion, folder: &Path, top: &Path) -> Option<MemoryLimit> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    };
    let (total, used, prefix, file) = match version {
        // A group that is not hierarchical does not count what its children use.
        CgroupVersion::One if folder != top && number("memory.use_hierarchy") == Some(0) => {
            return None;
        }
        CgroupVersion::One => {
            let file = "memory.limit_in_bytes";
            (number(file)?, number("memory.usage_in_bytes")?, "total_", file)
        }
        CgroupVersion::Two => {
            // `max` is no number: without a limit.
            let limits = ["memory.max", "memory.high"].map(|file| (number(file), file));
            let (total, file) = limits.into_iter().filter_map(|(n, f)| Some((n?, f))).min()?;
            (total, number("memory.current")?, "", file)
        }
    };
    if total >= UNLIMITED {
        return None;
    }
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let available = total.saturating_sub(used.saturating_sub(reclaimable(&stat, prefix)));
    let source = format!("{file} of the memory cgroup {}", named(folder, top));
    Some(MemoryLimit { available, total, source })
}

/// The part of what is in use that the kernel gives back without asking anybody: files that were
/// read once, and half of those that are used again, as `MemAvailable` counts them.
fn reclaimable(stat: &str, prefix: &str) -> u64 {
    let field = |name: &str| -> u64 {
        let value = stat.lines().find_map(|line| {
            line.strip_prefix(prefix)?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
        });
        value.unwrap_or(0)
    };
    field("inactive_file").saturating_add(field("active_file") / 2)
}

/// The path of a cgroup as /proc/PID/cgroup would name it.
fn named(folder: &Path, top: &Path) -> String {
    let below = folder.strip_prefix(top).map_or_else(|_| PathBuf::new(), Path::to_owned);
    format!("/{}", below.display())
}

#[cfg(test)]
mod tests;
