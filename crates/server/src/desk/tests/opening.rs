//! Tickets of people and devices; contracts of the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecare_api::{Desk, DeskError, OpenRequest, Work, WorkRequest};
use forecare_care::work::WorkStep;
use forecare_domain::{
    AssetId, CareTask, DeviceEvent, DeviceId, EventSeverity, Origin, Priority, Report, Ticket,
    TicketState, Urgency,
};
use forecare_registry::{Body, Change, RecordId, RecordKind, RecordWrite};
use forecare_store::{CommitBatch, MemoryStore, NewTask, RecordCommit, RecordsOutcome, Store};
use serde_json::{Value, json};

use super::{Office, catalogue, counted, eve, hour, office, office_with};
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
