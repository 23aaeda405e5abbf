//! Guests that QEMU does not survive migrating, whoever asks for it.

use crate::block::is_of;
use crate::block_name::block_name;
use crate::flatview::{self, FlatRange};
use crate::qom::children;
use crate::ramblock::{self, RamBlock};
use crate::{BlocksError, version};
use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde_json::Value;

/// Devices whose state QEMU reads from where it never wrote it: cards with fewer serial ports than their
/// state has room for (hw/char/serial-pci-multi.c, hw/char/diva-gsp.c). `timer_pending()` is a segmentation
/// fault then, at the end of every migration.
const DEADLY: [&str; 2] = ["child<pci-serial-2x>", "child<diva-gsp>"];

/// Where devices are: those of the user, and those of the machine.
const FOLDERS: [&str; 3] =
    ["/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached"];

/// What QEMU clears the bits of an unplugged part in (`x-clear-bitmap-shift`, hw/core and migration/ram.c).
const CHUNK: u64 = 1 << 30;

/// Since when QEMU resets the state of TCG's TLB when it collects its log (March 2024; QEMU 9.0, and perhaps
/// a later 8.2), so that it can do so out of bounds.
const RESETS_TLB: (u32, u32) = (8, 2);

/// Bits of the dirty log that are collected as one word (BITS_PER_LONG of a host of 64 bits).
const WORD: u64 = 64;

/// Why QEMU may die when it migrates this guest, if it is known that it may.
pub(crate) fn hazard(qmp: &mut Qmp, arch: &str) -> Result<Option<String>, BlocksError> {
    if let Some(reason) = deadly_device(qmp)? {
        return Ok(Some(reason));
    }
    if crate::kvm(qmp)?.enabled {
        return Ok(None);
    }
    match virtio_mem(qmp)? {
        Some(reason) => Ok(Some(reason)),
        None => block_order(qmp, arch),
    }
}

fn deadly_device(qmp: &mut Qmp) -> Result<Option<String>, QmpError> {
    for folder in FOLDERS {
        let found =
            children(qmp, folder)?.into_iter().find(|it| DEADLY.contains(&it.kind.as_str()));
        if let Some(device) = found {
            let kind = device.kind.trim_start_matches("child<").trim_end_matches('>');
            return Ok(Some(format!(
                "QEMU dies of a segmentation fault when it migrates a guest with the device {kind} \
                 ({folder}/{}); do without that device",
                device.name
            )));
        }
    }
    Ok(None)
}

#[derive(Deserialize)]
struct DeviceEntry {
    r#type: String,
    data: Value,
}

/// Under TCG QEMU 10.0 clears the dirty bits of memory that is unplugged (virtio-mem) in pieces that
/// may go past the end of their RAMBlock: `tlb_reset_dirty_range_all` asserts that they do not.
fn virtio_mem(qmp: &mut Qmp) -> Result<Option<String>, QmpError> {
    let devices: Vec<DeviceEntry> = match qmp.execute("query-memory-devices", ()) {
        Err(error) if error.is_unknown_command() => return Ok(None),
        devices => devices?,
    };
    let ends_within = |device: &&DeviceEntry| {
        let size = device.data.get("max-size").and_then(Value::as_u64);
        device.r#type == "virtio-mem" && size.is_none_or(|size| size % CHUNK != 0)
    };
    Ok(devices.iter().find(ends_within).map(|device| {
        let name = device.data.get("id").and_then(Value::as_str).unwrap_or("without an id");
        format!(
            "QEMU may abort when it migrates a guest that has virtio-mem ({name}) under TCG; give that \
             memory a whole number of GiB, or use KVM"
        )
    }))
}

/// Blocks that reach beyond the first one (docs/findings.md, 1).
fn block_order(qmp: &mut Qmp, arch: &str) -> Result<Option<String>, BlocksError> {
    let now = version(qmp)?;
    if (now.major, now.minor) < RESETS_TLB {
        return Ok(None);
    }
    let blocks = ramblock::parse(&qmp.hmp("info ramblock")?)?;
    let ranges = flatview::parse(&qmp.hmp("info mtree -f")?)?;
    Ok(beyond_the_first(&blocks, &ranges, smallest_page(arch)))
}

/// The smallest pages that a target may have, in bytes (`TARGET_PAGE_BITS` in target/*/cpu-param.h). Which
/// it has is known only while it migrates.
fn smallest_page(arch: &str) -> u64 {
    match arch {
        "avr" => 256,
        "arm" | "aarch64" => 1 << 10,
        "alpha" | "or1k" | "sparc64" => 8 << 10,
        "tricore" => 16 << 10,
        _ => 4 << 10,
    }
}

