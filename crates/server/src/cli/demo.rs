//! `forecare demo`: the whole service with a simulated fleet, in simulated time.

mod customers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_api::StreamEvent;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    AlarmChange, Asset, AssetId, ClassName, Clock, DepotName, DeviceId, ModeName, ReservationState,
    Supply, Ticket, Timestamp,
};
use forecare_simulator::{
    CONNECTIONS_MAX_DEFAULT, Credentials, Fleet, FleetConfig, InjectedFault, PublishStats,
    PublisherConfig, publish,
};
use forecare_store::{
    AlarmFilter, Credential, CredentialRole, PageRequest, ReservationFilter, Store, TicketFilter,
    every,
};
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::progress::Progress;
use super::{DEMO_CATALOGUE, DEMO_HOME, HomeArg, log_to_stderr, stop_signal};
use crate::app::{App, AppOptions, catalogue};
use crate::clock::{ScaledClock, SystemClock};
use crate::config::{Config, LogFormat, StoreConfig};
use crate::home::{Home, new_secret, secret_hash};
use crate::storage::Storage;

/// Name of the gateway credential, and of the setting that keeps the simulated present.
const FLEET: &str = "demo-fleet";
/// Simulated time is kept with the data, so that a second run goes on where the first ended.
const TIME_SETTING: &str = "demo.time";
/// Simulated days before the machine's present at which a new demo begins, so that it can run for hours.
const START_DAYS_AGO: f64 = 60.0;
/// Simulated hours from the start to the first fault.
const FIRST_ONSET_HOURS: f64 = 6.0;
/// Longest wait for what is under way at the end.
const SETTLE_MAX: Duration = Duration::from_secs(30);
const PAGE: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Stop after so long: 90s, 3m, 1h. Without it, Ctrl-C ends the demo.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Write the summary as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Number of machines.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// How many machines get a fault.
    #[arg(long, default_value_t = 5)]
    faults: u32,
    /// Simulated seconds per second.
    #[arg(long, default_value_t = 3_600.0)]
    speed: f64,
    /// Simulated seconds between two samples of a machine.
    #[arg(long, default_value_t = 600.0)]
    interval: f64,
    /// Days of history that the machines deliver first, so that they are known before anything fails.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(0..=30))]
    history: u8,
    /// Seed of the fleet.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Address of the embedded broker.
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "ADDRESS")]
    mqtt_listen: String,
    /// Address of API and console.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    http: String,
}

/// `90s`, `3m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        _ => (text, 1),
    };
    match number.parse::<u32>() {
        Ok(n) if n > 0 => Ok(Duration::from_secs(u64::from(n) * unit_s)),
        _ => Err(format!("\"{text}\" is no time: write 90s, 3m or 1h")),
    }
}

/// What became of one injected fault. Times are simulated.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct FaultSummary {
    asset: String,
    mode: String,
    onset_at: Timestamp,
    detected_at: Option<Timestamp>,
    ticket: Option<String>,
    ticket_at: Option<Timestamp>,
    reserved_at: Option<Timestamp>,
    parts: Vec<String>,
    failure_at: Timestamp,
    failed: bool,
    lead_hours: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Summary {
    simulated_from: Timestamp,
    simulated_to: Timestamp,
    simulated_seconds_per_second: f64,
    devices: u32,
    messages_acknowledged: u64,
    readings_stored: u64,
    alarms: usize,
    tickets: usize,
    tickets_without_fault: usize,
    faults: Vec<FaultSummary>,
}

pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    if !(args.speed.is_finite() && args.speed > 0.0) {
        bail!("--speed must be above 0");
    }
    log_to_stderr(
        &std::env::var("FORECARE_LOG__FILTER").unwrap_or_else(|_| "warn".to_owned()),
        LogFormat::Text,
    )?;
    let (catalogue_text, catalogue) = catalogue(Path::new(""), DEMO_CATALOGUE)?;
    let home = Home::open(&args.home.or(DEMO_HOME))?;
    let metrics_token = home.metrics_token_file();
    let config = Config::load(
        None,
        &[
            ("mqtt.listen", format!("{:?}", args.mqtt_listen)),
            ("http.listen", format!("{:?}", args.http)),
            ("registry.tiers", customers::TIERS.to_owned()),
            // The publisher stamps by the same clock; a sample may be ahead by one tick.
            (
                "ingest.future_tolerance_minutes",
                format!("{:?}", (args.speed / 60.0).max(5.0)),
            ),
        ],
    )?;
    let (start, resumed) = begin(&home, &config.store, &catalogue).await?;
    // A second run goes on with machines that are known already.
    let history_hours = if resumed {
        0.0
    } else {
        24.0 * f64::from(args.history)
    };
    let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(start, args.speed));
    let fleet = Fleet::new(
        &FleetConfig {
            seed: args.seed,
            n_devices: usize::try_from(args.devices)?,
            start: start.plus_hours(-history_hours),
            sample_interval_s: args.interval,
            n_faults: usize::try_from(args.faults.min(args.devices))?,
            first_onset_hours: history_hours + FIRST_ONSET_HOURS,
            onset_spacing_hours: 8.0,
        },
        &catalogue,
    )?;
    let faults = fleet.faults().to_vec();
    let secret = new_secret()?;
    let pace = format!("1 s = {}", span(args.speed / 3_600.0));
    let app = App::start(AppOptions {
        home,
        config,
        catalogue: (catalogue_text, catalogue.clone()),
        clock: Arc::clone(&clock),
        arrival_clock: Arc::clone(&clock),
        notice: Some(format!("Simulated fleet in simulated time: {pace}")),
        credentials: vec![Credential {
            username: FLEET.to_owned(),
            role: CredentialRole::Gateway,
            secret_sha256: secret_hash(secret.as_bytes()),
        }],
    })
    .await?;
    let mut events = app.stream.subscribe();
    register(&app, &catalogue, fleet.devices(), start).await?;
    let Some(broker) = app.mqtt_addr else {
        bail!("the demo needs the embedded broker")
    };
    println!(
        "Forecare demo: {} simulated compressors, {} of them will fail",
        args.devices,
        faults.len()
    );
    println!("  console  {}login#token={}", app.console_url(), app.token);
    println!(
        "  metrics  {}metrics   (bearer token in {})",
        app.console_url(),
        metrics_token.display()
    );
    println!("  mqtt     mqtt://{broker}");
    println!(
        "  time     simulated: {pace}, from {start}, after {} days of history",
        history_hours / 24.0
    );
    println!("Ctrl-C ends it with a summary.\n");

    let (stop, stopped) = watch::channel(false);
    let published = Arc::new(PublishStats::default());
    let publisher = PublisherConfig {
        broker,
        credentials: Credentials::Gateway {
            username: FLEET.to_owned(),
            password: secret,
        },
        connections_max: CONNECTIONS_MAX_DEFAULT,
    };
    let mut fleet_task = tokio::spawn(publish(
        fleet,
        publisher,
        Arc::clone(&clock),
        stopped,
        Arc::clone(&published),
    ));
    let mut app = app;
    let progress = Progress::line();
    let watched = {
        let watching = watch_events(&mut events, &progress, &clock, &published, start);
        let timer = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = watching => Ok(()),
            () = timer => Ok(()),
            stopped = stop_signal() => stopped,
            ended = app.failed() => ended,
            ended = &mut fleet_task => ended.context("the simulated fleet broke").and_then(|r| r.context("the simulated fleet stopped")),
        }
    };
    progress.finish();
    watched?;
    stop.send_replace(true);
    if !fleet_task.is_finished() {
        (&mut fleet_task)
            .await
            .context("the simulated fleet broke")??;
    }
    // What was not delivered could not be foreseen.
    let end = published.published_up_to().min(clock.now());
    settle(&app).await?;
    let store = Arc::clone(&app.store);
    store.put_setting(TIME_SETTING, &end.to_string()).await?;
    let stats = Arc::clone(&app.stats);
    let summary = Summary {
        simulated_from: start,
        simulated_to: end,
        simulated_seconds_per_second: args.speed,
        devices: args.devices,
        messages_acknowledged: stats.acked(),
        ..summarise(store.as_ref(), &faults, start, end).await?
    };
    drop(store);
    app.shutdown().await?;
    print(&summary);
    if let Some(path) = &args.report {
        let json = serde_json::to_string_pretty(&summary)?;
        std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write the report {}", path.display()))?;
    }
    Ok(())
}

