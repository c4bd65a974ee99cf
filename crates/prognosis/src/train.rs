//! Learning a model from histories.

use std::collections::BTreeSet;

use forecare_catalogue::{AssetClass, FailureMode};
use forecare_domain::Timestamp;

use crate::boost::{Binned, BoostParams, fit, fit_further, split_mix};
use crate::calibration::{Held, choose};
use crate::drift::Inputs;
use crate::features::FeatureSpec;
use crate::forest::Forest;
use crate::model::{ModeModel, ModeRefused, ModeScores, Model, ModelCard, fill_unknown};
use crate::own::AXES_MAX;
use crate::rows::{History, HistoryItem, Outcome, Rows};
use crate::scores::judge;
use crate::view::{Usual, VIEW_FEATURES, View};

/// Most error codes a model looks at: the most frequent ones.
const CODES_MAX: usize = 32;

/// Interquartile range of a normal distribution of standard deviation 1.
const IQR_OF_NORMAL: f64 = 1.349;

/// Settings of the training. The defaults were chosen by cross-validation.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainParams {
    /// Trees of a mode that has nothing in common with others, 1 to 1,000.
    pub rounds: usize,
    /// Trees that the modes have in common, 0 to 1,000: learnt from the failures of all modes of which the
    /// catalogue knows metrics or codes. 0: every mode is learnt on its own.
    pub shared_rounds: usize,
    /// Trees that a mode adds to those in common, 0 to 1,000: what is peculiar to it.
    pub own_rounds: usize,
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
            shared_rounds: 60,
            own_rounds: 20,
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
            (
                self.shared_rounds <= 1000 && self.own_rounds <= 1000,
                "shared_rounds and own_rounds must lie in 0..=1000",
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

/// Learns a model of `class`. The order of the histories does not matter; the horizon is the class's. A mode whose
/// probabilities are no better than chance on machines left out of the training ([`ModeRefused`]) is named on the card and
/// not spoken of, so that the model may know no mode at all. `progress` hears the share done, 0 to 1.
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
    let usual = usual_of(&rows, spec.names().len());
    let inputs = Inputs::of(healthy_rows(&rows, usual.len()), usual.len());
    fill_unknown(&mut rows.x, &usual);
    let n_folds = params.folds.min(rows.machines.len());
    let learner = Learner {
        data: Binned::new(&rows.x, usual.len()),
        fold_of: folds_of(rows.machines.len(), n_folds, params.seed),
        n_folds,
        params,
        rows: &rows,
    };
    let (subjects, modes_left_out) = subjects(&modes, &spec, &rows, params.shared_rounds > 0);
    if subjects.is_empty() {
        return Err(TrainError::NoFailures(class.name.as_str().to_owned()));
    }
    progress(0.05);
    let in_common = learner.in_common(&subjects, &usual, &mut |share| {
        progress(0.05 + 0.45 * share);
    });
    let mut learnt = Vec::with_capacity(subjects.len());
    let mut held = Vec::with_capacity(subjects.len());
    for (s, subject) in subjects.iter().enumerate() {
        let (forest, out) = learner.own(subject, in_common.as_ref());
        learnt.push(forest);
        held.push(out);
        progress(0.5 + 0.5 * (s + 1) as f64 / subjects.len() as f64);
    }
    let chosen = choose(&held, subjects.iter().all(|s| s.view.is_some()));
    let mut scores = Vec::with_capacity(subjects.len());
    let mut mode_models: Vec<ModeModel> = Vec::with_capacity(subjects.len());
    let mut modes_refused = Vec::new();
    let calibrated_by = chosen.words();
    for ((subject, forest), (calibration, judged)) in
        subjects.into_iter().zip(learnt).zip(chosen.of_modes)
    {
        let n_failures = rows.n_failures[subject.mode];
        let mode = &modes[subject.mode].name;
        let of_mode = judge(&judged);
        if let Some(refused) = ModeRefused::of(mode.as_str(), n_failures, &of_mode) {
            modes_refused.push(refused);
            continue;
        }
        scores.push(ModeScores::of(mode.as_str(), n_failures, of_mode));
        mode_models.push(ModeModel {
            mode: mode.clone(),
            calibration,
            view: subject.view,
            forest,
        });
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
            "gradient boosted trees: {} in common and {} per mode ({} where a mode stands alone), depth {}, learning rate {}, leaf weight {}, l2 {}, {n_folds} folds, seed {}{}; calibrated by {calibrated_by}, chosen and scored on folds it was not fitted on",
            params.shared_rounds,
            params.own_rounds,
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
        modes_refused,
        sha256: String::new(),
    };
    let in_common = in_common.filter(|_| mode_models.iter().any(|m| m.view.is_some()));
    Ok(Model::seal(
        class.name.clone(),
        card,
        spec,
        usual,
        in_common.map(|c| c.forest),
        mode_models,
        inputs,
    ))
}

