//! `forecare models`: versions, their cards, and who is live.

mod shown;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_catalogue::Catalogue;
use forecare_detect::{DetectSettings, EpisodeSettings};
use forecare_domain::{ClassName, Clock, Timestamp};
use forecare_prognosis::Model;

use super::instance::InstanceArgs;
use super::instance::instant;
use super::progress::Progress;
use super::{DEMO_CATALOGUE, SERVE_HOME};
use crate::app::catalogue;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::home::{DATABASE, is_running, kept_catalogue};
use crate::models::compare::compare;
use crate::models::guard::seen_of;
use crate::models::learn::Span;
use crate::models::library::{Library, Named, Role, role_of};
use crate::models::record::{Reason, Roles};
use crate::models::watch::Seen;
use crate::models::{directory, read};
use crate::pipeline::ClassContext;
use crate::storage::Storage;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Every version of every class, and its role.
    List(ListArgs),
    /// A version's card, with its scores and reliability table, and what is seen of it in service.
    Show(OneArgs),
    /// Two versions side by side: their cards, and what each would have said on the stored history.
    Compare(CompareArgs),
    /// Make a version live. A running service follows within seconds.
    Promote(ChangeArgs),
    /// Take the live version back: the one before it speaks again.
    Rollback(ClassArgs),
    /// Let no model speak: the detectors work alone.
    Off(ClassArgs),
    /// Try a version beside the live one: it scores the same rows and opens nothing. `off` ends the trial.
    Shadow(ChangeArgs),
    /// Put a model file in as the next version of its class.
    Add(AddArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The version, such as v2; without it, the live one.
    version: Option<String>,
    #[command(flatten)]
    class: ClassArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// One version; without any, the live and the shadow one.
    #[arg(requires = "second")]
    first: Option<String>,
    /// The other.
    second: Option<String>,
    /// Look at readings from this time on: 2026-01-31 or 2026-01-31T08:00:00Z. What a version was learnt from is no test
    /// of it.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Look at readings before this time.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// Only the cards.
    #[arg(long)]
    cards: bool,
    #[command(flatten)]
    class: ClassArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The version, such as v2.
    version: String,
    #[command(flatten)]
    class: ClassArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClassArgs {
    /// The asset class; may be left out where only one has models.
    #[arg(long)]
    class: Option<String>,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The model file.
    file: PathBuf,
    /// Make it live at once, whatever was live before.
    #[arg(long)]
    promote: bool,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(crate) async fn run(command: ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::List(args) => list(args),
        ModelsCommand::Show(args) => show(args).await,
        ModelsCommand::Compare(args) => compared(args).await,
        ModelsCommand::Promote(args) => {
            let at = Place::of(args.class)?;
            at.library
                .promote(&at.class, &args.version, &at.catalogue, &at.reason())?;
            at.said(&format!("{} is live", args.version));
            Ok(())
        }
        ModelsCommand::Rollback(args) => {
            let at = Place::of(args)?;
            let to = at
                .library
                .roll_back(&at.class, &at.catalogue, &at.reason())?;
            at.said(&format!("{to} is live again"));
            Ok(())
        }
        ModelsCommand::Off(args) => {
            let at = Place::of(args)?;
            at.library.change(&at.class, |roles| {
                if roles.live.is_none() {
                    bail!("no model is live for class {}", at.class);
                }
                roles.switch_off(&at.reason());
                Ok(())
            })?;
            at.said("the detectors work alone");
            Ok(())
        }
        ModelsCommand::Shadow(args) => shadow(args),
        ModelsCommand::Add(args) => add(args),
    }
}

/// Puts a model among the versions, and says what came of it.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn place(
    library: &Library,
    model: &Model,
    promote: bool,
    catalogue: &Catalogue,
    reason: &Reason,
) -> Result<()> {
    for line in library.adopt(catalogue, reason)? {
        println!("{line}");
    }
    let class = model.class();
    let mut placed = library.add(model, reason)?;
    if promote && placed.role != Role::Live {
        library.promote(class, &placed.version, catalogue, reason)?;
        placed.role = Role::Live;
    }
    let known = if placed.known {
        " (the same model was there already)"
    } else {
        ""
    };
    println!(
        "{class} {} in {}: {}{known}",
        placed.version,
        library.dir().display(),
        placed.role.label()
    );
    if placed.role != Role::Live {
        println!(
            "  the live one goes on; `forecare models compare` shows both, `forecare models promote {}` makes this one live",
            placed.version
        );
    }
    Ok(())
}

