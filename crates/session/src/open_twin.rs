//! Where a replication's twin is kept: opened before the guest is touched, and told the verdict at the end.

use crate::read_twin::{ReadTwin, TwinReadError};
use crate::verdict::{CaseFacts, verdict_of};
use memtwin_pages::{Image, Layout, RegionId, Run};
use memtwin_remote::{Figures, RemoteError, RemoteTarget, RemoteTwin, SenderConfig};
use memtwin_replicate::{CancelToken, Collector, Sink, SinkError, WriteOutcome};
use memtwin_report::record::Verdict;
use memtwin_report::{Case, CaseBuilder, Failure};
use memtwin_twin::{DeviceOptions, DirTwin, Discard, FileTwin, TwinError};
use memtwin_wire::TwinVerdict;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a twin is to be kept.
#[derive(Clone, Debug)]
pub enum TwinTarget {
    /// A file or a block device here; of a QEMU with all its RAMBlocks a directory with an image for each.
    File {
        /// Where it is.
        path: PathBuf,
        /// How a block device is treated.
        device: DeviceOptions,
    },
    /// Another host, which keeps it.
    Remote(Box<SenderConfig>),
    /// Nowhere: to measure.
    Discard,
}

/// As on the command line, without the scheme of a file.
impl fmt::Display for TwinTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => path.display().fmt(f),
            Self::Remote(config) => config.target.fmt(f),
            Self::Discard => f.write_str("discard"),
        }
    }
}

/// A twin that was asked for and is open: a sink that a judge can read, and that learns the verdict.
#[derive(Debug)]
pub enum OpenTwin {
    /// In a file here.
    File(FileTwin),
    /// In a file for each region.
    Dir(DirTwin),
    /// On another host.
    Remote(Box<RemoteTwin>),
    /// Nowhere.
    Nowhere(Discard),
}

impl TwinTarget {
    /// A file here, or a block device that holds nothing that is recognised.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), device: DeviceOptions::default() }
    }
}

impl OpenTwin {
    /// Opens it as one image.
    ///
    /// Errors: it can't be written, is in use, or nothing answers there.
    pub fn open(target: &TwinTarget, stop: &CancelToken) -> Result<Self, Failure> {
        match target {
            TwinTarget::File { path, device } => {
                FileTwin::create_with(path, device).map(Self::File).map_err(refused)
            }
            TwinTarget::Remote(config) => {
                RemoteTwin::connect(SenderConfig::clone(config), stop.clone())
                    .map(|twin| Self::Remote(Box::new(twin)))
                    .map_err(|error| Failure::environment(with_target(&config.target, &error)))
            }
            TwinTarget::Discard => Ok(Self::Nowhere(Discard)),
        }
    }

    /// Opens it with an image for each region.
    ///
    /// Errors: as [`OpenTwin::open`].
    pub fn open_regions(target: &TwinTarget, stop: &CancelToken) -> Result<Self, Failure> {
        match target {
            TwinTarget::File { path, .. } => DirTwin::create(path).map(Self::Dir).map_err(refused),
            TwinTarget::Remote(_) | TwinTarget::Discard => Self::open(target, stop),
        }
    }

    /// What each region's image is called, in the order of the layout.
    pub fn image_names(&self, layout: &Layout) -> Vec<String> {
        let shown = |path: &Path| path.display().to_string();
        match self {
            Self::File(twin) => vec![shown(twin.path()); layout.len()],
            Self::Dir(twin) => twin.images().map(shown).collect(),
            Self::Remote(_) => vec!["the receiver's twin".to_owned(); layout.len()],
            Self::Nowhere(_) => Vec::new(),
        }
    }

    /// Whether nothing is kept.
    pub fn is_discarded(&self) -> bool {
        matches!(self, Self::Nowhere(_))
    }

