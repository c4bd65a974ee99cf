//! `forecare train`: from history to a model file.

mod history;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_datasets::azure_pdm::{AzurePdm, MachineRange, Telemetry};
use forecare_domain::{ClassName, Clock};
use forecare_prognosis::{CardData, History, HistoryItem, Model, TrainParams, train};
use forecare_simulator::Emission;

use super::models::{person, place};
use super::progress::Progress;
use super::{AZURE_CATALOGUE, AZURE_HOME, DEMO_CATALOGUE, DEMO_HOME, HomeArg};
use crate::app::catalogue;
use crate::clock::SystemClock;
use crate::models;
use crate::models::library::Library;
use crate::models::record::Reason;

#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// From the Azure predictive-maintenance data set.
    AzurePdm(AzureArgs),
    /// From simulated compressors that run to failure: to try training without any data.
    Simulated(SimulatedArgs),
    /// From what an instance has stored: its readings and events, and its technicians' verdicts as labels.
    History(history::HistoryArgs),
}

/// Where a model goes.
#[derive(Debug, Args)]
struct Destination {
    /// Write the model to this file; without it, it becomes a version among the models of the instance: live where it
    /// is the first of its class, else tried beside the live one.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make it live at once, whatever was live before.
    #[arg(long, conflicts_with = "out")]
    promote: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AzureArgs {
    /// Directory of the data set's CSV files.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Machines to learn from, such as 21-40.
    #[arg(long, default_value = "21-40")]
    machines: MachineRange,
    /// Telemetry files, comma-separated: 90days, windows, daily.
    #[arg(long, default_value = "windows,daily", value_delimiter = ',')]
    telemetry: Vec<Telemetry>,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    home: HomeArg,
}

#[derive(Debug, Args)]
pub(crate) struct SimulatedArgs {
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    home: HomeArg,
    /// Seed of the simulated machines; the demo's own seed must be another one.
    #[arg(long, default_value_t = 1_001)]
    seed: u64,
    /// Number of machines.
    #[arg(long, default_value_t = 40)]
    devices: u32,
    /// Simulated hours.
    #[arg(long, default_value_t = 2_000.0)]
    hours: f64,
}

pub(crate) async fn run(command: TrainCommand) -> Result<()> {
    match command {
        TrainCommand::AzurePdm(args) => azure(args),
        TrainCommand::Simulated(args) => simulated(args),
        TrainCommand::History(args) => history::run(args).await,
    }
}

fn azure(args: AzureArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), AZURE_CATALOGUE)?;
    let class = class(&catalogue, "azure-pdm-machine")?;
    // Hourly windows around failures, and the natural rate of daily means: together they tell a shift that
    // precedes a failure from one that does not.
    let mut histories = Vec::new();
    for telemetry in &args.telemetry {
        histories.extend(AzurePdm::load(&args.data, &args.machines, *telemetry)?.histories());
    }
    let files: Vec<&str> = args.telemetry.iter().map(|t| t.file_name()).collect();
    let card = format!(
        "Azure PdM, machines {}, {}",
        args.machines,
        files.join(" and ")
    );
    let data = CardData {
        data: card,
        trained_at: SystemClock.now(),
    };
    let model = learn(class, &histories, &TrainParams::default(), &data)?;
    let library = Library::new(args.home.or(AZURE_HOME).join("models"));
    deliver(&model, &args.destination, &library, &catalogue)
}

