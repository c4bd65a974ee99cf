//! E-mail in: what a mail gateway hands on.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use forecare_care::work::{ATTACHMENT_BYTES_MAX, MEDIA_TYPES, NOTE_CHARS_MAX, WorkStep};
use forecare_domain::{Actor, AssetId, Channel, ContactRef, TicketId, Visibility};
use forecare_store::{StoreError, forecare};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::inbox::keep;
use super::tickets::checked_opening;
use super::work::attached;
use crate::also_open::{Again, also_open, said_before};
use crate::app::{App, cut};
use crate::dto::{NewTicketDto, ProductionImpactDto, UrgencyDto};
use crate::extract::ApiJson;
use crate::heard::{Heard, Said, complaint, hear};
use crate::mail::{self, FILES_MAX, Mail, MailFile};
use crate::placing::{Standing, machine_of, standing};
use crate::problem::Problem;
use crate::state::{DeskError, Work, WorkRequest, opening_key};

/// Longest message, bytes: 25 MiB, as most mail servers take.
pub(crate) const MAIL_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Most characters of a message id or a sender.
const LINE_CHARS_MAX: usize = 256;
/// Most characters of a subject that are looked at.
pub(crate) const SUBJECT_CHARS_MAX: usize = 200;

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
    /// The machine it is about, for a new ticket; where not given, the one that sender, subject and text lead to.
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
    /// `opened`, `noted`, `kept` (it waits in the inbox) or `left_out`.
    pub(crate) outcome: &'static str,
    /// The ticket.
    pub(crate) ticket_id: Option<i64>,
    /// Its number in the inbox.
    pub(crate) mail_id: Option<i64>,
    /// Where it opened a ticket: numbers of other open tickets of the machine; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) also_open: Vec<i64>,
}

const LEFT_OUT: EmailTakenDto = EmailTakenDto {
    outcome: "left_out",
    ticket_id: None,
    mail_id: None,
    also_open: Vec::new(),
};

/// What stands before the words of a message that says again what opened the ticket.
const AGAIN: &str =
    "(Written again under the same subject within a day: no second ticket was opened.)\n";

/// What stands before the words of somebody who is no contact of the machine's customer.
const STRANGER: &str = "(From an address that is no contact of this customer.)\n";

/// A message, wherever it came from.
pub(crate) struct Incoming {
    pub(crate) message_id: String,
    pub(crate) from: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) kind: Option<String>,
    pub(crate) files: Vec<MailFile>,
    /// A list passed it on, or the sender wants no answer by itself: none is sent.
    pub(crate) is_listed: bool,
}

impl Incoming {
    /// Of a message as it came.
    pub(crate) fn of(mail: Mail) -> Self {
        let (files, left_out) = kept(mail.files);
        let mut text = mail.text;
        for name in left_out {
            text.push_str(&format!("\n(file left out: {name})"));
        }
        Self {
            message_id: mail.message_id,
            from: mail.from,
            subject: mail.subject,
            text,
            kind: None,
            files,
            is_listed: mail.is_listed,
        }
    }

    /// Who wrote it.
    pub(crate) fn by(&self) -> Actor {
        Actor {
            name: sender_name(&self.from),
            channel: Channel::Email,
        }
    }

    fn check(&self) -> Result<(), Problem> {
        for (field, text) in [("message_id", &self.message_id), ("from", &self.from)] {
            let length = text.trim().chars().count();
            if length == 0 || length > LINE_CHARS_MAX || text.chars().any(char::is_control) {
                return Err(Problem::invalid(
                    field,
                    format!("give 1 to {LINE_CHARS_MAX} characters in one line"),
                ));
            }
        }
        Ok(())
    }

    fn key(&self) -> String {
        email_key(&self.message_id)
    }
}

/// The key under which a message counts once.
pub(crate) fn email_key(message_id: &str) -> String {
    format!("email:{}", message_id.trim())
}

/// Takes a message from a mail gateway
///
/// A reply with the number of a ticket in its subject becomes a note of it, which the customer may read, and its
/// technician is told; where that ticket is closed, it opens one that follows it up. Any other opens a ticket for
/// `asset_id`, or the machine that sender, subject and text lead to; where that is none or several, it is `kept` in the
/// inbox until somebody says where it belongs. Under a subject with which the same sender has opened a ticket of the machine
/// within a day, it is `noted` there. The same `message_id` again changes nothing. Where the machine has a
/// customer and the sender's address is no contact of theirs, the text says so, a note is internal, and a new ticket's title is neutral.
#[utoipa::path(post, path = "/api/v1/inbound/email", tag = "tickets", request_body = EmailDto,
    responses((status = 200, description = "what became of it", body = EmailTakenDto)))]
