//! E-mail in: what a mail gateway hands on.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use forecare_care::work::{ATTACHMENT_BYTES_MAX, MEDIA_TYPES, NOTE_CHARS_MAX, WorkStep};
use forecare_domain::{Actor, AssetId, Channel, TicketId, Visibility};
use forecare_registry::{Body, ContactChannel, RecordId, RecordKind, RecordRef};
use forecare_store::{RecordFilter, StoreError, forecare};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tickets::checked_opening;
use super::work::attached;
use crate::app::{App, cut};
use crate::dto::{NewTicketDto, ProductionImpactDto, UrgencyDto};
use crate::extract::ApiJson;
use crate::heard::{Heard, Said, complaint, hear};
use crate::mail::{self, FILES_MAX, MailFile};
use crate::overview::{referring, whole};
use crate::problem::Problem;
use crate::state::{DeskError, Work, WorkRequest};

/// Longest message, bytes: 25 MiB, as most mail servers take.
pub(crate) const MAIL_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Customers that are looked through for a sender.
const CUSTOMERS_MAX: usize = 20_000;
/// Most characters of a message id or a sender.
const LINE_CHARS_MAX: usize = 256;
/// Most characters of a subject that are looked at.
const SUBJECT_CHARS_MAX: usize = 200;

/// A message, as a mail gateway hands it on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailDto {
    /// Its `Message-ID`: the same again changes nothing.
    pub(crate) message_id: String,
    /// Who sent it: `Bo Lund <bo@example.com>`. Not verified here: that is the gateway's. Of it only the name is kept, as
    /// those who only read tickets know no addresses.
    pub(crate) from: String,
    /// Its subject: with `[#7]` or `[T-7]` it belongs to ticket 7.
    #[serde(default)]
    pub(crate) subject: String,
    /// Its text. What it answers to and the signature are left out; what is longer than 4,000 characters is cut.
    #[serde(default)]
    pub(crate) text: String,
    /// The machine it is about, for a new ticket; where not given, the only machine of the customer whose contact sent it.
    #[serde(default)]
    pub(crate) asset_id: Option<String>,
    /// Kind of a new ticket; `corrective` where not given, `complaint` after a closed one.
    #[serde(default)]
    pub(crate) kind: Option<String>,
    /// True: a machine wrote it (`Auto-Submitted`); it is left out.
    #[serde(default)]
    pub(crate) auto_submitted: bool,
}

/// What became of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmailTakenDto {
    /// `opened`, `noted` or `left_out`.
    pub(crate) outcome: &'static str,
    /// The ticket.
    pub(crate) ticket_id: Option<i64>,
}

const LEFT_OUT: EmailTakenDto = EmailTakenDto {
    outcome: "left_out",
    ticket_id: None,
};

/// What stands before the words of somebody who is no contact of the machine's customer.
const STRANGER: &str = "(From an address that is no contact of this customer.)\n";

/// A message, wherever it came from.
struct Incoming {
    message_id: String,
    from: String,
    subject: String,
    text: String,
    asset_id: Option<String>,
    kind: Option<String>,
}

/// Takes a message from a mail gateway
///
/// A reply with the number of a ticket in its subject becomes a note of it, which the customer may read, and its
/// technician is told; where that ticket is closed, it opens one that follows it up. Any other opens a ticket for
/// `asset_id`. The same `message_id` again changes nothing. Where the machine has a customer and the sender's address is no
/// contact of theirs, the text says so, a note is internal, and a new ticket's title is neutral.
#[utoipa::path(post, path = "/api/v1/inbound/email", tag = "tickets", request_body = EmailDto,
    responses((status = 200, description = "what became of it", body = EmailTakenDto)))]
pub(crate) async fn email(
    State(app): State<App>,
    ApiJson(mail): ApiJson<EmailDto>,
) -> Result<Json<EmailTakenDto>, Problem> {
    if mail.auto_submitted {
        return Ok(Json(LEFT_OUT));
    }
    let asset_id = match (mail.asset_id, numbered(&mail.subject)) {
        (None, None) => Some(machine_of(&app, address(&mail.from), &[]).await?),
        (given, _) => given,
    };
    let incoming = Incoming {
        message_id: mail.message_id,
        from: mail.from,
        subject: mail.subject,
        text: mail::own_words(&mail.text),
        asset_id,
        kind: mail.kind,
    };
    take(&app, incoming).await.map(|(taken, _)| Json(taken))
}

