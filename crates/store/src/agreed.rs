//! What every adapter must agree on beside the types: the bounds, what is refused and in which words.

use std::collections::BTreeMap;

use forecare_care::stock::StockRefusal;
use forecare_care::tracking::check_report;
use forecare_care::{Balance, Need, Offer, may_serve};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, Channel, DeliveryId, DepotName, Marks, PartNumber, PartUsed, PurchaseOrder,
    RejectReason, Rejection, Reservation, ReservationId, ReservationState, Row, StockAsked,
    StockCommand, StockMove, Supply, Ticket, TicketId, Timestamp, Unit, VAN_PREFIX,
};
use forecare_registry::{Person, RecordId, RecordKind, RecordRef};

use crate::{
    DeliveryState, Erasure, RECORD_WRITES_MAX, RecordCommit, SURVEY_ANSWERS_MAX, StockItem,
    StoreError,
};

/// Most entries of a page; a larger [`PageRequest::limit`](crate::PageRequest) is cut to it.
pub const PAGE_ENTRIES_MAX: usize = 1_000;
/// Most rows that one call of [`Store::rows_after`](crate::Store::rows_after) returns.
pub const ROWS_MAX: usize = 100_000;
/// Most buckets of one series.
pub const POINTS_MAX: usize = 5_000;
/// Most rows that one telemetry query reads: beyond, it is refused, as it would hold up all others. A reading
/// each second for eight weeks.
pub const RANGE_ROWS_MAX: u64 = 5_000_000;
/// Dead letters kept; the oldest go first, the counts by reason stay.
pub const DEAD_LETTERS_KEPT: i64 = 100_000;
/// Conflicts kept; the oldest go first.
pub const CONFLICTS_KEPT: i64 = 100_000;
/// Device events kept; the oldest go first. One older than these, sent again, counts as new.
pub const EVENTS_KEPT: i64 = 1_000_000;
/// Decisions kept; the oldest go first. A ticket has its own copy of the one that opened it.
pub const DECISIONS_KEPT: i64 = 1_000_000;
/// Orders that one call returns at most.
pub const ORDERS_MAX: usize = 10_000;
/// Pieces of tracked parts that one call returns at most.
pub const UNITS_MAX: usize = 10_000;
/// Outcomes of idempotency keys kept; the oldest go first. A key older than these counts as new.
pub const OUTCOMES_KEPT: i64 = 100_000;
/// Most entries of one ticket.
pub const ENTRIES_MAX: i64 = 1_000;
/// Most bytes of files of one ticket: 100 MiB.
pub const ENTRY_BYTES_MAX: i64 = 100 * 1024 * 1024;
/// Bytes of a refused row kept as the dead letter's payload.
const PAYLOAD_BYTES_MAX: usize = 1_024;

/// Why `row` cannot be stored, `None` where it can. `n_metrics` is the number of metrics of its class;
/// `None`: the device is not registered, or its class is not in the catalogue.
#[must_use]
pub fn refusal(row: &Row, n_metrics: Option<usize>) -> Option<String> {
    let Some(n_metrics) = n_metrics else {
        return Some("the device is not registered with a class of the catalogue".to_owned());
    };
    if row.values.len() != n_metrics {
        return Some(format!(
            "{} values for a class of {n_metrics} metrics",
            row.values.len()
        ));
    }
    let mut values = row
        .values
        .iter()
        .flatten()
        .chain(row.extra.iter().map(|(_, v)| v));
    values
        .any(|v| !v.is_finite())
        .then(|| "a value is not finite".to_owned())
}

/// The dead letter of a row that the store refused. It carries the row's own time, as the store has no
/// clock.
#[must_use]
pub fn refused(row: &Row, detail: String) -> Rejection {
    let mut payload = format!("{} {:?} {:?}", row.ts, row.values, row.extra).into_bytes();
    let payload_bytes = payload.len() as u64;
    payload.truncate(PAYLOAD_BYTES_MAX);
    Rejection {
        received_at: row.ts,
        topic: format!("devices/{}/telemetry", row.device),
        reason: RejectReason::StoreRefused,
        detail,
        payload,
        payload_bytes,
    }
}

