//! What the service does with master data by itself: the first records come from the catalogue.

use anyhow::{Result, bail};
use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_registry::RecordRef;
use forecare_store::{RecordCommit, RecordsOutcome, Store, forecare};
use tracing::info;

/// Stores depots and technicians of the catalogue that the registry never had. One that was changed or deleted there
/// stays so: the registry is the master.
///
/// # Errors
/// The store refuses, or cannot be reached.
pub(crate) async fn seed(store: &dyn Store, catalogue: &Catalogue, at: Timestamp) -> Result<()> {
    let mut writes = Vec::new();
    for write in forecare_registry::seed(catalogue) {
        let key = RecordRef::new(write.kind, write.id.clone());
        if store.record(&key).await?.is_none() {
            writes.push(write);
        }
    }
    if writes.is_empty() {
        return Ok(());
    }
    let n_records = writes.len();
    let commit = RecordCommit {
        writes,
        by: forecare(),
        at,
    };
    match store.commit_records(commit).await? {
        RecordsOutcome::Stored(_) => {
            info!(
                n_records,
                "depots and technicians of the catalogue are in the registry"
            );
            Ok(())
        }
        RecordsOutcome::Refused(faults) => {
            let texts: Vec<String> = faults
                .iter()
                .map(|f| format!("{} {}: {}", f.record, f.field, f.detail))
                .collect();
            bail!(
                "the catalogue's depots and technicians cannot be put into the registry: {}",
                texts.join("; ")
            )
        }
    }
}
