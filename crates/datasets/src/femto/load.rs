//! Reading the table of features per snapshot.

use std::io;
use std::path::{Path, PathBuf};

use forecare_domain::{InvalidName, ModeName, Timestamp};
use forecare_prognosis::{History, HistoryItem};

/// Columns of the table that are read, in the order of [`Bearing::snapshots`]: horizontal and vertical
/// acceleration of a snapshot of 0.1 s (g, and shares of the energy in bands of kHz).
pub const METRICS: [&str; 20] = [
    "h_rms", "h_peak", "h_p2p", "h_kurt", "h_skew", "h_crest", "h_e0_1k", "h_e1_3k", "h_e3_6k",
    "h_e6_12k", "v_rms", "v_peak", "v_p2p", "v_kurt", "v_skew", "v_crest", "v_e0_1k", "v_e1_3k",
    "v_e3_6k", "v_e6_12k",
];

/// Time between two snapshots, seconds. The clock in the files jumps, the rig did not.
pub const SNAPSHOT_SECONDS: f64 = 10.0;

/// Name of the set whose bearings ran to failure.
const LEARNING_SET: &str = "Learning_set";

/// 2010-01-01: the table has times of day without a date.
const FIRST_SNAPSHOT_MS: i64 = 1_262_304_000_000;

/// Why the table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FemtoError {
    /// The directory.
    #[error("cannot read {}", path.display())]
    Directory {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file, or a line of it.
    #[error("cannot read {}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{} has no column \"{column}\"", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// Its name.
        column: &'static str,
    },
    /// A field is no number.
    #[error("{}, line {line}: \"{text}\" in column {column} is no number", path.display())]
    Number {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// What is there.
        text: String,
    },
}

/// One bearing's snapshots.
#[derive(Debug, Clone, PartialEq)]
pub struct Bearing {
    /// Name, such as `Bearing1_1`.
    pub name: String,
    /// Whether the table says that it belongs to the learning set: then its last snapshot is its failure. `None` where
    /// there is no column `set`.
    pub is_learning: Option<bool>,
    /// Number of the snapshot (from 1) and its features, in the order of [`METRICS`].
    pub snapshots: Vec<(u32, [f64; 20])>,
}

/// The table at `path` behind its header, cells without blanks around them; and the header.
pub(super) fn table(
    path: &Path,
) -> Result<(csv::Reader<std::fs::File>, csv::StringRecord), FemtoError> {
    let failed = |source| FemtoError::Csv {
        path: path.to_owned(),
        source,
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(failed)?;
    let headers = reader.headers().map_err(failed)?.clone();
    Ok((reader, headers))
}

/// Reads a table of features: every bearing in it, in the order of names. Columns are found by their header; `set` may
/// be absent.
///
/// # Errors
/// [`FemtoError`] names the column and the line.
pub fn load(path: &Path) -> Result<Vec<Bearing>, FemtoError> {
    let failed = |source| FemtoError::Csv {
        path: path.to_owned(),
        source,
    };
    let (mut reader, headers) = table(path)?;
    let column = |name: &'static str| {
        headers
            .iter()
            .position(|h| h == name)
            .ok_or_else(|| FemtoError::Column {
                path: path.to_owned(),
                column: name,
            })
    };
    let (bearing, snapshot) = (column("bearing")?, column("snapshot")?);
    let set = column("set").ok();
    let places: Vec<usize> = METRICS
        .iter()
        .map(|m| column(m))
        .collect::<Result<_, _>>()?;
    let mut bearings: Vec<Bearing> = Vec::new();
    for (i, record) in reader.records().enumerate() {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(i as u64 + 2, csv::Position::line);
        let field = |place: usize| record.get(place).unwrap_or_default();
        let wrong = |column, text: &str| FemtoError::Number {
            path: path.to_owned(),
            line,
            column,
            text: text.to_owned(),
        };
        let text = field(snapshot);
        let number = text.parse().ok().ok_or_else(|| wrong("snapshot", text))?;
        let mut values = [0.0; 20];
        for ((value, &place), name) in values.iter_mut().zip(&places).zip(METRICS) {
            let text = field(place);
            let parsed: Option<f64> = text.parse().ok();
            *value = parsed
                .filter(|v| v.is_finite())
                .ok_or_else(|| wrong(name, text))?;
        }
        let name = field(bearing);
        let at = match bearings.iter().position(|b| b.name == name) {
            Some(at) => at,
            None => {
                bearings.push(Bearing {
                    name: name.to_owned(),
                    is_learning: set.map(|set| field(set).eq_ignore_ascii_case(LEARNING_SET)),
                    snapshots: Vec::new(),
                });
                bearings.len() - 1
            }
        };
        bearings[at].snapshots.push((number, values));
    }
    tidy(&mut bearings);
    Ok(bearings)
}

/// Bearings in the order of names, each once, with its snapshots in their order.
pub(super) fn tidy(bearings: &mut Vec<Bearing>) {
    bearings.sort_by(|a, b| a.name.cmp(&b.name));
    bearings.dedup_by(|later, kept| {
        let same = later.name == kept.name;
        if same {
            kept.snapshots.append(&mut later.snapshots);
        }
        same
    });
    for bearing in bearings {
        bearing.snapshots.sort_by_key(|(number, _)| *number);
        bearing.snapshots.dedup_by_key(|(number, _)| *number);
    }
}

impl Bearing {
    /// The time that stands for a snapshot.
    #[must_use]
    pub fn ts(number: u32) -> Timestamp {
        let hours = f64::from(number.saturating_sub(1)) * SNAPSHOT_SECONDS / 3_600.0;
        Timestamp::from_millis(FIRST_SNAPSHOT_MS).plus_hours(hours)
    }

    /// The snapshots with their times, as the product sees them.
    pub fn readings(&self) -> impl Iterator<Item = (Timestamp, Vec<Option<f64>>)> + '_ {
        self.snapshots
            .iter()
            .map(|(number, values)| (Self::ts(*number), values.iter().map(|v| Some(*v)).collect()))
    }

    /// From the first snapshot to the last, seconds.
    #[must_use]
    pub fn life_seconds(&self) -> f64 {
        match (self.snapshots.first(), self.snapshots.last()) {
            (Some((first, _)), Some((last, _))) => f64::from(last - first) * SNAPSHOT_SECONDS,
            _ => 0.0,
        }
    }

    /// The bearing's life as a history; the last snapshot is the failure.
    ///
    /// # Errors
    /// `mode` is no name of a failure mode.
    pub fn history(&self, mode: &str) -> Result<History, InvalidName> {
        let mut items: Vec<HistoryItem> = self
            .readings()
            .map(|(ts, values)| HistoryItem::Reading { ts, values })
            .collect();
        if let Some((last, _)) = self.snapshots.last() {
            items.push(HistoryItem::Failure {
                ts: Self::ts(*last),
                mode: ModeName::new(mode)?,
            });
        }
        Ok(History {
            device: self.name.clone(),
            items,
        })
    }
}
