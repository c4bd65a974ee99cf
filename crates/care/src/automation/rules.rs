//! Rules, checked as a whole, and the look at one.

use std::collections::BTreeSet;

use forecare_catalogue::Catalogue;
use forecare_domain::{MetricName, NoticeKind, TicketState};
use serde::Deserialize;

use super::command::Command;
use super::facts::{Conditions, Facts, Occasion};
use super::file::{Action, NoteSpec, RuleFile};
use crate::work::NOTE_CHARS_MAX;

/// Most rules.
const RULES_MAX: usize = 200;
/// Most actions of a rule.
const ACTIONS_MAX: usize = 10;
/// Longest span, days: thirty years.
const DAYS_MAX: f64 = 10_958.0;
/// What texts may name.
const PLACEHOLDERS: [&str; 8] = [
    "ticket", "title", "asset", "customer", "contract", "occasion", "date", "rule",
];
/// What opens tickets, and verdicts on them.
const ORIGINS: [&str; 5] = ["alarm", "person", "schedule", "event", "automation"];
const VERDICTS: [&str; 6] = [
    "confirmed",
    "wrong_mode",
    "no_fault_found",
    "data_fault",
    "too_early",
    "done",
];

/// Events beside those of notices.
pub const RULE_EVENTS: [&str; 9] = [
    "survey.answered",
    "ticket.waiting",
    "asset.installed",
    "asset.age",
    "asset.cycles",
    "contract.ending",
    "warranty.ending",
    "firmware.notice",
    "device.silent",
];

/// When a rule is looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// A notice with this label was written.
    Notice(String),
    /// A customer answered.
    SurveyAnswered,
    /// A ticket has been in a state for long.
    Waiting {
        /// These states; none: any open one.
        states: Vec<TicketState>,
        /// So long, hours.
        hours: f64,
    },
    /// After the installation.
    Installed {
        /// So many days.
        days: f64,
    },
    /// At an age.
    Age {
        /// Of so many days in operation.
        days: f64,
        /// And at every multiple of it.
        repeats: bool,
    },
    /// At a number of cycles.
    Cycles {
        /// The metric that counts.
        counter: MetricName,
        /// At every multiple of this.
        every: f64,
        /// At the first only.
        once: bool,
    },
    /// Before a contract ends.
    ContractEnding {
        /// So many days.
        days: f64,
    },
    /// Before a warranty ends.
    WarrantyEnding {
        /// So many days.
        days: f64,
    },
    /// A machine runs a firmware that there is a notice about.
    Firmware {
        /// Versions.
        versions: Vec<String>,
    },
    /// A device that was heard once says nothing any more.
    Silent {
        /// For so long, hours.
        hours: f64,
    },
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Contract,
    Asset,
    Ticket,
}

impl Trigger {
    fn about(&self) -> About {
        match self {
            Self::Notice(_) | Self::SurveyAnswered | Self::Waiting { .. } => About::Ticket,
            Self::ContractEnding { .. } => About::Contract,
            Self::Installed { .. }
            | Self::Age { .. }
            | Self::Cycles { .. }
            | Self::WarrantyEnding { .. }
            | Self::Firmware { .. }
            | Self::Silent { .. } => About::Asset,
        }
    }

    /// True: it is an occasion in the life of a machine.
    #[must_use]
    pub fn is_of_assets(&self) -> bool {
        self.about() == About::Asset
    }

    /// The event's name.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Notice(label) => label,
            Self::SurveyAnswered => "survey.answered",
            Self::Waiting { .. } => "ticket.waiting",
            Self::Installed { .. } => "asset.installed",
            Self::Age { .. } => "asset.age",
            Self::Cycles { .. } => "asset.cycles",
            Self::ContractEnding { .. } => "contract.ending",
            Self::WarrantyEnding { .. } => "warranty.ending",
            Self::Firmware { .. } => "firmware.notice",
            Self::Silent { .. } => "device.silent",
        }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// When it is looked at.
    pub on: Trigger,
    /// What must hold.
    pub when: Conditions,
    /// What is done.
    pub then: Vec<Action>,
}

/// The rules of the configuration, in its order.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "Vec<RuleFile>")]
pub struct AutomationRules(Vec<Rule>);

/// What is wrong with a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule \"{rule}\", {key}: {what}")]
pub struct AutomationError {
    rule: String,
    key: String,
    what: String,
}

/// Names that rules may use, beside the catalogue's.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Kinds of tickets.
    pub kinds: Vec<String>,
    /// Tiers of customers.
    pub tiers: Vec<String>,
    /// Channels, and whether each speaks to one place of its own.
    pub channels: Vec<(String, bool)>,
}

