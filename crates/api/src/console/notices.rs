//! Deliveries: what people were told, and what is in the way.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_domain::{NoticeKind, SurveyAnswer, TicketId, Timestamp};
use forecare_store::{Delivery, DeliveryFilter, DeliveryState, PageRequest};
use serde::Deserialize;

use super::form::Fields;
use super::format::When;
use super::shell::{Shell, render_with};
use crate::app::{App, Caller};
use crate::extract::ApiQuery;
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;
use crate::routes::notices::{delivery_id, delivery_state};

/// Deliveries and answers shown with a ticket at most; the API has all.
const OF_TICKET_MAX: usize = 50;

/// Which deliveries.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DeliveriesParams {
    #[serde(default)]
    state: String,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct DeliveriesPage {
    shell: Shell,
    /// Empty: all.
    state: String,
    tabs: Vec<(&'static str, &'static str)>,
    deliveries: Vec<DeliveryView>,
    n_dead: u64,
    n_waiting: u64,
    cursor: Option<String>,
    next_cursor: Option<String>,
}

pub(super) struct DeliveryView {
    pub(super) number: i64,
    pub(super) event: &'static str,
    pub(super) about: String,
    pub(super) ticket_number: Option<i64>,
    pub(super) title: String,
    pub(super) channel: String,
    pub(super) recipient: String,
    pub(super) address: String,
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) attempts: u32,
    /// Waiting: when it is tried next.
    pub(super) next: Option<When>,
    pub(super) at: When,
    pub(super) error: String,
    pub(super) is_dead: bool,
}

impl DeliveryView {
    pub(super) fn new(d: &Delivery, needs_to_know: bool, now: Timestamp) -> Self {
        let (state, tone) = match d.state {
            DeliveryState::Waiting if d.attempts > 0 => ("trying again", "warning"),
            DeliveryState::Waiting => ("waiting", "plain"),
            DeliveryState::Delivered => ("delivered", "good"),
            DeliveryState::Dead => ("given up", "critical"),
            DeliveryState::Obsolete => ("obsolete", "plain"),
        };
        let shown = |text: &str| {
            if needs_to_know {
                text.to_owned()
            } else {
                String::new()
            }
        };
        Self {
            number: d.id.0,
            event: event_words(d.notice.what.label()),
            about: d.notice.about(),
            ticket_number: d.notice.ticket.map(|ticket| ticket.0),
            // Of an e-mail it is the subject.
            title: if matches!(d.notice.what, NoticeKind::MailUnplaced { .. }) {
                shown(&d.notice.title)
            } else {
                d.notice.title.clone()
            },
            channel: d.channel.clone(),
            recipient: d.recipient.clone(),
            address: shown(&d.address),
            state,
            tone,
            attempts: d.attempts,
            next: (d.state == DeliveryState::Waiting).then(|| When::new(now, d.next_at)),
            at: When::new(now, d.notice.at),
            error: shown(d.error.as_deref().unwrap_or_default()),
            is_dead: d.state == DeliveryState::Dead,
        }
    }
}

fn event_words(label: &'static str) -> &'static str {
    match label {
        "ticket.opened" => "opened",
        "ticket.changed" => "changed",
        "ticket.assigned" => "assigned",
        "visit.offered" => "visit offered",
        "visit.planned" => "visit planned",
        "ticket.message" => "message",
        "ticket.replied" => "answer",
        "ticket.received" => "acknowledgement",
        "mail.unplaced" => "e-mail to be placed",
        "ticket.resolved" => "resolved",
        "ticket.closed" => "closed",
        "sla.mark" => "service level",
        "sla.escalated" => "escalated",
        "parts.short" => "parts short",
        "automation.message" => "message of a rule",
        "care.lead" => "lead",
        other => other,
    }
}

pub(super) struct AnswerView {
    pub(super) at: When,
    pub(super) solved: Option<bool>,
    pub(super) scores: String,
    pub(super) comment: String,
}

impl AnswerView {
    fn new(a: &SurveyAnswer, needs_to_know: bool, now: Timestamp) -> Self {
        let score = |name: &str, value: Option<u8>, of: u8| {
            value.map(|value| format!("{name} {value} of {of}"))
        };
        let scores = [
            score("satisfaction", a.csat, 5),
            score("would recommend", a.nps, 10),
            score("ease", a.ces, 7),
        ];
        Self {
            at: When::new(now, a.at),
            solved: a.solved,
            scores: scores.into_iter().flatten().collect::<Vec<_>>().join(", "),
            comment: a
                .comment
                .clone()
                .filter(|_| needs_to_know)
                .unwrap_or_default(),
        }
    }
}

/// Who was told about a ticket, and what its customer says.
pub(super) async fn of_ticket(
    app: &App,
    caller: &Caller,
    ticket: TicketId,
    now: Timestamp,
) -> Result<(Vec<DeliveryView>, Vec<AnswerView>), Problem> {
    let page = PageRequest {
        before: None,
        limit: OF_TICKET_MAX,
    };
    let filter = DeliveryFilter {
        ticket: Some(ticket),
        ..DeliveryFilter::default()
    };
    let store = &app.state.store;
    let told = store.deliveries(&filter, page).await?;
    let answers = store.survey_answers(Some(ticket), page).await?;
    let knows = caller.needs_to_know();
    Ok((
        told.iter()
            .map(|d| DeliveryView::new(&d.item, knows, now))
            .collect(),
        answers
            .iter()
            .map(|a| AnswerView::new(&a.item, knows, now))
            .collect(),
    ))
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<DeliveriesParams>,
) -> Result<Response, Problem> {
    show(&app, &caller, params, None).await
}

async fn show(
    app: &App,
    caller: &Caller,
    params: DeliveriesParams,
    problem: Option<&Problem>,
) -> Result<Response, Problem> {
    let filter = DeliveryFilter {
        state: match params.state.as_str() {
            "" => None,
            label => Some(delivery_state(label)?),
        },
        ..DeliveryFilter::default()
    };
    let now = app.state.clock.now();
    let knows = caller.needs_to_know();
    let request = PageParams::new(params.cursor.clone(), None).request(List::Deliveries)?;
    let found = app.state.store.deliveries(&filter, request).await?;
    let depth = app.state.store.outbox_depth().await?;
    let page = Page::of(List::Deliveries, request, found, |d| {
        DeliveryView::new(&d, knows, now)
    });
    let html = DeliveriesPage {
        shell: Shell::new(app, caller, "deliveries").problem(problem),
        state: params.state,
        tabs: vec![
            ("", "All"),
            ("waiting", "Waiting"),
            ("delivered", "Delivered"),
            ("dead", "Given up"),
            ("obsolete", "Obsolete"),
        ],
        deliveries: page.items,
        n_dead: depth.dead,
        n_waiting: depth.waiting,
        cursor: params.cursor,
        next_cursor: page.next_cursor,
    };
    Ok(render_with(&html, problem))
}

/// Tries a dead delivery again.
pub(crate) async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    fields: Fields,
) -> Result<Response, Problem> {
    let now = app.state.clock.now();
    let tried = async {
        let id = delivery_id(fields.need("delivery")?)?;
        app.state.store.retry_delivery(id, now).await?;
        Ok(())
    };
    match tried.await {
        Ok(()) => Ok(Redirect::to("/deliveries?state=dead").into_response()),
        Err(problem) => show(&app, &caller, DeliveriesParams::default(), Some(&problem)).await,
    }
}
