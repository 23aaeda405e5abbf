//! The trial of a Debian package: a fresh Debian, into which it is installed, run and purged.

use super::release::{LIMIT, done};
use crate::interrupt::Interrupt;
use crate::packages::Rights;
use crate::run::run;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// The Debian in which it is tried: the one whose glibc every newer one takes.
const SUITE: &str = "bookworm";

/// What is done in the fresh Debian, with $1 its folder. It says what failed.
const TRIAL: &str = r#"
set -eu
root=$1
files() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./sys -o -path ./var/lib/dpkg -o -path ./var/log \
    -o -path ./var/cache \) -prune -o -print | sort); }
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
files > "$root/../before"
in_root dpkg --install /package.deb
in_root memtwin --version
echo "checking with KVM, or with a plain process where there is none"
in_root memtwin check --quiet --rounds 20
in_root sh -c 'test -s /usr/share/man/man1/memtwin-lab-run-check.1.gz'
in_root bash -n /usr/share/bash-completion/completions/memtwin
in_root sh -c 'test -s /usr/share/zsh/vendor-completions/_memtwin -a -s /usr/share/fish/vendor_completions.d/memtwin.fish'
in_root sh -c 'test -e /lib/systemd/system/memtwin-check.timer'
# Nobody has decided that it runs.
in_root sh -c '! find /etc/systemd -name "memtwin*" | grep .'
in_root dpkg --purge memtwin
files > "$root/../after"
diff "$root/../before" "$root/../after"
echo "nothing is left of it"
"#;

/// Whether it passes. As root: a fresh Debian is entered.
pub(super) fn run_trial(deb: &Path, interrupt: &Interrupt) -> anyhow::Result<bool> {
    ensure!(Rights::ours() == Rights::Root, "--try enters a fresh Debian: run it as root");
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let root = folder.path().join("root");
    let mut fresh = Command::new("mmdebstrap");
    fresh.args(["--quiet", "--variant=minbase", "--mode=root", SUITE]).arg(&root);
    done(&mut fresh, LIMIT, interrupt)?;
    super::stage::copy(deb, &root.join("package.deb"))?;
    let mut trial = Command::new("sh");
    // In mounts of its own: whatever becomes of it, none stays.
    let mut unshared = Command::new("unshare");
    trial.args(["-c", TRIAL, "trial"]).arg(&root);
    unshared.arg("--mount").arg(trial.get_program()).args(trial.get_args());
    let ended = run(&mut unshared, LIMIT, interrupt)?;
    eprintln!("trial of {}: {ended}", deb.display());
    Ok(ended.is_success())
}
