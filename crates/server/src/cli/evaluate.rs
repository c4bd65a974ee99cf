//! `forecare evaluate`: the product's own detectors and prognosis on public benchmarks, by their own rules.

mod azure_pdm;
mod class;
pub(super) mod cmapss;
mod femto;
mod metrics;
mod nab;
mod skab;
mod unusable;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use self::unusable::Unusable;

#[derive(Debug, Subcommand)]
pub(crate) enum EvaluateCommand {
    /// Numenta Anomaly Benchmark: streams of one metric, score by its profiles.
    Nab(EvaluateArgs),
    /// Skoltech Anomaly Benchmark: a water loop with injected faults, F1 and alarm rates.
    Skab(EvaluateArgs),
    /// NASA C-MAPSS: remaining useful life of turbofan engines.
    Cmapss(cmapss::CmapssArgs),
    /// FEMTO-ST PRONOSTIA: remaining useful life of bearings.
    Femto(femto::FemtoArgs),
    /// Microsoft Azure predictive maintenance: failure probabilities and tickets.
    AzurePdm(azure_pdm::AzureArgs),
}

/// Where the benchmark lies, and where its results go.
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// Directory of the data set; any subset of its files will do.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Directory for the predictions in the benchmark's own format, and the scores.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl EvaluateArgs {
    /// # Errors
    /// There is no such directory.
    fn check(&self) -> Result<()> {
        must_be_directory(&self.data, "--data")
    }
}

/// # Errors
/// There is no such directory.
fn must_be_directory(dir: &Path, option: &str) -> Result<()> {
    if !dir.is_dir() {
        bail!(
            "there is no directory {}: {option} must name the directory that holds the data set's files",
            dir.display()
        );
    }
    Ok(())
}

/// `; did you mean DIR/nab?` where a directory in `dir` is what was looked for, else nothing.
fn did_you_mean(dir: &Path, is_meant: impl Fn(&Path) -> bool) -> String {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut meant: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && is_meant(path))
        .collect();
    meant.sort();
    meant.first().map_or_else(String::new, |dir| {
        format!("; did you mean {}?", dir.display())
    })
}

pub(crate) fn run(command: EvaluateCommand) -> Result<()> {
    match command {
        EvaluateCommand::Nab(args) => nab::run(&args),
        EvaluateCommand::Skab(args) => skab::run(&args),
        EvaluateCommand::Cmapss(args) => cmapss::run(&args),
        EvaluateCommand::Femto(args) => femto::run(&args),
        EvaluateCommand::AzurePdm(args) => azure_pdm::run(&args),
    }
}
