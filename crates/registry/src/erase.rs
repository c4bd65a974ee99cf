//! The right to be forgotten (GDPR article 17, PIPL article 47): a person is taken out of records and of their history.

use crate::id::RecordId;
use crate::record::Body;

/// What stands where a name stood.
pub const ERASED: &str = "(erased)";

/// Whom to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// A contact of a customer's record.
    Contact(RecordId),
    /// The technician the record is about.
    Technician,
}

/// `body` without the person; `None` where there is nothing of them in it. A contact goes as a whole. Of a technician
/// the work stays on record under the id, without name, home, addresses and certificates' numbers.
#[must_use]
pub fn erase(body: &Body, person: &Person) -> Option<Body> {
    let mut body = body.clone();
    match (&mut body, person) {
        (Body::Customer(customer), Person::Contact(id)) => {
            let n = customer.contacts.len();
            customer.contacts.retain(|contact| contact.id != *id);
            (customer.contacts.len() < n).then_some(body)
        }
        (Body::Technician(technician), Person::Technician) => {
            let before = technician.clone();
            technician.name = ERASED.to_owned();
            technician.home = None;
            technician.channels.clear();
            technician.language = None;
            technician.active = false;
            for certificate in &mut technician.certificates {
                certificate.number = None;
            }
            (*technician != before).then_some(body)
        }
        (_, Person::Contact(_) | Person::Technician) => None,
    }
}

/// Names and addresses under which messages to the person in the record `id` are known, as `body` has them.
#[must_use]
pub fn addressed(id: &RecordId, body: &Body, person: &Person) -> Vec<(String, String)> {
    let (names, channels) = match (body, person) {
        (Body::Customer(customer), Person::Contact(contact)) => {
            match customer.contacts.iter().find(|c| c.id == *contact) {
                Some(contact) => (vec![contact.name.clone()], &contact.channels),
                None => return Vec::new(),
            }
        }
        (Body::Technician(technician), Person::Technician) => (
            vec![technician.name.clone(), id.to_string()],
            &technician.channels,
        ),
        (_, Person::Contact(_) | Person::Technician) => return Vec::new(),
    };
    let pairs = names.iter().flat_map(|name| {
        let addresses = channels.iter().map(|c| c.address.clone());
        addresses.map(|address| (name.clone(), address))
    });
    pairs.collect()
}
