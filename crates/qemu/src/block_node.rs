//! The nodes of QEMU's block layer and the dirty bitmaps that have a name (`qapi/block-core.json`).

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde_json::{Value, json};

/// A node of the block layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockNode {
    /// Its name.
    pub name: String,
    /// The names of its dirty bitmaps; those without a name are a block job's own, and not migrated.
    pub bitmaps: Vec<String>,
}

/// All nodes. Errors: as [`Qmp::execute`].
pub fn block_nodes(qmp: &mut Qmp) -> Result<Vec<BlockNode>, QmpError> {
    #[derive(Deserialize)]
    struct Bitmap {
        name: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Node {
        node_name: String,
        #[serde(default)]
        dirty_bitmaps: Vec<Bitmap>,
    }
    let nodes: Vec<Node> = qmp.execute("query-named-block-nodes", ())?;
    let node = |Node { node_name: name, dirty_bitmaps }| BlockNode {
        name,
        bitmaps: dirty_bitmaps.into_iter().filter_map(|bitmap| bitmap.name).collect(),
    };
    Ok(nodes.into_iter().map(node).collect())
}

/// Adds a node that no device uses and that holds nothing, and to it a dirty bitmap of the same name with
/// a bit for each `granularity` bytes.
///
/// Errors: as [`Qmp::execute`]; the node may be there without its bitmap.
pub fn add_bitmap_node(
    qmp: &mut Qmp,
    name: &str,
    bytes: u64,
    granularity: u32,
) -> Result<(), QmpError> {
    let node =
        json!({ "driver": "null-co", "node-name": name, "size": bytes, "read-zeroes": true });
    let _: Value = qmp.execute("blockdev-add", node)?;
    let bitmap = json!({ "node": name, "name": name, "granularity": granularity });
    qmp.execute("block-dirty-bitmap-add", bitmap).map(|_: Value| ())
}

/// Removes such a node with its bitmap, as far as they are there.
///
/// Errors: as [`Qmp::execute`]; QEMU refuses as long as a migration uses them.
pub fn remove_bitmap_node(qmp: &mut Qmp, name: &str) -> Result<(), QmpError> {
    let Some(node) = block_nodes(qmp)?.into_iter().find(|node| node.name == name) else {
        return Ok(());
    };
    if node.bitmaps.iter().any(|bitmap| bitmap == name) {
        let bitmap = json!({ "node": name, "name": name });
        let _: Value = qmp.execute("block-dirty-bitmap-remove", bitmap)?;
    }
    qmp.execute("blockdev-del", json!({ "node-name": name })).map(|_: Value| ())
}
