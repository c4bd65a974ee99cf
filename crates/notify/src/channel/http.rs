//! Any HTTP interface, by templates; and the client that webhooks use as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::Scheme;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

use super::{Message, SendError, chain, secret};
use crate::settings::ChannelSettings;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most characters of an answer in an error.
const ANSWER_CHARS_SHOWN: usize = 200;
/// Longest message that is sent, bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
const FUEL: u64 = 100_000;

type Plain = Client<HttpConnector, Full<Bytes>>;
type Secured = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An HTTP client that follows no redirects. It goes without certificate authorities as far as `http://` does.
#[derive(Clone)]
pub(super) struct Web {
    plain: Plain,
    /// Or why no server could be verified.
    secured: Result<Secured, String>,
}

/// What is sent.
pub(super) struct Outgoing {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Web {
    /// Trusts the authorities that the system does.
    pub(super) fn new() -> Self {
        let connector = HttpsConnectorBuilder::new().with_native_roots();
        Self::of(connector.map_err(|error| {
            format!(
                "https: the system has no certificate authorities ({error}): install them (Debian: ca-certificates), \
                 or name the PEM file of the server's as the channel's ca_file"
            )
        }))
    }

    /// Trusts the authorities in `ca_file`, and no other; where that is empty, as this one.
    pub(super) fn trusting(&self, ca_file: &Path) -> Result<Self, String> {
        if ca_file.as_os_str().is_empty() {
            return Ok(self.clone());
        }
        let config = forecare_tls::client_config(Some(ca_file), Arc::default());
        let config = config.map_err(|error| format!("ca_file: {error}"))?;
        Ok(Self::of(Ok(
            HttpsConnectorBuilder::new().with_tls_config(config)
        )))
    }

    fn of(connector: Result<HttpsConnectorBuilder<WantsSchemes>, String>) -> Self {
        let executor = TokioExecutor::new();
        Self {
            plain: Client::builder(executor.clone()).build_http(),
            secured: connector.map(|connector| {
                Client::builder(executor).build(connector.https_only().enable_http1().build())
            }),
        }
    }

    /// Some servers can be verified.
    pub(super) fn trusts_anybody(&self) -> bool {
        self.secured.is_ok()
    }

