//! Stock, its ledger, and what is reserved of it. Every function that writes is called under
//! [`lock_care`](crate::connection::lock_care).

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use deadpool_postgres::Transaction;
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

use crate::fault::{Outcome, unreadable};
use crate::instant::Instant;
use crate::query::{self, Params, collect, execute, reservations_where};
use crate::{outbox, text};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

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
        let storable = |text: &str| text::storable(text).into_owned();
        Self {
            ticket: command.ticket(),
            cost_centre: command.cost_centre().map(storable),
            reason: command.reason.as_deref().map(storable),
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
pub(crate) async fn book_initial(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Outcome<()> {
    for command in initial_stock(catalogue, now) {
        if asked_before(tx, &command.idempotency_key).await?.is_none() {
            move_stock(tx, catalogue, &command).await?;
        }
    }
    Ok(())
}

/// What the key was used for, where it is known: `Some(None)` where that was not written down.
async fn asked_before(tx: &Transaction<'_>, key: &str) -> Outcome<Option<Option<StockAsked>>> {
    let sql = "SELECT command::text FROM ledger WHERE idempotency_key = $1";
    let found = collect(tx, sql, &[&key], |r| {
        let text: Option<String> = r.try_get(0)?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    })
    .await?;
    Ok(found.into_iter().next())
}

pub(crate) async fn move_stock(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    command: &StockCommand,
) -> Outcome<StockOutcome> {
    let StockCommand {
        part, depot, at, ..
    } = command;
    let key = text::storable(&command.idempotency_key);
    check_part(catalogue, part)?;
    if let Some(before) = asked_before(tx, &key).await? {
        check_asked(before.as_ref(), command)?;
        return outcome(tx, command, Vec::new(), true).await;
    }
    let order = match &command.order {
        Some(id) => order(tx, id).await?,
        None => None,
    };
    check_order(order.as_ref(), command)?;
    let here = item(tx, part, depot).await?;
    let balance = here.balance();
    let there = match &command.kind {
        StockMove::Transfer { to } => Some((
            item(tx, part, to).await?.balance(),
            is_place(tx, catalogue, to).await?,
        )),
        StockMove::Receipt
        | StockMove::Scrap
        | StockMove::Issue { .. }
        | StockMove::Count
        | StockMove::Return { .. }
        | StockMove::Repaired => None,
    };
    let ticket = match command.ticket() {
        Some(id) => query::ticket_if_there(tx, id).await?,
        None => None,
    };
    let held = held(tx, command).await?;
    let cause = Cause::of(command);
    let units = match catalogue.tracking(part) {
        Tracking::Not => Vec::new(),
        Tracking::Batch | Tracking::Serial => {
            units_known(tx, part, &places_of(command), &command.marks.serials).await?
        }
    };
    let view = StockView {
        here: &balance,
        in_repair: here.in_repair,
        is_place: is_place(tx, catalogue, depot).await?,
        there: there.as_ref().map(|(item, is_place)| (item, *is_place)),
        ticket: ticket.as_ref(),
        held: &held,
        at_cost_centre: at_cost_centre(tx, part, cause.cost_centre.as_deref()).await?,
        tracking: catalogue.tracking(part),
        units: &units,
    };
    let plan = plan_move(command, &view).map_err(StoreError::from)?;
    let mut key = Some(Key {
        key: &key,
        asked: serde_json::to_string(&command.asked())?,
    });
    for line in &plan.lines {
        let key = key.take();
        book(
            tx,
            line.kind,
            part,
            &line.depot,
            line.delta,
            &line.units,
            &cause,
            key,
        )
        .await?;
    }
    if plan.in_repair != 0 || command.bin.is_some() {
        let bin = command.bin.as_deref().map(text::storable);
        execute(
            tx,
            "UPDATE stock SET in_repair = in_repair + $3, bin = coalesce($4, bin) WHERE part = $1 AND depot = $2",
            &[&part.as_str(), &depot.as_str(), &plan.in_repair, &bin],
        )
        .await?;
    }
    for after in &plan.turned {
        execute(
            tx,
            "UPDATE reservations SET quantity = $2, used = $3, state = $4, live = $5 WHERE id = $1",
            &[
                &after.id.0,
                &i64::from(after.quantity),
                &i64::from(after.used),
                &after.state.label(),
                &after.state.is_live(),
            ],
        )
        .await?;
    }
    if let (Some(ticket), 1..) = (&ticket, plan.drawn) {
        write(tx, &drawn(ticket, command, plan.drawn)).await?;
    }
    let last = last_reservation(tx).await?;
    for short in &plan.short {
        if let Some(need) = need_of_short(catalogue, short) {
            let plan = self::plan(tx, catalogue, &need, &[], *at).await?;
            insert(tx, short.ticket, &need, &plan, *at).await?;
        }
    }
    for depot in &plan.serve {
        serve_back_orders(tx, catalogue, part, depot, *at).await?;
    }
    if !plan.short.is_empty() {
        tell_short(tx, last, *at).await?;
    }
    if let Some(id) = &command.order {
        execute(
            tx,
            "UPDATE purchase_orders SET received = received + $2 WHERE id = $1",
            &[&id.as_str(), &i64::from(command.quantity)],
        )
        .await?;
    }
    let short = plan.short.iter().map(|r| r.id).collect();
    outcome(tx, command, short, false).await
}

async fn outcome(
    tx: &Transaction<'_>,
    command: &StockCommand,
    short: Vec<ReservationId>,
    repeated: bool,
) -> Outcome<StockOutcome> {
    let there = match &command.kind {
        StockMove::Transfer { to } => Some(item(tx, &command.part, to).await?),
        StockMove::Receipt
        | StockMove::Scrap
        | StockMove::Issue { .. }
        | StockMove::Count
        | StockMove::Return { .. }
        | StockMove::Repaired => None,
    };
    Ok(StockOutcome {
        item: item(tx, &command.part, &command.depot).await?,
        there,
        short,
        repeated,
    })
}

const ORDER: &str = "SELECT id, part, depot, quantity, received, due_at, cancelled, by::text, at FROM purchase_orders";

fn read_order(r: &Row) -> Outcome<PurchaseOrder> {
    Ok(PurchaseOrder {
        id: text::name(r, 0)?,
        part: text::name(r, 1)?,
        depot: text::name(r, 2)?,
        quantity: text::count(r, 3)?,
        received: text::count(r, 4)?,
        due_at: text::time(r, 5)?,
        is_cancelled: r.try_get(6)?,
        by: serde_json::from_str(r.try_get(7)?)?,
        at: text::time(r, 8)?,
    })
}

async fn order(tx: &Transaction<'_>, id: &OrderId) -> Outcome<Option<PurchaseOrder>> {
    let sql = format!("{ORDER} WHERE id = $1");
    let found = collect(tx, &sql, &[&id.as_str()], read_order).await?;
    Ok(found.into_iter().next())
}

pub(crate) async fn put_order(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    new: PurchaseOrder,
) -> Outcome<PurchaseOrder> {
    let before = order(tx, &new.id).await?;
    let is_place = is_place(tx, catalogue, &new.depot).await?;
    let o = next_order(catalogue, is_place, before.as_ref(), new)?;
    execute(
        tx,
        "INSERT INTO purchase_orders (id, part, depot, quantity, received, due_at, cancelled, by, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9)
         ON CONFLICT (id) DO UPDATE SET part = excluded.part, depot = excluded.depot, quantity = excluded.quantity,
             due_at = excluded.due_at, cancelled = excluded.cancelled, by = excluded.by, at = excluded.at",
        &[
            &o.id.as_str(),
            &o.part.as_str(),
            &o.depot.as_str(),
            &i64::from(o.quantity),
            &i64::from(o.received),
            &Instant(o.due_at),
            &o.is_cancelled,
            &serde_json::to_string(&o.by)?,
            &Instant(o.at),
        ],
    )
    .await?;
    Ok(o)
}

pub(crate) async fn orders(tx: &Transaction<'_>, open_only: bool) -> Outcome<Vec<PurchaseOrder>> {
    let condition = if open_only {
        "WHERE NOT cancelled AND received < quantity"
    } else {
        ""
    };
    let sql = format!("{ORDER} {condition} ORDER BY due_at, id COLLATE \"C\" LIMIT {ORDERS_MAX}");
    collect(tx, &sql, &[], read_order).await
}

/// Whether stock may be brought there: a depot of the catalogue, or a depot or van on record.
async fn is_place(tx: &Transaction<'_>, catalogue: &Catalogue, name: &DepotName) -> Outcome<bool> {
    if catalogue.depots.iter().any(|d| d.name == *name) {
        return Ok(true);
    }
    let Some(record) = place_on_record(name) else {
        return Ok(false);
    };
    let sql = "SELECT 1 FROM records WHERE kind = $1 AND id = $2 AND body IS NOT NULL";
    let params: Params<'_> = &[&record.kind.label(), &record.id.as_str()];
    Ok(!collect(tx, sql, params, |_| Ok(())).await?.is_empty())
}

/// The reservations that the command is judged on.
async fn held(tx: &Transaction<'_>, command: &StockCommand) -> Outcome<Vec<Reservation>> {
    let part = command.part.as_str();
    match held_asked(command) {
        HeldAsked::None => Ok(Vec::new()),
        HeldAsked::OfTicket(ticket) => {
            reservations_where(tx, "part = $1 AND ticket = $2", &[&part, &ticket.0]).await
        }
        HeldAsked::OnShelf => {
            reservations_where(
                tx,
                "live AND part = $1 AND depot = $2 AND supply <> 'back_order'",
                &[&part, &command.depot.as_str()],
            )
            .await
        }
    }
}

/// What went to the cost centre and did not come back.
async fn at_cost_centre(
    tx: &Transaction<'_>,
    part: &PartNumber,
    name: Option<&str>,
) -> Outcome<u32> {
    let Some(name) = name else {
        return Ok(0);
    };
    let sql = "SELECT coalesce(-sum(delta), 0)::bigint FROM ledger
         WHERE cost_centre = $1 AND part = $2 AND kind IN ('issue', 'return')";
    let out = collect(tx, sql, &[&name, &part.as_str()], |r| {
        Ok(r.try_get::<_, i64>(0)?)
    })
    .await?;
    Ok(u32::try_from(out.first().copied().unwrap_or(0)).unwrap_or(0))
}

pub(crate) async fn stock(tx: &Transaction<'_>, catalogue: &Catalogue) -> Outcome<Vec<StockItem>> {
    Ok(stock_list(catalogue, items(tx, "true", &[]).await?))
}

/// Stock that fulfils `condition` on part and depot, with what is held of it.
async fn items(
    tx: &Transaction<'_>,
    condition: &str,
    params: Params<'_>,
) -> Outcome<Vec<StockItem>> {
    let sql = format!(
        "SELECT part, depot, sum(on_hand)::bigint, sum(soft)::bigint, sum(hard)::bigint, sum(back_ordered)::bigint,
             sum(in_repair)::bigint, max(bin)
         FROM (
             SELECT part, depot, on_hand, 0 AS soft, 0 AS hard, 0 AS back_ordered, in_repair, bin
             FROM stock WHERE {condition}
             UNION ALL
             SELECT part, depot, 0,
                 CASE WHEN supply <> 'back_order' AND state = 'soft' THEN quantity - used ELSE 0 END,
                 CASE WHEN supply <> 'back_order' AND state <> 'soft' THEN quantity - used ELSE 0 END,
                 CASE WHEN supply = 'back_order' THEN quantity - used ELSE 0 END,
                 0, NULL
             FROM reservations WHERE live AND {condition}
         ) AS line GROUP BY part, depot"
    );
    collect(tx, &sql, params, |r| {
        Ok(StockItem {
            part: text::name(r, 0)?,
            depot: text::name(r, 1)?,
            on_hand: text::count(r, 2)?,
            soft: text::count(r, 3)?,
            hard: text::count(r, 4)?,
            back_ordered: text::count(r, 5)?,
            in_repair: text::count(r, 6)?,
            bin: r.try_get(7)?,
        })
    })
    .await
}

/// Stock of `part` at `depot`, with what is held of it.
async fn item(tx: &Transaction<'_>, part: &PartNumber, depot: &DepotName) -> Outcome<StockItem> {
    let params: Params<'_> = &[&part.as_str(), &depot.as_str()];
    let found = items(tx, "part = $1 AND depot = $2", params).await?;
    let none = || StockItem::none(part.clone(), depot.clone());
    Ok(found.into_iter().next().unwrap_or_else(none))
}

/// A line of the ledger and its effect on the shelf.
#[allow(clippy::too_many_arguments, reason = "a line has as many columns")]
async fn book(
    tx: &Transaction<'_>,
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
    // What leaves the shelf was on it, so there is a line; an upsert would first try to add one that breaks
    // the rule on_hand >= 0.
    let effect = if delta < 0 {
        "UPDATE stock SET on_hand = on_hand + $5 WHERE part = $3 AND depot = $4"
    } else {
        "INSERT INTO stock (part, depot, on_hand) VALUES ($3, $4, $5)
         ON CONFLICT (part, depot) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand"
    };
    let n = execute(
        tx,
        &format!(
            "WITH line AS (
                 INSERT INTO ledger (at, kind, part, depot, delta, ticket, by, idempotency_key, command,
                     cost_centre, reason, units)
                 VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9::text::json, $10, $11, $12::text::json))
             {effect}"
        ),
        &[
            &Instant(cause.at),
            &kind,
            &part.as_str(),
            &depot.as_str(),
            &delta,
            &cause.ticket.map(|t| t.0),
            &serde_json::to_string(&cause.by)?,
            &key.as_ref().map(|k| k.key),
            &key.as_ref().map(|k| k.asked.as_str()),
            &cause.cost_centre,
            &cause.reason,
            &units_json,
        ],
    )
    .await?;
    if n == 0 {
        return Err(unreadable(format!(
            "{part} at {depot} is held but has no line of stock"
        )));
    }
    let other = other_place(kind, depot, cause.ticket, cause.cost_centre.as_deref());
    for unit in &units {
        let shelf = UnitPlace::Shelf(depot.clone());
        count_unit(tx, part, unit, &shelf, unit.delta, cause.at).await?;
        if let Some(other) = &other {
            count_unit(tx, part, unit, other, -unit.delta, cause.at).await?;
        }
    }
    Ok(())
}