/// A mode to be learnt.
struct Subject {
    /// Index among the modes of the class.
    mode: usize,
    /// What it has in common with others; `None`: it is learnt on its own.
    view: Option<View>,
    /// Failures are known of at least two machines, so that its own trees can be learnt.
    has_own: bool,
}

/// The modes that something can be learnt of, and the names of the others. A mode needs failures of two machines,
/// or one failure and company: others that are announced in ways the catalogue knows.
fn subjects(
    modes: &[&FailureMode],
    spec: &FeatureSpec,
    rows: &Rows,
    may_share: bool,
) -> (Vec<Subject>, Vec<String>) {
    let n_failing: Vec<usize> = rows
        .outcome
        .iter()
        .map(|outcome| {
            let failing: BTreeSet<usize> = outcome
                .iter()
                .zip(&rows.machine)
                .filter(|(o, _)| **o == Outcome::Failed)
                .map(|(_, machine)| *machine)
                .collect();
            failing.len()
        })
        .collect();
    let mut views: Vec<Option<View>> = modes
        .iter()
        .map(|mode| View::of(mode, spec).filter(|_| may_share))
        .collect();
    for (view, n) in views.iter_mut().zip(&n_failing) {
        view.take_if(|_| *n == 0);
    }
    let company = views.iter().flatten().count() >= 2
        && views
            .iter()
            .zip(&n_failing)
            .any(|(view, n)| view.is_some() && *n >= 2);
    let mut subjects = Vec::new();
    let mut left_out = Vec::new();
    for (mode, (view, n)) in views.into_iter().zip(n_failing).enumerate() {
        let view = view.filter(|_| company);
        if n < 2 && view.is_none() {
            left_out.push(modes[mode].name.as_str().to_owned());
        } else {
            subjects.push(Subject {
                mode,
                view,
                has_own: n >= 2,
            });
        }
    }
    (subjects, left_out)
}

/// The trees that modes have in common.
struct InCommon {
    /// Learnt from all machines.
    forest: Forest,
    /// Per fold: log-odds of the trees that have not seen it, of every row, by mode of the class.
    without: Vec<Vec<Vec<f64>>>,
    /// Log-odds of `forest`, likewise.
    with: Vec<Vec<f64>>,
}

/// Learns trees on the rows, with and without each fold of machines.
struct Learner<'a> {
    data: Binned,
    fold_of: Vec<usize>,
    n_folds: usize,
    params: &'a TrainParams,
    rows: &'a Rows,
}

