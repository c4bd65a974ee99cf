//! Alarm episodes.

use forecare_domain::{Alarm, AlarmChange, AlarmSource, Contribution, Severity, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// How urgent an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SeverityDto {
    Warning,
    Critical,
}

impl From<Severity> for SeverityDto {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

/// What raised an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmSourceDto {
    /// An engineering limit.
    Limit,
    /// A departure from the device's own baseline.
    Anomaly,
    /// The failure probability of a model.
    Prognosis,
}

impl From<AlarmSource> for AlarmSourceDto {
    fn from(source: AlarmSource) -> Self {
        match source {
            AlarmSource::Limit => Self::Limit,
            AlarmSource::Anomaly => Self::Anomaly,
            AlarmSource::Prognosis => Self::Prognosis,
        }
    }
}

/// One reason of an alarm.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ContributionDto {
    /// The metric, or the feature of a model.
    pub(crate) name: String,
    /// Share in the whole, 0 to 1.
    pub(crate) share: f64,
    /// What was to be expected, in the metric's unit.
    pub(crate) expected: f64,
    /// What was seen, in the metric's unit.
    pub(crate) seen: f64,
    /// What fired, in words.
    pub(crate) reason: String,
}

impl From<Contribution> for ContributionDto {
    fn from(c: Contribution) -> Self {
        Self {
            name: c.name,
            share: c.share,
            expected: c.expected,
            seen: c.seen,
            reason: c.reason,
        }
    }
}

/// An alarm episode: one per device and failure mode while it lasts.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AlarmDto {
    /// Id of the episode.
    pub(crate) id: String,
    /// The device.
    pub(crate) device_id: String,
    /// The failure mode; `unknown` where no signature fits.
    pub(crate) mode: String,
    /// What raised it.
    pub(crate) source: AlarmSourceDto,
    /// Highest severity reached so far.
    pub(crate) severity: SeverityDto,
    /// True while the condition holds.
    pub(crate) active: bool,
    /// True once a person has seen it.
    pub(crate) acknowledged: bool,
    /// Time of the reading that raised it.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) raised_at: Timestamp,
    /// Time of the reading that last changed it.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Timestamp,
    /// Time of the reading that cleared it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) cleared_at: Option<Timestamp>,
    /// Strength of the evidence, 0 to 1.
    pub(crate) strength: f64,
    /// Why, largest share first.
    pub(crate) contributions: Vec<ContributionDto>,
}

impl From<Alarm> for AlarmDto {
    fn from(a: Alarm) -> Self {
        Self {
            id: a.id.0,
            device_id: a.device.into(),
            mode: a.mode.into(),
            source: a.source.into(),
            severity: a.severity.into(),
            active: a.active,
            acknowledged: a.acknowledged,
            raised_at: a.raised_at,
            updated_at: a.updated_at,
            cleared_at: a.cleared_at,
            strength: a.strength,
            contributions: a.contributions.into_iter().map(Into::into).collect(),
        }
    }
}

/// What happened to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeDto {
    Raised,
    Escalated,
    Cleared,
}

/// A change of an alarm episode, as on the stream.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AlarmChangeDto {
    /// What happened.
    pub(crate) change: ChangeDto,
    /// The episode after it.
    pub(crate) alarm: AlarmDto,
}

impl From<AlarmChange> for AlarmChangeDto {
    fn from(change: AlarmChange) -> Self {
        let (change, alarm) = match change {
            AlarmChange::Raised(alarm) => (ChangeDto::Raised, alarm),
            AlarmChange::Escalated(alarm) => (ChangeDto::Escalated, alarm),
            AlarmChange::Cleared(alarm) => (ChangeDto::Cleared, alarm),
        };
        Self {
            change,
            alarm: alarm.into(),
        }
    }
}
