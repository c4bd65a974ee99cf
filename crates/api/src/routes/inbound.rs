//! E-mail in: what a mail gateway hands on.

use axum::Json;
use axum::extract::State;
use forecare_care::work::NOTE_CHARS_MAX;
use forecare_domain::{Actor, Channel, TicketId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tickets::checked_opening;
use crate::app::{App, cut};
use crate::dto::{NewTicketDto, ProductionImpactDto, UrgencyDto};
use crate::extract::ApiJson;
use crate::heard::{Heard, Said, complaint, hear};
use crate::problem::Problem;

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
    /// Its text; what is longer than 4,000 characters is cut.
    #[serde(default)]
    pub(crate) text: String,
    /// The machine it is about, for a new ticket.
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

/// Takes a message from a mail gateway
///
/// A reply with the number of a ticket in its subject becomes a note of it, which the customer may read, and its
/// technician is told; where that ticket is closed, it opens one that follows it up. Any other opens a ticket for
/// `asset_id`. The same `message_id` again changes nothing.
#[utoipa::path(post, path = "/api/v1/inbound/email", tag = "tickets", request_body = EmailDto,
    responses((status = 200, description = "what became of it", body = EmailTakenDto)))]
pub(crate) async fn email(
    State(app): State<App>,
    ApiJson(mail): ApiJson<EmailDto>,
) -> Result<Json<EmailTakenDto>, Problem> {
    for (field, text) in [("message_id", &mail.message_id), ("from", &mail.from)] {
        let length = text.trim().chars().count();
        if length == 0 || length > LINE_CHARS_MAX || text.chars().any(char::is_control) {
            return Err(Problem::invalid(
                field,
                format!("give 1 to {LINE_CHARS_MAX} characters in one line"),
            ));
        }
    }
    if mail.auto_submitted {
        return Ok(Json(EmailTakenDto {
            outcome: "left_out",
            ticket_id: None,
        }));
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
        let said = Said {
            text,
            kind: mail.kind.unwrap_or_else(complaint),
            key,
        };
        let (outcome, ticket) = match hear(&app, id, said, &by).await? {
            Heard::Noted(ticket) => ("noted", ticket),
            Heard::FollowedUp(ticket) => ("opened", ticket),
        };
        return Ok(Json(EmailTakenDto {
            outcome,
            ticket_id: Some(ticket.0),
        }));
    }
    let Some(asset_id) = mail.asset_id else {
        return Err(Problem::invalid(
            "asset_id",
            "the subject names no ticket ([#7]): say which machine it is about",
        ));
    };
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let title: String = mail.subject.chars().map(one_line).collect();
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
    let ticket = app.state.desk.open_ticket(request, by).await?;
    Ok(Json(EmailTakenDto {
        outcome: "opened",
        ticket_id: Some(ticket.id.0),
    }))
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
