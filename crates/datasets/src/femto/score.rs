//! The measure of the IEEE PHM 2012 challenge.

/// Where the organisers cut a test bearing, and what it had left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedCut {
    /// The bearing.
    pub bearing: &'static str,
    /// Length of the recording, seconds.
    pub age_seconds: f64,
    /// True remaining life at its end, seconds.
    pub left_seconds: f64,
}

impl PublishedCut {
    /// The cut as a share of the life, 0 to 1.
    #[must_use]
    pub fn share_of_life(&self) -> f64 {
        self.age_seconds / (self.age_seconds + self.left_seconds)
    }
}

/// The eleven test bearings as the challenge published them.
pub const PUBLISHED_CUTS: [PublishedCut; 11] = [
    cut("Bearing1_3", 18_010.0, 5_730.0),
    cut("Bearing1_4", 11_380.0, 339.0),
    cut("Bearing1_5", 23_010.0, 1_610.0),
    cut("Bearing1_6", 23_010.0, 1_460.0),
    cut("Bearing1_7", 15_010.0, 7_570.0),
    cut("Bearing2_3", 12_010.0, 7_530.0),
    cut("Bearing2_4", 6_110.0, 1_390.0),
    cut("Bearing2_5", 20_010.0, 3_090.0),
    cut("Bearing2_6", 5_710.0, 1_290.0),
    cut("Bearing2_7", 1_710.0, 580.0),
    cut("Bearing3_3", 3_510.0, 820.0),
];

const fn cut(bearing: &'static str, age_seconds: f64, left_seconds: f64) -> PublishedCut {
    PublishedCut {
        bearing,
        age_seconds,
        left_seconds,
    }
}

/// Error of an estimate, per cent of the true remaining life: above 0, too early.
#[must_use]
pub fn percent_error(predicted: f64, truth: f64) -> f64 {
    100.0 * (truth - predicted) / truth
}

/// Accuracy of one estimate, 0 to 1 (Nectoux et al. 2012): with Er the error in per cent, exp(-ln(0.5) Er / 5) where
/// Er is at most 0 (too late) and exp(ln(0.5) Er / 20) where it is above (too early). The challenge's score is
/// the mean over the bearings.
#[must_use]
pub fn accuracy(percent_error: f64) -> f64 {
    let half = 0.5_f64.ln();
    if percent_error <= 0.0 {
        (-half * percent_error / 5.0).exp()
    } else {
        (half * percent_error / 20.0).exp()
    }
}
