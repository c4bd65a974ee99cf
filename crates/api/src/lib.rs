#![doc = include_str!("../README.md")]

mod also_open;
mod app;
mod auth;
mod console;
mod cost;
mod dto;
mod extract;
mod for_whom;
mod heard;
mod idempotency;
mod mail;
mod openapi;
mod outcomes;
mod overview;
mod page;
mod percent;
mod placing;
mod plan;
mod problem;
mod rate;
mod recent;
mod reorder;
mod routes;
mod state;
mod stream;
mod ticket_search;
mod trace;
mod used;
mod waiting;
mod web;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::sync::watch;

pub use dto::{UnitDto, UnitPlaceDto};
pub use for_whom::customer_of;
pub use openapi::openapi_json;
pub use percent::percent_encoded;
pub use reorder::PartsPolicy;
pub use routes::inbound::sender_name;
pub use routes::inbox::unplaced_notice;
pub use routes::units::where_units;
pub use state::{
    AnswerLinks, ApiState, AssignmentRequest, Auth, AutomationInfo, AutomationResult, Costs, Desk,
    DeskError, ModelInfo, OpenRequest, ReadSla, Role, StreamEvent, TransitionRequest, Visitor,
    Work, WorkRequest, opening_key, request_key,
};
pub use trace::{Trace, TraceStep, trace};
pub use waiting::serve_waiting;

use crate::app::App;

/// The API and the console as one router.
///
/// Event streams of this router end when their readers go; use [`serve`] where they must end with the
/// process.
pub fn router(state: ApiState) -> Router {
    let (_, closing) = watch::channel(false);
    with_closing(state, closing)
}

fn with_closing(state: ApiState, closing: watch::Receiver<bool>) -> Router {
    let app = App::new(state, closing);
    let (api, _) = openapi::api();
    api.merge(console::routes())
        .fallback(web::not_found)
        .method_not_allowed_fallback(web::method_not_allowed)
        .layer(from_fn_with_state(app.clone(), idempotency::replay))
        .layer(from_fn_with_state(app.clone(), auth::guard))
        .layer(DefaultBodyLimit::max(auth::BODY_BYTES_MAX))
        .layer(from_fn(web::shape))
        .layer(from_fn(web::secure))
        .with_state(app)
}

/// Answers on `listener` until `shutdown` completes; then no new connection is taken, streams end, and
/// requests under way are finished.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: tokio::net::TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (close, closing) = watch::channel(false);
    let router = with_closing(state, closing);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            shutdown.await;
            close.send_replace(true);
        })
        .await
}