/// Forecare itself, as the one who did something.
#[must_use]
pub fn forecare() -> Actor {
    Actor {
        name: "forecare".to_owned(),
        channel: Channel::System,
    }
}

/// The catalogue's stock as receipts of a new store, keyed `initial:<depot>:<part>`. Two lines for the same
/// depot and part are one receipt.
#[must_use]
pub fn initial_stock(catalogue: &Catalogue, now: Timestamp) -> Vec<StockCommand> {
    let mut commands: Vec<StockCommand> = Vec::new();
    for level in catalogue.stock.iter().filter(|level| level.on_hand > 0) {
        let same = |c: &&mut StockCommand| c.part == level.part && c.depot == level.depot;
        if let Some(command) = commands.iter_mut().find(same) {
            command.quantity = command.quantity.saturating_add(level.on_hand);
            continue;
        }
        commands.push(StockCommand {
            idempotency_key: format!("initial:{}:{}", level.depot, level.part),
            kind: StockMove::Receipt,
            part: level.part.clone(),
            depot: level.depot.clone(),
            quantity: level.on_hand,
            order: None,
            reason: None,
            bin: None,
            marks: level.marks.clone(),
            by: forecare(),
            at: now,
        });
    }
    commands
}

/// That a commit of records is within its bound.
///
/// # Errors
/// [`StoreError::Conflict`] says the bound.
pub fn check_writes(commit: &RecordCommit) -> Result<(), StoreError> {
    let n = commit.writes.len();
    if n <= RECORD_WRITES_MAX {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "{n} changes in one go; make parts of at most {RECORD_WRITES_MAX}"
    )))
}

/// No version of the record names the person.
#[must_use]
pub fn nobody_to_erase(erasure: &Erasure) -> StoreError {
    let who = match &erasure.person {
        Person::Contact(id) => format!("contact \"{id}\" of {}", erasure.record),
        Person::Technician => format!("a person in {}", erasure.record),
    };
    StoreError::NotFound(who)
}

/// What the ticket that lost the hold `victim` to `need` needs again, from the same depot.
#[must_use]
pub fn need_of_victim(catalogue: &Catalogue, victim: &Reservation, need: &Need) -> Need {
    Need {
        part: victim.wanted().clone(),
        quantity: victim.quantity.saturating_sub(victim.used),
        depot: need.depot.clone(),
        needed_at: victim.needed_at,
        lead_time_hours: catalogue.lead_time_hours(victim.wanted()),
        priority: victim.priority,
        soft_until: victim.expires_at,
    }
}

/// What is asked of the stock to serve `need`: its part and those that may stand in for it, each with its stock at the
/// depots of the catalogue. `known` gives what is known of a part's stock, in any order.
///
/// # Errors
/// Those of `known`.
pub fn offers<E>(
    catalogue: &Catalogue,
    need: &Need,
    mut known: impl FnMut(&PartNumber) -> Result<Vec<StockItem>, E>,
) -> Result<Vec<Offer>, E> {
    let choices = catalogue.choices(&need.part).into_iter();
    choices
        .map(|choice| {
            let known = known(&choice.part)?;
            Ok(Offer {
                balances: balances(catalogue, &choice.part, &known),
                choice,
            })
        })
        .collect()
}

/// Stock of `part` at the depots of the catalogue, in their order; `known` in any order.
fn balances(catalogue: &Catalogue, part: &PartNumber, known: &[StockItem]) -> Vec<Balance> {
    let at = |depot: &DepotName| {
        let found = known.iter().find(|item| item.depot == *depot);
        found.map_or_else(
            || StockItem::none(part.clone(), depot.clone()).balance(),
            StockItem::balance,
        )
    };
    catalogue.depots.iter().map(|d| at(&d.name)).collect()
}

/// Which of those that wait at a depot get the free stock of `part` there, of which there are `free`: by priority, then
/// age. One that it does not suffice for is passed over. Each as it is then.
#[must_use]
pub fn served(
    catalogue: &Catalogue,
    part: &PartNumber,
    depot: &DepotName,
    mut free: u32,
    mut waiting: Vec<Reservation>,
    at: Timestamp,
) -> Vec<Reservation> {
    waiting.sort_by_key(|r| (r.priority, r.reserved_at, r.id));
    waiting
        .into_iter()
        .filter_map(|mut r| {
            let open = r.quantity - r.used;
            if open > free || !may_serve(catalogue, part, &r, at) {
                return None;
            }
            free -= open;
            let wanted = r.wanted().clone();
            r.instead_of = (wanted != *part).then_some(wanted);
            r.part = part.clone();
            r.supply = Supply::Stock {
                depot: depot.clone(),
            };
            r.available_at = at;
            Some(r)
        })
        .collect()
}

