//! Tickets against the truth.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{ComponentName, Timestamp};
use serde::Serialize;

use super::AzurePdm;

/// A ticket is right when its component fails within so many hours; a failure is caught by a ticket that is
/// at most so old.
pub const RIGHT_WITHIN_H: f64 = 72.0;
/// A failure is caught early by a ticket that is at least so old.
pub const CAUGHT_EARLY_H: f64 = 12.0;
/// A failure counts if its machine sent a reading in so many hours before it.
const SEEN_WITHIN_H: f64 = 24.0;
/// A replacement so soon after the failure of that component mends it.
const MENDED_WITHIN_H: f64 = 24.0;
/// Hours of a mean month.
const MONTH_H: f64 = 730.5;

/// What the product did: a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketRecord {
    /// The machine's number.
    pub machine: u32,
    /// The component the ticket is about.
    pub component: ComponentName,
    /// When it was opened, in the time of the data.
    pub opened_at: Timestamp,
    /// When it was resolved or cancelled; `None`: it is open.
    pub closed_at: Option<Timestamp>,
    /// True when a part was reserved for it.
    pub part_reserved: bool,
}

/// What the product did: an alarm episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmRecord {
    /// The machine's number.
    pub machine: u32,
    /// When it was raised, in the time of the data.
    pub raised_at: Timestamp,
}

/// Quantiles of the hours between a ticket and the failure it caught.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LeadHours {
    /// One in ten is shorter.
    pub p10: f64,
    /// Median.
    pub p50: f64,
    /// One in ten is longer.
    pub p90: f64,
}

/// Counts for one component, or for all. The README of this crate says what counts as what.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ComponentReport {
    /// Failures that count.
    pub failures: usize,
    /// Failures left out: no reading of the machine in the 24 h before.
    pub failures_without_telemetry: usize,
    /// Failures with an open ticket, opened at most 72 h before.
    pub caught: usize,
    /// Of these, opened at least 12 h before.
    pub caught_12h: usize,
    /// Tickets opened.
    pub tickets: usize,
    /// Tickets whose component failed within 72 h.
    pub tickets_right: usize,
    /// Other tickets whose component was replaced as planned within 72 h.
    pub tickets_planned: usize,
    /// Right tickets that had a part reserved.
    pub parts_reserved_right: usize,
    /// Hours from ticket to failure, of the caught ones; `None` if nothing was caught.
    pub lead_hours: Option<LeadHours>,
}

/// The comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// All components together.
    pub all: ComponentReport,
    /// Component by component.
    pub components: BTreeMap<ComponentName, ComponentReport>,
    /// Alarm episodes per machine and month (730.5 h) of its telemetry, gaps above a day left out.
    pub alarms_per_machine_month: f64,
}

/// Compares tickets and alarms with the truth of the same machines and telemetry.
#[must_use]
pub fn report(truth: &AzurePdm, tickets: &[TicketRecord], alarms: &[AlarmRecord]) -> Report {
    let mut times: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    for reading in &truth.readings {
        times.entry(reading.machine).or_default().push(reading.ts);
    }
    let names: BTreeSet<&ComponentName> = truth
        .failures
        .iter()
        .map(|f| &f.component)
        .chain(truth.replacements.iter().map(|r| &r.component))
        .chain(tickets.iter().map(|t| &t.component))
        .collect();
    let mut components = BTreeMap::new();
    let mut all = ComponentReport::default();
    let mut all_leads = Vec::new();
    for name in names {
        let (mut one, mut leads) = of_component(name, truth, tickets, &times);
        one.lead_hours = lead_hours(&mut leads);
        all.failures += one.failures;
        all.failures_without_telemetry += one.failures_without_telemetry;
        all.caught += one.caught;
        all.caught_12h += one.caught_12h;
        all.tickets += one.tickets;
        all.tickets_right += one.tickets_right;
        all.tickets_planned += one.tickets_planned;
        all.parts_reserved_right += one.parts_reserved_right;
        all_leads.extend(leads);
        components.insert(name.clone(), one);
    }
    all.lead_hours = lead_hours(&mut all_leads);
    let months: f64 = times
        .values()
        .flat_map(|ts| ts.windows(2))
        .map(|pair| pair[1].hours_since(pair[0]))
        .filter(|hours| *hours <= SEEN_WITHIN_H)
        .sum::<f64>()
        / MONTH_H;
    Report {
        all,
        components,
        alarms_per_machine_month: if months > 0.0 {
            alarms.len() as f64 / months
        } else {
            0.0
        },
    }
}

