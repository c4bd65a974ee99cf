//! Files that records refer to.

use deadpool_postgres::Transaction;
use forecare_store::StoredFile;

use crate::fault::Outcome;
use crate::query::{collect, execute};

pub(crate) async fn put(tx: &Transaction<'_>, file: &StoredFile) -> Outcome<()> {
    if get(tx, &file.sha256).await?.is_some() {
        return Ok(());
    }
    let sum = "SELECT coalesce(sum(bytes), 0)::bigint FROM files";
    let before: Vec<i64> = collect(tx, sum, &[], |r| Ok(r.try_get(0)?)).await?;
    if let Some(full) = file.too_much(before.first().copied().unwrap_or_default()) {
        return Err(full.into());
    }
    execute(
        tx,
        "INSERT INTO files (sha256, name, media_type, bytes, content) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (sha256) DO NOTHING",
        &[
            &file.sha256,
            &file.name,
            &file.media_type,
            &i64::try_from(file.content.len()).unwrap_or(i64::MAX),
            &file.content,
        ],
    )
    .await?;
    Ok(())
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