/// Takes a message as it came
///
/// For a mail server that pipes messages: RFC 5322 with MIME, at most 25 MiB. As above; its own words without what it
/// answers to become the text, pictures, PDFs and texts become files of the ticket, and what machines and mailing lists
/// send is left out. A new ticket is about the machine that is named behind a plus in the address it was sent to
/// (`care+pump-1@example.com`), else about the only machine of the customer whose contact sent it. Whether the sender is
/// who they say is the mail server's to check.
#[utoipa::path(post, path = "/api/v1/inbound/email/raw", tag = "tickets",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the message; message/rfc822 is as good"),
    responses((status = 200, description = "what became of it", body = EmailTakenDto)))]
pub(crate) async fn raw_email(
    State(app): State<App>,
    request: Request,
) -> Result<Json<EmailTakenDto>, Problem> {
    let raw = to_bytes(request.into_body(), MAIL_BYTES_MAX).await;
    let raw = raw.map_err(|_cause| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the message has more than {MAIL_BYTES_MAX} bytes"),
        )
    })?;
    let mail = mail::parse(&raw).map_err(|what| Problem::invalid("body", what))?;
    if mail.is_automatic {
        return Ok(Json(LEFT_OUT));
    }
    let asset_id = match numbered(&mail.subject) {
        Some(_) => None,
        None => Some(machine_of(&app, &mail.address, &mail.tags).await?),
    };
    let (files, left_out) = kept(mail.files);
    let mut text = mail.text;
    for name in left_out {
        text.push_str(&format!("\n(file left out: {name})"));
    }
    let incoming = Incoming {
        message_id: mail.message_id.clone(),
        from: mail.from,
        subject: mail.subject,
        text,
        asset_id,
        kind: None,
    };
    let (taken, by) = take(&app, incoming).await?;
    if let Some(ticket) = taken.ticket_id {
        let mut refusals = Vec::new();
        for (n, file) in files.into_iter().enumerate() {
            let name = file.name.clone();
            let request = WorkRequest {
                step: Work::Step(attached(file.name, file.media_type, None, file.content)),
                if_version: None,
                idempotency_key: Some(format!("email:{}:{n}", mail.message_id.trim())),
            };
            let put = app.state.desk.work(TicketId(ticket), request, by.clone());
            match put.await {
                Ok(_) => {}
                // It is not what it claims to be, or there is no room: the message itself is kept.
                Err(refused @ (DeskError::Invalid(_) | DeskError::Conflict(_))) => {
                    refusals.push(format!("{name}: {refused}"));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        if !refusals.is_empty() {
            let text = format!("Files of the message left out: {}", refusals.join("; "));
            let request = WorkRequest {
                step: Work::Step(WorkStep::Note {
                    text: cut(&text, NOTE_CHARS_MAX),
                    visibility: Visibility::Internal,
                }),
                if_version: None,
                idempotency_key: Some(format!("email:{}:left-out", mail.message_id.trim())),
            };
            // Ours, not the customer's: nobody is woken for it.
            let noted = app.state.desk.work(TicketId(ticket), request, forecare());
            let noted = noted.await;
            if let Err(refused) = noted {
                tracing::warn!(ticket.id = ticket, %refused, text, "files of a message were left out");
            }
        }
    }
    Ok(Json(taken))
}

/// The files that tickets take, and names of the others.
fn kept(files: Vec<MailFile>) -> (Vec<MailFile>, Vec<String>) {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for mut file in files {
        let fits = MEDIA_TYPES.contains(&file.media_type.as_str())
            && file.content.len() <= ATTACHMENT_BYTES_MAX
            && kept.len() < FILES_MAX;
        file.name = file
            .name
            .chars()
            .filter(|c| !c.is_control() && !"/\\\"".contains(*c))
            .take(100)
            .collect();
        if fits {
            kept.push(file);
        } else if left_out.len() < FILES_MAX {
            left_out.push(file.name);
        }
    }
    (kept, left_out)
}

/// The machine that a message without a ticket's number is about.
async fn machine_of(app: &App, address: &str, tags: &[String]) -> Result<String, Problem> {
    for tag in tags {
        if let Ok(id) = AssetId::new(tag)
            && app.state.store.asset(&id).await?.is_some()
        {
            return Ok(tag.clone());
        }
    }
    let mut machines = Vec::new();
    for record in whole(
        app,
        RecordKind::Customer,
        &RecordFilter::default(),
        CUSTOMERS_MAX,
    )
    .await?
    {
        let Some(Body::Customer(customer)) = &record.body else {
            continue;
        };
        let mut addresses = customer.contacts.iter().flat_map(|c| &c.channels);
        if addresses.any(|a| a.address.eq_ignore_ascii_case(address)) {
            machines.extend(referring(app, RecordKind::Asset, &record.record).await?);
        }
    }
    match machines.as_slice() {
        [one] => Ok(one.record.id.to_string()),
        [] => Err(Problem::invalid(
            "asset_id",
            "which machine this is about is not known: give asset_id, reply with a ticket's number ([#7]) in the subject, or write to an address with the machine behind a plus (care+pump-1@...)",
        )),
        many => Err(Problem::invalid(
            "asset_id",
            format!(
                "the sender has {} machines: give asset_id, or write to an address with one of them behind a plus, as in care+{}@...",
                many.len(),
                many[0].record.id
            ),
        )),
    }
}

/// Puts a message where it belongs; who wrote it, too.
async fn take(app: &App, mail: Incoming) -> Result<(EmailTakenDto, Actor), Problem> {
    for (field, text) in [("message_id", &mail.message_id), ("from", &mail.from)] {
        let length = text.trim().chars().count();
        if length == 0 || length > LINE_CHARS_MAX || text.chars().any(char::is_control) {
            return Err(Problem::invalid(
                field,
                format!("give 1 to {LINE_CHARS_MAX} characters in one line"),
            ));
        }
    }
    let by = Actor {
        name: sender(&mail.from),
        channel: Channel::Email,
    };
    let key = Some(format!("email:{}", mail.message_id.trim()));
    let text = cut(mail.text.trim(), NOTE_CHARS_MAX);
    if let Some(id) = numbered(&mail.subject) {
        let text = if text.is_empty() {
            cut(&mail.subject, SUBJECT_CHARS_MAX)
        } else {
            text
        };
        let asset = match app.state.store.ticket(id).await {
            Ok(ticket) => ticket.asset,
            Err(StoreError::NotFound(_)) => {
                return Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    format!(
                        "there is no ticket {id}, which the subject names; for a new one write without a number in brackets"
                    ),
                ));
            }
            Err(failure) => return Err(failure.into()),
        };
        let (text, visibility) = if is_stranger(app, &asset, &mail.from).await? {
            let marked = cut(&format!("{STRANGER}{text}"), NOTE_CHARS_MAX);
            (marked, Visibility::Internal)
        } else {
            (text, Visibility::Public)
        };
        let said = Said {
            text,
            visibility,
            kind: mail.kind.unwrap_or_else(complaint),
            key,
        };
        let (outcome, ticket) = match hear(app, id, said, &by).await? {
            Heard::Noted(ticket) => ("noted", ticket),
            Heard::FollowedUp(ticket) => ("opened", ticket),
        };
        let ticket_id = Some(ticket.0);
        return Ok((EmailTakenDto { outcome, ticket_id }, by));
    }
    let asset_id = mail.asset_id.unwrap_or_default();
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let subject: String = mail.subject.chars().map(one_line).collect();
    let (title, text) = match AssetId::new(&asset_id) {
        // Customers see titles: not in a stranger's words.
        Ok(asset) if is_stranger(app, &asset, &mail.from).await? => (
            format!("E-mail about {asset}"),
            cut(&format!("{STRANGER}{subject}\n{text}"), NOTE_CHARS_MAX),
        ),
        Ok(_) | Err(_) => (subject, text),
    };
    let mut request = checked_opening(NewTicketDto {
        asset_id,
        kind: mail.kind.unwrap_or_else(|| "corrective".to_owned()),
        title: cut(title.trim(), SUBJECT_CHARS_MAX),
        description: text,
        safety: false,
        production: ProductionImpactDto::None,
        urgency: UrgencyDto::Medium,
        mode: None,
        fields: std::collections::BTreeMap::new(),
        parent_id: None,
    })?;
    request.idempotency_key = key;
    let ticket = app.state.desk.open_ticket(request, by.clone()).await?;
    let taken = EmailTakenDto {
        outcome: "opened",
        ticket_id: Some(ticket.id.0),
    };
    Ok((taken, by))
}

