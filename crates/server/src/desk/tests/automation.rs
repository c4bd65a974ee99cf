//! Rules of automation on a desk: each action, each occasion, once across restarts.

use std::sync::Arc;

use forecare_api::Desk;
use forecare_domain::{
    EntryBody, MetricName, Notice, NoticeKind, Origin, Priority, Row, SurveyAnswer, Ticket,
    TicketId, TicketState, Visibility,
};
use forecare_registry::{Body, Lead, LeadState, RecordKind, RecordRef};
use forecare_store::{
    CommitBatch, MaintenanceWindow, PageRequest, RecordFilter, RecordPage, ScoredRow, Store,
    TicketFilter, every,
};
use forecare_store_sqlite::SqliteStore;
use serde_json::{Value, json};

use super::super::automation::Marks;
use super::opening::{memory, report};
use super::schedules::config;
use super::{Office, catalogue, hour, office_with};
use crate::desk::{Rehearsed, Scene, Span};

const PAGE: PageRequest = PageRequest {
    before: None,
    limit: 100,
};
const DAY: i64 = 24;

impl Office {
    /// Lets rules react to all that is new, as often as something comes of it, and routes it. Twice before it is routed:
    /// as if the process had died in between.
    async fn react(&self) {
        loop {
            let notices = self.desk.store.unrouted_notices(100).await.unwrap();
            if notices.is_empty() {
                return;
            }
            for notice in notices {
                self.desk.automate(&notice).await.unwrap();
                self.desk.automate(&notice).await.unwrap();
                let now = self.desk.clock.now();
                let routed = self.desk.store.route_notice(&notice.id, Vec::new(), now);
                routed.await.unwrap();
            }
        }
    }

    /// A look as after a start: nothing is remembered but what is stored. And once more.
    async fn automation(&self, at: i64) -> usize {
        self.clock.set(hour(at));
        let n = self.looked(at).await;
        assert_eq!(self.looked(at).await, 0, "nothing is done twice");
        n
    }

    async fn looked(&self, at: i64) -> usize {
        let mut marks = Marks::new();
        let looked = self.desk.look_at_automation(&mut marks, hour(at));
        looked.await.unwrap()
    }

    async fn reported(&self, asset: &str, kind: &str) -> TicketId {
        let request = report(asset, kind);
        let opened = self.desk.open_ticket(request, super::eve()).await.unwrap();
        self.react().await;
        opened.id
    }

    async fn ticket(&self, id: TicketId) -> Ticket {
        self.desk.store.ticket(id).await.unwrap()
    }

    async fn notes(&self, id: TicketId) -> Vec<(String, String, Visibility)> {
        let entries = self.desk.store.ticket_entries(id, PAGE).await.unwrap();
        let notes = entries.into_iter().filter_map(|e| match e.item.body {
            EntryBody::Note { text, visibility } => Some((e.item.by.name, text, visibility)),
            EntryBody::Time { .. } | EntryBody::Attachment(_) => None,
        });
        notes.collect()
    }

    async fn notices(&self, label: &str) -> Vec<Notice> {
        let all = every(|page| self.desk.store.notices(page)).await.unwrap();
        let mut found: Vec<Notice> = all
            .into_iter()
            .filter(|n| n.what.label() == label)
            .collect();
        found.reverse();
        found
    }

    async fn leads(&self) -> Vec<(String, Lead)> {
        let page = RecordPage {
            after: None,
            limit: 100,
        };
        let all = RecordFilter::default();
        let found = self.desk.store.records(RecordKind::Lead, &all, &page).await;
        let leads = found.unwrap().into_iter().filter_map(|r| match r.body {
            Some(Body::Lead(lead)) => Some((r.record.id.to_string(), lead)),
            Some(_) | None => None,
        });
        leads.collect()
    }

    fn results(&self, rule: &str) -> Vec<(String, String, u64)> {
        let rules = self.desk.automation.shown();
        let shown = rules.into_iter().find(|r| r.name == rule).unwrap();
        let results = shown.results.into_iter();
        results.map(|r| (r.action, r.result, r.n)).collect()
    }

    async fn heard(&self, device: &str, at: i64, value: f64) {
        let class = &catalogue().classes[0];
        let mut values = vec![None; class.metrics.len()];
        values[0] = Some(value);
        let row = Row {
            device: forecare_domain::DeviceId::new(device).unwrap(),
            ts: hour(at),
            values,
            extra: Vec::<(MetricName, f64)>::new(),
        };
        let batch = CommitBatch {
            rows: vec![ScoredRow { row, health: None }],
            ..CommitBatch::default()
        };
        self.desk.store.commit_batch(batch).await.unwrap();
    }

