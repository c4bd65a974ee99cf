//! Master data over HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fixture::ask::{Answer, ask, csrf, get, peek, post, put, send, visit};
use fixture::master::filled;
use fixture::{TOKEN, VIEWER_TOKEN, World};
use forecare_api::router;
use serde_json::json;

async fn upload(router: &Router, kind: &str, media: &str, text: &str) -> Answer {
    let request = Request::post(format!("/api/v1/registry/{kind}/import"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, media);
    send(router, request.body(Body::from(text.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_record_is_put_read_changed_by_version_and_deleted() {
    let router = router(World::new().state);
    let body = json!({"name": "Van 1"});
    let created = put(&router, "vans/v1", &[("If-None-Match", "*")], &body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert_eq!(created.header("etag"), "\"1\"");
    let again = put(&router, "vans/v1", &[], &body).await;
    assert_eq!(
        (again.status, again.header("etag")),
        (StatusCode::OK, "\"1\"")
    );
    let first = put(&router, "vans/v1", &[("If-None-Match", "*")], &body).await;
    assert_eq!(first.problem(412)["current_version"], 1);
    let changed = put(
        &router,
        "vans/v1",
        &[("If-Match", "\"1\"")],
        &json!({"name": "Van 2"}),
    )
    .await;
    assert_eq!(changed.header("etag"), "\"2\"");
    let record = changed.json();
    assert_eq!(record["body"]["name"], "Van 2");
    assert_eq!(
        (&record["updated_by"], &record["channel"]),
        (&json!("Lena"), &json!("api"))
    );
    let stale = put(&router, "vans/v1", &[("If-Match", "\"1\"")], &body).await;
    assert_eq!(stale.problem(412)["current_version"], 2);
    let path = "/api/v1/registry/vans/v1";
    assert_eq!(get(&router, path).await.json()["title"], "Van 2");
    let stale = ask(&router, "DELETE", path, &[("If-Match", "\"1\"")], "").await;
    stale.problem(412);
    for _ in 0..2 {
        let gone = ask(&router, "DELETE", path, &[], "").await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    }
    get(&router, path).await.problem(404);
    ask(&router, "DELETE", "/api/v1/registry/vans/v2", &[], "")
        .await
        .problem(404);
    let history = get(&router, &format!("{path}/history?limit=2"))
        .await
        .json();
    let actions: Vec<&str> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["delete", "put"]);
    let cursor = history["next_cursor"].as_str().unwrap();
    let rest = get(&router, &format!("{path}/history?cursor={cursor}"))
        .await
        .json();
    assert_eq!(rest["items"][0]["body"]["name"], "Van 1");
}

#[tokio::test]
async fn what_is_wrong_with_a_record_names_its_field() {
    let router = router(World::new().state);
    for (path, body, field) in [
        ("vans/v1", json!({}), "name"),
        (
            "customers/c",
            json!({"name": "C", "contacts": [{"id": "a"}]}),
            "contacts[0].name",
        ),
        ("vans/v1", json!({"name": 1}), "name"),
        ("vans/v1", json!({"name": "V", "wheels": 4}), "wheels"),
        ("vans/v1", json!({"name": "V", "depot": "d"}), "depot"),
        ("vans/v 1", json!({"name": "V"}), "id"),
        (
            "locations/l",
            json!({"name": "L", "level": "line", "parent": "l"}),
            "parent",
        ),
        ("assets/pump-1", json!({}), "id"),
        (
            "calendars/c",
            json!({"name": "C", "hours": {"time_zone": "Mars"}}),
            "hours",
        ),
        (
            "technicians/t",
            json!({"name": "T", "home": {"latitude_deg": 91, "longitude_deg": 0}}),
            "home.latitude_deg",
        ),
    ] {
        let answer = put(&router, &path.replace(' ', "%20"), &[], &body).await;
        let problem = answer.problem(422);
        let found = problem["field"].as_str().unwrap_or_default();
        assert_eq!(found, field, "{path} {body}: {problem}");
    }
    put(&router, "planets/mars", &[], &json!({}))
        .await
        .problem(404);
    get(&router, "/api/v1/registry/planets").await.problem(404);
    let wrong = get(&router, "/api/v1/registry/vans?refers_to=depot").await;
    assert_eq!(wrong.problem(400)["field"], "refers_to");
    let wrong = get(&router, "/api/v1/registry/vans?cursor=zz").await;
    assert_eq!(wrong.problem(400)["field"], "cursor");
    let wrong = put(
        &router,
        "vans/v1",
        &[("If-Match", "x")],
        &json!({"name": "V"}),
    )
    .await;
    assert_eq!(wrong.problem(400)["field"], "If-Match");
}

#[tokio::test]
async fn lists_are_walked_searched_and_followed_by_reference() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    let mut csv = "id,name,depot\n".to_owned();
    upload(&router, "depots", "text/csv", "id,name\nd,Depot\n").await;
    for n in 0..120 {
        csv.push_str(&format!("v-{n:03},Van {n},d\n"));
    }
    let answer = upload(&router, "vans", "text/csv; charset=utf-8", &csv).await;
    assert_eq!(
        answer.json(),
        json!({"n_created": 120, "n_updated": 0, "n_unchanged": 0})
    );
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(&router, &format!("/api/v1/registry/vans?limit=50{cursor}"))
            .await
            .json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 120);
    assert!(seen.is_sorted());
    let found = get(&router, "/api/v1/registry/vans?q=VAN%2011&limit=500")
        .await
        .json();
    assert_eq!(found["items"].as_array().unwrap().len(), 11);
    let found = get(&router, "/api/v1/registry/contracts?refers_to=customer:C-1")
        .await
        .json();
    assert_eq!(found["items"].as_array().unwrap().len(), 2);
    let busy = ask(&router, "DELETE", "/api/v1/registry/depots/d", &[], "").await;
    assert!(
        busy.problem(409)["detail"]
            .as_str()
            .unwrap()
            .contains("van \"v-000\" refers to it")
    );
}

#[tokio::test]
async fn a_file_is_stored_whole_or_every_fault_is_told() {
    let world = World::new();
    let router = router(world.state);
    let text = "id,name,value.yearly\nC-1,Fine,1\nC-2,Bad,-1\nC-3,,2\n";
    let problem = upload(&router, "customers", "text/csv", text)
        .await
        .problem(422);
    let errors = problem["errors"].as_array().unwrap();
    let places: Vec<(u64, &str)> = errors
        .iter()
        .map(|e| (e["line"].as_u64().unwrap(), e["column"].as_str().unwrap()))
        .collect();
    assert_eq!(places, [(3, "value.yearly"), (4, "name")]);
    assert_eq!(problem["field"], "value.yearly");
    let list = get(&router, "/api/v1/registry/customers").await.json();
    assert_eq!(list["items"], json!([]));

    let text =
        r#"[{"id":"C-1","body":{"name":"A"}},{"id":"C-2","if_version":3,"body":{"name":"B"}}]"#;
    let problem = upload(&router, "customers", "application/json", text)
        .await
        .problem(422);
    assert_eq!(problem["errors"][0]["line"], 2);
    upload(&router, "customers", "application/xml", "<a/>")
        .await
        .problem(415);
    upload(&router, "customers", "text/csv", "")
        .await
        .problem(422);
    let large = format!("id,name\n{}", "x".repeat(9 << 20));
    upload(&router, "customers", "text/csv", &large)
        .await
        .problem(413);

    // Larger than other bodies may be, with a key, twice.
    let mut text = "id,name,note\n".to_owned();
    for n in 0..2_000 {
        text.push_str(&format!("C-{n},Customer {n},{}\n", "n".repeat(700)));
    }
    for _ in 0..2 {
        let request = Request::post("/api/v1/registry/customers/import")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "text/csv")
            .header("Idempotency-Key", "list-1");
        let answer = send(&router, request.body(Body::from(text.clone())).unwrap()).await;
        assert_eq!(answer.json()["n_created"], 2_000, "{}", answer.text);
    }
    let answer = upload(&router, "customers", "text/csv", &text).await;
    assert_eq!(answer.json()["n_unchanged"], 2_000);
}

#[tokio::test]
async fn an_export_is_what_an_import_takes() {
    let world = World::new();
    filled(&world).await;
    let from = router(world.state);
    let other = World::new();
    for n in [1, 2] {
        other
            .add_asset(&format!("pump-{n}"), "pump", "Pump", "")
            .await;
    }
    let to = router(other.state);
    let kinds = [
        "calendars",
        "locations",
        "depots",
        "vans",
        "technicians",
        "customers",
        "contracts",
        "assets",
        "leads",
    ];
    for (i, kind) in kinds.into_iter().enumerate() {
        let (format, media) = [("csv", "text/csv"), ("json", "application/json")][i % 2];
        let path = format!("/api/v1/registry/{kind}/export?format={format}");
        let file = get(&from, &path).await;
        assert!(file.header("content-type").starts_with(media));
        assert!(
            file.header("content-disposition")
                .contains(&format!("{kind}.{format}"))
        );
        let stored = upload(&to, kind, media, &file.text).await;
        assert_eq!(stored.status, StatusCode::OK, "{kind}: {}", stored.text);
        assert_eq!(get(&to, &path).await.text, file.text, "{kind}");
    }
}

#[tokio::test]
async fn changes_are_followed_from_where_one_left_off() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    let mut after = 0;
    let mut seen = Vec::new();
    loop {
        let page = get(
            &router,
            &format!("/api/v1/registry/changes?after={after}&limit=4"),
        )
        .await
        .json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|v| v["position"].as_i64().unwrap()));
        after = page["after"].as_i64().unwrap();
        if items.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 13);
    put(&router, "customers/C-2", &[], &json!({"name": "Loud AG"})).await;
    let page = get(&router, &format!("/api/v1/registry/changes?after={after}"))
        .await
        .json();
    assert_eq!(page["items"][0]["id"], "C-2");
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_may_only_read_sees_no_addresses_and_changes_nothing() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    for path in [
        "/api/v1/registry/customers",
        "/api/v1/registry/customers/C-1",
        "/api/v1/registry/customers/C-1/history",
        "/api/v1/registry/customers/export?format=csv",
        "/api/v1/registry/customers/export",
        "/api/v1/registry/changes",
        "/api/v1/customers/C-1/overview",
    ] {
        let full = get(&router, path).await.text;
        assert!(full.contains("ada@example.com"), "{path}");
        let cut = peek(&router, path).await;
        assert_eq!(cut.status, StatusCode::OK, "{path}");
        assert!(cut.text.contains("Ada Brandt"), "{path}");
        assert!(
            !cut.text.contains("ada@example.com") && !cut.text.contains("+49"),
            "{path}"
        );
    }
    for (method, path) in [
        ("PUT", "/api/v1/registry/vans/v1"),
        ("DELETE", "/api/v1/registry/customers/C-2"),
        ("POST", "/api/v1/registry/customers/import"),
        ("POST", "/api/v1/registry/customers/C-1/erasure"),
        ("POST", "/api/v1/assets"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {VIEWER_TOKEN}"));
        send(&router, request.body(Body::from("{}")).unwrap())
            .await
            .problem(403);
    }
    let request = Request::get("/customers/C-1")
        .header(header::COOKIE, format!("forecare_session={VIEWER_TOKEN}"))
        .header(header::ACCEPT, "text/html");
    let page = send(&router, request.body(Body::empty()).unwrap()).await;
    assert!(page.text.contains("withheld") && !page.text.contains("ada@example.com"));
    let token = csrf(&page);
    let request = Request::post("/logout")
        .header(header::COOKIE, format!("forecare_session={VIEWER_TOKEN}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let out = send(
        &router,
        request.body(Body::from(format!("csrf={token}"))).unwrap(),
    )
    .await;
    assert_eq!(out.status, StatusCode::SEE_OTHER, "everybody may leave");
}

#[tokio::test]
async fn an_erased_contact_is_nowhere() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state);
    let path = "/api/v1/registry/customers/C-1/erasure";
    let erased = post(&router, path, &json!({"contact": "ada"})).await;
    assert_eq!(erased.status, StatusCode::OK, "{}", erased.text);
    for path in [
        "/api/v1/registry/customers/C-1",
        "/api/v1/registry/customers/C-1/history",
        "/api/v1/registry/changes",
        "/customers/C-1",
    ] {
        let text = visit(&router, path).await.text;
        assert!(
            !text.contains("Ada Brandt") && text.contains("Bo Lund"),
            "{path}: {text}"
        );
    }
    post(&router, path, &json!({"contact": "ada"}))
        .await
        .problem(404);
    post(&router, path, &json!({})).await.problem(422);
    let technician = "/api/v1/registry/technicians/ada-moser/erasure";
    assert_eq!(
        post(&router, technician, &json!({})).await.json()["body"]["name"],
        "(erased)"
    );
    post(
        &router,
        "/api/v1/registry/contracts/K-1/erasure",
        &json!({}),
    )
    .await
    .problem(422);
}
