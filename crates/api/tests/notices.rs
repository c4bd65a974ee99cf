//! Deliveries, surveys, and the customer's page: status and body.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod fixture;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use fixture::ask::{ask, get, post, send};
use fixture::{VIEWER_TOKEN, World, now};
use forecare_api::router;
use forecare_domain::{Ticket, TicketState};
use forecare_store::{Attempt, DeliveryState, NewDelivery, Store};
use serde_json::json;

/// A ticket whose opening was to go to two addresses: one mail that arrived, one that was given up.
async fn told(world: &World) -> Ticket {
    let asset = world
        .add_asset("pump-1", "pump", "Pump <1>", "Hall 1")
        .await;
    let (ticket, _) = world.open_ticket(&asset, "bearing-wear", 0.8, now()).await;
    let notice = world.store.unrouted_notices(1).await.unwrap().remove(0);
    let to = |address: &str| NewDelivery {
        channel: "mail".to_owned(),
        recipient: "Eve".to_owned(),
        address: address.to_owned(),
        language: "en".to_owned(),
        to_customer: false,
        digest: false,
        due_at: now(),
    };
    let both = vec![to("eve@example.com"), to("old@example.com")];
    world
        .store
        .route_notice(&notice.id, both, now())
        .await
        .unwrap();
    let due = world.store.due_deliveries(now(), 10).await.unwrap();
    let states = [DeliveryState::Delivered, DeliveryState::Dead];
    let attempts = due.iter().zip(states).map(|(d, state)| Attempt {
        id: d.id,
        attempts: 0,
        state,
        next_at: now(),
        error: (state == DeliveryState::Dead)
            .then(|| "550 no such user <old@example.com>".to_owned()),
    });
    world
        .store
        .record_attempts(attempts.collect(), now())
        .await
        .unwrap();
    ticket
}

/// The same, in `state`.
async fn told_in(world: &World, state: TicketState) {
    let ticket = told(world).await;
    world.replace(Ticket { state, ..ticket }).await;
}

