//! Parts that stand in for others, pieces told apart, kits: by API and console.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::http::StatusCode;
use fixture::World;
use fixture::ask::{ask, csrf, get, post, submit, visit};
use forecare_api::router;
use forecare_catalogue::Catalogue;
use serde_json::{Value, json};

/// Bearings have serial numbers, and are needed with a seal as a kit; the seal is superseded.
fn catalogue() -> Catalogue {
    let text = include_str!("fixture/catalogue.toml")
        .replace(
            "parts = [{ part = \"BRG-6310\", quantity = 2 }, { part = \"SEAL-45\" }]",
            "parts = [{ part = \"KIT-7\" }]",
        )
        .replace(
            "number = \"BRG-6310\"",
            "number = \"BRG-6310\"\ntracked = \"serial\"",
        )
        .replace(
            "number = \"SEAL-45\"",
            "number = \"SEAL-45\"\nsuperseded_by = \"SEAL-46\"",
        )
        .replace(
            "part = \"BRG-6310\"\non_hand = 6",
            "part = \"BRG-6310\"\non_hand = 3\nbatch = \"B7\"\nserials = [\"S1\", \"S2\", \"S3\"]",
        );
    let more = r#"
        [[part]]
        number = "SEAL-46"
        title = "Mechanical seal 45 mm, new"
        lead_time_hours = 60
        [[kit]]
        number = "KIT-7"
        title = "Bearing kit"
        parts = [{ part = "BRG-6310", quantity = 2 }, { part = "SEAL-45", quantity = 2 }]
    "#;
    Catalogue::parse(&format!("{text}{more}")).unwrap()
}

