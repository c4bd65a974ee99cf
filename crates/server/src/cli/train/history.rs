//! `forecare train history`: from the instance's own store.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_catalogue::AssetClass;
use forecare_domain::{Clock, Timestamp};
use forecare_prognosis::{CardData, TrainParams};
use forecare_registry::Purpose;

use super::{Destination, deliver, learn};
use crate::cli::SERVE_HOME;
use crate::cli::instance::InstanceArgs;
use crate::cli::instance::instant;
use crate::cli::progress::Progress;
use crate::clock::SystemClock;
use crate::consents::refusing;
use crate::failures::{self, FailuresFile};
use crate::models::directory;
use crate::models::learn::{Span, add_life, must_speak, stored};
use crate::models::library::Library;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The asset class; may be left out where the catalogue has only one.
    #[arg(long)]
    class: Option<String>,
    /// Learn from readings from this time on: 2026-01-31 or 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Learn from readings before this time.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// Failures that are on record elsewhere: CSV with the columns device, ts and mode, as for `backtest`. They count as
    /// confirmed verdicts; one that a verdict tells of within 24 h counts once.
    #[arg(long, value_name = "FILE")]
    failures: Option<PathBuf>,
    #[command(flatten)]
    destination: Destination,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(crate) async fn run(args: HistoryArgs) -> Result<()> {
    let span = Span::new(args.from, args.to)?;
    let instance = args.instance.open(SERVE_HOME).await?;
    let catalogue = &instance.catalogue;
    let class: &AssetClass = match (&args.class, catalogue.classes.as_slice()) {
        (Some(name), classes) => classes
            .iter()
            .find(|c| c.name.as_str() == name)
            .with_context(|| {
                let known: Vec<&str> = classes.iter().map(|c| c.name.as_str()).collect();
                format!(
                    "the catalogue has no class \"{name}\"; it has {}",
                    known.join(", ")
                )
            })?,
        (None, [only]) => only,
        (None, classes) => {
            let known: Vec<&str> = classes.iter().map(|c| c.name.as_str()).collect();
            bail!(
                "name the class to learn, with --class: {}",
                known.join(", ")
            );
        }
    };
    let progress = Progress::bar(1, "machines read");
    let store = instance.storage.store();
    let presumed = &instance.config.registry.consent;
    let now = SystemClock.now();
    let refused = refusing(&*store, presumed, Purpose::ModelTraining, now).await?;
    let on_record = match &args.failures {
        Some(file) => failures::read(file, &store.assets().await?, catalogue)?,
        None => FailuresFile::default(),
    };
    if on_record.n_elsewhere > 0 {
        eprintln!(
            "{} lines of the failures file name devices that are not in this instance",
            on_record.n_elsewhere
        );
    }
    let failures = &on_record.failures;
    let history = stored(&*store, class, span, &refused, failures, |done, of| {
        progress.length(of as u64);
        progress.set(done as u64);
    })
    .await?;
    progress.finish();
    if history.n_refused > 0 {
        eprintln!(
            "{} machines left out: their customers do not agree to training (purpose model_training)",
            history.n_refused
        );
    }
    drop(store);
    let params = TrainParams {
        row_distance_hours: history.row_distance_hours,
        // A plant's machines differ by more than an early fault moves them.
        own_usual: true,
        ..TrainParams::default()
    };
    // The data has its own time, so that the same store gives the same file.
    let data = CardData {
        data: history.data,
        trained_at: history.newest,
    };
    let model = learn(class, &history.histories, &params, &data).context(
        "failures are learnt from verdicts and from --failures FILE: a mode needs confirmed ones (or \"wrong mode\" naming it) on 2 machines",
    )?;
    let progress = Progress::bar(100, "% of remaining life");
    let (model, said) = add_life(model, class, &history.histories, &mut |share| {
        progress.share(share);
    });
    progress.finish();
    must_speak(&model, &said)?;
    println!("{said}");
    let library = Library::new(directory(&instance.config, &instance.home));
    deliver(&model, &args.destination, &library, catalogue)?;
    instance.storage.close().await
}
