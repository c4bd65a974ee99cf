//! The scores of the Skoltech benchmark on a case counted by hand, and its files in small.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use forecare_datasets::skab::{
    ChangePoints, FIT_ROWS, Skab, change_points, change_scores, outliers,
};

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
    Skab::load(dir, None).unwrap()
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

/// Of a file that holds a row per second, with change points and predictions at these seconds after the first 400.
fn scored(changes: &[usize], said: &[usize]) -> [f64; 3] {
    let dir = tempfile::tempdir().unwrap();
    let n = FIT_ROWS + 300;
    let mut text = String::from("datetime;a;anomaly;changepoint\n");
    for i in 0..n {
        let change = i
            .checked_sub(FIT_ROWS)
            .is_some_and(|j| changes.contains(&j));
        text += &format!(
            "2020-03-09 10:{:02}:{:02};1.0;0.0;{}.0\n",
            i / 60,
            i % 60,
            u8::from(change)
        );
    }
    fs::write(dir.path().join("x.csv"), text).unwrap();
    let skab = Skab::load(dir.path(), None).unwrap();
    let flags: Vec<bool> = (0..n)
        .map(|i| i.checked_sub(FIT_ROWS).is_some_and(|j| said.contains(&j)))
        .collect();
    let scores = change_scores(&[(&skab.recordings[0], &flags)], 60.0).unwrap();
    [scores.standard, scores.low_fp, scores.low_fn]
}

#[test]
fn the_score_of_change_points_is_that_computed_by_hand() {
    let near = |a: [f64; 3], b: [f64; 3]| {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 5e-3), "{a:?}");
    };
    near(scored(&[50, 200], &[]), [0.0; 3]);
    near(scored(&[50, 200], &[50, 200]), [100.0; 3]);
    // One of two missed, and one prediction outside: (1 - 1 - 0.11 + 2) / 4, (1 - 1 - 0.22 + 2) / 4,
    // (1 - 2 - 0.11 + 4) / 6.
    near(scored(&[50, 200], &[50, 130]), [47.25, 44.5, 48.167]);
    // Half way, step 500 of 999: x = pi / 1998, tanh(x) / tanh(pi/2) = 0.001714, so 0.555 * 0.998286 - 0.11 =
    // 0.444049; low-FP 0.61 * 0.998286 - 0.22 = 0.388954.
    near(
        scored(&[50], &[80]),
        [72.2024, 69.4477, (0.444_049 + 2.0) / 3.0 * 100.0],
    );
    // At the end of the window it is worth what a false one costs.
    near(scored(&[50], &[110]), [44.5, 39.0, 63.0]);
    // 30 s apart: the second window begins where the first one ends, so the prediction at its change point is the
    // first one's alone, half way; and one at 110 s is at the end of the one and the beginning of the other.
    near(
        scored(&[50, 80], &[80]),
        [
            (0.444_049 - 1.0 + 2.0) / 4.0 * 100.0,
            34.7239,
            (0.444_049 - 2.0 + 4.0) / 6.0 * 100.0,
        ],
    );
    let [standard, ..] = scored(&[50, 80], &[110]);
    assert!((standard - 72.25).abs() < 5e-3, "{standard}");
}

#[test]
fn a_bad_file_is_named_a_foreign_one_passed_over_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let error = Skab::load(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("no CSV file"), "{error}");
    fs::write(dir.path().join("leaderboard.csv"), "time;a\n1;2\n").unwrap();
    let error = Skab::load(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("no CSV file"), "{error}");
    // As deep as in the benchmark's repository; results of an earlier run and hidden directories are left alone.
    load(&dir.path().join("repo/data"));
    fs::create_dir_all(dir.path().join("out/valve9")).unwrap();
    fs::write(dir.path().join("out/valve9/0.csv"), text(true)).unwrap();
    fs::create_dir_all(dir.path().join(".git")).unwrap();
    fs::write(dir.path().join(".git/x.csv"), text(true)).unwrap();
    let wrong = [
        ("wet", "line 2: column \"a\": \"wet\" is no number"),
        ("", "line 2: column \"a\": \"\" is no number"),
        ("NaN", "line 2: column \"a\": \"NaN\" is no number"),
    ];
    for (cell, why) in wrong {
        let line = format!("datetime;a\n2020-03-09 10:14:33;{cell}\n");
        fs::write(dir.path().join("x.csv"), line).unwrap();
        let skab = Skab::load(dir.path(), Some(&dir.path().join("out"))).unwrap();
        let paths: Vec<_> = skab.recordings.iter().map(|r| r.path.clone()).collect();
        assert_eq!(
            paths,
            [
                Path::new("repo/data/quiet/q.csv"),
                Path::new("repo/data/valve9/0.csv")
            ]
        );
        assert_eq!(skab.foreign, [dir.path().join("leaderboard.csv")]);
        let said = skab.faults[0].to_string();
        assert!(said.contains("x.csv") && said.contains(why), "{said}");
    }
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
    let skab = Skab::load(&dir, None).unwrap();
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
