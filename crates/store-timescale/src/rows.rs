//! Readings into the wide tables.
//!
//! Rows are sorted by key and merged in memory. What is newer than all that its device has stored goes by
//! COPY straight into the table. Of the rest, what is stored already is read first: new rows join the COPY,
//! the others fill their row's gaps and are counted. The unique index is what makes this right: where
//! another writer got between, it objects, and the batch is done again with every row looked up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deadpool_postgres::Transaction;
use forecare_domain::{MetricName, Rejection, Row, Timestamp};
use forecare_store::{CommitReceipt, Conflict, ScoredRow, refusal, refused};
use tokio_postgres::types::{ToSql, Type};

use crate::copy::CopyRows;
use crate::fault::{Fault, Outcome};
use crate::ingest::{Known, Trust};
use crate::instant::Instant;
use crate::layout::{ClassLayout, Layout};
use crate::query::execute;
use crate::text;

/// Rows looked up, or changed, by one statement lie in a span of at most this, so that the planner leaves out
/// all chunks but a few.
const SPAN_MS: i64 = 24 * 3_600_000;

/// A row's key: number of the device, time.
type Key = (i32, Timestamp);

/// A row with its place in the batch and where it goes.
struct Placed<'a> {
    class: usize,
    device_no: i32,
    /// To be looked up: not newer than everything its device has stored.
    may_exist: bool,
    arrival: usize,
    scored: &'a ScoredRow,
}

impl Placed<'_> {
    fn key(&self) -> Key {
        (self.device_no, self.scored.row.ts)
    }
}

/// What became of a batch's rows.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) receipt: CommitReceipt,
    /// In order of arrival.
    pub(crate) conflicts: Vec<Conflict>,
    /// Dead letters of what could not be stored, in order of arrival.
    pub(crate) refusals: Vec<Rejection>,
}

/// Buffers that are kept from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    wide: CopyRows,
    overflow: CopyRows,
}

impl Buffers {
    pub(crate) fn clear(&mut self) {
        self.wide.clear();
        self.overflow.clear();
    }
}

