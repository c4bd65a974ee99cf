//! Rules, conditions and occasions, without anything that acts.

use forecare_domain::{
    NoticeKind, Priority, SlaKind, SurveyAnswer, TicketId, TicketState, Timestamp,
};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::fixtures::{TO_WORK, asset, at, catalogue, confirmed, person, ticket, walked};
use crate::notices_of;

#[derive(Debug, Deserialize)]
struct Care {
    automation: AutomationRules,
}

fn rules(text: &str) -> Result<AutomationRules, String> {
    let read: Result<Care, _> = toml::from_str(text);
    read.map(|care| care.automation).map_err(|e| e.to_string())
}

/// One rule, from what stands between its name and its actions.
fn rule(text: &str) -> Rule {
    let text = format!("[[automation]]\nname = \"r\"\n{text}");
    rules(&text).unwrap().all()[0].clone()
}

fn refusal(text: &str) -> String {
    rules(&format!("[[automation]]\nname = \"r\"\n{text}")).unwrap_err()
}

fn facts() -> Facts<'static> {
    Facts {
        now: at(10.0),
        what: None,
        ticket: None,
        asset: None,
        places: &[],
        customer: None,
        contract: None,
        answer: None,
    }
}

fn now_and_here() -> Occasion {
    Occasion {
        key: "k".to_owned(),
        what: "it happened".to_owned(),
        at: at(10.0),
    }
}

fn customer(agrees_to_offers: bool) -> CustomerFacts {
    CustomerFacts {
        id: "C-1".to_owned(),
        name: "Acme".to_owned(),
        tier: "gold".to_owned(),
        agrees_to_offers,
    }
}

const NOTE: &str = "then = [{ note = { text = \"x\" } }]";
const LEAD: &str = "then = [{ lead = { offer = \"renewal\" } }]";

#[test]
fn what_cannot_be_is_refused_with_its_key_and_what_there_is() {
    for (text, says) in [
        (
            format!("on = \"ticket.openned\"\n{NOTE}"),
            "rule \"r\", on: \"ticket.openned\" is no event; use ticket.opened",
        ),
        (
            format!("on = \"care.lead\"\n{NOTE}"),
            "\"care.lead\" is no event",
        ),
        (
            format!("on = \"ticket.opened\"\ndays = 3\n{NOTE}"),
            "days: does not belong to ticket.opened",
        ),
        (
            format!("on = \"asset.installed\"\n{LEAD}"),
            "days: is missing",
        ),
        (
            format!("on = \"asset.installed\"\ndays = -1\n{LEAD}"),
            "days: -1 must be above 0",
        ),
        (
            format!("on = \"asset.installed\"\ndays = 1\n{NOTE}"),
            "then[0].note: asset.installed has no ticket",
        ),
        (
            format!("on = \"asset.installed\"\ndays = 1\nwhen = {{ kinds = [\"corrective\"] }}\n{LEAD}"),
            "when.kinds: is no condition on asset.installed",
        ),
        (
            format!("on = \"contract.ending\"\ndays = 1\nwhen = {{ classes = [\"pump\"] }}\n{LEAD}"),
            "when.classes: is no condition on contract.ending",
        ),
        (
            format!("on = \"ticket.opened\"\nwhen = {{ csat_max = 2 }}\n{NOTE}"),
            "when.csat_max: is no condition on ticket.opened",
        ),
        (
            format!("on = \"ticket.opened\"\nwhen = {{ colour = \"red\" }}\n{NOTE}"),
            "unknown field `colour`",
        ),
        (
            format!("on = \"ticket.opened\"\nwhen = {{ origins = [\"moon\"] }}\n{NOTE}"),
            "there is no \"moon\"; there is alarm, person",
        ),
        (
            format!("on = \"ticket.waiting\"\nhours = 1\nstates = [\"closed\"]\n{NOTE}"),
            "states: nothing waits in closed",
        ),
        (
            format!("on = \"asset.cycles\"\ncounter = \"vibration\"\n{LEAD}"),
            "give one of at and every",
        ),
        (
            format!("on = \"asset.age\"\ndays = 1\nevery_days = 1\n{LEAD}"),
            "give one of days and every_days",
        ),
        (
            format!("on = \"firmware.notice\"\nversions = [\"*.1\"]\n{LEAD}"),
            "only the last may be a *",
        ),
        (
            "on = \"ticket.opened\"\nthen = [{ dance = {} }]".to_owned(),
            "unknown variant `dance`, expected one of `assign`",
        ),
        (
            "on = \"ticket.opened\"\nthen = []".to_owned(),
            "then: give 1 to 10 actions",
        ),
        (
            "on = \"ticket.opened\"\nthen = [{ assign = {} }]".to_owned(),
            "give technician, skill or send",
        ),
        (
            "on = \"ticket.opened\"\nthen = [{ note = { text = \"{colour}\" } }]".to_owned(),
            "{colour} stands for nothing; use {ticket}",
        ),
        (
            "on = \"ticket.opened\"\nthen = [{ note = { text = \"a\", article = \"b\" } }]".to_owned(),
            "give one of text, article",
        ),
        (
            "on = \"asset.age\"\ndays = 1\nthen = [{ notify = { to = [\"@technician\"], text = \"x\" } }]".to_owned(),
            "asset.age has no ticket",
        ),
        (
            "on = \"ticket.closed\"\nthen = [{ notify = { to = [\"Ada\"], text = \"x\", survey = true } }]".to_owned(),
            "survey: asks @customer only",
        ),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(says), "{text}\n{refused}");
    }
    let twice = format!(
        "[[automation]]\nname = \"r\"\non = \"ticket.opened\"\n{NOTE}\n[[automation]]\nname = \"r\"\non = \"ticket.opened\"\n{NOTE}"
    );
    assert!(rules(&twice).unwrap_err().contains("comes twice"));
}

