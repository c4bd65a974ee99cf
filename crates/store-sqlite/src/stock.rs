//! Stock, its ledger, and what is reserved of it.

use std::collections::{BTreeMap, BTreeSet};

use forecare_care::stock::{HeldAsked, StockView, held_asked, need_of_short, plan_move};
use forecare_care::tracking::{self, Use, check_left, other_place, places_of};
use forecare_care::{AllocationPlan, Need, allocate, cut_down, parts_short};
use forecare_catalogue::{Catalogue, Tracking};
use forecare_domain::{
    Actor, AssetId, BatchNumber, DepotName, Marks, OrderId, PartNumber, PurchaseOrder, Reservation,
    ReservationId, ReservationState, SerialNumber, StockAsked, StockCommand, StockMove, Supply,
    TicketId, Timestamp, Unit, UnitAt, UnitPlace,
};
use forecare_store::{
    ORDERS_MAX, StockItem, StockOutcome, StoreError, UNITS_MAX, UnitFilter, check_asked,
    check_order, check_part, drawn, initial_stock, is_person, marks_for, need_of_victim,
    next_order, offers, place_on_record, served, shelf_of, stock_list, units_of_line, use_lines,
};
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

use crate::fault::{Outcome, unreadable};
use crate::query::{self, collect, reservations_where};
use crate::{outbox, text};

/// What a movement of stock is for, and by whom.
pub(crate) struct Cause {
    pub(crate) ticket: Option<TicketId>,
    pub(crate) cost_centre: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) by: Actor,
    pub(crate) at: Timestamp,
}

impl Cause {
    /// For a ticket, without a word.
    pub(crate) fn of_ticket(ticket: TicketId, by: Actor, at: Timestamp) -> Self {
        Self {
            ticket: Some(ticket),
            cost_centre: None,
            reason: None,
            by,
            at,
        }
    }

    fn of(command: &StockCommand) -> Self {
        Self {
            ticket: command.ticket(),
            cost_centre: command.cost_centre().map(str::to_owned),
            reason: command.reason.clone(),
            by: command.by.clone(),
            at: command.at,
        }
    }
}

/// The key of a command, and what it was used for.
struct Key<'a> {
    key: &'a str,
    asked: String,
}

