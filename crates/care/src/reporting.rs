//! Tickets that no alarm opens: a person's report, a schedule, an event of a device.

use std::collections::BTreeMap;

use forecare_catalogue::{AssetClass, Catalogue, FailureMode};
use forecare_domain::{
    Actor, Asset, DeviceEvent, FieldValue, Origin, Priority, ProductionImpact, Report, Rul,
    Severity, Ticket, TicketChange, TicketId, TicketState, TicketWork, Timestamp, Urgency,
};

use crate::classify::Order;
use crate::dispatch::{Crew, candidates};
use crate::lifecycle::{cut, forecare};
use crate::opening::{proposal, serving_depot};
use crate::sla::SlaTerms;
use crate::ticket_rules::{EventRule, Schedule, TicketRules, TicketType};
use crate::urgency::{Standing, Step, due_at, in_words, lifted, of_matrix};
use crate::{CarePolicy, NewTicket, needs_of};

/// Most characters of a ticket's title.
pub const TITLE_CHARS_MAX: usize = 200;

/// A person's report, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReport<'a> {
    /// The kind.
    pub kind: &'a TicketType,
    /// One line for people; empty: made from kind and mode.
    pub title: &'a str,
    /// What was told.
    pub report: Report,
    /// The failure mode, where the reporter knows it: brings procedure, skills and parts.
    pub mode: Option<&'a FailureMode>,
    /// The worst alarm that the machine is in.
    pub alarm: Option<Severity>,
    /// Fields of the kind, as [`TicketType::checked_fields`] returns them.
    pub fields: BTreeMap<String, FieldValue>,
    /// Who, and from where.
    pub by: Actor,
}

/// The machine that a ticket is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The asset.
    pub asset: &'a Asset,
    /// Its class.
    pub class: &'a AssetClass,
    /// For the proposal of who is to do it.
    pub crew: Crew<'a>,
}

/// By what tickets open.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// Parts, depots, technicians.
    pub catalogue: &'a Catalogue,
    /// Kinds, checklists.
    pub rules: &'a TicketRules,
    /// Settings.
    pub policy: &'a CarePolicy,
    /// What the asset's customer is promised.
    pub terms: &'a SlaTerms,
}

/// Priority = impact x urgency of a report, and why.
///
/// Impact is high where somebody may get hurt, by the report or by what `mode` is, or where production stands still, medium where it is reduced, else low; a
/// customer of the best of several tiers counts one step more than low. Urgency is high where somebody may get
/// hurt, else what the reporter says; under a contract in force it is at least medium. A machine that is in a critical
/// alarm makes impact at least medium and urgency high, a warning urgency at least medium.
#[must_use]
pub fn priority_of_report(
    report: &Report,
    mode: Option<&FailureMode>,
    alarm: Option<Severity>,
    standing: &Standing,
) -> (Priority, String) {
    let mut why = Vec::new();
    let mut impact = match report.production {
        ProductionImpact::Stopped => Step::High,
        ProductionImpact::Reduced => Step::Medium,
        ProductionImpact::None => Step::Low,
    };
    why.push(match report.production {
        ProductionImpact::Stopped => "production stands still".to_owned(),
        ProductionImpact::Reduced => "production is reduced".to_owned(),
        ProductionImpact::None => "production goes on".to_owned(),
    });
    let mut urgency = match report.urgency {
        Urgency::High => Step::High,
        Urgency::Medium => Step::Medium,
        Urgency::Low => Step::Low,
    };
    if report.safety || mode.is_some_and(|mode| mode.is_safety) {
        (impact, urgency) = (Step::High, Step::High);
        why.push("somebody may get hurt".to_owned());
    }
    match alarm {
        Some(Severity::Critical) => {
            (impact, urgency) = (impact.max(Step::Medium), Step::High);
            why.push("the machine is in a critical alarm".to_owned());
        }
        Some(Severity::Warning) => {
            urgency = urgency.max(Step::Medium);
            why.push("an alarm warns of the machine".to_owned());
        }
        None => {}
    }
    let steps = lifted((impact, urgency), standing, &mut why);
    (of_matrix(steps.0, steps.1), in_words(steps, &why))
}

