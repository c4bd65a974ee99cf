//! Master data over HTTP and in the console.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fixture::ask::{Answer, ask, csrf, get, post, send, visit};
use fixture::master;
use fixture::{TOKEN, VIEWER_TOKEN, World, health, now, raised};
use forecare_api::router;
use forecare_domain::{Rul, Severity, TicketState};
use forecare_store::{CommitBatch, Store};
use serde_json::{Value, json};

const HOSTILE: &str = "<script>alert(1)</script>\" onload=\"x' {{7*7}}";

async fn put(router: &Router, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let path = format!("/api/v1/registry/{path}");
    ask(router, "PUT", &path, headers, &body.to_string()).await
}

async fn upload(router: &Router, kind: &str, media: &str, text: &str) -> Answer {
    let request = Request::post(format!("/api/v1/registry/{kind}/import"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, media);
    send(router, request.body(Body::from(text.to_owned())).unwrap()).await
}

/// As somebody who may only read.
async fn peek(router: &Router, path: &str) -> Answer {
    let request =
        Request::get(path).header(header::AUTHORIZATION, format!("Bearer {VIEWER_TOKEN}"));
    send(router, request.body(Body::empty()).unwrap()).await
}

/// A customer with two machines, of which one is about to fail.
async fn filled(world: &World) {
    let mut assets = Vec::new();
    for (n, level) in [(1, 38.0), (2, 97.0)] {
        let id = format!("pump-{n}");
        let asset = world.add_asset(&id, "pump", &format!("Pump {n}"), "").await;
        let batch = CommitBatch {
            health: vec![health(&asset, level, &[], Rul::NoTrend)],
            ..CommitBatch::default()
        };
        world.commit(batch).await;
        assets.push(asset);
    }
    let batch = raised(&assets[0], "bearing-wear", Severity::Critical, now());
    world.commit(batch).await;
    world
        .open_ticket(&assets[0], "bearing-wear", 0.82, now())
        .await;
    master::fill(&world.store, ["pump-1", "pump-2"]).await;
}

#[tokio::test]
async fn a_record_is_put_read_changed_by_version_and_deleted() {
    let router = router(World::new().state);
    let body = json!({"name": "Van 1"});
    let created = put(&router, "vans/v1", &[("If-None-Match", "*")], &body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert_eq!(created.header("etag"), "\"1\"");
    let again = put(&router, "vans/v1", &[], &body).await;
    assert_eq!(
        (again.status, again.header("etag")),
        (StatusCode::OK, "\"1\"")
    );
    let first = put(&router, "vans/v1", &[("If-None-Match", "*")], &body).await;
    assert_eq!(first.problem(412)["current_version"], 1);
    let changed = put(
        &router,
        "vans/v1",
        &[("If-Match", "\"1\"")],
        &json!({"name": "Van 2"}),
    )
    .await;
    assert_eq!(changed.header("etag"), "\"2\"");
    let record = changed.json();
    assert_eq!(record["body"]["name"], "Van 2");
    assert_eq!(
        (&record["updated_by"], &record["channel"]),
        (&json!("Lena"), &json!("api"))
    );
    let stale = put(&router, "vans/v1", &[("If-Match", "\"1\"")], &body).await;
    assert_eq!(stale.problem(412)["current_version"], 2);
    let path = "/api/v1/registry/vans/v1";
    assert_eq!(get(&router, path).await.json()["title"], "Van 2");
    let stale = ask(&router, "DELETE", path, &[("If-Match", "\"1\"")], "").await;
    stale.problem(412);
    for _ in 0..2 {
        let gone = ask(&router, "DELETE", path, &[], "").await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    }
    get(&router, path).await.problem(404);
    ask(&router, "DELETE", "/api/v1/registry/vans/v2", &[], "")
        .await
        .problem(404);
    let history = get(&router, &format!("{path}/history?limit=2"))
        .await
        .json();
    let actions: Vec<&str> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["delete", "put"]);
    let cursor = history["next_cursor"].as_str().unwrap();
    let rest = get(&router, &format!("{path}/history?cursor={cursor}"))
        .await
        .json();
    assert_eq!(rest["items"][0]["body"]["name"], "Van 1");
}

#[tokio::test]
async fn what_is_wrong_with_a_record_names_its_field() {
    let router = router(World::new().state);
    for (path, body, field) in [
        ("vans/v1", json!({}), "name"),
        (
            "customers/c",
            json!({"name": "C", "contacts": [{"id": "a"}]}),
            "contacts[0].name",
        ),
        ("vans/v1", json!({"name": 1}), "name"),
        ("vans/v1", json!({"name": "V", "wheels": 4}), "wheels"),
        ("vans/v1", json!({"name": "V", "depot": "d"}), "depot"),
        ("vans/v 1", json!({"name": "V"}), "id"),
        (
            "locations/l",
            json!({"name": "L", "level": "line", "parent": "l"}),
            "parent",
        ),
        ("assets/pump-1", json!({}), "id"),
        (
            "calendars/c",
            json!({"name": "C", "hours": {"time_zone": "Mars"}}),
            "hours",
        ),
        (
            "technicians/t",
            json!({"name": "T", "home": {"latitude_deg": 91, "longitude_deg": 0}}),
            "home.latitude_deg",
        ),
    ] {
        let answer = put(&router, &path.replace(' ', "%20"), &[], &body).await;
        let problem = answer.problem(422);
        let found = problem["field"].as_str().unwrap_or_default();
        assert_eq!(found, field, "{path} {body}: {problem}");
    }
    put(&router, "planets/mars", &[], &json!({}))
        .await
        .problem(404);
    get(&router, "/api/v1/registry/planets").await.problem(404);
    let wrong = get(&router, "/api/v1/registry/vans?refers_to=depot").await;
    assert_eq!(wrong.problem(400)["field"], "refers_to");
    let wrong = get(&router, "/api/v1/registry/vans?cursor=zz").await;
    assert_eq!(wrong.problem(400)["field"], "cursor");
    let wrong = put(
        &router,
        "vans/v1",
        &[("If-Match", "x")],
        &json!({"name": "V"}),
    )
    .await;
    assert_eq!(wrong.problem(400)["field"], "If-Match");
}

#[tokio::test]
async fn lists_are_walked_searched_and_followed_by_reference() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    let mut csv = "id,name,depot\n".to_owned();
    upload(&router, "depots", "text/csv", "id,name\nd,Depot\n").await;
    for n in 0..120 {
        csv.push_str(&format!("v-{n:03},Van {n},d\n"));
    }
    let answer = upload(&router, "vans", "text/csv; charset=utf-8", &csv).await;
    assert_eq!(
        answer.json(),
        json!({"n_created": 120, "n_updated": 0, "n_unchanged": 0})
    );
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(&router, &format!("/api/v1/registry/vans?limit=50{cursor}"))
            .await
            .json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 120);
    assert!(seen.is_sorted());
    let found = get(&router, "/api/v1/registry/vans?q=VAN%2011&limit=500")
        .await
        .json();
    assert_eq!(found["items"].as_array().unwrap().len(), 11);
    let found = get(&router, "/api/v1/registry/contracts?refers_to=customer:C-1")
        .await
        .json();
    assert_eq!(found["items"].as_array().unwrap().len(), 2);
    let busy = ask(&router, "DELETE", "/api/v1/registry/depots/d", &[], "").await;
    assert!(
        busy.problem(409)["detail"]
            .as_str()
            .unwrap()
            .contains("van \"v-000\" refers to it")
    );
}

