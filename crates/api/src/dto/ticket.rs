//! Tickets.

use std::collections::BTreeMap;

use super::MarksDto;
use forecare_care::sla::SlaReading;
use forecare_domain::{
    ChecklistItem, Decision, FieldValue, Origin, ProductionImpact, Report, Ticket, TicketChange,
    TicketState, Timestamp, Urgency,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::part::ChannelDto;
use super::{
    ContributionDto, DispatchOverrideDto, DispatchProposalDto, ReservationDto, RulDto, SlaClockDto,
    SurveyAnswerDto, VerdictDto,
};
use crate::cost::TicketCostDto;
use crate::for_whom::TicketCustomerDto;
use crate::ticket_search::priority_label;

/// The numbers behind acting or waiting.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DecisionDto {
    /// When it was weighed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// The alarm episode behind it.
    pub(crate) alarm_id: String,
    /// Probability of failure used, 0 to 1.
    pub(crate) probability: f64,
    /// Where it comes from: `model` or `alarm precision`.
    pub(crate) probability_source: String,
    /// Horizon of the probability, hours.
    pub(crate) horizon_hours: f64,
    /// Currency of the costs.
    pub(crate) currency: String,
    /// Cost of an unplanned failure.
    pub(crate) cost_of_failure: f64,
    /// Cost of a planned visit with its parts.
    pub(crate) cost_of_acting: f64,
    /// Probability x cost of failure.
    pub(crate) expected_cost_of_waiting: f64,
    /// Longest lead time of the parts needed, hours.
    pub(crate) part_lead_hours: f64,
    /// True: a ticket is due.
    pub(crate) act: bool,
    /// The reasoning in a sentence.
    pub(crate) why: String,
}

impl DecisionDto {
    pub(crate) fn new(d: Decision, currency: &str) -> Self {
        Self {
            at: d.at,
            alarm_id: d.alarm.0,
            probability: d.probability,
            probability_source: d.probability_source,
            horizon_hours: d.horizon_hours,
            currency: currency.to_owned(),
            cost_of_failure: d.cost_of_failure,
            cost_of_acting: d.cost_of_acting,
            expected_cost_of_waiting: d.expected_cost_of_waiting,
            part_lead_hours: d.part_lead_hours,
            act: d.act,
            why: d.why,
        }
    }
}

/// What opened a ticket.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct OriginDto {
    /// `alarm`, `person`, `schedule`, `event` or `automation`.
    pub(crate) from: &'static str,
    /// The person's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// From where the person came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<ChannelDto>,
    /// The schedule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<String>,
    /// The schedule's occurrence: hours since the asset was registered, or the counter's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<f64>,
    /// The event's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    /// The rule of automation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
}

impl From<&Origin> for OriginDto {
    fn from(origin: &Origin) -> Self {
        let mut dto = Self {
            from: origin.label(),
            by: None,
            channel: None,
            schedule: None,
            position: None,
            code: None,
            rule: None,
        };
        match origin {
            Origin::Alarm => {}
            Origin::Person { by } => {
                dto.by = Some(by.name.clone());
                dto.channel = Some(by.channel.into());
            }
            Origin::Schedule { schedule, position } => {
                dto.schedule = Some(schedule.to_string());
                dto.position = Some(*position);
            }
            Origin::Event { code } => dto.code = Some(code.clone()),
            Origin::Automation { rule, .. } => dto.rule = Some(rule.clone()),
        }
        dto
    }
}

/// What a fault does to production.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProductionImpactDto {
    /// Nothing, as far as is known.
    #[default]
    None,
    /// Less or worse is made.
    Reduced,
    /// Nothing is made.
    Stopped,
}

/// How soon somebody is needed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UrgencyDto {
    /// When convenient.
    Low,
    /// Within days.
    #[default]
    Medium,
    /// Now.
    High,
}

/// What a person told when opening a ticket.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReportDto {
    /// In their words; empty for those who only read.
    pub(crate) description: String,
    /// True: somebody may get hurt.
    pub(crate) safety: bool,
    /// What it does to production.
    pub(crate) production: ProductionImpactDto,
    /// How soon somebody is needed.
    pub(crate) urgency: UrgencyDto,
}

