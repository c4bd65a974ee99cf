//! Prints the figures of the README: time per row, size of a device's state, false alarms on noise.
//! `cargo run --release -p forecare-detect --example figures [device-months]`
#![allow(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    reason = "figures for people; a failure ends the run"
)]

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::Instant;

use forecare_detect::{ClassDetector, DetectSettings, EpisodeSettings, Episodes};
use forecare_domain::{AlarmChange, DeviceId};
use world::{Noise, Run, Source, class, detector, plain_class};

fn main() {
    let months: usize = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(20);
    speed();
    for rate in [0.1, 1.0] {
        for noise in [Noise::White, Noise::Ar(0.5), Noise::Ar(0.9), Noise::Heavy] {
            for (name, class) in [("load known", class()), ("no load", plain_class())] {
                let settings = DetectSettings {
                    false_alarms_per_device_month: rate,
                    ..DetectSettings::default()
                };
                let class = ClassDetector::new(&class, &settings).unwrap();
                let (n, why) = false_alarms(&class, noise, months);
                println!(
                    "{noise:?}, {name}: {:.2} false alarms per device-month (setting {rate}); {why}",
                    n as f64 / months as f64
                );
            }
        }
    }
}

fn speed() {
    let mut source = Source::new(1, Noise::White);
    let rows: Vec<[f64; 8]> = (0..100_000).map(|_| source.row()).collect();
    let mut run = Run::new(detector(&class()));
    let mut nanos: Vec<u128> = Vec::new();
    for row in rows.chunks(100) {
        let start = Instant::now();
        for row in row {
            std::hint::black_box(run.feed(row));
        }
        nanos.push(start.elapsed().as_nanos() / 100);
    }
    nanos.sort_unstable();
    println!(
        "row of 8 metrics: median {} ns, p99 of blocks {} ns",
        nanos[nanos.len() / 2],
        nanos[nanos.len() * 99 / 100]
    );
    let start = Instant::now();
    let mut bytes = 0;
    for _ in 0..1_000 {
        bytes = serde_json::to_string(&run.device).unwrap().len();
    }
    println!(
        "state: {} bytes in memory, {bytes} bytes as JSON, {} ns to write",
        run.device.bytes(),
        start.elapsed().as_nanos() / 1_000
    );
}

fn false_alarms(class: &ClassDetector, noise: Noise, months: usize) -> (usize, String) {
    let id = DeviceId::new("pump-1").unwrap();
    let settings = EpisodeSettings::default();
    let mut n = 0;
    let mut why: Vec<String> = Vec::new();
    for month in 0..months {
        let mut source = Source::new(month as u64 + 1_000, noise);
        let mut run = Run::new(class.clone());
        let mut episodes = Episodes::new();
        for _ in 0..43_200 {
            let ts = run.ts();
            let row = source.row();
            let scored = run.feed(&row);
            for change in episodes.update(&id, ts, &scored.evidence, &settings, false) {
                if let AlarmChange::Raised(alarm) = change {
                    n += 1;
                    why.push(alarm.contributions[0].reason.clone());
                }
            }
        }
    }
    why.sort();
    let mut counted: Vec<(String, usize)> = Vec::new();
    for reason in why {
        match counted.last_mut() {
            Some((last, n)) if *last == reason => *n += 1,
            _ => counted.push((reason, 1)),
        }
    }
    (n, format!("{counted:?}"))
}
