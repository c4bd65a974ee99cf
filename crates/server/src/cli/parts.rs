//! `forecare parts`: stock and its movements from a terminal, through the running service.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use forecare_api::percent_encoded;
use serde_json::{Map, Value, json};

use super::service::{ServiceArgs, items, minute, rounded, table, text, with_query};

#[derive(Debug, Subcommand)]
pub(crate) enum PartsCommand {
    /// Parts with price, lead time and what is on hand, all depots together.
    List(ServiceArgs),
    /// What lies where, and how much of it is held.
    Stock(StockArgs),
    /// Book parts that arrived.
    Receive(ReceiveArgs),
    /// Hand parts out for a ticket or a cost centre.
    Issue(IssueArgs),
    /// Take parts back.
    Return(ReturnArgs),
    /// Move parts to another depot or van.
    Transfer(TransferArgs),
    /// Say how many were found on the shelf.
    Count(CountArgs),
    /// The ledger of all movements, newest first.
    Ledger(LedgerArgs),
    /// What is held for tickets, newest first.
    Reservations(LedgerArgs),
    /// What to order, how many, and why.
    Reorder(ServiceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StockArgs {
    /// Only of this part.
    part: Option<String>,
    /// Only at this depot, or van as van:ID.
    #[arg(long)]
    depot: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What is moved, and which pieces.
#[derive(Debug, Args)]
pub(crate) struct Moved {
    /// The part's number.
    part: String,
    /// How many.
    quantity: u32,
    /// Where: a depot, or a van as van:ID.
    #[arg(long)]
    depot: String,
    /// Of a part that is tracked by batch: which.
    #[arg(long)]
    batch: Option<String>,
    /// Of a part that is tracked by serial number: which pieces, comma-separated.
    #[arg(long, value_delimiter = ',')]
    serials: Vec<String>,
    /// Why, in words.
    #[arg(long)]
    reason: Option<String>,
    /// The key of this movement: the same one again moves nothing. A new one where not given.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    #[command(flatten)]
    moved: Moved,
    /// The purchase order it is of.
    #[arg(long)]
    order: Option<String>,
    /// The bin in which it lies from now on.
    #[arg(long)]
    bin: Option<String>,
}

/// For whom.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Whom {
    /// The ticket: 7 or T-7.
    #[arg(long)]
    ticket: Option<String>,
    /// The cost centre.
    #[arg(long)]
    cost_centre: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    #[command(flatten)]
    moved: Moved,
    #[command(flatten)]
    whom: Whom,
}

/// What becomes of parts that come back.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Fate {
    Shelf,
    Scrap,
    Repair,
}

#[derive(Debug, Args)]
pub(crate) struct ReturnArgs {
    #[command(flatten)]
    moved: Moved,
    #[command(flatten)]
    whom: Whom,
    /// What becomes of them.
    #[arg(long, value_enum, default_value = "shelf")]
    fate: Fate,
}

#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    moved: Moved,
    /// Where to.
    #[arg(long)]
    to: String,
}

#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    moved: Moved,
    /// The bin in which it lies.
    #[arg(long)]
    bin: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(crate) fn run(command: PartsCommand) -> Result<()> {
    match command {
        PartsCommand::List(args) => list(args),
        PartsCommand::Stock(args) => stock(args),
        PartsCommand::Receive(args) => {
            let more = [("order", args.order), ("bin", args.bin)];
            moved(args.moved, "receipt", more)
        }
        PartsCommand::Issue(args) => {
            let whom = [
                ("ticket", args.whom.ticket),
                ("cost_centre", args.whom.cost_centre),
            ];
            moved(args.moved, "issue", whom)
        }
        PartsCommand::Return(args) => {
            let fate = match args.fate {
                Fate::Shelf => "shelf",
                Fate::Scrap => "scrap",
                Fate::Repair => "repair",
            };
            let more = [
                ("ticket", args.whom.ticket),
                ("cost_centre", args.whom.cost_centre),
                ("fate", Some(fate.to_owned())),
            ];
            moved(args.moved, "return", more)
        }
        PartsCommand::Transfer(args) => moved(args.moved, "transfer", [("to", Some(args.to))]),
        PartsCommand::Count(args) => moved(args.moved, "count", [("bin", args.bin)]),
        PartsCommand::Ledger(args) => ledger(args),
        PartsCommand::Reservations(args) => reservations(args),
        PartsCommand::Reorder(args) => reorder(args),
    }
}

