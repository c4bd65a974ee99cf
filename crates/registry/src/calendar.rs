//! Working hours and holidays, as they are kept. What they come to in hours is reckoned elsewhere.

use serde::{Deserialize, Serialize};

use crate::date::Date;
use crate::fault::Faults;

/// A working calendar: of a contract's clocks, or of a technician's shifts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Calendar {
    /// What people call it.
    pub name: String,
    /// The zone its hours are in, as the IANA database names it.
    pub time_zone: String,
    /// Hours of an ordinary week, in order; none at all: round the clock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekly: Vec<OpenHours>,
    /// Days without working hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<Holiday>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

/// A span of working time within one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenHours {
    /// The day.
    pub day: Weekday,
    /// Begin, local time: `08:00`.
    pub from: String,
    /// End, local time: `17:30`; `24:00` is the end of the day.
    pub to: String,
}

/// A day without working hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holiday {
    /// The day.
    pub date: Date,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Minutes since midnight of `HH:MM`, 00:00 to 24:00.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| -> Option<u16> {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0))).then(|| hours * 60 + minutes)
}

impl OpenHours {
    /// Begin and end in minutes since midnight; `None` where a text is no time of day.
    #[must_use]
    pub fn minutes(&self) -> Option<(u16, u16)> {
        Some((minutes(&self.from)?, minutes(&self.to)?))
    }
}

impl Calendar {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("name", &self.name);
        faults.time_zone("time_zone", &self.time_zone);
        faults.list_of("weekly", self.weekly.len(), 100);
        let mut before: Option<(Weekday, u16)> = None;
        for (i, hours) in self.weekly.iter().enumerate() {
            let Some((from, to)) = hours.minutes() else {
                faults.add(
                    format!("weekly[{i}].from"),
                    "use times such as 08:00 and 17:30",
                );
                continue;
            };
            if to <= from {
                faults.add(
                    format!("weekly[{i}].to"),
                    "must be later than from: a shift over midnight is two spans",
                );
            }
            if before.is_some_and(|(day, end)| (hours.day, from) < (day, end)) {
                faults.add(
                    format!("weekly[{i}].from"),
                    "overlaps the span before: give them in order of the week",
                );
            }
            before = Some((hours.day, to));
        }
        faults.list_of("holidays", self.holidays.len(), 2_000);
        let days: Vec<Date> = self.holidays.iter().map(|h| h.date).collect();
        faults.distinct("holidays", &days);
        for (i, holiday) in self.holidays.iter().enumerate() {
            faults.optional(format!("holidays[{i}].name"), holiday.name.as_deref());
        }
    }
}
