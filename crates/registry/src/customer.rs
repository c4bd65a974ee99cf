//! Customers: whom to speak to, what they are worth, what they agreed to.

use forecare_domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calendar::is_span;
use crate::fault::{ADDRESS_CHARS_MAX, Faults, NOTE_CHARS_MAX};
use crate::id::RecordId;

/// A customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Customer {
    /// The firm's name.
    pub name: String,
    /// Postal address, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the customer is worth; the tier comes from it.
    #[serde(default)]
    pub value: CustomerValue,
    /// People to speak to, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
    /// What their data may be used for. Where `prediction` or `model_training` is not named, what the configuration
    /// presumes holds (`[registry.consent]`); any other purpose that is not named was not agreed to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_consents: Vec<DataConsent>,
    /// Technicians they would rather see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_technicians: Vec<RecordId>,
    /// Technicians who are not to be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_technicians: Vec<RecordId>,
    /// What else to know, at most 2,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a customer is worth, in the catalogue's currency.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CustomerValue {
    /// Revenue of a year. At least 0.
    #[serde(default)]
    pub yearly: f64,
    /// Revenue so far. At least 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<f64>,
}

/// A person at the customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Contact {
    /// The person's id in the caller's system; unique within the customer.
    pub id: RecordId,
    /// The person's name.
    pub name: String,
    /// What the person is responsible for, such as `maintenance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Language of what is written to them: `en`, `zh-CN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Time zone of times in what is written to them, and of `quiet`, as the IANA database names it; none: that of the
    /// machine's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// When they are not to be disturbed, `22:00-07:00`, empty: never; none: as the configuration says of everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<String>,
    /// How to reach them, the preferred way first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ContactAddress>,
    /// What they agreed to be written about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<DataConsent>,
}

/// A way to reach a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ContactChannel {
    /// E-mail.
    Email,
    /// Telephone, spoken.
    Phone,
    /// Short message.
    Sms,
    /// WeCom.
    Wecom,
    /// DingTalk.
    Dingtalk,
    /// Slack.
    Slack,
    /// An HTTP address of the customer's.
    Webhook,
}

/// A channel with the address in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContactAddress {
    /// The channel.
    pub kind: ContactChannel,
    /// The address in it: `ops@example.com`, `+49 40 1234567`, `https://...`.
    pub address: String,
}

/// What data, or a person's address, is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Purpose {
    /// To do the work that was ordered.
    Service,
    /// To predict failures of the customer's own machines.
    Prediction,
    /// To learn models that other customers' machines are judged by.
    ModelTraining,
    /// To ask how it went.
    Survey,
    /// To offer something.
    Marketing,
}

/// Yes or no to a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DataConsent {
    /// The purpose.
    pub purpose: Purpose,
    /// Yes or no.
    pub given: bool,
    /// When it was said.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// It ends by itself here; none: when it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Timestamp>,
}

fn check_consents(field: &str, consents: &[DataConsent], faults: &mut Faults) {
    for (i, consent) in consents.iter().enumerate() {
        let same = |other: &DataConsent| other.purpose == consent.purpose;
        if consents.iter().take(i).any(same) {
            faults.add(
                format!("{field}[{i}].purpose"),
                "this purpose comes twice; the history keeps what was said before",
            );
        }
        if consent.until.is_some_and(|until| until <= consent.at) {
            faults.add(format!("{field}[{i}].until"), "must be later than at");
        }
    }
}

pub(crate) fn check_channels(field: &str, channels: &[ContactAddress], faults: &mut Faults) {
    faults.list_of(field, channels.len(), 20);
    for (i, channel) in channels.iter().enumerate() {
        let at = format!("{field}[{i}].address");
        let address = &channel.address;
        let fits = match channel.kind {
            ContactChannel::Email => {
                address
                    .split_once('@')
                    .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
                    && !address.contains(char::is_whitespace)
            }
            ContactChannel::Phone | ContactChannel::Sms => {
                address
                    .chars()
                    .all(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '/'))
                    && address.chars().filter(char::is_ascii_digit).count() >= 3
            }
            ContactChannel::Webhook => {
                address.starts_with("https://") || address.starts_with("http://")
            }
            ContactChannel::Wecom | ContactChannel::Dingtalk | ContactChannel::Slack => true,
        };
        if fits {
            faults.text(at, address, ADDRESS_CHARS_MAX);
        } else {
            faults.add(at, format!("is no address of {:?}", channel.kind));
        }
    }
}

