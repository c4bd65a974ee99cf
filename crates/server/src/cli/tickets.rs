//! `forecare tickets`: the desk's work from a terminal, through the running service.

mod inbox;
mod shown;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use self::shown::{notes, planned, shown, stands};
use super::service::{Service, ServiceArgs, items, minute, print, table, text, with_query};

#[derive(Debug, Subcommand)]
pub(crate) enum TicketsCommand {
    /// Tickets, newest first: number, priority, state, due, technician, machine, title.
    List(Box<ListArgs>),
    /// One ticket with customer, clocks, parts, cost and history.
    Show(OneArgs),
    /// Who goes where, when, and what nobody is planned for.
    Plan(PlanArgs),
    /// Open a ticket.
    Open(Box<OpenArgs>),
    /// What kind of work it is, what is wrong, its title: procedure, skills, checklist and parts follow.
    Classify(ClassifyArgs),
    /// The parts it needs, all of them: they are reserved, what is held beyond them goes back.
    Parts(PartsArgs),
    /// Fill in the fields of its kind.
    Fields(FieldsArgs),
    /// A line of its checklist is done; `show` numbers them.
    Check(CheckArgs),
    /// How urgent it is, by your judgement.
    Priority(PriorityArgs),
    /// Notes, time and files, newest first.
    Notes(OneArgs),
    /// Write a note.
    Note(NoteArgs),
    /// Book time, travel included.
    Time(TimeArgs),
    /// Lay down who does it and when, or leave it to the dispatcher again.
    Assign(AssignArgs),
    /// Move it to another state; `show` names those it can take.
    Transition(TransitionArgs),
    /// Say what was found and what was used: the work is done.
    Resolve(ResolveArgs),
    /// Close it, after the customer has confirmed.
    Close(WhyArgs),
    /// Cancel it.
    Cancel(WhyArgs),
    /// It is the same as another ticket of the machine, which goes on.
    Merge(MergeArgs),
    /// E-mails of which nobody knows yet which machine they are about.
    #[command(subcommand)]
    Inbox(inbox::InboxCommand),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Words that all must occur: in number, title, machine, serial number, customer, technician, notes.
    #[arg(long, short)]
    q: Option<String>,
    /// Only open ones.
    #[arg(long, conflicts_with = "ended")]
    open: bool,
    /// Only ended ones.
    #[arg(long)]
    ended: bool,
    /// Only in these states, comma-separated; on_hold is any hold.
    #[arg(long)]
    state: Option<String>,
    /// Only of these priorities, comma-separated: P1 to P4.
    #[arg(long)]
    priority: Option<String>,
    /// Only of these kinds, comma-separated.
    #[arg(long)]
    kind: Option<String>,
    /// Only opened by these: alarm, person, schedule, event, automation.
    #[arg(long)]
    origin: Option<String>,
    /// Only of this failure mode.
    #[arg(long)]
    mode: Option<String>,
    /// Only of this machine.
    #[arg(long)]
    asset: Option<String>,
    /// Only of machines of this class.
    #[arg(long)]
    class: Option<String>,
    /// Only on this site, by name.
    #[arg(long)]
    site: Option<String>,
    /// Only of this customer's machines, by id.
    #[arg(long)]
    customer: Option<String>,
    /// Only of this technician, by name; none: of nobody yet.
    #[arg(long)]
    technician: Option<String>,
    /// Only of machines that this depot serves.
    #[arg(long)]
    depot: Option<String>,
    /// Only with this value in a field of their kind.
    #[arg(long, value_name = "NAME:VALUE")]
    field: Option<String>,
    /// Only opened at this time or later.
    #[arg(long, value_name = "TIME|DAY")]
    opened_from: Option<String>,
    /// Only opened before this.
    #[arg(long, value_name = "TIME|DAY")]
    opened_to: Option<String>,
    /// Only due before this.
    #[arg(long, value_name = "TIME|DAY")]
    due_before: Option<String>,
    /// Only open ones whose due date has passed.
    #[arg(long)]
    overdue: bool,
    /// Only where a service level clock went over its target.
    #[arg(long)]
    breached: bool,
    /// newest, oldest, due, priority or changed.
    #[arg(long)]
    sort: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// All of them as CSV, of at most 50,000; of more, none: narrow it down then.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What a fault does to production.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Production {
    None,
    Reduced,
    Stopped,
}

