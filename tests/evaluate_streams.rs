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
    let (ok, _, err) = run(forecare()
        .args(["evaluate", "skab", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(data.join("valve7/..")));
    assert!(!ok && err.contains("would replace the recordings"), "{err}");
    assert_eq!(fs::read_to_string(data.join("valve7/3.csv")).unwrap(), text);
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
    for (benchmark, missing) in [("nab", "no NAB file"), ("skab", "no CSV file")] {
        let (ok, _, err) = run(forecare()
            .args(["evaluate", benchmark, "--data"])
            .arg(dir.path())
            .arg("--out")
            .arg(dir.path().join("out")));
        assert!(!ok && err.contains(missing), "{err}");
    }
}

#[test]
fn a_directory_that_is_not_there_or_one_too_high_names_what_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data sets");
    write(&data.join("nab/realX/a.csv"), &stream());
    write(&data.join("cmapss/train_X1.txt"), "");
    write(&data.join("other/b.csv"), "a,b\n1,2\n");
    let evaluate = |benchmark: &str, data: &Path| {
        let out = dir.path().join("out");
        let (ok, _, err) = run(forecare()
            .args(["evaluate", benchmark, "--data"])
            .arg(data)
            .arg("--out")
            .arg(&out));
        assert!(!ok && !out.join("metrics.json").exists(), "{err}");
        err
    };
    for (benchmark, meant) in [("nab", "nab"), ("cmapss", "cmapss")] {
        let err = evaluate(benchmark, &data);
        let meant = format!("did you mean {}?", data.join(meant).display());
        assert!(err.contains(&meant), "{err}");
    }
    for benchmark in ["nab", "skab", "cmapss", "femto"] {
        let err = evaluate(benchmark, &data.join("nowhere"));
        assert!(
            err.contains("there is no directory") && err.contains("--data"),
            "{err}"
        );
    }
}

