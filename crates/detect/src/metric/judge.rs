//! The charts of up to four metrics at once: the same arithmetic for each, side by side.

use wide::f32x4;

use super::{Kind, Metric, Verdict};
use crate::ClassDetector;
use crate::bounds::{least, most};
use crate::chart::{Charted, four, pull, pulled};
use crate::class::{DRIFT_WEIGHT, LEVEL_WEIGHT, SPREAD_WEIGHT};
use crate::look::Look;

/// Metrics judged at once.
pub(crate) const AT_ONCE: usize = 4;
/// Smallest lasting shift worth a word, deviations; smaller ones are real, but no fault.
const DRIFT_MIN: f32 = 1.0;
/// The same of a quick change.
const LEVEL_MIN: f32 = 1.5;
/// The spread chart has a heavier tail than a normal one; from simulated noise.
const SPREAD_CAUTION: f32 = 1.15;
/// Weight of the local level that stands in for the baseline until a day has been seen.
const LOCAL_WEIGHT: f32 = 0.05;

/// Takes the departures of the looks at `places` into the charts of their metrics, at most [`AT_ONCE`]; each gets its
/// verdict. `settled`: a day has been seen, drift counts.
pub(crate) fn judge(
    metrics: &mut [Metric],
    looks: &mut [Look],
    places: &[usize],
    (regime, settled): (usize, bool),
    class: &ClassDetector,
) {
    let Some(&first) = places.first() else { return };
    // Lanes that are left over repeat the first metric; nobody asks for them.
    let at = |lane: usize| &looks[places.get(lane).copied().unwrap_or(first)];
    let seen = [at(0), at(1), at(2), at(3)];
    let of = [
        &metrics[seen[0].metric],
        &metrics[seen[1].metric],
        &metrics[seen[2].metric],
        &metrics[seen[3].metric],
    ];
    let z = four(seen, |l| l.departure.map_or(0.0, |d| d.z));
    let level = four(of, |m| m.level_ewma);
    let drift = four(of, |m| m.drift_ewma);
    // The local level that departures are measured from until a day has been seen.
    let local = if settled { f32x4::splat(0.0) } else { drift };
    let y = spread_of(z - level - local);

    let limits = &class.thresholds;
    let one = f32x4::splat(1.0);
    let [a, b, c, d] = of;
    let spreads = Charted::of([&a.spread, &b.spread, &c.spread, &d.spread]);
    let departures = Charted::of([&a.departures, &b.departures, &c.departures, &d.departures]);
    let leverage = four(seen, |l| l.departure.map_or(0.0, |d| d.leverage));
    let n_known = four(of, |m| 0.75 * m.levels[regime].n);
    let spread = four(of, |m| m.spread_ewma);
    let sd = departures.sd();
    let n_level = n_known / (one + n_known * leverage);
    let spread = pulled(spread, y - spreads.mean, SPREAD_WEIGHT, spreads.sd());
    let level = pulled(level, z - local, LEVEL_WEIGHT, sd);
    let [level_sd, drift_sd] = departures.ewma_sds([LEVEL_WEIGHT, DRIFT_WEIGHT], n_level);
    let level_alarm = (f32x4::splat(limits.level) * level_sd).fast_max(f32x4::splat(LEVEL_MIN));
    let level_ratio = level.abs() / level_alarm;
    let (drift, drift_alarm) = if settled {
        let n = four(of, |m| m.drift_n) * f32x4::splat(DRIFT_WEIGHT);
        let drift_sd = seen_sd(drift_sd, four(of, |m| m.drift_var), n);
        let alarm = (f32x4::splat(limits.drift) * drift_sd).fast_max(f32x4::splat(DRIFT_MIN));
        (pulled(drift, z, DRIFT_WEIGHT, sd), alarm)
    } else {
        (drift, one)
    };
    let drift_ratio = drift.abs() / drift_alarm;
    let [theory] = spreads.ewma_sds([SPREAD_WEIGHT], spreads.n + f32x4::splat(30.0));
    let n = spreads.n * f32x4::splat(SPREAD_WEIGHT);
    let spread_sd = seen_sd(theory, four(of, |m| m.spread_var), n);
    let spread_ratio = spread / (f32x4::splat(SPREAD_CAUTION * limits.spread) * spread_sd);
    let single_alarm = f32x4::splat(limits.single) * sd.fast_max(one);
    let single_ratio = (z - local).abs() / single_alarm;

    let (z, sd, y) = (z.to_array(), sd.to_array(), y.to_array());
    let (level, drift, spread) = (level.to_array(), drift.to_array(), spread.to_array());
    let (level_alarm, drift_alarm) = (level_alarm.to_array(), drift_alarm.to_array());
    let ratios = [level_ratio, drift_ratio, spread_ratio, single_ratio].map(f32x4::to_array);
    for (lane, &place) in places.iter().enumerate().take(AT_ONCE) {
        let look = &mut looks[place];
        let metric = &mut metrics[look.metric];
        let [level_ratio, drift_ratio, spread_ratio, ratio_single] = ratios.map(|of| of[lane]);
        metric.level_ewma = level[lane];
        metric.drift_ewma = drift[lane];
        metric.spread_ewma = spread[lane];
        let (mut ratio, mut kind) = (level_ratio, Kind::Level);
        let mut shift_alarm = level_alarm[lane];
        if settled {
            shift_alarm = drift_alarm[lane];
            if drift_ratio >= ratio {
                (ratio, kind) = (drift_ratio, Kind::Drift);
            }
        }
        if spread_ratio > ratio {
            (ratio, kind) = (spread_ratio, Kind::Spread);
        }
        let counts = metric.judged(regime, class);
        if !counts {
            ratio = 0.0;
        }
        let trust = most(least(2.0 - 2.0 * ratio, 1.0), 0.0);
        if !settled {
            // Never quite frozen: the first hours may still be those of a machine that warms up.
            let weight = LOCAL_WEIGHT * most(trust, 0.1);
            pull(&mut metric.drift_ewma, z[lane], weight, sd[lane]);
        }
        let is_drift = settled && metric.drift_ewma.abs() > metric.level_ewma.abs();
        let shift = if is_drift {
            metric.drift_ewma
        } else {
            metric.level_ewma
        };
        look.verdict = Some(Verdict {
            ratio,
            ratio_single,
            kind,
            shift,
            shift_alarm,
            trust,
            counts,
            spread: y[lane],
        });
    }
}

/// `|e|^(2/3)`, near normal for normal `e` (Wilson and Hilferty 1931).
fn spread_of(e: f32x4) -> f32x4 {
    let squares = (e * e).fast_min(f32x4::splat(1e6));
    let [a, b, c, d] = squares.to_array();
    f32x4::new([a.cbrt(), b.cbrt(), c.cbrt(), d.cbrt()])
}

/// Deviation of a chart: what theory says, and more where more has been seen in `n` independent looks.
fn seen_sd(theory: f32x4, mean_square: f32x4, n: f32x4) -> f32x4 {
    let ten = f32x4::splat(10.0);
    let seen = (n * mean_square + ten * theory * theory) / (n + ten);
    theory.fast_max(seen.sqrt())
}
