//! What a command on stock comes to: lines of the ledger, and what becomes of what is held.

use forecare_catalogue::{Catalogue, Tracking};
use forecare_domain::{
    Consumer, DepotName, Fate, PartNumber, Reservation, ReservationId, ReservationState,
    StockCommand, StockMove, Supply, Ticket, TicketId, Unit, UnitAt,
};

use crate::{Balance, Need};

/// What a command is judged on. Which reservations belong here, the command says: see [`held_asked`].
#[derive(Debug, Clone, Copy)]
pub struct StockView<'a> {
    /// The part's stock at the command's place.
    pub here: &'a Balance,
    /// Of the parts that came through this place, those in repair.
    pub in_repair: u32,
    /// Whether the command's place is a depot or van that is known.
    pub is_place: bool,
    /// Of a transfer: the stock at its destination, and whether that is a place that is known.
    pub there: Option<(&'a Balance, bool)>,
    /// The ticket that parts go to or come from; `None`: it does not exist, or none is asked for.
    pub ticket: Option<&'a Ticket>,
    /// What [`held_asked`] asks for, oldest first.
    pub held: &'a [Reservation],
    /// Parts that went to the command's cost centre and did not come back.
    pub at_cost_centre: u32,
    /// How pieces of the part are told apart.
    pub tracking: Tracking,
    /// What is known of pieces at the places of [`places_of`](crate::tracking::places_of), and of those that the command
    /// names; of a part that is not tracked nothing.
    pub units: &'a [UnitAt],
}

/// Which reservations of the part a command is judged on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldAsked {
    /// None.
    None,
    /// All of this ticket, those that are over included.
    OfTicket(TicketId),
    /// The live ones that lie on the shelf of the command's place, to stay or to be sent.
    OnShelf,
}

/// Why a command on stock is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StockRefusal {
    /// A quantity of 0.
    #[error("the quantity must be at least 1")]
    NothingMoved,
    /// The place takes no parts in: nobody knows it.
    #[error(
        "\"{0}\" is no depot of the catalogue, no depot on record, and no van on record (van:<id>)"
    )]
    UnknownPlace(DepotName),
    /// Others hold what is there.
    #[error("only {free} of {part} at {depot} are free, {wanted} cannot be {done}; {cure}")]
    TooFew {
        /// The part.
        part: PartNumber,
        /// Where.
        depot: DepotName,
        /// How many could be moved.
        free: u32,
        /// How many were to be.
        wanted: u32,
        /// What was to be done with them.
        done: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// More than the books can count.
    #[error("{on_hand} of {part} at {depot} and {more} more are too many to count")]
    TooMany {
        /// The part.
        part: PartNumber,
        /// Where.
        depot: DepotName,
        /// How many are there.
        on_hand: u32,
        /// How many were to be added.
        more: u32,
    },
    /// From a place to itself.
    #[error("the parts are at {0} already; name another place")]
    SamePlace(DepotName),
    /// There is no such ticket.
    #[error("ticket {0} was not found")]
    UnknownTicket(TicketId),
    /// Nothing is handed out to a ticket that has ended.
    #[error("ticket {0} has ended, nothing is handed out to it; name a cost centre, or reopen it")]
    TicketEnded(TicketId),
    /// More is to come back than went out.
    #[error("{out} of {part} are out with {consumer}, {wanted} cannot come back from there")]
    NotOut {
        /// The part.
        part: PartNumber,
        /// The ticket or cost centre, or the repair shop.
        consumer: String,
        /// How many are out.
        out: u32,
        /// How many were to come back.
        wanted: u32,
    },
    /// Which pieces are meant is not said, or cannot be.
    #[error("{part}: {what}")]
    Marks {
        /// The part.
        part: PartNumber,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A count that finds a difference and does not say why.
    #[error(
        "{found} of {part} were found at {depot} where the books have {on_hand}: say the reason of the difference"
    )]
    NoReason {
        /// The part.
        part: PartNumber,
        /// Where.
        depot: DepotName,
        /// How many were found.
        found: u32,
        /// How many the books have.
        on_hand: u32,
    },
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockLine {
    /// What kind of movement, see [`sign_of`].
    pub kind: &'static str,
    /// Where.
    pub depot: DepotName,
    /// Change of stock on hand.
    pub delta: i64,
    /// Which pieces, as far as they are told apart.
    pub units: Vec<Unit>,
}

/// A reservation as it is after the command; what was booked for it is in [`StockPlan::lines`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldAfter {
    /// The reservation.
    pub id: ReservationId,
    /// Its state.
    pub state: ReservationState,
    /// How many it is for.
    pub quantity: u32,
    /// How many of them are used.
    pub used: u32,
}