/// Whether `asset` has a customer, and the address of `from` is no contact of theirs.
async fn is_stranger(app: &App, asset: &AssetId, from: &str) -> Result<bool, Problem> {
    let store = &app.state.store;
    let key = RecordRef::new(RecordKind::Asset, RecordId::from(asset));
    let customer = match store.record(&key).await?.and_then(|found| found.body) {
        Some(Body::Asset(details)) => details.customer,
        Some(_) | None => None,
    };
    let Some(id) = customer else { return Ok(false) };
    let key = RecordRef::new(RecordKind::Customer, id);
    let Some(Body::Customer(customer)) = store.record(&key).await?.and_then(|found| found.body)
    else {
        return Ok(false);
    };
    let address = address(from);
    let channels = customer.contacts.iter().flat_map(|c| &c.channels);
    let mut known = channels
        .filter(|c| c.kind == ContactChannel::Email)
        .map(|c| &c.address)
        .peekable();
    // Where no address is known, nobody is told apart.
    Ok(known.peek().is_some() && !known.any(|a| a.eq_ignore_ascii_case(address)))
}

/// The address of `Bo Lund <bo@example.com>`.
fn address(from: &str) -> &str {
    let bracketed = from.rsplit_once('<').map_or(from, |(_, rest)| rest);
    bracketed.trim().trim_end_matches('>').trim()
}

