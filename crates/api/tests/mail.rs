//! What e-mails come to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::body::Body;
use axum::http::Request;
use fixture::ask::{get, post, send};
use fixture::{TOKEN, World};
use forecare_api::router;
use serde_json::json;

#[tokio::test]
async fn a_message_opens_a_ticket_once_and_a_reply_becomes_its_note() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let mail = |id: &str, subject: &str| json!({"message_id": id, "from": "Bo <bo@example.com>", "subject": subject, "text": "It leaks.", "asset_id": "pump-1"});
    let path = "/api/v1/inbound/email";
    for _ in 0..2 {
        let taken = post(&router, path, &mail("<1@example.com>", "Leak at the pump"))
            .await
            .json();
        assert_eq!(taken, json!({"outcome": "opened", "ticket_id": 1}));
    }
    let ticket = get(&router, "/api/v1/tickets/1").await.json();
    assert_eq!(ticket["title"], "Leak at the pump");
    assert_eq!(
        ticket["origin"],
        json!({"from": "person", "by": "Bo", "channel": "email"})
    );
    for _ in 0..2 {
        let taken = post(&router, path, &mail("<2@example.com>", "Re: [#1] Leak"))
            .await
            .json();
        assert_eq!(taken, json!({"outcome": "noted", "ticket_id": 1}));
    }
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    assert_eq!(entries["items"].as_array().unwrap().len(), 1);
    assert_eq!(entries["items"][0]["channel"], "email");
    let mut machine = mail("<3@example.com>", "Out of office");
    machine["auto_submitted"] = json!(true);
    let left_out = post(&router, path, &machine).await.json();
    assert_eq!(left_out["outcome"], "left_out");
    post(&router, path, &mail("<4@example.com>", "Re: [#77]"))
        .await
        .problem(404);
    post(&router, path, &mail(" ", "x")).await.problem(422);
    let nowhere = json!({"message_id": "<5@x>", "from": "x"});
    assert_eq!(
        post(&router, path, &nowhere).await.problem(422)["field"],
        "asset_id"
    );
}

#[tokio::test]
async fn a_message_as_it_came_becomes_a_ticket_with_its_files() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let send_raw = async |headers: &str, body: &str| {
        let request = Request::post("/api/v1/inbound/email/raw")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "message/rfc822");
        let text = format!("{headers}\r\n\r\n{body}");
        send(&router, request.body(Body::from(text)).unwrap()).await
    };
    let head = "From: Bo <bo@example.com>\r\nTo: care+pump-1@example.com\r\nSubject: Leak\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b";
    let body = "--b\r\nContent-Type: text/plain\r\n\r\nIt leaks.\r\n--b\r\nContent-Type: image/png; name=leak.png\r\nContent-Disposition: attachment; filename=leak.png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b\r\nContent-Type: application/zip; name=a.zip\r\nContent-Disposition: attachment; filename=a.zip\r\n\r\nx\r\n--b--\r\n";
    for _ in 0..2 {
        let taken = send_raw(head, body).await.json();
        assert_eq!(taken, json!({"outcome": "opened", "ticket_id": 1}));
    }
    let ticket = get(&router, "/api/v1/tickets/1").await.json();
    assert_eq!(ticket["asset_id"], "pump-1");
    let told = ticket["report"]["description"].as_str().unwrap();
    assert_eq!(told, "It leaks.\n(file left out: a.zip)");
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    assert_eq!(entries["items"].as_array().unwrap().len(), 1);
    assert_eq!(entries["items"][0]["name"], "leak.png");
    let away = format!("Auto-Submitted: auto-replied\r\n{head}");
    assert_eq!(send_raw(&away, body).await.json()["outcome"], "left_out");
    let lost = "From: Bo <bo@example.com>\r\nTo: care@example.com\r\nMessage-ID: <2@x>";
    let refused = send_raw(lost, "It leaks.").await.problem(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("behind a plus"),
        "{refused}"
    );
    send_raw("Subject: x", "x").await.problem(422);
}

#[tokio::test]
async fn a_message_without_a_machine_goes_by_its_sender() {
    let world = World::new();
    for id in ["pump-1", "pump-2"] {
        world.add_asset(id, "pump", id, "").await;
    }
    fixture::master::fill(&world.store, ["pump-1", "pump-2"]).await;
    let router = router(world.state);
    let request = Request::post("/api/v1/inbound/email/raw")
        .header("authorization", format!("Bearer {TOKEN}"));
    let text =
        "From: Ada <ADA@example.com>\r\nTo: care@example.com\r\nMessage-ID: <1@x>\r\n\r\nIt leaks.";
    let refused = send(&router, request.body(Body::from(text)).unwrap()).await;
    let refused = refused.problem(422);
    assert_eq!(refused["field"], "asset_id");
    assert!(
        refused["detail"].as_str().unwrap().contains("2 machines"),
        "{refused}"
    );
}

