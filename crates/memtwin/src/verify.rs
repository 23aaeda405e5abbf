//! `memtwin verify A B`: two memory images, page by page.

mod images;

use crate::cli::Verify;
use images::Compared;
use memtwin_mapping::host_page_size;
use memtwin_pages::{Gpa, Layout, PageSize, Region};
use memtwin_report::Failure;
use memtwin_report::record::{LostPage, RegionDigests};
use memtwin_report::{Case, CaseBuilder, ExitCode, RunRecord, exit};
use memtwin_session::{FilePart, digest_entry};
use memtwin_twin::ImageValidity;
use memtwin_verdict::{Comparison, Difference, Image, Side, verify};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// The one region's name.
const IMAGE: &str = "image";

/// Compares the two and writes the report.
pub(crate) fn run(args: &Verify, command: String) -> Result<ExitCode, Failure> {
    let bytes = args.page_size.map_or(host_page_size() as u64, |size| size.0);
    let page_size = PageSize::new(bytes)
        .map_err(|error| Failure::usage(format!("--page-size {bytes}: {error}")))?;
    crate::output::probe(&args.output)?;
    let (a, b) = (open(&args.a, args.force)?, open(&args.b, args.force)?);
    let forced = [a.forced, b.forced].into_iter().flatten();
    let (a, b) = (Compared::new(&args.a, &*a.image)?, Compared::new(&args.b, &*b.image)?);
    let found = verify(&a.image, &b.image, page_size).map_err(|error| {
        let path = match error.side() {
            Some(Side::Memory) => format!("{}: ", args.a.display()),
            Some(Side::Twin) => format!("{}: ", args.b.display()),
            None => String::new(),
        };
        Failure::environment(format!("{path}{error}"))
    })?;
    for file in [&a, &b] {
        file.unchanged()?;
        file.is_image(&found)?;
    }
    let cases = [case(&found, page_size)?];
    let code = exit::of_cases(&cases, false, false);
    let record = RunRecord::new(command, cases.into());
    let lines: Vec<String> = forced.chain(lines(args, &found, page_size)).collect();
    crate::output::write(&args.output, &record, &lines)?;
    Ok(code)
}

/// An image that may be compared.
struct Opened {
    image: Box<dyn Image>,
    /// What `--force` has passed over.
    forced: Option<String>,
}

fn open(path: &Path, force: bool) -> Result<Opened, Failure> {
    let fail =
        |what: &dyn std::fmt::Display| Failure::environment(format!("{}: {what}", path.display()));
    // Not to be held up by a fifo, which is then refused.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| fail(&e))?;
    let kind = file.metadata().map_err(|e| fail(&e))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(fail(&"expected a regular file or a block device"));
    }
    let (code, len, why) = match ImageValidity::of(&file, path).map_err(Failure::environment)? {
        ImageValidity::Whole => return Ok(Opened { image: Box::new(file), forced: None }),
        ImageValidity::OnDevice { bytes: len } => {
            let image = Box::new(FilePart { file, offset: 0, len });
            return Ok(Opened { image, forced: None });
        }
        ImageValidity::Unfinished { bytes, pid } => {
            let why = format!(
                "incomplete: process {pid} is replicating to it, or was stopped while it did; \
                 replicate again"
            );
            (ExitCode::Inconclusive, bytes, why)
        }
        ImageValidity::Unproven { bytes, why } => (ExitCode::Environment, bytes, why),
    };
    let message = format!("{}: {why}", path.display());
    if !force {
        let message = format!("{message}, or compare it as it is with --force");
        return Err(Failure { code, message });
    }
    let image = Box::new(FilePart { file, offset: 0, len });
    Ok(Opened { image, forced: Some(message) })
}

fn case(found: &Comparison, page_size: PageSize) -> Result<Case, Failure> {
    let bytes = found.memory_bytes.max(found.twin_bytes);
    // A last page that is not full counts as a page.
    let whole = page_size.offset_of(page_size.pages_for(bytes));
    let region = Region::new(IMAGE, Gpa(0), whole, page_size).map_err(Failure::environment)?;
    let lost: Vec<LostPage> = found.differing.iter().map(|page| lost(&region, page)).collect();
    let digests =
        RegionDigests { memory: digest_entry(&found.memory), twin: digest_entry(&found.twin) };
    let trial = CaseBuilder::new("verify", "file", &Layout::new(vec![region]));
    Ok(match (lost.is_empty(), sizes(found)) {
        (true, Some(sizes)) => trial.differs(sizes),
        _ => trial.judged(lost, BTreeMap::from([(IMAGE.to_owned(), digests)])),
    })
}

/// What is to be said of the sizes, if they differ.
fn sizes(found: &Comparison) -> Option<String> {
    let Comparison { memory_bytes, twin_bytes, .. } = found;
    (memory_bytes != twin_bytes)
        .then(|| format!("the sizes differ: {memory_bytes} bytes and {twin_bytes} bytes"))
}

fn lost(region: &Region, page: &Difference) -> LostPage {
    LostPage {
        region: IMAGE.to_owned(),
        gpa: region.gpa_of(page.page),
        last_round: 0,
        first_byte: u64::from(page.first_byte),
        bytes: u64::from(page.bytes),
        hint: page.hint.map(|hint| hint.to_string()),
        detail: None,
    }
}

/// What a person reads above the table: which bytes differ, and both digests of both.
fn lines(args: &Verify, found: &Comparison, page_size: PageSize) -> Vec<String> {
    let mut lines: Vec<String> = found
        .differing
        .iter()
        .map(|page| {
            let at = page_size.offset_of(page.page);
            let ranges: Vec<String> = page
                .ranges
                .iter()
                .map(|range| {
                    format!(
                        "{:#x}-{:#x}",
                        at + u64::from(range.start),
                        at + u64::from(range.end) - 1
                    )
                })
                .collect();
            let within = if page.is_exact() { "" } else { " (some between them are equal)" };
            format!("page {}: {} bytes differ: {}{within}", page.page, page.bytes, ranges.join(" "))
        })
        .collect();
    lines.extend(sizes(found));
    for (path, digests, bytes) in
        [(&args.a, &found.memory, found.memory_bytes), (&args.b, &found.twin, found.twin_bytes)]
    {
        let path = path.display();
        lines.push(format!("{:05} {:>5} {path}", digests.bsd_sum, bytes.div_ceil(1024)));
        lines.push(format!("{}  {path}", digests.blake3));
    }
    lines
}
