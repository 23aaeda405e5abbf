//! HMP `info ramblock` as a list (`ram_block_format()` in `system/physmem.c`): the RAMBlocks, and
//! since QEMU 8.2 where each lies in QEMU's own memory.

use crate::BlocksError;

/// An entry of `info ramblock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RamBlock {
    /// None: it was never registered to be migrated (`vmstate_register_ram()` in
    /// `migration/savevm.c` gives the name), as a memory backend that no device uses, or
    /// virtio-pmem's.
    pub(crate) name: Option<String>,
    /// Where QEMU has it in the space of all its RAM; blocks do not overlap there.
    pub(crate) offset: Option<u64>,
    pub(crate) host_page: u64,
    pub(crate) used: u64,
    pub(crate) total: u64,
    pub(crate) hva: Option<u64>,
    pub(crate) read_only: Option<bool>,
}

/// What each column of numbers is called in the header. Columns with other names are skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RamblockColumn {
    Offset,
    Used,
    Total,
    Hva,
    ReadOnly,
    Other,
}

/// Parses what `info ramblock` printed.
///
/// A name may have line breaks, so what is no whole entry is the beginning of one.
pub(crate) fn parse(text: &str) -> Result<Vec<RamBlock>, BlocksError> {
    let mut lines = text.trim_end().lines().skip_while(|line| line.trim().is_empty());
    let header = lines.next().unwrap_or_default();
    let columns = columns(header).ok_or_else(|| bad(header, "no header with Used and Total"))?;
    let mut blocks = Vec::new();
    let (mut entry, mut first) = (String::new(), None);
    for line in lines {
        entry.push_str(line);
        match block(&entry, &columns) {
            Ok(block) => {
                blocks.push(block);
                entry.clear();
                first = None;
            }
            Err(problem) => {
                entry.push('\n');
                first.get_or_insert((line, problem));
            }
        }
    }
    first.map_or(Ok(blocks), |(line, problem)| Err(bad(line, problem)))
}

fn bad(line: &str, problem: &str) -> BlocksError {
    BlocksError::NotUnderstood {
        command: "info ramblock",
        line: line.trim().to_owned(),
        problem: problem.to_owned(),
    }
}

/// The columns after the page size.
fn columns(header: &str) -> Option<Vec<RamblockColumn>> {
    let (_, after) = header.trim().strip_prefix("Block Name")?.split_once("PSize")?;
    let columns: Vec<_> = after
        .split_whitespace()
        .map(|name| match name {
            "Offset" => RamblockColumn::Offset,
            "Used" => RamblockColumn::Used,
            "Total" => RamblockColumn::Total,
            "HVA" => RamblockColumn::Hva,
            "RO" => RamblockColumn::ReadOnly,
            _ => RamblockColumn::Other,
        })
        .collect();
    (columns.contains(&RamblockColumn::Used) && columns.contains(&RamblockColumn::Total))
        .then_some(columns)
}

/// A block's name may contain anything, so an entry is read from its end.
fn block(entry: &str, columns: &[RamblockColumn]) -> Result<RamBlock, &'static str> {
    let mut rest = entry;
    let mut fields = Vec::new();
    for column in columns.iter().rev() {
        fields.push((*column, last_word(&mut rest).ok_or("too few columns")?));
    }
    let unit = last_word(&mut rest).ok_or("no page size")?;
    let size = last_word(&mut rest).ok_or("no page size")?;
    // Other white space is the name's own.
    let name = rest.trim_matches(' ');
    let mut block = RamBlock {
        name: (!name.is_empty()).then(|| name.to_owned()),
        offset: None,
        host_page: page_size(size, unit).ok_or("not a page size")?,
        used: 0,
        total: 0,
        hva: None,
        read_only: None,
    };
    for (column, word) in fields {
        let number = || hex(word).ok_or("not a hexadecimal number");
        match column {
            RamblockColumn::Offset => block.offset = Some(number()?),
            RamblockColumn::Used => block.used = number()?,
            RamblockColumn::Total => block.total = number()?,
            RamblockColumn::Hva => block.hva = Some(number()?).filter(|hva| *hva != 0),
            RamblockColumn::ReadOnly => block.read_only = Some(word == "ro"),
            RamblockColumn::Other => {}
        }
    }
    match block.used <= block.total {
        true => Ok(block),
        false => Err("more bytes used than there are"),
    }
}

fn last_word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let line = rest.trim_end_matches(' ');
    let (before, word) = line.rsplit_once(' ')?;
    *rest = before;
    Some(word)
}

