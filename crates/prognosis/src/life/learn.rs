//! Learning a life model from lives, and measuring it on machines it has not seen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use forecare_catalogue::AssetClass;
use linfa_linalg::cholesky::SolveC;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::features::{Index, features, names};
use super::interval::{HeldOut, Intervals, quantile};
use super::lives::{Life, lives};
use super::model::LifeModel;
use super::regimes::Standard;
use super::state::LifeState;
use crate::boost::{Binned, BoostParams, Sampling, fit_quantity, split_mix};
use crate::drift::Inputs;
use crate::forest::Forest;
use crate::rows::History;
use crate::train::folds_of;

/// Windows of levels and slopes, as shares of the median life.
const WINDOW_SHARES: [f64; 3] = [0.025, 0.1, 0.4];
/// A window holds at least so many readings.
const WINDOW_READINGS_MIN: f64 = 3.0;
/// Each wear index is the linear answer to one horizon: remaining life, capped at this share of the cap.
const INDEX_SHARES: [f64; 3] = [1.0, 0.5, 0.25];
/// Ridge penalty on the weights of an index, in readings.
const INDEX_RIDGE: f64 = 100.0;
/// Without a cap, remaining life is told up to this share of the median life.
const CAP_SHARE: f64 = 0.6;
/// Most rows that trees are learnt from; of longer histories every second, third, ... reading.
const ROWS_MAX: usize = 80_000;
/// A machine is judged from this share of the median life on: nobody asks at the first readings.
const JUDGED_FROM_SHARE: f64 = 0.125;

/// Settings of life training. The defaults were chosen by cross-validation on the C-MAPSS training engines.
#[derive(Debug, Clone, PartialEq)]
pub struct LifeParams {
    /// Longest remaining life told apart, hours: a machine that has more left looks like new. `None`: 0.6 of
    /// the median life.
    pub cap_hours: Option<f64>,
    /// Sets of trees, averaged; 1 to 16.
    pub forests: usize,
    /// Trees per set, 1 to 2,000.
    pub rounds: usize,
    /// Questions from root to leaf, 1 to 8.
    pub depth: usize,
    /// Pace of learning, above 0 to 1.
    pub learning_rate: f64,
    /// Least rows in a leaf.
    pub leaf_rows_min: f64,
    /// Ridge penalty on leaf values, above 0, in rows.
    pub l2: f64,
    /// Share of the rows that a tree sees, above 0 to 1.
    pub rows_share: f64,
    /// Share of the features that a tree sees, above 0 to 1.
    pub features_share: f64,
    /// Folds of the cross-validation, at least 2; at most as many as machines.
    pub folds: usize,
    /// Seed of folds, samples and cuts.
    pub seed: u64,
}

impl Default for LifeParams {
    fn default() -> Self {
        Self {
            cap_hours: None,
            forests: 1,
            rounds: 250,
            depth: 4,
            learning_rate: 0.05,
            leaf_rows_min: 50.0,
            l2: 5.0,
            rows_share: 0.3,
            features_share: 0.3,
            folds: 5,
            seed: 1,
        }
    }
}

/// Why no life could be learnt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// Cross-validation needs machines to hold out.
    #[error("the histories tell the life of {0} machine(s) to its end; at least 3 are needed")]
    TooFewMachines(usize),
    /// Every metric is constant.
    #[error("no metric of class {0} varies in the histories")]
    NothingVaries(String),
    /// A setting is out of its range.
    #[error("{0}")]
    Params(&'static str),
}

