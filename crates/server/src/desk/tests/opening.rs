//! Tickets of people and devices; contracts of the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecare_api::{Desk, DeskError, OpenRequest, TransitionRequest, Work, WorkRequest};
use forecare_care::classify::Classification;
use forecare_care::work::WorkStep;
use forecare_domain::{
    AssetId, CareTask, DeviceEvent, DeviceId, EventSeverity, FieldValue, Origin, PartNumber,
    PartWanted, Priority, Report, Ticket, TicketState, Urgency, Verdict,
};
use forecare_registry::{Body, Change, RecordId, RecordKind, RecordWrite};
use forecare_store::{
    CommitBatch, MemoryStore, NewTask, PageRequest, RecordCommit, RecordsOutcome,
    ReservationFilter, Store,
};
use serde_json::{Value, json};

use super::{Office, catalogue, counted, eve, hour, office, office_on, office_with};
use crate::config::Config;

pub(super) fn report(asset: &str, kind: &str) -> OpenRequest {
    OpenRequest {
        asset: AssetId::new(asset).unwrap(),
        kind: kind.to_owned(),
        title: String::new(),
        report: Report {
            urgency: Urgency::Low,
            ..Report::default()
        },
        mode: None,
        fields: BTreeMap::new(),
        parent: None,
        contact: None,
        idempotency_key: None,
    }
}

pub(super) fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(&catalogue(), hour(0)))
}

impl Office {
    async fn event(&self, code: &str, severity: EventSeverity, at: i64) {
        let event = DeviceEvent {
            device: DeviceId::new("c1").unwrap(),
            ts: hour(at),
            code: code.to_owned(),
            severity,
            component: None,
            message: "no oil".to_owned(),
        };
        let batch = CommitBatch {
            tasks: vec![NewTask(CareTask::Reported {
                event,
                at: hour(at),
            })],
            ..CommitBatch::default()
        };
        self.desk.store.commit_batch(batch).await.unwrap();
        while self.desk.work().await.unwrap() > 0 {}
    }

    pub(super) async fn records(&self, records: &[(RecordKind, &str, Value)]) {
        let writes = records
            .iter()
            .map(|(kind, id, body)| RecordWrite {
                kind: *kind,
                id: RecordId::new(*id).unwrap(),
                change: Change::Put(Box::new(Body::parse(*kind, body.clone()).unwrap())),
                if_version: None,
            })
            .collect();
        let commit = RecordCommit {
            writes,
            by: eve(),
            at: hour(0),
        };
        let stored = self.desk.store.commit_records(commit).await.unwrap();
        assert!(matches!(stored, RecordsOutcome::Stored(_)), "{stored:?}");
        self.desk.terms.refresh(&*self.desk.store).await.unwrap();
    }
}

#[tokio::test]
async fn a_report_opens_once_per_key_and_has_clocks_and_a_plan() {
    let office = office(memory());
    office.machines(&["c1"]).await;
    let mut request = report("c1", "corrective");
    request.idempotency_key = Some("k".to_owned());
    request.report.safety = true;
    request.mode = catalogue().classes[0].modes.first().map(|m| m.name.clone());
    let first = office
        .desk
        .open_ticket(request.clone(), eve())
        .await
        .unwrap();
    let again = office.desk.open_ticket(request, eve()).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(office.tickets().await.len(), 1);
    assert_eq!(first.priority, Priority::P1);
    let sla = first.sla.as_ref().unwrap();
    assert_eq!(
        (sla.terms.as_str(), sla.resolution.target_ms),
        ("standard", 24 * 3_600_000)
    );
    assert_eq!(office.desk.plan_now().await.unwrap(), 1);
    assert!(office.tickets().await[0].proposal.is_some());
    // Neither silence nor time takes it away.
    office.look(5_000).await;
    assert!(office.tickets().await[0].state.is_open());
}

