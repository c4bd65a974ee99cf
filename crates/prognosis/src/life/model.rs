//! The life section of a model file: what is normal, wear indices, trees, intervals.

use forecare_domain::{Contribution, ModeName, Rul, Timestamp};
use serde::{Deserialize, Serialize};

use super::features::{Index, features, n_features, trail_len};
use super::interval::Intervals;
use super::learn::LifeScores;
use super::regimes::Standard;
use super::state::LifeState;
use crate::drift::Inputs;
use crate::forest::Forest;

/// Most metrics named in an explanation.
const EXPLAINED_MAX: usize = 5;
/// Which of the windows the health index is smoothed over.
const HEALTH_WINDOW: usize = 0;

/// A learnt model of how long a machine lasts. Made by [`super::learn_life`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifeModel {
    standard: Standard,
    indices: Vec<Index>,
    /// Windows of levels and slopes, hours, ascending.
    windows_h: Vec<f64>,
    /// Longest remaining life told apart, hours.
    cap_hours: f64,
    /// Names of the features, in order.
    features: Vec<String>,
    forests: Vec<Forest>,
    intervals: Option<Intervals>,
    scores: Option<LifeScores>,
    /// The failure mode, where every life ended in the same one.
    mode: Option<ModeName>,
    /// How the readings of whole lives were distributed, regime by regime and metric by metric, in deviations from the
    /// mean of the regime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Inputs>,
}

impl LifeModel {
    pub(crate) fn new(
        standard: Standard,
        indices: Vec<Index>,
        windows_h: Vec<f64>,
        cap_hours: f64,
        features: Vec<String>,
        forests: Vec<Forest>,
    ) -> Self {
        Self {
            standard,
            indices,
            windows_h,
            cap_hours,
            features,
            forests,
            intervals: None,
            scores: None,
            mode: None,
            inputs: Vec::new(),
        }
    }

    pub(crate) fn finish(
        &mut self,
        intervals: Intervals,
        scores: LifeScores,
        mode: Option<ModeName>,
        inputs: Vec<Inputs>,
    ) {
        self.inputs = inputs;
        self.intervals = Some(intervals);
        self.scores = Some(scores);
        self.mode = mode;
    }

    /// How good the model was on machines it had not seen.
    #[must_use]
    pub fn scores(&self) -> Option<&LifeScores> {
        self.scores.as_ref()
    }

    /// Longest remaining life told apart, hours.
    #[must_use]
    pub fn cap_hours(&self) -> f64 {
        self.cap_hours
    }

    /// The failure mode, where every life ended in the same one.
    #[must_use]
    pub fn mode(&self) -> Option<&ModeName> {
        self.mode.as_ref()
    }

    /// Names of the features that the trees are asked about, in order.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Of the names of a class's metrics those that it looks at: the ones that vary and are no operating point.
    #[must_use]
    pub fn metrics(&self, of_class: &[String]) -> Vec<String> {
        let name = |place: &usize| of_class.get(*place).cloned().unwrap_or_default();
        self.standard.metrics.iter().map(name).collect()
    }

    /// One per regime; none in a file from before there were any.
    pub(crate) fn inputs(&self) -> &[Inputs] {
        &self.inputs
    }

    /// The regime of a reading, `None` where its operating point is unknown; and the reading in deviations from the mean
    /// of the regime, in the order of [`Self::metrics`], NaN where unknown.
    pub(crate) fn placed(&self, values: &[Option<f64>]) -> (Option<usize>, Vec<f64>) {
        let mut z = Vec::with_capacity(self.standard.metrics.len());
        self.standard.standardise(values, &mut z);
        let deviations = z.into_iter().map(|z| z.unwrap_or(f64::NAN)).collect();
        (self.standard.regime_of(values), deviations)
    }

    pub(crate) fn n_regimes(&self) -> usize {
        self.standard.n_regimes()
    }

    pub(crate) fn is_sound(&self, n_metrics: usize) -> bool {
        let n = n_features(
            self.standard.metrics.len(),
            self.indices.len(),
            self.windows_h.len(),
        );
        self.standard.is_sound(n_metrics)
            && self
                .indices
                .iter()
                .all(|i| i.weights.len() == self.standard.metrics.len())
            && !self.windows_h.is_empty()
            && self.windows_h.iter().all(|w| *w > 0.0 && w.is_finite())
            && self.cap_hours > 0.0
            && self.features.len() == n
            && !self.forests.is_empty()
            && self.forests.iter().all(|f| f.is_sound(n))
            && self.intervals.as_ref().is_some_and(Intervals::is_sound)
            && (self.inputs.is_empty() || self.inputs.len() == self.n_regimes())
            && self
                .inputs
                .iter()
                .all(|i| i.is_sound(self.standard.metrics.len()))
    }

