//! The schema: made once, by whoever comes first, brought up to date, refused where it cannot be; and what the
//! extension makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use forecare_catalogue::Catalogue;
use forecare_domain::Asset;
use forecare_store::conformance::fixtures::{
    ALL, asset, bearings, commit, device, hour, metric, ms, receipt, register, row, task,
    with_extra,
};
use forecare_store::{
    CommitBatch, CommitReceipt, Credential, CredentialRole, Fill, HEALTH_METRIC, ScoredRow, Series,
    Store, TelemetryQuery,
};
use forecare_store_timescale::{
    ChunkInterval, Finding, FindingVerdict, Retention, TimescaleSettings, TimescaleStore,
};
use forecare_test_databases::{Postgres, Timescale};
use support::{fresh_plain, fresh_timescale, open, refusal, shared};

const HOUR_MS: i64 = 3_600_000;
const DAY: Duration = Duration::from_secs(86_400);

// Made and brought up to date.

#[tokio::test(flavor = "multi_thread")]
async fn eight_programs_that_start_at_once_make_the_schema_once() {
    let settings = fresh_plain();
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let settings = settings.clone();
            tokio::spawn(async move { shared(&settings).await })
        })
        .collect();
    let mut stores = Vec::new();
    for store in starting {
        stores.push(store.await.unwrap());
    }
    for store in &stores {
        assert_eq!(store.ledger(ALL).await.unwrap().len(), 3);
        assert_eq!(bearings(store, "main").await, (5, 0, 0, 0));
    }
    let database = settings.url.rsplit('/').next().unwrap();
    let twice = "SELECT count(*) > 0, count(*) = count(DISTINCT name) FROM forecare.schema_steps";
    assert_eq!(Postgres::shared().sql(database, twice), "t|t");
}

#[tokio::test]
async fn what_was_stored_is_there_after_opening_again() {
    for settings in [fresh_plain(), fresh_timescale()] {
        let store = shared(&settings).await;
        register(&store, 1).await;
        commit(&store, vec![row(0, 1, [Some(1.0), None, None])]).await;
        let before = store.fingerprint(&device(0)).await.unwrap();
        drop(store);
        let store = shared(&settings).await;
        assert_eq!(store.fingerprint(&device(0)).await.unwrap(), before);
        assert_eq!(
            store.ledger(ALL).await.unwrap().len(),
            3,
            "initial stock is booked once"
        );
    }
}

#[tokio::test]
async fn a_newer_or_edited_schema_is_refused() {
    let settings = fresh_plain();
    open(&settings).await.unwrap();
    let database = settings.url.rsplit('/').next().unwrap();
    let sql = |sql: &str| Postgres::shared().sql(database, sql);
    sql(
        "INSERT INTO forecare.schema_steps (name, checksum, applied_at) VALUES ('9999_future', 'x', now())",
    );
    let text = refusal(&settings).await;
    assert!(
        text.contains("a newer Forecare wrote it (schema") && text.contains("use that version"),
        "{text}"
    );
    sql("DELETE FROM forecare.schema_steps WHERE name = '9999_future'");
    open(&settings).await.unwrap();
    sql("UPDATE forecare.schema_steps SET checksum = 'x'");
    let text = refusal(&settings).await;
    assert!(
        text.contains("0001_first") && text.contains("restore"),
        "{text}"
    );
}

#[tokio::test]
async fn the_ledger_cannot_be_rewritten() {
    let settings = fresh_plain();
    open(&settings).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&settings.url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for sql in [
        "UPDATE forecare.ledger SET delta = 0",
        "DELETE FROM forecare.ledger",
    ] {
        let refused = client.batch_execute(sql).await.unwrap_err();
        let text = refused.as_db_error().unwrap().message().to_owned();
        assert!(text.contains("append-only"), "{text}");
    }
}

fn catalogue_with(metrics: &[&str]) -> Catalogue {
    let metrics: Vec<String> = metrics
        .iter()
        .map(|name| format!("{{ name = \"{name}\", unit = \"\" }}"))
        .collect();
    let text = format!(
        r#"
        [[class]]
        name = "pump"
        title = "Pump"
        horizon_hours = 24
        sample_interval_s = 60
        metric = [{}]
        [[depot]]
        name = "main"
        title = "Main"
        "#,
        metrics.join(", ")
    );
    Catalogue::parse(&text).unwrap()
}

