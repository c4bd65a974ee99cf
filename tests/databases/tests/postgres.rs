//! Clusters do what tests of the store rely on.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::path::PathBuf;
use std::process::Command;

use forecare_test_databases::{Authority, Options, Postgres};

#[test]
fn what_was_committed_survives_an_immediate_stop_and_a_restart() {
    let cluster = Postgres::start();
    let database = cluster.database();
    cluster.sql(
        &database,
        "CREATE TABLE t AS SELECT generate_series(1, 3) AS x",
    );
    cluster.stop_immediate();
    cluster.start_again();
    assert_eq!(cluster.sql(&database, "SELECT sum(x) FROM t"), "6");
    cluster.restart();
    assert_eq!(cluster.sql(&database, "SHOW fsync"), "on");
    assert_eq!(
        cluster.sql(&database, "SELECT count(*), min(x) FROM t"),
        "3|1"
    );
}

#[test]
fn a_standby_follows_and_can_be_promoted() {
    let primary = Postgres::start();
    let standby = primary.standby();
    primary.sql(
        "postgres",
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
    );
    primary.sql("postgres", "SELECT pg_reload_conf()");
    primary.sql(
        "postgres",
        "SET synchronous_commit = remote_apply; CREATE TABLE t (x int)",
    );
    primary.stop_immediate();
    assert_eq!(standby.sql("postgres", "SELECT pg_is_in_recovery()"), "t");
    standby.promote();
    standby.sql("postgres", "INSERT INTO t VALUES (1)");
}

#[test]
fn passwords_and_tls_are_asked_for() {
    let authority = Authority::new();
    let certificate = authority.issue("IP:127.0.0.1");
    let cluster = Postgres::start_with(Options {
        password: Some("secret"),
        certificate: Some(&certificate),
        settings: &[("work_mem", "7MB")],
        ..Options::default()
    });
    assert_eq!(cluster.sql("postgres", "SHOW work_mem"), "7MB");
    let psql = |url: String, root: Option<PathBuf>| -> bool {
        let mut command = Command::new("psql");
        command
            .args(["-X", "-c", "SELECT 1", "-d", &url])
            .env("PGCONNECT_TIMEOUT", "20");
        if let Some(root) = root {
            command
                .env("PGSSLMODE", "verify-full")
                .env("PGSSLROOTCERT", root);
        }
        command.output().unwrap().status.success()
    };
    let trusted = || Some(authority.file());
    assert!(psql(cluster.url(), trusted()));
    assert!(!psql(cluster.url(), Some(Authority::new().file())));
    assert!(!psql(cluster.url().replace("secret", "guess"), trusted()));
    assert!(!psql(
        format!("{}?sslmode=disable", cluster.url()),
        trusted()
    ));
}

/// Only does something when [`a_killed_test_leaves_no_server_behind`] starts it.
#[test]
fn the_test_that_is_killed() {
    if std::env::var_os("FORECARE_TEST_KILLED").is_some() {
        let cluster = Postgres::start();
        println!(
            "{}",
            cluster.sql("postgres", "SHOW data_directory; SHOW port")
        );
        std::process::abort();
    }
}

#[test]
fn a_killed_test_leaves_no_server_behind() {
    let killed = Command::new(std::env::current_exe().unwrap())
        .args(["the_test_that_is_killed", "--exact", "--nocapture"])
        .env("FORECARE_TEST_KILLED", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(killed.stdout).unwrap();
    let directory = said.lines().find(|l| l.starts_with('/')).unwrap();
    let directory = PathBuf::from(directory).parent().unwrap().to_owned();
    let begin = std::time::Instant::now();
    while directory.exists() {
        assert!(
            begin.elapsed().as_secs() < 60,
            "{} is still there",
            directory.display()
        );
        std::thread::yield_now();
    }
}
