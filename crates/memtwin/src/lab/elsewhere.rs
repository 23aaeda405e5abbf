//! Our own commands on another machine: a board that is booted for it, one that is up, or a real one
//! by ssh. The machine is given Memtwin and a guest's image; its record and what it says come back.

use super::boards::{self, Kernel};
use super::outside::Outside;
use super::replicate::{need_qemu, spec};
use super::talk::Talk;
use clap::Args;
use memtwin_lab::board::BoardSpec;
use memtwin_lab::boards::{Lab, LabError, LabFile, LabFolder, LabSpec, Node};
use memtwin_lab::host::{self, Host, HostError, quoted};
use memtwin_lab::image::Image;
use memtwin_lab::{Arch, Cache, MachineError, Progress};
use memtwin_report::Failure;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The one board.
const BOARD: &str = "board";
/// What the board is asked for besides, and what it may take.
const ASK: Duration = Duration::from_secs(60);
/// How long a machine that is not reached any more may take to say its last.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The line before what a command returned.
const RETURNED: &str = "MEMTWIN RETURNED ";

/// What is special about a run on another machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Elsewhere {
    /// The emulated board's kernel
    #[arg(long, value_enum, default_value = "4k", value_name = "4k|16k")]
    pub(crate) board_kernel: Kernel,
    /// The emulated board's CPU, by QEMU's name
    #[arg(long, default_value = "max", value_name = "CPU")]
    pub(crate) board_cpu: String,
    /// A directory with the programs for the other machine and its guests, built before (`cargo xtask
    /// guest --memtwin`) [default: they are built from the source tree]
    #[arg(long, value_name = "DIR")]
    pub(crate) board_programs: Option<PathBuf>,
    /// Where `emulated:NAME` is up, if it was started with --state
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// How long a run may take there
    #[arg(long, default_value = "10m", value_name = "TIME")]
    pub(crate) board_timeout: crate::values::Time,
}

/// Why nothing came back.
pub(super) enum Lost {
    /// Something is missing here or there: nothing ran.
    Failure(Failure),
    /// The machine died, or was not reached any more: what it was, and its last lines.
    Died(String, Vec<String>),
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// What came of a command there.
pub(super) struct Ran {
    /// What it returned.
    pub(super) rc: i32,
    /// What it said on standard output.
    pub(super) said: Vec<String>,
    /// Its record, if it left one.
    pub(super) record: Option<Value>,
}

/// A machine that is ready for our commands.
pub(super) struct There {
    pub(super) host: Box<dyn Host>,
    /// Memtwin, and the folder of the guest's image.
    memtwin: String,
    pub(super) guest: String,
    /// The board that is booted for it.
    lab: Option<Lab>,
    /// A folder of ours there, to be removed.
    folder: Option<String>,
    /// Where files that come back are put.
    here: tempfile::TempDir,
}

impl There {
    /// Makes it ready; boots it if it is a board of ours.
    pub(super) fn prepare(
        name: &str,
        args: &Elsewhere,
        modules: &[&str],
        talk: &mut Talk,
    ) -> Result<Self, Lost> {
        let here = tempfile::Builder::new().prefix("memtwin-lab-").tempdir();
        let here = here.map_err(Failure::environment)?;
        let mut this = if name == "emulated" {
            Self::boot(args, modules, here, talk)?
        } else {
            Self::given(name, args, modules, here, talk)?
        };
        let name = this.host.name().to_owned();
        talk.say(&format!("{name}: ready"));
        match this.line("test -c /dev/kvm", ASK, talk) {
            Ok(_) => Ok(this),
            Err(HostError::Failed { .. }) => Err(Failure::environment(format!(
                "{name}: no /dev/kvm there; its CPU needs EL2, its kernel KVM"
            ))
            .into()),
            Err(error) => Err(this.lost(error)),
        }
    }

