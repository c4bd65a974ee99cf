//! The waveform in time: moments and extremes.

/// Moments and extremes of a waveform about its mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) mean: f64,
    pub(crate) rms: f64,
    pub(crate) peak: f64,
    pub(crate) peak_to_peak: f64,
    /// Third and fourth central moment.
    m3: f64,
    m4: f64,
}

impl Shape {
    /// Of at least one sample.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let n = samples.len() as f64;
        let (low, high) = samples
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                (low.min(*x), high.max(*x))
            });
        // Of a constant waveform the rounded sum is not quite the mean.
        let mean = (samples.iter().sum::<f64>() / n).clamp(low, high);
        let (mut m2, mut m3, mut m4) = (0.0, 0.0, 0.0);
        for x in samples {
            let d = x - mean;
            let d2 = d * d;
            m2 += d2;
            m3 += d2 * d;
            m4 += d2 * d2;
        }
        Self {
            mean,
            rms: (m2 / n).sqrt(),
            peak: (high - mean).max(mean - low),
            peak_to_peak: high - low,
            m3: m3 / n,
            m4: m4 / n,
        }
    }

    pub(crate) fn is_constant(&self) -> bool {
        self.peak_to_peak == 0.0
    }

    pub(crate) fn crest_factor(&self) -> f64 {
        self.peak / self.rms
    }

    /// 0 for a symmetric distribution.
    pub(crate) fn skewness(&self) -> f64 {
        self.m3 / self.rms.powi(3)
    }

    /// 3 for a Gaussian.
    pub(crate) fn kurtosis(&self) -> f64 {
        self.m4 / self.rms.powi(4)
    }
}