/// Who uses this machine.
pub(crate) fn person() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// A class's models in an instance.
struct Place {
    library: Library,
    catalogue: Catalogue,
    class: ClassName,
    why: String,
    home: PathBuf,
    config: Config,
}

/// The instance's library with its catalogue; the instance need not have been started yet.
fn library(instance: InstanceArgs) -> Result<(Library, Catalogue, PathBuf, Config)> {
    let config = Config::load(instance.config.as_deref(), &[])?;
    let home = instance.home.or(SERVE_HOME);
    let kept = kept_catalogue(&home);
    let file = if instance.config.is_none() && kept.is_file() {
        kept
    } else {
        config.catalogue.clone()
    };
    let (_, catalogue) = catalogue(&file, DEMO_CATALOGUE)?;
    Ok((
        Library::new(directory(&config, &home)),
        catalogue,
        home,
        config,
    ))
}

impl Place {
    fn of(args: ClassArgs) -> Result<Self> {
        let (library, catalogue, home, config) = library(args.instance)?;
        // What lies loose gets its version before anything is done with it.
        let reason = Reason {
            at: SystemClock.now(),
            by: person(),
            why: args.why.clone(),
        };
        library.adopt(&catalogue, &reason)?;
        let there = library.classes()?;
        let class = match (args.class, there.as_slice()) {
            (Some(name), _) => ClassName::new(&name).context("--class cannot be used")?,
            (None, [only]) => only.clone(),
            (None, []) => bail!(
                "there are no models in {}: `forecare train` learns one, `forecare models add FILE` puts one in; another instance is named with --home DIR",
                library.dir().display()
            ),
            (None, several) => {
                let names: Vec<&str> = several.iter().map(ClassName::as_str).collect();
                bail!("name the class, with --class: {}", names.join(", "));
            }
        };
        if !there.contains(&class) {
            let names: Vec<&str> = there.iter().map(ClassName::as_str).collect();
            bail!(
                "class {class} has no models in {}; there are some for: {}",
                library.dir().display(),
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            );
        }
        Ok(Self {
            library,
            catalogue,
            class,
            why: args.why,
            home,
            config,
        })
    }

    fn reason(&self) -> Reason {
        Reason {
            at: SystemClock.now(),
            by: person(),
            why: self.why.clone(),
        }
    }

    fn said(&self, what: &str) {
        println!("class {}: {what}", self.class);
        if is_running(&self.home) {
            eprintln!("the running service follows within a few seconds");
        }
    }

    fn version(&self, version: &str) -> Result<Named> {
        self.library.version(&self.class, version, &self.catalogue)
    }

    /// The instance's store; `None` where it was never started.
    async fn storage(&self) -> Result<Option<Storage>> {
        let database = self.home.join(DATABASE);
        if self.config.store.url.is_empty() && !database.is_file() {
            return Ok(None);
        }
        let now = SystemClock.now();
        Storage::open(&self.config.store, &database, &self.catalogue, now)
            .await
            .map(Some)
    }
}

fn list(args: ListArgs) -> Result<()> {
    let (library, catalogue, _, _) = library(args.instance)?;
    let mut lines = Vec::new();
    for class in library.classes()? {
        let roles = library.roles(&class)?;
        for version in library.versions(&class)? {
            let role = role_of(&roles, &version);
            let named = if role == Role::Live {
                library.live_version(&class, &version, &catalogue)
            } else {
                library.version(&class, &version, &catalogue)
            };
            lines.push(shown::line(&class, &version, role, &named, &roles));
        }
    }
    for (class, live) in library.loose_live(&catalogue)? {
        // A file that nobody has taken in yet speaks all the same.
        let roles = Roles::default();
        lines.push(shown::line(&class, "(file)", Role::Live, &Ok(live), &roles));
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
    } else if lines.is_empty() {
        println!(
            "no models in {}: the detectors work alone",
            library.dir().display()
        );
    } else {
        print!("{}", shown::table(&lines));
    }
    Ok(())
}

