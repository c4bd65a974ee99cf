//! Documents: kept once, open to customers with their article.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod fixture;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use fixture::ask::{get, peek, put, send};
use fixture::master::filled;
use fixture::{TOKEN, VIEWER_TOKEN, World};
use forecare_api::router;
use serde_json::json;

#[tokio::test]
async fn a_document_is_kept_and_is_open_to_customers_with_its_article() {
    let world = World::new();
    filled(&world).await;
    let router = router(world.state.clone());
    for (id, public) in [("open", true), ("ours", false)] {
        let body = json!({"title": id, "text": "See ![it](/files/x)", "language": "en", "state": "published", "public": public});
        put(&router, &format!("articles/{id}"), &[], &body).await;
    }
    let send_file = async |path: &str, media: &str, content: &'static [u8]| {
        let request = Request::post(format!("/api/v1/registry/{path}"))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", media);
        send(&router, request.body(Body::from(content)).unwrap()).await
    };
    let picture: &[u8] = b"RIFF1234WEBPopen";
    let mut urls = Vec::new();
    for _ in 0..2 {
        let kept = send_file(
            "articles/open/documents?name=a.webp&title=Bearing",
            "image/webp",
            picture,
        )
        .await;
        assert_eq!(kept.status, StatusCode::CREATED, "{}", kept.text);
        urls.push(kept.json()["url"].as_str().unwrap().to_owned());
    }
    assert_eq!(urls[0], urls[1], "the same content is the same file");
    let article = get(&router, "/api/v1/registry/articles/open").await.json();
    let documents = json!([{"title": "Bearing", "url": urls[0]}]);
    assert_eq!(article["body"]["documents"], documents);
    let ours = send_file(
        "articles/ours/documents?name=b.txt",
        "text/plain",
        b"secret",
    )
    .await;
    let ours = ours.json();
    let asset = send_file(
        "assets/pump-1/documents?name=c.txt",
        "text/plain",
        b"drawing",
    )
    .await;
    assert_eq!(asset.status, StatusCode::CREATED, "{}", asset.text);
    // Without a login only what a public article names is there.
    let page = peek(&router, "/help/open").await;
    assert!(
        page.text.contains(&format!("/help{}", urls[0])),
        "{}",
        page.text
    );
    let picture = peek(&router, &format!("/help{}", urls[0])).await;
    assert_eq!(picture.status, StatusCode::OK);
    assert_eq!(picture.header("content-type"), "image/webp");
    let theirs = ours["url"].as_str().unwrap();
    assert_eq!(
        peek(&router, &format!("/help{theirs}")).await.status,
        StatusCode::NOT_FOUND
    );
    let sha256 = ours["sha256"].as_str().unwrap();
    let read = get(&router, &format!("/api/v1/files/{sha256}")).await;
    assert_eq!(read.text, "secret");
    assert!(read.header("content-disposition").starts_with("attachment"));
    let large: &[u8] = Box::leak(vec![b'x'; 3 << 20].into_boxed_slice());
    let kept = send_file("articles/ours/documents?name=d.txt", "text/plain", large).await;
    assert_eq!(kept.json()["bytes"], 3 << 20);
    // What it is not, or is put to, is refused with the reason.
    for (path, media, field) in [
        ("articles/open/documents?name=a.png", "image/png", "body"),
        ("articles/open/documents?name=a.html", "text/html", "body"),
        ("customers/C-1/documents?name=a.txt", "text/plain", "kind"),
    ] {
        let refused = send_file(path, media, b"text").await.problem(422);
        assert_eq!(refused["field"], field, "{refused}");
    }
    send_file("articles/none/documents?name=a.txt", "text/plain", b"x")
        .await
        .problem(404);
    let bad = json!({"title": "x", "text": "x", "language": "en", "documents": [{"title": "x", "url": "/files/../x"}]});
    assert!(
        put(&router, "articles/x", &[], &bad)
            .await
            .text
            .contains("SHA-256")
    );
    let request = Request::delete(format!("/api/v1/files/{sha256}"))
        .header("authorization", format!("Bearer {TOKEN}"));
    let gone = send(&router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    get(&router, &format!("/api/v1/files/{sha256}"))
        .await
        .problem(404);
    // Put there again it is there again, under the title it had.
    let again = send_file(
        "articles/ours/documents?name=b.txt&title=Other",
        "text/plain",
        b"secret",
    )
    .await;
    assert_eq!(again.json()["title"], "b.txt");
    let list = get(&router, "/api/v1/files").await.json();
    let named = list["items"].as_array().unwrap();
    let named = named.iter().find(|f| f["sha256"] == sha256).unwrap();
    assert_eq!(named["named_by"], json!(["articles/ours"]));
    // Who only reads sees what customers see.
    let viewer = async |path: String| {
        let headers = [("authorization", format!("Bearer {VIEWER_TOKEN}"))];
        let request = Request::get(path).header(headers[0].0, &headers[0].1);
        send(&router, request.body(Body::empty()).unwrap()).await
    };
    let open = urls[0].trim_start_matches("/files/");
    assert_eq!(
        viewer(format!("/api/v1/files/{open}")).await.status,
        StatusCode::OK
    );
    viewer(format!("/api/v1/files/{sha256}")).await.problem(403);
    viewer("/api/v1/files".to_owned()).await.problem(403);
    let known =
        Request::get(format!("/help{}", urls[0])).header("if-none-match", format!("\"{open}\""));
    let kept = send(&router, known.body(Body::empty()).unwrap()).await;
    assert_eq!(kept.status, StatusCode::NOT_MODIFIED);
}
