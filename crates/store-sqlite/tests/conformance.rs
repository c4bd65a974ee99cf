//! The suite of the port, on a real file.

use std::sync::Arc;

use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_store::Store;
use forecare_store_sqlite::SqliteStore;
use tempfile::TempDir;

async fn make(catalogue: Catalogue, now: Timestamp) -> (Arc<dyn Store>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), &catalogue, now).unwrap();
    (Arc::new(store), directory)
}

forecare_store::conformance_tests!(make);
