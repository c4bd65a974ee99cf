//! Which shelf serves a need.

use std::cmp::Reverse;

use forecare_catalogue::Depot;
use forecare_domain::{DepotName, Reservation, ReservationId, ReservationState, Supply, Timestamp};

use crate::Need;

/// One part's stock in one depot. At most one balance per depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The depot.
    pub depot: DepotName,
    /// On the shelf.
    pub on_hand: u32,
    /// Of these, held soft.
    pub soft: u32,
    /// Of these, held hard.
    pub hard: u32,
}

impl Balance {
    /// Held by nobody.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.on_hand
            .saturating_sub(self.hard)
            .saturating_sub(self.soft)
    }
}

/// A part of a need, and where it is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Where it comes from.
    pub supply: Supply,
    /// How many. At least 1.
    pub quantity: u32,
    /// Soft, or hard where the need date minus the lead time has passed.
    pub state: ReservationState,
    /// When they can be there.
    pub available_at: Timestamp,
    /// When a soft hold ends unless evidence comes again.
    pub expires_at: Timestamp,
}

/// How a need is served. The quantities add up to the need's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllocationPlan {
    /// What to reserve: at most one from stock, one per other depot, one back-order.
    pub allocations: Vec<Allocation>,
    /// Soft holds to release first, in the order they were chosen. Their tickets lose them: allocate for
    /// those anew, see [`outstanding`](crate::outstanding).
    pub preempted: Vec<ReservationId>,
}

/// Serves `need` from its depot's free stock; then from soft holds of strictly lower priority on that
/// stock, taken from `preemptible` (lowest priority first, then the one needed last, then the youngest);
/// then from wherever it arrives first: another depot's free stock, or the supplier. On equal arrival a
/// transfer beats a back-order, and the earlier depot in the catalogue the later one. May split.
///
/// `balances` are those of the part, in catalogue order; `depots` gives the transfer times (a depot not
/// in it is not asked); `preemptible` may hold anything, what must not be bumped is passed over.
#[must_use]
pub fn allocate(
    need: &Need,
    balances: &[Balance],
    depots: &[Depot],
    preemptible: &[Reservation],
    now: Timestamp,
) -> AllocationPlan {
    let mut missing = need.quantity;
    let mut plan = AllocationPlan::default();
    let own = balances.iter().find(|b| b.depot == need.depot);
    let mut from_stock = own.map_or(0, Balance::free).min(missing);
    missing -= from_stock;
    if missing > 0 {
        let bumped = bump(need, own.map_or(0, |b| b.soft), preemptible, missing);
        let gained: u32 = bumped.iter().map(|r| r.quantity).sum();
        let taken = gained.min(missing);
        from_stock += taken;
        missing -= taken;
        plan.preempted = bumped.iter().map(|r| r.id).collect();
    }
    let state = if now >= hard_from(need) {
        ReservationState::Hard
    } else {
        ReservationState::Soft
    };
    let mut reserve = |supply, quantity, available_at| {
        if quantity > 0 {
            plan.allocations.push(Allocation {
                supply,
                quantity,
                state,
                available_at,
                expires_at: need.soft_until,
            });
        }
    };
    reserve(
        Supply::Stock {
            depot: need.depot.clone(),
        },
        from_stock,
        now,
    );
    // The supplier can always deliver; so only the transfers that are at least as fast come before.
    let ordered_at = now.plus_hours(need.lead_time_hours);
    let mut transfers: Vec<(Timestamp, &Balance)> = balances
        .iter()
        .filter(|b| b.depot != need.depot && b.free() > 0)
        .filter_map(|b| {
            let depot = depots.iter().find(|d| d.name == b.depot)?;
            Some((now.plus_hours(depot.transfer_hours), b))
        })
        .filter(|(arrives, _)| *arrives <= ordered_at)
        .collect();
    transfers.sort_by_key(|(arrives, _)| *arrives);
    for (arrives, balance) in transfers {
        let taken = balance.free().min(missing);
        missing -= taken;
        reserve(
            Supply::Transfer {
                from: balance.depot.clone(),
                to: need.depot.clone(),
            },
            taken,
            arrives,
        );
    }
    reserve(
        Supply::BackOrder {
            to: need.depot.clone(),
        },
        missing,
        ordered_at,
    );
    plan
}

/// From when on a later order would come too late.
fn hard_from(need: &Need) -> Timestamp {
    need.needed_at.plus_hours(-need.lead_time_hours)
}

