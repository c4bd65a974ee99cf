//! The knowledge base: found by words, proposed for a ticket, written from a good resolution.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use forecare_domain::{Asset, EntryBody, Origin, Ticket, TicketState, Verdict, Visibility};
use forecare_registry::{
    Article, ArticleIndex, ArticleState, Body, Change, RecordFaultKind, RecordId, RecordKind,
    RecordRef, RecordWrite, excerpt,
};
use forecare_store::{PageRequest, RecordFilter, RecordsOutcome};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::registry::change;
use crate::app::{App, Caller, cut, ticket_id};
use crate::extract::{ApiPath, ApiQuery};
use crate::outcomes::counted;
use crate::overview::whole;
use crate::problem::Problem;

/// Articles that are looked through.
const ARTICLES_MAX: usize = 20_000;
/// How an internal note begins that belongs into the article written from its ticket.
const ARTICLE_MARK: &str = "#article";
/// Longest question, characters.
const QUESTION_CHARS_MAX: usize = 200;
/// Articles of an answer where the caller does not say, and at most.
const HITS_DEFAULT: u16 = 20;
const HITS_MAX: u16 = 100;
/// What helped is counted anew no more often; what is open to everybody is read anew no more often.
const HELPED_EVERY: Duration = Duration::from_secs(60);
const OPEN_ARTICLES_EVERY: Duration = Duration::from_secs(5);
/// Articles proposed for a ticket.
const PROPOSED_MAX: usize = 5;
/// How much an article about the ticket's failure mode, or class, is preferred: in units of the best fit of words.
const SAME_MODE: f64 = 2.0;
const SAME_CLASS: f64 = 1.0;
/// Entries of a ticket that an article is written from.
const ENTRIES_MAX: usize = 200;

/// What is looked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnowledgeParams {
    /// Words, in English or Chinese; without any, all articles by id.
    #[serde(default)]
    pub(crate) q: String,
    /// Only about this class, or any.
    pub(crate) class: Option<String>,
    /// Only about this failure mode, or any.
    pub(crate) mode: Option<String>,
    /// Only in this language: `en`, `zh-CN`.
    pub(crate) language: Option<String>,
    /// `published` where not given; `draft`, `withdrawn` (for operators only).
    pub(crate) state: Option<String>,
    /// How many at most, 1 to 100; 20 where not given.
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(crate) limit: Option<u16>,
}

/// Articles that fit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ArticleHits)]
pub(crate) struct HitsDto {
    /// The best first.
    pub(crate) items: Vec<HitDto>,
}

/// An article that fits.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ArticleHit)]
pub(crate) struct HitDto {
    /// Its id; the whole is at `/api/v1/registry/articles/{id}`.
    pub(crate) id: String,
    /// Its title.
    pub(crate) title: String,
    /// Its language.
    pub(crate) language: String,
    /// Where the words were found.
    pub(crate) excerpt: String,
    /// True: customers may read it.
    pub(crate) public: bool,
    /// Tickets on which it helped.
    pub(crate) n_helped: u32,
    /// Tickets on which it did not.
    pub(crate) n_not_helped: u32,
    /// How well it fits; comparable within one answer only. 0 where no words were asked for.
    pub(crate) score: f64,
}

impl HitDto {
    fn new(
        id: &RecordId,
        article: &Article,
        question: &str,
        score: f64,
        (n_helped, n_not_helped): (u32, u32),
    ) -> Self {
        Self {
            n_helped,
            n_not_helped,
            id: id.to_string(),
            title: article.title.clone(),
            language: article.language.clone(),
            excerpt: excerpt(&article.text, question),
            public: article.is_for_customers(),
            score,
        }
    }
}

/// Articles that fit words
///
/// Words are found whatever their ending, Chinese without spaces; ranked by BM25.
#[utoipa::path(get, path = "/api/v1/knowledge", tag = "knowledge", params(KnowledgeParams),
    responses((status = 200, description = "the articles", body = HitsDto)))]
pub(crate) async fn search(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<KnowledgeParams>,
) -> Result<Json<HitsDto>, Problem> {
    let items = found(&app, &caller, &params).await?;
    Ok(Json(HitsDto { items }))
}