fn whole(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or(0)
}

fn number(value: &Value, field: &str) -> String {
    let x = value.get(field).and_then(Value::as_f64);
    x.map_or_else(String::new, rounded)
}

fn list(args: ServiceArgs) -> Result<()> {
    let service = args.open()?;
    let found = service.get("/api/v1/parts")?;
    service.show(&found, |found| {
        let parts = items(found, "items");
        let currency = parts
            .first()
            .map_or_else(String::new, |p| text(p, "currency"));
        let price = format!("price ({currency})");
        let sum = |part: &Value, field: &str| -> String {
            let all = items(part, "stock").iter().map(|s| whole(s, field));
            all.sum::<u64>().to_string()
        };
        let rows = parts
            .iter()
            .map(|p| {
                [
                    text(p, "number"),
                    sum(p, "on_hand"),
                    sum(p, "available"),
                    sum(p, "back_ordered"),
                    number(p, "unit_cost"),
                    number(p, "lead_time_hours"),
                    text(p, "title"),
                ]
            })
            .collect();
        table(
            [
                "part",
                "on hand",
                "available",
                "back-ordered",
                &price,
                "lead time (h)",
                "title",
            ],
            rows,
        )
    })
}

fn stock(args: StockArgs) -> Result<()> {
    let service = args.service.open()?;
    let found = service.get("/api/v1/parts")?;
    let (part, depot) = (args.part, args.depot);
    let parts = items(&found, "items");
    if let Some(wanted) = &part
        && !parts.iter().any(|p| text(p, "number") == *wanted)
    {
        anyhow::bail!("there is no part \"{wanted}\"; `forecare parts list` names them");
    }
    let mut lines = Vec::new();
    for p in parts {
        let number = text(p, "number");
        if part.as_ref().is_some_and(|wanted| *wanted != number) {
            continue;
        }
        for s in items(p, "stock") {
            if depot
                .as_ref()
                .is_none_or(|wanted| *wanted == text(s, "depot"))
            {
                let mut line = s.clone();
                line["part"] = number.clone().into();
                lines.push(line);
            }
        }
    }
    service.show(&Value::Array(lines), |lines| {
        let rows = lines.as_array().map_or(&[][..], Vec::as_slice).iter();
        let rows = rows
            .map(|s| {
                [
                    text(s, "part"),
                    text(s, "depot"),
                    text(s, "on_hand"),
                    text(s, "held_soft"),
                    text(s, "held_hard"),
                    text(s, "available"),
                    text(s, "back_ordered"),
                    text(s, "in_repair"),
                    text(s, "bin"),
                ]
            })
            .collect();
        table(
            [
                "part",
                "depot",
                "on hand",
                "held softly",
                "held hard",
                "available",
                "back-ordered",
                "in repair",
                "bin",
            ],
            rows,
        )
    })
}