pub(crate) async fn email(
    State(app): State<App>,
    ApiJson(mail): ApiJson<EmailDto>,
) -> Result<Json<EmailTakenDto>, Problem> {
    if mail.auto_submitted {
        return Ok(Json(LEFT_OUT));
    }
    let incoming = Incoming {
        message_id: mail.message_id,
        from: mail.from,
        subject: mail.subject,
        text: mail::own_words(&mail.text),
        kind: mail.kind,
        files: Vec::new(),
        is_listed: false,
    };
    incoming.check()?;
    if let Some(id) = numbered(&incoming.subject) {
        return put_to(&app, id, incoming).await.map(Json);
    }
    if let Some(asset) = mail.asset_id {
        return open_for(&app, asset, incoming).await.map(Json);
    }
    place(&app, incoming, &[], None).await.map(Json)
}

/// Takes a message as it came
///
/// For a mail server that pipes messages: RFC 5322 with MIME, at most 25 MiB. As above; its own words without what it
/// answers to become the text, pictures, PDFs and texts become files of the ticket, and what machines and mailing lists
/// send is left out. An answer to a message of ours is found by its number or by what it answers to. A new ticket is about
/// the machine that is named behind a plus in the address it was sent to (`care+pump-1@example.com`), else about the only
/// machine of the customer whose contact sent it, else about the only one of theirs that it names by serial number, id or
/// name. Whether the sender is who they say is the mail server's to check.
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
    let (answers, tags) = (mail.answers, mail.tags.clone());
    let incoming = Incoming::of(mail);
    incoming.check()?;
    // Others number their tickets likewise.
    if let Some(id) = numbered(&incoming.subject)
        && is_there(&app, id).await?
    {
        return put_to(&app, id, incoming).await.map(Json);
    }
    // Programs keep what they answer to, people change subjects.
    if let Some(id) = answers.map(TicketId)
        && is_there(&app, id).await?
    {
        return put_to(&app, id, incoming).await.map(Json);
    }
    place(&app, incoming, &tags, Some(raw.into()))
        .await
        .map(Json)
}

async fn is_there(app: &App, id: TicketId) -> Result<bool, Problem> {
    match app.state.store.ticket(id).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound(_)) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// Opens a ticket where the machine is known, and keeps the message where it is not.
async fn place(
    app: &App,
    mail: Incoming,
    tags: &[String],
    raw: Option<Vec<u8>>,
) -> Result<EmailTakenDto, Problem> {
    let address = address(&mail.from).to_lowercase();
    // What a ticket keeps of it: names are looked for in no more.
    let words = format!(
        "{}\n{}",
        cut(&mail.subject, SUBJECT_CHARS_MAX),
        cut(&mail.text, NOTE_CHARS_MAX)
    );
    let placed = machine_of(app, &address, tags, &words).await?;
    match placed.asset {
        Some(asset) => open_for(app, asset.into(), mail).await,
        None => keep(app, mail, address, placed, raw).await,
    }
}

/// Puts files to the ticket that a message has become; says which were left out.
async fn put_files(
    app: &App,
    ticket: TicketId,
    files: Vec<MailFile>,
    by: &Actor,
    key: &str,
) -> Result<(), Problem> {
    let mut refusals = Vec::new();
    for (n, file) in files.into_iter().enumerate() {
        let name = file.name.clone();
        let request = WorkRequest {
            step: Work::Step(attached(file.name, file.media_type, None, file.content)),
            if_version: None,
            idempotency_key: Some(format!("{key}:{n}")),
        };
        let put = app.state.desk.work(ticket, request, by.clone());
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
            idempotency_key: Some(format!("{key}:left-out")),
        };
        // Ours, not the customer's: nobody is woken for it.
        let noted = app.state.desk.work(ticket, request, forecare());
        let noted = noted.await;
        if let Err(refused) = noted {
            tracing::warn!(ticket.id = %ticket, %refused, text, "files of a message were left out");
        }
    }
    Ok(())
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

