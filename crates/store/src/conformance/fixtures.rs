//! A small catalogue and short ways to say things.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forecare_care::stock::sign_of;
use forecare_care::tracking::other_place;
use forecare_care::{Need, NewTicket};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Alarm, AlarmId, AlarmSource, Asset, AssetHealth, AssetId, CareTask, ClassName, ComponentName,
    Decision, DepotName, DeviceId, Marks, MetricName, ModeName, Origin, PartNumber, Priority,
    Reservation, Row, Rul, Severity, Ticket, TicketChange, TicketId, TicketKind, TicketState,
    TicketWork, Timestamp, UnitPlace,
};

use crate::{
    CareCommit, CareOutcome, CommitBatch, CommitReceipt, LedgerEntry, NewTask, PageRequest, Paged,
    ReservationFilter, ScoredRow, StockCommand, StockItem, StockMove, StockOutcome, Store,
    TicketWrite, UnitFilter, forecare,
};

/// Two classes, two depots: `main` (5 BRG-1, 3 SEAL-1) and `north` (2 BRG-1). GSK-1 is superseded by GSK-2, for which
/// GSK-X may stand in; there are none of them.
#[must_use]
pub fn catalogue() -> Catalogue {
    Catalogue::parse(
        r#"
        [[class]]
        name = "pump"
        title = "Pump"
        horizon_hours = 24
        sample_interval_s = 60
        [[class.metric]]
        name = "vibration"
        unit = "mm/s"
        [[class.metric]]
        name = "temperature"
        unit = "C"
        [[class.metric]]
        name = "Temperature"
        unit = "C"
        [[class.mode]]
        name = "bearing-wear"
        title = "Bearing wear"
        iso14224 = "VIB"
        component = "bearing"
        procedure = "P-1"
        work_hours = 2
        parts = [{ part = "BRG-1" }]
        cost_of_failure = 1000
        cost_of_acting = 100
        [[class]]
        name = "fan"
        title = "Fan"
        horizon_hours = 24
        sample_interval_s = 60
        [[class.metric]]
        name = "speed"
        unit = "1/min"
        [[part]]
        number = "BRG-1"
        title = "Bearing"
        lead_time_hours = 48
        [[part]]
        number = "SEAL-1"
        title = "Seal"
        lead_time_hours = 24
        [[part]]
        number = "GSK-1"
        title = "Gasket"
        lead_time_hours = 48
        superseded_by = "GSK-2"
        [[part]]
        number = "GSK-2"
        title = "Gasket, new"
        lead_time_hours = 24
        substitutes = ["GSK-X"]
        [[part]]
        number = "GSK-X"
        title = "Gasket, universal"
        lead_time_hours = 72
        [[part]]
        number = "PMP-1"
        title = "Pump head, by serial number"
        lead_time_hours = 24
        tracked = "serial"
        [[part]]
        number = "OIL-1"
        title = "Oil, by batch"
        lead_time_hours = 24
        tracked = "batch"
        [[depot]]
        name = "main"
        title = "Main depot"
        transfer_hours = 12
        [[depot]]
        name = "north"
        title = "North depot"
        transfer_hours = 12
        [[stock]]
        depot = "main"
        part = "BRG-1"
        on_hand = 5
        [[stock]]
        depot = "north"
        part = "BRG-1"
        on_hand = 2
        [[stock]]
        depot = "main"
        part = "SEAL-1"
        on_hand = 3
        "#,
    )
    .unwrap()
}

/// `n` hours after the store was made.
#[must_use]
pub fn hour(n: i64) -> Timestamp {
    Timestamp::from_millis(1_750_000_000_000 + n * 3_600_000)
}

/// `n` milliseconds after the store was made.
#[must_use]
pub fn ms(n: i64) -> Timestamp {
    Timestamp::from_millis(hour(0).as_millis() + n)
}

#[must_use]
pub fn device(n: usize) -> DeviceId {
    DeviceId::new(format!("pump-{n}")).unwrap()
}

#[must_use]
pub fn metric(name: &str) -> MetricName {
    MetricName::new(name).unwrap()
}

#[must_use]
pub fn mode(name: &str) -> ModeName {
    ModeName::new(name).unwrap()
}

#[must_use]
pub fn part(name: &str) -> PartNumber {
    PartNumber::new(name).unwrap()
}

