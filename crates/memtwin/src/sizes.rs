//! What a window's size has to be, said before anything runs.

use memtwin_mapping::host_page_size;
use memtwin_report::Failure;

/// Errors unless the size is whole pages and fits this machine's memory.
pub(crate) fn check(bytes: Option<u64>) -> Result<(), Failure> {
    let Some(bytes) = bytes else { return Ok(()) };
    let page = host_page_size() as u64;
    if !bytes.is_multiple_of(page) {
        return Err(Failure::usage(format!(
            "--size {bytes}: expected a multiple of the page size {page}"
        )));
    }
    let memory = rustix::system::sysinfo();
    let total = memory.totalram.saturating_mul(u64::from(memory.mem_unit));
    if bytes > total {
        return Err(Failure::usage(format!(
            "--size {bytes}: larger than this machine's memory of {total} bytes"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_and_huge_sizes_are_refused() {
        assert!(check(None).is_ok());
        assert!(check(Some(16 * host_page_size() as u64)).is_ok());
        let odd = check(Some(host_page_size() as u64 + 1)).unwrap_err();
        assert!(odd.message.contains("expected a multiple of the page size"), "{}", odd.message);
        let huge = check(Some(1 << 60)).unwrap_err();
        assert!(huge.message.contains("larger than this machine's memory"), "{}", huge.message);
    }
}
