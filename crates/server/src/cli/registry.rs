//! `forecare registry`: master data in and out, beside a running service or without one.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use forecare_domain::{Actor, Channel, Clock};
use forecare_registry::{
    Body, Change, FileFormat, OutcomeKind, Person, RecordFault, RecordId, RecordKind, RecordRef,
    RecordWrite, RowError, UnknownKind, columns, from_text, row_errors, to_csv, to_json, writes,
};
use forecare_store::{
    Erasure, PageRequest, RecordCommit, RecordFilter, RecordPage, RecordsOutcome, Store,
    StoredRecord,
};

use super::SERVE_HOME;
use super::instance::InstanceArgs;
use super::progress::Progress;
use crate::clock::SystemClock;

/// Records read from the store in one call.
const CHUNK: usize = 1_000;
/// Largest file to import, bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Faults of a file that are shown.
const FAULTS_SHOWN_MAX: usize = 20;

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Records of a kind, one a line: id, version, title, when it changed.
    List(ListArgs),
    /// One record as JSON, or its history.
    Show(ShowArgs),
    /// Write one record from JSON, as `show` prints it.
    Put(PutArgs),
    /// Delete one record that nothing refers to; its history stays.
    Delete(DeleteArgs),
    /// Read records from a CSV or JSON file: all of them, or none where a line is wrong.
    Import(ImportArgs),
    /// Write records to a CSV or JSON file that `import` takes.
    Export(ExportArgs),
    /// Erase a person from a record and from every version in its history.
    Erase(EraseArgs),
    /// The columns of a CSV file.
    Columns(ColumnsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// customers, contracts, assets, locations, technicians, depots, vans, calendars, leads or articles.
    #[arg(value_parser = kind)]
    kind: RecordKind,
    /// Only those with this text in id or title.
    #[arg(long)]
    text: Option<String>,
    /// Only those that refer to this record, such as customer:C-17.
    #[arg(long, value_name = "KIND:ID", value_parser = reference)]
    refers_to: Option<RecordRef>,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its kind, such as customers.
    #[arg(value_parser = kind)]
    kind: RecordKind,
    /// Its id.
    #[arg(value_parser = id)]
    id: RecordId,
    /// Every version that is kept, newest first, with who wrote it.
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Its kind, such as customers.
    #[arg(value_parser = kind)]
    kind: RecordKind,
    /// Its id.
    #[arg(value_parser = id)]
    id: RecordId,
    /// File with its content; - for standard input.
    file: PathBuf,
    /// Only where the record still has this version; 0: only where there is none.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Its kind, such as customers.
    #[arg(value_parser = kind)]
    kind: RecordKind,
    /// Its id.
    #[arg(value_parser = id)]
    id: RecordId,
    /// Only where the record still has this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What the file holds, such as customers.
    #[arg(value_parser = kind)]
    kind: RecordKind,
    /// The file; - for standard input.
    file: PathBuf,
    /// By the file's ending where not given.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// What to write, such as customers.
    #[arg(value_parser = kind)]
    kind: RecordKind,
    /// The file; standard output where not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// By the file's ending where not given; csv on standard output.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EraseArgs {
    /// customers or technicians.
    #[arg(value_parser = kind)]
    kind: RecordKind,
    /// The record's id.
    #[arg(value_parser = id)]
    id: RecordId,
    /// Of a customer: the contact's id.
    #[arg(long, value_parser = id)]
    contact: Option<RecordId>,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ColumnsArgs {
    /// What the file holds, such as customers.
    #[arg(value_parser = kind)]
    kind: RecordKind,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// A line per record, a column per field.
    Csv,
    /// An array of {"id", "body"}.
    Json,
}

impl From<Format> for FileFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::Json => Self::Json,
        }
    }
}

fn kind(text: &str) -> Result<RecordKind, UnknownKind> {
    text.parse()
}

fn id(text: &str) -> Result<RecordId, forecare_domain::InvalidName> {
    RecordId::new(text)
}

fn reference(text: &str) -> Result<RecordRef, String> {
    let (kind, id) = text
        .split_once(':')
        .ok_or("use kind and id, such as customer:C-17")?;
    let kind = kind.parse().map_err(|e: UnknownKind| e.to_string())?;
    let id = RecordId::new(id).map_err(|e| e.to_string())?;
    Ok(RecordRef::new(kind, id))
}

/// Who works at this terminal.
fn operator() -> Actor {
    let name = std::env::var("USER").ok().filter(|name| !name.is_empty());
    Actor {
        name: name.unwrap_or_else(|| "operator".to_owned()),
        channel: Channel::Cli,
    }
}

fn format_of(given: Option<Format>, file: Option<&Path>) -> Result<FileFormat> {
    if let Some(format) = given {
        return Ok(format.into());
    }
    let ending = file.and_then(Path::extension).and_then(|e| e.to_str());
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => Ok(FileFormat::Csv),
        Some("json") => Ok(FileFormat::Json),
        Some(_) | None if file.is_none() => Ok(FileFormat::Csv),
        Some(_) | None => bail!("say --format csv or --format json: the file's ending does not"),
    }
}

