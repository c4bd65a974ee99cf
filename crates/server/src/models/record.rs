//! The state file of a class: who is live, who is tried, and how it came to that.

use forecare_domain::Timestamp;
use serde::{Deserialize, Serialize};

/// Changes kept; the oldest give way.
const HISTORY_MAX: usize = 1_000;
/// Earlier live versions kept to go back to.
const BEFORE_MAX: usize = 100;

/// The roles of a class's versions: the content of its `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roles {
    /// The version that speaks; `None`: the detectors work alone.
    pub(crate) live: Option<String>,
    /// The version that is tried beside it and opens nothing.
    pub(crate) shadow: Option<String>,
    /// Versions that were live before, newest last: where a rollback goes.
    pub(crate) before: Vec<String>,
    /// What happened, oldest first.
    pub(crate) history: Vec<Change>,
}

/// One change of roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// When, by the system's clock.
    pub(crate) at: Timestamp,
    /// Who: a user of this machine, or `forecare`.
    pub(crate) by: String,
    /// What.
    pub(crate) action: Action,
    /// The version it was done to; of `off`, none.
    pub(crate) version: Option<String>,
    /// The version that was live before.
    pub(crate) from: Option<String>,
    /// Why, in words.
    pub(crate) why: String,
}

/// What can be done to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// It came, without taking a role.
    Added,
    /// It was made live.
    Promoted,
    /// It was made live again because a person took its successor back.
    RolledBack,
    /// It was made live again, or nothing was, because Forecare took its successor out of service.
    Demoted,
    /// Nothing is live any more: a person wants the detectors alone.
    SwitchedOff,
    /// It is tried beside the live one.
    Shadowed,
    /// It is no longer tried.
    Unshadowed,
}

impl Action {
    /// The name shown to people.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled back to",
            Self::Demoted => "demoted to",
            Self::SwitchedOff => "switched off",
            Self::Shadowed => "shadowed",
            Self::Unshadowed => "no longer shadowed",
        }
    }
}

/// Who changes something, when and why.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    pub(crate) at: Timestamp,
    pub(crate) by: String,
    pub(crate) why: String,
}

impl Roles {
    /// A version comes. The first one of a class is live; a later one is tried beside, because trying costs little
    /// and opens nothing.
    pub(crate) fn add(&mut self, version: &str, reason: &Reason) {
        self.note(Action::Added, Some(version), reason);
        let is_first = self.live.is_none()
            && !self.history.iter().any(|c| {
                matches!(
                    c.action,
                    Action::Promoted | Action::Demoted | Action::SwitchedOff
                )
            });
        if is_first {
            self.promote(version, reason);
        } else {
            self.shadow(Some(version), reason);
        }
    }

    pub(crate) fn promote(&mut self, version: &str, reason: &Reason) {
        if self.shadow.as_deref() == Some(version) {
            self.shadow = None;
        }
        self.note(Action::Promoted, Some(version), reason);
        if let Some(live) = self.live.replace(version.to_owned()) {
            self.before.push(live);
            if self.before.len() > BEFORE_MAX {
                self.before.remove(0);
            }
        }
    }

    pub(crate) fn shadow(&mut self, version: Option<&str>, reason: &Reason) {
        if let Some(version) = version {
            self.note(Action::Shadowed, Some(version), reason);
        } else {
            let former = self.shadow.clone();
            self.note(Action::Unshadowed, former.as_deref(), reason);
        }
        self.shadow = version.map(str::to_owned);
    }

    /// The live version goes; the newest earlier one that `is_there` comes back, or none. Returns it.
    pub(crate) fn back(
        &mut self,
        action: Action,
        is_there: impl Fn(&str) -> bool,
        reason: &Reason,
    ) -> Option<String> {
        let gone = self.live.clone();
        let mut to = None;
        while let Some(earlier) = self.before.pop() {
            if is_there(&earlier) && Some(&earlier) != gone.as_ref() {
                to = Some(earlier);
                break;
            }
        }
        self.note(action, to.as_deref(), reason);
        if self.shadow == to {
            self.shadow = None;
        }
        self.live.clone_from(&to);
        to
    }

    /// Nothing is live from now on; what was can be promoted again.
    pub(crate) fn switch_off(&mut self, reason: &Reason) {
        self.note(Action::SwitchedOff, None, reason);
        self.before.extend(self.live.take());
    }

