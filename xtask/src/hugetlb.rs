//! Pages for the hugetlb tests (Documentation/admin-guide/mm/hugetlbpage.rst): on most machines the
//! kernel's pool is empty. Some are reserved for the time of the tests and given back.

use crate::packages::Rights;
use anyhow::{Context, bail};
use memtwin_child::Spawn;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// How much the tests need at the same time, in bytes, and in pages at least: a test takes two, and
/// as many tests run side by side as there are CPUs.
const BYTES: u64 = 32 << 20;
const PAGES: u64 = 8;

/// Pages that were added to the pool; taken out again when this is dropped.
pub(crate) struct Reserved {
    pool: PathBuf,
    rights: Rights,
    added: u64,
}

/// Makes sure that enough pages are free for the tests; none is reserved where enough are.
///
/// Errors: the pool can't be enlarged, or not as far; it is as it was then.
pub(crate) fn reserve(rights: Rights) -> anyhow::Result<Option<Reserved>> {
    let (size, free) = free().context("this kernel has no hugetlb pages")?;
    let need = BYTES.div_ceil(size).max(PAGES);
    if free >= need {
        eprintln!("hugetlb: {free} free pages of {size} bytes will do");
        return Ok(None);
    }
    let reserved = Reserved::add(Path::new(POOL), need, rights)?;
    if reserved.added < need {
        bail!("of {need} more hugetlb pages the kernel gave {}: memory is short", reserved.added);
    }
    eprintln!("hugetlb: reserved {need} pages of {size} bytes; they go back when the tests end");
    Ok(Some(reserved))
}

impl Reserved {
    fn add(pool: &Path, pages: u64, rights: Rights) -> anyhow::Result<Self> {
        let before = read(pool)?;
        write(pool, before + pages, rights)?;
        // From here on a failure gives back.
        let mut this = Self { pool: pool.to_owned(), rights, added: 0 };
        this.added = read(pool)?.saturating_sub(before);
        Ok(this)
    }

    /// Takes out of the pool what was added, not more: someone else may have changed it meanwhile.
    fn give_back(&self) -> anyhow::Result<()> {
        if self.added == 0 {
            return Ok(());
        }
        write(&self.pool, read(&self.pool)?.saturating_sub(self.added), self.rights)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        match self.give_back() {
            Ok(()) => eprintln!("hugetlb: gave {} pages back", self.added),
            Err(error) => eprintln!("hugetlb: {} pages are still reserved: {error:#}", self.added),
        }
    }
}

fn read(pool: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(pool).with_context(|| pool.display().to_string())?;
    text.trim().parse().with_context(|| format!("{}: '{}'", pool.display(), text.trim()))
}

fn write(pool: &Path, pages: u64, rights: Rights) -> anyhow::Result<()> {
    if rights == Rights::Sudo {
        let mut tee = rights
            .command("tee")
            .arg(pool)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn_on_stdin()
            .context("can't start sudo")?;
        if let Some(mut stdin) = tee.stdin.take() {
            writeln!(stdin, "{pages}").context("can't speak to sudo tee")?;
        }
        let status = tee.wait().context("can't wait for sudo")?;
        if !status.success() {
            bail!("sudo tee {}: {status}", pool.display());
        }
        return Ok(());
    }
    fs::write(pool, format!("{pages}\n")).with_context(|| format!("can't write {}", pool.display()))
}

/// The size of a page in bytes, and how many are free and promised to nobody.
fn free() -> Option<(u64, u64)> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let free = field("HugePages_Free:")?.saturating_sub(field("HugePages_Rsvd:")?);
    Some((field("Hugepagesize:")? * 1024, free))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the place of the kernel's, which holds a number.
    fn pool(pages: u64) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nr_hugepages");
        fs::write(&file, format!("{pages}\n")).unwrap();
        (folder, file)
    }

    #[test]
    fn what_was_added_is_given_back_also_when_the_tests_panic() {
        let (_folder, pool) = pool(3);
        let during = std::panic::catch_unwind(|| {
            let _reserved = Reserved::add(&pool, 16, Rights::Root).unwrap();
            assert_eq!(read(&pool).unwrap(), 19);
            std::panic::resume_unwind(Box::new("the tests"));
        });
        assert!(during.is_err());
        assert_eq!(read(&pool).unwrap(), 3);
    }

    #[test]
    fn what_others_have_added_meanwhile_stays() {
        let (_folder, pool) = pool(0);
        let reserved = Reserved::add(&pool, 16, Rights::Root).unwrap();
        fs::write(&pool, "20\n").unwrap();
        drop(reserved);
        assert_eq!(read(&pool).unwrap(), 4);
    }

    #[test]
    fn a_pool_that_can_not_be_had_is_an_error() {
        assert!(Reserved::add(Path::new("/no/such/pool"), 1, Rights::Root).is_err());
    }
}
