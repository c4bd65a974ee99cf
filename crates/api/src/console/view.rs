//! Pieces that several pages show.

use forecare_catalogue::Catalogue;
use forecare_domain::{
    Alarm, AlarmSource, Asset, Contribution, DepotName, DeviceId, ModeName, PartNumber,
    Reservation, ReservationState, Supply, Ticket, TicketState, Timestamp, Verdict,
};

use super::format::{Bar, When, quantity, severity};
use crate::ticket_search::priority_label;

/// One reason: expected, seen, share.
pub(crate) struct ReasonView {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) expected: String,
    pub(crate) seen: String,
    pub(crate) share: Bar,
}

/// The unit of a metric of an asset; of a model's feature the unit of the metric it begins with.
fn unit_of<'a>(catalogue: &'a Catalogue, asset: Option<&Asset>, name: &str) -> &'a str {
    let metric = name.split(' ').next().unwrap_or_default();
    let counts = name.contains(" count") || name.contains("hours since");
    asset
        .and_then(|asset| catalogue.class(&asset.class))
        .and_then(|class| class.metrics.get(class.metric_index(metric)?))
        .filter(|_| !counts)
        .map_or("", |spec| spec.unit.as_str())
}

pub(crate) fn reasons(
    catalogue: &Catalogue,
    asset: Option<&Asset>,
    contributions: &[Contribution],
) -> Vec<ReasonView> {
    contributions
        .iter()
        .map(|c| {
            let unit = unit_of(catalogue, asset, &c.name);
            ReasonView {
                name: c.name.clone(),
                reason: c.reason.clone(),
                expected: quantity(c.expected, unit),
                seen: quantity(c.seen, unit),
                share: Bar::share(c.share),
            }
        })
        .collect()
}

/// What people call a failure mode of an asset.
pub(crate) fn mode_title(catalogue: &Catalogue, asset: Option<&Asset>, mode: &ModeName) -> String {
    asset
        .and_then(|asset| catalogue.class(&asset.class)?.mode(mode))
        .map_or_else(|| mode.to_string(), |mode| mode.title.clone())
}

/// The asset that a device measures.
pub(crate) fn asset_of<'a>(assets: &'a [Asset], device: &DeviceId) -> Option<&'a Asset> {
    assets.iter().find(|asset| &asset.device == device)
}

/// An alarm episode.
pub(crate) struct AlarmView {
    pub(crate) id: String,
    pub(crate) asset_id: String,
    pub(crate) asset_name: String,
    pub(crate) mode: String,
    pub(crate) source: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) active: bool,
    pub(crate) acknowledged: bool,
    pub(crate) raised: When,
    pub(crate) cleared: Option<When>,
    pub(crate) reasons: Vec<ReasonView>,
}

impl AlarmView {
    pub(crate) fn new(
        catalogue: &Catalogue,
        asset: Option<&Asset>,
        now: Timestamp,
        alarm: Alarm,
    ) -> Self {
        Self {
            asset_id: asset.map_or_else(String::new, |a| a.id.to_string()),
            asset_name: asset.map_or_else(|| alarm.device.to_string(), |a| a.name.clone()),
            mode: mode_title(catalogue, asset, &alarm.mode),
            source: match alarm.source {
                AlarmSource::Limit => "limit",
                AlarmSource::Anomaly => "anomaly",
                AlarmSource::Prognosis => "prognosis",
            },
            severity: severity(alarm.severity),
            active: alarm.active,
            acknowledged: alarm.acknowledged,
            raised: When::new(now, alarm.raised_at),
            cleared: alarm.cleared_at.map(|at| When::new(now, at)),
            reasons: reasons(catalogue, asset, &alarm.contributions),
            id: alarm.id.0,
        }
    }
}

/// A ticket in a list or on the board.
pub(crate) struct TicketView {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) title: String,
    pub(crate) asset_id: String,
    pub(crate) asset_name: String,
    /// The failure mode that was predicted, else the title without the asset's name.
    pub(crate) what: String,
    pub(crate) state: &'static str,
    pub(crate) priority: String,
    pub(crate) technician: Option<String>,
    pub(crate) opened: When,
    pub(crate) due: When,
    /// Open, and the due date has passed.
    pub(crate) overdue: bool,
    pub(crate) finding: Option<String>,
}

impl TicketView {
    pub(crate) fn new(
        catalogue: &Catalogue,
        asset: Option<&Asset>,
        now: Timestamp,
        t: &Ticket,
    ) -> Self {
        Self {
            id: t.id.to_string(),
            number: t.id.0,
            title: t.title.clone(),
            asset_id: t.asset.to_string(),
            asset_name: asset.map_or_else(|| t.asset.to_string(), |a| a.name.clone()),
            what: what(catalogue, asset, t),
            state: state_words(t.state),
            priority: priority_label(t.priority).to_owned(),
            technician: t.technician.clone(),
            opened: When::new(now, t.opened_at),
            due: When::new(now, t.due_at),
            overdue: t.state.is_open() && t.due_at < now,
            finding: t.verdict.as_ref().map(finding_words),
        }
    }
}