fn simulated(args: SimulatedArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), DEMO_CATALOGUE)?;
    let class = class(&catalogue, forecare_simulator::CLASS)?;
    let mut fleet = forecare_simulator::histories(
        args.seed,
        usize::try_from(args.devices)?,
        args.hours,
        &catalogue,
    )?;
    let mut histories: Vec<History> = fleet
        .devices()
        .iter()
        .map(|device| History {
            device: device.to_string(),
            items: Vec::new(),
        })
        .collect();
    let faults = fleet.faults().to_vec();
    let end = forecare_simulator::histories_start().plus_hours(args.hours);
    let index = |device: &forecare_domain::DeviceId| fleet_index(&histories, device.as_str());
    let mut items: Vec<(usize, HistoryItem)> = Vec::new();
    for emission in fleet.advance(end) {
        let Some(at) = index(emission.device()) else {
            continue;
        };
        items.push((
            at,
            match emission {
                Emission::Telemetry { ts, values, .. } => HistoryItem::Reading {
                    ts,
                    values: values.iter().map(|v| Some(*v)).collect(),
                },
                Emission::Event(event) => match event.component {
                    Some(component) if event.code == forecare_domain::REPLACED_CODE => {
                        HistoryItem::Replaced {
                            ts: event.ts,
                            component,
                        }
                    }
                    _ => HistoryItem::Event {
                        ts: event.ts,
                        code: event.code,
                    },
                },
            },
        ));
    }
    for fault in faults.iter().filter(|f| f.failure_at < end) {
        if let Some(at) = index(&fault.device) {
            items.push((
                at,
                HistoryItem::Failure {
                    ts: fault.failure_at,
                    mode: fault.mode.clone(),
                },
            ));
        }
    }
    for (at, item) in items {
        histories[at].items.push(item);
    }
    for history in &mut histories {
        history.items.sort_by_key(HistoryItem::ts);
    }
    let card = format!(
        "simulated compressors, seed {}, {} machines, {} h",
        args.seed, args.devices, args.hours
    );
    // The data has its own time, so that the same command writes the same file.
    let data = CardData {
        data: card,
        trained_at: end,
    };
    let params = TrainParams {
        row_distance_hours: 1.0,
        own_usual: true,
        ..TrainParams::default()
    };
    let model = learn(class, &histories, &params, &data)?;
    let library = Library::new(args.home.or(DEMO_HOME).join("models"));
    deliver(&model, &args.destination, &library, &catalogue)
}

fn fleet_index(histories: &[History], device: &str) -> Option<usize> {
    histories.iter().position(|h| h.device == device)
}

fn class<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a AssetClass> {
    catalogue
        .class(&ClassName::new(name)?)
        .with_context(|| format!("the catalogue has no class {name}"))
}

fn learn(
    class: &AssetClass,
    histories: &[History],
    params: &TrainParams,
    data: &CardData,
) -> Result<Model> {
    let n_items: usize = histories.iter().map(|h| h.items.len()).sum();
    eprintln!(
        "learning from {}: {} histories, {n_items} events",
        data.data,
        histories.len()
    );
    let progress = Progress::bar(100, "%");
    let model = train(class, histories, params, data, &mut |share: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100"
        )]
        progress.set((share * 100.0) as u64);
    })?;
    progress.finish();
    Ok(model)
}

/// Writes the model to where it was asked for, and says what came of it.
fn deliver(
    model: &Model,
    destination: &Destination,
    library: &Library,
    catalogue: &Catalogue,
) -> Result<()> {
    describe(model);
    if let Some(file) = &destination.out {
        models::save(model, file)?;
        println!("written to {}", file.display());
        return Ok(());
    }
    let reason = Reason {
        at: SystemClock.now(),
        by: person(),
        why: format!("learnt from {}", model.card().data),
    };
    place(library, model, destination.promote, catalogue, &reason)
}

fn describe(model: &Model) {
    let card = model.card();
    println!("model for {}, learnt from {}", model.class(), card.data);
    println!("sha256 {}", card.sha256);
    println!("scores on machines left out of the training:");
    println!(
        "  {:<22} {:>8} {:>6} {:>18} {:>8}",
        "mode", "failures", "AUC", "average precision", "Brier"
    );
    for s in &card.scores {
        println!(
            "  {:<22} {:>8} {:>6.3} {:>18.3} {:>8.4}",
            s.mode, s.n_failures, s.auc, s.average_precision, s.brier
        );
    }
    for mode in &card.modes_left_out {
        println!("  {mode}: never occurs in this history, the model does not speak of it");
    }
}
