//! The report as one page that needs nothing else.

use super::charts::{costs, curve, escaped, leads, letter, visits};
use super::report::{EachFault, ModeReport, PolicyReport, Report};
use super::table::{grouped, lines, notices};

/// Faults listed one by one.
const FAULTS_LISTED_MAX: usize = 200;

const STYLE: &str = include_str!("report.css");

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let day = |at: forecare_domain::Timestamp| at.to_string().chars().take(10).collect::<String>();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Forecare backtest {} to {}</title><style>{STYLE}</style></head><body><main>",
        day(report.from),
        day(report.to)
    );
    html += &format!(
        "<header><p class=\"brand\">Forecare backtest</p><h1>What would have happened</h1><p>{} to {} · {} devices · {} rows scored · {} known failures</p></header>",
        day(report.from),
        day(report.to),
        grouped(report.devices as f64),
        grouped(report.rows_scored as f64),
        grouped(report.truth.faults as f64),
    );
    let notices = notices(report);
    if !notices.is_empty() {
        let items: Vec<String> = notices
            .iter()
            .map(|n| format!("<li>{}</li>", escaped(n)))
            .collect();
        html += &format!("<ul class=\"notices\">{}</ul>", items.join(""));
    }
    html += "<section class=\"policies\">";
    for (place, policy) in report.policies.iter().enumerate() {
        html += &cards(report, place, policy);
    }
    html += "</section>";
    for chart in [costs(report), leads(report), curve(report), visits(report)] {
        html += &format!("<section class=\"chart\">{chart}</section>");
    }
    html += &figures(report);
    html += &modes(report);
    for policy in &report.policies {
        html += &faults(policy);
    }
    html += &format!("{READING}</main></body></html>\n");
    html
}

fn cards(report: &Report, place: usize, policy: &PolicyReport) -> String {
    let faults = &policy.faults;
    let share = |n: usize, of: usize| {
        if of == 0 {
            "–".to_owned()
        } else {
            format!("{:.0} %", 100.0 * n as f64 / of as f64)
        }
    };
    let saved = policy.costs.saved_against_run_to_failure;
    let cards = [
        (
            share(faults.prevented, faults.faults),
            format!("of {} failures prevented", faults.faults),
        ),
        (
            policy
                .visits
                .precision
                .map_or_else(|| "–".to_owned(), |p| format!("{:.0} %", 100.0 * p)),
            format!(
                "of {} visits right; {} cannot be told",
                policy.visits.visits, policy.visits.unknown
            ),
        ),
        (
            format!("{} {}", grouped(saved), escaped(&report.currency)),
            "saved against run to failure".to_owned(),
        ),
        (
            format!(
                "{} {}",
                grouped(policy.costs.interval_best.saved),
                escaped(&report.currency)
            ),
            "saved against the best fixed age".to_owned(),
        ),
    ];
    let title = if report.policies.len() > 1 {
        format!(
            "<b class=\"p{place}\">{}</b> {}",
            letter(place),
            escaped(&policy.name)
        )
    } else {
        escaped(&policy.name)
    };
    let cards: Vec<String> = cards
        .iter()
        .map(|(figure, what)| format!("<div><strong>{figure}</strong><span>{what}</span></div>"))
        .collect();
    let models: Vec<String> = policy
        .models
        .iter()
        .map(|(class, hash)| {
            let short: String = hash.chars().take(12).collect();
            format!("{} {short}", escaped(class.as_str()))
        })
        .collect();
    let models = if models.is_empty() {
        "no model: alarms and their precision speak".to_owned()
    } else {
        format!("model: {}", models.join(", "))
    };
    format!(
        "<article><h2>{title}</h2><p class=\"model\">{models}</p><div class=\"cards\">{}</div></article>",
        cards.join("")
    )
}