    fn boot(
        args: &Elsewhere,
        modules: &[&str],
        here: tempfile::TempDir,
        talk: &mut Talk,
    ) -> Result<Self, Lost> {
        need_qemu(Arch::Aarch64)?;
        let programs = args.board_programs.as_deref();
        let (image, mut files) = boards::image_and_programs(args.board_kernel, programs, talk)?;
        let Image { kernel, initrd } = guest(Arch::Aarch64, &files, modules, talk)?;
        for (name, from) in [("kernel", kernel), ("initrd", initrd)] {
            files.push(LabFile { path: format!("guest/{name}"), from, program: false });
        }
        let node = Node {
            name: BOARD.to_owned(),
            // Room for QEMU and a guest of 512 MiB.
            spec: BoardSpec { cpu: args.board_cpu.clone(), memory: 1280, ..BoardSpec::default() },
            nics: Vec::new(),
            disks: Vec::new(),
            load: Vec::new(),
        };
        let folder = LabFolder::temporary().map_err(Failure::environment)?;
        let spec = LabSpec { nodes: vec![node], files };
        let lab = Lab::boot(&spec, &image, folder, talk).map_err(|error| match error {
            LabError::Board { name, error } if !matches!(error, MachineError::Start { .. }) => {
                died(&name, &error)
            }
            error => Lost::Failure(boards::no_lab(error)),
        })?;
        let none = || Failure::environment("the lab has no board");
        let host = Box::new(lab.board(BOARD).ok_or_else(none)?.host.clone());
        let (memtwin, guest) = ("memtwin".to_owned(), "/lab/guest".to_owned());
        Ok(Self { host, memtwin, guest, lab: Some(lab), folder: None, here })
    }

    fn given(
        name: &str,
        args: &Elsewhere,
        modules: &[&str],
        here: tempfile::TempDir,
        talk: &mut Talk,
    ) -> Result<Self, Lost> {
        let host = super::state::host(name, args.state.as_deref())?;
        let (memtwin, guest_folder) = (String::new(), String::new());
        let mut this = Self { host, memtwin, guest: guest_folder, lab: None, folder: None, here };
        let said = this.line("uname -m; mktemp -d /tmp/memtwin-XXXXXX", ASK, talk);
        let said = said.map_err(Failure::environment)?;
        let mut lines = said.lines();
        let (arch, folder) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        this.folder = Some(folder.to_owned());
        let arch: Arch = arch.parse().map_err(Failure::environment)?;
        if arch != Arch::Aarch64 {
            let why = format!(
                "{name}: {arch}: expected an aarch64 machine, as KVM there runs no aarch64 guest; `--hosts \
                 emulated` has a board with KVM/arm64, and the command on {name} itself runs the guest under TCG"
            );
            return Err(Failure::environment(why).into());
        }
        let files = boards::programs(args.board_programs.as_deref(), talk)?;
        let Image { kernel, initrd } = guest(arch, &files, modules, talk)?;
        let memtwin = files.iter().find(|file| file.path == "bin/memtwin").map(|file| &file.from);
        let memtwin = memtwin.ok_or_else(|| Failure::environment("no memtwin was built"))?;
        talk.say(&format!("{name}: files to {folder}"));
        for (from, name, mode) in
            [(memtwin, "memtwin", 0o755), (&kernel, "kernel", 0o644), (&initrd, "initrd", 0o644)]
        {
            let put = this.host.put(from, &format!("{folder}/{name}"), mode);
            put.map_err(Failure::environment)?;
        }
        this.memtwin = format!("{folder}/memtwin");
        this.guest = folder.to_owned();
        Ok(this)
    }

    /// A twin here of a guest there.
    pub(super) fn outside(&self, name: &str, talk: &mut Talk) -> Result<Outside, Failure> {
        Outside::begin(&*self.host, self.here.path().join(format!("twin-{name}")), talk)
    }

    fn line(&self, line: &str, limit: Duration, talk: &mut Talk) -> Result<String, HostError> {
        host::run(&*self.host, line, limit, talk)
    }

