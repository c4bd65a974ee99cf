//! Tickets: the board, and one with everything that explains it.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Asset, Decision, Hold, Origin, ProductionImpact, Report, Ticket, TicketState, Timestamp,
    Urgency,
};
use forecare_registry::RecordKind;
use forecare_store::{PageRequest, RecordFilter};
use serde::Deserialize;

use super::classify::ShapeView;
use super::dispatch::{ClockView, DispatchView};
use super::for_whom::{CostView, CustomerView};
use super::form::Fields;
use super::format::{self, When, hours, money, percent, readable};
use super::notices::{self, AnswerView, DeliveryView};
use super::shell::{Shell, render, render_with};
use super::units::{self, UseView, kits_of, known_units, uses};
use super::view::{
    ReasonView, ReservationView, TicketView, mode_title, reasons, state_words, step_words,
};
use super::work::WorkView;
use crate::app::{App, Caller, ticket_id};
use crate::dto::{TransitionDto, VerdictDto};
use crate::extract::{ApiPath, ApiQuery};
use crate::overview::{self, whole};
use crate::page::PageParams;
use crate::percent::percent_encoded;
use crate::plan::technicians;
use crate::problem::Problem;
use crate::routes::knowledge::{HitDto, proposed, teaches};
use crate::routes::tickets::for_eyes;
use crate::routes::tickets::{checked, reservations_of};
use crate::ticket_search::{PRIORITIES, Sort, TicketQuery, priority_label};
use crate::{cost, for_whom};

/// Which tickets. What is empty asks for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TicketsParams {
    /// `ended`, `all`, or the open ones.
    show: String,
    q: String,
    state: String,
    priority: String,
    technician: String,
    customer: String,
    kind: String,
    /// `overdue` or `breached`.
    late: String,
    sort: String,
    cursor: Option<String>,
}

impl TicketsParams {
    /// What narrows the list down, as part of an address of the console's or of the API: `&q=bearing`.
    fn narrowed(&self, of_api: bool) -> String {
        let is_true = "true".to_owned();
        let late = match self.late.as_str() {
            late @ ("overdue" | "breached") if of_api => (late, &is_true),
            _ => ("late", &self.late),
        };
        let given = [
            ("q", &self.q),
            ("state", &self.state),
            ("priority", &self.priority),
            ("technician", &self.technician),
            ("customer", &self.customer),
            ("kind", &self.kind),
            late,
            ("sort", &self.sort),
        ];
        let given = given.iter().filter(|(_, value)| !value.is_empty());
        given
            .map(|(name, value)| format!("&{name}={}", percent_encoded(value)))
            .collect()
    }

    fn query(&self) -> TicketQuery {
        let some = |text: &String| Some(text.clone());
        TicketQuery {
            open: match self.show.as_str() {
                "all" => None,
                "ended" => Some("false".to_owned()),
                _ => Some("true".to_owned()),
            },
            q: some(&self.q),
            state: some(&self.state),
            priority: some(&self.priority),
            technician: some(&self.technician),
            customer: some(&self.customer),
            kind: some(&self.kind),
            overdue: (self.late == "overdue").then(|| "true".to_owned()),
            breached: (self.late == "breached").then(|| "true".to_owned()),
            sort: some(&self.sort),
            ..TicketQuery::default()
        }
    }
}

#[derive(Template)]
#[template(path = "tickets.html")]
struct TicketsPage {
    shell: Shell,
    /// `open`, `ended` or `all`.
    show: &'static str,
    /// What narrows it down, for links.
    narrowed: String,
    /// The query of the export of what is shown.
    export: String,
    filter: FilterView,
    columns: Vec<Column>,
    /// E-mails that wait to be placed, of those who may read them.
    n_inbox: usize,
    n_open: usize,
    tickets: Vec<TicketView>,
    cursor: Option<String>,
    next_cursor: Option<String>,
}

/// E-mails that wait are counted up to this.
const INBOX_COUNTED_MAX: usize = 100;

/// What can be chosen: value, words, and whether it is chosen.
pub(super) type Choices = Vec<(String, String, bool)>;

/// The filter bar.
struct FilterView {
    q: String,
    states: Choices,
    priorities: Choices,
    technicians: Choices,
    customers: Choices,
    kinds: Choices,
    late: Choices,
    sorts: Choices,
}

/// Customers to choose from; the API takes any.
const CUSTOMERS_MAX: usize = 500;