    /// The newest change of what is live.
    pub(crate) fn last_turn(&self) -> Option<&Change> {
        self.history.iter().rev().find(|c| match c.action {
            Action::Promoted | Action::RolledBack | Action::Demoted | Action::SwitchedOff => true,
            Action::Added | Action::Shadowed | Action::Unshadowed => false,
        })
    }

    /// The change by which Forecare itself took a version out of service, where that is the newest turn.
    pub(crate) fn demotion(&self) -> Option<&Change> {
        self.last_turn().filter(|c| c.action == Action::Demoted)
    }

    /// Whether Forecare took that version out of service, and nobody has made it live since.
    pub(crate) fn was_demoted(&self, version: &str) -> bool {
        let is = |named: &Option<String>| named.as_deref() == Some(version);
        let newest = self.history.iter().rev().find(|c| match c.action {
            Action::Demoted => is(&c.from) || is(&c.version),
            Action::Promoted | Action::RolledBack => is(&c.version),
            Action::Added | Action::SwitchedOff | Action::Shadowed | Action::Unshadowed => false,
        });
        newest.is_some_and(|c| c.action == Action::Demoted && is(&c.from))
    }

    /// When a version came; `None`: that was forgotten.
    pub(crate) fn added_at(&self, version: &str) -> Option<Timestamp> {
        let came = |c: &&Change| c.action == Action::Added && c.version.as_deref() == Some(version);
        self.history.iter().find(came).map(|c| c.at)
    }

    fn note(&mut self, action: Action, version: Option<&str>, reason: &Reason) {
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(Change {
            at: reason.at,
            by: reason.by.clone(),
            action,
            version: version.map(str::to_owned),
            from: self.live.clone(),
            why: reason.why.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason() -> Reason {
        Reason {
            at: Timestamp::from_millis(0),
            by: "anna".to_owned(),
            why: "test".to_owned(),
        }
    }

    fn roles(versions: &[&str]) -> Roles {
        let mut roles = Roles::default();
        for version in versions {
            roles.add(version, &reason());
        }
        roles
    }

    #[test]
    fn the_first_is_live_and_the_next_is_tried_beside_it() {
        let roles = roles(&["v1", "v2", "v3"]);
        assert_eq!(roles.live.as_deref(), Some("v1"));
        assert_eq!(roles.shadow.as_deref(), Some("v3"));
    }

    #[test]
    fn rollbacks_go_back_step_by_step_and_never_forward() {
        let mut roles = roles(&["v1", "v2", "v3"]);
        roles.promote("v2", &reason());
        roles.promote("v3", &reason());
        let mut back = || roles.back(Action::RolledBack, |_| true, &reason());
        assert_eq!(back().as_deref(), Some("v2"));
        assert_eq!(back().as_deref(), Some("v1"));
        assert_eq!(back(), None);
    }

    #[test]
    fn a_version_that_is_gone_is_passed_over() {
        let mut roles = roles(&["v1", "v2", "v3"]);
        roles.promote("v2", &reason());
        roles.promote("v3", &reason());
        let to = roles.back(Action::Demoted, |v| v != "v2", &reason());
        assert_eq!(to.as_deref(), Some("v1"));
        assert_eq!(roles.demotion().and_then(|c| c.from.as_deref()), Some("v3"));
    }

    #[test]
    fn after_a_demotion_to_none_a_new_version_waits_for_a_person() {
        let mut roles = roles(&["v1"]);
        roles.back(Action::Demoted, |_| true, &reason());
        roles.add("v2", &reason());
        assert_eq!(roles.live, None);
        assert_eq!(roles.shadow.as_deref(), Some("v2"));
        roles.promote("v2", &reason());
        assert!(roles.demotion().is_none(), "a person has decided");
        assert!(roles.was_demoted("v1") && !roles.was_demoted("v2"));
        roles.promote("v1", &reason());
        assert!(!roles.was_demoted("v1"), "it is live again");
    }

    #[test]
    fn the_history_is_bounded() {
        let mut roles = roles(&["v1", "v2"]);
        for _ in 0..HISTORY_MAX {
            roles.promote("v2", &reason());
            roles.promote("v1", &reason());
        }
        assert!(roles.history.len() <= HISTORY_MAX && roles.before.len() <= BEFORE_MAX);
    }
}
