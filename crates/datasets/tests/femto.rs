//! PRONOSTIA: a small table of the data set's shape, and the measure computed by hand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;

use forecare_datasets::femto::{Bearing, METRICS, PUBLISHED_CUTS, accuracy, load, percent_error};
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
    assert!(bearings[0].is_learning && !bearings[1].is_learning);
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
    for cut in PUBLISHED_CUTS {
        assert!((0.6..1.0).contains(&cut.share_of_life()), "{}", cut.bearing);
    }
}
