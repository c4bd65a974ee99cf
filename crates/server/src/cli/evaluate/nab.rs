//! Numenta Anomaly Benchmark: every file is a device of one metric that reports row by row.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use forecare_datasets::nab::{
    Nab, NabError, Outcome, Profile, Scores, Series, Window, optimise, outcome,
};
use forecare_detect::{ClassDetector, DetectSettings, DeviceDetector};
use serde::Serialize;

use super::{EvaluateArgs, Unusable, class, did_you_mean, metrics};
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
    /// Files with predictions.
    n_files: usize,
    n_rows: usize,
    /// Of these, files with labels: the scores are of them alone.
    n_files_scored: usize,
    files_without_labels: Vec<String>,
    files_unusable: usize,
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
    args.check()?;
    let nab = match Nab::load(&args.data) {
        Err(error @ NabError::Empty { .. }) => {
            let meant = did_you_mean(&args.data, Nab::is_in);
            bail!("{error}{meant}");
        }
        loaded => loaded?,
    };
    let mut unusable = Unusable::default();
    for fault in &nab.faults {
        unusable.tell(fault);
    }
    let results = args.out.join("results").join(NAME);
    let n_rows: usize = nab.series.iter().map(|s| s.rows.len()).sum();
    let progress = Progress::bar(u64::try_from(n_rows).unwrap_or(u64::MAX), "rows");
    let mut done = 0;
    let mut scores: Vec<(&Series, Vec<f64>)> = Vec::with_capacity(nab.series.len());
    for series in &nab.series {
        progress.say(name_of(series));
        match score(series) {
            Ok(of_file) => {
                write(&results, series, &of_file)?;
                scores.push((series, of_file));
            }
            Err(error) => unusable.say(&format!("{}: {error:#}", name_of(series))),
        }
        done += series.rows.len();
        progress.set(u64::try_from(done).unwrap_or(u64::MAX));
    }
    progress.finish();
    let files: Vec<Scores<'_>> = scores
        .iter()
        .map(|(series, scores)| Scores { series, scores })
        .collect();
    let labelled = |is: bool| move |s: &&Series| s.windows.is_some() == is;
    let predicted = || scores.iter().map(|(series, _)| *series);
    let without: Vec<String> = predicted().filter(labelled(false)).map(name_of).collect();
    let n_files_scored = predicted().filter(labelled(true)).count();
    let of_profile = |profile: &Profile| OfProfile {
        profile: profile.name.clone(),
        optimised: optimise(&files, profile),
        at_own_threshold: outcome(&files, profile, 0.5),
    };
    let metrics = Metrics {
        n_files: files.len(),
        n_rows: predicted().map(|series| series.rows.len()).sum(),
        n_files_scored,
        files_without_labels: without,
        files_unusable: unusable.count(),
        profiles: match n_files_scored {
            0 => Vec::new(),
            _ => nab.profiles.values().map(of_profile).collect(),
        },
    };
    print(&metrics, &nab);
    metrics::write(&args.out, &metrics)?;
    println!("written to {}", args.out.display());
    unusable.end()
}

/// `realTraffic/speed_6005.csv`.
fn name_of(series: &Series) -> String {
    format!("{}/{}", series.category, series.file)
}

/// How new each row is, told before the next one is seen. The sampling interval is that of the rows of the warm-up,
/// during which the detector is silent: nothing is said of a row by what comes after it.
fn score(series: &Series) -> Result<Vec<f64>> {
    let columns = ["value".to_owned()];
    let settings = settings();
    let warm_up = usize::try_from(settings.warm_up_samples)?;
    let class = class::of_columns("stream", &columns, series.interval_s(warm_up))?;
    let class = ClassDetector::new(&class, &settings)?;
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
        let within = |windows: &Vec<Window>| {
            let holds = |w: &Window| (w.first..=w.last).contains(&i);
            if windows.iter().any(holds) { "1" } else { "0" }
        };
        out.write_record([
            row.time.as_str(),
            &row.value.to_string(),
            &score.to_string(),
            // Empty where nobody has labelled the file.
            series.windows.as_ref().map_or("", within),
        ])
        .with_context(failed)?;
    }
    out.flush().with_context(failed)
}

fn print(metrics: &Metrics, nab: &Nab) {
    println!("{} files, {} rows", metrics.n_files, metrics.n_rows);
    if !metrics.files_without_labels.is_empty() {
        match &nab.labels {
            Some(labels) => println!(
                "{} of them not scored: {} has no usable entry for {}",
                metrics.files_without_labels.len(),
                labels.display(),
                metrics.files_without_labels.join(", ")
            ),
            None => println!(
                "none of them scored: there is no combined_windows.json with the true windows; predictions are written all the same"
            ),
        }
    }
    let outside = nab.series.iter().filter(|s| s.n_windows_without_rows > 0);
    for series in outside {
        println!(
            "{}: {} labelled window(s) in which it has no row do not count",
            name_of(series),
            series.n_windows_without_rows
        );
    }
    if metrics.profiles.is_empty() {
        return;
    }
    let categories: BTreeSet<&str> = nab.series.iter().map(|s| s.category.as_str()).collect();
    let has_window = |category: &&str| {
        let has = |s: &Series| s.windows.as_ref().is_none_or(|w| !w.is_empty());
        nab.series
            .iter()
            .any(|s| s.category == **category && has(s))
    };
    let quiet: Vec<&str> = categories.into_iter().filter(|c| !has_window(c)).collect();
    if !quiet.is_empty() {
        println!(
            "{}: no anomaly is labelled there, so that it has no score of its own; its false rows count in the scores of all files, and in no other category's",
            quiet.join(", ")
        );
    }
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
