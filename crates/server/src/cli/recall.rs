//! `forecare recall`.

use std::io::{ErrorKind, Write};

use anyhow::{Result, bail};
use clap::Args;
use forecare_api::{UnitPlaceDto, where_units};
use forecare_domain::{BatchNumber, PartNumber, SerialNumber};
use forecare_store::UnitFilter;

use super::SERVE_HOME;
use super::instance::InstanceArgs;

#[derive(Debug, Args)]
pub(crate) struct RecallArgs {
    /// Only of this batch.
    #[arg(long)]
    batch: Option<BatchNumber>,
    /// Only with this serial number.
    #[arg(long)]
    serial: Option<SerialNumber>,
    /// Only of this part.
    #[arg(long)]
    part: Option<PartNumber>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(crate) async fn run(args: RecallArgs) -> Result<()> {
    if args.batch.is_none() && args.serial.is_none() && args.part.is_none() {
        bail!("say what is looked for: --batch, --serial or --part");
    }
    let instance = args.instance.open(SERVE_HOME).await?;
    let filter = UnitFilter {
        part: args.part,
        batch: args.batch,
        serial: args.serial,
        asset: None,
    };
    let (units, is_cut) = where_units(instance.storage.store().as_ref(), &filter).await?;
    let text = if args.json {
        serde_json::to_string_pretty(&units)? + "\n"
    } else {
        let mut text = String::new();
        for unit in &units {
            let place = match unit.place {
                UnitPlaceDto::Shelf => "on the shelf at",
                UnitPlaceDto::Repair => "in repair from",
                UnitPlaceDto::Issued => "handed out for",
                UnitPlaceDto::Installed => "installed in",
                UnitPlaceDto::CostCentre => "with",
                UnitPlaceDto::Scrapped => "scrapped at",
            };
            let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
            let name = [&unit.depot, &unit.asset_id, &unit.cost_centre]
                .into_iter()
                .find_map(Clone::clone);
            let ticket = unit.ticket_id.map(|id| format!(" (T-{id})"));
            text += &format!(
                "{:<16} serial {:<16} batch {:<12} {:>4}  {place} {}{} since {}\n",
                unit.part,
                named(&unit.serial),
                named(&unit.batch),
                unit.quantity,
                name.unwrap_or_default(),
                ticket.unwrap_or_default(),
                unit.since
            );
        }
        if units.is_empty() {
            text += "nothing is known of such pieces\n";
        }
        if is_cut {
            text += "there are more: ask for less\n";
        }
        text
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
