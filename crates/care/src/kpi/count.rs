//! Counting.

use std::collections::BTreeMap;

use forecare_domain::{AssetId, TicketId, TicketState, Timestamp, Verdict};

use super::case::{Case, Dimension, Failure, Machine, Promise, failures_of};
use super::figure::{self, Figure, FigureKind};
use super::links::Links;

/// From, inclusive, to, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Begin.
    pub from: Timestamp,
    /// End; not later than what is known.
    pub to: Timestamp,
}

impl Period {
    fn has(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// What is counted.
#[derive(Debug, Clone, Default)]
pub struct Scope<'a> {
    /// Tickets that count.
    pub cases: Vec<&'a Case>,
    /// Machines that count.
    pub machines: Vec<&'a Machine>,
}

/// `scope` told apart by a dimension; what has none of it is under the empty name.
#[must_use]
pub fn by<'a>(scope: &Scope<'a>, dimension: Dimension) -> BTreeMap<String, Scope<'a>> {
    let mut groups: BTreeMap<String, Scope<'a>> = BTreeMap::new();
    for case in &scope.cases {
        let name = case.cut.get(&dimension).cloned().unwrap_or_default();
        groups.entry(name).or_default().cases.push(case);
    }
    for machine in &scope.machines {
        if let Some(name) = machine.cut.get(&dimension) {
            groups
                .entry(name.clone())
                .or_default()
                .machines
                .push(machine);
        }
    }
    groups
}

/// Every figure of `scope` in `period`. `links` are those of all tickets there are, not of the scope's alone.
#[must_use]
pub fn figures(scope: &Scope<'_>, links: &Links, period: Period) -> Vec<Figure> {
    let all = failures_of(scope.cases.iter().copied());
    let begun: Vec<Failure<'_>> = all.iter().filter(|f| period.has(f.at)).cloned().collect();
    let mttr = mean_time_to_repair(&begun, period);
    let down_hours = down_hours(&all, period);
    let mut found = service(scope, period);
    found.extend(quality(scope, links, period));
    found.extend(answers(scope, period));
    found.extend(reliability(scope, &begun, mttr, down_hours, period));
    found.extend(warnings(scope, links, &begun, mttr, period));
    found
}

fn service(scope: &Scope<'_>, period: Period) -> Vec<Figure> {
    let cases = || scope.cases.iter().copied();
    let opened: Vec<&Case> = cases().filter(|c| period.has(c.opened_at)).collect();
    let cancelled = cases().filter(|c| within(c.first(TicketState::Cancelled), period));
    let end = Timestamp::from_millis(period.to.as_millis().saturating_sub(1));
    let open: Vec<&Case> = cases()
        .filter(|c| c.state_at(end).is_some_and(TicketState::is_open))
        .collect();
    let ages = open
        .iter()
        .map(|c| (period.to.hours_since(c.opened_at), c.ticket))
        .collect();
    let responses = cases()
        .filter(|c| within(c.responded_at, period))
        .filter_map(|c| Some((c.responded_at?.hours_since(c.opened_at), c.ticket)))
        .collect();
    let resolutions = resolved(scope, period)
        .filter_map(|c| {
            let at = c.first(TicketState::Resolved)?;
            Some((at.hours_since(c.opened_at), c.ticket))
        })
        .collect();
    let (ages, responses) = (Spread::of(ages), Spread::of(responses));
    let resolutions = Spread::of(resolutions);
    let promise = |kind, of: fn(&Case) -> Option<Promise>| {
        let mut share = Share::default();
        for case in &opened {
            if let Some(promise) = of(case) {
                share.add(
                    case.ticket,
                    match promise {
                        Promise::Kept => Some(true),
                        Promise::Broken => Some(false),
                        Promise::Running => None,
                    },
                );
            }
        }
        share.figure(kind)
    };
    vec![
        count(&figure::OPENED, opened.iter().copied()),
        count(&figure::RESOLVED, resolved(scope, period)),
        count(&figure::CANCELLED, cancelled),
        count(&figure::BACKLOG, open.iter().copied()),
        ages.quantile(&figure::BACKLOG_AGE, 0.5),
        ages.quantile(&figure::BACKLOG_OLD, 0.9),
        responses.quantile(&figure::RESPONSE, 0.5),
        responses.quantile(&figure::RESPONSE_SLOW, 0.9),
        resolutions.quantile(&figure::RESOLUTION, 0.5),
        resolutions.quantile(&figure::RESOLUTION_SLOW, 0.9),
        promise(&figure::RESPONSE_KEPT, |c| c.response),
        promise(&figure::RESOLUTION_KEPT, |c| c.resolution),
    ]
}

