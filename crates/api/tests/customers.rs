//! Customers at a glance, by API and console.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::http::StatusCode;
use fixture::World;
use fixture::ask::{get, post, put, visit};
use fixture::master::{self, filled};
use forecare_api::router;
use forecare_domain::TicketState;
use forecare_store::Store;
use serde_json::json;

const HOSTILE: &str = "<script>alert(1)</script>\" onload=\"x' {{7*7}}";

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
