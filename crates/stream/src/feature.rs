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
        "dirty-bitmap" => "switch the capability dirty-bitmaps off",
        "block" => "switch the capability block off",
        _ if name.ends_with("/vfio") => "unplug the VFIO device",
        _ => "do without the device that sends it",
    }
}
