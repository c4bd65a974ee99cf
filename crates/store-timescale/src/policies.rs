//! What the extension does by itself: hypertables, compression, continuous aggregates, retention. Everything
//! here is brought to what the settings say, as often as it is called.

use std::time::Duration;

use forecare_domain::Timestamp;
use tokio_postgres::Transaction;

use crate::fault::Outcome;
use crate::instant::Instant;
use crate::layout::{ClassLayout, Layout, Level};
use crate::settings::{ChunkInterval, TimescaleSettings};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// Lengths of a chunk that [`ChunkInterval::Auto`] chooses from, hours: 1 h to 30 d.
const CHUNK_HOURS: [u32; 10] = [1, 2, 4, 8, 12, 24, 48, 96, 168, CHUNK_HOURS_MAX];
const CHUNK_HOURS_MAX: u32 = 720;
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

    /// Buckets that one transaction of a refresh computes: a day, 30 days, a year. By itself the extension takes one at a
    /// time, or all of a long history at once.
    fn batch(self) -> u32 {
        match self {
            Self::Minute => 1_440,
            Self::Hour => 720,
            Self::Day => 365,
        }
    }

    /// Length of a chunk, hours, where those of the readings are `readings` long. A minute has four values per metric: of
    /// a reading a minute it takes four times the bytes, of one a second a fifteenth.
    pub(crate) fn chunk_hours(self, readings: u32) -> u32 {
        let factor = match self {
            Self::Minute => 1,
            Self::Hour => 10,
            Self::Day => 240,
        };
        readings
            .saturating_mul(factor)
            .min(CHUNK_HOURS_MAX.max(readings))
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
    for class in &layout.classes {
        hypertable(tx, &class.table(), hours, "ts").await?;
        for (generation, level) in aggregates_of(class) {
            aggregate(tx, class, generation, level, hours).await?;
        }
    }
    for policy in policies(layout, settings) {
        policy.ensure(tx).await?;
    }
    Ok(())
}

/// Generations and levels of a class's aggregates, finer levels first.
fn aggregates_of(class: &ClassLayout) -> impl Iterator<Item = (i32, Level)> {
    class
        .all_generations()
        .into_iter()
        .filter(|generation| !class.columns_of_generation(*generation).is_empty())
        .flat_map(|generation| Level::ALL.map(|level| (generation, level)))
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
    set_chunks(tx, layout, hours).await?;
    Ok(Some(hours))
}