/// The articles that fit, the best first.
pub(crate) async fn found(
    app: &App,
    caller: &Caller,
    params: &KnowledgeParams,
) -> Result<Vec<HitDto>, Problem> {
    let limit = params.limit.unwrap_or(HITS_DEFAULT);
    if !(1..=HITS_MAX).contains(&limit) {
        return Err(Problem::bad_parameter(
            "limit",
            format!("limit must be 1 to {HITS_MAX}"),
        ));
    }
    let state = match params.state.as_deref() {
        None | Some("" | "published") => ArticleState::Published,
        Some("draft") => ArticleState::Draft,
        Some("withdrawn") => ArticleState::Withdrawn,
        Some(_) => {
            return Err(Problem::bad_parameter(
                "state",
                "use published, draft or withdrawn",
            ));
        }
    };
    if state != ArticleState::Published {
        caller.must_need_to_know("articles that are not published")?;
    }
    let question = cut(params.q.trim(), QUESTION_CHARS_MAX);
    let is_about = |names: &[String], wanted: Option<&String>| {
        let wanted = wanted.filter(|w| !w.is_empty());
        names.is_empty() || wanted.is_none_or(|w| names.contains(w))
    };
    let mut articles = articles(app, state).await?;
    let helped = helped(app).await?;
    let count = |id: &RecordId| helped.get(id.as_str()).copied().unwrap_or_default();
    articles.retain(|(_, article)| {
        let language = params.language.as_ref().filter(|l| !l.is_empty());
        is_about(&article.classes, params.class.as_ref())
            && is_about(&article.modes, params.mode.as_ref())
            && language.is_none_or(|l| *l == article.language)
    });
    let limit = usize::from(limit);
    if question.is_empty() {
        let all = articles.iter().take(limit);
        return Ok(all
            .map(|(id, a)| HitDto::new(id, a, "", 0.0, count(id)))
            .collect());
    }
    let index = ArticleIndex::new(articles.iter().map(|(id, article)| (id, article)));
    let hits = index.search(&question).into_iter().take(limit);
    Ok(hits
        .filter_map(|hit| {
            let (id, article) = articles.iter().find(|(id, _)| *id == hit.id)?;
            Some(HitDto::new(id, article, &question, hit.score, count(id)))
        })
        .collect())
}

/// How often articles helped, and how often not, by id.
pub(crate) type Helped = BTreeMap<String, (u32, u32)>;
/// The articles that customers may read.
pub(crate) type OpenArticles = Vec<(RecordId, Article)>;

/// How often articles helped. All tickets are looked through for it, so it is at most a minute old.
async fn helped(app: &App) -> Result<Arc<Helped>, Problem> {
    let read = counted(app, |outcomes| outcomes.helped.clone());
    app.helped.get(HELPED_EVERY, read).await
}

/// The articles that customers may read, at most a few seconds old: everybody may ask for them.
async fn open_articles(app: &App) -> Result<Arc<OpenArticles>, Problem> {
    let read = async {
        let mut read = articles(app, ArticleState::Published).await?;
        read.retain(|(_, article)| article.is_for_customers());
        Ok(read)
    };
    app.open_articles.get(OPEN_ARTICLES_EVERY, read).await
}

/// Articles that customers may read: those that fit `question`, or all; those in `language` first.
pub(crate) async fn search_public(
    app: &App,
    question: &str,
    language: &str,
) -> Result<Vec<HitDto>, Problem> {
    let articles = open_articles(app).await?;
    let question = cut(question.trim(), QUESTION_CHARS_MAX);
    // Off the threads that answer others.
    let searching = tokio::task::spawn_blocking(move || {
        let hit = |id: &RecordId, article: &Article, score: f64| {
            HitDto::new(id, article, &question, score, (0, 0))
        };
        if question.is_empty() {
            return articles.iter().map(|(id, a)| hit(id, a, 0.0)).collect();
        }
        let index = ArticleIndex::new(articles.iter().map(|(id, article)| (id, article)));
        let found = index.search(&question).into_iter();
        let hits = found.filter_map(|found| {
            let (id, article) = articles.iter().find(|(id, _)| *id == found.id)?;
            Some(hit(id, article, found.score))
        });
        hits.collect::<Vec<HitDto>>()
    });
    let mut hits = searching.await.map_err(|_stopped| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the service is shutting down",
        )
    })?;
    hits.sort_by_key(|hit| hit.language != language);
    hits.truncate(usize::from(HITS_MAX));
    Ok(hits)
}