/// Waits until everything that was delivered is stored and the care desk has nothing left to do.
async fn settle(app: &App) -> Result<()> {
    let deadline = tokio::time::Instant::now() + SETTLE_MAX;
    while app.stats.in_flight() > 0 || !app.store.next_tasks(1).await?.is_empty() {
        if tokio::time::Instant::now() > deadline {
            bail!("the pipeline did not come to rest within {SETTLE_MAX:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Where simulated time begins: where the last run in this directory ended (true), or some weeks ago.
async fn begin(
    home: &Home,
    config: &StoreConfig,
    catalogue: &Catalogue,
) -> Result<(Timestamp, bool)> {
    let fresh = SystemClock.now().plus_hours(-24.0 * START_DAYS_AGO);
    let storage = Storage::open(config, &home.database(), catalogue, fresh).await?;
    let store = storage.store();
    let kept = store.setting(TIME_SETTING).await?;
    let mut newest: Option<Timestamp> = None;
    for asset in store.assets().await? {
        newest = newest.max(store.newest_reading(&asset.device).await?);
    }
    storage.close().await?;
    let resumed = kept.and_then(|text| text.parse().ok()).max(newest);
    // An hour's pause keeps the runs apart on the plots.
    Ok(resumed.map_or((fresh, false), |at| (at.plus_hours(1.0), true)))
}

async fn register(
    app: &App,
    catalogue: &Catalogue,
    devices: &[DeviceId],
    at: Timestamp,
) -> Result<()> {
    let class = ClassName::new(forecare_simulator::CLASS)?;
    let depots: Vec<DepotName> = catalogue.depots.iter().map(|d| d.name.clone()).collect();
    let mut assets = Vec::with_capacity(devices.len());
    for (i, device) in devices.iter().enumerate() {
        let depot = &depots[i % depots.len()];
        assets.push(Asset {
            id: AssetId::new(device.as_str())?,
            device: device.clone(),
            class: class.clone(),
            name: format!("Compressor {}", i + 1),
            site: format!("Site {depot}"),
            depot: Some(depot.clone()),
            registered_at: at,
        });
    }
    app.register(assets.clone()).await?;
    customers::store(&*app.store, &assets, at).await
}

/// Shows what happens until nobody sends events any more.
async fn watch_events(
    events: &mut broadcast::Receiver<StreamEvent>,
    progress: &Progress,
    clock: &Arc<dyn Clock>,
    published: &PublishStats,
    start: Timestamp,
) {
    let (mut n_alarms, mut n_tickets, mut n_parts) = (0_u64, 0_u64, 0_u64);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut n_ticks = 0_u64;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let line = format!(
                    "{}  {} messages stored  {n_alarms} alarms  {n_tickets} tickets  {n_parts} reservations",
                    clock.now(),
                    published.telemetry_acked()
                );
                // Without a terminal a line every 10 s keeps a log readable.
                if progress.is_plain() && n_ticks.is_multiple_of(20) {
                    progress.note(&line);
                }
                n_ticks += 1;
                progress.say(line);
            }
            event = events.recv() => match event {
                Ok(StreamEvent::Alarm(AlarmChange::Raised(alarm))) if alarm.raised_at >= start => {
                    n_alarms += 1;
                    let reasons: Vec<String> = alarm
                        .contributions
                        .iter()
                        .take(2)
                        .map(|c| format!("{} {:.1}, expected {:.1} ({:.0} %: {})", c.name, c.seen, c.expected, c.share * 100.0, c.reason))
                        .collect();
                    progress.note(&format!("{}  alarm   {}  {}: {}", alarm.raised_at, alarm.device, alarm.mode, reasons.join("; ")));
                }
                Ok(StreamEvent::Ticket(ticket)) if ticket.version <= 1 && ticket.history.len() <= 1 => {
                    n_tickets += 1;
                    progress.note(&format!(
                        "{}  ticket  {}  {} {}: {}",
                        ticket.opened_at,
                        ticket.asset,
                        ticket.id,
                        ticket.mode.as_ref().map_or(ticket.kind.as_str(), |mode| mode.as_str()),
                        ticket.decision.as_ref().map_or("", |decision| &decision.why)
                    ));
                }
                Ok(StreamEvent::Reservation(r)) if r.state.is_live() => {
                    n_parts += 1;
                    progress.note(&format!("{}  part    {} x {} for {}: {}", r.reserved_at, r.quantity, r.part, r.ticket, supply(&r.supply)));
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

fn supply(supply: &Supply) -> String {
    match supply {
        Supply::Stock { depot } => format!("on the shelf in {depot}"),
        Supply::Transfer { from, to } => format!("sent from {from} to {to}"),
        Supply::BackOrder { to } => format!("ordered for {to}"),
    }
}

/// Everything about the faults, from the store alone.
async fn summarise(
    store: &dyn Store,
    faults: &[InjectedFault],
    start: Timestamp,
    end: Timestamp,
) -> Result<Summary> {
    let all = PageRequest {
        before: None,
        limit: PAGE,
    };
    let filter = TicketFilter::default();
    let mut tickets: Vec<Ticket> = every(|page| store.tickets(&filter, page)).await?;
    tickets.retain(|t| t.opened_at >= start);
    let mut summaries = Vec::with_capacity(faults.len());
    for fault in faults {
        let filter = AlarmFilter {
            device: Some(fault.device.clone()),
            active: None,
        };
        let detected_at = store
            .alarms(&filter, all)
            .await?
            .into_iter()
            .map(|p| p.item)
            .filter(|a| {
                a.mode == fault.mode && (fault.onset_at..fault.failure_at).contains(&a.raised_at)
            })
            .map(|a| a.raised_at)
            .min();
        let ticket = tickets
            .iter()
            .filter(|t| belongs(t, &fault.device, &fault.mode, fault))
            .min_by_key(|t| t.opened_at);
        let reservations = match ticket {
            Some(ticket) => {
                store
                    .reservations(
                        &ReservationFilter {
                            ticket: Some(ticket.id),
                            live: false,
                        },
                        all,
                    )
                    .await?
            }
            None => Vec::new(),
        };
        summaries.push(FaultSummary {
            asset: fault.device.to_string(),
            mode: fault.mode.to_string(),
            onset_at: fault.onset_at,
            detected_at,
            ticket: ticket.map(|t| t.id.to_string()),
            ticket_at: ticket.map(|t| t.opened_at),
            reserved_at: reservations.iter().map(|r| r.item.reserved_at).min(),
            parts: reservations
                .iter()
                .map(|r| {
                    let state = if r.item.state == ReservationState::Soft {
                        "soft"
                    } else {
                        r.item.state.label()
                    };
                    format!(
                        "{} x {} ({}, {state})",
                        r.item.quantity,
                        r.item.part,
                        supply(&r.item.supply)
                    )
                })
                .collect(),
            failure_at: fault.failure_at,
            failed: fault.failure_at <= end,
            lead_hours: ticket.map(|t| fault.failure_at.hours_since(t.opened_at)),
        });
    }
    let n_right = tickets
        .iter()
        .filter(|t| faults.iter().any(|f| belongs(t, &f.device, &f.mode, f)))
        .count();
    let mut readings = 0;
    for asset in store.assets().await? {
        readings += store.fingerprint(&asset.device).await?.n_readings;
    }
    let alarms = store.alarms(&AlarmFilter::default(), all).await?;
    Ok(Summary {
        simulated_from: start,
        simulated_to: end,
        simulated_seconds_per_second: 0.0,
        devices: 0,
        messages_acknowledged: 0,
        readings_stored: readings,
        alarms: alarms.iter().filter(|a| a.item.raised_at >= start).count(),
        tickets: tickets.len(),
        tickets_without_fault: tickets.len() - n_right,
        faults: summaries,
    })
}

/// A ticket foresees a fault when it was opened for its machine and mode between onset and failure.
fn belongs(ticket: &Ticket, device: &DeviceId, mode: &ModeName, fault: &InjectedFault) -> bool {
    &ticket.device == device
        && ticket.is_predicted()
        && ticket.mode.as_ref() == Some(mode)
        && (fault.onset_at..fault.failure_at).contains(&ticket.opened_at)
}

fn print(summary: &Summary) {
    println!(
        "\nSimulated {} to {}",
        summary.simulated_from, summary.simulated_to
    );
    println!(
        "{} messages acknowledged, {} readings stored, {} alarms, {} tickets ({} without an injected fault)\n",
        summary.messages_acknowledged,
        summary.readings_stored,
        summary.alarms,
        summary.tickets,
        summary.tickets_without_fault
    );
    println!(
        "{:<16} {:<20} {:<17} {:<17} {:<17} {:<17} {:>10}",
        "asset", "mode", "detected", "ticket", "reserved", "failure", "lead"
    );
    for fault in &summary.faults {
        let minute = |at: &Option<Timestamp>| {
            at.map_or_else(
                || "-".to_owned(),
                |at| at.to_string().chars().take(16).collect(),
            )
        };
        println!(
            "{:<16} {:<20} {:<17} {:<17} {:<17} {:<17} {:>10}",
            fault.asset,
            fault.mode,
            minute(&fault.detected_at),
            minute(&fault.ticket_at),
            minute(&fault.reserved_at),
            minute(&Some(fault.failure_at)),
            match fault.lead_hours {
                Some(hours) => span(hours),
                None if fault.failed => "missed".to_owned(),
                None => "not yet".to_owned(),
            }
        );
    }
}

/// Hours in the unit that reads best.
fn span(hours: f64) -> String {
    if hours >= 48.0 {
        format!("{:.1} d", hours / 24.0)
    } else if hours >= 1.0 {
        format!("{hours:.1} h").replace(".0 h", " h")
    } else {
        format!("{:.1} min", hours * 60.0).replace(".0 min", " min")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("3m"), Ok(Duration::from_secs(180)));
        assert_eq!(duration("45"), Ok(Duration::from_secs(45)));
        for nonsense in ["", "m", "0s", "-3m", "3 months"] {
            assert!(duration(nonsense).unwrap_err().contains("3m"), "{nonsense}");
        }
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(span(1.0), "1 h");
        assert_eq!(span(60.0), "2.5 d");
        assert_eq!(span(0.5), "30 min");
    }
}
