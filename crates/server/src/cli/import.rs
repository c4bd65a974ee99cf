//! `forecare import`: recorded telemetry and events into the store, once, whatever happens on the way.

mod events;
mod mapping;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, AssetId, ClassName, Clock, DeviceId, Timestamp};
use forecare_store::{CommitBatch, ScoredRow, Store};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::SERVE_HOME;
use super::instance::InstanceArgs;
use super::progress::Progress;
use crate::clock::SystemClock;
use crate::tables::{Cell, Place, Record, TableReader};
use events::{EventArgs, EventMapping};
use mapping::{Keys, Mapping, MappingArgs};

/// Rows in one transaction.
const BATCH_ROWS: usize = 5_000;
/// Bytes at both ends of a file that, with its length, tell it from others.
const IDENTITY_BYTES: u64 = 1 << 20;
/// Unknown devices named at the end.
const UNKNOWN_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// CSV files (plain or gzip) and Parquet files, as `forecare export` writes them, or foreign ones with the
    /// options below. Every file begins with the names of its columns, but for events as JSON lines.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// Register devices that are unknown, with this class of the catalogue.
    #[arg(long, value_name = "CLASS")]
    register: Option<String>,
    /// Read files again that were imported before; readings that are there stay as they are.
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// How the files are read.
#[derive(Debug, Args)]
struct ReadArgs {
    /// What the files hold. Events come as JSON lines, or in columns: device, time (or ts), code, and as far as they are
    /// there severity (else info), component and message.
    #[arg(long, value_enum, default_value_t = What::Telemetry)]
    what: What,
    #[command(flatten)]
    mapping: MappingArgs,
    #[command(flatten)]
    event: EventArgs,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Readings.
    Telemetry,
    /// What devices reported beside measurements.
    Events,
}

impl ReadArgs {
    /// In words: the same file read otherwise is another import.
    fn reading(&self) -> String {
        match self.what {
            What::Telemetry => format!("{:?}", self.mapping),
            What::Events => format!("events {:?} {:?}", self.event, self.mapping),
        }
    }
}

/// The columns of one file, understood.
enum Meaning {
    Readings(Mapping),
    Events(EventMapping),
}

impl Meaning {
    fn of(reader: &TableReader, args: &ReadArgs, catalogue: &Catalogue) -> Result<Self> {
        match args.what {
            What::Telemetry if reader.is_lines() => bail!(
                "these are JSON lines: events are read with --what events; telemetry comes as CSV or Parquet"
            ),
            What::Telemetry => {
                Mapping::new(&args.mapping, reader.columns(), catalogue).map(Self::Readings)
            }
            What::Events if args.mapping.names_metrics() => bail!(
                "--column and --skip are for telemetry; of events the device, the time and the code may be called otherwise"
            ),
            What::Events => {
                EventMapping::new(&args.mapping, &args.event, reader.columns()).map(Self::Events)
            }
        }
    }

    fn keys(&self) -> &Keys {
        match self {
            Self::Readings(mapping) => mapping.keys(),
            Self::Events(mapping) => mapping.keys(),
        }
    }
}

/// How far one file is, kept with the data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progressed {
    /// Where to go on.
    at: u64,
    lines: u64,
    /// Bytes of the rejects file that belong to it.
    rejects_bytes: u64,
    complete: bool,
    counts: Counts,
}

impl Progressed {
    /// Nothing is left to do.
    fn is_done(&self, again: bool) -> bool {
        self.complete && self.counts.rejected == 0 && !again
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    rows: u64,
    /// Events read, those that were there already included.
    #[serde(default)]
    events: u64,
    inserted: u64,
    duplicates: u64,
    conflicts: u64,
    rejected: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.events += other.events;
        self.inserted += other.inserted;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.rejected += other.rejected;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.events > 0 {
            return write!(
                f,
                "{} events (what was there already is as it was); {} lines refused",
                self.events, self.rejected
            );
        }
        write!(
            f,
            "{} rows: {} readings new, {} there already, {} in conflict (the first stays); {} lines refused",
            self.rows, self.inserted, self.duplicates, self.conflicts, self.rejected
        )
    }
}