#[tokio::test]
async fn a_metric_that_enters_the_catalogue_takes_its_readings_along() {
    for settings in [fresh_plain(), fresh_timescale()] {
        let has_timescale = !settings.plain_postgres;
        let at = async |metrics: &[&str]| -> Arc<dyn Store> {
            let catalogue = catalogue_with(metrics);
            let store = TimescaleStore::open(settings.clone(), &catalogue, hour(0)).await;
            let store: Arc<dyn Store> = Arc::new(store.unwrap());
            store
        };
        let one = |ts, values: &[Option<f64>], extra: &[(&str, f64)]| -> ScoredRow {
            let mut row = with_extra(row(0, ts, [None; 3]), extra);
            row.row.values = values.to_vec();
            row
        };
        let store = at(&["a", "b"]).await;
        register(&store, 1).await;
        let first = one(1, &[Some(1.0), Some(2.0)], &[("c", 3.0), ("d", 4.0)]);
        commit(&store, vec![first]).await;
        let before = store.fingerprint(&device(0)).await.unwrap();
        drop(store);
        if has_timescale {
            // The readings to be moved lie in compressed chunks.
            run_jobs(&settings.schema, "policy_compression");
        }
        // `c` comes in, in front; `b` goes.
        let store = at(&["c", "a"]).await;
        assert_eq!(store.fingerprint(&device(0)).await.unwrap(), before);
        let again = one(1, &[Some(3.0), Some(1.0)], &[("b", 2.0), ("d", 4.0)]);
        assert_eq!(commit(&store, vec![again]).await, receipt(0, 4, 0));
        let rows = store.rows_after(&device(0), None, 10).await.unwrap();
        assert_eq!(rows[0].values, [Some(3.0), Some(1.0)]);
        assert_eq!(rows[0].extra, [(metric("b"), 2.0), (metric("d"), 4.0)]);
        let query = query(&["b", "c"], 0, 9, 1);
        let series = store.telemetry(&query).await.unwrap();
        assert_eq!(
            (series[0].buckets[0].mean, series[1].buckets[0].mean),
            (2.0, 3.0)
        );
        if has_timescale {
            let of_class = "SELECT view_name FROM timescaledb_information.continuous_aggregates
                WHERE view_schema = current_schema() ORDER BY 1";
            let names = sql(&settings.schema, of_class);
            let expected =
                [0, 1].map(|g| ["1d", "1h", "1m"].map(|l| format!("telemetry_1_g{g}_{l}")));
            assert_eq!(names.lines().collect::<Vec<_>>(), expected.concat());
            // Both generations answer.
            refresh(&settings.schema);
            assert_eq!(store.telemetry(&query).await.unwrap(), series);
        }
    }
}

#[tokio::test]
async fn a_store_that_runs_on_beside_a_newer_catalogue_stores_where_that_one_looks() {
    for settings in [fresh_plain(), fresh_timescale()] {
        let at = async |metrics: &[&str]| -> Arc<dyn Store> {
            let catalogue = catalogue_with(metrics);
            let store = TimescaleStore::open(settings.clone(), &catalogue, hour(0)).await;
            let store: Arc<dyn Store> = Arc::new(store.unwrap());
            store
        };
        let one = |ts| -> ScoredRow {
            let mut row = with_extra(row(0, ts, [None; 3]), &[("b", 2.0)]);
            row.row.values = vec![Some(1.0)];
            row
        };
        let old = at(&["a"]).await;
        register(&old, 1).await;
        commit(&old, vec![one(1)]).await;
        let new = at(&["a", "b"]).await;
        // The one that was there, again, and another.
        assert_eq!(commit(&old, vec![one(1)]).await, receipt(0, 2, 0));
        assert_eq!(commit(&old, vec![one(2)]).await, receipt(2, 0, 0));
        for store in [&old, &new] {
            let series = store.telemetry(&query(&["b"], 0, 9, 1)).await.unwrap();
            assert_eq!(series[0].buckets[0].n, 2);
        }
        let rows = new.rows_after(&device(0), None, 10).await.unwrap();
        assert!(rows.iter().all(|r| r.values == [Some(1.0), Some(2.0)]));
    }
}

#[tokio::test]
async fn who_only_examines_changes_nothing_and_says_what_is_to_come() {
    for settings in [fresh_plain(), fresh_timescale()] {
        let look = async |metrics: &[&str]| {
            let catalogue = catalogue_with(metrics);
            TimescaleStore::open_to_examine(settings.clone(), &catalogue).await
        };
        assert!(
            look(&["a"]).await.unwrap().is_none(),
            "the schema was not made yet"
        );
        assert!(look(&["a"]).await.unwrap().is_none(), "and is not now");
        let catalogue = catalogue_with(&["a"]);
        TimescaleStore::open(settings.clone(), &catalogue, hour(0))
            .await
            .unwrap();
        for _ in 0..2 {
            let findings = look(&["a", "b"])
                .await
                .unwrap()
                .unwrap()
                .examine(hour(0))
                .await;
            assert!(
                findings.iter().any(|f| f.name == "schema"
                    && f.verdict == FindingVerdict::Warn
                    && f.what.contains("b of pump")),
                "{findings:?}"
            );
        }
    }
}

