//! What is asked of QEMU's migration, from the command line.

use super::stage::Platform;
use super::{Migrate, Switch};
use memtwin_migrate::{MigrationSettings, STALL_TIMEOUT};
use memtwin_report::Failure;
use serde_json::Value;

impl Migrate {
    /// The settings of a move to a place.
    ///
    /// Errors: a parameter is none.
    pub(super) fn settings(&self, to: &Platform) -> Result<MigrationSettings, Failure> {
        let mut parameters = std::collections::BTreeMap::new();
        if let Some(bandwidth) = self.bandwidth {
            parameters.insert("max-bandwidth".to_owned(), Value::from(bandwidth.0));
        }
        if let Some(limit) = self.downtime_limit {
            let limit = u64::try_from(limit.0.as_millis()).unwrap_or(u64::MAX);
            parameters.insert("downtime-limit".to_owned(), Value::from(limit));
        }
        for parameter in &self.parameter {
            let (name, value) = parameter.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--parameter {parameter}: expected NAME=VALUE"))
            })?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            parameters.insert(name.to_owned(), value);
        }
        // Which side has stopped is asked, not heard; the source tells its passes by counting.
        let mut names = self.capability.clone();
        if let Some(multifd) = parameters.get("multifd-channels").map(|_| "multifd".to_owned()) {
            names.push(multifd);
        }
        let capabilities = names.into_iter().map(|name| (name, true)).collect();
        Ok(MigrationSettings {
            listen: to.listen.clone(),
            connect: to.connect.clone(),
            capabilities,
            parameters,
            timeout: self.timeout.0,
            stall: STALL_TIMEOUT,
            verify_ram: self.verify_ram == Switch::On,
            control: self.control,
            postcopy: self.capability.iter().any(|name| name == "postcopy-ram"),
        })
    }
}
