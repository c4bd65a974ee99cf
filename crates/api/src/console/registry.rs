//! Master data in the console: lists by kind, and a form for each record, made from the columns of its files.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_registry::{
    Body, Change, FormField, FormItem, Input, RecordId, RecordKind, RecordRef, form, from_form,
    id_of,
};
use forecare_store::{PageRequest, RecordFilter};
use serde::Deserialize;
use serde_json::Value;

use super::form::Fields;
use super::format::When;
use super::shell::{Shell, render, render_with};
use super::tickets::channel_words;
use crate::app::{App, Caller, cut};
use crate::extract::{ApiPath, ApiQuery};
use crate::overview::whole;
use crate::page::{List, id_cursor, id_page};
use crate::percent::percent_encoded;
use crate::problem::Problem;
use crate::routes::registry::change_one;

/// Records of a page.
const PER_PAGE: u16 = 50;
/// Longest text to search for, characters.
const SOUGHT_CHARS_MAX: usize = 200;
/// Empty rows at the end of a list of entries.
const MORE_ROWS: usize = 2;
/// Ids proposed for a field that refers to records.
const PROPOSED_MAX: usize = 1_000;
/// Rows of one list that a form that is refused shows again.
const ROWS_MAX: usize = 1_000;
/// Versions and users of a record shown.
const SHOWN_MAX: usize = 10;
/// What the pages are for.
const EDITING: &str = "editing master data";

/// The kinds in the order of the tabs; articles have pages of their own.
const KINDS: [RecordKind; 9] = [
    RecordKind::Customer,
    RecordKind::Contract,
    RecordKind::Location,
    RecordKind::Asset,
    RecordKind::Technician,
    RecordKind::Calendar,
    RecordKind::Depot,
    RecordKind::Van,
    RecordKind::Lead,
];

/// The fields that lists show beside id and title.
fn listed(kind: RecordKind) -> &'static [&'static str] {
    match kind {
        RecordKind::Location => &["level", "parent", "region"],
        RecordKind::Customer => &["address", "value.yearly"],
        RecordKind::Contract => &["customer", "kind", "valid_from", "valid_to"],
        RecordKind::Asset => &["model", "customer", "warranty_until"],
        RecordKind::Technician => &["skills", "regions", "depot", "active"],
        RecordKind::Depot => &["address"],
        RecordKind::Van => &["depot"],
        RecordKind::Calendar => &["hours.time_zone", "hours.around_the_clock"],
        RecordKind::Lead => &["customer", "kind", "state", "value"],
        RecordKind::Article => &[],
    }
}

fn kind_of(text: &str) -> Result<RecordKind, Problem> {
    let kind = KINDS.into_iter().find(|kind| kind.plural() == text);
    kind.ok_or_else(|| Problem::not_found(format_args!("kind of record \"{}\"", cut(text, 64))))
}

fn key_of(kind: RecordKind, id: &str) -> Result<RecordRef, Problem> {
    let id = RecordId::new(id).map_err(|_invalid| missing(kind, id))?;
    Ok(RecordRef::new(kind, id))
}

fn missing(kind: RecordKind, id: &str) -> Problem {
    Problem::not_found(format_args!("{} \"{}\"", kind.label(), cut(id, 128)))
}

/// A field's name for people: `value.yearly` is `Value, yearly`, `response_hours` is `Response, h`.
fn words(path: &str) -> String {
    let (path, unit) = match path {
        _ if path.ends_with("_hours") => (path.trim_end_matches("_hours"), ", h"),
        _ if path.ends_with("_deg") => (path.trim_end_matches("_deg"), ", \u{b0}"),
        _ => (path, ""),
    };
    let mut text = path.replace('.', ", ").replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + unit
}

/// A kind, as a tab.
struct Tab {
    kind: &'static str,
    words: String,
    is_current: bool,
}

fn tabs(at: RecordKind) -> Vec<Tab> {
    let tab = |kind: RecordKind| Tab {
        kind: kind.plural(),
        words: words(kind.plural()),
        is_current: kind == at,
    };
    KINDS.into_iter().map(tab).collect()
}

