//! Occasions in the life of machines and contracts: pure functions of dates, so that an occasion is the same however
//! often, and after whatever pause, it is looked for.

use forecare_domain::{Ticket, TicketState, Timestamp};

use super::facts::Occasion;
use super::rules::Trigger;
use crate::schedule::{Covered, Look, look};

/// An occasion that came up while nobody looked is made up for so long, hours: 30 days. What lies further back when a
/// rule is new is left alone.
pub const MADE_UP_FOR_HOURS: f64 = 720.0;

/// What is known of a machine or a contract.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Life<'a> {
    /// Begin of the day on which it was installed.
    pub installed_at: Option<Timestamp>,
    /// Begin of the day on which it went into operation.
    pub commissioned_at: Option<Timestamp>,
    /// End of the last day of its warranty.
    pub warranty_ends_at: Option<Timestamp>,
    /// End of the last day of the contract; `None`: it goes on, or is renewed already.
    pub contract_ends_at: Option<Timestamp>,
    /// Version of its firmware.
    pub firmware: Option<&'a str>,
    /// Its newest reading.
    pub heard_at: Option<Timestamp>,
}

/// The occasion of `trigger` that `now` lies in, if it lies in one. Events of tickets and counters have none here.
#[must_use]
pub fn occasion(trigger: &Trigger, life: &Life<'_>, now: Timestamp) -> Option<Occasion> {
    match trigger {
        Trigger::Installed { days } => {
            let begin = life.installed_at?;
            after(begin, *days, now, |day| {
                format!("{days} days after the installation on {day}")
            })
        }
        Trigger::Age { days, repeats } => {
            let begin = life.commissioned_at.or(life.installed_at)?;
            let age = now.hours_since(begin) / 24.0;
            let reached = if *repeats {
                (age / days).floor() * days
            } else {
                *days
            };
            if reached < *days {
                return None;
            }
            after(begin, reached, now, |day| {
                format!("{reached} days in operation since {day}")
            })
        }
        Trigger::WarrantyEnding { days } => before(life.warranty_ends_at?, *days, now, "warranty"),
        Trigger::ContractEnding { days } => before(life.contract_ends_at?, *days, now, "contract"),
        Trigger::Firmware { versions } => {
            let runs = life.firmware?;
            versions
                .iter()
                .any(|version| matches(version, runs))
                .then(|| Occasion {
                    key: format!("firmware-{runs}"),
                    what: format!("runs firmware {runs}"),
                    at: now,
                })
        }
        Trigger::Silent { hours } => {
            let heard = life.heard_at?;
            let at = heard.plus_hours(*hours);
            within(at, at.plus_hours(MADE_UP_FOR_HOURS), now).then(|| Occasion {
                key: format!("silent-{}", heard.as_millis()),
                what: format!("no reading since {heard}"),
                at,
            })
        }
        Trigger::Notice(_)
        | Trigger::SurveyAnswered
        | Trigger::Waiting { .. }
        | Trigger::Cycles { .. } => None,
    }
}

fn within(from: Timestamp, to: Timestamp, now: Timestamp) -> bool {
    from <= now && now < to
}

fn after(
    begin: Timestamp,
    days: f64,
    now: Timestamp,
    what: impl Fn(&str) -> String,
) -> Option<Occasion> {
    let at = begin.plus_hours(days * 24.0);
    let day = day_of(begin);
    within(at, at.plus_hours(MADE_UP_FOR_HOURS), now).then(|| Occasion {
        key: format!("{day}+{days}"),
        what: what(&day),
        at,
    })
}

/// Useful until the end itself: a rule that is new speaks of what ends soon.
fn before(end: Timestamp, days: f64, now: Timestamp, of: &str) -> Option<Occasion> {
    let at = end.plus_hours(-days * 24.0);
    let day = day_of(end);
    within(at, end, now).then(|| Occasion {
        key: format!("{day}-{days}"),
        what: format!("the {of} ends on {day}"),
        at,
    })
}

/// The day in UTC, as in `2026-01-31`.
fn day_of(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// `2.1.*` matches whatever begins with `2.1.`, anything else itself.
fn matches(pattern: &str, version: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => version.starts_with(begin),
        None => pattern == version,
    }
}

/// Looks at a counter. `covered`: what was kept; returns what to keep from now on, and the occasion if one was reached.
#[must_use]
pub fn counted(
    trigger: &Trigger,
    value: f64,
    covered: Option<Covered>,
    now: Timestamp,
) -> (Option<Covered>, Option<Occasion>) {
    let Trigger::Cycles {
        counter,
        every,
        once,
    } = trigger
    else {
        return (covered, None);
    };
    match look(*every, 0.0, value, covered) {
        Look::Wait => (covered, None),
        Look::Keep(next) => (Some(next), None),
        // Of a single mark only the first multiple counts.
        Look::Open(next) if *once && covered.is_some_and(|c| c.upto >= *every) => {
            (Some(next), None)
        }
        Look::Open(next) => {
            let upto = if *once { *every } else { next.upto };
            let found = Occasion {
                key: format!("{counter}-{}-{upto}", next.epoch),
                what: format!("{counter} has reached {upto}"),
                at: now,
            };
            (Some(next), Some(found))
        }
    }
}

/// The rules of automation that brought `ticket` into the state it is in.
#[must_use]
pub fn brought_by(ticket: &Ticket) -> Vec<String> {
    let step = |c: &&forecare_domain::TicketChange| c.enters(ticket.state);
    let step = ticket.history.iter().rev().find(step);
    step.map_or_else(Vec::new, |step| super::chain_of(&step.by))
}

/// The occasion that `ticket` has been in one of `states` for `hours`; no states: in any open one. `now`: when it is
/// looked at.
#[must_use]
pub fn waiting(
    ticket: &Ticket,
    states: &[TicketState],
    hours: f64,
    now: Timestamp,
) -> Option<Occasion> {
    let state = ticket.state;
    let asked = if states.is_empty() {
        state.is_open()
    } else {
        states.contains(&state)
    };
    if !asked {
        return None;
    }
    let step = |c: &&forecare_domain::TicketChange| c.enters(state);
    let since = ticket.history.iter().rev().find(step);
    let since = since.map_or(ticket.opened_at, |change| change.at);
    let at = since.plus_hours(hours);
    (at <= now).then(|| Occasion {
        key: format!("{}-{}", ticket.id, since.as_millis()),
        what: format!("{} since {since}", state.label()),
        at,
    })
}
