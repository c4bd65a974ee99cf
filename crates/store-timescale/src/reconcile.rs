//! Whether the aggregates hold what the readings do. Each level is compared with what it is made from, minutes with the
//! readings, hours with minutes, days with hours: readings are what is many, and are counted once. The newest come first,
//! and in turn with them some that are spread over all the time before; as much as fits into the time there is.

use std::time::{Duration, Instant as Stopwatch};

use forecare_domain::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::checks::Finding;
use crate::fault::Outcome;
use crate::instant::Instant;
use crate::internals::Internals;
use crate::layout::{ClassLayout, Level};
use crate::store::TimescaleStore;

const CHECK: &str = "aggregates";
/// No further span is begun after this.
const BUDGET: Duration = Duration::from_secs(20);
/// A span that was compared in less is followed by one of twice the length; one that took four times as long by one of
/// half of it.
const QUICK: Duration = Duration::from_secs(1);
/// Spans of one unit each that are spread over the time before the newest.
const SPREAD: u32 = 32;
/// Differences of one level that are told.
const TOLD_MAX: usize = 3;
const HOUR_MS: i64 = 3_600_000;

/// Begin and end of a span, epoch ms.
type Span = (i64, i64);

/// Rows and readings.
type Counts = (i64, i64);

/// A level of a class against what it is made from.
struct Comparison<'a> {
    class: &'a ClassLayout,
    generation: i32,
    level: Level,
    sweep: Sweep,
    told: usize,
    /// One unit takes longer than a statement may.
    is_too_long: bool,
}

impl TimescaleStore {
    /// Compares what time allows, outside of what is yet to be refreshed or may be dropped meanwhile.
    pub(crate) async fn reconcile(&self, client: &Client) -> Outcome<Vec<Finding>> {
        let layout = self.layout();
        let Some(internals) = &layout.internals else {
            return Ok(Vec::new());
        };
        let mut comparisons = Vec::new();
        for class in &layout.classes {
            for generation in class.all_generations() {
                if class.columns_of_generation(generation).is_empty() {
                    continue;
                }
                for level in Level::ALL {
                    let whole = self
                        .comparable(client, internals, class, generation, level)
                        .await?;
                    comparisons.push(Comparison {
                        class,
                        generation,
                        level,
                        sweep: Sweep::new(whole, unit_ms(level)),
                        told: 0,
                        is_too_long: false,
                    });
                }
            }
        }
        let started = Stopwatch::now();
        let mut found = Vec::new();
        let mut is_over = false;
        while !is_over {
            is_over = true;
            for comparison in &mut comparisons {
                if started.elapsed() < BUDGET {
                    let (difference, goes_on) =
                        comparison.step(client, &self.settings.schema).await?;
                    found.extend(difference);
                    is_over &= !goes_on;
                }
            }
        }
        found.extend(comparisons.iter().find(|c| c.is_too_long).map(|c| {
            Finding::warn(
                CHECK,
                format!(
                    "class {}: {} takes longer to count than store.statement_timeout_s allows: not all was compared",
                    c.class.name,
                    if c.level == Level::Minute { "an hour of readings" } else { "a span of an aggregate" },
                ),
                "for this command alone: FORECARE_STORE__STATEMENT_TIMEOUT_S=600 forecare doctor",
            )
        }));
        if found.is_empty() {
            found.push(Finding::ok(CHECK, said(&comparisons)));
        }
        Ok(found)
    }

