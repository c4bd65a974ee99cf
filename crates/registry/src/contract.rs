//! What was agreed with a customer, and which contract speaks for an asset.

use forecare_domain::Priority;
use serde::{Deserialize, Serialize};

use crate::date::Date;
use crate::fault::{Faults, NOTE_CHARS_MAX};
use crate::id::RecordId;

/// Assets, classes or sites of one contract at most.
const COVERED_MAX: usize = 5_000;

/// A service contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Contract {
    /// The customer.
    pub customer: RecordId,
    /// What kind, such as `full-service`; tier rules may name it.
    pub kind: String,
    /// What people call it; none: its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// First day.
    pub valid_from: Date,
    /// Last day; none: until it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Date>,
    /// What it covers.
    #[serde(default)]
    pub coverage: Coverage,
    /// Hours in which its clocks run; none: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<RecordId>,
    /// Agreed times, by priority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// What is paid for already.
    #[serde(default)]
    pub includes: Includes,
    /// Price of a year, in the catalogue's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly_price: Option<f64>,
    /// What else to know, at most 2,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a contract covers; all three empty: every asset of the customer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Coverage {
    /// These assets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<RecordId>,
    /// The customer's assets of these classes of the catalogue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The customer's assets at, or below, these locations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<RecordId>,
}

/// Agreed times for tickets of one priority.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Target {
    /// The priority.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "P1"))]
    pub priority: Priority,
    /// From opening to the first answer, hours of the contract's calendar. Above 0.
    pub response_hours: f64,
    /// From opening to resolution, hours of the contract's calendar. Not less than the response.
    pub resolution_hours: f64,
}

/// What the price includes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Includes {
    /// Working time and travel.
    #[serde(default)]
    pub labour: bool,
    /// Every part.
    #[serde(default)]
    pub all_parts: bool,
    /// These parts of the catalogue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

/// By what a contract covers an asset, the closest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Covered {
    /// It names the asset.
    ByAsset,
    /// It names a location the asset stands in.
    ByLocation,
    /// It names the asset's class.
    ByClass,
    /// It covers all of the customer's assets.
    ByCustomer,
}

impl Contract {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("kind", &self.kind);
        faults.optional("title", self.title.as_deref());
        if self.valid_to.is_some_and(|to| to < self.valid_from) {
            faults.add("valid_to", "lies before valid_from");
        }
        let coverage = &self.coverage;
        for (field, n) in [
            ("coverage.assets", coverage.assets.len()),
            ("coverage.classes", coverage.classes.len()),
            ("coverage.locations", coverage.locations.len()),
        ] {
            faults.list_of(field, n, COVERED_MAX);
        }
        faults.distinct("coverage.assets", &coverage.assets);
        faults.distinct("coverage.classes", &coverage.classes);
        faults.distinct("coverage.locations", &coverage.locations);
        for (i, target) in self.targets.iter().enumerate() {
            let at = |field: &str| format!("targets[{i}].{field}");
            let same = |t: &Target| t.priority == target.priority;
            if self.targets.iter().take(i).any(same) {
                faults.add(at("priority"), "this priority comes twice");
            }
            let (response, resolution) = (target.response_hours, target.resolution_hours);
            faults.number(at("response_hours"), response, 1.0 / 60.0, 8_784.0);
            faults.number(at("resolution_hours"), resolution, 1.0 / 60.0, 8_784.0);
            if resolution < response {
                faults.add(at("resolution_hours"), "is less than response_hours");
            }
        }
        faults.list("includes.parts", self.includes.parts.len());
        faults.distinct("includes.parts", &self.includes.parts);
        if let Some(price) = self.yearly_price {
            faults.number("yearly_price", price, 0.0, 1e15);
        }
        if let Some(note) = &self.note {
            faults.text("note", note, NOTE_CHARS_MAX);
        }
    }

    /// Whether it is in force on `day`.
    #[must_use]
    pub fn is_valid_on(&self, day: Date) -> bool {
        self.valid_from <= day && self.valid_to.is_none_or(|to| day <= to)
    }

    /// Whether, and by what, it covers an asset of its customer. `within`: the location the asset stands at and
    /// all above it.
    #[must_use]
    pub fn covers(&self, asset: &RecordId, class: &str, within: &[RecordId]) -> Option<Covered> {
        let coverage = &self.coverage;
        if coverage.assets.contains(asset) {
            Some(Covered::ByAsset)
        } else if coverage.locations.iter().any(|l| within.contains(l)) {
            Some(Covered::ByLocation)
        } else if coverage.classes.iter().any(|c| c == class) {
            Some(Covered::ByClass)
        } else if *coverage == Coverage::default() {
            Some(Covered::ByCustomer)
        } else {
            None
        }
    }

    /// Whether a part comes with it.
    #[must_use]
    pub fn includes_part(&self, number: &str) -> bool {
        self.includes.all_parts || self.includes.parts.iter().any(|p| p == number)
    }
}