pub(crate) async fn run(args: ImportArgs) -> Result<()> {
    let instance = args.instance.open_to_change(SERVE_HOME).await?;
    if instance.is_running() && instance.config.store.url.is_empty() {
        bail!(
            "a service works in {}: stop it first; SQLite takes one writer at a time (with TimescaleDB both may run)",
            instance.home.display()
        );
    }
    let store = instance.storage.store();
    let register = match &args.register {
        None => None,
        Some(class) => Some(known_class(class, &instance.catalogue)?),
    };
    let rejects_dir = instance.home.join("imports");
    std::fs::create_dir_all(&rejects_dir)
        .with_context(|| format!("cannot make the directory {}", rejects_dir.display()))?;
    let now = SystemClock.now();
    let mut earliest = forecare_wire::Limits::default().earliest;
    let kept_days = instance.config.store.retention_raw_days;
    // Of events there are neither aggregates nor a time after which they go.
    let is_aggregated = instance.storage.is_timescale() && args.read.what == What::Telemetry;
    if is_aggregated && kept_days > 0 {
        // What is older would be dropped before the aggregates have seen it.
        let kept_hours = f64::from(kept_days) * 24.0 - 1.0;
        earliest = earliest.max(now.plus_hours(-kept_hours));
    }
    let latest = now.plus_hours(instance.config.ingest.future_tolerance_minutes / 60.0);
    let mut devices = Devices::new(store.assets().await?, &instance.catalogue);
    let mut total = Counts::default();
    let mut rejects_files = Vec::new();
    for path in &args.files {
        // Before anything is stored: the columns must be understood.
        let reader = TableReader::open(path, Place::default())?;
        Meaning::of(&reader, &args.read, &instance.catalogue)
            .with_context(|| path.display().to_string())?;
    }
    let reading = args.read.reading();
    let mut survey = None;
    // What a run that was ended has stored, and not computed the aggregates of.
    let mut owed: Option<(Timestamp, Timestamp)> = None;
    if is_aggregated {
        let mut waiting = Vec::new();
        for path in &args.files {
            let setting = format!("import.{}", identity(path, &reading)?);
            if !progressed(&*store, &setting).await?.is_done(args.again) {
                waiting.push(path.as_path());
            }
        }
        survey = look_over(
            &waiting,
            &args.read.mapping,
            &instance.catalogue,
            earliest..=latest,
        )?;
        let mut spans: Vec<(Timestamp, Timestamp)> = survey.iter().map(|(_, span)| *span).collect();
        for path in &args.files {
            let setting = owed_for(path, &reading)?;
            if let Some(text) = store.setting(&setting).await? {
                let span: Option<(Timestamp, Timestamp)> =
                    serde_json::from_str(&text).context("the record of an import is damaged")?;
                spans.extend(span);
            }
        }
        owed = spans
            .into_iter()
            .reduce(|(a, b), (from, to)| (a.min(from), b.max(to)));
        if owed.is_some() {
            owe(&*store, &args.files, &reading, owed).await?;
        }
    }
    let mut chunks_before = None;
    if let Some((n_rows, span)) = survey {
        chunks_before = instance.storage.expect_history(n_rows, span, now).await?;
    }
    let mut n_before = 0;
    let importing = async {
        for path in &args.files {
            let identity = identity(path, &reading)?;
            let setting = format!("import.{identity}");
            let mut progressed = progressed(&*store, &setting).await?;
            if progressed.is_done(args.again) {
                eprintln!(
                    "{}: imported before, nothing to do (--again reads it once more)",
                    path.display()
                );
                n_before += progressed.counts.rows + progressed.counts.events;
                continue;
            }
            if progressed.complete {
                // What was refused may be right by now.
                progressed = Progressed::default();
            } else if progressed.at > 0 {
                eprintln!(
                    "{}: going on behind line {}, where the last run stopped",
                    path.display(),
                    progressed.lines
                );
            }
            let rejects_path = rejects_dir.join(format!("{identity}.rejects.csv"));
            let mut import = Import {
                store: &*store,
                setting: &setting,
                path,
                catalogue: &instance.catalogue,
                register: register.as_ref(),
                earliest,
                latest,
                now,
                rejects: Rejects::open(&rejects_path, progressed.rejects_bytes)?,
                progressed,
            };
            let counts = import.run(&args.read, &mut devices).await?;
            if args.files.len() > 1 {
                eprintln!("{}: {counts}", path.display());
            }
            total.add(&counts);
            if counts.rejected > 0 {
                rejects_files.push(rejects_path);
            } else {
                import.rejects.remove()?;
            }
        }
        Ok::<(), anyhow::Error>(())
    };
    let imported = importing.await;
    if let Some(span) = owed.filter(|_| imported.is_ok()) {
        eprintln!(
            "computing the aggregates of {} to {}: of long history this takes longer than reading it",
            span.0, span.1
        );
        let progress = Progress::line();
        let told = |what: &str| progress.say(format!("aggregates: {what}"));
        let done = instance
            .storage
            .history_arrived(chunks_before, span, now, told);
        match done.await {
            Ok(()) => owe(&*store, &args.files, &reading, None).await?,
            Err(failure) => eprintln!(
                "the aggregates do not show it yet ({failure}): the same command tries again, TimescaleDB's own jobs will in time; forecare doctor says how they do"
            ),
        }
        progress.finish();
    } else if let Some((_, span)) = survey {
        // The length of chunks goes back to what it was; the same command makes the rest.
        let nothing = (span.0, span.0);
        let restored = instance
            .storage
            .history_arrived(chunks_before, nothing, now, |_| {});
        restored.await.ok();
    }
    drop(store);
    imported?;
    instance.storage.close().await?;
    if n_before > 0 {
        println!("{n_before} rows were imported before and not read again");
    }
    if n_before == 0 || total.rows + total.events > 0 {
        println!("imported {total}");
        println!(
            "{}",
            match args.read.what {
                What::Telemetry =>
                    "stored, not scored: no alarm is raised from it, and detectors keep their state",
                What::Events =>
                    "stored, not scored: no alarm is raised and no ticket opened from it; training and backtests see it",
            }
        );
    }
    if !devices.refused.is_empty() {
        eprintln!("{}", devices.say_refused());
    }
    if total.rejected > 0 {
        let files: Vec<String> = rejects_files
            .iter()
            .map(|f| f.display().to_string())
            .collect();
        bail!(
            "{} lines were refused; each with its reason in {}: mend what it names and run the same command again",
            total.rejected,
            files.join(", ")
        );
    }
    Ok(())
}

