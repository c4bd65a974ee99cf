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

use forecare_detect::{ClassDetector, DetectSettings, DeviceDetector, EpisodeSettings, Episodes};
use forecare_domain::{AlarmChange, DeviceId, Timestamp};
use world::{Noise, Run, Source, class, detector, plain_class};

fn main() {
    let months: usize = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(20);
    speed();
    novelty(months);
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
    let run = timed("row of 8 metrics", &rows);
    let mut source = Source::new(1, Noise::White);
    let loads = [60.0, 95.0, 30.0, 75.0];
    let rows: Vec<[f64; 8]> = (0..100_000)
        .map(|i| source.row_at(loads[i / 30 % 4], 20.0))
        .collect();
    timed("the same in four operating regimes", &rows);
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

/// Feeds the rows to a device and prints how long one takes.
fn timed(what: &str, rows: &[[f64; 8]]) -> Run {
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
        "{what}: median {} ns, p99 of blocks {} ns",
        nanos[nanos.len() / 2],
        nanos[nanos.len() * 99 / 100]
    );
    run
}

/// How often onset and anomaly of quiet noise pass 0.5 upwards, at five minutes and one metric: what a stream of
/// a public benchmark looks like.
fn novelty(months: usize) {
    for rate in [0.1, 1.0, 5.0] {
        for noise in [Noise::White, Noise::Ar(0.5), Noise::Ar(0.9), Noise::Heavy] {
            let settings = DetectSettings {
                false_alarms_per_device_month: rate,
                ..DetectSettings::default()
            };
            let mut one = plain_class();
            one.metrics.truncate(1);
            one.modes.clear();
            one.sample_interval_s = 300.0;
            let class = ClassDetector::new(&one, &settings).unwrap();
            let (mut n_onsets, mut n_anomalies) = (0_usize, 0_usize);
            for month in 0..months {
                let mut source = Source::new(month as u64 + 5_000, noise);
                let mut device = DeviceDetector::new(&class);
                let mut last = 0.0;
                for i in 0..8_640 {
                    let ts = Timestamp::from_millis(1_767_225_600_000 + i * 300_000);
                    let scored = device.step(&class, ts, &[Some(source.draw(0))]);
                    n_onsets += usize::from(scored.novelty >= 0.5);
                    n_anomalies += usize::from(scored.anomaly >= 0.5 && last < 0.5);
                    last = scored.anomaly;
                }
            }
            println!(
                "{noise:?}, one metric: {:.2} onsets, {:.2} times anomalous per device-month (setting {rate})",
                n_onsets as f64 / months as f64,
                n_anomalies as f64 / months as f64
            );
        }
    }
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
