//! Work on a ticket.

use std::collections::BTreeMap;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};
use forecare_care::classify::Classification;
use forecare_care::work::{ATTACHMENT_BYTES_MAX, WorkStep};
use forecare_domain::{EntryBody, ModeName, PartNumber, PartWanted, TicketId, TicketKind};
use forecare_registry::{RecordId, RecordKind, RecordRef};
use forecare_store::StoredFile;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use super::assets::WHY_CHARS_MAX;
use super::files::saved;
use super::tickets::detail;
use crate::app::{App, Caller, ticket_id};
use crate::dto::{TicketDetailDto, TicketEntryDto, WorkDto};
use crate::extract::{ApiJson, ApiPath, ApiQuery, idempotency_key, if_match};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;
use crate::routes::units::parts_used;
use crate::state::{Work, WorkRequest};

/// What only those read who work on tickets.
const NOTES: &str = "notes, time and files";

/// What a file is called.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileParams {
    /// The file's name, without a path.
    name: String,
    /// Who signed, where it is a signature.
    signed_by: Option<String>,
}

/// What people put to a ticket, newest first
///
/// For operators only.
#[utoipa::path(get, path = "/api/v1/tickets/{id}/entries", tag = "tickets",
    params(("id" = String, Path, description = "the ticket's number: 7 or T-7"), PageParams),
    responses((status = 200, description = "a page of notes, time spent and files", body = Page<TicketEntryDto>)))]
pub(crate) async fn entries(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<PageParams>,
) -> Result<Json<Page<TicketEntryDto>>, Problem> {
    caller.must_need_to_know(NOTES)?;
    let id = ticket_id(&id)?;
    app.state.store.ticket(id).await?;
    let request = params.request(List::TicketEntries)?;
    let found = app.state.store.ticket_entries(id, request).await?;
    let numbered = found
        .into_iter()
        .map(|paged| forecare_store::Paged {
            position: paged.position,
            item: paged,
        })
        .collect();
    Ok(Json(Page::of(
        List::TicketEntries,
        request,
        numbered,
        TicketEntryDto::from,
    )))
}

/// That there is an article of that id.
async fn must_be_there(app: &App, article: &str) -> Result<(), Problem> {
    let id = RecordId::new(article).map_err(|e| Problem::invalid("article_id", e.to_string()))?;
    let key = RecordRef::new(RecordKind::Article, id);
    let found = app.state.store.record(&key).await?;
    if found.is_some_and(|record| record.body.is_some()) {
        return Ok(());
    }
    Err(Problem::invalid(
        "article_id",
        format!("there is no article \"{article}\""),
    ))
}

/// Does something on a ticket
///
/// A note, time spent, a line of the checklist, parts needed or used, its classification, fields, priority, whether an article helped, or a merge with a duplicate. With `If-Match`, only
/// where the ticket has not changed since it was read.
#[utoipa::path(post, path = "/api/v1/tickets/{id}/work", tag = "tickets", request_body = WorkDto,
    params(
        ("id" = String, Path, description = "the ticket's number: 7 or T-7"),
        ("If-Match" = Option<String>, Header, description = "the ETag of the ticket as it was read"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again changes nothing")
    ),
    responses((status = 200, description = "the ticket after it", body = TicketDetailDto,
        headers(("ETag" = String, description = "the version, for If-Match")))))]
pub(crate) async fn work(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<WorkDto>,
) -> Result<Response, Problem> {
    let id = ticket_id(&id)?;
    let step = checked_work(body)?;
    if let Work::Step(WorkStep::Helped { article, .. }) = &step {
        must_be_there(&app, article).await?;
    }
    let request = WorkRequest {
        step,
        if_version: if_match(&headers)?,
        idempotency_key: idempotency_key(&headers)?,
    };
    let ticket = app.state.desk.work(id, request, caller.actor()).await?;
    detail(&app, &caller, ticket).await
}

/// A step from the outside, with its names checked.
pub(crate) fn checked_work(body: WorkDto) -> Result<Work, Problem> {
    Ok(Work::Step(match body {
        WorkDto::Note { text, visibility } => WorkStep::Note {
            text,
            visibility: visibility.into(),
        },
        WorkDto::Time { minutes, what } => WorkStep::Time { minutes, what },
        WorkDto::Check { item, done, text } => WorkStep::Check { item, done, text },
        WorkDto::PartsUsed {
            parts_used: quantities,
            units_used,
        } => WorkStep::PartsUsed(parts_used(quantities, units_used)?),
        WorkDto::Parts { parts, why } => WorkStep::Parts {
            parts: parts_wanted(parts)?,
            why,
        },
        WorkDto::Classify {
            kind,
            mode,
            title,
            why,
        } => return classification(kind, mode, title, why),
        WorkDto::Fields { fields } => WorkStep::Fields(fields),
        WorkDto::Priority { priority, why } => WorkStep::Priority {
            priority: priority.into(),
            why,
        },
        WorkDto::Helped { article_id, helped } => WorkStep::Helped {
            article: RecordId::new(&article_id)
                .map_err(|e| Problem::invalid("article_id", e.to_string()))?
                .into(),
            helped,
        },
        WorkDto::Merge { into, why } => {
            if why.chars().count() > WHY_CHARS_MAX {
                return Err(Problem::invalid(
                    "why",
                    format!("use at most {WHY_CHARS_MAX} characters"),
                ));
            }
            let into = TicketId(into);
            return Ok(Work::MergeInto { into, why });
        }
    }))
}