// What the extension does.

#[tokio::test]
async fn one_upload_over_more_chunks_than_a_transaction_may_touch_is_stored_in_parts() {
    let settings = TimescaleSettings {
        chunk_interval: ChunkInterval::Hours(24),
        ..fresh_timescale()
    };
    let store = shared(&settings).await;
    register(&store, 1).await;
    let n_days = 80;
    let upload = || CommitBatch {
        rows: (0..n_days)
            .map(|day| row(0, day * 86_400_000, [Some(1.0), None, None]))
            .collect(),
        tasks: vec![task(0, 1)],
        ..CommitBatch::default()
    };
    let stored = store.commit_batch(upload()).await.unwrap();
    assert_eq!(stored, receipt(80, 0, 0));
    assert_eq!(store.next_tasks(10).await.unwrap().len(), 1);
    let chunks = sql(
        &settings.schema,
        "SELECT count(*) FROM timescaledb_information.chunks
         WHERE hypertable_schema = current_schema() AND hypertable_name = 'telemetry_1'",
    );
    assert!(chunks.parse::<i64>().unwrap() >= n_days, "{chunks}");
    assert_eq!(
        store.commit_batch(upload()).await.unwrap(),
        receipt(0, 80, 0)
    );
}

/// Runs SQL in the schema; the result's values.
fn sql(schema: &str, sql: &str) -> String {
    let sql = format!("SET search_path = {schema}, public; {sql}");
    Timescale::shared().sql(&sql)
}

/// Runs the schema's jobs of that kind, as the extension's scheduler would: PGlite has no background workers.
fn run_jobs(schema: &str, kind: &str) {
    let jobs = format!(
        "SELECT job_id FROM timescaledb_information.jobs
         WHERE hypertable_schema = current_schema() AND proc_name = '{kind}'
         ORDER BY hypertable_name NOT LIKE '%\\_1m', hypertable_name NOT LIKE '%\\_1h', 1"
    );
    let jobs = sql(schema, &jobs);
    assert!(!jobs.is_empty(), "no {kind} in {schema}");
    for job in jobs.lines() {
        Timescale::shared().sql(&format!("CALL run_job({job})"));
    }
}

/// Brings all aggregates up to date, the finer ones first.
fn refresh(schema: &str) {
    run_jobs(schema, "policy_refresh_continuous_aggregate");
}

fn query(metrics: &[&str], from_ms: i64, to_ms: i64, points: usize) -> TelemetryQuery {
    TelemetryQuery {
        device: device(0),
        metrics: metrics.iter().map(|m| metric(m)).collect(),
        from: ms(from_ms),
        to: ms(to_ms),
        points,
        fill: Fill::None,
    }
}

/// Readings of two pumps over `hours`, one a minute; some metrics are missing now and then.
fn history(hours: i64) -> Vec<ScoredRow> {
    let mut rows = Vec::new();
    for n in 0..hours * 60 {
        for d in 0..2 {
            let wave = ((n * 37 + i64::try_from(d).unwrap()) % 101) as f64;
            let second = (n % 7 != 0).then_some(wave / 4.0);
            rows.push(row(d, n * 60_000 + 1_234, [Some(wave), second, None]));
        }
    }
    rows
}

async fn commit_all(store: &Arc<dyn Store>, rows: Vec<ScoredRow>) -> CommitReceipt {
    let mut sum = CommitReceipt::default();
    for part in rows.chunks(2_000) {
        let one = commit(store, part.to_vec()).await;
        sum.inserted += one.inserted;
        sum.duplicates += one.duplicates;
        sum.conflicts += one.conflicts;
    }
    sum
}

#[tokio::test]
async fn readings_lie_in_hypertables_with_columnstore_and_policies() {
    let mut settings = fresh_timescale();
    settings.chunk_interval = ChunkInterval::Hours(6);
    settings.compress_after = Some(3 * DAY);
    let store = shared(&settings).await;
    let schema = &settings.schema;
    let tables = "SELECT hypertable_name, compression_enabled, time_interval
        FROM timescaledb_information.hypertables JOIN timescaledb_information.dimensions USING (hypertable_schema, hypertable_name)
        WHERE hypertable_schema = current_schema() ORDER BY 1";
    let expected = ["overflow", "telemetry_1", "telemetry_2"].map(|t| format!("{t}|t|06:00:00"));
    assert_eq!(sql(schema, tables), expected.join("\n"));
    register(&store, 2).await;
    commit(&store, history(24)).await;
    let chunks = "SELECT count(*) FROM show_chunks('telemetry_1')";
    assert!((4..=5).contains(&sql(schema, chunks).parse::<u32>().unwrap()));
    let job = |table: &str, kind: &str, key: &str| {
        let job = format!(
            "SELECT config->>'{key}' FROM timescaledb_information.jobs
             WHERE hypertable_schema = current_schema() AND hypertable_name = '{table}' AND proc_name = '{kind}'"
        );
        sql(schema, &job)
    };
    assert_eq!(
        job("telemetry_1", "policy_compression", "compress_after"),
        "72:00:00"
    );
    assert_eq!(job("telemetry_1", "policy_retention", "drop_after"), "");
    drop(store);
    // Other settings at the next start.
    settings.compress_after = None;
    settings.retention.raw = Some(30 * DAY);
    settings.chunk_interval = ChunkInterval::Hours(12);
    shared(&settings).await;
    assert_eq!(
        job("telemetry_1", "policy_compression", "compress_after"),
        ""
    );
    assert_eq!(
        job("telemetry_1", "policy_retention", "drop_after"),
        "720:00:00"
    );
    assert!(sql(schema, tables).contains("telemetry_1|t|12:00:00"));
}

