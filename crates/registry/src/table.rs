//! Records as files: CSV with a column per field, or JSON. What is written reads back as the same.

use serde_json::{Map, Value};

use crate::columns::{Form, columns, layout};
use crate::id::RecordId;
use crate::kind::RecordKind;
use crate::plan::{Change, RecordFault, RecordWrite};
use crate::record::Body;
use crate::wording::in_words;

/// Faults of a file reported at most; the first ones.
pub const ROW_ERRORS_MAX: usize = 100;

/// A record read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Line of the file where it begins, from 1; of JSON, its place in the array.
    pub line: u64,
    /// Its id.
    pub id: RecordId,
    /// Only where the record still has this version; 0: only where there is none.
    pub if_version: Option<i64>,
    /// Its content.
    pub body: Body,
}

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RowError {
    /// Line of the file, from 1; of JSON, the place in the array.
    pub line: u64,
    /// The column, or the field's path.
    pub column: String,
    /// What is wrong, and what is allowed.
    pub detail: String,
}

impl std::fmt::Display for RowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.column.is_empty() {
            write!(f, ", column {}", self.column)?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// How a file of records is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// A line per record, a column per field.
    Csv,
    /// An array of objects.
    Json,
}

/// What a spreadsheet would take for a formula, or a quote that hides one.
fn is_risky(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\''])
}

/// A text as a cell: where a spreadsheet would reckon with it, a quote stands before it.
fn guarded(text: &str) -> String {
    if is_risky(text) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'')
        .filter(|rest| is_risky(rest))
        .unwrap_or(cell)
}

fn cell(value: Option<&Value>, form: Form) -> String {
    let text = text_of(value, form);
    match form {
        Form::Text | Form::Names => guarded(&text),
        Form::Number | Form::Flag | Form::Channels | Form::Json => text,
    }
}

/// A value as text: empty where there is none.
pub(crate) fn text_of(value: Option<&Value>, form: Form) -> String {
    match (value, form) {
        (None | Some(Value::Null), _) => String::new(),
        (Some(Value::String(text)), Form::Text) => text.clone(),
        (Some(Value::Array(names)), Form::Names) => joined(names),
        (Some(Value::Array(list)), _) if list.is_empty() => String::new(),
        (Some(value @ Value::Array(list)), Form::Channels) => {
            let texts: Option<Vec<String>> = list.iter().map(channel).collect();
            texts.map_or_else(|| value.to_string(), |texts| texts.join("; "))
        }
        (Some(value), _) => value.to_string(),
    }
}

/// A channel as `email:ops@example.com`; `None` where that would not read back as the same.
fn channel(value: &Value) -> Option<String> {
    let (kind, address) = (
        value.get("kind")?.as_str()?,
        value.get("address")?.as_str()?,
    );
    let is_plain = value.as_object()?.len() == 2 && !address.contains(';');
    is_plain.then(|| format!("{kind}:{address}"))
}

fn joined(names: &[Value]) -> String {
    let texts: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
    match texts {
        Some(texts)
            if texts
                .iter()
                .all(|t| !t.is_empty() && !t.contains(';') && t.trim() == *t)
                && !texts.first().is_some_and(|t| t.starts_with('[')) =>
        {
            texts.join(";")
        }
        Some(_) | None => Value::Array(names.to_vec()).to_string(),
    }
}

/// The value of a text that is not empty.
pub(crate) fn value_of(cell: &str, form: Form) -> Result<Value, String> {
    let json = |text: &str| serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}"));
    match form {
        Form::Text => Ok(Value::String(cell.to_owned())),
        Form::Number => match serde_json::from_str(cell) {
            Ok(value @ Value::Number(_)) => Ok(value),
            Ok(_) | Err(_) => Err(format!("\"{cell}\" is no number such as 12.5")),
        },
        Form::Flag => match cell {
            "true" | "TRUE" => Ok(Value::Bool(true)),
            "false" | "FALSE" => Ok(Value::Bool(false)),
            _ => Err(format!("\"{cell}\" is neither true nor false")),
        },
        Form::Names | Form::Channels if cell.starts_with('[') => json(cell),
        Form::Names => {
            let names = cell
                .split(';')
                .map(|name| Value::String(name.trim().to_owned()));
            Ok(Value::Array(names.collect()))
        }
        Form::Channels => {
            let channels = cell.split(';').filter(|text| !text.trim().is_empty());
            let channels = channels.map(|text| match text.split_once(':') {
                Some((kind, address)) => {
                    Ok(serde_json::json!({ "kind": kind.trim(), "address": address.trim() }))
                }
                None => Err(format!(
                    "\"{}\" is no channel such as email:ops@example.com",
                    text.trim()
                )),
            });
            channels.collect()
        }
        Form::Json => json(cell),
    }
}

