//! The console's pages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::http::StatusCode;
use fixture::ask::{Answer, csrf, submit, visit};
use fixture::{World, health, now, raised, status};
use forecare_api::router;
use forecare_domain::{DeviceEvent, EventSeverity, Rul, Severity, TicketState};
use forecare_store::{CommitBatch, Store};

const HOSTILE: &str = "<script>alert(1)</script>\" onload=\"x' {{7*7}}";

/// No page may hold what a device or a person wrote as markup, nor scripts of its own.
#[track_caller]
fn assert_clean(page: &Answer) {
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    for bad in [
        "<script>",
        "onload=\"",
        " style=",
        " onclick=",
        "javascript:",
    ] {
        assert!(!page.text.contains(bad), "{bad} in {}", page.text);
    }
}

async fn hostile_world() -> World {
    let world = World::new();
    let asset = world.add_asset("pump-1", "pump", HOSTILE, HOSTILE).await;
    let mut batch = raised(
        &asset,
        "bearing-wear",
        Severity::Critical,
        now().plus_hours(-2.0),
    );
    if let Some(forecare_domain::AlarmChange::Raised(alarm)) = batch.alarms.first_mut() {
        alarm.contributions[0].name = HOSTILE.to_owned();
        alarm.contributions[0].reason = HOSTILE.to_owned();
    }
    batch.events = vec![DeviceEvent {
        device: asset.device.clone(),
        ts: now(),
        code: HOSTILE.to_owned(),
        severity: EventSeverity::Error,
        component: None,
        message: HOSTILE.to_owned(),
    }];
    batch.health = vec![health(
        &asset,
        38.0,
        &[("bearing-wear", 0.82)],
        Rul::NoTrend,
    )];
    batch.statuses = vec![status(&asset, false, 3.0)];
    world.commit(batch).await;
    world.open_ticket(&asset, "bearing-wear", 0.82, now()).await;
    world
}

#[tokio::test]
async fn an_open_ticket_makes_a_machine_the_worst_without_any_model() {
    let world = World::new();
    for id in ["pump-1", "pump-2"] {
        let asset = world.add_asset(id, "pump", id, "").await;
        let batch = CommitBatch {
            health: vec![health(&asset, 99.0, &[], Rul::NoTrend)],
            ..CommitBatch::default()
        };
        world.commit(batch).await;
        if id == "pump-2" {
            world
                .commit(raised(&asset, "bearing-wear", Severity::Warning, now()))
                .await;
            world.open_ticket(&asset, "bearing-wear", 0.35, now()).await;
        }
    }
    let page = visit(&router(world.state), "/").await;
    let at = |text: &str| page.text.find(text).unwrap();
    assert!(at("/assets/pump-2") < at("/assets/pump-1"), "{}", page.text);
    assert!(page.text.contains("35\u{a0}%"), "{}", page.text);
}

#[tokio::test]
async fn hostile_names_are_text_on_every_page() {
    let mut world = hostile_world().await;
    world.state.notice = Some(HOSTILE.to_owned());
    let router = router(world.state);
    for path in [
        "/",
        "/assets/pump-1",
        "/alarms",
        "/alarms?show=ended",
        "/tickets",
        "/tickets?show=ended",
        "/tickets/1",
        "/parts",
        "/parts/supply",
        "/?q=%3Cscript%3E%22&show=%22%3E",
    ] {
        let page = visit(&router, path).await;
        assert_clean(&page);
        assert!(
            page.header("content-type").starts_with("text/html"),
            "{path}"
        );
    }
    let fleet = visit(&router, "/").await;
    assert!(
        fleet.text.contains("&#60;script&#62;alert(1)"),
        "{}",
        fleet.text
    );
}

#[tokio::test]
async fn the_fleet_is_sorted_by_risk_and_can_be_searched_and_paged() {
    let world = World::new();
    for i in 0..120_u32 {
        let asset = world
            .add_asset(
                &format!("pump-{i:03}"),
                "pump",
                &format!("Pump {i}"),
                "Hall",
            )
            .await;
        let health = health(
            &asset,
            50.0 + f64::from(i % 50),
            &[("seal-leak", if i == 77 { 0.97 } else { 0.01 })],
            Rul::NoTrend,
        );
        world
            .commit(CommitBatch {
                health: vec![health],
                ..CommitBatch::default()
            })
            .await;
    }
    world
        .add_asset("pump-new", "pump", "Never heard", "Hall")
        .await;
    let router = router(world.state);
    let mut seen = Vec::new();
    for page in 1..=3 {
        let page = visit(&router, &format!("/?page={page}")).await;
        seen.extend(
            page.text
                .split("href=\"/assets/")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned()),
        );
    }
    assert_eq!(seen.len(), 121);
    assert_eq!(
        seen[0], "pump-077",
        "the failure probability outweighs the health"
    );
    assert_eq!(seen[120], "pump-new", "unknown comes last");
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 121);
    let found = visit(&router, "/?q=PUMP-05").await;
    assert_eq!(found.text.matches("href=\"/assets/").count(), 10);
    assert!(
        visit(&router, "/?q=nothing-fits")
            .await
            .text
            .contains("Nothing fits this filter")
    );
}