#[tokio::test]
async fn aggregates_have_chunks_by_the_rule_and_are_refreshed_in_batches() {
    let mut settings = fresh_timescale();
    settings.chunk_interval = ChunkInterval::Hours(6);
    let schema = settings.schema.clone();
    let chunks = "SELECT view_name, extract(epoch FROM time_interval)::int / 3600
        FROM timescaledb_information.continuous_aggregates AS a JOIN timescaledb_information.dimensions AS d
            ON d.hypertable_name = a.materialization_hypertable_name
        WHERE view_schema = current_schema() AND view_name LIKE 'telemetry_1_g0%' ORDER BY 1";
    shared(&settings).await;
    assert_eq!(
        sql(&schema, chunks),
        "telemetry_1_g0_1d|720\ntelemetry_1_g0_1h|60\ntelemetry_1_g0_1m|6"
    );
    let batches = "SELECT config->>'buckets_per_batch', config->>'max_batches_per_execution' FROM timescaledb_information.jobs
        WHERE hypertable_schema = current_schema() AND hypertable_name LIKE 'telemetry_1_g0%' AND proc_name LIKE '%refresh%'
        ORDER BY hypertable_name";
    assert_eq!(sql(&schema, batches), "365|0\n720|0\n1440|0");
    settings.chunk_interval = ChunkInterval::Hours(12);
    shared(&settings).await;
    assert_eq!(
        sql(&schema, chunks),
        "telemetry_1_g0_1d|720\ntelemetry_1_g0_1h|120\ntelemetry_1_g0_1m|12"
    );
}

#[tokio::test]
async fn a_changed_setting_changes_its_policies_and_leaves_alone_what_an_operator_told_them() {
    let mut settings = fresh_timescale();
    shared(&settings).await;
    let schema = settings.schema.clone();
    let jobs =
        "SELECT string_agg(job_id::text, ',' ORDER BY job_id) FROM timescaledb_information.jobs
        WHERE hypertable_schema = current_schema() AND proc_name <> 'policy_retention'";
    let before = sql(&schema, jobs);
    let told = "SELECT alter_job(job_id, schedule_interval => '1 hour', max_retries => 7) FROM timescaledb_information.jobs
        WHERE hypertable_schema = current_schema() AND hypertable_name IN ('telemetry_1', 'telemetry_1_g0_1m')";
    sql(&schema, told);
    // What a version before this one has made, or another setting.
    sql(
        &schema,
        "SELECT alter_job(job_id, config => config - 'buckets_per_batch') FROM timescaledb_information.jobs
         WHERE hypertable_schema = current_schema() AND hypertable_name = 'telemetry_1_g0_1m' AND proc_name LIKE '%refresh%'",
    );
    settings.compress_after = Some(3 * DAY);
    settings.retention.raw = Some(30 * DAY);
    shared(&settings).await;
    assert_eq!(sql(&schema, jobs), before);
    let now = "SELECT proc_name, schedule_interval, max_retries,
            coalesce(config->>'compress_after', config->>'start_offset'), config->>'buckets_per_batch'
        FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema() AND max_retries = 7
            AND hypertable_name IN ('telemetry_1', 'telemetry_1_g0_1m') ORDER BY hypertable_name, proc_name";
    assert_eq!(
        sql(&schema, now),
        "policy_compression|01:00:00|7|72:00:00|\n\
         policy_compression|01:00:00|7|72:00:00|\n\
         policy_refresh_continuous_aggregate|01:00:00|7|719:00:00|1440"
    );
    // The refresh of hours is made anew, and keeps its schedule.
    let hours = "SELECT schedule_interval, config->>'start_offset' FROM timescaledb_information.jobs
        WHERE hypertable_schema = current_schema() AND hypertable_name = 'telemetry_1_g0_1h' AND proc_name LIKE '%refresh%'";
    sql(
        &schema,
        &format!(
            "SELECT alter_job(job_id, schedule_interval => '2 hours') FROM ({}) AS j",
            hours.replace("schedule_interval, ", "job_id, ")
        ),
    );
    settings.retention.minute = Some(60 * DAY);
    shared(&settings).await;
    assert_eq!(sql(&schema, hours), "02:00:00|1439:00:00");
}

