//! Master data and its history. Every change is made under [`lock_records`](crate::connection::lock_records), so that
//! references hold and positions of versions are in the order of their commits.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Transaction;
use forecare_catalogue::Catalogue;
use forecare_domain::Actor;
use forecare_registry::{
    Action, Body, Known, Needs, RecordId, RecordKind, RecordRef, Stored, addressed, erase, needs,
    plan, stale,
};
use forecare_store::{
    Erasure, PAGE_ENTRIES_MAX, PageRequest, Paged, RECORD_VERSIONS_KEPT, RecordCommit,
    RecordFilter, RecordPage, RecordVersion, RecordsOutcome, StoredRecord, check_writes,
    nobody_to_erase,
};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::connection::lock_care;
use crate::fault::{Outcome, unreadable};
use crate::instant::Instant;
use crate::query::{collect, execute};
use crate::{mails, outbox, text};

/// Findings of a check at most.
const FINDINGS_MAX: usize = 20;
/// Rows written by one statement.
const CHUNK: usize = 1_000;

/// Stores changes; the caller holds the transaction and the lock.
pub(crate) async fn commit(
    tx: &Transaction<'_>,
    catalogue: &Catalogue,
    commit: &RecordCommit,
) -> Outcome<RecordsOutcome> {
    check_writes(commit)?;
    let known = known(tx, &needs(&commit.writes)).await?;
    let plan = match plan(&commit.writes, &known, catalogue) {
        Ok(plan) => plan,
        Err(faults) => return Ok(RecordsOutcome::Refused(faults)),
    };
    let records: Vec<StoredRecord> = plan
        .rows
        .into_iter()
        .map(|row| StoredRecord {
            record: row.record,
            version: row.version,
            body: row.body,
            updated_at: commit.at,
            updated_by: commit.by.clone(),
        })
        .collect();
    for chunk in records.chunks(CHUNK) {
        write(tx, None, chunk).await?;
    }
    Ok(RecordsOutcome::Stored(plan.outcomes))
}

/// Kinds and ids as two arrays, for `unnest`.
fn arrays<'a>(keys: impl IntoIterator<Item = &'a RecordRef>) -> (Vec<&'static str>, Vec<&'a str>) {
    keys.into_iter()
        .map(|key| (key.kind.label(), key.id.as_str()))
        .unzip()
}

async fn known(tx: &Transaction<'_>, needs: &Needs) -> Outcome<Known> {
    let mut known = Known::default();
    let (kinds, ids) = arrays(&needs.records);
    let (to_kinds, to_ids) = arrays(&needs.referrers_of);
    let found = collect(
        tx,
        "SELECT kind, id, version, body::text, updated_at, updated_by::text FROM records WHERE (kind, id) IN (
             SELECT k, i FROM unnest($1::text[], $2::text[]) AS asked (k, i)
             UNION
             SELECT r.kind, r.id FROM record_refs r
             JOIN unnest($3::text[], $4::text[]) AS target (k, i) ON r.to_kind = target.k AND r.to_id = target.i)",
        &[&kinds, &ids, &to_kinds, &to_ids],
        record,
    )
    .await?;
    for record in found {
        let stored = Stored {
            version: record.version,
            body: record.body,
        };
        known.records.insert(record.record, stored);
    }
    let assets: Vec<&str> = needs.assets.iter().map(RecordId::as_str).collect();
    let sql = "SELECT id FROM assets WHERE id = ANY ($1::text[])";
    known.assets = collect(tx, sql, &[&assets], |row| id(row, 0))
        .await?
        .into_iter()
        .collect();
    Ok(known)
}

