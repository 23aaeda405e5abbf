//! The front: a record, a format, and where it goes.

use crate::json::JsonTarget;
use crate::metrics::{self, MetricsError, MetricsTarget};
use crate::record::RunRecord;
use crate::save::SaveError;
use crate::{human, json, junit, ktap};
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

/// How results are written on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// A table for a person.
    #[default]
    Human,
    /// KTAP version 1.
    Ktap,
    /// JUnit XML.
    Junit,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Human, Self::Ktap, Self::Junit];

    /// Its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Ktap => "ktap",
            Self::Junit => "junit",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no format has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format '{0}': expected human, ktap or junit")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// Writes the results of a run in this format. Only `human` knows colour.
pub fn write_report(
    record: &RunRecord,
    format: Format,
    to: &mut dyn Write,
    colour: bool,
) -> io::Result<()> {
    match format {
        Format::Human => human::write(record, to, colour),
        Format::Ktap => ktap::write(record, to),
        Format::Junit => junit::write(record, to),
    }
}

/// What of a run could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The results could not be written. A reader that has gone away is a broken pipe here too.
    #[error("can't write the results: {0}")]
    Results(#[source] io::Error),
    /// The record could not be saved.
    #[error(transparent)]
    Record(#[from] SaveError),
    /// The metrics could not be saved.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Everything that is written of a run at its end.
#[derive(Clone, Debug, Default)]
pub struct ReportOutputs {
    /// How the results look.
    pub format: Format,
    /// Whether they have colour.
    pub colour: bool,
    /// Where the record goes, if anywhere.
    pub json: Option<JsonTarget>,
    /// Where the metrics go, if anywhere.
    pub metrics: Option<MetricsTarget>,
}

impl ReportOutputs {
    /// Writes the results to `stdout`, or the record in their place, and saves record and metrics.
    ///
    /// Errors: the first; each is written also if another fails.
    pub fn write(&self, record: &RunRecord, stdout: &mut dyn Write) -> Result<(), WriteError> {
        let written = self.write_results(record, stdout);
        let metrics = self.metrics.as_ref().map_or(Ok(()), |to| metrics::save(record, to));
        written.and(metrics.map_err(WriteError::Metrics))
    }

    fn write_results(&self, record: &RunRecord, stdout: &mut dyn Write) -> Result<(), WriteError> {
        let written = match self.json {
            Some(JsonTarget::Stdout) => json::write(record, stdout),
            _ => write_report(record, self.format, stdout, self.colour),
        };
        let written = written.and_then(|()| stdout.flush()).map_err(WriteError::Results);
        if let Some(JsonTarget::File(path)) = &self.json {
            let saved = json::save(record, path);
            written?;
            saved?;
            return Ok(());
        }
        written
    }
}
