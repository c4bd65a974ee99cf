//! What storing a list of changes comes to. Every adapter loads what [`needs`] asks for, inside its transaction and with
//! no other writer of records beside it, and writes what [`plan`] returns: so all of them keep the same rules.

use std::collections::{BTreeMap, BTreeSet};

use forecare_catalogue::Catalogue;

use crate::article::Article;
use crate::contract::Contract;
use crate::id::RecordId;
use crate::kind::RecordKind;
use crate::location::Location;
use crate::record::{Body, RecordRef};

/// A change of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordWrite {
    /// Its kind.
    pub kind: RecordKind,
    /// Its id.
    pub id: RecordId,
    /// Only where the record still has this version; 0: only where there is none. `None`: whatever it is.
    pub if_version: Option<i64>,
    /// What happens to it.
    pub change: Change,
}

/// What happens to a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is this from now on. The same again writes nothing.
    Put(Box<Body>),
    /// It is gone; its history stays.
    Delete,
}

/// A record as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// 1 when new; one more with each change.
    pub version: i64,
    /// `None`: deleted.
    pub body: Option<Body>,
}

/// What [`plan`] has to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// These records, where they are.
    pub records: BTreeSet<RecordRef>,
    /// Whether these assets are registered.
    pub assets: BTreeSet<RecordId>,
    /// Every record that refers to one of these.
    pub referrers_of: BTreeSet<RecordRef>,
}

/// What [`needs`] asked for.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Records that are or were there, referrers included.
    pub records: BTreeMap<RecordRef, Stored>,
    /// Registered assets.
    pub assets: BTreeSet<RecordId>,
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The version it has now.
    pub version: i64,
    /// What was done.
    pub kind: OutcomeKind,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// There was none.
    Created,
    /// There was another one.
    Updated,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// Why a version of a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// New or changed.
    Put,
    /// Deleted.
    Delete,
    /// A person was erased from it and its history.
    Erase,
}

/// A row to write, with its line of history.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRow {
    /// Which record.
    pub record: RecordRef,
    /// Its new version.
    pub version: i64,
    /// Its new content; `None`: deleted.
    pub body: Option<Body>,
}

/// What to write, and what to answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Rows to write.
    pub rows: Vec<PlannedRow>,
    /// One per change, in their order.
    pub outcomes: Vec<Outcome>,
}

/// Why a change is refused; then none of its company is stored either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFault {
    /// Index of the change.
    pub index: usize,
    /// Which record.
    pub record: RecordRef,
    /// What is in the way.
    pub kind: RecordFaultKind,
    /// The field at fault; empty: the record as a whole.
    pub field: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// What is in the way of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFaultKind {
    /// The content makes no sense by itself, or refers to what is not there.
    Invalid,
    /// The version has moved on; 0: there is none.
    Version {
        /// The version it has.
        current: i64,
    },
    /// Others refer to it.
    InUse,
    /// There is no such record.
    NotFound,
}

impl Action {
    /// The name in JSON and SQL.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Erase => "erase",
        }
    }
}

impl OutcomeKind {
    /// The name in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// What has to be known to judge `writes`.
#[must_use]
pub fn needs(writes: &[RecordWrite]) -> Needs {
    let mut needs = Needs::default();
    for write in writes {
        let key = RecordRef::new(write.kind, write.id.clone());
        match &write.change {
            Change::Put(body) => {
                for (_, reference) in body.references() {
                    if reference.kind == RecordKind::Asset {
                        needs.assets.insert(reference.id);
                    } else {
                        needs.records.insert(reference);
                    }
                }
                if write.kind == RecordKind::Asset {
                    needs.assets.insert(write.id.clone());
                }
                if write.kind == RecordKind::Location {
                    // What lies in it must still be allowed to.
                    needs.referrers_of.insert(key.clone());
                }
            }
            Change::Delete => {
                needs.referrers_of.insert(key.clone());
            }
        }
        needs.records.insert(key);
    }
    needs
}

/// The state after all changes, as far as it is known.
struct After<'a> {
    known: &'a Known,
    changed: BTreeMap<RecordRef, Option<&'a Body>>,
}

