//! The batch: readings and everything that goes with them.

use std::collections::{BTreeMap, HashMap};

use forecare_domain::{
    Alarm, AlarmChange, Asset, CareTask, DeviceEvent, DeviceId, MetricName, RejectReason,
    Rejection, Timestamp,
};
use forecare_store::{
    CONFLICTS_KEPT, CommitBatch, CommitReceipt, Conflict, DEAD_LETTERS_KEPT, NewTask, ScoredRow,
    refusal, refused,
};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Row as SqlRow, params};

use crate::fault::Outcome;
use crate::layout::{ClassLayout, Layout, metric_number};
use crate::{registry, text};

/// What the writer remembers between batches; forgotten after a rollback, as it may never have happened.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Device number and index of its class in the layout, of registered devices.
    devices: HashMap<DeviceId, (i64, usize)>,
    metrics: HashMap<MetricName, i64>,
}

impl Known {
    fn device(
        &mut self,
        conn: &Connection,
        layout: &Layout,
        id: &DeviceId,
    ) -> Outcome<Option<(i64, usize)>> {
        if let Some(known) = self.devices.get(id) {
            return Ok(Some(*known));
        }
        let row: Option<(i64, i64)> = conn
            .prepare_cached(
                "SELECT device_no, class_no FROM assets JOIN devices ON devices.name = assets.device
                 WHERE assets.device = ?1",
            )?
            .query_row([id.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        let found = row.and_then(|(device_no, class_no)| {
            let class = layout.classes.iter().position(|c| c.class_no == class_no)?;
            Some((device_no, class))
        });
        if let Some(found) = found {
            self.devices.insert(id.clone(), found);
        }
        Ok(found)
    }

    fn metric(&mut self, conn: &Connection, name: &MetricName) -> Outcome<i64> {
        if let Some(number) = self.metrics.get(name) {
            return Ok(*number);
        }
        let number = metric_number(conn, name)?;
        self.metrics.insert(name.clone(), number);
        Ok(number)
    }

    /// Assets have changed hands.
    pub(crate) fn forget(&mut self) {
        self.devices.clear();
        self.metrics.clear();
    }
}

/// Stores a batch; the caller holds the transaction.
pub(crate) fn commit_batch(
    conn: &Connection,
    layout: &Layout,
    known: &mut Known,
    batch: &CommitBatch,
) -> Outcome<CommitReceipt> {
    register_new(conn, layout, known, &batch.assets)?;
    let mut refusals = Vec::new();
    let receipt = commit_rows(conn, layout, known, &batch.rows, &mut refusals)?;
    for event in &batch.events {
        keep_event(conn, event)?;
    }
    for status in &batch.statuses {
        conn.prepare_cached(
            "INSERT INTO statuses (device, online, at) VALUES (?1, ?2, ?3)
             ON CONFLICT (device) DO UPDATE SET online = excluded.online, at = excluded.at
             WHERE excluded.at >= statuses.at",
        )?
        .execute(params![
            status.device.as_str(),
            status.online,
            status.at.as_millis()
        ])?;
    }
    for checkpoint in &batch.checkpoints {
        conn.prepare_cached(
            "INSERT INTO checkpoints (device, watermark, state) VALUES (?1, ?2, ?3)
             ON CONFLICT (device) DO UPDATE SET watermark = excluded.watermark, state = excluded.state
             WHERE excluded.watermark >= checkpoints.watermark",
        )?
        .execute(params![checkpoint.device.as_str(), checkpoint.watermark.as_millis(), checkpoint.state])?;
    }
    for health in &batch.health {
        let Some(body) = text::json(health)? else {
            refusals.push(unsound("state of health", &health.device, health.at));
            continue;
        };
        conn.prepare_cached(
            "INSERT INTO health (device, at, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (device) DO UPDATE SET at = excluded.at, body = excluded.body
             WHERE excluded.at >= health.at",
        )?
        .execute(params![health.device.as_str(), health.at.as_millis(), body])?;
    }
    for alarm in batch.alarms.iter().map(AlarmChange::alarm) {
        match text::json(alarm)? {
            Some(body) => keep_alarm(conn, alarm, &body)?,
            None => refusals.push(unsound("alarm", &alarm.device, alarm.updated_at)),
        }
    }
    for NewTask(task) in &batch.tasks {
        let (CareTask::Assess { device, at, .. }
        | CareTask::Cleared { device, at, .. }
        | CareTask::Replaced { device, at, .. }) = task;
        match text::json(task)? {
            Some(body) => {
                conn.prepare_cached("INSERT INTO care_tasks (body) VALUES (?1)")?
                    .execute([body])?;
            }
            None => refusals.push(unsound("care task", device, *at)),
        }
    }
    keep_rejections(conn, batch.rejections.iter().chain(&refusals))?;
    Ok(receipt)
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
fn register_new(
    conn: &Connection,
    layout: &Layout,
    known: &mut Known,
    assets: &[Asset],
) -> Outcome<()> {
    for asset in assets {
        if !registry::is_known(conn, &asset.id)? && registry::check(conn, layout, asset)?.is_ok() {
            registry::put(conn, layout, asset)?;
            known.devices.remove(&asset.device);
        }
    }
    Ok(())
}

/// A row with its place in the batch and where it goes.
struct Placed<'a> {
    class: usize,
    device_no: i64,
    arrival: usize,
    scored: &'a ScoredRow,
}

fn commit_rows(
    conn: &Connection,
    layout: &Layout,
    known: &mut Known,
    rows: &[ScoredRow],
    refusals: &mut Vec<Rejection>,
) -> Outcome<CommitReceipt> {
    let mut placed = Vec::with_capacity(rows.len());
    let mut refused_at = Vec::new();
    for (arrival, scored) in rows.iter().enumerate() {
        let row = &scored.row;
        let device = known.device(conn, layout, &row.device)?;
        let n_metrics = device
            .and_then(|(_, class)| layout.classes[class].catalogue_columns.as_ref())
            .map(Vec::len);
        match (refusal(row, n_metrics), device) {
            (None, Some((device_no, class))) => placed.push(Placed {
                class,
                device_no,
                arrival,
                scored,
            }),
            (why, _) => refused_at.push((arrival, refused(row, why.unwrap_or_default()))),
        }
    }
    // In key order the inserts walk each B-tree once; arrival decides between equal keys, as the first
    // value stays.
    placed.sort_unstable_by_key(|p| (p.class, p.device_no, p.scored.row.ts, p.arrival));
    let mut receipt = CommitReceipt::default();
    let mut conflicts = Vec::new();
    for of_class in placed.chunk_by(|a, b| a.class == b.class) {
        let class = &layout.classes[of_class[0].class];
        let mut writer = RowWriter::new(conn, known, class)?;
        for p in of_class {
            if p.scored.row.n_readings() == 0 {
                continue;
            }
            match writer.write(p.device_no, p.scored, &mut receipt) {
                Ok(found) => conflicts.extend(found.into_iter().map(|c| (p.arrival, c))),
                // SQLite undoes the statement that broke a rule and keeps the rest: one bad row does not
                // hold up its company.
                Err(fault) if fault.is_about_the_row() => {
                    refused_at.push((p.arrival, refused(&p.scored.row, fault.to_string())));
                }
                Err(fault) => return Err(fault),
            }
        }
    }
    conflicts.sort_by_key(|(arrival, _)| *arrival);
    keep_conflicts(conn, conflicts.iter().map(|(_, c)| c))?;
    refused_at.sort_by_key(|(arrival, _)| *arrival);
    refusals.extend(refused_at.into_iter().map(|(_, r)| r));
    Ok(receipt)
}

/// Writes rows of one class.
struct RowWriter<'a> {
    conn: &'a Connection,
    known: &'a mut Known,
    class: &'a ClassLayout,
    insert: CachedStatement<'a>,
    scratch: Vec<Option<f64>>,
}

impl<'a> RowWriter<'a> {
    fn new(conn: &'a Connection, known: &'a mut Known, class: &'a ClassLayout) -> Outcome<Self> {
        let n = class.columns.len();
        let places: Vec<String> = (1..=n + 3).map(|i| format!("?{i}")).collect();
        let sql = format!(
            "INSERT INTO {} (device_no, ts, health{}{}) VALUES ({}) ON CONFLICT DO NOTHING",
            class.table(),
            if n > 0 { ", " } else { "" },
            class.column_list(),
            places.join(", ")
        );
        Ok(Self {
            conn,
            known,
            class,
            insert: conn.prepare_cached(&sql)?,
            scratch: vec![None; n],
        })
    }

