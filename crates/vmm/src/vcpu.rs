//! The vCPUs' threads: each runs its vCPU, or is parked with the vCPU out of the guest.

#![allow(unsafe_code, reason = "a signal takes a vCPU out of the guest")]

use crate::log::WindowLog;
use crate::machine::KvmMachine;
use crate::{GuestStartError, arch};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// A kick may come just before the vCPU enters the guest and be lost: it is repeated this often.
const KICK_AGAIN: Duration = Duration::from_micros(500);

/// A vCPU that is sent out this often because of a full ring, with nothing in any ring and nothing
/// run in between, is not coming back.
const FULL_FOR_NOTHING: u32 = 64;

/// The exit reason of a full dirty ring, which kvm-ioctls does not name.
const EXIT_DIRTY_RING_FULL: u32 = kvm_bindings::KVM_EXIT_DIRTY_RING_FULL;

/// What the threads are told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VcpuCommand {
    Park,
    Run,
    Exit,
}

/// Where a thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum VcpuState {
    Parked,
    Running,
    /// The guest halted this vCPU for good: it had nothing left to do.
    Halted,
    /// It can't run on, and why.
    Dead(String),
}

#[derive(Debug)]
struct VcpuStates {
    order: VcpuCommand,
    standing: Vec<VcpuState>,
}

#[derive(Debug)]
struct SharedVcpus {
    board: Mutex<VcpuStates>,
    changed: Condvar,
    machine: Arc<KvmMachine>,
    log: Arc<WindowLog>,
}

/// All vCPUs of a machine. Dropping it ends their threads.
#[derive(Debug)]
pub(crate) struct Vcpus {
    shared: Arc<SharedVcpus>,
    threads: Vec<JoinHandle<()>>,
}

impl Vcpus {
    /// Starts a thread for each vCPU, parked.
    pub(crate) fn start(
        vcpus: Vec<VcpuFd>,
        machine: Arc<KvmMachine>,
        log: Arc<WindowLog>,
    ) -> Result<Self, GuestStartError> {
        install_kick_handler()?;
        let standing = vec![VcpuState::Parked; vcpus.len()];
        let board = Mutex::new(VcpuStates { order: VcpuCommand::Park, standing });
        let shared = Arc::new(SharedVcpus { board, changed: Condvar::new(), machine, log });
        let mut this = Self { shared, threads: Vec::new() };
        for (index, vcpu) in vcpus.into_iter().enumerate() {
            let shared = Arc::clone(&this.shared);
            let thread = thread::Builder::new()
                .name(format!("vcpu{index}"))
                .spawn(move || shared.live(index, vcpu))
                .map_err(GuestStartError::Thread)?;
            this.threads.push(thread);
        }
        Ok(this)
    }

    /// Lets every vCPU run.
    pub(crate) fn run(&self) {
        self.shared.lock().order = VcpuCommand::Run;
        self.shared.changed.notify_all();
    }

    /// Takes every vCPU out of the guest. When this returns, none runs until [`Vcpus::run`].
    pub(crate) fn park(&self) {
        self.order(VcpuCommand::Park, |standing| *standing != VcpuState::Running);
    }

    /// Whether every vCPU is out of the guest, and stays so until [`Vcpus::run`].
    pub(crate) fn are_parked(&self) -> bool {
        let board = self.shared.lock();
        board.order == VcpuCommand::Park
            && board.standing.iter().all(|standing| *standing != VcpuState::Running)
    }

    /// Why a vCPU can't run on, if one can't.
    pub(crate) fn dead(&self) -> Option<String> {
        let board = self.shared.lock();
        board.standing.iter().enumerate().find_map(|(index, standing)| match standing {
            VcpuState::Dead(reason) => Some(format!("vCPU {index}: {reason}")),
            _ => None,
        })
    }

