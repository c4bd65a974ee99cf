//! Stock, its ledger, and what is reserved of it.

use forecare_care::{AllocationPlan, Balance, Need, allocate};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, DepotName, PartNumber, Reservation, ReservationState, Supply, TicketId, Timestamp,
};
use forecare_store::{StockCommand, StockItem, StockMove, initial_stock, need_of_victim};
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Outcome;
use crate::query::reservations_where;
use crate::text;

/// What a movement of stock is for, and by whom.
pub(crate) struct Cause {
    pub(crate) ticket: Option<TicketId>,
    pub(crate) by: Actor,
    pub(crate) at: Timestamp,
}

/// Books the catalogue's stock where that was not done before.
pub(crate) fn book_initial(
    conn: &Connection,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Outcome<()> {
    for command in initial_stock(catalogue, now) {
        move_stock(conn, catalogue, &command)?;
    }
    Ok(())
}

pub(crate) fn move_stock(
    conn: &Connection,
    catalogue: &Catalogue,
    command: &StockCommand,
) -> Outcome<StockItem> {
    let StockCommand {
        idempotency_key,
        kind,
        part,
        depot,
        quantity,
        by,
        at,
    } = command;
    let before = item(conn, part, depot)?;
    let mut seen = conn.prepare_cached("SELECT 1 FROM ledger WHERE idempotency_key = ?1")?;
    if seen.exists([idempotency_key])? {
        return Ok(before);
    }
    let delta = before.checked_move(catalogue, *kind, *quantity)?;
    let cause = Cause {
        ticket: None,
        by: by.clone(),
        at: *at,
    };
    match kind {
        StockMove::Receipt => {
            book(
                conn,
                "receipt",
                part,
                depot,
                delta,
                &cause,
                Some(idempotency_key),
            )?;
            serve_back_orders(conn, part, depot, *at)?;
        }
        StockMove::Scrap => book(
            conn,
            "scrap",
            part,
            depot,
            delta,
            &cause,
            Some(idempotency_key),
        )?,
    }
    item(conn, part, depot)
}

pub(crate) fn stock(conn: &Connection, catalogue: &Catalogue) -> Outcome<Vec<StockItem>> {
    let depots = || catalogue.depots.iter().map(|d| &d.name);
    let all = catalogue
        .parts
        .iter()
        .flat_map(|p| depots().map(|depot| (&p.number, depot)));
    all.map(|(part, depot)| item(conn, part, depot)).collect()
}

/// Stock of `part` at `depot`, with what is held of it.
fn item(conn: &Connection, part: &PartNumber, depot: &DepotName) -> Outcome<StockItem> {
    let on_hand: Option<i64> = conn
        .prepare_cached("SELECT on_hand FROM stock WHERE part = ?1 AND depot = ?2")?
        .query_row([part.as_str(), depot.as_str()], |r| r.get(0))
        .optional()?;
    let mut held = conn.prepare_cached(
        "SELECT
             coalesce(sum(quantity - used) FILTER (WHERE supply <> 'back_order' AND state = 'soft'), 0),
             coalesce(sum(quantity - used) FILTER (WHERE supply <> 'back_order' AND state <> 'soft'), 0),
             coalesce(sum(quantity - used) FILTER (WHERE supply = 'back_order'), 0)
         FROM reservations WHERE live = 1 AND part = ?1 AND depot = ?2",
    )?;
    let (soft, hard, back_ordered): (i64, i64, i64) = held
        .query_row([part.as_str(), depot.as_str()], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })?;
    let count = |n: i64| {
        u32::try_from(n)
            .ok()
            .ok_or_else(|| crate::fault::unreadable(format!("{n} of {part} at {depot}")))
    };
    Ok(StockItem {
        part: part.clone(),
        depot: depot.clone(),
        on_hand: count(on_hand.unwrap_or(0))?,
        soft: count(soft)?,
        hard: count(hard)?,
        back_ordered: count(back_ordered)?,
    })
}

