//! Who comes in: a bearer token, or the console's cookie with a form token against forgery.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_care::work::ATTACHMENT_BYTES_MAX;
use forecare_domain::Channel;
use sha2::{Digest, Sha256};

use crate::app::{App, Caller};
use crate::problem::Problem;
use crate::routes::inbound::MAIL_BYTES_MAX;
use crate::state::Role;

/// Longest request body, bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// What a token for metrics alone opens.
const METRICS: &str = "/metrics";
/// Where mail servers hand messages on.
const RAW_MAIL: &str = "/api/v1/inbound/email/raw";
/// The customer's page.
const ANSWERS: &str = "/answer/";
/// Where everybody may sign out.
const LOGOUT: &str = "/logout";
/// Longest body of a customer's answer, bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest body of an import of records, bytes.
pub(crate) const IMPORT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Name of the console's cookie.
pub(crate) const COOKIE: &str = "forecare_session";

/// Open to everyone: health for orchestrators, what the login page is made of, the customer's page, which a signed link
/// opens, and articles that customers may read.
fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/login" | "/help")
        || path.starts_with("/static/")
        || path.starts_with(ANSWERS)
        || path.starts_with("/help/")
}

/// Longest body for an address, bytes.
pub(crate) fn body_bytes_max(path: &str) -> usize {
    let is_import = path.starts_with("/api/v1/registry/") && path.ends_with("/import");
    let is_file = (path.starts_with("/api/v1/tickets/") && path.ends_with("/attachments"))
        || (path.starts_with("/api/v1/registry/")
            && path.ends_with("/documents")
            && path.split('/').count() == 7);
    if is_import {
        IMPORT_BYTES_MAX
    } else if is_file {
        ATTACHMENT_BYTES_MAX
    } else if path == RAW_MAIL {
        MAIL_BYTES_MAX
    } else if path.starts_with(ANSWERS) {
        ANSWER_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// True where a person's browser asks for a page: such answers are pages too.
pub(crate) fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    !path.starts_with("/api/")
        && headers
            .get(header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"))
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// What a form must carry. Derived from the session's secret, which another site cannot read: needs no
/// memory, and stays valid across restarts.
fn csrf_of(token: &str) -> String {
    let hash = Sha256::new()
        .chain_update(b"forecare form token\0")
        .chain_update(token)
        .finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body is read and compared as a whole, so that the time tells nothing about where they differ.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

/// True unless the browser says that another site sent the request.
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, origin_host)| origin_host.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

fn forged() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "the request does not carry this session's form token; reload the page and try again",
    )
}

/// Checks the form token in the header `X-CSRF-Token` or the form field `csrf`.
async fn believed(request: Request, csrf: &str) -> Result<Request, Problem> {
    let headers = request.headers();
    if !same_origin(headers) {
        return Err(forged());
    }
    if let Some(given) = headers.get("x-csrf-token") {
        return if given.to_str().is_ok_and(|given| same(given, csrf)) {
            Ok(request)
        } else {
            Err(forged())
        };
    }
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return Err(forged());
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_cause| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large"))?;
    let given = body
        .split(|byte| *byte == b'&')
        .find_map(|pair| pair.strip_prefix(b"csrf="))
        .and_then(|value| std::str::from_utf8(value).ok())
        .unwrap_or_default();
    if same(given, csrf) {
        Ok(Request::from_parts(parts, Body::from(body)))
    } else {
        Err(forged())
    }
}

/// Lets a request in, or sends it away.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if is_open(path) {
        return next.run(request).await;
    }
    let headers = request.headers();
    if path == METRICS && is_read(request.method()) {
        // Who collects metrics need not be able to do anything else.
        let may = bearer(headers).is_some_and(|token| app.state.auth.opens_metrics(token));
        if may {
            return next.run(request).await;
        }
    }
    let (token, channel) = match (bearer(headers), cookie(headers)) {
        (Some(token), _) => (Some(token), Channel::Api),
        (None, token) => (token, Channel::Console),
    };
    let caller = token.and_then(|token| {
        let visitor = app.state.auth.check_token(token)?;
        Some(Caller {
            name: visitor.name,
            role: visitor.role,
            channel,
            csrf: csrf_of(token),
        })
    });
    let Some(caller) = caller else {
        return sent_away(&request);
    };
    let leaves = request.uri().path() == LOGOUT;
    if caller.role == Role::Viewer && !is_read(request.method()) && !leaves {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "this token may only read; ask for one of an operator",
        )
        .into_response();
    }
    if channel == Channel::Console && !is_read(request.method()) {
        request = match believed(request, &caller.csrf).await {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        };
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn sent_away(request: &Request) -> Response {
    let path = request.uri().path();
    if *request.method() == Method::GET && wants_page(path, request.headers()) {
        let mut login = "/login".to_owned();
        if path != "/" {
            login.push_str("?next=");
            login.push_str(&path.replace('%', "%25"));
        }
        return Redirect::to(&login).into_response();
    }
    let mut response = Problem::new(
        StatusCode::UNAUTHORIZED,
        "send the token as \"Authorization: Bearer ...\", or sign in at /login",
    )
    .into_response();
    // A page that is open already leads back to the login.
    if request.headers().contains_key("hx-request") {
        response.headers_mut().insert(
            "hx-redirect",
            axum::http::HeaderValue::from_static("/login"),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn the_cookie_is_found_among_others_and_not_by_its_prefix() {
        let found = headers(&[("cookie", "a=b; forecare_session=s3cret; c=d")]);
        assert_eq!(cookie(&found), Some("s3cret"));
        assert_eq!(cookie(&headers(&[("cookie", "forecare_session2=x")])), None);
    }

    #[test]
    fn another_site_is_told_by_its_origin() {
        let own = [
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080"),
        ];
        assert!(same_origin(&headers(&own)));
        assert!(same_origin(&headers(&[("host", "localhost:8080")])));
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!same_origin(&headers(&[
                ("host", "localhost:8080"),
                (name, value)
            ])));
        }
    }

    #[test]
    fn form_tokens_differ_by_session_and_do_not_show_it() {
        assert_ne!(csrf_of("a"), csrf_of("b"));
        assert!(!csrf_of("secret").contains("secret"));
    }
}
