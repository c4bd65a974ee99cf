//! How far a metric's recent shape is from every shape seen before: a small codebook of them.
//!
//! A shape is the value and its averages over about 3, 10 and 30 samples. The codebook is an online vector
//! quantisation (MacQueen 1967): shapes far from all open a place while there is room, the others move the
//! nearest one. The distance to the nearest is a nearest-neighbour density estimate with bounded memory.

use wide::f32x4;

use crate::bounds::{least, most, within};
use crate::codec::packed;

/// Averages that make a shape.
const DIMENSIONS: usize = 4;
/// Weight of each.
const WEIGHTS: [f32; DIMENSIONS] = [1.0, 0.3, 0.1, 0.03];
/// Shapes remembered.
const SHAPES: usize = 16;
/// A place moves at least by this share towards its newest shape.
const SHAPE_WEIGHT: f32 = 0.01;
/// Samples the usual distance averages over.
const DISTANCE_SAMPLES: f32 = 1_000.0;
/// Samples that level and deviation average over.
const LEVEL_SAMPLES: f64 = 2_000.0;
/// Values count no farther than this, mean absolute deviations.
const VALUE_MAX: f64 = 8.0;

/// Recent shape and remembered shapes of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Density {
    level: f64,
    /// Mean absolute deviation.
    deviation: f64,
    shape: [f32; DIMENSIONS],
    shapes: Shapes,
    /// Usual distance to the nearest.
    usual: f32,
}
packed!(Density {
    level,
    deviation,
    shape,
    shapes,
    usual
});

/// Remembered shapes, one after the other in each dimension: all distances are found at once.
#[derive(Debug, Clone, PartialEq)]
struct Shapes {
    at: [[f32; SHAPES]; DIMENSIONS],
    /// How often each was met, at most `1 / SHAPE_WEIGHT`.
    n: [f32; SHAPES],
    n_known: u8,
}
packed!(Shapes { at, n, n_known });

impl Shapes {
    /// Places without a shape are infinitely far away.
    const NONE: Self = Self {
        at: [[f32::INFINITY; SHAPES]; DIMENSIONS],
        n: [0.0; SHAPES],
        n_known: 0,
    };

    /// The nearest to `shape` and its distance; place 0 and distance 0 where none is known.
    fn nearest(&self, shape: &[f32; DIMENSIONS]) -> (usize, f32) {
        if self.n_known == 0 {
            return (0, 0.0);
        }
        let mut squares = [f32x4::splat(0.0); SHAPES / 4];
        for (along, &x) in self.at.iter().zip(shape) {
            for (square, &at) in squares.iter_mut().zip(along.as_chunks::<4>().0) {
                let way = f32x4::new(at) - f32x4::splat(x);
                *square += way * way;
            }
        }
        let most = f32x4::splat(f32::MAX);
        let nearest = squares
            .into_iter()
            .fold(most, |near, four| four.fast_min(near));
        let square = nearest.to_array().into_iter().fold(f32::MAX, least);
        // A bit for each that is as near; the first one counts.
        let as_near = |four: f32x4| four.simd_eq(f32x4::splat(square)).to_bitmask();
        let bits = squares
            .into_iter()
            .rev()
            .fold(0, |bits, four| (bits << 4) | as_near(four));
        let place = bits.trailing_zeros() as usize % SHAPES;
        (place, square.sqrt())
    }

    /// Opens a place for `shape`. Only while there is room.
    fn open(&mut self, shape: &[f32; DIMENSIONS]) {
        let place = usize::from(self.n_known);
        for (along, x) in self.at.iter_mut().zip(shape) {
            along[place] = *x;
        }
        self.n[place] = 1.0;
        self.n_known += 1;
    }

    /// Moves the one at `place` towards `shape`.
    fn follow(&mut self, place: usize, shape: &[f32; DIMENSIONS]) {
        let n = least(self.n[place] + 1.0, 1.0 / SHAPE_WEIGHT);
        self.n[place] = n;
        let share = 1.0 / n;
        for (along, x) in self.at.iter_mut().zip(shape) {
            along[place] += (x - along[place]) * share;
        }
    }
}

impl Density {
    pub(crate) fn new(x: f64) -> Self {
        Self {
            level: x,
            deviation: 0.0,
            shape: [0.0; DIMENSIONS],
            shapes: Shapes::NONE,
            usual: 0.0,
        }
    }

    pub(crate) fn sound(&self) -> bool {
        usize::from(self.shapes.n_known) <= SHAPES
    }

    /// Distance of the shape that ends with `x` to the nearest one remembered, then learns it. `early`: the weight of
    /// `x` in the plain mean of all samples.
    pub(crate) fn step(&mut self, x: f64, early: f64) -> f32 {
        let reach = VALUE_MAX * self.deviation;
        let mut e = x - self.level;
        let mut z = 0.0;
        if self.deviation > 0.0 {
            e = within(e, reach);
            z = crate::together::narrow(e / self.deviation);
        }
        let rate = most(early, 1.0 / LEVEL_SAMPLES);
        self.level += rate * e;
        self.deviation += rate * (e.abs() - self.deviation);
        for (s, weight) in self.shape.iter_mut().zip(WEIGHTS) {
            *s += weight * (z - *s);
        }
        let (nearest, distance) = self.shapes.nearest(&self.shape);
        let n_known = usize::from(self.shapes.n_known);
        if n_known < SHAPES && (n_known == 0 || distance > self.usual) {
            self.shapes.open(&self.shape);
        } else {
            self.shapes.follow(nearest, &self.shape);
        }
        let rate = most(crate::together::narrow(early), 1.0 / DISTANCE_SAMPLES);
        self.usual += rate * (distance - self.usual);
        distance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_becomes_familiar_and_a_plateau_in_it_does_not() {
        let mut density = Density::new(0.0);
        let wave = |i: u16| 5.0 * (f64::from(i) * std::f64::consts::TAU / 48.0).sin();
        let mut usual = 0.0_f32;
        let early = |i: u16| 1.0 / (f64::from(i) + 1.0);
        for i in 0..2_000_u16 {
            let distance = density.step(wave(i), early(i));
            if i >= 1_000 {
                usual = usual.max(distance);
            }
        }
        let plateau = (2_000..2_048).map(|i| density.step(wave(2_012), early(i)));
        let farthest = plateau.fold(0.0, f32::max);
        assert!(farthest > 1.2 * usual, "{farthest} {usual}");
    }
}
