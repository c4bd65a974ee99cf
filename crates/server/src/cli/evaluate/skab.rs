//! Skoltech Anomaly Benchmark: every file is a device that reports second by second.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use forecare_datasets::skab::{
    CHANGE_WINDOWS_S, ChangePoints, ChangeScores, FIT_ROWS, Outliers, Recording, Skab,
    change_points, change_scores, outliers,
};
use forecare_detect::{ClassDetector, DetectSettings, DeviceDetector};
use serde::Serialize;

use super::{EvaluateArgs, Unusable, class, metrics};
use crate::cli::progress::Progress;

/// The water loop reports every second.
const SAMPLE_INTERVAL_S: f64 = 1.0;
/// Rows that must agree with each other before the other state is a change of its own.
const CHANGE_ROWS: usize = 30;

/// The settings, for every file: the defaults of `serve`, but for a warm-up of the rows that the benchmark
/// gives for learning, and no wait for a day's cycle in recordings of twenty minutes.
fn settings() -> DetectSettings {
    DetectSettings {
        warm_up_samples: u32::try_from(FIT_ROWS).unwrap_or(u32::MAX),
        drift_after_hours: 0.0,
        ..DetectSettings::default()
    }
}

#[derive(Serialize)]
struct Metrics {
    /// Labelled files, and their rows that are judged.
    n_files: usize,
    n_rows_judged: usize,
    /// `None` where no file has labels.
    #[serde(flatten)]
    scores: Option<OfRows>,
    /// Files with labels of anomalies and none of change points: not in the scores of those.
    files_without_change_labels: Vec<String>,
    change_points: ChangePoints,
    /// By the benchmark's own formula, for each length of its windows; empty where there is no change point.
    change_point_scores: Vec<ChangeScores>,
    /// Files without a single row labelled as anomalous, and files without labels: what was said of them.
    files_without_known_anomaly: Vec<Quiet>,
    files_unusable: usize,
}

#[derive(Serialize)]
struct OfRows {
    f1: f64,
    false_alarm_rate: f64,
    missed_alarm_rate: f64,
    rows: Outliers,
}

/// A file of which no anomaly is known: all that is said of it is a false alarm, if it has none.
#[derive(Serialize)]
struct Quiet {
    file: String,
    labelled: bool,
    n_rows_judged: usize,
    n_rows_flagged: usize,
    flagged_rate: f64,
}

/// What is said of each row of a file.
struct Said {
    outlier: Vec<bool>,
    change: Vec<bool>,
}

pub(super) fn run(args: &EvaluateArgs) -> Result<()> {
    args.check()?;
    // The results have the names of the recordings: in the same directory they would replace them.
    let data = args.data.canonicalize().ok();
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    if data.is_some() && data == args.out.canonicalize().ok() {
        bail!(
            "--out is the directory of --data, {}: the results would replace the recordings; give --out another directory",
            args.data.display()
        );
    }
    let skab = Skab::load(&args.data, Some(&args.out))?;
    let mut unusable = Unusable::default();
    for fault in &skab.faults {
        unusable.tell(fault);
    }
    for path in &skab.foreign {
        eprintln!("passed over: {} has no column \"datetime\"", path.display());
    }
    let n_files = skab.recordings.len();
    let progress = Progress::bar(u64::try_from(n_files).unwrap_or(u64::MAX), "files");
    let mut said: Vec<(&Recording, Said)> = Vec::with_capacity(n_files);
    for (i, recording) in skab.recordings.iter().enumerate() {
        progress.say(recording.path.display().to_string());
        match judge(recording) {
            Ok(of_file) => {
                write(&args.out, recording, &of_file)?;
                said.push((recording, of_file));
            }
            Err(error) => unusable.say(&format!("{}: {error:#}", recording.path.display())),
        }
        progress.set(u64::try_from(i + 1).unwrap_or(u64::MAX));
    }
    progress.finish();
    let pairs = |of: fn(&Said) -> &[bool]| -> Vec<(&Recording, &[bool])> {
        said.iter()
            .map(|(recording, said)| (*recording, of(said)))
            .collect()
    };
    let (mut of_rows, mut of_changes) = (pairs(|s| &s.outlier), pairs(|s| &s.change));
    of_rows.retain(|(recording, _)| recording.labelled);
    of_changes.retain(|(recording, _)| recording.change_labelled);
    let rows = outliers(&of_rows);
    let metrics = Metrics {
        n_files: of_rows.len(),
        n_rows_judged: of_rows
            .iter()
            .map(|(r, _)| r.rows.len().saturating_sub(FIT_ROWS))
            .sum(),
        scores: (!of_rows.is_empty()).then(|| OfRows {
            f1: rows.f1(),
            false_alarm_rate: rows.false_alarm_rate(),
            missed_alarm_rate: rows.missed_alarm_rate(),
            rows,
        }),
        files_without_change_labels: of_rows
            .iter()
            .filter(|(recording, _)| !recording.change_labelled)
            .map(|(recording, _)| recording.path.display().to_string())
            .collect(),
        change_points: change_points(&of_changes),
        change_point_scores: CHANGE_WINDOWS_S
            .iter()
            .filter_map(|window_s| change_scores(&of_changes, *window_s))
            .collect(),
        files_without_known_anomaly: said
            .iter()
            .filter_map(|(recording, said)| quiet(recording, said))
            .collect(),
        files_unusable: unusable.count(),
    };
    print(&metrics);
    metrics::write(&args.out, &metrics)?;
    println!("written to {}", args.out.display());
    unusable.end()
}

