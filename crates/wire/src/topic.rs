//! Who speaks, and about what: the topic.

use forecare_domain::{DeviceId, RejectReason};

use crate::Envelope;
use crate::findings::Finding;
use crate::shown::{shown, shown_to};

/// A topic that devices publish to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Telemetry(DeviceId),
    Event(DeviceId),
    Status(DeviceId),
}

/// Reads the topic; the device of `…/me/…` is the principal.
pub(crate) fn route(envelope: &Envelope<'_>) -> Result<Route, Finding> {
    let mut levels = envelope.topic.split('/');
    let [l0, l1, l2, l3, l4] = std::array::from_fn(|_| levels.next());
    match (l0, l1, l2, l3, l4) {
        (Some("devices"), Some(name), Some("telemetry"), None, _) => {
            device(name).map(Route::Telemetry)
        }
        (Some("devices"), Some(name), Some("events"), None, _) => device(name).map(Route::Event),
        (Some("devices"), Some(name), Some("status"), None, _) => device(name).map(Route::Status),
        (Some("devices"), Some(_), Some(kind @ ("acks" | "commands")), _, _) => Err(unknown(
            format!("`{kind}` topics are for messages to devices, not from them"),
        )),
        (Some("v1"), Some("devices"), Some("me"), Some("telemetry"), None) => {
            let Some(name) = envelope.principal else {
                let text = "`v1/devices/me/telemetry` takes the device from the MQTT username, \
                            and the session has none";
                return Err(Finding::new(RejectReason::UnknownDevice, text));
            };
            device(name).map(Route::Telemetry)
        }
        (Some("spBv1.0"), ..) => Err(unknown(
            "Sparkplug B is not decoded: publish JSON to `devices/{device}/telemetry`".to_owned(),
        )),
        _ => Err(unknown(format!(
            "topic `{}` is none of `devices/{{device}}/telemetry`, `devices/{{device}}/events`, \
             `devices/{{device}}/status`, `v1/devices/me/telemetry`",
            shown_to(envelope.topic, 60)
        ))),
    }
}

fn unknown(text: String) -> Finding {
    Finding::new(RejectReason::UnknownTopic, text)
}

fn device(name: &str) -> Result<DeviceId, Finding> {
    DeviceId::new(name).map_err(|e| Finding::name("device", name, &e))
}

/// Checks the `device` that a payload may name against the one that the topic names.
pub(crate) fn same_device(named: Option<&str>, device: &DeviceId) -> Result<(), Finding> {
    let text = match named {
        Some(name) if name == device.as_str() => return Ok(()),
        Some(name) => format!(
            "the payload names device `{}`, the topic `{device}`",
            shown(name)
        ),
        None => format!("`device` in the payload is not a text; the topic names `{device}`"),
    };
    Err(Finding::new(RejectReason::DeviceMismatch, text))
}
