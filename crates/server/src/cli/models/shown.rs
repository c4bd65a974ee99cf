//! Models on the terminal.

use anyhow::Result;
use forecare_domain::{ClassName, Timestamp};
use forecare_prognosis::{LifeModel, LifeScores, ModeScores, ModelCard};
use serde::Serialize;

use crate::models::compare::Comparison;
use crate::models::learn::Span;
use crate::models::library::{Named, Role};
use crate::models::record::Roles;
use crate::models::watch::Seen;

/// Changes shown by `models show`.
const HISTORY_SHOWN: usize = 20;

/// One version of the list.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    class: String,
    version: String,
    role: &'static str,
    /// The readings it was learnt from.
    data_from: Option<Timestamp>,
    data_to: Option<Timestamp>,
    /// When it came among the versions.
    added_at: Option<Timestamp>,
    sha256: Option<String>,
    data: String,
    /// Cross-validated, the mean over modes.
    average_precision: Option<f64>,
    /// Why it cannot be used.
    trouble: Option<String>,
}

pub(super) fn line(
    class: &ClassName,
    version: &str,
    role: Role,
    named: &Result<Named>,
    roles: &Roles,
) -> Line {
    let card = named.as_ref().ok().map(|n| n.model.card());
    Line {
        class: class.to_string(),
        version: version.to_owned(),
        role: role_shown(role, version, roles),
        data_from: card.map(|c| c.from),
        data_to: card.map(|c| c.to),
        added_at: roles.added_at(version),
        sha256: card.map(|c| c.sha256.clone()),
        data: card.map(|c| c.data.clone()).unwrap_or_default(),
        average_precision: card.and_then(mean_average_precision),
        trouble: named.as_ref().err().map(|error| format!("{error:#}")),
    }
}

/// What a version does, or that Forecare took it out of service.
fn role_shown(role: Role, version: &str, roles: &Roles) -> &'static str {
    if role == Role::Kept && roles.was_demoted(version) {
        "demoted"
    } else {
        role.label()
    }
}

fn mean_average_precision(card: &ModelCard) -> Option<f64> {
    let n = card.scores.len();
    let sum: f64 = card.scores.iter().map(|s| s.average_precision).sum();
    (n > 0).then(|| sum / n as f64)
}

pub(super) fn table(lines: &[Line]) -> String {
    let class_width = width(lines.iter().map(|l| l.class.as_str()), "class");
    let version_width = width(lines.iter().map(|l| l.version.as_str()), "version");
    let mut text = format!(
        "{:<class_width$}  {:<version_width$}  {:<7}  {:<10}  {:<10}  {:<10}  {:<12}  {:>17}  learnt from\n",
        "class", "version", "role", "added", "data from", "data to", "sha256", "average precision"
    );
    for line in lines {
        let [added, from, to] =
            [line.added_at, line.data_from, line.data_to].map(|at| at.map(day).unwrap_or_default());
        let hash: String = line
            .sha256
            .iter()
            .flat_map(|h| h.chars().take(12))
            .collect();
        let precision = line
            .average_precision
            .map(|p| format!("{p:.3}"))
            .unwrap_or_default();
        let data = match &line.trouble {
            Some(trouble) => format!("cannot be used: {trouble}"),
            None => line.data.clone(),
        };
        text += &format!(
            "{:<class_width$}  {:<version_width$}  {:<7}  {added:<10}  {from:<10}  {to:<10}  {hash:<12}  {precision:>17}  {data}\n",
            line.class, line.version, line.role,
        );
    }
    text
}

/// `2026-01-31`.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn width<'a>(texts: impl Iterator<Item = &'a str>, title: &str) -> usize {
    texts
        .map(|t| t.chars().count())
        .chain([title.len()])
        .max()
        .unwrap_or(0)
}

