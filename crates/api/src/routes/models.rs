//! The models and their roles.

use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::extract::ApiQuery;
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;
use crate::state::ModelInfo;

/// Versions of the classes' models with their roles, by id; roles are changed by `forecare models`
#[utoipa::path(get, path = "/api/v1/models", tag = "models", params(PageParams),
    responses((status = 200, description = "a page of models", body = Page<ModelInfo>)))]
pub(crate) async fn models(
    State(app): State<App>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<ModelInfo>>, Problem> {
    let models = (app.state.models)();
    let page = page.cut(List::Models, &models, |m| m.id.as_str(), Clone::clone)?;
    Ok(Json(page))
}