    /// What sending it came to, if it was sent.
    pub fn figures(&self) -> Option<Figures> {
        match self {
            Self::Remote(twin) => Some(twin.figures()),
            Self::File(_) | Self::Dir(_) | Self::Nowhere(_) => None,
        }
    }

    /// The case of a session, which this twin learns: only one that is identical stays as a complete twin.
    /// One that could not be kept so is no pass.
    ///
    /// Errors: a file here can't be finished.
    pub fn conclude(
        self,
        trial: &CaseBuilder,
        facts: CaseFacts,
        layout: &Layout,
    ) -> Result<Case, Failure> {
        let is_control = facts.injected.is_some();
        let case = verdict_of(trial.clone(), facts);
        let is_identical = case.verdict() == Verdict::Identical;
        match self {
            Self::File(twin) => twin.finish(is_identical).map_err(Failure::environment)?,
            Self::Dir(twin) => twin.finish(is_identical).map_err(Failure::environment)?,
            Self::Remote(mut twin) => {
                // Nobody else has the twin: if it is not kept there, it is nowhere.
                if let (Err(why), true) = (tell(&mut twin, &case, layout), is_identical) {
                    let injected = is_control.then(Vec::new);
                    let facts = CaseFacts { broken: Some(why), injected, ..CaseFacts::default() };
                    return Ok(verdict_of(trial.clone(), facts));
                }
            }
            Self::Nowhere(_) => {}
        }
        Ok(case)
    }

    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::File(twin) => twin,
            Self::Dir(twin) => twin,
            Self::Remote(twin) => &mut **twin,
            Self::Nowhere(twin) => twin,
        }
    }
}

/// Why there can be no twin here.
fn refused(error: TwinError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::environment(error) }
}

fn with_target(target: &RemoteTarget, error: &RemoteError) -> String {
    match error {
        // It names the target itself.
        RemoteError::Connect { .. } => error.to_string(),
        _ => format!("{target}: {error}"),
    }
}

/// Tells the receiver the verdict. Errors: why it has not kept the twin as what the verdict says.
fn tell(twin: &mut RemoteTwin, case: &Case, layout: &Layout) -> Result<(), String> {
    let mut digests = Vec::new();
    let (outcome, reason) = match case.verdict() {
        Verdict::Identical => {
            for (_, region) in layout.iter() {
                let digest = case.digest().get(region.name());
                digests.push(digest.ok_or("a region without a digest")?.memory.blake3.0);
            }
            (TwinVerdict::Identical, "")
        }
        Verdict::Differs => (TwinVerdict::Differs, ""),
        Verdict::Inconclusive | Verdict::Skipped => {
            (TwinVerdict::Inconclusive, case.reason().unwrap_or(""))
        }
    };
    let told = twin.finish(outcome, reason, &digests);
    let kept = told.map_err(|error| format!("telling the receiver the verdict: {error}"))?;
    kept.map_err(|why| format!("the receiver has not kept the twin: {why}"))
}

impl Sink for OpenTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        self.sink().open(layout)
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        self.sink().write(region, first, bytes)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        match self {
            Self::File(twin) => twin.prefetch(region, pages),
            Self::Dir(twin) => twin.prefetch(region, pages),
            Self::Remote(twin) => twin.prefetch(region, pages),
            Self::Nowhere(twin) => twin.prefetch(region, pages),
        }
    }

    fn commit(&mut self, round: u32) -> Result<(), SinkError> {
        self.sink().commit(round)
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        self.sink().settle()
    }

    fn take_undelivered(&mut self, into: &mut dyn Collector) {
        self.sink().take_undelivered(into);
    }
}

impl ReadTwin for OpenTwin {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        match self {
            Self::File(twin) => twin.image(layout, region, memory),
            Self::Dir(twin) => twin.image(layout, region, memory),
            Self::Remote(twin) => twin.image(layout, region, memory),
            Self::Nowhere(twin) => twin.image(layout, region, memory),
        }
    }
}
