//! Alarm episodes.

use axum::extract::State;
use axum::{Extension, Json};
use forecare_domain::{AlarmId, DeviceId};
use forecare_store::AlarmFilter;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::{App, Caller};
use crate::dto::AlarmDto;
use crate::extract::{ApiPath, ApiQuery};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;

/// Which alarms.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmParams {
    /// Only active ones (true), or only ended ones (false).
    active: Option<bool>,
    /// Only of this device.
    device: Option<String>,
    /// `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
}

/// Alarm episodes, newest first
#[utoipa::path(get, path = "/api/v1/alarms", tag = "alarms", params(AlarmParams),
    responses((status = 200, description = "a page of alarms", body = Page<AlarmDto>)))]
pub(crate) async fn alarms(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<AlarmParams>,
) -> Result<Json<Page<AlarmDto>>, Problem> {
    let device = params
        .device
        .map(DeviceId::new)
        .transpose()
        .map_err(|e| Problem::bad_parameter("device", e.to_string()))?;
    let filter = AlarmFilter {
        device,
        active: params.active,
    };
    let request = PageParams::new(params.cursor, params.limit).request(List::Alarms)?;
    let found = app.state.store.alarms(&filter, request).await?;
    Ok(Json(Page::of(List::Alarms, request, found, AlarmDto::from)))
}

/// Marks an alarm as seen; again changes nothing
#[utoipa::path(post, path = "/api/v1/alarms/{id}/acknowledge", tag = "alarms",
    params(
        ("id" = String, Path, description = "the episode's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again gets the first answer again")
    ),
    responses((status = 200, description = "the alarm", body = AlarmDto)))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<AlarmDto>, Problem> {
    let alarm = app
        .state
        .desk
        .acknowledge_alarm(&AlarmId(id), caller.actor())
        .await?;
    Ok(Json(alarm.into()))
}
