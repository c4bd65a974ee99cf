//! `forecare notify`: try a channel.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use forecare_domain::Clock;

use super::HomeArg;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::notifier::{Speech, send_test};

#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Send a test message by a channel, and say what the other side answered.
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Name of the channel, as in [notify.channel.NAME].
    channel: String,
    /// Where to, for channels that carry messages to people: an e-mail address, a number.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Config file.
    #[arg(long, env = "FORECARE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    home: HomeArg,
}

pub(crate) async fn run(command: NotifyCommand) -> Result<()> {
    let NotifyCommand::Test(args) = command;
    args.home.must_be_instance()?;
    let config = Config::load(args.config.as_deref(), &[])?;
    let speech = Speech::open(&config)?;
    send_test(&speech, &args.channel, args.to, SystemClock.now()).await?;
    println!("channel \"{}\" took the message", args.channel);
    Ok(())
}
