//! Master data and its history.

use std::collections::BTreeSet;

use forecare_catalogue::Catalogue;
use forecare_domain::{Actor, AssetId};
use forecare_registry::{
    Action, Body, Known, Needs, RecordId, RecordKind, RecordRef, Stored, addressed, erase, needs,
    plan, stale,
};
use forecare_store::{
    Erasure, PAGE_ENTRIES_MAX, PageRequest, Paged, RECORD_VERSIONS_KEPT, RecordCommit,
    RecordFilter, RecordPage, RecordVersion, RecordsOutcome, StoredRecord, check_writes,
    nobody_to_erase,
};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::fault::{Outcome, unreadable};
use crate::query::collect;
use crate::{mails, outbox, registry, text};

/// Findings of a check at most.
const FINDINGS_MAX: usize = 20;

/// Stores changes; the caller holds the transaction, and is the only writer.
pub(crate) fn commit(
    conn: &Connection,
    catalogue: &Catalogue,
    commit: &RecordCommit,
) -> Outcome<RecordsOutcome> {
    check_writes(commit)?;
    let known = known(conn, &needs(&commit.writes))?;
    let plan = match plan(&commit.writes, &known, catalogue) {
        Ok(plan) => plan,
        Err(faults) => return Ok(RecordsOutcome::Refused(faults)),
    };
    for row in plan.rows {
        let action = match row.body {
            Some(_) => Action::Put,
            None => Action::Delete,
        };
        let record = StoredRecord {
            record: row.record,
            version: row.version,
            body: row.body,
            updated_at: commit.at,
            updated_by: commit.by.clone(),
        };
        write(conn, action, &record)?;
    }
    Ok(RecordsOutcome::Stored(plan.outcomes))
}

fn known(conn: &Connection, needs: &Needs) -> Outcome<Known> {
    let mut keys: BTreeSet<RecordRef> = needs.records.clone();
    for target in &needs.referrers_of {
        let sql = "SELECT kind, id FROM record_refs WHERE to_kind = ?1 AND to_id = ?2";
        let params = [target.kind.label(), target.id.as_str()];
        keys.extend(collect(conn, sql, params, reference)?);
    }
    let mut known = Known::default();
    for key in keys {
        if let Some(record) = get(conn, &key)? {
            let stored = Stored {
                version: record.version,
                body: record.body,
            };
            known.records.insert(key, stored);
        }
    }
    for id in &needs.assets {
        if let Ok(asset) = AssetId::new(id.as_str())
            && registry::is_known(conn, &asset)?
        {
            known.assets.insert(id.clone());
        }
    }
    Ok(known)
}

