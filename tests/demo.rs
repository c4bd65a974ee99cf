//! The first command: a machine degrades, an alarm, a ticket, a reserved part, before the failure.
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

use serde_json::Value;
use support::{forecare, run};

#[test]
fn the_demo_foresees_its_faults_and_reserves_the_parts() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let demo = || {
        let mut command = forecare();
        // Two simulated hours a second: a fault's whole life fits in a minute.
        command
            .args([
                "demo",
                "--for",
                "60s",
                "--speed",
                "7200",
                "--mqtt-listen",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
            ])
            .args(["--faults", "3", "--report"])
            .arg(&report)
            .arg("--home")
            .arg(dir.path().join("home"));
        command
    };
    let (ok, out, err) = run(&mut demo());
    assert!(ok, "{out}\n{err}");
    assert!(
        out.contains("console  http://127.0.0.1:") && out.contains("simulated"),
        "{out}"
    );
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    let faults = summary["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 3);
    let foreseen: Vec<&Value> = faults
        .iter()
        .filter(|f| f["ticket_at"].is_string())
        .collect();
    assert!(!foreseen.is_empty(), "{summary:#}");
    for fault in &foreseen {
        for key in [
            "asset",
            "mode",
            "detected_at",
            "ticket_at",
            "reserved_at",
            "failure_at",
        ] {
            assert!(fault[key].is_string(), "{key}: {fault:#}");
        }
        assert!(fault["lead_hours"].as_f64().unwrap() > 0.0, "{fault:#}");
        assert!(
            fault["detected_at"].as_str() <= fault["ticket_at"].as_str(),
            "{fault:#}"
        );
        assert!(!fault["parts"].as_array().unwrap().is_empty(), "{fault:#}");
    }
    let failed_unforeseen = faults
        .iter()
        .filter(|f| f["failed"] == true && f["ticket_at"].is_null())
        .count();
    assert_eq!(failed_unforeseen, 0, "{summary:#}");
    assert!(
        summary["messages_acknowledged"].as_u64().unwrap() > 1_000,
        "{summary:#}"
    );
}