    async fn rehearsed(&self, from: i64, to: i64) -> Vec<Rehearsed> {
        let scene = Scene {
            store: &*self.desk.store,
            terms: &self.desk.terms,
            rules: &self.desk.automation.rules,
        };
        let span = Span {
            from: hour(from),
            to: hour(to),
            rule: None,
        };
        scene.rehearse(&span, |_, _| {}).await.unwrap()
    }
}

fn done(action: &str, n: u64) -> (String, String, u64) {
    (action.to_owned(), "done".to_owned(), n)
}

#[tokio::test]
async fn a_rule_assigns_raises_and_sends_once_and_says_who_it_is() {
    let office = office_with(
        memory(),
        config(
            "[[care.automation]]\nname = \"corrective-to-jonas\"\non = \"ticket.opened\"\n\
             when = { kinds = [\"corrective\"] }\n\
             then = [{ priority = \"P2\" }, { assign = { technician = \"Jonas Petersen\", send = true } }]\n",
        ),
    );
    office.machines(&["c1"]).await;
    let id = office.reported("c1", "corrective").await;
    let ticket = office.ticket(id).await;
    assert_eq!(ticket.state, TicketState::Dispatched);
    assert_eq!(ticket.priority, Priority::P2);
    assert_eq!(ticket.technician.as_deref(), Some("Jonas Petersen"));
    let by: Vec<&str> = ticket.history.iter().map(|c| c.by.name.as_str()).collect();
    let rule = "automation:corrective-to-jonas";
    assert_eq!(by, ["Eve", rule, rule, rule, rule], "{:#?}", ticket.history);
    // It is not a person's answer: the first clock goes on.
    assert_eq!(ticket.sla.unwrap().first_response.stopped_at, None);
    let results = office.results("corrective-to-jonas");
    assert_eq!(results, [done("assign", 1), done("priority", 1)]);
    let other = office.reported("c1", "inspection").await;
    assert_eq!(office.ticket(other).await.history.len(), 1);
}

#[tokio::test]
async fn a_planners_word_stands_against_a_rule() {
    let office = office_with(
        memory(),
        config(
            "[[care.automation]]\nname = \"changed\"\non = \"ticket.changed\"\n\
             then = [{ assign = { technician = \"Marta Nowak\" } }]\n\
             [[care.automation]]\nname = \"unknown\"\non = \"ticket.opened\"\n\
             then = [{ assign = { technician = \"Nobody\" } }, { assign = { skill = \"alignment\" } }]\n",
        ),
    );
    office.machines(&["c1"]).await;
    let id = office.reported("c1", "corrective").await;
    let unknown = office.results("unknown");
    let failed = ("assign".to_owned(), "failed".to_owned(), 2);
    // It stays so, however often it is tried.
    assert_eq!(unknown, [done("assign", 1), failed]);
    assert!(
        office
            .ticket(id)
            .await
            .skills
            .contains(&"alignment".to_owned())
    );
    office
        .assign(id, Some("Jonas Petersen"), None)
        .await
        .unwrap();
    office.step(id, TicketState::Triaged).await;
    office.react().await;
    let ticket = office.ticket(id).await;
    assert_eq!(ticket.technician.as_deref(), Some("Jonas Petersen"));
    assert_eq!(office.results("changed")[0].1, "skipped");
}

