//! What a commit promises, across the death of the process at any moment.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use forecare_domain::{Priority, TicketState};
use forecare_store::conformance::fixtures::{
    ALL, assert_balanced, asset, catalogue, decision, device, hour, items, need, opening,
    reservations, row, step, task,
};
use forecare_store::{CareOutcome, CommitBatch, Store, TicketFilter};
use forecare_store_sqlite::SqliteStore;

/// Tells the test binary, started again, that it is the one to be killed.
const DIRECTORY: &str = "FORECARE_TEST_CRASH_DIRECTORY";
/// Devices, each with one row in every batch.
const DEVICES: usize = 8;
const KILLS: u32 = 12;

/// Works until killed: batches, each followed by care steps; says on stdout what was acknowledged.
async fn work(store: Arc<dyn Store>) {
    let mut said = std::io::stdout().lock();
    let newest = store.newest_reading(&device(0)).await.unwrap();
    let begin = newest.map_or(0, |ts| ts.as_millis() - hour(0).as_millis() + 1);
    for n in begin.. {
        let batch = CommitBatch {
            rows: (0..DEVICES)
                .map(|d| row(d, n, [Some(1.0), Some(2.0), None]))
                .collect(),
            tasks: vec![task(0, n)],
            ..CommitBatch::default()
        };
        store.commit_batch(batch).await.unwrap();
        writeln!(said, "{n}").unwrap();
        for (id, _) in store.next_tasks(10).await.unwrap() {
            let at = usize::try_from(n).unwrap();
            let mut commit = opening(at % DEVICES, need(1, [Priority::P1, Priority::P4][at % 2]));
            commit.task = Some(id);
            commit.decision = Some(decision(at, n));
            if let CareOutcome::AlreadyOpen(open) = store.commit_care(commit).await.unwrap() {
                let ticket = store.ticket(open).await.unwrap();
                store
                    .commit_care(step(&ticket, TicketState::Resolved, 2, &[("BRG-1", 1)]))
                    .await
                    .unwrap();
            }
        }
    }
}

/// Only does something when [`kill_9_at_random_moments_loses_and_doubles_nothing`] starts it.
#[test]
fn the_process_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = SqliteStore::open(Path::new(&directory), &catalogue(), hour(0)).unwrap();
    runtime.block_on(work(Arc::new(store)));
}

async fn assert_whole(store: &Arc<dyn Store>, acknowledged: Option<i64>) {
    let mut n_batches = None;
    for d in 0..DEVICES {
        let n = store.fingerprint(&device(d)).await.unwrap().n_readings / 2;
        assert_eq!(
            *n_batches.get_or_insert(n),
            n,
            "a batch is stored for all its devices or for none"
        );
    }
    let n_batches = n_batches.unwrap_or(0);
    let expected = acknowledged.map_or(0, |n| u64::try_from(n).unwrap() + 1);
    assert!(
        (expected..=expected + 1).contains(&n_batches),
        "{n_batches} stored, {expected} acknowledged"
    );
    // A task is done in the step that decides it, or it waits.
    let mut n_decided = 0;
    let mut page = ALL;
    loop {
        let next = store.decisions(None, page).await.unwrap();
        let Some(last) = next.last() else { break };
        page.before = Some(last.position);
        n_decided += next.len() as u64;
    }
    let n_waiting = store.next_tasks(1_000).await.unwrap().len() as u64;
    assert_eq!(n_decided + n_waiting, n_batches);
    let filter = TicketFilter {
        asset: None,
        open: Some(true),
        ..TicketFilter::default()
    };
    let open = items(store.tickets(&filter, ALL).await.unwrap());
    let held = reservations(store).await;
    for ticket in &open {
        let same = open
            .iter()
            .filter(|t| t.asset == ticket.asset && t.mode == ticket.mode);
        assert_eq!(same.count(), 1);
        let its: u32 = held
            .iter()
            .filter(|r| r.ticket == ticket.id && r.state.is_live())
            .map(|r| r.quantity)
            .sum();
        assert_eq!(its, 1, "an open ticket has its part");
    }
    assert_balanced(store).await;
}

#[test]
fn kill_9_at_random_moments_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = || SqliteStore::open(directory.path(), &catalogue(), hour(0)).unwrap();
    let store = open();
    runtime
        .block_on(store.register_assets((0..DEVICES).map(asset).collect()))
        .unwrap();
    store.close().unwrap();
    let mut acknowledged = None;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_process_that_is_killed", "--exact", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Killed in the middle of whatever follows the batch it was heard to acknowledge.
        let wanted = 1 + (round * 7) % 23;
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        for line in said.by_ref() {
            if let Ok(n) = line.unwrap().parse::<i64>() {
                acknowledged = Some(n);
                heard += 1;
            }
            if heard == wanted {
                break;
            }
        }
        assert_eq!(heard, wanted, "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said but nobody had read yet; a line cut short is no acknowledgement.
        for line in said.map_while(Result::ok) {
            acknowledged = line
                .parse::<i64>()
                .ok()
                .filter(|n| Some(*n) > acknowledged)
                .or(acknowledged);
        }
        let store = open();
        let shared: Arc<dyn Store> = Arc::new(store);
        runtime.block_on(assert_whole(&shared, acknowledged));
    }
    let store = open();
    SqliteStore::check(store.file()).unwrap();
}
