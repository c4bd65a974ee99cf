//! What a rule is looked at with, and the conditions it sets.

use forecare_domain::{
    Asset, AssetId, ClassName, ModeName, NoticeKind, Priority, SlaKind, SurveyAnswer, Ticket,
    TicketKind, TicketState, Timestamp,
};
use serde::Deserialize;

/// When and why a rule is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// The same occasion of one subject always has the same key.
    pub key: String,
    /// In words.
    pub what: String,
    /// When it came.
    pub at: Timestamp,
}

/// How things stand at an occasion.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// When it is looked at.
    pub now: Timestamp,
    /// What happened, where a notice tells it.
    pub what: Option<&'a NoticeKind>,
    /// The ticket, as it was when it happened.
    pub ticket: Option<&'a Ticket>,
    /// The machine.
    pub asset: Option<&'a Asset>,
    /// Ids of the places it stands in, the nearest first.
    pub places: &'a [String],
    /// Whose it is.
    pub customer: Option<&'a CustomerFacts>,
    /// Id and kind of the contract: the one that covers the machine, or the one that ends.
    pub contract: Option<(&'a str, &'a str)>,
    /// What the customer said.
    pub answer: Option<&'a SurveyAnswer>,
}

/// What is known of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerFacts {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The tier.
    pub tier: String,
    /// True: agreed to be offered something (the purpose `marketing`).
    pub agrees_to_offers: bool,
}

/// Conditions of a rule: all that are given must hold; of a list one. What is not known holds nothing.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// Kinds of tickets.
    pub kinds: Vec<TicketKind>,
    /// What opened the ticket: `alarm`, `person`, `schedule`, `event`, `automation`.
    pub origins: Vec<String>,
    /// Failure modes of tickets.
    pub modes: Vec<ModeName>,
    /// States of tickets.
    pub states: Vec<TicketState>,
    /// Tickets of this priority or a more urgent one.
    pub priority_min: Option<Priority>,
    /// Labels of verdicts.
    pub verdicts: Vec<String>,
    /// At least so many hours since the ticket was opened.
    pub open_hours_min: Option<f64>,
    /// At most so many hours since the ticket was opened.
    pub open_hours_max: Option<f64>,
    /// Classes of machines.
    pub classes: Vec<ClassName>,
    /// Machines.
    pub assets: Vec<AssetId>,
    /// Sites: as the machine's `site` says, or ids of places it stands in.
    pub sites: Vec<String>,
    /// Ids of customers.
    pub customers: Vec<String>,
    /// Tiers of customers.
    pub tiers: Vec<String>,
    /// Kinds of the contract that covers the machine, or that ends.
    pub contract_kinds: Vec<String>,
    /// Whether a contract in force covers the machine.
    pub covered: Option<bool>,
    /// Of `sla.mark` and `sla.escalated`: on this clock.
    pub clock: Option<SlaKind>,
    /// Of `sla.mark`: at least so many percent.
    pub percent_min: Option<u16>,
    /// Of `sla.escalated`: at least this level.
    pub level_min: Option<u16>,
    /// Of `survey.answered`: satisfaction (1 to 5) at most this.
    pub csat_max: Option<u8>,
    /// Of `survey.answered`: recommendation (0 to 10) at most this.
    pub nps_max: Option<u8>,
    /// Of `survey.answered`: ease (1 to 7) at most this.
    pub ces_max: Option<u8>,
    /// Of `survey.answered`: whether the customer says that it is solved.
    pub solved: Option<bool>,
}

