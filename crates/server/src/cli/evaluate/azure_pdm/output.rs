//! The evaluation as files and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use forecare_datasets::azure_pdm::{
    AzurePdm, ComponentReport, Report, RowProbabilities, TicketRecord, Warnings, next_failure,
};
use forecare_domain::{ComponentName, Timestamp};
use forecare_prognosis::{CALIBRATION_BINS, HIGH_FROM, ModeRefused, ModelCard, ProbabilityScores};
use serde::Serialize;

/// Everything found, as written to `metrics.json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Evaluation {
    /// Horizon of the probabilities that are judged, hours.
    pub(super) horizon_hours: f64,
    /// Horizon of the probabilities behind the tickets, hours.
    pub(super) ticket_horizon_hours: f64,
    pub(super) time_split: Option<TimeSplit>,
    pub(super) learnt_from: Option<Learnt>,
    pub(super) other_machines: Vec<OtherMachines>,
    /// Files that were not there.
    pub(super) absent: BTreeSet<&'static str>,
}

/// Learnt from the first part of each machine's time, judged on the rest.
#[derive(Debug, Serialize)]
pub(super) struct TimeSplit {
    pub(super) machines: Vec<u32>,
    pub(super) learn_share: f64,
    pub(super) failures_learnt_from: usize,
    pub(super) failures_judged: usize,
    /// Modes that failed too seldom in the first part.
    pub(super) modes_left_out: Vec<String>,
    /// Modes that were learnt and are no better than chance.
    pub(super) modes_refused: Vec<ModeRefused>,
    #[serde(skip)]
    pub(super) has_failures_file: bool,
    /// `None`: not scored, no failure is known in these rows.
    pub(super) probabilities: Option<Probabilities>,
    /// Of the same rows by the model learnt on other machines.
    pub(super) average_precision_learnt_on_others: Option<f64>,
}

/// The model learnt from other machines.
#[derive(Debug, Serialize)]
pub(super) struct Learnt {
    pub(super) machines: String,
    pub(super) telemetry: Vec<&'static str>,
    pub(super) card: ModelCard,
}

/// Judged on machines that were not learnt from.
#[derive(Debug, Serialize)]
pub(super) struct OtherMachines {
    pub(super) telemetry: String,
    pub(super) machines: Vec<u32>,
    #[serde(skip)]
    pub(super) has_failures_file: bool,
    /// `None`: not scored, no failure of these machines is known.
    pub(super) probabilities: Option<Probabilities>,
    pub(super) n_tickets: usize,
    pub(super) tickets: Option<Report>,
}

/// Scores of the rows' probabilities.
#[derive(Debug, Serialize)]
pub(super) struct Probabilities {
    pub(super) any: ProbabilityScores,
    pub(super) any_warnings: Warnings,
    /// Of any, where the reading of the hour of the failure does not count as one before it.
    pub(super) average_precision_without_hour_of_failure: f64,
    pub(super) components: BTreeMap<ComponentName, OfComponent>,
}

#[derive(Debug, Serialize)]
pub(super) struct OfComponent {
    pub(super) scores: ProbabilityScores,
    pub(super) warnings: Warnings,
}

/// `machine,datetime,p_<component>...,p_any`, a line per reading in order of time.
pub(super) fn write_probabilities(
    path: &Path,
    components: &[ComponentName],
    rows: &[RowProbabilities],
) -> Result<()> {
    let names = components.iter().map(|c| format!("p_{c}"));
    let mut lines = vec![
        ["machine".to_owned(), "datetime".to_owned()]
            .into_iter()
            .chain(names)
            .chain(["p_any".to_owned()])
            .collect::<Vec<_>>(),
    ];
    lines.extend(rows.iter().map(|row| {
        let p = row.of_components.iter().map(|p| format!("{p:.6}"));
        [row.machine.to_string(), as_in_the_files(row.ts)]
            .into_iter()
            .chain(p)
            .chain([format!("{:.6}", row.any())])
            .collect()
    }));
    write_csv(path, &lines)
}

/// A line per ticket, in order of time.
pub(super) fn write_tickets(path: &Path, truth: &AzurePdm, tickets: &[TicketRecord]) -> Result<()> {
    let mut tickets: Vec<&TicketRecord> = tickets.iter().collect();
    tickets.sort_by(|a, b| {
        (a.opened_at, a.machine, &a.component).cmp(&(b.opened_at, b.machine, &b.component))
    });
    let header = [
        "machine",
        "component",
        "opened_at",
        "closed_at",
        "part_reserved",
        "failed_at",
        "lead_hours",
    ];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    lines.extend(tickets.into_iter().map(|t| {
        let failed = next_failure(truth, t);
        vec![
            t.machine.to_string(),
            t.component.to_string(),
            as_in_the_files(t.opened_at),
            t.closed_at.map_or_else(String::new, as_in_the_files),
            t.part_reserved.to_string(),
            failed.map_or_else(String::new, as_in_the_files),
            failed.map_or_else(String::new, |at| {
                format!("{:.1}", at.hours_since(t.opened_at))
            }),
        ]
    }));
    write_csv(path, &lines)
}

