//! Visits that customers choose the time of: which windows they may choose among, and until when.

use forecare_domain::{Ticket, Timestamp};
use serde::Deserialize;

use crate::Calendar;
use crate::dispatch::{Slot, is_assignable};

/// Hours by which is looked further, before and after, so that no opening is taken for a shorter one.
const MORE_HOURS: f64 = 48.0;

/// When customers may have somebody come.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appointments {
    /// When somebody may arrive; its time zone is the one that customers are shown.
    pub calendar: Calendar,
    /// Length of a window, about, hours: an opening is split into equal ones. Above 0.
    pub window_hours: f64,
    /// Nothing is offered sooner, and no visit changed later, than so many hours before it. At least 0.
    pub ahead_hours: f64,
    /// Most windows offered. At least 1.
    pub offered_max: usize,
}

/// Why a customer chooses no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotChoosable {
    /// The work has begun, or is over.
    #[error("the work has begun, or is over")]
    Begun,
    /// The visit is too near.
    #[error("the visit is too near to be moved")]
    TooNear,
}

impl Appointments {
    /// Whether customers can choose by it.
    ///
    /// # Errors
    /// What does not do, and what would.
    pub fn check_calendar(&self) -> Result<(), &'static str> {
        const DAY_HOURS: f64 = 24.0;
        let closes = "calendar must close every night, as in week = { mon = [\"08:00-17:00\"] }: customers choose among its windows";
        if self.calendar.is_around_the_clock() {
            return Err(closes);
        }
        let from = Timestamp::from_millis(0);
        let mut weeks = self
            .calendar
            .openings(from, from.plus_hours(14.0 * DAY_HOURS));
        let mut first = weeks.next();
        if first.is_none() {
            return Err("calendar must open on some day of the week");
        }
        while let Some((open, close)) = first {
            if close.hours_since(open) >= DAY_HOURS {
                return Err(closes);
            }
            first = weeks.next();
        }
        Ok(())
    }

    /// The windows that may be offered at `now` and begin before `until`, in order.
    #[must_use]
    pub fn windows(&self, now: Timestamp, until: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let soonest = now.plus_hours(self.ahead_hours);
        let mut windows = Vec::new();
        let (first, last) = (now.plus_hours(-MORE_HOURS), until.plus_hours(MORE_HOURS));
        for (open, close) in self.calendar.openings(first, last) {
            let hours = close.hours_since(open);
            let n = (hours / self.window_hours).round().max(1.0);
            let width = hours / n;
            let mut from = open;
            while close.hours_since(from) >= width / 2.0 {
                let to = from.plus_hours(width);
                if from >= soonest && from < until {
                    windows.push((from, to));
                }
                from = to;
            }
        }
        windows
    }

    /// Whether the customer has a say in when `ticket` is worked on.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, ticket: &Ticket, now: Timestamp) -> Result<(), NotChoosable> {
        if !is_assignable(ticket.state) {
            return Err(NotChoosable::Begun);
        }
        let nearest = now.plus_hours(self.ahead_hours);
        match agreed_start(ticket).or_else(|| crate::visit_start(ticket)) {
            // One that has passed is no visit any more.
            Some(start_at) if start_at < nearest && start_at >= now => Err(NotChoosable::TooNear),
            Some(_) | None => Ok(()),
        }
    }

    /// Those of `slots` (in order) that are offered: what ends in time for `due_at`; where nothing does, the soonest.
    #[must_use]
    pub fn offered(&self, mut slots: Vec<Slot>, due_at: Timestamp) -> Vec<Slot> {
        if slots.iter().any(|slot| slot.visit.end_at <= due_at) {
            slots.retain(|slot| slot.visit.end_at <= due_at);
        }
        slots.truncate(self.offered_max);
        slots
    }

    /// The window in which `at` lies, or begins with it.
    #[must_use]
    pub fn window_of(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let before = at.plus_hours(-self.ahead_hours - 2.0 * self.window_hours);
        let mut windows = self.windows(before, at.plus_hours(1.0)).into_iter();
        windows.find(|(from, to)| *from <= at && at < *to)
    }
}

/// When the work is to begin, where that is laid down.
#[must_use]
pub fn agreed_start(ticket: &Ticket) -> Option<Timestamp> {
    ticket.assignment.as_ref().and_then(|a| a.start_at)
}

