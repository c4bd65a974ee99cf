//! Ten thousand malformed and hostile messages between good ones: each counted with its reason, every good
//! one stored, nothing crashes.
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

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use support::{Service, forecare, run, wait_for};

/// Topic, payload, and whether a part of it is good.
fn hostile(i: usize) -> (String, Vec<u8>) {
    let own = "devices/press-1/telemetry".to_owned();
    let deep = "[".repeat(10_000);
    let cases: Vec<(String, Vec<u8>)> = vec![
        (own.clone(), b"{\"ts\":1".to_vec()),
        (own.clone(), b"{\"vibration\":1,\"vibration\":2}".to_vec()),
        (own.clone(), deep.into_bytes()),
        (own.clone(), b"{\"vibration\":NaN}".to_vec()),
        (own.clone(), b"{\"vibration\":-Infinity}".to_vec()),
        (own.clone(), b"{\"vibration\":1e400}".to_vec()),
        (own.clone(), b"{\"vibration\":\"high\"}".to_vec()),
        (own.clone(), b"{\"vibration\":{\"x\":1}}".to_vec()),
        (own.clone(), vec![0xff, 0xfe, 0x80]),
        (own.clone(), b"{\"vibration\":\0}".to_vec()),
        (own.clone(), Vec::new()),
        (own.clone(), vec![b' '; 10 * 1024 + 1]),
        (own.clone(), vec![b'x'; 262_145]),
        (
            own.clone(),
            b"{\"device\":\"press-2\",\"vibration\":1}".to_vec(),
        ),
        (
            own.clone(),
            b"{\"ts\":0,\"values\":{\"vibration\":1}}".to_vec(),
        ),
        (
            own.clone(),
            b"{\"ts\":253402300799999,\"values\":{\"vibration\":1}}".to_vec(),
        ),
        (
            own.clone(),
            b"{\"ts\":-5,\"values\":{\"vibration\":1}}".to_vec(),
        ),
        (
            own.clone(),
            b"{\"ts\":\"yesterday\",\"values\":{\"vibration\":1}}".to_vec(),
        ),
        (own.clone(), b"null".to_vec()),
        (own, b"{\"'; DROP TABLE readings; --\":1}".to_vec()),
        ("devices/press-1".to_owned(), b"{}".to_vec()),
        ("devices/press-1/telemetry/x".to_owned(), b"{}".to_vec()),
        (
            "devices//telemetry".to_owned(),
            b"{\"vibration\":1}".to_vec(),
        ),
        (
            "devices/nobody/telemetry".to_owned(),
            b"{\"vibration\":1}".to_vec(),
        ),
        (
            "devices/<script>alert(1)<\\script>/telemetry".to_owned(),
            b"{\"vibration\":1}".to_vec(),
        ),
        (
            format!("devices/{}/telemetry", "a".repeat(10_000)),
            b"{\"vibration\":1}".to_vec(),
        ),
        (
            "devices/\u{202e}evil/telemetry".to_owned(),
            b"{\"vibration\":1}".to_vec(),
        ),
        (
            "devices/=cmd|' C'!A0/telemetry".to_owned(),
            b"{\"vibration\":1}".to_vec(),
        ),
        ("devices/press-1/events".to_owned(), b"[1,2,3]".to_vec()),
        ("devices/press-1/status".to_owned(), b"perhaps".to_vec()),
    ];
    let n = cases.len();
    cases.into_iter().nth(i % n).expect("in range")
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_are_counted_and_good_ones_are_stored() {
    const N_HOSTILE: usize = 10_000;
    const N_GOOD: usize = 2_000;
    let home = tempfile::tempdir().unwrap();
    let mut serve = forecare();
    serve
        .args([
            "serve",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--home",
        ])
        .arg(home.path())
        .env("FORECARE_MQTT__ANONYMOUS", "true");
    let mut service = Service::start(&mut serve, home.path());
    let (status, body) = service.post(
        "api/v1/assets",
        &serde_json::json!({ "assets": [{ "id": "press-1", "class": "screw-compressor", "name": "Press 1", "site": "Hall 1" }] }),
    );
    assert!(status == 200 || status == 201, "{status} {body:#}");

    let mut options = MqttOptions::new("hostile", "127.0.0.1", service.mqtt_port());
    options.set_outgoing_inflight_upper_limit(50);
    let (client, mut events) = AsyncClient::new(options, 50);
    let feed = tokio::spawn(async move {
        let every = N_HOSTILE / N_GOOD;
        let start = 1_700_000_000_000_i64;
        for i in 0..N_HOSTILE {
            let (topic, payload) = hostile(i);
            client
                .publish(topic, QoS::AtLeastOnce, false, payload)
                .await
                .unwrap();
            if i % every == 0 {
                let ts = start + i64::try_from(i).unwrap() * 1_000;
                let payload =
                    format!("{{\"ts\":{ts},\"values\":{{\"vibration\":2.5,\"load\":70}}}}");
                client
                    .publish(
                        "devices/press-1/telemetry",
                        QoS::AtLeastOnce,
                        false,
                        payload,
                    )
                    .await
                    .unwrap();
            }
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < N_HOSTILE + N_GOOD {
        let event = tokio::time::timeout(Duration::from_secs(60), events.poll())
            .await
            .expect("it answers");
        match event.expect("the connection holds") {
            Event::Incoming(Packet::PubAck(_)) => acknowledged += 1,
            Event::Incoming(Packet::Disconnect(d)) => {
                panic!("disconnected after {acknowledged}: {:?}", d.reason_code)
            }
            _ => {}
        }
    }
    drop(feed.await.unwrap());

    assert_eq!(
        service.child.try_wait().unwrap(),
        None,
        "the service runs on"
    );
    // Good messages hold two readings each; of the hostile ones only their good parts may be stored.
    wait_for("every good reading", || {
        service.metric("forecare_readings_stored_total") >= (2 * N_GOOD) as f64
    });
    let rejected = service.metric("forecare_messages_rejected_total");
    let stored = service.metric("forecare_readings_stored_total");
    assert!(
        rejected >= N_HOSTILE as f64,
        "{rejected} rejected, {stored} stored"
    );
    assert_eq!(stored, (2 * N_GOOD) as f64);
    // A telemetry query sees all good rows.
    let series = service.get("api/v1/assets/press-1/telemetry?metrics=vibration&from=2023-11-14T00:00:00Z&to=2023-11-16T00:00:00Z&points=5000");
    let n: u64 = series["series"][0]["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["n_readings"].as_u64().unwrap())
        .sum();
    assert_eq!(n, N_GOOD as u64, "{series:#}");
    assert!(service.stop());

    let (ok, out, err) = run(forecare()
        .args(["dead-letters", "--limit", "40", "--home"])
        .arg(home.path()));
    assert!(ok, "{err}");
    for reason in [
        "invalid_json",
        "duplicate_key",
        "not_finite",
        "not_a_number",
        "invalid_utf8",
        "empty_payload",
        "payload_too_large",
        "device_mismatch",
        "timestamp_too_old",
        "timestamp_in_future",
        "unknown_topic",
        "unknown_device",
        "invalid_name",
        "invalid_timestamp",
        "too_deep",
    ] {
        assert!(out.contains(reason), "{reason} is missing:\n{out}");
    }
    assert!(
        !out.contains('\u{202e}') && !out.contains('\0'),
        "raw control characters reach the terminal"
    );
}

#[test]
fn no_request_makes_the_api_answer_that_it_is_broken() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/openapi");
    let program = here.join(".venv/bin/schemathesis");
    assert!(
        program.is_file(),
        "schemathesis is missing: (cd tests/openapi && python3 -m venv .venv && .venv/bin/pip install -r requirements.txt)"
    );
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut demo = forecare();
    demo.args(["demo", "--speed", "7200", "--mqtt-listen", "127.0.0.1:0"])
        .args(["--http", "127.0.0.1:0", "--home"])
        .arg(&home);
    let service = Service::start(&mut demo, &home);
    wait_for("a ticket", || {
        service.get("api/v1/tickets")["items"]
            .as_array()
            .is_some_and(|tickets| !tickets.is_empty())
    });
    let mut tried = std::process::Command::new(program);
    tried
        .current_dir(dir.path())
        .arg("run")
        .arg(format!("{}api/v1/openapi.json", service.http))
        .arg("-H")
        .arg(format!("Authorization: Bearer {}", service.token))
        .args(["--checks", "not_a_server_error"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "5", "--seed", "7", "--no-shrink"])
        // The stream of events has no end.
        .args(["--exclude-path", "/api/v1/stream"]);
    let (ok, out, err) = run(&mut tried);
    assert!(ok, "{out}\n{err}");
    assert!(service.stop());
    let n_tried = out
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_suffix(" passed")?
                .split_once(" generated")
        })
        .and_then(|(n, _)| n.trim().parse::<u32>().ok());
    assert!(n_tried.is_some_and(|n| n > 1_000), "{out}");
}
