//! What holds for every route: who comes in, how errors look, what the description says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use fixture::World;
use fixture::ask::{ask, get, post, send, submit, visit};
use forecare_api::{openapi_json, router};
use serde_json::{Value, json};

/// Every operation of the description: method and path with its parameters filled in.
fn operations() -> Vec<(String, String)> {
    let description: Value = serde_json::from_str(&openapi_json()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, item) in paths {
        let path = path
            .replace("{id}", "7")
            .replace("{number}", "BRG-6310")
            .replace("{kind}", "customers");
        for method in item.as_object().unwrap().keys() {
            if ["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                operations.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    operations
}

#[tokio::test]
async fn every_route_but_health_asks_for_the_token() {
    let router = router(World::new().state);
    let operations = operations();
    assert!(operations.len() >= 23, "{operations:?}");
    for (method, path) in operations {
        for token in [
            None,
            Some("Bearer wrong"),
            Some("Basic Zm9vOmJhcg=="),
            Some("Bearer "),
        ] {
            let mut request = Request::builder().method(method.as_str()).uri(&path);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let answer = send(&router, request.body(Body::empty()).unwrap()).await;
            if ["/healthz", "/readyz"].contains(&path.as_str()) {
                assert_eq!(answer.status, StatusCode::OK, "{path}");
            } else {
                answer.problem(401);
                assert!(answer.header("www-authenticate").starts_with("Bearer"));
            }
        }
    }
}

#[tokio::test]
async fn the_console_asks_for_the_token_too() {
    let router = router(World::new().state);
    for path in [
        "/",
        "/assets/x",
        "/alarms",
        "/tickets",
        "/tickets/1",
        "/parts",
        "/parts/supply",
        "/kpis",
        "/knowledge",
        "/nowhere",
    ] {
        let request = Request::get(path).header("accept", "text/html");
        let answer = send(&router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.header("location").starts_with("/login"), "{path}");
    }
}

#[tokio::test]
async fn every_described_route_is_there() {
    let router = router(World::new().state);
    for (method, path) in operations() {
        if path == "/api/v1/stream" {
            continue; // It does not end; it has its own tests.
        }
        let answer = ask(&router, &method, &path, &[], "").await;
        assert_ne!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}"
        );
        if answer.status == StatusCode::NOT_FOUND {
            // The thing is not there, but the route is.
            assert!(!answer.text.contains("openapi.json"), "{method} {path}");
        }
    }
}

#[test]
fn the_description_is_openapi_3_1_and_complete() {
    let description: Value = serde_json::from_str(&openapi_json()).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let text = description.to_string();
    // Every reference leads somewhere.
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{at}: the operation id is taken");
            assert!(
                operation["summary"].as_str().is_some_and(|s| !s.is_empty()),
                "{at}"
            );
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("default"), "{at}");
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{at}"
            );
            let declared: Vec<&str> = operation["parameters"]
                .as_array()
                .map(|list| {
                    list.iter()
                        .filter(|p| p["in"] == "path")
                        .collect::<Vec<_>>()
                })
                .unwrap_or_default()
                .iter()
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            let named: Vec<&str> = path
                .split('{')
                .skip(1)
                .filter_map(|rest| rest.split('}').next())
                .collect();
            assert_eq!(declared, named, "{at}");
            let says_all = ["acknowledge", "retry", "article"]
                .iter()
                .any(|end| path.ends_with(end));
            // A file is the body itself.
            let is_file = ["/attachments", "/documents", "/raw"]
                .iter()
                .any(|end| path.ends_with(end));
            if method == "post" && !says_all && !is_file {
                assert!(
                    operation["requestBody"]["content"]["application/json"].is_object(),
                    "{at}"
                );
            }
        }
    }
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/v1/openapi.json",
        "/api/v1/stream",
    ] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_token_for_metrics_opens_metrics_alone() {
    let router = router(World::new().state);
    let bearer = format!("Bearer {}", fixture::METRICS_TOKEN);
    for (method, path) in operations() {
        let request = Request::builder()
            .method(method.as_str())
            .uri(&path)
            .header("authorization", &bearer);
        let answer = send(&router, request.body(Body::empty()).unwrap()).await;
        if ["/healthz", "/readyz", "/metrics"].contains(&path.as_str()) {
            assert_eq!(answer.status, StatusCode::OK, "{path}");
        } else {
            answer.problem(401);
        }
    }
    // Nor does it sign in, nor make a session.
    let form = format!("token={}", fixture::METRICS_TOKEN);
    let request = Request::post("/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    assert_eq!(
        send(&router, request).await.status,
        StatusCode::UNAUTHORIZED
    );
    let cookie = format!("forecare_session={}", fixture::METRICS_TOKEN);
    for path in ["/api/v1/tickets", "/metrics"] {
        let request = Request::get(path).header("cookie", &cookie);
        send(&router, request.body(Body::empty()).unwrap())
            .await
            .problem(401);
    }
}