#[derive(Template)]
#[template(path = "registry.html")]
struct ListPage {
    shell: Shell,
    tabs: Vec<Tab>,
    kind: &'static str,
    one: &'static str,
    q: String,
    heads: Vec<String>,
    rows: Vec<RecordRow>,
    /// The filter and the next page, for links.
    next: Option<String>,
    is_first: bool,
    columns: String,
}

struct RecordRow {
    id: String,
    title: String,
    /// Name and content of a cell.
    cells: Vec<(String, String)>,
}

/// Which records.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ListParams {
    #[serde(default)]
    q: String,
    cursor: Option<String>,
}

/// The first kind's list.
pub(crate) async fn first() -> Redirect {
    Redirect::to(&format!("/registry/{}", KINDS[0].plural()))
}

/// Records of a kind.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(kind): ApiPath<String>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, Problem> {
    let kind = kind_of(&kind)?;
    let q = cut(params.q.trim(), SOUGHT_CHARS_MAX);
    let filter = RecordFilter {
        refers_to: None,
        text: Some(q.clone()).filter(|q| !q.is_empty()),
    };
    let request = id_page(params.cursor.as_deref(), Some(PER_PAGE), List::Records)?;
    let mut found = app.state.store.records(kind, &filter, &request).await?;
    let ids: Vec<RecordId> = found.iter().map(|r| r.record.id.clone()).collect();
    found.truncate(usize::from(PER_PAGE));
    let rows = found.into_iter().filter_map(|record| {
        let body = record.body?;
        let items = form(kind, &body.to_value(), 0);
        let text = |path: &&str| {
            let value = items.iter().find_map(|item| match item {
                FormItem::Field(field) if field.title == *path => Some(field.value.clone()),
                FormItem::Field(_) | FormItem::List { .. } => None,
            });
            (words(path), value.unwrap_or_default())
        };
        Some(RecordRow {
            id: record.record.id.to_string(),
            title: body.title().to_owned(),
            cells: listed(kind).iter().map(text).collect(),
        })
    });
    Ok(render(&ListPage {
        shell: Shell::new(&app, &caller, "registry"),
        tabs: tabs(kind),
        kind: kind.plural(),
        one: kind.label(),
        heads: listed(kind).iter().map(|path| words(path)).collect(),
        rows: rows.collect(),
        next: id_cursor(List::Records, &request, &ids).map(|cursor| {
            let q = percent_encoded(&q);
            format!("cursor={cursor}&q={q}")
        }),
        is_first: params.cursor.is_none(),
        columns: forecare_registry::columns(kind).join(", "),
        q,
    }))
}

