//! Reading telemetry back: rows, down-sampled series, fingerprints.

use std::collections::BTreeMap;

use forecare_domain::{DeviceId, MetricName, Row, Timestamp};
use forecare_store::{
    Bucket, Fingerprint, HEALTH_METRIC, LatestRow, ROWS_MAX, Series, StoreError, TelemetryQuery,
};
use rusqlite::{Connection, params};

use crate::fault::Outcome;
use crate::layout::{ClassLayout, Layout};
use crate::query::{collect, device};
use crate::text;

/// Number of `id` and its class; `None` where it was never registered.
fn locate<'a>(
    conn: &Connection,
    layout: &'a Layout,
    id: &DeviceId,
) -> Outcome<Option<(&'a ClassLayout, i64)>> {
    let found = device(conn, id)?;
    Ok(found.and_then(|(class_no, device_no)| Some((layout.class(class_no)?, device_no))))
}

pub(crate) fn rows_after(
    conn: &Connection,
    layout: &Layout,
    id: &DeviceId,
    after: Option<Timestamp>,
    limit: usize,
) -> Outcome<Vec<Row>> {
    let Some((class, device_no)) = locate(conn, layout, id)? else {
        return Ok(Vec::new());
    };
    let n = class.columns.len();
    let of_catalogue = class.catalogue_columns.as_deref().unwrap_or_default();
    let others: Vec<usize> = (0..n).filter(|i| !of_catalogue.contains(i)).collect();
    let limit = i64::try_from(limit.clamp(1, ROWS_MAX)).unwrap_or(1);
    let after = after.map_or(i64::MIN, Timestamp::as_millis);
    let sql = format!(
        "SELECT ts{}{} FROM {} WHERE device_no = ?1 AND ts > ?2 ORDER BY ts LIMIT ?3",
        if n > 0 { ", " } else { "" },
        class.column_list(),
        class.table()
    );
    let mut rows = collect(conn, &sql, [device_no, after, limit], |r| {
        let mut extra = Vec::new();
        for i in &others {
            if let Some(value) = r.get::<_, Option<f64>>(i + 1)? {
                extra.push((class.columns[*i].clone(), value));
            }
        }
        let values = of_catalogue
            .iter()
            .map(|i| r.get(i + 1))
            .collect::<Result<_, _>>()?;
        Ok(Row {
            device: id.clone(),
            ts: text::time(r, 0)?,
            values,
            extra,
        })
    })?;
    let (Some(first), Some(last)) = (rows.first().map(|r| r.ts), rows.last().map(|r| r.ts)) else {
        return Ok(rows);
    };
    let sql = "SELECT ts, name, value FROM overflow JOIN metrics USING (metric_no)
               WHERE device_no = ?1 AND ts BETWEEN ?2 AND ?3";
    let range = [device_no, first.as_millis(), last.as_millis()];
    for (ts, metric, value) in collect(conn, sql, range, |r| {
        Ok((text::time(r, 0)?, text::name(r, 1)?, r.get(2)?))
    })? {
        if let Ok(at) = rows.binary_search_by_key(&ts, |r| r.ts) {
            rows[at].extra.push((metric, value));
        }
    }
    for row in &mut rows {
        row.extra.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Ok(rows)
}

pub(crate) fn newest(
    conn: &Connection,
    layout: &Layout,
    id: &DeviceId,
) -> Outcome<Option<Timestamp>> {
    let Some((class, device_no)) = locate(conn, layout, id)? else {
        return Ok(None);
    };
    let sql = format!("SELECT max(ts) FROM {} WHERE device_no = ?1", class.table());
    let newest: Option<i64> = conn
        .prepare_cached(&sql)?
        .query_row([device_no], |r| r.get(0))?;
    Ok(newest.map(Timestamp::from_millis))
}

/// One seek per device into its class's table.
pub(crate) fn latest(conn: &Connection, layout: &Layout) -> Outcome<Vec<LatestRow>> {
    let mut all = Vec::new();
    for class in &layout.classes {
        let of_catalogue = class.catalogue_columns.as_deref().unwrap_or_default();
        let columns: Vec<String> = of_catalogue.iter().map(|i| format!(", m{i}")).collect();
        let table = class.table();
        let sql = format!(
            "SELECT name, ts, health{} FROM (SELECT device_no, devices.name FROM devices
                 JOIN assets ON assets.device = devices.name WHERE class_no = ?1) AS fleet
             JOIN {table} AS t ON t.device_no = fleet.device_no
                 AND ts = (SELECT max(ts) FROM {table} WHERE device_no = fleet.device_no)",
            columns.concat(),
        );
        all.extend(collect(conn, &sql, [class.class_no], |r| {
            let mut readings = Vec::with_capacity(of_catalogue.len());
            for (place, column) in of_catalogue.iter().enumerate() {
                if let Some(value) = r.get(place + 3)? {
                    readings.push((class.columns[*column].clone(), value));
                }
            }
            Ok(LatestRow {
                device: text::name(r, 0)?,
                ts: text::time(r, 1)?,
                health: r.get(2)?,
                readings,
            })
        })?);
    }
    all.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(all)
}

