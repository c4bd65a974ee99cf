//! The whole course of one thing, from the reading that caused it to what the customer said: one id follows it.

use forecare_domain::{
    Alarm, AlarmId, AssetId, Contribution, DeviceId, EntryBody, Reservation, Supply, Ticket,
    TicketId, TicketState, Timestamp,
};
use forecare_store::{DeliveryFilter, ReservationFilter, Store, StoreError, TicketFilter, newest};
use serde::Serialize;
use utoipa::ToSchema;

/// Decisions and tickets of one machine that are looked through.
const LOOKED_THROUGH: usize = 10_000;
/// Reasons told of a reading.
const REASONS_MAX: usize = 3;

/// What happened, in order of time.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Trace {
    /// The id that follows it: the alarm's where there is one, else that of the first ticket. Follow-ups, parts of it and what
    /// was merged have the same.
    pub id: String,
    /// The machine.
    pub asset_id: Option<String>,
    /// Its device.
    pub device_id: String,
    /// The tickets in it.
    pub tickets: Vec<i64>,
    /// The steps.
    pub steps: Vec<TraceStep>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TraceStep {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `reading`, `alarm`, `decision`, `ticket`, `part`, `work`, `told`, `verdict` or `answer`.
    pub kind: &'static str,
    /// Who, where somebody did it.
    pub by: Option<String>,
    /// What, in words.
    pub what: String,
}

/// The course of the alarm or ticket `id` (`T-7`, `7`, or an alarm's id). Without `needs_to_know` it is said that something
/// was put to the ticket, not what.
///
/// # Errors
/// [`StoreError::NotFound`]; the store does not answer.
pub async fn trace(store: &dyn Store, id: &str, needs_to_know: bool) -> Result<Trace, StoreError> {
    let number = id
        .strip_prefix("T-")
        .unwrap_or(id)
        .parse()
        .ok()
        .map(TicketId);
    let (alarm, tickets) = match number {
        Some(number) => {
            let ticket = store.ticket(number).await?;
            let tickets = family(
                store,
                &ticket.asset,
                alarm_of(&ticket),
                Some(ticket.clone()),
            )
            .await?;
            (tickets.iter().find_map(alarm_of), tickets)
        }
        None => {
            let id = AlarmId(id.to_owned());
            let alarm = store.alarm(&id).await?;
            let assets = store.assets().await?;
            let asset = assets.into_iter().find(|a| a.device == alarm.device);
            let tickets = match asset {
                Some(asset) => family(store, &asset.id, Some(id.clone()), None).await?,
                None => Vec::new(),
            };
            (Some(id), tickets)
        }
    };
    let mut steps = Vec::new();
    let mut device = tickets.first().map(|t| t.device.clone());
    if let Some(id) = &alarm {
        match store.alarm(id).await {
            Ok(alarm) => {
                told_of_alarm(&alarm, &mut steps);
                device.get_or_insert(alarm.device);
            }
            // Alarms may be dropped before their tickets.
            Err(StoreError::NotFound(_)) => {}
            Err(failure) => return Err(failure),
        }
        if let Some(device) = &device {
            told_of_decisions(store, device, id, &mut steps).await?;
        }
    }
    for ticket in &tickets {
        told_of_ticket(ticket, tickets.len() > 1, &mut steps);
        let filter = ReservationFilter {
            ticket: Some(ticket.id),
            live: false,
        };
        let held = newest(LOOKED_THROUGH, |page| store.reservations(&filter, page)).await?;
        for reservation in held.into_iter().rev() {
            told_of_part(&reservation, &mut steps);
        }
    }
    for ticket in &tickets {
        told_of_work(store, ticket.id, needs_to_know, &mut steps).await?;
        told_of_customer(store, ticket.id, &mut steps).await?;
    }
    steps.sort_by_key(|step| step.at);
    Ok(Trace {
        id: alarm.map_or_else(
            || {
                tickets
                    .first()
                    .map_or_else(String::new, |t| t.id.to_string())
            },
            |alarm| alarm.to_string(),
        ),
        asset_id: tickets.first().map(|t| t.asset.to_string()),
        device_id: device.map_or_else(String::new, |d| d.to_string()),
        tickets: tickets.iter().map(|t| t.id.0).collect(),
        steps,
    })
}

