//! Master data is entered, changed and deleted in the console.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::http::StatusCode;
use fixture::World;
use fixture::ask::{Answer, csrf, get, peek, put, submit, visit};
use forecare_api::router;
use serde_json::json;

async fn save(router: &Router, kind: &str, form: &str) -> Answer {
    let page = visit(router, &format!("/registry/{kind}/new")).await;
    let form = format!("csrf={}&{form}", csrf(&page));
    submit(router, &format!("/registry/{kind}"), &[], &form).await
}

const CUSTOMER: &str = "do=save&version=0&id=&field:name=Nordwind+Foods&field:value.yearly=240000\
    &field:contacts.0.id=P-1&field:contacts.0.name=Ada&field:contacts.0.channels=email:ada@example.com\
    &field:contacts.0.~=&field:contacts.1.id=&field:contacts.1.~=";

#[tokio::test]
async fn a_record_is_entered_changed_and_deleted() {
    let router = router(World::new().state);
    let saved = save(&router, "customers", CUSTOMER).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    assert_eq!(
        saved.header("location"),
        "/registry/customers/nordwind-foods"
    );
    let path = "/api/v1/registry/customers/nordwind-foods";
    let stored = get(&router, path).await.json();
    assert_eq!(stored["body"]["value"]["yearly"], 240_000.0);
    assert_eq!(
        stored["body"]["contacts"],
        json!([{"id": "P-1", "name": "Ada", "channels": [{"kind": "email", "address": "ada@example.com"}]}])
    );

    // What a form does not show stays.
    let mut body = stored["body"].clone();
    body["contacts"][0]["quiet"] = json!("22:00-07:00");
    put(&router, "customers/nordwind-foods", &[], &body).await;
    let page = visit(&router, "/registry/customers/nordwind-foods").await;
    assert!(
        page.text.contains("name=\"version\" value=\"2\""),
        "{}",
        page.text
    );
    let change = CUSTOMER
        .replace("version=0&id=", "version=2&id=nordwind-foods")
        .replace("name=Ada&", "name=Ada+Brandt&")
        .replacen(
            "contacts.0.~=",
            "contacts.0.~=%7B%22quiet%22:%2222:00-07:00%22%7D",
            1,
        );
    let changed = save(&router, "customers", &change).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER, "{}", changed.text);
    let stored = get(&router, path).await.json();
    let contact = &stored["body"]["contacts"][0];
    assert_eq!(
        (&contact["name"], &contact["quiet"]),
        (&json!("Ada Brandt"), &json!("22:00-07:00"))
    );

    let late = save(
        &router,
        "customers",
        &change.replace("Nordwind+Foods", "Mine"),
    )
    .await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    assert!(
        late.text.contains("meanwhile") && late.text.contains("value=\"Mine\""),
        "{}",
        late.text
    );

    // Not while a contract refers to it.
    let contract = "do=save&version=0&id=K-1&field:customer=nordwind-foods&field:kind=full-service\
        &field:valid_from=2026-01-01&field:targets.0.priority=P1&field:targets.0.response_hours=4\
        &field:targets.0.resolution_hours=24&field:targets.0.~=";
    let saved = save(&router, "contracts", contract).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    let delete = "do=delete&version=3&id=nordwind-foods";
    let refused = save(&router, "customers", delete).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    let page = visit(&router, "/registry/customers/nordwind-foods").await;
    assert!(
        page.text.contains("/registry/contracts/K-1"),
        "{}",
        page.text
    );
    for (kind, form) in [
        ("contracts", "do=delete&version=1&id=K-1"),
        ("customers", delete),
    ] {
        let gone = save(&router, kind, form).await;
        assert_eq!(gone.status, StatusCode::SEE_OTHER, "{}", gone.text);
    }
    get(&router, path).await.problem(404);
    let list = visit(&router, "/registry/customers").await;
    assert!(list.text.contains("No customers yet"), "{}", list.text);
}

#[tokio::test]
async fn what_is_wrong_is_named_and_stays_in_the_form() {
    let router = router(World::new().state);
    for (kind, form, told, kept) in [
        (
            "customers",
            CUSTOMER.replace("240000", "much"),
            "&#34;much&#34; is no number",
            "ada@example.com",
        ),
        (
            "customers",
            CUSTOMER.replace("email:ada", "ada"),
            "is no channel",
            "value=\"Nordwind Foods\"",
        ),
        (
            "vans",
            "do=save&version=0&id=v+1&field:name=HH-1".to_owned(),
            "id: ",
            "value=\"v 1\"",
        ),
        (
            "contracts",
            "do=save&version=0&id=K-1&field:customer=nobody&field:kind=x&field:valid_from=2026-01-01".to_owned(),
            "nobody",
            "value=\"2026-01-01\"",
        ),
    ] {
        let refused = save(&router, kind, &form).await;
        assert!(refused.status.is_client_error(), "{form}: {}", refused.status);
        for part in [told, kept] {
            assert!(refused.text.contains(part), "{part} in {}", refused.text);
        }
    }
    // Another record is never replaced by a new one.
    for (kind, form) in [("vans", "do=save&version=0&id=v1&field:name=HH-1"); 2] {
        save(&router, kind, form).await;
    }
    let again = save(&router, "vans", "do=save&version=0&id=v1&field:name=HH-2").await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
    assert!(again.text.contains("another id"), "{}", again.text);
}

#[tokio::test]
async fn every_kind_has_a_list_and_a_form() {
    let world = World::new();
    world.add_asset("pump-1", "pump", "Pump 1", "").await;
    let router = router(world.state);
    for kind in [
        "customers",
        "contracts",
        "locations",
        "assets",
        "technicians",
        "calendars",
        "depots",
        "vans",
        "leads",
    ] {
        for path in [format!("/registry/{kind}"), format!("/registry/{kind}/new")] {
            let page = visit(&router, &path).await;
            assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        }
        let list = peek(&router, &format!("/registry/{kind}")).await;
        assert!(
            !list.text.contains(&format!("/registry/{kind}/new")),
            "{}",
            list.text
        );
        peek(&router, &format!("/registry/{kind}/new"))
            .await
            .problem(403);
    }
    // A registered machine has a form before it has a record.
    let form = visit(&router, "/registry/assets/pump-1").await;
    assert!(form.text.contains("value=\"pump-1\""), "{}", form.text);
    for path in [
        "/registry/articles",
        "/registry/assets/nobody",
        "/registry/vans/v9",
    ] {
        assert_eq!(
            visit(&router, path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_catalogue_names_what_requests_may_name() {
    let router = router(World::new().state);
    let catalogue = get(&router, "/api/v1/catalogue").await.json();
    let pump = &catalogue["classes"][0];
    assert_eq!(pump["name"], "pump");
    let modes = pump["failure_modes"].as_array().unwrap();
    assert_eq!(modes.last().unwrap()["name"], "unknown");
    let kinds = catalogue["ticket_kinds"].as_array().unwrap();
    let field = kinds.iter().find_map(|kind| kind["fields"].get(0)).unwrap();
    assert!(
        field["type"].is_string() && field["required"].is_boolean(),
        "{field}"
    );
    assert!(!catalogue["parts"].as_array().unwrap().is_empty());
}
