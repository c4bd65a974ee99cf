//! `forecare export`: telemetry as CSV or Parquet, the rest as JSON lines.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{Asset, ClassName, DeviceId, MetricName, Row, Timestamp};
use forecare_store::{AlarmFilter, PageRequest, Paged, Store, StoreError, TicketFilter};
use serde::Serialize;

use super::SERVE_HOME;
use super::instance::{InstanceArgs, instant};
use super::progress::Progress;
use crate::tables::{Format, PartialFile, TableWriter};

/// Rows asked from the store at a time.
const CHUNK_ROWS: usize = 20_000;
/// Rows that Parquet files hold in memory, all together.
const HELD_ROWS_MAX: usize = 200_000;
/// Files written at once: a system lets a process have some 1,024 open.
const FILES_MAX: usize = 600;
/// Records asked from the store at a time.
const PAGE: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Directory for the files; made where it is missing. A file there with the same name is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What to export.
    #[arg(
        long = "what",
        value_enum,
        value_delimiter = ',',
        default_value = "telemetry"
    )]
    what: Vec<What>,
    /// Shape of the telemetry's files; events, alarms and tickets are JSON lines.
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Only these assets (or their devices); may be given several times.
    #[arg(long = "asset", value_name = "ID")]
    assets: Vec<String>,
    /// Only assets of these classes; may be given several times.
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// Only these metrics; may be given several times.
    #[arg(long = "metric", value_name = "METRIC")]
    metrics: Vec<String>,
    /// Readings and events from this time on: 2026-01-31 or 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Readings and events before this time.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// A file per class and month (UTC) that has readings, instead of one per class.
    #[arg(long)]
    by_month: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum What {
    /// Readings.
    Telemetry,
    /// What devices reported beside measurements.
    Events,
    /// Alarm episodes.
    Alarms,
    /// Tickets.
    Tickets,
}

/// Readings from, inclusive, to, exclusive.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: Timestamp,
    to: Timestamp,
}

pub(crate) async fn run(args: ExportArgs) -> Result<()> {
    let span = Span {
        from: args.from.unwrap_or(Timestamp::MIN),
        to: args.to.unwrap_or(Timestamp::MAX),
    };
    if span.from >= span.to {
        bail!("--from must be before --to");
    }
    let instance = args.instance.open(SERVE_HOME).await?;
    let store = instance.storage.store();
    let assets = chosen(
        store.assets().await?,
        &instance.catalogue,
        &args.assets,
        &args.classes,
    )?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the directory {}", args.out.display()))?;
    let what: BTreeSet<What> = args.what.into_iter().collect();
    for kind in what {
        match kind {
            What::Telemetry => {
                let telemetry = Telemetry {
                    store: &*store,
                    out: &args.out,
                    format: args.format,
                    metrics: metrics(&instance.catalogue, &args.metrics)?,
                    span,
                    by_month: args.by_month,
                };
                telemetry.export(&instance.catalogue, &assets).await?;
            }
            What::Events => {
                let file = args.out.join("events.jsonl");
                lines(
                    &file,
                    |page| store.events(None, page),
                    |event| {
                        is_chosen(&assets, &event.device)
                            && span.from <= event.ts
                            && event.ts < span.to
                    },
                )
                .await?;
            }
            What::Alarms => {
                let filter = AlarmFilter::default();
                let file = args.out.join("alarms.jsonl");
                lines(
                    &file,
                    |page| store.alarms(&filter, page),
                    |alarm| is_chosen(&assets, &alarm.device),
                )
                .await?;
            }
            What::Tickets => {
                let filter = TicketFilter::default();
                let file = args.out.join("tickets.jsonl");
                lines(
                    &file,
                    |page| store.tickets(&filter, page),
                    |ticket| is_chosen(&assets, &ticket.device),
                )
                .await?;
            }
        }
    }
    drop(store);
    instance.storage.close().await
}

fn is_chosen(assets: &BTreeMap<DeviceId, Asset>, device: &DeviceId) -> bool {
    assets.contains_key(device)
}

/// The assets that were asked for, by device.
fn chosen(
    all: Vec<Asset>,
    catalogue: &Catalogue,
    names: &[String],
    classes: &[String],
) -> Result<BTreeMap<DeviceId, Asset>> {
    for class in classes {
        let known: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
        if !known.contains(&class.as_str()) {
            bail!(
                "the catalogue has no class \"{class}\"; it has {}",
                known.join(", ")
            );
        }
    }
    let is_named =
        |asset: &Asset, name: &str| asset.id.as_str() == name || asset.device.as_str() == name;
    for name in names {
        if !all.iter().any(|asset| is_named(asset, name)) {
            bail!("there is no asset \"{name}\"; GET /api/v1/assets lists them");
        }
    }
    Ok(all
        .into_iter()
        .filter(|asset| names.is_empty() || names.iter().any(|name| is_named(asset, name)))
        .filter(|asset| classes.is_empty() || classes.iter().any(|c| c == asset.class.as_str()))
        .map(|asset| (asset.device.clone(), asset))
        .collect())
}

