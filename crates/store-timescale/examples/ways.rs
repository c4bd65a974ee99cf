//! Which way into a hypertable is fastest, on a TimescaleDB of yours:
//! `cargo run --release -p forecare-store-timescale --example ways -- --url postgres://…/scratch [--azure PdM_telemetry_90days.csv]`.
//! Makes and drops the schema `forecare_measured`. PostgreSQL's CPU time is shown where it runs on this
//! machine. Some two minutes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a measurement: a failure ends it, and its figures are for people"
)]

#[path = "measure/mod.rs"]
mod measure;

use std::pin::pin;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use forecare_domain::DeviceId;
use forecare_store::{CommitBatch, ScoredRow, Store};
use futures_util::SinkExt;
use measure::{
    BEGIN_MS, Cost, Dice, METRICS, SCHEMA, argument, connect, cost_of, devices, drop_schema,
    fresh_store, open_store, row,
};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const DEVICES: usize = 1_000;
const HOUR_MS: i64 = 3_600_000;
/// PostgreSQL's epoch, ms.
const EPOCH_MS: i64 = 946_684_800_000;

/// Batches of a fleet that reports every second in turn. Of every hundred rows, `percent` are not new: half
/// of them were sent before, half are up to a day late.
fn batches(devices: &[DeviceId], n: usize, size: usize, percent: usize) -> Vec<Vec<ScoredRow>> {
    let mut dice = Dice(7);
    let mut sent = 0;
    (0..n)
        .map(|batch| {
            (0..size)
                .map(|_| {
                    let i = sent;
                    sent += 1;
                    let device = &devices[i % devices.len()];
                    let ts =
                        BEGIN_MS + 24 * HOUR_MS + i64::try_from(i / devices.len()).unwrap() * 1_000;
                    if batch == 0 || dice.below(100) >= percent {
                        return row(device, ts, &mut Dice(i as u64));
                    }
                    if dice.below(2) == 0 {
                        // The very row of the first batch.
                        let first = dice.below(size.min(devices.len()));
                        return row(
                            &devices[first],
                            BEGIN_MS + 24 * HOUR_MS,
                            &mut Dice(first as u64),
                        );
                    }
                    let late = i64::try_from(dice.below(86_000)).unwrap() * 1_000 + 500;
                    row(device, ts - late, &mut Dice(i as u64))
                })
                .collect()
        })
        .collect()
}

/// Rows the way the hand-written ways take them: the device's number instead of its name.
struct Plain {
    device_no: i32,
    ts_us: i64,
    health: f64,
    values: [f64; METRICS],
}

fn plain(rows: &[ScoredRow]) -> Vec<Plain> {
    let plain = |scored: &ScoredRow| {
        let (_, number) = scored.row.device.as_str().rsplit_once('-').unwrap();
        let mut values = [0.0; METRICS];
        for (to, from) in values.iter_mut().zip(&scored.row.values) {
            *to = from.unwrap();
        }
        Plain {
            device_no: number.parse().unwrap(),
            ts_us: (scored.row.ts.as_millis() - EPOCH_MS) * 1_000,
            health: 97.5,
            values,
        }
    };
    rows.iter().map(plain).collect()
}

fn sorted(mut rows: Vec<Plain>) -> Vec<Plain> {
    rows.sort_unstable_by_key(|r| (r.device_no, r.ts_us));
    rows.dedup_by_key(|r| (r.device_no, r.ts_us));
    rows
}

async fn copy(client: &Client, table: &str, rows: &[Plain]) -> Result<(), tokio_postgres::Error> {
    let mut bytes = BytesMut::with_capacity(rows.len() * 128);
    bytes.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for r in rows {
        bytes.put_i16(3 + i16::try_from(METRICS).unwrap());
        bytes.put_i32(4);
        bytes.put_i32(r.device_no);
        bytes.put_i32(8);
        bytes.put_i64(r.ts_us);
        for value in [r.health].iter().chain(&r.values) {
            bytes.put_i32(8);
            bytes.put_f64(*value);
        }
    }
    bytes.put_i16(-1);
    send(client, table, bytes).await
}

async fn send(client: &Client, table: &str, bytes: BytesMut) -> Result<(), tokio_postgres::Error> {
    let sql = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let mut sink = pin!(client.copy_in::<_, Bytes>(&sql).await?);
    sink.feed(bytes.freeze()).await?;
    sink.finish().await?;
    Ok(())
}

