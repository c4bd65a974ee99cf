//! Who may do the work, and where it is, as the registry says: what the dispatcher is told.

use std::collections::BTreeMap;

use forecare_care::Calendar;
use forecare_care::dispatch::{Certificate, Worker};
use forecare_domain::{Asset, AssetId, DepotName, PartNumber, Place, Timestamp, VAN_PREFIX};
use forecare_registry::{Date, GeoPosition, RecordId, Technician};
use forecare_store::StockItem;

use super::terms::{Terms, View};

/// Where a machine stands, and what its customer says of technicians.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Spot {
    pub(super) place: Option<Place>,
    pub(super) region: Option<String>,
    /// The customer's id.
    pub(super) customer: Option<String>,
    /// Names of technicians the customer would like.
    pub(super) preferred: Vec<String>,
    /// Names of technicians the customer does not want.
    pub(super) excluded: Vec<String>,
}

/// When people work.
pub(super) struct Shifts<'a> {
    /// Of those who have no calendar of their own.
    pub(super) standard: &'a Calendar,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Shifts<'_> {
    fn of(&self, calendar: Option<&Calendar>) -> Vec<(Timestamp, Timestamp)> {
        let calendar = calendar.unwrap_or(self.standard);
        calendar.openings(self.from, self.to).collect()
    }
}

impl Terms {
    /// Everybody who gets work, by id, with what lies in their vans; empty: the registry knows nobody.
    pub(super) fn workers(&self, shifts: &Shifts<'_>, stock: &[StockItem]) -> Vec<Worker> {
        let view = self.view();
        let active = view.technicians.values().filter(|t| t.active);
        let mut standard = None;
        let mut workers: Vec<Worker> = Vec::new();
        for technician in active {
            // Tickets tell people apart by name.
            if workers.iter().any(|w| w.name == technician.name) {
                continue;
            }
            let own = technician.calendar.as_ref();
            let shifts = match own.and_then(|id| view.calendars.get(id)) {
                Some(own) => shifts.of(Some(own)),
                None => standard.get_or_insert_with(|| shifts.of(None)).clone(),
            };
            workers.push(view.worker(technician, shifts, stock));
        }
        workers
    }

    /// Where depots stand, as far as that is known.
    pub(super) fn depots(&self) -> Vec<(DepotName, Place)> {
        let view = self.view();
        let known = view.depots.iter().filter_map(|(id, depot)| {
            let name = DepotName::new(id.as_str()).ok()?;
            Some((name, place(depot.position?)))
        });
        known.collect()
    }

    /// Where `asset` stands at `at`, and whose it is.
    pub(super) fn spot(&self, asset: &Asset, at: Timestamp) -> Spot {
        let view = self.view();
        let id = RecordId::from(&asset.id);
        let within = view.places(&id, at);
        let locations = || within.iter().filter_map(|id| view.locations.get(id));
        let customer = view.assets.get(&id).and_then(|a| a.customer.as_ref());
        let names = |ids: &[RecordId]| {
            let known = ids.iter().filter_map(|id| view.technicians.get(id));
            known.map(|t| t.name.clone()).collect()
        };
        let wishes = customer.and_then(|id| view.customers.get(id));
        Spot {
            place: locations().find_map(|l| l.position).map(place),
            region: locations().find_map(|l| l.region.clone()),
            customer: customer.map(ToString::to_string),
            preferred: wishes.map_or_else(Vec::new, |c| names(&c.preferred_technicians)),
            excluded: wishes.map_or_else(Vec::new, |c| names(&c.excluded_technicians)),
        }
    }

    /// Where `asset` stands at `at`: names, the highest level first, and the nearest address, or empty.
    pub(crate) fn address(&self, asset: &AssetId, at: Timestamp) -> (Vec<String>, String) {
        let view = self.view();
        let within = view.places(&RecordId::from(asset), at);
        let locations = || within.iter().filter_map(|id| view.locations.get(id));
        let names = locations().map(|l| l.name.clone()).rev().collect();
        let address = locations().find_map(|l| l.address.clone());
        (names, address.unwrap_or_default())
    }

    /// The time zone by which the technician of that name works, where they have a calendar of their own.
    pub(crate) fn time_zone_of_technician(&self, name: &str) -> Option<String> {
        let view = self.view();
        let technician = view.technicians.values().find(|t| t.name == name)?;
        let calendar = view.calendars.get(technician.calendar.as_ref()?)?;
        Some(calendar.time_zone().to_owned())
    }

    /// Whether somebody of that name gets work.
    pub(super) fn is_technician(&self, name: &str) -> bool {
        let view = self.view();
        let mut active = view.technicians.values().filter(|t| t.active);
        active.any(|t| t.name == name)
    }
}

impl View {
    fn worker(
        &self,
        technician: &Technician,
        shifts: Vec<(Timestamp, Timestamp)>,
        stock: &[StockItem],
    ) -> Worker {
        let van = technician.van.as_ref();
        let home = technician.home.or_else(|| self.vans.get(van?)?.position);
        let depot = technician.depot.as_ref();
        let depot = depot.and_then(|id| DepotName::new(id.as_str()).ok());
        Worker {
            name: technician.name.clone(),
            home: home.map(place),
            depot,
            skills: technician.skills.clone(),
            certificates: technician
                .certificates
                .iter()
                .map(|c| Certificate {
                    name: c.name.clone(),
                    valid_until: c.valid_until.map(Date::end),
                })
                .collect(),
            regions: technician.regions.clone(),
            excluded_customers: Vec::new(),
            shifts,
            planned_hours: 0.0,
            van: van.map_or_else(Vec::new, |id| in_van(id, stock)),
        }
    }
}

/// What lies in a van and is nobody's.
fn in_van(van: &RecordId, stock: &[StockItem]) -> Vec<(PartNumber, u32)> {
    let name = format!("{VAN_PREFIX}{van}");
    let mut parts: BTreeMap<&PartNumber, u32> = BTreeMap::new();
    for item in stock.iter().filter(|item| item.depot.as_str() == name) {
        let held = item.soft.saturating_add(item.hard);
        *parts.entry(&item.part).or_default() += item.on_hand.saturating_sub(held);
    }
    let some = parts.into_iter().filter(|(_, n)| *n > 0);
    some.map(|(part, n)| (part.clone(), n)).collect()
}

fn place(position: GeoPosition) -> Place {
    Place {
        latitude_deg: position.latitude_deg,
        longitude_deg: position.longitude_deg,
    }
}
