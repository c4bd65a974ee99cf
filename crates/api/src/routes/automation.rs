//! The rules of automation.

use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::extract::ApiQuery;
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;
use crate::state::AutomationInfo;

/// Rules of automation by name, with what they did since the service started
///
/// They are written in the configuration; what each did stands in the histories of tickets, where its actor is
/// `automation:` and its name.
#[utoipa::path(get, path = "/api/v1/automation", tag = "automation", params(PageParams),
    responses((status = 200, description = "a page of rules", body = Page<AutomationInfo>)))]
pub(crate) async fn rules(
    State(app): State<App>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<AutomationInfo>>, Problem> {
    let rules = (app.state.automation)();
    let page = page.cut(List::Automation, &rules, |r| r.name.as_str(), Clone::clone)?;
    Ok(Json(page))
}
