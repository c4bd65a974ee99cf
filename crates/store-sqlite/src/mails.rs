//! Messages that came by e-mail and belong nowhere yet.

use std::collections::BTreeSet;

use forecare_domain::{InboxMail, MailFate};
use forecare_registry::Addressed;
use forecare_store::{MAILS_SETTLED_KEPT, NewMail, PageRequest, Paged, StoreError, settled};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::fault::Outcome;
use crate::query::{body, collect, page};
use crate::{outbox, text};

pub(crate) fn put(conn: &Connection, new: &NewMail) -> Outcome<Paged<InboxMail>> {
    let mail = &new.mail;
    let sql = "SELECT seq, body FROM mails WHERE message_id = ?1";
    let mut known = collect(conn, sql, [&mail.message_id], |r| {
        Ok(Paged {
            position: r.get(0)?,
            item: body(r, 1)?,
        })
    })?;
    if let Some(known) = known.pop() {
        return Ok(known);
    }
    let sum = "SELECT count(*), coalesce(sum(bytes), 0) FROM mails WHERE waiting = 1";
    let kept = collect(conn, sum, [], |r| Ok((text::count(r, 0)?, r.get(1)?)))?;
    let (n, before) = kept.first().copied().unwrap_or_default();
    if let Some(full) = new.too_much(n, before) {
        return Err(full.into());
    }
    conn.prepare_cached(
        "INSERT INTO mails (message_id, address, waiting, bytes, body, content) VALUES (?1, ?2, 1, ?3, ?4, ?5)",
    )?
    .execute(params![
        mail.message_id,
        mail.address,
        new.bytes(),
        serde_json::to_string(mail)?,
        new.content
    ])?;
    let position = conn.last_insert_rowid();
    outbox::write(conn, std::slice::from_ref(&new.notice))?;
    Ok(Paged {
        position,
        item: mail.clone(),
    })
}

pub(crate) fn all(
    conn: &Connection,
    waiting_only: bool,
    request: PageRequest,
) -> Outcome<Vec<Paged<InboxMail>>> {
    let mut terms = Vec::new();
    if waiting_only {
        // Literal, so that the index over those that wait serves.
        terms.push(("waiting = 1 AND 1 = ?", Value::Integer(1)));
    }
    let sql = "SELECT seq, body FROM mails";
    page(conn, sql, "seq", terms, request, |r| body(r, 1))
}

pub(crate) fn get(conn: &Connection, position: i64) -> Outcome<(InboxMail, Option<Vec<u8>>)> {
    let sql = "SELECT body, content FROM mails WHERE seq = ?1";
    let mut found = collect(conn, sql, [position], |r| Ok((body(r, 0)?, r.get(1)?)))?;
    let missing = || StoreError::NotFound(format!("message {position}"));
    Ok(found.pop().ok_or_else(missing)?)
}

pub(crate) fn settle(conn: &Connection, position: i64, fate: MailFate) -> Outcome<InboxMail> {
    let (before, _) = get(conn, position)?;
    let after = settled(&before, fate)?;
    conn.prepare_cached(
        "UPDATE mails SET waiting = 0, bytes = 0, body = ?2, content = NULL WHERE seq = ?1",
    )?
    .execute(params![position, serde_json::to_string(&after)?])?;
    conn.prepare_cached(
        "DELETE FROM mails WHERE waiting = 0 AND seq <= (SELECT max(seq) - ?1 FROM mails)",
    )?
    .execute([MAILS_SETTLED_KEPT])?;
    Ok(after)
}

/// What people sent goes with them; the caller holds the transaction.
pub(crate) fn erase(conn: &Connection, addressed: &BTreeSet<Addressed>) -> Outcome<()> {
    for to in addressed.iter().filter(|to| to.is_customer) {
        if let Some(address) = &to.address {
            conn.prepare_cached("DELETE FROM mails WHERE address = ?1")?
                .execute([address.to_lowercase()])?;
        }
    }
    Ok(())
}
