//! The database is away while devices go on: a real PostgreSQL is stopped, behind a real Mosquitto with the limits it
//! has by itself. A plain one; with TimescaleDB where `FORECARE_TEST_TIMESCALE` names the programs of a PostgreSQL that
//! has it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forecare_test_databases::Postgres;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use support::{Mosquitto, Service, forecare, free_port, wait_for};

const DEVICES: u64 = 10;
/// More than the window (65,535) and Mosquitto's queue (1,000) hold.
const DURING: u64 = 100_000;
/// A process that keeps what it cannot store in memory would exceed it.
const MEMORY_KB_MAX: u64 = 400_000;
/// From the database's return to the first stored message.
const COMEBACK_MAX: Duration = Duration::from_secs(15);
/// A service manager kills after 90 s.
const STOP_MAX: Duration = Duration::from_secs(45);

/// One site at a time: a Mosquitto whose reader does not get the processor in time drops what exceeds its queue, and
/// none of that is what these tests are about.
static TURN: Mutex<()> = Mutex::new(());

struct Site {
    dir: tempfile::TempDir,
    mqtt: u16,
    postgres: Postgres,
    _mosquitto: Mosquitto,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    fn start() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let mqtt = free_port();
        Self {
            _mosquitto: Mosquitto::with_default_limits(dir.path(), mqtt),
            postgres: Postgres::start_with_timescale_if_there(),
            dir,
            mqtt,
            _turn: turn,
        }
    }

    fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("home")
    }

    fn command(&self, http: &str) -> Command {
        self.command_to(http, &self.postgres.url())
    }

    fn command_to(&self, http: &str, database: &str) -> Command {
        let mut command = forecare();
        command
            .args(["serve", "--http", http, "--mqtt"])
            .arg(format!("mqtt://127.0.0.1:{}", self.mqtt))
            .arg("--home")
            .arg(self.home())
            .env("FORECARE_STORE__URL", database)
            .env(
                "FORECARE_STORE__PLAIN_POSTGRES",
                (!self.postgres.has_timescale()).to_string(),
            )
            .env("FORECARE_INGEST__AUTO_REGISTER", "screw-compressor")
            .env("FORECARE_INGEST__BATCH_MESSAGES_MAX", "500");
        command
    }

    fn serve(&self) -> Service {
        let service = Service::start(&mut self.command("127.0.0.1:0"), &self.home());
        wait_for("the subscription", || {
            service.metric("forecare_ingest_connected") == 1.0
        });
        service
    }

    /// Starts a service whose database is away: it prints no addresses yet.
    fn serve_without_database(&self) -> Service {
        let port = free_port();
        let child = self
            .command(&format!("127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        wait_for("the port", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Service {
            child,
            mqtt: None,
            http: format!("http://127.0.0.1:{port}/"),
            token: std::fs::read_to_string(self.home().join("token"))
                .expect("a token")
                .trim()
                .to_owned(),
        }
    }

    /// Publishes the messages with these numbers, and returns once Mosquitto has them.
    async fn publish(&self, numbers: std::ops::Range<u64>) {
        publish(self.mqtt, numbers).await;
    }

    /// Stored readings of each device.
    fn stored(&self, service: &Service) -> Vec<u64> {
        (0..DEVICES)
            .map(|device| {
                let series = service.get(&format!(
                    "api/v1/assets/pump-{device}/telemetry?metrics=vibration&from=2023-11-14T00:00:00Z&to=2023-11-19T00:00:00Z&points=5000"
                ));
                let points = series["series"][0]["points"].as_array().cloned();
                points
                    .unwrap_or_default()
                    .iter()
                    .map(|point| point["n_readings"].as_u64().unwrap())
                    .sum()
            })
            .collect()
    }
}

