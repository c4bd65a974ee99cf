//! What must not be used as it is, is refused; the text names the fix, and the fix helps.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use forecare_domain::Timestamp;
use forecare_store::conformance::fixtures::catalogue;
use forecare_store_timescale::{ServiceClaim, TimescaleSettings, TimescaleStore};
use forecare_test_databases::{Options, Postgres};
use support::{fresh_plain, open, plain, refusal};

fn assert_names(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no \"{word}\" in: {text}");
    }
}

#[tokio::test]
async fn a_server_without_the_extension_is_refused_unless_asked_for() {
    let mut settings = fresh_plain();
    settings.plain_postgres = false;
    let database = settings.url.rsplit('/').next().unwrap();
    let sql = |sql: &str| Postgres::shared().sql(database, sql);
    let text = refusal(&settings).await;
    assert_names(&text, &["timescaledb", "CREATE EXTENSION timescaledb"]);
    let is_installed = "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'";
    if sql(is_installed) == "0" {
        let fix = "shared_preload_libraries = 'timescaledb'";
        assert_names(&text, &["is not installed", fix, "plain_postgres"]);
    }
    let tables = "SELECT count(*) FROM pg_namespace WHERE nspname = 'forecare'";
    assert_eq!(sql(tables), "0", "nothing is made");
    settings.plain_postgres = true;
    open(&settings).await.unwrap();
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_acknowledged_is_refused() {
    let cluster = Postgres::start();
    let settings = plain(cluster.url());
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        cluster.sql("postgres", &format!("ALTER SYSTEM SET {name} = off"));
        cluster.sql("postgres", "SELECT pg_reload_conf()");
        wait_for_setting(&cluster, name, "off");
        let text = refusal(&settings).await;
        assert_names(
            &text,
            &[
                &format!("{name} is off"),
                "ALTER SYSTEM",
                "pg_reload_conf()",
            ],
        );
        cluster.sql("postgres", &format!("ALTER SYSTEM SET {name} = on"));
        cluster.sql("postgres", "SELECT pg_reload_conf()");
        wait_for_setting(&cluster, name, "on");
    }
    for whose in ["ROLE postgres", "DATABASE postgres"] {
        cluster.sql(
            "postgres",
            &format!("ALTER {whose} SET synchronous_commit = off"),
        );
        assert_names(
            &refusal(&settings).await,
            &["synchronous_commit is off", "RESET synchronous_commit"],
        );
        cluster.sql(
            "postgres",
            &format!("ALTER {whose} RESET synchronous_commit"),
        );
    }
    open(&settings).await.unwrap();
}

fn wait_for_setting(cluster: &Postgres, name: &str, value: &str) {
    let begin = Instant::now();
    while cluster.sql("postgres", &format!("SHOW {name}")) != value {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_standby_is_refused_and_its_primary_found_beside_it() {
    let primary = Postgres::start();
    let standby = primary.standby();
    let text = refusal(&plain(standby.url())).await;
    assert_names(&text, &["standby", "name the primary too in the URL"]);
    let both = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), primary.port());
    let url = format!("postgres://postgres@{both}/postgres");
    open(&plain(url)).await.unwrap();
}

#[tokio::test]
async fn several_hosts_without_a_synchronous_standby_are_warned_of_at_the_start_and_by_doctor() {
    let cluster = Postgres::start();
    let one = format!("127.0.0.1:{}", cluster.port());
    let alone = open(&plain(cluster.url())).await.unwrap();
    assert!(alone.warnings().await.unwrap().is_empty());
    let url = format!("postgres://postgres@{one},{one}/postgres");
    let store = open(&plain(url)).await.unwrap();
    let warned = store.warnings().await.unwrap();
    let fix = warned[0].fix.as_deref().unwrap();
    assert_names(&warned[0].what, &["synchronous_standby_names is empty"]);
    assert_names(fix, &["ALTER SYSTEM SET synchronous_standby_names"]);
    let now = Timestamp::from_millis(1_700_000_000_000);
    assert!(store.examine(now).await.contains(&warned[0]));

    // The fix helps.
    let names = "ANY 1 (a, b)";
    cluster.sql(
        "postgres",
        &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"),
    );
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    wait_for_setting(&cluster, "synchronous_standby_names", names);
    assert!(store.warnings().await.unwrap().is_empty());
}

