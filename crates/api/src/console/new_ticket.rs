//! The form by which people open a ticket.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_care::ticket_rules::{FieldSpec, FieldType, TicketType};
use forecare_domain::TicketKind;
use serde::Deserialize;

use super::form::Fields;
use super::shell::{Shell, render_with};
use crate::app::{App, Caller};
use crate::dto::{NewTicketDto, ProductionImpactDto, UrgencyDto};
use crate::extract::ApiQuery;
use crate::percent::percent_encoded;
use crate::problem::Problem;
use crate::routes::tickets::checked_opening;

/// Assets offered to choose from; any other is named by its id.
const ASSETS_OFFERED: usize = 500;

/// What the form begins with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct NewTicketParams {
    #[serde(default)]
    kind: String,
    /// The form asks for the machine's failure modes by its own name for the field.
    #[serde(default, alias = "asset_id")]
    asset: String,
    #[serde(default)]
    parent: String,
}

#[derive(Template)]
#[template(path = "new_ticket.html")]
struct NewTicketPage {
    shell: Shell,
    /// Name, title, and whether the form is for it.
    kinds: Vec<(String, String, bool)>,
    kind: String,
    asset: String,
    /// The asset in a query string.
    asset_query: String,
    assets: Vec<(String, String)>,
    /// Failure modes by class: of the asset's, or of all while it is not known.
    modes: Vec<(String, Vec<(String, String)>)>,
    /// The asset is known.
    has_asset: bool,
    fields: Vec<FieldView>,
    title: String,
    description: String,
    safety: bool,
    /// Value, words, and whether it is chosen.
    productions: Vec<(&'static str, &'static str, bool)>,
    urgencies: Vec<(&'static str, &'static str, bool)>,
    mode: String,
    /// Number of the ticket it follows; empty: none.
    parent: String,
    form_key: String,
}

/// A field of the kind, with what was typed.
pub(super) struct FieldView {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) required: bool,
    /// Type of an HTML input; empty: a choice.
    pub(super) input: &'static str,
    /// Choices, and whether each is chosen.
    pub(super) choices: Vec<(String, bool)>,
    pub(super) value: String,
}

impl FieldView {
    pub(super) fn new(spec: &FieldSpec, typed: Option<&str>) -> Self {
        let value = typed.unwrap_or_default().to_owned();
        let choices: Vec<String> = match spec.of {
            FieldType::Choice => spec.choices.clone(),
            FieldType::Boolean => vec!["yes".to_owned(), "no".to_owned()],
            FieldType::Text | FieldType::Number | FieldType::Date => Vec::new(),
        };
        Self {
            name: spec.name.clone(),
            title: spec.title.clone(),
            required: spec.required,
            input: match spec.of {
                FieldType::Text => "text",
                FieldType::Number => "number",
                FieldType::Date => "date",
                FieldType::Choice | FieldType::Boolean => "",
            },
            choices: choices
                .into_iter()
                .map(|choice| {
                    let chosen = choice == value;
                    (choice, chosen)
                })
                .collect(),
            value,
        }
    }
}

const PRODUCTIONS: [(&str, &str); 3] = [
    ("none", "goes on"),
    ("reduced", "is reduced"),
    ("stopped", "stands still"),
];
const URGENCIES: [(&str, &str); 3] = [
    ("low", "when convenient"),
    ("medium", "within days"),
    ("high", "now"),
];

/// The form.
pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<NewTicketParams>,
) -> Result<Response, Problem> {
    let typed = Fields::of([
        ("kind", params.kind),
        ("asset_id", params.asset),
        ("parent_id", params.parent),
    ]);
    show(&app, &caller, &typed, None).await
}

/// Opens the ticket and shows it.
pub(crate) async fn open(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    typed: Fields,
) -> Result<Response, Problem> {
    let opened = async {
        let mut request = checked_opening(from_fields(&app, &typed)?)?;
        request.idempotency_key = Some(typed.need("form_key")?.to_owned());
        let ticket = app.state.desk.open_ticket(request, caller.actor()).await?;
        Ok(ticket)
    };
    match opened.await {
        Ok(ticket) => Ok(Redirect::to(&format!("/tickets/{}", ticket.id.0)).into_response()),
        Err(problem) => show(&app, &caller, &typed, Some(&problem)).await,
    }
}

