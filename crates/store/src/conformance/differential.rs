//! Random work, done by the store and by the in-memory model: nothing may differ.

use std::sync::Arc;

use forecare_domain::{
    BatchNumber, Consumer, Fate, Marks, Priority, ReservationState as State, SerialNumber,
    StockCommand, Ticket, TicketId, TicketState,
};

use super::fixtures::{
    ALL, alarm, assert_balanced, asset, catalogue, device, health, hour, items, ledger, metric,
    movement, ms, need, new_ticket, reservations, row, step, task, with_extra,
};
use crate::{
    AlarmFilter, CareCommit, Checkpoint, CommitBatch, Conflict, Fill, MemoryStore,
    ReservationWrite, StockMove, Store, TelemetryQuery, TicketFilter, TicketWrite,
};

/// SplitMix64: seeded, so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n` - 1.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn small(&mut self) -> i64 {
        i64::try_from(self.below(40)).unwrap()
    }

    fn value(&mut self) -> Option<f64> {
        [None, Some(1.0), Some(1.0), Some(-2.5), Some(1e300)][self.below(5)]
    }
}

fn model() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(&catalogue(), hour(0)))
}

fn random_batch(dice: &mut Dice) -> CommitBatch {
    let mut batch = CommitBatch::default();
    for _ in 0..dice.below(30) {
        // Device 4 is never registered.
        let mut one = row(
            dice.below(5),
            dice.small(),
            [dice.value(), dice.value(), dice.value()],
        );
        if dice.below(3) == 0 {
            let extra = [("odd", 1.0), ("even", 2.0), ("odd", 3.0)];
            one = with_extra(one, &extra[..=dice.below(3)]);
        }
        one.health = [None, Some(80.0), Some(20.0)][dice.below(3)];
        batch.rows.push(one);
    }
    if dice.below(4) == 0 {
        batch.assets.push(asset(dice.below(4)));
    }
    for _ in 0..dice.below(3) {
        let mut episode = alarm(dice.below(4), dice.small() / 8);
        episode.updated_at = hour(dice.small());
        episode.active = dice.below(2) == 0;
        batch
            .alarms
            .push(forecare_domain::AlarmChange::Escalated(episode));
    }
    let at = dice.small();
    batch.health.push(health(dice.below(4), at, 1.0));
    batch.checkpoints.push(Checkpoint {
        device: device(dice.below(4)),
        watermark: hour(at),
        state: vec![7],
    });
    batch
}

fn sorted(mut conflicts: Vec<Conflict>) -> Vec<Conflict> {
    conflicts.sort_by(|a, b| {
        let key = |c: &Conflict| (c.device.clone(), c.metric.clone(), c.ts);
        key(a).cmp(&key(b)).then(a.refused.total_cmp(&b.refused))
    });
    conflicts
}

pub async fn random_telemetry_equals_the_model(store: Arc<dyn Store>) {
    let model = model();
    let mut dice = Dice(7);
    for round in 0..60 {
        let batch = random_batch(&mut dice);
        let expected = model.commit_batch(batch.clone()).await.unwrap();
        assert_eq!(
            store.commit_batch(batch).await.unwrap(),
            expected,
            "round {round}"
        );
    }
    for n in 0..5 {
        let id = device(n);
        let (got, expected) = (
            store.fingerprint(&id).await.unwrap(),
            model.fingerprint(&id).await.unwrap(),
        );
        assert_eq!(got, expected);
        let rows = store.rows_after(&id, Some(ms(3)), 20).await.unwrap();
        assert_eq!(rows, model.rows_after(&id, Some(ms(3)), 20).await.unwrap());
        assert_eq!(
            store.newest_reading(&id).await.unwrap(),
            model.newest_reading(&id).await.unwrap()
        );
        let metrics = vec![metric("vibration"), metric("odd"), metric("health")];
        let query = TelemetryQuery {
            device: id,
            metrics,
            from: ms(2),
            to: ms(39),
            points: 4,
            fill: [Fill::None, Fill::Previous, Fill::Linear][n % 3],
        };
        match model.telemetry(&query).await {
            Ok(expected) => assert_eq!(store.telemetry(&query).await.unwrap(), expected),
            Err(_) => assert!(store.telemetry(&query).await.is_err()),
        }
    }
    assert_eq!(store.latest().await.unwrap(), model.latest().await.unwrap());
    let conflicts = sorted(items(store.conflicts(ALL).await.unwrap()));
    assert!(conflicts.len() > 20, "the dice must roll conflicts");
    assert_eq!(
        conflicts,
        sorted(items(model.conflicts(ALL).await.unwrap()))
    );
    assert_eq!(
        items(store.dead_letters(None, ALL).await.unwrap()),
        items(model.dead_letters(None, ALL).await.unwrap())
    );
    let all = AlarmFilter::default();
    assert_eq!(
        items(store.alarms(&all, ALL).await.unwrap()),
        items(model.alarms(&all, ALL).await.unwrap())
    );
    assert_eq!(store.health().await.unwrap(), model.health().await.unwrap());
    assert_eq!(
        store.checkpoints().await.unwrap(),
        model.checkpoints().await.unwrap()
    );
    assert_eq!(store.assets().await.unwrap(), model.assets().await.unwrap());
    assert_eq!(
        store.rejection_counts().await.unwrap(),
        model.rejection_counts().await.unwrap()
    );
}

