//! Transactions ended after every few instructions of SQLite's machine: the state is the one before, or
//! the one after, and the next try succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forecare_domain::{AlarmChange, Priority, RejectReason, Rejection, TicketState};
use forecare_store::conformance::fixtures::{
    alarm, assert_balanced, asset, catalogue, decision, health, hour, movement, need, opening,
    register, row, step, task, with_extra,
};
use forecare_store::{CareOutcome, Checkpoint, CommitBatch, StockMove, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::SqliteStore;

/// Everything stored, as text, whatever the table.
fn dump(store: &SqliteStore) -> String {
    let conn = Connection::open(store.file()).unwrap();
    let mut names = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |r| r.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut text = String::new();
    for name in names {
        let mut rows = conn
            .prepare(&format!("SELECT * FROM \"{name}\" ORDER BY 1, 2"))
            .unwrap();
        let n = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<_> = (0..n).map(|i| row.get_ref(i).unwrap()).collect();
            text.push_str(&format!("{name} {values:?}\n"));
        }
    }
    text
}

/// Makes SQLite give up after `instructions` more.
async fn abort_after(store: &SqliteStore, instructions: Option<u64>) {
    store
        .pool
        .write("test", move |writer| {
            let done = AtomicU64::new(0);
            let handler = instructions.map(|n| move || done.fetch_add(1, Ordering::Relaxed) == n);
            writer.conn.progress_handler(1, handler)?;
            Ok(())
        })
        .await
        .unwrap();
}

/// A store to be disturbed, and a twin that is told the same and left in peace.
struct Pair {
    store: Arc<SqliteStore>,
    twin: Arc<SqliteStore>,
    _directories: [TempDir; 2],
}

impl Pair {
    fn new() -> Self {
        let ((store, one), (twin, other)) = (fresh(), fresh());
        Self {
            store,
            twin,
            _directories: [one, other],
        }
    }

    async fn both<T>(&self, work: impl AsyncFn(&SqliteStore) -> Result<T, StoreError>) -> T {
        work(&self.twin).await.unwrap();
        work(&self.store).await.unwrap()
    }

    /// Runs `work` again and again, ended `step_by` instructions later each time, until it gets through.
    async fn disturbed<T>(
        &self,
        step_by: usize,
        work: impl AsyncFn(&SqliteStore) -> Result<T, StoreError>,
    ) {
        let before = dump(&self.store);
        work(&self.twin).await.unwrap();
        let after = dump(&self.twin);
        assert_ne!(before, after);
        let mut n_undone = 0;
        for k in (0..).step_by(step_by) {
            abort_after(&self.store, Some(k)).await;
            let done = work(&self.store).await;
            abort_after(&self.store, None).await;
            let now = dump(&self.store);
            // Ended in the very last instructions of its COMMIT, a call that failed may have been stored.
            if done.is_ok() || now == after {
                assert_eq!(now, after, "after {k} instructions");
                break;
            }
            n_undone += 1;
            assert_eq!(now, before, "after {k} instructions");
        }
        assert!(n_undone > 30, "only {n_undone} places to end at");
    }
}

fn fresh() -> (Arc<SqliteStore>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), &catalogue(), hour(0)).unwrap();
    (Arc::new(store), directory)
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let pair = Pair::new();
    let first = CommitBatch {
        rows: vec![row(0, 1, [Some(1.0), None, None])],
        assets: vec![asset(0), asset(1)],
        ..CommitBatch::default()
    };
    pair.both(async |store| store.commit_batch(first.clone()).await)
        .await;
    let rejection = Rejection {
        received_at: hour(1),
        topic: "t".to_owned(),
        reason: RejectReason::TooDeep,
        detail: String::new(),
        payload: Vec::new(),
        payload_bytes: 0,
    };
    let batch = CommitBatch {
        // New, merging, conflicting, refused, with overflow; and of a device that the batch registers.
        rows: vec![
            row(1, 1, [Some(1.0), None, None]),
            row(0, 1, [Some(7.0), Some(2.0), None]),
            row(9, 1, [Some(1.0), None, None]),
            with_extra(row(2, 1, [Some(1.0), None, None]), &[("odd", 1.0)]),
        ],
        assets: vec![asset(2)],
        rejections: vec![rejection],
        checkpoints: vec![Checkpoint {
            device: asset(0).device,
            watermark: hour(1),
            state: vec![1],
        }],
        alarms: vec![AlarmChange::Raised(alarm(0, 1))],
        health: vec![health(0, 1, 50.0)],
        tasks: vec![task(0, 1)],
        ..CommitBatch::default()
    };
    pair.disturbed(5, async |store| store.commit_batch(batch.clone()).await)
        .await;
    let store = &pair.store;
    assert_eq!(store.rejection_counts().await.unwrap().len(), 2);
    // What the writer remembers of rolled-back registrations must not outlive them.
    let again = CommitBatch {
        rows: vec![row(2, 2, [Some(1.0), None, None])],
        ..CommitBatch::default()
    };
    assert_eq!(store.commit_batch(again).await.unwrap().inserted, 1);
}

#[tokio::test]
async fn a_care_step_is_stored_whole_or_not_at_all() {
    let pair = Pair::new();
    let tasks = CommitBatch {
        tasks: vec![task(0, 1)],
        ..CommitBatch::default()
    };
    pair.both(async |store| store.commit_batch(tasks.clone()).await)
        .await;
    // The second one pre-empts the first.
    pair.both(async |store| store.commit_care(opening(0, need(4, Priority::P4))).await)
        .await;
    let mut commit = opening(1, need(4, Priority::P1));
    commit.task = Some(pair.store.next_tasks(1).await.unwrap()[0].0);
    commit.idempotency_key = Some("key".to_owned());
    commit.decision = Some(decision(1, 1));
    pair.disturbed(9, async |store| store.commit_care(commit.clone()).await)
        .await;
    let CareOutcome::Opened { ticket, .. } = pair
        .both(async |store| store.commit_care(commit.clone()).await)
        .await
    else {
        panic!("the key returns the first outcome");
    };
    let resolve = step(&ticket, TicketState::Resolved, 3, &[("BRG-1", 3)]);
    pair.disturbed(9, async |store| store.commit_care(resolve.clone()).await)
        .await;
    let receipt = movement("r", StockMove::Receipt, 3, 4);
    pair.disturbed(9, async |store| store.move_stock(receipt.clone()).await)
        .await;
    let shared: Arc<dyn Store> = pair.store.clone();
    assert_balanced(&shared).await;
    SqliteStore::check(pair.store.file()).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_named_and_the_next_try_goes_on() {
    let (store, _directory) = fresh();
    let shared: Arc<dyn Store> = store.clone();
    register(&shared, 1).await;
    let limit = |pages: i64| {
        let store = Arc::clone(&store);
        async move {
            store
                .pool
                .write("test", move |writer| {
                    writer.conn.query_row(
                        &format!("PRAGMA max_page_count = {pages}"),
                        [],
                        |_| Ok(()),
                    )?;
                    Ok(())
                })
                .await
                .unwrap();
        }
    };
    let batch = CommitBatch {
        rows: (0..5_000)
            .map(|ts| row(0, ts, [Some(1.5), Some(2.5), None]))
            .collect(),
        ..CommitBatch::default()
    };
    let before = dump(&store);
    limit(1).await; // Cut to the pages there are.
    let error = store.commit_batch(batch.clone()).await.unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    assert_eq!(dump(&store), before);
    limit(1_000_000).await;
    assert_eq!(store.commit_batch(batch).await.unwrap().inserted, 10_000);
}
