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
