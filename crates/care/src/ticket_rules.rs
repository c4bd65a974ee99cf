//! What the configuration says of tickets: kinds with fields of their own, checklists, schedules, device events.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{
    AssetId, ChecklistItem, ClassName, DeviceEvent, EventSeverity, FieldValue, MetricName,
    PartNumber, PartWanted, Priority, REPLACED_CODE, ScheduleName, TicketKind,
};
use serde::{Deserialize, Serialize};

/// Most entries of each list.
const ENTRIES_MAX: usize = 200;
/// Most lines of a ticket's checklist.
pub const CHECKLIST_MAX: usize = 50;
/// Most characters of a line, a title, a choice or a text field.
pub const LINE_CHARS_MAX: usize = 500;
/// Most different parts that one piece of work needs.
pub const PARTS_MAX: usize = 100;
/// Most of one part that one piece of work needs.
pub const QUANTITY_MAX: u32 = 10_000;
/// Longest interval, hours: ten years.
const HOURS_MAX: f64 = 87_660.0;
/// Work expected where nothing says better, hours.
const WORK_HOURS: f64 = 2.0;

/// What the configuration says of tickets. In TOML a [`TicketRulesFile`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "TicketRulesFile")]
pub struct TicketRules {
    kinds: Vec<TicketType>,
    checklists: Vec<Checklist>,
    schedules: Vec<Schedule>,
    events: Vec<EventRule>,
}

/// [`TicketRules`] as written. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TicketRulesFile {
    /// Kinds beside predictive, corrective, inspection and complaint, or these again with more to them.
    #[serde(rename = "kind")]
    pub kinds: Vec<TicketType>,
    /// What is to be done.
    #[serde(rename = "checklist")]
    pub checklists: Vec<Checklist>,
    /// What opens tickets by time or counter.
    #[serde(rename = "schedule")]
    pub schedules: Vec<Schedule>,
    /// Which events of devices open tickets.
    #[serde(rename = "event")]
    pub events: Vec<EventRule>,
}

/// A kind of ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketType {
    /// Its name.
    pub name: TicketKind,
    /// What people call it.
    pub title: String,
    /// Identifier of the standard procedure; may be empty.
    #[serde(default)]
    pub procedure: String,
    /// Skills the work needs.
    #[serde(default)]
    pub skills: Vec<String>,
    /// Work expected, hours. Above 0.
    #[serde(default = "work_hours")]
    pub work_hours: f64,
    /// Parts and kits that the work needs where no failure mode says.
    #[serde(default, rename = "part", skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartWanted>,
    /// Fields of its own.
    #[serde(default, rename = "field")]
    pub fields: Vec<FieldSpec>,
}

/// A field of a kind of ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// Its name in JSON: letters, digits and `_`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub of: FieldType,
    /// True: no such ticket is opened without it.
    #[serde(default)]
    pub required: bool,
    /// What can be chosen, for a choice.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// A text of at most 500 characters.
    Text,
    /// A finite number.
    Number,
    /// Yes or no.
    Boolean,
    /// A day: `2026-12-24`.
    Date,
    /// One of `choices`.
    Choice,
}

/// What is to be done on tickets of these kinds, classes and procedures; what is not named does not matter. All
/// checklists that fit a ticket are put one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checklist {
    /// Kinds of tickets.
    #[serde(default)]
    pub kinds: Vec<TicketKind>,
    /// Classes of assets.
    #[serde(default)]
    pub classes: Vec<ClassName>,
    /// Procedures.
    #[serde(default)]
    pub procedures: Vec<String>,
    /// The lines, in order.
    #[serde(rename = "item")]
    pub items: Vec<ChecklistLine>,
}

/// A line of a checklist.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChecklistLine {
    /// What is to be done.
    pub text: String,
    /// True: the ticket is not resolved before it is done.
    #[serde(default)]
    pub required: bool,
}

