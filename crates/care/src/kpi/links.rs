//! What tickets say of each other, whatever group each of them counts to: found once, over all of them.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{AssetId, ModeName, TicketId, TicketState, Timestamp, Verdict};

use super::case::{Case, failures_of};

/// A fault that comes back within so many days was not fixed.
const COMES_BACK_DAYS: f64 = 30.0;

/// How tickets belong together.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// Of mended faults those that came back, or may have.
    returns: BTreeMap<TicketId, Return>,
    /// Of failures that were warned of: the warning.
    warnings: BTreeMap<TicketId, Warning>,
    /// Warnings whose machine failed of what they warned of.
    struck: BTreeSet<TicketId>,
}

/// When a fault came back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Return {
    /// For certain.
    at: Option<Timestamp>,
    /// A ticket says so that nobody has judged yet.
    perhaps_at: Option<Timestamp>,
}

/// A warning that was open when the machine failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Warning {
    pub(super) ticket: TicketId,
    pub(super) opened_at: Timestamp,
    pub(super) part_lead_hours: Option<f64>,
}

impl Links {
    /// Finds them.
    #[must_use]
    pub fn of(cases: &[Case]) -> Self {
        let mut links = Self::default();
        let mut faults: BTreeMap<(&AssetId, &ModeName), Vec<&Case>> = BTreeMap::new();
        let mut warnings: BTreeMap<(&AssetId, &ModeName), Vec<&Case>> = BTreeMap::new();
        for case in cases {
            if let Some(mode) = case.found_mode() {
                faults.entry((&case.asset, mode)).or_default().push(case);
            }
            if let Some(mode) = case.mode.as_ref().filter(|_| case.is_warning) {
                warnings.entry((&case.asset, mode)).or_default().push(case);
            }
        }
        for same in faults.values() {
            for case in same {
                if let Some(found) = returned(case, same) {
                    links.returns.insert(case.ticket, found);
                }
            }
        }
        for failure in failures_of(cases) {
            let case = failure.case;
            let mode = case.found_mode();
            let of_machine = mode.and_then(|mode| warnings.get(&(&case.asset, mode)));
            let mut open = of_machine.into_iter().flatten().filter(|warning| {
                let state = warning.state_at(failure.at);
                warning.ticket != case.ticket
                    && warning.opened_at < failure.at
                    && state.is_some_and(TicketState::is_open)
            });
            if let Some(warning) = open.next() {
                links.struck.insert(warning.ticket);
                let warning = Warning {
                    ticket: warning.ticket,
                    opened_at: warning.opened_at,
                    part_lead_hours: warning.part_lead_hours,
                };
                links.warnings.insert(case.ticket, warning);
            }
        }
        links
    }

    /// Whether the fault that `case` mended has stayed away, as known at `now`; `None`: that cannot be told yet.
    pub(super) fn is_fixed(&self, case: &Case, now: Timestamp) -> Option<bool> {
        let until = looked_until(case.first(TicketState::Resolved)?);
        let in_time = |at: &Timestamp| *at <= until && *at < now;
        let found = self.returns.get(&case.ticket).copied().unwrap_or_default();
        let reopened = case.first(TicketState::Reopened);
        if found.at.filter(in_time).is_some() || reopened.filter(in_time).is_some() {
            Some(false)
        } else if found.perhaps_at.filter(in_time).is_some() {
            None
        } else {
            (until < now).then_some(true)
        }
    }

    /// The warning of a failure, by the ticket that tells of it.
    pub(super) fn warning_of(&self, failure: TicketId) -> Option<&Warning> {
        self.warnings.get(&failure)
    }

    /// Whether the machine failed of what `warning` warned of, while it was open.
    pub(super) fn has_struck(&self, warning: TicketId) -> bool {
        self.struck.contains(&warning)
    }
}

fn looked_until(mended_at: Timestamp) -> Timestamp {
    mended_at.plus_hours(24.0 * COMES_BACK_DAYS)
}

/// Whether one of `same`, tickets for the same machine and mode, tells that the fault of `case` came back.
fn returned(case: &Case, same: &[&Case]) -> Option<Return> {
    let mended_at = case.first(TicketState::Resolved)?;
    let until = looked_until(mended_at);
    let mut found = Return::default();
    for other in same {
        let at = other.opened_at;
        let was_nothing = matches!(
            other.verdict,
            Some(Verdict::NoFaultFound | Verdict::DataFault)
        );
        let is_void = was_nothing || other.first(TicketState::Cancelled).is_some();
        if other.ticket == case.ticket || is_void || at <= mended_at || at > until {
            continue;
        }
        let earliest = if other.verdict.is_some() {
            &mut found.at
        } else {
            &mut found.perhaps_at
        };
        *earliest = Some(earliest.map_or(at, |before| before.min(at)));
    }
    (found != Return::default()).then_some(found)
}