fn columns(prefix: &str) -> String {
    (0..METRICS).map(|i| format!(", {prefix}m{i}")).collect()
}

/// An empty hypertable like the store's.
async fn fresh_table(client: &Client) {
    drop_schema(client).await;
    let columns: String = (0..METRICS).map(|i| format!(", m{i} float8")).collect();
    client
        .batch_execute(&format!(
            "CREATE SCHEMA {SCHEMA};
             CREATE TABLE wide (device_no int NOT NULL, ts timestamptz NOT NULL, health float8{columns});
             SELECT create_hypertable('wide', by_range('ts', interval '1 day'), create_default_indexes => false);
             CREATE UNIQUE INDEX ON wide (device_no, ts);
             ALTER TABLE wide SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'device_no', timescaledb.orderby = 'ts');
             CREATE TABLE narrow (device_no int NOT NULL, ts timestamptz NOT NULL, metric_no int NOT NULL, value float8 NOT NULL);
             SELECT create_hypertable('narrow', by_range('ts', interval '1 day'), create_default_indexes => false);
             CREATE UNIQUE INDEX ON narrow (device_no, metric_no, ts);
             CREATE TEMP TABLE IF NOT EXISTS staged (LIKE wide) ON COMMIT DELETE ROWS"
        ))
        .await
        .unwrap();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Unsorted,
    Straight,
    Staged,
    Unnest,
    LookUp,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Unsorted => "COPY straight, in order of arrival; staging where the index objects",
            Self::Straight => "COPY straight, sorted; staging where the index objects",
            Self::Staged => "always staging, sorted, ON CONFLICT DO NOTHING",
            Self::Unnest => "unnest, sorted, ON CONFLICT DO NOTHING",
            Self::LookUp => "look every key up, COPY what is new",
        }
    }

    async fn store(self, client: &Client, rows: &[ScoredRow]) {
        client.batch_execute("BEGIN").await.unwrap();
        let rows = plain(rows);
        match self {
            Self::Unsorted | Self::Straight => {
                let rows = if self == Self::Straight {
                    sorted(rows)
                } else {
                    rows
                };
                client.batch_execute("SAVEPOINT straight").await.unwrap();
                if let Err(e) = copy(client, "wide", &rows).await {
                    assert_eq!(e.code(), Some(&SqlState::UNIQUE_VIOLATION), "{e}");
                    client.batch_execute("ROLLBACK TO straight").await.unwrap();
                    stage(client, &rows).await;
                }
            }
            Self::Staged => stage(client, &sorted(rows)).await,
            Self::Unnest => unnest(client, &sorted(rows)).await,
            Self::LookUp => look_up(client, sorted(rows)).await,
        }
        client.batch_execute("COMMIT").await.unwrap();
    }
}

async fn stage(client: &Client, rows: &[Plain]) {
    copy(client, "staged", rows).await.unwrap();
    client
        .batch_execute("INSERT INTO wide SELECT * FROM staged ON CONFLICT DO NOTHING")
        .await
        .unwrap();
}

async fn unnest(client: &Client, rows: &[Plain]) {
    let places: String = (0..METRICS)
        .map(|i| format!(", ${}::float8[]", i + 4))
        .collect();
    let sql = format!(
        "INSERT INTO wide SELECT d, to_timestamp(t / 1000000.0), h{m} FROM unnest($1::int[], $2::bigint[], $3::float8[]{places}) AS k (d, t, h{m})
         ON CONFLICT DO NOTHING",
        m = columns(""),
    );
    let devices: Vec<i32> = rows.iter().map(|r| r.device_no).collect();
    let times: Vec<i64> = rows.iter().map(|r| r.ts_us + EPOCH_MS * 1_000).collect();
    let health: Vec<f64> = rows.iter().map(|r| r.health).collect();
    let values: Vec<Vec<f64>> = (0..METRICS)
        .map(|i| rows.iter().map(|r| r.values[i]).collect())
        .collect();
    let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        vec![&devices, &times, &health];
    for column in &values {
        params.push(column);
    }
    client.execute(&sql, &params).await.unwrap();
}

