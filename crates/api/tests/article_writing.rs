//! Articles are written, looked at and changed in the console.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fixture::ask::{ask, csrf, get, send, submit, visit};
use fixture::{VIEWER_TOKEN, World};
use forecare_api::router;
use forecare_catalogue::Catalogue;

async fn save(router: &Router, form: &str) -> fixture::ask::Answer {
    let page = visit(router, "/knowledge/new").await;
    let form = format!("csrf={}&{form}", csrf(&page));
    submit(router, "/knowledge/save", &[], &form).await
}

const NEW: &str = "id=&version=0&title=Grease+the+bearing!&language=en&state=published\
    &mode=bearing-wear&mode=seal-leak&class=pump&public=yes";

#[tokio::test]
async fn an_article_is_looked_at_before_it_is_stored_and_changed_after() {
    let router = router(World::new().state);
    let text = "&text=%23%23+How%0D%0A%0D%0A*slowly*";
    let preview = save(&router, &format!("{NEW}{text}&do=preview")).await;
    assert_eq!(preview.status, StatusCode::OK);
    for part in [
        "<h2>How</h2>",
        "<em>slowly</em>",
        "not stored yet",
        "value=\"pump\" checked",
    ] {
        assert!(preview.text.contains(part), "{part} in {}", preview.text);
    }
    get(&router, "/api/v1/registry/articles/grease-the-bearing")
        .await
        .problem(404);

    let saved = save(&router, &format!("{NEW}{text}&do=save")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    assert_eq!(saved.header("location"), "/knowledge/grease-the-bearing");
    let stored = get(&router, "/api/v1/registry/articles/grease-the-bearing")
        .await
        .json();
    assert_eq!(stored["body"]["text"], "## How\n\n*slowly*");
    assert_eq!(
        stored["body"]["modes"],
        serde_json::json!(["bearing-wear", "seal-leak"])
    );
    assert_eq!(stored["body"]["public"], true);

    // The same title again is another article: it must not replace this one.
    let again = save(&router, &format!("{NEW}{text}&do=save")).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        again.text.contains("another id") && again.text.contains("## How"),
        "{}",
        again.text
    );

    let edit = visit(&router, "/knowledge/grease-the-bearing/edit").await;
    assert!(
        edit.text.contains("name=\"version\" value=\"1\""),
        "{}",
        edit.text
    );
    let change = "id=grease-the-bearing&version=1&title=Grease&language=en&state=withdrawn&text=Do+not.&do=save";
    let changed = save(&router, change).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER, "{}", changed.text);
    let late = save(&router, change.replace("Do+not", "Do").as_str()).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    assert!(
        late.text.contains("meanwhile") && late.text.contains("Do."),
        "{}",
        late.text
    );
    let versions = visit(&router, "/knowledge/grease-the-bearing/versions").await;
    for part in ["Version 2", "Version 1", "withdrawn", "*slowly*"] {
        assert!(versions.text.contains(part), "{part} in {}", versions.text);
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_said_and_kept_in_the_form() {
    let router = router(World::new().state);
    for (form, told) in [
        (
            "id=&version=0&title=%E8%BD%B4%E6%89%BF&language=zh-CN&text=x&do=save",
            "give the article an id",
        ),
        (
            "id=&version=0&title=T&language=en&text=&do=save",
            "must not be empty",
        ),
        (
            "id=&version=0&title=T&language=en&text=keep+me&mode=rust&do=save",
            "rust",
        ),
        (
            "id=&version=0&title=T&wished=a/b&language=en&text=keep+me&do=save",
            "id",
        ),
    ] {
        let refused = save(&router, form).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{form}");
        assert!(refused.text.contains(told), "{told} in {}", refused.text);
        if form.contains("keep") {
            assert!(refused.text.contains("keep me"), "{}", refused.text);
        }
    }
}

#[tokio::test]
async fn a_mode_that_classes_share_is_drawn_and_stored_once() {
    let shared = include_str!("fixture/catalogue.toml");
    let shared = shared.replace("name = \"imbalance\"", "name = \"bearing-wear\"");
    let router = router(World::with(Catalogue::parse(&shared).unwrap()).state);
    let page = visit(&router, "/knowledge/new").await;
    let boxes = page.text.matches("name=\"mode\" value=\"bearing-wear\"");
    assert_eq!(boxes.count(), 1, "{}", page.text);
    assert!(
        page.text.contains("Centrifugal pump, Cooling fan"),
        "{}",
        page.text
    );
    let form = "id=&version=0&title=T&language=en&text=x&class=pump&class=pump\
        &mode=bearing-wear&mode=seal-leak&mode=bearing-wear&do=save";
    let saved = save(&router, form).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    let stored = get(&router, "/api/v1/registry/articles/t").await.json();
    assert_eq!(
        stored["body"]["modes"],
        serde_json::json!(["bearing-wear", "seal-leak"])
    );
    assert_eq!(stored["body"]["classes"], serde_json::json!(["pump"]));
}

#[tokio::test]
async fn what_was_written_survives_that_its_article_is_deleted() {
    let router = router(World::new().state);
    let new = "id=&version=0&title=Gone&language=en&text=x&do=save";
    let saved = save(&router, new).await;
    assert_eq!(saved.header("location"), "/knowledge/gone");
    let path = "/api/v1/registry/articles/gone";
    let deleted = ask(&router, "DELETE", path, &[], "").await;
    assert!(deleted.status.is_success(), "{}", deleted.text);
    let change = "id=gone&version=1&title=Gone&language=en&text=keep+me&do=save";
    let refused = save(&router, change).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    for part in [
        "deleted",
        "keep me",
        "name=\"version\" value=\"0\"",
        "name=\"wished\" value=\"gone\"",
    ] {
        assert!(refused.text.contains(part), "{part} in {}", refused.text);
    }
    let again = "id=&version=0&wished=gone&title=Gone&language=en&text=keep+me&do=save";
    let saved = save(&router, again).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    assert_eq!(get(&router, path).await.json()["body"]["text"], "keep me");
}

#[tokio::test]
async fn no_article_hides_behind_a_page_of_the_console() {
    let router = router(World::new().state);
    for id in ["new", "save", "preview"] {
        let form = format!("id=&version=0&title={id}&language=en&text=keep+me&do=save");
        let saved = save(&router, &form).await;
        assert_eq!(
            saved.header("location"),
            format!("/knowledge/article-{id}"),
            "{}",
            saved.text
        );
        let refused = save(&router, &format!("{form}&wished={id}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.text.contains("another id"), "{}", refused.text);
        assert!(refused.text.contains("keep me"), "{}", refused.text);
    }
}

#[tokio::test]
async fn who_only_reads_is_offered_no_writing() {
    let router = router(World::new().state);
    for path in ["/knowledge/new", "/knowledge"] {
        let request = Request::get(path)
            .header(header::COOKIE, format!("forecare_session={VIEWER_TOKEN}"))
            .header(header::ACCEPT, "text/html");
        let page = send(&router, request.body(Body::empty()).unwrap()).await;
        let is_form = path.ends_with("new");
        assert_eq!(
            page.status == StatusCode::FORBIDDEN,
            is_form,
            "{}",
            page.text
        );
        assert!(!page.text.contains("New article"), "{}", page.text);
    }
}
