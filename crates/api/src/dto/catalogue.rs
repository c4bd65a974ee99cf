//! What can be named: classes, failure modes, parts, depots, kinds of tickets.

use forecare_care::TicketRules;
use forecare_care::ticket_rules::{FieldSpec, FieldType, TicketType};
use forecare_catalogue::{AssetClass, Catalogue, FailureMode, MetricSpec, PartSpec};
use serde::Serialize;
use utoipa::ToSchema;

/// What can be named in tickets, parts and records: the instance's catalogue, and its kinds of tickets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Catalogue)]
pub(crate) struct CatalogueDto {
    /// Currency of all costs, such as `EUR`.
    currency: String,
    /// Classes of machines.
    classes: Vec<ClassDto>,
    /// Spare parts.
    parts: Vec<CataloguePartDto>,
    /// Parts that are needed together.
    kits: Vec<CatalogueKitDto>,
    /// Places that parts are reserved at, nearest first.
    depots: Vec<NamedDto>,
    /// Kinds of tickets.
    ticket_kinds: Vec<TicketKindDto>,
}

/// A name, and what people call it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Named)]
pub(crate) struct NamedDto {
    /// As it is named in requests.
    name: String,
    /// As people call it.
    title: String,
}

/// A class of machines.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AssetClass)]
pub(crate) struct ClassDto {
    /// Its name.
    name: String,
    /// What people call it.
    title: String,
    /// How far ahead probabilities of failure look, hours.
    horizon_hours: f64,
    /// Usual time between two readings, seconds.
    sample_interval_s: f64,
    /// What its machines measure.
    metrics: Vec<MetricDto>,
    /// How its machines fail, last what no signature explains.
    failure_modes: Vec<FailureModeDto>,
}

/// A metric.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Metric)]
pub(crate) struct MetricDto {
    /// Its name.
    name: String,
    /// Its unit.
    unit: String,
    /// True: it describes the operating point, not health.
    operating_point: bool,
    /// Below: critical.
    critical_low: Option<f64>,
    /// Below: warning.
    warning_low: Option<f64>,
    /// Above: warning.
    warning_high: Option<f64>,
    /// Above: critical.
    critical_high: Option<f64>,
}

/// A way to fail, and what is done about it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FailureMode)]
pub(crate) struct FailureModeDto {
    /// Its name within the class.
    name: String,
    /// What people call it.
    title: String,
    /// Failure mode code of ISO 14224; may be empty.
    iso14224: String,
    /// The component that is replaced.
    component: Option<String>,
    /// The standard procedure; may be empty.
    procedure: String,
    /// Skills the work needs.
    skills: Vec<String>,
    /// Certificates that must be valid on the day of the work.
    certificates: Vec<String>,
    /// True: somebody may get hurt by the failure.
    safety: bool,
    /// Work expected, hours.
    work_hours: f64,
    /// Parts the work needs; those of kits are named one by one.
    parts: Vec<PartQuantityDto>,
}

/// So many of a part.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PartQuantity)]
pub(crate) struct PartQuantityDto {
    /// The part, or the kit.
    part: String,
    /// How many.
    quantity: u32,
}

/// A part as the catalogue has it; stock and holds are at `/api/v1/parts`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CataloguePart)]
pub(crate) struct CataloguePartDto {
    /// Its number.
    number: String,
    /// What people call it.
    title: String,
    /// The supplier's lead time, hours.
    lead_time_hours: f64,
    /// Price of one, in the catalogue's currency.
    unit_cost: f64,
    /// What has taken its place.
    superseded_by: Option<String>,
    /// What may stand in for it, the preferred one first.
    substitutes: Vec<String>,
    /// How its pieces are told apart: `no`, `batch` or `serial`.
    tracked: String,
}

/// A kit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogueKit)]
pub(crate) struct CatalogueKitDto {
    /// Its number.
    number: String,
    /// What people call it.
    title: String,
    /// What is in it.
    parts: Vec<PartQuantityDto>,
}

/// A kind of ticket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TicketKindInfo)]
pub(crate) struct TicketKindDto {
    /// Its name.
    name: String,
    /// What people call it.
    title: String,
    /// The standard procedure; may be empty.
    procedure: String,
    /// Skills the work needs.
    skills: Vec<String>,
    /// Work expected where no failure mode says, hours.
    work_hours: f64,
    /// Parts and kits that the work needs where no failure mode says.
    parts: Vec<PartQuantityDto>,
    /// Fields of its own.
    fields: Vec<TicketFieldDto>,
}

