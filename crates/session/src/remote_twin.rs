//! Where a twin is kept, and the judge's way to one on another host.

use crate::judge::{Conclusion, JudgeError, Judged};
use memtwin_pages::{Layout, RegionId};
use memtwin_remote::{Figures, RemoteError, RemoteTwin, SenderConfig, Target};
use memtwin_replicate::Stop;
use memtwin_report::Case;
use memtwin_report::Failure;
use memtwin_report::record::Verdict;
use memtwin_twin::FileTwin;
use memtwin_verdict::Image;
use memtwin_wire::Outcome;
use std::fmt;
use std::path::PathBuf;

/// Where a twin is to be kept.
#[derive(Clone, Debug)]
pub enum TwinTarget {
    /// A file here; of a QEMU with all its RAMBlocks a directory with an image for each.
    File(PathBuf),
    /// Another host, which keeps it.
    Remote(Box<SenderConfig>),
    /// Nowhere: to measure.
    Discard,
}

/// As on the command line, without the scheme of a file.
impl fmt::Display for TwinTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Remote(config) => config.target.fmt(f),
            Self::Discard => f.write_str("discard"),
        }
    }
}

/// A twin that was asked for and can be had.
pub(crate) enum Place {
    /// In a file here.
    File(FileTwin),
    /// On another host.
    Remote(Box<RemoteTwin>),
    /// Nowhere.
    Nowhere,
}

impl Place {
    /// Takes it. Errors: it can't be written, is in use, nobody answers.
    pub(crate) fn take(twin: &TwinTarget, stop: &Stop) -> Result<Self, Failure> {
        match twin {
            TwinTarget::File(path) => {
                FileTwin::create(path).map(Self::File).map_err(Failure::environment)
            }
            TwinTarget::Remote(config) => {
                RemoteTwin::connect(SenderConfig::clone(config), stop.clone())
                    .map(|twin| Self::Remote(Box::new(twin)))
                    .map_err(|error| Failure::environment(said(&config.target, &error)))
            }
            TwinTarget::Discard => Ok(Self::Nowhere),
        }
    }
}

fn said(target: &Target, error: &RemoteError) -> String {
    match error {
        // It names the target itself.
        RemoteError::Connect { .. } => error.to_string(),
        _ => format!("{target}: {error}"),
    }
}

/// Tells the twin how it ended.
pub(crate) fn conclude<K: Judged>(
    twin: &mut K,
    case: &Case,
    layout: &Layout,
) -> Result<(), String> {
    let verdict = match case.verdict() {
        Verdict::Identical => Conclusion::Identical(layout, case.digest()),
        Verdict::Differs => Conclusion::Differs,
        Verdict::Inconclusive | Verdict::Skipped => {
            Conclusion::Inconclusive(case.reason().unwrap_or(""))
        }
    };
    twin.conclude(&verdict)
}

impl Judged for RemoteTwin {
    fn image<'t>(
        &'t self,
        _layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Option<Result<Box<dyn Image + 't>, JudgeError>> {
        let guess = Box::new(move |offset: u64, into: &mut [u8]| memory.read_at(offset, into));
        let region = self.region(region, guess).map_err(JudgeError::from);
        Some(region.map(|region| Box::new(region) as Box<dyn Image + 't>))
    }

    fn conclude(&mut self, verdict: &Conclusion<'_>) -> Result<(), String> {
        let mut digests = Vec::new();
        let (outcome, reason) = match verdict {
            Conclusion::Identical(layout, of_regions) => {
                for (_, region) in layout.iter() {
                    let digest = of_regions.get(region.name());
                    digests.push(digest.ok_or("a region without a digest")?.memory.blake3.0);
                }
                (Outcome::Identical, "")
            }
            Conclusion::Differs => (Outcome::Differs, ""),
            Conclusion::Inconclusive(reason) => (Outcome::Inconclusive, *reason),
        };
        let told = self.finish(outcome, reason, &digests);
        let kept = told.map_err(|error| format!("telling the receiver the verdict: {error}"))?;
        kept.map_err(|why| format!("the receiver has not kept the twin: {why}"))
    }

    fn figures(&self) -> Option<Figures> {
        Some(RemoteTwin::figures(self))
    }
}