    /// What of a level and its source is there, and must be equal by now; whole units.
    async fn comparable(
        &self,
        client: &Client,
        internals: &Internals,
        class: &ClassLayout,
        generation: i32,
        level: Level,
    ) -> Outcome<Span> {
        // Twice the day level's schedule beside its lag.
        let unsettled_s = i64::try_from(Level::Day.lag_s()).unwrap_or(i64::MAX) + 12 * 3_600;
        let row = client
            .query_one(
                "SELECT least(max(range_end), now() - $2::text::interval), now()
                 FROM timescaledb_information.chunks
                 WHERE hypertable_schema = current_schema() AND hypertable_name = $1",
                &[&class.table(), &format!("{unsettled_s} seconds")],
            )
            .await?;
        let (to, now): (Instant, Instant) = (row.try_get(0)?, row.try_get(1)?);
        let retention = &self.settings.retention;
        let kept = match level.below() {
            None => retention.raw,
            Some(Level::Minute) => retention.minute,
            Some(Level::Hour | Level::Day) => retention.hour,
        };
        // An hour more: what is dropped while this runs.
        let kept = kept.map_or(i64::MIN, |age| {
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            now.0.as_millis().saturating_sub(age_ms) + HOUR_MS
        });
        let source = oldest(client, internals, &source(class, generation, level)).await?;
        let own = oldest(client, internals, &class.aggregate(level, generation)).await?;
        let unit = unit_ms(level);
        let from = source.max(own).max(kept);
        let from = from.saturating_add(unit - 1).div_euclid(unit) * unit;
        let to = to.0.as_millis().div_euclid(unit) * unit;
        Ok((from.min(to), to))
    }
}

impl Comparison<'_> {
    /// Compares the next span. A difference, and whether there is more to compare.
    async fn step(&mut self, client: &Client, schema: &str) -> Outcome<(Option<Finding>, bool)> {
        if self.is_too_long || self.told >= TOLD_MAX {
            return Ok((None, false));
        }
        let Some(span) = self.sweep.next() else {
            return Ok((None, false));
        };
        let began = Stopwatch::now();
        let compared = self.difference(client, span).await;
        let difference = match compared {
            Ok(difference) => difference,
            Err(fault) if fault.code() == Some(&SqlState::QUERY_CANCELED) => {
                if !self.sweep.shorten(span) {
                    self.is_too_long = true;
                }
                return Ok((None, !self.is_too_long));
            }
            Err(fault) => return Err(fault),
        };
        self.sweep.adapt(span, began.elapsed());
        let Some(difference) = difference else {
            return Ok((None, true));
        };
        self.told += 1;
        let (span, counts) = self.narrowed(client, span, difference).await?;
        Ok((Some(self.finding(schema, span, counts)), true))
    }

    /// What the source holds and the level does, where that differs.
    async fn difference(&self, client: &Client, span: Span) -> Outcome<Option<(Counts, Counts)>> {
        let columns = self.class.columns_of_generation(self.generation);
        let sum = |pattern: &dyn Fn(&String) -> String| {
            let terms: Vec<String> = columns.iter().map(pattern).collect();
            terms.join(" + ")
        };
        let of_readings = format!("count(*), {}", sum(&|c| format!("count({c})")));
        let of_level = format!(
            "coalesce(sum(n_rows), 0)::int8, coalesce(sum({}), 0)::int8",
            sum(&|c| format!("{c}_n"))
        );
        let source = source(self.class, self.generation, self.level);
        let of_source = match self.level.below() {
            None => &of_readings,
            Some(_) => &of_level,
        };
        let stored = counted(client, of_source, &source, span).await?;
        let level = self.class.aggregate(self.level, self.generation);
        let held = counted(client, &of_level, &level, span).await?;
        Ok((stored != held).then_some((stored, held)))
    }

    /// The newest unit of `span` that differs.
    async fn narrowed(
        &self,
        client: &Client,
        mut span: Span,
        mut counts: (Counts, Counts),
    ) -> Outcome<(Span, (Counts, Counts))> {
        let unit = unit_ms(self.level);
        while span.1 - span.0 > unit {
            let middle = span.0 + (span.1 - span.0) / unit / 2 * unit;
            let newer = (middle, span.1);
            match self.difference(client, newer).await? {
                Some(of_newer) => (span, counts) = (newer, of_newer),
                None => {
                    span = (span.0, middle);
                    // Taken in by a refresh meanwhile, where nothing is left.
                    counts = self.difference(client, span).await?.unwrap_or(counts);
                }
            }
        }
        Ok((span, counts))
    }

    fn finding(&self, schema: &str, span: Span, (stored, held): (Counts, Counts)) -> Finding {
        let at = |ms| Timestamp::from_millis(ms);
        let (from, to) = (at(span.0), at(span.1));
        let name = self.class.aggregate(self.level, self.generation);
        Finding::warn(
            CHECK,
            format!(
                "class {}, level {}, {from} to {to}: {} rows and {} readings, of {} and {} {}; \
                 late readings are taken in by the next refresh",
                self.class.name,
                self.level.suffix(),
                held.0,
                held.1,
                stored.0,
                stored.1,
                match self.level.below() {
                    None => "stored".to_owned(),
                    Some(below) => format!("in level {}", below.suffix()),
                },
            ),
            format!(
                "if it stays: CALL refresh_continuous_aggregate('{schema}.{name}', '{from}', '{to}', force => true), finer levels first"
            ),
        )
    }
}

