//! Microseconds per waveform on one core: `cargo bench -p forecare-signal`.

use std::hint::black_box;
use std::time::Instant;

use forecare_catalogue::{Catalogue, WaveformSpec};
use forecare_signal::Extractor;

const N_ROUNDS: usize = 501;

const COMMON: &[&str] = &[
    r#"kind = "rms""#,
    r#"kind = "peak""#,
    r#"kind = "peak_to_peak""#,
    r#"kind = "crest_factor""#,
    r#"kind = "kurtosis""#,
    r#"kind = "skewness""#,
];
const SPECTRAL: &[&str] = &[
    r#"kind = "band_share", from_hz = 0, to_hz = 1000"#,
    r#"kind = "band_share", from_hz = 1000, to_hz = 3000"#,
    r#"kind = "band_share", from_hz = 3000, to_hz = 6000"#,
    r#"kind = "band_share", from_hz = 6000, to_hz = 12000"#,
    r#"kind = "spectral_centroid""#,
    r#"kind = "velocity_rms", from_hz = 20"#,
    r#"kind = "order_amplitude", order = 1"#,
    r#"kind = "order_amplitude", order = 2"#,
];
const ENVELOPE: &[&str] = &[
    r#"kind = "envelope_amplitude", fault = "bpfo""#,
    r#"kind = "envelope_amplitude", fault = "bpfi""#,
    r#"kind = "envelope_prominence", fault = "bpfo""#,
    r#"kind = "envelope_prominence", fault = "bpfi""#,
];

fn main() {
    let levels: [(&str, &[&[&str]]); 3] = [
        ("in time", &[COMMON]),
        ("and spectra", &[COMMON, SPECTRAL]),
        ("and envelope", &[COMMON, SPECTRAL, ENVELOPE]),
    ];
    for n in [2_560_usize, 16_384, 16_381] {
        let samples: Vec<f64> = (0..n)
            .map(|i| (i as f64 * 0.37).sin() + 0.3 * (i as f64 * 1.13).cos())
            .collect();
        println!("{n} samples");
        for (name, groups) in levels {
            let lines: Vec<&str> = groups.iter().flat_map(|g| g.iter().copied()).collect();
            let spec = spec(&lines);
            let mut extractor = Extractor::new();
            measure(&format!("  {} features: {name}", lines.len()), || {
                black_box(extractor.features(&spec, black_box(&samples), 25_600.0, None));
            });
        }
        let spec = spec(SPECTRAL);
        measure("  the same spectra, no plan at hand", || {
            black_box(Extractor::new().features(&spec, black_box(&samples), 25_600.0, None));
        });
    }
}

/// A shaft of 9,000 rpm, so that 2,560 samples are long enough for all of it.
fn spec(lines: &[&str]) -> WaveformSpec {
    let mut metrics = String::new();
    let mut features = String::new();
    for (i, line) in lines.iter().enumerate() {
        metrics += &format!("[[class.metric]]\nname = \"m{i}\"\nunit = \"\"\n");
        features += &format!("{{ metric = \"m{i}\", {line} }},\n");
    }
    let text = format!(
        "[[class]]\nname = \"c\"\ntitle = \"\"\nhorizon_hours = 1\nsample_interval_s = 1\n{metrics}\
         [[class.waveform]]\nname = \"v\"\nunit = \"g\"\nrpm = 9000\nenvelope_band_hz = [2000, 6000]\n\
         bearing = {{ balls = 9, ball_diameter_mm = 7.94, pitch_diameter_mm = 39.04 }}\n\
         features = [{features}]\n[[depot]]\nname = \"d\"\ntitle = \"\"\n"
    );
    let catalogue = Catalogue::parse(&text).unwrap_or_else(|e| unreachable!("{e}"));
    catalogue.classes[0].waveforms[0].clone()
}

fn measure(name: &str, mut once: impl FnMut()) {
    let round = |_| {
        let start = Instant::now();
        once();
        start.elapsed().as_secs_f64() * 1e6
    };
    let mut rounds: Vec<f64> = (0..N_ROUNDS).map(round).collect();
    rounds.sort_by(f64::total_cmp);
    let (median, least) = (rounds[N_ROUNDS / 2], rounds[0]);
    println!("{name:42} median {median:6.0} us, least {least:6.0} us");
}
