//! Files that records refer to: documents of machines, pictures of articles.

use crate::StoreError;

/// Most bytes of all files together: 10 GiB.
pub const FILES_BYTES_MAX: i64 = 10 * 1024 * 1024 * 1024;

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
    /// Why it is not kept beside `before` bytes of others; `None`: there is room.
    #[must_use]
    pub fn too_much(&self, before: i64) -> Option<StoreError> {
        let bytes = i64::try_from(self.content.len()).unwrap_or(i64::MAX);
        (before.saturating_add(bytes) > FILES_BYTES_MAX).then(|| {
            StoreError::Conflict(format!(
                "all files together would have more than {FILES_BYTES_MAX} bytes: remove some that are not needed"
            ))
        })
    }
}
