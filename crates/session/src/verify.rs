//! Two memory images, compared page by page.

mod compared_image;

use crate::read_twin::FilePart;
use crate::sums::sum_line;
use compared_image::ComparedImage;
use memtwin_pages::{Gpa, Image, Layout, PageSize, Region};
use memtwin_report::record::LostPage;
use memtwin_report::{Case, CaseBuilder, ExitCode, Failure};
use memtwin_twin::ImageValidity;
use memtwin_verdict::{Comparison, Side, verify};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The one region's name.
const IMAGE: &str = "image";
/// Of how many pages it is said which bytes differ: the case has all of them.
const LISTED: usize = 20;

/// Which images to compare.
#[derive(Clone, Debug)]
pub struct VerifyConfig {
    /// The memory image.
    pub a: PathBuf,
    /// Its twin.
    pub b: PathBuf,
    /// The page size in which differences are named.
    pub page_size: PageSize,
    /// Whether a twin that is unfinished, or may be, is compared as it is.
    pub force: bool,
}

/// What the comparison came to.
#[derive(Debug)]
pub struct VerifiedImages {
    /// The case.
    pub case: Case,
    /// Which bytes differ, and both digests of both, for the record.
    pub notes: Vec<String>,
}

/// Compares two images.
///
/// Errors: one of them is no image, is not to be compared, can't be read, or changed meanwhile.
pub fn verify_images(config: &VerifyConfig) -> Result<VerifiedImages, Failure> {
    let VerifyConfig { page_size, force, .. } = *config;
    let (a, b) = (open(&config.a, force)?, open(&config.b, force)?);
    let forced = [a.forced, b.forced].into_iter().flatten();
    let a = ComparedImage::new(&config.a, &*a.image)?;
    let b = ComparedImage::new(&config.b, &*b.image)?;
    let found = verify(&a.image, &b.image, page_size).map_err(|error| {
        let path = match error.side() {
            Some(Side::Memory) => format!("{}: ", config.a.display()),
            Some(Side::Twin) => format!("{}: ", config.b.display()),
            None => String::new(),
        };
        Failure::environment(format!("{path}{error}"))
    })?;
    for file in [&a, &b] {
        file.unchanged()?;
        file.is_image(&found)?;
    }
    let notes = forced.chain(lines(config, &found)).collect();
    Ok(VerifiedImages { case: case(&found, page_size)?, notes })
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
    let lost: Vec<LostPage> =
        found.differing.iter().map(|page| LostPage::of(&region, page)).collect();
    let trial = CaseBuilder::new("verify", "file", &Layout::new(vec![region]));
    Ok(match (lost.is_empty(), sizes(found)) {
        (true, Some(sizes)) => trial.differs(sizes),
        _ => trial.judged(lost, BTreeMap::from([(IMAGE.to_owned(), found.into())])),
    })
}

/// What is to be said of the sizes, if they differ.
fn sizes(found: &Comparison) -> Option<String> {
    let Comparison { memory_bytes, twin_bytes, .. } = found;
    (memory_bytes != twin_bytes)
        .then(|| format!("the sizes differ: {memory_bytes} bytes and {twin_bytes} bytes"))
}

/// What a person reads above the table: which bytes differ, and both digests of both.
fn lines(config: &VerifyConfig, found: &Comparison) -> Vec<String> {
    let mut lines: Vec<String> = found
        .differing
        .iter()
        .take(LISTED)
        .map(|page| {
            let at = config.page_size.offset_of(page.page);
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
    if let more @ 1.. = found.differing.len().saturating_sub(LISTED) {
        lines.push(format!("and {more} more pages differ: --json FILE writes all of them"));
    }
    lines.extend(sizes(found));
    for (path, digests, bytes) in
        [(&config.a, &found.memory, found.memory_bytes), (&config.b, &found.twin, found.twin_bytes)]
    {
        let path = path.display();
        lines.push(sum_line(digests.bsd_sum, bytes, &path));
        lines.push(format!("{}  {path}", digests.blake3));
    }
    lines
}