    /// Stores a row's readings; returns those that conflict.
    fn write(
        &mut self,
        device_no: i64,
        scored: &ScoredRow,
        receipt: &mut CommitReceipt,
    ) -> Outcome<Vec<Conflict>> {
        let row = &scored.row;
        let mut conflicts = Vec::new();
        let mut tally = CommitReceipt::default();
        self.scratch.fill(None);
        let columns = self.class.catalogue_columns.as_deref().unwrap_or_default();
        for (column, value) in columns.iter().zip(&row.values) {
            self.scratch[*column] = *value;
        }
        let mut overflow: Vec<(&MetricName, f64)> = Vec::new();
        for (metric, value) in &row.extra {
            match self.class.column_of(metric) {
                None => overflow.push((metric, *value)),
                Some(column) => match self.scratch[column] {
                    None => self.scratch[column] = Some(*value),
                    Some(first) => {
                        tally_second(row, metric, first, *value, &mut tally, &mut conflicts)
                    }
                },
            }
        }
        self.insert.raw_bind_parameter(1, device_no)?;
        self.insert.raw_bind_parameter(2, row.ts.as_millis())?;
        self.insert.raw_bind_parameter(3, scored.health)?;
        for (i, value) in self.scratch.iter().enumerate() {
            self.insert.raw_bind_parameter(i + 4, *value)?;
        }
        if self.insert.raw_execute()? == 1 {
            tally.inserted += self.scratch.iter().flatten().count() as u64;
        } else {
            self.merge(device_no, scored, &mut tally, &mut conflicts)?;
        }
        for (metric, value) in overflow {
            self.write_overflow(device_no, scored, metric, value, &mut tally, &mut conflicts)?;
        }
        receipt.inserted += tally.inserted;
        receipt.duplicates += tally.duplicates;
        receipt.conflicts += tally.conflicts;
        Ok(conflicts)
    }

