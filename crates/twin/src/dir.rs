//! A twin of many regions in a directory: an image for each, as `pc.ram` or `rom@etc_acpi_tables`.

use crate::{FileTwin, TwinError, device, room};
use memtwin_pages::{Layout, Region, RegionId, Run};
use memtwin_replicate::{Sink, SinkError, WriteOutcome};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A [`FileTwin`] for each region, in one directory.
#[derive(Debug)]
pub struct DirTwin {
    path: PathBuf,
    twins: Vec<FileTwin>,
}

impl DirTwin {
    /// Takes the directory `path`, which is made if it is not there. Errors: it can't be made, or
    /// something else has its name.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, TwinError> {
        let path = path.as_ref();
        if device::find(path)?.is_some() {
            return Err(TwinError::NeedsDirectory { path: path.to_owned() });
        }
        memtwin_safe_path::make_dirs(path)?;
        Ok(Self { path: path.to_owned(), twins: Vec::new() })
    }

    /// Where the image of a region lies. Empty before [`Sink::open`].
    pub fn images(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.twins.iter().map(FileTwin::path)
    }

    /// A handle of a region's image for reading, for a judge. Errors: not opened yet.
    pub fn reader(&self, region: RegionId) -> Result<File, TwinError> {
        let unopened = || TwinError::Order { path: self.path.clone(), what: "not opened yet" };
        self.twins.get(region.0).ok_or_else(unopened)?.reader()
    }

    /// Ends the life of every image, as [`FileTwin::finish`]; the first error is the one told. All of
    /// them are on the disk before the first is called complete.
    pub fn finish(self, complete: bool) -> Result<(), TwinError> {
        let good = if complete { self.twins.iter().try_for_each(FileTwin::sync) } else { Ok(()) };
        let complete = complete && good.is_ok();
        let ends: Vec<_> = self.twins.into_iter().map(|twin| twin.finish(complete)).collect();
        good.and(ends.into_iter().collect())
    }
}

impl Sink for DirTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        // Each image asks for itself alone.
        room::check_local(&self.path.join("images"), layout.bytes())?;
        for (name, (_, region)) in file_names(layout).iter().zip(layout.iter()) {
            let mut twin = FileTwin::create(self.path.join(name))?;
            twin.open(&Layout::new(vec![region.clone()]))?;
            self.twins.push(twin);
        }
        Ok(())
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        self.twins[region.0].write(RegionId(0), first, bytes)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        self.twins[region.0].prefetch(RegionId(0), pages);
    }

    fn commit(&mut self, round: u32) -> Result<(), SinkError> {
        self.twins.iter_mut().try_for_each(|twin| twin.commit(round))
    }
}

/// A file name for each region: its own name, with what a file name can't have made `_`. Regions
/// whose names become the same get a number.
fn file_names(layout: &Layout) -> Vec<String> {
    let mut taken = BTreeSet::new();
    layout
        .iter()
        .map(|(_, region)| {
            let plain = plain_name(region);
            let numbered = (2..).map(|n| format!("{plain}.{n}"));
            let free = |name: &String| taken.insert(name.clone());
            std::iter::once(plain.clone()).chain(numbered).find(free).unwrap_or(plain)
        })
        .collect()
}

fn plain_name(region: &Region) -> String {
    let name = region.name().trim_start_matches(['/', '.']);
    let plain: String =
        name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    if plain.is_empty() { "region".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, PageSize};
    use std::fs;

    fn layout(names: &[&str]) -> Layout {
        let size = PageSize::new(512).unwrap();
        let region = |name: &&str| Region::new(*name, Gpa(0), 1024, size).unwrap();
        Layout::new(names.iter().map(region).collect())
    }

    #[test]
    fn every_region_has_a_name_of_its_own() {
        let names = ["pc.ram", "/rom@etc/acpi/tables", "rom@etc_acpi_tables", "../..", "a\n", ""];
        assert_eq!(
            file_names(&layout(&names)),
            ["pc.ram", "rom@etc_acpi_tables", "rom@etc_acpi_tables.2", "region", "a_", "region.2"]
        );
    }

    #[test]
    fn an_image_for_each_region_and_none_if_it_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/twin");
        for complete in [true, false] {
            let mut twin = DirTwin::create(&path).unwrap();
            assert!(twin.reader(RegionId(0)).is_err());
            twin.open(&layout(&["a", "b"])).unwrap();
            twin.write(RegionId(0), 0, &[1; 1024]).unwrap();
            twin.write(RegionId(1), 1, &[2; 512]).unwrap();
            twin.commit(0).unwrap();
            let images: Vec<PathBuf> = twin.images().map(Path::to_owned).collect();
            assert_eq!(twin.reader(RegionId(1)).unwrap().metadata().unwrap().len(), 1024 + 511);
            twin.finish(complete).unwrap();
            assert!(images.iter().all(|image| image.exists() == complete));
        }
        assert_eq!(fs::read(path.join("b.partial")).unwrap()[512..1024], [2; 512]);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(DirTwin::create(dir.path().join("file")).is_err());
    }
}
