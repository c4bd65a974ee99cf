//! The external broker: a real Mosquitto of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use forecare_ingest::{
    ExternalBroker, ExternalConfig, ExternalSource, IngestError, IngestStats, Source,
};
use support::device::Version::V5;
use support::device::{Device, Login, Seen};
use support::mosquitto::Mosquitto;
use support::{batch, clock, embedded, embedded_config, limit, payloads, until, within};

fn config(url: &str) -> ExternalConfig {
    ExternalConfig {
        url: url.to_owned(),
        client_id: "forecare".to_owned(),
        username: None,
        password: None,
        ca_file: None,
        topics: vec!["devices/#".to_owned()],
        session_expiry: Duration::from_secs(600),
        receive_maximum: 100,
        payload_bytes_max: 1_000,
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(200),
    }
}

fn external(config: ExternalConfig) -> (ExternalBroker, ExternalSource, Arc<IngestStats>) {
    let stats = Arc::new(IngestStats::default());
    let (broker, source) = ExternalBroker::connect(config, clock(), Arc::clone(&stats)).unwrap();
    (broker, source, stats)
}

async fn subscribed(url: &str) -> (ExternalBroker, ExternalSource, Arc<IngestStats>) {
    let (broker, source, stats) = external(config(url));
    until("the subscription", || stats.connected()).await;
    (broker, source, stats)
}

