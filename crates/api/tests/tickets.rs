//! Tickets: opened, worked on, moved on, followed up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use fixture::ask::{ask, get, post, send, visit};
use fixture::{TOKEN, World, now};
use forecare_api::router;
use serde_json::{Value, json};

#[tokio::test]
async fn a_ticket_goes_its_way_with_etags_and_a_finding() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, reservations) = world.open_ticket(&asset, "bearing-wear", 0.8, now()).await;
    let router = router(world.state);
    let path = format!("/api/v1/tickets/{}", ticket.id);
    let read = get(&router, &path).await;
    let etag = read.header("etag").to_owned();
    let shown = read.json();
    assert_eq!(shown["state"], "new");
    assert_eq!(shown["can_become"], json!(["triaged", "cancelled"]));
    assert_eq!(shown["decision"]["currency"], "EUR");
    assert_eq!(shown["contributions"][0]["name"], "vibration");
    assert_eq!(
        shown["reservations"].as_array().unwrap().len(),
        reservations.len()
    );
    assert_eq!(shown["history"][0]["to"], "new");

    let steps = format!("{path}/transitions");
    let triage = json!({"to": "triaged", "why": "looks right"}).to_string();
    let first = ask(&router, "POST", &steps, &[("if-match", &etag)], &triage).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert_ne!(first.header("etag"), etag);
    let moved = first.json();
    assert_eq!(moved["history"][1]["by"], "Lena");
    assert_eq!(moved["history"][1]["channel"], "api");

    let stale = ask(&router, "POST", &steps, &[("if-match", &etag)], &triage)
        .await
        .problem(412);
    assert_eq!(stale["current_version"], moved["version"]);
    ask(&router, "POST", &steps, &[("if-match", "\"x\"")], &triage)
        .await
        .problem(400);
    post(&router, &steps, &json!({"to": "closed"}))
        .await
        .problem(422);
    assert_eq!(
        post(&router, &steps, &json!({"to": "flying"}))
            .await
            .problem(422)["field"],
        "to"
    );
    for to in ["dispatched", "accepted", "in_progress"] {
        let answer = post(
            &router,
            &steps,
            &json!({"to": to, "technician": "Ben Okafor"}),
        )
        .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    // Resolution takes a finding.
    post(&router, &steps, &json!({"to": "resolved"}))
        .await
        .problem(422);
    let resolve = json!({"to": "resolved", "finding": {"verdict": "confirmed", "failure_code": "VIB"}, "parts_used": {"BRG-6310": 2}});
    let resolved = post(&router, &steps, &resolve).await.json();
    assert_eq!(
        (&resolved["state"], &resolved["open"]),
        (&json!("resolved"), &json!(false))
    );
    assert_eq!(resolved["technician"], "Ben Okafor");
    let labels = get(&router, "/api/v1/labels").await.json();
    assert_eq!(
        labels["items"][0]["finding"],
        json!({"verdict": "confirmed", "failure_code": "VIB"})
    );
    let ledger = get(&router, "/api/v1/ledger").await.json();
    assert_eq!(
        (&ledger["items"][0]["kind"], &ledger["items"][0]["delta"]),
        (&json!("consumed"), &json!(-2))
    );
}

#[tokio::test]
async fn a_ticket_shows_its_service_levels_and_takes_a_planners_word() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let opened_at = now().plus_hours(-36.0);
    let (ticket, _) = world
        .open_ticket(&asset, "bearing-wear", 0.8, opened_at)
        .await;
    let router = router(world.state);
    let path = format!("/api/v1/tickets/{}", ticket.id);
    let shown = get(&router, &path).await.json();
    assert_eq!(shown["sla"][0]["clock"], "first_response");
    assert_eq!(shown["sla"][0]["state"], "breached");
    assert_eq!(shown["sla"][1]["state"], "running");
    assert_eq!(shown["sla"][1]["fraction"], 0.75);
    assert_eq!(shown["sla"][1]["due_at"], "2026-03-02T20:00:00Z");
    assert_eq!(
        (&shown["assignment"], &shown["proposal"]),
        (&Value::Null, &Value::Null)
    );

    let assignment = format!("{path}/assignment");
    for (body, field) in [
        (json!({"technician": "Ben Okafor", "why": " "}), "why"),
        (
            json!({"start_at": "2026-03-03T08:00:00Z", "why": "x"}),
            "start_at",
        ),
    ] {
        assert_eq!(
            post(&router, &assignment, &body).await.problem(422)["field"],
            field
        );
    }
    let body =
        json!({"technician": "Ben Okafor", "start_at": "2026-03-03T08:00:00Z", "why": "knows it"});
    let assigned = post(&router, &assignment, &body).await;
    assert_eq!(assigned.status, StatusCode::OK, "{}", assigned.text);
    assert!(!assigned.header("etag").is_empty());
    let assigned = assigned.json();
    assert_eq!(assigned["technician"], "Ben Okafor");
    assert_eq!(assigned["assignment"]["by"], "Lena");
    assert_eq!(assigned["assignment"]["start_at"], "2026-03-03T08:00:00Z");
    let back = post(&router, &assignment, &json!({"why": "on leave"}))
        .await
        .json();
    assert_eq!(back["assignment"], Value::Null);
    post(&router, &assignment, &json!({"why": "again"}))
        .await
        .problem(409);
}

