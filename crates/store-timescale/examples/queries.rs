//! How long reading back takes, on a TimescaleDB of yours:
//! `cargo run --release -p forecare-store-timescale --example queries -- --url postgres://…/scratch [--days 7]`.
//! Loads a thousand devices that report eight metrics every minute, and nine thousand that reported once; then
//! asks through the store, before compression and after. Makes and drops the schema `forecare_measured`. Some
//! five minutes for seven days.
//!
//! The plans: add `?options=-c%20session_preload_libraries%3Dauto_explain%20-c%20auto_explain.log_min_duration%3D0%20-c%20auto_explain.log_analyze%3Don`
//! to the URL, and read the server's log.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "a measurement: a failure ends it, and its figures are for people"
)]

#[path = "measure/mod.rs"]
#[allow(dead_code, reason = "shared with another measurement")]
mod measure;

use std::time::Instant;

use forecare_domain::{DeviceId, MetricName, Timestamp};
use forecare_store::{CommitBatch, Fill, Store, TelemetryQuery};
use forecare_store_timescale::TimescaleStore;
use measure::{BEGIN_MS, Dice, argument, connect, devices, drop_schema, fresh_store, row};
use tokio_postgres::Client;

const REPORTING: usize = 1_000;
const ALL: usize = 10_000;
const TRIES: usize = 41;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

async fn load(store: &TimescaleStore, devices: &[DeviceId], days: i64) {
    let started = Instant::now();
    let mut n = 0;
    for minute in 0..days * 24 * 60 {
        let reporting = if minute == 0 { ALL } else { REPORTING };
        let ts = BEGIN_MS + minute * MINUTE_MS;
        let mut rows: Vec<_> = devices[..reporting]
            .iter()
            .enumerate()
            .map(|(i, device)| row(device, ts, &mut Dice((minute as u64) << 20 | i as u64)))
            .collect();
        n += rows.len();
        rows.shrink_to_fit();
        store
            .commit_batch(CommitBatch {
                rows,
                ..CommitBatch::default()
            })
            .await
            .unwrap();
    }
    println!(
        "{n} rows loaded in batches of {REPORTING}: {:.0} rows/s",
        n as f64 / started.elapsed().as_secs_f64()
    );
}

/// Median and 95th percentile of [`TRIES`] tries after one, ms.
async fn timed<T>(mut work: impl AsyncFnMut(usize) -> T) -> (f64, f64) {
    let mut ms = Vec::new();
    for i in 0..=TRIES {
        let started = Instant::now();
        work(i).await;
        ms.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    ms.remove(0);
    ms.sort_by(f64::total_cmp);
    (ms[TRIES / 2], ms[TRIES * 95 / 100])
}

fn names(n: usize) -> Vec<MetricName> {
    (0..n)
        .map(|i| MetricName::new(format!("metric-{i}")).unwrap())
        .collect()
}

async fn ask(store: &TimescaleStore, devices: &[DeviceId], days: i64) -> Vec<(String, f64, f64)> {
    let end = BEGIN_MS + days * DAY_MS;
    let mut figures = Vec::new();
    let spans = [
        (
            "last hour, one metric, every reading",
            1,
            HOUR_MS,
            60,
            Fill::None,
        ),
        (
            "last 24 h, 8 metrics, every reading",
            8,
            DAY_MS,
            1_440,
            Fill::None,
        ),
        (
            "last 24 h, 8 metrics, 300 points",
            8,
            DAY_MS,
            300,
            Fill::None,
        ),
        (
            "all days, one metric, 1,000 points",
            1,
            days * DAY_MS,
            1_000,
            Fill::None,
        ),
        (
            "all days, 8 metrics, a point an hour",
            8,
            days * DAY_MS,
            24 * days as usize,
            Fill::None,
        ),
        (
            "the same, gaps filled linearly",
            8,
            days * DAY_MS,
            24 * days as usize,
            Fill::Linear,
        ),
    ];
    for (name, n_metrics, span, points, fill) in spans {
        let (median, p95) = timed(async |i| {
            let series = store
                .telemetry(&TelemetryQuery {
                    // Another device each time: not the same pages again.
                    device: devices[i * 17 % REPORTING].clone(),
                    metrics: names(n_metrics),
                    from: Timestamp::from_millis(end - span),
                    to: Timestamp::from_millis(end),
                    points,
                    fill,
                })
                .await
                .unwrap();
            assert!(!series[0].buckets.is_empty());
        })
        .await;
        figures.push((name.to_owned(), median, p95));
    }
    let (median, p95) = timed(async |_| {
        assert_eq!(store.latest().await.unwrap().len(), ALL);
    })
    .await;
    figures.push((format!("latest row of {ALL} devices"), median, p95));
    figures
}

/// What the policies do in time.
async fn refresh(client: &Client) {
    let sql = "SELECT format('%I.%I', view_schema, view_name) FROM timescaledb_information.continuous_aggregates
               WHERE view_schema = current_schema() ORDER BY view_name";
    let mut levels: Vec<String> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|r| r.get(0))
        .collect();
    // Where one is made of another, that one first.
    levels.sort_by_key(|name| {
        ["_1m", "_1h", "_1d"]
            .iter()
            .position(|level| name.ends_with(level))
    });
    for name in levels {
        let started = Instant::now();
        client
            .batch_execute(&format!(
                "CALL refresh_continuous_aggregate('{name}', NULL, NULL)"
            ))
            .await
            .unwrap();
        println!(
            "{name} refreshed in {:.1} s",
            started.elapsed().as_secs_f64()
        );
    }
}

#[tokio::main]
async fn main() {
    let days: i64 = argument("--days").map_or(7, |days| days.parse().unwrap());
    let client = connect().await;
    let devices = devices(ALL);
    let store = fresh_store(&client, &devices).await;
    load(&store, &devices, days).await;
    refresh(&client).await;
    client.batch_execute("ANALYZE").await.unwrap();
    let before = ask(&store, &devices, days).await;
    let started = Instant::now();
    let sql = "SELECT compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass, if_not_compressed => true)
               FROM timescaledb_information.chunks WHERE hypertable_schema = current_schema() AND hypertable_name LIKE 'telemetry%'";
    let n_chunks = client.query(sql, &[]).await.unwrap().len();
    println!(
        "{n_chunks} chunks compressed in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let after = ask(&store, &devices, days).await;
    println!(
        "\n| query | median, ms | 95 %, ms | compressed: median, ms | 95 %, ms |\n|---|---|---|---|---|"
    );
    for ((name, median, p95), (_, median_after, p95_after)) in before.into_iter().zip(after) {
        println!("| {name} | {median:.1} | {p95:.1} | {median_after:.1} | {p95_after:.1} |");
    }
    store.close().await;
    drop_schema(&client).await;
}