/// What a report of parts used names of pieces, by part.
///
/// # Errors
/// [`StoreError::Conflict`] where it names some of a part that is not told apart that way.
pub fn marks_named(
    catalogue: &Catalogue,
    parts_used: &[PartUsed],
) -> Result<BTreeMap<PartNumber, Marks>, StoreError> {
    let named = parts_used.iter().filter(|used| !used.marks.is_empty());
    named
        .map(|used| {
            check_report(&used.part, catalogue.tracking(&used.part), &used.marks)?;
            Ok((used.part.clone(), used.marks.clone()))
        })
        .collect()
}

/// What the report names for `reservation`, under the part's number or that of the part it stands in for.
pub fn marks_for<'a>(
    named: &'a mut BTreeMap<PartNumber, Marks>,
    reservation: &Reservation,
) -> &'a mut Marks {
    let own = named.contains_key(&reservation.part);
    let number = if own || !named.contains_key(reservation.wanted()) {
        &reservation.part
    } else {
        reservation.wanted()
    };
    named.entry(number.clone()).or_default()
}

/// The shelf that a reservation's parts are taken from; `None`: the supplier brings them.
#[must_use]
pub fn shelf_of(reservation: &Reservation) -> Option<&DepotName> {
    match &reservation.supply {
        Supply::Stock { depot } | Supply::Transfer { from: depot, .. } => Some(depot),
        Supply::BackOrder { .. } => None,
    }
}

/// Whether `by` can be asked which pieces were used.
#[must_use]
pub fn is_person(by: &Actor) -> bool {
    !matches!(by.channel, Channel::System | Channel::Device)
}

/// Parts used, without telling pieces apart.
#[must_use]
pub fn counts(parts_used: &[PartUsed]) -> Vec<(PartNumber, u32)> {
    let count = |used: &PartUsed| (used.part.clone(), used.quantity);
    parts_used.iter().map(count).collect()
}

/// `units` as a line of the ledger moves them: the way of the line; in a count, as they come.
#[must_use]
pub fn units_of_line(kind: &str, delta: i64, units: &[Unit]) -> Vec<Unit> {
    let way = |unit: &Unit| {
        let is_other_way = kind != "count" && delta.signum() != unit.delta.signum();
        unit.times(if is_other_way { -1 } else { 1 })
    };
    units.iter().map(way).collect()
}

/// The lines of the ledger for `n` pieces of `reservation` that are used: kind, where, change.
#[must_use]
pub fn use_lines(reservation: &Reservation, n: i64) -> Vec<(&'static str, &DepotName, i64)> {
    match &reservation.supply {
        Supply::Stock { depot } => vec![("consumed", depot, -n)],
        Supply::Transfer { from, to } => vec![
            ("transfer_out", from, -n),
            ("transfer_in", to, n),
            ("consumed", to, -n),
        ],
        // Used before the store heard of its arrival: the supplier delivered to the site.
        Supply::BackOrder { to } => vec![("receipt", to, n), ("consumed", to, -n)],
    }
}

/// That the catalogue has the part.
///
/// # Errors
/// [`StoreError::NotFound`] names it.
pub fn check_part(catalogue: &Catalogue, part: &PartNumber) -> Result<(), StoreError> {
    match catalogue.part(part) {
        Some(_) => Ok(()),
        None => Err(StoreError::NotFound(format!(
            "part {part} in the catalogue"
        ))),
    }
}

/// That a key that is known was used for the same as now. `before` is `None` where that was not written down: for keys
/// older than the rule.
///
/// # Errors
/// [`StoreError::Conflict`] says what it was used for.
pub fn check_asked(before: Option<&StockAsked>, command: &StockCommand) -> Result<(), StoreError> {
    let Some(before) = before.filter(|before| **before != command.asked()) else {
        return Ok(());
    };
    Err(StoreError::Conflict(format!(
        "the key was used for another movement, of {} of {} at {}; use a new key",
        before.quantity, before.part, before.depot
    )))
}

