//! Vibration waveforms over real MQTT: a bearing whose outer race is damaged more and more is named as such.
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

use std::f64::consts::TAU;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use support::{Mosquitto, Service, forecare, free_port, run, wait_for};

/// A motor with an accelerometer on its drive end; shaft speed comes with each waveform.
const CATALOGUE: &str = r#"
[[class]]
name = "motor"
title = "Motor"
horizon_hours = 72
sample_interval_s = 600
metric = [
  { name = "speed", unit = "rpm", operating_point = true },
  { name = "rms", unit = "g" },
  { name = "kurtosis", unit = "" },
  { name = "velocity", unit = "mm/s" },
  { name = "one_x", unit = "g" },
  { name = "outer_race", unit = "" },
  { name = "inner_race", unit = "" },
]
[[class.waveform]]
name = "vib"
unit = "g"
rpm_metric = "speed"
bearing = { balls = 9, ball_diameter_mm = 7.94, pitch_diameter_mm = 39.04 }
envelope_band_hz = [2000, 6000]
features = [
  { metric = "rms", kind = "rms" },
  { metric = "kurtosis", kind = "kurtosis" },
  { metric = "velocity", kind = "velocity_rms", from_hz = 15 },
  { metric = "one_x", kind = "order_amplitude", order = 1 },
  { metric = "outer_race", kind = "envelope_prominence", fault = "bpfo", harmonics = 2 },
  { metric = "inner_race", kind = "envelope_prominence", fault = "bpfi", harmonics = 1 },
]
[[class.mode]]
name = "outer-race"
title = "Damage of the bearing's outer race"
iso14224 = "VIB"
component = "bearing"
signature = [{ metric = "outer_race", direction = "up" }, { metric = "kurtosis", direction = "up", weight = 0.3 }]
procedure = "M-10 Replace bearing"
work_hours = 4
cost_of_failure = 9000
cost_of_acting = 900
[[class.mode]]
name = "inner-race"
title = "Damage of the bearing's inner race"
iso14224 = "VIB"
component = "bearing"
signature = [{ metric = "inner_race", direction = "up" }, { metric = "kurtosis", direction = "up", weight = 0.3 }]
procedure = "M-10 Replace bearing"
work_hours = 4
cost_of_failure = 9000
cost_of_acting = 900
[[class.mode]]
name = "unbalance"
title = "Unbalance of the rotor"
iso14224 = "VIB"
signature = [{ metric = "one_x", direction = "up" }, { metric = "velocity", direction = "up" }]
procedure = "M-20 Balance rotor"
work_hours = 2
cost_of_failure = 5000
cost_of_acting = 500
[[depot]]
name = "main"
title = "Main depot"
"#;

const STEP_MS: i64 = 600_000;
const N_GOOD: usize = 220;
const N_WORSE: usize = 40;
const N_HOSTILE: usize = 8;
const N_SAMPLES: usize = 8_192;
const RATE_HZ: f64 = 25_600.0;
/// Of the catalogue's bearing, per revolution.
const BPFO: f64 = 4.5 * (1.0 - 7.94 / 39.04);

/// Such that the last reading is of now: the care desk opens no ticket on evidence of long ago.
fn start_ms() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "a device has a clock")]
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    now.as_millis() as i64 - (N_GOOD + N_WORSE) as i64 * STEP_MS
}

/// Noise of about unit variance, another for each seed.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / 9_007_199_254_740_992.0 - 0.5
    };
    move || (0..12).map(|_| uniform()).sum()
}

