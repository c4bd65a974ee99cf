//! Reading records back: pages and lists.

use deadpool_postgres::Transaction;
use forecare_domain::{
    Actor, Alarm, AlarmId, AssetHealth, CareTask, Decision, DeviceEvent, DeviceId, Label,
    RejectReason, Rejection, Reservation, ReservationId, Supply, TaskId, Ticket, TicketEntry,
    TicketId, Timestamp,
};
use forecare_store::{
    AlarmFilter, Checkpoint, Conflict, DeadLetter, EventRecord, LedgerEntry, PAGE_ENTRIES_MAX,
    PageRequest, Paged, ReservationFilter, StoreError, TicketFilter,
};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::fault::{Outcome, unreadable};
use crate::instant::Instant;
use crate::text;

/// Values of a statement's places.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Runs a query and turns each row into a value.
pub(crate) async fn collect<T>(
    tx: &Transaction<'_>,
    sql: &str,
    params: Params<'_>,
    read: impl Fn(&Row) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    let statement = tx.prepare_cached(sql).await?;
    tx.query(&statement, params)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Runs a statement; returns the number of rows it changed.
pub(crate) async fn execute(tx: &Transaction<'_>, sql: &str, params: Params<'_>) -> Outcome<u64> {
    let statement = tx.prepare_cached(sql).await?;
    Ok(tx.execute(&statement, params).await?)
}

/// A condition of a page: an expression that is true or false, or one that ends in `=` and its value.
pub(crate) type Term = (&'static str, Option<Box<dyn ToSql + Sync + Send>>);

/// A page, newest first: `select` has no WHERE, `key` is the position and its first column.
pub(crate) async fn page<T>(
    tx: &Transaction<'_>,
    select: &str,
    key: &str,
    terms: Vec<Term>,
    request: PageRequest,
    read: impl Fn(&Row) -> Outcome<T>,
) -> Outcome<Vec<Paged<T>>> {
    let before = request.before.unwrap_or(i64::MAX);
    let limit = i64::try_from(request.limit.clamp(1, PAGE_ENTRIES_MAX)).unwrap_or(1);
    let mut sql = format!("{select} WHERE {key} < $1");
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&before, &limit];
    for (term, value) in &terms {
        sql.push_str(" AND ");
        sql.push_str(term);
        if let Some(value) = value {
            params.push(&**value);
            sql.push_str(&format!(" ${}", params.len()));
        }
    }
    sql.push_str(&format!(" ORDER BY {key} DESC LIMIT $2"));
    collect(tx, &sql, &params, |r| {
        Ok(Paged {
            position: r.try_get(0)?,
            item: read(r)?,
        })
    })
    .await
}

pub(crate) fn body<T: serde::de::DeserializeOwned>(row: &Row, column: usize) -> Outcome<T> {
    Ok(serde_json::from_str(row.try_get(column)?)?)
}

fn device_term(device: Option<&DeviceId>) -> Vec<Term> {
    let term = |d: &DeviceId| -> Term { ("device =", Some(Box::new(d.as_str().to_owned()))) };
    device.map(term).into_iter().collect()
}

pub(crate) async fn checkpoints(tx: &Transaction<'_>) -> Outcome<Vec<Checkpoint>> {
    let sql = "SELECT device, watermark, state FROM checkpoints ORDER BY device COLLATE \"C\"";
    collect(tx, sql, &[], |r| {
        Ok(Checkpoint {
            device: text::name(r, 0)?,
            watermark: text::time(r, 1)?,
            state: r.try_get(2)?,
        })
    })
    .await
}

pub(crate) async fn health(tx: &Transaction<'_>) -> Outcome<Vec<AssetHealth>> {
    let sql = "SELECT body::text FROM health ORDER BY device COLLATE \"C\"";
    collect(tx, sql, &[], |r| body(r, 0)).await
}

pub(crate) async fn health_of(
    tx: &Transaction<'_>,
    device: &DeviceId,
) -> Outcome<Option<AssetHealth>> {
    let sql = "SELECT body::text FROM health WHERE device = $1";
    let found = collect(tx, sql, &[&device.as_str()], |r| body(r, 0)).await?;
    Ok(found.into_iter().next())
}

pub(crate) async fn next_tasks(
    tx: &Transaction<'_>,
    limit: usize,
) -> Outcome<Vec<(TaskId, CareTask)>> {
    let limit = i64::try_from(limit.clamp(1, PAGE_ENTRIES_MAX)).unwrap_or(1);
    let sql = "SELECT seq, body::text FROM care_tasks ORDER BY seq LIMIT $1";
    collect(tx, sql, &[&limit], |r| {
        Ok((TaskId(r.try_get(0)?), body(r, 1)?))
    })
    .await
}

const ALARM: &str = "SELECT seq, body::text, acknowledged_at IS NOT NULL FROM alarms";

fn read_alarm(r: &Row) -> Outcome<Alarm> {
    Ok(Alarm {
        acknowledged: r.try_get(2)?,
        ..body(r, 1)?
    })
}

pub(crate) async fn alarms(
    tx: &Transaction<'_>,
    filter: &AlarmFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Alarm>>> {
    let mut terms = device_term(filter.device.as_ref());
    terms.extend(
        filter
            .active
            .map(|active| -> Term { (if active { "active" } else { "NOT active" }, None) }),
    );
    page(tx, ALARM, "seq", terms, request, read_alarm).await
}

pub(crate) async fn alarm(tx: &Transaction<'_>, id: &AlarmId) -> Outcome<Alarm> {
    let sql = format!("{ALARM} WHERE id = $1");
    let found = collect(tx, &sql, &[&text::storable(&id.0)], read_alarm).await?;
    Ok(found
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::NotFound(format!("alarm {id}")))?)
}

/// Marks an episode as seen; the first to see it stays on record.
pub(crate) async fn acknowledge(
    tx: &Transaction<'_>,
    id: &AlarmId,
    by: &Actor,
    at: Timestamp,
) -> Outcome<Alarm> {
    execute(
        tx,
        "UPDATE alarms SET acknowledged_by = $2, acknowledged_at = $3 WHERE id = $1 AND acknowledged_at IS NULL",
        &[&text::storable(&id.0), &text::storable(&by.name), &Instant(at)],
    )
    .await?;
    alarm(tx, id).await
}

pub(crate) async fn events(
    tx: &Transaction<'_>,
    device: Option<&DeviceId>,
    request: PageRequest,
) -> Outcome<Vec<EventRecord>> {
    let select =
        "SELECT seq, device, ts, code, severity, nullif(component, ''), message FROM events";
    page(tx, select, "seq", device_term(device), request, |r| {
        Ok(DeviceEvent {
            device: text::name(r, 1)?,
            ts: text::time(r, 2)?,
            code: r.try_get(3)?,
            severity: text::to_event_severity(r.try_get(4)?)?,
            component: text::optional_name(r, 5)?,
            message: r.try_get(6)?,
        })
    })
    .await
}

pub(crate) async fn dead_letters(
    tx: &Transaction<'_>,
    reason: Option<RejectReason>,
    request: PageRequest,
) -> Outcome<Vec<DeadLetter>> {
    let select =
        "SELECT seq, received_at, topic, reason, detail, payload, payload_bytes FROM dead_letters";
    let term = |r: RejectReason| -> Term { ("reason =", Some(Box::new(r.label()))) };
    let terms = reason.map(term).into_iter().collect();
    page(tx, select, "seq", terms, request, |r| {
        Ok(Rejection {
            received_at: text::time(r, 1)?,
            topic: r.try_get(2)?,
            reason: text::to_reason(r.try_get(3)?)?,
            detail: r.try_get(4)?,
            payload: r.try_get(5)?,
            payload_bytes: text::count(r, 6)?,
        })
    })
    .await
}

pub(crate) async fn rejection_counts(tx: &Transaction<'_>) -> Outcome<Vec<(RejectReason, u64)>> {
    let sql = "SELECT reason, n FROM rejection_counts";
    let mut counts = collect(tx, sql, &[], |r| {
        Ok((text::to_reason(r.try_get(0)?)?, text::count(r, 1)?))
    })
    .await?;
    counts.sort_unstable();
    Ok(counts)
}

pub(crate) async fn conflicts(
    tx: &Transaction<'_>,
    request: PageRequest,
) -> Outcome<Vec<Paged<Conflict>>> {
    let select = "SELECT seq, device, metric, ts, stored, refused FROM conflicts";
    page(tx, select, "seq", Vec::new(), request, |r| {
        Ok(Conflict {
            device: text::name(r, 1)?,
            metric: text::name(r, 2)?,
            ts: text::time(r, 3)?,
            stored: r.try_get(4)?,
            refused: r.try_get(5)?,
        })
    })
    .await
}

const TICKET: &str = "SELECT id, version, body::text FROM tickets";

fn read_ticket(r: &Row) -> Outcome<Ticket> {
    Ok(Ticket {
        id: TicketId(r.try_get(0)?),
        version: r.try_get(1)?,
        ..body(r, 2)?
    })
}

pub(crate) async fn tickets(
    tx: &Transaction<'_>,
    filter: &TicketFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Ticket>>> {
    let mut terms: Vec<Term> = Vec::new();
    if let Some(asset) = &filter.asset {
        terms.push(("asset =", Some(Box::new(asset.as_str().to_owned()))));
    }
    if let Some(open) = filter.open {
        terms.push((if open { "open" } else { "NOT open" }, None));
    }
    if let Some(parent) = filter.parent {
        terms.push(("parent =", Some(Box::new(parent.0))));
    }
    if let Some(key) = &filter.opening_key {
        let key = text::storable(key).into_owned();
        terms.push(("opening_key =", Some(Box::new(key))));
    }
    if filter.unfinished {
        terms.push(("NOT finished", None));
    }
    page(tx, TICKET, "id", terms, request, read_ticket).await
}

pub(crate) async fn ticket(tx: &Transaction<'_>, id: TicketId) -> Outcome<Ticket> {
    let found = ticket_if_there(tx, id).await?;
    Ok(found.ok_or_else(|| StoreError::NotFound(format!("ticket {id}")))?)
}

pub(crate) async fn ticket_if_there(tx: &Transaction<'_>, id: TicketId) -> Outcome<Option<Ticket>> {
    let sql = format!("{TICKET} WHERE id = $1");
    let found = collect(tx, &sql, &[&id.0], read_ticket).await?;
    Ok(found.into_iter().next())
}

pub(crate) async fn ticket_entries(
    tx: &Transaction<'_>,
    ticket: TicketId,
    request: PageRequest,
) -> Outcome<Vec<Paged<TicketEntry>>> {
    let terms: Vec<Term> = vec![("ticket =", Some(Box::new(ticket.0)))];
    let select = "SELECT seq, body::text FROM ticket_entries";
    page(tx, select, "seq", terms, request, |r| body(r, 1)).await
}

pub(crate) async fn entries(
    tx: &Transaction<'_>,
    request: PageRequest,
) -> Outcome<Vec<Paged<(TicketId, TicketEntry)>>> {
    let select = "SELECT seq, ticket, body::text FROM ticket_entries";
    page(tx, select, "seq", Vec::new(), request, |r| {
        Ok((TicketId(r.try_get(1)?), body(r, 2)?))
    })
    .await
}

pub(crate) async fn minutes_booked(tx: &Transaction<'_>) -> Outcome<Vec<(TicketId, u64)>> {
    collect(
        tx,
        "SELECT ticket, sum((body->'body'->>'minutes')::bigint)::bigint FROM ticket_entries
         WHERE body->'body'->>'entry' = 'time' GROUP BY ticket",
        &[],
        |r| {
            let minutes: i64 = r.try_get(1)?;
            Ok((TicketId(r.try_get(0)?), u64::try_from(minutes).unwrap_or(0)))
        },
    )
    .await
}

pub(crate) async fn attachment(
    tx: &Transaction<'_>,
    ticket: TicketId,
    position: i64,
) -> Outcome<(TicketEntry, Vec<u8>)> {
    let found = collect(
        tx,
        "SELECT e.body::text, a.content FROM ticket_entries e JOIN attachments a ON a.entry = e.seq
         WHERE e.seq = $1 AND e.ticket = $2",
        &[&position, &ticket.0],
        |r| Ok((body(r, 0)?, r.try_get(1)?)),
    )
    .await?;
    Ok(found
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::no_attachment(ticket, position))?)
}

const RESERVATION: &str =
    "SELECT id, ticket, priority, part, quantity, used, state, supply, depot, transfer_to,
     reserved_at, needed_at, available_at, expires_at, instead_of FROM reservations";

fn read_reservation(r: &Row) -> Outcome<Reservation> {
    let depot = text::name(r, 8)?;
    let supply = match (r.try_get(7)?, text::optional_name(r, 9)?) {
        ("stock", None) => Supply::Stock { depot },
        ("transfer", Some(to)) => Supply::Transfer { from: depot, to },
        ("back_order", None) => Supply::BackOrder { to: depot },
        (supply, _) => {
            return Err(unreadable(format!(
                "supply \"{supply}\" of a reservation is not known here"
            )));
        }
    };
    Ok(Reservation {
        id: ReservationId(r.try_get(0)?),
        ticket: TicketId(r.try_get(1)?),
        priority: text::to_priority(r.try_get(2)?)?,
        part: text::name(r, 3)?,
        instead_of: text::optional_name(r, 14)?,
        quantity: text::count(r, 4)?,
        used: text::count(r, 5)?,
        supply,
        state: text::to_reservation_state(r.try_get(6)?)?,
        reserved_at: text::time(r, 10)?,
        needed_at: text::time(r, 11)?,
        available_at: text::time(r, 12)?,
        expires_at: text::time(r, 13)?,
    })
}

/// Reservations that fulfil `condition`, oldest first.
pub(crate) async fn reservations_where(
    tx: &Transaction<'_>,
    condition: &str,
    params: Params<'_>,
) -> Outcome<Vec<Reservation>> {
    let sql = format!("{RESERVATION} WHERE {condition} ORDER BY id");
    collect(tx, &sql, params, read_reservation).await
}

pub(crate) async fn reservations(
    tx: &Transaction<'_>,
    filter: &ReservationFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Reservation>>> {
    let mut terms: Vec<Term> = Vec::new();
    if let Some(ticket) = filter.ticket {
        terms.push(("ticket =", Some(Box::new(ticket.0))));
    }
    if filter.live {
        terms.push(("live", None));
    }
    page(tx, RESERVATION, "id", terms, request, read_reservation).await
}

const LEDGER: &str =
    "SELECT seq, at, kind, part, depot, delta, ticket, by::text, cost_centre, reason, units::text
     FROM ledger";

fn read_line(r: &Row) -> Outcome<LedgerEntry> {
    Ok(LedgerEntry {
        at: text::time(r, 1)?,
        kind: r.try_get(2)?,
        part: text::name(r, 3)?,
        depot: text::name(r, 4)?,
        delta: r.try_get(5)?,
        units: match r.try_get::<_, Option<&str>>(10)? {
            Some(text) => serde_json::from_str(text)?,
            None => Vec::new(),
        },
        ticket: r.try_get::<_, Option<i64>>(6)?.map(TicketId),
        cost_centre: r.try_get(8)?,
        reason: r.try_get(9)?,
        by: body(r, 7)?,
    })
}

pub(crate) async fn ledger(
    tx: &Transaction<'_>,
    request: PageRequest,
) -> Outcome<Vec<Paged<LedgerEntry>>> {
    page(tx, LEDGER, "seq", Vec::new(), request, read_line).await
}

pub(crate) async fn ledger_of(tx: &Transaction<'_>, ticket: TicketId) -> Outcome<Vec<LedgerEntry>> {
    let sql = format!("{LEDGER} WHERE ticket = $1 ORDER BY seq");
    collect(tx, &sql, &[&ticket.0], read_line).await
}

pub(crate) async fn labels(
    tx: &Transaction<'_>,
    request: PageRequest,
) -> Outcome<Vec<Paged<Label>>> {
    let select = "SELECT seq, body::text FROM labels";
    page(tx, select, "seq", Vec::new(), request, |r| body(r, 1)).await
}

pub(crate) async fn decisions(
    tx: &Transaction<'_>,
    device: Option<&DeviceId>,
    request: PageRequest,
) -> Outcome<Vec<Paged<Decision>>> {
    let select = "SELECT seq, body::text FROM decisions";
    page(tx, select, "seq", device_term(device), request, |r| {
        body(r, 1)
    })
    .await
}

/// The number of the class of `device` and its own number, where it has ever been registered.
pub(crate) async fn device(tx: &Transaction<'_>, device: &DeviceId) -> Outcome<Option<(i32, i32)>> {
    let sql = "SELECT class_no, device_no FROM devices WHERE name = $1";
    let found = collect(tx, sql, &[&device.as_str()], |r| {
        Ok((r.try_get(0)?, r.try_get(1)?))
    })
    .await?;
    Ok(found.into_iter().next())
}
