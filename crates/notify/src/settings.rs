//! What is configured: channels, people, rules. Read from the section `[notify]`, and checked as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forecare_care::calendar::CalendarError;
use forecare_domain::{NoticeKind, Priority};
use forecare_registry::ContactChannel;
use serde::Deserialize;

use crate::backoff::Backoff;
use crate::hours::Hours;

/// The section `[notify]`. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySettings {
    /// `source` of CloudEvents: which instance speaks.
    pub source: String,
    /// URL under which people reach this instance; empty: messages have no links.
    pub public_url: String,
    /// Language of those whose own is not known.
    pub language: String,
    /// Directory of templates that take the place of the built-in ones; empty: none.
    pub template_dir: PathBuf,
    /// Attempts until a delivery is given up.
    pub attempts_max: u32,
    /// Pause after the first failure, seconds; doubles.
    pub retry_first_s: f64,
    /// Longest pause, seconds.
    pub retry_max_s: f64,
    /// Time for one attempt, seconds.
    pub timeout_s: f64,
    /// Quiet hours of people who have none of their own; empty: none.
    pub quiet: String,
    /// When digests are sent.
    pub digest_at: String,
    /// Time zone of quiet hours, digests and times in texts.
    pub time_zone: String,
    /// A customer is told of a visit so long before it, hours.
    pub visit_notice_hours: f64,
    /// A customer's link is good for so long, days.
    pub survey_valid_days: u32,
    /// Ways to send, by name.
    pub channel: BTreeMap<String, ChannelSettings>,
    /// People and roles, beside those of the registry.
    pub person: Vec<PersonSettings>,
    /// Who is told what.
    pub rule: Vec<RuleSettings>,
}

/// A way to send.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ChannelSettings {
    /// CloudEvents to an HTTP address, signed.
    Webhook {
        /// The address; empty: the recipient's.
        #[serde(default)]
        url: String,
        /// File that holds the secret of the signature.
        secret_file: PathBuf,
        /// PEM file of the authority that signed the server's certificate; empty: those the system trusts.
        #[serde(default)]
        ca_file: PathBuf,
    },
    /// E-mail.
    Smtp {
        /// The server.
        host: String,
        /// Its port; none: 587 with `starttls`, 465 with `tls`, 25 with `none`.
        #[serde(default)]
        port: Option<u16>,
        /// How the connection is secured.
        #[serde(default)]
        tls: Tls,
        /// PEM file of the authority that signed the server's certificate; empty: those the system trusts.
        #[serde(default)]
        ca_file: PathBuf,
        /// User name; empty: none.
        #[serde(default)]
        username: String,
        /// File that holds the password.
        #[serde(default)]
        password_file: PathBuf,
        /// The sender: `Forecare <care@example.com>`.
        from: String,
    },
    /// Any HTTP interface: SMS gateways, WeCom, DingTalk, Slack.
    Http {
        /// The address, a template.
        url: String,
        /// `POST` or `PUT`.
        #[serde(default = "post")]
        method: String,
        /// Headers by name; values are templates.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body, a template.
        body: String,
        /// Its type.
        #[serde(default = "json")]
        content_type: String,
        /// File that holds what templates call `secret`; empty: none.
        #[serde(default)]
        secret_file: PathBuf,
        /// PEM file of the authority that signed the server's certificate; empty: those the system trusts.
        #[serde(default)]
        ca_file: PathBuf,
        /// Which addresses of people it carries; none: it speaks to one place, such as a group.
        #[serde(default)]
        carries: Option<ContactChannel>,
        /// Fields of the JSON answer and what they must be.
        #[serde(default)]
        expect: BTreeMap<String, serde_json::Value>,
    },
}

fn post() -> String {
    "POST".to_owned()
}

fn json() -> String {
    "application/json".to_owned()
}

/// How a connection to a mail server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Begins in the clear and must change to TLS.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all: on loopback only.
    None,
}

impl ChannelSettings {
    /// Which addresses of people it carries.
    #[must_use]
    pub fn carries(&self) -> Option<ContactChannel> {
        match self {
            Self::Webhook { url, .. } => url.is_empty().then_some(ContactChannel::Webhook),
            Self::Smtp { .. } => Some(ContactChannel::Email),
            Self::Http { carries, .. } => *carries,
        }
    }

    /// The file of its secret; empty: none.
    #[must_use]
    pub fn secret_file(&self) -> &Path {
        match self {
            Self::Webhook { secret_file, .. } | Self::Http { secret_file, .. } => secret_file,
            Self::Smtp { password_file, .. } => password_file,
        }
    }

    /// True: it speaks TLS, or may (to an address of the recipient's), to whom the system trusts.
    #[must_use]
    pub fn trusts_the_system(&self) -> bool {
        let (speaks_tls, ca_file) = match self {
            Self::Webhook { url, ca_file, .. } | Self::Http { url, ca_file, .. } => {
                (!url.starts_with("http://"), ca_file)
            }
            Self::Smtp { tls, ca_file, .. } => (*tls != Tls::None, ca_file),
        };
        speaks_tls && ca_file.as_os_str().is_empty()
    }

