//! `forecare evaluate nab` and `skab` on small files of the benchmarks' shape.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::Path;

use support::{forecare, run};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// `2014-04-01 00:00:00` and so many minutes later.
fn time(minutes: usize) -> String {
    format!(
        "2014-04-{:02} {:02}:{:02}:00",
        1 + minutes / 1_440,
        minutes / 60 % 24,
        minutes % 60
    )
}

/// Noise that looks like noise and is the same each time.
fn noise(i: usize) -> f64 {
    let x = (i as f64 * 12.989_8).sin() * 43_758.545;
    x - x.floor() - 0.5
}

#[test]
fn nab_scores_what_lies_there_and_writes_what_the_benchmark_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("nab"), dir.path().join("out"));
    let mut text = String::from("timestamp,value\n");
    for i in 0..2_000 {
        let level = if (1_500..1_560).contains(&i) {
            9.0
        } else {
            1.0
        };
        text += &format!("{},{}\n", time(5 * i), level + noise(i));
    }
    write(&data.join("data/realPump/flow.csv"), &text);
    write(
        &data.join("combined_windows.json"),
        &format!(
            r#"{{"realPump/flow.csv": [["{}.000000", "{}.000000"]], "realPump/absent.csv": [["2014-04-01 00:00:00", "2014-04-01 01:00:00"]]}}"#,
            time(5 * 1_450),
            time(5 * 1_600)
        ),
    );
    write(
        &data.join("profiles.json"),
        r#"{"standard": {"CostMatrix": {"tpWeight": 1.0, "fnWeight": 1.0, "fpWeight": 0.11, "tnWeight": 1.0}}}"#,
    );
    let (ok, stdout, err) = run(forecare()
        .args(["evaluate", "nab", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&out));
    assert!(ok, "{err}");
    assert!(
        stdout.contains("1 files, 2000 rows") && stdout.contains("1/1"),
        "{stdout}"
    );
    let results =
        fs::read_to_string(out.join("results/forecare/realPump/forecare_flow.csv")).unwrap();
    let lines: Vec<&str> = results.lines().collect();
    assert_eq!(lines.len(), 2_001);
    assert_eq!(lines[0], "timestamp,value,anomaly_score,label");
    assert!(lines[1_500].ends_with(",1") && lines[1_000].ends_with(",0"));
    let score = |row: usize| {
        lines[row + 1]
            .split(',')
            .nth(2)
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    let most = (1_500..1_520).map(score).fold(0.0, f64::max);
    assert!(most > 0.5, "the onset is new: {most}");
    let metrics = fs::read_to_string(out.join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["profiles"][0]["optimised"]["n_windows"], 1);
    assert!(
        metrics["profiles"][0]["optimised"]["score"]
            .as_f64()
            .unwrap()
            > 80.0
    );
}

#[test]
fn skab_judges_the_rows_after_the_first_400() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("skab"), dir.path().join("out"));
    let mut text = String::from("datetime;Pressure;Volume Flow RateRMS;anomaly;changepoint\n");
    for i in 0..900 {
        let fault = (600..800).contains(&i);
        let flow = if fault { 28.0 } else { 32.0 };
        let change = i == 600 || i == 800;
        text += &format!(
            "2020-03-09 10:{:02}:{:02};{};{};{}.0;{}.0\n",
            i / 60,
            i % 60,
            0.1 * noise(i),
            flow + noise(i + 7),
            u8::from(fault),
            u8::from(change)
        );
    }
    write(&data.join("valve7/3.csv"), &text);
    let (ok, stdout, err) = run(forecare()
        .args(["evaluate", "skab", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&out));
    assert!(ok, "{err}");
    assert!(stdout.contains("1 files, 500 rows judged"), "{stdout}");
    let said = fs::read_to_string(out.join("valve7/3.csv")).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        (lines.len(), lines[0]),
        (901, "datetime,outlier,changepoint")
    );
    assert!(lines[1..=400].iter().all(|l| l.ends_with(",0,0")));
    assert!(lines[640].ends_with(",1,0"), "{}", lines[640]);
    let metrics = fs::read_to_string(out.join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    // The drift chart takes its time to come down after the fault.
    assert!(lines[401..=600].iter().all(|l| l.ends_with(",0,0")));
    assert!(
        metrics["missed_alarm_rate"].as_f64().unwrap() < 0.1,
        "{metrics}"
    );
    assert!(metrics["f1"].as_f64().unwrap() > 0.7, "{metrics}");
    assert!(
        metrics["change_points"]["n_met"].as_u64().unwrap() >= 1,
        "{metrics}"
    );
}

#[test]
fn a_directory_without_the_benchmark_is_refused_by_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    for (benchmark, missing) in [("nab", "no CSV file"), ("skab", "no CSV file")] {
        let (ok, _, err) = run(forecare()
            .args(["evaluate", benchmark, "--data"])
            .arg(dir.path())
            .arg("--out")
            .arg(dir.path().join("out")));
        assert!(!ok && err.contains(missing), "{err}");
    }
}