fn alarm_of(ticket: &Ticket) -> Option<AlarmId> {
    ticket.decision.as_ref().map(|d| d.alarm.clone())
}

/// The tickets of one machine that belong together, oldest first: those of `alarm` or `ticket`, their parts, follow-ups, and
/// what was merged.
async fn family(
    store: &dyn Store,
    asset: &AssetId,
    alarm: Option<AlarmId>,
    ticket: Option<Ticket>,
) -> Result<Vec<Ticket>, StoreError> {
    let filter = TicketFilter {
        asset: Some(asset.clone()),
        ..TicketFilter::default()
    };
    let mut others = newest(LOOKED_THROUGH, |page| store.tickets(&filter, page)).await?;
    let mut found: Vec<Ticket> = ticket.into_iter().collect();
    found.extend(others.extract_if(.., |t| alarm.is_some() && alarm_of(t) == alarm));
    loop {
        let belongs = |t: &Ticket| {
            let is_kin = |a: &Ticket, b: &Ticket| {
                [a.work.parent, a.work.merged_into].contains(&Some(b.id))
                    || (alarm_of(a).is_some() && alarm_of(a) == alarm_of(b))
            };
            found
                .iter()
                .any(|member| is_kin(member, t) || is_kin(t, member))
        };
        let more: Vec<Ticket> = others.extract_if(.., |t| belongs(t)).collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.sort_by_key(|t| t.id);
    found.dedup_by_key(|t| t.id);
    Ok(found)
}

fn told_of_alarm(alarm: &Alarm, steps: &mut Vec<TraceStep>) {
    let mut tell = |at, kind, what: String| {
        steps.push(TraceStep {
            at,
            kind,
            by: None,
            what,
        });
    };
    tell(
        alarm.raised_at,
        "reading",
        format!("from {}: {}", alarm.device, reasons(&alarm.contributions)),
    );
    let severity = format!("{:?}", alarm.severity).to_lowercase();
    tell(
        alarm.raised_at,
        "alarm",
        format!("raised for {}, {severity} at its worst", alarm.mode),
    );
    if let Some(cleared_at) = alarm.cleared_at {
        tell(
            cleared_at,
            "alarm",
            "cleared: the evidence is gone".to_owned(),
        );
    }
}

fn reasons(contributions: &[Contribution]) -> String {
    if contributions.is_empty() {
        return "no reasons were recorded".to_owned();
    }
    let named: Vec<String> = contributions
        .iter()
        .take(REASONS_MAX)
        .map(|c| {
            format!(
                "{} {:.4}, expected {:.4} ({})",
                c.name, c.seen, c.expected, c.reason
            )
        })
        .collect();
    named.join("; ")
}

async fn told_of_decisions(
    store: &dyn Store,
    device: &DeviceId,
    alarm: &AlarmId,
    steps: &mut Vec<TraceStep>,
) -> Result<(), StoreError> {
    let mut found = newest(LOOKED_THROUGH, |page| store.decisions(Some(device), page)).await?;
    found.retain(|decision| decision.alarm == *alarm);
    found.reverse();
    // Of decisions that repeat each other the first says it.
    let mut last = None;
    for decision in found {
        if last.replace(decision.act) != Some(decision.act) {
            steps.push(TraceStep {
                at: decision.at,
                kind: "decision",
                by: None,
                what: format!(
                    "{}: {}",
                    if decision.act { "to act" } else { "to wait" },
                    decision.why
                ),
            });
        }
    }
    Ok(())
}

fn told_of_ticket(ticket: &Ticket, is_one_of_many: bool, steps: &mut Vec<TraceStep>) {
    let name = if is_one_of_many {
        format!("{} ", ticket.id)
    } else {
        String::new()
    };
    for change in &ticket.history {
        let state = match (change.from == Some(change.to), change.why.is_empty()) {
            (true, _) => String::new(),
            (false, true) => change.to.label().to_owned(),
            (false, false) => format!("{}: ", change.to.label()),
        };
        steps.push(TraceStep {
            at: change.at,
            kind: "ticket",
            by: Some(change.by.name.clone()),
            what: format!("{name}{state}{}", change.why),
        });
    }
    if let (Some(verdict), Some(resolved)) = (
        &ticket.verdict,
        ticket
            .history
            .iter()
            .rev()
            .find(|c| c.enters(TicketState::Resolved)),
    ) {
        steps.push(TraceStep {
            at: resolved.at,
            kind: "verdict",
            by: Some(resolved.by.name.clone()),
            what: format!("{name}{}", verdict.label().replace('_', " ")),
        });
    }
}

fn told_of_part(reservation: &Reservation, steps: &mut Vec<TraceStep>) {
    let from = match &reservation.supply {
        Supply::Stock { depot } => format!("from the shelf in {depot}"),
        Supply::Transfer { from, to } => format!("from {from}, sent to {to}"),
        Supply::BackOrder { to } => format!("ordered for {to}"),
    };
    steps.push(TraceStep {
        at: reservation.reserved_at,
        kind: "part",
        by: None,
        what: format!(
            "{} x {}{} {from}, there {}, needed {}; now {}{}",
            reservation.quantity,
            reservation.part,
            reservation
                .instead_of
                .as_ref()
                .map(|wanted| format!(" (instead of {wanted})"))
                .unwrap_or_default(),
            reservation.available_at,
            reservation.needed_at,
            reservation.state.label().replace('_', " "),
            if reservation.used > 0 {
                format!(", {} used", reservation.used)
            } else {
                String::new()
            }
        ),
    });
}

async fn told_of_work(
    store: &dyn Store,
    ticket: TicketId,
    needs_to_know: bool,
    steps: &mut Vec<TraceStep>,
) -> Result<(), StoreError> {
    for entry in newest(LOOKED_THROUGH, |page| store.ticket_entries(ticket, page)).await? {
        let what = match &entry.body {
            // What customers and technicians write to each other is on the ticket.
            EntryBody::Note { .. } => "a note".to_owned(),
            EntryBody::Time { .. } if !needs_to_know => "time spent".to_owned(),
            EntryBody::Attachment(_) if !needs_to_know => "a file".to_owned(),
            EntryBody::Time { minutes, what } if what.is_empty() => format!("{minutes} min"),
            EntryBody::Time { minutes, what } => format!("{minutes} min: {what}"),
            EntryBody::Attachment(file) => match &file.signed_by {
                Some(name) => format!("signed by {name}"),
                None => format!("{} attached", file.name),
            },
        };
        steps.push(TraceStep {
            at: entry.at,
            kind: "work",
            by: Some(entry.by.name),
            what,
        });
    }
    Ok(())
}

async fn told_of_customer(
    store: &dyn Store,
    ticket: TicketId,
    steps: &mut Vec<TraceStep>,
) -> Result<(), StoreError> {
    let filter = DeliveryFilter {
        ticket: Some(ticket),
        ..DeliveryFilter::default()
    };
    for delivery in newest(LOOKED_THROUGH, |page| store.deliveries(&filter, page)).await? {
        steps.push(TraceStep {
            at: delivery.updated_at,
            kind: "told",
            by: None,
            what: format!(
                "{} of {} by {}: {}",
                delivery.recipient,
                delivery.notice.what.label(),
                delivery.channel,
                delivery.state.label()
            ),
        });
    }
    for answer in newest(LOOKED_THROUGH, |page| {
        store.survey_answers(Some(ticket), page)
    })
    .await?
    {
        let mut said = Vec::new();
        said.extend(answer.solved.map(|solved| {
            let word = if solved { "solved" } else { "not solved" };
            word.to_owned()
        }));
        said.extend(answer.csat.map(|n| format!("CSAT {n} of 5")));
        said.extend(answer.nps.map(|n| format!("NPS {n} of 10")));
        said.extend(answer.ces.map(|n| format!("CES {n} of 7")));
        steps.push(TraceStep {
            at: answer.at,
            kind: "answer",
            by: None,
            what: said.join(", "),
        });
    }
    Ok(())
}