/// What a level is made from.
fn source(class: &ClassLayout, generation: i32, level: Level) -> String {
    level
        .below()
        .map_or_else(|| class.table(), |below| class.aggregate(below, generation))
}

/// The shortest span that is compared: no shorter than a bucket, and than what a statement should be worth.
fn unit_ms(level: Level) -> i64 {
    level.bucket_ms().max(HOUR_MS)
}

async fn counted(client: &Client, counts: &str, table: &str, span: Span) -> Outcome<Counts> {
    let at = |ms| Instant(Timestamp::from_millis(ms));
    let sql = format!("SELECT {counts} FROM {table} WHERE ts >= $1 AND ts < $2");
    let row = client.query_one(&sql, &[&at(span.0), &at(span.1)]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Begin of the oldest chunk, epoch ms; the end of time where there is none.
async fn oldest(client: &Client, internals: &Internals, name: &str) -> Outcome<i64> {
    let rows = client
        .query_typed(&internals.oldest, &[(&name, Type::TEXT)])
        .await?;
    let begin_us = match rows.first() {
        Some(row) => row.try_get::<_, Option<i64>>(0)?,
        None => None,
    };
    Ok(begin_us.map_or(i64::MAX, |us| us.div_euclid(1_000)))
}

/// How much of each level was compared, in words.
fn said(comparisons: &[Comparison<'_>]) -> String {
    let of_level = |level: Level| {
        let sweeps = comparisons.iter().filter(|c| c.level == level);
        let (covered, all) = sweeps.fold((0, 0), |(covered, all), c| {
            let (begin, end) = c.sweep.whole;
            (covered + c.sweep.covered_ms(), all + (end - begin))
        });
        let (covered, all) = (covered / HOUR_MS, all / HOUR_MS);
        if covered == all {
            format!("all {all} h")
        } else {
            format!("{covered} of {all} h")
        }
    };
    format!(
        "what was compared is equal: minutes with readings in {}, hours with minutes in {}, days with hours in {} \
         (classes together; the newest, and some spread over all before, within {} s)",
        of_level(Level::Minute),
        of_level(Level::Hour),
        of_level(Level::Day),
        BUDGET.as_secs()
    )
}

/// Which spans come when.
#[derive(Debug)]
struct Sweep {
    /// All there is; whole units.
    whole: Span,
    unit: i64,
    /// From here on all was compared.
    reached: i64,
    /// Length of the next span of the newest.
    length: i64,
    n_newest: usize,
    /// Begins of the others.
    spread: Vec<i64>,
    /// Places that were thought of for them.
    n_spread: u32,
}

impl Sweep {
    fn new(whole: Span, unit: i64) -> Self {
        Self {
            whole,
            unit,
            reached: whole.1,
            length: unit,
            n_newest: 0,
            spread: Vec::new(),
            n_spread: 0,
        }
    }

    /// The next span; `None` where all was compared.
    fn next(&mut self) -> Option<Span> {
        if self.spread.len() < self.n_newest
            && let Some(begin) = self.next_spread()
        {
            self.spread.push(begin);
            return Some((begin, begin + self.unit));
        }
        let end = self.reached;
        if end <= self.whole.0 {
            return None;
        }
        self.reached = (end - self.length).max(self.whole.0);
        self.n_newest += 1;
        Some((self.reached, end))
    }

    /// A unit of the time that the newest have not come to, far from those before it.
    fn next_spread(&mut self) -> Option<i64> {
        let n_units = u64::try_from((self.whole.1 - self.whole.0) / self.unit).unwrap_or(0);
        while self.n_spread < SPREAD && u64::from(SPREAD) <= n_units {
            // Bits reversed (van der Corput 1935): a half, a quarter, three quarters, ...
            let place = u64::from(self.n_spread.reverse_bits() >> (32 - SPREAD.ilog2()));
            self.n_spread += 1;
            let unit = place * n_units / u64::from(SPREAD);
            let begin = self.whole.0 + i64::try_from(unit).unwrap_or(0) * self.unit;
            if begin + self.unit <= self.reached {
                return Some(begin);
            }
        }
        None
    }

    /// After `span`, which took so long; the others are always of one unit.
    fn adapt(&mut self, span: Span, took: Duration) {
        if span.0 != self.reached {
            return;
        }
        if took < QUICK {
            self.length = self.length.saturating_mul(2);
        } else if took > QUICK * 4 {
            self.length = (self.length / 2 / self.unit * self.unit).max(self.unit);
        }
    }

    /// `span` took too long: it comes again as shorter ones. False where it cannot be shorter.
    fn shorten(&mut self, span: Span) -> bool {
        let length = span.1 - span.0;
        if length <= self.unit || self.reached != span.0 {
            return false;
        }
        self.reached = span.1;
        self.length = (length / 4 / self.unit * self.unit).max(self.unit);
        true
    }

    fn covered_ms(&self) -> i64 {
        let older = self.spread.iter().filter(|begin| **begin < self.reached);
        let n_older = i64::try_from(older.count()).unwrap_or(0);
        self.whole.1 - self.reached + n_older * self.unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes spans as long as there are any, each quick or slow.
    fn swept(n_units: i64, took: Duration, n_max: usize) -> (Sweep, Vec<Span>) {
        let mut sweep = Sweep::new((0, n_units * HOUR_MS), HOUR_MS);
        let mut spans = Vec::new();
        while spans.len() < n_max
            && let Some(span) = sweep.next()
        {
            spans.push(span);
            sweep.adapt(span, took);
        }
        (sweep, spans)
    }

    #[test]
    fn where_it_is_quick_all_is_compared_in_few_spans() {
        for n_units in [0, 1, 2, 31, 32, 1_000, 100_000] {
            let (sweep, spans) = swept(n_units, Duration::ZERO, usize::MAX);
            assert_eq!(sweep.covered_ms(), n_units * HOUR_MS);
            assert!(spans.len() < 60, "{n_units}: {}", spans.len());
            let newest = spans.iter().filter(|(_, end)| *end == n_units * HOUR_MS);
            assert_eq!(newest.count(), usize::from(n_units > 0));
        }
    }

    #[test]
    fn where_it_is_slow_the_newest_and_the_whole_range_get_half_each() {
        let (sweep, spans) = swept(8_760, QUICK * 2, 16);
        assert_eq!(sweep.covered_ms(), 16 * HOUR_MS);
        assert_eq!(sweep.reached, (8_760 - 8) * HOUR_MS);
        let mut spread: Vec<i64> = spans.iter().map(|(begin, _)| begin / HOUR_MS).collect();
        spread.retain(|hour| *hour < 8_752);
        spread.sort_unstable();
        assert_eq!(spread.len(), 8);
        let gaps = spread.windows(2).map(|w| w[1] - w[0]);
        assert!(
            gaps.clone().all(|gap| (1_000..1_200).contains(&gap)),
            "{spread:?}"
        );
    }

    #[test]
    fn what_takes_too_long_comes_again_in_shorter_spans_down_to_one_unit() {
        let mut sweep = Sweep::new((0, 10 * HOUR_MS), HOUR_MS);
        sweep.length = 8 * HOUR_MS;
        let span = sweep.next().unwrap();
        assert_eq!(span, (2 * HOUR_MS, 10 * HOUR_MS));
        assert!(sweep.shorten(span));
        assert_eq!(sweep.next(), Some((8 * HOUR_MS, 10 * HOUR_MS)));
        assert!(sweep.shorten((8 * HOUR_MS, 10 * HOUR_MS)));
        let span = sweep.next().unwrap();
        assert_eq!(span, (9 * HOUR_MS, 10 * HOUR_MS));
        assert!(!sweep.shorten(span));
    }
}
