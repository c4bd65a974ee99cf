//! `forecare automation`: what rules would have done.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use forecare_domain::{Clock, Timestamp};
use serde_json::json;

use super::SERVE_HOME;
use super::instance::{InstanceArgs, instant};
use super::progress::Progress;
use crate::app::check_automation;
use crate::clock::SystemClock;
use crate::desk::{Rehearsed, Scene, Span, Terms};

/// Widest column of subjects.
const SUBJECT_WIDTH: usize = 24;

#[derive(Debug, Subcommand)]
pub(crate) enum AutomationCommand {
    /// Say what the configuration's rules would have done on the instance's history; nothing is changed.
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// From when: a day such as 2026-01-31, or an RFC 3339 time.
    #[arg(long, value_parser = instant)]
    from: Timestamp,
    /// Until when, exclusive; now where not given.
    #[arg(long, value_parser = instant)]
    to: Option<Timestamp>,
    /// Only this rule.
    #[arg(long)]
    rule: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(crate) async fn run(command: AutomationCommand) -> Result<ExitCode> {
    match command {
        AutomationCommand::Test(args) => test(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(args: TestArgs) -> Result<()> {
    let to = args.to.unwrap_or_else(|| SystemClock.now());
    if args.from >= to {
        bail!(
            "--from must be before --to: {} is not before {to}",
            args.from
        );
    }
    let instance = args.instance.open(SERVE_HOME).await?;
    let rules = &instance.config.care.automation;
    check_automation(&instance.config, &instance.catalogue)?;
    let names: Vec<&str> = rules.all().iter().map(|r| r.name.as_str()).collect();
    if names.is_empty() {
        bail!(
            "the configuration has no [[care.automation]]: name the file that has some with --config"
        );
    }
    if let Some(rule) = &args.rule
        && !names.contains(&rule.as_str())
    {
        bail!("there is no rule \"{rule}\"; there is {}", names.join(", "));
    }
    let terms = Terms::new(
        instance.config.care.sla.clone(),
        instance.config.tiers()?,
        &instance.catalogue.currency,
    );
    let store = instance.storage.store();
    let scene = Scene {
        store: store.as_ref(),
        terms: &terms,
        rules,
    };
    let span = Span {
        from: args.from,
        to,
        rule: args.rule.as_deref(),
    };
    let progress = Progress::bar(0, "machines");
    let found = scene
        .rehearse(&span, |n, of| {
            progress.length(of as u64);
            progress.set(n as u64);
        })
        .await;
    progress.finish();
    let found = found?;
    let text = if args.json {
        let all = json!({ "from": args.from, "to": to, "items": found });
        serde_json::to_string_pretty(&all)? + "\n"
    } else {
        written(&names, &found)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn written(names: &[&str], found: &[Rehearsed]) -> String {
    let widest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let rule_width = widest(&mut found.iter().map(|f| f.rule.chars().count()));
    let subject_width = widest(&mut found.iter().map(|f| f.subject.chars().count()));
    let subject_width = subject_width.min(SUBJECT_WIDTH);
    let mut text = String::new();
    for f in found {
        let (rule, subject) = (&f.rule, &f.subject);
        let at = f.at;
        text += &format!(
            "{at}  {rule:<rule_width$}  {subject:<subject_width$}  {}: {}\n",
            f.occasion,
            f.actions.join("; ")
        );
    }
    for name in names {
        let n = found.iter().filter(|f| f.rule == *name).count();
        text += &format!("{name}: {n} times\n");
    }
    text + "nothing was changed\n"
}
