//! What kind of work a ticket is, and what is wrong: by a person who has read it.

use forecare_catalogue::{AssetClass, Catalogue, FailureMode};
use forecare_domain::{
    Actor, ChecklistItem, ModeName, Origin, PartUsed, PartWanted, Ticket, TicketKind, Timestamp,
};

use crate::lifecycle::record;
use crate::reporting::TITLE_CHARS_MAX;
use crate::ticket_rules::{CHECKLIST_MAX, Schedule, TicketRules, TicketType};
use crate::work::{WorkDone, WorkError, invalid, is_short, open, parts_named, with_reason};

/// A ticket as somebody classifies it. What is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Classification {
    /// The kind.
    pub kind: Option<TicketKind>,
    /// The failure mode of the machine's class; `Some(None)`: none is known.
    pub mode: Option<Option<ModeName>>,
    /// One line for people.
    pub title: Option<String>,
    /// Why, in words; may be empty.
    pub why: String,
}

/// What the order for a ticket says itself: that of a schedule, or of a rule. What is empty it leaves to failure mode and kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order<'a> {
    pub(crate) procedure: &'a str,
    pub(crate) skills: &'a [String],
    pub(crate) work_hours: Option<f64>,
    pub(crate) parts: &'a [PartWanted],
}

/// What a ticket's work needs.
pub(crate) struct CalledFor {
    pub(crate) procedure: String,
    pub(crate) skills: Vec<String>,
    pub(crate) work_hours: f64,
    /// `None`: as the failure mode says.
    pub(crate) parts: Option<Vec<PartWanted>>,
}

impl<'a> Order<'a> {
    /// What `schedule` says.
    pub(crate) fn of(schedule: &'a Schedule) -> Self {
        Self {
            procedure: &schedule.procedure,
            skills: &schedule.skills,
            work_hours: schedule.work_hours,
            parts: &schedule.parts,
        }
    }

    /// What a ticket of `kind` about `mode` of a machine of `class` needs. The most particular says: the order, then the
    /// failure mode, then the kind; where something is to be mended and none of them says, what the class's unknown mode does.
    pub(crate) fn calls_for(
        self,
        catalogue: &Catalogue,
        kind: &TicketType,
        mode: Option<&FailureMode>,
        class: &AssetClass,
    ) -> CalledFor {
        let unknown = Some(&class.unknown_mode).filter(|_| kind.name == TicketKind::corrective());
        let procedures = [
            self.procedure,
            mode.map_or("", |m| m.procedure.as_str()),
            kind.procedure.as_str(),
            unknown.map_or("", |m| m.procedure.as_str()),
        ];
        let procedure = procedures.into_iter().find(|p| !p.is_empty());
        let skills = [
            self.skills,
            mode.map_or(&[][..], |m| m.skills.as_slice()),
            kind.skills.as_slice(),
            unknown.map_or(&[][..], |m| m.skills.as_slice()),
        ];
        let skills = skills.into_iter().find(|s| !s.is_empty());
        let mode_says = mode.is_some_and(|m| !m.parts.is_empty());
        let work_hours = self.work_hours.or(mode.map(|m| m.work_hours));
        CalledFor {
            procedure: procedure.unwrap_or_default().to_owned(),
            skills: skills.unwrap_or_default().to_vec(),
            work_hours: work_hours.unwrap_or(kind.work_hours),
            parts: match self.parts {
                [] if mode_says || kind.parts.is_empty() => None,
                [] => Some(unpacked(catalogue, &kind.parts)),
                own => Some(unpacked(catalogue, own)),
            },
        }
    }
}

/// `parts` with each kit as the parts in it, each once; unknown numbers are left out: the configuration was checked.
pub(crate) fn unpacked(catalogue: &Catalogue, parts: &[PartWanted]) -> Vec<PartWanted> {
    let each = parts.iter().filter_map(|wanted| {
        let one: PartUsed = (wanted.part.clone(), wanted.quantity).into();
        parts_named(catalogue, vec![one]).ok()
    });
    let all: Vec<PartUsed> = each.flatten().collect();
    let merged = parts_named(catalogue, all).unwrap_or_default();
    let wanted = merged.into_iter().map(|used| PartWanted {
        part: used.part,
        quantity: used.quantity,
    });
    wanted.collect()
}

