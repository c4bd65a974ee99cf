//! The catalogue's people and places as first records.

use std::collections::BTreeSet;

use forecare_catalogue::Catalogue;

use crate::id::RecordId;
use crate::kind::RecordKind;
use crate::people::{Depot, Technician};
use crate::plan::{Change, RecordWrite};
use crate::record::Body;

/// An id made of a name: what an id cannot have becomes `-`.
#[must_use]
pub fn id_of(name: &str) -> Option<RecordId> {
    let text: String = name
        .trim()
        .chars()
        .map(|c| {
            let fits = c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
            if fits { c } else { '-' }
        })
        .take(128)
        .collect();
    RecordId::new(text.to_lowercase()).ok()
}

/// Depots and technicians of the catalogue, to be stored where no record has their id: from then on the registry is
/// the master.
#[must_use]
pub fn seed(catalogue: &Catalogue) -> Vec<RecordWrite> {
    let depots = catalogue.depots.iter().filter_map(|depot| {
        let id = RecordId::new(depot.name.as_str()).ok()?;
        let body = Body::Depot(Depot {
            name: depot.title.clone(),
            position: None,
            address: None,
            time_zone: None,
        });
        Some((RecordKind::Depot, id, body))
    });
    let technicians = catalogue.technicians.iter().filter_map(|technician| {
        let body = Body::Technician(Technician {
            name: technician.name.clone(),
            skills: technician.skills.clone(),
            certificates: Vec::new(),
            regions: Vec::new(),
            depot: RecordId::new(technician.depot.as_str()).ok(),
            van: None,
            home: None,
            calendar: None,
            channels: Vec::new(),
            language: None,
            active: true,
        });
        Some((RecordKind::Technician, id_of(&technician.name)?, body))
    });
    let mut seen = BTreeSet::new();
    depots
        .chain(technicians)
        .filter(|(kind, id, body)| body.faults().0.is_empty() && seen.insert((*kind, id.clone())))
        .map(|(kind, id, body)| RecordWrite {
            kind,
            id,
            if_version: None,
            change: Change::Put(Box::new(body)),
        })
        .collect()
}