fn choices<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>, chosen: &str) -> Choices {
    options
        .into_iter()
        .map(|(value, words)| (value.to_owned(), words.to_owned(), value == chosen))
        .collect()
}

/// `list` with what is chosen in it, in case it was left out: else the next choice would silently drop it.
fn with_chosen(mut list: Choices, chosen: &str, words: String) -> Choices {
    let has_it = list.iter().any(|(_, _, is_chosen)| *is_chosen);
    if !chosen.is_empty() && !has_it {
        list.push((chosen.to_owned(), words, true));
    }
    list
}

impl FilterView {
    /// The choices beside each other: parameter, title, words for no choice.
    fn selects(&self) -> [(&'static str, &'static str, &'static str, &Choices); 6] {
        [
            ("state", "State", "any", &self.states),
            ("priority", "Priority", "any", &self.priorities),
            ("technician", "Technician", "anybody", &self.technicians),
            ("customer", "Customer", "any", &self.customers),
            ("kind", "Kind", "any", &self.kinds),
            ("late", "Late", "or not", &self.late),
        ]
    }

    async fn read(app: &App, params: &TicketsParams, show: &str) -> Result<Self, Problem> {
        let states = TicketState::ALL.into_iter().filter(|s| match show {
            "open" => s.is_open(),
            "ended" => !s.is_open(),
            _ => true,
        });
        let technicians = technicians(app).await?;
        let all = RecordFilter::default();
        let customers = whole(app, RecordKind::Customer, &all, CUSTOMERS_MAX).await?;
        let customers: Vec<(String, String)> = customers
            .into_iter()
            .filter_map(|r| Some((r.record.id.to_string(), r.body?.title().to_owned())))
            .collect();
        let customers = customers
            .iter()
            .map(|(id, name)| (id.as_str(), name.as_str()));
        let customers = choices(customers, &params.customer);
        let is_cut = !params.customer.is_empty() && !customers.iter().any(|(_, _, is)| *is);
        let customer = if is_cut {
            overview::customer(app, params.customer.trim())
                .await?
                .2
                .name
        } else {
            String::new()
        };
        let kinds = app.state.tickets.kinds().iter();
        let mut of_technicians = vec![("none", "nobody yet")];
        of_technicians.extend(technicians.iter().map(|t| (t.as_str(), t.as_str())));
        Ok(Self {
            q: params.q.clone(),
            states: {
                let states = states.map(|s| (s.label(), state_words(s)));
                let words = params.state.replace('_', " ");
                with_chosen(choices(states, &params.state), &params.state, words)
            },
            priorities: {
                let all = PRIORITIES.map(priority_label).map(|p| (p, p));
                let words = params.priority.clone();
                with_chosen(choices(all, &params.priority), &params.priority, words)
            },
            technicians: {
                let list = choices(of_technicians, &params.technician);
                with_chosen(list, &params.technician, params.technician.clone())
            },
            customers: with_chosen(customers, &params.customer, customer),
            kinds: {
                let kinds = kinds.map(|k| (k.name.as_str(), k.title.as_str()));
                with_chosen(
                    choices(kinds, &params.kind),
                    &params.kind,
                    params.kind.clone(),
                )
            },
            late: choices(
                [("overdue", "overdue"), ("breached", "service level missed")],
                &params.late,
            ),
            sorts: choices(
                [
                    ("newest", "newest first"),
                    ("oldest", "oldest first"),
                    ("due", "due first"),
                    ("priority", "most urgent first"),
                    ("changed", "last changed first"),
                ],
                &params.sort,
            ),
        })
    }
}

/// A column of the board.
struct Column {
    title: &'static str,
    tickets: Vec<TicketView>,
}

/// The board's columns, left to right.
const COLUMNS: [&str; 4] = ["To plan", "With a technician", "In progress", "On hold"];

fn column(state: TicketState) -> Option<usize> {
    match state {
        TicketState::New | TicketState::Triaged | TicketState::Reopened => Some(0),
        TicketState::Dispatched | TicketState::Accepted => Some(1),
        TicketState::InProgress => Some(2),
        TicketState::OnHold(Hold::Customer | Hold::Vendor | Hold::Part) => Some(3),
        TicketState::Resolved
        | TicketState::Confirmed
        | TicketState::Closed
        | TicketState::Cancelled => None,
    }
}

pub(crate) async fn page(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiQuery(params): ApiQuery<TicketsParams>,
) -> Result<Response, Problem> {
    let show = match params.show.as_str() {
        "ended" => "ended",
        "all" => "all",
        _ => "open",
    };
    let catalogue = &app.state.catalogue;
    let now = app.state.clock.now();
    let assets = app.state.store.assets().await?;
    let by_id: BTreeMap<_, &Asset> = assets.iter().map(|a| (&a.id, a)).collect();
    let view = |t: &Ticket| TicketView::new(catalogue, by_id.get(&t.asset).copied(), now, t);
    let narrowed = params.narrowed(false);
    let query = params.query();
    let search = query.search(&app, &caller).await?;
    let open = query.open.map(|open| format!("&open={open}"));
    let n_inbox = if caller.needs_to_know() {
        let page = PageRequest {
            before: None,
            limit: INBOX_COUNTED_MAX,
        };
        app.state.store.mails(true, page).await?.len()
    } else {
        0
    };
    let mut html = TicketsPage {
        shell: Shell::new(&app, &caller, "tickets"),
        show,
        export: format!(
            "format=csv{}{}",
            open.unwrap_or_default(),
            params.narrowed(true)
        ),
        narrowed,
        filter: FilterView::read(&app, &params, show).await?,
        columns: Vec::new(),
        n_inbox,
        n_open: 0,
        tickets: Vec::new(),
        cursor: params.cursor.clone(),
        next_cursor: None,
    };
    if show == "open" {
        let mut open = app.open_tickets(None).await?;
        open.retain(|t| search.fits(&app, t));
        if search.sort == Sort::Newest {
            // The most urgent first, then what is due first.
            open.sort_by_key(|t| (t.priority, t.due_at, t.id));
        } else {
            open.sort_by_key(|t| search.sort.key(t));
        }
        html.n_open = open.len();
        html.columns = COLUMNS
            .into_iter()
            .enumerate()
            .map(|(i, title)| Column {
                title,
                tickets: open
                    .iter()
                    .filter(|t| column(t.state) == Some(i))
                    .map(view)
                    .collect(),
            })
            .collect();
    } else {
        let request = PageParams::new(params.cursor, None);
        let page = search.page(&app, &request, view).await?;
        html.tickets = page.items;
        html.next_cursor = page.next_cursor;
    }
    Ok(render(&html))
}

#[derive(Template)]
#[template(path = "ticket.html")]
struct TicketPage {
    shell: Shell,
    ticket: TicketView,
    version: i64,
    device: String,
    /// Where the machine stands.
    place: String,
    customer: Option<CustomerView>,
    cost: Option<CostView>,
    procedure: String,
    skills: String,
    /// Certificates its failure mode asks for.
    certificates: String,
    detected: When,
    evidence: When,
    /// What a person told, if one did.
    report: Option<ReportView>,
    kind: String,
    origin: String,
    /// The failure mode.
    mode: Option<String>,
    /// Fields of its kind: title and value.
    fields: Vec<(String, String)>,
    /// What it is and needs, to be corrected.
    shape: ShapeView,
    /// Checklist, notes, related tickets.
    work: WorkView,
    /// Name of the service levels it is under.
    terms: Option<String>,
    /// Of the alarm, if one opened it.
    decision: Option<DecisionView>,
    rul: String,
    reasons: Vec<ReasonView>,
    reservations: Vec<ReservationView>,
    /// What can be told of parts used, while the work lasts.
    uses: Vec<UseView>,
    can_use_parts: bool,
    /// Kits that the failure mode needs.
    kits: Vec<String>,
    clocks: Vec<ClockView>,
    dispatch: DispatchView,
    /// What may help.
    articles: Vec<HitDto>,
    /// Whether articles helped here.
    helped: BTreeMap<String, bool>,
    /// Its resolution may become an article.
    teaches: bool,
    told: Vec<DeliveryView>,
    answers: Vec<AnswerView>,
    history: Vec<ChangeView>,
    /// States it can take, but resolved, which has a form of its own.
    steps: Vec<(&'static str, &'static str)>,
    can_resolve: bool,
    technicians: Vec<String>,
    modes: Vec<(String, String)>,
    failure_code: String,
}

struct ReportView {
    description: String,
    safety: bool,
    production: &'static str,
    urgency: &'static str,
}

impl From<&Report> for ReportView {
    fn from(report: &Report) -> Self {
        Self {
            description: report.description.clone(),
            safety: report.safety,
            production: match report.production {
                ProductionImpact::None => "goes on",
                ProductionImpact::Reduced => "is reduced",
                ProductionImpact::Stopped => "stands still",
            },
            urgency: match report.urgency {
                Urgency::Low => "when convenient",
                Urgency::Medium => "within days",
                Urgency::High => "now",
            },
        }
    }
}

/// What opened a ticket, in words.
fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Alarm => "an alarm".to_owned(),
        Origin::Person { by } => format!("{} ({})", by.name, channel_words(by.channel)),
        Origin::Schedule { schedule, .. } => format!("the schedule {schedule}"),
        Origin::Event { code } => format!("the device's event {code}"),
        Origin::Automation { rule, .. } => format!("the rule {rule}"),
    }
}

