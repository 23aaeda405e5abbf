//! Messages: ours as a line, QEMU's out of what it sent, or an error that says where it is
//! wrong.

use crate::QmpError;
use crate::events::QmpEvent;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// How many bytes of somebody's message are quoted.
const QUOTED: usize = 40;

/// A message of QEMU's.
#[derive(Debug)]
pub(crate) enum QmpMessage<'a> {
    /// Something happened.
    Event(QmpEvent),
    /// The answer to the command of this id; to what could not be parsed, without one.
    Answer { id: Option<String>, outcome: Result<&'a str, CommandRefusal> },
}

/// Why a command was refused.
#[derive(Debug, Deserialize)]
pub(crate) struct CommandRefusal {
    pub(crate) class: String,
    pub(crate) desc: String,
}

/// What any message may carry.
#[derive(Deserialize)]
struct MessageEnvelope<'a> {
    event: Option<serde::de::IgnoredAny>,
    id: Option<Value>,
    #[serde(rename = "return", borrow)]
    returned: Option<&'a RawValue>,
    error: Option<CommandRefusal>,
}

/// The greeting: `{"QMP": {…}}`.
#[derive(Deserialize)]
struct Greeting {
    #[serde(rename = "QMP")]
    _qmp: serde::de::IgnoredAny,
}

/// Whether a line is the greeting.
pub(crate) fn is_greeting(line: &[u8]) -> bool {
    serde_json::from_slice::<Greeting>(line).is_ok()
}

/// Whether a line is an event.
pub(crate) fn is_event(line: &[u8]) -> bool {
    matches!(parse(line, "the greeting"), Ok(QmpMessage::Event(_)))
}

/// Parses a line. `doing` is for the error.
pub(crate) fn parse<'a>(line: &'a [u8], doing: &str) -> Result<QmpMessage<'a>, QmpError> {
    let bad = |error: serde_json::Error| bad_message(line, doing, &error);
    let envelope: MessageEnvelope<'a> = serde_json::from_slice(line).map_err(bad)?;
    if envelope.event.is_some() {
        return Ok(QmpMessage::Event(serde_json::from_slice(line).map_err(bad)?));
    }
    let outcome = match (envelope.error, envelope.returned) {
        (Some(refusal), _) => Err(refusal),
        (None, Some(returned)) => Ok(returned.get()),
        // `"return": null` reads as none; what has neither is no answer to anybody.
        (None, None) => Ok("null"),
    };
    let id = envelope.id.and_then(|id| id.as_str().map(str::to_owned));
    Ok(QmpMessage::Answer { id, outcome })
}

fn bad_message(line: &[u8], doing: &str, error: &serde_json::Error) -> QmpError {
    // Lines and columns are counted from 1.
    let before = line.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let offset = before.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
    let offset = offset.min(line.len());
    QmpError::BadMessage {
        doing: doing.to_owned(),
        offset,
        around: quoted(&line[offset..]),
        problem: error.to_string(),
    }
}

/// When a command is executed (`docs/interop/qmp-spec.rst`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandBand {
    /// After those before it, by QEMU's main loop.
    In,
    /// At once, by the monitor's own thread.
    Out,
}

/// A command as a line.
pub(crate) fn request(
    band: CommandBand,
    command: &str,
    arguments: impl Serialize,
    id: &str,
) -> Result<Vec<u8>, QmpError> {
    let bad = |problem: String| QmpError::BadArguments { command: command.to_owned(), problem };
    let arguments = serde_json::to_value(arguments).map_err(|error| bad(error.to_string()))?;
    let execute = match band {
        CommandBand::In => "execute",
        CommandBand::Out => "exec-oob",
    };
    let message = match arguments {
        Value::Null => json!({ execute: command, "id": id }),
        Value::Object(_) => json!({ execute: command, "arguments": arguments, "id": id }),
        other => return Err(bad(format!("{other} is no object"))),
    };
    Ok(format!("{message}\n").into_bytes())
}

/// The first bytes, readable.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let some = &bytes[..bytes.len().min(QUOTED)];
    let more = if bytes.len() > QUOTED { "…" } else { "" };
    format!("{}{more}", some.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let event = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#;
        let QmpMessage::Event(event) = parse(event, "x").unwrap() else { panic!() };
        assert_eq!((event.name.as_str(), event.timestamp.microseconds), ("STOP", 2));
        let QmpMessage::Answer { id, outcome } =
            parse(br#"{"return": {"a": [1]}, "id": "7"}"#, "x").unwrap()
        else {
            panic!()
        };
        assert_eq!((id.as_deref(), outcome.unwrap()), (Some("7"), r#"{"a": [1]}"#));
        let error = br#"{"error": {"class": "GenericError", "desc": "no", "data": {}}}"#;
        let QmpMessage::Answer { id: None, outcome: Err(refusal) } = parse(error, "x").unwrap()
        else {
            panic!()
        };
        assert_eq!(refusal.desc, "no");
    }

    #[test]
    fn a_bad_message_is_quoted_where_it_is_bad() {
        let error = parse(br#"{"return": nonsense}"#, "query-status").unwrap_err();
        let QmpError::BadMessage { offset, around, .. } = &error else { panic!("{error}") };
        assert_eq!((*offset, around.starts_with("onsense")), (12, true), "{error}");
        assert!(parse(b"[1]", "x").is_err());
        assert!(parse(b"", "x").is_err());
        assert!(parse(b"\xff{}", "x").is_err());
        assert!(parse(br#"{"event": 7}"#, "x").is_err());
    }

    #[test]
    fn only_a_greeting_greets() {
        assert!(is_greeting(br#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#));
        assert!(!is_greeting(br#"{"return": {}}"#));
        assert!(!is_greeting(b"QEMU 10.0.2 monitor - type 'help' for more information"));
    }
}