/// The ticket that a report opens, with the parts its failure mode needs.
#[must_use]
pub fn open_reported(
    desk: Desk<'_>,
    about: About<'_>,
    new: NewReport<'_>,
    standing: &Standing,
    now: Timestamp,
) -> NewTicket {
    let (priority, explained) = priority_of_report(&new.report, new.mode, new.alarm, standing);
    let title = match (new.title.trim(), new.mode) {
        ("", Some(mode)) => format!("{}: {} ({})", about.asset.name, mode.title, mode.iso14224),
        ("", None) => format!("{}: {}", about.asset.name, new.kind.title),
        (title, _) => title.to_owned(),
    };
    let opening = Opening {
        kind: new.kind,
        origin: Origin::Person { by: new.by.clone() },
        title,
        priority,
        mode: new.mode,
        report: Some(new.report),
        fields: new.fields,
        order: Order::default(),
        detected_at: now,
        due_at: None,
        by: new.by,
        why: explained,
    };
    opened(desk, about, opening, now)
}

/// The ticket that `schedule` opens for the occurrence at `position`, to be done by `due_at`.
#[must_use]
pub fn open_scheduled(
    desk: Desk<'_>,
    about: About<'_>,
    (schedule, kind): (&Schedule, &TicketType),
    position: f64,
    due_at: Option<Timestamp>,
    now: Timestamp,
) -> NewTicket {
    let occurrence = match &schedule.counter {
        Some(counter) => format!("{} at {position}", counter.metric),
        None => format!("{:.0} days after registration", position / 24.0),
    };
    let opening = Opening {
        kind,
        origin: Origin::Schedule {
            schedule: schedule.name.clone(),
            position,
        },
        title: format!("{}: {}", about.asset.name, schedule.title),
        priority: schedule.priority,
        mode: None,
        report: None,
        fields: BTreeMap::new(),
        order: Order::of(schedule),
        detected_at: now,
        due_at,
        by: forecare(),
        why: format!(
            "Schedule {}: {occurrence}. {:?} by the schedule",
            schedule.name, schedule.priority
        ),
    };
    opened(desk, about, opening, now)
}

/// The ticket that a device's event opens.
#[must_use]
pub fn open_event(
    desk: Desk<'_>,
    about: About<'_>,
    (rule, kind): (&EventRule, &TicketType),
    event: &DeviceEvent,
    now: Timestamp,
) -> NewTicket {
    let mode = about
        .class
        .modes
        .iter()
        .find(|mode| mode.event_codes.contains(&event.code));
    let message = if event.message.is_empty() {
        String::new()
    } else {
        format!(" {}", event.message)
    };
    let opening = Opening {
        kind,
        origin: Origin::Event {
            code: event.code.clone(),
        },
        title: format!(
            "{}: device reports {}{message}",
            about.asset.name, event.code
        ),
        priority: rule.priority,
        mode,
        report: None,
        fields: BTreeMap::new(),
        order: Order::default(),
        detected_at: event.ts,
        due_at: None,
        by: Actor {
            name: event.device.to_string(),
            channel: forecare_domain::Channel::Device,
        },
        why: format!(
            "The device reports {} at {}. {:?} by the rule for such events",
            event.code, event.ts, rule.priority
        ),
    };
    opened(desk, about, opening, now)
}

/// A ticket that a rule of automation opens.
#[derive(Debug, Clone, Copy)]
pub struct OpenedByRule<'a> {
    /// The rule.
    pub rule: &'a str,
    /// The kind.
    pub kind: &'a TicketType,
    /// One line for people.
    pub title: &'a str,
    /// The priority.
    pub priority: Priority,
    /// The procedure; empty: the kind's.
    pub procedure: &'a str,
    /// When it is due; `None`: by the priority.
    pub due_at: Option<Timestamp>,
    /// The ticket that it follows up.
    pub follows: Option<TicketId>,
    /// Who acts.
    pub by: &'a Actor,
    /// Why, in words.
    pub why: &'a str,
}

