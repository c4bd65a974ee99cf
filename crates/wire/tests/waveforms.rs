//! Waveforms beside values: what is read, and what is refused for which reason.
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod harness;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use forecare_domain::RejectReason as R;
use forecare_wire::{Inbound, Limits, Sample, decode};
use harness::*;

/// `n` samples as JSON numbers.
fn numbers(n: usize) -> String {
    let numbers: Vec<String> = (0..n).map(|i| format!("{}", i as f64 / 8.0)).collect();
    format!("[{}]", numbers.join(","))
}

/// A message with the waveform `vib` of these fields.
fn message(fields: &str) -> String {
    format!(r#"{{"values":{{"speed":1480}},"waveforms":{{"vib":{{{fields}}}}}}}"#)
}

fn samples_of(payload: &str) -> Vec<Sample<'static>> {
    let decoded = decode(
        &envelope(TELEMETRY, payload.as_bytes()),
        NOW,
        &Limits::default(),
    );
    assert_eq!(decoded.rejections, [], "{payload}");
    let Some(Inbound::Telemetry(telemetry)) = decoded.message else {
        panic!("no telemetry: {payload}");
    };
    // The payload ends with this function.
    let own = |s: Sample<'_>| Sample {
        ts: s.ts,
        values: s
            .values
            .into_iter()
            .map(|(n, v)| (n.into_owned().into(), v))
            .collect(),
        waveforms: s
            .waveforms
            .into_iter()
            .map(|w| forecare_wire::Waveform {
                name: w.name.into_owned().into(),
                unit: w.unit.map(|u| u.into_owned().into()),
                rate_hz: w.rate_hz,
                samples: w.samples,
            })
            .collect(),
    };
    telemetry.samples.into_iter().map(own).collect()
}

/// The message has its speed, and the waveform is refused; returns the detail.
fn refused(fields: &str, reason: R) -> String {
    let payload = message(fields);
    let decoded = decoded(TELEMETRY, payload.as_bytes());
    let start = &payload[..payload.len().min(120)];
    assert_eq!(
        render(&decoded),
        format!("@0 speed=1480 !{}", reason.label()),
        "{start}"
    );
    let Some(Inbound::Telemetry(telemetry)) = &decoded.message else {
        panic!("no telemetry: {start}");
    };
    assert_eq!(telemetry.samples[0].waveforms, []);
    let detail = decoded.rejections[0].detail.clone();
    assert!(
        detail.starts_with("waveform `vib` ") && detail.len() < 600,
        "{detail}"
    );
    assert!(!detail.contains(['<', '>', '&', '"', '\'']), "{detail}");
    detail
}

#[test]
fn a_waveform_of_numbers_stands_beside_values() {
    let payload = format!(
        r#"{{"ts":1767225599000,"values":{{"speed":1480}},"waveforms":{{"vib_h":{{"rate_hz":25600,"unit":"g","samples":{}}}}},"seq":3}}"#,
        numbers(64)
    );
    let [sample] = &samples_of(&payload)[..] else {
        panic!("one sample");
    };
    assert_eq!(sample.values, [("speed".into(), 1480.0)]);
    let waveform = &sample.waveforms[0];
    assert_eq!(waveform.name, "vib_h");
    assert_eq!(waveform.rate_hz, 25_600.0);
    assert_eq!(waveform.unit.as_deref(), Some("g"));
    assert_eq!(waveform.samples.len(), 64);
    assert_eq!(waveform.samples[63], 63.0 / 8.0);
}