/// The setting that holds the span of time whose aggregates the import of a file has yet to compute. By file: others may be
/// imported at the same time.
fn owed_for(path: &Path, reading: &str) -> Result<String> {
    Ok(format!("import.{}.aggregates", identity(path, reading)?))
}

/// Keeps what is to be computed, or that nothing is.
async fn owe(
    store: &dyn Store,
    files: &[PathBuf],
    reading: &str,
    span: Option<(Timestamp, Timestamp)>,
) -> Result<()> {
    let text = serde_json::to_string(&span)?;
    for path in files {
        let setting = owed_for(path, reading)?;
        store.put_setting(&setting, &text).await?;
    }
    Ok(())
}

/// How far an import has come.
async fn progressed(store: &dyn Store, setting: &str) -> Result<Progressed> {
    match store.setting(setting).await? {
        Some(text) => serde_json::from_str(&text).context("the record of an import is damaged"),
        None => Ok(Progressed::default()),
    }
}

/// Number of lines of all `files`, and the span of their times; `None`: no line has one.
fn look_over(
    files: &[&Path],
    mapping: &MappingArgs,
    catalogue: &Catalogue,
    limits: std::ops::RangeInclusive<Timestamp>,
) -> Result<Option<(u64, (Timestamp, Timestamp))>> {
    let mut n_rows = 0;
    let mut span: Option<(Timestamp, Timestamp)> = None;
    for path in files {
        let mut reader = TableReader::open(path, Place::default())?;
        let mapping = Mapping::new(mapping, reader.columns(), catalogue)?;
        let progress = match reader.length() {
            Some(length) => Progress::bar(length, ""),
            None => Progress::line(),
        };
        while let Some(record) = reader.next().with_context(|| path.display().to_string())? {
            n_rows += 1;
            if n_rows % 4_096 == 0 {
                progress.set(reader.place().at);
                progress.say("looking at its times".to_owned());
            }
            if let Ok(ts) = mapping.keys().time(&record)
                && limits.contains(&ts)
            {
                let (from, to) = span.unwrap_or((ts, ts));
                span = Some((from.min(ts), to.max(ts)));
            }
        }
        progress.finish();
    }
    Ok(span.map(|span| (n_rows, span)))
}

