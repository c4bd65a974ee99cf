//! Opening: what is made, what is moved, what is refused and in which words.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

use std::path::Path;
use std::sync::Arc;

use forecare_catalogue::Catalogue;
use forecare_store::conformance::fixtures::{
    ALL, asset, bearings, catalogue, commit, device, hour, metric, ms, receipt, register, row,
    with_extra,
};
use forecare_store::{Fill, RecordCommit, ScoredRow, Store, StoreError, TelemetryQuery, forecare};
use forecare_store_sqlite::{Durability, SqliteStore};
use rusqlite::Connection;

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, &catalogue(), hour(0))
}

/// The text of an error with those of its sources.
fn refusal(path: &Path) -> String {
    open(path).unwrap_err().to_string()
}

#[tokio::test]
async fn what_was_stored_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er");
    let store: Arc<dyn Store> = Arc::new(open(&path).unwrap());
    register(&store, 1).await;
    commit(&store, vec![row(0, 1, [Some(1.0), None, None])]).await;
    let before = store.fingerprint(&device(0)).await.unwrap();
    drop(store);
    let store: Arc<dyn Store> = Arc::new(open(&path).unwrap());
    assert_eq!(store.fingerprint(&device(0)).await.unwrap(), before);
    assert_eq!(
        bearings(&store, "main").await,
        (5, 0, 0, 0),
        "initial stock is booked once"
    );
    assert_eq!(store.ledger(ALL).await.unwrap().len(), 3);
}

#[tokio::test]
async fn closing_leaves_one_file_and_refuses_further_calls() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own-name.db");
    let store =
        SqliteStore::open_with(&file, &catalogue(), hour(0), Durability::ProcessDeath).unwrap();
    store.put_setting("k", "v").await.unwrap();
    store.close().unwrap();
    store.close().unwrap();
    assert!(matches!(
        store.put_setting("k", "w").await,
        Err(StoreError::Unavailable { .. })
    ));
    assert!(matches!(
        store.setting("k").await,
        Err(StoreError::Unavailable { .. })
    ));
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["own-name.db"]);
}

fn catalogue_with(metrics: &str) -> Catalogue {
    let text = format!(
        r#"
        [[class]]
        name = "pump"
        title = "Pump"
        horizon_hours = 24
        sample_interval_s = 60
        metric = [{metrics}]
        [[depot]]
        name = "main"
        title = "Main"
        "#
    );
    Catalogue::parse(&text).unwrap()
}

#[tokio::test]
async fn a_metric_that_enters_the_catalogue_takes_its_readings_along() {
    let directory = tempfile::tempdir().unwrap();
    let at = |c: &Catalogue| -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(directory.path(), c, hour(0)).unwrap())
    };
    let one = |ts, values: &[Option<f64>], extra: &[(&str, f64)]| -> ScoredRow {
        let mut row = with_extra(row(0, ts, [None; 3]), extra);
        row.row.values = values.to_vec();
        row
    };
    let store = at(&catalogue_with(
        r#"{ name = "a", unit = "" }, { name = "b", unit = "" }"#,
    ));
    register(&store, 1).await;
    commit(
        &store,
        vec![one(1, &[Some(1.0), Some(2.0)], &[("c", 3.0), ("d", 4.0)])],
    )
    .await;
    let before = store.fingerprint(&device(0)).await.unwrap();
    drop(store);
    // `c` comes in, in front; `b` goes.
    let store = at(&catalogue_with(
        r#"{ name = "c", unit = "" }, { name = "a", unit = "" }"#,
    ));
    assert_eq!(store.fingerprint(&device(0)).await.unwrap(), before);
    let again = one(1, &[Some(3.0), Some(1.0)], &[("b", 2.0), ("d", 4.0)]);
    assert_eq!(commit(&store, vec![again]).await, receipt(0, 4, 0));
    let rows = store.rows_after(&device(0), None, 10).await.unwrap();
    assert_eq!(rows[0].values, [Some(3.0), Some(1.0)]);
    assert_eq!(rows[0].extra, [(metric("b"), 2.0), (metric("d"), 4.0)]);
    let metrics = vec![metric("b"), metric("c")];
    let query = TelemetryQuery {
        device: device(0),
        metrics,
        from: ms(0),
        to: ms(9),
        points: 1,
        fill: Fill::None,
    };
    let series = store.telemetry(&query).await.unwrap();
    assert_eq!(
        (series[0].buckets[0].mean, series[1].buckets[0].mean),
        (2.0, 3.0)
    );
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let in_the_way = directory.path().join("file");
    std::fs::write(&in_the_way, "x").unwrap();
    let text = refusal(&in_the_way.join("below"));
    assert!(
        text.contains("cannot be made") && text.contains("choose another"),
        "{text}"
    );
    let taken = directory.path().join("taken.db");
    std::fs::create_dir(&taken).unwrap();
    std::fs::create_dir(taken.join("forecare.sqlite")).unwrap();
    let text = refusal(&taken);
    assert!(text.contains("cannot be opened for writing"), "{text}");
}