fn write(conn: &Connection, action: Action, record: &StoredRecord) -> Outcome<()> {
    let (kind, id) = (record.record.kind.label(), record.record.id.as_str());
    let body = record.body.as_ref().map(|b| b.to_value().to_string());
    let search = record.body.as_ref().map(|b| b.searched(&record.record.id));
    let (at, by) = (
        record.updated_at.as_millis(),
        serde_json::to_string(&record.updated_by)?,
    );
    conn.prepare_cached(
        "INSERT INTO records (kind, id, version, body, search, updated_at, updated_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, body = excluded.body,
             search = excluded.search, updated_at = excluded.updated_at, updated_by = excluded.updated_by",
    )?
    .execute(params![kind, id, record.version, body, search, at, by])?;
    conn.prepare_cached("DELETE FROM record_refs WHERE kind = ?1 AND id = ?2")?
        .execute([kind, id])?;
    for (_, target) in record.body.iter().flat_map(Body::references) {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO record_refs (kind, id, to_kind, to_id) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute([kind, id, target.kind.label(), target.id.as_str()])?;
    }
    conn.prepare_cached(
        "INSERT INTO record_versions (kind, id, version, action, body, at, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![kind, id, record.version, action.label(), body, at, by])?;
    conn.prepare_cached(
        "DELETE FROM record_versions WHERE kind = ?1 AND id = ?2 AND version <= ?3",
    )?
    .execute(params![kind, id, record.version - RECORD_VERSIONS_KEPT])?;
    Ok(())
}

fn reference(row: &Row<'_>) -> Outcome<RecordRef> {
    Ok(RecordRef::new(kind(row, 0)?, id(row, 1)?))
}

fn kind(row: &Row<'_>, column: usize) -> Outcome<RecordKind> {
    let label: String = row.get(column)?;
    label
        .parse()
        .map_err(|e: forecare_registry::UnknownKind| unreadable(e.to_string()))
}

fn id(row: &Row<'_>, column: usize) -> Outcome<RecordId> {
    let id: String = row.get(column)?;
    RecordId::new(id).map_err(|e| unreadable(format!("an id cannot be used: {e}")))
}

fn body(row: &Row<'_>, column: usize, record: &RecordRef) -> Outcome<Option<Body>> {
    let text: Option<String> = row.get(column)?;
    let Some(text) = text else { return Ok(None) };
    Body::read(record.kind, serde_json::from_str(&text)?)
        .map(Some)
        .map_err(|faults| unreadable(format!("{record} cannot be read ({faults})")))
}

fn actor(row: &Row<'_>, column: usize) -> Outcome<Actor> {
    let text: String = row.get(column)?;
    Ok(serde_json::from_str(&text)?)
}

const RECORD: &str = "SELECT kind, id, version, body, updated_at, updated_by FROM records";

fn record(row: &Row<'_>) -> Outcome<StoredRecord> {
    let record = reference(row)?;
    Ok(StoredRecord {
        version: row.get(2)?,
        body: body(row, 3, &record)?,
        record,
        updated_at: text::time(row, 4)?,
        updated_by: actor(row, 5)?,
    })
}

pub(crate) fn get(conn: &Connection, key: &RecordRef) -> Outcome<Option<StoredRecord>> {
    let sql = format!("{RECORD} WHERE kind = ?1 AND id = ?2");
    let found = collect(conn, &sql, [key.kind.label(), key.id.as_str()], record)?;
    Ok(found.into_iter().next())
}

pub(crate) fn list(
    conn: &Connection,
    kind: RecordKind,
    filter: &RecordFilter,
    page: &RecordPage,
) -> Outcome<Vec<StoredRecord>> {
    let text = |text: &str| Value::Text(text.to_owned());
    let after = page.after.as_ref().map_or("", RecordId::as_str);
    let mut sql = format!("{RECORD} WHERE kind = ? AND id > ? AND body IS NOT NULL");
    let mut values = vec![text(kind.label()), text(after)];
    if let Some(sought) = &filter.text {
        sql.push_str(" AND instr(search, ?) > 0");
        values.push(Value::Text(sought.to_lowercase()));
    }
    if let Some(target) = &filter.refers_to {
        sql.push_str(
            " AND id IN (SELECT id FROM record_refs WHERE to_kind = ? AND to_id = ? AND kind = ?)",
        );
        let label = target.kind.label();
        values.extend([text(label), text(target.id.as_str()), text(kind.label())]);
    }
    sql.push_str(" ORDER BY id LIMIT ?");
    values.push(Value::Integer(limit_of(page.limit)));
    collect(conn, &sql, params_from_iter(values), record)
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, PAGE_ENTRIES_MAX)).unwrap_or(1)
}

const VERSION: &str = "SELECT kind, id, version, action, body, at, by, seq FROM record_versions";

fn version(row: &Row<'_>) -> Outcome<RecordVersion> {
    let record = reference(row)?;
    let label: String = row.get(3)?;
    let action = [Action::Put, Action::Delete, Action::Erase]
        .into_iter()
        .find(|action| action.label() == label)
        .ok_or_else(|| unreadable(format!("\"{label}\" is not known here")))?;
    Ok(RecordVersion {
        version: row.get(2)?,
        action,
        body: body(row, 4, &record)?,
        record,
        at: text::time(row, 5)?,
        by: actor(row, 6)?,
    })
}

pub(crate) fn history(
    conn: &Connection,
    key: &RecordRef,
    request: PageRequest,
) -> Outcome<Vec<Paged<RecordVersion>>> {
    let sql = format!(
        "{VERSION} WHERE kind = ?1 AND id = ?2 AND version < ?3 ORDER BY version DESC LIMIT ?4"
    );
    let before = request.before.unwrap_or(i64::MAX);
    let params = params![
        key.kind.label(),
        key.id.as_str(),
        before,
        limit_of(request.limit)
    ];
    collect(conn, &sql, params, |row| {
        let item = version(row)?;
        Ok(Paged {
            position: item.version,
            item,
        })
    })
}

