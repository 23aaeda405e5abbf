//! The page sizes of kernels, by the names that they have in case names.

use memtwin_lab::Flavour;

/// How the names of cases and results say which kernel a board has.
pub fn pages_of(kernel: Flavour) -> &'static str {
    match kernel {
        Flavour::Standard | Flavour::Cloud => "4k",
        Flavour::Pages16K => "16k",
        Flavour::Pages64K => "64k",
    }
}
