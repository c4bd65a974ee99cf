//! Records as forms: a field per column of the CSV file, and lists of entries as rows of fields. What is shown and sent
//! back unchanged is the same record.

use serde_json::{Map, Value};

use crate::columns::{Column, Form, layout};
use crate::fault::{Fault, Faults};
use crate::kind::RecordKind;
use crate::table::{get, set, text_of, value_of};

/// Rows of one list that are read at most.
const ROWS_MAX: usize = 5_000;
/// Name of a row's field that carries what no other field of the row shows.
const REST: &str = "~";

/// How a field is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// One line.
    Line,
    /// Several lines.
    Note,
    /// A number.
    Number,
    /// A day, as `2026-12-31`.
    Day,
    /// `true`, `false`, or empty.
    Flag,
    /// One of these, or empty.
    Choice(&'static [&'static str]),
    /// Names with `;` between them.
    Names,
    /// Channels with `;` between them: `email:ops@example.com; phone:+49 40 1234`.
    Channels,
    /// The id of a record of this kind.
    Reference(RecordKind),
    /// JSON.
    Json,
    /// Not to be seen, only to be sent back.
    Hidden,
}

impl Input {
    /// The kind of record that is referred to, if any is.
    #[must_use]
    pub fn reference(self) -> Option<RecordKind> {
        if let Self::Reference(kind) = self {
            Some(kind)
        } else {
            None
        }
    }
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormField {
    /// Its name in the form: the path, `contacts.0.name`.
    pub name: String,
    /// The last part of the path, or of those that stand alone the whole: `name`, `value.yearly`.
    pub title: &'static str,
    /// How it is filled in.
    pub input: Input,
    /// What stands in it.
    pub value: String,
}

/// What a form shows, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormItem {
    /// One field.
    Field(FormField),
    /// A list of entries: a row of fields for each, then empty rows for more.
    List {
        /// The list's path.
        title: &'static str,
        /// The rows.
        rows: Vec<Vec<FormField>>,
    },
}

const CHANNELS: &[&str] = &[
    "email", "phone", "sms", "wecom", "dingtalk", "slack", "webhook",
];
const PURPOSES: &[&str] = &[
    "service",
    "prediction",
    "model_training",
    "survey",
    "marketing",
];

/// The fields of an entry of the list at `path`; `None`: the list is shown as JSON.
fn entry(path: &str) -> Option<&'static [Column]> {
    use Form::{Channels, Flag, Json, Names, Number, Text};
    Some(match path {
        "contacts" => &[
            ("id", Text),
            ("name", Text),
            ("role", Text),
            ("language", Text),
            ("time_zone", Text),
            ("channels", Channels),
            ("consents", Json),
        ],
        "data_consents" => &[
            ("purpose", Text),
            ("given", Flag),
            ("at", Text),
            ("until", Text),
        ],
        "targets" => &[
            ("priority", Text),
            ("response_hours", Number),
            ("resolution_hours", Number),
        ],
        "certificates" => &[("name", Text), ("number", Text), ("valid_until", Text)],
        "channels" => &[("kind", Text), ("address", Text)],
        "positions" => &[("location", Text), ("from", Text), ("to", Text)],
        "bill_of_parts" => &[
            ("part", Text),
            ("quantity", Number),
            ("place", Text),
            ("serial", Text),
        ],
        "documents" => &[("title", Text), ("url", Text)],
        "hours.holiday" => &[("date", Text), ("title", Text), ("hours", Names)],
        _ => return None,
    })
}

/// The fields of `kind`: the columns of its files, with the days of a week apart.
fn columns_of(kind: RecordKind) -> Vec<Column> {
    let week = [
        ("hours.week.mon", Form::Names),
        ("hours.week.tue", Form::Names),
        ("hours.week.wed", Form::Names),
        ("hours.week.thu", Form::Names),
        ("hours.week.fri", Form::Names),
        ("hours.week.sat", Form::Names),
        ("hours.week.sun", Form::Names),
    ];
    layout(kind)
        .iter()
        .flat_map(|column| match column.0 {
            "hours.week" => week.to_vec(),
            _ => vec![*column],
        })
        .collect()
}

fn input(kind: RecordKind, path: &str, form: Form) -> Input {
    use RecordKind::{Asset, Calendar, Contract, Customer, Depot, Location, Van};
    match (form, path) {
        (Form::Text, "note") => Input::Note,
        (Form::Text, "customer") => Input::Reference(Customer),
        (Form::Text, "parent" | "location") => Input::Reference(Location),
        (Form::Text, "calendar") => Input::Reference(Calendar),
        (Form::Text, "depot") => Input::Reference(Depot),
        (Form::Text, "van") => Input::Reference(Van),
        (Form::Text, "contract") => Input::Reference(Contract),
        (Form::Text, "asset") => Input::Reference(Asset),
        (Form::Text, "level") => Input::Choice(&["enterprise", "site", "area", "line", "unit"]),
        (Form::Text, "state") => Input::Choice(&["open", "taken", "won", "lost"]),
        (Form::Text, "priority") => Input::Choice(&["P1", "P2", "P3", "P4"]),
        (Form::Text, "purpose") => Input::Choice(PURPOSES),
        (Form::Text, "kind") if !matches!(kind, Contract | RecordKind::Lead) => {
            Input::Choice(CHANNELS)
        }
        (
            Form::Text,
            "valid_from" | "valid_to" | "valid_until" | "installed_on" | "commissioned_on"
            | "warranty_until" | "date",
        ) => Input::Day,
        (Form::Text, _) => Input::Line,
        (Form::Number, _) => Input::Number,
        (Form::Flag, _) => Input::Flag,
        (Form::Names, _) => Input::Names,
        (Form::Channels, _) => Input::Channels,
        (Form::Json, _) => Input::Json,
    }
}

