//! History that arrives at once: chunks as long as it needs, and aggregates that show it without waiting for their turn.

use forecare_domain::Timestamp;
use tokio_postgres::Transaction;

use crate::connection::Pool;
use crate::fault::Outcome;
use crate::layout::{Layout, Level};
use crate::policies::{chunk_hours_now, fitting_hours, refresh_start_s, set_chunks};
use crate::settings::{ChunkInterval, TimescaleSettings};

/// Bytes of a row before compression, about: what a class of a few metrics takes.
const ROW_BYTES: f64 = 150.0;
/// Chunks that the present falls into are no longer than this, hours: new readings may come faster than old ones.
const PRESENT_HOURS_MAX: u32 = 168;
/// Aggregates are computed so much at a time, milliseconds: 30 days, whole buckets of every level.
const REFRESH_MS: i64 = 30 * 86_400_000;

/// Gives chunks to come the length that `n_rows` rows from `from` to `to` need, where that is longer than now and left to
/// the store. Returns the length before, to be set again afterwards; `None`: nothing was changed.
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
    set_chunks(tx, layout, wanted).await?;
    Ok(Some(current))
}

/// Computes the aggregates of what has arrived between `from` and `to`, finer levels first; `told` hears how far it is.
/// Retention holds: what its source has dropped is not computed anew.
///
/// # Errors
/// The first failure; the other classes and levels are computed all the same.
pub(crate) async fn refresh(
    pool: &Pool,
    layout: &Layout,
    settings: &TimescaleSettings,
    span: (Timestamp, Timestamp),
    now: Timestamp,
    told: impl Fn(&str) + Sync,
) -> Outcome<()> {
    let session = pool.patient_session().await?;
    let mut first_failure = Ok(());
    for level in Level::ALL {
        for class in &layout.classes {
            for generation in class.all_generations() {
                if class.columns_of_generation(generation).is_empty() {
                    continue;
                }
                let name = class.aggregate(level, generation);
                for (begin, end) in pieces(level, settings, span, now) {
                    told(&format!("{} per {}: {begin}", class.name, level.suffix()));
                    let done = session
                        .batch_execute(&format!(
                            "CALL refresh_continuous_aggregate('{name}', '{begin}'::timestamptz, '{end}'::timestamptz)"
                        ))
                        .await;
                    if let Err(failure) = done {
                        first_failure = first_failure.and(Err(failure.into()));
                        break;
                    }
                }
            }
        }
    }
    first_failure
}

/// The span in whole buckets of `level`, a piece at a time; nothing where none of its buckets has ended yet.
fn pieces(
    level: Level,
    settings: &TimescaleSettings,
    (from, to): (Timestamp, Timestamp),
    now: Timestamp,
) -> Vec<(Timestamp, Timestamp)> {
    let kept = settings.retention;
    let source = match level {
        Level::Minute => kept.raw,
        Level::Hour => kept.minute,
        Level::Day => kept.hour,
    };
    let seconds = |s: u64| i64::try_from(s).unwrap_or(i64::MAX / 1_000) * 1_000;
    let bucket_ms = seconds(level.bucket_s());
    let now_ms = now.as_millis();
    let oldest = source.map_or(i64::MIN, |kept| {
        let start = now_ms.saturating_sub(seconds(refresh_start_s(kept.as_secs(), level)));
        // A bucket of which a part is dropped already stays as it is.
        (start.div_euclid(bucket_ms) + 1) * bucket_ms
    });
    let begin = (from.as_millis().div_euclid(bucket_ms) * bucket_ms).max(oldest);
    let newest = (now_ms - seconds(level.lag_s())).div_euclid(bucket_ms) * bucket_ms;
    let end = ((to.as_millis().div_euclid(bucket_ms) + 1) * bucket_ms).min(newest);
    let mut pieces = Vec::new();
    let mut at = begin;
    while at < end {
        let next = (at + REFRESH_MS).min(end);
        pieces.push((Timestamp::from_millis(at), Timestamp::from_millis(next)));
        at = next;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn all(level: Level, settings: &TimescaleSettings, from: &str, to: &str) -> Vec<String> {
        let now = at("2026-03-10T12:30:00Z");
        let pieces = pieces(level, settings, (at(from), at(to)), now);
        let shown = pieces.iter().map(|(a, b)| format!("{a} {b}"));
        shown.collect()
    }

    #[test]
    fn pieces_are_whole_buckets_that_have_ended() {
        let settings = TimescaleSettings::default();
        let day = |from, to| all(Level::Day, &settings, from, to);
        assert_eq!(
            day("2026-03-01T05:00:00Z", "2026-03-01T06:00:00Z"),
            ["2026-03-01T00:00:00Z 2026-03-02T00:00:00Z"]
        );
        // The day is not over, or has just ended.
        assert!(day("2026-03-09T20:00:00Z", "2026-03-10T12:00:00Z").is_empty());
        assert_eq!(
            day("2026-03-08T20:00:00Z", "2026-03-10T12:00:00Z"),
            ["2026-03-08T00:00:00Z 2026-03-09T00:00:00Z"]
        );
        let long = all(
            Level::Minute,
            &settings,
            "2026-01-01T00:00:30Z",
            "2026-03-01T00:00:00Z",
        );
        assert_eq!(long.len(), 2);
        assert!(long[0].starts_with("2026-01-01T00:00:00Z 2026-01-31T00:00:00Z"));
        assert!(long[1].ends_with("2026-03-01T00:01:00Z"));
    }

    #[test]
    fn what_was_dropped_is_not_computed_anew() {
        let mut settings = TimescaleSettings::default();
        settings.retention.raw = Some(Duration::from_secs(2 * 86_400));
        let kept = all(
            Level::Minute,
            &settings,
            "2026-01-01T00:00:00Z",
            "2026-03-10T00:00:00Z",
        );
        assert_eq!(kept, ["2026-03-08T13:31:00Z 2026-03-10T00:01:00Z"]);
    }
}
