//! `forecare bench`: measures this machine.

mod backtest;
mod broker;
mod consumer;
mod database;
mod fleet;
mod ingest;
mod queries;
mod queue;
mod usage;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// MQTT to SQLite through the embedded broker: decoded, validated, scored, stored once, acknowledged.
    Ingest(ingest::IngestArgs),
    /// How fast the full queue of a Mosquitto is drained, from the start of the service to the last commit.
    Drain(queue::DrainArgs),
    /// What a Mosquitto with its default limits loses under load, and how late the rest is committed.
    Live(queue::LiveArgs),
    /// How long reading back takes: range, down-sampled, gaps filled, latest of a fleet; before and after compression.
    Queries(queries::QueriesArgs),
    /// A backtest over the stored history of a simulated fleet: reading, scoring, deciding.
    Backtest(backtest::BacktestBenchArgs),
}

pub(crate) async fn run(command: BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Ingest(args) => ingest::run(args).await,
        BenchCommand::Drain(args) => queue::drain(args).await,
        BenchCommand::Live(args) => queue::live(args).await,
        BenchCommand::Queries(args) => queries::run(args).await,
        BenchCommand::Backtest(args) => backtest::run(args).await,
    }
}
