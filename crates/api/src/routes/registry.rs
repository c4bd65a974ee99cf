//! Master data: records under the callers' ids.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use forecare_registry::{
    Body, Change, FileFormat, OutcomeKind, Person, RecordId, RecordKind, RecordRef, RecordWrite,
    from_text, row_errors, to_csv, to_json, writes,
};
use forecare_store::{Erasure, RecordCommit, RecordFilter, RecordsOutcome, StoredRecord};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use crate::app::{App, Caller, cut};
use crate::auth::IMPORT_BYTES_MAX;
use crate::dto::{
    ErasureDto, ImportEntryDto, ImportedDto, RecordChangesDto, RecordDto, RecordVersionDto, shown,
};
use crate::extract::{ApiJson, ApiPath, ApiQuery, if_match};
use crate::overview::whole;
use crate::page::{List, Page, PageParams, id_cursor, id_page};
use crate::problem::Problem;

/// Records of one export at most.
const EXPORT_MAX: usize = 100_000;
/// Changes of one answer at most.
const CHANGES_MAX: u16 = 500;
/// Longest text to search for, characters.
const SOUGHT_CHARS_MAX: usize = 200;

fn kind(text: &str) -> Result<RecordKind, Problem> {
    text.parse().map_err(|e: forecare_registry::UnknownKind| {
        Problem::new(StatusCode::NOT_FOUND, e.to_string()).field("kind")
    })
}

pub(super) fn record_ref(kind_text: &str, id: &str) -> Result<RecordRef, Problem> {
    let kind = kind(kind_text)?;
    let id = RecordId::new(id).map_err(|_invalid| missing(kind, id))?;
    Ok(RecordRef::new(kind, id))
}

fn missing(kind: RecordKind, id: &str) -> Problem {
    Problem::not_found(format_args!("{} \"{}\"", kind.label(), cut(id, 128)))
}

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordParams {
    /// Only those with this text in their id or title, whatever the case; of assets also model and maker, of locations
    /// also region and address.
    q: Option<String>,
    /// Only those that refer to this record: `customer:C-17`, `location:plant-1`.
    #[param(example = "customer:C-17")]
    refers_to: Option<String>,
    /// `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
}

impl RecordParams {
    fn filter(&self) -> Result<RecordFilter, Problem> {
        let refers_to = match &self.refers_to {
            None => None,
            Some(text) => Some(
                text.split_once(':')
                    .and_then(|(kind, id)| {
                        Some(RecordRef::new(kind.parse().ok()?, RecordId::new(id).ok()?))
                    })
                    .ok_or_else(|| {
                        Problem::bad_parameter(
                            "refers_to",
                            "use kind and id, such as customer:C-17",
                        )
                    })?,
            ),
        };
        let text = self.q.as_deref().map(str::trim).filter(|q| !q.is_empty());
        if text.is_some_and(|q| q.chars().count() > SOUGHT_CHARS_MAX) {
            return Err(Problem::bad_parameter(
                "q",
                format!("use at most {SOUGHT_CHARS_MAX} characters"),
            ));
        }
        Ok(RecordFilter {
            refers_to,
            text: text.map(str::to_owned),
        })
    }
}

/// Records of a kind, by id
#[utoipa::path(get, path = "/api/v1/registry/{kind}", tag = "registry",
    params(("kind" = String, Path, description = "locations, customers, contracts, assets, technicians, depots, vans, calendars, leads or articles"), RecordParams),
    responses((status = 200, description = "a page of records", body = Page<RecordDto>)))]
pub(crate) async fn records(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(kind_text): ApiPath<String>,
    ApiQuery(params): ApiQuery<RecordParams>,
) -> Result<Json<Page<RecordDto>>, Problem> {
    let kind = kind(&kind_text)?;
    let filter = params.filter()?;
    let request = id_page(params.cursor.as_deref(), params.limit, List::Records)?;
    let mut found = app.state.store.records(kind, &filter, &request).await?;
    let ids: Vec<RecordId> = found.iter().map(|r| r.record.id.clone()).collect();
    found.truncate(request.limit - 1);
    Ok(Json(Page {
        next_cursor: id_cursor(List::Records, &request, &ids),
        items: found
            .into_iter()
            .filter_map(|r| RecordDto::new(r, caller.needs_to_know()))
            .collect(),
    }))
}

