//! The score of the Numenta benchmark on cases computed by hand, and its files in small.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use forecare_datasets::nab::{
    Cost, NO_DETECTION, Nab, Profile, Row, Scores, Series, Window, optimise, outcome,
    probation_rows,
};
use forecare_domain::Timestamp;

fn profile(false_negative: f64, false_positive: f64) -> Profile {
    Profile {
        name: "by-hand".to_owned(),
        cost: Cost {
            true_positive: 1.0,
            false_negative,
            false_positive,
        },
    }
}

/// A file of `n` rows with windows.
fn series(n: usize, windows: &[(usize, usize)]) -> Series {
    let row = |i: usize| Row {
        time: String::new(),
        ts: Timestamp::from_millis(i64::try_from(i).unwrap() * 300_000),
        value: 0.0,
    };
    Series {
        category: "c".to_owned(),
        file: "f.csv".to_owned(),
        rows: (0..n).map(row).collect(),
        windows: Some(
            windows
                .iter()
                .map(|&(first, last)| Window { first, last })
                .collect(),
        ),
        n_windows_without_rows: 0,
    }
}

/// Scores that are 0 but at some rows.
fn scores(n: usize, at: &[(usize, f64)]) -> Vec<f64> {
    let mut scores = vec![0.0; n];
    for &(row, score) in at {
        scores[row] = score;
    }
    scores
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn a_window_counts_once_by_its_earliest_detection_and_false_ones_by_their_distance() {
    let file = series(30, &[(10, 13)]);
    let standard = profile(1.0, 0.11);
    let raw = |at: &[usize]| {
        let at: Vec<(usize, f64)> = at.iter().map(|&row| (row, 1.0)).collect();
        let scores = scores(30, &at);
        let files = [Scores {
            series: &file,
            scores: &scores,
        }];
        outcome(&files, &standard, 0.5).raw
    };
    assert!(near(raw(&[]), -1.0), "missed");
    assert!(near(raw(&[10]), 1.0), "at the beginning");
    // (2 / (1 + exp(-5/4)) - 1) / (2 / (1 + exp(-5)) - 1)
    assert!(near(raw(&[13]), 0.562_124), "at the end: {}", raw(&[13]));
    assert!(near(raw(&[10, 11, 13]), 1.0), "once");
    assert!(
        near(raw(&[5, 10]), 1.0 - 0.11),
        "before the first window: in full"
    );
    // 0.11 (2 / (1 + exp(5/3)) - 1)
    assert!(
        near(raw(&[10, 14]), 1.0 - 0.075_049),
        "just behind: {}",
        raw(&[10, 14])
    );
    assert!(
        near(raw(&[10, 23]), 1.0 - 0.11),
        "more than three windows behind: in full"
    );
    assert!(
        near(raw(&[3, 10]), 1.0),
        "row 3 lies in the probation of 4 rows"
    );
}

#[test]
fn the_best_threshold_over_all_files_is_found_and_scaled_between_null_and_perfect() {
    let (one, other) = (series(20, &[(10, 13)]), series(20, &[]));
    let of_one = scores(20, &[(5, 0.9), (13, 0.8), (14, 0.7)]);
    let of_other = scores(20, &[(12, 0.75)]);
    let files = [
        Scores {
            series: &one,
            scores: &of_one,
        },
        Scores {
            series: &other,
            scores: &of_other,
        },
    ];
    // -1; at 0.9 -1.11; at 0.8 0.5621 - 0.11; at 0.75 a row of the other file; at 0.7 row 14.
    let best = optimise(&files, &profile(1.0, 0.11));
    assert!(
        near(best.threshold, 0.8) && near(best.raw, 0.452_124),
        "{best:?}"
    );
    assert!(near(best.score / 100.0, 1.452_124 / 2.0), "{best:?}");
    assert_eq!((best.n_windows_detected, best.n_false_positives), (1, 1));
    let low_fn = optimise(&files, &profile(2.0, 0.11));
    assert!(near(low_fn.score / 100.0, 2.452_124 / 3.0), "{low_fn:?}");
    // Where false rows are dear, silence is best.
    let dear = optimise(&files, &profile(1.0, 2.0));
    assert!(
        near(dear.threshold, NO_DETECTION) && near(dear.score, 0.0),
        "{dear:?}"
    );
}

#[test]
fn rows_of_one_score_are_detected_together() {
    let file = series(20, &[(10, 13)]);
    let of_file = scores(20, &[(4, 0.6), (5, 0.6), (10, 0.6)]);
    let files = [Scores {
        series: &file,
        scores: &of_file,
    }];
    let best = optimise(&files, &profile(1.0, 0.11));
    assert!(near(best.raw, 1.0 - 0.22), "{best:?}");
}

#[test]
fn probation_is_fifteen_per_cent_and_at_most_750_rows() {
    assert_eq!([20, 4_032, 15_902].map(probation_rows), [3, 604, 750]);
}

fn write_files(dir: &Path) {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let mut text = String::from("timestamp,value\n");
    for hour in 0..24 {
        text += &format!("2014-04-01 {hour:02}:00:00,{hour}.5\n");
    }
    write("data/realSomething/a.csv", &text);
    write("data/artificial/b.csv", &text);
    write(
        "combined_windows.json",
        r#"{"realSomething/a.csv": [["2014-04-01 10:00:00.000000", "2014-04-01 12:00:00.000000"]],
            "artificial/b.csv": [], "elsewhere/not_here.csv": [["2014-04-01 10:00:00.000000", "2014-04-01 12:00:00.000000"]]}"#,
    );
    write(
        "profiles.json",
        r#"{"standard": {"CostMatrix": {"tpWeight": 1.0, "fnWeight": 1.0, "fpWeight": 0.11, "tnWeight": 1.0}}}"#,
    );
}

