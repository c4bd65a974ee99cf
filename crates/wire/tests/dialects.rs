//! Every topic and dialect of the contract, and what is kept of a message that is partly good.

mod harness;

use forecare_domain::{EventSeverity, RejectReason, Timestamp};
use forecare_wire::{Inbound, Limits};
use harness::*;

#[test]
fn ts_and_values_make_a_sample() {
    check(
        TELEMETRY,
        r#"{"ts":1767225599000,"values":{"vibration":4.2,"temperature":71},"seq":7}"#,
        "seq=7 @-1000 vibration=4.2 temperature=71",
    );
}

#[test]
fn the_order_of_keys_does_not_matter() {
    check(
        TELEMETRY,
        r#"{"seq":7,"values":{"a":1},"device":"pump-1","ts":"2025-12-31T23:59:59Z"}"#,
        "seq=7 @-1000 a=1",
    );
}

#[test]
fn bare_values_are_stamped_on_arrival() {
    check(TELEMETRY, r#"{"vibration":4.2}"#, "@0 vibration=4.2");
    check(TELEMETRY, "\u{feff} {\"a\":1}\n", "@0 a=1");
}

#[test]
fn bare_values_may_carry_the_reserved_keys() {
    check(
        TELEMETRY,
        r#"{"a":1,"ts":1767225599000,"seq":3,"device":"pump-1"}"#,
        "seq=3 @-1000 a=1",
    );
}

#[test]
fn reserved_names_are_metrics_inside_values() {
    check(
        TELEMETRY,
        r#"{"values":{"ts":1,"seq":2,"device":3,"values":4}}"#,
        "@0 ts=1 seq=2 device=3 values=4",
    );
}

#[test]
fn arrays_mix_both_forms_in_order() {
    check(
        TELEMETRY,
        r#"[{"ts":1767225599000,"values":{"a":1}},{"a":2},{"ts":1767225598000,"a":3,"seq":9}]"#,
        "seq=9 @-1000 a=1 @0 a=2 @-2000 a=3",
    );
}

#[test]
fn times_are_milliseconds_or_rfc_3339() {
    for ts in [
        "1767225599000",
        "1767225599000.0",
        "1.767225599e12",
        "\"2025-12-31T23:59:59Z\"",
        "\"2026-01-01T08:59:59.000+09:00\"",
    ] {
        check(
            TELEMETRY,
            &format!(r#"{{"ts":{ts},"values":{{"a":1}}}}"#),
            "@-1000 a=1",
        );
    }
}

#[test]
fn booleans_count_and_minus_zero_is_zero() {
    check(
        TELEMETRY,
        r#"{"on":true,"off":false,"zero":-0,"zero2":-0.0,"big":1e308,"int":18446744073709551615}"#,
        "@0 on=1 off=0 zero=0 zero2=0 big=1e308 int=18446744073709552000",
    );
    let decoded = decoded(TELEMETRY, br#"{"zero":-0.0}"#);
    let Some(Inbound::Telemetry(t)) = decoded.message else {
        panic!("no telemetry");
    };
    assert_eq!(t.samples[0].values[0].1.to_bits(), 0);
}

#[test]
fn escaped_keys_are_read() {
    check(TELEMETRY, r#"{"temp\u00e9rature":1}"#, "@0 température=1");
}

#[test]
fn thingsboard_takes_the_device_from_the_username() {
    let topic = "v1/devices/me/telemetry";
    for (payload, expect) in [
        (r#"{"a":1}"#, "@0 a=1"),
        (r#"{"ts":1767225599000,"values":{"a":1}}"#, "@-1000 a=1"),
        (
            r#"[{"a":1},{"ts":1767225599000,"values":{"b":2}}]"#,
            "@0 a=1 @-1000 b=2",
        ),
    ] {
        check(topic, payload, expect);
    }
    let mut anonymous = envelope(topic, b"{\"a\":1}");
    anonymous.principal = None;
    let decoded = forecare_wire::decode(&anonymous, NOW, &Limits::default());
    assert_eq!(reasons(&decoded), [RejectReason::UnknownDevice]);
}

#[test]
fn senml_base_fields_apply_to_the_records_after_them() {
    let pack = r#"[
        {"bn":"urn:dev:ow:10e2073a01080063:","bt":1767225590,"bu":"A","bver":10,"n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2},
        {"n":"current","t":-4.5,"v":1.3},
        {"n":"on","vb":true},
        {"bv":100,"n":"sum","v":0.5}]"#;
    let expect = "@-10000 voltage=120.1 on=1 sum=100.5 @-15000 current=1.2 @-14500 current=1.3";
    check(TELEMETRY, pack, expect);
}

#[test]
fn senml_times_below_two_to_the_28_are_relative_to_the_arrival() {
    check(TELEMETRY, r#"[{"n":"a","v":1}]"#, "@0 a=1");
    check(
        TELEMETRY,
        r#"[{"bn":"","bt":-60,"n":"a","v":1},{"n":"a","t":30,"v":2}]"#,
        "@-60000 a=1 @-30000 a=2",
    );
}

#[test]
fn senml_needs_the_content_type_only_where_the_first_record_has_no_name() {
    let pack = r#"[{"bt":1767225590},{"n":"a","v":1}]"#;
    let mut typed = envelope(TELEMETRY, pack.as_bytes());
    typed.content_type = Some("application/senml+json; charset=utf-8");
    let decoded = forecare_wire::decode(&typed, NOW, &Limits::default());
    assert_eq!(render(&decoded), "@-10000 a=1");
    assert!(decoded.rejections.is_empty());
}

#[test]
fn a_senml_base_name_that_is_the_device_is_no_part_of_the_metric() {
    for (base, expect) in [
        ("pump-1", "@0 a=1"),
        ("pump-1:", "@0 a=1"),
        ("pump-1/", "@0 a=1"),
        ("pump-1:left:", "@0 left:a=1"),
        ("pump-10:", "@0 pump-10:a=1"),
        ("left.", "@0 left.a=1"),
    ] {
        check(
            TELEMETRY,
            &format!(r#"[{{"bn":"{base}","n":"a","v":1}}]"#),
            expect,
        );
    }
}

#[test]
fn senml_keeps_the_good_records() {
    check(
        TELEMETRY,
        r#"[{"n":"a","v":1},{"n":"b","vs":"on"},{"n":"c","vd":"AA"},{"n":"d","s":4},{"n":"e"},
            {"n":"f","v":1,"vb":true},{"n":"g","t":"x","v":1},{"n":5,"v":1},{"n":"h/i","v":1},
            {"n":"j","t":-1e9,"v":1},{"n":"k","v":2,"l":"x"}]"#,
        "@0 a=1 k=2 !not_a_number !unknown_shape !invalid_timestamp !invalid_name !timestamp_too_old",
    );
}

#[test]
fn senml_that_would_be_misread_is_refused_whole() {
    for (pack, expect) in [
        (
            r#"[{"n":"a","v":1},{"bt":"x"},{"n":"b","v":1}]"#,
            "!unknown_shape",
        ),
        (r#"[{"bver":11,"n":"a","v":1}]"#, "!unknown_shape"),
        (r#"[{"n":"a","v":1,"must_":1}]"#, "!unknown_shape"),
        (r#"[{"bn":"x","bt":1}]"#, "!unknown_shape"),
        (r#"[{"n":"a","v":1},{"n":"a","v":2}]"#, "!duplicate_key"),
        (r#"[{"n":"a","v":1e308,"bv":1e308}]"#, "!not_finite"),
    ] {
        check(TELEMETRY, pack, expect);
    }
    let mut object = envelope(TELEMETRY, br#"{"n":"a","v":1}"#);
    object.content_type = Some("application/senml+json");
    let decoded = forecare_wire::decode(&object, NOW, &Limits::default());
    assert_eq!(render(&decoded), "!unknown_shape");
}

#[test]
fn events_are_read_whole() {
    let decoded = decoded(
        "devices/pump-1/events",
        br#"{"ts":1767225599000,"code":"replaced","severity":"info","message":"new\nbearing\u0000","component":"bearing","seq":4}"#,
    );
    assert!(decoded.rejections.is_empty(), "{:?}", decoded.rejections);
    let Some(Inbound::Event(event)) = decoded.message else {
        panic!("no event");
    };
    assert_eq!(event.device.as_str(), "pump-1");
    assert_eq!(event.ts, Timestamp::from_millis(1_767_225_599_000));
    assert_eq!(event.code, forecare_domain::REPLACED_CODE);
    assert_eq!(event.severity, EventSeverity::Info);
    assert_eq!(event.component.unwrap().as_str(), "bearing");
    assert_eq!(event.message, "new bearing\u{fffd}");
}

#[test]
fn events_need_a_code_and_a_severity_only() {
    let topic = "devices/pump-1/events";
    for (payload, expect) in [
        (r#"{"code":"E42","severity":"error"}"#, "E42 error @0"),
        (
            r#"{"code":42,"severity":"CRIT","message":null,"component":null}"#,
            "42 error @0",
        ),
        (
            r#"{"code":"E","severity":"Warn","colour":1}"#,
            "E warning @0 !unknown_shape",
        ),
        (r#"{"code":"E"}"#, "!unknown_shape"),
        (r#"{"severity":"info"}"#, "!unknown_shape"),
        (r#"{"code":"E","severity":"loud"}"#, "!unknown_shape"),
        (r#"{"code":"E","severity":3}"#, "!unknown_shape"),
        (r#"{"code":"","severity":"info"}"#, "!invalid_name"),
        (
            r#"{"code":"E\u001b[2J","severity":"info"}"#,
            "!invalid_name",
        ),
        (r#"{"code":[],"severity":"info"}"#, "!unknown_shape"),
        (
            r#"{"code":"E","severity":"info","message":1}"#,
            "!unknown_shape",
        ),
        (
            r#"{"code":"E","severity":"info","component":"a/b"}"#,
            "!invalid_name",
        ),
        (
            r#"{"code":"E","severity":"info","ts":"noon"}"#,
            "!invalid_timestamp",
        ),
        (
            r#"{"code":"E","severity":"info","ts":0}"#,
            "!timestamp_too_old",
        ),
        (
            r#"{"code":"E","severity":"info","device":"pump-2"}"#,
            "!device_mismatch",
        ),
        (
            r#"{"code":"E","code":"F","severity":"info"}"#,
            "!duplicate_key",
        ),
        (r#"[{"code":"E","severity":"info"}]"#, "!unknown_shape"),
        (r#""E42""#, "!unknown_shape"),
        (
            r#"{"code":"E","severity":"info","message":NaN}"#,
            "!invalid_json",
        ),
    ] {
        check(topic, payload, expect);
    }
    let long = format!(
        r#"{{"code":"E","severity":"info","message":"{}"}}"#,
        "x".repeat(1_001)
    );
    check(topic, &long, "E info @0 !payload_too_large");
}

#[test]
fn status_is_online_or_offline() {
    let topic = "devices/pump-1/status";
    for (payload, expect) in [
        ("online", "online=true"),
        ("offline", "online=false"),
        ("\"online\"", "online=true"),
        (" \"OFFLINE\"\r\n", "online=false"),
        ("on", "!unknown_shape"),
        ("\"", "!unknown_shape"),
        ("{}", "!unknown_shape"),
        ("", "!empty_payload"),
    ] {
        check(topic, payload, expect);
    }
}

#[test]
fn good_values_are_kept_and_bad_ones_named() {
    let payload = br#"{"ts":1767225599000,"values":{"ok":1,"text":"4.2","word":"x","none":null,"deep":{"a":[1]},"list":[1],"bad name":2,"":3}}"#;
    let decoded = decoded(TELEMETRY, payload);
    assert_eq!(render(&decoded), "@-1000 ok=1 !not_a_number !invalid_name");
    let detail = &decoded.rejections[0].detail;
    for part in [
        "`text` is the text `4.2` (send it without quotes)",
        "`word` is the text `x`",
        "`none` is null",
        "`deep` is an object",
        "`list` is an array",
        "send numbers or booleans",
    ] {
        assert!(detail.contains(part), "{detail}");
    }
    let names = &decoded.rejections[1].detail;
    assert!(
        names.starts_with("metric name `bad name` contains ` `; metric name `` is empty: use 1 to"),
        "{names}"
    );
    assert_eq!(decoded.rejections[0].payload, payload);
}

#[test]
fn what_stands_beside_a_number_that_is_not_finite_is_kept() {
    for bad in [
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "-inf",
        "1e400",
        "-1e999",
        "\"NaN\"",
        "\"inf\"",
    ] {
        let payload =
            format!(r#"{{"ts":1767225599000,"values":{{"good":1,"bad":{bad},"more":2}}}}"#);
        let decoded = decoded(TELEMETRY, payload.as_bytes());
        assert_eq!(
            render(&decoded),
            "@-1000 good=1 more=2 !not_finite",
            "{bad}"
        );
        assert!(decoded.rejections[0].detail.contains("`bad` is "), "{bad}");
    }
}

#[test]
fn a_bad_sample_leaves_the_others() {
    check(
        TELEMETRY,
        r#"[{"a":1},7,{"ts":0,"a":2},{},{"device":"pump-2","a":3},{"ts":null,"a":4},[{"a":5}],{"a":6}]"#,
        "@0 a=1 @0 a=6 !unknown_shape !timestamp_too_old !device_mismatch !invalid_timestamp",
    );
}

#[test]
fn samples_without_a_good_value_are_reported_for_their_values_only() {
    check(
        TELEMETRY,
        r#"[{"a":null},{"a":null},{"b":null}]"#,
        "!not_a_number",
    );
    check(
        TELEMETRY,
        r#"[{"a":null},{}]"#,
        "!not_a_number !unknown_shape",
    );
}

#[test]
fn a_stray_key_beside_values_is_named() {
    let decoded = decoded(TELEMETRY, br#"{"values":{"a":1},"b":2}"#);
    assert_eq!(render(&decoded), "@0 a=1 !unknown_shape");
    assert!(
        decoded.rejections[0]
            .detail
            .contains("`b` stands beside `values`")
    );
    check(TELEMETRY, r#"{"values":4,"b":2}"#, "@0 b=2 !unknown_shape");
}

#[test]
fn a_refused_message_still_counts_by_its_seq() {
    check(
        TELEMETRY,
        r#"{"seq":5,"values":{"a":null}}"#,
        "seq=5 !not_a_number",
    );
    check(TELEMETRY, r#"{"seq":5}"#, "seq=5 !unknown_shape");
    check(TELEMETRY, r#"{"seq":5.0,"a":1}"#, "seq=5 @0 a=1");
    check(
        TELEMETRY,
        r#"{"seq":18446744073709551615,"a":1}"#,
        "seq=18446744073709551615 @0 a=1",
    );
    for bad in ["-1", "1.5", "1e300", "\"5\"", "null"] {
        check(
            TELEMETRY,
            &format!(r#"{{"seq":{bad},"a":1}}"#),
            "@0 a=1 !unknown_shape",
        );
    }
    check(
        TELEMETRY,
        r#"[{"seq":5,"a":1},{"seq":6,"a":2}]"#,
        "seq=6 @0 a=1 @0 a=2 !unknown_shape",
    );
}
