//! Draining a full queue, and keeping up with one that is being filled.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_domain::{Clock, Timestamp};
use tokio::task::JoinSet;

use super::broker::{Client, Mosquitto};
use super::consumer::{Consumer, Kind};
use super::database::Database;
use super::fleet::Fleet;
use super::usage::cpu_seconds;
use crate::clock::SystemClock;

/// How often the service's count is read; a peer's is a query, and read less often.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PEER_LOOK_EVERY: Duration = Duration::from_millis(500);
/// A consumer that has stored nothing for so long has stored all it will.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Longest drain.
const DRAIN_MAX: Duration = Duration::from_secs(120);
/// How often each connection of the live load sends what is due.
const SEND_EVERY: Duration = Duration::from_millis(50);

/// Where and what.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// A database on a PostgreSQL server of this machine with TimescaleDB, postgres://user@host:port/database: a
    /// database is made beside it for each run, and dropped afterwards. Without it our service stores in SQLite.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A peer to measure after our service, as a shell command. It gets the database as DB and the broker's port as
    /// PORT in its environment, reads `telemetry/#` at 127.0.0.1 as client `peer` with a kept session, and copies into
    /// table `tj`. May be given several times. One is in `crates/server/benches/peers`.
    #[arg(long = "peer", value_name = "COMMAND")]
    peers: Vec<String>,
    /// Port of the Mosquitto that is started.
    #[arg(long, default_value_t = 18_990)]
    port: u16,
    /// Devices.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    devices: u64,
    /// A setting of our service that differs from its default, key=value. May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Runs of each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    setup: Setup,
    /// Messages in the queue.
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    messages: u64,
}

#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    #[command(flatten)]
    setup: Setup,
    /// Messages per second, all connections together.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// For so long, seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Connections that publish; they share the devices.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: u64,
}

/// One run's result.
struct Figures {
    n_messages: u64,
    n_stored: u64,
    /// `None` of a peer.
    n_spilled: Option<u64>,
    seconds: f64,
    own_cpu_seconds: f64,
    postgres_cpu_seconds: Option<f64>,
    broker_cpu_seconds: f64,
    peak_mib: f64,
}

/// What one run needs; gone with it.
struct Stage {
    dir: PathBuf,
    broker: Mosquitto,
    database: Option<Database>,
}

impl Stage {
    async fn set(setup: &Setup, unlimited: bool) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("forecare-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let broker = Mosquitto::start(&dir, setup.port, unlimited).await?;
        let database = match &setup.store {
            Some(url) => Some(Database::create(url).await?),
            None => None,
        };
        Ok(Self {
            dir,
            broker,
            database,
        })
    }

    async fn look(&mut self) -> Result<()> {
        match &mut self.database {
            Some(database) => database.look().await,
            None => Ok(()),
        }
    }

    async fn strike(self) -> Result<()> {
        self.broker.stop().await?;
        if let Some(database) = self.database {
            database.drop().await?;
        }
        remove(&self.dir)
    }
}

