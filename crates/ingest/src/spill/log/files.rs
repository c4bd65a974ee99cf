//! Files and directories that nobody else may read, and what is done to them as a whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

pub(super) fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

/// Keeps a damaged segment for a look.
pub(super) fn keep(path: &Path) {
    let kept = path.with_extension("damaged");
    match fs::rename(path, &kept) {
        Ok(()) => {
            tracing::error!(path = %kept.display(), "a damaged part of the spill is kept: its unreadable messages are lost to the store");
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a damaged part of the spill cannot be kept: its unreadable messages are lost to the store");
        }
    }
}

/// What is not deleted now is deleted at the next start: it lies before the cursor.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a part of the spill is not deleted");
    }
}

pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(super) fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(unix)]
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
pub(super) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Bytes that this user may still write.
#[cfg(unix)]
pub(super) fn disk_free(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
pub(super) fn disk_free(_dir: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}