#[test]
fn any_part_of_the_benchmark_is_read_and_windows_of_absent_files_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let nab = Nab::load(dir.path()).unwrap();
    let names: Vec<&str> = nab.series.iter().map(|s| s.file.as_str()).collect();
    assert_eq!(names, ["b.csv", "a.csv"], "in order of category");
    assert_eq!(
        nab.series[1].windows,
        Some(vec![Window {
            first: 10,
            last: 12
        }])
    );
    assert_eq!(nab.series[1].rows[3].value, 3.5);
    assert_eq!(nab.series[1].interval_s(120), 3_600.0);
    assert_eq!(nab.profiles["standard"].cost.false_positive, 0.11);
}

#[test]
fn a_bad_file_is_named_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        Nab::load(dir.path())
            .unwrap_err()
            .to_string()
            .contains("no NAB file")
    );
    write_files(dir.path());
    for (text, why) in [
        ("timestamp,value\n", "no rows"),
        ("timestamp,value\nyesterday,1\n", "\"yesterday\" is no time"),
        (
            "timestamp,value\n2014-04-01 00:00:00,NaN\n",
            "no finite number",
        ),
        ("timestamp,value\n2014-04-01 00:00:00,\n", "not a CSV"),
        ("when,what\n2014-04-01 00:00:00,1\n", "not a CSV"),
    ] {
        fs::write(dir.path().join("data/artificial/c.csv"), text).unwrap();
        let nab = Nab::load(dir.path()).unwrap();
        assert_eq!((nab.series.len(), nab.faults.len()), (2, 1), "{text}");
        let said = nab.faults[0].to_string();
        assert!(
            said.contains("artificial/c.csv") && said.contains(why),
            "{said}"
        );
    }
}

