//! Stock, holds, back-orders.

use std::sync::Arc;

use forecare_domain::{
    Actor, AssetId, BatchNumber, Channel, Consumer, Fate, Marks, NoticeKind, OrderId, PartUsed,
    Priority, PurchaseOrder, ReservationState as State, SerialNumber, StockCommand, Supply,
    TicketId, TicketState,
};
use forecare_registry::{Body, Change, RecordId, RecordKind, RecordWrite};

use super::fixtures::{
    ALL, assert_balanced, bearings, depot, hour, items, ledger, moved_stock, movement, need, open,
    opening, part, reservations, step, update,
};
use crate::{
    CareCommit, CareOutcome, LedgerEntry, RecordCommit, ReservationFilter, ReservationWrite,
    StockMove, Store, StoreError, UnitFilter, forecare,
};

pub async fn initial_stock_is_booked_as_receipts(store: Arc<dyn Store>) {
    assert_eq!(bearings(&store, "main").await, (5, 0, 0, 0));
    assert_eq!(bearings(&store, "north").await, (2, 0, 0, 0));
    assert_eq!(
        store.stock().await.unwrap().len(),
        14,
        "every part at every depot"
    );
    let lines = items(store.ledger(ALL).await.unwrap());
    assert_eq!(lines.len(), 3);
    assert!(
        lines
            .iter()
            .all(|l| l.kind == "receipt" && l.at == hour(0) && l.by == forecare())
    );
    let again = store
        .move_stock(movement("initial:main:BRG-1", StockMove::Receipt, 5, 1))
        .await
        .unwrap();
    assert_eq!(
        again.item.on_hand, 5,
        "booked under a key that anyone can name"
    );
    assert_balanced(&store).await;
}

pub async fn holds_count_against_stock_by_kind(store: Arc<dyn Store>) {
    open(&store, 0, 1, vec![need(2, Priority::P3)]).await;
    assert_eq!(bearings(&store, "main").await, (5, 2, 0, 0));
    let mut urgent = need(1, Priority::P3);
    urgent.needed_at = hour(10);
    let (_, reserved) = open(&store, 1, 1, vec![urgent]).await;
    assert_eq!(reserved[0].state, State::Hard);
    assert_eq!(bearings(&store, "main").await, (5, 2, 1, 0));
    let mut many = need(8, Priority::P3);
    many.part = part("SEAL-1");
    let (_, reserved) = open(&store, 2, 1, vec![many]).await;
    let supplies: Vec<(Supply, u32)> = reserved
        .into_iter()
        .map(|r| (r.supply, r.quantity))
        .collect();
    let expected = [
        (
            Supply::Stock {
                depot: depot("main"),
            },
            3,
        ),
        (Supply::BackOrder { to: depot("main") }, 5),
    ];
    assert_eq!(supplies, expected);
    assert_balanced(&store).await;
}

fn write(id: forecare_domain::ReservationId, from: State, to: State) -> CareCommit {
    let write = ReservationWrite {
        id,
        from,
        to,
        expires_at: hour(200),
    };
    CareCommit {
        reservations: vec![write],
        at: hour(5),
        ..CareCommit::default()
    }
}

pub async fn released_and_expired_holds_free_their_parts(store: Arc<dyn Store>) {
    let (_, a) = open(&store, 0, 1, vec![need(3, Priority::P3)]).await;
    let (b_ticket, b) = open(&store, 1, 1, vec![need(2, Priority::P3)]).await;
    store
        .commit_care(write(b[0].id, State::Soft, State::Hard))
        .await
        .unwrap();
    assert_eq!(bearings(&store, "main").await, (5, 3, 2, 0));
    store
        .commit_care(write(a[0].id, State::Soft, State::Expired))
        .await
        .unwrap();
    assert_eq!(bearings(&store, "main").await, (5, 0, 2, 0));
    update(&store, step(&b_ticket, TicketState::Cancelled, 6, &[])).await;
    assert_eq!(bearings(&store, "main").await, (5, 0, 0, 0));
    let states: Vec<State> = reservations(&store).await.iter().map(|r| r.state).collect();
    assert_eq!(states, [State::Expired, State::Released]);
    assert_eq!(reservations(&store).await[0].expires_at, hour(200));
    let live = ReservationFilter {
        ticket: None,
        live: true,
    };
    assert_eq!(store.reservations(&live, ALL).await.unwrap(), []);
    let revived = store
        .commit_care(write(a[0].id, State::Expired, State::Soft))
        .await;
    assert!(
        matches!(revived, Err(StoreError::Conflict(_))),
        "what is over stays over"
    );
}

pub async fn consumed_parts_leave_the_shelf(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, vec![need(4, Priority::P3)]).await;
    let working = update(
        &store,
        step(&ticket, TicketState::InProgress, 2, &[("BRG-1", 1)]),
    )
    .await;
    assert_eq!(reservations(&store).await[0].state, State::PartlyUsed);
    assert_eq!(bearings(&store, "main").await, (4, 0, 3, 0));
    update(
        &store,
        step(&working, TicketState::Resolved, 3, &[("BRG-1", 3)]),
    )
    .await;
    assert_eq!(bearings(&store, "main").await, (2, 0, 0, 0));
    let r = &reservations(&store).await[0];
    assert_eq!((r.state, r.used), (State::Consumed, 3));
    let lines = items(store.ledger(ALL).await.unwrap());
    let consumed: Vec<i64> = lines
        .iter()
        .filter(|l| l.kind == "consumed")
        .map(|l| l.delta)
        .collect();
    assert_eq!(consumed, [-2, -1]);
    let mut its = lines.clone();
    its.retain(|l| l.ticket == Some(ticket.id));
    its.reverse();
    assert_eq!(store.ledger_of(ticket.id).await.unwrap(), its);
    assert!(lines[0].ticket == Some(ticket.id) && lines[0].at == hour(3));
    assert_balanced(&store).await;
}

