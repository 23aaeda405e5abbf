//! A session of ours as the command that a person would type for it: it is shown, and not run.

use memtwin_session::{QemuReplicateConfig, TwinTarget};
use std::time::Duration;

/// The command that a person would type for a session.
pub(super) fn typed_command(session: &QemuReplicateConfig) -> String {
    let twin = match &session.twin {
        TwinTarget::File { path, .. } => format!("file:{}", path.display()),
        other => other.to_string(),
    };
    let mut words = vec![format!("memtwin replicate {} {twin}", session.monitor.source())];
    words.extend(session.block.iter().map(|block| format!("--block {block}")));
    words.push(format!("--until clean --interval {}", shown_time(session.interval)));
    words.extend(session.time.map(|time| format!("--timeout {}", shown_time(time))));
    words.push(format!("--quiet --max-pause {}m", session.max_pause.as_secs() / 60));
    words.extend(
        session.dirty_bitmap.iter().map(|file| format!("--dirty-bitmap {}", file.display())),
    );
    words.join(" ")
}

/// A time as an option takes it.
fn shown_time(time: Duration) -> String {
    match time.as_micros() {
        micros if micros.is_multiple_of(1_000_000) => format!("{}s", time.as_secs()),
        micros if micros.is_multiple_of(1000) => format!("{}ms", time.as_millis()),
        micros => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_PAUSE;
    use memtwin_replicate::Until;
    use memtwin_session::HelperCommand;
    use std::path::Path;

    #[test]
    fn what_goes_on_is_shown_as_a_person_would_type_it() {
        let guardian = HelperCommand::new("memtwin", ["guardian"]);
        let twin = TwinTarget::file("/t");
        let session = QemuReplicateConfig {
            block: Some("mem".to_owned()),
            until: Until::Clean,
            interval: Duration::from_millis(20),
            time: Some(Duration::from_secs(120)),
            max_pause: MAX_PAUSE,
            ..QemuReplicateConfig::new(Path::new("/q"), twin, guardian)
        };
        assert_eq!(
            typed_command(&session),
            "memtwin replicate qemu:/q file:/t --block mem --until clean --interval 20ms \
             --timeout 120s --quiet --max-pause 1m"
        );
        assert_eq!(shown_time(Duration::from_micros(1500)), "1500us");
    }
}