/// That a receipt of an order fits the order; `order` is the one the command names, where it is there.
///
/// # Errors
/// [`StoreError::NotFound`] where it is not, [`StoreError::Conflict`] where it is of something else.
pub fn check_order(
    order: Option<&PurchaseOrder>,
    command: &StockCommand,
) -> Result<(), StoreError> {
    let Some(id) = &command.order else {
        return Ok(());
    };
    let Some(order) = order else {
        return Err(StoreError::NotFound(format!("order {id}")));
    };
    if command.kind != StockMove::Receipt {
        return Err(StoreError::Conflict(
            "an order belongs to a receipt only".to_owned(),
        ));
    }
    if order.part != command.part || order.depot != command.depot {
        return Err(StoreError::Conflict(format!(
            "order {id} is of {} to {}, not of {} to {}",
            order.part, order.depot, command.part, command.depot
        )));
    }
    Ok(())
}

/// The order as it is to be stored: what has arrived is kept, and of what it is does not change once some has.
///
/// # Errors
/// [`StoreError::NotFound`] for a part or place that is not known, [`StoreError::Conflict`] for an order of nothing, or
/// one that would be of something else.
pub fn next_order(
    catalogue: &Catalogue,
    is_place: bool,
    before: Option<&PurchaseOrder>,
    order: PurchaseOrder,
) -> Result<PurchaseOrder, StoreError> {
    check_part(catalogue, &order.part)?;
    if !is_place {
        return Err(StockRefusal::UnknownPlace(order.depot).into());
    }
    if order.quantity == 0 {
        return Err(StockRefusal::NothingMoved.into());
    }
    let received = before.map_or(0, |before| before.received);
    if let Some(before) = before
        && received > 0
        && (before.part != order.part || before.depot != order.depot)
    {
        return Err(StoreError::Conflict(format!(
            "{received} of order {} have arrived: it stays one of {} to {}; enter another order",
            order.id, before.part, before.depot
        )));
    }
    Ok(PurchaseOrder { received, ..order })
}

/// The record that makes `name` a place for stock, where the catalogue has no such depot: a depot's, or a van's.
#[must_use]
pub fn place_on_record(name: &DepotName) -> Option<RecordRef> {
    let (kind, id) = match name.as_str().strip_prefix(VAN_PREFIX) {
        Some(id) => (RecordKind::Van, id),
        None => (RecordKind::Depot, name.as_str()),
    };
    Some(RecordRef::new(kind, RecordId::new(id).ok()?))
}

/// What a ticket drew beyond all that was reserved for it, as a reservation that is consumed. Without its number.
#[must_use]
pub fn drawn(ticket: &Ticket, command: &StockCommand, quantity: u32) -> Reservation {
    Reservation {
        id: ReservationId(0),
        ticket: ticket.id,
        priority: ticket.priority,
        part: command.part.clone(),
        instead_of: None,
        quantity,
        used: quantity,
        supply: Supply::Stock {
            depot: command.depot.clone(),
        },
        state: ReservationState::Consumed,
        reserved_at: command.at,
        needed_at: command.at,
        available_at: command.at,
        expires_at: command.at,
    }
}

/// The stock in the order of [`Store::stock`](crate::Store::stock): `known` is what has any, in any order.
#[must_use]
pub fn stock_list(catalogue: &Catalogue, known: Vec<StockItem>) -> Vec<StockItem> {
    let mut known: BTreeMap<(PartNumber, DepotName), StockItem> = known
        .into_iter()
        .map(|item| ((item.part.clone(), item.depot.clone()), item))
        .collect();
    let mut all = Vec::with_capacity(catalogue.parts.len() * catalogue.depots.len());
    for part in &catalogue.parts {
        for depot in &catalogue.depots {
            let key = (part.number.clone(), depot.name.clone());
            let found = known.remove(&key);
            all.push(found.unwrap_or_else(|| StockItem::none(key.0, key.1)));
        }
        let others: Vec<_> = known
            .keys()
            .filter(|(number, _)| *number == part.number)
            .cloned()
            .collect();
        all.extend(others.iter().filter_map(|key| known.remove(key)));
    }
    all
}