/// The `i`-th waveform, and the speed it was taken at: a slightly unbalanced rotor in noise and, at the end, impacts at the outer race
/// that grow and ring at 4 kHz.
fn waveform(i: usize) -> (f64, Vec<f64>) {
    let mut noise = noise(i as u64 + 1);
    let rpm = 1_480.0 + 10.0 * noise();
    let shaft_hz = rpm / 60.0;
    let impact = 0.1 * (i + 1).saturating_sub(N_GOOD) as f64;
    // The balls slip: by 1 % on the whole, and by chance from one impact to the next.
    let mean_period = 1.0 / (0.99 * BPFO * shaft_hz);
    let (mut last, mut period) = (0.0, mean_period);
    let samples = (0..N_SAMPLES).map(|k| {
        let t = k as f64 / RATE_HZ;
        if t - last >= period {
            last += period;
            period = mean_period * (1.0 + 0.005 * noise());
        }
        let since: f64 = t - last;
        0.5 * (TAU * shaft_hz * t).sin()
            + impact * (-800.0 * since).exp() * (TAU * 4_000.0 * since).sin()
            + 0.3 * noise()
    });
    (rpm, samples.collect())
}

/// Numbers, or counts of 16 bits in another unit: devices differ.
fn payload(i: usize, start_ms: i64) -> String {
    let (rpm, samples) = waveform(i);
    let waveform = if i.is_multiple_of(2) {
        let rounded: Vec<f64> = samples.iter().map(|x| (x * 1e4).round() / 1e4).collect();
        json!({ "rate_hz": RATE_HZ, "unit": "g", "samples": rounded })
    } else {
        const M_S2_PER_COUNT: f64 = 0.002;
        let counts = samples.iter().flat_map(|x| {
            let count = (x * 9.806_65 / M_S2_PER_COUNT).round();
            (count as i16).to_le_bytes()
        });
        let text = BASE64_STANDARD.encode(counts.collect::<Vec<u8>>());
        json!({ "rate_hz": RATE_HZ, "unit": "m/s2", "encoding": "i16", "scale": M_S2_PER_COUNT, "samples": text })
    };
    let ts = start_ms + i as i64 * STEP_MS;
    json!({ "ts": ts, "values": { "speed": rpm }, "waveforms": { "vib": waveform } }).to_string()
}

/// What is wrong with each is in its name.
fn hostile(start_ms: i64) -> Vec<Value> {
    let ones = vec![1.0; 64];
    let good = json!({ "rate_hz": RATE_HZ, "samples": waveform(0).1 });
    [
        json!({ "unknown": good }),
        json!({ "vib": { "rate_hz": RATE_HZ, "unit": "mm/s", "samples": waveform(0).1 } }),
        json!({ "vib": { "rate_hz": 0, "samples": ones } }),
        json!({ "vib": { "rate_hz": RATE_HZ, "samples": [1] } }),
        json!({ "vib": { "rate_hz": RATE_HZ, "samples": vec![0; 16_385] } }),
        json!({ "vib": { "rate_hz": RATE_HZ, "encoding": "i16", "samples": "***" } }),
        json!({ "vib": { "rate_hz": RATE_HZ, "samples": [ones] } }),
        json!({ "vib": 3 }),
    ]
    .into_iter()
    .map(|waveforms| json!({ "ts": start_ms - STEP_MS, "waveforms": waveforms }))
    .collect()
}