/// Soft holds that free `missing` parts, least deserving first and none without need; or all there are.
/// `soft` is what the balance knows to be held soft, and bounds what can be gained.
fn bump<'a>(
    need: &Need,
    soft: u32,
    preemptible: &'a [Reservation],
    missing: u32,
) -> Vec<&'a Reservation> {
    let mut candidates: Vec<&Reservation> = preemptible
        .iter()
        .filter(|r| {
            r.state == ReservationState::Soft
                && r.part == need.part
                && r.priority > need.priority
                && r.quantity > 0
                && matches!(&r.supply, Supply::Stock { depot } if *depot == need.depot)
        })
        .collect();
    candidates.sort_by_key(|r| Reverse((r.priority, r.needed_at, r.id)));
    let mut chosen: Vec<&Reservation> = Vec::new();
    let mut gained = 0_u32;
    for r in candidates {
        if gained >= missing {
            break;
        }
        // A stale list must not promise more than the shelf holds.
        if gained.saturating_add(r.quantity) <= soft {
            gained += r.quantity;
            chosen.push(r);
        }
    }
    // A large hold chosen last can make smaller ones before it needless: spare the most deserving.
    for i in (0..chosen.len()).rev() {
        let quantity = chosen[i].quantity;
        if gained - quantity >= missing {
            gained -= quantity;
            chosen.remove(i);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use forecare_domain::Priority;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{at, catalogue, depot, part, soft_hold};

    fn need(quantity: u32) -> Need {
        Need {
            part: part("BRG-1"),
            quantity,
            depot: depot("north"),
            needed_at: at(44.0),
            lead_time_hours: 30.0,
            priority: Priority::P2,
            soft_until: at(72.0),
        }
    }

    fn balances(north: [u32; 3], south: [u32; 3]) -> Vec<Balance> {
        [("north", north), ("south", south)]
            .into_iter()
            .map(|(name, [on_hand, soft, hard])| Balance {
                depot: depot(name),
                on_hand,
                soft,
                hard,
            })
            .collect()
    }

    fn plan(need: &Need, balances: &[Balance], preemptible: &[Reservation]) -> AllocationPlan {
        allocate(need, balances, &catalogue().depots, preemptible, at(0.0))
    }

    /// The plan in short: where from, how many, available at which hour.
    fn lines(plan: &AllocationPlan) -> Vec<(&'static str, u32, f64)> {
        plan.allocations
            .iter()
            .map(|a| {
                let from = match a.supply {
                    Supply::Stock { .. } => "stock",
                    Supply::Transfer { .. } => "transfer",
                    Supply::BackOrder { .. } => "back-order",
                };
                (from, a.quantity, a.available_at.hours_since(at(0.0)))
            })
            .collect()
    }

    #[test]
    fn the_own_shelf_comes_first_then_the_nearest_depot_then_the_supplier() {
        let plan = plan(&need(6), &balances([5, 2, 1], [3, 0, 0]), &[]);
        assert_eq!(
            lines(&plan),
            [
                ("stock", 2, 0.0),
                ("transfer", 3, 12.0),
                ("back-order", 1, 30.0)
            ]
        );
        assert_eq!(plan.preempted, []);
    }

    #[test]
    fn the_nearest_depot_sends_first_and_of_equals_the_first_in_the_catalogue() {
        let mut depots = catalogue().depots;
        for (name, transfer_hours) in [("east", 12.0), ("west", 7.0)] {
            depots.push(Depot {
                name: depot(name),
                title: name.to_owned(),
                transfer_hours,
            });
        }
        let shelf = |name: &str| Balance {
            depot: depot(name),
            on_hand: 1,
            soft: 0,
            hard: 0,
        };
        // The last one is not in the catalogue: nobody knows how long it takes.
        let balances = ["south", "east", "west", "gone"].map(shelf);
        let plan = allocate(&need(4), &balances, &depots, &[], at(0.0));
        let from: Vec<&str> = plan
            .allocations
            .iter()
            .map(|a| match &a.supply {
                Supply::Transfer { from, .. } => from.as_str(),
                Supply::Stock { .. } | Supply::BackOrder { .. } => "supplier",
            })
            .collect();
        assert_eq!(from, ["west", "south", "east", "supplier"]);
    }

    #[test]
    fn the_supplier_comes_before_a_slower_transfer() {
        let quick = Need {
            lead_time_hours: 11.0,
            ..need(2)
        };
        let stock = balances([0, 0, 0], [3, 0, 0]);
        assert_eq!(lines(&plan(&quick, &stock, &[])), [("back-order", 2, 11.0)]);
        let equal = Need {
            lead_time_hours: 12.0,
            ..need(2)
        };
        assert_eq!(lines(&plan(&equal, &stock, &[])), [("transfer", 2, 12.0)]);
    }

    #[test]
    fn a_hold_is_hard_from_the_last_moment_to_order() {
        let stock = balances([9, 0, 0], [0, 0, 0]);
        // Needed at hour 44 with 30 hours of lead: hour 14.
        for (hours, state) in [
            (13.9, ReservationState::Soft),
            (14.0, ReservationState::Hard),
        ] {
            let plan = allocate(&need(1), &stock, &catalogue().depots, &[], at(hours));
            assert_eq!(plan.allocations[0].state, state);
            assert_eq!(plan.allocations[0].expires_at, at(72.0));
        }
    }

    #[test]
    fn only_soft_holds_of_lower_priority_on_this_shelf_are_bumped() {
        let stock = balances([5, 5, 0], [0, 0, 0]);
        let mut hard = soft_hold(2, 1, Priority::P4);
        hard.state = ReservationState::Hard;
        let mut elsewhere = soft_hold(3, 1, Priority::P4);
        elsewhere.supply = Supply::Stock {
            depot: depot("south"),
        };
        let mut other = soft_hold(4, 1, Priority::P4);
        other.part = part("SEAL-1");
        let spared = [soft_hold(1, 1, Priority::P2), hard, elsewhere, other];
        let plan_without = plan(&need(1), &stock, &spared);
        assert_eq!(plan_without.preempted, []);
        assert_eq!(lines(&plan_without), [("back-order", 1, 30.0)]);
        let mut all = spared.to_vec();
        all.push(soft_hold(5, 1, Priority::P3));
        let plan_with = plan(&need(1), &stock, &all);
        assert_eq!(plan_with.preempted, [ReservationId(5)]);
        assert_eq!(lines(&plan_with), [("stock", 1, 0.0)]);
    }

    #[test]
    fn the_least_deserving_are_bumped_and_no_more_than_needed() {
        let mut later = soft_hold(4, 1, Priority::P4);
        later.needed_at = at(99.0);
        let holds = [
            soft_hold(1, 1, Priority::P3),
            soft_hold(2, 1, Priority::P4),
            soft_hold(3, 1, Priority::P4),
            later,
        ];
        let stock = balances([4, 4, 0], [0, 0, 0]);
        let bumped = |n| plan(&need(n), &stock, &holds).preempted;
        assert_eq!(bumped(1), [ReservationId(4)]);
        assert_eq!(bumped(2), [ReservationId(4), ReservationId(3)]);
        assert_eq!(bumped(4), [4, 3, 2, 1].map(ReservationId));
        // A large hold makes the small one before it needless.
        let holds = [soft_hold(1, 3, Priority::P3), soft_hold(2, 1, Priority::P4)];
        assert_eq!(plan(&need(3), &stock, &holds).preempted, [ReservationId(1)]);
    }

    #[test]
    fn nobody_is_bumped_while_the_shelf_has_enough() {
        let stock = balances([5, 3, 0], [0, 0, 0]);
        let plan = plan(&need(2), &stock, &[soft_hold(1, 3, Priority::P4)]);
        assert_eq!(plan.preempted, []);
        assert_eq!(lines(&plan), [("stock", 2, 0.0)]);
    }

    #[test]
    fn a_depot_without_a_balance_orders() {
        assert_eq!(lines(&plan(&need(2), &[], &[])), [("back-order", 2, 30.0)]);
        assert_eq!(plan(&need(0), &[], &[]), AllocationPlan::default());
    }

    fn any_priority() -> impl Strategy<Value = Priority> {
        prop::sample::select(vec![Priority::P1, Priority::P2, Priority::P3, Priority::P4])
    }

    proptest! {
        #[test]
        fn the_need_is_covered_exactly_and_no_shelf_is_oversold(
            quantity in 0..12_u32,
            north in prop::array::uniform3(0..8_u32),
            south in prop::array::uniform3(0..8_u32),
            lead in 0.0..40.0_f64,
            priority in any_priority(),
            holds in prop::collection::vec((1..4_u32, any_priority(), 0..50_u32), 0..8),
        ) {
            let need = Need { priority, lead_time_hours: lead, ..need(quantity) };
            let holds: Vec<Reservation> = (1..).zip(holds).map(|(id, (quantity, priority, needed))| {
                let mut hold = soft_hold(id, quantity, priority);
                hold.needed_at = at(f64::from(needed));
                hold
            }).collect();
            let balances = balances(north, south);
            let plan = plan(&need, &balances, &holds);

            prop_assert!(plan.allocations.iter().all(|a| a.quantity > 0));
            prop_assert_eq!(plan.allocations.iter().map(|a| a.quantity).sum::<u32>(), quantity);

            let bumped: Vec<&Reservation> = holds.iter().filter(|h| plan.preempted.contains(&h.id)).collect();
            prop_assert_eq!(bumped.len(), plan.preempted.len());
            prop_assert!(bumped.iter().all(|h| h.priority > priority));
            let gained: u32 = bumped.iter().map(|h| h.quantity).sum();
            prop_assert!(gained <= north[1]);
            let from = |wanted: &str| lines(&plan).iter().filter(|(from, ..)| *from == wanted).map(|(_, n, _)| *n).sum::<u32>();
            prop_assert!(from("stock") <= balances[0].free() + gained);
            prop_assert!(from("transfer") <= balances[1].free());
            // Every bump was necessary.
            for hold in &bumped {
                prop_assert!(from("stock") > balances[0].free() + gained - hold.quantity);
            }
            // The order in which the store lists the holds does not matter.
            let reversed: Vec<Reservation> = holds.iter().rev().cloned().collect();
            prop_assert_eq!(super::allocate(&need, &balances, &catalogue().depots, &reversed, at(0.0)), plan);
        }
    }
}