impl LifeParams {
    fn check(&self) -> Result<(), LifeError> {
        let share = |s: f64| s > 0.0 && s <= 1.0;
        let rules = [
            (
                self.cap_hours.is_none_or(|c| c.is_finite() && c > 0.0),
                "cap_hours must be above 0",
            ),
            (
                (1..=16).contains(&self.forests),
                "forests must lie in 1..=16",
            ),
            (
                (1..=2000).contains(&self.rounds),
                "rounds must lie in 1..=2000",
            ),
            ((1..=8).contains(&self.depth), "depth must lie in 1..=8"),
            (
                share(self.learning_rate),
                "learning_rate must lie above 0 and at most at 1",
            ),
            (
                self.leaf_rows_min >= 0.0,
                "leaf_rows_min must be at least 0",
            ),
            (self.l2 > 0.0, "l2 must be above 0"),
            (
                share(self.rows_share) && share(self.features_share),
                "rows_share and features_share must lie above 0 and at most at 1",
            ),
            (self.folds >= 2, "folds must be at least 2"),
        ];
        match rules.into_iter().find(|(ok, _)| !ok) {
            Some((_, rule)) => Err(LifeError::Params(rule)),
            None => Ok(()),
        }
    }
}

/// How good a life model was on machines that it had not seen: cross-validated, grouped by machine, every
/// machine weighing the same. Remaining life in hours, errors against the truth capped at `cap_hours`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifeScores {
    /// Machines whose life was told to its end.
    pub n_machines: usize,
    /// Readings of these lives.
    pub n_readings: usize,
    /// Longest remaining life told apart, hours.
    pub cap_hours: f64,
    /// Operating regimes recognised.
    pub n_regimes: usize,
    /// Median life, hours.
    pub life_hours_p50: f64,
    /// Root of the mean squared error over all readings but the first eighth of a median life, hours.
    pub rmse_hours: f64,
    /// The same with every machine asked once, at a seeded random reading.
    pub rmse_hours_one_cut: f64,
    /// Mean error over all readings, hours; above 0: too long.
    pub bias_hours: f64,
    /// Share of the true remaining lives, not capped, within p10 to p90; 0.8 is meant. The interval of a
    /// machine is learnt from the other folds.
    pub coverage: f64,
    /// The same with the truth capped at `cap_hours`.
    pub coverage_capped: f64,
    /// Mean width of p10 to p90, hours.
    pub interval_hours: f64,
}

/// One held-out reading: what was estimated when the machine was not part of the training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOutReading {
    /// Number of the machine, in order of names.
    pub machine: usize,
    /// The fold in which it was left out.
    pub fold: usize,
    /// Hours since the first reading of this life.
    pub age_hours: f64,
    /// True remaining life, hours, not capped.
    pub truth_hours: f64,
    /// p10, p50 and p90, hours.
    pub rul_hours: [f64; 3],
    /// True at the one seeded random reading of this life at which it is cut.
    pub is_cut: bool,
}

