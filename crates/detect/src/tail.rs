//! The upper tail of a series, learnt as it comes: how improbable is a value this large?
//!
//! Peaks over a threshold (Pickands 1975; for streams Siffer, Fouque, Termier and Largouët 2017): a high
//! quantile is followed by stochastic approximation, and what lies beyond it is taken as Pareto, with Hill's
//! (1975) estimate of its index. Nothing is assumed of the body of the distribution, and a heavy tail is
//! learnt as one: noise that now and then leaps does not alarm each time it does.

use crate::codec::packed;

/// Index before anything is known: between that of exponential and of normal excesses at such quantiles.
const INDEX_PRIOR: f32 = 0.3;
/// The prior weighs as much as so many excesses.
const PRIOR_EXCESSES: f32 = 10.0;
/// Least index: a tail lighter than this is not believed.
const INDEX_MIN: f32 = 0.03;
/// Farthest an excess counts for the index, indices.
const EXCESS_MAX: f32 = 6.0;
/// Smallest probability that is told from a smaller one, decades: less has never been seen to hold.
pub(crate) const SURPRISE_MAX: f32 = 12.0;

/// The tail beyond a quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tail {
    quantile: f32,
    /// Mean of the logarithm of value over quantile, of values beyond it.
    index: f32,
    n_beyond: f32,
}
packed!(Tail {
    quantile,
    index,
    n_beyond
});

impl Default for Tail {
    fn default() -> Self {
        Self {
            quantile: 0.0,
            index: INDEX_PRIOR,
            n_beyond: PRIOR_EXCESSES,
        }
    }
}

/// How a tail is learnt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Law {
    /// Share of the values beyond the quantile.
    pub(crate) share: f32,
    /// The surprise of a value at the quantile, `-log10(share)`, decades.
    pub(crate) surprise: f32,
    /// Values that are averaged over.
    pub(crate) n_max: f32,
}

/// What tails that are fed together have in common at one instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    law: Law,
    /// Rate at which the quantile is followed.
    rate: f32,
    /// The first values only set the quantile.
    first: bool,
}

impl Law {
    /// The step after `n` values.
    pub(crate) fn step(self, n: f32) -> Step {
        Step {
            law: self,
            rate: 2.0 / (n.min(self.n_max) * self.share + PRIOR_EXCESSES),
            first: n * self.share < 1.0,
        }
    }
}

impl Tail {
    /// Takes in a value, at least 0; its surprise, `-log10` of the probability of one as large or larger: 0
    /// within the quantile, at most [`SURPRISE_MAX`].
    pub(crate) fn step(&mut self, x: f32, step: &Step) -> f32 {
        if step.first || self.quantile <= 0.0 {
            // The largest of the first 1/share values is a first guess.
            self.quantile = self.quantile.max(x);
            return 0.0;
        }
        let way = self.index * step.rate;
        if x <= self.quantile {
            self.quantile *= 1.0 - way * step.law.share;
            return 0.0;
        }
        let excess = (x / self.quantile).ln();
        let surprise = step.law.surprise + excess * std::f32::consts::LOG10_E / self.index;
        self.n_beyond = (self.n_beyond + 1.0).min(step.law.n_max * step.law.share);
        let counted = excess.min(EXCESS_MAX * self.index);
        self.index += (counted - self.index) / (self.n_beyond + 1.0);
        self.index = self.index.max(INDEX_MIN);
        self.quantile *= 1.0 + way * (1.0 - step.law.share);
        surprise.min(SURPRISE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const LAW: Law = Law {
        share: 0.05,
        surprise: 1.301_03,
        n_max: 3_000.0,
    };

    /// How often, of the second half of 200,000 values, the surprise passes three decades, per thousand.
    fn beyond_three_decades(draw: impl Fn(f32) -> f32) -> f32 {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut tail = Tail::default();
        let mut n_passed = 0_u16;
        for i in 0..200_000_u32 {
            let x = draw(rng.random::<f32>().max(1e-7));
            let s = tail.step(x, &LAW.step(i as f32));
            n_passed += u16::from(i >= 100_000 && s > 3.0);
        }
        f32::from(n_passed) / 100.0
    }

    #[test]
    fn three_decades_are_passed_about_once_in_a_thousand_whatever_the_tail() {
        let exponential = beyond_three_decades(|u| -u.ln());
        let pareto = beyond_three_decades(|u| u.powf(-0.5));
        let uniform = beyond_three_decades(|u| u);
        assert!((0.1..1.2).contains(&exponential), "{exponential}");
        assert!((0.5..1.6).contains(&pareto), "{pareto}");
        assert!(uniform < 0.2, "{uniform}");
    }

    #[test]
    fn zeros_are_no_surprise_and_the_first_value_beyond_them_sets_the_scale() {
        let mut tail = Tail::default();
        for i in 0..500_u16 {
            let step = LAW.step(f32::from(i));
            assert_eq!(tail.step(0.0, &step), 0.0);
        }
        let step = LAW.step(500.0);
        assert_eq!(tail.step(7.0, &step), 0.0);
        assert!(tail.step(70.0, &step) > 1.3);
    }
}
