//! What the extension does by itself: hypertables, compression, continuous aggregates, retention. Everything
//! here is brought to what the settings say, as often as it is called.

use forecare_domain::Timestamp;
use tokio_postgres::Transaction;

use crate::fault::Outcome;
use crate::instant::Instant;
use crate::layout::{ClassLayout, Layout, Level};
use crate::settings::{ChunkInterval, TimescaleSettings};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// Lengths of a chunk that [`ChunkInterval::Auto`] chooses from, hours: 1 h to 30 d.
const CHUNK_HOURS: [u32; 10] = [1, 2, 4, 8, 12, 24, 48, 96, 168, 720];
/// Before anything is measured.
const CHUNK_HOURS_FIRST: u32 = 24;
/// The newest chunks may take this part of `shared_buffers`.
const CHUNK_PART_OF_BUFFERS: f64 = 0.25;

impl Level {
    /// How often the level is refreshed, s. Queries see newer readings all the same (real-time aggregates).
    fn schedule_s(self) -> u64 {
        match self {
            Self::Minute => 5 * 60,
            Self::Hour => 30 * 60,
            Self::Day => 6 * HOUR_S,
        }
    }

    /// Age at which a bucket is materialised, s: devices that lag less are not aggregated twice.
    pub(crate) fn lag_s(self) -> u64 {
        match self {
            Self::Minute => 5 * 60,
            Self::Hour => HOUR_S,
            Self::Day => DAY_S,
        }
    }

    pub(crate) fn bucket_s(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => HOUR_S,
            Self::Day => DAY_S,
        }
    }

    /// What the level is made from.
    pub(crate) fn below(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::Hour => Some(Self::Minute),
            Self::Day => Some(Self::Hour),
        }
    }
}

/// Tables of master data: small, and read by everything.
const SMALL: &str = "assets, classes, devices, metrics";

/// Lets the planner know how small the small tables are: so few rows change in them that autovacuum would never look, and
/// plans made for what it guesses instead take a hundred times longer.
pub(crate) async fn analyze(tx: &Transaction<'_>) -> Outcome<()> {
    for table in SMALL.split(", ") {
        tx.batch_execute(&format!(
            "ALTER TABLE {table} SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1)"
        ))
        .await?;
    }
    tx.batch_execute(&format!("ANALYZE {SMALL}")).await?;
    Ok(())
}

