//! What rules have done since the start, for `/metrics` and the API.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use forecare_api::{AutomationInfo, AutomationResult};
use forecare_care::automation::{AutomationRules, Command};
use forecare_domain::Timestamp;
use prometheus::{IntCounterVec, Opts, Registry};

use super::words::{of_action, of_conditions, of_trigger};

/// The rules, and what came of them.
pub(crate) struct Automation {
    pub(crate) rules: AutomationRules,
    actions: IntCounterVec,
    tally: Mutex<BTreeMap<String, Tally>>,
}

#[derive(Debug, Clone, Default)]
struct Tally {
    counts: BTreeMap<(&'static str, &'static str), u64>,
    last_at: Option<Timestamp>,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Acted {
    /// It was done.
    Done,
    /// It was done before: nothing to count.
    Before,
    /// There was nothing to do, or it was not the time for it.
    Skipped(String),
    /// It could not be done.
    Failed(String),
}

impl Automation {
    /// Registers the counter.
    ///
    /// # Errors
    /// Two metrics of one name: our own mistake.
    pub(crate) fn new(rules: AutomationRules, registry: &Registry) -> Result<Self> {
        let actions = IntCounterVec::new(
            Opts::new(
                "forecare_automation_actions_total",
                "Actions of rules of automation, by rule, action and result.",
            ),
            &["rule", "action", "result"],
        )?;
        registry.register(Box::new(actions.clone()))?;
        Ok(Self {
            rules,
            actions,
            tally: Mutex::default(),
        })
    }

    pub(super) fn count(&self, rule: &str, command: &Command, acted: &Acted, now: Timestamp) {
        let result = match acted {
            Acted::Before => return,
            Acted::Done => "done",
            Acted::Skipped(_) => "skipped",
            Acted::Failed(_) => "failed",
        };
        let action = command.label();
        self.actions
            .with_label_values(&[rule, action, result])
            .inc();
        let mut all = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = all.entry(rule.to_owned()).or_default();
        *tally.counts.entry((action, result)).or_default() += 1;
        tally.last_at = Some(now);
    }

    /// The rules with what they did, as the API shows them.
    pub(crate) fn shown(&self) -> Vec<AutomationInfo> {
        let all = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.rules.all().iter().map(|rule| {
            let tally = all.get(&rule.name).cloned().unwrap_or_default();
            let counts = tally.counts.into_iter();
            AutomationInfo {
                name: rule.name.clone(),
                on: rule.on.label().to_owned(),
                trigger: of_trigger(&rule.on),
                conditions: of_conditions(&rule.when),
                does: rule.then.iter().map(of_action).collect(),
                actions: rule.then.iter().map(|a| a.label().to_owned()).collect(),
                results: counts
                    .map(|((action, result), n)| AutomationResult {
                        action: action.to_owned(),
                        result: result.to_owned(),
                        n,
                    })
                    .collect(),
                last_at: tally.last_at,
            }
        });
        let mut rules: Vec<AutomationInfo> = rules.collect();
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        rules
    }
}
