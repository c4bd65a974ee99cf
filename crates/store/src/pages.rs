//! Lists read to their end.

use crate::{PAGE_ENTRIES_MAX, PageRequest, Paged};

/// The newest `n_max` entries of what `read` gives page by page, newest first.
///
/// # Errors
/// What `read` fails with.
pub async fn newest<T, E, F>(
    n_max: usize,
    mut read: impl FnMut(PageRequest) -> F,
) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<Vec<Paged<T>>, E>>,
{
    let mut all = Vec::new();
    let mut before = None;
    while all.len() < n_max {
        let limit = PAGE_ENTRIES_MAX.min(n_max - all.len());
        let page = read(PageRequest { before, limit }).await?;
        before = page.last().map(|p| p.position);
        let is_last = page.len() < limit;
        all.extend(page.into_iter().map(|p| p.item));
        if is_last {
            break;
        }
    }
    Ok(all)
}

/// All entries of what `read` gives page by page, newest first: for lists that something else bounds.
///
/// # Errors
/// What `read` fails with.
pub async fn every<T, E, F>(read: impl FnMut(PageRequest) -> F) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<Vec<Paged<T>>, E>>,
{
    newest(usize::MAX, read).await
}
