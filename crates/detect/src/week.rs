//! The usual week of a metric: an offset per two hours of the week, in UTC, joined by straight lines.
//!
//! A weekly profile contains the daily one. Until a part of the week has been seen its offset is 0, so that
//! the first week is judged against the mean alone.

use crate::bounds::{most, within};
use crate::codec::packed;

const BIN_MS: i64 = 2 * 3_600_000;
/// Offsets of a week.
const BINS: usize = 84;
/// Fastest learning of an offset that is known.
const RATE_MAX: f32 = 0.05;
/// Learning within one visit of a bin, in time constants: most of what it shows, not all.
const VISIT: f64 = 1.2;
/// Samples that the mean averages over.
const MEAN_SAMPLES: f64 = 2_000.0;
/// Samples that the deviation averages over.
const DEVIATION_SAMPLES: f64 = 500.0;
/// Farthest departure that is learnt in full, deviations.
const LEARN_MAX: f64 = 4.0;
/// From so many samples on wild values are cut.
const CUT_FROM: f64 = 100.0;

/// Mean and offsets of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Week {
    mean: f64,
    deviation: f64,
    offsets: Vec<f32>,
    /// Samples seen per bin, as far as a byte counts.
    seen: Vec<u8>,
}
packed!(Week {
    mean,
    deviation,
    offsets,
    seen
});

/// An instant between the middles of two bins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeOfWeek {
    from: usize,
    to: usize,
    /// How far on the way, 0 to 1.
    way: f32,
}

impl TimeOfWeek {
    pub(crate) fn of(ms: i64) -> Self {
        let n = i64::try_from(BINS).unwrap_or(1);
        let past_middle = (ms - BIN_MS / 2).rem_euclid(n * BIN_MS);
        let from = usize::try_from(past_middle / BIN_MS).unwrap_or(0);
        Self {
            from,
            to: (from + 1) % BINS,
            way: (past_middle % BIN_MS) as f32 / BIN_MS as f32,
        }
    }
}

/// Learning rate of a known offset, for a class that reports every `interval_ms`.
pub(crate) fn rate(interval_ms: f64) -> f32 {
    let per_sample = VISIT * interval_ms / BIN_MS as f64;
    crate::together::narrow(per_sample.min(f64::from(RATE_MAX)))
}

impl Week {
    pub(crate) fn new(x: f64) -> Self {
        Self {
            mean: x,
            deviation: 0.0,
            offsets: vec![0.0; BINS],
            seen: vec![0; BINS],
        }
    }

    pub(crate) fn sound(&self) -> bool {
        self.offsets.len() == BINS && self.seen.len() == BINS
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.offsets.capacity() * size_of::<f32>() + self.seen.capacity()
    }

    /// Departure of `x` from the usual at this time of the week, then learns it. `n`: samples before; `early`: the weight
    /// of this one in the plain mean of all.
    pub(crate) fn step(
        &mut self,
        x: f64,
        at: TimeOfWeek,
        (n, early): (f64, f64),
        rate: f32,
    ) -> f64 {
        let offset = self.offsets[at.from] * (1.0 - at.way) + self.offsets[at.to] * at.way;
        let departure = x - self.mean - f64::from(offset);
        let learnt = if n > CUT_FROM {
            within(departure, LEARN_MAX * self.deviation)
        } else {
            departure
        };
        let of_deviation = most(early, 1.0 / DEVIATION_SAMPLES);
        self.deviation += of_deviation * (1.25 * learnt.abs() - self.deviation);
        self.mean += most(early, 1.0 / MEAN_SAMPLES) * learnt;
        let learnt = crate::together::narrow(learnt);
        for (bin, share) in [(at.from, 1.0 - at.way), (at.to, at.way)] {
            // Division is dear, and a bin that was seen often does without.
            let n_seen = 2.0 + f32::from(self.seen[bin]);
            let rate = if rate * n_seen > 1.001 {
                rate
            } else {
                most(rate, 1.0 / n_seen)
            };
            self.offsets[bin] += rate * share * learnt;
            if share >= 0.5 {
                self.seen[bin] = self.seen[bin].saturating_add(1);
            }
        }
        departure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weekend_that_comes_back_is_expected() {
        let day_ms = 86_400_000;
        // A coarse noise of its own, so that there is a deviation to measure with.
        let noise = |hour: i64| (hour * 7 % 11 - 5) as f64 * 0.2;
        let value = |hour: i64| noise(hour) + if hour / 24 % 7 >= 5 { 1.0 } else { 10.0 };
        let mut week = Week::new(value(0));
        let rate = rate(3_600_000.0);
        let mut worst = 0.0_f64;
        for hour in 0..24 * 7 * 12_i64 {
            let at = TimeOfWeek::of(hour * day_ms / 24);
            let departure = {
                let n = hour as f64;
                week.step(value(hour), at, (n, 1.0 / (n + 1.0)), rate)
            };
            // Where day and weekend meet, straight lines are off.
            if hour > 24 * 7 * 10 && (2..22).contains(&(hour % 24)) {
                worst = worst.max(departure.abs());
            }
        }
        assert!(worst < 3.0, "{worst}");
    }
}