/// `ticket`, of a machine of `class`, as it is classified. Procedure, skills, hours and parts follow, unless somebody laid
/// parts down; lines of the checklist that are done stay, as do fields that the new kind has too. Of an alarm's ticket only
/// the title is changed: its verdict says what was wrong.
///
/// # Errors
/// What is wrong and what would be right; nothing has changed then.
pub fn classify(
    (catalogue, rules): (&Catalogue, &TicketRules),
    class: &AssetClass,
    ticket: &Ticket,
    wanted: Classification,
    by: Actor,
    now: Timestamp,
) -> Result<WorkDone, WorkError> {
    open(ticket)?;
    is_short("why", &wanted.why)?;
    if ticket.is_predicted() && (wanted.kind.is_some() || wanted.mode.is_some()) {
        return Err(WorkError::Conflict(format!(
            "{} is an alarm's: what was wrong instead is said by the verdict wrong_mode",
            ticket.id
        )));
    }
    let mut after = ticket.clone();
    let mut said = Vec::new();
    if let Some(title) = &wanted.title {
        let title = checked_title(title)?;
        if title != ticket.title {
            said.push(format!("title \"{}\" to \"{title}\"", ticket.title));
            title.clone_into(&mut after.title);
        }
    }
    let kind_name = wanted.kind.as_ref().unwrap_or(&ticket.kind);
    let mode_name = wanted.mode.as_ref().unwrap_or(&ticket.mode);
    if *kind_name != ticket.kind || *mode_name != ticket.mode {
        let kind = kind_of(rules, kind_name)?;
        let mode = mode_name.as_ref().map(|name| {
            let known = || {
                let names: Vec<&str> = class.modes.iter().map(|m| m.name.as_str()).collect();
                names.join(", ")
            };
            class.mode(name).ok_or_else(|| {
                let what = format!("the class {} has {}", class.name, known());
                invalid("mode", what)
            })
        });
        let mode = mode.transpose()?;
        if kind.name != ticket.kind {
            said.push(format!("kind {} to {}", ticket.kind, kind.name));
        }
        if *mode_name != ticket.mode {
            let named = |mode: &Option<ModeName>| {
                mode.as_ref()
                    .map_or("not known".to_owned(), ToString::to_string)
            };
            let (was, is) = (named(&ticket.mode), named(mode_name));
            said.push(format!("failure {was} to {is}"));
        }
        if mode.is_some_and(|mode| mode.is_safety) {
            said.push("somebody may get hurt, weigh the priority".to_owned());
        }
        let before = rules.kind(ticket.kind.as_str()).map(|kind| {
            let mode = ticket.mode.as_ref().and_then(|mode| class.mode(mode));
            let called_for = Order::default().calls_for(catalogue, kind, mode, class);
            called_for.procedure
        });
        let order = match &ticket.origin {
            Origin::Schedule { schedule, .. } => {
                let mut schedules = rules.schedules().iter();
                let found = schedules.find(|s| s.name == *schedule);
                found.map(Order::of).unwrap_or_default()
            }
            // What neither kind nor mode has said, the rule has.
            Origin::Automation { .. } if before.as_ref() != Some(&ticket.procedure) => Order {
                procedure: &ticket.procedure,
                ..Order::default()
            },
            Origin::Alarm
            | Origin::Person { .. }
            | Origin::Event { .. }
            | Origin::Automation { .. } => Order::default(),
        };
        let called_for = order.calls_for(catalogue, kind, mode, class);
        after.kind = kind.name.clone();
        after.mode.clone_from(mode_name);
        after.procedure = called_for.procedure;
        after.skills = called_for.skills;
        after.work.work_hours = Some(called_for.work_hours);
        if ticket.work.parts_by.is_none() {
            after.work.parts = called_for.parts;
        }
        after
            .work
            .fields
            .retain(|name, value| kind.takes(name, value));
        let fresh = rules.checklist(&kind.name, &class.name, &after.procedure);
        after.work.checklist = with_done(&ticket.work.checklist, fresh);
    }
    if said.is_empty() {
        return Ok(WorkDone::default());
    }
    let said = with_reason(said.join(", "), &wanted.why);
    record(&mut after, ticket.state, by, &said, now);
    Ok(WorkDone {
        ticket: Some(after),
        ..WorkDone::default()
    })
}

