//! Boards with networks, for a person: booted, and held until they are not wanted any more.

use memtwin_lab::board::BoardSpec;
use memtwin_lab::boards::{Lab, LabFolder, LabSpec, Nic, Node};
use memtwin_lab::running_lab::{self, EndRequests};
use memtwin_lab::{Arch, Flavour, Progress, provision};
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use std::path::PathBuf;
use std::time::Duration;

/// How often it is seen whether the lab is to end.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What lab to hold.
#[derive(Clone, Debug)]
pub struct LabUpConfig {
    /// How many boards: a, b, c, …, at 192.168.10.100 and up on the network that they share.
    pub boards: u8,
    /// Each board's CPU and memory.
    pub board: BoardSpec,
    /// Their kernel.
    pub kernel: Flavour,
    /// A folder with their programs, built before; `None`: they are built.
    pub programs: Option<PathBuf>,
    /// Where the lab's sockets, keys and consoles are.
    pub folder: PathBuf,
}

/// Boots boards and holds them until a stop, or until another process asks for their end.
///
/// Errors: something that they need is missing, or one does not come up.
pub fn hold_boards(
    config: &LabUpConfig,
    stop: &CancelToken,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    provision::need_qemu(Arch::Aarch64).map_err(Failure::environment)?;
    let programs = config.programs.as_deref();
    let (image, files) = provision::board_image_and_programs(config.kernel, programs, progress)
        .map_err(Failure::environment)?;
    let nodes = (0..config.boards).map(|index| Node {
        name: char::from(b'a' + index).to_string(),
        spec: config.board.clone(),
        nics: vec![Nic {
            address: Some(format!("192.168.10.{}/24", 100 + index)),
            mtu: Some(9000),
        }],
        disks: Vec::new(),
        load: Vec::new(),
    });
    let spec = LabSpec { nodes: nodes.collect(), files };
    let folder = LabFolder::at(&config.folder).map_err(Failure::environment)?;
    let mut lab = Lab::boot(&spec, &image, folder, progress).map_err(Failure::environment)?;
    lab.open_keyboards().map_err(Failure::environment)?;
    let requests = EndRequests::publish(&lab).map_err(crate::not_found)?;
    for board in &lab.boards {
        progress.say(&format!("memtwin lab ssh {}", board.host.label()));
    }
    progress.say("up until `memtwin lab down`, or Ctrl-C here");
    // Once its folder is gone, no command finds it, to use it or to end it.
    while !stop.wait(POLL_INTERVAL)
        && !requests.is_asked()
        && running_lab::is_published(&config.folder)
    {
        lab.boards.iter_mut().for_each(|board| board.machine.forget());
    }
    Ok(())
}
