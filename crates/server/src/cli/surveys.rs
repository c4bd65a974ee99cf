//! `forecare surveys`: what customers said, through the running service.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::service::{ServiceArgs, items, minute, table, text, with_query};

#[derive(Debug, Subcommand)]
pub(crate) enum SurveysCommand {
    /// Answers, newest first: satisfaction 1 to 5, recommendation 0 to 10, ease 1 to 7.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only about this ticket, with the answers that were changed later: 7 or T-7.
    #[arg(long)]
    ticket: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(crate) fn run(command: SurveysCommand) -> Result<()> {
    let SurveysCommand::List(args) = command;
    let service = args.service.open()?;
    let given = [
        ("ticket", args.ticket),
        ("limit", Some(args.limit.to_string())),
    ];
    let page = service.get(&with_query("/api/v1/surveys", given))?;
    service.show(&page, |page| {
        let rows: Vec<[String; 7]> = items(page, "items")
            .iter()
            .map(|a| {
                let solved = match a.get("solved").and_then(Value::as_bool) {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "",
                };
                [
                    format!("T-{}", text(a, "ticket_id")),
                    minute(a, "at"),
                    solved.to_owned(),
                    text(a, "csat"),
                    text(a, "nps"),
                    text(a, "ces"),
                    text(a, "comment").replace('\n', " "),
                ]
            })
            .collect();
        if rows.is_empty() {
            return "no answer yet\n".to_owned();
        }
        table(
            [
                "ticket", "at (UTC)", "solved", "csat", "nps", "ces", "comment",
            ],
            rows,
        )
    })
}
