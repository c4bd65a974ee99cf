//! Emissions as MQTT messages.

use forecare_domain::{DeviceEvent, DeviceId, EventSeverity, Timestamp};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::fleet::Emission;
use crate::machine::METRICS;

/// What a message carries, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Telemetry,
    Event,
    Status,
}

/// A message, ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
}

#[derive(Serialize)]
struct TelemetryPayload<'a> {
    ts: i64,
    values: Values<'a>,
    seq: u64,
}

/// Metric names with their values, without building a map.
struct Values<'a>(&'a [f64; METRICS.len()]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(METRICS.len()))?;
        for (name, value) in METRICS.iter().zip(self.0) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct EventPayload<'a> {
    ts: i64,
    code: &'a str,
    severity: EventSeverity,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    message: &'a str,
}

impl Message {
    /// The message of an emission.
    ///
    /// # Errors
    /// If a value has no JSON form.
    pub(crate) fn of(emission: &Emission) -> Result<Self, serde_json::Error> {
        match emission {
            Emission::Telemetry {
                device,
                ts,
                seq,
                values,
            } => Self::telemetry(device, *ts, *seq, values),
            Emission::Event(event) => Self::event(event),
        }
    }

    fn telemetry(
        device: &DeviceId,
        ts: Timestamp,
        seq: u64,
        values: &[f64; METRICS.len()],
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            kind: Kind::Telemetry,
            topic: format!("devices/{device}/telemetry"),
            payload: serde_json::to_vec(&TelemetryPayload {
                ts: ts.as_millis(),
                values: Values(values),
                seq,
            })?,
            retain: false,
        })
    }

    fn event(event: &DeviceEvent) -> Result<Self, serde_json::Error> {
        Ok(Self {
            kind: Kind::Event,
            topic: format!("devices/{}/events", event.device),
            payload: serde_json::to_vec(&EventPayload {
                ts: event.ts.as_millis(),
                code: &event.code,
                severity: event.severity,
                component: event.component.as_ref().map(|c| c.as_str()),
                message: &event.message,
            })?,
            retain: false,
        })
    }

    /// The retained message that says whether a device is connected.
    pub(crate) fn status(device: &DeviceId, online: bool) -> Self {
        Self {
            kind: Kind::Status,
            topic: status_topic(device),
            payload: if online { ONLINE } else { OFFLINE }.to_vec(),
            retain: true,
        }
    }
}

pub(crate) const ONLINE: &[u8] = b"online";
pub(crate) const OFFLINE: &[u8] = b"offline";

pub(crate) fn status_topic(device: &DeviceId) -> String {
    format!("devices/{device}/status")
}

#[cfg(test)]
mod tests {
    use super::*;
    use forecare_domain::{ComponentName, REPLACED_CODE};

    #[test]
    fn payloads_are_those_of_the_contract() {
        let device = DeviceId::new("compressor-0001").unwrap();
        let telemetry = Message::of(&Emission::Telemetry {
            device: device.clone(),
            ts: Timestamp::from_millis(1_736_121_600_123),
            seq: 7,
            values: [92.5, 21.0, 80.1, 7.31, 140.0, 2.2, 3.55, 26.4],
        })
        .unwrap();
        assert_eq!(telemetry.topic, "devices/compressor-0001/telemetry");
        assert_eq!(
            String::from_utf8(telemetry.payload).unwrap(),
            r#"{"ts":1736121600123,"values":{"load":92.5,"ambient_temperature":21.0,"discharge_temperature":80.1,"discharge_pressure":7.31,"motor_current":140.0,"vibration":2.2,"oil_pressure":3.55,"filter_pressure_drop":26.4},"seq":7}"#
        );
        let event = Message::of(&Emission::Event(DeviceEvent {
            device: device.clone(),
            ts: Timestamp::from_millis(5),
            code: REPLACED_CODE.to_owned(),
            severity: EventSeverity::Info,
            component: Some(ComponentName::new("bearing").unwrap()),
            message: "component replaced".to_owned(),
        }))
        .unwrap();
        assert_eq!(event.topic, "devices/compressor-0001/events");
        assert_eq!(
            String::from_utf8(event.payload).unwrap(),
            r#"{"ts":5,"code":"replaced","severity":"info","component":"bearing","message":"component replaced"}"#
        );
        let status = Message::status(&device, true);
        assert!(status.retain);
        assert_eq!(
            (status.topic.as_str(), status.payload.as_slice()),
            ("devices/compressor-0001/status", b"online".as_slice())
        );
    }
}
