//! Against a real Mosquitto: nothing that the broker holds is lost when the service dies at any moment.
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

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use support::{Mosquitto, Service, forecare, free_port, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_lose_nothing_and_count_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _broker = Mosquitto::start(dir.path(), port);
    let home = dir.path().join("home");
    let serve = || {
        let mut command = forecare();
        command
            .args([
                "serve",
                "--mqtt",
                &format!("mqtt://127.0.0.1:{port}"),
                "--http",
                "127.0.0.1:0",
                "--home",
            ])
            .arg(&home)
            .env("FORECARE_INGEST__AUTO_REGISTER", "screw-compressor")
            // Small windows make kills fall between receipt and acknowledgement.
            .env("FORECARE_MQTT__RECEIVE_MAXIMUM", "200");
        Service::start(&mut command, &home)
    };
    let mut service = serve();
    wait_for("the subscription", || {
        service.metric("forecare_ingest_connected") >= 1.0
    });

    let stop = Arc::new(AtomicBool::new(false));
    let feed = tokio::spawn(publish(port, Arc::clone(&stop)));
    let mut kills = 0;
    while kills < 5 {
        let before = service.metric("forecare_readings_stored_total");
        wait_for("some progress", || {
            service.metric("forecare_readings_stored_total") > before
        });
        service.kill();
        kills += 1;
        service = serve();
    }
    stop.store(true, Ordering::SeqCst);
    let n = feed.await.unwrap();
    assert!(
        n >= 1_000,
        "too few messages for the kills to fall among them: {n}"
    );
    // One reading a message; a second's grid makes every reading its own point.
    let count = |service: &Service| {
        let mut seen = BTreeSet::new();
        for device in 0..10 {
            let series = service.get(&format!(
                "api/v1/assets/pump-{device}/telemetry?metrics=vibration&from=2023-11-14T00:00:00Z&to=2023-11-16T00:00:00Z&points=5000"
            ));
            let points = series["series"][0]["points"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let n: u64 = points
                .iter()
                .map(|p| p["n_readings"].as_u64().unwrap())
                .sum();
            seen.insert((device, n));
        }
        seen
    };
    let expected: BTreeSet<(i32, u64)> = (0..10).map(|d| (d, (n / 10) as u64)).collect();
    wait_for("every reading once", || {
        // Before its first message a device is unknown.
        service.get("api/v1/assets")["items"]
            .as_array()
            .map_or(0, Vec::len)
            == 10
            && count(&service) == expected
    });
    assert!(service.stop());
}

/// Publishes until told to stop; returns how many messages, a multiple of ten, Mosquitto has acknowledged.
async fn publish(port: u16, stop: Arc<AtomicBool>) -> usize {
    let mut options = MqttOptions::new("pumps", "127.0.0.1", port);
    options.set_outgoing_inflight_upper_limit(20);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 20);
    let total = Arc::new(AtomicUsize::new(usize::MAX));
    let sent = Arc::clone(&total);
    let sender = tokio::spawn(async move {
        let mut i = 0;
        while !(stop.load(Ordering::SeqCst) && i % 10 == 0 && i >= 1_000) {
            let ts = 1_700_000_000_000_i64 + i64::try_from(i).unwrap() * 1_000;
            let payload = format!(
                "{{\"ts\":{ts},\"values\":{{\"vibration\":{}}}}}",
                2.0 + (i % 7) as f64 / 10.0
            );
            client
                .publish(
                    format!("devices/pump-{}/telemetry", i % 10),
                    QoS::AtLeastOnce,
                    false,
                    payload,
                )
                .await
                .unwrap();
            // About 1,500 messages a second, so that the kills fall among them.
            if i % 15 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            i += 1;
        }
        sent.store(i, Ordering::SeqCst);
        client
    });
    let mut acknowledged = 0;
    // The keep-alive wakes this loop when the last acknowledgement came before the total was known.
    while acknowledged < total.load(Ordering::SeqCst) {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.expect("mosquitto stays") {
            acknowledged += 1;
        }
    }
    drop(sender.await.unwrap());
    acknowledged
}
