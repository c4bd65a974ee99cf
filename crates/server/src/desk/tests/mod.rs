//! Service level clocks and the dispatcher on stores in memory, on disk and in PostgreSQL.

mod appointments;
mod automation;
mod customers;
mod opening;
mod schedules;
mod year;

use std::sync::Arc;

use forecare_api::{AssignmentRequest, Desk, DeskError, TransitionRequest, Work, WorkRequest};
use forecare_care::work::WorkStep;
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, AlarmId, Asset, AssetId, CareTask, Channel, ClassName, Consumer, DepotName, DeviceId,
    ManualClock, Marks, ModeName, PartNumber, Rul, Severity, StockCommand, StockMove, Ticket,
    TicketId, TicketState, Timestamp, Verdict,
};
use forecare_store::{CommitBatch, MemoryStore, NewTask, PageRequest, Store, TicketFilter};
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::{TimescaleSettings, TimescaleStore};
use forecare_test_databases::Postgres;
use tokio::sync::{Semaphore, broadcast, mpsc};

use super::{Automation, CareDesk, SLOT_PLACES, Terms};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pipeline::Control;

fn catalogue() -> Catalogue {
    Catalogue::parse(crate::cli::DEMO_CATALOGUE).unwrap()
}

fn hour(n: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + n * 3_600_000)
}

fn eve() -> Actor {
    Actor {
        name: "Eve".to_owned(),
        channel: Channel::Api,
    }
}

struct Office {
    desk: CareDesk,
    clock: Arc<ManualClock>,
    _control: Option<mpsc::Receiver<Control>>,
}

/// A desk on `store`, as after a start of the service.
fn office(store: Arc<dyn Store>) -> Office {
    office_with(store, Config::load(None, &[]).unwrap())
}

fn office_with(store: Arc<dyn Store>, config: Config) -> Office {
    let (mut office, requests) = office_on(store, config, catalogue(), hour(0));
    office._control = Some(requests);
    office
}

/// A desk that goes by `catalogue`, at `now`; what it asks of the pipeline is the caller's to answer.
fn office_on(
    store: Arc<dyn Store>,
    config: Config,
    catalogue: Catalogue,
    now: Timestamp,
) -> (Office, mpsc::Receiver<Control>) {
    let clock = Arc::new(ManualClock::new(now));
    let (control, requests) = mpsc::channel(8);
    let (stream, _) = broadcast::channel(64);
    let metrics = Arc::new(Metrics::new().unwrap());
    let rules = config.care.automation.clone();
    let desk = CareDesk {
        store,
        catalogue: Arc::new(catalogue),
        clock: clock.clone(),
        policy: config.care_policy(),
        control,
        stream,
        automation: Arc::new(Automation::new(rules, &metrics.registry).unwrap()),
        metrics,
        terms: Arc::new(
            Terms::new(config.care.sla.clone(), config.tiers().unwrap(), "EUR")
                .presuming(config.registry.consent),
        ),
        tickets: Arc::new(config.care.tickets.clone()),
        dispatch: Arc::new(config.dispatch_settings()),
        wake: Arc::default(),
        one_by_one: Arc::default(),
        slot_places: Arc::new(Semaphore::new(SLOT_PLACES)),
        appointments: Arc::new(config.care.appointments.clone()),
        replan: Arc::default(),
        assets: Arc::default(),
    };
    let office = Office {
        desk,
        clock,
        _control: None,
    };
    (office, requests)
}

impl Office {
    /// Machines `names` in Hamburg.
    async fn machines(&self, names: &[&str]) -> Vec<Asset> {
        let assets: Vec<Asset> = names
            .iter()
            .map(|name| Asset {
                id: AssetId::new(*name).unwrap(),
                device: DeviceId::new(*name).unwrap(),
                class: ClassName::new("screw-compressor").unwrap(),
                name: (*name).to_owned(),
                site: format!("site of {name}"),
                depot: DepotName::new("hamburg").ok(),
                registered_at: hour(0),
            })
            .collect();
        self.desk
            .store
            .register_assets(assets.clone())
            .await
            .unwrap();
        assets
    }

