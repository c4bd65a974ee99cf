//! `forecare bench queries`: how long reading back takes, in a schema or file of the measurement's own.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, AssetId, Clock, DeviceId, MetricName, Row, Timestamp};
use forecare_store::{CommitBatch, Fill, ScoredRow, Series, Store, TelemetryQuery};
use forecare_store_sqlite::SqliteStore;
use forecare_store_timescale::{SCRATCH_SCHEMA, TimescaleSettings, TimescaleStore, drop_scratch};

use super::consumer::CATALOGUE;
use crate::cli::progress::Progress;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::storage::settings;

/// Devices of the fleet whose latest rows are asked for, where those that report are fewer.
const FLEET: u32 = 10_000;
/// 2025-06-15T00:00:00Z.
const BEGIN_MS: i64 = 1_749_945_600_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Assets registered at once.
const ASSETS: usize = 1_000;
/// Rows asked for at most; a day of one device has 1,440.
const ROWS_MAX: usize = 100_000;
/// Rows of a batch.
const BATCH_ROWS: usize = 10_000;

#[derive(Debug, Args)]
pub(crate) struct QueriesArgs {
    /// Config file of the store that is measured; without it, SQLite in a temporary directory.
    #[arg(long, env = "FORECARE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Days of history, a row of 8 metrics a minute from each device that reports.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// Devices that report; 10,000 in all have a latest row.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// Tries of each query, each for another device; 11 at least.
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u32).range(11..=10_001))]
    tries: u32,
    /// Print each query's statements with PostgreSQL's plan, instead of latencies.
    #[arg(long)]
    explain: bool,
    /// Leave the schema `forecare_bench` there, so that the next run need not load it again.
    #[arg(long)]
    keep: bool,
}

/// What is measured.
#[derive(Clone)]
enum Subject {
    Sqlite(Arc<SqliteStore>),
    Timescale(Arc<TimescaleStore>),
}

impl Subject {
    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Timescale(store) => store.clone(),
        }
    }
}

/// A query that is put again and again.
struct Question {
    name: String,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    /// The rows of a device's last milliseconds, as they came.
    Rows(i64),
    Series(Span),
    /// The latest row of every device.
    Latest,
}

#[derive(Clone, Copy)]
struct Span {
    n_metrics: usize,
    ms: i64,
    points: usize,
    fill: Fill,
}

/// What came of it.
struct Answer {
    /// Which tables it was read from.
    source: String,
    /// Readings that one answer stands for, and values in it.
    n_readings: u64,
    n_values: usize,
    p50_ms: f64,
    p99_ms: f64,
}

