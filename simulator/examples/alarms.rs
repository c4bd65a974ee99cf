//! What the detectors make of simulated fleets, without MQTT and store: false alarms, first named modes, lead.
//!
//! `cargo run --release -p forecare-simulator --example alarms -- [FLEETS] [HISTORY_DAYS]`, 40 fleets of 20 machines
//! by default, each with another seed and another start in the week, all five modes injected after the history.

use std::collections::BTreeMap;

use anyhow::Context as _;
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_detect::{ClassDetector, DetectSettings, DeviceDetector, EpisodeSettings, Episodes};
use forecare_domain::{AlarmChange, ClassName, DeviceId, REPLACED_CODE, Severity, Timestamp};
use forecare_simulator::{CLASS, Emission, Fleet, FleetConfig, InjectedFault, histories_start};

const CATALOGUE: &str = include_str!("../../crates/catalogue/catalogues/demo.toml");
/// Hours that the demo runs in three minutes.
const LIVE_HOURS: f64 = 180.0;
/// As the service's `detect.confirm_hours`.
const CONFIRM_HOURS: f64 = 12.0;
/// After a failure alarms are not counted as false for so long, hours.
const AFTER_HOURS: f64 = 30.0;

/// One episode.
struct Raised {
    device: DeviceId,
    mode: String,
    at: Timestamp,
    /// When it would have been weighed by the care desk.
    confirmed: Option<Timestamp>,
    why: String,
}

#[derive(Default)]
struct Tally {
    device_hours: f64,
    history_device_hours: f64,
    /// Episodes on machines without a fault, by mode.
    false_by_mode: BTreeMap<String, u32>,
    history_false: u32,
    /// Tickets that an episode would have led to, without a fault behind them.
    false_tickets: u32,
    /// True mode and first named mode.
    first: BTreeMap<(String, String), u32>,
    /// Hours from the right episode to failure, per true mode.
    leads: BTreeMap<String, Vec<f64>>,
    /// Hours from the confirmed episode of the right mode to failure.
    ticket_leads: Vec<f64>,
    missed_alarms: u32,
    missed_tickets: u32,
    wrong_tickets: u32,
    n_faults: u32,
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let n_fleets: u64 = args.next().map_or(Ok(40), |a| a.parse())?;
    let history_days: f64 = args.next().map_or(Ok(7.0), |a| a.parse())?;
    let seed: Option<u64> = args.next().map(|a| a.parse()).transpose()?;
    let catalogue = Catalogue::parse(CATALOGUE)?;
    let class = catalogue
        .class(&ClassName::new(CLASS)?)
        .context("the demo's class")?
        .clone();
    let detector = ClassDetector::new(&class, &DetectSettings::default())?;
    let mut tally = Tally::default();
    for fleet in 0..n_fleets {
        // Steps of 5.3 hours through the week.
        let start = histories_start().plus_hours(5.3 * f64::from(u32::try_from(fleet)?));
        let history = 24.0 * history_days;
        let config = FleetConfig {
            seed: seed.unwrap_or(1_000 + fleet),
            n_devices: 20,
            start,
            sample_interval_s: 600.0,
            n_faults: 5,
            first_onset_hours: history + 6.0,
            onset_spacing_hours: 8.0,
        };
        run(
            &config,
            history,
            &catalogue,
            (&class, &detector),
            &mut tally,
        )?;
    }
    print(&tally);
    Ok(())
}

fn run(
    config: &FleetConfig,
    history: f64,
    catalogue: &Catalogue,
    (class, detector): (&AssetClass, &ClassDetector),
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(config, catalogue)?;
    let live = config.start.plus_hours(history);
    let end = live.plus_hours(LIVE_HOURS);
    let settings = EpisodeSettings::default();
    let mut units: BTreeMap<DeviceId, (DeviceDetector, Episodes)> = fleet
        .devices()
        .iter()
        .map(|d| (d.clone(), (DeviceDetector::new(detector), Episodes::new())))
        .collect();
    let mut raised: Vec<Raised> = Vec::new();
    for emission in fleet.advance(end) {
        let Some((state, episodes)) = units.get_mut(emission.device()) else {
            continue;
        };
        match &emission {
            Emission::Telemetry {
                device, ts, values, ..
            } => {
                let scored = state.step(detector, *ts, &values.map(Some));
                for change in episodes.update(device, *ts, &scored.evidence, &settings, false) {
                    if let AlarmChange::Raised(alarm) = change {
                        raised.push(Raised {
                            device: device.clone(),
                            mode: alarm.mode.to_string(),
                            at: *ts,
                            confirmed: None,
                            why: alarm
                                .contributions
                                .iter()
                                .map(|c| {
                                    format!(
                                        "{} {:.2}/{:.2} {}",
                                        c.name, c.seen, c.expected, c.reason
                                    )
                                })
                                .collect::<Vec<_>>()
                                .join("; "),
                        });
                    }
                }
                for alarm in episodes.active() {
                    if (alarm.severity == Severity::Critical
                        || ts.hours_since(alarm.raised_at) >= CONFIRM_HOURS)
                        && let Some(r) = raised.iter_mut().rev().find(|r| {
                            r.device == *device
                                && r.at == alarm.raised_at
                                && r.mode == alarm.mode.as_str()
                        })
                    {
                        r.confirmed.get_or_insert(*ts);
                    }
                }
            }
            Emission::Event(event) if event.code == REPLACED_CODE => {
                let modes: Vec<_> = class
                    .modes
                    .iter()
                    .filter(|m| m.component == event.component)
                    .map(|m| m.name.clone())
                    .collect();
                state.reset_after_repair(detector, &modes);
                episodes.reset_after_repair(event.ts, &modes);
            }
            Emission::Event(_) => {}
        }
    }
    let n_devices = f64::from(u32::try_from(config.n_devices)?);
    tally.device_hours += n_devices * LIVE_HOURS;
    tally.history_device_hours += n_devices * history;
    count(&raised, fleet.faults(), live, end, tally);
    Ok(())
}

