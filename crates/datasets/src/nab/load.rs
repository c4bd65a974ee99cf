//! Reading the files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forecare_domain::Timestamp;
use serde::Deserialize;

use super::Profile;

/// The benchmark, or the part of it that lies in a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Nab {
    /// Every file, in order of category and name.
    pub series: Vec<Series>,
    /// The cost profiles, by name.
    pub profiles: BTreeMap<String, Profile>,
}

/// One file: a stream of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The file's directory, such as `realTraffic`.
    pub category: String,
    /// The file's name, with its extension.
    pub file: String,
    /// Rows in the file's order.
    pub rows: Vec<Row>,
    /// True windows, as first and last row, in order of time.
    pub windows: Vec<Window>,
}

/// One row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The time as the file writes it.
    pub time: String,
    /// The same, taken as UTC.
    pub ts: Timestamp,
    /// The value.
    pub value: f64,
}

/// A true anomaly: the rows from `first` to `last`, both within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub first: usize,
    /// Last row.
    pub last: usize,
}

/// Why the benchmark could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NabError {
    /// A file or directory is not there or cannot be read.
    #[error("cannot read {}; --data must name the directory that holds combined_windows.json, profiles.json and data/<category>/<file>.csv", path.display())]
    File {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A JSON file of another shape.
    #[error("{}: not the JSON that NAB has there", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A file that is no CSV of timestamp and value.
    #[error("{}: not a CSV of timestamp,value", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: csv::Error,
    },
    /// A time that is none.
    #[error("{}: \"{text}\" is no time such as 2014-04-01 00:00:00", path.display())]
    Time {
        /// The file.
        path: PathBuf,
        /// What stands there, cut to 64 characters.
        text: String,
    },
    /// No labels for a file.
    #[error(
        "combined_windows.json has no entry \"{key}\": without its windows the file cannot be scored"
    )]
    NoWindows {
        /// The entry looked for.
        key: String,
    },
    /// A window whose ends are no rows.
    #[error(
        "combined_windows.json: window {from} to {to} of {key} begins or ends at no row of the file"
    )]
    Window {
        /// The file's entry.
        key: String,
        /// Its beginning.
        from: String,
        /// Its end.
        to: String,
    },
    /// Nothing to score.
    #[error("{}: no <category>/<file>.csv in it", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
struct CsvRow {
    timestamp: String,
    value: f64,
}

#[derive(Deserialize)]
struct ProfileFile {
    #[serde(rename = "CostMatrix")]
    cost: super::Cost,
}

impl Nab {
    /// Reads whatever part of the benchmark lies in `dir`: its own layout (`data/`, `labels/`, `config/`), or
    /// the two JSON files beside `data/`.
    ///
    /// # Errors
    /// [`NabError`] says which file and what is wrong with it.
    pub fn load(dir: &Path) -> Result<Self, NabError> {
        let labels = either(dir, "combined_windows.json", "labels");
        let windows: BTreeMap<String, Vec<[String; 2]>> = json(&labels)?;
        let profiles: BTreeMap<String, ProfileFile> =
            json(&either(dir, "profiles.json", "config"))?;
        let profiles = profiles
            .into_iter()
            .map(|(name, file)| {
                (
                    name.clone(),
                    Profile {
                        name,
                        cost: file.cost,
                    },
                )
            })
            .collect();
        let data = dir.join("data");
        let mut series = Vec::new();
        for category in entries(&data)?.into_iter().filter(|p| p.is_dir()) {
            for path in entries(&category)? {
                if path.extension().is_some_and(|e| e == "csv") {
                    series.push(Series::load(&path, &labels, &windows)?);
                }
            }
        }
        if series.is_empty() {
            return Err(NabError::Empty { path: data });
        }
        Ok(Self { series, profiles })
    }
}

impl Series {
    fn load(
        path: &Path,
        labels: &Path,
        windows: &BTreeMap<String, Vec<[String; 2]>>,
    ) -> Result<Self, NabError> {
        let name = |p: Option<&Path>| {
            p.and_then(Path::file_name)
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let (category, file) = (name(path.parent()), name(Some(path)));
        let rows = rows(path)?;
        let key = format!("{category}/{file}");
        let Some(of_file) = windows.get(&key) else {
            return Err(NabError::NoWindows { key });
        };
        let at = |text: &str| -> Result<Option<usize>, NabError> {
            let ts = time(text).ok_or_else(|| no_time(labels, text))?;
            Ok(rows.iter().position(|r| r.ts == ts))
        };
        let mut found = Vec::with_capacity(of_file.len());
        for [from, to] in of_file {
            match (at(from)?, at(to)?) {
                (Some(first), Some(last)) if first <= last => found.push(Window { first, last }),
                _ => {
                    return Err(NabError::Window {
                        key,
                        from: from.clone(),
                        to: to.clone(),
                    });
                }
            }
        }
        found.sort_by_key(|w| w.first);
        Ok(Self {
            category,
            file,
            rows,
            windows: found,
        })
    }

    /// The median time between two of the first rows, those that NAB lets a detector see before it is judged,
    /// seconds.
    #[must_use]
    pub fn interval_s(&self) -> f64 {
        let n = super::probation_rows(self.rows.len()).max(2);
        let first = &self.rows[..n.min(self.rows.len())];
        let mut hours: Vec<f64> = first
            .windows(2)
            .map(|w| w[1].ts.hours_since(w[0].ts))
            .filter(|&h| h > 0.0)
            .collect();
        hours.sort_by(f64::total_cmp);
        hours.get(hours.len() / 2).map_or(300.0, |h| h * 3_600.0)
    }
}

fn either(dir: &Path, file: &str, below: &str) -> PathBuf {
    let beside = dir.join(file);
    if beside.exists() {
        beside
    } else {
        dir.join(below).join(file)
    }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, NabError> {
    let text = fs::read(path).map_err(|source| NabError::File {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| NabError::Json {
        path: path.to_owned(),
        source,
    })
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, NabError> {
    let failed = |source| NabError::File {
        path: dir.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        found.push(entry.map_err(failed)?.path());
    }
    found.sort();
    Ok(found)
}

fn rows(path: &Path) -> Result<Vec<Row>, NabError> {
    let failed = |source| NabError::Csv {
        path: path.to_owned(),
        source,
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(failed)?;
    let mut rows = Vec::new();
    for row in reader.deserialize() {
        let CsvRow { timestamp, value } = row.map_err(failed)?;
        let ts = time(&timestamp).ok_or_else(|| no_time(path, &timestamp))?;
        rows.push(Row {
            time: timestamp,
            ts,
            value,
        });
    }
    Ok(rows)
}

fn no_time(path: &Path, text: &str) -> NabError {
    NabError::Time {
        path: path.to_owned(),
        text: text.chars().take(64).collect(),
    }
}

/// `2014-04-10 07:15:00`, with or without fractions of a second.
fn time(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once([' ', 'T'])?;
    format!("{day}T{time}Z").parse().ok()
}
