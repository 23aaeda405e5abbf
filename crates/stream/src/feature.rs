//! What a source can do without, so that its stream can be decoded.

/// What changes the stream in a way that is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Pages as differences to what they were (record 0x40).
    Xbzrle,
    /// Pages on connections of their own (record 0x200).
    Multifd,
    /// Pages compressed one by one (record 0x100, QEMU before 9.1).
    Compress,
    /// Pages by remote DMA (record 0x80).
    Rdma,
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Xbzrle => "xbzrle: switch that capability off",
            Self::Multifd => "multifd: switch that capability off",
            Self::Compress => "compress: switch that capability off",
            Self::Rdma => "RDMA: migrate to a socket",
        })
    }
}

/// What helps against a device that sends its state while the guest runs.
pub(crate) fn way_out(name: &str) -> &'static str {
    match name {
        "block" => "switch the capability block off",
        // Every such machine has it (`spapr_machine_init()` in `hw/ppc/spapr.c`).
        "spapr/htab" => {
            "a pseries machine sends its page table among the pages, which is not decoded: no pseries \
             machine can be audited or replicated; other targets and machine types can"
        }
        _ if name.ends_with("/vfio") => "unplug the VFIO device",
        _ => "do without the device that sends it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_itself_sends_is_no_device_to_do_without() {
        assert!(way_out("spapr/htab").contains("no pseries machine"));
        assert!(!way_out("spapr/htab").contains("do without"));
        assert!(way_out("0000:00:01.0/vfio").contains("unplug"));
        assert!(way_out("other").contains("do without"));
    }
}
