//! What figures are counted from.

use std::collections::BTreeMap;

use forecare_domain::{
    AssetId, Channel, ModeName, Origin, ProductionImpact, SlaKind, Ticket, TicketId, TicketKind,
    TicketState, Timestamp, Verdict,
};

/// By what figures can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Class of the asset.
    Class,
    /// The maker's model.
    Model,
    /// The site it stands on.
    Site,
    /// The region that counts towards.
    Region,
    /// Whose it is.
    Customer,
    /// That customer's tier.
    Tier,
    /// The failure mode.
    Mode,
    /// Batch or serial number of the part that failed, where it was booked.
    Batch,
    /// Who did the work.
    Technician,
    /// The kind of ticket.
    Kind,
    /// Its priority.
    Priority,
    /// The ISO 8601 week of its opening, such as `2026-W05`.
    Week,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Class,
        Self::Model,
        Self::Site,
        Self::Region,
        Self::Customer,
        Self::Tier,
        Self::Mode,
        Self::Batch,
        Self::Technician,
        Self::Kind,
        Self::Priority,
        Self::Week,
    ];

    /// The name in JSON and in addresses.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Model => "model",
            Self::Site => "site",
            Self::Region => "region",
            Self::Customer => "customer",
            Self::Tier => "tier",
            Self::Mode => "mode",
            Self::Batch => "batch",
            Self::Technician => "technician",
            Self::Kind => "kind",
            Self::Priority => "priority",
            Self::Week => "week",
        }
    }

    /// The dimension of that name.
    #[must_use]
    pub fn named(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.label() == label)
    }
}

/// To what something counts; a dimension that is not known is missing.
pub type Cut = BTreeMap<Dimension, String>;

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Kept.
    Kept,
    /// Broken, whether the clock was stopped later or still runs.
    Broken,
    /// The clock runs and is not over yet.
    Running,
}

/// What the customer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// Satisfaction, 1 to 5.
    pub csat: Option<u8>,
    /// Would recommend, 0 to 10.
    pub nps: Option<u8>,
    /// Effort, 1 (hard) to 7 (easy).
    pub ces: Option<u8>,
}

/// One ticket, as the figures see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The ticket.
    pub ticket: TicketId,
    /// The machine.
    pub asset: AssetId,
    /// The failure mode expected, reported or found.
    pub mode: Option<ModeName>,
    /// To what it counts.
    pub cut: Cut,
    /// An alarm opened it: it says that something is about to fail.
    pub is_warning: bool,
    /// Something had failed when it was opened: corrective work that a device or a person asked for, who says that production
    /// suffers or somebody may get hurt, or where a fault was found.
    pub is_failure: bool,
    /// The machine stood until it was mended: a device reported it, or the person who did says that production stood.
    pub stood: bool,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its states and since when, oldest first; the first is that of its opening.
    pub states: Vec<(Timestamp, TicketState)>,
    /// When a person first took it up.
    pub responded_at: Option<Timestamp>,
    /// The promise of a first response; `None`: none was made, or it was cancelled.
    pub response: Option<Promise>,
    /// The promise of a resolution; `None`: none was made, or it was cancelled.
    pub resolution: Option<Promise>,
    /// What was found.
    pub verdict: Option<Verdict>,
    /// What the work and its parts cost, in the catalogue's currency; `None`: nothing was done, or it is not known.
    pub cost: Option<f64>,
    /// What the failure would have cost, as the decision had it.
    pub cost_of_failure: Option<f64>,
    /// What acting was expected to cost, as the decision had it.
    pub cost_of_acting: Option<f64>,
    /// How long its parts take to come, hours.
    pub part_lead_hours: Option<f64>,
    /// Whether all its parts lay on the shelf of its depot when they were reserved; `None`: it needs none.
    pub at_hand: Option<bool>,
    /// What the customer answered.
    pub answers: Answers,
}

/// Whether `ticket` tells of something that has failed: corrective work that a person or a device asked for, not a
/// schedule or a rule. What a person reports while production goes on is a failure once one was found.
fn tells_of_failure(ticket: &Ticket) -> bool {
    let is_asked_for = match ticket.origin {
        Origin::Alarm | Origin::Person { .. } | Origin::Event { .. } => true,
        Origin::Schedule { .. } | Origin::Automation { .. } => false,
    };
    let is_found = matches!(
        ticket.verdict,
        Some(Verdict::Confirmed { .. } | Verdict::WrongMode { .. })
    );
    let report = ticket.work.report.as_ref();
    let is_felt = report.is_none_or(|r| r.safety || r.production != ProductionImpact::None);
    ticket.kind.as_str() == TicketKind::CORRECTIVE && is_asked_for && (is_felt || is_found)
}