/// The ticket that a rule of automation opens.
#[must_use]
pub fn open_by_rule(
    desk: Desk<'_>,
    about: About<'_>,
    new: OpenedByRule<'_>,
    now: Timestamp,
) -> NewTicket {
    let opening = Opening {
        kind: new.kind,
        origin: Origin::Automation {
            rule: new.rule.to_owned(),
            follows: new.follows,
        },
        title: new.title.to_owned(),
        priority: new.priority,
        mode: None,
        report: None,
        fields: BTreeMap::new(),
        order: Order {
            procedure: new.procedure,
            ..Order::default()
        },
        detected_at: now,
        due_at: new.due_at,
        by: new.by.clone(),
        why: format!(
            "Rule {}: {}. {:?} by the rule",
            new.rule, new.why, new.priority
        ),
    };
    let mut opened = opened(desk, about, opening, now);
    opened.ticket.work.parent = new.follows;
    opened
}

struct Opening<'a> {
    kind: &'a TicketType,
    origin: Origin,
    title: String,
    priority: Priority,
    mode: Option<&'a FailureMode>,
    report: Option<Report>,
    fields: BTreeMap<String, FieldValue>,
    order: Order<'a>,
    detected_at: Timestamp,
    due_at: Option<Timestamp>,
    by: Actor,
    why: String,
}

fn opened(desk: Desk<'_>, about: About<'_>, new: Opening<'_>, now: Timestamp) -> NewTicket {
    let (kind, mode) = (new.kind, new.mode);
    let called_for = new.order.calls_for(desk.catalogue, kind, mode, about.class);
    let (procedure, skills) = (called_for.procedure, called_for.skills);
    // A date that was asked for is the date.
    let due_at = new
        .due_at
        .unwrap_or_else(|| due_at(None, desk.terms, new.priority, now));
    let proposed = candidates(
        about.crew.technicians,
        &skills,
        serving_depot(desk.catalogue, about.asset),
        about.crew.load,
        desk.policy.away_counts_as_tickets,
    );
    let checklist = desk
        .rules
        .checklist(&kind.name, &about.class.name, &procedure);
    let title: String = new
        .title
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TITLE_CHARS_MAX)
        .collect();
    let ticket = Ticket {
        id: TicketId(0),
        version: 0,
        asset: about.asset.id.clone(),
        device: about.asset.device.clone(),
        kind: kind.name.clone(),
        origin: new.origin,
        mode: mode.map(|m| m.name.clone()),
        state: TicketState::New,
        priority: new.priority,
        title,
        procedure,
        skills,
        technician: proposed.first().map(|c| c.technician.name.clone()),
        detected_at: new.detected_at,
        opened_at: now,
        due_at,
        evidence_at: now,
        decision: None,
        contributions: Vec::new(),
        rul: Rul::NoTrend,
        verdict: None,
        history: vec![TicketChange {
            at: now,
            by: new.by,
            from: None,
            to: TicketState::New,
            why: cut(&format!("{}. {}", new.why, proposal(&proposed))),
        }],
        sla: None,
        assignment: None,
        proposal: None,
        work: TicketWork {
            report: new.report,
            due_by: new.due_at,
            work_hours: Some(called_for.work_hours),
            parts: called_for.parts,
            checklist,
            fields: new.fields,
            ..TicketWork::default()
        },
    };
    let needs = needs_of(desk.catalogue, about.asset, mode, &ticket, desk.policy, now);
    NewTicket { ticket, needs }
}

#[cfg(test)]
mod tests {
    use forecare_domain::{EventSeverity, ScheduleName, TicketKind, Verdict};
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{asset, at, catalogue, class, mode, person, terms};
    use crate::{TransitionError, allowed, label_of, replaced_elsewhere, transition, withdraw_due};

    fn reported(report: Report, with_mode: bool) -> NewTicket {
        let catalogue = catalogue();
        let rules: TicketRules = toml::from_str(
            "[[checklist]]\nkinds = [\"corrective\"]\nitem = [{ text = \"Lock out\", required = true }]",
        )
        .unwrap();
        let policy = CarePolicy::default();
        let asset = asset();
        let desk = Desk {
            catalogue: &catalogue,
            rules: &rules,
            policy: &policy,
            terms: &terms(),
        };
        let about = About {
            asset: &asset,
            class: class(&catalogue),
            crew: Crew {
                technicians: &catalogue.technicians,
                load: &[],
            },
        };
        let new = NewReport {
            kind: rules.kind(TicketKind::CORRECTIVE).unwrap(),
            title: "",
            report,
            mode: with_mode.then(|| mode(&catalogue)),
            alarm: None,
            fields: BTreeMap::new(),
            by: person(),
        };
        open_reported(desk, about, new, &Standing::default(), at(0.0))
    }

