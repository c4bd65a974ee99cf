//! Whether a metric does something that it has not done before: forecast, level, spread, week and shape.
//!
//! Seven departures are watched at once: from a short forecast, of the short level from the one before it,
//! of the spread from the usual one, from the usual week (as it is, and over about 7 and 25 samples), and of
//! the recent shape from all shapes remembered. Each becomes a tail probability by its own learnt tail, and
//! the logarithms are added (Fisher 1925). Fisher's law would want independence; instead the sum, smoothed
//! over about ten samples, is judged by its own learnt tail again. Smoothing is what makes most of it:
//! single leaps weigh little, and several slight oddities in a row weigh much (the idea of the anomaly
//! likelihood of Lavin and Ahmad 2015). Last, what has just surprised does not surprise again for a while:
//! an alarm at the onset, not one at every row.

use wide::f32x4;

use crate::bounds::{most, within};
use crate::codec::packed;
use crate::density::Density;
use crate::tail::{Law, Step, Tails};
use crate::together::narrow;
use crate::week::{TimeOfWeek, Week};

/// Values count no farther than this: their parts are kept in single precision.
const VALUE_MAX: f64 = 1e30;
/// Weight of the forecast, an exponential smoothing.
const FORECAST_WEIGHT: f64 = 0.2;
/// Weight of the short level.
const SHORT_WEIGHT: f64 = 0.15;
/// Samples of the level that the short one is compared with.
const LEVEL_SAMPLES: f64 = 200.0;
/// Weight of the present spread.
const SPREAD_WEIGHT: f64 = 0.1;
/// Samples of the usual spread.
const SPREAD_SAMPLES: f64 = 2_000.0;
/// Weight of the longer average of the departure from the week.
const LONG_WEIGHT: f64 = 0.04;
/// Tails: both signs of each departure, and the shape's distance.
const TAILS: usize = 13;
/// One departure in twenty counts as surprising at all.
const DEPARTURES: Law = Law {
    share: 0.05,
    surprise: 1.301_03,
    n_max: 3_000.0,
};
/// Weight of the smoothed sum.
const SUM_WEIGHT: f32 = 0.1;
/// One smoothed sum in a hundred counts as surprising at all.
const SUMS: Law = Law {
    share: 0.01,
    surprise: 2.0,
    n_max: 10_000.0,
};
/// Sums seen before they are judged.
const SUM_WARM_UP: f32 = 150.0;
/// Samples in which the memory of a surprise fades to 1/e.
const FADE_SAMPLES: f32 = 150.0;

/// State of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Novelty {
    n: u32,
    /// 1 after a gap: what is short starts afresh.
    resumes: u8,
    /// Largest magnitude seen.
    magnitude: f64,
    forecast: f64,
    short: f64,
    level: f64,
    spread: f64,
    spread_usual: f64,
    week: Week,
    week_short: f64,
    week_long: f64,
    density: Density,
    tails: Tails<TAILS>,
    sum: f32,
    sum_tail: Tails<1>,
    /// The surprise that is still remembered, decades.
    known: f32,
}
packed!(Novelty {
    n,
    resumes,
    magnitude,
    forecast,
    short,
    level,
    spread,
    spread_usual,
    week,
    week_short,
    week_long,
    density,
    tails,
    sum,
    sum_tail,
    known,
});

/// How surprising a row is, decades of probability; 0 is usual.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Surprise {
    /// By itself: of rows of a quiet stream one in `10^decades` has as many.
    pub(crate) decades: f32,
    /// Beyond what has surprised of late.
    pub(crate) onset: f32,
}

/// What metrics that have seen as many samples have in common: mostly all of a device.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    week_rate: f32,
    n_warm: f32,
    /// The number of samples before that the rest is of.
    n: u32,
    /// Weight of a sample in the plain mean of all.
    early: f64,
    departures: Step,
    sums: Step,
}

