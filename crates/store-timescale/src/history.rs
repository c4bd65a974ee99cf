//! Reading telemetry back: rows, down-sampled series, fingerprints.
//!
//! Statements on hypertables are typed, not prepared: each is planned for its very times, which leave out
//! all chunks but those it needs.

use std::collections::BTreeMap;
use std::pin::pin;

use deadpool_postgres::Transaction;
use forecare_domain::{DeviceId, MetricName, Row, Timestamp};
use forecare_store::{
    Bucket, Fingerprint, HEALTH_METRIC, ROWS_MAX, Series, StoreError, TelemetryQuery,
};
use futures_util::{StreamExt, TryStreamExt};
use tokio_postgres::types::{ToSql, Type};

use crate::fault::Outcome;
use crate::instant::Instant;
use crate::internals::Internals;
use crate::layout::{ClassLayout, Layout, Level};
use crate::query::device;
use crate::text;

/// An aggregate is used from so many of its buckets per bucket asked for: below, the ends that have to be
/// read from the rows cost more than it saves.
const LEVEL_BUCKETS_MIN: i64 = 16;

/// Number of `id` and its class; `None` where it was never registered.
async fn locate<'a>(
    tx: &Transaction<'_>,
    layout: &'a Layout,
    id: &DeviceId,
) -> Outcome<Option<(&'a ClassLayout, i32)>> {
    let found = device(tx, id).await?;
    Ok(found.and_then(|(class_no, device_no)| Some((layout.class(class_no)?, device_no))))
}

