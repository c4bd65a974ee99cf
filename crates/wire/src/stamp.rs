//! The time a device claims, read and judged.

use forecare_domain::{RejectReason, Timestamp};

use crate::Limits;
use crate::findings::Finding;
use crate::json::Value;
use crate::shown::shown;

/// What a device's time is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StampRule {
    /// Stamps what has no time of its own, and is what relative times are relative to.
    pub(crate) received_at: Timestamp,
    earliest: Timestamp,
    latest: Timestamp,
}

impl StampRule {
    pub(crate) fn new(received_at: Timestamp, now: Timestamp, limits: &Limits) -> Self {
        Self {
            received_at,
            earliest: limits.earliest,
            latest: now.plus_hours(limits.future_tolerance_hours),
        }
    }

    /// Reads `ts`: whole epoch milliseconds or RFC 3339.
    pub(crate) fn read(&self, value: &Value<'_>) -> Result<Timestamp, Finding> {
        let millis = match value {
            Value::Signed(n) => *n,
            Value::Unsigned(n) => i64::try_from(*n).unwrap_or(i64::MAX),
            Value::Float(x) if x.fract() == 0.0 => to_millis(*x),
            Value::Float(x) => {
                return Err(unreadable(&format!(
                    "{x} is not a whole number of milliseconds"
                )));
            }
            Value::Text(text) => {
                return match text.parse() {
                    Ok(ts) => self.judge(ts, String::new),
                    Err(_) => Err(unreadable(&format!("`{}` is not RFC 3339", shown(text)))),
                };
            }
            Value::Bool(_) | Value::Null | Value::Array | Value::Object => {
                return Err(unreadable(&format!("{} is no time", value.kind())));
            }
        };
        self.judge(Timestamp::from_millis(millis), || other_unit(millis))
    }

    /// Reads SenML's seconds: since 1970, or, below 2^28, from now (RFC 8428, section 4.5.3).
    pub(crate) fn read_senml(&self, seconds: f64) -> Result<Timestamp, Finding> {
        const RELATIVE_BELOW_S: f64 = 268_435_456.0;
        let millis = to_millis((seconds * 1_000.0).round());
        let millis = if seconds < RELATIVE_BELOW_S {
            self.received_at.as_millis().saturating_add(millis)
        } else {
            millis
        };
        self.judge(Timestamp::from_millis(millis), String::new)
    }

    fn judge(&self, ts: Timestamp, hint: impl Fn() -> String) -> Result<Timestamp, Finding> {
        if ts < self.earliest {
            let text = format!("{ts} is before {}{}", self.earliest, hint());
            Err(Finding::new(RejectReason::TimestampTooOld, text))
        } else if ts > self.latest {
            let text = format!("{ts} is after {}{}", self.latest, hint());
            Err(Finding::new(RejectReason::TimestampInFuture, text))
        } else {
            Ok(ts)
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "float to int casts saturate; Timestamp clamps further"
)]
fn to_millis(millis: f64) -> i64 {
    millis as i64
}

fn unreadable(text: &str) -> Finding {
    Finding::new(RejectReason::InvalidTimestamp, text)
}

/// Names the unit that would make sense of a number that makes none as milliseconds.
fn other_unit(millis: i64) -> String {
    // 2000 to 2100, in seconds.
    const SENSIBLE_S: std::ops::Range<i64> = 946_684_800..4_102_444_800;
    let units = [
        (1, "seconds"),
        (1_000_000, "microseconds"),
        (1_000_000_000, "nanoseconds"),
    ];
    let unit = units
        .iter()
        .find(|(per_s, _)| SENSIBLE_S.contains(&(millis / per_s)));
    match unit {
        Some((_, unit)) => format!(" ({millis} looks like {unit}; milliseconds are expected)"),
        None => String::new(),
    }
}
