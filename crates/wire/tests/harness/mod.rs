//! One line of text for what became of a message, so that a test is a payload and a line.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part; writing to a String cannot fail"
)]

use std::fmt::Write;

use forecare_domain::{EventSeverity, RejectReason, Timestamp};
use forecare_wire::{Decoded, Envelope, Inbound, Limits, decode};

pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
pub const TELEMETRY: &str = "devices/pump-1/telemetry";

pub fn envelope<'a>(topic: &'a str, payload: &'a [u8]) -> Envelope<'a> {
    Envelope {
        topic,
        payload,
        content_type: None,
        principal: Some("pump-1"),
        received_at: NOW,
    }
}

pub fn decoded<'a>(topic: &'a str, payload: &'a [u8]) -> Decoded<'a> {
    decode(&envelope(topic, payload), NOW, &Limits::default())
}

pub fn reasons(decoded: &Decoded<'_>) -> Vec<RejectReason> {
    decoded.rejections.iter().map(|r| r.reason).collect()
}

/// Decodes and compares with the line of [`render`].
pub fn check(topic: &str, payload: &str, expect: &str) {
    let decoded = decoded(topic, payload.as_bytes());
    assert_eq!(
        render(&decoded),
        expect,
        "{payload}\n{:?}",
        decoded.rejections
    );
}

/// `seq=7 @-1000 a=1 b=2 !not_finite`: times in milliseconds from [`NOW`], then the reasons.
pub fn render(decoded: &Decoded<'_>) -> String {
    let mut line = String::new();
    match &decoded.message {
        None => {}
        Some(Inbound::Telemetry(t)) => {
            assert_eq!(t.device.as_str(), "pump-1");
            if let Some(seq) = t.seq {
                write!(line, " seq={seq}").unwrap();
            }
            for sample in &t.samples {
                write!(line, " @{}", sample.ts.as_millis() - NOW.as_millis()).unwrap();
                for (name, value) in &sample.values {
                    match value.abs() >= 1e300 {
                        true => write!(line, " {name}={value:e}").unwrap(),
                        false => write!(line, " {name}={value}").unwrap(),
                    }
                }
            }
        }
        Some(Inbound::Event(e)) => {
            let severity = match e.severity {
                EventSeverity::Info => "info",
                EventSeverity::Warning => "warning",
                EventSeverity::Error => "error",
            };
            let ms = e.ts.as_millis() - NOW.as_millis();
            write!(line, " {} {severity} @{ms}", e.code).unwrap();
        }
        Some(Inbound::Status(s)) => write!(line, " online={}", s.online).unwrap(),
    }
    for rejection in &decoded.rejections {
        write!(line, " !{}", rejection.reason.label()).unwrap();
    }
    line.trim_start().to_owned()
}
