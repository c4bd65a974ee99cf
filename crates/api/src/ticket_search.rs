//! Which tickets: what lists, exports and the console's board are narrowed down by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use forecare_care::sla::SlaState;
use forecare_domain::{
    Asset, AssetId, EntryBody, Hold, InvalidTimestamp, Priority, Ticket, TicketId, TicketState,
    Timestamp,
};
use forecare_registry::{RecordId, RecordKind, RecordRef};
use forecare_store::{PAGE_ENTRIES_MAX, PageRequest, TicketFilter};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::{App, Caller, cut, ticket_id};
use crate::outcomes::Registry;
use crate::page::{List, Page, PageParams, cursor_after, cursor_before};
use crate::problem::Problem;

/// Tickets that are looked through for a page of the newest; the next page goes on where it ended.
const LOOKED_THROUGH: usize = 20_000;
/// Tickets that are looked through where all have to be seen.
const LOOKED_THROUGH_SORTED: usize = 100_000;
/// Notes, times booked and names of files that a search looks in: the newest.
const ENTRIES_LOOKED_THROUGH: usize = 20_000;
/// Words of a search that count.
const WORDS_MAX: usize = 16;
/// Longest text to search for, characters.
const SOUGHT_CHARS_MAX: usize = 200;

const FROM_NEWEST: PageRequest = PageRequest {
    before: None,
    limit: PAGE_ENTRIES_MAX,
};
const ORIGINS: [&str; 5] = ["alarm", "person", "schedule", "event", "automation"];
/// The priorities, the most urgent first.
pub(crate) const PRIORITIES: [Priority; 4] =
    [Priority::P1, Priority::P2, Priority::P3, Priority::P4];

/// Which tickets, in which order. What is empty asks for nothing; where several are given, all must hold.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketQuery {
    /// Words that all must occur, whatever their case: in number, title, machine (id, name, serial number), customer,
    /// technician, fields; for those who work on tickets in what was reported and in notes, of which the newest 20,000 are
    /// looked through.
    pub(crate) q: Option<String>,
    /// Only open ones (true), or only ended ones (false).
    #[param(value_type = Option<bool>)]
    pub(crate) open: Option<String>,
    /// Only in one of these states, comma-separated; `on_hold` is any hold.
    pub(crate) state: Option<String>,
    /// Only of one of these priorities, comma-separated: `P1` to `P4`.
    pub(crate) priority: Option<String>,
    /// Only of one of these kinds, comma-separated.
    pub(crate) kind: Option<String>,
    /// Only opened by one of these, comma-separated: `alarm`, `person`, `schedule`, `event`, `automation`.
    pub(crate) origin: Option<String>,
    /// Only of this failure mode, expected or reported.
    pub(crate) mode: Option<String>,
    /// Only of this asset.
    pub(crate) asset: Option<String>,
    /// Only of assets of this class.
    pub(crate) class: Option<String>,
    /// Only on this site, by name; `name (what it belongs to)` where several are called the same.
    pub(crate) site: Option<String>,
    /// Only of this customer's machines, by the customer's id.
    pub(crate) customer: Option<String>,
    /// Only of this technician, by name; `none`: of nobody yet.
    pub(crate) technician: Option<String>,
    /// Only of machines that this depot serves.
    pub(crate) depot: Option<String>,
    /// Only with this value in a field of their kind, as `name:value`.
    pub(crate) field: Option<String>,
    /// Only parts of, or visits after, this ticket.
    pub(crate) parent: Option<String>,
    /// Only opened at this time or later; a time or a day.
    pub(crate) opened_from: Option<String>,
    /// Only opened before this; a time or a day.
    pub(crate) opened_to: Option<String>,
    /// Only due before this; a time or a day.
    pub(crate) due_before: Option<String>,
    /// Only open ones whose due date has passed (true), or the others (false).
    #[param(value_type = Option<bool>)]
    pub(crate) overdue: Option<String>,
    /// Only where a service level clock went over its target (true), or the others (false).
    #[param(value_type = Option<bool>)]
    pub(crate) breached: Option<String>,
    /// `newest`, `oldest`, `due` (the next first), `priority` (the highest first, then what is due first) or `changed` (the
    /// last change first); `newest` where not given.
    #[param(default = "newest")]
    pub(crate) sort: Option<String>,
    /// Of the list: `next_cursor` of the page before; without it, the first page. With the other parameters as they were.
    pub(crate) cursor: Option<String>,
    /// Of the list: entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<u16>,
    /// Of the export: `csv` or `json`; `csv` where not given.
    #[param(default = "csv")]
    pub(crate) format: Option<String>,
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Newest,
    Oldest,
    Due,
    Priority,
    Changed,
}

