#![doc = include_str!("../README.md")]

mod backoff;
pub mod channel;
mod hours;
mod link;
mod route;
mod settings;
mod sign;
mod template;

pub use backoff::{Backoff, next_attempt};
pub use channel::{Channels, Message, SendError};
pub use hours::Hours;
pub use link::{LinkRefused, SurveyLinks};
pub use route::{AddressBook, Routed, Untold, hours_of_contact, reachable, route, still_holds};
pub use settings::{
    ChannelSettings, Notify, NotifySettings, PersonSettings, RuleSettings, SettingsError, Tls,
};
pub use sign::{SIGNATURE_HEADER, signature, verify};
pub use template::{LANGUAGES, Shown, TemplateError, Templates, Visit, VisitPart};