#[tokio::test]
async fn a_person_opens_a_ticket_and_reads_why_it_is_so_urgent() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let body = json!({
        "asset_id": "pump-1", "kind": "corrective", "description": "It leaks\non the floor.",
        "safety": true, "production": "reduced",
    });
    let key = [("idempotency-key", "k-1")];
    let first = ask(&router, "POST", "/api/v1/tickets", &key, &body.to_string()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert_eq!(first.header("location"), "/api/v1/tickets/1");
    assert_eq!(first.header("etag"), "\"1\"");
    let ticket = first.json();
    assert_eq!(ticket["kind"], "corrective");
    assert_eq!(ticket["title"], "Pump 1: Repair");
    assert_eq!(ticket["priority"], "P1");
    assert_eq!(
        ticket["origin"],
        json!({"from": "person", "by": "Lena", "channel": "api"})
    );
    assert_eq!(
        (&ticket["mode"], &ticket["decision"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(ticket["report"]["description"], "It leaks\non the floor.");
    let why = ticket["history"][0]["why"].as_str().unwrap();
    assert!(
        why.starts_with(
            "P1: impact high x urgency high (production is reduced; somebody may get hurt)"
        ),
        "{why}"
    );
    assert_eq!(ticket["checklist"][0]["required"], true);
    assert_eq!(ticket["verdicts"][0], "done");
    let again = ask(&router, "POST", "/api/v1/tickets", &key, &body.to_string()).await;
    assert_eq!((again.status, again.text), (first.status, first.text));

    let steps = "/api/v1/tickets/1/transitions";
    for to in ["triaged", "dispatched", "accepted", "in_progress"] {
        post(&router, steps, &json!({"to": to})).await;
    }
    let finding = |verdict: &str| json!({"to": "resolved", "finding": {"verdict": verdict}});
    let refused = post(&router, steps, &finding("too_early"))
        .await
        .problem(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("none for a ticket from a person")
    );
    let refused = post(&router, steps, &finding("done")).await.problem(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("Lock out and tag out")
    );
    assert_eq!(
        get(&router, "/api/v1/labels").await.json()["items"],
        json!([])
    );
}

#[tokio::test]
async fn an_opening_names_the_field_that_is_wrong() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let base = json!({"asset_id": "pump-1", "kind": "installation", "fields": {"order_number": "4711", "voltage": "400 V"}});
    let opened = post(&router, "/api/v1/tickets", &base).await;
    assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.text);
    assert_eq!(
        opened.json()["fields"],
        json!({"order_number": "4711", "voltage": "400 V"})
    );
    let with = |key: &str, value: Value| {
        let mut body = base.clone();
        body[key] = value;
        body
    };
    for (body, field) in [
        (with("asset_id", json!("pump-9")), "asset_id"),
        (with("asset_id", json!("no/name")), "asset_id"),
        (with("kind", json!("party")), "kind"),
        (with("title", json!("x".repeat(201))), "title"),
        (with("description", json!("x".repeat(4001))), "description"),
        (with("mode", json!("a b")), "mode"),
        (with("fields", json!({})), "fields.order_number"),
        (
            with("fields", json!({"order_number": "1", "voltage": "9 V"})),
            "fields.voltage",
        ),
        (
            with("fields", json!({"order_number": "1", "colour": "red"})),
            "fields.colour",
        ),
    ] {
        let problem = post(&router, "/api/v1/tickets", &body).await.problem(422);
        assert_eq!(problem["field"], field, "{problem}");
    }
    post(
        &router,
        "/api/v1/tickets",
        &with("urgency", json!("yesterday")),
    )
    .await
    .problem(422);
    post(&router, "/api/v1/tickets", &with("colour", json!("red")))
        .await
        .problem(422);
}

#[tokio::test]
async fn work_on_a_ticket_is_kept_with_it() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    for _ in 0..2 {
        let body = json!({"asset_id": "pump-1", "kind": "corrective"});
        post(&router, "/api/v1/tickets", &body).await;
    }
    let path = "/api/v1/tickets/1/work";
    for body in [
        json!({"work": "note", "text": "Oil on the floor", "visibility": "public"}),
        json!({"work": "time", "minutes": 45, "what": "looked"}),
        json!({"work": "check", "item": 0, "done": true}),
    ] {
        let done = post(&router, path, &body).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }
    let ticket = get(&router, "/api/v1/tickets/1").await.json();
    assert_eq!(ticket["checklist"][0]["done_by"], "Lena");
    for (body, status, field) in [
        (json!({"work": "note", "text": " "}), 422, "text"),
        (json!({"work": "time", "minutes": 0}), 422, "minutes"),
        (
            json!({"work": "check", "item": 7, "done": true}),
            422,
            "item",
        ),
        (
            json!({"work": "fields", "fields": {"x": 1}}),
            422,
            "fields.x",
        ),
        (json!({"work": "merge", "into": 1}), 422, "into"),
    ] {
        let problem = post(&router, path, &body).await.problem(status);
        assert_eq!(problem["field"], field, "{problem}");
    }
    let used = json!({"work": "parts_used", "parts_used": {"BRG-6310": 1}});
    post(&router, path, &used).await.problem(409);
    post(&router, path, &json!({"work": "merge", "into": 99}))
        .await
        .problem(404);

    let png = "\u{89}";
    let upload = |name: &'static str, media: &'static str, body: &'static str| {
        let router = router.clone();
        async move {
            let path = format!("/api/v1/tickets/1/attachments?name={name}&signed_by=Ada");
            let request = Request::post(&path)
                .header("authorization", format!("Bearer {TOKEN}"))
                .header("content-type", media);
            send(&router, request.body(Body::from(body)).unwrap()).await
        }
    };
    let taken = upload("gr%C3%BC%C3%9Fe.txt", "text/plain; charset=utf-8", "hello").await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text);
    let refused = upload("a.png", "image/png", png).await.problem(422);
    assert_eq!(refused["field"], "content");
    let refused = upload("a.html", "text/html", "<script>").await.problem(422);
    assert_eq!(refused["field"], "Content-Type");

    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    let kinds: Vec<&str> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["entry"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["attachment", "time", "note"]);
    let file = &entries["items"][0];
    assert_eq!(
        (&file["bytes"], &file["signed_by"]),
        (&json!(5), &json!("Ada"))
    );
    assert_eq!(
        file["sha256"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    let address = format!("/api/v1/tickets/1/attachments/{}", file["id"]);
    let read = get(&router, &address).await;
    assert_eq!((read.status, read.text.as_str()), (StatusCode::OK, "hello"));
    assert_eq!(read.header("content-type"), "text/plain");
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    assert_eq!(
        read.header("content-disposition"),
        "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt"
    );
    get(&router, "/api/v1/tickets/2/attachments/1")
        .await
        .problem(404);

    let merged = post(
        &router,
        "/api/v1/tickets/2/work",
        &json!({"work": "merge", "into": 1, "why": "same leak"}),
    )
    .await
    .json();
    assert_eq!(
        (&merged["state"], &merged["merged_into"]),
        (&json!("cancelled"), &json!(1))
    );
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    assert_eq!(
        entries["items"][0]["text"],
        "T-2 was merged into this ticket: same leak"
    );
}

#[tokio::test]
async fn a_follow_up_knows_its_parent_and_exports_have_own_fields() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "=Pump, \"1\"", "").await;
    let router = router(world.state);
    let body = json!({"asset_id": "pump-1", "kind": "corrective"});
    post(&router, "/api/v1/tickets", &body).await;
    let body = json!({"asset_id": "pump-1", "kind": "installation", "parent_id": 1,
        "fields": {"order_number": "@4711"}});
    let child = post(&router, "/api/v1/tickets", &body).await.json();
    assert_eq!(child["parent_id"], 1);
    let children = get(&router, "/api/v1/tickets?parent=T-1").await.json();
    assert_eq!(children["items"][0]["id"], 2);
    let csv = get(&router, "/api/v1/tickets/export").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let lines: Vec<&str> = csv.text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("id,kind,origin,asset_id,"));
    assert!(lines[0].ends_with(",procedure,field.order_number"));
    assert!(
        lines[1].starts_with("2,installation,person,pump-1,,new,"),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].contains("\"'=Pump, \"\"1\"\": Installation\"") && lines[1].ends_with(",'@4711"),
        "{}",
        lines[1]
    );
    let json = get(&router, "/api/v1/tickets/export?format=json&open=true")
        .await
        .json();
    assert_eq!(json[0]["fields"]["order_number"], "@4711");
    get(&router, "/api/v1/tickets/export?format=xml")
        .await
        .problem(400);
}

