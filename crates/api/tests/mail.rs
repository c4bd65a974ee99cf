//! What e-mails come to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use fixture::ask::{csrf, get, peek, post, send, submit, visit};
use fixture::{TOKEN, World};
use forecare_api::router;
use forecare_domain::{AssetId, NoticeKind, TicketId};
use forecare_store::Store;
use serde_json::{Value, json};

fn opened(ticket: i64) -> Value {
    json!({"outcome": "opened", "ticket_id": ticket, "mail_id": null})
}

fn noted(ticket: i64) -> Value {
    json!({"outcome": "noted", "ticket_id": ticket, "mail_id": null})
}

/// A customer with the machines pump-1 and pump-2, and a contact who writes from ada@example.com.
async fn nordwind() -> (World, Router) {
    let world = World::new();
    for (id, name) in [("pump-1", "Pump 1"), ("pump-2", "Pump 2")] {
        world.add_asset(id, "pump", name, "").await;
    }
    fixture::master::fill(&world.store, ["pump-1", "pump-2"]).await;
    let router = router(world.state.clone());
    (world, router)
}

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
        assert_eq!(taken, opened(1));
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
        assert_eq!(taken, noted(1));
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
    let kept = post(&router, path, &nowhere).await.json();
    assert_eq!(kept["outcome"], "kept");
}

#[tokio::test]
async fn the_same_subject_again_within_a_day_is_no_second_ticket() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    let path = "/api/v1/inbound/email";
    let mail = |id: &str, from: &str, subject: &str| json!({"message_id": id, "from": from, "subject": subject, "text": "It leaks.", "asset_id": "pump-1"});
    let bo = "Bo <bo@example.com>";
    let first = post(&router, path, &mail("<1@x>", bo, "Leak")).await.json();
    assert_eq!(first, opened(1));
    for _ in 0..2 {
        let again = post(&router, path, &mail("<2@x>", bo, "leak")).await.json();
        assert_eq!(again, noted(1));
    }
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    let [entry] = entries["items"].as_array().unwrap().as_slice() else {
        panic!("{entries}");
    };
    let said = entry["text"].as_str().unwrap();
    assert!(
        said.starts_with("(Written again under the same subject") && said.ends_with("It leaks."),
        "{said}"
    );
    // Another subject, or somebody else: tickets of their own, and the answer names the other.
    for (n, from, subject) in [(2, bo, "Noise"), (3, "Cy <cy@example.com>", "Leak")] {
        let id = format!("<{}@x>", n + 1);
        let taken = post(&router, path, &mail(&id, from, subject)).await.json();
        assert_eq!(taken["ticket_id"], n);
        let others: Vec<i64> = (1..n).rev().collect();
        assert_eq!(taken["also_open"], json!(others));
    }
    let body = json!({"asset_id": "pump-1", "kind": "corrective", "title": "Drip"});
    let by_api = post(&router, "/api/v1/tickets", &body).await.json();
    assert_eq!(by_api["also_open"][0]["id"], 3);
    assert_eq!(by_api["also_open"][2]["title"], "Leak");
    let page = visit(&router, "/tickets/4").await.text;
    assert!(page.contains("Also open on this machine"));
    assert!(page.contains("merge into T-3"));
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
        assert_eq!(taken, opened(1));
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
    let kept = send_raw(lost, "It leaks.").await.json();
    assert_eq!(kept["outcome"], "kept");
    send_raw("Subject: x", "x").await.problem(422);
}

