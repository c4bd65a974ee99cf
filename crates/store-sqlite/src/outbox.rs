//! Notices, their deliveries, and what customers say.

use std::collections::BTreeSet;

use forecare_domain::{DeliveryId, Notice, NoticeId, SurveyAnswer, TicketId, Timestamp};
use forecare_registry::Addressed;
use forecare_store::{
    Attempt, DELIVERIES_PER_NOTICE_MAX, Delivery, DeliveryFilter, DeliveryState, NOTICES_KEPT,
    NewDelivery, OutboxDepth, PAGE_ENTRIES_MAX, PageRequest, Paged, SURVEY_ANSWERS_MAX, StoreError,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::fault::Outcome;
use crate::query::{body, collect, page, ticket};
use crate::text;

/// Writes notices; the caller holds the transaction of what they tell. One of the same id was told before.
pub(crate) fn write(conn: &Connection, notices: &[Notice]) -> Outcome<()> {
    for notice in notices {
        conn.prepare_cached(
            "INSERT INTO notices (id, routed, body) VALUES (?1, 0, ?2) ON CONFLICT (id) DO NOTHING",
        )?
        .execute([&notice.id.0, &text::sound_json(notice, "notice")?])?;
    }
    if !notices.is_empty() {
        let old = "SELECT max(seq) - ?1 FROM notices";
        conn.prepare_cached(&format!("DELETE FROM deliveries WHERE notice <= ({old})"))?
            .execute([NOTICES_KEPT])?;
        conn.prepare_cached(&format!("DELETE FROM notices WHERE seq <= ({old})"))?
            .execute([NOTICES_KEPT])?;
    }
    Ok(())
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, PAGE_ENTRIES_MAX)).unwrap_or(1)
}

pub(crate) fn kept(conn: &Connection, request: PageRequest) -> Outcome<Vec<Paged<Notice>>> {
    let sql = "SELECT seq, body FROM notices";
    page(conn, sql, "seq", Vec::new(), request, |r| body(r, 1))
}

pub(crate) fn unrouted(conn: &Connection, limit: usize) -> Outcome<Vec<Notice>> {
    let sql = "SELECT body FROM notices WHERE routed = 0 ORDER BY seq LIMIT ?1";
    collect(conn, sql, [limit_of(limit)], |r| body(r, 0))
}