impl Conditions {
    /// Keys that are given and speak of a ticket.
    pub(super) fn of_tickets(&self) -> Vec<&'static str> {
        given(&[
            ("kinds", !self.kinds.is_empty()),
            ("origins", !self.origins.is_empty()),
            ("modes", !self.modes.is_empty()),
            ("states", !self.states.is_empty()),
            ("priority_min", self.priority_min.is_some()),
            ("verdicts", !self.verdicts.is_empty()),
            ("open_hours_min", self.open_hours_min.is_some()),
            ("open_hours_max", self.open_hours_max.is_some()),
        ])
    }

    /// Keys that are given and speak of a machine.
    pub(super) fn of_assets(&self) -> Vec<&'static str> {
        given(&[
            ("classes", !self.classes.is_empty()),
            ("assets", !self.assets.is_empty()),
            ("sites", !self.sites.is_empty()),
            ("covered", self.covered.is_some()),
        ])
    }

    /// Keys that are given and speak of a service level.
    pub(super) fn of_sla(&self) -> Vec<&'static str> {
        given(&[
            ("clock", self.clock.is_some()),
            ("percent_min", self.percent_min.is_some()),
            ("level_min", self.level_min.is_some()),
        ])
    }

    /// Keys that are given and speak of a customer's answer.
    pub(super) fn of_answers(&self) -> Vec<&'static str> {
        given(&[
            ("csat_max", self.csat_max.is_some()),
            ("nps_max", self.nps_max.is_some()),
            ("ces_max", self.ces_max.is_some()),
            ("solved", self.solved.is_some()),
        ])
    }

    /// The first condition that does not hold, in words; `None`: all hold.
    #[must_use]
    pub fn against(&self, facts: &Facts<'_>) -> Option<String> {
        self.against_ticket(facts)
            .or_else(|| self.against_machine(facts))
            .or_else(|| self.against_customer(facts))
            .or_else(|| self.against_sla(facts))
            .or_else(|| self.against_answer(facts))
    }

    fn against_ticket(&self, facts: &Facts<'_>) -> Option<String> {
        let Some(t) = facts.ticket else {
            let asked = self.of_tickets();
            return asked
                .first()
                .map(|key| format!("{key}: there is no ticket"));
        };
        if !self.kinds.is_empty() && !self.kinds.contains(&t.kind) {
            return Some(format!("its kind is {}", t.kind));
        }
        if !self.origins.is_empty() && !self.origins.iter().any(|o| o == t.origin.label()) {
            return Some(format!("it was opened by: {}", t.origin.label()));
        }
        let has_mode = |mode: &ModeName| t.mode.as_ref() == Some(mode);
        if !self.modes.is_empty() && !self.modes.iter().any(has_mode) {
            let mode = t.mode.as_ref().map_or("none", ModeName::as_str);
            return Some(format!("its failure mode is {mode}"));
        }
        if !self.states.is_empty() && !self.states.contains(&t.state) {
            return Some(format!("its state is {}", t.state.label()));
        }
        // P1 comes first.
        if self.priority_min.is_some_and(|least| t.priority > least) {
            return Some(format!("its priority is {:?}", t.priority));
        }
        let verdict = t.verdict.as_ref().map_or("none", |v| v.label());
        if !self.verdicts.is_empty() && !self.verdicts.iter().any(|v| v == verdict) {
            return Some(format!("its verdict is {verdict}"));
        }
        let hours = facts.now.hours_since(t.opened_at);
        let too_young = self.open_hours_min.is_some_and(|min| hours < min);
        let too_old = self.open_hours_max.is_some_and(|max| hours > max);
        (too_young || too_old).then(|| format!("it was opened {hours:.1} h ago"))
    }

    fn against_machine(&self, facts: &Facts<'_>) -> Option<String> {
        if let Some(wanted) = self.covered
            && wanted != (facts.contract.is_some() && facts.asset.is_some())
        {
            let covered = if wanted {
                "no contract covers it"
            } else {
                "a contract covers it"
            };
            return Some(covered.to_owned());
        }
        let asked = self.of_assets();
        let Some(a) = facts.asset else {
            return asked
                .first()
                .map(|key| format!("{key}: there is no machine"));
        };
        if !self.classes.is_empty() && !self.classes.contains(&a.class) {
            return Some(format!("its class is {}", a.class));
        }
        if !self.assets.is_empty() && !self.assets.contains(&a.id) {
            return Some("another machine".to_owned());
        }
        let here = |site: &String| *site == a.site || facts.places.contains(site);
        if !self.sites.is_empty() && !self.sites.iter().any(here) {
            return Some(format!("its site is \"{}\"", a.site));
        }
        None
    }

    fn against_customer(&self, facts: &Facts<'_>) -> Option<String> {
        let is = |wanted: &[String], own: Option<&str>| {
            wanted.is_empty() || own.is_some_and(|own| wanted.iter().any(|w| w == own))
        };
        let (id, tier) = facts
            .customer
            .map(|c| (c.id.as_str(), c.tier.as_str()))
            .unzip();
        if !is(&self.customers, id) {
            return Some(format!("its customer is {}", id.unwrap_or("not known")));
        }
        if !is(&self.tiers, tier) {
            return Some(format!("the tier is {}", tier.unwrap_or("not known")));
        }
        let kind = facts.contract.map(|(_, kind)| kind);
        if !is(&self.contract_kinds, kind) {
            return Some(format!("the contract is {}", kind.unwrap_or("none")));
        }
        None
    }

    fn against_sla(&self, facts: &Facts<'_>) -> Option<String> {
        let (clock, percent, level) = match facts.what {
            Some(NoticeKind::SlaMark { clock, percent }) => (Some(*clock), *percent, 0),
            Some(NoticeKind::SlaEscalated { clock, level }) => (Some(*clock), 0, *level),
            Some(_) | None => (None, 0, 0),
        };
        if self.clock.is_some() && self.clock != clock {
            return Some("another clock".to_owned());
        }
        if self.percent_min.is_some_and(|min| percent < min) {
            return Some(format!("{percent} % are used"));
        }
        if self.level_min.is_some_and(|min| level < min) {
            return Some(format!("the level is {level}"));
        }
        None
    }

    fn against_answer(&self, facts: &Facts<'_>) -> Option<String> {
        let answer = facts.answer;
        let scores = [
            ("satisfaction", self.csat_max, answer.and_then(|a| a.csat)),
            ("recommendation", self.nps_max, answer.and_then(|a| a.nps)),
            ("ease", self.ces_max, answer.and_then(|a| a.ces)),
        ];
        for (name, max, score) in scores {
            if let Some(max) = max
                && score.is_none_or(|score| score > max)
            {
                let score = score.map_or("not said".to_owned(), |s| s.to_string());
                return Some(format!("{name} is {score}"));
            }
        }
        let solved = answer.and_then(|a| a.solved);
        let other = self.solved.is_some() && self.solved != solved;
        other.then(|| "whether it is solved was answered otherwise, or not".to_owned())
    }
}

fn given(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    let given = keys.iter().filter(|(_, given)| *given);
    given.map(|(key, _)| *key).collect()
}