impl<'a> After<'a> {
    fn body(&self, record: &RecordRef) -> Option<&'a Body> {
        match self.changed.get(record) {
            Some(body) => *body,
            None => self.known.records.get(record).and_then(|s| s.body.as_ref()),
        }
    }

    /// Whether `record` can be referred to. A reference to an asset is to a registered one.
    fn has(&self, record: &RecordRef) -> bool {
        if record.kind == RecordKind::Asset {
            self.known.assets.contains(&record.id)
        } else {
            self.body(record).is_some()
        }
    }

    /// Every record that is there, those that the changes bring included.
    fn all(&self) -> impl Iterator<Item = (&RecordRef, &'a Body)> {
        let before = self
            .known
            .records
            .iter()
            .filter(|(key, _)| !self.changed.contains_key(*key))
            .filter_map(|(key, stored)| Some((key, stored.body.as_ref()?)));
        let changed = self
            .changed
            .iter()
            .filter_map(|(key, body)| Some((key, (*body)?)));
        before.chain(changed)
    }

    fn location(&self, id: &RecordId) -> Option<&'a Location> {
        match self.body(&RecordRef::new(RecordKind::Location, id.clone())) {
            Some(Body::Location(location)) => Some(location),
            Some(_) | None => None,
        }
    }
}

/// What storing `writes` comes to: all of them, or every fault that stands against it.
///
/// # Errors
/// At least one fault, in the order of the changes.
pub fn plan(
    writes: &[RecordWrite],
    known: &Known,
    catalogue: &Catalogue,
) -> Result<Plan, Vec<RecordFault>> {
    let mut after = After {
        known,
        changed: BTreeMap::new(),
    };
    let mut faults = Vec::new();
    let mut first: BTreeMap<RecordRef, usize> = BTreeMap::new();
    for (index, write) in writes.iter().enumerate() {
        let key = RecordRef::new(write.kind, write.id.clone());
        if let Some(earlier) = first.get(&key) {
            let detail = format!("comes twice: the first is number {}", earlier + 1);
            faults.push(fault(index, &key, RecordFaultKind::Invalid, "id", detail));
            continue;
        }
        let body = match &write.change {
            Change::Put(body) => Some(&**body),
            Change::Delete => None,
        };
        after.changed.insert(key.clone(), body);
        first.insert(key, index);
    }
    let referrers = referrers(writes, &after);
    let mut plan = Plan::default();
    for (index, write) in writes.iter().enumerate() {
        let key = RecordRef::new(write.kind, write.id.clone());
        let before = known.records.get(&key);
        let current = before.map_or(0, |stored| stored.version);
        if let Some(version) = write.if_version {
            // Deleted ones count as "none" for who wants to be the first.
            let is_gone = before.is_none_or(|stored| stored.body.is_none());
            if version != current && !(version == 0 && is_gone) {
                let detail = format!("has version {current} now, not {version}: read it again");
                let kind = RecordFaultKind::Version { current };
                faults.push(fault(index, &key, kind, "", detail));
                continue;
            }
        }
        match &write.change {
            Change::Put(body) => {
                let n = faults.len();
                judge(index, &key, body, &after, catalogue, &mut faults);
                if write.kind == RecordKind::Location {
                    judge_children(index, &key, &after, &referrers, &mut faults);
                }
                if faults.len() > n {
                    continue;
                }
                let same = before.and_then(|stored| stored.body.as_ref()) == Some(&**body);
                let kind = match before {
                    _ if same => OutcomeKind::Unchanged,
                    Some(Stored { body: Some(_), .. }) => OutcomeKind::Updated,
                    Some(_) | None => OutcomeKind::Created,
                };
                plan.step(key, current, kind, Some((**body).clone()));
            }
            Change::Delete => match before {
                None => {
                    let detail = "was not found".to_owned();
                    faults.push(fault(index, &key, RecordFaultKind::NotFound, "", detail));
                }
                Some(Stored { body: None, .. }) => {
                    plan.step(key, current, OutcomeKind::Unchanged, None);
                }
                Some(Stored { body: Some(_), .. }) => {
                    let by = referrers.get(&key).and_then(|all| all.first());
                    // An asset is registered elsewhere, and stays so.
                    match by.filter(|_| key.kind != RecordKind::Asset) {
                        Some(by) => {
                            let detail =
                                format!("{by} refers to it: change or delete that one first");
                            faults.push(fault(index, &key, RecordFaultKind::InUse, "", detail));
                        }
                        None => plan.step(key, current, OutcomeKind::Deleted, None),
                    }
                }
            },
        }
    }
    if faults.is_empty() {
        Ok(plan)
    } else {
        faults.sort_by_key(|fault| fault.index);
        Err(faults)
    }
}