fn count(
    raised: &[Raised],
    faults: &[InjectedFault],
    live: Timestamp,
    end: Timestamp,
    tally: &mut Tally,
) {
    let verbose = std::env::var_os("ALARMS_VERBOSE").is_some();
    let mut tickets: Vec<(&DeviceId, &str)> = Vec::new();
    for r in raised {
        let fault = faults.iter().find(|f| {
            f.device == r.device
                && f.onset_at <= r.at
                && r.at < f.failure_at.plus_hours(AFTER_HOURS)
        });
        if verbose {
            println!(
                "{} {} {} {} conf={} {}",
                fault.map_or("FALSE", |f| f.mode.as_str()),
                r.at,
                r.device,
                r.mode,
                r.confirmed.is_some(),
                r.why
            );
        }
        let ticket = r.confirmed.is_some() && r.mode != "unknown";
        let opened = ticket && !tickets.contains(&(&r.device, r.mode.as_str()));
        if opened {
            tickets.push((&r.device, &r.mode));
        }
        match fault {
            None if r.at < live => tally.history_false += 1,
            None => {
                *tally.false_by_mode.entry(r.mode.clone()).or_default() += 1;
                tally.false_tickets += u32::from(opened);
            }
            Some(f) => {
                tally.wrong_tickets += u32::from(opened && f.mode.as_str() != r.mode);
            }
        }
    }
    for fault in faults.iter().filter(|f| f.failure_at <= end) {
        tally.n_faults += 1;
        let during = || {
            raised.iter().filter(|r| {
                r.device == fault.device && (fault.onset_at..fault.failure_at).contains(&r.at)
            })
        };
        let first = during().next().map_or("-", |r| &r.mode);
        *tally
            .first
            .entry((fault.mode.to_string(), first.to_owned()))
            .or_default() += 1;
        if verbose {
            let span = fault.failure_at.hours_since(fault.onset_at);
            println!(
                "fault {} {} onset {} life {span:.0} h: first {first}, {}",
                fault.device,
                fault.mode,
                fault.onset_at,
                during()
                    .map(|r| format!(
                        "{} {:.0} h before",
                        r.mode,
                        fault.failure_at.hours_since(r.at)
                    ))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
        let right = during().filter(|r| r.mode == fault.mode.as_str());
        match right.clone().map(|r| r.at).min() {
            Some(at) => tally
                .leads
                .entry(fault.mode.to_string())
                .or_default()
                .push(fault.failure_at.hours_since(at)),
            None => tally.missed_alarms += 1,
        }
        match right
            .filter_map(|r| r.confirmed)
            .filter(|&at| at < fault.failure_at)
            .min()
        {
            Some(at) => tally.ticket_leads.push(fault.failure_at.hours_since(at)),
            None => tally.missed_tickets += 1,
        }
    }
}

fn quantiles(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |tenths: usize| {
        sorted
            .get(sorted.len().saturating_sub(1) * tenths / 10)
            .copied()
            .unwrap_or(f64::NAN)
    };
    format!(
        "min {:.0}, p10 {:.0}, p50 {:.0}, p90 {:.0} h ({})",
        at(0),
        at(1),
        at(5),
        at(9),
        sorted.len()
    )
}

fn print(tally: &Tally) {
    let months = tally.device_hours / 720.0;
    let n_false: u32 = tally.false_by_mode.values().sum();
    println!(
        "false episodes per device-month: {:.2} live ({n_false}), {:.2} in the history ({})",
        f64::from(n_false) / months,
        f64::from(tally.history_false) / (tally.history_device_hours / 720.0).max(1e-9),
        tally.history_false
    );
    for (mode, n) in &tally.false_by_mode {
        println!("  {mode:<22} {:.2}", f64::from(*n) / months);
    }
    println!(
        "tickets without fault: {} ({:.2} per device-month); for another mode than the fault's: {}",
        tally.false_tickets,
        f64::from(tally.false_tickets) / months,
        tally.wrong_tickets
    );
    println!(
        "faults that failed: {}; without an alarm of their mode: {}; without a confirmed one: {}",
        tally.n_faults, tally.missed_alarms, tally.missed_tickets
    );
    println!(
        "lead of confirmed episodes: {}",
        quantiles(&tally.ticket_leads)
    );
    println!("true mode -> first named:");
    for ((mode, first), n) in &tally.first {
        println!("  {mode:<22} {first:<22} {n}");
    }
    for (mode, leads) in &tally.leads {
        println!("lead of alarms, {mode:<22} {}", quantiles(leads));
    }
}