#[tokio::test]
async fn background_jobs_are_told_by_what_is_amiss() {
    let settings = fresh_timescale();
    let store = TimescaleStore::open(settings.clone(), &catalogue_with(&["a"]), hour(0))
        .await
        .unwrap();
    let schema = &settings.schema;
    let jobs = async || store.jobs().await.unwrap().unwrap();
    let first = jobs().await;
    let all = first.on_time;
    assert!(all >= 4, "{first:?}");
    assert_eq!((first.failed, first.off, first.overdue), (0, 0, 0));
    let ids = "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema() ORDER BY 1";
    let ids: Vec<String> = sql(schema, ids).lines().map(str::to_owned).collect();
    // What the scheduler writes down of a run that failed, and of one that nobody has taken for a year.
    let ran = |id: &str, ago: &str, succeeded: bool| {
        let (n_good, n_bad) = (i32::from(succeeded), i32::from(!succeeded));
        sql(
            schema,
            &format!(
                "INSERT INTO _timescaledb_internal.bgw_job_stat VALUES ({id}, now() - interval '{ago}', now() - interval '{ago}',
                 now() - interval '{ago}' + interval '1 minute', now() - interval '{ago}', {succeeded}, 1, '0', '0', {n_good}, {n_bad}, 0, {n_bad}, 0, 0)"
            ),
        );
    };
    ran(&ids[0], "1 minute", false);
    ran(&ids[1], "1 year", true);
    sql(
        schema,
        &format!("SELECT alter_job({}, scheduled => false)", ids[2]),
    );
    // Cut off by a crash of the server.
    sql(
        schema,
        &format!(
            "INSERT INTO _timescaledb_internal.bgw_job_stat VALUES ({}, now() - interval '1 day', '-infinity', '-infinity', '-infinity',
             false, 1, '0', '0', 0, 0, 1, 0, 1, 0)",
            ids[3]
        ),
    );
    let deleted = "SELECT delete_job(job_id) FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema()
        AND hypertable_name = 'telemetry_1_g0_1d' AND proc_name = 'policy_refresh_continuous_aggregate'";
    sql(schema, deleted);
    let after = jobs().await;
    assert_eq!((after.failed, after.overdue, after.off), (1, 1, 1));
    assert_eq!((after.on_time, after.missing), (all - 4, 1));
    let cut_off = &after.findings[4];
    assert_eq!(cut_off.verdict, FindingVerdict::Warn);
    assert!(cut_off.what.contains("crashed"), "{cut_off:?}");
    let others = &after.findings[..4];
    assert!(
        others.iter().all(|f| f.verdict == FindingVerdict::Fail),
        "{others:?}"
    );
    let missing = &after.findings[0];
    assert!(
        missing
            .what
            .contains("policy_refresh_continuous_aggregate of telemetry_1_g0_1d"),
        "{missing:?}"
    );
    let fixes: Vec<&str> = after
        .findings
        .iter()
        .filter_map(|f| f.fix.as_deref())
        .collect();
    let words = [
        "restart the service".to_owned(),
        format!("alter_job({}, next_start => now())", ids[0]),
        "start_background_workers".to_owned(),
        format!("alter_job({}, scheduled => true)", ids[2]),
        "five minutes".to_owned(),
    ];
    assert_eq!(fixes.len(), words.len());
    for (fix, words) in fixes.iter().zip(&words) {
        assert!(fix.contains(words), "{fixes:?}");
    }
    // The next start puts it back.
    TimescaleStore::open(settings.clone(), &catalogue_with(&["a"]), hour(0))
        .await
        .unwrap();
    assert_eq!(jobs().await.missing, 0);
}

