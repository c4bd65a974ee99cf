//! What every feature must say of signals whose features are known.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use forecare_signal::{Extractor, Missing};

fn assert_near(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "{got}, not {expected}");
}

#[test]
fn a_sine_has_the_moments_of_a_sine() {
    // 40 whole periods of 62.5 Hz, on an offset.
    let feature = features(&sampled(16_384, |t| 7.0 + sine(2.0, 62.5, t)));
    assert_near(feature("rms"), 2_f64.sqrt(), 1e-12);
    assert_near(feature("peak"), 2.0, 1e-3);
    assert_near(feature("p2p"), 4.0, 1e-3);
    assert_near(feature("crest"), 2_f64.sqrt(), 1e-3);
    assert_near(feature("kurt"), 1.5, 1e-12);
    assert_near(feature("skew"), 0.0, 1e-12);
    assert_near(feature("centroid"), 62.5, 1e-9);
    assert_near(feature("e0_1k"), 1.0, 1e-12);
}

#[test]
fn velocity_of_a_sine_of_acceleration_is_amplitude_by_angular_frequency() {
    // ISO 20816 speaks of the rms of velocity in mm/s: 1 g at 159.15 Hz is 9.80665 mm/s zero to peak.
    let hz = 1_000.0 / std::f64::consts::TAU;
    let feature = features(&sampled(16_384, |t| sine(1.0, hz, t)));
    assert_near(feature("velocity"), 9.806_65 / 2_f64.sqrt(), 1e-3);
}

#[test]
fn two_sines_are_told_apart_wherever_they_lie_between_bins() {
    // Bins are 1.5625 Hz apart; 29.7 and 59.4 Hz lie on none.
    let feature = features(&sampled(16_384, |t| {
        sine(0.8, SHAFT_HZ, t) + sine(0.3, 2.0 * SHAFT_HZ, t) + sine(0.5, 2_000.4, t)
    }));
    assert_near(feature("one_x"), 0.8, 2e-3);
    assert_near(feature("two_x"), 0.3, 2e-3);
    assert_near(feature("rms_1_3k"), 0.5 / 2_f64.sqrt(), 2e-3);
}

#[test]
fn energies_of_bands_add_up_to_the_whole() {
    // Parseval, for lengths that are powers of two, round, odd, and prime.
    for n in [16_384, 2_560, 12_801, 12_809] {
        let mut gaussian = gaussian();
        let samples = sampled(n, |_| gaussian());
        let features = Extractor::new().features(&spec(), &samples, RATE_HZ, None);
        let of = |name| value(&features, name).unwrap();
        let shares = of("e0_1k") + of("e1_3k") + of("e3_12k");
        assert_near(shares, 1.0, 1e-12);
        assert_near(
            of("rms_1_3k").powi(2) / of("rms").powi(2),
            of("e1_3k"),
            1e-12,
        );
    }
}

#[test]
fn white_noise_has_kurtosis_three_and_a_flat_spectrum() {
    let mut gaussian = gaussian();
    let feature = features(&sampled(16_384, |_| gaussian()));
    assert_near(feature("rms"), 1.0, 0.02);
    // The sum of twelve uniforms lacks the outermost tails: 2.9.
    assert_near(feature("kurt"), 2.9, 0.1);
    assert_near(feature("e1_3k"), 2_000.0 / 12_800.0, 0.01);
    assert_near(feature("centroid"), 6_400.0, 100.0);
    assert_near(feature("bpfo_over"), 1.0, 0.35);
    assert_near(feature("bpfi_over"), 1.0, 0.35);
}

#[test]
fn impacts_at_a_race_show_in_the_envelope_at_its_frequency_and_not_at_the_other() {
    for (order, hit, other) in [
        (BPFO, "bpfo_over", "bpfi_over"),
        (BPFI, "bpfi_over", "bpfo_over"),
    ] {
        let mut gaussian = gaussian();
        // 1.5 % of slip, under noise and a shaft that is out of balance.
        let hz = 0.985 * order * SHAFT_HZ;
        let feature = features(&sampled(16_384, |t| {
            impacts(1.0, hz, t) + 0.2 * gaussian() + sine(3.0, SHAFT_HZ, t)
        }));
        assert!(feature(hit) > 8.0, "{hit} {}", feature(hit));
        assert!(feature(other) < 2.0, "{other} {}", feature(other));
    }
}

