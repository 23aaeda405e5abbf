//! A lab: emulated ARMv8 boards with a root file system, a management network that only we reach, and
//! a shared network of their own. Nobody needs to be root. Each board is a [`Host`](crate::host::Host)
//! by ssh.
//!
//! All of it is in one folder, and ends with the [`Lab`]: also when we are killed.

mod error;
mod folder;
mod hub;
mod keyboard;
mod master;
mod need;
mod programs;
mod qemu;

pub use error::LabError;
pub use folder::LabFolder;
pub use hub::{Hub, Port};
pub use need::need;

use crate::board::{Board, BoardSpec};
use crate::host::{BoardAccess, run};
use crate::machine::MachineError;
use crate::root::BoardImage;
use crate::{Machine, Progress};
use master::Master;
use qemu::Wiring;
pub(crate) use qemu::comma_doubled;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// How long a board may take to start on a busy machine.
const START: Duration = Duration::from_secs(240);
/// How long ssh may take for a first answer.
const ANSWER: Duration = Duration::from_secs(90);
/// How often a board is started if its port was taken meanwhile.
const TRIES: u32 = 5;

/// A network card of a board, on the shared network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Its address with the length of the prefix, `192.168.10.100/24`; none if it is only set up.
    pub address: Option<String>,
    /// The largest packet, unless the usual one: larger ones are cheaper on an emulated CPU.
    pub mtu: Option<u16>,
}

/// A board of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name of the board.
    pub name: String,
    /// CPU and memory.
    pub spec: BoardSpec,
    /// eth1, eth2, …: eth0 is the management network.
    pub nics: Vec<Nic>,
    /// Further disks, raw images, from /dev/vdc on. What the board writes there goes with it.
    pub disks: Vec<PathBuf>,
    /// Kernel modules that are loaded at its start: nfsd, nfsv4, tun, …
    pub load: Vec<String>,
}

/// A file that all boards find below /lab: its path there, ours, and whether it is a program. What is
/// in `bin` is in their PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabFile {
    /// Where it is found below /lab.
    pub path: String,
    /// Where it is here.
    pub from: PathBuf,
    /// Whether it is a program.
    pub program: bool,
}

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// Its boards.
    pub nodes: Vec<Node>,
    /// What they find below /lab.
    pub files: Vec<LabFile>,
}

/// A board that runs. It is off when this is dropped.
#[derive(Debug)]
pub struct RunningBoard {
    /// Its console, and orders by it.
    pub machine: Machine,
    /// It, to run things on.
    pub host: Board,
    _master: Option<Master>,
}

/// Boards that run, with their networks. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Lab {
    /// The boards, in the order of the spec.
    pub boards: Vec<RunningBoard>,
    /// Their network.
    pub hub: Hub,
    /// Where their consoles are kept.
    pub folder: LabFolder,
}

impl Lab {
    /// Starts the boards side by side, and waits until each takes orders and ssh reaches it.
    ///
    /// They are killed when the thread that calls this ends, or we are. Errors: something they need is
    /// missing here; one does not come up: its console is kept then.
    pub fn boot(
        spec: &LabSpec,
        image: &BoardImage,
        mut folder: LabFolder,
        progress: &mut dyn Progress,
    ) -> Result<Self, LabError> {
        need(spec)?;
        let booted = Self::boot_in(spec, image, &folder, progress);
        match booted {
            Ok((boards, hub)) => Ok(Self { boards, hub, folder }),
            Err(error) => {
                if !error.is_cancelled() {
                    folder.keep_consoles();
                }
                Err(error)
            }
        }
    }

