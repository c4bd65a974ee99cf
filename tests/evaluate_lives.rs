//! `forecare evaluate cmapss` and `femto` on small files of the benchmarks' shape.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking"
)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{forecare, run};

/// Noise that looks like noise and is the same each time, -0.5 to 0.5.
fn noise(i: usize) -> f64 {
    let x = (i as f64 * 12.989_8).sin() * 43_758.545;
    x - x.floor() - 0.5
}

/// Runs an evaluation; whether it ended well, and all that it said.
fn evaluate(benchmark: &str, data: &Path, out: &Path, more: &[&str]) -> (bool, String) {
    let (ok, stdout, stderr) = run(forecare()
        .args(["evaluate", benchmark, "--data"])
        .arg(data)
        .arg("--out")
        .arg(out)
        .args(more));
    (ok, stdout + &stderr)
}

fn metrics(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("metrics.json")).unwrap()).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Turbofans that wear: two sensors rise ever faster towards the failure. `lives` in cycles, each followed for `seen`.
fn engines(lives: &[(usize, usize)]) -> String {
    let mut text = String::new();
    for (unit, (life, seen)) in lives.iter().enumerate() {
        for cycle in 1..=*seen {
            let wear = (cycle as f64 / *life as f64).powi(3);
            write!(text, "{} {cycle} 0.0 0.0 100.0", unit + 1).unwrap();
            for sensor in 0..21 {
                let n = noise(unit * 1_009 + cycle * 31 + sensor);
                let value = match sensor {
                    3 => 600.0 + 20.0 * wear + n,
                    8 => 9_000.0 + 90.0 * wear + 5.0 * n,
                    _ => 100.0 + n,
                };
                write!(text, " {value:.4}").unwrap();
            }
            text.push('\n');
        }
    }
    text
}

/// A dozen engines that ran to failure.
fn ran_to_failure() -> String {
    let lives: Vec<(usize, usize)> = (0..12).map(|i| (110 + 7 * i, 110 + 7 * i)).collect();
    engines(&lives)
}

/// Three that did not: with 15, 60 and 120 cycles left.
const CUT: [(usize, usize); 3] = [(150, 135), (160, 100), (180, 60)];
const LEFT: &str = "15\n60\n120\n";

#[test]
fn engines_are_estimated_and_scored_from_what_lies_there() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("train_X1.txt"), ran_to_failure()).unwrap();
    fs::write(data.join("test_X1.txt"), engines(&CUT)).unwrap();
    fs::write(data.join("RUL_X1.txt"), LEFT).unwrap();
    let (ok, said) = evaluate("cmapss", &data, &out, &[]);
    assert!(ok && said.contains("test (3 engines)"), "{said}");
    let found = metrics(&out);
    let rmse = found["X1"]["test"]["rmse_capped"].as_f64().unwrap();
    assert!(rmse < 25.0, "{found:#}");
    assert_eq!(found["X1"]["cross_validation"]["n_machines"], 12);
    let rul: Vec<f64> = lines(&out.join("X1_rul.txt"))
        .iter()
        .map(|l| l.parse().unwrap())
        .collect();
    assert_eq!(rul.len(), 3);
    assert!(rul[0] < rul[1] && rul[1] < rul[2], "{rul:?}");
    let predictions = lines(&out.join("X1_predictions.csv"));
    assert_eq!(
        (predictions.len(), predictions[0].as_str()),
        (4, "unit,p10,p50,p90")
    );
    assert!(lines(&out.join("X1_cross_validation.csv")).len() > 1_000);
}

