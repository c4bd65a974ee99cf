//! The report's charts, as SVG. Every figure in them stands in the tables too.

use super::report::{PolicyReport, Report};
use super::table::grouped;

const WIDTH: f64 = 720.0;
/// Room for the labels left of horizontal bars.
const LABELS: f64 = 200.0;
/// Room for the figures right of them.
const FIGURES: f64 = 110.0;
const BAR: f64 = 26.0;
const BAR_STEP: f64 = 40.0;

/// A part of a bar: what, how much, its colour class.
struct Part {
    what: &'static str,
    amount: f64,
    class: &'static str,
}

/// A bar with its label.
struct Bar {
    label: String,
    parts: Vec<Part>,
    figure: String,
}

/// Text that may hold anything, for HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// Costs of each policy beside running to failure and replacing at a fixed age.
pub(crate) fn costs(report: &Report) -> String {
    let mut bars = Vec::new();
    for policy in &report.policies {
        let costs = &policy.costs;
        bars.push(Bar {
            label: policy.name.clone(),
            parts: vec![
                part("failures", costs.failures, "bad"),
                part("planned visits", costs.visits, "work"),
                part("overtime", costs.overtime, "late"),
                part("parts held", costs.holding, "idle"),
            ],
            figure: grouped(costs.total),
        });
    }
    // By policy: their costs may differ.
    let mut baselines: Vec<(usize, Bar)> = Vec::new();
    for (place, policy) in report.policies.iter().enumerate() {
        let costs = &policy.costs;
        let mut add = |label: &str, failures: f64, work: f64| {
            let bar = Bar {
                label: label.to_owned(),
                parts: vec![
                    part("failures", failures, "bad"),
                    part("replacements", work, "swap"),
                ],
                figure: grouped(failures + work),
            };
            baselines.push((place, bar));
        };
        add("run to failure", costs.run_to_failure, 0.0);
        let split = |chosen: &dyn Fn(&super::report::ModeReport) -> Option<(f64, f64)>| {
            policy
                .modes
                .iter()
                .filter_map(chosen)
                .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        };
        let share = |cost: &super::interval::AgeCost, m: &super::report::ModeReport| {
            let per_failure = if m.faults.faults > 0 {
                m.run_to_failure / m.faults.faults as f64
            } else {
                0.0
            };
            let failures = (cost.failures * per_failure).min(cost.cost);
            (failures, cost.cost - failures)
        };
        let best = split(&|m| Some(share(&m.interval_best, m)));
        add("best fixed age", best.0, best.1);
        if costs.interval_given.is_some() {
            let given = split(&|m| m.interval_given.as_ref().map(|g| share(g, m)));
            add("given fixed age", given.0, given.1);
        }
    }
    bars.extend(told_apart(baselines));
    horizontal(&bars, &format!("Costs in {}", report.currency))
}

/// The baselines of all policies: one for all where they are the same, each with its policy's letter where they differ.
fn told_apart(baselines: Vec<(usize, Bar)>) -> Vec<Bar> {
    let differs = |bar: &Bar| {
        let of_label = baselines.iter().filter(|(_, b)| b.label == bar.label);
        of_label.clone().any(|(_, b)| b.figure != bar.figure)
    };
    let differing: Vec<bool> = baselines.iter().map(|(_, bar)| differs(bar)).collect();
    let mut told: Vec<Bar> = Vec::new();
    for ((place, mut bar), differs) in baselines.into_iter().zip(differing) {
        if differs {
            bar.label = format!("{}, {}", bar.label, letter(place));
        }
        if told.iter().all(|b| b.label != bar.label) {
            told.push(bar);
        }
    }
    told
}

/// What the planned visits found.
pub(crate) fn visits(report: &Report) -> String {
    let bars: Vec<Bar> = report
        .policies
        .iter()
        .map(|policy| {
            let v = &policy.visits;
            Bar {
                label: policy.name.clone(),
                parts: vec![
                    part("right: the fault was coming", v.right as f64, "good"),
                    part("another fault was coming", v.other_fault as f64, "late"),
                    part("false: nothing was coming", v.nothing_found as f64, "bad"),
                    part("cannot be told", v.unknown as f64, "idle"),
                ],
                figure: format!("{} visits", v.visits),
            }
        })
        .collect();
    horizontal(&bars, "Planned visits by what was found")
}

