//! Those who do the work, and from where.

use serde::{Deserialize, Serialize};

use crate::customer::{ContactAddress, check_channels};
use crate::date::Date;
use crate::fault::Faults;
use crate::id::RecordId;
use crate::location::GeoPosition;

/// Someone who does the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Technician {
    /// The person's name, as tickets show it.
    pub name: String,
    /// Skills held, in the words of the catalogue's failure modes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
    /// Certificates held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Regions worked in, as locations name theirs; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Home depot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depot: Option<RecordId>,
    /// The van they drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub van: Option<RecordId>,
    /// Where the day begins; none: at the depot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<GeoPosition>,
    /// Shifts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<RecordId>,
    /// How to reach them, the preferred way first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ContactAddress>,
    /// Language of what is written to them: `en`, `zh-CN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// False: gets no work any more, but stays on record.
    #[serde(default = "yes")]
    pub active: bool,
}

/// A proof of what somebody may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Certificate {
    /// What it is for, such as `high-voltage`.
    pub name: String,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Last day; none: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Date>,
}

/// A place that holds stock, under its id; a depot of the catalogue of the same name is the same place. Parts are
/// reserved by themselves only from depots of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Depot {
    /// What people call it.
    pub name: String,
    /// Where on Earth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<GeoPosition>,
    /// Postal address, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its time zone, as the IANA database names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A car. Its stock is kept under `van:` and its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Van {
    /// What people call it, such as its plate.
    pub name: String,
    /// Where it is filled up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depot: Option<RecordId>,
    /// Where it stands overnight; none: at the depot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<GeoPosition>,
}

fn yes() -> bool {
    true
}

impl Technician {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("name", &self.name);
        faults.lines("skills", &self.skills);
        faults.lines("regions", &self.regions);
        faults.list("certificates", self.certificates.len());
        for (i, certificate) in self.certificates.iter().enumerate() {
            faults.line(format!("certificates[{i}].name"), &certificate.name);
            let number = certificate.number.as_deref();
            faults.optional(format!("certificates[{i}].number"), number);
        }
        if let Some(home) = self.home {
            home.check("home", faults);
        }
        check_channels("channels", &self.channels, faults);
        if let Some(language) = &self.language {
            faults.language("language", language);
        }
    }

    /// Whether the certificate `name` is held and valid on `day`.
    #[must_use]
    pub fn holds(&self, name: &str, day: Date) -> bool {
        self.certificates
            .iter()
            .any(|c| c.name == name && c.valid_until.is_none_or(|until| day <= until))
    }
}

impl Depot {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("name", &self.name);
        if let Some(position) = self.position {
            position.check("position", faults);
        }
        faults.optional("address", self.address.as_deref());
        if let Some(zone) = &self.time_zone {
            faults.time_zone("time_zone", zone);
        }
    }
}

impl Van {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("name", &self.name);
        if let Some(position) = self.position {
            position.check("position", faults);
        }
    }
}