/// A schedule by which tickets open. Exactly one of `every_hours`, `every_days` and `counter` is given.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name; remembered with every ticket it opens.
    pub name: ScheduleName,
    /// What people call it: the ticket's title.
    pub title: String,
    /// Kind of the tickets.
    #[serde(default = "TicketKind::inspection")]
    pub kind: TicketKind,
    /// For assets of these classes; none given, and no assets: for all.
    #[serde(default)]
    pub classes: Vec<ClassName>,
    /// For these assets.
    #[serde(default)]
    pub assets: Vec<AssetId>,
    /// Every so many hours since the asset was registered.
    #[serde(default)]
    pub every_hours: Option<f64>,
    /// Every so many days of 24 hours since the asset was registered.
    #[serde(default)]
    pub every_days: Option<f64>,
    /// Every so much of a counter.
    #[serde(default)]
    pub counter: Option<CounterSpec>,
    /// Opened so much ahead: hours of time, or of the counter's unit for a counter. Less than the interval.
    #[serde(default)]
    pub lead: f64,
    /// Priority of the tickets.
    #[serde(default = "lowest")]
    pub priority: Priority,
    /// Identifier of the standard procedure; empty: the kind's.
    #[serde(default)]
    pub procedure: String,
    /// Skills the work needs; none: the kind's.
    #[serde(default)]
    pub skills: Vec<String>,
    /// Work expected, hours; none: the kind's.
    #[serde(default)]
    pub work_hours: Option<f64>,
    /// Parts and kits that the work needs; none: the kind's.
    #[serde(default, rename = "part")]
    pub parts: Vec<PartWanted>,
}

/// A metric that counts hours of operation, cycles, strokes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterSpec {
    /// The metric of the asset's class.
    pub metric: MetricName,
    /// The interval, in its unit. Above 0.
    pub every: f64,
}

/// Events of devices that open a ticket: one per asset and code while it is open.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRule {
    /// These codes; none: any but that of a replaced component.
    #[serde(default)]
    pub codes: Vec<String>,
    /// From devices of these classes; none: of any.
    #[serde(default)]
    pub classes: Vec<ClassName>,
    /// At least so serious.
    #[serde(default = "error")]
    pub severity_min: EventSeverity,
    /// Kind of the tickets.
    #[serde(default = "TicketKind::corrective")]
    pub kind: TicketKind,
    /// Priority of the tickets.
    #[serde(default = "high")]
    pub priority: Priority,
}

fn work_hours() -> f64 {
    WORK_HOURS
}

fn lowest() -> Priority {
    Priority::P4
}

fn high() -> Priority {
    Priority::P2
}

fn error() -> EventSeverity {
    EventSeverity::Error
}

/// What is wrong with the rules, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct TicketRulesError {
    at: String,
    what: String,
}

fn fault(at: impl Into<String>, what: impl Into<String>) -> TicketRulesError {
    TicketRulesError {
        at: at.into(),
        what: what.into(),
    }
}

fn line(at: &str, text: &str) -> Result<(), TicketRulesError> {
    if text.trim().is_empty() {
        return Err(fault(at, "must not be empty"));
    }
    if text.chars().count() > LINE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(fault(
            at,
            format!("use at most {LINE_CHARS_MAX} characters in one line"),
        ));
    }
    Ok(())
}

fn hours(at: &str, hours: f64) -> Result<(), TicketRulesError> {
    if hours > 0.0 && hours <= HOURS_MAX {
        return Ok(());
    }
    Err(fault(
        at,
        format!("{hours} must be above 0 and at most {HOURS_MAX} hours"),
    ))
}

fn parts(at: &str, parts: &[PartWanted]) -> Result<(), TicketRulesError> {
    if parts.len() > PARTS_MAX {
        return Err(fault(at, format!("more than {PARTS_MAX} parts")));
    }
    let is_odd = |wanted: &&PartWanted| !(1..=QUANTITY_MAX).contains(&wanted.quantity);
    match parts.iter().find(is_odd) {
        Some(wanted) => Err(fault(
            format!("{at}, part \"{}\"", wanted.part),
            format!("the quantity must be 1 to {QUANTITY_MAX}"),
        )),
        None => Ok(()),
    }
}

impl TryFrom<TicketRulesFile> for TicketRules {
    type Error = TicketRulesError;