/// When QEMU has collected a block's log it resets the TLB's state for that many bytes from RAM offset 0 on,
/// and asserts that they lie in one block. It does so for blocks whose log is whole words, as soon as one page
/// of them was written; nobody writes to ROM and flash in a way that is logged.
fn beyond_the_first(blocks: &[RamBlock], ranges: &[FlatRange], page: u64) -> Option<String> {
    let whole_words = |bytes: u64| bytes.is_multiple_of(page * WORD);
    let first = blocks.iter().find(|block| block.offset == Some(0) && block.total > 0);
    let room = first.map_or(0, |block| block.total);
    let is_written = |name: &str| {
        let mut seen = ranges.iter().filter(|range| {
            range
                .readings()
                .iter()
                .any(|reading| is_of(&block_name(name.as_bytes()), reading.region))
        });
        seen.clone().count() == 0 || seen.any(|range| !range.is_rom)
    };
    let is_beyond = |block: &&RamBlock| {
        block.used > room
            && block.offset.is_some_and(whole_words)
            && whole_words(block.used)
            && block.read_only != Some(true)
            && block.name.as_deref().is_some_and(is_written)
    };
    let block = blocks.iter().find(is_beyond)?;
    let name = |block: &RamBlock| block_name(block.name.as_deref().unwrap_or_default().as_bytes());
    let behind = first.map_or_else(
        || "there is no RAMBlock at RAM offset 0".to_owned(),
        |first| format!("the first one, {:?}, has {room}", name(first)),
    );
    Some(format!(
        "QEMU may abort when it migrates this guest under TCG: RAMBlock {} has {} bytes and {behind} \
         (docs/findings.md, 1); name the larger memory first on QEMU's command line, or use KVM",
        name(block),
        block.used
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ramblock: &str, mtree: &str) -> (Vec<RamBlock>, Vec<FlatRange>) {
        (ramblock::parse(ramblock).unwrap(), flatview::parse(mtree).unwrap())
    }

    #[test]
    fn memory_that_is_larger_than_the_first_is_a_hazard() {
        let (blocks, ranges) = seen(
            include_str!("../tests/fixtures/pcnv.ramblock"),
            include_str!("../tests/fixtures/pcnv.mtree"),
        );
        let reason = beyond_the_first(&blocks, &ranges, 4096).unwrap();
        assert!(reason.contains("RAMBlock pc.ram has 268435456 bytes"), "{reason}");
        assert!(reason.contains("the first one, \"nv\", has 67108864"), "{reason}");
        // The same with the larger one first.
        let mut sound = blocks.clone();
        (sound[0].offset, sound[1].offset) = (Some(0), Some(0x1000_0000));
        assert_eq!(beyond_the_first(&sound, &ranges, 4096), None);
        // What is first may be gone.
        let (gone, _): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|block| block.offset != Some(0));
        let reason = beyond_the_first(&gone, &ranges, 4096).unwrap();
        assert!(reason.contains("no RAMBlock at RAM offset 0"), "{reason}");
    }

    const FLASH: &str = "Block Name PSize Offset Used Total HVA RO
 flash 4 KiB 0x4000000 0x8000000 0x8000000 0x7000 rw
 ram 4 KiB 0x0 0x4000000 0x4000000 0x7000 rw
 vram 4 KiB 0xc000000 0x1000 0x1000 0x7000 rw
";

    fn view(kind: &str) -> String {
        format!(
            " AS \"memory\", root: system\n  0000-0fff (prio 0, {kind}): flash\n  1000-1fff (prio 0, ram): ram\n"
        )
    }

    #[test]
    fn what_is_never_written_or_no_whole_words_is_none() {
        for (kind, is_one) in [("romd", false), ("rom", false), ("ram", true), ("nv-ram", true)] {
            let (blocks, ranges) = seen(FLASH, &view(kind));
            assert_eq!(beyond_the_first(&blocks, &ranges, 4096).is_some(), is_one, "{kind}");
        }
        // Mapped nowhere: it may be later.
        let (mut blocks, ranges) = seen(FLASH, " AS \"memory\", root: system\n");
        assert!(beyond_the_first(&blocks, &ranges, 4096).is_some());
        blocks[0].read_only = Some(true);
        assert_eq!(beyond_the_first(&blocks, &ranges, 4096), None);
        (blocks[0].read_only, blocks[0].name) = (None, None);
        assert_eq!(beyond_the_first(&blocks, &ranges, 4096), None, "it is not migrated");
        // Page by page QEMU uses the right offset.
        let (mut blocks, ranges) = seen(FLASH, &view("ram"));
        blocks[0].used = 0x801_0000;
        blocks[0].total = 0x801_0000;
        assert_eq!(beyond_the_first(&blocks, &ranges, 4096), None);
        assert!(beyond_the_first(&blocks, &ranges, 1024).is_some());
    }
}
