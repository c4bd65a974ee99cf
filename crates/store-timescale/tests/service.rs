//! One service works on a schema: on real PostgreSQL, whose sessions hold locks.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

use forecare_store::conformance::fixtures::{hour, register, row};
use forecare_store::{CommitBatch, Store, StoreError};
use forecare_store_timescale::{ServiceClaim, TimescaleSettings, TimescaleStore};
use forecare_test_databases::Postgres;
use std::sync::Arc;
use support::{fresh_plain, open, plain, shared, wait_for};

const WHO: &str = "process 1 of the test";

fn batch(n: i64) -> CommitBatch {
    CommitBatch {
        rows: vec![row(0, n, [Some(1.0), None, None])],
        ..CommitBatch::default()
    }
}

/// A store that serves.
async fn serving(settings: &TimescaleSettings, who: &str) -> (Arc<TimescaleStore>, ServiceClaim) {
    let mut claim = ServiceClaim::take(settings, who).await.unwrap();
    let store = open(settings).await.unwrap();
    store.serve(&mut claim).await.unwrap();
    (Arc::new(store), claim)
}

fn database(settings: &TimescaleSettings) -> &str {
    settings.url.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_is_refused_and_other_writers_are_not() {
    let settings = fresh_plain();
    let (store, mut claim) = serving(&settings, WHO).await;
    let refused = ServiceClaim::take(&settings, "another").await.unwrap_err();
    assert!(!TimescaleStore::may_pass(&refused));
    assert!(matches!(refused, StoreError::Misconfigured(_)));
    let text = refused.to_string();
    for word in [WHO, "schema forecare", "stop it", "[store] schema"] {
        assert!(text.contains(word), "no {word} in: {text}");
    }
    assert!(store.served_by().await.unwrap().unwrap().contains(WHO));
    // A tool beside the service.
    let tool = shared(&settings).await;
    register(&tool, 1).await;
    tool.commit_batch(batch(0)).await.unwrap();
    store.commit_batch(batch(1)).await.unwrap();
    // Another schema is another service's.
    let elsewhere = TimescaleSettings {
        schema: "elsewhere".to_owned(),
        ..settings.clone()
    };
    drop(serving(&elsewhere, "another").await);
    claim.release().await;
    assert_eq!(store.served_by().await.unwrap(), None);
    drop(serving(&settings, "another").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_replaced_commits_nothing_more_and_hears_of_it() {
    let settings = fresh_plain();
    let (first, mut claim) = serving(&settings, WHO).await;
    let first: Arc<dyn Store> = first;
    register(&first, 1).await;
    first.commit_batch(batch(0)).await.unwrap();
    let mut replaced = claim.replaced();
    assert!(replaced.borrow().is_none());
    // The lock is lost without the connections that write: another service takes it before the first one can.
    claim.release().await;
    let (second, _claim) = serving(&settings, "the second").await;
    let text = first.commit_batch(batch(1)).await.unwrap_err().to_string();
    assert!(
        text.contains("taken over") && text.contains("the second"),
        "{text}"
    );
    assert!(first.put_setting("a", "b").await.is_err());
    let told = replaced.wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(told, Some(text));
    // Nothing of it is there.
    second.commit_batch(batch(1)).await.unwrap();
    let device = forecare_store::conformance::fixtures::device(0);
    assert_eq!(second.fingerprint(&device).await.unwrap().n_readings, 2);
    assert_eq!(second.setting("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_connection_was_killed_is_taken_again_while_commits_go_on() {
    let settings = fresh_plain();
    let (store, claim) = serving(&settings, WHO).await;
    let port: Arc<dyn Store> = store.clone();
    register(&port, 1).await;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'
                AND classid = 1178817366 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for n in 0..3 {
        assert_eq!(Postgres::shared().sql(database(&settings), kill), "1");
        store.commit_batch(batch(n)).await.unwrap();
        wait_for("the lock again", async || {
            store.served_by().await.unwrap().is_some()
        })
        .await;
        store.commit_batch(batch(100 + n)).await.unwrap();
    }
    assert!(claim.replaced().borrow().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_or_is_replaced_by_its_standby_is_held_again() {
    let primary = Postgres::start();
    let standby = primary.standby();
    primary.sql(
        "postgres",
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
    );
    primary.sql("postgres", "SELECT pg_reload_conf()");
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let settings = plain(format!("postgres://postgres@{hosts}/postgres"));
    let (store, claim) = serving(&settings, WHO).await;
    let port: Arc<dyn Store> = store.clone();
    register(&port, 1).await;
    let held = async |what: &str| {
        wait_for(
            what,
            async || matches!(store.served_by().await, Ok(Some(who)) if who.contains(WHO)),
        )
        .await;
    };
    primary.restart();
    held("the lock after the restart").await;
    wait_for("a commit after the restart", async || {
        store.commit_batch(batch(1)).await.is_ok()
    })
    .await;
    primary.stop_immediate();
    standby.promote();
    wait_for("a commit after the failover", async || {
        store.commit_batch(batch(2)).await.is_ok()
    })
    .await;
    held("the lock after the failover").await;
    assert!(claim.replaced().borrow().is_none());
    let only_standby = plain(standby.url());
    let refused = ServiceClaim::take(&only_standby, "another").await;
    assert!(refused.unwrap_err().to_string().contains(WHO));
    assert!(
        store
            .newest_reading(&forecare_store::conformance::fixtures::device(0))
            .await
            .unwrap()
            >= Some(hour(0))
    );
}
