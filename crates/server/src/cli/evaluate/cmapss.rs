//! C-MAPSS: remaining useful life of turbofan engines.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use forecare_datasets::cmapss::{self, Engine, Scores};
use forecare_domain::Rul;
use forecare_prognosis::{
    HeldOutReading, LifeModel, LifeParams, LifeScores, LifeState, learn_life,
};
use serde_json::{Value, json};

use super::EvaluateArgs;
use crate::app::catalogue;
use crate::cli::CMAPSS_CATALOGUE;
use crate::cli::progress::Progress;

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

pub(super) fn run(args: &EvaluateArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), CMAPSS_CATALOGUE)?;
    let class = catalogue
        .classes
        .first()
        .context("the catalogue has no class")?;
    let subsets = cmapss::subsets(&args.data)?;
    if subsets.is_empty() {
        bail!(
            "no train_*.txt in {}: give --data the directory of the C-MAPSS files",
            args.data.display()
        );
    }
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let write = |name: String, text: String| {
        let path = args.out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let mut metrics = serde_json::Map::new();
    for subset in &subsets {
        let engines = cmapss::load_engines(&args.data.join(format!("train_{subset}.txt")))?;
        let histories = cmapss::histories(subset, &engines, MODE)?;
        eprintln!("{subset}: learning from {} engines", engines.len());
        let progress = Progress::bar(100, "%");
        let (model, held) = learn_life(class, &histories, &params(), &mut |share| {
            progress.share(share);
        })?;
        progress.finish();
        write(
            format!("{subset}_cross_validation.csv"),
            cross_validation_csv(&engines, &held),
        )?;
        let mut entry = serde_json::Map::new();
        if let Some(scores) = model.scores() {
            print_cross_validation(subset, scores);
            entry.insert("cross_validation".to_owned(), serde_json::to_value(scores)?);
        }
        let test = args.data.join(format!("test_{subset}.txt"));
        if test.exists() {
            let engines = cmapss::load_engines(&test)?;
            let estimates: Vec<[f64; 3]> = engines.iter().map(|e| last_cycle(&model, e)).collect();
            write(format!("{subset}_rul.txt"), rul_text(&estimates))?;
            write(
                format!("{subset}_predictions.csv"),
                predictions_csv(&engines, &estimates),
            )?;
            let truth = args.data.join(format!("RUL_{subset}.txt"));
            if truth.exists() {
                let truth = cmapss::load_truth(&truth)?;
                if truth.len() != engines.len() {
                    bail!(
                        "RUL_{subset}.txt has {} lines for {} engines in test_{subset}.txt",
                        truth.len(),
                        engines.len()
                    );
                }
                entry.insert("test".to_owned(), test_metrics(subset, &estimates, &truth));
            } else {
                println!(
                    "{subset}  test: {} engines estimated, no truth",
                    engines.len()
                );
            }
        }
        metrics.insert(subset.clone(), Value::Object(entry));
    }
    write(
        "metrics.json".to_owned(),
        serde_json::to_string_pretty(&Value::Object(metrics))? + "\n",
    )?;
    println!("written to {}", args.out.display());
    Ok(())
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