async fn show(args: OneArgs) -> Result<()> {
    let at = Place::of(args.class)?;
    let roles = at.library.roles(&at.class)?;
    let version = match (args.version, &roles.live) {
        (Some(version), _) => version,
        (None, Some(live)) => live.clone(),
        (None, None) => bail!(
            "no model is live for class {}: name a version ({})",
            at.class,
            at.library.versions(&at.class)?.join(", ")
        ),
    };
    let role = role_of(&roles, &version);
    let named = if role == Role::Live {
        at.library
            .live_version(&at.class, &version, &at.catalogue)?
    } else {
        at.version(&version)?
    };
    print!("{}", shown::card(&at.class, &named, role, &roles));
    if let Some(storage) = at.storage().await? {
        let seen = seen_of(&*storage.store(), &at.class).await?;
        print!("{}", shown::in_service(&named, role, &seen));
        storage.close().await?;
    }
    print!("{}", shown::history(&roles, &version));
    Ok(())
}

async fn compared(args: CompareArgs) -> Result<()> {
    let at = Place::of(args.class)?;
    let roles = at.library.roles(&at.class)?;
    let (first, second) = match (args.first, args.second, &roles.live, &roles.shadow) {
        (Some(first), Some(second), _, _) => (first, second),
        (_, _, Some(live), Some(shadow)) => (live.clone(), shadow.clone()),
        _ => bail!(
            "name two versions of class {}: {}",
            at.class,
            at.library.versions(&at.class)?.join(", ")
        ),
    };
    let named = [at.version(&first)?, at.version(&second)?];
    let names = [&first, &second].map(|v| format!("{v} ({})", role_of(&roles, v).label()));
    print!("{}", shown::cards(&names, &named));
    if args.cards {
        return Ok(());
    }
    let Some(storage) = at.storage().await? else {
        println!("nothing is stored yet: there is no history to compare them on");
        return Ok(());
    };
    let store = storage.store();
    let seen: Seen = seen_of(&*store, &at.class).await?;
    print!("{}", shown::trial(&named, &seen));
    let span = Span::new(args.from, args.to)?;
    let class = at
        .catalogue
        .class(&at.class)
        .with_context(|| format!("the catalogue has no class {}", at.class))?;
    let context = ClassContext::new(
        class.clone(),
        None,
        &DetectSettings::default(),
        EpisodeSettings::default(),
        at.config.detect.reassess_hours,
        at.config.detect.confirm_hours,
        at.config.care.margin,
    )?;
    let progress = Progress::bar(1, "machines");
    let models = [&*named[0].model, &*named[1].model];
    let comparison = compare(&*store, &context, models, span, |done, of| {
        progress.length(of as u64);
        progress.set(done as u64);
    })
    .await?;
    progress.finish();
    print!("{}", shown::comparison(&names, &named, &comparison, span));
    drop(store);
    storage.close().await
}

fn shadow(args: ChangeArgs) -> Result<()> {
    let at = Place::of(args.class)?;
    if args.version == "off" {
        at.library.change(&at.class, |roles| {
            if roles.shadow.is_none() {
                bail!("no model of class {} is tried", at.class);
            }
            roles.shadow(None, &at.reason());
            Ok(())
        })?;
        at.said("no model is tried any more");
        return Ok(());
    }
    at.version(&args.version)?;
    at.library.change(&at.class, |roles| {
        if roles.live.as_deref() == Some(&*args.version) {
            bail!(
                "{} is live for class {}: it cannot be tried beside itself",
                args.version,
                at.class
            );
        }
        roles.shadow(Some(&args.version), &at.reason());
        Ok(())
    })?;
    at.said(&format!("{} is tried beside the live model", args.version));
    Ok(())
}

fn add(args: AddArgs) -> Result<()> {
    let (library, catalogue, home, _) = library(args.instance)?;
    let file: &Path = &args.file;
    let model = read(file, &catalogue)?;
    let reason = Reason {
        at: SystemClock.now(),
        by: person(),
        why: if args.why.is_empty() {
            format!("from {}", file.display())
        } else {
            args.why
        },
    };
    place(&library, &model, args.promote, &catalogue, &reason)?;
    if is_running(&home) {
        eprintln!("the running service follows within a few seconds");
    }
    Ok(())
}
