//! The baseline of a metric: first guess, levels per regime, offsets per hour of the day.

use super::{CHART_SAMPLES_MIN, Departure, HUBER, Metric, standard};
use crate::ClassDetector;
use crate::bounds::{least, most, within};
use crate::chart::Moments;
use crate::codec::packed;
use crate::hours::{HOURS, TimeOfDay};
use crate::operation::{self, Regressors};
use crate::together::narrow;

/// Values that set the first level and deviation: median and trimmed deviation of so many.
pub(super) const SEED_SAMPLES: usize = 24;
/// Changes of value among them without which there is no deviation to speak of.
const SEED_CHANGES_MIN: usize = 4;
/// Samples behind a level after another was merged into it, at most.
const MERGED_SAMPLES: f32 = 100.0;
/// A level whose own rate is so many times what the fit asks for has begun anew.
const ANEW: f64 = 8.0;

/// Level and deviation within a regime.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub(super) mean: f64,
    pub(super) sd: f64,
    pub(super) n: f32,
    /// An early mean that stays: hours count from it until they are used.
    pub(super) anchor: f64,
}
packed!(Level {
    mean,
    sd,
    n,
    anchor
});

impl Level {
    const fn unknown(sd: f64) -> Self {
        Self {
            mean: 0.0,
            sd,
            n: 0.0,
            anchor: 0.0,
        }
    }

    /// Learns `x`; `widened`: by how much its deviation is larger than the usual one, at least 1; `gain`: how far
    /// the fit of the operating point's effect wants the level to move, as a share of the error.
    pub(super) fn learn(
        &mut self,
        x: f64,
        (widened, gain): (f64, Option<f64>),
        weight: f32,
        n_max: f32,
        sd_min: f64,
    ) {
        if self.n < 1.0 {
            self.mean = x;
            self.anchor = x;
            self.n = 1.0;
            return;
        }
        self.n = least(self.n + weight, n_max);
        // Twice the weight of a plain mean: a poor start is forgotten with the square of n.
        let rate = f64::from(least(weight * 2.0 / (self.n + 2.0), 1.0));
        let reach = HUBER * self.sd * widened;
        let e = within(x - self.mean, reach);
        // Level and slopes are one fit; but a level that begins anew is not held back by slopes known long since.
        let slowest = f64::from(weight * 2.0 / (n_max + 2.0));
        self.mean += e * match gain {
            Some(gain) if rate < ANEW * gain => most(f64::from(weight) * gain, slowest),
            Some(_) | None => rate,
        };
        if self.n < CHART_SAMPLES_MIN {
            self.anchor = self.mean;
        }
        let e = e / widened;
        let var = self.sd * self.sd;
        self.sd = most(most(var + rate * (e * e - var), 0.0).sqrt(), sd_min);
    }
}

impl Metric {
    /// Takes a value into the seed; sets level and deviation once it varies.
    pub(crate) fn seed(&mut self, x: f64, regime: usize) {
        self.seed.push(x);
        if self.seed.len() < SEED_SAMPLES {
            return;
        }
        let steps: Vec<f64> = self
            .seed
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .filter(|&d| d > 0.0)
            .collect();
        if steps.len() < SEED_CHANGES_MIN {
            // Constant, or nearly: wait for it to vary.
            self.seed.remove(0);
            return;
        }
        let mut sorted = std::mem::take(&mut self.seed);
        sorted.sort_by(f64::total_cmp);
        let median = sorted[SEED_SAMPLES / 2];
        let resolution = steps.iter().copied().fold(f64::MAX, f64::min);
        self.sd_min = (0.3 * resolution).max(median.abs() * 1e-9).max(1e-140);
        // The middle 20 of 24 hold out against two wild values; 1.25 corrects the trimming.
        let middle = &sorted[2..SEED_SAMPLES - 2];
        let mean_square = middle
            .iter()
            .map(|x| (x - median) * (x - median))
            .sum::<f64>()
            / 20.0;
        self.unit = (1.25 * mean_square.sqrt()).max(self.sd_min);
        self.origin = median;
        self.extend_levels(regime);
        self.levels[regime] = Level {
            mean: median,
            sd: self.unit,
            n: 12.0,
            anchor: median,
        };
    }

