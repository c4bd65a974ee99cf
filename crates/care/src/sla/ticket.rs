//! The clocks of a ticket, kept with it and said in its history.

use forecare_domain::{
    Actor, Channel, Sla, SlaKind, SlaPoint, Ticket, TicketChange, TicketState, Timestamp,
};

use super::clock::{SlaEvent, SlaSignal, may_be_due, sla_advance, sla_event, sla_started};
use super::terms::SlaTerms;
use crate::lifecycle::{HISTORY_MAX, forecare, record};
use crate::urgency::follow_clock;

/// The clocks of `ticket`: those kept with it, or, where it has none yet, counted from its history (by its
/// present priority) up to the last entry, with nothing said.
#[must_use]
pub fn sla_of(ticket: &Ticket, terms: &SlaTerms) -> Sla {
    if let Some(sla) = &ticket.sla {
        let mut sla = sla.clone();
        let said = sla.said.clone();
        renew(&mut sla, terms);
        sla.said = said;
        return sla;
    }
    let mut sla = sla_started(terms, ticket.priority, ticket.opened_at);
    for change in &ticket.history {
        if change.from != Some(change.to) && change.from.is_some() {
            sla_event(&mut sla, terms, step(change.to, &change.by), change.at);
            sla.said.clear();
        }
    }
    sla
}

/// `ticket` with everything in its history that has fallen due on its clocks by `now`, and what that is.
/// Other terms than those it was counted by are said as well. `None`: nothing has. Store it by comparing versions: who
/// loses finds it said.
#[must_use]
pub fn sla_due(
    ticket: &Ticket,
    terms: &SlaTerms,
    now: Timestamp,
) -> Option<(Ticket, Vec<SlaSignal>)> {
    let (mut sla, renewed) = match &ticket.sla {
        Some(sla) => {
            let mut sla = sla.clone();
            let renewed = renew(&mut sla, terms);
            (sla, renewed)
        }
        None => (sla_of(ticket, terms), None),
    };
    if renewed.is_none() && !may_be_due(&sla, terms, now) {
        return None;
    }
    let is_new = renewed.is_some();
    let mut signals = renewed.unwrap_or_default();
    signals.extend(sla_advance(&mut sla, terms, now));
    if signals.is_empty() && !is_new {
        return None;
    }
    let mut after = ticket.clone();
    if is_new {
        let why = format!("SLA: from now on by {}", terms.name());
        record(&mut after, ticket.state, forecare(), &why, now);
    }
    say(&mut after, &sla, &signals, now);
    after.sla = Some(sla);
    follow_clock(&mut after);
    Some((after, signals))
}

/// Carries the clocks of `before` on into `after`, the ticket after a step at `now` that may have changed state
/// or priority; `by` took the step. Returns what fell due, which is in the history of `after` then.
pub fn sla_changed(
    before: &Ticket,
    after: &mut Ticket,
    terms: &SlaTerms,
    by: &Actor,
    now: Timestamp,
) -> Vec<SlaSignal> {
    let mut sla = sla_of(before, terms);
    // What other terms made due is noticed by the next look at the clocks.
    let changes = after.priority != sla.priority || after.state != before.state;
    let mut early = Vec::new();
    if changes {
        // What fell due before the step is said before it: what ends a ticket stays its last line.
        early = sla_advance(&mut sla, terms, now);
        let own = own_lines(before, after);
        let state = std::mem::replace(&mut after.state, before.state);
        say(after, &sla, &early, now);
        after.state = state;
        after.history.extend(own);
        while after.history.len() > HISTORY_MAX {
            after.history.remove(1);
        }
    }
    let mut signals = Vec::new();
    if after.priority != sla.priority {
        let event = SlaEvent::Priority(after.priority);
        signals.extend(sla_event(&mut sla, terms, event, now));
    }
    if after.state != before.state {
        signals.extend(sla_event(&mut sla, terms, step(after.state, by), now));
    }
    say(after, &sla, &signals, now);
    after.sla = Some(sla);
    if changes {
        follow_clock(after);
    }
    early.extend(signals);
    early
}

/// Puts running clocks under `terms` where they ran under others; what that makes due. What was counted stays; the
/// time since then counts by the new calendar. `None`: these terms apply already, or the work is done.
fn renew(sla: &mut Sla, terms: &SlaTerms) -> Option<Vec<SlaSignal>> {
    let runs_otherwise = |kind: &SlaKind| {
        let clock = sla.clock(*kind);
        clock.stopped_at.is_none() && clock.target_ms != terms.target_ms(*kind, sla.priority)
    };
    let is_other = sla.terms != terms.name() || SlaKind::ALL.iter().any(runs_otherwise);
    if sla.void || sla.resolution.stopped_at.is_some() || !is_other {
        return None;
    }
    let at = sla.counted_to;
    Some(sla_event(sla, terms, SlaEvent::Terms(terms), at))
}

/// Takes the lines out of `after` that the step from `before` has written.
fn own_lines(before: &Ticket, after: &mut Ticket) -> Vec<TicketChange> {
    let mut own = Vec::new();
    while after.history.last() != before.history.last()
        && let Some(line) = after.history.pop()
    {
        own.push(line);
    }
    own.reverse();
    own
}

fn step(to: TicketState, by: &Actor) -> SlaEvent<'static> {
    let by_person = match by.channel {
        Channel::Api | Channel::Console | Channel::Cli => true,
        // The first response is ours to give.
        Channel::System | Channel::Device | Channel::Customer | Channel::Email => false,
    };
    SlaEvent::State { to, by_person }
}

fn say(ticket: &mut Ticket, sla: &Sla, signals: &[SlaSignal], now: Timestamp) {
    for signal in signals {
        let clock = sla.clock(signal.key.clock);
        let hours = clock.target_ms as f64 / 3_600_000.0;
        let name = match signal.key.clock {
            SlaKind::FirstResponse => "first response",
            SlaKind::Resolution => "resolution",
        };
        let said = match signal.key.point {
            SlaPoint::Mark(100) => format!("the target of {hours:.1} h was missed"),
            SlaPoint::Mark(percent) => format!("{percent} % of {hours:.1} h were used"),
            SlaPoint::Level(level) => {
                format!("escalated to level {level}: {}", signal.to.join(", "))
            }
        };
        let why = format!("SLA {name}: {said} at {}", signal.at);
        record(ticket, ticket.state, forecare(), &why, now);
    }
}
