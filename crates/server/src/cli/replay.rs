//! `forecare replay`: recorded history over MQTT, each machine as its own client, and the ordinary
//! pipeline at work on it.

mod publisher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_datasets::azure_pdm::{
    AzurePdm, Event, EventKind, METRICS, MachineRange, Telemetry, device_name,
};
use forecare_domain::{
    Asset, AssetId, ClassName, Clock, DeviceId, MetricName, REPLACED_CODE, Timestamp,
};
use forecare_store::{Credential, CredentialRole, Fingerprint, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::progress::Progress;
use super::{AZURE_CATALOGUE, AZURE_HOME, HomeArg, log_to_stderr, stop_signal};
use crate::app::{App, AppOptions, catalogue};
use crate::clock::{DeviceClock, SystemClock};
use crate::config::{Config, LogFormat};
use crate::home::{Home, new_secret, secret_hash};
use crate::models::directory;
use crate::models::library::Library;
use publisher::{Login, Outgoing, Publishers};

/// Class of the machines in the built-in catalogue.
pub(crate) const AZURE_CLASS: &str = "azure-pdm-machine";
/// Setting that keeps what was replayed last.
pub(crate) const RUN_SETTING: &str = "replay.azure-pdm";

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// The Azure predictive-maintenance data set: telemetry, errors and replacements; never the failures.
    AzurePdm(ReplayArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Directory of the data set's CSV files.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Machines to replay, such as 1-12.
    #[arg(long, default_value = "1-12")]
    machines: MachineRange,
    /// Telemetry file: 90days, windows or daily.
    #[arg(long, default_value = "90days")]
    telemetry: Telemetry,
    /// `max`, or how many times as fast as it was recorded, such as 3600.
    #[arg(long, default_value = "max", value_parser = speed)]
    speed: Speed,
    /// Publish to this broker (mqtt://host:port) instead of running the service here.
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,
    /// User name and password towards that broker, as name:password; may publish for every machine.
    #[arg(
        long,
        value_name = "NAME:PASSWORD",
        env = "FORECARE_REPLAY_LOGIN",
        hide_env_values = true
    )]
    login: Option<String>,
    /// Address of API and console while the replay runs.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    http: String,
    #[command(flatten)]
    home: HomeArg,
}

#[derive(Debug, Clone, Copy)]
enum Speed {
    Max,
    Factor(f64),
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Speed::Factor(factor)),
        _ => Err(format!(
            "\"{text}\" is no speed: write max, or a factor such as 3600"
        )),
    }
}

/// What was replayed, kept with the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) machines: String,
    pub(crate) telemetry: String,
    pub(crate) complete: bool,
}

pub(crate) async fn run(command: ReplayCommand) -> Result<()> {
    let ReplayCommand::AzurePdm(args) = command;
    log_to_stderr(
        &std::env::var("FORECARE_LOG__FILTER").unwrap_or_else(|_| "warn".to_owned()),
        LogFormat::Text,
    )?;
    let data = AzurePdm::load(&args.data, &args.machines, args.telemetry)?;
    match &args.mqtt {
        Some(url) => {
            let login = match args.login.as_deref().map(|l| l.split_once(':')) {
                None => Login::None,
                Some(Some((name, password))) => Login::Shared {
                    username: name.to_owned(),
                    password: password.to_owned(),
                },
                Some(None) => bail!("--login must be written name:password"),
            };
            let broker = publisher::broker_address(url)?;
            publish(&data, broker, login, args.speed, None).await?;
            println!("published {} to {url}", counts(&data));
            Ok(())
        }
        None => here(args, &data).await,
    }
}

