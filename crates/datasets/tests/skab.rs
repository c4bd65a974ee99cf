//! The scores of the Skoltech benchmark on a case counted by hand, and its files in small.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use forecare_datasets::skab::{ChangePoints, FIT_ROWS, Skab, change_points, outliers};

/// 400 rows to learn from, then ten: the fault is in rows 3 to 6 of them.
fn text(with_labels: bool) -> String {
    let mut text = String::from("datetime;Pressure;Volume Flow RateRMS");
    text += if with_labels {
        ";anomaly;changepoint\n"
    } else {
        "\n"
    };
    for i in 0..FIT_ROWS + 10 {
        text += &format!("2020-03-09 10:{:02}:{:02};0.5;32.0", i / 60, i % 60);
        let (anomaly, change) = match i.checked_sub(FIT_ROWS) {
            Some(3) => ("1.0", "1.0"),
            Some(4..=6) => ("1.0", "0.0"),
            Some(7) => ("0.0", "1.0"),
            // A label in the rows to learn from must not count.
            None if i == 5 => ("1.0", "1.0"),
            Some(_) | None => ("0.0", "0.0"),
        };
        if with_labels {
            text += &format!(";{anomaly};{change}");
        }
        text.push('\n');
    }
    text
}

fn load(dir: &Path) -> Skab {
    fs::create_dir_all(dir.join("valve9")).unwrap();
    fs::create_dir_all(dir.join("quiet")).unwrap();
    fs::write(dir.join("valve9/0.csv"), text(true)).unwrap();
    fs::write(dir.join("quiet/q.csv"), text(false)).unwrap();
    Skab::load(dir).unwrap()
}

#[test]
fn columns_are_found_by_name_and_files_without_labels_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let skab = load(dir.path());
    let [quiet, valve] = skab.recordings.as_slice() else {
        unreachable!("two files")
    };
    assert_eq!((quiet.labelled, valve.labelled), (false, true));
    assert_eq!(valve.path, Path::new("valve9/0.csv"));
    assert_eq!(valve.sensors, ["Pressure", "Volume Flow RateRMS"]);
    assert_eq!(valve.rows[0].values, [0.5, 32.0]);
    assert_eq!(valve.rows.iter().filter(|r| r.anomaly).count(), 5);
}

#[test]
fn only_labelled_rows_after_the_first_400_count() {
    let dir = tempfile::tempdir().unwrap();
    let skab = load(dir.path());
    let mut said = vec![false; FIT_ROWS + 10];
    for i in [5, FIT_ROWS + 2, FIT_ROWS + 3, FIT_ROWS + 4, FIT_ROWS + 5] {
        said[i] = true;
    }
    let files: Vec<_> = skab
        .recordings
        .iter()
        .map(|r| (r, said.as_slice()))
        .collect();
    let counts = outliers(&files);
    assert_eq!(
        (
            counts.true_positives,
            counts.false_positives,
            counts.false_negatives,
            counts.true_negatives
        ),
        (3, 1, 1, 5)
    );
    // 2 * 3 / (2 * 3 + 1 + 1), 1 of 6, 1 of 4
    assert_eq!(counts.f1(), 0.75);
    assert_eq!(counts.false_alarm_rate(), 1.0 / 6.0);
    assert_eq!(counts.missed_alarm_rate(), 0.25);
}

#[test]
fn a_change_point_is_met_within_a_minute_after_it_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let skab = load(dir.path());
    let mut said = vec![false; FIT_ROWS + 10];
    // Before both; at the first; nothing after the second.
    said[FIT_ROWS + 1] = true;
    said[FIT_ROWS + 3] = true;
    let files: Vec<_> = skab
        .recordings
        .iter()
        .map(|r| (r, said.as_slice()))
        .collect();
    let counts = change_points(&files);
    assert_eq!(
        counts,
        ChangePoints {
            n_true: 2,
            n_met: 1,
            n_predicted: 2,
            n_false: 1
        }
    );
}

#[test]
fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = || Skab::load(dir.path()).unwrap_err().to_string();
    assert!(error().contains("no CSV file"));
    fs::write(dir.path().join("x.csv"), "time;a\n1;2\n").unwrap();
    assert!(
        error().contains("no column \"datetime\" among: time, a"),
        "{}",
        error()
    );
    fs::write(
        dir.path().join("x.csv"),
        "datetime;a\n2020-03-09 10:14:33;wet\n",
    )
    .unwrap();
    assert!(
        error().contains("line 2: column \"a\": \"wet\" is no number"),
        "{}",
        error()
    );
}

#[test]
fn the_real_files_are_read_where_they_are_there() {
    let dir = std::env::var_os("FORECARE_DATASETS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let dir = dir.join("skab");
    if !dir.is_dir() {
        return;
    }
    let skab = Skab::load(&dir).unwrap();
    assert!(
        skab.recordings
            .iter()
            .all(|r| r.sensors.len() == 8 && r.rows.len() > FIT_ROWS)
    );
    // Every row said to be anomalous: the F1 that any result is to be read beside.
    let all: Vec<Vec<bool>> = skab
        .recordings
        .iter()
        .map(|r| vec![true; r.rows.len()])
        .collect();
    let files: Vec<_> = skab
        .recordings
        .iter()
        .zip(all.iter().map(Vec::as_slice))
        .collect();
    let counts = outliers(&files);
    if counts.true_positives > 0 {
        assert!((0.4..0.9).contains(&counts.f1()), "{}", counts.f1());
        assert_eq!(counts.false_alarm_rate(), 1.0);
    }
}
