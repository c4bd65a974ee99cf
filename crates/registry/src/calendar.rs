//! Working calendars by name. What hours come to is reckoned in `care`, whose own form is stored.

use forecare_care::calendar::{CalendarFile, WeekFile};
use serde::{Deserialize, Serialize};

use crate::fault::Faults;

/// A working calendar: of a contract's clocks, or of a technician's shifts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = WorkingCalendar))]
pub struct Calendar {
    /// What people call it.
    pub name: String,
    /// `{"around_the_clock": true}`, or time zone, opening hours of a week and dates with other hours:
    /// `{"time_zone": "Europe/Zurich", "week": {"mon": ["08:00-12:00", "13:00-17:00"], "fri": ["22:00-06:00"]},
    /// "holiday": [{"date": "2026-12-25", "title": "Christmas Day"}, {"date": "2026-12-24", "hours": ["08:00-12:00"]}]}`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub hours: CalendarFile,
}

impl Calendar {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("name", &self.name);
        for (i, holiday) in self.hours.holidays.iter().enumerate() {
            if !holiday.title.is_empty() {
                faults.line(format!("hours.holiday[{i}].title"), &holiday.title);
            }
        }
        if let Err(error) = forecare_care::Calendar::try_from(self.hours.clone()) {
            faults.add("hours", error.to_string());
        }
    }
}

/// Whether `span` is hours of a day, `22:00-07:00`.
pub(crate) fn is_span(span: &str) -> bool {
    let week = WeekFile {
        mon: vec![span.to_owned()],
        ..WeekFile::default()
    };
    let probe = CalendarFile {
        around_the_clock: false,
        time_zone: "UTC".to_owned(),
        week,
        holidays: Vec::new(),
    };
    forecare_care::Calendar::try_from(probe).is_ok()
}

/// Whether `name` is in the IANA time zone database.
pub(crate) fn is_time_zone(name: &str) -> bool {
    let probe = CalendarFile {
        around_the_clock: true,
        time_zone: name.to_owned(),
        week: WeekFile::default(),
        holidays: Vec::new(),
    };
    !name.is_empty() && forecare_care::Calendar::try_from(probe).is_ok()
}
