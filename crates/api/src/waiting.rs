//! The API of a service that waits for its database: alive, not ready, and why.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use crate::problem::Problem;
use crate::routes::ops::healthz;

/// Answers on `listener` for as long as `why` has a sender: `/healthz` that the process lives, everything
/// else with status 503 and the reason.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_waiting(
    listener: tokio::net::TcpListener,
    why: watch::Receiver<String>,
) -> std::io::Result<()> {
    let reason = why.clone();
    let not_ready = move || {
        let reason = reason.borrow().clone();
        async move { Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason) }
    };
    let router = Router::new()
        .route("/healthz", get(healthz))
        .fallback(not_ready);
    let mut why = why;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { while why.changed().await.is_ok() {} })
        .await
}