impl TryFrom<Vec<RuleFile>> for AutomationRules {
    type Error = AutomationError;

    fn try_from(files: Vec<RuleFile>) -> Result<Self, AutomationError> {
        let mut names = BTreeSet::new();
        let mut rules = Vec::new();
        let n_rules = files.len();
        for file in files {
            let name = file.name.clone();
            let at = Place(&name);
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
                return at.fault("name", "use 1 to 64 of a-z, 0-9 and -");
            }
            if !names.insert(name.clone()) {
                return at.fault("name", "comes twice");
            }
            if n_rules > RULES_MAX {
                return at.fault("name", format!("there are more than {RULES_MAX} rules"));
            }
            rules.push(checked(file)?);
        }
        Ok(Self(rules))
    }
}

/// Where something is wrong.
struct Place<'a>(&'a str);

impl Place<'_> {
    fn fault<T>(&self, key: &str, what: impl Into<String>) -> Result<T, AutomationError> {
        Err(AutomationError {
            rule: self.0.to_owned(),
            key: key.to_owned(),
            what: what.into(),
        })
    }

    fn span(&self, key: &str, value: Option<f64>, max: f64) -> Result<f64, AutomationError> {
        match value {
            Some(value) if value > 0.0 && value <= max => Ok(value),
            Some(value) => self.fault(key, format!("{value} must be above 0 and at most {max}")),
            None => self.fault(key, "is missing for this event"),
        }
    }

    fn one_of(&self, key: &str, name: &str, known: &[&str]) -> Result<(), AutomationError> {
        if known.contains(&name) {
            return Ok(());
        }
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        self.fault(key, format!("there is no \"{name}\"; there is {known}"))
    }

    fn text(&self, key: &str, text: &str, chars_max: usize) -> Result<(), AutomationError> {
        if text.trim().is_empty() || text.chars().count() > chars_max {
            return self.fault(key, format!("write 1 to {chars_max} characters"));
        }
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return self.fault(key, "a { has no }");
            };
            if !PLACEHOLDERS.contains(&name) {
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
                return self.fault(key, format!("{{{name}}} stands for nothing; use {known}"));
            }
            rest = after;
        }
        Ok(())
    }
}

fn checked(file: RuleFile) -> Result<Rule, AutomationError> {
    let at = Place(&file.name);
    let on = trigger(&file, &at)?;
    let about = on.about();
    let when = &file.when;
    let mut out_of_place = Vec::new();
    if about < About::Ticket {
        out_of_place.extend(when.of_tickets());
    }
    if about < About::Asset {
        out_of_place.extend(when.of_assets());
    }
    if !matches!(on.label(), "sla.mark" | "sla.escalated") {
        out_of_place.extend(when.of_sla());
    }
    if on != Trigger::SurveyAnswered {
        out_of_place.extend(when.of_answers());
    }
    if let Some(key) = out_of_place.first() {
        return at.fault(
            &format!("when.{key}"),
            format!("is no condition on {}", on.label()),
        );
    }
    for origin in &when.origins {
        at.one_of("when.origins", origin, &ORIGINS)?;
    }
    for verdict in &when.verdicts {
        at.one_of("when.verdicts", verdict, &VERDICTS)?;
    }
    if file.then.is_empty() || file.then.len() > ACTIONS_MAX {
        return at.fault("then", format!("give 1 to {ACTIONS_MAX} actions"));
    }
    for (i, action) in file.then.iter().enumerate() {
        check_action(action, &on, &format!("then[{i}]"), &at)?;
    }
    Ok(Rule {
        on,
        when: file.when.clone(),
        then: file.then.clone(),
        name: file.name.clone(),
    })
}

