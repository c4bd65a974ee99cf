//! Cursor pagination: `?cursor=&limit=` in, `{items, next_cursor}` out.

use forecare_registry::RecordId;
use forecare_store::{PageRequest, Paged, RecordPage};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

/// Entries of a page where the caller does not say.
pub(crate) const LIMIT_DEFAULT: u16 = 50;
/// Entries of a page at most.
pub(crate) const LIMIT_MAX: u16 = 500;

/// Which page. Part of every list's parameters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageParams {
    /// `next_cursor` of the page before; without it, the first page.
    pub(crate) cursor: Option<String>,
    /// Entries of a page, 1 to 500; 50 where not given.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<u16>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The entries.
    pub(crate) items: Vec<T>,
    /// Ask with this cursor for the next page; null: this is the last.
    pub(crate) next_cursor: Option<String>,
}

/// The lists; a cursor of one is refused by the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Devices = 1,
    Assets,
    Events,
    Alarms,
    Tickets,
    Reservations,
    Ledger,
    Labels,
    DeadLetters,
    Latest,
    Models,
    Records,
    RecordHistory,
    Deliveries,
    Surveys,
    TicketEntries,
    Automation,
    Files,
    TicketsSorted,
    Inbox,
}

fn refused() -> Problem {
    Problem::bad_parameter(
        "cursor",
        "this cursor is not one of this list; start without it",
    )
}

fn encode(list: List, key: &[u8]) -> String {
    std::iter::once(&(list as u8))
        .chain(key)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn decode(list: List, cursor: &str) -> Result<Vec<u8>, Problem> {
    let bytes: Option<Vec<u8>> = cursor
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect();
    match bytes.as_deref() {
        Some([tag, key @ ..]) if *tag == list as u8 => Ok(key.to_vec()),
        Some(_) | None => Err(refused()),
    }
}

fn bounded(limit: Option<u16>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        Ok(usize::from(limit))
    } else {
        Err(Problem::bad_parameter(
            "limit",
            format!("limit must be 1 to {LIMIT_MAX}"),
        ))
    }
}

impl PageParams {
    pub(crate) fn new(cursor: Option<String>, limit: Option<u16>) -> Self {
        Self { cursor, limit }
    }

    /// What to ask the store for: one entry more than the page holds, to know whether more follow.
    pub(crate) fn request(&self, list: List) -> Result<PageRequest, Problem> {
        let before = match &self.cursor {
            None => None,
            Some(cursor) => {
                let key: [u8; 8] = decode(list, cursor)?.try_into().or(Err(refused()))?;
                Some(i64::from_be_bytes(key))
            }
        };
        let limit = bounded(self.limit)? + 1;
        Ok(PageRequest { before, limit })
    }

    /// Where a list that is sorted by a number and then by id goes on: after this entry; and how many entries it has at
    /// most.
    pub(crate) fn after(&self, list: List) -> Result<(Option<(i64, i64)>, usize), Problem> {
        let limit = bounded(self.limit)?;
        let Some(cursor) = &self.cursor else {
            return Ok((None, limit));
        };
        let key: [u8; 16] = decode(list, cursor)?.try_into().or(Err(refused()))?;
        let (first, second) = key.split_at(8);
        let number = |half: &[u8]| half.try_into().map(i64::from_be_bytes).or(Err(refused()));
        Ok((Some((number(first)?, number(second)?)), limit))
    }

    /// Cuts a page out of everything, sorted by a unique name.
    pub(crate) fn cut<T, D>(
        &self,
        list: List,
        all: &[T],
        name: impl Fn(&T) -> &str,
        to_dto: impl Fn(&T) -> D,
    ) -> Result<Page<D>, Problem> {
        let limit = bounded(self.limit)?;
        let start = match &self.cursor {
            None => 0,
            Some(cursor) => {
                let after = String::from_utf8(decode(list, cursor)?).or(Err(refused()))?;
                all.partition_point(|item| name(item) <= after.as_str())
            }
        };
        let rest = all.get(start..).unwrap_or_default();
        let page = rest.get(..limit).unwrap_or(rest);
        let next_cursor = match page.last() {
            Some(last) if rest.len() > limit => Some(encode(list, name(last).as_bytes())),
            Some(_) | None => None,
        };
        Ok(Page {
            items: page.iter().map(to_dto).collect(),
            next_cursor,
        })
    }
}

/// The cursor after the entry with this number and id, of a list of [`PageParams::after`].
pub(crate) fn cursor_after(list: List, (number, id): (i64, i64)) -> String {
    let key = [number.to_be_bytes(), id.to_be_bytes()].concat();
    encode(list, &key)
}

/// The cursor for what is older than `position`.
pub(crate) fn cursor_before(list: List, position: i64) -> String {
    encode(list, &position.to_be_bytes())
}

/// A page by id, as the store reads it.
pub(crate) fn id_page(
    cursor: Option<&str>,
    limit: Option<u16>,
    list: List,
) -> Result<RecordPage, Problem> {
    let after = cursor
        .map(|cursor| {
            let id = String::from_utf8(decode(list, cursor)?).or(Err(refused()))?;
            RecordId::new(id).map_err(|_invalid| refused())
        })
        .transpose()?;
    Ok(RecordPage {
        after,
        limit: bounded(limit)? + 1,
    })
}

/// The cursor after the last of `ids`, where the store gave more than a page of [`id_page`].
pub(crate) fn id_cursor(list: List, request: &RecordPage, ids: &[RecordId]) -> Option<String> {
    let full = request.limit.saturating_sub(1);
    let last = ids
        .get(full.saturating_sub(1))
        .filter(|_| ids.len() > full)?;
    Some(encode(list, last.as_str().as_bytes()))
}

impl<D> Page<D> {
    /// The page from what the store gave for [`PageParams::request`].
    pub(crate) fn of<T>(
        list: List,
        request: PageRequest,
        mut found: Vec<Paged<T>>,
        to_dto: impl Fn(T) -> D,
    ) -> Self {
        let full = request.limit.saturating_sub(1);
        let more = found.len() > full;
        found.truncate(full);
        let next_cursor = found
            .last()
            .filter(|_| more)
            .map(|last| encode(list, &last.position.to_be_bytes()));
        Self {
            items: found.into_iter().map(|paged| to_dto(paged.item)).collect(),
            next_cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_whole_and_only_to_its_list() {
        for position in [i64::MIN, -1, 0, 7, i64::MAX] {
            let cursor = encode(List::Alarms, &position.to_be_bytes());
            let params = PageParams::new(Some(cursor), None);
            assert_eq!(params.request(List::Alarms).unwrap().before, Some(position));
            assert_eq!(
                params.request(List::Tickets).unwrap_err().field.as_deref(),
                Some("cursor")
            );
        }
    }

    #[test]
    fn nonsense_cursors_are_refused() {
        for text in [
            "",
            "0",
            "zz",
            "04",
            "04ff",
            "é",
            "04+1",
            "04000000000000000000",
        ] {
            let params = PageParams::new(Some(text.to_owned()), None);
            assert!(params.request(List::Alarms).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_walked_once_each() {
        let names: Vec<String> = (0..257).map(|i| format!("device-{i:04}")).collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let params = PageParams::new(cursor, Some(10));
            let page = params
                .cut(List::Devices, &names, |n| n, Clone::clone)
                .unwrap();
            seen.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, names);
    }
}
