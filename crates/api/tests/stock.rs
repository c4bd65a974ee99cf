//! Stock: movements, orders on their way, what to order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::http::StatusCode;
use fixture::ask::{ask, get};
use fixture::{World, now};
use forecare_api::router;
use forecare_domain::{AssetHealth, DeviceId, ModeName, Prognosis, Rul};
use forecare_store::{CommitBatch, Store};
use serde_json::{Value, json};

#[tokio::test]
async fn a_receipt_is_booked_once_even_by_another_process() {
    let world = World::new();
    let body = "{\"depot\":\"north\",\"quantity\":4}";
    for _ in 0..2 {
        // A new router has no memory of the first answer: the store has.
        let router = router(world.state.clone());
        let key = [("idempotency-key", "delivery-17")];
        let answer = ask(
            &router,
            "POST",
            "/api/v1/parts/SEAL-45/receipts",
            &key,
            body,
        )
        .await;
        assert_eq!(answer.json()["on_hand"], 4, "{}", answer.text);
    }
}

#[tokio::test]
async fn every_kind_of_movement_is_booked_and_refusals_say_why() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let (ticket, _) = world.open_ticket(&asset, "seal-leak", 0.8, now()).await;
    let router = router(world.state);
    let path = "/api/v1/parts/BRG-6310/movements";
    let n = std::cell::Cell::new(0);
    let ask_for = async |body: Value| {
        n.set(n.get() + 1);
        let key = format!("move-{}", n.get());
        ask(
            &router,
            "POST",
            path,
            &[("idempotency-key", &key)],
            &body.to_string(),
        )
        .await
    };
    for (body, on_hand) in [
        (
            json!({"kind": "receipt", "depot": "north", "quantity": 4, "bin": "A-12"}),
            10,
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 2, "cost_centre": "workshop"}),
            8,
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1, "ticket": ticket.id.to_string()}),
            7,
        ),
        (
            json!({"kind": "return", "depot": "north", "quantity": 1, "ticket": ticket.id.to_string(), "fate": "repair"}),
            7,
        ),
        (
            json!({"kind": "repaired", "depot": "north", "quantity": 1}),
            8,
        ),
        (
            json!({"kind": "return", "depot": "north", "quantity": 1, "cost_centre": "workshop"}),
            9,
        ),
        (
            json!({"kind": "transfer", "depot": "north", "quantity": 2, "to": "south"}),
            7,
        ),
        (
            json!({"kind": "count", "depot": "north", "quantity": 5, "reason": "stock-take"}),
            5,
        ),
        (
            json!({"kind": "scrap", "depot": "north", "quantity": 1, "reason": "dropped"}),
            4,
        ),
    ] {
        let answer = ask_for(body.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::CREATED,
            "{body}: {}",
            answer.text
        );
        let moved = answer.json();
        assert_eq!(moved["stock"]["on_hand"], on_hand, "{body}: {moved}");
        assert_eq!(moved["stock"]["bin"], "A-12");
        assert_eq!(moved["repeated"], false);
        assert_eq!(moved["there"].is_object(), body["kind"] == "transfer");
    }
    let ledger = get(&router, "/api/v1/ledger").await.json();
    assert_eq!(ledger["items"][0]["kind"], "scrap");
    assert_eq!(ledger["items"][0]["reason"], "dropped");
    assert_eq!(ledger["items"][1]["delta"], -2, "what the count missed");
    for (body, status, field) in [
        (
            json!({"kind": "issue", "depot": "north", "quantity": 9, "cost_centre": "x"}),
            409,
            None,
        ),
        (
            json!({"kind": "return", "depot": "north", "quantity": 9, "cost_centre": "x"}),
            409,
            None,
        ),
        (
            json!({"kind": "count", "depot": "north", "quantity": 9}),
            409,
            None,
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1}),
            422,
            Some("ticket"),
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1, "ticket": "T-999"}),
            422,
            Some("ticket"),
        ),
        (
            json!({"kind": "issue", "depot": "north", "quantity": 1, "ticket": "x"}),
            422,
            Some("ticket"),
        ),
        (
            json!({"kind": "receipt", "depot": "moon", "quantity": 1}),
            422,
            Some("depot"),
        ),
        (
            json!({"kind": "transfer", "depot": "north", "quantity": 1, "to": "moon"}),
            422,
            Some("to"),
        ),
        (
            json!({"kind": "transfer", "depot": "north", "quantity": 1}),
            422,
            Some("to"),
        ),
        (
            json!({"kind": "receipt", "depot": "north", "quantity": 0}),
            422,
            Some("quantity"),
        ),
        (
            json!({"kind": "receipt", "depot": "north", "quantity": 1, "to": "south"}),
            422,
            Some("to"),
        ),
        (
            json!({"kind": "receipt", "depot": "n/a", "quantity": 1}),
            422,
            Some("depot"),
        ),
        (
            json!({"kind": "scrap", "depot": "north", "quantity": 1, "reason": "a\nb"}),
            422,
            Some("reason"),
        ),
    ] {
        let problem = ask_for(body.clone()).await.problem(status);
        assert_eq!(problem["field"].as_str(), field, "{body}: {problem}");
    }
    let unknown = "/api/v1/parts/NO-1/movements";
    let body = "{\"kind\":\"receipt\",\"depot\":\"north\",\"quantity\":1}";
    ask(&router, "POST", unknown, &[("idempotency-key", "n")], body)
        .await
        .problem(404);
}

