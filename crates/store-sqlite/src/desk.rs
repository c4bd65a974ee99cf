//! One step of the care desk.

use std::collections::BTreeMap;

use forecare_care::{NewTicket, notices_of, settle};
use forecare_catalogue::Catalogue;
use forecare_domain::{PartUsed, Reservation, ReservationState, Ticket, TicketId, Timestamp};
use forecare_store::{
    CareCommit, CareOutcome, DECISIONS_KEPT, NewEntry, OUTCOMES_KEPT, ReservationWrite, StoreError,
    TicketWrite, counts, forecare, marks_named,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::fault::Outcome;
use crate::outbox;
use crate::query;
use crate::stock::{self, Cause};
use crate::text;

/// Stores a step; the caller holds the transaction.
pub(crate) fn commit_care(
    conn: &Connection,
    catalogue: &Catalogue,
    commit: &CareCommit,
) -> Outcome<CareOutcome> {
    if let Some(key) = &commit.idempotency_key
        && let Some(outcome) = first_outcome(conn, key)?
    {
        return Ok(outcome);
    }
    if let Some(task) = commit.task
        && conn
            .prepare_cached("DELETE FROM care_tasks WHERE seq = ?1")?
            .execute([task.0])?
            == 0
    {
        return Ok(CareOutcome::AlreadyDone);
    }
    let outcome = match &commit.ticket {
        TicketWrite::None => CareOutcome::Stored,
        TicketWrite::Open(new) => open(conn, catalogue, new, commit.at)?,
        TicketWrite::Update { ticket, parts_used } => {
            update(conn, catalogue, ticket, parts_used, commit.at)?
        }
    };
    for write in &commit.reservations {
        write_reservation(conn, catalogue, write, commit.at)?;
    }
    for (id, keep) in &commit.cuts {
        stock::cut(conn, catalogue, *id, *keep, commit.at)?;
    }
    for (id, need) in &commit.needs {
        let ticket = query::ticket(conn, *id)?;
        if ticket.state.is_open() {
            let last = stock::last_reservation(conn)?;
            stock::reserve(conn, catalogue, *id, need, commit.at)?;
            stock::tell_short(conn, last, commit.at)?;
        }
    }
    for new in &commit.entries {
        keep_entry(conn, new)?;
    }
    outbox::write(conn, &commit.notices)?;
    if let Some(decision) = &commit.decision {
        conn.prepare_cached("INSERT INTO decisions (device, body) VALUES (?1, ?2)")?
            .execute([
                decision.device.as_str(),
                &text::sound_json(decision, "decision")?,
            ])?;
        conn.prepare_cached(
            "DELETE FROM decisions WHERE seq <= (SELECT max(seq) FROM decisions) - ?1",
        )?
        .execute([DECISIONS_KEPT])?;
    }
    if let Some(label) = &commit.label {
        conn.prepare_cached("INSERT INTO labels (body) VALUES (?1)")?
            .execute([text::sound_json(label, "verdict")?])?;
    }
    if let Some(task) = &commit.follow_up {
        conn.prepare_cached("INSERT INTO care_tasks (body) VALUES (?1)")?
            .execute([text::sound_json(task, "care task")?])?;
    }
    if let Some(key) = &commit.idempotency_key {
        keep_outcome(conn, key, &outcome)?;
    }
    Ok(outcome)
}

fn keep_entry(conn: &Connection, new: &NewEntry) -> Outcome<()> {
    query::ticket(conn, new.ticket)?;
    let bytes = new.content.as_ref().map_or(0, Vec::len);
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let (n, before): (i64, i64) = conn
        .prepare_cached(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM ticket_entries WHERE ticket = ?1",
        )?
        .query_row([new.ticket.0], |r| Ok((r.get(0)?, r.get(1)?)))?;
    if let Some(full) = StoreError::entries_full(new.ticket, n, before, bytes) {
        return Err(full.into());
    }
    conn.prepare_cached("INSERT INTO ticket_entries (ticket, bytes, body) VALUES (?1, ?2, ?3)")?
        .execute(params![
            new.ticket.0,
            bytes,
            text::sound_json(&new.entry, "entry")?
        ])?;
    if let Some(content) = &new.content {
        conn.prepare_cached("INSERT INTO attachments (entry, content) VALUES (?1, ?2)")?
            .execute(params![conn.last_insert_rowid(), content])?;
    }
    Ok(())
}

fn open_for(conn: &Connection, ticket: &Ticket) -> Outcome<Option<TicketId>> {
    let Some(key) = ticket.opening_key() else {
        return Ok(None);
    };
    let mut same = conn.prepare_cached(
        "SELECT id FROM tickets WHERE asset = ?1 AND opening_key = ?2 AND open = 1",
    )?;
    let id = same
        .query_row([ticket.asset.as_str(), &key], |r| r.get(0))
        .optional()?;
    Ok(id.map(TicketId))
}

fn open(
    conn: &Connection,
    catalogue: &Catalogue,
    new: &NewTicket,
    at: Timestamp,
) -> Outcome<CareOutcome> {
    if let Some(id) = open_for(conn, &new.ticket)? {
        return Ok(CareOutcome::AlreadyOpen(id));
    }
    let id = conn
        .query_row("SELECT coalesce(max(id), 0) + 1 FROM tickets", [], |r| {
            r.get(0)
        })
        .map(TicketId)?;
    let ticket = Ticket {
        id,
        version: 1,
        ..new.ticket.clone()
    };
    conn.prepare_cached("INSERT INTO tickets (id, version, asset, opening_key, open, finished, body, parent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            id.0,
            ticket.version,
            ticket.asset.as_str(),
            ticket.opening_key(),
            ticket.state.is_open(),
            ticket.state.is_finished(),
            text::sound_json(&ticket, "ticket")?,
            ticket.work.parent.map(|parent| parent.0)
        ])?;
    outbox::write(conn, &notices_of(None, &ticket, at))?;
    let last = stock::last_reservation(conn)?;
    for need in &new.needs {
        stock::reserve(conn, catalogue, id, need, at)?;
    }
    stock::tell_short(conn, last, at)?;
    Ok(CareOutcome::Opened {
        ticket: Box::new(ticket),
        reservations: query::reservations_where(conn, "ticket = ?1", [id.0])?,
    })
}