struct DecisionView {
    sentence: String,
    probability: String,
    source: &'static str,
    horizon: String,
    cost_of_failure: String,
    expected_cost_of_waiting: String,
    cost_of_acting: String,
    part_lead: String,
    at: When,
}

impl DecisionView {
    fn new(d: &Decision, currency: &str, now: Timestamp) -> Self {
        let money = |x| money(x, currency);
        let verb = if d.act { "more than" } else { "not more than" };
        Self {
            sentence: format!(
                "A failure within {} is {} likely. Waiting would cost {} on average ({} of {}), {verb} acting \
                 now at {}.",
                hours(d.horizon_hours),
                percent(d.probability),
                money(d.expected_cost_of_waiting),
                percent(d.probability),
                money(d.cost_of_failure),
                money(d.cost_of_acting),
            ),
            probability: percent(d.probability),
            source: match d.probability_source.as_str() {
                "model" => "by the model",
                _ => "by how often such alarms proved right",
            },
            horizon: hours(d.horizon_hours),
            cost_of_failure: money(d.cost_of_failure),
            expected_cost_of_waiting: money(d.expected_cost_of_waiting),
            cost_of_acting: money(d.cost_of_acting),
            part_lead: hours(d.part_lead_hours),
            at: When::new(now, d.at),
        }
    }
}