    fn try_from(file: TicketRulesFile) -> Result<Self, TicketRulesError> {
        for (at, n) in [
            ("kind", file.kinds.len()),
            ("checklist", file.checklists.len()),
            ("schedule", file.schedules.len()),
            ("event", file.events.len()),
        ] {
            if n > ENTRIES_MAX {
                return Err(fault(at, format!("more than {ENTRIES_MAX} entries")));
            }
        }
        let mut names = BTreeSet::new();
        for kind in &file.kinds {
            if !names.insert(&kind.name) {
                return Err(fault(format!("kind \"{}\"", kind.name), "comes twice"));
            }
            kind.check()?;
        }
        let mut kinds: Vec<TicketType> = built_in()
            .into_iter()
            .filter(|built_in| !names.contains(&built_in.name))
            .collect();
        kinds.extend(file.kinds.iter().cloned());
        let known = |at: String, kind: &TicketKind| {
            if kinds.iter().any(|k| k.name == *kind) {
                return Ok(());
            }
            Err(fault(at, format!("there is no kind \"{kind}\"")))
        };
        for (i, checklist) in file.checklists.iter().enumerate() {
            let at = format!("checklist {}", i + 1);
            if checklist.items.is_empty() || checklist.items.len() > CHECKLIST_MAX {
                return Err(fault(at, format!("give 1 to {CHECKLIST_MAX} items")));
            }
            for item in &checklist.items {
                line(&format!("{at}, item.text"), &item.text)?;
            }
            for kind in &checklist.kinds {
                known(at.clone(), kind)?;
            }
        }
        let mut schedules = BTreeSet::new();
        for schedule in &file.schedules {
            let at = format!("schedule \"{}\"", schedule.name);
            if !schedules.insert(&schedule.name) {
                return Err(fault(at, "comes twice"));
            }
            schedule.check(&at)?;
            known(at, &schedule.kind)?;
        }
        for (i, event) in file.events.iter().enumerate() {
            let at = format!("event {}", i + 1);
            if event.codes.iter().any(|code| code == REPLACED_CODE) {
                return Err(fault(
                    at,
                    format!("the code \"{REPLACED_CODE}\" reports a replaced component"),
                ));
            }
            known(at, &event.kind)?;
        }
        Ok(Self {
            kinds,
            checklists: file.checklists,
            schedules: file.schedules,
            events: file.events,
        })
    }
}

impl Default for TicketRules {
    fn default() -> Self {
        Self {
            kinds: built_in(),
            checklists: Vec::new(),
            schedules: Vec::new(),
            events: Vec::new(),
        }
    }
}

fn built_in() -> Vec<TicketType> {
    [
        (TicketKind::predictive(), "Expected failure"),
        (TicketKind::corrective(), "Repair"),
        (TicketKind::inspection(), "Inspection"),
        (TicketKind::complaint(), "Complaint"),
    ]
    .into_iter()
    .map(|(name, title)| TicketType {
        name,
        title: title.to_owned(),
        procedure: String::new(),
        skills: Vec::new(),
        work_hours: WORK_HOURS,
        parts: Vec::new(),
        fields: Vec::new(),
    })
    .collect()
}

impl TicketType {
    fn check(&self) -> Result<(), TicketRulesError> {
        let at = format!("kind \"{}\"", self.name);
        line(&format!("{at}, title"), &self.title)?;
        hours(&format!("{at}, work_hours"), self.work_hours)?;
        parts(&at, &self.parts)?;
        if self.fields.len() > ENTRIES_MAX {
            return Err(fault(at, format!("more than {ENTRIES_MAX} fields")));
        }
        let mut names = BTreeSet::new();
        for field in &self.fields {
            let at = format!("{at}, field \"{}\"", field.name);
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if field.name.is_empty() || field.name.len() > 64 || !field.name.chars().all(is_name) {
                return Err(fault(at, "name it with 1 to 64 letters, digits and _"));
            }
            if !names.insert(&field.name) {
                return Err(fault(at, "comes twice"));
            }
            line(&format!("{at}, title"), &field.title)?;
            let is_choice = field.of == FieldType::Choice;
            if field.choices.is_empty() == is_choice || field.choices.len() > ENTRIES_MAX {
                return Err(fault(
                    at,
                    format!("choices go with type = \"choice\": 1 to {ENTRIES_MAX} of them"),
                ));
            }
            for (i, choice) in field.choices.iter().enumerate() {
                line(&format!("{at}, choices"), choice)?;
                if field.choices[..i].contains(choice) {
                    return Err(fault(at, format!("the choice \"{choice}\" comes twice")));
                }
            }
        }
        Ok(())
    }

