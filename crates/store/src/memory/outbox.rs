//! Notices, their deliveries, and what customers say.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::{DeliveryId, Notice, NoticeId, SurveyAnswer, TicketId, Timestamp};
use forecare_registry::Addressed;

use crate::{
    Attempt, DELIVERIES_PER_NOTICE_MAX, Delivery, DeliveryFilter, DeliveryState, NOTICES_KEPT,
    NewDelivery, OutboxDepth, PAGE_ENTRIES_MAX, SURVEY_ANSWERS_MAX, StoreError,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    notices: BTreeMap<i64, Kept>,
    ids: BTreeSet<NoticeId>,
    last: i64,
    deliveries: BTreeMap<i64, Delivery>,
    last_delivery: i64,
    answers: Vec<SurveyAnswer>,
}

#[derive(Debug, Clone)]
struct Kept {
    notice: Notice,
    routed: bool,
}

impl Outbox {
    pub(super) fn write(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            // One of the same id was told before.
            if !self.ids.insert(notice.id.clone()) {
                continue;
            }
            self.last += 1;
            let kept = Kept {
                notice,
                routed: false,
            };
            self.notices.insert(self.last, kept);
            if let Some(gone) = self.notices.remove(&(self.last - NOTICES_KEPT)) {
                self.ids.remove(&gone.notice.id);
                self.deliveries.retain(|_, d| d.notice.id != gone.notice.id);
            }
        }
    }

    pub(super) fn kept(&self) -> impl DoubleEndedIterator<Item = (i64, &Notice)> {
        self.notices.iter().map(|(n, kept)| (*n, &kept.notice))
    }

    pub(super) fn unrouted(&self, limit: usize) -> Vec<Notice> {
        let unrouted = self.notices.values().filter(|kept| !kept.routed);
        unrouted
            .take(limit.clamp(1, PAGE_ENTRIES_MAX))
            .map(|kept| kept.notice.clone())
            .collect()
    }

    /// Takes people out of deliveries; what they had not got yet is not sent.
    pub(super) fn erase(&mut self, addressed: &BTreeSet<Addressed>, at: Timestamp) {
        for delivery in self.deliveries.values_mut() {
            let is_it = |a: &Addressed| {
                a.name == delivery.recipient
                    && a.is_customer == delivery.to_customer
                    && a.address.as_ref().is_none_or(|to| *to == delivery.address)
            };
            if addressed.iter().any(is_it) {
                delivery.erase(at);
            }
        }
    }

    pub(super) fn route(
        &mut self,
        id: &NoticeId,
        deliveries: Vec<NewDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let kept = self.notices.values_mut().find(|k| k.notice.id == *id);
        let kept = kept.ok_or_else(|| StoreError::NotFound(format!("notice {id}")))?;
        if kept.routed {
            return Ok(false);
        }
        kept.routed = true;
        let notice = kept.notice.clone();
        let mut taken: Vec<NewDelivery> = Vec::new();
        for new in deliveries.into_iter().take(DELIVERIES_PER_NOTICE_MAX) {
            if taken
                .iter()
                .any(|t| t.channel == new.channel && t.address == new.address)
            {
                continue;
            }
            self.last_delivery += 1;
            let delivery = Delivery {
                id: DeliveryId(self.last_delivery),
                notice: notice.clone(),
                channel: new.channel.clone(),
                recipient: new.recipient.clone(),
                address: new.address.clone(),
                language: new.language.clone(),
                to_customer: new.to_customer,
                digest: new.digest,
                state: DeliveryState::Waiting,
                attempts: 0,
                next_at: new.due_at,
                error: None,
                updated_at: at,
            };
            self.deliveries.insert(self.last_delivery, delivery);
            taken.push(new);
        }
        Ok(true)
    }

    pub(super) fn due(&self, at: Timestamp, limit: usize) -> Vec<Delivery> {
        let waiting = |d: &&Delivery| d.state == DeliveryState::Waiting && d.next_at <= at;
        let mut due: Vec<&Delivery> = self.deliveries.values().filter(waiting).collect();
        due.sort_by_key(|d| (d.next_at, d.id));
        due.truncate(limit.clamp(1, PAGE_ENTRIES_MAX));
        due.into_iter().cloned().collect()
    }

    pub(super) fn record(&mut self, attempts: &[Attempt], at: Timestamp) -> usize {
        let mut n_counted = 0;
        for attempt in attempts {
            if let Some(delivery) = self.deliveries.get_mut(&attempt.id.0)
                && let Some(after) = attempt.on(delivery, at)
            {
                *delivery = after;
                n_counted += 1;
            }
        }
        n_counted
    }

    pub(super) fn retry(&mut self, id: DeliveryId, at: Timestamp) -> Result<Delivery, StoreError> {
        let delivery = self.deliveries.get_mut(&id.0);
        let delivery = delivery.ok_or_else(|| StoreError::NotFound(format!("delivery {id}")))?;
        if delivery.state != DeliveryState::Dead {
            return Err(StoreError::not_dead(id, delivery.state));
        }
        delivery.state = DeliveryState::Waiting;
        delivery.attempts = 0;
        delivery.next_at = at;
        delivery.updated_at = at;
        Ok(delivery.clone())
    }

    pub(super) fn chosen<'a>(
        &'a self,
        filter: &'a DeliveryFilter,
    ) -> impl DoubleEndedIterator<Item = (i64, &'a Delivery)> {
        let chosen = |d: &&Delivery| {
            filter.state.is_none_or(|state| state == d.state)
                && filter
                    .ticket
                    .is_none_or(|ticket| Some(ticket) == d.notice.ticket)
                && filter.channel.as_ref().is_none_or(|c| *c == d.channel)
        };
        self.deliveries.values().filter(chosen).map(|d| (d.id.0, d))
    }

    pub(super) fn delivery(&self, id: DeliveryId) -> Result<Delivery, StoreError> {
        let delivery = self.deliveries.get(&id.0).cloned();
        delivery.ok_or_else(|| StoreError::NotFound(format!("delivery {id}")))
    }

    pub(super) fn depth(&self) -> OutboxDepth {
        let count = |state| {
            let such = self.deliveries.values().filter(|d| d.state == state);
            such.count() as u64
        };
        let waiting = self.due(Timestamp::MAX, 1);
        OutboxDepth {
            unrouted: self.notices.values().filter(|k| !k.routed).count() as u64,
            waiting: count(DeliveryState::Waiting),
            dead: count(DeliveryState::Dead),
            oldest_due_at: waiting.first().map(|d| d.next_at),
        }
    }

    pub(super) fn answer(&mut self, answer: SurveyAnswer) -> Result<(), StoreError> {
        let of_ticket = self.answers.iter().filter(|a| a.ticket == answer.ticket);
        if of_ticket.count() >= SURVEY_ANSWERS_MAX {
            return Err(StoreError::answered_too_often(answer.ticket));
        }
        self.answers.push(answer);
        Ok(())
    }

    pub(super) fn answers(
        &self,
        ticket: Option<TicketId>,
    ) -> impl DoubleEndedIterator<Item = (i64, &SurveyAnswer)> {
        super::numbered(&self.answers).filter(move |(n, answer)| match ticket {
            Some(ticket) => answer.ticket == ticket,
            // Of every ticket the last one.
            None => super::numbered(&self.answers)
                .all(|(m, other)| m <= *n || other.ticket != answer.ticket),
        })
    }
}