fn part(what: &'static str, amount: f64, class: &'static str) -> Part {
    Part {
        what,
        amount,
        class,
    }
}

fn horizontal(bars: &[Bar], title: &str) -> String {
    let sum = |bar: &Bar| -> f64 { bar.parts.iter().map(|p| p.amount.max(0.0)).sum() };
    let most = bars.iter().map(sum).fold(0.0, f64::max);
    if most <= 0.0 {
        return empty(title, "nothing to show: all are 0");
    }
    let height = bars.len() as f64 * BAR_STEP + 8.0;
    let scale = (WIDTH - LABELS - FIGURES) / most;
    let mut svg = open(title, height);
    for (i, bar) in bars.iter().enumerate() {
        let y = i as f64 * BAR_STEP + 6.0;
        let middle = y + BAR / 2.0 + 4.5;
        svg += &format!(
            "<text x=\"{:.0}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LABELS - 12.0,
            escaped(&shortened(&bar.label))
        );
        let mut x = LABELS;
        for part in bar.parts.iter().filter(|p| p.amount > 0.0) {
            let width = part.amount * scale;
            svg += &format!(
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"><title>{}: {}</title></rect>",
                part.class,
                part.what,
                grouped(part.amount)
            );
            x += width;
        }
        svg += &format!(
            "<text class=\"figure\" x=\"{:.1}\" y=\"{middle:.1}\">{}</text>",
            x + 8.0,
            bar.figure
        );
    }
    svg += "</svg>";
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for part in bars
        .iter()
        .flat_map(|b| &b.parts)
        .filter(|p| p.amount > 0.0)
    {
        if !shown.contains(&(part.what, part.class)) {
            shown.push((part.what, part.class));
        }
    }
    svg + &legend(&shown)
}

/// Failures by lead time, a group of columns per class, a column per policy.
pub(crate) fn leads(report: &Report) -> String {
    let title = "Failures by hours from ticket to failure";
    let classes: Vec<&str> = report
        .policies
        .first()
        .map_or(&[][..], |p| &p.faults.by_lead)
        .iter()
        .map(|c| c.lead.as_str())
        .collect();
    let of = |p: &PolicyReport, i: usize| {
        p.faults
            .by_lead
            .get(i)
            .map_or((0, 0), |c| (c.faults, c.prevented))
    };
    let all = report.policies.iter();
    let most = all
        .flat_map(|p| (0..classes.len()).map(move |i| of(p, i).0))
        .max()
        .unwrap_or(0);
    if most == 0 {
        return empty(title, "no failure is known in the period");
    }
    let (height, foot, head) = (250.0, 44.0, 24.0);
    let scale = (height - foot - head) / most as f64;
    let group = WIDTH / classes.len() as f64;
    let n = report.policies.len() as f64;
    let column = (group - 24.0).min(46.0 * n) / n;
    let mut svg = open(title, height);
    let floor = height - foot;
    svg += &format!("<line class=\"axis\" x1=\"0\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\"/>");
    for (i, class) in classes.iter().enumerate() {
        let left = i as f64 * group + (group - column * n) / 2.0;
        for (j, policy) in report.policies.iter().enumerate() {
            let (faults, prevented) = of(policy, i);
            let x = left + j as f64 * column + 2.0;
            let width = column - 4.0;
            let lost = faults - prevented;
            let (up, down) = (prevented as f64 * scale, lost as f64 * scale);
            let class = if i == 0 { "bad" } else { "late" };
            for (y, tall, class, what, n) in [
                (floor - up, up, "good", "prevented", prevented),
                (floor - up - down, down, class, "not prevented", lost),
            ] {
                if tall > 0.0 {
                    svg += &format!(
                        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\"><title>{}: {n} {what}</title></rect>",
                        escaped(&policy.name)
                    );
                }
            }
            let centre = x + width / 2.0;
            svg += &format!(
                "<text class=\"figure\" text-anchor=\"middle\" x=\"{centre:.1}\" y=\"{:.1}\">{faults}</text>",
                floor - up - down - 6.0
            );
            if report.policies.len() > 1 {
                svg += &format!(
                    "<text class=\"small\" text-anchor=\"middle\" x=\"{centre:.1}\" y=\"{:.1}\">{}</text>",
                    floor + 15.0,
                    letter(j)
                );
            }
        }
        svg += &format!(
            "<text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{class}</text>",
            i as f64 * group + group / 2.0,
            floor + 34.0
        );
    }
    svg += "</svg>";
    svg + &legend(&[
        ("prevented", "good"),
        ("ticket open, too late", "late"),
        ("missed", "bad"),
    ])
}