    /// Sends; the body of an answer that says yes.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<Bytes, SendError> {
        if outgoing.body.len() > BODY_BYTES_MAX {
            return Err(SendError::Never(format!(
                "the message has {} bytes, {BODY_BYTES_MAX} are allowed",
                outgoing.body.len()
            )));
        }
        let mut request = request_of(&outgoing)?;
        *request.body_mut() = Full::new(Bytes::from(outgoing.body));
        let answer = if request.uri().scheme() == Some(&Scheme::HTTPS) {
            let secured = self.secured.as_ref();
            let secured = secured.map_err(|why| SendError::Later(why.clone()))?;
            secured.request(request).await
        } else {
            self.plain.request(request).await
        };
        let answer = answer.map_err(|error| SendError::Later(chain(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let said = shown(&body);
        let what = if status.is_redirection() {
            format!("{status}: redirects are not followed, configure the address it leads to")
        } else {
            format!("{status} {said}")
        };
        // The receiver says that the address is gone for good.
        if status.as_u16() == 410 {
            return Err(SendError::Never(what));
        }
        Err(SendError::Later(what.trim().to_owned()))
    }
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(ANSWER_CHARS_SHOWN).collect()
}

fn request_of(outgoing: &Outgoing) -> Result<http::Request<Full<Bytes>>, SendError> {
    let mut builder = http::Request::builder()
        .method(outgoing.method.as_str())
        .uri(&outgoing.url)
        .header(
            "user-agent",
            concat!("forecare/", env!("CARGO_PKG_VERSION")),
        );
    for (name, value) in &outgoing.headers {
        builder = builder.header(name, value);
    }
    builder
        .body(Full::default())
        // Not the address itself: it may hold the secret.
        .map_err(|error| SendError::Never(format!("url, method or headers: {error}")))
}

/// What templates of a channel may use.
#[derive(Serialize)]
struct Filling<'a> {
    id: &'a str,
    event: &'a str,
    about: &'a str,
    address: &'a str,
    recipient: &'a str,
    subject: &'a str,
    text: &'a str,
    secret: &'a str,
    facts: &'a Value,
}

/// A channel whose address, headers and body are templates.
pub(super) struct HttpChannel {
    env: Environment<'static>,
    method: String,
    headers: Vec<String>,
    content_type: String,
    secret: String,
    expect: BTreeMap<String, Value>,
    web: Web,
}

impl HttpChannel {
    pub(super) fn open(settings: &ChannelSettings, web: &Web) -> Result<Self, String> {
        let ChannelSettings::Http {
            url,
            method,
            headers,
            body,
            content_type,
            secret_file,
            ca_file,
            carries: _,
            expect,
        } = settings
        else {
            return Err("is no HTTP channel".to_owned());
        };
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_fuel(Some(FUEL));
        let mut texts = vec![("url".to_owned(), url), ("body".to_owned(), body)];
        texts.extend(
            headers
                .iter()
                .map(|(name, text)| (format!("headers.{name}"), text)),
        );
        for (name, text) in texts {
            env.add_template_owned(name.clone(), text.clone())
                .map_err(|error| format!("{name}: {error}"))?;
        }
        let secret = if secret_file.as_os_str().is_empty() {
            String::new()
        } else {
            String::from_utf8_lossy(&secret(secret_file)?).into_owned()
        };
        let channel = Self {
            env,
            method: method.clone(),
            headers: headers.keys().cloned().collect(),
            content_type: content_type.clone(),
            secret,
            expect: expect.clone(),
            web: web.trusting(ca_file)?,
        };
        // What breaks on a quote or a line's end would break some day.
        let outgoing = channel.outgoing(&Message {
            id: "T-1.1.test".to_owned(),
            delivery: "D-1".to_owned(),
            event: "test".to_owned(),
            about: "T-1".to_owned(),
            at: forecare_domain::Timestamp::default(),
            address: "+41 44 123".to_owned(),
            recipient: "Eve \"E\"".to_owned(),
            subject: "a \"test\"".to_owned(),
            text: "two\nlines \\ \"quoted\"\n".to_owned(),
            facts: Value::Null,
        })?;
        request_of(&outgoing).map_err(|error| error.to_string())?;
        if content_type.contains("json") && serde_json::from_slice::<Value>(&outgoing.body).is_err()
        {
            return Err(
                "body does not always give JSON: write {{ text|tojson }} instead of \"{{ text }}\""
                    .to_owned(),
            );
        }
        Ok(channel)
    }

    fn render(&self, name: &str, filling: &Filling<'_>) -> Result<String, String> {
        let template = self.env.get_template(name);
        template
            .and_then(|t| t.render(filling))
            .map_err(|error| format!("{name}: {error}"))
    }

    fn outgoing(&self, message: &Message) -> Result<Outgoing, String> {
        let filling = Filling {
            id: &message.id,
            event: &message.event,
            about: &message.about,
            address: &message.address,
            recipient: &message.recipient,
            subject: &message.subject,
            text: &message.text,
            secret: &self.secret,
            facts: &message.facts,
        };
        let mut headers = vec![("content-type".to_owned(), self.content_type.clone())];
        for name in &self.headers {
            let value = self.render(&format!("headers.{name}"), &filling)?;
            headers.push((name.clone(), value));
        }
        Ok(Outgoing {
            method: self.method.clone(),
            url: self.render("url", &filling)?,
            headers,
            body: self.render("body", &filling)?.into_bytes(),
        })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let outgoing = self.outgoing(message).map_err(SendError::Never)?;
        let answer = self.web.send(outgoing).await?;
        if self.expect.is_empty() {
            return Ok(());
        }
        let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let missed = self
            .expect
            .iter()
            .find(|(field, value)| said.get(field.as_str()) != Some(value));
        match missed {
            None => Ok(()),
            Some((field, value)) => Err(SendError::Later(format!(
                "the answer has not {field} = {value}: {}",
                shown(&answer)
            ))),
        }
    }
}