pub(crate) async fn run(command: RegistryCommand) -> Result<()> {
    match command {
        RegistryCommand::List(args) => list(args).await,
        RegistryCommand::Show(args) => show(args).await,
        RegistryCommand::Put(args) => put(args).await,
        RegistryCommand::Delete(args) => {
            let write = RecordWrite {
                kind: args.kind,
                id: args.id,
                if_version: args.if_version,
                change: Change::Delete,
            };
            change(args.instance, write).await
        }
        RegistryCommand::Import(args) => import(args).await,
        RegistryCommand::Export(args) => export(args).await,
        RegistryCommand::Erase(args) => erase(args).await,
        RegistryCommand::Columns(args) => {
            println!("{}", columns(args.kind).join(","));
            Ok(())
        }
    }
}

/// Writes to standard output; a reader such as `head` may have seen enough.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// All records of a kind that fit.
async fn all(
    store: &dyn Store,
    kind: RecordKind,
    filter: &RecordFilter,
    progress: &Progress,
) -> Result<Vec<StoredRecord>> {
    let mut all: Vec<StoredRecord> = Vec::new();
    loop {
        let page = RecordPage {
            after: all.last().map(|r| r.record.id.clone()),
            limit: CHUNK,
        };
        let found = store.records(kind, filter, &page).await?;
        let is_last = found.len() < CHUNK;
        all.extend(found);
        if is_last {
            return Ok(all);
        }
        progress.say(format!("{} {} read", all.len(), kind.plural()));
    }
}

async fn list(args: ListArgs) -> Result<()> {
    let instance = args.instance.open(SERVE_HOME).await?;
    let store = instance.storage.store();
    let filter = RecordFilter {
        refers_to: args.refers_to,
        text: args.text,
    };
    let progress = Progress::line();
    let found = all(&*store, args.kind, &filter, &progress).await;
    progress.finish();
    let found = found?;
    let mut text = String::new();
    for record in &found {
        let title = record.body.as_ref().map_or("", Body::title);
        text += &format!(
            "{:<24} {:>4}  {}  {title}\n",
            record.record.id.as_str(),
            record.version,
            record.updated_at
        );
    }
    print(&text)?;
    eprintln!("{} {}", found.len(), args.kind.plural());
    instance.storage.close().await
}

async fn show(args: ShowArgs) -> Result<()> {
    let instance = args.instance.open(SERVE_HOME).await?;
    let store = instance.storage.store();
    let key = RecordRef::new(args.kind, args.id);
    let json = if args.history {
        let mut versions = Vec::new();
        let mut before = None;
        loop {
            let page = PageRequest {
                before,
                limit: CHUNK,
            };
            let found = store.record_history(&key, page).await?;
            before = found.last().map(|v| v.position);
            let is_last = found.len() < CHUNK;
            for version in found {
                let item = version.item;
                versions.push(serde_json::json!({
                    "version": item.version,
                    "action": item.action.label(),
                    "at": item.at,
                    "by": item.by,
                    "body": item.body.map(|b| b.to_value()),
                }));
            }
            if is_last {
                break;
            }
        }
        if versions.is_empty() {
            bail!("there is no {key}");
        }
        serde_json::Value::Array(versions)
    } else {
        let found = store.record(&key).await?;
        let Some(body) = found.and_then(|record| record.body) else {
            bail!("there is no {key}; --history shows whether there was");
        };
        body.to_value()
    };
    print(&format!("{}\n", serde_json::to_string_pretty(&json)?))?;
    instance.storage.close().await
}

async fn put(args: PutArgs) -> Result<()> {
    let text = read_file(&args.file)?;
    let value = serde_json::from_str(&text)
        .with_context(|| format!("{} is no JSON", args.file.display()))?;
    let body = Body::parse(args.kind, value).map_err(|faults| {
        let lines: Vec<String> = faults
            .0
            .iter()
            .map(|fault| match fault.field.as_str() {
                "" => fault.detail.clone(),
                field => format!("{field}: {}", fault.detail),
            })
            .collect();
        anyhow::anyhow!("nothing was stored:\n  {}", lines.join("\n  "))
    })?;
    let write = RecordWrite {
        kind: args.kind,
        id: args.id,
        if_version: args.if_version,
        change: Change::Put(Box::new(body)),
    };
    change(args.instance, write).await
}