    /// Runs `memtwin WORDS --json …` there; what it complains of is told while it goes on.
    pub(super) fn memtwin(
        &mut self,
        words: &[String],
        limit: Duration,
        talk: &mut Talk,
    ) -> Result<Ran, Lost> {
        let folder = self.folder.clone().unwrap_or_else(|| "/tmp".to_owned());
        let record = format!("{folder}/record.json");
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let line = format!(
            "rm -f {record}; TMPDIR={folder} {} {} --json {record}; echo \"{RETURNED}$?\"; test -e {record}",
            self.memtwin,
            words.join(" ")
        );
        let said = match host::run_aloud(&*self.host, &line, limit, talk) {
            Ok(said) => said,
            // It left none; what it said tells why.
            Err(HostError::Failed { rc: 1, last, .. }) => {
                return Ok(Ran { rc: 1, said: last, record: None });
            }
            Err(error) => return Err(self.lost(error)),
        };
        let mut said: Vec<String> = said.lines().map(str::to_owned).collect();
        let rc =
            said.pop().and_then(|line| line.strip_prefix(RETURNED)?.parse().ok()).unwrap_or(-1);
        let here = self.here.path().join("record.json");
        self.host.get(&record, &here).map_err(|error| self.lost(error))?;
        Ok(Ran { rc, said, record: read(&here) })
    }

    /// What became of a machine that did not answer as it should.
    fn lost(&mut self, error: HostError) -> Lost {
        if error.is_cancelled() {
            return Failure::environment(error).into();
        }
        let console = self.lab.as_mut().and_then(|lab| {
            lab.folder.keep_consoles();
            let board = lab.boards.iter_mut().find(|board| board.host.label() == BOARD)?;
            let silent = &mut memtwin_lab::Silent;
            board.machine.line("the end of the run", LAST_WORDS, silent, &mut |_| false).err()
        });
        match (console, &error) {
            (Some(console), _) => {
                let Lost::Died(reason, last) = died(BOARD, &console) else {
                    return Failure::environment(error).into();
                };
                // What ssh complains of then is nothing more.
                Lost::Died(reason, last)
            }
            (None, HostError::Unreachable { .. } | HostError::TimedOut { .. }) => {
                Lost::Died(error.to_string(), Vec::new())
            }
            (None, _) => Failure::environment(error).into(),
        }
    }
}

impl Drop for There {
    fn drop(&mut self) {
        // A board of ours forgets all by itself.
        if let Some(folder) =
            self.folder.take().filter(|folder| folder.starts_with("/tmp/memtwin-"))
        {
            let line = format!("rm -rf {}", quoted(&folder));
            let _ = host::run(&*self.host, &line, ASK, &mut memtwin_lab::Silent);
        }
    }
}

/// A machine's end as a reason, and its console's last lines.
fn died(name: &str, error: &MachineError) -> Lost {
    let (reason, last) = super::found::account(error);
    let mut last = last.to_vec();
    if let MachineError::Ended { log, .. }
    | MachineError::Panicked { log, .. }
    | MachineError::TimedOut { log, .. } = error
    {
        last.push(format!("all of it is in {}", log.display()));
    }
    Lost::Died(format!("board {name}: {reason}"), last)
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// The guest's kernel and initramfs.
fn guest(
    arch: Arch,
    files: &[LabFile],
    modules: &[&str],
    talk: &mut Talk,
) -> Result<Image, Failure> {
    let ours = files.iter().filter(|file| file.path != "bin/memtwin");
    let programs: Vec<PathBuf> = ours.map(|file| file.from.clone()).collect();
    let place = Cache::place().map_err(Failure::environment)?;
    let cache = Cache::open(&place, talk).map_err(Failure::environment)?;
    let spec = memtwin_lab::image::ImageSpec { modules, ..spec(arch, &programs) };
    spec.build(&cache, talk).map_err(Failure::environment)
}
