//! Files that records refer to.

use forecare_store::{FileInfo, StoredFile};
use rusqlite::{Connection, params};

use crate::fault::Outcome;
use crate::query::collect;
use crate::text;

pub(crate) fn put(conn: &Connection, file: &StoredFile) -> Outcome<()> {
    if conn
        .prepare_cached("SELECT 1 FROM files WHERE sha256 = ?1")?
        .exists([&file.sha256])?
    {
        return Ok(());
    }
    let sum = "SELECT count(*), coalesce(sum(bytes), 0) FROM files";
    let kept = collect(conn, sum, [], |r| Ok((text::count(r, 0)?, r.get(1)?)))?;
    let (n, before) = kept.first().copied().unwrap_or_default();
    if let Some(full) = file.too_much(n, before) {
        return Err(full.into());
    }
    conn.prepare_cached(
        "INSERT INTO files (sha256, name, media_type, bytes, content) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        file.sha256,
        file.name,
        file.media_type,
        i64::try_from(file.content.len()).unwrap_or(i64::MAX),
        file.content
    ])?;
    Ok(())
}

pub(crate) fn all(conn: &Connection) -> Outcome<Vec<FileInfo>> {
    let sql = "SELECT sha256, name, media_type, bytes FROM files ORDER BY sha256";
    collect(conn, sql, [], |r| {
        Ok(FileInfo {
            sha256: r.get(0)?,
            name: r.get(1)?,
            media_type: r.get(2)?,
            bytes: text::count(r, 3)?,
        })
    })
}

pub(crate) fn get(conn: &Connection, sha256: &str) -> Outcome<Option<StoredFile>> {
    let sql = "SELECT sha256, name, media_type, content FROM files WHERE sha256 = ?1";
    let mut found = collect(conn, sql, [sha256], |r| {
        Ok(StoredFile {
            sha256: r.get(0)?,
            name: r.get(1)?,
            media_type: r.get(2)?,
            content: r.get(3)?,
        })
    })?;
    Ok(found.pop())
}

pub(crate) fn remove(conn: &Connection, sha256: &str) -> Outcome<bool> {
    let n_removed = conn
        .prepare_cached("DELETE FROM files WHERE sha256 = ?1")?
        .execute([sha256])?;
    Ok(n_removed > 0)
}
