//! The in-memory model passes the suite that it is the oracle of.
#![cfg(feature = "conformance")]

use std::sync::Arc;

use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_store::{MemoryStore, Store};

async fn make(catalogue: Catalogue, now: Timestamp) -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new(&catalogue, now)), ())
}

forecare_store::conformance_tests!(make);

#[test]
fn old_versions_of_a_record_go() {
    forecare_store::conformance::run(make, forecare_store::conformance::registry::old_versions_go);
}