impl Plan {
    fn step(&mut self, record: RecordRef, current: i64, kind: OutcomeKind, body: Option<Body>) {
        let version = match kind {
            OutcomeKind::Unchanged => current,
            OutcomeKind::Created | OutcomeKind::Updated | OutcomeKind::Deleted => current + 1,
        };
        if kind != OutcomeKind::Unchanged {
            self.rows.push(PlannedRow {
                record,
                version,
                body,
            });
        }
        self.outcomes.push(Outcome { version, kind });
    }
}

fn fault(
    index: usize,
    record: &RecordRef,
    kind: RecordFaultKind,
    field: &str,
    detail: String,
) -> RecordFault {
    RecordFault {
        index,
        record: record.clone(),
        kind,
        field: field.to_owned(),
        detail,
    }
}

/// Who refers to the records whose referrers count, in the state after.
fn referrers(writes: &[RecordWrite], after: &After<'_>) -> BTreeMap<RecordRef, Vec<RecordRef>> {
    let asked = needs(writes).referrers_of;
    let mut found: BTreeMap<RecordRef, Vec<RecordRef>> = BTreeMap::new();
    if asked.is_empty() {
        return found;
    }
    for (key, body) in after.all() {
        for (_, target) in body.references() {
            if asked.contains(&target) && *key != target {
                found.entry(target).or_default().push(key.clone());
            }
        }
    }
    found
}

/// What a record says by itself, and whether all it refers to is there.
fn judge(
    index: usize,
    key: &RecordRef,
    body: &Body,
    after: &After<'_>,
    catalogue: &Catalogue,
    faults: &mut Vec<RecordFault>,
) {
    let mut refuse = |field: &str, detail: String| {
        faults.push(fault(index, key, RecordFaultKind::Invalid, field, detail));
    };
    if body.kind() != key.kind {
        let detail = format!("is the content of a {}", body.kind().label());
        refuse("", detail);
        return;
    }
    for own in body.faults().0 {
        refuse(&own.field, own.detail);
    }
    for (field, reference) in body.references() {
        if !after.has(&reference) {
            let what = if reference.kind == RecordKind::Asset {
                format!("asset \"{}\" is not registered", reference.id)
            } else {
                format!("{reference} is not there")
            };
            refuse(&field, what);
        }
    }
    match body {
        Body::Location(location) => {
            let parent = location.parent.as_ref().and_then(|id| after.location(id));
            if let Some(parent) = parent
                && !location.level.may_lie_in(parent.level)
            {
                let (own, above) = (location.level.label(), parent.level.label());
                refuse("parent", format!("a {own} cannot lie in a {above}"));
            }
        }
        Body::Asset(_) => {
            if !after.known.assets.contains(&key.id) {
                let detail = "no such asset is registered: register it first (`forecare device add`, or POST /api/v1/assets)";
                refuse("id", detail.to_owned());
            }
        }
        Body::Contract(contract) => {
            for (field, detail) in unknown_names(contract, catalogue) {
                refuse(&field, detail);
            }
        }
        Body::Article(article) => {
            for (field, detail) in unknown_subjects(article, catalogue) {
                refuse(&field, detail);
            }
        }
        Body::Customer(_)
        | Body::Technician(_)
        | Body::Depot(_)
        | Body::Van(_)
        | Body::Calendar(_)
        | Body::Lead(_) => {}
    }
}

