//! History that arrives at once: chunks as long as it needs, and aggregates that show it without waiting for their turn.

use forecare_domain::Timestamp;
use tokio_postgres::Transaction;

use crate::connection::Pool;
use crate::fault::Outcome;
use crate::layout::{Layout, Level};
use crate::policies::{chunk_hours_now, fitting_hours, refresh_start_s, set_chunk_hours};
use crate::settings::{ChunkInterval, TimescaleSettings};

/// Bytes of a row before compression, about: what a class of a few metrics takes.
const ROW_BYTES: f64 = 150.0;
/// Chunks that the present falls into are no longer than this, hours: new readings may come faster than old ones.
const PRESENT_HOURS_MAX: u32 = 168;
/// Aggregates are computed so many days at a time.
const REFRESH_DAYS: f64 = 30.0;

/// Gives chunks to come the length that `n_rows` rows from `from` to `to` need, where that is longer than now and left to
/// the store. Returns the length before, for [`restore`]; `None`: nothing was changed.
pub(crate) async fn expect(
    tx: &Transaction<'_>,
    layout: &Layout,
    settings: &TimescaleSettings,
    n_rows: u64,
    (from, to): (Timestamp, Timestamp),
    now: Timestamp,
) -> Outcome<Option<u32>> {
    if settings.chunk_interval != ChunkInterval::Auto {
        return Ok(None);
    }
    let (current, buffers) = chunk_hours_now(tx).await?;
    let hours = to.hours_since(from).max(1.0);
    let mut wanted = fitting_hours(n_rows as f64 * ROW_BYTES / hours, buffers);
    let end_of_chunk = to.plus_hours(f64::from(wanted));
    if end_of_chunk > now {
        wanted = wanted.min(PRESENT_HOURS_MAX);
    }
    if wanted <= current {
        return Ok(None);
    }
    restore(tx, layout, wanted).await?;
    Ok(Some(current))
}

/// Gives chunks to come the length of `hours`.
pub(crate) async fn restore(tx: &Transaction<'_>, layout: &Layout, hours: u32) -> Outcome<()> {
    set_chunk_hours(tx, "overflow", hours).await?;
    for class in &layout.classes {
        set_chunk_hours(tx, &class.table(), hours).await?;
    }
    Ok(())
}

/// Computes the aggregates of what has arrived between `from` and `to`, finer levels first; `told` hears how far it is.
/// Retention holds: what its source has dropped is not computed anew.
pub(crate) async fn refresh(
    pool: &Pool,
    layout: &Layout,
    settings: &TimescaleSettings,
    (from, to): (Timestamp, Timestamp),
    now: Timestamp,
    told: impl Fn(&str) + Sync,
) -> Outcome<()> {
    let session = pool.patient_session().await?;
    let kept = settings.retention;
    for level in Level::ALL {
        let source = match level {
            Level::Minute => kept.raw,
            Level::Hour => kept.minute,
            Level::Day => kept.hour,
        };
        let oldest = source.map_or(Timestamp::MIN, |kept| {
            now.plus_hours(-(refresh_start_s(kept.as_secs(), level) as f64) / 3_600.0)
        });
        let bucket_hours = level.bucket_s() as f64 / 3_600.0;
        let newest = now.plus_hours(-(level.lag_s() as f64) / 3_600.0);
        let end = to.plus_hours(bucket_hours).min(newest);
        for class in &layout.classes {
            for generation in class.all_generations() {
                if class.columns_of_generation(generation).is_empty() {
                    continue;
                }
                let name = class.aggregate(level, generation);
                let mut begin = from.plus_hours(-bucket_hours).max(oldest);
                while begin < end {
                    told(&format!("{} per {}: {begin}", class.name, level.suffix()));
                    let next = begin.plus_hours(REFRESH_DAYS * 24.0).min(end);
                    // A window that ends inside a bucket leaves that bucket out: the next one begins before it.
                    let until = next.plus_hours(bucket_hours).min(newest);
                    session
                        .batch_execute(&format!(
                            "CALL refresh_continuous_aggregate('{name}', '{begin}'::timestamptz, '{until}'::timestamptz)"
                        ))
                        .await?;
                    begin = next;
                }
            }
        }
    }
    Ok(())
}