#[allow(clippy::cast_precision_loss, reason = "there are fewer than 2^53 rows")]
fn quiet(recording: &Recording, said: &Said) -> Option<Quiet> {
    if recording.rows.iter().any(|row| row.anomaly) {
        return None;
    }
    let judged = said.outlier.get(FIT_ROWS..).unwrap_or_default();
    let n_flagged = judged.iter().filter(|flagged| **flagged).count();
    Some(Quiet {
        file: recording.path.display().to_string(),
        labelled: recording.labelled,
        n_rows_judged: judged.len(),
        n_rows_flagged: n_flagged,
        flagged_rate: n_flagged as f64 / (judged.len() as f64).max(1.0),
    })
}

fn print(metrics: &Metrics) {
    match &metrics.scores {
        Some(scores) => println!(
            "{} files, {} rows judged: F1 {:.3}, false alarms {:.1} %, missed {:.1} %",
            metrics.n_files,
            metrics.n_rows_judged,
            scores.f1,
            100.0 * scores.false_alarm_rate,
            100.0 * scores.missed_alarm_rate
        ),
        None => println!("no file has labels: predictions are written, nothing is scored"),
    }
    if !metrics.files_without_change_labels.is_empty() {
        println!(
            "without a column \"changepoint\", and not in the scores of change points: {}",
            metrics.files_without_change_labels.join(", ")
        );
    }
    let c = &metrics.change_points;
    if c.n_true > 0 {
        println!(
            "change points: {} of {} met within 60 s; {} of {} predictions meet none",
            c.n_met, c.n_true, c.n_false, c.n_predicted
        );
    }
    for s in &metrics.change_point_scores {
        println!(
            "change points by the benchmark's score, windows of {} s: standard {:.2}, low FP {:.2}, low FN {:.2}",
            s.window_s, s.standard, s.low_fp, s.low_fn
        );
    }
    for file in &metrics.files_without_known_anomaly {
        println!(
            "{}: {} of {} rows flagged ({:.1} %; {})",
            file.file,
            file.n_rows_flagged,
            file.n_rows_judged,
            100.0 * file.flagged_rate,
            if file.labelled {
                "all of them false alarms"
            } else {
                "without labels: the false-alarm rate if nothing is wrong in it"
            }
        );
    }
}

/// Evidence row by row, told before the next one is seen; nothing is told of the first rows.
fn judge(recording: &Recording) -> Result<Said> {
    let class = class::of_columns("water-loop", &recording.sensors, SAMPLE_INTERVAL_S)?;
    let class = ClassDetector::new(&class, &settings())?;
    let mut device = DeviceDetector::new(&class);
    let n = recording.rows.len();
    let mut said = Said {
        outlier: Vec::with_capacity(n),
        change: Vec::with_capacity(n),
    };
    let (mut state, mut since) = (false, CHANGE_ROWS);
    for (i, row) in recording.rows.iter().enumerate() {
        let values: Vec<Option<f64>> = row.values.iter().map(|&v| Some(v)).collect();
        let scored = device.step(&class, row.ts, &values);
        let outlier = i >= FIT_ROWS && !scored.evidence.is_empty();
        let change = outlier != state && since >= CHANGE_ROWS;
        if change {
            state = outlier;
            since = 0;
        }
        since += 1;
        said.outlier.push(outlier);
        said.change.push(change);
    }
    Ok(said)
}

fn write(out: &Path, recording: &Recording, said: &Said) -> Result<()> {
    let path = out.join(&recording.path);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let failed = || format!("cannot write {}", path.display());
    let mut writer = csv::Writer::from_path(&path).with_context(failed)?;
    writer
        .write_record(["datetime", "outlier", "changepoint"])
        .with_context(failed)?;
    let flag = |is: bool| if is { "1" } else { "0" };
    for ((row, &outlier), &change) in recording.rows.iter().zip(&said.outlier).zip(&said.change) {
        writer
            .write_record([row.time.as_str(), flag(outlier), flag(change)])
            .with_context(failed)?;
    }
    writer.flush().with_context(failed)
}
