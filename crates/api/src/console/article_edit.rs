//! Articles written and edited: Markdown with a preview, what it is about, who may read it, and its versions.

use std::collections::BTreeSet;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_catalogue::Catalogue;
use forecare_registry::{Article, ArticleState, Body, Change, RecordId, RecordKind, RecordRef};
use forecare_store::{PageRequest, StoredRecord};

use super::form::Fields;
use super::format::When;
use super::markdown;
use super::shell::{Shell, render, render_with};
use super::tickets::{Choices, channel_words};
use crate::app::{App, Caller, cut};
use crate::extract::ApiPath;
use crate::problem::Problem;
use crate::routes::registry::change_one;

/// What may be written: only for those who work on tickets.
const WRITING: &str = "writing articles";
/// Versions shown.
const VERSIONS_MAX: usize = 50;
/// Longest id made from a title, characters.
const ID_CHARS_MAX: usize = 64;

/// Ids that the console's own pages under `/knowledge` have.
const TAKEN_BY_PAGES: [&str; 3] = ["new", "save", "preview"];

const STATES: [(&str, &str); 3] = [
    ("draft", "draft: only those who write find it"),
    ("published", "published"),
    ("withdrawn", "withdrawn: no longer true"),
];

#[derive(Template)]
#[template(path = "article_edit.html")]
struct EditPage {
    shell: Shell,
    /// Empty: it is new.
    id: String,
    /// The id wished for, of a new one.
    wished: String,
    /// The version that is edited; 0: it is new.
    version: i64,
    title: String,
    language: String,
    text: String,
    public: bool,
    /// Value, words, and whether it is chosen.
    states: Vec<(&'static str, &'static str, bool)>,
    classes: Choices,
    /// Failure modes, each once, by the classes that have them.
    modes: Vec<(String, Choices)>,
    /// What the Markdown says, where that was asked for.
    preview: Option<String>,
}

impl EditPage {
    fn new(app: &App, shell: Shell, article: &Article) -> Self {
        let catalogue = &app.state.catalogue;
        let state = state_label(article.state);
        Self {
            shell,
            id: String::new(),
            wished: String::new(),
            version: 0,
            title: article.title.clone(),
            language: article.language.clone(),
            text: article.text.clone(),
            public: article.public,
            states: STATES
                .map(|(value, words)| (value, words, value == state))
                .to_vec(),
            classes: catalogue
                .classes
                .iter()
                .map(|class| {
                    let name = class.name.to_string();
                    let chosen = article.classes.contains(&name);
                    (name, class.title.clone(), chosen)
                })
                .collect(),
            modes: modes(catalogue, &article.modes),
            preview: None,
        }
    }
}

/// Failure modes by the classes that have them. The name of a mode is one within its class; classes may share it.
fn modes(catalogue: &Catalogue, chosen: &[String]) -> Vec<(String, Choices)> {
    let mut seen = BTreeSet::new();
    let mut groups: Vec<(String, Choices)> = Vec::new();
    for mode in catalogue.classes.iter().flat_map(|class| &class.modes) {
        if !seen.insert(&mode.name) {
            continue;
        }
        let with_it = catalogue.classes.iter();
        let with_it = with_it.filter(|class| class.modes.iter().any(|m| m.name == mode.name));
        let titles: Vec<&str> = with_it.map(|class| class.title.as_str()).collect();
        let (titles, name) = (titles.join(", "), mode.name.to_string());
        let is_chosen = chosen.contains(&name);
        let choice = (name, mode.title.clone(), is_chosen);
        match groups.iter_mut().find(|(group, _)| *group == titles) {
            Some((_, choices)) => choices.push(choice),
            None => groups.push((titles, vec![choice])),
        }
    }
    groups
}

fn state_label(state: ArticleState) -> &'static str {
    match state {
        ArticleState::Draft => "draft",
        ArticleState::Published => "published",
        ArticleState::Withdrawn => "withdrawn",
    }
}

/// An article without anything in it.
fn blank() -> Article {
    Article {
        title: String::new(),
        text: String::new(),
        language: "en".to_owned(),
        classes: Vec::new(),
        modes: Vec::new(),
        documents: Vec::new(),
        state: ArticleState::Draft,
        public: false,
        from_ticket: None,
        translations: Vec::new(),
    }
}

