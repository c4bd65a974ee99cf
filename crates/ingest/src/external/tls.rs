//! TLS towards the broker.

use std::path::Path;
use std::sync::Arc;

use forecare_tls::{PeerCertificate, TlsError};
use rustls::ClientConfig;

use crate::IngestError;

pub(super) fn client_config(
    ca_file: Option<&Path>,
    seen: Arc<PeerCertificate>,
) -> Result<Arc<ClientConfig>, IngestError> {
    match forecare_tls::client_config(ca_file, seen) {
        Ok(config) => Ok(Arc::new(config)),
        Err(TlsError::NoRoots) => Err(IngestError::NoRoots),
        Err(TlsError::Unusable { path, reason }) => Err(IngestError::Tls { path, reason }),
    }
}
