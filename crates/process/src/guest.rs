//! The process guest as a source: made, started, paced, and seen through its dirty log.

use crate::child::Child;
use crate::log::{ProcessLog, WINDOW_REGION};
use crate::{Config, LogError, WINDOW_GPA, WINDOW_NAME, WriterStartError, handshake, probe};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_pages::{Layout, PageSize, Region, RegionId, Run};
use memtwin_replicate::{Collector, GuestState, Source, SourceError};
use memtwin_stressor::{Controls, Stressor, WriterWindow};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, memfd_create};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long the child may take to map the window and to answer. Generous: it does little.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A child process whose threads write shared memory, and its dirty log.
#[derive(Debug)]
pub struct ProcessGuest {
    controls: Controls,
    log: ProcessLog,
    window: Arc<Mapping>,
    layout: Layout,
    child: Child,
    /// How many pages were written when it was held last.
    held_at: u64,
    /// Its other end is the child's standard input, and the child ends when this one is closed.
    _socket: OwnedFd,
}

impl ProcessGuest {
    /// Makes the guest. `command` executes a program that calls [`crate::writer_main`] and does
    /// nothing else; its standard input and output are set here. Its threads do not write yet, and
    /// nothing is logged.
    ///
    /// Errors: no dirty log for processes ([`WriterStartError::NoLog`]), or (see
    /// [`WriterStartError::is_skip`]) something that a process can't do.
    pub fn spawn(command: Command, config: Config) -> Result<Self, WriterStartError> {
        let page_size = PageSize::new(host_page_size() as u64)?;
        let region = Region::new(WINDOW_NAME, WINDOW_GPA, config.bytes, page_size)?;
        check(&config, &region)?;
        let file = window_file(config.file, config.bytes)?;
        let align = fstat(&file).map_err(WriterStartError::memory("the window's file"))?.st_blksize;
        // A huge page, on hugetlbfs. Anything else there is no alignment that is needed.
        let align = u64::try_from(align).ok().filter(|align| align.is_power_of_two()).unwrap_or(1);
        let window =
            Arc::new(Mapping::shared(file.as_fd(), usize_of(config.bytes)?, usize_of(align)?)?);
        memtwin_stressor::fill(&window, window.len(), page_size.as_usize(), config.seed);

        let control_bytes = Controls::bytes(config.threads);
        let control_file = memory_file("memtwin-control", control_bytes as u64)?;
        let control_page = Arc::new(Mapping::shared(control_file.as_fd(), control_bytes, 1)?);

        let (socket, theirs) = handshake::pair().map_err(WriterStartError::memory("socketpair"))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))
            .map_err(WriterStartError::memory("SO_RCVTIMEO"))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = Child::spawn(command, theirs)
            .map_err(|errno| WriterStartError::Spawn { program, errno })?;
        let task = [config.bytes, align, config.threads as u64, u64::from(std::process::id())];
        let (base, uffd) =
            handshake::send(socket.as_fd(), task, &[file.as_fd(), control_file.as_fd()])
                .and_then(|()| handshake::receive(socket.as_fd()))
                .map_err(|error| not_ready(&mut child, &error))
                .and_then(answered)?;

        let uffd = probe::enable(uffd)?;
        let pagemap = probe::open(Path::new(&format!("/proc/{}/pagemap", child.pid())))?;
        probe::scannable(&pagemap)?;
        let mut log = ProcessLog::new(uffd, pagemap, base, config.bytes, page_size);
        // Found out now: whether memory of this kind can be logged.
        log.start()?;
        log.stop()?;

        let seen = WriterWindow { base, pages: region.pages(), shift: page_size.shift() };
        let controls =
            Controls::new(control_page, config.threads, config.stressor, seen, config.seed);
        handshake::send(socket.as_fd(), handshake::Words::default(), &[])
            .map_err(|error| not_ready(&mut child, &error))?;
        let layout = Layout::new(vec![region]);
        Ok(Self { controls, log, window, layout, child, held_at: 0, _socket: socket })
    }

    /// Lets the stressors write.
    pub fn start(&mut self) {
        self.controls.start();
    }

    /// Tells the stressors to write no more; the guest counts as stopped when all have heard.
    pub fn stop(&mut self) {
        self.controls.stop();
    }

    /// Lets all stressors together write this many pages a second; `None` lifts the limit.
    pub fn pace(&mut self, pages_per_second: Option<u64>) {
        self.controls.pace(pages_per_second);
    }

    /// How many pages the stressors have written, by their own count.
    pub fn written(&self) -> u64 {
        self.controls.written()
    }

    /// The window's memory, for a judge to read while the guest stands still.
    pub fn window(&self) -> &Arc<Mapping> {
        &self.window
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn alive(&mut self) -> Result<(), SourceError> {
        self.child.ended().map_or(Ok(()), |how| Err(SourceError::Guest(how)))
    }

    /// A request that failed: because the child died, or else as it says.
    fn guest_error(&mut self, error: LogError) -> SourceError {
        let gone = matches!(error.errno(), Some(libc::ENOMEM | libc::ESRCH));
        let how = if gone { self.child.ending() } else { self.child.ended() };
        how.map_or_else(|| SourceError::Log(Box::new(error)), SourceError::Guest)
    }
}

