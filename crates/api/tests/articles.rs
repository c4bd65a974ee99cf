//! Articles of the knowledge base: found, and written from a resolution.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::http::StatusCode;
use fixture::ask::{Answer, get, post, put, visit};
use fixture::{World, now};
use forecare_api::router;
use serde_json::json;

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
