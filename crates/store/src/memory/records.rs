//! Master data in memory.

use std::collections::{BTreeMap, BTreeSet};

use forecare_catalogue::Catalogue;
use forecare_registry::{
    Action, Addressed, Known, RecordKind, RecordRef, Stored, addressed, erase, needs, plan,
};

use crate::agreed::{check_writes, nobody_to_erase};
use crate::{
    Erasure, PAGE_ENTRIES_MAX, Paged, RECORD_VERSIONS_KEPT, RecordCommit, RecordFilter, RecordPage,
    RecordVersion, RecordsOutcome, StoreError, StoredRecord,
};

#[derive(Debug, Default)]
pub(super) struct Records {
    records: BTreeMap<RecordRef, StoredRecord>,
    /// Every version that is kept, by the place at which it was written.
    versions: BTreeMap<i64, RecordVersion>,
    last: i64,
}

impl Records {
    pub(super) fn commit(
        &mut self,
        catalogue: &Catalogue,
        is_registered: impl Fn(&str) -> bool,
        commit: &RecordCommit,
    ) -> Result<RecordsOutcome, StoreError> {
        check_writes(commit)?;
        let stored = |(key, record): (&RecordRef, &StoredRecord)| {
            let stored = Stored {
                version: record.version,
                body: record.body.clone(),
            };
            (key.clone(), stored)
        };
        let assets = needs(&commit.writes).assets;
        let known = Known {
            records: self.records.iter().map(stored).collect(),
            assets: assets
                .into_iter()
                .filter(|id| is_registered(id.as_str()))
                .collect(),
        };
        let plan = match plan(&commit.writes, &known, catalogue) {
            Ok(plan) => plan,
            Err(faults) => return Ok(RecordsOutcome::Refused(faults)),
        };
        for row in plan.rows {
            self.write(StoredRecord {
                record: row.record,
                version: row.version,
                body: row.body,
                updated_at: commit.at,
                updated_by: commit.by.clone(),
            });
        }
        Ok(RecordsOutcome::Stored(plan.outcomes))
    }

    /// Whether the record is there, and not deleted.
    pub(super) fn is_there(&self, record: &RecordRef) -> bool {
        self.records.get(record).is_some_and(|r| r.body.is_some())
    }

    fn write(&mut self, record: StoredRecord) {
        let action = match record.body {
            Some(_) => Action::Put,
            None => Action::Delete,
        };
        self.write_as(action, record);
    }

    fn write_as(&mut self, action: Action, record: StoredRecord) {
        self.last += 1;
        let version = RecordVersion {
            record: record.record.clone(),
            version: record.version,
            action,
            body: record.body.clone(),
            at: record.updated_at,
            by: record.updated_by.clone(),
        };
        let oldest = record.version - RECORD_VERSIONS_KEPT;
        self.versions
            .retain(|_, v| v.record != record.record || v.version > oldest);
        self.versions.insert(self.last, version);
        self.records.insert(record.record.clone(), record);
    }

    pub(super) fn get(&self, record: &RecordRef) -> Option<StoredRecord> {
        self.records.get(record).cloned()
    }

    pub(super) fn list(
        &self,
        kind: RecordKind,
        filter: &RecordFilter,
        page: &RecordPage,
    ) -> Vec<StoredRecord> {
        let sought = filter.text.as_deref().unwrap_or_default().to_lowercase();
        self.records
            .values()
            .filter(|r| r.record.kind == kind)
            .filter(|r| page.after.as_ref().is_none_or(|after| r.record.id > *after))
            .filter(|r| {
                let Some(body) = &r.body else { return false };
                let refers = |target| body.references().iter().any(|(_, r)| r == target);
                filter.refers_to.as_ref().is_none_or(refers)
                    && body.searched(&r.record.id).contains(&sought)
            })
            .take(page.limit.clamp(1, PAGE_ENTRIES_MAX))
            .cloned()
            .collect()
    }

    pub(super) fn history<'a>(
        &'a self,
        record: &'a RecordRef,
    ) -> impl DoubleEndedIterator<Item = (i64, &'a RecordVersion)> {
        self.versions
            .values()
            .filter(move |v| v.record == *record)
            .map(|v| (v.version, v))
    }

    pub(super) fn changes(&self, after: i64, limit: usize) -> Vec<Paged<RecordVersion>> {
        self.versions
            .range(after.saturating_add(1)..)
            .take(limit.clamp(1, PAGE_ENTRIES_MAX))
            .map(|(position, item)| Paged {
                position: *position,
                item: item.clone(),
            })
            .collect()
    }

    /// The record without the person, and the names and addresses that messages to them went to.
    pub(super) fn erase(
        &mut self,
        erasure: &Erasure,
    ) -> Result<(StoredRecord, BTreeSet<Addressed>), StoreError> {
        let mut found = false;
        let mut addresses = BTreeSet::new();
        let of_record = |v: &&mut RecordVersion| v.record == erasure.record;
        for version in self.versions.values_mut().filter(of_record) {
            let body = version.body.iter();
            addresses.extend(body.flat_map(|b| addressed(&erasure.record.id, b, &erasure.person)));
            if let Some(after) = version
                .body
                .as_ref()
                .and_then(|b| erase(b, &erasure.person))
            {
                version.body = Some(after);
                found = true;
            }
        }
        let record = self.records.get(&erasure.record);
        let Some(record) = record.filter(|_| found) else {
            return Err(nobody_to_erase(erasure));
        };
        let body = record.body.as_ref();
        let after = StoredRecord {
            record: erasure.record.clone(),
            version: record.version + 1,
            body: body.map(|b| erase(b, &erasure.person).unwrap_or_else(|| b.clone())),
            updated_at: erasure.at,
            updated_by: erasure.by.clone(),
        };
        self.write_as(Action::Erase, after.clone());
        Ok((after, addresses))
    }
}