#[test]
fn names_are_compared_with_configuration_and_catalogue() {
    let known = Known {
        kinds: vec!["corrective".to_owned()],
        tiers: vec!["gold".to_owned()],
        channels: vec![("mail".to_owned(), false), ("crm".to_owned(), true)],
    };
    let of = |text: &str| {
        let read = rules(&format!("[[automation]]\nname = \"r\"\n{text}")).unwrap();
        let checked = read.check(&known);
        let checked = checked.and_then(|()| read.check_catalogue(&catalogue()));
        checked.map_err(|e| e.to_string())
    };
    let opened = |rest: &str| format!("on = \"ticket.opened\"\n{rest}");
    let note = |when: &str| opened(&format!("when = {when}\n{NOTE}"));
    assert_eq!(
        of(&note(
            "{ kinds = [\"corrective\"], tiers = [\"gold\"], classes = [\"pump\"], modes = [\"bearing-wear\"] }"
        )),
        Ok(())
    );
    for (text, says) in [
        (
            note("{ kinds = [\"party\"] }"),
            "when.kinds: there is no \"party\"; there is corrective",
        ),
        (note("{ tiers = [\"tin\"] }"), "when.tiers"),
        (
            note("{ classes = [\"fan\"] }"),
            "when.classes: there is no \"fan\"; there is pump",
        ),
        (note("{ modes = [\"rust\"] }"), "when.modes"),
        (
            "on = \"asset.cycles\"\ncounter = \"strokes\"\nevery = 5\nthen = [{ lead = { offer = \"upgrade\" } }]"
                .to_owned(),
            "counter: there is no \"strokes\"; there is vibration",
        ),
        (
            opened("then = [{ open = { kind = \"party\", title = \"x\" } }]"),
            "then[0].open.kind",
        ),
        (
            opened("then = [{ notify = { to = [\"#mail\"], text = \"x\" } }]"),
            "there is no \"mail\"; there is crm",
        ),
        (
            opened("then = [{ notify = { to = [\"Ada\"], text = \"x\", channels = [\"pigeon\"] } }]"),
            "then[0].notify.channels: there is no \"pigeon\"; there is mail, crm",
        ),
    ] {
        let refused = of(&text).unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn every_condition_that_is_given_must_hold_and_what_is_not_known_holds_none() {
    let t = ticket();
    let a = asset();
    let places = ["hall-1".to_owned(), "hamburg".to_owned()];
    let gold = customer(false);
    let answer = SurveyAnswer {
        ticket: TicketId(1),
        at: at(9.0),
        solved: Some(false),
        csat: Some(2),
        nps: None,
        ces: Some(7),
        comment: None,
    };
    let mark = NoticeKind::SlaMark {
        clock: SlaKind::Resolution,
        percent: 75,
    };
    let full = Facts {
        what: Some(&mark),
        ticket: Some(&t),
        asset: Some(&a),
        places: &places,
        customer: Some(&gold),
        contract: Some(("K-1", "full-service")),
        answer: Some(&answer),
        ..facts()
    };
    let priority = format!("{:?}", t.priority);
    let holding = [
        "kinds = [\"predictive\", \"corrective\"]".to_owned(),
        "origins = [\"alarm\"]".to_owned(),
        "modes = [\"bearing-wear\"]".to_owned(),
        "states = [\"new\"]".to_owned(),
        format!("priority_min = \"{priority}\""),
        "open_hours_min = 10".to_owned(),
        "open_hours_max = 10".to_owned(),
        "classes = [\"pump\"]".to_owned(),
        "assets = [\"pump-1\"]".to_owned(),
        "sites = [\"hamburg\"]".to_owned(),
        "customers = [\"C-1\"]".to_owned(),
        "tiers = [\"silver\", \"gold\"]".to_owned(),
        "contract_kinds = [\"full-service\"]".to_owned(),
        "covered = true".to_owned(),
        "clock = \"resolution\"".to_owned(),
        "percent_min = 75".to_owned(),
        "csat_max = 2".to_owned(),
        "solved = false".to_owned(),
    ];
    for text in &holding {
        let conditions: Conditions = toml::from_str(text).unwrap();
        assert_eq!(conditions.against(&full), None, "{text}");
        assert!(conditions.against(&facts()).is_some(), "{text} of nothing");
    }
    let all: Conditions = toml::from_str(&holding.join("\n")).unwrap();
    assert_eq!(all.against(&full), None);
    for text in [
        "kinds = [\"complaint\"]",
        "origins = [\"person\"]",
        "states = [\"triaged\"]",
        "verdicts = [\"confirmed\"]",
        "open_hours_min = 11",
        "open_hours_max = 9",
        "sites = [\"berlin\"]",
        "covered = false",
        "clock = \"first_response\"",
        "percent_min = 100",
        "level_min = 1",
        "csat_max = 1",
        "nps_max = 10",
        "ces_max = 6",
        "solved = true",
    ] {
        let conditions: Conditions = toml::from_str(text).unwrap();
        assert!(conditions.against(&full).is_some(), "{text}");
    }
    let urgent = Ticket {
        priority: Priority::P1,
        ..t.clone()
    };
    let at_least: Conditions = toml::from_str("priority_min = \"P2\"").unwrap();
    let of = |t| Facts {
        ticket: Some(t),
        ..facts()
    };
    assert_eq!(at_least.against(&of(&urgent)), None);
    let low = Ticket {
        priority: Priority::P3,
        ..t.clone()
    };
    assert!(at_least.against(&of(&low)).is_some());
}

use forecare_domain::Ticket;

#[test]
fn nothing_is_offered_to_who_has_not_agreed() {
    let rule = rule(
        "on = \"contract.ending\"\ndays = 90\nthen = [{ lead = { offer = \"renewal\", title = \"Renew {contract} of {customer}\" } }]",
    );
    let (no, yes) = (customer(false), customer(true));
    let of = |customer| Facts {
        customer,
        contract: Some(("K-1", "full-service")),
        ..facts()
    };
    assert!(looked_at(&rule, &now_and_here(), &of(None)).is_err());
    let refused = looked_at(&rule, &now_and_here(), &of(Some(&no))).unwrap_err();
    assert!(
        refused.contains("C-1 has not agreed to be offered"),
        "{refused}"
    );
    let commands = looked_at(&rule, &now_and_here(), &of(Some(&yes))).unwrap();
    let expected = Command::Lead {
        offer: Offer::Renewal,
        title: "Renew K-1 of Acme".to_owned(),
        note: String::new(),
    };
    assert_eq!(commands, [expected]);
}

#[test]
fn texts_say_what_they_are_about() {
    let rule = rule(
        "on = \"ticket.closed\"\nthen = [{ note = { text = \"{rule}: {ticket} {title}, {asset}, {occasion} on {date}{customer}\" } }]",
    );
    let (t, a) = (ticket(), asset());
    let facts = Facts {
        ticket: Some(&t),
        asset: Some(&a),
        ..facts()
    };
    let commands = looked_at(&rule, &now_and_here(), &facts).unwrap();
    let day = &at(10.0).to_string()[..10];
    let expected = Command::Note {
        text: format!("r: T-1 {}, Pump 1, it happened on {day}", t.title),
        to_customer: false,
    };
    assert_eq!(commands, [expected]);
}

const DAY: f64 = 24.0;

fn found(text: &str, life: &Life<'_>, hours: f64) -> Option<String> {
    let rule = rule(&format!("{text}\n{LEAD}"));
    occasion(&rule.on, life, at(hours)).map(|o| o.key)
}

#[test]
fn dates_come_once_and_are_made_up_for_thirty_days() {
    let life = Life {
        installed_at: Some(at(0.0)),
        ..Life::default()
    };
    let on = "on = \"asset.installed\"\ndays = 10";
    assert_eq!(found(on, &life, 10.0 * DAY - 0.1), None);
    let first = found(on, &life, 10.0 * DAY).unwrap();
    assert_eq!(found(on, &life, 39.9 * DAY), Some(first));
    assert_eq!(found(on, &life, 40.0 * DAY), None);
    assert_eq!(
        found(on, &Life::default(), 10.0 * DAY),
        None,
        "nobody knows when"
    );
    let age = "on = \"asset.age\"\nevery_days = 365";
    assert_eq!(found(age, &life, 364.0 * DAY), None);
    let year = found(age, &life, 365.0 * DAY).unwrap();
    assert_eq!(found(age, &life, 380.0 * DAY), Some(year.clone()));
    assert_eq!(
        found(age, &life, 400.0 * DAY),
        None,
        "too late for the first year"
    );
    assert_ne!(found(age, &life, 730.0 * DAY), Some(year));
    let once = "on = \"asset.age\"\ndays = 365";
    assert!(found(once, &life, 365.0 * DAY).is_some());
    assert_eq!(found(once, &life, 730.0 * DAY), None);
}

#[test]
fn what_ends_is_spoken_of_until_it_has_ended() {
    let life = Life {
        warranty_ends_at: Some(at(100.0 * DAY)),
        contract_ends_at: Some(at(200.0 * DAY)),
        ..Life::default()
    };
    let warranty = "on = \"warranty.ending\"\ndays = 60";
    assert_eq!(found(warranty, &life, 39.0 * DAY), None);
    let first = found(warranty, &life, 40.0 * DAY);
    assert!(first.is_some());
    assert_eq!(found(warranty, &life, 99.0 * DAY), first);
    assert_eq!(found(warranty, &life, 100.0 * DAY), None);
    let contract = "on = \"contract.ending\"\ndays = 60";
    assert!(found(contract, &life, 199.0 * DAY).is_some());
}

#[test]
fn firmware_is_matched_and_silence_measured() {
    let life = |firmware, heard| Life {
        firmware,
        heard_at: heard,
        ..Life::default()
    };
    let notice = "on = \"firmware.notice\"\nversions = [\"2.1.*\", \"3.0.0\"]";
    for (version, is_meant) in [
        ("2.1.7", true),
        ("2.1", false),
        ("3.0.0", true),
        ("3.0.01", false),
    ] {
        let of = life(Some(version), None);
        assert_eq!(found(notice, &of, 0.0).is_some(), is_meant, "{version}");
    }
    let silent = "on = \"device.silent\"\nhours = 48";
    let heard = life(None, Some(at(0.0)));
    assert_eq!(found(silent, &heard, 47.0), None);
    let first = found(silent, &heard, 48.0).unwrap();
    assert_eq!(found(silent, &heard, 100.0), Some(first.clone()));
    assert_ne!(
        found(silent, &life(None, Some(at(60.0))), 110.0),
        Some(first)
    );
    assert_eq!(
        found(silent, &life(None, None), 1e3),
        None,
        "it was never heard"
    );
}

#[test]
fn a_counter_reaches_each_mark_once() {
    let marks = |text: &str| {
        let rule = rule(&format!("{text}\n{LEAD}"));
        let mut covered = None;
        let mut whats = Vec::new();
        for value in [950.0, 990.0, 1_001.0, 1_002.0, 1_500.0, 2_000.0, 2_600.0] {
            let (next, found) = counted(&rule.on, value, covered, at(0.0));
            covered = next;
            whats.extend(found.map(|o| o.what));
        }
        whats
    };
    let every = "on = \"asset.cycles\"\ncounter = \"vibration\"\nevery = 1000";
    assert_eq!(
        marks(every),
        ["vibration has reached 1000", "vibration has reached 2000"]
    );
    let once = "on = \"asset.cycles\"\ncounter = \"vibration\"\nat = 1000";
    assert_eq!(marks(once), ["vibration has reached 1000"]);
}

#[test]
fn a_ticket_waits_from_when_it_came_into_its_state() {
    let t = walked(&TO_WORK[..1], &confirmed());
    let triaged = [TicketState::Triaged];
    assert_eq!(waiting(&t, &triaged, 4.0, at(4.9)), None);
    let found = waiting(&t, &triaged, 4.0, at(5.0)).unwrap();
    assert_eq!(found.at, at(5.0));
    assert_eq!(waiting(&t, &[TicketState::New], 1.0, at(50.0)), None);
    assert!(waiting(&t, &[], 4.0, at(5.0)).is_some(), "any open state");
}

#[test]
fn a_rule_never_reacts_to_its_own_work_nor_for_ever() {
    let by = actor("b", &["a".to_owned()]);
    assert_eq!(by.name, "automation:b, after a");
    assert_eq!(chain_of(&by), ["b", "a"]);
    assert!(chain_of(&person()).is_empty());
    assert!(!may_react("a", &chain_of(&by)) && !may_react("b", &chain_of(&by)));
    assert!(may_react("c", &chain_of(&by)));
    assert!(!may_react("d", &chain_of(&actor("c", &chain_of(&by)))));
}

#[test]
fn what_a_rule_did_is_told_with_the_rules_behind_it() {
    let before = Ticket {
        priority: Priority::P3,
        ..ticket()
    };
    let by = actor("b", &["a".to_owned()]);
    let after = raised(&before, Priority::P1, by, "rule b", at(1.0)).unwrap();
    let told = notices_of(Some(&before), &after, at(1.0));
    assert_eq!(told[0].automation, ["b", "a"]);
    assert!(
        raised(&after, Priority::P2, person(), "", at(2.0)).is_none(),
        "only ever up"
    );
    let sent = sent_out(&after, &actor("c", &[]), "rule c", at(2.0)).unwrap();
    assert_eq!(sent.state, TicketState::Dispatched);
    let told = notices_of(Some(&after), &sent, at(2.0));
    assert!(told.iter().all(|notice| notice.automation == ["c"]));
    let byhand = crate::transition(&sent, TicketState::Accepted, person(), "", None, at(3.0));
    let told = notices_of(Some(&sent), &byhand.unwrap(), at(3.0));
    assert!(told[0].automation.is_empty());
}

#[test]
fn nobody_is_sent_who_is_not_known() {
    let unassigned = Ticket {
        technician: None,
        ..ticket()
    };
    assert!(sent_out(&unassigned, &person(), "", at(1.0)).is_err());
    let working = walked(&TO_WORK, &confirmed());
    assert!(sent_out(&working, &person(), "", at(9.0)).is_err());
}

#[test]
fn a_customer_gets_the_article_and_the_house_where_it_is() {
    let long = "a".repeat(9_000);
    assert_eq!(
        note_of_article("KB-1", "Bearing", "text", false),
        "See article KB-1: Bearing"
    );
    let theirs = note_of_article("KB-1", "Bearing", &long, true);
    assert!(theirs.starts_with("Bearing\n\naaa") && theirs.chars().count() == 4_000);
}

proptest! {
    #[test]
    fn an_occasion_is_the_same_whenever_it_is_looked_for(
        days in 1.0..400.0_f64, looks in prop::collection::vec(0.0..20_000.0_f64, 1..60), repeats in any::<bool>(),
    ) {
        let key = if repeats { "every_days" } else { "days" };
        let rule = rule(&format!("on = \"asset.age\"\n{key} = {days}\n{LEAD}"));
        let life = Life { installed_at: Some(at(0.0)), ..Life::default() };
        let mut seen: Vec<(String, Timestamp)> = Vec::new();
        for hours in looks {
            if let Some(found) = occasion(&rule.on, &life, at(hours)) {
                prop_assert!(found.at <= at(hours));
                prop_assert!(at(hours).hours_since(found.at) < MADE_UP_FOR_HOURS);
                match seen.iter().find(|(key, _)| *key == found.key) {
                    Some((_, when)) => prop_assert_eq!(*when, found.at),
                    None => seen.push((found.key, found.at)),
                }
            }
        }
        prop_assert!(repeats || seen.len() <= 1);
    }
}
