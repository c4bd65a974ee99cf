//! Where a message by e-mail belongs: who sent it, and which machine it is about.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{AssetId, ContactRef, Ticket};
use forecare_registry::{Body, ContactChannel, Customer, RecordId, RecordKind, RecordRef};
use forecare_store::{RecordFilter, StoredRecord};

use crate::app::App;
use crate::for_whom::customer_of;
use crate::overview::{referring, whole};
use crate::problem::Problem;

/// Customers that are looked through for a sender.
const CUSTOMERS_MAX: usize = 20_000;
/// Assets on record that are looked through for one that a stranger's message names.
const ASSETS_MAX: usize = 20_000;
/// Machines that are kept as those a message may be about.
const CANDIDATES_MAX: usize = 10;
/// Least characters of a name that is looked for in texts, and of one that is a mere number.
const NAME_CHARS_MIN: usize = 2;
const NUMBER_CHARS_MIN: usize = 5;

/// What is known of where a message belongs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The machine, where there is no doubt.
    pub(crate) asset: Option<AssetId>,
    /// Else those it may be about, the first ten by id.
    pub(crate) candidates: Vec<AssetId>,
    /// Ids of the customer and of their contact who sent it, where that was looked for.
    pub(crate) from: Option<(String, String)>,
}

/// Who the sender is to a machine's customer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This contact.
    Contact(ContactRef),
    /// No contact of theirs, of whom addresses are known.
    Stranger,
    /// It has no customer, or no address of theirs is known: nobody is told apart.
    Unknown,
}

/// The machine that a message without a ticket's number is about: the one behind a plus in the address it was sent to
/// (`tags`), else the only one of the customer whose contact sent it, else the only one of theirs that `text` names by
/// serial number, id or name. What nobody's contact sends is about none.
pub(crate) async fn machine_of(
    app: &App,
    address: &str,
    tags: &[String],
    text: &str,
) -> Result<Placed, Problem> {
    let store = &app.state.store;
    for tag in tags {
        if let Ok(id) = AssetId::new(tag)
            && store.asset(&id).await?.is_some()
        {
            return Ok(Placed {
                asset: Some(id),
                ..Placed::default()
            });
        }
    }
    let filter = RecordFilter::default();
    let mut from = None;
    let mut machines: Vec<StoredRecord> = Vec::new();
    for record in whole(app, RecordKind::Customer, &filter, CUSTOMERS_MAX).await? {
        let Some(Body::Customer(customer)) = &record.body else {
            continue;
        };
        if let Some(contact) = contact_of(customer, address) {
            from.get_or_insert((record.record.id.to_string(), contact));
            machines.extend(referring(app, RecordKind::Asset, &record.record).await?);
        }
    }
    let placed = |asset: Option<AssetId>, candidates: BTreeSet<AssetId>| Placed {
        asset,
        candidates: candidates.into_iter().take(CANDIDATES_MAX).collect(),
        from: from.clone(),
    };
    let is_known = from.is_some();
    if !is_known {
        machines = whole(app, RecordKind::Asset, &filter, ASSETS_MAX).await?;
    }
    let ours: BTreeMap<AssetId, String> = store
        .assets()
        .await?
        .into_iter()
        .map(|asset| (asset.id, asset.name))
        .collect();
    let mut names: Vec<(AssetId, String)> = Vec::new();
    let mut theirs = BTreeSet::new();
    for record in machines {
        let Some((id, name)) = AssetId::new(record.record.id.as_str())
            .ok()
            .and_then(|id| ours.get_key_value(&id))
        else {
            continue;
        };
        theirs.insert(id.clone());
        names.push((id.clone(), id.to_string()));
        names.push((id.clone(), name.clone()));
        if let Some(Body::Asset(details)) = record.body
            && let Some(serial) = details.serial
        {
            names.push((id.clone(), serial));
        }
    }
    if !is_known {
        // Machines that no record speaks of have names as well.
        let unknown = ours.iter().filter(|(id, _)| !theirs.contains(*id));
        names.extend(
            unknown
                .flat_map(|(id, name)| [(id.clone(), id.to_string()), (id.clone(), name.clone())]),
        );
    }
    let named = named(names, text);
    let only = |set: &BTreeSet<AssetId>| (set.len() == 1).then(|| set.first().cloned()).flatten();
    Ok(if !is_known {
        placed(None, named)
    } else if let Some(asset) = only(&theirs).or_else(|| only(&named)) {
        placed(Some(asset), BTreeSet::new())
    } else if named.is_empty() {
        placed(None, theirs)
    } else {
        placed(None, named)
    })
}