async fn answer(
    app: &App,
    caller: &Caller,
    key: &RecordRef,
    status: StatusCode,
) -> Result<Response, Problem> {
    let found = app.state.store.record(key).await?;
    let found = found.and_then(|r| RecordDto::new(r, caller.needs_to_know()));
    let record = found.ok_or_else(|| missing(key.kind, key.id.as_str()))?;
    let etag = format!("\"{}\"", record.version);
    let mut response = (status, Json(record)).into_response();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// One record
#[utoipa::path(get, path = "/api/v1/registry/{kind}/{id}", tag = "registry",
    params(
        ("kind" = String, Path, description = "the kind, such as customers"),
        ("id" = String, Path, description = "the record's id")
    ),
    responses((status = 200, description = "the record", body = RecordDto,
        headers(("ETag" = String, description = "the version, for If-Match")))))]
pub(crate) async fn record(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((kind, id)): ApiPath<(String, String)>,
) -> Result<Response, Problem> {
    let key = record_ref(&kind, &id)?;
    answer(&app, &caller, &key, StatusCode::OK).await
}

/// The version in `If-Match`, or 0 for `If-None-Match: *`.
fn if_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    match headers.get(header::IF_NONE_MATCH) {
        None => if_match(headers),
        Some(value) if value.as_bytes() == b"*" => Ok(Some(0)),
        Some(_) => Err(Problem::bad_parameter(
            "If-None-Match",
            "use * to store only where there is none",
        )),
    }
}

pub(crate) async fn change(
    app: &App,
    caller: &Caller,
    writes: Vec<RecordWrite>,
) -> Result<RecordsOutcome, Problem> {
    let is_about_articles = writes.iter().any(|w| w.kind == RecordKind::Article);
    let commit = RecordCommit {
        writes,
        by: caller.actor(),
        at: app.state.clock.now(),
    };
    let outcome = app.state.store.commit_records(commit).await?;
    if is_about_articles {
        // What was withdrawn is no longer shown.
        app.open_articles.forget().await;
    }
    Ok(outcome)
}

pub(crate) async fn change_one(
    app: &App,
    caller: &Caller,
    key: &RecordRef,
    if_version: Option<i64>,
    change_to: Change,
) -> Result<OutcomeKind, Problem> {
    let write = RecordWrite {
        kind: key.kind,
        id: key.id.clone(),
        if_version,
        change: change_to,
    };
    match change(app, caller, vec![write]).await? {
        RecordsOutcome::Stored(outcomes) => Ok(outcomes
            .first()
            .map_or(OutcomeKind::Unchanged, |outcome| outcome.kind)),
        RecordsOutcome::Refused(faults) => Err(faults.into_iter().next().map_or_else(
            || Problem::new(StatusCode::CONFLICT, "refused"),
            Problem::refused_record,
        )),
    }
}

/// Stores a record: new, or in place of the one that is there
///
/// The same content again changes nothing. With `If-Match`, only where it has not changed since it was read; with
/// `If-None-Match: *`, only where there is none.
#[utoipa::path(put, path = "/api/v1/registry/{kind}/{id}", tag = "registry",
    request_body(content = Body, description = "the content, by kind"),
    params(
        ("kind" = String, Path, description = "the kind, such as customers"),
        ("id" = String, Path, description = "the record's id: letters, digits, - _ . and :, at most 128"),
        ("If-Match" = Option<String>, Header, description = "the ETag of the record as it was read"),
        ("If-None-Match" = Option<String>, Header, description = "*: only where there is none")
    ),
    responses(
        (status = 200, description = "the record after it", body = RecordDto,
            headers(("ETag" = String, description = "the version, for If-Match"))),
        (status = 201, description = "the record, which is new", body = RecordDto,
            headers(("ETag" = String, description = "the version, for If-Match")))
    ))]
pub(crate) async fn put_record(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((kind_text, id)): ApiPath<(String, String)>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, Problem> {
    let kind = kind(&kind_text)?;
    let id = RecordId::new(id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    let key = RecordRef::new(kind, id);
    let body = Body::parse(kind, body).map_err(|faults| {
        let field = faults.0.first().map_or("", |fault| &fault.field);
        Problem::invalid(field, faults.to_string())
    })?;
    let change_to = Change::Put(Box::new(body));
    let done = change_one(&app, &caller, &key, if_version(&headers)?, change_to).await?;
    let status = match done {
        OutcomeKind::Created => StatusCode::CREATED,
        OutcomeKind::Updated | OutcomeKind::Unchanged | OutcomeKind::Deleted => StatusCode::OK,
    };
    answer(&app, &caller, &key, status).await
}

/// Deletes a record; its history stays
///
/// Refused while other records refer to it. Again changes nothing.
#[utoipa::path(delete, path = "/api/v1/registry/{kind}/{id}", tag = "registry",
    params(
        ("kind" = String, Path, description = "the kind, such as customers"),
        ("id" = String, Path, description = "the record's id"),
        ("If-Match" = Option<String>, Header, description = "the ETag of the record as it was read")
    ),
    responses((status = 204, description = "it is gone")))]
