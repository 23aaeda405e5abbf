//! Numbers as a person reads them, and texts from a record, cut to a length.

use crate::limits::{NAME, SENTENCE};
use std::time::Duration;

/// A name from a record.
pub(crate) fn name(text: &str) -> String {
    memtwin_report::clipped(text, NAME)
}

/// A sentence from a record.
pub(crate) fn sentence(text: &str) -> String {
    memtwin_report::clipped(text, SENTENCE)
}

/// A line from a record whose spaces count, as those of a table do.
pub(crate) fn line(text: &str) -> String {
    let kept = |text: &str| text.chars().take(SENTENCE).collect::<String>();
    let line = memtwin_report::plain(&kept(text));
    match kept(&line) {
        shown if shown.len() == line.len() && text.chars().count() <= SENTENCE => shown,
        cut => format!("{cut}…"),
    }
}

/// `29,298`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `29,298 pages`, `1 page`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(n), if n == 1 { "" } else { "s" })
}

/// `512 B`, `64 KiB`, `1.5 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value.fract() == 0.0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// `412 us`, `3.1 ms`, `12.4 s`.
pub(crate) fn micros(us: u64) -> String {
    memtwin_report::time(Duration::from_micros(us))
}

/// `1.2 GB/s`, in powers of ten, as links are.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    match bytes_per_second {
        rate if rate >= 1e9 => format!("{:.1} GB/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.1} MB/s", rate / 1e6),
        rate => format!("{:.1} kB/s", rate / 1e3),
    }
}

/// `1 Gbit/s`.
pub(crate) fn bandwidth(bits_per_second: u64) -> String {
    match bits_per_second {
        1_000_000_000.. => format!("{} Gbit/s", bits_per_second as f64 / 1e9),
        1_000_000.. => format!("{} Mbit/s", bits_per_second as f64 / 1e6),
        _ => format!("{} kbit/s", bits_per_second as f64 / 1e3),
    }
}

/// `3.2 %`; nothing of nothing is 0.
pub(crate) fn percent(part: u64, of: u64) -> String {
    let share = if of == 0 { 0.0 } else { part as f64 / of as f64 };
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_spaces_and_is_cut() {
        assert_eq!(line("by  seen\u{1b}"), "by  seen\\u{1b}");
        assert_eq!(line(&"é".repeat(SENTENCE)), "é".repeat(SENTENCE));
        for long in ["é".repeat(SENTENCE + 1), "\n".repeat(SENTENCE)] {
            assert!(line(&long).ends_with('…'));
            assert_eq!(line(&long).chars().count(), SENTENCE + 1);
        }
    }

    #[test]
    fn numbers_are_grouped_and_have_their_unit() {
        assert_eq!(
            [0, 999, 1_000, 29_298, 1_000_000].map(number),
            ["0", "999", "1,000", "29,298", "1,000,000"]
        );
        assert_eq!(count(1, "page"), "1 page");
        assert_eq!(count(2_000, "page"), "2,000 pages");
        assert_eq!(
            [0, 1023, 1024, 1536, 1 << 20, 150 << 20, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB", "150 MiB", "16 EiB"]
        );
        assert_eq!([1e3, 2.5e6, 3e9].map(rate), ["1.0 kB/s", "2.5 MB/s", "3.0 GB/s"]);
        assert_eq!(
            [500, 100_000_000, 2_500_000_000].map(bandwidth),
            ["0.5 kbit/s", "100 Mbit/s", "2.5 Gbit/s"]
        );
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(percent(0, 0), "0.0 %");
    }
}
