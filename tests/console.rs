//! The console in a real browser, on a running demo.
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

use std::path::Path;
use std::process::Command;

use support::{Service, forecare, run, wait_for};

#[test]
fn a_person_signs_in_looks_around_and_closes_a_ticket() {
    let browser = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser");
    assert!(
        browser.join("node_modules/playwright-core").is_dir(),
        "playwright-core is missing: (cd tests/browser && npm ci)"
    );
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut demo = forecare();
    demo.args([
        "demo",
        "--speed",
        "7200",
        "--mqtt-listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--home",
    ])
    .arg(&home)
    // A channel that nobody listens on: messages are given up at once.
    .env(
        "FORECARE_NOTIFY__CHANNEL",
        r#"{team={kind="http",url="http://127.0.0.1:9/",body="{}"}}"#,
    )
    .env(
        "FORECARE_NOTIFY__RULE",
        r##"[{event=["ticket.opened"],to=["#team"]}]"##,
    )
    .env("FORECARE_NOTIFY__ATTEMPTS_MAX", "1");
    let service = Service::start(&mut demo, &home);
    wait_for("a ticket", || {
        service.get("api/v1/tickets")["items"]
            .as_array()
            .is_some_and(|t| !t.is_empty())
    });
    let (ok, out, err) = run(Command::new("node")
        .arg(browser.join("console.mjs"))
        .env("CONSOLE_URL", &service.http)
        .env("CONSOLE_TOKEN", &service.token)
        .env(
            "SCREENSHOTS",
            std::env::var_os("SCREENSHOTS").unwrap_or_default(),
        ));
    assert!(ok, "{out}\n{err}");
    println!("{out}");
    let tickets = service.get("api/v1/tickets");
    let resolved = tickets["items"]
        .as_array()
        .unwrap()
        .iter()
        .any(|t| t["state"] == "resolved");
    assert!(resolved, "the console resolved a ticket: {tickets:#}");
    assert!(service.stop());
}
