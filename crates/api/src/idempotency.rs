//! `Idempotency-Key`: the same request again gets the first answer again.
//!
//! The store and the desk keep the keys of what must not happen twice across restarts; this bounded
//! memory adds the same answer for every POST, and refuses a key that is used for something else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use crate::app::{App, Caller};
use crate::auth::body_bytes_max;
use crate::extract::idempotency_key;
use crate::problem::Problem;

/// Answers kept; the oldest goes first.
const KEPT_MAX: usize = 1_024;
/// Answers larger than this are not kept.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Owner and key.
type Key = (String, String);

struct Entry {
    key: Key,
    /// What was asked: method, path and body.
    request: [u8; 32],
    /// `None` while it is being worked on.
    answer: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The answers given lately.
#[derive(Default)]
pub(crate) struct Replays(Mutex<VecDeque<Entry>>);

enum Found {
    New,
    Working,
    Other,
    Same(Answer),
}

impl Replays {
    fn entries(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: &Key, request: [u8; 32]) -> Found {
        let mut entries = self.entries();
        match entries.iter().find(|e| &e.key == key) {
            Some(e) if e.request != request => return Found::Other,
            Some(Entry { answer: None, .. }) => return Found::Working,
            Some(Entry {
                answer: Some(answer),
                ..
            }) => return Found::Same(answer.clone()),
            None => {}
        }
        if entries.len() >= KEPT_MAX {
            entries.pop_front();
        }
        entries.push_back(Entry {
            key: key.clone(),
            request,
            answer: None,
        });
        Found::New
    }

    fn finish(&self, key: &Key, answer: Option<Answer>) {
        let mut entries = self.entries();
        if let Some(index) = entries.iter().position(|e| &e.key == key) {
            match (answer, entries.get_mut(index)) {
                (Some(answer), Some(entry)) => entry.answer = Some(answer),
                (None, _) | (_, None) => {
                    entries.remove(index);
                }
            }
        }
    }
}

/// Forgets the key unless an answer was kept: a caller that went away may try again.
struct Working {
    replays: Arc<Replays>,
    key: Option<Key>,
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.replays.finish(key, None);
        }
    }
}

/// Answers a repeated POST from memory.
pub(crate) async fn replay(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = match request.method() {
        &Method::POST => idempotency_key(request.headers())?,
        _ => None,
    };
    let Some(key) = key else {
        return Ok(next.run(request).await);
    };
    let owner = request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.name.clone())
        .unwrap_or_default();
    let key = (owner, key);

    let (parts, body) = request.into_parts();
    let bytes_max = body_bytes_max(parts.uri.path());
    let body = to_bytes(body, bytes_max).await.map_err(|_cause| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {bytes_max} bytes"),
        )
    })?;
    let fingerprint = Sha256::new()
        .chain_update(parts.uri.path())
        .chain_update([0])
        .chain_update(&body)
        .finalize()
        .into();
    match app.replays.begin(&key, fingerprint) {
        Found::New => {}
        Found::Same(answer) => return Ok(answer.into_response()),
        Found::Working => {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "a request with this key is being worked on; ask again shortly",
            )
            .field("Idempotency-Key"));
        }
        Found::Other => {
            return Err(Problem::invalid(
                "Idempotency-Key",
                "this key was used for another request; use a new one",
            ));
        }
    }
    let mut working = Working {
        replays: Arc::clone(&app.replays),
        key: Some(key),
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let small = response.body().size_hint().upper();
    let small = small.is_some_and(|bytes| bytes <= ANSWER_BYTES_MAX);
    if !response.status().is_success() || !small {
        // What was done is done: an answer too large to keep still goes to who asked.
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|_cause| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer was cut short",
        )
    })?;
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    };
    if let Some(key) = working.key.take() {
        app.replays.finish(&key, Some(answer.clone()));
    }
    Ok(answer.into_response())
}

impl Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        // The length is set anew.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}
