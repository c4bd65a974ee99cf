//! Brings a database file to the schema of this program: ordered, each step checksummed and in one
//! transaction with its record.

use forecare_domain::Timestamp;
use forecare_store::StoreError;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::fault::{Fault, Outcome, unreadable};

/// "FCRE": marks a SQLite file as one of Forecare.
const APPLICATION_ID: i32 = 0x4643_5245;

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

/// Applies what is missing.
pub(crate) fn migrate(conn: &mut Connection, now: Timestamp) -> Outcome<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    check_owner(&tx)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_steps (
            step INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL
        ) STRICT",
    )?;
    let n_applied = check_steps(&tx)?;
    for (name, sql) in MIGRATIONS.iter().skip(n_applied) {
        tx.execute_batch(sql)?;
        tx.execute(
            "INSERT INTO schema_steps (name, checksum, applied_at) VALUES (?1, ?2, ?3)",
            params![name, checksum(sql), now.as_millis()],
        )?;
    }
    tx.commit()?;
    Ok(())
}

/// That the file is ours, and none of its steps another one's than this program's; changes nothing.
pub(crate) fn check(conn: &Connection) -> Outcome<()> {
    check_owner(conn)?;
    check_steps(conn)?;
    Ok(())
}

fn check_owner(conn: &Connection) -> Outcome<()> {
    let n_objects: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    let id: i32 = conn.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    if n_objects > 0 && id != APPLICATION_ID {
        return Err(Fault::Store(StoreError::Corrupt {
            what: "the file is a SQLite database of another program; choose another data directory"
                .to_owned(),
            source: None,
        }));
    }
    Ok(())
}

/// How many of this program's steps the file has, all of them unchanged.
fn check_steps(conn: &Connection) -> Outcome<usize> {
    let applied: Vec<(String, String)> = conn
        .prepare("SELECT name, checksum FROM schema_steps ORDER BY step")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    if applied.len() > MIGRATIONS.len() {
        return Err(Fault::Store(StoreError::Corrupt {
            what: format!(
                "a newer Forecare wrote it (schema {}, this program knows {}); use that version, or restore the backup made before it",
                applied.len(),
                MIGRATIONS.len()
            ),
            source: None,
        }));
    }
    for ((n, c), (name, sql)) in applied.iter().zip(MIGRATIONS) {
        if n != name || *c != checksum(sql) {
            return Err(unreadable(format!(
                "its schema step {n} is not this program's {name}"
            )));
        }
    }
    Ok(applied.len())
}

fn checksum(sql: &str) -> String {
    format!("{:016x}", fnv1a(sql.as_bytes()))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