pub(crate) fn route(
    conn: &Connection,
    id: &NoticeId,
    deliveries: &[NewDelivery],
    at: Timestamp,
) -> Outcome<bool> {
    let found: Option<(i64, bool, String)> = conn
        .prepare_cached("SELECT seq, routed, body FROM notices WHERE id = ?1")?
        .query_row([&id.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    let Some((seq, routed, body)) = found else {
        return Err(StoreError::NotFound(format!("notice {id}")).into());
    };
    if routed {
        return Ok(false);
    }
    let notice: Notice = serde_json::from_str(&body)?;
    conn.prepare_cached("UPDATE notices SET routed = 1 WHERE seq = ?1")?
        .execute([seq])?;
    for new in deliveries.iter().take(DELIVERIES_PER_NOTICE_MAX) {
        conn.prepare_cached(
            "INSERT INTO deliveries (notice, ticket, channel, recipient, address, language, digest, customer, state, attempts, next_at, updated_at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'waiting', 0, ?9, ?10
             WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE notice = ?1 AND channel = ?3 AND address = ?5)",
        )?
        .execute(params![
            seq,
            // Tickets are numbered from 1.
            notice.ticket.map_or(0, |ticket| ticket.0),
            new.channel,
            new.recipient,
            new.address,
            new.language,
            new.digest,
            new.to_customer,
            new.due_at.as_millis(),
            at.as_millis()
        ])?;
    }
    Ok(true)
}

const DELIVERY: &str = "SELECT d.id, n.body, d.channel, d.recipient, d.address, d.language, d.digest, d.customer, d.state,
    d.attempts, d.next_at, d.error, d.updated_at FROM deliveries d JOIN notices n ON n.seq = d.notice";

fn read_delivery(r: &Row<'_>) -> Outcome<Delivery> {
    Ok(Delivery {
        id: DeliveryId(r.get(0)?),
        notice: body(r, 1)?,
        channel: r.get(2)?,
        recipient: r.get(3)?,
        address: r.get(4)?,
        language: r.get(5)?,
        digest: r.get(6)?,
        to_customer: r.get(7)?,
        state: text::to_delivery_state(&r.get::<_, String>(8)?)?,
        attempts: text::count(r, 9)?,
        next_at: text::time(r, 10)?,
        error: r.get(11)?,
        updated_at: text::time(r, 12)?,
    })
}

pub(crate) fn due(conn: &Connection, at: Timestamp, limit: usize) -> Outcome<Vec<Delivery>> {
    let sql = format!(
        "{DELIVERY} WHERE d.state = 'waiting' AND d.next_at <= ?1 ORDER BY d.next_at, d.id LIMIT ?2"
    );
    collect(conn, &sql, [at.as_millis(), limit_of(limit)], read_delivery)
}

fn find(conn: &Connection, id: DeliveryId) -> Outcome<Option<Delivery>> {
    let sql = format!("{DELIVERY} WHERE d.id = ?1");
    Ok(collect(conn, &sql, [id.0], read_delivery)?.pop())
}

pub(crate) fn delivery(conn: &Connection, id: DeliveryId) -> Outcome<Delivery> {
    let found = find(conn, id)?;
    Ok(found.ok_or_else(|| StoreError::NotFound(format!("delivery {id}")))?)
}

fn put(conn: &Connection, after: &Delivery) -> Outcome<()> {
    conn.prepare_cached(
        "UPDATE deliveries SET state = ?2, attempts = ?3, next_at = ?4, error = ?5, updated_at = ?6, recipient = ?7,
         address = ?8 WHERE id = ?1",
    )?
    .execute(params![
        after.id.0,
        after.state.label(),
        after.attempts,
        after.next_at.as_millis(),
        after.error,
        after.updated_at.as_millis(),
        after.recipient,
        after.address
    ])?;
    Ok(())
}

/// Takes people out of deliveries; the caller holds the transaction.
pub(crate) fn erase(
    conn: &Connection,
    addressed: &BTreeSet<Addressed>,
    at: Timestamp,
) -> Outcome<()> {
    let sql = format!(
        "{DELIVERY} WHERE d.recipient = ?1 AND (?2 IS NULL OR d.address = ?2) AND d.customer = ?3"
    );
    for to in addressed {
        let found = params![to.name, to.address, to.is_customer];
        for mut delivery in collect(conn, &sql, found, read_delivery)? {
            delivery.erase(at);
            put(conn, &delivery)?;
        }
    }
    Ok(())
}

pub(crate) fn record(conn: &Connection, attempts: &[Attempt], at: Timestamp) -> Outcome<usize> {
    let mut n_counted = 0;
    for attempt in attempts {
        if let Some(before) = find(conn, attempt.id)?
            && let Some(after) = attempt.on(&before, at)
        {
            put(conn, &after)?;
            n_counted += 1;
        }
    }
    Ok(n_counted)
}

pub(crate) fn retry(conn: &Connection, id: DeliveryId, at: Timestamp) -> Outcome<Delivery> {
    let before = delivery(conn, id)?;
    if before.state != DeliveryState::Dead {
        return Err(StoreError::not_dead(id, before.state).into());
    }
    let after = Delivery {
        state: DeliveryState::Waiting,
        attempts: 0,
        next_at: at,
        updated_at: at,
        ..before
    };
    put(conn, &after)?;
    Ok(after)
}

pub(crate) fn deliveries(
    conn: &Connection,
    filter: &DeliveryFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Delivery>>> {
    let mut terms = Vec::new();
    if let Some(state) = filter.state {
        terms.push(("d.state = ?", Value::Text(state.label().to_owned())));
    }
    if let Some(ticket) = filter.ticket {
        terms.push(("d.ticket = ?", Value::Integer(ticket.0)));
    }
    if let Some(channel) = &filter.channel {
        terms.push(("d.channel = ?", Value::Text(channel.clone())));
    }
    page(conn, DELIVERY, "d.id", terms, request, read_delivery)
}

pub(crate) fn depth(conn: &Connection) -> Outcome<OutboxDepth> {
    let sql = "SELECT (SELECT count(*) FROM notices WHERE routed = 0),
        (SELECT count(*) FROM deliveries WHERE state = 'waiting'),
        (SELECT count(*) FROM deliveries WHERE state = 'dead'),
        (SELECT min(next_at) FROM deliveries WHERE state = 'waiting')";
    let found = collect(conn, sql, [], |r| {
        let oldest: Option<i64> = r.get(3)?;
        Ok(OutboxDepth {
            unrouted: text::count(r, 0)?,
            waiting: text::count(r, 1)?,
            dead: text::count(r, 2)?,
            oldest_due_at: oldest.map(Timestamp::from_millis),
        })
    })?;
    Ok(found.first().copied().unwrap_or_default())
}

pub(crate) fn put_answer(conn: &Connection, answer: &SurveyAnswer) -> Outcome<()> {
    let id = ticket(conn, answer.ticket)?.id;
    let sql = "SELECT count(*) FROM survey_answers WHERE ticket = ?1";
    let counts: Vec<usize> = collect(conn, sql, [id.0], |r| text::count(r, 0))?;
    if counts.first().is_some_and(|n| *n >= SURVEY_ANSWERS_MAX) {
        return Err(StoreError::answered_too_often(id).into());
    }
    conn.prepare_cached("UPDATE survey_answers SET newest = 0 WHERE ticket = ?1 AND newest = 1")?
        .execute([id.0])?;
    conn.prepare_cached("INSERT INTO survey_answers (ticket, newest, body) VALUES (?1, 1, ?2)")?
        .execute(params![id.0, serde_json::to_string(answer)?])?;
    Ok(())
}

pub(crate) fn answers(
    conn: &Connection,
    ticket: Option<TicketId>,
    request: PageRequest,
) -> Outcome<Vec<Paged<SurveyAnswer>>> {
    let term = match ticket {
        Some(ticket) => ("ticket = ?", Value::Integer(ticket.0)),
        None => ("newest = ?", Value::Integer(1)),
    };
    let sql = "SELECT seq, body FROM survey_answers";
    page(conn, sql, "seq", vec![term], request, |r| body(r, 1))
}