/// What an input looks like.
struct FieldView {
    name: String,
    words: String,
    value: String,
    /// `type` of the input; `select`, `textarea` or `hidden`.
    input: &'static str,
    /// Of a selection: value and whether it is chosen.
    choices: Vec<(&'static str, bool)>,
    /// Id of the list of proposals.
    proposals: Option<&'static str>,
    hint: &'static str,
}

enum ItemView {
    Field(FieldView),
    List {
        words: String,
        /// Names of the columns.
        heads: Vec<String>,
        rows: Vec<Vec<FieldView>>,
    },
}

fn field_view(field: FormField) -> FieldView {
    let (input, hint) = match field.input {
        Input::Line | Input::Reference(_) => ("text", ""),
        Input::Note => ("textarea", ""),
        Input::Number => ("number", ""),
        Input::Day => ("date", ""),
        Input::Flag | Input::Choice(_) => ("select", ""),
        Input::Names => ("text", "with ; between them"),
        Input::Channels => ("text", "email:ada@example.com; sms:+49 40 1234"),
        Input::Json => ("textarea", "JSON"),
        Input::Hidden => ("hidden", ""),
    };
    let choices: &[&str] = match field.input {
        Input::Flag => &["true", "false"],
        Input::Choice(choices) => choices,
        Input::Line
        | Input::Note
        | Input::Number
        | Input::Day
        | Input::Names
        | Input::Channels
        | Input::Reference(_)
        | Input::Json
        | Input::Hidden => &[],
    };
    let hint = match field.title {
        "hours.time_zone" | "time_zone" => "Europe/Berlin",
        path if path.starts_with("hours.week") || path == "hours" => "08:00-12:00; 13:00-17:00",
        "from" | "to" | "at" | "until" | "opened_at" => "2026-01-31T08:00:00Z",
        "language" => "en or zh-CN",
        _ => hint,
    };
    FieldView {
        words: words(field.title),
        choices: choices
            .iter()
            .map(|choice| (*choice, *choice == field.value))
            .collect(),
        proposals: field.input.reference().map(RecordKind::plural),
        name: field.name,
        value: field.value,
        input,
        hint,
    }
}

fn item_view(item: FormItem) -> ItemView {
    match item {
        FormItem::Field(field) => ItemView::Field(field_view(field)),
        FormItem::List { title, rows } => {
            let rows: Vec<Vec<FieldView>> = rows
                .into_iter()
                .map(|row| row.into_iter().map(field_view).collect())
                .collect();
            let heads = rows.first().into_iter().flatten();
            let heads = heads.filter(|field| field.input != "hidden");
            ItemView::List {
                words: words(title),
                heads: heads.map(|field| field.words.clone()).collect(),
                rows,
            }
        }
    }
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    shell: Shell,
    kind: &'static str,
    one: &'static str,
    /// Empty: it is new.
    id: String,
    /// The id wished for, of a new one.
    wished: String,
    /// The version that is edited; 0: it is new.
    version: i64,
    title: String,
    items: Vec<ItemView>,
    /// Ids and titles to choose from, by kind.
    proposals: Vec<(&'static str, Vec<(String, String)>)>,
    changes: Vec<ChangeView>,
    /// Where the machine or customer is shown at a glance.
    page: Option<String>,
    /// Kind, id and title of records that refer to it.
    users: Vec<(&'static str, String, String)>,
}

/// A version of the record.
struct ChangeView {
    at: When,
    by: String,
    channel: &'static str,
    version: i64,
    is_deleted: bool,
}

/// Records to choose from, of every kind that a field refers to.
async fn proposals(
    app: &App,
    items: &[FormItem],
) -> Result<Vec<(&'static str, Vec<(String, String)>)>, Problem> {
    let mut kinds: Vec<RecordKind> = Vec::new();
    let fields = items.iter().flat_map(|item| match item {
        FormItem::Field(field) => std::slice::from_ref(field).to_vec(),
        FormItem::List { rows, .. } => rows.first().cloned().unwrap_or_default(),
    });
    for field in fields {
        if let Some(kind) = field.input.reference()
            && !kinds.contains(&kind)
        {
            kinds.push(kind);
        }
    }
    let mut all = Vec::new();
    for kind in kinds {
        let choices: Vec<(String, String)> = if kind == RecordKind::Asset {
            // What is registered, with a record or without one.
            let assets = app.state.store.assets().await?;
            let assets = assets.into_iter().take(PROPOSED_MAX);
            assets
                .map(|asset| (asset.id.to_string(), asset.name))
                .collect()
        } else {
            let found = whole(app, kind, &RecordFilter::default(), PROPOSED_MAX).await?;
            let titled = found.into_iter().filter_map(|record| {
                let title = record.body?.title().to_owned();
                Some((record.record.id.to_string(), title))
            });
            titled.collect()
        };
        all.push((kind.plural(), choices));
    }
    Ok(all)
}

/// Who refers to it, the first ones.
async fn users(app: &App, key: &RecordRef) -> Result<Vec<(&'static str, String, String)>, Problem> {
    let mut users = Vec::new();
    for kind in KINDS {
        let filter = RecordFilter {
            refers_to: Some(key.clone()),
            text: None,
        };
        for record in whole(app, kind, &filter, SHOWN_MAX).await? {
            let title = record
                .body
                .map_or_else(String::new, |b| b.title().to_owned());
            users.push((kind.plural(), record.record.id.to_string(), title));
        }
    }
    Ok(users)
}

async fn changes(app: &App, key: &RecordRef) -> Result<Vec<ChangeView>, Problem> {
    let page = PageRequest {
        before: None,
        limit: SHOWN_MAX,
    };
    let now = app.state.clock.now();
    let found = app.state.store.record_history(key, page).await?;
    Ok(found
        .into_iter()
        .map(|paged| ChangeView {
            at: When::new(now, paged.item.at),
            by: paged.item.by.name,
            channel: channel_words(paged.item.by.channel),
            version: paged.item.version,
            is_deleted: paged.item.body.is_none(),
        })
        .collect())
}

/// The page of a record that is there, or of a new one.
async fn page(
    app: &App,
    shell: Shell,
    kind: RecordKind,
    known: Option<(&RecordRef, i64)>,
    wished: &str,
    items: Vec<FormItem>,
) -> Result<RecordPage, Problem> {
    let name = items.iter().find_map(|item| match item {
        FormItem::Field(field) if matches!(field.title, "name" | "title") => {
            Some(field.value.clone())
        }
        FormItem::Field(_) | FormItem::List { .. } => None,
    });
    let id = known.map_or_else(String::new, |(key, _)| key.id.to_string());
    let (changes, users) = match known {
        Some((key, _)) => (changes(app, key).await?, users(app, key).await?),
        None => (Vec::new(), Vec::new()),
    };
    let shown = [RecordKind::Customer, RecordKind::Asset].contains(&kind);
    let shown = shown.then(|| kind.plural());
    Ok(RecordPage {
        shell,
        kind: kind.plural(),
        one: kind.label(),
        page: shown
            .filter(|_| known.is_some())
            .map(|path| format!("/{path}/{}", percent_encoded(&id))),
        version: known.map_or(0, |(_, version)| version),
        title: name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| id.clone()),
        wished: wished.to_owned(),
        proposals: proposals(app, &items).await?,
        items: items.into_iter().map(item_view).collect(),
        changes,
        users,
        id,
    })
}

/// With which id a new record begins.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct NewParams {
    #[serde(default)]
    id: String,
}

/// The form of a new record.
pub(crate) async fn new(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(kind): ApiPath<String>,
    ApiQuery(params): ApiQuery<NewParams>,
) -> Result<Response, Problem> {
    caller.must_need_to_know(EDITING)?;
    let kind = kind_of(&kind)?;
    let items = form(kind, &Value::Object(serde_json::Map::new()), MORE_ROWS);
    let shell = Shell::new(&app, &caller, "registry");
    let page = page(&app, shell, kind, None, &cut(&params.id, 128), items).await?;
    Ok(render(&page))
}

/// The form with a record in it.
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((kind, id)): ApiPath<(String, String)>,
) -> Result<Response, Problem> {
    caller.must_need_to_know(EDITING)?;
    let kind = kind_of(&kind)?;
    let key = key_of(kind, &id)?;
    let record = app.state.store.record(&key).await?;
    let shell = Shell::new(&app, &caller, "registry");
    let page = match record.and_then(|r| Some((r.version, r.body?))) {
        Some((version, body)) => {
            let items = form(kind, &body.to_value(), MORE_ROWS);
            page(&app, shell, kind, Some((&key, version)), "", items).await?
        }
        // A registered machine that nothing more is known of yet.
        None if kind == RecordKind::Asset && is_registered(&app, &id).await? => {
            let items = form(kind, &Value::Object(serde_json::Map::new()), MORE_ROWS);
            page(&app, shell, kind, None, &id, items).await?
        }
        None => return Err(missing(kind, &id)),
    };
    Ok(render(&page))
}