    /// Whether it has a field of that name that takes that value.
    #[must_use]
    pub fn takes(&self, name: &str, value: &FieldValue) -> bool {
        let found = self.fields.iter().find(|field| field.name == name);
        found.is_some_and(|field| field.check(value).is_ok())
    }

    /// The fields that must be there and are not.
    pub fn missing<'a>(
        &'a self,
        given: &'a BTreeMap<String, FieldValue>,
    ) -> impl Iterator<Item = &'a FieldSpec> {
        let is_missing = |spec: &&FieldSpec| spec.required && !given.contains_key(&spec.name);
        self.fields.iter().filter(is_missing)
    }

    /// `given` as it is kept: every field known, of its type, and none missing that must be there.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn checked_fields(
        &self,
        mut given: BTreeMap<String, FieldValue>,
    ) -> Result<BTreeMap<String, FieldValue>, (String, String)> {
        for (name, value) in &mut given {
            let Some(spec) = self.fields.iter().find(|f| f.name == *name) else {
                let known: Vec<&str> = self.fields.iter().map(|f| f.name.as_str()).collect();
                let known = if known.is_empty() {
                    "has none".to_owned()
                } else {
                    format!("has {}", known.join(", "))
                };
                let name = name.chars().take(64).collect();
                return Err((
                    name,
                    format!("no such field: the kind {} {known}", self.name),
                ));
            };
            let checked = match (spec.of, &*value) {
                // As it is typed where there are only texts.
                (FieldType::Number | FieldType::Boolean, FieldValue::Text(text)) => {
                    spec.typed(text)
                }
                _ => spec.check(value).map(|()| value.clone()),
            };
            match checked {
                Ok(checked) => *value = checked,
                Err(what) => return Err((name.clone(), what)),
            }
        }
        if let Some(spec) = self.missing(&given).next() {
            return Err((
                spec.name.clone(),
                format!("a ticket of kind {} needs it", self.name),
            ));
        }
        Ok(given)
    }
}

impl FieldSpec {
    fn check(&self, value: &FieldValue) -> Result<(), String> {
        let fits = match (self.of, value) {
            (FieldType::Boolean, FieldValue::Boolean(_)) => true,
            (FieldType::Number, FieldValue::Number(number)) => number.is_finite(),
            (FieldType::Text, FieldValue::Text(text)) => {
                !text.trim().is_empty() && text.chars().count() <= LINE_CHARS_MAX
            }
            (FieldType::Date, FieldValue::Text(text)) => {
                text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
            }
            (FieldType::Choice, FieldValue::Text(text)) => self.choices.contains(text),
            (
                FieldType::Boolean
                | FieldType::Number
                | FieldType::Text
                | FieldType::Date
                | FieldType::Choice,
                FieldValue::Boolean(_) | FieldValue::Number(_) | FieldValue::Text(_),
            ) => false,
        };
        if fits {
            return Ok(());
        }
        Err(match self.of {
            FieldType::Text => format!("give a text of 1 to {LINE_CHARS_MAX} characters"),
            FieldType::Number => "give a number".to_owned(),
            FieldType::Boolean => "give true or false".to_owned(),
            FieldType::Date => "give a day such as 2026-12-24".to_owned(),
            FieldType::Choice => format!("give one of {}", self.choices.join(", ")),
        })
    }

    /// What somebody typed, as a value of this field.
    ///
    /// # Errors
    /// What would be right.
    pub fn typed(&self, text: &str) -> Result<FieldValue, String> {
        let value = match self.of {
            FieldType::Boolean => match text {
                "true" | "yes" | "on" => FieldValue::Boolean(true),
                "false" | "no" => FieldValue::Boolean(false),
                _ => return Err("give true or false".to_owned()),
            },
            FieldType::Number => match text.parse::<f64>() {
                Ok(number) => FieldValue::Number(number),
                Err(_) => return Err("give a number".to_owned()),
            },
            FieldType::Text | FieldType::Date | FieldType::Choice => {
                FieldValue::Text(text.to_owned())
            }
        };
        self.check(&value)?;
        Ok(value)
    }
}

