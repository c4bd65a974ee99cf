//! Publishing through a real Mosquitto: nothing lost, nothing invented, connections cut or not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy exempts test functions, but not their helpers"
)]

mod broker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Recorder, cutting_proxy};
use forecare_catalogue::Catalogue;
use forecare_domain::{Clock, DeviceId, ManualClock, Timestamp};
use forecare_simulator::{
    Credentials, Emission, Fleet, FleetConfig, METRICS, PublishError, PublishStats,
    PublisherConfig, histories_start, publish,
};
use tokio::sync::watch;

const CATALOGUE: &str = include_str!("../../crates/catalogue/catalogues/demo.toml");
const DEADLINE: Duration = Duration::from_secs(60);

fn fleet(n_devices: usize) -> Fleet {
    let config = FleetConfig {
        seed: 42,
        n_devices,
        start: histories_start(),
        sample_interval_s: 600.0,
        n_faults: 2,
        first_onset_hours: 0.0,
        onset_spacing_hours: 1.0,
    };
    Fleet::new(&config, &Catalogue::parse(CATALOGUE).unwrap()).unwrap()
}

fn to(broker: std::net::SocketAddr, connections_max: usize) -> PublisherConfig {
    PublisherConfig {
        broker,
        credentials: Credentials::None,
        connections_max,
    }
}

/// A clock that stands `hours` after the start: all of that falls due at once.
fn after(hours: f64) -> (Timestamp, Arc<dyn Clock>) {
    let until = histories_start().plus_hours(hours);
    (until, Arc::new(ManualClock::new(until)))
}

/// What must arrive: topic and payload, as JSON, of everything up to `until`.
fn expected(n_devices: usize, until: Timestamp) -> BTreeMap<(String, String), usize> {
    let mut messages = BTreeMap::new();
    for emission in fleet(n_devices).advance(until) {
        let device = emission.device().clone();
        let (topic, json) = match emission {
            Emission::Telemetry {
                ts, seq, values, ..
            } => {
                let values: serde_json::Map<_, _> = METRICS
                    .iter()
                    .zip(values)
                    .map(|(name, value)| ((*name).to_owned(), value.into()))
                    .collect();
                let json =
                    serde_json::json!({ "ts": ts.as_millis(), "values": values, "seq": seq });
                ("telemetry", json)
            }
            Emission::Event(event) => {
                let mut json = serde_json::json!({
                    "ts": event.ts.as_millis(),
                    "code": event.code,
                    "severity": event.severity,
                    "message": event.message,
                });
                if let Some(component) = event.component {
                    json["component"] = component.as_str().into();
                }
                ("events", json)
            }
        };
        *messages
            .entry((format!("devices/{device}/{topic}"), json.to_string()))
            .or_insert(0) += 1;
    }
    messages
}

