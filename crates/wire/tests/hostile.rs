//! Hostile and broken input: the right reason, a bounded and harmless detail, and no panic.

mod harness;

use forecare_domain::{RejectReason as R, Timestamp};
use forecare_wire::{Limits, decode};
use harness::*;

/// Decodes, wants exactly one rejection and nothing else, and returns its detail.
fn refused(topic: &str, payload: &[u8], reason: R) -> String {
    let decoded = decoded(topic, payload);
    let start = String::from_utf8_lossy(&payload[..payload.len().min(80)]);
    assert_eq!(decoded.message, None, "{start}");
    assert_eq!(
        reasons(&decoded),
        [reason],
        "{start} {:?}",
        decoded.rejections
    );
    let rejection = &decoded.rejections[0];
    assert_harmless(&rejection.detail);
    assert_harmless(&rejection.topic);
    assert_eq!(rejection.received_at, NOW);
    assert_eq!(rejection.payload_bytes, payload.len() as u64);
    assert_eq!(rejection.payload, payload[..payload.len().min(1_024)]);
    rejection.detail.clone()
}

fn assert_harmless(text: &str) {
    let bad = text
        .chars()
        .find(|c| c.is_control() || "<>&\"'\u{202e}\u{feff}".contains(*c));
    assert_eq!(bad, None, "{text:?}");
    assert!(!text.starts_with(['=', '+', '-', '@']), "{text}");
    assert!(text.len() <= 2_500, "{}", text.len());
}

