//! What boards boot, made before it is needed.

use crate::page_sizes::pages_of;
use memtwin_lab::image::{ImageSpec, SUITE};
use memtwin_lab::kernel::own;
use memtwin_lab::remote_runner::check_image;
use memtwin_lab::root::{self, BoardImage};
use memtwin_lab::{Arch, Flavour, Progress, provision};
use memtwin_report::Failure;

/// Builds what boards with this kernel boot; each image is `shown` as a line when it is there. `jobs`: how many
/// compilers work at a time, if a kernel is compiled.
///
/// Errors: it can't be built, or not be shown.
pub fn build_kernel(
    kernel: Flavour,
    jobs: usize,
    shown: &mut dyn FnMut(String) -> Result<(), Failure>,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let pages = pages_of(kernel);
    if kernel == Flavour::Pages64K {
        own::build(kernel, SUITE, jobs, progress).map_err(Failure::environment)?;
    }
    let image = check_image(kernel, None, progress).map_err(Failure::environment)?;
    shown(format!("{pages} {} {}", image.kernel.display(), image.initrd.display()))?;
    // Boards with a disk and networks need Debian's modules.
    if kernel != Flavour::Pages64K {
        let image = provision::board_image(kernel, progress).map_err(Failure::environment)?;
        let BoardImage { boot, root } = image;
        let [kernel_file, initrd, root] = [boot.kernel, boot.initrd, root];
        let files = [kernel_file.display(), initrd.display(), root.display()];
        shown(format!("{pages} {} {} {}", files[0], files[1], files[2]))?;
    }
    Ok(())
}

/// What would be fetched and built for this kernel, in lines.
///
/// Errors: the lists of packages can't be obtained.
pub fn preview_kernel(
    kernel: Flavour,
    progress: &mut dyn Progress,
) -> Result<Vec<String>, Failure> {
    let cache = provision::open_cache(progress).map_err(Failure::environment)?;
    let (arch, modules, programs, files) = (Arch::Aarch64, &[][..], &[][..], &[][..]);
    let spec = ImageSpec { arch, suite: SUITE, kernel, modules, programs, files };
    let plan = spec.plan(&cache, progress).map_err(Failure::environment)?;
    let mut lines: Vec<String> = plan.lines().collect();
    if kernel != Flavour::Pages64K {
        let plan = root::plan(&cache, kernel, progress).map_err(Failure::environment)?;
        lines.extend(plan.lines());
    }
    Ok(lines)
}
