//! The people: who is free, when the shift is, what is overtime.

use forecare_care::{CarePolicy, candidates};
use forecare_catalogue::Technician;
use forecare_domain::{DepotName, Timestamp};

use super::policy::CrewRules;

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 24 * 60;

/// The crew of a course of things.
#[derive(Debug, Clone)]
pub(crate) struct Crew {
    rules: CrewRules,
    technicians: Vec<Technician>,
    /// When each is free again.
    free_at: Vec<Timestamp>,
}

/// Who does a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hand {
    /// The technician of that place.
    Technician(usize),
    /// The catalogue names nobody: there is always somebody.
    Anybody,
}

impl Crew {
    pub(crate) fn new(rules: CrewRules, technicians: Vec<Technician>) -> Self {
        let free_at = vec![Timestamp::MIN; technicians.len()];
        Self {
            rules,
            technicians,
            free_at,
        }
    }

    pub(crate) fn response_hours(&self) -> f64 {
        self.rules.response_hours
    }

    /// True where somebody has the skills, free or not.
    pub(crate) fn can(&self, skills: &[String]) -> bool {
        self.technicians.is_empty()
            || self
                .technicians
                .iter()
                .any(|t| skills.iter().all(|s| t.skills.contains(s)))
    }

    /// The places of those who have the skills.
    pub(crate) fn able(&self, skills: &[String]) -> Vec<usize> {
        let all = self.technicians.iter().enumerate();
        all.filter(|(_, t)| skills.iter().all(|s| t.skills.contains(s)))
            .map(|(place, _)| place)
            .collect()
    }

    /// True where one of `able` is free at `now`.
    pub(crate) fn is_one_free(&self, able: &[usize], now: Timestamp) -> bool {
        self.technicians.is_empty() || able.iter().any(|place| self.free_at[*place] <= now)
    }

    /// Who is free at `now` and has the skills: the first of those that the desk would propose.
    pub(crate) fn free(
        &self,
        skills: &[String],
        depot: Option<&DepotName>,
        load: &[(String, u32)],
        policy: &CarePolicy,
        now: Timestamp,
    ) -> Option<Hand> {
        if self.technicians.is_empty() {
            return Some(Hand::Anybody);
        }
        let away = policy.away_counts_as_tickets;
        candidates(&self.technicians, skills, depot, load, away)
            .into_iter()
            .filter_map(|c| self.technicians.iter().position(|t| t == c.technician))
            .find(|place| self.free_at[*place] <= now)
            .map(Hand::Technician)
    }

    pub(crate) fn name(&self, hand: &Hand) -> String {
        match hand {
            Hand::Technician(place) => self.technicians[*place].name.clone(),
            Hand::Anybody => "crew".to_owned(),
        }
    }

    pub(crate) fn occupy(&mut self, hand: &Hand, until: Timestamp) {
        if let Hand::Technician(place) = hand {
            self.free_at[*place] = until;
        }
    }

    /// True when planned work may begin at `now`: in the shift, or where it must be done before the next one begins
    /// and overtime is allowed. `next_shift`: that of `now`.
    pub(crate) fn may_begin(
        &self,
        now: Timestamp,
        next_shift: Timestamp,
        latest_begin: Timestamp,
    ) -> bool {
        next_shift <= now || (self.rules.overtime && latest_begin < next_shift)
    }

    /// When the shift is next on: `at` itself during one.
    pub(crate) fn next_shift(&self, at: Timestamp) -> Timestamp {
        let (begin, end) = self.rules.shift_minutes;
        let local_ms = at.as_millis() + self.rules.utc_offset_minutes * MINUTE_MS;
        let today = local_ms.div_euclid(DAY_MINUTES * MINUTE_MS);
        for day in today..=today + 7 {
            let (begin_ms, end_ms) = (
                (day * DAY_MINUTES + begin) * MINUTE_MS,
                (day * DAY_MINUTES + end) * MINUTE_MS,
            );
            if self.works_on(day) && local_ms < end_ms {
                let next = local_ms.max(begin_ms);
                return Timestamp::from_millis(next - self.rules.utc_offset_minutes * MINUTE_MS);
            }
        }
        Timestamp::MAX
    }

    /// Hours between two instants that lie outside the shift.
    pub(crate) fn overtime_hours(&self, from: Timestamp, to: Timestamp) -> f64 {
        let (begin, end) = self.rules.shift_minutes;
        let offset_ms = self.rules.utc_offset_minutes * MINUTE_MS;
        let (from_ms, to_ms) = (from.as_millis() + offset_ms, to.as_millis() + offset_ms);
        let day_ms = DAY_MINUTES * MINUTE_MS;
        let mut in_shift_ms = 0;
        for day in from_ms.div_euclid(day_ms)..=to_ms.div_euclid(day_ms) {
            if self.works_on(day) {
                let begin_ms = (day * DAY_MINUTES + begin) * MINUTE_MS;
                let end_ms = (day * DAY_MINUTES + end) * MINUTE_MS;
                in_shift_ms += (to_ms.min(end_ms) - from_ms.max(begin_ms)).max(0);
            }
        }
        (to_ms - from_ms - in_shift_ms).max(0) as f64 / 3_600_000.0
    }

    /// `day` counts from 1970-01-01, a Thursday.
    fn works_on(&self, day: i64) -> bool {
        let of_week = usize::try_from(day.rem_euclid(7)).unwrap_or(0);
        self.rules.days[of_week]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crew(days: [bool; 7], overtime: bool) -> Crew {
        let rules = CrewRules {
            response_hours: 4.0,
            shift_minutes: (7 * 60, 15 * 60),
            days,
            utc_offset_minutes: 60,
            overtime,
        };
        Crew::new(rules, Vec::new())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Monday to Friday, seen from Thursday.
    const WEEK: [bool; 7] = [true, true, false, false, true, true, true];

    #[test]
    fn the_shift_is_local_and_has_weekends() {
        let crew = crew(WEEK, false);
        // 2026-01-02 is a Friday; the offset is an hour.
        let next = |text| crew.next_shift(at(text)).to_string();
        assert_eq!(next("2026-01-02T05:00:00Z"), "2026-01-02T06:00:00Z");
        assert_eq!(next("2026-01-02T09:30:00Z"), "2026-01-02T09:30:00Z");
        assert_eq!(next("2026-01-02T14:00:00Z"), "2026-01-05T06:00:00Z");
    }

    #[test]
    fn overtime_is_what_lies_outside() {
        let crew = crew(WEEK, false);
        let over = |a, b| crew.overtime_hours(at(a), at(b));
        assert_eq!(over("2026-01-02T12:00:00Z", "2026-01-02T16:00:00Z"), 2.0);
        assert_eq!(over("2026-01-03T12:00:00Z", "2026-01-03T16:00:00Z"), 4.0);
        assert_eq!(over("2026-01-02T07:00:00Z", "2026-01-02T08:00:00Z"), 0.0);
        assert_eq!(over("2026-01-02T13:00:00Z", "2026-01-05T07:00:00Z"), 64.0);
    }

    #[test]
    fn planned_work_waits_for_the_shift_unless_it_cannot() {
        let evening = at("2026-01-02T18:00:00Z");
        let tonight = at("2026-01-02T23:00:00Z");
        let monday = at("2026-01-05T10:00:00Z");
        let may = |overtime, latest_begin| {
            let crew = crew(WEEK, overtime);
            crew.may_begin(evening, crew.next_shift(evening), latest_begin)
        };
        assert!(may(true, tonight));
        assert!(!may(true, monday));
        assert!(!may(false, tonight));
    }
}