impl Customer {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("name", &self.name);
        faults.optional("address", self.address.as_deref());
        faults.number("value.yearly", self.value.yearly, 0.0, 1e15);
        if let Some(lifetime) = self.value.lifetime {
            faults.number("value.lifetime", lifetime, 0.0, 1e15);
        }
        faults.list_of("contacts", self.contacts.len(), 100);
        for (i, contact) in self.contacts.iter().enumerate().take(100) {
            let at = |field: &str| format!("contacts[{i}].{field}");
            if self.contacts.iter().take(i).any(|c| c.id == contact.id) {
                faults.add(at("id"), format!("\"{}\" comes twice", contact.id));
            }
            faults.line(at("name"), &contact.name);
            faults.optional(at("role"), contact.role.as_deref());
            if let Some(language) = &contact.language {
                faults.language(at("language"), language);
            }
            if let Some(zone) = &contact.time_zone {
                faults.time_zone(at("time_zone"), zone);
            }
            if let Some(quiet) = contact.quiet.as_deref().filter(|quiet| !quiet.is_empty())
                && !is_span(quiet)
            {
                faults.add(at("quiet"), "use hours of a day, such as 22:00-07:00");
            }
            check_channels(&at("channels"), &contact.channels, faults);
            check_consents(&at("consents"), &contact.consents, faults);
        }
        check_consents("data_consents", &self.data_consents, faults);
        faults.list("preferred_technicians", self.preferred_technicians.len());
        faults.list("excluded_technicians", self.excluded_technicians.len());
        faults.distinct("preferred_technicians", &self.preferred_technicians);
        faults.distinct("excluded_technicians", &self.excluded_technicians);
        for both in &self.preferred_technicians {
            if self.excluded_technicians.contains(both) {
                faults.add(
                    "excluded_technicians",
                    format!("\"{both}\" is preferred as well"),
                );
            }
        }
        if let Some(note) = &self.note {
            faults.text("note", note, NOTE_CHARS_MAX);
        }
    }

    /// Whether the customer's data may be used for `purpose` at `at`: agreed, not taken back, not run out.
    #[must_use]
    pub fn agrees_to(&self, purpose: Purpose, at: Timestamp) -> bool {
        self.said_to(purpose, at).unwrap_or(false)
    }

    /// What the customer has said to the use of their data for `purpose`, as it holds at `at`; `None`: nothing yet.
    #[must_use]
    pub fn said_to(&self, purpose: Purpose, at: Timestamp) -> Option<bool> {
        let mut said = self.data_consents.iter().filter(|c| c.purpose == purpose);
        let consent = said.find(|c| c.at <= at)?;
        Some(consent.given && consent.until.is_none_or(|until| at < until))
    }
}

/// What holds where a customer has not said whether their data may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresumedConsent {
    /// Failures of their machines are predicted, and tickets opened before them.
    pub prediction: bool,
    /// Models are learnt from their machines that speak of others' as well.
    pub model_training: bool,
}

impl Default for PresumedConsent {
    /// The contract that the machines are looked after under covers both.
    fn default() -> Self {
        Self {
            prediction: true,
            model_training: true,
        }
    }
}

impl PresumedConsent {
    /// Whether data of `customer` may be used for `purpose` at `at`: what they have said, else what is presumed.
    #[must_use]
    pub fn allows(&self, customer: &Customer, purpose: Purpose, at: Timestamp) -> bool {
        let presumed = match purpose {
            Purpose::Prediction => self.prediction,
            Purpose::ModelTraining => self.model_training,
            Purpose::Service | Purpose::Survey | Purpose::Marketing => false,
        };
        customer.said_to(purpose, at).unwrap_or(presumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_customer_said_counts_before_what_is_presumed() {
        let hour = |n: i64| Timestamp::from_millis(n * 3_600_000);
        let customer = |consents: &[(Purpose, bool, i64, Option<i64>)]| Customer {
            name: "Acme".to_owned(),
            address: None,
            value: CustomerValue::default(),
            contacts: Vec::new(),
            data_consents: consents
                .iter()
                .map(|(purpose, given, at, until)| DataConsent {
                    purpose: *purpose,
                    given: *given,
                    at: hour(*at),
                    until: until.map(hour),
                })
                .collect(),
            preferred_technicians: Vec::new(),
            excluded_technicians: Vec::new(),
            note: None,
        };
        let (predict, learn) = (Purpose::Prediction, Purpose::ModelTraining);
        let yes = PresumedConsent::default();
        let no = PresumedConsent {
            prediction: false,
            model_training: false,
        };
        let silent = customer(&[]);
        assert!(yes.allows(&silent, predict, hour(9)) && !no.allows(&silent, learn, hour(9)));
        assert!(!yes.allows(&silent, Purpose::Marketing, hour(9)));
        let refused = customer(&[(learn, false, 5, None)]);
        assert!(!yes.allows(&refused, learn, hour(9)) && yes.allows(&refused, predict, hour(9)));
        assert!(yes.allows(&refused, learn, hour(4)), "not said yet");
        let ended = customer(&[(predict, true, 5, Some(8))]);
        assert!(no.allows(&ended, predict, hour(7)) && !yes.allows(&ended, predict, hour(8)));
    }
}