/// Puts a message to the ticket that it answers.
async fn put_to(app: &App, id: TicketId, mail: Incoming) -> Result<EmailTakenDto, Problem> {
    let (by, key) = (mail.by(), mail.key());
    let text = cut(mail.text.trim(), NOTE_CHARS_MAX);
    let text = if text.is_empty() {
        cut(&mail.subject, SUBJECT_CHARS_MAX)
    } else {
        text
    };
    let ticket = match app.state.store.ticket(id).await {
        Ok(ticket) => ticket,
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
    let (text, visibility, contact) =
        match standing(app, &ticket.asset, Some(&ticket), address(&mail.from)).await? {
            Standing::Stranger => {
                let marked = cut(&format!("{STRANGER}{text}"), NOTE_CHARS_MAX);
                (marked, Visibility::Internal, None)
            }
            Standing::Contact(id) => (text, Visibility::Public, Some(id)),
            Standing::Unknown => (text, Visibility::Public, None),
        };
    let contact = contact.filter(|_| !mail.is_listed);
    let said = Said {
        text,
        visibility,
        kind: mail.kind.unwrap_or_else(complaint),
        key: Some(key.clone()),
        contact: contact.clone(),
    };
    let (outcome, ticket) = match hear(app, id, said, &by).await? {
        Heard::Noted(ticket) => {
            if let Some(contact) = contact {
                answered_to(app, ticket, contact, &key).await;
            }
            ("noted", ticket)
        }
        Heard::FollowedUp(ticket) => ("opened", ticket),
    };
    put_files(app, ticket, mail.files, &by, &key).await?;
    Ok(EmailTakenDto {
        outcome,
        ticket_id: Some(ticket.0),
        mail_id: None,
        also_open: Vec::new(),
    })
}

/// From now on `contact` is answered before others. The message itself is kept: what fails here is said in the log.
async fn answered_to(app: &App, ticket: TicketId, contact: ContactRef, key: &str) {
    let request = WorkRequest {
        step: Work::Step(WorkStep::Contact(contact)),
        if_version: None,
        // A message delivered again does not take the conversation back.
        idempotency_key: Some(format!("{key}:contact")),
    };
    if let Err(refused) = app.state.desk.work(ticket, request, forecare()).await {
        tracing::warn!(ticket.id = %ticket, %refused, "who wrote is not known to the ticket");
    }
}

/// Opens a ticket for a message about `asset`; where its sender has opened one under the same subject within a day, and
/// that is open, it becomes a note of it.
pub(crate) async fn open_for(
    app: &App,
    asset: String,
    mut mail: Incoming,
) -> Result<EmailTakenDto, Problem> {
    let (by, key) = (mail.by(), mail.key());
    let text = cut(mail.text.trim(), NOTE_CHARS_MAX);
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let subject: String = mail.subject.chars().map(one_line).collect();
    let id = AssetId::new(&asset).ok();
    let standing = match &id {
        Some(id) => standing(app, id, None, address(&mail.from)).await?,
        None => Standing::Unknown,
    };
    let has_subject = !subject.trim().is_empty();
    let (title, text, contact) = match standing {
        // Customers see titles: not in a stranger's words.
        Standing::Stranger => (
            format!("E-mail about {asset}"),
            cut(&format!("{STRANGER}{subject}\n{text}"), NOTE_CHARS_MAX),
            None,
        ),
        Standing::Contact(id) => (subject, text, Some(id)),
        Standing::Unknown => (subject, text, None),
    };
    let title = cut(title.trim(), SUBJECT_CHARS_MAX);
    if let Some(id) = id.filter(|_| has_subject)
        && app.state.store.outcome(&opening_key(&key)).await?.is_none()
    {
        let begin = format!("{STRANGER}{}\n", mail.subject.trim());
        let begin = text.starts_with(STRANGER).then_some(begin.as_str());
        let said = Again {
            by: &by,
            title: &title,
            words: begin,
            key: &key,
        };
        if let Some(before) = said_before(app, &id, said).await? {
            mail.text = format!("{AGAIN}{}", mail.text.trim());
            return put_to(app, before, mail).await;
        }
    }
    let mut request = checked_opening(NewTicketDto {
        asset_id: asset,
        kind: mail.kind.unwrap_or_else(|| "corrective".to_owned()),
        title,
        description: text,
        safety: false,
        production: ProductionImpactDto::None,
        urgency: UrgencyDto::Medium,
        mode: None,
        fields: std::collections::BTreeMap::new(),
        parent_id: None,
    })?;
    request.contact = contact.filter(|_| !mail.is_listed);
    request.idempotency_key = Some(key.clone());
    let opened = app.state.desk.open_ticket(request, by.clone()).await?;
    let ticket = opened.id;
    put_files(app, ticket, mail.files, &by, &key).await?;
    let others = also_open(app, &opened).await?;
    Ok(EmailTakenDto {
        outcome: "opened",
        ticket_id: Some(ticket.0),
        mail_id: None,
        also_open: others.iter().map(|other| other.id.0).collect(),
    })
}

/// The address of `Bo Lund <bo@example.com>`.
fn address(from: &str) -> &str {
    let bracketed = from.rsplit_once('<').map_or(from, |(_, rest)| rest);
    bracketed.trim().trim_end_matches('>').trim()
}

/// The name before the address, else what stands before its `@`.
pub fn sender_name(from: &str) -> String {
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
            assert_eq!(sender_name(from), name);
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
