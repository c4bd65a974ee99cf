//! TLS towards the server.

use std::path::Path;
use std::sync::Arc;

use forecare_store::StoreError;
use forecare_tls::{PeerCertificate, TlsError};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::fault::misconfigured;

/// A connector that trusts the authorities in `ca_file`, or the system's.
pub(crate) fn connector(
    ca_file: Option<&Path>,
    seen: Arc<PeerCertificate>,
) -> Result<MakeRustlsConnect, StoreError> {
    match forecare_tls::client_config(ca_file, seen) {
        Ok(config) => Ok(MakeRustlsConnect::new(config)),
        Err(TlsError::NoRoots) => Err(misconfigured(
            "no certificate authorities of the system were found to verify the database's certificate with; install \
             ca-certificates, or name the authority's PEM file as ca_file",
        )),
        Err(unusable @ TlsError::Unusable { .. }) => Err(misconfigured(format!(
            "{unusable}; ca_file must be a PEM file"
        ))),
    }
}