#[test]
fn the_envelope_of_a_modulated_tone_has_its_depth() {
    // 4 kHz of 1 g, modulated by 40 % at the fault's frequency: the envelope swings by 0.4 g.
    let fault_hz = BPFO * SHAFT_HZ;
    let feature = features(&sampled(16_384, |t| {
        (1.0 + sine(0.4, fault_hz, t)) * sine(1.0, 4_000.0, t)
    }));
    assert_near(feature("bpfo_first"), 0.4, 2e-3);
    assert_near(feature("bpfo"), 0.4, 2e-3);
}

#[test]
fn the_shaft_is_followed_where_its_speed_is_a_metric() {
    let spec = class("rpm_metric = \"speed\"").waveforms.remove(0);
    let mut extractor = Extractor::new();
    for shaft_hz in [15.0, 29.7, 48.2] {
        let samples = sampled(16_384, |t| {
            sine(1.0, shaft_hz, t) + (1.0 + sine(0.4, BPFO * shaft_hz, t)) * sine(1.0, 4_000.0, t)
        });
        for turn in [shaft_hz, -shaft_hz] {
            let features = extractor.features(&spec, &samples, RATE_HZ, Some(turn));
            assert_near(value(&features, "one_x").unwrap(), 1.0, 2e-3);
            assert_near(value(&features, "bpfo_first").unwrap(), 0.4, 2e-3);
        }
    }
}

#[test]
fn a_shaft_at_rest_or_too_slow_is_operation_and_an_unknown_speed_is_not() {
    let spec = class("rpm_metric = \"speed\"").waveforms.remove(0);
    let samples = sampled(16_384, |t| sine(1.0, 100.0, t));
    let missing = |speed| {
        let features = Extractor::new().features(&spec, &samples, RATE_HZ, speed);
        assert!(value(&features, "rms").is_some());
        assert_eq!(value(&features, "one_x"), None);
        features.missing
    };
    let at_rest = missing(Some(0.0));
    assert!(at_rest.iter().all(|(_, why)| *why == Missing::AtRest));
    assert!(missing(Some(0.5)).iter().all(|(_, why)| why.is_operation()));
    let unknown = missing(None);
    assert!(
        unknown
            .iter()
            .all(|(_, why)| *why == Missing::NoSpeed && !why.is_operation())
    );
    assert_eq!(unknown.len(), 7);
}

#[test]
fn what_the_waveform_cannot_hold_is_named() {
    // A tenth of a second at a tenth of the rate: bands reach beyond it, and three turns of the shaft are too few.
    let samples = [1.0, -1.0].repeat(128);
    let features = Extractor::new().features(&spec(), &samples, 2_560.0, None);
    let why = |name: &str| {
        let metric = FEATURES.iter().position(|(n, _)| *n == name).unwrap();
        let (_, why) = features.missing.iter().find(|(m, _)| *m == metric).unwrap();
        assert!(!why.is_operation());
        why.to_string()
    };
    assert_eq!(
        why("e1_3k"),
        "3000.0 Hz is beyond the 1280.0 Hz that the waveform holds"
    );
    assert_eq!(why("one_x"), "29.7 Hz needs a waveform of at least 0.168 s");
    assert_eq!(
        why("bpfo"),
        "6000.0 Hz is beyond the 1280.0 Hz that the waveform holds"
    );
}

#[test]
fn a_constant_waveform_has_no_shape_but_an_rms_of_nothing() {
    let samples = vec![0.1; 16_384];
    let features = Extractor::new().features(&spec(), &samples, RATE_HZ, None);
    for name in ["rms", "peak", "p2p", "rms_1_3k", "velocity", "bpfo"] {
        assert_eq!(value(&features, name), Some(0.0), "{name}");
    }
    for (_, why) in &features.missing {
        assert_eq!(*why, Missing::Constant);
    }
}

#[test]
fn samples_too_large_to_square_give_no_infinite_feature() {
    let samples = [1e300, -1e300].repeat(2_048);
    let features = Extractor::new().features(&spec(), &samples, RATE_HZ, None);
    assert!(features.values.iter().all(|(_, value)| value.is_finite()));
    assert!(
        features
            .missing
            .iter()
            .any(|(_, why)| *why == Missing::NotFinite)
    );
}

#[test]
fn the_same_waveform_gives_the_same_bits_whatever_came_between() {
    let mut gaussian = gaussian();
    let samples = sampled(2_560, |_| gaussian());
    let mut extractor = Extractor::new();
    let first = extractor.features(&spec(), &samples, RATE_HZ, None);
    for n in 64..128 {
        extractor.features(&spec(), &samples[..n], RATE_HZ, None);
    }
    assert_eq!(extractor.features(&spec(), &samples, RATE_HZ, None), first);
    assert_eq!(
        Extractor::new()
            .features(&spec(), &[], RATE_HZ, None)
            .values,
        []
    );
}