#[tokio::test]
async fn another_encoding_is_refused() {
    let cluster = Postgres::shared();
    cluster.sql(
        "postgres",
        "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
    );
    let text = refusal(&plain(cluster.url_of("ascii"))).await;
    assert_names(&text, &["SQL_ASCII", "ENCODING 'UTF8'"]);
}

#[tokio::test]
async fn who_may_not_enter_learns_why() {
    let cluster = Postgres::start_with(Options {
        password: Some("right"),
        ..Options::default()
    });
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port());
    let none = plain(url);
    assert_names(
        &refusal(&none).await,
        &["store.password_file", "FORECARE_STORE__PASSWORD_FILE"],
    );
    let with = |password: &str| TimescaleSettings {
        password: Some(password.to_owned()),
        ..none.clone()
    };
    let text = refusal(&with("wrong-one")).await;
    assert_names(&text, &["correct the password", "store.password_file"]);
    assert!(!text.contains("wrong-one"), "{text}");
    open(&with("right")).await.unwrap();
    cluster.sql("postgres", "CREATE ROLE guest LOGIN PASSWORD 'right'");
    let mut guest = with("right");
    guest.schema = "of_guest".to_owned();
    guest.url = guest.url.replace("postgres@", "guest@");
    // Who only looks says what a start would say.
    let refusals = async |words: &str| {
        assert_names(&refusal(&guest).await, &["guest", words]);
        let claimed = ServiceClaim::take(&guest, "a test").await;
        assert_names(&claimed.unwrap_err().to_string(), &["guest", words]);
        let looked = TimescaleStore::open_to_examine(guest.clone(), &catalogue()).await;
        assert_names(&looked.unwrap_err().to_string(), &["guest", words]);
    };
    refusals("GRANT CREATE ON DATABASE postgres TO guest").await;
    cluster.sql("postgres", "CREATE SCHEMA of_guest");
    refusals("GRANT USAGE, CREATE ON SCHEMA of_guest TO guest").await;
    cluster.sql("postgres", "DROP SCHEMA of_guest");
    cluster.sql("postgres", "GRANT CREATE ON DATABASE postgres TO guest");
    open(&guest).await.unwrap();
    guest.schema = "of_postgres".to_owned();
    let mut owner = with("right");
    owner.schema = "of_postgres".to_owned();
    open(&owner).await.unwrap();
    cluster.sql(
        "postgres",
        "GRANT USAGE, CREATE ON SCHEMA of_postgres TO guest",
    );
    assert_names(
        &refusal(&guest).await,
        &["of_postgres is postgres's", "guest"],
    );
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let cluster = Postgres::start();
    let nowhere = plain(cluster.url_of("nowhere"));
    assert_names(&refusal(&nowhere).await, &["nowhere", "CREATE DATABASE"]);
    cluster.stop_immediate();
    let error = open(&plain(cluster.url())).await.unwrap_err();
    assert!(TimescaleStore::may_pass(&error), "{error}");
    // Said once: whoever tells the sources too leaves this one out.
    assert!(TimescaleStore::is_told(
        std::error::Error::source(&error).unwrap()
    ));
    assert_names(
        &error.to_string(),
        &[&format!("127.0.0.1:{}", cluster.port()), "reachable"],
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_anything_is_connected() {
    let base = plain("postgres://postgres@127.0.0.1:1/postgres".to_owned());
    let cases = [
        (
            TimescaleSettings {
                schema: "public".to_owned(),
                ..base.clone()
            },
            "schema \"public\"",
        ),
        (
            TimescaleSettings {
                schema: "a; DROP".to_owned(),
                ..base.clone()
            },
            "lower-case letters",
        ),
        (
            TimescaleSettings {
                pool_max: 0,
                ..base.clone()
            },
            "pool_max must be 1 to 100",
        ),
        (
            TimescaleSettings {
                url: "mysql://x".to_owned(),
                ..base.clone()
            },
            "postgres://user@host/database",
        ),
        (
            TimescaleSettings {
                url: "postgres:///x".to_owned(),
                ..base.clone()
            },
            "names no host",
        ),
    ];
    for (settings, words) in cases {
        assert_names(&refusal(&settings).await, &[words]);
    }
}
