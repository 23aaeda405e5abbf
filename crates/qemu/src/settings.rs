//! The migration settings of QEMU (capabilities and parameters, `qapi/migration.json`), and how
//! they are put back as they were.

use memtwin_qmp::{Qmp, QmpError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Migration capabilities, by QEMU's names.
pub type Capabilities = BTreeMap<String, bool>;

/// Migration parameters, by QEMU's names.
pub type Parameters = BTreeMap<String, Value>;

#[derive(Serialize, Deserialize)]
struct NamedCapability {
    capability: String,
    state: bool,
}

/// All capabilities that this QEMU has. Errors: as [`Qmp::execute`].
pub fn capabilities(qmp: &mut Qmp) -> Result<Capabilities, QmpError> {
    let list: Vec<NamedCapability> = qmp.execute("query-migrate-capabilities", ())?;
    Ok(list.into_iter().map(|NamedCapability { capability, state }| (capability, state)).collect())
}

/// Sets these capabilities, all or none. Errors: as [`Qmp::execute`].
pub fn set_capabilities(qmp: &mut Qmp, capabilities: &Capabilities) -> Result<(), QmpError> {
    let list: Vec<_> = capabilities
        .iter()
        .map(|(capability, state)| NamedCapability {
            capability: capability.clone(),
            state: *state,
        })
        .collect();
    qmp.execute("migrate-set-capabilities", json!({ "capabilities": list })).map(|_: Value| ())
}

/// All parameters that this QEMU has. Errors: as [`Qmp::execute`].
pub fn parameters(qmp: &mut Qmp) -> Result<Parameters, QmpError> {
    qmp.execute("query-migrate-parameters", ())
}

/// Sets these parameters, all or none. Errors: as [`Qmp::execute`].
pub fn set_parameters(qmp: &mut Qmp, parameters: &Parameters) -> Result<(), QmpError> {
    qmp.execute("migrate-set-parameters", parameters).map(|_: Value| ())
}

/// Why settings can't be what is asked for.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// This QEMU does not know them.
    #[error(
        "this QEMU has no migration {kind} named {names}; it is too old, or was built without it"
    )]
    Unknown {
        /// capability or parameter.
        kind: &'static str,
        /// The names.
        names: String,
    },
    /// QEMU can't be asked, or refused.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

/// Settings: those that a run needs, or those that there were before.
///
/// First [`QemuSettings::before`], so that whoever puts them back knows how even if we die in the
/// middle; then [`QemuSettings::apply`]; in the end, `apply` on what was before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QemuSettings {
    /// The capabilities among them.
    pub capabilities: Capabilities,
    /// The parameters among them.
    pub parameters: Parameters,
}

impl QemuSettings {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this capability.
    #[must_use]
    pub fn capability(mut self, name: &str, state: bool) -> Self {
        self.capabilities.insert(name.to_owned(), state);
        self
    }

    /// With this parameter.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// What QEMU has now in place of these, also where it is the same.
    ///
    /// Errors: QEMU does not know one of them, or can't be asked.
    pub fn before(&self, qmp: &mut Qmp) -> Result<QemuSettings, SettingsError> {
        Ok(QemuSettings {
            capabilities: pick(&self.capabilities, capabilities(qmp)?, "capability")?,
            parameters: pick(&self.parameters, parameters(qmp)?, "parameter")?,
        })
    }

    /// Sets those of them that are not so already. Both kinds are tried even if one fails:
    /// capabilities can't be set while a migration is under way, parameters can.
    ///
    /// Errors: the first refusal.
    pub fn apply(&self, qmp: &mut Qmp) -> Result<(), SettingsError> {
        let current = self.before(qmp)?;
        let capabilities = differing(&self.capabilities, &current.capabilities);
        let parameters = differing(&self.parameters, &current.parameters);
        let mut done = Ok(());
        if !capabilities.is_empty() {
            done = set_capabilities(qmp, &capabilities);
        }
        if !parameters.is_empty() {
            done = done.and(set_parameters(qmp, &parameters));
        }
        Ok(done?)
    }
}

/// Those of `current` that are named in `wanted`: all of these, or an error.
fn pick<T>(
    wanted: &BTreeMap<String, T>,
    current: BTreeMap<String, T>,
    kind: &'static str,
) -> Result<BTreeMap<String, T>, SettingsError> {
    let unknown: Vec<_> =
        wanted.keys().filter(|name| !current.contains_key(*name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(SettingsError::Unknown { kind, names: unknown.join(", ") });
    }
    Ok(current.into_iter().filter(|(name, _)| wanted.contains_key(name)).collect())
}

fn differing<T: Clone + PartialEq>(
    wanted: &BTreeMap<String, T>,
    current: &BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    let is_other = |(name, value): &(&String, &T)| current.get(*name) != Some(value);
    wanted.iter().filter(is_other).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_set_and_what_is_unknown_is_named() {
        let map = |list: &[(&str, u8)]| -> BTreeMap<String, u8> {
            list.iter().map(|(name, value)| (name.to_string(), *value)).collect()
        };
        let current = map(&[("a", 1), ("b", 2), ("c", 3)]);
        let wanted = map(&[("a", 1), ("b", 7)]);
        assert_eq!(
            pick(&wanted, current.clone(), "parameter").unwrap(),
            map(&[("a", 1), ("b", 2)])
        );
        assert_eq!(differing(&wanted, &current), map(&[("b", 7)]));
        let error = pick(&map(&[("x", 1), ("a", 1), ("y", 1)]), current, "parameter").unwrap_err();
        assert!(error.to_string().contains("parameter named x, y"), "{error}");
    }

    #[test]
    fn they_survive_being_written_down() {
        let settings =
            QemuSettings::new().capability("return-path", true).parameter("downtime-limit", 1);
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<QemuSettings>(&text).unwrap(), settings);
    }
}
