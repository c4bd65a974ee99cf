//! `forecare report`: what the tickets foresaw, compared with the recorded truth.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_datasets::azure_pdm::{
    AlarmRecord, AzurePdm, ComponentReport, MachineRange, Report, Telemetry, TicketRecord, report,
};
use forecare_domain::{ComponentName, ReservationState, Supply, Ticket, TicketState, Timestamp};
use forecare_store::{AlarmFilter, ReservationFilter, Store, TicketFilter, every};
use serde::Serialize;

use super::AZURE_HOME;
use super::instance::InstanceArgs;
use super::replay::{RUN_SETTING, Run, fingerprint_of, fingerprint_stored};

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// On the Azure predictive-maintenance data set, after a replay.
    AzurePdm(ReportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Directory of the data set's CSV files.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Machines to compare; without it, those of the last replay.
    #[arg(long)]
    machines: Option<MachineRange>,
    /// Telemetry that was replayed: 90days, windows or daily; without it, that of the last replay.
    #[arg(long)]
    telemetry: Option<Telemetry>,
    /// Write the report as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// The report as written to a file.
#[derive(Debug, Serialize)]
struct Written {
    machines: String,
    telemetry: String,
    readings_in_files: u64,
    readings_stored: u64,
    checksums_equal: bool,
    #[serde(flatten)]
    all: ComponentReport,
    alarms_per_machine_month: f64,
    components: std::collections::BTreeMap<ComponentName, ComponentReport>,
}

pub(crate) async fn run(command: ReportCommand) -> Result<()> {
    let ReportCommand::AzurePdm(args) = command;
    let instance = args.instance.open(AZURE_HOME).await?;
    let store = instance.storage.store();
    let last: Option<Run> = match store.setting(RUN_SETTING).await? {
        Some(text) => {
            Some(serde_json::from_str(&text).context("the record of the last replay is damaged")?)
        }
        None => None,
    };
    let machines = match (args.machines, &last) {
        (Some(machines), _) => machines,
        (None, Some(run)) => run.machines.parse()?,
        (None, None) => bail!(
            "nothing was replayed into this instance: name --machines and --telemetry, or replay first"
        ),
    };
    let telemetry = match (args.telemetry, &last) {
        (Some(telemetry), _) => telemetry,
        (None, Some(run)) => telemetry_of(&run.telemetry)?,
        (None, None) => Telemetry::Days90,
    };
    if last.is_some_and(|run| !run.complete) {
        eprintln!("the last replay was interrupted: the report covers what was replayed");
    }
    let data = AzurePdm::load(&args.data, &machines, telemetry)?;
    let tickets = tickets(store.as_ref(), &data.machines).await?;
    let alarms = alarms(store.as_ref(), &data.machines).await?;
    let result = report(&data, &tickets, &alarms);
    let files = fingerprint_of(&data)?;
    let stored = fingerprint_stored(store.as_ref(), &data.machines).await?;
    instance.storage.close().await?;
    print(&result);
    println!(
        "\n{} of {} readings stored, checksums {}",
        stored.n_readings,
        files.n_readings,
        if stored == files { "equal" } else { "differ" }
    );
    if let Some(path) = &args.json {
        let written = Written {
            machines: machines.to_string(),
            telemetry: telemetry.file_name().to_owned(),
            readings_in_files: files.n_readings,
            readings_stored: stored.n_readings,
            checksums_equal: stored == files,
            all: result.all,
            alarms_per_machine_month: result.alarms_per_machine_month,
            components: result.components,
        };
        let json = serde_json::to_string_pretty(&written)?;
        std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn telemetry_of(file_name: &str) -> Result<Telemetry> {
    [Telemetry::Days90, Telemetry::Windows, Telemetry::Daily]
        .into_iter()
        .find(|t| t.file_name() == file_name)
        .with_context(|| {
            format!("the last replay used {file_name}, which this version does not know")
        })
}

fn machine_of(device: &str, machines: &[u32]) -> Option<u32> {
    let machine = device.strip_prefix("machine-")?.parse().ok()?;
    machines.contains(&machine).then_some(machine)
}

pub(crate) async fn tickets(store: &dyn Store, machines: &[u32]) -> Result<Vec<TicketRecord>> {
    let mut records = Vec::new();
    let filter = TicketFilter::default();
    for ticket in every(|page| store.tickets(&filter, page)).await? {
        let Some(machine) = machine_of(ticket.device.as_str(), machines) else {
            continue;
        };
        let Some(mode) = ticket.mode.as_ref().filter(|_| ticket.is_predicted()) else {
            continue;
        };
        let filter = ReservationFilter {
            ticket: Some(ticket.id),
            live: false,
        };
        let reservations = every(|page| store.reservations(&filter, page)).await?;
        records.push(TicketRecord {
            machine,
            // Modes of this class are named after their component.
            component: ComponentName::new(mode.as_str())?,
            opened_at: ticket.opened_at,
            closed_at: closed_at(&ticket),
            // Neither a back-order nor a hold that was given back is a part in hand.
            part_reserved: !reservations.is_empty()
                && reservations.iter().all(|r| {
                    let in_hand = r.state.is_live() || r.state == ReservationState::Consumed;
                    in_hand && !matches!(r.supply, Supply::BackOrder { .. })
                }),
        });
    }
    Ok(records)
}

fn closed_at(ticket: &Ticket) -> Option<Timestamp> {
    ticket
        .history
        .iter()
        .rev()
        .find(|c| c.enters(TicketState::Resolved) || c.enters(TicketState::Cancelled))
        .filter(|_| !ticket.state.is_open())
        .map(|change| change.at)
}

pub(crate) async fn alarms(store: &dyn Store, machines: &[u32]) -> Result<Vec<AlarmRecord>> {
    let filter = AlarmFilter::default();
    let all = every(|page| store.alarms(&filter, page)).await?;
    let records = all.into_iter().filter_map(|alarm| {
        let machine = machine_of(alarm.device.as_str(), machines)?;
        Some(AlarmRecord {
            machine,
            raised_at: alarm.raised_at,
        })
    });
    Ok(records.collect())
}

fn print(report: &Report) {
    println!(
        "{:<10} {:>8} {:>7} {:>11} {:>8} {:>7} {:>8} {:>14}   lead hours p10/p50/p90",
        "component",
        "failures",
        "caught",
        "caught 12 h",
        "tickets",
        "right",
        "planned",
        "parts reserved"
    );
    for (component, counts) in &report.components {
        line(component.as_str(), counts);
    }
    line("all", &report.all);
    println!(
        "\nalarms per machine and month: {:.1}",
        report.alarms_per_machine_month
    );
    if report.all.failures_without_telemetry > 0 {
        println!(
            "left out: {} failures of machines that sent nothing in the 24 h before",
            report.all.failures_without_telemetry
        );
    }
}

fn line(name: &str, counts: &ComponentReport) {
    let lead = counts.lead_hours.map_or_else(
        || "-".to_owned(),
        |l| format!("{:.0} / {:.0} / {:.0}", l.p10, l.p50, l.p90),
    );
    println!(
        "{name:<10} {:>8} {:>7} {:>11} {:>8} {:>7} {:>8} {:>14}   {lead}",
        counts.failures,
        counts.caught,
        counts.caught_12h,
        counts.tickets,
        counts.tickets_right,
        counts.tickets_planned,
        counts.parts_reserved_right
    );
}
