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
        contact: None,
        time_zone: None,
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

const TO_CUSTOMERS: &str = r##"
person = []
rule = [{ event = ["ticket.replied", "ticket.received", "mail.unplaced", "ticket.opened"], to = ["@customer"] }]
"##;

fn reply() -> NoticeKind {
    NoticeKind::TicketReplied {
        text: "We come on Monday".to_owned(),
        by: "Eve".to_owned(),
    }
}

#[test]
fn an_answer_goes_to_who_asked_and_else_to_who_agreed() {
    let notify = notify(TO_CUSTOMERS);
    let with = |contact: Option<&str>| AddressBook {
        contact: contact.map(ToOwned::to_owned),
        ..book()
    };
    let answer = notice(reply(), Priority::P3);
    let of = |contact| {
        let routed = route(&notify, &answer, &with(contact), evening());
        assert_eq!(routed.untold, None);
        let to = routed.deliveries.first().map(|d| d.address.clone());
        to.unwrap_or_default()
    };
    assert_eq!(of(None), "ute@example.com");
    assert_eq!(
        of(Some("1")),
        "silent@example.com",
        "who asks wants to be answered"
    );
    assert_eq!(
        of(Some("2")),
        "ute@example.com",
        "what they agreed to has ended"
    );
    assert_eq!(of(Some("gone")), "ute@example.com");
    let received = notice(NoticeKind::TicketReceived, Priority::P3);
    let routed = route(&notify, &received, &with(Some("1")), evening());
    assert_eq!(told(&routed), [("mail", "Silent", "silent@example.com")]);
    for contact in [None, Some("2"), Some("gone")] {
        let routed = route(&notify, &received, &with(contact), evening());
        assert_eq!(told(&routed), [], "{contact:?}");
        assert_eq!(routed.untold, None, "{contact:?}");
    }
}

#[test]
fn that_an_answer_reaches_nobody_is_said() {
    let notify = notify(TO_CUSTOMERS);
    let answer = notice(reply(), Priority::P3);
    let nobody = route(&notify, &answer, &AddressBook::default(), evening());
    let why = nobody.untold.unwrap().why;
    assert_eq!(why, "the machine has no customer on record");
    let mut book = book();
    for contact in &mut book.customer.as_mut().unwrap().contacts {
        contact.consents.clear();
    }
    let silent = route(&notify, &answer, &book, evening());
    let why = silent.untold.unwrap().why;
    assert_eq!(
        why,
        "no contact of Nordwind has agreed to messages about the work"
    );
}

#[test]
fn that_no_rule_sends_answers_to_customers_is_said() {
    let routed = route(
        &notify(RULES),
        &notice(reply(), Priority::P3),
        &book(),
        evening(),
    );
    assert_eq!(told(&routed), [("crm", "crm", "")]);
    let why = routed.untold.unwrap().why;
    assert!(why.contains("ticket.replied to @customer"), "{why}");
}

#[test]
fn a_contacts_own_hours_and_zone_count_then_those_of_the_machines_place() {
    let notify = notify(TO_CUSTOMERS);
    let opened = notice(NoticeKind::TicketOpened, Priority::P3);
    let due = |zone: Option<&str>, quiet: Option<&str>, place: Option<&str>| {
        let mut book = book();
        book.time_zone = place.map(ToOwned::to_owned);
        let ute = &mut book.customer.as_mut().unwrap().contacts[2];
        ute.time_zone = zone.map(ToOwned::to_owned);
        ute.quiet = quiet.map(ToOwned::to_owned);
        let routed = route(&notify, &opened, &book, evening());
        assert_eq!(routed.deliveries[0].recipient, "Ute");
        routed.deliveries[0].due_at
    };
    // 21:30 in Berlin, where it is quiet from 21:00 to 07:00; 04:30 in Shanghai, 15:30 in New York.
    assert_eq!(due(None, None, None), at("2026-03-03T06:00:00Z"));
    assert_eq!(
        due(None, None, Some("Asia/Shanghai")),
        at("2026-03-02T23:00:00Z")
    );
    assert_eq!(
        due(Some("America/New_York"), None, Some("Asia/Shanghai")),
        evening()
    );
    assert_eq!(due(None, Some("22:00-06:00"), None), evening());
    assert_eq!(due(None, Some(""), None), evening());
    assert_eq!(
        due(Some("America/New_York"), Some("15:00-16:00"), None),
        at("2026-03-02T21:00:00Z")
    );
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
