//! Reading the files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forecare_domain::Timestamp;
use serde::Deserialize;

use super::Profile;

/// The benchmark, or the part of it that lies in a directory.
#[derive(Debug)]
pub struct Nab {
    /// Every file that can be read, in order of category and name.
    pub series: Vec<Series>,
    /// The cost profiles, by name; the published ones where the directory has none.
    pub profiles: BTreeMap<String, Profile>,
    /// Where the true windows were read from; `None`: there is no such file.
    pub labels: Option<PathBuf>,
    /// What could not be read, file by file: nothing of it is in `series` or `profiles`.
    pub faults: Vec<NabError>,
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
    /// True windows, as first and last row, in order of time; `None` where there are no labels of this file, which
    /// then has no score.
    pub windows: Option<Vec<Window>>,
    /// Labelled windows in which no row of the file lies: they do not count.
    pub n_windows_without_rows: usize,
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

/// A true anomaly: the rows from `first` to `last`, both within; those whose time lies in the labelled span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub first: usize,
    /// Last row.
    pub last: usize,
}

/// Why a part of the benchmark could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NabError {
    /// A file or directory is not there or cannot be read.
    #[error("cannot read {}", path.display())]
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
    /// A value that is no finite number, or a file without rows.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nothing to look at.
    #[error("no NAB file in {}; --data must name the directory that holds data/<category>/<file>.csv or <category>/<file>.csv", path.display())]
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

/// True windows of every file, as the labels write them.
type Labels = BTreeMap<String, Vec<[String; 2]>>;

impl Nab {
    /// Reads whatever part of the benchmark lies in `dir`: its own layout (`data/`, `labels/`, `config/`), the two JSON
    /// files beside `data/`, or category directories alone. The JSON files are also looked for in the two
    /// directories above, so that `dir` may be NAB's `data/` or a category. A file that cannot be read is among the
    /// faults; the others are read all the same.
    ///
    /// # Errors
    /// [`NabError`]: the directory cannot be listed, or holds no CSV file at all.
    pub fn load(dir: &Path) -> Result<Self, NabError> {
        let mut faults = Vec::new();
        let labels = find(dir, "combined_windows.json", "labels");
        let windows: Labels = labels
            .as_deref()
            .and_then(|path| json(path).map_err(|fault| faults.push(fault)).ok())
            .unwrap_or_default();
        let profiles = find(dir, "profiles.json", "config")
            .and_then(|path| json(&path).map_err(|fault| faults.push(fault)).ok())
            .map_or_else(
                Profile::published,
                |files: BTreeMap<String, ProfileFile>| {
                    let profile = |(name, file): (String, ProfileFile)| Profile {
                        name,
                        cost: file.cost,
                    };
                    files.into_iter().map(profile).collect()
                },
            );
        let data = Some(dir.join("data")).filter(|d| d.is_dir());
        let data = data.as_deref().unwrap_or(dir);
        let mut series = Vec::new();
        for path in csv_files(data)? {
            match Series::load(&path, labels.as_deref(), &windows, &mut faults) {
                Ok(one) => series.push(one),
                Err(fault) => faults.push(fault),
            }
        }
        if series.is_empty() && (faults.is_empty() || !Self::is_in(dir)) {
            return Err(NabError::Empty {
                path: data.to_owned(),
            });
        }
        Ok(Self {
            series,
            profiles: profiles
                .into_iter()
                .map(|profile| (profile.name.clone(), profile))
                .collect(),
            labels,
            faults,
        })
    }
}

impl Nab {
    /// Whether a file of the benchmark's lies in `dir`, as [`Nab::load`] looks for it: one whose columns are timestamp and
    /// value.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        let data = Some(dir.join("data")).filter(|d| d.is_dir());
        let files = csv_files(data.as_deref().unwrap_or(dir)).unwrap_or_default();
        files.iter().any(|path| {
            let reader = csv::ReaderBuilder::new()
                .trim(csv::Trim::All)
                .from_path(path);
            reader.is_ok_and(|mut reader| {
                let columns = reader.headers();
                columns.is_ok_and(|c| c.iter().eq(["timestamp", "value"]))
            })
        })
    }
}

