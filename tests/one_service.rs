//! One service works on a schema of the database: real processes on a real PostgreSQL. A plain one; with TimescaleDB where
//! `FORECARE_TEST_TIMESCALE` names the programs of a PostgreSQL that has it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use forecare_test_databases::Postgres;
use support::{Service, forecare, run, wait_for};

/// A config file in `dir` for an instance on that database.
fn configured(dir: &Path, database: &Postgres, schema: &str) -> PathBuf {
    let file = dir.join("forecare.toml");
    std::fs::write(
        &file,
        format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = {:?}\nschema = {schema:?}\nplain_postgres = {}\n",
            database.url(),
            !database.has_timescale()
        ),
    )
    .unwrap();
    file
}

fn on(dir: &Path, name: &str) -> Command {
    let mut command = forecare();
    command
        .arg(name)
        .arg("--home")
        .arg(dir.join("home"))
        .arg("--config")
        .arg(dir.join("forecare.toml"));
    command
}

fn serve(dir: &Path) -> Service {
    Service::start(&mut on(dir, "serve"), &dir.join("home"))
}

#[test]
fn a_second_service_is_refused_with_the_fix_and_tools_go_on_working_beside_the_first() {
    let database = Postgres::start_with_timescale_if_there();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    configured(one.path(), &database, "forecare");
    configured(two.path(), &database, "forecare");
    let mut first = serve(one.path());
    let (ok, _, err) = run(&mut on(two.path(), "serve"));
    assert!(!ok);
    for word in [
        "another service works on schema forecare",
        &format!("process {}", first.child.id()),
        "home",
        "stop it",
        "[store] schema",
    ] {
        assert!(err.contains(word), "no \"{word}\" in: {err}");
    }
    // What works beside a service goes on doing so.
    let file = one.path().join("history.csv");
    std::fs::write(
        &file,
        "device,time,vibration\npress-1,2026-01-01T00:00:00Z,2.5\n",
    )
    .unwrap();
    let class = ["--register", "screw-compressor"];
    let (ok, _, err) = run(on(one.path(), "import").args(class).arg(&file));
    assert!(ok, "{err}");
    let out = one.path().join("out");
    let (ok, _, err) = run(on(one.path(), "export").arg("--out").arg(&out));
    assert!(ok, "{err}");
    let exported = std::fs::read_to_string(out.join("telemetry-screw-compressor.csv")).unwrap();
    assert!(exported.contains("press-1"), "{exported}");
    let (_, out, _) = run(&mut on(one.path(), "doctor"));
    assert!(
        out.contains("ok    store       worked on by process"),
        "{out}"
    );
    let (_, out, _) = run(&mut on(two.path(), "doctor"));
    assert!(
        out.contains("warn  store       another service works on the schema"),
        "{out}"
    );
    // A schema of its own is its own; the first one's is free once that is gone, however it went.
    configured(two.path(), &database, "other");
    assert!(serve(two.path()).stop());
    configured(two.path(), &database, "forecare");
    first.kill();
    let second = serve(two.path());
    assert!(second.stop());
    assert!(serve(one.path()).stop());
}

#[test]
fn a_service_that_another_has_replaced_ends_and_says_so() {
    let database = Postgres::start_with_timescale_if_there();
    let dir = tempfile::tempdir().unwrap();
    configured(dir.path(), &database, "forecare");
    let mut command = on(dir.path(), "serve");
    let log = dir.path().join("log");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let token = "SELECT value::json->>'token' FROM forecare.settings WHERE key = 'service'";
    let is_there = "SELECT to_regclass('forecare.settings') IS NOT NULL";
    wait_for("the service's entry", || {
        database.sql("postgres", is_there) == "t" && !database.sql("postgres", token).is_empty()
    });
    // What another service does, once it has the lock because this one's connection was lost.
    database.sql(
        "postgres",
        "UPDATE forecare.settings SET value = '{\"token\": \"x\", \"who\": \"process 1 elsewhere\", \"since\": \"now\"}' WHERE key = 'service';
         SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1178817366",
    );
    let status = child.wait().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!status.success());
    assert!(
        log.contains("another service has taken over schema forecare")
            && log.contains("process 1 elsewhere"),
        "{log}"
    );
}