/// Gives chunks of readings to come the length of `hours`, and those of their aggregates what follows from it.
pub(crate) async fn set_chunks(tx: &Transaction<'_>, layout: &Layout, hours: u32) -> Outcome<()> {
    set_chunk_hours(tx, "overflow", hours).await?;
    for class in &layout.classes {
        set_chunk_hours(tx, &class.table(), hours).await?;
        for (generation, level) in aggregates_of(class) {
            let name = class.aggregate(level, generation);
            set_chunk_hours(tx, &name, level.chunk_hours(hours)).await?;
        }
    }
    Ok(())
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

/// Of a table, or of the one that an aggregate is materialised in.
async fn set_chunk_hours(tx: &Transaction<'_>, name: &str, hours: u32) -> Outcome<()> {
    let wanted = format!("{hours} hours");
    let changed = tx
        .query_opt(
            "SELECT time_interval::text, format('%I.%I', d.hypertable_schema, d.hypertable_name)
             FROM timescaledb_information.dimensions AS d
             LEFT JOIN timescaledb_information.continuous_aggregates AS a
                 ON a.materialization_hypertable_schema = d.hypertable_schema
                     AND a.materialization_hypertable_name = d.hypertable_name
             WHERE coalesce(a.view_schema, d.hypertable_schema) = current_schema()
                 AND coalesce(a.view_name, d.hypertable_name) = $1
                 AND d.column_name = 'ts' AND time_interval <> $2::text::interval",
            &[&name, &wanted],
        )
        .await?;
    if let Some(row) = changed {
        let (before, table): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        tx.batch_execute(&format!(
            "SELECT set_chunk_time_interval('{table}', interval '{wanted}')"
        ))
        .await?;
        tracing::info!(
            table = name,
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
    readings_chunk_hours: u32,
) -> Outcome<()> {
    let name = class.aggregate(level, generation);
    let chunk_hours = level.chunk_hours(readings_chunk_hours);
    let is_known = tx
        .query_opt(
            "SELECT 1 FROM timescaledb_information.continuous_aggregates
             WHERE view_schema = current_schema() AND view_name = $1",
            &[&name],
        )
        .await?
        .is_some();
    if is_known {
        return set_chunk_hours(tx, &name, chunk_hours).await;
    }
    tx.batch_execute(&aggregate_sql(class, generation, level, chunk_hours))
        .await?;
    tx.batch_execute(&format!(
        "ALTER MATERIALIZED VIEW {name} SET (timescaledb.enable_columnstore,
             timescaledb.segmentby = 'device_no', timescaledb.orderby = 'ts')"
    ))
    .await?;
    Ok(())
}

fn aggregate_sql(class: &ClassLayout, generation: i32, level: Level, chunk_hours: u32) -> String {
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
             WITH (timescaledb.continuous, timescaledb.materialized_only = false,
                 timescaledb.chunk_interval = '{chunk_hours} hours') AS
         SELECT device_no, time_bucket(interval '{bucket_s} seconds', ts) AS ts, {rows}, {terms}
         FROM {source} GROUP BY 1, 2 WITH NO DATA",
        name = class.aggregate(level, generation),
        bucket_s = level.bucket_s(),
        terms = terms.join(", "),
    )
}

/// A job of the extension's, as the settings want it.
pub(crate) struct Policy {
    /// Its table or aggregate.
    pub(crate) of: String,
    /// The procedure that it runs.
    pub(crate) kind: &'static str,
    what: What,
}

enum What {
    Refresh {
        level: Level,
        /// How far back, s; `None`: all.
        start_s: Option<u64>,
    },
    /// Age from which on, s; `None`: never.
    Compress(Option<u64>),
    /// Age from which on, s; `None`: never.
    Drop(Option<u64>),
}

/// All policies that the settings have a say in, those that there must not be included.
fn policies(layout: &Layout, settings: &TimescaleSettings) -> Vec<Policy> {
    let kept = settings.retention;
    let mut all = Vec::new();
    all.extend(compressed_and_dropped("overflow", settings, kept.raw));
    for class in &layout.classes {
        all.extend(compressed_and_dropped(&class.table(), settings, kept.raw));
        for (generation, level) in aggregates_of(class) {
            let (source, own) = match level {
                Level::Minute => (kept.raw, kept.minute),
                Level::Hour => (kept.minute, kept.hour),
                Level::Day => (kept.hour, kept.day),
            };
            let name = class.aggregate(level, generation);
            let start_s = source.map(|kept| refresh_start_s(kept.as_secs(), level));
            all.push(Policy {
                of: name.clone(),
                kind: "policy_refresh_continuous_aggregate",
                what: What::Refresh { level, start_s },
            });
            all.extend(compressed_and_dropped(&name, settings, own));
        }
    }
    all
}

fn compressed_and_dropped(
    name: &str,
    settings: &TimescaleSettings,
    kept: Option<Duration>,
) -> [Policy; 2] {
    let policy = |kind, what| Policy {
        of: name.to_owned(),
        kind,
        what,
    };
    let after = settings.compress_after.map(|after| after.as_secs());
    [
        policy("policy_compression", What::Compress(after)),
        policy("policy_retention", What::Drop(kept.map(|k| k.as_secs()))),
    ]
}

/// The policies that there must be.
pub(crate) fn wanted(layout: &Layout, settings: &TimescaleSettings) -> Vec<Policy> {
    let mut all = policies(layout, settings);
    all.retain(Policy::is_wanted);
    all
}

/// How far back a level may be refreshed, s, where its source is kept for `kept_s`: what has been dropped there
/// would be dropped here too. Without retention everything may: only what has changed is computed.
pub(crate) fn refresh_start_s(kept_s: u64, level: Level) -> u64 {
    kept_s.saturating_sub(level.bucket_s().max(HOUR_S))
}

impl Policy {
    fn is_wanted(&self) -> bool {
        !matches!(self.what, What::Compress(None) | What::Drop(None))
    }

    /// Adds it where it is missing, removes it where it is not wanted. Of one that is there only those settings are changed
    /// that differ: its record, its schedule and whatever else somebody has told it by `alter_job` stay. That is refused by
    /// 2.22.1 of the refresh of an aggregate that is made from another: such a one is made anew, with its schedule.
    async fn ensure(&self, tx: &Transaction<'_>) -> Outcome<()> {
        let Self { of, kind, .. } = self;
        let known = tx
            .query_opt(
                &format!(
                    "SELECT job_id, schedule_interval::text, config @> {} FROM timescaledb_information.jobs
                     WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND proc_name = $2",
                    self.settings()
                ),
                &[of, kind],
            )
            .await?;
        let Some(row) = known else {
            if self.is_wanted() {
                tx.batch_execute(&self.add(None)).await?;
            }
            return Ok(());
        };
        let (id, schedule, is_as_wanted): (i32, String, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if is_as_wanted && self.is_wanted() {
            return Ok(());
        }
        let statement = match self.what {
            What::Compress(None) => format!("CALL remove_columnstore_policy('{of}')"),
            What::Drop(None) => format!("SELECT remove_retention_policy('{of}')"),
            What::Refresh { level, .. } if level.below().is_some() => format!(
                "SELECT remove_continuous_aggregate_policy('{of}'); {}",
                self.add(Some(&schedule))
            ),
            What::Refresh { .. } | What::Compress(_) | What::Drop(_) => format!(
                "SELECT alter_job(job_id, config => config || {})
                 FROM timescaledb_information.jobs WHERE job_id = {id}",
                self.settings()
            ),
        };
        tx.batch_execute(&statement).await?;
        Ok(())
    }

    /// `schedule`: an interval, where it has one of its own already.
    fn add(&self, schedule: Option<&str>) -> String {
        let of = &self.of;
        match self.what {
            What::Refresh { level, start_s } => {
                format!(
                    "SELECT add_continuous_aggregate_policy('{of}', start_offset => {}, end_offset => {},
                         schedule_interval => {}, buckets_per_batch => {}, max_batches_per_execution => 0)",
                    interval(start_s),
                    interval(Some(level.lag_s())),
                    schedule.map_or_else(
                        || interval(Some(level.schedule_s())),
                        |own| format!("interval '{own}'")
                    ),
                    level.batch()
                )
            }
            What::Compress(after_s) => format!(
                "CALL add_columnstore_policy('{of}', after => {})",
                interval(after_s)
            ),
            What::Drop(after_s) => format!(
                "SELECT add_retention_policy('{of}', drop_after => {})",
                interval(after_s)
            ),
        }
    }

    /// What its job is to have in its `config`, as SQL of a `jsonb`.
    fn settings(&self) -> String {
        match self.what {
            What::Refresh { level, start_s } => {
                format!(
                    "jsonb_build_object('start_offset', {}, 'end_offset', {}, 'buckets_per_batch', {}, 'max_batches_per_execution', 0)",
                    interval(start_s),
                    interval(Some(level.lag_s())),
                    level.batch()
                )
            }
            What::Compress(after_s) => {
                format!(
                    "jsonb_build_object('compress_after', {})",
                    interval(after_s)
                )
            }
            What::Drop(after_s) => {
                format!("jsonb_build_object('drop_after', {})", interval(after_s))
            }
        }
    }
}

fn interval(s: Option<u64>) -> String {
    s.map_or("NULL".to_owned(), |s| format!("interval '{s} seconds'"))
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
    fn chunks_of_aggregates_follow_those_of_the_readings() {
        let of = |readings| Level::ALL.map(|level| level.chunk_hours(readings));
        assert_eq!(of(1), [1, 10, 240]);
        assert_eq!(of(24), [24, 240, 720]);
        assert_eq!(of(720), [720, 720, 720]);
        assert_eq!(of(8_760), [8_760, 8_760, 8_760]);
    }

    #[test]
    fn no_level_is_refreshed_where_its_source_may_be_gone() {
        let day = 86_400;
        assert_eq!(refresh_start_s(7 * day, Level::Minute), 7 * day - 3_600);
        assert_eq!(refresh_start_s(7 * day, Level::Hour), 7 * day - 3_600);
        assert_eq!(refresh_start_s(7 * day, Level::Day), 6 * day);
    }
}
