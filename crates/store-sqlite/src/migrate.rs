//! Brings a database file to the schema of this program: ordered, each step checksummed and in one
//! transaction with its record.

use forecare_domain::Timestamp;
use forecare_store::StoreError;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::fault::{Fault, Outcome, unreadable};

/// "FCRE": marks a SQLite file as one of Forecare.
const APPLICATION_ID: i32 = 0x4643_5245;

/// Every step ever shipped, oldest first. Never edit one that has been released: add another.
const MIGRATIONS: &[(&str, &str)] = &[("0001_first", include_str!("../migrations/0001_first.sql"))];

/// Applies what is missing.
pub(crate) fn migrate(conn: &mut Connection, now: Timestamp) -> Outcome<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let n_objects: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    let id: i32 = tx.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    if n_objects > 0 && id != APPLICATION_ID {
        return Err(Fault::Store(StoreError::Corrupt {
            what: "the file is a SQLite database of another program; choose another data directory"
                .to_owned(),
            source: None,
        }));
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_steps (
            step INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL
        ) STRICT",
    )?;
    let applied: Vec<(String, String)> = tx
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
    for (i, (name, sql)) in MIGRATIONS.iter().enumerate() {
        let checksum = format!("{:016x}", fnv1a(sql.as_bytes()));
        match applied.get(i) {
            Some((n, c)) if n == name && *c == checksum => {}
            Some((n, _)) => {
                return Err(unreadable(format!(
                    "its schema step {n} is not this program's {name}"
                )));
            }
            None => {
                tx.execute_batch(sql)?;
                tx.execute(
                    "INSERT INTO schema_steps (name, checksum, applied_at) VALUES (?1, ?2, ?3)",
                    params![name, checksum, now.as_millis()],
                )?;
            }
        }
    }
    tx.commit()?;
    Ok(())
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
