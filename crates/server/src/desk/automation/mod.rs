//! Automation at work: rules react to notices before these are routed, and look now and then at what only time brings.
//!
//! What a rule does is stored under a key made of rule, occasion and place of the action. A process that dies in
//! between sees the notice again (it was not routed), or the occasion (it is not kept as taken care of), and does what
//! was not done.

mod act;
mod rehearse;
mod scene;
mod tally;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use forecare_care::automation::{
    Occasion, Rule, Trigger, brought_by, counted, looked_at, may_react, occasion, waiting,
};
use forecare_care::schedule::Covered;
use forecare_domain::{Asset, DeviceId, MetricName, Notice, SurveyAnswer, Ticket, Timestamp};
use forecare_store::{LatestRow, PageRequest, Paged, StoreError, TicketFilter, every};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::CareDesk;
use crate::pipeline::chain;
use act::Case;
use scene::Surroundings;

pub(crate) use rehearse::{Rehearsed, Span};
pub(crate) use scene::Scene;
pub(crate) use tally::Automation;

/// How often it is looked at what only time brings.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Answers looked at once more, though later ones were, and so many hours long: a database may show them out of order.
const ANSWERS_AGAIN: usize = 32;
const ANSWERS_AGAIN_HOURS: f64 = 24.0;
/// Where it is kept up to which answer of a customer rules have looked.
const ANSWERS_KEPT: &str = "automation/answers";

/// What was kept of occasions, as far as it was read since the start: by key, as JSON.
pub(crate) type Marks = BTreeMap<String, String>;