    /// True: it speaks to one place of its own.
    #[must_use]
    pub fn has_own_address(&self) -> bool {
        match self {
            Self::Webhook { url, .. } => !url.is_empty(),
            Self::Smtp { .. } => false,
            Self::Http { carries, .. } => carries.is_none(),
        }
    }
}

/// A person or a role.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonSettings {
    /// As rules and escalations name it.
    pub name: String,
    /// Language; none: that of `[notify]`.
    #[serde(default)]
    pub language: Option<String>,
    /// Addresses by channel, as in `{ mail = "eve@example.com" }`; none: those of the technician of that name.
    #[serde(default)]
    pub address: BTreeMap<String, String>,
    /// Channels, the preferred one first; none: as they stand in `address`.
    #[serde(default)]
    pub prefers: Vec<String>,
    /// Quiet hours, `22:00-07:00`; none: those of `[notify]`.
    #[serde(default)]
    pub quiet: Option<String>,
    /// Time zone; none: that of `[notify]`.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// When the digest is sent; none: as `[notify]` says.
    #[serde(default)]
    pub digest_at: Option<String>,
}

/// Who is told what.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// Names of events; `*`: all.
    pub event: Vec<String>,
    /// Only of these priorities; none: of all.
    #[serde(default)]
    pub priority: Vec<Priority>,
    /// Names of people; `@escalation`, `@technician`, `@customer`; `#name`: a channel that speaks to one place.
    pub to: Vec<String>,
    /// By these channels, each that the recipient has; none: by the first that the recipient prefers.
    #[serde(default)]
    pub channels: Vec<String>,
    /// True: collected, and sent in one message.
    #[serde(default)]
    pub digest: bool,
}

/// What is wrong with the section, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A value that cannot be used.
    #[error("notify.{key}: {why}")]
    Value {
        /// The key.
        key: String,
        /// Why, and what to do.
        why: String,
    },
    /// Hours that cannot be used.
    #[error("notify.{key}: {source}")]
    Hours {
        /// The key.
        key: String,
        /// What is wrong.
        source: CalendarError,
    },
}

fn wrong(key: impl Into<String>, why: impl Into<String>) -> SettingsError {
    SettingsError::Value {
        key: key.into(),
        why: why.into(),
    }
}

/// The section, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Notify {
    /// As written.
    pub settings: NotifySettings,
    /// Quiet hours and digests of people without their own.
    pub hours: Hours,
    /// Those of `settings.person`, in its order.
    pub hours_of: Vec<Hours>,
}

impl Notify {
    /// Checks that everything the section names is there.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key.
    pub fn new(settings: NotifySettings) -> Result<Self, SettingsError> {
        let s = &settings;
        if s.attempts_max == 0 || s.attempts_max > 100 {
            return Err(wrong("attempts_max", "must be 1 to 100"));
        }
        let positive = [
            ("retry_first_s", s.retry_first_s, 86_400.0),
            ("retry_max_s", s.retry_max_s, 604_800.0),
            ("timeout_s", s.timeout_s, 300.0),
        ];
        for (key, value, max) in positive {
            if !(value > 0.0 && value <= max) {
                return Err(wrong(key, format!("must be above 0 and at most {max}")));
            }
        }
        if !(0.0..=8_760.0).contains(&s.visit_notice_hours) {
            return Err(wrong("visit_notice_hours", "must be 0 to 8760"));
        }
        if !(1..=365).contains(&s.survey_valid_days) {
            return Err(wrong("survey_valid_days", "must be 1 to 365"));
        }
        let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        if !s.public_url.is_empty() && !is_url(&s.public_url) {
            return Err(wrong("public_url", "must begin with https:// or http://"));
        }
        for (name, channel) in &s.channel {
            check_channel(name, channel)?;
        }
        let hours = hours(s, None, "")?;
        let mut hours_of = Vec::new();
        for (i, person) in s.person.iter().enumerate() {
            check_person(s, i, person)?;
            hours_of.push(self::hours(s, Some(person), &format!("person[{i}]."))?);
        }
        for (i, rule) in s.rule.iter().enumerate() {
            check_rule(s, i, rule)?;
        }
        Ok(Self {
            settings,
            hours,
            hours_of,
        })
    }

    /// How failed deliveries are tried again.
    #[must_use]
    pub fn backoff(&self, seed: u64) -> Backoff {
        Backoff {
            first_s: self.settings.retry_first_s,
            max_s: self.settings.retry_max_s,
            attempts_max: self.settings.attempts_max,
            seed,
        }
    }
}

fn hours(
    s: &NotifySettings,
    person: Option<&PersonSettings>,
    at: &str,
) -> Result<Hours, SettingsError> {
    let own = |own: Option<&String>, all: &String| own.unwrap_or(all).clone();
    let quiet = own(person.and_then(|p| p.quiet.as_ref()), &s.quiet);
    let digest_at = own(person.and_then(|p| p.digest_at.as_ref()), &s.digest_at);
    let zone = own(person.and_then(|p| p.time_zone.as_ref()), &s.time_zone);
    Hours::new(&quiet, &digest_at, &zone).map_err(|source| SettingsError::Hours {
        key: format!("{at}quiet, digest_at, time_zone"),
        source,
    })
}

