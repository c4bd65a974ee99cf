use forecare_domain::Priority;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{at, confirmed, depot, part, person, resolved, soft_hold, ticket};

fn command(kind: StockMove, quantity: u32) -> StockCommand {
    StockCommand {
        idempotency_key: "k".to_owned(),
        kind,
        part: part("BRG-1"),
        depot: depot("north"),
        quantity,
        order: None,
        reason: Some("because".to_owned()),
        bin: None,
        marks: forecare_domain::Marks::default(),
        by: person(),
        at: at(1.0),
    }
}

fn balance(held: &[Reservation], on_hand: u32) -> Balance {
    let of = |is_soft: bool| {
        let its = held.iter().filter(|r| {
            r.state.is_live()
                && (r.state == ReservationState::Soft) == is_soft
                && on_shelf(r, "north")
        });
        its.map(|r| r.quantity - r.used).sum()
    };
    Balance {
        depot: depot("north"),
        on_hand,
        soft: of(true),
        hard: of(false),
    }
}

fn on_shelf(r: &Reservation, name: &str) -> bool {
    match &r.supply {
        Supply::Stock { depot } | Supply::Transfer { from: depot, .. } => depot.as_str() == name,
        Supply::BackOrder { .. } => false,
    }
}

fn run(
    command: &StockCommand,
    held: &[Reservation],
    on_hand: u32,
) -> Result<StockPlan, StockRefusal> {
    let here = balance(held, on_hand);
    let south = Balance {
        depot: depot("south"),
        on_hand: 0,
        soft: 0,
        hard: 0,
    };
    let ticket = ticket();
    let judged: Vec<Reservation> = match held_asked(command) {
        HeldAsked::None => Vec::new(),
        HeldAsked::OfTicket(id) => held.iter().filter(|r| r.ticket == id).cloned().collect(),
        HeldAsked::OnShelf => held
            .iter()
            .filter(|r| r.state.is_live() && on_shelf(r, "north"))
            .cloned()
            .collect(),
    };
    let view = StockView {
        here: &here,
        in_repair: 2,
        is_place: true,
        there: Some((&south, true)),
        ticket: Some(&ticket),
        held: &judged,
        tracking: forecare_catalogue::Tracking::Not,
        units: &[],
        at_cost_centre: 2,
    };
    plan_move(command, &view)
}

#[test]
fn a_ticket_that_has_ended_is_issued_nothing_but_gives_back() {
    let ended = resolved(&confirmed());
    let mut used = soft_hold(1, 2, Priority::P2);
    (used.state, used.used) = (ReservationState::Consumed, 2);
    let here = balance(&[], 5);
    let view = StockView {
        here: &here,
        in_repair: 0,
        is_place: true,
        there: None,
        ticket: Some(&ended),
        held: &[used],
        tracking: forecare_catalogue::Tracking::Not,
        units: &[],
        at_cost_centre: 0,
    };
    let to = Consumer::Ticket(ended.id);
    let issue = command(StockMove::Issue { to: to.clone() }, 1);
    assert_eq!(
        plan_move(&issue, &view),
        Err(StockRefusal::TicketEnded(ended.id))
    );
    let fate = Fate::Shelf;
    let back = plan_move(&command(StockMove::Return { from: to, fate }, 2), &view).unwrap();
    assert_eq!(
        (back.turned[0].state, back.turned[0].used),
        (ReservationState::Released, 0)
    );
}

#[test]
fn of_equal_holds_the_youngest_loses_and_hard_ones_last() {
    let mut hard = soft_hold(1, 2, Priority::P4);
    hard.state = ReservationState::Hard;
    let held = [
        hard,
        soft_hold(2, 2, Priority::P2),
        soft_hold(3, 1, Priority::P2),
        soft_hold(4, 1, Priority::P1),
    ];
    let short = |found| -> Vec<i64> { shortfall(&held, found).iter().map(|r| r.id.0).collect() };
    assert_eq!(short(6), [0_i64; 0]);
    assert_eq!(short(5), [3]);
    assert_eq!(short(4), [2, 3], "the older one has the last to itself");
    assert_eq!(short(3), [2, 3]);
    assert_eq!(short(1), [1, 4, 2, 3]);
    assert_eq!(short(0), [1, 4, 2, 3]);
}

#[test]
fn refusals_say_what_to_do() {
    for (command, text) in [
        (command(StockMove::Receipt, 0), "at least 1"),
        (command(StockMove::Scrap, 9), "only 5 of BRG-1 at north"),
        (
            command(StockMove::Repaired, 3),
            "2 of BRG-1 are out with the repair shop",
        ),
        (
            command(StockMove::Transfer { to: depot("north") }, 1),
            "name another place",
        ),
        (command(StockMove::Receipt, u32::MAX), "too many to count"),
    ] {
        let refusal = run(&command, &[], 5).unwrap_err().to_string();
        assert!(refusal.contains(text), "{refusal}");
    }
    let mut silent = command(StockMove::Count, 4);
    silent.reason = Some("  ".to_owned());
    let refusal = run(&silent, &[], 5).unwrap_err().to_string();
    assert!(refusal.contains("say the reason"), "{refusal}");
    silent.quantity = 5;
    assert!(run(&silent, &[], 5).is_ok(), "nothing to explain");
}

