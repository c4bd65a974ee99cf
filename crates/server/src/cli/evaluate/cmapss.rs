//! C-MAPSS: remaining useful life of turbofan engines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_catalogue::AssetClass;
use forecare_datasets::cmapss::{self, CmapssError, Engine, Scores};
use forecare_domain::Rul;
use forecare_prognosis::{
    HeldOutReading, LifeModel, LifeParams, LifeScores, LifeState, Model, learn_life,
};
use serde_json::{Value, json};

use super::metrics::Out;
use super::{EvaluateArgs, Unusable, did_you_mean, must_be_directory};
use crate::app::catalogue;
use crate::cli::CMAPSS_CATALOGUE;
use crate::cli::progress::Progress;
use crate::models;

/// The benchmark's cap of the remaining life, cycles.
pub(in crate::cli) const CAP_CYCLES: f64 = 125.0;
/// The one failure mode of the catalogue.
pub(in crate::cli) const MODE: &str = "degradation";

/// The settings of every subset.
pub(in crate::cli) fn params() -> LifeParams {
    LifeParams {
        cap_hours: Some(CAP_CYCLES * cmapss::CYCLE_HOURS),
        ..LifeParams::default()
    }
}

/// The life model that ships, learnt from the training engines of all four subsets: for test engines whose training
/// engines are nowhere.
const SHIPPED_MODEL: &str = include_str!("../../../../../models/turbofan.json");