#[test]
fn test_engines_alone_are_learnt_for_elsewhere_or_told_by_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("tests")).unwrap();
    fs::create_dir_all(at("training")).unwrap();
    fs::write(at("training/train_X1.txt"), ran_to_failure()).unwrap();
    fs::write(at("tests/test_X1.txt"), engines(&CUT)).unwrap();
    fs::write(at("tests/RUL_X1.txt"), LEFT).unwrap();
    let training = at("training").display().to_string();
    let (ok, said) = evaluate(
        "cmapss",
        &at("tests"),
        &at("a"),
        &["--learn-data", &training],
    );
    assert!(ok, "{said}");
    let by_training = metrics(&at("a"))["X1"]["test"]["rmse"].as_f64().unwrap();
    assert!(by_training < 25.0, "{said}");

    // The model that is learnt from the same engines tells the same.
    let model = at("model.json");
    let (ok, _, err) = run(forecare()
        .args(["train", "cmapss", "--data", &training, "--out"])
        .arg(&model));
    assert!(ok, "{err}");
    let model = model.display().to_string();
    let (ok, said) = evaluate("cmapss", &at("tests"), &at("b"), &["--model", &model]);
    assert!(ok, "{said}");
    assert_eq!(
        metrics(&at("b"))["X1"]["test"]["rmse"].as_f64(),
        Some(by_training)
    );
    assert_eq!(
        lines(&at("a").join("X1_rul.txt")),
        lines(&at("b").join("X1_rul.txt"))
    );

    let nowhere = at("nowhere").display().to_string();
    let (ok, said) = evaluate(
        "cmapss",
        &at("tests"),
        &at("d"),
        &["--learn-data", &nowhere],
    );
    assert!(
        !ok && said.contains("nowhere") && said.contains("--learn-data"),
        "{said}"
    );

    // Without either the model that ships speaks; its engines are others, so nothing is asked of it but an answer.
    let (ok, said) = evaluate("cmapss", &at("tests"), &at("c"), &[]);
    assert!(ok && said.contains("the model that ships"), "{said}");
    assert_eq!(lines(&at("c").join("X1_rul.txt")).len(), 3);
}

#[test]
fn engines_without_a_truth_that_fits_are_estimated_and_not_scored() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    fs::create_dir_all(&data).unwrap();
    // One without truth, one with too many lines, one with a truth that is none, one that is broken.
    for name in ["A", "B", "C"] {
        fs::write(data.join(format!("test_{name}.txt")), engines(&CUT)).unwrap();
    }
    fs::write(data.join("RUL_B.txt"), "15\n60\n120\n7\n").unwrap();
    let (ok, said) = evaluate("cmapss", &data, &out, &[]);
    assert!(ok, "{said}");
    assert!(said.contains("there is no RUL_A.txt"), "{said}");
    assert!(
        said.contains("RUL_B.txt has 4 lines for 3 engines"),
        "{said}"
    );

    fs::write(data.join("RUL_C.txt"), "15\nsoon\n120\n").unwrap();
    fs::write(data.join("test_D.txt"), "1 1 2\n").unwrap();
    let (ok, said) = evaluate("cmapss", &data, &out, &[]);
    assert!(!ok, "the exit code tells that something was left out");
    assert!(
        said.contains("RUL_C.txt, line 2") && said.contains("test_D.txt, line 1"),
        "{said}"
    );
    for name in ["A", "B", "C"] {
        assert_eq!(lines(&out.join(format!("{name}_rul.txt"))).len(), 3);
        assert!(metrics(&out)[name].get("test").is_none());
    }

    // Training engines that are too few, or broken: told, and the test engines are estimated by the model that ships.
    fs::remove_file(data.join("test_D.txt")).unwrap();
    fs::remove_file(data.join("RUL_C.txt")).unwrap();
    fs::write(data.join("train_A.txt"), engines(&CUT[..1])).unwrap();
    fs::write(data.join("train_B.txt"), "1 1 2\n").unwrap();
    let out = dir.path().join("more");
    let (ok, said) = evaluate("cmapss", &data, &out, &[]);
    assert!(!ok && said.contains("2 file(s)"), "{said}");
    assert!(
        said.contains("cannot learn from train_A.txt") && said.contains("train_B.txt, line 1"),
        "{said}"
    );
    for name in ["A", "B", "C"] {
        assert_eq!(lines(&out.join(format!("{name}_rul.txt"))).len(), 3);
    }
}

