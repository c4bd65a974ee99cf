//! Ways to send. Every attempt has a time limit; answers are read up to a bound; redirects are not followed.

mod http;
mod smtp;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use forecare_domain::Timestamp;
use serde_json::Value;

use crate::settings::{ChannelSettings, NotifySettings};
use http::{HttpChannel, Web};
use smtp::SmtpChannel;
use webhook::Webhook;

/// A message for one address.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Stable: the same message again has the same.
    pub id: String,
    /// Number of the delivery: tells messages of one event to several people apart.
    pub delivery: String,
    /// Kind of event.
    pub event: String,
    /// What it is about: a ticket's number.
    pub about: String,
    /// When it happened.
    pub at: Timestamp,
    /// Where to; empty: the channel's own place.
    pub address: String,
    /// Whom, in words.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same for programs.
    pub facts: Value,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// May work later.
    #[error("{0}")]
    Later(String),
    /// Will not work as it is.
    #[error("{0}")]
    Never(String),
}

/// A channel that cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("notify.channel.{name}: {why}")]
pub struct ChannelError {
    /// The channel.
    pub name: String,
    /// Why, and what to do.
    pub why: String,
}

enum Way {
    Webhook(Box<Webhook>),
    Smtp(Box<SmtpChannel>),
    Http(Box<HttpChannel>),
}

/// All channels, by name.
pub struct Channels {
    ways: BTreeMap<String, Way>,
    timeout: Duration,
    untrusting: Vec<String>,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("names", &self.ways.keys())
            .finish_non_exhaustive()
    }
}

impl Channels {
    /// Reads secrets and prepares connections; sends nothing.
    ///
    /// # Errors
    /// A secret that cannot be read, a template or an address that cannot be used.
    pub fn open(settings: &NotifySettings) -> Result<Self, ChannelError> {
        let timeout = Duration::from_secs_f64(settings.timeout_s);
        let web = Web::new();
        let mut ways = BTreeMap::new();
        let mut untrusting = Vec::new();
        for (name, channel) in &settings.channel {
            let opened = match channel {
                ChannelSettings::Webhook {
                    url,
                    secret_file,
                    ca_file,
                } => web
                    .trusting(ca_file)
                    .and_then(|web| Webhook::open(url, secret_file, &settings.source, web))
                    .map(|way| Way::Webhook(Box::new(way))),
                ChannelSettings::Smtp { .. } => {
                    SmtpChannel::open(channel, timeout).map(|way| Way::Smtp(Box::new(way)))
                }
                ChannelSettings::Http { .. } => {
                    HttpChannel::open(channel, &web).map(|way| Way::Http(Box::new(way)))
                }
            };
            let way = opened.map_err(|why| ChannelError {
                name: name.clone(),
                why,
            })?;
            ways.insert(name.clone(), way);
            if channel.trusts_the_system() && !web.trusts_anybody() {
                untrusting.push(name.clone());
            }
        }
        Ok(Self {
            ways,
            timeout,
            untrusting,
        })
    }

    /// Names of all channels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.ways.keys().map(String::as_str)
    }

    /// Names of channels that speak TLS, trust whom the system trusts, and find that to be nobody: they send nothing.
    #[must_use]
    pub fn untrusting(&self) -> &[String] {
        &self.untrusting
    }

    /// Sends `message` by `channel` at `now`; returns once the other side has taken it.
    ///
    /// # Errors
    /// It was not taken, as far as is known.
    pub async fn send(
        &self,
        channel: &str,
        message: &Message,
        now: Timestamp,
    ) -> Result<(), SendError> {
        let Some(way) = self.ways.get(channel) else {
            return Err(SendError::Later(format!(
                "there is no channel \"{channel}\" in the configuration any more"
            )));
        };
        let sending = async {
            match way {
                Way::Webhook(webhook) => webhook.send(message, now).await,
                Way::Smtp(smtp) => smtp.send(message).await,
                Way::Http(http) => http.send(message).await,
            }
        };
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(sent) => sent,
            Err(_elapsed) => Err(SendError::Later(format!(
                "no answer within {} s",
                self.timeout.as_secs_f64()
            ))),
        }
    }
}

/// The secret in a file, without the line's end.
fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(secret.as_bytes().to_vec())
}

/// An error with everything behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
