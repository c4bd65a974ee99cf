//! The command line: a file per subcommand.

mod automation;
mod backtest;
mod bench;
mod config;
mod dead_letters;
mod demo;
mod device;
mod doctor;
mod evaluate;
mod export;
mod import;
mod instance;
mod kpis;
mod models;
mod notify;
mod outbox;
mod parts;
mod progress;
mod recall;
mod registry;
mod replay;
mod report;
mod serve;
mod service;
mod surveys;
mod tickets;
mod token;
mod trace;
mod train;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::home::kept_catalogue;
use crate::pipeline::chain;

/// The catalogue of the demo, and of `serve` where none is configured.
pub(crate) const DEMO_CATALOGUE: &str = include_str!("../../../catalogue/catalogues/demo.toml");
/// The catalogue of the Azure predictive-maintenance machines.
pub(crate) const AZURE_CATALOGUE: &str =
    include_str!("../../../catalogue/catalogues/azure-pdm.toml");

/// The catalogue of the C-MAPSS turbofans.
pub(crate) const CMAPSS_CATALOGUE: &str = include_str!("../../../catalogue/catalogues/cmapss.toml");
/// The catalogue of the PRONOSTIA bearings.
pub(crate) const FEMTO_CATALOGUE: &str = include_str!("../../../catalogue/catalogues/femto.toml");

/// Watches machines over MQTT; opens a ticket and reserves the parts before they fail.
#[derive(Debug, Parser)]
#[command(name = "forecare", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on embedded defaults, with a simulated fleet that degrades before your eyes.
    Demo(demo::DemoArgs),
    /// The service: broker, pipeline, care desk, API and console.
    Serve(serve::ServeArgs),
    /// Learn a model of failure probabilities from history.
    #[command(subcommand)]
    Train(train::TrainCommand),
    /// Versions of models: look at them, compare them, make one live or take it back.
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Publish recorded history over MQTT, as the machines would.
    #[command(subcommand)]
    Replay(replay::ReplayCommand),
    /// Compare the tickets with the recorded truth.
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Run the detectors and the prognosis on a public benchmark.
    #[command(subcommand)]
    Evaluate(evaluate::EvaluateCommand),
    /// Try a policy on stored history: what would it have prevented, and what would it have cost?
    Backtest(backtest::BacktestArgs),
    /// Rules of automation: try them on stored history.
    #[command(subcommand)]
    Automation(automation::AutomationCommand),
    /// Show the messages that were refused, and why.
    DeadLetters(dead_letters::DeadLettersArgs),
    /// The whole course of an alarm or ticket: reading, decisions, parts, work, verdict.
    Trace(trace::TraceArgs),
    /// Where the parts of a batch, or of a serial number, are: on which shelves, in which machines.
    Recall(recall::RecallArgs),
    /// Check configuration, broker, store, disk, models and the running service; each failure names its fix.
    Doctor(doctor::DoctorArgs),
    /// Write telemetry, events, alarms and tickets to files.
    Export(export::ExportArgs),
    /// Read recorded telemetry into the store; it is not scored.
    Import(import::ImportArgs),
    /// Register devices and give them credentials.
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// The desk's tickets: find, open, note, assign, move on; of the running service.
    #[command(subcommand)]
    Tickets(tickets::TicketsCommand),
    /// Spare parts: stock, movements, ledger; of the running service.
    #[command(subcommand)]
    Parts(parts::PartsCommand),
    /// What the service achieves; of the running service.
    Kpis(kpis::KpisArgs),
    /// What customers said; of the running service.
    #[command(subcommand)]
    Surveys(surveys::SurveysCommand),
    /// Master data: locations, customers, contracts, technicians; list, show, put, delete, import, export.
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Tokens of API and console, for people and other systems.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Who was told what; try again what was given up.
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Try the channels by which people are told.
    #[command(subcommand)]
    Notify(notify::NotifyCommand),
    /// Check a configuration, or print the documented defaults.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Measure this machine.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// Where an instance lives.
