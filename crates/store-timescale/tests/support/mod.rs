//! Stores on the databases of the tests.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use forecare_store::conformance::fixtures::{catalogue, hour};
use forecare_store::{Store, StoreError};
use forecare_store_timescale::{TimescaleSettings, TimescaleStore};
use forecare_test_databases::{Postgres, Timescale};

/// Longest wait for anything in a test.
const DEADLINE: Duration = Duration::from_secs(120);

/// A store without the extension.
pub(crate) fn plain(url: String) -> TimescaleSettings {
    TimescaleSettings {
        url,
        plain_postgres: true,
        ..TimescaleSettings::default()
    }
}

/// A database of its own on the shared cluster, without the extension.
pub(crate) fn fresh_plain() -> TimescaleSettings {
    let cluster = Postgres::shared();
    plain(cluster.url_of(&cluster.database()))
}

/// A schema of its own on the TimescaleDB that tests share.
pub(crate) fn fresh_timescale() -> TimescaleSettings {
    let server = Timescale::shared();
    TimescaleSettings {
        url: server.url(),
        schema: server.schema(),
        ..TimescaleSettings::default()
    }
}

pub(crate) async fn open(settings: &TimescaleSettings) -> Result<TimescaleStore, StoreError> {
    TimescaleStore::open(settings.clone(), &catalogue(), hour(0)).await
}

/// PGlite is one session: while a transaction of another test is open nobody gets in, so this tries again.
pub(crate) async fn shared(settings: &TimescaleSettings) -> Arc<dyn Store> {
    let begin = Instant::now();
    loop {
        match open(settings).await {
            Ok(store) => return Arc::new(store),
            Err(error) if TimescaleStore::may_pass(&error) && begin.elapsed() < DEADLINE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Why a store is not opened.
pub(crate) async fn refusal(settings: &TimescaleSettings) -> String {
    open(settings).await.unwrap_err().to_string()
}

/// Waits until `done`; fails with `what` at the deadline.
pub(crate) async fn wait_for(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !done().await {
        assert!(
            begin.elapsed() < DEADLINE,
            "waited {DEADLINE:?} for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