fn trigger(file: &RuleFile, at: &Place<'_>) -> Result<Trigger, AutomationError> {
    let event = file.on.as_str();
    // Keys that belong to each event.
    let own: &[&str] = match event {
        "ticket.waiting" => &["hours", "states"],
        "asset.installed" | "contract.ending" | "warranty.ending" => &["days"],
        "asset.age" => &["days", "every_days"],
        "asset.cycles" => &["counter", "at", "every"],
        "firmware.notice" => &["versions"],
        "device.silent" => &["hours"],
        _ => &[],
    };
    let given = [
        ("days", file.days.is_some()),
        ("every_days", file.every_days.is_some()),
        ("hours", file.hours.is_some()),
        ("states", !file.states.is_empty()),
        ("counter", file.counter.is_some()),
        ("at", file.at.is_some()),
        ("every", file.every.is_some()),
        ("versions", !file.versions.is_empty()),
    ];
    if let Some((key, _)) = given
        .iter()
        .find(|(key, given)| *given && !own.contains(key))
    {
        return at.fault(key, format!("does not belong to {event}"));
    }
    let days = || at.span("days", file.days, DAYS_MAX);
    let hours = || at.span("hours", file.hours, DAYS_MAX * 24.0);
    Ok(match event {
        "survey.answered" => Trigger::SurveyAnswered,
        "ticket.waiting" => {
            if let Some(over) = file.states.iter().find(|s| s.is_finished()) {
                return at.fault("states", format!("nothing waits in {}", over.label()));
            }
            Trigger::Waiting {
                states: file.states.clone(),
                hours: hours()?,
            }
        }
        "asset.installed" => Trigger::Installed { days: days()? },
        "asset.age" => match (file.days, file.every_days) {
            (Some(_), Some(_)) | (None, None) => {
                return at.fault("days", "give one of days and every_days");
            }
            (Some(_), None) => Trigger::Age {
                days: days()?,
                repeats: false,
            },
            (None, every) => Trigger::Age {
                days: at.span("every_days", every, DAYS_MAX)?,
                repeats: true,
            },
        },
        "asset.cycles" => {
            let Some(counter) = file.counter.clone() else {
                return at.fault("counter", "is missing for this event");
            };
            let (every, once) = match (file.at, file.every) {
                (Some(_), Some(_)) | (None, None) => {
                    return at.fault("at", "give one of at and every");
                }
                (mark @ Some(_), None) => (at.span("at", mark, f64::MAX)?, true),
                (None, every) => (at.span("every", every, f64::MAX)?, false),
            };
            Trigger::Cycles {
                counter,
                every,
                once,
            }
        }
        "contract.ending" => Trigger::ContractEnding { days: days()? },
        "warranty.ending" => Trigger::WarrantyEnding { days: days()? },
        "firmware.notice" => {
            if file.versions.is_empty() {
                return at.fault("versions", "is missing for this event");
            }
            let plain = |v: &String| !v.is_empty() && !v.trim_end_matches('*').contains('*');
            if let Some(version) = file.versions.iter().find(|v| !plain(v)) {
                return at.fault(
                    "versions",
                    format!("\"{version}\": only the last may be a *"),
                );
            }
            Trigger::Firmware {
                versions: file.versions.clone(),
            }
        }
        "device.silent" => Trigger::Silent { hours: hours()? },
        label if events_of_tickets().any(|known| known == label) => {
            Trigger::Notice(label.to_owned())
        }
        other => {
            let known: Vec<&str> = events_of_tickets().chain(RULE_EVENTS).collect();
            return at.fault(
                "on",
                format!("\"{other}\" is no event; use {}", known.join(", ")),
            );
        }
    })
}

/// Notices that rules react to: all about tickets but automation's own.
fn events_of_tickets() -> impl Iterator<Item = &'static str> {
    let own = ["automation.message", "care.lead", "mail.unplaced"];
    NoticeKind::LABELS
        .into_iter()
        .filter(move |label| !own.contains(label))
}

