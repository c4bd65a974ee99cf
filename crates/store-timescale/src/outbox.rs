//! Notices, their deliveries, and what customers say. Every change is made under
//! [`lock_care`](crate::connection::lock_care).

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use forecare_domain::{DeliveryId, Notice, NoticeId, SurveyAnswer, TicketId, Timestamp};
use forecare_registry::Addressed;
use forecare_store::{
    Attempt, DELIVERIES_PER_NOTICE_MAX, Delivery, DeliveryFilter, DeliveryState, NOTICES_KEPT,
    NewDelivery, OutboxDepth, PAGE_ENTRIES_MAX, PageRequest, Paged, SURVEY_ANSWERS_MAX, StoreError,
};
use tokio_postgres::Row;

use crate::fault::Outcome;
use crate::instant::Instant;
use crate::query::{Term, body, collect, execute, page, ticket};
use crate::text;

/// Writes notices; the caller holds the transaction of what they tell. One of the same id was told before.
pub(crate) async fn write(tx: &Transaction<'_>, notices: &[Notice]) -> Outcome<()> {
    for notice in notices {
        execute(
            tx,
            "INSERT INTO notices (id, routed, body) VALUES ($1, false, $2::text::json)
             ON CONFLICT (id) DO NOTHING",
            &[&notice.id.0, &text::sound_json(notice, "notice")?],
        )
        .await?;
    }
    if !notices.is_empty() {
        let old = "SELECT max(seq) - $1 FROM notices";
        let sql = format!("DELETE FROM deliveries WHERE notice <= ({old})");
        execute(tx, &sql, &[&NOTICES_KEPT]).await?;
        let sql = format!("DELETE FROM notices WHERE seq <= ({old})");
        execute(tx, &sql, &[&NOTICES_KEPT]).await?;
    }
    Ok(())
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, PAGE_ENTRIES_MAX)).unwrap_or(1)
}

pub(crate) async fn kept(
    tx: &Transaction<'_>,
    request: PageRequest,
) -> Outcome<Vec<Paged<Notice>>> {
    let sql = "SELECT seq, body::text FROM notices";
    page(tx, sql, "seq", Vec::new(), request, |r| body(r, 1)).await
}

pub(crate) async fn unrouted(tx: &Transaction<'_>, limit: usize) -> Outcome<Vec<Notice>> {
    let sql = "SELECT body::text FROM notices WHERE NOT routed ORDER BY seq LIMIT $1";
    collect(tx, sql, &[&limit_of(limit)], |r| body(r, 0)).await
}

pub(crate) async fn route(
    tx: &Transaction<'_>,
    id: &NoticeId,
    deliveries: &[NewDelivery],
    at: Timestamp,
) -> Outcome<bool> {
    let sql = "SELECT seq, routed, body::text FROM notices WHERE id = $1";
    let found: Vec<(i64, bool, Notice)> = collect(tx, sql, &[&text::storable(&id.0)], |r| {
        Ok((r.try_get(0)?, r.try_get(1)?, body(r, 2)?))
    })
    .await?;
    let Some((seq, routed, notice)) = found.into_iter().next() else {
        return Err(StoreError::NotFound(format!("notice {id}")).into());
    };
    if routed {
        return Ok(false);
    }
    execute(
        tx,
        "UPDATE notices SET routed = true WHERE seq = $1",
        &[&seq],
    )
    .await?;
    for new in deliveries.iter().take(DELIVERIES_PER_NOTICE_MAX) {
        execute(
            tx,
            "INSERT INTO deliveries (notice, ticket, channel, recipient, address, language, digest, customer, state, attempts, next_at, updated_at)
             SELECT $1::bigint, $2::bigint, $3::text, $4::text, $5::text, $6::text, $7::boolean, $8::boolean, 'waiting', 0,
                 $9::timestamptz, $10::timestamptz
             WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE notice = $1 AND channel = $3 AND address = $5)",
            &[
                &seq,
                // Tickets are numbered from 1.
                &notice.ticket.map_or(0, |ticket| ticket.0),
                &text::storable(&new.channel),
                &text::storable(&new.recipient),
                &text::storable(&new.address),
                &text::storable(&new.language),
                &new.digest,
                &new.to_customer,
                &Instant(new.due_at),
                &Instant(at),
            ],
        )
        .await?;
    }
    Ok(true)
}

const DELIVERY: &str = "SELECT d.id, n.body::text, d.channel, d.recipient, d.address, d.language, d.digest, d.customer, d.state,
    d.attempts, d.next_at, d.error, d.updated_at FROM deliveries d JOIN notices n ON n.seq = d.notice";

fn read_delivery(r: &Row) -> Outcome<Delivery> {
    Ok(Delivery {
        id: DeliveryId(r.try_get(0)?),
        notice: body(r, 1)?,
        channel: r.try_get(2)?,
        recipient: r.try_get(3)?,
        address: r.try_get(4)?,
        language: r.try_get(5)?,
        digest: r.try_get(6)?,
        to_customer: r.try_get(7)?,
        state: text::to_delivery_state(r.try_get(8)?)?,
        attempts: text::count(r, 9)?,
        next_at: text::time(r, 10)?,
        error: r.try_get(11)?,
        updated_at: text::time(r, 12)?,
    })
}

pub(crate) async fn due(
    tx: &Transaction<'_>,
    at: Timestamp,
    limit: usize,
) -> Outcome<Vec<Delivery>> {
    let sql = format!(
        "{DELIVERY} WHERE d.state = 'waiting' AND d.next_at <= $1 ORDER BY d.next_at, d.id LIMIT $2"
    );
    collect(tx, &sql, &[&Instant(at), &limit_of(limit)], read_delivery).await
}