/// A line of the ledger and its effect on the shelf.
fn book(
    conn: &Connection,
    kind: &str,
    part: &PartNumber,
    depot: &DepotName,
    delta: i64,
    cause: &Cause,
    key: Option<&str>,
) -> Outcome<()> {
    conn.prepare_cached(
        "INSERT INTO ledger (at, kind, part, depot, delta, ticket, by, idempotency_key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        cause.at.as_millis(),
        kind,
        part.as_str(),
        depot.as_str(),
        delta,
        cause.ticket.map(|t| t.0),
        serde_json::to_string(&cause.by)?,
        key
    ])?;
    // Not an upsert: its INSERT half would break the rule on_hand >= 0 for a negative delta.
    conn.prepare_cached("INSERT OR IGNORE INTO stock (part, depot, on_hand) VALUES (?1, ?2, 0)")?
        .execute([part.as_str(), depot.as_str()])?;
    conn.prepare_cached("UPDATE stock SET on_hand = on_hand + ?3 WHERE part = ?1 AND depot = ?2")?
        .execute(params![part.as_str(), depot.as_str(), delta])?;
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
    let soft = reservations_where(conn, condition, [need.part.as_str(), need.depot.as_str()])?;
    let plan = plan(conn, catalogue, need, &soft, at)?;
    for id in &plan.preempted {
        set_state(conn, id.0, ReservationState::Released)?;
    }
    insert(conn, ticket, need, &plan, at)?;
    for victim in soft.iter().filter(|r| plan.preempted.contains(&r.id)) {
        let again = need_of_victim(victim, need);
        let plan = self::plan(conn, catalogue, &again, &[], at)?;
        insert(conn, victim.ticket, &again, &plan, at)?;
    }
    if !plan.preempted.is_empty() {
        serve_back_orders(conn, &need.part, &need.depot, at)?;
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
    let mut balances = Vec::with_capacity(catalogue.depots.len());
    for depot in &catalogue.depots {
        let item = item(conn, &need.part, &depot.name)?;
        balances.push(Balance {
            depot: item.depot,
            on_hand: item.on_hand,
            soft: item.soft,
            hard: item.hard,
        });
    }
    Ok(allocate(
        need,
        &balances,
        &catalogue.depots,
        preemptible,
        at,
    ))
}

fn insert(
    conn: &Connection,
    ticket: TicketId,
    need: &Need,
    plan: &AllocationPlan,
    at: Timestamp,
) -> Outcome<()> {
    for a in &plan.allocations {
        let (supply, depot, to) = match &a.supply {
            Supply::Stock { depot } => ("stock", depot, None),
            Supply::Transfer { from, to } => ("transfer", from, Some(to.as_str())),
            Supply::BackOrder { to } => ("back_order", to, None),
        };
        conn.prepare_cached(
            "INSERT INTO reservations (id, ticket, priority, part, quantity, used, state, live, supply, depot,
                 transfer_to, reserved_at, needed_at, available_at, expires_at)
             VALUES ((SELECT coalesce(max(id), 0) + 1 FROM reservations),
                 ?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            ticket.0,
            text::priority(need.priority),
            need.part.as_str(),
            a.quantity,
            a.state.label(),
            a.state.is_live(),
            supply,
            depot.as_str(),
            to,
            at.as_millis(),
            need.needed_at.as_millis(),
            a.available_at.as_millis(),
            a.expires_at.as_millis()
        ])?;
    }
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
    r: &Reservation,
    state: ReservationState,
    used: u32,
    cause: &Cause,
) -> Outcome<()> {
    conn.prepare_cached("UPDATE reservations SET used = ?2 WHERE id = ?1")?
        .execute(params![r.id.0, used])?;
    set_state(conn, r.id.0, state)?;
    let n = i64::from(used) - i64::from(r.used);
    let book = |kind, depot, delta| book(conn, kind, &r.part, depot, delta, cause, None);
    if n > 0 {
        match &r.supply {
            Supply::Stock { depot } => book("consumed", depot, -n)?,
            Supply::Transfer { from, to } => {
                book("transfer_out", from, -n)?;
                book("transfer_in", to, n)?;
                book("consumed", to, -n)?;
            }
            // Used before the store heard of its arrival: the supplier delivered to the site.
            Supply::BackOrder { to } => {
                book("receipt", to, n)?;
                book("consumed", to, -n)?;
            }
        }
    }
    match &r.supply {
        Supply::Stock { depot } | Supply::Transfer { from: depot, .. } if !state.is_live() => {
            serve_back_orders(conn, &r.part, depot, cause.at)
        }
        Supply::Stock { .. } | Supply::Transfer { .. } | Supply::BackOrder { .. } => Ok(()),
    }
}

/// Gives free stock to those who wait for it at that depot, by priority, then age. One that the stock does
/// not suffice for is passed over.
fn serve_back_orders(
    conn: &Connection,
    part: &PartNumber,
    depot: &DepotName,
    at: Timestamp,
) -> Outcome<()> {
    let mut free = item(conn, part, depot)?.free();
    let condition = "live = 1 AND part = ?1 AND depot = ?2 AND supply = 'back_order'";
    let mut waiting = reservations_where(conn, condition, [part.as_str(), depot.as_str()])?;
    waiting.sort_by_key(|r| (r.priority, r.reserved_at, r.id));
    for r in waiting {
        let wanted = r.quantity - r.used;
        if wanted <= free {
            free -= wanted;
            conn.prepare_cached(
                "UPDATE reservations SET supply = 'stock', available_at = ?2 WHERE id = ?1",
            )?
            .execute([r.id.0, at.as_millis()])?;
        }
    }
    Ok(())
}