/// How soon somebody is needed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Urgency {
    Low,
    Medium,
    High,
}

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// The machine.
    #[arg(long)]
    asset: String,
    /// What kind of work: corrective, inspection, complaint, or one of the configuration.
    #[arg(long, default_value = "corrective")]
    kind: String,
    /// One line; without it, made from kind and mode.
    #[arg(long)]
    title: Option<String>,
    /// What is wrong.
    #[arg(long)]
    description: Option<String>,
    /// The failure mode, where it is known: brings procedure, skills and parts.
    #[arg(long)]
    mode: Option<String>,
    /// Somebody may get hurt.
    #[arg(long)]
    safety: bool,
    /// What it does to production.
    #[arg(long, value_enum, default_value = "none")]
    production: Production,
    /// How soon somebody is needed.
    #[arg(long, value_enum, default_value = "medium")]
    urgency: Urgency,
    /// A field of the kind; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    field: Vec<(String, String)>,
    /// The ticket it is a part of, or a visit after: 7 or T-7.
    #[arg(long, value_name = "TICKET")]
    parent: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// The kind.
    #[arg(long, required_unless_present_any = ["mode", "title"])]
    kind: Option<String>,
    /// The failure mode of the machine's class; '': not known.
    #[arg(long)]
    mode: Option<String>,
    /// One line.
    #[arg(long)]
    title: Option<String>,
    /// Why.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PartsArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// A part or kit and how many.
    #[arg(value_name = "PART=QUANTITY", value_parser = quantity, required_unless_present = "none")]
    parts: Vec<(String, u32)>,
    /// It needs none.
    #[arg(long, conflicts_with = "parts")]
    none: bool,
    /// Why.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FieldsArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// Fields with their new values; an empty value takes the field away, what is not named stays.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
    fields: Vec<(String, String)>,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// The line, from 1.
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    line: u16,
    /// It is not done after all.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PriorityArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// P1 to P4.
    priority: String,
    /// Why.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NoteArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// The note.
    text: String,
    /// The customer may read it.
    #[arg(long)]
    public: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TimeArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// Minutes, travel included.
    minutes: u32,
    /// On what.
    #[arg(long, default_value = "")]
    what: String,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AssignArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// The technician's name.
    #[arg(required_unless_present = "release", conflicts_with = "release")]
    technician: Option<String>,
    /// Leave it to the dispatcher again.
    #[arg(long)]
    release: bool,
    /// When the work begins, RFC 3339; without it, when the plan has room.
    #[arg(long, value_name = "TIME", conflicts_with = "release")]
    start: Option<String>,
    /// Why.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TransitionArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// The state, such as triaged, in_progress or on_hold:part.
    state: String,
    /// Why.
    #[arg(long, default_value = "")]
    why: String,
    /// Who is to do the work, where that changes.
    #[arg(long)]
    technician: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Finding {
    /// The fault; name its code.
    Confirmed,
    /// Another fault than predicted; name its mode.
    WrongMode,
    /// No fault.
    NoFaultFound,
    /// A fault of the sensor or the data.
    DataFault,
    /// Much life was left.
    TooEarly,
    /// Nothing in particular: the work is done.
    Done,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// What was found.
    #[arg(long, value_enum)]
    finding: Finding,
    /// Of confirmed: the ISO 14224 code.
    #[arg(long, required_if_eq("finding", "confirmed"))]
    failure_code: Option<String>,
    /// Of wrong-mode: the failure mode that was found.
    #[arg(long, required_if_eq("finding", "wrong-mode"))]
    actual: Option<String>,
    /// A part used, in all; may be repeated. Which pieces of tracked parts is told in the console or by the API.
    #[arg(long, value_name = "PART=QUANTITY", value_parser = quantity)]
    used: Vec<(String, u32)>,
    /// What was done.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The ticket: 7 or T-7.
    ticket: String,
    /// Why.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The ticket that ends: 7 or T-7.
    ticket: String,
    /// The one that goes on.
    into: String,
    /// Why.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("use NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn quantity(text: &str) -> Result<(String, u32), String> {
    let (part, n) = pair(text).map_err(|_no_pair| "use PART=QUANTITY".to_owned())?;
    let n = n
        .parse()
        .map_err(|_no_number: std::num::ParseIntError| format!("\"{n}\" is no number of parts"))?;
    Ok((part, n))
}

/// A ticket's number.
fn number(ticket: &str) -> Result<i64> {
    ticket
        .strip_prefix("T-")
        .unwrap_or(ticket)
        .parse()
        .with_context(|| format!("\"{ticket}\" is no ticket: use 7 or T-7"))
}

