//! Documents of machines and articles that are kept here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};
use forecare_care::work::check_file;
use forecare_registry::{
    Body, Change, Document, RecordFaultKind, RecordKind, RecordWrite, is_sha256,
};
use forecare_store::{RecordFilter, RecordsOutcome, StoredFile};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::knowledge::title_for_customers;
use super::registry::{change, record_ref};
use super::work::{hexadecimal, sent_file};
use crate::app::{App, Caller};
use crate::extract::{ApiPath, ApiQuery};
use crate::overview::whole;
use crate::page::{List, Page, PageParams};
use crate::percent::percent_encoded;
use crate::problem::Problem;

/// What only those read who work with it.
const DOCUMENTS: &str = "documents";
/// Records of a kind that are looked through.
const RECORDS_MAX: usize = 200_000;
/// Time for a file that is handed to everybody.
const HANDED_WITHIN: Duration = Duration::from_secs(120);
/// Bytes handed on at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Times a document is added to a record that somebody else changes meanwhile.
const TRIES: usize = 5;

/// What a document is called.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentParams {
    /// The file's name, without a path.
    name: String,
    /// What people call it; its name where not given.
    title: Option<String>,
}

/// A document that is kept here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeptDocument)]
pub(crate) struct KeptDocumentDto {
    /// What people call it.
    pub(crate) title: String,
    /// Its address in the record's `documents`, and in an article's text: `![](/files/...)`.
    pub(crate) url: String,
    /// SHA-256 of its content, hexadecimal: it is read at `/api/v1/files/{sha256}`.
    pub(crate) sha256: String,
    /// Its length, bytes.
    pub(crate) bytes: u64,
}

/// Puts a document to a machine or an article
///
/// The body is the file, of at most 10 MiB; `Content-Type` one of image/jpeg, image/png, image/webp, application/pdf,
/// text/plain and text/csv, and what it begins with must be that. It is added to the record's `documents`; the same
/// content again changes nothing.
#[utoipa::path(post, path = "/api/v1/registry/{kind}/{id}/documents", tag = "registry",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the file"),
    params(
        ("kind" = String, Path, description = "assets or articles"),
        ("id" = String, Path, description = "the record's id"),
        DocumentParams
    ),
    responses((status = 201, description = "the document", body = KeptDocumentDto)))]
pub(crate) async fn put_document(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath((kind, id)): ApiPath<(String, String)>,
    ApiQuery(params): ApiQuery<DocumentParams>,
    request: Request,
) -> Result<(StatusCode, Json<KeptDocumentDto>), Problem> {
    let key = record_ref(&kind, &id)?;
    let (media_type, content) = sent_file(request).await?;
    check_file(&params.name, &media_type, None, &content)
        .map_err(|refused| Problem::invalid("body", refused.to_string()))?;
    let sha256 = hexadecimal(&content);
    let title = params.title.filter(|t| !t.trim().is_empty());
    let document = Document::of_file(title.unwrap_or_else(|| params.name.clone()), &sha256);
    let store = &app.state.store;
    let missing = || Problem::not_found(format_args!("{key}"));
    let mut answer = KeptDocumentDto {
        title: document.title.clone(),
        url: document.url.clone(),
        sha256: sha256.clone(),
        bytes: content.len() as u64,
    };
    for n_tried in 0..TRIES {
        let record = store.record(&key).await?.ok_or_else(missing)?;
        let mut body = record.body.ok_or_else(missing)?;
        let documents = match &mut body {
            Body::Asset(details) => &mut details.documents,
            Body::Article(article) => &mut article.documents,
            Body::Location(_)
            | Body::Customer(_)
            | Body::Contract(_)
            | Body::Technician(_)
            | Body::Depot(_)
            | Body::Van(_)
            | Body::Calendar(_)
            | Body::Lead(_) => {
                return Err(Problem::invalid(
                    "kind",
                    "documents are put to assets and articles",
                ));
            }
        };
        let named = documents.iter().find(|d| d.url == document.url).cloned();
        if named.is_none() {
            documents.push(document.clone());
        }
        // What would be refused is not kept.
        Body::parse(key.kind, body.to_value()).map_err(|faults| {
            let field = faults.0.first().map_or("", |fault| &fault.field);
            Problem::invalid(field, faults.to_string())
        })?;
        // First: what a record names is there. Again, where somebody removed it meanwhile.
        let file = StoredFile {
            sha256: sha256.clone(),
            name: params.name.clone(),
            media_type: media_type.clone(),
            content: content.clone(),
        };
        store.put_file(file).await?;
        if let Some(named) = named {
            answer.title = named.title;
            break;
        }
        let write = RecordWrite {
            kind: key.kind,
            id: key.id.clone(),
            if_version: Some(record.version),
            change: Change::Put(Box::new(body)),
        };
        match change(&app, &caller, vec![write]).await? {
            RecordsOutcome::Stored(_) => break,
            RecordsOutcome::Refused(faults) => {
                let is_raced = faults
                    .iter()
                    .all(|f| matches!(f.kind, RecordFaultKind::Version { .. }));
                if !is_raced || n_tried + 1 == TRIES {
                    return Err(faults.into_iter().next().map_or_else(
                        || Problem::new(StatusCode::CONFLICT, "refused"),
                        Problem::refused_record,
                    ));
                }
            }
        }
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A file, and what names it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeptFile)]
pub(crate) struct KeptFileDto {
    /// SHA-256 of its content, hexadecimal.
    pub(crate) sha256: String,
    /// Its name.
    pub(crate) name: String,
    /// Its media type.
    pub(crate) media_type: String,
    /// Its length, bytes.
    pub(crate) bytes: u64,
    /// Records that have it among their documents: `articles/bearing`. Empty: it may go.
    pub(crate) named_by: Vec<String>,
}

