//! The way of a message: topic, bounds, encoding, then the codec of its topic.

use forecare_domain::{RejectReason, Rejection, Timestamp};

use crate::event::event;
use crate::findings::{Finding, Findings};
use crate::stamp::StampRule;
use crate::status::status;
use crate::telemetry::telemetry;
use crate::topic::{Route, route};
use crate::{Decoded, Envelope, Inbound, Limits};

/// Decodes one message. Never fails and never panics: what is good is in `message`, what is not in
/// `rejections`, and at least one of them is there.
///
/// `now` is what future times are judged by: the present, or the replayed time.
#[must_use]
pub fn decode<'a>(envelope: &Envelope<'a>, now: Timestamp, limits: &Limits) -> Decoded<'a> {
    let (message, findings) = read(envelope, now, limits).unwrap_or_else(|whole| {
        let mut findings = Findings::default();
        findings.push(whole);
        (None, findings)
    });
    Decoded {
        message,
        rejections: findings.into_rejections(envelope, limits),
    }
}

/// The rejection of a message that was decoded but cannot be taken, such as one of an unknown device. Foreign
/// text in `detail` is to be shortened by the caller; topic and payload are cut here.
#[must_use]
pub fn reject(
    envelope: &Envelope<'_>,
    reason: RejectReason,
    detail: &str,
    limits: &Limits,
) -> Rejection {
    let mut findings = Findings::default();
    findings.push(Finding::new(reason, detail));
    let mut rejections = findings.into_rejections(envelope, limits);
    rejections.swap_remove(0)
}

/// As [`decode`]; the error is what refuses the whole message.
fn read<'a>(
    envelope: &Envelope<'a>,
    now: Timestamp,
    limits: &Limits,
) -> Result<(Option<Inbound<'a>>, Findings), Finding> {
    let route = route(envelope)?;
    let text = text(envelope.payload, limits)?;
    let rule = StampRule::new(envelope.received_at, now, limits);
    match route {
        Route::Telemetry(device) => {
            let senml = envelope.content_type.is_some_and(is_senml);
            let (message, findings) = telemetry(device, text, senml, rule, limits)?;
            Ok((message.map(Inbound::Telemetry), findings))
        }
        Route::Event(device) => {
            let (event, findings) = event(device, text, rule, limits)?;
            Ok((event.map(Inbound::Event), findings))
        }
        Route::Status(device) => {
            let status = status(device, text, envelope.received_at)?;
            Ok((Some(Inbound::Status(status)), Findings::default()))
        }
    }
}

/// The payload as text, without the byte order mark that some systems put before it.
fn text<'a>(payload: &'a [u8], limits: &Limits) -> Result<&'a str, Finding> {
    if payload.is_empty() {
        let text = "the payload has no bytes";
        return Err(Finding::new(RejectReason::EmptyPayload, text));
    }
    if payload.len() > limits.payload_bytes_max {
        let (n, max) = (payload.len(), limits.payload_bytes_max);
        let text = format!("the payload has {n} bytes, more than {max}");
        return Err(Finding::new(RejectReason::PayloadTooLarge, text));
    }
    match std::str::from_utf8(payload) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(e) => {
            let text = format!("byte {} of the payload is not UTF-8", e.valid_up_to());
            Err(Finding::new(RejectReason::InvalidUtf8, text))
        }
    }
}

fn is_senml(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/senml+json")
}
