//! How far a metric's recent shape is from every shape seen before: a small codebook of them.
//!
//! A shape is the value and its averages over about 3, 10 and 30 samples. The codebook is an online vector
//! quantisation (MacQueen 1967): shapes far from all open a place while there is room, the others move the
//! nearest one. The distance to the nearest is a nearest-neighbour density estimate with bounded memory.

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
    shapes: Vec<Shape>,
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

#[derive(Debug, Clone, Copy, PartialEq)]
struct Shape {
    at: [f32; DIMENSIONS],
    n: f32,
}
packed!(Shape { at, n });

impl Density {
    pub(crate) fn new(x: f64) -> Self {
        Self {
            level: x,
            deviation: 0.0,
            shape: [0.0; DIMENSIONS],
            shapes: Vec::with_capacity(SHAPES),
            usual: 0.0,
        }
    }

    pub(crate) fn sound(&self) -> bool {
        self.shapes.len() <= SHAPES
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.shapes.capacity() * size_of::<Shape>()
    }

    /// Distance of the shape that ends with `x` to the nearest one remembered, then learns it. `n`: samples
    /// before.
    pub(crate) fn step(&mut self, x: f64, n: f64) -> f32 {
        let early = 1.0 / (n + 1.0);
        let reach = VALUE_MAX * self.deviation;
        let mut e = x - self.level;
        let mut z = 0.0;
        if self.deviation > 0.0 {
            e = e.clamp(-reach, reach);
            z = crate::together::narrow(e / self.deviation);
        }
        let rate = early.max(1.0 / LEVEL_SAMPLES);
        self.level += rate * e;
        self.deviation += rate * (e.abs() - self.deviation);
        for (s, weight) in self.shape.iter_mut().zip(WEIGHTS) {
            *s += weight * (z - *s);
        }
        let mut nearest = (0, f32::MAX);
        for (i, shape) in self.shapes.iter().enumerate() {
            let squares = shape
                .at
                .iter()
                .zip(self.shape)
                .map(|(a, b)| (a - b) * (a - b));
            let square: f32 = squares.sum();
            if square < nearest.1 {
                nearest = (i, square);
            }
        }
        let distance = if self.shapes.is_empty() {
            0.0
        } else {
            nearest.1.sqrt()
        };
        let is_new = self.shapes.is_empty() || distance > self.usual;
        if self.shapes.len() < SHAPES && is_new {
            self.shapes.push(Shape {
                at: self.shape,
                n: 1.0,
            });
        } else {
            let shape = &mut self.shapes[nearest.0];
            shape.n = (shape.n + 1.0).min(1.0 / SHAPE_WEIGHT);
            for (a, b) in shape.at.iter_mut().zip(self.shape) {
                *a += (b - *a) / shape.n;
            }
        }
        let rate = crate::together::narrow(early).max(1.0 / DISTANCE_SAMPLES);
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
        for i in 0..2_000_u16 {
            let distance = density.step(wave(i), f64::from(i));
            if i >= 1_000 {
                usual = usual.max(distance);
            }
        }
        let plateau = (2_000..2_048).map(|i| density.step(wave(2_012), f64::from(i)));
        let farthest = plateau.fold(0.0, f32::max);
        assert!(farthest > 1.2 * usual, "{farthest} {usual}");
    }
}