pub(crate) async fn rows_after(
    tx: &Transaction<'_>,
    layout: &Layout,
    id: &DeviceId,
    after: Option<Timestamp>,
    limit: usize,
) -> Outcome<Vec<Row>> {
    let Some((class, device_no)) = locate(tx, layout, id).await? else {
        return Ok(Vec::new());
    };
    if after == Some(Timestamp::MAX) {
        return Ok(Vec::new());
    }
    let n = class.columns.len();
    let of_catalogue = class.catalogue_columns.as_deref().unwrap_or_default();
    let others: Vec<usize> = (0..n).filter(|i| !of_catalogue.contains(i)).collect();
    let limit = i64::try_from(limit.clamp(1, ROWS_MAX)).unwrap_or(1);
    let from = after.map_or(Timestamp::MIN, |ts| {
        Timestamp::from_millis(ts.as_millis() + 1)
    });
    let columns: String = (0..n).map(|i| format!(", m{i}")).collect();
    let sql = format!(
        "SELECT ts{columns} FROM {} WHERE device_no = $1 AND ts >= $2 ORDER BY ts LIMIT $3",
        class.table()
    );
    let params: [(&(dyn ToSql + Sync), Type); 3] = [
        (&device_no, Type::INT4),
        (&Instant(from), Type::TIMESTAMPTZ),
        (&limit, Type::INT8),
    ];
    let mut stream = pin!(tx.query_typed_raw(&sql, params).await?);
    let mut rows = Vec::new();
    while let Some(r) = stream.try_next().await? {
        let mut extra = Vec::new();
        for i in &others {
            if let Some(value) = r.try_get(i + 1)? {
                extra.push((class.columns[*i].clone(), value));
            }
        }
        let values = of_catalogue.iter().map(|i| r.try_get(i + 1));
        rows.push(Row {
            device: id.clone(),
            ts: r.try_get::<_, Instant>(0)?.0,
            values: values.collect::<Result<_, _>>()?,
            extra,
        });
    }
    let (Some(first), Some(last)) = (rows.first().map(|r| r.ts), rows.last().map(|r| r.ts)) else {
        return Ok(rows);
    };
    let sql = "SELECT ts, name, value FROM overflow JOIN metrics USING (metric_no)
               WHERE device_no = $1 AND ts BETWEEN $2 AND $3";
    let params: [(&(dyn ToSql + Sync), Type); 3] = [
        (&device_no, Type::INT4),
        (&Instant(first), Type::TIMESTAMPTZ),
        (&Instant(last), Type::TIMESTAMPTZ),
    ];
    let mut stream = pin!(tx.query_typed_raw(sql, params).await?);
    while let Some(r) = stream.try_next().await? {
        let ts = r.try_get::<_, Instant>(0)?.0;
        if let Ok(at) = rows.binary_search_by_key(&ts, |r| r.ts) {
            rows[at].extra.push((text::name(&r, 1)?, r.try_get(2)?));
        }
    }
    for row in &mut rows {
        row.extra.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Ok(rows)
}

pub(crate) async fn newest(tx: &Transaction<'_>, id: &DeviceId) -> Outcome<Option<Timestamp>> {
    let sql = "SELECT ts FROM latest JOIN devices USING (device_no) WHERE name = $1";
    let found = tx
        .query_typed_opt(sql, &[(&id.as_str(), Type::TEXT)])
        .await?;
    found.map(|r| Ok(r.try_get::<_, Instant>(0)?.0)).transpose()
}

/// Reads every row of the device, one at a time: memory is bounded.
pub(crate) async fn fingerprint(
    tx: &Transaction<'_>,
    layout: &Layout,
    id: &DeviceId,
) -> Outcome<Fingerprint> {
    let mut sum = Fingerprint::default();
    let Some((class, device_no)) = locate(tx, layout, id).await? else {
        return Ok(sum);
    };
    let columns: String = (0..class.columns.len())
        .map(|i| format!(", m{i}"))
        .collect();
    let sql = format!(
        "SELECT ts{columns} FROM {} WHERE device_no = $1",
        class.table()
    );
    let params: [(&(dyn ToSql + Sync), Type); 1] = [(&device_no, Type::INT4)];
    let mut stream = pin!(tx.query_typed_raw(&sql, params.clone()).await?);
    while let Some(r) = stream.next().await {
        let r = r?;
        let ts = r.try_get::<_, Instant>(0)?.0;
        for (i, metric) in class.columns.iter().enumerate() {
            if let Some(value) = r.try_get(i + 1)? {
                sum.add(id, metric, ts, value);
            }
        }
    }
    let sql =
        "SELECT ts, name, value FROM overflow JOIN metrics USING (metric_no) WHERE device_no = $1";
    let mut stream = pin!(tx.query_typed_raw(sql, params).await?);
    while let Some(r) = stream.next().await {
        let r = r?;
        let ts = r.try_get::<_, Instant>(0)?.0;
        sum.add(id, &text::name(&r, 1)?, ts, r.try_get(2)?);
    }
    Ok(sum)
}

/// A bucket in the making.
#[derive(Clone, Copy)]
struct Tally {
    sum: f64,
    min: f64,
    max: f64,
    n: u64,
}

#[derive(Default)]
struct Buckets(BTreeMap<Timestamp, Tally>);

impl Buckets {
    fn add(&mut self, begin: Timestamp, part: Tally) {
        match self.0.get_mut(&begin) {
            None => {
                self.0.insert(begin, part);
            }
            Some(tally) => {
                tally.sum += part.sum;
                tally.min = tally.min.min(part.min);
                tally.max = tally.max.max(part.max);
                tally.n += part.n;
            }
        }
    }

    fn series(self, metric: MetricName, query: &TelemetryQuery) -> Series {
        let buckets = self.0.into_iter().map(|(ts, tally)| Bucket {
            ts,
            mean: tally.sum / tally.n as f64,
            min: tally.min,
            max: tally.max,
            n: tally.n,
        });
        Series {
            buckets: query.filled(buckets.collect()),
            metric,
        }
    }
}

/// A column of the wide table, and whose series it is.
struct Wanted {
    metric: usize,
    column: String,
    generation: i32,
}

pub(crate) async fn telemetry(
    tx: &Transaction<'_>,
    layout: &Layout,
    query: &TelemetryQuery,
    rows_max: u64,
) -> Outcome<Vec<Series>> {
    Ok(read_telemetry(tx, layout, query, rows_max, None).await?.0)
}

/// How the server does what [`telemetry`] asks of it: its statements on readings, each with its plan, as they ran.
pub(crate) async fn telemetry_plans(
    tx: &Transaction<'_>,
    layout: &Layout,
    query: &TelemetryQuery,
    rows_max: u64,
) -> Outcome<Vec<String>> {
    let (_, plans) = read_telemetry(tx, layout, query, rows_max, Some(Vec::new())).await?;
    Ok(plans.unwrap_or_default())
}

/// Runs a statement; returns it with its plan.
pub(crate) async fn explained(
    tx: &Transaction<'_>,
    sql: &str,
    params: &[(&(dyn ToSql + Sync), Type)],
) -> Outcome<String> {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {sql}");
    let mut text = format!("{sql}\n");
    for line in tx.query_typed(&explain, params).await? {
        text += "  ";
        text += line.try_get::<_, &str>(0)?;
        text.push('\n');
    }
    Ok(text)
}

/// The series, and the plans where these are asked for.
async fn read_telemetry(
    tx: &Transaction<'_>,
    layout: &Layout,
    query: &TelemetryQuery,
    rows_max: u64,
    plans: Option<Vec<String>>,
) -> Outcome<(Vec<Series>, Option<Vec<String>>)> {
    let Some((class, device_no)) = locate(tx, layout, &query.device).await? else {
        return Err(StoreError::NotFound(format!("device {}", query.device)).into());
    };
    let mut metrics = query.metrics.clone();
    if metrics.is_empty() {
        let of_catalogue = class.catalogue_columns.iter().flatten();
        metrics.extend(of_catalogue.map(|i| class.columns[*i].clone()));
        metrics.extend(MetricName::new(HEALTH_METRIC));
    }
    let mut reader = Reader {
        tx,
        internals: layout.internals.as_ref(),
        device_no,
        query,
        rows_left: rows_max,
        rows_max,
        all: metrics.iter().map(|_| Buckets::default()).collect(),
        plans,
    };
    let whole = [(query.from.as_millis(), query.to.as_millis())];
    let mut wanted: Vec<Wanted> = Vec::new();
    for (i, metric) in metrics.iter().enumerate() {
        if query.from >= query.to {
            break;
        }
        if metric.as_str() == HEALTH_METRIC {
            wanted.push(Wanted {
                metric: i,
                column: "health".to_owned(),
                generation: 0,
            });
        } else if let Some(column) = class.column_of(metric) {
            wanted.push(Wanted {
                metric: i,
                column: format!("m{column}"),
                generation: class.generations[column],
            });
        } else {
            let numbers = "SELECT metric_no FROM metrics WHERE name = $1";
            let found = tx
                .query_typed_opt(numbers, &[(&metric.as_str(), Type::TEXT)])
                .await?;
            if let Some(r) = found {
                let metric_no: i32 = r.try_get(0)?;
                let source = format!(
                    "(SELECT device_no, ts, value FROM overflow WHERE metric_no = {metric_no}) AS o"
                );
                reader
                    .read(&source, &[(i, raw_terms("value"))], &whole)
                    .await?;
            }
        }
    }
    let level = level_for(query).filter(|_| layout.internals.is_some());
    let is_old = reader.reaches_beyond_rows(class).await?;
    if level.is_none() && !is_old {
        let terms: Vec<_> = wanted
            .iter()
            .map(|w| (w.metric, raw_terms(&w.column)))
            .collect();
        if !terms.is_empty() {
            reader.read(&class.table(), &terms, &whole).await?;
        }
    } else {
        for of_generation in wanted.chunk_by(|a, b| a.generation == b.generation) {
            reader.read_levels(class, of_generation, level).await?;
        }
    }
    let series = metrics
        .into_iter()
        .zip(reader.all)
        .map(|(metric, buckets)| buckets.series(metric, query));
    Ok((series.collect(), reader.plans))
}

/// Sum, count, least and greatest of a column of readings.
fn raw_terms(column: &str) -> String {
    format!("sum({column}), count({column}), min({column}), max({column})")
}

/// The same from an aggregate.
fn level_terms(column: &str) -> String {
    format!("sum({column}_sum), sum({column}_n)::bigint, min({column}_min), max({column}_max)")
}

/// The coarsest level that serves the query's buckets: they begin and end where its own do, or are so much
/// longer that the ends can be read from the rows.
fn level_for(query: &TelemetryQuery) -> Option<Level> {
    let (from, bucket_ms) = (query.from.as_millis(), query.bucket_ms());
    Level::ALL.into_iter().rev().find(|level| {
        let own = level.bucket_ms();
        let is_aligned = from.rem_euclid(own) == 0 && bucket_ms % own == 0;
        is_aligned || bucket_ms >= own * LEVEL_BUCKETS_MIN
    })
}

/// Ranges of time, from (inclusive) to (exclusive), epoch ms; in order, apart from each other.
type Ranges = Vec<(i64, i64)>;

/// Where to read what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    raw: Ranges,
    levels: BTreeMap<Level, Ranges>,
}

