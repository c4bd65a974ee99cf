//! One device, row by row.

use forecare_domain::{AlarmSource, Contribution, ModeName, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::limits::LimitState;
use crate::{ClassDetector, Evidence, Scored};

/// The state of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceDetector {
    limits: Vec<([u16; 4], u8)>,
    health: f64,
}

impl DeviceDetector {
    /// A device that has not reported yet.
    #[must_use]
    pub fn new(class: &ClassDetector) -> Self {
        Self {
            limits: vec![([0; 4], 0); class.class.metrics.len()],
            health: 100.0,
        }
    }

    /// Scores one row. Rows come in time order; `values` has one place per metric of the class, `None`
    /// where not reported.
    pub fn step(
        &mut self,
        class: &ClassDetector,
        ts: Timestamp,
        values: &[Option<f64>],
    ) -> Scored {
        let _ = ts;
        let mut evidence: Vec<Evidence> = Vec::new();
        let mut worst = 0.0_f64;
        for (i, (spec, value)) in class.class.metrics.iter().zip(values).enumerate() {
            let (Some(value), Some(packed)) = (value, self.limits.get_mut(i)) else {
                continue;
            };
            let mut state = LimitState {
                n_beyond: packed.0,
                passed: packed.1,
            };
            let passed = state.step(&spec.limits, *value);
            *packed = (state.n_beyond, state.passed);
            let Some(passed) = passed else { continue };
            let critical = passed.severity == Severity::Critical;
            worst = worst.max(if critical { 0.6 } else { 0.35 });
            let mode = class
                .mode_of_limit(i, passed.above)
                .map_or(&class.class.unknown_mode.name, |m| &class.class.modes[m].name);
            evidence.push(Evidence {
                mode: mode.clone(),
                source: AlarmSource::Limit,
                severity: passed.severity,
                strength: if critical { 0.9 } else { 0.6 },
                contributions: vec![Contribution {
                    name: spec.name.to_string(),
                    share: 1.0,
                    expected: passed.limit,
                    seen: *value,
                    reason: format!(
                        "{} {} limit {} {}",
                        if passed.above { "above" } else { "below" },
                        if critical { "critical" } else { "warning" },
                        passed.limit,
                        spec.unit
                    ),
                }],
            });
        }
        self.health += 0.1 * (100.0 * (1.0 - worst) - self.health);
        Scored {
            anomaly: 0.0,
            health: self.health,
            evidence,
        }
    }

    /// A repair of the given modes.
    pub fn reset_after_repair(&mut self, class: &ClassDetector, modes: &[ModeName]) {
        for mode in class.class.modes.iter().filter(|m| modes.contains(&m.name)) {
            for sign in &mode.signature {
                if let Some(state) = self.limits.get_mut(sign.metric) {
                    *state = ([0; 4], 0);
                }
            }
        }
    }
}