fn known_class(name: &str, catalogue: &Catalogue) -> Result<ClassName> {
    let class = ClassName::new(name).context("--register")?;
    if catalogue.class(&class).is_none() {
        let known: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
        bail!(
            "--register: the catalogue has no class \"{name}\"; it has {}",
            known.join(", ")
        );
    }
    Ok(class)
}

/// Tells a file from others, read with other options included: length, both ends, and how it is read.
fn identity(path: &Path, reading: &str) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let length = file.metadata().with_context(cannot)?.len();
    let mut hash = Sha256::new();
    hash.update(length.to_le_bytes());
    hash.update(reading);
    for begin in [0, length.saturating_sub(IDENTITY_BYTES)] {
        file.seek(SeekFrom::Start(begin)).with_context(cannot)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(IDENTITY_BYTES)
            .read_to_end(&mut bytes)
            .with_context(cannot)?;
        hash.update(&bytes);
    }
    Ok(hash
        .finalize()
        .iter()
        .take(12)
        .map(|b| format!("{b:02x}"))
        .collect())
}

/// Which device belongs to which class.
struct Devices {
    /// Index of the class in the catalogue.
    known: HashMap<DeviceId, usize>,
    /// Lines refused because of their device, by device.
    refused: BTreeMap<String, u64>,
}

impl Devices {
    fn new(assets: Vec<Asset>, catalogue: &Catalogue) -> Self {
        let known = assets
            .into_iter()
            .filter_map(|asset| {
                let class = catalogue
                    .classes
                    .iter()
                    .position(|c| c.name == asset.class)?;
                Some((asset.device, class))
            })
            .collect();
        Self {
            known,
            refused: BTreeMap::new(),
        }
    }

    fn say_refused(&self) -> String {
        let shown: Vec<String> = self
            .refused
            .iter()
            .take(UNKNOWN_SHOWN)
            .map(|(device, n)| format!("{device} ({n} lines)"))
            .collect();
        let more = self.refused.len().saturating_sub(UNKNOWN_SHOWN);
        format!(
            "unknown devices: {}{}; register them (forecare device add DEVICE --class CLASS), or add --register CLASS",
            shown.join(", "),
            if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            }
        )
    }
}

/// Where refused lines go.
struct Rejects {
    path: PathBuf,
    file: csv::Writer<File>,
    bytes: u64,
}

impl Rejects {
    /// Goes on behind the first `bytes`: what a killed run wrote after them is written again.
    fn open(path: &Path, bytes: u64) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .with_context(cannot)?;
        file.set_len(bytes).with_context(cannot)?;
        file.seek(SeekFrom::End(0)).with_context(cannot)?;
        let mut rejects = Self {
            path: path.to_owned(),
            file: csv::WriterBuilder::new().flexible(true).from_writer(file),
            bytes,
        };
        if bytes == 0 {
            rejects
                .file
                .write_record(["line", "reason", "as it stood there"])?;
        }
        Ok(rejects)
    }

    fn push(&mut self, record: &Record, reason: &str) -> Result<()> {
        let line = record.line.to_string();
        let head = [line.as_str(), reason].map(str::to_owned);
        let cells = record.cells.iter().map(|cell| match cell {
            Cell::Empty => String::new(),
            Cell::Text(text) => text.clone(),
            Cell::Number(value) => value.to_string(),
            Cell::Millis(ms) => Timestamp::from_millis(*ms).to_string(),
            Cell::Unreadable => "(no UTF-8)".to_owned(),
        });
        self.file.write_record(head.into_iter().chain(cells))?;
        Ok(())
    }

    /// On disk up to here.
    fn sync(&mut self) -> Result<u64> {
        self.file.flush()?;
        let file = self.file.get_ref();
        file.sync_data()?;
        self.bytes = file.metadata()?.len();
        Ok(self.bytes)
    }

    fn remove(self) -> Result<()> {
        drop(self.file);
        std::fs::remove_file(&self.path)
            .with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

/// The import of one file.
struct Import<'a> {
    store: &'a dyn Store,
    setting: &'a str,
    path: &'a Path,
    catalogue: &'a Catalogue,
    register: Option<&'a ClassName>,
    earliest: Timestamp,
    latest: Timestamp,
    now: Timestamp,
    rejects: Rejects,
    progressed: Progressed,
}

