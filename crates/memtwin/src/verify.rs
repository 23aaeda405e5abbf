//! `memtwin verify A B`: two memory images, page by page.

use crate::cli::Verify;
use crate::invocation::Invocation;
use memtwin_mapping::host_page_size;
use memtwin_pages::PageSize;
use memtwin_report::{ExitCode, Failure, exit};
use memtwin_session::{VerifiedImages, VerifyConfig, verify_images};

/// Compares the two and writes the report.
pub(crate) fn run(args: Verify, invocation: &Invocation) -> Result<ExitCode, Failure> {
    let bytes = args.page_size.map_or(host_page_size() as u64, |size| size.0);
    let page_size = PageSize::new(bytes)
        .map_err(|error| Failure::usage(format!("--page-size {bytes}: {error}")))?;
    crate::output::probe(&args.output)?;
    let Verify { a, b, force, output, .. } = args;
    let VerifiedImages { case, notes } = verify_images(&VerifyConfig { a, b, page_size, force })?;
    let cases = [case];
    let code = exit::of_cases(&cases, false, false);
    crate::output::write(&output, invocation, invocation.record(cases.into()), notes, code)?;
    Ok(code)
}
