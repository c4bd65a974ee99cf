//! What was wrong with a message, gathered into one bounded rejection per reason.

use std::fmt::{self, Write};

use forecare_domain::{InvalidName, RejectReason, Rejection};

use crate::shown::{shown, shown_to};
use crate::{Envelope, Limits};

/// Longest list of findings in one detail, bytes; a single finding is shorter by construction.
const LIST_BYTES_MAX: usize = 400;
/// Longest topic kept, characters of the original.
const TOPIC_CHARS_MAX: usize = 200;

/// One thing that is wrong. Foreign text in `text` has gone through [`shown`].
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) reason: RejectReason,
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn new(reason: RejectReason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }

    /// The finding for a name of `kind`, such as `metric`, that breaks the rules.
    pub(crate) fn name(kind: &str, name: &str, error: &InvalidName) -> Self {
        let why = match error {
            InvalidName::Empty => "is empty".to_owned(),
            InvalidName::TooLong => "is longer than 128 characters".to_owned(),
            InvalidName::Character(c) => {
                format!("contains `{}`", shown(c.encode_utf8(&mut [0; 4])))
            }
        };
        let text = format!("{kind} name `{}` {why}", shown(name));
        Self::new(RejectReason::InvalidName, text)
    }
}

/// The findings of one message.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Reasoned>);

#[derive(Debug)]
struct Reasoned {
    reason: RejectReason,
    list: String,
    n_listed: usize,
    n_unlisted: usize,
}

impl Findings {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are, listed or only counted.
    pub(crate) fn n_findings(&self) -> usize {
        self.0.iter().map(|r| r.n_listed + r.n_unlisted).sum()
    }

    pub(crate) fn push(&mut self, finding: Finding) {
        self.add(finding.reason, format_args!("{}", finding.text));
    }

    /// Adds to the list of `reason`; formats nothing once that list is full, so that a message full of
    /// faults costs little.
    pub(crate) fn add(&mut self, reason: RejectReason, text: fmt::Arguments<'_>) {
        let found = self.0.iter_mut().find(|r| r.reason == reason);
        let Some(reasoned) = found else {
            self.0.push(Reasoned {
                reason,
                list: text.to_string(),
                n_listed: 1,
                n_unlisted: 0,
            });
            return;
        };
        if reasoned.n_unlisted > 0 || reasoned.list.len() >= LIST_BYTES_MAX {
            reasoned.n_unlisted += 1;
            return;
        }
        reasoned.n_listed += 1;
        reasoned.list.push_str("; ");
        // Writing into a String cannot fail.
        reasoned.list.write_fmt(text).unwrap_or_default();
    }

    /// One rejection per reason, in the order in which reasons were first met.
    pub(crate) fn into_rejections(
        self,
        envelope: &Envelope<'_>,
        limits: &Limits,
    ) -> Vec<Rejection> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let n_kept = envelope.payload.len().min(limits.kept_payload_bytes_max);
        let topic = shown_to(envelope.topic, TOPIC_CHARS_MAX).to_string();
        let rejection = |r: Reasoned| {
            let more = match r.n_unlisted {
                0 => String::new(),
                n => format!("; and {n} more"),
            };
            Rejection {
                received_at: envelope.received_at,
                topic: topic.clone(),
                reason: r.reason,
                detail: format!("{}{more}{}", r.list, advice(r.reason)),
                payload: envelope.payload[..n_kept].to_vec(),
                payload_bytes: u64::try_from(envelope.payload.len()).unwrap_or(u64::MAX),
            }
        };
        self.0.into_iter().map(rejection).collect()
    }
}

/// What to do about it, where the finding itself does not say.
fn advice(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::InvalidName => {
            ": use 1 to 128 letters, digits and - _ . : (no spaces, / + # or control characters)"
        }
        RejectReason::DeviceMismatch => {
            ": leave `device` out, or publish to the topic of that device"
        }
        RejectReason::EmptyPayload | RejectReason::UnknownShape => ": see the documented dialects",
        RejectReason::PayloadTooLarge | RejectReason::TooMany => {
            ": split the message, or raise the limit"
        }
        RejectReason::InvalidUtf8 => ": send JSON encoded as UTF-8",
        RejectReason::InvalidJson => ": send one JSON object or array",
        RejectReason::DuplicateKey => ": send each name once per object and time",
        RejectReason::TooDeep => ": send name and number pairs, not nested objects",
        RejectReason::NotFinite => ": leave the name out when there is no measurement",
        RejectReason::NotANumber => {
            ": send numbers or booleans, and leave out what is not measured"
        }
        RejectReason::InvalidTimestamp => {
            ": send whole milliseconds since 1970 or RFC 3339 with a zone, or leave `ts` out"
        }
        RejectReason::TimestampTooOld | RejectReason::TimestampInFuture => {
            ": set the clock of the device, or leave `ts` out to have it stamped on arrival"
        }
        RejectReason::InvalidWaveform => {
            ": send `rate_hz` and `samples`, as numbers or as base64 with `encoding` f32 or i16, as \
             docs/waveforms.md says"
        }
        RejectReason::UnknownTopic
        | RejectReason::UnknownDevice
        | RejectReason::TooManySeries
        | RejectReason::StoreRefused => "",
    }
}