fn quality(scope: &Scope<'_>, links: &Links, period: Period) -> Vec<Figure> {
    let (mut contact, mut fixed, mut reopened) =
        (Share::default(), Share::default(), Share::default());
    let mut costs = Vec::new();
    for case in resolved(scope, period) {
        let visited = case.first(TicketState::Dispatched).is_some();
        contact.add(case.ticket, Some(!visited));
        let again = within(
            case.first(TicketState::Reopened),
            Period {
                from: case.opened_at,
                ..period
            },
        );
        reopened.add(case.ticket, Some(again));
        if is_mended(case) {
            fixed.add(case.ticket, links.is_fixed(case, period.to));
        }
        costs.extend(case.cost.map(|cost| (cost, case.ticket)));
    }
    let mut at_hand = Share::default();
    let opened = scope.cases.iter().filter(|c| period.has(c.opened_at));
    for (ticket, is_at_hand) in opened.filter_map(|c| Some((c.ticket, c.at_hand?))) {
        at_hand.add(ticket, Some(is_at_hand));
    }
    vec![
        contact.figure(&figure::FIRST_CONTACT),
        fixed.figure(&figure::FIRST_TIME_FIX),
        reopened.figure(&figure::REOPENED),
        at_hand.figure(&figure::AT_HAND),
        Spread::of(costs).mean(&figure::COST),
    ]
}

/// There was a fault, and it was worked on.
fn is_mended(case: &Case) -> bool {
    case.verdict.as_ref().is_some_and(|verdict| match verdict {
        Verdict::Confirmed { .. }
        | Verdict::WrongMode { .. }
        | Verdict::TooEarly
        | Verdict::Done => true,
        Verdict::NoFaultFound | Verdict::DataFault => false,
    })
}

fn answers(scope: &Scope<'_>, period: Period) -> Vec<Figure> {
    let mut content = Share::default();
    let (mut recommending, mut efforts) = (Vec::new(), Vec::new());
    for case in resolved(scope, period) {
        if let Some(csat) = case.answers.csat {
            content.add(case.ticket, Some(csat >= 4));
        }
        recommending.extend(case.answers.nps.map(|nps| {
            let points = match nps {
                9.. => 100.0,
                7..=8 => 0.0,
                _ => -100.0,
            };
            (points, case.ticket)
        }));
        efforts.extend(case.answers.ces.map(|ces| (f64::from(ces), case.ticket)));
    }
    vec![
        content.figure(&figure::CSAT),
        Spread::of(recommending).mean(&figure::NPS),
        Spread::of(efforts).mean(&figure::CES),
    ]
}

