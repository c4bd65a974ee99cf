//! Where the readings of each asset class lie: one wide table per class, a numbered column per metric.
//!
//! Metric names are arbitrary Unicode, so columns are called m0, m1, ... and `class_columns` says which
//! metric is which. Columns are only ever added; those added together are a generation, which has its own
//! continuous aggregates: a materialised view cannot be given columns later.

use std::collections::{BTreeSet, HashMap};

use forecare_catalogue::Catalogue;
use forecare_domain::{ClassName, MetricName};
use tokio_postgres::Transaction;

use crate::fault::{Outcome, unreadable};
use crate::internals::Internals;

/// A level of the aggregates; each but the first is made from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Minute,
    Hour,
    Day,
}

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// Length of a bucket, ms; buckets begin at multiples of it since 1970 (UTC).
    pub(crate) fn bucket_ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

/// One asset class that has a table.
#[derive(Debug)]
pub(crate) struct ClassLayout {
    pub(crate) class_no: i32,
    pub(crate) name: ClassName,
    /// The metric of column m0, m1, ...; those of the catalogue and any that used to be in it.
    pub(crate) columns: Vec<MetricName>,
    /// The generation of each column; not falling.
    pub(crate) generations: Vec<i32>,
    /// Column of each metric of the catalogue, in its order; `None`: the catalogue lacks the class.
    pub(crate) catalogue_columns: Option<Vec<usize>>,
}

impl ClassLayout {
    pub(crate) fn table(&self) -> String {
        format!("telemetry_{}", self.class_no)
    }

    pub(crate) fn column_of(&self, metric: &MetricName) -> Option<usize> {
        self.columns.iter().position(|m| m == metric)
    }

    /// `m0, m1, ...`
    pub(crate) fn column_list(&self) -> String {
        let names: Vec<String> = (0..self.columns.len()).map(|i| format!("m{i}")).collect();
        names.join(", ")
    }

    /// The continuous aggregate of that level and generation of columns, which there is only with the
    /// extension: `device_no, ts` (begin of the bucket), and `<c>_sum, <c>_n, <c>_min, <c>_max` per column
    /// `c`; generation 0 has the column `health` too.
    pub(crate) fn aggregate(&self, level: Level, generation: i32) -> String {
        format!("{}_g{generation}_{}", self.table(), level.suffix())
    }

    /// Generations there are, oldest first. Generation 0 always is: it holds the health.
    pub(crate) fn all_generations(&self) -> Vec<i32> {
        let mut all: BTreeSet<i32> = self.generations.iter().copied().collect();
        all.insert(0);
        all.into_iter().collect()
    }

    /// The columns that the aggregates of `generation` hold: `health` and `m<i>`.
    pub(crate) fn columns_of_generation(&self, generation: i32) -> Vec<String> {
        let mut columns = Vec::new();
        if generation == 0 {
            columns.push("health".to_owned());
        }
        let of_metrics = self.generations.iter().enumerate();
        columns.extend(
            of_metrics
                .filter(|(_, g)| **g == generation)
                .map(|(i, _)| format!("m{i}")),
        );
        columns
    }
}

/// All classes that have a table.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) classes: Vec<ClassLayout>,
    /// The extension is there: tables are hypertables, and there are aggregates.
    pub(crate) internals: Option<Internals>,
    /// Length of the shortest chunks to come, ms; `None` without the extension.
    pub(crate) chunk_ms: Option<i64>,
}

impl Layout {
    /// The extension is there.
    pub(crate) fn has_timescale(&self) -> bool {
        self.internals.is_some()
    }

    /// Looks how long chunks are.
    pub(crate) async fn measure_chunks(&mut self, tx: &Transaction<'_>) -> Outcome<()> {
        if self.has_timescale() {
            let row = tx
                .query_one(
                    "SELECT (extract(epoch FROM min(time_interval)) * 1000)::bigint
                     FROM timescaledb_information.dimensions
                     WHERE hypertable_schema = current_schema() AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$'",
                    &[],
                )
                .await?;
            self.chunk_ms = row.try_get::<_, Option<i64>>(0)?.filter(|ms| *ms > 0);
        }
        Ok(())
    }

    /// Columns of all classes. They are only ever added, so that another number means another layout.
    pub(crate) fn n_columns(&self) -> i64 {
        let n: usize = self.classes.iter().map(|c| c.columns.len()).sum();
        i64::try_from(n).unwrap_or(i64::MAX)
    }

    /// The class of that number.
    pub(crate) fn class(&self, class_no: i32) -> Option<&ClassLayout> {
        self.classes.iter().find(|c| c.class_no == class_no)
    }

    /// Makes tables and columns for what is new in `catalogue`; readings of a metric that was in the
    /// overflow table until now move to its column. One caller at a time.
    pub(crate) async fn ensure(
        tx: &Transaction<'_>,
        catalogue: &Catalogue,
        has_timescale: bool,
    ) -> Outcome<Self> {
        for class in &catalogue.classes {
            let class_no = class_number(tx, &class.name).await?;
            let (mut columns, generations) = columns_of(tx, class_no).await?;
            let generation = generations.last().map_or(0, |newest| newest + 1);
            for metric in class.metrics.iter().map(|m| &m.name) {
                if !columns.contains(metric) {
                    add_column(tx, class_no, columns.len(), generation, metric).await?;
                    columns.push(metric.clone());
                }
            }
        }
        Self::read(tx, catalogue, has_timescale).await
    }

