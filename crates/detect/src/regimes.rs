//! Operating regimes: a small online clustering of the operating point.
//!
//! At most [`REGIMES_MAX`] centres. A point far from all of them opens a new regime; when there is no
//! room, the two nearest centres are merged first, so that the grid widens with the range that is used.

use crate::codec::packed;

/// Most regimes of a device.
pub(crate) const REGIMES_MAX: usize = 4;
/// Most operating-point metrics that tell regimes apart; further ones are only compensated linearly.
pub(crate) const AXES_MAX: usize = 4;
/// A point this far from every centre, in deviations of the first regime, is another regime.
const NEW_REGIME_DISTANCE: f32 = 6.0;
/// Centres follow their points until they have seen so many.
const SETTLED_SAMPLES: f32 = 200.0;

/// A cluster of operating points.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Centre {
    at: [f32; AXES_MAX],
    n: f32,
}
packed!(Centre { at, n });

/// The regimes of one device.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Regimes {
    centres: Vec<Centre>,
    current: u8,
}
packed!(Regimes { centres, current });

/// What the newest operating point did to the regimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// It belongs to this regime.
    To(usize),
    /// It opened regime `new`, for which `dropped` was merged into `kept` and its place taken.
    Merged { kept: usize, dropped: usize },
}

fn distance(a: &[f32; AXES_MAX], b: &[f32; AXES_MAX]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}

impl Regimes {
    /// The regime of the last operating point; 0 before any.
    pub(crate) fn current(&self) -> usize {
        usize::from(self.current)
    }

    /// True when a state read back has the shape that the code relies on.
    pub(crate) fn sound(&self) -> bool {
        self.centres.len() <= REGIMES_MAX && self.current() < REGIMES_MAX
    }

    /// Size on the heap, bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.centres.capacity() * size_of::<Centre>()
    }

    /// Takes an operating point, axes in standard units.
    pub(crate) fn step(&mut self, point: [f32; AXES_MAX]) -> Move {
        let nearest = self
            .centres
            .iter()
            .enumerate()
            .map(|(i, c)| (i, distance(&c.at, &point)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let (outcome, place) = match nearest {
            Some((i, d)) if d <= NEW_REGIME_DISTANCE => (Move::To(i), i),
            _ if self.centres.len() < REGIMES_MAX => {
                self.centres.push(Centre { at: point, n: 0.0 });
                let i = self.centres.len() - 1;
                (Move::To(i), i)
            }
            Some((i, d)) => match self.closest_pair() {
                Some((kept, dropped, gap)) if d > gap => {
                    self.merge(kept, dropped, point);
                    (Move::Merged { kept, dropped }, dropped)
                }
                _ => (Move::To(i), i),
            },
            None => (Move::To(0), 0),
        };
        if let Some(centre) = self.centres.get_mut(place) {
            centre.n = (centre.n + 1.0).min(SETTLED_SAMPLES);
            for (c, p) in centre.at.iter_mut().zip(point) {
                *c += (p - *c) / centre.n;
            }
        }
        self.current = u8::try_from(place).unwrap_or(0);
        outcome
    }

    fn closest_pair(&self) -> Option<(usize, usize, f32)> {
        let mut best: Option<(usize, usize, f32)> = None;
        for (j, b) in self.centres.iter().enumerate() {
            for (i, a) in self.centres.iter().enumerate().take(j) {
                let d = distance(&a.at, &b.at);
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
                regimes.step(point(x));
                seen.push(regimes.current());
            }
        }
        assert!(seen.chunks(3).all(|c| c == [0, 1, 2]));
    }

    #[test]
    fn a_wide_range_still_gives_few_regimes_that_cover_it() {
        let mut regimes = Regimes::default();
        for i in 0..5_000_u16 {
            regimes.step(point(f32::from(i % 500)));
        }
        assert_eq!(regimes.centres.len(), REGIMES_MAX);
        let places: Vec<f32> = regimes.centres.iter().map(|c| c.at[0]).collect();
        let low = places.iter().copied().fold(f32::MAX, f32::min);
        let high = places.iter().copied().fold(f32::MIN, f32::max);
        assert!(low < 150.0 && high > 300.0, "{places:?}");
    }
}
