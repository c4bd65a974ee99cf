//! Working calendars: when a service desk, a contract's clock or a technician is open.
//!
//! A calendar is open whenever the wall clock of its time zone shows a time inside one of its spans. So
//! when clocks go forward, a span across the gap is an hour shorter; when they go back, the repeated hour
//! counts twice if it lies inside a span. All results are exact to the millisecond.

mod file;
mod openings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use forecare_domain::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

pub use file::{CalendarError, CalendarFile, HolidayFile, WeekFile};
pub use openings::Openings;
use openings::Pieces;

/// Farthest that a calendar is looked ahead for its next opening, milliseconds: ten years. What does not open
/// within them (holidays without end) is taken to stay closed.
const LOOK_AHEAD_MS: i64 = 3_653 * DAY_MS;
const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// Minutes after midnight, from (inclusive) to (exclusive).
type Span = (i64, i64);

/// What a clock on the wall shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WallClock {
    /// `2026-03-02`.
    pub date: String,
    /// `08:00`.
    pub time: String,
    /// 0: Monday, 6: Sunday.
    pub weekday: usize,
}

/// A checked working calendar. In TOML and JSON a [`CalendarFile`]:
///
/// ```toml
/// time_zone = "Europe/Zurich"
/// [week]
/// mon = ["08:00-12:00", "13:00-17:00"]
/// fri = ["22:00-06:00"]              # ends on Saturday morning
/// [[holiday]]
/// date = "2026-12-25"
/// title = "Christmas Day"            # closed
/// [[holiday]]
/// date = "2026-12-24"
/// hours = ["08:00-12:00"]            # shortened
/// ```
///
/// or `around_the_clock = true`. Two calendars are equal when their files are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "CalendarFile", into = "CalendarFile")]
pub struct Calendar {
    file: CalendarFile,
    zone: TimeZone,
    /// Spans that begin on a Monday, ..., a Sunday; sorted, disjoint, each at most 24 hours long.
    week: [Vec<Span>; 7],
    /// Spans that begin on a date (days since 1970-01-01) instead of its weekday's.
    holidays: BTreeMap<i64, Vec<Span>>,
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Eq for Calendar {}

impl Calendar {
    /// Always open.
    #[must_use]
    pub fn around_the_clock() -> Self {
        Self {
            file: CalendarFile {
                around_the_clock: true,
                ..CalendarFile::default()
            },
            zone: TimeZone::UTC,
            week: std::array::from_fn(|_| vec![(0, file::DAY_MINUTES)]),
            holidays: BTreeMap::new(),
        }
    }

    /// True where it never closes.
    #[must_use]
    pub fn is_around_the_clock(&self) -> bool {
        self.file.around_the_clock
    }

    /// The name of its time zone.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        &self.file.time_zone
    }

    /// The same hours by the clocks of another place; `None`: there is no such time zone.
    #[must_use]
    pub fn in_zone(&self, time_zone: &str) -> Option<Self> {
        let file = CalendarFile {
            time_zone: time_zone.to_owned(),
            ..self.file.clone()
        };
        Self::try_from(file).ok()
    }

    /// What the clock on its wall shows at `at`.
    #[must_use]
    pub fn wall_clock(&self, at: Timestamp) -> WallClock {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
        let local = self.zone.to_datetime(at);
        WallClock {
            date: local.date().to_string(),
            time: local.strftime("%H:%M").to_string(),
            weekday: usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0),
        }
    }

    /// The open intervals from `from` to `to`, in order, disjoint and not touching, cut to that range.
    #[must_use]
    pub fn openings(&self, from: Timestamp, to: Timestamp) -> Openings<'_> {
        Openings::new(self, from, to)
    }

    /// True where it is open at `at`.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        let after = Timestamp::from_millis(at.as_millis().saturating_add(1));
        self.openings(at, after).next().is_some()
    }

    /// How long it is open between two instants, milliseconds; 0 where `to` is not after `from`.
    #[must_use]
    pub fn open_ms(&self, from: Timestamp, to: Timestamp) -> i64 {
        if self.file.around_the_clock {
            return (to.as_millis() - from.as_millis()).max(0);
        }
        Pieces::new(self, from, to)
            .map(|(open, close)| close - open)
            .sum()
    }

    /// The first instant at which it has been open for `ms` milliseconds since `from`: `from` itself for
    /// 0 or less. `None`: it stays closed for ten years before that, or the year 9999 ends.
    #[must_use]
    pub fn after_open_ms(&self, from: Timestamp, ms: i64) -> Option<Timestamp> {
        if ms <= 0 {
            return Some(from);
        }
        if self.file.around_the_clock {
            let at = from.as_millis().checked_add(ms)?;
            return (at <= Timestamp::MAX.as_millis()).then(|| Timestamp::from_millis(at));
        }
        let mut left = ms;
        let mut from = from;
        loop {
            let until = ahead(from);
            let mut found = false;
            for (open, close) in Pieces::new(self, from, until) {
                found = true;
                if close - open >= left {
                    return Some(Timestamp::from_millis(open + left));
                }
                left -= close - open;
            }
            if !found {
                return None;
            }
            from = until;
        }
    }

    /// The first instant from `at` on at which it is open. `None`: it stays closed for ten years.
    #[must_use]
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        Pieces::new(self, at, ahead(at))
            .next()
            .map(|(open, _)| Timestamp::from_millis(open))
    }

    /// Spans that begin on `day`, days since 1970-01-01.
    fn spans_of(&self, day: i64) -> &[Span] {
        self.holidays
            .get(&day)
            .unwrap_or_else(|| &self.week[weekday(day)])
    }

    /// Open minutes of `day`: its own spans and what the day before leaves over, sorted and disjoint.
    fn minutes_of(&self, day: i64, into: &mut Vec<Span>) {
        into.clear();
        let over = self.spans_of(day - 1).iter();
        let own = self.spans_of(day).iter();
        for (from, to) in over
            .map(|(from, to)| (from - file::DAY_MINUTES, to - file::DAY_MINUTES))
            .chain(own.copied())
        {
            let (from, to) = (from.max(0), to.min(file::DAY_MINUTES));
            if from >= to {
                continue;
            }
            match into.last_mut() {
                // Only the day before can reach into the first of today's own spans.
                Some(last) if last.1 >= from => last.1 = last.1.max(to),
                _ => into.push((from, to)),
            }
        }
    }
}

fn ahead(from: Timestamp) -> Timestamp {
    Timestamp::from_millis(from.as_millis().saturating_add(LOOK_AHEAD_MS))
}

/// 0 for Monday to 6 for Sunday; `day` counts from 1970-01-01, a Thursday.
fn weekday(day: i64) -> usize {
    usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0)
}