/// Bearings whose vibration grows towards the failure: a line per snapshot; `from`..=`to` of a life.
fn bearings(set: Option<&str>, of: &[(&str, u32, u32)]) -> String {
    let names = [
        "h_rms", "h_peak", "h_p2p", "h_kurt", "h_skew", "h_crest", "h_e0_1k", "h_e1_3k", "h_e3_6k",
        "h_e6_12k", "v_rms", "v_peak", "v_p2p", "v_kurt", "v_skew", "v_crest", "v_e0_1k",
        "v_e1_3k", "v_e3_6k", "v_e6_12k",
    ];
    let first = if set.is_some() { "set," } else { "" };
    let mut text = format!("{first}bearing,snapshot,{}\n", names.join(","));
    for (number, (bearing, life, to)) in of.iter().enumerate() {
        for snapshot in 1..=*to {
            if let Some(set) = set {
                write!(text, "{set},").unwrap();
            }
            write!(text, "{bearing},{snapshot}").unwrap();
            let wear = (f64::from(snapshot) / f64::from(*life)).powi(2);
            for column in 0..names.len() {
                let i = number * 7_001 + usize::try_from(snapshot).unwrap() * 23 + column;
                let grows = f64::from(u8::from(column % 10 < 3));
                write!(text, ",{:.4}", 1.0 + grows * wear + 0.1 * noise(i)).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

const RAN: [(&str, u32, u32); 5] = [
    ("a1", 300, 300),
    ("a2", 340, 340),
    ("a3", 360, 360),
    ("a4", 280, 280),
    ("a5", 320, 320),
];

#[test]
fn bearings_are_left_out_in_turn_and_tested_at_the_cut_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    fs::create_dir_all(&data).unwrap();
    fs::write(
        data.join("whatever.csv"),
        bearings(Some("Learning_set"), &RAN),
    )
    .unwrap();
    let tests = [("t1", 320, 320), ("t2", 320, 250), ("t3", 320, 200)];
    fs::write(
        data.join("more.csv"),
        bearings(Some("Full_test_set"), &tests),
    )
    .unwrap();
    // Of the first one 200 snapshots count; the second one is estimated at its last; the third one
    // ends before its cut.
    fs::write(
        data.join("truth.csv"),
        "bearing,cut_s,rul_s\nt1,2000,1200\nt2,,700\nt3,2600,600\n",
    )
    .unwrap();
    let (ok, said) = evaluate("femto", &data, &out, &[]);
    assert!(ok && said.contains("t3: its cut lies behind"), "{said}");
    assert_eq!(
        lines(&out.join("femto_leave_one_out.csv")).len(),
        1 + 5 * 11
    );
    let tested = lines(&out.join("femto_test.csv"));
    let cell = |line: usize, column: usize| tested[line].split(',').nth(column).unwrap().to_owned();
    assert_eq!(
        (cell(1, 1), cell(1, 5)),
        ("2000".to_owned(), "1200".to_owned())
    );
    assert_eq!(
        (cell(2, 1), cell(2, 5)),
        ("2500".to_owned(), "700".to_owned())
    );
    assert_eq!((cell(3, 1), cell(3, 5)), ("2000".to_owned(), String::new()));
    let found = metrics(&out);
    assert_eq!(found["test"]["n_estimates"], 2);
    assert_eq!(found["leave_one_out"]["n_estimates"], 55);
    let rmse = found["leave_one_out"]["rmse_seconds"].as_f64().unwrap();
    assert!(rmse < 800.0, "of lives of 3,000 s: {found:#}");
}

#[test]
fn test_bearings_alone_are_learnt_for_elsewhere_or_refused_with_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("tests")).unwrap();
    fs::create_dir_all(at("training")).unwrap();
    fs::write(
        at("tests/t.csv"),
        bearings(None, &[("t1", 320, 200), ("a1", 300, 200)]),
    )
    .unwrap();
    fs::write(at("training/l.csv"), bearings(None, &RAN)).unwrap();
    let (ok, said) = evaluate("femto", &at("tests"), &at("out"), &[]);
    assert!(!ok && said.contains("--learn-data"), "{said}");
    let training = at("training").display().to_string();
    let (ok, said) = evaluate(
        "femto",
        &at("tests"),
        &at("out"),
        &["--learn-data", &training],
    );
    assert!(ok && said.contains("test: 2 estimates, no truth"), "{said}");
    assert_eq!(lines(&at("out").join("femto_test.csv")).len(), 3);
    assert!(!at("out").join("femto_leave_one_out.csv").exists());
}