#[cfg(test)]
mod tests {
    use forecare_domain::{DispatchCandidate, DispatchCost, DispatchOverride, TicketState};

    use super::*;
    use crate::fixtures::{TO_WORK, confirmed, person, resolved, ticket, walked};

    fn appointments() -> Appointments {
        let text = r#"{"calendar": {"time_zone": "Europe/Zurich", "week": {"mon": ["08:00-17:00"], "tue": ["08:00-12:00"]}},
            "window_hours": 4, "ahead_hours": 24, "offered_max": 2}"#;
        serde_json::from_str(text).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_are_parts_of_openings_and_none_is_too_near() {
        // Sunday at noon UTC: those of Monday begin before 13:00 in Zurich.
        let now = time("2026-03-01T12:00:00Z");
        let windows = appointments().windows(now, now.plus_hours(8.0 * 24.0));
        let begins: Vec<Timestamp> = windows.iter().map(|w| w.0).collect();
        let expected = [
            "2026-03-03T07:00:00Z",
            "2026-03-09T07:00:00Z",
            "2026-03-09T11:30:00Z",
        ];
        assert_eq!(begins, expected.map(time));
        let (from, to) = windows[1];
        assert!((to.hours_since(from) - 4.5).abs() < 1e-9);
        assert_eq!(
            appointments().window_of(time("2026-03-09T12:00:00Z")),
            Some(windows[2])
        );
        assert_eq!(appointments().window_of(time("2026-03-08T12:00:00Z")), None);
    }

    #[test]
    fn a_visit_that_is_near_or_begun_is_not_moved() {
        let appointments = appointments();
        let now = crate::fixtures::at(100.0);
        assert_eq!(appointments.check(&ticket(), now), Ok(()));
        let mut near = ticket();
        near.assignment = Some(DispatchOverride {
            technician: "Cy".to_owned(),
            start_at: Some(now.plus_hours(23.0)),
            why: String::new(),
            by: person(),
            at: now,
        });
        assert_eq!(appointments.check(&near, now), Err(NotChoosable::TooNear));
        let later = now.plus_hours(24.0);
        assert_eq!(appointments.check(&near, later), Ok(()), "nobody came");
        for over in [walked(&TO_WORK, &confirmed()), resolved(&confirmed())] {
            assert_ne!(over.state, TicketState::New);
            assert_eq!(appointments.check(&over, now), Err(NotChoosable::Begun));
        }
    }

    #[test]
    fn windows_do_not_depend_on_when_one_looks() {
        let now = time("2026-03-01T12:00:00Z");
        let later = now.plus_hours(0.0014);
        let until = now.plus_hours(8.0 * 24.0);
        let appointments = appointments();
        assert_eq!(
            appointments.windows(now, until),
            appointments.windows(later, until)
        );
        assert_eq!(appointments.check_calendar(), Ok(()));
        let mut never_closed = appointments.clone();
        never_closed.calendar = Calendar::around_the_clock();
        assert!(never_closed.check_calendar().is_err());
        let week =
            r#"{"time_zone": "UTC", "week": {"mon": ["00:00-24:00"], "tue": ["00:00-08:00"]}}"#;
        never_closed.calendar = serde_json::from_str(week).unwrap();
        assert!(never_closed.check_calendar().is_err());
    }

    #[test]
    fn what_is_in_time_is_offered_first() {
        let now = crate::fixtures::at(0.0);
        let slot = |day: f64| Slot {
            from: now.plus_hours(day * 24.0),
            to: now.plus_hours(day * 24.0 + 4.0),
            visit: DispatchCandidate {
                technician: "Cy".to_owned(),
                start_at: now.plus_hours(day * 24.0),
                end_at: now.plus_hours(day * 24.0 + 2.0),
                cost: DispatchCost::default(),
            },
        };
        let all = || vec![slot(1.0), slot(2.0), slot(3.0), slot(4.0)];
        let days = |due: f64| {
            let due_at = now.plus_hours(due * 24.0);
            let offered = appointments().offered(all(), due_at);
            offered
                .iter()
                .map(|s| s.from.hours_since(now) / 24.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(days(1.5), [1.0]);
        assert_eq!(days(9.0), [1.0, 2.0]);
        assert_eq!(days(0.5), [1.0, 2.0]);
    }
}