#[tokio::test]
async fn chunks_that_wait_for_the_next_run_are_told_with_its_time() {
    let settings = fresh_timescale();
    let store = TimescaleStore::open(settings.clone(), &catalogue_with(&["a"]), hour(0))
        .await
        .unwrap();
    let compression = async || {
        let found = store.examine(hour(0)).await;
        found.into_iter().find(|f| f.name == "compression").unwrap()
    };
    assert_eq!(compression().await.verdict, FindingVerdict::Ok);
    let schema = &settings.schema;
    sql(
        schema,
        "INSERT INTO telemetry_1 (device_no, ts) VALUES (1, '2020-01-01')",
    );
    let before = compression().await;
    assert!(before.what.contains("1 of 1 chunks"), "{before:?}");
    assert!(before.fix.unwrap().contains("why the job"));
    let id = sql(
        schema,
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema()
             AND hypertable_name = 'telemetry_1' AND proc_name = 'policy_compression'",
    );
    sql(
        schema,
        &format!(
            "INSERT INTO _timescaledb_internal.bgw_job_stat VALUES ({id}, now(), now(), '2100-02-03 04:05Z', now(),
             true, 1, '0', '0', 1, 0, 0, 0, 0, 0)"
        ),
    );
    let after = compression().await;
    assert!(
        after.what.contains("it runs next at 2100-02-03 04:05"),
        "{after:?}"
    );
    let fix = after.fix.unwrap();
    assert!(
        fix.contains(&format!("alter_job({id}, next_start => now())")),
        "{fix}"
    );
}

#[tokio::test]
async fn late_readings_into_compressed_chunks_count_once() {
    let settings = fresh_timescale();
    let store = shared(&settings).await;
    register(&store, 2).await;
    let rows = history(30);
    // Every fifth row comes late.
    let (late, early): (Vec<_>, Vec<_>) = rows
        .iter()
        .cloned()
        .enumerate()
        .partition(|(i, _)| i / 2 % 5 == 3);
    let strip =
        |rows: Vec<(usize, ScoredRow)>| rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>();
    let (late, early) = (strip(late), strip(early));
    let n_readings = |rows: &[ScoredRow]| {
        rows.iter()
            .map(|r| r.row.values.iter().flatten().count() as u64)
            .sum::<u64>()
    };
    assert_eq!(
        commit_all(&store, early.clone()).await,
        receipt(n_readings(&early), 0, 0)
    );
    run_jobs(&settings.schema, "policy_compression");
    let compressed =
        "SELECT count(*) FILTER (WHERE is_compressed) > 0 FROM timescaledb_information.chunks
        WHERE hypertable_schema = current_schema() AND hypertable_name = 'telemetry_1'";
    assert_eq!(sql(&settings.schema, compressed), "t");
    assert_eq!(
        commit_all(&store, late.clone()).await,
        receipt(n_readings(&late), 0, 0)
    );
    // Again, and with another value.
    assert_eq!(
        commit_all(&store, rows.clone()).await,
        receipt(0, n_readings(&rows), 0)
    );
    let other = row(0, 1_234, [Some(-1.0), None, Some(5.0)]);
    assert_eq!(commit(&store, vec![other]).await, receipt(1, 0, 1));
    let before = store.fingerprint(&device(0)).await.unwrap();
    run_jobs(&settings.schema, "policy_compression");
    assert_eq!(store.fingerprint(&device(0)).await.unwrap(), before);
    let plain = shared(&fresh_plain()).await;
    register(&plain, 2).await;
    commit_all(&plain, rows).await;
    commit(&plain, vec![row(0, 1_234, [None, None, Some(5.0)])]).await;
    for d in 0..2 {
        assert_eq!(
            store.fingerprint(&device(d)).await.unwrap(),
            plain.fingerprint(&device(d)).await.unwrap()
        );
    }
}

/// The series are equal but for the order in which means were summed up.
fn assert_same(one: &[Series], other: &[Series], what: &str) {
    assert_eq!(one.len(), other.len(), "{what}");
    for (a, b) in one.iter().zip(other) {
        assert_eq!(
            (&a.metric, a.buckets.len()),
            (&b.metric, b.buckets.len()),
            "{what}"
        );
        for (a, b) in a.buckets.iter().zip(&b.buckets) {
            assert_eq!(
                (a.ts, a.n, a.min, a.max),
                (b.ts, b.n, b.min, b.max),
                "{what}"
            );
            assert!(
                (a.mean - b.mean).abs() <= 1e-9 * b.mean.abs().max(1.0),
                "{what}: {a:?} {b:?}"
            );
        }
    }
}

