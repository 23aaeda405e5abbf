//! `memtwin replicate`: a twin of a guest of our own, or of a stock QEMU's, kept by its log and judged.

use crate::cli::{Replicate, SourceArg};
use crate::invocation::Invocation;
use memtwin_replicate::CancelToken;
use memtwin_report::record::ResolvedOptions;
use memtwin_report::{ExitCode, Failure, Progress, exit};
use memtwin_session::{
    LibvirtDomain, MonitorAddress, ReplicateConfig, Replicated, replicate, replicate_qemu,
};

/// Replicates, judges, and writes the report.
pub(crate) fn run(
    args: Replicate,
    mut invocation: Invocation,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    args.check()?;
    crate::output::probe(&args.output)?;
    let output = args.output.clone();
    let mut progress = Progress::new(crate::output::progress_mode(&output), 1);
    let Replicated { case, not_converged, mut notes, sums, .. } = match args.source.clone() {
        SourceArg::Qemu(monitor) => {
            if matches!(monitor, MonitorAddress::Libvirt(_)) && !output.quiet {
                // Before it is so.
                crate::output::say(&format!("memtwin: {}", LibvirtDomain::TAINT));
            }
            replicate_qemu(&args.into_qemu_config(monitor)?, None, stop, &mut progress)?
        }
        SourceArg::Kvm | SourceArg::Process => {
            let seed = memtwin_session::fresh_seed();
            invocation.resolve(ResolvedOptions::from([("seed".to_owned(), seed.into())]));
            let config = ReplicateConfig { seed: Some(seed), ..args.into_config()? };
            replicate(&config, stop, &mut progress)?
        }
    };
    drop(progress);
    notes.extend(sums);
    let cases = [case];
    let code = exit::of_cases(&cases, not_converged, stop.is_set());
    crate::output::write(&output, &invocation, invocation.record(cases.into()), notes, code)?;
    Ok(code)
}