impl From<Report> for ReportDto {
    fn from(report: Report) -> Self {
        Self {
            description: report.description,
            safety: report.safety,
            production: match report.production {
                ProductionImpact::None => ProductionImpactDto::None,
                ProductionImpact::Reduced => ProductionImpactDto::Reduced,
                ProductionImpact::Stopped => ProductionImpactDto::Stopped,
            },
            urgency: match report.urgency {
                Urgency::Low => UrgencyDto::Low,
                Urgency::Medium => UrgencyDto::Medium,
                Urgency::High => UrgencyDto::High,
            },
        }
    }
}

/// A line of a ticket's checklist.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChecklistItemDto {
    /// What is to be done.
    pub(crate) text: String,
    /// True: the ticket is not resolved before it is done.
    pub(crate) required: bool,
    /// When it was done; null: not yet.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) done_at: Option<Timestamp>,
    /// Who has done it.
    pub(crate) done_by: Option<String>,
}

impl From<&ChecklistItem> for ChecklistItemDto {
    fn from(item: &ChecklistItem) -> Self {
        Self {
            text: item.text.clone(),
            required: item.required,
            done_at: item.done.as_ref().map(|done| done.at),
            done_by: item.done.as_ref().map(|done| done.by.name.clone()),
        }
    }
}

/// A ticket that somebody asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTicketDto {
    /// The machine.
    pub(crate) asset_id: String,
    /// What kind of work it is: `corrective`, `inspection`, `complaint`, or one of the configuration.
    #[schema(example = "corrective")]
    pub(crate) kind: String,
    /// One line for people, at most 200 characters; without it, made from kind and mode.
    #[serde(default)]
    pub(crate) title: String,
    /// What is wrong, in the reporter's words, at most 4,000 characters.
    #[serde(default)]
    pub(crate) description: String,
    /// True: somebody may get hurt.
    #[serde(default)]
    pub(crate) safety: bool,
    /// What it does to production.
    #[serde(default)]
    pub(crate) production: ProductionImpactDto,
    /// How soon somebody is needed.
    #[serde(default)]
    pub(crate) urgency: UrgencyDto,
    /// The failure mode, where it is known: brings procedure, skills and parts.
    #[serde(default)]
    pub(crate) mode: Option<String>,
    /// Fields of the kind, by name: text, number or true and false.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub(crate) fields: BTreeMap<String, FieldValue>,
    /// Number of the ticket it is a part of, or a visit after.
    #[serde(default)]
    pub(crate) parent_id: Option<i64>,
}

impl From<ProductionImpactDto> for ProductionImpact {
    fn from(impact: ProductionImpactDto) -> Self {
        match impact {
            ProductionImpactDto::None => Self::None,
            ProductionImpactDto::Reduced => Self::Reduced,
            ProductionImpactDto::Stopped => Self::Stopped,
        }
    }
}

impl From<UrgencyDto> for Urgency {
    fn from(urgency: UrgencyDto) -> Self {
        match urgency {
            UrgencyDto::Low => Self::Low,
            UrgencyDto::Medium => Self::Medium,
            UrgencyDto::High => Self::High,
        }
    }
}

/// One entry of a ticket's history.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TicketChangeDto {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Who.
    pub(crate) by: String,
    /// From where.
    pub(crate) channel: ChannelDto,
    /// State before; null on opening.
    pub(crate) from: Option<&'static str>,
    /// State after.
    pub(crate) to: &'static str,
    /// Why, in words.
    pub(crate) why: String,
}

impl From<TicketChange> for TicketChangeDto {
    fn from(c: TicketChange) -> Self {
        Self {
            at: c.at,
            by: c.by.name,
            channel: c.by.channel.into(),
            from: c.from.map(TicketState::label),
            to: c.to.label(),
            why: c.why,
        }
    }
}

