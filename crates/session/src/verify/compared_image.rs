//! What must hold of both files of a comparison, so that its result says something: each is as long
//! afterwards as before, and where they differ, each is an image of a memory.

use memtwin_pages::Image;
use memtwin_report::{ExitCode, Failure};
use memtwin_verdict::{Comparison, FileKind, Steady};
use std::path::Path;

/// A file of a comparison.
pub(super) struct ComparedImage<'p, I> {
    path: &'p Path,
    pub(super) image: Steady<I>,
}

impl<'p, I: Image> ComparedImage<'p, I> {
    /// Notes its size.
    pub(super) fn new(path: &'p Path, image: I) -> Result<Self, Failure> {
        let image = Steady::new(image);
        let image = image.map_err(|error| failed(path, &error))?;
        Ok(Self { path, image })
    }

    /// Errors if it grew or shrank meanwhile: what was read of it is of no one moment.
    pub(super) fn unchanged(&self) -> Result<(), Failure> {
        let Some((before, now)) =
            self.image.changed().map_err(|error| failed(self.path, &error))?
        else {
            return Ok(());
        };
        let how = if now > before { "grew" } else { "shrank" };
        let message = format!(
            "{}: it {how} from {before} to {now} bytes while it was read, so nothing is known of it; verify again \
             when nobody writes to it",
            self.path.display()
        );
        Err(Failure { code: ExitCode::Inconclusive, message })
    }

    /// Errors if it differs from the other and is no memory image: then most pages do, and none is lost.
    pub(super) fn is_image(&self, found: &Comparison) -> Result<(), Failure> {
        if found.identical() {
            return Ok(());
        }
        match FileKind::of(&self.image).map_err(|error| failed(self.path, &error))? {
            None => Ok(()),
            Some(kind) => Err(failed(self.path, &format!("is {kind}"))),
        }
    }
}

fn failed(path: &Path, what: &dyn std::fmt::Display) -> Failure {
    Failure::environment(format!("{}: {what}", path.display()))
}
