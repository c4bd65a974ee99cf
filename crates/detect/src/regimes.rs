//! Operating regimes: a small online clustering of the operating point.
//!
//! At most [`REGIMES_MAX`] centres. A point far from all of them opens a new regime; when there is no
//! room, the two nearest centres are merged first, so that the grid widens with the range that is used.
//! "Far" is measured by how each axis moves: a load that jumps between idle and full has regimes, a
//! temperature that creeps through the day has none, its slope says enough.

use crate::bounds::{least, most, within};
use crate::codec::packed;

/// Most regimes of a device.
pub(crate) const REGIMES_MAX: usize = 4;
/// Most operating-point metrics that tell regimes apart; further ones are only compensated linearly.
pub(crate) const AXES_MAX: usize = 4;
/// A point this far from every centre, in usual steps of the axis, may be another regime ...
const NEW_REGIME_DISTANCE: f32 = 6.0;
/// ... if that is also this many deviations of all that the axis has done.
const NEW_REGIME_DEVIATIONS: f32 = 0.6;
/// An axis whose largest steps are this many of its deviations jumps; smaller ones count in proportion.
const JUMP_DEVIATIONS: f32 = 1.5;
/// Centres follow their points until they have seen so many.
const SETTLED_SAMPLES: f32 = 200.0;
/// Deviation and largest step of an axis average over about so many samples.
const SPAN_SAMPLES: f32 = 2_000.0;
/// A single sample counts no farther for them, deviations.
const SPAN_PULL: f32 = 4.0;

/// A cluster of operating points.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Centre {
    at: [f32; AXES_MAX],
    n: f32,
}
packed!(Centre { at, n });

/// How one axis moves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Span {
    last: f32,
    mean: f32,
    var: f32,
    /// Largest recent step; fades.
    step: f32,
    /// Usual step: what neighbouring points differ by while the machine does not move.
    usual: f32,
    n: f32,
}
packed!(Span {
    last,
    mean,
    var,
    step,
    usual,
    n
});

impl Span {
    fn learn(&mut self, x: f32) {
        if self.n < 1.0 {
            // The unit is the deviation of the first samples.
            *self = Self {
                last: x,
                mean: x,
                var: 1.0,
                step: 0.0,
                usual: 0.5,
                n: 1.0,
            };
            return;
        }
        self.n = least(self.n + 1.0, SPAN_SAMPLES);
        let rate = 1.0 / self.n;
        let reach = SPAN_PULL * self.sd();
        let e = within(x - self.mean, reach);
        self.mean += rate * e;
        self.var += rate * (e * e - self.var);
        let step = least((x - self.last).abs(), reach);
        self.step = most(self.step * (1.0 - 1.0 / SPAN_SAMPLES), step);
        // Towards the median: a jump counts as much as any other large step.
        let way = if step > self.usual { 1.0 } else { -1.0 };
        self.usual *= 1.0 + way * least(2.0 * rate, 0.1);
        self.last = x;
    }

    fn sd(&self) -> f32 {
        most(self.var, 1e-6).sqrt()
    }

    /// The distance on this axis that makes another regime.
    fn far(&self) -> f32 {
        let sd = self.sd();
        let jumps = most(least(self.step / (JUMP_DEVIATIONS * sd), 1.0), 0.05);
        most(NEW_REGIME_DISTANCE * self.usual, NEW_REGIME_DEVIATIONS * sd) / jumps
    }
}

/// Points far from every centre that are remembered: one that comes again makes a regime, a ramp passed once
/// does not.
const STRAYS: usize = 3;

/// The regimes of one device.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Regimes {
    centres: Vec<Centre>,
    spans: [Span; AXES_MAX],
    /// The newest points far from every centre, newest last.
    strays: Vec<Stray>,
    current: u8,
}
packed!(Regimes {
    centres,
    spans,
    strays,
    current
});

/// A point far from every centre.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stray {
    at: [f32; AXES_MAX],
}
packed!(Stray { at });

