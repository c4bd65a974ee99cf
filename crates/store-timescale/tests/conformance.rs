//! The suite of the port, on TimescaleDB and on PostgreSQL without the extension.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

/// One session: what the extension does, and that no call waits for another one's connection.
mod timescale {
    use std::sync::Arc;

    use forecare_catalogue::Catalogue;
    use forecare_domain::Timestamp;
    use forecare_store::Store;
    use forecare_store_timescale::TimescaleStore;

    async fn make(catalogue: Catalogue, now: Timestamp) -> (Arc<dyn Store>, ()) {
        let settings = super::support::fresh_timescale();
        let store = TimescaleStore::open(settings, &catalogue, now).await;
        (Arc::new(store.unwrap()), ())
    }

    forecare_store::conformance_tests!(make);
}

/// Real concurrency.
mod plain {
    use std::sync::Arc;

    use forecare_catalogue::Catalogue;
    use forecare_domain::{AlarmChange, CareTask, RejectReason, Rejection, Rul, Timestamp};
    use forecare_store::conformance::fixtures::{ALL, alarm, health, hour, task};
    use forecare_store::{
        AlarmFilter, CommitBatch, DEAD_LETTERS_KEPT, NewTask, PageRequest, Store,
    };
    use forecare_store_timescale::TimescaleStore;
    use forecare_test_databases::Postgres;

    async fn make(catalogue: Catalogue, now: Timestamp) -> (Arc<dyn Store>, ()) {
        let settings = super::support::fresh_plain();
        let store = TimescaleStore::open(settings, &catalogue, now).await;
        (Arc::new(store.unwrap()), ())
    }

    forecare_store::conformance_tests!(make);

    #[test]
    fn old_versions_of_a_record_go() {
        forecare_store::conformance::run(
            make,
            forecare_store::conformance::registry::old_versions_go,
        );
    }

    /// Beyond the suite, as the model keeps everything.
    #[test]
    fn old_dead_letters_go_and_their_count_stays() {
        let extra = 50;
        let n = usize::try_from(DEAD_LETTERS_KEPT).unwrap() + extra;
        let letter = |i: usize| Rejection {
            received_at: hour(0),
            topic: i.to_string(),
            reason: RejectReason::TooDeep,
            detail: String::new(),
            payload: Vec::new(),
            payload_bytes: 0,
        };
        forecare_store::conformance::run(make, async |store: Arc<dyn Store>| {
            let rejections = (0..n).map(letter).collect();
            store
                .commit_batch(CommitBatch {
                    rejections,
                    ..CommitBatch::default()
                })
                .await
                .unwrap();
            let newest = store
                .dead_letters(None, PageRequest { limit: 1, ..ALL })
                .await;
            let oldest = newest.unwrap()[0].position - DEAD_LETTERS_KEPT + 2;
            let page = PageRequest {
                before: Some(oldest),
                limit: 10,
            };
            let last = store.dead_letters(None, page).await.unwrap();
            assert_eq!(last.len(), 1);
            assert_eq!(last[0].item.topic, extra.to_string());
            let counts = [(RejectReason::TooDeep, n as u64)];
            assert_eq!(store.rejection_counts().await.unwrap(), counts);
        });
    }

    #[tokio::test]
    async fn old_events_and_decisions_go() {
        let cluster = Postgres::shared();
        let database = cluster.database();
        let settings = super::support::plain(cluster.url_of(&database));
        let store = super::support::shared(&settings).await;
        let skip_to = async |position: i64| {
            for table in ["events", "decisions"] {
                let sql = format!(
                    "ALTER TABLE forecare.{table} ALTER COLUMN seq RESTART WITH {position}"
                );
                assert_eq!(cluster.sql(&database, &sql), "");
            }
        };
        forecare_store::conformance::records::old_events_and_decisions_go(store, skip_to).await;
    }

    /// Beyond the suite, as the model keeps values, not text.
    #[test]
    fn a_record_that_could_not_be_read_back_is_dead_lettered() {
        forecare_store::conformance::run(make, async |store: Arc<dyn Store>| {
            let mut poison = alarm(0, 1);
            poison.strength = f64::NAN;
            let CareTask::Replaced { device, .. } = task(0, 1).0 else {
                panic!("a replacement")
            };
            let assess = CareTask::Assess {
                device,
                mode: poison.mode.clone(),
                alarm: poison.id.clone(),
                severity: poison.severity,
                probability: None,
                horizon_hours: f64::INFINITY,
                rul: Rul::NoTrend,
                contributions: Vec::new(),
                reading_ts: hour(1),
                at: hour(1),
            };
            let batch = CommitBatch {
                alarms: vec![
                    AlarmChange::Raised(poison),
                    AlarmChange::Raised(alarm(1, 1)),
                ],
                tasks: vec![NewTask(assess), task(0, 1)],
                health: vec![health(0, 1, f64::NAN), health(1, 1, 5.0)],
                ..CommitBatch::default()
            };
            store.commit_batch(batch).await.unwrap();
            assert_eq!(store.next_tasks(10).await.unwrap().len(), 1);
            let alarms = store.alarms(&AlarmFilter::default(), ALL).await.unwrap();
            assert_eq!(alarms.len(), 1);
            assert_eq!(store.health().await.unwrap().len(), 1);
            assert_eq!(
                store.rejection_counts().await.unwrap(),
                [(RejectReason::StoreRefused, 3)]
            );
        });
    }
}