pub(crate) fn changes(
    conn: &Connection,
    after: i64,
    limit: usize,
) -> Outcome<Vec<Paged<RecordVersion>>> {
    let sql = format!("{VERSION} WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    collect(conn, &sql, [after, limit_of(limit)], |row| {
        Ok(Paged {
            position: row.get(7)?,
            item: version(row)?,
        })
    })
}

/// Takes a person out of a record and its history.
pub(crate) fn erase_person(conn: &Connection, erasure: &Erasure) -> Outcome<StoredRecord> {
    // What is written over is to be gone from the file's free pages too.
    conn.pragma_update(None, "secure_delete", "ON")?;
    let done = erase_everywhere(conn, erasure);
    conn.pragma_update(None, "secure_delete", "OFF")?;
    done
}

fn erase_everywhere(conn: &Connection, erasure: &Erasure) -> Outcome<StoredRecord> {
    let key = &erasure.record;
    let sql = format!("{VERSION} WHERE kind = ?1 AND id = ?2");
    let versions = collect(conn, &sql, [key.kind.label(), key.id.as_str()], version)?;
    let mut found = false;
    let mut addresses = BTreeSet::new();
    for old in versions {
        let body = old.body.iter();
        addresses.extend(body.flat_map(|b| addressed(&key.id, b, &erasure.person)));
        let Some(after) = old.body.as_ref().and_then(|b| erase(b, &erasure.person)) else {
            continue;
        };
        found = true;
        conn.prepare_cached(
            "UPDATE record_versions SET body = ?4 WHERE kind = ?1 AND id = ?2 AND version = ?3",
        )?
        .execute(params![
            key.kind.label(),
            key.id.as_str(),
            old.version,
            after.to_value().to_string()
        ])?;
    }
    let Some(before) = get(conn, key)?.filter(|_| found) else {
        return Err(nobody_to_erase(erasure).into());
    };
    let body = before.body.as_ref();
    let after = StoredRecord {
        record: key.clone(),
        version: before.version + 1,
        body: body.map(|b| erase(b, &erasure.person).unwrap_or_else(|| b.clone())),
        updated_at: erasure.at,
        updated_by: erasure.by.clone(),
    };
    write(conn, Action::Erase, &after)?;
    outbox::erase(conn, &addresses, erasure.at)?;
    mails::erase(conn, &addresses)?;
    Ok(after)
}

/// What does not hold any more, or never should have been: the first of it.
pub(crate) fn check(conn: &Connection, catalogue: &Catalogue) -> Outcome<Vec<String>> {
    let mut findings = Vec::new();
    let made = "SELECT 1 FROM sqlite_schema WHERE name = 'record_refs'";
    if !conn.prepare(made)?.exists([])? {
        return Ok(findings);
    }
    let dangling = "SELECT r.kind, r.id, r.to_kind, r.to_id FROM record_refs r
         WHERE NOT EXISTS (SELECT 1 FROM records t WHERE t.kind = r.to_kind AND t.id = r.to_id AND t.body IS NOT NULL)
           AND NOT (r.to_kind = 'asset' AND EXISTS (SELECT 1 FROM assets a WHERE a.id = r.to_id))
         ORDER BY r.kind, r.id LIMIT 20";
    findings.extend(collect(conn, dangling, [], |row| {
        let target = RecordRef::new(kind(row, 2)?, id(row, 3)?);
        Ok(format!(
            "{} refers to {target}, which is not there",
            reference(row)?
        ))
    })?);
    for kind in RecordKind::ALL {
        let mut page = RecordPage {
            after: None,
            limit: PAGE_ENTRIES_MAX,
        };
        loop {
            let found = list(conn, kind, &RecordFilter::default(), &page)?;
            for record in &found {
                let body = record.body.iter();
                findings.extend(body.flat_map(|b| stale(&record.record, b, catalogue)));
            }
            match found.last() {
                Some(last) if findings.len() < FINDINGS_MAX => {
                    page.after = Some(last.record.id.clone());
                }
                Some(_) | None => break,
            }
        }
    }
    findings.truncate(FINDINGS_MAX);
    Ok(findings)
}