pub(super) fn card(class: &ClassName, named: &Named, role: Role, roles: &Roles) -> String {
    let card = named.model.card();
    let added = roles
        .added_at(&named.version)
        .map_or_else(|| "not known".to_owned(), |at| at.to_string());
    let mut text = format!(
        "{class} {}, {}\n\n  learnt from  {}\n  readings     {} to {}, {} machines, {} rows\n  added        {} (when it was learnt is not in it: the same data makes the same file)\n  horizon      {} h\n  settings     {}\n  sha256       {}\n",
        named.version,
        role_shown(role, &named.version, roles),
        card.data,
        card.from,
        card.to,
        card.n_machines,
        card.n_rows,
        added,
        card.horizon_hours,
        card.settings,
        card.sha256,
    );
    if named.model.modes().next().is_some() {
        text += &format!(
            "  features     {}: {}\n",
            card.features.len(),
            card.features.join(", ")
        );
    }
    if let Some(life) = named.model.life() {
        text += &remaining_life(life, &named.model.spec().metrics);
    }
    if !card.scores.is_empty() {
        text += "\nScores on machines left out of the training:\n";
        text += &scores(&card.scores);
        text += "\nReliability (rows of machines left out; predicted against what came true):\n";
        for score in &card.scores {
            text += &reliability(score);
        }
    }
    for refused in &card.modes_refused {
        text += &format!("  {refused}\n");
    }
    for mode in &card.modes_left_out {
        text +=
            &format!("  {mode}: never occurs in this history, the model does not speak of it\n");
    }
    text
}

/// How remaining life was learnt, and how good it is on machines that were not learnt from.
fn remaining_life(life: &LifeModel, metrics: &[String]) -> String {
    let metrics = life.metrics(metrics);
    let mut text = format!(
        "\nRemaining life:\n  told apart   up to {:.0} h\n  features     {}: levels and slopes over three windows and the mean of life, of {} metrics and what wears in them: {}\n",
        life.cap_hours(),
        life.features().len(),
        metrics.len(),
        metrics.join(", ")
    );
    match life.mode() {
        Some(mode) => {
            text += &format!("  ends in      {mode}: its probability follows from the interval\n");
        }
        None => text += "  ends in      several failure modes: no probability follows from it\n",
    }
    let Some(s) = life.scores() else {
        return text;
    };
    text += &format!(
        "  learnt from  {} machines, {} readings to the failure; median life {:.0} h; {} operating regime(s)\n  held out     RMSE {:.1} h over all readings, {:.1} h with every machine asked once; mean error {:+.1} h\n  p10 to p90   holds {:.0} % of the true remaining lives (80 % is meant), {:.0} h wide\n",
        s.n_machines,
        s.n_readings,
        s.life_hours_p50,
        s.n_regimes,
        s.rmse_hours,
        s.rmse_hours_one_cut,
        s.bias_hours,
        100.0 * s.coverage,
        s.interval_hours
    );
    text
}

fn scores(scores: &[ModeScores]) -> String {
    let mode_width = width(scores.iter().map(|s| s.mode.as_str()), "mode");
    let mut text = format!(
        "  {:<mode_width$}  {:>8}  {:>6}  {:>17}  {:>8}  {:>6}  {:>21}\n",
        "mode",
        "failures",
        "AUC",
        "average precision",
        "log loss",
        "Brier",
        "rows before a failure"
    );
    for s in scores {
        text += &format!(
            "  {:<mode_width$}  {:>8}  {:>6.3}  {:>17.3}  {:>8.4}  {:>6.4}  {:>21}\n",
            s.mode,
            s.n_failures,
            s.auc,
            s.average_precision,
            s.log_loss,
            s.brier,
            s.n_rows_before_failure
        );
    }
    text
}

fn reliability(score: &ModeScores) -> String {
    let mut text = format!(
        "  {}\n    {:>13}  {:>8}  {:>9}  {:>8}\n",
        score.mode, "probability", "rows", "predicted", "observed"
    );
    for bin in score.reliability.iter().filter(|b| b.n_rows > 0) {
        text += &format!(
            "    {:>5.2} to {:>4.2}  {:>8}  {:>9.3}  {:>8.3}\n",
            bin.from, bin.to, bin.n_rows, bin.predicted, bin.observed
        );
    }
    text
}