#[tokio::test]
async fn somebody_in_danger_goes_before_what_has_weeks_whatever_the_catalogue_holds() {
    let mut catalogue = catalogue();
    for class in &mut catalogue.classes {
        class.modes.clear();
    }
    catalogue.technicians.truncate(1);
    let config = Config::load(None, &[]).unwrap();
    let (office, _requests) = office_on(memory(), config, catalogue, hour(0));
    office.machines(&["c1", "c2"]).await;
    let mut tickets = Vec::new();
    for (asset, safety) in [("c1", false), ("c1", false), ("c2", true)] {
        let mut request = report(asset, "corrective");
        request.report.safety = safety;
        tickets.push(office.desk.open_ticket(request, eve()).await.unwrap());
    }
    assert_eq!(tickets[2].priority, Priority::P1);
    office.desk.plan_now().await.unwrap();
    let planned: Vec<_> = office
        .tickets()
        .await
        .into_iter()
        .map(|t| t.proposal.unwrap().assigned.unwrap())
        .collect();
    let [.., urgent] = planned.as_slice() else {
        panic!("three are planned");
    };
    assert!(urgent.cost.waiting > 0.0, "{urgent:?}");
    for other in &planned[..2] {
        assert!(urgent.start_at < other.start_at, "{planned:?}");
        assert!(other.cost.waiting > 0.0, "{other:?}");
    }
}