impl Learner<'_> {
    fn boost(&self, rounds: usize) -> BoostParams {
        BoostParams {
            rounds,
            depth: self.params.depth,
            learning_rate: self.params.learning_rate,
            leaf_weight_min: self.params.leaf_weight_min,
            l2: self.params.l2,
        }
    }

    fn is_in_fold(&self, row: usize, fold: usize) -> bool {
        self.fold_of[self.rows.machine[row]] == fold
    }

    fn x(&self, row: usize) -> &[f64] {
        let n = self.data.n_features();
        &self.rows.x[row * n..(row + 1) * n]
    }

    fn labels(&self, mode: usize) -> Vec<bool> {
        let outcome = &self.rows.outcome[mode];
        outcome.iter().map(|o| *o == Outcome::Failed).collect()
    }

    fn known(&self, mode: usize) -> impl Iterator<Item = usize> {
        let outcome = self.rows.outcome[mode].iter().enumerate();
        outcome
            .filter(|(_, o)| **o != Outcome::Unknown)
            .map(|(row, _)| row)
    }

    /// Learns what the subjects with a view have in common: a row counts once for each of them, as that mode sees it.
    fn in_common(
        &self,
        subjects: &[Subject],
        usual: &[Usual],
        progress: &mut dyn FnMut(f64),
    ) -> Option<InCommon> {
        let n_rows = self.rows.ts.len();
        let viewed: Vec<(&Subject, &View)> = subjects
            .iter()
            .filter_map(|s| Some((s, s.view.as_ref()?)))
            .collect();
        if viewed.is_empty() {
            return None;
        }
        let mut x = Vec::with_capacity(viewed.len() * n_rows * VIEW_FEATURES);
        let (mut labels, mut weights, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (subject, view)) in viewed.iter().enumerate() {
            for row in 0..n_rows {
                view.extend(self.x(row), usual, &mut x);
            }
            labels.extend(self.labels(subject.mode));
            weights.extend(self.rows.natural_weights(subject.mode));
            known.extend(self.known(subject.mode).map(|row| i * n_rows + row));
        }
        let data = Binned::new(&x, VIEW_FEATURES);
        let boost = self.boost(self.params.shared_rounds);
        let margins = |forest: &Forest| {
            let mut of_modes = vec![Vec::new(); self.rows.outcome.len()];
            for ((subject, _), x) in viewed.iter().zip(x.chunks(n_rows * VIEW_FEATURES)) {
                let rows = x.chunks_exact(VIEW_FEATURES);
                of_modes[subject.mode] = rows.map(|row| forest.margin(row)).collect();
            }
            of_modes
        };
        let mut without = Vec::with_capacity(self.n_folds);
        let learn = |keep: &dyn Fn(usize) -> bool| {
            fit(
                &data,
                &places(known.iter().copied().filter(|k| keep(*k % n_rows))),
                &labels,
                &weights,
                &boost,
            )
        };
        for fold in 0..self.n_folds {
            without.push(margins(&learn(&|row| !self.is_in_fold(row, fold))));
            progress((fold + 1) as f64 / (self.n_folds + 1) as f64);
        }
        let forest = learn(&|_| true);
        Some(InCommon {
            with: margins(&forest),
            without,
            forest,
        })
    }

    /// Learns a mode's own trees; gives them back with the predictions of machines they had not seen.
    fn own(&self, subject: &Subject, in_common: Option<&InCommon>) -> (Option<Forest>, Vec<Held>) {
        let mode = subject.mode;
        let labels = self.labels(mode);
        let weights = self.rows.natural_weights(mode);
        let in_common = in_common.filter(|_| subject.view.is_some());
        let learn = |rows: Vec<u32>, start: Option<&Vec<f64>>| match start {
            Some(start) => (subject.has_own && self.params.own_rounds > 0).then(|| {
                let boost = self.boost(self.params.own_rounds);
                fit_further(&self.data, &rows, &labels, &weights, &boost, start.clone())
            }),
            None => {
                let boost = self.boost(self.params.rounds);
                Some(fit(&self.data, &rows, &labels, &weights, &boost))
            }
        };
        let mut held = Vec::new();
        for fold in 0..self.n_folds {
            let start = in_common.map(|c| &c.without[fold][mode]);
            let inside = places(self.known(mode).filter(|r| !self.is_in_fold(*r, fold)));
            let forest = learn(inside, start);
            held.extend(
                self.known(mode)
                    .filter(|r| self.is_in_fold(*r, fold))
                    .map(|r| Held {
                        margin: start.map_or(0.0, |s| s[r])
                            + forest.as_ref().map_or(0.0, |f| f.margin(self.x(r))),
                        label: labels[r],
                        weight: weights[r],
                        fold,
                    }),
            );
        }
        let forest = learn(places(self.known(mode)), in_common.map(|c| &c.with[mode]));
        (forest, held)
    }
}

/// Row numbers as the trees have them.
fn places(rows: impl Iterator<Item = usize>) -> Vec<u32> {
    rows.filter_map(|r| u32::try_from(r).ok()).collect()
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

/// What is usual of each feature over the rows that no failure followed; 0 where it was never known.
fn usual_of(rows: &Rows, n_features: usize) -> Vec<Usual> {
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
            let at = |share: usize| column.get(column.len() * share / 4).copied();
            let spread = at(3).zip(at(1)).map_or(0.0, |(high, low)| high - low) / IQR_OF_NORMAL;
            Usual {
                median: at(2).unwrap_or(0.0),
                spread: if spread > 0.0 && spread.is_finite() {
                    spread
                } else {
                    1.0
                },
            }
        })
        .collect()
}

/// The fold of each machine: as even as can be, shuffled by the seed.
pub(crate) fn folds_of(n_machines: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n_machines).collect();
    order.sort_by_key(|&m| split_mix(seed ^ split_mix(m as u64)));
    let mut fold_of = vec![0; n_machines];
    for (place, machine) in order.into_iter().enumerate() {
        fold_of[machine] = place % folds;
    }
    fold_of
}