/// The name before the address, else what stands before its `@`.
fn sender(from: &str) -> String {
    let (name, address) = from.split_once('<').unwrap_or(("", from));
    let name = name.trim().trim_matches('"').trim();
    if name.is_empty() || name.contains('@') {
        let local = address.split('@').next().unwrap_or_default().trim();
        return if local.is_empty() {
            "unknown sender"
        } else {
            local
        }
        .to_owned();
    }
    name.to_owned()
}

/// The ticket that a subject names: `Re: [#7] leak`.
fn numbered(subject: &str) -> Option<TicketId> {
    let subject = cut(subject, 2 * SUBJECT_CHARS_MAX);
    subject.split('[').skip(1).find_map(|rest| {
        let (inside, _) = rest.split_once(']')?;
        let number = inside
            .strip_prefix('#')
            .or_else(|| inside.strip_prefix("T-"))?;
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        number.parse().ok().filter(|_| is_number).map(TicketId)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_sender_the_name_is_kept_and_not_the_address() {
        for (from, name) in [
            ("Bo Lund <bo@example.com>", "Bo Lund"),
            ("\"Lund, Bo\" <bo@example.com>", "Lund, Bo"),
            ("<bo@example.com>", "bo"),
            ("bo@example.com", "bo"),
            ("bo@example.com <bo@example.com>", "bo"),
            ("<@>", "unknown sender"),
        ] {
            assert_eq!(sender(from), name);
        }
    }

    #[test]
    fn the_first_number_in_brackets_names_the_ticket() {
        for (subject, id) in [
            ("Re: [#7] leak", Some(7)),
            ("AW: [T-12] [#7]", Some(12)),
            ("[list] Re: [#3]", Some(3)),
            ("#7 without brackets", None),
            ("[#] [#-1] [#7x] [# 7]", None),
            ("[#99999999999999999999]", None),
            ("", None),
        ] {
            assert_eq!(numbered(subject).map(|t| t.0), id, "{subject}");
        }
    }
}