pub(crate) fn get<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(body, |value, key| value.get(key))
}

pub(crate) fn set(body: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            body.insert(path.to_owned(), value);
        }
        Some((outer, inner)) => {
            let nested = body
                .entry(outer)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(nested) = nested {
                set(nested, inner, value);
            }
        }
    }
}

/// `records` as CSV with a header.
#[must_use]
pub fn to_csv<'a>(
    kind: RecordKind,
    records: impl IntoIterator<Item = (&'a RecordId, &'a Body)>,
) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail, and every record has as many cells as the header.
    let mut write = |cells: &[String]| writer.write_record(cells).ok();
    let header: Vec<String> = columns(kind).into_iter().map(str::to_owned).collect();
    write(&header);
    for (id, body) in records {
        let body = body.to_value();
        let mut cells = vec![guarded(id.as_str())];
        let rest = layout(kind).iter();
        cells.extend(rest.map(|(path, form)| cell(get(&body, path), *form)));
        write(&cells);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// `records` as a JSON array of `{"id": ..., "body": {...}}`.
#[must_use]
pub fn to_json<'a>(records: impl IntoIterator<Item = (&'a RecordId, &'a Body)>) -> String {
    let all: Vec<Value> = records
        .into_iter()
        .map(|(id, body)| serde_json::json!({ "id": id, "body": body.to_value() }))
        .collect();
    let mut text = serde_json::to_string_pretty(&all).unwrap_or_default();
    text.push('\n');
    text
}

struct Errors(Vec<RowError>);

impl Errors {
    fn add(&mut self, line: u64, column: &str, detail: impl Into<String>) {
        if self.0.len() < ROW_ERRORS_MAX {
            self.0.push(RowError {
                line,
                column: column.to_owned(),
                detail: detail.into(),
            });
        }
    }

    fn end(self, entries: Vec<Entry>) -> Result<Vec<Entry>, Vec<RowError>> {
        if self.0.is_empty() {
            Ok(entries)
        } else {
            Err(self.0)
        }
    }
}

fn parse_id(text: &str, line: u64, errors: &mut Errors) -> Option<RecordId> {
    RecordId::new(text)
        .map_err(|e| errors.add(line, "id", e.to_string()))
        .ok()
}

/// What separates the columns of a header that has no comma.
fn other_separator(header: &str) -> Option<&'static str> {
    [(';', "semicolons (;)"), ('\t', "tabs"), ('|', "bars (|)")]
        .into_iter()
        .find_map(|(sign, words)| header.contains(sign).then_some(words))
}

/// Reads CSV with a header: `id`, the columns of `kind` in any order (missing ones are as empty), and, where wanted,
/// `if_version`.
///
/// # Errors
/// Every fault with its line and column, the first hundred.
pub fn from_csv(kind: RecordKind, text: &str) -> Result<Vec<Entry>, Vec<RowError>> {
    let mut errors = Errors(Vec::new());
    // Spreadsheets write a mark at the begin.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(text.as_bytes());
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect(),
        Err(error) => {
            errors.add(1, "", error.to_string());
            return Err(errors.0);
        }
    };
    if let [only] = header.as_slice()
        && let Some(found) = other_separator(only)
    {
        let what = format!(
            "the columns are separated by {found}; separate them by commas (a spreadsheet asks for the separator when it saves, or takes the one of the system's region)"
        );
        errors.add(1, "", what);
        return Err(errors.0);
    }
    let known = columns(kind);
    for (i, name) in header.iter().enumerate() {
        if header.iter().take(i).any(|other| other == name) {
            errors.add(1, name, "this column comes twice");
        } else if !known.contains(&name.as_str()) && name != "if_version" {
            let all = known.join(", ");
            errors.add(
                1,
                name,
                format!("is no column of {}; they are {all}", kind.plural()),
            );
        }
    }
    if !header.iter().any(|name| name == "id") {
        errors.add(1, "id", "this column is missing");
    }
    if !errors.0.is_empty() {
        return Err(errors.0);
    }
    let mut entries = Vec::new();
    for row in reader.records() {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                errors.add(line, "", error.to_string());
                break;
            }
        };
        let line = row.position().map_or(0, csv::Position::line);
        if row.len() != header.len() {
            let detail = format!("has {} cells, the header {}", row.len(), header.len());
            errors.add(line, "", detail);
            continue;
        }
        let n_errors = errors.0.len();
        let mut id = None;
        let mut if_version = None;
        let mut body = Map::new();
        for (name, text) in header.iter().zip(&row) {
            if name == "id" {
                id = parse_id(unguarded(text), line, &mut errors);
            } else if text.is_empty() {
            } else if name == "if_version" {
                match text.parse() {
                    Ok(version) => if_version = Some(version),
                    Err(_) => errors.add(line, name, format!("\"{text}\" is no version")),
                }
            } else if let Some((path, form)) = layout(kind).iter().find(|(p, _)| p == name) {
                let text = match form {
                    Form::Text | Form::Names => unguarded(text),
                    Form::Number | Form::Flag | Form::Channels | Form::Json => text,
                };
                match value_of(text, *form) {
                    Ok(value) => set(&mut body, path, value),
                    Err(detail) => errors.add(line, name, detail),
                }
            }
        }
        if errors.0.len() > n_errors {
            continue;
        }
        take(
            kind,
            line,
            id,
            if_version,
            Value::Object(body),
            &mut errors,
            &mut entries,
        );
    }
    errors.end(entries)
}

