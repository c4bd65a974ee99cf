//! FEMTO-ST PRONOSTIA: remaining useful life of bearings.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_catalogue::AssetClass;
use forecare_datasets::femto::{
    Bearing, CUT_SHARES, Femto, SNAPSHOT_SECONDS, Truth, accuracy, load_directory, percent_error,
};
use forecare_domain::Rul;
use forecare_prognosis::{LifeModel, LifeParams, LifeState, learn_life};
use serde_json::{Value, json};

use super::metrics::Out;
use super::{EvaluateArgs, Unusable, did_you_mean, must_be_directory};
use crate::app::catalogue;
use crate::cli::FEMTO_CATALOGUE;
use crate::cli::progress::Progress;

/// The one failure mode of the catalogue.
const MODE: &str = "wear";

/// One estimate, seconds.
struct Estimate {
    bearing: String,
    /// The number of its snapshot, ten seconds each: as a table of the truth tells a cut.
    cut_seconds: f64,
    /// p10, p50, p90.
    rul_seconds: [f64; 3],
    truth_seconds: Option<f64>,
}

/// A life model is learnt from at least so many bearings; to leave one out it takes one more.
const LEARNING_MIN: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct FemtoArgs {
    #[command(flatten)]
    at: EvaluateArgs,
    /// Another directory with bearings that ran to failure, to learn from.
    #[arg(long, value_name = "DIR")]
    learn_data: Option<PathBuf>,
}

/// Reads a directory and tells what of it cannot be used.
fn read(dir: &Path, unusable: &mut Unusable) -> Result<Femto> {
    let femto = load_directory(dir)?;
    for fault in &femto.faults {
        unusable.tell(fault);
    }
    for path in &femto.passed_over {
        eprintln!(
            "passed over: {} is no table of features (bearing, snapshot, h_rms, ...) nor of the truth (bearing, cut_s, rul_s)",
            path.display()
        );
    }
    Ok(femto)
}

pub(super) fn run(args: &FemtoArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), FEMTO_CATALOGUE)?;
    let class = catalogue
        .classes
        .first()
        .context("the catalogue has no class")?;
    args.at.check()?;
    if let Some(dir) = &args.learn_data {
        must_be_directory(dir, "--learn-data")?;
    }
    let mut unusable = Unusable::default();
    let here = read(&args.at.data, &mut unusable)?;
    let (learning, tests): (Vec<&Bearing>, Vec<&Bearing>) = here
        .bearings
        .iter()
        .partition(|b| b.is_learning == Some(true));
    let elsewhere = match &args.learn_data {
        Some(dir) => read(dir, &mut unusable)?.bearings,
        None => Vec::new(),
    };
    // A bearing that is judged is not learnt from, whatever another directory says of it.
    let more = elsewhere
        .iter()
        .filter(|b| b.is_learning != Some(false) && here.bearings.iter().all(|h| h.name != b.name));
    let learnt_from: Vec<&Bearing> = learning.iter().copied().chain(more).collect();
    let can_leave_out = !learning.is_empty() && learnt_from.len() > LEARNING_MIN;
    let can_test = !tests.is_empty() && learnt_from.len() >= LEARNING_MIN;
    if !can_leave_out && !can_test {
        bail!(
            "{} holds {} bearing(s), {} of them marked as run to failure (column set = Learning_set), and {} to learn from were found elsewhere: it takes {LEARNING_MIN} to estimate others, one more to leave one out in turn; --learn-data DIR names a directory with more{}",
            args.at.data.display(),
            here.bearings.len(),
            learning.len(),
            learnt_from.len() - learning.len(),
            did_you_mean(&args.at.data, |dir| {
                here.bearings.is_empty()
                    && load_directory(dir).is_ok_and(|found| !found.bearings.is_empty())
            })
        );
    }
    let out = Out::new(&args.at.out)?;
    let progress = Progress::bar(learning.len() as u64 + 1, "models");
    let mut left_out = Vec::new();
    if can_leave_out {
        for (done, bearing) in (0u64..).zip(&learning) {
            let others: Vec<&Bearing> = learnt_from
                .iter()
                .copied()
                .filter(|b| b != bearing)
                .collect();
            let model = learn(class, &others)?;
            left_out.extend(at_published_shares(&model, bearing));
            progress.set(done + 1);
        }
    }
    let mut tested = Vec::new();
    if can_test {
        let model = learn(class, &learnt_from)?;
        for bearing in &tests {
            let mut truths = here.truths.iter().filter(|t| t.bearing == bearing.name);
            let truth = truths.next();
            if truths.next().is_some() {
                eprintln!(
                    "{}: the tables of the truth contradict each other; the first counts",
                    bearing.name
                );
            }
            tested.extend(at_its_cut(&model, bearing, truth));
        }
    }
    progress.finish();
    let mut metrics = serde_json::Map::new();
    for (name, estimates) in [("leave_one_out", &left_out), ("test", &tested)] {
        if estimates.is_empty() {
            continue;
        }
        out.write(&format!("femto_{name}.csv"), &csv_of(estimates))?;
        if let Some(judged) = judge(name, estimates) {
            metrics.insert(name.to_owned(), judged);
        }
    }
    if !can_leave_out && !learning.is_empty() {
        println!("leave_one_out: it takes {} bearings", LEARNING_MIN + 1);
    }
    let text = serde_json::to_string_pretty(&Value::Object(metrics))? + "\n";
    out.write("metrics.json", &text)?;
    println!("written to {}", args.at.out.display());
    unusable.end()
}