/// A maintenance ticket, as in lists and on the stream.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TicketDto {
    /// The ticket's number.
    pub(crate) id: i64,
    /// Rises by one with every change: the ETag.
    pub(crate) version: i64,
    /// The asset.
    pub(crate) asset_id: String,
    /// Its device.
    pub(crate) device_id: String,
    /// What kind of work it is: `predictive`, `corrective`, `inspection`, `complaint` or one of the configuration.
    pub(crate) kind: String,
    /// What opened it.
    pub(crate) origin: OriginDto,
    /// The failure mode expected or reported; null where none is known.
    pub(crate) mode: Option<String>,
    /// `new`, `triaged`, `dispatched`, `accepted`, `in_progress`, `on_hold:customer`, `on_hold:vendor`,
    /// `on_hold:part`, `resolved`, `confirmed`, `closed`, `cancelled` or `reopened`.
    pub(crate) state: &'static str,
    /// True until it is resolved or cancelled.
    pub(crate) open: bool,
    /// `P1` (now) to `P4` (when convenient).
    pub(crate) priority: String,
    /// One line for people.
    pub(crate) title: String,
    /// Identifier of the standard procedure.
    pub(crate) procedure: String,
    /// Skills the technician must have.
    pub(crate) skills: Vec<String>,
    /// Who is to do it.
    pub(crate) technician: Option<String>,
    /// Time of the reading that raised the alarm, or of the event or report.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) detected_at: Timestamp,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) opened_at: Timestamp,
    /// When the work must be done at the latest.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) due_at: Timestamp,
    /// The technician's finding, once resolved.
    pub(crate) finding: Option<VerdictDto>,
}

impl From<&Ticket> for TicketDto {
    fn from(t: &Ticket) -> Self {
        Self {
            id: t.id.0,
            version: t.version,
            asset_id: t.asset.to_string(),
            device_id: t.device.to_string(),
            kind: t.kind.to_string(),
            origin: OriginDto::from(&t.origin),
            mode: t.mode.as_ref().map(ToString::to_string),
            state: t.state.label(),
            open: t.state.is_open(),
            priority: priority_label(t.priority).to_owned(),
            title: t.title.clone(),
            procedure: t.procedure.clone(),
            skills: t.skills.clone(),
            technician: t.technician.clone(),
            detected_at: t.detected_at,
            opened_at: t.opened_at,
            due_at: t.due_at,
            finding: t.verdict.clone().map(Into::into),
        }
    }
}

/// A ticket with everything that explains it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TicketDetailDto {
    /// The ticket.
    #[serde(flatten)]
    pub(crate) ticket: TicketDto,
    /// Evidence last seen.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) evidence_at: Timestamp,
    /// The decision that opened it; null where no alarm did.
    pub(crate) decision: Option<DecisionDto>,
    /// What the reporter told; null where nobody reported it.
    pub(crate) report: Option<ReportDto>,
    /// Certificates a technician must hold on the day, by its failure mode.
    pub(crate) certificates: Vec<String>,
    /// Work expected, hours; null: the failure mode's.
    pub(crate) work_hours: Option<f64>,
    /// Quantities of the parts it needs, by number, as a person, its schedule or its kind says; null: as its failure mode needs them.
    pub(crate) parts: Option<BTreeMap<String, u32>>,
    /// What is to be done, in order.
    pub(crate) checklist: Vec<ChecklistItemDto>,
    /// Fields of its kind, by name: text, number or true and false.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub(crate) fields: BTreeMap<String, FieldValue>,
    /// The ticket it is a part of, or a visit after.
    pub(crate) parent_id: Option<i64>,
    /// The ticket that goes on in its place.
    pub(crate) merged_into: Option<i64>,
    /// Verdicts that can be given on it.
    pub(crate) verdicts: Vec<&'static str>,
    /// The service levels it is under: `standard` or a contract's.
    pub(crate) terms: Option<String>,
    /// The reasons of the alarm, largest share first.
    pub(crate) contributions: Vec<ContributionDto>,
    /// Remaining useful life at opening.
    pub(crate) rul: RulDto,
    /// What happened to it, oldest first.
    pub(crate) history: Vec<TicketChangeDto>,
    /// States it can take from here.
    pub(crate) can_become: Vec<&'static str>,
    /// Its reservations, newest first.
    pub(crate) reservations: Vec<ReservationDto>,
    /// Its service level clocks as they stand now.
    pub(crate) sla: Vec<SlaClockDto>,
    /// What a planner has laid down; null: the dispatcher proposes.
    pub(crate) assignment: Option<DispatchOverrideDto>,
    /// What the dispatcher proposed last, until the ticket was sent out.
    pub(crate) proposal: Option<DispatchProposalDto>,
    /// What the customer said last about the work.
    pub(crate) survey: Option<SurveyAnswerDto>,
    /// For whom it is; null: the machine is nobody's in the registry.
    pub(crate) customer: Option<TicketCustomerDto>,
    /// Where the machine stands, the highest level first.
    pub(crate) place: Vec<String>,
    /// What it has cost so far; null: nothing was booked on it.
    pub(crate) cost: Option<TicketCostDto>,
    /// In the answer to its opening: other open tickets of the machine, newest first. It may be the same as one of them:
    /// then merge it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) also_open: Option<Vec<AlsoOpenDto>>,
}