/// The article `id`, where customers may read it.
pub(crate) async fn for_customers(app: &App, id: &RecordId) -> Result<Option<Article>, Problem> {
    let key = RecordRef::new(RecordKind::Article, id.clone());
    let found = app.state.store.record(&key).await?;
    Ok(match found.and_then(|record| record.body) {
        Some(Body::Article(article)) => Some(article).filter(Article::is_for_customers),
        Some(_) | None => None,
    })
}

/// What the file is called in an article that customers may read; `None`: none has it.
pub(crate) async fn title_for_customers(
    app: &App,
    sha256: &str,
) -> Result<Option<String>, Problem> {
    let articles = open_articles(app).await?;
    let mut documents = articles.iter().flat_map(|(_, article)| &article.documents);
    let found = documents.find(|document| document.file() == Some(sha256));
    Ok(found.map(|document| document.title.clone()))
}

/// Articles in `state`, by id.
async fn articles(app: &App, state: ArticleState) -> Result<Vec<(RecordId, Article)>, Problem> {
    let all = RecordFilter::default();
    let found = whole(app, RecordKind::Article, &all, ARTICLES_MAX).await?;
    let articles = found.into_iter().filter_map(|record| match record.body {
        Some(Body::Article(article)) => Some((record.record.id, article)),
        Some(_) | None => None,
    });
    Ok(articles.filter(|(_, a)| a.state == state).collect())
}

/// Articles that may help with a ticket: about its failure mode, its machine's class, or in the words of its title
///
/// Those that helped on other tickets come before those that did not.
#[utoipa::path(get, path = "/api/v1/tickets/{id}/articles", tag = "knowledge",
    params(("id" = String, Path, description = "the ticket, such as 7 or T-7")),
    responses((status = 200, description = "the articles", body = HitsDto)))]
pub(crate) async fn for_ticket(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<HitsDto>, Problem> {
    let ticket = app.state.store.ticket(ticket_id(&id)?).await?;
    let items = proposed(&app, &ticket).await?;
    Ok(Json(HitsDto { items }))
}

/// Articles that may help with `ticket`, the best first.
pub(crate) async fn proposed(app: &App, ticket: &Ticket) -> Result<Vec<HitDto>, Problem> {
    let articles = articles(app, ArticleState::Published).await?;
    if articles.is_empty() {
        return Ok(Vec::new());
    }
    let helped = helped(app).await?;
    let count = |id: &RecordId| helped.get(id.as_str()).copied().unwrap_or_default();
    let asset = app.state.store.asset(&ticket.asset).await?;
    let class = asset.map(|asset: Asset| asset.class.to_string());
    let mode = ticket.mode.as_ref().map(ToString::to_string);
    let mut question = ticket.title.clone();
    if let Some(report) = &ticket.work.report {
        question.push(' ');
        question.push_str(&report.description);
    }
    let question = cut(&question, QUESTION_CHARS_MAX);
    let index = ArticleIndex::new(articles.iter().map(|(id, article)| (id, article)));
    let hits = index.search(&question);
    let best = hits.first().map_or(1.0, |hit| hit.score).max(1e-9);
    let mut scored: Vec<(f64, &RecordId, &Article)> = articles
        .iter()
        .filter_map(|(id, article)| {
            let words = hits.iter().find(|hit| hit.id == *id);
            let names =
                |names: &[String], own: Option<&String>| own.is_some_and(|own| names.contains(own));
            let (modes, classes) = (&article.modes, &article.classes);
            // About other modes or machines: never. What nobody has classified yet may be of any mode, if the words say so.
            let may_be = mode.is_none() && words.is_some();
            let is_elsewhere = (!modes.is_empty() && !may_be && !names(modes, mode.as_ref()))
                || (!classes.is_empty() && !names(classes, class.as_ref()));
            let mut score = words.map_or(0.0, |hit| hit.score / best);
            score += f64::from(u8::from(names(modes, mode.as_ref()))) * SAME_MODE;
            score += f64::from(u8::from(names(classes, class.as_ref()))) * SAME_CLASS;
            score *= usefulness(count(id));
            (score > 0.0 && !is_elsewhere).then_some((score, id, article))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    Ok(scored
        .into_iter()
        .take(PROPOSED_MAX)
        .map(|(score, id, article)| HitDto::new(id, article, &question, score, count(id)))
        .collect())
}

/// By how much an article that helped so often, and so often not, is preferred: 1 where nobody knows, towards 1.5 where it
/// always did, towards 0.5 where it never did (the mean of a beta distribution that begins with one of each, plus a half).
fn usefulness((n_helped, n_not): (u32, u32)) -> f64 {
    let (yes, no) = (f64::from(n_helped), f64::from(n_not));
    0.5 + (yes + 1.0) / (yes + no + 2.0)
}

/// An article that was proposed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProposedArticle)]
pub(crate) struct ProposedDto {
    /// Its id: edit it at `/api/v1/registry/articles/{id}`.
    pub(crate) id: String,
}

/// Proposes an article from what a ticket's resolution teaches
///
/// A draft for somebody to edit and publish: what was seen, what was found, what was done. A ticket has one; asked for
/// again it is left as it is.
#[utoipa::path(post, path = "/api/v1/tickets/{id}/article", tag = "knowledge",
    params(("id" = String, Path, description = "the ticket, such as 7 or T-7")),
    responses((status = 201, description = "the draft", body = ProposedDto),
        (status = 200, description = "it is there already", body = ProposedDto)))]
pub(crate) async fn propose(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<(StatusCode, Json<ProposedDto>), Problem> {
    let (id, is_new) = draft(&app, &caller, &id).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(ProposedDto { id })))
}

