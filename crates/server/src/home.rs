//! The instance's directory: database, models, token, and the lock that keeps a second instance out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the database file in an instance's directory, where no other database is configured.
pub(crate) const DATABASE: &str = "forecare.sqlite";

/// Name of the file that says how the service was started.
const RUNNING: &str = "running.json";

/// How a service was started: what of its configuration the command line or the environment may have replaced, and the
/// ports that it chose itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) process: u32,
    /// URL of its external broker; empty: the embedded one.
    pub(crate) mqtt_url: String,
    /// Where its embedded broker listens; `None`: it has none, or its store is not open yet.
    pub(crate) mqtt_listen: Option<SocketAddr>,
    /// Where API and console listen.
    pub(crate) http_listen: SocketAddr,
}

/// An instance's directory, locked while this value lives.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Creates the directory where needed and takes its lock.
    ///
    /// # Errors
    /// The directory cannot be written, or another instance works in it; the text says what to do.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        // Readings and people's names are nobody else's.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| {
            format!(
                "cannot create the directory {}: choose another with --home DIR, or give this user write permission",
                dir.display()
            )
        })?;
        let lock_path = dir.join("lock");
        let mut lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&lock_path).with_context(
            || {
                format!(
                    "cannot write in the directory {}: choose another with --home DIR, or give this user write permission",
                    dir.display()
                )
            },
        )?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = fs::read_to_string(&lock_path).unwrap_or_default();
                bail!(
                    "another forecare (process {}) works in {}: stop it first, or choose another directory with --home DIR",
                    owner.trim(),
                    dir.display()
                );
            }
            Err(TryLockError::Error(e)) => {
                return Err(e).with_context(|| format!("cannot lock {}", lock_path.display()));
            }
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// The database file.
    #[must_use]
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join(DATABASE)
    }

    /// The directory.
    #[must_use]
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where messages wait for the store unless the config says otherwise.
    #[must_use]
    pub(crate) fn spill(&self) -> PathBuf {
        self.dir.join("spill")
    }

    /// Keeps the text of the catalogue that the store is laid out for.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn keep_catalogue(&self, text: &str) -> Result<()> {
        let path = kept_catalogue(&self.dir);
        let partial = path.with_extension("toml.part");
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Keeps how the service was started, for `forecare doctor`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn keep_running(&self, running: &Running) -> Result<()> {
        let path = self.dir.join(RUNNING);
        let partial = path.with_extension("json.part");
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        // Nobody else's business; passwords are not in it.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(&partial)
            .and_then(|mut file| file.write_all(&serde_json::to_vec(running)?))
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The token file.
    #[must_use]
    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.join("token")
    }

    /// The API token: read from the token file, generated there on first start, readable by its owner only.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds too little to be a secret.
    pub(crate) fn api_token(&self) -> Result<String> {
        kept_token(&self.token_file())
    }

    /// The token that opens `/metrics` alone, for Prometheus: in the file `metrics-token`, as the other.
    ///
    /// # Errors
    /// As [`Home::api_token`].
    pub(crate) fn metrics_token(&self) -> Result<String> {
        kept_token(&self.metrics_token_file())
    }

    /// Where the token of `/metrics` is kept.
    pub(crate) fn metrics_token_file(&self) -> PathBuf {
        self.dir.join("metrics-token")
    }

    /// The secret of customers' links: in the file `link-secret`, as the tokens. A new one makes all links useless.
    ///
    /// # Errors
    /// As [`Home::api_token`].
    pub(crate) fn link_secret(&self) -> Result<String> {
        kept_token(&self.dir.join("link-secret"))
    }
}

/// The token in a file, made there where it is missing, readable by its owner only.
fn kept_token(path: &Path) -> Result<String> {
    if path.exists() {
        let token =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let token = token.trim().to_owned();
        if token.len() < 32 {
            bail!(
                "{} holds fewer than 32 characters: delete it to have a new token generated",
                path.display()
            );
        }
        return Ok(token);
    }
    let token = new_secret()?;
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    Ok(token)
}

/// Whether a service works in this directory now.
#[must_use]
pub(crate) fn is_running(dir: &Path) -> bool {
    // Shared: two that ask at the same time do not mistake each other for the service.
    File::open(dir.join("lock"))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// How the service that works in this directory was started; `None` where none does, or it says nothing of it.
#[must_use]
pub(crate) fn running(dir: &Path) -> Option<Running> {
    let record: Running = serde_json::from_slice(&fs::read(dir.join(RUNNING)).ok()?).ok()?;
    let owner = fs::read_to_string(dir.join("lock")).ok()?;
    // What an earlier service left says nothing of this one.
    (is_running(dir) && owner.trim() == record.process.to_string()).then_some(record)
}

/// Where an instance keeps the catalogue that its store is laid out for.
#[must_use]
pub(crate) fn kept_catalogue(home: &Path) -> PathBuf {
    home.join("catalogue.toml")
}

/// A new random secret: 32 bytes in hex.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn new_secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    OsRng
        .try_fill_bytes(&mut bytes)
        .context("the system gives no random numbers")?;
    Ok(hex(&bytes))
}

/// SHA-256 of a secret, in hex: what is stored and compared instead of the secret.
#[must_use]
pub(crate) fn secret_hash(secret: &[u8]) -> String {
    hex(&Sha256::digest(secret))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A URL without user and password.
pub(crate) fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_told_who_is_there_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let first = Home::open(dir.path()).unwrap();
        let text = Home::open(dir.path()).unwrap_err().to_string();
        assert!(
            text.contains(&std::process::id().to_string()) && text.contains("--home"),
            "{text}"
        );
        drop(first);
        Home::open(dir.path()).unwrap();
    }

    #[test]
    fn what_a_service_of_before_left_says_nothing_of_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let mut record = Running {
            process: std::process::id(),
            mqtt_url: String::new(),
            mqtt_listen: Some(([127, 0, 0, 1], 1_883).into()),
            http_listen: ([127, 0, 0, 1], 8_080).into(),
        };
        home.keep_running(&record).unwrap();
        assert_eq!(running(dir.path()), Some(record.clone()));
        record.process += 1;
        home.keep_running(&record).unwrap();
        assert_eq!(running(dir.path()), None);
        drop(home);
        assert_eq!(running(dir.path()), None);
    }

    #[test]
    fn the_tokens_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let token = home.api_token().unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(home.api_token().unwrap(), token);
        let metrics = home.metrics_token().unwrap();
        assert_eq!(metrics.len(), 64);
        assert_ne!(metrics, token);
        assert_eq!(home.metrics_token().unwrap(), metrics);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                fs::metadata(home.token_file())
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_names_the_fix() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("{:#}", Home::open(&file.path().join("x")).unwrap_err());
        assert!(text.contains("--home DIR"), "{text}");
    }
}
