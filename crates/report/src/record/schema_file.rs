//! docs/record.schema.json, which is generated from these types: `cargo xtask record-schema` writes it.

use super::RunRecord;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::path::Path;

/// Set by `cargo xtask record-schema`.
const UPDATE: &str = "MEMTWIN_UPDATE_SCHEMA";

fn generated() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<RunRecord>();
    schema.insert("title".to_owned(), "Memtwin's run record, schema_version 1".into());
    schema.to_value()
}

#[test]
fn the_schema_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/record.schema.json");
    let new = generated();
    if std::env::var_os(UPDATE).is_some() {
        let text = serde_json::to_string_pretty(&new).unwrap();
        std::fs::write(&file, text + "\n").unwrap();
    }
    let old: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(old == new, "docs/record.schema.json is stale: run cargo xtask record-schema");
}