impl Source for ProcessGuest {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.alive()?;
        self.log.start().map_err(|error| self.guest_error(error))
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        self.log
            .collect(into)
            .and_then(|()| self.log.confirm())
            .map_err(|error| self.guest_error(error))
    }

    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        assert_eq!(region, WINDOW_REGION, "the guest has one region");
        self.window.read(offset as usize, into);
        Ok(())
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        let size = self.layout.region(region).page_size();
        let (offset, len) = (size.offset_of(pages.first), size.offset_of(pages.count));
        self.window.prefetch(offset as usize, len as usize);
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        self.child.hold().map_err(SourceError::Guest)?;
        self.held_at = self.controls.written();
        Ok(())
    }

    /// Any process of this user may let the child go on, and a debugger may run a thread of it that
    /// stays stopped to everybody else: the first shows in the child's stop, the second in what its
    /// threads have counted.
    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        let ran = |why| SourceError::Guest(format!("it ran while it was compared: {why}"));
        self.child.confirm_held().map_err(ran)?;
        match self.controls.written().wrapping_sub(self.held_at) {
            0 => Ok(()),
            pages => Err(ran(format!("it has written {pages} more pages, and was stopped"))),
        }
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        if self.child.is_held() {
            self.controls.reset_watchdog();
        }
        self.child.release().map_err(SourceError::Guest)
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        match self.log.stop().map_err(|error| self.guest_error(error)) {
            // With the child its log is gone too.
            Ok(()) | Err(SourceError::Guest(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        self.alive()?;
        if self.controls.over() {
            return Ok(GuestState::Stopped);
        }
        if !self.child.is_held() {
            self.controls
                .check_progress()
                .map_err(|error| SourceError::Guest(error.to_string()))?;
        }
        Ok(GuestState::Running)
    }
}

fn check(config: &Config, region: &Region) -> Result<(), WriterStartError> {
    let refuse = |reason| Err(WriterStartError::NoStressor { stressor: config.stressor, reason });
    match config.stressor {
        _ if config.threads == 0 => Err(WriterStartError::NoThreads),
        Stressor::Walker => refuse("a process has no page tables of its own in its memory"),
        Stressor::Straddle if region.pages() < 2 => {
            refuse("a window of one page has no boundary between pages")
        }
        _ => Ok(()),
    }
}

/// The window's file, with all its memory allotted: later a lack of it would be a signal.
fn window_file(file: Option<File>, bytes: u64) -> Result<File, WriterStartError> {
    let file = match file {
        Some(file) => file,
        None => memory_file("memtwin-window", bytes)?,
    };
    let found = file.metadata().map_err(WriterStartError::memory("the window's file"))?.len();
    if found < bytes {
        return Err(WriterStartError::ShortFile { expected: bytes, found });
    }
    fallocate(&file, FallocateFlags::empty(), 0, bytes)
        .map_err(WriterStartError::memory(format!("{bytes} bytes of memory for the window")))?;
    Ok(file)
}

fn memory_file(name: &str, bytes: u64) -> Result<File, WriterStartError> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)
        .map_err(WriterStartError::memory("memfd_create"))?;
    let file = File::from(file);
    file.set_len(bytes)
        .map_err(WriterStartError::memory(format!("{bytes} bytes of shared memory")))?;
    Ok(file)
}

fn usize_of(bytes: u64) -> Result<usize, WriterStartError> {
    usize::try_from(bytes).map_err(|_| WriterStartError::Memory {
        what: format!("{bytes} bytes"),
        errno: io::ErrorKind::OutOfMemory.into(),
    })
}

fn not_ready(child: &mut Child, error: &io::Error) -> WriterStartError {
    let ended = match error.kind() {
        // Its end of the socket is closed, so it has ended or is about to. A reset is the same: it
        // went before it had read what we sent.
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => child.ending(),
        _ => child.ended(),
    };
    let reason = ended.unwrap_or_else(|| match error.kind() {
        io::ErrorKind::WouldBlock => format!("no answer in {} s", TIMEOUT.as_secs()),
        _ => error.to_string(),
    });
    WriterStartError::Child { reason }
}

/// Takes the child's answer apart.
fn answered(
    (words, fds): (handshake::Words, Vec<OwnedFd>),
) -> Result<(u64, OwnedFd), WriterStartError> {
    let [errno, base, ..] = words;
    if errno != 0 {
        return Err(probe::no_userfaultfd(io::Error::from_raw_os_error(errno as i32)));
    }
    let uffd = fds.into_iter().next().ok_or(WriterStartError::Child {
        reason: "it answered without a userfaultfd".to_owned(),
    })?;
    Ok((base, uffd))
}
