//! Days of the Gregorian calendar.

use std::fmt;
use std::str::FromStr;

use forecare_domain::Timestamp;
use serde::{Deserialize, Serialize};
use time::{Month, OffsetDateTime};

/// A day, without a time or a zone. Written as `2026-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = Date))]
pub struct Date(time::Date);

/// A text that is no day of the years 1900 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a day such as 2026-01-31")]
pub struct InvalidDate(pub String);

impl Date {
    /// The day in UTC on which `at` lies.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        let nanos = i128::from(at.as_millis()) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos);
        Self(at.map_or(time::Date::MIN, OffsetDateTime::date))
    }

    /// The last millisecond of the day, in UTC.
    #[must_use]
    pub fn end(self) -> Timestamp {
        let begin = self.0.midnight().assume_utc().unix_timestamp();
        Timestamp::from_millis((begin + 86_400) * 1_000 - 1)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

impl FromStr for Date {
    type Err = InvalidDate;

    fn from_str(text: &str) -> Result<Self, InvalidDate> {
        let parsed = || {
            let digits = |range: std::ops::Range<usize>| -> Option<u16> {
                let part = text.get(range)?;
                part.bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| part.parse().ok())?
            };
            if text.len() != 10 || text.get(4..5)? != "-" || text.get(7..8)? != "-" {
                return None;
            }
            let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
            let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
            let date =
                time::Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?);
            (year >= 1900).then_some(Self(date.ok()?))
        };
        parsed().ok_or_else(|| InvalidDate(text.chars().take(32).collect()))
    }
}

impl TryFrom<String> for Date {
    type Error = InvalidDate;
    fn try_from(text: String) -> Result<Self, InvalidDate> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip_and_nonsense_is_refused() {
        for text in ["1900-01-01", "2024-02-29", "9999-12-31"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "2026-1-1",
            "2026-02-30",
            "2025-02-29",
            "1899-12-31",
            "+026-01-01",
            "2026-01-01T00:00:00Z",
            "二零二六-一-",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_is_that_of_utc() {
        let at: Timestamp = "2026-01-01T07:59:00+08:00".parse().unwrap();
        assert_eq!(Date::of(at).to_string(), "2025-12-31");
    }
}
