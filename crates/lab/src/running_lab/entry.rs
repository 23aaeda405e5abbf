//! A board as other processes find it in `lab.json`.

use crate::board::Board;
use crate::host::BoardAccess;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What others need to reach it.
pub(super) fn to_json(board: &Board) -> Value {
    let path = |path: &Path| path.display().to_string();
    let access = board.access();
    json!({
        "name": board.label(),
        "about": board.about(),
        "console": path(board.console()),
        "keyboard": path(board.keyboard()),
        "port": access.port,
        "key": path(&access.key),
        "known_hosts": path(&access.known_hosts),
        "control": path(&access.control),
    })
}

/// The board; `None` if something is missing.
pub(super) fn from_json(value: &Value) -> Option<Board> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let path = |key: &str| text(key).map(PathBuf::from);
    let access = BoardAccess {
        port: value["port"].as_u64()?.try_into().ok()?,
        key: path("key")?,
        known_hosts: path("known_hosts")?,
        control: path("control")?,
    };
    Some(Board::new(text("name")?, text("about")?, path("console")?, path("keyboard")?, access))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn a_board_is_found_as_it_was_published() {
        let access = BoardAccess {
            port: 2222,
            key: "/s/key".into(),
            known_hosts: "/s/a.known".into(),
            control: "/s/a.ssh".into(),
        };
        let (console, keyboard) = ("/s/a.console".into(), "/s/a.keyboard".into());
        let board = Board::new("a".to_owned(), "aarch64".to_owned(), console, keyboard, access);
        let published = to_json(&board);
        let found = from_json(&published).unwrap();
        assert_eq!((found.label(), found.name()), ("a", "emulated:a"));
        assert_eq!(to_json(&found), published);
        for key in ["name", "port", "key", "console"] {
            let mut cut = published.clone();
            cut.as_object_mut().unwrap().remove(key);
            assert!(from_json(&cut).is_none(), "{key}");
        }
    }
}
