//! What all devices of a class share.

use forecare_catalogue::{AssetClass, Direction};

use crate::{DetectError, DetectSettings};

/// Shared by all devices of an asset class: settings, limits, signatures, thresholds. Immutable; share it
/// by reference or `Arc`.
#[derive(Debug, Clone)]
pub struct ClassDetector {
    pub(crate) class: AssetClass,
    pub(crate) settings: DetectSettings,
}

impl ClassDetector {
    /// Checks the settings and prepares the class.
    ///
    /// # Errors
    /// [`DetectError`] names the setting or signature that cannot work.
    pub fn new(class: &AssetClass, settings: &DetectSettings) -> Result<Self, DetectError> {
        settings.check()?;
        let n_metrics = class.metrics.len();
        for mode in &class.modes {
            if let Some(sign) = mode.signature.iter().find(|s| s.metric >= n_metrics) {
                return Err(DetectError::Signature {
                    mode: mode.name.to_string(),
                    metric: sign.metric,
                    n_metrics,
                });
            }
        }
        Ok(Self {
            class: class.clone(),
            settings: settings.clone(),
        })
    }

    /// The signature that a limit of `metric` passed upwards or downwards points to most: index of the
    /// mode, or `None` where no mode names that metric and direction.
    pub(crate) fn mode_of_limit(&self, metric: usize, above: bool) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (i, mode) in self.class.modes.iter().enumerate() {
            let total: f64 = mode.signature.iter().map(|s| s.weight).sum();
            for sign in mode.signature.iter().filter(|s| s.metric == metric) {
                let fits = match sign.direction {
                    Direction::Any => true,
                    Direction::Up => above,
                    Direction::Down => !above,
                };
                let share = sign.weight / total;
                if fits && best.is_none_or(|(_, b)| share > b) {
                    best = Some((i, share));
                }
            }
        }
        best.map(|(i, _)| i)
    }
}