fn take(
    kind: RecordKind,
    line: u64,
    id: Option<RecordId>,
    if_version: Option<i64>,
    body: Value,
    errors: &mut Errors,
    entries: &mut Vec<Entry>,
) {
    match (id, Body::parse(kind, body)) {
        (Some(id), Ok(body)) => entries.push(Entry {
            line,
            id,
            if_version,
            body,
        }),
        (_, Err(faults)) => {
            for fault in faults.0 {
                errors.add(line, &fault.field, fault.detail);
            }
        }
        (None, Ok(_)) => {}
    }
}

/// Reads a file's text by its format.
///
/// # Errors
/// As [`from_csv`] and [`from_json`].
pub fn from_text(
    kind: RecordKind,
    format: FileFormat,
    text: &str,
) -> Result<Vec<Entry>, Vec<RowError>> {
    match format {
        FileFormat::Csv => from_csv(kind, text),
        FileFormat::Json => from_json(kind, text),
    }
}

/// The changes that `entries` ask for, in their order.
#[must_use]
pub fn writes(kind: RecordKind, entries: &[Entry]) -> Vec<RecordWrite> {
    entries
        .iter()
        .map(|entry| RecordWrite {
            kind,
            id: entry.id.clone(),
            if_version: entry.if_version,
            change: Change::Put(Box::new(entry.body.clone())),
        })
        .collect()
}

/// What the store refused of [`writes`], by line; the first hundred.
#[must_use]
pub fn row_errors(entries: &[Entry], faults: Vec<RecordFault>) -> Vec<RowError> {
    faults
        .into_iter()
        .take(ROW_ERRORS_MAX)
        .map(|fault| RowError {
            line: entries.get(fault.index).map_or(0, |entry| entry.line),
            column: fault.field,
            detail: fault.detail,
        })
        .collect()
}

/// Reads a JSON array of `{"id": ..., "if_version": ..., "body": {...}}`.
///
/// # Errors
/// Every fault with its place in the array and its field, the first hundred.
pub fn from_json(kind: RecordKind, text: &str) -> Result<Vec<Entry>, Vec<RowError>> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        id: String,
        if_version: Option<i64>,
        body: Value,
    }
    let mut errors = Errors(Vec::new());
    let all: Vec<Value> = match serde_json::from_str(text) {
        Ok(all) => all,
        Err(error) => {
            let line = u64::try_from(error.line()).unwrap_or_default();
            errors.add(line, "", format!("is no JSON array: {error}"));
            return Err(errors.0);
        }
    };
    let mut entries = Vec::new();
    for (i, value) in all.into_iter().enumerate() {
        let line = u64::try_from(i + 1).unwrap_or(u64::MAX);
        match serde_json::from_value::<Given>(value) {
            Ok(given) => {
                let id = parse_id(&given.id, line, &mut errors);
                take(
                    kind,
                    line,
                    id,
                    given.if_version,
                    given.body,
                    &mut errors,
                    &mut entries,
                );
            }
            Err(error) => errors.add(line, "", in_words(&error.to_string())),
        }
    }
    errors.end(entries)
}