fn learn(class: &AssetClass, bearings: &[&Bearing]) -> Result<LifeModel> {
    let histories = bearings
        .iter()
        .map(|b| b.history(MODE))
        .collect::<Result<Vec<_>, _>>()?;
    let (model, _) = learn_life(class, &histories, &LifeParams::default(), &mut |_| {})?;
    Ok(model)
}

/// p10, p50, p90 in seconds after each snapshot whose number is in `cuts` (ascending).
fn estimates_at(model: &LifeModel, bearing: &Bearing, cuts: &[u32]) -> Vec<(u32, [f64; 3])> {
    let mut state = LifeState::new();
    let mut told = Vec::new();
    let mut cuts = cuts.iter().copied().peekable();
    let mut newest: Option<(u32, Rul)> = None;
    let mut take = |newest: &Option<(u32, Rul)>| {
        if let Some((number, rul)) = newest {
            let quantiles = rul.quantiles_hours().unwrap_or_default();
            told.push((*number, quantiles.map(|h| h * 3_600.0)));
        }
    };
    for ((number, _), (ts, values)) in bearing.snapshots.iter().zip(bearing.readings()) {
        while cuts.next_if(|cut| cut < number).is_some() {
            take(&newest);
        }
        newest = Some((*number, model.step("", &mut state, ts, &values)));
    }
    for _ in cuts {
        take(&newest);
    }
    told
}

/// A bearing that ran to failure, cut where the organisers cut theirs, as shares of its life.
fn at_published_shares(model: &LifeModel, bearing: &Bearing) -> Vec<Estimate> {
    let (Some((first, _)), Some((last, _))) = (bearing.snapshots.first(), bearing.snapshots.last())
    else {
        return Vec::new();
    };
    let mut cuts: Vec<u32> = CUT_SHARES
        .iter()
        .map(|share| {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between the first snapshot and the last"
            )]
            let after = (f64::from(last - first) * share).round() as u32;
            first + after
        })
        .collect();
    cuts.sort_unstable();
    estimates_at(model, bearing, &cuts)
        .into_iter()
        .map(|(number, rul_seconds)| Estimate {
            bearing: bearing.name.clone(),
            cut_seconds: f64::from(number) * SNAPSHOT_SECONDS,
            rul_seconds,
            truth_seconds: Some(f64::from(last - number) * SNAPSHOT_SECONDS),
        })
        .collect()
}

