//! The catalogue, for programs that build forms and requests.

use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::dto::CatalogueDto;

/// What can be named: classes, failure modes, parts, depots, kinds of tickets with their fields
///
/// As the running service has read it from its catalogue and configuration; it changes with a restart only.
#[utoipa::path(get, path = "/api/v1/catalogue", tag = "operation",
    responses((status = 200, description = "the catalogue", body = CatalogueDto)))]
pub(crate) async fn catalogue(State(app): State<App>) -> Json<CatalogueDto> {
    Json(CatalogueDto::new(&app.state.catalogue, &app.state.tickets))
}
