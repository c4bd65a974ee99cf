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

/// To whom messages went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addressed {
    /// A name, or a technician's id.
    pub name: String,
    /// The address; `None`: any, as people of the configuration have addresses that no record knows.
    pub address: Option<String>,
    /// True: one of a customer's people.
    pub is_customer: bool,
}

/// Under which names and addresses messages went to the person in the record `id`, as `body` has them.
#[must_use]
pub fn addressed(id: &RecordId, body: &Body, person: &Person) -> Vec<Addressed> {
    match (body, person) {
        (Body::Customer(customer), Person::Contact(contact)) => {
            let contact = customer.contacts.iter().find(|c| c.id == *contact);
            let channels = contact
                .iter()
                .flat_map(|c| c.channels.iter().map(|to| (&c.name, to)));
            channels
                .map(|(name, to)| Addressed {
                    name: name.clone(),
                    address: Some(to.address.clone()),
                    is_customer: true,
                })
                .collect()
        }
        (Body::Technician(technician), Person::Technician) => {
            [technician.name.clone(), id.to_string()]
                .into_iter()
                .filter(|name| name != ERASED)
                .map(|name| Addressed {
                    name,
                    address: None,
                    is_customer: false,
                })
                .collect()
        }
        (_, Person::Contact(_) | Person::Technician) => Vec::new(),
    }
}