fn update(
    conn: &Connection,
    catalogue: &Catalogue,
    ticket: &Ticket,
    parts_used: &[PartUsed],
    at: Timestamp,
) -> Outcome<CareOutcome> {
    let stored = query::ticket(conn, ticket.id)?;
    if ticket.version != stored.version {
        return Err(StoreError::stale_ticket(ticket, stored.version).into());
    }
    let ticket = &Ticket {
        version: stored.version + 1,
        ..ticket.clone()
    };
    if ticket.state.is_open()
        && let Some(other) = open_for(conn, ticket)?.filter(|other| *other != ticket.id)
    {
        return Err(StoreError::second_open_ticket(ticket.id, other).into());
    }
    conn.prepare_cached(
        "UPDATE tickets SET version = ?2, asset = ?3, opening_key = ?4, open = ?5, finished = ?6, body = ?7 WHERE id = ?1",
    )?
    .execute(params![
        ticket.id.0,
        ticket.version,
        ticket.asset.as_str(),
        ticket.opening_key(),
        ticket.state.is_open(),
        ticket.state.is_finished(),
        text::sound_json(ticket, "ticket")?
    ])?;
    let its: Vec<Reservation> = query::reservations_where(conn, "ticket = ?1", [ticket.id.0])?;
    let by = ticket
        .history
        .last()
        .map_or_else(forecare, |change| change.by.clone());
    outbox::write(conn, &notices_of(Some(&stored), ticket, at))?;
    let cause = Cause::of_ticket(ticket.id, by, at);
    let mut named = marks_named(catalogue, parts_used)?;
    for (id, state, used) in settle(&its, ticket, &counts(parts_used)) {
        // Read again: an earlier one may have given this one its stock.
        for r in query::reservations_where(conn, "id = ?1", [id.0])? {
            stock::turn(conn, catalogue, &r, state, used, &cause, &mut named)?;
        }
    }
    stock::check_named(conn, ticket.id, &named)?;
    Ok(CareOutcome::Updated(Box::new(ticket.clone())))
}

fn write_reservation(
    conn: &Connection,
    catalogue: &Catalogue,
    write: &ReservationWrite,
    at: Timestamp,
) -> Outcome<()> {
    let found = query::reservations_where(conn, "id = ?1", [write.id.0])?;
    let Some(r) = found.first() else {
        return Err(StoreError::NotFound(format!("reservation {}", write.id)).into());
    };
    if r.state != write.from {
        return Ok(());
    }
    if !r.state.is_live() {
        return Err(StoreError::reservation_over(r.id, r.state).into());
    }
    conn.prepare_cached("UPDATE reservations SET expires_at = ?2 WHERE id = ?1")?
        .execute([r.id.0, write.expires_at.as_millis()])?;
    let used = if write.to == ReservationState::Consumed {
        r.quantity
    } else {
        r.used
    };
    stock::turn(
        conn,
        catalogue,
        r,
        write.to,
        used,
        &Cause::of_ticket(r.ticket, forecare(), at),
        &mut BTreeMap::new(),
    )
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

pub(crate) fn first_outcome(conn: &Connection, key: &str) -> Outcome<Option<CareOutcome>> {
    let body: Option<String> = conn
        .prepare_cached("SELECT body FROM care_outcomes WHERE idempotency_key = ?1")?
        .query_row([key], |r| r.get(0))
        .optional()?;
    let Some(body) = body else {
        return Ok(None);
    };
    Ok(Some(match serde_json::from_str(&body)? {
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

fn keep_outcome(conn: &Connection, key: &str, outcome: &CareOutcome) -> Outcome<()> {
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
    conn.prepare_cached("INSERT INTO care_outcomes (idempotency_key, body) VALUES (?1, ?2)")?
        .execute([key, &serde_json::to_string(&kept)?])?;
    conn.prepare_cached(
        "DELETE FROM care_outcomes WHERE seq <= (SELECT max(seq) FROM care_outcomes) - ?1",
    )?
    .execute([OUTCOMES_KEPT])?;
    Ok(())
}