/// Books a movement and shows the stock after it.
fn moved<const N: usize>(args: Moved, kind: &str, more: [(&str, Option<String>); N]) -> Result<()> {
    let service = args.service.open()?;
    let mut body = Map::new();
    body.insert("kind".to_owned(), kind.into());
    body.insert("depot".to_owned(), args.depot.into());
    body.insert("quantity".to_owned(), args.quantity.into());
    let texts = [("batch", args.batch), ("reason", args.reason)];
    for (name, value) in texts.into_iter().chain(more) {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.into());
        }
    }
    if !args.serials.is_empty() {
        body.insert("serials".to_owned(), json!(args.serials));
    }
    let path = format!("/api/v1/parts/{}/movements", percent_encoded(&args.part));
    let done = service.post_once(&path, &Value::Object(body), args.key.as_deref())?;
    service.show(&done, |done| {
        let mut out = String::new();
        if done.get("repeated") == Some(&Value::Bool(true)) {
            out.push_str("booked before under this key: nothing was moved now\n");
        }
        for place in ["stock", "there"] {
            if let Some(s) = done.get(place).filter(|s| !s.is_null()) {
                out.push_str(&format!(
                    "{} at {}: {} on hand, {} available\n",
                    args.part,
                    text(s, "depot"),
                    text(s, "on_hand"),
                    text(s, "available")
                ));
            }
        }
        let more = text(done, "more_than_ordered");
        if !more.is_empty() {
            out.push_str(&format!("{more}\n"));
        }
        let short = items(done, "short").len();
        if short > 0 {
            out.push_str(&format!(
                "{short} reservations found no parts any more; they are served from elsewhere, or ordered\n"
            ));
        }
        out
    })
}

fn ledger(args: LedgerArgs) -> Result<()> {
    let service = args.service.open()?;
    let limit = [("limit", Some(args.limit.to_string()))];
    let page = service.get(&with_query("/api/v1/ledger", limit))?;
    service.show(&page, |page| {
        let rows = items(page, "items")
            .iter()
            .map(|l| {
                let pieces: Vec<String> = items(l, "units")
                    .iter()
                    .map(|u| {
                        let serial = text(u, "serial");
                        if serial.is_empty() {
                            text(u, "batch")
                        } else {
                            serial
                        }
                    })
                    .collect();
                let ticket = text(l, "ticket_id");
                let for_whom = if ticket.is_empty() {
                    text(l, "cost_centre")
                } else {
                    format!("T-{ticket}")
                };
                [
                    minute(l, "at"),
                    text(l, "kind"),
                    text(l, "part"),
                    text(l, "depot"),
                    text(l, "delta"),
                    pieces.join(" "),
                    for_whom,
                    text(l, "by"),
                    text(l, "reason"),
                ]
            })
            .collect();
        table(
            [
                "at (UTC)", "kind", "part", "depot", "change", "pieces", "for", "by", "why",
            ],
            rows,
        )
    })
}

fn reservations(args: LedgerArgs) -> Result<()> {
    let service = args.service.open()?;
    let limit = [("limit", Some(args.limit.to_string()))];
    let page = service.get(&with_query("/api/v1/reservations", limit))?;
    service.show(&page, |page| {
        let rows = items(page, "items")
            .iter()
            .map(|r| {
                [
                    format!("T-{}", text(r, "ticket_id")),
                    text(r, "priority"),
                    text(r, "part"),
                    text(r, "quantity"),
                    text(r, "used"),
                    text(r, "state"),
                    minute(r, "needed_at"),
                    minute(r, "available_at"),
                ]
            })
            .collect();
        table(
            [
                "ticket",
                "prio",
                "part",
                "quantity",
                "used",
                "state",
                "needed (UTC)",
                "ready (UTC)",
            ],
            rows,
        )
    })
}

fn reorder(args: ServiceArgs) -> Result<()> {
    let service = args.open()?;
    let found = service.get("/api/v1/reorder-proposals")?;
    service.show(&found, |found| {
        let rows: Vec<[String; 7]> = items(found, "items")
            .iter()
            .filter(|r| whole(r, "quantity") > 0)
            .map(|r| {
                [
                    text(r, "part"),
                    text(r, "quantity"),
                    text(r, "depot"),
                    format!("{} {}", number(r, "cost"), text(r, "currency")),
                    number(r, "lead_time_hours"),
                    text(r, "position"),
                    text(r, "reorder_point"),
                ]
            })
            .collect();
        if rows.is_empty() {
            return "nothing needs to be ordered\n".to_owned();
        }
        table(
            [
                "part",
                "order",
                "best sent to",
                "cost",
                "lead time (h)",
                "position",
                "order below",
            ],
            rows,
        )
    })
}
