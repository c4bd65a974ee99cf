//! Nanoseconds per message on one core: `cargo bench -p forecare-wire`.

use std::hint::black_box;
use std::time::Instant;

use forecare_domain::Timestamp;
use forecare_wire::{Decoded, Envelope, Limits, decode};

/// Short rounds, so that on a busy machine some are undisturbed.
const N_MESSAGES: u32 = 500;
const N_ROUNDS: usize = 2_001;

const METRICS: &str = r#"{"vibration":4.213,"temperature":71.43,"pressure":6.021,"current":48.77,"speed":1481.5,"flow":103.2,"oil_temp":55.1,"load":0.83}"#;

fn main() {
    let payloads = [
        (
            "ts + values",
            format!(
                r#"{{"ts":1767225600000,"seq":812345678,"device":"pump-1","values":{METRICS}}}"#
            ),
        ),
        (
            "RFC 3339 + values",
            format!(r#"{{"ts":"2026-01-01T00:00:00.000Z","seq":1,"values":{METRICS}}}"#),
        ),
        ("bare", METRICS.to_owned()),
    ];
    for (name, payload) in payloads {
        println!("{name}, {} bytes", payload.len());
        measure("  decode", || decode_once(&payload));
        measure("  serde_json::Value", || {
            let value: serde_json::Value = serde_json::from_str(&payload).unwrap_or_default();
            assert!(black_box(value).is_object());
        });
    }
}

fn decode_once(payload: &str) {
    let now = Timestamp::from_millis(1_767_225_601_000);
    let envelope = Envelope {
        topic: "devices/pump-1/telemetry",
        payload: payload.as_bytes(),
        content_type: None,
        principal: None,
        received_at: now,
    };
    let decoded: Decoded<'_> = decode(black_box(&envelope), now, &Limits::default());
    assert!(black_box(decoded).rejections.is_empty());
}

fn measure(name: &str, once: impl Fn()) {
    let round = |_| {
        let start = Instant::now();
        (0..N_MESSAGES).for_each(|_| once());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(N_MESSAGES)
    };
    let mut rounds: Vec<f64> = (0..N_ROUNDS).map(round).collect();
    rounds.sort_by(f64::total_cmp);
    let (median, least) = (rounds[N_ROUNDS / 2], rounds[0]);
    println!("{name:20} median {median:5.0} ns, least {least:5.0} ns");
}