/// The documents that are kept here, and which records name them
///
/// For operators only.
#[utoipa::path(get, path = "/api/v1/files", tag = "registry", params(PageParams),
    responses((status = 200, description = "a page of files", body = Page<KeptFileDto>)))]
pub(crate) async fn files(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<KeptFileDto>>, Problem> {
    caller.must_need_to_know(DOCUMENTS)?;
    let mut named_by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in [RecordKind::Asset, RecordKind::Article] {
        for record in whole(&app, kind, &RecordFilter::default(), RECORDS_MAX).await? {
            let documents = match &record.body {
                Some(Body::Asset(details)) => &details.documents,
                Some(Body::Article(article)) => &article.documents,
                Some(_) | None => continue,
            };
            for sha256 in documents.iter().filter_map(Document::file) {
                let names = named_by.entry(sha256.to_owned()).or_default();
                names.push(format!("{}/{}", kind.plural(), record.record.id));
            }
        }
    }
    let files = app.state.store.files().await?;
    let page = page.cut(
        List::Files,
        &files,
        |file| file.sha256.as_str(),
        |file| KeptFileDto {
            sha256: file.sha256.clone(),
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            bytes: file.bytes,
            named_by: named_by.get(&file.sha256).cloned().unwrap_or_default(),
        },
    )?;
    Ok(Json(page))
}

/// A document that is kept here
///
/// For operators, and for everybody who may read the article that customers read.
#[utoipa::path(get, path = "/api/v1/files/{sha256}", tag = "registry",
    params(("sha256" = String, Path, description = "SHA-256 of its content, 64 hexadecimal digits")),
    responses((status = 200, description = "the file, to be saved", content_type = "application/octet-stream",
        headers(("Content-Disposition" = String, description = "its name")))))]
pub(crate) async fn file(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(sha256): ApiPath<String>,
) -> Result<Response, Problem> {
    if title_for_customers(&app, &sha256).await?.is_none() {
        caller.must_need_to_know(DOCUMENTS)?;
    }
    let found = match is_sha256(&sha256) {
        true => app.state.store.file(&sha256).await?,
        false => None,
    };
    found
        .map(saved)
        .ok_or_else(|| Problem::not_found("the file"))
}

/// Removes a document's content
///
/// Records that name it are not changed: take it out of their `documents` too.
#[utoipa::path(delete, path = "/api/v1/files/{sha256}", tag = "registry",
    params(("sha256" = String, Path, description = "SHA-256 of its content, 64 hexadecimal digits")),
    responses((status = 204, description = "it is gone")))]
pub(crate) async fn remove_file(
    State(app): State<App>,
    ApiPath(sha256): ApiPath<String>,
) -> Result<StatusCode, Problem> {
    app.state.store.remove_file(&sha256).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// [`saved`], for everybody: `place` is free again when it is handed over, and who does not take it in time does not get it.
pub(crate) fn slowly(mut file: StoredFile, place: OwnedSemaphorePermit) -> Response {
    let content = Bytes::from(std::mem::take(&mut file.content));
    let length = content.len();
    let (pieces, taken) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    tokio::spawn(async move {
        let _place = place;
        let handing = async {
            for from in (0..length).step_by(PIECE_BYTES) {
                let piece = content.slice(from..length.min(from + PIECE_BYTES));
                if pieces.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        };
        // Cut off, it is shorter than was said: no browser takes it for whole.
        let _in_time = tokio::time::timeout(HANDED_WITHIN, handing).await;
    });
    let mut response = saved(file);
    *response.body_mut() = HttpBody::from_stream(ReceiverStream::new(taken));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    // What it is called tells what is in it: it never changes.
    let kept = HeaderValue::from_static("private, max-age=86400");
    headers.insert(header::CACHE_CONTROL, kept);
    response
}

/// A file, never shown as a page of ours: saved, under its name, or a picture within a page.
pub(crate) fn saved(file: StoredFile) -> Response {
    let disposition = format!(
        "attachment; filename*=UTF-8''{}",
        percent_encoded(&file.name)
    );
    let mut response = Response::new(HttpBody::from(file.content));
    for (name, value) in [
        (header::CONTENT_TYPE, file.media_type),
        (header::CONTENT_DISPOSITION, disposition),
        (header::ETAG, format!("\"{}\"", file.sha256)),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
