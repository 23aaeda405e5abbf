//! The shapes that stage-1 translation can have, and the registers that say so (Arm ARM D8.2,
//! D24.2: TCR_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR2_EL1).

use crate::{Granule, Translation};

/// A granule with an address size that exists for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TranslationShape {
    granule: Granule,
    va_bits: u32,
}

/// TCR_EL1: walks are Write-Back and Inner Shareable; no TTBR1_EL1.
const TCR: u64 = 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23;
/// TCR_EL1.HA, HD: the walker keeps the access flag, the dirty state.
const TCR_HA: u64 = 1 << 39;
const TCR_HD: u64 = 1 << 40;
/// TCR_EL1.DS: 52-bit addresses with small granules (FEAT_LPA2).
const TCR_DS: u64 = 1 << 59;
/// TCR_EL1.IPS for 40 bits, the size of a KVM machine unless another was asked for.
const IPS_40: u64 = 0b010;

impl TranslationShape {
    /// The shape, if there is such a one.
    pub(super) fn of(Translation { granule, va_bits }: Translation) -> Result<Self, String> {
        let exist = match granule {
            Granule::K4 => [39, 48, 52],
            Granule::K16 => [47, 48, 52],
            Granule::K64 => [42, 48, 52],
        };
        let va_bits = u32::from(va_bits);
        if exist.contains(&va_bits) {
            return Ok(Self { granule, va_bits });
        }
        let [a, b, c] = exist;
        Err(format!("addresses of {va_bits} bits: with granule {granule} there are {a}, {b}, {c}"))
    }

    /// Whether a CPU of these ID_AA64MMFR0_EL1 and ID_AA64MMFR2_EL1 has it; if not, why.
    pub(super) fn offered(self, mmfr0: u64, mmfr2: u64) -> Result<(), String> {
        let Self { granule, .. } = self;
        // Signed fields but TGran16; each says with one more that it has 52 bits as well (LPA2).
        let (has, wide) = match granule {
            Granule::K4 => (field(mmfr0, 28) != 0xf, field(mmfr0, 28) == 1),
            Granule::K16 => (field(mmfr0, 20) != 0, field(mmfr0, 20) == 2),
            Granule::K64 => (field(mmfr0, 24) != 0xf, field(mmfr2, 16) >= 1),
        };
        match (has, self.va_bits == 52 && !wide) {
            (false, _) => Err(format!("this CPU has no granule of {granule}")),
            (_, true) => Err(format!("this CPU has no 52-bit addresses with granule {granule}")),
            _ => Ok(()),
        }
    }

    /// The binary logarithm of the granule.
    pub(super) fn shift(self) -> u32 {
        self.granule.bytes().trailing_zeros()
    }

    /// How many entries a table has, the top one aside.
    pub(super) fn entries(self) -> u64 {
        1 << (self.shift() - 3)
    }

    /// How many levels of tables there are.
    pub(super) fn levels(self) -> u32 {
        (self.va_bits - self.shift()).div_ceil(self.shift() - 3)
    }

    /// How many bytes an entry maps at a level, counted from the last, which is 0.
    pub(super) fn span(self, level: u32) -> u64 {
        1 << (self.shift() + level * (self.shift() - 3))
    }

    /// Which entry of a level's table an address goes through.
    pub(super) fn index(self, address: u64, level: u32) -> u64 {
        (address / self.span(level)) % self.entries()
    }

    /// Whether descriptors have output addresses of 52 bits, and no shareability (TCR_EL1.DS).
    pub(super) fn wide_outputs(self) -> bool {
        self.va_bits == 52 && self.granule != Granule::K64
    }

    /// TCR_EL1 on a CPU of this ID_AA64MMFR0_EL1.
    pub(super) fn tcr(self, mmfr0: u64, walker: Walker) -> u64 {
        let granule = match self.granule {
            Granule::K4 => 0b00,
            Granule::K64 => 0b01,
            Granule::K16 => 0b10,
        };
        let mut tcr = TCR | u64::from(64 - self.va_bits) | granule << 14;
        tcr |= field(mmfr0, 0).min(IPS_40) << 32;
        if self.wide_outputs() {
            tcr |= TCR_DS;
        }
        match walker {
            Walker::Nothing => tcr,
            Walker::Accessed => tcr | TCR_HA,
            Walker::AccessedAndDirty => tcr | TCR_HA | TCR_HD,
        }
    }
}

/// What the page-table walker updates by itself (FEAT_HAFDBS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walker {
    Nothing,
    Accessed,
    AccessedAndDirty,
}

impl Walker {
    /// What it can do on a CPU of this ID_AA64MMFR1_EL1.
    pub(super) fn of(mmfr1: u64) -> Self {
        match field(mmfr1, 0) {
            0 => Self::Nothing,
            1 => Self::Accessed,
            _ => Self::AccessedAndDirty,
        }
    }
}

/// A field of four bits of an ID register.
fn field(register: u64, at: u32) -> u64 {
    (register >> at) & 0xf
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(granule: Granule, va_bits: u8) -> Result<TranslationShape, String> {
        TranslationShape::of(Translation { granule, va_bits })
    }

    #[test]
    fn what_does_not_exist_is_told() {
        let error = shape(Granule::K4, 47).unwrap_err();
        assert_eq!(error, "addresses of 47 bits: with granule 4k there are 39, 48, 52");
        assert!(shape(Granule::K16, 39).is_err() && shape(Granule::K64, 47).is_err());
    }

    #[test]
    fn what_the_cpu_lacks_is_told() {
        // TGran4 and TGran64 are 15 where there is none, TGran16 is 0.
        let none = 0xff << 24;
        for granule in Granule::ALL {
            let error = shape(granule, 48).unwrap().offered(none, 0).unwrap_err();
            assert_eq!(error, format!("this CPU has no granule of {granule}"));
        }
        let narrow = 1 << 20;
        for granule in Granule::ALL {
            assert_eq!(shape(granule, 48).unwrap().offered(narrow, 0), Ok(()));
            let error = shape(granule, 52).unwrap().offered(narrow, 0).unwrap_err();
            assert_eq!(error, format!("this CPU has no 52-bit addresses with granule {granule}"));
        }
        let wide = 1 << 28 | 2 << 20;
        for granule in Granule::ALL {
            assert_eq!(shape(granule, 52).unwrap().offered(wide, 1 << 16), Ok(()));
        }
    }

    #[test]
    fn the_control_register_says_what_was_asked_for() {
        let mmfr0 = 0x6; // 52 bits of physical addresses
        let tcr = |granule, va_bits, walker| shape(granule, va_bits).unwrap().tcr(mmfr0, walker);
        let usual = tcr(Granule::K4, 48, Walker::Nothing);
        assert_eq!(usual, TCR | 16 | IPS_40 << 32);
        assert_eq!(tcr(Granule::K64, 42, Walker::Nothing), TCR | 22 | 1 << 14 | IPS_40 << 32);
        assert_eq!(tcr(Granule::K16, 52, Walker::Nothing) & TCR_DS, TCR_DS);
        assert_eq!(tcr(Granule::K64, 52, Walker::Nothing) & TCR_DS, 0);
        assert_eq!(tcr(Granule::K4, 48, Walker::Accessed), usual | TCR_HA);
        assert_eq!(tcr(Granule::K4, 48, Walker::AccessedAndDirty), usual | TCR_HA | TCR_HD);
        assert_eq!(Walker::of(1), Walker::Accessed);
        assert_eq!(Walker::of(0xf2), Walker::AccessedAndDirty);
    }
}