/// Changes one record.
async fn change(instance: InstanceArgs, write: RecordWrite) -> Result<()> {
    let key = RecordRef::new(write.kind, write.id.clone());
    let instance = instance.open_to_change(SERVE_HOME).await?;
    let commit = RecordCommit {
        writes: vec![write],
        by: operator(),
        at: SystemClock.now(),
    };
    let done = instance.storage.store().commit_records(commit).await;
    let said = match done? {
        RecordsOutcome::Stored(outcomes) => {
            let what = outcomes.first().map_or("as before", |o| match o.kind {
                OutcomeKind::Created => "new",
                OutcomeKind::Updated => "changed",
                OutcomeKind::Unchanged => "as before",
                OutcomeKind::Deleted => "deleted",
            });
            Ok(format!("{key}: {what}"))
        }
        RecordsOutcome::Refused(faults) => Err(faults),
    };
    instance.storage.close().await?;
    match said {
        Ok(said) => {
            println!("{said}");
            Ok(())
        }
        Err(faults) => {
            let lines: Vec<String> = faults
                .iter()
                .map(|fault| match fault.field.as_str() {
                    "" => format!("{} {}", fault.record, fault.detail),
                    field => format!("{field}: {}", fault.detail),
                })
                .collect();
            bail!("nothing was stored:\n  {}", lines.join("\n  "))
        }
    }
}

fn read_file(file: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let n_max = FILE_BYTES_MAX + 1;
    if file == Path::new("-") {
        std::io::stdin().take(n_max).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .take(n_max)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("the file has more than {FILE_BYTES_MAX} bytes: import it in parts");
    }
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", file.display()))
}

/// The faults of a file, a line each.
fn refused(errors: &[RowError]) -> anyhow::Error {
    let shown = errors.iter().take(FAULTS_SHOWN_MAX);
    let mut lines: Vec<String> = shown.map(ToString::to_string).collect();
    if let Some(more) = errors.len().checked_sub(FAULTS_SHOWN_MAX)
        && more > 0
    {
        lines.push(format!("and {more} more"));
    }
    anyhow::anyhow!("nothing was imported:\n  {}", lines.join("\n  "))
}

async fn import(args: ImportArgs) -> Result<()> {
    let kind = args.kind;
    let file = Some(args.file.as_path()).filter(|file| *file != Path::new("-"));
    let format = format_of(args.format, file)?;
    let text = read_file(&args.file)?;
    let entries = from_text(kind, format, &text).map_err(|errors| refused(&errors))?;
    let instance = args.instance.open_to_change(SERVE_HOME).await?;
    let progress = Progress::line();
    progress.say(format!(
        "{} {} are checked and stored",
        entries.len(),
        kind.plural()
    ));
    let commit = RecordCommit {
        writes: writes(kind, &entries),
        by: operator(),
        at: SystemClock.now(),
    };
    let done = instance.storage.store().commit_records(commit).await;
    progress.finish();
    let faults: Vec<RecordFault> = match done? {
        RecordsOutcome::Stored(outcomes) => {
            let count = |kind| outcomes.iter().filter(|o| o.kind == kind).count();
            println!(
                "{} {}: {} new, {} changed, {} as before",
                outcomes.len(),
                kind.plural(),
                count(OutcomeKind::Created),
                count(OutcomeKind::Updated),
                count(OutcomeKind::Unchanged)
            );
            return instance.storage.close().await;
        }
        RecordsOutcome::Refused(faults) => faults,
    };
    instance.storage.close().await?;
    Err(refused(&row_errors(&entries, faults)))
}

async fn export(args: ExportArgs) -> Result<()> {
    let kind = args.kind;
    let format = format_of(args.format, args.out.as_deref())?;
    let instance = args.instance.open(SERVE_HOME).await?;
    let store = instance.storage.store();
    let progress = Progress::line();
    let found = all(&*store, kind, &RecordFilter::default(), &progress).await;
    progress.finish();
    let bodies: Vec<(RecordId, Body)> = found?
        .into_iter()
        .filter_map(|r| Some((r.record.id, r.body?)))
        .collect();
    let pairs = bodies.iter().map(|(id, body)| (id, body));
    let text = match format {
        FileFormat::Csv => to_csv(kind, pairs),
        FileFormat::Json => to_json(pairs),
    };
    match &args.out {
        None => print(&text)?,
        Some(file) => {
            std::fs::write(file, text)
                .with_context(|| format!("cannot write {}", file.display()))?;
            eprintln!("{} {} in {}", bodies.len(), kind.plural(), file.display());
        }
    }
    instance.storage.close().await
}

async fn erase(args: EraseArgs) -> Result<()> {
    let person = match (args.kind, args.contact) {
        (RecordKind::Customer, Some(contact)) => Person::Contact(contact),
        (RecordKind::Technician, None) => Person::Technician,
        (RecordKind::Customer, None) => bail!("name the contact with --contact ID"),
        _ => bail!("people are erased from customers (--contact ID) and technicians"),
    };
    let instance = args.instance.open_to_change(SERVE_HOME).await?;
    let erasure = Erasure {
        record: RecordRef::new(args.kind, args.id),
        person,
        by: operator(),
        at: SystemClock.now(),
    };
    let after = instance.storage.store().erase_person(erasure).await?;
    println!(
        "erased from {} and its history, which now ends with version {}; backups, exports and files on other machines are not reached",
        after.record, after.version
    );
    instance.storage.close().await
}