#[tokio::test]
async fn a_sender_with_several_machines_is_understood_by_what_they_name() {
    let (world, router) = nordwind().await;
    let mail = |id: &str, subject: &str, text: &str| json!({"message_id": id, "from": "Ada <ADA@example.com>", "subject": subject, "text": text});
    let path = "/api/v1/inbound/email";
    for (n, subject, text) in [
        (1, "pump-2 leaks", ""),
        (2, "Leak", "serial number S-1002"),
        (3, "Noise", "It is our Pump 2, behind the gate."),
    ] {
        let id = format!("<{n}@x>");
        let taken = post(&router, path, &mail(&id, subject, text)).await.json();
        assert_eq!(
            (&taken["outcome"], &taken["ticket_id"]),
            (&json!("opened"), &json!(n))
        );
        let ticket = get(&router, &format!("/api/v1/tickets/{n}")).await.json();
        assert_eq!(ticket["asset_id"], "pump-2");
    }
    let both = mail("<4@x>", "Leak", "pump-1 or S-1002");
    let none = mail("<5@x>", "Leak", "It leaks.");
    for mail in [both, none] {
        let kept = post(&router, path, &mail).await.json();
        assert_eq!(
            (&kept["outcome"], &kept["ticket_id"]),
            (&json!("kept"), &json!(null))
        );
    }
    let inbox = get(&router, "/api/v1/inbound/mails").await.json();
    let inbox = inbox["items"].as_array().unwrap();
    assert_eq!(inbox.len(), 2);
    for kept in inbox {
        assert_eq!(kept["candidates"], json!(["pump-1", "pump-2"]));
        assert_eq!(
            (&kept["customer_id"], &kept["state"]),
            (&json!("C-1"), &json!("waiting"))
        );
    }
    drop(world);
}

#[tokio::test]
async fn a_message_that_belongs_nowhere_waits_until_it_is_placed_with_its_files() {
    let (world, router) = nordwind().await;
    let send_raw = async |id: &str, from: &str, extra: &str| {
        let text = format!(
            "From: {from}\r\nTo: care@example.com\r\n{extra}Subject: Leak\r\nMessage-ID: <{id}>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nIt leaks at S-1001.\r\n--b\r\nContent-Type: image/png; name=leak.png\r\nContent-Disposition: attachment; filename=leak.png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b--\r\n"
        );
        let request = Request::post("/api/v1/inbound/email/raw")
            .header("authorization", format!("Bearer {TOKEN}"));
        send(&router, request.body(Body::from(text)).unwrap())
            .await
            .json()
    };
    // Nobody's contact: what they name is a hint for us, no more.
    for _ in 0..2 {
        let kept = send_raw("1@x", "Zoe <zoe@elsewhere.example>", "").await;
        assert_eq!(
            kept,
            json!({"outcome": "kept", "ticket_id": null, "mail_id": 1})
        );
    }
    let path = "/api/v1/inbound/mails";
    let one = get(&router, &format!("{path}/1")).await.json();
    assert_eq!(one["candidates"], json!(["pump-1"]));
    assert_eq!(
        (&one["n_files"], &one["customer_id"]),
        (&json!(1), &json!(null))
    );
    assert_eq!(one["from"], "Zoe <zoe@elsewhere.example>");
    peek(&router, path).await.problem(403);
    peek(&router, &format!("{path}/1")).await.problem(403);
    let place = format!("{path}/1/place");
    post(&router, &place, &json!({"asset_id": "moon"}))
        .await
        .problem(422);
    for _ in 0..2 {
        let placed = post(&router, &place, &json!({"asset_id": "pump-1"}))
            .await
            .json();
        assert_eq!(
            placed,
            json!({"outcome": "opened", "ticket_id": 1, "mail_id": 1})
        );
    }
    let ticket = get(&router, "/api/v1/tickets/1").await.json();
    assert_eq!(
        (&ticket["asset_id"], &ticket["title"]),
        (&json!("pump-1"), &json!("E-mail about pump-1"))
    );
    assert_eq!(ticket["origin"]["by"], "Zoe");
    let entries = get(&router, "/api/v1/tickets/1/entries").await.json();
    assert_eq!(entries["items"][0]["name"], "leak.png");
    // Handed on again, it is known.
    let again = send_raw("1@x", "Zoe <zoe@elsewhere.example>", "").await;
    assert_eq!(again["ticket_id"], 1);
    let discard = format!("{path}/1/discard");
    post(&router, &discard, &json!({"why": "spam"}))
        .await
        .problem(409);
    send_raw("2@x", "Spam <x@spam.example>", "").await;
    let discard = format!("{path}/2/discard");
    post(&router, &discard, &json!({"why": " "}))
        .await
        .problem(422);
    let gone = post(&router, &discard, &json!({"why": "an advertisement"}))
        .await
        .json();
    assert_eq!(
        (&gone["state"], &gone["settled_by"]),
        (&json!("discarded"), &json!("Lena"))
    );
    post(
        &router,
        &format!("{path}/2/place"),
        &json!({"asset_id": "pump-1"}),
    )
    .await
    .problem(409);
    assert_eq!(get(&router, path).await.json()["items"], json!([]));
    let all = get(&router, &format!("{path}?settled=true")).await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    // Nobody is answered whom nobody knows.
    let told = world.store.unrouted_notices(100).await.unwrap();
    let told: Vec<&str> = told.iter().map(|n| n.what.label()).collect();
    assert_eq!(told, ["mail.unplaced", "ticket.opened", "mail.unplaced"]);
}

