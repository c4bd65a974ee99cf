//! `forecare bench backtest`: a year of a fleet in SQLite, and a policy tried on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_domain::{Asset, AssetId, ClassName, Clock, DeviceId, Row, Timestamp};
use forecare_simulator::{CLASS, Emission, Fleet, FleetConfig, histories_start, run_to_failure};
use forecare_store::{CommitBatch, ScoredRow};

use super::usage::Usage;
use crate::app::catalogue;
use crate::cli::DEMO_CATALOGUE;
use crate::cli::progress::Progress;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::home::{DATABASE, Home};
use crate::storage::Storage;

/// Hours between a repair and the next onset: about two failures a year.
const HEALTHY_HOURS: (f64, f64) = (1_500.0, 6_000.0);
/// What the model is learnt from: other machines, read and failing like those of the history.
const TRAINING: &str = "--seed 1001 --devices 60 --hours 8760 --interval 3600 --healthy-hours 1500 6000 --row-distance 3";
/// Days of history stored at once.
const DAYS_AT_ONCE: u32 = 5;
/// File of the failures in the instance's directory.
const FAILURES: &str = "failures.csv";

#[derive(Debug, Args)]
pub(crate) struct BacktestBenchArgs {
    /// Directory of the instance that holds the history. Where it has one already, that one is used.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Machines.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// Days of hourly readings.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(40..=3_650))]
    days: u32,
    /// Seed of the fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A policy to try; without one, as configured by default.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Leave the model out: alarms alone decide.
    #[arg(long)]
    no_model: bool,
}

pub(super) async fn run(args: BacktestBenchArgs) -> Result<()> {
    if !args.home.join(DATABASE).is_file() {
        store_history(&args).await?;
    }
    let model = args.home.join("models").join("screw-compressor.json");
    if !args.no_model && !model.is_file() {
        let mut train = Command::new(std::env::current_exe()?);
        train.args(["train", "simulated", "--out"]).arg(&model);
        train.args(TRAINING.split(' '));
        if !train.stdout(Stdio::null()).status()?.success() {
            bail!("no model could be learnt");
        }
    }
    // In a process of its own, so that its time and memory are its own.
    let to = histories_start().plus_hours(24.0 * f64::from(args.days));
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["backtest", "--home"])
        .arg(&args.home)
        .args(["--from", &histories_start().to_string()])
        .args(["--to", &to.to_string()])
        .arg("--failures")
        .arg(args.home.join(FAILURES))
        .arg("--out")
        .arg(args.home.join("backtest"));
    let no_model = args.home.join("no-model.toml");
    if let Some(policy) = &args.policy {
        command.arg("--policy").arg(policy);
    } else if args.no_model {
        std::fs::write(&no_model, "name = \"without model\"\nmodel = \"none\"\n")?;
        command.arg("--policy").arg(&no_model);
    }
    let begun = SystemClock.now();
    let mut child = command.spawn().context("cannot start the backtest")?;
    let mut usage = None;
    let status = loop {
        // The last look before it ends tells its time and memory, to a tenth of a second.
        usage = Usage::of(child.id()).ok().or(usage);
        match child.try_wait()? {
            Some(status) => break status,
            None => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    };
    if !status.success() {
        bail!("the backtest failed");
    }
    let seconds = SystemClock.now().hours_since(begun) * 3_600.0;
    let n_rows = f64::from(args.devices) * f64::from(args.days) * 24.0;
    println!(
        "\nIts policy and its model are for measuring speed: nothing in its report says how good the product's judgement is."
    );
    println!(
        "{} devices, {} days: {seconds:.1} s, {:.0} rows/s",
        args.devices,
        args.days,
        n_rows / seconds
    );
    if let Some(usage) = usage {
        println!(
            "CPU {:.1} s ({:.2} us a row), at most {:.0} MiB resident",
            usage.cpu_seconds,
            usage.cpu_seconds * 1e6 / n_rows,
            usage.peak_mib
        );
    }
    Ok(())
}

/// Stores a fleet's history, and its failures beside it.
async fn store_history(args: &BacktestBenchArgs) -> Result<()> {
    // The demo's machines report every ten minutes; these, every hour.
    let text = DEMO_CATALOGUE.replace("sample_interval_s = 600", "sample_interval_s = 3600");
    let (text, catalogue) = catalogue(Path::new(""), &text)?;
    let home = Home::open(&args.home)?;
    home.keep_catalogue(&text)?;
    let config = Config::load(None, &[])?;
    let storage = Storage::open(
        &config.store,
        &home.database(),
        &catalogue,
        histories_start(),
    )
    .await?;
    let store = storage.store();
    let fleet_config = FleetConfig {
        seed: args.seed,
        n_devices: usize::try_from(args.devices)?,
        start: histories_start(),
        sample_interval_s: 3_600.0,
        n_faults: 0,
        first_onset_hours: 0.0,
        onset_spacing_hours: 0.0,
    };
    let hours = 24.0 * f64::from(args.days);
    let mut fleet = run_to_failure(&fleet_config, hours, HEALTHY_HOURS, &catalogue)?;
    let end = histories_start().plus_hours(hours);
    write_failures(&args.home.join(FAILURES), &fleet, end)?;
    store.register_assets(assets(fleet.devices())?).await?;
    let progress = Progress::bar(u64::from(args.days), "days");
    let mut day = 0;
    while day < args.days {
        day = (day + DAYS_AT_ONCE).min(args.days);
        let until = histories_start().plus_hours(24.0 * f64::from(day)).min(end);
        let batch = batch(fleet.advance(Timestamp::from_millis(until.as_millis() - 1)));
        store.commit_batch(batch).await?;
        progress.set(u64::from(day));
    }
    progress.finish();
    drop(store);
    storage.close().await
}

fn write_failures(path: &Path, fleet: &Fleet, end: Timestamp) -> Result<()> {
    let mut text = b"device,ts,mode\n".to_vec();
    for fault in fleet.faults().iter().filter(|f| f.failure_at < end) {
        writeln!(text, "{},{},{}", fault.device, fault.failure_at, fault.mode)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn assets(devices: &[DeviceId]) -> Result<Vec<Asset>> {
    devices
        .iter()
        .map(|device| {
            Ok(Asset {
                id: AssetId::new(device.as_str())?,
                device: device.clone(),
                class: ClassName::new(CLASS)?,
                name: device.to_string(),
                site: String::new(),
                depot: None,
                registered_at: histories_start(),
            })
        })
        .collect()
}

fn batch(emissions: Vec<Emission>) -> CommitBatch {
    let mut batch = CommitBatch::default();
    for emission in emissions {
        match emission {
            Emission::Telemetry {
                device, ts, values, ..
            } => {
                let row = Row {
                    device,
                    ts,
                    values: values.iter().map(|v| Some(*v)).collect(),
                    extra: Vec::new(),
                };
                batch.rows.push(ScoredRow { row, health: None });
            }
            Emission::Event(event) => batch.events.push(event),
        }
    }
    // The order of the table's key.
    batch
        .rows
        .sort_by(|a, b| (&a.row.device, a.row.ts).cmp(&(&b.row.device, b.row.ts)));
    batch
}
