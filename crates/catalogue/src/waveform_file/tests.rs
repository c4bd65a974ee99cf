use crate::waveform::{BearingFault, FeatureKind, ShaftSpeed};
use crate::{AssetClass, Catalogue};

const CLASS: &str = r#"
    [[class]]
    name = "motor"
    title = "Motor"
    horizon_hours = 72
    sample_interval_s = 600
    [[class.metric]]
    name = "speed"
    unit = "rpm"
    operating_point = true
    [[class.metric]]
    name = "rms"
    unit = "g"
    [[class.metric]]
    name = "velocity"
    unit = "mm/s"
    [[class.metric]]
    name = "e1_3k"
    unit = ""
    [[class.metric]]
    name = "one_x"
    unit = "g"
    [[class.metric]]
    name = "bpfo"
    unit = "g"
    [[class.waveform]]
    name = "vib"
    unit = "g"
    rpm_metric = "speed"
    bearing = { balls = 9, ball_diameter_mm = 7.94, pitch_diameter_mm = 39.04 }
    envelope_band_hz = [2000, 6000]
    features = [
      { metric = "rms", kind = "rms" },
      { metric = "velocity", kind = "velocity_rms" },
      { metric = "e1_3k", kind = "band_share", from_hz = 1000, to_hz = 3000 },
      { metric = "one_x", kind = "order_amplitude", order = 1 },
      { metric = "bpfo", kind = "envelope_amplitude", fault = "bpfo" },
    ]
    [[depot]]
    name = "main"
    title = "Main depot"
"#;

fn class(text: &str) -> AssetClass {
    Catalogue::parse(text).unwrap().classes.remove(0)
}

#[test]
fn a_waveform_names_its_features_metric_by_metric() {
    let class = class(CLASS);
    let waveform = &class.waveforms[0];
    assert_eq!(class.waveform("vib"), Some(waveform));
    assert_eq!(class.waveform("other"), None);
    let speed = ShaftSpeed::Metric {
        metric: 0,
        rpm_per_unit: 1.0,
    };
    assert_eq!(waveform.speed, Some(speed));
    let metrics: Vec<usize> = waveform.features.iter().map(|f| f.metric).collect();
    assert_eq!(metrics, [1, 2, 3, 4, 5]);
    let FeatureKind::VelocityRms(band) = waveform.features[1].kind else {
        panic!("{:?}", waveform.features[1]);
    };
    assert_eq!((band.from_hz, band.to_hz), (10.0, 1_000.0));
    let envelope = FeatureKind::EnvelopeAmplitude {
        fault: BearingFault::OuterRace,
        harmonics: 3,
    };
    assert_eq!(waveform.features[4].kind, envelope);
}

#[test]
fn a_speed_in_hertz_counts_sixty_times() {
    let text = CLASS.replace("unit = \"rpm\"", "unit = \"Hz\"");
    let speed = ShaftSpeed::Metric {
        metric: 0,
        rpm_per_unit: 60.0,
    };
    assert_eq!(class(&text).waveforms[0].speed, Some(speed));
}

#[test]
fn what_cannot_work_is_named_with_its_place() {
    for (from, to, expect) in [
        (
            "metric = \"rms\"",
            "metric = \"x\"",
            "waveform vib: feature x: the class has no [[class.metric]]",
        ),
        (
            "metric = \"rms\"",
            "metric = \"bpfo\"",
            "metric \"bpfo\" stands twice",
        ),
        (
            "metric = \"rms\"",
            "metric = \"speed\"",
            "cannot be computed from the waveform",
        ),
        (
            "rpm_metric = \"speed\"",
            "rpm_metric = \"x\"",
            "rpm_metric names unknown metric \"x\"",
        ),
        (
            "rpm_metric = \"speed\"",
            "rpm_metric = \"velocity\"",
            "has unit \"mm/s\", none of rpm",
        ),
        (
            "rpm_metric = \"speed\"",
            "rpm_metric = \"speed\"\nrpm = 3",
            "both given",
        ),
        ("rpm_metric = \"speed\"", "rpm = 0", "rpm must be above 0"),
        (
            "rpm_metric = \"speed\"",
            "",
            "order_amplitude needs rpm or rpm_metric",
        ),
        ("balls = 9", "balls = 2", "balls must be at least 3"),
        (
            "ball_diameter_mm = 7.94",
            "ball_diameter_mm = 79",
            "below pitch_diameter_mm",
        ),
        (
            "pitch_diameter_mm = 39.04",
            "pitch_diameter_mm = 39.04, contact_angle_deg = 90",
            "contact_angle_deg",
        ),
        (
            "envelope_band_hz = [2000, 6000]",
            "",
            "envelope_amplitude needs",
        ),
        ("[2000, 6000]", "[6000, 2000]", "not from 6000 to 2000"),
        (
            "kind = \"rms\"",
            "kind = \"loudness\"",
            "kind \"loudness\" is none of rms",
        ),
        (
            "kind = \"rms\"",
            "kind = \"rms\", order = 1",
            "rms has no order",
        ),
        ("kind = \"rms\"", "kind = \"rms\", nonsense = 1", "nonsense"),
        (", to_hz = 3000", "", "band_share needs from_hz and to_hz"),
        ("to_hz = 3000", "to_hz = nan", "not from 1000 to NaN"),
        ("order = 1", "order = -1", "needs order"),
        (
            "fault = \"bpfo\"",
            "fault = \"bpfx\"",
            "one of bpfo, bpfi, bsf, ftf",
        ),
        (
            "fault = \"bpfo\"",
            "fault = \"bpfo\", harmonics = 99",
            "harmonics must be 1 to 10",
        ),
        (
            "unit = \"g\"\n    rpm",
            "unit = \"A\"\n    rpm",
            "velocity_rms needs samples in g",
        ),
        (
            "velocity_rms\"",
            "velocity_rms\", from_hz = 0",
            "from_hz must be above 0",
        ),
    ] {
        let text = CLASS.replacen(from, to, 1);
        assert_ne!(text, CLASS, "{from}");
        let error = Catalogue::parse(&text).expect_err(to).to_string();
        assert!(error.contains(expect), "{to}: {error}");
    }
}

#[test]
fn the_documented_example_parses() {
    let text = include_str!("../../../../docs/waveforms.md");
    let toml = text
        .split("```toml")
        .nth(1)
        .and_then(|t| t.split("```").next());
    let class = class(toml.unwrap());
    assert_eq!(class.waveforms[0].features.len(), 4);
    assert_eq!(class.metrics.len(), 5);
}
