//! What the trees are asked about: levels and slopes of metrics and of degradation indices.

use serde::{Deserialize, Serialize};

/// Per metric: a level for each window, a slope for each window, the lifetime mean.
pub(crate) type Trails = Vec<f64>;

/// Weights of the standard metrics in one number that falls as the machine wears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    pub(crate) weights: Vec<f64>,
}

/// Number of features of `n_metrics` metrics, `n_indices` indices and `n_windows` windows.
pub(crate) fn n_features(n_metrics: usize, n_indices: usize, n_windows: usize) -> usize {
    (n_metrics + n_indices) * trail_len(n_windows) + 1
}

/// Number of features of one metric or index.
pub(crate) fn trail_len(n_windows: usize) -> usize {
    2 * n_windows + 1
}

/// The features: the metrics' trails, the same of every index (an index is linear, so its level and slope are
/// those of the metrics, weighted), and the time in service.
pub(crate) fn features(
    mut trails: Trails,
    indices: &[Index],
    n_windows: usize,
    age_hours: f64,
) -> Vec<f64> {
    let len = trail_len(n_windows);
    let n_metric_features = trails.len();
    for index in indices {
        for place in 0..len {
            let sum = trails[..n_metric_features]
                .iter()
                .skip(place)
                .step_by(len)
                .zip(&index.weights)
                .map(|(v, w)| v * w)
                .sum();
            trails.push(sum);
        }
    }
    trails.push(age_hours);
    trails
}

/// Names of the features, in their order.
pub(crate) fn names(metrics: &[String], n_indices: usize, windows_h: &[f64]) -> Vec<String> {
    let things = metrics
        .iter()
        .cloned()
        .chain((1..=n_indices).map(|i| format!("wear index {i}")));
    let mut names = Vec::new();
    for thing in things {
        for window in windows_h {
            names.push(format!("{thing} level {window:.3} h"));
        }
        for window in windows_h {
            names.push(format!("{thing} slope {window:.3} h"));
        }
        names.push(format!("{thing} mean of life"));
    }
    names.push("hours in service".to_owned());
    names
}
