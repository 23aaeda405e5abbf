//! What can be wrong with a stream: what was expected, what came, and a way out.

use crate::feature::{Feature, way_out};
use crate::{StreamPhase, wire};

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The first four bytes are others.
    #[error("expected QEMU's magic {:#010x}, got {got:#010x}: not a migration stream", wire::MAGIC)]
    Magic {
        /// The first four bytes.
        got: u32,
    },
    /// Another version of the whole format.
    #[error("expected version {}, got {got}", wire::VERSION)]
    Version {
        /// The version.
        got: u32,
    },
    /// What can't come after the version.
    #[error("expected the configuration (0x07), got {got:#04x}")]
    NoConfiguration {
        /// What came instead.
        got: u8,
    },
    /// A number of bytes or entries that no QEMU sends.
    #[error("expected {what} of at most {most}, got {got}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: u64,
        /// What came.
        got: u64,
    },
    /// A name that is not text.
    #[error("expected {what} in UTF-8, got {got:?}")]
    NotText {
        /// Whose name.
        what: &'static str,
        /// The name, with what is not text replaced.
        got: String,
    },
    /// A part of the configuration whose length is not known.
    #[error(
        "expected a subsection configuration/target-page-bits, /capabilities or /uuid of version 1, got {name:?} of version {version}: it is not decoded"
    )]
    Subsection {
        /// The name of the subsection.
        name: String,
        /// Its version.
        version: u32,
    },
    /// A page size that can't be.
    #[error("expected a page size of 2^10 to 2^16 bytes, got 2^{bits}")]
    PageBits {
        /// Its logarithm.
        bits: u32,
    },
    /// The page size that the caller gave is none, and the stream has not said another.
    #[error("expected a page size of 2^10 to 2^16 bytes, was told {bytes}")]
    PageBytes {
        /// What the caller gave.
        bytes: u32,
    },
    /// A capability that changes the stream in a way that is not decoded.
    #[error("the source has the capability {name} on: switch it off")]
    Capability {
        /// The name of the capability.
        name: String,
    },
    /// What can't be where a section or a command begins.
    #[error("expected a section or a command, got {got:#04x}")]
    Section {
        /// The first byte of it.
        got: u8,
    },
    /// The source says that it is done, and RAM had not ended.
    #[error("the source ends its stream ({got:#04x}) before the end of RAM: its migration failed")]
    EndedEarly {
        /// 0x00 or 0x06.
        got: u8,
    },
    /// A section of another device, which has no length that would allow to skip it.
    #[error("section {name:?} before the end of RAM: expected \"ram\"; {}", way_out(name))]
    Foreign {
        /// The name of what is foreign.
        name: String,
    },
    /// A section of another device that is understood, but not in this version.
    #[error("expected version {expected} of section {name:?}, got {got}")]
    DeviceVersion {
        /// The name of the device version.
        name: String,
        /// The version that is understood.
        expected: u32,
        /// Its version.
        got: u32,
    },
    /// A virtio-mem device that can't be.
    #[error(
        "expected a virtio-mem device of whole blocks, got {region} bytes in blocks of {block}"
    )]
    VirtioMem {
        /// How many bytes it can have.
        region: u64,
        /// In which unit they are plugged.
        block: u64,
    },
    /// The RAM section has another version or instance.
    #[error("expected {what} {expected} of section \"ram\", got {got}")]
    RamSection {
        /// What of it.
        what: &'static str,
        /// What it should be.
        expected: u32,
        /// What it is.
        got: u32,
    },
    /// A second list of blocks.
    #[error("section \"ram\" starts a second time")]
    StartedTwice,
    /// A part of a section that has not begun.
    #[error("section {id} goes on before it has started")]
    NotStarted {
        /// Its number.
        id: u32,
    },
    /// A part of another section than that of RAM, or the footer of another than was open.
    #[error("expected section {expected}, got section {got}")]
    SectionId {
        /// Its number.
        expected: u32,
        /// What came.
        got: u32,
    },
    /// No footer after a section.
    #[error(
        "expected a section footer (0x7e), got {got:#04x}: start the source with -global migration.send-section-footer=on"
    )]
    NoFooter {
        /// What came instead.
        got: u8,
    },
    /// A command that is not decoded, or leads to what is not.
    #[error(
        "command {} ({command}) before the end of RAM is not decoded: {}",
        wire::command::name(*command),
        if matches!(command, 4..=10) { "start neither postcopy nor COLO" } else { "this QEMU may be too new" }
    )]
    Command {
        /// Its number.
        command: u16,
    },
    /// A command with another length than it has.
    #[error("expected {expected} bytes in command {command}, got {got}")]
    CommandLength {
        /// Its number.
        command: u16,
        /// How many bytes it has.
        expected: u16,
        /// What came.
        got: u16,
    },
    /// A page size beside postcopy that is not the one at hand.
    #[error(
        "expected pages of {expected} bytes, the source has {got}: tell the decoder the target's page size"
    )]
    AdvisedPage {
        /// The page size that the stream or the caller has given.
        expected: u32,
        /// What the source advises.
        got: u64,
    },
    /// A page, or the end of a burst, before the list of blocks.
    #[error("expected the list of blocks (0x04), got a record with flags {flags:#x}")]
    NoBlocks {
        /// The flags of the record.
        flags: u64,
    },
    /// The blocks have more bytes than the total that was sent before them.
    #[error("block {name:?} has {bytes} bytes, of the total {left} are left")]
    Total {
        /// The block.
        name: String,
        /// How many bytes it has.
        bytes: u64,
        /// How many it could have.
        left: u64,
    },
    /// A block that does not consist of pages.
    #[error("expected pages of {page_bytes} bytes in block {name:?}, got {bytes} bytes in all")]
    BlockSize {
        /// The block.
        name: String,
        /// How many bytes it has.
        bytes: u64,
        /// The page size.
        page_bytes: u32,
    },
    /// A block without a name.
    #[error("expected the name of a block, got an empty one")]
    NoName,
    /// Two blocks with one name.
    #[error("block {name:?} is listed twice")]
    BlockTwice {
        /// The name.
        name: String,
    },
    /// A page size of a block that the source had not announced.
    #[error(
        "expected one of the page sizes {announced:#x} behind block {name:?}, got {got:#x}: switch the capability postcopy-ram off"
    )]
    BlockPage {
        /// The block.
        name: String,
        /// The page sizes that were announced, added up.
        announced: u64,
        /// What came.
        got: u64,
    },
    /// A chunk of the section of dirty bitmaps that can't be.
    #[error("section \"dirty-bitmap\": expected {expected}, got {got}")]
    Bitmap {
        /// What can be there.
        expected: &'static str,
        /// What is there.
        got: &'static str,
    },
    /// Two capabilities after which the list of blocks can be read in two ways.
    #[error("the source has both postcopy-ram and x-ignore-shared on: switch one of them off")]
    Ambiguous,
    /// A record of what is not decoded.
    #[error("the source uses {feature} (record with flags {flags:#x})")]
    Uses {
        /// What it uses.
        feature: Feature,
        /// The flags of the record.
        flags: u64,
    },
    /// A record that is none.
    #[error("expected a page record, got flags {flags:#x} at offset {offset:#x}")]
    Flags {
        /// The flags.
        flags: u64,
        /// The offset that they came with.
        offset: u64,
    },
    /// A record that goes on with the block of the one before, and there is none.
    #[error("a page record goes on with a block before any was named")]
    NoBlock,
    /// A record of a block that is not on the list.
    #[error("a page record names block {name:?}, which is not on the list")]
    UnknownBlock {
        /// The name.
        name: String,
    },
    /// A page that lies outside its block.
    #[error(
        "expected a page within the {bytes:#x} bytes of block {name:?}, got offset {offset:#x}"
    )]
    Outside {
        /// The block.
        name: String,
        /// Its used length.
        bytes: u64,
        /// Where the page would lie.
        offset: u64,
    },
    /// The stream has ended, and RAM had not.
    #[error("the stream ends {} and before the end of RAM", phase.place())]
    Truncated {
        /// How far it had come.
        phase: StreamPhase,
    },
    /// The visitor has failed at this place, and some of what followed it was not told.
    #[error("stopped here because what was in it could not be kept; begin with a new stream")]
    Stopped,
}