pub(crate) fn run(command: TicketsCommand) -> Result<()> {
    match command {
        TicketsCommand::List(args) => list(*args),
        TicketsCommand::Show(args) => {
            let service = args.service.open()?;
            let ticket = service.get(&path(&args.ticket, "")?)?;
            service.show(&ticket, shown)
        }
        TicketsCommand::Open(args) => open(*args),
        TicketsCommand::Plan(args) => {
            let service = args.service.open()?;
            let plan = service.get("/api/v1/plan")?;
            service.show(&plan, planned)
        }
        TicketsCommand::Classify(args) => {
            let body = json!({
                "work": "classify", "kind": args.kind, "mode": args.mode, "title": args.title, "why": args.why
            });
            step(&args.service.open()?, &args.ticket, "/work", &body)
        }
        TicketsCommand::Parts(args) => {
            let parts = once(args.parts)?;
            let body = json!({"work": "parts", "parts": parts, "why": args.why});
            step(&args.service.open()?, &args.ticket, "/work", &body)
        }
        TicketsCommand::Fields(args) => {
            let service = args.service.open()?;
            let ticket = service.get(&path(&args.ticket, "")?)?;
            let mut fields = ticket["fields"].as_object().cloned().unwrap_or_default();
            for (name, value) in once(args.fields)? {
                if value.is_empty() {
                    fields.remove(&name);
                } else {
                    fields.insert(name, value.into());
                }
            }
            let body = json!({"work": "fields", "fields": fields});
            step(&service, &args.ticket, "/work", &body)
        }
        TicketsCommand::Check(args) => {
            let service = args.service.open()?;
            let ticket = service.get(&path(&args.ticket, "")?)?;
            let lines = items(&ticket, "checklist");
            let line = usize::from(args.line) - 1;
            let Some(found) = lines.get(line) else {
                bail!("the checklist has {} lines", lines.len());
            };
            let body = json!({
                "work": "check", "item": line, "done": !args.undo, "text": text(found, "text")
            });
            step(&service, &args.ticket, "/work", &body)
        }
        TicketsCommand::Priority(args) => {
            let body = json!({"work": "priority", "priority": args.priority, "why": args.why});
            step(&args.service.open()?, &args.ticket, "/work", &body)
        }
        TicketsCommand::Notes(args) => {
            let service = args.service.open()?;
            let page = service.get(&path(&args.ticket, "/entries?limit=500")?)?;
            service.show(&page, notes)
        }
        TicketsCommand::Note(args) => {
            let visibility = if args.public { "public" } else { "internal" };
            let note = json!({"work": "note", "text": args.text, "visibility": visibility});
            step(&args.service.open()?, &args.ticket, "/work", &note)
        }
        TicketsCommand::Time(args) => {
            let time = json!({"work": "time", "minutes": args.minutes, "what": args.what});
            step(&args.service.open()?, &args.ticket, "/work", &time)
        }
        TicketsCommand::Assign(args) => {
            let body = json!({
                "technician": args.technician, "start_at": args.start, "why": args.why
            });
            step(&args.service.open()?, &args.ticket, "/assignment", &body)
        }
        TicketsCommand::Transition(args) => {
            let mut body = json!({"to": args.state, "why": args.why});
            if let Some(who) = args.technician {
                body["technician"] = who.into();
            }
            step(&args.service.open()?, &args.ticket, "/transitions", &body)
        }
        TicketsCommand::Resolve(args) => resolve(args),
        TicketsCommand::Close(args) => ended(args, "closed"),
        TicketsCommand::Cancel(args) => ended(args, "cancelled"),
        TicketsCommand::Inbox(command) => inbox::run(command),
        TicketsCommand::Merge(args) => {
            let body = json!({"work": "merge", "into": number(&args.into)?, "why": args.why});
            step(&args.service.open()?, &args.ticket, "/work", &body)
        }
    }
}

fn path(ticket: &str, rest: &str) -> Result<String> {
    Ok(format!("/api/v1/tickets/{}{rest}", number(ticket)?))
}

/// Takes a step on a ticket and says how it stands.
fn step(service: &Service, ticket: &str, rest: &str, body: &Value) -> Result<()> {
    let after = service.post(&path(ticket, rest)?, body)?;
    service.show(&after, stands)
}

