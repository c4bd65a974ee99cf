//! What people meet first: errors that name the fix, before anything is started.
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

use std::net::TcpListener;

use support::{Service, forecare, run};

#[test]
fn a_busy_port_names_the_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    for (flag, other) in [("--http", "--mqtt-listen"), ("--mqtt-listen", "--http")] {
        for command in ["serve", "demo"] {
            let (ok, _, err) = run(forecare()
                .args([command, flag, &address, other, "127.0.0.1:0", "--home"])
                .arg(home.path()));
            assert!(!ok);
            assert!(
                err.contains(&taken.local_addr().unwrap().port().to_string()),
                "{command} {flag}: {err}"
            );
            assert!(err.contains("listen"), "{command} {flag}: {err}");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_written_names_the_fix() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for command in ["serve", "demo"] {
        let (ok, _, err) = run(forecare()
            .args([command, "--home"])
            .arg(file.path().join("home")));
        assert!(!ok && err.contains("--home DIR"), "{err}");
    }
}

#[test]
fn a_second_instance_is_refused_with_the_first_ones_process() {
    let home = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = forecare();
        command
            .args([
                "serve",
                "--mqtt-listen",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--home",
            ])
            .arg(home.path());
        command
    };
    let first = Service::start(&mut serve(), home.path());
    let (ok, _, err) = run(&mut serve());
    assert!(
        !ok && err.contains(&first.child.id().to_string()) && err.contains("--home"),
        "{err}"
    );
    assert!(first.stop());
    assert!(Service::start(&mut serve(), home.path()).stop());
}

#[test]
fn the_printed_defaults_pass_the_check_and_a_wrong_key_does_not() {
    let (ok, defaults, _) = run(forecare().args(["config", "default"]));
    assert!(ok);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &defaults).unwrap();
    let check =
        |path: &std::path::Path| run(forecare().args(["config", "check", "--config"]).arg(path));
    assert!(check(file.path()).0);
    std::fs::write(
        file.path(),
        defaults.replace("receive_maximum", "recieve_maximum"),
    )
    .unwrap();
    let (ok, _, err) = check(file.path());
    assert!(!ok && err.contains("recieve_maximum"), "{err}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_without_a_word() {
    let home = tempfile::tempdir().unwrap();
    let doctor = ["doctor", "--json", "--home", home.path().to_str().unwrap()];
    for args in [&doctor[..], &["config", "default"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = forecare()
            .args(args)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        // As a shell tells of what SIGPIPE has ended.
        assert_eq!(output.status.code(), Some(141), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn the_environment_overrides_and_is_named_when_wrong() {
    let (ok, out, _) = run(forecare()
        .args(["config", "check"])
        .env("FORECARE_HTTP__LISTEN", "127.0.0.1:9191"));
    assert!(ok && out.contains("9191"), "{out}");
    let (ok, _, err) = run(forecare()
        .args(["config", "check"])
        .env("FORECARE_HTTP__LISTEN", "nowhere"));
    assert!(!ok && err.contains("HTTP.LISTEN"), "{err}");
}

#[test]
fn absent_data_is_named_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    for command in ["train", "replay"] {
        let (ok, _, err) = run(forecare()
            .args([
                command,
                "azure-pdm",
                "--data",
                "/nonexistent/azure",
                "--home",
            ])
            .arg(home.path()));
        assert!(
            !ok && err.contains("/nonexistent/azure") && err.contains("PdM_"),
            "{command}: {err}"
        );
    }
    let (ok, _, err) = run(forecare().args(["dead-letters", "--home", "/nonexistent/home"]));
    assert!(!ok && err.contains("--home"), "{err}");
}

#[test]
fn a_model_that_does_not_fit_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("models")).unwrap();
    let file = home.path().join("models/broken.json");
    std::fs::write(&file, "{}").unwrap();
    let (ok, _, err) = run(forecare()
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--home",
        ])
        .arg(home.path()));
    assert!(
        !ok && err.contains("broken.json") && err.contains("train"),
        "{err}"
    );
}