/// A field of a kind of ticket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TicketField)]
pub(crate) struct TicketFieldDto {
    /// Its name in `fields`.
    name: String,
    /// What people call it.
    title: String,
    /// `text` (at most 500 characters), `number`, `boolean`, `date` (`2026-12-24`) or `choice`.
    r#type: &'static str,
    /// True: no ticket is opened, and none resolved, without it.
    required: bool,
    /// What can be chosen, of a choice.
    choices: Vec<String>,
}

impl CatalogueDto {
    pub(crate) fn new(catalogue: &Catalogue, tickets: &TicketRules) -> Self {
        Self {
            currency: catalogue.currency.clone(),
            classes: catalogue.classes.iter().map(ClassDto::from).collect(),
            parts: catalogue.parts.iter().map(CataloguePartDto::from).collect(),
            kits: catalogue
                .kits
                .iter()
                .map(|kit| CatalogueKitDto {
                    number: kit.number.to_string(),
                    title: kit.title.clone(),
                    parts: kit
                        .parts
                        .iter()
                        .map(|p| quantity(&p.part, p.quantity))
                        .collect(),
                })
                .collect(),
            depots: catalogue
                .depots
                .iter()
                .map(|depot| NamedDto {
                    name: depot.name.to_string(),
                    title: depot.title.clone(),
                })
                .collect(),
            ticket_kinds: tickets.kinds().iter().map(TicketKindDto::from).collect(),
        }
    }
}

fn quantity(part: impl ToString, quantity: u32) -> PartQuantityDto {
    PartQuantityDto {
        part: part.to_string(),
        quantity,
    }
}

impl From<&AssetClass> for ClassDto {
    fn from(class: &AssetClass) -> Self {
        let modes = class.modes.iter().chain([&class.unknown_mode]);
        Self {
            name: class.name.to_string(),
            title: class.title.clone(),
            horizon_hours: class.horizon_hours,
            sample_interval_s: class.sample_interval_s,
            metrics: class.metrics.iter().map(MetricDto::from).collect(),
            failure_modes: modes.map(FailureModeDto::from).collect(),
        }
    }
}

impl From<&MetricSpec> for MetricDto {
    fn from(metric: &MetricSpec) -> Self {
        Self {
            name: metric.name.to_string(),
            unit: metric.unit.clone(),
            operating_point: metric.operating_point,
            critical_low: metric.limits.critical_low,
            warning_low: metric.limits.warning_low,
            warning_high: metric.limits.warning_high,
            critical_high: metric.limits.critical_high,
        }
    }
}

impl From<&FailureMode> for FailureModeDto {
    fn from(mode: &FailureMode) -> Self {
        Self {
            name: mode.name.to_string(),
            title: mode.title.clone(),
            iso14224: mode.iso14224.clone(),
            component: mode.component.as_ref().map(ToString::to_string),
            procedure: mode.procedure.clone(),
            skills: mode.skills.clone(),
            certificates: mode.certificates.clone(),
            safety: mode.is_safety,
            work_hours: mode.work_hours,
            parts: mode
                .parts
                .iter()
                .map(|p| quantity(&p.part, p.quantity))
                .collect(),
        }
    }
}

impl From<&PartSpec> for CataloguePartDto {
    fn from(part: &PartSpec) -> Self {
        Self {
            number: part.number.to_string(),
            title: part.title.clone(),
            lead_time_hours: part.lead_time_hours,
            unit_cost: part.unit_cost,
            superseded_by: part.superseded_by.as_ref().map(ToString::to_string),
            substitutes: part.substitutes.iter().map(ToString::to_string).collect(),
            tracked: part.tracking.label().to_owned(),
        }
    }
}

impl From<&TicketType> for TicketKindDto {
    fn from(kind: &TicketType) -> Self {
        Self {
            name: kind.name.to_string(),
            title: kind.title.clone(),
            procedure: kind.procedure.clone(),
            skills: kind.skills.clone(),
            work_hours: kind.work_hours,
            parts: kind
                .parts
                .iter()
                .map(|p| quantity(&p.part, p.quantity))
                .collect(),
            fields: kind.fields.iter().map(TicketFieldDto::from).collect(),
        }
    }
}

impl From<&FieldSpec> for TicketFieldDto {
    fn from(field: &FieldSpec) -> Self {
        Self {
            name: field.name.clone(),
            title: field.title.clone(),
            r#type: match field.of {
                FieldType::Text => "text",
                FieldType::Number => "number",
                FieldType::Boolean => "boolean",
                FieldType::Date => "date",
                FieldType::Choice => "choice",
            },
            required: field.required,
            choices: field.choices.clone(),
        }
    }
}
