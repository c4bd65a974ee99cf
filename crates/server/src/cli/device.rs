//! `forecare device`: registration and credentials, before an instance's first start or while it runs.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_domain::{Asset, AssetId, ClassName, Clock, DeviceId};
use forecare_store::{Credential, CredentialRole, Store};

use super::SERVE_HOME;
use super::instance::{Instance, InstanceArgs};
use crate::auth::ADMIN;
use crate::clock::SystemClock;
use crate::home::{new_secret, secret_hash};

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
            let instance = args.instance.open_to_change(SERVE_HOME).await?;
            let store = instance.storage.store();
            give_secret(&*store, name.as_str(), CredentialRole::Gateway).await?;
            close(instance).await
        }
    }
}

async fn add(args: AddArgs) -> Result<()> {
    let device = DeviceId::new(&args.id).context("the device's id cannot be used")?;
    let class = ClassName::new(&args.class).context("the class cannot be used")?;
    let instance = args.instance.open_to_change(SERVE_HOME).await?;
    let catalogue = &instance.catalogue;
    if catalogue.class(&class).is_none() {
        let known: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
        bail!(
            "the catalogue has no class \"{class}\"; it has {}{}",
            known.join(", "),
            if instance.is_running() {
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
    close(instance).await
}

async fn close(instance: Instance) -> Result<()> {
    if instance.is_running() {
        eprintln!("the running service lets it in within a few seconds");
    }
    instance.storage.close().await
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