#[must_use]
pub fn depot(name: &str) -> DepotName {
    DepotName::new(name).unwrap()
}

/// Pump number `n`.
#[must_use]
pub fn asset(n: usize) -> Asset {
    Asset {
        id: AssetId::new(format!("asset-{n}")).unwrap(),
        device: device(n),
        class: ClassName::new("pump").unwrap(),
        name: format!("Pump {n}"),
        site: "Site".to_owned(),
        depot: None,
        registered_at: hour(0),
    }
}

/// Registers pumps 0 to `n` - 1.
pub async fn register(store: &Arc<dyn Store>, n: usize) {
    store
        .register_assets((0..n).map(asset).collect())
        .await
        .unwrap();
}

/// A row of pump `n` at `ts_ms` with its three metrics.
#[must_use]
pub fn row(n: usize, ts_ms: i64, values: [Option<f64>; 3]) -> ScoredRow {
    let row = Row {
        device: device(n),
        ts: ms(ts_ms),
        values: values.to_vec(),
        extra: Vec::new(),
    };
    ScoredRow {
        row,
        health: Some(50.0),
    }
}

/// The row with metrics that the catalogue does not know.
#[must_use]
pub fn with_extra(mut row: ScoredRow, extra: &[(&str, f64)]) -> ScoredRow {
    row.row.extra = extra
        .iter()
        .map(|(name, value)| (metric(name), *value))
        .collect();
    row
}

pub async fn commit(store: &Arc<dyn Store>, rows: Vec<ScoredRow>) -> CommitReceipt {
    store
        .commit_batch(CommitBatch {
            rows,
            ..CommitBatch::default()
        })
        .await
        .unwrap()
}

#[must_use]
pub fn receipt(inserted: u64, duplicates: u64, conflicts: u64) -> CommitReceipt {
    CommitReceipt {
        inserted,
        duplicates,
        conflicts,
    }
}

/// The newest 1,000.
pub const ALL: PageRequest = PageRequest {
    before: None,
    limit: 1_000,
};

#[must_use]
pub fn items<T>(page: Vec<Paged<T>>) -> Vec<T> {
    page.into_iter().map(|p| p.item).collect()
}

#[must_use]
pub fn alarm(n: usize, raised: i64) -> Alarm {
    Alarm {
        id: AlarmId::of(&device(n), &mode("bearing-wear"), hour(raised)),
        device: device(n),
        mode: mode("bearing-wear"),
        source: AlarmSource::Anomaly,
        severity: Severity::Warning,
        active: true,
        acknowledged: false,
        raised_at: hour(raised),
        updated_at: hour(raised),
        cleared_at: None,
        strength: 0.25,
        contributions: Vec::new(),
    }
}

#[must_use]
pub fn health(n: usize, at: i64, value: f64) -> AssetHealth {
    AssetHealth {
        device: device(n),
        at: hour(at),
        health: value,
        anomaly: 0.1,
        prognoses: Vec::new(),
        rul: Rul::NoTrend,
    }
}

#[must_use]
pub fn task(n: usize, at: i64) -> NewTask {
    NewTask(CareTask::Replaced {
        device: device(n),
        component: ComponentName::new("bearing").unwrap(),
        at: hour(at),
    })
}

#[must_use]
pub fn decision(n: usize, at: i64) -> Decision {
    Decision {
        device: device(n),
        mode: mode("bearing-wear"),
        alarm: AlarmId::of(&device(n), &mode("bearing-wear"), hour(at)),
        at: hour(at),
        probability: 0.3,
        probability_source: "model".to_owned(),
        horizon_hours: 24.0,
        cost_of_failure: 1000.0,
        cost_of_acting: 100.0,
        expected_cost_of_waiting: 300.0,
        part_lead_hours: 48.0,
        act: true,
        why: "because".to_owned(),
    }
}

/// A need of bearings at `main`, in 1,000 hours, held softly for 100.
#[must_use]
pub fn need(quantity: u32, priority: Priority) -> Need {
    Need {
        part: part("BRG-1"),
        quantity,
        depot: depot("main"),
        needed_at: hour(1_000),
        lead_time_hours: 48.0,
        priority,
        soft_until: hour(100),
    }
}