/// Books the catalogue's stock where that was not done before, whatever the catalogue says by now.
pub(crate) fn book_initial(
    conn: &Connection,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Outcome<()> {
    for command in initial_stock(catalogue, now) {
        if asked_before(conn, &command.idempotency_key)?.is_none() {
            move_stock(conn, catalogue, &command)?;
        }
    }
    Ok(())
}

/// What the key was used for, where it is known: `Some(None)` where that was not written down.
fn asked_before(conn: &Connection, key: &str) -> Outcome<Option<Option<StockAsked>>> {
    let asked: Option<Option<String>> = conn
        .prepare_cached("SELECT command FROM ledger WHERE idempotency_key = ?1")?
        .query_row([key], |r| r.get(0))
        .optional()?;
    let read = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
    Ok(asked.map(read).transpose()?)
}

pub(crate) fn move_stock(
    conn: &Connection,
    catalogue: &Catalogue,
    command: &StockCommand,
) -> Outcome<StockOutcome> {
    let StockCommand {
        part, depot, at, ..
    } = command;
    check_part(catalogue, part)?;
    if let Some(before) = asked_before(conn, &command.idempotency_key)? {
        check_asked(before.as_ref(), command)?;
        return outcome(conn, command, Vec::new(), true);
    }
    let order = match &command.order {
        Some(id) => order(conn, id)?,
        None => None,
    };
    check_order(order.as_ref(), command)?;
    let here = item(conn, part, depot)?;
    let balance = here.balance();
    let there = match &command.kind {
        StockMove::Transfer { to } => Some((
            item(conn, part, to)?.balance(),
            is_place(conn, catalogue, to)?,
        )),
        StockMove::Receipt
        | StockMove::Scrap
        | StockMove::Issue { .. }
        | StockMove::Count
        | StockMove::Return { .. }
        | StockMove::Repaired => None,
    };
    let ticket = match command.ticket() {
        Some(id) => query::ticket_if_there(conn, id)?,
        None => None,
    };
    let held = held(conn, command)?;
    let units = match catalogue.tracking(part) {
        Tracking::Not => Vec::new(),
        Tracking::Batch | Tracking::Serial => {
            units_known(conn, part, &places_of(command), &command.marks.serials)?
        }
    };
    let view = StockView {
        here: &balance,
        in_repair: here.in_repair,
        is_place: is_place(conn, catalogue, depot)?,
        there: there.as_ref().map(|(item, is_place)| (item, *is_place)),
        ticket: ticket.as_ref(),
        held: &held,
        at_cost_centre: at_cost_centre(conn, command)?,
        tracking: catalogue.tracking(part),
        units: &units,
    };
    let plan = plan_move(command, &view).map_err(StoreError::from)?;
    let cause = Cause::of(command);
    let mut key = Some(Key {
        key: &command.idempotency_key,
        asked: serde_json::to_string(&command.asked())?,
    });
    for line in &plan.lines {
        book(
            conn,
            line.kind,
            part,
            &line.depot,
            line.delta,
            &line.units,
            &cause,
            key.take(),
        )?;
    }
    if plan.in_repair != 0 || command.bin.is_some() {
        conn.prepare_cached(
            "UPDATE stock SET in_repair = in_repair + ?3, bin = coalesce(?4, bin) WHERE part = ?1 AND depot = ?2",
        )?
        .execute(params![
            part.as_str(),
            depot.as_str(),
            plan.in_repair,
            command.bin
        ])?;
    }
    for after in &plan.turned {
        conn.prepare_cached("UPDATE reservations SET quantity = ?2, used = ?3 WHERE id = ?1")?
            .execute([after.id.0, after.quantity.into(), after.used.into()])?;
        set_state(conn, after.id.0, after.state)?;
    }
    if let (Some(ticket), 1..) = (&ticket, plan.drawn) {
        write(conn, &drawn(ticket, command, plan.drawn))?;
    }
    let last = last_reservation(conn)?;
    for short in &plan.short {
        if let Some(need) = need_of_short(catalogue, short) {
            let plan = self::plan(conn, catalogue, &need, &[], *at)?;
            insert(conn, short.ticket, &need, &plan, *at)?;
        }
    }
    for depot in &plan.serve {
        serve_back_orders(conn, catalogue, part, depot, *at)?;
    }
    if !plan.short.is_empty() {
        tell_short(conn, last, *at)?;
    }
    if let Some(id) = &command.order {
        conn.prepare_cached("UPDATE purchase_orders SET received = received + ?2 WHERE id = ?1")?
            .execute(params![id.as_str(), command.quantity])?;
    }
    let short = plan.short.iter().map(|r| r.id).collect();
    outcome(conn, command, short, false)
}

fn outcome(
    conn: &Connection,
    command: &StockCommand,
    short: Vec<ReservationId>,
    repeated: bool,
) -> Outcome<StockOutcome> {
    let there = match &command.kind {
        StockMove::Transfer { to } => Some(item(conn, &command.part, to)?),
        StockMove::Receipt
        | StockMove::Scrap
        | StockMove::Issue { .. }
        | StockMove::Count
        | StockMove::Return { .. }
        | StockMove::Repaired => None,
    };
    Ok(StockOutcome {
        item: item(conn, &command.part, &command.depot)?,
        there,
        short,
        repeated,
    })
}

const ORDER: &str =
    "SELECT id, part, depot, quantity, received, due_at, cancelled, by, at FROM purchase_orders";

fn read_order(r: &Row<'_>) -> Outcome<PurchaseOrder> {
    let by: String = r.get(7)?;
    Ok(PurchaseOrder {
        id: text::name(r, 0)?,
        part: text::name(r, 1)?,
        depot: text::name(r, 2)?,
        quantity: text::count(r, 3)?,
        received: text::count(r, 4)?,
        due_at: text::time(r, 5)?,
        is_cancelled: r.get(6)?,
        by: serde_json::from_str(&by)?,
        at: text::time(r, 8)?,
    })
}

fn order(conn: &Connection, id: &OrderId) -> Outcome<Option<PurchaseOrder>> {
    let sql = format!("{ORDER} WHERE id = ?1");
    let found = collect(conn, &sql, [id.as_str()], read_order)?;
    Ok(found.into_iter().next())
}

pub(crate) fn put_order(
    conn: &Connection,
    catalogue: &Catalogue,
    new: PurchaseOrder,
) -> Outcome<PurchaseOrder> {
    let before = order(conn, &new.id)?;
    let is_place = is_place(conn, catalogue, &new.depot)?;
    let o = next_order(catalogue, is_place, before.as_ref(), new)?;
    conn.prepare_cached(
        "INSERT INTO purchase_orders (id, part, depot, quantity, received, due_at, cancelled, by, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET part = excluded.part, depot = excluded.depot, quantity = excluded.quantity,
             due_at = excluded.due_at, cancelled = excluded.cancelled, by = excluded.by, at = excluded.at",
    )?
    .execute(params![
        o.id.as_str(),
        o.part.as_str(),
        o.depot.as_str(),
        o.quantity,
        o.received,
        o.due_at.as_millis(),
        o.is_cancelled,
        serde_json::to_string(&o.by)?,
        o.at.as_millis()
    ])?;
    Ok(o)
}

pub(crate) fn orders(conn: &Connection, open_only: bool) -> Outcome<Vec<PurchaseOrder>> {
    let condition = if open_only {
        "WHERE cancelled = 0 AND received < quantity"
    } else {
        ""
    };
    let sql = format!("{ORDER} {condition} ORDER BY due_at, id LIMIT {ORDERS_MAX}");
    collect(conn, &sql, [], read_order)
}

/// Whether stock may be brought there: a depot of the catalogue, or a depot or van on record.
fn is_place(conn: &Connection, catalogue: &Catalogue, name: &DepotName) -> Outcome<bool> {
    if catalogue.depots.iter().any(|d| d.name == *name) {
        return Ok(true);
    }
    let Some(record) = place_on_record(name) else {
        return Ok(false);
    };
    Ok(conn
        .prepare_cached("SELECT 1 FROM records WHERE kind = ?1 AND id = ?2 AND body IS NOT NULL")?
        .exists([record.kind.label(), record.id.as_str()])?)
}

/// The reservations that the command is judged on.
fn held(conn: &Connection, command: &StockCommand) -> Outcome<Vec<Reservation>> {
    let part = command.part.as_str();
    match held_asked(command) {
        HeldAsked::None => Ok(Vec::new()),
        HeldAsked::OfTicket(ticket) => {
            reservations_where(conn, "part = ?1 AND ticket = ?2", params![part, ticket.0])
        }
        HeldAsked::OnShelf => reservations_where(
            conn,
            "live = 1 AND part = ?1 AND depot = ?2 AND supply <> 'back_order'",
            [part, command.depot.as_str()],
        ),
    }
}

/// What went to the command's cost centre and did not come back.
fn at_cost_centre(conn: &Connection, command: &StockCommand) -> Outcome<u32> {
    let Some(name) = command.cost_centre() else {
        return Ok(0);
    };
    let out: i64 = conn
        .prepare_cached(
            "SELECT coalesce(-sum(delta), 0) FROM ledger
             WHERE cost_centre = ?1 AND part = ?2 AND kind IN ('issue', 'return')",
        )?
        .query_row([name, command.part.as_str()], |r| r.get(0))?;
    Ok(u32::try_from(out).unwrap_or(0))
}

pub(crate) fn stock(conn: &Connection, catalogue: &Catalogue) -> Outcome<Vec<StockItem>> {
    Ok(stock_list(catalogue, items(conn, "1 = 1", [])?))
}

/// Stock of `part` at `depot`, with what is held of it.
fn item(conn: &Connection, part: &PartNumber, depot: &DepotName) -> Outcome<StockItem> {
    let found = items(
        conn,
        "part = ?1 AND depot = ?2",
        [part.as_str(), depot.as_str()],
    )?;
    let none = || StockItem::none(part.clone(), depot.clone());
    Ok(found.into_iter().next().unwrap_or_else(none))
}

/// Stock that fulfils `condition` on part and depot, with what is held of it.
fn items(conn: &Connection, condition: &str, params: impl Params) -> Outcome<Vec<StockItem>> {
    let sql = format!(
        "SELECT part, depot, sum(on_hand), sum(soft), sum(hard), sum(back_ordered), sum(in_repair), max(bin)
         FROM (
             SELECT part, depot, on_hand, 0 AS soft, 0 AS hard, 0 AS back_ordered, in_repair, bin
             FROM stock WHERE {condition}
             UNION ALL
             SELECT part, depot, 0,
                 CASE WHEN supply <> 'back_order' AND state = 'soft' THEN quantity - used ELSE 0 END,
                 CASE WHEN supply <> 'back_order' AND state <> 'soft' THEN quantity - used ELSE 0 END,
                 CASE WHEN supply = 'back_order' THEN quantity - used ELSE 0 END,
                 0, NULL
             FROM reservations WHERE live = 1 AND {condition}
         ) GROUP BY part, depot"
    );
    collect(conn, &sql, params, |r| {
        Ok(StockItem {
            part: text::name(r, 0)?,
            depot: text::name(r, 1)?,
            on_hand: text::count(r, 2)?,
            soft: text::count(r, 3)?,
            hard: text::count(r, 4)?,
            back_ordered: text::count(r, 5)?,
            in_repair: text::count(r, 6)?,
            bin: r.get(7)?,
        })
    })
}

/// What does not add up beside the shelves themselves, in words: more held than there is, parts lost between places or
/// in repair, tickets whose reservations tell another number of parts than their lines.
pub(crate) fn imbalance(conn: &Connection) -> Outcome<Option<String>> {
    let checks = [
        (
            "shelves have more held than lies on them",
            "SELECT count(*) FROM (
                 SELECT part, depot, sum(quantity - used) AS held FROM reservations
                 WHERE live = 1 AND supply <> 'back_order' GROUP BY part, depot) AS h
             LEFT JOIN stock USING (part, depot) WHERE held > coalesce(on_hand, 0)",
        ),
        (
            "parts were sent and arrived in different numbers",
            "SELECT count(*) FROM (
                 SELECT part FROM ledger WHERE kind IN ('transfer_out', 'transfer_in')
                 GROUP BY part HAVING sum(delta) <> 0)",
        ),
        (
            "stock items have another number in repair than their ledger",
            "SELECT count(*) FROM stock WHERE in_repair <> (
                 SELECT coalesce(-sum(delta), 0) FROM ledger
                 WHERE ledger.part = stock.part AND ledger.depot = stock.depot
                     AND kind IN ('repair_out', 'repair_in'))",
        ),
        (
            "tickets have used another number of parts than their ledger",
            "SELECT count(*) FROM (
                 SELECT ticket, part, sum(used) AS used FROM reservations GROUP BY ticket, part) AS r
             LEFT JOIN (
                 SELECT ticket, part, -sum(delta) AS gone FROM ledger
                 WHERE ticket IS NOT NULL AND kind IN ('consumed', 'issue', 'return') GROUP BY ticket, part) AS l
             USING (ticket, part) WHERE used <> coalesce(gone, 0)",
        ),
    ];
    for (finding, sql) in checks {
        let n: i64 = conn.query_row(sql, [], |r| r.get(0))?;
        if n > 0 {
            return Ok(Some(format!("{n} {finding}")));
        }
    }
    Ok(None)
}

