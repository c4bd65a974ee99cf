//! Pieces of parts that are told apart.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BatchNumber, DepotName, PartNumber, SerialNumber, TicketId, Timestamp};

/// Which pieces are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Marks {
    /// All of this batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchNumber>,
    /// These, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<SerialNumber>,
}

impl Marks {
    /// No piece is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_none() && self.serials.is_empty()
    }
}

/// Parts used on a ticket, so far, in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartUsed {
    /// The part.
    pub part: PartNumber,
    /// How many.
    pub quantity: u32,
    /// Which, where the part is tracked.
    pub marks: Marks,
}

impl From<(PartNumber, u32)> for PartUsed {
    fn from((part, quantity): (PartNumber, u32)) -> Self {
        Self {
            part,
            quantity,
            marks: Marks::default(),
        }
    }
}

/// What a line of the ledger moves of one batch, or of one piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its batch, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchNumber>,
    /// Its serial number, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SerialNumber>,
    /// How many: negative ones leave the shelf.
    pub delta: i64,
}

impl Unit {
    /// So many of a batch.
    #[must_use]
    pub fn of_batch(batch: BatchNumber, delta: i64) -> Self {
        Self {
            batch: Some(batch),
            serial: None,
            delta,
        }
    }

    /// One piece.
    #[must_use]
    pub fn of_serial(serial: SerialNumber, batch: Option<BatchNumber>, delta: i64) -> Self {
        Self {
            batch,
            serial: Some(serial),
            delta,
        }
    }

    /// The same the other way, where `sign` is -1.
    #[must_use]
    pub fn times(&self, sign: i64) -> Self {
        Self {
            delta: self.delta * sign,
            ..self.clone()
        }
    }
}

/// Where a piece is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnitPlace {
    /// On a shelf.
    Shelf(DepotName),
    /// In repair, handed in there.
    Repair(DepotName),
    /// With a ticket: handed out to it, or fitted on it.
    Ticket(TicketId),
    /// With a cost centre.
    CostCentre(String),
    /// Gone for good, from the shelf there.
    Scrapped(DepotName),
}

impl UnitPlace {
    /// Kind and name, as stored.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Shelf(depot) => format!("shelf:{depot}"),
            Self::Repair(depot) => format!("repair:{depot}"),
            Self::Ticket(TicketId(id)) => format!("ticket:{id}"),
            Self::CostCentre(name) => format!("cost_centre:{name}"),
            Self::Scrapped(depot) => format!("scrapped:{depot}"),
        }
    }

    /// The place with that [`key`](Self::key); `None`: there is none such.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        let (kind, name) = key.split_once(':')?;
        match kind {
            "shelf" => Some(Self::Shelf(DepotName::new(name).ok()?)),
            "repair" => Some(Self::Repair(DepotName::new(name).ok()?)),
            "ticket" => Some(Self::Ticket(TicketId(name.parse().ok()?))),
            "scrapped" => Some(Self::Scrapped(DepotName::new(name).ok()?)),
            "cost_centre" => Some(Self::CostCentre(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for UnitPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shelf(depot) => write!(f, "on the shelf at {depot}"),
            Self::Repair(depot) => write!(f, "in repair from {depot}"),
            Self::Ticket(id) => write!(f, "with ticket {id}"),
            Self::CostCentre(name) => write!(f, "with cost centre \"{name}\""),
            Self::Scrapped(depot) => write!(f, "scrapped at {depot}"),
        }
    }
}

/// Where pieces of one batch, or one piece, are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitAt {
    /// The part.
    pub part: PartNumber,
    /// Its batch, where known.
    pub batch: Option<BatchNumber>,
    /// Its serial number, where it has one.
    pub serial: Option<SerialNumber>,
    /// Where.
    pub place: UnitPlace,
    /// How many. At least 1; of a serial number 1.
    pub quantity: u32,
    /// Since when; of several the last that came.
    pub since: Timestamp,
}

impl UnitAt {
    /// A movement of `delta` of them.
    #[must_use]
    pub fn piece(&self, delta: i64) -> Unit {
        Unit {
            batch: self.batch.clone(),
            serial: self.serial.clone(),
            delta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_by_its_key() {
        let depot = DepotName::new("van:7").unwrap();
        for place in [
            UnitPlace::Shelf(depot.clone()),
            UnitPlace::Repair(depot.clone()),
            UnitPlace::Scrapped(depot),
            UnitPlace::Ticket(TicketId(12)),
            UnitPlace::CostCentre("work: shop".to_owned()),
        ] {
            assert_eq!(UnitPlace::of_key(&place.key()), Some(place));
        }
        assert_eq!(UnitPlace::of_key("moon:1"), None);
    }
}