/// One field of `body`, or of an entry in it.
fn field(kind: RecordKind, prefix: &str, column: &Column, body: &Value) -> FormField {
    let (path, form) = *column;
    FormField {
        name: format!("{prefix}{path}"),
        title: path,
        input: input(kind, path, form),
        value: text_of(get(body, path), form),
    }
}

/// What the fields of an entry do not show; empty: nothing.
fn rest(entry: &Value, columns: &[Column]) -> String {
    let Value::Object(fields) = entry else {
        return String::new();
    };
    let mut rest = fields.clone();
    rest.retain(|name, _| columns.iter().all(|(path, _)| path != name));
    // An empty cell is an absent field; what is there and empty must not be lost.
    let empty = fields.iter().filter(|(name, value)| {
        let column = columns.iter().find(|(path, _)| path == name);
        column.is_some_and(|(_, form)| text_of(Some(value), *form).is_empty())
    });
    rest.extend(empty.map(|(name, value)| (name.clone(), value.clone())));
    if rest.is_empty() {
        return String::new();
    }
    Value::Object(rest).to_string()
}

/// The form of a record of `kind` with `body` in it, an object; each list has `n_more` empty rows at its end.
#[must_use]
pub fn form(kind: RecordKind, body: &Value, n_more: usize) -> Vec<FormItem> {
    let item = |column: &Column| {
        let (path, form) = *column;
        let Some(columns) = (form == Form::Json).then(|| entry(path)).flatten() else {
            return FormItem::Field(field(kind, "", column, body));
        };
        let entries = get(body, path).and_then(Value::as_array);
        let entries = entries.map(Vec::as_slice).unwrap_or_default();
        let blank = Value::Object(Map::new());
        let all = entries.iter().chain(std::iter::repeat_n(&blank, n_more));
        let rows = all.enumerate().map(|(i, entry)| {
            let prefix = format!("{path}.{i}.");
            let mut row: Vec<FormField> = columns
                .iter()
                .map(|column| field(kind, &prefix, column, entry))
                .collect();
            row.push(FormField {
                name: format!("{prefix}{REST}"),
                title: REST,
                input: Input::Hidden,
                value: rest(entry, columns),
            });
            row
        });
        FormItem::List {
            title: path,
            rows: rows.collect(),
        }
    };
    columns_of(kind).iter().map(item).collect()
}

/// Reads the fields of `columns` into `body`. A field that cannot be read is named in `faults`.
fn take<'a>(
    prefix: &str,
    columns: &[Column],
    sent: &impl Fn(&str) -> Option<&'a str>,
    body: &mut Map<String, Value>,
    faults: &mut Faults,
) {
    for (path, form) in columns {
        let name = format!("{prefix}{path}");
        let Some(text) = sent(&name).map(str::trim).filter(|text| !text.is_empty()) else {
            continue;
        };
        match value_of(&text.replace("\r\n", "\n"), *form) {
            Ok(value) => set(body, path, value),
            Err(detail) => faults.0.push(Fault {
                field: name,
                detail,
            }),
        }
    }
}

/// The JSON of the record that a form sent; `sent` gives the text of the field of that name. A row without anything in
/// it is no entry.
///
/// # Errors
/// Each field that cannot be read, by its name in the form.
pub fn from_form<'a>(
    kind: RecordKind,
    sent: impl Fn(&str) -> Option<&'a str>,
) -> Result<Value, Faults> {
    let mut body = Map::new();
    let mut faults = Faults::default();
    for column in columns_of(kind) {
        let (path, form) = column;
        let Some(columns) = (form == Form::Json).then(|| entry(path)).flatten() else {
            take("", &[column], &sent, &mut body, &mut faults);
            continue;
        };
        let mut entries = Vec::new();
        for i in 0..ROWS_MAX {
            let prefix = format!("{path}.{i}.");
            let Some(rest) = sent(&format!("{prefix}{REST}")) else {
                break;
            };
            let mut typed = Map::new();
            take(&prefix, columns, &sent, &mut typed, &mut faults);
            // A row that was emptied is taken away, with all that it did not show.
            if typed.is_empty() {
                continue;
            }
            let mut entry = match serde_json::from_str(rest) {
                Ok(Value::Object(rest)) => rest,
                Ok(_) | Err(_) => Map::new(),
            };
            entry.extend(typed);
            entries.push(Value::Object(entry));
        }
        if !entries.is_empty() {
            set(&mut body, path, Value::Array(entries));
        }
    }
    if faults.0.is_empty() {
        Ok(Value::Object(body))
    } else {
        Err(faults)
    }
}