/// A line of the ledger and its effect on the shelf.
#[allow(clippy::too_many_arguments, reason = "a line has as many columns")]
fn book(
    conn: &Connection,
    kind: &str,
    part: &PartNumber,
    depot: &DepotName,
    delta: i64,
    units: &[Unit],
    cause: &Cause,
    key: Option<Key<'_>>,
) -> Outcome<()> {
    let units = units_of_line(kind, delta, units);
    let units_json = match units.as_slice() {
        [] => None,
        units => Some(serde_json::to_string(units)?),
    };
    conn.prepare_cached(
        "INSERT INTO ledger (at, kind, part, depot, delta, ticket, cost_centre, reason, by, idempotency_key, command,
             units)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        cause.at.as_millis(),
        kind,
        part.as_str(),
        depot.as_str(),
        delta,
        cause.ticket.map(|t| t.0),
        cause.cost_centre,
        cause.reason,
        serde_json::to_string(&cause.by)?,
        key.as_ref().map(|k| k.key),
        key.as_ref().map(|k| &k.asked),
        units_json
    ])?;
    // Not an upsert: its INSERT half would break the rule on_hand >= 0 for a negative delta.
    conn.prepare_cached("INSERT OR IGNORE INTO stock (part, depot, on_hand) VALUES (?1, ?2, 0)")?
        .execute([part.as_str(), depot.as_str()])?;
    conn.prepare_cached("UPDATE stock SET on_hand = on_hand + ?3 WHERE part = ?1 AND depot = ?2")?
        .execute(params![part.as_str(), depot.as_str(), delta])?;
    let other = other_place(kind, depot, cause.ticket, cause.cost_centre.as_deref());
    for unit in &units {
        let shelf = UnitPlace::Shelf(depot.clone());
        count_unit(conn, part, unit, &shelf, unit.delta, cause.at)?;
        if let Some(other) = &other {
            count_unit(conn, part, unit, other, -unit.delta, cause.at)?;
        }
    }
    Ok(())
}

