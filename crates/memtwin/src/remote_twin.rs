//! Where a twin is kept, and the judge's way to one on another host.

use crate::cli::{Replicate, Twin};
use crate::judge::{Conclusion, JudgeError, Judged};
use memtwin_pages::{Layout, RegionId};
use memtwin_remote::{
    Compression, Figures, RemoteError, RemoteTarget as Target, RemoteTwin, SenderConfig,
};
use memtwin_replicate::Stop;
use memtwin_report::Case;
use memtwin_report::Failure;
use memtwin_report::record::Verdict;
use memtwin_twin::{DeviceOptions, FileTwin, TwinError};
use memtwin_verdict::Image;
use memtwin_wire::{Method, Outcome};

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
    pub(crate) fn take(args: &Replicate, stop: &Stop) -> Result<Self, Failure> {
        match &args.twin {
            Twin::File(path) => {
                let options = DeviceOptions { force: args.force_device, ..Default::default() };
                FileTwin::create_with(path, &options).map(Self::File).map_err(refused)
            }
            Twin::Remote(target) => {
                let config = config(args, target)?;
                RemoteTwin::connect(config, stop.clone())
                    .map(|twin| Self::Remote(Box::new(twin)))
                    .map_err(|error| Failure::environment(said(target, &error)))
            }
            Twin::Discard => Ok(Self::Nowhere),
        }
    }
}

/// Why there can be no twin here.
fn refused(error: TwinError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::environment(error) }
}

fn said(target: &Target, error: &RemoteError) -> String {
    match error {
        // It names the target itself.
        RemoteError::Connect { .. } => error.to_string(),
        _ => format!("{target}: {error}"),
    }
}

fn config(args: &Replicate, target: &Target) -> Result<SenderConfig, Failure> {
    let remote = &args.remote;
    let mut config = SenderConfig::new(target.clone(), remote.keys.security(target)?);
    config.delta = !remote.no_delta;
    config.bandwidth = remote.bandwidth.map(|size| size.0);
    config.ssh.clone_from(&remote.ssh);
    config.ssh_said = crate::output::say;
    if let Some(retry) = remote.retry {
        config.retry = retry.0;
    }
    config.compression = match remote.compress.as_deref() {
        Some("none") => Compression::Always(Method::None),
        Some("lz4") => Compression::Always(Method::Lz4),
        Some("zstd") => Compression::Always(Method::Zstd),
        _ => Compression::Auto,
    };
    Ok(config)
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
