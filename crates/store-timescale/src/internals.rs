//! What only TimescaleDB's own catalogue can tell. Its tables come and go with its versions, so that it is asked
//! which there are before any is read.

use tokio_postgres::Transaction;

use crate::fault::Outcome;

/// Statements that fit the version at hand.
#[derive(Debug)]
pub(crate) struct Internals {
    /// Begin of the oldest chunk, µs since 1970, of the table or continuous aggregate $1.
    pub(crate) oldest: String,
    /// Ranges, µs, that were changed, or never computed, since the aggregate $1 or one it is made from was
    /// refreshed. `None`: this version keeps them elsewhere, so no aggregate can be relied on.
    pub(crate) stale: Option<String>,
}

/// Where the extension notes what a refresh has to do, and the identity that an entry is of. The last came with
/// 2.22; before, what a refresh worked on was still in the second.
const LOGS: [(&str, &str); 3] = [
    (
        "continuous_aggs_hypertable_invalidation_log",
        "log.hypertable_id = made.source",
    ),
    (
        "continuous_aggs_materialization_invalidation_log",
        "log.materialization_id = made.id",
    ),
    (
        "continuous_aggs_materialization_ranges",
        "log.materialization_id = made.id",
    ),
];
/// How many of [`LOGS`] every version has that can be relied on.
const LOGS_MIN: usize = 2;

impl Internals {
    /// Asks which tables there are.
    pub(crate) async fn ask(tx: &Transaction<'_>) -> Outcome<Self> {
        let mut logs = Vec::new();
        for (log, of) in LOGS {
            if has(tx, log, "lowest_modified_value").await? {
                logs.push((log, of));
            }
        }
        let knows_aggregates = has(tx, "continuous_agg", "mat_hypertable_id").await?;
        let stale =
            (knows_aggregates && logs.len() >= LOGS_MIN && logs[..LOGS_MIN] == LOGS[..LOGS_MIN])
                .then(|| stale(&logs));
        let knows_chunks = knows_aggregates
            && has(tx, "chunk_constraint", "dimension_slice_id").await?
            && has(tx, "dimension_slice", "range_start").await?;
        let oldest = if knows_chunks {
            oldest_of_catalogue(has(tx, "chunk", "dropped").await?)
        } else {
            OLDEST.to_owned()
        };
        Ok(Self { oldest, stale })
    }
}

async fn has(tx: &Transaction<'_>, table: &str, column: &str) -> Outcome<bool> {
    let row = tx
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM pg_attribute
                 WHERE attrelid = to_regclass('_timescaledb_catalog.' || $1) AND attname = $2 AND NOT attisdropped)",
            &[&table, &column],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// By the documented views: right with every version, but they look at all chunks there are.
const OLDEST: &str = "WITH of AS MATERIALIZED (
         SELECT materialization_hypertable_schema AS schema, materialization_hypertable_name AS name
         FROM timescaledb_information.continuous_aggregates
         WHERE view_schema = current_schema() AND view_name = $1
         UNION ALL SELECT current_schema(), $1)
     SELECT (extract(epoch FROM min(c.range_start)) * 1000000)::bigint
     FROM of JOIN timescaledb_information.chunks AS c ON c.hypertable_schema = of.schema AND c.hypertable_name = of.name";

fn oldest_of_catalogue(marks_dropped: bool) -> String {
    let alive = if marks_dropped {
        " AND NOT c.dropped"
    } else {
        ""
    };
    format!(
        "SELECT min(s.range_start)
         FROM _timescaledb_catalog.hypertable AS h
         LEFT JOIN _timescaledb_catalog.continuous_agg AS a ON a.mat_hypertable_id = h.id
         JOIN _timescaledb_catalog.chunk AS c ON c.hypertable_id = h.id{alive}
         JOIN _timescaledb_catalog.chunk_constraint AS cc ON cc.chunk_id = c.id
         JOIN _timescaledb_catalog.dimension_slice AS s ON s.id = cc.dimension_slice_id
         WHERE coalesce(a.user_view_schema, h.schema_name) = current_schema()
             AND coalesce(a.user_view_name, h.table_name) = $1"
    )
}

fn stale(logs: &[(&str, &str)]) -> String {
    let of_logs: Vec<String> = logs
        .iter()
        .map(|(log, of)| {
            format!(
                "SELECT lowest_modified_value, greatest_modified_value
                 FROM made JOIN _timescaledb_catalog.{log} AS log ON {of}"
            )
        })
        .collect();
    format!(
        "WITH RECURSIVE made AS (
             SELECT mat_hypertable_id AS id, raw_hypertable_id AS source
             FROM _timescaledb_catalog.continuous_agg
             WHERE user_view_schema = current_schema() AND user_view_name = $1
             UNION ALL
             SELECT a.mat_hypertable_id, a.raw_hypertable_id
             FROM made JOIN _timescaledb_catalog.continuous_agg AS a ON a.mat_hypertable_id = made.source)
         {}",
        of_logs.join(" UNION ALL ")
    )
}