async fn is_registered(app: &App, id: &str) -> Result<bool, Problem> {
    let assets = app.state.store.assets().await?;
    Ok(assets.iter().any(|asset| asset.id.as_str() == id))
}

/// What a form sent, once more as a form: whatever is wrong in it stays to be mended.
fn as_sent(kind: RecordKind, sent: &BTreeMap<&str, &str>) -> Vec<FormItem> {
    let blank = Value::Object(serde_json::Map::new());
    // Rows beyond the first are known by their names alone.
    let n_rows = sent
        .keys()
        .filter_map(|name| name.split('.').rev().nth(1)?.parse::<usize>().ok())
        .max()
        .map_or(0, |last| last.saturating_add(1).min(ROWS_MAX));
    let mut items = form(kind, &blank, n_rows.max(MORE_ROWS));
    for item in &mut items {
        let fields: Vec<&mut FormField> = match item {
            FormItem::Field(field) => vec![field],
            FormItem::List { title, rows } => {
                let was_sent = |i: usize| sent.contains_key(format!("{title}.{i}.~").as_str());
                let n_sent = (0..rows.len()).take_while(|i| was_sent(*i)).count();
                rows.truncate(n_sent.max(1));
                rows.iter_mut().flatten().collect()
            }
        };
        for field in fields {
            if let Some(value) = sent.get(field.name.as_str()) {
                field.value = (*value).to_owned();
            }
        }
    }
    items
}

