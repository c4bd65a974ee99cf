//! What a commit promises when connections break, and servers crash, restart and change places.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use forecare_domain::Priority;
use forecare_store::conformance::fixtures::{
    bearings, device, hour, movement, need, opening, receipt, register, row, task,
};
use forecare_store::{
    CareOutcome, CommitBatch, CommitReceipt, StockMove, Store, StoreError, TicketFilter,
};
use forecare_store_timescale::TimescaleSettings;
use forecare_test_databases::{Cut, Postgres, Proxy};
use support::{fresh_plain, open, plain, shared, wait_for};

/// Devices, each with one row of two readings in every batch.
const DEVICES: usize = 8;

/// Batch number `n`, with a care task that says so.
fn batch(n: i64) -> CommitBatch {
    CommitBatch {
        rows: (0..DEVICES)
            .map(|d| row(d, n, [Some(1.0), Some(2.0), None]))
            .collect(),
        tasks: vec![task(0, n)],
        ..CommitBatch::default()
    }
}

/// Commits batches from `first` on, each until it is acknowledged as a broker's redelivery would, until
/// `last` says enough. Says in `acknowledged` how far it got; returns how many tries failed.
async fn work(store: Arc<dyn Store>, acknowledged: Arc<AtomicI64>, last: Arc<AtomicI64>) -> u64 {
    let mut n_failed = 0;
    let mut n = 0;
    while n <= last.load(Ordering::Relaxed) {
        match store.commit_batch(batch(n)).await {
            Ok(_) => {
                acknowledged.store(n, Ordering::Relaxed);
                n += 1;
            }
            Err(StoreError::Unavailable { .. }) => {
                n_failed += 1;
                // Whoever redelivers waits a little.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    n_failed
}

/// Every row of the first `n` batches is stored once, and nothing else.
async fn assert_rows(store: &Arc<dyn Store>, n: i64) {
    for d in 0..DEVICES {
        let rows = store.rows_after(&device(d), None, 100_000).await.unwrap();
        assert_eq!(i64::try_from(rows.len()).unwrap(), n);
        let stored = store.fingerprint(&device(d)).await.unwrap().n_readings;
        assert_eq!(i64::try_from(stored).unwrap(), 2 * n);
    }
    assert!(
        store
            .conflicts(forecare_store::conformance::fixtures::ALL)
            .await
            .unwrap()
            .is_empty()
    );
}

/// Each of the first `n` batches queued its task once. The port hands out the oldest only, so the table is asked.
fn assert_tasks(cluster: &Postgres, database: &str, n: i64) {
    let tasks = "SELECT count(*), count(DISTINCT body::text) FROM forecare.care_tasks";
    assert_eq!(cluster.sql(database, tasks), format!("{n}|{n}"));
}

/// Lets `disturb` loose on the cluster `n_times` while batches are being committed.
async fn disturbed(n_times: i64, disturb: impl Fn(&Postgres) + Send + 'static) {
    let cluster = Postgres::start();
    let store = shared(&plain(cluster.url())).await;
    register(&store, DEVICES).await;
    let acknowledged = Arc::new(AtomicI64::new(-1));
    let last = Arc::new(AtomicI64::new(i64::MAX));
    let worker = tokio::spawn(work(store.clone(), acknowledged.clone(), last.clone()));
    for n in 0..n_times {
        let wanted = acknowledged.load(Ordering::Relaxed) + 10 + 7 * n;
        wait_for("batches to be acknowledged", async || {
            acknowledged.load(Ordering::Relaxed) >= wanted
        })
        .await;
        disturb(&cluster);
    }
    let end = acknowledged.load(Ordering::Relaxed) + 10;
    last.store(end, Ordering::Relaxed);
    let n_failed = worker.await.unwrap();
    assert!(n_failed > 0, "nothing was disturbed");
    let n = acknowledged.load(Ordering::Relaxed) + 1;
    assert_rows(&store, n).await;
    assert_tasks(&cluster, "postgres", n);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_the_server_lose_and_double_nothing() {
    disturbed(6, |cluster| {
        cluster.stop_immediate();
        cluster.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_the_server_lose_and_double_nothing() {
    disturbed(3, Postgres::restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_killed_at_random_lose_and_double_nothing() {
    disturbed(10, |cluster| {
        cluster.sql(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forecare'",
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_killed_in_the_middle_of_a_copy_stores_nothing() {
    let settings = fresh_plain();
    let database = settings.url.rsplit('/').next().unwrap().to_owned();
    let sql = |sql: &str| Postgres::shared().sql(&database, sql);
    let store = shared(&settings).await;
    register(&store, 1).await;
    // The COPY stops at its 500th row, for as long as somebody has the lock.
    sql(&format!(
        "CREATE FUNCTION public.wait_there() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;
         CREATE TRIGGER wait_there BEFORE INSERT ON forecare.telemetry_1 FOR EACH ROW
         WHEN (NEW.ts = to_timestamp({})) EXECUTE FUNCTION public.wait_there()",
        hour(0).as_millis() / 1_000 + 500
    ));
    let big = || CommitBatch {
        rows: (0..1_000)
            .map(|n| row(0, n * 1_000, [Some(1.0), None, None]))
            .collect(),
        ..CommitBatch::default()
    };
    let holder = tokio::task::spawn_blocking({
        let database = database.clone();
        move || {
            Postgres::shared().sql(
                &database,
                "BEGIN; SELECT pg_advisory_xact_lock(1);
                 DO $$ BEGIN
                     WHILE NOT EXISTS (SELECT 1 FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event = 'advisory' AND query ILIKE 'COPY%') LOOP
                         PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
                     END LOOP;
                     PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event = 'advisory' AND query ILIKE 'COPY%';
                 END $$; COMMIT",
            )
        }
    });
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND mode = 'ExclusiveLock' AND granted";
    wait_for("the lock to be held", async || sql(held) == "1").await;
    let error = store.commit_batch(big()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    holder.await.unwrap();
    assert_eq!(store.fingerprint(&device(0)).await.unwrap().n_readings, 0);
    assert_eq!(
        store.commit_batch(big()).await.unwrap(),
        receipt(1_000, 0, 0)
    );
}

/// A store behind a proxy, one straight to the same database to look with, and the database's name.
async fn cut_off() -> (Proxy, Arc<dyn Store>, Arc<dyn Store>, String) {
    let direct = fresh_plain();
    let cluster = Postgres::shared();
    let proxy = Proxy::start(cluster.port());
    let through = direct.url.replace(
        &format!(":{}/", cluster.port()),
        &format!(":{}/", proxy.port()),
    );
    let store = shared(&plain(through)).await;
    register(&store, DEVICES).await;
    let looking = shared(&direct).await;
    let database = direct.url.rsplit('/').next().unwrap().to_owned();
    (proxy, store, looking, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_acknowledged_when_it_happened() {
    let (proxy, store, looking, database) = cut_off().await;
    for (n, cut) in [
        Cut::AfterCommit,
        Cut::LateCommit(Duration::from_secs(1)),
        Cut::AfterCommit,
    ]
    .into_iter()
    .enumerate()
    {
        proxy.cut_next_commit(cut);
        let n = i64::try_from(n).unwrap();
        let stored = store.commit_batch(batch(n)).await.unwrap();
        assert_eq!(stored, receipt(2 * DEVICES as u64, 0, 0), "{cut:?}");
        assert!(proxy.has_cut());
        assert_rows(&looking, n + 1).await;
        assert_tasks(Postgres::shared(), &database, n + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_arrived_is_not_acknowledged_and_the_next_try_stores_it_once() {
    let (proxy, store, looking, database) = cut_off().await;
    store.commit_batch(batch(0)).await.unwrap();
    proxy.cut_next_commit(Cut::BeforeCommit);
    let begin = Instant::now();
    let error = store.commit_batch(batch(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "it waits in vain"
    );
    assert_rows(&looking, 1).await;
    store.commit_batch(batch(1)).await.unwrap();
    assert_rows(&looking, 2).await;
    assert_tasks(Postgres::shared(), &database, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_commit_is_not_taken_for_a_commit_of_whoever_gets_its_transaction_id() {
    let cluster = Postgres::start();
    // Only a commit writes the log, so that the crash takes all trace of a transaction that had none.
    cluster.sql("postgres", "ALTER SYSTEM SET wal_writer_delay = '10s'");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let proxy = Proxy::start(cluster.port());
    let through = cluster.url().replace(
        &format!(":{}/", cluster.port()),
        &format!(":{}/", proxy.port()),
    );
    let store = shared(&plain(through)).await;
    register(&store, DEVICES).await;
    proxy.cut_next_commit(Cut::FrozenBeforeCommit);
    let cut_off = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit_batch(batch(0)).await }
    });
    wait_for("the cut", async || proxy.has_cut()).await;
    cluster.stop_immediate();
    cluster.start_again();
    for _ in 0..20 {
        cluster.sql("postgres", "SELECT pg_current_xact_id()");
    }
    proxy.thaw();
    let error = cut_off.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert_rows(&store, 0).await;
    store.commit_batch(batch(0)).await.unwrap();
    assert_rows(&store, 1).await;
    assert_tasks(&cluster, "postgres", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_care_step_whose_answer_is_lost_is_done_once() {
    let (proxy, store, looking, _) = cut_off().await;
    proxy.cut_next_commit(Cut::AfterCommit);
    let opened = store.commit_care(opening(0, need(2, Priority::P2))).await;
    assert!(
        matches!(opened, Ok(CareOutcome::Opened { .. })),
        "{opened:?}"
    );
    proxy.cut_next_commit(Cut::LateCommit(Duration::from_millis(600)));
    let scrap = movement("scrap", StockMove::Scrap, 1, 2);
    assert_eq!(
        store.move_stock(scrap.clone()).await.unwrap().item.on_hand,
        4
    );
    assert_eq!(store.move_stock(scrap).await.unwrap().item.on_hand, 4);
    assert!(proxy.has_cut());
    let all = forecare_store::conformance::fixtures::ALL;
    let tickets = looking
        .tickets(&TicketFilter::default(), all)
        .await
        .unwrap();
    assert_eq!(tickets.len(), 1);
    assert_eq!(bearings(&looking, "main").await, (4, 2, 0, 0));
    proxy.cut_next_commit(Cut::BeforeCommit);
    let refused = store.commit_care(opening(1, need(1, Priority::P2))).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(bearings(&looking, "main").await, (4, 2, 0, 0));
    store
        .commit_care(opening(1, need(1, Priority::P2)))
        .await
        .unwrap();
    assert_eq!(bearings(&looking, "main").await, (4, 3, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_store_goes_on_at_the_other_host() {
    let primary = Postgres::start();
    let standby = primary.standby();
    // What is acknowledged has reached the standby.
    primary.sql(
        "postgres",
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
    );
    primary.sql("postgres", "SELECT pg_reload_conf()");
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let settings: TimescaleSettings = plain(format!("postgres://postgres@{hosts}/postgres"));
    let store = shared(&settings).await;
    register(&store, DEVICES).await;
    let streaming = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    wait_for("the standby to be synchronous", async || {
        primary.sql("postgres", streaming) == "1"
    })
    .await;
    let acknowledged = Arc::new(AtomicI64::new(-1));
    let last = Arc::new(AtomicI64::new(i64::MAX));
    let worker = tokio::spawn(work(store.clone(), acknowledged.clone(), last.clone()));
    wait_for("batches to be acknowledged", async || {
        acknowledged.load(Ordering::Relaxed) >= 30
    })
    .await;
    primary.stop_immediate();
    let before = acknowledged.load(Ordering::Relaxed);
    standby.promote();
    wait_for("batches to be acknowledged again", async || {
        acknowledged.load(Ordering::Relaxed) >= before + 30
    })
    .await;
    last.store(0, Ordering::Relaxed);
    worker.await.unwrap();
    // A batch that was cut off by the failover is found, or not found, on the standby by its mark.
    let n = acknowledged.load(Ordering::Relaxed) + 1;
    assert_rows(&store, n).await;
    assert_tasks(&standby, "postgres", n);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_every_call_fails_soon_and_says_where() {
    let cluster = Postgres::start();
    let store = open(&plain(cluster.url())).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    register(&store, DEVICES).await;
    cluster.stop_immediate();
    let port = cluster.port().to_string();
    for _ in 0..3 {
        let begin = Instant::now();
        let outcome: [Result<CommitReceipt, StoreError>; 2] = [
            store.commit_batch(batch(0)).await,
            store.stock().await.map(|_| receipt(0, 0, 0)),
        ];
        for error in outcome {
            let text = error.unwrap_err().to_string();
            assert!(
                text.contains(&port) && text.contains("unavailable"),
                "{text}"
            );
        }
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    cluster.start_again();
    store.commit_batch(batch(0)).await.unwrap();
    assert_rows(&store, 1).await;
}
