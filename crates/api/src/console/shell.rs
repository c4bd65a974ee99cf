//! What every page has around it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::app::{App, Caller};
use crate::problem::Problem;

/// The frame of a page.
pub(crate) struct Shell {
    /// Which entry of the navigation is current.
    pub(crate) at: &'static str,
    /// The service's time.
    pub(crate) now: String,
    /// The banner.
    pub(crate) notice: Option<String>,
    /// Who is signed in; empty: nobody.
    pub(crate) user: String,
    /// Whether who is signed in works on tickets and records.
    pub(crate) works: bool,
    /// What forms must carry.
    pub(crate) csrf: String,
    /// What went wrong with the form just sent.
    pub(crate) problem: Option<String>,
}

impl Shell {
    pub(crate) fn new(app: &App, caller: &Caller, at: &'static str) -> Self {
        let now = app.state.clock.now();
        Self {
            at,
            now: super::format::When::new(now, now).utc,
            notice: app.state.notice.clone(),
            user: caller.name.clone(),
            works: caller.needs_to_know(),
            csrf: caller.csrf.clone(),
            problem: None,
        }
    }

    pub(crate) fn problem(mut self, problem: Option<&Problem>) -> Self {
        self.problem = problem.map(|p| p.detail.clone());
        self
    }
}

/// A rendered page.
pub(crate) fn render(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "page cannot be rendered");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the page cannot be shown; the service's log says more",
            )
            .into_response()
        }
    }
}

/// A rendered page with the status of what went wrong, if anything did.
pub(crate) fn render_with(page: &impl Template, problem: Option<&Problem>) -> Response {
    let mut response = render(page);
    if let Some(problem) = problem {
        *response.status_mut() = problem.status_code();
    }
    response
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    status: u16,
    heading: &'static str,
    detail: String,
}

/// An error as a page.
pub(crate) fn error_page(problem: &Problem) -> Response {
    let heading = match problem.status {
        403 => "Not allowed",
        404 => "Not found",
        405 => "Not possible here",
        409 | 412 => "It has changed meanwhile",
        503 => "Not available at the moment",
        400..500 => "That does not work",
        _ => "Something went wrong",
    };
    let page = ErrorPage {
        status: problem.status,
        heading,
        detail: problem.detail.clone(),
    };
    let mut response = render(&page);
    *response.status_mut() = problem.status_code();
    response
}
