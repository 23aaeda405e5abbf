//! HMP `info mtree -f` as a list of ranges (`mtree_print_flatview()` in `system/memory.c`): what
//! the guest sees at which guest-physical address.

use crate::BlocksError;

/// The address space that devices and CPUs see as physical memory.
const SYSTEM: &str = " AS \"memory\", root: system";

/// What stands in place of the ranges of a view that has none.
const EMPTY: &str = "  No rendered FlatView";

/// A range of guest-physical memory that is backed by host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlatRange {
    pub(crate) gpa: u64,
    pub(crate) bytes: u64,
    /// Whether the guest's stores do not go to that memory: a ROM, flash.
    pub(crate) is_rom: bool,
    /// What QEMU calls it: a memory region's name, `@` and its offset, an accelerator; all of
    /// it, as names may contain the like too. See [`FlatRange::readings`].
    what: String,
}

/// A way to read a range's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeReading<'a> {
    pub(crate) region: &'a str,
    pub(crate) offset: u64,
}

impl FlatRange {
    /// The ways to read it, the one with the longest name first.
    pub(crate) fn readings(&self) -> Vec<RangeReading<'_>> {
        let whole = self.what.as_str();
        // " KVM", or another accelerator's name, where it knows the range.
        let without_accelerator = whole.rsplit_once(' ').map(|(before, _)| before);
        let mut readings = Vec::new();
        for text in [Some(whole), without_accelerator].into_iter().flatten() {
            readings.push(RangeReading { region: text, offset: 0 });
            if let Some((region, offset)) = text.rsplit_once(" @")
                && let Ok(offset) = u64::from_str_radix(offset, 16)
            {
                readings.push(RangeReading { region, offset });
            }
        }
        readings.sort_by_key(|reading| std::cmp::Reverse(reading.region.len()));
        readings
    }
}

/// Parses what `info mtree -f` printed: the ranges of the system's address space that are RAM or
/// ROM.
pub(crate) fn parse(text: &str) -> Result<Vec<FlatRange>, BlocksError> {
    let bad = |line: &str, problem: &str| BlocksError::NotUnderstood {
        command: "info mtree -f",
        line: line.trim().to_owned(),
        problem: problem.to_owned(),
    };
    let mut lines = text.lines().map(str::trim_end).skip_while(|line| !line.starts_with(SYSTEM));
    if lines.next().is_none() {
        let first = text.lines().next().unwrap_or_default();
        return Err(bad(first, "no address space \"memory\""));
    }
    let mut ranges: Vec<(FlatRange, bool)> = Vec::new();
    // The other spaces of the same view, the root, the ranges; then an empty line.
    for line in lines.take_while(|line| !line.is_empty()) {
        let is_head = line.starts_with(" AS ") || line.starts_with(" Root memory region");
        if is_head || line == EMPTY {
            continue;
        }
        match (range(line), ranges.last_mut()) {
            (Some(found), _) => ranges.push(found),
            // A name may have line breaks.
            (None, Some((last, _))) if !begins_like_a_range(line) => {
                last.what.push('\n');
                last.what.push_str(line);
            }
            (None, _) => return Err(bad(line, "not a range")),
        }
    }
    Ok(ranges.into_iter().filter_map(|(range, is_memory)| is_memory.then_some(range)).collect())
}

