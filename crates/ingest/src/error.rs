//! What can be wrong when a source is set up. Each text names the fix.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A source could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Another program listens on the address of the embedded broker.
    #[error("port {} is in use by another program: stop it or set mqtt.listen to another address", listen.port())]
    AddressInUse {
        /// The address that was asked for.
        listen: SocketAddr,
    },
    /// The address of the embedded broker cannot be listened on.
    #[error(
        "cannot listen on {listen}: set mqtt.listen to an address of this machine and a port it may use"
    )]
    Listen {
        /// The address that was asked for.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The embedded broker could not be set up.
    #[error("the embedded broker did not start: {reason}")]
    Broker {
        /// What it said.
        reason: String,
    },
    /// The address of the external broker cannot be used.
    #[error(
        "\"{url}\" is no broker address: {reason}; write it as mqtt://host:1883 or mqtts://host:8883"
    )]
    BadUrl {
        /// The address without its credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate file cannot be used.
    #[error("{}: {reason}; set mqtt.ca_file to a PEM file with the certificate authority of the broker", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// mqtts without certificate authorities to trust.
    #[error(
        "no certificate authorities found on this machine: install ca-certificates or set mqtt.ca_file"
    )]
    NoRoots,
    /// A setting is out of range.
    #[error("{key} {reason}")]
    BadSetting {
        /// The setting.
        key: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The directory of the spill cannot be used.
    #[error("cannot keep messages in {}: give this user write permission, or set spill.dir to another directory", dir.display())]
    Spill {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process spills into the directory.
    #[error("another forecare keeps its messages in {}: stop it, or give each its own spill.dir", dir.display())]
    SpillInUse {
        /// The directory.
        dir: PathBuf,
    },
}
