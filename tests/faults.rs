//! The promise under fire: 1,000 devices at 2,000 messages a second through a real Mosquitto into a real
//! PostgreSQL, a fifth of them sent twice, a tenth up to a day late, while the service is killed 25 times and
//! the database stopped in immediate mode five times. What the broker acknowledged equals what is stored, and
//! the tickets equal those of a run that nothing disturbed.
//!
//! By itself that PostgreSQL is a plain one: no hypertables, no compression. With `FORECARE_TEST_TIMESCALE` naming the
//! programs of a PostgreSQL that has TimescaleDB the same runs on that.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, AssetId, ClassName, DeviceId, MetricName, Timestamp};
use forecare_simulator::{CLASS, Emission, Fleet, FleetConfig, METRICS, histories_start};
use forecare_store::{Fingerprint, PageRequest, Store, TicketFilter};
use forecare_store_timescale::{TimescaleSettings, TimescaleStore};
use forecare_test_databases::Postgres;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use support::{DEADLINE, Mosquitto, Service, forecare, free_port, wait_for};
use tokio::sync::watch;

const CATALOGUE: &str = include_str!("../crates/catalogue/catalogues/demo.toml");
const DEVICES: usize = 1_000;
/// Hours of the fleet's life, a sample an hour.
const HOURS: usize = 216;
const CONNECTIONS: usize = 20;
const MESSAGES_PER_S: f64 = 2_000.0;
const KILLS: usize = 25;
const DATABASE_STOPS: usize = 5;

/// One message of one device.
#[derive(Clone)]
struct Outgoing {
    device: usize,
    topic: String,
    payload: String,
}

/// What the fleet sends, in order, and what must be stored of it in the end.
struct Script {
    messages: Vec<Outgoing>,
    expected: BTreeMap<DeviceId, Fingerprint>,
}

/// SplitMix64, for a script that is the same on every run.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Script {
    fn new() -> Self {
        let start = histories_start();
        let config = FleetConfig {
            seed: 3,
            n_devices: DEVICES,
            start,
            sample_interval_s: 3_600.0,
            n_faults: 60,
            first_onset_hours: 72.0,
            onset_spacing_hours: 0.5,
        };
        let catalogue = Catalogue::parse(CATALOGUE).unwrap();
        let mut fleet = Fleet::new(&config, &catalogue).unwrap();
        let index: BTreeMap<DeviceId, usize> = fleet.devices().iter().cloned().zip(0..).collect();
        let metrics: Vec<MetricName> = METRICS
            .iter()
            .map(|m| MetricName::new(*m).unwrap())
            .collect();
        let mut expected: BTreeMap<DeviceId, Fingerprint> = BTreeMap::new();
        let mut draws = Draws(11);
        // (position, message): position is the hour after which it is sent; late ones come hours later.
        let mut placed: Vec<(usize, usize, Outgoing)> = Vec::new();
        for (order, emission) in fleet
            .advance(start.plus_hours(HOURS as f64))
            .into_iter()
            .enumerate()
        {
            let device = index[emission.device()];
            let hour = emission.ts().hours_since(start) as usize;
            match &emission {
                Emission::Telemetry {
                    device: id,
                    ts,
                    values,
                    ..
                } => {
                    let sum = expected.entry(id.clone()).or_default();
                    for (metric, value) in metrics.iter().zip(values) {
                        sum.add(id, metric, *ts, *value);
                    }
                    let fields: Vec<String> = METRICS
                        .iter()
                        .zip(values)
                        .map(|(m, v)| format!("\"{m}\":{v}"))
                        .collect();
                    let message = Outgoing {
                        device,
                        topic: format!("devices/{id}/telemetry"),
                        payload: format!(
                            "{{\"ts\":{},\"values\":{{{}}}}}",
                            ts.as_millis(),
                            fields.join(",")
                        ),
                    };
                    let delay = if draws.unit() < 0.1 {
                        1 + (draws.next() % 24) as usize
                    } else {
                        0
                    };
                    if draws.unit() < 0.2 {
                        let again = delay + (draws.next() % 3) as usize;
                        placed.push((hour + again, order, message.clone()));
                    }
                    placed.push((hour + delay, order, message));
                }
                Emission::Event(event) => {
                    let component = event
                        .component
                        .as_ref()
                        .map_or(String::new(), |c| format!(",\"component\":\"{c}\""));
                    placed.push((
                        hour,
                        order,
                        Outgoing {
                            device,
                            topic: format!("devices/{}/events", event.device),
                            payload: format!(
                                "{{\"ts\":{},\"code\":\"{}\",\"severity\":\"{}\",\"message\":\"{}\"{component}}}",
                                event.ts.as_millis(),
                                event.code,
                                serde_json::to_value(event.severity).unwrap().as_str().unwrap(),
                                event.message
                            ),
                        },
                    ));
                }
            }
        }
        placed.sort_by_key(|(position, order, _)| (*position, *order));
        Self {
            messages: placed.into_iter().map(|(_, _, m)| m).collect(),
            expected,
        }
    }
}