/// Runs the service in this process and replays into it.
async fn here(args: ReplayArgs, data: &AzurePdm) -> Result<()> {
    let catalogue = catalogue(Path::new(""), AZURE_CATALOGUE)?;
    let home = Home::open(&args.home.or(AZURE_HOME))?;
    let config = Config::load(
        None,
        &[
            ("mqtt.listen", "\"127.0.0.1:0\"".to_owned()),
            ("http.listen", format!("{:?}", args.http)),
        ],
    )?;
    let library = Library::new(directory(&config, home.dir()));
    if library
        .in_role(&catalogue.1)?
        .iter()
        .all(|(_, models)| models.live.is_none())
    {
        eprintln!(
            "no model of these machines is live in {}: the detectors work alone; to learn one: forecare train azure-pdm --data {}",
            library.dir().display(),
            args.data.display()
        );
    }
    let mut secrets = BTreeMap::new();
    let mut credentials = Vec::new();
    for machine in &data.machines {
        let secret = new_secret()?;
        credentials.push(Credential {
            username: device_name(*machine),
            role: CredentialRole::Device,
            secret_sha256: secret_hash(secret.as_bytes()),
        });
        secrets.insert(*machine, secret);
    }
    let mut app = App::start(AppOptions {
        home,
        config,
        catalogue,
        clock: Arc::new(DeviceClock::new(Timestamp::from_millis(0))),
        arrival_clock: Arc::new(SystemClock),
        notice: Some(
            "Replay of recorded history: every reading is judged at its own time".to_owned(),
        ),
        credentials,
    })
    .await?;
    app.register(assets(data)?).await?;
    let store = Arc::clone(&app.store);
    let run = Run {
        machines: args.machines.to_string(),
        telemetry: args.telemetry.file_name().to_owned(),
        complete: false,
    };
    let resume = resume_from(store.as_ref(), &run, data).await?;
    store
        .put_setting(RUN_SETTING, &serde_json::to_string(&run)?)
        .await?;
    eprintln!(
        "console  {}   (token in the instance's directory)",
        app.console_url()
    );
    if let Some(at) = resume {
        eprintln!("going on at {at}, where the last run was interrupted");
    }
    let Some(broker) = app.mqtt_addr else {
        bail!("the replay needs the embedded broker")
    };
    let finished = tokio::select! {
        published = publish(data, broker, Login::PerMachine(secrets), args.speed, resume) => published.map(|()| true),
        ended = app.failed() => ended.map(|()| false),
        stopped = stop_signal() => stopped.map(|()| false),
    }?;
    if finished {
        let run = Run {
            complete: true,
            ..run
        };
        store
            .put_setting(RUN_SETTING, &serde_json::to_string(&run)?)
            .await?;
    }
    let stored = fingerprint_stored(store.as_ref(), &data.machines).await?;
    drop(store);
    app.shutdown().await?;
    if !finished {
        println!("interrupted; the same command goes on where it stopped");
        return Ok(());
    }
    let files = fingerprint_of(data)?;
    println!("replayed {}", counts(data));
    println!(
        "stored {} of {} readings; checksum {}",
        stored.n_readings,
        files.n_readings,
        if stored == files {
            "equals that of the files"
        } else {
            "differs from that of the files"
        }
    );
    if stored.n_readings < files.n_readings {
        bail!("readings are missing in the store");
    }
    if stored != files {
        eprintln!(
            "the instance holds other readings of these machines too: give every replay a directory of its own with --home"
        );
    }
    println!(
        "now: forecare report azure-pdm --data {}",
        args.data.display()
    );
    Ok(())
}

async fn resume_from(store: &dyn Store, run: &Run, data: &AzurePdm) -> Result<Option<Timestamp>> {
    let last: Option<Run> = match store.setting(RUN_SETTING).await? {
        Some(text) => serde_json::from_str(&text).ok(),
        None => None,
    };
    if last.as_ref() != Some(run) {
        return Ok(None);
    }
    let mut newest = None;
    for machine in &data.machines {
        newest = newest.max(
            store
                .newest_reading(&DeviceId::new(device_name(*machine))?)
                .await?,
        );
    }
    Ok(newest)
}