pub async fn transfers_are_booked_at_both_depots(store: Arc<dyn Store>) {
    let (ticket, reserved) = open(&store, 0, 1, vec![need(7, Priority::P3)]).await;
    let transfer = Supply::Transfer {
        from: depot("north"),
        to: depot("main"),
    };
    assert!(
        reserved
            .iter()
            .any(|r| r.supply == transfer && r.quantity == 2),
        "{reserved:?}"
    );
    assert_eq!(bearings(&store, "north").await, (2, 2, 0, 0));
    update(
        &store,
        step(&ticket, TicketState::Resolved, 30, &[("BRG-1", 7)]),
    )
    .await;
    assert_eq!(bearings(&store, "north").await, (0, 0, 0, 0));
    assert_eq!(bearings(&store, "main").await, (0, 0, 0, 0));
    let kinds: Vec<(String, i64)> = items(store.ledger(ALL).await.unwrap())
        .into_iter()
        .take(3)
        .map(|l| (l.kind, l.delta))
        .collect();
    let expected = [("consumed", -2), ("transfer_in", 2), ("transfer_out", -2)]
        .map(|(k, d)| (k.to_owned(), d));
    assert_eq!(kinds, expected);
    assert_balanced(&store).await;
}

pub async fn higher_claims_preempt_soft_holds_and_victims_are_served_anew(store: Arc<dyn Store>) {
    let (low, held) = open(&store, 0, 1, vec![need(4, Priority::P4)]).await;
    let (_, reserved) = open(&store, 1, 2, vec![need(4, Priority::P1)]).await;
    assert_eq!(reserved.len(), 1);
    assert_eq!(
        (&reserved[0].supply, reserved[0].quantity),
        (
            &Supply::Stock {
                depot: depot("main")
            },
            4
        )
    );
    let its = ReservationFilter {
        ticket: Some(low.id),
        live: false,
    };
    let its = items(store.reservations(&its, ALL).await.unwrap());
    let lost = its.iter().find(|r| r.id == held[0].id).unwrap();
    assert_eq!(lost.state, State::Released);
    let again: u32 = its
        .iter()
        .filter(|r| r.state.is_live())
        .map(|r| r.quantity)
        .sum();
    assert_eq!(
        again, 4,
        "what was lost is reserved from elsewhere: {its:?}"
    );
    assert!(its.iter().all(|r| r.priority == Priority::P4));
    // One on the shelf, two from the other depot, one from the supplier.
    assert_eq!(bearings(&store, "main").await, (5, 5, 0, 1));
    assert_eq!(bearings(&store, "north").await, (2, 2, 0, 0));
    let (_, equal) = open(&store, 2, 3, vec![need(4, Priority::P1)]).await;
    assert!(
        equal
            .iter()
            .any(|r| matches!(r.supply, Supply::BackOrder { .. })),
        "an equal claim takes nothing"
    );
    assert_balanced(&store).await;
}

pub async fn receipts_serve_back_orders_by_priority_then_age(store: Arc<dyn Store>) {
    // Hard, so that nobody is pre-empted.
    let hard = |quantity, priority| {
        let mut need = need(quantity, priority);
        need.needed_at = hour(10);
        vec![need]
    };
    open(&store, 0, 1, hard(7, Priority::P4)).await;
    let mut waiting = Vec::new();
    for (n, at, priority) in [
        (1, 2, Priority::P3),
        (2, 3, Priority::P1),
        (3, 1, Priority::P3),
    ] {
        let (ticket, reserved) = open(&store, n, at, hard(2, priority)).await;
        assert!(
            matches!(reserved[0].supply, Supply::BackOrder { .. }),
            "{reserved:?}"
        );
        waiting.push(ticket.id);
    }
    assert_eq!(bearings(&store, "main").await, (5, 0, 5, 6));
    let served = async || -> Vec<TicketId> {
        let all = reservations(&store).await;
        let has = |t: &TicketId| {
            all.iter().any(|r| {
                r.ticket == *t
                    && r.supply
                        == Supply::Stock {
                            depot: depot("main"),
                        }
            })
        };
        waiting.iter().filter(|t| has(t)).copied().collect()
    };
    store
        .move_stock(movement("r1", StockMove::Receipt, 2, 20))
        .await
        .unwrap();
    assert_eq!(served().await, [waiting[1]]);
    store
        .move_stock(movement("r2", StockMove::Receipt, 3, 21))
        .await
        .unwrap();
    assert_eq!(served().await, [waiting[1], waiting[2]]);
    let item = store
        .move_stock(movement("r3", StockMove::Receipt, 1, 22))
        .await
        .unwrap()
        .item;
    assert_eq!((item.on_hand, item.hard, item.back_ordered), (11, 11, 0));
    let newest = &reservations(&store).await;
    let last = newest.iter().find(|r| r.ticket == waiting[0]).unwrap();
    assert_eq!(last.available_at, hour(22));
    assert_balanced(&store).await;
}

pub async fn needs_of_an_open_ticket_are_reserved_later(store: Arc<dyn Store>) {
    let (ticket, held) = open(&store, 0, 1, vec![need(2, Priority::P3)]).await;
    let mut commit = write(held[0].id, State::Soft, State::Expired);
    commit.needs = vec![(ticket.id, need(2, Priority::P3))];
    assert_eq!(
        store.commit_care(commit).await.unwrap(),
        CareOutcome::Stored
    );
    assert_eq!(bearings(&store, "main").await, (5, 2, 0, 0));
    assert_eq!(reservations(&store).await.len(), 2);
    let mut ending = step(&ticket, TicketState::Cancelled, 6, &[]);
    ending.needs = vec![(ticket.id, need(2, Priority::P3))];
    update(&store, ending).await;
    assert_eq!(
        bearings(&store, "main").await,
        (5, 0, 0, 0),
        "nothing for a ticket that has ended"
    );
}

