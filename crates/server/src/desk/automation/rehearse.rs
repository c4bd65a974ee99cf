//! What rules would have done on stored history: the same look at the same facts, and nothing carried out.
//!
//! Events are the notices that are kept; states come from tickets' histories, readings from the store, hour by hour.
//! The registry counts as it is now, at the time of the occasion: dates, contracts and consents in force then.

use std::collections::{BTreeMap, BTreeSet};

use forecare_care::automation::{
    Facts, Occasion, Rule, Trigger, brought_by, counted, looked_at, may_react, occasion, waiting,
};
use forecare_domain::{
    Asset, AssetId, MetricName, NoticeKind, SurveyAnswer, Ticket, TicketId, Timestamp,
};
use forecare_store::{StoreError, TelemetryQuery, TicketFilter, every};
use serde::Serialize;

use super::scene::{Scene, as_told};

/// Readings are looked through in stretches of so many hours, bucket by bucket of one hour.
const STRETCH_HOURS: usize = 744;

/// What a rule would have done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Rehearsed {
    /// When.
    pub(crate) at: Timestamp,
    /// The rule.
    pub(crate) rule: String,
    /// The ticket, machine or contract.
    pub(crate) subject: String,
    /// Why, in words.
    pub(crate) occasion: String,
    /// What, in words and in order.
    pub(crate) actions: Vec<String>,
}

/// Between when, and by which rule.
pub(crate) struct Span<'a> {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// `None`: all.
    pub(crate) rule: Option<&'a str>,
}

/// A rehearsal under way.
struct Rehearsal<'a> {
    scene: Scene<'a>,
    from: Timestamp,
    to: Timestamp,
    rules: Vec<&'a Rule>,
    assets: BTreeMap<AssetId, Asset>,
    found: Vec<Rehearsed>,
}

impl Scene<'_> {
    /// What the rules would have done in `span`, in order of time. `progress` hears of machines done, of all.
    pub(crate) async fn rehearse(
        &self,
        span: &Span<'_>,
        progress: impl Fn(usize, usize),
    ) -> Result<Vec<Rehearsed>, StoreError> {
        self.terms.refresh(self.store).await?;
        let assets = self.store.assets().await?;
        self.terms.know(&assets);
        let all = self.rules.all().iter();
        let mut rehearsal = Rehearsal {
            scene: *self,
            from: span.from,
            to: span.to,
            rules: all
                .filter(|r| span.rule.is_none_or(|name| r.name == name))
                .collect(),
            assets: assets.into_iter().map(|a| (a.id.clone(), a)).collect(),
            found: Vec::new(),
        };
        rehearsal.tickets().await?;
        rehearsal.contracts();
        let machines: Vec<Asset> = rehearsal.assets.values().cloned().collect();
        for (n, asset) in machines.iter().enumerate() {
            rehearsal.life(asset).await?;
            progress(n + 1, machines.len());
        }
        let mut found = rehearsal.found;
        found.sort_by(|a, b| {
            let by_rule = || (&a.rule, &a.subject).cmp(&(&b.rule, &b.subject));
            a.at.cmp(&b.at).then_with(by_rule)
        });
        Ok(found)
    }
}