/// Lets the fleet send at its rate, but only the first `gate` messages: a fault that takes longer than planned, on a
/// machine that is busy, must not find the fleet gone home. What a pause costs is not made up for in a burst.
async fn pace(gate: watch::Receiver<usize>, released: watch::Sender<usize>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let (mut at, mut n) = (Instant::now(), 0.0);
    while !released.is_closed() {
        ticks.tick().await;
        let passed = at.elapsed();
        at += passed;
        let held = *gate.borrow() as f64;
        n = held.min(n + MESSAGES_PER_S * passed.as_secs_f64());
        released.send_replace(n as usize);
    }
}

/// Publishes the script over several connections, a device always over the same one, each message once it is
/// released, until the broker has acknowledged everything. `done` counts acknowledgements.
async fn publish(
    messages: Vec<Outgoing>,
    port: u16,
    released: watch::Receiver<usize>,
    done: Arc<AtomicUsize>,
) {
    let mut shares: Vec<Vec<(usize, Outgoing)>> = vec![Vec::new(); CONNECTIONS];
    for (i, message) in messages.into_iter().enumerate() {
        shares[message.device % CONNECTIONS].push((i, message));
    }
    let mut clients = tokio::task::JoinSet::new();
    for (n, share) in shares.into_iter().enumerate() {
        let done = Arc::clone(&done);
        let mut released = released.clone();
        clients.spawn(async move {
            let mut options = MqttOptions::new(format!("fleet-{n}"), "127.0.0.1", port);
            options.set_outgoing_inflight_upper_limit(50);
            let (client, mut events) = AsyncClient::new(options, 50);
            let total = share.len();
            let sender = tokio::spawn(async move {
                for (i, message) in share {
                    released.wait_for(|&n| n > i).await.unwrap();
                    client
                        .publish(message.topic, QoS::AtLeastOnce, false, message.payload)
                        .await
                        .unwrap();
                }
                client
            });
            let mut acknowledged = 0;
            while acknowledged < total {
                if let Event::Incoming(Packet::PubAck(_)) =
                    events.poll().await.expect("mosquitto stays")
                {
                    acknowledged += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            drop(sender.await.unwrap());
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

struct Site {
    broker: u16,
    database: Postgres,
    home: std::path::PathBuf,
}

impl Site {
    fn serve(&self) -> Service {
        let mut command = forecare();
        command
            .args([
                "serve",
                "--mqtt",
                &format!("mqtt://127.0.0.1:{}", self.broker),
                "--http",
                "127.0.0.1:0",
                "--home",
            ])
            .arg(&self.home)
            .env("FORECARE_STORE__URL", self.database.url())
            .env(
                "FORECARE_STORE__PLAIN_POSTGRES",
                (!self.database.has_timescale()).to_string(),
            )
            .env("FORECARE_CLOCK", "device")
            .env("FORECARE_LOG__FILTER", "error");
        Service::start(&mut command, &self.home)
    }

    async fn store(&self, catalogue: &Catalogue) -> TimescaleStore {
        let settings = TimescaleSettings {
            url: self.database.url(),
            plain_postgres: !self.database.has_timescale(),
            ..TimescaleSettings::default()
        };
        TimescaleStore::open(settings, catalogue, histories_start())
            .await
            .unwrap()
    }
}

/// The fleet, known before its first message.
async fn register(site: &Site, catalogue: &Catalogue) {
    let store = site.store(catalogue).await;
    let class = ClassName::new(CLASS).unwrap();
    let assets = (1..=DEVICES)
        .map(|n| {
            let name = format!("compressor-{n:04}");
            Asset {
                id: AssetId::new(&name).unwrap(),
                device: DeviceId::new(&name).unwrap(),
                class: class.clone(),
                name: name.clone(),
                site: "plant".to_owned(),
                depot: None,
                registered_at: histories_start(),
            }
        })
        .collect();
    store.register_assets(assets).await.unwrap();
    store.close().await;
}

/// Every ticket by what caused it: asset, failure mode, and the reading that showed it.
type Tickets = Vec<(String, String, Timestamp)>;

/// In order; a ticket that was opened twice is there twice.
async fn tickets(store: &TimescaleStore) -> Tickets {
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let page = PageRequest {
            before,
            limit: 1_000,
        };
        let tickets = store.tickets(&TicketFilter::default(), page).await.unwrap();
        let Some(last) = tickets.last() else {
            all.sort();
            return all;
        };
        before = Some(last.position);
        for ticket in tickets {
            let ticket = ticket.item;
            all.push((
                ticket.asset.to_string(),
                ticket.opening_key().unwrap_or_default(),
                ticket.detected_at,
            ));
        }
    }
}

/// Waits until all that is expected is stored. What is missing in the end is told device by device.
async fn settle(store: &TimescaleStore, expected: &BTreeMap<DeviceId, Fingerprint>) {
    let end = Instant::now() + DEADLINE;
    for (device, expected) in expected {
        loop {
            let stored = store.fingerprint(device).await.unwrap();
            if stored == *expected {
                break;
            }
            assert!(
                Instant::now() < end,
                "{device}: {stored:?} is stored, {expected:?} was acknowledged"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What is stored, once the service has taken in everything and its care desk is idle.
async fn outcome(
    site: &Site,
    service: Service,
    catalogue: &Catalogue,
    expected: &BTreeMap<DeviceId, Fingerprint>,
) -> (BTreeMap<DeviceId, Fingerprint>, Tickets) {
    let store = site.store(catalogue).await;
    settle(&store, expected).await;
    // Duplicates may still come; the last tasks may have come with the last readings.
    let end = Instant::now() + DEADLINE;
    let (mut quiet_since, mut seen) = (Instant::now(), -1.0);
    while quiet_since.elapsed() < Duration::from_secs(3) {
        assert!(
            Instant::now() < end,
            "messages keep coming, or the care desk is behind"
        );
        let now = service.metric("forecare_messages_total");
        let waiting =
            service.metric("forecare_waiting_messages") + service.metric("forecare_spill_messages");
        let is_idle = store.next_tasks(1).await.unwrap().is_empty();
        if now != seen || waiting > 0.0 || !is_idle {
            (seen, quiet_since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let resident_mb = service.metric("process_resident_memory_bytes") / 1e6;
    assert!(resident_mb < 256.0, "{resident_mb} MB");
    assert!(service.stop());
    assert!(
        store.next_tasks(10).await.unwrap().is_empty(),
        "the stop left work to the care desk"
    );
    let mut stored = BTreeMap::new();
    for n in 1..=DEVICES {
        let device = DeviceId::new(format!("compressor-{n:04}")).unwrap();
        let sum = store.fingerprint(&device).await.unwrap();
        stored.insert(device, sum);
    }
    let tickets = tickets(&store).await;
    assert!(
        store
            .conflicts(PageRequest {
                before: None,
                limit: 1
            })
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .rejection_counts()
            .await
            .unwrap()
            .iter()
            .all(|(_, n)| *n == 0)
    );
    store.close().await;
    (stored, tickets)
}

fn site(dir: &Path, name: &str, broker: u16) -> Site {
    let home = dir.join(name);
    std::fs::create_dir_all(&home).unwrap();
    Site {
        broker,
        database: Postgres::start_with_timescale_if_there(),
        home,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_five_kills_and_five_database_crashes_lose_nothing_and_change_no_ticket() {
    let script = Script::new();
    let catalogue = Catalogue::parse(CATALOGUE).unwrap();
    let n_messages = script.messages.len();
    let dir = tempfile::tempdir().unwrap();

    // What should happen.
    let calm = {
        let port = free_port();
        let _broker = Mosquitto::start(dir.path(), port);
        let site = site(dir.path(), "calm", port);
        register(&site, &catalogue).await;
        let service = site.serve();
        wait_for("the subscription", || {
            service.metric("forecare_ingest_connected") >= 1.0
        });
        let (_all, released) = watch::channel(n_messages);
        publish(script.messages.clone(), port, released, Arc::default()).await;
        outcome(&site, service, &catalogue, &script.expected).await
    };
    assert_eq!(calm.0, script.expected, "the undisturbed run itself");
    assert!(
        calm.1.len() >= 20,
        "too few tickets to compare: {}",
        calm.1.len()
    );

    // The same under fire.
    let port = free_port();
    let _broker = Mosquitto::start(dir.path(), port);
    let site = site(dir.path(), "fire", port);
    register(&site, &catalogue).await;
    let mut service = site.serve();
    wait_for("the subscription", || {
        service.metric("forecare_ingest_connected") >= 1.0
    });
    let done = Arc::new(AtomicUsize::new(0));
    // Faults come evenly over the script. Each strikes in the middle of a stretch: the fleet sends before it, and
    // goes on during it; the next stretch begins once the fault is over.
    let faults = KILLS + DATABASE_STOPS;
    let stretch = n_messages / (faults + 1);
    let (gate, gated) = watch::channel(0);
    let (release, released) = watch::channel(0);
    tokio::spawn(pace(gated, release));
    let feed = tokio::spawn(publish(
        script.messages.clone(),
        port,
        released,
        Arc::clone(&done),
    ));
    for fault in 0..faults {
        gate.send_replace(stretch * (fault + 1));
        let due = stretch * fault + stretch / 2;
        let end = Instant::now() + DEADLINE;
        while done.load(Ordering::Relaxed) < due {
            assert!(Instant::now() < end, "the fleet has stopped publishing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if fault % 6 == 5 {
            site.database.stop_immediate();
            tokio::time::sleep(Duration::from_millis(700)).await;
            site.database.start_again();
        } else {
            service.kill();
            service = site.serve();
        }
    }
    assert!(!feed.is_finished(), "the last stretch is still to come");
    gate.send_replace(n_messages);
    feed.await.unwrap();
    let fire = outcome(&site, service, &catalogue, &script.expected).await;
    assert_eq!(fire.0, script.expected, "stored equals acknowledged");
    assert_eq!(fire.1, calm.1, "the same tickets");
    println!(
        "{n_messages} messages, {KILLS} kills, {DATABASE_STOPS} database crashes, {} tickets, TimescaleDB: {}",
        fire.1.len(),
        site.database.has_timescale()
    );
}
