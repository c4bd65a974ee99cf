//! The whole course of a ticket or an alarm, on one page.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::format::{When, readable};
use super::shell::{Shell, render};
use crate::app::{App, Caller};
use crate::extract::ApiPath;
use crate::problem::Problem;
use crate::trace::trace;

#[derive(Template)]
#[template(path = "trace.html")]
struct TracePage {
    shell: Shell,
    id: String,
    asset: Option<String>,
    tickets: Vec<i64>,
    steps: Vec<StepView>,
}

struct StepView {
    at: When,
    kind: &'static str,
    by: Option<String>,
    what: String,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    let found = trace(&*app.state.store, &id, caller.needs_to_know()).await?;
    let now = app.state.clock.now();
    Ok(render(&TracePage {
        shell: Shell::new(&app, &caller, "tickets"),
        id: found.id,
        asset: found.asset_id,
        tickets: found.tickets,
        steps: found
            .steps
            .into_iter()
            .map(|step| StepView {
                at: When::new(now, step.at),
                kind: step.kind,
                by: step.by,
                what: readable(&step.what),
            })
            .collect(),
    }))
}
