//! What a ticket is and needs, to be corrected by who has read it: kind, failure, title, fields, parts.

use std::collections::BTreeMap;

use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{Ticket, TicketKind};

use super::form::Fields;
use super::new_ticket::{FieldView, values};
use crate::app::App;
use crate::problem::Problem;
use crate::routes::work::{classification, parts_wanted};
use crate::state::Work;
use forecare_care::work::WorkStep;

/// The forms.
pub(super) struct ShapeView {
    /// Kinds it can be: name, title, and whether it is; none where an alarm opened it.
    pub(super) kinds: Vec<(String, String, bool)>,
    /// Failure modes of the machine's class, likewise.
    pub(super) modes: Vec<(String, String, bool)>,
    pub(super) title: String,
    /// Fields of its kind.
    pub(super) fields: Vec<FieldView>,
    /// What it needs: number, title, quantity.
    pub(super) parts: Vec<(String, String, u32)>,
    /// What else it could need: number, title.
    pub(super) others: Vec<(String, String)>,
    /// Somebody laid the parts down.
    pub(super) laid_down: bool,
}

impl ShapeView {
    pub(super) fn new(app: &App, class: Option<&AssetClass>, ticket: &Ticket) -> Self {
        let catalogue: &Catalogue = &app.state.catalogue;
        let kinds = app.state.tickets.kinds().iter();
        let kinds = kinds
            .filter(|kind| !ticket.is_predicted() && kind.name.as_str() != TicketKind::PREDICTIVE);
        let modes = class.filter(|_| !ticket.is_predicted());
        let modes = modes.into_iter().flat_map(|class| &class.modes);
        let mode = ticket.mode.as_ref().and_then(|mode| class?.mode(mode));
        let needed: Vec<(String, u32)> = match (&ticket.work.parts, mode) {
            (Some(parts), _) => parts
                .iter()
                .map(|p| (p.part.to_string(), p.quantity))
                .collect(),
            (None, Some(mode)) => {
                let parts = mode.parts.iter();
                parts.map(|p| (p.part.to_string(), p.quantity)).collect()
            }
            (None, None) => Vec::new(),
        };
        let mut quantities: BTreeMap<String, u32> = BTreeMap::new();
        for (part, n) in needed {
            let sum = quantities.entry(part).or_default();
            *sum = sum.saturating_add(n);
        }
        let of_parts = catalogue
            .parts
            .iter()
            .map(|p| (p.number.to_string(), p.title.clone()));
        let of_kits = catalogue.kits.iter();
        let of_kits = of_kits.map(|k| (k.number.to_string(), format!("{} (kit)", k.title)));
        let (there, others): (Vec<_>, Vec<_>) = of_parts
            .chain(of_kits)
            .partition(|(number, _)| quantities.contains_key(number));
        let kind = app.state.tickets.kind(ticket.kind.as_str());
        // What is no longer configured stays chosen: nothing is changed unasked.
        let old_kind = (kind.is_none() && !ticket.is_predicted())
            .then(|| (ticket.kind.to_string(), ticket.kind.to_string(), true));
        let old_mode = ticket
            .mode
            .as_ref()
            .filter(|_| mode.is_none() && !ticket.is_predicted());
        let old_mode = old_mode.map(|name| (name.to_string(), name.to_string(), true));
        Self {
            kinds: old_kind
                .into_iter()
                .chain(kinds.map(|k| {
                    let chosen = k.name == ticket.kind;
                    (k.name.to_string(), k.title.clone(), chosen)
                }))
                .collect(),
            modes: old_mode
                .into_iter()
                .chain(modes.map(|m| {
                    let chosen = Some(&m.name) == ticket.mode.as_ref();
                    (m.name.to_string(), m.title.clone(), chosen)
                }))
                .collect(),
            title: ticket.title.clone(),
            fields: kind.map_or_else(Vec::new, |kind| {
                let specs = kind.fields.iter();
                let known = |name: &str| ticket.work.fields.get(name).map(ToString::to_string);
                specs
                    .map(|spec| FieldView::new(spec, known(&spec.name).as_deref()))
                    .collect()
            }),
            parts: there
                .into_iter()
                .map(|(number, title)| {
                    let quantity = quantities.get(&number).copied().unwrap_or_default();
                    (number, title, quantity)
                })
                .collect(),
            others,
            laid_down: ticket.work.parts_by.is_some(),
        }
    }
}

/// The fields as they were filled in.
pub(super) fn fields(app: &App, ticket: &Ticket, typed: &Fields) -> Result<Work, Problem> {
    let kind = app.state.tickets.kind(ticket.kind.as_str());
    let kind = kind.ok_or_else(|| Problem::invalid("kind", "it is no longer configured"))?;
    Ok(Work::Step(WorkStep::Fields(values(kind, typed)?)))
}

/// The classification as it was chosen. A form without kinds is an alarm's: the title alone.
pub(super) fn classified(typed: &Fields) -> Result<Work, Problem> {
    let given = |name: &str| typed.get(name).map(ToOwned::to_owned);
    let kind = given("kind");
    // An empty choice: not known.
    let mode = kind.as_ref().map(|_| given("mode").unwrap_or_default());
    classification(kind, mode, given("title"), given("why").unwrap_or_default())
}

/// The parts as they were entered: `part:NUMBER` with a quantity, 0 for none any more, and one that comes to them.
pub(super) fn parts(typed: &Fields) -> Result<Work, Problem> {
    let quantity = |part: &str, text: &str| -> Result<u32, Problem> {
        let number = text.parse();
        number.map_err(|_cause| Problem::invalid(part, format!("\"{text}\" is not a number")))
    };
    let mut wanted: BTreeMap<String, u32> = BTreeMap::new();
    for (part, text) in typed.with_prefix("part:") {
        wanted.insert(part.to_owned(), quantity(part, text)?);
    }
    if let Some(part) = typed.get("add") {
        let text = typed.get("quantity").unwrap_or("1");
        wanted.insert(part.to_owned(), quantity(part, text)?);
    }
    wanted.retain(|_, n| *n > 0);
    Ok(Work::Step(WorkStep::Parts {
        parts: parts_wanted(wanted)?,
        why: typed.get("why").unwrap_or_default().to_owned(),
    }))
}