/// A ticket on which work is in progress.
async fn at_work(world: &World, router: &Router) {
    let asset = world.add_asset("pump-1", "pump", "Pump 1", "Hall").await;
    world
        .open_ticket(&asset, "bearing-wear", 0.8, fixture::now())
        .await;
    for to in ["triaged", "dispatched", "accepted", "in_progress"] {
        let step = json!({"to": to, "technician": "Ben Okafor"});
        let answer = post(router, "/api/v1/tickets/1/transitions", &step).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

async fn places(router: &Router, query: &str) -> Vec<(Value, Value, Value)> {
    let found = get(router, &format!("/api/v1/units?{query}")).await.json();
    let items = found["items"].as_array().unwrap().clone();
    items
        .into_iter()
        .map(|u| {
            (
                u["serial"].clone(),
                u["place"].clone(),
                u["asset_id"].clone(),
            )
        })
        .collect()
}

#[tokio::test]
async fn what_stands_in_for_what_is_shown() {
    let world = World::with(catalogue());
    let router = router(world.state.clone());
    at_work(&world, &router).await;
    let parts = get(&router, "/api/v1/parts").await.json();
    assert_eq!(parts["items"][1]["superseded_by"], "SEAL-46");
    assert_eq!(parts["items"][0]["tracked"], "serial");
    assert_eq!(
        parts["kits"][0]["parts"],
        json!({"BRG-6310": 2, "SEAL-45": 2})
    );
    let held = get(&router, "/api/v1/reservations?ticket=1").await.json();
    let stands_in = held["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["part"] == "SEAL-46")
        .unwrap();
    assert_eq!(stands_in["instead_of"], "SEAL-45");
    let page = visit(&router, "/tickets/1").await;
    for text in [
        "instead of SEAL-45",
        "Bearing kit (KIT-7): 2 x BRG-6310, 2 x SEAL-45",
        "ready: S1, S2, S3",
        "Book parts used",
    ] {
        assert!(page.text.contains(text), "{text} not in {}", page.text);
    }
    let proposals = get(&router, "/api/v1/reorder-proposals").await.json();
    let old = proposals["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["part"] == "SEAL-45")
        .unwrap();
    assert_eq!(old["quantity"], 0, "only the newest is ordered: {old}");
}

#[tokio::test]
async fn pieces_are_followed_into_the_machine() {
    let world = World::with(catalogue());
    let router = router(world.state.clone());
    at_work(&world, &router).await;
    let page = visit(&router, "/tickets/1").await;
    let form = format!(
        "csrf={}&work=parts_used&form_key=u1&used%3ABRG-6310=1",
        csrf(&page)
    );
    let unnamed = submit(&router, "/tickets/1/work", &[], &form).await;
    assert!(unnamed.status.is_client_error(), "{}", unnamed.text);
    assert!(
        unnamed.text.contains("name the serial numbers"),
        "{}",
        unnamed.text
    );
    let named = format!("{form}&serials%3ABRG-6310=S2");
    let booked = submit(&router, "/tickets/1/work", &[], &named).await;
    assert_eq!(booked.status, StatusCode::SEE_OTHER, "{}", booked.text);
    assert_eq!(
        places(&router, "serial=S2").await,
        [(json!("S2"), json!("issued"), json!("pump-1"))]
    );
    // The kit stands for what is in it; the rest of the bearings is named by number.
    let used = json!({"work": "parts_used", "parts_used": {"KIT-7": 1}, "units_used": {"BRG-6310": {"serials": ["S3", "S2"]}}});
    let booked = post(&router, "/api/v1/tickets/1/work", &used).await;
    assert_eq!(booked.status, StatusCode::OK, "{}", booked.text);
    let resolve = json!({"to": "resolved", "finding": {"verdict": "confirmed", "failure_code": "VIB"},
        "parts_used": {"BRG-6310": 2, "SEAL-45": 2}});
    let resolved = post(&router, "/api/v1/tickets/1/transitions", &resolve).await;
    assert_eq!(resolved.status, StatusCode::OK, "{}", resolved.text);
    assert_eq!(
        places(&router, "batch=B7").await,
        [
            (json!("S1"), json!("shelf"), Value::Null),
            (json!("S2"), json!("installed"), json!("pump-1")),
            (json!("S3"), json!("installed"), json!("pump-1")),
        ]
    );
    assert_eq!(places(&router, "asset=pump-1").await.len(), 2);
    let page = visit(&router, "/parts/units?batch=B7").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("In 1 machines"), "{}", page.text);
    let page = visit(&router, "/assets/pump-1").await;
    for text in ["Tracked parts in it", ">S2</td>", ">S3</td>", ">B7</td>"] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    let page = visit(&router, "/parts").await;
    assert!(
        page.text.contains(">S2, S3</td>") || page.text.contains(">S2</td>"),
        "{}",
        page.text
    );
    get(&router, "/api/v1/units?batch=a%20b").await.problem(400);
}

#[tokio::test]
async fn receipts_name_as_many_pieces_as_arrive() {
    let world = World::with(catalogue());
    let router = router(world.state.clone());
    let path = "/api/v1/parts/BRG-6310/receipts";
    let send = async |key: &str, body: Value| {
        let key = [("idempotency-key", key)];
        ask(&router, "POST", path, &key, &body.to_string()).await
    };
    let two = |serials: Value| json!({"depot": "north", "quantity": 2, "serials": serials, "batch": "B8"});
    send("r1", two(json!(["S8"]))).await.problem(409);
    send("r2", two(json!(["S1", "S8"]))).await.problem(409);
    send("r3", two(json!(["S 8", "S9"]))).await.problem(422);
    let booked = send("r4", two(json!(["S8", "S9"]))).await;
    assert_eq!(booked.status, StatusCode::CREATED, "{}", booked.text);
    let ledger = get(&router, "/api/v1/ledger").await.json();
    assert_eq!(
        ledger["items"][0]["units"][1],
        json!({"batch": "B8", "serial": "S9", "delta": 1})
    );
    let page = visit(&router, "/parts").await;
    let form = format!(
        "csrf={}&form_key=k&kind=transfer&part=BRG-6310&depot=north&to=south&quantity=1&serials=S9",
        csrf(&page)
    );
    let sent = submit(&router, "/parts/movements", &[], &form).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
    let units = get(&router, "/api/v1/units?serial=S9").await.json();
    assert_eq!(units["items"][0]["depot"], "south");
}
