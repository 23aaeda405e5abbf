//! A machine that is ready for an experiment: a board that is booted for it, one that is up, or a real one by
//! ssh. It has Memtwin, the image of a guest, and a /dev/kvm.

use crate::local_receiver::LocalReceiver;
use crate::run_result::machine_failure;
use crate::{guest_image, not_found};
use memtwin_lab::board::BoardSpec;
use memtwin_lab::boards::{Lab, LabError, LabFile, LabFolder, LabSpec, Node};
use memtwin_lab::host::{self, HostError};
use memtwin_lab::image::{Image, ImageSpec};
use memtwin_lab::remote_runner::{RemoteError, RemoteRunner, RunOutput};
use memtwin_lab::{Arch, Flavour, MachineError, Progress, Silent, provision, running_lab};
use memtwin_report::Failure;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The one board.
const BOARD: &str = "board";
/// What the board is asked for besides, and what it may take.
const SHORT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a machine that is not reached any more may take to say its last.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// What is special about a run on another machine.
#[derive(Clone, Debug)]
pub struct RemoteArgs {
    /// The kernel of a board that is booted for it.
    pub board_kernel: Flavour,
    /// That board's CPU, by QEMU's name.
    pub board_cpu: String,
    /// A folder with the programs for the machine and its guests, built before; `None`: they are built.
    pub board_programs: Option<PathBuf>,
    /// The folder of the lab in which `emulated:NAME` is up; `None`: the default one.
    pub state: Option<PathBuf>,
    /// How long a run may take there.
    pub timeout: Duration,
}

/// Why no record came back.
pub(crate) enum RemoteFailure {
    /// Something is missing here or there: nothing ran.
    Failure(Failure),
    /// The machine died, or was not reached any more: what it was, and its last lines.
    Died(String, Vec<String>),
}

