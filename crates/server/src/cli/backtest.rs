//! `forecare backtest`: a policy tried on stored history.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_domain::Timestamp;
use tokio::runtime::Runtime;

use super::SERVE_HOME;
use super::instance::{InstanceArgs, instant};
use super::progress::Progress;
use crate::backtest::{self, Basis, POLICY_TOML, Period, Policy, Setup, WARM_UP_DAYS};
use crate::models;

#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    /// Begin of the period: 2026-01-31 or 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant, required_unless_present = "print_policy")]
    from: Option<Timestamp>,
    /// End of the period, exclusive.
    #[arg(long, value_name = "TIME", value_parser = instant, required_unless_present = "print_policy")]
    to: Option<Timestamp>,
    /// Policy to try; given twice, two stand side by side. Without one: as configured.
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// Directory for report.json and report.html; made where it is missing.
    #[arg(long, value_name = "DIR", required_unless_present = "print_policy")]
    out: Option<PathBuf>,
    /// Failures that are on record elsewhere: CSV with the columns device, ts and mode. All failures of the period must
    /// be in it.
    #[arg(long, value_name = "FILE")]
    failures: Option<PathBuf>,
    /// Code of device events that report a failure of their component; may be given several times. Detectors do not see
    /// them.
    #[arg(long = "failure-code", value_name = "CODE")]
    failure_codes: Vec<String>,
    /// A visit is right if the fault would have struck within so many hours; without it, the class's horizon.
    #[arg(long, value_name = "HOURS", value_parser = hours)]
    right_within_hours: Option<f64>,
    /// Days of readings before the period that detectors learn from.
    #[arg(long, value_name = "DAYS", default_value_t = WARM_UP_DAYS, value_parser = days)]
    warm_up_days: f64,
    /// Threads that read and score; without it, one per processor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print a policy file with every key, its meaning and default, and end.
    #[arg(long)]
    print_policy: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

fn hours(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(hours) if hours.is_finite() && hours > 0.0 => Ok(hours),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

fn days(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(days) if days.is_finite() && days >= 0.0 => Ok(days),
        _ => Err("it must be a number of at least 0".to_owned()),
    }
}

pub(crate) fn run(args: BacktestArgs, runtime: &Runtime) -> Result<()> {
    if args.print_policy {
        print!("{POLICY_TOML}");
        return Ok(());
    }
    let (Some(from), Some(to), Some(out)) = (args.from, args.to, args.out) else {
        bail!("--from, --to and --out are needed");
    };
    if from >= to {
        bail!("--from must be before --to");
    }
    if args.policies.len() > 2 {
        bail!("two policies at most stand side by side; try the others in a second run");
    }
    let instance = runtime.block_on(args.instance.open(SERVE_HOME))?;
    let model_dir = models::directory(&instance.config, &instance.home);
    let basis = Basis {
        config: &instance.config,
        catalogue: &instance.catalogue,
        model_dir: &model_dir,
    };
    let mut policies = Vec::new();
    for file in &args.policies {
        policies.push(Policy::read(Some(file), &basis)?);
    }
    if policies.is_empty() {
        policies.push(Policy::read(None, &basis)?);
    }
    // Before the long part: a directory that cannot be written is to be known now.
    std::fs::create_dir_all(&out)
        .with_context(|| format!("cannot make the directory {}", out.display()))?;
    let n_threads = match args.threads {
        Some(n) => usize::from(n),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let begin = from.plus_hours(-24.0 * args.warm_up_days);
    let whole_days = day_of(begin, to);
    let progress = Progress::bar(whole_days, "days");
    let mut noted = 0;
    let setup = Setup {
        store: instance.storage.store(),
        catalogue: &instance.catalogue,
        policies: &policies,
        period: Period { from, to },
        warm_up_days: args.warm_up_days,
        failures: args.failures.as_deref(),
        failure_codes: &args.failure_codes,
        right_within_hours: args.right_within_hours,
        n_threads,
        rows_held: None,
    };
    let report = backtest::backtest(&setup, runtime, |at, n_rows| {
        let day = day_of(begin, at);
        progress.set(day);
        progress.say(format!("{n_rows} rows"));
        let tenth = day * 10 / whole_days.max(1);
        if progress.is_plain() && tenth > noted {
            noted = tenth;
            progress.note(&format!("{at}: {n_rows} rows"));
        }
    })?;
    progress.finish();
    drop(setup);
    runtime.block_on(instance.storage.close())?;
    let write = |name: &str, text: String| {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("report.json", serde_json::to_string_pretty(&report)? + "\n")?;
    write("report.html", backtest::page(&report))?;
    println!(
        "{} to {}, {} devices, {} rows\n",
        report.from, report.to, report.devices, report.rows_scored
    );
    print!("{}", backtest::table(&report));
    println!("\n{}", out.join("report.html").display());
    Ok(())
}

/// Whole days since `begin`, up to now.
fn day_of(begin: Timestamp, at: Timestamp) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and far below 2^53"
    )]
    let days = (at.hours_since(begin) / 24.0).max(0.0) as u64;
    days
}
