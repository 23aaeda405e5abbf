//! Two network namespaces with a shaped link between them.
//!
//! They have no names, only processes that hold them (`cat`, until our end of its pipe closes): so
//! they are gone when we are, however we end.
//!
//! References: network_namespaces(7), setns(2), tc-tbf(8).

use anyhow::{Context, Result, anyhow, ensure};
use memtwin_child::Spawn;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long the kernel may take to make a namespace.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The link: as fast as the one of the reference setup.
const SHAPE: &str = "tbf rate 1gbit burst 256k latency 50ms";

/// A network namespace, held by a process of ours.
struct Namespace(Child);

impl Namespace {
    fn make() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let this = Self(command.spawn_bound().context("unshare")?);
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        let began = Instant::now();
        // Until it has left ours.
        while std::fs::read_link(this.path()).context("unshare has ended; this needs root")? == ours
        {
            ensure!(began.elapsed() < TIMEOUT, "unshare makes no network namespace");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(this)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One side of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkSide {
    /// Where the guest is.
    Here,
    /// Where its twin is, or the destination that it migrates to.
    There,
}

impl LinkSide {
    pub(super) const fn address(self) -> &'static str {
        match self {
            Self::Here => "10.77.0.1",
            Self::There => "10.77.0.2",
        }
    }
}

/// Both, and the link. Gone when this is dropped, and when we die.
pub(super) struct BenchLink {
    here: Namespace,
    there: Namespace,
}

impl BenchLink {
    pub(super) fn make() -> Result<Self> {
        let this = Self { here: Namespace::make()?, there: Namespace::make()? };
        let there = this.there.0.id();
        this.run(
            LinkSide::Here,
            &format!("ip link add mt0 type veth peer name mt0 netns {there}"),
        )?;
        for side in [LinkSide::Here, LinkSide::There] {
            this.run(side, &format!("ip addr add {}/24 dev mt0", side.address()))?;
            this.run(side, "ip link set lo up")?;
            this.run(side, "ip link set mt0 up")?;
            this.run(side, &format!("tc qdisc add dev mt0 root {SHAPE}"))?;
        }
        Ok(this)
    }

    fn side(&self, side: LinkSide) -> &Namespace {
        match side {
            LinkSide::Here => &self.here,
            LinkSide::There => &self.there,
        }
    }

    /// A command that runs a program on one side. The program is the command's own process.
    pub(super) fn command(&self, side: LinkSide, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.side(side).path().display())).arg("--").arg(program);
        command
    }

    fn run(&self, side: LinkSide, line: &str) -> Result<()> {
        let mut words = line.split_whitespace();
        let mut command = self.command(side, words.next().unwrap_or_default().as_ref());
        let output = command.args(words).output().with_context(|| line.to_owned())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{line}: {}", said.trim());
        Ok(())
    }

    /// Does something in a thread on one side.
    pub(super) fn within<T: Send>(
        &self,
        side: LinkSide,
        what: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let namespace = File::open(self.side(side).path())?;
        let inside = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            what()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .map_err(|_| anyhow!("a thread in a network namespace panicked"))?
    }
}