/// Parts that work needs, with their numbers checked.
pub(crate) fn parts_wanted(quantities: BTreeMap<String, u32>) -> Result<Vec<PartWanted>, Problem> {
    let wanted = quantities.into_iter().map(|(part, quantity)| {
        let number = PartNumber::new(&part);
        let part = number.map_err(|e| Problem::invalid("parts", e.to_string()))?;
        Ok(PartWanted { part, quantity })
    });
    wanted.collect()
}

/// A classification, with its names checked; an empty mode: none is known.
pub(crate) fn classification(
    kind: Option<String>,
    mode: Option<String>,
    title: Option<String>,
    why: String,
) -> Result<Work, Problem> {
    let kind = kind.map(TicketKind::new).transpose();
    let kind = kind.map_err(|e| Problem::invalid("kind", e.to_string()))?;
    let mode = match mode.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(name) => {
            let name = ModeName::new(name);
            Some(Some(
                name.map_err(|e| Problem::invalid("mode", e.to_string()))?,
            ))
        }
    };
    Ok(Work::Classify(Box::new(Classification {
        kind,
        mode,
        title,
        why,
    })))
}

/// Puts a file to a ticket
///
/// The body is the file, of at most 10 MiB; `Content-Type` one of image/jpeg, image/png, image/webp, application/pdf,
/// text/plain and text/csv, and what it begins with must be that. A signature is a file with `signed_by`.
#[utoipa::path(post, path = "/api/v1/tickets/{id}/attachments", tag = "tickets",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the file"),
    params(
        ("id" = String, Path, description = "the ticket's number: 7 or T-7"),
        FileParams,
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again keeps nothing")
    ),
    responses((status = 200, description = "the ticket", body = TicketDetailDto)))]
pub(crate) async fn attach(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<FileParams>,
    request: Request,
) -> Result<Response, Problem> {
    let id = ticket_id(&id)?;
    let idempotency_key = idempotency_key(request.headers())?;
    let (media_type, content) = sent_file(request).await?;
    let step = attached(params.name, media_type, params.signed_by, content);
    let request = WorkRequest {
        step: Work::Step(step),
        if_version: None,
        idempotency_key,
    };
    let ticket = app.state.desk.work(id, request, caller.actor()).await?;
    detail(&app, &caller, ticket).await
}

/// The step that puts a file to a ticket.
pub(crate) fn attached(
    name: String,
    media_type: String,
    signed_by: Option<String>,
    content: Vec<u8>,
) -> WorkStep {
    WorkStep::Attach {
        name,
        media_type,
        signed_by,
        sha256: hexadecimal(&content),
        content,
    }
}

/// SHA-256 of `content`.
pub(super) fn hexadecimal(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file that is the body itself: what `Content-Type` says of it, without parameters, in small letters; its content.
pub(super) async fn sent_file(request: Request) -> Result<(String, Vec<u8>), Problem> {
    let declared = request.headers().get(header::CONTENT_TYPE);
    let declared = declared.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = declared.split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let content = to_bytes(request.into_body(), ATTACHMENT_BYTES_MAX).await;
    let content = content.map_err(|_cause| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the file has more than {ATTACHMENT_BYTES_MAX} bytes"),
        )
    })?;
    Ok((media_type, content.into()))
}

/// The file of an entry
///
/// For operators only.
#[utoipa::path(get, path = "/api/v1/tickets/{id}/attachments/{entry}", tag = "tickets",
    params(
        ("id" = String, Path, description = "the ticket's number: 7 or T-7"),
        ("entry" = i64, Path, description = "number of the entry")
    ),
    responses((status = 200, description = "the file, to be saved", content_type = "application/octet-stream",
        headers(("Content-Disposition" = String, description = "its name")))))]
pub(crate) async fn attachment(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((id, entry)): ApiPath<(String, i64)>,
) -> Result<Response, Problem> {
    caller.must_need_to_know(NOTES)?;
    let (kept, content) = app.state.store.attachment(ticket_id(&id)?, entry).await?;
    let EntryBody::Attachment(file) = kept.body else {
        return Err(Problem::not_found("the file"));
    };
    Ok(saved(StoredFile {
        sha256: file.sha256,
        name: file.name,
        media_type: file.media_type,
        content,
    }))
}
