//! Certificates made on the spot by the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const INSTALL: &str = "install it: apt-get install openssl";

/// A certificate authority of a test.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

/// A server's certificate and its key, PEM. Lives as long as its [`Authority`].
#[derive(Debug)]
pub struct Certificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's.
    pub key: PathBuf,
}

impl Authority {
    /// Makes a new one, valid from now for a day.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = request(directory.path(), "ca");
        command.args(["-x509", "-subj", "/CN=Test authority"]);
        command.args(["-addext", "keyUsage=critical,keyCertSign"]);
        crate::run(&mut command, INSTALL);
        Self { directory }
    }

    /// Its own certificate, PEM: what a client trusts.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Issues a certificate for a server that is reached as `name`, such as `DNS:localhost` or `IP:127.0.0.1`.
    #[must_use]
    pub fn issue(&self, name: &str) -> Certificate {
        let stem = name.replace(':', "-");
        let mut command = request(self.directory.path(), &stem);
        command.args(["-x509", "-CA", "ca.crt", "-CAkey", "ca.key"]);
        command.args(["-subj", "/CN=Test server", "-addext"]);
        command.arg(format!("subjectAltName={name}"));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        crate::run(&mut command, INSTALL);
        let file = |extension: &str| self.directory.path().join(format!("{stem}.{extension}"));
        Certificate {
            certificate: file("crt"),
            key: file("key"),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A new key, and a certificate for it, as `stem`.key and `stem`.crt.
fn request(directory: &Path, stem: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(directory);
    command.args([
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    command.args(["-nodes", "-days", "1", "-keyout"]);
    command.arg(format!("{stem}.key"));
    command.arg("-out").arg(format!("{stem}.crt"));
    command
}