pub(super) async fn run(args: QueriesArgs) -> Result<()> {
    let config = Config::load(args.config.as_deref(), &[])?;
    let catalogue = Catalogue::parse(CATALOGUE).context("the bench's catalogue is damaged")?;
    let begin = Timestamp::from_millis(BEGIN_MS);
    if config.store.url.is_empty() {
        if args.explain {
            bail!(
                "--explain shows PostgreSQL's plans: name a config file whose [store] url is a TimescaleDB (--config)"
            );
        }
        let dir = std::env::temp_dir().join(format!("forecare-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let store = SqliteStore::open(&dir.join("bench.sqlite"), &catalogue, begin)?;
        let subject = Subject::Sqlite(Arc::new(store));
        let measured = measure(&args, &subject, &catalogue).await;
        drop(subject);
        std::fs::remove_dir_all(&dir)
            .with_context(|| format!("cannot remove {}", dir.display()))?;
        return measured;
    }
    if config.store.schema == SCRATCH_SCHEMA {
        bail!(
            "[store] schema is {SCRATCH_SCHEMA}, which a bench makes and drops: what is in it would be lost; name the schema otherwise (ALTER SCHEMA ... RENAME TO ...)"
        );
    }
    let settings = TimescaleSettings {
        schema: SCRATCH_SCHEMA.to_owned(),
        application_name: SCRATCH_SCHEMA.to_owned(),
        ..settings(&config.store)?
    };
    let there = TimescaleStore::open_to_examine(settings.clone(), &catalogue).await?;
    let is_loaded = match &there {
        Some(there) => is_loaded(&args, there).await?,
        None => false,
    };
    if let Some(there) = there {
        there.close().await;
        if !is_loaded {
            // Of another run, or one that was broken off.
            drop_scratch(&settings).await?;
        }
    }
    let store = TimescaleStore::open(settings.clone(), &catalogue, begin).await?;
    let store = Arc::new(store);
    let measured = measure(&args, &Subject::Timescale(Arc::clone(&store)), &catalogue).await;
    store.close().await;
    if args.keep {
        eprintln!("schema {SCRATCH_SCHEMA} is left there: DROP SCHEMA {SCRATCH_SCHEMA} CASCADE");
    } else {
        drop_scratch(&settings).await?;
    }
    measured
}

async fn measure(args: &QueriesArgs, subject: &Subject, catalogue: &Catalogue) -> Result<()> {
    let store = subject.store();
    let n_rows = u64::from(args.devices) * u64::from(args.days) * 1_440
        + u64::from(n_devices(args) - args.devices);
    if is_loaded(args, &*store).await? {
        println!(
            "{n_rows} rows of 8 metrics are there from an earlier run, compressed if that measured"
        );
    } else {
        load(args, subject, catalogue, n_rows).await?;
    }
    let questions = questions(args);
    if let (true, Subject::Timescale(store)) = (args.explain, subject) {
        return explain(args, store, &questions).await;
    }
    let before = ask(args, subject, &questions).await?;
    let Subject::Timescale(timescale) = subject else {
        show(&questions, &before, "SQLite");
        return Ok(());
    };
    show(&questions, &before, "TimescaleDB");
    let begun = SystemClock.now();
    let n_chunks = timescale.compress_all().await?;
    if n_chunks > 0 {
        println!(
            "\n{n_chunks} chunks compressed in {:.1} s",
            seconds_since(begun)
        );
        let after = ask(args, subject, &questions).await?;
        show(&questions, &after, "TimescaleDB, compressed");
    }
    Ok(())
}

fn n_devices(args: &QueriesArgs) -> u32 {
    args.devices.max(FLEET)
}

fn device(number: u32) -> Result<DeviceId> {
    Ok(DeviceId::new(format!("bench-{number}"))?)
}

fn end(args: &QueriesArgs) -> Timestamp {
    Timestamp::from_millis(BEGIN_MS + i64::from(args.days) * DAY_MS)
}

/// Whether the whole fleet's history is there: the newest row of all is loaded last.
async fn is_loaded(args: &QueriesArgs, store: &dyn Store) -> Result<bool> {
    let last = Timestamp::from_millis(end(args).as_millis() - MINUTE_MS);
    let newest = |number: u32| async move {
        Ok::<_, anyhow::Error>(store.newest_reading(&device(number)?).await?)
    };
    Ok(newest(args.devices - 1).await? == Some(last)
        && newest(args.devices).await? != Some(last)
        && store.assets().await?.len() == usize::try_from(n_devices(args))?)
}

async fn load(
    args: &QueriesArgs,
    subject: &Subject,
    catalogue: &Catalogue,
    n_rows: u64,
) -> Result<()> {
    let store = subject.store();
    let class = catalogue.classes.first().context("no class")?;
    let devices: Vec<DeviceId> = (0..n_devices(args)).map(device).collect::<Result<_>>()?;
    let asset = |device: &DeviceId| {
        Ok(Asset {
            id: AssetId::new(device.as_str())?,
            device: device.clone(),
            class: class.name.clone(),
            name: device.to_string(),
            site: String::new(),
            depot: None,
            registered_at: Timestamp::from_millis(BEGIN_MS),
        })
    };
    let assets: Result<Vec<Asset>> = devices.iter().map(asset).collect();
    for some in assets?.chunks(ASSETS) {
        store.register_assets(some.to_vec()).await?;
    }
    let span = (Timestamp::from_millis(BEGIN_MS), end(args));
    let now = SystemClock.now();
    let before = match subject {
        Subject::Sqlite(_) => None,
        Subject::Timescale(store) => store.expect_history(n_rows, span, now).await?,
    };
    let begun = SystemClock.now();
    let progress = Progress::bar(n_rows, "rows");
    let reporting = usize::try_from(args.devices)?;
    let mut rows = Vec::new();
    let mut n_loaded = 0;
    let n_minutes = i64::from(args.days) * 1_440;
    for minute in 0..n_minutes {
        let n = if minute == 0 {
            devices.len()
        } else {
            reporting
        };
        let ts = Timestamp::from_millis(BEGIN_MS + minute * MINUTE_MS);
        rows.extend(
            (0_i32..)
                .zip(devices.iter().take(n))
                .map(|(number, device)| scored(device, ts, number, minute)),
        );
        if rows.len() >= BATCH_ROWS || minute + 1 == n_minutes {
            n_loaded += rows.len();
            let batch = CommitBatch {
                rows: std::mem::take(&mut rows),
                ..CommitBatch::default()
            };
            store.commit_batch(batch).await?;
            progress.set(u64::try_from(n_loaded)?);
        }
    }
    progress.finish();
    let seconds = seconds_since(begun);
    println!(
        "{n_loaded} rows of 8 metrics from {} devices loaded in batches of {BATCH_ROWS}: {:.0} rows/s",
        args.devices,
        count(n_loaded) / seconds
    );
    if let Subject::Timescale(store) = subject {
        let begun = SystemClock.now();
        store.history_arrived(before, span, now, |_| ()).await?;
        println!("aggregates refreshed in {:.1} s", seconds_since(begun));
    }
    Ok(())
}

/// A row of waves and a little noise, as machines have it; the same every time.
fn scored(device: &DeviceId, ts: Timestamp, number: i32, minute: i64) -> ScoredRow {
    let minute = f64::from(i32::try_from(minute).unwrap_or(i32::MAX));
    let values = (0..8).map(|metric| {
        let phase = f64::from(number) * 0.7 + f64::from(metric);
        let wave = (minute / 180.0 + phase).sin();
        // Of no period that a wave or a bucket has.
        let noise = (minute * 12.9898 + phase * 78.233).sin() * 43_758.545_3;
        let value = 50.0 + 10.0 * wave + (noise - noise.floor());
        Some((value * 100.0).round() / 100.0)
    });
    let row = Row {
        device: device.clone(),
        ts,
        values: values.collect(),
        extra: Vec::new(),
    };
    ScoredRow {
        row,
        health: Some(97.5),
    }
}

fn questions(args: &QueriesArgs) -> Vec<Question> {
    let days = i64::from(args.days);
    let hours = usize::try_from(days * 24).unwrap_or(usize::MAX);
    let rows = [
        ("last hour, every reading", HOUR_MS),
        ("last 24 h, every reading", DAY_MS),
    ];
    let rows = rows.map(|(name, ms)| Question {
        name: name.to_owned(),
        what: What::Rows(ms),
    });
    let spans = [
        (
            "last hour, 1 metric, a point a minute",
            1,
            HOUR_MS,
            60,
            Fill::None,
        ),
        (
            "last 24 h, 8 metrics, a point a minute",
            8,
            DAY_MS,
            1_440,
            Fill::None,
        ),
        (
            "last 24 h, 8 metrics, 300 points",
            8,
            DAY_MS,
            300,
            Fill::None,
        ),
        (
            "all days, 1 metric, 1,000 points",
            1,
            days * DAY_MS,
            1_000,
            Fill::None,
        ),
        (
            "all days, 8 metrics, a point an hour",
            8,
            days * DAY_MS,
            hours,
            Fill::None,
        ),
        (
            "the same, gaps filled linearly",
            8,
            days * DAY_MS,
            hours,
            Fill::Linear,
        ),
    ];
    let latest = Question {
        name: format!("latest row of {} devices", n_devices(args)),
        what: What::Latest,
    };
    let series = spans
        .into_iter()
        .map(|(name, n_metrics, ms, points, fill)| Question {
            name: name.to_owned(),
            what: What::Series(Span {
                n_metrics,
                ms,
                // The store's own limit of points.
                points: points.min(5_000),
                fill,
            }),
        });
    rows.into_iter().chain(series).chain([latest]).collect()
}

/// Another device for each try: not the same pages again.
fn try_device(args: &QueriesArgs, number: u32) -> Result<DeviceId> {
    device(number.wrapping_mul(17) % args.devices)
}

fn query(args: &QueriesArgs, span: Span, number: u32) -> Result<TelemetryQuery> {
    let catalogue = Catalogue::parse(CATALOGUE).context("the bench's catalogue is damaged")?;
    let class = catalogue.classes.first().context("no class")?;
    let metrics: Vec<MetricName> = class
        .metrics
        .iter()
        .take(span.n_metrics)
        .map(|m| m.name.clone())
        .collect();
    Ok(TelemetryQuery {
        device: try_device(args, number)?,
        metrics,
        from: Timestamp::from_millis(end(args).as_millis() - span.ms),
        to: end(args),
        points: span.points,
        fill: span.fill,
    })
}

async fn ask(args: &QueriesArgs, subject: &Subject, questions: &[Question]) -> Result<Vec<Answer>> {
    let store = subject.store();
    let mut answers = Vec::new();
    for question in questions {
        let mut ms = Vec::new();
        let (mut n_readings, mut n_values) = (0, 0);
        // The first try finds plans and pages cold, and does not count.
        for number in 0..=args.tries {
            match question.what {
                What::Rows(span_ms) => {
                    let after = Timestamp::from_millis(end(args).as_millis() - span_ms - 1);
                    let device = try_device(args, number)?;
                    let begun = std::time::Instant::now();
                    let rows = store.rows_after(&device, Some(after), ROWS_MAX).await?;
                    ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
                    n_values = rows.iter().map(|r| r.values.iter().flatten().count()).sum();
                    n_readings = u64::try_from(n_values)?;
                }
                What::Series(span) => {
                    let query = query(args, span, number)?;
                    let begun = std::time::Instant::now();
                    let series = store.telemetry(&query).await?;
                    ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
                    (n_readings, n_values) = contents(&series);
                }
                What::Latest => {
                    let begun = std::time::Instant::now();
                    let rows = store.latest().await?;
                    ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
                    n_values = rows.iter().map(|row| row.readings.len()).sum();
                    n_readings = u64::try_from(n_values)?;
                }
            }
        }
        ms.remove(0);
        ms.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            ms.get((ms.len() - 1) * percent / 100)
                .copied()
                .unwrap_or(0.0)
        };
        answers.push(Answer {
            source: source(args, subject, question.what).await?,
            n_readings,
            n_values,
            p50_ms: at(50),
            p99_ms: at(99),
        });
    }
    Ok(answers)
}

/// Which tables the answer comes from: the statements name them.
async fn source(args: &QueriesArgs, subject: &Subject, what: What) -> Result<String> {
    let statements = match (what, subject) {
        (What::Latest, _) => return Ok("latest rows".to_owned()),
        (What::Rows(_), _) | (What::Series(_), Subject::Sqlite(_)) => Vec::new(),
        (What::Series(span), Subject::Timescale(store)) => {
            store.telemetry_plans(&query(args, span, 1)?).await?
        }
    };
    let levels = [("_1m", "minutes"), ("_1h", "hours"), ("_1d", "days")];
    let level = levels
        .iter()
        .find(|(suffix, _)| statements.iter().any(|s| s.contains(suffix)));
    Ok(level.map_or("readings", |(_, name)| name).to_owned())
}

/// Readings that the series stand for, and points of all of them.
fn contents(series: &[Series]) -> (u64, usize) {
    let buckets = series.iter().flat_map(|s| &s.buckets);
    (
        buckets.map(|b| b.n).sum(),
        series.iter().map(|s| s.buckets.len()).sum(),
    )
}

async fn explain(args: &QueriesArgs, store: &TimescaleStore, questions: &[Question]) -> Result<()> {
    for question in questions {
        println!("\n-- {}", question.name);
        let plans = match question.what {
            What::Rows(_) => vec![
                "not shown: rows by the table's index on (device_no, ts), as a replay or export reads them\n"
                    .to_owned(),
            ],
            What::Series(span) => store.telemetry_plans(&query(args, span, 1)?).await?,
            What::Latest => vec![store.latest_plan().await?],
        };
        for plan in plans {
            println!("{plan}");
        }
    }
    Ok(())
}

fn show(questions: &[Question], answers: &[Answer], what: &str) {
    println!(
        "\n{:<40} {:>12} {:>12} {:>12} {:>10} {:>10}",
        what, "read from", "of readings", "values given", "p50, ms", "p99, ms"
    );
    for (question, a) in questions.iter().zip(answers) {
        println!(
            "{:<40} {:>12} {:>12} {:>12} {:>10.2} {:>10.2}",
            question.name, a.source, a.n_readings, a.n_values, a.p50_ms, a.p99_ms
        );
    }
}

fn seconds_since(begun: Timestamp) -> f64 {
    SystemClock.now().hours_since(begun) * 3_600.0
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}
