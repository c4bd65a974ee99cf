//! What customers agree to: whose data must not be used for what.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{AssetId, Timestamp};
use forecare_registry::{Body, Customer, PresumedConsent, Purpose, RecordId, RecordKind};
use forecare_store::{RecordFilter, RecordPage, Store, StoreError, StoredRecord};

/// Records read at once.
const PAGE: usize = 1_000;

/// Assets of customers who do not agree to `purpose` at `at`.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn refusing(
    store: &dyn Store,
    presumed: &PresumedConsent,
    purpose: Purpose,
    at: Timestamp,
) -> Result<BTreeSet<AssetId>, StoreError> {
    let customers = all(store, RecordKind::Customer).await?;
    let assets = all(store, RecordKind::Asset).await?;
    let refused = Refusals::of(&customers, &assets, presumed, purpose, at);
    Ok(refused.assets)
}

/// All records of `kind`, by id.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn all(
    store: &dyn Store,
    kind: RecordKind,
) -> Result<Vec<StoredRecord>, StoreError> {
    let mut all: Vec<StoredRecord> = Vec::new();
    loop {
        let page = RecordPage {
            after: all.last().map(|r| r.record.id.clone()),
            limit: PAGE,
        };
        let found = store.records(kind, &RecordFilter::default(), &page).await?;
        let is_last = found.len() < PAGE;
        all.extend(found);
        if is_last {
            return Ok(all);
        }
    }
}

/// Who does not agree to a purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// Customers, by id.
    pub(crate) customers: BTreeSet<RecordId>,
    /// Their machines.
    pub(crate) assets: BTreeSet<AssetId>,
}

impl Refusals {
    /// Who of `customers` does not agree to `purpose` at `at`, and which of `assets` are theirs.
    pub(crate) fn of(
        customers: &[StoredRecord],
        assets: &[StoredRecord],
        presumed: &PresumedConsent,
        purpose: Purpose,
        at: Timestamp,
    ) -> Self {
        let refuses = |customer: &Customer| !presumed.allows(customer, purpose, at);
        let customers: BTreeSet<RecordId> = customers
            .iter()
            .filter_map(|r| match &r.body {
                Some(Body::Customer(customer)) if refuses(customer) => Some(r.record.id.clone()),
                Some(_) | None => None,
            })
            .collect();
        let owners: BTreeMap<&RecordId, &RecordId> = assets
            .iter()
            .filter_map(|r| match &r.body {
                Some(Body::Asset(details)) => Some((&r.record.id, details.customer.as_ref()?)),
                Some(_) | None => None,
            })
            .collect();
        let theirs = owners
            .into_iter()
            .filter(|(_, owner)| customers.contains(owner));
        let assets = theirs.filter_map(|(id, _)| AssetId::new(id.as_str()).ok());
        Self {
            assets: assets.collect(),
            customers,
        }
    }
}