async fn look_up(client: &Client, mut rows: Vec<Plain>) {
    let devices: Vec<i32> = rows.iter().map(|r| r.device_no).collect();
    let times: Vec<i64> = rows.iter().map(|r| r.ts_us + EPOCH_MS * 1_000).collect();
    let sql = format!(
        "SELECT t.device_no, (extract(epoch FROM t.ts) * 1000000)::bigint{} FROM unnest($1::int[], $2::bigint[]) AS k (d, us)
         JOIN wide AS t ON t.device_no = k.d AND t.ts = to_timestamp(k.us / 1000000.0)",
        columns("t."),
    );
    let found = client.query(&sql, &[&devices, &times]).await.unwrap();
    let known: std::collections::HashSet<(i32, i64)> = found
        .iter()
        .map(|r| (r.get(0), r.get::<_, i64>(1) - EPOCH_MS * 1_000))
        .collect();
    rows.retain(|r| !known.contains(&(r.device_no, r.ts_us)));
    copy(client, "wide", &rows).await.unwrap();
}

/// Stores batches by hand, one connection.
async fn by_hand(watcher: &Client, way: Way, batches: &[Vec<ScoredRow>]) -> Cost {
    let client = connect().await;
    fresh_table(&client).await;
    client
        .batch_execute("SET application_name = 'ways_by_hand'")
        .await
        .unwrap();
    // The first makes chunks and caches.
    way.store(&client, &batches[0]).await;
    let work = async {
        for rows in &batches[1..] {
            way.store(&client, rows).await;
        }
    };
    cost_of(watcher, "ways_by_hand", work).await
}

