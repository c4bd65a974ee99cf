//! Which shelf serves a need.

use std::cmp::Reverse;

use forecare_catalogue::{Catalogue, Choice, Depot};
use forecare_domain::{
    DepotName, PartNumber, Reservation, ReservationId, ReservationState, Supply, TicketId,
    Timestamp,
};

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

/// A part with which a need may be met, and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The part, as the catalogue's [`choices`](forecare_catalogue::Catalogue::choices) name it.
    pub choice: Choice,
    /// Its stock, in the catalogue's order of depots.
    pub balances: Vec<Balance>,
}

impl Offer {
    fn at(&self, depot: &DepotName) -> Option<&Balance> {
        self.balances.iter().find(|b| b.depot == *depot)
    }

    /// What other depots can send to `to`, and when it is there; in the order of the depots.
    fn transfers<'a>(
        &'a self,
        to: &'a DepotName,
        depots: &'a [Depot],
        now: Timestamp,
    ) -> impl Iterator<Item = Source<'a>> {
        let others = self.balances.iter().filter(move |b| b.depot != *to);
        others.filter(|b| b.free() > 0).filter_map(move |b| {
            let depot = depots.iter().find(|d| d.name == b.depot)?;
            Some(Source {
                part: &self.choice.part,
                supply: Supply::Transfer {
                    from: b.depot.clone(),
                    to: to.clone(),
                },
                quantity: b.free(),
                arrives: now.plus_hours(depot.transfer_hours),
            })
        })
    }
}

/// Where so many of a part could come from.
struct Source<'a> {
    part: &'a PartNumber,
    supply: Supply,
    quantity: u32,
    arrives: Timestamp,
}

/// A part of a need, and where it is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The part: the need's, or one that stands in for it.
    pub part: PartNumber,
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

impl Allocation {
    /// The reservation it becomes for `ticket`, made at `at`. Without its number.
    #[must_use]
    pub fn reservation(&self, ticket: TicketId, need: &Need, at: Timestamp) -> Reservation {
        Reservation {
            id: ReservationId(0),
            ticket,
            priority: need.priority,
            part: self.part.clone(),
            instead_of: (self.part != need.part).then(|| need.part.clone()),
            quantity: self.quantity,
            used: 0,
            supply: self.supply.clone(),
            state: self.state,
            reserved_at: at,
            needed_at: need.needed_at,
            available_at: self.available_at,
            expires_at: self.expires_at,
        }
    }
}

/// How a need is served. The quantities add up to the need's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllocationPlan {
    /// What to reserve: of each part at most one from stock, one per other depot, one back-order.
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
/// At each of these steps a superseded part comes before what superseded it; only the newest is ordered. What would
/// then arrive after `needed_at` is taken of substitutes, in their order, as far as they are in time: those that nobody
/// holds, or that the supplier brings in time.
///
/// `offers` are the catalogue's choices for the part, in their order, with their stock; `depots` gives the transfer
/// times (a depot not in it is not asked); `preemptible` may hold anything, what must not be bumped is passed over.
#[must_use]
pub fn allocate(
    need: &Need,
    offers: &[Offer],
    depots: &[Depot],
    preemptible: &[Reservation],
    now: Timestamp,
) -> AllocationPlan {
    let mut missing = need.quantity;
    let line: Vec<&Offer> = offers.iter().filter(|o| !o.choice.is_substitute).collect();
    let own = |offer: &Offer| offer.at(&need.depot).map_or((0, 0), |b| (b.free(), b.soft));
    let mut plan = AllocationPlan::default();
    let mut from_shelf: Vec<u32> = Vec::with_capacity(line.len());
    for offer in &line {
        let taken = own(offer).0.min(missing);
        missing -= taken;
        from_shelf.push(taken);
    }
    for (offer, from_shelf) in line.iter().zip(&mut from_shelf) {
        if missing == 0 {
            break;
        }
        let bumped = bump(need, &offer.choice.part, own(offer).1, preemptible, missing);
        let gained: u32 = bumped.iter().map(|r| r.quantity).sum();
        let taken = gained.min(missing);
        *from_shelf += taken;
        missing -= taken;
        plan.preempted.extend(bumped.iter().map(|r| r.id));
    }
    let shelf = |part, quantity| Source {
        part,
        supply: Supply::Stock {
            depot: need.depot.clone(),
        },
        quantity,
        arrives: now,
    };
    let mut sources: Vec<Source<'_>> = line
        .iter()
        .zip(from_shelf)
        .map(|(offer, taken)| shelf(&offer.choice.part, taken))
        .collect();
    // The supplier can always deliver; so only the transfers that are at least as fast come before.
    let ordered = line
        .iter()
        .rev()
        .find_map(|o| Some((&o.choice.part, o.choice.lead_time_hours?)));
    let (ordered, lead_time_hours) = ordered.unwrap_or((&need.part, need.lead_time_hours));
    let ordered_at = now.plus_hours(lead_time_hours);
    let mut transfers: Vec<Source<'_>> = line
        .iter()
        .flat_map(|offer| offer.transfers(&need.depot, depots, now))
        .filter(|source| source.arrives <= ordered_at)
        .collect();
    transfers.sort_by_key(|source| source.arrives);
    for mut source in transfers {
        source.quantity = source.quantity.min(missing);
        missing -= source.quantity;
        sources.push(source);
    }
    sources.push(Source {
        part: ordered,
        supply: Supply::BackOrder {
            to: need.depot.clone(),
        },
        quantity: missing,
        arrives: ordered_at,
    });
    substitute(need, offers, depots, now, &mut sources);
    let state = if now >= hard_from(need) {
        ReservationState::Hard
    } else {
        ReservationState::Soft
    };
    let sources = sources.into_iter().filter(|source| source.quantity > 0);
    plan.allocations = sources
        .map(|source| Allocation {
            part: source.part.clone(),
            supply: source.supply,
            quantity: source.quantity,
            state,
            available_at: source.arrives,
            expires_at: need.soft_until,
        })
        .collect();
    plan
}

