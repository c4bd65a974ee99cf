//! Figures and traces, over HTTP and in the console.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use fixture::ask::{ask, get, post, send, visit};
use fixture::{World, now, raised};
use forecare_api::router;
use forecare_domain::Severity;
use serde_json::{Value, json};

/// Two machines with a ticket each.
async fn warned() -> (World, Router) {
    let world = World::new();
    for (n, site) in [(1, "north"), (2, "south")] {
        let pump = world
            .add_asset(&format!("pump-{n}"), "pump", &format!("Pump {n}"), site)
            .await;
        let alarm = raised(&pump, "bearing-wear", Severity::Critical, now());
        world.commit(alarm).await;
        world.open_ticket(&pump, "bearing-wear", 0.8, now()).await;
    }
    let router = router(world.state.clone());
    (world, router)
}

/// The first was repaired, the other waits.
async fn worked() -> (World, Router) {
    let (world, router) = warned().await;
    repair(&router).await;
    (world, router)
}

async fn repair(router: &Router) {
    for step in [
        json!({"to": "triaged"}),
        json!({"to": "dispatched", "technician": "Ada"}),
        json!({"to": "accepted"}),
        json!({"to": "in_progress"}),
        json!({"to": "resolved", "finding": {"verdict": "confirmed", "failure_code": "BRD"}}),
    ] {
        let done = post(router, "/api/v1/tickets/1/transitions", &step).await;
        assert_eq!(done.status, StatusCode::OK, "{step}: {}", done.text);
    }
}

fn figure<'a>(figures: &'a Value, key: &str) -> &'a Value {
    let all = figures["figures"].as_array().unwrap();
    all.iter().find(|f| f["key"] == key).unwrap()
}

#[tokio::test]
async fn figures_are_told_apart_and_lead_to_their_tickets() {
    let (_world, router) = worked().await;
    assert_eq!(
        get(
            &router,
            "/api/v1/kpis?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"
        )
        .await
        .problem(400)["field"],
        "from"
    );
    get(&router, "/api/v1/kpis?by=colour").await.problem(400);
    get(&router, "/api/v1/kpis?format=xml").await.problem(400);
    let answer = get(&router, "/api/v1/kpis?by=site").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let all = answer.json();
    assert_eq!(all["currency"], "EUR");
    let groups = all["dimensions"][0]["groups"].as_array().unwrap();
    let names: Vec<&str> = groups.iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["north", "south"]);
    assert_eq!(figure(&all, "warnings")["unit"], "count");
    let csv = get(&router, "/api/v1/kpis?by=site&format=csv").await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    let lines = csv.text.lines().filter(|l| l.starts_with("site,north,"));
    assert_eq!(lines.count(), all["figures"].as_array().unwrap().len());
    get(&router, "/api/v1/kpis/no-such-figure/tickets")
        .await
        .problem(404);
    let behind = get(&router, "/api/v1/kpis/warnings/tickets").await;
    assert_eq!(behind.status, StatusCode::OK, "{}", behind.text);
    let faults = get(&router, "/api/v1/faults/pareto?format=csv").await;
    assert!(faults.text.starts_with("mode,model,n,"), "{}", faults.text);
    for page in [
        "/kpis",
        "/kpis?days=30&by=site",
        "/kpis?by=technician",
        "/kpis/warnings?days=7&site=north",
        "/kpis/cost_per_ticket",
    ] {
        let page = visit(&router, page).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    }
}

#[tokio::test]
async fn a_trace_leads_from_the_reading_to_the_verdict() {
    let (_world, router) = worked().await;
    let answer = get(&router, "/api/v1/trace/T-1").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let trace = answer.json();
    let kinds: Vec<&str> = trace["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["kind"].as_str().unwrap())
        .collect();
    for kind in ["reading", "alarm", "ticket", "part", "verdict"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let page = visit(&router, "/trace/T-1").await;
    assert!(
        page.text.contains("verdict") && page.text.contains("/tickets/1"),
        "{}",
        page.text
    );
    // The alarm's id leads to the same.
    let id = trace["id"].as_str().unwrap().replace('~', "%7E");
    let by_alarm = get(&router, &format!("/api/v1/trace/{id}")).await.json();
    assert_eq!(by_alarm["tickets"], json!([1]));
    assert_eq!(by_alarm["steps"], trace["steps"]);
    // So does a visit after it.
    let asset = by_alarm["asset_id"].clone();
    let follow_up =
        json!({"asset_id": asset, "kind": "corrective", "title": "again", "parent_id": 1});
    let opened = post(&router, "/api/v1/tickets", &follow_up).await.json();
    let by_follow_up = format!("/api/v1/trace/T-{}", opened["id"]);
    let by_follow_up = get(&router, &by_follow_up).await.json();
    assert_eq!(by_follow_up["id"], trace["id"]);
    assert_eq!(by_follow_up["tickets"], json!([1, opened["id"]]));
    let earlier = format!("/api/v1/tickets/{}/earlier", opened["id"]);
    let earlier = get(&router, &earlier).await.json();
    assert_eq!(
        (
            &earlier["items"][0]["id"],
            &earlier["items"][0]["same_asset"]
        ),
        (&json!(1), &json!(true))
    );
    assert_eq!(earlier["items"][0]["finding"]["verdict"], "confirmed");
    get(&router, "/api/v1/trace/T-99").await.problem(404);
    get(&router, "/api/v1/trace/nonsense").await.problem(404);
}

#[tokio::test]
async fn a_good_resolution_becomes_a_draft_once() {
    let (_world, router) = worked().await;
    for (text, visibility) in [
        ("We come on Monday.", "public"),
        ("Bring cake.", "internal"),
        ("#article Press the bearing in warm.", "internal"),
    ] {
        let note = json!({"work": "note", "text": text, "visibility": visibility});
        let noted = post(&router, "/api/v1/tickets/1/work", &note).await;
        assert_eq!(noted.status, StatusCode::OK, "{}", noted.text);
    }
    let mail = json!({"message_id": "<1@x>", "from": "Bo <bo@example.com>", "subject": "[#1]", "text": "Gate code is 4711"});
    post(&router, "/api/v1/inbound/email", &mail).await.json();
    let made = post(&router, "/api/v1/tickets/1/article", &json!({})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let again = post(&router, "/api/v1/tickets/1/article", &json!({})).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, made.json()));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let draft = get(&router, &format!("/api/v1/registry/articles/{id}")).await;
    let body = draft.json()["body"].clone();
    assert_eq!(body["state"], "draft");
    assert_eq!(body["from_ticket"], 1);
    assert_eq!(body["modes"], json!(["bearing-wear"]));
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("vibration") && text.contains("BRD"), "{text}");
    assert!(text.contains("- Press the bearing in warm."), "{text}");
    for private in ["4711", "Monday", "cake", "#article"] {
        assert!(!text.contains(private), "{private}: {text}");
    }
    let page = visit(&router, &format!("/knowledge/{id}")).await;
    assert!(
        page.text.contains("<h2>What was found</h2>"),
        "{}",
        page.text
    );
}

