//! A row that the database objects to does not keep its company from being stored.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

use forecare_domain::RejectReason;
use forecare_store::CommitBatch;
use forecare_store::conformance::fixtures::{ALL, device, items, receipt, register, row, task};
use forecare_test_databases::{Postgres, Timescale};
use support::{fresh_plain, fresh_timescale, shared};

/// Of 500 rows, what is stored at these places breaks a rule that somebody has added to the table.
const POISON: [i64; 3] = [0, 123, 499];

fn batch() -> CommitBatch {
    CommitBatch {
        rows: (0..500)
            .map(|n| {
                let value = if POISON.contains(&n) { 1_000.0 } else { 1.0 };
                row(0, n, [Some(value), None, None])
            })
            .collect(),
        tasks: vec![task(0, 1)],
        ..CommitBatch::default()
    }
}

#[tokio::test]
async fn rows_that_break_a_rule_are_dead_lettered_with_its_name_and_the_others_stored() {
    for settings in [fresh_plain(), fresh_timescale()] {
        let store = shared(&settings).await;
        register(&store, 1).await;
        let rule = format!(
            "ALTER TABLE {}.telemetry_1 ADD CONSTRAINT not_so_high CHECK (m0 < 100)",
            settings.schema
        );
        if settings.plain_postgres {
            let database = settings.url.rsplit('/').next().unwrap();
            Postgres::shared().sql(database, &rule);
        } else {
            Timescale::shared().sql(&rule);
        }
        let stored = store.commit_batch(batch()).await.unwrap();
        assert_eq!(stored, receipt(497, 0, 0));
        let rows = store.rows_after(&device(0), None, 1_000).await.unwrap();
        assert_eq!(rows.len(), 497);
        assert_eq!(store.next_tasks(10).await.unwrap().len(), 1);
        let refused = Some(RejectReason::StoreRefused);
        let letters = items(store.dead_letters(refused, ALL).await.unwrap());
        assert_eq!(letters.len(), POISON.len());
        for letter in letters {
            assert!(letter.detail.contains("not_so_high"), "{}", letter.detail);
        }
    }
}

#[tokio::test]
async fn a_row_that_a_unique_index_of_somebody_refuses_is_poison_not_a_race() {
    let settings = fresh_plain();
    let store = shared(&settings).await;
    register(&store, 2).await;
    let rule = format!(
        "CREATE UNIQUE INDEX no_two_alike ON {}.telemetry_1 (m0)",
        settings.schema
    );
    Postgres::shared().sql(settings.url.rsplit('/').next().unwrap(), &rule);
    let batch = |ts: i64, values: [f64; 2]| CommitBatch {
        rows: (0..)
            .zip(values)
            .map(|(d, value)| row(d, ts, [Some(value), None, None]))
            .collect(),
        ..CommitBatch::default()
    };
    for (ts, values, inserted) in [(1, [1.0, 2.0], 2), (2, [2.0, 3.0], 1)] {
        let stored = store.commit_batch(batch(ts, values)).await.unwrap();
        assert_eq!(stored.inserted, inserted);
    }
    let refused = Some(RejectReason::StoreRefused);
    let letters = items(store.dead_letters(refused, ALL).await.unwrap());
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].detail.contains("no_two_alike"),
        "{}",
        letters[0].detail
    );
}