/// Another open ticket of the same machine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlsoOpenDto {
    /// Its number.
    pub(crate) id: i64,
    /// Its title.
    pub(crate) title: String,
    /// Its state.
    pub(crate) state: &'static str,
    /// Its priority.
    pub(crate) priority: String,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) opened_at: Timestamp,
}

impl From<&Ticket> for AlsoOpenDto {
    fn from(t: &Ticket) -> Self {
        Self {
            id: t.id.0,
            title: t.title.clone(),
            state: t.state.label(),
            priority: priority_label(t.priority).to_owned(),
            opened_at: t.opened_at,
        }
    }
}

impl TicketDetailDto {
    pub(crate) fn new(
        t: Ticket,
        currency: &str,
        reservations: Vec<ReservationDto>,
        sla: impl IntoIterator<Item = SlaReading>,
        survey: Option<SurveyAnswerDto>,
        (place, customer): (Vec<String>, Option<TicketCustomerDto>),
        cost: Option<TicketCostDto>,
    ) -> Self {
        Self {
            survey,
            customer,
            place,
            cost,
            also_open: None,
            sla: sla.into_iter().map(Into::into).collect(),
            assignment: t.assignment.clone().map(Into::into),
            proposal: t.proposal.clone().map(Into::into),
            ticket: TicketDto::from(&t),
            evidence_at: t.evidence_at,
            certificates: Vec::new(),
            report: t.work.report.clone().map(Into::into),
            work_hours: t.work.work_hours,
            parts: t.work.parts.as_ref().map(|parts| {
                let quantities = parts.iter();
                quantities
                    .map(|p| (p.part.to_string(), p.quantity))
                    .collect()
            }),
            parent_id: t.work.parent.map(|id| id.0),
            merged_into: t.work.merged_into.map(|id| id.0),
            checklist: t.work.checklist.iter().map(Into::into).collect(),
            verdicts: forecare_care::verdicts(&t).to_vec(),
            terms: t.sla.as_ref().map(|sla| sla.terms.clone()),
            fields: t.work.fields,
            decision: t.decision.map(|d| DecisionDto::new(d, currency)),
            contributions: t.contributions.into_iter().map(Into::into).collect(),
            rul: t.rul.into(),
            history: t.history.into_iter().map(Into::into).collect(),
            can_become: forecare_care::allowed(t.state)
                .iter()
                .map(|s| s.label())
                .collect(),
            reservations,
        }
    }

    /// With the certificates that its failure mode asks for, and what else is open on the machine where that is told.
    pub(crate) fn with(
        self,
        certificates: Vec<String>,
        also_open: Option<Vec<AlsoOpenDto>>,
    ) -> Self {
        Self {
            certificates,
            also_open,
            ..self
        }
    }
}

/// A step in a ticket's life.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransitionDto {
    /// The state to take; see `can_become` of the ticket.
    #[schema(example = "triaged")]
    pub(crate) to: String,
    /// Why, in words, at most 500 characters.
    #[serde(default)]
    pub(crate) why: String,
    /// The finding; mandatory when `to` is `resolved`.
    pub(crate) finding: Option<VerdictDto>,
    /// Who is to do the work, where that changes.
    pub(crate) technician: Option<String>,
    /// Parts used, by number of the part or the kit, on resolution.
    #[serde(default)]
    pub(crate) parts_used: BTreeMap<String, u32>,
    /// Which pieces, by part number, of parts that are tracked.
    #[serde(default)]
    pub(crate) units_used: BTreeMap<String, MarksDto>,
}
