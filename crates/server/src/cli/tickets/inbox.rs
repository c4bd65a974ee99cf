//! `forecare tickets inbox`: e-mails that belong nowhere yet, through the running service.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::service::{ServiceArgs, items, minute, table, text, with_query};

#[derive(Debug, Subcommand)]
pub(crate) enum InboxCommand {
    /// Those that wait, newest first.
    List(ListArgs),
    /// One with its words.
    Show(ShowArgs),
    /// Say which machine it is about: opens the ticket.
    Place(PlaceArgs),
    /// Say that nothing is to be done about it.
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Also those that were placed or discarded.
    #[arg(long)]
    all: bool,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its number in the inbox.
    mail: u32,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Its number in the inbox.
    mail: u32,
    /// The machine.
    #[arg(long)]
    asset: String,
    /// Kind of the ticket; corrective where not given.
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    /// Its number in the inbox.
    mail: u32,
    /// Why.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    service: ServiceArgs,
}

fn path(mail: u32, rest: &str) -> String {
    format!("/api/v1/inbound/mails/{mail}{rest}")
}

pub(crate) fn run(command: InboxCommand) -> Result<()> {
    match command {
        InboxCommand::List(args) => list(args),
        InboxCommand::Show(args) => {
            let service = args.service.open()?;
            let mail = service.get(&path(args.mail, ""))?;
            service.show(&mail, shown)
        }
        InboxCommand::Place(args) => {
            let service = args.service.open()?;
            let mut body = json!({"asset_id": args.asset});
            if let Some(kind) = args.kind {
                body["kind"] = kind.into();
            }
            let taken = service.post(&path(args.mail, "/place"), &body)?;
            service.show(&taken, |t| format!("T-{}\n", text(t, "ticket_id")))
        }
        InboxCommand::Discard(args) => {
            let service = args.service.open()?;
            let body = json!({"why": args.why});
            let mail = service.post(&path(args.mail, "/discard"), &body)?;
            service.show(&mail, |m| {
                format!("{} {}\n", text(m, "id"), text(m, "state"))
            })
        }
    }
}

fn list(args: ListArgs) -> Result<()> {
    let service = args.service.open()?;
    let given = [
        ("settled", args.all.then(|| "true".to_owned())),
        ("limit", Some(args.limit.to_string())),
    ];
    let page = service.get(&with_query("/api/v1/inbound/mails", given))?;
    service.show(&page, |page| {
        let rows: Vec<[String; 6]> = items(page, "items")
            .iter()
            .map(|m| {
                [
                    text(m, "id"),
                    minute(m, "received_at"),
                    text(m, "state"),
                    text(m, "from"),
                    candidates(m),
                    text(m, "subject"),
                ]
            })
            .collect();
        if rows.is_empty() {
            return "no e-mail waits\n".to_owned();
        }
        let titles = ["mail", "came (UTC)", "state", "from", "perhaps", "subject"];
        table(titles, rows)
    })
}

fn candidates(mail: &Value) -> String {
    let ids = items(mail, "candidates").iter().filter_map(Value::as_str);
    ids.collect::<Vec<_>>().join(" ")
}

fn shown(m: &Value) -> String {
    let mut out = format!(
        "{}  {} UTC  {}\n{}\n\n{}\n",
        text(m, "id"),
        minute(m, "received_at"),
        text(m, "from"),
        text(m, "subject"),
        text(m, "text")
    );
    let mut add = |name: &str, value: String| {
        if !value.is_empty() && value != "0" {
            out.push_str(&format!("{name:<12} {value}\n"));
        }
    };
    add("files", text(m, "n_files"));
    add("customer", text(m, "customer_id"));
    add("perhaps", candidates(m));
    add("state", text(m, "state"));
    add("ticket", text(m, "ticket_id"));
    add("why", text(m, "why"));
    out
}
