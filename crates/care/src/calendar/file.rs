//! Calendars as they are written and stored, and what can be wrong with them.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Calendar, Span};

pub(super) const DAY_MINUTES: i64 = 1_440;
/// Most holidays of a calendar.
const HOLIDAYS_MAX: usize = 2_000;
/// Most spans of one day.
const SPANS_MAX: usize = 24;

/// A [`Calendar`] as written in TOML or JSON. Unknown keys are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarFile {
    /// True: always open; then nothing else is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub around_the_clock: bool,
    /// IANA name of the time zone, such as `Europe/Zurich`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// Opening hours of a usual week.
    #[serde(default, skip_serializing_if = "WeekFile::is_empty")]
    pub week: WeekFile,
    /// Dates with other opening hours.
    #[serde(default, rename = "holiday", skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<HolidayFile>,
}

/// Spans such as `08:00-17:00`, in local time, by the weekday on which they begin. A span that ends at or
/// before its beginning passes midnight; `24:00` is the day's end. Without spans: closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WeekFile {
    /// Monday.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mon: Vec<String>,
    /// Tuesday.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tue: Vec<String>,
    /// Wednesday.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wed: Vec<String>,
    /// Thursday.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thu: Vec<String>,
    /// Friday.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fri: Vec<String>,
    /// Saturday.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sat: Vec<String>,
    /// Sunday.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sun: Vec<String>,
}

/// A date with other opening hours than its weekday's. What the evening before left over past midnight stays:
/// a shift belongs to the date on which it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolidayFile {
    /// The date, such as `2026-12-25`.
    pub date: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Its spans; none: closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<String>,
}

/// What is wrong with a calendar, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// No such time zone.
    #[error("time_zone \"{0}\" is not in the IANA database; write it as in \"Europe/Zurich\"")]
    UnknownZone(String),
    /// A span that cannot be read.
    #[error(
        "{key}: \"{span}\" is no span of time; write it as \"08:00-17:00\" (at most 24 hours, past midnight as \"22:00-06:00\", a whole day as \"00:00-24:00\")"
    )]
    Span {
        /// Where it stands, such as `week.mon` or `holiday 2026-12-24`.
        key: String,
        /// The text.
        span: String,
    },
    /// Two spans of one day overlap.
    #[error("{key}: the spans {first} and {second} overlap")]
    Overlap {
        /// Where they stand.
        key: String,
        /// The earlier one.
        first: String,
        /// The later one.
        second: String,
    },
    /// A date that cannot be read.
    #[error("holiday: \"{0}\" is no date; write it as \"2026-12-25\"")]
    Date(String),
    /// The same date twice.
    #[error("holiday {0} is given twice")]
    DateTwice(String),
    /// Hours beside `around_the_clock`.
    #[error(
        "around_the_clock = true leaves nothing to say: remove week and holiday, or around_the_clock"
    )]
    AroundTheClockWithHours,
    /// A week without an opening.
    #[error(
        "week has no opening hours at all: give at least one day some, or around_the_clock = true"
    )]
    NeverOpen,
    /// More than the limit.
    #[error("{key}: more than {max} entries")]
    TooMany {
        /// Where.
        key: String,
        /// The limit.
        max: usize,
    },
}

impl WeekFile {
    fn is_empty(&self) -> bool {
        self.days().iter().all(|(_, spans)| spans.is_empty())
    }

    fn days(&self) -> [(&'static str, &Vec<String>); 7] {
        [
            ("week.mon", &self.mon),
            ("week.tue", &self.tue),
            ("week.wed", &self.wed),
            ("week.thu", &self.thu),
            ("week.fri", &self.fri),
            ("week.sat", &self.sat),
            ("week.sun", &self.sun),
        ]
    }
}

impl TryFrom<CalendarFile> for Calendar {
    type Error = CalendarError;

    fn try_from(file: CalendarFile) -> Result<Self, CalendarError> {
        if file.around_the_clock {
            if !file.week.is_empty() || !file.holidays.is_empty() {
                return Err(CalendarError::AroundTheClockWithHours);
            }
            let zone = if file.time_zone.is_empty() {
                TimeZone::UTC
            } else {
                zone(&file.time_zone)?
            };
            return Ok(Self {
                file,
                zone,
                ..Self::around_the_clock()
            });
        }
        let zone = zone(&file.time_zone)?;
        if file.week.is_empty() {
            return Err(CalendarError::NeverOpen);
        }
        let mut week: [Vec<Span>; 7] = Default::default();
        for (spans, (key, texts)) in week.iter_mut().zip(file.week.days()) {
            *spans = parse_spans(key, texts)?;
        }
        if file.holidays.len() > HOLIDAYS_MAX {
            return Err(CalendarError::TooMany {
                key: "holiday".to_owned(),
                max: HOLIDAYS_MAX,
            });
        }
        let mut holidays = BTreeMap::new();
        for holiday in &file.holidays {
            let date: Date = holiday
                .date
                .parse()
                .ok()
                // The library takes a time beside the date, too.
                .filter(|date: &Date| date.to_string() == holiday.date)
                .ok_or_else(|| CalendarError::Date(holiday.date.clone()))?;
            let spans = parse_spans(&format!("holiday {date}"), &holiday.hours)?;
            if holidays.insert(day_number(date), spans).is_some() {
                return Err(CalendarError::DateTwice(holiday.date.clone()));
            }
        }
        Ok(Self {
            file,
            zone,
            week,
            holidays,
        })
    }
}

impl From<Calendar> for CalendarFile {
    fn from(calendar: Calendar) -> Self {
        calendar.file
    }
}

fn zone(name: &str) -> Result<TimeZone, CalendarError> {
    TimeZone::get(name)
        .ok()
        .filter(|_| !name.is_empty())
        .ok_or_else(|| CalendarError::UnknownZone(name.to_owned()))
}

/// Days since 1970-01-01.
fn day_number(date: Date) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    i64::from((date - epoch).get_days())
}

fn parse_spans(key: &str, texts: &[String]) -> Result<Vec<Span>, CalendarError> {
    if texts.len() > SPANS_MAX {
        return Err(CalendarError::TooMany {
            key: key.to_owned(),
            max: SPANS_MAX,
        });
    }
    let mut spans = Vec::with_capacity(texts.len());
    for text in texts {
        let span = parse_span(text).ok_or_else(|| CalendarError::Span {
            key: key.to_owned(),
            span: text.clone(),
        })?;
        spans.push((span, text));
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if let [((_, end), first), ((begin, _), second)] = pair
            && begin < end
        {
            return Err(CalendarError::Overlap {
                key: key.to_owned(),
                first: (*first).clone(),
                second: (*second).clone(),
            });
        }
    }
    Ok(spans.into_iter().map(|(span, _)| span).collect())
}

fn parse_span(text: &str) -> Option<Span> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from.trim())?, minute(to.trim())?);
    if from == DAY_MINUTES || from == to {
        None
    } else if to > from {
        Some((from, to))
    } else {
        Some((from, to + DAY_MINUTES))
    }
}

/// Minutes after midnight of `HH:MM`, up to `24:00`.
fn minute(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())
            .flatten()
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}