pub(crate) fn fingerprint(
    conn: &Connection,
    layout: &Layout,
    id: &DeviceId,
) -> Outcome<Fingerprint> {
    let mut sum = Fingerprint::default();
    let Some((class, device_no)) = locate(conn, layout, id)? else {
        return Ok(sum);
    };
    let n = class.columns.len();
    let sql = format!(
        "SELECT ts{}{} FROM {} WHERE device_no = ?1",
        if n > 0 { ", " } else { "" },
        class.column_list(),
        class.table()
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([device_no])?;
    while let Some(r) = rows.next()? {
        let ts = text::time(r, 0)?;
        for (i, metric) in class.columns.iter().enumerate() {
            if let Some(value) = r.get::<_, Option<f64>>(i + 1)? {
                sum.add(id, metric, ts, value);
            }
        }
    }
    let mut statement = conn.prepare_cached(
        "SELECT ts, name, value FROM overflow JOIN metrics USING (metric_no) WHERE device_no = ?1",
    )?;
    let mut rows = statement.query([device_no])?;
    while let Some(r) = rows.next()? {
        sum.add(id, &text::name(r, 1)?, text::time(r, 0)?, r.get(2)?);
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
struct Buckets(BTreeMap<i64, Tally>);

impl Buckets {
    fn add(&mut self, index: i64, value: f64) {
        let tally = self.0.entry(index).or_insert(Tally {
            sum: 0.0,
            min: value,
            max: value,
            n: 0,
        });
        tally.sum += value;
        tally.min = tally.min.min(value);
        tally.max = tally.max.max(value);
        tally.n += 1;
    }

    fn series(self, metric: MetricName, query: &TelemetryQuery) -> Series {
        let (from_ms, bucket_ms) = (query.from.as_millis(), query.bucket_ms());
        let buckets = self.0.into_iter().map(|(index, tally)| Bucket {
            ts: Timestamp::from_millis(from_ms + index * bucket_ms),
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

pub(crate) fn telemetry(
    conn: &Connection,
    layout: &Layout,
    query: &TelemetryQuery,
    rows_max: u64,
) -> Outcome<Vec<Series>> {
    let Some((class, device_no)) = locate(conn, layout, &query.device)? else {
        return Err(StoreError::NotFound(format!("device {}", query.device)).into());
    };
    let mut metrics = query.metrics.clone();
    if metrics.is_empty() {
        let of_catalogue = class.catalogue_columns.iter().flatten();
        metrics.extend(of_catalogue.map(|i| class.columns[*i].clone()));
        metrics.extend(MetricName::new(HEALTH_METRIC));
    }
    let (from, to) = (query.from.as_millis(), query.to.as_millis());
    let bucket_ms = query.bucket_ms();
    let mut n_rows = 0;
    let mut count = || -> Outcome<()> {
        n_rows += 1;
        if n_rows > rows_max {
            return Err(StoreError::range_too_long(rows_max).into());
        }
        Ok(())
    };
    let mut all: Vec<Buckets> = metrics.iter().map(|_| Buckets::default()).collect();
    // What stands in the wide table is read in one pass; the rest is asked for one by one.
    let mut wide: Vec<(usize, String)> = Vec::new();
    for (i, metric) in metrics.iter().enumerate() {
        if metric.as_str() == HEALTH_METRIC {
            wide.push((i, "health".to_owned()));
        } else if let Some(column) = class.column_of(metric) {
            wide.push((i, format!("m{column}")));
        } else {
            let sql = "SELECT ts, value FROM overflow JOIN metrics USING (metric_no)
                       WHERE device_no = ?1 AND ts >= ?2 AND ts < ?3 AND name = ?4 ORDER BY ts";
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query(params![device_no, from, to, metric.as_str()])?;
            while let Some(r) = rows.next()? {
                count()?;
                all[i].add((r.get::<_, i64>(0)? - from) / bucket_ms, r.get(1)?);
            }
        }
    }
    if !wide.is_empty() {
        let columns: Vec<&str> = wide.iter().map(|(_, column)| column.as_str()).collect();
        let sql = format!(
            "SELECT ts, {} FROM {} WHERE device_no = ?1 AND ts >= ?2 AND ts < ?3 ORDER BY ts",
            columns.join(", "),
            class.table()
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query([device_no, from, to])?;
        while let Some(r) = rows.next()? {
            count()?;
            let index = (r.get::<_, i64>(0)? - from) / bucket_ms;
            for (place, (i, _)) in wide.iter().enumerate() {
                if let Some(value) = r.get::<_, Option<f64>>(place + 1)? {
                    all[*i].add(index, value);
                }
            }
        }
    }
    Ok(metrics
        .into_iter()
        .zip(all)
        .map(|(metric, buckets)| buckets.series(metric, query))
        .collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]
mod tests {
    use forecare_store::conformance::fixtures::{commit, device, hour, metric, ms, register, row};
    use forecare_store::{Fill, Store};

    use super::*;
    use crate::SqliteStore;

    #[tokio::test]
    async fn a_range_of_too_many_rows_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let catalogue = forecare_store::conformance::fixtures::catalogue();
        let store =
            std::sync::Arc::new(SqliteStore::open(directory.path(), &catalogue, hour(0)).unwrap());
        let as_store: std::sync::Arc<dyn Store> = store.clone();
        register(&as_store, 1).await;
        let rows = (0..10).map(|ts| row(0, ts, [Some(1.0), None, None]));
        commit(&as_store, rows.collect()).await;
        for (rows_max, fits) in [(9, false), (10, true)] {
            let query = TelemetryQuery {
                device: device(0),
                metrics: vec![metric("vibration")],
                from: ms(0),
                to: ms(10),
                points: 1,
                fill: Fill::None,
            };
            let asked = store
                .pool
                .read("telemetry", move |conn, layout| {
                    telemetry(conn, layout, &query, rows_max)
                })
                .await;
            match asked {
                Ok(series) => assert!(fits && series[0].buckets[0].n == 10),
                Err(e) => assert!(!fits && e.to_string().contains("more than 9 rows")),
            }
        }
    }
}
