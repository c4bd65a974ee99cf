//! Whatever lies in a directory: tables of features and tables of the truth, known by their columns and not by their
//! names.

use std::fs;
use std::path::{Path, PathBuf};

use super::load::{Bearing, FemtoError, load, table, tidy};

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Femto {
    /// Every bearing of the tables of features, in the order of names.
    pub bearings: Vec<Bearing>,
    /// Where bearings are to be estimated, and what they had left.
    pub truths: Vec<Truth>,
    /// CSV files with neither kind of columns.
    pub passed_over: Vec<PathBuf>,
    /// What could not be read, file by file.
    pub faults: Vec<FemtoError>,
}

/// A line of a table with the columns `bearing`, and `cut_s`, `rul_s` or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The bearing.
    pub bearing: String,
    /// Seconds of its recording that are looked at, ten per snapshot; `None`: all of it.
    pub cut_s: Option<f64>,
    /// True remaining life then, seconds, above 0; `None`: unknown.
    pub rul_s: Option<f64>,
}

/// Reads every CSV file in `dir`. A table with the columns `bearing` and `snapshot` is one of features; one with `bearing`
/// and `cut_s` or `rul_s` tells the truth; others are passed over, estimates (`rul_p50_s`) among them. A bearing may be spread
/// over several tables, and its truth as well, as far as they do not contradict each other.
///
/// # Errors
/// [`FemtoError`]: the directory cannot be listed.
pub fn load_directory(dir: &Path) -> Result<Femto, FemtoError> {
    let failed = |source| FemtoError::Directory {
        path: dir.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && path.extension().is_some_and(|e| e == "csv") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut femto = Femto::default();
    for path in paths {
        if let Err(fault) = take(&path, &mut femto) {
            femto.faults.push(fault);
        }
    }
    tidy(&mut femto.bearings);
    femto.truths = merged(femto.truths);
    Ok(femto)
}

/// One truth of each bearing; one that contradicts an earlier one stays beside it.
fn merged(truths: Vec<Truth>) -> Vec<Truth> {
    let agree = |a: Option<f64>, b: Option<f64>| a.is_none() || b.is_none() || a == b;
    let mut kept: Vec<Truth> = Vec::with_capacity(truths.len());
    for truth in truths {
        let fits = |k: &Truth| {
            k.bearing == truth.bearing && agree(k.cut_s, truth.cut_s) && agree(k.rul_s, truth.rul_s)
        };
        match kept.iter().position(fits) {
            Some(at) => {
                kept[at].cut_s = kept[at].cut_s.or(truth.cut_s);
                kept[at].rul_s = kept[at].rul_s.or(truth.rul_s);
            }
            None => kept.push(truth),
        }
    }
    kept
}

fn take(path: &Path, femto: &mut Femto) -> Result<(), FemtoError> {
    let failed = |source| FemtoError::Csv {
        path: path.to_owned(),
        source,
    };
    let (mut reader, headers) = table(path)?;
    let column = |name: &str| headers.iter().position(|h| h == name);
    let (cut, rul) = (column("cut_s"), column("rul_s"));
    let is_truth = (cut.is_some() || rul.is_some()) && column("rul_p50_s").is_none();
    match (column("bearing"), column("snapshot")) {
        (Some(_), Some(_)) => femto.bearings.extend(load(path)?),
        (Some(bearing), None) if is_truth => {
            for (i, record) in reader.records().enumerate() {
                let record = record.map_err(failed)?;
                let line = record.position().map_or(i as u64 + 2, csv::Position::line);
                let seconds = |place: Option<usize>, column: &'static str| {
                    let text = place.and_then(|p| record.get(p)).unwrap_or_default();
                    if text.is_empty() {
                        return Ok(None);
                    }
                    let value: Option<f64> = text.parse().ok();
                    let value = value.filter(|v| v.is_finite() && *v > 0.0);
                    value.map(Some).ok_or_else(|| FemtoError::Number {
                        path: path.to_owned(),
                        line,
                        column,
                        text: text.to_owned(),
                    })
                };
                femto.truths.push(Truth {
                    bearing: record.get(bearing).unwrap_or_default().to_owned(),
                    cut_s: seconds(cut, "cut_s")?,
                    rul_s: seconds(rul, "rul_s")?,
                });
            }
        }
        _ => femto.passed_over.push(path.to_owned()),
    }
    Ok(())
}