#[derive(Debug, Args)]
pub(crate) struct CmapssArgs {
    #[command(flatten)]
    at: EvaluateArgs,
    /// Another directory that holds the training engines, train_*.txt.
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    learn_data: Option<PathBuf>,
    /// Estimate with this life model and learn nothing.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// One subset as it lies there, read before anything is learnt: what is wrong with it is told at once.
struct Subset {
    name: String,
    /// Engines that ran to failure, to learn from.
    training: Option<Vec<Engine>>,
    /// Why there are none, in words.
    unlearnt: String,
    test: Option<Vec<Engine>>,
    truth: Option<Vec<f64>>,
    /// Why there is no truth, in words.
    unscored: String,
}

impl Subset {
    fn read(name: &str, args: &CmapssArgs, unusable: &mut Unusable) -> Result<Self, CmapssError> {
        let (data, learn) = (&args.at.data, args.learn_data.as_ref());
        let there = |dir: &PathBuf, kind: &str| {
            let path = dir.join(format!("{kind}_{name}.txt"));
            path.is_file().then_some(path)
        };
        let engines = |path: Option<PathBuf>| path.map(|p| cmapss::load_engines(&p)).transpose();
        let training = match args.model {
            Some(_) => None,
            None => there(data, "train").or_else(|| learn.and_then(|dir| there(dir, "train"))),
        };
        let test = engines(there(data, "test"))?;
        let n_test = test.as_ref().map_or(0, Vec::len);
        let (truth, unscored) = match there(data, "RUL") {
            None => (None, format!("there is no RUL_{name}.txt")),
            Some(path) => match cmapss::load_truth(&path) {
                Ok(truth) => {
                    let n = truth.len();
                    let other = format!("RUL_{name}.txt has {n} lines for {n_test} engines");
                    (Some(truth).filter(|_| n == n_test), other)
                }
                Err(fault) => {
                    unusable.tell(&fault);
                    (None, format!("RUL_{name}.txt cannot be read"))
                }
            },
        };
        if test.is_some() && truth.is_none() {
            eprintln!("{name}: the test engines will be estimated and not scored: {unscored}");
        }
        let mut unlearnt =
            format!("no train_{name}.txt here (--learn-data DIR names another directory)");
        let training = engines(training).unwrap_or_else(|fault| {
            unusable.tell(&fault);
            unlearnt = format!("train_{name}.txt cannot be read");
            None
        });
        Ok(Self {
            name: name.to_owned(),
            training,
            unlearnt,
            test,
            truth,
            unscored,
        })
    }
}

pub(super) fn run(args: &CmapssArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), CMAPSS_CATALOGUE)?;
    let class = catalogue
        .classes
        .first()
        .context("the catalogue has no class")?;
    args.at.check()?;
    let names = cmapss::any_subsets(&args.at.data)?;
    if names.is_empty() {
        bail!(
            "no train_*.txt or test_*.txt in {}: give --data the directory of the C-MAPSS files{}",
            args.at.data.display(),
            did_you_mean(&args.at.data, |dir| {
                cmapss::any_subsets(dir).is_ok_and(|found| !found.is_empty())
            })
        );
    }
    if let Some(dir) = &args.learn_data {
        must_be_directory(dir, "--learn-data")?;
    }
    if let Some(dir) = &args.learn_data
        && cmapss::training_subsets(dir)?.is_empty()
    {
        bail!(
            "no train_*.txt in {}: give --learn-data the directory of the training engines",
            dir.display()
        );
    }
    let given = args
        .model
        .as_deref()
        .map(|file| models::read(file, &catalogue).and_then(|m| has_life(m, file)))
        .transpose()?;
    let mut unusable = Unusable::default();
    let mut subsets = Vec::new();
    for name in &names {
        match Subset::read(name, args, &mut unusable) {
            Ok(subset) => subsets.push(subset),
            Err(fault) => unusable.tell(&fault),
        }
    }
    let out = Out::new(&args.at.out)?;
    let mut metrics = serde_json::Map::new();
    for subset in &subsets {
        let name = &subset.name;
        let mut entry = serde_json::Map::new();
        let mut why = subset.unlearnt.clone();
        let learnt = match &subset.training {
            Some(engines) => match learn(class, name, engines, &out, &mut entry) {
                Ok(model) => Some(model),
                // The test engines are estimated all the same.
                Err(error) => {
                    unusable.say(&format!("{error:#}"));
                    why = format!("nothing can be learnt from train_{name}.txt");
                    None
                }
            },
            None => None,
        };
        if let Some(engines) = &subset.test {
            let shipped = match (&learnt, &given) {
                (None, None) => {
                    let shipped = Model::from_json(SHIPPED_MODEL)?;
                    eprintln!(
                        "{name}: {why}: estimated by the model that ships, learnt from {}",
                        shipped.card().data
                    );
                    Some(shipped)
                }
                _ => None,
            };
            let known = given.as_ref().or(shipped.as_ref());
            if let Some(model) = known {
                entry.insert("model".to_owned(), json!(model.card().sha256));
            }
            let model = learnt.as_ref().or_else(|| known.and_then(Model::life));
            let model = model.context("the model that ships tells no remaining life")?;
            let estimates: Vec<[f64; 3]> = engines.iter().map(|e| last_cycle(model, e)).collect();
            out.write(&format!("{name}_rul.txt"), &rul_text(&estimates))?;
            out.write(
                &format!("{name}_predictions.csv"),
                &predictions_csv(engines, &estimates),
            )?;
            match &subset.truth {
                Some(truth) => {
                    entry.insert("test".to_owned(), test_metrics(name, &estimates, truth));
                }
                None => println!(
                    "{name}  test: {} engines estimated, not scored: {}",
                    engines.len(),
                    subset.unscored
                ),
            }
        }
        if !entry.is_empty() {
            metrics.insert(name.clone(), Value::Object(entry));
        }
    }
    out.write(
        "metrics.json",
        &(serde_json::to_string_pretty(&Value::Object(metrics))? + "\n"),
    )?;
    println!("written to {}", args.at.out.display());
    unusable.end()
}

fn has_life(model: Model, file: &Path) -> Result<Model> {
    if model.life().is_none() {
        bail!(
            "the model {} tells no remaining life; `forecare train cmapss` makes one that does",
            file.display()
        );
    }
    Ok(model)
}

/// Learns from the engines of a subset; its cross-validation is printed, written and among the metrics.
fn learn(
    class: &AssetClass,
    subset: &str,
    engines: &[Engine],
    out: &Out<'_>,
    entry: &mut serde_json::Map<String, Value>,
) -> Result<LifeModel> {
    let histories = cmapss::histories(subset, engines, MODE)?;
    eprintln!("{subset}: learning from {} engines", engines.len());
    let progress = Progress::bar(100, "%");
    let (model, held) = learn_life(class, &histories, &params(), &mut |share| {
        progress.share(share);
    })
    .with_context(|| format!("cannot learn from train_{subset}.txt"))?;
    progress.finish();
    out.write(
        &format!("{subset}_cross_validation.csv"),
        &cross_validation_csv(engines, &held),
    )?;
    if let Some(scores) = model.scores() {
        print_cross_validation(subset, scores);
        entry.insert("cross_validation".to_owned(), serde_json::to_value(scores)?);
    }
    Ok(model)
}