/// Publishes the messages with these numbers, and returns once Mosquitto has them.
async fn publish(mqtt: u16, numbers: std::ops::Range<u64>) {
    let mut options = MqttOptions::new("pumps", "127.0.0.1", mqtt);
    options.set_outgoing_inflight_upper_limit(20);
    let (client, mut events) = AsyncClient::new(options, 20);
    let n = numbers.end - numbers.start;
    let sender = tokio::spawn(async move {
        for number in numbers {
            let ts = 1_700_000_000_000 + number * 1_000;
            client
                .publish(
                    format!("devices/pump-{}/telemetry", number % DEVICES),
                    QoS::AtLeastOnce,
                    false,
                    format!(
                        "{{\"ts\":{ts},\"seq\":{},\"values\":{{\"vibration\":{}}}}}",
                        number / DEVICES,
                        2.0 + (number % 7) as f64 / 10.0
                    ),
                )
                .await
                .unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < n {
        let event = events.poll().await.expect("mosquitto stays");
        if let Event::Incoming(Packet::PubAck(_)) = event {
            acknowledged += 1;
        }
    }
    drop(sender.await.unwrap());
}

fn readiness(service: &Service) -> (u16, String) {
    let mut response = ureq::get(&format!("{}readyz", service.http))
        .config()
        .http_status_as_error(false)
        .build()
        .call()
        .unwrap();
    let body = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), body)
}

/// Peak of the process's resident memory, in KiB.
fn memory_kb(service: &Service) -> u64 {
    let status = Path::new("/proc").join(service.child.id().to_string());
    std::fs::read_to_string(status.join("status"))
        .unwrap()
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_messages_wait_on_disk_and_none_is_lost_doubled_or_reordered() {
    let site = Site::start();
    let service = site.serve();
    site.publish(0..1_000).await;
    wait_for("what came before", || {
        service.metric("forecare_readings_stored_total") == 1_000.0
    });
    assert_eq!(service.metric("forecare_spill_written_total"), 0.0);
    assert_eq!(readiness(&service).0, 200);

    site.postgres.stop_immediate();
    let away = Instant::now();
    site.publish(1_000..1_000 + DURING).await;
    wait_for("all messages on disk", || {
        service.metric("forecare_spill_messages") == DURING as f64
    });
    println!("{DURING} messages on disk after {:?}", away.elapsed());
    assert_eq!(service.metric("forecare_spill_active"), 1.0);
    assert_eq!(service.metric("forecare_pending_messages"), 0.0);
    assert_eq!(service.metric("forecare_store_accepting"), 0.0);
    let (status, why) = readiness(&service);
    assert_eq!(status, 503, "{why}");
    assert!(
        why.contains("the store takes nothing") && why.contains("on disk"),
        "{why}"
    );

    site.postgres.start_again();
    let back = Instant::now();
    wait_for("the first message after the outage", || {
        service.metric("forecare_spill_drained_total") > 0.0
    });
    println!("first batch {:?} after the return", back.elapsed());
    assert!(back.elapsed() < COMEBACK_MAX, "{:?}", back.elapsed());
    // Devices go on while it catches up.
    let n = 1_000 + DURING + 1_000;
    site.publish(n - 1_000..n).await;
    wait_for("every reading", || {
        service.metric("forecare_readings_stored_total") == n as f64
    });
    println!("caught up {:?} after the return", back.elapsed());
    wait_for("an empty disk", || {
        service.metric("forecare_spill_bytes") == 0.0
            && service.metric("forecare_spill_active") == 0.0
    });
    assert_eq!(readiness(&service).0, 200);
    for none in [
        "forecare_ingest_reconnects_total",
        "forecare_readings_duplicate_total",
        // Not newer than the device's last, or not the next by its number: order was lost.
        "forecare_rows_not_newer_total",
        "forecare_sequence_missing_total",
        "forecare_messages_rejected_total",
        "forecare_spill_full_total",
    ] {
        assert_eq!(service.metric(none), 0.0, "{none}");
    }
    assert_eq!(site.stored(&service), vec![n / DEVICES; DEVICES as usize]);
    let memory_kb = memory_kb(&service);
    println!("{memory_kb} KiB of memory at most");
    assert!(memory_kb < MEMORY_KB_MAX, "{memory_kb}");
    assert!(service.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_while_messages_go_to_disk_and_while_they_come_back_loses_and_doubles_nothing() {
    let site = Site::start();
    let mut service = site.serve();
    site.publish(0..500).await;
    wait_for("what came before", || {
        service.metric("forecare_readings_stored_total") == 500.0
    });
    site.postgres.stop_immediate();
    site.publish(500..40_000).await;
    wait_for("most of it on disk", || {
        service.metric("forecare_spill_messages") >= 39_000.0
    });
    // Fewer than Mosquitto keeps for a client that is away; the kill falls while they are taken.
    site.publish(40_000..40_900).await;
    service.kill();
    site.postgres.start_again();
    for _ in 0..3 {
        service = site.serve();
        wait_for("some of it stored", || {
            service.metric("forecare_spill_drained_total") > 0.0
                || service.metric("forecare_spill_messages") == 0.0
        });
        service.kill();
    }
    service = site.serve();
    site.publish(40_900..41_000).await;
    let expected = vec![41_000 / DEVICES; DEVICES as usize];
    wait_for("an empty disk", || {
        service.metric("forecare_spill_messages") == 0.0 && site.stored(&service) == expected
    });
    assert_eq!(service.metric("forecare_spill_damaged_total"), 0.0);
    assert!(service.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_while_the_database_is_away_takes_on_what_devices_send_meanwhile() {
    let site = Site::start();
    let mut service = site.serve();
    site.publish(0..500).await;
    wait_for("what came before", || {
        service.metric("forecare_readings_stored_total") == 500.0
    });
    site.postgres.stop_immediate();
    site.publish(500..3_000).await;
    service.kill();
    service = site.serve_without_database();
    wait_for("the subscription, without the database", || {
        service.metric("forecare_ingest_connected") == 1.0
    });
    assert_eq!(service.metric("forecare_store_available"), 0.0);
    assert_eq!(service.metric("forecare_store_accepting"), 0.0);
    let (status, why) = readiness(&service);
    assert_eq!(status, 503, "{why}");
    // Far more than Mosquitto would keep for a client that is away.
    site.publish(3_000..23_000).await;
    wait_for("all of it on disk", || {
        service.metric("forecare_spill_messages") == 22_500.0
            && service.metric("forecare_ingest_in_flight_messages") == 0.0
    });
    site.postgres.start_again();
    let expected = vec![23_000 / DEVICES; DEVICES as usize];
    wait_for("readiness", || readiness(&service).0 == 200);
    wait_for("an empty disk", || {
        service.metric("forecare_spill_messages") == 0.0
            && service.metric("forecare_waiting_messages") == 0.0
    });
    wait_for("every reading", || site.stored(&service) == expected);
    for none in [
        "forecare_spill_damaged_total",
        "forecare_rows_not_newer_total",
        "forecare_messages_rejected_total",
    ] {
        assert_eq!(service.metric(none), 0.0, "{none}");
    }
    assert!(service.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_takes_over_gets_everything_once() {
    let site = Site::start();
    let standby = site.postgres.standby();
    // A COMMIT that is answered is on both: only so may the primary die without a loss.
    for sql in [
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        site.postgres.sql("postgres", sql);
    }
    let both = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        site.postgres.port(),
        standby.port()
    );
    let service = Service::start(&mut site.command_to("127.0.0.1:0", &both), &site.home());
    wait_for("the subscription", || {
        service.metric("forecare_ingest_connected") == 1.0
    });
    site.publish(0..1_000).await;
    wait_for("what came before", || {
        service.metric("forecare_readings_stored_total") == 1_000.0
    });
    let n = 20_000;
    let devices = tokio::spawn(publish(site.mqtt, 1_000..n));
    wait_for("some of it stored", || {
        service.metric("forecare_readings_stored_total") > 2_000.0
    });
    site.postgres.stop_immediate();
    standby.promote();
    let taken_over = Instant::now();
    devices.await.unwrap();
    let expected = vec![n / DEVICES; DEVICES as usize];
    wait_for("every reading", || {
        service.metric("forecare_waiting_messages") == 0.0
            && service.metric("forecare_spill_messages") == 0.0
            && site.stored(&service) == expected
    });
    println!("caught up {:?} after the promotion", taken_over.elapsed());
    for none in [
        "forecare_rows_not_newer_total",
        "forecare_sequence_missing_total",
        "forecare_messages_rejected_total",
    ] {
        assert_eq!(service.metric(none), 0.0, "{none}");
    }
    assert_eq!(readiness(&service).0, 200);
    assert!(service.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_without_the_database_and_with_a_full_disk_ends_and_loses_nothing() {
    let site = Site::start();
    let mut command = site.command("127.0.0.1:0");
    command.env("FORECARE_SPILL__BYTES_MAX", "100000");
    let service = Service::start(&mut command, &site.home());
    wait_for("the subscription", || {
        service.metric("forecare_ingest_connected") == 1.0
    });
    site.publish(0..500).await;
    wait_for("what came before", || {
        service.metric("forecare_readings_stored_total") == 500.0
    });
    site.postgres.stop_immediate();
    site.publish(500..2_000).await;
    wait_for("some of it on disk", || {
        service.metric("forecare_spill_messages") > 0.0
    });
    site.publish(2_000..5_000).await;
    wait_for("the disk to be full", || {
        service.metric("forecare_spill_blocked") == 1.0
    });
    let stopping = Instant::now();
    assert!(service.stop());
    println!("stopped after {:?}", stopping.elapsed());
    assert!(stopping.elapsed() < STOP_MAX, "{:?}", stopping.elapsed());
    site.postgres.start_again();
    let service = site.serve();
    let expected = vec![5_000 / DEVICES; DEVICES as usize];
    wait_for("every reading", || site.stored(&service) == expected);
    assert!(service.stop());
}
