//! The console.

use axum::Router;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::problem::Problem;

pub(crate) fn routes() -> Router<App> {
    Router::new()
}

pub(crate) fn error_page(problem: &Problem) -> Response {
    problem.clone().into_response()
}