impl Sort {
    pub(crate) const ALL: [Self; 5] = [
        Self::Newest,
        Self::Oldest,
        Self::Due,
        Self::Priority,
        Self::Changed,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Due => "due",
            Self::Priority => "priority",
            Self::Changed => "changed",
        }
    }

    /// Where a ticket stands, the least first.
    pub(crate) fn key(self, t: &Ticket) -> (i64, i64) {
        /// More than any time of a ticket in ms, and room for the priority above it.
        const PRIORITY_STEP: i64 = 1 << 50;
        let number = match self {
            Self::Newest => return (-t.id.0, 0),
            Self::Oldest => return (t.id.0, 0),
            Self::Due => t.due_at.as_millis(),
            Self::Priority => {
                let rank = t.priority as i64;
                let within = t.due_at.as_millis().clamp(0, PRIORITY_STEP - 1);
                rank * PRIORITY_STEP + within
            }
            Self::Changed => {
                let last = t.history.last().map_or(t.opened_at, |c| c.at);
                -last.as_millis()
            }
        };
        (number, t.id.0)
    }
}

/// A query that has been checked, with what it takes to answer it.
pub(crate) struct TicketSearch {
    /// What the store narrows down by its indices.
    filter: TicketFilter,
    states: Vec<TicketState>,
    priorities: Vec<Priority>,
    kinds: Vec<String>,
    origins: Vec<&'static str>,
    mode: Option<String>,
    class: Option<String>,
    site: Option<String>,
    customer: Option<RecordId>,
    /// In lower case.
    technician: Option<String>,
    depot: Option<String>,
    field: Option<(String, String)>,
    opened_from: Option<Timestamp>,
    opened_to: Option<Timestamp>,
    due_before: Option<Timestamp>,
    overdue: Option<bool>,
    breached: Option<bool>,
    words: Vec<String>,
    /// Words of the search by ticket, as bits, that stand in its notes.
    noted: BTreeMap<TicketId, u32>,
    /// What reporters tell may be searched.
    needs_to_know: bool,
    pub(crate) sort: Sort,
    /// Machines, where the query speaks of them.
    assets: BTreeMap<AssetId, Asset>,
    /// Master data, where the query speaks of it.
    registry: Option<Arc<Registry>>,
    now: Timestamp,
}

/// The text of a parameter, where there is any.
fn given(value: Option<&String>) -> Option<&str> {
    value
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

fn allowed<'a>(field: &str, names: impl IntoIterator<Item = &'a str>) -> Problem {
    let names: Vec<&str> = names.into_iter().collect();
    Problem::bad_parameter(field, format!("use {}", names.join(", ")))
}

/// Values of a comma-separated list, each among `allowed_names`.
fn list<T: Clone>(
    field: &str,
    value: Option<&String>,
    names: &[(&str, T)],
) -> Result<Vec<T>, Problem> {
    let Some(text) = given(value) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        let before = all.len();
        all.extend(
            names
                .iter()
                .filter(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone()),
        );
        if all.len() == before {
            let mut known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            known.dedup();
            return Err(allowed(field, known));
        }
    }
    Ok(all)
}

fn yes_or_no(field: &str, value: Option<&String>) -> Result<Option<bool>, Problem> {
    match given(value) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(allowed(field, ["true", "false"])),
    }
}

