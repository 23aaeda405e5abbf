//! The names of RAMBlocks as text, whatever bytes they have.
//!
//! QEMU holds `idstr` to no encoding: an id of the command line is letters, digits, `-`, `.` and `_`
//! (`id_wellformed()` in `util/id.c`), but one that came over QMP was not looked at before QEMU 6.0, and
//! a ROM is named after its file. The migration stream has the bytes themselves; `info ramblock` is
//! padded with spaces, and what is no UTF-8 in it has become U+FFFD on its way through JSON.
//!
//! So a name is kept in a form that tells any two apart, stays one line and steers no terminal
//! ([`block_name`]); and what the monitor prints is put to it by what both look like there
//! ([`find_block`]).

use crate::block::Block;

/// What QEMU prints in place of bytes that are no text.
const REPLACED: char = char::REPLACEMENT_CHARACTER;

/// The name of a RAMBlock as text: as it is, but for
///
/// - a backslash, which is doubled;
/// - control characters, white space that is no single space between two others, and what is invisible
///   or turns the direction of writing, as `\n`, `\r`, `\t`, `\x20` or `\u{…}`;
/// - bytes that are no UTF-8, as `\xNN`.
///
/// Two names are the same text only if they are the same bytes.
pub fn block_name(raw: &[u8]) -> String {
    let mut name = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => name.push_str(r"\\"),
                // Where it would be trimmed, or be one with its neighbour.
                ' ' if name.is_empty() || name.ends_with(' ') => name.push_str(r"\x20"),
                ' ' => name.push(' '),
                c if c.is_control() || c.is_whitespace() || is_unseen(c) => {
                    name.extend(c.escape_default());
                }
                c => name.push(c),
            }
        }
        for byte in chunk.invalid() {
            name.push_str(&format!(r"\x{byte:02x}"));
        }
    }
    if name.ends_with(' ') {
        name.pop();
        name.push_str(r"\x20");
    }
    name
}

/// The block of this name, as [`block_name`] makes it from the bytes in the stream, among those that the
/// monitor has listed. None if there is none, or if several look like it there.
pub fn find_block<'b>(blocks: &'b [Block], name: &str) -> Option<&'b Block> {
    let wanted = printed(&raw_name(name));
    let looks_like_it =
        |block: &&Block| block.is_named && printed(&raw_name(&block.name)) == wanted;
    let mut found = blocks.iter().filter(looks_like_it);
    match (found.next(), found.next()) {
        (Some(block), None) => Some(block),
        _ => None,
    }
}

/// The bytes of a name that [`block_name`] has made.
fn raw_name(name: &str) -> Vec<u8> {
    let mut raw = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (bytes, taken) = escaped(rest)
            .unwrap_or_else(|| (c.encode_utf8(&mut [0; 4]).as_bytes().to_vec(), c.len_utf8()));
        raw.extend(bytes);
        rest = &rest[taken..];
    }
    raw
}

/// The bytes that an escape at the beginning of the text stands for, and its length.
fn escaped(text: &str) -> Option<(Vec<u8>, usize)> {
    let rest = text.strip_prefix('\\')?;
    let byte = |byte: u8| Some((vec![byte], 2));
    match rest.as_bytes().first()? {
        b'\\' => byte(b'\\'),
        b'n' => byte(b'\n'),
        b'r' => byte(b'\r'),
        b't' => byte(b'\t'),
        b'x' => Some((vec![u8::from_str_radix(rest.get(1..3)?, 16).ok()?], 4)),
        b'u' => {
            let (digits, _) = rest.strip_prefix("u{")?.split_once('}')?;
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            Some((c.to_string().into_bytes(), "\\u{}".len() + digits.len()))
        }
        _ => None,
    }
}

/// What can be seen of a name where the monitor has printed it: its spaces at the ends are lost, and how
/// many bytes in a row were no text (`mod_utf8_codepoint()` in `util/unicode.c`).
fn printed(raw: &[u8]) -> String {
    let mut seen = String::with_capacity(raw.len());
    for c in String::from_utf8_lossy(raw).chars() {
        let c = if is_no_character(c) { REPLACED } else { c };
        if c != REPLACED || !seen.ends_with(REPLACED) {
            seen.push(c);
        }
    }
    seen.trim_matches(' ').to_owned()
}

/// Whether a character can't be seen, or turns the direction of what follows.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// U+FDD0 to U+FDEF and the last two of each plane.
fn is_no_character(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(names: &[&str]) -> Vec<Block> {
        let block = |name: &&str| Block {
            name: block_name(name.as_bytes()),
            is_named: true,
            used: 1,
            total: 1,
            hva: None,
            host_page: 4096,
            windows: Vec::new(),
            read_only: None,
        };
        names.iter().map(block).collect()
    }

    #[test]
    fn usual_names_stay_as_they_are_and_others_are_one_harmless_line() {
        for usual in ["pc.ram", "0000:00:02.0/vga.vram", "/rom@etc/acpi/tables", "a b", "ärm"] {
            assert_eq!(block_name(usual.as_bytes()), usual);
        }
        let odd: [(&[u8], &str); 8] = [
            (b"\x1b[2J\x07", r"\u{1b}[2J\u{7}"),
            (b"a\r\nb\t", r"a\r\nb\t"),
            (b"\xff\xc3.\xe2\x82", r"\xff\xc3.\xe2\x82"),
            (b" a  b ", r"\x20a \x20b\x20"),
            (br"\xff", r"\\xff"),
            ("\u{202e}\u{2028}\u{feff}".as_bytes(), r"\u{202e}\u{2028}\u{feff}"),
            (b"  ", r"\x20\x20"),
            (b"", ""),
        ];
        for (raw, name) in odd {
            assert_eq!(block_name(raw), name);
        }
    }

    #[test]
    fn a_name_is_found_by_what_the_monitor_prints_of_it_unless_another_looks_the_same() {
        let blocks = listed(&["pc.ram", "a", "x\u{fffd}y", "esc\x1b", "twice", "twice"]);
        let at = |raw: &[u8]| {
            let found = find_block(&blocks, &block_name(raw));
            found.map(|found| blocks.iter().position(|block| std::ptr::eq(block, found)).unwrap())
        };
        assert_eq!(at(b"pc.ram"), Some(0));
        assert_eq!(at(b" a "), Some(1));
        assert_eq!(at(b"x\xff\x80\xfey"), Some(2));
        assert_eq!(at(b"esc\x1b"), Some(3));
        for none in [&b"twice"[..], b"pc.ra", b"xy", b"", b"a\\"] {
            assert_eq!(at(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_and_make_no_line_of_their_own(raw: Vec<u8>) {
            let name = block_name(&raw);
            prop_assert_eq!(raw_name(&name), raw);
            prop_assert!(!name.chars().any(|c| c.is_control() || is_unseen(c)));
            // As a table would print it: split at white space and joined by single spaces.
            prop_assert_eq!(name.split_whitespace().collect::<Vec<_>>().join(" "), name);
        }

        #[test]
        fn any_text_of_a_person_is_read(text in "\\PC{0,30}") {
            raw_name(&text);
            raw_name(&format!("\\{text}"));
        }
    }
}
