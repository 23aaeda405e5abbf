//! Numbers as people write them: `2048`, `0x20000000`, `1M`, `8MiB`.

/// Text that is no such number.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}': expected a number, like 2048, 0x20000000, 1M or 8MiB")]
pub struct Unreadable {
    text: String,
}

/// Reads a number. `K`, `M` and `G`, also with `i`, `B` or `iB` after them, are powers of 1,024.
///
/// Errors: it is none, or one of more than 64 bits.
pub fn parse(text: &str) -> Result<u64, Unreadable> {
    read(text).ok_or_else(|| Unreadable { text: text.to_owned() })
}

fn read(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return digits(hex, 16);
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.strip_suffix("iB").or(unit.strip_suffix(['i', 'B'])).unwrap_or(unit) {
        "" if unit.is_empty() => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits(number, 10)?.checked_mul(1 << shift)
}

/// A number without the sign that Rust would allow before it.
fn digits(text: &str, radix: u32) -> Option<u64> {
    text.starts_with(|c: char| c.is_digit(radix)).then(|| u64::from_str_radix(text, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_prefixes_and_units() {
        let numbers = [
            ("0", 0),
            ("2048", 2048),
            ("0x20000000", 0x2000_0000),
            ("0XfF", 255),
            ("4k", 4096),
            ("1M", 1 << 20),
            ("8MiB", 8 << 20),
            ("2GB", 2 << 30),
        ];
        for (text, number) in numbers {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "M", "0x", "-1", "+1", "0x+1", "1T", "1MM", "1 M", "1B", "99999999999G"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("much").unwrap_err().to_string();
        assert_eq!(error, "'much': expected a number, like 2048, 0x20000000, 1M or 8MiB");
    }
}