async fn show(
    app: &App,
    caller: &Caller,
    typed: &Fields,
    problem: Option<&Problem>,
) -> Result<Response, Problem> {
    let (state, rules) = (&app.state, &app.state.tickets);
    let offered = rules
        .kinds()
        .iter()
        // These are for alarms to open.
        .filter(|kind| kind.name.as_str() != TicketKind::PREDICTIVE);
    let wanted = typed.get("kind").unwrap_or(TicketKind::CORRECTIVE);
    let kind = rules.kind(wanted);
    let assets = state.store.assets().await?;
    let asset_id = typed.get("asset_id").unwrap_or_default();
    let asset = assets.iter().find(|a| a.id.as_str() == asset_id);
    let class = asset.and_then(|a| state.catalogue.class(&a.class));
    let chosen = |options: [(&'static str, &'static str); 3], field: &str, default: &str| {
        let value = typed.get(field).unwrap_or(default);
        options
            .map(|(name, words)| (name, words, name == value))
            .to_vec()
    };
    let html = NewTicketPage {
        shell: Shell::new(app, caller, "tickets").problem(problem),
        kinds: offered
            .map(|k| {
                (
                    k.name.to_string(),
                    k.title.clone(),
                    k.name.as_str() == wanted,
                )
            })
            .collect(),
        kind: wanted.to_owned(),
        asset: asset_id.to_owned(),
        asset_query: percent_encoded(asset_id),
        modes: state
            .catalogue
            .classes
            .iter()
            .filter(|c| class.is_none_or(|of| of.name == c.name))
            .map(|class| {
                let modes = class.modes.iter();
                let modes = modes.map(|m| (m.name.to_string(), m.title.clone()));
                (class.title.clone(), modes.collect())
            })
            .collect(),
        has_asset: asset.is_some(),
        fields: kind.map_or_else(Vec::new, |kind| {
            let specs = kind.fields.iter();
            specs
                .map(|spec| FieldView::new(spec, typed.get(&format!("field:{}", spec.name))))
                .collect()
        }),
        title: typed.get("title").unwrap_or_default().to_owned(),
        description: typed.get("description").unwrap_or_default().to_owned(),
        safety: typed.get("safety").is_some(),
        productions: chosen(PRODUCTIONS, "production", "none"),
        urgencies: chosen(URGENCIES, "urgency", "medium"),
        mode: typed.get("mode").unwrap_or_default().to_owned(),
        parent: typed.get("parent_id").unwrap_or_default().to_owned(),
        form_key: app.form_key(),
        assets: assets
            .into_iter()
            .take(ASSETS_OFFERED)
            .map(|a| (a.id.to_string(), a.name))
            .collect(),
    };
    Ok(render_with(&html, problem))
}

fn from_fields(app: &App, typed: &Fields) -> Result<NewTicketDto, Problem> {
    let kind = typed.need("kind")?;
    let fields = match app.state.tickets.kind(kind) {
        Some(kind) => values(kind, typed)?,
        None => BTreeMap::new(),
    };
    Ok(NewTicketDto {
        asset_id: typed.need("asset_id")?.to_owned(),
        kind: kind.to_owned(),
        title: typed.get("title").unwrap_or_default().to_owned(),
        description: typed.get("description").unwrap_or_default().to_owned(),
        safety: typed.get("safety").is_some(),
        production: match typed.get("production") {
            Some("stopped") => ProductionImpactDto::Stopped,
            Some("reduced") => ProductionImpactDto::Reduced,
            _ => ProductionImpactDto::None,
        },
        urgency: match typed.get("urgency") {
            Some("high") => UrgencyDto::High,
            Some("low") => UrgencyDto::Low,
            _ => UrgencyDto::Medium,
        },
        mode: typed.get("mode").map(ToOwned::to_owned),
        fields,
        parent_id: match typed.get("parent_id") {
            Some(text) => {
                Some(text.parse().map_err(|_cause| {
                    Problem::invalid("parent_id", "give the number of a ticket")
                })?)
            }
            None => None,
        },
    })
}

/// What was typed into the fields of `kind`, as values.
pub(super) fn values(
    kind: &TicketType,
    typed: &Fields,
) -> Result<BTreeMap<String, forecare_domain::FieldValue>, Problem> {
    let mut values = BTreeMap::new();
    for spec in &kind.fields {
        if let Some(text) = typed.get(&format!("field:{}", spec.name)) {
            let value = spec
                .typed(text)
                .map_err(|what| Problem::invalid(&spec.name, format!("{}: {what}", spec.title)))?;
            values.insert(spec.name.clone(), value);
        }
    }
    Ok(values)
}