/// The article of that id with its record.
async fn stored(app: &App, id: &str) -> Result<(StoredRecord, Article), Problem> {
    let missing = || Problem::not_found(format_args!("article \"{}\"", cut(id, 128)));
    let key = RecordId::new(id).map_err(|_invalid| missing())?;
    let key = RecordRef::new(RecordKind::Article, key);
    let record = app.state.store.record(&key).await?.ok_or_else(missing)?;
    match record.body.clone() {
        Some(Body::Article(article)) => Ok((record, article)),
        Some(_) | None => Err(missing()),
    }
}

/// The form for a new article.
pub(crate) async fn new(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    caller.must_need_to_know(WRITING)?;
    let shell = Shell::new(&app, &caller, "knowledge");
    Ok(render(&EditPage::new(&app, shell, &blank())))
}

/// The form with an article in it.
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    caller.must_need_to_know(WRITING)?;
    let (record, article) = stored(&app, &id).await?;
    let shell = Shell::new(&app, &caller, "knowledge");
    Ok(render(&EditPage {
        id,
        version: record.version,
        ..EditPage::new(&app, shell, &article)
    }))
}

/// What the form holds, laid over `article`.
fn typed(fields: &Fields, article: Article) -> Article {
    let text = |name: &str| fields.get(name).unwrap_or_default().to_owned();
    // Each once, however often a form sends it.
    let all = |name: &str| {
        let mut seen = BTreeSet::new();
        let values = fields.all(name).filter(|value| seen.insert(*value));
        values.map(str::to_owned).collect()
    };
    Article {
        title: text("title"),
        text: text("text").replace("\r\n", "\n"),
        language: text("language"),
        classes: all("class"),
        modes: all("mode"),
        state: match fields.get("state") {
            Some("published") => ArticleState::Published,
            Some("withdrawn") => ArticleState::Withdrawn,
            Some(_) | None => ArticleState::Draft,
        },
        public: fields.get("public").is_some(),
        ..article
    }
}