/// So many more, or fewer, of these pieces at a place.
fn count_unit(
    conn: &Connection,
    part: &PartNumber,
    unit: &Unit,
    place: &UnitPlace,
    change: i64,
    at: Timestamp,
) -> Outcome<()> {
    let serial = unit.serial.as_ref().map_or("", SerialNumber::as_str);
    let batch = unit.batch.as_ref().map_or("", BatchNumber::as_str);
    let key = place.key();
    if change > 0 {
        conn.prepare_cached(
            "INSERT INTO units (part, serial, batch, place, quantity, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (part, serial, batch, place)
             DO UPDATE SET quantity = quantity + excluded.quantity, since = excluded.since",
        )?
        .execute(params![part.as_str(), serial, batch, key, change, at.as_millis()])?;
        return Ok(());
    }
    conn.prepare_cached(
        "UPDATE units SET quantity = quantity + ?5 WHERE part = ?1 AND serial = ?2 AND batch = ?3 AND place = ?4",
    )?
    .execute(params![part.as_str(), serial, batch, key, change])
    .map_err(Into::into)
    .and_then(|n_found| gone(n_found == 1, part, &key))?;
    conn.prepare_cached(
        "DELETE FROM units WHERE part = ?1 AND serial = ?2 AND batch = ?3 AND place = ?4 AND quantity = 0",
    )?
    .execute(params![part.as_str(), serial, batch, key])?;
    Ok(())
}

