//! Files that records refer to.

use forecare_store::StoredFile;
use rusqlite::{Connection, params};

use crate::fault::Outcome;
use crate::query::collect;

pub(crate) fn put(conn: &Connection, file: &StoredFile) -> Outcome<()> {
    if conn
        .prepare_cached("SELECT 1 FROM files WHERE sha256 = ?1")?
        .exists([&file.sha256])?
    {
        return Ok(());
    }
    let before = conn
        .prepare_cached("SELECT coalesce(sum(bytes), 0) FROM files")?
        .query_row([], |r| r.get(0))?;
    if let Some(full) = file.too_much(before) {
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
