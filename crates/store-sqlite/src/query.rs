//! Reading records back: pages and lists.

use forecare_domain::{
    Alarm, AlarmId, AssetHealth, CareTask, Decision, DeviceEvent, DeviceId, Label, RejectReason,
    Rejection, Reservation, ReservationId, Supply, TaskId, Ticket, TicketEntry, TicketId,
};
use forecare_store::{
    AlarmFilter, Checkpoint, Conflict, DeadLetter, EventRecord, LedgerEntry, PAGE_ENTRIES_MAX,
    PageRequest, Paged, ReservationFilter, StoreError, TicketFilter,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params_from_iter};

use crate::fault::{Outcome, unreadable};
use crate::text;

/// Runs a query and turns each row into a value.
pub(crate) fn collect<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut values = Vec::new();
    while let Some(row) = rows.next()? {
        values.push(read(row)?);
    }
    Ok(values)
}

/// A page, newest first: `select` has no WHERE, `key` is the position and its first column, `terms` are
/// conditions with the value of their one place.
pub(crate) fn page<T>(
    conn: &Connection,
    select: &str,
    key: &str,
    terms: Vec<(&str, Value)>,
    request: PageRequest,
    mut read: impl FnMut(&Row<'_>) -> Outcome<T>,
) -> Outcome<Vec<Paged<T>>> {
    let mut sql = format!("{select} WHERE {key} < ?");
    let mut values = vec![Value::Integer(request.before.unwrap_or(i64::MAX))];
    for (term, value) in terms {
        sql.push_str(" AND ");
        sql.push_str(term);
        values.push(value);
    }
    sql.push_str(&format!(" ORDER BY {key} DESC LIMIT ?"));
    let limit = request.limit.clamp(1, PAGE_ENTRIES_MAX);
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(1)));
    collect(conn, &sql, params_from_iter(values), |r| {
        Ok(Paged {
            position: r.get(0)?,
            item: read(r)?,
        })
    })
}

pub(crate) fn body<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Outcome<T> {
    let text: String = row.get(column)?;
    Ok(serde_json::from_str(&text)?)
}

fn device_term(device: Option<&DeviceId>) -> Vec<(&'static str, Value)> {
    device
        .map(|d| ("device = ?", Value::Text(d.as_str().to_owned())))
        .into_iter()
        .collect()
}

pub(crate) fn checkpoints(conn: &Connection) -> Outcome<Vec<Checkpoint>> {
    collect(
        conn,
        "SELECT device, watermark, state FROM checkpoints ORDER BY device",
        [],
        |r| {
            Ok(Checkpoint {
                device: text::name(r, 0)?,
                watermark: text::time(r, 1)?,
                state: r.get(2)?,
            })
        },
    )
}

pub(crate) fn health(conn: &Connection) -> Outcome<Vec<AssetHealth>> {
    collect(conn, "SELECT body FROM health ORDER BY device", [], |r| {
        body(r, 0)
    })
}

pub(crate) fn health_of(conn: &Connection, device: &DeviceId) -> Outcome<Option<AssetHealth>> {
    let sql = "SELECT body FROM health WHERE device = ?1";
    let found = collect(conn, sql, [device.as_str()], |r| body(r, 0))?;
    Ok(found.into_iter().next())
}

pub(crate) fn next_tasks(conn: &Connection, limit: usize) -> Outcome<Vec<(TaskId, CareTask)>> {
    let limit = i64::try_from(limit.clamp(1, PAGE_ENTRIES_MAX)).unwrap_or(1);
    collect(
        conn,
        "SELECT seq, body FROM care_tasks ORDER BY seq LIMIT ?1",
        [limit],
        |r| Ok((TaskId(r.get(0)?), body(r, 1)?)),
    )
}

const ALARM: &str = "SELECT seq, body, acknowledged_at IS NOT NULL FROM alarms";

fn read_alarm(r: &Row<'_>) -> Outcome<Alarm> {
    Ok(Alarm {
        acknowledged: r.get(2)?,
        ..body(r, 1)?
    })
}

pub(crate) fn alarms(
    conn: &Connection,
    filter: &AlarmFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Alarm>>> {
    let mut terms = device_term(filter.device.as_ref());
    // Literal, so that the index over the active ones serves.
    match filter.active {
        Some(true) => terms.push(("active = 1 AND 1 = ?", Value::Integer(1))),
        Some(false) => terms.push(("active = 0 AND 1 = ?", Value::Integer(1))),
        None => {}
    }
    page(conn, ALARM, "seq", terms, request, read_alarm)
}

pub(crate) fn alarm(conn: &Connection, id: &AlarmId) -> Outcome<Alarm> {
    let found = collect(conn, &format!("{ALARM} WHERE id = ?1"), [&id.0], read_alarm)?;
    Ok(found
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::NotFound(format!("alarm {id}")))?)
}

