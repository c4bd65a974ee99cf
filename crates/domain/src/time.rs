//! Instants in UTC milliseconds, and the clock that is passed in.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, in milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time, or lies outside the years 0 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an RFC 3339 time such as 2026-01-31T08:00:00Z")]
pub struct InvalidTimestamp(pub String);

impl Timestamp {
    /// Latest instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);
    /// Earliest instant handled: 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_167_219_200_000);

    /// From epoch milliseconds; values outside [`Self::MIN`]..=[`Self::MAX`] are clamped to it.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Epoch milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Hours from `earlier` to `self`; negative when `earlier` is later.
    #[must_use]
    pub fn hours_since(self, earlier: Self) -> f64 {
        // Below 2^53 ms (285,000 years) the conversion is exact.
        (self.0 - earlier.0) as f64 / 3_600_000.0
    }

    /// This instant moved by `hours` (negative: earlier), rounded to the millisecond.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "float to int casts saturate, then clamp"
    )]
    pub fn plus_hours(self, hours: f64) -> Self {
        Self::from_millis(self.0.saturating_add((hours * 3_600_000.0).round() as i64))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|t| t.format(&Rfc3339).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTimestamp(text.chars().take(64).collect());
        let parsed = OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .ok_or_else(invalid)?;
        let millis = i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000))
            .ok()
            .ok_or_else(invalid)?;
        Ok(Self::from_millis(millis))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The only source of "now". Passed in everywhere, so that tests, replays and the demo own time.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// The instant at which a reading stamped `ts` is to be judged: the present for a live service,
    /// `ts` itself when history is replayed.
    fn judged_at(&self, ts: Timestamp) -> Timestamp {
        let _ = ts;
        self.now()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.as_millis()))
    }

    /// Sets the clock to `at`.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips_to_the_millisecond() {
        for text in [
            "2015-01-01T06:00:00Z",
            "2026-02-28T23:59:59.123Z",
            "1969-12-31T23:59:59.999Z",
        ] {
            let parsed: Timestamp = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
        let offset: Timestamp = "2026-01-01T08:00:00+08:00".parse().unwrap();
        assert_eq!(offset.to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        let err = "yesterday".parse::<Timestamp>().unwrap_err();
        assert!(err.to_string().contains("yesterday"));
    }

    #[test]
    fn extremes_clamp_and_still_print() {
        assert_eq!(Timestamp::from_millis(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.plus_hours(1e300), Timestamp::MAX);
        assert!(Timestamp::MAX.to_string().starts_with("9999-12-31"));
        assert!(Timestamp::MIN.to_string().starts_with("0000-01-01"));
    }
}
