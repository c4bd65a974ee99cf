//! The report on a terminal: a line per figure, a column per policy.

use super::report::{IntervalReport, PolicyReport, Report};

/// A line of the report: what, and its value under each policy. An empty list of values makes a heading.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) values: Vec<String>,
}

/// The report as text.
pub(crate) fn table(report: &Report) -> String {
    let lines = lines(report);
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let first = width(&mut lines.iter().map(|l| l.what.chars().count()));
    let columns: Vec<usize> = (0..report.policies.len())
        .map(|i| {
            width(
                &mut lines
                    .iter()
                    .filter_map(|l| l.values.get(i))
                    .map(|v| v.chars().count()),
            )
        })
        .collect();
    let mut text = String::new();
    for notice in notices(report) {
        text += &format!("note: {notice}\n");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    for line in &lines {
        if line.values.is_empty() {
            text += &format!("\n{}\n", line.what);
            continue;
        }
        let mut row = format!("  {:<first$}", line.what);
        for (value, column) in line.values.iter().zip(&columns) {
            row += &format!("   {value:>column$}");
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// What a reader must know before the figures.
pub(crate) fn notices(report: &Report) -> Vec<String> {
    let truth = &report.truth;
    let mut notices = Vec::new();
    if report.rows_scored == 0 {
        notices.push("no reading is stored in the period: nothing was scored".to_owned());
    }
    if truth.faults == 0 {
        notices.push(
            "no failure is known in the period: what a policy prevents cannot be told, only what it costs".to_owned(),
        );
    }
    if !truth.complete {
        notices.push(
            "failures are not completely on record (--failures, --failure-code): a visit that finds nothing cannot be told from one that came early"
                .to_owned(),
        );
    }
    if truth.left_out_without_readings > 0 {
        notices.push(format!(
            "{} failures left out: their machines sent nothing in the 24 h before",
            truth.left_out_without_readings
        ));
    }
    if truth.lines_of_other_devices > 0 {
        notices.push(format!(
            "{} lines of the failures file name devices that are not in this instance",
            truth.lines_of_other_devices
        ));
    }
    if !truth.failure_codes_absent.is_empty() {
        notices.push(format!(
            "warning: no event has the failure code {}: no failure is known from it (`forecare export --what events` shows the codes that came)",
            truth.failure_codes_absent.join(", ")
        ));
    }
    for policy in &report.policies {
        if policy.crew.jobs_without_skills > 0 {
            notices.push(format!(
                "{}: {} jobs wait for ever: nobody has the skills",
                policy.name, policy.crew.jobs_without_skills
            ));
        }
    }
    notices
}

/// The figures.
pub(crate) fn lines(report: &Report) -> Vec<Line> {
    let currency = &report.currency;
    let mut lines = Vec::new();
    let heading = |lines: &mut Vec<Line>, what: &str| {
        lines.push(Line {
            what: what.to_owned(),
            values: Vec::new(),
        });
    };
    let line = |lines: &mut Vec<Line>, what: &str, value: &dyn Fn(&PolicyReport) -> String| {
        lines.push(Line {
            what: what.to_owned(),
            values: report.policies.iter().map(value).collect(),
        });
    };
    line(&mut lines, "policy", &|p| p.name.clone());
    heading(&mut lines, "Failures");
    line(&mut lines, "in the period", &|p| {
        p.faults.faults.to_string()
    });
    line(&mut lines, "prevented: work began before", &|p| {
        of(p.faults.prevented, p.faults.faults)
    });
    line(&mut lines, "too late: ticket open, not begun", &|p| {
        of(p.faults.too_late, p.faults.faults)
    });
    line(&mut lines, "missed: no ticket", &|p| {
        of(p.faults.missed, p.faults.faults)
    });
    for (i, class) in report
        .policies
        .first()
        .map_or(&[][..], |p| &p.faults.by_lead)
        .iter()
        .enumerate()
    {
        let what = match i {
            0 => "by lead time: no ticket".to_owned(),
            _ => format!("              {}", class.lead),
        };
        line(&mut lines, &what, &|p| {
            p.faults.by_lead.get(i).map_or_else(String::new, |c| {
                if i == 0 {
                    c.faults.to_string()
                } else {
                    format!(
                        "{} ({} prevented, part there {})",
                        c.faults, c.prevented, c.part_there
                    )
                }
            })
        });
    }
    line(
        &mut lines,
        "ticket earlier than the parts' lead time",
        &|p| p.faults.earlier_than_lead_time.to_string(),
    );
    line(&mut lines, "part there before the failure / not", &|p| {
        format!("{} / {}", p.faults.part_there, p.faults.part_not_there)
    });

    heading(&mut lines, "Visits and tickets");
    line(&mut lines, "tickets opened", &|p| {
        p.tickets.opened.to_string()
    });
    line(&mut lines, "planned visits", &|p| {
        p.visits.visits.to_string()
    });
    line(&mut lines, "  right: the fault was coming", &|p| {
        p.visits.right.to_string()
    });
    line(&mut lines, "  another fault was coming", &|p| {
        p.visits.other_fault.to_string()
    });
    line(&mut lines, "  false: nothing was coming", &|p| {
        p.visits.nothing_found.to_string()
    });
    line(&mut lines, "  cannot be told", &|p| {
        p.visits.unknown.to_string()
    });
    line(&mut lines, "  right, of those that can be told", &|p| {
        p.visits
            .precision
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share))
    });
    line(&mut lines, "tickets repaired after the failure", &|p| {
        (p.tickets.repaired_after_failure + p.tickets.ended_by_failure).to_string()
    });
    line(
        &mut lines,
        "tickets withdrawn / overtaken / open at the end",
        &|p| {
            format!(
                "{} / {} / {}",
                p.tickets.withdrawn, p.tickets.overtaken, p.tickets.open_at_end
            )
        },
    );
    line(&mut lines, "alarms per device and month", &|p| {
        format!("{:.2}", p.alarms_per_device_month)
    });

    heading(&mut lines, "Parts and people");
    line(&mut lines, "parts reserved / of these back-ordered", &|p| {
        format!("{} / {}", p.parts.reserved, p.parts.back_ordered)
    });
    line(&mut lines, "part-days held softly / for good", &|p| {
        format!(
            "{} / {}",
            days(p.parts.soft_part_days),
            days(p.parts.hard_part_days)
        )
    });
    line(&mut lines, "stock-outs at a failure", &|p| {
        p.parts.stock_outs_at_failure.to_string()
    });
    line(&mut lines, "crew hours planned / corrective", &|p| {
        format!(
            "{} / {}",
            grouped(p.crew.planned_hours),
            grouped(p.crew.corrective_hours)
        )
    });
    line(&mut lines, "overtime hours", &|p| {
        grouped(p.crew.overtime_hours)
    });
    line(&mut lines, "wait for somebody free, mean / max h", &|p| {
        format!(
            "{:.1} / {:.1}",
            p.crew.wait_for_crew_hours_mean, p.crew.wait_for_crew_hours_max
        )
    });
    line(&mut lines, "wait for parts, mean / max h", &|p| {
        format!(
            "{:.1} / {:.1}",
            p.crew.wait_for_parts_hours_mean, p.crew.wait_for_parts_hours_max
        )
    });

    heading(&mut lines, &format!("Costs, {currency}"));
    line(&mut lines, "planned visits", &|p| grouped(p.costs.visits));
    line(&mut lines, "failures", &|p| grouped(p.costs.failures));
    line(&mut lines, "overtime", &|p| grouped(p.costs.overtime));
    line(&mut lines, "parts held", &|p| grouped(p.costs.holding));
    line(&mut lines, "policy, total", &|p| grouped(p.costs.total));
    line(&mut lines, "run to failure", &|p| {
        grouped(p.costs.run_to_failure)
    });
    line(&mut lines, "  saved against it", &|p| {
        saved(p.costs.saved_against_run_to_failure, p.costs.run_to_failure)
    });
    line(&mut lines, "replacement at the best fixed age", &|p| {
        grouped(p.costs.interval_best.cost)
    });
    line(&mut lines, "  saved against it", &|p| {
        of_interval(&p.costs.interval_best)
    });
    if report
        .policies
        .iter()
        .any(|p| p.costs.interval_given.is_some())
    {
        line(&mut lines, "replacement at the given age", &|p| {
            let given = p.costs.interval_given.as_ref();
            given.map_or_else(|| "-".to_owned(), |i| grouped(i.cost))
        });
        line(&mut lines, "  saved against it", &|p| {
            let given = p.costs.interval_given.as_ref();
            given.map_or_else(|| "-".to_owned(), of_interval)
        });
    }
    mode_lines(report, &mut lines);
    lines
}

/// A line per failure mode that had a fault or a ticket.
fn mode_lines(report: &Report, lines: &mut Vec<Line>) {
    let Some(first) = report.policies.first() else {
        return;
    };
    lines.push(Line {
        what: "By failure mode: failures, prevented | visits right, false, unknown | saved against run to failure"
            .to_owned(),
        values: Vec::new(),
    });
    for (i, mode) in first.modes.iter().enumerate() {
        let has_any = |p: &PolicyReport| {
            p.modes
                .get(i)
                .is_some_and(|m| m.faults.faults + m.tickets > 0)
        };
        if !report.policies.iter().any(has_any) {
            continue;
        }
        let value = |p: &PolicyReport| {
            p.modes.get(i).map_or_else(String::new, |m| {
                format!(
                    "{}, {} | {}, {}, {} | {}",
                    m.faults.faults,
                    m.faults.prevented,
                    m.visits.right,
                    m.visits.nothing_found + m.visits.other_fault,
                    m.visits.unknown,
                    grouped(m.run_to_failure - m.cost)
                )
            })
        };
        lines.push(Line {
            what: format!("{} {}", mode.class, mode.mode),
            values: report.policies.iter().map(value).collect(),
        });
    }
}

fn of(n: usize, whole: usize) -> String {
    if whole == 0 {
        return "0".to_owned();
    }
    format!("{n} ({:.0} %)", 100.0 * n as f64 / whole as f64)
}

fn saved(amount: f64, of: f64) -> String {
    if of > 0.0 {
        format!("{} ({:.0} %)", grouped(amount), 100.0 * amount / of)
    } else {
        grouped(amount)
    }
}

fn of_interval(interval: &IntervalReport) -> String {
    saved(interval.saved, interval.cost)
}

fn days(days: f64) -> String {
    if days < 100.0 {
        format!("{days:.1}")
    } else {
        grouped(days)
    }
}

/// Whole units, thousands apart: 1 234 567.
pub(crate) fn grouped(amount: f64) -> String {
    let digits = format!("{:.0}", amount.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if amount <= -0.5 {
        text.insert(0, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let plain = |amount| grouped(amount).replace('\u{202f}', "_");
        assert_eq!(plain(1_234_567.4), "1_234_567");
        assert_eq!(plain(-1_000.0), "-1_000");
        assert_eq!(plain(-0.2), "0");
        assert_eq!(plain(999.0), "999");
    }
}
