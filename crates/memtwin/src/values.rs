//! The values of options: sizes, times, lists.

use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `4096`, `1M`, `8MiB`, `2g`. Units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no size: expected bytes, or a number with K, M, G or T");
        let (digits, unit) = split(text);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(wrong)?;
        if bytes == 0 {
            Err("0 bytes: expected at least one page".to_owned())
        } else {
            Ok(Self(bytes))
        }
    }
}

/// A time: `100ms`, `2s`, `1.5s`, `5m`; a number without a unit is in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no time: expected seconds, or a number with us, ms, s, m or h");
        let (digits, unit) = split(text);
        let seconds = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        Duration::try_from_secs_f64(number * seconds).map(Self).map_err(|_| wrong())
    }
}

/// Splits a number from the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// Takes each value once, in the order given.
pub(crate) fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    distinct_by(values, |value| value)
}

/// The same for values that are told apart by a key.
pub(crate) fn distinct_by<T: Copy, K: PartialEq>(values: &[T], key: impl Fn(T) -> K) -> Vec<T> {
    let mut once: Vec<T> = Vec::new();
    for &value in values {
        if !once.iter().any(|&known| key(known) == key(value)) {
            once.push(value);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("4096", 4096), ("1M", 1 << 20), ("8MiB", 8 << 20), ("2g", 2 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "0", "0M", "M", "1X", "-1", "1.5M", "99999999999T", "1 1"] {
            assert!(bad.parse::<Size>().is_err(), "'{bad}' was taken");
        }
    }

    #[test]
    fn times() {
        for (text, ms) in
            [("100ms", 100), ("2s", 2000), ("1.5s", 1500), ("3", 3000), ("5m", 300_000)]
        {
            assert_eq!(text.parse(), Ok(Time(Duration::from_millis(ms))), "{text}");
        }
        for bad in ["", "ms", "-1s", "1d", "1e99999s", "1..2s"] {
            assert!(bad.parse::<Time>().is_err(), "'{bad}' was taken");
        }
    }
}
