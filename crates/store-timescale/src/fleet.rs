//! The newest row of every device: the table that every batch keeps, and names from memory.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::Transaction;
use forecare_domain::DeviceId;
use forecare_store::LatestRow;
use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};

use crate::fault::Outcome;
use crate::history::explained;
use crate::instant::Instant;
use crate::layout::Layout;
use crate::text;

/// Which assets there are, as two numbers: any that is added, goes to another device or class changes them, whoever
/// does it.
const MARK: &str =
    "SELECT count(*), coalesce(sum(hashtext(device) # hashtext(class)), 0)::int8 FROM assets";
const MEMBERS: &str = "SELECT d.device_no, d.name, d.class_no
     FROM devices AS d JOIN assets AS a ON a.device = d.name ORDER BY d.name COLLATE \"C\"";
/// Without names: joining them by text would take the server several times as long as all the rest.
const LATEST: &str = "SELECT device_no, ts, health, readings FROM latest";

const NO_PARAMS: [(&(dyn ToSql + Sync), Type); 0] = [];

/// The devices that report for an asset.
#[derive(Debug, Default)]
struct Members {
    mark: (i64, i64),
    by_number: HashMap<i32, Member>,
}

#[derive(Debug)]
struct Member {
    device: DeviceId,
    class_no: i32,
    /// Place in the order of names.
    place: usize,
}

/// The devices as they were last read.
#[derive(Debug, Default)]
pub(crate) struct Fleet(Mutex<Arc<Members>>);

impl Fleet {
    /// The devices as `tx` sees them.
    async fn members(&self, tx: &Transaction<'_>) -> Outcome<Arc<Members>> {
        let row = tx.query_typed_one(MARK, &NO_PARAMS).await?;
        let mark = (row.try_get(0)?, row.try_get(1)?);
        let known = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if known.mark == mark {
            return Ok(known);
        }
        let rows = tx.query_typed(MEMBERS, &NO_PARAMS).await?;
        let mut by_number = HashMap::with_capacity(rows.len());
        for (place, r) in rows.iter().enumerate() {
            let member = Member {
                device: text::name(r, 1)?,
                class_no: r.try_get(2)?,
                place,
            };
            by_number.insert(r.try_get(0)?, member);
        }
        let members = Arc::new(Members { mark, by_number });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&members);
        Ok(members)
    }

    /// The newest row of each device, in the order of names.
    pub(crate) async fn latest(
        &self,
        tx: &Transaction<'_>,
        layout: &Layout,
    ) -> Outcome<Vec<LatestRow>> {
        let members = self.members(tx).await?;
        let mut stream = pin!(tx.query_typed_raw(LATEST, NO_PARAMS).await?);
        let mut all = Vec::with_capacity(members.by_number.len());
        while let Some(r) = stream.try_next().await? {
            let Some(member) = members.by_number.get(&r.try_get(0)?) else {
                continue;
            };
            let Some(class) = layout.class(member.class_no) else {
                continue;
            };
            // Shorter than the columns where some were added since.
            let values: Vec<Option<f64>> = r.try_get(3)?;
            let of_catalogue = class.catalogue_columns.iter().flatten();
            let readings = of_catalogue.filter_map(|column| {
                let value = values.get(*column).copied().flatten()?;
                Some((class.columns[*column].clone(), value))
            });
            let row = LatestRow {
                device: member.device.clone(),
                ts: r.try_get::<_, Instant>(1)?.0,
                health: r.try_get(2)?,
                readings: readings.collect(),
            };
            all.push((member.place, row));
        }
        all.sort_unstable_by_key(|(place, _)| *place);
        Ok(all.into_iter().map(|(_, row)| row).collect())
    }
}

/// The statements of [`Fleet::latest`] as long as no asset changes, each with its plan as it ran.
pub(crate) async fn latest_plan(tx: &Transaction<'_>) -> Outcome<String> {
    let mark = explained(tx, MARK, &NO_PARAMS).await?;
    Ok(mark + &explained(tx, LATEST, &NO_PARAMS).await?)
}