    fn extend_levels(&mut self, regime: usize) {
        // The smallest deviation known is the best guess for a regime not seen yet.
        let sd = self
            .levels
            .iter()
            .filter(|l| l.n >= 1.0)
            .map(|l| l.sd)
            .fold(f64::MAX, f64::min)
            .min(self.unit);
        while self.levels.len() <= regime {
            self.levels.push(Level::unknown(sd));
        }
    }

    /// A new regime begins with the slopes of another one.
    pub(crate) fn open_regime(&mut self, place: usize, like: usize, n_axes: usize) {
        operation::copy_regime(&mut self.slopes, n_axes, like, place);
    }

    /// Regime `dropped` became part of `kept`; its place is for a new one.
    pub(crate) fn merge_regimes(&mut self, kept: usize, dropped: usize) {
        if self.ready() {
            self.extend_levels(kept.max(dropped));
            let (into, gone) = (self.levels[kept], self.levels[dropped]);
            // The mean stays: it belongs to the point that the slopes count from. The deviation is a guess
            // now, to be learnt quickly.
            self.levels[kept] = if into.n < 1.0 { gone } else { into };
            self.levels[kept].n = self.levels[kept].n.min(MERGED_SAMPLES);
            self.levels[dropped] = Level::unknown(into.sd);
        }
    }

    /// Departure of `x` from the baseline. Call only when [`Self::ready`].
    #[inline]
    pub(crate) fn departure(
        &mut self,
        x: f64,
        regime: usize,
        tod: TimeOfDay,
        row: &Regressors,
    ) -> Departure {
        self.extend_levels(regime);
        let added =
            self.unit * (f64::from(self.hour_offset(tod)) + operation::effect(&self.slopes, row));
        let level = &mut self.levels[regime];
        if level.n < 1.0 {
            level.learn(x - added, (1.0, None), 1.0, 1.0, self.sd_min);
        }
        let expected = level.mean + added;
        let sd = level.sd * row.widened;
        Departure {
            z: standard((x - expected) / sd),
            added,
            expected,
            sd,
            widened: row.widened,
            leverage: narrow(row.leverage),
        }
    }

    /// The usual value in a regime.
    pub(crate) fn usual(&self, regime: usize) -> Option<f64> {
        let level = self.levels.get(regime)?;
        (level.n >= CHART_SAMPLES_MIN).then_some(level.mean)
    }

    /// How far `x` lies from what is expected, in deviations, apart from the hour; nothing is learnt.
    pub(crate) fn off_expected(&self, x: f64, regime: usize, row: &Regressors) -> Option<f64> {
        let level = self.levels.get(regime).filter(|l| l.n >= 1.0)?;
        let added = self.unit * operation::effect(&self.slopes, row);
        Some((x - level.mean - added) / level.sd)
    }

    /// Departure of an operating-point value from its regime's usual one, in its unit; nothing is learnt.
    pub(crate) fn axis_from(&self, x: f64, regime: usize) -> Option<f64> {
        let level = self.levels.get(regime).filter(|l| l.n >= 1.0)?;
        Some(operation::axis((x - level.mean) / self.unit))
    }

    /// Where the usual value of an operating-point metric in a regime lies, in its unit from the origin.
    pub(crate) fn axis_place(&self, regime: usize) -> f64 {
        self.levels.get(regime).map_or(0.0, |level| {
            operation::axis((level.mean - self.origin) / self.unit)
        })
    }

    /// Departure of an operating-point metric from its regime's usual value, in its unit.
    pub(crate) fn axis_departure(&mut self, x: f64, regime: usize) -> f64 {
        self.extend_levels(regime);
        let level = &mut self.levels[regime];
        if level.n < 1.0 {
            level.learn(x, (1.0, None), 1.0, 1.0, self.sd_min);
        }
        operation::axis((x - level.mean) / self.unit)
    }