/// The contract that speaks for an asset of its customer on `day`: of those in force the one that names it most
/// closely, then the one that began last, then the least id.
#[must_use]
pub fn covering<'a>(
    contracts: &'a [(RecordId, Contract)],
    asset: &RecordId,
    class: &str,
    within: &[RecordId],
    day: Date,
) -> Option<(&'a RecordId, &'a Contract, Covered)> {
    contracts
        .iter()
        .filter(|(_, contract)| contract.is_valid_on(day))
        .filter_map(|(id, contract)| Some((id, contract, contract.covers(asset, class, within)?)))
        .min_by(|(a, x, by_a), (b, y, by_b)| {
            let began = y.valid_from.cmp(&x.valid_from);
            by_a.cmp(by_b).then(began).then_with(|| a.cmp(b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RecordId {
        RecordId::new(text).unwrap()
    }

    fn contract(from: &str, to: Option<&str>, coverage: Coverage) -> Contract {
        Contract {
            customer: id("c"),
            kind: "full-service".to_owned(),
            title: None,
            valid_from: from.parse().unwrap(),
            valid_to: to.map(|to| to.parse().unwrap()),
            coverage,
            calendar: None,
            targets: Vec::new(),
            includes: Includes::default(),
            yearly_price: None,
            note: None,
        }
    }

    #[test]
    fn the_closest_contract_in_force_speaks() {
        let by_class = Coverage {
            classes: vec!["pump".to_owned()],
            ..Coverage::default()
        };
        let by_location = Coverage {
            locations: vec![id("site")],
            ..Coverage::default()
        };
        let by_asset = Coverage {
            assets: vec![id("p1")],
            ..Coverage::default()
        };
        let contracts = [
            (id("all"), contract("2026-01-01", None, Coverage::default())),
            (id("class"), contract("2026-01-01", None, by_class.clone())),
            (id("class-2"), contract("2026-02-01", None, by_class)),
            (id("place"), contract("2026-01-01", None, by_location)),
            (
                id("asset"),
                contract("2026-01-01", Some("2026-06-30"), by_asset),
            ),
        ];
        let speaks = |asset: &str, class: &str, within: &[RecordId], day: &str| {
            covering(&contracts, &id(asset), class, within, day.parse().unwrap())
                .map(|(id, ..)| id.to_string())
        };
        let site = [id("unit"), id("site")];
        assert_eq!(speaks("p1", "pump", &site, "2026-06-30").unwrap(), "asset");
        assert_eq!(speaks("p1", "pump", &site, "2026-07-01").unwrap(), "place");
        assert_eq!(speaks("p2", "pump", &[], "2026-07-01").unwrap(), "class-2");
        assert_eq!(speaks("p2", "pump", &[], "2026-01-15").unwrap(), "class");
        assert_eq!(speaks("f1", "fan", &[], "2026-07-01").unwrap(), "all");
        assert_eq!(speaks("f1", "fan", &[], "2025-12-31"), None);
    }
}