#[tokio::test]
async fn a_report_for_nothing_is_refused_with_its_field() {
    let office = office(memory());
    office.machines(&["c1"]).await;
    for (request, field) in [
        (report("c9", "corrective"), "asset_id: "),
        (report("c1", "party"), "kind: "),
    ] {
        let refused = office.desk.open_ticket(request, eve()).await.unwrap_err();
        assert!(
            matches!(&refused, DeskError::Invalid(text) if text.starts_with(field)),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn an_event_opens_one_ticket_while_that_is_open() {
    let rules = "[[care.tickets.event]]\ncodes = [\"E42\"]\npriority = \"P1\"\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("forecare.toml");
    std::fs::write(&file, rules).unwrap();
    let office = office_with(memory(), Config::load(Some(&file), &[]).unwrap());
    office.machines(&["c1"]).await;
    office.event("E42", EventSeverity::Warning, 1).await;
    office.event("E7", EventSeverity::Error, 1).await;
    assert!(office.tickets().await.is_empty());
    for at in [2, 3, 4] {
        office.event("E42", EventSeverity::Error, at).await;
    }
    let tickets = office.tickets().await;
    let origin = Origin::Event {
        code: "E42".to_owned(),
    };
    assert_eq!((tickets.len(), &tickets[0].origin), (1, &origin));
    assert_eq!(tickets[0].priority, Priority::P1);
    assert_eq!(counted(&office, "forecare_tickets_opened_total"), 1.0);
    office.step(tickets[0].id, TicketState::Cancelled).await;
    office.event("E42", EventSeverity::Error, 5).await;
    assert_eq!(office.tickets().await.len(), 2);
}

fn contract(response: f64, resolution: f64) -> Value {
    json!({
        "customer": "acme", "kind": "full-service", "title": "Full service", "valid_from": "2025-01-01",
        "calendar": "office", "coverage": {"classes": ["screw-compressor"]},
        "targets": [{"priority": "P4", "response_hours": response, "resolution_hours": resolution}],
    })
}

async fn under_contract(office: &Office) {
    let hours =
        json!({"time_zone": "UTC", "week": {"thu": ["08:00-16:00"], "fri": ["08:00-16:00"]}});
    office
        .records(&[
            (RecordKind::Customer, "acme", json!({"name": "Acme"})),
            (
                RecordKind::Calendar,
                "office",
                json!({"name": "Office", "hours": hours}),
            ),
            (RecordKind::Asset, "c1", json!({"customer": "acme"})),
            (RecordKind::Contract, "K-1", contract(2.0, 8.0)),
        ])
        .await;
}

fn target_hours(ticket: &Ticket) -> (f64, f64) {
    let sla = ticket.sla.as_ref().unwrap();
    let hours = |ms: i64| ms as f64 / 3_600_000.0;
    (
        hours(sla.first_response.target_ms),
        hours(sla.resolution.target_ms),
    )
}

#[tokio::test]
async fn a_contract_sets_targets_and_calendar_of_its_customers_tickets() {
    let office = office(memory());
    office.machines(&["c1", "c2"]).await;
    under_contract(&office).await;
    office
        .desk
        .open_ticket(report("c1", "inspection"), eve())
        .await
        .unwrap();
    office
        .desk
        .open_ticket(report("c2", "inspection"), eve())
        .await
        .unwrap();
    let tickets = office.tickets().await;
    assert_eq!(
        (tickets[0].priority, tickets[1].priority),
        (Priority::P4, Priority::P4)
    );
    assert_eq!(
        tickets[0].sla.as_ref().unwrap().terms,
        "contract K-1 (Full service)"
    );
    assert_eq!(target_hours(&tickets[0]), (2.0, 8.0));
    assert_eq!(tickets[1].sla.as_ref().unwrap().terms, "standard");
    // 2026-01-01 is a Thursday: two hours from eight o'clock.
    let due = tickets[0].sla.as_ref().unwrap().first_response.due_at;
    assert_eq!(due, Some(hour(10)));
    // What was promised is what people see and plan by.
    assert_eq!(
        (tickets[0].due_at, tickets[1].due_at),
        (hour(16), hour(720))
    );
}

#[tokio::test]
async fn a_person_sets_the_priority_and_the_date_follows_the_terms() {
    let office = office(memory());
    office.machines(&["c1"]).await;
    under_contract(&office).await;
    let opened = office
        .desk
        .open_ticket(report("c1", "inspection"), eve())
        .await
        .unwrap();
    let weigh = |priority, why: &str| WorkRequest {
        step: Work::Step(WorkStep::Priority {
            priority,
            why: why.to_owned(),
        }),
        if_version: None,
        idempotency_key: None,
    };
    let refused = Desk::work(&office.desk, opened.id, weigh(Priority::P1, " "), eve())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("say why"), "{refused}");
    let raised = Desk::work(
        &office.desk,
        opened.id,
        weigh(Priority::P1, "the line stands"),
        eve(),
    )
    .await
    .unwrap();
    // The contract says nothing of P1: the standard 24 hours, by its calendar of two days of eight hours a week.
    assert_eq!(
        (raised.priority, raised.due_at),
        (Priority::P1, hour(7 * 24 + 16))
    );
    assert!(
        raised
            .history
            .iter()
            .any(|line| line.why == "priority P4 to P1: the line stands")
    );
    let lowered = Desk::work(
        &office.desk,
        raised.id,
        weigh(Priority::P4, "it runs again"),
        eve(),
    )
    .await
    .unwrap();
    assert_eq!(lowered.due_at, hour(16));
}

#[tokio::test]
async fn a_contract_that_changes_carries_running_clocks_on_and_says_so_once() {
    let office = office(memory());
    office.machines(&["c1"]).await;
    under_contract(&office).await;
    office
        .desk
        .open_ticket(report("c1", "inspection"), eve())
        .await
        .unwrap();
    office.look(9).await;
    office
        .records(&[(RecordKind::Contract, "K-1", contract(1.0, 4.0))])
        .await;
    for _ in 0..3 {
        office.look(11).await;
    }
    let ticket = office.tickets().await.remove(0);
    assert_eq!(target_hours(&ticket), (1.0, 4.0));
    let lines: Vec<&str> = ticket.history.iter().map(|c| c.why.as_str()).collect();
    let renewed = lines
        .iter()
        .filter(|l| l.contains("from now on by contract K-1"));
    let missed = lines
        .iter()
        .filter(|l| l.contains("first response: the target of 1.0 h was missed"));
    assert_eq!((renewed.count(), missed.count()), (1, 1), "{lines:#?}");
}

#[tokio::test]
async fn a_contract_that_covers_by_class_holds_over_a_restart_and_a_registration() {
    let store = memory();
    let before = office(Arc::clone(&store));
    before.machines(&["c1"]).await;
    under_contract(&before).await;
    let opened = before
        .desk
        .open_ticket(report("c1", "inspection"), eve())
        .await
        .unwrap();
    assert_eq!(target_hours(&opened), (2.0, 8.0));
    let after = office(store);
    after.desk.terms.refresh(&*after.desk.store).await.unwrap();
    after.look(9).await;
    after.desk.terms.assets_changed();
    after.look(10).await;
    let ticket = after.tickets().await.remove(0);
    let changed = ticket
        .history
        .iter()
        .filter(|c| c.why.contains("from now on"));
    assert_eq!(changed.count(), 0, "{:#?}", ticket.history);
    assert_eq!(
        ticket.sla.unwrap().resolution.due_at,
        opened.sla.unwrap().resolution.due_at
    );
}

#[tokio::test]
async fn hours_of_visits_are_whole_ones_also_in_the_middle_of_a_day() {
    let office = office(memory());
    let asset = office.machines(&["c1"]).await.remove(0);
    for now in 0..168 {
        let now = hour(now).plus_hours(0.5);
        let windows = office.desk.visiting(&asset, now);
        assert!(!windows.is_empty(), "none would mean at any time");
        // What opens after the time that is planned for is nobody's.
        let end = now.plus_hours(office.desk.dispatch.horizon_hours);
        for (open, close) in windows.into_iter().filter(|(open, _)| *open < end) {
            assert!(
                (close.hours_since(open) - 9.0).abs() < 1e-9,
                "{now}: {open} to {close}"
            );
            assert!(close > now);
        }
    }
}

#[tokio::test]
async fn a_ticket_stays_with_the_customer_it_was_opened_for_while_there_is_one() {
    let office = office(memory());
    office.machines(&["c1"]).await;
    under_contract(&office).await;
    let opened = office.desk.open_ticket(report("c1", "inspection"), eve());
    let opened = opened.await.unwrap();
    assert_eq!(opened.work.customer.as_deref(), Some("acme"));
    let sold = [
        (RecordKind::Customer, "other", json!({"name": "Other"})),
        (RecordKind::Asset, "c1", json!({"customer": "other"})),
    ];
    office.records(&sold).await;
    office.look(9).await;
    let ticket = office.tickets().await.remove(0);
    assert_eq!(target_hours(&ticket), (2.0, 8.0), "{:#?}", ticket.history);
    // What follows it is theirs, too.
    let mut next = report("c1", "corrective");
    next.parent = Some(ticket.id);
    let child = office.desk.open_ticket(next, eve()).await.unwrap();
    assert_eq!(child.work.customer.as_deref(), Some("acme"));
    let anew = office.desk.open_ticket(report("c1", "corrective"), eve());
    assert_eq!(anew.await.unwrap().work.customer.as_deref(), Some("other"));
}

/// What is held for the ticket: parts and how many.
async fn held(office: &Office, ticket: &Ticket) -> Vec<(String, u32)> {
    let filter = ReservationFilter {
        ticket: Some(ticket.id),
        live: true,
    };
    let page = PageRequest {
        before: None,
        limit: 100,
    };
    let found = office.desk.store.reservations(&filter, page).await.unwrap();
    let held = found.into_iter().map(|r| r.item);
    let mut sums: BTreeMap<String, u32> = BTreeMap::new();
    for r in held {
        *sums.entry(r.part.to_string()).or_default() += r.quantity;
    }
    sums.into_iter().collect()
}

async fn step(office: &Office, ticket: &Ticket, step: Work) -> Result<Ticket, DeskError> {
    let request = WorkRequest {
        step,
        if_version: None,
        idempotency_key: None,
    };
    Desk::work(&office.desk, ticket.id, request, eve()).await
}

fn needs(parts: &[(&str, u32)]) -> Work {
    let parts = parts.iter().map(|(part, quantity)| PartWanted {
        part: PartNumber::new(*part).unwrap(),
        quantity: *quantity,
    });
    Work::Step(WorkStep::Parts {
        parts: parts.collect(),
        why: String::new(),
    })
}

#[tokio::test]
async fn parts_laid_down_for_a_ticket_are_held_and_given_back() {
    let office = office(memory());
    office.machines(&["c1"]).await;
    let request = report("c1", "corrective");
    let ticket = office.desk.open_ticket(request, eve()).await.unwrap();
    assert_eq!(held(&office, &ticket).await, []);
    let air = |n: u32| vec![("FLT-AIR-12".to_owned(), n)];
    for n in [1, 3, 2] {
        let changed = step(&office, &ticket, needs(&[("FLT-AIR-12", n)])).await;
        let changed = changed.unwrap();
        assert_eq!(
            changed.history.last().unwrap().why,
            format!("parts needed: {n} x FLT-AIR-12")
        );
        assert_eq!(held(&office, &ticket).await, air(n));
    }
    // Another that waits gets what is given back, and nothing of what is kept.
    let every = office.desk.store.stock().await.unwrap();
    let part = PartNumber::new("FLT-AIR-12").unwrap();
    let here = every
        .iter()
        .find(|s| s.part == part && s.depot.as_str() == "hamburg")
        .unwrap();
    let other = report("c1", "corrective");
    let other = office.desk.open_ticket(other, eve()).await.unwrap();
    step(&office, &ticket, needs(&[("FLT-AIR-12", here.on_hand)]))
        .await
        .unwrap();
    step(&office, &other, needs(&[("FLT-AIR-12", 1)]))
        .await
        .unwrap();
    step(&office, &ticket, needs(&[("FLT-AIR-12", 2)]))
        .await
        .unwrap();
    assert_eq!(held(&office, &ticket).await, air(2));
    step(&office, &other, needs(&[])).await.unwrap();
    // Neither silence nor a look at the timers takes them away.
    office.look(2_000).await;
    assert_eq!(held(&office, &ticket).await, air(2));
    let refused = step(&office, &ticket, needs(&[("NO-1", 1)])).await;
    assert!(
        matches!(&refused, Err(DeskError::Invalid(text)) if text.starts_with("parts: ")),
        "{refused:?}"
    );
    step(&office, &ticket, needs(&[])).await.unwrap();
    assert_eq!(held(&office, &ticket).await, []);
}

#[tokio::test]
async fn a_classified_ticket_holds_what_its_failure_needs() {
    let office = office(memory());
    office.machines(&["c1"]).await;
    let request = report("c1", "corrective");
    let ticket = office.desk.open_ticket(request, eve()).await.unwrap();
    let catalogue = catalogue();
    let mode = &catalogue.classes[0].modes[0];
    let classify = |mode: Option<forecare_domain::ModeName>| {
        Work::Classify(Box::new(Classification {
            mode: Some(mode),
            ..Classification::default()
        }))
    };
    let known = classify(Some(mode.name.clone()));
    let after = step(&office, &ticket, known).await.unwrap();
    assert_eq!(after.procedure, mode.procedure);
    let mut bill: Vec<_> = mode
        .parts
        .iter()
        .map(|p| (p.part.to_string(), p.quantity))
        .collect();
    bill.sort();
    assert!(!bill.is_empty());
    assert_eq!(held(&office, &ticket).await, bill);
    step(&office, &ticket, classify(None)).await.unwrap();
    assert_eq!(held(&office, &ticket).await, []);
}

#[tokio::test]
async fn a_kind_brings_parts_and_is_not_resolved_without_its_fields() {
    let rules = r#"
        [[care.tickets.kind]]
        name = "oil-change"
        title = "Oil change"
        part = [{ part = "FLT-AIR-12" }]
        [[care.tickets.kind.field]]
        name = "litres"
        title = "Litres"
        type = "number"
        required = true
    "#;
    let office = office_with(memory(), super::schedules::config(rules));
    office.machines(&["c1"]).await;
    let mut request = report("c1", "oil-change");
    request.fields = [("litres".to_owned(), FieldValue::Number(4.0))].into();
    let ticket = office.desk.open_ticket(request, eve()).await.unwrap();
    assert_eq!(held(&office, &ticket).await, [("FLT-AIR-12".to_owned(), 1)]);
    // A customer's has no fields yet.
    let mut bo = eve();
    bo.channel = forecare_domain::Channel::Email;
    let bare = report("c1", "oil-change");
    let bare = office.desk.open_ticket(bare, bo).await.unwrap();
    for to in [
        TicketState::Triaged,
        TicketState::Dispatched,
        TicketState::Accepted,
        TicketState::InProgress,
    ] {
        office.step(bare.id, to).await;
    }
    let resolve = || TransitionRequest {
        to: TicketState::Resolved,
        why: String::new(),
        verdict: Some(Verdict::Done),
        technician: None,
        parts_used: Vec::new(),
        if_version: None,
        idempotency_key: None,
    };
    let refused = office.desk.transition(bare.id, resolve(), eve()).await;
    assert!(
        matches!(&refused, Err(DeskError::Conflict(text)) if text.ends_with("fill in: Litres")),
        "{refused:?}"
    );
    let litres = [("litres".to_owned(), FieldValue::Number(3.5))].into();
    let filled = Work::Step(WorkStep::Fields(litres));
    step(&office, &bare, filled).await.unwrap();
    office
        .desk
        .transition(bare.id, resolve(), eve())
        .await
        .unwrap();
}