fn figures(report: &Report) -> String {
    let mut html = "<section><h2>All figures</h2><table class=\"figures\"><tbody>".to_owned();
    // Failure modes have a table of their own.
    let of_modes = report.policies.first().map_or(0, |p| p.modes.len());
    let all = lines(report);
    let n_lines = all
        .iter()
        .position(|l| l.values.is_empty() && l.what.starts_with("By failure mode"))
        .filter(|_| of_modes > 0)
        .unwrap_or(all.len());
    for line in &all[..n_lines] {
        if line.values.is_empty() {
            html += &format!(
                "<tr><th class=\"group\" colspan=\"{}\">{}</th></tr>",
                report.policies.len() + 1,
                escaped(&line.what)
            );
            continue;
        }
        let values: Vec<String> = line
            .values
            .iter()
            .map(|v| format!("<td>{}</td>", escaped(v)))
            .collect();
        html += &format!(
            "<tr><th>{}</th>{}</tr>",
            escaped(&line.what),
            values.join("")
        );
    }
    html + "</tbody></table></section>"
}

fn modes(report: &Report) -> String {
    let mut html = format!(
        "<section><h2>By class and failure mode</h2><table><thead><tr><th>Policy</th><th>Class</th><th>Failure mode</th><th>Failures</th><th>Prevented</th><th>Too late</th><th>Missed</th><th>Visits right / false / unknown</th><th>Cost, {c}</th><th>Run to failure, {c}</th><th>Best fixed age</th></tr></thead><tbody>",
        c = escaped(&report.currency)
    );
    let mut n_rows = 0;
    for policy in &report.policies {
        let speaks = |m: &&ModeReport| m.faults.faults + m.tickets > 0;
        for mode in policy.modes.iter().filter(speaks) {
            n_rows += 1;
            html += &format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} / {} / {}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&policy.name),
                escaped(mode.class.as_str()),
                escaped(&mode.title),
                mode.faults.faults,
                mode.faults.prevented,
                mode.faults.too_late,
                mode.faults.missed,
                mode.visits.right,
                mode.visits.nothing_found + mode.visits.other_fault,
                mode.visits.unknown,
                grouped(mode.cost),
                grouped(mode.run_to_failure),
                mode.interval_best.line()
            );
        }
    }
    if n_rows == 0 {
        return "<section><h2>By class and failure mode</h2><p class=\"empty\">neither a failure nor a ticket in the period</p></section>".to_owned();
    }
    html + "</tbody></table></section>"
}

fn faults(policy: &PolicyReport) -> String {
    let title = format!("Each failure under “{}”", escaped(&policy.name));
    if policy.each_fault.is_empty() {
        return format!(
            "<section><h2>{title}</h2><p class=\"empty\">no failure is known in the period</p></section>"
        );
    }
    let mut html = format!(
        "<section><details><summary><h2>{title}</h2></summary><table><thead><tr><th>When</th><th>Device</th><th>Failure mode</th><th>Known from</th><th>Outcome</th><th>Ticket before, h</th><th>Part there</th></tr></thead><tbody>"
    );
    for fault in policy.each_fault.iter().take(FAULTS_LISTED_MAX) {
        html += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td>{}</td></tr>",
            fault.at,
            escaped(&fault.device),
            escaped(fault.mode.as_str()),
            fault.source.words(),
            fault.outcome,
            fault.outcome.replace('_', " "),
            fault
                .lead_hours
                .map_or_else(|| "–".to_owned(), |h| format!("{h:.1}")),
            part_there(fault)
        );
    }
    html += "</tbody></table>";
    if policy.each_fault.len() > FAULTS_LISTED_MAX {
        html += &format!(
            "<p>The first {FAULTS_LISTED_MAX} of {}; report.json has all.</p>",
            policy.each_fault.len()
        );
    }
    html + "</details></section>"
}

fn part_there(fault: &EachFault) -> &'static str {
    match fault.part_there {
        Some(true) => "yes",
        Some(false) => "no",
        None => "–",
    }
}

const READING: &str = "<section><h2>How to read this</h2><p>Detectors, decision, stock and dispatch are those of the service, run over the stored readings in simulated time. <b>Prevented</b>: work on the right failure mode began before the failure. <b>Too late</b>: the ticket was open, work had not begun. <b>Right</b> visits are those after which the fault would have struck within the horizon. Visits whose truth is not known count as cost and never as a gain. A failure that was prevented takes its recorded readings up to the recorded repair with it: they are not judged. <b>Run to failure</b> is every known failure at its full cost. <b>Best fixed age</b> is the age replacement that costs least on the lives in this very history, always on time and without waiting: a hard rival.</p></section>";
