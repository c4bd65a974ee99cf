//! The promise under fire: 1,000 devices at 2,000 messages a second through a real Mosquitto into a real
//! PostgreSQL, a fifth of them sent twice, a tenth up to a day late, while the service is killed 25 times and
//! the database stopped in immediate mode five times. What the broker acknowledged equals what is stored, and
//! the tickets equal those of a run that nothing disturbed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
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
use support::{Mosquitto, Service, forecare, free_port, wait_for};

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

/// Publishes the script over several connections, a device always over the same one, until the broker has
/// acknowledged everything. `done` counts acknowledgements.
async fn publish(
    messages: Vec<Outgoing>,
    port: u16,
    messages_per_s: Option<f64>,
    done: Arc<AtomicUsize>,
) {
    let mut shares: Vec<Vec<(usize, Outgoing)>> = vec![Vec::new(); CONNECTIONS];
    for (i, message) in messages.into_iter().enumerate() {
        shares[message.device % CONNECTIONS].push((i, message));
    }
    let began = tokio::time::Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for (n, share) in shares.into_iter().enumerate() {
        let done = Arc::clone(&done);
        clients.spawn(async move {
            let mut options = MqttOptions::new(format!("fleet-{n}"), "127.0.0.1", port);
            options.set_outgoing_inflight_upper_limit(50);
            let (client, mut events) = AsyncClient::new(options, 50);
            let total = share.len();
            let sender = tokio::spawn(async move {
                for (i, message) in share {
                    if let Some(rate) = messages_per_s {
                        tokio::time::sleep_until(began + Duration::from_secs_f64(i as f64 / rate))
                            .await;
                    }
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
    database: String,
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
            .env("FORECARE_STORE__URL", &self.database)
            .env("FORECARE_STORE__PLAIN_POSTGRES", "true")
            .env("FORECARE_CLOCK", "device")
            .env("FORECARE_LOG__FILTER", "error");
        Service::start(&mut command, &self.home)
    }

    async fn store(&self, catalogue: &Catalogue) -> TimescaleStore {
        let settings = TimescaleSettings {
            url: self.database.clone(),
            plain_postgres: true,
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
async fn tickets(store: &TimescaleStore) -> BTreeSet<(String, String, Timestamp)> {
    let mut all = BTreeSet::new();
    let mut before = None;
    loop {
        let page = PageRequest {
            before,
            limit: 1_000,
        };
        let tickets = store.tickets(&TicketFilter::default(), page).await.unwrap();
        let Some(last) = tickets.last() else {
            return all;
        };
        before = Some(last.position);
        for ticket in tickets {
            let ticket = ticket.item;
            all.insert((
                ticket.asset.to_string(),
                ticket.mode.to_string(),
                ticket.detected_at,
            ));
        }
    }
}

/// What is stored, once the service has taken in everything and its care desk is idle.
async fn outcome(
    site: &Site,
    service: Service,
    catalogue: &Catalogue,
) -> (
    BTreeMap<DeviceId, Fingerprint>,
    BTreeSet<(String, String, Timestamp)>,
) {
    let mut quiet_since = Instant::now();
    let mut seen = -1.0;
    wait_for("the broker's queue to run dry", || {
        let now = service.metric("forecare_messages_total");
        if now != seen {
            (seen, quiet_since) = (now, Instant::now());
        }
        quiet_since.elapsed() > Duration::from_secs(3)
    });
    let resident_mb = service.metric("process_resident_memory_bytes") / 1e6;
    assert!(resident_mb < 256.0, "{resident_mb} MB");
    assert!(service.stop());
    let store = site.store(catalogue).await;
    assert!(
        store.next_tasks(10).await.unwrap().is_empty(),
        "the care desk is behind"
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

fn site(dir: &Path, name: &str, broker: u16, database: String) -> Site {
    let home = dir.join(name);
    std::fs::create_dir_all(&home).unwrap();
    Site {
        broker,
        database,
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
        let database = Postgres::start();
        let site = site(dir.path(), "calm", port, database.url());
        register(&site, &catalogue).await;
        let service = site.serve();
        wait_for("the subscription", || {
            service.metric("forecare_ingest_connected") >= 1.0
        });
        publish(script.messages.clone(), port, None, Arc::default()).await;
        outcome(&site, service, &catalogue).await
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
    let database = Postgres::start();
    let site = site(dir.path(), "fire", port, database.url());
    register(&site, &catalogue).await;
    let mut service = site.serve();
    wait_for("the subscription", || {
        service.metric("forecare_ingest_connected") >= 1.0
    });
    let done = Arc::new(AtomicUsize::new(0));
    let feed = tokio::spawn(publish(
        script.messages.clone(),
        port,
        Some(MESSAGES_PER_S),
        Arc::clone(&done),
    ));
    let faults = KILLS + DATABASE_STOPS;
    for fault in 0..faults {
        // Evenly over the script, so that every one meets the load.
        let due = n_messages * (fault + 1) / (faults + 2);
        let end = Instant::now() + Duration::from_secs(300);
        while done.load(Ordering::Relaxed) < due {
            assert!(Instant::now() < end, "the fleet has stopped publishing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!feed.is_finished(), "the load ended before the faults did");
        if fault % 6 == 5 {
            database.stop_immediate();
            tokio::time::sleep(Duration::from_millis(700)).await;
            database.start_again();
        } else {
            service.kill();
            service = site.serve();
        }
    }
    feed.await.unwrap();
    let fire = outcome(&site, service, &catalogue).await;
    assert_eq!(fire.0, script.expected, "stored equals acknowledged");
    assert_eq!(fire.1, calm.1, "the same tickets");
    println!(
        "{n_messages} messages, {KILLS} kills, {DATABASE_STOPS} database crashes, {} tickets",
        fire.1.len()
    );
}
