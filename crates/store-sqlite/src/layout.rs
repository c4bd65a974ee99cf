//! Where the readings of each asset class lie: one wide table per class, a numbered column per metric.
//!
//! Metric names are arbitrary Unicode and SQL names are not case-sensitive, so columns are called m0, m1,
//! ... and `class_columns` says which metric is which. Columns are only ever added.

use std::collections::HashMap;

use forecare_catalogue::Catalogue;
use forecare_domain::{ClassName, MetricName};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::fault::{Outcome, unreadable};

/// One asset class that has a table.
#[derive(Debug)]
pub(crate) struct ClassLayout {
    pub(crate) class_no: i64,
    pub(crate) name: ClassName,
    /// The metric of column m0, m1, ...; those of the catalogue and any that used to be in it.
    pub(crate) columns: Vec<MetricName>,
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
}

/// All classes that have a table.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) classes: Vec<ClassLayout>,
}

impl Layout {
    /// The class of that number.
    pub(crate) fn class(&self, class_no: i64) -> Option<&ClassLayout> {
        self.classes.iter().find(|c| c.class_no == class_no)
    }

    /// Makes tables and columns for what is new in `catalogue`; readings of a metric that was in the
    /// overflow table until now move to its column.
    pub(crate) fn ensure(conn: &mut Connection, catalogue: &Catalogue) -> Outcome<Self> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for class in &catalogue.classes {
            let class_no = class_number(&tx, &class.name)?;
            let mut columns = columns_of(&tx, class_no)?;
            for metric in class.metrics.iter().map(|m| &m.name) {
                if !columns.contains(metric) {
                    add_column(&tx, class_no, columns.len(), metric)?;
                    columns.push(metric.clone());
                }
            }
        }
        let known: Vec<(i64, String)> = tx
            .prepare("SELECT class_no, name FROM classes ORDER BY class_no")?
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut classes = Vec::with_capacity(known.len());
        for (class_no, name) in known {
            let name =
                ClassName::new(&name).map_err(|e| unreadable(format!("class \"{name}\": {e}")))?;
            let columns = columns_of(&tx, class_no)?;
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
                catalogue_columns,
            });
        }
        tx.commit()?;
        Ok(Self { classes })
    }
}

fn class_number(conn: &Connection, name: &ClassName) -> Outcome<i64> {
    let known: Option<i64> = conn
        .query_row(
            "SELECT class_no FROM classes WHERE name = ?1",
            [name.as_str()],
            |r| r.get(0),
        )
        .optional()?;
    if let Some(class_no) = known {
        return Ok(class_no);
    }
    conn.execute("INSERT INTO classes (name) VALUES (?1)", [name.as_str()])?;
    let class_no = conn.last_insert_rowid();
    // WITHOUT ROWID: the key is the table, so there is one B-tree to keep per reading.
    conn.execute_batch(&format!(
        "CREATE TABLE telemetry_{class_no} (
            device_no INTEGER NOT NULL, ts INTEGER NOT NULL, health REAL, PRIMARY KEY (device_no, ts)
        ) STRICT, WITHOUT ROWID"
    ))?;
    Ok(class_no)
}

fn columns_of(conn: &Connection, class_no: i64) -> Outcome<Vec<MetricName>> {
    let names: Vec<String> = conn
        .prepare(
            "SELECT name FROM class_columns JOIN metrics USING (metric_no) WHERE class_no = ?1 ORDER BY column_no",
        )?
        .query_map([class_no], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    names
        .into_iter()
        .map(|name| {
            MetricName::new(&name).map_err(|e| unreadable(format!("metric \"{name}\": {e}")))
        })
        .collect()
}

fn add_column(conn: &Connection, class_no: i64, column: usize, metric: &MetricName) -> Outcome<()> {
    let table = format!("telemetry_{class_no}");
    let metric_no = metric_number(conn, metric)?;
    conn.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN m{column} REAL"))?;
    conn.execute(
        "INSERT INTO class_columns (class_no, column_no, metric_no) VALUES (?1, ?2, ?3)",
        params![
            class_no,
            i64::try_from(column).unwrap_or(i64::MAX),
            metric_no
        ],
    )?;
    // Every row has its wide row, also one with nothing but overflow metrics.
    let of_class =
        "metric_no = ?1 AND device_no IN (SELECT device_no FROM devices WHERE class_no = ?2)";
    conn.execute(
        &format!(
            "UPDATE {table} SET m{column} = o.value
             FROM (SELECT device_no, ts, value FROM overflow WHERE {of_class}) AS o
             WHERE {table}.device_no = o.device_no AND {table}.ts = o.ts"
        ),
        params![metric_no, class_no],
    )?;
    conn.execute(
        &format!("DELETE FROM overflow WHERE {of_class}"),
        params![metric_no, class_no],
    )?;
    Ok(())
}

/// The number of a metric's name, given on first sight.
pub(crate) fn metric_number(conn: &Connection, metric: &MetricName) -> Outcome<i64> {
    let known: Option<i64> = conn
        .prepare_cached("SELECT metric_no FROM metrics WHERE name = ?1")?
        .query_row([metric.as_str()], |r| r.get(0))
        .optional()?;
    if let Some(metric_no) = known {
        return Ok(metric_no);
    }
    conn.prepare_cached("INSERT INTO metrics (name) VALUES (?1)")?
        .execute([metric.as_str()])?;
    Ok(conn.last_insert_rowid())
}