impl Case {
    /// The case of `ticket`, with nothing known but what the ticket says itself.
    #[must_use]
    pub fn of(ticket: &Ticket, cut: Cut) -> Self {
        let mut states = vec![(ticket.opened_at, TicketState::New)];
        let mut responded_at = None;
        for change in &ticket.history {
            let by_person = match change.by.channel {
                Channel::Api | Channel::Console | Channel::Cli => true,
                Channel::System | Channel::Device | Channel::Customer | Channel::Email => false,
            };
            if change.from.is_some() && change.from != Some(change.to) {
                states.push((change.at, change.to));
                if by_person && responded_at.is_none() {
                    responded_at = Some(change.at);
                }
            }
        }
        let promise = |kind| {
            let sla = ticket.sla.as_ref().filter(|sla| !sla.void)?;
            let clock = sla.clock(kind);
            Some(if clock.elapsed_ms > clock.target_ms {
                Promise::Broken
            } else if clock.stopped_at.is_some() {
                Promise::Kept
            } else {
                Promise::Running
            })
        };
        let decision = ticket.decision.as_ref();
        Self {
            ticket: ticket.id,
            asset: ticket.asset.clone(),
            mode: ticket.mode.clone(),
            cut,
            is_warning: ticket.is_predicted(),
            is_failure: tells_of_failure(ticket),
            stood: ticket
                .work
                .report
                .as_ref()
                .is_none_or(|report| report.production == ProductionImpact::Stopped),
            opened_at: ticket.opened_at,
            states,
            responded_at,
            response: promise(SlaKind::FirstResponse),
            resolution: promise(SlaKind::Resolution),
            verdict: ticket.verdict.clone(),
            cost: None,
            cost_of_failure: decision.map(|d| d.cost_of_failure),
            cost_of_acting: decision.map(|d| d.cost_of_acting),
            part_lead_hours: decision.map(|d| d.part_lead_hours),
            at_hand: None,
            answers: Answers::default(),
        }
    }

    /// The failure mode that was found where it was another than expected, else the one expected or reported.
    #[must_use]
    pub fn found_mode(&self) -> Option<&ModeName> {
        match &self.verdict {
            Some(Verdict::WrongMode { actual }) => Some(actual),
            Some(
                Verdict::Confirmed { .. }
                | Verdict::NoFaultFound
                | Verdict::DataFault
                | Verdict::TooEarly
                | Verdict::Done,
            )
            | None => self.mode.as_ref(),
        }
    }

    /// Its state at `at`; `None`: it was not open yet.
    #[must_use]
    pub fn state_at(&self, at: Timestamp) -> Option<TicketState> {
        let past = self.states.iter().rev().find(|(since, _)| *since <= at);
        past.map(|(_, state)| *state)
    }

    /// When it first came to `state`.
    #[must_use]
    pub fn first(&self, state: TicketState) -> Option<Timestamp> {
        let found = self.states.iter().find(|(_, s)| *s == state);
        found.map(|(at, _)| *at)
    }

    /// When it last came to `state`.
    #[must_use]
    pub fn last(&self, state: TicketState) -> Option<Timestamp> {
        let found = self.states.iter().rev().find(|(_, s)| *s == state);
        found.map(|(at, _)| *at)
    }
}

/// A machine that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Its asset.
    pub asset: AssetId,
    /// To what it counts.
    pub cut: Cut,
    /// Since when.
    pub since: Timestamp,
}

/// A machine failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure<'a> {
    /// The ticket that tells of it.
    pub case: &'a Case,
    /// When.
    pub at: Timestamp,
    /// When it ran again; `None`: it does not yet.
    pub mended_at: Option<Timestamp>,
}

/// The failures that `cases` tell of: tickets for something that had failed, unless it turned out that nothing had.
pub fn failures_of<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Vec<Failure<'a>> {
    cases
        .into_iter()
        .filter(|case| {
            let was_nothing = matches!(
                case.verdict,
                Some(Verdict::NoFaultFound | Verdict::DataFault)
            );
            let is_cancelled = case.first(TicketState::Cancelled).is_some();
            case.is_failure && !was_nothing && !is_cancelled
        })
        .map(|case| Failure {
            case,
            at: case.opened_at,
            // One that was reopened is not mended before it is resolved again.
            mended_at: case.last(TicketState::Resolved).filter(|at| {
                case.last(TicketState::Reopened)
                    .is_none_or(|again| again < *at)
            }),
        })
        .collect()
}
