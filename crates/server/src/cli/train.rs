//! `forecare train`: from history to a model file.

mod history;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_datasets::azure_pdm::{AzurePdm, MachineRange, Telemetry};
use forecare_datasets::cmapss;
use forecare_domain::{ClassName, Clock, Timestamp};
use forecare_prognosis::{
    CardData, History, HistoryItem, LifeModel, Model, TrainParams, train, train_life,
};
use forecare_simulator::{Emission, FleetConfig, HEALTHY_HOURS, run_to_failure};

use super::evaluate;
use super::models::{person, place};
use super::progress::Progress;
use super::{AZURE_CATALOGUE, AZURE_HOME, CMAPSS_CATALOGUE, DEMO_CATALOGUE, DEMO_HOME, HomeArg};
use crate::app::catalogue;
use crate::clock::SystemClock;
use crate::home::{Home, kept_catalogue};
use crate::models;
use crate::models::library::Library;
use crate::models::record::Reason;

#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// From the Azure predictive-maintenance data set.
    AzurePdm(AzureArgs),
    /// From the C-MAPSS turbofans that ran to failure: remaining useful life.
    Cmapss(CmapssArgs),
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
pub(crate) struct CmapssArgs {
    /// Directory of the data set's files; every train_*.txt in it is learnt from.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to write the model.
    #[arg(long, value_name = "FILE", default_value = "models/turbofan.json")]
    out: PathBuf,
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
    /// Seconds between readings.
    #[arg(long, default_value_t = 600.0)]
    interval: f64,
    /// Hours without fault before each onset, at least and at most.
    #[arg(long, num_args = 2, value_names = ["LEAST", "MOST"], default_values_t = [HEALTHY_HOURS.0, HEALTHY_HOURS.1])]
    healthy_hours: Vec<f64>,
    /// Hours between the rows that are learnt from.
    #[arg(long, default_value_t = 1.0)]
    row_distance: f64,
}

pub(crate) async fn run(command: TrainCommand) -> Result<()> {
    match command {
        TrainCommand::AzurePdm(args) => azure(args),
        TrainCommand::Cmapss(args) => cmapss(&args),
        TrainCommand::Simulated(args) => simulated(args),
        TrainCommand::History(args) => history::run(args).await,
    }
}

fn azure(args: AzureArgs) -> Result<()> {
    let (text, catalogue) = catalogue(Path::new(""), AZURE_CATALOGUE)?;
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
        trained_at: newest(&histories).context("the files hold no readings")?,
    };
    let model = learn(class, &histories, &TrainParams::default(), &data)?;
    let home = args.home.or(AZURE_HOME);
    let library = Library::new(home.join("models"));
    deliver(&model, &args.destination, &library, &catalogue)?;
    if args.destination.out.is_none() && !kept_catalogue(&home).is_file() {
        // `forecare models` is to know the class before the first replay.
        Home::open(&home)?.keep_catalogue(&text)?;
    }
    Ok(())
}

fn cmapss(args: &CmapssArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), CMAPSS_CATALOGUE)?;
    let class = class(&catalogue, "turbofan")?;
    let subsets = cmapss::training_subsets(&args.data)?;
    let mut histories = Vec::new();
    for subset in &subsets {
        let engines = cmapss::load_engines(&args.data.join(format!("train_{subset}.txt")))?;
        histories.extend(cmapss::histories(subset, &engines, evaluate::cmapss::MODE)?);
    }
    let data = format!("C-MAPSS, training engines of {}", subsets.join(", "));
    eprintln!("learning from {data}: {} engines", histories.len());
    let trained_at =
        newest(&histories).with_context(|| format!("no train_*.txt in {}", args.data.display()))?;
    let progress = Progress::bar(100, "%");
    let model = train_life(
        class,
        &histories,
        &evaluate::cmapss::params(),
        &CardData { data, trained_at },
        &mut |share| progress.share(share),
    )?;
    progress.finish();
    models::save(&model, &args.out)?;
    describe(&model);
    println!("written to {}", args.out.display());
    Ok(())
}

/// When the histories end: the time of the training, so that the same command writes the same file.
fn newest(histories: &[History]) -> Option<Timestamp> {
    let last = |history: &History| history.items.last().map(HistoryItem::ts);
    histories.iter().filter_map(last).max()
}

fn simulated(args: SimulatedArgs) -> Result<()> {
    let (_, catalogue) = catalogue(Path::new(""), DEMO_CATALOGUE)?;
    let class = class(&catalogue, forecare_simulator::CLASS)?;
    let &[least, most] = args.healthy_hours.as_slice() else {
        bail!("--healthy-hours takes two numbers");
    };
    if !(0.0 <= least && least <= most && most.is_finite()) {
        bail!("--healthy-hours takes a least and a most, neither below 0");
    }
    let config = FleetConfig {
        seed: args.seed,
        n_devices: usize::try_from(args.devices)?,
        start: forecare_simulator::histories_start(),
        sample_interval_s: args.interval,
        n_faults: 0,
        first_onset_hours: 0.0,
        onset_spacing_hours: 0.0,
    };
    let mut fleet = run_to_failure(&config, args.hours, (least, most), &catalogue)?;
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
        row_distance_hours: args.row_distance,
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
    let model = train(class, histories, params, data, &mut |share| {
        progress.share(share)
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
    if let Some(life) = model.life().and_then(LifeModel::scores) {
        println!(
            "remaining life on machines left out of the training: RMSE {:.1} h (told apart up to {:.0} h), p10-p90 holds {:.0} %",
            life.rmse_hours,
            life.cap_hours,
            100.0 * life.coverage
        );
    }
    for refused in &card.modes_refused {
        println!("  {refused}");
    }
    if card.scores.is_empty() {
        return;
    }
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