impl Pace {
    /// Of a class: `week_rate` as in [`crate::week`], silent for the first `n_warm` samples.
    pub(crate) fn new(week_rate: f32, n_warm: f32) -> Self {
        Self {
            week_rate,
            n_warm,
            n: 0,
            early: 1.0,
            departures: DEPARTURES.step(0.0),
            sums: SUMS.step(-n_warm),
        }
    }

    /// After `n` samples.
    #[allow(
        clippy::cast_precision_loss,
        reason = "beyond 2^24 samples the count matters no more"
    )]
    fn after(&mut self, n: u32) {
        if self.n != n {
            let samples = n as f32;
            self.n = n;
            self.early = 1.0 / (f64::from(samples) + 1.0);
            self.departures = DEPARTURES.step(samples);
            self.sums = SUMS.step(samples - self.n_warm);
        }
    }
}

impl Novelty {
    pub(crate) fn new() -> Self {
        Self {
            n: 0,
            resumes: 0,
            magnitude: 0.0,
            forecast: 0.0,
            short: 0.0,
            level: 0.0,
            spread: 0.0,
            spread_usual: 0.0,
            week: Week::new(0.0),
            week_short: 0.0,
            week_long: 0.0,
            density: Density::new(0.0),
            tails: Tails::default(),
            sum: 0.0,
            sum_tail: Tails::default(),
            known: 0.0,
        }
    }

    pub(crate) fn sound(&self) -> bool {
        self.week.sound() && self.density.sound()
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.week.heap_bytes()
    }

    /// After a gap: recent samples say nothing of the next one.
    pub(crate) fn forget_present(&mut self) {
        self.resumes = 1;
    }