/// An id from a title: `Grease the bearing!` is `grease-the-bearing`.
fn id_of(title: &str) -> String {
    let mut id = String::new();
    for c in title.chars().take(ID_CHARS_MAX) {
        if c.is_ascii_alphanumeric() {
            id.push(c.to_ascii_lowercase());
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.trim_end_matches('-').to_owned()
}

/// Whether a page of the console would hide an article of that id.
fn is_taken_by_page(id: &str) -> bool {
    TAKEN_BY_PAGES.contains(&id)
}

/// Shows the form again with a preview, or stores the article.
pub(crate) async fn save(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    fields: Fields,
) -> Result<Response, Problem> {
    caller.must_need_to_know(WRITING)?;
    let id = fields.get("id").unwrap_or_default().to_owned();
    let version: i64 = fields
        .get("version")
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    // Documents and translations are not in the form: they stay.
    let before = if version > 0 {
        stored(&app, &id).await.map(|(_, article)| article)
    } else {
        Ok(blank())
    };
    let is_preview = fields.get("do") == Some("preview");
    let mut is_gone = false;
    let (article, done) = match before {
        Ok(before) => {
            let article = typed(&fields, before);
            let done = if is_preview {
                Ok(None)
            } else {
                let stored = store(&app, &caller, &fields, &id, version, &article).await;
                stored.map(Some)
            };
            (article, done)
        }
        // What was written must not be lost with it.
        Err(problem) => {
            is_gone = problem.status_code() == StatusCode::NOT_FOUND;
            let problem = if is_gone {
                Problem::new(
                    StatusCode::CONFLICT,
                    format!(
                        "somebody has deleted the article \"{}\" meanwhile: what you wrote is below; save it to make it a new article, without the documents and translations of the old one",
                        cut(&id, 128)
                    ),
                )
            } else {
                problem
            };
            (typed(&fields, blank()), Err(problem))
        }
    };
    // One that is gone becomes a new one.
    let version = if is_gone { 0 } else { version };
    let wished = if is_gone {
        Some(id.as_str())
    } else {
        fields.get("wished")
    };
    let wished = wished.unwrap_or_default().to_owned();
    let problem = match done {
        Ok(Some(id)) => return Ok(Redirect::to(&format!("/knowledge/{id}")).into_response()),
        Ok(None) => None,
        Err(problem) => Some(problem),
    };
    let shell = Shell::new(&app, &caller, "knowledge").problem(problem.as_ref());
    let page = EditPage {
        id: if version > 0 { id } else { String::new() },
        wished,
        version,
        preview: is_preview.then(|| markdown::to_html(&article.text, "/files")),
        ..EditPage::new(&app, shell, &article)
    };
    Ok(render_with(&page, problem.as_ref()))
}

async fn store(
    app: &App,
    caller: &Caller,
    fields: &Fields,
    id: &str,
    version: i64,
    article: &Article,
) -> Result<RecordId, Problem> {
    let id = if version > 0 {
        id.to_owned()
    } else {
        match fields.get("wished") {
            Some(wished) => wished.to_owned(),
            None => match id_of(&article.title) {
                id if is_taken_by_page(&id) => format!("article-{id}"),
                id => id,
            },
        }
    };
    if version == 0 && is_taken_by_page(&id) {
        return Err(Problem::invalid(
            "id",
            format!(
                "\"{id}\" is the address of a page of the console: give the article another id"
            ),
        ));
    }
    if id.is_empty() {
        return Err(Problem::invalid(
            "id",
            "give the article an id of letters, digits, - and _: none can be made from its title",
        ));
    }
    let id = RecordId::new(id).map_err(|e| Problem::invalid("id", format!("id: {e}")))?;
    let body = Body::Article(article.clone());
    // As it would be read back: the same checks as by the API.
    let body = Body::parse(RecordKind::Article, body.to_value()).map_err(|faults| {
        let field = faults.0.first().map_or("", |fault| &fault.field);
        Problem::invalid(field, faults.to_string())
    })?;
    let key = RecordRef::new(RecordKind::Article, id.clone());
    change_one(app, caller, &key, Some(version), Change::Put(Box::new(body)))
        .await
        .map_err(|problem| match (problem.current_version, version) {
            (Some(_), 0) => Problem::invalid(
                "id",
                format!("there is an article \"{id}\" already: give this one another id"),
            ),
            (Some(_), _) => Problem::new(
                problem.status_code(),
                "somebody has changed the article meanwhile: what you wrote is below; open the article in another tab, and bring both together",
            ),
            (None, _) => problem,
        })?;
    Ok(id)
}

#[derive(Template)]
#[template(path = "article_versions.html")]
struct VersionsPage {
    shell: Shell,
    id: String,
    title: String,
    versions: Vec<VersionView>,
    is_cut: bool,
}

struct VersionView {
    version: i64,
    at: When,
    by: String,
    channel: &'static str,
    /// Title, state and text; `None`: it was deleted.
    article: Option<(String, &'static str, String)>,
}

/// The versions of an article, newest first.
pub(crate) async fn versions(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    caller.must_need_to_know("earlier versions of articles")?;
    let (record, article) = stored(&app, &id).await?;
    let page = PageRequest {
        before: None,
        limit: VERSIONS_MAX + 1,
    };
    let found = app.state.store.record_history(&record.record, page).await?;
    let now = app.state.clock.now();
    Ok(render(&VersionsPage {
        shell: Shell::new(&app, &caller, "knowledge"),
        id,
        title: article.title,
        is_cut: found.len() > VERSIONS_MAX,
        versions: found
            .into_iter()
            .take(VERSIONS_MAX)
            .map(|paged| {
                let version = paged.item;
                VersionView {
                    version: version.version,
                    at: When::new(now, version.at),
                    by: version.by.name,
                    channel: channel_words(version.by.channel),
                    article: match version.body {
                        Some(Body::Article(a)) => Some((a.title, state_label(a.state), a.text)),
                        Some(_) | None => None,
                    },
                }
            })
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_what_an_id_may_have() {
        assert_eq!(id_of("Grease the  bearing!"), "grease-the-bearing");
        assert_eq!(id_of("\u{8f74}\u{627f}"), "");
        assert!(RecordId::new(id_of(&"a/b".repeat(200))).is_ok());
    }
}