pub(crate) async fn delete_record(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let key = record_ref(&kind, &id)?;
    change_one(&app, &caller, &key, if_match(&headers)?, Change::Delete).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Versions of a record, newest first: who changed what, when and from where
///
/// The newest 500 are kept. What was before a version is the version before it.
#[utoipa::path(get, path = "/api/v1/registry/{kind}/{id}/history", tag = "registry",
    params(
        ("kind" = String, Path, description = "the kind, such as customers"),
        ("id" = String, Path, description = "the record's id"),
        PageParams
    ),
    responses((status = 200, description = "a page of versions", body = Page<RecordVersionDto>)))]
pub(crate) async fn record_history(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<RecordVersionDto>>, Problem> {
    let key = record_ref(&kind, &id)?;
    let request = page.request(List::RecordHistory)?;
    let found = app.state.store.record_history(&key, request).await?;
    if found.is_empty() && request.before.is_none() {
        return Err(missing(key.kind, key.id.as_str()));
    }
    let knows = caller.needs_to_know();
    Ok(Json(Page::of(List::RecordHistory, request, found, |v| {
        RecordVersionDto::new(v.version, v, knows)
    })))
}

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangesParams {
    /// `after` of the answer before; 0, or nothing: from the first that is kept.
    #[serde(default)]
    #[param(default = 0)]
    after: i64,
    /// Entries of an answer, 1 to 500; 500 where not given.
    #[param(minimum = 1, maximum = 500, default = 500)]
    limit: Option<u16>,
}

/// Changes of all records, oldest first: for a CRM or ERP that follows
///
/// Keep `after` and ask again with it, now and then: nothing is passed over and nothing comes twice.
#[utoipa::path(get, path = "/api/v1/registry/changes", tag = "registry", params(ChangesParams),
    responses((status = 200, description = "changes", body = RecordChangesDto)))]
pub(crate) async fn record_changes(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<ChangesParams>,
) -> Result<Json<RecordChangesDto>, Problem> {
    let limit = params.limit.unwrap_or(CHANGES_MAX);
    if !(1..=CHANGES_MAX).contains(&limit) {
        return Err(Problem::bad_parameter(
            "limit",
            format!("limit must be 1 to {CHANGES_MAX}"),
        ));
    }
    let store = &app.state.store;
    let found = store.record_changes(params.after, limit.into()).await?;
    let after = found.last().map_or(params.after, |last| last.position);
    let knows = caller.needs_to_know();
    let items = found
        .into_iter()
        .map(|v| RecordVersionDto::new(v.position, v.item, knows))
        .collect();
    Ok(Json(RecordChangesDto { items, after }))
}

fn format_of(headers: &HeaderMap) -> Result<FileFormat, Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "text/csv" => Ok(FileFormat::Csv),
        "application/json" => Ok(FileFormat::Json),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send text/csv or application/json",
        )
        .field("Content-Type")),
    }
}

/// Stores many records: all of them, or none
///
/// A JSON array, or CSV with a header; at most 8 MiB. Records that are there are replaced, the same content again
/// changes nothing, so that a whole list can be sent whenever it has changed. Where a line is wrong, `errors` names
/// line, column and fault of each.
#[utoipa::path(post, path = "/api/v1/registry/{kind}/import", tag = "registry",
    request_body(content(
        (Vec<ImportEntryDto> = "application/json"),
        (String = "text/csv")
    )),
    params(
        ("kind" = String, Path, description = "the kind, such as customers"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again gets the first answer again")
    ),
    responses((status = 200, description = "stored", body = ImportedDto)))]
