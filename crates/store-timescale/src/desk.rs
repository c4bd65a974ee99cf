//! One step of the care desk. Every step is taken under [`lock_care`](crate::connection::lock_care).

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use forecare_care::{NewTicket, notices_of, settle};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    ModeName, PartUsed, Reservation, ReservationState, Ticket, TicketId, Timestamp,
};
use forecare_store::{
    CareCommit, CareOutcome, DECISIONS_KEPT, NewEntry, OUTCOMES_KEPT, ReservationWrite, StoreError,
    TicketWrite, counts, forecare, marks_named,
};
use serde::{Deserialize, Serialize};

use crate::fault::Outcome;
use crate::instant::Instant;
use crate::outbox;
use crate::query::{self, collect, execute};
use crate::stock::{self, Cause};
use crate::text;

/// Stores a step; the caller holds the transaction and the lock.
pub(crate) async fn commit_care(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    commit: &CareCommit,
) -> Outcome<CareOutcome> {
    if let Some(key) = &commit.idempotency_key
        && let Some(outcome) = first_outcome(tx, key).await?
    {
        return Ok(outcome);
    }
    if let Some(task) = commit.task
        && execute(tx, "DELETE FROM care_tasks WHERE seq = $1", &[&task.0]).await? == 0
    {
        return Ok(CareOutcome::AlreadyDone);
    }
    let outcome = match &commit.ticket {
        TicketWrite::None => CareOutcome::Stored,
        TicketWrite::Open(new) => open(tx, catalogue, new, commit.at).await?,
        TicketWrite::Update { ticket, parts_used } => {
            update(tx, catalogue, ticket, parts_used, commit.at).await?
        }
    };
    for write in &commit.reservations {
        write_reservation(tx, catalogue, write, commit.at).await?;
    }
    for (id, keep) in &commit.cuts {
        stock::cut(tx, catalogue, *id, *keep, commit.at).await?;
    }
    for (id, need) in &commit.needs {
        let ticket = query::ticket(tx, *id).await?;
        if ticket.state.is_open() {
            let last = stock::last_reservation(tx).await?;
            stock::reserve(tx, catalogue, *id, need, commit.at).await?;
            stock::tell_short(tx, last, commit.at).await?;
        }
    }
    for new in &commit.entries {
        keep_entry(tx, new).await?;
    }
    outbox::write(tx, &commit.notices).await?;
    if let Some(decision) = &commit.decision {
        execute(
            tx,
            "INSERT INTO decisions (device, body) VALUES ($1, $2::text::json)",
            &[
                &decision.device.as_str(),
                &text::sound_json(decision, "decision")?,
            ],
        )
        .await?;
        execute(
            tx,
            "DELETE FROM decisions WHERE seq <= (SELECT max(seq) FROM decisions) - $1",
            &[&DECISIONS_KEPT],
        )
        .await?;
    }
    if let Some(label) = &commit.label {
        execute(
            tx,
            "INSERT INTO labels (body) VALUES ($1::text::json)",
            &[&text::sound_json(label, "verdict")?],
        )
        .await?;
    }
    if let Some(task) = &commit.follow_up {
        execute(
            tx,
            "INSERT INTO care_tasks (body) VALUES ($1::text::json)",
            &[&text::sound_json(task, "care task")?],
        )
        .await?;
    }
    if let Some(key) = &commit.idempotency_key {
        keep_outcome(tx, key, &outcome).await?;
    }
    Ok(outcome)
}

async fn keep_entry(tx: &Transaction<'_>, new: &NewEntry) -> Outcome<()> {
    query::ticket(tx, new.ticket).await?;
    let bytes = new.content.as_ref().map_or(0, Vec::len);
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let held: Vec<(i64, i64)> = collect(
        tx,
        "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM ticket_entries WHERE ticket = $1",
        &[&new.ticket.0],
        |r| Ok((r.try_get(0)?, r.try_get(1)?)),
    )
    .await?;
    let (n, before) = held.first().copied().unwrap_or_default();
    if let Some(full) = StoreError::entries_full(new.ticket, n, before, bytes) {
        return Err(full.into());
    }
    let entry = text::sound_json(&new.entry, "entry")?;
    let kept: Vec<i64> = collect(
        tx,
        "INSERT INTO ticket_entries (ticket, bytes, body) VALUES ($1, $2, $3::text::json) RETURNING seq",
        &[&new.ticket.0, &bytes, &entry],
        |r| Ok(r.try_get(0)?),
    )
    .await?;
    if let (Some(seq), Some(content)) = (kept.first(), &new.content) {
        execute(
            tx,
            "INSERT INTO attachments (entry, content) VALUES ($1, $2)",
            &[seq, content],
        )
        .await?;
    }
    Ok(())
}

