//! A guess at who wrote the bytes that the log missed, from the bytes alone.
//!
//! One writer leaves a mark that is hard to mistake: the page-table walker. It sets single flags
//! in page-table entries by itself, and an emulator that does so behind the dirty log's back loses
//! exactly these bits. References: Arm ARM, VMSAv8-64 descriptor formats (D8.3), for block and
//! page descriptors; AMD64 Architecture Programmer's Manual, volume 2, 5.3, for the x86-64 entries.

use std::fmt;

/// Who probably wrote the bytes in which a page differs from its twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The walker set the access flag of Arm descriptors.
    ArmAccessFlag,
    /// The walker set the accessed flag of x86-64 page-table entries.
    X86Accessed,
    /// The walker set the dirty flag of x86-64 page-table entries.
    X86Dirty,
    /// The walker set both flags of x86-64 page-table entries.
    X86AccessedAndDirty,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = match self {
            Self::ArmAccessFlag => "access flag (bit 10) of an Arm descriptor",
            Self::X86Accessed => "accessed flag (bit 5) of an x86-64 page-table entry",
            Self::X86Dirty => "dirty flag (bit 6) of an x86-64 page-table entry",
            Self::X86AccessedAndDirty => {
                "accessed and dirty flags (bits 5 and 6) of an x86-64 page-table entry"
            }
        };
        write!(f, "{flags}, set by the page-table walker")
    }
}

/// Bits 47:12, the address that an entry points to in every granule.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// Low bits `x1`: a valid descriptor (block, or page) on Arm, a present entry on x86-64.
const VALID: u64 = 1;

const ARM_ACCESS: u64 = 1 << 10;
/// Bits that are 0 in a stage-1 descriptor as Linux and others make it: 49:48 (no 52-bit
/// addresses) and 62:59. Text and most pointers have some of them.
const ARM_ZERO: u64 = 0x7803_0000_0000_0000;

const X86_ACCESSED: u64 = 1 << 5;
const X86_DIRTY: u64 = 1 << 6;
/// Bits 62:48: address bits past what machines have, free for software, protection keys.
const X86_ZERO: u64 = 0x7fff_0000_0000_0000;

impl Hint {
    /// The hint that two differing words give. `None` unless flags of something that looks like a
    /// page-table entry were set, all else equal.
    pub(crate) fn of_words(memory: u64, twin: u64) -> Option<Self> {
        let set = memory & !twin;
        // Zero address: rather a small number than an entry.
        if set != memory ^ twin || twin & VALID == 0 || twin & ADDRESS == 0 {
            return None;
        }
        let none_of = |bits| twin & bits == 0;
        match set {
            ARM_ACCESS if none_of(ARM_ZERO) => Some(Self::ArmAccessFlag),
            X86_ACCESSED if none_of(X86_ZERO) => Some(Self::X86Accessed),
            X86_DIRTY if none_of(X86_ZERO) => Some(Self::X86Dirty),
            both if both == X86_ACCESSED | X86_DIRTY && none_of(X86_ZERO) => {
                Some(Self::X86AccessedAndDirty)
            }
            _ => None,
        }
    }

    /// The hint of a page in which one part gives this hint and another that one.
    pub(crate) fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, same) if one == same => Some(one),
            (Self::ArmAccessFlag, _) | (_, Self::ArmAccessFlag) => None,
            _ => Some(Self::X86AccessedAndDirty),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page descriptor of a Linux guest, access flag clear.
    const ARM: u64 = 0x0068_0000_4123_4b03;
    /// A page-table entry of a Linux guest: present, writable, user, no execution.
    const X86: u64 = 0x8000_0001_2345_6007;

    #[test]
    fn flags_that_a_walker_sets_are_named() {
        assert_eq!(Hint::of_words(ARM | 1 << 10, ARM), Some(Hint::ArmAccessFlag));
        let block = ARM & !2;
        assert_eq!(Hint::of_words(block | 1 << 10, block), Some(Hint::ArmAccessFlag));
        assert_eq!(Hint::of_words(X86 | 1 << 5, X86), Some(Hint::X86Accessed));
        assert_eq!(Hint::of_words(X86 | 3 << 5, X86 | 1 << 5), Some(Hint::X86Dirty));
        assert_eq!(Hint::of_words(X86 | 3 << 5, X86), Some(Hint::X86AccessedAndDirty));
        assert_eq!(
            Hint::ArmAccessFlag.to_string(),
            "access flag (bit 10) of an Arm descriptor, set by the page-table walker"
        );
    }

    #[test]
    fn anything_else_is_not() {
        for bit in (0..64).filter(|bit| ![5, 6, 10].contains(bit)) {
            for entry in [ARM, X86] {
                assert_eq!(Hint::of_words(entry | 1 << bit, entry & !(1 << bit)), None, "{bit}");
            }
        }
        for (bit, entry) in [(10, ARM), (5, X86), (6, X86)] {
            let flag = 1 << bit;
            assert_eq!(Hint::of_words(entry, entry | flag), None, "cleared, not set");
            assert_eq!(Hint::of_words(entry & !1 | flag, entry & !1), None, "not valid");
            assert_eq!(Hint::of_words(entry | flag | 1 << 30, entry & !(1 << 30)), None, "more");
            assert_eq!(Hint::of_words(3 | flag, 3), None, "a small number");
            let text = u64::from_le_bytes(*b"A letter") & !flag;
            assert_eq!(Hint::of_words(text | flag, text), None, "text");
            let pointer = 0xffff_8000_1234_5001;
            assert_eq!(Hint::of_words(pointer | flag, pointer), None, "a pointer");
        }
    }

    #[test]
    fn parts_agree_or_there_is_no_hint() {
        use Hint::*;
        assert_eq!(ArmAccessFlag.and(ArmAccessFlag), Some(ArmAccessFlag));
        assert_eq!(X86Accessed.and(X86Dirty), Some(X86AccessedAndDirty));
        assert_eq!(X86Dirty.and(X86Dirty), Some(X86Dirty));
        assert_eq!(ArmAccessFlag.and(X86Dirty), None);
        assert_eq!(X86Accessed.and(ArmAccessFlag), None);
    }
}