    /// The row is there already: fills its gaps, counts the rest.
    fn merge(
        &mut self,
        device_no: i64,
        scored: &ScoredRow,
        tally: &mut CommitReceipt,
        conflicts: &mut Vec<Conflict>,
    ) -> Outcome<()> {
        let row = &scored.row;
        let (table, n) = (self.class.table(), self.class.columns.len());
        let read = |r: &SqlRow<'_>| -> rusqlite::Result<Vec<Option<f64>>> {
            (0..=n).map(|i| r.get(i)).collect()
        };
        let comma = if n > 0 { ", " } else { "" };
        let stored: Vec<Option<f64>> = self
            .conn
            .prepare_cached(&format!(
                "SELECT health{comma}{} FROM {table} WHERE device_no = ?1 AND ts = ?2",
                self.class.column_list()
            ))?
            .query_row(params![device_no, row.ts.as_millis()], read)?;
        let mut changed = stored[0].is_none() && scored.health.is_some();
        for (column, new) in self.scratch.iter().enumerate() {
            match (stored[column + 1], *new) {
                (_, None) => {}
                (None, Some(_)) => {
                    changed = true;
                    tally.inserted += 1;
                }
                (Some(first), Some(new)) => {
                    tally_second(
                        row,
                        &self.class.columns[column],
                        first,
                        new,
                        tally,
                        conflicts,
                    );
                }
            }
        }
        if changed {
            let set: Vec<String> = (0..n)
                .map(|i| format!("m{i} = coalesce(m{i}, ?{})", i + 4))
                .collect();
            let mut update = self.conn.prepare_cached(&format!(
                "UPDATE {table} SET health = coalesce(health, ?3){comma}{} WHERE device_no = ?1 AND ts = ?2",
                set.join(", ")
            ))?;
            update.raw_bind_parameter(1, device_no)?;
            update.raw_bind_parameter(2, row.ts.as_millis())?;
            update.raw_bind_parameter(3, scored.health)?;
            for (i, value) in self.scratch.iter().enumerate() {
                update.raw_bind_parameter(i + 4, *value)?;
            }
            update.raw_execute()?;
        }
        Ok(())
    }

