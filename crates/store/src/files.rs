//! Files that records refer to: documents of machines, pictures of articles.

use crate::StoreError;

/// Most bytes of all files together: 10 GiB.
pub const FILES_BYTES_MAX: i64 = 10 * 1024 * 1024 * 1024;

/// Most files.
pub const FILES_MAX: usize = 20_000;

/// What is known of a file beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
    /// Its name, without a path.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its length, bytes.
    pub bytes: u64,
}

/// A file, known by what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
    /// Its name, without a path.
    pub name: String,
    /// Its media type: one of those allowed.
    pub media_type: String,
    /// Its content.
    pub content: Vec<u8>,
}

impl StoredFile {
    /// Why it is not kept beside `n` others of `before` bytes; `None`: there is room.
    #[must_use]
    pub fn too_much(&self, n: usize, before: i64) -> Option<StoreError> {
        let bytes = i64::try_from(self.content.len()).unwrap_or(i64::MAX);
        let is_full = n >= FILES_MAX || before.saturating_add(bytes) > FILES_BYTES_MAX;
        is_full.then(|| {
            StoreError::Conflict(format!(
                "there is room for {FILES_MAX} files of {FILES_BYTES_MAX} bytes in all: remove some that no record names (GET /api/v1/files)"
            ))
        })
    }
}
