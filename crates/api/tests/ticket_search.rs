//! Tickets are found by what people know of them, and say for whom they are and what they cost.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use fixture::ask::{Answer, ask, get, post, put, send, visit};
use fixture::{VIEWER_TOKEN, World, master, now};
use forecare_api::router;
use serde_json::{Value, json};

/// Three machines, two of them of a customer; tickets 1 to 5, of which 4 is done.
async fn desk() -> (World, Router) {
    let world = World::new();
    for n in 1..=3 {
        let site = if n == 3 { "Kiel" } else { "" };
        let name = format!("Pump {n}");
        let asset = world
            .add_asset(&format!("pump-{n}"), "pump", &name, site)
            .await;
        if n == 1 {
            world.open_ticket(&asset, "bearing-wear", 0.82, now()).await;
        }
    }
    master::fill(&world.store, ["pump-1", "pump-2"]).await;
    let router = router(world.state.clone());
    let open = |body: Value| {
        let router = router.clone();
        async move { post(&router, "/api/v1/tickets", &body).await.json() }
    };
    open(
        json!({"asset_id": "pump-2", "kind": "installation", "title": "New seal kit",
        "description": "Strange Whistling", "fields": {"order_number": "A-4711"}}),
    )
    .await;
    world.clock.set(now().plus_hours(30.0));
    open(json!({"asset_id": "pump-3", "kind": "corrective", "safety": true, "production": "stopped", "urgency": "high"})).await;
    open(json!({"asset_id": "pump-3", "kind": "corrective", "title": "Loose cover", "urgency": "low"}))
        .await;
    open(json!({"asset_id": "pump-1", "kind": "inspection"})).await;
    let cancel = json!({"to": "cancelled", "why": "nobody was there"});
    post(&router, "/api/v1/tickets/4/transitions", &cancel).await;
    let note = json!({"work": "note", "text": "Customer asks for GREASE, Klüber"});
    let noted = post(&router, "/api/v1/tickets/5/work", &note).await;
    assert!(noted.status.is_success(), "{}", noted.text);
    (world, router)
}

async fn found(router: &Router, query: &str) -> Vec<i64> {
    let answer = get(router, &format!("/api/v1/tickets?{query}")).await;
    assert!(answer.status.is_success(), "{query}: {}", answer.text);
    let items = answer.json()["items"].clone();
    let items = items.as_array().unwrap().iter();
    items.map(|t| t["id"].as_i64().unwrap()).collect()
}