/// Stores the draft that a ticket's resolution teaches: its id, and whether it is new.
pub(crate) async fn draft(app: &App, caller: &Caller, id: &str) -> Result<(String, bool), Problem> {
    let ticket = app.state.store.ticket(ticket_id(id)?).await?;
    let conflict = |text: String| Problem::new(StatusCode::CONFLICT, text);
    let Some(verdict) = ticket.verdict.as_ref().filter(|verdict| teaches(verdict)) else {
        return Err(conflict(format!(
            "{} teaches nothing yet: it needs a resolution that found a fault",
            ticket.id
        )));
    };
    let name = format!("ticket-{}", ticket.id.0);
    let record = RecordId::new(&name).map_err(|e| Problem::invalid("id", e.to_string()))?;
    let key = RecordRef::new(RecordKind::Article, record.clone());
    let there = app.state.store.record(&key).await?;
    if there.is_some_and(|r| r.body.is_some()) {
        return Ok((name, false));
    }
    let asset = app.state.store.asset(&ticket.asset).await?;
    let article = Article {
        title: title(app, &ticket, verdict, asset.as_ref()),
        text: text(app, &ticket, verdict).await?,
        language: "en".to_owned(),
        classes: asset.iter().map(|a| a.class.to_string()).collect(),
        modes: found_mode(&ticket, verdict).into_iter().collect(),
        documents: Vec::new(),
        state: ArticleState::Draft,
        public: false,
        from_ticket: Some(ticket.id.0),
        translations: Vec::new(),
    };
    let write = RecordWrite {
        kind: RecordKind::Article,
        id: record,
        // Two who ask at once: one draft, and no edit is lost.
        if_version: Some(0),
        change: Change::Put(Box::new(Body::Article(article))),
    };
    match change(app, caller, vec![write]).await? {
        RecordsOutcome::Stored(_) => Ok((name, true)),
        RecordsOutcome::Refused(faults)
            if faults
                .iter()
                .all(|f| matches!(f.kind, RecordFaultKind::Version { .. })) =>
        {
            Ok((name, false))
        }
        RecordsOutcome::Refused(faults) => Err(faults
            .into_iter()
            .next()
            .map_or_else(|| conflict("refused".to_owned()), Problem::refused_record)),
    }
}

/// A fault was found and mended: others may learn from it.
pub(crate) fn teaches(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Confirmed { .. } | Verdict::WrongMode { .. } | Verdict::Done => true,
        Verdict::NoFaultFound | Verdict::DataFault | Verdict::TooEarly => false,
    }
}

