//! Alarm episodes, active and ended.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_domain::AlarmId;
use forecare_store::AlarmFilter;
use serde::Deserialize;

use super::form::{Fields, local_path};
use super::shell::{Shell, render};
use super::view::{AlarmView, asset_of};
use crate::app::{App, Caller};
use crate::extract::ApiQuery;
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;

/// Which alarms.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AlarmsParams {
    #[serde(default)]
    show: String,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "alarms.html")]
struct AlarmsPage {
    shell: Shell,
    ended: bool,
    alarms: Vec<AlarmView>,
    cursor: Option<String>,
    next_cursor: Option<String>,
    back: String,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<AlarmsParams>,
) -> Result<Response, Problem> {
    let ended = params.show == "ended";
    let store = &app.state.store;
    let assets = store.assets().await?;
    let filter = AlarmFilter {
        device: None,
        active: Some(!ended),
    };
    let page = PageParams::new(params.cursor.clone(), None);
    let request = page.request(List::Alarms)?;
    let found = store.alarms(&filter, request).await?;
    let now = app.state.clock.now();
    let page = Page::of(List::Alarms, request, found, |alarm| {
        let asset = asset_of(&assets, &alarm.device);
        AlarmView::new(&app.state.catalogue, asset, now, alarm)
    });
    Ok(render(&AlarmsPage {
        shell: Shell::new(&app, &caller, "alarms"),
        ended,
        alarms: page.items,
        cursor: params.cursor,
        next_cursor: page.next_cursor,
        back: "/alarms".to_owned(),
    }))
}

/// Marks an alarm as seen and returns to where the button was.
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    fields: Fields,
) -> Result<Response, Problem> {
    let id = AlarmId(fields.need("alarm")?.to_owned());
    app.state
        .desk
        .acknowledge_alarm(&id, caller.actor())
        .await?;
    Ok(Redirect::to(local_path(fields.get("back"))).into_response())
}
