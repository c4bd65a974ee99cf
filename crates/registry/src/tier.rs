//! A customer's tier, by rules of the configuration.

use serde::{Deserialize, Serialize};

use crate::contract::Contract;
use crate::customer::Customer;
use crate::date::Date;
use crate::id::RecordId;

/// One rule: every condition given must hold. Two rules of one name are an "or".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierRule {
    /// The tier.
    pub name: String,
    /// Yearly value of the customer, at least.
    #[serde(default)]
    pub yearly_value_min: Option<f64>,
    /// A contract of one of these kinds is in force.
    #[serde(default)]
    pub contract_kinds: Vec<String>,
}

/// The rules in order: the first that holds gives the tier.
#[derive(Debug, Clone, PartialEq)]
pub struct TierRules(Vec<TierRule>);

/// Rules that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTiers(String);

/// A tier and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// The tier.
    pub name: String,
    /// Place of the rule that held, from 1; also the tier's rank: the fewer the better.
    pub rule: usize,
    /// Which conditions held, with the customer's figures.
    pub why: String,
}

impl TierRules {
    /// Takes rules; the last one must hold for everybody.
    ///
    /// # Errors
    /// Says which rule cannot be used.
    pub fn new(rules: Vec<TierRule>) -> Result<Self, InvalidTiers> {
        let Some((last, others)) = rules.split_last() else {
            return Err(InvalidTiers("there is no rule for tiers".to_owned()));
        };
        if !last.is_open() {
            return Err(InvalidTiers(format!(
                "the last rule (tier \"{}\") has conditions: end with one that has none",
                last.name
            )));
        }
        if let Some(early) = others.iter().find(|rule| rule.is_open()) {
            return Err(InvalidTiers(format!(
                "the rule of tier \"{}\" has no conditions but is not the last: those after it never count",
                early.name
            )));
        }
        let sound = |rule: &TierRule| {
            !rule.name.trim().is_empty()
                && rule
                    .yearly_value_min
                    .is_none_or(|min| min.is_finite() && min >= 0.0)
        };
        if let Some(bad) = rules.iter().find(|rule| !sound(rule)) {
            return Err(InvalidTiers(format!(
                "the rule of tier \"{}\" needs a name, and a value of at least 0",
                bad.name
            )));
        }
        Ok(Self(rules))
    }

    /// The tier of `customer` on `day`, with its contracts. `currency` is for the explanation.
    #[must_use]
    pub fn tier(
        &self,
        customer: &Customer,
        contracts: &[(RecordId, Contract)],
        day: Date,
        currency: &str,
    ) -> Tier {
        let yearly = customer.value.yearly;
        for (i, rule) in self.0.iter().enumerate() {
            let mut reasons = Vec::new();
            if let Some(min) = rule.yearly_value_min {
                if yearly < min {
                    continue;
                }
                reasons.push(format!(
                    "yearly value of {yearly} {currency}, at least {min}"
                ));
            }
            if !rule.contract_kinds.is_empty() {
                let fits = |(_, contract): &&(RecordId, Contract)| {
                    contract.is_valid_on(day) && rule.contract_kinds.contains(&contract.kind)
                };
                let Some((id, contract)) = contracts.iter().find(fits) else {
                    continue;
                };
                reasons.push(format!("contract {id} ({}) is in force", contract.kind));
            }
            let why = if reasons.is_empty() {
                "no rule before it holds".to_owned()
            } else {
                reasons.join("; ")
            };
            return Tier {
                name: rule.name.clone(),
                rule: i + 1,
                why: format!("rule {} of {}: {why}", i + 1, self.0.len()),
            };
        }
        // The last rule holds for everybody.
        Tier {
            name: String::new(),
            rule: self.0.len(),
            why: String::new(),
        }
    }
}

impl TierRules {
    /// Place of a tier among the tiers, 1 the best, and how many tiers there are. Rules of one name are one tier.
    #[must_use]
    pub fn rank(&self, tier: &str) -> (usize, usize) {
        let mut names: Vec<&str> = Vec::new();
        for rule in &self.0 {
            if !names.contains(&rule.name.as_str()) {
                names.push(&rule.name);
            }
        }
        let before = names.iter().position(|name| *name == tier);
        (before.map_or(names.len(), |n| n + 1), names.len())
    }
}

impl TierRule {
    fn is_open(&self) -> bool {
        self.yearly_value_min.is_none() && self.contract_kinds.is_empty()
    }
}

impl Default for TierRules {
    /// One tier for everybody.
    fn default() -> Self {
        Self(vec![TierRule {
            name: "standard".to_owned(),
            yearly_value_min: None,
            contract_kinds: Vec::new(),
        }])
    }
}