pub async fn a_smaller_hold_keeps_its_parts_and_serves_who_waits(store: Arc<dyn Store>) {
    // Three lie at the one depot that has any: the first takes them all, the second waits for one.
    let seals = |quantity, priority| forecare_care::Need {
        part: part("SEAL-1"),
        ..need(quantity, priority)
    };
    let (first, held) = open(&store, 0, 1, vec![seals(3, Priority::P3)]).await;
    let (second, _) = open(&store, 1, 1, vec![seals(1, Priority::P4)]).await;
    let hold = held[0].id;
    let cut = async |keep| {
        let commit = CareCommit {
            cuts: vec![(hold, keep)],
            at: hour(5),
            ..CareCommit::default()
        };
        store.commit_care(commit).await.unwrap();
    };
    let held = async |ticket| {
        let all = reservations(&store).await;
        let live = all
            .into_iter()
            .filter(|r| r.ticket == ticket && r.state.is_live());
        live.map(|r| (r.quantity, matches!(r.supply, Supply::BackOrder { .. })))
            .collect::<Vec<(u32, bool)>>()
    };
    assert_eq!(held(second.id).await, [(1, true)]);
    cut(2).await;
    assert_eq!(held(first.id).await, [(2, false)], "its own stay its own");
    assert_eq!(held(second.id).await, [(1, false)], "what was given back");
    cut(9).await;
    assert_eq!(held(first.id).await, [(2, false)], "never more than before");
    cut(0).await;
    assert_eq!(held(first.id).await, []);
    cut(0).await;
    let missing = CareCommit {
        cuts: vec![(forecare_domain::ReservationId(99), 0)],
        at: hour(5),
        ..CareCommit::default()
    };
    let missing = store.commit_care(missing).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
    assert_balanced(&store).await;
}

pub async fn a_reservation_changed_meanwhile_is_left_alone(store: Arc<dyn Store>) {
    let (_, held) = open(&store, 0, 1, vec![need(2, Priority::P3)]).await;
    store
        .commit_care(write(held[0].id, State::Soft, State::Hard))
        .await
        .unwrap();
    store
        .commit_care(write(held[0].id, State::Soft, State::Expired))
        .await
        .unwrap();
    assert_eq!(reservations(&store).await[0].state, State::Hard);
    let nobody = forecare_domain::ReservationId(99);
    let missing = store
        .commit_care(write(nobody, State::Soft, State::Hard))
        .await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
}

pub async fn scrap_spares_what_is_held(store: Arc<dyn Store>) {
    open(&store, 0, 1, vec![need(4, Priority::P3)]).await;
    let refused = store
        .move_stock(movement("s1", StockMove::Scrap, 2, 2))
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict(text)) if text.contains("only 1 of BRG-1")));
    let item = store
        .move_stock(movement("s2", StockMove::Scrap, 1, 2))
        .await
        .unwrap()
        .item;
    assert_eq!((item.on_hand, item.soft), (4, 4));
    assert_balanced(&store).await;
}

pub async fn stock_commands_count_once(store: Arc<dyn Store>) {
    for n in 0..3 {
        let outcome = moved_stock(&store, movement("r", StockMove::Receipt, 4, 1)).await;
        assert_eq!((outcome.item.on_hand, outcome.repeated), (9, n > 0));
    }
    assert_eq!(store.ledger(ALL).await.unwrap().len(), 4);
}

fn to_ticket(id: TicketId) -> StockMove {
    StockMove::Issue {
        to: Consumer::Ticket(id),
    }
}

fn to_workshop() -> StockMove {
    StockMove::Issue {
        to: Consumer::CostCentre("workshop".to_owned()),
    }
}

fn back(from: Consumer, fate: Fate) -> StockMove {
    StockMove::Return { from, fate }
}

fn count(key: &str, found: u32, at: i64) -> StockCommand {
    StockCommand {
        reason: Some("stock-take".to_owned()),
        ..movement(key, StockMove::Count, found, at)
    }
}

/// Kind and change of the newest lines.
async fn newest(store: &Arc<dyn Store>, n: usize) -> Vec<(String, i64)> {
    let line = |l: LedgerEntry| (l.kind, l.delta);
    ledger(store).await.into_iter().take(n).map(line).collect()
}

fn lines(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(k, d)| ((*k).to_owned(), *d)).collect()
}

