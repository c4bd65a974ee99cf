//! Where things are: the equipment hierarchy of ISA-95 (IEC 62264-1).

use serde::{Deserialize, Serialize};

use crate::fault::Faults;
use crate::id::RecordId;

/// A place on Earth, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GeoPosition {
    /// Degrees north, -90 to 90.
    pub latitude_deg: f64,
    /// Degrees east, -180 to 180.
    pub longitude_deg: f64,
}

/// A level of the hierarchy, from the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Level {
    /// The whole firm.
    Enterprise,
    /// A plant.
    Site,
    /// A part of a plant.
    Area,
    /// A line, cell or process cell.
    Line,
    /// A unit: where one machine stands.
    Unit,
}

/// A node of the tree. Its parent is of a level further up, which need not be the next one: a small plant has no
/// areas. As levels only rise towards the root, there can be no cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Location {
    /// What people call it.
    pub name: String,
    /// Its level.
    pub level: Level,
    /// The node above; none for an enterprise, or for a site that stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RecordId>,
    /// Where on Earth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<GeoPosition>,
    /// Postal address, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The sales or service region it counts towards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its time zone, as the IANA database names it; none: that of the node above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

impl GeoPosition {
    pub(crate) fn check(self, field: &str, faults: &mut Faults) {
        let (latitude, longitude) = (self.latitude_deg, self.longitude_deg);
        faults.number(format!("{field}.latitude_deg"), latitude, -90.0, 90.0);
        faults.number(format!("{field}.longitude_deg"), longitude, -180.0, 180.0);
    }
}

impl Level {
    /// The name in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::Site => "site",
            Self::Area => "area",
            Self::Line => "line",
            Self::Unit => "unit",
        }
    }

    /// Whether a node of level `parent` may stand above one of this level.
    #[must_use]
    pub fn may_lie_in(self, parent: Self) -> bool {
        parent < self
    }
}

impl Location {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("name", &self.name);
        if let Some(position) = self.position {
            position.check("position", faults);
        }
        faults.optional("address", self.address.as_deref());
        faults.optional("region", self.region.as_deref());
        if let Some(zone) = &self.time_zone {
            faults.time_zone("time_zone", zone);
        }
        let needs_parent = self.level > Level::Site;
        if self.level == Level::Enterprise && self.parent.is_some() {
            faults.add("parent", "an enterprise is the root and has no parent");
        } else if needs_parent && self.parent.is_none() {
            faults.add(
                "parent",
                format!("a {} lies in something: name it", self.level.label()),
            );
        }
    }
}
