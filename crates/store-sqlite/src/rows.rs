//! Readings into the wide tables.

use forecare_domain::{MetricName, Rejection, Row};
use forecare_store::{CommitReceipt, Conflict, ScoredRow, refusal, refused};
use rusqlite::{CachedStatement, Connection, ErrorCode, Row as SqlRow, params};

use crate::fault::{Fault, Outcome};
use crate::ingest::{self, Known};
use crate::layout::{ClassLayout, Layout};

/// A row with its place in the batch and where it goes.
struct Placed<'a> {
    class: usize,
    device_no: i64,
    arrival: usize,
    scored: &'a ScoredRow,
}

/// Stores readings; rows that cannot be stored are added to `refusals`.
pub(crate) fn commit_rows(
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
    ingest::keep_conflicts(conn, conflicts.iter().map(|(_, c)| c))?;
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
    row: &Row,
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

impl Fault {
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