    /// Takes in a value. Silent for the first samples, of warm-up and those in which the sum's tail is learnt.
    #[allow(
        clippy::cast_precision_loss,
        reason = "beyond 2^24 samples the count matters no more"
    )]
    pub(crate) fn step(&mut self, x: f64, at: TimeOfWeek, pace: &mut Pace) -> Surprise {
        let x = within(x, VALUE_MAX);
        if self.n == 0 {
            self.forecast = x;
            self.short = x;
            self.level = x;
            self.week = Week::new(x);
            self.density = Density::new(x);
        } else if self.resumes == 1 {
            self.forecast = x;
            self.short = self.level;
            self.spread = self.spread_usual;
            self.week_short = 0.0;
            self.week_long = 0.0;
        }
        self.resumes = 0;
        pace.after(self.n);
        let n = self.n as f32;
        self.n = self.n.saturating_add(1);
        let surprise = self.surprise(x, at, n, pace);
        self.sum += SUM_WEIGHT * (surprise - self.sum);
        if n < pace.n_warm {
            return Surprise::default();
        }
        let n_sums = n - pace.n_warm;
        let decades = self.sum_tail.step(self.sum, [], &pace.sums);
        if n_sums < SUM_WARM_UP {
            return Surprise::default();
        }
        self.known *= 1.0 - 1.0 / FADE_SAMPLES;
        let onset = most(decades - self.known, 0.0);
        self.known = most(self.known, decades);
        Surprise { decades, onset }
    }

    /// Sum of the surprises of the departures, decades.
    fn surprise(&mut self, x: f64, at: TimeOfWeek, n: f32, pace: &Pace) -> f32 {
        let early = pace.early;
        let error = x - self.forecast;
        self.forecast += FORECAST_WEIGHT * error;

        self.short += SHORT_WEIGHT * (x - self.short);
        let step = self.short - self.level;
        self.level += most(early, 1.0 / LEVEL_SAMPLES) * (x - self.level);

        self.magnitude = most(self.magnitude, x.abs());
        let least = 1e-9 * self.magnitude + f64::MIN_POSITIVE;
        self.spread += SPREAD_WEIGHT * (error.abs() - self.spread);
        let ratio = (self.spread + least) / (self.spread_usual + least);
        let spread = narrow(most(crate::bounds::least(ratio, VALUE_MAX), 1e-30)).ln();
        let rate = most(early, 1.0 / SPREAD_SAMPLES);
        self.spread_usual += rate * (error.abs() - self.spread_usual);

        let off_week = self.week.step(x, at, (f64::from(n), early), pace.week_rate);
        self.week_short += SHORT_WEIGHT * (off_week - self.week_short);
        self.week_long += LONG_WEIGHT * (off_week - self.week_long);

        let shape = self.density.step(x, early);
        // Both signs of two departures.
        let signs =
            |a: f32, b: f32| f32x4::new([most(a, 0.0), most(-a, 0.0), most(b, 0.0), most(-b, 0.0)]);
        let departures = [
            signs(narrow(error), narrow(step)),
            signs(spread, narrow(off_week)),
            signs(narrow(self.week_short), narrow(self.week_long)),
        ];
        let sum = self.tails.step(shape, departures, &pace.departures);
        if n < pace.n_warm { 0.0 } else { sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const MINUTE_MS: i64 = 60_000;

    struct Stream {
        novelty: Novelty,
        rng: ChaCha8Rng,
        minute: i64,
    }

    impl Stream {
        /// A stream that has seen `n` samples of uniform noise of width 1.
        fn quiet(n: u32) -> Self {
            let mut stream = Self {
                novelty: Novelty::new(),
                rng: ChaCha8Rng::seed_from_u64(3),
                minute: 0,
            };
            for _ in 0..n {
                stream.feed(0.0, 1.0);
            }
            stream
        }

        fn feed(&mut self, level: f64, width: f64) -> Surprise {
            let x = level + width * (self.rng.random::<f64>() - 0.5);
            self.minute += 1;
            let at = TimeOfWeek::of(self.minute * MINUTE_MS);
            let rate = crate::week::rate(MINUTE_MS as f64);
            self.novelty.step(x, at, &mut Pace::new(rate, 120.0))
        }

        /// The most of decades and of onset.
        fn most(&mut self, n: u32, level: f64, width: f64) -> Surprise {
            let mut most = Surprise::default();
            for _ in 0..n {
                let row = self.feed(level, width);
                most.decades = most.decades.max(row.decades);
                most.onset = most.onset.max(row.onset);
            }
            most
        }
    }

    #[test]
    fn a_step_surprises_at_its_onset_and_no_more_an_hour_later() {
        let mut stream = Stream::quiet(5_000);
        let start = stream.most(15, 2.0, 1.0);
        let then = stream.most(45, 2.0, 1.0);
        let later = stream.most(10, 2.0, 1.0);
        assert!(start.decades > 4.0 && start.onset > 2.0, "{start:?}");
        assert!(
            then.decades > 3.0 && later.onset < 1.0,
            "{then:?} {later:?}"
        );
    }

    #[test]
    fn a_wider_spread_surprises_though_the_level_stays() {
        let wider = Stream::quiet(5_000).most(60, 0.0, 3.0);
        assert!(wider.decades > 4.0 && wider.onset > 2.0, "{wider:?}");
    }

    #[test]
    fn a_leap_that_has_always_come_now_and_then_is_not_new() {
        let mut stream = Stream::quiet(200);
        let mut most = 0.0_f32;
        for i in 0..70 {
            let rest = stream.most(99, 0.0, 1.0);
            let leap = stream.feed(20.0, 1.0);
            if i >= 60 {
                most = most.max(rest.decades).max(leap.decades);
            }
        }
        assert!(most < 3.0, "{most}");
    }

    #[test]
    fn nothing_is_said_before_the_tails_are_learnt() {
        let mut stream = Stream::quiet(0);
        assert_eq!(stream.most(100, 0.0, 1.0), Surprise::default());
        assert_eq!(stream.most(160, 50.0, 1.0), Surprise::default());
    }

    #[test]
    fn quiet_noise_surprises_as_rarely_as_the_decades_say() {
        let mut stream = Stream::quiet(5_000);
        let mut n = [0_u32; 2];
        for _ in 0..100_000 {
            let row = stream.feed(0.0, 1.0);
            n[0] += u32::from(row.decades > 2.0);
            n[1] += u32::from(row.decades > 3.0);
        }
        assert!((700..1_300).contains(&n[0]) && n[1] < 200, "{n:?}");
    }
}