/// Writes records of which none comes twice. `action` where it is not told by the body.
async fn write(
    tx: &Transaction<'_>,
    action: Option<Action>,
    records: &[StoredRecord],
) -> Outcome<()> {
    let Some(first) = records.first() else {
        return Ok(());
    };
    let (kinds, ids) = arrays(records.iter().map(|r| &r.record));
    let versions: Vec<i64> = records.iter().map(|r| r.version).collect();
    let bodies: Vec<Option<String>> = records
        .iter()
        .map(|r| r.body.as_ref().map(|b| b.to_value().to_string()))
        .collect();
    let searches: Vec<Option<String>> = records
        .iter()
        .map(|r| r.body.as_ref().map(|b| b.searched(&r.record.id)))
        .collect();
    let actions: Vec<&str> = records
        .iter()
        .map(|r| {
            let told = match r.body {
                Some(_) => Action::Put,
                None => Action::Delete,
            };
            action.unwrap_or(told).label()
        })
        .collect();
    let at = Instant(first.updated_at);
    let by = serde_json::to_string(&first.updated_by)?;
    execute(
        tx,
        "INSERT INTO records (kind, id, version, body, search, updated_at, updated_by)
         SELECT k, i, v, b::jsonb, s, $6, $7::text::jsonb
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[]) AS new (k, i, v, b, s)
         ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, body = excluded.body,
             search = excluded.search, updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        &[&kinds, &ids, &versions, &bodies, &searches, &at, &by],
    )
    .await?;
    execute(
        tx,
        "DELETE FROM record_refs WHERE (kind, id) IN (SELECT k, i FROM unnest($1::text[], $2::text[]) AS old (k, i))",
        &[&kinds, &ids],
    )
    .await?;
    let mut refers: [Vec<String>; 4] = Default::default();
    for record in records {
        for (_, target) in record.body.iter().flat_map(Body::references) {
            let cells = [
                record.record.kind.label(),
                record.record.id.as_str(),
                target.kind.label(),
                target.id.as_str(),
            ];
            for (column, cell) in refers.iter_mut().zip(cells) {
                column.push(cell.to_owned());
            }
        }
    }
    let [from_kinds, from_ids, to_kinds, to_ids] = &refers;
    execute(
        tx,
        "INSERT INTO record_refs (kind, id, to_kind, to_id)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING",
        &[from_kinds, from_ids, to_kinds, to_ids],
    )
    .await?;
    // In the order of the caller's list, so that positions follow it.
    execute(
        tx,
        "INSERT INTO record_versions (kind, id, version, action, body, at, by)
         SELECT k, i, v, a, b::jsonb, $6, $7::text::jsonb
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
             WITH ORDINALITY AS new (k, i, v, a, b, n) ORDER BY n",
        &[&kinds, &ids, &versions, &actions, &bodies, &at, &by],
    )
    .await?;
    execute(
        tx,
        "DELETE FROM record_versions old USING unnest($1::text[], $2::text[], $3::bigint[]) AS new (k, i, v)
         WHERE old.kind = new.k AND old.id = new.i AND old.version <= new.v - $4",
        &[&kinds, &ids, &versions, &RECORD_VERSIONS_KEPT],
    )
    .await?;
    Ok(())
}

fn reference(row: &Row) -> Outcome<RecordRef> {
    Ok(RecordRef::new(kind(row, 0)?, id(row, 1)?))
}

fn kind(row: &Row, column: usize) -> Outcome<RecordKind> {
    let label: &str = row.try_get(column)?;
    label
        .parse()
        .map_err(|e: forecare_registry::UnknownKind| unreadable(e.to_string()))
}

fn id(row: &Row, column: usize) -> Outcome<RecordId> {
    let id: String = row.try_get(column)?;
    RecordId::new(id).map_err(|e| unreadable(format!("an id cannot be used: {e}")))
}

fn body(row: &Row, column: usize, record: &RecordRef) -> Outcome<Option<Body>> {
    let text: Option<&str> = row.try_get(column)?;
    let Some(text) = text else { return Ok(None) };
    Body::read(record.kind, serde_json::from_str(text)?)
        .map(Some)
        .map_err(|faults| unreadable(format!("{record} cannot be read ({faults})")))
}

fn actor(row: &Row, column: usize) -> Outcome<Actor> {
    Ok(serde_json::from_str(row.try_get(column)?)?)
}

const RECORD: &str =
    "SELECT kind, id, version, body::text, updated_at, updated_by::text FROM records";

fn record(row: &Row) -> Outcome<StoredRecord> {
    let record = reference(row)?;
    Ok(StoredRecord {
        version: row.try_get(2)?,
        body: body(row, 3, &record)?,
        record,
        updated_at: text::time(row, 4)?,
        updated_by: actor(row, 5)?,
    })
}

pub(crate) async fn get(tx: &Transaction<'_>, key: &RecordRef) -> Outcome<Option<StoredRecord>> {
    let sql = format!("{RECORD} WHERE kind = $1 AND id = $2");
    let found = collect(tx, &sql, &[&key.kind.label(), &key.id.as_str()], record).await?;
    Ok(found.into_iter().next())
}

pub(crate) async fn list(
    tx: &Transaction<'_>,
    kind: RecordKind,
    filter: &RecordFilter,
    page: &RecordPage,
) -> Outcome<Vec<StoredRecord>> {
    let label = kind.label();
    let after = page.after.as_ref().map_or("", RecordId::as_str);
    let limit = limit_of(page.limit);
    let sought = filter
        .text
        .as_deref()
        .map(|text| text::storable(text).to_lowercase());
    let target = filter.refers_to.as_ref();
    let target = target.map(|target| (target.kind.label(), target.id.as_str()));
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&label, &after, &limit];
    let mut sql = format!("{RECORD} WHERE kind = $1 AND id > $2 AND body IS NOT NULL");
    if let Some(sought) = &sought {
        params.push(sought);
        sql.push_str(&format!(" AND strpos(search, ${}) > 0", params.len()));
    }
    if let Some((to_kind, to_id)) = &target {
        params.push(to_kind);
        params.push(to_id);
        let n = params.len();
        sql.push_str(&format!(
            " AND id IN (SELECT id FROM record_refs WHERE to_kind = ${} AND to_id = ${n} AND kind = $1)",
            n - 1
        ));
    }
    sql.push_str(" ORDER BY id LIMIT $3");
    collect(tx, &sql, &params, record).await
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, PAGE_ENTRIES_MAX)).unwrap_or(1)
}

const VERSION: &str =
    "SELECT kind, id, version, action, body::text, at, by::text, seq FROM record_versions";

