//! The batch: readings and everything that goes with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deadpool_postgres::Transaction;
use forecare_domain::{
    Alarm, AlarmChange, Asset, CareTask, DeviceEvent, DeviceId, MetricName, RejectReason,
    Rejection, Row, Timestamp,
};
use forecare_store::{
    CONFLICTS_KEPT, CommitBatch, CommitReceipt, Conflict, DEAD_LETTERS_KEPT, EVENTS_KEPT, NewTask,
    ScoredRow,
};
use tokio_postgres::error::SqlState;

use crate::connection::{Pool, Session};
use crate::fault::{Fault, Outcome};
use crate::instant::Instant;
use crate::layout::{Layout, metric_number};
use crate::query::execute;
use crate::rows::{Buffers, Stored, commit_rows};
use crate::{registry, text};

/// Tries of one batch: each but the first follows on another writer's getting between, or on rows found out.
const TRIES_MAX: usize = 8;
/// Chunks that one transaction may touch. Each takes several locks, of which PostgreSQL has some 6,400 by default;
/// and making hundreds takes longer than a statement may.
const CHUNKS_MAX: i64 = 64;

/// How much of what is remembered about the store may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A row newer than its device's newest is new.
    Newest,
    /// Every row is looked up: another writer has stored some meanwhile.
    Nothing,
}

/// What is remembered of a registered device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownDevice {
    pub(crate) device_no: i32,
    /// Index of its class in the layout.
    pub(crate) class: usize,
    /// Time of its newest row.
    pub(crate) newest: Option<Timestamp>,
}

/// What the writer remembers between batches; forgotten after a rollback, as it may never have happened.
#[derive(Debug, Default)]
pub(crate) struct Known {
    devices: HashMap<DeviceId, KnownDevice>,
    metrics: HashMap<MetricName, i32>,
}

impl Known {
    pub(crate) fn device(&self, id: &DeviceId) -> Option<KnownDevice> {
        self.devices.get(id).copied()
    }

    /// Reads what is not known yet of the devices of `rows`.
    pub(crate) async fn load(
        &mut self,
        tx: &Transaction<'_>,
        layout: &Layout,
        rows: &[ScoredRow],
    ) -> Outcome<()> {
        let missing: BTreeSet<&DeviceId> = rows
            .iter()
            .map(|scored| &scored.row.device)
            .filter(|id| !self.devices.contains_key(*id))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(|id| id.as_str()).collect();
        let statement = tx
            .prepare_cached(
                "SELECT d.name, d.device_no, d.class_no, l.ts FROM devices AS d
                 JOIN assets AS a ON a.device = d.name LEFT JOIN latest AS l USING (device_no)
                 WHERE d.name = ANY ($1)",
            )
            .await?;
        for row in tx.query(&statement, &[&names]).await? {
            let class_no: i32 = row.try_get(2)?;
            let newest: Option<Instant> = row.try_get(3)?;
            let class = layout.classes.iter().position(|c| c.class_no == class_no);
            if let Some(class) = class {
                let device = KnownDevice {
                    device_no: row.try_get(1)?,
                    class,
                    newest: newest.map(|ts| ts.0),
                };
                self.devices.insert(text::name(&row, 0)?, device);
            }
        }
        Ok(())
    }

    /// Whether `row` is at least as new as everything else of its device; remembered if so.
    pub(crate) fn is_newest(&mut self, row: &Row) -> bool {
        let Some(device) = self.devices.get_mut(&row.device) else {
            return false;
        };
        let is_newest = device.newest.is_none_or(|newest| row.ts >= newest);
        if is_newest {
            device.newest = Some(row.ts);
        }
        is_newest
    }

    pub(crate) async fn metric(&mut self, tx: &Transaction<'_>, name: &MetricName) -> Outcome<i32> {
        if let Some(number) = self.metrics.get(name) {
            return Ok(*number);
        }
        let number = metric_number(tx, name).await?;
        self.metrics.insert(name.clone(), number);
        Ok(number)
    }
}

/// The one writer of batches of this process.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    known: Known,
    buffers: Buffers,
}