impl From<Failure> for RemoteFailure {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// A machine that is ready for our commands.
pub(crate) struct RemoteMachine {
    runner: RemoteRunner,
    /// The folder of the guest's image there.
    guest: String,
    /// The board that is booted for it.
    lab: Option<Lab>,
    /// For the twins that are received here.
    twins: tempfile::TempDir,
}

impl RemoteMachine {
    /// Makes it ready; boots it if it is a board of ours.
    pub(crate) fn prepare(
        name: &str,
        args: &RemoteArgs,
        modules: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Self, RemoteFailure> {
        let mut this = if name == "emulated" {
            Self::boot(args, modules, progress)?
        } else {
            Self::given(name, args, modules, progress)?
        };
        let name = this.name().to_owned();
        progress.say(&format!("{name}: ready"));
        match host::run(this.runner.host(), "test -c /dev/kvm", SHORT_TIMEOUT, progress) {
            Ok(_) => Ok(this),
            Err(HostError::Failed { .. }) => Err(Failure::environment(format!(
                "{name}: no /dev/kvm there; its CPU needs EL2, its kernel KVM"
            ))
            .into()),
            Err(error) => Err(this.lost(error)),
        }
    }

    fn boot(
        args: &RemoteArgs,
        modules: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Self, RemoteFailure> {
        provision::need_qemu(Arch::Aarch64).map_err(Failure::environment)?;
        let programs = args.board_programs.as_deref();
        let (image, mut files) =
            provision::board_image_and_programs(args.board_kernel, programs, progress)
                .map_err(Failure::environment)?;
        let Image { kernel, initrd } = guest(Arch::Aarch64, &files, modules, progress)?;
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
        let lab = Lab::boot(&spec, &image, folder, progress).map_err(|error| match error {
            LabError::Board { name, error } if !matches!(error, MachineError::Start { .. }) => {
                died(&name, &error)
            }
            error => Failure::environment(error).into(),
        })?;
        let none = || Failure::environment("the lab has no board");
        let host = Arc::new(lab.board(BOARD).ok_or_else(none)?.host.clone());
        // A board of ours forgets all by itself.
        let (runner, guest) = (RemoteRunner::installed(host), "/lab/guest".to_owned());
        Ok(Self { runner, guest, lab: Some(lab), twins: crate::run_folder()? })
    }

    fn given(
        name: &str,
        args: &RemoteArgs,
        modules: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Self, RemoteFailure> {
        let host = running_lab::named_host(name, args.state.as_deref()).map_err(not_found)?;
        let runner = RemoteRunner::with_folder(Arc::from(host), progress);
        let runner = runner.map_err(Failure::environment)?;
        let arch = runner.machine(progress).map_err(Failure::environment)?;
        let arch: Arch = arch.parse().map_err(Failure::environment)?;
        if arch != Arch::Aarch64 {
            let why = format!(
                "{name}: {arch}: expected an aarch64 machine, as KVM there runs no aarch64 guest; `--hosts \
                 emulated` has a board with KVM/arm64, and the command on {name} itself runs the guest under TCG"
            );
            return Err(Failure::environment(why).into());
        }
        let programs = args.board_programs.as_deref();
        let files = provision::board_programs(programs, progress).map_err(Failure::environment)?;
        let Image { kernel, initrd } = guest(arch, &files, modules, progress)?;
        let memtwin = files.iter().find(|file| file.path == "bin/memtwin").map(|file| &file.from);
        let memtwin = memtwin.ok_or_else(|| Failure::environment("no memtwin was built"))?;
        let folder = runner.folder().to_owned();
        progress.say(&format!("{name}: files to {folder}"));
        runner.install(Some(memtwin), progress).map_err(Failure::environment)?;
        for (from, name) in [(&kernel, "kernel"), (&initrd, "initrd")] {
            let put = runner.host().put(from, &format!("{folder}/{name}"), 0o644);
            put.map_err(Failure::environment)?;
        }
        Ok(Self { runner, guest: folder, lab: None, twins: crate::run_folder()? })
    }

    /// Its name, as a host.
    pub(crate) fn name(&self) -> &str {
        self.runner.host().name()
    }

    /// The folder of the guest's image there.
    pub(crate) fn guest(&self) -> &str {
        &self.guest
    }

    /// Receives a twin here of a guest there.
    pub(crate) fn receiver(
        &self,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<LocalReceiver, Failure> {
        let file = self.twins.path().join(format!("twin-{name}"));
        LocalReceiver::begin(self.runner.host(), file, progress)
    }

    /// Runs `memtwin WORDS` there, for the record; what it complains of is told while it goes on.
    pub(crate) fn run(
        &mut self,
        words: &[String],
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<RunOutput, RemoteRunError> {
        self.runner.run(words, limit, progress).map_err(|error| match error {
            RemoteError::NoRecord { said, .. } => RemoteRunError::NoRecord(said),
            RemoteError::Host(error) => RemoteRunError::Lost(self.lost(error)),
            error => RemoteRunError::Lost(Failure::environment(error).into()),
        })
    }

    /// What became of a machine that did not answer as it should.
    fn lost(&mut self, error: HostError) -> RemoteFailure {
        if error.is_cancelled() {
            return Failure::environment(error).into();
        }
        let console = self.lab.as_mut().and_then(|lab| {
            lab.folder.keep_consoles();
            let board = lab.boards.iter_mut().find(|board| board.host.label() == BOARD)?;
            let end = "the end of the run";
            board.machine.line(end, LAST_WORDS_TIMEOUT, &mut Silent, &mut |_| false).err()
        });
        match (console, &error) {
            // What ssh complains of then is nothing more.
            (Some(console), _) => died(BOARD, &console),
            (None, HostError::Unreachable { .. } | HostError::TimedOut { .. }) => {
                RemoteFailure::Died(error.to_string(), Vec::new())
            }
            (None, _) => Failure::environment(error).into(),
        }
    }
}

/// Why a command there left nothing to merge.
pub(crate) enum RemoteRunError {
    /// It ended without a record; what it said.
    NoRecord(Vec<String>),
    /// It did not end as it should.
    Lost(RemoteFailure),
}

/// A machine's end as a reason, and its console's last lines.
fn died(name: &str, error: &MachineError) -> RemoteFailure {
    let (reason, last) = machine_failure(error);
    let mut last = last.to_vec();
    if let MachineError::Ended { log, .. }
    | MachineError::Panicked { log, .. }
    | MachineError::TimedOut { log, .. } = error
    {
        last.push(format!("all of it is in {}", log.display()));
    }
    RemoteFailure::Died(format!("board {name}: {reason}"), last)
}

/// The guest's kernel and initramfs.
fn guest(
    arch: Arch,
    files: &[LabFile],
    modules: &[&str],
    progress: &mut dyn Progress,
) -> Result<Image, Failure> {
    let ours = files.iter().filter(|file| file.path != "bin/memtwin");
    let programs: Vec<PathBuf> = ours.map(|file| file.from.clone()).collect();
    let cache = provision::open_cache(progress).map_err(Failure::environment)?;
    let spec = ImageSpec { modules, ..guest_image(arch, &programs) };
    spec.build(&cache, progress).map_err(Failure::environment)
}
