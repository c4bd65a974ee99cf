//! Prepared transforms, a bounded number of them.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Lengths kept ready. Sensors have one or two; one that sends a new length each time must not fill memory.
const PLANS_MAX: usize = 8;

/// What is prepared for waveforms of one length.
pub(crate) struct Plan {
    pub(crate) n: usize,
    pub(crate) forward: Arc<dyn RealToComplex<f64>>,
    pub(crate) inverse: Arc<dyn ComplexToReal<f64>>,
    /// Hann window, periodic; the sum of its squares is 3/8 of its length.
    pub(crate) hann: Vec<f64>,
}

/// Plans by length, the most recently used last.
#[derive(Default)]
pub(crate) struct Plans(Vec<Arc<Plan>>);

impl Plans {
    pub(crate) fn get(&mut self, n: usize) -> Arc<Plan> {
        if let Some(place) = self.0.iter().position(|p| p.n == n) {
            self.0[place..].rotate_left(1);
        } else {
            if self.0.len() == PLANS_MAX {
                self.0.remove(0);
            }
            self.0.push(Arc::new(plan(n)));
        }
        Arc::clone(&self.0[self.0.len() - 1])
    }
}

fn plan(n: usize) -> Plan {
    // A planner keeps every plan it has made: it goes with this one.
    let mut planner = RealFftPlanner::new();
    let turn = |i: usize| TAU * i as f64 / n as f64;
    Plan {
        n,
        forward: planner.plan_fft_forward(n),
        inverse: planner.plan_fft_inverse(n),
        hann: (0..n).map(|i| 0.5 - 0.5 * turn(i).cos()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_reused_and_bounded() {
        let mut plans = Plans::default();
        let first = plans.get(64);
        for n in 65..65 + PLANS_MAX - 1 {
            plans.get(n);
        }
        assert!(Arc::ptr_eq(&first, &plans.get(64)));
        for n in 100..200 {
            plans.get(n);
        }
        assert_eq!(plans.0.len(), PLANS_MAX);
        assert!(!Arc::ptr_eq(&first, &plans.get(64)));
    }
}
