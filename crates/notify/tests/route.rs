//! Who is told what, by which way, and when.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use forecare_domain::{
    AssetId, DeviceId, Notice, NoticeId, NoticeKind, Priority, SlaKind, TicketId, TicketState,
    Timestamp,
};
use forecare_notify::{AddressBook, Notify, NotifySettings, Routed, route};
use forecare_registry::{Customer, RecordId, Technician};
use serde_json::json;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A Monday, 21:30 in Berlin.
fn evening() -> Timestamp {
    at("2026-03-02T20:30:00Z")
}

const CHANNELS: &str = r##"
[channel.mail]
kind = "smtp"
host = "localhost"
tls = "none"
from = "care@example.com"
[channel.sms]
kind = "http"
url = "https://sms.example/"
body = "{}"
carries = "sms"
[channel.crm]
kind = "webhook"
url = "https://crm.example/"
secret_file = "secret"
[channel.team]
kind = "http"
url = "https://chat.example/"
body = "{}"
"##;

fn settings(rest: &str) -> NotifySettings {
    let text = format!(
        "source = \"/plant\"\npublic_url = \"\"\nlanguage = \"en\"\ntemplate_dir = \"\"\nattempts_max = 3\n\
         retry_first_s = 1\nretry_max_s = 10\ntimeout_s = 1\nquiet = \"21:00-07:00\"\ndigest_at = \"08:00\"\n\
         time_zone = \"Europe/Berlin\"\nvisit_notice_hours = 24\nsurvey_valid_days = 14\n{rest}\n{CHANNELS}"
    );
    toml::from_str(&text).unwrap()
}

fn notify(rest: &str) -> Notify {
    Notify::new(settings(rest)).unwrap()
}

fn notice(what: NoticeKind, priority: Priority) -> Notice {
    Notice {
        id: NoticeId("T-1.2.test".to_owned()),
        at: evening(),
        ticket: Some(TicketId(1)),
        asset: AssetId::new("press-1").ok(),
        device: DeviceId::new("press-1").ok(),
        title: "Bearing wear".to_owned(),
        priority,
        state: Some(TicketState::Dispatched),
        technician: Some("Ada".to_owned()),
        due_at: evening(),
        why: String::new(),
        automation: Vec::new(),
        what,
    }
}

fn book() -> AddressBook {
    let ada: Technician = serde_json::from_value(json!({
        "name": "Ada", "language": "zh-CN",
        "channels": [{"kind": "phone", "address": "110"}, {"kind": "sms", "address": "+49 170 1"},
            {"kind": "email", "address": "ada@example.com"}]
    }))
    .unwrap();
    let customer: Customer = serde_json::from_value(json!({
        "name": "Nordwind",
        "contacts": [
            {"id": "1", "name": "Silent", "channels": [{"kind": "email", "address": "silent@example.com"}]},
            {"id": "2", "name": "Past", "channels": [{"kind": "email", "address": "past@example.com"}],
             "consents": [{"purpose": "service", "given": true, "at": "2020-01-01T00:00:00Z", "until": "2021-01-01T00:00:00Z"}]},
            {"id": "3", "name": "Ute", "language": "en", "channels": [{"kind": "email", "address": "ute@example.com"}],
             "consents": [{"purpose": "service", "given": true, "at": "2020-01-01T00:00:00Z"}]}
        ]
    }))
    .unwrap();
    AddressBook {
        escalation: vec!["dispatcher".to_owned(), "nobody".to_owned()],
        first_level: Vec::new(),
        technicians: vec![(RecordId::new("t-ada").unwrap(), ada)],
        customer: Some(customer),
        has_answered: false,
    }
}

/// (channel, recipient, address) of each.
fn told(routed: &Routed) -> Vec<(&str, &str, &str)> {
    let all = routed.deliveries.iter();
    all.map(|d| (d.channel.as_str(), d.recipient.as_str(), d.address.as_str()))
        .collect()
}

const RULES: &str = r##"
person = [{ name = "dispatcher", language = "zh-CN", address = { mail = "dispatch@example.com", sms = "+49 170 2" },
  prefers = ["sms"], quiet = "" }]
rule = [
  { event = ["*"], to = ["#crm"] },
  { event = ["sla.escalated"], to = ["@escalation"] },
  { event = ["sla.escalated"], priority = ["P1"], to = ["dispatcher"], channels = ["mail", "sms"] },
  { event = ["ticket.assigned"], to = ["@technician"] },
  { event = ["visit.planned", "ticket.closed"], to = ["@customer"] },
  { event = ["sla.mark"], to = ["Ada", "dispatcher"], channels = ["mail"], digest = true },
]
"##;

#[test]
fn escalations_reach_named_people_by_what_they_prefer_and_the_others_are_named() {
    let what = NoticeKind::SlaEscalated {
        clock: SlaKind::Resolution,
        level: 1,
    };
    let notify = notify(RULES);
    let routed = route(
        &notify,
        &notice(what.clone(), Priority::P2),
        &book(),
        evening(),
    );
    assert_eq!(routed.unreachable.len(), 1);
    assert!(routed.unreachable[0].contains("\"nobody\" is nobody"));
    assert_eq!(
        told(&routed),
        [("crm", "crm", ""), ("sms", "dispatcher", "+49 170 2")]
    );
    assert_eq!(routed.deliveries[1].language, "zh-CN");
    assert_eq!(
        routed.deliveries[1].due_at,
        evening(),
        "no quiet hours of their own"
    );
    // Two rules name the same number: once.
    let routed = route(&notify, &notice(what, Priority::P1), &book(), evening());
    assert_eq!(
        told(&routed),
        [
            ("crm", "crm", ""),
            ("sms", "dispatcher", "+49 170 2"),
            ("mail", "dispatcher", "dispatch@example.com")
        ]
    );
}