fn check_action(
    action: &Action,
    on: &Trigger,
    key: &str,
    at: &Place<'_>,
) -> Result<(), AutomationError> {
    let about = on.about();
    let needs_ticket = |name: &str| {
        if about == About::Ticket {
            return Ok(());
        }
        at.fault(
            &format!("{key}.{name}"),
            format!("{} has no ticket", on.label()),
        )
    };
    match action {
        Action::Assign(spec) => {
            needs_ticket("assign")?;
            if spec.technician.is_none() && spec.skill.is_none() && !spec.send {
                return at.fault(
                    &format!("{key}.assign"),
                    "give technician, skill or send = true",
                );
            }
            if spec.skill.is_some() && (spec.technician.is_some() || spec.send) {
                return at.fault(
                    &format!("{key}.assign"),
                    "with a skill the dispatcher chooses: give neither technician nor send",
                );
            }
            Ok(())
        }
        Action::Priority(_) => needs_ticket("priority"),
        Action::Note(spec) => {
            needs_ticket("note")?;
            let key = format!("{key}.note");
            let NoteSpec {
                text,
                article,
                article_of_mode,
                ..
            } = spec;
            let n_given =
                u8::from(text.is_some()) + u8::from(article.is_some()) + u8::from(*article_of_mode);
            if n_given != 1 {
                return at.fault(&key, "give one of text, article and article_of_mode");
            }
            match text {
                Some(text) => at.text(&format!("{key}.text"), text, NOTE_CHARS_MAX),
                None => Ok(()),
            }
        }
        Action::Open(spec) => {
            let key = format!("{key}.open");
            if about == About::Contract {
                return at.fault(&key, format!("{} has no machine", on.label()));
            }
            if spec.follow_up {
                needs_ticket("open.follow_up")?;
            }
            if let Some(days) = spec.due_days {
                at.span(&format!("{key}.due_days"), Some(days), DAYS_MAX)?;
            }
            let max = crate::reporting::TITLE_CHARS_MAX;
            at.text(&format!("{key}.title"), &spec.title, max)
        }
        Action::Notify(spec) => {
            let key = format!("{key}.notify");
            if spec.to.is_empty() {
                return at.fault(&format!("{key}.to"), "name somebody");
            }
            for to in spec.to.iter().filter(|to| to.starts_with('@')) {
                at.one_of(&format!("{key}.to"), to, &["@technician", "@customer"])?;
                if to == "@technician" {
                    needs_ticket("notify.to: @technician")?;
                }
            }
            if spec.survey {
                needs_ticket("notify.survey")?;
                if spec.to.iter().any(|to| to != "@customer") {
                    return at.fault(&format!("{key}.survey"), "asks @customer only");
                }
            }
            if let Some(subject) = &spec.subject {
                at.text(
                    &format!("{key}.subject"),
                    subject,
                    crate::reporting::TITLE_CHARS_MAX,
                )?;
            }
            at.text(&format!("{key}.text"), &spec.text, NOTE_CHARS_MAX)
        }
        Action::Lead(spec) => {
            let key = format!("{key}.lead");
            for (name, text, max) in [("title", &spec.title, 200), ("note", &spec.note, 1_500)] {
                if !text.is_empty() {
                    at.text(&format!("{key}.{name}"), text, max)?;
                }
            }
            Ok(())
        }
    }
}

impl AutomationRules {
    /// The rules, in the configuration's order.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.0
    }

    /// True: there is nothing to do, ever.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Technicians that rules assign to.
    pub fn technicians(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|rule| {
            rule.then.iter().filter_map(|action| match action {
                Action::Assign(spec) => Some((rule.name.as_str(), spec.technician.as_deref()?)),
                Action::Priority(_)
                | Action::Note(_)
                | Action::Open(_)
                | Action::Notify(_)
                | Action::Lead(_) => None,
            })
        })
    }

    /// Skills that rules ask for.
    pub fn skills(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|rule| {
            rule.then.iter().filter_map(|action| match action {
                Action::Assign(spec) => Some((rule.name.as_str(), spec.skill.as_deref()?)),
                Action::Priority(_)
                | Action::Note(_)
                | Action::Open(_)
                | Action::Notify(_)
                | Action::Lead(_) => None,
            })
        })
    }

    /// People by name that rules tell.
    pub fn people(&self) -> impl Iterator<Item = &String> {
        let told = self.0.iter().flat_map(|rule| &rule.then);
        let told = told.filter_map(|action| match action {
            Action::Notify(spec) => Some(&spec.to),
            Action::Assign(_)
            | Action::Priority(_)
            | Action::Note(_)
            | Action::Open(_)
            | Action::Lead(_) => None,
        });
        told.flatten().filter(|to| !to.starts_with(['@', '#']))
    }

    /// That kinds, tiers and channels are there.
    ///
    /// # Errors
    /// The first that is not, with its key and those there are.
    pub fn check(&self, known: &Known) -> Result<(), AutomationError> {
        let kinds: Vec<&str> = known.kinds.iter().map(String::as_str).collect();
        let tiers: Vec<&str> = known.tiers.iter().map(String::as_str).collect();
        let channels: Vec<&str> = known.channels.iter().map(|(c, _)| c.as_str()).collect();
        let places = known.channels.iter().filter(|(_, own)| *own);
        let places: Vec<&str> = places.map(|(c, _)| c.as_str()).collect();
        for rule in &self.0 {
            let at = Place(&rule.name);
            for kind in &rule.when.kinds {
                at.one_of("when.kinds", kind.as_str(), &kinds)?;
            }
            for tier in &rule.when.tiers {
                at.one_of("when.tiers", tier, &tiers)?;
            }
            for (i, action) in rule.then.iter().enumerate() {
                match action {
                    Action::Open(spec) => {
                        at.one_of(&format!("then[{i}].open.kind"), &spec.kind, &kinds)?;
                    }
                    Action::Notify(spec) => {
                        let key = format!("then[{i}].notify");
                        for name in &spec.channels {
                            at.one_of(&format!("{key}.channels"), name, &channels)?;
                        }
                        for name in spec.to.iter().filter_map(|to| to.strip_prefix('#')) {
                            at.one_of(&format!("{key}.to (channels of one place)"), name, &places)?;
                        }
                    }
                    Action::Assign(_) | Action::Priority(_) | Action::Note(_) | Action::Lead(_) => {
                    }
                }
            }
        }
        Ok(())
    }

    /// That classes, failure modes and counters are the catalogue's. Skills and technicians may be only the registry's:
    /// [`AutomationRules::technicians`], [`AutomationRules::skills`].
    ///
    /// # Errors
    /// The first that is not, with its key and those there are.
    pub fn check_catalogue(&self, catalogue: &Catalogue) -> Result<(), AutomationError> {
        let classes: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
        for rule in &self.0 {
            let at = Place(&rule.name);
            for class in &rule.when.classes {
                at.one_of("when.classes", class.as_str(), &classes)?;
            }
            let asked = &rule.when.classes;
            let of_rule = || {
                let all = catalogue.classes.iter();
                all.filter(|c| asked.is_empty() || asked.contains(&c.name))
            };
            let modes: Vec<&str> = of_rule()
                .flat_map(|c| &c.modes)
                .map(|m| m.name.as_str())
                .collect();
            for mode in &rule.when.modes {
                at.one_of("when.modes", mode.as_str(), &modes)?;
            }
            if let Trigger::Cycles { counter, .. } = &rule.on {
                let metrics: Vec<&str> = of_rule()
                    .flat_map(|c| &c.metrics)
                    .map(|m| m.name.as_str())
                    .collect();
                at.one_of("counter", counter.as_str(), &metrics)?;
            }
        }
        Ok(())
    }
}