/// Makes the tables hypertables, columnstore and aggregates included, and sets every policy.
pub(crate) async fn ensure(
    tx: &Transaction<'_>,
    layout: &Layout,
    settings: &TimescaleSettings,
    now: Timestamp,
) -> Outcome<()> {
    let hours = match settings.chunk_interval {
        ChunkInterval::Auto => chunk_hours(tx, now).await?.unwrap_or(CHUNK_HOURS_FIRST),
        ChunkInterval::Hours(hours) => hours,
    };
    hypertable(tx, "overflow", hours, "metric_no, ts").await?;
    policies_of_table(tx, "overflow", settings).await?;
    for class in &layout.classes {
        hypertable(tx, &class.table(), hours, "ts").await?;
        policies_of_table(tx, &class.table(), settings).await?;
        for generation in class.all_generations() {
            if class.columns_of_generation(generation).is_empty() {
                continue;
            }
            for level in Level::ALL {
                aggregate(tx, class, generation, level).await?;
                policies_of_aggregate(tx, &class.aggregate(level, generation), level, settings)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Looks again how long chunks should be, for those to come; returns the hours where it was measured.
pub(crate) async fn adjust_chunks(
    tx: &Transaction<'_>,
    layout: &Layout,
    settings: &TimescaleSettings,
    now: Timestamp,
) -> Outcome<Option<u32>> {
    if settings.chunk_interval != ChunkInterval::Auto {
        return Ok(None);
    }
    let Some(hours) = chunk_hours(tx, now).await? else {
        return Ok(None);
    };
    set_chunk_hours(tx, "overflow", hours).await?;
    for class in &layout.classes {
        set_chunk_hours(tx, &class.table(), hours).await?;
    }
    Ok(Some(hours))
}

/// Length of a chunk by the rate of bytes into the newest uncompressed chunk of each table; `None` where
/// nothing has been stored for an hour yet.
async fn chunk_hours(tx: &Transaction<'_>, now: Timestamp) -> Outcome<Option<u32>> {
    let row = tx
        .query_one(
            "SELECT sum(bytes / (extract(epoch FROM least(range_end, $1::timestamptz) - range_start) / 3600))::float8,
                 pg_size_bytes(current_setting('shared_buffers'))::float8,
                 coalesce(bool_and(range_start < $1::timestamptz - interval '1 day'), false),
                 (SELECT (extract(epoch FROM max(time_interval)) / 3600)::int4
                  FROM timescaledb_information.dimensions
                  WHERE hypertable_schema = current_schema() AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$')
             FROM (
                 SELECT DISTINCT ON (hypertable_name) range_start, range_end,
                     pg_total_relation_size(format('%I.%I', chunk_schema, chunk_name)::regclass) AS bytes
                 FROM timescaledb_information.chunks
                 WHERE hypertable_schema = current_schema() AND NOT is_compressed
                     AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$'
                     AND range_start < $1::timestamptz - interval '1 hour'
                 ORDER BY hypertable_name, range_end DESC
             ) AS newest",
            &[&Instant(now)],
        )
        .await?;
    let (bytes_per_hour, buffers): (Option<f64>, f64) = (row.try_get(0)?, row.try_get(1)?);
    let (is_settled, current): (bool, Option<i32>) = (row.try_get(2)?, row.try_get(3)?);
    let current = current.and_then(|h| u32::try_from(h).ok());
    let current = current.unwrap_or(CHUNK_HOURS_FIRST);
    Ok(bytes_per_hour.map(|rate| next_hours(current, fitting_hours(rate, buffers), is_settled)))
}

/// Length of chunks to come, hours, and the bytes of `shared_buffers`.
pub(crate) async fn chunk_hours_now(tx: &Transaction<'_>) -> Outcome<(u32, f64)> {
    let row = tx
        .query_one(
            "SELECT (SELECT (extract(epoch FROM max(time_interval)) / 3600)::int4
                     FROM timescaledb_information.dimensions
                     WHERE hypertable_schema = current_schema() AND hypertable_name ~ '^(telemetry_[0-9]+|overflow)$'),
                 pg_size_bytes(current_setting('shared_buffers'))::float8",
            &[],
        )
        .await?;
    let hours: Option<i32> = row.try_get(0)?;
    let hours = hours.and_then(|hours| u32::try_from(hours).ok());
    Ok((hours.unwrap_or(CHUNK_HOURS_FIRST), row.try_get(1)?))
}

/// From `current` towards `fitting`: shorter at once; longer by a step, and only by a rate of more than a day. A
/// quiet first hour must not earn a chunk that the real load then fills for a month.
fn next_hours(current: u32, fitting: u32, is_settled: bool) -> u32 {
    if fitting <= current {
        return fitting;
    }
    if !is_settled {
        return current;
    }
    let longer = CHUNK_HOURS.iter().find(|hours| **hours > current);
    longer.map_or(fitting, |step| fitting.min(*step))
}

/// The longest of [`CHUNK_HOURS`] whose bytes fit; the shortest where none does.
pub(crate) fn fitting_hours(bytes_per_hour: f64, buffers: f64) -> u32 {
    let fits =
        |hours: &&u32| f64::from(**hours) * bytes_per_hour <= buffers * CHUNK_PART_OF_BUFFERS;
    let longest = CHUNK_HOURS.iter().rev().find(fits);
    *longest.unwrap_or(&CHUNK_HOURS[0])
}

async fn hypertable(tx: &Transaction<'_>, table: &str, hours: u32, order_by: &str) -> Outcome<()> {
    let known = tx
        .query_opt(
            "SELECT compression_enabled FROM timescaledb_information.hypertables
             WHERE hypertable_schema = current_schema() AND hypertable_name = $1",
            &[&table],
        )
        .await?;
    if known.is_none() {
        // Rows are there already where the database was used without the extension before.
        tx.batch_execute(&format!(
            "SELECT create_hypertable('{table}', by_range('ts', interval '{hours} hours'),
                 create_default_indexes => false, migrate_data => true)"
        ))
        .await?;
    } else {
        set_chunk_hours(tx, table, hours).await?;
    }
    let is_columnstore = known.map_or(Ok(false), |row| row.try_get(0))?;
    if !is_columnstore {
        tx.batch_execute(&format!(
            "ALTER TABLE {table} SET (timescaledb.enable_columnstore,
                 timescaledb.segmentby = 'device_no', timescaledb.orderby = '{order_by}')"
        ))
        .await?;
    }
    Ok(())
}

pub(crate) async fn set_chunk_hours(tx: &Transaction<'_>, table: &str, hours: u32) -> Outcome<()> {
    let wanted = format!("{hours} hours");
    let changed = tx
        .query_opt(
            "SELECT time_interval::text FROM timescaledb_information.dimensions
             WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND column_name = 'ts'
                 AND time_interval <> $2::text::interval",
            &[&table, &wanted],
        )
        .await?;
    if let Some(row) = changed {
        let before: String = row.try_get(0)?;
        tx.batch_execute(&format!(
            "SELECT set_chunk_time_interval('{table}', interval '{wanted}')"
        ))
        .await?;
        tracing::info!(
            table,
            before,
            now = wanted,
            "new chunks have another length"
        );
    }
    Ok(())
}

/// Makes the aggregate where it is missing; what it holds is filled in by its policy.
async fn aggregate(
    tx: &Transaction<'_>,
    class: &ClassLayout,
    generation: i32,
    level: Level,
) -> Outcome<()> {
    let name = class.aggregate(level, generation);
    let is_known = tx
        .query_opt(
            "SELECT 1 FROM timescaledb_information.continuous_aggregates
             WHERE view_schema = current_schema() AND view_name = $1",
            &[&name],
        )
        .await?
        .is_some();
    if is_known {
        return Ok(());
    }
    tx.batch_execute(&aggregate_sql(class, generation, level))
        .await?;
    tx.batch_execute(&format!(
        "ALTER MATERIALIZED VIEW {name} SET (timescaledb.enable_columnstore,
             timescaledb.segmentby = 'device_no', timescaledb.orderby = 'ts')"
    ))
    .await?;
    Ok(())
}

fn aggregate_sql(class: &ClassLayout, generation: i32, level: Level) -> String {
    let columns = class.columns_of_generation(generation);
    let (source, terms): (String, Vec<String>) = match level.below() {
        None => (
            class.table(),
            columns
                .iter()
                .map(|c| {
                    format!("sum({c}) AS {c}_sum, count({c}) AS {c}_n, min({c}) AS {c}_min, max({c}) AS {c}_max")
                })
                .collect(),
        ),
        Some(below) => (
            class.aggregate(below, generation),
            columns
                .iter()
                .map(|c| {
                    format!(
                        "sum({c}_sum) AS {c}_sum, sum({c}_n)::bigint AS {c}_n, min({c}_min) AS {c}_min, max({c}_max) AS {c}_max"
                    )
                })
                .collect(),
        ),
    };
    // Buckets of a fixed length are UTC's; each level counts its rows, for the reconciliation.
    let rows = match level.below() {
        None => "count(*) AS n_rows",
        Some(_) => "sum(n_rows)::bigint AS n_rows",
    };
    format!(
        "CREATE MATERIALIZED VIEW {name}
             WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
         SELECT device_no, time_bucket(interval '{bucket_s} seconds', ts) AS ts, {rows}, {terms}
         FROM {source} GROUP BY 1, 2 WITH NO DATA",
        name = class.aggregate(level, generation),
        bucket_s = level.bucket_s(),
        terms = terms.join(", "),
    )
}

async fn policies_of_table(
    tx: &Transaction<'_>,
    table: &str,
    settings: &TimescaleSettings,
) -> Outcome<()> {
    let compress_after = settings.compress_after.map(|d| d.as_secs());
    compression(tx, table, compress_after).await?;
    retention(tx, table, settings.retention.raw.map(|d| d.as_secs())).await
}

async fn policies_of_aggregate(
    tx: &Transaction<'_>,
    name: &str,
    level: Level,
    settings: &TimescaleSettings,
) -> Outcome<()> {
    let kept = settings.retention;
    let (source, own) = match level {
        Level::Minute => (kept.raw, kept.minute),
        Level::Hour => (kept.minute, kept.hour),
        Level::Day => (kept.hour, kept.day),
    };
    let start_s = source.map(|kept| refresh_start_s(kept.as_secs(), level));
    refresh(tx, name, level, start_s).await?;
    let compress_after = settings.compress_after.map(|d| d.as_secs());
    compression(tx, name, compress_after).await?;
    retention(tx, name, own.map(|d| d.as_secs())).await
}

/// How far back a level may be refreshed, s, where its source is kept for `kept_s`: what has been dropped there
/// would be dropped here too. Without retention everything may: only what has changed is computed.
pub(crate) fn refresh_start_s(kept_s: u64, level: Level) -> u64 {
    kept_s.saturating_sub(level.bucket_s().max(HOUR_S))
}

async fn refresh(
    tx: &Transaction<'_>,
    name: &str,
    level: Level,
    start_s: Option<u64>,
) -> Outcome<()> {
    let (end, every) = (seconds(level.lag_s()), seconds(level.schedule_s()));
    let start = start_s.map(seconds);
    let known = tx
        .query_opt(
            "SELECT (config->>'start_offset')::interval IS NOT DISTINCT FROM $2::text::interval
                 AND (config->>'end_offset')::interval = $3::text::interval
                 AND schedule_interval = $4::text::interval
             FROM timescaledb_information.jobs
             WHERE hypertable_schema = current_schema() AND hypertable_name = $1
                 AND proc_name = 'policy_refresh_continuous_aggregate'",
            &[&name, &start, &end, &every],
        )
        .await?;
    let start = start.map_or("NULL".to_owned(), |s| format!("interval '{s}'"));
    let add = format!(
        "SELECT add_continuous_aggregate_policy('{name}', start_offset => {start},
             end_offset => interval '{end}', schedule_interval => interval '{every}')"
    );
    let remove = format!("SELECT remove_continuous_aggregate_policy('{name}')");
    replace(tx, known, &remove, Some(&add)).await
}

