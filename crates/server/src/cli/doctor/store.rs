//! The store: whole, of this program's schema, its books in order.

use forecare_domain::Clock;
use forecare_store::StoreError;
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::{FindingVerdict, TimescaleStore};

use super::{Findings, Level, Patient};
use crate::clock::SystemClock;
use crate::home::DATABASE;
use crate::storage::settings;

const CHECK: &str = "store";

pub(super) async fn examine(patient: &Patient, findings: &mut Findings) {
    if patient.config.store.url.is_empty() {
        sqlite(patient, findings);
    } else {
        timescale(patient, findings).await;
    }
}

/// Looks at the database as the service would find it, and changes nothing: it may run beside this.
async fn timescale(patient: &Patient, findings: &mut Findings) {
    let settings = match settings(&patient.config.store) {
        Ok(settings) => settings,
        Err(error) => return findings.failed(CHECK, &error),
    };
    let store = match TimescaleStore::open_to_examine(settings, &patient.catalogue).await {
        Ok(Some(store)) => store,
        Ok(None) => {
            return findings.ok(CHECK, "TimescaleDB; the schema is made at the first start");
        }
        // Its sources are part of the text already.
        Err(error) => return findings.push(CHECK, Level::Fail, error.to_string(), None),
    };
    findings.ok(CHECK, "TimescaleDB, as configured");
    served(patient, store.served_by().await, findings);
    for finding in store.examine(SystemClock.now()).await {
        let level = match finding.verdict {
            FindingVerdict::Ok => Level::Ok,
            FindingVerdict::Warn => Level::Warn,
            FindingVerdict::Fail => Level::Fail,
        };
        findings.push(finding.name, level, finding.what, finding.fix);
    }
    registry(store.check_records().await, findings);
    store.close().await;
}

/// Who works on the schema.
fn served(patient: &Patient, by: Result<Option<String>, StoreError>, findings: &mut Findings) {
    match by {
        Ok(Some(who)) if patient.running => findings.ok(CHECK, format!("worked on by {who}")),
        Ok(Some(who)) => findings.warn(
            CHECK,
            format!("another service works on the schema: {who}"),
            "a start of this one is refused meanwhile: stop that one, or give this one a schema of its own ([store] schema)",
        ),
        Ok(None) if patient.running => findings.warn(
            CHECK,
            "the running service does not hold the schema",
            "it takes it again within seconds after the database was away; see its log",
        ),
        Ok(None) => findings.ok(CHECK, "no service works on the schema"),
        Err(error) => findings.failed(CHECK, &anyhow::Error::from(error)),
    }
}

/// What master data says, and no longer holds.
fn registry(checked: Result<Vec<String>, StoreError>, findings: &mut Findings) {
    const CHECK: &str = "registry";
    match checked {
        Ok(stale) if stale.is_empty() => {
            findings.ok(CHECK, "master data: every reference leads somewhere");
        }
        Ok(stale) => findings.warn(
            CHECK,
            stale.join("; "),
            "change these records (`forecare registry export`, then `import`), or put the name back into the catalogue",
        ),
        Err(error) => findings.failed(CHECK, &anyhow::Error::from(error)),
    }
}

fn sqlite(patient: &Patient, findings: &mut Findings) {
    let file = patient.home.join(DATABASE);
    if !file.is_file() {
        findings.ok(CHECK, "SQLite, made at the first start");
        return;
    }
    match SqliteStore::check(&file) {
        Ok(()) => {
            let bytes = std::fs::metadata(&file).map_or(0, |m| m.len());
            findings.ok(
                CHECK,
                format!(
                    "SQLite, {} MiB, every page and index whole, stock equals its ledger",
                    bytes >> 20
                ),
            );
            let checked = SqliteStore::check_records(&file, &patient.catalogue);
            registry(checked, findings);
        }
        Err(error) => findings.fail(
            CHECK,
            format!("{:#}", anyhow::Error::from(error)),
            "stop the service and restore the file from a backup",
        ),
    }
}