/// Without a login.
async fn open_page(router: &Router, path: &str) -> fixture::ask::Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    send(router, request).await
}

#[tokio::test]
async fn an_article_that_is_for_customers_is_open_and_what_helped_is_counted() {
    let (_world, router) = worked().await;
    let made = post(&router, "/api/v1/tickets/1/article", &json!({})).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/registry/articles/{id}");
    let page = format!("/help/{id}");
    for (state, public, status) in [
        ("draft", true, 404),
        ("published", false, 404),
        ("published", true, 200),
    ] {
        let mut body = get(&router, &path).await.json()["body"].clone();
        body["state"] = state.into();
        body["public"] = public.into();
        let stored = ask(&router, "PUT", &path, &[], &body.to_string()).await;
        assert!(stored.status.is_success(), "{}", stored.text);
        let opened = open_page(&router, &page).await;
        assert_eq!(opened.status.as_u16(), status, "{state} {public}");
        let list = open_page(&router, "/help?q=vibration").await;
        assert_eq!(list.text.contains(&page), status == 200, "{}", list.text);
    }
    let chinese = open_page(&router, "/help?lang=zh-CN").await;
    assert!(chinese.text.contains("帮助"), "{}", chinese.text);
    let nothing = json!({"work": "helped", "article_id": "zz", "helped": true});
    let refused = post(&router, "/api/v1/tickets/1/work", &nothing).await;
    assert_eq!(refused.problem(422)["field"], "article_id");
    let helped = json!({"work": "helped", "article_id": id, "helped": true});
    for _ in 0..2 {
        let done = post(&router, "/api/v1/tickets/1/work", &helped).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }
    let found = get(&router, "/api/v1/knowledge?q=vibration").await.json();
    assert_eq!(found["items"][0]["n_helped"], 1);
    let ticket = visit(&router, "/tickets/1").await;
    assert!(
        ticket.text.contains("It helped here") && ticket.text.contains("helped 1 of 1"),
        "{}",
        ticket.text
    );
}

#[tokio::test]
async fn a_ticket_costs_the_hours_and_parts_booked_on_it() {
    let (world, router) = warned().await;
    for (ticket, minutes) in [(1, 60), (1, 30), (2, 600)] {
        let time = json!({"work": "time", "minutes": minutes, "what": "on the road"});
        let path = format!("/api/v1/tickets/{ticket}/work");
        post(&router, &path, &time).await.json();
    }
    let issue = json!({"kind": "issue", "depot": "north", "quantity": 2, "ticket": "T-1"});
    let key = [("idempotency-key", "i1")];
    let path = "/api/v1/parts/BRG-6310/movements";
    let issued = ask(&router, "POST", path, &key, &issue.to_string()).await;
    assert!(issued.status.is_success(), "{}", issued.text);
    repair(&router).await;
    world.clock.set(now().plus_hours(1.0));
    let figures = get(&router, "/api/v1/kpis").await.json();
    let cost = figure(&figures, "cost_per_ticket");
    // 1.5 hours at 90 and two bearings at 86; the other ticket is not resolved.
    assert_eq!(cost["value"], json!(307.0), "{cost}");
    assert_eq!(cost["n"], 1);
    let page = visit(&router, "/kpis/cost_per_ticket").await;
    assert!(page.text.contains("307\u{a0}EUR"), "{}", page.text);
    let page = visit(&router, "/kpis?by=technician").await;
    assert!(
        page.text.contains("data-label=\"Cost per ticket\""),
        "{}",
        page.text
    );
    assert!(page.text.contains("\">Bearing wear</a>"), "{}", page.text);
    let page = visit(&router, "/kpis?mode=bearing-wear").await;
    assert!(page.text.contains("mode: Bearing wear"), "{}", page.text);
}
