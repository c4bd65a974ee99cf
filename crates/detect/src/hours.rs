//! Time of day, in UTC: where an instant stands between the hourly offsets.

use forecare_domain::Timestamp;

use crate::chart::pull;

const HOUR_MS: i64 = 3_600_000;
/// Number of offsets.
pub(crate) const HOURS: usize = 24;

/// An instant between the middles of two hours of the day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TimeOfDay {
    /// The hour whose middle was passed last.
    pub(crate) from: usize,
    /// The hour after it.
    pub(crate) to: usize,
    /// How far on the way, 0 to 1.
    pub(crate) way: f32,
}

impl TimeOfDay {
    pub(crate) fn of(ts: Timestamp) -> Self {
        let past_middle = (ts.as_millis() - HOUR_MS / 2).rem_euclid(24 * HOUR_MS);
        let from = usize::try_from(past_middle / HOUR_MS).unwrap_or(0);
        Self {
            from,
            to: (from + 1) % HOURS,
            way: (past_middle % HOUR_MS) as f32 / HOUR_MS as f32,
        }
    }

    /// Offset at this instant.
    pub(crate) fn offset(self, hours: &[f32]) -> f32 {
        match (hours.get(self.from), hours.get(self.to)) {
            (Some(a), Some(b)) => a + (b - a) * self.way,
            _ => 0.0,
        }
    }

    /// Learns that the offset here is `y`. `rate` is the weight at an hour's middle.
    pub(crate) fn learn(self, hours: &mut [f32], y: f32, rate: f32, sd: f32) {
        for (hour, share) in [(self.from, 1.0 - self.way), (self.to, self.way)] {
            if let Some(offset) = hours.get_mut(hour) {
                pull(offset, y, rate * share, sd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_met_at_the_middle_of_the_hour_and_joined_between() {
        let mut hours = [0.0; HOURS];
        hours[23] = 2.0;
        hours[0] = 4.0;
        let at = |text: &str| TimeOfDay::of(text.parse().unwrap()).offset(&hours);
        assert_eq!(at("2026-01-01T23:30:00Z"), 2.0);
        assert_eq!(at("2026-01-02T00:00:00Z"), 3.0);
        assert_eq!(at("1969-12-31T00:30:00Z"), 4.0);
    }
}
