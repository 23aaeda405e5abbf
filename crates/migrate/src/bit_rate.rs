//! Bandwidths, as links have them.

use std::str::FromStr;

/// A bandwidth in bits per second, as links have it: `100M`, `1G`, `1.5Gbit`. Units are powers of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u64);

impl BitRate {
    /// In bytes per second.
    pub const fn bytes(self) -> u64 {
        self.0 / 8
    }

    /// As it is given on the command line: `100M`.
    pub fn short(self) -> String {
        let units = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
        let whole = units.into_iter().find(|(scale, _)| self.0.is_multiple_of(*scale));
        whole.map_or(self.0.to_string(), |(scale, unit)| format!("{}{unit}", self.0 / scale))
    }
}

impl FromStr for BitRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no bandwidth: expected bits per second, or a number with k, M or G"
            )
        };
        let (digits, unit) = split(text);
        let unit = unit.trim_end_matches("/s").trim_end_matches("bit").trim_end_matches("bps");
        let scale = match unit {
            "" => 1.0,
            "k" | "K" => 1e3,
            "m" | "M" => 1e6,
            "g" | "G" => 1e9,
            _ => return Err(wrong()),
        };
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        let bits = number * scale;
        // Less than a kilobyte per second is no link, and a petabit a slip.
        if (8e3..1e15).contains(&bits) {
            Ok(Self(bits as u64))
        } else {
            Err(format!("'{text}': expected a bandwidth from 8k to 1000000G bits per second"))
        }
    }
}

impl std::fmt::Display for BitRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scale, unit) = match self.0 {
            1_000_000_000.. => (1e9, "Gbit/s"),
            1_000_000.. => (1e6, "Mbit/s"),
            _ => (1e3, "kbit/s"),
        };
        let number = (self.0 as f64 / scale * 10.0).round() / 10.0;
        f.pad(&format!("{number} {unit}"))
    }
}

/// Splits a number from the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_are_in_bits_and_powers_of_1000() {
        for (text, bits) in [
            ("100M", 100_000_000),
            ("1G", 1_000_000_000),
            ("2.5Gbit", 2_500_000_000),
            ("100Mbit/s", 100_000_000),
            ("800k", 800_000),
            ("9600000", 9_600_000),
        ] {
            assert_eq!(text.parse(), Ok(BitRate(bits)), "{text}");
        }
        for bad in ["", "M", "1", "100MB", "100MiB", "-1M", "1T", "1e3", "9999999999G"] {
            assert!(bad.parse::<BitRate>().is_err(), "'{bad}' was taken");
        }
        assert_eq!(BitRate(1_000_000_000).to_string(), "1 Gbit/s");
        assert_eq!(BitRate(55_260_000).to_string(), "55.3 Mbit/s");
        assert_eq!(BitRate(100_000_000).bytes(), 12_500_000);
        let short = |bits| BitRate(bits).short();
        assert_eq!(
            [100_000_000, 2_500_000_000, 9_600_001].map(short),
            ["100M", "2500M", "9600001"]
        );
    }
}