impl Schedule {
    fn check(&self, at: &str) -> Result<(), TicketRulesError> {
        line(&format!("{at}, title"), &self.title)?;
        let intervals = [
            self.every_hours,
            self.every_days.map(|days| days * 24.0),
            self.counter.as_ref().map(|counter| counter.every),
        ];
        let mut given = intervals.into_iter().flatten();
        let (Some(every), None) = (given.next(), given.next()) else {
            return Err(fault(
                at,
                "give exactly one of every_hours, every_days and counter",
            ));
        };
        if self.counter.is_none() {
            hours(&format!("{at}, interval"), every)?;
        } else if !(every > 0.0 && every.is_finite()) {
            return Err(fault(format!("{at}, counter.every"), "must be above 0"));
        }
        if !(self.lead >= 0.0 && self.lead < every) {
            return Err(fault(
                format!("{at}, lead"),
                "must be at least 0 and less than the interval",
            ));
        }
        if let Some(work) = self.work_hours {
            hours(&format!("{at}, work_hours"), work)?;
        }
        parts(at, &self.parts)
    }

    /// The interval: hours, or the counter's unit.
    #[must_use]
    pub fn every(&self) -> f64 {
        let hours = self.every_hours.or(self.every_days.map(|days| days * 24.0));
        let counter = self.counter.as_ref().map(|counter| counter.every);
        hours.or(counter).unwrap_or(f64::INFINITY)
    }

    /// Does it concern that asset?
    #[must_use]
    pub fn concerns(&self, asset: &AssetId, class: &ClassName) -> bool {
        (self.classes.is_empty() && self.assets.is_empty())
            || self.classes.contains(class)
            || self.assets.contains(asset)
    }
}

