//! One thing's whole course.

use axum::extract::State;
use axum::{Extension, Json};

use crate::app::{App, Caller, cut};
use crate::extract::ApiPath;
use crate::problem::Problem;
use crate::trace::{Trace, trace};

/// Characters of an id at most.
const ID_CHARS_MAX: usize = 400;

/// The whole course of an alarm or ticket: reading, decisions, parts, work, verdict
#[utoipa::path(get, path = "/api/v1/trace/{id}", tag = "tickets",
    params(("id" = String, Path, description = "a ticket, such as T-7 or 7, or an alarm's id")),
    responses((status = 200, description = "the steps in order of time", body = Trace)))]
pub(crate) async fn trace_of(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<Trace>, Problem> {
    let found = trace(
        app.state.store.as_ref(),
        &cut(&id, ID_CHARS_MAX),
        caller.needs_to_know(),
    )
    .await?;
    Ok(Json(found))
}