#[tokio::test]
async fn a_ticket_is_classified_and_its_parts_laid_down_over_http() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let opened = json!({"asset_id": "pump-1", "kind": "corrective", "title": "odd"});
    let opened = post(&router, "/api/v1/tickets", &opened).await.json();
    assert_eq!(opened["parts"], Value::Null);
    let work = format!("/api/v1/tickets/{}/work", opened["id"]);
    let classified = json!({"work": "classify", "mode": "bearing-wear", "why": "heard it"});
    let after = post(&router, &work, &classified).await.json();
    assert_eq!(after["mode"], "bearing-wear");
    let last = after["history"].as_array().unwrap().last().unwrap();
    assert_eq!(last["why"], "failure not known to bearing-wear: heard it");
    let parts = json!({"work": "parts", "parts": {"BRG-6310": 1}});
    let after = post(&router, &work, &parts).await.json();
    assert_eq!(after["parts"], json!({"BRG-6310": 1}));
    let odd = [
        json!({"work": "classify", "mode": "no-such"}),
        json!({"work": "classify", "kind": "predictive"}),
        json!({"work": "parts", "parts": {"": 1}}),
        json!({"work": "parts", "parts": {"BRG-6310": 0}}),
    ];
    for odd in odd {
        post(&router, &work, &odd).await.problem(422);
    }
}