/// What a command comes to. To be carried out in the order of the fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StockPlan {
    /// Lines of the ledger, each with its effect on the shelf. The first one carries the key. At least one.
    pub lines: Vec<StockLine>,
    /// Change of the number of parts in repair at the command's place.
    pub in_repair: i64,
    /// Reservations that change.
    pub turned: Vec<HoldAfter>,
    /// Parts drawn for the ticket beyond all that was reserved for it: to be written as a reservation that is consumed,
    /// so that a ticket's reservations always tell what went to it.
    pub drawn: u32,
    /// Reservations that have lost their parts, as they were before; the most deserving first. What is still missing of
    /// each is to be reserved anew, see [`need_of_short`].
    pub short: Vec<Reservation>,
    /// Where stock may have become free for those who wait for it.
    pub serve: Vec<DepotName>,
}

/// Which reservations [`StockView::held`] must have.
#[must_use]
pub fn held_asked(command: &StockCommand) -> HeldAsked {
    match (&command.kind, command.ticket()) {
        (_, Some(ticket)) => HeldAsked::OfTicket(ticket),
        (StockMove::Count, None) => HeldAsked::OnShelf,
        (
            StockMove::Receipt
            | StockMove::Scrap
            | StockMove::Issue { .. }
            | StockMove::Transfer { .. }
            | StockMove::Return { .. }
            | StockMove::Repaired,
            None,
        ) => HeldAsked::None,
    }
}

/// Which way a kind of line moves the shelf: 1 in, -1 out, 0 either; `None`: no such kind.
#[must_use]
pub fn sign_of(kind: &str) -> Option<i64> {
    match kind {
        "receipt" | "return" | "repair_in" | "transfer_in" => Some(1),
        "consumed" | "issue" | "scrap" | "repair_out" | "transfer_out" => Some(-1),
        "count" => Some(0),
        _ => None,
    }
}

/// What `command` comes to. The part is one of the catalogue; that its key is new is the caller's to see.
///
/// The ledger stays balanced: of each part, receipts + returns + what counts found + what came from repair are what is
/// on hand + issued + consumed + scrapped + what counts missed + what went to repair; and no more is held on a shelf
/// than lies on it.
///
/// # Errors
/// [`StockRefusal`] says what forbids it; nothing is to be changed then.
pub fn plan_move(command: &StockCommand, view: &StockView<'_>) -> Result<StockPlan, StockRefusal> {
    let mut plan = quantities(command, view)?;
    let units = crate::tracking::moved(command, view)?;
    for line in &mut plan.lines {
        // What a count found different has its own signs.
        let sign = if line.kind == "count" {
            1
        } else {
            line.delta.signum()
        };
        line.units = units.iter().map(|unit| unit.times(sign)).collect();
    }
    Ok(plan)
}

/// [`plan_move`], whichever pieces are meant.
fn quantities(command: &StockCommand, view: &StockView<'_>) -> Result<StockPlan, StockRefusal> {
    let (depot, quantity) = (&command.depot, command.quantity);
    let n = i64::from(quantity);
    if quantity == 0 && command.kind != StockMove::Count {
        return Err(StockRefusal::NothingMoved);
    }
    let line = |kind, depot: &DepotName, delta| StockLine {
        kind,
        depot: depot.clone(),
        delta,
        units: Vec::new(),
    };
    let one = |kind, delta| vec![line(kind, depot, delta)];
    match &command.kind {
        StockMove::Receipt => {
            takes_in(command, view.here, view.is_place)?;
            Ok(StockPlan {
                lines: one("receipt", n),
                serve: vec![depot.clone()],
                ..StockPlan::default()
            })
        }
        StockMove::Scrap => {
            let cure = "release a reservation first";
            gives(command, view.here.free(), "scrapped", cure)?;
            Ok(StockPlan {
                lines: one("scrap", -n),
                ..StockPlan::default()
            })
        }
        StockMove::Issue {
            to: Consumer::CostCentre(_),
        } => {
            let cure = "issue them to the ticket that holds them, or wait for the next receipt";
            gives(command, view.here.free(), "issued", cure)?;
            Ok(StockPlan {
                lines: one("issue", -n),
                ..StockPlan::default()
            })
        }
        StockMove::Issue {
            to: Consumer::Ticket(id),
        } => {
            let ticket = view.ticket.ok_or(StockRefusal::UnknownTicket(*id))?;
            if !ticket.state.is_open() {
                return Err(StockRefusal::TicketEnded(*id));
            }
            issue(command, view)
        }
        StockMove::Transfer { to } => {
            if to == depot {
                return Err(StockRefusal::SamePlace(depot.clone()));
            }
            let (there, is_place) = view
                .there
                .ok_or_else(|| StockRefusal::UnknownPlace(to.clone()))?;
            takes_in(command, there, is_place)?;
            let cure = "release a reservation first";
            gives(command, view.here.free(), "sent on", cure)?;
            Ok(StockPlan {
                lines: vec![line("transfer_out", depot, -n), line("transfer_in", to, n)],
                serve: vec![to.clone()],
                ..StockPlan::default()
            })
        }
        StockMove::Count => count(command, view),
        StockMove::Return { from, fate } => take_back(command, view, from, *fate),
        StockMove::Repaired => {
            if quantity > view.in_repair {
                return Err(not_out(
                    command,
                    "the repair shop".to_owned(),
                    view.in_repair,
                ));
            }
            takes_in(command, view.here, view.is_place)?;
            Ok(StockPlan {
                lines: one("repair_in", n),
                in_repair: -n,
                serve: vec![depot.clone()],
                ..StockPlan::default()
            })
        }
    }
}