/// The metrics that were asked for; `None`: all.
fn metrics(catalogue: &Catalogue, names: &[String]) -> Result<Option<BTreeSet<MetricName>>> {
    if names.is_empty() {
        return Ok(None);
    }
    let known: BTreeSet<&str> = catalogue
        .classes
        .iter()
        .flat_map(|class| class.metrics.iter().map(|m| m.name.as_str()))
        .collect();
    let mut metrics = BTreeSet::new();
    for name in names {
        if !known.contains(name.as_str()) {
            bail!(
                "no class of the catalogue has a metric \"{name}\"; they have {}",
                known.into_iter().collect::<Vec<_>>().join(", ")
            );
        }
        metrics.insert(MetricName::new(name)?);
    }
    Ok(Some(metrics))
}

struct Telemetry<'a> {
    store: &'a dyn Store,
    out: &'a Path,
    format: Format,
    /// `None`: all, those beyond the catalogue too.
    metrics: Option<BTreeSet<MetricName>>,
    span: Span,
    by_month: bool,
}

impl Telemetry<'_> {
    async fn export(
        &self,
        catalogue: &Catalogue,
        assets: &BTreeMap<DeviceId, Asset>,
    ) -> Result<()> {
        for class in &catalogue.classes {
            let devices: Vec<&DeviceId> = assets
                .values()
                .filter(|asset| asset.class == class.name)
                .map(|asset| &asset.device)
                .collect();
            if devices.is_empty() {
                continue;
            }
            let progress = Progress::bar(u64::try_from(devices.len())?, "devices");
            let mut files = Files::new(self, class);
            if !self.by_month {
                // There also where it has no rows.
                files.open(None)?;
            }
            let mut n_done = 0;
            for device in devices {
                self.device(device, class, &mut files, &progress).await?;
                n_done += 1;
                progress.set(n_done);
            }
            for (path, n_rows) in files.finish()? {
                progress.note(&format!("{}: {n_rows} rows", path.display()));
            }
            progress.finish();
        }
        Ok(())
    }

    fn path(&self, class: &ClassName, month: Option<&str>) -> PathBuf {
        let month = month.map(|m| format!("-{m}")).unwrap_or_default();
        self.out.join(format!(
            "telemetry-{class}{month}.{}",
            self.format.extension()
        ))
    }

    /// Reads a device once, from its first row of the span to its last.
    async fn device(
        &self,
        device: &DeviceId,
        class: &AssetClass,
        files: &mut Files<'_>,
        progress: &Progress,
    ) -> Result<()> {
        let columns = self.columns(class);
        // The store gives what is later than a time.
        let mut after = before(self.span.from);
        loop {
            let rows = self.store.rows_after(device, after, CHUNK_ROWS).await?;
            let Some(last) = rows.last().map(|row| row.ts) else {
                return Ok(());
            };
            after = Some(last);
            for row in rows.iter().take_while(|row| row.ts < self.span.to) {
                let extra = if self.metrics.is_none() {
                    extra(row)?
                } else {
                    None
                };
                let values = columns
                    .iter()
                    .map(|i| row.values.get(*i).copied().flatten());
                if extra.is_none() && values.clone().all(|v| v.is_none()) {
                    continue;
                }
                files.of(row.ts)?.row(row, values, extra)?;
            }
            files.bound_memory()?;
            progress.say(format!("{device}, {} rows", files.n_rows()));
            if last >= self.span.to {
                return Ok(());
            }
        }
    }

    /// Places of the wanted metrics in the class.
    fn columns(&self, class: &AssetClass) -> Vec<usize> {
        let is_wanted = |name| self.metrics.as_ref().is_none_or(|m| m.contains(name));
        (0..class.metrics.len())
            .filter(|i| is_wanted(&class.metrics[*i].name))
            .collect()
    }
}

/// The files of one class: one, or one for each month that has rows.
struct Files<'a> {
    telemetry: &'a Telemetry<'a>,
    class: &'a AssetClass,
    open: BTreeMap<Option<String>, OpenFile>,
    /// The file of the last row, and the time that it holds, epoch ms.
    current: Option<(Option<String>, Range<i64>)>,
}

struct OpenFile {
    path: PathBuf,
    writer: TableWriter,
    n_rows: u64,
}

impl OpenFile {
    fn row(
        &mut self,
        row: &Row,
        values: impl Iterator<Item = Option<f64>>,
        extra: Option<String>,
    ) -> Result<()> {
        self.n_rows += 1;
        self.writer.row(row, values, extra)
    }
}

impl<'a> Files<'a> {
    fn new(telemetry: &'a Telemetry<'a>, class: &'a AssetClass) -> Self {
        Self {
            telemetry,
            class,
            open: BTreeMap::new(),
            current: None,
        }
    }

