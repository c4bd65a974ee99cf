//! The inbox: messages by e-mail of which nobody knows yet which machine they are about.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use forecare_care::work::NOTE_CHARS_MAX;
use forecare_domain::{
    Actor, InboxMail, MailFate, Notice, NoticeId, NoticeKind, Priority, TicketId, Timestamp,
};
use forecare_store::{CareOutcome, NewMail, PageRequest, Paged};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::assets::WHY_CHARS_MAX;
use super::inbound::{EmailTakenDto, Incoming, SUBJECT_CHARS_MAX, email_key, open_for};
use super::work::hexadecimal;
use crate::app::{App, Caller, cut};
use crate::extract::{ApiJson, ApiPath, ApiQuery};
use crate::mail;
use crate::page::{List, Page, PageParams};
use crate::placing::Placed;
use crate::problem::Problem;
use crate::state::opening_key;

/// What only those read who work on tickets.
const MAILS: &str = "e-mails";
/// Messages that are looked through for earlier ones of the same sender: the newest.
const LOOKED_THROUGH: usize = 200;
/// Messages of a sender that are acknowledged within an hour.
const ACKNOWLEDGED_PER_HOUR: usize = 3;

/// Which messages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct InboxParams {
    /// True: also those that were placed or discarded.
    #[serde(default)]
    settled: bool,
    /// `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MailStateDto {
    /// It waits for somebody to say where it belongs.
    Waiting,
    /// It opened a ticket.
    Placed,
    /// Nothing is to be done about it.
    Discarded,
}

/// A message of which nobody knew which machine it is about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InboxMailDto {
    /// Its number in the inbox.
    pub(crate) id: i64,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) received_at: Timestamp,
    /// Who sent it.
    pub(crate) from: String,
    /// Its subject.
    pub(crate) subject: String,
    /// Its own words.
    pub(crate) text: String,
    /// Files in it.
    pub(crate) n_files: u32,
    /// Id of the customer whose contact sent it; null: nobody's.
    pub(crate) customer_id: Option<String>,
    /// Machines it may be about.
    pub(crate) candidates: Vec<String>,
    /// What became of it.
    pub(crate) state: MailStateDto,
    /// The ticket that it opened.
    pub(crate) ticket_id: Option<i64>,
    /// Why it was discarded.
    pub(crate) why: Option<String>,
    /// Who placed or discarded it.
    pub(crate) settled_by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) settled_at: Option<Timestamp>,
}

impl InboxMailDto {
    pub(crate) fn new(id: i64, mail: InboxMail) -> Self {
        let (state, ticket_id, why, settled) = match mail.fate {
            MailFate::Waiting => (MailStateDto::Waiting, None, None, None),
            MailFate::Placed { ticket, by, at } => {
                (MailStateDto::Placed, Some(ticket.0), None, Some((by, at)))
            }
            MailFate::Discarded { why, by, at } => {
                (MailStateDto::Discarded, None, Some(why), Some((by, at)))
            }
        };
        Self {
            id,
            received_at: mail.received_at,
            from: mail.from,
            subject: mail.subject,
            text: mail.text,
            n_files: mail.n_files,
            customer_id: mail.customer,
            candidates: mail.candidates.iter().map(ToString::to_string).collect(),
            state,
            ticket_id,
            why,
            settled_at: settled.as_ref().map(|(_, at)| *at),
            settled_by: settled.map(|(by, _)| by.name),
        }
    }
}

/// Where a message belongs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceDto {
    /// The machine.
    pub(crate) asset_id: String,
    /// Kind of the ticket; `corrective` where not given.
    #[serde(default)]
    pub(crate) kind: Option<String>,
}

/// Why nothing is to be done about a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardDto {
    /// In 1 to 500 characters.
    pub(crate) why: String,
}

/// Messages by e-mail of which nobody knows yet which machine they are about, newest first
///
/// For operators only.
#[utoipa::path(get, path = "/api/v1/inbound/mails", tag = "tickets", params(InboxParams),
    responses((status = 200, description = "a page of messages", body = Page<InboxMailDto>)))]
