//! Stock, its ledger, and what is reserved of it. Every function here is called under
//! [`lock_care`](crate::connection::lock_care).

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use forecare_care::{AllocationPlan, Balance, Need, allocate};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, DepotName, PartNumber, Reservation, ReservationId, ReservationState, Supply, TicketId,
    Timestamp,
};
use forecare_store::{StockCommand, StockItem, StockMove, initial_stock, need_of_victim};

use crate::fault::{Outcome, unreadable};
use crate::instant::Instant;
use crate::query::{Params, collect, execute, reservations_where};
use crate::text;

/// What a movement of stock is for, and by whom.
pub(crate) struct Cause {
    pub(crate) ticket: Option<TicketId>,
    pub(crate) by: Actor,
    pub(crate) at: Timestamp,
}

/// Books the catalogue's stock where that was not done before.
pub(crate) async fn book_initial(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Outcome<()> {
    for command in initial_stock(catalogue, now) {
        move_stock(tx, catalogue, &command).await?;
    }
    Ok(())
}

pub(crate) async fn move_stock(
    tx: &Transaction<'_>,
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
    let key = text::storable(idempotency_key);
    let before = item(tx, part, depot).await?;
    let sql = "SELECT 1 FROM ledger WHERE idempotency_key = $1";
    if !collect(tx, sql, &[&key], |_| Ok(())).await?.is_empty() {
        return Ok(before);
    }
    let delta = before.checked_move(catalogue, *kind, *quantity)?;
    let cause = Cause {
        ticket: None,
        by: by.clone(),
        at: *at,
    };
    let kind = match kind {
        StockMove::Receipt => "receipt",
        StockMove::Scrap => "scrap",
    };
    book(tx, kind, part, depot, delta, &cause, Some(&key)).await?;
    if delta > 0 {
        serve_back_orders(tx, part, depot, *at).await?;
    }
    item(tx, part, depot).await
}

/// Every part at every depot of the catalogue.
pub(crate) async fn stock(tx: &Transaction<'_>, catalogue: &Catalogue) -> Outcome<Vec<StockItem>> {
    let mut known = items(tx, "true", &[]).await?;
    let mut all = Vec::with_capacity(catalogue.parts.len() * catalogue.depots.len());
    for part in catalogue.parts.iter().map(|p| &p.number) {
        for depot in catalogue.depots.iter().map(|d| &d.name) {
            all.push(take(&mut known, part, depot));
        }
    }
    Ok(all)
}

type Items = HashMap<(PartNumber, DepotName), StockItem>;

/// The item, empty where nothing was ever booked or reserved of it.
fn take(known: &mut Items, part: &PartNumber, depot: &DepotName) -> StockItem {
    let key = (part.clone(), depot.clone());
    known.remove(&key).unwrap_or(StockItem {
        part: key.0,
        depot: key.1,
        on_hand: 0,
        soft: 0,
        hard: 0,
        back_ordered: 0,
    })
}

/// Stock that fulfils `condition` on part and depot, with what is held of it.
async fn items(tx: &Transaction<'_>, condition: &str, params: Params<'_>) -> Outcome<Items> {
    let sql = format!(
        "SELECT part, depot, sum(on_hand)::bigint, sum(soft)::bigint, sum(hard)::bigint, sum(back_ordered)::bigint
         FROM (
             SELECT part, depot, on_hand, 0 AS soft, 0 AS hard, 0 AS back_ordered
             FROM stock WHERE {condition}
             UNION ALL
             SELECT part, depot, 0,
                 CASE WHEN supply <> 'back_order' AND state = 'soft' THEN quantity - used ELSE 0 END,
                 CASE WHEN supply <> 'back_order' AND state <> 'soft' THEN quantity - used ELSE 0 END,
                 CASE WHEN supply = 'back_order' THEN quantity - used ELSE 0 END
             FROM reservations WHERE live AND {condition}
         ) AS line GROUP BY part, depot"
    );
    let found = collect(tx, &sql, params, |r| {
        Ok(StockItem {
            part: text::name(r, 0)?,
            depot: text::name(r, 1)?,
            on_hand: text::count(r, 2)?,
            soft: text::count(r, 3)?,
            hard: text::count(r, 4)?,
            back_ordered: text::count(r, 5)?,
        })
    })
    .await?;
    let keyed = found
        .into_iter()
        .map(|item| ((item.part.clone(), item.depot.clone()), item));
    Ok(keyed.collect())
}

/// Stock of `part` at `depot`, with what is held of it.
async fn item(tx: &Transaction<'_>, part: &PartNumber, depot: &DepotName) -> Outcome<StockItem> {
    let params: Params<'_> = &[&part.as_str(), &depot.as_str()];
    let mut known = items(tx, "part = $1 AND depot = $2", params).await?;
    Ok(take(&mut known, part, depot))
}

/// A line of the ledger and its effect on the shelf.
async fn book(
    tx: &Transaction<'_>,
    kind: &str,
    part: &PartNumber,
    depot: &DepotName,
    delta: i64,
    cause: &Cause,
    key: Option<&str>,
) -> Outcome<()> {
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
                 INSERT INTO ledger (at, kind, part, depot, delta, ticket, by, idempotency_key)
                 VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8))
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
            &key,
        ],
    )
    .await?;
    if n == 0 {
        return Err(unreadable(format!(
            "{part} at {depot} is held but has no line of stock"
        )));
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
    let condition = "live AND part = $1 AND depot = $2 AND state = 'soft' AND supply = 'stock'";
    let params: Params<'_> = &[&need.part.as_str(), &need.depot.as_str()];
    let soft = reservations_where(tx, condition, params).await?;
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
    for victim in soft.iter().filter(|r| plan.preempted.contains(&r.id)) {
        let again = need_of_victim(victim, need);
        let plan = self::plan(tx, catalogue, &again, &[], at).await?;
        insert(tx, victim.ticket, &again, &plan, at).await?;
    }
    if !plan.preempted.is_empty() {
        serve_back_orders(tx, &need.part, &need.depot, at).await?;
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
    let mut known = items(tx, "part = $1", &[&need.part.as_str()]).await?;
    let balances: Vec<Balance> = catalogue
        .depots
        .iter()
        .map(|depot| {
            let item = take(&mut known, &need.part, &depot.name);
            Balance {
                depot: item.depot,
                on_hand: item.on_hand,
                soft: item.soft,
                hard: item.hard,
            }
        })
        .collect();
    Ok(allocate(
        need,
        &balances,
        &catalogue.depots,
        preemptible,
        at,
    ))
}

async fn insert(
    tx: &Transaction<'_>,
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
        execute(
            tx,
            "INSERT INTO reservations (id, ticket, priority, part, quantity, used, state, live, supply, depot,
                 transfer_to, reserved_at, needed_at, available_at, expires_at)
             VALUES ((SELECT coalesce(max(id), 0) + 1 FROM reservations),
                 $1, $2, $3, $4, 0, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            &[
                &ticket.0,
                &text::priority(need.priority),
                &need.part.as_str(),
                &i64::from(a.quantity),
                &a.state.label(),
                &a.state.is_live(),
                &supply,
                &depot.as_str(),
                &to,
                &Instant(at),
                &Instant(need.needed_at),
                &Instant(a.available_at),
                &Instant(a.expires_at),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Brings `r` into `state` with `used` parts used in all, and books what that means.
pub(crate) async fn turn(
    tx: &Transaction<'_>,
    r: &Reservation,
    state: ReservationState,
    used: u32,
    cause: &Cause,
) -> Outcome<()> {
    execute(
        tx,
        "UPDATE reservations SET used = $2, state = $3, live = $4 WHERE id = $1",
        &[&r.id.0, &i64::from(used), &state.label(), &state.is_live()],
    )
    .await?;
    let n = i64::from(used) - i64::from(r.used);
    if n > 0 {
        let lines = match &r.supply {
            Supply::Stock { depot } => vec![("consumed", depot, -n)],
            Supply::Transfer { from, to } => vec![
                ("transfer_out", from, -n),
                ("transfer_in", to, n),
                ("consumed", to, -n),
            ],
            // Used before the store heard of its arrival: the supplier delivered to the site.
            Supply::BackOrder { to } => vec![("receipt", to, n), ("consumed", to, -n)],
        };
        for (kind, depot, delta) in lines {
            book(tx, kind, &r.part, depot, delta, cause, None).await?;
        }
    }
    match &r.supply {
        Supply::Stock { depot } | Supply::Transfer { from: depot, .. } if !state.is_live() => {
            serve_back_orders(tx, &r.part, depot, cause.at).await
        }
        Supply::Stock { .. } | Supply::Transfer { .. } | Supply::BackOrder { .. } => Ok(()),
    }
}

/// Gives free stock to those who wait for it at that depot, by priority, then age. One that the stock does
/// not suffice for is passed over.
async fn serve_back_orders(
    tx: &Transaction<'_>,
    part: &PartNumber,
    depot: &DepotName,
    at: Timestamp,
) -> Outcome<()> {
    let condition = "live AND part = $1 AND depot = $2 AND supply = 'back_order'";
    let params: Params<'_> = &[&part.as_str(), &depot.as_str()];
    let mut waiting = reservations_where(tx, condition, params).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let mut free = item(tx, part, depot).await?.free();
    waiting.sort_by_key(|r| (r.priority, r.reserved_at, r.id));
    let mut served: Vec<i64> = Vec::new();
    for r in waiting {
        let ReservationId(id) = r.id;
        let wanted = r.quantity - r.used;
        if wanted <= free {
            free -= wanted;
            served.push(id);
        }
    }
    execute(
        tx,
        "UPDATE reservations SET supply = 'stock', available_at = $2 WHERE id = ANY($1)",
        &[&served, &Instant(at)],
    )
    .await?;
    Ok(())
}