/// What a ticket is about, in short.
fn what(catalogue: &Catalogue, asset: Option<&Asset>, t: &Ticket) -> String {
    match &t.mode {
        Some(mode) if t.is_predicted() => mode_title(catalogue, asset, mode),
        // Somebody has given it a title.
        Some(_) | None => {
            let name = asset.map_or("", |a| a.name.as_str());
            let rest = t.title.strip_prefix(name).unwrap_or(&t.title);
            rest.trim_start_matches(": ").to_owned()
        }
    }
}

/// A ticket's state in words.
pub(crate) fn state_words(state: TicketState) -> &'static str {
    use forecare_domain::Hold;
    match state {
        TicketState::New => "New",
        TicketState::Triaged => "Triaged",
        TicketState::Dispatched => "Dispatched",
        TicketState::Accepted => "Accepted",
        TicketState::InProgress => "In progress",
        TicketState::OnHold(Hold::Customer) => "On hold: customer",
        TicketState::OnHold(Hold::Vendor) => "On hold: vendor",
        TicketState::OnHold(Hold::Part) => "On hold: part",
        TicketState::Resolved => "Resolved",
        TicketState::Confirmed => "Confirmed",
        TicketState::Closed => "Closed",
        TicketState::Cancelled => "Cancelled",
        TicketState::Reopened => "Reopened",
    }
}

/// A step to a state, as on a button.
pub(crate) fn step_words(to: TicketState) -> &'static str {
    use forecare_domain::Hold;
    match to {
        TicketState::New => "Renew",
        TicketState::Triaged => "Triage",
        TicketState::Dispatched => "Dispatch",
        TicketState::Accepted => "Accept",
        TicketState::InProgress => "Start work",
        TicketState::OnHold(Hold::Customer) => "Wait for the customer",
        TicketState::OnHold(Hold::Vendor) => "Wait for a vendor",
        TicketState::OnHold(Hold::Part) => "Wait for a part",
        TicketState::Resolved => "Resolve",
        TicketState::Confirmed => "Confirm",
        TicketState::Closed => "Close",
        TicketState::Cancelled => "Cancel the ticket",
        TicketState::Reopened => "Reopen",
    }
}

/// A finding in words.
pub(crate) fn finding_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Confirmed { failure_code } => format!("Confirmed ({failure_code})"),
        Verdict::WrongMode { actual } => format!("Another fault: {actual}"),
        Verdict::NoFaultFound => "No fault found".to_owned(),
        Verdict::DataFault => "Sensor or data fault".to_owned(),
        Verdict::TooEarly => "Too early".to_owned(),
        Verdict::Done => "Done".to_owned(),
    }
}

/// A reservation.
pub(crate) struct ReservationView {
    pub(crate) ticket: String,
    pub(crate) ticket_number: i64,
    pub(crate) part: String,
    /// The part it stands in for.
    pub(crate) instead_of: Option<String>,
    pub(crate) part_title: String,
    pub(crate) quantity: u32,
    pub(crate) used: u32,
    pub(crate) supply: String,
    /// `stock`, `transfer` or `back-order`.
    pub(crate) supply_kind: &'static str,
    pub(crate) state: &'static str,
    pub(crate) live: bool,
    pub(crate) needed: When,
    pub(crate) available: When,
    /// On the shelf where it is needed.
    pub(crate) there: bool,
    /// There only after it is needed.
    pub(crate) late: bool,
    /// End of the hold, while it is soft.
    pub(crate) expires: Option<When>,
}

impl ReservationView {
    pub(crate) fn new(catalogue: &Catalogue, now: Timestamp, r: &Reservation) -> Self {
        let (supply_kind, supply) = match &r.supply {
            Supply::Stock { depot } => ("stock", format!("from {}", depot_title(catalogue, depot))),
            Supply::Transfer { from, to } => (
                "transfer",
                format!(
                    "{} \u{2192} {}",
                    depot_title(catalogue, from),
                    depot_title(catalogue, to)
                ),
            ),
            Supply::BackOrder { to } => (
                "back-order",
                format!("supplier \u{2192} {}", depot_title(catalogue, to)),
            ),
        };
        Self {
            ticket: r.ticket.to_string(),
            ticket_number: r.ticket.0,
            part: r.part.to_string(),
            instead_of: r.instead_of.as_ref().map(ToString::to_string),
            part_title: part_title(catalogue, &r.part),
            quantity: r.quantity,
            used: r.used,
            supply,
            supply_kind,
            state: match r.state {
                ReservationState::Soft => "soft hold",
                ReservationState::Hard => "hard hold",
                ReservationState::PartlyUsed => "partly used",
                ReservationState::Consumed => "consumed",
                ReservationState::Released => "released",
                ReservationState::Expired => "expired",
            },
            live: r.state.is_live(),
            needed: When::new(now, r.needed_at),
            available: When::new(now, r.available_at),
            there: r.available_at <= now,
            late: r.state.is_live() && r.available_at > r.needed_at,
            expires: (r.state == ReservationState::Soft).then(|| When::new(now, r.expires_at)),
        }
    }
}

pub(crate) fn depot_title(catalogue: &Catalogue, depot: &DepotName) -> String {
    catalogue
        .depots
        .iter()
        .find(|d| &d.name == depot)
        .map_or_else(|| depot.to_string(), |d| d.title.clone())
}

pub(crate) fn part_title(catalogue: &Catalogue, part: &PartNumber) -> String {
    catalogue
        .part(part)
        .map_or_else(|| part.to_string(), |p| p.title.clone())
}