fn instant(field: &str, value: Option<&String>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = given(value) else {
        return Ok(None);
    };
    let day = format!("{text}T00:00:00Z");
    let read = text
        .parse()
        .or_else(|_no_time: InvalidTimestamp| day.parse());
    read.map(Some).map_err(|_no_day: InvalidTimestamp| {
        Problem::bad_parameter(
            field,
            "use a time such as 2026-01-31T08:00:00Z, or a day such as 2026-01-31",
        )
    })
}

/// One of the names that the catalogue has.
fn known<'a>(
    field: &str,
    value: Option<&String>,
    names: impl Iterator<Item = &'a str>,
) -> Result<Option<String>, Problem> {
    let Some(text) = given(value) else {
        return Ok(None);
    };
    let names: BTreeSet<&str> = names.collect();
    if names.contains(text) {
        Ok(Some(text.to_owned()))
    } else {
        Err(allowed(field, names))
    }
}

impl TicketQuery {
    /// The query, checked, with what it takes to answer it.
    pub(crate) async fn search(&self, app: &App, caller: &Caller) -> Result<TicketSearch, Problem> {
        let (state, catalogue) = (&app.state, &app.state.catalogue);
        let holds = [Hold::Customer, Hold::Vendor, Hold::Part].map(TicketState::OnHold);
        let names: Vec<(&str, TicketState)> = TicketState::ALL
            .iter()
            .map(|s| (s.label(), *s))
            .chain(holds.map(|hold| ("on_hold", hold)))
            .collect();
        let states = list("state", self.state.as_ref(), &names)?;
        let priorities = PRIORITIES.map(|p| (priority_label(p), p));
        let kinds: Vec<(&str, String)> = state
            .tickets
            .kinds()
            .iter()
            .map(|k| (k.name.as_str(), k.name.to_string()))
            .collect();
        let sort = match given(self.sort.as_ref()) {
            None => Sort::Newest,
            Some(text) => Sort::ALL
                .into_iter()
                .find(|sort| sort.label() == text)
                .ok_or_else(|| allowed("sort", Sort::ALL.map(Sort::label)))?,
        };
        let field = match given(self.field.as_ref()).map(|text| text.split_once(':')) {
            None => None,
            Some(Some((name, value))) => Some((name.trim().to_owned(), value.trim().to_owned())),
            Some(None) => {
                return Err(Problem::bad_parameter(
                    "field",
                    "use name:value, such as order:4711",
                ));
            }
        };
        let asset = given(self.asset.as_ref()).map(AssetId::new).transpose();
        let parent = given(self.parent.as_ref()).map(ticket_id).transpose();
        let parent = parent.map_err(|_no_number: Problem| {
            Problem::bad_parameter("parent", "use a number such as 7 or T-7")
        })?;
        let overdue = yes_or_no("overdue", self.overdue.as_ref())?;
        let mut open = yes_or_no("open", self.open.as_ref())?;
        if open.is_none() {
            let all_open = !states.is_empty() && states.iter().all(|s| s.is_open());
            let all_ended = !states.is_empty() && states.iter().all(|s| !s.is_open());
            open = match (all_open || overdue == Some(true), all_ended) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            };
        }
        let modes = catalogue.classes.iter().flat_map(|c| &c.modes);
        let customer = given(self.customer.as_ref()).map(RecordId::new).transpose();
        let q = cut(given(self.q.as_ref()).unwrap_or_default(), SOUGHT_CHARS_MAX);
        let mut search = TicketSearch {
            filter: TicketFilter {
                asset: asset.map_err(|e| Problem::bad_parameter("asset", e.to_string()))?,
                parent,
                open,
                ..TicketFilter::default()
            },
            states,
            priorities: list("priority", self.priority.as_ref(), &priorities)?,
            kinds: list("kind", self.kind.as_ref(), &kinds)?,
            origins: list("origin", self.origin.as_ref(), &ORIGINS.map(|o| (o, o)))?,
            mode: known("mode", self.mode.as_ref(), modes.map(|m| m.name.as_str()))?,
            class: {
                let names = catalogue.classes.iter().map(|c| c.name.as_str());
                known("class", self.class.as_ref(), names)?
            },
            depot: {
                let names = catalogue.depots.iter().map(|d| d.name.as_str());
                known("depot", self.depot.as_ref(), names)?
            },
            site: given(self.site.as_ref()).map(str::to_lowercase),
            customer: customer.map_err(|e| Problem::bad_parameter("customer", e.to_string()))?,
            technician: given(self.technician.as_ref()).map(str::to_lowercase),
            field,
            opened_from: instant("opened_from", self.opened_from.as_ref())?,
            opened_to: instant("opened_to", self.opened_to.as_ref())?,
            due_before: instant("due_before", self.due_before.as_ref())?,
            overdue,
            breached: yes_or_no("breached", self.breached.as_ref())?,
            words: q
                .to_lowercase()
                .split_whitespace()
                .take(WORDS_MAX)
                .map(str::to_owned)
                .collect(),
            noted: BTreeMap::new(),
            needs_to_know: caller.needs_to_know(),
            sort,
            assets: BTreeMap::new(),
            registry: None,
            now: state.clock.now(),
        };
        search.read(app).await?;
        Ok(search)
    }
}