/// The books have a piece elsewhere than where it is taken from.
fn gone(is_there: bool, part: &PartNumber, place: &str) -> Outcome<()> {
    if is_there {
        return Ok(());
    }
    Err(unreadable(format!(
        "a piece of {part} is not in {place}, where it is taken from"
    )))
}

fn read_unit(r: &Row<'_>) -> Outcome<UnitAt> {
    let place: String = r.get(3)?;
    Ok(UnitAt {
        part: text::name(r, 0)?,
        serial: text::optional_name(r, 1)?,
        batch: text::optional_name(r, 2)?,
        place: UnitPlace::of_key(&place).ok_or_else(|| {
            unreadable(format!("the place \"{place}\" of a part is not known here"))
        })?,
        quantity: text::count(r, 4)?,
        since: text::time(r, 5)?,
    })
}

const UNIT: &str =
    "SELECT part, nullif(serial, ''), nullif(batch, ''), place, quantity, since FROM units";

/// What is known of pieces of `part` at `places`, and of those with `serials`.
fn units_known(
    conn: &Connection,
    part: &PartNumber,
    places: &[UnitPlace],
    serials: &[SerialNumber],
) -> Outcome<Vec<UnitAt>> {
    let places: Vec<String> = places.iter().map(UnitPlace::key).collect();
    let sql = format!(
        "{UNIT} WHERE part = ?1 AND (place IN (SELECT value FROM json_each(?2))
             OR serial IN (SELECT value FROM json_each(?3)))
         ORDER BY part, serial, batch, place"
    );
    let params = params![
        part.as_str(),
        serde_json::to_string(&places)?,
        serde_json::to_string(serials)?
    ];
    collect(conn, &sql, params, read_unit)
}