/// Puts substitutes that are in time in the place of those of `sources` that are not, the latest first.
fn substitute<'a>(
    need: &'a Need,
    offers: &'a [Offer],
    depots: &'a [Depot],
    now: Timestamp,
    sources: &mut Vec<Source<'a>>,
) {
    // What is needed already cannot come sooner than now.
    let deadline = need.needed_at.max(now);
    let late = sources.iter().filter(|source| source.arrives > deadline);
    let mut late: u32 = late.map(|source| source.quantity).sum();
    let mut taken: Vec<Source<'a>> = Vec::new();
    for offer in offers.iter().filter(|o| o.choice.is_substitute) {
        let part = &offer.choice.part;
        let shelf = offer.at(&need.depot).map(|b| Source {
            part,
            supply: Supply::Stock {
                depot: need.depot.clone(),
            },
            quantity: b.free(),
            arrives: now,
        });
        let mut transfers: Vec<Source<'a>> = offer.transfers(&need.depot, depots, now).collect();
        transfers.sort_by_key(|source| source.arrives);
        let ordered = offer.choice.lead_time_hours.map(|lead| Source {
            part,
            supply: Supply::BackOrder {
                to: need.depot.clone(),
            },
            quantity: u32::MAX,
            arrives: now.plus_hours(lead),
        });
        for mut source in shelf.into_iter().chain(transfers).chain(ordered) {
            if source.arrives <= deadline {
                source.quantity = source.quantity.min(late);
                late -= source.quantity;
                taken.push(source);
            }
        }
    }
    let mut replaced: u32 = taken.iter().map(|source| source.quantity).sum();
    // They are in order of arrival.
    for source in sources.iter_mut().rev() {
        if source.arrives > deadline {
            let n = source.quantity.min(replaced);
            source.quantity -= n;
            replaced -= n;
        }
    }
    sources.extend(taken);
}

/// Whether free stock of `part` may be given to `waiting`, which is on back-order: it is what was asked for or has
/// superseded it; or it is a substitute, and what is on order comes too late.
#[must_use]
pub fn may_serve(
    catalogue: &Catalogue,
    part: &PartNumber,
    waiting: &Reservation,
    now: Timestamp,
) -> bool {
    if waiting.part == *part {
        return true;
    }
    // What is used of it already was of the other part.
    let choice = || {
        let choices = catalogue.choices(waiting.wanted());
        choices.into_iter().find(|c| c.part == *part)
    };
    let is_late = waiting.available_at > waiting.needed_at.max(now);
    waiting.used == 0 && choice().is_some_and(|c| !c.is_substitute || is_late)
}

/// From when on a later order would come too late.
fn hard_from(need: &Need) -> Timestamp {
    need.needed_at.plus_hours(-need.lead_time_hours)
}