#[tokio::test]
async fn an_order_on_its_way_can_be_promised_and_is_counted_by_its_receipts() {
    let world = World::new();
    let router = router(world.state);
    let put = async |id: &str, body: Value| {
        let path = format!("/api/v1/purchase-orders/{id}");
        ask(&router, "PUT", &path, &[], &body.to_string()).await
    };
    let due = now().plus_hours(48.0);
    let body = json!({"part": "BRG-6310", "depot": "north", "quantity": 5, "due_at": due});
    for _ in 0..2 {
        let order = put("PO-7", body.clone()).await;
        assert_eq!(order.status, StatusCode::OK, "{}", order.text);
        let order = order.json();
        assert_eq!(
            (&order["outstanding"], &order["received"]),
            (&json!(5), &json!(0))
        );
    }
    let availability = async |query: &str| -> Vec<(i64, i64)> {
        let path = format!("/api/v1/parts/BRG-6310/availability{query}");
        let body = get(&router, &path).await.json();
        let points = body["points"].as_array().unwrap().iter();
        let n = |p: &Value, name: &str| p[name].as_i64().unwrap();
        points
            .map(|p| (n(p, "projected"), n(p, "promisable")))
            .collect()
    };
    assert_eq!(availability("?depot=north").await, [(6, 6), (11, 11)]);
    assert_eq!(availability("?depot=south").await, [(0, 0)]);
    let receipt = json!({"kind": "receipt", "depot": "north", "quantity": 2, "order": "PO-7"});
    let path = "/api/v1/parts/BRG-6310/movements";
    let key = [("idempotency-key", "r1")];
    let answer = ask(&router, "POST", path, &key, &receipt.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(availability("").await, [(8, 8), (11, 11)]);
    let orders = get(&router, "/api/v1/purchase-orders?open=true")
        .await
        .json();
    assert_eq!(orders["items"][0]["outstanding"], 3);
    assert_eq!(answer.json()["more_than_ordered"], Value::Null);
    let key = [("idempotency-key", "r2")];
    let unknown = json!({"kind": "receipt", "depot": "north", "quantity": 2, "order": "PO-8"});
    let problem = ask(&router, "POST", path, &key, &unknown.to_string())
        .await
        .problem(422);
    assert_eq!(problem["field"], "order");
    for (wrong, field) in [
        (
            json!({"part": "NO-1", "depot": "north", "quantity": 5, "due_at": due}),
            "part",
        ),
        (
            json!({"part": "BRG-6310", "depot": "moon", "quantity": 5, "due_at": due}),
            "depot",
        ),
        (
            json!({"part": "BRG-6310", "depot": "north", "quantity": 0, "due_at": due}),
            "quantity",
        ),
    ] {
        assert_eq!(put("PO-9", wrong).await.problem(422)["field"], field);
    }
    get(&router, "/api/v1/parts/NO-1/availability")
        .await
        .problem(404);
    let key = [("idempotency-key", "r3")];
    let more = json!({"kind": "receipt", "depot": "north", "quantity": 4, "order": "PO-7"});
    for _ in 0..2 {
        let answer = ask(&router, "POST", path, &key, &more.to_string()).await;
        let said = answer.json()["more_than_ordered"].to_string();
        assert!(
            said.contains("of order PO-7 have arrived, 5 were ordered"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_to_order_follows_the_probabilities_of_the_fleet() {
    let world = World::new();
    for n in 0..20 {
        let id = format!("pump-{n}");
        world.add_asset(&id, "pump", &id, "").await;
    }
    let health = |probability: f64| {
        let health = (0..20).map(|n| AssetHealth {
            device: DeviceId::new(format!("pump-{n}")).unwrap(),
            at: now(),
            health: 60.0,
            anomaly: 0.1,
            prognoses: vec![Prognosis {
                mode: ModeName::new("bearing-wear").unwrap(),
                probability,
                horizon_hours: 48.0,
                contributions: Vec::new(),
            }],
            rul: Rul::NoTrend,
        });
        CommitBatch {
            health: health.collect(),
            ..CommitBatch::default()
        }
    };
    world.commit(health(0.001)).await;
    let store = world.store.clone();
    let router = router(world.state);
    let bearing =
        async || get(&router, "/api/v1/reorder-proposals").await.json()["items"][0].clone();
    let calm = bearing().await;
    assert_eq!(calm["part"], "BRG-6310");
    assert_eq!(
        (&calm["quantity"], &calm["machines_at_risk"]),
        (&json!(0), &json!(20))
    );
    let mut later = health(0.5);
    for h in &mut later.health {
        h.at = now().plus_hours(0.1);
    }
    store.commit_batch(later).await.unwrap();
    let alarmed = bearing().await;
    assert!(alarmed["quantity"].as_u64().unwrap() > 10, "{alarmed}");
    assert!(
        alarmed["short_probability"].as_f64().unwrap() > 0.9,
        "{alarmed}"
    );
    assert!(
        alarmed["expected_predicted"].as_f64().unwrap() > 10.0,
        "{alarmed}"
    );
    assert_eq!(alarmed["likeliest"].as_array().unwrap().len(), 5);
    assert!(
        alarmed["why"]
            .as_str()
            .unwrap()
            .contains("20 machines with a prognosis")
    );
    let csv = get(&router, "/api/v1/reorder-proposals?format=csv").await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(
        csv.text
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("\"BRG-6310\","),
        "{}",
        csv.text
    );
    get(&router, "/api/v1/reorder-proposals?format=xml")
        .await
        .problem(400);
}