#[tokio::test]
async fn a_file_is_stored_whole_or_every_fault_is_told() {
    let world = World::new();
    let router = router(world.state);
    let text = "id,name,value.yearly\nC-1,Fine,1\nC-2,Bad,-1\nC-3,,2\n";
    let problem = upload(&router, "customers", "text/csv", text)
        .await
        .problem(422);
    let errors = problem["errors"].as_array().unwrap();
    let places: Vec<(u64, &str)> = errors
        .iter()
        .map(|e| (e["line"].as_u64().unwrap(), e["column"].as_str().unwrap()))
        .collect();
    assert_eq!(places, [(3, "value.yearly"), (4, "name")]);
    assert_eq!(problem["field"], "value.yearly");
    let list = get(&router, "/api/v1/registry/customers").await.json();
    assert_eq!(list["items"], json!([]));

    let text =
        r#"[{"id":"C-1","body":{"name":"A"}},{"id":"C-2","if_version":3,"body":{"name":"B"}}]"#;
    let problem = upload(&router, "customers", "application/json", text)
        .await
        .problem(422);
    assert_eq!(problem["errors"][0]["line"], 2);
    upload(&router, "customers", "application/xml", "<a/>")
        .await
        .problem(415);
    upload(&router, "customers", "text/csv", "")
        .await
        .problem(422);
    let large = format!("id,name\n{}", "x".repeat(9 << 20));
    upload(&router, "customers", "text/csv", &large)
        .await
        .problem(413);

    // Larger than other bodies may be, with a key, twice.
    let mut text = "id,name,note\n".to_owned();
    for n in 0..2_000 {
        text.push_str(&format!("C-{n},Customer {n},{}\n", "n".repeat(700)));
    }
    for _ in 0..2 {
        let request = Request::post("/api/v1/registry/customers/import")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "text/csv")
            .header("Idempotency-Key", "list-1");
        let answer = send(&router, request.body(Body::from(text.clone())).unwrap()).await;
        assert_eq!(answer.json()["n_created"], 2_000, "{}", answer.text);
    }
    let answer = upload(&router, "customers", "text/csv", &text).await;
    assert_eq!(answer.json()["n_unchanged"], 2_000);
}