    fn standing(tier: usize, contract: bool) -> Standing {
        Standing {
            customer: Some("Acme".to_owned()),
            tier: Some(("gold".to_owned(), tier, 2)),
            contract: contract.then(|| "C-1".to_owned()),
        }
    }

    #[test]
    fn what_may_hurt_somebody_comes_first() {
        let report = Report {
            safety: true,
            urgency: Urgency::Low,
            ..Report::default()
        };
        let (priority, why) = priority_of_report(&report, None, None, &Standing::default());
        assert_eq!(priority, Priority::P1);
        assert_eq!(
            why,
            "P1: impact high x urgency high (production goes on; somebody may get hurt)"
        );
    }

    #[test]
    fn a_report_about_a_machine_in_alarm_is_more_urgent() {
        let of = |alarm| {
            let report = Report::default();
            priority_of_report(&report, None, alarm, &Standing::default())
        };
        assert_eq!(of(None).0, Priority::P4);
        let reduced = Report {
            production: ProductionImpact::Reduced,
            urgency: Urgency::Low,
            ..Report::default()
        };
        let of_reduced = |alarm| priority_of_report(&reduced, None, alarm, &Standing::default()).0;
        assert_eq!(of_reduced(None), Priority::P4);
        assert_eq!(of_reduced(Some(Severity::Warning)), Priority::P3);
        let (priority, why) = of(Some(Severity::Critical));
        assert_eq!(priority, Priority::P2, "{why}");
        assert!(why.contains("the machine is in a critical alarm"), "{why}");
    }

    #[test]
    fn tier_and_contract_lift_what_is_low_by_a_step_and_say_so() {
        let report = Report {
            urgency: Urgency::Low,
            ..Report::default()
        };
        let of = |standing: &Standing| priority_of_report(&report, None, None, standing);
        assert_eq!(of(&Standing::default()).0, Priority::P4);
        assert_eq!(of(&standing(2, false)).0, Priority::P4);
        let (priority, why) = of(&standing(1, true));
        assert_eq!(priority, Priority::P3);
        assert!(
            why.contains("the customer is gold; contract C-1 covers"),
            "{why}"
        );
    }

    #[test]
    fn a_named_mode_brings_procedure_skills_and_parts() {
        let with = reported(Report::default(), true);
        assert_eq!(with.ticket.procedure, "P-1");
        assert_eq!(with.needs.len(), 2);
        assert_eq!(with.ticket.work.work_hours, Some(4.0));
        let without = reported(Report::default(), false);
        let catalogue = catalogue();
        let unknown = &class(&catalogue).unknown_mode;
        assert!(without.needs.is_empty());
        assert_eq!(without.ticket.procedure, unknown.procedure);
        assert_eq!(without.ticket.skills, unknown.skills);
        assert_eq!(without.ticket.title, "Pump 1: Repair");
        assert_eq!(without.ticket.opening_key(), None);
    }

    #[test]
    fn nothing_of_it_counts_as_a_prediction() {
        let mut ticket = reported(Report::default(), true).ticket;
        assert_eq!(
            withdraw_due(&ticket, false, &CarePolicy::default(), at(1e4)),
            None
        );
        assert_eq!(replaced_elsewhere(&ticket, at(1.0)), None);
        ticket.work.checklist.clear();
        for to in crate::fixtures::TO_WORK {
            ticket = transition(&ticket, to, person(), "", None, at(1.0)).unwrap();
        }
        let resolve = |verdict| {
            transition(
                &ticket,
                TicketState::Resolved,
                person(),
                "",
                Some(verdict),
                at(2.0),
            )
        };
        assert!(matches!(
            resolve(Verdict::TooEarly),
            Err(TransitionError::VerdictOutOfPlace { .. })
        ));
        let done = resolve(Verdict::Done).unwrap();
        assert_eq!(label_of(&done), None);
    }

