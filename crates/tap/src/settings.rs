//! The migration settings that a tap needs: every one that a QEMU has is looked at, none is left to chance.
//!
//! Those that the stream or the guest depends on are put to what is needed. Those that can't matter are let
//! alone. One that is not known here is refused if somebody has set it: nobody can say what it does.

use crate::error::OpenError;
use crate::hold::{DirtyBitmap, Hold, SwitchoverAck};
use crate::throttle::{Pace, Throttle};
use memtwin_qemu::{Capabilities, Parameters, QemuSettings, balloon};
use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Capabilities that change the stream, what is in it, or the guest: off, unless the hold needs them.
const OFF: [&str; 20] = [
    "auto-converge",
    "background-snapshot",
    "block",
    "compress",
    DirtyBitmap::CAPABILITY,
    "dirty-limit",
    "late-block-activate",
    "mapped-ram",
    "multifd",
    "pause-before-switchover",
    "postcopy-preempt",
    "postcopy-ram",
    "rdma-pin-all",
    "release-ram",
    SwitchoverAck::CAPABILITY,
    "validate-uuid",
    "x-colo",
    "x-ignore-shared",
    "xbzrle",
    "zero-copy-send",
];

/// Capabilities that change nothing of what comes here, so they are let alone. `events` is how libvirt follows
/// its own migrations.
const LET_ALONE: [&str; 4] = ["events", "postcopy-blocktime", "return-path", "zero-blocks"];

/// Parameters that matter only with a capability that is off, or at a real destination.
const WITHOUT_EFFECT: [&str; 31] = [
    "announce-initial",
    "announce-max",
    "announce-rounds",
    "announce-step",
    "block-incremental",
    "compress-level",
    "compress-threads",
    "compress-wait-thread",
    "cpr-exec-command",
    "cpu-throttle-increment",
    "cpu-throttle-initial",
    "cpu-throttle-tailslow",
    "decompress-threads",
    "direct-io",
    "max-cpu-throttle",
    "max-postcopy-bandwidth",
    "multifd-channels",
    "multifd-compression",
    "multifd-qatzip-level",
    "multifd-zlib-level",
    "multifd-zstd-level",
    "throttle-trigger-threshold",
    "tls-authz",
    "tls-hostname",
    "vcpu-dirty-limit",
    "x-checkpoint-delay",
    "x-rdma-chunk-size",
    "x-vcpu-dirty-limit-period",
    "xbzrle-cache-size",
    "zero-page-detection",
    DirtyBitmap::MAPPING,
];

/// Parameters that a tap sets where they are known.
const SET: [&str; 5] =
    ["avail-switchover-bandwidth", "downtime-limit", "max-bandwidth", "mode", "tls-creds"];

/// The settings that a tap with this hold needs of a QEMU that has these.
///
/// Errors: somebody has set one that is not known here; QEMU can't be asked.
pub(crate) fn wanted(
    qmp: &mut Qmp,
    (has, knows): (&Capabilities, &Parameters),
    hold: &dyn Hold,
    pace: &Pace,
) -> Result<QemuSettings, OpenError> {
    refuse_unknown(qmp, has, knows)?;
    // Hardly anything is sent before it is seen that the capabilities are what they must be: without a
    // return path QEMU would take its guest for handed over when all was sent.
    let mut settings = Throttle::Opening.settings(pace);
    for off in OFF.into_iter().filter(|name| has.contains_key(*name)) {
        settings = settings.capability(off, false);
    }
    // QEMU takes no hints at free pages, which it would not send, where postcopy could follow.
    if has.contains_key("postcopy-ram") && balloon(qmp)?.is_some_and(|balloon| balloon.hints) {
        settings = settings.capability("postcopy-ram", true);
    }
    // cpr-reboot pauses the guest at the beginning: for as long as its RAM takes to be sent.
    if knows.contains_key("mode") {
        settings = settings.parameter("mode", "normal");
    }
    // A stream in TLS is for somebody else; what crosses this socket does not leave the machine.
    if knows.contains_key("tls-creds") {
        settings = settings.parameter("tls-creds", "");
    }
    Ok(hold.settings(settings.capability("return-path", true)))
}

/// Errors if a setting that is not known here is not as QEMU has it by itself.
fn refuse_unknown(qmp: &mut Qmp, has: &Capabilities, knows: &Parameters) -> Result<(), OpenError> {
    let known = |name: &str| OFF.contains(&name) || LET_ALONE.contains(&name);
    if let Some((name, _)) = has.iter().find(|(name, state)| **state && !known(name)) {
        let (kind, name, value) = ("capability", name.clone(), "on".to_owned());
        return Err(OpenError::UnknownSetting { kind, name, value });
    }
    let known = |name: &str| WITHOUT_EFFECT.contains(&name) || SET.contains(&name);
    let unknown: Vec<_> = knows.iter().filter(|(name, _)| !known(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let usual = usual_parameters(qmp)?;
    let is_set = |(name, value): &&(&String, &Value)| match usual.get(*name) {
        Some(usual) => usual != *value,
        None => !is_nothing(value),
    };
    match unknown.iter().find(is_set) {
        Some((name, value)) => Err(OpenError::UnknownSetting {
            kind: "parameter",
            name: (*name).clone(),
            value: value.to_string(),
        }),
        None => Ok(()),
    }
}

/// A value that says nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// What QEMU has the parameters at, unless told, as far as it says.
fn usual_parameters(qmp: &mut Qmp) -> Result<BTreeMap<String, Value>, QmpError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Property {
        name: String,
        default_value: Option<Value>,
    }
    let properties = qmp.execute("device-list-properties", json!({ "typename": "migration" }));
    let properties: Vec<Property> = match properties {
        Err(QmpError::Refused { .. }) => return Ok(BTreeMap::new()),
        properties => properties?,
    };
    Ok(properties.into_iter().filter_map(|it| Some((it.name, it.default_value?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_one_place() {
        let all: Vec<_> =
            [&OFF[..], &LET_ALONE, &WITHOUT_EFFECT, &SET].concat().into_iter().collect();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn what_says_nothing_is_not_set() {
        for nothing in [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})] {
            assert!(is_nothing(&nothing), "{nothing}");
        }
        for set in [json!(true), json!(1), json!("x"), json!([0]), json!({ "a": null })] {
            assert!(!is_nothing(&set), "{set}");
        }
    }
}