pub(crate) fn events(
    conn: &Connection,
    device: Option<&DeviceId>,
    request: PageRequest,
) -> Outcome<Vec<EventRecord>> {
    let select =
        "SELECT seq, device, ts, code, severity, nullif(component, ''), message FROM events";
    page(conn, select, "seq", device_term(device), request, |r| {
        let severity: String = r.get(4)?;
        Ok(DeviceEvent {
            device: text::name(r, 1)?,
            ts: text::time(r, 2)?,
            code: r.get(3)?,
            severity: text::to_event_severity(&severity)?,
            component: text::optional_name(r, 5)?,
            message: r.get(6)?,
        })
    })
}

pub(crate) fn dead_letters(
    conn: &Connection,
    reason: Option<RejectReason>,
    request: PageRequest,
) -> Outcome<Vec<DeadLetter>> {
    let select =
        "SELECT seq, received_at, topic, reason, detail, payload, payload_bytes FROM dead_letters";
    let terms = reason
        .map(|r| ("reason = ?", Value::Text(r.label().to_owned())))
        .into_iter()
        .collect();
    page(conn, select, "seq", terms, request, |r| {
        let reason: String = r.get(3)?;
        Ok(Rejection {
            received_at: text::time(r, 1)?,
            topic: r.get(2)?,
            reason: text::to_reason(&reason)?,
            detail: r.get(4)?,
            payload: r.get(5)?,
            payload_bytes: text::count(r, 6)?,
        })
    })
}

pub(crate) fn rejection_counts(conn: &Connection) -> Outcome<Vec<(RejectReason, u64)>> {
    let mut counts = collect(conn, "SELECT reason, n FROM rejection_counts", [], |r| {
        let reason: String = r.get(0)?;
        Ok((text::to_reason(&reason)?, text::count(r, 1)?))
    })?;
    counts.sort_unstable();
    Ok(counts)
}

pub(crate) fn conflicts(conn: &Connection, request: PageRequest) -> Outcome<Vec<Paged<Conflict>>> {
    let select = "SELECT seq, device, metric, ts, stored, refused FROM conflicts";
    page(conn, select, "seq", Vec::new(), request, |r| {
        Ok(Conflict {
            device: text::name(r, 1)?,
            metric: text::name(r, 2)?,
            ts: text::time(r, 3)?,
            stored: r.get(4)?,
            refused: r.get(5)?,
        })
    })
}

const TICKET: &str = "SELECT id, version, body FROM tickets";

fn read_ticket(r: &Row<'_>) -> Outcome<Ticket> {
    Ok(Ticket {
        id: TicketId(r.get(0)?),
        version: r.get(1)?,
        ..body(r, 2)?
    })
}

pub(crate) fn tickets(
    conn: &Connection,
    filter: &TicketFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Ticket>>> {
    let mut terms = Vec::new();
    if let Some(asset) = &filter.asset {
        terms.push(("asset = ?", Value::Text(asset.as_str().to_owned())));
    }
    match filter.open {
        Some(true) => terms.push(("open = 1 AND 1 = ?", Value::Integer(1))),
        Some(false) => terms.push(("open = 0 AND 1 = ?", Value::Integer(1))),
        None => {}
    }
    if let Some(parent) = filter.parent {
        terms.push(("parent = ?", Value::Integer(parent.0)));
    }
    if let Some(key) = &filter.opening_key {
        terms.push(("opening_key = ?", Value::Text(key.clone())));
    }
    if filter.unfinished {
        terms.push(("finished = 0 AND 1 = ?", Value::Integer(1)));
    }
    page(conn, TICKET, "id", terms, request, read_ticket)
}

pub(crate) fn ticket(conn: &Connection, id: TicketId) -> Outcome<Ticket> {
    let found = ticket_if_there(conn, id)?;
    Ok(found.ok_or_else(|| StoreError::NotFound(format!("ticket {id}")))?)
}

pub(crate) fn ticket_if_there(conn: &Connection, id: TicketId) -> Outcome<Option<Ticket>> {
    let sql = format!("{TICKET} WHERE id = ?1");
    let found = collect(conn, &sql, [id.0], read_ticket)?;
    Ok(found.into_iter().next())
}

pub(crate) fn ticket_entries(
    conn: &Connection,
    ticket: TicketId,
    request: PageRequest,
) -> Outcome<Vec<Paged<TicketEntry>>> {
    let terms = vec![("ticket = ?", Value::Integer(ticket.0))];
    let select = "SELECT seq, body FROM ticket_entries";
    page(conn, select, "seq", terms, request, |r| body(r, 1))
}

pub(crate) fn entries(
    conn: &Connection,
    request: PageRequest,
) -> Outcome<Vec<Paged<(TicketId, TicketEntry)>>> {
    let select = "SELECT seq, ticket, body FROM ticket_entries";
    page(conn, select, "seq", Vec::new(), request, |r| {
        Ok((TicketId(r.get(1)?), body(r, 2)?))
    })
}

pub(crate) fn minutes_booked(conn: &Connection) -> Outcome<Vec<(TicketId, u64)>> {
    collect(
        conn,
        "SELECT ticket, sum(json_extract(body, '$.body.minutes')) FROM ticket_entries
         WHERE json_extract(body, '$.body.entry') = 'time' GROUP BY ticket",
        [],
        |r| {
            Ok((
                TicketId(r.get(0)?),
                u64::try_from(r.get::<_, i64>(1)?).unwrap_or(0),
            ))
        },
    )
}

pub(crate) fn attachment(
    conn: &Connection,
    ticket: TicketId,
    position: i64,
) -> Outcome<(TicketEntry, Vec<u8>)> {
    let found = collect(
        conn,
        "SELECT e.body, a.content FROM ticket_entries e JOIN attachments a ON a.entry = e.seq
         WHERE e.seq = ?1 AND e.ticket = ?2",
        [position, ticket.0],
        |r| Ok((body(r, 0)?, r.get(1)?)),
    )?;
    Ok(found
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::no_attachment(ticket, position))?)
}