#[test]
fn broken_json_is_refused_with_its_place() {
    for (payload, hint) in [
        (r#"{"a":1"#, "ends too early"),
        (r#"{"ts":1767225599000,"values":{"a":1},"#, "ends too early"),
        (
            r#"{"a":1}{"b":2}"#,
            "trailing characters at line 1 column 8",
        ),
        (r#"{"a":1,}"#, "line 1 column 8"),
        (r#"{'a':1}"#, "line 1 column 2"),
        (r#"{"a":01}"#, "line 1"),
        (r#"{"a":NaN"#, "line 1 column 6"),
        (r#"{"a":0x10}"#, "line 1"),
        (r#"{"a":"\ud800"}"#, "line 1"),
        ("{\"a\":1}\0", "contains a NUL byte"),
        ("{\"a\n\":1}", "line 2"),
        ("\0", "contains a NUL byte"),
        ("\u{feff}", "ends too early"),
        ("\u{feff}\u{feff}{}", "line 1"),
        (" ", "ends too early"),
        ("hello", "line 1"),
    ] {
        let detail = refused(TELEMETRY, payload.as_bytes(), R::InvalidJson);
        assert!(detail.contains(hint), "{payload:?}: {detail}");
    }
}

#[test]
fn json_of_another_shape_is_refused() {
    for payload in [
        "1",
        "true",
        "null",
        "\"x\"",
        "[]",
        "{}",
        "[{}]",
        "[1]",
        "[[{\"a\":1}]]",
        "{\"values\":{}}",
        "{\"ts\":1767225599000}",
        "{\"values\":[1]}",
    ] {
        refused(TELEMETRY, payload.as_bytes(), R::UnknownShape);
    }
}

#[test]
fn duplicate_keys_are_refused_and_named() {
    let many: Vec<String> = (0..100).map(|i| format!("\"m{i}\":1")).collect();
    let many = format!("{{{},\"m55\":2}}", many.join(","));
    for payload in [
        r#"{"x":1,"x":1}"#,
        r#"{"x":1,"\u0078":2}"#,
        r#"{"x":1,"x":null}"#,
        r#"{"ts":1767225599000,"ts":1767225599000,"x":1}"#,
        r#"{"values":{"x":1},"values":{"y":1}}"#,
        r#"{"values":1,"values":{"y":1}}"#,
        r#"{"values":{"x":1,"x":2}}"#,
        r#"[{"y":1},{"x":1,"x":2}]"#,
        &many,
    ] {
        let detail = refused(TELEMETRY, payload.as_bytes(), R::DuplicateKey);
        assert!(detail.contains("more than once"), "{detail}");
    }
}

#[test]
fn depth_is_bounded_everywhere() {
    for (open, close) in [
        ("[", "]"),
        ("{\"a\":", "}"),
        ("[{\"values\":{\"a\":[", "]}}]"),
    ] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        refused(TELEMETRY, deep.as_bytes(), R::TooDeep);
        refused(TELEMETRY, open.repeat(10_000).as_bytes(), R::TooDeep);
        refused("devices/pump-1/events", deep.as_bytes(), R::TooDeep);
    }
    let beside = format!(
        "{{\"good\":1,\"bad\":{}{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    check(TELEMETRY, &beside, "@0 good=1 !not_a_number");
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    for payload in [
        &b"\xff\xfe{\0}\0"[..],
        b"{\"a\xc3\x28\":1}",
        b"\xed\xa0\x80",
        b"\x80",
    ] {
        refused(TELEMETRY, payload, R::InvalidUtf8);
    }
    refused(TELEMETRY, b"", R::EmptyPayload);
}

#[test]
fn the_payload_limit_is_exact() {
    let mut payload = b"{\"a\":1}".to_vec();
    payload.resize(Limits::default().payload_bytes_max, b' ');
    check(TELEMETRY, std::str::from_utf8(&payload).unwrap(), "@0 a=1");
    payload.push(b' ');
    let detail = refused(TELEMETRY, &payload, R::PayloadTooLarge);
    assert!(
        detail.contains("262145 bytes, more than 262144"),
        "{detail}"
    );
}

#[test]
fn the_limits_of_samples_and_metrics_are_exact() {
    let samples = |n: usize| format!("[{}]", vec!["{\"a\":1}"; n].join(","));
    let records = |n: usize| {
        let record = |i: usize| format!("{{\"n\":\"a\",\"t\":-{i},\"v\":1}}");
        format!("[{}]", (0..n).map(record).collect::<Vec<_>>().join(","))
    };
    let bare = |n: usize| {
        let metrics: Vec<String> = (0..n).map(|i| format!("\"m{i}\":1")).collect();
        format!("{{{}}}", metrics.join(","))
    };
    let wrapped = |n: usize| format!("{{\"ts\":1767225599000,\"values\":{}}}", bare(n));
    let together = |n: usize| {
        let record = |i: usize| format!("{{\"n\":\"m{i}\",\"v\":1}}");
        format!("[{}]", (0..n).map(record).collect::<Vec<_>>().join(","))
    };
    for (payload, max) in [
        (&together as &dyn Fn(usize) -> String, 256),
        (&samples, 1_000),
        (&records, 1_000),
        (&bare, 256),
        (&wrapped, 256),
    ] {
        assert!(
            decoded(TELEMETRY, payload(max).as_bytes())
                .rejections
                .is_empty()
        );
        for n in [max + 1, max + 5, 5 * max] {
            let detail = refused(TELEMETRY, payload(n).as_bytes(), R::TooMany);
            assert!(detail.contains(&format!("more than {max}")), "{detail}");
        }
    }
}

#[test]
fn impossible_times_are_refused_with_the_reason() {
    for (ts, reason, hint) in [
        ("0", R::TimestampTooOld, "1970-01-01"),
        ("-1", R::TimestampTooOld, "1969-12-31"),
        (
            "946684799999",
            R::TimestampTooOld,
            "before 2000-01-01T00:00:00Z",
        ),
        ("1767225600", R::TimestampTooOld, "looks like seconds"),
        ("\"1970-01-01T00:00:00Z\"", R::TimestampTooOld, "1970"),
        (
            "1767225900001",
            R::TimestampInFuture,
            "after 2026-01-01T00:05:00Z",
        ),
        ("1767312000000", R::TimestampInFuture, "2026-01-02"),
        ("\"9999-12-31T23:59:59Z\"", R::TimestampInFuture, "9999"),
        (
            "1767225600000000",
            R::TimestampInFuture,
            "looks like microseconds",
        ),
        (
            "1767225600000000000",
            R::TimestampInFuture,
            "looks like nanoseconds",
        ),
        ("18446744073709551615", R::TimestampInFuture, "9999"),
        ("1e300", R::TimestampInFuture, "9999"),
        ("-1e300", R::TimestampTooOld, "0000"),
        ("1e400", R::InvalidTimestamp, "1e400"),
        ("NaN", R::InvalidTimestamp, "NaN"),
        ("1767225600.5", R::InvalidTimestamp, "not a whole number"),
        ("\"1767225600000\"", R::InvalidTimestamp, "not RFC 3339"),
        (
            "\"2026-01-01 00:00:00\"",
            R::InvalidTimestamp,
            "not RFC 3339",
        ),
        (
            "\"2026-02-30T00:00:00Z\"",
            R::InvalidTimestamp,
            "not RFC 3339",
        ),
        ("\"<script>\"", R::InvalidTimestamp, "not RFC 3339"),
        ("\"\"", R::InvalidTimestamp, "not RFC 3339"),
        ("null", R::InvalidTimestamp, "null"),
        ("true", R::InvalidTimestamp, "a boolean"),
        ("{}", R::InvalidTimestamp, "an object"),
        ("[1]", R::InvalidTimestamp, "an array"),
    ] {
        let payload = format!(r#"{{"ts":{ts},"values":{{"a":1}}}}"#);
        let detail = refused(TELEMETRY, payload.as_bytes(), reason);
        assert!(detail.contains(hint), "{ts}: {detail}");
    }
}

#[test]
fn times_within_the_tolerance_pass_and_replay_judges_by_its_own_now() {
    check(TELEMETRY, r#"{"ts":1767225900000,"a":1}"#, "@300000 a=1");
    check(TELEMETRY, r#"{"ts":1767139200000,"a":1}"#, "@-86400000 a=1");
    let then = Timestamp::from_millis(1_420_092_000_000);
    let late = envelope(TELEMETRY, br#"{"ts":1420178400000,"a":1}"#);
    let decoded = decode(&late, then, &Limits::default());
    assert_eq!(reasons(&decoded), [R::TimestampInFuture]);
}

#[test]
fn hostile_device_names_are_refused() {
    for name in [
        "",
        "+",
        "#",
        "a+",
        "a#b",
        "x'; DROP TABLE readings;--",
        "<script>alert(1)</script>",
        "=cmd|' -C calc'!A0",
        "a\r\nSet-Cookie: x",
        "\u{202e}gnp",
        "\0",
        "a b",
        "\u{1b}[2J",
    ] {
        let name = name.replace('/', "");
        let detail = refused(
            &format!("devices/{name}/telemetry"),
            b"{\"a\":1}",
            R::InvalidName,
        );
        assert!(detail.starts_with("device name `"), "{detail}");
    }
    let long = "a".repeat(10_000);
    refused(&format!("devices/{long}/status"), b"online", R::InvalidName);
    let mut me = envelope("v1/devices/me/telemetry", b"{\"a\":1}");
    me.principal = Some("pump/1");
    assert_eq!(
        reasons(&decode(&me, NOW, &Limits::default())),
        [R::InvalidName]
    );
}

#[test]
fn hostile_metric_names_are_refused_beside_good_ones() {
    let long = "a".repeat(10_000);
    for name in [
        "",
        "a/b",
        "+",
        "#",
        "x'; DROP TABLE readings;--",
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A0",
        "a\\r\\nb",
        "\\u202egnp",
        "\\u0000",
        "a b",
        long.as_str(),
    ] {
        let payload = format!(r#"{{"good":1,"{name}":2}}"#);
        let decoded = decoded(TELEMETRY, payload.as_bytes());
        assert_eq!(render(&decoded), "@0 good=1 !invalid_name", "{name}");
        assert_harmless(&decoded.rejections[0].detail);
    }
}

#[test]
fn topics_of_others_are_unknown() {
    let long = "x".repeat(10_000);
    for topic in [
        "",
        "/",
        "devices",
        "devices/pump-1",
        "devices/pump-1/telemetry/x",
        "/devices/pump-1/telemetry",
        "devices/a/b/telemetry",
        "devices/pump-1/Telemetry",
        "devices/pump-1/acks",
        "devices/pump-1/commands/1",
        "v1/devices/me/attributes",
        "v1/devices/me/telemetry/1",
        "$SYS/broker/uptime",
        "=cmd|",
        "<script>",
        "a\r\nb\u{202e}",
        &long,
    ] {
        refused(topic, b"{\"a\":1}", R::UnknownTopic);
    }
    let detail = refused("spBv1.0/g/NDATA/n", b"\x08\x01", R::UnknownTopic);
    assert!(detail.contains("Sparkplug B"), "{detail}");
}

#[test]
fn another_device_in_the_payload_is_refused() {
    for payload in [
        r#"{"device":"pump-2","a":1}"#,
        r#"{"device":"pump-2","values":{"a":1}}"#,
        r#"{"device":7,"a":1}"#,
        r#"{"device":"<b>\u0000","a":1}"#,
    ] {
        refused(TELEMETRY, payload.as_bytes(), R::DeviceMismatch);
    }
}

#[test]
fn a_message_full_of_faults_makes_one_bounded_rejection_per_reason() {
    let faults: Vec<String> = (0..200)
        .map(|i| format!("\"<metric {i}>\":\"x\""))
        .collect();
    let names = refused(
        TELEMETRY,
        format!("{{{}}}", faults.join(",")).as_bytes(),
        R::InvalidName,
    );
    assert!(
        names.contains("; and 19") && names.contains(" more: use 1 to 128"),
        "{names}"
    );
    let texts: Vec<String> = (0..200)
        .map(|i| format!("\"m{i}\":\"\\u202e\\u0000\""))
        .collect();
    let texts = refused(
        TELEMETRY,
        format!("{{{}}}", texts.join(",")).as_bytes(),
        R::NotANumber,
    );
    assert!(
        texts.len() < 900 && texts.contains(" more: send numbers"),
        "{texts}"
    );
}