/// So many more, or fewer, of these pieces at a place.
async fn count_unit(
    tx: &Transaction<'_>,
    part: &PartNumber,
    unit: &Unit,
    place: &UnitPlace,
    change: i64,
    at: Timestamp,
) -> Outcome<()> {
    let serial = unit.serial.as_ref().map_or("", SerialNumber::as_str);
    let batch = unit.batch.as_ref().map_or("", BatchNumber::as_str);
    // A text of people's: a cost centre.
    let key = text::storable(&place.key()).into_owned();
    let params: Params<'_> = &[&part.as_str(), &serial, &batch, &key];
    if change > 0 {
        let with: Params<'_> = &[&part.as_str(), &serial, &batch, &key, &change, &Instant(at)];
        execute(
            tx,
            "INSERT INTO units (part, serial, batch, place, quantity, since) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (part, serial, batch, place)
             DO UPDATE SET quantity = units.quantity + excluded.quantity, since = excluded.since",
            with,
        )
        .await?;
        return Ok(());
    }
    let with: Params<'_> = &[&part.as_str(), &serial, &batch, &key, &change];
    let n_found = execute(
        tx,
        "UPDATE units SET quantity = quantity + $5 WHERE part = $1 AND serial = $2 AND batch = $3 AND place = $4",
        with,
    )
    .await?;
    if n_found != 1 {
        return Err(unreadable(format!(
            "a piece of {part} is not in {key}, where it is taken from"
        )));
    }
    execute(
        tx,
        "DELETE FROM units WHERE part = $1 AND serial = $2 AND batch = $3 AND place = $4 AND quantity = 0",
        params,
    )
    .await?;
    Ok(())
}