fn write_csv(path: &Path, lines: &[Vec<String>]) -> Result<()> {
    let written = || -> csv::Result<()> {
        let mut writer = csv::Writer::from_path(path)?;
        for line in lines {
            writer.write_record(line)?;
        }
        writer.flush()?;
        Ok(())
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

/// `2015-01-01 06:00:00`, UTC.
fn as_in_the_files(ts: Timestamp) -> String {
    let text = ts.to_string();
    let whole = text.split('.').next().unwrap_or(&text);
    whole.trim_end_matches('Z').replacen('T', " ", 1)
}

/// Name of the file that tells the truth.
pub(super) const FAILURES_FILE: &str = "PdM_failures.csv";

/// Instead of scores.
fn unscored(has_failures_file: bool) {
    println!(
        "Predictions are written and not scored: {}.",
        if has_failures_file {
            "PdM_failures.csv names no failure in the part that is judged"
        } else {
            "there is no PdM_failures.csv"
        }
    );
}

pub(super) fn print(evaluation: &Evaluation) {
    if let Some(split) = &evaluation.time_split {
        println!(
            "\nLearnt from the first {:.0} % of each machine's time ({} failures), judged on the rest ({} failures).",
            100.0 * split.learn_share,
            split.failures_learnt_from,
            split.failures_judged
        );
        println!("Machines {}.", machines(&split.machines));
        if !split.modes_left_out.is_empty() {
            println!(
                "Too few failures to learn from, always predicted 0: {}.",
                split.modes_left_out.join(", ")
            );
        }
        for refused in &split.modes_refused {
            println!("{refused}.");
        }
        match &split.probabilities {
            Some(found) => probabilities(found, evaluation.horizon_hours),
            None => unscored(split.has_failures_file),
        }
        if let Some(ap) = split.average_precision_learnt_on_others {
            println!("Average precision on the same rows, learnt on other machines: {ap:.3}");
        }
    }
    if let Some(learnt) = &evaluation.learnt_from {
        for found in &evaluation.other_machines {
            println!(
                "\nLearnt from machines {} ({}), judged on machines {} ({}).",
                learnt.machines,
                learnt.telemetry.join(", "),
                machines(&found.machines),
                found.telemetry
            );
            match &found.probabilities {
                Some(found) => probabilities(found, evaluation.horizon_hours),
                None => unscored(found.has_failures_file),
            }
            println!(
                "Tickets of the service (its model looks {:.0} h ahead): {}",
                evaluation.ticket_horizon_hours, found.n_tickets
            );
            if let Some(report) = &found.tickets {
                tickets(report);
            }
        }
    }
}

/// Runs of numbers: `1-12, 41-60`.
fn machines(numbers: &[u32]) -> String {
    let runs: Vec<String> = numbers
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    runs.join(", ")
}

fn probabilities(found: &Probabilities, horizon_hours: f64) {
    println!(
        "Failure within {horizon_hours:.0} h: {} rows, {} before a failure.",
        found.any.n_rows, found.any.n_true
    );
    println!(
        "{:<10} {:>7} {:>7} {:>8} {:>9} {:>8} {:>11} {:>9} {:>7} {:>6}",
        "component", "AP", "AUC", "Brier", "of rate", "ECE", "ECE high", "(rows)", "F1", "true"
    );
    for (name, of) in &found.components {
        line(name.as_str(), &of.scores, &of.warnings);
    }
    line("any", &found.any, &found.any_warnings);
    println!(
        "AP: average precision. ECE: calibration error over {CALIBRATION_BINS} bins of equal width; high: of the rows predicted at {HIGH_FROM} or above."
    );
    println!(
        "Average precision of any, the hour of the failure not counted as before it: {:.3}",
        found.average_precision_without_hour_of_failure
    );
    println!(
        "{:<16} {:>8} {:>10} {:>9}",
        "any, predicted", "rows", "mean", "came true"
    );
    for bin in found.any.reliability.iter().filter(|b| b.n_rows > 0) {
        println!(
            "{:<16} {:>8} {:>10.3} {:>9.3}",
            format!("{} to {}", bin.from, bin.to),
            bin.n_rows,
            bin.predicted,
            bin.observed
        );
    }
}

fn line(name: &str, s: &ProbabilityScores, w: &Warnings) {
    // Of what never came true nothing can be ranked.
    let ranked = |text: String| if s.n_true > 0 { text } else { "-".to_owned() };
    println!(
        "{name:<10} {:>7} {:>7} {:>8.4} {:>9.4} {:>8.4} {:>11.3} {:>9} {:>7} {:>6}",
        ranked(format!("{:.3}", s.average_precision)),
        ranked(format!("{:.4}", s.auc)),
        s.brier,
        s.brier_of_base_rate,
        s.calibration_error,
        s.calibration_error_high,
        s.n_rows_high,
        ranked(format!("{:.3}", w.f1)),
        s.n_true
    );
}

fn tickets(report: &Report) {
    println!(
        "{:<10} {:>8} {:>12} {:>8} {:>14} {:>8}   lead hours p10/p50/p90",
        "component", "failures", "caught 12 h", "tickets", "right", "planned"
    );
    for (name, counts) in &report.components {
        ticket_line(name.as_str(), counts);
    }
    ticket_line("all", &report.all);
    println!(
        "left out: {} failures of machines that sent nothing in the 24 h before; alarms per machine and month: {:.1}",
        report.all.failures_without_telemetry, report.alarms_per_machine_month
    );
}

fn ticket_line(name: &str, c: &ComponentReport) {
    let percent = |n: usize, of: usize| {
        if of == 0 {
            "-".to_owned()
        } else {
            format!("{n} ({:.1} %)", 100.0 * n as f64 / of as f64)
        }
    };
    let lead = c.lead_hours.map_or_else(
        || "-".to_owned(),
        |l| format!("{:.0} / {:.0} / {:.0}", l.p10, l.p50, l.p90),
    );
    println!(
        "{name:<10} {:>8} {:>12} {:>8} {:>14} {:>8}   {lead}",
        c.failures,
        percent(c.caught_12h, c.failures),
        c.tickets,
        percent(c.tickets_right, c.tickets),
        c.tickets_planned
    );
}