#[tokio::test]
async fn who_is_no_contact_of_the_customer_is_told_apart() {
    let world = World::new();
    for id in ["pump-1", "pump-2"] {
        world.add_asset(id, "pump", id, "").await;
    }
    fixture::master::fill(&world.store, ["pump-1", "pump-2"]).await;
    let router = router(world.state);
    let mail = |id: &str, from: &str, subject: &str| json!({"message_id": id, "from": from, "subject": subject, "text": "It leaks.", "asset_id": "pump-1"});
    let path = "/api/v1/inbound/email";
    let ada = "Ada <Ada@Example.com>";
    let stranger = "Ada <ada@elsewhere.example>";
    post(&router, path, &mail("<1@x>", ada, "Leak"))
        .await
        .json();
    post(&router, path, &mail("<2@x>", stranger, "Leak"))
        .await
        .json();
    let description = async |id: i64| {
        let ticket = get(&router, &format!("/api/v1/tickets/{id}")).await.json();
        ticket["report"]["description"].as_str().unwrap().to_owned()
    };
    assert_eq!(description(1).await, "It leaks.");
    let marked = "(From an address that is no contact of this customer.)\nIt leaks.";
    assert_eq!(description(2).await, marked.replace("\n", "\nLeak\n"));
    let ticket = get(&router, "/api/v1/tickets/2").await.json();
    assert_eq!(ticket["title"], "E-mail about pump-1");
    for (id, from) in [("<3@x>", ada), ("<4@x>", stranger)] {
        post(&router, path, &mail(id, from, "Re: [#1]"))
            .await
            .json();
    }
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    let notes: Vec<_> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            (
                e["text"].as_str().unwrap(),
                e["visibility"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(notes, [(marked, "internal"), ("It leaks.", "public")]);
}

#[tokio::test]
async fn the_only_machine_of_the_sender_is_found_and_quotations_are_left_out() {
    let world = World::new();
    for id in ["pump-1", "pump-2"] {
        world.add_asset(id, "pump", id, "").await;
    }
    fixture::master::fill(&world.store, ["pump-1", "pump-2"]).await;
    let router = router(world.state);
    let path = "/api/v1/inbound/email";
    let mail = |id: &str, from: &str| json!({"message_id": id, "from": from, "subject": "Leak", "text": "It leaks.\n-- \nAda, Nordwind\n"});
    let unknown = post(&router, path, &mail("<1@x>", "Bo <bo@elsewhere.example>")).await;
    assert_eq!(unknown.status, 422);
    let many = post(&router, path, &mail("<2@x>", "Ada <ada@example.com>")).await;
    assert_eq!(many.status, 422);
    assert!(
        many.text.contains("has 2 machines: give asset_id"),
        "{}",
        many.text
    );
    let request = Request::put("/api/v1/registry/assets/pump-2")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json");
    let moved = request.body(Body::from(r#"{"customer": "C-2"}"#)).unwrap();
    assert_eq!(send(&router, moved).await.status, 200);
    let taken = post(&router, path, &mail("<3@x>", "Ada <ada@example.com>"))
        .await
        .json();
    assert_eq!(taken, json!({"outcome": "opened", "ticket_id": 1}));
    let ticket = get(&router, "/api/v1/tickets/1").await.json();
    assert_eq!(ticket["asset_id"], "pump-1");
    assert_eq!(ticket["report"]["description"], "It leaks.");
}

#[tokio::test]
async fn a_message_that_was_heard_before_a_merge_is_not_heard_again() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let mail = |id: &str, subject: &str| json!({"message_id": id, "from": "Bo <bo@example.com>", "subject": subject, "text": "It leaks.", "asset_id": "pump-1"});
    let path = "/api/v1/inbound/email";
    for id in ["<1@x>", "<2@x>"] {
        post(&router, path, &mail(id, "Leak")).await.json();
    }
    post(&router, path, &mail("<3@x>", "Re: [#1]")).await.json();
    let merge = json!({"work": "merge", "into": 2});
    post(&router, "/api/v1/tickets/1/work", &merge).await.json();
    let before = get(&router, "/api/v1/tickets/2/entries").await.json();
    let again = post(&router, path, &mail("<3@x>", "Re: [#1]")).await.json();
    assert_eq!(again, json!({"outcome": "noted", "ticket_id": 1}));
    let after = get(&router, "/api/v1/tickets/2/entries").await.json();
    assert_eq!(before, after);
    let new = post(&router, path, &mail("<4@x>", "Re: [#1]")).await.json();
    assert_eq!(new, json!({"outcome": "noted", "ticket_id": 2}));
}

#[tokio::test]
async fn a_file_that_is_not_what_it_claims_is_told_in_a_note() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let text = "From: Bo <bo@example.com>\r\nTo: care+pump-1@example.com\r\nSubject: Leak\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSee the picture.\r\n--b\r\nContent-Type: image/png; name=leak.png\r\nContent-Disposition: attachment; filename=leak.png\r\n\r\n<script>\r\n--b--\r\n";
    for _ in 0..2 {
        let request = Request::post("/api/v1/inbound/email/raw")
            .header("authorization", format!("Bearer {TOKEN}"));
        let request = request.body(Body::from(text)).unwrap();
        assert_eq!(send(&router, request).await.json()["outcome"], "opened");
    }
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    let entries = entries["items"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let note = entries[0]["text"].as_str().unwrap();
    assert!(note.contains("leak.png"), "{note}");
    assert_eq!(entries[0]["visibility"], "internal");
}