pub(crate) fn units(conn: &Connection, filter: &UnitFilter) -> Outcome<Vec<UnitAt>> {
    let asked = [
        (filter.part.as_ref().map(PartNumber::as_str), "part = ?"),
        (
            filter.batch.as_ref().map(BatchNumber::as_str),
            "batch = ? AND batch <> ''",
        ),
        (
            filter.serial.as_ref().map(SerialNumber::as_str),
            "serial = ? AND serial <> ''",
        ),
        (
            filter.asset.as_ref().map(AssetId::as_str),
            "place IN (SELECT 'ticket:' || id FROM tickets WHERE asset = ?)",
        ),
    ];
    // Only what is asked for: the planner takes the index of what is there.
    let (mut conditions, mut params) = (String::new(), Vec::new());
    for (value, sql) in asked {
        if let Some(value) = value {
            params.push(value);
            conditions += &format!(" AND {sql}");
        }
    }
    let sql = format!(
        "{UNIT} WHERE true{conditions}
         ORDER BY part, units.serial, units.batch, place LIMIT {UNITS_MAX}"
    );
    collect(conn, &sql, params_from_iter(params), read_unit)
}

/// Which pieces of a tracked part are used.
fn used_units(
    conn: &Connection,
    catalogue: &Catalogue,
    r: &Reservation,
    quantity: u32,
    cause: &Cause,
    named: &mut BTreeMap<PartNumber, Marks>,
) -> Outcome<Vec<Unit>> {
    let tracking = catalogue.tracking(&r.part);
    if tracking == Tracking::Not || quantity == 0 {
        return Ok(Vec::new());
    }
    let marks = marks_for(named, r);
    let from = shelf_of(r);
    let places: Vec<UnitPlace> = from.cloned().map(UnitPlace::Shelf).into_iter().collect();
    let known = units_known(conn, &r.part, &places, &marks.serials)?;
    let on_hand = match from {
        Some(depot) => item(conn, &r.part, depot)?.on_hand,
        None => 0,
    };
    let used = Use {
        tracking,
        part: &r.part,
        from,
        on_hand,
        quantity,
        known: &known,
        by_person: is_person(&cause.by),
    };
    Ok(tracking::used(&used, marks).map_err(StoreError::from)?)
}

/// That a report names no pieces beside those that are used, or were before.
pub(crate) fn check_named(
    conn: &Connection,
    ticket: TicketId,
    named: &BTreeMap<PartNumber, Marks>,
) -> Outcome<()> {
    for (part, left) in named {
        let places = [UnitPlace::Ticket(ticket)];
        let known = units_known(conn, part, &places, &left.serials)?;
        check_left(part, left, ticket, &known).map_err(StoreError::from)?;
    }
    Ok(())
}