#[test]
fn skab_leaves_out_what_is_not_labelled_and_names_lines_and_separators() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("skab"), dir.path().join("out"));
    let recording = |change: bool, end: &str| {
        let mut text = format!(
            "datetime;Flow;anomaly{}{end}",
            if change { ";changepoint" } else { "" }
        );
        for i in 0..900 {
            let fault = (600..800).contains(&i);
            let flow = if fault { 28.0 } else { 32.0 } + noise(i);
            let label = if change {
                format!(";{}", u8::from(i == 600 || i == 800))
            } else {
                String::new()
            };
            text += &format!(
                "2020-03-09 10:{:02}:{:02};{flow};{}{label}{end}",
                i / 60,
                i % 60,
                u8::from(fault)
            );
        }
        text
    };
    let evaluate = || {
        let (ok, text, err) = run(forecare()
            .args(["evaluate", "skab", "--data"])
            .arg(&data)
            .arg("--out")
            .arg(&out));
        let metrics = fs::read_to_string(out.join("metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
        (ok, text + &err, metrics)
    };
    write(&data.join("1.csv"), &recording(true, "\n"));
    let (ok, said, alone) = evaluate();
    assert!(ok, "{said}");
    write(&data.join("2.csv"), &recording(false, "\n"));
    let (ok, said, both) = evaluate();
    assert!(
        ok && said.contains("not in the scores of change points: 2.csv"),
        "{said}"
    );
    assert_eq!(both["n_files"], 2);
    assert_eq!(both["change_points"], alone["change_points"]);
    assert_eq!(both["change_point_scores"], alone["change_point_scores"]);

    let damaged = |end: &str| {
        let text = recording(true, end);
        let mut lines: Vec<&str> = text.split(end).collect();
        lines[499] = "2020-03-09 10:08:18;high;0;0";
        lines.join(end)
    };
    write(&data.join("3.csv"), &damaged("\n"));
    write(&data.join("4.csv"), &damaged("\r\n"));
    write(
        &data.join("5.csv"),
        &recording(true, "\n").replace(';', ","),
    );
    let (ok, said, _) = evaluate();
    assert!(!ok, "{said}");
    for named in [
        "3.csv: line 500",
        "4.csv: line 500",
        "5.csv: its columns are separated by ','",
    ] {
        assert!(said.contains(named), "{named}: {said}");
    }
}

/// A stream with a step, for NAB.
fn stream() -> String {
    let mut text = String::from("timestamp,value\n");
    for i in 0..600 {
        let level = if i >= 500 { 9.0 } else { 1.0 };
        text += &format!("{},{}\n", time(5 * i), level + noise(i));
    }
    text
}

#[test]
fn nab_predicts_what_has_no_labels_and_names_what_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("nab"), dir.path().join("out"));
    // Categories without `data/`, no labels, no profiles.
    write(&data.join("realPump/flow.csv"), &stream());
    write(&data.join("realPump/heat.csv"), &stream());
    let evaluate = || {
        run(forecare()
            .args(["evaluate", "nab", "--data"])
            .arg(&data)
            .arg("--out")
            .arg(&out))
    };
    let rows = || {
        let file = out.join("results/forecare/realPump/forecare_flow.csv");
        fs::read_to_string(file).unwrap()
    };
    let (ok, said, err) = evaluate();
    assert!(
        ok && said.contains("there is no combined_windows.json"),
        "{said}{err}"
    );
    let unlabelled = rows();
    assert_eq!(unlabelled.lines().count(), 601);
    assert!(unlabelled.lines().skip(1).all(|l| l.ends_with(',')));

    // Labels of one of them.
    let labels = format!(
        r#"{{"realPump/flow.csv": [["{}", "{}"]]}}"#,
        time(5 * 480),
        time(5 * 540)
    );
    write(&data.join("combined_windows.json"), &labels);
    write(
        &data.join("realPump/broken.csv"),
        "timestamp,value\nnow,1\n",
    );
    let (ok, said, err) = evaluate();
    assert!(
        !ok && err.contains("broken.csv") && err.contains("1 file(s)"),
        "{said}{err}"
    );
    assert!(
        said.contains("no usable entry for realPump/heat.csv"),
        "{said}"
    );
    let metrics = fs::read_to_string(out.join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(
        [
            &metrics["n_files"],
            &metrics["n_files_scored"],
            &metrics["files_unusable"]
        ],
        [2, 1, 1]
    );
    assert_eq!(metrics["profiles"].as_array().unwrap().len(), 3);
    // Scores do not depend on labels, nor on what comes later.
    let score = |text: &str| -> Vec<String> {
        let cell = |l: &str| l.split(',').nth(2).unwrap().to_owned();
        text.lines().skip(1).map(cell).collect()
    };
    assert_eq!(score(&rows()), score(&unlabelled));
    let all = stream();
    let first: Vec<&str> = all.lines().take(551).collect();
    write(&data.join("realPump/flow.csv"), &first.join("\n"));
    evaluate();
    assert_eq!(score(&rows()), score(&unlabelled)[..550]);
}

#[test]
fn skab_goes_on_after_a_bad_file_and_tells_what_it_flags_without_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("repo"), dir.path().join("repo/out"));
    let rows = |cell: &str| {
        let mut text = String::from("datetime;Pressure;Current\n");
        for i in 0..500 {
            text += &format!(
                "2020-03-09 10:{:02}:{:02};{};{}\n",
                i / 60,
                i % 60,
                noise(i),
                if i == 450 {
                    cell.to_owned()
                } else {
                    noise(i + 9).to_string()
                }
            );
        }
        text
    };
    write(&data.join("data/quiet/q.csv"), &rows("0.1"));
    write(&data.join("leaderboard.csv"), "a,b\n1,2\n");
    let evaluate = || {
        run(forecare()
            .args(["evaluate", "skab", "--data"])
            .arg(&data)
            .arg("--out")
            .arg(&out))
    };
    let (ok, said, err) = evaluate();
    assert!(
        ok && err.contains("passed over") && err.contains("leaderboard.csv"),
        "{said}{err}"
    );
    assert!(
        said.contains("no file has labels") && said.contains("of 100 rows flagged"),
        "{said}"
    );
    write(&data.join("data/quiet/hole.csv"), &rows(""));
    let (ok, said, err) = evaluate();
    assert!(!ok && err.contains("hole.csv: line 452"), "{said}{err}");
    assert!(out.join("data/quiet/q.csv").is_file());
    assert_eq!(
        said.matches("rows flagged").count(),
        1,
        "results are no data: {said}"
    );
}