/// What the newest operating point did to the regimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// It belongs to a known one.
    Known,
    /// It opened regime `place`; the nearest other one, if there is any, is `like`.
    Opened { place: usize, like: Option<usize> },
    /// It opened regime `dropped`, after that one was merged into `kept`; the nearest other one is `like`.
    Merged {
        kept: usize,
        dropped: usize,
        like: usize,
    },
}

impl Regimes {
    /// The regime of the last operating point; 0 before any.
    pub(crate) fn current(&self) -> usize {
        usize::from(self.current)
    }

    /// How many have been opened.
    pub(crate) fn n_opened(&self) -> usize {
        self.centres.len()
    }

    /// True when a state read back has the shape that the code relies on.
    pub(crate) fn sound(&self) -> bool {
        self.centres.len() <= REGIMES_MAX
            && self.strays.len() <= STRAYS
            && self.current() < REGIMES_MAX
    }

    /// The regimes that have been seen often.
    pub(crate) fn settled(&self) -> impl Iterator<Item = usize> + '_ {
        let often = |c: &Centre| c.n >= SETTLED_SAMPLES / 4.0;
        (0..self.centres.len()).filter(move |&i| often(&self.centres[i]))
    }

    /// The regime that a point is nearest to, without going there.
    pub(crate) fn nearest_to(&self, point: &[f32]) -> usize {
        self.nearest(point).map_or(0, |(i, _)| i)
    }

    /// Size on the heap, bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.centres.capacity() * size_of::<Centre>() + self.strays.capacity() * size_of::<Stray>()
    }

    /// Takes an operating point, `n_axes` in standard units; the others are 0, as are those not yet in use.
    pub(crate) fn step(&mut self, point: [f32; AXES_MAX], n_axes: usize) -> Move {
        for (span, &x) in self.spans.iter_mut().zip(&point).take(n_axes) {
            span.learn(x);
        }
        let nearest = self.nearest(point.get(..n_axes).unwrap_or(&point));
        let (outcome, place) = match nearest {
            Some((i, d)) if d <= 1.0 => (Move::Known, i),
            Some((i, _)) if !self.strays_again(point) => (Move::Known, i),
            _ if self.centres.len() < REGIMES_MAX => {
                self.centres.push(Centre { at: point, n: 0.0 });
                let place = self.centres.len() - 1;
                let like = nearest.map(|(i, _)| i);
                (Move::Opened { place, like }, place)
            }
            Some((i, d)) => match self.closest_pair() {
                Some((kept, dropped, gap)) if d > gap => {
                    self.merge(kept, dropped, point);
                    let like = if i == dropped { kept } else { i };
                    let merged = Move::Merged {
                        kept,
                        dropped,
                        like,
                    };
                    (merged, dropped)
                }
                _ => (Move::Known, i),
            },
            None => (Move::Known, 0),
        };
        // A stray is not what a regime usually is.
        let strays = outcome == Move::Known && nearest.is_some_and(|(_, d)| d > 1.0);
        if let Some(centre) = self.centres.get_mut(place).filter(|_| !strays) {
            centre.n = (centre.n + 1.0).min(SETTLED_SAMPLES);
            for (c, p) in centre.at.iter_mut().zip(point) {
                *c += (p - *c) / centre.n;
            }
        }
        self.current = u8::try_from(place).unwrap_or(0);
        outcome
    }

    /// On each axis, the distance that makes another regime.
    fn far(&self) -> [f32; AXES_MAX] {
        self.spans.map(|span| span.far())
    }

    /// Remembers a point far from every centre; true if one near it had strayed before.
    fn strays_again(&mut self, point: [f32; AXES_MAX]) -> bool {
        let far = self.far();
        let again = self
            .strays
            .iter()
            .any(|s| distance(&s.at, &point, &far) <= 1.0);
        if again {
            self.strays.clear();
        } else {
            if self.strays.len() == STRAYS {
                self.strays.remove(0);
            }
            self.strays.push(Stray { at: point });
        }
        again
    }

    /// The nearest centre and its distance along the axes of `point`.
    fn nearest(&self, point: &[f32]) -> Option<(usize, f32)> {
        let mut far = [1.0; AXES_MAX];
        for ((far, span), _) in far.iter_mut().zip(&self.spans).zip(point) {
            *far = span.far();
        }
        self.centres
            .iter()
            .enumerate()
            .map(|(i, c)| (i, distance(&c.at, point, &far)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn closest_pair(&self) -> Option<(usize, usize, f32)> {
        let far = self.far();
        let mut best: Option<(usize, usize, f32)> = None;
        for (j, b) in self.centres.iter().enumerate() {
            for (i, a) in self.centres.iter().enumerate().take(j) {
                let d = distance(&a.at, &b.at, &far);
                if best.is_none_or(|(_, _, least)| d < least) {
                    let (kept, dropped) = if a.n >= b.n { (i, j) } else { (j, i) };
                    best = Some((kept, dropped, d));
                }
            }
        }
        best
    }

    fn merge(&mut self, kept: usize, dropped: usize, point: [f32; AXES_MAX]) {
        let gone = self.centres[dropped];
        let into = &mut self.centres[kept];
        let n = (into.n + gone.n).max(1.0);
        for (a, b) in into.at.iter_mut().zip(gone.at) {
            *a += (b - *a) * gone.n / n;
        }
        into.n = n.min(SETTLED_SAMPLES);
        self.centres[dropped] = Centre { at: point, n: 0.0 };
    }
}

/// Largest distance over the axes, each in what is far on it: above 1 is another regime.
fn distance(a: &[f32], b: &[f32], far: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .zip(far)
        .map(|((x, y), far)| (x - y).abs() / far)
        .fold(0.0, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f32) -> [f32; AXES_MAX] {
        [x, 0.0, 0.0, 0.0]
    }

    #[test]
    fn separate_operating_points_become_separate_regimes() {
        let mut regimes = Regimes::default();
        let mut seen = Vec::new();
        for _ in 0..50 {
            for x in [0.0, 40.0, 100.0] {
                regimes.step(point(x), 1);
                seen.push(regimes.current());
            }
        }
        assert!(seen.chunks(3).skip(2).all(|c| c == [0, 1, 2]), "{seen:?}");
    }

    #[test]
    fn what_creeps_is_one_regime_and_what_jumps_is_several() {
        let mut regimes = Regimes::default();
        for i in 0..4_000_u16 {
            let creeps = 6.0 * (f32::from(i) / 144.0 * std::f32::consts::TAU).sin();
            let jumps = [0.0, 50.0, 90.0][usize::from(i / 12 % 3)];
            regimes.step([jumps, creeps, 0.0, 0.0], 2);
        }
        let mut seen = Vec::new();
        for creeps in [-6.0, 0.0, 6.0] {
            for jumps in [0.0, 50.0, 90.0] {
                seen.push(regimes.nearest_to(&[jumps, creeps, 0.0, 0.0]));
            }
        }
        assert!(
            seen[..3] == seen[3..6] && seen[..3] == seen[6..],
            "{seen:?}"
        );
        assert!(seen[0] != seen[1] && seen[1] != seen[2], "{seen:?}");
    }

    #[test]
    fn a_wide_range_still_gives_few_regimes_that_cover_it() {
        let mut regimes = Regimes::default();
        for i in 0..5_000_u16 {
            regimes.step(point(f32::from(i % 500)), 1);
        }
        assert_eq!(regimes.centres.len(), REGIMES_MAX);
        let places: Vec<f32> = regimes.centres.iter().map(|c| c.at[0]).collect();
        let low = places.iter().copied().fold(f32::MAX, f32::min);
        let high = places.iter().copied().fold(f32::MIN, f32::max);
        assert!(low < 150.0 && high > 300.0, "{places:?}");
    }
}