#[derive(Debug, Args)]
pub(crate) struct HomeArg {
    /// Directory of the instance: database, models, token.
    #[arg(long, env = "FORECARE_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
}

impl HomeArg {
    /// The directory where one is named.
    ///
    /// # Errors
    /// It is none of an instance.
    fn must_be_instance(&self) -> Result<Option<&Path>> {
        let home = self.home.as_deref();
        if let Some(home) = home
            && !kept_catalogue(home).is_file()
        {
            anyhow::bail!("there is no instance in {}", home.display());
        }
        Ok(home)
    }

    fn or(self, default: &str) -> PathBuf {
        self.home.unwrap_or_else(|| PathBuf::from(default))
    }
}

/// Home of the live service.
const SERVE_HOME: &str = "forecare-data";
/// Home of the demo.
const DEMO_HOME: &str = "forecare-demo";
/// Home of training, replay and report of the Azure data.
const AZURE_HOME: &str = "forecare-azure-pdm";

/// Runs the command line; returns the process's exit code.
#[must_use]
pub fn run() -> ExitCode {
    end_quietly_with_the_reader();
    let cli = Cli::parse();
    match execute(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads standard output may have seen enough (`forecare doctor | head`): that ends the command, and is no fault of
/// it. The signal that other commands die of is not to be had: sockets would raise it too.
fn end_quietly_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(is_readers_end) {
            std::process::exit(READER_GONE);
        }
        usual(panic);
    }));
}

/// What a shell reports of a command that SIGPIPE has ended.
const READER_GONE: i32 = 128 + 13;

/// What `print!` panics with where nobody reads any more.
fn is_readers_end(panic: &str) -> bool {
    panic.starts_with("failed printing to stdout") && panic.to_lowercase().contains("broken pipe")
}

fn execute(command: Command) -> Result<ExitCode> {
    // The process-wide TLS provider; a second call would be our own mistake.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    match command {
        Command::Demo(args) => runtime.block_on(demo::run(args)),
        Command::Serve(args) => runtime.block_on(serve::run(args)),
        Command::Train(command) => runtime.block_on(train::run(command)),
        Command::Models(command) => runtime.block_on(models::run(command)),
        Command::Replay(command) => runtime.block_on(replay::run(command)),
        Command::Report(command) => runtime.block_on(report::run(command)),
        Command::Evaluate(command) => evaluate::run(command),
        Command::Backtest(args) => backtest::run(args, &runtime),
        Command::Automation(command) => return runtime.block_on(automation::run(command)),
        Command::DeadLetters(args) => runtime.block_on(dead_letters::run(args)),
        Command::Trace(args) => runtime.block_on(trace::run(args)),
        Command::Recall(args) => runtime.block_on(recall::run(args)),
        Command::Doctor(args) => return runtime.block_on(doctor::run(args)),
        Command::Export(args) => runtime.block_on(export::run(args)),
        Command::Import(args) => runtime.block_on(import::run(args)),
        Command::Device(command) => runtime.block_on(device::run(command)),
        Command::Tickets(command) => tickets::run(command),
        Command::Parts(command) => parts::run(command),
        Command::Kpis(args) => kpis::run(args),
        Command::Surveys(command) => surveys::run(command),
        Command::Registry(command) => runtime.block_on(registry::run(command)),
        Command::Token(command) => runtime.block_on(token::run(command)),
        Command::Outbox(command) => runtime.block_on(outbox::run(command)),
        Command::Notify(command) => runtime.block_on(notify::run(command)),
        Command::Config(command) => config::run(command),
        Command::Bench(command) => runtime.block_on(bench::run(command)),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Log lines go to standard error, so that results on standard output can be piped.
fn log_to_stderr(filter: &str, format: LogFormat) -> Result<()> {
    // The pool's own words on a lost connection name no cause; ours do. A filter that names it is heeded.
    let filter = EnvFilter::try_new(format!("deadpool=error,tokio_postgres=warn,{filter}"))
        .with_context(|| format!("log.filter \"{filter}\" cannot be read"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Resolves at Ctrl-C or SIGTERM.
async fn stop_signal() -> Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