/// What is seen of a version in service.
pub(super) fn in_service(named: &Named, role: Role, seen: &Seen) -> String {
    let mut text = String::new();
    // What was seen is kept for a while after a version has lost its role.
    if role == Role::Live && seen.is_live(named.sha256()) {
        text += "\nIn service:\n";
        match &seen.precision {
            Some(p) => {
                text += &format!(
                    "  precision of its tickets  {:.0} % ({} verdicts; 90 % interval {:.0} to {:.0} %)\n",
                    100.0 * p.mean,
                    p.n_verdicts,
                    100.0 * p.low,
                    100.0 * p.high
                );
            }
            None => text += "  precision of its tickets  no verdicts yet\n",
        }
        match &seen.drift {
            Some(d) => {
                text += &format!(
                    "  drift of its inputs       stability index {:.3} ({} device hours, {} to {})\n",
                    d.drift.psi, d.drift.n_rows, d.from, d.to
                );
                for (name, psi) in &d.drift.worst {
                    text += &format!("    {psi:>8.3}  {name}\n");
                }
            }
            None => text += "  drift of its inputs       no full window yet\n",
        }
    }
    if role == Role::Shadow && seen.is_shadow(named.sha256()) {
        text += &trial_lines(seen);
    }
    text
}

/// The trial of two versions, where they are the live and the shadow one.
pub(super) fn trial(named: &[Named; 2], seen: &Seen) -> String {
    let [a, b] = named.each_ref().map(Named::sha256);
    let tried = seen.is_live(a) && seen.is_shadow(b) || seen.is_live(b) && seen.is_shadow(a);
    if tried {
        trial_lines(seen)
    } else {
        String::new()
    }
}

fn trial_lines(seen: &Seen) -> String {
    let Some(trial) = &seen.trial else {
        return "\nOn trial beside the live model: no row yet\n".to_owned();
    };
    let mut text = format!(
        "\nOn trial beside the live model, {} to {}, {} rows:\n",
        trial.from, trial.to, trial.n_rows
    );
    if let Some(agreement) = trial.agreement() {
        text += &format!(
            "  rows both would act on alike  {:.2} %\n",
            100.0 * agreement
        );
    }
    if let Some(difference) = trial.mean_difference() {
        text += &format!("  mean difference of probability  {difference:.4}\n");
    }
    if let Some((live, shadow)) = trial.alarm_rates() {
        text += &format!(
            "  alarms of the model alone     live {} ({live:.2} per device and month), shadow {} ({shadow:.2})\n",
            trial.live_alarms, trial.shadow_alarms
        );
    }
    match trial.average_precision() {
        Some((live, shadow, n)) => {
            text += &format!(
                "  average precision             live {live:.3}, shadow {shadow:.3} ({n} verdicts on what the live one raised)\n"
            );
        }
        None => {
            text +=
                "  average precision             not yet: it takes confirmed and refuted tickets\n"
        }
    }
    text
}

/// What was done to a version, newest last.
pub(super) fn history(roles: &Roles, version: &str) -> String {
    let of_it = |named: &Option<String>| named.as_deref() == Some(version);
    let changes: Vec<_> = roles
        .history
        .iter()
        .filter(|c| of_it(&c.version) || of_it(&c.from))
        .collect();
    let mut text = "\nHistory:\n".to_owned();
    for change in &changes[changes.len().saturating_sub(HISTORY_SHOWN)..] {
        let from = change
            .from
            .as_deref()
            .map_or(String::new(), |from| format!(", before: {from} live"));
        let why = if change.why.is_empty() {
            String::new()
        } else {
            format!(": {}", change.why)
        };
        text += &format!(
            "  {}  {:<10}  {} {}{from}{why}\n",
            change.at,
            change.by,
            change.action.label(),
            change.version.as_deref().unwrap_or("none"),
        );
    }
    text
}

