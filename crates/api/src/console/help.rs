//! What customers may read of the knowledge base, without a login.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forecare_registry::{Article, RecordId};
use forecare_store::StoredFile;
use serde::Deserialize;

use super::answer::{Language, busy, is_chinese};
use super::markdown;
use super::shell::render;
use crate::app::{App, cut};
use crate::extract::ApiPath;
use crate::problem::Problem;
use crate::routes::files::slowly;
use crate::routes::knowledge::{HitDto, for_customers, search_public, title_for_customers};

/// What is looked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct HelpParams {
    #[serde(default)]
    q: String,
    lang: Option<String>,
}

struct Words {
    lang: &'static str,
    title: &'static str,
    search: &'static str,
    none: &'static str,
    nothing: &'static str,
    all: &'static str,
    documents: &'static str,
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "Help",
    search: "Search",
    none: "There are no articles yet.",
    nothing: "Nothing fits. Try other words.",
    all: "All articles",
    documents: "Documents",
};

const CHINESE: Words = Words {
    lang: "zh-CN",
    title: "帮助",
    search: "搜索",
    none: "暂无文章。",
    nothing: "没有匹配的文章，请换个关键词。",
    all: "全部文章",
    documents: "文档",
};

#[derive(Template)]
#[template(path = "help.html")]
struct HelpPage {
    words: &'static Words,
    q: String,
    hits: Vec<HitDto>,
}

#[derive(Template)]
#[template(path = "help_article.html")]
struct HelpArticlePage {
    words: &'static Words,
    article: Article,
    html: String,
}

fn words(lang: Option<String>, headers: &HeaderMap) -> &'static Words {
    if is_chinese(&Language { lang }, headers) {
        &CHINESE
    } else {
        &ENGLISH
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    Query(params): Query<HelpParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !app.help.admits() {
        return Ok(busy());
    }
    let words = words(params.lang, &headers);
    let hits = search_public(&app, &params.q, words.lang).await?;
    Ok(render(&HelpPage {
        words,
        q: params.q,
        hits,
    }))
}

pub(crate) async fn page(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
    Query(language): Query<HelpParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !app.help.admits() {
        return Ok(busy());
    }
    let missing = || Problem::not_found(format_args!("article \"{}\"", cut(&id, 128)));
    let key = RecordId::new(&id).map_err(|_invalid| missing())?;
    let article = for_customers(&app, &key).await?.ok_or_else(missing)?;
    // Files that are kept here, by the address that is open to customers.
    let mut article = article;
    for document in &mut article.documents {
        if document.file().is_some() {
            document.url.insert_str(0, "/help");
        }
    }
    Ok(render(&HelpArticlePage {
        words: words(language.lang, &headers),
        html: markdown::to_html(&article.text, "/help/files"),
        article,
    }))
}

/// A file that an article names which customers may read.
///
/// Everybody may ask: as many at once as there are places, each for a bounded time, and browsers keep what they have.
pub(crate) async fn file(
    State(app): State<App>,
    ApiPath(sha256): ApiPath<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("the file");
    let title = title_for_customers(&app, &sha256).await?;
    let title = title.ok_or_else(missing)?;
    let etag = format!("\"{sha256}\"");
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let Ok(place) = Arc::clone(&app.file_places).try_acquire_owned() else {
        return Ok(busy());
    };
    let found = app.state.store.file(&sha256).await?;
    // Under the title they know, whatever it was called when it was put here.
    let found = found.map(|file| StoredFile {
        name: title,
        ..file
    });
    Ok(slowly(found.ok_or_else(missing)?, place))
}
