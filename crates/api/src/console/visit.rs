//! The customer's page before the work begins: choose when somebody comes.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use forecare_care::appointments::{NotChoosable, agreed_start};
use forecare_care::visit_start;
use forecare_domain::{Actor, Channel, Ticket, TicketId, Timestamp, Visibility};
use sha2::{Digest, Sha256};

use super::answer::{COMMENT_CHARS_MAX, Words};
use super::conversation::{self, MessageView};
use super::form::Fields;
use super::format::span;
use super::shell::render;
use crate::app::{App, cut};
use crate::heard::{Said, complaint, hear};
use crate::problem::Problem;
use crate::state::DeskError;

#[derive(Template)]
#[template(path = "visit.html")]
struct VisitPage {
    words: &'static Words,
    ticket: String,
    title: String,
    asset: String,
    /// When somebody comes, where that is known.
    agreed: Option<String>,
    /// Values and words of the times there are.
    slots: Vec<(String, String)>,
    /// Why no time is offered.
    why_none: Option<&'static str>,
    can_choose: bool,
    time_zone: String,
    stands: &'static str,
    conversation: Vec<MessageView>,
    /// Tells a message sent twice from one in the same words.
    once: String,
    said: Option<&'static str>,
    problem: Option<&'static str>,
    message_max: usize,
    /// A message that was not taken, to be changed.
    typed: String,
}

pub(super) async fn show(
    app: &App,
    words: &'static Words,
    ticket: &Ticket,
    said: Option<&'static str>,
    (problem, typed): (Option<&'static str>, &str),
) -> Result<Response, Problem> {
    let asset = app.state.store.asset(&ticket.asset).await?;
    let appointments = &app.state.appointments;
    let calendar = &appointments.calendar;
    let now = app.state.clock.now();
    let agreed = agreed_start(ticket).or_else(|| visit_start(ticket));
    let agreed = agreed.filter(|at| *at >= now).map(|at| {
        let (from, to) = appointments.window_of(at).unwrap_or((at, at));
        span(calendar, &words.weekdays, from, to)
    });
    let (slots, why_none) = match appointments.check(ticket, now) {
        Err(NotChoosable::TooNear) => (Vec::new(), Some(words.too_near)),
        Err(NotChoosable::Begun) => (Vec::new(), Some(words.begun)),
        Ok(()) => match app.state.desk.slots(ticket.id).await {
            Ok(slots) if slots.is_empty() => (slots, Some(words.no_slots)),
            Ok(slots) => (slots, None),
            Err(failure) => {
                tracing::warn!(ticket.id = %ticket.id, error = %failure, "no times to choose among");
                (Vec::new(), Some(words.no_slots))
            }
        },
    };
    // Said once.
    let shown_why = why_none.filter(|why| problem != Some(*why));
    let mut response = render(&VisitPage {
        words,
        ticket: ticket.id.to_string(),
        title: ticket.title.clone(),
        asset: asset.map_or_else(|| ticket.asset.to_string(), |a| a.name),
        agreed,
        slots: slots
            .iter()
            .map(|s| {
                (
                    s.from.to_string(),
                    span(calendar, &words.weekdays, s.from, s.to),
                )
            })
            .collect(),
        can_choose: why_none.is_none(),
        why_none: shown_why,
        time_zone: calendar.time_zone().to_owned(),
        stands: words.of_state(ticket.state),
        conversation: conversation::read(app, words, ticket).await?,
        once: app.form_key(),
        said,
        problem,
        message_max: COMMENT_CHARS_MAX,
        typed: problem.map_or_else(String::new, |_| typed.to_owned()),
    });
    if problem.is_some() {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

/// Takes the time that was chosen, or passes on what was written.
pub(super) async fn answer(
    app: &App,
    words: &'static Words,
    ticket: &Ticket,
    fields: &Fields,
) -> Result<Response, Problem> {
    let by = Actor {
        name: "customer".to_owned(),
        channel: Channel::Customer,
    };
    let id = ticket.id;
    let (said, problem) = if let Some(slot) = fields.get("slot") {
        match slot.parse::<Timestamp>() {
            Err(_no_time) => (None, Some(words.nothing_chosen)),
            Ok(from) => match app.state.desk.take_slot(id, from, by).await {
                Ok(_) => (Some(words.agreed_thanks), None),
                Err(DeskError::Conflict(_) | DeskError::PreconditionFailed { .. }) => {
                    let ticket = app.state.store.ticket(id).await?;
                    let now = app.state.clock.now();
                    let why = match app.state.appointments.check(&ticket, now) {
                        Err(NotChoosable::TooNear) => words.too_near,
                        Err(NotChoosable::Begun) => words.begun,
                        Ok(()) => words.taken,
                    };
                    (None, Some(why))
                }
                Err(failure) => {
                    tracing::warn!(ticket.id = %id, error = %failure, "a customer's time was not laid down");
                    (None, Some(words.later))
                }
            },
        }
    } else {
        written(app, words, id, fields).await
    };
    let ticket = app.state.store.ticket(id).await?;
    let typed = fields.get("message").unwrap_or_default();
    show(app, words, &ticket, said, (problem, typed)).await
}

fn hex_digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Passes on what was written: what to say to that, or what is in the way.
pub(super) async fn written(
    app: &App,
    words: &'static Words,
    id: TicketId,
    fields: &Fields,
) -> (Option<&'static str>, Option<&'static str>) {
    let Some(text) = fields.get("message") else {
        return (None, Some(words.nothing_chosen));
    };
    if text.chars().count() > COMMENT_CHARS_MAX {
        return (None, Some(words.too_long));
    }
    let once = cut(fields.get("once").unwrap_or_default(), 64);
    let by = Actor {
        name: "customer".to_owned(),
        channel: Channel::Customer,
    };
    let said = Said {
        visibility: Visibility::Public,
        text: text.to_owned(),
        kind: complaint(),
        // Sent twice by a double click it is one message.
        key: Some(format!("visit:{}", hex_digest(&format!("{once}\n{text}")))),
        contact: None,
    };
    match hear(app, id, said, &by).await {
        Ok(_) => (Some(words.message_thanks), None),
        Err(failure) => {
            tracing::warn!(ticket.id = %id, error = %failure, "a customer's message was not kept");
            (None, Some(words.later))
        }
    }
}