/// p10, p50 and p90 after the last cycle, in cycles: the engine streamed through the model as in service.
fn last_cycle(model: &LifeModel, engine: &Engine) -> [f64; 3] {
    let mut state = LifeState::new();
    let mut rul = Rul::NoTrend;
    for (ts, values) in engine.readings() {
        rul = model.step("", &mut state, ts, &values);
    }
    rul.quantiles_hours()
        .unwrap_or_default()
        .map(|h| h / cmapss::CYCLE_HOURS)
}

fn covered(estimates: &[[f64; 3]], truth: &[f64], cap: f64) -> f64 {
    let inside = estimates
        .iter()
        .zip(truth)
        .filter(|([p10, _, p90], truth)| (*p10..=*p90).contains(&truth.min(cap)))
        .count();
    inside as f64 / truth.len() as f64
}

fn test_metrics(subset: &str, estimates: &[[f64; 3]], truth: &[f64]) -> Value {
    let points: Vec<f64> = estimates.iter().map(|e| e[1]).collect();
    let Scores {
        rmse_capped,
        score_capped,
        rmse,
        score,
    } = cmapss::scores(&points, truth, CAP_CYCLES);
    let coverage_capped = covered(estimates, truth, CAP_CYCLES);
    let coverage = covered(estimates, truth, f64::INFINITY);
    println!(
        "{subset}  test ({} engines): RMSE {rmse_capped:.2}, score {score_capped:.0} (truth capped at {CAP_CYCLES}); RMSE {rmse:.2}, score {score:.0} (not capped); p10-p90 holds {:.0} % (capped {:.0} %)",
        truth.len(),
        100.0 * coverage,
        100.0 * coverage_capped,
    );
    json!({
        "n_engines": truth.len(),
        "truth_cap_cycles": CAP_CYCLES,
        "rmse_capped": rmse_capped,
        "score_capped": score_capped,
        "rmse": rmse,
        "score": score,
        "coverage_p10_p90": coverage,
        "coverage_p10_p90_capped": coverage_capped,
    })
}

fn print_cross_validation(subset: &str, scores: &LifeScores) {
    println!(
        "{subset}  cross-validated ({} engines, {} regime(s)): RMSE {:.2} over all cycles, {:.2} at one random cut per engine (truth capped at {CAP_CYCLES}); bias {:+.2}; p10-p90 holds {:.0} % (capped {:.0} %), {:.0} cycles wide",
        scores.n_machines,
        scores.n_regimes,
        scores.rmse_hours / cmapss::CYCLE_HOURS,
        scores.rmse_hours_one_cut / cmapss::CYCLE_HOURS,
        scores.bias_hours / cmapss::CYCLE_HOURS,
        100.0 * scores.coverage,
        100.0 * scores.coverage_capped,
        scores.interval_hours / cmapss::CYCLE_HOURS,
    );
}

fn rul_text(estimates: &[[f64; 3]]) -> String {
    let mut text = String::new();
    for [_, p50, _] in estimates {
        // Writing to a string does not fail.
        writeln!(text, "{p50:.3}").unwrap_or_default();
    }
    text
}

fn predictions_csv(engines: &[Engine], estimates: &[[f64; 3]]) -> String {
    let mut text = String::from("unit,p10,p50,p90\n");
    for (engine, [p10, p50, p90]) in engines.iter().zip(estimates) {
        writeln!(text, "{},{p10:.3},{p50:.3},{p90:.3}", engine.unit).unwrap_or_default();
    }
    text
}

fn cross_validation_csv(engines: &[Engine], held: &[HeldOutReading]) -> String {
    let mut text = String::from("unit,cycle,rul,p10,p50,p90,cut\n");
    for h in held {
        let Some(engine) = engines.get(h.machine) else {
            continue;
        };
        let [p10, p50, p90] = h.rul_hours.map(|v| v / cmapss::CYCLE_HOURS);
        writeln!(
            text,
            "{},{:.0},{:.0},{p10:.3},{p50:.3},{p90:.3},{}",
            engine.unit,
            h.age_hours / cmapss::CYCLE_HOURS + 1.0,
            h.truth_hours / cmapss::CYCLE_HOURS,
            u8::from(h.is_cut),
        )
        .unwrap_or_default();
    }
    text
}
