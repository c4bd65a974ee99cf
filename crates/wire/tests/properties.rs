//! What holds for any bytes and any telemetry.

mod harness;

use std::collections::BTreeMap;

use forecare_domain::{DeviceId, MetricName, Timestamp};
use forecare_wire::{Decoded, Envelope, Inbound, Limits, decode};
use harness::*;
use proptest::prelude::*;

/// Small limits, so that generated messages reach them.
fn limits() -> Limits {
    Limits {
        payload_bytes_max: 400,
        samples_max: 5,
        metrics_max: 6,
        waveforms_max: 2,
        waveform_samples_min: 2,
        waveform_samples_max: 3,
        kept_payload_bytes_max: 16,
        ..Limits::default()
    }
}

/// What must hold whatever came in.
fn assert_sound(decoded: &Decoded<'_>, limits: &Limits) {
    assert!(decoded.message.is_some() || !decoded.rejections.is_empty());
    let mut reasons = reasons(decoded);
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), decoded.rejections.len(), "a reason twice");
    for r in &decoded.rejections {
        for text in [&r.topic, &r.detail] {
            let hostile = |c: char| c.is_control() || (!c.is_ascii() && !c.is_alphanumeric());
            assert!(
                !text.contains(hostile) && !text.contains(['<', '>', '&', '"', '\'']),
                "{text:?}"
            );
            assert!(text.len() <= 2_500);
        }
        assert!(r.payload.len() <= limits.kept_payload_bytes_max);
        assert!(!r.detail.is_empty());
    }
    if let Some(Inbound::Telemetry(t)) = &decoded.message {
        assert!(!t.samples.is_empty() || t.seq.is_some());
        assert!(t.samples.len() <= limits.samples_max);
        for sample in &t.samples {
            assert!(!sample.values.is_empty() || !sample.waveforms.is_empty());
            assert!(sample.values.len() <= limits.metrics_max);
            assert!(sample.waveforms.len() <= limits.waveforms_max);
            for waveform in &sample.waveforms {
                assert!(
                    MetricName::new(&waveform.name).is_ok(),
                    "{:?}",
                    waveform.name
                );
                assert!(waveform.rate_hz > 0.0);
                let lengths = limits.waveform_samples_min..=limits.waveform_samples_max;
                assert!(lengths.contains(&waveform.samples.len()));
                assert!(waveform.samples.iter().all(|x| x.is_finite()));
            }
            assert!(sample.ts >= limits.earliest);
            let names: BTreeMap<_, _> = sample.values.iter().cloned().collect();
            assert_eq!(names.len(), sample.values.len(), "a name twice");
            for (name, value) in &sample.values {
                assert!(MetricName::new(name).is_ok(), "{name:?}");
                assert!(value.is_finite() && (*value != 0.0 || value.is_sign_positive()));
            }
        }
    }
}

fn topics() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(TELEMETRY.to_owned()),
        2 => Just("devices/pump-1/events".to_owned()),
        1 => Just("devices/pump-1/status".to_owned()),
        1 => Just("v1/devices/me/telemetry".to_owned()),
        1 => ".{0,20}",
        1 => "devices/.{0,10}/(telemetry|events|status)",
    ]
}

/// Text made of the pieces that telemetry is made of: mostly broken, often nearly right.
fn json_like() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"ts\"",
        "\"values\"",
        "\"seq\"",
        "\"device\"",
        "\"pump-1\"",
        "\"a\"",
        "\"b\"",
        "\"n\"",
        "\"bn\"",
        "\"v\"",
        "\"t\"",
        "\"bt\"",
        "\"code\"",
        "\"severity\"",
        "\"info\"",
        "1",
        "-0.0",
        "1e400",
        "NaN",
        "true",
        "null",
        "1767225600000",
        "\"\\u202e\"",
        "\"",
        "{\"a\":1}",
        "\"a\":1,",
        "\"values\":{\"a\":1}",
        "\"waveforms\"",
        "\"waveforms\":{\"a\":{\"rate_hz\":1,\"samples\":[1,2]}}",
        "\"rate_hz\":9,",
        "\"samples\":[1,2,3]",
        "\"samples\":\"AAAAAAAA\",\"encoding\":\"i16\",",
        "{\"n\":\"a\",\"v\":1}",
        "\u{feff}",
        "\0",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..24).prop_map(|p| p.concat())
}