#[test]
fn a_technician_is_written_to_after_the_quiet_hours_but_at_once_for_p1() {
    let what = NoticeKind::TicketAssigned {
        technician: "Ada".to_owned(),
    };
    let notify = notify(RULES);
    let calm = route(
        &notify,
        &notice(what.clone(), Priority::P3),
        &book(),
        evening(),
    );
    // Nothing carries spoken telephone: the next address counts.
    assert_eq!(told(&calm)[1], ("sms", "Ada", "+49 170 1"));
    assert_eq!(calm.deliveries[1].language, "zh-CN");
    assert_eq!(calm.deliveries[1].due_at, at("2026-03-03T06:00:00Z"));
    assert_eq!(
        calm.deliveries[0].due_at,
        evening(),
        "programs do not sleep"
    );
    let urgent = route(&notify, &notice(what, Priority::P1), &book(), evening());
    assert_eq!(urgent.deliveries[1].due_at, evening());
}

#[test]
fn a_message_on_a_ticket_that_nobody_has_is_heard_by_the_chain() {
    let rules = RULES.replace(
        "\"ticket.assigned\"",
        "\"ticket.assigned\", \"ticket.message\"",
    );
    let notify = notify(&rules);
    let mut message = notice(NoticeKind::TicketMessage, Priority::P1);
    let routed = route(&notify, &message, &book(), evening());
    assert_eq!(told(&routed)[1..], [("sms", "Ada", "+49 170 1")]);
    message.technician = None;
    let book = AddressBook {
        first_level: vec!["dispatcher".to_owned()],
        ..book()
    };
    let routed = route(&notify, &message, &book, evening());
    assert_eq!(told(&routed)[1..], [("sms", "dispatcher", "+49 170 2")]);
}

#[test]
fn a_customer_is_told_of_a_visit_in_time_and_asked_only_with_consent() {
    let start_at = at("2026-03-05T09:00:00Z");
    let notify = notify(RULES);
    let visit = notice(NoticeKind::VisitPlanned { start_at }, Priority::P3);
    let routed = route(&notify, &visit, &book(), evening());
    assert_eq!(told(&routed)[1], ("mail", "Ute", "ute@example.com"));
    let told_at = &routed.deliveries[1];
    assert!(told_at.to_customer);
    assert_eq!(told_at.due_at, at("2026-03-04T09:00:00Z"));
    // Ute agreed to be written about the work, not to be asked how it went.
    let mut closed = notice(NoticeKind::TicketClosed, Priority::P3);
    closed.state = Some(TicketState::Closed);
    let routed = route(&notify, &closed, &book(), evening());
    assert_eq!(told(&routed), [("crm", "crm", "")]);
    assert_eq!(routed.unreachable, [] as [&str; 0], "silence is no fault");
    assert_eq!(
        routed.untold.map(|untold| (untold.asks, untold.why)),
        Some((
            true,
            "no contact of Nordwind has agreed to be asked how the work went".to_owned()
        ))
    );
    let answered = AddressBook {
        has_answered: true,
        ..book()
    };
    assert_eq!(route(&notify, &closed, &answered, evening()).untold, None);
    let nobody = AddressBook::default();
    let routed = route(&notify, &visit, &nobody, evening());
    assert_eq!(told(&routed), [("crm", "crm", "")]);
}

#[test]
fn a_digest_is_collected_for_the_morning() {
    let what = NoticeKind::SlaMark {
        clock: SlaKind::Resolution,
        percent: 75,
    };
    let routed = route(
        &notify(RULES),
        &notice(what, Priority::P3),
        &book(),
        evening(),
    );
    let due: Vec<(bool, Timestamp)> = routed
        .deliveries
        .iter()
        .map(|d| (d.digest, d.due_at))
        .collect();
    let morning = at("2026-03-03T07:00:00Z");
    assert_eq!(due, [(false, evening()), (true, morning), (true, morning)]);
}

#[test]
fn what_a_section_names_and_is_not_there_is_said() {
    for (rest, says) in [
        (
            "person = []\nrule = [{ event = [\"ticket.open\"], to = [\"#crm\"] }]",
            "rule[0].event",
        ),
        (
            "person = []\nrule = [{ event = [\"*\"], to = [\"#pager\"] }]",
            "there is crm, mail, sms, team",
        ),
        (
            "person = []\nrule = [{ event = [\"*\"], to = [\"#mail\"] }]",
            "carries messages to people",
        ),
        (
            "person = []\nrule = [{ event = [\"*\"], to = [\"@boss\"] }]",
            "@escalation, @technician or @customer",
        ),
        (
            "rule = []\nperson = [{ name = \"a\", address = { mail = \"nowhere\" } }]",
            "person[0].address.mail",
        ),
        (
            "rule = []\nperson = [{ name = \"a\", address = { team = \"x\" } }]",
            "speaks to one place",
        ),
        (
            "rule = []\nperson = [{ name = \"a\", time_zone = \"Moon/Sea\" }]",
            "person[0].quiet",
        ),
        (
            "rule = []\nperson = [{ name = \"a\" }, { name = \"a\" }]",
            "comes twice",
        ),
    ] {
        let refused = Notify::new(settings(rest)).unwrap_err().to_string();
        assert!(
            refused.starts_with("notify.") && refused.contains(says),
            "{rest}: {refused}"
        );
    }
    let mut wrong = settings("person = []\nrule = []");
    wrong.attempts_max = 0;
    assert!(
        Notify::new(wrong)
            .unwrap_err()
            .to_string()
            .contains("attempts_max")
    );
}
