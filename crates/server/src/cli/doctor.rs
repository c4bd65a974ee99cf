//! `forecare doctor`: everything that can be wrong before a machine pays for it, each with its fix.

mod broker;
mod files;
mod notify;
mod service;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use forecare_catalogue::Catalogue;
use serde::Serialize;

use super::instance::InstanceArgs;
use super::serve::AddressArgs;
use super::{DEMO_CATALOGUE, SERVE_HOME};
use crate::app::{catalogue, check_care};
use crate::config::Config;
use crate::home::{is_running, kept_catalogue, running as running_service, without_user};
use crate::pipeline::chain;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
    /// As given to `serve`; a running service's are known without.
    #[command(flatten)]
    addresses: AddressArgs,
}

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// It works, but should not stay so.
    Warn,
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    text: String,
    /// What to do, where the text does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// What was found, in order.
#[derive(Debug, Default, Serialize)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.push(check, Level::Ok, text.into(), None);
    }

    fn warn(&mut self, check: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.push(check, Level::Warn, text.into(), Some(fix.into()));
    }

    fn fail(&mut self, check: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.push(check, Level::Fail, text.into(), Some(fix.into()));
    }

    /// A failure whose text names the fix.
    fn failed(&mut self, check: &'static str, error: &anyhow::Error) {
        self.push(check, Level::Fail, chain(error.as_ref()), None);
    }

    fn push(&mut self, check: &'static str, level: Level, text: String, fix: Option<String>) {
        self.0.push(Finding {
            check,
            level,
            text,
            fix,
        });
    }
}

/// The instance under examination.
struct Patient {
    home: PathBuf,
    config_file: Option<PathBuf>,
    config: Config,
    catalogue: Catalogue,
    /// A service works in it.
    running: bool,
    /// Who says which broker is asked.
    broker_said_by: SaidBy,
    /// The running service has yet to open its store, and its embedded broker after that.
    broker_waits: bool,
}

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SaidBy {
    Configuration,
    CommandLine,
    /// It may have been started with other addresses than the configuration has.
    RunningService,
}

impl std::fmt::Display for SaidBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Configuration => "as configured",
            Self::CommandLine => "as the command line says",
            Self::RunningService => "as the running service was started",
        })
    }
}

pub(crate) async fn run(args: DoctorArgs) -> Result<ExitCode> {
    let mut findings = Findings::default();
    if let Some(patient) = admit(args.instance, &args.addresses, &mut findings) {
        files::examine(&patient, &mut findings);
        store::examine(&patient, &mut findings).await;
        notify::examine(&patient, &mut findings).await;
        broker::examine(&patient, &mut findings).await;
        service::examine(&patient, &mut findings);
    }
    let worst = findings
        .0
        .iter()
        .map(|f| f.level)
        .max()
        .unwrap_or(Level::Ok);
    if args.json {
        let report = serde_json::json!({ "level": worst, "findings": findings });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", written(&findings));
    }
    Ok(if worst == Level::Fail {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn written(findings: &Findings) -> String {
    let mut text = String::new();
    for finding in &findings.0 {
        let level = match finding.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        text += &format!("{level}  {:<11} {}\n", finding.check, finding.text);
        if let Some(fix) = &finding.fix {
            text += &format!("{:17} fix: {fix}\n", "");
        }
    }
    let count = |level| findings.0.iter().filter(|f| f.level == level).count();
    text + &format!(
        "{} ok, {} warnings, {} failures\n",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail)
    )
}

/// Reads configuration and catalogue; nothing else can be examined without them.
fn admit(args: InstanceArgs, addresses: &AddressArgs, findings: &mut Findings) -> Option<Patient> {
    let mut config = match Config::load(args.config.as_deref(), &addresses.overrides()) {
        Ok(config) => config,
        Err(error) => {
            findings.failed("config", &error);
            return None;
        }
    };
    findings.ok(
        "config",
        match &args.config {
            Some(path) => format!("{} is valid", path.display()),
            None => "built-in defaults and environment (no --config)".to_owned(),
        },
    );
    let home = args.home.or(SERVE_HOME);
    let running = is_running(&home);
    let kept = kept_catalogue(&home);
    // Without a config file an instance is what it last was.
    let file = if args.config.is_none() && kept.is_file() {
        kept.clone()
    } else {
        config.catalogue.clone()
    };
    let (text, catalogue) = match catalogue(&file, DEMO_CATALOGUE) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            findings.failed("catalogue", &error);
            return None;
        }
    };
    let classes: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
    let what = format!(
        "classes {}; {} parts",
        classes.join(", "),
        catalogue.parts.len()
    );
    match std::fs::read_to_string(&kept) {
        Ok(last) if last != text && running => findings.warn(
            "catalogue",
            format!("{what}; the running service was started with another one"),
            "restart the service, so that the new one counts",
        ),
        _ => findings.ok("catalogue", what),
    }
    if let Err(error) = check_care(&config, &catalogue) {
        findings.failed("care", &error);
    }
    let mut broker_said_by = if addresses.mqtt.is_some() || addresses.mqtt_listen.is_some() {
        SaidBy::CommandLine
    } else {
        SaidBy::Configuration
    };
    let mut broker_waits = false;
    if let Some(started) = running_service(&home) {
        if broker_said_by == SaidBy::Configuration {
            broker_said_by = SaidBy::RunningService;
            broker_waits = started.mqtt_url.is_empty() && started.mqtt_listen.is_none();
            // Who it is let in as stands in the configuration, or is said here.
            if without_user(&config.mqtt.url) != started.mqtt_url {
                config.mqtt.url = started.mqtt_url;
            }
            config.mqtt.listen = started.mqtt_listen.unwrap_or(config.mqtt.listen);
        }
        if addresses.http.is_none() {
            config.http.listen = started.http_listen;
        }
    }
    Some(Patient {
        home,
        config_file: args.config,
        config,
        catalogue,
        running,
        broker_said_by,
        broker_waits,
    })
}