fn read_unit(r: &Row) -> Outcome<UnitAt> {
    let place: &str = r.try_get(3)?;
    Ok(UnitAt {
        part: text::name(r, 0)?,
        serial: text::optional_name(r, 1)?,
        batch: text::optional_name(r, 2)?,
        place: UnitPlace::of_key(place).ok_or_else(|| {
            unreadable(format!("the place \"{place}\" of a part is not known here"))
        })?,
        quantity: text::count(r, 4)?,
        since: text::time(r, 5)?,
    })
}

const UNIT: &str =
    "SELECT part, nullif(serial, ''), nullif(batch, ''), place, quantity, since FROM units";

/// What is known of pieces of `part` at `places`, and of those with `serials`.
async fn units_known(
    tx: &Transaction<'_>,
    part: &PartNumber,
    places: &[UnitPlace],
    serials: &[SerialNumber],
) -> Outcome<Vec<UnitAt>> {
    let places: Vec<String> = places
        .iter()
        .map(|place| text::storable(&place.key()).into_owned())
        .collect();
    let serials: Vec<&str> = serials.iter().map(SerialNumber::as_str).collect();
    let sql = format!(
        "{UNIT} WHERE part = $1 AND (place = ANY($2) OR serial = ANY($3))
         ORDER BY units.part, units.serial, units.batch, units.place"
    );
    collect(tx, &sql, &[&part.as_str(), &places, &serials], read_unit).await
}