/// Mostly bearings; the others stand in for each other.
fn random_part(dice: &mut Dice) -> forecare_domain::PartNumber {
    let numbers = [
        "BRG-1", "BRG-1", "BRG-1", "GSK-1", "GSK-2", "GSK-X", "PMP-1", "OIL-1",
    ];
    super::fixtures::part(numbers[dice.below(8)])
}

fn random_serial(dice: &mut Dice) -> SerialNumber {
    SerialNumber::new(format!("S{}", dice.below(12))).unwrap()
}

fn random_move(dice: &mut Dice, at: i64) -> StockCommand {
    let places = ["main", "main", "main", "north", "nowhere"].map(super::fixtures::depot);
    let ticket = TicketId(i64::try_from(dice.below(20)).unwrap());
    let centre = ["workshop", "training"][dice.below(2)].to_owned();
    let consumer = [Consumer::Ticket(ticket), Consumer::CostCentre(centre)][dice.below(2)].clone();
    let kind = match dice.below(9) {
        0 | 1 => StockMove::Receipt,
        2 => StockMove::Scrap,
        3 | 4 => StockMove::Issue { to: consumer },
        5 => StockMove::Transfer {
            to: places[dice.below(5)].clone(),
        },
        6 => StockMove::Return {
            from: consumer,
            fate: [Fate::Shelf, Fate::Scrap, Fate::Repair][dice.below(3)],
        },
        7 => StockMove::Count,
        _ => StockMove::Repaired,
    };
    let quantity = u32::try_from(dice.below(4)).unwrap();
    let part = random_part(dice);
    let serials = match part.as_str() {
        "PMP-1" => (0..quantity).map(|_| random_serial(dice)).collect(),
        _ => Vec::new(),
    };
    let batch = match part.as_str() {
        "PMP-1" | "OIL-1" => {
            [None, BatchNumber::new("A").ok(), BatchNumber::new("B").ok()][dice.below(3)].clone()
        }
        _ => None,
    };
    StockCommand {
        part,
        marks: Marks { batch, serials },
        depot: places[dice.below(5)].clone(),
        reason: [None, Some("because".to_owned())][dice.below(2)].clone(),
        bin: [None, Some("A-1".to_owned())][dice.below(2)].clone(),
        ..movement(&format!("move-{}", dice.below(400)), kind, quantity, at)
    }
}