fn version(row: &Row) -> Outcome<RecordVersion> {
    let record = reference(row)?;
    let label: &str = row.try_get(3)?;
    let action = [Action::Put, Action::Delete, Action::Erase]
        .into_iter()
        .find(|action| action.label() == label)
        .ok_or_else(|| unreadable(format!("\"{label}\" is not known here")))?;
    Ok(RecordVersion {
        version: row.try_get(2)?,
        action,
        body: body(row, 4, &record)?,
        record,
        at: text::time(row, 5)?,
        by: actor(row, 6)?,
    })
}

pub(crate) async fn history(
    tx: &Transaction<'_>,
    key: &RecordRef,
    request: PageRequest,
) -> Outcome<Vec<Paged<RecordVersion>>> {
    let sql = format!(
        "{VERSION} WHERE kind = $1 AND id = $2 AND version < $3 ORDER BY version DESC LIMIT $4"
    );
    let (before, limit) = (request.before.unwrap_or(i64::MAX), limit_of(request.limit));
    let (kind, id) = (key.kind.label(), key.id.as_str());
    collect(tx, &sql, &[&kind, &id, &before, &limit], |row| {
        let item = version(row)?;
        Ok(Paged {
            position: item.version,
            item,
        })
    })
    .await
}

pub(crate) async fn changes(
    tx: &Transaction<'_>,
    after: i64,
    limit: usize,
) -> Outcome<Vec<Paged<RecordVersion>>> {
    let sql = format!("{VERSION} WHERE seq > $1 ORDER BY seq LIMIT $2");
    collect(tx, &sql, &[&after, &limit_of(limit)], |row| {
        Ok(Paged {
            position: row.try_get(7)?,
            item: version(row)?,
        })
    })
    .await
}

/// Takes a person out of a record and its history; the caller holds the transaction and the lock.
pub(crate) async fn erase_person(tx: &Transaction<'_>, erasure: &Erasure) -> Outcome<StoredRecord> {
    let key = &erasure.record;
    let (kind, id) = (key.kind.label(), key.id.as_str());
    let sql = format!("{VERSION} WHERE kind = $1 AND id = $2");
    let mut scrubbed: BTreeMap<i64, String> = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for old in collect(tx, &sql, &[&kind, &id], version).await? {
        let body = old.body.iter();
        addresses.extend(body.flat_map(|b| addressed(&key.id, b, &erasure.person)));
        if let Some(after) = old.body.as_ref().and_then(|b| erase(b, &erasure.person)) {
            scrubbed.insert(old.version, after.to_value().to_string());
        }
    }
    let Some(before) = get(tx, key).await?.filter(|_| !scrubbed.is_empty()) else {
        return Err(nobody_to_erase(erasure).into());
    };
    let versions: Vec<i64> = scrubbed.keys().copied().collect();
    let bodies: Vec<&str> = scrubbed.values().map(String::as_str).collect();
    execute(
        tx,
        "UPDATE record_versions SET body = b::jsonb FROM unnest($3::bigint[], $4::text[]) AS new (v, b)
         WHERE kind = $1 AND id = $2 AND version = v",
        &[&kind, &id, &versions, &bodies],
    )
    .await?;
    let body = before.body.as_ref();
    let after = StoredRecord {
        record: key.clone(),
        version: before.version + 1,
        body: body.map(|b| erase(b, &erasure.person).unwrap_or_else(|| b.clone())),
        updated_at: erasure.at,
        updated_by: erasure.by.clone(),
    };
    write(tx, Some(Action::Erase), std::slice::from_ref(&after)).await?;
    // Nothing waits for records while it has this lock.
    lock_care(tx).await?;
    outbox::erase(tx, &addresses, erasure.at).await?;
    mails::erase(tx, &addresses).await?;
    Ok(after)
}

/// What does not hold any more, or never should have been: the first of it.
pub(crate) async fn check(tx: &Transaction<'_>, catalogue: &Catalogue) -> Outcome<Vec<String>> {
    let made = "SELECT 1 WHERE to_regclass('record_refs') IS NOT NULL";
    if collect(tx, made, &[], |_| Ok(())).await?.is_empty() {
        return Ok(Vec::new());
    }
    let dangling = "SELECT r.kind, r.id, r.to_kind, r.to_id FROM record_refs r
         WHERE NOT EXISTS (SELECT 1 FROM records t WHERE t.kind = r.to_kind AND t.id = r.to_id AND t.body IS NOT NULL)
           AND NOT (r.to_kind = 'asset' AND EXISTS (SELECT 1 FROM assets a WHERE a.id = r.to_id))
         ORDER BY r.kind, r.id LIMIT 20";
    let mut findings = collect(tx, dangling, &[], |row| {
        let target = RecordRef::new(kind(row, 2)?, id(row, 3)?);
        Ok(format!(
            "{} refers to {target}, which is not there",
            reference(row)?
        ))
    })
    .await?;
    for kind in RecordKind::ALL {
        let mut page = RecordPage {
            after: None,
            limit: PAGE_ENTRIES_MAX,
        };
        loop {
            let found = list(tx, kind, &RecordFilter::default(), &page).await?;
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
