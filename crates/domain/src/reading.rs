//! What devices send, once decoded, and what is refused.

use serde::{Deserialize, Serialize};

use crate::{ComponentName, DeviceId, MetricName, Timestamp};

/// All readings of one device at one instant: the unit that is stored and scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The device that measured.
    pub device: DeviceId,
    /// When it measured.
    pub ts: Timestamp,
    /// One place per metric of the asset class, in catalogue order; `None` where not reported. Finite.
    pub values: Vec<Option<f64>>,
    /// Metrics that the catalogue does not know for this class, stored but not scored. Finite.
    pub extra: Vec<(MetricName, f64)>,
}

impl Row {
    /// Number of readings in the row.
    #[must_use]
    pub fn n_readings(&self) -> usize {
        self.values.iter().flatten().count() + self.extra.len()
    }
}

/// How serious the device itself finds its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventSeverity {
    /// For the record.
    Info,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
}

/// Code of the event that reports a replaced component.
pub const REPLACED_CODE: &str = "replaced";

/// Something a device reported that is not a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEvent {
    /// The device that reported.
    pub device: DeviceId,
    /// When it happened.
    pub ts: Timestamp,
    /// The device's own code, such as `E42`; [`REPLACED_CODE`] reports a replaced component.
    pub code: String,
    /// How serious the device finds it.
    pub severity: EventSeverity,
    /// The component it is about, where the device says so.
    pub component: Option<ComponentName>,
    /// Free text of the device; may be empty.
    pub message: String,
}

/// Why a message, or a part of it, was refused. The label is used for counters and the dead-letter table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The topic is none that devices publish to.
    UnknownTopic,
    /// A name in the topic or payload breaks the rules for names.
    InvalidName,
    /// The device is not registered, and auto-registration is off.
    UnknownDevice,
    /// The payload names another device than the topic.
    DeviceMismatch,
    /// No bytes.
    EmptyPayload,
    /// More bytes than allowed.
    PayloadTooLarge,
    /// Not UTF-8.
    InvalidUtf8,
    /// Not JSON.
    InvalidJson,
    /// JSON, but of no dialect we know.
    UnknownShape,
    /// The same key twice in one object.
    DuplicateKey,
    /// Nested deeper than any dialect needs.
    TooDeep,
    /// More samples or metrics in one message than allowed.
    TooMany,
    /// A number that is not finite as an IEEE double.
    NotFinite,
    /// A value that is neither number nor boolean.
    NotANumber,
    /// A waveform without a usable rate, encoding, unit or length, or one from which a metric could not be computed.
    InvalidWaveform,
    /// A timestamp that cannot be read.
    InvalidTimestamp,
    /// A timestamp earlier than the configured minimum: the device's clock is not set.
    TimestampTooOld,
    /// A timestamp further ahead of the service's clock than tolerated.
    TimestampInFuture,
    /// More distinct metrics from one device than allowed.
    TooManySeries,
    /// The store refused the row for itself, not for its company.
    StoreRefused,
}

impl RejectReason {
    /// Every reason, for counters that must exist before the first rejection.
    pub const ALL: [Self; 20] = [
        Self::UnknownTopic,
        Self::InvalidName,
        Self::UnknownDevice,
        Self::DeviceMismatch,
        Self::EmptyPayload,
        Self::PayloadTooLarge,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::UnknownShape,
        Self::DuplicateKey,
        Self::TooDeep,
        Self::TooMany,
        Self::NotFinite,
        Self::NotANumber,
        Self::InvalidWaveform,
        Self::InvalidTimestamp,
        Self::TimestampTooOld,
        Self::TimestampInFuture,
        Self::TooManySeries,
        Self::StoreRefused,
    ];

    /// The label, in snake case, as in JSON and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown_topic",
            Self::InvalidName => "invalid_name",
            Self::UnknownDevice => "unknown_device",
            Self::DeviceMismatch => "device_mismatch",
            Self::EmptyPayload => "empty_payload",
            Self::PayloadTooLarge => "payload_too_large",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::UnknownShape => "unknown_shape",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::TooMany => "too_many",
            Self::NotFinite => "not_finite",
            Self::NotANumber => "not_a_number",
            Self::InvalidWaveform => "invalid_waveform",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::TimestampTooOld => "timestamp_too_old",
            Self::TimestampInFuture => "timestamp_in_future",
            Self::TooManySeries => "too_many_series",
            Self::StoreRefused => "store_refused",
        }
    }
}

/// A refused message, or the refused part of one, as kept in the dead-letter table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// When it arrived.
    pub received_at: Timestamp,
    /// The topic it arrived on, cut to the bound.
    pub topic: String,
    /// Why it was refused.
    pub reason: RejectReason,
    /// What exactly was wrong, for a person: the key, the position, the limit.
    pub detail: String,
    /// The payload's first bytes, cut to the bound.
    pub payload: Vec<u8>,
    /// The payload's whole length, bytes.
    pub payload_bytes: u64,
}