async fn refused(store: &Arc<dyn Store>, command: StockCommand) -> String {
    match store.move_stock(command).await {
        Err(StoreError::Conflict(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

pub async fn a_ticket_is_issued_what_is_held_for_it_then_what_is_free(store: Arc<dyn Store>) {
    let (ticket, _) = open(&store, 0, 1, vec![need(2, Priority::P3)]).await;
    open(&store, 1, 1, vec![need(2, Priority::P3)]).await;
    let text = refused(&store, movement("i0", to_ticket(ticket.id), 4, 2)).await;
    assert!(text.contains("only 3 of BRG-1"), "{text}");
    moved_stock(&store, movement("i1", to_ticket(ticket.id), 1, 2)).await;
    assert_eq!(bearings(&store, "main").await, (4, 2, 1, 0));
    assert_eq!(reservations(&store).await[0].state, State::PartlyUsed);
    let outcome = moved_stock(&store, movement("i2", to_ticket(ticket.id), 2, 3)).await;
    assert_eq!((outcome.item.on_hand, outcome.item.soft), (2, 2));
    let all = reservations(&store).await;
    let of_ticket = all.iter().filter(|r| r.ticket == ticket.id);
    let used: Vec<(State, u32)> = of_ticket.map(|r| (r.state, r.used)).collect();
    assert_eq!(used, [(State::Consumed, 2), (State::Consumed, 1)]);
    assert_eq!(
        newest(&store, 2).await,
        lines(&[("issue", -2), ("issue", -1)])
    );
    // What was handed out is not booked again when the technician reports it.
    let working = update(&store, step(&ticket, TicketState::InProgress, 4, &[])).await;
    let done = step(&working, TicketState::Resolved, 5, &[("BRG-1", 3)]);
    update(&store, done).await;
    assert_eq!(bearings(&store, "main").await, (2, 2, 0, 0));
    let late = refused(&store, movement("i3", to_ticket(ticket.id), 1, 6)).await;
    assert!(late.contains("has ended"), "{late}");
    let nobody = movement("i4", to_ticket(TicketId(99)), 1, 6);
    assert!(matches!(
        store.move_stock(nobody).await,
        Err(StoreError::NotFound(_))
    ));
    assert_balanced(&store).await;
}

pub async fn free_parts_issued_stand_in_for_those_on_order(store: Arc<dyn Store>) {
    let mut many = need(8, Priority::P3);
    many.part = part("SEAL-1");
    let (ticket, _) = open(&store, 0, 1, vec![many]).await;
    let seals = |key: &str, kind, quantity| StockCommand {
        part: part("SEAL-1"),
        ..movement(key, kind, quantity, 2)
    };
    // Three from the shelf, five on order: two that arrive do not serve the order, which waits for all of its five.
    moved_stock(&store, seals("r", StockMove::Receipt, 2)).await;
    let item = moved_stock(&store, seals("i", to_ticket(ticket.id), 5))
        .await
        .item;
    assert_eq!((item.on_hand, item.hard, item.back_ordered), (0, 0, 3));
    let item = moved_stock(&store, seals("r2", StockMove::Receipt, 3))
        .await
        .item;
    assert_eq!((item.on_hand, item.hard, item.back_ordered), (3, 3, 0));
    assert_balanced(&store).await;
}

pub async fn a_cost_centre_is_issued_only_what_nobody_holds(store: Arc<dyn Store>) {
    open(&store, 0, 1, vec![need(4, Priority::P3)]).await;
    let text = refused(&store, movement("c1", to_workshop(), 2, 2)).await;
    assert!(text.contains("only 1 of BRG-1"), "{text}");
    let issued = StockCommand {
        reason: Some("training".to_owned()),
        ..movement("c2", to_workshop(), 1, 2)
    };
    assert_eq!(moved_stock(&store, issued).await.item.on_hand, 4);
    let line = &ledger(&store).await[0];
    assert_eq!(line.cost_centre.as_deref(), Some("workshop"));
    assert_eq!(line.reason.as_deref(), Some("training"));
    assert_eq!((line.kind.as_str(), line.ticket), ("issue", None));
    assert_balanced(&store).await;
}

pub async fn no_more_comes_back_than_went_out(store: Arc<dyn Store>) {
    let workshop = || Consumer::CostCentre("workshop".to_owned());
    moved_stock(&store, movement("o1", to_workshop(), 2, 1)).await;
    let text = refused(&store, movement("b0", back(workshop(), Fate::Shelf), 3, 2)).await;
    assert!(text.contains("2 of BRG-1 are out"), "{text}");
    moved_stock(&store, movement("b1", back(workshop(), Fate::Shelf), 1, 2)).await;
    moved_stock(&store, movement("b2", back(workshop(), Fate::Scrap), 1, 2)).await;
    assert_eq!(
        newest(&store, 2).await,
        lines(&[("scrap", -1), ("return", 1)])
    );
    refused(&store, movement("b3", back(workshop(), Fate::Shelf), 1, 3)).await;
    assert_eq!(bearings(&store, "main").await, (4, 0, 0, 0));

    let (ticket, _) = open(&store, 0, 3, vec![need(3, Priority::P3)]).await;
    let theirs = || Consumer::Ticket(ticket.id);
    moved_stock(&store, movement("o2", to_ticket(ticket.id), 2, 4)).await;
    refused(&store, movement("b4", back(theirs(), Fate::Shelf), 3, 5)).await;
    let outcome = moved_stock(&store, movement("b5", back(theirs(), Fate::Repair), 1, 5)).await;
    assert_eq!((outcome.item.on_hand, outcome.item.in_repair), (2, 1));
    moved_stock(&store, movement("b6", back(theirs(), Fate::Shelf), 1, 5)).await;
    let r = &reservations(&store).await[0];
    assert_eq!(
        (r.state, r.quantity, r.used),
        (State::Hard, 1, 0),
        "what it still holds stays"
    );
    assert_eq!(bearings(&store, "main").await, (3, 0, 1, 0));
    refused(&store, movement("b7", StockMove::Repaired, 2, 6)).await;
    let repaired = moved_stock(&store, movement("b8", StockMove::Repaired, 1, 6)).await;
    assert_eq!((repaired.item.on_hand, repaired.item.in_repair), (4, 0));
    assert_balanced(&store).await;
}

pub async fn a_transfer_leaves_one_place_and_reaches_the_other(store: Arc<dyn Store>) {
    open(&store, 0, 1, vec![need(4, Priority::P3)]).await;
    let to = |name: &str| StockMove::Transfer { to: depot(name) };
    let text = refused(&store, movement("t1", to("north"), 2, 2)).await;
    assert!(text.contains("only 1 of BRG-1"), "{text}");
    refused(&store, movement("t2", to("main"), 1, 2)).await;
    let outcome = moved_stock(&store, movement("t3", to("north"), 1, 2)).await;
    assert_eq!(outcome.item.on_hand, 4);
    assert_eq!(outcome.there.map(|there| there.on_hand), Some(3));
    let both = lines(&[("transfer_in", 1), ("transfer_out", -1)]);
    assert_eq!(newest(&store, 2).await, both);
    let nowhere = store.move_stock(movement("t4", to("nowhere"), 1, 2)).await;
    assert!(matches!(nowhere, Err(StoreError::NotFound(text)) if text.contains("nowhere")));
    assert_balanced(&store).await;
}

pub async fn vans_and_depots_on_record_hold_stock(store: Arc<dyn Store>) {
    let to = |name: &str| StockMove::Transfer { to: depot(name) };
    let unknown = store.move_stock(movement("v1", to("van:7"), 1, 1)).await;
    assert!(
        matches!(unknown, Err(StoreError::NotFound(_))),
        "{unknown:?}"
    );
    let write = |kind: RecordKind, id: &str| RecordWrite {
        kind,
        id: RecordId::new(id).unwrap(),
        if_version: None,
        change: Change::Put(Box::new(
            Body::parse(kind, serde_json::json!({"name": id})).unwrap(),
        )),
    };
    let writes = vec![
        write(RecordKind::Van, "7"),
        write(RecordKind::Depot, "abroad"),
    ];
    let commit = RecordCommit {
        writes,
        by: forecare(),
        at: hour(1),
    };
    store.commit_records(commit).await.unwrap();
    moved_stock(&store, movement("v1", to("van:7"), 2, 1)).await;
    let in_bin = StockCommand {
        depot: depot("abroad"),
        bin: Some("A-12".to_owned()),
        ..movement("v2", StockMove::Receipt, 3, 1)
    };
    moved_stock(&store, in_bin).await;
    let stock = store.stock().await.unwrap();
    let seen: Vec<(String, u32, Option<String>)> = stock
        .into_iter()
        .filter(|i| i.part == part("BRG-1"))
        .map(|i| (i.depot.to_string(), i.on_hand, i.bin))
        .collect();
    let expected = [
        ("main", 3, None),
        ("north", 2, None),
        ("abroad", 3, Some("A-12")),
        ("van:7", 2, None),
    ];
    let expected = expected.map(|(d, n, bin)| (d.to_owned(), n, bin.map(str::to_owned)));
    assert_eq!(seen, expected);
    let from_van = StockCommand {
        depot: depot("van:7"),
        ..movement("v3", to_workshop(), 1, 2)
    };
    assert_eq!(moved_stock(&store, from_van).await.item.on_hand, 1);
    assert_balanced(&store).await;
}

pub async fn a_count_sets_the_shelf_and_says_why(store: Arc<dyn Store>) {
    let silent = refused(&store, movement("k1", StockMove::Count, 7, 1)).await;
    assert!(silent.contains("reason"), "{silent}");
    let outcome = moved_stock(&store, count("k2", 7, 1)).await;
    assert_eq!((outcome.item.on_hand, outcome.short.len()), (7, 0));
    let line = &ledger(&store).await[0];
    assert_eq!((line.kind.as_str(), line.delta), ("count", 2));
    assert_eq!(line.reason.as_deref(), Some("stock-take"));
    let as_booked = moved_stock(&store, movement("k3", StockMove::Count, 7, 2)).await;
    assert_eq!(as_booked.item.on_hand, 7);
    assert_eq!(
        newest(&store, 1).await,
        lines(&[("count", 0)]),
        "that it was counted is kept"
    );
    moved_stock(&store, count("k4", 0, 3)).await;
    assert_eq!(bearings(&store, "main").await, (0, 0, 0, 0));
    assert_balanced(&store).await;
}

pub async fn a_count_below_what_is_held_says_what_became_short(store: Arc<dyn Store>) {
    let (soft, low) = open(&store, 0, 1, vec![need(2, Priority::P4)]).await;
    let mut urgent = need(3, Priority::P1);
    urgent.needed_at = hour(10);
    let (_, hard) = open(&store, 1, 1, vec![urgent]).await;
    assert_eq!(bearings(&store, "main").await, (5, 2, 3, 0));
    let outcome = moved_stock(&store, count("k1", 4, 2)).await;
    assert_eq!(outcome.short, [low[0].id], "the soft one loses");
    // One of its two is still there, the other comes from the other depot.
    assert_eq!(bearings(&store, "main").await, (4, 1, 3, 0));
    assert_eq!(bearings(&store, "north").await, (2, 1, 0, 0));
    let outcome = moved_stock(&store, count("k2", 2, 3)).await;
    assert_eq!(outcome.short.len(), 2);
    assert!(outcome.short.contains(&hard[0].id), "{outcome:?}");
    let all = reservations(&store).await;
    for (ticket, n) in [(soft.id, 2), (hard[0].ticket, 3)] {
        let its = all
            .iter()
            .filter(|r| r.ticket == ticket && r.state.is_live());
        let held: u32 = its.map(|r| r.quantity).sum();
        assert_eq!(held, n, "still asked for in full");
    }
    let told = store.unrouted_notices(10).await.unwrap();
    let told: Vec<_> = told
        .iter()
        .filter(|n| matches!(n.what, NoticeKind::PartsShort { .. }))
        .collect();
    assert!(
        told.iter().any(|n| n.ticket == Some(hard[0].ticket)),
        "whose parts come late now is told: {told:?}"
    );
    let again = moved_stock(&store, count("k2", 2, 4)).await;
    assert!(again.repeated && again.short.is_empty());
    assert_balanced(&store).await;
}

pub async fn a_key_used_for_another_movement_is_refused(store: Arc<dyn Store>) {
    moved_stock(&store, movement("k", StockMove::Receipt, 4, 1)).await;
    for other in [
        movement("k", StockMove::Receipt, 5, 1),
        movement("k", StockMove::Scrap, 4, 1),
        StockCommand {
            depot: depot("north"),
            ..movement("k", StockMove::Receipt, 4, 1)
        },
    ] {
        let text = refused(&store, other).await;
        assert!(
            text.contains("another movement, of 4 of BRG-1 at main"),
            "{text}"
        );
    }
    assert_eq!(bearings(&store, "main").await, (9, 0, 0, 0));
}

fn order(id: &str, quantity: u32, due: i64) -> PurchaseOrder {
    PurchaseOrder {
        id: OrderId::new(id).unwrap(),
        part: part("BRG-1"),
        depot: depot("main"),
        quantity,
        received: 7,
        due_at: hour(due),
        is_cancelled: false,
        by: forecare(),
        at: hour(1),
    }
}

pub async fn receipts_count_towards_the_order_they_name(store: Arc<dyn Store>) {
    for (id, due) in [("PO-2", 60), ("PO-1", 60), ("PO-3", 50)] {
        let entered = store.put_purchase_order(order(id, 4, due)).await.unwrap();
        assert_eq!(entered.received, 0, "only receipts tell what has arrived");
    }
    let open = async |open_only| -> Vec<(String, u32)> {
        let orders = store.purchase_orders(open_only).await.unwrap();
        let line = |o: PurchaseOrder| (o.id.to_string(), o.outstanding());
        orders.into_iter().map(line).collect()
    };
    let expected = |of: &[(&str, u32)]| -> Vec<(String, u32)> {
        of.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect()
    };
    assert_eq!(
        open(true).await,
        expected(&[("PO-3", 4), ("PO-1", 4), ("PO-2", 4)])
    );
    let receipt = |key: &str, id: &str, quantity| StockCommand {
        order: Some(OrderId::new(id).unwrap()),
        ..movement(key, StockMove::Receipt, quantity, 2)
    };
    for _ in 0..2 {
        moved_stock(&store, receipt("r1", "PO-1", 3)).await;
    }
    moved_stock(&store, receipt("r2", "PO-3", 5)).await;
    assert_eq!(open(true).await, expected(&[("PO-1", 1), ("PO-2", 4)]));
    let unknown = store.move_stock(receipt("r3", "PO-9", 1)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(text)) if text.contains("PO-9")));
    let mut elsewhere = receipt("r4", "PO-2", 1);
    elsewhere.depot = depot("north");
    assert!(
        refused(&store, elsewhere)
            .await
            .contains("PO-2 is of BRG-1 to main")
    );
    let mut scrapped = receipt("r5", "PO-2", 1);
    scrapped.kind = StockMove::Scrap;
    refused(&store, scrapped).await;

    // Changed, it keeps what has arrived; of what it is stays.
    let later = store
        .put_purchase_order(order("PO-1", 6, 90))
        .await
        .unwrap();
    assert_eq!((later.received, later.outstanding()), (3, 3));
    let mut other = order("PO-1", 6, 90);
    other.part = part("SEAL-1");
    assert!(matches!(
        store.put_purchase_order(other).await,
        Err(StoreError::Conflict(_))
    ));
    let cancelled = PurchaseOrder {
        is_cancelled: true,
        ..order("PO-2", 4, 60)
    };
    store.put_purchase_order(cancelled).await.unwrap();
    assert_eq!(open(true).await, expected(&[("PO-1", 3)]));
    assert_eq!(open(false).await.len(), 3);
    let mut nowhere = order("PO-4", 1, 60);
    nowhere.depot = depot("nowhere");
    assert!(matches!(
        store.put_purchase_order(nowhere).await,
        Err(StoreError::NotFound(_))
    ));
    let nothing = store.put_purchase_order(order("PO-4", 0, 60)).await;
    assert!(matches!(nothing, Err(StoreError::Conflict(_))));
    let whole = store.purchase_orders(false).await.unwrap();
    assert_eq!(whole[0].by, forecare());
    assert_eq!((whole[0].id.as_str(), whole[0].at), ("PO-3", hour(1)));
    assert_balanced(&store).await;
}

/// A need of `number` at hour `needed`.
fn need_of(number: &str, quantity: u32, needed: i64) -> forecare_care::Need {
    forecare_care::Need {
        part: part(number),
        needed_at: hour(needed),
        lead_time_hours: 24.0,
        ..need(quantity, Priority::P3)
    }
}

fn of(number: &str, command: StockCommand) -> StockCommand {
    StockCommand {
        part: part(number),
        ..command
    }
}

/// Part, what it stands in for, pieces, whether it lies there; of all that are live, oldest first.
async fn stand_ins(store: &Arc<dyn Store>) -> Vec<(String, Option<String>, u32, bool)> {
    let all = reservations(store).await;
    let live = all.into_iter().filter(|r| r.state.is_live());
    live.map(|r| {
        let is_there = matches!(r.supply, Supply::Stock { .. });
        let instead_of = r.instead_of.map(String::from);
        (String::from(r.part), instead_of, r.quantity, is_there)
    })
    .collect()
}

fn standing(of: &[(&str, Option<&str>, u32, bool)]) -> Vec<(String, Option<String>, u32, bool)> {
    let owned = |(part, instead_of, n, is_there): &(&str, Option<&str>, u32, bool)| {
        let instead_of = instead_of.map(str::to_owned);
        ((*part).to_owned(), instead_of, *n, *is_there)
    };
    of.iter().map(owned).collect()
}

pub async fn old_stock_goes_first_and_its_successor_is_ordered(store: Arc<dyn Store>) {
    let receipt = |key: &str, n| movement(key, StockMove::Receipt, n, 1);
    moved_stock(&store, of("GSK-1", receipt("r1", 1))).await;
    let (ticket, reserved) = open(&store, 0, 1, vec![need_of("GSK-1", 3, 1_000)]).await;
    let new = Some("GSK-1");
    assert_eq!(
        stand_ins(&store).await,
        standing(&[("GSK-1", None, 1, true), ("GSK-2", new, 2, false)])
    );
    assert_eq!(reserved[1].available_at, hour(25));
    // The new part arrives and is held for who asked for the old one; of either number it is told.
    moved_stock(&store, of("GSK-2", receipt("r2", 2))).await;
    assert_eq!(
        stand_ins(&store).await,
        standing(&[("GSK-1", None, 1, true), ("GSK-2", new, 2, true)])
    );
    let (_, _) = open(&store, 1, 2, vec![need_of("GSK-1", 1, 1_000)]).await;
    let working = update(&store, step(&ticket, TicketState::InProgress, 4, &[])).await;
    let done = step(&working, TicketState::Resolved, 5, &[("GSK-1", 3)]);
    update(&store, done).await;
    assert_eq!(
        newest(&store, 2).await,
        lines(&[("consumed", -2), ("consumed", -1)])
    );
    // Old ones that turn up serve who waits for the new one in their place.
    assert_eq!(
        stand_ins(&store).await,
        standing(&[("GSK-2", new, 1, false)])
    );
    moved_stock(&store, of("GSK-1", receipt("r3", 1))).await;
    assert_eq!(
        stand_ins(&store).await,
        standing(&[("GSK-1", None, 1, true)])
    );
    assert_balanced(&store).await;
}

pub async fn a_substitute_is_taken_where_the_part_would_be_late(store: Arc<dyn Store>) {
    let receipt = |key: &str, n| movement(key, StockMove::Receipt, n, 1);
    moved_stock(&store, of("GSK-X", receipt("r1", 1))).await;
    open(&store, 0, 1, vec![need_of("GSK-2", 1, 25)]).await;
    assert_eq!(
        stand_ins(&store).await,
        standing(&[("GSK-2", None, 1, false)]),
        "the supplier is in time"
    );
    let (ticket, _) = open(&store, 1, 1, vec![need_of("GSK-1", 2, 10)]).await;
    let stands_in = Some("GSK-1");
    assert_eq!(
        stand_ins(&store).await[1..],
        standing(&[
            ("GSK-2", stands_in, 1, false),
            ("GSK-X", stands_in, 1, true)
        ])
    );
    // Another one arrives: what is late gets it, what is in time goes on waiting.
    moved_stock(&store, of("GSK-X", receipt("r2", 2))).await;
    assert_eq!(
        stand_ins(&store).await,
        standing(&[
            ("GSK-2", None, 1, false),
            ("GSK-X", stands_in, 1, true),
            ("GSK-X", stands_in, 1, true)
        ])
    );
    let working = update(&store, step(&ticket, TicketState::InProgress, 4, &[])).await;
    let done = step(
        &working,
        TicketState::Resolved,
        5,
        &[("GSK-1", 1), ("GSK-X", 1)],
    );
    update(&store, done).await;
    let line = &ledger(&store).await[0];
    assert_eq!((line.part.as_str(), line.delta), ("GSK-X", -1));
    assert_balanced(&store).await;
}

pub async fn a_victim_asks_again_for_what_it_had_asked_for(store: Arc<dyn Store>) {
    moved_stock(
        &store,
        of("GSK-2", movement("r1", StockMove::Receipt, 1, 1)),
    )
    .await;
    let (low, _) = open(&store, 0, 1, vec![need_of("GSK-1", 1, 1_000)]).await;
    let urgent = forecare_care::Need {
        priority: Priority::P1,
        ..need_of("GSK-1", 1, 1_000)
    };
    open(&store, 1, 2, vec![urgent]).await;
    let live = reservations(&store).await;
    let its: Vec<_> = live
        .iter()
        .filter(|r| r.ticket == low.id && r.state.is_live())
        .collect();
    assert_eq!(its.len(), 1);
    assert_eq!(its[0].wanted(), &part("GSK-1"));
    assert_eq!(its[0].part, part("GSK-2"));
    assert!(matches!(its[0].supply, Supply::BackOrder { .. }));
    assert_balanced(&store).await;
}

/// The command, of pump heads with these serial numbers.
fn heads(serials: &[&str], command: StockCommand) -> StockCommand {
    let serials = serials.iter().map(|s| SerialNumber::new(s).unwrap());
    StockCommand {
        part: part("PMP-1"),
        quantity: u32::try_from(serials.len()).unwrap().max(command.quantity),
        marks: Marks {
            batch: BatchNumber::new("B7").ok(),
            serials: serials.collect(),
        },
        ..command
    }
}

/// Serial numbers and where they are.
async fn whereabouts(store: &Arc<dyn Store>) -> Vec<String> {
    let units = store.units(&UnitFilter::default()).await.unwrap();
    let told = units.into_iter().map(|u| {
        let which = u.serial.map(String::from).or(u.batch.map(String::from));
        format!("{} {} {}", u.quantity, which.unwrap(), u.place.key())
    });
    told.collect()
}

fn by_hand() -> Actor {
    Actor {
        name: "Ada".to_owned(),
        channel: Channel::Console,
    }
}

/// The step with pieces named, as a person reports it.
fn reported(mut commit: CareCommit, number: &str, n: u32, serials: &[&str]) -> CareCommit {
    if let crate::TicketWrite::Update { ticket, parts_used } = &mut commit.ticket {
        ticket.history.last_mut().unwrap().by = by_hand();
        let serials = serials.iter().map(|s| SerialNumber::new(s).unwrap());
        *parts_used = vec![PartUsed {
            part: part(number),
            quantity: n,
            marks: Marks {
                batch: None,
                serials: serials.collect(),
            },
        }];
    }
    commit
}

pub async fn pieces_are_followed_by_serial_number(store: Arc<dyn Store>) {
    let receipt = |key: &str| movement(key, StockMove::Receipt, 0, 1);
    let unnamed = refused(
        &store,
        of("PMP-1", movement("r0", StockMove::Receipt, 2, 1)),
    )
    .await;
    assert!(unnamed.contains("name 2 serial numbers"), "{unnamed}");
    moved_stock(&store, heads(&["S1", "S2", "S3"], receipt("r1"))).await;
    let twice = refused(&store, heads(&["S3"], receipt("r2"))).await;
    assert!(
        twice.contains("S3 is on the shelf at main already"),
        "{twice}"
    );
    let other = refused(&store, heads(&["S1", "S2", "S4"], receipt("r1"))).await;
    assert!(other.contains("another movement"), "{other}");
    assert!(
        moved_stock(&store, heads(&["S1", "S2", "S3"], receipt("r1")))
            .await
            .repeated
    );

    let to_north = StockMove::Transfer { to: depot("north") };
    let which = refused(&store, of("PMP-1", movement("t0", to_north.clone(), 1, 2))).await;
    assert!(which.contains("name the serial numbers"), "{which}");
    moved_stock(
        &store,
        heads(&["S3"], movement("t1", to_north.clone(), 0, 2)),
    )
    .await;
    let gone = refused(&store, heads(&["S3"], movement("t2", to_north, 0, 2))).await;
    assert!(gone.contains("S3 is on the shelf at north"), "{gone}");
    moved_stock(&store, heads(&["S2"], movement("i1", to_workshop(), 0, 3))).await;
    let workshop = || Consumer::CostCentre("workshop".to_owned());
    let never = heads(&["S1"], movement("b0", back(workshop(), Fate::Shelf), 0, 3));
    assert!(refused(&store, never).await.contains("S1 is on the shelf"));
    moved_stock(
        &store,
        heads(
            &["S2"],
            movement("b1", back(workshop(), Fate::Repair), 0, 3),
        ),
    )
    .await;
    assert_eq!(
        whereabouts(&store).await,
        ["1 S1 shelf:main", "1 S2 repair:main", "1 S3 shelf:north"]
    );
    // All that is in repair comes back: there is nothing to choose.
    moved_stock(
        &store,
        of("PMP-1", movement("p1", StockMove::Repaired, 1, 4)),
    )
    .await;
    let found = heads(&["S1", "S9"], count("k1", 2, 5));
    moved_stock(&store, found).await;
    assert_eq!(
        whereabouts(&store).await,
        ["1 S1 shelf:main", "1 S3 shelf:north", "1 S9 shelf:main"]
    );
    let line = &ledger(&store).await[0];
    assert_eq!((line.delta, line.units.len()), (0, 2), "one less, one more");
    let one = UnitFilter {
        serial: SerialNumber::new("S3").ok(),
        ..UnitFilter::default()
    };
    let found = store.units(&one).await.unwrap();
    assert_eq!((found.len(), found[0].since), (1, hour(2)));
    assert_eq!(found[0].batch, BatchNumber::new("B7").ok());
    assert_balanced(&store).await;
}

pub async fn a_ticket_uses_the_pieces_that_are_named(store: Arc<dyn Store>) {
    let receipt = heads(
        &["S1", "S2", "S3"],
        movement("r1", StockMove::Receipt, 0, 1),
    );
    moved_stock(&store, receipt).await;
    let (ticket, _) = open(&store, 0, 1, vec![need_of("PMP-1", 2, 1_000)]).await;
    let working = update(&store, step(&ticket, TicketState::InProgress, 2, &[])).await;
    let resolve = |ticket: &forecare_domain::Ticket, n, serials: &[&str]| {
        let done = step(ticket, TicketState::Resolved, 5, &[]);
        reported(done, "PMP-1", n, serials)
    };
    let says = async |commit| match store.commit_care(commit).await {
        Err(StoreError::Conflict(text)) => text,
        other => panic!("not refused: {other:?}"),
    };
    let which = says(resolve(&working, 2, &[])).await;
    assert!(which.contains("name the serial numbers"), "{which}");
    let unknown = says(resolve(&working, 2, &["S1", "S2", "S7"])).await;
    assert!(
        unknown.contains("nobody knows serial number S7"),
        "{unknown}"
    );
    assert_eq!(whereabouts(&store).await.len(), 3, "nothing has changed");
    let part_way = step(&working, TicketState::InProgress, 3, &[]);
    let working = update(&store, reported(part_way, "PMP-1", 1, &["S2"])).await;
    update(&store, resolve(&working, 2, &["S2", "S3"])).await;
    let placed = format!("ticket:{}", ticket.id.0);
    assert_eq!(
        whereabouts(&store).await,
        [
            "1 S1 shelf:main".to_owned(),
            format!("1 S2 {placed}"),
            format!("1 S3 {placed}")
        ]
    );
    let fitted = UnitFilter {
        batch: BatchNumber::new("B7").ok(),
        asset: Some(ticket.asset.clone()),
        ..UnitFilter::default()
    };
    let other = UnitFilter {
        asset: AssetId::new("another").ok(),
        ..UnitFilter::default()
    };
    assert!(store.units(&other).await.unwrap().is_empty());
    assert_eq!(store.units(&fitted).await.unwrap().len(), 2, "a recall");
    // One that comes out again is off the machine.
    let theirs = back(Consumer::Ticket(ticket.id), Fate::Scrap);
    moved_stock(&store, heads(&["S2"], movement("b1", theirs, 0, 6))).await;
    assert_eq!(store.units(&fitted).await.unwrap().len(), 1);
    // A recall asks for what was scrapped, too; a serial number is in one place, so it does not come a second time.
    assert!(
        whereabouts(&store)
            .await
            .contains(&"1 S2 scrapped:main".to_owned())
    );
    let again = heads(&["S2"], movement("r2", StockMove::Receipt, 0, 7));
    let gone = refused(&store, again).await;
    assert!(gone.contains("S2 is scrapped at main already"), "{gone}");
    assert_balanced(&store).await;
}

pub async fn batches_are_counted(store: Arc<dyn Store>) {
    let oil = |batch: Option<&str>, command: StockCommand| StockCommand {
        part: part("OIL-1"),
        marks: Marks {
            batch: batch.map(|b| BatchNumber::new(b).unwrap()),
            serials: Vec::new(),
        },
        ..command
    };
    let receipt = |key: &str, n| movement(key, StockMove::Receipt, n, 1);
    assert!(
        refused(&store, oil(None, receipt("r0", 5)))
            .await
            .contains("name the batch")
    );
    moved_stock(&store, oil(Some("A"), receipt("r1", 5))).await;
    // Of one batch alone there is nothing to name.
    moved_stock(&store, oil(None, movement("i1", to_workshop(), 2, 2))).await;
    moved_stock(&store, oil(Some("B"), receipt("r2", 4))).await;
    let which = refused(&store, oil(None, movement("s0", StockMove::Scrap, 1, 3))).await;
    assert!(
        which.contains("name the batch") && which.contains("A, B"),
        "{which}"
    );
    let few = refused(
        &store,
        oil(Some("A"), movement("s1", StockMove::Scrap, 4, 3)),
    )
    .await;
    assert!(few.contains("3 of batch A"), "{few}");
    moved_stock(
        &store,
        oil(Some("A"), movement("s2", StockMove::Scrap, 1, 3)),
    )
    .await;
    moved_stock(&store, oil(Some("B"), count("k1", 5, 4))).await;
    assert_eq!(
        whereabouts(&store).await,
        [
            "2 A cost_centre:workshop",
            "1 A scrapped:main",
            "2 A shelf:main",
            "3 B shelf:main"
        ]
    );
    let marked = StockCommand {
        part: part("SEAL-1"),
        ..oil(Some("A"), receipt("r3", 1))
    };
    assert!(refused(&store, marked).await.contains("not tracked"));
    assert_balanced(&store).await;
}

pub async fn unknown_parts_and_depots_are_named(store: Arc<dyn Store>) {
    let mut unknown = movement("u1", StockMove::Receipt, 1, 1);
    unknown.part = part("NO-1");
    let missing = store.move_stock(unknown).await;
    assert!(matches!(missing, Err(StoreError::NotFound(text)) if text.contains("NO-1")));
    let mut unknown = movement("u2", StockMove::Receipt, 1, 1);
    unknown.depot = depot("nowhere");
    let missing = store.move_stock(unknown).await;
    assert!(matches!(missing, Err(StoreError::NotFound(text)) if text.contains("nowhere")));
    for (key, quantity) in [("u3", 0), ("u4", u32::MAX)] {
        let refused = store
            .move_stock(movement(key, StockMove::Receipt, quantity, 1))
            .await;
        assert!(
            matches!(refused, Err(StoreError::Conflict(_))),
            "{quantity}"
        );
    }
}

pub async fn never_oversold_by_many_clients(store: Arc<dyn Store>) {
    let clients: Vec<_> = (0..64_usize)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let priority = [Priority::P1, Priority::P2, Priority::P3, Priority::P4][n % 4];
                // Pairs of clients want the same ticket.
                let ticket = match store.commit_care(opening(n / 2, need(1, priority))).await {
                    Ok(CareOutcome::Opened { ticket, .. }) => *ticket,
                    Ok(CareOutcome::AlreadyOpen(_)) => return 0,
                    other => panic!("{other:?}"),
                };
                if n % 3 == 0 {
                    update(
                        &store,
                        step(&ticket, TicketState::InProgress, 2, &[("BRG-1", 1)]),
                    )
                    .await;
                } else if n % 3 == 1 {
                    let key = format!("client-{n}");
                    store
                        .move_stock(movement(&key, StockMove::Receipt, 1, 2))
                        .await
                        .unwrap();
                }
                1
            })
        })
        .collect();
    let mut n_opened = 0;
    for client in clients {
        n_opened += client.await.unwrap();
    }
    assert_eq!(n_opened, 32, "one ticket per pair");
    assert_balanced(&store).await;
}
