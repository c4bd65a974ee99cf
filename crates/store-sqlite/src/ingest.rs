//! The batch: readings and everything that goes with them.

use std::collections::{BTreeMap, HashMap};

use forecare_domain::{
    Alarm, AlarmChange, Asset, CareTask, DeviceEvent, DeviceId, MetricName, RejectReason,
    Rejection, Timestamp,
};
use forecare_store::{
    CONFLICTS_KEPT, CommitBatch, CommitReceipt, Conflict, DEAD_LETTERS_KEPT, EVENTS_KEPT, NewTask,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Outcome;
use crate::layout::{Layout, metric_number};
use crate::rows::commit_rows;
use crate::{registry, text};

/// What the writer remembers between batches; forgotten after a rollback, as it may never have happened.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Device number and index of its class in the layout, of registered devices.
    devices: HashMap<DeviceId, (i64, usize)>,
    metrics: HashMap<MetricName, i64>,
}

impl Known {
    pub(crate) fn device(
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

    pub(crate) fn metric(&mut self, conn: &Connection, name: &MetricName) -> Outcome<i64> {
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
    if !batch.events.is_empty() {
        conn.prepare_cached("DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?1")?
            .execute([EVENTS_KEPT])?;
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
        | CareTask::Replaced { device, at, .. }
        | CareTask::Reported {
            event: DeviceEvent { device, .. },
            at,
        }
        | CareTask::Repaired { device, at, .. }) = task;
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

pub(crate) fn keep_conflicts<'a>(
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
        // One that is there takes no number: by their numbers the oldest go.
        "INSERT INTO events (device, ts, code, component, severity, message)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6
         WHERE NOT EXISTS (SELECT 1 FROM events WHERE device = ?1 AND ts = ?2 AND code = ?3 AND component = ?4)",
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