impl TicketRules {
    /// The kind of that name.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<&TicketType> {
        self.kinds.iter().find(|kind| kind.name.as_str() == name)
    }

    /// All kinds, the built-in ones first.
    #[must_use]
    pub fn kinds(&self) -> &[TicketType] {
        &self.kinds
    }

    /// All schedules.
    #[must_use]
    pub fn schedules(&self) -> &[Schedule] {
        &self.schedules
    }

    /// The rule by which an event of a device of `class` opens a ticket: the first that fits.
    #[must_use]
    pub fn event(&self, class: &ClassName, event: &DeviceEvent) -> Option<&EventRule> {
        if event.code == REPLACED_CODE {
            return None;
        }
        self.events.iter().find(|rule| {
            (rule.codes.is_empty() || rule.codes.contains(&event.code))
                && (rule.classes.is_empty() || rule.classes.contains(class))
                && event.severity >= rule.severity_min
        })
    }

    /// Every class and metric that a rule names, to be compared with the catalogue.
    pub fn named(&self) -> impl Iterator<Item = (&ClassName, Option<&MetricName>)> {
        let of_schedules = self.schedules.iter().flat_map(|s| {
            let metric = s.counter.as_ref().map(|c| &c.metric);
            s.classes.iter().map(move |class| (class, metric))
        });
        let of_checklists = self.checklists.iter().flat_map(|c| &c.classes);
        let of_events = self.events.iter().flat_map(|e| &e.classes);
        of_schedules.chain(of_checklists.chain(of_events).map(|class| (class, None)))
    }

    /// Every part or kit that a kind or schedule names, to be compared with the catalogue.
    pub fn parts_named(&self) -> impl Iterator<Item = &PartNumber> {
        let of_kinds = self.kinds.iter().flat_map(|kind| &kind.parts);
        let of_schedules = self.schedules.iter().flat_map(|s| &s.parts);
        of_kinds.chain(of_schedules).map(|wanted| &wanted.part)
    }

    /// What is to be done on a ticket.
    #[must_use]
    pub fn checklist(
        &self,
        kind: &TicketKind,
        class: &ClassName,
        procedure: &str,
    ) -> Vec<ChecklistItem> {
        let fits = |c: &&Checklist| {
            (c.kinds.is_empty() || c.kinds.contains(kind))
                && (c.classes.is_empty() || c.classes.contains(class))
                && (c.procedures.is_empty() || c.procedures.iter().any(|p| p == procedure))
        };
        self.checklists
            .iter()
            .filter(fits)
            .flat_map(|c| &c.items)
            .take(CHECKLIST_MAX)
            .map(|item| ChecklistItem {
                text: item.text.clone(),
                required: item.required,
                done: None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<TicketRules, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    const OWN: &str = r#"
        [[kind]]
        name = "installation"
        title = "Installation"
        skills = ["mechanics"]
        [[kind.field]]
        name = "order"
        title = "Order number"
        type = "text"
        required = true
        [[kind.field]]
        name = "voltage"
        title = "Voltage"
        type = "choice"
        choices = ["230 V", "400 V"]
        [[kind.field]]
        name = "day"
        title = "Day"
        type = "date"
        [[checklist]]
        kinds = ["installation"]
        item = [{ text = "Lock out and tag out", required = true }, { text = "Clean up" }]
        [[schedule]]
        name = "yearly"
        title = "Yearly inspection"
        every_days = 365
        lead = 336
        [[event]]
        codes = ["E42"]
    "#;

    #[test]
    fn own_kinds_stand_beside_the_built_in_ones() {
        let rules = rules(OWN).unwrap();
        let names: Vec<&str> = rules.kinds().iter().map(|k| k.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "predictive",
                "corrective",
                "inspection",
                "complaint",
                "installation"
            ]
        );
        let list = rules.checklist(
            &TicketKind::new("installation").unwrap(),
            &ClassName::new("pump").unwrap(),
            "",
        );
        assert_eq!(list.len(), 2);
        assert!(list[0].required && !list[1].required);
        let none = rules.checklist(
            &TicketKind::complaint(),
            &ClassName::new("pump").unwrap(),
            "",
        );
        assert!(none.is_empty());
    }

    #[test]
    fn fields_are_judged_one_by_one() {
        let rules = rules(OWN).unwrap();
        let kind = rules.kind("installation").unwrap();
        let given = |pairs: &[(&str, FieldValue)]| {
            let fields = pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
            kind.checked_fields(fields.collect())
        };
        let text = |t: &str| FieldValue::Text(t.to_owned());
        let order = ("order", text("4711"));
        assert!(
            given(&[
                order.clone(),
                ("voltage", text("400 V")),
                ("day", text("2028-02-29"))
            ])
            .is_ok()
        );
        for (bad, at) in [
            (vec![], "order"),
            (vec![("order", FieldValue::Number(1.0))], "order"),
            (vec![order.clone(), ("voltage", text("110 V"))], "voltage"),
            (vec![order.clone(), ("day", text("2027-02-29"))], "day"),
            (vec![order.clone(), ("colour", text("red"))], "colour"),
        ] {
            assert_eq!(given(&bad).unwrap_err().0, at);
        }
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        for (text, says) in [
            (
                OWN.replace("every_days = 365", "every_days = 365\nevery_hours = 2"),
                "exactly one",
            ),
            (
                OWN.replace("lead = 336", "lead = 9000"),
                "schedule \"yearly\", lead",
            ),
            (
                OWN.replace("kinds = [\"installation\"]", "kinds = [\"x\"]"),
                "no kind \"x\"",
            ),
            (
                OWN.replace("type = \"choice\"", "type = \"text\""),
                "field \"voltage\"",
            ),
            (
                OWN.replace("\"E42\"", "\"replaced\""),
                "reports a replaced component",
            ),
            (OWN.replace("Clean up", " "), "must not be empty"),
            (OWN.replace("lead = 336", "leed = 336"), "leed"),
        ] {
            let error = rules(&text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn only_serious_events_of_the_named_codes_open_tickets() {
        let rules = rules(OWN).unwrap();
        let class = ClassName::new("pump").unwrap();
        let event = |code: &str, severity| DeviceEvent {
            device: forecare_domain::DeviceId::new("d").unwrap(),
            ts: forecare_domain::Timestamp::from_millis(0),
            code: code.to_owned(),
            severity,
            component: None,
            message: String::new(),
        };
        assert!(
            rules
                .event(&class, &event("E42", EventSeverity::Error))
                .is_some()
        );
        assert!(
            rules
                .event(&class, &event("E42", EventSeverity::Warning))
                .is_none()
        );
        assert!(
            rules
                .event(&class, &event("E43", EventSeverity::Error))
                .is_none()
        );
        assert!(
            TicketRules::default()
                .event(&class, &event("E42", EventSeverity::Error))
                .is_none()
        );
    }
}
