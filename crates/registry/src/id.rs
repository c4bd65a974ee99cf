//! The id of a record: the caller's own, so that a CRM or ERP can stay the master.

use std::fmt;

use forecare_domain::{AssetId, InvalidName};
use serde::{Deserialize, Serialize};

/// The id under which the caller knows a record: 1 to 128 letters, digits, `-`, `_`, `.` or `:`. Unique
/// within its kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct RecordId(String);

impl RecordId {
    /// Checks and takes an id. The rule is that of every name in Forecare.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule the text breaks.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidName> {
        let id = id.into();
        AssetId::new(&id)?;
        Ok(Self(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for RecordId {
    type Error = InvalidName;
    fn try_from(id: String) -> Result<Self, InvalidName> {
        Self::new(id)
    }
}

impl std::str::FromStr for RecordId {
    type Err = InvalidName;
    fn from_str(id: &str) -> Result<Self, InvalidName> {
        Self::new(id)
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        id.0
    }
}

/// A registered asset's record has the asset's id.
impl From<&AssetId> for RecordId {
    fn from(id: &AssetId) -> Self {
        Self(id.as_str().to_owned())
    }
}