/// Two spaces and a digit: whatever else it is, it is no rest of a name, or a very odd one.
fn begins_like_a_range(line: &str) -> bool {
    line.strip_prefix("  ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()))
}

/// `0000000000100000-00000000bfffffff (prio 0, ram): pc.ram @0000000000100000 KVM`: the range,
/// and whether it is host memory.
fn range(line: &str) -> Option<(FlatRange, bool)> {
    let (ends, rest) = line.trim_start().split_once(" (prio ")?;
    let (from, to) = ends.split_once('-')?;
    let gpa = u64::from_str_radix(from, 16).ok()?;
    let last = u64::from_str_radix(to, 16).ok()?;
    // A view of 2^64 bytes has one byte too many for a number; no memory is that large.
    let bytes = last.checked_sub(gpa)?.saturating_add(1);
    let (kind, what) = rest.split_once("): ")?;
    let (_, kind) = kind.split_once(", ")?;
    let kind = kind.strip_prefix("nv-").unwrap_or(kind);
    let is_rom = matches!(kind, "rom" | "romd" | "rom device");
    let is_memory = is_rom || matches!(kind, "ram" | "ramd" | "ram device");
    Some((FlatRange { gpa, bytes, is_rom, what: what.to_owned() }, is_memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<(u64, u64, String)> {
        let ranges = parse(text).unwrap();
        ranges.into_iter().map(|range| (range.gpa, range.bytes, range.what)).collect()
    }

    #[test]
    fn real_machines() {
        let pc = lines(include_str!("../tests/fixtures/pc.mtree"));
        let last = (4 << 30, 3 << 30, "pc.ram @00000000c0000000 KVM".to_owned());
        assert_eq!((pc.len(), pc.last().unwrap()), (6, &last));
        // Flash that the secure world alone sees is no range of this view.
        let secure = lines(include_str!("../tests/fixtures/virtsec.mtree"));
        let names: Vec<_> = secure.iter().map(|(.., what)| what.as_str()).collect();
        assert_eq!(names, ["virt.flash1", "mach-virt.ram"]);
        let nvdimm = lines(include_str!("../tests/fixtures/pcnv.mtree"));
        assert_eq!(nvdimm.last().unwrap(), &(4 << 30, 64 << 20, "nv KVM".to_owned()));
        assert_eq!(lines(include_str!("../tests/fixtures/pc72.mtree")).len(), 6);
    }

    #[test]
    fn what_is_no_view_is_quoted() {
        for text in ["", "unknown command: 'info mtree'"] {
            assert!(parse(text).is_err());
        }
        let error = parse(&format!("FlatView #0\n{SYSTEM}\n  00-0f [prio 0]: x\n")).unwrap_err();
        assert!(error.to_string().contains("00-0f [prio 0]: x"), "{error}");
        assert_eq!(lines(&format!("{SYSTEM}\n Root memory region: (none)\n{EMPTY}\n")), []);
        let all = format!("{SYSTEM}\n  0000000000000000-ffffffffffffffff (prio 0, ram): all\n");
        assert_eq!(lines(&all), [(0, u64::MAX, "all".to_owned())]);
    }

    #[test]
    fn a_name_may_have_line_breaks() {
        let text = format!(
            "{SYSTEM}\n  00-0f (prio 0, ram): a\r\nb\r\n  10-1f (prio 0, romd): flash\r\n  \r\n"
        );
        let ranges = parse(&text).unwrap();
        assert_eq!((ranges[0].what.as_str(), ranges[0].is_rom), ("a\nb", false));
        assert_eq!((ranges[1].what.as_str(), ranges[1].is_rom), ("flash", true));
    }

    #[test]
    fn a_name_may_look_like_what_follows_it() {
        let range =
            |what: &str| FlatRange { gpa: 0, bytes: 1, is_rom: false, what: what.to_owned() };
        let read = |what: &str| -> Vec<(String, u64)> {
            let range = range(what);
            range.readings().iter().map(|r| (r.region.to_owned(), r.offset)).collect()
        };
        assert_eq!(read("pc.ram"), [("pc.ram".to_owned(), 0)]);
        let all = read("boot rom @0000000000001000 KVM");
        assert!(all.contains(&("boot rom".to_owned(), 0x1000)));
        assert_eq!(all[0].0, "boot rom @0000000000001000 KVM");
        assert!(read("a @10").contains(&("a".to_owned(), 16)));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,200}", line in "\\PC{0,80}") {
            let _ = parse(&text);
            for range in parse(&format!("{SYSTEM}\n{line}")).unwrap_or_default() {
                range.readings();
            }
        }
    }
}