#[tokio::test]
async fn empty_pages_say_what_would_fill_them() {
    let router = router(World::new().state);
    for (path, text) in [
        ("/", "No assets yet"),
        ("/alarms", "No active alarm"),
        ("/tickets", "No open ticket"),
        ("/tickets?show=ended", "No ticket has ended yet"),
        ("/parts", "Nothing is reserved"),
        ("/automation", "renew"),
    ] {
        assert!(visit(&router, path).await.text.contains(text), "{path}");
    }
}

#[tokio::test]
async fn what_is_missing_is_a_page_for_people() {
    let router = router(World::new().state);
    let page = visit(&router, "/assets/nope").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(
        page.text.contains("asset &#34;nope&#34; was not found"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_ticket_is_explained_and_led_to_its_end_by_forms() {
    let world = hostile_world().await;
    let store = world.store.clone();
    let router = router(world.state);
    let page = visit(&router, "/tickets/1").await;
    for text in [
        "82\u{a0}% likely",
        "PUMP-BEARING-07",
        "EUR",
        "more than acting",
        "value=\"triaged\"",
        "Mechanical seal 45 mm",
        "First response",
        "Who and when",
    ] {
        assert!(page.text.contains(text), "{text} not in {}", page.text);
    }
    let form = format!(
        "csrf={}&technician=Ben+Okafor&start_at=2030-01-01T08%3A00&why=knows+it",
        csrf(&page)
    );
    let decided = submit(&router, "/tickets/1/assignment", &[], &form).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER, "{}", decided.text);
    let page = visit(&router, "/tickets/1").await;
    assert!(
        page.text
            .contains("laid down Ben Okafor, at 2030-01-01 08:00 UTC: knows it"),
        "{}",
        page.text
    );
    assert!(
        !page.text.contains("value=\"closed\""),
        "only legal steps have a button"
    );
    let csrf = csrf(&page);
    let id = forecare_domain::TicketId(1);
    for to in ["triaged", "dispatched", "accepted", "in_progress"] {
        let version = store.ticket(id).await.unwrap().version;
        let answer = submit(
            &router,
            "/tickets/1/transitions",
            &[],
            &format!("csrf={csrf}&to={to}&version={version}&why="),
        )
        .await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    }
    let stale = submit(
        &router,
        "/tickets/1/transitions",
        &[],
        &format!("csrf={csrf}&to=on_hold:part&version=1"),
    )
    .await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    assert!(
        stale.text.contains("it has changed meanwhile"),
        "{}",
        stale.text
    );
    let version = store.ticket(id).await.unwrap().version;
    let form = format!("csrf={csrf}&to=resolved&version={version}");
    let unsure = submit(&router, "/tickets/1/transitions", &[], &form).await;
    assert_eq!(unsure.status, StatusCode::UNPROCESSABLE_ENTITY);
    let sure = format!("{form}&finding=confirmed&failure_code=VIB&used%3ABRG-6310=2&why=replaced");
    let answer = submit(&router, "/tickets/1/transitions", &[], &sure).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let ticket = store.ticket(id).await.unwrap();
    assert_eq!(ticket.state, TicketState::Resolved);
    assert_eq!(
        ticket.history.last().unwrap().by.channel,
        forecare_domain::Channel::Console
    );
}

#[tokio::test]
async fn alarms_windows_and_receipts_are_entered_by_forms() {
    let world = hostile_world().await;
    let store = world.store.clone();
    let router = router(world.state);
    let page = visit(&router, "/alarms").await;
    let token = csrf(&page);
    let (_, rest) = page.text.split_once("name=\"alarm\" value=\"").unwrap();
    let alarm = rest.split('"').next().unwrap();
    let form = format!("csrf={token}&alarm={alarm}&back=//evil.example");
    let answer = submit(&router, "/alarms/acknowledge", &[], &form).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    assert!(
        visit(&router, "/alarms")
            .await
            .text
            .contains("acknowledged")
    );

    let form = format!(
        "csrf={token}&from=2026-03-02T07:00&to=2026-03-02T09:30&why={}",
        "%3Cb%3E"
    );
    let answer = submit(&router, "/assets/pump-1/maintenance-windows", &[], &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(store.maintenance_windows(now()).await.unwrap().len(), 1);
    assert!(
        visit(&router, "/assets/pump-1")
            .await
            .text
            .contains("Maintenance now")
    );
    let answer = submit(
        &router,
        "/assets/pump-1/maintenance-windows",
        &[],
        &form.replace("09:30", "06:00"),
    )
    .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("role=\"alert\""));

    let parts = visit(&router, "/parts").await;
    let (_, rest) = parts.text.split_once("name=\"form_key\" value=\"").unwrap();
    let key = rest.split('"').next().unwrap();
    let form =
        format!("csrf={token}&form_key={key}&kind=receipt&part=BRG-6310&depot=south&quantity=5");
    for _ in 0..2 {
        // A double click books once.
        let answer = submit(&router, "/parts/movements", &[], &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    }
    let stock = store.stock().await.unwrap();
    let south = stock
        .iter()
        .find(|s| s.part.as_str() == "BRG-6310" && s.depot.as_str() == "south");
    assert_eq!(south.unwrap().on_hand, 5);
}

#[tokio::test]
async fn a_form_opens_a_ticket_once_and_keeps_what_was_typed_when_it_cannot() {
    let world = hostile_world().await;
    let router = router(world.state);
    let form = visit(&router, "/tickets/new?kind=installation&asset=pump-1").await;
    assert_clean(&form);
    assert!(
        form.text.contains("name=\"field:order_number\""),
        "{}",
        form.text
    );
    assert!(
        form.text.contains("Bearing wear"),
        "failure modes of its class"
    );
    let csrf = csrf(&form);
    let body = format!(
        "csrf={csrf}&form_key=f-1&kind=installation&asset_id=pump-1&description=%3Cscript%3E&production=stopped&urgency=high"
    );
    let refused = submit(&router, "/tickets/new", &[], &body).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("order_number") && !refused.text.contains("<script>"));
    assert!(refused.text.contains("<option value=\"stopped\" selected>"));
    let body = format!("{body}&field:order_number=4711");
    for _ in 0..2 {
        let opened = submit(&router, "/tickets/new", &[], &body).await;
        assert_eq!(opened.status, StatusCode::SEE_OTHER, "{}", opened.text);
        assert_eq!(opened.header("location"), "/tickets/2");
    }
    let page = visit(&router, "/tickets/2").await;
    assert_clean(&page);
    for words in [
        "Installation",
        "4711",
        "Lena (console)",
        "production stands still",
    ] {
        assert!(page.text.contains(words), "{words} in {}", page.text);
    }
    assert!(!page.text.contains("Why now"));
    assert_clean(&visit(&router, "/tickets").await);
}

#[tokio::test]
async fn a_failure_mode_can_be_chosen_before_the_machine_and_after() {
    let world = World::new();
    world.add_asset("fan-1", "fan", "Fan 1", "").await;
    let router = router(world.state);
    let page = visit(&router, "/tickets/new").await;
    for text in [
        "<optgroup label=\"Centrifugal pump\">",
        "<option value=\"bearing-wear\">Bearing wear</option>",
    ] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    // As the form asks when the machine is named.
    let page = visit(&router, "/tickets/new?kind=corrective&asset_id=fan-1").await;
    assert!(page.text.contains("id=\"mode\""), "{}", page.text);
    assert!(
        !page.text.contains("optgroup") && !page.text.contains("seal-leak"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn rules_are_shown_with_their_conditions_and_what_they_do() {
    let router = router(World::new().state);
    let page = visit(&router, "/automation").await;
    for text in [
        "30 days before the contract ends",
        "if tier gold or silver",
        "a lead for the CRM: renewal",
    ] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
}

#[tokio::test]
async fn supply_of_a_young_instance_claims_no_turnover() {
    let router = router(World::new().state);
    let page = visit(&router, "/parts/supply").await;
    assert!(page.text.contains("too early to say"), "{}", page.text);
}

#[tokio::test]
async fn an_asset_shows_its_firmware() {
    let world = World::new();
    for id in ["pump-1", "pump-2"] {
        world.add_asset(id, "pump", id, "").await;
    }
    fixture::master::fill(&world.store, ["pump-1", "pump-2"]).await;
    let router = router(world.state);
    let page = visit(&router, "/assets/pump-1").await;
    assert!(
        page.text.contains("<dt>Firmware</dt><dd>2.1.4</dd>"),
        "{}",
        page.text
    );
}
