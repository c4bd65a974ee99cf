//! Randomness by position: every draw belongs to a device, a purpose and a step, whatever was drawn before.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a sequence of draws is for; each device has one stream per purpose.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// How this unit differs from its sisters.
    Traits = 0,
    /// Sensor noise, weather, spurious events; one step per sample.
    Sample = 1,
    /// Demand for air; one step per block of hours.
    Demand = 2,
    /// Faults.
    Plan = 3,
}

/// Words kept for one step: a multiple of the generator's buffer, so that a step is one refill.
const WORDS_PER_STEP: u128 = 64;

/// Source of all draws of a fleet. Keeping a generator per device would cost more memory than the device.
pub(crate) struct Noise(ChaCha8Rng);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The draws of one device, purpose and step.
    pub(crate) fn at(&self, device: usize, purpose: Purpose, step: u64) -> Draws {
        let mut rng = self.0.clone();
        rng.set_stream((device as u64) << 2 | purpose as u64);
        rng.set_word_pos(u128::from(step) * WORDS_PER_STEP);
        Draws { rng, spare: None }
    }
}

/// A short sequence of draws.
pub(crate) struct Draws {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Draws {
    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.rng.random()
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..n`; `n` at least 1.
    pub(crate) fn index(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    /// Standard normal (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.unit();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}
