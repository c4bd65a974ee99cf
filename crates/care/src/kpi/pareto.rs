//! Which faults cost most: what engineering should mend for good.

use std::collections::BTreeMap;

use forecare_domain::{TicketId, TicketState, Verdict};

use super::case::{Case, Dimension};
use super::count::Period;

/// Faults of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct ParetoLine {
    /// What they have in common, in the order asked for; empty where it is not known.
    pub group: Vec<String>,
    /// How many.
    pub n: usize,
    /// Of these, machines that failed; the others were found before.
    pub n_failures: usize,
    /// What they cost, in the catalogue's currency, as far as it is known.
    pub cost: f64,
    /// Hours that machines stood, as far as they are mended.
    pub downtime_hours: f64,
    /// Share of all faults in this line and those before it, 0 to 1.
    pub cumulative: f64,
    /// Their tickets.
    pub tickets: Vec<TicketId>,
}

/// Faults that were found, by the dimensions in `by`: of tickets resolved in `period`, the most frequent kind first, of
/// equally frequent ones the dearer. What turned out to be nothing is left out.
pub fn pareto<'a>(
    cases: impl IntoIterator<Item = &'a Case>,
    by: &[Dimension],
    period: Period,
) -> Vec<ParetoLine> {
    let mut lines: BTreeMap<Vec<String>, ParetoLine> = BTreeMap::new();
    let mut n_all = 0_usize;
    for case in cases {
        let Some(resolved_at) = case.first(TicketState::Resolved) else {
            continue;
        };
        let was_fault = match &case.verdict {
            Some(Verdict::Confirmed { .. } | Verdict::WrongMode { .. }) => true,
            // Work without a finding: there was a fault where something had failed.
            Some(Verdict::Done) => case.is_failure,
            Some(Verdict::NoFaultFound | Verdict::DataFault | Verdict::TooEarly) | None => false,
        };
        if !was_fault || resolved_at < period.from || resolved_at >= period.to {
            continue;
        }
        let group: Vec<String> = by
            .iter()
            .map(|dimension| found_in(case, *dimension))
            .collect();
        n_all += 1;
        let line = lines.entry(group.clone()).or_insert(ParetoLine {
            group,
            n: 0,
            n_failures: 0,
            cost: 0.0,
            downtime_hours: 0.0,
            cumulative: 0.0,
            tickets: Vec::new(),
        });
        line.n += 1;
        line.cost += case.cost.unwrap_or(0.0);
        line.tickets.push(case.ticket);
        if case.is_failure {
            line.n_failures += 1;
            if case.stood {
                let mended = case.last(TicketState::Resolved).unwrap_or(resolved_at);
                line.downtime_hours += mended.hours_since(case.opened_at);
            }
        }
    }
    let mut lines: Vec<ParetoLine> = lines.into_values().collect();
    lines.sort_by(|a, b| {
        (b.n.cmp(&a.n))
            .then(b.cost.total_cmp(&a.cost))
            .then(a.group.cmp(&b.group))
    });
    let mut n_so_far = 0;
    for line in &mut lines {
        n_so_far += line.n;
        line.cumulative = n_so_far as f64 / n_all as f64;
    }
    lines
}

/// The mode that was found counts, not the one that was expected.
fn found_in(case: &Case, dimension: Dimension) -> String {
    if let (Dimension::Mode, Some(mode)) = (dimension, case.found_mode()) {
        return mode.to_string();
    }
    case.cut.get(&dimension).cloned().unwrap_or_default()
}
