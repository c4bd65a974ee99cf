//! What holds of the state whatever is fed.

mod world;

use forecare_detect::{ClassDetector, DetectError, DetectSettings, DeviceDetector};
use forecare_domain::{ModeName, Timestamp};
use proptest::prelude::*;
use world::{Noise, Source, class, detector};

/// Largest state of a device of 8 metrics, bytes in memory and in JSON.
const BYTES_MAX: usize = 16 * 1_024;

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        3 => (-5.0..5.0).prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![
            Just(0.0), Just(-0.0), Just(1e308), Just(-1e308), Just(f64::MAX), Just(f64::MIN_POSITIVE),
            Just(5e-324), Just(1e-300)
        ].prop_map(Some),
        1 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Some),
    ]
}

fn rows() -> impl Strategy<Value = Vec<(i64, Vec<Option<f64>>)>> {
    let wait = prop_oneof![8 => 0..120_000_i64, 1 => 0..10_000_000_000_i64];
    prop::collection::vec((wait, prop::collection::vec(value(), 8)), 1..300)
}

/// A noisy device that has warmed up, so that the charts take part.
fn warmed(class: &ClassDetector, seed: u64) -> (DeviceDetector, i64) {
    let mut device = DeviceDetector::new(class);
    let mut source = Source::new(seed, Noise::White);
    let mut ms = 1_767_225_600_000;
    for _ in 0..1_600 {
        device.step(class, Timestamp::from_millis(ms), &source.row().map(Some));
        ms += 60_000;
    }
    (device, ms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_finite_input_gives_finite_results_in_range(rows in rows(), warm in any::<bool>()) {
        let class = detector(&class());
        let (mut device, mut ms) = if warm {
            warmed(&class, 5)
        } else {
            (DeviceDetector::new(&class), 0)
        };
        for (wait, values) in rows {
            ms += wait;
            let scored = device.step(&class, Timestamp::from_millis(ms), &values);
            prop_assert!((0.0..=1.0).contains(&scored.anomaly), "{}", scored.anomaly);
            prop_assert!((0.0..=100.0).contains(&scored.health), "{}", scored.health);
            for e in &scored.evidence {
                prop_assert!((0.0..=1.0).contains(&e.strength));
                let sum: f64 = e.contributions.iter().map(|c| c.share).sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{e:?}");
                for c in &e.contributions {
                    prop_assert!(c.expected.is_finite() && c.seen.is_finite(), "{e:?}");
                }
            }
            // NaN never equals itself: a state with one anywhere would differ from its copy.
            prop_assert!(device == device.clone());
        }
        prop_assert!(device.bytes() <= BYTES_MAX, "{}", device.bytes());
    }

    #[test]
    fn a_json_round_trip_at_any_row_changes_nothing(rows in rows(), at in 0..300_usize) {
        let class = detector(&class());
        let (mut straight, start) = warmed(&class, 6);
        let mut again = straight.clone();
        let mut ms = start;
        for (i, (wait, values)) in rows.iter().enumerate() {
            ms += wait;
            let ts = Timestamp::from_millis(ms);
            if i == at % rows.len() {
                let json = serde_json::to_string(&again).unwrap();
                prop_assert!(json.len() <= BYTES_MAX, "{}", json.len());
                again = serde_json::from_str(&json).unwrap();
            }
            let (a, b) = (straight.step(&class, ts, values), again.step(&class, ts, values));
            prop_assert_eq!(a, b);
            prop_assert!(straight == again);
        }
    }
}

#[test]
fn the_same_rows_give_the_same_bits() {
    let class = detector(&class());
    let json = |(device, _)| serde_json::to_string::<DeviceDetector>(&device).unwrap();
    assert_eq!(json(warmed(&class, 7)), json(warmed(&class, 7)));
    assert_ne!(json(warmed(&class, 7)), json(warmed(&class, 8)));
}

#[test]
fn a_corrupt_state_is_refused_not_believed() {
    let class = detector(&class());
    let json = serde_json::to_string(&warmed(&class, 9).0).unwrap();
    let cut = format!("{}\"", &json[..json.len() / 2]);
    for bad in ["\"\"", "\"AAAA\"", "\"*\"", "7", "\"/////w\"", cut.as_str()] {
        assert!(
            serde_json::from_str::<DeviceDetector>(bad).is_err(),
            "{bad:.20}"
        );
    }
}

#[test]
fn a_state_of_another_shape_starts_afresh() {
    let full = class();
    let mut fewer = full.clone();
    fewer.metrics.truncate(4);
    fewer.modes.truncate(1);
    let (full, fewer) = (detector(&full), detector(&fewer));
    let (mut device, ms) = warmed(&full, 10);
    device.step(&fewer, Timestamp::from_millis(ms), &[Some(1.0); 4]);
    let mut fresh = DeviceDetector::new(&fewer);
    fresh.step(&fewer, Timestamp::from_millis(ms), &[Some(1.0); 4]);
    assert!(device == fresh);
}

#[test]
fn a_repair_of_a_mode_the_class_does_not_have_changes_nothing() {
    let class = detector(&class());
    let (mut device, _) = warmed(&class, 11);
    let before = device.clone();
    device.reset_after_repair(&class, &[ModeName::new("no-such-mode").unwrap()]);
    assert!(device == before);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for (settings, name) in [
        (
            DetectSettings {
                false_alarms_per_device_month: 0.0,
                ..DetectSettings::default()
            },
            "false_alarms_per_device_month",
        ),
        (
            DetectSettings {
                drift_after_hours: f64::NAN,
                ..DetectSettings::default()
            },
            "drift_after_hours",
        ),
    ] {
        let error = ClassDetector::new(&class(), &settings).unwrap_err();
        assert!(matches!(error, DetectError::Setting { .. }));
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_class_of_very_many_metrics_still_works() {
    let mut wide = class();
    let spec = wide.metrics[7].clone();
    wide.metrics.extend((0..200).map(|_| spec.clone()));
    let class = detector(&wide);
    let mut device = DeviceDetector::new(&class);
    let mut source = Source::new(12, Noise::White);
    for i in 0..400 {
        let mut values: Vec<Option<f64>> = source.row().map(Some).to_vec();
        values.extend((0..200).map(|_| Some(source.normal())));
        let scored = device.step(&class, Timestamp::from_millis(i * 60_000), &values);
        assert!(scored.evidence.is_empty(), "{:?}", scored.evidence);
    }
}