fn remove(dir: &Path) -> Result<()> {
    std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

fn kinds(setup: &Setup) -> Vec<Kind> {
    let peers = setup.peers.iter().cloned().map(Kind::Peer);
    std::iter::once(Kind::Forecare).chain(peers).collect()
}

pub(super) async fn drain(args: DrainArgs) -> Result<()> {
    println!(
        "{} messages of 8 metrics, QoS 1, from {} devices, queued at Mosquitto before the consumer starts; {}",
        args.messages,
        args.setup.devices,
        place(&args.setup)
    );
    println!(
        "{:<20} {:>10} {:>9} {:>28} {:>9} {:>9}",
        "", "messages/s", "seconds", "CPU s per million: own", "postgres", "peak MiB"
    );
    for kind in kinds(&args.setup) {
        for _ in 0..args.setup.runs {
            let f = drain_once(&args, &kind).await?;
            let per_million = 1e6 / count(f.n_messages);
            println!(
                "{:<20} {:>10.0} {:>9.2} {:>28.2} {:>9} {:>9.0}   Mosquitto {:.1}{}",
                kind.name(),
                count(f.n_stored) / f.seconds,
                f.seconds,
                f.own_cpu_seconds * per_million,
                f.postgres_cpu_seconds
                    .map_or("-".to_owned(), |s| format!("{:.2}", s * per_million)),
                f.peak_mib,
                f.broker_cpu_seconds * per_million,
                missing(&f),
            );
        }
    }
    Ok(())
}

async fn drain_once(args: &DrainArgs, kind: &Kind) -> Result<Figures> {
    let setup = &args.setup;
    let mut stage = Stage::set(setup, true).await?;
    let port = stage.broker.port;
    kind.leave_session(port).await?;
    let mut fleet = Fleet::new(kind.topic(), 0, setup.devices);
    let mut publisher = Client::connect(port, "bench-publisher", true).await?;
    // A second per message of a device, and none in the future.
    let per_device = i64::try_from(args.messages / setup.devices)? + 1;
    let start_ms = SystemClock.now().as_millis() - per_device * 1_000;
    let (mut number, devices) = (0_u64, setup.devices);
    publisher
        .publish(args.messages, |topic, payload| {
            let second = i64::try_from(number / devices).unwrap_or(0);
            number += 1;
            fleet.next(start_ms + second * 1_000, topic, payload);
        })
        .await?;
    stage.look().await?;
    let broker_before = cpu_seconds(stage.broker.pid()?).unwrap_or(0.0);
    let began = SystemClock.now();
    let mut consumer = kind
        .start(&stage.dir, port, stage.database.as_mut(), &setup.settings)
        .await?;
    let mut curve = Curve::default();
    let mut looked = began;
    loop {
        let stored = consumer.n_stored(stage.database.as_mut()).await?;
        let now = SystemClock.now();
        curve.push(now, stored);
        if stored >= args.messages || curve.stalled(now) || since(began, now) > DRAIN_MAX {
            break;
        }
        if since(looked, now) >= PEER_LOOK_EVERY {
            looked = now;
            stage.look().await?;
        }
        tokio::time::sleep(pause(&consumer)).await;
    }
    stage.look().await?;
    let usage = consumer.usage()?;
    let figures = Figures {
        n_messages: args.messages,
        n_stored: curve.n_stored(),
        n_spilled: consumer.n_spilled().await?,
        seconds: curve.grew_last().hours_since(began) * 3_600.0,
        own_cpu_seconds: usage.cpu_seconds,
        postgres_cpu_seconds: stage.database.as_ref().map(Database::cpu_seconds),
        broker_cpu_seconds: cpu_seconds(stage.broker.pid()?).unwrap_or(0.0) - broker_before,
        peak_mib: usage.peak_mib,
    };
    consumer.stop().await?;
    stage.strike().await?;
    Ok(figures)
}

pub(super) async fn live(args: LiveArgs) -> Result<()> {
    println!(
        "{} messages/s of 8 metrics, QoS 1, for {} s over {} connections to a Mosquitto with its defaults; {}",
        args.rate,
        args.seconds,
        args.connections,
        place(&args.setup)
    );
    println!(
        "{:<20} {:>10} {:>9} {:>18} {:>28} {:>9} {:>9}",
        "",
        "sent/s",
        "lost %",
        "lag s p50/p99/max",
        "CPU s per million: own",
        "postgres",
        "peak MiB"
    );
    for kind in kinds(&args.setup) {
        for _ in 0..args.setup.runs {
            let (f, lag) = live_once(&args, &kind).await?;
            let per_million = 1e6 / count(f.n_messages);
            let lost = f.n_messages.saturating_sub(f.n_stored);
            println!(
                "{:<20} {:>10.0} {:>9.2} {:>18} {:>28.2} {:>9} {:>9.0}   Mosquitto {:.1}",
                kind.name(),
                count(f.n_messages) / f.seconds,
                100.0 * count(lost) / count(f.n_messages),
                lag.map_or("-".to_owned(), |[p50, p99, max]| format!(
                    "{p50:.2}/{p99:.2}/{max:.2}"
                )),
                f.own_cpu_seconds * per_million,
                f.postgres_cpu_seconds
                    .map_or("-".to_owned(), |s| format!("{:.2}", s * per_million)),
                f.peak_mib,
                f.broker_cpu_seconds * per_million,
            );
        }
    }
    Ok(())
}

async fn live_once(args: &LiveArgs, kind: &Kind) -> Result<(Figures, Option<[f64; 3]>)> {
    let setup = &args.setup;
    if setup.devices < args.connections {
        bail!("--devices must be at least --connections: each connection has its own devices");
    }
    let mut stage = Stage::set(setup, false).await?;
    let port = stage.broker.port;
    kind.leave_session(port).await?;
    stage.look().await?;
    let mut consumer = kind
        .start(&stage.dir, port, stage.database.as_mut(), &setup.settings)
        .await?;
    // Everyone is there before the load begins: what is measured is the load.
    await_first(&mut stage, &mut consumer, kind, port).await?;
    let stored_before = consumer.n_stored(stage.database.as_mut()).await?;
    let own_before = consumer.usage()?.cpu_seconds;
    let broker_before = cpu_seconds(stage.broker.pid()?).unwrap_or(0.0);
    let sent = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    let per_connection = setup.devices / args.connections;
    for number in 0..args.connections {
        let fleet = Fleet::new(kind.topic(), number * per_connection, per_connection);
        let client = Client::connect(port, &format!("bench-{number}"), true).await?;
        let phase = SEND_EVERY.mul_f64(count(number) / count(args.connections));
        connections.spawn(load(
            client,
            fleet,
            args.rate,
            args.connections,
            args.seconds,
            phase,
            Arc::clone(&sent),
        ));
    }
    let began = SystemClock.now();
    let (mut published, mut stored) = (Curve::default(), Curve::default());
    let mut looked = began;
    let mut n_acked = 0;
    let mut ended = None;
    loop {
        while let Some(done) = connections.try_join_next() {
            n_acked += done.context("a publisher broke")??;
        }
        let now = SystemClock.now();
        if connections.is_empty() && ended.is_none() {
            ended = Some(now);
        }
        published.push(now, sent.load(Ordering::Relaxed));
        let n_stored = consumer.n_stored(stage.database.as_mut()).await? - stored_before;
        let now = SystemClock.now();
        stored.push(now, n_stored);
        if ended.is_some() && (n_stored >= n_acked || stored.stalled(now)) {
            break;
        }
        if since(looked, now) >= PEER_LOOK_EVERY {
            looked = now;
            stage.look().await?;
        }
        tokio::time::sleep(pause(&consumer)).await;
    }
    stage.look().await?;
    let usage = consumer.usage()?;
    let lag = (consumer.counts_itself() && stored.n_stored() == published.n_stored())
        .then(|| lag_seconds(&published, &stored));
    let figures = Figures {
        n_messages: n_acked,
        n_stored: stored.n_stored(),
        n_spilled: consumer.n_spilled().await?,
        seconds: ended.unwrap_or(began).hours_since(began) * 3_600.0,
        own_cpu_seconds: usage.cpu_seconds - own_before,
        postgres_cpu_seconds: stage.database.as_ref().map(Database::cpu_seconds),
        broker_cpu_seconds: cpu_seconds(stage.broker.pid()?).unwrap_or(0.0) - broker_before,
        peak_mib: usage.peak_mib,
    };
    consumer.stop().await?;
    stage.strike().await?;
    Ok((figures, lag))
}

/// Publishes one message and waits until it is stored.
async fn await_first(
    stage: &mut Stage,
    consumer: &mut Consumer,
    kind: &Kind,
    port: u16,
) -> Result<()> {
    let mut first = Client::connect(port, "bench-first", true).await?;
    // A device of its own, which no connection of the load has.
    let mut fleet = Fleet::new(kind.topic(), 1_000_000, 1);
    let now_ms = SystemClock.now().as_millis();
    first
        .publish(1, |topic, payload| fleet.next(now_ms, topic, payload))
        .await?;
    tokio::time::timeout(DRAIN_MAX, async {
        while consumer.n_stored(stage.database.as_mut()).await? == 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    })
    .await
    .context("the consumer stores nothing")?
}

/// One connection's share of the load; returns how many messages the broker acknowledged.
async fn load(
    mut client: Client,
    mut fleet: Fleet,
    rate: u64,
    n_connections: u64,
    seconds: u64,
    phase: Duration,
    sent: Arc<AtomicU64>,
) -> Result<u64> {
    tokio::time::sleep(phase).await;
    let began = SystemClock.now();
    let n_all = rate * seconds / n_connections;
    let mut n_sent = 0;
    let (mut topic, mut payload) = (Vec::new(), Vec::new());
    let mut ticks = tokio::time::interval(SEND_EVERY);
    while n_sent < n_all {
        ticks.tick().await;
        let now = SystemClock.now();
        let due_ms = u64::try_from(now.as_millis() - began.as_millis()).unwrap_or(0) + 50;
        let due = (due_ms * rate / n_connections / 1_000).min(n_all);
        for _ in n_sent..due {
            fleet.next(now.as_millis(), &mut topic, &mut payload);
            client.put(&topic, &payload);
        }
        client.flush().await?;
        sent.fetch_add(due - n_sent, Ordering::Relaxed);
        n_sent = due;
        client.take_acknowledgements()?;
    }
    client.settle(0).await?;
    Ok(client.n_acked())
}

/// How many by when.
#[derive(Default)]
struct Curve(Vec<(Timestamp, u64)>);

impl Curve {
    /// Keeps the first look, those that found more, and the newest.
    fn push(&mut self, at: Timestamp, n: u64) {
        if self.0.last().is_none_or(|(_, before)| n > *before) {
            self.0.push((at, n));
        }
    }

    fn n_stored(&self) -> u64 {
        self.0.last().map_or(0, |(_, n)| *n)
    }

    fn grew_last(&self) -> Timestamp {
        self.0.last().map_or(Timestamp::MIN, |(at, _)| *at)
    }

    fn stalled(&self, now: Timestamp) -> bool {
        self.n_stored() > 0 && since(self.grew_last(), now) > STALLED_AFTER
    }

    /// When there were `n`.
    fn reached(&self, n: u64) -> Option<Timestamp> {
        let place = self.0.partition_point(|(_, seen)| *seen < n);
        self.0.get(place).map(|(at, _)| *at)
    }
}

/// Time from publishing to commit of the same number of messages: median, 99 % and longest, seconds.
fn lag_seconds(published: &Curve, stored: &Curve) -> [f64; 3] {
    let n = published.n_stored();
    let mut lags: Vec<f64> = (1..=1_000)
        .filter_map(|i| {
            let nth = n * i / 1_000;
            Some(stored.reached(nth)?.hours_since(published.reached(nth)?) * 3_600.0)
        })
        .collect();
    lags.sort_by(f64::total_cmp);
    [500, 990, 1_000].map(|i| {
        lags.get((lags.len() * i / 1_000).saturating_sub(1))
            .copied()
            .unwrap_or(0.0)
    })
}

fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    let ms = later.as_millis().saturating_sub(earlier.as_millis());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn pause(consumer: &Consumer) -> Duration {
    if consumer.counts_itself() {
        LOOK_EVERY
    } else {
        PEER_LOOK_EVERY
    }
}

fn place(setup: &Setup) -> &'static str {
    if setup.store.is_some() {
        "TimescaleDB"
    } else {
        "SQLite"
    }
}

fn missing(figures: &Figures) -> String {
    let spilled = figures
        .n_spilled
        .map_or_else(String::new, |n| format!("   {n} by way of the disk"));
    match figures.n_messages - figures.n_stored.min(figures.n_messages) {
        0 => spilled,
        n => format!("{spilled}   {n} not stored"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_distance_between_the_curves() {
        let at = Timestamp::from_millis;
        let published = Curve(vec![(at(0), 0), (at(1_000), 500), (at(2_000), 1_000)]);
        let stored = Curve(vec![(at(0), 0), (at(1_250), 500), (at(3_000), 1_000)]);
        let [p50, _, max] = lag_seconds(&published, &stored);
        assert!((p50 - 0.25).abs() < 1e-9 && (max - 1.0).abs() < 1e-9);
    }
}
