//! Every error leaves as RFC 9457 problem details.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forecare_registry::{RecordFault, RecordFaultKind, RowError, in_words};
use forecare_store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::state::DeskError;

/// Media type of RFC 9457.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Faults of a file that are told in words; `errors` has more.
const FAULTS_NAMED_MAX: usize = 20;

/// An error, as described by RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says what kind of error it is.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "about:blank")]
    kind: Kind,
    /// The status in words.
    #[schema(example = "Not Found")]
    title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    pub(crate) status: u16,
    /// What exactly is wrong, and what to do.
    pub(crate) detail: String,
    /// The field, parameter or header at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// The version the resource has now, where `If-Match` failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_version: Option<i64>,
    /// The lines at fault, where a file was refused; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<RowErrorDto>,
}

/// The kind of a problem, as a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "about:blank")]
    AboutBlank,
}

/// A line of a refused file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RowErrorDto {
    /// Line of the file, from 1; of JSON, the place in the array.
    pub(crate) line: u64,
    /// The column, or the field's path; empty: the line as a whole.
    pub(crate) column: String,
    /// What is wrong, and what is allowed.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::AboutBlank,
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            current_version: None,
            errors: Vec::new(),
        }
    }

    /// A file of which nothing was stored.
    pub(crate) fn refused_file(errors: Vec<RowError>) -> Self {
        let n = errors.len();
        let named: Vec<String> = errors
            .iter()
            .take(FAULTS_NAMED_MAX)
            .map(ToString::to_string)
            .collect();
        let named = named.join("; ");
        let detail = match n {
            1 => format!("nothing was stored: {named}"),
            2..=FAULTS_NAMED_MAX => format!("nothing was stored; {n} faults: {named}"),
            _ => format!("nothing was stored; {n} faults, the first {FAULTS_NAMED_MAX}: {named}"),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        problem.field = errors.first().map(|e| e.column.clone());
        problem.errors = errors
            .into_iter()
            .map(|e| RowErrorDto {
                line: e.line,
                column: e.column,
                detail: e.detail,
            })
            .collect();
        problem
    }

    /// A change of a record that the registry refuses.
    pub(crate) fn refused_record(fault: RecordFault) -> Self {
        let detail = if fault.field.is_empty() {
            format!("{} {}", fault.record, fault.detail)
        } else {
            format!("{}: {}", fault.field, fault.detail)
        };
        match fault.kind {
            RecordFaultKind::Invalid => Self::invalid(&fault.field, detail),
            RecordFaultKind::InUse => Self::new(StatusCode::CONFLICT, detail),
            RecordFaultKind::NotFound => Self::new(StatusCode::NOT_FOUND, detail),
            RecordFaultKind::Version { current } => {
                let mut problem =
                    Self::new(StatusCode::PRECONDITION_FAILED, detail).field("If-Match");
                problem.current_version = Some(current);
                problem
            }
        }
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// A parameter of the request that cannot be used.
    pub(crate) fn bad_parameter(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail).field(field)
    }

    /// A value in the body that makes no sense.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).field(field)
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} was not found"))
    }

    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status_code();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"forecare\""),
            );
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { .. } | StoreError::Misconfigured(_) => {
                tracing::warn!(%error, "store unavailable");
                // The store's own words stay inside: they may name hosts and files.
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the store cannot be reached at the moment; try again shortly",
                )
            }
            StoreError::Conflict(what) => Self::new(StatusCode::CONFLICT, what.clone()),
            StoreError::NotFound(what) => Self::not_found(what),
            StoreError::Corrupt { .. } => {
                tracing::error!(%error, "stored data cannot be used");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "stored data cannot be read; the service's log says more",
                )
            }
        }
    }
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        let detail = error.to_string();
        match error {
            DeskError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, detail),
            DeskError::Conflict(_) => Self::new(StatusCode::CONFLICT, detail),
            DeskError::PreconditionFailed { current } => {
                let mut problem =
                    Self::new(StatusCode::PRECONDITION_FAILED, detail).field("If-Match");
                problem.current_version = Some(current);
                problem
            }
            // `kind: there is none` speaks of the field `kind`.
            DeskError::Invalid(_) => match detail.split_once(": ") {
                Some((field, text)) if !field.contains(' ') => Self::invalid(field, text),
                Some(_) | None => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            },
            DeskError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
        }
    }
}

/// Takes the name of the field from messages such as `limit: invalid digit` of `serde_path_to_error`.
fn split_path(text: &str) -> (Option<String>, String) {
    let text = text
        .trim_start_matches("Failed to deserialize query string: ")
        .trim_start_matches("Failed to deserialize the JSON body into the target type: ");
    let named = text
        .split_once("missing field `")
        .or_else(|| text.split_once("unknown field `"))
        .and_then(|(_, rest)| rest.split_once('`'))
        .map(|(name, _)| name.to_owned());
    match text.split_once(": ") {
        Some((path, rest)) if !path.contains(' ') && path != "." => (
            Some(named.unwrap_or_else(|| path.to_owned())),
            rest.to_owned(),
        ),
        Some(_) | None => (named, text.to_owned()),
    }
}

fn with_path(status: StatusCode, text: &str) -> Problem {
    let (field, detail) = split_path(text);
    let detail = in_words(&detail);
    let mut problem = Problem::new(status, detail);
    problem.field = field;
    problem
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        with_path(StatusCode::BAD_REQUEST, &rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        // A name that cannot exist is not there.
        with_path(StatusCode::NOT_FOUND, &rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        with_path(rejection.status(), &rejection.body_text())
    }
}
