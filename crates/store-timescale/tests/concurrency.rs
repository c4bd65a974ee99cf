//! Several programs on one database.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

use std::sync::Arc;

use forecare_domain::{Priority, TicketState};
use forecare_store::conformance::fixtures::{
    ALL, assert_balanced, asset, commit, device, items, movement, need, opening, register, row,
    step, update, with_extra,
};
use forecare_store::{
    CareOutcome, CommitBatch, CommitReceipt, Fingerprint, ScoredRow, StockMove, Store, TicketFilter,
};
use support::{fresh_plain, shared};

/// Several stores on one fresh database, each as another process would have it.
async fn stores(n: usize) -> Vec<Arc<dyn Store>> {
    let settings = fresh_plain();
    let mut all = Vec::new();
    for _ in 0..n {
        all.push(shared(&settings).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_of_four_programs_oversell_nothing() {
    const CLIENTS: usize = 64;
    let stores = stores(4).await;
    register(&stores[0], CLIENTS).await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let store = Arc::clone(&stores[n % 4]);
            tokio::spawn(async move {
                let priority = [Priority::P1, Priority::P2, Priority::P3, Priority::P4][n / 4 % 4];
                // Two clients, of different programs, want the same ticket.
                let opened = store.commit_care(opening(n / 2, need(1, priority))).await;
                let opened = opened.unwrap();
                if matches!(opened, CareOutcome::AlreadyOpen(_)) {
                    return 0;
                }
                let CareOutcome::Opened { ticket, .. } = opened else {
                    panic!("{opened:?}")
                };
                match n % 3 {
                    0 => {
                        let used = step(&ticket, TicketState::InProgress, 2, &[("BRG-1", 1)]);
                        update(&store, used).await;
                    }
                    1 => {
                        let arrived = movement(&format!("n-{n}"), StockMove::Receipt, 1, 2);
                        store.move_stock(arrived).await.unwrap();
                    }
                    _ => {
                        // There may be nothing to spare: then it is refused.
                        let scrap = movement(&format!("n-{n}"), StockMove::Scrap, 1, 2);
                        store.move_stock(scrap).await.ok();
                    }
                }
                1
            })
        })
        .collect();
    let mut n_opened = 0;
    for client in clients {
        n_opened += client.await.unwrap();
    }
    assert_eq!(n_opened, CLIENTS / 2, "one ticket per pair");
    for store in &stores {
        assert_balanced(store).await;
        let tickets = items(store.tickets(&TicketFilter::default(), ALL).await.unwrap());
        assert_eq!(tickets.len(), CLIENTS / 2);
    }
}

fn batches(values: impl Fn(usize, i64) -> f64) -> Vec<Vec<ScoredRow>> {
    let of_device = |d: usize, n: i64| -> ScoredRow {
        let plain = row(d, n, [Some(values(d, n)), Some(2.0), None]);
        with_extra(plain, &[("strange", values(d, n))])
    };
    (0..20)
        .map(|b| {
            (0..10)
                .flat_map(|n| (0..6).map(move |d| (d, b * 10 + n)))
                .map(|(d, n)| of_device(d, n))
                .collect()
        })
        .collect()
}

fn add(sum: &mut CommitReceipt, one: CommitReceipt) {
    sum.inserted += one.inserted;
    sum.duplicates += one.duplicates;
    sum.conflicts += one.conflicts;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ingesters_with_the_same_rows_store_each_once() {
    let stores = stores(2).await;
    let assets: Vec<_> = (0..6).map(asset).collect();
    let n_readings: u64 = 20 * 10 * 6 * 3;
    let ingesters: Vec<_> = stores
        .iter()
        .enumerate()
        .map(|(i, store)| {
            let (store, assets) = (Arc::clone(store), assets.clone());
            tokio::spawn(async move {
                let mut sum = CommitReceipt::default();
                let mut all = batches(|d, n| d as f64 + n as f64);
                if i == 1 {
                    // Not in step with the other one: pairs of batches change places.
                    all.chunks_mut(2).for_each(<[_]>::reverse);
                }
                for rows in all {
                    let batch = CommitBatch {
                        rows,
                        assets: assets.clone(),
                        ..CommitBatch::default()
                    };
                    add(&mut sum, store.commit_batch(batch).await.unwrap());
                }
                sum
            })
        })
        .collect();
    let mut sum = CommitReceipt::default();
    for ingester in ingesters {
        add(&mut sum, ingester.await.unwrap());
    }
    let expected = CommitReceipt {
        inserted: n_readings,
        duplicates: n_readings,
        conflicts: 0,
    };
    assert_eq!(sum, expected);
    for d in 0..6 {
        let mut expected = Fingerprint::default();
        for rows in batches(|d, n| d as f64 + n as f64) {
            for scored in rows.iter().filter(|r| r.row.device == device(d)) {
                let metrics = ["vibration", "temperature", "strange"];
                let values = [scored.row.values[0].unwrap(), 2.0, scored.row.extra[0].1];
                for (name, value) in metrics.iter().zip(values) {
                    let metric = forecare_store::conformance::fixtures::metric(name);
                    expected.add(&device(d), &metric, scored.row.ts, value);
                }
            }
        }
        assert_eq!(stores[0].fingerprint(&device(d)).await.unwrap(), expected);
        let rows = stores[1].rows_after(&device(d), None, 1_000).await.unwrap();
        assert_eq!(rows.len(), 200);
    }
    assert!(stores[0].conflicts(ALL).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ingesters_that_disagree_keep_the_first_value_and_record_the_other() {
    let stores = stores(2).await;
    register(&stores[0], 6).await;
    let ingesters: Vec<_> = stores
        .iter()
        .zip([1.0, 2.0])
        .map(|(store, value)| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut sum = CommitReceipt::default();
                for rows in batches(|_, _| value) {
                    add(&mut sum, commit(&store, rows).await);
                }
                sum
            })
        })
        .collect();
    let mut sum = CommitReceipt::default();
    for ingester in ingesters {
        add(&mut sum, ingester.await.unwrap());
    }
    // `vibration` and `strange` differ, `temperature` does not.
    let n_rows = 20 * 10 * 6;
    let expected = CommitReceipt {
        inserted: 3 * n_rows,
        duplicates: n_rows,
        conflicts: 2 * n_rows,
    };
    assert_eq!(sum, expected);
    let conflicts = items(stores[0].conflicts(ALL).await.unwrap());
    assert_eq!(conflicts.len(), 1_000, "a full page");
    for conflict in conflicts {
        assert_eq!(conflict.stored + conflict.refused, 3.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_what_another_one_has_registered_and_stored() {
    let stores = stores(2).await;
    register(&stores[0], 1).await;
    commit(&stores[1], vec![row(0, 5, [Some(1.0), None, None])]).await;
    commit(&stores[0], vec![row(0, 6, [Some(1.0), None, None])]).await;
    // Late for one, newest for the other: both are asked for what the other one wrote.
    let late = commit(&stores[1], vec![row(0, 6, [Some(1.0), Some(3.0), None])]).await;
    assert_eq!((late.inserted, late.duplicates), (1, 1));
    let rows = stores[0].rows_after(&device(0), None, 10).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].values, [Some(1.0), Some(3.0), None]);
}