pub(crate) async fn mails(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<InboxParams>,
) -> Result<Json<Page<InboxMailDto>>, Problem> {
    caller.must_need_to_know(MAILS)?;
    let request = PageParams::new(params.cursor, params.limit).request(List::Inbox)?;
    let found = app.state.store.mails(!params.settled, request).await?;
    let found = found.into_iter().map(|Paged { position, item }| Paged {
        position,
        item: InboxMailDto::new(position, item),
    });
    Ok(Json(Page::of(List::Inbox, request, found.collect(), |m| m)))
}

/// One message
///
/// For operators only.
#[utoipa::path(get, path = "/api/v1/inbound/mails/{id}", tag = "tickets",
    params(("id" = i64, Path, description = "its number in the inbox")),
    responses((status = 200, description = "the message", body = InboxMailDto)))]
pub(crate) async fn mail(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<i64>,
) -> Result<Json<InboxMailDto>, Problem> {
    caller.must_need_to_know(MAILS)?;
    let (mail, _) = app.state.store.mail(id).await?;
    Ok(Json(InboxMailDto::new(id, mail)))
}

/// Says which machine a message is about
///
/// It opens a ticket as if the message had just come, with its files, and its sender is told where they are known. Again,
/// it gives the ticket that was opened.
#[utoipa::path(post, path = "/api/v1/inbound/mails/{id}/place", tag = "tickets", request_body = PlaceDto,
    params(
        ("id" = i64, Path, description = "its number in the inbox"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again changes nothing")
    ),
    responses((status = 200, description = "the ticket", body = EmailTakenDto)))]
pub(crate) async fn place(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<i64>,
    ApiJson(body): ApiJson<PlaceDto>,
) -> Result<Json<EmailTakenDto>, Problem> {
    put_on(&app, caller.actor(), id, body).await.map(Json)
}

/// Says that nothing is to be done about a message
#[utoipa::path(post, path = "/api/v1/inbound/mails/{id}/discard", tag = "tickets", request_body = DiscardDto,
    params(
        ("id" = i64, Path, description = "its number in the inbox"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again changes nothing")
    ),
    responses((status = 200, description = "the message", body = InboxMailDto)))]
pub(crate) async fn discard(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<i64>,
    ApiJson(body): ApiJson<DiscardDto>,
) -> Result<Json<InboxMailDto>, Problem> {
    let mail = throw_away(&app, caller.actor(), id, &body.why).await?;
    Ok(Json(InboxMailDto::new(id, mail)))
}

/// Opens the ticket that message `id` is about.
pub(crate) async fn put_on(
    app: &App,
    by: Actor,
    id: i64,
    body: PlaceDto,
) -> Result<EmailTakenDto, Problem> {
    let store = &app.state.store;
    let (known, raw) = store.mail(id).await?;
    if let MailFate::Placed { ticket, .. } = known.fate {
        return Ok(taken("opened", Some(ticket), id));
    }
    if known.fate != MailFate::Waiting {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("message {id} was discarded before"),
        ));
    }
    let parsed = raw.as_deref().map(mail::parse).transpose();
    let parsed = parsed.map_err(|what| Problem::invalid("id", what))?;
    let mut incoming = match parsed {
        Some(mail) => Incoming::of(mail),
        None => Incoming {
            message_id: known.message_id,
            from: known.from,
            subject: known.subject,
            text: known.text,
            kind: None,
            files: Vec::new(),
            is_listed: false,
        },
    };
    incoming.kind = body.kind.or(known.kind);
    // Under the message's own key: placed twice at once, it is one ticket.
    let wanted = body.asset_id.clone();
    let opened = open_for(app, body.asset_id, incoming).await?;
    let Some(ticket) = opened.ticket_id.map(TicketId) else {
        return Ok(opened);
    };
    let at = app.state.clock.now();
    store
        .settle_mail(id, MailFate::Placed { ticket, by, at })
        .await?;
    let asset = store.ticket(ticket).await?.asset;
    if asset.as_str() != wanted {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("message {id} was placed on {asset} before, as {ticket}"),
        ));
    }
    Ok(taken(opened.outcome, Some(ticket), id))
}