/// That what lies in a location may still do so once its level has changed.
fn judge_children(
    index: usize,
    key: &RecordRef,
    after: &After<'_>,
    referrers: &BTreeMap<RecordRef, Vec<RecordRef>>,
    faults: &mut Vec<RecordFault>,
) {
    let Some(location) = after.location(&key.id) else {
        return;
    };
    let children = referrers.get(key).into_iter().flatten();
    for child in children.filter(|child| child.kind == RecordKind::Location) {
        let lies = after.location(&child.id);
        // A child that is changed by the same list is judged by itself.
        if let Some(inner) = lies.filter(|_| !after.changed.contains_key(child))
            && !inner.level.may_lie_in(location.level)
        {
            let detail = format!(
                "{child}, a {}, lies in it and could not",
                inner.level.label()
            );
            faults.push(fault(index, key, RecordFaultKind::Invalid, "level", detail));
        }
    }
}

/// Classes and parts that a contract names and the catalogue does not have: field and fault.
fn unknown_names(contract: &Contract, catalogue: &Catalogue) -> Vec<(String, String)> {
    let mut unknown = Vec::new();
    for (i, class) in contract.coverage.classes.iter().enumerate() {
        if !catalogue.classes.iter().any(|c| c.name.as_str() == class) {
            let detail = format!("the catalogue has no class \"{class}\"");
            unknown.push((format!("coverage.classes[{i}]"), detail));
        }
    }
    for (i, part) in contract.includes.parts.iter().enumerate() {
        if !catalogue.parts.iter().any(|p| p.number.as_str() == part) {
            let detail = format!("the catalogue has no part \"{part}\"");
            unknown.push((format!("includes.parts[{i}]"), detail));
        }
    }
    unknown
}

/// Classes and failure modes that an article names and the catalogue does not have: field and fault.
fn unknown_subjects(article: &Article, catalogue: &Catalogue) -> Vec<(String, String)> {
    let mut unknown = Vec::new();
    for (i, class) in article.classes.iter().enumerate() {
        if !catalogue.classes.iter().any(|c| c.name.as_str() == class) {
            let detail = format!("the catalogue has no class \"{class}\"");
            unknown.push((format!("classes[{i}]"), detail));
        }
    }
    for (i, mode) in article.modes.iter().enumerate() {
        let mut modes = catalogue.classes.iter().flat_map(|c| &c.modes);
        if !modes.any(|m| m.name.as_str() == mode) {
            let detail = format!("no class of the catalogue has a failure mode \"{mode}\"");
            unknown.push((format!("modes[{i}]"), detail));
        }
    }
    unknown
}

/// What no longer holds of a record that was stored: rules have become stricter, or the catalogue has changed.
#[must_use]
pub fn stale(record: &RecordRef, body: &Body, catalogue: &Catalogue) -> Vec<String> {
    let own = body.faults().0.into_iter().map(|fault| fault.to_string());
    let names = match body {
        Body::Contract(contract) => unknown_names(contract, catalogue),
        Body::Article(article) => unknown_subjects(article, catalogue),
        Body::Location(_)
        | Body::Customer(_)
        | Body::Asset(_)
        | Body::Technician(_)
        | Body::Depot(_)
        | Body::Van(_)
        | Body::Calendar(_)
        | Body::Lead(_) => Vec::new(),
    };
    own.chain(names.into_iter().map(|(_, detail)| detail))
        .map(|detail| format!("{record}: {detail}"))
        .collect()
}