/// A ticket on asset `n` that needs `needs`.
#[must_use]
pub fn new_ticket(n: usize, at: i64, needs: Vec<Need>) -> NewTicket {
    let ticket = Ticket {
        id: TicketId(0),
        version: 0,
        asset: asset(n).id,
        device: device(n),
        kind: TicketKind::predictive(),
        origin: Origin::Alarm,
        mode: Some(mode("bearing-wear")),
        state: TicketState::New,
        priority: needs.first().map_or(Priority::P3, |n| n.priority),
        title: "Bearing".to_owned(),
        procedure: "P-1".to_owned(),
        skills: vec!["mechanic".to_owned()],
        technician: None,
        detected_at: hour(at),
        opened_at: hour(at),
        due_at: hour(1_000),
        evidence_at: hour(at),
        decision: Some(decision(n, at)),
        contributions: Vec::new(),
        rul: Rul::NoTrend,
        verdict: None,
        history: Vec::new(),
        sla: None,
        assignment: None,
        proposal: None,
        work: TicketWork::default(),
    };
    NewTicket { ticket, needs }
}

/// Opens a ticket on asset `n` with `needs`.
pub async fn open(
    store: &Arc<dyn Store>,
    n: usize,
    at: i64,
    needs: Vec<Need>,
) -> (Ticket, Vec<Reservation>) {
    let write = TicketWrite::Open(Box::new(new_ticket(n, at, needs)));
    match store
        .commit_care(CareCommit {
            ticket: write,
            at: hour(at),
            ..CareCommit::default()
        })
        .await
    {
        Ok(CareOutcome::Opened {
            ticket,
            reservations,
        }) => (*ticket, reservations),
        other => panic!("not opened: {other:?}"),
    }
}

/// `ticket` in `state`, as the care rules return it.
#[must_use]
pub fn moved(ticket: &Ticket, state: TicketState, at: i64) -> Ticket {
    let mut after = ticket.clone();
    after.history.push(TicketChange {
        at: hour(at),
        by: forecare(),
        from: Some(ticket.state),
        to: state,
        why: "test".to_owned(),
    });
    after.state = state;
    after
}

/// The step that brings `ticket` into `state`, with parts used.
#[must_use]
pub fn step(ticket: &Ticket, state: TicketState, at: i64, used: &[(&str, u32)]) -> CareCommit {
    CareCommit {
        ticket: TicketWrite::Update {
            ticket: Box::new(moved(ticket, state, at)),
            parts_used: used.iter().map(|(p, n)| (part(p), *n).into()).collect(),
        },
        at: hour(at),
        ..CareCommit::default()
    }
}

pub async fn update(store: &Arc<dyn Store>, commit: CareCommit) -> Ticket {
    match store.commit_care(commit).await {
        Ok(CareOutcome::Updated(ticket)) => *ticket,
        other => panic!("not updated: {other:?}"),
    }
}

/// Stock of bearings at `at`: on hand, soft, hard, back-ordered.
pub async fn bearings(store: &Arc<dyn Store>, at: &str) -> (u32, u32, u32, u32) {
    let items = store.stock().await.unwrap();
    let here = |i: &&StockItem| i.part == part("BRG-1") && i.depot == depot(at);
    let item = items.iter().find(here).unwrap();
    (item.on_hand, item.soft, item.hard, item.back_ordered)
}

#[must_use]
pub fn movement(key: &str, kind: StockMove, quantity: u32, at: i64) -> StockCommand {
    StockCommand {
        idempotency_key: key.to_owned(),
        kind,
        part: part("BRG-1"),
        depot: depot("main"),
        quantity,
        order: None,
        reason: None,
        bin: None,
        marks: Marks::default(),
        by: forecare(),
        at: hour(at),
    }
}

/// Moves stock; what came of it.
pub async fn moved_stock(store: &Arc<dyn Store>, command: StockCommand) -> StockOutcome {
    store.move_stock(command).await.unwrap()
}

/// The ledger, newest first.
pub async fn ledger(store: &Arc<dyn Store>) -> Vec<LedgerEntry> {
    let mut lines = Vec::new();
    let mut page = ALL;
    loop {
        let next = store.ledger(page).await.unwrap();
        let Some(last) = next.last() else { break };
        page.before = Some(last.position);
        lines.extend(items(next));
    }
    lines
}

/// All reservations, oldest first.
pub async fn reservations(store: &Arc<dyn Store>) -> Vec<Reservation> {
    let mut all = Vec::new();
    let mut page = ALL;
    loop {
        let next = store
            .reservations(&ReservationFilter::default(), page)
            .await
            .unwrap();
        let Some(last) = next.last() else { break };
        page.before = Some(last.position);
        all.extend(items(next));
    }
    all.reverse();
    all
}

