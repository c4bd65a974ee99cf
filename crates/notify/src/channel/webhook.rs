//! CloudEvents 1.0 in structured mode (JSON), signed.

use std::path::Path;

use forecare_domain::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::http::{Outgoing, Web};
use super::{Message, SendError, secret};
use crate::sign::{SIGNATURE_HEADER, signature};

/// Shortest secret, bytes.
const SECRET_BYTES_MIN: usize = 16;

pub(super) struct Webhook {
    url: String,
    secret: Vec<u8>,
    source: String,
    web: Web,
}

/// The envelope; see cloudevents.io, JSON event format 1.0.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: String,
    subject: &'a str,
    time: Timestamp,
    datacontenttype: &'static str,
    data: &'a Value,
}

impl Webhook {
    pub(super) fn open(
        url: &str,
        secret_file: &Path,
        source: &str,
        web: Web,
    ) -> Result<Self, String> {
        let secret = secret(secret_file)?;
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "{} holds fewer than {SECRET_BYTES_MIN} bytes: a signature would be worth nothing",
                secret_file.display()
            ));
        }
        Ok(Self {
            url: url.to_owned(),
            secret,
            source: source.to_owned(),
            web,
        })
    }

    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), SendError> {
        let event = CloudEvent {
            specversion: "1.0",
            id: &message.id,
            source: &self.source,
            r#type: format!("forecare.{}", message.event),
            subject: &message.about,
            time: message.at,
            datacontenttype: "application/json",
            data: &message.facts,
        };
        let body = serde_json::to_vec(&event).map_err(|e| SendError::Never(e.to_string()))?;
        let sent_at_s = now.as_millis().div_euclid(1_000);
        let url = if self.url.is_empty() {
            &message.address
        } else {
            &self.url
        };
        let outgoing = Outgoing {
            method: "POST".to_owned(),
            url: url.clone(),
            headers: vec![
                (
                    "content-type".to_owned(),
                    "application/cloudevents+json; charset=utf-8".to_owned(),
                ),
                (
                    SIGNATURE_HEADER.to_owned(),
                    signature(&self.secret, sent_at_s, &body),
                ),
            ],
            body,
        };
        self.web.send(outgoing).await.map(|_answer| ())
    }
}
