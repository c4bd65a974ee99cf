//! The measure of the IEEE PHM 2012 challenge.

/// The shares of their lives at which the organisers cut the eleven test bearings: seconds recorded of seconds from the
/// beginning to the failure (Nectoux et al. 2012, with the remaining lives published after the challenge). A bearing that
/// ran to failure is cut there to be estimated.
pub const CUT_SHARES: [f64; 11] = [
    18_010.0 / 23_740.0,
    11_380.0 / 11_719.0,
    23_010.0 / 24_620.0,
    23_010.0 / 24_470.0,
    15_010.0 / 22_580.0,
    12_010.0 / 19_540.0,
    6_110.0 / 7_500.0,
    20_010.0 / 23_100.0,
    5_710.0 / 7_000.0,
    1_710.0 / 2_290.0,
    3_510.0 / 4_330.0,
];

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
