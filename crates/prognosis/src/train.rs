//! Learning a model from histories.

use std::collections::BTreeSet;

use forecare_catalogue::{AssetClass, FailureMode};
use forecare_domain::Timestamp;

use crate::boost::{Binned, BoostParams, fit};
use crate::calibration::{Held, Platt, score};
use crate::drift::Inputs;
use crate::features::FeatureSpec;
use crate::model::{ModeModel, Model, ModelCard, fill_unknown};
use crate::own::AXES_MAX;
use crate::rows::{History, HistoryItem, Outcome, Rows};

/// Most error codes a model looks at: the most frequent ones.
const CODES_MAX: usize = 32;

/// Settings of the training. The defaults were chosen by cross-validation.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainParams {
    /// Trees per mode, 1 to 1,000.
    pub rounds: usize,
    /// Questions from root to leaf, 1 to 8.
    pub depth: usize,
    /// Pace of learning, above 0 to 1.
    pub learning_rate: f64,
    /// Least sum of Hessians in a leaf, at least 0: larger is smoother.
    pub leaf_weight_min: f64,
    /// Ridge penalty on leaf values, above 0.
    pub l2: f64,
    /// Folds of the cross-validation, at least 2; at most as many as machines are used.
    pub folds: usize,
    /// Decides which machine goes to which fold.
    pub seed: u64,
    /// Least distance of two rows of a machine, hours; 0: every reading makes a row. Readings between rows are seen
    /// all the same, so that features mean what they mean in service.
    pub row_distance_hours: f64,
    /// True: every metric is also compared with what is usual for the machine itself at its operating point (the
    /// catalogue says which metrics describe that; the first two count).
    pub own_usual: bool,
}

impl Default for TrainParams {
    fn default() -> Self {
        Self {
            rounds: 80,
            depth: 4,
            learning_rate: 0.1,
            leaf_weight_min: 2.0,
            l2: 2.0,
            folds: 5,
            seed: 1,
            row_distance_hours: 0.0,
            own_usual: false,
        }
    }
}

/// What the card says of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct CardData {
    /// The data, in words: source, machines, files.
    pub data: String,
    /// When the training takes place.
    pub trained_at: Timestamp,
}

/// Why nothing could be learnt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// Cross-validation needs machines to hold out.
    #[error(
        "the histories hold {0} machine(s); at least 2 are needed to test on machines not seen"
    )]
    TooFewMachines(usize),
    /// No reading.
    #[error("the histories hold no readings")]
    NoReadings,
    /// No mode of the class failed on at least two machines.
    #[error("no failure mode of class {0} occurs on at least 2 machines of the histories")]
    NoFailures(String),
    /// A setting is out of its range.
    #[error("{0}")]
    Params(&'static str),
}

impl TrainParams {
    fn check(&self) -> Result<(), TrainError> {
        let rules = [
            (
                (1..=1000).contains(&self.rounds),
                "rounds must lie in 1..=1000",
            ),
            ((1..=8).contains(&self.depth), "depth must lie in 1..=8"),
            (
                self.learning_rate > 0.0 && self.learning_rate <= 1.0,
                "learning_rate must lie above 0 and at most at 1",
            ),
            (
                self.leaf_weight_min >= 0.0,
                "leaf_weight_min must be at least 0",
            ),
            (self.l2 > 0.0, "l2 must be above 0"),
            (self.folds >= 2, "folds must be at least 2"),
            (
                self.row_distance_hours >= 0.0,
                "row_distance_hours must be at least 0",
            ),
        ];
        match rules.into_iter().find(|(ok, _)| !ok) {
            Some((_, rule)) => Err(TrainError::Params(rule)),
            None => Ok(()),
        }
    }
}