/// Any JSON value that the dialects may be confused by, at most three levels deep.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let key = proptest::sample::select(vec![
        "ts",
        "values",
        "waveforms",
        "rate_hz",
        "samples",
        "encoding",
        "scale",
        "seq",
        "device",
        "a",
        "b",
        "c",
        "d",
        "n",
        "bn",
        "v",
        "t",
        "bt",
        "bv",
        "vb",
        "vs",
        "s",
        "code",
        "severity",
        "message",
        "component",
        "x y",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        (1_767_220_000_000_i64..1_767_225_600_000).prop_map(Into::into),
        proptest::sample::select(vec![
            "pump-1",
            "info",
            "4.2",
            "NaN",
            "2026-01-01T00:00:00Z",
            "a",
            ""
        ])
        .prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 40, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            proptest::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

fn samples() -> impl Strategy<Value = Vec<(i64, BTreeMap<String, f64>)>> {
    let values =
        proptest::collection::btree_map("[A-Za-zé0-9_.:-]{1,12}", proptest::num::f64::NORMAL, 1..6);
    proptest::collection::vec((946_684_800_000_i64..1_767_225_900_000, values), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_give_a_message_or_a_rejection(
        topic in topics(),
        payload in proptest::collection::vec(any::<u8>(), 0..450),
        content_type in proptest::option::of(Just("application/senml+json")),
        principal in proptest::option::of(".{0,10}"),
        received_at in any::<i64>(),
    ) {
        let envelope = Envelope {
            topic: &topic,
            payload: &payload,
            content_type,
            principal: principal.as_deref(),
            received_at: Timestamp::from_millis(received_at),
        };
        let decoded = decode(&envelope, NOW, &Limits::default());
        prop_assert!(decoded.message.is_some() || !decoded.rejections.is_empty());
    }

    #[test]
    fn nearly_json_gives_sound_results(topic in topics(), payload in json_like(), senml in any::<bool>()) {
        let mut envelope = envelope(&topic, payload.as_bytes());
        envelope.content_type = senml.then_some("application/senml+json");
        assert_sound(&decode(&envelope, NOW, &limits()), &limits());
    }

    #[test]
    fn any_json_gives_sound_results(topic in topics(), payload in json(), senml in any::<bool>()) {
        let payload = payload.to_string();
        let mut envelope = envelope(&topic, payload.as_bytes());
        envelope.content_type = senml.then_some("application/senml+json");
        assert_sound(&decode(&envelope, NOW, &limits()), &limits());
    }

    #[test]
    fn written_telemetry_is_read_back_bit_for_bit(samples in samples(), seq in any::<u64>()) {
        let mut elements: Vec<serde_json::Value> = samples
            .iter()
            .map(|(ts, values)| serde_json::json!({"ts": ts, "values": values}))
            .collect();
        elements[0]["seq"] = seq.into();
        let payload = serde_json::Value::from(elements).to_string();
        let decoded = decoded(TELEMETRY, payload.as_bytes());
        prop_assert!(decoded.rejections.is_empty(), "{:?}", decoded.rejections);
        let Some(Inbound::Telemetry(t)) = decoded.message else {
            return Err(TestCaseError::fail("no telemetry"));
        };
        prop_assert_eq!(t.device, DeviceId::new("pump-1").unwrap());
        prop_assert_eq!(t.seq, Some(seq));
        let read: Vec<(i64, BTreeMap<String, f64>)> = t
            .samples
            .into_iter()
            .map(|s| {
                let values = s.values.into_iter().map(|(n, v)| (n.into_owned(), v)).collect();
                (s.ts.as_millis(), values)
            })
            .collect();
        prop_assert_eq!(read, samples);
    }

    #[test]
    fn a_metric_name_is_taken_exactly_when_the_domain_takes_it(name in ".{0,4}|[A-Za-z0-9_.:-]{126,130}") {
        let key = serde_json::Value::from(name.as_str());
        let payload = format!("{{\"values\":{{{key}:1}}}}");
        let decoded = decoded(TELEMETRY, payload.as_bytes());
        prop_assert_eq!(decoded.message.is_some(), MetricName::new(&name).is_ok());
    }
}
