//! What a detector says of one instant.

use forecare_domain::{AlarmSource, Contribution, ModeName, Severity};

/// The verdict on one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// How unusual the row is, 0 to 1; 0.5 is the threshold that gives the false alarm rate set.
    pub anomaly: f64,
    /// Whether something sets in at this row that the device has not done before, 0 to 1, 0.5 as above: high
    /// at the onset, low again while it lasts, when `anomaly` stays high. No evidence by itself.
    pub novelty: f64,
    /// 0 (failing) to 100 (as good as new); below 50 once a critical limit is passed for good.
    pub health: f64,
    /// Evidence for failure modes at this instant; usually empty.
    pub evidence: Vec<Evidence>,
}

/// Evidence for a failure mode at one instant, or for `unknown` where no signature of the catalogue fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The failure mode.
    pub mode: ModeName,
    /// What speaks for it.
    pub source: AlarmSource,
    /// How urgent.
    pub severity: Severity,
    /// 0 to 1; 0.5 is just beyond the threshold.
    pub strength: f64,
    /// Why, largest share first; the shares sum to 1. `expected` is what the baseline lets expect, or the
    /// limit itself where a limit is passed before there is a baseline; `seen` is the value of the row, or
    /// the smoothed level where the metric drifts.
    pub contributions: Vec<Contribution>,
}
