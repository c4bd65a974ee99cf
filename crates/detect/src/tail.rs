//! The upper tail of a series, learnt as it comes: how improbable is a value this large?
//!
//! Peaks over a threshold (Pickands 1975; for streams Siffer, Fouque, Termier and Largouët 2017): a high
//! quantile is followed by stochastic approximation, and what lies beyond it is taken as Pareto, with Hill's
//! (1975) estimate of its index. Nothing is assumed of the body of the distribution, and a heavy tail is
//! learnt as one: noise that now and then leaps does not alarm each time it does.

use wide::f32x4;

use crate::bounds::{least, most};
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

/// Tails that are fed together, side by side: most values lie within their quantiles, which then all sink alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tails<const N: usize> {
    quantile: [f32; N],
    /// Mean of the logarithm of value over quantile, of values beyond it.
    index: [f32; N],
    n_beyond: [f32; N],
}
packed!(impl<N> Tails {
    quantile,
    index,
    n_beyond
});

impl<const N: usize> Default for Tails<N> {
    fn default() -> Self {
        Self {
            quantile: [0.0; N],
            index: [INDEX_PRIOR; N],
            n_beyond: [PRIOR_EXCESSES; N],
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

impl<const N: usize> Tails<N> {
    /// Takes in a value per tail, at least 0: of the first one, and of the others, four by four. The sum of their
    /// surprises, `-log10` of the probability of one as large or larger: each 0 within the quantile, at most
    /// [`SURPRISE_MAX`].
    #[inline]
    pub(crate) fn step<const FOURS: usize>(
        &mut self,
        first: f32,
        fours: [f32x4; FOURS],
        step: &Step,
    ) -> f32 {
        const { assert!(N == 1 + 4 * FOURS, "a tail per value") };
        if step.first {
            // The largest of the first 1/share values is a first guess.
            let others = fours.map(f32x4::to_array);
            let values = [first].into_iter().chain(others.into_iter().flatten());
            for (quantile, x) in self.quantile.iter_mut().zip(values) {
                *quantile = most(*quantile, x);
            }
            return 0.0;
        }
        let mut sum = 0.0;
        let old = self.quantile[0];
        if old > 0.0 && first > old {
            sum += self.beyond(0, first, step);
        } else {
            let sunk = old * (1.0 - self.index[0] * step.rate * step.law.share);
            self.quantile[0] = if old > 0.0 { sunk } else { first };
        }
        // Without branches: mostly all of them are within.
        let (rate, share) = (f32x4::splat(step.rate), f32x4::splat(step.law.share));
        for (at, x) in fours.into_iter().enumerate() {
            let from = 1 + 4 * at;
            let of = |all: &[f32; N]| {
                f32x4::new([all[from], all[from + 1], all[from + 2], all[from + 3]])
            };
            let old = of(&self.quantile);
            let sunk = old * (f32x4::splat(1.0) - of(&self.index) * rate * share);
            let is_known = old.simd_gt(f32x4::splat(0.0));
            let is_within = x.simd_le(old);
            let next = is_known.select(is_within.select(sunk, old), x);
            self.quantile[from..from + 4].copy_from_slice(&next.to_array());
            let mut beyond = (x.simd_gt(old) & is_known).to_bitmask();
            let xs = x.to_array();
            while beyond != 0 {
                let lane = beyond.trailing_zeros() as usize;
                beyond &= beyond - 1;
                sum += self.beyond(from + lane, xs[lane & 3], step);
            }
        }
        sum
    }

    /// The surprise of a value beyond its quantile, which moves up.
    fn beyond(&mut self, place: usize, x: f32, step: &Step) -> f32 {
        let (quantile, index) = (&mut self.quantile[place], &mut self.index[place]);
        let way = *index * step.rate;
        let excess = (x / *quantile).ln();
        let surprise = step.law.surprise + excess * std::f32::consts::LOG10_E / *index;
        let n_beyond = &mut self.n_beyond[place];
        *n_beyond = least(*n_beyond + 1.0, step.law.n_max * step.law.share);
        let counted = least(excess, EXCESS_MAX * *index);
        *index += (counted - *index) / (*n_beyond + 1.0);
        *index = most(*index, INDEX_MIN);
        *quantile *= 1.0 + way * (1.0 - step.law.share);
        least(surprise, SURPRISE_MAX)
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
        let mut tail = Tails::<1>::default();
        let mut n_passed = 0_u16;
        for i in 0..200_000_u32 {
            let x = draw(rng.random::<f32>().max(1e-7));
            let s = tail.step(x, [], &LAW.step(i as f32));
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
        let mut tail = Tails::<1>::default();
        for i in 0..500_u16 {
            let step = LAW.step(f32::from(i));
            assert_eq!(tail.step(0.0, [], &step), 0.0);
        }
        let step = LAW.step(500.0);
        assert_eq!(tail.step(7.0, [], &step), 0.0);
        assert!(tail.step(70.0, [], &step) > 1.3);
    }
}