/// The faults of a form, each with the field's words.
fn refused(faults: &forecare_registry::Faults) -> Problem {
    let field = faults.0.first().map_or("", |fault| &fault.field);
    Problem::invalid(field, faults.to_string())
}

/// Stores what a form sent, or deletes the record; what is refused comes back with what is wrong.
pub(crate) async fn save(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(kind): ApiPath<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    caller.must_need_to_know(EDITING)?;
    let kind = kind_of(&kind)?;
    let version: i64 = fields
        .get("version")
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    let sent: BTreeMap<&str, &str> = fields.as_sent("field:").collect();
    let id = fields.get("id").unwrap_or_default();
    let is_delete = fields.get("do") == Some("delete");
    let done = store(&app, &caller, kind, id, version, &sent, is_delete).await;
    let problem = match done {
        Ok(_) if is_delete => {
            return Ok(Redirect::to(&format!("/registry/{}", kind.plural())).into_response());
        }
        Ok(key) => {
            let id = percent_encoded(key.id.as_str());
            let to = format!("/registry/{}/{id}", kind.plural());
            return Ok(Redirect::to(&to).into_response());
        }
        Err(problem) => problem,
    };
    let shell = Shell::new(&app, &caller, "registry").problem(Some(&problem));
    let key = key_of(kind, id).ok().filter(|_| version > 0);
    let known = key.as_ref().map(|key| (key, version));
    let wished = if version > 0 { "" } else { id };
    let page = page(&app, shell, kind, known, wished, as_sent(kind, &sent)).await?;
    Ok(render_with(&page, Some(&problem)))
}

async fn store(
    app: &App,
    caller: &Caller,
    kind: RecordKind,
    id: &str,
    version: i64,
    sent: &BTreeMap<&str, &str>,
    is_delete: bool,
) -> Result<RecordRef, Problem> {
    let change = if is_delete {
        Change::Delete
    } else {
        let body = from_form(kind, |name| sent.get(name).copied()).map_err(|f| refused(&f))?;
        Change::Put(Box::new(Body::parse(kind, body).map_err(|f| refused(&f))?))
    };
    let id = match (&change, id) {
        (Change::Put(body), "") => id_of(body.title()).ok_or_else(|| {
            Problem::invalid("id", "give the record an id: letters, digits, - _ . and :")
        })?,
        (_, id) => RecordId::new(id).map_err(|e| Problem::invalid("id", format!("id: {e}")))?,
    };
    if id.as_str() == "new" {
        return Err(Problem::invalid(
            "id",
            "\"new\" is the address of a page of the console: give the record another id",
        ));
    }
    let key = RecordRef::new(kind, id);
    change_one(app, caller, &key, Some(version), change)
        .await
        .map_err(|problem| match (problem.current_version, version) {
            (Some(_), 0) => Problem::new(
                StatusCode::CONFLICT,
                format!("there is a {key} already: give this one another id"),
            ),
            (Some(_), _) => Problem::new(
                problem.status_code(),
                "somebody has changed the record meanwhile: what you wrote is below; open the record in another tab, and bring both together",
            ),
            (None, _) => problem,
        })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_names_for_people() {
        assert_eq!(words("value.yearly"), "Value, yearly");
        assert_eq!(words("response_hours"), "Response, h");
        assert_eq!(words("home.latitude_deg"), "Home, latitude, \u{b0}");
    }

    #[test]
    fn what_is_wrong_stays_in_the_form() {
        let sent = BTreeMap::from([
            ("customer", "C-1"),
            ("yearly_price", "much"),
            ("targets.0.~", ""),
            ("targets.0.priority", "P1"),
            ("targets.0.response_hours", "soon"),
        ]);
        let values: Vec<String> = as_sent(RecordKind::Contract, &sent)
            .into_iter()
            .flat_map(|item| match item {
                FormItem::Field(field) => vec![field],
                FormItem::List { rows, .. } => rows.concat(),
            })
            .map(|field| field.value)
            .filter(|value| !value.is_empty())
            .collect();
        assert_eq!(values, ["C-1", "P1", "soon", "much"]);
    }
}
