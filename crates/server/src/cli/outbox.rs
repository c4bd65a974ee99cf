//! `forecare outbox`: who was told what, and what was given up.

use std::io::{ErrorKind, Write};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use forecare_domain::{Clock, DeliveryId, TicketId};
use forecare_store::{DeliveryFilter, DeliveryState, PageRequest, every};

use super::SERVE_HOME;
use super::instance::InstanceArgs;
use crate::clock::SystemClock;

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// Deliveries, newest first.
    List(ListArgs),
    /// Try dead deliveries again, as if they had never been tried; the running service sends them.
    Retry(RetryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only in this state: waiting, delivered, dead, obsolete.
    #[arg(long)]
    state: Option<String>,
    /// Only about this ticket: 7 or T-7.
    #[arg(long)]
    ticket: Option<String>,
    /// Only by this channel.
    #[arg(long)]
    channel: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// Which: 7 or D-7.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    delivery: Vec<String>,
    /// All dead ones, of one channel where it is named.
    #[arg(long)]
    all: bool,
    /// With --all: only by this channel.
    #[arg(long, requires = "all")]
    channel: Option<String>,
    #[command(flatten)]
    instance: InstanceArgs,
}

fn number(text: &str, prefix: &str) -> Result<i64> {
    let number = text.strip_prefix(prefix).unwrap_or(text).parse();
    match number {
        Ok(number) => Ok(number),
        Err(_) => bail!("\"{text}\" is no number such as 7 or {prefix}7"),
    }
}

pub(crate) async fn run(command: OutboxCommand) -> Result<()> {
    match command {
        OutboxCommand::List(args) => list(args).await,
        OutboxCommand::Retry(args) => retry(args).await,
    }
}

async fn list(args: ListArgs) -> Result<()> {
    let state = match args.state.as_deref() {
        None => None,
        Some(label) => match DeliveryState::ALL.into_iter().find(|s| s.label() == label) {
            Some(state) => Some(state),
            None => {
                let known = DeliveryState::ALL.map(DeliveryState::label).join(", ");
                bail!("\"{label}\" is no state; use one of {known}");
            }
        },
    };
    let ticket = args.ticket.as_deref().map(|t| number(t, "T-"));
    let filter = DeliveryFilter {
        state,
        ticket: ticket.transpose()?.map(TicketId),
        channel: args.channel,
    };
    let instance = args.instance.open(SERVE_HOME).await?;
    let store = instance.storage.store();
    let depth = store.outbox_depth().await?;
    let mut text = format!(
        "{} waiting, {} dead, {} not routed yet\n",
        depth.waiting, depth.dead, depth.unrouted
    );
    let page = PageRequest {
        before: None,
        limit: usize::from(args.limit),
    };
    for d in store.deliveries(&filter, page).await? {
        let d = d.item;
        let state = d.state.label();
        let notice = &d.notice;
        text += &format!(
            "{:<6} {state:<9} {}  {}  {} by {} to {} {}\n",
            d.id.to_string(),
            notice.at,
            notice.what.label(),
            notice.about(),
            d.channel,
            d.recipient,
            d.address
        );
        if let Some(error) = &d.error {
            text += &format!("       attempt {}: {error}\n", d.attempts);
        }
        if d.state == DeliveryState::Waiting {
            text += &format!("       next {}\n", d.next_at);
        }
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

async fn retry(args: RetryArgs) -> Result<()> {
    let instance = args.instance.open_to_change(SERVE_HOME).await?;
    let store = instance.storage.store();
    let now = SystemClock.now();
    let mut ids = Vec::new();
    for text in &args.delivery {
        ids.push(DeliveryId(number(text, "D-")?));
    }
    let channel = args.channel;
    if args.all {
        let dead = DeliveryFilter {
            state: Some(DeliveryState::Dead),
            channel: channel.clone(),
            ..DeliveryFilter::default()
        };
        let dead = every(|page| store.deliveries(&dead, page)).await?;
        ids.extend(dead.iter().map(|d| d.id));
    }
    for id in &ids {
        store.retry_delivery(*id, now).await?;
    }
    let when = if instance.is_running() {
        "the running service sends them now"
    } else {
        "the service sends them after its next start"
    };
    if args.all && ids.is_empty() {
        println!("no delivery is dead: there is nothing to bring back");
    } else {
        println!("{} deliveries wait again; {when}", ids.len());
    }
    if args.all {
        // Those are none that were given up: they are tried without being asked.
        let waiting = DeliveryFilter {
            state: Some(DeliveryState::Waiting),
            channel,
            ..DeliveryFilter::default()
        };
        let waiting = every(|page| store.deliveries(&waiting, page)).await?;
        let others = waiting.iter().filter(|d| !ids.contains(&d.id));
        if let Some(next_at) = others.clone().map(|d| d.next_at).min() {
            println!(
                "{} more wait already and are tried by themselves, the next at {next_at}; `forecare outbox list --state waiting` shows them",
                others.count()
            );
        }
    }
    instance.storage.close().await
}
