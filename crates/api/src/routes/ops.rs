//! What operators and their tools ask: health, readiness, metrics, the API's description.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, Registry, TextEncoder};

use crate::app::App;
use crate::dto::HealthzDto;
use crate::problem::Problem;

/// The process lives
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()),
    responses((status = 200, description = "it lives", body = HealthzDto)))]
pub(crate) async fn healthz() -> Json<HealthzDto> {
    Json(HealthzDto { status: "ok" })
}

/// The service can work: the store answers, messages come in
#[utoipa::path(get, path = "/readyz", tag = "operation", security(()),
    responses((status = 200, description = "it can", body = HealthzDto)))]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<HealthzDto>, Problem> {
    (app.state.readiness)().map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))?;
    Ok(Json(HealthzDto { status: "ok" }))
}

/// Metrics, in Prometheus' text format
#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "the metrics", content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    text_of(&app.state.metrics)
}

/// The registry in Prometheus' text format.
pub(crate) fn text_of(metrics: &Registry) -> Result<Response, Problem> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder
        .encode(&metrics.gather(), &mut text)
        .map_err(|error| {
            tracing::error!(%error, "metrics cannot be written");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written; the service's log says more",
            )
        })?;
    let content_type = [(header::CONTENT_TYPE, encoder.format_type().to_owned())];
    Ok((content_type, text).into_response())
}

/// This description of the API
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object)))]
pub(crate) async fn openapi() -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (content_type, crate::openapi::openapi_json()).into_response()
}
