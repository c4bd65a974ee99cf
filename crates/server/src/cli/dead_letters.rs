//! `forecare dead-letters`.

use std::io::{ErrorKind, Write};

use anyhow::{Result, bail};
use clap::Args;
use forecare_domain::RejectReason;
use forecare_store::PageRequest;

use super::SERVE_HOME;
use super::instance::InstanceArgs;

/// Most characters of a payload shown.
const PAYLOAD_CHARS_MAX: usize = 200;

#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Only of this reason, such as invalid_json.
    #[arg(long)]
    reason: Option<String>,
    /// How many at most, newest first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

pub(crate) async fn run(args: DeadLettersArgs) -> Result<()> {
    let reason = match &args.reason {
        None => None,
        Some(label) => match RejectReason::ALL.into_iter().find(|r| r.label() == label) {
            Some(reason) => Some(reason),
            None => {
                let known: Vec<&str> = RejectReason::ALL
                    .into_iter()
                    .map(RejectReason::label)
                    .collect();
                bail!("\"{label}\" is no reason; use one of {}", known.join(", "));
            }
        },
    };
    let instance = args.instance.open(SERVE_HOME).await?;
    let store = instance.storage.store();
    let counts = store.rejection_counts().await?;
    if counts.iter().all(|(_, n)| *n == 0) {
        println!("no message was refused");
        return Ok(());
    }
    let mut text = format!("{:<22} {:>12}\n", "reason", "refused");
    for (reason, n) in counts.iter().filter(|(_, n)| *n > 0) {
        text += &format!("{:<22} {n:>12}\n", reason.label());
    }
    let page = PageRequest {
        before: None,
        limit: usize::from(args.limit),
    };
    let letters = store.dead_letters(reason, page).await?;
    text += &format!("\nnewest {} kept:\n", letters.len());
    for letter in letters {
        let letter = letter.item;
        let payload: String = letter.payload.escape_ascii().to_string();
        text += &format!(
            "{}  {}  {}\n    {}\n    payload, {} bytes: {}\n",
            letter.received_at,
            letter.reason.label(),
            letter.topic,
            letter.detail,
            letter.payload_bytes,
            payload
                .trim_end()
                .chars()
                .take(PAYLOAD_CHARS_MAX)
                .collect::<String>()
        );
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
