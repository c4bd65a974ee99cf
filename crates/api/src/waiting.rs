//! The API of a service that waits for its database: alive, not ready, and why.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::Registry;
use tokio::sync::watch;

use crate::auth::bearer;
use crate::problem::Problem;
use crate::routes::ops::{healthz, text_of};
use crate::state::Auth;

/// Answers on `listener` for as long as `why` has a sender: `/healthz` that the process lives, `/metrics` with what
/// there is of them for those whom `auth` knows, everything else with status 503 and the reason.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_waiting(
    listener: tokio::net::TcpListener,
    why: watch::Receiver<String>,
    metrics: Registry,
    auth: Arc<dyn Auth>,
) -> std::io::Result<()> {
    let reason = why.clone();
    let not_ready = move || {
        let reason = reason.borrow().clone();
        async move { Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason) }
    };
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route(
            "/metrics",
            get(move |headers: HeaderMap| async move {
                if !bearer(&headers).is_some_and(|token| auth.opens_metrics(token)) {
                    return Problem::new(
                        StatusCode::UNAUTHORIZED,
                        "send the token for metrics, or the API's",
                    )
                    .into_response();
                }
                text_of(&metrics).into_response()
            }),
        )
        .fallback(not_ready);
    let mut why = why;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { while why.changed().await.is_ok() {} })
        .await
}