    /// Reads what there is; changes nothing. Metrics of `catalogue` that have no column are left out.
    pub(crate) async fn read(
        tx: &Transaction<'_>,
        catalogue: &Catalogue,
        has_timescale: bool,
    ) -> Outcome<Self> {
        let known = tx
            .query("SELECT class_no, name FROM classes ORDER BY class_no", &[])
            .await?;
        let mut classes = Vec::with_capacity(known.len());
        for row in known {
            let (class_no, name): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
            let name =
                ClassName::new(&name).map_err(|e| unreadable(format!("class \"{name}\": {e}")))?;
            let (columns, generations) = columns_of(tx, class_no).await?;
            let position: HashMap<&MetricName, usize> =
                columns.iter().enumerate().map(|(i, m)| (m, i)).collect();
            let catalogue_columns = catalogue.class(&name).map(|class| {
                let of_catalogue = class.metrics.iter();
                of_catalogue
                    .filter_map(|m| position.get(&m.name).copied())
                    .collect()
            });
            classes.push(ClassLayout {
                class_no,
                name,
                columns,
                generations,
                catalogue_columns,
            });
        }
        let internals = if has_timescale {
            Some(Internals::ask(tx).await?)
        } else {
            None
        };
        let mut layout = Self {
            classes,
            internals,
            chunk_ms: None,
        };
        layout.measure_chunks(tx).await?;
        Ok(layout)
    }
}

async fn class_number(tx: &Transaction<'_>, name: &ClassName) -> Outcome<i32> {
    let known = tx
        .query_opt(
            "SELECT class_no FROM classes WHERE name = $1",
            &[&name.as_str()],
        )
        .await?;
    if let Some(row) = known {
        return Ok(row.try_get(0)?);
    }
    let row = tx
        .query_one(
            "INSERT INTO classes (name) VALUES ($1) RETURNING class_no",
            &[&name.as_str()],
        )
        .await?;
    let class_no: i32 = row.try_get(0)?;
    tx.batch_execute(&format!(
        "CREATE TABLE telemetry_{class_no} (
            device_no integer NOT NULL, ts timestamptz NOT NULL, health double precision);
         CREATE UNIQUE INDEX telemetry_{class_no}_key ON telemetry_{class_no} (device_no, ts)"
    ))
    .await?;
    Ok(class_no)
}

async fn columns_of(tx: &Transaction<'_>, class_no: i32) -> Outcome<(Vec<MetricName>, Vec<i32>)> {
    let rows = tx
        .query(
            "SELECT name, generation FROM class_columns JOIN metrics USING (metric_no)
             WHERE class_no = $1 ORDER BY column_no",
            &[&class_no],
        )
        .await?;
    let mut columns = Vec::with_capacity(rows.len());
    let mut generations = Vec::with_capacity(rows.len());
    for row in rows {
        let name: String = row.try_get(0)?;
        columns.push(
            MetricName::new(&name).map_err(|e| unreadable(format!("metric \"{name}\": {e}")))?,
        );
        generations.push(row.try_get(1)?);
    }
    Ok((columns, generations))
}

async fn add_column(
    tx: &Transaction<'_>,
    class_no: i32,
    column: usize,
    generation: i32,
    metric: &MetricName,
) -> Outcome<()> {
    let table = format!("telemetry_{class_no}");
    let metric_no = metric_number(tx, metric).await?;
    tx.batch_execute(&format!(
        "ALTER TABLE {table} ADD COLUMN m{column} double precision"
    ))
    .await?;
    let column_no = i32::try_from(column).unwrap_or(i32::MAX);
    tx.execute(
        "INSERT INTO class_columns (class_no, column_no, metric_no, generation) VALUES ($1, $2, $3, $4)",
        &[&class_no, &column_no, &metric_no, &generation],
    )
    .await?;
    // Every row has its wide row, also one with nothing but overflow metrics.
    tx.execute(
        &format!(
            "UPDATE {table} SET m{column} = o.value FROM overflow AS o
             WHERE {table}.device_no = o.device_no AND {table}.ts = o.ts AND o.metric_no = $1"
        ),
        &[&metric_no],
    )
    .await?;
    tx.execute(
        "DELETE FROM overflow
         WHERE metric_no = $1 AND device_no IN (SELECT device_no FROM devices WHERE class_no = $2)",
        &[&metric_no, &class_no],
    )
    .await?;
    Ok(())
}

/// The number of a metric's name, given on first sight.
pub(crate) async fn metric_number(tx: &Transaction<'_>, metric: &MetricName) -> Outcome<i32> {
    // Two transactions may see the same name first; the second waits for the first here.
    let sql = "WITH new AS (
                   INSERT INTO metrics (name) SELECT $1
                   WHERE NOT EXISTS (SELECT 1 FROM metrics WHERE name = $1)
                   ON CONFLICT DO NOTHING RETURNING metric_no)
               SELECT metric_no FROM new UNION ALL SELECT metric_no FROM metrics WHERE name = $1";
    loop {
        if let Some(row) = tx.query_opt(sql, &[&metric.as_str()]).await? {
            return Ok(row.try_get(0)?);
        }
    }
}
