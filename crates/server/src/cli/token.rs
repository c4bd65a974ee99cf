//! `forecare token`: tokens of API and console beside the instance's own, for people and for other systems.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forecare_domain::DeviceId;
use forecare_store::{Credential, CredentialRole};

use super::SERVE_HOME;
use super::instance::InstanceArgs;
use crate::auth::ADMIN;
use crate::home::{new_secret, secret_hash};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, once: only a hash is kept. A name that has one gets a new one.
    Add(AddArgs),
    /// Make a token useless.
    Revoke(RevokeArgs),
    /// Who has a token, and what it opens.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Whose it is; stands in every history: `crm`, `lena`.
    name: String,
    /// It may only read, and shows no addresses of people.
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Whose it is.
    name: String,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(crate) async fn run(command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Add(args) => {
            let role = if args.read_only {
                CredentialRole::Viewer
            } else {
                CredentialRole::Api
            };
            let name = DeviceId::new(&args.name).context("the name cannot be used")?;
            if name.as_str() == ADMIN {
                bail!("{ADMIN} has the token in the instance's directory: choose another name");
            }
            let instance = args.instance.open_to_change(SERVE_HOME).await?;
            let store = instance.storage.store();
            let taken = store.credentials().await?;
            let other = |c: &&Credential| c.username == args.name && !c.role.is_for_people();
            if taken.iter().any(|c| other(&c)) {
                bail!("{name} is a device or gateway: choose another name");
            }
            let secret = new_secret()?;
            store
                .put_credential(Credential {
                    username: args.name,
                    role,
                    secret_sha256: secret_hash(secret.as_bytes()),
                })
                .await?;
            println!("name   {name}\ntoken  {secret}");
            if instance.is_running() {
                eprintln!("the running service lets it in within a few seconds");
            }
            instance.storage.close().await
        }
        TokenCommand::Revoke(args) => {
            let instance = args.instance.open_to_change(SERVE_HOME).await?;
            let store = instance.storage.store();
            let known = store.credentials().await?;
            let Some(credential) = known
                .into_iter()
                .find(|c| c.username == args.name && c.role.is_for_people())
            else {
                bail!("nobody called {} has a token", args.name);
            };
            // No secret has this hash.
            store
                .put_credential(Credential {
                    secret_sha256: REVOKED.to_owned(),
                    ..credential
                })
                .await?;
            println!("{} has no token any more", args.name);
            if instance.is_running() {
                eprintln!("the running service refuses it within a few seconds");
            }
            instance.storage.close().await
        }
        TokenCommand::List(args) => {
            let instance = args.instance.open(SERVE_HOME).await?;
            for credential in instance.storage.store().credentials().await? {
                if credential.role.is_for_people() {
                    let what = match credential.role {
                        _ if credential.secret_sha256 == REVOKED => "revoked",
                        CredentialRole::Viewer => "may read",
                        CredentialRole::Api | CredentialRole::Device | CredentialRole::Gateway => {
                            "may read and change"
                        }
                    };
                    println!("{:<24} {what}", credential.username);
                }
            }
            instance.storage.close().await
        }
    }
}

/// Stands where a hash stood: not 64 hexadecimal digits, so nothing hashes to it.
const REVOKED: &str = "revoked";