/// Learns a life model of `class` from the lives that the histories tell to a failure; the scores are in the
/// model, the held-out estimates come beside it. `progress` hears the share done, 0 to 1. Folds run in
/// parallel where there are processors; the result does not depend on it.
///
/// # Errors
/// [`LifeError`]: too little to learn from, or a setting out of range.
pub fn learn_life(
    class: &AssetClass,
    histories: &[History],
    params: &LifeParams,
    progress: &mut dyn FnMut(f64),
) -> Result<(LifeModel, Vec<HeldOutReading>), LifeError> {
    params.check()?;
    progress(0.0);
    let lives = lives(histories);
    let mut machines: Vec<usize> = lives.iter().map(|l| l.machine).collect();
    machines.dedup();
    if machines.len() < 3 {
        return Err(LifeError::TooFewMachines(machines.len()));
    }
    let plan = Plan::of(class, &lives, params);
    let n_folds = params.folds.min(machines.len());
    let fold_by_place = folds_of(machines.len(), n_folds, params.seed);
    let fold_of: Vec<usize> = lives
        .iter()
        .map(|l| fold_by_place[machines.partition_point(|m| *m < l.machine)])
        .collect();

    // Job `n_folds` learns from everything.
    let jobs: Vec<Vec<&Life<'_>>> = (0..=n_folds)
        .map(|fold| {
            let inside = lives.iter().zip(&fold_of).filter(|(_, f)| **f != fold);
            inside.map(|(life, _)| life).collect()
        })
        .collect();
    let mut cores = in_parallel(&jobs, |inside| plan.learn(inside, params), progress);
    let Some(mut model) = cores.pop().flatten() else {
        return Err(LifeError::NothingVaries(class.name.as_str().to_owned()));
    };

    let mut held = Vec::new();
    for (l, life) in lives.iter().enumerate() {
        // A fold in which nothing varies has nothing to say; the whole model stands for it nowhere.
        let Some(core) = cores[fold_of[l]].as_ref() else {
            return Err(LifeError::NothingVaries(class.name.as_str().to_owned()));
        };
        held.extend(
            plan.judge(core, life, l, params.seed)
                .into_iter()
                .map(|r| HeldOutReading {
                    fold: fold_of[l],
                    ..r
                }),
        );
    }
    let scores = plan.score(&lives, &mut held, machines.len(), n_folds, &model);
    let all: Vec<HeldOut> = weighted(held.iter());
    let mode = lives.first().map(|l| l.mode);
    let mode = mode.filter(|mode| lives.iter().all(|l| l.mode == *mode));
    let inputs = inputs(&lives, &model);
    model.finish(
        Intervals::learn(&all, machines.len()),
        scores,
        mode.cloned(),
        inputs,
    );
    progress(1.0);
    Ok((model, held))
}

/// How readings are distributed over whole lives, as a fleet in service goes through them, in each regime: whether a fleet
/// works at one operating point or another is no drift.
fn inputs(lives: &[Life<'_>], model: &LifeModel) -> Vec<Inputs> {
    let readings = || lives.iter().flat_map(|l| &l.readings);
    let stride = readings().count().div_ceil(ROWS_MAX).max(1);
    let mut of_regimes: Vec<Vec<Vec<f64>>> = vec![Vec::new(); model.n_regimes()];
    for (_, values) in readings().step_by(stride) {
        if let (Some(regime), deviations) = model.placed(values) {
            of_regimes[regime].push(deviations);
        }
    }
    of_regimes
        .iter()
        .map(|rows| {
            let n = rows.first().map_or(0, Vec::len);
            Inputs::of(rows.iter().map(Vec::as_slice), n)
        })
        .collect()
}

/// Machines whose lives the histories tell to a failure: what life models are learnt from.
#[must_use]
pub fn machines_with_lives(histories: &[History]) -> usize {
    let mut machines: Vec<usize> = lives(histories).iter().map(|l| l.machine).collect();
    machines.dedup();
    machines.len()
}

/// What always telling the same remaining life would miss, at best: the root of the mean squared error against the truth
/// capped at `cap_hours`, hours, every machine weighing the same. To read beside [`LifeScores::rmse_hours`].
#[must_use]
pub fn constant_rmse_hours(held: &[HeldOutReading], cap_hours: f64) -> f64 {
    let weighted = weighted(held.iter());
    let total: f64 = weighted.iter().map(|h| h.weight).sum();
    let mean_of = |of: &dyn Fn(f64) -> f64| {
        let sum: f64 = weighted
            .iter()
            .map(|h| h.weight * of(h.truth.min(cap_hours)))
            .sum();
        sum / total
    };
    let mean = mean_of(&|truth| truth);
    mean_of(&|truth| (truth - mean) * (truth - mean)).sqrt()
}

/// How much of the mean pinball loss of always the same p10, p50 and p90 the held-out intervals save, at most 1; 0 or below:
/// they tell nothing. The constants are those of the other folds' machines, as the intervals are. p10 and p90 are held
/// against the truth as it is, p50 against the truth capped at `cap_hours`, every machine weighing the same. Pinball loss:
/// Koenker and Bassett, "Regression Quantiles" (1978).
#[must_use]
pub fn interval_gain(held: &[HeldOutReading], cap_hours: f64) -> f64 {
    let weighted = weighted(held.iter());
    let mut folds: Vec<usize> = held.iter().map(|r| r.fold).collect();
    folds.sort_unstable();
    folds.dedup();
    let (mut lost, mut lost_by_constants) = (0.0, 0.0);
    for (of_three, share) in [0.1, 0.5, 0.9].into_iter().enumerate() {
        let truth = |h: &HeldOut| {
            if of_three == 1 {
                h.truth.min(cap_hours)
            } else {
                h.truth
            }
        };
        for fold in &folds {
            let mut others: Vec<(f64, f64)> = held
                .iter()
                .zip(&weighted)
                .filter(|(r, _)| r.fold != *fold)
                .map(|(_, h)| (truth(h), h.weight))
                .collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0));
            let constant = quantile(&others, share).unwrap_or(0.0);
            for (r, h) in held.iter().zip(&weighted).filter(|(r, _)| r.fold == *fold) {
                lost += h.weight * pinball(share, r.rul_hours[of_three], truth(h));
                lost_by_constants += h.weight * pinball(share, constant, truth(h));
            }
        }
    }
    1.0 - lost / lost_by_constants
}

