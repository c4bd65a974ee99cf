//! One metric of one device: its baseline, and the charts over its departures from it.
//!
//! Baseline: a level and a deviation per operating regime, plus an offset per hour of the day where that
//! has proved to help. Both are learnt robustly (departures beyond three deviations count as three: Huber)
//! and the slower the more is known. What departs is not learnt, so that a fault does not become normal.

mod baseline;
mod judge;

use baseline::{Level, SEED_SAMPLES};
use forecare_catalogue::Limits;
pub(crate) use judge::{AT_ONCE, judge};

use crate::ClassDetector;
use crate::bounds::{least, most, within};
use crate::chart::Moments;
use crate::codec::packed;
use crate::hours::{HOURS, TimeOfDay};
use crate::limits::{LimitState, Passed};
use crate::operation::{Gain, Regressors};
use crate::together::narrow;

/// Farthest departure that is learnt in full, deviations.
const HUBER: f64 = 3.0;
/// Samples behind a level before the charts run.
const CHART_SAMPLES_MIN: f32 = 16.0;
/// Samples that the warm-up counts for afterwards, in what the charts have seen.
const WARM_WEIGHT: f32 = 30.0;
/// Repetitions of a varying metric that look like a stuck sensor, at least.
const STUCK_SAMPLES_MIN: u32 = 30;
/// Samples of a metric, and of a regime, before it is judged where a sister's baseline is there already.
const SISTER_SAMPLES: f32 = 24.0;
/// A sister's level counts for at most so many samples of its own.
const SISTER_WEIGHT_MAX: f32 = 12.0;
/// Departures count no farther than this, deviations.
const DEPARTURE_MAX: f64 = 1e6;

/// State of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    /// First values, until they vary enough; then empty.
    seed: Vec<f64>,
    /// Where and in what unit (in the metric's unit) hours and axes count; unit 0: not seeded.
    origin: f64,
    unit: f64,
    /// Deviations below this are the sensor's resolution.
    sd_min: f64,
    n: u32,
    /// 1: began with the baseline of another device.
    sister: u8,
    levels: Vec<Level>,
    /// Effect of the operating point, in `unit` per unit of each regressor: see [`crate::operation`].
    slopes: Vec<f32>,
    /// Offset per hour of day, in `unit`.
    hours: Vec<f32>,
    hours_seen: u32,
    hours_used: u8,
    /// Mean square departure with and without the hours.
    error_with: f32,
    error_without: f32,
    departures: Moments,
    level_ewma: f32,
    drift_ewma: f32,
    /// Mean square of the drift chart in quiet times.
    drift_var: f32,
    drift_n: f32,
    spread: Moments,
    spread_ewma: f32,
    /// Mean square of the spread chart in quiet times.
    spread_var: f32,
    run: Run,
    limit: LimitState,
    /// When the present departure began, ms; `i64::MIN`: none.
    departed_ms: i64,
    /// Last residual (of an axis: its departure, units), for rows without this metric, and when.
    pub(crate) held: f32,
    pub(crate) held_ms: i64,
}
packed!(Metric {
    seed,
    origin,
    unit,
    sd_min,
    n,
    sister,
    levels,
    slopes,
    hours,
    hours_seen,
    hours_used,
    error_with,
    error_without,
    departures,
    level_ewma,
    drift_ewma,
    drift_var,
    drift_n,
    spread,
    spread_ewma,
    spread_var,
    run,
    limit,
    departed_ms,
    held,
    held_ms,
});
packed!(LimitState { n_beyond, passed });

/// Repetitions of the last value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Run {
    value: f64,
    n: u32,
    n_usual_max: u32,
}
packed!(Run {
    value,
    n,
    n_usual_max
});

/// What departs, and how far in units of its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Level,
    Drift,
    Spread,
}

/// One value against its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    /// The strongest chart, its departure over its threshold: 1 is an alarm.
    pub(crate) ratio: f32,
    /// The same of this sample on its own.
    pub(crate) ratio_single: f32,
    pub(crate) kind: Kind,
    /// Lasting departure, signed, in deviations.
    pub(crate) shift: f32,
    /// The shift that would be an alarm, deviations.
    pub(crate) shift_alarm: f32,
    /// How much of this sample may be learnt, 0 to 1.
    pub(crate) trust: f32,
    /// False while the metric warms up: the charts run, but say nothing yet.
    pub(crate) counts: bool,
    /// What the spread chart took in.
    spread: f32,
}

/// A value as the baseline sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Departure {
    /// Deviations from the baseline.
    pub(crate) z: f32,
    /// What the operating point and the hour add to the level, in the metric's unit.
    added: f64,
    /// What the baseline expects, in the metric's unit.
    pub(crate) expected: f64,
    /// The deviation, in the metric's unit; wider where little was learnt.
    pub(crate) sd: f64,
    /// So many times the regime's deviation.
    widened: f64,
    /// See [`Regressors`](crate::operation::Regressors).
    leverage: f32,
}

