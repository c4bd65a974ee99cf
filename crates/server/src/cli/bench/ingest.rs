//! `forecare bench ingest`: the embedded broker.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_domain::Clock;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::usage::Usage;
use crate::cli::progress::Progress;
use crate::clock::SystemClock;

/// Messages of one connection under way at once.
const WINDOW: u16 = 100;
/// How long the service may take to start.
const START_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Messages to publish.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    messages: u64,
    /// Devices that publish.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    devices: u64,
    /// Connections they share.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    connections: u64,
}

pub(super) async fn run(args: IngestArgs) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("forecare-bench-{}", std::process::id()));
    let mut service = start(&dir).await?;
    let result = measure(&args, &mut service).await;
    if let Some(pid) = service.child.id() {
        // The service is ours; it stops by itself on SIGTERM and is killed if it does not.
        Command::new("kill")
            .arg(pid.to_string())
            .status()
            .await
            .ok();
    }
    if tokio::time::timeout(START_MAX, service.child.wait())
        .await
        .is_err()
    {
        service.child.kill().await?;
    }
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    result
}

struct Service {
    child: Child,
    broker: String,
}

/// The service in a process of its own, so that its CPU and memory are its own.
async fn start(dir: &std::path::Path) -> Result<Service> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--home",
        ])
        .arg(dir)
        .env("FORECARE_MQTT__ANONYMOUS", "true")
        .env("FORECARE_INGEST__AUTO_REGISTER", forecare_simulator::CLASS)
        .env("FORECARE_INGEST__FUTURE_TOLERANCE_MINUTES", "100000000")
        .env("FORECARE_LOG__FILTER", "warn")
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the service")?;
    let stdout = child.stdout.take().context("the service has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let broker = tokio::time::timeout(START_MAX, async {
        while let Some(line) = lines.next_line().await? {
            if let Some(addr) = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("mqtt://"))
            {
                return Ok(addr.to_owned());
            }
        }
        bail!("the service ended before it listened")
    })
    .await
    .context("the service did not start in time")??;
    // What it prints later must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(Service { child, broker })
}

async fn measure(args: &IngestArgs, service: &mut Service) -> Result<()> {
    let pid = service.child.id().context("the service is gone")?;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let per_connection = args.messages / args.connections;
    let n_messages = per_connection * args.connections;
    println!(
        "{n_messages} messages of 8 metrics, QoS 1, from {} devices over {} connections to the embedded broker, scored, SQLite",
        args.devices, args.connections
    );
    let before = Usage::of(pid)?;
    let began = SystemClock.now();
    let mut tasks = JoinSet::new();
    for connection in 0..args.connections {
        tasks.spawn(publish(
            service.broker.clone(),
            connection,
            args.connections,
            args.devices,
            per_connection,
            Arc::clone(&acknowledged),
        ));
    }
    let progress = Progress::bar(n_messages, "messages");
    while !tasks.is_empty() {
        tokio::select! {
            Some(done) = tasks.join_next() => done.context("a publisher broke")??,
            () = tokio::time::sleep(Duration::from_millis(200)) => progress.set(acknowledged.load(Ordering::Relaxed)),
        }
    }
    progress.finish();
    let seconds = SystemClock.now().hours_since(began) * 3_600.0;
    let after = Usage::of(pid)?;
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let n = n_messages as f64;
    let cpu_per_million = (after.cpu_seconds - before.cpu_seconds) / n * 1e6;
    println!(
        "{:<42} {:>12} {:>20} {:>14}",
        "", "messages/s", "CPU s per million", "resident MiB"
    );
    println!(
        "{:<42} {:>12.0} {:>20.1} {:>14.0}",
        "this machine, broker included",
        n / seconds,
        cpu_per_million,
        after.resident_mib
    );
    Ok(())
}

async fn publish(
    broker: String,
    connection: u64,
    n_connections: u64,
    n_devices: u64,
    n_messages: u64,
    acknowledged: Arc<AtomicU64>,
) -> Result<()> {
    let (host, port) = broker
        .rsplit_once(':')
        .context("the service gave no port")?;
    let mut options = MqttOptions::new(format!("bench-{connection}"), host, port.parse()?);
    options.set_outgoing_inflight_upper_limit(WINDOW);
    let (client, mut events) = AsyncClient::new(options, usize::from(WINDOW));
    let start = SystemClock.now();
    let feed = tokio::spawn(async move {
        for i in 0..n_messages {
            let number = i * n_connections + connection;
            let device = number % n_devices;
            // Every device moves on by a second per message of its own.
            let ts = start.as_millis() + i64::try_from(number / n_devices)? * 1_000;
            client
                .publish(
                    format!("devices/bench-{device}/telemetry"),
                    QoS::AtLeastOnce,
                    false,
                    payload(ts, number),
                )
                .await?;
        }
        // Kept until the acknowledgements are in: dropping the client ends the connection.
        Ok::<AsyncClient, anyhow::Error>(client)
    });
    let mut n_acknowledged = 0;
    while n_acknowledged < n_messages {
        match events.poll().await.context("the connection broke")? {
            Event::Incoming(Packet::PubAck(ack)) => {
                if !matches!(
                    ack.reason,
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers
                ) {
                    bail!("a message was refused: {:?}", ack.reason);
                }
                n_acknowledged += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
    feed.await.context("a publisher broke")??;
    Ok(())
}

/// About 194 bytes, 8 metrics that wander a little.
fn payload(ts: i64, number: u64) -> Vec<u8> {
    #[allow(clippy::cast_precision_loss, reason = "reduced to 0..97 first")]
    let x = (number % 97) as f64 / 97.0;
    format!(
        "{{\"ts\":{ts},\"values\":{{\"load\":{:.2},\"ambient_temperature\":{:.2},\"discharge_temperature\":{:.2},\"discharge_pressure\":{:.3},\"motor_current\":{:.2},\"vibration\":{:.3},\"oil_pressure\":{:.3},\"filter_pressure_drop\":{:.2}}}}}",
        70.0 + x, 21.0 + x, 82.0 + x, 7.2 + 0.1 * x, 118.0 + x, 2.1 + 0.2 * x, 2.4 + 0.1 * x, 31.0 + x
    )
    .into_bytes()
}
