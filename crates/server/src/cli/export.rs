//! `forecare export`: telemetry as CSV or Parquet, the rest as JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{Asset, ClassName, DeviceId, MetricName, Row, Timestamp};
use forecare_store::{AlarmFilter, PageRequest, Paged, Store, StoreError, TicketFilter};
use serde::Serialize;

use super::SERVE_HOME;
use super::instance::InstanceArgs;
use super::progress::Progress;
use crate::tables::{Format, PartialFile, TableWriter};

/// Rows asked from the store at a time.
const CHUNK_ROWS: usize = 20_000;
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
    /// A file per class and month (UTC) instead of one per class.
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

/// A day, or an RFC 3339 time.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    let day = format!("{text}T00:00:00Z");
    text.parse().or_else(|wrong| {
        day.parse()
            .map_err(|_no_day: forecare_domain::InvalidTimestamp| {
                format!("{wrong}, nor a day such as 2026-01-31")
            })
    })
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
            let months = if self.by_month {
                self.months(&devices).await?
            } else {
                vec![(None, self.span)]
            };
            let n_steps = devices.len() * months.len();
            if n_steps == 0 {
                continue;
            }
            let progress = Progress::bar(u64::try_from(n_steps)?, "devices");
            let mut n_done = 0;
            for (month, span) in &months {
                let path = self.path(&class.name, month.as_deref());
                let n_rows = self
                    .file(&path, class, &devices, *span, &progress, &mut n_done)
                    .await?;
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

    async fn file(
        &self,
        path: &Path,
        class: &AssetClass,
        devices: &[&DeviceId],
        span: Span,
        progress: &Progress,
        n_done: &mut u64,
    ) -> Result<u64> {
        let is_wanted = |name| self.metrics.as_ref().is_none_or(|m| m.contains(name));
        let columns: Vec<usize> = (0..class.metrics.len())
            .filter(|i| is_wanted(&class.metrics[*i].name))
            .collect();
        let mut writer = TableWriter::create(path, self.format, class, &columns)?;
        let mut n_rows = 0_u64;
        for device in devices {
            // The store gives what is later than a time.
            let mut after = before(span.from);
            loop {
                let rows = self.store.rows_after(device, after, CHUNK_ROWS).await?;
                let Some(last) = rows.last().map(|row| row.ts) else {
                    break;
                };
                after = Some(last);
                for row in rows.iter().take_while(|row| row.ts < span.to) {
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
                    writer.row(row, values, extra)?;
                    n_rows += 1;
                }
                progress.say(format!("{device}, {n_rows} rows"));
                if last >= span.to {
                    break;
                }
            }
            *n_done += 1;
            progress.set(*n_done);
        }
        writer.finish()?;
        Ok(n_rows)
    }

    /// The months (UTC) in which any of the devices has a reading in the span, or between two of them.
    async fn months(&self, devices: &[&DeviceId]) -> Result<Vec<(Option<String>, Span)>> {
        let mut first: Option<Timestamp> = None;
        let mut last: Option<Timestamp> = None;
        let before = before(self.span.from);
        for device in devices {
            if let Some(row) = self.store.rows_after(device, before, 1).await?.first() {
                first = Some(first.map_or(row.ts, |at| at.min(row.ts)));
                last = last.max(self.store.newest_reading(device).await?);
            }
        }
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Vec::new());
        };
        let mut months = Vec::new();
        let mut from = first;
        while from <= last && from < self.span.to {
            let (month, next) = month_of(from)?;
            let to = next.min(self.span.to);
            months.push((Some(month), Span { from, to }));
            if next <= from {
                // The last month that can be written.
                break;
            }
            from = next;
        }
        Ok(months)
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
