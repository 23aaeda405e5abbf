//! A run record that comes in pieces, over a line that may break off or be spoken into in the middle: each
//! piece is a line with its digest, and is a record of one case. What has come whole is kept.

use serde_json::Value;

/// How a piece begins, and the line behind the last.
const PIECE: &str = "MEMTWIN PIECE ";
const PIECES: &str = "MEMTWIN PIECES ";

/// A record on one line, as a piece.
pub fn line(record: &str) -> String {
    format!("{PIECE}{} {record}", digest(record))
}

/// The line behind this many pieces.
pub fn last(pieces: usize) -> String {
    format!("{PIECES}{pieces}")
}

/// Whether a line is a piece, or what was left of one.
pub(crate) fn is_one(line: &str) -> bool {
    line.starts_with(PIECE) || line.starts_with(PIECES)
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// The record in a piece, if the piece is whole.
fn whole(line: &str) -> Option<Value> {
    let (digest, record) = line.strip_prefix(PIECE)?.split_once(' ')?;
    let is_whole = self::digest(record) == digest;
    is_whole.then(|| serde_json::from_str(record).ok()).flatten()
}

/// The pieces that have come.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    record: Option<Value>,
    came: usize,
    expected: Option<usize>,
}

impl Pieces {
    /// Takes a line, if it is one of theirs.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        if let Some(piece) = whole(line) {
            self.came += 1;
            match &mut self.record {
                None => self.record = Some(piece),
                Some(record) => {
                    let more = piece["cases"].as_array().into_iter().flatten().cloned();
                    record["cases"].as_array_mut().into_iter().for_each(|c| c.extend(more.clone()));
                }
            }
        }
        if let Some(pieces) = line.strip_prefix(PIECES) {
            self.expected = pieces.parse().ok();
        }
        is_one(line)
    }

    /// How many there should be; none if the last was not heard of.
    pub(crate) fn expected(&self) -> Option<usize> {
        self.expected
    }

    /// How many have come whole.
    pub(crate) fn came(&self) -> usize {
        self.came
    }

    /// The record of all that came; none if nothing has.
    pub(crate) fn record(self) -> Option<Value> {
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_came_whole_is_kept_and_nothing_else_is() {
        let piece =
            |name: &str| line(&json!({ "host": 1, "cases": [{ "name": name }] }).to_string());
        let mut pieces = Pieces::default();
        assert!(pieces.take(&piece("a")));
        // Broken off; spoken into, which is JSON all the same; and no piece.
        let b = piece("b");
        assert!(pieces.take(&b[..b.len() - 3]));
        assert!(pieces.take(&b.replace("\"b\"", "\"[ 1.2] oops b\"")));
        assert!(!pieces.take("said besides"));
        assert!(pieces.take(&piece("c")));
        assert_eq!((pieces.came(), pieces.expected()), (2, None));
        assert!(pieces.take(&last(3)));
        assert_eq!(pieces.expected(), Some(3));
        let record = json!({ "host": 1, "cases": [{ "name": "a" }, { "name": "c" }] });
        assert_eq!(pieces.record(), Some(record));
        assert_eq!(Pieces::default().record(), None);
    }
}