impl Plan {
    /// `oldest`: where the rows, the minutes and the hours that are still kept begin. `stale`: where the
    /// aggregate of `level` may differ from the rows.
    fn new(
        query: &TelemetryQuery,
        level: Option<Level>,
        oldest: [i64; 3],
        stale: &[(i64, i64)],
    ) -> Self {
        let mut plan = Self::default();
        let (mut from, to) = (query.from.as_millis(), query.to.as_millis());
        // What has been dropped is read from the finest level that still has it.
        let [rows, minutes, hours] = oldest;
        for (end, finest) in [
            (hours, Level::Day),
            (minutes, Level::Hour),
            (rows, Level::Minute),
        ] {
            let source = level.map_or(finest, |level| level.max(finest));
            let own = source.bucket_ms();
            // A bucket that the oldest rows share with dropped ones counts as dropped, unless it is stale.
            let (begin, whole) = (round_down(end, own), round_up(end, own));
            let is_stale = stale.iter().any(|(a, b)| *a < whole && *b > begin);
            let end = if is_stale { begin } else { whole }.min(to);
            if from < end {
                plan.levels.entry(source).or_default().push((from, end));
                from = end;
            }
        }
        let Some(level) = level.filter(|_| from < to) else {
            if from < to {
                plan.raw.push((from, to));
            }
            return plan;
        };
        // Buckets of the level that lie across an edge, or may be stale, are read from the rows.
        let own = level.bucket_ms();
        let (begin, bucket_ms) = (query.from.as_millis(), query.bucket_ms());
        let mut edges: Ranges = stale
            .iter()
            .map(|(a, b)| (a.max(&from).to_owned(), b.min(&to).to_owned()))
            .collect();
        let first = (from - begin) / bucket_ms;
        let edge = |i: i64| begin.saturating_add(i.saturating_mul(bucket_ms));
        edges.extend((first..).map(edge).take_while(|b| *b < to).map(|b| (b, b)));
        edges.extend([(from, from), (to, to)]);
        edges.sort_unstable();
        let mut read_to = from;
        for (a, b) in edges {
            let a = round_down(a, own).max(from);
            let b = round_up(b, own).min(to);
            // An edge between two of the level's buckets divides nothing.
            if a >= b || b <= read_to {
                continue;
            }
            if a > read_to {
                plan.levels.entry(level).or_default().push((read_to, a));
            }
            push(&mut plan.raw, (a.max(read_to), b));
            read_to = b;
        }
        if read_to < to {
            plan.levels.entry(level).or_default().push((read_to, to));
        }
        plan
    }
}