/// What a reservation that has lost its parts needs again; `None`: nothing.
#[must_use]
pub fn need_of_short(catalogue: &Catalogue, short: &Reservation) -> Option<Need> {
    let quantity = short.quantity.saturating_sub(short.used);
    let depot = match &short.supply {
        Supply::Stock { depot } => depot,
        Supply::Transfer { to, .. } | Supply::BackOrder { to } => to,
    };
    (quantity > 0).then(|| Need {
        part: short.wanted().clone(),
        quantity,
        depot: depot.clone(),
        needed_at: short.needed_at,
        lead_time_hours: catalogue.lead_time_hours(short.wanted()),
        priority: short.priority,
        soft_until: short.expires_at,
    })
}

/// That the place can take in the command's parts.
fn takes_in(command: &StockCommand, at: &Balance, is_place: bool) -> Result<(), StockRefusal> {
    if !is_place {
        return Err(StockRefusal::UnknownPlace(at.depot.clone()));
    }
    if at.on_hand.checked_add(command.quantity).is_none() {
        return Err(StockRefusal::TooMany {
            part: command.part.clone(),
            depot: at.depot.clone(),
            on_hand: at.on_hand,
            more: command.quantity,
        });
    }
    Ok(())
}

/// That so many of the command's parts may leave the shelf.
fn gives(
    command: &StockCommand,
    free: u32,
    done: &'static str,
    cure: &'static str,
) -> Result<(), StockRefusal> {
    if command.quantity <= free {
        return Ok(());
    }
    Err(StockRefusal::TooFew {
        part: command.part.clone(),
        depot: command.depot.clone(),
        free,
        wanted: command.quantity,
        done,
        cure,
    })
}

fn not_out(command: &StockCommand, consumer: String, out: u32) -> StockRefusal {
    StockRefusal::NotOut {
        part: command.part.clone(),
        consumer,
        out,
        wanted: command.quantity,
    }
}

/// Hands out to a ticket: what is held for it on this shelf first; then free parts, which stand in for what it was to
/// get from elsewhere, and beyond that are its own.
fn issue(command: &StockCommand, view: &StockView<'_>) -> Result<StockPlan, StockRefusal> {
    let depot = &command.depot;
    let is_here = |r: &Reservation| matches!(&r.supply, Supply::Stock { depot: at } if at == depot);
    let live = || view.held.iter().filter(|r| r.state.is_live());
    let open = |r: &Reservation| r.quantity.saturating_sub(r.used);
    let held_here: u32 = live().filter(|r| is_here(r)).map(open).sum();
    let free = view.here.free().saturating_add(held_here);
    let cure = "release a reservation of another ticket first, or wait for the next receipt";
    gives(command, free, "issued to this ticket", cure)?;
    let mut plan = StockPlan {
        lines: vec![StockLine {
            kind: "issue",
            depot: depot.clone(),
            delta: -i64::from(command.quantity),
            units: Vec::new(),
        }],
        ..StockPlan::default()
    };
    let mut left = command.quantity;
    let from_here = live().filter(|r| is_here(r));
    for r in from_here.chain(live().filter(|r| !is_here(r))) {
        let taken = open(r).min(left);
        if taken == 0 {
            continue;
        }
        left -= taken;
        let used = r.used + taken;
        let state = if used >= r.quantity {
            ReservationState::Consumed
        } else {
            ReservationState::PartlyUsed
        };
        plan.turned.push(HoldAfter {
            id: r.id,
            state,
            quantity: r.quantity,
            used,
        });
        // What was to be sent from there is not needed any more.
        if let Supply::Stock { depot: from } | Supply::Transfer { from, .. } = &r.supply
            && from != depot
            && !plan.serve.contains(from)
        {
            plan.serve.push(from.clone());
        }
    }
    plan.drawn = left;
    Ok(plan)
}