#[test]
fn files_without_labels_are_read_and_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    fs::write(
        dir.path().join("combined_windows.json"),
        r#"{"artificial/b.csv": []}"#,
    )
    .unwrap();
    let nab = Nab::load(dir.path()).unwrap();
    assert_eq!(nab.series[0].windows, Some(Vec::new()));
    assert_eq!(nab.series[1].windows, None);
    // A category of another name: the only entry of the file's name counts.
    fs::create_dir(dir.path().join("alone")).unwrap();
    fs::copy(
        dir.path().join("data/artificial/b.csv"),
        dir.path().join("alone/b.csv"),
    )
    .unwrap();
    let alone = Nab::load(&dir.path().join("alone")).unwrap();
    assert_eq!(alone.series[0].windows, Some(Vec::new()));
    let scores = vec![1.0; 24];
    let files: Vec<Scores<'_>> = nab
        .series
        .iter()
        .map(|series| Scores {
            series,
            scores: &scores,
        })
        .collect();
    let all = outcome(&files, &nab.profiles["standard"], 0.5);
    // 24 rows less 3 of probation, of the labelled file alone.
    assert_eq!((all.n_false_positives, all.n_windows), (21, 0));

    // Broken labels are named; the rows are read all the same.
    fs::write(dir.path().join("combined_windows.json"), "[").unwrap();
    let nab = Nab::load(dir.path()).unwrap();
    assert!(nab.series.iter().all(|s| s.windows.is_none()));
    assert!(nab.faults[0].to_string().contains("combined_windows.json"));

    fs::remove_file(dir.path().join("combined_windows.json")).unwrap();
    fs::remove_file(dir.path().join("profiles.json")).unwrap();
    // The directory of the categories, and one category.
    let data = Nab::load(&dir.path().join("data")).unwrap();
    assert_eq!((data.series.len(), data.labels), (2, None));
    assert_eq!(data.profiles["reward_low_FN_rate"].cost.false_negative, 2.0);
    let one = Nab::load(&dir.path().join("data/artificial")).unwrap();
    assert_eq!(
        (one.series[0].category.as_str(), one.series[0].file.as_str()),
        ("artificial", "b.csv")
    );
}

#[test]
fn a_window_is_all_rows_of_its_span_whether_or_not_its_ends_are_rows() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let mut text = String::from("timestamp,value\n");
    // The hours 10 and 12 twice.
    for hour in [8, 9, 10, 10, 11, 12, 12, 13, 14] {
        text += &format!("2014-04-01 {hour:02}:00:00,1\n");
    }
    fs::write(dir.path().join("data/artificial/b.csv"), text).unwrap();
    let spans = |spans: &str| {
        let labels = format!(r#"{{"artificial/b.csv": [{spans}]}}"#);
        fs::write(dir.path().join("combined_windows.json"), labels).unwrap();
        let series = Nab::load(dir.path()).unwrap().series.remove(0);
        (series.windows.unwrap(), series.n_windows_without_rows)
    };
    let window = |first, last| Window { first, last };
    assert_eq!(
        spans(r#"["2014-04-01 10:00:00.000000", "2014-04-01 12:00:00.000000"]"#),
        (vec![window(2, 6)], 0)
    );
    assert_eq!(
        spans(r#"["2014-04-01 10:30:00", "2014-04-01 13:30:00"]"#),
        (vec![window(4, 7)], 0)
    );
    assert_eq!(
        spans(r#"["2014-04-02 10:30:00", "2014-04-02 13:30:00"]"#),
        (Vec::new(), 1)
    );
}

/// Where the real files may lie.
fn real() -> Option<PathBuf> {
    let dir = std::env::var_os("FORECARE_DATASETS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    Some(dir.join("nab")).filter(|d| d.join("data").is_dir())
}

#[test]
fn every_window_of_the_real_files_is_found_where_they_are_there() {
    let Some(dir) = real() else { return };
    let nab = Nab::load(&dir).unwrap();
    for series in &nab.series {
        let scores = vec![0.0; series.rows.len()];
        let files = [Scores {
            series,
            scores: &scores,
        }];
        let silent = outcome(&files, &nab.profiles["standard"], 0.5);
        let windows = series.windows.as_ref().unwrap();
        assert_eq!(silent.n_windows, windows.len());
        assert!(near(silent.score, 0.0));
        let probation = probation_rows(series.rows.len());
        assert!(
            windows.iter().all(|w| w.last >= probation),
            "{}",
            series.file
        );
    }
}
