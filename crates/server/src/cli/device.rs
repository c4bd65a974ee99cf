//! `forecare device`: registration and credentials, before an instance's first start or while it runs.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, AssetId, ClassName, Clock, DeviceId};
use forecare_store::{Credential, CredentialRole, Store};

use super::{DEMO_CATALOGUE, InstanceArgs, SERVE_HOME};
use crate::app::catalogue;
use crate::auth::ADMIN;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::home::{DATABASE, Home, is_running, kept_catalogue, new_secret, secret_hash};
use crate::storage::Storage;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Register a device and print its password, once: only a hash is kept.
    Add(AddArgs),
    /// Give a gateway, which may publish for every device, a password.
    AddGateway(AddGatewayArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The device's id: its MQTT user name, and the second level of its topics.
    id: String,
    /// Its class in the catalogue.
    #[arg(long)]
    class: String,
    /// What people call the machine; without it, the id.
    #[arg(long)]
    name: Option<String>,
    /// Where it stands.
    #[arg(long, default_value = "")]
    site: String,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AddGatewayArgs {
    /// The gateway's MQTT user name.
    name: String,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(crate) async fn run(command: DeviceCommand) -> Result<()> {
    match command {
        DeviceCommand::Add(args) => add(args).await,
        DeviceCommand::AddGateway(args) => {
            let name = DeviceId::new(&args.name).context("the gateway's name cannot be used")?;
            let instance = Instance::open(args.instance).await?;
            let store = instance.storage.store();
            give_secret(&*store, name.as_str(), CredentialRole::Gateway).await?;
            instance.close().await
        }
    }
}

async fn add(args: AddArgs) -> Result<()> {
    let device = DeviceId::new(&args.id).context("the device's id cannot be used")?;
    let class = ClassName::new(&args.class).context("the class cannot be used")?;
    let instance = Instance::open(args.instance).await?;
    let catalogue = &instance.catalogue;
    if catalogue.class(&class).is_none() {
        let known: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
        bail!(
            "the catalogue has no class \"{class}\"; it has {}{}",
            known.join(", "),
            if instance.home.is_none() {
                " (a new catalogue counts once the service is started anew)"
            } else {
                ""
            }
        );
    }
    let store = instance.storage.store();
    let known = store
        .assets()
        .await?
        .into_iter()
        .any(|a| a.device == device);
    if known {
        eprintln!("{device} is registered already: it gets a new password, the rest stays");
    } else {
        store
            .register_assets(vec![Asset {
                id: AssetId::new(device.as_str())?,
                name: args.name.unwrap_or_else(|| device.to_string()),
                device: device.clone(),
                class,
                site: args.site,
                depot: None,
                registered_at: SystemClock.now(),
            }])
            .await?;
    }
    give_secret(&*store, device.as_str(), CredentialRole::Device).await?;
    instance.close().await
}

/// An instance to change: stopped, or running.
struct Instance {
    /// Locked; `None`: a service runs in it.
    home: Option<Home>,
    /// The catalogue its store is laid out for: that of the config file, else the one it last ran with. A
    /// running service keeps the one it was started with.
    catalogue: Catalogue,
    storage: Storage,
}

impl Instance {
    async fn open(args: InstanceArgs) -> Result<Self> {
        let config = Config::load(args.config.as_deref(), &[])?;
        let dir = args.home.or(SERVE_HOME);
        let kept = kept_catalogue(&dir);
        let running = is_running(&dir);
        let (text, catalogue) = if args.config.is_some() && !running {
            catalogue(&config.catalogue, DEMO_CATALOGUE)?
        } else if kept.is_file() {
            catalogue(&kept, "")?
        } else {
            bail!(
                "there is no instance in {} yet: name its config file with --config, or start `forecare serve` there once",
                dir.display()
            );
        };
        let home = if running {
            None
        } else {
            let home = Home::open(&dir)?;
            home.keep_catalogue(&text)?;
            Some(home)
        };
        let storage = Storage::open(
            &config.store,
            &dir.join(DATABASE),
            &catalogue,
            SystemClock.now(),
        )
        .await?;
        Ok(Self {
            home,
            catalogue,
            storage,
        })
    }

    async fn close(self) -> Result<()> {
        if self.home.is_none() {
            eprintln!("the running service lets it in within a few seconds");
        }
        self.storage.close().await
    }
}

async fn give_secret(store: &dyn Store, username: &str, role: CredentialRole) -> Result<()> {
    if username == ADMIN {
        bail!("{ADMIN} is the name of the API's own user: choose another");
    }
    let taken = store.credentials().await?;
    if taken
        .iter()
        .any(|c| c.username == username && c.role != role)
    {
        bail!("{username} has a credential of another kind already: choose another name");
    }
    let secret = new_secret()?;
    store
        .put_credential(Credential {
            username: username.to_owned(),
            role,
            secret_sha256: secret_hash(secret.as_bytes()),
        })
        .await?;
    println!("user name  {username}\npassword   {secret}");
    Ok(())
}
