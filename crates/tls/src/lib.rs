//! TLS towards broker and database: rustls with ring, certificates always verified, and when they expire.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Where systems keep the certificate authorities they trust, as one PEM file.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// No certificate was seen yet.
const NONE: i64 = i64::MIN;

/// Why no connection can be made whatever the other end says.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Neither a file was named, nor does the system have authorities in a known place.
    #[error("no certificate authorities of the system were found")]
    NoRoots,
    /// The named file holds no authorities.
    #[error("the certificate authorities in {} cannot be used ({reason})", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// When what the other end showed expires, as of the newest connection.
#[derive(Debug)]
pub struct PeerCertificate {
    expires_at_s: AtomicI64,
}

impl Default for PeerCertificate {
    fn default() -> Self {
        Self {
            expires_at_s: AtomicI64::new(NONE),
        }
    }
}

impl PeerCertificate {
    /// Seconds since 1970 at which the server's own certificate expires, as of the newest connection that showed one;
    /// `None` before the first connection, and without TLS.
    #[must_use]
    pub fn expires_at_s(&self) -> Option<i64> {
        let at = self.expires_at_s.load(Ordering::Relaxed);
        (at != NONE).then_some(at)
    }

    fn seen(&self, certificate: &CertificateDer<'_>) {
        // Of those it sends along some may have expired that no path needs.
        if let Some(at) = expiry_s(certificate) {
            self.expires_at_s.store(at, Ordering::Relaxed);
        }
    }
}

/// Seconds since 1970 at which a certificate expires; `None` where it cannot be read.
fn expiry_s(der: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(der).ok()?;
    let validity = certificate.tbs_certificate.validity;
    i64::try_from(validity.not_after.to_unix_duration().as_secs()).ok()
}

/// A configuration that trusts the authorities in `ca_file` (PEM), or the system's, and tells `seen` of what it verified.
///
/// # Errors
/// There are no authorities, or they cannot be read.
pub fn client_config(
    ca_file: Option<&Path>,
    seen: Arc<PeerCertificate>,
) -> Result<ClientConfig, TlsError> {
    let path = match ca_file {
        Some(path) => path,
        None => SYSTEM_BUNDLES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .ok_or(TlsError::NoRoots)?,
    };
    let failed = |reason: String| TlsError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| failed(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (n_added, _ignored) = roots.add_parsable_certificates(certificates);
    if n_added == 0 {
        return Err(failed("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| failed(e.to_string()))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(e.to_string()))?
        // Not less than rustls verifies by itself: it does, and is asked.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Noting { verifier, seen }))
        .with_no_client_auth())
}

/// Verifies as rustls does, and notes what was verified.
#[derive(Debug)]
struct Noting {
    verifier: Arc<WebPkiServerVerifier>,
    seen: Arc<PeerCertificate>,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        self.seen.seen(end_entity);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use forecare_test_databases::Authority;

    use super::*;

    #[test]
    fn the_first_expiry_of_what_was_shown_is_told() {
        // Made for a day.
        let authority = Authority::new();
        let der = CertificateDer::from_pem_file(authority.file()).unwrap();
        let expiry = expiry_s(&der).unwrap();
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap();
        assert!((now + 86_000..now + 86_500).contains(&expiry), "{expiry}");
        let seen = PeerCertificate::default();
        assert_eq!(seen.expires_at_s(), None);
        seen.seen(&der);
        // What cannot be read says nothing.
        seen.seen(&CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(seen.expires_at_s(), Some(expiry));
    }

    #[test]
    fn a_file_without_authorities_is_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let refused = client_config(Some(empty.path()), Arc::default()).unwrap_err();
        assert!(
            refused.to_string().contains("it holds no certificate"),
            "{refused}"
        );
    }
}