async fn find(tx: &Transaction<'_>, id: DeliveryId) -> Outcome<Option<Delivery>> {
    let sql = format!("{DELIVERY} WHERE d.id = $1");
    Ok(collect(tx, &sql, &[&id.0], read_delivery).await?.pop())
}

pub(crate) async fn delivery(tx: &Transaction<'_>, id: DeliveryId) -> Outcome<Delivery> {
    let found = find(tx, id).await?;
    Ok(found.ok_or_else(|| StoreError::NotFound(format!("delivery {id}")))?)
}

async fn put(tx: &Transaction<'_>, after: &Delivery) -> Outcome<()> {
    execute(
        tx,
        "UPDATE deliveries SET state = $2, attempts = $3, next_at = $4, error = $5, updated_at = $6, recipient = $7,
         address = $8 WHERE id = $1",
        &[
            &after.id.0,
            &after.state.label(),
            &i64::from(after.attempts),
            &Instant(after.next_at),
            &after.error.as_deref().map(text::storable),
            &Instant(after.updated_at),
            &after.recipient,
            &after.address,
        ],
    )
    .await?;
    Ok(())
}

/// Takes people out of deliveries; the caller holds the transaction.
pub(crate) async fn erase(
    tx: &Transaction<'_>,
    addressed: &BTreeSet<Addressed>,
    at: Timestamp,
) -> Outcome<()> {
    let sql = format!(
        "{DELIVERY} WHERE d.recipient = $1 AND ($2::text IS NULL OR d.address = $2) AND d.customer = $3"
    );
    for to in addressed {
        let (name, address) = (&to.name, &to.address);
        for mut delivery in
            collect(tx, &sql, &[name, address, &to.is_customer], read_delivery).await?
        {
            delivery.erase(at);
            put(tx, &delivery).await?;
        }
    }
    Ok(())
}

pub(crate) async fn record(
    tx: &Transaction<'_>,
    attempts: &[Attempt],
    at: Timestamp,
) -> Outcome<usize> {
    let mut n_counted = 0;
    for attempt in attempts {
        if let Some(before) = find(tx, attempt.id).await?
            && let Some(after) = attempt.on(&before, at)
        {
            put(tx, &after).await?;
            n_counted += 1;
        }
    }
    Ok(n_counted)
}

pub(crate) async fn retry(
    tx: &Transaction<'_>,
    id: DeliveryId,
    at: Timestamp,
) -> Outcome<Delivery> {
    let before = delivery(tx, id).await?;
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
    put(tx, &after).await?;
    Ok(after)
}

pub(crate) async fn deliveries(
    tx: &Transaction<'_>,
    filter: &DeliveryFilter,
    request: PageRequest,
) -> Outcome<Vec<Paged<Delivery>>> {
    let mut terms: Vec<Term> = Vec::new();
    if let Some(state) = filter.state {
        terms.push(("d.state =", Some(Box::new(state.label()))));
    }
    if let Some(ticket) = filter.ticket {
        terms.push(("d.ticket =", Some(Box::new(ticket.0))));
    }
    if let Some(channel) = &filter.channel {
        let channel = text::storable(channel).into_owned();
        terms.push(("d.channel =", Some(Box::new(channel))));
    }
    page(tx, DELIVERY, "d.id", terms, request, read_delivery).await
}

pub(crate) async fn depth(tx: &Transaction<'_>) -> Outcome<OutboxDepth> {
    let sql = "SELECT (SELECT count(*) FROM notices WHERE NOT routed),
        (SELECT count(*) FROM deliveries WHERE state = 'waiting'),
        (SELECT count(*) FROM deliveries WHERE state = 'dead'),
        (SELECT min(next_at) FROM deliveries WHERE state = 'waiting')";
    let found = collect(tx, sql, &[], |r| {
        let oldest: Option<Instant> = r.try_get(3)?;
        Ok(OutboxDepth {
            unrouted: text::count(r, 0)?,
            waiting: text::count(r, 1)?,
            dead: text::count(r, 2)?,
            oldest_due_at: oldest.map(|Instant(at)| at),
        })
    })
    .await?;
    Ok(found.first().copied().unwrap_or_default())
}

pub(crate) async fn put_answer(tx: &Transaction<'_>, answer: &SurveyAnswer) -> Outcome<()> {
    let id = ticket(tx, answer.ticket).await?.id;
    let sql = "SELECT count(*) FROM survey_answers WHERE ticket = $1";
    let counts: Vec<usize> = collect(tx, sql, &[&id.0], |r| text::count(r, 0)).await?;
    if counts.first().is_some_and(|n| *n >= SURVEY_ANSWERS_MAX) {
        return Err(StoreError::answered_too_often(id).into());
    }
    let sql = "UPDATE survey_answers SET newest = false WHERE ticket = $1 AND newest";
    execute(tx, sql, &[&id.0]).await?;
    execute(
        tx,
        "INSERT INTO survey_answers (ticket, newest, body) VALUES ($1, true, $2::text::json)",
        &[&id.0, &serde_json::to_string(answer)?],
    )
    .await?;
    Ok(())
}

pub(crate) async fn answers(
    tx: &Transaction<'_>,
    ticket: Option<TicketId>,
    request: PageRequest,
) -> Outcome<Vec<Paged<SurveyAnswer>>> {
    let term: Term = match ticket {
        Some(ticket) => ("ticket =", Some(Box::new(ticket.0))),
        None => ("newest", None),
    };
    let sql = "SELECT seq, body::text FROM survey_answers";
    page(tx, sql, "seq", vec![term], request, |r| body(r, 1)).await
}
