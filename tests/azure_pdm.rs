//! Recorded history through the ordinary pipeline: learnt on some machines, tested on others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking"
)]

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{dataset, forecare, run};

/// A small stand-in for the data set, made here: the same file names and columns, machines whose component n
/// shifts metric n and reports errors in the two days before it fails. Not the real data's distributions.
fn fixture(dir: &Path, machines: std::ops::RangeInclusive<u32>, days: i64) {
    const EPOCH: i64 = 1_420_092_000; // 2015-01-01 06:00 UTC
    let mut telemetry = "datetime,machineID,volt,rotate,pressure,vibration\n".to_owned();
    let mut errors = "datetime,machineID,errorID\n".to_owned();
    let mut maint = "datetime,machineID,comp\n".to_owned();
    let mut failures = "datetime,machineID,failure\n".to_owned();
    let mut list = "machineID,model,age\n".to_owned();
    let mut seed = 42_u64;
    let mut noise = || {
        // SplitMix64; the sum of four uniform numbers is near enough to normal.
        (0..4)
            .map(|_| {
                seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = seed;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
            })
            .sum::<f64>()
    };
    for machine in machines {
        writeln!(list, "{machine},model{},{}", machine % 4 + 1, machine % 20).unwrap();
        let m = i64::from(machine);
        let fails: Vec<(i64, usize)> = (0..days / 11)
            .map(|k| {
                (
                    (9 + 11 * k) * 24 + (m * 7 + k * 5) % 48,
                    ((m + k) % 4) as usize,
                )
            })
            .collect();
        for c in 1..=4 {
            writeln!(
                maint,
                "{},{machine},comp{c}",
                time(EPOCH - 86_400 * (20 + m + c))
            )
            .unwrap();
        }
        for hour in 0..days * 24 {
            let at = EPOCH + hour * 3_600;
            let mut row = [170.0, 450.0, 100.0, 40.0];
            let scale = [15.0, 50.0, 10.0, 5.0];
            for (metric, value) in row.iter_mut().enumerate() {
                *value += scale[metric] * noise();
                let shifted = fails
                    .iter()
                    .any(|(h, c)| *c == metric && (h - 40..=*h).contains(&hour));
                if shifted {
                    *value += scale[metric] * if metric == 1 { -2.0 } else { 2.0 };
                }
            }
            writeln!(
                telemetry,
                "{},{machine},{},{},{},{}",
                time(at),
                row[0],
                row[1],
                row[2],
                row[3]
            )
            .unwrap();
            for (h, c) in &fails {
                if hour == h - 30 || hour == h - 20 {
                    writeln!(errors, "{},{machine},error{}", time(at), c + 1).unwrap();
                }
                if hour == *h {
                    writeln!(failures, "{},{machine},comp{}", time(at), c + 1).unwrap();
                    writeln!(maint, "{},{machine},comp{}", time(at), c + 1).unwrap();
                }
            }
        }
    }
    for (name, text) in [
        ("PdM_telemetry_90days.csv", &telemetry),
        ("PdM_telemetry_windows.csv", &telemetry),
        ("PdM_errors.csv", &errors),
        ("PdM_maint.csv", &maint),
        ("PdM_failures.csv", &failures),
        ("PdM_machines.csv", &list),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// `2015-01-01 06:00:00` from epoch seconds; the fixture stays within 2014 and 2015.
fn time(epoch: i64) -> String {
    let days = epoch.div_euclid(86_400);
    let (mut year, mut day) = (2014, days - 16_071);
    if day >= 365 {
        (year, day) = (2015, day - 365);
    }
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let s = epoch.rem_euclid(86_400);
    format!(
        "{year}-{:02}-{:02} {:02}:{:02}:{:02}",
        month + 1,
        day + 1,
        s / 3_600,
        s / 60 % 60,
        s % 60
    )
}

fn train(data: &Path, machines: &str, telemetry: &str, home: &Path) {
    let (ok, out, err) = run(forecare()
        .args([
            "train",
            "azure-pdm",
            "--machines",
            machines,
            "--telemetry",
            telemetry,
            "--data",
        ])
        .arg(data)
        .arg("--home")
        .arg(home));
    assert!(ok, "{out}\n{err}");
}

fn replay(data: &Path, machines: &str, telemetry: &str, home: &Path) -> std::process::Command {
    let mut command = forecare();
    command
        .args([
            "replay",
            "azure-pdm",
            "--machines",
            machines,
            "--telemetry",
            telemetry,
            "--data",
        ])
        .arg(data)
        .arg("--home")
        .arg(home);
    command
}

fn report(data: &Path, home: &Path) -> Value {
    let file = home.join("report.json");
    let (ok, out, err) = run(forecare()
        .args(["report", "azure-pdm", "--data"])
        .arg(data)
        .arg("--json")
        .arg(&file)
        .arg("--home")
        .arg(home));
    assert!(ok, "{out}\n{err}");
    println!("{out}");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn count(report: &Value, key: &str) -> f64 {
    report[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {report:#}"))
}

/// Kills the replay as often as asked, each time after it has made some progress.
fn replay_with_kills(command: &mut dyn FnMut() -> std::process::Command, home: &Path, kills: u32) {
    let database = home.join("forecare.sqlite-wal");
    let size = || {
        std::fs::metadata(&database).map_or(0, |m| m.len())
            + std::fs::metadata(home.join("forecare.sqlite")).map_or(0, |m| m.len())
    };
    for kill in 0..kills {
        let mut child: Child = command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (start, began) = (size(), Instant::now());
        let grown = u64::from(40_000 + 25_000 * kill);
        while size() < start + grown
            && began.elapsed() < Duration::from_secs(20)
            && child.try_wait().unwrap().is_none()
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "kill {kill} came too late"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (ok, out, err) = run(&mut command());
    assert!(
        ok && out.contains("checksum equals that of the files"),
        "{out}\n{err}"
    );
}

#[test]
fn a_small_fleet_is_learnt_replayed_killed_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (data, home) = (dir.path().join("data"), dir.path().join("home"));
    std::fs::create_dir_all(&data).unwrap();
    fixture(&data, 1..=9, 50);
    train(&data, "1-6", "90days", &home);
    replay_with_kills(&mut || replay(&data, "7-9", "90days", &home), &home, 5);
    let report = report(&data, &home);
    assert_eq!(report["checksums_equal"], true);
    assert_eq!(count(&report, "readings_stored"), (3 * 50 * 24 * 4) as f64);
    assert_eq!(count(&report, "failures"), 12.0);
    assert!(count(&report, "caught") >= 10.0, "{report:#}");
    assert!(
        count(&report, "parts_reserved_right") >= count(&report, "tickets_right"),
        "{report:#}"
    );

    // The kills changed nothing: an undisturbed run opens the same tickets.
    let calm = dir.path().join("calm");
    std::fs::create_dir_all(calm.join("models")).unwrap();
    std::fs::copy(
        home.join("models/azure-pdm-machine/v1.json"),
        calm.join("models/azure-pdm-machine.json"),
    )
    .unwrap();
    let (ok, out, err) = run(&mut replay(&data, "7-9", "90days", &calm));
    assert!(ok, "{out}\n{err}");
    let undisturbed = self::report(&data, &calm);
    assert_eq!(undisturbed, report);

    // Nor does the transport: the evaluation learns and judges the same, without MQTT.
    let out = dir.path().join("evaluation");
    let found = evaluate(
        &data,
        &out,
        &["--learn", "1-6", "--learn-telemetry", "90days"],
    );
    let others = &found["other_machines"][0];
    let all = &others["tickets"]["all"];
    for key in [
        "failures",
        "caught",
        "caught_12h",
        "tickets",
        "tickets_right",
        "lead_hours",
    ] {
        assert_eq!(all[key], report[key], "{key}");
    }
    assert_eq!(
        others["tickets"]["alarms_per_machine_month"],
        report["alarms_per_machine_month"]
    );
    assert_eq!(others["machines"], serde_json::json!([7, 8, 9]));
    let any = &others["probabilities"]["any"];
    assert!(count(any, "average_precision") > 0.8, "{any:#}");
    assert!(
        count(any, "brier") < count(any, "brier_of_base_rate"),
        "{any:#}"
    );
    let split = &found["time_split"];
    // The last fifth of 50 days.
    assert_eq!(count(&split["probabilities"]["any"], "n_rows"), 3.0 * 240.0);
    files_speak_of_every_reading(&out, 3 * 50 * 24);
    let n_tickets = lines(&out.join("90days_tickets.csv")).count() - 1;
    assert_eq!(n_tickets as f64, count(all, "tickets"));
}

fn evaluate(data: &Path, out: &Path, more: &[&str]) -> Value {
    let (ok, text, err) = run(forecare()
        .args(["evaluate", "azure-pdm", "--data"])
        .arg(data)
        .arg("--out")
        .arg(out)
        .args(more));
    assert!(ok, "{text}\n{err}");
    println!("{text}");
    serde_json::from_str(&std::fs::read_to_string(out.join("metrics.json")).unwrap()).unwrap()
}

fn lines(file: &Path) -> impl Iterator<Item = String> + use<> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

/// A line per reading, probabilities between 0 and 1, that of any not below that of one.
fn files_speak_of_every_reading(out: &Path, n_readings: usize) {
    let csv = out.join("90days_probabilities.csv");
    let mut lines = lines(&csv);
    assert_eq!(
        lines.next().unwrap(),
        "machine,datetime,p_comp1,p_comp2,p_comp3,p_comp4,p_any"
    );
    let mut n_lines = 0;
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert!(
            cells[1].starts_with("2015-0") && cells[1].ends_with(":00:00"),
            "{line}"
        );
        let p: Vec<f64> = cells[2..].iter().map(|c| c.parse().unwrap()).collect();
        assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "{line}");
        assert!(p[..4].iter().all(|one| *one <= p[4] + 2e-6), "{line}");
        n_lines += 1;
    }
    assert_eq!(n_lines, n_readings);
}

#[test]
fn predictions_need_no_failures_and_the_public_name_of_the_telemetry_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let (learn, held) = (dir.path().join("learn"), dir.path().join("held"));
    for data in [&learn, &held] {
        std::fs::create_dir_all(data).unwrap();
    }
    // The telemetry that is asked for first is not there: what there is is learnt from.
    fixture(&learn, 1..=6, 40);
    std::fs::remove_file(learn.join("PdM_telemetry_windows.csv")).unwrap();
    fixture(&held, 7..=8, 20);
    for name in [
        "PdM_telemetry_windows.csv",
        "PdM_failures.csv",
        "PdM_machines.csv",
    ] {
        std::fs::remove_file(held.join(name)).unwrap();
    }
    let (from, to) = ("PdM_telemetry_90days.csv", "PdM_telemetry.csv");
    std::fs::rename(held.join(from), held.join(to)).unwrap();
    let out = dir.path().join("out");
    let learn = learn.display().to_string();
    let found = evaluate(&held, &out, &["--learn", "1-6", "--learn-data", &learn]);
    let others = &found["other_machines"][0];
    assert_eq!(others["machines"], serde_json::json!([7, 8]));
    assert!(others["probabilities"].is_null() && others["tickets"].is_null());
    assert!(found["time_split"].is_null(), "{found:#}");
    assert_eq!(found["absent"], serde_json::json!(["PdM_failures.csv"]));
    assert_eq!(
        found["learnt_from"]["telemetry"],
        serde_json::json!(["PdM_telemetry_90days.csv"])
    );
    files_speak_of_every_reading(&out, 2 * 20 * 24);
    let n_tickets = lines(&out.join("90days_tickets.csv")).count() - 1;
    assert_eq!(others["n_tickets"], n_tickets);
    assert!(n_tickets > 0);

    // The same command makes the same model.
    let [one, two] = ["one", "two"].map(|home| {
        let home = dir.path().join(home);
        train(Path::new(&learn), "1-6", "90days", &home);
        std::fs::read(home.join("models/azure-pdm-machine/v1.json")).unwrap()
    });
    assert!(one == two);
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_the_others_are_judged() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    std::fs::create_dir_all(&data).unwrap();
    fixture(&data, 1..=8, 40);
    let hourly = data.join("PdM_telemetry_90days.csv");
    let text = std::fs::read_to_string(&hourly).unwrap();
    std::fs::write(
        &hourly,
        text.replacen(",450", ",high", 1) + "2015-01-01 06:00:00,1,x,1,1,1\n",
    )
    .unwrap();
    // Of the machines that are judged no failure is named.
    let failures = data.join("PdM_failures.csv");
    let text = std::fs::read_to_string(&failures).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|l| !l.contains(",7,") && !l.contains(",8,"))
        .collect();
    std::fs::write(&failures, kept.join("\n") + "\n").unwrap();
    let (ok, said, err) = run(forecare()
        .args([
            "evaluate",
            "azure-pdm",
            "--learn",
            "1-6",
            "--learn-telemetry",
            "windows",
            "--data",
        ])
        .arg(&data)
        .arg("--out")
        .arg(&out));
    assert!(
        !ok && err.contains("left out") && err.contains("PdM_telemetry_90days.csv"),
        "{said}{err}"
    );
    assert!(err.contains("1 file(s) could not be used"), "{err}");
    assert!(
        said.contains("PdM_failures.csv names no failure in the part that is judged"),
        "{said}"
    );
    assert!(out.join("windows_probabilities.csv").is_file());
    assert!(out.join("metrics.json").is_file());
}

#[test]
fn models_are_looked_at_between_training_and_replay() {
    let dir = tempfile::tempdir().unwrap();
    let (data, home) = (dir.path().join("data"), dir.path().join("home"));
    std::fs::create_dir_all(&data).unwrap();
    fixture(&data, 1..=6, 40);
    train(&data, "1-6", "90days", &home);
    for args in [&["list"][..], &["show"]] {
        let (ok, out, err) = run(forecare().arg("models").args(args).arg("--home").arg(&home));
        assert!(
            ok && out.contains("v1") && out.contains("live"),
            "{out}{err}"
        );
    }
    // In a home without the catalogue the way out is named, and it does not delete the model.
    std::fs::remove_file(home.join("catalogue.toml")).unwrap();
    let (ok, _, err) = run(forecare().args(["models", "show", "--home"]).arg(&home));
    assert!(
        !ok && err.contains("--config") && !err.contains("remove"),
        "{err}"
    );
}

#[test]
fn an_evaluation_without_any_machines_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    fixture(dir.path(), 1..=2, 3);
    let (ok, _, err) = run(forecare()
        .args(["evaluate", "azure-pdm", "--test", "50-60", "--data"])
        .arg(dir.path())
        .arg("--out")
        .arg(dir.path().join("out")));
    assert!(!ok);
    for part in ["21-40", "--learn", "PdM_telemetry_90days.csv"] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn the_public_benchmark_is_met() {
    let Some(data) = dataset("azure_pdm") else {
        println!(
            "the Azure data set is absent: set FORECARE_DATASETS to the directory that holds azure_pdm/"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let found = evaluate(&data, dir.path(), &["--test", "1-12"]);
    let split = &found["time_split"]["probabilities"];
    assert!(
        count(&split["any"], "average_precision") >= 0.85
            && count(split, "average_precision_without_hour_of_failure") >= 0.85,
        "{split:#}"
    );
    let others = &found["other_machines"][0];
    assert_eq!(others["telemetry"], "PdM_telemetry_90days.csv");
    let all = &others["tickets"]["all"];
    assert!(
        count(all, "tickets_right") >= 0.70 * count(all, "tickets"),
        "{all:#}"
    );
    assert!(
        count(all, "caught_12h") >= 0.95 * count(all, "failures"),
        "{all:#}"
    );
    let components = others["probabilities"]["components"].as_object().unwrap();
    let scores = components.values().map(|c| &c["scores"]);
    for scores in scores.chain([&others["probabilities"]["any"]]) {
        assert!(count(scores, "calibration_error") <= 0.05, "{scores:#}");
        assert!(
            count(scores, "brier") < 0.5 * count(scores, "brier_of_base_rate"),
            "{scores:#}"
        );
    }
}

#[test]
fn the_public_data_meets_the_promise() {
    let Some(data) = dataset("azure_pdm") else {
        println!(
            "the Azure data set is absent: set FORECARE_DATASETS to the directory that holds azure_pdm/"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    train(&data, "21-40", "windows,daily", &home);
    let cases = [
        ("1-12", "90days", 0.95, 0.60, 5),
        ("41-60", "windows", 0.95, 0.80, 0),
    ];
    for (machines, telemetry, least_caught, least_right, kills) in cases {
        let home = dir.path().join(machines);
        std::fs::create_dir_all(home.join("models")).unwrap();
        std::fs::copy(
            dir.path().join("home/models/azure-pdm-machine/v1.json"),
            home.join("models/azure-pdm-machine.json"),
        )
        .unwrap();
        replay_with_kills(
            &mut || replay(&data, machines, telemetry, &home),
            &home,
            kills,
        );
        let report = report(&data, &home);
        assert_eq!(report["checksums_equal"], true);
        let caught = count(&report, "caught_12h") / count(&report, "failures");
        let right = count(&report, "tickets_right") / count(&report, "tickets");
        assert!(
            caught >= least_caught,
            "{machines}: {caught} caught 12 h ahead\n{report:#}"
        );
        assert!(
            right >= least_right,
            "{machines}: {right} of the tickets right\n{report:#}"
        );
        assert_eq!(
            count(&report, "parts_reserved_right"),
            count(&report, "tickets_right"),
            "{report:#}"
        );
    }
}
