//! Automation: when something happens and conditions hold, then something is done. Joins what others bring about: events
//! of tickets, answers of customers, the life of machines and contracts on one side; assignment, priority, notes,
//! tickets, messages and leads on the other.
//!
//! Nothing here acts. A rule is looked at with [`Facts`] and comes to [`Command`]s; who carries them out does so under
//! keys made of rule and [`Occasion`], so that each is done once.

mod command;
mod facts;
mod file;
mod life;
mod rules;

pub use command::{Command, Offer, note_of_article, raised, sent_out, with_skill};
pub use facts::{Conditions, CustomerFacts, Facts, Occasion};
pub use file::{Action, AssignSpec, LeadSpec, NoteSpec, NotifySpec, OpenSpec, RuleFile};
pub use life::{Life, MADE_UP_FOR_HOURS, brought_by, counted, occasion, waiting};
pub use rules::{AutomationError, AutomationRules, Known, RULE_EVENTS, Rule, Trigger, looked_at};

use forecare_domain::{Actor, Channel};

/// How many rules, one led to by the other, act at most.
pub const CHAIN_MAX: usize = 3;

const PREFIX: &str = "automation:";
const AFTER: &str = ", after ";

/// Who acts when `rule` does, led to by the rules `chain`, the last one first.
#[must_use]
pub fn actor(rule: &str, chain: &[String]) -> Actor {
    let mut name = format!("{PREFIX}{rule}");
    for earlier in chain {
        name.push_str(AFTER);
        name.push_str(earlier);
    }
    Actor {
        name,
        channel: Channel::System,
    }
}

/// The rules behind what `by` did, the one that acted first; empty: it was no rule.
#[must_use]
pub fn chain_of(by: &Actor) -> Vec<String> {
    if by.channel != Channel::System {
        return Vec::new();
    }
    let rules = by.name.strip_prefix(PREFIX);
    let rules = rules.map(|rules| rules.split(AFTER).map(ToOwned::to_owned).collect());
    rules.unwrap_or_default()
}

/// Whether `rule` may react to what the rules `chain` have brought about: never to its own work, and not for ever.
#[must_use]
pub fn may_react(rule: &str, chain: &[String]) -> bool {
    chain.len() < CHAIN_MAX && chain.iter().all(|earlier| earlier != rule)
}

#[cfg(test)]
mod tests;