/// Who the sender with this address is to the customer of `ticket`, or, where there is none yet, of `asset`.
pub(crate) async fn standing(
    app: &App,
    asset: &AssetId,
    ticket: Option<&Ticket>,
    address: &str,
) -> Result<Standing, Problem> {
    let store = &app.state.store;
    let key = RecordRef::new(RecordKind::Asset, RecordId::from(asset));
    let customer = match store.record(&key).await?.and_then(|found| found.body) {
        Some(Body::Asset(details)) => details.customer,
        Some(_) | None => None,
    };
    let customer = match ticket {
        Some(ticket) => customer_of(store.as_ref(), ticket, customer).await?,
        None => customer,
    };
    let Some(id) = customer else {
        return Ok(Standing::Unknown);
    };
    let owner = id.to_string();
    let key = RecordRef::new(RecordKind::Customer, id);
    let Some(Body::Customer(customer)) = store.record(&key).await?.and_then(|found| found.body)
    else {
        return Ok(Standing::Unknown);
    };
    if let Some(contact) = contact_of(&customer, address) {
        return Ok(Standing::Contact(ContactRef {
            customer: owner,
            contact,
        }));
    }
    let mut channels = customer.contacts.iter().flat_map(|c| &c.channels);
    Ok(if channels.any(|c| c.kind == ContactChannel::Email) {
        Standing::Stranger
    } else {
        Standing::Unknown
    })
}

/// Id of the contact with that e-mail address.
fn contact_of(customer: &Customer, address: &str) -> Option<String> {
    let has = |c: &&forecare_registry::Contact| {
        let mut channels = c.channels.iter();
        channels
            .any(|to| to.kind == ContactChannel::Email && to.address.eq_ignore_ascii_case(address))
    };
    let contact = customer.contacts.iter().find(has);
    contact.map(|contact| contact.id.to_string())
}

/// Which of those with `names` a text speaks of. Longer names come first, and what they took is not looked at again:
/// "pump 12" is not "pump 1".
fn named<T: Clone + Ord>(names: Vec<(T, String)>, text: &str) -> BTreeSet<T> {
    let mut by_name: BTreeMap<String, BTreeSet<T>> = BTreeMap::new();
    for (of, name) in names {
        let name = name.trim().to_lowercase();
        if is_telling(&name) {
            by_name.entry(name).or_default().insert(of);
        }
    }
    let mut by_name: Vec<(String, BTreeSet<T>)> = by_name.into_iter().collect();
    by_name.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let mut rest = text.to_lowercase();
    let mut found = BTreeSet::new();
    for (name, of) in by_name {
        if taken_out(&mut rest, &name) {
            found.extend(of);
        }
    }
    found
}

/// A word of everybody's, such as "press", is no name to go by.
fn is_telling(name: &str) -> bool {
    let is_word = name.chars().all(|c| c.is_ascii_alphabetic());
    let least = if name.chars().all(|c| c.is_ascii_digit()) {
        NUMBER_CHARS_MIN
    } else if is_word {
        return false;
    } else {
        NAME_CHARS_MIN
    };
    name.chars().count() >= least
}

/// Takes every mention of `name` as a word of its own out of `text`; whether there is any.
fn taken_out(text: &mut String, name: &str) -> bool {
    let mut found = false;
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(name)) {
        let (begin, end) = (from + at, from + at + name.len());
        let before = text[..begin].chars().rev();
        let after = text[end..].chars();
        if !goes_on(before) && !goes_on(after) {
            text.replace_range(begin..end, &" ".repeat(name.len()));
            found = true;
        }
        from = end;
    }
    found
}

/// Whether a word goes on with `next`: with a letter or digit, at once or behind a hyphen or the like. Where words stand
/// without blanks between them, as in Chinese, it does not.
fn goes_on(mut next: impl Iterator<Item = char>) -> bool {
    let joins = |c: char| c.is_alphanumeric() && c < '\u{2e80}';
    match next.next() {
        Some('-' | '_' | '/') => next.next().is_some_and(joins),
        Some(c) => joins(c),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_a_word_of_its_own() {
        let names = || {
            [
                (1, "pump-1"),
                (1, "Pump 1"),
                (1, "S-1001"),
                (2, "pump-12"),
                (2, "Pump 12"),
                (2, "47"),
                (3, "一号泵"),
                (4, "二十一号泵"),
                (5, "SC-40001"),
                (6, "Pump house"),
                (7, "Pump house"),
                (8, "Press"),
            ]
            .map(|(of, name)| (of, name.to_owned()))
            .to_vec()
        };
        for (text, of) in [
            ("The pump-1 leaks", &[1][..]),
            ("PUMP-1, again", &[1]),
            ("pump-12 leaks", &[2]),
            ("pump-123, pump-1-a, my-pump-1 and spump-1", &[]),
            ("about pump 12.", &[2]),
            ("pump 1 and pump 12", &[1, 2]),
            ("serial no. s-1001!", &[1]),
            ("S-1001/2", &[]),
            ("since 47 days", &[]),
            ("设备pump-1漏油", &[1]),
            ("二十一号泵漏油", &[4]),
            ("一号泵漏油", &[3]),
            ("(SC-40001)", &[5]),
            ("in the pump house", &[6, 7]),
            ("please press for an answer", &[]),
            ("", &[]),
        ] {
            let found: Vec<i32> = named(names(), text).into_iter().collect();
            assert_eq!(found, of, "{text}");
        }
    }
}