    fn write_overflow(
        &mut self,
        device_no: i64,
        scored: &ScoredRow,
        metric: &MetricName,
        value: f64,
        tally: &mut CommitReceipt,
        conflicts: &mut Vec<Conflict>,
    ) -> Outcome<()> {
        let row = &scored.row;
        let metric_no = self.known.metric(self.conn, metric)?;
        let key = params![device_no, row.ts.as_millis(), metric_no];
        let inserted = self
            .conn
            .prepare_cached(
                "INSERT INTO overflow (device_no, ts, metric_no, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?
            .execute(params![device_no, row.ts.as_millis(), metric_no, value])?;
        if inserted == 1 {
            tally.inserted += 1;
            return Ok(());
        }
        let first: f64 = self
            .conn
            .prepare_cached(
                "SELECT value FROM overflow WHERE device_no = ?1 AND ts = ?2 AND metric_no = ?3",
            )?
            .query_row(key, |r| r.get(0))?;
        tally_second(row, metric, first, value, tally, conflicts);
        Ok(())
    }
}

/// Counts a reading whose key was taken by `first`.
fn tally_second(
    row: &forecare_domain::Row,
    metric: &MetricName,
    first: f64,
    second: f64,
    tally: &mut CommitReceipt,
    conflicts: &mut Vec<Conflict>,
) {
    if first == second {
        tally.duplicates += 1;
        return;
    }
    tally.conflicts += 1;
    conflicts.push(Conflict {
        device: row.device.clone(),
        metric: metric.clone(),
        ts: row.ts,
        stored: first,
        refused: second,
    });
}

fn keep_conflicts<'a>(
    conn: &Connection,
    conflicts: impl Iterator<Item = &'a Conflict>,
) -> Outcome<()> {
    let mut any = false;
    for c in conflicts {
        any = true;
        conn.prepare_cached(
            "INSERT INTO conflicts (device, metric, ts, stored, refused) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![c.device.as_str(), c.metric.as_str(), c.ts.as_millis(), c.stored, c.refused])?;
    }
    if any {
        conn.prepare_cached(
            "DELETE FROM conflicts WHERE seq <= (SELECT max(seq) FROM conflicts) - ?1",
        )?
        .execute([CONFLICTS_KEPT])?;
    }
    Ok(())
}

fn keep_rejections<'a>(
    conn: &Connection,
    rejections: impl Iterator<Item = &'a Rejection>,
) -> Outcome<()> {
    let mut counts: BTreeMap<RejectReason, u64> = BTreeMap::new();
    for r in rejections {
        *counts.entry(r.reason).or_insert(0) += 1;
        conn.prepare_cached(
            "INSERT INTO dead_letters (received_at, topic, reason, detail, payload, payload_bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            r.received_at.as_millis(),
            r.topic,
            r.reason.label(),
            r.detail,
            r.payload,
            i64::try_from(r.payload_bytes).unwrap_or(i64::MAX)
        ])?;
    }
    for (reason, n) in &counts {
        conn.prepare_cached(
            "INSERT INTO rejection_counts (reason, n) VALUES (?1, ?2)
             ON CONFLICT (reason) DO UPDATE SET n = n + excluded.n",
        )?
        .execute(params![
            reason.label(),
            i64::try_from(*n).unwrap_or(i64::MAX)
        ])?;
    }
    if !counts.is_empty() {
        conn.prepare_cached(
            "DELETE FROM dead_letters WHERE seq <= (SELECT max(seq) FROM dead_letters) - ?1",
        )?
        .execute([DEAD_LETTERS_KEPT])?;
    }
    Ok(())
}

fn keep_event(conn: &Connection, event: &DeviceEvent) -> Outcome<()> {
    conn.prepare_cached(
        "INSERT INTO events (device, ts, code, component, severity, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        event.device.as_str(),
        event.ts.as_millis(),
        event.code,
        event.component.as_ref().map_or("", |c| c.as_str()),
        text::event_severity(event.severity),
        event.message
    ])?;
    Ok(())
}

fn keep_alarm(conn: &Connection, alarm: &Alarm, body: &str) -> Outcome<()> {
    conn.prepare_cached(
        "INSERT INTO alarms (id, device, active, updated_at, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET
             device = excluded.device, active = excluded.active, updated_at = excluded.updated_at,
             body = excluded.body
         WHERE excluded.updated_at >= alarms.updated_at",
    )?
    .execute(params![
        alarm.id.0,
        alarm.device.as_str(),
        alarm.active,
        alarm.updated_at.as_millis(),
        body
    ])?;
    Ok(())
}

impl crate::fault::Fault {
    /// True where SQLite objects to what is to be stored, not to the circumstances.
    fn is_about_the_row(&self) -> bool {
        matches!(
            self,
            Self::Sqlite(e) if matches!(
                e.sqlite_error_code(),
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
            )
        )
    }
}
