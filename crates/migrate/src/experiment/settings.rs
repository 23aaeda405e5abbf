//! What is asked of QEMU's migration.

use crate::config::MigrationConfig;
use crate::driver::{MigrationSettings, STALL_TIMEOUT};
use crate::hosts::environment::MigrationHost;
use memtwin_qemu::Parameters;
use serde_json::Value;

impl MigrationConfig {
    /// The settings of a move to a host.
    pub(crate) fn settings(&self, to: &MigrationHost) -> MigrationSettings {
        let mut parameters = Parameters::new();
        if let Some(bandwidth) = self.bandwidth {
            parameters.insert("max-bandwidth".to_owned(), Value::from(bandwidth));
        }
        if let Some(limit) = self.downtime_limit {
            let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            parameters.insert("downtime-limit".to_owned(), Value::from(limit));
        }
        parameters.extend(self.parameters.clone());
        // Which side has stopped is asked, not heard; the source tells its passes by counting.
        let mut names = self.capabilities.clone();
        if parameters.contains_key("multifd-channels") {
            names.push("multifd".to_owned());
        }
        let postcopy = names.iter().any(|name| name == "postcopy-ram");
        MigrationSettings {
            listen: to.listen.clone(),
            connect: to.connect.clone(),
            capabilities: names.into_iter().map(|name| (name, true)).collect(),
            parameters,
            timeout: self.timeout,
            stall: STALL_TIMEOUT,
            verify_ram: self.verify_ram,
            control: self.control,
            postcopy,
        }
    }
}