impl Series {
    fn load(
        path: &Path,
        labels: Option<&Path>,
        windows: &Labels,
        faults: &mut Vec<NabError>,
    ) -> Result<Self, NabError> {
        let name = |p: Option<&Path>| {
            p.and_then(Path::file_name)
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        // A category that was given as `.` has its name all the same.
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (category, file) = (name(whole.parent()), name(Some(&whole)));
        let mut series = Self {
            rows: rows(path)?,
            windows: None,
            n_windows_without_rows: 0,
            category,
            file,
        };
        let key = format!("{}/{}", series.category, series.file);
        let of_file = windows
            .get(&key)
            .or_else(|| of_name(windows, &whole, &series.file));
        if let (Some(labels), Some(of_file)) = (labels, of_file) {
            match series.windows_of(labels, of_file) {
                Ok(found) => {
                    series.n_windows_without_rows = of_file.len() - found.len();
                    series.windows = Some(found);
                }
                // Predictions need no labels.
                Err(fault) => faults.push(fault),
            }
        }
        Ok(series)
    }

    /// The rows of each labelled span, its ends included whether or not they are rows; spans without rows are left
    /// out.
    fn windows_of(&self, labels: &Path, spans: &[[String; 2]]) -> Result<Vec<Window>, NabError> {
        let at = |text: &str| time(text).ok_or_else(|| no_time(labels, text));
        let mut found = Vec::with_capacity(spans.len());
        for [from, to] in spans {
            let span = at(from)?..=at(to)?;
            let is_in = |row: &Row| span.contains(&row.ts);
            let first = self.rows.iter().position(is_in);
            let last = self.rows.iter().rposition(is_in);
            found.extend(first.zip(last).map(|(first, last)| Window { first, last }));
        }
        found.sort_by_key(|w| w.first);
        Ok(found)
    }

    /// The median time between two of the first `n_rows` rows, seconds: what a detector knows that is silent until
    /// then. 300, NAB's most frequent one, where no time passes in them.
    #[must_use]
    pub fn interval_s(&self, n_rows: usize) -> f64 {
        let mut hours: Vec<f64> = self.rows[..n_rows.min(self.rows.len())]
            .windows(2)
            .map(|w| w[1].ts.hours_since(w[0].ts))
            .filter(|&h| h > 0.0)
            .collect();
        hours.sort_by(f64::total_cmp);
        hours.get(hours.len() / 2).map_or(300.0, |h| h * 3_600.0)
    }
}

/// The windows of a file whose category is called otherwise than in the labels: those of the only entry of that name, where
/// it is not another file's that lies there as well.
fn of_name<'a>(windows: &'a Labels, path: &Path, file: &str) -> Option<&'a Vec<[String; 2]>> {
    let mut entries = windows
        .iter()
        .filter(|(key, _)| key.rsplit('/').next() == Some(file));
    let (key, of_file) = entries.next()?;
    if entries.next().is_some() {
        return None;
    }
    let categories = path.parent().and_then(Path::parent);
    let is_another = categories.is_some_and(|dir| dir.join(key).is_file());
    (!is_another).then_some(of_file)
}

/// The file in `dir`, in its directory `below`, or likewise in the two directories above.
fn find(dir: &Path, file: &str, below: &str) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    dir.ancestors()
        .take(3)
        .flat_map(|d| [d.join(file), d.join(below).join(file)])
        .find(|path| path.is_file())
}

/// CSV files in the directories of `dir`, and in `dir` itself; in order of category and name.
fn csv_files(dir: &Path) -> Result<Vec<PathBuf>, NabError> {
    let is_csv = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|e| e == "csv");
    let (categories, mut files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries(dir)?.into_iter().partition(|p| p.is_dir());
    files.retain(is_csv);
    for category in categories {
        files.extend(entries(&category)?.into_iter().filter(is_csv));
    }
    Ok(files)
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
        if !value.is_finite() {
            return Err(NabError::Content {
                path: path.to_owned(),
                what: "a value is no finite number",
            });
        }
        rows.push(Row {
            time: timestamp,
            ts,
            value,
        });
    }
    if rows.is_empty() {
        return Err(NabError::Content {
            path: path.to_owned(),
            what: "it has no rows",
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
    format!("{day}T{}Z", time.trim_end_matches('Z'))
        .parse()
        .ok()
}