    #[test]
    fn what_must_be_done_stands_before_the_resolution() {
        let mut ticket = reported(Report::default(), false).ticket;
        for to in crate::fixtures::TO_WORK {
            ticket = transition(&ticket, to, person(), "", None, at(1.0)).unwrap();
        }
        let resolve = |ticket: &Ticket| {
            let verdict = Some(Verdict::Done);
            transition(
                ticket,
                TicketState::Resolved,
                person(),
                "",
                verdict,
                at(2.0),
            )
        };
        let refused = resolve(&ticket).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "still to be done before it is resolved: Lock out"
        );
        ticket.work.checklist[0].done = Some(forecare_domain::Done {
            at: at(1.5),
            by: person(),
        });
        assert!(resolve(&ticket).is_ok());
    }

    #[test]
    fn schedules_and_events_have_keys_of_their_own() {
        let catalogue = catalogue();
        let rules: TicketRules = toml::from_str(
            "[[schedule]]\nname = \"oil\"\ntitle = \"Oil\"\nevery_days = 30\n[[event]]\ncodes = [\"E1\"]",
        )
        .unwrap();
        let policy = CarePolicy::default();
        let asset = asset();
        let desk = Desk {
            catalogue: &catalogue,
            rules: &rules,
            policy: &policy,
            terms: &terms(),
        };
        let about = About {
            asset: &asset,
            class: class(&catalogue),
            crew: Crew {
                technicians: &catalogue.technicians,
                load: &[],
            },
        };
        let schedule = &rules.schedules()[0];
        let kind = rules.kind(TicketKind::INSPECTION).unwrap();
        let due = Some(at(100.0));
        let opened = open_scheduled(desk, about, (schedule, kind), 720.0, due, at(0.0)).ticket;
        assert_eq!(opened.opening_key().unwrap(), "schedule:oil");
        assert_eq!((opened.due_at, opened.priority), (at(100.0), Priority::P4));
        let name = ScheduleName::new("oil").unwrap();
        let origin = Origin::Schedule {
            schedule: name,
            position: 720.0,
        };
        assert_eq!(opened.origin, origin);
        let event = DeviceEvent {
            device: asset.device.clone(),
            ts: at(-1.0),
            code: "E1".to_owned(),
            severity: EventSeverity::Error,
            component: None,
            message: "oil low\u{7}".to_owned(),
        };
        let rule = rules.event(&class(&catalogue).name, &event).unwrap();
        let kind = rules.kind(TicketKind::CORRECTIVE).unwrap();
        let opened = open_event(desk, about, (rule, kind), &event, at(0.0)).ticket;
        assert_eq!(opened.opening_key().unwrap(), "event:E1");
        assert_eq!(opened.title, "Pump 1: device reports E1 oil low ");
    }

    proptest! {
        #[test]
        fn a_worse_report_is_never_less_urgent(
            safety in any::<bool>(), production in 0..3_usize, urgency in 0..3_usize,
            tier in 1..3_usize, contract in any::<bool>(),
        ) {
            let productions = [ProductionImpact::None, ProductionImpact::Reduced, ProductionImpact::Stopped];
            let urgencies = [Urgency::Low, Urgency::Medium, Urgency::High];
            let of = |safety, production: usize, urgency: usize, standing: &Standing| {
                let report = Report {
                    safety,
                    production: productions[production.min(2)],
                    urgency: urgencies[urgency.min(2)],
                    description: String::new(),
                };
                priority_of_report(&report, None, None, standing).0
            };
            let here = of(safety, production, urgency, &standing(tier, contract));
            for worse in [
                of(true, production, urgency, &standing(tier, contract)),
                of(safety, production + 1, urgency, &standing(tier, contract)),
                of(safety, production, urgency + 1, &standing(tier, contract)),
                of(safety, production, urgency, &standing(1, contract)),
                of(safety, production, urgency, &standing(tier, true)),
            ] {
                prop_assert!(worse <= here);
            }
        }

        #[test]
        fn random_requests_on_a_report_never_leave_the_machine(
            requests in prop::collection::vec((0..13_usize, any::<bool>()), 0..60),
        ) {
            let mut ticket = reported(Report::default(), false).ticket;
            for (index, with_verdict) in requests {
                let to = TicketState::ALL[index];
                let verdict = with_verdict.then_some(Verdict::Done);
                let result = transition(&ticket, to, person(), "", verdict, at(1.0));
                if let Ok(after) = result {
                    prop_assert!(allowed(ticket.state).contains(&to));
                    // The required line is never done here.
                    prop_assert!(after.state != TicketState::Resolved);
                    ticket = after;
                }
            }
        }
    }
}