struct ChangeView {
    at: When,
    by: String,
    channel: &'static str,
    to: &'static str,
    why: String,
}

pub(crate) fn channel_words(channel: forecare_domain::Channel) -> &'static str {
    use forecare_domain::Channel;
    match channel {
        Channel::System => "automatically",
        Channel::Device => "device",
        Channel::Api => "API",
        Channel::Console => "console",
        Channel::Cli => "command line",
        Channel::Customer => "customer's page",
        Channel::Email => "e-mail",
    }
}

pub(crate) async fn detail(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    show(&app, &caller, &id, None).await
}

pub(super) async fn show(
    app: &App,
    caller: &Caller,
    id: &str,
    problem: Option<&Problem>,
) -> Result<Response, Problem> {
    let catalogue: &Catalogue = &app.state.catalogue;
    let now = app.state.clock.now();
    let ticket = for_eyes(caller, app.state.store.ticket(ticket_id(id)?).await?);
    let assets = app.state.store.assets().await?;
    let asset = assets.iter().find(|a| a.id == ticket.asset);
    let class = asset.and_then(|a| catalogue.class(&a.class));
    let kind = app.state.tickets.kind(ticket.kind.as_str());
    let mode = ticket.mode.as_ref();
    let spec = mode.and_then(|mode| class?.mode(mode));
    let reservations = reservations_of(app, ticket.id).await?;
    let allowed = forecare_care::allowed(ticket.state);
    let (place, customer) = for_whom::of_ticket(app, caller, &ticket).await?;
    let withheld = !caller.needs_to_know();
    let cost = cost::of_ticket(app, &ticket, customer.as_ref()).await?;
    let (told, answers) = notices::of_ticket(app, caller, ticket.id, now).await?;
    let html = TicketPage {
        shell: Shell::new(app, caller, "tickets").problem(problem),
        ticket: TicketView::new(catalogue, asset, now, &ticket),
        version: ticket.version,
        device: ticket.device.to_string(),
        place: place.join(" \u{203a} "),
        customer: customer.map(|of| CustomerView::new(of, now, withheld)),
        cost: cost.as_ref().map(CostView::new),
        skills: match ticket.skills.as_slice() {
            [] => "none in particular".to_owned(),
            skills => skills.join(", "),
        },
        certificates: spec.map_or_else(String::new, |mode| mode.certificates.join(", ")),
        detected: When::new(now, ticket.detected_at),
        evidence: When::new(now, ticket.evidence_at),
        report: ticket.work.report.as_ref().map(Into::into),
        kind: kind.map_or_else(|| ticket.kind.to_string(), |kind| kind.title.clone()),
        origin: origin_words(&ticket.origin),
        shape: ShapeView::new(app, class, &ticket),
        mode: mode.map(|mode| mode_title(catalogue, asset, mode)),
        fields: ticket
            .work
            .fields
            .iter()
            .map(|(name, value)| {
                let spec = kind.and_then(|k| k.fields.iter().find(|f| f.name == *name));
                let title = spec.map_or_else(|| name.clone(), |spec| spec.title.clone());
                (title, value.to_string())
            })
            .collect(),
        work: WorkView::read(app, caller, &ticket, now).await?,
        terms: ticket.sla.as_ref().map(|sla| sla.terms.clone()),
        decision: ticket
            .decision
            .as_ref()
            .map(|decision| DecisionView::new(decision, &catalogue.currency, now)),
        rul: format::rul(&ticket.rul),
        reasons: reasons(catalogue, asset, &ticket.contributions),
        uses: uses(
            catalogue,
            &reservations,
            &known_units(app, &reservations).await?,
        ),
        can_use_parts: matches!(
            ticket.state,
            TicketState::InProgress | TicketState::OnHold(_)
        ),
        kits: kits_of(catalogue, &ticket),
        reservations: reservations
            .iter()
            .map(|r| ReservationView::new(catalogue, now, r))
            .collect(),
        clocks: (app.state.sla)(&ticket, now)
            .iter()
            .map(|reading| ClockView::new(now, reading))
            .collect(),
        dispatch: DispatchView::new(now, &ticket, &catalogue.currency),
        articles: proposed(app, &ticket).await?,
        helped: ticket.work.helped.clone(),
        teaches: ticket.verdict.as_ref().is_some_and(teaches),
        told,
        answers,
        history: ticket
            .history
            .iter()
            .rev()
            .map(|c| ChangeView {
                at: When::new(now, c.at),
                by: c.by.name.clone(),
                channel: channel_words(c.by.channel),
                to: state_words(c.to),
                why: readable(&c.why),
            })
            .collect(),
        steps: allowed
            .iter()
            .filter(|s| **s != TicketState::Resolved)
            .map(|s| (s.label(), step_words(*s)))
            .collect(),
        can_resolve: allowed.contains(&TicketState::Resolved),
        technicians: technicians(app).await?,
        modes: class.map_or_else(Vec::new, |class| {
            class
                .modes
                .iter()
                .filter(|m| Some(&m.name) != mode)
                .map(|m| (m.name.to_string(), mode_title(catalogue, asset, &m.name)))
                .collect()
        }),
        failure_code: spec.map_or_else(String::new, |m| m.iso14224.clone()),
        procedure: ticket.procedure.clone(),
    };
    Ok(render_with(&html, problem))
}