/// Publishes everything in order of time: what happened at one instant is acknowledged before the next
/// begins, as it would be in the field.
async fn publish(
    data: &AzurePdm,
    broker: std::net::SocketAddr,
    login: Login,
    speed: Speed,
    resume: Option<Timestamp>,
) -> Result<()> {
    let events: Vec<Event<'_>> = data
        .events_in_time_order()
        .filter(|e| resume.is_none_or(|at| e.ts >= at))
        .collect();
    let progress = Progress::bar(u64::try_from(events.len())?, "events");
    let mut publishers = Publishers::connect(broker, login, &data.machines);
    let mut done = 0_usize;
    let mut previous: Option<Timestamp> = None;
    let mut noted = 0;
    for instant in events.chunk_by(|a, b| a.ts == b.ts) {
        let ts = instant[0].ts;
        if let (Speed::Factor(factor), Some(previous)) = (speed, previous) {
            tokio::time::sleep(Duration::from_secs_f64(
                (ts.hours_since(previous) * 3_600.0 / factor).max(0.0),
            ))
            .await;
        }
        previous = Some(ts);
        let messages: Vec<(u32, Outgoing)> = instant
            .iter()
            .map(|event| (event.machine, outgoing(event)))
            .collect();
        publishers.publish(messages).await?;
        done += instant.len();
        progress.set(u64::try_from(done)?);
        progress.say(ts.to_string());
        if progress.is_plain() && done * 10 / events.len() > noted {
            noted = done * 10 / events.len();
            progress.note(&format!("{done} of {} events, {ts}", events.len()));
        }
    }
    publishers.close().await;
    progress.finish();
    Ok(())
}

fn outgoing(event: &Event<'_>) -> Outgoing {
    let device = device_name(event.machine);
    let ts = event.ts.as_millis();
    let (kind, payload) = match event.kind {
        EventKind::Reading(values) => {
            let values: serde_json::Map<String, serde_json::Value> = METRICS
                .iter()
                .zip(values)
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            ("telemetry", json!({ "ts": ts, "values": values }))
        }
        EventKind::Error(code) => (
            "events",
            json!({ "ts": ts, "code": code, "severity": "error", "message": "" }),
        ),
        EventKind::Replaced(component) => (
            "events",
            json!({ "ts": ts, "code": REPLACED_CODE, "severity": "info", "component": component.as_str(), "message": "" }),
        ),
    };
    Outgoing {
        topic: format!("devices/{device}/{kind}"),
        payload: payload.to_string().into_bytes(),
    }
}

pub(crate) fn assets(data: &AzurePdm) -> Result<Vec<Asset>> {
    data.machines
        .iter()
        .map(|machine| {
            let device = device_name(*machine);
            Ok(Asset {
                id: AssetId::new(&device)?,
                device: DeviceId::new(&device)?,
                class: ClassName::new(AZURE_CLASS)?,
                name: format!("Machine {machine}"),
                site: String::new(),
                depot: None,
                registered_at: SystemClock.now(),
            })
        })
        .collect()
}

fn counts(data: &AzurePdm) -> String {
    format!(
        "{} rows of telemetry, {} errors, {} replacements of {} machines",
        data.readings.len(),
        data.errors.len(),
        data.replacements.len(),
        data.machines.len()
    )
}

/// Fingerprint of the files' readings, as the store would have it.
pub(crate) fn fingerprint_of(data: &AzurePdm) -> Result<Fingerprint> {
    let metrics: Vec<MetricName> = METRICS
        .iter()
        .map(MetricName::new)
        .collect::<Result<_, _>>()?;
    let mut fingerprint = Fingerprint::default();
    for reading in &data.readings {
        let device = DeviceId::new(device_name(reading.machine))?;
        for (metric, value) in metrics.iter().zip(reading.values) {
            fingerprint.add(&device, metric, reading.ts, value);
        }
    }
    Ok(fingerprint)
}

/// Fingerprint of the machines' stored readings.
pub(crate) async fn fingerprint_stored(store: &dyn Store, machines: &[u32]) -> Result<Fingerprint> {
    let mut sum = Fingerprint::default();
    for machine in machines {
        let one = store
            .fingerprint(&DeviceId::new(device_name(*machine))?)
            .await
            .context("cannot read the readings")?;
        sum.n_readings += one.n_readings;
        sum.checksum = sum.checksum.wrapping_add(one.checksum);
    }
    Ok(sum)
}
