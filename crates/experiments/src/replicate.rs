//! The reference setup's second experiment, from the packages of a guest to the three sums: a Linux guest is booted, a program
//! dirties its device memory, that is replicated, and `sum -r` is compared on three sides (docs/reference-setup-b.md).

mod conclusion;
mod typed_command;
mod variants;

use crate::config::ReplicateExperimentConfig;
use crate::remote_experiment::{RemoteExperiment, refuse_local_options};
use crate::run_result::ExperimentReport;
use crate::twin_file::TwinFile;
use crate::{guest_image, remote_words};
use memtwin_lab::aeshmem::{Accel, Choice, Files, Setup, SetupError, Window};
use memtwin_lab::image::Image;
use memtwin_lab::{Arch, Progress, cross, provision};
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use memtwin_session::MemoryFile;
use std::path::Path;
use variants::WindowReplication;

/// The experiment, once it is known that it can be.
#[derive(Debug)]
pub struct ReplicateExperiment {
    config: ReplicateExperimentConfig,
    /// The guest on this machine; none on another.
    setup: Option<Setup>,
}

impl ReplicateExperiment {
    /// Chooses the guest.
    ///
    /// Errors: no such guest can be, or its log would not be sound.
    pub fn new(config: ReplicateExperimentConfig) -> Result<Self, Failure> {
        if config.hosts == "local" {
            let setup = Setup::choose(&config.guest).map_err(refused)?;
            return Ok(Self { config, setup: Some(setup) });
        }
        let Choice { arch, accel, layout, cpu, .. } = &config.guest;
        let options = [
            ("--arch x86_64", *arch != Arch::Aarch64),
            ("--accel tcg", *accel == Some(Accel::Tcg)),
            ("--layout", layout.is_some()),
            ("--cpu", cpu.is_some()),
        ];
        refuse_local_options(&config.hosts, &options)?;
        Ok(Self { config, setup: None })
    }

    /// What a run on this machine would fetch, build and start, in lines; none of another machine.
    ///
    /// Errors: the lists of packages can't be obtained.
    pub fn preview(&self, progress: &mut dyn Progress) -> Result<Option<Vec<String>>, Failure> {
        self.setup.as_ref().map(|setup| preview(&self.config, setup, progress)).transpose()
    }

    /// Runs it.
    ///
    /// Errors: something is missing, here or there.
    pub fn run(
        &self,
        command: String,
        stop: &CancelToken,
        progress: &mut dyn Progress,
    ) -> Result<ExperimentReport, Failure> {
        let config = &self.config;
        match &self.setup {
            Some(setup) => run_here(config, setup, command, stop, progress),
            None => {
                let experiment = RemoteExperiment {
                    case: "replicate/qemu",
                    hosts: &config.hosts,
                    args: &config.remote,
                    modules: &[],
                    ring: config.guest.ring,
                    window: Some(Window { address: None, offset: 0, bytes: config.guest.bytes }),
                    words: &|guest, ring, to| remote_words::replicate(config, guest, ring, to),
                };
                experiment.run(command, stop, progress)
            }
        }
    }
}

fn run_here(
    config: &ReplicateExperimentConfig,
    setup: &Setup,
    command: String,
    stop: &CancelToken,
    progress: &mut dyn Progress,
) -> Result<ExperimentReport, Failure> {
    provision::need_qemu(setup.arch()).map_err(Failure::environment)?;
    for line in setup.lines() {
        progress.say(&line);
    }
    let mut folder = crate::run_folder()?;
    let mut memory =
        MemoryFile::create(&config.memory, setup.memory_bytes()).map_err(Failure::environment)?;
    let image = image(config, setup.arch(), progress)?;
    let twin = config.twin.clone().unwrap_or_else(|| folder.path().join("dest_aeshmem"));
    let twin = TwinFile::new(twin, config.keep);
    let replication = WindowReplication { config, setup, folder: folder.path(), stop };
    let mut result = replication.run(&image, twin, progress)?;
    if config.keep {
        memory.keep();
        // QEMU has ended: the socket has no listener.
        let _ = std::fs::remove_file(replication.qmp());
        folder.disable_cleanup(true);
        let kept = format!("kept: {} and {}", config.memory.display(), folder.path().display());
        result.notes.insert(0, kept);
    }
    Ok(result.report(command, stop))
}

fn refused(error: SetupError) -> Failure {
    match error {
        SetupError::Bytes { .. } | SetupError::NotAPower { .. } => {
            Failure::usage(format!("--size: {error}"))
        }
        _ => Failure::environment(error),
    }
}

/// The guest's kernel and initramfs.
fn image(
    config: &ReplicateExperimentConfig,
    arch: Arch,
    progress: &mut dyn Progress,
) -> Result<Image, Failure> {
    if let Some(folder) = &config.image {
        return Ok(Image { kernel: folder.join("kernel"), initrd: folder.join("initrd") });
    }
    let programs = match &config.programs {
        Some(folder) => vec![folder.join("tstaeshm")],
        None => {
            let source = cross::source(config.source.as_deref()).map_err(Failure::environment)?;
            cross::build(&source, arch, &[cross::GUEST], progress).map_err(Failure::environment)?
        }
    };
    let cache = provision::open_cache(progress).map_err(Failure::environment)?;
    guest_image(arch, &programs).build(&cache, progress).map_err(Failure::environment)
}

fn preview(
    config: &ReplicateExperimentConfig,
    setup: &Setup,
    progress: &mut dyn Progress,
) -> Result<Vec<String>, Failure> {
    let mut lines = setup.lines();
    let cache = provision::open_cache(progress).map_err(Failure::environment)?;
    let plan = guest_image(setup.arch(), &[]).plan(&cache, progress);
    let plan = plan.map_err(Failure::environment)?;
    drop(cache);
    lines.push(match &config.programs {
        Some(folder) => format!("take    {}", folder.join("tstaeshm").display()),
        None => format!("build   {} for {}", cross::GUEST, setup.arch()),
    });
    lines.extend(plan.lines());
    let (memory, bytes) = (config.memory.display(), setup.memory_bytes());
    lines.push(format!("create  {memory} {bytes} bytes"));
    let path = Path::new;
    let files = Files {
        memory: &config.memory,
        kernel: path("KERNEL"),
        initrd: path("INITRD"),
        qmp: path("QMP"),
    };
    let qemu = setup.command(&files, config.append.as_deref());
    let words = qemu.get_args().map(|word| quoted(&word.to_string_lossy()));
    let words: Vec<String> = words.collect();
    lines.push(format!("start   {} {}", qemu.get_program().display(), words.join(" ")));
    lines.push(format!("order   tstaeshm dirty {}", setup.window().words()));
    Ok(lines)
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}
