//! The knowledge base: found by words, and one article.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_registry::{Article, ArticleState, Body, RecordId, RecordKind, RecordRef};

use super::format::When;
use super::markdown;
use super::shell::{Shell, render};
use crate::app::{App, Caller, cut};
use crate::extract::{ApiPath, ApiQuery};
use crate::problem::Problem;
use crate::routes::knowledge::{HitDto, KnowledgeParams, draft, found};

const STATES: [(&str, &str); 3] = [
    ("published", "Published"),
    ("draft", "Drafts"),
    ("withdrawn", "Withdrawn"),
];

#[derive(Template)]
#[template(path = "knowledge.html")]
struct KnowledgePage {
    shell: Shell,
    q: String,
    state: &'static str,
    states: &'static [(&'static str, &'static str)],
    hits: Vec<HitDto>,
    may_write: bool,
}

pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<KnowledgeParams>,
) -> Result<Response, Problem> {
    let hits = found(&app, &caller, &params).await?;
    let wanted = params.state.as_deref().unwrap_or_default();
    let chosen = STATES.iter().find(|(name, _)| *name == wanted);
    Ok(render(&KnowledgePage {
        shell: Shell::new(&app, &caller, "knowledge"),
        q: params.q,
        state: chosen.map_or(STATES[0].0, |(name, _)| name),
        states: if caller.needs_to_know() {
            &STATES
        } else {
            &STATES[..1]
        },
        hits,
        may_write: caller.needs_to_know(),
    }))
}

#[derive(Template)]
#[template(path = "article.html")]
struct ArticlePage {
    shell: Shell,
    id: String,
    version: i64,
    article: Article,
    state: &'static str,
    /// What the Markdown says, as HTML that is safe to show.
    html: String,
    written: When,
    by: String,
    may_write: bool,
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found(format_args!("article \"{}\"", cut(&id, 128)));
    let key = RecordId::new(&id).map_err(|_invalid| missing())?;
    let key = RecordRef::new(RecordKind::Article, key);
    let record = app.state.store.record(&key).await?.ok_or_else(missing)?;
    let Some(Body::Article(article)) = record.body else {
        return Err(missing());
    };
    if article.state != ArticleState::Published && !caller.needs_to_know() {
        return Err(missing());
    }
    let now = app.state.clock.now();
    Ok(render(&ArticlePage {
        shell: Shell::new(&app, &caller, "knowledge"),
        id,
        version: record.version,
        state: match article.state {
            ArticleState::Draft => "draft",
            ArticleState::Published => "published",
            ArticleState::Withdrawn => "withdrawn",
        },
        html: markdown::to_html(&article.text, "/files"),
        written: When::new(now, record.updated_at),
        by: record.updated_by.name,
        may_write: caller.needs_to_know(),
        article,
    }))
}

/// Proposes an article from a ticket, and shows it.
pub(crate) async fn propose(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    let (article, _) = draft(&app, &caller, &id).await?;
    Ok(Redirect::to(&format!("/knowledge/{article}")).into_response())
}