async fn open_for(tx: &Transaction<'_>, ticket: &Ticket) -> Outcome<Option<TicketId>> {
    let Some(key) = ticket.opening_key() else {
        return Ok(None);
    };
    let same = collect(
        tx,
        "SELECT id FROM tickets WHERE asset = $1 AND opening_key = $2 AND open",
        &[&ticket.asset.as_str(), &text::storable(&key)],
        |r| Ok(TicketId(r.try_get(0)?)),
    )
    .await?;
    Ok(same.into_iter().next())
}

async fn open(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    new: &NewTicket,
    at: Timestamp,
) -> Outcome<CareOutcome> {
    if let Some(id) = open_for(tx, &new.ticket).await? {
        return Ok(CareOutcome::AlreadyOpen(id));
    }
    let sql = "SELECT coalesce(max(id), 0) + 1 FROM tickets";
    let next = collect(tx, sql, &[], |r| Ok(TicketId(r.try_get(0)?))).await?;
    let id = next.into_iter().next().unwrap_or(TicketId(1));
    let ticket = Ticket {
        id,
        version: 1,
        ..new.ticket.clone()
    };
    write_ticket(
        tx,
        "INSERT INTO tickets (id, version, asset, mode, open, finished, body, opened_at, due_at, opening_key,
             parent)
         VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $10, $11)",
        &ticket,
    )
    .await?;
    outbox::write(tx, &notices_of(None, &ticket, at)).await?;
    let last = stock::last_reservation(tx).await?;
    for need in &new.needs {
        stock::reserve(tx, catalogue, id, need, at).await?;
    }
    stock::tell_short(tx, last, at).await?;
    Ok(CareOutcome::Opened {
        ticket: Box::new(ticket),
        reservations: query::reservations_where(tx, "ticket = $1", &[&id.0]).await?,
    })
}

async fn write_ticket(tx: &Transaction<'_>, sql: &str, ticket: &Ticket) -> Outcome<()> {
    execute(
        tx,
        sql,
        &[
            &ticket.id.0,
            &ticket.version,
            &ticket.asset.as_str(),
            &ticket.mode.as_ref().map(ModeName::as_str),
            &ticket.state.is_open(),
            &ticket.state.is_finished(),
            &text::sound_json(ticket, "ticket")?,
            &Instant(ticket.opened_at),
            &Instant(ticket.due_at),
            &ticket
                .opening_key()
                .map(|key| text::storable(&key).into_owned()),
            &ticket.work.parent.map(|parent| parent.0),
        ],
    )
    .await?;
    Ok(())
}

async fn update(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    ticket: &Ticket,
    parts_used: &[PartUsed],
    at: Timestamp,
) -> Outcome<CareOutcome> {
    let stored = query::ticket(tx, ticket.id).await?;
    if ticket.version != stored.version {
        return Err(StoreError::stale_ticket(ticket, stored.version).into());
    }
    let ticket = &Ticket {
        version: stored.version + 1,
        ..ticket.clone()
    };
    if ticket.state.is_open()
        && let Some(other) = open_for(tx, ticket)
            .await?
            .filter(|other| *other != ticket.id)
    {
        return Err(StoreError::second_open_ticket(ticket.id, other).into());
    }
    write_ticket(
        tx,
        "UPDATE tickets SET version = $2, asset = $3, mode = $4, open = $5, finished = $6, body = $7::text::json,
             opened_at = $8, due_at = $9, opening_key = $10, parent = $11
         WHERE id = $1",
        ticket,
    )
    .await?;
    let its: Vec<Reservation> =
        query::reservations_where(tx, "ticket = $1", &[&ticket.id.0]).await?;
    let by = ticket
        .history
        .last()
        .map_or_else(forecare, |change| change.by.clone());
    outbox::write(tx, &notices_of(Some(&stored), ticket, at)).await?;
    let cause = Cause::of_ticket(ticket.id, by, at);
    let mut named = marks_named(catalogue, parts_used)?;
    for (id, state, used) in settle(&its, ticket, &counts(parts_used)) {
        // Read again: an earlier one may have given this one its stock.
        for r in query::reservations_where(tx, "id = $1", &[&id.0]).await? {
            stock::turn(tx, catalogue, &r, state, used, &cause, &mut named).await?;
        }
    }
    stock::check_named(tx, ticket.id, &named).await?;
    Ok(CareOutcome::Updated(Box::new(ticket.clone())))
}