pub(crate) async fn units(tx: &Transaction<'_>, filter: &UnitFilter) -> Outcome<Vec<UnitAt>> {
    let (part, batch, serial, asset) = (
        filter.part.as_ref().map(PartNumber::as_str),
        filter.batch.as_ref().map(BatchNumber::as_str),
        filter.serial.as_ref().map(SerialNumber::as_str),
        filter.asset.as_ref().map(AssetId::as_str),
    );
    let asked = [
        (&part, "part = {}"),
        (&batch, "batch = {} AND batch <> ''"),
        (&serial, "serial = {} AND serial <> ''"),
        (
            &asset,
            "place IN (SELECT 'ticket:' || id FROM tickets WHERE asset = {})",
        ),
    ];
    // By name only where one is asked for: the planner takes the index of what is there.
    let (mut conditions, mut params) = (String::new(), Vec::new());
    for (value, sql) in &asked {
        if let Some(value) = value {
            params.push(value as &(dyn ToSql + Sync));
            let sql = sql.replace("{}", &format!("${}", params.len()));
            conditions += &format!(" AND {sql}");
        }
    }
    let sql = format!(
        "{UNIT} WHERE true{conditions}
         ORDER BY units.part, units.serial, units.batch, units.place LIMIT {UNITS_MAX}"
    );
    collect(tx, &sql, &params, read_unit).await
}

