//! What goes into the decoder and what comes out.

use std::borrow::Cow;

use forecare_domain::{DeviceEvent, DeviceId, DeviceStatus, Rejection, Timestamp};

/// One MQTT message as received.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Topic it was published to.
    pub topic: &'a str,
    /// Payload, untouched.
    pub payload: &'a [u8],
    /// Content type of MQTT 5, if any.
    pub content_type: Option<&'a str>,
    /// Authenticated MQTT username, if any: the device of the ThingsBoard topics.
    pub principal: Option<&'a str>,
    /// When it arrived; stamps what has no time of its own.
    pub received_at: Timestamp,
}

/// What a message may be at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Longest payload, bytes.
    pub payload_bytes_max: usize,
    /// Most samples (distinct times, for SenML) in one message.
    pub samples_max: usize,
    /// Most metrics in one sample.
    pub metrics_max: usize,
    /// Most waveforms in one sample.
    pub waveforms_max: usize,
    /// Fewest samples in a waveform: of fewer there is no spectrum to speak of.
    pub waveform_samples_min: usize,
    /// Most samples in a waveform.
    pub waveform_samples_max: usize,
    /// Earliest time a device can mean; a clock that was never set is earlier.
    pub earliest: Timestamp,
    /// How far ahead of `now` a device's time may be, hours. At least 0.
    pub future_tolerance_hours: f64,
    /// How much of a refused payload is kept, bytes.
    pub kept_payload_bytes_max: usize,
}

impl Default for Limits {
    /// 256 KiB, 1,000 samples of 256 metrics and 16 waveforms of 64 to 16,384 samples, from 2000-01-01 to five minutes ahead; 1 KiB kept.
    fn default() -> Self {
        Self {
            payload_bytes_max: 256 * 1024,
            samples_max: 1_000,
            metrics_max: 256,
            waveforms_max: 16,
            waveform_samples_min: 64,
            waveform_samples_max: 16_384,
            earliest: Timestamp::from_millis(946_684_800_000),
            future_tolerance_hours: 5.0 / 60.0,
            kept_payload_bytes_max: 1_024,
        }
    }
}

/// A decoded message: what was good, and what was not. At least one of the two is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<'a> {
    /// The good part; `None` when nothing was.
    pub message: Option<Inbound<'a>>,
    /// The bad part: at most one rejection per reason.
    pub rejections: Vec<Rejection>,
}

/// What a device said.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound<'a> {
    /// Measurements.
    Telemetry(Telemetry<'a>),
    /// Something that happened.
    Event(DeviceEvent),
    /// Connected or gone.
    Status(DeviceStatus),
}

/// Measurements of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry<'a> {
    /// The device.
    pub device: DeviceId,
    /// Samples in the order of the payload, none without a value or waveform. No samples at all when all were
    /// refused but the message carried a `seq`, so that it is not taken for a lost one.
    pub samples: Vec<Sample<'a>>,
    /// The device's number of this message, if it numbers them.
    pub seq: Option<u64>,
}

/// Measurements of one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// When they were measured.
    pub ts: Timestamp,
    /// Metric and value. Names are distinct and valid as [`forecare_domain::MetricName`]; values are
    /// finite, and never minus zero.
    pub values: Vec<(Cow<'a, str>, f64)>,
    /// Waveforms, of distinct names.
    pub waveforms: Vec<Waveform<'a>>,
}

/// A run of equidistant samples of one quantity, taken around the sample's time.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform<'a> {
    /// Which; valid as [`forecare_domain::MetricName`].
    pub name: Cow<'a, str>,
    /// Sampling rate, Hz. Above 0.
    pub rate_hz: f64,
    /// Unit of the samples, where the payload says so.
    pub unit: Option<Cow<'a, str>>,
    /// The samples, scaled; finite, as many as [`Limits`] allow.
    pub samples: Vec<f64>,
}

impl Sample<'_> {
    /// The same sample, independent of the payload.
    pub(crate) fn into_owned(self) -> Sample<'static> {
        let own = |(name, value): (Cow<'_, str>, f64)| (Cow::Owned(name.into_owned()), value);
        Sample {
            ts: self.ts,
            values: self.values.into_iter().map(own).collect(),
            waveforms: self
                .waveforms
                .into_iter()
                .map(Waveform::into_owned)
                .collect(),
        }
    }
}

impl Waveform<'_> {
    fn into_owned(self) -> Waveform<'static> {
        Waveform {
            name: Cow::Owned(self.name.into_owned()),
            rate_hz: self.rate_hz,
            unit: self.unit.map(|unit| Cow::Owned(unit.into_owned())),
            samples: self.samples,
        }
    }
}
