//! Reading the files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forecare_domain::{InvalidName, ModeName, Timestamp};
use forecare_prognosis::{History, HistoryItem};

/// The operating settings and the sensors, in the order of the files and of [`Engine::cycles`]; names and units as in
/// Saxena et al.: altitude kft, Mach number, throttle %, temperatures degR, pressures psia, speeds rpm.
pub const METRICS: [&str; 24] = [
    "altitude",
    "mach",
    "throttle",
    "t2",
    "t24",
    "t30",
    "t50",
    "p2",
    "p15",
    "p30",
    "nf",
    "nc",
    "epr",
    "ps30",
    "phi",
    "nrf",
    "nrc",
    "bpr",
    "far_b",
    "ht_bleed",
    "nf_dmd",
    "pcnfr_dmd",
    "w31",
    "w32",
];

/// One cycle (a flight) counts as so many hours: the source gives no duration.
pub const CYCLE_HOURS: f64 = 1.0;

/// 2000-01-01: the source gives no dates.
const FIRST_CYCLE_MS: i64 = 946_684_800_000;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CmapssError {
    /// The directory or a file.
    #[error("cannot read {}", path.display())]
    Read {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is not of the data set.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// One engine's flights.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    /// Number within its file, from 1.
    pub unit: u32,
    /// One row per cycle, in the order of [`METRICS`].
    pub cycles: Vec<[f64; 24]>,
}

impl Engine {
    /// The time that stands for a cycle, counted from 0.
    #[must_use]
    pub fn ts(cycle: usize) -> Timestamp {
        Timestamp::from_millis(FIRST_CYCLE_MS).plus_hours(cycle as f64 * CYCLE_HOURS)
    }

    /// The rows with their times, as the product sees them.
    pub fn readings(&self) -> impl Iterator<Item = (Timestamp, Vec<Option<f64>>)> + '_ {
        self.cycles
            .iter()
            .enumerate()
            .map(|(cycle, values)| (Self::ts(cycle), values.iter().map(|v| Some(*v)).collect()))
    }
}

fn read(path: &Path) -> Result<String, CmapssError> {
    fs::read_to_string(path).map_err(|source| CmapssError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Names of the subsets (`FD001`) of which `dir` holds the training file `train_<name>.txt`, ascending.
///
/// # Errors
/// [`CmapssError`]: the directory cannot be read.
pub fn training_subsets(dir: &Path) -> Result<Vec<String>, CmapssError> {
    subsets(dir, &["train_"])
}

/// Names of the subsets of which `dir` holds the training or the test file (`test_<name>.txt`), ascending.
///
/// # Errors
/// [`CmapssError`]: the directory cannot be read.
pub fn any_subsets(dir: &Path) -> Result<Vec<String>, CmapssError> {
    subsets(dir, &["train_", "test_"])
}

fn subsets(dir: &Path, prefixes: &[&str]) -> Result<Vec<String>, CmapssError> {
    let failed = |source| CmapssError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        let name = file.to_str().and_then(|f| f.strip_suffix(".txt"));
        let name = name.and_then(|f| prefixes.iter().find_map(|p| f.strip_prefix(p)));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Reads `train_*.txt` or `test_*.txt`: unit, cycle, 3 settings, 21 sensors, separated by spaces, sorted by unit and
/// cycle.
///
/// # Errors
/// [`CmapssError`] names the line.
pub fn load_engines(path: &Path) -> Result<Vec<Engine>, CmapssError> {
    let text = read(path)?;
    let mut engines: Vec<Engine> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let wrong = |what: String| CmapssError::Line {
            path: path.to_owned(),
            line: i + 1,
            what,
        };
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        if fields.len() != 2 + METRICS.len() {
            return Err(wrong(format!(
                "{} columns instead of {}",
                fields.len(),
                2 + METRICS.len()
            )));
        }
        let whole = |text: &str| {
            text.parse::<u32>()
                .map_err(|source| wrong(format!("\"{text}\" is no whole number: {source}")))
        };
        let (unit, cycle) = (whole(fields[0])?, whole(fields[1])?);
        let mut values = [0.0; 24];
        for (value, text) in values.iter_mut().zip(&fields[2..]) {
            *value = text
                .parse::<f64>()
                .ok()
                .filter(|v| v.is_finite())
                .ok_or_else(|| wrong(format!("\"{text}\" is no number")))?;
        }
        if engines.last().is_none_or(|e| e.unit != unit) {
            if engines.iter().any(|e| e.unit == unit) {
                return Err(wrong(format!("unit {unit} comes back after another")));
            }
            engines.push(Engine {
                unit,
                cycles: Vec::new(),
            });
        }
        if let Some(engine) = engines.last_mut() {
            let due = engine.cycles.len() + 1;
            if usize::try_from(cycle).ok() != Some(due) {
                return Err(wrong(format!(
                    "cycle {cycle} of unit {unit} where {due} is due"
                )));
            }
            engine.cycles.push(values);
        }
    }
    Ok(engines)
}

/// Reads `RUL_*.txt`: cycles left after the last one, a line per test engine.
///
/// # Errors
/// [`CmapssError`] names the line.
pub fn load_truth(path: &Path) -> Result<Vec<f64>, CmapssError> {
    let text = read(path)?;
    let lines = text.lines().enumerate().map(|(i, l)| (i, l.trim()));
    lines
        .filter(|(_, l)| !l.is_empty())
        .map(|(i, l)| {
            let left = l.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
            left.ok_or_else(|| CmapssError::Line {
                path: path.to_owned(),
                line: i + 1,
                what: format!("\"{l}\" is no number of cycles"),
            })
        })
        .collect()
}

/// Engines that ran to failure, as histories; the last cycle is the failure.
///
/// # Errors
/// `mode` is no name of a failure mode.
pub fn histories(
    subset: &str,
    engines: &[Engine],
    mode: &str,
) -> Result<Vec<History>, InvalidName> {
    let mode = ModeName::new(mode)?;
    Ok(engines
        .iter()
        .map(|engine| {
            let failed_at = Engine::ts(engine.cycles.len().saturating_sub(1));
            let mut items: Vec<HistoryItem> = engine
                .readings()
                .map(|(ts, values)| HistoryItem::Reading { ts, values })
                .collect();
            items.push(HistoryItem::Failure {
                ts: failed_at,
                mode: mode.clone(),
            });
            History {
                device: format!("{subset}-{:04}", engine.unit),
                items,
            }
        })
        .collect())
}