impl StockItem {
    /// None of the part.
    #[must_use]
    pub fn none(part: PartNumber, depot: DepotName) -> Self {
        Self {
            part,
            depot,
            on_hand: 0,
            soft: 0,
            hard: 0,
            back_ordered: 0,
            in_repair: 0,
            bin: None,
        }
    }

    /// What allocation asks of it.
    #[must_use]
    pub fn balance(&self) -> Balance {
        Balance {
            depot: self.depot.clone(),
            on_hand: self.on_hand,
            soft: self.soft,
            hard: self.hard,
        }
    }
}

impl From<StockRefusal> for StoreError {
    fn from(refusal: StockRefusal) -> Self {
        match &refusal {
            StockRefusal::UnknownTicket(id) => Self::NotFound(format!("ticket {id}")),
            StockRefusal::UnknownPlace(name) => Self::NotFound(format!(
                "a depot, or a van (as van:<id>), of the name \"{name}\""
            )),
            StockRefusal::NothingMoved
            | StockRefusal::TooFew { .. }
            | StockRefusal::TooMany { .. }
            | StockRefusal::SamePlace(_)
            | StockRefusal::TicketEnded(_)
            | StockRefusal::NotOut { .. }
            | StockRefusal::Marks { .. }
            | StockRefusal::NoReason { .. } => Self::Conflict(refusal.to_string()),
        }
    }
}

impl StoreError {
    /// A ticket was changed on the basis of a version that has moved on.
    #[must_use]
    pub fn stale_ticket(after: &Ticket, stored: i64) -> Self {
        let (id, read) = (after.id, after.version);
        Self::Conflict(format!(
            "ticket {id} is at version {stored}, the change was made on version {read}; read it again"
        ))
    }

    /// A ticket would be open beside another one of the same asset under the same key.
    #[must_use]
    pub fn second_open_ticket(id: TicketId, other: TicketId) -> Self {
        Self::Conflict(format!(
            "ticket {id} cannot be open: {other} is, for the same asset and failure mode, schedule or event"
        ))
    }

    /// A ticket has as many entries, or bytes of files, as it may; `None`: it takes one more of `bytes`.
    #[must_use]
    pub fn entries_full(
        ticket: TicketId,
        n_entries: i64,
        bytes_before: i64,
        bytes: i64,
    ) -> Option<Self> {
        let what = if n_entries >= ENTRIES_MAX {
            format!("{ENTRIES_MAX} entries")
        } else if bytes_before.saturating_add(bytes) > ENTRY_BYTES_MAX {
            format!("{} MiB of files", ENTRY_BYTES_MAX / (1024 * 1024))
        } else {
            return None;
        };
        Some(Self::Conflict(format!(
            "ticket {ticket} cannot have more than {what}; open a follow-up ticket"
        )))
    }

    /// No entry of a ticket has a file at that position.
    #[must_use]
    pub fn no_attachment(ticket: TicketId, position: i64) -> Self {
        Self::NotFound(format!("attachment {position} of ticket {ticket}"))
    }

    /// A range of telemetry has more than `rows_max` rows.
    #[must_use]
    pub fn range_too_long(rows_max: u64) -> Self {
        Self::Conflict(format!(
            "the range has more than {rows_max} rows of the device; ask for a shorter one"
        ))
    }

    /// A delivery that is no dead letter was to be retried.
    #[must_use]
    pub fn not_dead(id: DeliveryId, state: DeliveryState) -> Self {
        Self::Conflict(format!(
            "delivery {id} is {}; only a dead one can be retried",
            state.label()
        ))
    }

    /// A customer has answered too often.
    #[must_use]
    pub fn answered_too_often(ticket: TicketId) -> Self {
        Self::Conflict(format!(
            "ticket {ticket} was answered {SURVEY_ANSWERS_MAX} times already"
        ))
    }

    /// A reservation that is over was to be changed.
    #[must_use]
    pub fn reservation_over(id: ReservationId, state: ReservationState) -> Self {
        Self::Conflict(format!(
            "reservation {id} is {} and stays so",
            state.label()
        ))
    }
}
