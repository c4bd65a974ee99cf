//! PostgreSQL's binary COPY format, written straight from the values: a row costs a few moves, no allocation.
//! <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4>

use std::pin::pin;

use bytes::{BufMut, Bytes, BytesMut};
use deadpool_postgres::Transaction;
use forecare_domain::Timestamp;
use futures_util::SinkExt;

use crate::fault::Outcome;
use crate::instant::Instant;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Bytes per message: large enough to cost few, small enough for the server's buffer to stay small.
const PIECE_BYTES: usize = 64 << 10;
/// Memory kept for the next batch; a larger buffer is given back.
const KEPT_BYTES: usize = 16 << 20;

/// Rows on their way into one table.
#[derive(Debug, Default)]
pub(crate) struct CopyRows {
    bytes: BytesMut,
    n_rows: u64,
}

impl CopyRows {
    pub(crate) fn is_empty(&self) -> bool {
        self.n_rows == 0
    }

    /// Begins a row of `n_fields`, which must follow in the order of the columns.
    pub(crate) fn begin_row(&mut self, n_fields: i16) {
        if self.is_empty() {
            self.bytes.put_slice(SIGNATURE);
            // No flags, no extension of the header.
            self.bytes.put_u64(0);
        }
        self.n_rows += 1;
        self.bytes.put_i16(n_fields);
    }

    pub(crate) fn integer(&mut self, value: i32) {
        self.bytes.put_i32(4);
        self.bytes.put_i32(value);
    }

    pub(crate) fn time(&mut self, value: Timestamp) {
        self.bytes.put_i32(8);
        self.bytes.put_i64(Instant(value).wire_us());
    }

    /// A double, or NULL.
    pub(crate) fn number(&mut self, value: Option<f64>) {
        match value {
            Some(value) => {
                self.bytes.put_i32(8);
                self.bytes.put_f64(value);
            }
            None => self.bytes.put_i32(-1),
        }
    }

    /// Sends the rows by `sql`, a `COPY … FROM STDIN (FORMAT binary)`, and is empty after it. Does nothing
    /// where there are none.
    pub(crate) async fn send(&mut self, tx: &Transaction<'_>, sql: &str) -> Outcome<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.bytes.put_i16(-1);
        self.n_rows = 0;
        let mut rows = self.bytes.split();
        let statement = tx.prepare_cached(sql).await?;
        let mut sink = pin!(tx.copy_in::<_, Bytes>(&statement).await?);
        while !rows.is_empty() {
            let n = rows.len().min(PIECE_BYTES);
            sink.feed(rows.split_to(n).freeze()).await?;
        }
        sink.finish().await?;
        Ok(())
    }

    /// Forgets what was not sent, and memory beyond the usual.
    pub(crate) fn clear(&mut self) {
        self.n_rows = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_what_the_manual_says() {
        let mut rows = CopyRows::default();
        rows.begin_row(3);
        rows.integer(7);
        rows.time(Timestamp::from_millis(946_684_800_001));
        rows.number(None);
        let mut expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        expected
            .extend(b"\0\x03\0\0\0\x04\0\0\0\x07\0\0\0\x08\0\0\0\0\0\0\x03\xe8\xff\xff\xff\xff");
        assert_eq!(rows.bytes, expected);
    }
}