    /// Machines `names`, each with evidence of `mode` at hour 0.
    async fn alarmed(&self, names: &[&str], mode: &str) {
        let assets = self.machines(names).await;
        let mode = ModeName::new(mode).unwrap();
        let tasks = assets
            .iter()
            .map(|asset| {
                NewTask(CareTask::Assess {
                    device: asset.device.clone(),
                    mode: mode.clone(),
                    alarm: AlarmId::of(&asset.device, &mode, hour(0)),
                    severity: Severity::Warning,
                    probability: Some(0.9),
                    horizon_hours: 72.0,
                    rul: Rul::NoTrend,
                    contributions: Vec::new(),
                    reading_ts: hour(0),
                    at: hour(0),
                })
            })
            .collect();
        let batch = CommitBatch {
            tasks,
            ..CommitBatch::default()
        };
        self.desk.store.commit_batch(batch).await.unwrap();
        while self.desk.work().await.unwrap() > 0 {}
    }

    async fn look(&self, at: i64) {
        self.clock.set(hour(at));
        self.desk.sweep(None, hour(at)).await.unwrap();
    }

    async fn tickets(&self) -> Vec<Ticket> {
        let page = PageRequest {
            before: None,
            limit: 100,
        };
        let found = self
            .desk
            .store
            .tickets(&TicketFilter::default(), page)
            .await
            .unwrap();
        let mut tickets: Vec<Ticket> = found.into_iter().map(|t| t.item).collect();
        tickets.sort_by_key(|t| t.id);
        tickets
    }

    async fn step(&self, ticket: TicketId, to: TicketState) -> Ticket {
        let request = TransitionRequest {
            to,
            why: String::new(),
            verdict: None,
            technician: None,
            parts_used: Vec::new(),
            if_version: None,
            idempotency_key: None,
        };
        self.desk.transition(ticket, request, eve()).await.unwrap()
    }

    async fn assign(
        &self,
        ticket: TicketId,
        who: Option<&str>,
        start_at: Option<Timestamp>,
    ) -> Result<Ticket, DeskError> {
        let request = AssignmentRequest {
            technician: who.map(ToOwned::to_owned),
            start_at,
            why: "knows the machine".to_owned(),
            if_version: None,
            idempotency_key: None,
        };
        self.desk.assign(ticket, request, eve()).await
    }
}

fn said(ticket: &Ticket) -> Vec<&str> {
    let whys = ticket.history.iter().map(|c| c.why.as_str());
    whys.filter(|w| w.starts_with("SLA ")).collect()
}

fn counted(office: &Office, name: &str) -> f64 {
    let families = office.desk.metrics.registry.gather();
    let family = families.iter().find(|f| f.name() == name).unwrap();
    family
        .get_metric()
        .iter()
        .map(|m| m.get_counter().get_value())
        .sum()
}