/// Two cards side by side.
pub(super) fn cards(names: &[String; 2], named: &[Named; 2]) -> String {
    let cards = named.each_ref().map(|n| n.model.card());
    let lives = named
        .each_ref()
        .map(|n| n.model.life().and_then(LifeModel::scores));
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut row = |name: &str, of: &dyn Fn(&ModelCard) -> String| {
        rows.push([name.to_owned(), of(cards[0]), of(cards[1])]);
    };
    row("readings from", &|c| c.from.to_string());
    row("readings to", &|c| c.to.to_string());
    row("machines", &|c| c.n_machines.to_string());
    row("rows", &|c| c.n_rows.to_string());
    row("sha256", &|c| c.sha256.chars().take(12).collect());
    let mut modes: Vec<&str> = cards
        .iter()
        .flat_map(|c| &c.scores)
        .map(|s| s.mode.as_str())
        .collect();
    modes.sort_unstable();
    modes.dedup();
    for mode in modes {
        let of = |c: &ModelCard, what: fn(&ModeScores) -> String| {
            c.scores
                .iter()
                .find(|s| s.mode == mode)
                .map_or_else(|| "-".to_owned(), what)
        };
        row(&format!("{mode}: failures"), &|c| {
            of(c, |s| s.n_failures.to_string())
        });
        row(&format!("{mode}: AUC"), &|c| {
            of(c, |s| format!("{:.3}", s.auc))
        });
        row(&format!("{mode}: average precision"), &|c| {
            of(c, |s| format!("{:.3}", s.average_precision))
        });
        row(&format!("{mode}: Brier score"), &|c| {
            of(c, |s| format!("{:.4}", s.brier))
        });
    }
    if lives.iter().any(Option::is_some) {
        let mut row = |name: &str, of: &dyn Fn(&LifeScores) -> String| {
            let [a, b] = lives.map(|life| life.map_or_else(|| "-".to_owned(), of));
            rows.push([name.to_owned(), a, b]);
        };
        row("remaining life: machines", &|s| s.n_machines.to_string());
        row("remaining life: RMSE", &|s| {
            format!("{:.1} h", s.rmse_hours)
        });
        row("remaining life: p10 to p90 holds", &|s| {
            format!("{:.0} %", 100.0 * s.coverage)
        });
        row("remaining life: p10 to p90 width", &|s| {
            format!("{:.0} h", s.interval_hours)
        });
    }
    side_by_side(names, rows)
}

/// What both would have said on the stored history.
pub(super) fn comparison(
    names: &[String; 2],
    named: &[Named; 2],
    found: &Comparison,
    span: Span,
) -> String {
    let end = |ts: Timestamp, open: Timestamp, word: &str| {
        if ts == open {
            word.to_owned()
        } else {
            ts.to_string()
        }
    };
    let mut text = format!(
        "\nOn the stored history, {} to {}: {} devices, {} rows\n",
        end(span.from, Timestamp::MIN, "the first reading"),
        end(span.to, Timestamp::MAX, "the last"),
        found.n_devices,
        found.n_rows
    );
    if found.n_rows == 0 {
        return text;
    }
    text += &format!(
        "  rows both would act on alike: {:.2} %\n",
        100.0 * found.agreement()
    );
    let two = |of: &dyn Fn(usize) -> String| [of(0), of(1)];
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut row = |name: &str, [a, b]: [String; 2]| rows.push([name.to_owned(), a, b]);
    row(
        "alarms of the model alone",
        two(&|i| found.each[i].alarms.to_string()),
    );
    row(
        "per device and month",
        two(&|i| format!("{:.2}", found.alarms_per_device_month(i))),
    );
    row(
        "confirmed faults it had an alarm for",
        two(&|i| format!("{} of {}", found.each[i].confirmed_seen, found.n_confirmed)),
    );
    row(
        "visits for nothing it had an alarm for",
        two(&|i| format!("{} of {}", found.each[i].refuted_seen, found.n_refuted)),
    );
    row(
        "average precision on the verdicts",
        two(&|i| {
            found.each[i]
                .average_precision()
                .map_or_else(|| "-".to_owned(), |p| format!("{p:.3}"))
        }),
    );
    text += &side_by_side(names, rows);
    for (name, named) in names.iter().zip(named) {
        let card = named.model.card();
        if card.data.starts_with("stored history") && span.from <= card.to {
            text += &format!(
                "{name} was learnt from readings up to {}: up to there this is no test of it (--from {})\n",
                card.to, card.to
            );
        }
    }
    text
}

fn side_by_side(names: &[String; 2], rows: Vec<[String; 3]>) -> String {
    let first = width(rows.iter().map(|r| r[0].as_str()), "");
    let [a, b] = [1, 2].map(|i: usize| width(rows.iter().map(|r| r[i].as_str()), &names[i - 1]));
    let mut text = format!("  {:<first$}  {:>a$}  {:>b$}\n", "", names[0], names[1]);
    for [name, one, other] in rows {
        text += &format!("  {name:<first$}  {one:>a$}  {other:>b$}\n");
    }
    text
}
