//! A policy tried on a small instance's history, from import to report.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;

use forecare_domain::Timestamp;
use serde_json::Value;
use support::{forecare, run};

const CATALOGUE: &str = r#"
currency = "CHF"
[[class]]
name = "pump"
title = "Pump"
horizon_hours = 48
sample_interval_s = 3600
[[class.metric]]
name = "heat"
unit = "°C"
critical_high = 100
debounce_samples = 1
[[class.mode]]
name = "burn-out"
title = "Burn-out"
iso14224 = "OHE"
component = "coil"
signature = [{ metric = "heat", direction = "up" }]
procedure = "P-1"
work_hours = 2
parts = [{ part = "COIL" }]
cost_of_failure = 1000
cost_of_acting = 100
alarm_precision = 0.9
[class.unknown]
procedure = "P-0"
work_hours = 1
cost_of_failure = 1
cost_of_acting = 1
alarm_precision = 0
[[part]]
number = "COIL"
title = "Coil"
lead_time_hours = 10
unit_cost = 50
[[depot]]
name = "north"
title = "North"
transfer_hours = 4
[[stock]]
depot = "north"
part = "COIL"
on_hand = 5
"#;

fn hour(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + hours * 3_600_000)
}

/// Two pumps, 20 days: one runs hot for 20 hours and fails, the other fails out of the blue.
fn instance(dir: &Path) {
    std::fs::write(dir.join("catalogue.toml"), CATALOGUE).unwrap();
    std::fs::write(
        dir.join("forecare.toml"),
        format!("catalogue = {:?}\n", dir.join("catalogue.toml")),
    )
    .unwrap();
    let mut rows = "device,time,heat\n".to_owned();
    for at in 0..480 {
        let heat = if (200..220).contains(&at) {
            120
        } else {
            50 + at % 3
        };
        rows += &format!(
            "pump-1,{},{heat}\npump-2,{},{}\n",
            hour(at),
            hour(at),
            50 + at % 3
        );
    }
    std::fs::write(dir.join("rows.csv"), rows).unwrap();
    let failures = format!(
        "device,ts,mode\npump-1,{},burn-out\npump-2,{},burn-out\npump-9,{},burn-out\n",
        hour(220),
        hour(300),
        hour(310)
    );
    std::fs::write(dir.join("failures.csv"), failures).unwrap();
    let (ok, _, err) = run(forecare()
        .args(["import", "--register", "pump", "--home"])
        .arg(dir.join("home"))
        .arg("--config")
        .arg(dir.join("forecare.toml"))
        .arg(dir.join("rows.csv")));
    assert!(ok, "{err}");
}

fn backtest(dir: &Path, out: &str, policies: &[&str]) -> (bool, String, String) {
    run(&mut command(dir, out, policies))
}

fn command(dir: &Path, out: &str, policies: &[&str]) -> std::process::Command {
    let mut command = forecare();
    command
        .args([
            "backtest",
            "--from",
            "2026-01-07",
            "--to",
            "2026-01-21",
            "--home",
        ])
        .arg(dir.join("home"))
        .arg("--config")
        .arg(dir.join("forecare.toml"))
        .arg("--failures")
        .arg(dir.join("failures.csv"))
        .arg("--out")
        .arg(dir.join(out));
    for (i, policy) in policies.iter().enumerate() {
        let file = dir.join(format!("policy-{i}.toml"));
        std::fs::write(&file, policy).unwrap();
        command.arg("--policy").arg(file);
    }
    command
}

#[test]
fn two_policies_stand_side_by_side_and_the_same_command_writes_the_same_report() {
    let dir = tempfile::tempdir().unwrap();
    instance(dir.path());
    let policies = [
        "name = \"act\"\n",
        "name = \"never <b>\"\n[care]\nmargin = 1000\n",
    ];
    let (ok, out, err) = backtest(dir.path(), "first", &policies);
    assert!(ok, "{err}");
    for text in [
        "act",
        "never <b>",
        "prevented",
        "1 (50 %)",
        "saved against",
        "CHF",
        "1 lines",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }
    let json = std::fs::read_to_string(dir.path().join("first/report.json")).unwrap();
    let report: Value = serde_json::from_str(&json).unwrap();
    let [act, never] = &report["policies"].as_array().unwrap()[..] else {
        panic!("two policies")
    };
    assert_eq!(report["truth"]["faults"], 2);
    assert_eq!(report["truth"]["lines_of_other_devices"], 1);
    assert_eq!(
        (&act["faults"]["prevented"], &act["faults"]["missed"]),
        (&1.into(), &1.into())
    );
    assert_eq!(act["costs"]["total"], 1_100.0);
    assert_eq!(never["costs"]["total"], never["costs"]["run_to_failure"]);
    assert_eq!(never["costs"]["run_to_failure"], 2_000.0);
    let html = std::fs::read_to_string(dir.path().join("first/report.html")).unwrap();
    assert!(
        html.contains("<svg") && html.contains("never &lt;b&gt;") && !html.contains("never <b>")
    );
    for outside in ["http:", "https:", "<script", "<link", "@import"] {
        assert!(!html.contains(outside), "the page needs {outside}");
    }
    let (ok, _, err) = backtest(dir.path(), "second", &policies);
    assert!(ok, "{err}");
    for file in ["report.json", "report.html"] {
        let read = |run: &str| std::fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("first") == read("second"), "{file} differs");
    }
}