fn checked_title(title: &str) -> Result<&str, WorkError> {
    let title = title.trim();
    let n = title.chars().count();
    if n == 0 || n > TITLE_CHARS_MAX || title.chars().any(char::is_control) {
        let what = format!("write 1 to {TITLE_CHARS_MAX} characters in one line");
        return Err(invalid("title", what));
    }
    Ok(title)
}

fn kind_of<'a>(rules: &'a TicketRules, name: &TicketKind) -> Result<&'a TicketType, WorkError> {
    let can_be = |kind: &&TicketType| kind.name.as_str() != TicketKind::PREDICTIVE;
    let found = rules
        .kinds()
        .iter()
        .filter(can_be)
        .find(|k| k.name == *name);
    found.ok_or_else(|| {
        let names = rules.kinds().iter().filter(can_be);
        let names: Vec<&str> = names.map(|kind| kind.name.as_str()).collect();
        invalid("kind", format!("use {}", names.join(", ")))
    })
}

/// The lines of `fresh`, done where they were done in `before`, each once, and after them what was done beside them.
fn with_done(before: &[ChecklistItem], mut fresh: Vec<ChecklistItem>) -> Vec<ChecklistItem> {
    let mut done: Vec<&ChecklistItem> = before.iter().filter(|old| old.done.is_some()).collect();
    for line in &mut fresh {
        if let Some(at) = done.iter().position(|old| old.text == line.text) {
            line.done.clone_from(&done.remove(at).done);
        }
    }
    fresh.extend(done.into_iter().cloned());
    fresh.truncate(CHECKLIST_MAX);
    fresh
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use forecare_domain::{Done, FieldValue};

    use super::*;
    use crate::fixtures::{at, catalogue, class, mode, part, person, ticket};

    const RULES: &str = r#"
        [[kind]]
        name = "service"
        title = "Service"
        procedure = "SOP-S"
        skills = ["oil"]
        work_hours = 3
        part = [{ part = "SEAL-1", quantity = 2 }]
        [[kind.field]]
        name = "order"
        title = "Order"
        type = "text"
        required = true
        [[checklist]]
        kinds = ["service"]
        item = [{ text = "Lock out", required = true }, { text = "Change the oil" }]
    "#;

    fn rules() -> TicketRules {
        toml::from_str(RULES).unwrap()
    }

    fn of_person() -> Ticket {
        Ticket {
            kind: TicketKind::corrective(),
            origin: Origin::Person { by: person() },
            mode: None,
            decision: None,
            ..ticket()
        }
    }

    fn take(ticket: &Ticket, wanted: Classification) -> Result<WorkDone, WorkError> {
        let catalogue = catalogue();
        let desk = (&catalogue, &rules());
        classify(desk, class(&catalogue), ticket, wanted, person(), at(9.0))
    }

    fn kind(name: &str) -> Classification {
        Classification {
            kind: Some(TicketKind::new(name).unwrap()),
            ..Classification::default()
        }
    }

    #[test]
    fn another_kind_brings_its_procedure_skills_parts_and_checklist() {
        let mut before = of_person();
        before.work.checklist = vec![
            ChecklistItem {
                text: "Lock out".to_owned(),
                required: false,
                done: Some(Done {
                    at: at(1.0),
                    by: person(),
                }),
            },
            ChecklistItem {
                text: "Look".to_owned(),
                required: true,
                done: None,
            },
        ];
        let after = take(&before, kind("service")).unwrap().ticket.unwrap();
        assert_eq!(after.kind.as_str(), "service");
        assert_eq!(after.procedure, "SOP-S");
        assert_eq!(after.skills, ["oil"]);
        assert_eq!(after.work.work_hours, Some(3.0));
        let wanted = PartWanted {
            part: part("SEAL-1"),
            quantity: 2,
        };
        assert_eq!(after.work.parts, Some(vec![wanted]));
        let lines: Vec<(&str, bool)> = after
            .work
            .checklist
            .iter()
            .map(|line| (line.text.as_str(), line.done.is_some()))
            .collect();
        assert_eq!(lines, [("Lock out", true), ("Change the oil", false)]);
        assert_eq!(
            after.history.last().unwrap().why,
            "kind corrective to service"
        );
    }

    #[test]
    fn the_mode_says_before_the_kind_and_what_people_laid_down_stays() {
        let catalogue = catalogue();
        let wanted = || Classification {
            mode: Some(Some(mode(&catalogue).name.clone())),
            why: "heard it".to_owned(),
            ..kind("service")
        };
        let after = take(&of_person(), wanted()).unwrap().ticket.unwrap();
        assert_eq!(after.procedure, mode(&catalogue).procedure);
        assert_eq!(after.work.parts, None, "as the mode needs them");
        let mut before = of_person();
        let laid_down = Some(vec![PartWanted {
            part: part("BRG-1"),
            quantity: 1,
        }]);
        before.work.parts.clone_from(&laid_down);
        before.work.parts_by = Some(person());
        let after = take(&before, wanted()).unwrap().ticket.unwrap();
        assert_eq!(after.work.parts, laid_down);
        assert!(after.history.last().unwrap().why.ends_with(": heard it"));
    }

    #[test]
    fn what_a_schedule_says_stays_whatever_the_work_is_called() {
        let rules = format!(
            "{RULES}\n[[schedule]]\nname = \"oil\"\ntitle = \"Oil\"\nkind = \"service\"\nevery_days = 30\nprocedure = \"SOP-OIL\"\nwork_hours = 1\npart = [{{ part = \"BRG-1\" }}]"
        );
        let rules: TicketRules = toml::from_str(&rules).unwrap();
        let catalogue = catalogue();
        let mut t = of_person();
        t.origin = Origin::Schedule {
            schedule: rules.schedules()[0].name.clone(),
            position: 720.0,
        };
        let desk = (&catalogue, &rules);
        let wanted = kind("service");
        let done = classify(desk, class(&catalogue), &t, wanted, person(), at(9.0)).unwrap();
        let after = done.ticket.unwrap();
        assert_eq!(
            (after.procedure.as_str(), after.work.work_hours),
            ("SOP-OIL", Some(1.0))
        );
        assert_eq!(after.skills, ["oil"], "the schedule says nothing of them");
        let parts = after.work.parts.unwrap();
        assert_eq!((parts.len(), &parts[0].part), (1, &part("BRG-1")));
    }

    #[test]
    fn fields_stay_where_the_new_kind_has_them() {
        let mut before = of_person();
        let text = |text: &str| FieldValue::Text(text.to_owned());
        before.work.fields = BTreeMap::from([
            ("order".to_owned(), text("A-1")),
            ("other".to_owned(), text("x")),
        ]);
        let after = take(&before, kind("service")).unwrap().ticket.unwrap();
        assert_eq!(
            after.work.fields,
            [("order".to_owned(), text("A-1"))].into()
        );
    }

    #[test]
    fn what_an_alarm_opened_keeps_its_kind_and_mode() {
        let refused = take(&ticket(), kind("service")).unwrap_err();
        assert!(matches!(&refused, WorkError::Conflict(text) if text.contains("wrong_mode")));
        let titled = Classification {
            title: Some(" Noise at the drive end ".to_owned()),
            ..Classification::default()
        };
        let after = take(&ticket(), titled).unwrap().ticket.unwrap();
        assert_eq!(after.title, "Noise at the drive end");
        assert_eq!(after.mode, ticket().mode);
    }

    #[test]
    fn what_is_not_known_is_refused_and_what_is_so_already_changes_nothing() {
        for (wanted, field) in [
            (kind("party"), "kind"),
            (kind("predictive"), "kind"),
            (
                Classification {
                    mode: Some(Some(ModeName::new("no-such").unwrap())),
                    ..Classification::default()
                },
                "mode",
            ),
            (
                Classification {
                    title: Some("two\nlines".to_owned()),
                    ..Classification::default()
                },
                "title",
            ),
        ] {
            let refused = take(&of_person(), wanted).unwrap_err();
            assert!(
                matches!(&refused, WorkError::Invalid { field: at, .. } if at == field),
                "{refused}"
            );
        }
        assert_eq!(
            take(&of_person(), kind("corrective")).unwrap(),
            WorkDone::default()
        );
    }
}