/// What is said of one ticket in 100 hours, with looks and restarts on the way.
async fn said_over_restarts(reopen: impl AsyncFn() -> Arc<dyn Store>) -> Vec<String> {
    let first = office(reopen().await);
    first.alarmed(&["c1"], "bearing-wear").await;
    let ticket = first.tickets().await.remove(0);
    // 18,000 against 4,500 is a medium impact: P3, 24 hours until a person takes it up, 168 until it is done.
    assert!(ticket.sla.is_some());
    let mut breaches = 0.0;
    for at in [5, 12, 13, 25, 25, 100, 127, 168, 169, 169, 180] {
        let again = office(reopen().await);
        again.look(at).await;
        again.look(at).await;
        breaches += counted(&again, "forecare_sla_breaches_total");
    }
    let last = office(reopen().await);
    let ticket = last.tickets().await.remove(0);
    let lines = said(&ticket);
    let mut once = lines.clone();
    once.dedup();
    assert_eq!(once, lines);
    assert_eq!(breaches, 2.0);
    lines.into_iter().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn every_escalation_is_said_once_across_restarts_on_every_store() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(&catalogue(), hour(0)));
    let expected = said_over_restarts(async || memory.clone()).await;
    let whats: Vec<&str> = expected
        .iter()
        .map(|l| l.split(" at 20").next().unwrap())
        .collect();
    assert_eq!(
        whats,
        [
            "SLA first response: 50 % of 24.0 h were used",
            "SLA first response: 75 % of 24.0 h were used",
            "SLA first response: the target of 24.0 h was missed",
            "SLA first response: escalated to level 1: dispatcher",
            "SLA resolution: 50 % of 168.0 h were used",
            "SLA resolution: 75 % of 168.0 h were used",
            "SLA resolution: escalated to level 1: dispatcher",
            "SLA resolution: the target of 168.0 h was missed",
            "SLA resolution: escalated to level 2: head of service",
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let on_disk = said_over_restarts(async || {
        Arc::new(SqliteStore::open(&path, &catalogue(), hour(0)).unwrap()) as Arc<dyn Store>
    });
    assert_eq!(on_disk.await, expected);
    let cluster = Postgres::shared();
    let url = cluster.url_of(&cluster.database());
    let in_postgres = said_over_restarts(async || {
        let settings = TimescaleSettings {
            url: url.clone(),
            plain_postgres: true,
            ..TimescaleSettings::default()
        };
        Arc::new(
            TimescaleStore::open(settings, &catalogue(), hour(0))
                .await
                .unwrap(),
        ) as Arc<dyn Store>
    });
    assert_eq!(in_postgres.await, expected);
}

#[tokio::test]
async fn a_person_taking_it_up_stops_the_first_clock() {
    let office = office(Arc::new(MemoryStore::new(&catalogue(), hour(0))));
    office.alarmed(&["c1"], "bearing-wear").await;
    office.clock.set(hour(13));
    // Nobody has looked since: what fell due before the step is said before it.
    let id = office.tickets().await[0].id;
    let ticket = office.step(id, TicketState::Triaged).await;
    let whys: Vec<&str> = ticket.history.iter().map(|c| c.why.as_str()).collect();
    assert!(whys[1].starts_with("SLA first response: 50 %"), "{whys:?}");
    assert_eq!(ticket.history.last().unwrap().to, TicketState::Triaged);
    office.look(80).await;
    let ticket = office.tickets().await.remove(0);
    assert_eq!(said(&ticket).len(), 1, "the second clock is at 48 % yet");
    assert_eq!(counted(&office, "forecare_sla_breaches_total"), 0.0);
}

#[tokio::test]
async fn parts_that_are_in_no_book_are_not_reported_as_used() {
    let office = office(Arc::new(MemoryStore::new(&catalogue(), hour(0))));
    office.alarmed(&["c1"], "bearing-wear").await;
    let id = office.tickets().await[0].id;
    for to in [
        TicketState::Triaged,
        TicketState::Dispatched,
        TicketState::Accepted,
        TicketState::InProgress,
    ] {
        office.step(id, to).await;
    }
    let bearing = PartNumber::new("BRG-6310").unwrap();
    let report = async |quantity: u32| {
        let step = WorkStep::PartsUsed(vec![(bearing.clone(), quantity).into()]);
        let request = WorkRequest {
            step: Work::Step(step),
            if_version: None,
            idempotency_key: None,
        };
        Desk::work(&office.desk, id, request, eve()).await
    };
    let refused = report(2).await.unwrap_err();
    let DeskError::Conflict(text) = refused else {
        panic!("{refused:?}");
    };
    assert!(text.contains("1 x BRG-6310 is neither reserved"), "{text}");
    // As it says: what was taken is handed out to the ticket first.
    let issue = StockCommand {
        idempotency_key: "issue".to_owned(),
        kind: StockMove::Issue {
            to: Consumer::Ticket(id),
        },
        part: bearing.clone(),
        depot: DepotName::new("hamburg").unwrap(),
        quantity: 2,
        order: None,
        reason: None,
        bin: None,
        marks: Marks::default(),
        by: eve(),
        at: hour(1),
    };
    office.desk.store.move_stock(issue).await.unwrap();
    report(2).await.unwrap();
    assert!(report(3).await.is_err());
    let request = TransitionRequest {
        to: TicketState::Resolved,
        why: String::new(),
        verdict: Some(Verdict::Confirmed {
            failure_code: "BRD".to_owned(),
        }),
        technician: None,
        parts_used: vec![(PartNumber::new("FLT-AIR-12").unwrap(), 1).into()],
        if_version: None,
        idempotency_key: None,
    };
    let refused = office.desk.transition(id, request, eve()).await;
    assert!(
        matches!(refused, Err(DeskError::Conflict(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_plan_covers_all_open_tickets_and_is_stored_once() {
    let office = office(Arc::new(MemoryStore::new(&catalogue(), hour(0))));
    office.alarmed(&["c1", "c2", "c3"], "bearing-wear").await;
    let changed = office.desk.plan_now().await.unwrap();
    assert_eq!(changed, 3);
    let tickets = office.tickets().await;
    for ticket in &tickets {
        let proposal = ticket.proposal.as_ref().unwrap();
        let assigned = proposal.assigned.as_ref().unwrap();
        assert_eq!(ticket.technician.as_ref(), Some(&assigned.technician));
        // Two have the skills; the others are told why not.
        assert_eq!(proposal.candidates.len(), 1);
        assert_eq!(proposal.n_rejected, 2);
        assert!(
            proposal
                .rejected
                .iter()
                .all(|r| r.why == "lacks the skill alignment")
        );
    }
    let mut starts: Vec<(String, Timestamp)> = tickets
        .iter()
        .filter_map(|t| t.proposal.as_ref()?.assigned.clone())
        .map(|a| (a.technician, a.start_at))
        .collect();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), 3, "nobody is at two places at once");
    assert_eq!(
        office.desk.plan_now().await.unwrap(),
        0,
        "nothing new to say"
    );
}

#[tokio::test]
async fn a_planners_word_stands_and_its_flaws_are_told() {
    let office = office(Arc::new(MemoryStore::new(&catalogue(), hour(0))));
    office.alarmed(&["c1"], "bearing-wear").await;
    office.desk.plan_now().await.unwrap();
    let id = office.tickets().await[0].id;
    let refused = office.assign(id, Some("Nobody"), None).await.unwrap_err();
    assert!(matches!(refused, DeskError::Invalid(_)), "{refused}");
    let past = office
        .assign(id, Some("Jonas Petersen"), Some(hour(-1)))
        .await
        .unwrap_err();
    assert!(matches!(past, DeskError::Invalid(_)), "{past}");
    let silent = AssignmentRequest {
        technician: Some("Jonas Petersen".to_owned()),
        start_at: None,
        why: " ".to_owned(),
        if_version: None,
        idempotency_key: None,
    };
    let refused = office.desk.assign(id, silent, eve()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "why: say why Jonas Petersen is to do it all the same: lacks the skill alignment"
    );
    let ticket = office
        .assign(id, Some("Jonas Petersen"), Some(hour(5)))
        .await
        .unwrap();
    let why = &ticket.history.last().unwrap().why;
    assert!(
        why.starts_with(
            "assigned to Jonas Petersen, at 2026-01-01T05:00:00Z: (lacks the skill alignment) knows"
        ),
        "{why}"
    );
    assert_eq!(office.desk.plan_now().await.unwrap(), 1);
    let ticket = office.tickets().await.remove(0);
    let proposal = ticket.proposal.as_ref().unwrap();
    assert_eq!(ticket.technician.as_deref(), Some("Jonas Petersen"));
    assert_eq!(proposal.assigned.as_ref().unwrap().start_at, hour(5));
    assert!(
        proposal.why.contains("lacks the skill alignment"),
        "{}",
        proposal.why
    );
    let back = office.assign(id, None, None).await.unwrap();
    assert_eq!(back.assignment, None);
    office.desk.plan_now().await.unwrap();
    assert_ne!(
        office.tickets().await[0].technician.as_deref(),
        Some("Jonas Petersen")
    );
    for to in [
        TicketState::Triaged,
        TicketState::Dispatched,
        TicketState::Accepted,
        TicketState::InProgress,
    ] {
        office.step(id, to).await;
    }
    let late = office
        .assign(id, Some("Marta Nowak"), None)
        .await
        .unwrap_err();
    assert!(matches!(late, DeskError::Conflict(_)), "{late}");
}