/// What a priority is called.
pub(crate) fn priority_label(priority: Priority) -> &'static str {
    match priority {
        Priority::P1 => "P1",
        Priority::P2 => "P2",
        Priority::P3 => "P3",
        Priority::P4 => "P4",
    }
}

impl TicketSearch {
    /// Reads what the query speaks of beside tickets.
    async fn read(&mut self, app: &App) -> Result<(), Problem> {
        let is_text = !self.words.is_empty();
        if is_text || self.site.is_some() || self.customer.is_some() {
            let registry = Registry::recent(app).await?;
            if let Some(id) = &self.customer
                && !registry.customers.contains_key(id)
                && !is_customer(app, id).await?
            {
                return Err(Problem::bad_parameter(
                    "customer",
                    format!(
                        "there is no customer \"{id}\"; GET /api/v1/registry/customers lists them"
                    ),
                ));
            }
            self.registry = Some(registry);
        } else if self.class.is_some() || self.depot.is_some() {
            let assets = app.state.store.assets().await?.into_iter();
            self.assets = assets.map(|a| (a.id.clone(), a)).collect();
        }
        if !is_text || !self.needs_to_know {
            return Ok(());
        }
        let mut request = FROM_NEWEST;
        let mut n = 0;
        while n < ENTRIES_LOOKED_THROUGH {
            let found = app.state.store.entries(request).await?;
            n += found.len();
            request.before = found.last().map(|e| e.position);
            let is_last = found.len() < request.limit;
            for paged in found {
                let (ticket, entry) = paged.item;
                let text = match entry.body {
                    EntryBody::Note { text, .. } => text,
                    EntryBody::Time { what, .. } => what,
                    EntryBody::Attachment(file) => file.name,
                };
                let bits = self.bits_in(&text.to_lowercase());
                if bits != 0 {
                    *self.noted.entry(ticket).or_default() |= bits;
                }
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// The words that stand in `text`, as bits.
    fn bits_in(&self, text: &str) -> u32 {
        let words = self.words.iter().enumerate();
        words
            .filter(|(_, word)| text.contains(word.as_str()))
            .fold(0, |bits, (i, _)| bits | 1 << i)
    }

    fn asset<'a>(&'a self, id: &AssetId) -> Option<&'a Asset> {
        let of_registry = self.registry.as_ref().and_then(|r| r.assets.get(id));
        of_registry.or_else(|| self.assets.get(id))
    }

    /// Whether it is among what is asked for.
    pub(crate) fn fits(&self, app: &App, t: &Ticket) -> bool {
        let is_overdue = t.state.is_open() && t.due_at < self.now;
        let own = self
            .filter
            .open
            .is_none_or(|open| open == t.state.is_open())
            && (self.states.is_empty() || self.states.contains(&t.state))
            && (self.priorities.is_empty() || self.priorities.contains(&t.priority))
            && (self.kinds.is_empty() || self.kinds.iter().any(|k| k == t.kind.as_str()))
            && (self.origins.is_empty() || self.origins.contains(&t.origin.label()))
            && (self.mode.as_deref())
                .is_none_or(|m| t.mode.as_ref().is_some_and(|of| of.as_str() == m))
            && self.opened_from.is_none_or(|from| t.opened_at >= from)
            && self.opened_to.is_none_or(|to| t.opened_at < to)
            && self.due_before.is_none_or(|before| t.due_at < before)
            && self.overdue.is_none_or(|wanted| wanted == is_overdue);
        own && self.has_technician(t)
            && self.has_field(t)
            && self.stands_where(app, t)
            && self.breached.is_none_or(|wanted| {
                let clocks = (app.state.sla)(t, self.now);
                wanted == clocks.iter().any(|c| c.state == SlaState::Breached)
            })
            && self.says(t)
    }

    fn has_technician(&self, t: &Ticket) -> bool {
        let of = t.technician.as_deref();
        match self.technician.as_deref() {
            None => true,
            Some("none") => of.is_none(),
            Some(wanted) => of.is_some_and(|of| of.to_lowercase() == wanted),
        }
    }

    fn has_field(&self, t: &Ticket) -> bool {
        self.field.as_ref().is_none_or(|(name, wanted)| {
            let value = t.work.fields.get(name).map(ToString::to_string);
            value.is_some_and(|value| value.to_lowercase() == wanted.to_lowercase())
        })
    }

    /// Class, depot, site and customer of its machine.
    fn stands_where(&self, app: &App, t: &Ticket) -> bool {
        let asks = self.class.is_some()
            || self.depot.is_some()
            || self.site.is_some()
            || self.customer.is_some();
        if !asks {
            return true;
        }
        let Some(asset) = self.asset(&t.asset) else {
            return false;
        };
        let first = app.state.catalogue.depots.first().map(|d| &d.name);
        let depot = asset.depot.as_ref().or(first);
        let of_customer = || self.registry.as_ref()?.customer_of(t);
        let on_site = |site: &str| {
            let registry = self.registry.as_ref();
            registry.is_some_and(|r| r.is_on_site(asset, t.opened_at, site))
        };
        (self.class.as_deref()).is_none_or(|class| asset.class.as_str() == class)
            && (self.depot.as_deref()).is_none_or(|name| depot.is_some_and(|d| d.as_str() == name))
            && (self.customer.as_ref()).is_none_or(|id| of_customer() == Some(id.as_str()))
            && (self.site.as_deref()).is_none_or(on_site)
    }

    /// Whether all words of the search occur.
    fn says(&self, t: &Ticket) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let mut text = format!("{}\n{}\n{}", t.id, t.title, t.asset);
        let mut add = |more: &str| {
            text.push('\n');
            text.push_str(more);
        };
        if let Some(asset) = self.asset(&t.asset) {
            add(&asset.name);
        }
        if let Some(registry) = &self.registry {
            if let Some(details) = registry.details.get(&t.asset) {
                add(details.serial.as_deref().unwrap_or_default());
            }
            let customer = registry
                .customer_of(t)
                .and_then(|id| RecordId::new(id).ok());
            if let Some(customer) = customer.and_then(|id| registry.customers.get(&id)) {
                add(&customer.name);
            }
        }
        add(t.technician.as_deref().unwrap_or_default());
        for value in t.work.fields.values() {
            add(&value.to_string());
        }
        if self.needs_to_know
            && let Some(report) = &t.work.report
        {
            add(&report.description);
        }
        let noted = self.noted.get(&t.id).copied().unwrap_or(0);
        let found = self.bits_in(&text.to_lowercase()) | noted;
        (0..self.words.len()).all(|i| found & (1 << i) != 0)
    }

