//! Where a guest's memory comes from: for the record, and in a line for a person.

/// What is known of where a guest's memory comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOrigin {
    /// As the record names the source: `kvm`, `process`, `qemu:SOCKET`.
    pub source: String,
    /// The hypervisor's name and version, if it is somebody else's.
    pub hypervisor: Option<String>,
    /// Its process id.
    pub process: Option<u32>,
    /// The architecture that the guest runs on.
    pub arch: Option<String>,
    /// What runs the guest's code.
    pub accelerator: Option<String>,
}

impl SourceOrigin {
    /// What is known beside the source, in a line; `None` if nothing is.
    pub fn title(&self) -> Option<String> {
        let process = self.process.map(|pid| format!("process {pid}"));
        let parts = [&self.hypervisor, &process, &self.arch, &self.accelerator];
        let known: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        (!known.is_empty()).then(|| known.join(", "))
    }
}

/// Says where a guest's memory comes from.
pub trait Provenance {
    /// What is known of it.
    fn provenance(&self) -> SourceOrigin;
}

#[cfg(test)]
mod tests {
    use super::SourceOrigin;

    #[test]
    fn the_title_has_what_is_known() {
        let own = SourceOrigin { source: "kvm".to_owned(), ..SourceOrigin::default() };
        assert_eq!(own.title(), None);
        let qemu = SourceOrigin {
            source: "qemu:/run/qmp".to_owned(),
            hypervisor: Some("QEMU 10.0.2".to_owned()),
            process: Some(7),
            arch: Some("aarch64".to_owned()),
            accelerator: Some("not KVM".to_owned()),
        };
        assert_eq!(qemu.title().as_deref(), Some("QEMU 10.0.2, process 7, aarch64, not KVM"));
    }
}
