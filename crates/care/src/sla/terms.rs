//! What a customer is promised: targets by priority, the calendar they count by, pauses, escalation.

use std::collections::BTreeSet;

use forecare_domain::{Hold, Priority, SlaKind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Calendar;

/// Most levels of an escalation chain, both clocks together.
const LEVELS_MAX: usize = 20;
/// Longest target, hours: ten years.
const HOURS_MAX: f64 = 87_660.0;
const HOUR_MS: f64 = 3_600_000.0;

/// The terms of a contract, or those of everybody without one. In TOML and JSON a [`SlaTermsFile`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SlaTermsFile", into = "SlaTermsFile")]
pub struct SlaTerms {
    file: SlaTermsFile,
    always: Calendar,
}

/// [`SlaTerms`] as written. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlaTermsFile {
    /// What the terms are called, such as the contract's number.
    pub name: String,
    /// The calendar by which time counts.
    pub calendar: Calendar,
    /// True: time on hold for a vendor does not count. (On hold for the customer never does.)
    #[serde(default)]
    pub pause_on_vendor: bool,
    /// True: time on hold for a part does not count.
    #[serde(default)]
    pub pause_on_part: bool,
    /// Targets of P1.
    pub p1: SlaTargets,
    /// Targets of P2.
    pub p2: SlaTargets,
    /// Targets of P3.
    pub p3: SlaTargets,
    /// Targets of P4.
    pub p4: SlaTargets,
    /// Who is told when.
    #[serde(default, rename = "escalation", skip_serializing_if = "Vec::is_empty")]
    pub escalations: Vec<Escalation>,
}

/// The targets of one priority, hours of working time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlaTargets {
    /// Until a person has taken the ticket up. Above 0.
    pub first_response_hours: f64,
    /// Until the work is done. Above 0.
    pub resolution_hours: f64,
    /// True: counts every hour, whatever the calendar.
    #[serde(default)]
    pub around_the_clock: bool,
}

/// A level of the escalation chain. Exactly one of `at_percent` and `after_hours` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// Number of the level; one of a kind per clock. What has been escalated is remembered by it.
    pub level: u16,
    /// The clock it looks at.
    pub clock: SlaKind,
    /// When so many percent of the target are used, 1 to 1000: beyond 100 it is late already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_percent: Option<u16>,
    /// When so many hours have been used, whatever the target. Above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_hours: Option<f64>,
    /// Who is told: names of people or roles. At least one.
    pub to: Vec<String>,
}

/// What is wrong with terms, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SlaTermsError {
    /// No name.
    #[error("name must not be empty")]
    Unnamed,
    /// A number of hours that makes no target.
    #[error("{key} = {hours} must be above 0 and at most {HOURS_MAX}")]
    Hours {
        /// The key.
        key: String,
        /// Its value.
        hours: f64,
    },
    /// A target for the response after that for the resolution.
    #[error("{0}: first_response_hours must not exceed resolution_hours")]
    ResponseAfterResolution(&'static str),
    /// Neither or both triggers.
    #[error("escalation level {0}: give either at_percent or after_hours")]
    Trigger(u16),
    /// A percentage out of range.
    #[error("escalation level {level}: at_percent = {percent} must be 1 to 1000")]
    Percent {
        /// The level.
        level: u16,
        /// Its value.
        percent: u16,
    },
    /// Nobody to tell.
    #[error("escalation level {0}: to names nobody")]
    Nobody(u16),
    /// The same level twice on one clock.
    #[error("escalation level {level} of {} is given twice", clock.label())]
    LevelTwice {
        /// The level.
        level: u16,
        /// Its clock.
        clock: SlaKind,
    },
    /// More than the limit.
    #[error("escalation: more than {LEVELS_MAX} levels")]
    TooManyLevels,
}

impl TryFrom<SlaTermsFile> for SlaTerms {
    type Error = SlaTermsError;

