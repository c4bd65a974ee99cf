//! Brings a schema to the one of this program: ordered, each step checksummed and in one transaction with
//! its record.

use forecare_domain::Timestamp;
use forecare_store::StoreError;
use sha2::{Digest, Sha256};
use tokio_postgres::Transaction;

use crate::fault::{Fault, Outcome, unreadable};
use crate::instant::Instant;

/// Every step ever shipped, oldest first. Never edit one that has been released: add another.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_first", include_str!("../migrations/0001_first.sql")),
    (
        "0002_records",
        include_str!("../migrations/0002_records.sql"),
    ),
    (
        "0003_tickets",
        include_str!("../migrations/0003_tickets.sql"),
    ),
    ("0004_parts", include_str!("../migrations/0004_parts.sql")),
    ("0005_outbox", include_str!("../migrations/0005_outbox.sql")),
    ("0006_units", include_str!("../migrations/0006_units.sql")),
    ("0007_files", include_str!("../migrations/0007_files.sql")),
    (
        "0008_scrapped",
        include_str!("../migrations/0008_scrapped.sql"),
    ),
    ("0009_mails", include_str!("../migrations/0009_mails.sql")),
];

/// Number of steps this program knows.
pub(crate) const STEPS: usize = MIGRATIONS.len();

/// Applies what is missing to the schema in the search path; the caller holds the lock of the start.
pub(crate) async fn migrate(tx: &Transaction<'_>, now: Timestamp) -> Outcome<()> {
    tx.batch_execute(
        "CREATE TABLE IF NOT EXISTS schema_steps (
            step integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL UNIQUE, checksum text NOT NULL, applied_at timestamptz NOT NULL)",
    )
    .await?;
    let n_applied = check(tx).await?;
    for (name, sql) in MIGRATIONS.iter().skip(n_applied) {
        tx.batch_execute(sql).await?;
        tx.execute(
            "INSERT INTO schema_steps (name, checksum, applied_at) VALUES ($1, $2, $3)",
            &[name, &sha256(sql.as_bytes()), &Instant(now)],
        )
        .await?;
        tracing::info!(step = name, "schema step applied");
    }
    Ok(())
}

/// Whether the schema in the search path has been made.
pub(crate) async fn is_there(tx: &Transaction<'_>) -> Outcome<bool> {
    let row = tx
        .query_one("SELECT to_regclass('schema_steps') IS NOT NULL", &[])
        .await?;
    Ok(row.try_get(0)?)
}

/// How many of this program's steps the schema has, all of them unchanged.
pub(crate) async fn check(tx: &Transaction<'_>) -> Outcome<usize> {
    let applied = tx
        .query("SELECT name, checksum FROM schema_steps ORDER BY step", &[])
        .await?;
    if applied.len() > MIGRATIONS.len() {
        return Err(newer(applied.len()));
    }
    for (row, (name, sql)) in applied.iter().zip(MIGRATIONS) {
        let (n, c): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if n != *name || c != sha256(sql.as_bytes()) {
            return Err(unreadable(format!(
                "its schema step {n} is not this program's {name}: another build has written it"
            )));
        }
    }
    Ok(applied.len())
}

fn newer(n_steps: usize) -> Fault {
    Fault::Store(StoreError::Corrupt {
        what: format!(
            "a newer Forecare wrote it (schema {n_steps}, this program knows {STEPS}); use that version, or restore the backup made before it"
        ),
        source: None,
    })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