#[tokio::test]
async fn series_from_aggregates_equal_those_from_readings() {
    let settings = fresh_timescale();
    let (store, plain) = (shared(&settings).await, shared(&fresh_plain()).await);
    const HOURS: i64 = 60;
    for store in [&store, &plain] {
        register(store, 2).await;
        commit_all(store, history(HOURS)).await;
    }
    let metrics = ["vibration", "temperature", HEALTH_METRIC];
    let spans: Vec<TelemetryQuery> = [
        (0, HOURS * HOUR_MS, 1),
        (0, HOURS * HOUR_MS, 3),
        (0, HOURS * HOUR_MS, 20),
        (0, HOURS * HOUR_MS, 60),
        (5 * HOUR_MS + 17, 31 * HOUR_MS + 4_711, 26),
        (5 * HOUR_MS, 6 * HOUR_MS, 60),
        (-100 * HOUR_MS, 300 * HOUR_MS, 400),
        (-24 * HOUR_MS, 24 * 30 * HOUR_MS, 31),
    ]
    .map(|(from, to, points)| query(&metrics, from, to, points))
    .into();
    let compare = async |when: &str| {
        for span in &spans {
            let what = format!("{when}, {span:?}");
            assert_same(
                &store.telemetry(span).await.unwrap(),
                &plain.telemetry(span).await.unwrap(),
                &what,
            );
        }
    };
    compare("before the first refresh").await;
    refresh(&settings.schema);
    let materialised = "SELECT sum(n_rows) FROM telemetry_1_g0_1d";
    assert_eq!(
        sql(&settings.schema, materialised),
        (HOURS * 60 * 2).to_string()
    );
    compare("refreshed").await;
    run_jobs(&settings.schema, "policy_compression");
    compare("compressed").await;
    for store in [&store, &plain] {
        let late = vec![row(0, 7 * HOUR_MS + 5, [Some(1e6), None, Some(2.0)])];
        commit(store, late).await;
    }
    refresh(&settings.schema);
    compare("with a late reading").await;
}

#[tokio::test]
async fn each_level_is_kept_as_long_as_asked() {
    let mut settings = fresh_timescale();
    settings.retention = Retention {
        raw: Some(7 * DAY),
        ..Retention::default()
    };
    let store = shared(&settings).await;
    register(&store, 2).await;
    // Long ago.
    commit_all(&store, history(30)).await;
    // Whole days of UTC, as the aggregates have them.
    let midnight = -(hour(0).as_millis() % (24 * HOUR_MS));
    let days = query(&["vibration"], midnight, midnight + 72 * HOUR_MS, 3);
    // What was stored long ago lies beyond what the policies look at: brought in by hand, as after an import.
    for level in ["1m", "1h", "1d"] {
        let view = format!("{}.telemetry_1_g0_{level}", settings.schema);
        Timescale::shared().sql(&format!(
            "CALL refresh_continuous_aggregate('{view}', NULL, NULL)"
        ));
    }
    let before = store.telemetry(&days).await.unwrap();
    run_jobs(&settings.schema, "policy_retention");
    assert_eq!(
        sql(&settings.schema, "SELECT count(*) FROM telemetry_1"),
        "0"
    );
    refresh(&settings.schema);
    let by_hour = "SELECT sum(n_rows) FROM telemetry_1_g0_1h";
    assert_eq!(sql(&settings.schema, by_hour), (30 * 60 * 2).to_string());
    assert_same(&store.telemetry(&days).await.unwrap(), &before, "dropped");
}

async fn aggregates(store: &TimescaleStore) -> Finding {
    let findings = store.examine(hour(48)).await;
    let of_aggregates = findings.into_iter().find(|f| f.name == "aggregates");
    of_aggregates.unwrap()
}

#[tokio::test]
async fn an_aggregate_that_differs_from_the_readings_is_found() {
    let settings = fresh_timescale();
    let store = Arc::new(open(&settings).await.unwrap());
    let port: Arc<dyn Store> = store.clone();
    register(&port, 2).await;
    commit_all(&port, history(60)).await;
    refresh(&settings.schema);
    let finding = aggregates(&store).await;
    assert_eq!(finding.verdict, FindingVerdict::Ok, "{finding:?}");
    assert_eq!(finding.what.matches("in all ").count(), 3, "{finding:?}");
    let table =
        "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
        FROM timescaledb_information.continuous_aggregates
        WHERE view_schema = current_schema() AND view_name = 'telemetry_1_g0_1h'";
    let table = sql(&settings.schema, table);
    let bucket = |change: &str| {
        let one = format!("SELECT max(ts) FROM {table} WHERE ts < '2025-06-17 12:00'");
        let change = format!("UPDATE {table} SET {change} WHERE device_no = 1 AND ts = ({one})");
        sql(&settings.schema, &change);
    };
    bucket("n_rows = n_rows - 1, m0_n = m0_n - 1");
    let finding = aggregates(&store).await;
    assert_ne!(finding.verdict, FindingVerdict::Ok, "{finding:?}");
    assert!(finding.what.contains("1h"), "{finding:?}");
    let fix = finding.fix.unwrap();
    assert!(fix.contains("refresh_continuous_aggregate"), "{fix}");
    bucket("n_rows = n_rows + 1, m0_n = m0_n + 1");
    assert_eq!(aggregates(&store).await.verdict, FindingVerdict::Ok);
}

