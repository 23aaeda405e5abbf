//! Every sink, and whether what is left of it is a complete twin.

use memtwin_pages::{Image, Layout, RegionId, Run};
use memtwin_remote::{
    Listener, ReceiveEnd, ReceiverConfig, RemoteError, RemoteTarget, Security, SenderConfig,
    TwinReceiver,
};
use memtwin_replicate::{CancelToken, Collector, Sink, SinkError, WriteOutcome};
use memtwin_report::{Case, CaseBuilder};
use memtwin_session::{CaseFacts, OpenTwin, ReadTwin, TwinReadError, TwinTarget, verdict_of};
use memtwin_twin::MemoryTwin;
use memtwin_wait::wait_until;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a receiver may take to hear the verdict.
const LIMIT: Duration = Duration::from_secs(60);

/// Where a twin goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TwinKind {
    Memory,
    File,
    Dir,
    Remote,
    Discard,
}

impl TwinKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Memory, Self::File, Self::Dir, Self::Remote, Self::Discard];

    /// What is to be said of what is kept, if anything is.
    pub(crate) fn expects(self, complete: bool) -> Option<bool> {
        match self {
            Self::File | Self::Dir | Self::Remote => Some(complete),
            Self::Memory | Self::Discard => None,
        }
    }
}

/// A twin, and where it will lie.
pub(crate) enum KeptTwin {
    Memory(MemoryTwin),
    Open { kind: TwinKind, twin: OpenTwin, dir: tempfile::TempDir, receiver: Option<Receiving> },
}

impl KeptTwin {
    pub(crate) fn make(kind: TwinKind) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("twin");
        let stop = CancelToken::default();
        let mut receiver = None;
        let twin = match kind {
            TwinKind::Memory => return Self::Memory(MemoryTwin::new()),
            TwinKind::File => OpenTwin::open(&TwinTarget::file(path), &stop),
            TwinKind::Dir => OpenTwin::open_regions(&TwinTarget::file(path), &stop),
            TwinKind::Discard => OpenTwin::open(&TwinTarget::Discard, &stop),
            TwinKind::Remote => {
                let (target, receiving) = Receiving::begin(path);
                receiver = Some(receiving);
                OpenTwin::open(&target, &stop)
            }
        };
        Self::Open { kind, twin: twin.unwrap(), dir, receiver }
    }

    /// The case, and whether a complete twin is left, if any is to be.
    pub(crate) fn conclude(
        self,
        trial: &CaseBuilder,
        facts: CaseFacts,
        layout: &Layout,
    ) -> (Case, Option<bool>) {
        let Self::Open { kind, twin, dir, receiver } = self else {
            return (verdict_of(trial.clone(), facts), None);
        };
        let path = dir.path().join("twin");
        let case = twin.conclude(trial, facts, layout).unwrap();
        let ended = receiver.map(Receiving::end);
        let is_file = |path: PathBuf| path.is_file();
        let kept = match kind {
            TwinKind::Memory | TwinKind::Discard => None,
            TwinKind::File => Some(is_file(path)),
            TwinKind::Dir => {
                let left =
                    std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
                let left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
                Some(!left.is_empty() && left.iter().all(|name| !name.ends_with(".partial")))
            }
            TwinKind::Remote => match ended {
                Some(ReceiveEnd::Judged { kept, .. }) => Some(kept.is_ok()),
                other => panic!("the receiver was not told: {other:?}"),
            },
        };
        (case, kept)
    }
}

/// A receiver of one session in a thread, on loopback.
pub(crate) struct Receiving {
    thread: JoinHandle<Result<ReceiveEnd, RemoteError>>,
    stop: CancelToken,
}

impl Receiving {
    fn begin(path: PathBuf) -> (TwinTarget, Self) {
        let mut door = Listener::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = door.address().unwrap();
        let mut receiver = TwinReceiver::new(path, ReceiverConfig::default()).unwrap();
        let stop = CancelToken::default();
        let until = stop.clone();
        let thread = std::thread::spawn(move || receiver.run(&mut door, &until));
        let target = RemoteTarget::Tcp { host: address.ip().to_string(), port: address.port() };
        let config = SenderConfig::new(target, Security::Plain);
        (TwinTarget::Remote(Box::new(config)), Self { thread, stop })
    }

    /// How its session ended: it has heard the verdict, or never will.
    fn end(self) -> ReceiveEnd {
        wait_until(LIMIT, Duration::from_millis(1), || self.thread.is_finished());
        self.stop.set();
        self.thread.join().unwrap().unwrap()
    }
}

/// A twin that fails in a round, if it is to.
pub(crate) struct FailingTwin<'t, K> {
    pub(crate) twin: &'t mut K,
    pub(crate) fail_round: Option<u32>,
}

impl<K: Sink> Sink for FailingTwin<'_, K> {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        self.twin.open(layout)
    }
    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        self.twin.write(region, first, bytes)
    }
    fn prefetch(&self, region: RegionId, pages: Run) {
        self.twin.prefetch(region, pages);
    }
    fn commit(&mut self, round: u32) -> Result<(), SinkError> {
        if self.fail_round == Some(round) {
            return Err(SinkError::new("no room left"));
        }
        self.twin.commit(round)
    }
    fn settle(&mut self) -> Result<(), SinkError> {
        self.twin.settle()
    }
    fn take_undelivered(&mut self, into: &mut dyn Collector) {
        self.twin.take_undelivered(into);
    }
}

impl<K: ReadTwin> ReadTwin for FailingTwin<'_, K> {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        self.twin.image(layout, region, memory)
    }
}