/// A test bearing at its cut, or at its last snapshot where none is told; `None` where the cut lies before the first one.
fn at_its_cut(model: &LifeModel, bearing: &Bearing, truth: Option<&Truth>) -> Option<Estimate> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a length above 0, in snapshots; a longer one than can be told is all of it"
    )]
    let cut = truth
        .and_then(|t| t.cut_s)
        .map(|cut_s| (cut_s / SNAPSHOT_SECONDS) as u32);
    let told = estimates_at(model, bearing, &[cut.unwrap_or(u32::MAX)]);
    let Some((number, rul_seconds)) = told.first().copied() else {
        eprintln!(
            "{}: its cut lies before its first snapshot: neither estimated nor scored",
            bearing.name
        );
        return None;
    };
    let last = bearing.snapshots.last().map_or(0, |(number, _)| *number);
    let is_behind = cut.is_some_and(|cut| cut > last);
    if is_behind {
        eprintln!(
            "{}: its cut lies behind its last snapshot, {last}: estimated there and not scored",
            bearing.name
        );
    }
    Some(Estimate {
        bearing: bearing.name.clone(),
        cut_seconds: f64::from(number) * SNAPSHOT_SECONDS,
        rul_seconds,
        truth_seconds: truth.and_then(|t| t.rul_s).filter(|_| !is_behind),
    })
}

fn csv_of(estimates: &[Estimate]) -> String {
    let mut text = String::from(
        "bearing,cut_s,rul_p10_s,rul_p50_s,rul_p90_s,true_rul_s,error_percent,accuracy\n",
    );
    for e in estimates {
        let [p10, p50, p90] = e.rul_seconds;
        let (truth, error, score) = e.truth_seconds.map_or_else(Default::default, |truth| {
            let error = percent_error(p50, truth);
            (
                format!("{truth:.0}"),
                format!("{error:.2}"),
                format!("{:.4}", accuracy(error)),
            )
        });
        // Writing to a string does not fail.
        writeln!(
            text,
            "{},{:.0},{p10:.1},{p50:.1},{p90:.1},{truth},{error},{score}",
            e.bearing, e.cut_seconds
        )
        .unwrap_or_default();
    }
    text
}

/// Prints and returns the measures over the estimates whose truth is known.
fn judge(name: &str, estimates: &[Estimate]) -> Option<Value> {
    let known: Vec<([f64; 3], f64)> = estimates
        .iter()
        .filter_map(|e| e.truth_seconds.map(|t| (e.rul_seconds, t)))
        .collect();
    if known.is_empty() {
        println!("{name}: {} estimates, no truth", estimates.len());
        return None;
    }
    let n = known.len() as f64;
    let errors: Vec<f64> = known.iter().map(|(e, t)| percent_error(e[1], *t)).collect();
    let score = errors.iter().map(|e| accuracy(*e)).sum::<f64>() / n;
    let mean_error = errors.iter().map(|e| e.abs()).sum::<f64>() / n;
    let squares: f64 = known.iter().map(|(e, t)| (e[1] - t) * (e[1] - t)).sum();
    let rmse = (squares / n).sqrt();
    let inside = known
        .iter()
        .filter(|([p10, _, p90], truth)| (*p10..=*p90).contains(truth))
        .count();
    let coverage = inside as f64 / n;
    println!(
        "{name} ({} estimates): PHM 2012 score {score:.3}, mean absolute error {mean_error:.0} %, RMSE {rmse:.0} s, p10-p90 holds {:.0} %",
        known.len(),
        100.0 * coverage
    );
    Some(json!({
        "n_estimates": known.len(),
        "phm2012_score": score,
        "mean_absolute_percent_error": mean_error,
        "rmse_seconds": rmse,
        "coverage_p10_p90": coverage,
    }))
}