/// Loss of the quantile `told` of the share `share`, hours.
fn pinball(share: f64, told: f64, truth: f64) -> f64 {
    if truth >= told {
        share * (truth - told)
    } else {
        (1.0 - share) * (told - truth)
    }
}

/// What all folds share: nothing that depends on the readings' values.
struct Plan {
    n_metrics: usize,
    metric_names: Vec<String>,
    operating: Vec<usize>,
    windows_h: Vec<f64>,
    cap_hours: f64,
    life_hours: f64,
}

impl Plan {
    fn of(class: &AssetClass, lives: &[Life<'_>], params: &LifeParams) -> Self {
        let life_hours = median(lives.iter().map(Life::hours).collect()).max(1e-6);
        let interval_h = median(
            lives
                .iter()
                .flat_map(|l| l.readings.windows(2))
                .map(|pair| pair[1].0.hours_since(pair[0].0))
                .collect(),
        );
        Self {
            n_metrics: class.metrics.len(),
            metric_names: class.metrics.iter().map(|m| m.name.to_string()).collect(),
            operating: (0..class.metrics.len())
                .filter(|m| class.metrics[*m].operating_point)
                .collect(),
            windows_h: WINDOW_SHARES
                .iter()
                .map(|s| (s * life_hours).max(WINDOW_READINGS_MIN * interval_h))
                .collect(),
            cap_hours: params.cap_hours.unwrap_or(CAP_SHARE * life_hours),
            life_hours,
        }
    }

    /// Everything but the intervals; `None` where no metric varies.
    fn learn(&self, lives: &[&Life<'_>], params: &LifeParams) -> Option<LifeModel> {
        let readings: Vec<&[Option<f64>]> = lives
            .iter()
            .flat_map(|l| l.readings.iter().map(|(_, values)| *values))
            .collect();
        let standard = Standard::learn(&readings, self.n_metrics, &self.operating);
        if standard.metrics.is_empty() {
            return None;
        }
        let indices = self.indices(lives, &standard);
        let stride = readings.len().div_ceil(ROWS_MAX);
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        let mut z = Vec::new();
        for (l, life) in lives.iter().enumerate() {
            let mut state = LifeState::new();
            state.adopt("", standard.metrics.len(), self.windows_h.len());
            for (i, (ts, values)) in life.readings.iter().enumerate() {
                standard.standardise(values, &mut z);
                state.push(*ts, &z, &self.windows_h);
                if (i + l) % stride == 0 {
                    let mut trails = Vec::new();
                    state.trails(&mut trails);
                    let age = state.age_hours();
                    rows.extend(features(trails, &indices, self.windows_h.len(), age));
                    targets.push(life.rul_hours(i).min(self.cap_hours));
                }
            }
        }
        let n_features = rows.len() / targets.len();
        let data = Binned::new(&rows, n_features);
        drop(rows);
        let forests = self.forests(&data, &targets, params);
        let metrics: Vec<String> = standard
            .metrics
            .iter()
            .map(|m| self.metric_names[*m].clone())
            .collect();
        let names = names(&metrics, indices.len(), &self.windows_h);
        Some(LifeModel::new(
            standard,
            indices,
            self.windows_h.clone(),
            self.cap_hours,
            names,
            forests,
        ))
    }

    fn forests(&self, data: &Binned, targets: &[f64], params: &LifeParams) -> Vec<Forest> {
        let boost = BoostParams {
            rounds: params.rounds,
            depth: params.depth,
            learning_rate: params.learning_rate,
            leaf_weight_min: params.leaf_rows_min,
            l2: params.l2,
        };
        let at: Vec<u32> = (0u32..).zip(targets).map(|(r, _)| r).collect();
        let weights = vec![1.0; targets.len()];
        (0..params.forests)
            .map(|forest| {
                let sampling = Sampling {
                    rows: params.rows_share,
                    features: params.features_share,
                    seed: split_mix(params.seed ^ split_mix(forest as u64)),
                };
                fit_quantity(data, &at, targets, &weights, &boost, sampling)
            })
            .collect()
    }

    /// Ridge regression of the remaining life, capped at several horizons, on the standard values of single
    /// readings. Averaged over windows later, such a weighted sum is far less noisy than any metric in it.
    fn indices(&self, lives: &[&Life<'_>], standard: &Standard) -> Vec<Index> {
        let n = standard.metrics.len();
        let n_targets = INDEX_SHARES.len();
        let mut z = Vec::new();
        // The constant stands behind the metrics; it is not penalised.
        let mut squares = Array2::<f64>::zeros((n + 1, n + 1));
        let mut products = Array2::<f64>::zeros((n + 1, n_targets));
        let mut x = vec![1.0; n + 1];
        for life in lives {
            for (i, (_, values)) in life.readings.iter().enumerate() {
                standard.standardise(values, &mut z);
                for (x, z) in x.iter_mut().zip(&z) {
                    *x = z.unwrap_or(0.0);
                }
                let rul = life.rul_hours(i);
                for a in 0..=n {
                    for b in 0..=a {
                        squares[[a, b]] += x[a] * x[b];
                    }
                    for (t, share) in INDEX_SHARES.iter().enumerate() {
                        products[[a, t]] += x[a] * rul.min(share * self.cap_hours);
                    }
                }
            }
        }
        for a in 0..=n {
            for b in 0..a {
                squares[[b, a]] = squares[[a, b]];
            }
            squares[[a, a]] += if a < n { INDEX_RIDGE } else { 1e-9 };
        }
        // The ridge makes it positive definite; should rounding object, the metrics speak for themselves.
        let Ok(weights) = squares.solvec(&products) else {
            return Vec::new();
        };
        (0..n_targets)
            .map(|t| Index {
                weights: (0..n).map(|m| weights[[m, t]]).collect(),
            })
            .collect()
    }

    /// Runs the model along a life it has not seen, exactly as in service.
    fn judge(
        &self,
        core: &LifeModel,
        life: &Life<'_>,
        number: usize,
        seed: u64,
    ) -> Vec<HeldOutReading> {
        let mut state = LifeState::new();
        let mut judged: Vec<HeldOutReading> = Vec::new();
        for (i, (ts, values)) in life.readings.iter().enumerate() {
            let rul = core.estimate(&mut state, *ts, values);
            if state.age_hours() >= JUDGED_FROM_SHARE * self.life_hours {
                judged.push(HeldOutReading {
                    machine: life.machine,
                    fold: 0,
                    age_hours: state.age_hours(),
                    truth_hours: life.rul_hours(i),
                    rul_hours: [rul; 3],
                    is_cut: false,
                });
            }
        }
        if !judged.is_empty() {
            let n = judged.len() as u64;
            let at = split_mix(seed ^ split_mix(number as u64 ^ 0x00c0_ffee)) % n;
            if let Some(cut) = usize::try_from(at).ok().and_then(|at| judged.get_mut(at)) {
                cut.is_cut = true;
            }
        }
        judged
    }

    /// Gives every held-out reading the interval that the other folds teach, and counts.
    fn score(
        &self,
        lives: &[Life<'_>],
        held: &mut [HeldOutReading],
        n_machines: usize,
        n_folds: usize,
        model: &LifeModel,
    ) -> LifeScores {
        for fold in 0..n_folds {
            let others = weighted(held.iter().filter(|r| r.fold != fold));
            let intervals = Intervals::learn(&others, n_machines);
            for reading in held.iter_mut().filter(|r| r.fold == fold) {
                let [_, p50, _] = reading.rul_hours;
                let (p10, p90) = intervals.around(p50);
                reading.rul_hours = [p10, p50, p90];
            }
        }
        let weights = weighted(held.iter());
        let (mut total, mut squares, mut sum, mut width) = (0.0, 0.0, 0.0, 0.0);
        let (mut inside, mut inside_capped) = (0.0, 0.0);
        let (mut cuts, mut cut_squares) = (0.0, 0.0);
        for (reading, HeldOut { weight, .. }) in held.iter().zip(&weights) {
            let [p10, p50, p90] = reading.rul_hours;
            let truth = reading.truth_hours.min(self.cap_hours);
            let error = p50 - truth;
            total += weight;
            squares += weight * error * error;
            sum += weight * error;
            width += weight * (p90 - p10);
            if p10 <= reading.truth_hours && reading.truth_hours <= p90 {
                inside += weight;
            }
            if p10 <= truth && truth <= p90 {
                inside_capped += weight;
            }
            if reading.is_cut {
                cuts += 1.0;
                cut_squares += error * error;
            }
        }
        LifeScores {
            n_machines,
            n_readings: lives.iter().map(|l| l.readings.len()).sum(),
            cap_hours: self.cap_hours,
            n_regimes: model.n_regimes(),
            life_hours_p50: self.life_hours,
            rmse_hours: (squares / total).sqrt(),
            rmse_hours_one_cut: (cut_squares / f64::max(cuts, 1.0)).sqrt(),
            bias_hours: sum / total,
            coverage: inside / total,
            coverage_capped: inside_capped / total,
            interval_hours: width / total,
        }
    }
}

/// Every machine the same weight, spread over its readings.
fn weighted<'a>(readings: impl Iterator<Item = &'a HeldOutReading> + Clone) -> Vec<HeldOut> {
    let mut n_of: Vec<f64> = Vec::new();
    for reading in readings.clone() {
        if reading.machine >= n_of.len() {
            n_of.resize(reading.machine + 1, 0.0);
        }
        n_of[reading.machine] += 1.0;
    }
    readings
        .map(|r| HeldOut {
            estimate: r.rul_hours[1],
            truth: r.truth_hours,
            weight: 1.0 / n_of[r.machine],
        })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Runs `work` on every job, on as many threads as there are processors; results in the order of the jobs.
fn in_parallel<J: Sync, R: Send>(
    jobs: &[J],
    work: impl Fn(&J) -> R + Sync,
    progress: &mut dyn FnMut(f64),
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let (done, next, work) = (done.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else {
                        break;
                    };
                    if done.send((place, work(job))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        let mut finished: Vec<(usize, R)> = Vec::new();
        for result in results {
            finished.push(result);
            progress(0.97 * finished.len() as f64 / jobs.len() as f64);
        }
        finished.sort_by_key(|(place, _)| *place);
        finished.into_iter().map(|(_, result)| result).collect()
    })
}