/// Looks at `rule` at `occasion`.
///
/// # Errors
/// Why it does nothing, in words.
pub fn looked_at(
    rule: &Rule,
    occasion: &Occasion,
    facts: &Facts<'_>,
) -> Result<Vec<Command>, String> {
    if let Some(why) = rule.when.against(facts) {
        return Err(why);
    }
    let offers = rule.then.iter().any(|a| matches!(a, Action::Lead(_)));
    if offers {
        match facts.customer {
            None => return Err("nobody's: there is no customer to offer to".to_owned()),
            Some(customer) if !customer.agrees_to_offers => {
                return Err(format!(
                    "{} has not agreed to be offered anything (purpose marketing)",
                    customer.id
                ));
            }
            Some(_) => {}
        }
    }
    let filled = |text: &str| fill(text, rule, occasion, facts);
    let commands = rule.then.iter().map(|action| match action {
        Action::Assign(spec) => Command::Assign {
            technician: spec.technician.clone(),
            skill: spec.skill.clone(),
            send: spec.send,
        },
        Action::Priority(to) => Command::Raise(*to),
        Action::Note(spec) => match &spec.text {
            Some(text) => Command::Note {
                text: filled(text),
                to_customer: spec.to_customer,
            },
            None => Command::Article {
                id: spec.article.clone(),
                to_customer: spec.to_customer,
            },
        },
        Action::Open(spec) => Command::Open {
            kind: spec.kind.clone(),
            title: filled(&spec.title),
            priority: spec.priority,
            procedure: spec.procedure.clone(),
            due_at: spec.due_days.map(|days| facts.now.plus_hours(days * 24.0)),
            follow_up: spec.follow_up,
        },
        Action::Notify(spec) => Command::Tell {
            to: spec.to.clone(),
            text: filled(&spec.text),
            subject: spec.subject.as_deref().map(filled),
            channels: spec.channels.clone(),
            survey: spec.survey,
        },
        Action::Lead(spec) => {
            let title = if spec.title.is_empty() {
                "{occasion}"
            } else {
                &spec.title
            };
            Command::Lead {
                offer: spec.offer,
                title: filled(title),
                note: filled(&spec.note),
            }
        }
    });
    Ok(commands.collect())
}

/// `text` with its placeholders replaced. What is not known is left out.
fn fill(text: &str, rule: &Rule, occasion: &Occasion, facts: &Facts<'_>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let ticket = facts.ticket;
        filled.push_str(&match name {
            "ticket" => ticket.map_or_else(String::new, |t| t.id.to_string()),
            "title" => ticket.map_or_else(String::new, |t| t.title.clone()),
            "asset" => facts.asset.map_or_else(String::new, |a| a.name.clone()),
            "customer" => facts.customer.map_or_else(String::new, |c| c.name.clone()),
            "contract" => facts
                .contract
                .map_or_else(String::new, |(id, _)| id.to_owned()),
            "occasion" => occasion.what.clone(),
            "date" => occasion.at.to_string().chars().take(10).collect(),
            _ => rule.name.clone(),
        });
        rest = after;
    }
    filled.push_str(rest);
    filled
}
