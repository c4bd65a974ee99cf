//! Work on a ticket: notes, time, files, the checklist, duplicates.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_care::work::WorkStep;
use forecare_domain::{
    EntryBody, Priority, Ticket, TicketEntry, TicketId, TicketState, Timestamp, Visibility,
};
use forecare_store::{PageRequest, Paged, TicketFilter};

use super::classify;
use super::form::Fields;
use super::format::{When, duration};
use super::tickets::{channel_words, show};
use super::units;
use super::view::state_words;
use crate::app::{App, Caller, ticket_id};
use crate::extract::ApiPath;
use crate::problem::Problem;
use crate::routes::units::parts_used;
use crate::state::{Work, WorkRequest};
use crate::ticket_search::{PRIORITIES, priority_label};

/// Entries and related tickets shown.
const SHOWN_MAX: usize = 200;

/// What people put to a ticket, and what it has to do with others.
pub(super) struct WorkView {
    pub(super) checklist: Vec<LineView>,
    /// `None`: not for the eyes of who only reads.
    pub(super) entries: Option<Vec<EntryView>>,
    /// Hours spent, where any are.
    pub(super) spent: Option<String>,
    pub(super) parent: Option<i64>,
    pub(super) merged_into: Option<i64>,
    /// Number, title and state.
    pub(super) children: Vec<(i64, String, &'static str)>,
    /// Open tickets of the machine it could be merged into: number and title.
    pub(super) duplicates_of: Vec<(i64, String)>,
    /// Nobody has looked at it yet: that it may be a duplicate is said at the top.
    pub(super) is_fresh_report: bool,
    pub(super) open: bool,
    pub(super) form_key: String,
}

/// A line of the checklist.
pub(super) struct LineView {
    pub(super) text: String,
    pub(super) required: bool,
    /// Who has done it, and when.
    pub(super) done: Option<(String, When)>,
}

/// An entry.
pub(super) struct EntryView {
    pub(super) at: When,
    pub(super) by: String,
    pub(super) channel: &'static str,
    pub(super) text: String,
    pub(super) public: bool,
    /// Address and name of its file.
    pub(super) file: Option<(String, String)>,
    /// The file is a picture.
    pub(super) is_picture: bool,
}

impl EntryView {
    fn new(now: Timestamp, ticket: TicketId, paged: Paged<TicketEntry>) -> Self {
        let entry = paged.item;
        let (mut public, mut file, mut is_picture) = (false, None, false);
        let text = match entry.body {
            EntryBody::Note { text, visibility } => {
                public = visibility == Visibility::Public;
                text
            }
            EntryBody::Time { minutes, what } => {
                let sep = if what.is_empty() { "" } else { ": " };
                format!("{minutes} min{sep}{what}")
            }
            EntryBody::Attachment(kept) => {
                let address = format!(
                    "/api/v1/tickets/{}/attachments/{}",
                    ticket.0, paged.position
                );
                is_picture = kept.media_type.starts_with("image/");
                let size = kept.bytes.div_ceil(1024);
                let signed = kept.signed_by.map(|who| format!("signed by {who}, "));
                let text = format!("{}{size} KiB", signed.unwrap_or_default());
                file = Some((address, kept.name));
                text
            }
        };
        Self {
            at: When::new(now, entry.at),
            by: entry.by.name,
            channel: channel_words(entry.by.channel),
            text,
            public,
            file,
            is_picture,
        }
    }
}

impl WorkView {
    pub(super) async fn read(
        app: &App,
        caller: &Caller,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let store = &app.state.store;
        let page = PageRequest {
            before: None,
            limit: SHOWN_MAX,
        };
        let entries = store.ticket_entries(ticket.id, page).await?;
        let minutes: u64 = entries
            .iter()
            .map(|paged| match paged.item.body {
                EntryBody::Time { minutes, .. } => u64::from(minutes),
                EntryBody::Note { .. } | EntryBody::Attachment(_) => 0,
            })
            .sum();
        let children = TicketFilter {
            parent: Some(ticket.id),
            ..TicketFilter::default()
        };
        let children = store.tickets(&children, page).await?;
        let may_end = forecare_care::allowed(ticket.state).contains(&TicketState::Cancelled);
        let others = if may_end {
            let filter = TicketFilter {
                asset: Some(ticket.asset.clone()),
                open: Some(true),
                ..TicketFilter::default()
            };
            store.tickets(&filter, page).await?
        } else {
            Vec::new()
        };
        Ok(Self {
            checklist: ticket
                .work
                .checklist
                .iter()
                .map(|item| LineView {
                    text: item.text.clone(),
                    required: item.required,
                    done: item
                        .done
                        .as_ref()
                        .map(|done| (done.by.name.clone(), When::new(now, done.at))),
                })
                .collect(),
            spent: (minutes > 0).then(|| duration(minutes as f64 / 60.0)),
            entries: caller.needs_to_know().then(|| {
                let entries = entries.into_iter();
                entries
                    .map(|paged| EntryView::new(now, ticket.id, paged))
                    .collect()
            }),
            parent: ticket.work.parent.map(|id| id.0),
            merged_into: ticket.work.merged_into.map(|id| id.0),
            children: children
                .into_iter()
                .map(|t| (t.item.id.0, t.item.title, state_words(t.item.state)))
                .collect(),
            duplicates_of: others
                .into_iter()
                .filter(|t| t.item.id != ticket.id)
                .map(|t| (t.item.id.0, t.item.title))
                .collect(),
            is_fresh_report: ticket.state == TicketState::New && !ticket.is_predicted(),
            open: ticket.state.is_open(),
            form_key: app.form_key(),
        })
    }
}

/// Does what a form asks for, and shows the ticket again.
pub(crate) async fn work(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let ticket = ticket_id(&id)?;
    let done = async {
        let step = match fields.get("work") {
            Some("fields") => {
                let ticket = app.state.store.ticket(ticket).await?;
                classify::fields(&app, &ticket, &fields)?
            }
            _ => step(&fields)?,
        };
        let request = WorkRequest {
            step,
            if_version: fields.get("version").and_then(|v| v.parse().ok()),
            idempotency_key: fields.get("form_key").map(ToOwned::to_owned),
        };
        app.state.desk.work(ticket, request, caller.actor()).await?;
        Ok(())
    };
    match done.await {
        Ok(()) => Ok(Redirect::to(&format!("/tickets/{}", ticket.0)).into_response()),
        Err(problem) => show(&app, &caller, &id, Some(&problem)).await,
    }
}

fn named(priority: &str) -> Result<Priority, Problem> {
    let mut all = PRIORITIES.into_iter();
    let found = all.find(|p| priority_label(*p) == priority);
    found.ok_or_else(|| Problem::invalid("priority", "choose P1, P2, P3 or P4"))
}

fn step(fields: &Fields) -> Result<Work, Problem> {
    let number = |field: &str| -> Result<u32, Problem> {
        let text = fields.need(field)?;
        text.parse()
            .map_err(|_cause| Problem::invalid(field, format!("\"{text}\" is not a number")))
    };
    Ok(Work::Step(match fields.need("work")? {
        "note" => WorkStep::Note {
            text: fields.need("text")?.to_owned(),
            visibility: match fields.get("public") {
                Some(_) => Visibility::Public,
                None => Visibility::Internal,
            },
        },
        "time" => WorkStep::Time {
            minutes: number("minutes")?,
            what: fields.get("what").unwrap_or_default().to_owned(),
        },
        "parts_used" => {
            let (quantities, units) = units::entered(fields)?;
            WorkStep::PartsUsed(parts_used(quantities, units)?)
        }
        "check" => WorkStep::Check {
            item: usize::try_from(number("item")?).unwrap_or(usize::MAX),
            done: fields.get("done") == Some("yes"),
            text: fields.get("line").map(ToOwned::to_owned),
        },
        "priority" => WorkStep::Priority {
            priority: named(fields.need("priority")?)?,
            why: fields.need("why")?.to_owned(),
        },
        "classify" => return classify::classified(fields),
        "parts" => return classify::parts(fields),
        "helped" => WorkStep::Helped {
            article: fields.need("article")?.to_owned(),
            helped: fields.get("helped") == Some("yes"),
        },
        "merge" => {
            return Ok(Work::MergeInto {
                into: TicketId(i64::from(number("into")?)),
                why: fields.get("why").unwrap_or_default().to_owned(),
            });
        }
        _ => return Err(Problem::invalid("work", "choose what to do")),
    }))
}