#[tokio::test]
async fn a_message_is_placed_and_discarded_in_the_console() {
    let (world, router) = nordwind().await;
    let path = "/api/v1/inbound/email";
    for id in ["<1@x>", "<2@x>"] {
        let mail = json!({"message_id": id, "from": "Ada <ada@example.com>", "subject": "Leak <b>", "text": "It leaks."});
        post(&router, path, &mail).await.json();
    }
    let tickets = visit(&router, "/tickets").await;
    assert!(tickets.text.contains("2 e-mails wait"), "{}", tickets.text);
    let page = visit(&router, "/inbox").await;
    for shown in [
        "Leak &#60;b&#62;",
        "ada@example.com",
        "pump-2",
        "contact of",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    let csrf = csrf(&page);
    let wrong = submit(&router, "/inbox/1", &[], &format!("csrf={csrf}&asset=moon")).await;
    assert_eq!(wrong.status, 422);
    let placed = submit(
        &router,
        "/inbox/1",
        &[],
        &format!("csrf={csrf}&asset=pump-2"),
    )
    .await;
    assert_eq!(
        (placed.status.as_u16(), placed.header("location")),
        (303, "/tickets/1")
    );
    let form = format!("csrf={csrf}&discard=yes&why=told+by+phone");
    let gone = submit(&router, "/inbox/2", &[], &form).await;
    assert_eq!(
        (gone.status.as_u16(), gone.header("location")),
        (303, "/inbox")
    );
    let all = visit(&router, "/inbox?show=all").await;
    for shown in ["discarded by Lena: told by phone", "placed by Lena", "T-1"] {
        assert!(all.text.contains(shown), "{shown}: {}", all.text);
    }
    assert!(!visit(&router, "/tickets").await.text.contains("/inbox"));
    drop(world);
}

#[tokio::test]
async fn who_writes_is_told_once_and_programs_never() {
    let (world, router) = nordwind().await;
    let send_raw = async |id: u32, from: &str, headers: &str, text: &str| {
        let text = format!(
            "From: {from}\r\nTo: care@example.com\r\nSubject: Leak\r\nMessage-ID: <{id}@x>\r\n{headers}\r\n{text}"
        );
        let request = Request::post("/api/v1/inbound/email/raw")
            .header("authorization", format!("Bearer {TOKEN}"));
        send(&router, request.body(Body::from(text)).unwrap())
            .await
            .json()
    };
    let acknowledged = async || {
        let told = world.store.unrouted_notices(100).await.unwrap();
        let told = told.iter().filter(|n| {
            n.what == NoticeKind::TicketReceived
                || matches!(&n.what, NoticeKind::MailUnplaced { from: Some(_) })
        });
        told.count()
    };
    let ada = "Ada <ada@example.com>";
    for _ in 0..2 {
        send_raw(1, ada, "", "pump-1 leaks").await;
        assert_eq!(acknowledged().await, 1);
    }
    for (n, headers) in [
        "Auto-Submitted: auto-replied\r\n",
        "Precedence: bulk\r\n",
        "Precedence: list\r\n",
        "List-Id: <all.example.com>\r\n",
        "X-Auto-Response-Suppress: All\r\n",
    ]
    .iter()
    .enumerate()
    {
        let id = u32::try_from(n).unwrap() + 10;
        send_raw(id, ada, headers, "pump-1 leaks").await;
        send_raw(id + 10, ada, headers, "It leaks").await;
        assert_eq!(acknowledged().await, 1, "{headers}");
    }
    send_raw(40, "Mailer-Daemon@example.com", "", "pump-1 leaks").await;
    send_raw(41, "Zoe <zoe@elsewhere.example>", "", "pump-1 leaks").await;
    assert_eq!(acknowledged().await, 1);
    // An answer to ours goes to its ticket, whatever became of the subject.
    let answer = "In-Reply-To: <T-1.1.ticket.received.D-3@care.example>\r\n";
    let heard = send_raw(50, ada, answer, "It still leaks").await;
    assert_eq!(heard, noted(1));
    assert_eq!(acknowledged().await, 1);
    // A program that answers ours with something new is answered a few times, not for ever.
    for n in 60..70 {
        send_raw(n, ada, "", "Away").await;
    }
    let in_all = acknowledged().await;
    assert!(in_all <= 4, "{in_all}");
}

#[tokio::test]
async fn the_contact_who_last_wrote_is_the_one_to_answer() {
    let (world, router) = nordwind().await;
    let asset = world.store.asset(&AssetId::new("pump-1").unwrap()).await;
    let asset = asset.unwrap().unwrap();
    world
        .open_ticket(&asset, "bearing-wear", 0.8, fixture::now())
        .await;
    let reply = async |id: &str, from: &str| {
        let mail =
            json!({"message_id": id, "from": from, "subject": "Re: [T-1]", "text": "It leaks."});
        let heard = post(&router, "/api/v1/inbound/email", &mail).await.json();
        assert_eq!(heard, noted(1));
        world.store.ticket(TicketId(1)).await.unwrap().work.contact
    };
    assert_eq!(reply("<1@x>", "Zoe <zoe@elsewhere.example>").await, None);
    let ada = Some(forecare_domain::ContactRef {
        customer: "C-1".to_owned(),
        contact: "ada".to_owned(),
    });
    assert_eq!(reply("<2@x>", "Ada <ada@example.com>").await, ada);
    assert_eq!(reply("<3@x>", "Zoe <zoe@elsewhere.example>").await, ada);
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
    for (id, from) in [
        ("<1@x>", "Bo <bo@elsewhere.example>"),
        ("<2@x>", "Ada <ada@example.com>"),
    ] {
        let kept = post(&router, path, &mail(id, from)).await.json();
        assert_eq!(kept["outcome"], "kept");
    }
    let request = Request::put("/api/v1/registry/assets/pump-2")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json");
    let moved = request.body(Body::from(r#"{"customer": "C-2"}"#)).unwrap();
    assert_eq!(send(&router, moved).await.status, 200);
    let taken = post(&router, path, &mail("<3@x>", "Ada <ada@example.com>"))
        .await
        .json();
    assert_eq!(taken, opened(1));
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
    for (id, subject) in [("<1@x>", "Leak"), ("<2@x>", "It leaks")] {
        post(&router, path, &mail(id, subject)).await.json();
    }
    post(&router, path, &mail("<3@x>", "Re: [#1]")).await.json();
    let merge = json!({"work": "merge", "into": 2});
    post(&router, "/api/v1/tickets/1/work", &merge).await.json();
    let before = get(&router, "/api/v1/tickets/2/entries").await.json();
    let again = post(&router, path, &mail("<3@x>", "Re: [#1]")).await.json();
    assert_eq!(again, noted(1));
    let after = get(&router, "/api/v1/tickets/2/entries").await.json();
    assert_eq!(before, after);
    let new = post(&router, path, &mail("<4@x>", "Re: [#1]")).await.json();
    assert_eq!(new, noted(2));
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