impl Ingest {
    /// Assets have changed hands.
    pub(crate) fn forget(&mut self) {
        self.known = Known::default();
    }

    /// Stores a batch, whole or not at all; of one that reaches over too many chunks for one transaction the
    /// older rows first.
    pub(crate) async fn commit_batch(
        &mut self,
        pool: &Pool,
        layout: &Layout,
        batch: &CommitBatch,
    ) -> Outcome<CommitReceipt> {
        let Some(parts) = layout.chunk_ms.and_then(|ms| parts_in_time(batch, ms)) else {
            return self.commit_whole(pool, layout, batch).await;
        };
        let mut receipt = CommitReceipt::default();
        for part in &parts {
            let stored = self.commit_whole(pool, layout, part).await?;
            receipt.inserted += stored.inserted;
            receipt.duplicates += stored.duplicates;
            receipt.conflicts += stored.conflicts;
        }
        Ok(receipt)
    }

    async fn commit_whole(
        &mut self,
        pool: &Pool,
        layout: &Layout,
        batch: &CommitBatch,
    ) -> Outcome<CommitReceipt> {
        let mut poison = BTreeMap::new();
        let mut trust = Trust::Newest;
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let mut session = pool.ingest_session().await?;
            let done = self
                .attempt(pool, &mut session, layout, batch, &poison, trust)
                .await;
            let fault = match done {
                Ok(receipt) => {
                    session.release();
                    return Ok(receipt);
                }
                Err(fault) => fault,
            };
            // A race does not come out the same way every time; a unique index that somebody has added does.
            let is_lasting = n_tries >= TRIES_MAX;
            if fault.is_overtaken() && !(is_lasting && fault.is_about_a_row()) {
                if is_lasting {
                    session.release();
                    return Err(Fault::Overtaken);
                }
                trust = Trust::Nothing;
            } else if fault.is_about_a_row() {
                let found = self
                    .find_poison(&mut session, layout, &batch.rows, &poison, is_lasting)
                    .await;
                match found {
                    Ok(found) if found.is_empty() => {
                        session.release_after(&fault);
                        return Err(fault);
                    }
                    Ok(found) => poison.extend(found),
                    // Another writer stores the same rows: that is not their fault.
                    Err(Fault::Overtaken) => trust = Trust::Nothing,
                    Err(fault) => return Err(fault),
                }
            } else {
                session.release_after(&fault);
                return Err(fault);
            }
            session.release();
        }
    }

    async fn attempt(
        &mut self,
        pool: &Pool,
        session: &mut Session,
        layout: &Layout,
        batch: &CommitBatch,
        poison: &BTreeMap<usize, String>,
        trust: Trust,
    ) -> Outcome<CommitReceipt> {
        // Taken, and put back after the commit only: whatever ends this before, nothing untrue is kept.
        let mut known = std::mem::take(&mut self.known);
        self.buffers.clear();
        let tx = session.transaction().await?;
        register_new(&tx, layout, &mut known, &batch.assets).await?;
        let mut stored = commit_rows(
            &tx,
            layout,
            &mut known,
            &mut self.buffers,
            &batch.rows,
            poison,
            trust,
        )
        .await?;
        keep_records(&tx, batch, &mut stored).await?;
        pool.commit(tx, Some(layout.n_columns())).await?;
        self.known = known;
        Ok(stored.receipt)
    }

    /// Finds the rows that the database objects to, by halves; nothing is stored. Rows of a key that is there
    /// already count only where that `is_lasting`.
    async fn find_poison(
        &mut self,
        session: &mut Session,
        layout: &Layout,
        rows: &[ScoredRow],
        known_poison: &BTreeMap<usize, String>,
        is_lasting: bool,
    ) -> Outcome<BTreeMap<usize, String>> {
        let mut found = BTreeMap::new();
        let all = 0..rows.len();
        let mut suspects = vec![all];
        while let Some(part) = suspects.pop() {
            if part.is_empty() || (part.len() == 1 && known_poison.contains_key(&part.start)) {
                continue;
            }
            let of_part = known_poison.range(part.clone());
            let poison = of_part
                .map(|(i, why)| (i - part.start, why.clone()))
                .collect();
            self.buffers.clear();
            let mut known = Known::default();
            let tx = session.transaction().await?;
            let done = commit_rows(
                &tx,
                layout,
                &mut known,
                &mut self.buffers,
                &rows[part.clone()],
                &poison,
                Trust::Nothing,
            )
            .await;
            tx.rollback().await?;
            match done {
                Ok(_) => {}
                Err(fault) if fault.is_overtaken() && !is_lasting => return Err(Fault::Overtaken),
                Err(fault) if fault.is_about_a_row() && part.len() == 1 => {
                    found.insert(part.start, fault.said());
                }
                Err(fault) if fault.is_about_a_row() => {
                    let middle = part.start + part.len() / 2;
                    suspects.push(part.start..middle);
                    suspects.push(middle..part.end);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }
}

/// Divides a batch whose rows lie in more than [`CHUNKS_MAX`] chunks of `chunk_ms`; the newest rows are in the last
/// part, with everything else of the batch. Where it is cut off between two parts it comes again, and what is
/// stored is a duplicate then.
fn parts_in_time(batch: &CommitBatch, chunk_ms: i64) -> Option<Vec<CommitBatch>> {
    let chunk = |row: &ScoredRow| row.row.ts.as_millis().div_euclid(chunk_ms);
    let first = batch.rows.iter().map(chunk).min()?;
    let last = batch.rows.iter().map(chunk).max()?;
    if last - first < CHUNKS_MAX {
        return None;
    }
    let mut by_chunk: BTreeMap<i64, Vec<ScoredRow>> = BTreeMap::new();
    for row in &batch.rows {
        by_chunk.entry(chunk(row)).or_default().push(row.clone());
    }
    let mut chunks: Vec<Vec<ScoredRow>> = by_chunk.into_values().collect();
    let mut parts: Vec<CommitBatch> = Vec::new();
    let per_part = usize::try_from(CHUNKS_MAX).unwrap_or(usize::MAX);
    while chunks.len() > per_part {
        let newer = chunks.split_off(per_part);
        parts.push(CommitBatch {
            assets: batch.assets.clone(),
            rows: chunks.into_iter().flatten().collect(),
            ..CommitBatch::default()
        });
        chunks = newer;
    }
    if parts.is_empty() {
        return None;
    }
    parts.push(CommitBatch {
        rows: chunks.into_iter().flatten().collect(),
        ..batch.clone()
    });
    Some(parts)
}

impl Fault {
    /// Another writer has stored, or registered, the same meanwhile: the batch has to be done again.
    fn is_overtaken(&self) -> bool {
        matches!(self, Self::Overtaken)
            || self.code().is_some_and(|code| {
                [
                    SqlState::UNIQUE_VIOLATION,
                    SqlState::T_R_DEADLOCK_DETECTED,
                    SqlState::T_R_SERIALIZATION_FAILURE,
                ]
                .contains(code)
            })
    }

    /// True where PostgreSQL objects to what is to be stored, not to the circumstances: a rule somebody has
    /// added to a table, a chunk that is frozen.
    fn is_about_a_row(&self) -> bool {
        self.code().is_some_and(|code| {
            let code = code.code();
            code.starts_with("22")
                || code.starts_with("23")
                || code == SqlState::RAISE_EXCEPTION.code()
                || code == SqlState::FEATURE_NOT_SUPPORTED.code()
        })
    }

    /// The server's own words.
    fn said(&self) -> String {
        match self {
            Self::Postgres(e) => e
                .as_db_error()
                .map_or_else(|| e.to_string(), |db| db.message().to_owned()),
            Self::Store(_) | Self::Json(_) | Self::Overtaken | Self::LayoutChanged => {
                self.to_string()
            }
        }
    }
}

/// Everything of the batch but its rows; one statement per kind, and none where there is nothing of it.
async fn keep_records(
    tx: &Transaction<'_>,
    batch: &CommitBatch,
    stored: &mut Stored,
) -> Outcome<()> {
    keep_conflicts(tx, &stored.conflicts).await?;
    keep_events(tx, batch).await?;
    keep_statuses(tx, batch).await?;
    keep_checkpoints(tx, batch).await?;
    let refusals = &mut stored.refusals;
    keep_health(tx, batch, refusals).await?;
    keep_alarms(tx, batch, refusals).await?;
    keep_tasks(tx, batch, refusals).await?;
    let all: Vec<&Rejection> = batch.rejections.iter().chain(&*refusals).collect();
    keep_rejections(tx, &all).await
}

/// The dead letter of a record that could never be read back: one of them must not block all.
fn unsound(what: &str, device: &DeviceId, at: Timestamp) -> Rejection {
    Rejection {
        received_at: at,
        topic: format!("devices/{device}/telemetry"),
        reason: RejectReason::StoreRefused,
        detail: format!("the {what} has a number that is not finite"),
        payload: Vec::new(),
        payload_bytes: 0,
    }
}

/// Registers what is new; what cannot be registered is left out, its rows are refused with the reason.
async fn register_new(
    tx: &Transaction<'_>,
    layout: &Layout,
    known: &mut Known,
    assets: &[Asset],
) -> Outcome<()> {
    for asset in assets {
        if !registry::is_known(tx, &asset.id).await?
            && registry::check(tx, layout, asset).await?.is_ok()
        {
            registry::put(tx, layout, asset).await?;
            known.devices.remove(&asset.device);
        }
    }
    Ok(())
}

async fn keep_conflicts(tx: &Transaction<'_>, conflicts: &[Conflict]) -> Outcome<()> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let devices: Vec<&str> = conflicts.iter().map(|c| c.device.as_str()).collect();
    let metrics: Vec<&str> = conflicts.iter().map(|c| c.metric.as_str()).collect();
    let times: Vec<Instant> = conflicts.iter().map(|c| Instant(c.ts)).collect();
    let stored: Vec<f64> = conflicts.iter().map(|c| c.stored).collect();
    let refused: Vec<f64> = conflicts.iter().map(|c| c.refused).collect();
    execute(tx, "INSERT INTO conflicts (device, metric, ts, stored, refused)
             SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::double precision[], $5::double precision[])
             ON CONFLICT DO NOTHING", &[&devices, &metrics, &times, &stored, &refused]).await?;
    execute(
        tx,
        "DELETE FROM conflicts WHERE seq <= (SELECT max(seq) FROM conflicts) - $1",
        &[&CONFLICTS_KEPT],
    )
    .await?;
    Ok(())
}

async fn keep_events(tx: &Transaction<'_>, batch: &CommitBatch) -> Outcome<()> {
    let events = &batch.events;
    if events.is_empty() {
        return Ok(());
    }
    let devices: Vec<&str> = events.iter().map(|e| e.device.as_str()).collect();
    let times: Vec<Instant> = events.iter().map(|e| Instant(e.ts)).collect();
    let codes: Vec<_> = events.iter().map(|e| text::storable(&e.code)).collect();
    let components: Vec<&str> = events
        .iter()
        .map(|e| e.component.as_ref().map_or("", |c| c.as_str()))
        .collect();
    let severities: Vec<&str> = events
        .iter()
        .map(|e| text::event_severity(e.severity))
        .collect();
    let messages: Vec<_> = events.iter().map(|e| text::storable(&e.message)).collect();
    execute(tx, "INSERT INTO events (device, ts, code, component, severity, message)
             SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[])
                  AS new (device, ts, code, component, severity, message)
             -- One that is there takes no number: by their numbers the oldest go.
             WHERE NOT EXISTS (SELECT 1 FROM events old WHERE old.device = new.device AND old.ts = new.ts
                               AND old.code = new.code AND old.component = new.component)
             ON CONFLICT DO NOTHING", &[&devices, &times, &codes, &components, &severities, &messages]).await?;
    execute(
        tx,
        "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - $1",
        &[&EVENTS_KEPT],
    )
    .await?;
    Ok(())
}

/// The newest of each device, by device: no two writers wait for each other crosswise. Of equal times the
/// last counts.
fn newest_by_device<'a, T>(
    records: &'a [T],
    device: impl Fn(&'a T) -> &'a DeviceId,
    at: impl Fn(&'a T) -> Timestamp,
) -> Vec<&'a T> {
    let mut newest: BTreeMap<&DeviceId, &T> = BTreeMap::new();
    for record in records {
        let kept = newest.entry(device(record)).or_insert(record);
        if at(kept) <= at(record) {
            *kept = record;
        }
    }
    newest.into_values().collect()
}

async fn keep_statuses(tx: &Transaction<'_>, batch: &CommitBatch) -> Outcome<()> {
    let statuses = newest_by_device(&batch.statuses, |s| &s.device, |s| s.at);
    if statuses.is_empty() {
        return Ok(());
    }
    let devices: Vec<&str> = statuses.iter().map(|s| s.device.as_str()).collect();
    let online: Vec<bool> = statuses.iter().map(|s| s.online).collect();
    let times: Vec<Instant> = statuses.iter().map(|s| Instant(s.at)).collect();
    execute(
        tx,
        "INSERT INTO statuses (device, online, at)
             SELECT * FROM unnest($1::text[], $2::boolean[], $3::timestamptz[])
             ON CONFLICT (device) DO UPDATE SET online = excluded.online, at = excluded.at
             WHERE excluded.at >= statuses.at",
        &[&devices, &online, &times],
    )
    .await?;
    Ok(())
}

async fn keep_checkpoints(tx: &Transaction<'_>, batch: &CommitBatch) -> Outcome<()> {
    let checkpoints = newest_by_device(&batch.checkpoints, |c| &c.device, |c| c.watermark);
    if checkpoints.is_empty() {
        return Ok(());
    }
    let devices: Vec<&str> = checkpoints.iter().map(|c| c.device.as_str()).collect();
    let watermarks: Vec<Instant> = checkpoints.iter().map(|c| Instant(c.watermark)).collect();
    let states: Vec<&[u8]> = checkpoints.iter().map(|c| c.state.as_slice()).collect();
    execute(tx, "INSERT INTO checkpoints (device, watermark, state)
             SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[])
             ON CONFLICT (device) DO UPDATE SET watermark = excluded.watermark, state = excluded.state
             WHERE excluded.watermark >= checkpoints.watermark", &[&devices, &watermarks, &states]).await?;
    Ok(())
}

async fn keep_health(
    tx: &Transaction<'_>,
    batch: &CommitBatch,
    refusals: &mut Vec<Rejection>,
) -> Outcome<()> {
    let (mut devices, mut times, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for health in newest_by_device(&batch.health, |h| &h.device, |h| h.at) {
        match text::json(health)? {
            Some(body) => {
                devices.push(health.device.as_str());
                times.push(Instant(health.at));
                bodies.push(body);
            }
            None => refusals.push(unsound("state of health", &health.device, health.at)),
        }
    }
    if devices.is_empty() {
        return Ok(());
    }
    execute(tx, "INSERT INTO health (device, at, body)
             SELECT d, t, b::json FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS k (d, t, b)
             ON CONFLICT (device) DO UPDATE SET at = excluded.at, body = excluded.body
             WHERE excluded.at >= health.at", &[&devices, &times, &bodies]).await?;
    Ok(())
}

async fn keep_alarms(
    tx: &Transaction<'_>,
    batch: &CommitBatch,
    refusals: &mut Vec<Rejection>,
) -> Outcome<()> {
    // In order of first sight, which is the order they are listed in.
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut newest: Vec<(&Alarm, String)> = Vec::new();
    for alarm in batch.alarms.iter().map(AlarmChange::alarm) {
        let Some(body) = text::json(alarm)? else {
            refusals.push(unsound("alarm", &alarm.device, alarm.updated_at));
            continue;
        };
        let place = *places.entry(&alarm.id.0).or_insert(newest.len());
        match newest.get_mut(place) {
            None => newest.push((alarm, body)),
            Some(kept) if kept.0.updated_at <= alarm.updated_at => *kept = (alarm, body),
            Some(_) => {}
        }
    }
    if newest.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = newest.iter().map(|(a, _)| a.id.0.as_str()).collect();
    let devices: Vec<&str> = newest.iter().map(|(a, _)| a.device.as_str()).collect();
    let active: Vec<bool> = newest.iter().map(|(a, _)| a.active).collect();
    let times: Vec<Instant> = newest.iter().map(|(a, _)| Instant(a.updated_at)).collect();
    let raised: Vec<Instant> = newest.iter().map(|(a, _)| Instant(a.raised_at)).collect();
    let cleared: Vec<Option<Instant>> = newest
        .iter()
        .map(|(a, _)| a.cleared_at.map(Instant))
        .collect();
    let bodies: Vec<&str> = newest.iter().map(|(_, body)| body.as_str()).collect();
    execute(tx, "INSERT INTO alarms (id, device, active, updated_at, raised_at, cleared_at, body)
             SELECT i, d, a, t, r, c, b::json
             FROM unnest($1::text[], $2::text[], $3::boolean[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                 $7::text[]) AS k (i, d, a, t, r, c, b)
             ON CONFLICT (id) DO UPDATE SET
                 device = excluded.device, active = excluded.active, updated_at = excluded.updated_at,
                 raised_at = excluded.raised_at, cleared_at = excluded.cleared_at, body = excluded.body
             WHERE excluded.updated_at >= alarms.updated_at",
        &[&ids, &devices, &active, &times, &raised, &cleared, &bodies]).await?;
    Ok(())
}

async fn keep_tasks(
    tx: &Transaction<'_>,
    batch: &CommitBatch,
    refusals: &mut Vec<Rejection>,
) -> Outcome<()> {
    let mut bodies = Vec::new();
    for NewTask(task) in &batch.tasks {
        let (CareTask::Assess { device, at, .. }
        | CareTask::Cleared { device, at, .. }
        | CareTask::Replaced { device, at, .. }
        | CareTask::Reported {
            event: DeviceEvent { device, .. },
            at,
        }
        | CareTask::Repaired { device, at, .. }) = task;
        match text::json(task)? {
            Some(body) => bodies.push(body),
            None => refusals.push(unsound("care task", device, *at)),
        }
    }
    if bodies.is_empty() {
        return Ok(());
    }
    execute(
        tx,
        "INSERT INTO care_tasks (body) SELECT b::json FROM unnest($1::text[]) AS k (b)",
        &[&bodies],
    )
    .await?;
    Ok(())
}

async fn keep_rejections(tx: &Transaction<'_>, rejections: &[&Rejection]) -> Outcome<()> {
    if rejections.is_empty() {
        return Ok(());
    }
    let times: Vec<Instant> = rejections.iter().map(|r| Instant(r.received_at)).collect();
    let topics: Vec<_> = rejections
        .iter()
        .map(|r| text::storable(&r.topic))
        .collect();
    let reasons: Vec<&str> = rejections.iter().map(|r| r.reason.label()).collect();
    let details: Vec<_> = rejections
        .iter()
        .map(|r| text::storable(&r.detail))
        .collect();
    let payloads: Vec<&[u8]> = rejections.iter().map(|r| r.payload.as_slice()).collect();
    let lengths: Vec<i64> = rejections
        .iter()
        .map(|r| i64::try_from(r.payload_bytes).unwrap_or(i64::MAX))
        .collect();
    execute(tx, "INSERT INTO dead_letters (received_at, topic, reason, detail, payload, payload_bytes)
             SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[])", &[&times, &topics, &reasons, &details, &payloads, &lengths]).await?;
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for reason in &reasons {
        *counts.entry(reason).or_insert(0) += 1;
    }
    let (reasons, counts): (Vec<&str>, Vec<i64>) = counts.into_iter().unzip();
    execute(
        tx,
        "INSERT INTO rejection_counts (reason, n) SELECT * FROM unnest($1::text[], $2::bigint[])
             ON CONFLICT (reason) DO UPDATE SET n = rejection_counts.n + excluded.n",
        &[&reasons, &counts],
    )
    .await?;
    execute(
        tx,
        "DELETE FROM dead_letters WHERE seq <= (SELECT max(seq) FROM dead_letters) - $1",
        &[&DEAD_LETTERS_KEPT],
    )
    .await?;
    Ok(())
}
