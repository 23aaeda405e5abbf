//! QEMU's tree of objects (`qapi/qom.json`).

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde_json::{Value, json};

/// An object below another one, or a property of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct QomChild {
    /// Its name there.
    pub(crate) name: String,
    /// `child<TYPE>` of an object.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// What is below an object. Errors: as [`Qmp::execute`].
pub(crate) fn children(qmp: &mut Qmp, path: &str) -> Result<Vec<QomChild>, QmpError> {
    qmp.execute("qom-list", json!({ "path": path }))
}

/// A property of an object; `None` if there is no such object or property, perhaps since a moment ago.
/// Errors: as [`Qmp::execute`].
pub(crate) fn property(
    qmp: &mut Qmp,
    path: &str,
    property: &str,
) -> Result<Option<Value>, QmpError> {
    match qmp.execute("qom-get", json!({ "path": path, "property": property })) {
        Err(QmpError::Refused { .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

#[derive(Deserialize)]
struct TypeEntry {
    name: String,
}

/// The types that are of this one. Errors: as [`Qmp::execute`].
pub(crate) fn subtypes(qmp: &mut Qmp, of: &str) -> Result<Vec<String>, QmpError> {
    let types: Vec<TypeEntry> = qmp.execute("qom-list-types", json!({ "implements": of }))?;
    Ok(types.into_iter().map(|entry| entry.name).collect())
}
