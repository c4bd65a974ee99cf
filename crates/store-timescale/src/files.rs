//! Files that records refer to.

use deadpool_postgres::Transaction;
use forecare_store::{FileInfo, StoredFile};

use crate::fault::Outcome;
use crate::query::{collect, execute};
use crate::text;

pub(crate) async fn put(tx: &Transaction<'_>, file: &StoredFile) -> Outcome<()> {
    let sum = "SELECT count(*), coalesce(sum(bytes), 0)::bigint, coalesce(bool_or(sha256 = $1), false) FROM files";
    let kept = collect(tx, sum, &[&file.sha256], |r| {
        Ok((text::count(r, 0)?, r.try_get(1)?, r.try_get(2)?))
    })
    .await?;
    let (n, before, is_there) = kept.first().copied().unwrap_or_default();
    if is_there {
        return Ok(());
    }
    if let Some(full) = file.too_much(n, before) {
        return Err(full.into());
    }
    execute(
        tx,
        "INSERT INTO files (sha256, name, media_type, bytes, content) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (sha256) DO NOTHING",
        &[
            &file.sha256,
            &text::storable(&file.name).as_ref(),
            &file.media_type,
            &i64::try_from(file.content.len()).unwrap_or(i64::MAX),
            &file.content,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn all(tx: &Transaction<'_>) -> Outcome<Vec<FileInfo>> {
    let sql = "SELECT sha256, name, media_type, bytes FROM files ORDER BY sha256 COLLATE \"C\"";
    collect(tx, sql, &[], |r| {
        let bytes: i64 = r.try_get(3)?;
        Ok(FileInfo {
            sha256: r.try_get(0)?,
            name: r.try_get(1)?,
            media_type: r.try_get(2)?,
            bytes: u64::try_from(bytes).unwrap_or(0),
        })
    })
    .await
}

pub(crate) async fn get(tx: &Transaction<'_>, sha256: &str) -> Outcome<Option<StoredFile>> {
    let sql = "SELECT sha256, name, media_type, content FROM files WHERE sha256 = $1";
    let mut found = collect(tx, sql, &[&sha256], |r| {
        Ok(StoredFile {
            sha256: r.try_get(0)?,
            name: r.try_get(1)?,
            media_type: r.try_get(2)?,
            content: r.try_get(3)?,
        })
    })
    .await?;
    Ok(found.pop())
}

pub(crate) async fn remove(tx: &Transaction<'_>, sha256: &str) -> Outcome<bool> {
    let n_removed = execute(tx, "DELETE FROM files WHERE sha256 = $1", &[&sha256]).await?;
    Ok(n_removed > 0)
}