#[test]
fn failures_of_other_machines_alone_are_an_error_and_a_code_that_never_came_is_named() {
    let dir = tempfile::tempdir().unwrap();
    instance(dir.path());
    let mut failures = format!("device,ts,mode\n7,{},burn-out\n", hour(220));
    std::fs::write(dir.path().join("failures.csv"), &failures).unwrap();
    let (ok, out, err) = backtest(dir.path(), "none", &[]);
    assert!(
        !ok && err.contains("\"7\"") && err.contains("\"pump-1\""),
        "{out}{err}"
    );
    assert!(!dir.path().join("none/report.json").exists());
    failures += &format!("pump-1,{},burn-out\n", hour(220));
    std::fs::write(dir.path().join("failures.csv"), failures).unwrap();
    let mut command = command(dir.path(), "code", &[]);
    let (ok, out, err) = run(command.args(["--failure-code", "burnt"]));
    assert!(
        ok && out.contains("warning") && out.contains("code burnt"),
        "{out}{err}"
    );
}

#[test]
fn where_costs_differ_each_baseline_says_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    instance(dir.path());
    let dear = "name = \"dear\"\n[[mode]]\nname = \"burn-out\"\ncost_of_failure = 5000\n";
    let (ok, _, err) = backtest(dir.path(), "dear", &["name = \"now\"\n", dear]);
    assert!(ok, "{err}");
    let page = std::fs::read_to_string(dir.path().join("dear/report.html")).unwrap();
    for label in [
        ">run to failure, A<",
        ">run to failure, B<",
        ">dashed: run to failure, A<",
        ">dashed: run to failure, B<",
    ] {
        assert!(page.contains(label), "{label}");
    }
    assert!(!page.contains(">run to failure</text>"));
    // With the same costs one stands for both.
    let (ok, _, err) = backtest(
        dir.path(),
        "same",
        &["name = \"now\"\n", "name = \"late\"\n"],
    );
    assert!(ok, "{err}");
    let page = std::fs::read_to_string(dir.path().join("same/report.html")).unwrap();
    assert_eq!(page.matches(">run to failure</text>").count(), 1);
    let ink = |name: &str| {
        let (_, rest) = page.split_once(&format!("--{name}:")).unwrap();
        rest.split([';', '}']).next().unwrap().to_owned()
    };
    let inks = ["good", "late", "bad", "work", "swap", "idle", "a", "b"].map(ink);
    let mut different = inks.to_vec();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), inks.len(), "{inks:?}");
}

#[test]
fn the_printed_policy_is_the_default_and_mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    instance(dir.path());
    let (ok, printed, _) = run(forecare().args(["backtest", "--print-policy"]));
    assert!(ok);
    let (ok, _, err) = backtest(dir.path(), "printed", &[&printed]);
    assert!(ok, "{err}");
    let (ok, _, err) = backtest(dir.path(), "none", &[]);
    assert!(ok, "{err}");
    let read = |run: &str| std::fs::read(dir.path().join(run).join("report.json")).unwrap();
    assert!(read("printed") == read("none"));
    let (ok, _, err) = backtest(dir.path(), "wrong", &["[care]\nmagin = 1\n"]);
    assert!(
        !ok && err.contains("magin") && err.contains("policy-0.toml"),
        "{err}"
    );
    let (ok, _, err) = run(forecare()
        .args([
            "backtest",
            "--from",
            "2026-01-07",
            "--to",
            "2026-01-07",
            "--out",
        ])
        .arg(dir.path())
        .arg("--home")
        .arg(dir.path().join("home")));
    assert!(!ok && err.contains("--from must be before --to"), "{err}");
}