/// Learns a model of `class`. The order of the histories does not matter; the horizon is the class's.
/// `progress` hears the share done, 0 to 1.
///
/// # Errors
/// [`TrainError`]: too little to learn from, or a setting out of range.
pub fn train(
    class: &AssetClass,
    histories: &[History],
    params: &TrainParams,
    card_data: &CardData,
    progress: &mut dyn FnMut(f64),
) -> Result<Model, TrainError> {
    params.check()?;
    progress(0.0);
    let mut histories: Vec<&History> = histories.iter().collect();
    histories.sort_by(|a, b| {
        let key = |h: &History| (h.items.first().map(HistoryItem::ts), h.items.len());
        a.device.cmp(&b.device).then(key(a).cmp(&key(b)))
    });
    let spec = spec_of(class, &histories, params.own_usual);
    let modes: Vec<&FailureMode> = class.modes.iter().collect();
    let mut rows = Rows::build(
        &spec,
        &modes,
        class.horizon_hours,
        params.row_distance_hours,
        &histories,
    );
    if rows.machines.len() < 2 {
        return Err(TrainError::TooFewMachines(rows.machines.len()));
    }
    let n_rows = rows.ts.len();
    let (Some(&from), Some(&to)) = (rows.ts.iter().min(), rows.ts.iter().max()) else {
        return Err(TrainError::NoReadings);
    };
    let expected = healthy_medians(&rows, spec.names().len());
    let inputs = Inputs::of(healthy_rows(&rows, expected.len()), expected.len());
    fill_unknown(&mut rows.x, &expected);
    let data = Binned::new(&rows.x, expected.len());
    let folds = params.folds.min(rows.machines.len());
    let fold_of = folds_of(rows.machines.len(), folds, params.seed);
    progress(0.05);

    let boost = BoostParams {
        rounds: params.rounds,
        depth: params.depth,
        learning_rate: params.learning_rate,
        leaf_weight_min: params.leaf_weight_min,
        l2: params.l2,
    };
    let mut learnt = Vec::new();
    let mut scores = Vec::new();
    let mut modes_left_out = Vec::new();
    for (m, mode) in modes.iter().enumerate() {
        let name = mode.name.as_str();
        let outcome = &rows.outcome[m];
        let failing: BTreeSet<usize> = (0..n_rows)
            .filter(|&r| outcome[r] == Outcome::Failed)
            .map(|r| rows.machine[r])
            .collect();
        if failing.len() < 2 {
            modes_left_out.push(name.to_owned());
            continue;
        }
        let labels: Vec<bool> = outcome.iter().map(|o| *o == Outcome::Failed).collect();
        let known: Vec<u32> = (0u32..)
            .zip(outcome)
            .filter(|(_, o)| **o != Outcome::Unknown)
            .map(|(r, _)| r)
            .collect();
        let weights = rows.natural_weights(m);
        let mut held = Vec::with_capacity(known.len());
        for fold in 0..folds {
            let is_out = |r: &u32| fold_of[rows.machine[*r as usize]] == fold;
            let inside: Vec<u32> = known.iter().copied().filter(|r| !is_out(r)).collect();
            let forest = fit(&data, &inside, &labels, &weights, &boost);
            held.extend(known.iter().copied().filter(is_out).map(|r| {
                let r = r as usize;
                Held {
                    margin: forest.margin(&rows.x[r * expected.len()..(r + 1) * expected.len()]),
                    label: labels[r],
                    weight: weights[r],
                }
            }));
            let done = m as f64 + (fold + 1) as f64 / (folds + 1) as f64;
            progress(0.05 + 0.95 * done / modes.len() as f64);
        }
        let platt = Platt::fit(&held);
        scores.push(score(name, &held, platt, rows.n_failures[m]));
        learnt.push(ModeModel {
            mode: mode.name.clone(),
            platt,
            forest: fit(&data, &known, &labels, &weights, &boost),
        });
        progress(0.05 + 0.95 * (m + 1) as f64 / modes.len() as f64);
    }
    if learnt.is_empty() {
        return Err(TrainError::NoFailures(class.name.as_str().to_owned()));
    }
    let card = ModelCard {
        data: card_data.data.clone(),
        trained_at: card_data.trained_at,
        from,
        to,
        n_machines: rows.machines.len(),
        n_rows,
        horizon_hours: class.horizon_hours,
        settings: format!(
            "gradient boosted trees: {} rounds, depth {}, learning rate {}, leaf weight {}, l2 {}, {folds} folds, seed {}{}",
            params.rounds,
            params.depth,
            params.learning_rate,
            params.leaf_weight_min,
            params.l2,
            params.seed,
            if params.row_distance_hours > 0.0 {
                format!(", a row every {} h", params.row_distance_hours)
            } else {
                String::new()
            }
        ),
        features: spec.names(),
        scores,
        modes_left_out,
        sha256: String::new(),
    };
    Ok(Model::seal(
        class.name.clone(),
        card,
        spec,
        expected,
        learnt,
        inputs,
    ))
}

/// Metrics and components of the catalogue, error codes of the histories.
fn spec_of(class: &AssetClass, histories: &[&History], own_usual: bool) -> FeatureSpec {
    let mut codes: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for item in histories.iter().flat_map(|h| &h.items) {
        if let HistoryItem::Event { code, .. } = item {
            *codes.entry(code).or_default() += 1;
        }
    }
    let mut frequent: Vec<(&str, usize)> = codes.into_iter().collect();
    frequent.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    frequent.truncate(CODES_MAX);
    let mut codes: Vec<String> = frequent.iter().map(|(c, _)| (*c).to_owned()).collect();
    codes.sort();
    let components: BTreeSet<&str> = class
        .modes
        .iter()
        .filter_map(|m| m.component.as_ref().map(|c| c.as_str()))
        .collect();
    FeatureSpec {
        metrics: class
            .metrics
            .iter()
            .map(|m| m.name.as_str().to_owned())
            .collect(),
        codes,
        components: components.into_iter().map(str::to_owned).collect(),
        own_usual_at: own_usual.then(|| {
            let axes = class.metrics.iter().enumerate();
            axes.filter(|(_, m)| m.operating_point)
                .map(|(i, _)| i)
                .take(AXES_MAX)
                .collect()
        }),
    }
}

/// The rows that no failure followed, of the histories that look like service.
fn healthy_rows(rows: &Rows, n_features: usize) -> impl Iterator<Item = &[f64]> {
    rows.densest()
        .filter(|r| rows.outcome.iter().all(|o| o[*r] != Outcome::Failed))
        .map(move |r| &rows.x[r * n_features..(r + 1) * n_features])
}

/// Median of each feature over the rows that no failure followed; 0 where it was never known.
fn healthy_medians(rows: &Rows, n_features: usize) -> Vec<f64> {
    let healthy: Vec<usize> = (0..rows.ts.len())
        .filter(|&r| rows.outcome.iter().all(|o| o[r] != Outcome::Failed))
        .collect();
    (0..n_features)
        .map(|f| {
            let mut column: Vec<f64> = healthy
                .iter()
                .map(|r| rows.x[r * n_features + f])
                .filter(|v| !v.is_nan())
                .collect();
            column.sort_by(f64::total_cmp);
            column.get(column.len() / 2).copied().unwrap_or(0.0)
        })
        .collect()
}

/// The fold of each machine: as even as can be, shuffled by the seed.
fn folds_of(n_machines: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n_machines).collect();
    order.sort_by_key(|&m| split_mix(seed ^ split_mix(m as u64)));
    let mut fold_of = vec![0; n_machines];
    for (place, machine) in order.into_iter().enumerate() {
        fold_of[machine] = place % folds;
    }
    fold_of
}

/// SplitMix64 (Steele, Lea, Flood 2014): a fixed scramble of 64 bits.
fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
