//! Prometheus's text format, version 0.0.4: a family of gauges with its samples.

use std::collections::BTreeMap;
use std::fmt;

/// A label's name and its value.
pub(super) type Label = (&'static str, String);

/// Gauges of one name. Without a sample it writes nothing.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    /// By labels, so that no series is there twice.
    samples: BTreeMap<Vec<Label>, f64>,
}

impl Family {
    /// A family without samples. Name and help are plain words.
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, samples: BTreeMap::new() }
    }

    /// With a sample.
    pub(super) fn with(mut self, labels: &[Label], value: f64) -> Self {
        self.add(labels, value);
        self
    }

    /// Adds a sample; of two of the same labels the greater.
    pub(super) fn add(&mut self, labels: &[Label], value: f64) {
        let held = self.samples.entry(labels.to_vec()).or_insert(value);
        *held = held.max(value);
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, help, samples } = self;
        if samples.is_empty() {
            return Ok(());
        }
        writeln!(f, "# HELP {name} {help}")?;
        writeln!(f, "# TYPE {name} gauge")?;
        for (labels, value) in samples {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            writeln!(f, "{name}{{{}}} {value}", labels.join(","))?;
        }
        Ok(())
    }
}

/// A label's value: any text, with these three escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_can_t_end_its_label_or_its_line() {
        let family = Family::new("memtwin_x", "An x.")
            .with(&[("guest", "a\"} 1\nmemtwin_y{b=\"\\".to_owned())], 0.25);
        assert_eq!(
            family.to_string(),
            "# HELP memtwin_x An x.\n# TYPE memtwin_x gauge\n\
             memtwin_x{guest=\"a\\\"} 1\\nmemtwin_y{b=\\\"\\\\\"} 0.25\n"
        );
    }

    #[test]
    fn no_series_is_there_twice_and_no_family_without_one() {
        let label = [("a", "b".to_owned())];
        let family = Family::new("memtwin_x", "An x.").with(&label, 3.0).with(&label, 1.0);
        assert!(family.to_string().ends_with("gauge\nmemtwin_x{a=\"b\"} 3\n"));
        assert_eq!(Family::new("memtwin_x", "An x.").to_string(), "");
    }
}