    /// Learns the usual value of an operating-point metric; then it stays, for the slopes count from it.
    /// How far it moved, in units.
    pub(crate) fn learn_axis(&mut self, x: f64, regime: usize, class: &ClassDetector) -> f64 {
        self.n = self.n.saturating_add(1);
        let level = &mut self.levels[regime];
        let before = level.mean;
        if level.n < class.n_regime {
            level.learn(x, (1.0, None), 1.0, class.n_max, self.sd_min);
        }
        (level.mean - before) / self.unit
    }

    /// The usual point of a regime has moved by `moved` units of `axis`: the level there is another one.
    pub(crate) fn move_usual(&mut self, regime: usize, (axis, n_axes): (usize, usize), moved: f64) {
        let added = self.unit * moved * operation::slope(&self.slopes, n_axes, regime, axis);
        if let Some(level) = self.levels.get_mut(regime) {
            level.mean += added;
            level.anchor += added;
        }
    }

    pub(super) fn hour_offset(&self, tod: TimeOfDay) -> f32 {
        if self.hours_used == 1 {
            tod.offset(&self.hours)
        } else {
            0.0
        }
    }

    pub(super) fn learn_hours(&mut self, x: f64, regime: usize, tod: TimeOfDay, rate: f32) {
        if self.hours.is_empty() {
            self.hours = vec![0.0; HOURS];
        }
        // An hour not seen yet starts where its neighbour stands.
        for (hour, neighbour) in [(tod.from, tod.to), (tod.to, tod.from)] {
            if self.hours_seen & (1 << hour) == 0 {
                self.hours_seen |= 1 << hour;
                self.hours[hour] = self.hours[neighbour];
            }
        }
        let level = self.levels[regime];
        let per_unit = 1.0 / self.unit;
        let from_mean = standard((x - level.mean) * per_unit);
        let from_anchor = standard((x - level.anchor) * per_unit);
        let in_units = if self.hours_used == 1 {
            from_mean
        } else {
            from_anchor
        };
        let per_sd = most(standard(self.unit / level.sd), 1e-6);
        let offset = tod.offset(&self.hours);
        let square = |e: f32| within(e * per_sd, 10.0).powi(2);
        self.error_with += (square(in_units - offset) - self.error_with) / 240.0;
        self.error_without += (square(from_mean) - self.error_without) / 240.0;
        tod.learn(&mut self.hours, in_units, rate, 1.0 / per_sd);
    }

    /// A day has been seen for the first time, or another one: decides whether the hours help.
    pub(crate) fn decide_on_hours(&mut self) {
        let gain = self.error_with / self.error_without.max(1e-6);
        let use_them = if self.hours_used == 1 {
            gain < 1.0
        } else {
            gain < 0.7
        };
        if use_them == (self.hours_used == 1) || self.hours.is_empty() {
            return;
        }
        self.hours_used = u8::from(use_them);
        let seen = |hour: usize| self.hours_seen & (1 << hour) != 0;
        let n_seen = self.hours_seen.count_ones().max(1);
        let all: f64 = (0..HOURS)
            .filter(|&h| seen(h))
            .map(|h| f64::from(self.hours[h]))
            .sum();
        let centre = all / f64::from(n_seen);
        for (h, hour) in self.hours.iter_mut().enumerate() {
            *hour = if self.hours_seen & (1 << h) != 0 {
                *hour - narrow(centre)
            } else {
                0.0
            };
        }
        for level in self.levels.iter_mut().filter(|l| l.n >= 1.0) {
            if use_them {
                level.mean = level.anchor + self.unit * centre;
                level.sd *= f64::from(self.error_with.clamp(1e-4, 1.0).sqrt());
            } else {
                level.mean += self.unit * centre;
                level.sd *= f64::from(self.error_without.clamp(1.0, 1e4).sqrt());
            }
            level.sd = level.sd.max(self.sd_min);
            level.anchor = level.mean;
            level.n = level.n.min(MERGED_SAMPLES);
        }
        self.error_with = 1.0;
        self.error_without = if use_them { 2.0 } else { 1.0 };
        self.departures = Moments::new(0.0, 1.0);
        self.forget_present();
        self.drift_ewma = 0.0;
        self.drift_var = 0.0;
        self.drift_n = 0.0;
    }
}