/// Publishes `numbers` and waits until the broker has them all.
async fn publish(mosquitto: &Mosquitto, numbers: std::ops::Range<usize>) {
    let login = Login::anonymous("publisher");
    let mut device = Device::connect(V5, mosquitto.addr(), &login).await;
    for n in numbers.clone() {
        device.publish("devices/m1/telemetry", n.to_string()).await;
    }
    for _ in numbers {
        assert_eq!(device.next().await, Seen::Acknowledged(true));
    }
    device.disconnect().await;
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Takes exactly `n` messages and commits them.
async fn store(source: &mut ExternalSource, n: usize) -> Vec<String> {
    let mut stored = Vec::new();
    while stored.len() < n {
        let got = batch(source, n - stored.len()).await;
        stored.extend(payloads(&got));
        source.commit(got.position).await;
    }
    stored
}

#[tokio::test]
async fn a_message_keeps_topic_payload_and_content_type() {
    let mosquitto = Mosquitto::start().await;
    let (_broker, mut source, stats) = subscribed(&mosquitto.url()).await;
    let device = Device::connect(V5, mosquitto.addr(), &Login::anonymous("m1")).await;
    let senml = Some("application/senml+json");
    device
        .publish_as("devices/m1/telemetry", 1, false, "[]", senml)
        .await;
    let got = batch(&mut source, 10).await;
    let message = &got.messages[0];
    assert_eq!(message.topic, "devices/m1/telemetry");
    assert_eq!(message.payload, b"[]");
    assert_eq!(message.content_type.as_deref(), senml);
    assert_eq!(message.principal, None);
    source.commit(got.position).await;
    assert_eq!((stats.received(), stats.acked()), (1, 1));
}

#[tokio::test]
async fn what_was_not_committed_comes_again_after_a_kill() {
    let mosquitto = Mosquitto::start().await;
    let (broker, mut source, _stats) = subscribed(&mosquitto.url()).await;
    publish(&mosquitto, 0..10).await;
    assert_eq!(store(&mut source, 4).await, numbers(0..4));
    let lost = batch(&mut source, 3).await;
    assert_eq!(payloads(&lost), numbers(4..7));
    // Acknowledgements of what was committed must have left before the process dies.
    broker_round_trip(&mosquitto).await;
    drop((broker, source, lost));

    let (_broker, mut source, _stats) = subscribed(&mosquitto.url()).await;
    let mut again = Vec::new();
    while again.last().map(String::as_str) != Some("9") {
        let got = batch(&mut source, 100).await;
        again.extend(payloads(&got));
        source.commit(got.position).await;
    }
    assert!(again.ends_with(&numbers(4..10)), "{again:?}");
}

async fn broker_round_trip(mosquitto: &Mosquitto) {
    let login = Login::anonymous("round-trip");
    let mut device = Device::connect(V5, mosquitto.addr(), &login).await;
    device.subscribe("some/where").await;
    device.disconnect().await;
}

#[tokio::test]
async fn an_abandoned_batch_comes_again_in_order_with_what_followed() {
    let mosquitto = Mosquitto::start().await;
    let (_broker, mut source, stats) = subscribed(&mosquitto.url()).await;
    publish(&mosquitto, 0..10).await;
    until("all to arrive", || stats.received() == 10).await;
    let first = batch(&mut source, 3).await;
    let second = batch(&mut source, 3).await;
    source.abandon(first.position).await;
    // Handed out before: stored, but its right to be acknowledged is gone.
    source.commit(second.position).await;
    assert_eq!(store(&mut source, 10).await, numbers(0..10));
    assert_eq!(stats.stale_acks_dropped(), 3);
    assert_eq!(stats.stale_events_dropped(), 4);
    assert_eq!(stats.reconnects(), 1);
    assert_eq!(stats.in_flight(), 0);
}

#[tokio::test]
async fn a_broker_restart_loses_nothing_and_late_acknowledgements_are_dropped() {
    let mut mosquitto = Mosquitto::start().await;
    let (_broker, mut source, stats) = subscribed(&mosquitto.url()).await;
    publish(&mosquitto, 0..20).await;
    until("all to arrive", || stats.received() == 20).await;
    let held = batch(&mut source, 5).await;
    mosquitto.stop();
    until("the loss to be noticed", || !stats.connected()).await;
    assert!(stats.last_error().is_some());
    mosquitto.resume().await;
    until("the new connection", || stats.connected()).await;
    assert_eq!(stats.last_error(), None);
    // New messages now use packet ids of the old connection.
    source.commit(held.position).await;
    assert_eq!(stats.stale_acks_dropped(), 5);
    publish(&mosquitto, 20..30).await;
    assert_eq!(store(&mut source, 30).await, numbers(0..30));
    assert_eq!(stats.stale_events_dropped(), 15);
}

#[tokio::test]
async fn messages_of_a_session_the_broker_forgot_are_kept() {
    let mut mosquitto = Mosquitto::prepare();
    mosquitto.configure("persistence false");
    mosquitto.resume().await;
    let (_broker, mut source, stats) = subscribed(&mosquitto.url()).await;
    publish(&mosquitto, 0..5).await;
    until("all to arrive", || stats.received() == 5).await;
    mosquitto.stop();
    until("the loss to be noticed", || !stats.connected()).await;
    mosquitto.resume().await;
    until("the new connection", || stats.connected()).await;
    assert_eq!(store(&mut source, 5).await, numbers(0..5));
    assert_eq!(stats.stale_events_dropped(), 0);
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let mut mosquitto = Mosquitto::prepare();
    let (_broker, mut source, stats) = external(config(&mosquitto.url()));
    until("the failure", || stats.last_error().is_some()).await;
    assert!(!stats.connected());
    mosquitto.resume().await;
    until("the connection", || stats.connected()).await;
    publish(&mosquitto, 0..1).await;
    assert_eq!(store(&mut source, 1).await, numbers(0..1));
    assert_eq!(stats.reconnects(), 0);
}

#[tokio::test]
async fn a_small_window_and_a_slow_consumer_neither_deadlock_nor_reorder() {
    let mosquitto = Mosquitto::start().await;
    let stats = Arc::new(IngestStats::default());
    let small = ExternalConfig {
        receive_maximum: 3,
        ..config(&mosquitto.url())
    };
    let (_broker, mut source) =
        ExternalBroker::connect(small, clock(), Arc::clone(&stats)).unwrap();
    until("the subscription", || stats.connected()).await;
    publish(&mosquitto, 0..500).await;
    until("the window to fill", || stats.in_flight() >= 3).await;
    let mut stored = Vec::new();
    while stored.len() < 500 {
        let got = batch(&mut source, 2).await;
        stored.extend(payloads(&got));
        tokio::task::yield_now().await;
        source.commit(got.position).await;
    }
    assert_eq!(stored, numbers(0..500));
    assert_eq!((stats.held_up(), stats.reconnects()), (0, 0));
}

#[tokio::test]
async fn a_huge_message_is_cut_and_the_next_good_one_passes() {
    let mosquitto = Mosquitto::start().await;
    let (_broker, mut source, stats) = subscribed(&mosquitto.url()).await;
    let mut device = Device::connect(V5, mosquitto.addr(), &Login::anonymous("m1")).await;
    // Above what we accept whole, far above rumqttc's 10 KiB; and above what we let a broker send.
    for bytes in [1_000_000, 20_000_000] {
        let payload = vec![b'x'; bytes];
        device.publish("devices/m1/telemetry", payload).await;
        assert_eq!(device.next().await, Seen::Acknowledged(true));
    }
    device.publish("devices/m1/telemetry", "good").await;
    let got = batch(&mut source, 1).await;
    assert_eq!(got.messages[0].payload.len(), 1_001);
    source.commit(got.position).await;
    assert_eq!(store(&mut source, 1).await, ["good"]);
    assert_eq!((stats.oversized(), stats.reconnects()), (1, 0));
}

#[tokio::test]
async fn a_refused_subscription_is_reported_and_tried_again() {
    let (peer, _source, _stats) = embedded(embedded_config()).await;
    let (_broker, _source, stats) = external(ExternalConfig {
        username: Some("m1".to_owned()),
        password: Some("secret".to_owned()),
        topics: vec!["devices/m1/#".to_owned(), "devices/m2/#".to_owned()],
        ..config(&format!("mqtt://{}", peer.local_addr()))
    });
    until("two refusals", || stats.refused_topic() >= 2).await;
    assert!(!stats.connected());
    let error = stats.last_error().unwrap();
    assert!(
        error.contains("refused the subscription to devices/m2/#"),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_the_right_one_in_the_url_works() {
    let (peer, _source, _stats) = embedded(embedded_config()).await;
    let filter = vec!["devices/m1/#".to_owned()];
    let (_broker, _source, stats) = external(ExternalConfig {
        topics: filter.clone(),
        ..config(&format!("mqtt://m1:wrong@{}", peer.local_addr()))
    });
    until("the refusal", || stats.last_error().is_some()).await;
    assert!(!stats.connected());
    assert!(stats.last_error().unwrap().contains("BadUserNamePassword"));
    let (_broker, _source, stats) = external(ExternalConfig {
        topics: filter,
        client_id: "other".to_owned(),
        ..config(&format!("mqtt://m1:secret@{}", peer.local_addr()))
    });
    until("the subscription", || stats.connected()).await;
}

#[tokio::test]
async fn shutdown_acknowledges_what_is_committed_and_the_session_keeps_the_rest() {
    let mosquitto = Mosquitto::start().await;
    let (broker, mut source, stats) = subscribed(&mosquitto.url()).await;
    publish(&mosquitto, 0..50).await;
    until("all to arrive", || stats.received() == 50).await;
    let shutdown = tokio::spawn(broker.shutdown());
    let mut stored = BTreeSet::new();
    while let Some(got) = within("a batch or the end", source.next_batch(limit(7))).await {
        stored.extend(payloads(&got));
        source.commit(got.position).await;
    }
    within("shutdown", shutdown).await.unwrap();
    assert_eq!(stored.len(), 50);
    assert_eq!((stats.acked(), stats.stale_acks_dropped()), (50, 0));
    // While we are away.
    publish(&mosquitto, 50..60).await;
    let (_broker, mut source, _stats) = subscribed(&mosquitto.url()).await;
    assert_eq!(store(&mut source, 10).await, numbers(50..60));
}

#[tokio::test]
async fn shutdown_without_a_broker_ends_at_once() {
    let mosquitto = Mosquitto::prepare();
    let (broker, mut source, stats) = external(config(&mosquitto.url()));
    until("the failure", || stats.last_error().is_some()).await;
    within("shutdown", broker.shutdown()).await;
    assert!(
        within("the end", source.next_batch(limit(1)))
            .await
            .is_none()
    );
}

fn openssl(args: &[&str]) {
    let made = Command::new("openssl")
        .args(args)
        .output()
        .expect("openssl is missing: apt-get install openssl");
    assert!(made.status.success(), "{made:?}");
}

#[tokio::test]
async fn mqtts_trusts_the_given_authority_and_no_other() {
    let mut mosquitto = Mosquitto::prepare();
    for name in ["ca", "other"] {
        let key = mosquitto.path(&format!("{name}.key"));
        let pem = mosquitto.path(&format!("{name}.pem"));
        let (key, pem) = (key.to_str().unwrap(), pem.to_str().unwrap());
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            key,
            "-out",
            pem,
        ]);
    }
    mosquitto.configure(&format!(
        "certfile {}\nkeyfile {}",
        mosquitto.path("ca.pem").display(),
        mosquitto.path("ca.key").display()
    ));
    mosquitto.resume().await;
    let url = format!("mqtts://localhost:{}", mosquitto.addr().port());
    let trusting = |name: &str| ExternalConfig {
        ca_file: Some(mosquitto.path(name)),
        ..config(&url)
    };
    let (_broker, _source, stats) = external(trusting("ca.pem"));
    until("the subscription", || stats.connected()).await;
    let (_broker, _source, stats) = external(trusting("other.pem"));
    until("the refusal", || stats.last_error().is_some()).await;
    assert!(!stats.connected());
    assert!(stats.last_error().unwrap().contains("certificate"));
}

#[tokio::test]
async fn settings_that_cannot_work_are_named() {
    let refused = |config: ExternalConfig| {
        ExternalBroker::connect(config, clock(), Arc::default())
            .map(|_| ())
            .unwrap_err()
    };
    let good = config("mqtt://localhost");
    let error = refused(config("http://localhost"));
    assert!(matches!(error, IngestError::BadUrl { .. }));
    let error = refused(ExternalConfig {
        url: "mqtts://localhost".to_owned(),
        ca_file: Some("/nowhere/ca.pem".into()),
        ..good.clone()
    });
    assert!(matches!(error, IngestError::Tls { .. }));
    assert!(error.to_string().contains("mqtt.ca_file"), "{error}");
    for bad in [
        ExternalConfig {
            client_id: String::new(),
            ..good.clone()
        },
        ExternalConfig {
            topics: vec!["devices/#/x".to_owned()],
            ..good.clone()
        },
        ExternalConfig {
            receive_maximum: 0,
            ..good.clone()
        },
    ] {
        assert!(matches!(refused(bad), IngestError::BadSetting { .. }));
    }
    let error = refused(ExternalConfig {
        session_expiry: Duration::ZERO,
        ..good
    });
    assert!(
        error
            .to_string()
            .starts_with("mqtt.session_expiry_hours must be at least 1"),
        "{error}"
    );
}