fn list(args: ListArgs) -> Result<()> {
    let is_true = |wanted: bool| wanted.then(|| "true".to_owned());
    let open = is_true(args.open).or_else(|| args.ended.then(|| "false".to_owned()));
    let as_csv = args.csv;
    let given = [
        ("q", args.q),
        ("open", open),
        ("state", args.state),
        ("priority", args.priority),
        ("kind", args.kind),
        ("origin", args.origin),
        ("mode", args.mode),
        ("asset", args.asset),
        ("class", args.class),
        ("site", args.site),
        ("customer", args.customer),
        ("technician", args.technician),
        ("depot", args.depot),
        ("field", args.field),
        ("opened_from", args.opened_from),
        ("opened_to", args.opened_to),
        ("due_before", args.due_before),
        ("overdue", is_true(args.overdue)),
        ("breached", is_true(args.breached)),
        ("sort", args.sort),
        ("limit", (!as_csv).then(|| args.limit.to_string())),
    ];
    let service = args.service.open()?;
    if as_csv {
        return print(&service.text(&with_query("/api/v1/tickets/export", given))?);
    }
    let page = service.get(&with_query("/api/v1/tickets", given))?;
    service.show(&page, |page| {
        let rows: Vec<[String; 7]> = items(page, "items")
            .iter()
            .map(|t| {
                [
                    format!("T-{}", text(t, "id")),
                    text(t, "priority"),
                    text(t, "state"),
                    minute(t, "due_at"),
                    text(t, "technician"),
                    text(t, "asset_id"),
                    text(t, "title"),
                ]
            })
            .collect();
        let titles = [
            "ticket",
            "prio",
            "state",
            "due (UTC)",
            "technician",
            "asset",
            "title",
        ];
        let n = rows.len();
        let mut out = if n == 0 {
            String::new()
        } else {
            table(titles, rows)
        };
        let more = !text(page, "next_cursor").is_empty();
        let end = match (n, more) {
            (0, false) => "no ticket fits\n".to_owned(),
            (n, false) => format!("{n} tickets\n"),
            (n, true) => format!("{n} tickets; there are more: --limit, or --csv for all\n"),
        };
        out.push_str(&end);
        out
    })
}

/// Each name once, with its value.
fn once<V>(pairs: Vec<(String, V)>) -> Result<BTreeMap<String, V>> {
    let mut each = BTreeMap::new();
    for (name, value) in pairs {
        if each.contains_key(&name) {
            bail!("{name} is given twice");
        }
        each.insert(name, value);
    }
    Ok(each)
}

fn open(args: OpenArgs) -> Result<()> {
    let service = args.service.open()?;
    let mut body = json!({
        "asset_id": args.asset, "kind": args.kind, "safety": args.safety, "fields": once(args.field)?,
        "production": match args.production {
            Production::None => "none", Production::Reduced => "reduced", Production::Stopped => "stopped",
        },
        "urgency": match args.urgency {
            Urgency::Low => "low", Urgency::Medium => "medium", Urgency::High => "high",
        },
    });
    let texts = [
        ("title", args.title),
        ("description", args.description),
        ("mode", args.mode),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    if let Some(parent) = args.parent {
        body["parent_id"] = number(&parent)?.into();
    }
    let ticket = service.post("/api/v1/tickets", &body)?;
    service.show(&ticket, |ticket| {
        let mut out = stands(ticket);
        for other in items(ticket, "also_open") {
            out.push_str(&format!(
                "also open on this machine: T-{} {} ({}); if it is the same: forecare tickets merge\n",
                text(other, "id"),
                text(other, "title"),
                text(other, "state"),
            ));
        }
        out
    })
}

fn resolve(args: ResolveArgs) -> Result<()> {
    let finding = match args.finding {
        Finding::Confirmed => json!({"verdict": "confirmed", "failure_code": args.failure_code}),
        Finding::WrongMode => json!({"verdict": "wrong_mode", "actual": args.actual}),
        Finding::NoFaultFound => json!({"verdict": "no_fault_found"}),
        Finding::DataFault => json!({"verdict": "data_fault"}),
        Finding::TooEarly => json!({"verdict": "too_early"}),
        Finding::Done => json!({"verdict": "done"}),
    };
    let used: BTreeMap<String, u32> = args.used.into_iter().collect();
    let body = json!({"to": "resolved", "why": args.why, "finding": finding, "parts_used": used});
    step(&args.service.open()?, &args.ticket, "/transitions", &body)
}

fn ended(args: WhyArgs, state: &str) -> Result<()> {
    let body = json!({"to": state, "why": args.why});
    step(&args.service.open()?, &args.ticket, "/transitions", &body)
}