impl<'a> Rehearsal<'a> {
    fn is_within(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    fn look(&mut self, rule: &Rule, occasion: &Occasion, facts: &Facts<'_>, subject: String) {
        if let Ok(commands) = looked_at(rule, occasion, facts) {
            self.found.push(Rehearsed {
                at: occasion.at,
                rule: rule.name.clone(),
                subject,
                occasion: occasion.what.clone(),
                actions: commands.iter().map(ToString::to_string).collect(),
            });
        }
    }

    /// Looks at a rule about a ticket.
    fn look_at_ticket(
        &mut self,
        rule: &Rule,
        occasion: &Occasion,
        ticket: &Ticket,
        what: Option<&NoticeKind>,
        answer: Option<&SurveyAnswer>,
    ) {
        let asset = self.assets.get(&ticket.asset).cloned();
        let around = asset
            .as_ref()
            .map(|asset| self.scene.terms.surroundings(asset, occasion.at))
            .unwrap_or_default();
        let mut facts = around.facts(asset.as_ref(), occasion.at);
        facts.ticket = Some(ticket);
        facts.what = what;
        facts.answer = answer;
        self.look(rule, occasion, &facts, ticket.id.to_string());
    }

    async fn tickets(&mut self) -> Result<(), StoreError> {
        let store = self.scene.store;
        let all = TicketFilter::default();
        let tickets = every(|page| store.tickets(&all, page)).await?;
        let tickets: BTreeMap<TicketId, Ticket> = tickets.into_iter().map(|t| (t.id, t)).collect();
        for rule in self.rules.clone() {
            match &rule.on {
                Trigger::Notice(label) => self.notices(rule, label, &tickets).await?,
                Trigger::SurveyAnswered => self.answers(rule, &tickets).await?,
                Trigger::Waiting { .. } => {
                    for ticket in tickets.values() {
                        self.waits(rule, ticket);
                    }
                }
                Trigger::Installed { .. }
                | Trigger::Age { .. }
                | Trigger::Cycles { .. }
                | Trigger::ContractEnding { .. }
                | Trigger::WarrantyEnding { .. }
                | Trigger::Firmware { .. }
                | Trigger::Silent { .. } => {}
            }
        }
        Ok(())
    }

    async fn notices(
        &mut self,
        rule: &Rule,
        label: &str,
        tickets: &BTreeMap<TicketId, Ticket>,
    ) -> Result<(), StoreError> {
        let store = self.scene.store;
        for notice in every(|page| store.notices(page)).await? {
            let reacts = notice.what.label() == label && may_react(&rule.name, &notice.automation);
            let Some(ticket) = notice.ticket.and_then(|id| tickets.get(&id)) else {
                continue;
            };
            if !reacts || !self.is_within(notice.at) {
                continue;
            }
            let ticket = as_told(ticket.clone(), &notice);
            let occasion = Occasion {
                key: notice.id.to_string(),
                what: label.to_owned(),
                at: notice.at,
            };
            self.look_at_ticket(rule, &occasion, &ticket, Some(&notice.what), None);
        }
        Ok(())
    }

    async fn answers(
        &mut self,
        rule: &Rule,
        tickets: &BTreeMap<TicketId, Ticket>,
    ) -> Result<(), StoreError> {
        let store = self.scene.store;
        for answer in every(|page| store.survey_answers(None, page)).await? {
            let Some(ticket) = tickets.get(&answer.ticket) else {
                continue;
            };
            if !self.is_within(answer.at) {
                continue;
            }
            let occasion = Occasion {
                key: String::new(),
                what: "the customer has answered".to_owned(),
                at: answer.at,
            };
            self.look_at_ticket(rule, &occasion, ticket, None, Some(&answer));
        }
        Ok(())
    }

    /// Each state that the ticket was in, for as long as it was.
    fn waits(&mut self, rule: &Rule, ticket: &Ticket) {
        let Trigger::Waiting { states, hours } = &rule.on else {
            return;
        };
        let steps: Vec<usize> = (0..ticket.history.len())
            .filter(|i| ticket.history[*i].from != Some(ticket.history[*i].to))
            .collect();
        for (n, step) in steps.iter().enumerate() {
            let mut then = ticket.clone();
            then.history.truncate(step + 1);
            then.state = ticket.history[*step].to;
            let left = steps.get(n + 1).map(|next| ticket.history[*next].at);
            let left = left.unwrap_or(self.to).min(self.to);
            if let Some(occasion) = waiting(&then, states, *hours, left)
                && self.is_within(occasion.at)
                && may_react(&rule.name, &brought_by(&then))
            {
                self.look_at_ticket(rule, &occasion, &then, None, None);
            }
        }
    }

    /// The days of the span, and its end.
    fn days(&self) -> Vec<Timestamp> {
        let mut days = Vec::new();
        let mut day = self.from;
        while day < self.to {
            days.push(day);
            day = day.plus_hours(24.0);
        }
        days.push(self.to);
        days
    }

    fn contracts(&mut self) {
        for (id, life) in self.scene.terms.ending_contracts() {
            for rule in self.rules.clone() {
                let mut known = BTreeSet::new();
                for day in self.days() {
                    let Some(occasion) = occasion(&rule.on, &life, day) else {
                        continue;
                    };
                    if !self.is_within(occasion.at) || !known.insert(occasion.key.clone()) {
                        continue;
                    }
                    if let Some(around) = self.scene.terms.around_contract(&id, occasion.at) {
                        let facts = around.facts(None, occasion.at);
                        self.look(rule, &occasion, &facts, id.to_string());
                    }
                }
            }
        }
    }

    async fn life(&mut self, asset: &Asset) -> Result<(), StoreError> {
        let dates = self.scene.terms.dates(asset);
        for rule in self.rules.clone() {
            match &rule.on {
                Trigger::Installed { .. }
                | Trigger::Age { .. }
                | Trigger::WarrantyEnding { .. }
                | Trigger::Firmware { .. } => {
                    let mut known = BTreeSet::new();
                    for day in self.days() {
                        if let Some(occasion) = occasion(&rule.on, &dates.life(None), day)
                            && self.is_within(occasion.at)
                            && known.insert(occasion.key.clone())
                        {
                            self.look_at_asset(rule, &occasion, asset);
                        }
                    }
                }
                Trigger::Silent { hours } => {
                    let heard = self.hours_heard(asset, None).await?;
                    let next = heard.iter().skip(1).map(|(at, _)| *at).chain([self.to]);
                    for ((last, _), next) in heard.iter().zip(next) {
                        let at = last.plus_hours(*hours);
                        if at < next
                            && let Some(found) = occasion(&rule.on, &dates.life(Some(*last)), at)
                        {
                            self.look_at_asset(rule, &found, asset);
                        }
                    }
                }
                Trigger::Cycles { counter, .. } => {
                    let mut covered = None;
                    for (at, value) in self.hours_heard(asset, Some(counter)).await? {
                        let (next, found) = counted(&rule.on, value, covered, at);
                        covered = next;
                        if let Some(found) = found {
                            self.look_at_asset(rule, &found, asset);
                        }
                    }
                }
                Trigger::Notice(_)
                | Trigger::SurveyAnswered
                | Trigger::Waiting { .. }
                | Trigger::ContractEnding { .. } => {}
            }
        }
        Ok(())
    }

    fn look_at_asset(&mut self, rule: &Rule, occasion: &Occasion, asset: &Asset) {
        let around = self.scene.terms.surroundings(asset, occasion.at);
        let facts = around.facts(Some(asset), occasion.at);
        self.look(rule, occasion, &facts, asset.id.to_string());
    }

    /// Hours in which the device was heard (or gave `metric`), with the greatest value in each.
    async fn hours_heard(
        &self,
        asset: &Asset,
        metric: Option<&MetricName>,
    ) -> Result<Vec<(Timestamp, f64)>, StoreError> {
        let mut heard: BTreeMap<Timestamp, f64> = BTreeMap::new();
        let mut from = self.from;
        while from < self.to {
            let to = from.plus_hours(STRETCH_HOURS as f64).min(self.to);
            let hours = (to.hours_since(from).ceil().max(1.0)).min(STRETCH_HOURS as f64);
            let query = TelemetryQuery {
                device: asset.device.clone(),
                metrics: metric.into_iter().cloned().collect(),
                from,
                to,
                points: (1..=STRETCH_HOURS)
                    .find(|n| *n as f64 >= hours)
                    .unwrap_or(STRETCH_HOURS),
                fill: forecare_store::Fill::None,
            };
            for series in self.scene.store.telemetry(&query).await? {
                for bucket in series.buckets.iter().filter(|bucket| bucket.n > 0) {
                    let most = heard.entry(bucket.ts).or_insert(bucket.max);
                    *most = most.max(bucket.max);
                }
            }
            from = to;
        }
        Ok(heard.into_iter().collect())
    }
}