/// Number of the newest reservation; 0: there is none.
pub(crate) fn last_reservation(conn: &Connection) -> Outcome<ReservationId> {
    let sql = "SELECT coalesce(max(id), 0) FROM reservations";
    let last = conn.prepare_cached(sql)?.query_row([], |r| r.get(0))?;
    Ok(ReservationId(last))
}

/// Tells of parts that come late, of all reservations after `last`.
pub(crate) fn tell_short(conn: &Connection, last: ReservationId, at: Timestamp) -> Outcome<()> {
    let mut by_ticket: BTreeMap<TicketId, Vec<Reservation>> = BTreeMap::new();
    for new in reservations_where(conn, "id > ?1", [last.0])? {
        by_ticket.entry(new.ticket).or_default().push(new);
    }
    for (id, new) in by_ticket {
        let short = parts_short(&query::ticket(conn, id)?, &new, at);
        outbox::write(conn, short.as_slice())?;
    }
    Ok(())
}

/// Reserves for `ticket`. Holds that are pre-empted are released, and their tickets served anew.
pub(crate) fn reserve(
    conn: &Connection,
    catalogue: &Catalogue,
    ticket: TicketId,
    need: &Need,
    at: Timestamp,
) -> Outcome<()> {
    let condition = "live = 1 AND part = ?1 AND depot = ?2 AND state = 'soft' AND supply = 'stock'";
    let mut soft = Vec::new();
    for part in catalogue.line(&need.part) {
        soft.extend(reservations_where(
            conn,
            condition,
            [part.as_str(), need.depot.as_str()],
        )?);
    }
    let plan = plan(conn, catalogue, need, &soft, at)?;
    for id in &plan.preempted {
        set_state(conn, id.0, ReservationState::Released)?;
    }
    insert(conn, ticket, need, &plan, at)?;
    soft.retain(|r| plan.preempted.contains(&r.id));
    soft.sort_by_key(|r| r.id);
    for victim in &soft {
        let again = need_of_victim(catalogue, victim, need);
        let plan = self::plan(conn, catalogue, &again, &[], at)?;
        insert(conn, victim.ticket, &again, &plan, at)?;
    }
    let freed: BTreeSet<&PartNumber> = soft.iter().map(|victim| &victim.part).collect();
    for part in freed {
        serve_back_orders(conn, catalogue, part, &need.depot, at)?;
    }
    Ok(())
}

fn plan(
    conn: &Connection,
    catalogue: &Catalogue,
    need: &Need,
    preemptible: &[Reservation],
    at: Timestamp,
) -> Outcome<AllocationPlan> {
    let known = |part: &PartNumber| items(conn, "part = ?1", [part.as_str()]);
    let offers = offers(catalogue, need, known)?;
    Ok(allocate(need, &offers, &catalogue.depots, preemptible, at))
}

fn insert(
    conn: &Connection,
    ticket: TicketId,
    need: &Need,
    plan: &AllocationPlan,
    at: Timestamp,
) -> Outcome<()> {
    for a in &plan.allocations {
        write(conn, &a.reservation(ticket, need, at))?;
    }
    Ok(())
}

/// Writes a reservation under the next number.
fn write(conn: &Connection, r: &Reservation) -> Outcome<()> {
    let (supply, depot, to) = match &r.supply {
        Supply::Stock { depot } => ("stock", depot, None),
        Supply::Transfer { from, to } => ("transfer", from, Some(to.as_str())),
        Supply::BackOrder { to } => ("back_order", to, None),
    };
    conn.prepare_cached(
        "INSERT INTO reservations (id, ticket, priority, part, quantity, used, state, live, supply, depot,
             transfer_to, reserved_at, needed_at, available_at, expires_at, instead_of)
         VALUES ((SELECT coalesce(max(id), 0) + 1 FROM reservations),
             ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        r.ticket.0,
        text::priority(r.priority),
        r.part.as_str(),
        r.quantity,
        r.used,
        r.state.label(),
        r.state.is_live(),
        supply,
        depot.as_str(),
        to,
        r.reserved_at.as_millis(),
        r.needed_at.as_millis(),
        r.available_at.as_millis(),
        r.expires_at.as_millis(),
        r.instead_of.as_ref().map(PartNumber::as_str)
    ])?;
    Ok(())
}