#[tokio::test]
async fn articles_are_given_to_the_customer_only_where_they_are_public() {
    let office = office_with(
        memory(),
        config(
            "[[care.automation]]\nname = \"help\"\non = \"ticket.opened\"\n\
             then = [{ note = { article_of_mode = true, to_customer = true } }, { note = { article = \"internal\" } },\n\
             { note = { text = \"{ticket} of {customer}\" } }]\n",
        ),
    );
    office.machines(&["c1"]).await;
    let article = |title: &str, language: &str, public| {
        json!({"title": title, "text": "Do this.", "language": language, "modes": ["bearing-wear"],
            "state": "published", "public": public})
    };
    let contact = json!([{"id": "p", "name": "Li", "language": "zh-CN"}]);
    office
        .records(&[
            (
                RecordKind::Customer,
                "acme",
                json!({"name": "Acme", "contacts": contact}),
            ),
            (RecordKind::Asset, "c1", json!({"customer": "acme"})),
            (
                RecordKind::Article,
                "internal",
                article("Inside", "en", false),
            ),
            (RecordKind::Article, "a-en", article("Bearings", "en", true)),
            (RecordKind::Article, "z-zh", article("轴承", "zh-CN", true)),
        ])
        .await;
    office.alarmed(&["c1"], "bearing-wear").await;
    office.react().await;
    let id = office.tickets().await[0].id;
    let mut notes = office.notes(id).await;
    notes.reverse();
    let by = || "automation:help".to_owned();
    let expected = [
        (by(), "轴承\n\nDo this.".to_owned(), Visibility::Public),
        (
            by(),
            "See article internal: Inside".to_owned(),
            Visibility::Internal,
        ),
        (by(), format!("{id} of Acme"), Visibility::Internal),
    ];
    assert_eq!(notes, expected);
    // What is for the customer is told, beside being there to read.
    let told = office.notices("automation.message").await;
    assert_eq!(told.len(), 1);
    let NoticeKind::AutomationMessage(message) = &told[0].what else {
        panic!("a message");
    };
    assert_eq!(message.text, "轴承\n\nDo this.");
    assert_eq!(message.to, ["@customer"]);
}