impl CareDesk {
    /// Looks at what only time brings, until `stop` turns true.
    pub(super) async fn run_automation(&self, mut stop: watch::Receiver<bool>) {
        let of_time = |rule: &Rule| !matches!(rule.on, Trigger::Notice(_));
        if !self.automation.rules.all().iter().any(of_time) {
            return;
        }
        let mut marks = Marks::new();
        while !*stop.borrow() {
            if let Err(failure) = self.look_at_automation(&mut marks, self.clock.now()).await {
                // What was not kept is read again.
                marks.clear();
                warn!(error = %chain(&failure), "automation not looked at");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Lets rules react to a notice. Again, it does what was not done.
    pub(crate) async fn automate(&self, notice: &Notice) -> Result<(), StoreError> {
        let label = notice.what.label();
        let reacts = |rule: &&Rule| {
            matches!(&rule.on, Trigger::Notice(on) if on == label)
                && may_react(&rule.name, &notice.automation)
        };
        let rules: Vec<&Rule> = self.automation.rules.all().iter().filter(reacts).collect();
        let (false, Some(id)) = (rules.is_empty(), notice.ticket) else {
            return Ok(());
        };
        let ticket = match self.store.ticket(id).await {
            Ok(ticket) => scene::as_told(ticket, notice),
            Err(StoreError::NotFound(_)) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let occasion = Occasion {
            key: notice.id.to_string(),
            what: label.to_owned(),
            at: notice.at,
        };
        for rule in rules {
            self.react(
                rule,
                &occasion,
                &ticket,
                Some(notice),
                None,
                &notice.automation,
            )
            .await?;
        }
        Ok(())
    }

    /// Looks at a rule about a ticket; whether it did something.
    async fn react(
        &self,
        rule: &Rule,
        occasion: &Occasion,
        ticket: &Ticket,
        notice: Option<&Notice>,
        answer: Option<&SurveyAnswer>,
        led_by: &[String],
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.terms.refresh(&*self.store).await?;
        let asset = self.asset(&ticket.device).await?.map(|(asset, _)| asset);
        let around = asset
            .as_ref()
            .map(|asset| self.terms.surroundings(asset, now))
            .unwrap_or_default();
        let mut facts = around.facts(asset.as_ref(), now);
        facts.ticket = Some(ticket);
        facts.what = notice.map(|n| &n.what);
        facts.answer = answer;
        match looked_at(rule, occasion, &facts) {
            Err(why) => {
                debug!(
                    rule = rule.name,
                    occasion = occasion.key,
                    why,
                    "does not hold"
                );
                Ok(false)
            }
            Ok(commands) => {
                let case = Case {
                    rule,
                    occasion,
                    subject: String::new(),
                    led_by,
                    ticket: Some(ticket.id),
                    asset: asset.as_ref(),
                    around: &around,
                    now,
                };
                self.act(&case, commands).await?;
                Ok(true)
            }
        }
    }

    /// Looks at everything that time brings, at `now`; returns how often a rule did something.
    pub(crate) async fn look_at_automation(
        &self,
        marks: &mut Marks,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.terms.refresh(&*self.store).await?;
        let mut n_acted = self.look_at_answers(marks, now).await?;
        n_acted += self.look_at_waiting(marks, now).await?;
        n_acted += self.look_at_lives(marks, now).await?;
        Ok(n_acted + self.look_at_contracts(marks, now).await?)
    }

    /// What customers have answered since the last look.
    async fn look_at_answers(
        &self,
        marks: &mut Marks,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let rules = self.automation.rules.all().iter();
        let rules: Vec<&Rule> = rules.filter(|r| r.on == Trigger::SurveyAnswered).collect();
        if rules.is_empty() {
            return Ok(0);
        }
        let seen: Option<Answers> = self.mark(marks, ANSWERS_KEPT).await?;
        let upto = seen.as_ref().map(|seen| seen.upto);
        let mut new = Vec::new();
        let mut n_again = 0;
        let mut page = PageRequest {
            before: None,
            limit: 100,
        };
        'pages: loop {
            let answers = self.store.survey_answers(None, page).await?;
            page.before = answers.last().map(|a| a.position);
            let is_last = answers.len() < page.limit;
            for answer in answers {
                if upto.is_none_or(|upto| answer.position <= upto) {
                    n_again += 1;
                }
                // At the first look what was answered before is left alone.
                if n_again > ANSWERS_AGAIN || upto.is_none() && !new.is_empty() {
                    break 'pages;
                }
                new.push(answer);
            }
            if is_last {
                break;
            }
        }
        let newest = new.first().map_or(0, |a| a.position);
        if upto == Some(newest) && n_again == new.len() {
            return Ok(0);
        }
        let mut n_acted = 0;
        let is_due = |answer: &Paged<SurveyAnswer>| {
            let is_recent = now.hours_since(answer.item.at) < ANSWERS_AGAIN_HOURS;
            seen.as_ref().is_some_and(|seen| {
                let is_late = answer.position > seen.begun && is_recent;
                answer.position > seen.upto || is_late && !seen.seen.contains(&answer.position)
            })
        };
        let looked_at: Vec<i64> = new.iter().map(|answer| answer.position).collect();
        for answer in new.into_iter().rev().filter(is_due) {
            let answer = answer.item;
            let ticket = self.store.ticket(answer.ticket).await?;
            let occasion = Occasion {
                key: format!("{}-{}", ticket.id, answer.at.as_millis()),
                what: "the customer has answered".to_owned(),
                at: answer.at,
            };
            for rule in &rules {
                let acted = self.react(rule, &occasion, &ticket, None, Some(&answer), &[]);
                n_acted += usize::from(acted.await?);
            }
        }
        let begun = seen.map_or(newest, |seen| seen.begun);
        let seen = Answers {
            begun,
            upto: newest,
            seen: looked_at,
        };
        self.keep_mark(marks, ANSWERS_KEPT, &seen).await?;
        Ok(n_acted)
    }

    /// Tickets that have been in one state for long.
    async fn look_at_waiting(
        &self,
        marks: &mut Marks,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let rules = self.automation.rules.all().iter();
        let rules: Vec<_> = rules
            .filter_map(|rule| match &rule.on {
                Trigger::Waiting { states, hours } => Some((rule, states.as_slice(), *hours)),
                Trigger::Notice(_)
                | Trigger::SurveyAnswered
                | Trigger::Installed { .. }
                | Trigger::Age { .. }
                | Trigger::Cycles { .. }
                | Trigger::ContractEnding { .. }
                | Trigger::WarrantyEnding { .. }
                | Trigger::Firmware { .. }
                | Trigger::Silent { .. } => None,
            })
            .collect();
        if rules.is_empty() {
            return Ok(0);
        }
        let filter = TicketFilter {
            unfinished: true,
            ..TicketFilter::default()
        };
        let tickets = every(|page| self.store.tickets(&filter, page)).await?;
        let mut n_acted = 0;
        for (rule, states, hours) in rules {
            let place = format!("automation/{}/waiting", rule.name);
            // By ticket: the occasion taken care of. No more of them than unfinished tickets.
            let before: BTreeMap<i64, String> = self.mark(marks, &place).await?.unwrap_or_default();
            let mut after = BTreeMap::new();
            for ticket in &tickets {
                let Some(occasion) = waiting(ticket, states, hours, now) else {
                    continue;
                };
                let led_by = brought_by(ticket);
                let was = before.get(&ticket.id.0) == Some(&occasion.key);
                if !was
                    && may_react(&rule.name, &led_by)
                    && self
                        .react(rule, &occasion, ticket, None, None, &led_by)
                        .await?
                {
                    n_acted += 1;
                } else if !was {
                    continue;
                }
                after.insert(ticket.id.0, occasion.key);
            }
            if after != before {
                self.keep_mark(marks, &place, &after).await?;
            }
        }
        Ok(n_acted)
    }

    /// Machines: their dates, counters, firmware, silence.
    async fn look_at_lives(&self, marks: &mut Marks, now: Timestamp) -> Result<usize, StoreError> {
        let rules = self.automation.rules.all().iter();
        let rules: Vec<&Rule> = rules.filter(|r| r.on.is_of_assets()).collect();
        if rules.is_empty() {
            return Ok(0);
        }
        let asks_readings =
            |rule: &&Rule| matches!(rule.on, Trigger::Cycles { .. } | Trigger::Silent { .. });
        let latest: BTreeMap<DeviceId, LatestRow> = if rules.iter().any(asks_readings) {
            let rows = self.store.latest().await?.into_iter();
            rows.map(|row| (row.device.clone(), row)).collect()
        } else {
            BTreeMap::new()
        };
        let away = self.store.maintenance_windows(now).await?;
        let mut n_acted = 0;
        for asset in &self.store.assets().await? {
            let row = latest.get(&asset.device);
            // Who works on a machine silences it.
            let is_away = away
                .iter()
                .any(|w| w.device == asset.device && w.from <= now);
            let heard_at = row.map(|row| row.ts).filter(|_| !is_away);
            let dates = self.terms.dates(asset);
            let life = dates.life(heard_at);
            for rule in &rules {
                let place = format!("automation/{}/{}", rule.name, asset.id);
                let place = place.as_str();
                let acted = if let Trigger::Cycles { counter, .. } = &rule.on {
                    let value = row.and_then(|row| reading(row, counter));
                    self.look_at_counter(marks, rule, place, asset, value, now)
                        .await?
                } else if let Some(occasion) = occasion(&rule.on, &life, now) {
                    let around = self.terms.surroundings(asset, now);
                    let once = Once { marks, place };
                    self.once(once, rule, &occasion, Some(asset), &around, now)
                        .await?
                } else {
                    false
                };
                n_acted += usize::from(acted);
            }
        }
        Ok(n_acted)
    }

    async fn look_at_counter(
        &self,
        marks: &mut Marks,
        rule: &Rule,
        place: &str,
        asset: &Asset,
        value: Option<f64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(value) = value else { return Ok(false) };
        let place = format!("{place}/counter");
        let covered: Option<Covered> = self.mark(marks, &place).await?;
        let (next, occasion) = counted(&rule.on, value, covered, now);
        let mut acted = false;
        // Where conditions do not hold yet, or consent is missing, it is looked at again.
        let mut is_over = true;
        if let Some(occasion) = occasion {
            let around = self.terms.surroundings(asset, now);
            acted = self
                .live(rule, &occasion, Some(asset), &around, now)
                .await?;
            is_over = acted;
        }
        if is_over && next != covered {
            self.keep_mark(marks, &place, &next).await?;
        }
        Ok(acted)
    }

    /// Contracts that end.
    async fn look_at_contracts(
        &self,
        marks: &mut Marks,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let rules = self.automation.rules.all().iter();
        let rules: Vec<&Rule> = rules
            .filter(|r| matches!(r.on, Trigger::ContractEnding { .. }))
            .collect();
        if rules.is_empty() {
            return Ok(0);
        }
        let mut n_acted = 0;
        for (id, life) in self.terms.ending_contracts() {
            for rule in &rules {
                if let Some(occasion) = occasion(&rule.on, &life, now)
                    && let Some(around) = self.terms.around_contract(&id, now)
                {
                    let place = &format!("automation/{}/contract/{id}", rule.name);
                    let once = Once { marks, place };
                    let acted = self.once(once, rule, &occasion, None, &around, now);
                    n_acted += usize::from(acted.await?);
                }
            }
        }
        Ok(n_acted)
    }

    /// Looks at a rule at an occasion that is not kept as taken care of yet, and keeps it.
    async fn once(
        &self,
        once: Once<'_>,
        rule: &Rule,
        occasion: &Occasion,
        asset: Option<&Asset>,
        around: &Surroundings,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Once { marks, place } = once;
        if looked_at(rule, occasion, &around.facts(asset, now)).is_err() {
            // Looked at again: what does not hold today may tomorrow, while the occasion lasts.
            return Ok(false);
        }
        let kept: Option<String> = self.mark(marks, place).await?;
        if kept.as_ref() == Some(&occasion.key) {
            return Ok(false);
        }
        let acted = self.live(rule, occasion, asset, around, now).await?;
        if acted {
            // After the work: a crash in between repeats it under the same keys.
            self.keep_mark(marks, place, &occasion.key).await?;
        }
        Ok(acted)
    }

    /// Looks at a rule about a machine or a contract; whether it did something.
    async fn live(
        &self,
        rule: &Rule,
        occasion: &Occasion,
        asset: Option<&Asset>,
        around: &Surroundings,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let facts = around.facts(asset, now);
        let Ok(commands) = looked_at(rule, occasion, &facts) else {
            return Ok(false);
        };
        let case = Case {
            rule,
            occasion,
            subject: around.subject(asset),
            led_by: &[],
            ticket: None,
            asset,
            around,
            now,
        };
        self.act(&case, commands).await?;
        Ok(true)
    }

    async fn mark<T: DeserializeOwned>(
        &self,
        marks: &mut Marks,
        place: &str,
    ) -> Result<Option<T>, StoreError> {
        if !marks.contains_key(place) {
            let Some(text) = self.store.setting(place).await? else {
                return Ok(None);
            };
            marks.insert(place.to_owned(), text);
        }
        // What cannot be read counts as nothing: keys still keep all from being done twice.
        Ok(marks.get(place).and_then(|t| serde_json::from_str(t).ok()))
    }

    async fn keep_mark<T: Serialize>(
        &self,
        marks: &mut Marks,
        place: &str,
        value: &T,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_string(value).map_err(|error| StoreError::Corrupt {
            what: format!("what is kept as {place}"),
            source: Some(Box::new(error)),
        })?;
        self.store.put_setting(place, &text).await?;
        marks.insert(place.to_owned(), text);
        Ok(())
    }
}

/// Up to which answer rules have looked: by its position, and that of the newest when they began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answers {
    begun: i64,
    upto: i64,
    /// Of the latest, those looked at: each once.
    #[serde(default)]
    seen: Vec<i64>,
}

/// Where it is kept that an occasion was taken care of.
struct Once<'a> {
    marks: &'a mut Marks,
    place: &'a str,
}

/// The reading of that name.
fn reading(row: &LatestRow, metric: &MetricName) -> Option<f64> {
    let found = row.readings.iter().find(|(name, _)| name == metric);
    found.map(|(_, value)| *value)
}