async fn as_viewer(router: &Router, path: &str) -> Answer {
    let bearer = format!("Bearer {VIEWER_TOKEN}");
    let request = Request::get(path).header(header::AUTHORIZATION, bearer);
    send(router, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_filter_gives_what_it_names_and_nothing_else() {
    let (_world, router) = desk().await;
    for (query, expected) in [
        ("", vec![5, 4, 3, 2, 1]),
        ("q=", vec![5, 4, 3, 2, 1]),
        ("state=cancelled", vec![4]),
        ("state=new,cancelled&open=true", vec![5, 3, 2, 1]),
        ("state=on_hold", vec![]),
        ("priority=P1", vec![3, 1]),
        ("priority=p1,P2&opened_from=2026-03-03", vec![3]),
        ("kind=installation,inspection", vec![5, 2]),
        ("origin=alarm", vec![1]),
        ("mode=bearing-wear", vec![1]),
        ("class=fan", vec![]),
        ("class=pump&open=false", vec![4]),
        ("site=kiel", vec![4, 3]),
        ("site=Hamburg%20plant", vec![5, 2, 1]),
        ("customer=C-1", vec![5, 2, 1]),
        ("customer=C-2", vec![]),
        ("technician=none", vec![]),
        ("technician=ada%20moser&origin=alarm", vec![1]),
        ("technician=Nobody%20Known", vec![]),
        ("field=order_number:a-4711", vec![2]),
        ("opened_from=2026-03-03", vec![5, 4, 3]),
        ("opened_to=2026-03-02T08:00:01Z", vec![2, 1]),
        ("due_before=2026-01-01", vec![]),
        ("q=T-3", vec![3]),
        ("q=SEAL%20pump", vec![2]),
        ("q=s-1001", vec![5, 1]),
        ("q=nordwind", vec![5, 2, 1]),
        ("q=grease%20kl%C3%BCber", vec![5]),
        ("q=grease%20S-1002", vec![]),
        ("q=whistling", vec![2]),
        ("q=4711", vec![2]),
        ("sort=oldest", vec![1, 2, 3, 4, 5]),
        // Those of the same instant stand by number.
        ("sort=changed", vec![3, 4, 5, 1, 2]),
    ] {
        assert_eq!(found(&router, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn every_order_is_the_one_that_was_asked_for() {
    let world = World::new();
    // Hours after the start at which each is opened, 48 before it is due, and the chance of a failure that gives its priority.
    for (n, hours, probability) in [
        (1, 30.0, 0.3),
        (2, 10.0, 0.9),
        (3, 20.0, 0.3),
        (4, 0.0, 0.3),
    ] {
        let id = format!("pump-{n}");
        let asset = world.add_asset(&id, "pump", &format!("Pump {n}"), "").await;
        let at = now().plus_hours(hours);
        world
            .open_ticket(&asset, "bearing-wear", probability, at)
            .await;
    }
    let router = router(world.state.clone());
    let cancel = json!({"to": "cancelled", "why": "nobody was there"});
    for (id, hours) in [(4, 40.0), (3, 50.0)] {
        world.clock.set(now().plus_hours(hours));
        let path = format!("/api/v1/tickets/{id}/transitions");
        let done = post(&router, &path, &cancel).await;
        assert!(done.status.is_success(), "{}", done.text);
    }
    for (sort, expected) in [
        ("newest", [4, 3, 2, 1]),
        ("oldest", [1, 2, 3, 4]),
        ("due", [4, 2, 3, 1]),
        ("priority", [2, 4, 3, 1]),
        ("changed", [3, 4, 1, 2]),
    ] {
        let got = found(&router, &format!("sort={sort}")).await;
        assert_eq!(got, expected, "{sort}");
    }
}

#[tokio::test]
async fn a_site_is_found_by_its_name_also_where_another_is_called_the_same() {
    let world = World::new();
    let router = router(world.state.clone());
    let put = |path: &'static str, body: Value| {
        let router = router.clone();
        async move {
            let path = format!("/api/v1/registry/{path}");
            let answer = ask(&router, "PUT", &path, &[], &body.to_string()).await;
            assert!(answer.status.is_success(), "{}", answer.text);
        }
    };
    for (n, firm, site, record) in [
        (1, "Nordwind", "locations/site-1", "assets/pump-1"),
        (2, "Quiet AG", "locations/site-2", "assets/pump-2"),
    ] {
        let id = format!("pump-{n}");
        let asset = world.add_asset(&id, "pump", &format!("Pump {n}"), "").await;
        world.open_ticket(&asset, "bearing-wear", 0.9, now()).await;
        let above = if n == 1 {
            "locations/firm-1"
        } else {
            "locations/firm-2"
        };
        put(above, json!({"name": firm, "level": "enterprise"})).await;
        let (parent, location) = (format!("firm-{n}"), format!("site-{n}"));
        let body = json!({"name": "Kiel", "level": "site", "parent": parent, "time_zone": "Europe/Berlin"});
        put(site, body).await;
        let position = json!({"location": location, "from": "2025-01-01T00:00:00Z"});
        put(record, json!({"positions": [position]})).await;
    }
    for (query, expected) in [
        ("site=kiel", vec![2, 1]),
        ("site=Kiel%20(Nordwind)", vec![1]),
        ("site=kiel%20(quiet%20ag)", vec![2]),
        ("site=Nordwind", vec![]),
    ] {
        assert_eq!(found(&router, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_customer_that_has_just_been_stored_can_be_asked_for() {
    let (_world, router) = desk().await;
    assert_eq!(found(&router, "q=nordwind").await, [5, 2, 1]);
    let new = json!({"name": "Calm AG"}).to_string();
    let path = "/api/v1/registry/customers/C-3";
    let stored = ask(&router, "PUT", path, &[], &new).await;
    assert!(stored.status.is_success(), "{}", stored.text);
    // Searches share master data that is some seconds old, and that this customer is not in.
    assert_eq!(found(&router, "customer=C-3").await, Vec::<i64>::new());
}

#[tokio::test]
async fn a_sorted_list_is_walked_whole_in_pages_of_one() {
    let (_world, router) = desk().await;
    for sort in ["newest", "oldest", "due", "priority", "changed"] {
        let whole = found(&router, &format!("sort={sort}")).await;
        let mut walked = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/tickets?sort={sort}&limit=1{cursor}");
            let page = get(&router, &path).await.json();
            walked.extend(
                page["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|t| t["id"].as_i64().unwrap()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(walked, whole, "{sort}");
    }
}

#[tokio::test]
async fn what_is_late_is_found_and_what_is_not_is_not() {
    let (world, router) = desk().await;
    assert_eq!(found(&router, "overdue=true").await, Vec::<i64>::new());
    world.clock.set(now().plus_hours(24.0 * 90.0));
    assert_eq!(found(&router, "overdue=true").await, [5, 3, 2, 1]);
    assert_eq!(found(&router, "overdue=false").await, [4]);
    let breached = found(&router, "breached=true").await;
    assert!(breached.contains(&3), "{breached:?}");
    assert!(!breached.contains(&4), "a cancelled one breaks no promise");
}

#[tokio::test]
async fn a_value_that_cannot_be_is_refused_with_those_that_can() {
    let (_world, router) = desk().await;
    for (query, field, told) in [
        ("state=open", "state", "on_hold"),
        ("priority=high", "priority", "P1, P2, P3, P4"),
        ("kind=repair", "kind", "corrective"),
        ("origin=mail", "origin", "person"),
        ("mode=rust", "mode", "bearing-wear"),
        ("class=truck", "class", "fan, pump"),
        ("depot=moon", "depot", "north"),
        ("customer=C-99", "customer", "there is no customer"),
        ("open=1", "open", "true, false"),
        ("overdue=perhaps", "overdue", "true, false"),
        ("opened_from=yesterday", "opened_from", "2026-01-31"),
        ("sort=size", "sort", "newest, oldest"),
        ("field=4711", "field", "name:value"),
    ] {
        for path in ["/api/v1/tickets", "/api/v1/tickets/export"] {
            let problem = get(&router, &format!("{path}?{query}")).await.problem(400);
            assert_eq!(problem["field"], field);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{query}: {detail}");
        }
    }
}

#[tokio::test]
async fn a_search_does_not_look_where_the_caller_may_not() {
    let (_world, router) = desk().await;
    for (q, n) in [("grease", 0), ("whistling", 0), ("nordwind", 3)] {
        let page = as_viewer(&router, &format!("/api/v1/tickets?q={q}"))
            .await
            .json();
        assert_eq!(page["items"].as_array().unwrap().len(), n, "{q}");
    }
}

#[tokio::test]
async fn an_export_holds_what_the_list_shows() {
    let (_world, router) = desk().await;
    let csv = get(&router, "/api/v1/tickets/export?customer=C-1&sort=oldest").await;
    let first = |line: &str| line.split(',').next().unwrap().to_owned();
    let ids: Vec<String> = csv.text.lines().skip(1).map(first).collect();
    assert_eq!(ids, ["1", "2", "5"]);
}

#[tokio::test]
async fn the_console_searches_and_keeps_the_search_in_its_address() {
    let (_world, router) = desk().await;
    let page = visit(&router, "/tickets?q=grease").await;
    assert!(page.text.contains("/tickets/5"), "{}", page.text);
    assert!(!page.text.contains("href=\"/tickets/1\""), "{}", page.text);
    assert!(
        page.text.contains("/tickets?show=ended&#38;q=grease"),
        "{}",
        page.text
    );
    assert!(
        page.text
            .contains("<option value=\"C-1\">Nordwind Foods</option>"),
        "{}",
        page.text
    );
    let page = visit(&router, "/tickets?show=all&customer=C-1&late=").await;
    for (id, is_there) in [(1, true), (2, true), (5, true), (3, false), (4, false)] {
        let link = format!("href=\"/tickets/{id}\"");
        assert_eq!(page.text.contains(&link), is_there, "{id}");
    }
    assert!(
        page.text
            .contains("/api/v1/tickets/export?format=csv&#38;customer=C-1"),
        "{}",
        page.text
    );
    // What is chosen stays a choice, though it is not in the list.
    let page = visit(
        &router,
        "/tickets?technician=Former+Colleague&state=new,triaged",
    )
    .await;
    for option in [
        "<option value=\"Former Colleague\" selected>",
        "<option value=\"new,triaged\" selected>",
    ] {
        assert!(page.text.contains(option), "{option} in {}", page.text);
    }
    let page = visit(&router, "/tickets?q=nothing+like+it").await;
    assert!(page.text.contains("No open ticket fits"), "{}", page.text);
    let page = visit(&router, "/tickets?show=ended&q=nothing").await;
    assert!(page.text.contains("Nothing fits"), "{}", page.text);
}

#[tokio::test]
async fn a_ticket_says_for_whom_it_is_and_whom_to_call() {
    let (_world, router) = desk().await;
    let ticket = get(&router, "/api/v1/tickets/1").await.json();
    let customer = &ticket["customer"];
    assert_eq!(customer["name"], "Nordwind Foods");
    assert_eq!(customer["tier"], "gold");
    assert_eq!(customer["contract_id"], "K-1");
    assert_eq!(
        customer["contacts"][0]["channels"][1]["address"],
        "+49 40 123456"
    );
    assert_eq!(customer["contacts"][0]["consents"][0]["purpose"], "survey");
    assert_eq!(
        ticket["place"],
        json!(["Nordwind", "Hamburg plant", "Cooling", "Pump house"])
    );
    let other = get(&router, "/api/v1/tickets/3").await.json();
    assert_eq!(
        (&other["customer"], &other["place"]),
        (&Value::Null, &json!(["Kiel"]))
    );
    let seen = as_viewer(&router, "/api/v1/tickets/1").await;
    assert!(!seen.text.contains("123456"), "{}", seen.text);
    let page = visit(&router, "/tickets/1").await;
    for text in [
        "href=\"/customers/C-1\">Nordwind Foods</a>",
        "+49 40 123456",
        "Full service Hamburg",
        "Pump house",
        "surveys</span>",
        "No time and no part has been booked yet",
    ] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
}

#[tokio::test]
async fn the_cost_of_a_ticket_is_the_sum_that_is_shown() {
    let (_world, router) = desk().await;
    let none = get(&router, "/api/v1/tickets/3").await.json();
    assert_eq!(none["cost"], Value::Null);
    let time = json!({"work": "time", "minutes": 45, "what": "on the road"});
    for id in [3, 4] {
        post(&router, &format!("/api/v1/tickets/{id}/work"), &time)
            .await
            .json();
    }
    for (key, kind, quantity) in [("i1", "issue", 3), ("i2", "return", 1)] {
        let movement =
            json!({"kind": kind, "depot": "north", "quantity": quantity, "ticket": "T-3"});
        let path = "/api/v1/parts/BRG-6310/movements";
        let key = [("idempotency-key", key)];
        let moved = ask(&router, "POST", path, &key, &movement.to_string()).await;
        assert!(moved.status.is_success(), "{}", moved.text);
    }
    let cost = get(&router, "/api/v1/tickets/3").await.json()["cost"].clone();
    // Three quarters of an hour at 90, and two bearings at 86.
    assert_eq!(
        (&cost["labour"], &cost["total"]),
        (&json!(67.5), &json!(239.5))
    );
    assert_eq!(
        cost["parts"],
        json!([{"part": "BRG-6310", "title": cost["parts"][0]["title"], "quantity": 2, "unit_cost": 86.0, "cost": 172.0, "paid_by": null}])
    );
    assert_eq!(cost["billable"], json!(239.5));
    // What contract and warranty include is not for the customer to pay.
    let contract = json!({"customer": "C-9", "kind": "labour", "valid_from": "2020-01-01", "includes": {"labour": true}});
    for (path, body) in [
        ("customers/C-9", json!({"name": "Elbe"})),
        ("contracts/K-9", contract),
        ("assets/pump-3", json!({"customer": "C-9"})),
    ] {
        let stored = put(&router, path, &[], &body).await;
        assert!(stored.status.is_success(), "{}", stored.text);
    }
    let cost = get(&router, "/api/v1/tickets/3").await.json()["cost"].clone();
    assert_eq!(
        (&cost["labour_paid_by"], &cost["billable"]),
        (&json!("included in contract K-9"), &json!(172.0))
    );
    let body = json!({"customer": "C-9", "warranty_until": "2099-12-31"});
    put(&router, "assets/pump-3", &[], &body).await;
    let cost = get(&router, "/api/v1/tickets/3").await.json()["cost"].clone();
    assert_eq!(
        (&cost["parts"][0]["paid_by"], &cost["billable"]),
        (&json!("warranty until 2099-12-31"), &json!(0.0))
    );
    let page = visit(&router, "/tickets/3").await;
    for text in [
        "45\u{a0}min at 90\u{a0}EUR an hour",
        "67.50\u{a0}EUR",
        "2 at 86\u{a0}EUR",
        "172\u{a0}EUR",
    ] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    // What was merged into it is counted with it.
    let duplicate = json!({"asset_id": "pump-3", "kind": "corrective", "title": "The same again"});
    let duplicate = post(&router, "/api/v1/tickets", &duplicate).await.json()["id"].clone();
    let path = format!("/api/v1/tickets/{duplicate}/work");
    post(&router, &path, &time).await.json();
    let merged = post(&router, &path, &json!({"work": "merge", "into": 3})).await;
    assert!(merged.status.is_success(), "{}", merged.text);
    let cost = get(&router, "/api/v1/tickets/3").await.json()["cost"].clone();
    assert_eq!(
        (&cost["minutes"], &cost["total"]),
        (&json!(90), &json!(307.0))
    );
    assert_eq!(cost["with_merged"], json!([duplicate]));
}