#[tokio::test]
async fn an_export_is_what_an_import_takes() {
    let world = World::new();
    filled(&world).await;
    let from = router(world.state);
    let other = World::new();
    for n in [1, 2] {
        other
            .add_asset(&format!("pump-{n}"), "pump", "Pump", "")
            .await;
    }
    let to = router(other.state);
    let kinds = [
        "calendars",
        "locations",
        "depots",
        "vans",
        "technicians",
        "customers",
        "contracts",
        "assets",
        "leads",
    ];
    for (i, kind) in kinds.into_iter().enumerate() {
        let (format, media) = [("csv", "text/csv"), ("json", "application/json")][i % 2];
        let path = format!("/api/v1/registry/{kind}/export?format={format}");
        let file = get(&from, &path).await;
        assert!(file.header("content-type").starts_with(media));
        assert!(
            file.header("content-disposition")
                .contains(&format!("{kind}.{format}"))
        );
        let stored = upload(&to, kind, media, &file.text).await;
        assert_eq!(stored.status, StatusCode::OK, "{kind}: {}", stored.text);
        assert_eq!(get(&to, &path).await.text, file.text, "{kind}");
    }
}

#[tokio::test]
async fn changes_are_followed_from_where_one_left_off() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    let mut after = 0;
    let mut seen = Vec::new();
    loop {
        let page = get(
            &router,
            &format!("/api/v1/registry/changes?after={after}&limit=4"),
        )
        .await
        .json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|v| v["position"].as_i64().unwrap()));
        after = page["after"].as_i64().unwrap();
        if items.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 13);
    put(&router, "customers/C-2", &[], &json!({"name": "Loud AG"})).await;
    let page = get(&router, &format!("/api/v1/registry/changes?after={after}"))
        .await
        .json();
    assert_eq!(page["items"][0]["id"], "C-2");
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_customer_is_seen_at_a_glance_with_the_reason_of_the_tier() {
    let world = World::new();
    filled(&world).await;
    let store = world.store.clone();
    let router = router(world.state);
    let view = get(&router, "/api/v1/customers/C-1/overview").await.json();
    assert_eq!(view["tier"]["name"], "gold");
    let why = view["tier"]["why"].as_str().unwrap();
    assert!(
        why.contains("240000 EUR") && why.contains("contract K-1 (full-service) is in force"),
        "{why}"
    );
    assert_eq!(view["contracts"][0]["id"], "K-1");
    assert_eq!(
        (
            &view["contracts"][0]["in_force"],
            &view["contracts"][1]["in_force"]
        ),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        view["assets"][0]["location"],
        json!(["Nordwind", "Hamburg plant", "Cooling", "Pump house"])
    );
    assert_eq!(view["assets"][0]["contract_id"], "K-1");
    assert_eq!(view["assets"][0]["health"]["health_percent"], 38.0);
    assert_eq!(view["open_tickets"].as_array().unwrap().len(), 1);
    assert_eq!(view["alarms"].as_array().unwrap().len(), 1);
    assert_eq!(view["recent_visits"], json!([]));
    let parts: Vec<&str> = view["reservations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["part"].as_str().unwrap())
        .collect();
    assert_eq!(parts, ["SEAL-45", "BRG-6310"], "newest first");
    assert_eq!(view["leads"][0]["id"], "L-1");
    assert_eq!(
        view["customer"]["contacts"][0]["channels"][0]["address"],
        "ada@example.com"
    );
    for to in ["triaged", "dispatched", "accepted", "in_progress"] {
        post(
            &router,
            "/api/v1/tickets/1/transitions",
            &json!({"to": to, "why": ""}),
        )
        .await;
    }
    let finding = json!({"to": "resolved", "why": "", "finding": {"verdict": "confirmed", "failure_code": "VIB"}});
    post(&router, "/api/v1/tickets/1/transitions", &finding).await;
    assert_eq!(
        store
            .ticket(forecare_domain::TicketId(1))
            .await
            .unwrap()
            .state,
        TicketState::Resolved
    );
    let view = get(&router, "/api/v1/customers/C-1/overview").await.json();
    assert_eq!(view["recent_visits"][0]["id"], 1);
    assert_eq!(view["open_tickets"], json!([]));
    let quiet = get(&router, "/api/v1/customers/C-2/overview").await.json();
    assert_eq!(
        (&quiet["tier"]["name"], &quiet["assets"]),
        (&json!("standard"), &json!([]))
    );
    get(&router, "/api/v1/customers/C-9/overview")
        .await
        .problem(404);
}

#[tokio::test]
async fn who_may_only_read_sees_no_addresses_and_changes_nothing() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    for path in [
        "/api/v1/registry/customers",
        "/api/v1/registry/customers/C-1",
        "/api/v1/registry/customers/C-1/history",
        "/api/v1/registry/customers/export?format=csv",
        "/api/v1/registry/customers/export",
        "/api/v1/registry/changes",
        "/api/v1/customers/C-1/overview",
    ] {
        let full = get(&router, path).await.text;
        assert!(full.contains("ada@example.com"), "{path}");
        let cut = peek(&router, path).await;
        assert_eq!(cut.status, StatusCode::OK, "{path}");
        assert!(cut.text.contains("Ada Brandt"), "{path}");
        assert!(
            !cut.text.contains("ada@example.com") && !cut.text.contains("+49"),
            "{path}"
        );
    }
    for (method, path) in [
        ("PUT", "/api/v1/registry/vans/v1"),
        ("DELETE", "/api/v1/registry/customers/C-2"),
        ("POST", "/api/v1/registry/customers/import"),
        ("POST", "/api/v1/registry/customers/C-1/erasure"),
        ("POST", "/api/v1/assets"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {VIEWER_TOKEN}"));
        send(&router, request.body(Body::from("{}")).unwrap())
            .await
            .problem(403);
    }
    let request = Request::get("/customers/C-1")
        .header(header::COOKIE, format!("forecare_session={VIEWER_TOKEN}"))
        .header(header::ACCEPT, "text/html");
    let page = send(&router, request.body(Body::empty()).unwrap()).await;
    assert!(page.text.contains("withheld") && !page.text.contains("ada@example.com"));
    let token = csrf(&page);
    let request = Request::post("/logout")
        .header(header::COOKIE, format!("forecare_session={VIEWER_TOKEN}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let out = send(
        &router,
        request.body(Body::from(format!("csrf={token}"))).unwrap(),
    )
    .await;
    assert_eq!(out.status, StatusCode::SEE_OTHER, "everybody may leave");
}

#[tokio::test]
async fn an_erased_contact_is_nowhere() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    let path = "/api/v1/registry/customers/C-1/erasure";
    let erased = post(&router, path, &json!({"contact": "ada"})).await;
    assert_eq!(erased.status, StatusCode::OK, "{}", erased.text);
    for path in [
        "/api/v1/registry/customers/C-1",
        "/api/v1/registry/customers/C-1/history",
        "/api/v1/registry/changes",
        "/customers/C-1",
    ] {
        let text = visit(&router, path).await.text;
        assert!(
            !text.contains("Ada Brandt") && text.contains("Bo Lund"),
            "{path}: {text}"
        );
    }
    post(&router, path, &json!({"contact": "ada"}))
        .await
        .problem(404);
    post(&router, path, &json!({})).await.problem(422);
    let technician = "/api/v1/registry/technicians/ada-moser/erasure";
    assert_eq!(
        post(&router, technician, &json!({})).await.json()["body"]["name"],
        "(erased)"
    );
    post(
        &router,
        "/api/v1/registry/contracts/K-1/erasure",
        &json!({}),
    )
    .await
    .problem(422);
}

#[tokio::test]
async fn the_console_shows_customers_and_whose_an_asset_is() {
    let world = World::new();
    let empty = router(world.state.clone());
    let page = visit(&empty, "/customers").await;
    assert!(page.text.contains("No customers yet"), "{}", page.text);
    filled(&world).await;
    let router = router(world.state);
    let page = visit(&router, "/customers").await;
    for text in [
        "Nordwind Foods",
        "gold",
        "240\u{202f}000\u{a0}EUR",
        "Quiet AG",
        "standard",
    ] {
        assert!(page.text.contains(text), "{text} not in {}", page.text);
    }
    let found = visit(&router, "/customers?q=quiet").await;
    assert!(found.text.contains("Quiet AG") && !found.text.contains("Nordwind"));
    assert!(
        visit(&router, "/customers?q=nobody")
            .await
            .text
            .contains("Nothing fits")
    );
    let page = visit(&router, "/customers/C-1").await;
    for text in [
        "rule 1 of 3",
        "ada@example.com",
        "Hamburg plant \u{203a} Cooling \u{203a} Pump house",
        "no. S-1001",
        "P1: answer within 4\u{a0}h, resolved within 24\u{a0}h",
        "includes labour, BRG-6310",
        "not in force",
        "refused on 2026-01-15",
        "Warranty of pump 2 has ended",
        "Ada Moser",
        "href=\"/tickets/1\"",
        "Ring twice.",
        "by crm (API)",
    ] {
        assert!(page.text.contains(text), "{text} not in {}", page.text);
    }
    let mut changed = master::customer();
    changed["note"] = json!("Gate 4.");
    changed["value"] = json!({"yearly": 1.0});
    put(&router, "customers/C-1", &[], &changed).await;
    let page = visit(&router, "/customers/C-1").await;
    assert!(page.text.contains("changed note, value"), "{}", page.text);
    let quiet = visit(&router, "/customers/C-2").await;
    for text in [
        "No asset belongs",
        "No open ticket",
        "No contract",
        "Nobody is named",
        "nothing agreed",
    ] {
        assert!(quiet.text.contains(text), "{text} not in {}", quiet.text);
    }
    let asset = visit(&router, "/assets/pump-1").await;
    for text in [
        "S-1001",
        "MX 45",
        "href=\"/customers/C-1\"",
        "in warranty",
        "Full service Hamburg",
        "by its location",
        "Manual",
        "drive end",
    ] {
        assert!(asset.text.contains(text), "{text} not in {}", asset.text);
    }
    assert!(
        visit(&router, "/assets/pump-2")
            .await
            .text
            .contains("ended")
    );
    assert_eq!(
        visit(&router, "/customers/C-9").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn hostile_master_data_is_text_on_every_page() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    let hostile = json!({"name": HOSTILE, "address": HOSTILE, "note": HOSTILE,
        "contacts": [{"id": "x", "name": HOSTILE, "role": HOSTILE, "channels": [{"kind": "slack", "address": HOSTILE}]}]});
    assert_eq!(
        put(&router, "customers/C-1", &[], &hostile).await.status,
        StatusCode::OK
    );
    let asset = json!({"serial": HOSTILE, "model": HOSTILE, "manufacturer": HOSTILE, "customer": "C-1",
        "bill_of_parts": [{"part": HOSTILE, "quantity": 1, "place": HOSTILE}],
        "documents": [{"title": HOSTILE, "url": format!("https://x/{HOSTILE}")}]});
    assert_eq!(
        put(&router, "assets/pump-1", &[], &asset).await.status,
        StatusCode::OK
    );
    let script = json!({"documents": [{"title": "x", "url": "javascript:alert(1)"}]});
    put(&router, "assets/pump-1", &[], &script)
        .await
        .problem(422);
    for path in [
        "/customers",
        "/customers/C-1",
        "/assets/pump-1",
        "/customers?q=%3Cscript%3E%22",
    ] {
        let page = visit(&router, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for bad in ["<script>", "onload=\"", " style=", "javascript:"] {
            assert!(!page.text.contains(bad), "{bad} on {path}: {}", page.text);
        }
    }
}

#[tokio::test]
async fn articles_are_found_proposed_and_written_from_a_resolution() {
    let world = World::new();
    let pump = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, _) = world.open_ticket(&pump, "bearing-wear", 0.9, now()).await;
    let router = router(world.state.clone());
    for (id, body) in [
        (
            "bearing",
            json!({"title": "Worn bearings", "text": "# Look\n\nReplace the bearing, then grease it.",
            "language": "en", "modes": ["bearing-wear"], "state": "published"}),
        ),
        (
            "zhoucheng",
            json!({"title": "轴承磨损", "text": "振动升高时更换轴承。", "language": "zh-CN", "state": "published"}),
        ),
        (
            "secret",
            json!({"title": "Bearing draft", "text": "Not yet.", "language": "en"}),
        ),
    ] {
        let stored = put(&router, &format!("articles/{id}"), &[], &body).await;
        assert_eq!(stored.status, StatusCode::CREATED, "{}", stored.text);
    }
    let unknown = json!({"title": "x", "text": "x", "language": "en", "modes": ["no-such-mode"]});
    let refused = put(&router, "articles/x", &[], &unknown).await;
    assert!(refused.text.contains("no-such-mode"), "{}", refused.text);
    let ids = |answer: &Answer| -> Vec<String> {
        let items = answer.json()["items"].as_array().unwrap().clone();
        let ids = items.iter().map(|i| i["id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    let found = get(&router, "/api/v1/knowledge?q=bearings").await;
    assert_eq!(ids(&found), ["bearing"], "a draft is not found");
    let found = get(
        &router,
        "/api/v1/knowledge?q=%E6%9B%B4%E6%8D%A2%E8%BD%B4%E6%89%BF",
    )
    .await;
    assert_eq!(ids(&found), ["zhoucheng"]);
    let found = get(&router, "/api/v1/knowledge?state=draft").await;
    assert_eq!(ids(&found), ["secret"]);
    let path = format!("/api/v1/tickets/{}/articles", ticket.id.0);
    assert_eq!(ids(&get(&router, &path).await)[0], "bearing");
    // Nothing is learnt from what is not resolved.
    let path = format!("/api/v1/tickets/{}/article", ticket.id.0);
    let early = post(&router, &path, &json!({})).await;
    assert!(
        early.problem(409)["detail"]
            .as_str()
            .unwrap()
            .contains("teaches nothing yet")
    );
    let page = visit(&router, "/knowledge?q=bearing").await;
    assert!(page.text.contains("Worn bearings"), "{}", page.text);
    let page = visit(&router, "/knowledge/bearing").await;
    assert!(page.text.contains("<h1>Look</h1>"), "{}", page.text);
}

#[tokio::test]
async fn a_document_is_kept_and_is_open_to_customers_with_its_article() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state.clone());
    for (id, public) in [("open", true), ("ours", false)] {
        let body = json!({"title": id, "text": "See ![it](/files/x)", "language": "en", "state": "published", "public": public});
        put(&router, &format!("articles/{id}"), &[], &body).await;
    }
    let send_file = async |path: &str, media: &str, content: &'static [u8]| {
        let request = Request::post(format!("/api/v1/registry/{path}"))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", media);
        send(&router, request.body(Body::from(content)).unwrap()).await
    };
    let picture: &[u8] = b"RIFF1234WEBPopen";
    let mut urls = Vec::new();
    for _ in 0..2 {
        let kept = send_file(
            "articles/open/documents?name=a.webp&title=Bearing",
            "image/webp",
            picture,
        )
        .await;
        assert_eq!(kept.status, StatusCode::CREATED, "{}", kept.text);
        urls.push(kept.json()["url"].as_str().unwrap().to_owned());
    }
    assert_eq!(urls[0], urls[1], "the same content is the same file");
    let article = get(&router, "/api/v1/registry/articles/open").await.json();
    let documents = json!([{"title": "Bearing", "url": urls[0]}]);
    assert_eq!(article["body"]["documents"], documents);
    let ours = send_file(
        "articles/ours/documents?name=b.txt",
        "text/plain",
        b"secret",
    )
    .await;
    let ours = ours.json();
    let asset = send_file(
        "assets/pump-1/documents?name=c.txt",
        "text/plain",
        b"drawing",
    )
    .await;
    assert_eq!(asset.status, StatusCode::CREATED, "{}", asset.text);
    // Without a login only what a public article names is there.
    let page = peek(&router, "/help/open").await;
    assert!(
        page.text.contains(&format!("/help{}", urls[0])),
        "{}",
        page.text
    );
    let picture = peek(&router, &format!("/help{}", urls[0])).await;
    assert_eq!(picture.status, StatusCode::OK);
    assert_eq!(picture.header("content-type"), "image/webp");
    let theirs = ours["url"].as_str().unwrap();
    assert_eq!(
        peek(&router, &format!("/help{theirs}")).await.status,
        StatusCode::NOT_FOUND
    );
    let sha256 = ours["sha256"].as_str().unwrap();
    let read = get(&router, &format!("/api/v1/files/{sha256}")).await;
    assert_eq!(read.text, "secret");
    assert!(read.header("content-disposition").starts_with("attachment"));
    let large: &[u8] = Box::leak(vec![b'x'; 3 << 20].into_boxed_slice());
    let kept = send_file("articles/ours/documents?name=d.txt", "text/plain", large).await;
    assert_eq!(kept.json()["bytes"], 3 << 20);
    // What it is not, or is put to, is refused with the reason.
    for (path, media, field) in [
        ("articles/open/documents?name=a.png", "image/png", "body"),
        ("articles/open/documents?name=a.html", "text/html", "body"),
        ("customers/C-1/documents?name=a.txt", "text/plain", "kind"),
    ] {
        let refused = send_file(path, media, b"text").await.problem(422);
        assert_eq!(refused["field"], field, "{refused}");
    }
    send_file("articles/none/documents?name=a.txt", "text/plain", b"x")
        .await
        .problem(404);
    let bad = json!({"title": "x", "text": "x", "language": "en", "documents": [{"title": "x", "url": "/files/../x"}]});
    assert!(
        put(&router, "articles/x", &[], &bad)
            .await
            .text
            .contains("SHA-256")
    );
    let request = Request::delete(format!("/api/v1/files/{sha256}"))
        .header("authorization", format!("Bearer {TOKEN}"));
    let gone = send(&router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    get(&router, &format!("/api/v1/files/{sha256}"))
        .await
        .problem(404);
    // Put there again it is there again, under the title it had.
    let again = send_file(
        "articles/ours/documents?name=b.txt&title=Other",
        "text/plain",
        b"secret",
    )
    .await;
    assert_eq!(again.json()["title"], "b.txt");
    let list = get(&router, "/api/v1/files").await.json();
    let named = list["items"].as_array().unwrap();
    let named = named.iter().find(|f| f["sha256"] == sha256).unwrap();
    assert_eq!(named["named_by"], json!(["articles/ours"]));
    // Who only reads sees what customers see.
    let viewer = async |path: String| {
        let headers = [("authorization", format!("Bearer {VIEWER_TOKEN}"))];
        let request = Request::get(path).header(headers[0].0, &headers[0].1);
        send(&router, request.body(Body::empty()).unwrap()).await
    };
    let open = urls[0].trim_start_matches("/files/");
    assert_eq!(
        viewer(format!("/api/v1/files/{open}")).await.status,
        StatusCode::OK
    );
    viewer(format!("/api/v1/files/{sha256}")).await.problem(403);
    viewer("/api/v1/files".to_owned()).await.problem(403);
    let known =
        Request::get(format!("/help{}", urls[0])).header("if-none-match", format!("\"{open}\""));
    let kept = send(&router, known.body(Body::empty()).unwrap()).await;
    assert_eq!(kept.status, StatusCode::NOT_MODIFIED);
}
