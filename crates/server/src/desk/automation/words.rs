//! A rule in words, as the console shows it: what it waits for, what must hold, what it does to whom.

use forecare_care::automation::{
    Action, AssignSpec, Conditions, NoteSpec, NotifySpec, OpenSpec, Trigger,
};

/// When the rule is looked at, beyond the name of the event; empty: the name says all.
pub(super) fn of_trigger(on: &Trigger) -> String {
    match on {
        Trigger::Notice(_) | Trigger::SurveyAnswered => String::new(),
        Trigger::Waiting { states, hours } if states.is_empty() => {
            format!("open for {hours} h in one state")
        }
        Trigger::Waiting { states, hours } => {
            format!(
                "for {hours} h in {}",
                labels(states.iter().map(|s| s.label()))
            )
        }
        Trigger::Installed { days } => format!("{days} days after the installation"),
        Trigger::Age {
            days,
            repeats: true,
        } => format!("every {days} days in operation"),
        Trigger::Age {
            days,
            repeats: false,
        } => format!("after {days} days in operation"),
        Trigger::Cycles {
            counter,
            every,
            once: true,
        } => format!("when {counter} reaches {every}"),
        Trigger::Cycles {
            counter,
            every,
            once: false,
        } => format!("every {every} of {counter}"),
        Trigger::ContractEnding { days } => format!("{days} days before the contract ends"),
        Trigger::WarrantyEnding { days } => format!("{days} days before the warranty ends"),
        Trigger::Firmware { versions } => format!("firmware {}", versions.join(", ")),
        Trigger::Silent { hours } => format!("no reading for {hours} h"),
    }
}

fn labels<'a>(all: impl Iterator<Item = &'a str>) -> String {
    all.collect::<Vec<&str>>().join(" or ")
}

/// What must hold as well, one condition each.
pub(super) fn of_conditions(when: &Conditions) -> Vec<String> {
    let mut all = Vec::new();
    let mut any = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            all.push(format!("{name} {}", values.join(" or ")));
        }
    };
    let texts = |list: &[String]| list.to_vec();
    any("kind", when.kinds.iter().map(ToString::to_string).collect());
    any("opened by", texts(&when.origins));
    any("mode", when.modes.iter().map(ToString::to_string).collect());
    any(
        "state",
        when.states.iter().map(|s| s.label().to_owned()).collect(),
    );
    any("verdict", texts(&when.verdicts));
    any(
        "class",
        when.classes.iter().map(ToString::to_string).collect(),
    );
    any(
        "machine",
        when.assets.iter().map(ToString::to_string).collect(),
    );
    any("site", texts(&when.sites));
    any("customer", texts(&when.customers));
    any("tier", texts(&when.tiers));
    any("contract of kind", texts(&when.contract_kinds));
    let mut one = |condition: Option<String>| all.extend(condition);
    one(when
        .priority_min
        .map(|p| format!("priority {p:?} or higher")));
    one(when
        .open_hours_min
        .map(|h| format!("open for {h} h or longer")));
    one(when
        .open_hours_max
        .map(|h| format!("open for {h} h at most")));
    one(when.covered.map(|covered| {
        let words = if covered {
            "covered by a contract"
        } else {
            "covered by no contract"
        };
        words.to_owned()
    }));
    one(when
        .clock
        .map(|clock| format!("clock {}", clock.label().replace('_', " "))));
    one(when
        .percent_min
        .map(|n| format!("{n} % or more of it used")));
    one(when.level_min.map(|n| format!("level {n} or higher")));
    one(when
        .csat_max
        .map(|n| format!("satisfaction {n} of 5 or lower")));
    one(when
        .nps_max
        .map(|n| format!("recommendation {n} of 10 or lower")));
    one(when.ces_max.map(|n| format!("ease {n} of 7 or lower")));
    one(when.solved.map(|solved| {
        let words = if solved {
            "said to be solved"
        } else {
            "said not to be solved"
        };
        words.to_owned()
    }));
    all
}

/// What is done, with whom or what it is about.
pub(super) fn of_action(action: &Action) -> String {
    match action {
        Action::Assign(spec) => assign(spec),
        Action::Priority(priority) => format!("raise the priority to {priority:?}"),
        Action::Note(spec) => note(spec),
        Action::Open(spec) => open(spec),
        Action::Notify(spec) => notify(spec),
        Action::Lead(spec) => format!(
            "a lead for the CRM: {}",
            spec.offer.label().replace('_', " ")
        ),
    }
}

fn assign(spec: &AssignSpec) -> String {
    let mut words = match (&spec.technician, &spec.skill) {
        (Some(who), _) => format!("assign to {who}"),
        (None, Some(skill)) => format!("assign by skill {skill}"),
        (None, None) => "assign to whom the plan proposes".to_owned(),
    };
    if spec.send {
        words.push_str(", sent out at once");
    }
    words
}

fn note(spec: &NoteSpec) -> String {
    let what = match (&spec.text, &spec.article) {
        (Some(text), _) => format!("note \"{text}\""),
        (None, Some(article)) => format!("note with the article {article}"),
        (None, None) => "note with the article of the failure mode".to_owned(),
    };
    if spec.to_customer {
        format!("{what}, for the customer too")
    } else {
        what
    }
}

fn open(spec: &OpenSpec) -> String {
    let due = spec.due_days.map(|days| format!(", due in {days} days"));
    let follows = if spec.follow_up {
        ", following this one"
    } else {
        ""
    };
    format!(
        "open {} \"{}\", {:?}{}{follows}",
        spec.kind,
        spec.title,
        spec.priority,
        due.unwrap_or_default()
    )
}

fn notify(spec: &NotifySpec) -> String {
    let by = if spec.channels.is_empty() {
        String::new()
    } else {
        format!(" by {}", spec.channels.join(", "))
    };
    let what = if spec.survey {
        "ask how it went:"
    } else {
        "tell"
    };
    format!("{what} {}{by}: \"{}\"", spec.to.join(", "), spec.text)
}