async fn compression(tx: &Transaction<'_>, name: &str, after_s: Option<u64>) -> Outcome<()> {
    let after = after_s.map(seconds);
    let known = one_interval(tx, name, "policy_compression", "compress_after", &after).await?;
    let add = after
        .map(|after| format!("CALL add_columnstore_policy('{name}', after => interval '{after}')"));
    let remove = format!("CALL remove_columnstore_policy('{name}')");
    replace(tx, known, &remove, add.as_deref()).await
}

async fn retention(tx: &Transaction<'_>, name: &str, kept_s: Option<u64>) -> Outcome<()> {
    let kept = kept_s.map(seconds);
    let known = one_interval(tx, name, "policy_retention", "drop_after", &kept).await?;
    let add = kept.map(|kept| {
        format!("SELECT add_retention_policy('{name}', drop_after => interval '{kept}')")
    });
    let remove = format!("SELECT remove_retention_policy('{name}')");
    replace(tx, known, &remove, add.as_deref()).await
}

async fn one_interval(
    tx: &Transaction<'_>,
    name: &str,
    job: &str,
    key: &str,
    wanted: &Option<String>,
) -> Outcome<Option<tokio_postgres::Row>> {
    Ok(tx
        .query_opt(
            "SELECT (config->>$3)::interval IS NOT DISTINCT FROM $4::text::interval
             FROM timescaledb_information.jobs
             WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND proc_name = $2",
            &[&name, &job, &key, wanted],
        )
        .await?)
}