#[test]
fn foreign_and_damaged_files_are_refused_with_the_fix() {
    let directory = tempfile::tempdir().unwrap();
    let text_file = directory.path().join("notes.db");
    std::fs::write(&text_file, "dear diary, ".repeat(1_000)).unwrap();
    let text = refusal(&text_file);
    assert!(
        text.contains("is not a database of Forecare") && text.contains("move it away"),
        "{text}"
    );
    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert!(refusal(&foreign).contains("of another program"));
    let damaged = directory.path().join("damaged.db");
    open(&damaged).unwrap().close().unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[4_096..].fill(0xaa);
    std::fs::write(&damaged, bytes).unwrap();
    let text = refusal(&damaged);
    assert!(
        text.contains("is damaged") && text.contains(".recover"),
        "{text}"
    );
}

#[test]
fn a_newer_or_edited_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("forecare.sqlite");
    open(directory.path()).unwrap().close().unwrap();
    let sql = |sql: &str| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    sql("INSERT INTO schema_steps (name, checksum, applied_at) VALUES ('9999_future', 'x', 0)");
    let text = refusal(directory.path());
    assert!(text.contains("a newer Forecare wrote it (schema"), "{text}");
    sql(
        "DELETE FROM schema_steps WHERE name = '9999_future'; UPDATE schema_steps SET checksum = 'x'",
    );
    assert!(refusal(directory.path()).contains("0001_first"));
}

#[tokio::test]
async fn a_file_of_the_first_schema_gains_master_data_and_keeps_its_tickets() {
    use forecare_registry::RecordKind;
    use forecare_store::conformance::registry::{put, record};
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("forecare.sqlite");
    let store = open(directory.path()).unwrap();
    store.register_assets(vec![asset(0)]).await.unwrap();
    let opening = || forecare_store::CareCommit {
        ticket: forecare_store::TicketWrite::Open(Box::new(
            forecare_store::conformance::fixtures::new_ticket(0, 1, Vec::new()),
        )),
        at: hour(1),
        ..forecare_store::CareCommit::default()
    };
    store.commit_care(opening()).await.unwrap();
    let before = store.ticket(forecare_domain::TicketId(1)).await.unwrap();
    store.close().unwrap();
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "DROP TABLE mails; DROP TABLE files; DROP INDEX deliveries_to; DROP INDEX ticket_entries_of_time; ALTER TABLE reservations DROP COLUMN instead_of; DROP TABLE units;
             ALTER TABLE ledger DROP COLUMN units;
             DROP TABLE survey_answers; DROP TABLE deliveries; DROP TABLE notices;
             DROP TABLE purchase_orders; DROP INDEX ledger_of_cost_centre;
             ALTER TABLE stock DROP COLUMN in_repair; ALTER TABLE stock DROP COLUMN bin;
             ALTER TABLE ledger DROP COLUMN cost_centre; ALTER TABLE ledger DROP COLUMN reason;
             ALTER TABLE ledger DROP COLUMN command;
             DROP TABLE attachments; DROP TABLE ticket_entries;
             DROP INDEX tickets_of_parent; DROP INDEX tickets_of_key; DROP INDEX tickets_one_open;
             ALTER TABLE tickets DROP COLUMN parent; ALTER TABLE tickets DROP COLUMN opening_key;
             ALTER TABLE tickets ADD COLUMN mode TEXT NOT NULL DEFAULT '';
             UPDATE tickets SET mode = json_extract(body, '$.mode'), body = json_remove(body, '$.kind', '$.origin');
             CREATE UNIQUE INDEX tickets_one_open ON tickets (asset, mode) WHERE open = 1;
             DROP TABLE records; DROP TABLE record_refs; DROP TABLE record_versions;
             DELETE FROM schema_steps WHERE step > 1",
        )
        .unwrap();
    let store = open(directory.path()).unwrap();
    assert_eq!(store.assets().await.unwrap().len(), 1, "nothing is lost");
    assert_eq!(store.ticket(before.id).await.unwrap(), before);
    assert_eq!(
        store.commit_care(opening()).await.unwrap(),
        forecare_store::CareOutcome::AlreadyOpen(before.id)
    );
    let write = put(RecordKind::Van, "v1", serde_json::json!({"name": "Van"}));
    let commit = RecordCommit {
        writes: vec![write],
        by: forecare(),
        at: hour(1),
    };
    store.commit_records(commit).await.unwrap();
    let found = store.record(&record(RecordKind::Van, "v1")).await.unwrap();
    assert_eq!(found.unwrap().version, 1);
    store.close().unwrap();
    SqliteStore::check(&file).unwrap();
    let findings = SqliteStore::check_records(&file, &catalogue()).unwrap();
    assert_eq!(findings, [""; 0]);
    // What is damaged from outside is found.
    Connection::open(&file)
        .unwrap()
        .execute_batch("INSERT INTO record_refs VALUES ('van', 'v1', 'depot', 'gone')")
        .unwrap();
    let findings = SqliteStore::check_records(&file, &catalogue()).unwrap();
    assert_eq!(
        findings,
        ["van \"v1\" refers to depot \"gone\", which is not there"]
    );
}

#[test]
fn the_ledger_cannot_be_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().close().unwrap();
    let conn = Connection::open(directory.path().join("forecare.sqlite")).unwrap();
    for sql in ["UPDATE ledger SET delta = 0", "DELETE FROM ledger"] {
        assert!(
            conn.execute(sql, [])
                .unwrap_err()
                .to_string()
                .contains("append-only")
        );
    }
}