#[tokio::test]
async fn every_error_is_problem_details() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let big = format!("{{\"assets\":[{{\"id\":\"{}\"}}]}}", "x".repeat(2 << 20));

    get(&router, "/api/v1/nowhere").await.problem(404);
    get(&router, "/api/v1/assets/nope").await.problem(404);
    get(&router, "/api/v1/assets/%3Cscript%3E")
        .await
        .problem(404);
    get(&router, "/api/v1/assets/%FF").await.problem(404);
    get(&router, "/api/v1/tickets/9223372036854775808")
        .await
        .problem(404);
    get(&router, "/static/../Cargo.toml").await.problem(404);
    let answer = ask(&router, "DELETE", "/api/v1/assets", &[], "").await;
    answer.problem(405);
    assert!(
        answer.header("allow").contains("GET"),
        "{:?}",
        answer.headers
    );
    for (query, field) in [
        ("assets?limit=0", "limit"),
        ("assets?limit=501", "limit"),
        ("assets?limit=many", "limit"),
        ("assets?cursor=zz", "cursor"),
        ("assets?colour=red", "colour"),
        ("alarms?active=perhaps", "active"),
        ("alarms?device=a/b", "device"),
        ("tickets?open=1", "open"),
        ("tickets?parent=x", "parent"),
        ("reservations?ticket=x", "ticket"),
        ("dead-letters?reason=whim", "reason"),
        ("assets/pump-1/telemetry?points=0", "points"),
        ("assets/pump-1/telemetry?points=5001", "points"),
        ("assets/pump-1/telemetry?from=yesterday", "from"),
        (
            "assets/pump-1/telemetry?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "from",
        ),
        ("assets/pump-1/telemetry?metrics=a%20b", "metrics"),
        ("assets/pump-1/telemetry?fill=zero", "fill"),
        ("telemetry/latest?limit=0", "limit"),
    ] {
        let problem = get(&router, &format!("/api/v1/{query}")).await.problem(400);
        assert_eq!(problem["field"], field, "{query}: {problem}");
    }
    for (body, status) in [
        ("{\"assets\":", 400),
        ("{\"assets\":1}", 422),
        ("{}", 422),
        ("{\"assets\":[],\"more\":1}", 422),
        ("{\"assets\":[]}", 422),
        ("nonsense", 400),
        (big.as_str(), 413),
    ] {
        ask(&router, "POST", "/api/v1/assets", &[], body)
            .await
            .problem(status);
    }
    let text = [("content-type", "text/plain")];
    let request = ask(&router, "POST", "/api/v1/assets", &text, "").await;
    request.problem(415);
}

#[tokio::test]
async fn a_refused_body_names_its_field() {
    let router = router(World::new().state);
    let asset = |change: Value| {
        let mut asset = json!({"id": "pump-1", "class": "pump"});
        asset
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        json!({ "assets": [asset] })
    };
    for (change, field) in [
        (json!({"id": "a/b"}), "assets[0].id"),
        (json!({"device_id": "#"}), "assets[0].device_id"),
        (json!({"class": "rocket"}), "assets[0].class"),
        (json!({"depot": "moon"}), "assets[0].depot"),
        (json!({"name": "x".repeat(201)}), "assets[0].name"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let answer = post(&router, "/api/v1/assets", &asset(change)).await;
        assert_eq!(answer.problem(422)["field"], field);
    }
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let mut world = World::new();
    world.state.readiness = std::sync::Arc::new(|| Err("the store does not answer".to_owned()));
    let router = router(world.state);
    let problem = get(&router, "/readyz").await.problem(503);
    assert_eq!(problem["detail"], "the store does not answer");
    assert_eq!(get(&router, "/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_what_the_registry_holds() {
    let world = World::new();
    let counter = prometheus::IntCounter::new("forecare_test_total", "a test").unwrap();
    world
        .state
        .metrics
        .register(Box::new(counter.clone()))
        .unwrap();
    counter.inc_by(3);
    let answer = get(&router(world.state), "/metrics").await;
    assert!(answer.header("content-type").starts_with("text/plain"));
    assert!(
        answer.text.contains("forecare_test_total 3"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let router = router(World::new().state);
    for path in [
        "/",
        "/login",
        "/api/v1/assets",
        "/static/console.css",
        "/nowhere",
        "/healthz",
    ] {
        let answer = get(&router, path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{path}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn a_post_with_the_cookie_needs_the_form_token_and_the_same_origin() {
    let router = router(World::new().state);
    let csrf = fixture::ask::csrf(&visit(&router, "/parts").await);
    let body = "kind=receipt&part=BRG-6310&depot=north&quantity=1&form_key=k1";
    let with = format!("csrf={csrf}&{body}");
    let host = ("host", "localhost:8080");

    for (headers, body) in [
        (vec![host], body.to_owned()),
        (vec![host], format!("csrf=wrong&{body}")),
        (vec![host, ("origin", "http://evil.example")], with.clone()),
        (vec![host, ("sec-fetch-site", "cross-site")], with.clone()),
        (vec![host, ("x-csrf-token", "wrong")], with.clone()),
    ] {
        let answer = submit(&router, "/parts/movements", &headers, &body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let own = [host, ("origin", "http://localhost:8080")];
    let answer = submit(&router, "/parts/movements", &own, &with).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
}

#[tokio::test]
async fn signing_in_sets_a_cookie_that_scripts_cannot_read() {
    let router = router(World::new().state);
    let token = fixture::TOKEN;
    let sign_in = |body: String| {
        let request = Request::post("/login")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "text/html");
        request.body(Body::from(body)).unwrap()
    };
    let answer = send(&router, sign_in(format!("token={token}&next=/tickets"))).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/tickets");
    let cookie = answer.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", token] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let answer = send(
        &router,
        sign_in(format!("token={token}&next=//evil.example")),
    )
    .await;
    assert_eq!(answer.header("location"), "/");
    let answer = send(&router, sign_in("token=wrong".to_owned())).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.headers.get("set-cookie").is_none());
    assert!(answer.text.contains("opens nothing"));
}