    fn try_from(file: SlaTermsFile) -> Result<Self, SlaTermsError> {
        if file.name.trim().is_empty() {
            return Err(SlaTermsError::Unnamed);
        }
        for (priority, targets) in [
            ("p1", &file.p1),
            ("p2", &file.p2),
            ("p3", &file.p3),
            ("p4", &file.p4),
        ] {
            let (first, last) = (targets.first_response_hours, targets.resolution_hours);
            hours(&format!("{priority}.first_response_hours"), first)?;
            hours(&format!("{priority}.resolution_hours"), last)?;
            if first > last {
                return Err(SlaTermsError::ResponseAfterResolution(priority));
            }
        }
        if file.escalations.len() > LEVELS_MAX {
            return Err(SlaTermsError::TooManyLevels);
        }
        let mut levels = BTreeSet::new();
        for e in &file.escalations {
            match (e.at_percent, e.after_hours) {
                (Some(percent), None) if !(1..=1_000).contains(&percent) => {
                    return Err(SlaTermsError::Percent {
                        level: e.level,
                        percent,
                    });
                }
                (Some(_), None) => {}
                (None, Some(value)) => {
                    hours(&format!("escalation level {}: after_hours", e.level), value)?;
                }
                (None, None) | (Some(_), Some(_)) => return Err(SlaTermsError::Trigger(e.level)),
            }
            if e.to.iter().all(|name| name.trim().is_empty()) {
                return Err(SlaTermsError::Nobody(e.level));
            }
            if !levels.insert((e.clock, e.level)) {
                return Err(SlaTermsError::LevelTwice {
                    level: e.level,
                    clock: e.clock,
                });
            }
        }
        Ok(Self {
            file,
            always: Calendar::around_the_clock(),
        })
    }
}

impl From<SlaTerms> for SlaTermsFile {
    fn from(terms: SlaTerms) -> Self {
        terms.file
    }
}

fn hours(key: &str, hours: f64) -> Result<(), SlaTermsError> {
    // Below a millisecond nothing could be counted.
    if hours * HOUR_MS >= 1.0 && hours <= HOURS_MAX {
        Ok(())
    } else {
        Err(SlaTermsError::Hours {
            key: key.to_owned(),
            hours,
        })
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "checked to be between 1 ms and ten years"
)]
fn ms(hours: f64) -> i64 {
    (hours * HOUR_MS).round() as i64
}

impl SlaTerms {
    /// What they are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// The chain.
    #[must_use]
    pub fn escalations(&self) -> &[Escalation] {
        &self.file.escalations
    }

    pub(super) fn targets(&self, priority: Priority) -> &SlaTargets {
        match priority {
            Priority::P1 => &self.file.p1,
            Priority::P2 => &self.file.p2,
            Priority::P3 => &self.file.p3,
            Priority::P4 => &self.file.p4,
        }
    }

    /// The calendar by which tickets of `priority` count.
    #[must_use]
    pub fn calendar(&self, priority: Priority) -> &Calendar {
        if self.targets(priority).around_the_clock {
            &self.always
        } else {
            &self.file.calendar
        }
    }

    /// The target of a clock, milliseconds of working time.
    #[must_use]
    pub fn target_ms(&self, kind: SlaKind, priority: Priority) -> i64 {
        let targets = self.targets(priority);
        ms(match kind {
            SlaKind::FirstResponse => targets.first_response_hours,
            SlaKind::Resolution => targets.resolution_hours,
        })
    }

    /// When work of `priority` that nothing holds up is promised to be done, opened at `from`. `None`: beyond what the
    /// calendar knows.
    #[must_use]
    pub fn resolved_by(&self, priority: Priority, from: Timestamp) -> Option<Timestamp> {
        let target_ms = self.target_ms(SlaKind::Resolution, priority);
        self.calendar(priority).after_open_ms(from, target_ms)
    }

    /// Does time on hold for this reason count?
    pub(super) fn pauses_on(&self, hold: Hold) -> bool {
        match hold {
            Hold::Customer => true,
            Hold::Vendor => self.file.pause_on_vendor,
            Hold::Part => self.file.pause_on_part,
        }
    }
}

impl Escalation {
    /// How much of its clock must be used, milliseconds, where the target is `target_ms`.
    pub(super) fn threshold_ms(&self, target_ms: i64) -> i64 {
        match (self.at_percent, self.after_hours) {
            (Some(percent), _) => share_ms(target_ms, percent),
            (None, Some(hours)) => ms(hours),
            // Not let through by the check.
            (None, None) => i64::MAX,
        }
    }
}

/// The first millisecond at which `percent` of `target_ms` are used.
pub(super) fn share_ms(target_ms: i64, percent: u16) -> i64 {
    (target_ms * i64::from(percent) + 99) / 100
}