/// Publishes everything up to `hours` after the start and returns what a subscriber at `broker` got.
async fn round_trip(
    broker: &Broker,
    config: PublisherConfig,
    n_devices: usize,
    hours: f64,
) -> (Vec<(String, String)>, Arc<PublishStats>) {
    let mut recorder = Recorder::subscribe(broker.address).await;
    let (until, clock) = after(hours);
    let n_expected = expected(n_devices, until).len();
    let stats = Arc::new(PublishStats::default());
    let (stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(publish(
        fleet(n_devices),
        config,
        clock,
        stopped,
        stats.clone(),
    ));
    recorder
        .until(|seen| {
            if seen.len() < n_expected {
                return false;
            }
            let distinct: BTreeSet<_> = seen.iter().filter(|(t, _)| !is_status(t)).collect();
            distinct.len() >= n_expected
        })
        .await;
    stop.send(true).unwrap();
    tokio::time::timeout(DEADLINE, publisher)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let offline = |seen: &[(String, String)]| seen.iter().filter(|(_, p)| p == "offline").count();
    recorder.until(|seen| offline(seen) >= n_devices).await;
    (recorder.seen, stats)
}

fn is_status(topic: &str) -> bool {
    topic.ends_with("/status")
}

/// Counts messages, with keys of JSON objects in one order.
fn counted(seen: &[(String, String)]) -> BTreeMap<(String, String), usize> {
    let mut messages = BTreeMap::new();
    for (topic, payload) in seen.iter().filter(|(t, _)| !is_status(t)) {
        let json: serde_json::Value = serde_json::from_str(payload).unwrap();
        *messages
            .entry((topic.clone(), json.to_string()))
            .or_insert(0) += 1;
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn every_emission_arrives_exactly_once_on_one_connection_per_device() {
    let broker = Broker::start("dedicated", "allow_anonymous true").await;
    let (seen, stats) = round_trip(&broker, to(broker.address, 64), 20, 100.0).await;
    let expected = expected(20, after(100.0).0);
    let got = counted(&seen);
    assert!(
        expected == got,
        "{} expected, {} got",
        expected.len(),
        got.len()
    );
    assert_eq!(
        stats.telemetry_acked() + stats.events_acked(),
        expected.len() as u64
    );
    assert!(stats.events_acked() > 0);
    assert_eq!((stats.connects(), stats.disconnects()), (20, 0));
    assert_eq!((stats.unacknowledged(), stats.refused()), (0, 0));
    assert_eq!(stats.status_acked(), 40);
    assert_eq!(stats.sent(), expected.len() as u64 + 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_devices_share_a_few_gateway_connections() {
    let broker = Broker::start("gateways", "allow_anonymous true").await;
    let (seen, stats) = round_trip(&broker, to(broker.address, 4), 150, 8.0).await;
    assert!(expected(150, after(8.0).0) == counted(&seen));
    assert_eq!((stats.connects(), stats.unacknowledged()), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_is_sent_again_after_a_cut() {
    let broker = Broker::start("cuts", "allow_anonymous true").await;
    // Each of the first 12 connections is cut after 40 kB: some 130 messages.
    let proxy = cutting_proxy(broker.address, 12, 40_000).await;
    let (seen, stats) = round_trip(&broker, to(proxy, 64), 4, 200.0).await;
    let expected: BTreeSet<_> = expected(4, after(200.0).0).into_keys().collect();
    let got: BTreeSet<_> = counted(&seen).into_keys().collect();
    assert!(
        expected == got,
        "{} expected, {} got",
        expected.len(),
        got.len()
    );
    assert_eq!(
        stats.telemetry_acked() + stats.events_acked(),
        expected.len() as u64
    );
    assert!(stats.disconnects() >= 12, "{}", stats.disconnects());
    assert_eq!(stats.unacknowledged(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_vanishes_is_offline_by_its_last_will() {
    let broker = Broker::start("will", "allow_anonymous true").await;
    let mut recorder = Recorder::subscribe(broker.address).await;
    let stats = Arc::new(PublishStats::default());
    let (_stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(publish(
        fleet(3),
        to(broker.address, 64),
        after(1.0).1,
        stopped,
        stats,
    ));
    let count = |seen: &[(String, String)], text| seen.iter().filter(|(_, p)| p == text).count();
    recorder.until(|seen| count(seen, "online") == 3).await;
    publisher.abort();
    recorder.until(|seen| count(seen, "offline") == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_before_the_clock_reaches_it() {
    let broker = Broker::start("pace", "allow_anonymous true").await;
    let mut recorder = Recorder::subscribe(broker.address).await;
    let clock = Arc::new(ManualClock::new(after(1.0).0));
    let stats = Arc::new(PublishStats::default());
    let (stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(publish(
        fleet(5),
        to(broker.address, 64),
        clock.clone(),
        stopped,
        stats.clone(),
    ));
    // The second hour falls due only when the first has arrived as a whole and nothing else has.
    for hours in [1.0, 2.0] {
        let (until, _) = after(hours);
        clock.set(until);
        let n_due = expected(5, until).len();
        let telemetry = |seen: &[(String, String)]| counted(seen).len();
        recorder.until(|seen| telemetry(seen) >= n_due).await;
        assert!(counted(&recorder.seen) == expected(5, until));
        assert!(stats.published_up_to() <= until);
    }
    stop.send(true).unwrap();
    let outcome = tokio::time::timeout(DEADLINE, publisher).await;
    outcome.unwrap().unwrap().unwrap();
    assert_eq!(stats.telemetry_acked(), 5 * 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_end_with_the_brokers_reason() {
    let broker = Broker::start("refusal", "allow_anonymous false").await;
    let (_stop, stopped) = watch::channel(false);
    let mut config = to(broker.address, 64);
    config.credentials = Credentials::Gateway {
        username: "nobody".to_owned(),
        password: "wrong".to_owned(),
    };
    let outcome = publish(fleet(2), config, after(1.0).1, stopped, Arc::default());
    let error = tokio::time::timeout(DEADLINE, outcome)
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, PublishError::Refused { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_work_are_refused_before_connecting() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let run = |credentials, connections_max| {
        let config = PublisherConfig {
            broker: nowhere,
            credentials,
            connections_max,
        };
        let (_stop, stopped) = watch::channel(false);
        publish(fleet(3), config, after(1.0).1, stopped, Arc::default())
    };
    let login = || ("user".to_owned(), "password".to_owned());
    let all: BTreeMap<DeviceId, _> = fleet(3)
        .devices()
        .iter()
        .map(|d| (d.clone(), login()))
        .collect();
    let mut some = all.clone();
    some.pop_last();
    for (credentials, connections_max, finding) in [
        (Credentials::PerDevice(all), 2, "connections_max is 2"),
        (Credentials::PerDevice(some), 3, "compressor-0003"),
        (Credentials::None, 0, "at least 1"),
    ] {
        let error = run(credentials, connections_max).await.unwrap_err();
        assert!(error.to_string().contains(finding), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_a_broker_that_never_answers() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let stats = Arc::new(PublishStats::default());
    let (stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(publish(
        fleet(2),
        to(nowhere, 64),
        after(10.0).1,
        stopped,
        stats.clone(),
    ));
    stop.send(true).unwrap();
    tokio::time::timeout(DEADLINE, publisher)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(stats.unacknowledged() > 0);
}
