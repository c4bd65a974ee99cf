//! Signing in and out.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::{Fields, local_path};
use super::shell::render;
use crate::app::App;
use crate::auth::{COOKIE, same_origin};
use crate::problem::Problem;

/// How long a browser stays signed in, seconds: 30 days.
const SESSION_S: u32 = 30 * 24 * 3600;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    next: String,
    notice: Option<String>,
    failed: bool,
}

#[derive(Deserialize)]
pub(crate) struct Next {
    next: Option<String>,
}

pub(crate) async fn page(State(app): State<App>, Query(next): Query<Next>) -> Response {
    render(&LoginPage {
        next: local_path(next.next.as_deref()).to_owned(),
        notice: app.state.notice,
        failed: false,
    })
}

/// The cookie; `Secure` where the browser came over TLS, which ends before us.
fn cookie(headers: &HeaderMap, token: &str, max_age_s: u32) -> Option<HeaderValue> {
    let plain = token
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'"' | b'\\'));
    let is_tls = headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto.as_bytes() == b"https");
    let secure = if is_tls { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).ok().filter(|_| plain)
}

pub(crate) async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    if !same_origin(&headers) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "sign in from this service's own page",
        ));
    }
    let next = local_path(fields.get("next"));
    let token = fields.get("token").unwrap_or_default();
    let session = app
        .state
        .auth
        .check_token(token)
        .and_then(|_| cookie(&headers, token, SESSION_S));
    let Some(session) = session else {
        let mut response = render(&LoginPage {
            next: next.to_owned(),
            notice: app.state.notice,
            failed: true,
        });
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    let mut response = Redirect::to(next).into_response();
    response.headers_mut().insert(header::SET_COOKIE, session);
    Ok(response)
}

pub(crate) async fn sign_out(headers: HeaderMap) -> Response {
    let mut response = Redirect::to("/login").into_response();
    if let Some(ended) = cookie(&headers, "", 0) {
        response.headers_mut().insert(header::SET_COOKIE, ended);
    }
    response
}