fn set_state(conn: &Connection, id: i64, state: ReservationState) -> Outcome<()> {
    conn.prepare_cached("UPDATE reservations SET state = ?2, live = ?3 WHERE id = ?1")?
        .execute(params![id, state.label(), state.is_live()])?;
    Ok(())
}

/// Brings `r` into `state` with `used` parts used in all, and books what that means.
pub(crate) fn turn(
    conn: &Connection,
    catalogue: &Catalogue,
    r: &Reservation,
    state: ReservationState,
    used: u32,
    cause: &Cause,
    named: &mut BTreeMap<PartNumber, Marks>,
) -> Outcome<()> {
    let newly_used = used.saturating_sub(r.used);
    let units = used_units(conn, catalogue, r, newly_used, cause, named)?;
    conn.prepare_cached("UPDATE reservations SET used = ?2 WHERE id = ?1")?
        .execute(params![r.id.0, used])?;
    set_state(conn, r.id.0, state)?;
    if newly_used > 0 {
        for (kind, depot, delta) in use_lines(r, newly_used.into()) {
            book(conn, kind, &r.part, depot, delta, &units, cause, None)?;
        }
    }
    match shelf_of(r) {
        Some(depot) if !state.is_live() => {
            serve_back_orders(conn, catalogue, &r.part, depot, cause.at)
        }
        Some(_) | None => Ok(()),
    }
}

/// Makes a hold smaller; what becomes free goes to who waits for it.
pub(crate) fn cut(
    conn: &Connection,
    catalogue: &Catalogue,
    id: ReservationId,
    keep: u32,
    at: Timestamp,
) -> Outcome<()> {
    let found = reservations_where(conn, "id = ?1", [id.0])?;
    let Some(r) = found.first() else {
        return Err(StoreError::NotFound(format!("reservation {id}")).into());
    };
    let Some((quantity, state)) = cut_down(r, keep) else {
        return Ok(());
    };
    conn.prepare_cached("UPDATE reservations SET quantity = ?2 WHERE id = ?1")?
        .execute(params![id.0, quantity])?;
    set_state(conn, id.0, state)?;
    match shelf_of(r) {
        Some(depot) => serve_back_orders(conn, catalogue, &r.part, depot, at),
        None => Ok(()),
    }
}

/// Gives free stock to those who wait at that depot, as [`served`] says.
fn serve_back_orders(
    conn: &Connection,
    catalogue: &Catalogue,
    part: &PartNumber,
    depot: &DepotName,
    at: Timestamp,
) -> Outcome<()> {
    let condition = "live = 1 AND part = ?1 AND depot = ?2 AND supply = 'back_order'";
    let mut waiting = Vec::new();
    for relative in catalogue.relatives(part) {
        waiting.extend(reservations_where(
            conn,
            condition,
            [relative.as_str(), depot.as_str()],
        )?);
    }
    if waiting.is_empty() {
        return Ok(());
    }
    let free = item(conn, part, depot)?.free();
    for r in served(catalogue, part, depot, free, waiting, at) {
        conn.prepare_cached(
            "UPDATE reservations SET supply = 'stock', available_at = ?2, part = ?3, instead_of = ?4 WHERE id = ?1",
        )?
        .execute(params![
            r.id.0,
            at.as_millis(),
            r.part.as_str(),
            r.instead_of.as_ref().map(PartNumber::as_str)
        ])?;
    }
    Ok(())
}
