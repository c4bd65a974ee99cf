//! `forecare device`: registration and credentials, with the instance stopped or before its first start.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_domain::{Asset, AssetId, ClassName, Clock, DeviceId};
use forecare_store::{Credential, CredentialRole, Store};
use forecare_store_sqlite::SqliteStore;

use super::{DEMO_CATALOGUE, HomeArg, SERVE_HOME};
use crate::app::catalogue;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::home::{Home, new_secret, secret_hash};

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

#[derive(Debug, Args)]
pub(crate) struct InstanceArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Config file of the instance: names its catalogue.
    #[arg(long, env = "FORECARE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(command: DeviceCommand) -> Result<()> {
    match command {
        DeviceCommand::Add(args) => add(args).await,
        DeviceCommand::AddGateway(args) => {
            let name = DeviceId::new(&args.name).context("the gateway's name cannot be used")?;
            let config = Config::load(args.instance.config.as_deref(), &[])?;
            let catalogue = catalogue(&config.catalogue, DEMO_CATALOGUE)?;
            let home = Home::open(&args.instance.home.or(SERVE_HOME))?;
            let store = SqliteStore::open(&home.database(), &catalogue, SystemClock.now())?;
            give_secret(&store, name.as_str(), CredentialRole::Gateway).await?;
            store.close()?;
            Ok(())
        }
    }
}

async fn add(args: AddArgs) -> Result<()> {
    let device = DeviceId::new(&args.id).context("the device's id cannot be used")?;
    let class = ClassName::new(&args.class).context("the class cannot be used")?;
    let config = Config::load(args.instance.config.as_deref(), &[])?;
    let catalogue = catalogue(&config.catalogue, DEMO_CATALOGUE)?;
    if catalogue.class(&class).is_none() {
        let known: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
        bail!(
            "the catalogue has no class \"{class}\"; it has {}",
            known.join(", ")
        );
    }
    let home = Home::open(&args.instance.home.or(SERVE_HOME))?;
    let store = SqliteStore::open(&home.database(), &catalogue, SystemClock.now())?;
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
    give_secret(&store, device.as_str(), CredentialRole::Device).await?;
    store.close()?;
    Ok(())
}

async fn give_secret(store: &dyn Store, username: &str, role: CredentialRole) -> Result<()> {
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