    /// The file that a row of this time belongs into.
    fn of(&mut self, at: Timestamp) -> Result<&mut OpenFile> {
        if !self.telemetry.by_month {
            return self.open(None);
        }
        let at_ms = at.as_millis();
        let month = match &self.current {
            Some((month, held)) if held.contains(&at_ms) => month.clone(),
            _ => {
                let (month, next) = month_of(at)?;
                let month = Some(month);
                // Rows of a device come in order of time; the next device's begin anew.
                self.current = Some((month.clone(), at_ms..next.as_millis()));
                month
            }
        };
        self.open(month)
    }

    fn open(&mut self, month: Option<String>) -> Result<&mut OpenFile> {
        if self.open.len() >= FILES_MAX && !self.open.contains_key(&month) {
            bail!(
                "the readings lie in more than {FILES_MAX} months, and as many files would be open at once: export a part of them with --from and --to"
            );
        }
        match self.open.entry(month) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let path = self
                    .telemetry
                    .path(&self.class.name, entry.key().as_deref());
                let columns = self.telemetry.columns(self.class);
                let format = self.telemetry.format;
                let writer = TableWriter::create(&path, format, self.class, &columns)?;
                Ok(entry.insert(OpenFile {
                    path,
                    writer,
                    n_rows: 0,
                }))
            }
        }
    }

    /// Writes what the fullest files hold, until all together hold few enough.
    fn bound_memory(&mut self) -> Result<()> {
        let mut n_held: usize = self.open.values().map(|f| f.writer.held_rows()).sum();
        while n_held > HELD_ROWS_MAX
            && let Some(fullest) = self.open.values_mut().max_by_key(|f| f.writer.held_rows())
        {
            n_held -= fullest.writer.held_rows();
            fullest.writer.flush_rows()?;
        }
        Ok(())
    }

    fn n_rows(&self) -> u64 {
        self.open.values().map(|file| file.n_rows).sum()
    }

    /// Completes the files; each with its rows, in order of time.
    fn finish(self) -> Result<Vec<(PathBuf, u64)>> {
        self.open
            .into_values()
            .map(|file| {
                file.writer.finish()?;
                Ok((file.path, file.n_rows))
            })
            .collect()
    }
}

/// The last instant before `from`; `None` where there is none.
fn before(from: Timestamp) -> Option<Timestamp> {
    (from > Timestamp::MIN).then(|| Timestamp::from_millis(from.as_millis() - 1))
}

/// The month of an instant, as 2026-01, and the begin of the next one.
fn month_of(at: Timestamp) -> Result<(String, Timestamp)> {
    let text = at.to_string();
    let (month, _) = text.split_at("2026-01".len());
    let first: Timestamp = format!("{month}-01T00:00:00Z").parse()?;
    // 31 days later it is the next month, whatever the month; back to its first day.
    let later = first.plus_hours(31.0 * 24.0).to_string();
    let (next, _) = later.split_at("2026-01".len());
    Ok((month.to_owned(), format!("{next}-01T00:00:00Z").parse()?))
}

/// The metrics beyond the class's, as a JSON object; `None` where there are none.
fn extra(row: &Row) -> Result<Option<String>> {
    if row.extra.is_empty() {
        return Ok(None);
    }
    let object: BTreeMap<&str, f64> = row.extra.iter().map(|(m, v)| (m.as_str(), *v)).collect();
    Ok(Some(serde_json::to_string(&object)?))
}

/// Writes the records that `is_wanted`, newest first, one JSON object a line.
async fn lines<T, R>(
    path: &Path,
    read: impl Fn(PageRequest) -> R,
    is_wanted: impl Fn(&T) -> bool,
) -> Result<()>
where
    T: Serialize,
    R: Future<Output = Result<Vec<Paged<T>>, StoreError>>,
{
    let mut file = PartialFile::create(path)?;
    let progress = Progress::line();
    let mut before = None;
    let mut n_records = 0_u64;
    loop {
        let page = read(PageRequest {
            before,
            limit: PAGE,
        })
        .await?;
        let Some(last) = page.last() else { break };
        before = Some(last.position);
        for record in page.iter().filter(|p| is_wanted(&p.item)) {
            serde_json::to_writer(&mut file, &record.item)?;
            file.write_all(b"\n")?;
            n_records += 1;
        }
        progress.say(format!("{}: {n_records} records", path.display()));
    }
    file.finish()?;
    progress.note(&format!("{}: {n_records} records", path.display()));
    progress.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_over_the_year() {
        let at: Timestamp = "2024-12-31T23:59:59.999Z".parse().unwrap();
        let (month, next) = month_of(at).unwrap();
        assert_eq!(
            (month.as_str(), next.to_string().as_str()),
            ("2024-12", "2025-01-01T00:00:00Z")
        );
        assert_eq!(
            month_of("2024-02-29T00:00:00Z".parse().unwrap())
                .unwrap()
                .1
                .to_string(),
            "2024-03-01T00:00:00Z"
        );
    }

    #[test]
    fn a_day_is_a_time() {
        assert_eq!(
            instant("2026-01-31").unwrap().to_string(),
            "2026-01-31T00:00:00Z"
        );
        assert!(instant("January").unwrap_err().contains("2026-01-31"));
    }
}