async fn random_step(dice: &mut Dice, model: &Arc<dyn Store>, at: i64) -> CareCommit {
    let priority = [Priority::P1, Priority::P2, Priority::P3, Priority::P4][dice.below(4)];
    let mut wanted = need(u32::try_from(dice.below(4)).unwrap() + 1, priority);
    wanted.needed_at = hour(at + [10, 1_000][dice.below(2)]);
    wanted.part = random_part(dice);
    if dice.below(4) == 0 {
        wanted.depot = super::fixtures::depot("north");
    }
    let tickets: Vec<Ticket> = items(model.tickets(&TicketFilter::default(), ALL).await.unwrap());
    let mut commit = match dice.below(5) {
        0 | 1 if !tickets.is_empty() => {
            let mut ticket = tickets[dice.below(tickets.len())].clone();
            ticket.version -= i64::from(dice.below(8) == 0);
            let state = [
                TicketState::InProgress,
                TicketState::Resolved,
                TicketState::Cancelled,
                TicketState::Reopened,
            ][dice.below(4)];
            let reported = ["BRG-1", "GSK-1", "GSK-2", "PMP-1", "OIL-1"][dice.below(5)];
            let used = [(reported, u32::try_from(dice.below(4)).unwrap())];
            step(&ticket, state, at, &used[..dice.below(2)])
        }
        2 => {
            let held = reservations(model).await;
            let mut commit = CareCommit::default();
            if !held.is_empty() {
                let r = &held[dice.below(held.len())];
                let to = [
                    State::Hard,
                    State::Expired,
                    State::Released,
                    State::Consumed,
                ][dice.below(4)];
                let from = if dice.below(5) == 0 {
                    State::Soft
                } else {
                    r.state
                };
                if dice.below(4) == 0 {
                    commit
                        .cuts
                        .push((r.id, u32::try_from(dice.below(3)).unwrap()));
                } else {
                    commit.reservations.push(ReservationWrite {
                        id: r.id,
                        from,
                        to,
                        expires_at: hour(at + 50),
                    });
                }
            }
            commit
        }
        _ => {
            let new = new_ticket(dice.below(12), at, vec![wanted.clone(), wanted.clone()]);
            CareCommit {
                ticket: TicketWrite::Open(Box::new(new)),
                ..CareCommit::default()
            }
        }
    };
    if dice.below(5) == 0 && !tickets.is_empty() {
        commit
            .needs
            .push((tickets[dice.below(tickets.len())].id, wanted));
    }
    if dice.below(3) == 0 {
        commit.idempotency_key = Some(format!("key-{}", dice.below(30)));
    }
    commit.at = hour(at);
    commit
}

pub async fn random_desk_work_equals_the_model(store: Arc<dyn Store>) {
    let model = model();
    let mut dice = Dice(11);
    let tasks: Vec<_> = (0..50).map(|at| task(0, at)).collect();
    for s in [&store, &model] {
        s.commit_batch(CommitBatch {
            tasks: tasks.clone(),
            ..CommitBatch::default()
        })
        .await
        .unwrap();
    }
    let (mut n_done, mut n_moved) = (0, 0);
    for at in 1..600 {
        if dice.below(5) < 2 {
            let command = random_move(&mut dice, at);
            let expected = model.move_stock(command.clone()).await;
            n_moved += usize::from(expected.is_ok());
            let got = store.move_stock(command).await;
            assert_eq!(format!("{got:?}"), format!("{expected:?}"), "step {at}");
        } else {
            let mut commit = random_step(&mut dice, &model, at).await;
            if dice.below(6) == 0 {
                let waiting = model.next_tasks(100).await.unwrap();
                commit.task = Some(forecare_domain::TaskId(
                    waiting.first().map_or(1, |(id, _)| id.0) - dice.small() % 2,
                ));
            }
            let expected = model.commit_care(commit.clone()).await;
            n_done += usize::from(expected.is_ok());
            let got = store.commit_care(commit).await;
            assert_eq!(format!("{got:?}"), format!("{expected:?}"), "step {at}");
        }
        assert_eq!(
            store.stock().await.unwrap(),
            model.stock().await.unwrap(),
            "step {at}"
        );
    }
    assert!(n_done > 100, "the dice must roll legal steps: {n_done}");
    assert!(n_moved > 30, "the dice must roll legal moves: {n_moved}");
    assert_eq!(reservations(&store).await, reservations(&model).await);
    let all = TicketFilter::default();
    assert_eq!(
        items(store.tickets(&all, ALL).await.unwrap()),
        items(model.tickets(&all, ALL).await.unwrap())
    );
    assert_eq!(ledger(&store).await, ledger(&model).await);
    let all_units = crate::UnitFilter::default();
    let units = model.units(&all_units).await.unwrap();
    assert!(!units.is_empty(), "the dice must roll pieces");
    assert_eq!(store.units(&all_units).await.unwrap(), units);
    assert_eq!(
        store.next_tasks(100).await.unwrap(),
        model.next_tasks(100).await.unwrap()
    );
    let notices = model.unrouted_notices(1_000).await.unwrap();
    assert!(notices.len() > 30, "the dice must roll news");
    assert_eq!(store.unrouted_notices(1_000).await.unwrap(), notices);
    assert_balanced(&store).await;
}