/// Costs so far, over the period.
pub(crate) fn curve(report: &Report) -> String {
    let title = format!("Costs so far, {}", report.currency);
    let points = report.policies.iter().flat_map(|p| &p.curve);
    let most = points
        .map(|c| c.policy.max(c.run_to_failure))
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return empty(&title, "nothing was spent in the period");
    }
    let (height, foot, head, left) = (270.0, 28.0, 12.0, 84.0);
    let span_ms = (report.to.as_millis() - report.from.as_millis()).max(1) as f64;
    let x = |at: forecare_domain::Timestamp| {
        left + (at.as_millis() - report.from.as_millis()) as f64 / span_ms * (WIDTH - left - 12.0)
    };
    let y = |amount: f64| height - foot - amount / most * (height - foot - head);
    let mut svg = open(&title, height);
    for i in 0..=4 {
        let amount = most * f64::from(i) / 4.0;
        let at = y(amount);
        svg += &format!(
            "<line class=\"grid\" x1=\"{left}\" y1=\"{at:.1}\" x2=\"{WIDTH}\" y2=\"{at:.1}\"/><text class=\"small\" text-anchor=\"end\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
            left - 8.0,
            at + 4.0,
            grouped(amount)
        );
    }
    for (share, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        #[allow(clippy::cast_possible_truncation, reason = "a share of a time")]
        let ms = (span_ms * share) as i64;
        let at = forecare_domain::Timestamp::from_millis(report.from.as_millis() + ms);
        let day: String = at.to_string().chars().take(10).collect();
        svg += &format!(
            "<text class=\"small\" text-anchor=\"{anchor}\" x=\"{:.0}\" y=\"{:.0}\">{day}</text>",
            x(at),
            height - 8.0
        );
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut draw = |class: &str, values: Vec<(f64, f64)>| {
        let path: Vec<String> = values
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        svg += &format!(
            "<polyline class=\"{class}\" points=\"{}\"/>",
            path.join(" ")
        );
    };
    let failing = |p: &PolicyReport| -> Vec<(f64, f64)> {
        let points = p.curve.iter().map(|c| (x(c.at), y(c.run_to_failure)));
        points.collect()
    };
    let mut baselines: Vec<Vec<(f64, f64)>> = report.policies.iter().map(failing).collect();
    baselines.dedup();
    if let [one] = baselines.as_mut_slice() {
        draw("line idle-line", std::mem::take(one));
        lines.push(("run to failure".to_owned(), "idle".to_owned()));
    } else {
        for (j, values) in baselines.into_iter().enumerate() {
            draw(&format!("line dashed p{j}-line"), values);
            let name = format!("dashed: run to failure, {}", letter(j));
            lines.push((name, format!("p{j}")));
        }
    }
    for (j, policy) in report.policies.iter().enumerate() {
        let values = policy.curve.iter().map(|c| (x(c.at), y(c.policy)));
        draw(&format!("line p{j}-line"), values.collect());
        lines.push((policy.name.clone(), format!("p{j}")));
    }
    svg += "</svg>";
    let shown: Vec<(&str, &str)> = lines
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    svg + &legend(&shown)
}

/// The policy's letter where several stand side by side.
pub(crate) fn letter(place: usize) -> char {
    ['A', 'B'].get(place).copied().unwrap_or('?')
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<h2>{}</h2><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(title),
        escaped(title)
    )
}

fn empty(title: &str, why: &str) -> String {
    format!(
        "<h2>{}</h2><p class=\"empty\">{}</p>",
        escaped(title),
        escaped(why)
    )
}

fn legend(entries: &[(&str, &str)]) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(what, class)| format!("<li><i class=\"{class}\"></i>{}</li>", escaped(what)))
        .collect();
    format!("<ul class=\"legend\">{}</ul>", entries.join(""))
}

/// A name that fits beside a bar.
fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 26;
    if name.chars().count() <= CHARS_MAX {
        return name.to_owned();
    }
    let start: String = name.chars().take(CHARS_MAX - 1).collect();
    format!("{start}…")
}
