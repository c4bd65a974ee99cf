//! What the measurement needs: a fleet, a database to try things in, and clocks.

use std::sync::Arc;
use std::time::Instant;

use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, AssetId, ClassName, DeviceId, Row, Timestamp};
use forecare_store::{ScoredRow, Store};
use forecare_store_timescale::{ChunkInterval, TimescaleSettings, TimescaleStore};
use tokio_postgres::{Client, NoTls};

pub(crate) const METRICS: usize = 8;
pub(crate) const SCHEMA: &str = "forecare_measured";
/// 2025-06-15T00:00:00Z.
pub(crate) const BEGIN_MS: i64 = 1_749_945_600_000;

/// The value after `name` on the command line.
pub(crate) fn argument(name: &str) -> Option<String> {
    let mut all = std::env::args().skip_while(|a| a != name);
    all.next()?;
    all.next()
}

pub(crate) fn url() -> String {
    argument("--url").unwrap_or_else(|| {
        eprintln!("usage: ways --url postgres://user@host/database [--azure FILE]; the database has TimescaleDB");
        std::process::exit(2);
    })
}

/// SplitMix64: the same figures every time.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    /// 0 to 1, all 53 bits random.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

pub(crate) fn devices(n: usize) -> Vec<DeviceId> {
    (0..n)
        .map(|n| DeviceId::new(format!("device-{n}")).unwrap())
        .collect()
}

pub(crate) fn catalogue() -> Catalogue {
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

pub(crate) fn row(device: &DeviceId, ts_ms: i64, dice: &mut Dice) -> ScoredRow {
    let row = Row {
        device: device.clone(),
        ts: Timestamp::from_millis(ts_ms),
        values: (0..METRICS).map(|_| Some(dice.unit())).collect(),
        extra: Vec::new(),
    };
    ScoredRow {
        row,
        health: Some(97.5),
    }
}

pub(crate) async fn connect() -> Client {
    let (client, connection) = tokio_postgres::connect(&url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(
            "SET client_min_messages = warning; SET search_path = forecare_measured, public; SET TimeZone = 'UTC'",
        )
        .await
        .unwrap();
    client
}

pub(crate) async fn drop_schema(client: &Client) {
    client
        .batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        .await
        .unwrap();
}

/// A store of its own in an empty schema, with `devices` registered.
pub(crate) async fn fresh_store(client: &Client, devices: &[DeviceId]) -> Arc<TimescaleStore> {
    drop_schema(client).await;
    let store = open_store().await;
    let asset = |device: &DeviceId| Asset {
        id: AssetId::new(device.as_str()).unwrap(),
        device: device.clone(),
        class: ClassName::new("pump").unwrap(),
        name: String::new(),
        site: String::new(),
        depot: None,
        registered_at: Timestamp::from_millis(0),
    };
    store
        .register_assets(devices.iter().map(asset).collect())
        .await
        .unwrap();
    store
}

pub(crate) async fn open_store() -> Arc<TimescaleStore> {
    let settings = TimescaleSettings {
        url: url(),
        schema: SCHEMA.to_owned(),
        chunk_interval: ChunkInterval::Hours(24),
        application_name: SCHEMA.to_owned(),
        ..TimescaleSettings::default()
    };
    Arc::new(
        TimescaleStore::open(settings, &catalogue(), Timestamp::from_millis(BEGIN_MS))
            .await
            .unwrap(),
    )
}

/// CPU time of a process so far, µs; `None` where the process is not on this machine.
pub(crate) fn cpu_us(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which stands in brackets: user time is the 12th field, system time the 13th, in ticks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) * 10_000.0)
}

/// CPU time of the server's processes that serve the connections of that name, µs.
pub(crate) async fn server_cpu_us(client: &Client, application: &str) -> Option<f64> {
    let pids = client
        .query(
            "SELECT pid::text FROM pg_stat_activity WHERE application_name = $1",
            &[&application],
        )
        .await
        .unwrap();
    pids.iter().map(|r| cpu_us(r.get(0))).sum()
}

/// What some work took.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub seconds: f64,
    pub server_us: Option<f64>,
    pub own_us: f64,
}

pub(crate) async fn cost_of(
    watcher: &Client,
    application: &str,
    work: impl Future<Output = ()>,
) -> Cost {
    let server = server_cpu_us(watcher, application).await;
    let own = cpu_us("self").unwrap_or_default();
    let started = Instant::now();
    work.await;
    let seconds = started.elapsed().as_secs_f64();
    let own_us = cpu_us("self").unwrap_or_default() - own;
    let after = server_cpu_us(watcher, application).await;
    Cost {
        seconds,
        server_us: after.zip(server).map(|(after, before)| after - before),
        own_us,
    }
}

impl Cost {
    /// `| rows/s | PostgreSQL CPU µs/row | own CPU µs/row |`, and how it compares with the floor.
    pub(crate) fn cells(&self, n_rows: usize, floor: Option<&Self>) -> String {
        let n = n_rows as f64;
        let server = self
            .server_us
            .map_or("-".to_owned(), |us| format!("{:.1}", us / n));
        let ratio = floor.map_or(String::new(), |floor| {
            format!(" {:.2} |", self.seconds / floor.seconds)
        });
        format!(
            "{:.0} | {server} | {:.1} |{ratio}",
            n / self.seconds,
            self.own_us / n
        )
    }
}
