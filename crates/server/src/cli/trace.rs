//! `forecare trace`.

use std::io::{ErrorKind, Write};

use anyhow::Result;
use clap::Args;
use forecare_api::trace;

use super::SERVE_HOME;
use super::instance::InstanceArgs;

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// A ticket, such as T-7 or 7, or an alarm's id.
    id: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(crate) async fn run(args: TraceArgs) -> Result<()> {
    let instance = args.instance.open(SERVE_HOME).await?;
    let found = trace(instance.storage.store().as_ref(), &args.id, true).await?;
    let text = if args.json {
        serde_json::to_string_pretty(&found)? + "\n"
    } else {
        let asset = found.asset_id.as_deref().unwrap_or("no asset");
        let mut text = format!("{}\n{asset}, device {}\n\n", found.id, found.device_id);
        for step in &found.steps {
            let by = step.by.as_deref().unwrap_or_default();
            text += &format!("{}  {:<9} {by:<12} {}\n", step.at, step.kind, step.what);
        }
        text
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