#[tokio::test]
async fn the_plan_says_who_goes_where_and_what_nobody_is_planned_for() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "Kiel").await;
    let router = router(world.state);
    for title in ["first", "second"] {
        let opened = json!({"asset_id": "pump-1", "kind": "corrective", "title": title});
        post(&router, "/api/v1/tickets", &opened).await;
    }
    let assignment =
        json!({"technician": "Ben Okafor", "start_at": "2030-01-07T08:00:00Z", "why": "knows it"});
    let laid_down = post(&router, "/api/v1/tickets/1/assignment", &assignment).await;
    assert_eq!(laid_down.status, StatusCode::OK, "{}", laid_down.text);
    let plan = get(&router, "/api/v1/plan").await.json();
    let tours = plan["technicians"].as_array().unwrap();
    let of = |name: &str| tours.iter().find(|t| t["technician"] == name).unwrap();
    let visit = &of("Ben Okafor")["visits"][0];
    assert_eq!(visit["start_at"], "2030-01-07T08:00:00Z");
    assert_eq!(
        (&visit["laid_down"], &visit["ticket"]["id"]),
        (&json!(true), &json!(1))
    );
    assert!(
        tours.iter().any(|t| t["visits"] == json!([])),
        "who is free is seen"
    );
    assert_eq!(plan["unplanned"][0]["ticket"]["title"], "second");
    assert_eq!(plan["unplanned"][0]["why"], "not planned yet");
}

#[tokio::test]
async fn the_plans_page_says_where_machines_stand_by_the_registry() {
    let world = World::new();
    for (id, name) in [("pump-1", "Pump 1"), ("pump-2", "Pump 2")] {
        world.add_asset(id, "pump", name, "").await;
    }
    fixture::master::fill(&world.store, ["pump-1", "pump-2"]).await;
    let router = router(world.state);
    let opened = json!({"asset_id": "pump-1", "kind": "corrective", "title": "odd"});
    post(&router, "/api/v1/tickets", &opened).await.json();
    let page = visit(&router, "/plan").await;
    assert!(
        page.text.contains("Cooling \u{203a} Pump house"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_ticket_names_the_certificates_that_its_failure_asks_for() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, _) = world.open_ticket(&asset, "bearing-wear", 0.8, now()).await;
    let catalogue = world.state.catalogue.clone();
    let mode = ticket.mode.as_ref().unwrap();
    let needed = &catalogue
        .class(&asset.class)
        .unwrap()
        .mode(mode)
        .unwrap()
        .certificates;
    let router = router(world.state);
    let shown = get(&router, &format!("/api/v1/tickets/{}", ticket.id))
        .await
        .json();
    assert_eq!(shown["certificates"], json!(needed));
}
