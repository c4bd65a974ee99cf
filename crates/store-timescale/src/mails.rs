//! Messages that came by e-mail and belong nowhere yet. Every change is made under
//! [`lock_care`](crate::connection::lock_care).

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use forecare_domain::{InboxMail, MailFate};
use forecare_registry::Addressed;
use forecare_store::{MAILS_SETTLED_KEPT, NewMail, PageRequest, Paged, StoreError, settled};

use crate::fault::Outcome;
use crate::query::{Term, body, collect, execute, page};
use crate::{outbox, text};

pub(crate) async fn put(tx: &Transaction<'_>, new: &NewMail) -> Outcome<Paged<InboxMail>> {
    let mail = &new.mail;
    let message_id = text::storable(&mail.message_id);
    let sql = "SELECT seq, body::text FROM mails WHERE message_id = $1";
    let mut known = collect(tx, sql, &[&message_id], |r| {
        Ok(Paged {
            position: r.try_get(0)?,
            item: body(r, 1)?,
        })
    })
    .await?;
    if let Some(known) = known.pop() {
        return Ok(known);
    }
    let sum = "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM mails WHERE waiting";
    let kept = collect(tx, sum, &[], |r| Ok((text::count(r, 0)?, r.try_get(1)?))).await?;
    let (n, before) = kept.first().copied().unwrap_or_default();
    if let Some(full) = new.too_much(n, before) {
        return Err(full.into());
    }
    let insert = "INSERT INTO mails (message_id, address, waiting, bytes, body, content)
        VALUES ($1, $2, true, $3, $4::text::json, $5) RETURNING seq";
    let positions = collect(
        tx,
        insert,
        &[
            &message_id,
            &text::storable(&mail.address),
            &new.bytes(),
            &serde_json::to_string(mail)?,
            &new.content,
        ],
        |r| Ok(r.try_get(0)?),
    )
    .await?;
    outbox::write(tx, std::slice::from_ref(&new.notice)).await?;
    Ok(Paged {
        position: positions.first().copied().unwrap_or_default(),
        item: mail.clone(),
    })
}

pub(crate) async fn all(
    tx: &Transaction<'_>,
    waiting_only: bool,
    request: PageRequest,
) -> Outcome<Vec<Paged<InboxMail>>> {
    let terms: Vec<Term> = waiting_only
        .then_some(("waiting", None))
        .into_iter()
        .collect();
    let sql = "SELECT seq, body::text FROM mails";
    page(tx, sql, "seq", terms, request, |r| body(r, 1)).await
}

pub(crate) async fn get(
    tx: &Transaction<'_>,
    position: i64,
) -> Outcome<(InboxMail, Option<Vec<u8>>)> {
    let sql = "SELECT body::text, content FROM mails WHERE seq = $1";
    let mut found = collect(tx, sql, &[&position], |r| Ok((body(r, 0)?, r.try_get(1)?))).await?;
    let missing = || StoreError::NotFound(format!("message {position}"));
    Ok(found.pop().ok_or_else(missing)?)
}

pub(crate) async fn settle(
    tx: &Transaction<'_>,
    position: i64,
    fate: MailFate,
) -> Outcome<InboxMail> {
    let (before, _) = get(tx, position).await?;
    let after = settled(&before, fate)?;
    execute(
        tx,
        "UPDATE mails SET waiting = false, bytes = 0, body = $2::text::json, content = NULL WHERE seq = $1",
        &[&position, &serde_json::to_string(&after)?],
    )
    .await?;
    execute(
        tx,
        "DELETE FROM mails WHERE NOT waiting AND seq <= (SELECT max(seq) - $1 FROM mails)",
        &[&MAILS_SETTLED_KEPT],
    )
    .await?;
    Ok(after)
}

/// What people sent goes with them; the caller holds the transaction.
pub(crate) async fn erase(tx: &Transaction<'_>, addressed: &BTreeSet<Addressed>) -> Outcome<()> {
    for to in addressed.iter().filter(|to| to.is_customer) {
        if let Some(address) = &to.address {
            let sql = "DELETE FROM mails WHERE address = $1";
            execute(tx, sql, &[&address.to_lowercase()]).await?;
        }
    }
    Ok(())
}