#[tokio::test]
async fn what_rules_bring_about_leads_to_other_rules_and_never_round_in_circles() {
    let note = |name: &str, on: &str| {
        format!(
            "[[care.automation]]\nname = \"{name}\"\non = \"{on}\"\n\
             then = [{{ open = {{ kind = \"inspection\", title = \"{{rule}} of {{ticket}}\", follow_up = true, due_days = 7 }} }}]\n"
        )
    };
    let rules = note("one", "ticket.opened") + &note("two", "ticket.opened");
    let office = office_with(memory(), config(&rules));
    office.machines(&["c1"]).await;
    let id = office.reported("c1", "corrective").await;
    let mut titles: Vec<String> = Vec::new();
    for ticket in office.tickets().await.iter().skip(1) {
        titles.push(ticket.title.clone());
        let Origin::Automation { rule, follows } = &ticket.origin else {
            panic!("a rule opened {ticket:?}");
        };
        assert!(ticket.title.starts_with(rule.as_str()));
        assert_eq!(ticket.work.parent, *follows);
        assert_eq!(ticket.due_at, hour(7 * DAY));
    }
    titles.sort();
    // Each once for what a person opened, and once for what the other one did.
    assert_eq!(
        titles,
        ["one of T-1", "one of T-3", "two of T-1", "two of T-2"]
    );
    let filter = TicketFilter {
        parent: Some(id),
        ..TicketFilter::default()
    };
    assert_eq!(
        office
            .desk
            .store
            .tickets(&filter, PAGE)
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn somebody_is_told_and_a_customer_is_asked() {
    let office = office_with(
        memory(),
        config(
            "[notify.channel.crm]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\nsecret_file = \"x\"\n\
             [[care.automation]]\nname = \"tell\"\non = \"ticket.closed\"\nwhen = { states = [\"cancelled\"] }\n\
             then = [{ notify = { to = [\"#crm\"], text = \"{title} is off\", subject = \"Off: {ticket}\" } },\n\
             { notify = { to = [\"@customer\"], text = \"How was it?\", survey = true } }]\n",
        ),
    );
    office.machines(&["c1"]).await;
    let id = office.reported("c1", "corrective").await;
    office.step(id, TicketState::Cancelled).await;
    office.react().await;
    let told = office.notices("automation.message").await;
    let texts: Vec<(&str, &str, bool)> = told
        .iter()
        .map(|n| {
            let NoticeKind::AutomationMessage(m) = &n.what else {
                panic!("a message");
            };
            (n.title.as_str(), m.text.as_str(), m.survey)
        })
        .collect();
    let title = &office.ticket(id).await.title;
    let off = format!("{title} is off");
    assert_eq!(texts[0], ("Off: T-1", off.as_str(), false));
    assert_eq!((texts[1].1, texts[1].2), ("How was it?", true));
    assert_eq!(told[0].ticket, Some(id));
    assert_eq!(told[0].automation, ["tell"]);
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn a_bad_answer_is_followed_up_once_and_older_ones_are_let_be() {
    let rules = "[[care.automation]]\nname = \"sorry\"\non = \"survey.answered\"\nwhen = { csat_max = 2 }\n\
        then = [{ open = { kind = \"complaint\", title = \"Call about {ticket}\", priority = \"P2\", follow_up = true } }]\n";
    let store = memory();
    let first = office_with(store.clone(), config(""));
    first.machines(&["c1", "c2", "c3"]).await;
    let mut ids = Vec::new();
    for asset in ["c1", "c2", "c3"] {
        ids.push(first.reported(asset, "corrective").await);
    }
    let answer = |ticket, at, csat| SurveyAnswer {
        ticket,
        at: hour(at),
        solved: None,
        csat: Some(csat),
        nps: None,
        ces: None,
        comment: None,
    };
    store.put_survey_answer(answer(ids[0], 1, 1)).await.unwrap();
    let again = || office_with(store.clone(), config(rules));
    assert_eq!(
        again().automation(2).await,
        0,
        "answered before there was a rule"
    );
    store.put_survey_answer(answer(ids[1], 3, 5)).await.unwrap();
    store.put_survey_answer(answer(ids[2], 3, 2)).await.unwrap();
    again().automation(4).await;
    again().automation(5).await;
    let tickets = again().tickets().await;
    assert_eq!(tickets.len(), 4);
    assert_eq!(tickets[3].work.parent, Some(ids[2]));
    assert_eq!(tickets[3].kind.as_str(), "complaint");
}

#[tokio::test]
async fn a_ticket_that_waits_is_escalated_once_per_stay() {
    let rules = "[[care.automation]]\nname = \"stuck\"\non = \"ticket.waiting\"\nstates = [\"triaged\"]\nhours = 4\n\
        then = [{ priority = \"P1\" }, { note = { text = \"{occasion}\" } }]\n";
    let store = memory();
    let again = || office_with(store.clone(), config(rules));
    let office = again();
    office.machines(&["c1"]).await;
    let id = office.reported("c1", "corrective").await;
    office.clock.set(hour(1));
    office.step(id, TicketState::Triaged).await;
    assert_eq!(office.automation(4).await, 0);
    assert_eq!(again().automation(5).await, 1);
    assert_eq!(again().automation(9).await, 0);
    let ticket = office.ticket(id).await;
    assert_eq!(ticket.priority, Priority::P1);
    assert_eq!(office.notes(id).await.len(), 1);
    office.clock.set(hour(10));
    office.step(id, TicketState::Dispatched).await;
    assert_eq!(again().automation(20).await, 0);
    office.clock.set(hour(20));
    office.step(id, TicketState::Triaged).await;
    assert_eq!(again().automation(24).await, 1, "another stay");
    assert_eq!(office.notes(id).await.len(), 2);
}

fn customer(marketing: bool) -> Value {
    let consents = json!([{"purpose": "marketing", "given": true, "at": "2025-01-01T00:00:00Z"}]);
    let consents = if marketing { consents } else { json!([]) };
    json!({"name": "Acme", "data_consents": consents})
}

const LIFE: &str = "[[care.automation]]\nname = \"first-check\"\non = \"asset.installed\"\ndays = 30\n\
    then = [{ open = { kind = \"inspection\", title = \"First check of {asset}\" } }]\n\
    [[care.automation]]\nname = \"yearly\"\non = \"asset.age\"\nevery_days = 365\n\
    then = [{ open = { kind = \"inspection\", title = \"{occasion}\" } }]\n\
    [[care.automation]]\nname = \"warranty\"\non = \"warranty.ending\"\ndays = 60\nwhen = { covered = false }\n\
    then = [{ lead = { offer = \"extended-warranty\", title = \"Warranty of {asset}\", note = \"Call first\" } }]\n\
    [[care.automation]]\nname = \"renew\"\non = \"contract.ending\"\ndays = 90\n\
    then = [{ lead = { offer = \"renewal\" } }]\n\
    [[care.automation]]\nname = \"firmware\"\non = \"firmware.notice\"\nversions = [\"2.1.*\"]\n\
    when = { classes = [\"screw-compressor\"] }\n\
    then = [{ open = { kind = \"corrective\", title = \"Update the firmware of {asset}\" } }]\n\
    [[care.automation]]\nname = \"silent\"\non = \"device.silent\"\nhours = 48\n\
    then = [{ notify = { to = [\"dispatcher\"], text = \"{asset}: {occasion}\" } }]\n";

/// Machines with dates at `LIFE`'s rules; the clock begins on 2026-01-01.
async fn furnished(office: &Office) {
    office.machines(&["c1", "c2"]).await;
    office
        .records(&[
            (RecordKind::Customer, "acme", customer(true)),
            (RecordKind::Customer, "shy", customer(false)),
            (
                RecordKind::Asset,
                "c1",
                json!({"customer": "acme", "installed_on": "2025-12-20", "warranty_until": "2026-03-01", "firmware": "2.1.4"}),
            ),
            (
                RecordKind::Asset,
                "c2",
                json!({"customer": "shy", "installed_on": "2010-01-01", "commissioned_on": "2025-01-10", "warranty_until": "2026-03-01"}),
            ),
            (
                RecordKind::Contract,
                "K-1",
                json!({"customer": "acme", "kind": "full-service", "valid_from": "2025-01-01", "valid_to": "2026-04-01",
                    "yearly_price": 9000, "coverage": {"assets": ["c2"]}}),
            ),
            (
                RecordKind::Contract,
                "K-2",
                json!({"customer": "shy", "kind": "full-service", "valid_from": "2025-01-01", "valid_to": "2026-04-01"}),
            ),
        ])
        .await;
    office.heard("c1", 0, 1.0).await;
}

#[tokio::test]
async fn the_life_of_machines_and_contracts_is_cared_for_once_across_restarts_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let reopen = || {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&path, &catalogue(), hour(0)).unwrap());
        office_with(store, config(LIFE))
    };
    furnished(&reopen()).await;
    let mut acted = Vec::new();
    // Day 0: firmware, warranty. Day 2: silence, and the contract's end since day 1. Day 9: a year. Day 18: 30 days.
    for at in [0, 1, 48, 49, 3 * DAY, 9 * DAY, 17 * DAY, 18 * DAY, 19 * DAY] {
        acted.push(reopen().automation(at).await);
        reopen().react().await;
    }
    assert_eq!(acted, [2, 0, 2, 0, 0, 1, 0, 1, 0]);
    let office = reopen();
    let titles: Vec<String> = office
        .tickets()
        .await
        .into_iter()
        .map(|t| t.title)
        .collect();
    assert_eq!(
        titles,
        [
            "Update the firmware of c1",
            "365 days in operation since 2025-01-10",
            "First check of c1"
        ]
    );
    let leads = office.leads().await;
    let kinds: Vec<(&str, &str)> = leads
        .iter()
        .map(|(_, lead)| (lead.kind.as_str(), lead.title.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("extended-warranty", "Warranty of c1"),
            ("renewal", "the contract ends on 2026-04-01")
        ],
        "nothing is offered to who has not agreed"
    );
    assert_eq!(leads[1].1.value, Some(9_000.0));
    let told = office.notices("care.lead").await;
    assert_eq!(told.len(), 2);
    let NoticeKind::CareLead(lead) = &told[1].what else {
        panic!("a lead");
    };
    assert_eq!(
        (lead.customer.as_str(), lead.contract.as_deref()),
        ("acme", Some("K-1"))
    );
    assert_eq!(
        (lead.lead.as_str(), &told[1].ticket),
        (leads[1].0.as_str(), &None)
    );
    let silent = office.notices("automation.message").await;
    assert_eq!(silent.len(), 1);
    assert_eq!(silent[0].asset.as_ref().unwrap().as_str(), "c1");
}