pub(crate) async fn import_records(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(kind_text): ApiPath<String>,
    request: Request,
) -> Result<Json<ImportedDto>, Problem> {
    let kind = kind(&kind_text)?;
    let format = format_of(request.headers())?;
    let body = axum::body::to_bytes(request.into_body(), IMPORT_BYTES_MAX);
    let body = body.await.map_err(|_cause| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the file has more than {IMPORT_BYTES_MAX} bytes: send it in parts, or use `forecare registry import`"
            ),
        )
    })?;
    let text = std::str::from_utf8(&body)
        .map_err(|_cause| Problem::new(StatusCode::BAD_REQUEST, "the file is not UTF-8"))?;
    let entries = from_text(kind, format, text).map_err(Problem::refused_file)?;
    match change(&app, &caller, writes(kind, &entries)).await? {
        RecordsOutcome::Stored(outcomes) => {
            let mut imported = ImportedDto::default();
            for outcome in outcomes {
                imported.count(outcome.kind);
            }
            Ok(Json(imported))
        }
        RecordsOutcome::Refused(faults) => Err(Problem::refused_file(row_errors(&entries, faults))),
    }
}

/// In which form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportParams {
    /// `csv` or `json`; `json` where not given.
    #[param(default = "json")]
    format: Option<String>,
}

/// All records of a kind as a file that the import takes
#[utoipa::path(get, path = "/api/v1/registry/{kind}/export", tag = "registry",
    params(("kind" = String, Path, description = "the kind, such as customers"), ExportParams),
    responses((status = 200, description = "the records", content(
        (Vec<ImportEntryDto> = "application/json"),
        (String = "text/csv")
    ))))]
pub(crate) async fn export_records(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(kind_text): ApiPath<String>,
    ApiQuery(params): ApiQuery<ExportParams>,
) -> Result<Response, Problem> {
    let kind = kind(&kind_text)?;
    let format = match params.format.as_deref() {
        None | Some("json") => FileFormat::Json,
        Some("csv") => FileFormat::Csv,
        Some(_) => return Err(Problem::bad_parameter("format", "use csv or json")),
    };
    let found = whole(&app, kind, &RecordFilter::default(), EXPORT_MAX + 1).await?;
    if found.len() > EXPORT_MAX {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("there are more than {EXPORT_MAX} records; use `forecare registry export`"),
        ));
    }
    let bodies: Vec<(RecordId, Body)> = found
        .into_iter()
        .filter_map(|r: StoredRecord| Some((r.record.id, shown(r.body?, caller.needs_to_know()))))
        .collect();
    let pairs = bodies.iter().map(|(id, body)| (id, body));
    let (media, ending, text) = match format {
        FileFormat::Csv => ("text/csv; charset=utf-8", "csv", to_csv(kind, pairs)),
        FileFormat::Json => ("application/json", "json", to_json(pairs)),
    };
    let name = format!("attachment; filename=\"{}.{ending}\"", kind.plural());
    let headers = [
        (header::CONTENT_TYPE, media.to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, text).into_response())
}

/// Erases a person from a record and from every version in its history
///
/// Of a customer a contact, named in the body; of a technician the person the record is about. Copies outside (backups,
/// exports, mails that were sent) are not reached.
#[utoipa::path(post, path = "/api/v1/registry/{kind}/{id}/erasure", tag = "registry", request_body = ErasureDto,
    params(
        ("kind" = String, Path, description = "customers or technicians"),
        ("id" = String, Path, description = "the record's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again gets the first answer again")
    ),
    responses((status = 200, description = "the record after it", body = RecordDto,
        headers(("ETag" = String, description = "the version, for If-Match")))))]
pub(crate) async fn erase_person(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    ApiJson(body): ApiJson<ErasureDto>,
) -> Result<Response, Problem> {
    let key = record_ref(&kind, &id)?;
    let person = match (key.kind, body.contact) {
        (RecordKind::Customer, Some(contact)) => {
            let contact =
                RecordId::new(contact).map_err(|e| Problem::invalid("contact", e.to_string()))?;
            Person::Contact(contact)
        }
        (RecordKind::Technician, None) => Person::Technician,
        (RecordKind::Customer, None) => {
            return Err(Problem::invalid("contact", "name the contact by its id"));
        }
        _ => {
            return Err(Problem::invalid(
                "kind",
                "people are erased from customers (a contact) and technicians",
            ));
        }
    };
    let erasure = Erasure {
        record: key.clone(),
        person,
        by: caller.actor(),
        at: app.state.clock.now(),
    };
    let after = app.state.store.erase_person(erasure).await?;
    if after.body.is_none() {
        // Deleted, and now without the person in its history.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    answer(&app, &caller, &key, StatusCode::OK).await
}
