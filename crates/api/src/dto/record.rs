//! What is on record: events, verdicts, refused messages.

use forecare_domain::{
    DeviceEvent, EventSeverity, InvalidName, Label, ModeName, Rejection, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How serious the device finds its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventSeverityDto {
    Info,
    Warning,
    Error,
}

/// Something a device reported that is not a measurement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventDto {
    /// The device.
    pub(crate) device_id: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) ts: Timestamp,
    /// The device's own code.
    pub(crate) code: String,
    /// How serious the device finds it.
    pub(crate) severity: EventSeverityDto,
    /// The component it is about.
    pub(crate) component: Option<String>,
    /// Free text of the device.
    pub(crate) message: String,
}

impl From<DeviceEvent> for EventDto {
    fn from(e: DeviceEvent) -> Self {
        Self {
            device_id: e.device.into(),
            ts: e.ts,
            code: e.code,
            severity: match e.severity {
                EventSeverity::Info => EventSeverityDto::Info,
                EventSeverity::Warning => EventSeverityDto::Warning,
                EventSeverity::Error => EventSeverityDto::Error,
            },
            component: e.component.map(Into::into),
            message: e.message,
        }
    }
}

/// What the technician found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum VerdictDto {
    /// The predicted fault was there.
    Confirmed {
        /// ISO 14224 code of what was found, such as `VIB`.
        failure_code: String,
    },
    /// A fault was there, but another one.
    WrongMode {
        /// The failure mode that was found.
        actual: String,
    },
    /// Nothing was wrong.
    NoFaultFound,
    /// The sensor or the data was wrong, not the machine.
    DataFault,
    /// The part had much of its life left.
    TooEarly,
    /// The work is done, where nothing was predicted.
    Done,
}

impl From<Verdict> for VerdictDto {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Confirmed { failure_code } => Self::Confirmed { failure_code },
            Verdict::WrongMode { actual } => Self::WrongMode {
                actual: actual.into(),
            },
            Verdict::NoFaultFound => Self::NoFaultFound,
            Verdict::DataFault => Self::DataFault,
            Verdict::TooEarly => Self::TooEarly,
            Verdict::Done => Self::Done,
        }
    }
}

impl TryFrom<VerdictDto> for Verdict {
    type Error = InvalidName;

    fn try_from(verdict: VerdictDto) -> Result<Self, InvalidName> {
        Ok(match verdict {
            VerdictDto::Confirmed { failure_code } => Self::Confirmed { failure_code },
            VerdictDto::WrongMode { actual } => Self::WrongMode {
                actual: ModeName::new(actual)?,
            },
            VerdictDto::NoFaultFound => Self::NoFaultFound,
            VerdictDto::DataFault => Self::DataFault,
            VerdictDto::TooEarly => Self::TooEarly,
            VerdictDto::Done => Self::Done,
        })
    }
}

/// A verdict as a training label.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LabelDto {
    /// The ticket it came from.
    pub(crate) ticket_id: i64,
    /// The device.
    pub(crate) device_id: String,
    /// The failure mode that was predicted.
    pub(crate) mode: String,
    /// What was found.
    pub(crate) finding: VerdictDto,
    /// Time of the reading behind the alarm.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) detected_at: Timestamp,
    /// When the verdict was given.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Probability the ticket was opened with, 0 to 1.
    pub(crate) probability: f64,
}

impl From<Label> for LabelDto {
    fn from(l: Label) -> Self {
        Self {
            ticket_id: l.ticket.0,
            device_id: l.device.into(),
            mode: l.mode.into(),
            finding: l.verdict.into(),
            detected_at: l.detected_at,
            at: l.at,
            probability: l.probability,
        }
    }
}

/// A refused message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterDto {
    /// When it arrived.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) received_at: Timestamp,
    /// The topic, cut to a bound.
    pub(crate) topic: String,
    /// Why it was refused, such as `not_a_number`.
    pub(crate) reason: String,
    /// What exactly was wrong.
    pub(crate) detail: String,
    /// The payload's first bytes, where they are text.
    pub(crate) payload_text: Option<String>,
    /// The payload's first bytes in hex, where they are not.
    pub(crate) payload_hex: Option<String>,
    /// The whole payload's length, bytes.
    pub(crate) payload_bytes: u64,
}

impl From<Rejection> for DeadLetterDto {
    fn from(r: Rejection) -> Self {
        let (payload_text, payload_hex) = match String::from_utf8(r.payload) {
            Ok(text) => (Some(text), None),
            Err(not_text) => {
                let hex = not_text.as_bytes().iter().map(|b| format!("{b:02x}"));
                (None, Some(hex.collect()))
            }
        };
        Self {
            received_at: r.received_at,
            topic: r.topic,
            reason: r.reason.label().to_owned(),
            detail: r.detail,
            payload_text,
            payload_hex,
            payload_bytes: r.payload_bytes,
        }
    }
}

/// The service's own state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthzDto {
    /// Always `ok`.
    pub(crate) status: &'static str,
}