fn any_move() -> impl Strategy<Value = StockMove> {
    let consumer = prop_oneof![
        Just(Consumer::Ticket(TicketId(1))),
        Just(Consumer::CostCentre("workshop".to_owned())),
    ];
    let fate = prop::sample::select(vec![Fate::Shelf, Fate::Scrap, Fate::Repair]);
    prop_oneof![
        Just(StockMove::Receipt),
        Just(StockMove::Scrap),
        Just(StockMove::Count),
        Just(StockMove::Repaired),
        Just(StockMove::Transfer { to: depot("south") }),
        consumer.clone().prop_map(|to| StockMove::Issue { to }),
        (consumer, fate).prop_map(|(from, fate)| StockMove::Return { from, fate }),
    ]
}

fn any_hold() -> impl Strategy<Value = Reservation> {
    let priority = prop::sample::select(vec![Priority::P1, Priority::P2, Priority::P3]);
    (1..5_u32, 0..5_u32, priority, 0..4_u8, 1..3_i64).prop_map(
        |(quantity, used, priority, supply, ticket)| {
            let mut r = soft_hold(0, quantity, priority);
            r.ticket = TicketId(ticket);
            r.used = used.min(quantity);
            r.state = match (r.used, supply) {
                (0, 0 | 1) => ReservationState::Soft,
                (0, _) => ReservationState::Hard,
                (n, _) if n < quantity => ReservationState::PartlyUsed,
                _ => ReservationState::Consumed,
            };
            r.supply = match supply {
                0 | 1 => r.supply,
                2 => Supply::Transfer {
                    from: depot("north"),
                    to: depot("south"),
                },
                _ => Supply::BackOrder { to: depot("north") },
            };
            r
        },
    )
}

proptest! {
    /// Whatever the command: what it changes on the shelf, in the reservations and in its own lines agree, and no more
    /// is held after it than lies there.
    #[test]
    fn shelf_holds_and_ledger_agree_after_any_command(
        kind in any_move(),
        quantity in 0..9_u32,
        mut held in prop::collection::vec(any_hold(), 0..6),
        free in 0..5_u32,
    ) {
        for (id, r) in (1..).zip(&mut held) {
            r.id = ReservationId(id);
        }
        let before = balance(&held, 0);
        let on_hand = before.soft + before.hard + free;
        let asked = command(kind, quantity);
        let Ok(plan) = run(&asked, &held, on_hand) else { return Ok(()) };

        for line in &plan.lines {
            let sign = sign_of(line.kind).unwrap();
            prop_assert!(sign == 0 || sign == line.delta.signum(), "{line:?}");
        }
        let change = |name: &str| -> i64 {
            plan.lines.iter().filter(|l| l.depot.as_str() == name).map(|l| l.delta).sum()
        };
        let after = i64::from(on_hand) + change("north");
        prop_assert!(after >= 0);
        let mut turned = held.clone();
        for a in &plan.turned {
            let r = turned.iter_mut().find(|r| r.id == a.id).unwrap();
            (r.state, r.quantity, r.used) = (a.state, a.quantity, a.used);
            prop_assert!(r.used <= r.quantity && r.quantity >= 1);
            prop_assert_eq!(r.state.is_live() && r.used >= r.quantity, false);
        }
        let held_after = balance(&turned, 0);
        prop_assert!(i64::from(held_after.soft + held_after.hard) <= after, "oversold");
        // What went to tickets is what their reservations say.
        let used = |all: &[Reservation]| all.iter().map(|r| i64::from(r.used)).sum::<i64>();
        let went: i64 = match asked.ticket() {
            None => 0,
            Some(_) => plan.lines.iter().filter(|l| l.kind != "scrap" && l.kind != "repair_out").map(|l| -l.delta).sum(),
        };
        prop_assert_eq!(used(&turned) - used(&held) + i64::from(plan.drawn), went);
        // Other tickets lose something only to a count.
        for (r, now) in held.iter().zip(&turned) {
            if asked.kind != StockMove::Count && Some(r.ticket) != asked.ticket() {
                prop_assert_eq!(r, now);
            }
        }
        if asked.kind == StockMove::Count {
            prop_assert_eq!(after, i64::from(quantity));
            prop_assert_eq!(plan.short.len(), plan.turned.len());
        }
    }
}