/// Publishes one after the other at QoS 1, every tenth twice; returns how many readings should be stored.
async fn publish(port: u16) -> usize {
    let start_ms = start_ms();
    let hostile = hostile(start_ms);
    assert_eq!(hostile.len(), N_HOSTILE);
    let mut messages: Vec<String> = hostile.iter().map(Value::to_string).collect();
    for i in 0..N_GOOD + N_WORSE {
        messages.push(payload(i, start_ms));
        if i % 10 == 0 {
            messages.push(payload(i, start_ms));
        }
    }
    let n_messages = messages.len();
    let mut options = MqttOptions::new("motor-1", "127.0.0.1", port);
    options.set_max_packet_size(Some(1_000_000));
    let (client, mut events) = AsyncClient::new(options, 10);
    let feed = tokio::spawn(async move {
        for message in messages {
            let topic = "devices/motor-1/telemetry";
            client
                .publish(topic, QoS::AtLeastOnce, false, message)
                .await
                .unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < n_messages {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.expect("it answers") {
            acknowledged += 1;
        }
    }
    drop(feed.await.unwrap());
    // Speed and six features a row.
    7 * (N_GOOD + N_WORSE)
}

fn serve(home: &Path, more: &[&str]) -> Service {
    let catalogue = home.with_extension("toml");
    std::fs::write(&catalogue, CATALOGUE).unwrap();
    let mut command = forecare();
    command
        .args(["serve", "--http", "127.0.0.1:0", "--home"])
        .arg(home)
        .args(more)
        .env("FORECARE_CATALOGUE", &catalogue)
        .env("FORECARE_MQTT__ANONYMOUS", "true")
        .env("FORECARE_INGEST__AUTO_REGISTER", "motor");
    Service::start(&mut command, home)
}

/// What must be so whichever broker the waveforms came through.
fn assert_foreseen(service: Service, home: &Path, n_readings: usize) {
    wait_for("every feature stored", || {
        service.metric("forecare_readings_stored_total") >= n_readings as f64
    });
    assert_eq!(
        service.metric("forecare_readings_stored_total"),
        n_readings as f64
    );
    assert_eq!(service.metric("forecare_readings_conflicting_total"), 0.0);
    assert_eq!(
        service.metric("forecare_messages_rejected_total"),
        N_HOSTILE as f64
    );

    let alarms = service.get("api/v1/alarms?limit=100");
    let alarms = alarms["items"].as_array().unwrap();
    let outer: Vec<&Value> = alarms
        .iter()
        .filter(|a| a["mode"] == "outer-race")
        .collect();
    assert_eq!(outer.len(), 1, "{alarms:#?}");
    assert_eq!(alarms.len(), 1, "no other mode is blamed: {alarms:#?}");
    let reasons = outer[0]["contributions"].as_array().unwrap();
    assert_eq!(reasons[0]["name"], "outer_race", "{reasons:#?}");
    let tickets = || service.get("api/v1/tickets?limit=100")["items"].clone();
    wait_for("the ticket", || {
        tickets().as_array().is_some_and(|t| !t.is_empty())
    });
    let tickets = tickets();
    assert_eq!(tickets.as_array().unwrap().len(), 1, "{tickets:#}");
    assert_eq!(tickets[0]["mode"], "outer-race", "{tickets:#}");
    assert!(service.stop());

    let (ok, out, err) = run(forecare()
        .args(["dead-letters", "--limit", "40", "--home"])
        .arg(home)
        .env("FORECARE_CATALOGUE", home.with_extension("toml")));
    assert!(ok, "{err}");
    for hint in [
        "waveform `unknown` is unknown to class motor",
        "is in `mm/s`, which does not convert to the catalogue's `g`",
        "has a `rate_hz` of 0",
        "has 1 samples, fewer than 64",
        "has 16385 samples, more than 16384",
        "not base64",
        "a sample [0] that is an array",
        "is a number, not an object",
    ] {
        assert!(out.contains(hint), "{hint} is missing:\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_outer_race_is_named_from_waveforms() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let service = serve(&home, &["--mqtt-listen", "127.0.0.1:0"]);
    let n_readings = publish(service.mqtt_port()).await;
    assert_foreseen(service, &home, n_readings);
}

#[tokio::test(flavor = "multi_thread")]
async fn waveforms_pass_an_external_broker_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let port = free_port();
    let _broker = Mosquitto::start(dir.path(), port);
    let url = format!("mqtt://127.0.0.1:{port}");
    let service = serve(&home, &["--mqtt", &url]);
    wait_for("the subscription", || {
        service.metric("forecare_ingest_connected") >= 1.0
    });
    let n_readings = publish(port).await;
    assert_foreseen(service, &home, n_readings);
}
