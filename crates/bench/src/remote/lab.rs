//! Two network namespaces with a shaped link between them, and a receiver in one.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A `memtwin receive`, ended with this.
pub(super) struct Receiver {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Receiver {
    pub(super) fn start(
        mut command: Command,
        listen: &str,
        dir: &Path,
        more: &[&str],
    ) -> Result<Self> {
        command.args(["receive", listen]).arg(dir.join("twin")).args(more);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stderr.take().context("its standard error")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let address = line.split_whitespace().find_map(|word| word.parse().ok());
        // Nobody else reads it, and it must not fill up.
        thread::spawn(move || said.read_to_end(&mut Vec::new()));
        match address {
            Some(address) => Ok(Self { child, address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the receiver said: {line}")
            }
        }
    }

    /// Waits for its end, whatever it is.
    pub(super) fn end(&mut self) -> Result<()> {
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(began.elapsed() < Duration::from_secs(60), "the receiver does not end");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ip(args: &str) -> Result<()> {
    let mut words = args.split_whitespace();
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).output().with_context(|| args.to_owned())?;
    ensure!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Two namespaces, gone when this is dropped.
struct Namespaces {
    a: String,
    b: String,
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            // The link goes with its ends.
            let _ = ip(&format!("ip netns del {name}"));
        }
    }
}

impl Namespaces {
    fn make() -> Result<Self> {
        sweep();
        let id = std::process::id();
        let this = Self { a: format!("memtwin-a-{id}"), b: format!("memtwin-b-{id}") };
        let (a, b) = (&this.a, &this.b);
        ip(&format!("ip netns add {a}"))?;
        ip(&format!("ip netns add {b}"))?;
        ip(&format!("ip -n {a} link add mt0 type veth peer name mt0 netns {b}"))?;
        for (name, address) in [(a, "10.77.0.1/24"), (b, "10.77.0.2/24")] {
            ip(&format!("ip -n {name} addr add {address} dev mt0"))?;
            ip(&format!("ip -n {name} link set lo up"))?;
            ip(&format!("ip -n {name} link set mt0 up"))?;
            ip(&format!(
                "tc -n {name} qdisc add dev mt0 root tbf rate 1gbit burst 256k latency 50ms"
            ))?;
        }
        Ok(this)
    }

    fn run(&self, name: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        // Ended with us, however we end.
        command.args(["netns", "exec", name, "setpriv", "--pdeathsig", "KILL"]).arg(program);
        command
    }
}

/// Removes what a killed one of us has left.
fn sweep() {
    let list = Command::new("ip").args(["netns", "list"]).output();
    let names = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    for name in names.unwrap_or_default().lines().filter_map(|line| line.split(' ').next()) {
        let pid = name.strip_prefix("memtwin-a-").or(name.strip_prefix("memtwin-b-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = ip(&format!("ip netns del {name}"));
        }
    }
}

/// Runs this program again as the sender, with a receiver on the other side of the link.
pub(super) fn in_two_namespaces(dir: &Path, memtwin: &Path) -> Result<()> {
    let lab = Namespaces::make().context("two network namespaces (this needs root)")?;
    let receiver = Receiver::start(
        lab.run(&lab.b, memtwin),
        "10.77.0.2:4870",
        dir,
        &["--insecure-plaintext", "--forever"],
    )?;
    let mut sender = lab.run(&lab.a, &std::env::current_exe()?);
    sender.arg("--memtwin").arg(memtwin).arg("--remote-sender").arg(receiver.address.to_string());
    let status = sender.status()?;
    ensure!(status.success(), "the sender: {status}");
    Ok(())
}
