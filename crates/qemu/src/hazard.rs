//! Guests that QEMU may harm by migrating them, whoever asks for it.

mod bus_master;

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
const FOLDERS: [&str; 3] = [PERIPHERAL, "/machine/peripheral-anon", "/machine/unattached"];

/// Where the user's devices are that have an id.
const PERIPHERAL: &str = "/machine/peripheral";

/// What QEMU clears the bits of an unplugged part in (`x-clear-bitmap-shift`, hw/core and migration/ram.c).
const CHUNK: u64 = 1 << 30;

/// Since when QEMU resets the state of TCG's TLB when it collects its log (March 2024; QEMU 9.0, and perhaps
/// a later 8.2), so that it can do so out of bounds.
const RESETS_TLB: (u32, u32) = (8, 2);

/// Bits of the dirty log that are collected as one word (BITS_PER_LONG of a host of 64 bits).
const WORD: u64 = 64;

/// Why QEMU may harm this guest by migrating it, if it is known that it may.
pub(crate) fn hazard(qmp: &mut Qmp, arch: &str) -> Result<Option<String>, BlocksError> {
    if let Some(reason) = deadly_device(qmp)? {
        return Ok(Some(reason));
    }
    if let Some(reason) = bus_master::drive_with_medium(qmp)? {
        return Ok(Some(reason));
    }
    if crate::kvm(qmp)?.enabled {
        return Ok(None);
    }
    let devices = virtio_mem(qmp)?;
    match past_the_end(&devices) {
        Some(reason) => Ok(Some(reason)),
        None => block_order(qmp, arch, &devices),
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

/// A virtio-mem device, as `query-memory-devices` tells of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct VirtioMem {
    id: Option<String>,
    /// The path of its memory backend, whose name is in that of its RAMBlock.
    #[serde(default)]
    memdev: String,
    /// How many bytes are plugged, how many are to be, and how many there can be.
    size: Option<u64>,
    requested_size: Option<u64>,
    max_size: Option<u64>,
}

impl VirtioMem {
    /// Whether it is the memory of this block, and nothing of it is plugged: the guest has no use of it, and gets
    /// none as long as QEMU migrates (`virtio_mem_is_busy()`).
    fn is_unplugged(&self, block: &str, bytes: u64) -> bool {
        let name = self.memdev.rsplit('/').next().unwrap_or_default();
        let is_its = [self.memdev.as_str(), name].iter().any(|name| is_of(block, name));
        let plugged = [self.size, self.requested_size];
        !name.is_empty() && is_its && self.max_size == Some(bytes) && plugged == [Some(0); 2]
    }
}

fn virtio_mem(qmp: &mut Qmp) -> Result<Vec<VirtioMem>, QmpError> {
    let devices: Vec<DeviceEntry> = match qmp.execute("query-memory-devices", ()) {
        Err(error) if error.is_unknown_command() => return Ok(Vec::new()),
        devices => devices?,
    };
    let of_virtio = devices.into_iter().filter(|device| device.r#type == "virtio-mem");
    // One of which QEMU says something else is one of which nothing is known.
    Ok(of_virtio.map(|device| serde_json::from_value(device.data).unwrap_or_default()).collect())
}

/// Under TCG QEMU 10.0 clears the dirty bits of memory that is unplugged (virtio-mem) in pieces that
/// may go past the end of their RAMBlock: `tlb_reset_dirty_range_all` asserts that they do not.
fn past_the_end(devices: &[VirtioMem]) -> Option<String> {
    let ends_within =
        |device: &&VirtioMem| device.max_size.is_none_or(|size| !size.is_multiple_of(CHUNK));
    devices.iter().find(ends_within).map(|device| {
        let name = device.id.as_deref().unwrap_or("without an id");
        format!(
            "QEMU may abort when it migrates a guest that has virtio-mem ({name}) under TCG; give that \
             memory a whole number of GiB, or use KVM"
        )
    })
}

/// Blocks that reach beyond the first one (docs/findings.md, 1).
fn block_order(
    qmp: &mut Qmp,
    arch: &str,
    virtio_mem: &[VirtioMem],
) -> Result<Option<String>, BlocksError> {
    let now = version(qmp)?;
    if (now.major, now.minor) < RESETS_TLB {
        return Ok(None);
    }
    let blocks = ramblock::parse(&qmp.hmp("info ramblock")?)?;
    let ranges = flatview::parse(&qmp.hmp("info mtree -f")?)?;
    Ok(beyond_the_first(&blocks, &ranges, virtio_mem, smallest_page(arch)))
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
/// and asserts that they lie in one block. It does so for blocks whose log is whole words, as soon as a page
/// of them was written that it had sent. Whether the guest will do that is all that is not known before: writes
/// to ROM and flash are not logged, and memory that is not plugged is not written.
fn beyond_the_first(
    blocks: &[RamBlock],
    ranges: &[FlatRange],
    virtio_mem: &[VirtioMem],
    page: u64,
) -> Option<String> {
    let whole_words = |bytes: u64| bytes.is_multiple_of(page * WORD);
    let first = blocks.iter().find(|block| block.offset == Some(0) && block.total > 0);
    let room = first.map_or(0, |block| block.total);
    let is_written = |name: &str, bytes: u64| {
        let block = block_name(name.as_bytes());
        let mut seen = ranges
            .iter()
            .filter(|range| range.readings().iter().any(|reading| is_of(&block, reading.region)));
        let is_rom = seen.clone().count() > 0 && seen.all(|range| range.is_rom);
        !is_rom && !virtio_mem.iter().any(|device| device.is_unplugged(&block, bytes))
    };
    let is_beyond = |block: &&RamBlock| {
        block.used > room
            && block.offset.is_some_and(whole_words)
            && whole_words(block.used)
            && block.read_only != Some(true)
            && block.name.as_deref().is_some_and(|name| is_written(name, block.used))
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
        let reason = beyond_the_first(&blocks, &ranges, &[], 4096).unwrap();
        assert!(reason.contains("RAMBlock pc.ram has 268435456 bytes"), "{reason}");
        assert!(reason.contains("the first one, \"nv\", has 67108864"), "{reason}");
        // The same with the larger one first.
        let mut sound = blocks.clone();
        (sound[0].offset, sound[1].offset) = (Some(0), Some(0x1000_0000));
        assert_eq!(beyond_the_first(&sound, &ranges, &[], 4096), None);
        // What is first may be gone.
        let (gone, _): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|block| block.offset != Some(0));
        let reason = beyond_the_first(&gone, &ranges, &[], 4096).unwrap();
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
            assert_eq!(beyond_the_first(&blocks, &ranges, &[], 4096).is_some(), is_one, "{kind}");
        }
        // Mapped nowhere: it may be later.
        let (mut blocks, ranges) = seen(FLASH, " AS \"memory\", root: system\n");
        assert!(beyond_the_first(&blocks, &ranges, &[], 4096).is_some());
        blocks[0].read_only = Some(true);
        assert_eq!(beyond_the_first(&blocks, &ranges, &[], 4096), None);
        (blocks[0].read_only, blocks[0].name) = (None, None);
        assert_eq!(beyond_the_first(&blocks, &ranges, &[], 4096), None, "it is not migrated");
        // Page by page QEMU uses the right offset.
        let (mut blocks, ranges) = seen(FLASH, &view("ram"));
        blocks[0].used = 0x801_0000;
        blocks[0].total = 0x801_0000;
        assert_eq!(beyond_the_first(&blocks, &ranges, &[], 4096), None);
        assert!(beyond_the_first(&blocks, &ranges, &[], 1024).is_some());
    }

    #[test]
    fn memory_of_which_nothing_is_plugged_is_not_written() {
        let (blocks, ranges) = seen(
            "Block Name PSize Offset Used Total HVA RO
 0000:00:03.0/more 4 KiB 0x14000000 0x40000000 0x40000000 0x7000 rw
 ram 4 KiB 0x0 0x14000000 0x14000000 0x7000 rw
",
            " AS \"memory\", root: system\n  0000-0fff (prio 0, ram): ram\n",
        );
        let device = |name: &str, size: u64, requested_size: u64, max_size: u64| {
            let (memdev, size) = (format!("/objects/{name}"), Some(size));
            let (requested_size, max_size) = (Some(requested_size), Some(max_size));
            VirtioMem { id: None, memdev, size, requested_size, max_size }
        };
        let gib = 1 << 30;
        for (device, is_one) in [
            (device("more", 0, 0, gib), false),
            (device("more", 2 << 20, 0, gib), true),
            (device("more", 0, 2 << 20, gib), true),
            (device("more", 0, 0, 2 * gib), true),
            (device("other", 0, 0, gib), true),
            (device("", 0, 0, gib), true),
            (VirtioMem::default(), true),
        ] {
            let hazard = beyond_the_first(&blocks, &ranges, std::slice::from_ref(&device), 4096);
            assert_eq!(hazard.is_some(), is_one, "{device:?}");
        }
    }
}