/// Appends a range, joined to the last where they touch; an empty one is none.
fn push(ranges: &mut Ranges, (from, to): (i64, i64)) {
    match ranges.last_mut() {
        _ if from >= to => {}
        Some(last) if last.1 == from => last.1 = to,
        _ => ranges.push((from, to)),
    }
}

fn round_down(ms: i64, length: i64) -> i64 {
    ms.saturating_sub(ms.rem_euclid(length))
}

fn round_up(ms: i64, length: i64) -> i64 {
    ms.saturating_add((length - ms.rem_euclid(length)) % length)
}

struct Reader<'a> {
    tx: &'a Transaction<'a>,
    internals: Option<&'a Internals>,
    device_no: i32,
    query: &'a TelemetryQuery,
    rows_left: u64,
    rows_max: u64,
    all: Vec<Buckets>,
    plans: Option<Vec<String>>,
}

impl Reader<'_> {
    /// Adds what `source` holds in `ranges` to the buckets; `terms` are each metric's place and its sum, count,
    /// least and greatest.
    async fn read(
        &mut self,
        source: &str,
        terms: &[(usize, String)],
        ranges: &[(i64, i64)],
    ) -> Outcome<()> {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
            return Ok(());
        };
        let listed: String = terms.iter().map(|(_, sql)| format!(", {sql}")).collect();
        let inner = format!(
            "SELECT date_bin(interval '{} milliseconds', ts, $2) AS bucket, count(*){listed}
             FROM {source} WHERE device_no = $1 AND ts >= $3 AND ts < $4",
            self.query.bucket_ms()
        );
        let at = |ms: i64| Instant(Timestamp::from_millis(ms));
        let (origin, begin, end) = (Instant(self.query.from), at(first.0), at(last.1));
        let froms: Vec<Instant> = ranges.iter().map(|r| at(r.0)).collect();
        let tos: Vec<Instant> = ranges.iter().map(|r| at(r.1)).collect();
        let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&self.device_no, Type::INT4),
            (&origin, Type::TIMESTAMPTZ),
            (&begin, Type::TIMESTAMPTZ),
            (&end, Type::TIMESTAMPTZ),
        ];
        let sql = if ranges.len() == 1 {
            format!("{inner} GROUP BY bucket ORDER BY bucket")
        } else {
            params.push((&froms, Type::TIMESTAMPTZ_ARRAY));
            params.push((&tos, Type::TIMESTAMPTZ_ARRAY));
            format!(
                "SELECT part.* FROM unnest($5, $6) AS r (a, b)
                 CROSS JOIN LATERAL ({inner} AND ts >= r.a AND ts < r.b GROUP BY bucket) AS part"
            )
        };
        if let Some(plans) = &mut self.plans {
            plans.push(explained(self.tx, &sql, &params).await?);
        }
        let mut stream = pin!(self.tx.query_typed_raw(&sql, params).await?);
        while let Some(r) = stream.try_next().await? {
            let n_rows: i64 = r.try_get(1)?;
            let Some(left) = self.rows_left.checked_sub(n_rows.unsigned_abs()) else {
                return Err(StoreError::range_too_long(self.rows_max).into());
            };
            self.rows_left = left;
            let bucket = r.try_get::<_, Instant>(0)?.0;
            for (place, (metric, _)) in terms.iter().enumerate() {
                let at = 2 + place * 4;
                let n = r.try_get::<_, Option<i64>>(at + 1)?.unwrap_or(0);
                if n > 0 {
                    let tally = Tally {
                        sum: r.try_get(at)?,
                        n: n.unsigned_abs(),
                        min: r.try_get(at + 2)?,
                        max: r.try_get(at + 3)?,
                    };
                    self.all[*metric].add(bucket, tally);
                }
            }
        }
        Ok(())
    }

    /// Reads columns of one generation, from aggregates where these hold what the rows hold.
    async fn read_levels(
        &mut self,
        class: &ClassLayout,
        wanted: &[Wanted],
        level: Option<Level>,
    ) -> Outcome<()> {
        let Some(generation) = wanted.first().map(|w| w.generation) else {
            return Ok(());
        };
        // A level that was never computed, or not from the beginning, has lost nothing that a finer one has.
        let rows = self.oldest(&class.table()).await?;
        let minutes = class.aggregate(Level::Minute, generation);
        let minutes = self.oldest(&minutes).await?.min(rows);
        let hours = class.aggregate(Level::Hour, generation);
        let hours = self.oldest(&hours).await?.min(minutes);
        let oldest = [rows, minutes, hours];
        let stale = match level {
            Some(level) => self.stale(&class.aggregate(level, generation)).await?,
            None => Vec::new(),
        };
        let plan = Plan::new(self.query, level, oldest, &stale);
        let terms: Vec<_> = wanted
            .iter()
            .map(|w| (w.metric, raw_terms(&w.column)))
            .collect();
        self.read(&class.table(), &terms, &plan.raw).await?;
        let terms: Vec<_> = wanted
            .iter()
            .map(|w| (w.metric, level_terms(&w.column)))
            .collect();
        for (level, ranges) in &plan.levels {
            self.read(&class.aggregate(*level, generation), &terms, ranges)
                .await?;
        }
        Ok(())
    }

    /// Whether the query begins before the oldest chunk of rows, where readings may have been dropped.
    async fn reaches_beyond_rows(&self, class: &ClassLayout) -> Outcome<bool> {
        Ok(self.query.from.as_millis() < self.oldest(&class.table()).await?)
    }

    /// Where the oldest chunk of a hypertable or continuous aggregate begins; the end of time where there is
    /// none.
    async fn oldest(&self, name: &str) -> Outcome<i64> {
        let Some(internals) = self.internals else {
            // Without the extension nothing is dropped.
            return Ok(i64::MIN);
        };
        let row = self
            .tx
            .query_typed_one(&internals.oldest, &[(&name, Type::TEXT)])
            .await?;
        let us: Option<i64> = row.try_get(0)?;
        Ok(us.map_or(i64::MAX, |us| us.div_euclid(1_000)))
    }

    /// Ranges that were changed, or never computed, since the aggregate or one it is made from was refreshed.
    async fn stale(&self, name: &str) -> Outcome<Ranges> {
        let Some(sql) = self.internals.and_then(|i| i.stale.as_deref()) else {
            // Nothing of it can be relied on.
            return Ok(vec![(
                self.query.from.as_millis(),
                self.query.to.as_millis(),
            )]);
        };
        let mut ranges = Vec::new();
        for row in self.tx.query_typed(sql, &[(&name, Type::TEXT)]).await? {
            let (first_us, last_us): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let range = (
                first_us.div_euclid(1_000),
                last_us.div_euclid(1_000).saturating_add(1),
            );
            if range.1 > self.query.from.as_millis() && range.0 < self.query.to.as_millis() {
                ranges.push(range);
            }
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use forecare_store::Fill;

    use super::*;

    fn query(from: i64, to: i64, points: usize) -> TelemetryQuery {
        TelemetryQuery {
            device: DeviceId::new("d").unwrap(),
            metrics: Vec::new(),
            from: Timestamp::from_millis(from),
            to: Timestamp::from_millis(to),
            points,
            fill: Fill::None,
        }
    }

    const MINUTE: i64 = 60_000;
    const NONE_DROPPED: [i64; 3] = [i64::MIN; 3];

    #[test]
    fn a_plan_reads_every_instant_once_and_aggregates_only_whole_and_fresh() {
        for (from, to, points) in [
            (0, 600 * MINUTE, 10),
            (17, 600 * MINUTE + 5, 7),
            (-33, 6_000 * MINUTE, 100),
            (MINUTE, 61 * MINUTE, 60),
        ] {
            for stale in [
                vec![],
                vec![
                    (5 * MINUTE + 1, 9 * MINUTE),
                    (i64::MIN, -1),
                    (400 * MINUTE, i64::MAX),
                ],
            ] {
                let query = query(from, to, points);
                assert_eq!(
                    level_for(&query),
                    Some(Level::Minute)
                        .filter(|_| level_for(&query) != Some(Level::Hour))
                        .or(Some(Level::Hour))
                );
                let plan = Plan::new(&query, Some(Level::Minute), NONE_DROPPED, &stale);
                let levels = plan.levels.get(&Level::Minute).cloned().unwrap_or_default();
                let mut all = [plan.raw.clone(), levels.clone()].concat();
                all.sort_unstable();
                let mut at = from;
                for (a, b) in all {
                    assert_eq!(a, at, "{query:?} {plan:?}");
                    assert!(a < b);
                    at = b;
                }
                assert_eq!(at, to);
                for (a, b) in levels {
                    assert!(a % MINUTE == 0 && b % MINUTE == 0);
                    assert!(stale.iter().all(|(x, y)| *y <= a || *x >= b));
                    for minute in (a..b).step_by(60_000) {
                        let bucket = |ms: i64| (ms - from) / query.bucket_ms();
                        assert_eq!(bucket(minute), bucket(minute + MINUTE - 1));
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_dropped_is_read_from_the_finest_level_left() {
        const DAY: i64 = 1_440 * MINUTE;
        let plan = Plan::new(
            &query(0, 40 * DAY, 5_000),
            None,
            [30 * DAY + MINUTE / 2, 20 * DAY, 10 * DAY],
            &[],
        );
        let rows_from = 30 * DAY + MINUTE;
        assert_eq!(plan.raw, [(rows_from, 40 * DAY)]);
        let levels: Vec<_> = plan.levels.into_iter().collect();
        assert_eq!(
            levels,
            [
                (Level::Minute, vec![(20 * DAY, rows_from)]),
                (Level::Hour, vec![(10 * DAY, 20 * DAY)]),
                (Level::Day, vec![(0, 10 * DAY)]),
            ]
        );
    }
}