impl Import<'_> {
    async fn run(&mut self, args: &ReadArgs, devices: &mut Devices) -> Result<Counts> {
        let place = Place {
            at: self.progressed.at,
            lines: self.progressed.lines,
        };
        let mut reader = TableReader::open(self.path, place)?;
        let meaning = Meaning::of(&reader, args, self.catalogue)?;
        let progress = match reader.length() {
            Some(length) => Progress::bar(length, ""),
            None => Progress::line(),
        };
        let mut tenths = 0;
        loop {
            let mut batch = CommitBatch::default();
            let mut n_lines = 0;
            while n_lines < BATCH_ROWS
                && let Some(record) = reader
                    .next()
                    .with_context(|| self.path.display().to_string())?
            {
                n_lines += 1;
                if let Err(reason) = self.take(&meaning, &record, devices, &mut batch) {
                    self.progressed.counts.rejected += 1;
                    self.rejects.push(&record, &reason)?;
                }
            }
            let complete = n_lines < BATCH_ROWS;
            self.progressed.counts.rows += u64::try_from(batch.rows.len())?;
            self.progressed.counts.events += u64::try_from(batch.events.len())?;
            let receipt = self.store.commit_batch(batch).await.with_context(|| {
                format!(
                    "{}: stopped behind line {}; the same command goes on there",
                    self.path.display(),
                    self.progressed.lines
                )
            })?;
            self.progressed.counts.inserted += receipt.inserted;
            self.progressed.counts.duplicates += receipt.duplicates;
            self.progressed.counts.conflicts += receipt.conflicts;
            let place = reader.place();
            self.progressed.at = place.at;
            self.progressed.lines = place.lines;
            self.progressed.rejects_bytes = self.rejects.sync()?;
            self.progressed.complete = complete;
            // Behind the rows: a run killed in between stores them again, which changes nothing.
            self.store
                .put_setting(self.setting, &serde_json::to_string(&self.progressed)?)
                .await?;
            progress.set(place.at);
            let counts = self.progressed.counts;
            let n_taken = counts.rows + counts.events;
            progress.say(format!("{n_taken} lines"));
            if let (true, Some(length)) = (progress.is_plain(), reader.length())
                && place.at * 10 / length.max(1) > tenths
            {
                tenths = place.at * 10 / length.max(1);
                progress.note(&format!(
                    "{}: {}0 %, {n_taken} lines",
                    self.path.display(),
                    tenths
                ));
            }
            if complete {
                progress.finish();
                return Ok(self.progressed.counts);
            }
        }
    }

    /// Puts a record into the batch, or says why it cannot be used.
    fn take(
        &self,
        meaning: &Meaning,
        record: &Record,
        devices: &mut Devices,
        batch: &mut CommitBatch,
    ) -> Result<(), String> {
        let ts = meaning.keys().time(record)?;
        if ts < self.earliest {
            return Err(format!(
                "{ts} is before {}: the calendar's or store.retention_raw_days' limit",
                self.earliest
            ));
        }
        if ts > self.latest {
            return Err(format!("{ts} lies in the future"));
        }
        let device = meaning.keys().device(record)?;
        let class = match devices.known.get(&device) {
            Some(class) => *class,
            None => {
                let Some(name) = self.register else {
                    *devices.refused.entry(device.to_string()).or_default() += 1;
                    return Err(format!("device {device} is not registered"));
                };
                let class = self.catalogue.classes.iter().position(|c| c.name == *name);
                let (Some(class), Ok(id)) = (class, AssetId::new(device.as_str())) else {
                    return Err(format!("device {device} cannot be registered"));
                };
                batch.assets.push(Asset {
                    id,
                    device: device.clone(),
                    class: name.clone(),
                    name: device.to_string(),
                    site: String::new(),
                    depot: None,
                    registered_at: self.now,
                });
                devices.known.insert(device.clone(), class);
                class
            }
        };
        match meaning {
            Meaning::Readings(mapping) => {
                let row = mapping.row(record, device, ts, class)?;
                batch.rows.push(ScoredRow { row, health: None });
            }
            Meaning::Events(mapping) => batch.events.push(mapping.event(record, &device, ts)?),
        }
        Ok(())
    }
}