/// Leaves a policy that is as wanted alone: a new one starts its schedule, and its record, anew. The first
/// column of `known` says whether it is.
async fn replace(
    tx: &Transaction<'_>,
    known: Option<tokio_postgres::Row>,
    remove: &str,
    add: Option<&str>,
) -> Outcome<()> {
    if let Some(row) = known {
        if row.try_get(0)? {
            return Ok(());
        }
        tx.batch_execute(remove).await?;
    }
    if let Some(add) = add {
        tx.batch_execute(add).await?;
    }
    Ok(())
}

fn seconds(s: u64) -> String {
    format!("{s} seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_as_long_as_a_quarter_of_the_buffers_holds_within_bounds() {
        let buffers = 1024.0 * 1024.0 * 1024.0;
        let quarter = buffers / 4.0;
        assert_eq!(fitting_hours(quarter / 30.0, buffers), 24);
        assert_eq!(fitting_hours(quarter, buffers), 1);
        assert_eq!(fitting_hours(quarter * 10.0, buffers), 1);
        assert_eq!(fitting_hours(0.0, buffers), 720);
    }

    #[test]
    fn chunks_shrink_at_once_and_grow_by_a_step() {
        assert_eq!(next_hours(24, 1, false), 1);
        assert_eq!(next_hours(24, 720, false), 24);
        assert_eq!(next_hours(24, 720, true), 48);
        assert_eq!(next_hours(168, 720, true), 720);
        assert_eq!(next_hours(36, 168, true), 48);
    }

    #[test]
    fn no_level_is_refreshed_where_its_source_may_be_gone() {
        let day = 86_400;
        assert_eq!(refresh_start_s(7 * day, Level::Minute), 7 * day - 3_600);
        assert_eq!(refresh_start_s(7 * day, Level::Hour), 7 * day - 3_600);
        assert_eq!(refresh_start_s(7 * day, Level::Day), 6 * day);
    }
}
