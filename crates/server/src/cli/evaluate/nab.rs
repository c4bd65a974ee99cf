//! Numenta Anomaly Benchmark: every file is a device of one metric that reports row by row.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use forecare_datasets::nab::{Nab, Outcome, Scores, Series, optimise, outcome};
use forecare_detect::{ClassDetector, DetectSettings, DeviceDetector};
use serde::Serialize;

use super::{EvaluateArgs, class, metrics};
use crate::cli::progress::Progress;

/// The settings, for every file: the defaults of `serve`, but for the false alarms. So many a month and
/// stream are worth one early detection to the benchmark's standard profile; it only moves where 0.5 stands,
/// for the benchmark chooses its own threshold.
fn settings() -> DetectSettings {
    DetectSettings {
        false_alarms_per_device_month: 5.0,
        ..DetectSettings::default()
    }
}

/// Name of the detector, as the benchmark's paths have it.
const NAME: &str = "forecare";

#[derive(Serialize)]
struct Metrics {
    n_files: usize,
    n_rows: usize,
    profiles: Vec<OfProfile>,
}

#[derive(Serialize)]
struct OfProfile {
    profile: String,
    /// At the threshold that is best over all files: the benchmark's score.
    optimised: Outcome,
    /// At 0.5, the detector's own threshold.
    at_own_threshold: Outcome,
}

pub(super) fn run(args: &EvaluateArgs) -> Result<()> {
    let nab = Nab::load(&args.data)?;
    let results = args.out.join("results").join(NAME);
    let n_rows = nab.series.iter().map(|s| s.rows.len()).sum();
    let progress = Progress::bar(u64::try_from(n_rows).unwrap_or(u64::MAX), "rows");
    let mut done = 0;
    let mut scores = Vec::with_capacity(nab.series.len());
    for series in &nab.series {
        progress.say(format!("{}/{}", series.category, series.file));
        let of_file = score(series)?;
        write(&results, series, &of_file)?;
        scores.push(of_file);
        done += series.rows.len();
        progress.set(u64::try_from(done).unwrap_or(u64::MAX));
    }
    progress.finish();
    let files: Vec<Scores<'_>> = nab
        .series
        .iter()
        .zip(&scores)
        .map(|(series, scores)| Scores { series, scores })
        .collect();
    let metrics = Metrics {
        n_files: files.len(),
        n_rows,
        profiles: nab
            .profiles
            .values()
            .map(|profile| OfProfile {
                profile: profile.name.clone(),
                optimised: optimise(&files, profile),
                at_own_threshold: outcome(&files, profile, 0.5),
            })
            .collect(),
    };
    print(&metrics);
    metrics::write(&args.out, &metrics)
}

/// How new each row is, told before the next one is seen.
fn score(series: &Series) -> Result<Vec<f64>> {
    let columns = ["value".to_owned()];
    let class = class::of_columns("stream", &columns, series.interval_s())?;
    let class = ClassDetector::new(&class, &settings())?;
    let mut device = DeviceDetector::new(&class);
    Ok(series
        .rows
        .iter()
        .map(|row| device.step(&class, row.ts, &[Some(row.value)]).novelty)
        .collect())
}

fn write(results: &Path, series: &Series, scores: &[f64]) -> Result<()> {
    let dir = results.join(&series.category);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(format!("{NAME}_{}", series.file));
    let failed = || format!("cannot write {}", path.display());
    let mut out = csv::Writer::from_path(&path).with_context(failed)?;
    out.write_record(["timestamp", "value", "anomaly_score", "label"])
        .with_context(failed)?;
    for (i, (row, score)) in series.rows.iter().zip(scores).enumerate() {
        let within = series
            .windows
            .iter()
            .any(|w| (w.first..=w.last).contains(&i));
        out.write_record([
            row.time.as_str(),
            &row.value.to_string(),
            &score.to_string(),
            if within { "1" } else { "0" },
        ])
        .with_context(failed)?;
    }
    out.flush().with_context(failed)
}

fn print(metrics: &Metrics) {
    println!("{} files, {} rows", metrics.n_files, metrics.n_rows);
    println!(
        "{:<20} {:>6} {:>10} {:>9} {:>11} {:>10}",
        "profile", "score", "threshold", "windows", "false rows", "at 0.5"
    );
    for p in &metrics.profiles {
        let o = &p.optimised;
        println!(
            "{:<20} {:>6.1} {:>10.4} {:>9} {:>11} {:>10.1}",
            p.profile,
            o.score,
            o.threshold,
            format!("{}/{}", o.n_windows_detected, o.n_windows),
            o.n_false_positives,
            p.at_own_threshold.score
        );
    }
}