fn count(command: &StockCommand, view: &StockView<'_>) -> Result<StockPlan, StockRefusal> {
    let (found, on_hand) = (command.quantity, view.here.on_hand);
    let has_reason = command
        .reason
        .as_deref()
        .is_some_and(|why| !why.trim().is_empty());
    if found != on_hand && !has_reason {
        return Err(StockRefusal::NoReason {
            part: command.part.clone(),
            depot: command.depot.clone(),
            found,
            on_hand,
        });
    }
    if found > on_hand && !view.is_place {
        return Err(StockRefusal::UnknownPlace(command.depot.clone()));
    }
    let mut plan = StockPlan {
        lines: vec![StockLine {
            kind: "count",
            depot: command.depot.clone(),
            delta: i64::from(found) - i64::from(on_hand),
            units: Vec::new(),
        }],
        serve: vec![command.depot.clone()],
        ..StockPlan::default()
    };
    for r in shortfall(view.held, found) {
        plan.turned.push(HoldAfter {
            id: r.id,
            state: ended(r.used),
            quantity: r.quantity,
            used: r.used,
        });
        plan.short.push(r.clone());
    }
    Ok(plan)
}

/// The state of a reservation that ends with so many used.
fn ended(used: u32) -> ReservationState {
    if used > 0 {
        ReservationState::Consumed
    } else {
        ReservationState::Released
    }
}

/// Which of the holds on a shelf lose their parts where only `found` lie there. Hard ones come before soft ones, then
/// those of higher priority, the one needed first, the oldest; each keeps its parts while there are enough for it. The
/// first that there are not enough for takes part in what is left, so that all after it lose theirs. The most deserving of
/// them first.
#[must_use]
pub fn shortfall(held: &[Reservation], found: u32) -> Vec<&Reservation> {
    let open = |r: &Reservation| r.quantity.saturating_sub(r.used);
    let mut by_claim: Vec<&Reservation> = held.iter().filter(|r| open(r) > 0).collect();
    by_claim.sort_by_key(|r| {
        let is_soft = r.state == ReservationState::Soft;
        (is_soft, r.priority, r.needed_at, r.id)
    });
    let mut left = found;
    by_claim
        .into_iter()
        .filter(|r| {
            let is_kept = open(r) <= left;
            left = if is_kept { left - open(r) } else { 0 };
            !is_kept
        })
        .collect()
}

fn take_back(
    command: &StockCommand,
    view: &StockView<'_>,
    from: &Consumer,
    fate: Fate,
) -> Result<StockPlan, StockRefusal> {
    let (depot, n) = (&command.depot, i64::from(command.quantity));
    let mut plan = StockPlan::default();
    match from {
        Consumer::CostCentre(name) => {
            if command.quantity > view.at_cost_centre {
                let consumer = format!("cost centre \"{name}\"");
                return Err(not_out(command, consumer, view.at_cost_centre));
            }
        }
        Consumer::Ticket(id) => {
            if view.ticket.is_none() {
                return Err(StockRefusal::UnknownTicket(*id));
            }
            let out = view
                .held
                .iter()
                .fold(0_u32, |n, r| n.saturating_add(r.used));
            if command.quantity > out {
                return Err(not_out(command, format!("ticket {id}"), out));
            }
            plan.turned = given_back(view.held, command.quantity);
        }
    }
    takes_in(command, view.here, view.is_place)?;
    let line = |kind, delta| StockLine {
        kind,
        depot: depot.clone(),
        delta,
        units: Vec::new(),
    };
    plan.lines.push(line("return", n));
    match fate {
        Fate::Shelf => plan.serve.push(depot.clone()),
        Fate::Scrap => plan.lines.push(line("scrap", -n)),
        Fate::Repair => {
            plan.lines.push(line("repair_out", -n));
            plan.in_repair = n;
        }
    }
    Ok(plan)
}

/// Takes `quantity` back out of what was used, the newest reservation first. A live one asks for that many fewer: what
/// it still waits for, or holds, stays as it is.
fn given_back(held: &[Reservation], quantity: u32) -> Vec<HoldAfter> {
    let mut left = quantity;
    let mut turned = Vec::new();
    for r in held.iter().rev() {
        let taken = r.used.min(left);
        if taken == 0 {
            continue;
        }
        left -= taken;
        let used = r.used - taken;
        let (state, quantity) = match (r.state.is_live(), used) {
            (true, 0) => (ReservationState::Hard, r.quantity - taken),
            (true, _) => (r.state, r.quantity - taken),
            (false, _) => (ended(used), r.quantity),
        };
        turned.push(HoldAfter {
            id: r.id,
            state,
            quantity,
            used,
        });
    }
    turned
}

#[cfg(test)]
mod tests;
