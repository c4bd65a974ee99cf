//! Rows per second of `commit_batch`: `cargo run --release -p forecare-store-sqlite --example throughput`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement: a failure ends it, and its figures are for people"
)]

use std::time::Instant;

use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, AssetId, ClassName, DeviceId, Row, Timestamp};
use forecare_store::{CommitBatch, ScoredRow, Store};
use forecare_store_sqlite::{Durability, SqliteStore};

const DEVICES: usize = 1_000;
const METRICS: usize = 8;
const ROWS: usize = 600_000;

fn catalogue() -> Catalogue {
    let metrics: Vec<String> = (0..METRICS)
        .map(|i| format!("{{ name = \"metric-{i}\", unit = \"\" }}"))
        .collect();
    Catalogue::parse(&format!(
        "[[class]]\nname = \"pump\"\ntitle = \"Pump\"\nhorizon_hours = 24\nsample_interval_s = 60\nmetric = [{}]\n\
         [[depot]]\nname = \"main\"\ntitle = \"Main\"\n",
        metrics.join(", ")
    ))
    .unwrap()
}

/// Row number `i` of a fleet that reports in turn; values with all their bits.
fn row(devices: &[DeviceId], i: usize) -> ScoredRow {
    let ts = 1_750_000_000_000 + i64::try_from(i / DEVICES * 1_000).unwrap();
    let values = (0..METRICS)
        .map(|m| Some(((i * METRICS + m) as f64 * 0.618).sin()))
        .collect();
    let device = devices[i % DEVICES].clone();
    let row = Row {
        device,
        ts: Timestamp::from_millis(ts),
        values,
        extra: Vec::new(),
    };
    ScoredRow {
        row,
        health: Some(97.5),
    }
}

#[tokio::main]
async fn main() {
    let devices: Vec<DeviceId> = (0..DEVICES)
        .map(|n| DeviceId::new(format!("device-{n}")).unwrap())
        .collect();
    for durability in [Durability::PowerLoss, Durability::ProcessDeath] {
        for batch_rows in [100, 1_000, 10_000] {
            let directory = tempfile::tempdir().unwrap();
            let now = Timestamp::from_millis(0);
            let store =
                SqliteStore::open_with(directory.path(), &catalogue(), now, durability).unwrap();
            let asset = |device: &DeviceId| Asset {
                id: AssetId::new(device.as_str()).unwrap(),
                device: device.clone(),
                class: ClassName::new("pump").unwrap(),
                name: String::new(),
                site: String::new(),
                depot: None,
                registered_at: now,
            };
            store
                .register_assets(devices.iter().map(asset).collect())
                .await
                .unwrap();
            let n_rows = if batch_rows == 100 { ROWS / 4 } else { ROWS };
            let mut spent_s = 0.0;
            let mut again_s = 0.0;
            for begin in (0..n_rows).step_by(batch_rows) {
                let rows: Vec<ScoredRow> = (begin..begin + batch_rows)
                    .map(|i| row(&devices, i))
                    .collect();
                let batch = CommitBatch {
                    rows,
                    ..CommitBatch::default()
                };
                let copy = batch.clone();
                let started = Instant::now();
                let receipt = store.commit_batch(batch).await.unwrap();
                spent_s += started.elapsed().as_secs_f64();
                assert_eq!(receipt.inserted, (batch_rows * METRICS) as u64);
                if begin % (batch_rows * 10) == 0 {
                    let started = Instant::now();
                    store.commit_batch(copy).await.unwrap();
                    again_s += started.elapsed().as_secs_f64();
                }
            }
            store.close().unwrap();
            let bytes = std::fs::metadata(store.file()).unwrap().len();
            println!(
                "{durability:?}, batches of {batch_rows}: {:.0} rows/s new, {:.0} rows/s redelivered, {:.0} bytes/row",
                n_rows as f64 / spent_s,
                n_rows as f64 / 10.0 / again_s,
                bytes as f64 / n_rows as f64
            );
        }
    }
}