/// Held never exceeds what is there; the ledger adds up to the shelf, to what is in repair, and to what the
/// reservations of each ticket say went to it; nothing is lost on the way from place to place.
pub async fn assert_balanced(store: &Arc<dyn Store>) {
    let lines = ledger(store).await;
    let stock = store.stock().await.unwrap();
    let sum = |fits: &dyn Fn(&LedgerEntry) -> bool| -> i64 {
        lines.iter().filter(|l| fits(l)).map(|l| l.delta).sum()
    };
    for line in &lines {
        let sign = sign_of(&line.kind);
        assert!(
            sign.is_some_and(|sign| sign == 0 || sign == line.delta.signum()),
            "{line:?}"
        );
    }
    for item in &stock {
        assert!(item.soft + item.hard <= item.on_hand, "oversold: {item:?}");
        let is_its = |l: &LedgerEntry| l.part == item.part && l.depot == item.depot;
        assert_eq!(sum(&is_its), i64::from(item.on_hand), "{item:?}");
        let repair = sum(&|l| is_its(l) && l.kind.starts_with("repair_"));
        assert_eq!(-repair, i64::from(item.in_repair), "{item:?}");
    }
    let parts: BTreeSet<&PartNumber> = stock.iter().map(|i| &i.part).collect();
    for number in parts {
        let total = |kinds: &[&str]| sum(&|l| l.part == *number && kinds.contains(&&*l.kind));
        let its = || stock.iter().filter(|i| i.part == *number);
        let on_hand: i64 = its().map(|i| i64::from(i.on_hand)).sum();
        let in_repair: i64 = its().map(|i| i64::from(i.in_repair)).sum();
        assert_eq!(
            total(&["receipt", "return", "count"]),
            on_hand + in_repair - total(&["consumed", "issue", "scrap"]),
        );
        assert_eq!(total(&["transfer_in", "transfer_out"]), 0);
    }
    // Where pieces are is what the ledger's lines come to.
    let mut places: BTreeMap<(String, String, String, String), i64> = BTreeMap::new();
    for line in &lines {
        let other = other_place(
            &line.kind,
            &line.depot,
            line.ticket,
            line.cost_centre.as_deref(),
        );
        for unit in &line.units {
            let name = |name: Option<String>| name.unwrap_or_default();
            let mut add = |place: &UnitPlace, change: i64| {
                let key = (
                    line.part.to_string(),
                    name(unit.serial.as_ref().map(ToString::to_string)),
                    name(unit.batch.as_ref().map(ToString::to_string)),
                    place.key(),
                );
                *places.entry(key).or_insert(0) += change;
            };
            add(&UnitPlace::Shelf(line.depot.clone()), unit.delta);
            if let Some(other) = &other {
                add(other, -unit.delta);
            }
        }
    }
    places.retain(|_, n| *n != 0);
    let units = store.units(&UnitFilter::default()).await.unwrap();
    let told: BTreeMap<(String, String, String, String), i64> = units
        .into_iter()
        .map(|u| {
            let key = (
                u.part.to_string(),
                u.serial.map(String::from).unwrap_or_default(),
                u.batch.map(String::from).unwrap_or_default(),
                u.place.key(),
            );
            (key, i64::from(u.quantity))
        })
        .collect();
    assert_eq!(told, places);
    let mut used: BTreeMap<(TicketId, PartNumber), i64> = BTreeMap::new();
    for r in reservations(store).await {
        *used.entry((r.ticket, r.part)).or_insert(0) += i64::from(r.used);
    }
    for ((ticket, number), used) in used {
        let went = sum(&|l| {
            l.ticket == Some(ticket)
                && l.part == number
                && ["consumed", "issue", "return"].contains(&&*l.kind)
        });
        assert_eq!(-went, used, "{number} of ticket {ticket}");
    }
}

/// The step that opens a ticket on asset `n`.
#[must_use]
pub fn opening(n: usize, need: Need) -> CareCommit {
    let write = TicketWrite::Open(Box::new(new_ticket(n, 1, vec![need])));
    CareCommit {
        ticket: write,
        at: hour(1),
        ..CareCommit::default()
    }
}