impl Departure {
    /// Weight of the sample in a robust fit: 1 within three deviations, less and less beyond (Huber).
    pub(crate) fn weight(&self) -> f32 {
        let far = f64::from(self.z.abs());
        if far > HUBER {
            narrow(HUBER / far)
        } else {
            1.0
        }
    }
}

impl Metric {
    pub(crate) fn new(n_slopes: usize) -> Self {
        Self {
            seed: Vec::new(),
            origin: 0.0,
            unit: 0.0,
            sd_min: 0.0,
            n: 0,
            sister: 0,
            levels: Vec::new(),
            slopes: vec![0.0; n_slopes],
            hours: Vec::new(),
            hours_seen: 0,
            hours_used: 0,
            error_with: 1.0,
            error_without: 1.0,
            departures: Moments::new(0.0, 1.0),
            level_ewma: 0.0,
            drift_ewma: 0.0,
            drift_var: 0.0,
            drift_n: 0.0,
            // Mean and variance of |z|^(2/3) for normal z.
            spread: Moments::new(0.80, 0.17),
            spread_ewma: 0.0,
            spread_var: 0.0,
            run: Run {
                value: 0.0,
                n: 0,
                n_usual_max: 0,
            },
            limit: LimitState::default(),
            departed_ms: i64::MIN,
            held: 0.0,
            held_ms: i64::MIN,
        }
    }

    /// True once there is a deviation to measure with.
    pub(crate) fn ready(&self) -> bool {
        self.unit > 0.0
    }

    #[inline]
    pub(crate) fn limit(&mut self, limits: &Limits, x: f64) -> Option<Passed> {
        self.limit.step(limits, x)
    }

    /// The value on its regime axis.
    pub(crate) fn axis(&self, x: f64) -> f32 {
        standard((x - self.origin) / self.unit)
    }

    /// Counts repetitions; the number of them once they look like a stuck sensor.
    #[inline]
    pub(crate) fn repetitions(&mut self, x: f64, n_warm: f32) -> Option<u32> {
        let warm = f64::from(self.n) >= f64::from(n_warm);
        let threshold = STUCK_SAMPLES_MIN.max(self.run.n_usual_max.saturating_mul(4));
        if self.run.n > 0 && self.run.value.to_bits() == x.to_bits() {
            self.run.n = self.run.n.saturating_add(1);
        } else {
            if self.run.n < threshold || !warm {
                self.run.n_usual_max = self.run.n_usual_max.max(self.run.n);
            }
            self.run.value = x;
            self.run.n = 1;
        }
        (self.ready() && warm && self.run.n >= threshold).then_some(self.run.n)
    }

    /// True once the level of this regime is known well enough for the charts to run: early while the whole metric
    /// warms up, later only where they may speak. A regime that is new would tell them of its own poor start.
    pub(crate) fn charted(&self, regime: usize, class: &ClassDetector) -> bool {
        let warm = f64::from(self.n) >= f64::from(class.n_warm);
        let known = |l: &Level| l.n >= CHART_SAMPLES_MIN;
        self.levels.get(regime).is_some_and(known) && (!warm || self.judged(regime, class))
    }

    /// True while the charts may speak: warmed up, also in this regime.
    fn judged(&self, regime: usize, class: &ClassDetector) -> bool {
        let (n_warm, n_regime) = if self.sister == 1 {
            (SISTER_SAMPLES, SISTER_SAMPLES)
        } else {
            (class.n_warm, class.n_regime)
        };
        f64::from(self.n) >= f64::from(n_warm)
            && self.levels.get(regime).is_some_and(|l| l.n >= n_regime)
    }

