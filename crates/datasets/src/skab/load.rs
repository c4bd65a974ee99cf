//! Reading the files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forecare_domain::Timestamp;

/// Columns that are no sensors.
const TIME: &str = "datetime";
const ANOMALY: &str = "anomaly";
const CHANGE: &str = "changepoint";

/// Directories below the one that is given, at most.
const DEPTH_MAX: usize = 8;

/// The benchmark, or the part of it that lies in a directory.
#[derive(Debug)]
pub struct Skab {
    /// Every file of the benchmark's that can be read, in order of path.
    pub recordings: Vec<Recording>,
    /// CSV files without a column `datetime`: not of the benchmark.
    pub foreign: Vec<PathBuf>,
    /// What could not be read, file by file.
    pub faults: Vec<SkabError>,
}

/// One file: one run of the water loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The file, relative to the directory.
    pub path: PathBuf,
    /// Sensor columns, as the header names them.
    pub sensors: Vec<String>,
    /// True where the file has labels of anomalies.
    pub labelled: bool,
    /// True where the file has labels of change points.
    pub change_labelled: bool,
    /// Rows in the file's order.
    pub rows: Vec<Row>,
}

/// One row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The time as the file writes it.
    pub time: String,
    /// The same, taken as UTC.
    pub ts: Timestamp,
    /// In the order of [`Recording::sensors`].
    pub values: Vec<f64>,
    /// True while a fault is present.
    pub anomaly: bool,
    /// True where a fault begins or ends.
    pub change: bool,
}

/// Why a part of the benchmark could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SkabError {
    /// A file or directory is not there or cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is no CSV.
    #[error("{}: not a CSV separated by semicolons", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: csv::Error,
    },
    /// Another separator.
    #[error("{}: its columns are separated by {found:?}, the benchmark's by ';': write semicolons", path.display())]
    Separator {
        /// The file.
        path: PathBuf,
        /// What stands between its columns.
        found: char,
    },
    /// A cell is malformed.
    #[error("{}: line {line}: column \"{column}\": \"{text}\" is no {expected}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What stands there, cut to 64 characters.
        text: String,
        /// What should.
        expected: &'static str,
    },
    /// Nothing to judge.
    #[error("no CSV file with a column \"datetime\", separated by semicolons, in {} or below it", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

impl Skab {
    /// Reads every CSV file in `dir` and below it, but for those in `except` (results of an earlier run) and in
    /// directories whose names begin with a dot. A file that cannot be read is among the faults; the others are read
    /// all the same.
    ///
    /// # Errors
    /// [`SkabError`]: the directory cannot be listed, or there is no file of the benchmark's in it.
    pub fn load(dir: &Path, except: Option<&Path>) -> Result<Self, SkabError> {
        let mut paths = Vec::new();
        let except = except.and_then(|path| path.canonicalize().ok());
        csv_files(dir, except.as_deref(), DEPTH_MAX, &mut paths)?;
        paths.sort();
        let mut skab = Self {
            recordings: Vec::new(),
            foreign: Vec::new(),
            faults: Vec::new(),
        };
        for path in &paths {
            match Recording::load(dir, path) {
                Ok(Some(recording)) => skab.recordings.push(recording),
                Ok(None) => skab.foreign.push(path.clone()),
                Err(fault) => skab.faults.push(fault),
            }
        }
        if skab.recordings.is_empty() && skab.faults.is_empty() {
            return Err(SkabError::Empty {
                path: dir.to_owned(),
            });
        }
        Ok(skab)
    }
}

impl Recording {
    /// `None`: a file of something else.
    fn load(dir: &Path, path: &Path) -> Result<Option<Self>, SkabError> {
        let failed = |source| SkabError::Csv {
            path: path.to_owned(),
            source,
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(b';')
            // Lines that end with CR and LF are counted one too low otherwise; the CR is trimmed.
            .terminator(csv::Terminator::Any(b'\n'))
            .trim(csv::Trim::All)
            .from_path(path)
            .map_err(failed)?;
        let header = reader.headers().map_err(failed)?.clone();
        let place = |name: &str| header.iter().position(|h| h == name);
        let Some(time) = place(TIME) else {
            return match separator(&header) {
                Some(found) => Err(SkabError::Separator {
                    path: path.to_owned(),
                    found,
                }),
                None => Ok(None),
            };
        };
        let (anomaly, change) = (place(ANOMALY), place(CHANGE));
        let sensors: Vec<usize> = (0..header.len())
            .filter(|&i| i != time && Some(i) != anomaly && Some(i) != change)
            .collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(failed)?;
            let cells = Cells {
                path,
                header: &header,
                record: &record,
            };
            let finite = |t: &str| t.parse().ok().filter(|v: &f64| v.is_finite());
            let number = |i: usize| cells.parse(i, "number", finite);
            let flag = |i: Option<usize>| i.map_or(Ok(false), |i| number(i).map(|x| x > 0.5));
            rows.push(Row {
                time: cells.text(time).to_owned(),
                ts: cells.parse(time, "time such as 2020-03-09 10:14:33", parse_time)?,
                values: sensors
                    .iter()
                    .map(|&i| number(i))
                    .collect::<Result<_, _>>()?,
                anomaly: flag(anomaly)?,
                change: flag(change)?,
            });
        }
        Ok(Some(Self {
            path: path.strip_prefix(dir).unwrap_or(path).to_owned(),
            sensors: sensors.iter().map(|&i| header[i].to_owned()).collect(),
            labelled: anomaly.is_some(),
            change_labelled: change.is_some(),
            rows,
        }))
    }
}

/// What separates the columns of a header that was taken for one column and names the time.
fn separator(header: &csv::StringRecord) -> Option<char> {
    let whole = header.iter().collect::<Vec<_>>().join(";");
    let names_time = |by: &char| {
        let mut columns = whole.split(*by).map(|c| c.trim().trim_matches('"'));
        columns.any(|c| c == TIME)
    };
    [',', '\t', '|'].into_iter().find(names_time)
}

struct Cells<'a> {
    path: &'a Path,
    header: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl Cells<'_> {
    fn text(&self, i: usize) -> &str {
        self.record.get(i).unwrap_or("")
    }

    fn parse<T>(
        &self,
        i: usize,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SkabError> {
        let text = self.text(i);
        parse(text).ok_or_else(|| SkabError::Cell {
            path: self.path.to_owned(),
            line: self.record.position().map_or(0, csv::Position::line),
            column: self.header.get(i).unwrap_or("").to_owned(),
            text: text.chars().take(64).collect(),
            expected,
        })
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once([' ', 'T'])?;
    format!("{day}T{time}Z").parse().ok()
}

/// The CSV files in `dir` and `depth` directories below it.
fn csv_files(
    dir: &Path,
    except: Option<&Path>,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), SkabError> {
    let failed = |source| SkabError::File {
        path: dir.to_owned(),
        source,
    };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_result = except.is_some() && path.canonicalize().ok().as_deref() == except;
            if depth > 0 && !is_result && !name.starts_with('.') {
                csv_files(&path, except, depth - 1, found)?;
            }
        } else if path.extension().is_some_and(|e| e == "csv") {
            found.push(path);
        }
    }
    Ok(())
}