/// Discards message `id`.
pub(crate) async fn throw_away(
    app: &App,
    by: Actor,
    id: i64,
    why: &str,
) -> Result<InboxMail, Problem> {
    let why = why.trim();
    if why.is_empty() || why.chars().count() > WHY_CHARS_MAX {
        return Err(Problem::invalid(
            "why",
            format!("say why in 1 to {WHY_CHARS_MAX} characters"),
        ));
    }
    let at = app.state.clock.now();
    let why = why.to_owned();
    let (known, _) = app.state.store.mail(id).await?;
    let key = opening_key(&email_key(&known.message_id));
    if let Some(CareOutcome::Opened { ticket, .. }) = app.state.store.outcome(&key).await? {
        // A colleague is placing it at this moment, or was interrupted in it.
        let ticket = ticket.id;
        let placed = MailFate::Placed { ticket, by, at };
        app.state.store.settle_mail(id, placed).await?;
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("message {id} was placed before, as {ticket}"),
        ));
    }
    let settled = app
        .state
        .store
        .settle_mail(id, MailFate::Discarded { why, by, at });
    Ok(settled.await?)
}

/// Id of the notice that the message with this `Message-ID` waits in the inbox.
#[must_use]
pub fn unplaced_notice(message_id: &str) -> NoticeId {
    let digest = hexadecimal(message_id.trim().as_bytes());
    NoticeId(format!("mail.{}.unplaced", cut(&digest, 16)))
}

/// Keeps a message that belongs nowhere yet.
pub(super) async fn keep(
    app: &App,
    incoming: Incoming,
    address: String,
    placed: Placed,
    raw: Option<Vec<u8>>,
) -> Result<EmailTakenDto, Problem> {
    let at = app.state.clock.now();
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let subject: String = incoming.subject.chars().map(one_line).collect();
    let subject = cut(subject.trim(), SUBJECT_CHARS_MAX);
    let from = if incoming.is_listed {
        None
    } else {
        acknowledged(app, placed.from.clone(), &address, at).await?
    };
    let notice = Notice {
        id: unplaced_notice(&incoming.message_id),
        at,
        ticket: None,
        asset: None,
        device: None,
        title: if subject.is_empty() {
            "(no subject)".to_owned()
        } else {
            subject.clone()
        },
        priority: Priority::P4,
        state: None,
        technician: None,
        due_at: at,
        why: String::new(),
        automation: Vec::new(),
        what: NoticeKind::MailUnplaced { from },
    };
    let mail = InboxMail {
        message_id: incoming.message_id.trim().to_owned(),
        received_at: at,
        from: incoming.from,
        address,
        subject,
        text: cut(incoming.text.trim(), NOTE_CHARS_MAX),
        n_files: u32::try_from(incoming.files.len()).unwrap_or(u32::MAX),
        kind: incoming.kind,
        customer: placed.from.map(|(customer, _)| customer),
        candidates: placed.candidates,
        fate: MailFate::Waiting,
    };
    let new = NewMail {
        mail,
        content: raw,
        notice,
    };
    let stored = app.state.store.put_mail(new).await?;
    Ok(match stored.item.fate {
        MailFate::Waiting => taken("kept", None, stored.position),
        MailFate::Placed { ticket, .. } => taken("opened", Some(ticket), stored.position),
        MailFate::Discarded { .. } => taken("left_out", None, stored.position),
    })
}

/// Who is told that their message has come: nobody whose program answers ours again and again.
async fn acknowledged(
    app: &App,
    from: Option<(String, String)>,
    address: &str,
    now: Timestamp,
) -> Result<Option<(String, String)>, Problem> {
    if from.is_none() {
        return Ok(None);
    }
    let page = PageRequest {
        before: None,
        limit: LOOKED_THROUGH,
    };
    let before = app.state.store.mails(false, page).await?;
    let same = before
        .iter()
        .map(|paged| &paged.item)
        .filter(|mail| mail.address == address && now.hours_since(mail.received_at) < 1.0);
    Ok(from.filter(|_| same.count() < ACKNOWLEDGED_PER_HOUR))
}

fn taken(outcome: &'static str, ticket: Option<TicketId>, mail: i64) -> EmailTakenDto {
    EmailTakenDto {
        outcome,
        ticket_id: ticket.map(|ticket| ticket.0),
        mail_id: Some(mail),
        also_open: Vec::new(),
    }
}
