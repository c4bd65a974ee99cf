//! When somebody may be disturbed, and when their digest comes.

use forecare_care::Calendar;
use forecare_care::calendar::{CalendarError, CalendarFile, WeekFile};
use forecare_domain::Timestamp;

/// Quiet hours and the time of the digest, by the wall clock of a time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Hours {
    quiet: Option<Calendar>,
    digest: Calendar,
    time_zone: String,
}

fn every_day(time_zone: &str, span: &str) -> Result<Calendar, CalendarError> {
    let day = || vec![span.to_owned()];
    Calendar::try_from(CalendarFile {
        time_zone: time_zone.to_owned(),
        week: WeekFile {
            mon: day(),
            tue: day(),
            wed: day(),
            thu: day(),
            fri: day(),
            sat: day(),
            sun: day(),
        },
        ..CalendarFile::default()
    })
}

impl Hours {
    /// `quiet` such as `22:00-07:00`, empty: none. `digest_at` such as `08:00`.
    ///
    /// # Errors
    /// A time or a time zone that there is not.
    pub fn new(quiet: &str, digest_at: &str, time_zone: &str) -> Result<Self, CalendarError> {
        // A minute is enough to find its begin.
        let after = minute_after(digest_at);
        Ok(Self {
            quiet: match quiet {
                "" => None,
                span => Some(every_day(time_zone, span)?),
            },
            digest: every_day(time_zone, &format!("{digest_at}-{after}"))?,
            time_zone: time_zone.to_owned(),
        })
    }

    /// Name of the time zone.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// The first instant from `at` on that is not quiet.
    #[must_use]
    pub fn awake(&self, at: Timestamp) -> Timestamp {
        let Some(quiet) = &self.quiet else { return at };
        let span = quiet.openings(at, at.plus_hours(72.0)).next();
        match span {
            Some((begin, end)) if begin <= at => end,
            Some(_) | None => at,
        }
    }

    /// When the digest after `at` comes.
    #[must_use]
    pub fn digest(&self, at: Timestamp) -> Timestamp {
        self.digest.next_open(at).unwrap_or(at)
    }
}

fn minute_after(time: &str) -> String {
    let parsed = time
        .split_once(':')
        .and_then(|(h, m)| Some((h.parse::<u32>().ok()?, m.parse::<u32>().ok()?)));
    match parsed {
        Some((h, m)) if m < 59 => format!("{h:02}:{:02}", m + 1),
        Some((h, _)) if h < 23 => format!("{:02}:00", h + 1),
        // The calendar says what is wrong with any other text.
        Some(_) | None => "24:00".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn quiet_hours_end_by_the_wall_clock() {
        let hours = Hours::new("22:00-07:00", "08:00", "Europe/Berlin").unwrap();
        let day = at("2026-07-01T12:00:00Z");
        assert_eq!(hours.awake(day), day);
        // 23:30 and 06:59 in Berlin, which is two hours ahead in summer and one in winter.
        assert_eq!(
            hours.awake(at("2026-07-01T21:30:00Z")),
            at("2026-07-02T05:00:00Z")
        );
        assert_eq!(
            hours.awake(at("2026-01-02T05:59:00Z")),
            at("2026-01-02T06:00:00Z")
        );
        let end = at("2026-01-02T06:00:00Z");
        assert_eq!(hours.awake(end), end);
    }

    #[test]
    fn the_digest_comes_once_a_day() {
        let hours = Hours::new("", "08:00", "Asia/Shanghai").unwrap();
        assert_eq!(
            hours.digest(at("2026-07-01T01:00:00Z")),
            at("2026-07-02T00:00:00Z")
        );
        assert_eq!(
            hours.digest(at("2026-07-01T23:00:00Z")),
            at("2026-07-02T00:00:00Z")
        );
        assert_eq!(
            hours.awake(at("2026-07-01T23:00:00Z")),
            at("2026-07-01T23:00:00Z")
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        assert!(Hours::new("22-7", "08:00", "UTC").is_err());
        assert!(Hours::new("", "8 o'clock", "UTC").is_err());
        assert!(Hours::new("", "08:00", "Moon/Sea").is_err());
        for late in ["23:58", "23:59", "00:00"] {
            Hours::new("", late, "UTC").unwrap();
        }
    }
}
