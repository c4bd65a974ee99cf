//! The inbox: messages by e-mail that belong nowhere yet.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_domain::{InboxMail, MailFate, Timestamp};
use serde::Deserialize;

use super::form::Fields;
use super::format::When;
use super::shell::{Shell, render_with};
use crate::app::{App, Caller};
use crate::extract::{ApiPath, ApiQuery};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;
use crate::routes::inbox::{PlaceDto, put_on, throw_away};

/// Which messages.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct InboxParams {
    /// `all`: settled ones too.
    #[serde(default)]
    show: String,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "inbox.html")]
struct InboxPage {
    shell: Shell,
    show: String,
    mails: Vec<MailView>,
    kinds: Vec<String>,
    cursor: Option<String>,
    next_cursor: Option<String>,
}

struct MailView {
    number: i64,
    at: When,
    from: String,
    subject: String,
    text: String,
    n_files: u32,
    customer: Option<String>,
    candidates: Vec<String>,
    waiting: bool,
    ticket: Option<i64>,
    /// Who settled it and, where it was discarded, why.
    settled: String,
}

impl MailView {
    fn new(now: Timestamp, number: i64, mail: InboxMail) -> Self {
        let (waiting, ticket, settled) = match mail.fate {
            MailFate::Waiting => (true, None, String::new()),
            MailFate::Placed { ticket, by, .. } => {
                (false, Some(ticket.0), format!("placed by {}", by.name))
            }
            MailFate::Discarded { why, by, .. } => {
                (false, None, format!("discarded by {}: {why}", by.name))
            }
        };
        Self {
            number,
            at: When::new(now, mail.received_at),
            from: mail.from,
            subject: mail.subject,
            text: mail.text,
            n_files: mail.n_files,
            customer: mail.customer,
            candidates: mail.candidates.iter().map(ToString::to_string).collect(),
            waiting,
            ticket,
            settled,
        }
    }
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<InboxParams>,
) -> Result<Response, Problem> {
    show(&app, &caller, params, None).await
}

async fn show(
    app: &App,
    caller: &Caller,
    params: InboxParams,
    problem: Option<&Problem>,
) -> Result<Response, Problem> {
    caller.must_need_to_know("e-mails")?;
    let now = app.state.clock.now();
    let request = PageParams::new(params.cursor.clone(), None).request(List::Inbox)?;
    let found = app.state.store.mails(params.show != "all", request).await?;
    let found = found.into_iter().map(|paged| forecare_store::Paged {
        position: paged.position,
        item: MailView::new(now, paged.position, paged.item),
    });
    let page = Page::of(List::Inbox, request, found.collect(), |view| view);
    let kinds = app.state.tickets.kinds().iter();
    let html = InboxPage {
        shell: Shell::new(app, caller, "tickets").problem(problem),
        show: params.show,
        mails: page.items,
        kinds: kinds.map(|kind| kind.name.to_string()).collect(),
        cursor: params.cursor,
        next_cursor: page.next_cursor,
    };
    Ok(render_with(&html, problem))
}

/// Places a message, or discards it.
pub(crate) async fn settle(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<i64>,
    fields: Fields,
) -> Result<Response, Problem> {
    let done = async {
        if fields.get("discard").is_some() {
            let why = fields.need("why")?;
            throw_away(&app, caller.actor(), id, why).await?;
            return Ok("/inbox".to_owned());
        }
        let body = PlaceDto {
            asset_id: fields.need("asset")?.to_owned(),
            kind: fields.get("kind").map(ToOwned::to_owned),
        };
        let taken = put_on(&app, caller.actor(), id, body).await?;
        Ok(taken.ticket_id.map_or_else(
            || "/inbox".to_owned(),
            |ticket| format!("/tickets/{ticket}"),
        ))
    };
    match done.await {
        Ok(next) => Ok(Redirect::to(&next).into_response()),
        Err(problem) => show(&app, &caller, InboxParams::default(), Some(&problem)).await,
    }
}
