//! PRONOSTIA: a small table of the data set's shape, and the measure computed by hand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;

use forecare_datasets::femto::{
    Bearing, CUT_SHARES, METRICS, Truth, accuracy, load, load_directory, percent_error,
};
use forecare_prognosis::HistoryItem;

fn table(rows: &[(&str, &str, &str)]) -> String {
    let mut text = format!("extra,snapshot,bearing,set,{}\n", METRICS.join(","));
    for (set, bearing, snapshot) in rows {
        let values: Vec<String> = (0..METRICS.len()).map(|i| format!("{i}.5")).collect();
        text += &format!("x,{snapshot},{bearing},{set},{}\n", values.join(","));
    }
    text
}

#[test]
fn bearings_come_with_their_snapshots_ten_seconds_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let rows = [
        ("Test_set", "Bearing1_3", "1"),
        ("Learning_set", "Bearing1_1", "2"),
        ("Learning_set", "Bearing1_1", "1"),
        ("Learning_set", "Bearing1_1", "4"),
    ];
    fs::write(&path, table(&rows)).unwrap();
    let bearings = load(&path).unwrap();
    assert_eq!(bearings.len(), 2);
    assert_eq!(bearings[0].name, "Bearing1_1");
    assert_eq!(bearings[0].is_learning, Some(true));
    assert_eq!(bearings[1].is_learning, Some(false));
    let numbers: Vec<u32> = bearings[0].snapshots.iter().map(|s| s.0).collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(bearings[0].snapshots[0].1[19], 19.5);
    assert_eq!(bearings[0].life_seconds(), 30.0);
    let history = bearings[0].history("wear").unwrap();
    assert!(
        matches!(&history.items[3], HistoryItem::Failure { ts, .. } if *ts == Bearing::ts(4)),
        "the last snapshot is the failure"
    );

    fs::write(&path, table(&[("Test_set", "b", "x")])).unwrap();
    let refused = load(&path).unwrap_err().to_string();
    assert!(
        refused.ends_with("line 2: \"x\" in column snapshot is no number"),
        "{refused}"
    );
    fs::write(&path, "set,bearing\n").unwrap();
    assert!(
        load(&path)
            .unwrap_err()
            .to_string()
            .ends_with("has no column \"snapshot\"")
    );
}

#[test]
fn five_per_cent_late_costs_as_much_as_twenty_per_cent_early() {
    // 950 of 1,000 s: 5 % early, 2^(-1/4); 1,050: 5 % late, one half.
    assert_eq!(percent_error(950.0, 1_000.0), 5.0);
    assert!((accuracy(percent_error(950.0, 1_000.0)) - 0.840_896).abs() < 1e-6);
    assert!((accuracy(percent_error(800.0, 1_000.0)) - 0.5).abs() < 1e-12);
    assert!((accuracy(percent_error(1_050.0, 1_000.0)) - 0.5).abs() < 1e-12);
    assert_eq!(accuracy(0.0), 1.0);
}

#[test]
fn published_cuts_lie_late_in_life() {
    for share in CUT_SHARES {
        assert!((0.6..1.0).contains(&share), "{share}");
    }
}

#[test]
fn tables_are_known_by_their_columns_and_not_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let whole = table(&[("Learning_set", "b1", "1"), ("Test_set", "b7", "1")]);
    write("anything.csv", &whole);
    // A bearing goes on in another file, where nothing is said of sets.
    let more = table(&[("", "b7", "3"), ("", "b7", "2"), ("", "b7", "1")]);
    write("more.csv", &more.replacen(",set,", ",group,", 1));
    write("answers.csv", "bearing,rul_s,cut_s\nb7,5730, 20\nb9,,\n");
    // The cut of another, and what it had left, in two tables; and estimates, which are no truth.
    write("b_cut.csv", "bearing,cut_s\nb8,30\n");
    write("b_left.csv", "bearing,rul_s\nb8,700\n");
    write("estimates.csv", "bearing,cut_s,rul_p50_s\nb7,10,5\n");
    write("notes.csv", "a,b\n1,2\n");
    write("broken.csv", "bearing,snapshot\nb1,1\n");
    write("wrong.csv", "bearing,rul_s\nb1,soon\n");
    let femto = load_directory(dir.path()).unwrap();
    let counts: Vec<(&str, Option<bool>, usize)> = femto
        .bearings
        .iter()
        .map(|b| (b.name.as_str(), b.is_learning, b.snapshots.len()))
        .collect();
    assert_eq!(counts, [("b1", Some(true), 1), ("b7", Some(false), 3)]);
    let truth = |bearing: &str, cut_s, rul_s| Truth {
        bearing: bearing.to_owned(),
        cut_s,
        rul_s,
    };
    assert_eq!(
        femto.truths,
        [
            truth("b7", Some(20.0), Some(5_730.0)),
            truth("b9", None, None),
            truth("b8", Some(30.0), Some(700.0))
        ]
    );
    let passed_over = ["estimates.csv", "notes.csv"].map(|name| dir.path().join(name));
    assert_eq!(femto.passed_over, passed_over);
    let faults: Vec<String> = femto.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("broken.csv has no column"), "{faults:?}");
    assert!(
        faults[1].contains("wrong.csv, line 2: \"soon\""),
        "{faults:?}"
    );
}