/// Stores readings; `poison` are the rows that the database objected to before, by place in the batch, with
/// what it said.
pub(crate) async fn commit_rows(
    tx: &Transaction<'_>,
    layout: &Layout,
    known: &mut Known,
    buffers: &mut Buffers,
    rows: &[ScoredRow],
    poison: &BTreeMap<usize, String>,
    trust: Trust,
) -> Outcome<Stored> {
    known.load(tx, layout, rows).await?;
    let mut stored = Stored::default();
    let mut placed = Vec::with_capacity(rows.len());
    for (arrival, scored) in rows.iter().enumerate() {
        let row = &scored.row;
        let device = known.device(&row.device);
        let n_metrics = device
            .and_then(|d| layout.classes[d.class].catalogue_columns.as_ref())
            .map(Vec::len);
        let why = refusal(row, n_metrics).or_else(|| poison.get(&arrival).cloned());
        match (why, device) {
            (None, Some(device)) if row.n_readings() > 0 => placed.push(Placed {
                class: device.class,
                device_no: device.device_no,
                may_exist: trust == Trust::Nothing || device.newest.is_some_and(|n| row.ts <= n),
                arrival,
                scored,
            }),
            (None, Some(_)) => {}
            (why, _) => stored.refusals.push(refused(row, why.unwrap_or_default())),
        }
    }
    // In key order the rows walk each index once; arrival decides between equal keys, as the first value
    // stays.
    placed.sort_unstable_by_key(|p| (p.class, p.device_no, p.scored.row.ts, p.arrival));
    let mut conflicts = Vec::new();
    let by_class: Vec<&[Placed<'_>]> = placed.chunk_by(|a, b| a.class == b.class).collect();
    for of_class in by_class {
        let class = &layout.classes[of_class[0].class];
        let mut writer = Writer::new(class);
        writer.look_up(tx, of_class).await?;
        let groups: Vec<&[Placed<'_>]> = of_class.chunk_by(|a, b| a.key() == b.key()).collect();
        for (i, group) in groups.iter().enumerate() {
            let is_last_of_device = groups
                .get(i + 1)
                .is_none_or(|next| next[0].device_no != group[0].device_no);
            writer.merge(group, buffers);
            if is_last_of_device && known.is_newest(&group[0].scored.row) {
                writer.keep_latest(group[0].key());
            }
        }
        stored.receipt.inserted += writer.receipt.inserted;
        stored.receipt.duplicates += writer.receipt.duplicates;
        stored.receipt.conflicts += writer.receipt.conflicts;
        conflicts.append(&mut writer.conflicts);
        writer.send(tx, known, buffers).await?;
    }
    conflicts.sort_by_key(|(arrival, _)| *arrival);
    stored.conflicts = conflicts.into_iter().map(|(_, c)| c).collect();
    Ok(stored)
}

/// A stored row of the wide table.
struct StoredRow {
    health: Option<f64>,
    values: Vec<Option<f64>>,
}

/// Rows as one array per column, the way `unnest` takes them.
#[derive(Default)]
struct Columns {
    device_no: Vec<i32>,
    ts: Vec<Instant>,
    health: Vec<Option<f64>>,
    values: Vec<Vec<Option<f64>>>,
}

impl Columns {
    fn new(n_columns: usize) -> Self {
        Self {
            values: vec![Vec::new(); n_columns],
            ..Self::default()
        }
    }

    fn push(&mut self, (device_no, ts): Key, health: Option<f64>, values: &[Option<f64>]) {
        self.device_no.push(device_no);
        self.ts.push(Instant(ts));
        self.health.push(health);
        for (column, value) in self.values.iter_mut().zip(values) {
            column.push(*value);
        }
    }

    fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&self.device_no, &self.ts, &self.health];
        params.extend(self.values.iter().map(|c| c as &(dyn ToSql + Sync)));
        params
    }
}

/// `$1::integer[], $2::timestamptz[], $3::double precision[], …` for [`Columns::params`].
fn places(n_columns: usize) -> String {
    let mut sql = "$1::integer[], $2::timestamptz[]".to_owned();
    for place in 3..n_columns + 4 {
        sql.push_str(&format!(", ${place}::double precision[]"));
    }
    sql
}