    /// Shows the tickets that fit, newest first, among those of which `request` is the first part, until `see` has seen enough; of at most
    /// `n_max` that are looked through. Returns the position after which nothing was looked at, where that is not the end.
    async fn walk(
        &self,
        app: &App,
        mut request: PageRequest,
        n_max: usize,
        mut see: impl FnMut(Ticket) -> bool + Send,
    ) -> Result<Option<i64>, Problem> {
        let mut n = 0;
        loop {
            let found = app.state.store.tickets(&self.filter, request).await?;
            let is_last = found.len() < request.limit;
            for paged in found {
                n += 1;
                request.before = Some(paged.position);
                if self.fits(app, &paged.item) && !see(paged.item) {
                    return Ok(request.before);
                }
            }
            if is_last {
                return Ok(None);
            }
            if n >= n_max {
                let next = PageRequest {
                    limit: 1,
                    ..request
                };
                let beyond = app.state.store.tickets(&self.filter, next).await?;
                return Ok(request.before.filter(|_| !beyond.is_empty()));
            }
            request.limit = PAGE_ENTRIES_MAX;
        }
    }

    /// One page. Of the newest it may be shorter than asked for, or empty, with more to come: no more than 20,000 tickets
    /// are looked through at once.
    pub(crate) async fn page<D: Send>(
        &self,
        app: &App,
        params: &PageParams,
        to_dto: impl Fn(&Ticket) -> D + Send + Sync,
    ) -> Result<Page<D>, Problem> {
        if self.sort == Sort::Newest {
            let request = params.request(List::Tickets)?;
            let full = request.limit - 1;
            let mut items = Vec::new();
            let mut last = None;
            let mut more = false;
            let see = |t: Ticket| {
                more = items.len() == full;
                if !more {
                    last = Some(t.id.0);
                    items.push(to_dto(&t));
                }
                !more
            };
            let left_at = self.walk(app, request, LOOKED_THROUGH, see).await?;
            let next = if more { last } else { left_at };
            return Ok(Page {
                items,
                next_cursor: next.map(|position| cursor_before(List::Tickets, position)),
            });
        }
        let (after, limit) = params.after(List::TicketsSorted)?;
        // The least keys after the cursor, one more than the page holds: no more is kept.
        let mut least: BTreeMap<(i64, i64), Ticket> = BTreeMap::new();
        let see = |t: Ticket| {
            let key = self.sort.key(&t);
            if after.is_none_or(|after| key > after) {
                least.insert(key, t);
                if least.len() > limit + 1 {
                    least.pop_last();
                }
            }
            true
        };
        let left_at = self
            .walk(app, FROM_NEWEST, LOOKED_THROUGH_SORTED, see)
            .await?;
        if left_at.is_some() {
            return Err(too_many(LOOKED_THROUGH_SORTED));
        }
        let more = least.len() > limit;
        let page: Vec<((i64, i64), Ticket)> = least.into_iter().take(limit).collect();
        Ok(Page {
            next_cursor: (page.last().filter(|_| more))
                .map(|(key, _)| cursor_after(List::TicketsSorted, *key)),
            items: page.iter().map(|(_, t)| to_dto(t)).collect(),
        })
    }

    /// All that fit, in order.
    pub(crate) async fn all(&self, app: &App, n_max: usize) -> Result<Vec<Ticket>, Problem> {
        let mut all = Vec::new();
        let see = |t: Ticket| {
            all.push(t);
            all.len() <= n_max
        };
        self.walk(app, FROM_NEWEST, usize::MAX, see).await?;
        if all.len() > n_max {
            return Err(too_many(n_max));
        }
        all.sort_by_key(|t| self.sort.key(t));
        Ok(all)
    }
}

/// Whether there is that customer now: one who has just been stored may not be in the snapshot yet.
async fn is_customer(app: &App, id: &RecordId) -> Result<bool, Problem> {
    let key = RecordRef::new(RecordKind::Customer, id.clone());
    let found = app.state.store.record(&key).await?;
    Ok(found.is_some_and(|record| record.body.is_some()))
}

fn too_many(n_max: usize) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        format!("there are more than {n_max} tickets: ask for less, by open, asset or parent"),
    )
}