    fn boot_in(
        spec: &LabSpec,
        image: &BoardImage,
        folder: &LabFolder,
        progress: &mut dyn Progress,
    ) -> Result<(Vec<RunningBoard>, Hub), LabError> {
        let key = folder.new_key(progress)?;
        let files = programs::image(&spec.files, folder, progress)?;
        let hub = Hub::start()?;
        let mut starts = Vec::new();
        for (index, node) in spec.nodes.iter().enumerate() {
            let mut sockets = Vec::new();
            for (card, _) in node.nics.iter().enumerate() {
                let socket = folder.path(&format!("{}.{card}.net", node.name));
                let port = hub.port(&node.name, &socket)?;
                sockets.push((port.mac(), socket));
            }
            let wiring = Wiring { image, files: &files, sockets, index };
            let (machine, port) = start(node, &wiring, folder)?;
            starts.push((node, wiring, machine, port));
        }
        progress.say(&format!("{} boards boot", starts.len()));
        let mut boards = Vec::new();
        for (node, wiring, machine, port) in starts {
            boards.push(ready(node, &wiring, machine, port, folder, &key, progress)?);
        }
        for board in &mut boards {
            let said = run(&board.host, "true", ANSWER, progress);
            let name = board.host.label();
            said.map_err(|error| LabError::Silent { name: name.to_owned(), error })?;
            progress.say(&format!("board {name}: {}", board.host.about()));
        }
        Ok((boards, hub))
    }

    /// Lets others type at the boards' consoles, by the sockets of [`LabFolder::keyboard`].
    ///
    /// Errors: a socket can't be made.
    pub fn open_keyboards(&self) -> Result<(), LabError> {
        for board in &self.boards {
            let socket = board.host.keyboard();
            let keyboard = board.machine.keyboard().map_err(LabError::file(socket))?;
            keyboard::open(socket, keyboard)?;
        }
        Ok(())
    }

    /// The board of a name.
    pub fn board(&self, name: &str) -> Option<&RunningBoard> {
        self.boards.iter().find(|board| board.host.label() == name)
    }
}

/// Starts its QEMU, with a port that is free now.
fn start(node: &Node, wiring: &Wiring<'_>, folder: &LabFolder) -> Result<(Machine, u16), LabError> {
    let port = qemu::free_port()?;
    let mut command = wiring.command(node, port);
    let machine = Machine::start(&mut command, &folder.console(&node.name));
    let machine = machine.map_err(|error| LabError::board(&node.name, error))?;
    Ok((machine, port))
}

/// Waits until it takes orders.
fn ready(
    node: &Node,
    wiring: &Wiring<'_>,
    mut machine: Machine,
    mut port: u16,
    folder: &LabFolder,
    key: &std::path::Path,
    progress: &mut dyn Progress,
) -> Result<RunningBoard, LabError> {
    let failed = |error| LabError::board(&node.name, error);
    let mut tries = 1;
    let host_key = loop {
        let (what, prefix) = ("its host key", "MEMTWIN HOSTKEY ");
        let line = machine.line(what, START, progress, &mut |line| line.starts_with(prefix));
        match line {
            Ok(line) => break line[prefix.len()..].trim().to_owned(),
            Err(MachineError::Ended { last, .. })
                if tries < TRIES && last.iter().any(|line| line.contains("host forwarding")) =>
            {
                tries += 1;
                (machine, port) = start(node, wiring, folder)?;
            }
            Err(error) => return Err(failed(error)),
        }
    };
    let about = machine.ready(START, progress).map_err(failed)?;
    let known_hosts = folder.path(&format!("{}.known", node.name));
    fs::write(&known_hosts, format!("[127.0.0.1]:{port} {host_key}\n"))
        .map_err(LabError::file(&known_hosts))?;
    let control = folder.path(&format!("{}.ssh", node.name));
    let access = BoardAccess { port, key: key.to_owned(), known_hosts, control };
    let (console, keyboard) = (folder.console(&node.name), folder.keyboard(&node.name));
    let host = Board::new(node.name.clone(), about, console, keyboard, access);
    let master = Master::start(host.ssh(), &host.access().control, progress)?;
    Ok(RunningBoard { machine, host, _master: master })
}