fn found_mode(ticket: &Ticket, verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::WrongMode { actual } => Some(actual.to_string()),
        Verdict::Confirmed { .. }
        | Verdict::Done
        | Verdict::NoFaultFound
        | Verdict::DataFault
        | Verdict::TooEarly => ticket.mode.as_ref().map(ToString::to_string),
    }
}

fn title(app: &App, ticket: &Ticket, verdict: &Verdict, asset: Option<&Asset>) -> String {
    let class = asset.and_then(|a| app.state.catalogue.class(&a.class));
    let mode = found_mode(ticket, verdict);
    let mode = class.and_then(|class| {
        let name = mode?;
        class.modes.iter().find(|m| m.name.as_str() == name)
    });
    let what = mode.map_or(&ticket.title, |m| &m.title);
    let on = class.map_or(String::new(), |class| format!(" ({})", class.title));
    cut(&format!("{what}{on}"), 200).trim().to_owned()
}

/// What was seen, found and done, in Markdown.
async fn text(app: &App, ticket: &Ticket, verdict: &Verdict) -> Result<String, Problem> {
    let mut text = String::from("## What was seen\n\n");
    // Customers' words are theirs: they name gates, people and codes.
    let is_ours = match &ticket.origin {
        Origin::Person { by } => !by.is_customer() && !ticket.work.is_contacts,
        Origin::Alarm
        | Origin::Schedule { .. }
        | Origin::Event { .. }
        | Origin::Automation { .. } => true,
    };
    if let Some(report) = &ticket.work.report
        && is_ours
        && !report.description.trim().is_empty()
    {
        text += &format!("{}\n\n", plain(&report.description));
    }
    for c in ticket.contributions.iter().take(5) {
        let line = format!(
            "- {}: {:.4}, expected {:.4} ({})\n",
            c.name, c.seen, c.expected, c.reason
        );
        text += &line;
    }
    text += "\n## What was found\n\n";
    text += &match verdict {
        Verdict::Confirmed { failure_code } => format!("The expected fault ({failure_code}).\n"),
        Verdict::WrongMode { actual } => format!("Another fault than expected: {actual}.\n"),
        Verdict::Done | Verdict::NoFaultFound | Verdict::DataFault | Verdict::TooEarly => {
            "The work was done.\n".to_owned()
        }
    };
    text += "\n## What was done\n\n";
    let resolved = ticket.history.iter().rev();
    let resolved = resolved
        .filter(|c| c.enters(TicketState::Resolved) && !c.why.trim().is_empty())
        .filter(|c| !c.by.is_customer())
        .map(|c| plain(&c.why))
        .next();
    if let Some(why) = resolved {
        text += &format!("{why}\n\n");
    }
    let page = PageRequest {
        before: None,
        limit: ENTRIES_MAX,
    };
    let mut entries = app.state.store.ticket_entries(ticket.id, page).await?;
    entries.reverse();
    let ours = entries.into_iter().map(|p| p.item);
    for entry in ours.filter(|entry| !entry.by.is_customer()) {
        match entry.body {
            // What customers are told, and what was meant for colleagues alone, does not belong into an article.
            EntryBody::Note {
                text: note,
                visibility: Visibility::Internal,
            } => {
                if let Some(done) = for_article(&note) {
                    text += &format!("- {}\n", plain(done));
                }
            }
            EntryBody::Time { minutes, what } if !what.trim().is_empty() => {
                text += &format!("- {} ({minutes} min)\n", plain(&what));
            }
            EntryBody::Note { .. } | EntryBody::Time { .. } | EntryBody::Attachment(_) => {}
        }
    }
    for item in ticket.work.checklist.iter().filter(|i| i.done.is_some()) {
        text += &format!("- {}\n", plain(&item.text));
    }
    Ok(text)
}

/// What an internal note says for articles: what stands after its mark.
fn for_article(note: &str) -> Option<&str> {
    let done = note.trim_start().strip_prefix(ARTICLE_MARK)?.trim();
    (!done.is_empty()).then_some(done)
}

/// In one line, without control characters.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
