//! Tickets as a table, with the fields of their kinds as columns.

use std::collections::BTreeSet;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use forecare_domain::Ticket;

use crate::app::{App, Caller};
use crate::dto::TicketDto;
use crate::extract::ApiQuery;
use crate::problem::Problem;
use crate::ticket_search::{TicketQuery, priority_label};

/// Most tickets of one export.
const EXPORT_MAX: usize = 50_000;

/// Tickets as a file, in the order asked for
///
/// All that the parameters ask for: no page of them; of more than 50,000 none. A column per field of the kinds, `field.` before its name.
/// In CSV a cell that a spreadsheet would take for a formula begins with an apostrophe.
#[utoipa::path(get, path = "/api/v1/tickets/export", tag = "tickets", params(TicketQuery),
    responses((status = 200, description = "the tickets", content(
        (String = "text/csv"),
        (Vec<TicketDto> = "application/json")
    ))))]
pub(crate) async fn export(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(query): ApiQuery<TicketQuery>,
) -> Result<Response, Problem> {
    let as_csv = match query.format.as_deref() {
        None | Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(Problem::bad_parameter("format", "use csv or json")),
    };
    let search = query.search(&app, &caller).await?;
    let tickets = search.all(&app, EXPORT_MAX).await?;
    let (media, ending, text) = if as_csv {
        ("text/csv; charset=utf-8", "csv", csv(&tickets))
    } else {
        let rows: Vec<serde_json::Value> = tickets.iter().map(row).collect();
        let text = serde_json::Value::Array(rows).to_string();
        ("application/json", "json", text)
    };
    let headers = [
        (header::CONTENT_TYPE, media.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"tickets.{ending}\""),
        ),
    ];
    Ok((headers, text).into_response())
}

fn row(ticket: &Ticket) -> serde_json::Value {
    let mut row = serde_json::to_value(TicketDto::from(ticket)).unwrap_or_default();
    if let Some(row) = row.as_object_mut() {
        let fields = serde_json::to_value(&ticket.work.fields).unwrap_or_default();
        row.insert("fields".to_owned(), fields);
    }
    row
}

const COLUMNS: [&str; 17] = [
    "id",
    "kind",
    "origin",
    "asset_id",
    "mode",
    "state",
    "priority",
    "title",
    "technician",
    "detected_at",
    "opened_at",
    "due_at",
    "verdict",
    "service_levels",
    "parent_id",
    "merged_into",
    "procedure",
];

fn csv(tickets: &[Ticket]) -> String {
    let fields: BTreeSet<&String> = tickets.iter().flat_map(|t| t.work.fields.keys()).collect();
    let mut text = String::new();
    let names = COLUMNS.iter().map(|name| (*name).to_owned());
    line(
        &mut text,
        names.chain(fields.iter().map(|name| format!("field.{name}"))),
    );
    let number = |id: Option<forecare_domain::TicketId>| id.map(|id| id.0.to_string());
    for t in tickets {
        let own = [
            Some(t.id.0.to_string()),
            Some(t.kind.to_string()),
            Some(t.origin.label().to_owned()),
            Some(t.asset.to_string()),
            t.mode.as_ref().map(ToString::to_string),
            Some(t.state.label().to_owned()),
            Some(priority_label(t.priority).to_owned()),
            Some(t.title.clone()),
            t.technician.clone(),
            Some(t.detected_at.to_string()),
            Some(t.opened_at.to_string()),
            Some(t.due_at.to_string()),
            t.verdict.as_ref().map(|v| v.label().to_owned()),
            t.sla.as_ref().map(|sla| sla.terms.clone()),
            number(t.work.parent),
            number(t.work.merged_into),
            Some(t.procedure.clone()),
        ];
        let of_kind = fields
            .iter()
            .map(|name| t.work.fields.get(*name).map(ToString::to_string));
        let cells = own.into_iter().chain(of_kind);
        line(&mut text, cells.map(Option::unwrap_or_default));
    }
    text
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            text.push(',');
        }
        let is_number = cell.parse::<f64>().is_ok();
        let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number;
        let cell = if is_formula { format!("'{cell}") } else { cell };
        if cell.contains([',', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&cell);
        }
    }
    text.push_str("\r\n");
}
