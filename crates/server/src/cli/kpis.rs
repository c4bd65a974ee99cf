//! `forecare kpis`: what the service achieves, through the running service.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::service::{ServiceArgs, items, minute, print, rounded, table, text, with_query};

#[derive(Debug, Args)]
pub(crate) struct KpisArgs {
    /// Dimensions to tell apart, comma-separated: class, model, site, region, customer, tier, mode, batch, technician, kind,
    /// priority, week.
    #[arg(long)]
    by: Option<String>,
    /// From, RFC 3339 or a day; 90 days before the end where neither it nor --days is given.
    #[arg(long, value_name = "TIME|DAY", value_parser = super::instance::instant)]
    from: Option<forecare_domain::Timestamp>,
    /// To, RFC 3339 or a day; now where not given.
    #[arg(long, value_name = "TIME|DAY", value_parser = super::instance::instant)]
    to: Option<forecare_domain::Timestamp>,
    /// Or so many days before the end.
    #[arg(long, conflicts_with = "from")]
    days: Option<u32>,
    /// Only what has this value in a dimension, such as site=Hamburg; may be repeated.
    #[arg(long, value_name = "DIMENSION=VALUE", value_parser = only)]
    only: Vec<(String, String)>,
    /// As CSV: a line per dimension, group and figure.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

fn only(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("use DIMENSION=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A figure's value with its unit.
fn value(figure: &Value, currency: &str) -> String {
    let Some(x) = figure.get("value").and_then(Value::as_f64) else {
        return "-".to_owned();
    };
    match text(figure, "unit").as_str() {
        "hours" => format!("{} h", rounded(x)),
        "share" => format!("{} %", rounded(x * 100.0)),
        "money" => format!("{} {currency}", rounded(x)),
        _ => rounded(x),
    }
}

pub(crate) fn run(args: KpisArgs) -> Result<()> {
    let mut given = vec![
        ("by", args.by),
        ("from", args.from.map(|at| at.to_string())),
        ("to", args.to.map(|at| at.to_string())),
        ("days", args.days.map(|days| days.to_string())),
        ("format", args.csv.then(|| "csv".to_owned())),
    ];
    let wanted = args.only.iter();
    given.extend(wanted.map(|(name, value)| (name.as_str(), Some(value.clone()))));
    let path = with_query("/api/v1/kpis", given);
    let service = args.service.open()?;
    if args.csv {
        return print(&service.text(&path)?);
    }
    let all = service.get(&path)?;
    service.show(&all, shown)
}

fn shown(all: &Value) -> String {
    let currency = text(all, "currency");
    let rows = |figures: &[Value]| -> Vec<[String; 4]> {
        let row = |f: &Value| {
            [
                text(f, "title"),
                value(f, &currency),
                text(f, "n"),
                text(f, "n_unknown"),
            ]
        };
        figures.iter().map(row).collect()
    };
    let titles = ["figure", "value", "from", "not known yet"];
    let mut out = format!("{} to {} UTC\n\n", minute(all, "from"), minute(all, "to"));
    out += &table(titles, rows(items(all, "figures")));
    for dimension in items(all, "dimensions") {
        for group in items(dimension, "groups") {
            let name = text(group, "name");
            let name = if name.is_empty() { "none" } else { &name };
            out += &format!("\n{}: {name}\n", text(dimension, "dimension"));
            out += &table(titles, rows(items(group, "figures")));
        }
    }
    out
}