#[tokio::test]
async fn metrics_that_would_vanish_with_the_readings_are_named() {
    let mut settings = fresh_timescale();
    let store = shared(&settings).await;
    register(&store, 1).await;
    commit(&store, vec![row(0, 1, [Some(1.0), None, None])]).await;
    drop(store);
    let retention = async |settings: &TimescaleSettings| {
        let store = open(settings).await.unwrap();
        let findings = store.examine(hour(48)).await;
        findings.into_iter().find(|f| f.name == "retention")
    };
    assert_eq!(retention(&settings).await, None, "nothing is dropped");
    settings.retention.raw = Some(30 * DAY);
    let kept = retention(&settings).await.unwrap();
    assert_eq!(kept.verdict, FindingVerdict::Ok, "{kept:?}");
    let store = shared(&settings).await;
    commit(
        &store,
        vec![with_extra(row(0, 2, [None; 3]), &[("oil_age", 3.0)])],
    )
    .await;
    let lost = retention(&settings).await.unwrap();
    assert_eq!(lost.verdict, FindingVerdict::Warn, "{lost:?}");
    assert!(
        lost.what.contains("oil_age") && lost.what.contains("30 days"),
        "{lost:?}"
    );
}

#[tokio::test]
async fn the_latest_rows_follow_assets_that_another_program_adds_and_moves() {
    for settings in [fresh_plain(), fresh_timescale()] {
        let store = shared(&settings).await;
        let other = shared(&settings).await;
        let devices = async || -> Vec<_> {
            let latest = store.latest().await.unwrap();
            latest.into_iter().map(|row| row.device).collect()
        };
        register(&store, 1).await;
        commit(&store, vec![row(0, 1, [Some(1.0), None, None])]).await;
        assert_eq!(devices().await, [device(0)]);
        register(&other, 3).await;
        let rows = [2, 1].map(|n| row(n, 1, [Some(1.0), None, None]));
        commit(&other, rows.into()).await;
        assert_eq!(devices().await, [device(0), device(1), device(2)]);
        // The asset gets another device: the one it had reports for nothing.
        let moved = Asset {
            device: device(7),
            ..asset(1)
        };
        other.register_assets(vec![moved]).await.unwrap();
        assert_eq!(devices().await, [device(0), device(2)]);
    }
}

#[tokio::test]
async fn the_reading_role_reads_every_view_and_no_table() {
    for settings in [fresh_plain(), fresh_timescale()] {
        let store = shared(&settings).await;
        register(&store, 1).await;
        commit(&store, vec![row(0, 1, [Some(1.5), None, None])]).await;
        let credential = Credential {
            username: "grafana".to_owned(),
            role: CredentialRole::Api,
            secret_sha256: "0".repeat(64),
        };
        store.put_credential(credential).await.unwrap();
        let schema = settings.schema.clone();
        let database = settings.url.rsplit('/').next().unwrap().to_owned();
        let is_plain = settings.plain_postgres;
        let sql = |text: &str| {
            let text = format!("SET search_path = {schema}, public; {text}");
            if is_plain {
                Postgres::shared().sql(&database, &text)
            } else {
                Timescale::shared().sql(&text)
            }
        };
        let views = "SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname LIKE 'v\\_%'";
        let views = sql(views);
        for name in ["v_telemetry", "v_health", "v_tickets", "v_parts", "v_kpis"] {
            assert!(views.lines().any(|v| v == name), "no {name} in: {views}");
        }
        for view in views.lines() {
            sql(&format!(
                "SET ROLE forecare_read; SELECT count(*) FROM {view}"
            ));
        }
        let open_tables = "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = current_schema()
            AND has_table_privilege('forecare_read', format('%I.%I', schemaname, tablename), 'SELECT, INSERT, UPDATE, DELETE')";
        assert_eq!(sql(open_tables), "");
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'credentials'";
        assert_eq!(sql(tables), "1");
        let read = "SET ROLE forecare_read; SELECT device, metric, value FROM v_telemetry WHERE metric <> 'health'";
        assert_eq!(sql(read), "pump-0|vibration|1.5");
    }
}

#[tokio::test]
async fn a_database_that_was_used_without_the_extension_can_be_moved_to_it() {
    let mut settings = TimescaleSettings {
        plain_postgres: true,
        ..fresh_timescale()
    };
    let store = shared(&settings).await;
    register(&store, 2).await;
    commit_all(&store, history(5)).await;
    let before = store.fingerprint(&device(0)).await.unwrap();
    drop(store);
    settings.plain_postgres = false;
    let store = shared(&settings).await;
    assert_eq!(store.fingerprint(&device(0)).await.unwrap(), before);
    assert!(!sql(&settings.schema, "SELECT show_chunks('telemetry_1')").is_empty());
    refresh(&settings.schema);
    assert_eq!(
        sql(
            &settings.schema,
            "SELECT sum(n_rows) FROM telemetry_1_g0_1h"
        ),
        "600"
    );
}