    /// Takes a reading of the machine, in time order, and gives its remaining life. `id` tells this model from
    /// others: a state that followed another one begins anew.
    ///
    /// The median is at most [`Self::cap_hours`]: beyond it the data only say "at least that"; p90 may lie
    /// beyond.
    pub fn step(
        &self,
        id: &str,
        state: &mut LifeState,
        ts: Timestamp,
        values: &[Option<f64>],
    ) -> Rul {
        let passed_h = state.hours_to(ts);
        let p50_hours = self.estimate_as(id, state, ts, values);
        state.judge(
            p50_hours,
            passed_h,
            self.windows_h[HEALTH_WINDOW],
            self.cap_hours,
        );
        let (p10_hours, p90_hours) = self
            .intervals
            .as_ref()
            .map_or((0.0, p50_hours), |i| i.around(p50_hours));
        Rul::Learnt {
            p10_hours,
            p50_hours,
            p90_hours,
        }
    }

    /// The metrics that shortened the remaining life most, largest share first; their shares sum to 1. Levels are
    /// in deviations from normal in the regime, over the shortest window.
    pub(crate) fn explain(&self, state: &LifeState, metrics: &[String]) -> Vec<Contribution> {
        let x = self.features_of(state);
        let mut moved = vec![0.0; x.len()];
        for forest in &self.forests {
            forest.contributions(&x, &mut moved);
        }
        let len = trail_len(self.windows_h.len());
        // An index is its metrics: what it moved is theirs, by weight.
        let (own, of_indices) = moved.split_at(self.standard.metrics.len() * len);
        let mut shortened: Vec<f64> = own.chunks_exact(len).map(|m| m.iter().sum()).collect();
        for (index, moved) in self.indices.iter().zip(of_indices.chunks_exact(len)) {
            let moved: f64 = moved.iter().sum();
            let whole: f64 = index.weights.iter().map(|w| w.abs()).sum();
            for (metric, weight) in shortened.iter_mut().zip(&index.weights) {
                *metric += moved * weight.abs() / whole.max(f64::MIN_POSITIVE);
            }
        }
        let mut shortened: Vec<(usize, f64)> = shortened
            .into_iter()
            .enumerate()
            .filter(|(_, hours)| *hours < 0.0)
            .collect();
        shortened.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        shortened.truncate(EXPLAINED_MAX);
        let whole: f64 = shortened.iter().map(|(_, hours)| hours).sum();
        shortened
            .into_iter()
            .filter_map(|(place, hours)| {
                let seen = x[place * len];
                let side = if seen < 0.0 { "below" } else { "above" };
                Some(Contribution {
                    name: metrics.get(self.standard.metrics[place])?.clone(),
                    share: hours / whole,
                    expected: 0.0,
                    seen,
                    reason: format!("deviations {side} the mean at this operating point"),
                })
            })
            .collect()
    }

    /// The median alone, for a state of no other model.
    pub(crate) fn estimate(
        &self,
        state: &mut LifeState,
        ts: Timestamp,
        values: &[Option<f64>],
    ) -> f64 {
        self.estimate_as("", state, ts, values)
    }

    fn estimate_as(
        &self,
        id: &str,
        state: &mut LifeState,
        ts: Timestamp,
        values: &[Option<f64>],
    ) -> f64 {
        let mut z = Vec::with_capacity(self.standard.metrics.len());
        self.standard.standardise(values, &mut z);
        state.adopt(id, self.standard.metrics.len(), self.windows_h.len());
        state.push(ts, &z, &self.windows_h);
        let x = self.features_of(state);
        let sum: f64 = self.forests.iter().map(|f| f.margin(&x)).sum();
        (sum / self.forests.len() as f64).clamp(0.0, self.cap_hours)
    }

    fn features_of(&self, state: &LifeState) -> Vec<f64> {
        let mut trails = Vec::with_capacity(self.features.len());
        state.trails(&mut trails);
        let n_windows = self.windows_h.len();
        features(trails, &self.indices, n_windows, state.age_hours())
    }
}
