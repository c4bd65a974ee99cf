//! `forecare config`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{DEMO_CATALOGUE, HomeArg};
use crate::app::{catalogue, check_care, secret_file};
use crate::config::{Config, DEFAULT_TOML};
use crate::home::kept_catalogue;
use crate::notifier::{Speech, unreachable_names};
use crate::storage::settings;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration as `serve` would, and say what is wrong with it.
    Check(CheckArgs),
    /// Print every key with its meaning and default.
    Default,
    /// Print the built-in catalogue, to start one's own from.
    Catalogue,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Config file; without it, defaults and environment are checked.
    #[arg(long, env = "FORECARE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    // Its catalogue is taken where the config file names none.
    #[command(flatten)]
    home: HomeArg,
}

pub(crate) fn run(command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Check(args) => {
            let config = Config::load(args.config.as_deref(), &[])?;
            let kept = args.home.must_be_instance()?.map(kept_catalogue);
            let named = Some(&config.catalogue).filter(|path| !path.as_os_str().is_empty());
            let path = named.cloned().or(kept).unwrap_or_default();
            let (_, catalogue) = catalogue(&path, DEMO_CATALOGUE)?;
            check_care(&config, &catalogue)?;
            let speech = Speech::open(&config)?;
            let store = if config.store.url.is_empty() {
                "SQLite".to_owned()
            } else {
                settings(&config.store)?.database()?
            };
            secret_file(&config.mqtt.password_file, "mqtt.password_file")?;
            let classes: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
            println!(
                "ok: catalogue {}, asset classes {}, {} parts; store {store}; broker {}; console http://{}/",
                if path.as_os_str().is_empty() {
                    "built in".to_owned()
                } else {
                    path.display().to_string()
                },
                classes.join(", "),
                catalogue.parts.len(),
                if config.mqtt.url.is_empty() {
                    format!("embedded on {}", config.mqtt.listen)
                } else {
                    config.mqtt.url.clone()
                },
                config.http.listen
            );
            let channels: Vec<&str> = speech.channels.names().collect();
            if !channels.is_empty() {
                println!("ok: people are told by {}", channels.join(", "));
            }
            let rules = &config.care.automation;
            if !rules.is_empty() {
                println!("ok: {} rules of automation", rules.all().len());
            }
            for (rule, who) in rules.technicians() {
                if catalogue.technicians.iter().all(|t| t.name != who) {
                    println!(
                        "note: rule {rule} assigns to \"{who}\", who is not in the catalogue; the registry was not looked at (`forecare doctor` does)"
                    );
                }
            }
            for (class, metric) in config.care.tickets.named() {
                let known = metric.and_then(|metric| {
                    let class = catalogue.class(class)?;
                    class.metrics.get(class.metric_index(metric.as_str())?)
                });
                if let Some(metric) = known
                    && !metric.counter
                {
                    println!(
                        "note: a schedule counts by \"{}\" of class {class}, which the catalogue does not mark with counter = true: detectors may take its rise for a fault",
                        metric.name
                    );
                }
            }
            for nobody in unreachable_names(&config, &speech, &[]) {
                println!("note: {nobody}; the registry was not looked at (`forecare doctor` does)");
            }
        }
        ConfigCommand::Default => print!("{DEFAULT_TOML}"),
        ConfigCommand::Catalogue => print!("{DEMO_CATALOGUE}"),
    }
    Ok(())
}