    /// Gives an order, and kicks the vCPUs until each thread stands as wanted.
    fn order(&self, order: VcpuCommand, stands: impl Fn(&VcpuState) -> bool) {
        let mut board = self.shared.lock();
        board.order = order;
        self.shared.changed.notify_all();
        while !board.standing.iter().all(&stands) {
            for (thread, standing) in self.threads.iter().zip(&board.standing) {
                if !stands(standing) {
                    kick(thread);
                }
            }
            board = self
                .shared
                .changed
                .wait_timeout(board, KICK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.order(VcpuCommand::Exit, |standing| *standing != VcpuState::Running);
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

impl SharedVcpus {
    fn lock(&self) -> MutexGuard<'_, VcpuStates> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A vCPU thread's life.
    fn live(&self, index: usize, mut vcpu: VcpuFd) {
        while self.may_run(index) {
            let mut full_for_nothing = 0;
            let standing = loop {
                if self.lock().order != VcpuCommand::Run {
                    break VcpuState::Parked;
                }
                match self.enter(&mut vcpu, &mut full_for_nothing) {
                    Ok(()) => {}
                    Err(standing) => break standing,
                }
            };
            let over = matches!(standing, VcpuState::Halted | VcpuState::Dead(_));
            self.lock().standing[index] = standing;
            self.changed.notify_all();
            if over {
                return;
            }
        }
    }

    /// Waits for the order to run; false if it is the order to exit.
    fn may_run(&self, index: usize) -> bool {
        let mut board = self.lock();
        while board.order == VcpuCommand::Park {
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
        let run = board.order == VcpuCommand::Run;
        if run {
            board.standing[index] = VcpuState::Running;
        }
        run
    }

    /// Runs the vCPU until it comes out once. An error if it is not to be run again.
    fn enter(&self, vcpu: &mut VcpuFd, full_for_nothing: &mut u32) -> Result<(), VcpuState> {
        let exit = match vcpu.run() {
            Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => return Ok(()),
            Err(error) => {
                let errno = io::Error::from_raw_os_error(error.errno());
                return Err(VcpuState::Dead(format!("KVM_RUN: {errno}")));
            }
            Ok(VcpuExit::Hlt) => return Err(VcpuState::Halted),
            Ok(VcpuExit::Unsupported(EXIT_DIRTY_RING_FULL)) => {
                return self.make_room(full_for_nothing);
            }
            Ok(VcpuExit::Intr) => return Ok(()),
            Ok(VcpuExit::Shutdown) => "triple fault (KVM_EXIT_SHUTDOWN)".to_owned(),
            Ok(VcpuExit::InternalError) => {
                "KVM gave up on an instruction (KVM_EXIT_INTERNAL_ERROR)".to_owned()
            }
            Ok(other) => format!("unexpected exit {other:?}"),
        };
        Err(VcpuState::Dead(format!("{exit}, {}", arch::whereabouts(vcpu))))
    }

    fn make_room(&self, full_for_nothing: &mut u32) -> Result<(), VcpuState> {
        match self.log.make_room(&self.machine) {
            Ok(0) => *full_for_nothing += 1,
            Ok(_) => *full_for_nothing = 0,
            Err(error) => return Err(VcpuState::Dead(format!("dirty ring full: {error}"))),
        }
        if *full_for_nothing < FULL_FOR_NOTHING {
            return Ok(());
        }
        Err(VcpuState::Dead(format!(
            "dirty ring overflow: KVM_EXIT_DIRTY_RING_FULL {FULL_FOR_NOTHING} times in a row with \
             nothing in any ring to harvest"
        )))
    }
}

/// A signal whose handler does nothing: its arrival ends KVM_RUN with EINTR.
fn install_kick_handler() -> Result<(), GuestStartError> {
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    static ONCE: Once = Once::new();
    let mut installed = Ok(());
    ONCE.call_once(|| installed = register_signal_handler(SIGRTMIN(), nothing));
    installed.map_err(|error| GuestStartError::Thread(io::Error::from_raw_os_error(error.errno())))
}

fn kick(thread: &JoinHandle<()>) {
    // SAFETY: the thread has not been joined (we hold its handle), so its id is valid; the signal
    // has a handler, so it ends nothing but a system call. A thread that is gone needs no kick.
    unsafe { libc::pthread_kill(thread.as_pthread_t(), SIGRTMIN()) };
}