/// Moves a ticket on and shows it again.
pub(crate) async fn transition(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let ticket = ticket_id(&id)?;
    let moved = async {
        let mut request = checked(from_fields(&fields)?)?;
        request.if_version = fields.get("version").and_then(|v| v.parse().ok());
        let by = caller.actor();
        app.state.desk.transition(ticket, request, by).await?;
        Ok(())
    };
    match moved.await {
        Ok(()) => Ok(Redirect::to(&format!("/tickets/{}", ticket.0)).into_response()),
        Err(problem) => show(&app, &caller, &id, Some(&problem)).await,
    }
}

fn from_fields(fields: &Fields) -> Result<TransitionDto, Problem> {
    let finding = match fields.get("finding") {
        None => None,
        Some("confirmed") => Some(VerdictDto::Confirmed {
            failure_code: fields.need("failure_code")?.to_owned(),
        }),
        Some("wrong_mode") => Some(VerdictDto::WrongMode {
            actual: fields.need("actual")?.to_owned(),
        }),
        Some("no_fault_found") => Some(VerdictDto::NoFaultFound),
        Some("data_fault") => Some(VerdictDto::DataFault),
        Some("too_early") => Some(VerdictDto::TooEarly),
        Some("done") => Some(VerdictDto::Done),
        Some(_) => return Err(Problem::invalid("finding", "choose one of the findings")),
    };
    let (parts_used, units_used) = units::entered(fields)?;
    Ok(TransitionDto {
        to: fields.need("to")?.to_owned(),
        why: fields.get("why").unwrap_or_default().to_owned(),
        finding,
        technician: fields.get("technician").map(ToOwned::to_owned),
        parts_used,
        units_used,
    })
}