#[tokio::test]
async fn a_lead_that_sales_has_taken_up_is_left_alone_after_a_crash() {
    let office = office_with(memory(), config(LIFE));
    furnished(&office).await;
    office.automation(3 * DAY).await;
    let (id, lead) = office.leads().await.remove(1);
    let taken = Lead {
        state: LeadState::Taken,
        ..lead
    };
    let body = serde_json::to_value(&taken).unwrap();
    office
        .records(&[(RecordKind::Lead, id.as_str(), body)])
        .await;
    // As if the process had died before it kept that the occasion was taken care of.
    let place = "automation/renew/contract/K-1";
    assert!(office.desk.store.setting(place).await.unwrap().is_some());
    office.desk.store.put_setting(place, "\"\"").await.unwrap();
    office.looked(3 * DAY).await;
    let record = RecordRef::new(RecordKind::Lead, id.parse().unwrap());
    let kept = office.desk.store.record(&record).await.unwrap().unwrap();
    assert!(matches!(kept.body, Some(Body::Lead(lead)) if lead.state == LeadState::Taken));
    assert_eq!(office.notices("care.lead").await.len(), 2);
}

#[tokio::test]
async fn a_contract_that_is_renewed_already_is_not_offered() {
    let office = office_with(memory(), config(LIFE));
    furnished(&office).await;
    let next = json!({"customer": "acme", "kind": "full-service", "valid_from": "2026-04-02",
        "coverage": {"assets": ["c2"]}});
    office.records(&[(RecordKind::Contract, "K-3", next)]).await;
    office.automation(3 * DAY).await;
    assert!(
        office
            .leads()
            .await
            .iter()
            .all(|(_, lead)| lead.kind != "renewal")
    );
}

