//! What is on record: verdicts and refused messages.

use axum::Json;
use axum::extract::State;
use forecare_domain::RejectReason;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::dto::{DeadLetterDto, LabelDto};
use crate::extract::ApiQuery;
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;

/// Verdicts of technicians, newest first: the labels of the next training
#[utoipa::path(get, path = "/api/v1/labels", tag = "records", params(PageParams),
    responses((status = 200, description = "a page of labels", body = Page<LabelDto>)))]
pub(crate) async fn labels(
    State(app): State<App>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<LabelDto>>, Problem> {
    let request = page.request(List::Labels)?;
    let found = app.state.store.labels(request).await?;
    Ok(Json(Page::of(List::Labels, request, found, LabelDto::from)))
}

/// Which refused messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetterParams {
    /// Only of this reason, such as `not_a_number`.
    reason: Option<String>,
    /// `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
}

/// Refused messages, newest first
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "records", params(DeadLetterParams),
    responses((status = 200, description = "a page of refused messages", body = Page<DeadLetterDto>)))]
pub(crate) async fn dead_letters(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<DeadLetterParams>,
) -> Result<Json<Page<DeadLetterDto>>, Problem> {
    let reason = match params.reason.as_deref() {
        None => None,
        Some(label) => Some(
            RejectReason::ALL
                .into_iter()
                .find(|r| r.label() == label)
                .ok_or_else(|| {
                    let known = RejectReason::ALL.map(RejectReason::label).join(", ");
                    Problem::bad_parameter("reason", format!("the reasons are {known}"))
                })?,
        ),
    };
    let request = PageParams::new(params.cursor, params.limit).request(List::DeadLetters)?;
    let found = app.state.store.dead_letters(reason, request).await?;
    Ok(Json(Page::of(
        List::DeadLetters,
        request,
        found,
        DeadLetterDto::from,
    )))
}