/// Writes rows of one class.
struct Writer<'a> {
    class: &'a ClassLayout,
    wide: HashMap<Key, StoredRow>,
    overflow: HashMap<Key, Vec<(MetricName, f64)>>,
    /// The row in the making.
    health: Option<f64>,
    values: Vec<Option<f64>>,
    beyond: Vec<(&'a MetricName, f64)>,
    receipt: CommitReceipt,
    conflicts: Vec<(usize, Conflict)>,
    changed: Columns,
    latest: Columns,
    new_overflow: Vec<(Key, &'a MetricName, f64)>,
}

impl<'a> Writer<'a> {
    fn new(class: &'a ClassLayout) -> Self {
        let n = class.columns.len();
        Self {
            class,
            wide: HashMap::new(),
            overflow: HashMap::new(),
            health: None,
            values: vec![None; n],
            beyond: Vec::new(),
            receipt: CommitReceipt::default(),
            conflicts: Vec::new(),
            changed: Columns::new(n),
            latest: Columns::new(n),
            new_overflow: Vec::new(),
        }
    }

    fn is_overflow(&self, row: &Row) -> bool {
        let beyond = |(metric, _): &(MetricName, f64)| self.class.column_of(metric).is_none();
        row.extra.iter().any(beyond)
    }

    /// Reads what is stored under the keys that may be.
    async fn look_up(&mut self, tx: &Transaction<'_>, rows: &[Placed<'a>]) -> Outcome<()> {
        let mut wide: BTreeSet<(Timestamp, i32)> = BTreeSet::new();
        let mut overflow = BTreeSet::new();
        for p in rows.iter().filter(|p| p.may_exist) {
            let key = (p.scored.row.ts, p.device_no);
            wide.insert(key);
            if self.is_overflow(&p.scored.row) {
                overflow.insert(key);
            }
        }
        let (n, table) = (self.class.columns.len(), self.class.table());
        let columns: String = (0..n).map(|i| format!(", t.m{i}")).collect();
        let sql = format!(
            "SELECT t.device_no, t.ts, t.health{columns} {}",
            of_keys(&table)
        );
        for row in read_keys(tx, &sql, wide).await? {
            let values = (0..n).map(|i| row.try_get(i + 3));
            let found = StoredRow {
                health: row.try_get(2)?,
                values: values.collect::<Result<_, _>>()?,
            };
            self.wide.insert(key_of(&row)?, found);
        }
        let sql = format!(
            "SELECT t.device_no, t.ts, n.name, t.value {} ",
            of_keys("overflow").replace("WHERE", "JOIN metrics AS n USING (metric_no) WHERE")
        );
        for row in read_keys(tx, &sql, overflow).await? {
            let readings = self.overflow.entry(key_of(&row)?).or_default();
            readings.push((text::name(&row, 2)?, row.try_get(3)?));
        }
        Ok(())
    }

    /// Makes one row of those with the same key, and of what is stored under it.
    fn merge(&mut self, group: &[Placed<'a>], buffers: &mut Buffers) {
        let key = group[0].key();
        let (is_stored, mut is_changed) = match self.wide.get(&key) {
            Some(stored) => {
                self.health = stored.health;
                self.values.copy_from_slice(&stored.values);
                (true, false)
            }
            None => {
                self.health = None;
                self.values.fill(None);
                (false, true)
            }
        };
        self.beyond.clear();
        for p in group {
            if self.health.is_none() && p.scored.health.is_some() {
                self.health = p.scored.health;
                is_changed = true;
            }
            let class = self.class;
            let row = &p.scored.row;
            let of_catalogue = class.catalogue_columns.as_deref().unwrap_or_default();
            for (column, value) in of_catalogue.iter().zip(&row.values) {
                if let Some(value) = value {
                    is_changed |= self.put(p, *column, *value);
                }
            }
            for (metric, value) in &row.extra {
                match class.column_of(metric) {
                    Some(column) => is_changed |= self.put(p, column, *value),
                    None => self.put_beyond(p, metric, *value),
                }
            }
        }
        if is_stored && is_changed {
            self.changed.push(key, self.health, &self.values);
        } else if !is_stored {
            let n_fields = i16::try_from(self.values.len() + 3).unwrap_or(i16::MAX);
            buffers.wide.begin_row(n_fields);
            buffers.wide.integer(key.0);
            buffers.wide.time(key.1);
            buffers.wide.number(self.health);
            for value in &self.values {
                buffers.wide.number(*value);
            }
        }
    }

    /// Puts a reading into its column, unless that is taken; true where it is new.
    fn put(&mut self, p: &Placed<'_>, column: usize, value: f64) -> bool {
        match self.values[column] {
            None => {
                self.values[column] = Some(value);
                self.receipt.inserted += 1;
                true
            }
            Some(first) => {
                let metric = &self.class.columns[column];
                tally_second(
                    p,
                    metric,
                    first,
                    value,
                    &mut self.receipt,
                    &mut self.conflicts,
                );
                false
            }
        }
    }

    fn put_beyond(&mut self, p: &Placed<'_>, metric: &'a MetricName, value: f64) {
        let key = p.key();
        let of_batch = self.beyond.iter().map(|(m, v)| (*m, *v));
        let of_store = self.overflow.get(&key).into_iter().flatten();
        let first = of_batch
            .chain(of_store.map(|(m, v)| (m, *v)))
            .find(|(m, _)| *m == metric)
            .map(|(_, first)| first);
        match first {
            None => {
                self.beyond.push((metric, value));
                self.new_overflow.push((key, metric, value));
                self.receipt.inserted += 1;
            }
            Some(first) => {
                tally_second(
                    p,
                    metric,
                    first,
                    value,
                    &mut self.receipt,
                    &mut self.conflicts,
                );
            }
        }
    }

    /// The row just merged is the newest of its device.
    fn keep_latest(&mut self, key: Key) {
        self.latest.push(key, self.health, &self.values);
    }

    async fn send(
        mut self,
        tx: &Transaction<'_>,
        known: &mut Known,
        buffers: &mut Buffers,
    ) -> Outcome<()> {
        let (n, table) = (self.class.columns.len(), self.class.table());
        let columns: String = (0..n).map(|i| format!(", m{i}")).collect();
        let sql =
            format!("COPY {table} (device_no, ts, health{columns}) FROM STDIN (FORMAT binary)");
        buffers.wide.send(tx, &sql).await?;
        self.update(tx).await?;
        for (key, metric, value) in std::mem::take(&mut self.new_overflow) {
            let metric_no = known.metric(tx, metric).await?;
            buffers.overflow.begin_row(4);
            buffers.overflow.integer(key.0);
            buffers.overflow.time(key.1);
            buffers.overflow.integer(metric_no);
            buffers.overflow.number(Some(value));
        }
        let sql = "COPY overflow (device_no, ts, metric_no, value) FROM STDIN (FORMAT binary)";
        buffers.overflow.send(tx, sql).await?;
        if !self.latest.device_no.is_empty() {
            let sql = format!(
                "INSERT INTO latest (device_no, ts, health, readings)
                 SELECT device_no, ts, health, ARRAY[{}]::double precision[]
                 FROM unnest({}) AS k (device_no, ts, health{columns})
                 ON CONFLICT (device_no) DO UPDATE SET
                     ts = excluded.ts, health = excluded.health, readings = excluded.readings
                 WHERE excluded.ts >= latest.ts",
                self.class.column_list(),
                places(n)
            );
            execute(tx, &sql, &self.latest.params()).await?;
        }
        Ok(())
    }

    /// Fills the gaps of rows that are stored already.
    async fn update(&mut self, tx: &Transaction<'_>) -> Outcome<()> {
        if self.changed.device_no.is_empty() {
            return Ok(());
        }
        // Rows in compressed chunks are unpacked by the thousand; a batch must not fail for their number.
        tx.batch_execute("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
            .await?;
        let (n, table) = (self.class.columns.len(), self.class.table());
        let columns: String = (0..n).map(|i| format!(", m{i}")).collect();
        let set: String = (0..n)
            .map(|i| format!(", m{i} = coalesce(t.m{i}, k.m{i})"))
            .collect();
        // A value that another writer has stored meanwhile is not ours to count: such a row is left out, and
        // missed in the number of rows.
        let still: String = (0..n)
            .map(|i| format!(" AND (t.m{i} IS NULL OR t.m{i} IS NOT DISTINCT FROM k.m{i})"))
            .collect();
        let (from, to) = (n + 4, n + 5);
        // The keys once more as conditions on the table alone: what excludes chunks, and compressed batches.
        let sql = format!(
            "UPDATE {table} AS t SET health = coalesce(t.health, k.health){set}
             FROM unnest({}) AS k (device_no, ts, health{columns})
             WHERE t.device_no = k.device_no AND t.ts = k.ts{still}
               AND t.device_no = ANY ($1) AND t.ts BETWEEN ${from} AND ${to}",
            places(n)
        );
        let changed = std::mem::take(&mut self.changed);
        let mut order: Vec<usize> = (0..changed.ts.len()).collect();
        order.sort_by_key(|i| (changed.ts[*i], changed.device_no[*i]));
        for span in spans(&order, |i| changed.ts[*i].0) {
            let mut part = Columns::new(n);
            for i in span {
                let values: Vec<Option<f64>> = changed.values.iter().map(|c| c[*i]).collect();
                part.push(
                    (changed.device_no[*i], changed.ts[*i].0),
                    changed.health[*i],
                    &values,
                );
            }
            let (first, last) = (part.ts[0], part.ts[part.ts.len() - 1]);
            let mut params: Vec<(&(dyn ToSql + Sync), Type)> = part
                .params()
                .into_iter()
                .map(|p| (p, Type::FLOAT8_ARRAY))
                .collect();
            params[0].1 = Type::INT4_ARRAY;
            params[1].1 = Type::TIMESTAMPTZ_ARRAY;
            params.push((&first, Type::TIMESTAMPTZ));
            params.push((&last, Type::TIMESTAMPTZ));
            let n_updated = tx.execute_typed(&sql, &params).await?;
            if n_updated != part.ts.len() as u64 {
                return Err(Fault::Overtaken);
            }
        }
        Ok(())
    }
}

/// Counts a reading whose key was taken by `first`.
fn tally_second(
    p: &Placed<'_>,
    metric: &MetricName,
    first: f64,
    second: f64,
    receipt: &mut CommitReceipt,
    conflicts: &mut Vec<(usize, Conflict)>,
) {
    if first == second {
        receipt.duplicates += 1;
        return;
    }
    receipt.conflicts += 1;
    let row = &p.scored.row;
    conflicts.push((
        p.arrival,
        Conflict {
            device: row.device.clone(),
            metric: metric.clone(),
            ts: row.ts,
            stored: first,
            refused: second,
        },
    ));
}

/// The rows of `table` under the keys given as two arrays, all within $3 and $4.
fn of_keys(table: &str) -> String {
    format!(
        "FROM unnest($1::integer[], $2::timestamptz[]) AS k (device_no, ts)
         JOIN {table} AS t ON t.device_no = k.device_no AND t.ts = k.ts
         WHERE t.device_no = ANY ($1) AND t.ts BETWEEN $3 AND $4"
    )
}

fn key_of(row: &tokio_postgres::Row) -> Outcome<Key> {
    let ts: Instant = row.try_get(1)?;
    Ok((row.try_get(0)?, ts.0))
}

async fn read_keys(
    tx: &Transaction<'_>,
    sql: &str,
    keys: BTreeSet<(Timestamp, i32)>,
) -> Outcome<Vec<tokio_postgres::Row>> {
    let keys: Vec<(Timestamp, i32)> = keys.into_iter().collect();
    let mut rows = Vec::new();
    for span in spans(&keys, |(ts, _)| *ts) {
        let devices: Vec<i32> = span.iter().map(|(_, device_no)| *device_no).collect();
        let times: Vec<Instant> = span.iter().map(|(ts, _)| Instant(*ts)).collect();
        let (first, last) = (times[0], times[times.len() - 1]);
        // Typed, not prepared: planned for these very times, which leave out most chunks.
        let found = tx
            .query_typed(
                sql,
                &[
                    (&devices, Type::INT4_ARRAY),
                    (&times, Type::TIMESTAMPTZ_ARRAY),
                    (&first, Type::TIMESTAMPTZ),
                    (&last, Type::TIMESTAMPTZ),
                ],
            )
            .await?;
        rows.extend(found);
    }
    Ok(rows)
}

/// Cuts what is sorted by time where it would reach over more than [`SPAN_MS`].
fn spans<T>(sorted: &[T], time: impl Fn(&T) -> Timestamp) -> Vec<&[T]> {
    let mut spans = Vec::new();
    let mut rest = sorted;
    while let Some(first) = rest.first() {
        let end = time(first).as_millis() + SPAN_MS;
        let n = rest.partition_point(|t| time(t).as_millis() < end);
        let (span, others) = rest.split_at(n);
        spans.push(span);
        rest = others;
    }
    spans
}