/// A hexadecimal number as QEMU prints it.
pub(crate) fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// `4 KiB`, `2 MiB`, `1 GiB` (`size_to_str()` in `util/cutils.c`).
fn page_size(size: &str, unit: &str) -> Option<u64> {
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let bytes = size.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    bytes.is_power_of_two().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str = "Block Name    PSize  Offset  Used  Total  HVA  RO";

    #[test]
    fn real_machines() {
        let pc = parse(include_str!("../tests/fixtures/pc.ramblock")).unwrap();
        assert_eq!(pc.len(), 6);
        assert_eq!(
            (pc[0].name.as_deref(), pc[0].used, pc[0].host_page),
            (Some("pc.ram"), 6 << 30, 4096)
        );
        assert_eq!((pc[0].hva, pc[0].read_only), (Some(0x7f63_7be0_0000), Some(false)));
        let tables = &pc[1];
        assert_eq!(
            (tables.name.as_deref(), tables.used, tables.total),
            (Some("/rom@etc/acpi/tables"), 128 << 10, 2 << 20)
        );
        assert_eq!(tables.read_only, Some(true));

        let old = parse(include_str!("../tests/fixtures/pc72.ramblock")).unwrap();
        assert_eq!((old.len(), old[1].name.as_deref()), (8, Some("0000:00:02.0/vga.vram")));
        assert!(old.iter().all(|block| block.hva.is_none() && block.read_only.is_none()));
        for text in [
            include_str!("../tests/fixtures/q35.ramblock"),
            include_str!("../tests/fixtures/pcnv.ramblock"),
            include_str!("../tests/fixtures/virt.ramblock"),
            include_str!("../tests/fixtures/virtsec.ramblock"),
        ] {
            let blocks = parse(text).unwrap();
            assert_eq!(blocks.len(), text.lines().count() - 1);
            assert!(blocks.iter().all(|block| block.hva.is_some() && block.used > 0));
        }
    }

    #[test]
    fn what_is_no_list_of_blocks_is_quoted() {
        for text in ["", "unknown command: 'info ramblock'", "Block Name PSize Offset\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for line in [
            "a  3 KiB  0x0 0x1 0x1 0x0 rw",
            "a  4 XiB  0x0 0x1 0x1 0x0 rw",
            "a  4 KiB  0x0 0x2 0x1 0x0 rw",
            "a  4 KiB  0x0 7 0x1 0x0 rw",
            "0x1 rw",
        ] {
            let error = parse(&format!("{HEADER}\r\n{line}\r\n")).unwrap_err();
            assert!(error.to_string().contains(line.trim()), "{error}");
        }
    }

    #[test]
    fn what_has_no_name_or_no_bytes_is_read_too() {
        let text = format!(
            "{HEADER}\r\n{:>24}  4 KiB  0x1000 0x2000 0x2000 0x7f00 rw\r\n empty 4 KiB 0x0 0x0 0x0 0x0 rw\r\n",
            ""
        );
        let blocks = parse(&text).unwrap();
        assert_eq!((&blocks[0].name, blocks[0].offset, blocks[0].used), (&None, Some(4096), 8192));
        assert_eq!(
            (blocks[1].name.as_deref(), blocks[1].total, blocks[1].hva),
            (Some("empty"), 0, None)
        );
    }

    /// The monitor makes each `\n` of a name `\r\n` (`monitor_puts_locked()`).
    #[test]
    fn a_name_may_have_line_breaks_and_look_like_an_entry() {
        let names = ["a\nb", "a\r\nb", "\n\n", "x  4 KiB  0x0 0x1", "\u{1b}[2J", "last\n"];
        let numbers = "  4 KiB  0x0 0x1 0x2 0x7f00 rw";
        let mut text = format!("{HEADER}\n");
        names.iter().for_each(|name| text += &format!("{name:>24}{numbers}\n"));
        let blocks = parse(&text.replace('\n', "\r\n")).unwrap();
        let read: Vec<_> = blocks.iter().filter_map(|block| block.name.as_deref()).collect();
        assert_eq!(read, names);
        // What is no entry ends as one only if one follows; it is quoted, not the whole.
        let error = parse(&format!("{HEADER}\nnothing\nlike it\n")).unwrap_err().to_string();
        assert!(error.contains("\"nothing\""), "{error}");
    }

    proptest! {
        #[test]
        fn any_name_is_read_back(name in "\\PC{0,40}", used in 0..u64::MAX, hva: u64) {
            // Spaces at its ends are not derived from those that QEMU fills up with.
            let name = name.trim_matches(' ');
            let line = format!("{name:>24}  {:>5}  0x0 {used:#x} {:#x} {hva:#018x}  ro", "2 MiB", u64::MAX);
            let blocks = parse(&format!("{HEADER}\r\n{line}\r\n")).unwrap();
            prop_assert_eq!(blocks[0].name.as_deref(), Some(name).filter(|name| !name.is_empty()));
            prop_assert_eq!((blocks[0].used, blocks[0].host_page), (used, 2 << 20));
            prop_assert_eq!(blocks[0].hva.unwrap_or(0), hva);
        }

        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,200}", line in "\\PC{0,80}") {
            let _ = parse(&text);
            let _ = parse(&format!("{HEADER}\n{line}"));
        }
    }
}
