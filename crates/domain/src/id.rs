//! Names and numbers that identify things. Each kind has its own type.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name of anything, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 128;

/// A name that cannot be used; the text says why and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name has no characters.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than the bound.
    #[error("the name has more than {NAME_CHARS_MAX} characters")]
    TooLong,
    /// A character that MQTT topics, CSV files or terminals would misread.
    #[error(
        "the name contains {0:?}; use letters, digits and - _ . : (no spaces, / + # or control characters)"
    )]
    Character(char),
}

fn check(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(InvalidName::TooLong);
    }
    match name
        .chars()
        .find(|c| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')))
    {
        Some(c) => Err(InvalidName::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes a name: 1 to 128 letters, digits, `-`, `_`, `.` or `:`.
            ///
            /// # Errors
            /// [`InvalidName`] says which rule the text breaks.
            pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
                check(name.as_ref())?;
                Ok(Self(Arc::from(name.as_ref())))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The device that publishes: the second level of its MQTT topics.
    DeviceId
);
name!(
    /// The machine that is cared for.
    AssetId
);
name!(
    /// A batch of parts, as the maker numbers it.
    BatchNumber
);
name!(
    /// One piece of a part, as the maker numbers it.
    SerialNumber
);
name!(
    /// An order at a supplier, under the buyer's own number.
    OrderId
);
name!(
    /// A class of assets in the catalogue, such as `screw-compressor`.
    ClassName
);
name!(
    /// A measured quantity, such as `vibration`.
    MetricName
);
name!(
    /// A failure mode of an asset class, such as `bearing-wear`; its ISO 14224 code stands beside it.
    ModeName
);
name!(
    /// A replaceable component of an asset, such as `bearing`.
    ComponentName
);
name!(
    /// A spare part's number.
    PartNumber
);
name!(
    /// A place that holds stock.
    DepotName
);
name!(
    /// A kind of ticket: [`TicketKind::PREDICTIVE`] and its companions, or one of the configuration.
    TicketKind
);
name!(
    /// A schedule of the configuration, by which tickets open.
    ScheduleName
);

impl TicketKind {
    /// A failure is expected.
    pub const PREDICTIVE: &str = "predictive";
    /// Something is broken.
    pub const CORRECTIVE: &str = "corrective";
    /// Somebody is to look.
    pub const INSPECTION: &str = "inspection";
    /// A customer is not content.
    pub const COMPLAINT: &str = "complaint";

    /// The kind of every ticket that an alarm opens.
    #[must_use]
    pub fn predictive() -> Self {
        Self(Arc::from(Self::PREDICTIVE))
    }

    /// The kind of a ticket for something broken.
    #[must_use]
    pub fn corrective() -> Self {
        Self(Arc::from(Self::CORRECTIVE))
    }

    /// The kind of a ticket for a look at a machine.
    #[must_use]
    pub fn inspection() -> Self {
        Self(Arc::from(Self::INSPECTION))
    }

    /// The kind of a ticket for a customer who is not content.
    #[must_use]
    pub fn complaint() -> Self {
        Self(Arc::from(Self::COMPLAINT))
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub i64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A ticket's number, given by the store in ascending order.
    TicketId,
    "T-"
);
number!(
    /// A reservation's number, given by the store in ascending order.
    ReservationId,
    "R-"
);
number!(
    /// A care task's place in the queue between pipeline and care desk.
    TaskId,
    "task-"
);
number!(
    /// The number of a delivery of a notice to somebody, given by the store in ascending order.
    DeliveryId,
    "D-"
);

/// An alarm episode's id: device, failure mode and the instant it was raised. Deterministic, so that a
/// rebuilt detector names the same episode the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlarmId(pub String);

impl AlarmId {
    /// The id of the episode of `mode` raised on `device` at `raised_at`.
    #[must_use]
    pub fn of(device: &DeviceId, mode: &ModeName, raised_at: crate::Timestamp) -> Self {
        Self(format!("{device}~{mode}~{}", raised_at.as_millis()))
    }
}

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_with_the_reason() {
        assert_eq!(DeviceId::new(""), Err(InvalidName::Empty));
        assert_eq!(DeviceId::new("a".repeat(129)), Err(InvalidName::TooLong));
        for (name, c) in [
            ("a/b", '/'),
            ("a+", '+'),
            ("#", '#'),
            ("<script>", '<'),
            ("a\r\n", '\r'),
            ("\u{202e}x", '\u{202e}'),
            ("=cmd|", '='),
            ("x'; DROP", '\''),
            ("\0", '\0'),
        ] {
            assert_eq!(DeviceId::new(name), Err(InvalidName::Character(c)));
        }
        assert_eq!(
            DeviceId::new("压缩机-7.a:b").unwrap().as_str(),
            "压缩机-7.a:b"
        );
    }

    #[test]
    fn json_cannot_smuggle_a_bad_name() {
        assert!(serde_json::from_str::<DeviceId>("\"a/b\"").is_err());
        let id: DeviceId = serde_json::from_str("\"pump-1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"pump-1\"");
    }
}