fn reliability(
    scope: &Scope<'_>,
    failures: &[Failure<'_>],
    mttr: Option<f64>,
    down_hours: f64,
    period: Period,
) -> Vec<Figure> {
    let hours = scope.machines.iter().map(|machine| {
        period
            .to
            .hours_since(machine.since.max(period.from))
            .max(0.0)
    });
    let hours: f64 = hours.sum();
    let tickets: Vec<TicketId> = failures.iter().map(|f| f.case.ticket).collect();
    let of = |kind, value| Figure {
        kind,
        value,
        n: failures.len(),
        n_unknown: 0,
        tickets: tickets.clone(),
    };
    let has_machines = hours > 0.0;
    let mended = failures
        .iter()
        .filter(|f| within(f.mended_at, period))
        .count();
    vec![
        of(&figure::FAILURES, Some(failures.len() as f64)),
        of(
            &figure::MTBF,
            (has_machines && (down_hours > 0.0 || !failures.is_empty()))
                .then(|| hours / failures.len() as f64),
        ),
        Figure {
            n: mended,
            n_unknown: failures.len() - mended,
            ..of(&figure::MTTR, mttr)
        },
        of(
            &figure::AVAILABILITY,
            (has_machines && (down_hours > 0.0 || !failures.is_empty()))
                .then(|| (1.0 - down_hours / hours).max(0.0)),
        ),
    ]
}

/// Hours of the period in which machines stood: two tickets for one standstill count once.
fn down_hours(failures: &[Failure<'_>], period: Period) -> f64 {
    let mut spans: BTreeMap<&AssetId, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
    for failure in failures.iter().filter(|failure| failure.case.stood) {
        let from = failure.at.max(period.from);
        let to = failure.mended_at.map_or(period.to, |at| at.min(period.to));
        if from < to {
            let of_machine = spans.entry(&failure.case.asset).or_default();
            of_machine.push((from, to));
        }
    }
    let mut hours = 0.0;
    for of_machine in spans.values_mut() {
        of_machine.sort();
        let mut counted_to = period.from;
        for (from, to) in of_machine {
            let from = counted_to.max(*from);
            hours += to.hours_since(from).max(0.0);
            counted_to = counted_to.max(*to);
        }
    }
    hours
}

fn mean_time_to_repair(failures: &[Failure<'_>], period: Period) -> Option<f64> {
    let hours: Vec<f64> = failures
        .iter()
        .filter_map(|f| Some(f.mended_at.filter(|at| *at < period.to)?.hours_since(f.at)))
        .collect();
    (!hours.is_empty()).then(|| hours.iter().sum::<f64>() / hours.len() as f64)
}

fn warnings(
    scope: &Scope<'_>,
    links: &Links,
    failures: &[Failure<'_>],
    mttr: Option<f64>,
    period: Period,
) -> Vec<Figure> {
    let warned: Vec<&Case> = scope
        .cases
        .iter()
        .copied()
        .filter(|c| c.is_warning && period.has(c.opened_at))
        .collect();
    let (mut right, mut foreseen, mut enough) =
        (Share::default(), Share::default(), Share::default());
    let (mut leads, mut avoided) = (Vec::new(), Vec::new());
    let mut n_prevented = 0_usize;
    let mut lead = |ticket: TicketId, part_lead_hours: Option<f64>, hours: f64| {
        leads.push((hours, ticket));
        if let Some(part) = part_lead_hours {
            enough.add(ticket, Some(hours >= part));
        }
    };
    for case in &warned {
        let verdict = case.verdict.as_ref();
        let is_right = verdict.map(|v| matches!(v, Verdict::Confirmed { .. }));
        right.add(case.ticket, is_right);
        if is_right == Some(true) && !links.has_struck(case.ticket) {
            n_prevented += 1;
            foreseen.add(case.ticket, Some(true));
            if let (Some(failure), Some(acting)) = (case.cost_of_failure, case.cost_of_acting) {
                avoided.push((failure - acting, case.ticket));
            }
            let begun = case.first(TicketState::InProgress);
            if let Some(begun) = begun.or(case.first(TicketState::Resolved)) {
                let hours = begun.hours_since(case.opened_at);
                lead(case.ticket, case.part_lead_hours, hours);
            }
        } else if is_right == Some(false)
            && let Some(acting) = case.cost_of_acting
        {
            avoided.push((-acting, case.ticket));
        }
    }
    for failure in failures {
        let warning = links.warning_of(failure.case.ticket);
        foreseen.add(
            failure.case.ticket,
            // A failure whose mode nobody has named may have been foreseen or not.
            failure.case.found_mode().map(|_| warning.is_some()),
        );
        if let Some(warning) = warning {
            let hours = failure.at.hours_since(warning.opened_at);
            lead(warning.ticket, warning.part_lead_hours, hours);
        }
    }
    let leads = Spread::of(leads);
    let sum = avoided.iter().map(|(money, _)| money).sum();
    let downtime = (n_prevented > 0).then_some(mttr).flatten();
    vec![
        count(&figure::WARNINGS, warned.iter().copied()),
        right.figure(&figure::PRECISION),
        foreseen.figure(&figure::RECALL),
        leads.quantile(&figure::LEAD, 0.5),
        leads.quantile(&figure::LEAD_SHORT, 0.1),
        enough.figure(&figure::LEAD_ENOUGH),
        Figure {
            kind: &figure::AVOIDED_COST,
            value: (!avoided.is_empty()).then_some(sum),
            n: avoided.len(),
            n_unknown: right.n_unknown,
            tickets: avoided.iter().map(|(_, ticket)| *ticket).collect(),
        },
        Figure {
            kind: &figure::AVOIDED_DOWNTIME,
            value: downtime.map(|hours| hours * n_prevented as f64),
            n: n_prevented,
            n_unknown: right.n_unknown,
            tickets: Vec::new(),
        },
    ]
}

fn resolved<'a>(scope: &'a Scope<'_>, period: Period) -> impl Iterator<Item = &'a Case> {
    scope
        .cases
        .iter()
        .copied()
        .filter(move |c| within(c.first(TicketState::Resolved), period))
}

fn within(at: Option<Timestamp>, period: Period) -> bool {
    at.is_some_and(|at| period.has(at))
}

fn count<'a>(kind: &'static FigureKind, cases: impl Iterator<Item = &'a Case>) -> Figure {
    let tickets: Vec<TicketId> = cases.map(|c| c.ticket).collect();
    Figure {
        kind,
        value: Some(tickets.len() as f64),
        n: tickets.len(),
        n_unknown: 0,
        tickets,
    }
}

/// Entries that count for something, against it, or not yet.
#[derive(Default)]
struct Share {
    hits: Vec<TicketId>,
    n_misses: usize,
    n_unknown: usize,
}

impl Share {
    fn add(&mut self, ticket: TicketId, counts: Option<bool>) {
        match counts {
            Some(true) => self.hits.push(ticket),
            Some(false) => self.n_misses += 1,
            None => self.n_unknown += 1,
        }
    }

    fn figure(&self, kind: &'static FigureKind) -> Figure {
        let n = self.hits.len() + self.n_misses;
        Figure {
            kind,
            value: (n > 0).then(|| self.hits.len() as f64 / n as f64),
            n,
            n_unknown: self.n_unknown,
            tickets: self.hits.clone(),
        }
    }
}

/// Values with their tickets, in order.
struct Spread(Vec<(f64, TicketId)>);

impl Spread {
    fn of(mut values: Vec<(f64, TicketId)>) -> Self {
        values.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Self(values)
    }

    /// The least value that at least `share` of all do not exceed: the nearest rank.
    fn quantile(&self, kind: &'static FigureKind, share: f64) -> Figure {
        let n = self.0.len();
        let value = (1..=n)
            .find(|rank| *rank as f64 >= share * n as f64)
            .and_then(|rank| self.0.get(rank - 1))
            .map(|(value, _)| *value);
        self.figure(kind, value)
    }

    fn mean(&self, kind: &'static FigureKind) -> Figure {
        let n = self.0.len();
        let sum: f64 = self.0.iter().map(|(value, _)| value).sum();
        self.figure(kind, (n > 0).then(|| sum / n as f64))
    }

    fn figure(&self, kind: &'static FigureKind, value: Option<f64>) -> Figure {
        Figure {
            kind,
            value,
            n: self.0.len(),
            n_unknown: 0,
            tickets: self.0.iter().map(|(_, ticket)| *ticket).collect(),
        }
    }
}
