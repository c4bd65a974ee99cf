//! The instance that a command works on: stopped, or running.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use forecare_catalogue::Catalogue;
use forecare_domain::{Clock, InvalidTimestamp, Timestamp};

use super::{DEMO_CATALOGUE, HomeArg};
use crate::app::catalogue;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::home::{DATABASE, Home, is_running, kept_catalogue};
use crate::storage::Storage;

/// An instance and its configuration.
#[derive(Debug, Args)]
pub(crate) struct InstanceArgs {
    #[command(flatten)]
    pub(crate) home: HomeArg,
    /// Config file of the instance: names its catalogue and its database.
    #[arg(long, env = "FORECARE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// An instance with its store open.
pub(crate) struct Instance {
    pub(crate) home: PathBuf,
    pub(crate) config: Config,
    /// What its store is laid out for.
    pub(crate) catalogue: Catalogue,
    pub(crate) storage: Storage,
    /// Kept while the instance is changed; `None`: a service runs in it, or nothing is changed.
    lock: Option<Home>,
}

impl InstanceArgs {
    /// Opens an instance to read; it may be running.
    ///
    /// # Errors
    /// There is none; its store cannot be opened.
    pub(crate) async fn open(self, default_home: &str) -> Result<Instance> {
        let config = Config::load(self.config.as_deref(), &[])?;
        let home = self.home.or(default_home);
        let kept = kept_catalogue(&home);
        if !kept.is_file() || (config.store.url.is_empty() && !home.join(DATABASE).is_file()) {
            bail!(
                "there is no instance in {}: name its directory with --home DIR",
                home.display()
            );
        }
        let (_, catalogue) = catalogue(&kept, "")?;
        Instance::new(home, config, catalogue, None).await
    }

    /// Opens an instance to change, before its first start or while it runs. Its catalogue is that of the
    /// config file, else the one it last ran with; a running service keeps the one it was started with.
    ///
    /// # Errors
    /// There is none, and no config file says what it is to be; its store cannot be opened.
    pub(crate) async fn open_to_change(self, default_home: &str) -> Result<Instance> {
        let config = Config::load(self.config.as_deref(), &[])?;
        let home = self.home.or(default_home);
        let kept = kept_catalogue(&home);
        let running = is_running(&home);
        let (text, catalogue) = if self.config.is_some() && !running {
            catalogue(&config.catalogue, DEMO_CATALOGUE)?
        } else if kept.is_file() {
            catalogue(&kept, "")?
        } else {
            bail!(
                "there is no instance in {} yet: name its config file with --config, or start `forecare serve` there once",
                home.display()
            );
        };
        let lock = if running {
            None
        } else {
            let lock = Home::open(&home)?;
            lock.keep_catalogue(&text)?;
            Some(lock)
        };
        Instance::new(home, config, catalogue, lock).await
    }
}

impl Instance {
    async fn new(
        home: PathBuf,
        config: Config,
        catalogue: Catalogue,
        lock: Option<Home>,
    ) -> Result<Self> {
        let database = home.join(DATABASE);
        let storage =
            Storage::open(&config.store, &database, &catalogue, SystemClock.now()).await?;
        Ok(Self {
            home,
            config,
            catalogue,
            storage,
            lock,
        })
    }

    /// A service works in it at the same time; of one opened to change only.
    pub(crate) fn is_running(&self) -> bool {
        self.lock.is_none()
    }
}

/// A day, or an RFC 3339 time.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    let day = format!("{text}T00:00:00Z");
    text.parse().or_else(|wrong| {
        day.parse()
            .map_err(|_no_day: InvalidTimestamp| format!("{wrong}, nor a day such as 2026-01-31"))
    })
}