const RESERVATION: &str =
    "SELECT id, ticket, priority, part, quantity, used, state, supply, depot, transfer_to,
     reserved_at, needed_at, available_at, expires_at, instead_of FROM reservations";

fn read_reservation(r: &Row<'_>) -> Outcome<Reservation> {
    let (state, supply): (String, String) = (r.get(6)?, r.get(7)?);
    let depot = text::name(r, 8)?;
    let supply = match (supply.as_str(), text::optional_name(r, 9)?) {
        ("stock", None) => Supply::Stock { depot },
        ("transfer", Some(to)) => Supply::Transfer { from: depot, to },
        ("back_order", None) => Supply::BackOrder { to: depot },
        _ => {
            return Err(unreadable(format!(
                "supply \"{supply}\" of a reservation is not known here"
            )));
        }
    };
    Ok(Reservation {
        id: ReservationId(r.get(0)?),
        ticket: TicketId(r.get(1)?),
        priority: text::to_priority(r.get(2)?)?,
        part: text::name(r, 3)?,
        instead_of: text::optional_name(r, 14)?,
        quantity: text::count(r, 4)?,
        used: text::count(r, 5)?,
        supply,
        state: text::to_reservation_state(&state)?,
        reserved_at: text::time(r, 10)?,
        needed_at: text::time(r, 11)?,
        available_at: text::time(r, 12)?,
        expires_at: text::time(r, 13)?,
    })
}

/// Reservations that fulfil `condition`, oldest first.
pub(crate) fn reservations_where(
    conn: &Connection,
    condition: &str,
    params: impl Params,
) -> Outcome<Vec<Reservation>> {
    let sql = format!("{RESERVATION} WHERE {condition} ORDER BY id");
    collect(conn, &sql, params, read_reservation)
}

pub(crate) fn reservations(
    conn: &Connection,
    filter: &ReservationFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Reservation>>> {
    let mut terms = Vec::new();
    if let Some(ticket) = filter.ticket {
        terms.push(("ticket = ?", Value::Integer(ticket.0)));
    }
    if filter.live {
        terms.push(("live = 1 AND 1 = ?", Value::Integer(1)));
    }
    page(conn, RESERVATION, "id", terms, request, read_reservation)
}

const LEDGER: &str =
    "SELECT seq, at, kind, part, depot, delta, ticket, by, cost_centre, reason, units FROM ledger";

fn read_line(r: &Row<'_>) -> Outcome<LedgerEntry> {
    Ok(LedgerEntry {
        at: text::time(r, 1)?,
        kind: r.get(2)?,
        part: text::name(r, 3)?,
        depot: text::name(r, 4)?,
        delta: r.get(5)?,
        units: match r.get::<_, Option<String>>(10)? {
            Some(text) => serde_json::from_str(&text)?,
            None => Vec::new(),
        },
        ticket: r.get::<_, Option<i64>>(6)?.map(TicketId),
        cost_centre: r.get(8)?,
        reason: r.get(9)?,
        by: body(r, 7)?,
    })
}

pub(crate) fn ledger(conn: &Connection, request: PageRequest) -> Outcome<Vec<Paged<LedgerEntry>>> {
    page(conn, LEDGER, "seq", Vec::new(), request, read_line)
}

pub(crate) fn ledger_of(conn: &Connection, ticket: TicketId) -> Outcome<Vec<LedgerEntry>> {
    let sql = format!("{LEDGER} WHERE ticket = ?1 ORDER BY seq");
    collect(conn, &sql, [ticket.0], read_line)
}

pub(crate) fn labels(conn: &Connection, request: PageRequest) -> Outcome<Vec<Paged<Label>>> {
    page(
        conn,
        "SELECT seq, body FROM labels",
        "seq",
        Vec::new(),
        request,
        |r| body(r, 1),
    )
}

pub(crate) fn decisions(
    conn: &Connection,
    device: Option<&DeviceId>,
    request: PageRequest,
) -> Outcome<Vec<Paged<Decision>>> {
    page(
        conn,
        "SELECT seq, body FROM decisions",
        "seq",
        device_term(device),
        request,
        |r| body(r, 1),
    )
}

/// The number of the class of `device` and its own number, where it has ever been registered.
pub(crate) fn device(conn: &Connection, device: &DeviceId) -> Outcome<Option<(i64, i64)>> {
    Ok(conn
        .prepare_cached("SELECT class_no, device_no FROM devices WHERE name = ?1")?
        .query_row([device.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?)
}
