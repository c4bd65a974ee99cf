//! [`Timestamp`] as `timestamptz`, without a calendar in between.

use bytes::BytesMut;
use forecare_domain::Timestamp;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// 2000-01-01T00:00:00Z, PostgreSQL's epoch, in epoch milliseconds.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

/// A point in time as PostgreSQL keeps it: microseconds since 2000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(pub(crate) Timestamp);

impl Instant {
    /// Microseconds since 2000-01-01, as they stand on the wire. Cannot overflow: [`Timestamp`] ends in 9999.
    pub(crate) fn wire_us(self) -> i64 {
        (self.0.as_millis() - POSTGRES_EPOCH_MS) * 1_000
    }
}

impl ToSql for Instant {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.wire_us().to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Instant {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let us = i64::from_be_bytes(raw.try_into()?);
        // `infinity` and its like land on the bounds of `Timestamp`.
        let ms = us.div_euclid(1_000).saturating_add(POSTGRES_EPOCH_MS);
        Ok(Self(Timestamp::from_millis(ms)))
    }

    accepts!(TIMESTAMPTZ);
}