/// Stores batches by the store's `commit_batch`, `writers` of them at the same time.
async fn by_store(
    watcher: &Client,
    devices: &[DeviceId],
    batches: &[Vec<ScoredRow>],
    writers: usize,
) -> Cost {
    let mut stores = vec![fresh_store(watcher, devices).await];
    for _ in 1..writers {
        stores.push(open_store().await);
    }
    let mut batches = batches.iter().map(|rows| CommitBatch {
        rows: rows.clone(),
        ..CommitBatch::default()
    });
    let first = batches.next().unwrap();
    for store in &stores {
        store.commit_batch(first.clone()).await.unwrap();
    }
    let mut shares: Vec<Vec<CommitBatch>> = vec![Vec::new(); writers];
    for (i, batch) in batches.enumerate() {
        shares[i % writers].push(batch);
    }
    let work = async {
        let tasks: Vec<_> = stores
            .iter()
            .zip(shares)
            .map(|(store, share)| {
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    for batch in share {
                        store.commit_batch(batch).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    let cost = cost_of(watcher, SCHEMA, work).await;
    for store in stores {
        store.close().await;
    }
    cost
}

const HEAD: &str = "rows/s | PostgreSQL CPU µs/row | own CPU µs/row | time against the floor |\n|---|---|---|---|---|";

async fn ways(watcher: &Client, devices: &[DeviceId]) {
    for percent in [0, 1, 20] {
        let batches = batches(devices, 13, 10_000, percent);
        let n = 12 * 10_000;
        println!(
            "\n{percent} % duplicates and late rows, batches of 10,000; the floor is the second line without any of them:\n\n| way | {HEAD}"
        );
        let clean = self::batches(devices, 13, 10_000, 0);
        let floor = by_hand(watcher, Way::Straight, &clean).await;
        for way in [
            Way::Unsorted,
            Way::Straight,
            Way::Staged,
            Way::Unnest,
            Way::LookUp,
        ] {
            let cost = by_hand(watcher, way, &batches).await;
            println!("| {} | {}", way.name(), cost.cells(n, Some(&floor)));
        }
        let cost = by_store(watcher, devices, &batches, 1).await;
        println!("| **commit_batch** | {}", cost.cells(n, Some(&floor)));
    }
}

async fn sizes(watcher: &Client, devices: &[DeviceId]) {
    println!(
        "\nBatch size; the floor is COPY straight, sorted, by hand:\n\n| batch | floor, rows/s | PostgreSQL | own | commit_batch, rows/s | PostgreSQL | own | time against the floor |\n|---|---|---|---|---|---|---|---|"
    );
    for size in [1_000, 5_000, 10_000, 50_000] {
        let n_batches = 150_000 / size;
        let batches = batches(devices, n_batches + 1, size, 0);
        let n = n_batches * size;
        let floor = by_hand(watcher, Way::Straight, &batches).await;
        let cost = by_store(watcher, devices, &batches, 1).await;
        println!(
            "| {size} | {} {}",
            floor.cells(n, None),
            cost.cells(n, Some(&floor))
        );
    }
    let batches = batches(devices, 17, 10_000, 0);
    println!("\n| writers, batches of 10,000 | rows/s | PostgreSQL | own |\n|---|---|---|---|");
    for writers in [1, 2] {
        let cost = by_store(watcher, devices, &batches, writers).await;
        println!("| {writers} | {}", cost.cells(160_000, None));
    }
}

async fn narrow(watcher: &Client, devices: &[DeviceId]) {
    let batches = batches(devices, 7, 10_000, 0);
    let wide = by_hand(watcher, Way::Straight, &batches).await;
    let client = connect().await;
    fresh_table(&client).await;
    client
        .batch_execute("SET application_name = 'ways_by_hand'")
        .await
        .unwrap();
    let work = async {
        for rows in &batches[1..] {
            let mut rows = plain(rows);
            rows.sort_unstable_by_key(|r| (r.device_no, r.ts_us));
            let mut bytes = BytesMut::with_capacity(rows.len() * METRICS * 44);
            bytes.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
            for of_device in rows.chunk_by(|a, b| a.device_no == b.device_no) {
                for metric in 0..METRICS {
                    for r in of_device {
                        bytes.put_i16(4);
                        bytes.put_i32(4);
                        bytes.put_i32(r.device_no);
                        bytes.put_i32(8);
                        bytes.put_i64(r.ts_us);
                        bytes.put_i32(4);
                        bytes.put_i32(i32::try_from(metric).unwrap());
                        bytes.put_i32(8);
                        bytes.put_f64(r.values[metric]);
                    }
                }
            }
            bytes.put_i16(-1);
            send(&client, "narrow", bytes).await.unwrap();
        }
    };
    let cost = cost_of(watcher, "ways_by_hand", work).await;
    println!(
        "\n| table, a row of {METRICS} readings | rows/s | PostgreSQL | own | time against the wide |\n|---|---|---|---|---|"
    );
    println!("| wide | {}", wide.cells(60_000, Some(&wide)));
    println!("| narrow | {}", cost.cells(60_000, Some(&wide)));
}

/// Late rows whose chunk is compressed already.
async fn late(watcher: &Client, devices: &[DeviceId]) {
    println!(
        "\nInto a compressed chunk of 200,000 rows of {DEVICES} devices, batches of 2,000:\n\n| rows | way | rows/s | PostgreSQL | own |\n|---|---|---|---|---|"
    );
    let base = batches(devices, 20, 10_000, 0);
    let late = |offset_ms: i64| -> Vec<Vec<ScoredRow>> {
        let mut dice = Dice(3);
        (0..3)
            .map(|_| {
                (0..2_000)
                    .map(|_| {
                        let (i, second) =
                            (dice.below(DEVICES), i64::try_from(dice.below(200)).unwrap());
                        let ts = BEGIN_MS + 24 * HOUR_MS + second * 1_000 + offset_ms;
                        row(
                            &devices[i],
                            ts,
                            &mut Dice(u64::try_from(second).unwrap() * DEVICES as u64 + i as u64),
                        )
                    })
                    .collect()
            })
            .collect()
    };
    for (name, offset_ms) in [("new", 500), ("duplicates", 0)] {
        let batches = late(offset_ms);
        for way in [Way::Staged, Way::LookUp] {
            let client = connect().await;
            fresh_table(&client).await;
            for rows in &base {
                Way::Straight.store(&client, rows).await;
            }
            client
                .batch_execute(
                    "SELECT compress_chunk(c) FROM show_chunks('wide') AS c; SET application_name = 'ways_by_hand'",
                )
                .await
                .unwrap();
            let work = async {
                for rows in &batches {
                    way.store(&client, rows).await;
                }
            };
            let cost = cost_of(watcher, "ways_by_hand", work).await;
            println!("| {name} | {} | {}", way.name(), cost.cells(6_000, None));
        }
        let store = fresh_store(watcher, devices).await;
        for rows in base.clone() {
            let batch = CommitBatch {
                rows,
                ..CommitBatch::default()
            };
            store.commit_batch(batch).await.unwrap();
        }
        watcher
            .batch_execute("SELECT compress_chunk(c) FROM show_chunks('telemetry_1') AS c")
            .await
            .unwrap();
        let work = async {
            for rows in batches.clone() {
                let batch = CommitBatch {
                    rows,
                    ..CommitBatch::default()
                };
                store.commit_batch(batch).await.unwrap();
            }
        };
        let cost = cost_of(watcher, SCHEMA, work).await;
        println!("| {name} | **commit_batch** | {}", cost.cells(6_000, None));
        store.close().await;
    }
}

/// Values of a machine: each metric wanders, and its sensor resolves hundredths.
fn wandering(devices: &[DeviceId]) -> Vec<ScoredRow> {
    let mut dice = Dice(5);
    let mut rows = Vec::new();
    for device in &devices[..100] {
        let mut state = [50.0; METRICS];
        for i in 0..2_000 {
            let mut one = row(device, BEGIN_MS + 24 * HOUR_MS + i * 1_000, &mut dice);
            for (value, state) in one.row.values.iter_mut().zip(&mut state) {
                *state += dice.unit() - 0.5;
                *value = Some((*state * 100.0_f64).round() / 100.0);
            }
            rows.push(one);
        }
    }
    rows
}

async fn bytes(client: &Client, name: &str, n_readings: usize) {
    let sql = "SELECT sum(pg_total_relation_size(format('%I.%I', chunk_schema, chunk_name)::regclass))::float8
               FROM timescaledb_information.chunks WHERE hypertable_schema = current_schema() AND hypertable_name = 'wide'";
    let before: f64 = client.query_one(sql, &[]).await.unwrap().get(0);
    client
        .batch_execute("SELECT compress_chunk(c) FROM show_chunks('wide') AS c")
        .await
        .unwrap();
    let sql =
        "SELECT sum(after_compression_total_bytes)::float8 FROM chunk_compression_stats('wide')";
    let after: f64 = client.query_one(sql, &[]).await.unwrap().get(0);
    let n = n_readings as f64;
    println!("| {name} | {:.1} | {:.1} |", before / n, after / n);
}

async fn compression(devices: &[DeviceId]) {
    println!("\n| readings | bytes each, rows and index | compressed |\n|---|---|---|");
    let client = connect().await;
    let sets = [
        (
            "random doubles, 1,000 devices",
            batches(devices, 20, 10_000, 0).concat(),
        ),
        ("wandering hundredths, 100 devices", wandering(devices)),
    ];
    for (name, rows) in sets {
        fresh_table(&client).await;
        for rows in rows.chunks(10_000) {
            copy(&client, "wide", &sorted(plain(rows))).await.unwrap();
        }
        bytes(&client, name, rows.len() * METRICS).await;
    }
    let Some(file) = argument("--azure") else {
        return;
    };
    fresh_table(&client).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let place = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let at = [
        "machineID",
        "datetime",
        "volt",
        "rotate",
        "pressure",
        "vibration",
    ]
    .map(place);
    // A month per chunk: hourly rows of twelve machines would fill no page in a day.
    client
        .batch_execute("SELECT set_chunk_time_interval('wide', interval '720 hours'); ALTER TABLE wide DROP COLUMN health, DROP COLUMN m4, DROP COLUMN m5, DROP COLUMN m6, DROP COLUMN m7")
        .await
        .unwrap();
    let mut sql = String::new();
    let mut n = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let [id, ts, v, r, p, b] = at.map(|i| fields[i]);
        let begin = if sql.is_empty() {
            "INSERT INTO wide (device_no, ts, m0, m1, m2, m3) VALUES"
        } else {
            ","
        };
        sql.push_str(&format!("{begin} ({id}, '{ts}', {v}, {r}, {p}, {b})"));
        n += 4;
        if sql.len() > 1_000_000 {
            client.batch_execute(&sql).await.unwrap();
            sql.clear();
        }
    }
    if !sql.is_empty() {
        client.batch_execute(&sql).await.unwrap();
    }
    bytes(&client, "Azure telemetry, hourly, 4 metrics", n).await;
}

#[tokio::main]
async fn main() {
    let watcher = connect().await;
    let devices = devices(DEVICES);
    let only = argument("--only");
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("ways") {
        ways(&watcher, &devices).await;
    }
    if wanted("sizes") {
        sizes(&watcher, &devices).await;
    }
    if wanted("narrow") {
        narrow(&watcher, &devices).await;
    }
    if wanted("late") {
        late(&watcher, &devices).await;
    }
    if wanted("compression") {
        compression(&devices).await;
    }
    drop_schema(&watcher).await;
}