/// Soft holds that free `missing` parts, least deserving first and none without need; or all there are.
/// `soft` is what the balance knows to be held soft, and bounds what can be gained.
fn bump<'a>(
    need: &Need,
    part: &PartNumber,
    soft: u32,
    preemptible: &'a [Reservation],
    missing: u32,
) -> Vec<&'a Reservation> {
    let mut candidates: Vec<&Reservation> = preemptible
        .iter()
        .filter(|r| {
            r.state == ReservationState::Soft
                && r.part == *part
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

    /// The need's own part alone.
    fn alone(need: &Need, balances: &[Balance]) -> Vec<Offer> {
        offers(&[("BRG-1", false, Some(need.lead_time_hours), balances)])
    }

    type Offered<'a> = (&'a str, bool, Option<f64>, &'a [Balance]);

    fn offers(of: &[Offered<'_>]) -> Vec<Offer> {
        of.iter()
            .map(|(number, is_substitute, lead_time_hours, balances)| Offer {
                choice: Choice {
                    part: part(number),
                    is_substitute: *is_substitute,
                    lead_time_hours: *lead_time_hours,
                },
                balances: balances.to_vec(),
            })
            .collect()
    }

    fn plan(need: &Need, balances: &[Balance], preemptible: &[Reservation]) -> AllocationPlan {
        let offers = alone(need, balances);
        allocate(need, &offers, &catalogue().depots, preemptible, at(0.0))
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
        let offers = alone(&need(4), &balances);
        let plan = allocate(&need(4), &offers, &depots, &[], at(0.0));
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
            let offers = alone(&need(1), &stock);
            let plan = allocate(&need(1), &offers, &catalogue().depots, &[], at(hours));
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

    /// Part, where from, how many, available at which hour.
    fn of_parts(plan: &AllocationPlan) -> Vec<(String, &'static str, u32, f64)> {
        let parts = plan.allocations.iter().map(|a| a.part.to_string());
        let lines = lines(plan).into_iter();
        parts
            .zip(lines)
            .map(|(part, (from, n, hours))| (part, from, n, hours))
            .collect()
    }

    fn expected(of: &[(&str, &'static str, u32, f64)]) -> Vec<(String, &'static str, u32, f64)> {
        let owned = |(part, from, n, hours): &(&str, &'static str, u32, f64)| {
            ((*part).to_owned(), *from, *n, *hours)
        };
        of.iter().map(owned).collect()
    }

    #[test]
    fn old_stock_is_used_up_before_the_new_part_and_only_the_new_one_is_ordered() {
        let old = balances([2, 0, 0], [1, 0, 0]);
        let new = balances([1, 0, 0], [1, 0, 0]);
        let offers = offers(&[
            ("BRG-1", false, None, &old),
            ("BRG-2", false, Some(30.0), &new),
        ]);
        let plan = |n| allocate(&need(n), &offers, &catalogue().depots, &[], at(0.0));
        assert_eq!(
            of_parts(&plan(6)),
            expected(&[
                ("BRG-1", "stock", 2, 0.0),
                ("BRG-2", "stock", 1, 0.0),
                ("BRG-1", "transfer", 1, 12.0),
                ("BRG-2", "transfer", 1, 12.0),
                ("BRG-2", "back-order", 1, 30.0),
            ])
        );
        assert_eq!(of_parts(&plan(2)), expected(&[("BRG-1", "stock", 2, 0.0)]));
    }

    #[test]
    fn a_substitute_is_taken_only_where_the_part_is_late_and_it_is_not() {
        let none = balances([0, 0, 0], [0, 0, 0]);
        let some = balances([1, 0, 0], [1, 0, 0]);
        let offers = offers(&[
            ("BRG-1", false, Some(30.0), &none),
            ("ALT-1", true, Some(60.0), &some),
            ("ALT-2", true, Some(8.0), &none),
        ]);
        let at_hour = |needed| Need {
            needed_at: at(needed),
            ..need(3)
        };
        let plan = |needed| allocate(&at_hour(needed), &offers, &catalogue().depots, &[], at(0.0));
        let in_time = expected(&[("BRG-1", "back-order", 3, 30.0)]);
        assert_eq!(of_parts(&plan(30.0)), in_time);
        assert_eq!(
            of_parts(&plan(29.0)),
            expected(&[
                ("ALT-1", "stock", 1, 0.0),
                ("ALT-1", "transfer", 1, 12.0),
                ("ALT-2", "back-order", 1, 8.0),
            ])
        );
        // Needed before any but what lies here could come.
        assert_eq!(
            of_parts(&plan(-5.0)),
            expected(&[("BRG-1", "back-order", 2, 30.0), ("ALT-1", "stock", 1, 0.0)])
        );
    }

    #[test]
    fn what_waits_is_served_with_what_was_asked_for_or_if_late_with_a_substitute() {
        let text = crate::fixtures::CATALOGUE.replace(
            "number = \"BRG-1\"",
            "number = \"BRG-1\"\nsuperseded_by = \"BRG-2\"\nsubstitutes = [\"ALT-1\"]",
        );
        let more = ["BRG-2", "ALT-1", "NUT-1"].map(|number| {
            format!("[[part]]\nnumber = \"{number}\"\ntitle = \"-\"\nlead_time_hours = 30\n")
        });
        let catalogue = Catalogue::parse(&format!("{text}{}", more.concat())).unwrap();
        let mut waiting = soft_hold(1, 2, Priority::P2);
        waiting.supply = Supply::BackOrder { to: depot("north") };
        waiting.part = part("BRG-2");
        waiting.instead_of = Some(part("BRG-1"));
        let may = |r: &Reservation, number| may_serve(&catalogue, &part(number), r, at(1.0));
        waiting.available_at = at(30.0);
        assert_eq!(
            ["BRG-1", "BRG-2", "ALT-1", "NUT-1"].map(|n| may(&waiting, n)),
            [true, true, false, false]
        );
        waiting.available_at = at(45.0);
        assert!(may(&waiting, "ALT-1"), "it would come too late");
        waiting.used = 1;
        assert_eq!(
            ["BRG-1", "BRG-2", "ALT-1"].map(|n| may(&waiting, n)),
            [false, true, false]
        );
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
            prop_assert_eq!(super::allocate(&need, &alone(&need, &balances), &catalogue().depots, &reversed, at(0.0)), plan);
        }

        #[test]
        fn parts_that_stand_in_are_never_oversold_and_substitutes_are_in_time(
            quantity in 0..20_u32,
            shelves in prop::collection::vec((prop::array::uniform3(0..5_u32), prop::array::uniform3(0..5_u32)), 4),
            leads in prop::array::uniform4(0.0..60.0_f64),
            holds in prop::collection::vec((1..4_u32, any_priority(), 0..4_usize), 0..8),
            priority in any_priority(),
        ) {
            let numbers = ["BRG-1", "BRG-2", "ALT-1", "ALT-2"];
            let stock: Vec<Vec<Balance>> = shelves.iter().map(|(north, south)| balances(*north, *south)).collect();
            let lead = |n: usize| (n > 0).then_some(leads[n]);
            let offered: Vec<Offered<'_>> = (0..4).map(|n| (numbers[n], n > 1, lead(n), stock[n].as_slice())).collect();
            let offers = offers(&offered);
            let need = Need { priority, lead_time_hours: leads[1], ..need(quantity) };
            let holds: Vec<Reservation> = (1..).zip(holds).map(|(id, (quantity, priority, of))| {
                let mut hold = soft_hold(id, quantity, priority);
                hold.part = part(numbers[of]);
                hold
            }).collect();
            let plan = allocate(&need, &offers, &catalogue().depots, &holds, at(0.0));
            prop_assert_eq!(plan.allocations.iter().map(|a| a.quantity).sum::<u32>(), quantity);
            for (n, number) in numbers.into_iter().enumerate() {
                let its = || plan.allocations.iter().filter(move |a| a.part == part(number));
                let from = |fits: fn(&Supply) -> bool| its().filter(|a| fits(&a.supply)).map(|a| a.quantity).sum::<u32>();
                let bumped = holds.iter().filter(|h| plan.preempted.contains(&h.id) && h.part == part(number));
                let gained: u32 = bumped.map(|h| h.quantity).sum();
                prop_assert!(gained <= stock[n][0].soft);
                prop_assert!(n < 2 || gained == 0, "nobody loses a part to stand in for another");
                let from_shelf = from(|s| matches!(s, Supply::Stock { .. }));
                prop_assert!(from_shelf <= stock[n][0].free() + gained);
                let sent = from(|s| matches!(s, Supply::Transfer { .. }));
                prop_assert!(sent <= stock[n][1].free());
                let ordered = from(|s| matches!(s, Supply::BackOrder { .. }));
                prop_assert!(n != 0 || ordered == 0, "not ordered any more");
                prop_assert!(n < 2 || its().all(|a| a.available_at <= need.needed_at));
            }
        }
    }
}