fn check_channel(name: &str, channel: &ChannelSettings) -> Result<(), SettingsError> {
    let key = |field: &str| format!("channel.{name}.{field}");
    let named = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !named || name.len() > 40 {
        return Err(wrong(
            format!("channel.{name}"),
            "name it with 1 to 40 letters, digits, - and _",
        ));
    }
    match channel {
        ChannelSettings::Webhook { url, .. } => {
            if !(url.is_empty() || url.starts_with("https://") || url.starts_with("http://")) {
                return Err(wrong(key("url"), "must begin with https:// or http://"));
            }
        }
        ChannelSettings::Smtp {
            host,
            tls,
            username,
            password_file,
            ..
        } => {
            if host.is_empty() {
                return Err(wrong(key("host"), "name the mail server"));
            }
            let local = matches!(host.as_str(), "localhost" | "::1") || host.starts_with("127.");
            if *tls == Tls::None && !local {
                return Err(wrong(
                    key("tls"),
                    "\"none\" is for servers on loopback only: use \"starttls\" or \"tls\"",
                ));
            }
            if username.is_empty() != password_file.as_os_str().is_empty() {
                return Err(wrong(
                    key("username"),
                    "give username and password_file, or neither",
                ));
            }
        }
        ChannelSettings::Http {
            url,
            method,
            headers,
            expect,
            ..
        } => {
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                return Err(wrong(key("url"), "must begin with https:// or http://"));
            }
            if !matches!(method.as_str(), "POST" | "PUT") {
                return Err(wrong(key("method"), "use POST or PUT"));
            }
            if headers.len() > 20 || expect.len() > 20 {
                return Err(wrong(key("headers"), "at most 20"));
            }
        }
    }
    Ok(())
}

fn known_channel<'a>(
    s: &'a NotifySettings,
    key: String,
    name: &str,
) -> Result<&'a ChannelSettings, SettingsError> {
    s.channel.get(name).ok_or_else(|| {
        let known: Vec<&str> = s.channel.keys().map(String::as_str).collect();
        let known = match known.as_slice() {
            [] => "there is none".to_owned(),
            names => format!("there is {}", names.join(", ")),
        };
        wrong(key, format!("there is no channel \"{name}\"; {known}"))
    })
}

fn check_person(
    s: &NotifySettings,
    i: usize,
    person: &PersonSettings,
) -> Result<(), SettingsError> {
    if person.name.trim().is_empty() || person.name.starts_with(['@', '#']) {
        return Err(wrong(
            format!("person[{i}].name"),
            "must not be empty, nor begin with @ or #",
        ));
    }
    if s.person.iter().take(i).any(|p| p.name == person.name) {
        return Err(wrong(
            format!("person[{i}].name"),
            format!("\"{}\" comes twice", person.name),
        ));
    }
    for (name, address) in &person.address {
        let key = format!("person[{i}].address.{name}");
        let channel = known_channel(s, key.clone(), name)?;
        if channel.has_own_address() {
            return Err(wrong(
                key,
                "this channel speaks to one place: name it in a rule as #name",
            ));
        }
        let is_mail = matches!(channel, ChannelSettings::Smtp { .. });
        if address.trim().is_empty() || (is_mail && !address.contains('@')) {
            return Err(wrong(key, "is no address of this channel"));
        }
    }
    for name in &person.prefers {
        known_channel(s, format!("person[{i}].prefers"), name)?;
    }
    Ok(())
}

fn check_rule(s: &NotifySettings, i: usize, rule: &RuleSettings) -> Result<(), SettingsError> {
    let key = |field: &str| format!("rule[{i}].{field}");
    if rule.event.is_empty() || rule.to.is_empty() {
        return Err(wrong(key("event"), "event and to must name something"));
    }
    for event in &rule.event {
        if event != "*" && !NoticeKind::LABELS.contains(&event.as_str()) {
            let known = NoticeKind::LABELS.join(", ");
            return Err(wrong(
                key("event"),
                format!("\"{event}\" is no event; use *, {known}"),
            ));
        }
    }
    for name in &rule.channels {
        known_channel(s, key("channels"), name)?;
    }
    for to in &rule.to {
        if let Some(name) = to.strip_prefix('#') {
            if !known_channel(s, key("to"), name)?.has_own_address() {
                return Err(wrong(
                    key("to"),
                    format!("{to}: this channel carries messages to people; name them instead"),
                ));
            }
        } else if to.starts_with('@')
            && !matches!(to.as_str(), "@escalation" | "@technician" | "@customer")
        {
            return Err(wrong(
                key("to"),
                format!("\"{to}\" is nobody; use @escalation, @technician or @customer"),
            ));
        }
    }
    Ok(())
}