#[test]
fn waveforms_need_no_values_and_stand_in_arrays_and_beside_bare_values() {
    let vib = format!(r#"{{"vib":{{"rate_hz":1e4,"samples":{}}}}}"#, numbers(64));
    for (payload, n_values) in [
        (format!(r#"{{"waveforms":{vib}}}"#), 0),
        (format!(r#"[{{"ts":1767225599000,"waveforms":{vib}}}]"#), 0),
        (format!(r#"{{"waveforms":{vib},"speed":1480}}"#), 1),
    ] {
        let samples = samples_of(&payload);
        assert_eq!(samples[0].values.len(), n_values, "{payload}");
        assert_eq!(samples[0].waveforms[0].unit, None);
    }
}

#[test]
fn base64_holds_the_same_samples_with_and_without_padding() {
    let floats: Vec<u8> = (0..65_i16)
        .flat_map(|i| (f32::from(i) / 8.0).to_le_bytes())
        .collect();
    let counts: Vec<u8> = (0..65_i16).flat_map(|i| (i - 30).to_le_bytes()).collect();
    let expected: Vec<f64> = (0..65).map(|i| f64::from(i) / 8.0).collect();
    let shifted: Vec<f64> = expected.iter().map(|x| x - 30.0 / 8.0).collect();
    for engine in [BASE64_STANDARD, BASE64_STANDARD_NO_PAD] {
        for (fields, bytes, expected) in [
            (r#""encoding":"f32""#, &floats, &expected),
            (r#""encoding":"i16","scale":0.125"#, &counts, &shifted),
        ] {
            let text = engine.encode(bytes);
            let payload = message(&format!(r#""samples":"{text}",{fields},"rate_hz":100"#));
            assert_eq!(&samples_of(&payload)[0].waveforms[0].samples, expected);
        }
    }
}

#[test]
fn a_waveform_without_a_usable_rate_encoding_or_length_is_refused_by_name() {
    let good = numbers(64);
    for (fields, hint) in [
        (format!(r#""samples":{good}"#), "has no `rate_hz`"),
        (
            format!(r#""rate_hz":0,"samples":{good}"#),
            "a `rate_hz` of 0, not above 0",
        ),
        (
            format!(r#""rate_hz":-5,"samples":{good}"#),
            "a `rate_hz` of -5",
        ),
        (
            format!(r#""rate_hz":1e300,"samples":{good}"#),
            "at most 100000000",
        ),
        (
            format!(r#""rate_hz":NaN,"samples":{good}"#),
            "`rate_hz` that is not a number",
        ),
        (
            format!(r#""rate_hz":null,"samples":{good}"#),
            "`rate_hz` that is not a number",
        ),
        (r#""rate_hz":100"#.to_owned(), "has no `samples`"),
        (
            r#""rate_hz":100,"samples":[]"#.to_owned(),
            "has 0 samples, fewer than 64",
        ),
        (
            r#""rate_hz":100,"samples":[1]"#.to_owned(),
            "has 1 samples, fewer than 64",
        ),
        (
            format!(r#""rate_hz":100,"samples":{}"#, numbers(63)),
            "has 63 samples",
        ),
        (
            r#""rate_hz":100,"samples":{"a":1}"#.to_owned(),
            "`samples` that are an object",
        ),
        (
            r#""rate_hz":100,"samples":5"#.to_owned(),
            "`samples` that are a number",
        ),
        (
            r#""rate_hz":100,"samples":"AAAA""#.to_owned(),
            "as text, and no `encoding`",
        ),
        (
            format!(r#""rate_hz":100,"encoding":"f32","samples":{good}"#),
            "have no `encoding`",
        ),
        (
            r#""rate_hz":100,"encoding":"f64","samples":"AAAA""#.to_owned(),
            "the encoding `f64`",
        ),
        (
            r#""rate_hz":100,"encoding":4,"samples":"AAAA""#.to_owned(),
            "`encoding` that is a number",
        ),
        (
            r#""rate_hz":100,"encoding":"i16","samples":"A<b>""#.to_owned(),
            "not base64",
        ),
        (
            r#""rate_hz":100,"encoding":"i16","samples":"AAA=AAAA""#.to_owned(),
            "not base64",
        ),
        (
            r#""rate_hz":100,"encoding":"i16","samples":"""#.to_owned(),
            "has 0 samples",
        ),
        (
            r#""rate_hz":100,"encoding":"f32","samples":"AAAAAAA=""#.to_owned(),
            "5 bytes of samples of 4 bytes",
        ),
        (
            format!(r#""rate_hz":100,"scale":0,"samples":{good}"#),
            "`scale` that is not a number other than 0",
        ),
        (
            format!(r#""rate_hz":100,"scale":"2","samples":{good}"#),
            "`scale` that is not a number",
        ),
        (
            format!(r#""rate_hz":100,"unit":9,"samples":{good}"#),
            "`unit` that is a number",
        ),
        (
            format!(r#""rate_hz":100,"unit":"<script>","samples":{good}"#),
            "the `unit` `",
        ),
        (
            format!(r#""rate_hz":100,"scal":2,"samples":{good}"#),
            "a field `scal`, none of",
        ),
    ] {
        let detail = refused(&fields, R::InvalidWaveform);
        assert!(detail.contains(hint), "{hint}: {detail}");
    }
}

#[test]
fn samples_that_are_no_finite_numbers_refuse_their_waveform_with_the_place() {
    let with = |sample: &str| {
        let mut samples = vec!["0.5"; 64];
        samples[7] = sample;
        format!(r#""rate_hz":100,"samples":[{}]"#, samples.join(","))
    };
    for (sample, reason) in [
        ("NaN", R::NotFinite),
        ("-Infinity", R::NotFinite),
        ("1e400", R::NotFinite),
        ("null", R::NotANumber),
        ("true", R::NotANumber),
        ("\"0.5\"", R::NotANumber),
        ("[0.5]", R::NotANumber),
        ("{\"x\":1}", R::NotANumber),
    ] {
        let detail = refused(&with(sample), reason);
        assert!(
            detail.contains("a sample [7] that is"),
            "{sample}: {detail}"
        );
    }
    // Scaled beyond what a double holds, and as the bits of a float.
    let large = format!(
        r#""rate_hz":100,"scale":1e308,"samples":[{}]"#,
        ["10"; 64].join(",")
    );
    refused(&large, R::NotFinite);
    let nan = BASE64_STANDARD.encode(f32::NAN.to_le_bytes().repeat(64));
    let fields = format!(r#""rate_hz":100,"encoding":"f32","samples":"{nan}""#);
    assert!(refused(&fields, R::NotFinite).contains("a sample [0] that is NaN"));
}

#[test]
fn the_limits_of_samples_waveforms_and_fields_are_exact() {
    let max = Limits::default().waveform_samples_max;
    let ones = |n: usize| format!(r#""rate_hz":100,"samples":[{}]"#, vec!["1"; n].join(","));
    assert_eq!(
        samples_of(&message(&ones(max)))[0].waveforms[0]
            .samples
            .len(),
        max
    );
    assert!(refused(&ones(max + 1), R::TooMany).contains("has 16385 samples, more than 16384"));
    assert!(refused(&ones(100_000), R::TooMany).contains("has 100000 samples"));
    let encoded = |n: usize| {
        let text = BASE64_STANDARD.encode(vec![0; 2 * n]);
        format!(r#""rate_hz":100,"encoding":"i16","samples":"{text}""#)
    };
    assert_eq!(
        samples_of(&message(&encoded(max)))[0].waveforms[0]
            .samples
            .len(),
        max
    );
    for n in [max + 1, max + 2, max + 3, 90_000] {
        refused(&encoded(n), R::TooMany);
    }
    let many = |n: usize| {
        let vib = |i: usize| format!(r#""v{i}":{{{}}}"#, ones(64));
        format!(
            r#"{{"waveforms":{{{}}}}}"#,
            (0..n).map(vib).collect::<Vec<_>>().join(",")
        )
    };
    assert_eq!(samples_of(&many(16))[0].waveforms.len(), 16);
    check(TELEMETRY, &many(17), "!too_many");
    let fields: Vec<String> = (0..9).map(|i| format!(r#""f{i}":1"#)).collect();
    check(TELEMETRY, &message(&fields.join(",")), "!too_many");
}

#[test]
fn what_is_no_object_of_waveforms_is_refused_and_the_values_stay() {
    for waveforms in ["3", "null", "[]", "\"AAAA\"", "[{\"vib\":{}}]"] {
        let payload = format!(r#"{{"values":{{"speed":1}},"waveforms":{waveforms}}}"#);
        check(TELEMETRY, &payload, "@0 speed=1 !unknown_shape");
    }
    for vib in ["3", "null", "[1,2]", "\"AAAA\""] {
        let payload = format!(r#"{{"values":{{"speed":1}},"waveforms":{{"vib":{vib}}}}}"#);
        check(TELEMETRY, &payload, "@0 speed=1 !unknown_shape");
    }
    check(TELEMETRY, r#"{"waveforms":{}}"#, "!unknown_shape");
    let deep = format!(
        r#"{{"waveforms":{{"vib":{{"samples":{}1{}}}}}}}"#,
        "[".repeat(9_999),
        "]".repeat(9_999)
    );
    check(TELEMETRY, &deep, "!too_deep");
    let bad_name = message("").replace("\"vib\"", "\"a b\"");
    check(TELEMETRY, &bad_name, "@0 speed=1480 !invalid_name");
}

#[test]
fn a_name_twice_is_refused() {
    let vib = format!(r#"{{"rate_hz":100,"samples":{}}}"#, numbers(64));
    for payload in [
        format!(r#"{{"waveforms":{{"vib":{vib},"vib":{vib}}}}}"#),
        format!(r#"{{"waveforms":{{"vib":{vib}}},"waveforms":{{"vib":{vib}}}}}"#),
    ] {
        check(TELEMETRY, &payload, "!duplicate_key");
    }
    let fields = format!(r#""rate_hz":100,"rate_hz":200,"samples":{}"#, numbers(64));
    assert!(refused(&fields, R::DuplicateKey).contains("`rate_hz` is there more than once"));
    let twice = format!(r#""rate_hz":100,"samples":{0},"samples":{0}"#, numbers(64));
    refused(&twice, R::DuplicateKey);
}

#[test]
fn the_good_waveform_beside_a_bad_one_is_kept() {
    let payload = format!(
        r#"{{"waveforms":{{"bad":{{"rate_hz":100,"samples":[NaN]}},"good":{{"rate_hz":100,"unit":"m/s²","samples":{}}}}}}}"#,
        numbers(64)
    );
    let decoded = decoded(TELEMETRY, payload.as_bytes());
    assert_eq!(reasons(&decoded), [R::NotFinite]);
    let Some(Inbound::Telemetry(telemetry)) = &decoded.message else {
        panic!("no telemetry");
    };
    let waveforms = &telemetry.samples[0].waveforms;
    assert_eq!(waveforms.len(), 1);
    assert_eq!(
        (&*waveforms[0].name, waveforms[0].unit.as_deref()),
        ("good", Some("m/s²"))
    );
}