async fn write_reservation(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    write: &ReservationWrite,
    at: Timestamp,
) -> Outcome<()> {
    let found = query::reservations_where(tx, "id = $1", &[&write.id.0]).await?;
    let Some(r) = found.first() else {
        return Err(StoreError::NotFound(format!("reservation {}", write.id)).into());
    };
    if r.state != write.from {
        return Ok(());
    }
    if !r.state.is_live() {
        return Err(StoreError::reservation_over(r.id, r.state).into());
    }
    execute(
        tx,
        "UPDATE reservations SET expires_at = $2 WHERE id = $1",
        &[&r.id.0, &Instant(write.expires_at)],
    )
    .await?;
    let used = if write.to == ReservationState::Consumed {
        r.quantity
    } else {
        r.used
    };
    let cause = Cause::of_ticket(r.ticket, forecare(), at);
    let mut named = BTreeMap::new();
    stock::turn(tx, catalogue, r, write.to, used, &cause, &mut named).await
}

/// A [`CareOutcome`] as kept for its key.
#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Kept {
    Stored,
    Opened {
        ticket: Box<Ticket>,
        reservations: Vec<Reservation>,
    },
    Updated {
        ticket: Box<Ticket>,
    },
    AlreadyOpen {
        ticket: TicketId,
    },
    AlreadyDone,
}

pub(crate) async fn first_outcome(tx: &Transaction<'_>, key: &str) -> Outcome<Option<CareOutcome>> {
    let bodies: Vec<String> = collect(
        tx,
        "SELECT body::text FROM care_outcomes WHERE idempotency_key = $1",
        &[&text::storable(key)],
        |r| Ok(r.try_get(0)?),
    )
    .await?;
    let Some(body) = bodies.first() else {
        return Ok(None);
    };
    Ok(Some(match serde_json::from_str(body)? {
        Kept::Stored => CareOutcome::Stored,
        Kept::Opened {
            ticket,
            reservations,
        } => CareOutcome::Opened {
            ticket,
            reservations,
        },
        Kept::Updated { ticket } => CareOutcome::Updated(ticket),
        Kept::AlreadyOpen { ticket } => CareOutcome::AlreadyOpen(ticket),
        Kept::AlreadyDone => CareOutcome::AlreadyDone,
    }))
}

async fn keep_outcome(tx: &Transaction<'_>, key: &str, outcome: &CareOutcome) -> Outcome<()> {
    let kept = match outcome.clone() {
        CareOutcome::Stored => Kept::Stored,
        CareOutcome::Opened {
            ticket,
            reservations,
        } => Kept::Opened {
            ticket,
            reservations,
        },
        CareOutcome::Updated(ticket) => Kept::Updated { ticket },
        CareOutcome::AlreadyOpen(ticket) => Kept::AlreadyOpen { ticket },
        CareOutcome::AlreadyDone => Kept::AlreadyDone,
    };
    execute(
        tx,
        "INSERT INTO care_outcomes (idempotency_key, body) VALUES ($1, $2::text::json)",
        &[&text::storable(key), &serde_json::to_string(&kept)?],
    )
    .await?;
    execute(
        tx,
        "DELETE FROM care_outcomes WHERE seq <= (SELECT max(seq) FROM care_outcomes) - $1",
        &[&OUTCOMES_KEPT],
    )
    .await?;
    Ok(())
}
