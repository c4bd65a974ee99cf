//! Signals that are known, and a class that looks at them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part"
)]

use std::f64::consts::TAU;

use forecare_catalogue::{AssetClass, Catalogue, WaveformSpec};
use forecare_signal::{Extractor, Features};

pub const RATE_HZ: f64 = 25_600.0;
pub const SHAFT_HZ: f64 = 29.7;
/// Ball pass frequency of the outer race, per revolution, of the bearing in [`class`].
pub const BPFO: f64 = 4.5 * (1.0 - 7.94 / 39.04);
/// The same of the inner race.
pub const BPFI: f64 = 4.5 * (1.0 + 7.94 / 39.04);

/// Names and lines of the features that are looked at.
pub const FEATURES: [(&str, &str); 19] = [
    ("rms", r#"kind = "rms""#),
    ("peak", r#"kind = "peak""#),
    ("p2p", r#"kind = "peak_to_peak""#),
    ("crest", r#"kind = "crest_factor""#),
    ("kurt", r#"kind = "kurtosis""#),
    ("skew", r#"kind = "skewness""#),
    (
        "rms_1_3k",
        r#"kind = "band_rms", from_hz = 1000, to_hz = 3000"#,
    ),
    ("e0_1k", r#"kind = "band_share", from_hz = 0, to_hz = 1000"#),
    (
        "e1_3k",
        r#"kind = "band_share", from_hz = 1000, to_hz = 3000"#,
    ),
    (
        "e3_12k",
        r#"kind = "band_share", from_hz = 3000, to_hz = 12800"#,
    ),
    ("centroid", r#"kind = "spectral_centroid""#),
    ("velocity", r#"kind = "velocity_rms", from_hz = 20"#),
    ("one_x", r#"kind = "order_amplitude", order = 1"#),
    ("two_x", r#"kind = "order_amplitude", order = 2"#),
    ("bpfo", r#"kind = "envelope_amplitude", fault = "bpfo""#),
    ("bpfi", r#"kind = "envelope_amplitude", fault = "bpfi""#),
    (
        "bpfo_first",
        r#"kind = "envelope_amplitude", fault = "bpfo", harmonics = 1"#,
    ),
    (
        "bpfo_over",
        r#"kind = "envelope_prominence", fault = "bpfo", harmonics = 1"#,
    ),
    (
        "bpfi_over",
        r#"kind = "envelope_prominence", fault = "bpfi", harmonics = 1"#,
    ),
];

/// A class whose waveform `vib` in g gives all of [`FEATURES`]; `speed` says how its shaft turns.
pub fn class(speed: &str) -> AssetClass {
    let metrics: String = FEATURES
        .iter()
        .map(|(name, _)| format!("[[class.metric]]\nname = \"{name}\"\nunit = \"\"\n"))
        .collect();
    let features: String = FEATURES
        .iter()
        .map(|(name, line)| format!("{{ metric = \"{name}\", {line} }},\n"))
        .collect();
    let text = format!(
        r#"
        [[class]]
        name = "motor"
        title = "Motor"
        horizon_hours = 72
        sample_interval_s = 600
        {metrics}
        [[class.metric]]
        name = "speed"
        unit = "Hz"
        operating_point = true
        [[class.waveform]]
        name = "vib"
        unit = "g"
        {speed}
        bearing = {{ balls = 9, ball_diameter_mm = 7.94, pitch_diameter_mm = 39.04 }}
        envelope_band_hz = [2000, 6000]
        features = [{features}]
        [[depot]]
        name = "main"
        title = "Main depot"
        "#
    );
    Catalogue::parse(&text).unwrap().classes.remove(0)
}

pub fn spec() -> WaveformSpec {
    class("rpm = 1782").waveforms.remove(0)
}

/// All features of a waveform; panics where one is missing.
pub fn features(samples: &[f64]) -> impl Fn(&str) -> f64 + use<> {
    let features = Extractor::new().features(&spec(), samples, RATE_HZ, None);
    assert_eq!(features.missing, []);
    move |name| value(&features, name).unwrap()
}

pub fn value(features: &Features, name: &str) -> Option<f64> {
    let metric = FEATURES.iter().position(|(n, _)| *n == name).unwrap();
    let found = features.values.iter().find(|(m, _)| *m == metric);
    found.map(|(_, value)| *value)
}

/// `n` samples of a function of time in seconds.
pub fn sampled(n: usize, f: impl FnMut(f64) -> f64) -> Vec<f64> {
    (0..n).map(|i| i as f64 / RATE_HZ).map(f).collect()
}

pub fn sine(amplitude: f64, hz: f64, t: f64) -> f64 {
    amplitude * (TAU * hz * t).sin()
}

/// Uniform in -0.5..0.5, as in `reference.py`.
pub fn noise() -> impl FnMut() -> f64 {
    let mut state = 1_u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / 9_007_199_254_740_992.0 - 0.5
    }
}

/// About Gaussian, of unit variance: twelve uniforms.
pub fn gaussian() -> impl FnMut() -> f64 {
    let mut uniform = noise();
    move || (0..12).map(|_| uniform()).sum()
}

/// Impacts every 1/`hz` seconds, each ringing at 4 kHz.
pub fn impacts(amplitude: f64, hz: f64, t: f64) -> f64 {
    let since = t % (1.0 / hz);
    amplitude * (-800.0 * since).exp() * (TAU * 4_000.0 * since).sin()
}