async fn as_viewer(router: &Router, path: &str) -> fixture::ask::Answer {
    let request = Request::get(path).header("authorization", format!("Bearer {VIEWER_TOKEN}"));
    send(router, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn deliveries_are_listed_filtered_and_retried() {
    let world = World::new();
    told(&world).await;
    let router = router(world.state);
    let all = get(&router, "/api/v1/deliveries").await.json();
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(all["next_cursor"], serde_json::Value::Null);
    let dead = get(
        &router,
        "/api/v1/deliveries?state=dead&ticket=T-1&channel=mail",
    )
    .await
    .json();
    let dead = &dead["items"][0];
    assert_eq!(
        *dead,
        serde_json::json!({
            "id": 2, "event_id": "T-1.1.ticket.opened", "event": "ticket.opened", "ticket_id": 1, "about": "T-1",
            "at": "2026-03-02T08:00:00Z", "channel": "mail", "recipient": "Eve", "address": "old@example.com",
            "language": "en", "to_customer": false, "digest": false, "state": "dead", "attempts": 1,
            "next_at": "2026-03-02T08:00:00Z", "error": "550 no such user <old@example.com>",
            "updated_at": "2026-03-02T08:00:00Z"
        })
    );
    let first = get(&router, "/api/v1/deliveries?limit=1").await.json();
    let next = format!(
        "/api/v1/deliveries?limit=1&cursor={}",
        first["next_cursor"].as_str().unwrap()
    );
    assert_eq!(get(&router, &next).await.json()["items"][0]["id"], 1);
    for (path, field) in [
        ("state=lost", "state"),
        ("ticket=x", "ticket"),
        ("cursor=00", "cursor"),
        ("limit=0", "limit"),
    ] {
        let problem = get(&router, &format!("/api/v1/deliveries?{path}"))
            .await
            .problem(400);
        assert_eq!(problem["field"], field);
    }
    let retried = ask(&router, "POST", "/api/v1/deliveries/D-2/retry", &[], "").await;
    assert_eq!(retried.status, StatusCode::OK, "{}", retried.text);
    assert_eq!(
        (&retried.json()["state"], &retried.json()["attempts"]),
        (&"waiting".into(), &0.into())
    );
    ask(&router, "POST", "/api/v1/deliveries/2/retry", &[], "")
        .await
        .problem(409);
    ask(&router, "POST", "/api/v1/deliveries/9/retry", &[], "")
        .await
        .problem(404);
    ask(&router, "POST", "/api/v1/deliveries/x/retry", &[], "")
        .await
        .problem(404);
    assert_eq!(
        get(&router, "/api/v1/deliveries/2").await.json()["state"],
        "waiting"
    );
    get(&router, "/api/v1/deliveries/7").await.problem(404);
}

#[tokio::test]
async fn who_only_reads_sees_no_addresses_and_retries_nothing() {
    let world = World::new();
    told(&world).await;
    let router = router(world.state);
    let shown = as_viewer(&router, "/api/v1/deliveries").await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(
        shown.text.contains("Eve") && !shown.text.contains("example.com"),
        "{}",
        shown.text
    );
    let page = as_viewer(&router, "/deliveries").await;
    assert!(!page.text.contains("example.com"), "{}", page.text);
    let request = Request::post("/api/v1/deliveries/2/retry")
        .header("authorization", format!("Bearer {VIEWER_TOKEN}"));
    send(&router, request.body(Body::empty()).unwrap())
        .await
        .problem(403);
}

#[tokio::test]
async fn pages_show_who_was_told() {
    let world = World::new();
    told(&world).await;
    let router = router(world.state);
    let page = get(&router, "/deliveries?state=dead").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.text.contains("Try again") && page.text.contains("&#60;old@example.com&#62;"),
        "{}",
        page.text
    );
    let ticket = get(&router, "/tickets/1").await;
    assert!(
        ticket.text.contains("Who was told") && ticket.text.contains("given up"),
        "{}",
        ticket.text
    );
}

/// Opened by anybody, with no token.
async fn visit(router: &Router, path: &str, language: &str) -> fixture::ask::Answer {
    let request = Request::get(path).header("accept-language", language);
    send(router, request.body(Body::empty()).unwrap()).await
}

async fn say(router: &Router, path: &str, form: &str) -> fixture::ask::Answer {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    send(router, request.body(Body::from(form.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_link_opens_its_page_in_the_customers_language_and_no_other_page() {
    let world = World::new();
    told(&world).await;
    let router = router(world.state);
    let page = visit(&router, "/answer/1", "fr, zh;q=0.8, en;q=0.5").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.text.contains("lang=\"zh-CN\"") && page.text.contains("Pump &#60;1&#62;"),
        "{}",
        page.text
    );
    assert!(
        !page.text.contains("问题是否已解决") && page.text.contains("请选择上门时间"),
        "the work has not begun yet: {}",
        page.text
    );
    let english = visit(&router, "/answer/1?lang=en", "zh").await;
    assert!(
        english.text.contains("When may we come?"),
        "{}",
        english.text
    );
    let old = visit(&router, "/answer/old", "en").await;
    assert_eq!(old.status, StatusCode::GONE);
    assert!(old.text.contains("expired"), "{}", old.text);
    let forged = visit(&router, "/answer/forged", "en").await;
    assert_eq!(forged.status, StatusCode::NOT_FOUND);
    assert_eq!(
        say(&router, "/answer/forged", "csat=5").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        visit(&router, "/answer/../tickets/1", "en").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        visit(&router, "/tickets/1", "en").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_customers_word_is_kept_and_moves_the_ticket() {
    let world = World::new();
    told_in(&world, TicketState::Resolved).await;
    let store = world.store.clone();
    let router = router(world.state);
    let empty = say(&router, "/answer/1", "csat=&comment=+").await;
    assert_eq!(empty.status, StatusCode::UNPROCESSABLE_ENTITY);
    let long = format!("comment={}", "x".repeat(2_001));
    assert_eq!(
        say(&router, "/answer/1", &long).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        get(&router, "/api/v1/surveys").await.json()["items"],
        serde_json::json!([])
    );
    // Numbers out of range are no answer to that question.
    let first = say(&router, "/answer/1", "csat=4&nps=11&ces=0&comment=fine").await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert!(first.text.contains("Thank you"), "{}", first.text);
    assert_eq!(
        store
            .ticket(forecare_domain::TicketId(1))
            .await
            .unwrap()
            .state,
        TicketState::Resolved
    );
    let second = say(
        &router,
        "/answer/1?lang=zh-CN",
        "solved=yes&csat=5&nps=0&ces=7&comment=%3Cb%3E%E5%BE%88%E5%A5%BD",
    )
    .await;
    assert!(
        second.text.contains("谢谢") && second.text.contains("&#60;b&#62;很好"),
        "{}",
        second.text
    );
    let shown = get(&router, "/api/v1/tickets/1").await.json();
    assert_eq!(shown["state"], "confirmed");
    let last = shown["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["by"], &last["channel"]),
        (&"customer".into(), &"customer".into())
    );
    assert_eq!(shown["survey"]["nps"], 0);
    let surveys = get(&router, "/api/v1/surveys").await.json();
    assert_eq!(
        surveys["items"],
        serde_json::json!([{ "ticket_id": 1, "at": "2026-03-02T08:00:00Z", "solved": true, "csat": 5, "nps": 0, "ces": 7,
            "comment": "<b>很好" }])
    );
    let history = get(&router, "/api/v1/surveys?ticket=1").await.json();
    assert_eq!(history["items"].as_array().unwrap().len(), 2);
    let complaint = say(&router, "/answer/1", "solved=no").await;
    assert_eq!(complaint.status, StatusCode::OK, "{}", complaint.text);
    let page = get(&router, "/tickets/1").await;
    assert!(
        page.text.contains("What the customer says") && page.text.contains("Not solved"),
        "{}",
        page.text
    );
    assert!(complaint.text.contains("Thank you"), "{}", complaint.text);
}

#[tokio::test]
async fn an_answer_is_changed_ten_times_at_most() {
    let world = World::new();
    told_in(&world, TicketState::Resolved).await;
    let router = router(world.state);
    for _ in 0..10 {
        assert_eq!(
            say(&router, "/answer/1", "csat=1").await.status,
            StatusCode::OK
        );
    }
    let too_often = say(&router, "/answer/1", "csat=1").await;
    assert_eq!(too_often.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        too_often.text.contains("often enough"),
        "{}",
        too_often.text
    );
}

#[tokio::test]
async fn a_customer_chooses_when_to_come_and_moves_it() {
    let world = World::new();
    told(&world).await;
    let store = world.store.clone();
    let router = router(world.state);
    // Monday, 08:00 UTC; nothing before a day has passed.
    let page = visit(&router, "/answer/1", "en").await;
    let first = "2026-03-03T11:00:00Z";
    assert!(
        page.text.contains("Tue 2026-03-03, 12:00\u{2013}16:00") && page.text.contains(first),
        "{}",
        page.text
    );
    assert!(!page.text.contains("2026-03-03, 08:00"), "{}", page.text);
    let nothing = say(&router, "/answer/1", "slot=&message=").await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY);
    let chosen = say(&router, "/answer/1", &format!("slot={first}")).await;
    assert_eq!(chosen.status, StatusCode::OK, "{}", chosen.text);
    assert!(
        chosen.text.contains("The time is yours") && chosen.text.contains("We come between"),
        "{}",
        chosen.text
    );
    let ticket = store.ticket(forecare_domain::TicketId(1)).await.unwrap();
    let laid_down = ticket.assignment.unwrap();
    assert!(laid_down.by.is_customer());
    assert_eq!(laid_down.start_at.unwrap().to_string(), first);
    let again = say(&router, "/answer/1", &format!("slot={first}")).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(again.text.contains("just been taken"), "{}", again.text);
    let other = say(&router, "/answer/1", "slot=2026-03-04T07:00:00Z").await;
    assert!(
        other.text.contains("Wed 2026-03-04, 08:00"),
        "{}",
        other.text
    );
    let slots = get(&router, "/api/v1/tickets/1/slots").await.json();
    assert_eq!(slots["time_zone"], "Europe/Zurich");
    assert_eq!(slots["items"][0]["from"], first);
    world.clock.set(now().plus_hours(36.0));
    let near = visit(&router, "/answer/1", "en").await;
    assert!(
        near.text.contains("too near") && !near.text.contains("name=\"slot\""),
        "{}",
        near.text
    );
    get(&router, "/api/v1/tickets/1/slots").await.problem(409);
    let long = format!("message=Ring+{}", "x".repeat(2_000));
    let again = say(&router, "/answer/1", &long).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(again.text.contains("Ring xxx"), "what was typed is kept");
    let far_too_long = format!("message={}", "x".repeat(70_000));
    let again = say(&router, "/answer/1", &far_too_long).await;
    assert!(again.text.contains("<textarea"), "{}", again.text);
    let written = say(&router, "/answer/1", "message=Please+ring+at+gate+2").await;
    assert!(written.text.contains("passed on"), "{}", written.text);
    let notes = get(&router, "/api/v1/tickets/1/entries").await.json();
    assert_eq!(notes["items"][0]["text"], "Please ring at gate 2");
}

#[tokio::test]
async fn what_was_written_stands_on_the_customers_page_and_can_be_answered() {
    for state in [
        TicketState::Dispatched,
        TicketState::InProgress,
        TicketState::Resolved,
    ] {
        let world = World::new();
        told_in(&world, state).await;
        let router = router(world.state);
        let note = |text: &str, visibility: &str| json!({"work": "note", "text": text, "visibility": visibility});
        let path = "/api/v1/tickets/1/work";
        post(&router, path, &note("We come <soon>", "public"))
            .await
            .json();
        post(&router, path, &note("secret-word", "internal"))
            .await
            .json();
        let written = say(&router, "/answer/1?lang=en", "message=Thank+you").await;
        assert!(written.text.contains("passed on"), "{}", written.text);
        let page = visit(&router, "/answer/1", "en").await.text;
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(
            place("We come &#60;soon&#62;") < place("Thank you</p>"),
            "{page}"
        );
        assert!(place("<b>We</b>") < place("<b>You</b>"), "{page}");
        assert!(
            !page.contains("secret-word") && !page.contains("Lena"),
            "{page}"
        );
        assert_eq!(
            page.contains("How did we do?"),
            state == TicketState::Resolved
        );
        assert!(
            page.contains("name=\"message\"") && page.contains("Where it stands"),
            "{page}"
        );
        let chinese = visit(&router, "/answer/1", "zh").await.text;
        assert!(
            chinese.contains("往来消息") && chinese.contains("当前状态"),
            "{chinese}"
        );
    }
}

/// The only ticket that follows up ticket 1.
async fn follow_up(router: &Router) -> serde_json::Value {
    let all = get(router, "/api/v1/tickets").await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "{all}");
    let after = get(router, "/api/v1/tickets/2").await.json();
    assert_eq!(after["kind"], "complaint");
    after
}

#[tokio::test]
async fn who_is_not_content_after_the_end_is_heard() {
    let world = World::new();
    told_in(&world, TicketState::Closed).await;
    let store = world.store.clone();
    let router = router(world.state);
    let no = "solved=no&comment=it+squeals";
    for _ in 0..2 {
        let answer = say(&router, "/answer/1", no).await;
        assert!(answer.text.contains("Thank you"), "{}", answer.text);
    }
    let after = follow_up(&router).await;
    assert_eq!(after["parent_id"], 1);
    let told = after["report"]["description"].as_str().unwrap();
    assert!(
        told.contains("not solved") && told.contains("it squeals"),
        "{told}"
    );
    let mail = |id: &str| json!({"message_id": id, "from": "Bo <bo@example.com>", "subject": "Re: [#1]", "text": "It squeals."});
    for id in ["<1@x>", "<1@x>", "<2@x>"] {
        let taken = post(&router, "/api/v1/inbound/email", &mail(id)).await;
        assert_eq!(
            taken.json(),
            json!({"outcome": "noted", "ticket_id": 2, "mail_id": null})
        );
    }
    let notes = get(&router, "/api/v1/tickets/2/entries").await.json();
    assert_eq!(notes["items"].as_array().unwrap().len(), 2);
    let notices = store.unrouted_notices(10).await.unwrap();
    let of_it = notices
        .iter()
        .filter(|n| n.ticket.is_some_and(|t| t.0 == 2));
    let kinds: Vec<&str> = of_it.map(|n| n.what.label()).collect();
    assert_eq!(
        kinds,
        ["ticket.opened", "ticket.message"],
        "once for both: they came in one moment"
    );
}

#[tokio::test]
async fn a_reply_to_a_merged_ticket_goes_to_the_one_that_goes_on() {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", "Pump", "").await;
    for mode in ["bearing-wear", "seal-leak"] {
        world.open_ticket(&asset, mode, 0.8, now()).await;
    }
    let router = router(world.state);
    let merge = json!({"work": "merge", "into": 2, "why": "same"});
    post(&router, "/api/v1/tickets/1/work", &merge).await.json();
    let mail =
        json!({"message_id": "<1@x>", "from": "Bo", "subject": "Re: [#1]", "text": "Any news?"});
    let taken = post(&router, "/api/v1/inbound/email", &mail).await.json();
    assert_eq!(
        taken,
        json!({"outcome": "noted", "ticket_id": 2, "mail_id": null})
    );
}

#[tokio::test]
async fn what_people_write_is_for_those_who_work_on_it() {
    let world = World::new();
    told_in(&world, TicketState::Resolved).await;
    let router = router(world.state);
    let note = json!({"work": "note", "text": "secret-note", "visibility": "internal"});
    post(&router, "/api/v1/tickets/1/work", &note).await.json();
    let new = json!({"asset_id": "pump-1", "kind": "corrective", "description": "secret-report"});
    post(&router, "/api/v1/tickets", &new).await.json();
    say(&router, "/answer/1", "csat=4&comment=secret-word").await;
    let seen = [
        ("/tickets/1", 200),
        ("/tickets/2", 200),
        ("/api/v1/tickets/1", 200),
        ("/api/v1/tickets/2", 200),
        ("/api/v1/surveys", 200),
        ("/api/v1/tickets/1/entries", 403),
        ("/api/v1/tickets/1/attachments/1", 403),
        ("/api/v1/knowledge?state=draft", 403),
    ];
    for (path, status) in seen {
        let answer = as_viewer(&router, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        assert!(!answer.text.contains("secret-"), "{path}: {}", answer.text);
    }
    let all: String = {
        let mut all = String::new();
        for path in ["/tickets/1", "/tickets/2"] {
            all += &get(&router, path).await.text;
        }
        all
    };
    for word in ["secret-note", "secret-report", "secret-word"] {
        assert!(all.contains(word), "{word}: {all}");
    }
}

#[tokio::test]
async fn a_flood_on_the_open_page_is_cut() {
    let world = World::new();
    told(&world).await;
    let router = router(world.state);
    let mut cut = None;
    // Bad links keep nobody out.
    for _ in 0..100 {
        let answer = visit(&router, "/answer/forged", "en").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    for _ in 0..200 {
        let answer = visit(&router, "/answer/1", "en").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            cut = Some(answer);
            break;
        }
    }
    let cut = cut.unwrap();
    assert_eq!(cut.header("retry-after"), "60");
    assert_eq!(get(&router, "/api/v1/tickets").await.status, StatusCode::OK);
}