/// The failure that makes a ticket right: of its component, within [`RIGHT_WITHIN_H`] after it was opened.
#[must_use]
pub fn next_failure(truth: &AzurePdm, ticket: &TicketRecord) -> Option<Timestamp> {
    truth
        .failures
        .iter()
        .filter(|f| f.machine == ticket.machine && f.component == ticket.component)
        .map(|f| f.ts)
        .find(|ts| *ts > ticket.opened_at && ts.hours_since(ticket.opened_at) <= RIGHT_WITHIN_H)
}

fn of_component(
    name: &ComponentName,
    truth: &AzurePdm,
    tickets: &[TicketRecord],
    times: &BTreeMap<u32, Vec<Timestamp>>,
) -> (ComponentReport, Vec<f64>) {
    let mut one = ComponentReport::default();
    let mut leads = Vec::new();
    let failures = || truth.failures.iter().filter(|f| &f.component == name);
    let tickets = || tickets.iter().filter(|t| &t.component == name);
    let seen = |machine: u32, at: Timestamp| {
        times.get(&machine).is_some_and(|ts| {
            let before = ts.partition_point(|t| *t < at);
            before > 0 && at.hours_since(ts[before - 1]) <= SEEN_WITHIN_H
        })
    };
    for failure in failures() {
        if !seen(failure.machine, failure.ts) {
            one.failures_without_telemetry += 1;
            continue;
        }
        one.failures += 1;
        let lead = tickets()
            .filter(|t| t.machine == failure.machine && t.opened_at < failure.ts)
            .filter(|t| t.closed_at.is_none_or(|closed| closed >= failure.ts))
            .map(|t| failure.ts.hours_since(t.opened_at))
            .filter(|lead| *lead <= RIGHT_WITHIN_H)
            .max_by(f64::total_cmp);
        if let Some(lead) = lead {
            one.caught += 1;
            one.caught_12h += usize::from(lead >= CAUGHT_EARLY_H);
            leads.push(lead);
        }
    }
    for ticket in tickets() {
        one.tickets += 1;
        let soon = |ts: Timestamp| {
            ts > ticket.opened_at && ts.hours_since(ticket.opened_at) <= RIGHT_WITHIN_H
        };
        let planned = |at: Timestamp| {
            !failures().any(|f| {
                f.machine == ticket.machine
                    && (0.0..=MENDED_WITHIN_H).contains(&at.hours_since(f.ts))
            })
        };
        if next_failure(truth, ticket).is_some() {
            one.tickets_right += 1;
            one.parts_reserved_right += usize::from(ticket.part_reserved);
        } else if truth.replacements.iter().any(|r| {
            &r.component == name && r.machine == ticket.machine && soon(r.ts) && planned(r.ts)
        }) {
            one.tickets_planned += 1;
        }
    }
    (one, leads)
}

/// Quantiles by linear interpolation between the order statistics.
fn lead_hours(leads: &mut [f64]) -> Option<LeadHours> {
    leads.sort_by(f64::total_cmp);
    let last = leads.len().checked_sub(1)?;
    let quantile = |q: f64| {
        let place = q * last as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the length"
        )]
        let below = place.floor() as usize;
        let above = (below + 1).min(last);
        leads[below] + (leads[above] - leads[below]) * (place - below as f64)
    };
    Some(LeadHours {
        p10: quantile(0.1),
        p50: quantile(0.5),
        p90: quantile(0.9),
    })
}