    /// Learns a sample: `x` in its regime, as far as it is trusted.
    pub(crate) fn learn(
        &mut self,
        (x, departure): (f64, &Departure),
        (regime, tod): (usize, TimeOfDay),
        (verdict, trust): (Option<Verdict>, f32),
        gain: Option<(&Regressors, &Gain)>,
        class: &ClassDetector,
        early: bool,
    ) {
        self.n = self.n.saturating_add(1);
        if f64::from(self.n) == f64::from(class.n_warm) {
            // What departed while everything was still being learnt counts little from here on.
            self.departures.n = self.departures.n.min(WARM_WEIGHT);
            self.spread.n = self.spread.n.min(WARM_WEIGHT);
            self.drift_n = self.drift_n.min(WARM_WEIGHT);
        }
        if trust > 0.0 {
            if let Some(rate) = class.hour_rate {
                let rate = trust * if early { 1.0 / 16.0 } else { rate };
                let effect = departure.added - self.unit * f64::from(self.hour_offset(tod));
                self.learn_hours(x - effect, regime, tod, rate);
            }
            if let Some((row, gain)) = gain {
                let error = within(f64::from(departure.z), HUBER) * departure.sd / self.unit;
                gain.learn(row, &mut self.slopes, error, trust);
            }
            let sd_min = most(self.sd_min, x.abs() * 1e-12);
            self.levels[regime].learn(
                x - departure.added,
                (
                    departure.widened,
                    gain.map(|(row, gain)| gain.of_constant(row)),
                ),
                trust,
                class.n_max,
                sd_min,
            );
        }
        let z = departure.z;
        if let Some(verdict) = verdict {
            self.departures.learn(z, trust, class.n_max, false);
            self.spread.learn(verdict.spread, trust, class.n_max, true);
            self.drift_n = least(self.drift_n + trust, class.n_max * 4.0);
            let square = least(self.drift_ewma * self.drift_ewma, 100.0);
            self.drift_var += trust / (self.drift_n + 1.0) * (square - self.drift_var);
            if verdict.ratio < 1.0 {
                let square = self.spread_ewma * self.spread_ewma;
                self.spread_var += (square - self.spread_var) / (self.spread.n + 1.0);
            }
        }
    }

    /// From here on drift counts: what stood in for the baseline is dropped.
    pub(crate) fn settle(&mut self) {
        self.forget_present();
        self.drift_ewma = 0.0;
    }

    /// After a gap: recent samples say nothing of the present ones.
    pub(crate) fn forget_present(&mut self) {
        self.level_ewma = 0.0;
        self.spread_ewma = 0.0;
        self.departures.forget_order();
        self.spread.forget_order();
    }

    /// Follows a departure; true when it has lasted so long that it is the new normal.
    pub(crate) fn lasted(&mut self, ratio: f32, ms: i64, hours_max: f64) -> bool {
        if ratio < 0.5 {
            self.departed_ms = i64::MIN;
        } else if ratio >= 1.0 && self.departed_ms == i64::MIN {
            self.departed_ms = ms;
        }
        // Below 2^53 ms the conversion is exact.
        self.departed_ms != i64::MIN && (ms - self.departed_ms) as f64 >= hours_max * 3_600_000.0
    }

    /// Learns the level anew; the deviation stays as a first guess. Limits start afresh.
    pub(crate) fn relearn(&mut self) {
        for level in &mut self.levels {
            level.n = 0.0;
        }
        if self.hours_used == 0 {
            self.hours_seen = 0;
        }
        self.limit = LimitState::default();
        self.forget_present();
        self.drift_ewma = 0.0;
        self.departed_ms = i64::MIN;
        self.run.n = 0;
    }

    /// Whether another device's metric can begin with this one.
    pub(crate) fn is_model(&self, class: &ClassDetector) -> bool {
        let n_usual = self.levels.iter().filter(|l| l.n >= class.n_regime).count();
        n_usual > 0 && self.departed_ms == i64::MIN && f64::from(self.n) >= f64::from(class.n_warm)
    }

    /// Begins anew on another device of the class, whose level lies `spread` deviations from this one's or so;
    /// `None`: the level stays.
    pub(crate) fn begin_as_sister(&mut self, spread: Option<f64>) {
        if let Some(spread) = spread {
            // A level known to within `spread` deviations is worth the samples that would tell as much.
            let n = narrow(1.0 / (spread * spread).max(1e-6)).clamp(1.0, SISTER_WEIGHT_MAX);
            for level in self.levels.iter_mut().filter(|l| l.n >= 1.0) {
                level.n = level.n.min(n);
                level.anchor = level.mean;
            }
        }
        self.n = 0;
        self.sister = 1;
        self.limit = LimitState::default();
        self.forget_present();
        self.drift_ewma = 0.0;
        self.departed_ms = i64::MIN;
        self.run.n = 0;
        self.held = 0.0;
        self.held_ms = i64::MIN;
    }

    /// Size in memory, heap included, bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.seed.capacity() * size_of::<f64>()
            + self.levels.capacity() * size_of::<Level>()
            + (self.hours.capacity() + self.slopes.capacity()) * size_of::<f32>()
    }

    /// True when it learns so many slopes.
    pub(crate) fn has_slopes(&self, n: usize) -> bool {
        self.slopes.len() == n
    }

    /// True when vectors have the lengths that the code relies on.
    pub(crate) fn sound(&self) -> bool {
        self.seed.len() < SEED_SAMPLES
            && self.levels.len() <= crate::regimes::REGIMES_MAX
            && (self.hours.is_empty() || self.hours.len() == HOURS)
            && (self.unit > 0.0 || self.levels.is_empty())
    }
}

fn standard(ratio: f64) -> f32 {
    narrow(within(ratio, DEPARTURE_MAX))
}