/// Which pieces of a tracked part are used.
async fn used_units(
    tx: &Transaction<'_>,
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
    let known = units_known(tx, &r.part, &places, &marks.serials).await?;
    let on_hand = match from {
        Some(depot) => item(tx, &r.part, depot).await?.on_hand,
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
pub(crate) async fn check_named(
    tx: &Transaction<'_>,
    ticket: TicketId,
    named: &BTreeMap<PartNumber, Marks>,
) -> Outcome<()> {
    for (part, left) in named {
        let places = [UnitPlace::Ticket(ticket)];
        let known = units_known(tx, part, &places, &left.serials).await?;
        check_left(part, left, ticket, &known).map_err(StoreError::from)?;
    }
    Ok(())
}

/// Number of the newest reservation; 0: there is none.
pub(crate) async fn last_reservation(tx: &Transaction<'_>) -> Outcome<ReservationId> {
    let sql = "SELECT coalesce(max(id), 0) FROM reservations";
    let last = collect(tx, sql, &[], |r| Ok(ReservationId(r.try_get(0)?))).await?;
    Ok(last.into_iter().next().unwrap_or(ReservationId(0)))
}

/// Tells of parts that come late, of all reservations after `last`.
pub(crate) async fn tell_short(
    tx: &Transaction<'_>,
    last: ReservationId,
    at: Timestamp,
) -> Outcome<()> {
    let mut by_ticket: BTreeMap<TicketId, Vec<Reservation>> = BTreeMap::new();
    for new in reservations_where(tx, "id > $1", &[&last.0]).await? {
        by_ticket.entry(new.ticket).or_default().push(new);
    }
    for (id, new) in by_ticket {
        let short = parts_short(&query::ticket(tx, id).await?, &new, at);
        outbox::write(tx, short.as_slice()).await?;
    }
    Ok(())
}

/// Reserves for `ticket`. Holds that are pre-empted are released, and their tickets served anew.
pub(crate) async fn reserve(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    ticket: TicketId,
    need: &Need,
    at: Timestamp,
) -> Outcome<()> {
    let condition =
        "live AND part = ANY($1) AND depot = $2 AND state = 'soft' AND supply = 'stock'";
    let line: Vec<&str> = catalogue
        .line(&need.part)
        .iter()
        .map(|p| p.as_str())
        .collect();
    let params: Params<'_> = &[&line, &need.depot.as_str()];
    let mut soft = reservations_where(tx, condition, params).await?;
    let plan = plan(tx, catalogue, need, &soft, at).await?;
    if !plan.preempted.is_empty() {
        let ids: Vec<i64> = plan.preempted.iter().map(|id| id.0).collect();
        let released = ReservationState::Released;
        execute(
            tx,
            "UPDATE reservations SET state = $2, live = $3 WHERE id = ANY($1)",
            &[&ids, &released.label(), &released.is_live()],
        )
        .await?;
    }
    insert(tx, ticket, need, &plan, at).await?;
    soft.retain(|r| plan.preempted.contains(&r.id));
    for victim in &soft {
        let again = need_of_victim(catalogue, victim, need);
        let plan = self::plan(tx, catalogue, &again, &[], at).await?;
        insert(tx, victim.ticket, &again, &plan, at).await?;
    }
    let freed: BTreeSet<&PartNumber> = soft.iter().map(|victim| &victim.part).collect();
    for part in freed {
        serve_back_orders(tx, catalogue, part, &need.depot, at).await?;
    }
    Ok(())
}

async fn plan(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    need: &Need,
    preemptible: &[Reservation],
    at: Timestamp,
) -> Outcome<AllocationPlan> {
    let choices = catalogue.choices(&need.part);
    let parts: Vec<&str> = choices.iter().map(|c| c.part.as_str()).collect();
    let known = items(tx, "part = ANY($1)", &[&parts]).await?;
    let known = |part: &PartNumber| -> Result<_, Infallible> {
        Ok(known.iter().filter(|i| i.part == *part).cloned().collect())
    };
    let Ok(offers) = offers(catalogue, need, known);
    Ok(allocate(need, &offers, &catalogue.depots, preemptible, at))
}

async fn insert(
    tx: &Transaction<'_>,
    ticket: TicketId,
    need: &Need,
    plan: &AllocationPlan,
    at: Timestamp,
) -> Outcome<()> {
    for a in &plan.allocations {
        write(tx, &a.reservation(ticket, need, at)).await?;
    }
    Ok(())
}

/// Writes a reservation under the next number.
async fn write(tx: &Transaction<'_>, r: &Reservation) -> Outcome<()> {
    let (supply, depot, to) = match &r.supply {
        Supply::Stock { depot } => ("stock", depot, None),
        Supply::Transfer { from, to } => ("transfer", from, Some(to.as_str())),
        Supply::BackOrder { to } => ("back_order", to, None),
    };
    execute(
        tx,
        "INSERT INTO reservations (id, ticket, priority, part, quantity, used, state, live, supply, depot,
             transfer_to, reserved_at, needed_at, available_at, expires_at, instead_of)
         VALUES ((SELECT coalesce(max(id), 0) + 1 FROM reservations),
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        &[
            &r.ticket.0,
            &text::priority(r.priority),
            &r.part.as_str(),
            &i64::from(r.quantity),
            &i64::from(r.used),
            &r.state.label(),
            &r.state.is_live(),
            &supply,
            &depot.as_str(),
            &to,
            &Instant(r.reserved_at),
            &Instant(r.needed_at),
            &Instant(r.available_at),
            &Instant(r.expires_at),
            &r.instead_of.as_ref().map(PartNumber::as_str),
        ],
    )
    .await?;
    Ok(())
}

/// Brings `r` into `state` with `used` parts used in all, and books what that means.
pub(crate) async fn turn(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    r: &Reservation,
    state: ReservationState,
    used: u32,
    cause: &Cause,
    named: &mut BTreeMap<PartNumber, Marks>,
) -> Outcome<()> {
    let newly_used = used.saturating_sub(r.used);
    let units = used_units(tx, catalogue, r, newly_used, cause, named).await?;
    execute(
        tx,
        "UPDATE reservations SET used = $2, state = $3, live = $4 WHERE id = $1",
        &[&r.id.0, &i64::from(used), &state.label(), &state.is_live()],
    )
    .await?;
    if newly_used > 0 {
        for (kind, depot, delta) in use_lines(r, newly_used.into()) {
            book(tx, kind, &r.part, depot, delta, &units, cause, None).await?;
        }
    }
    match shelf_of(r) {
        Some(depot) if !state.is_live() => {
            serve_back_orders(tx, catalogue, &r.part, depot, cause.at).await
        }
        Some(_) | None => Ok(()),
    }
}

/// Makes a hold smaller; what becomes free goes to who waits for it.
pub(crate) async fn cut(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    id: ReservationId,
    keep: u32,
    at: Timestamp,
) -> Outcome<()> {
    let found = reservations_where(tx, "id = $1", &[&id.0]).await?;
    let Some(r) = found.first() else {
        return Err(StoreError::NotFound(format!("reservation {id}")).into());
    };
    let Some((quantity, state)) = cut_down(r, keep) else {
        return Ok(());
    };
    execute(
        tx,
        "UPDATE reservations SET quantity = $2, state = $3, live = $4 WHERE id = $1",
        &[
            &id.0,
            &i64::from(quantity),
            &state.label(),
            &state.is_live(),
        ],
    )
    .await?;
    match shelf_of(r) {
        Some(depot) => serve_back_orders(tx, catalogue, &r.part, depot, at).await,
        None => Ok(()),
    }
}

/// Gives free stock to those who wait at that depot, as [`served`] says.
async fn serve_back_orders(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    part: &PartNumber,
    depot: &DepotName,
    at: Timestamp,
) -> Outcome<()> {
    let relatives = catalogue.relatives(part);
    let relatives: Vec<&str> = relatives.iter().map(PartNumber::as_str).collect();
    let condition = "live AND part = ANY($1) AND depot = $2 AND supply = 'back_order'";
    let waiting = reservations_where(tx, condition, &[&relatives, &depot.as_str()]).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let free = item(tx, part, depot).await?.free();
    let served = served(catalogue, part, depot, free, waiting, at);
    let served: Vec<i64> = served.iter().map(|r| r.id.0).collect();
    execute(
        tx,
        "UPDATE reservations SET supply = 'stock', available_at = $2, part = $3,
             instead_of = nullif(coalesce(instead_of, part), $3)
         WHERE id = ANY($1)",
        &[&served, &Instant(at), &part.as_str()],
    )
    .await?;
    Ok(())
}
