//! E-mail.

use std::path::Path;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as Secured, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::{Message, SendError, chain, secret};
use crate::settings::{ChannelSettings, Tls};

pub(super) struct SmtpChannel {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpChannel {
    pub(super) fn open(settings: &ChannelSettings, timeout: Duration) -> Result<Self, String> {
        let ChannelSettings::Smtp {
            host,
            port,
            tls,
            ca_file,
            username,
            password_file,
            from,
        } = settings
        else {
            return Err("is no e-mail channel".to_owned());
        };
        let from: Mailbox = from
            .parse()
            .map_err(|error| format!("from = \"{from}\": {error}"))?;
        let (secured, usual_port) = match tls {
            Tls::Starttls => (Secured::Required(parameters(host, ca_file)?), 587),
            Tls::Tls => (Secured::Wrapper(parameters(host, ca_file)?), 465),
            Tls::None => (Secured::None, 25),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port.unwrap_or(usual_port))
            .tls(secured)
            .timeout(Some(timeout));
        if !username.is_empty() {
            let password = String::from_utf8_lossy(&secret(password_file)?).into_owned();
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
            from,
        })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let mail = self.mail(message).map_err(SendError::Never)?;
        match self.transport.send(mail).await {
            Ok(_) => Ok(()),
            // The server will not take it however often it is asked: an address that there is not.
            Err(error) if error.is_permanent() => Err(SendError::Never(chain(&error))),
            Err(error) => Err(SendError::Later(chain(&error))),
        }
    }

    fn mail(&self, message: &Message) -> Result<Mail, String> {
        let to: Mailbox = message
            .address
            .parse()
            .map_err(|error| format!("address \"{}\": {error}", message.address))?;
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        // The same message again has the same id, by which mail programs know it.
        let id: String = format!("{}.{}", message.id, message.delivery)
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        Mail::builder()
            .from(self.from.clone())
            .to(to)
            .subject(&message.subject)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(message.text.clone())
            .map_err(|error| error.to_string())
    }
}

fn parameters(host: &str, ca_file: &Path) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if !ca_file.as_os_str().is_empty() {
        let pem = std::fs::read(ca_file)
            .map_err(|error| format!("cannot read ca_file {}: {error}", ca_file.display()))?;
        let authority = Certificate::from_pem(&pem)
            .map_err(|error| format!("ca_file {}: {error}", ca_file.display()))?;
        builder = builder.add_root_certificate(authority);
    }
    builder.build().map_err(|error| format!("tls: {error}"))
}