#[tokio::test]
async fn who_agrees_later_is_offered_it_later() {
    let office = office_with(memory(), config(LIFE));
    furnished(&office).await;
    office.automation(3 * DAY).await;
    let n = office.leads().await.len();
    office
        .records(&[(RecordKind::Customer, "shy", customer(true))])
        .await;
    assert_eq!(
        office.automation(4 * DAY).await,
        1,
        "the contract covers it"
    );
    assert_eq!(office.leads().await.len(), n + 1);
}

#[tokio::test]
async fn a_counter_opens_at_its_mark_once_across_restarts() {
    let metric = &catalogue().classes[0].metrics[0].name;
    let rules = format!(
        "[[care.automation]]\nname = \"cycles\"\non = \"asset.cycles\"\ncounter = \"{metric}\"\nevery = 1000\n\
         then = [{{ open = {{ kind = \"inspection\", title = \"{{occasion}}\" }} }}]\n"
    );
    let store = memory();
    let again = || office_with(store.clone(), config(&rules));
    again().machines(&["c1"]).await;
    let mut acted = Vec::new();
    for (at, value) in [(1, 990.0), (2, 1_001.0), (3, 1_500.0)] {
        again().heard("c1", at, value).await;
        acted.push(again().automation(at).await);
    }
    assert_eq!(acted, [0, 1, 0]);
    // What was kept is lost: the key still keeps it from being done twice.
    let place = "automation/cycles/c1/counter";
    store
        .put_setting(place, r#"{"upto":0.0,"epoch":0}"#)
        .await
        .unwrap();
    again().looked(4).await;
    assert_eq!(again().tickets().await.len(), 1);
}

#[tokio::test]
async fn a_device_under_maintenance_is_not_missed() {
    let office = office_with(memory(), config(LIFE));
    furnished(&office).await;
    let window = MaintenanceWindow {
        device: forecare_domain::DeviceId::new("c1").unwrap(),
        from: hour(1),
        to: hour(60),
        why: "new floor".to_owned(),
    };
    office
        .desk
        .store
        .put_maintenance_window(window)
        .await
        .unwrap();
    office.automation(50).await;
    assert!(office.notices("automation.message").await.is_empty());
    office.automation(61).await;
    assert_eq!(office.notices("automation.message").await.len(), 1);
}

#[tokio::test]
async fn a_rehearsal_says_what_was_done_and_changes_nothing() {
    let rules = format!(
        "{LIFE}[[care.automation]]\nname = \"note\"\non = \"ticket.opened\"\nwhen = {{ origins = [\"person\"] }}\n\
         then = [{{ note = {{ text = \"hello\" }} }}]\n\
         [[care.automation]]\nname = \"stuck\"\non = \"ticket.waiting\"\nstates = [\"new\"]\nhours = 24\n\
         then = [{{ priority = \"P1\" }}]\n"
    );
    let store = memory();
    let plain = office_with(store.clone(), config(""));
    furnished(&plain).await;
    plain.clock.set(hour(2));
    let id = plain.reported("c1", "corrective").await;
    plain.clock.set(hour(40));
    plain.step(id, TicketState::Triaged).await;
    plain.react().await;
    let before = plain.ticket(id).await;
    let office = office_with(store.clone(), config(&rules));
    let found = office.rehearsed(0, 30 * DAY).await;
    let lines: Vec<(i64, &str, &str)> = found
        .iter()
        .map(|f| {
            let hours = (f.at.as_millis() - hour(0).as_millis()) / 3_600_000;
            (hours, f.rule.as_str(), f.subject.as_str())
        })
        .collect();
    assert_eq!(
        lines,
        [
            (0, "firmware", "c1"),
            (2, "note", "T-1"),
            (23, "renew", "K-1"),
            (26, "stuck", "T-1"),
            (48, "silent", "c1"),
            (216, "yearly", "c2"),
            (432, "first-check", "c1"),
        ]
    );
    assert_eq!(found[1].actions, ["note (internal): hello"]);
    assert_eq!(office.ticket(id).await, before);
    assert!(office.leads().await.is_empty() && office.notes(id).await.is_empty());
    assert_eq!(office.tickets().await.len(), 1);
}
