//! Empties the outbox: chooses who gets a notice, sends what is due, records what came of it.
//!
//! A notice is routed once, in one transaction; an attempt is recorded when the other side has answered. A process that
//! dies in between sends again, under the same id.

mod about;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use forecare_api::{Desk, Work, WorkRequest, customer_of};
use forecare_care::sla::Escalation;
use forecare_care::work::WorkStep;
use forecare_domain::{Clock, ContactRef, Notice, NoticeKind, Ticket, Timestamp, Visibility};
use forecare_notify::{
    AddressBook, Channels, Message, Notify, SendError, Shown, SurveyLinks, Templates, Untold,
    hours_of_contact, next_attempt, route, still_holds,
};
use forecare_registry::{Body, Contact, Customer, RecordId, RecordKind, RecordRef, Technician};
use forecare_store::{
    Attempt, Delivery, DeliveryState, PageRequest, RecordFilter, RecordPage, Store, StoreError,
    TicketFilter, forecare,
};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use about::About;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::desk::{CareDesk, Terms};
use crate::pipeline::chain;

/// Notices routed at once.
const NOTICES_AT_ONCE: usize = 100;
/// Deliveries read at once; those of a digest beyond it are another message.
const DELIVERIES_AT_ONCE: usize = 256;
/// Messages on their way at the same time.
const SENDING_AT_ONCE: usize = 32;
/// Technicians looked at; beyond, names are not found.
const TECHNICIANS_MAX: usize = 10_000;
/// Answers of a customer on one ticket that are looked at: the newest.
const ANSWERS_LOOKED_AT: usize = 20;
/// Tickets of a machine that are looked through for earlier ones of the same contact: the newest.
const ASKED_LOOKED_AT: usize = 50;
/// Acknowledgements that a contact gets within an hour, of one machine.
const ACKNOWLEDGED_PER_HOUR: usize = 3;
/// How often the outbox is looked at when it was empty.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is counted what waits there when nothing happens.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Channels, templates and rules, as configured and readable.
#[derive(Debug, Clone)]
pub(crate) struct Speech {
    pub(crate) notify: Arc<Notify>,
    pub(crate) templates: Arc<Templates>,
    pub(crate) channels: Arc<Channels>,
}

impl Speech {
    /// Reads templates and secrets; sends nothing.
    ///
    /// # Errors
    /// What the section `[notify]` names and cannot be used.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let notify = Notify::new(config.notify.clone())?;
        let dir = &notify.settings.template_dir;
        let dir = (!dir.as_os_str().is_empty()).then_some(dir.as_path());
        Ok(Self {
            templates: Arc::new(Templates::load(dir)?),
            channels: Arc::new(Channels::open(&notify.settings)?),
            notify: Arc::new(notify),
        })
    }
}

/// What is counted.
#[derive(Clone)]
pub(crate) struct NotifierMetrics {
    deliveries: IntCounterVec,
    unreachable: IntCounter,
    unrouted: IntGauge,
    waiting: IntGauge,
    dead: IntGauge,
    overdue_s: IntGauge,
}

impl NotifierMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Two metrics of one name: our own mistake.
    pub(crate) fn new(registry: &Registry, channels: &Channels) -> Result<Self> {
        let deliveries = IntCounterVec::new(
            Opts::new(
                "forecare_deliveries_total",
                "Attempts to tell somebody, by channel and outcome.",
            ),
            &["channel", "outcome"],
        )?;
        for channel in channels.names() {
            for outcome in ["delivered", "failed", "dead", "obsolete"] {
                deliveries.with_label_values(&[channel, outcome]);
            }
        }
        registry.register(Box::new(deliveries.clone()))?;
        let unreachable = IntCounter::new(
            "forecare_notices_unreachable_total",
            "Times somebody was to be told whom no address is known of.",
        )?;
        registry.register(Box::new(unreachable.clone()))?;
        let gauge = |name, help| -> Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            deliveries,
            unreachable,
            unrouted: gauge(
                "forecare_outbox_unrouted",
                "Notices that nobody has been chosen for yet.",
            )?,
            waiting: gauge(
                "forecare_outbox_waiting",
                "Deliveries that are to be tried, now or later.",
            )?,
            dead: gauge(
                "forecare_outbox_dead",
                "Deliveries that were given up and not retried.",
            )?,
            overdue_s: gauge(
                "forecare_outbox_overdue_seconds",
                "Time since the oldest waiting delivery was due; 0 where none is.",
            )?,
        })
    }
}

/// The notifier.
pub(crate) struct Notifier {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) speech: Speech,
    pub(crate) terms: Arc<Terms>,
    /// Whose rules react to notices, before anybody is told.
    pub(crate) desk: CareDesk,
    pub(crate) links: SurveyLinks,
    pub(crate) metrics: NotifierMetrics,
    /// Of the jitter.
    pub(crate) seed: u64,
}

/// What was done in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Round {
    /// Notices routed.
    pub(crate) n_routed: usize,
    /// Deliveries tried, or found obsolete.
    pub(crate) n_tried: usize,
}

impl Notifier {
    /// Works until `stop` turns true; what is being sent then is finished.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut failed = false;
        let mut counted: Option<Instant> = None;
        while !*stop.borrow() {
            let done = self.round().await;
            if let Err(failure) = &done
                && !failed
            {
                warn!(error = %chain(failure), "nobody is told while the store does not answer");
            }
            failed = done.is_err();
            let busy = done.is_ok_and(|round| round != Round::default());
            if busy || counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
                // What fails here has failed above, or is said there the next time.
                self.count().await.ok();
                counted = Some(Instant::now());
            }
            if busy {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Routes what is new, sends what is due.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn round(&self) -> Result<Round, StoreError> {
        let n_routed = self.route_all().await?;
        let now = self.clock.now();
        let due = self.store.due_deliveries(now, DELIVERIES_AT_ONCE).await?;
        let n_tried = self.send_all(due, now).await?;
        Ok(Round { n_routed, n_tried })
    }

    /// Brings what waits to the gauges.
    async fn count(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let depth = self.store.outbox_depth().await?;
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.unrouted.set(gauge(depth.unrouted));
        self.metrics.waiting.set(gauge(depth.waiting));
        self.metrics.dead.set(gauge(depth.dead));
        let due_ms = depth.oldest_due_at.map_or(i64::MAX, Timestamp::as_millis);
        let overdue_ms = now.as_millis().saturating_sub(due_ms).max(0);
        self.metrics.overdue_s.set(overdue_ms / 1_000);
        Ok(())
    }

    async fn route_all(&self) -> Result<usize, StoreError> {
        let notices = self.store.unrouted_notices(NOTICES_AT_ONCE).await?;
        if notices.is_empty() {
            return Ok(0);
        }
        let speaks = self.speech.channels.names().next().is_some();
        let technicians = if speaks {
            technicians(&*self.store).await?
        } else {
            Vec::new()
        };
        for notice in &notices {
            // First: a notice that was not routed is read again, and what rules did then is done under the same keys.
            self.desk.automate(notice).await?;
            let now = self.clock.now();
            let deliveries = if speaks {
                let (escalation, first_level) = self.escalation(notice).await?;
                let customer = self.customer(notice).await?;
                let book = AddressBook {
                    escalation,
                    first_level,
                    technicians: technicians.clone(),
                    // The machine may be another customer's by now: ids of contacts are theirs alone.
                    contact: match (self.contact(notice).await?, self.customer_id(notice).await?) {
                        (Some(wrote), Some(owner)) if wrote.customer == owner.as_str() => {
                            Some(wrote.contact)
                        }
                        _ => None,
                    },
                    customer,
                    time_zone: self.zone_of_place(notice),
                    has_answered: self.has_answered(notice).await?,
                };
                let routed = route(&self.speech.notify, notice, &book, now);
                for why in &routed.unreachable {
                    self.metrics.unreachable.inc();
                    warn!(notice.id = %notice.id, why, "somebody cannot be told");
                }
                if let Some(untold) = &routed.untold {
                    self.say_untold(notice, untold).await;
                }
                routed.deliveries
            } else {
                if matches!(notice.what, NoticeKind::TicketReplied { .. }) {
                    let why = "no channel is configured".to_owned();
                    self.say_untold(notice, &Untold { asks: false, why }).await;
                }
                Vec::new()
            };
            self.store.route_notice(&notice.id, deliveries, now).await?;
        }
        Ok(notices.len())
    }

    /// Id of the contact who last wrote about the ticket, or sent the message. `None` of an acknowledgement as well where they
    /// had several within the hour: a program that answers ours would be answered for ever.
    async fn contact(&self, notice: &Notice) -> Result<Option<ContactRef>, StoreError> {
        if let NoticeKind::MailUnplaced { from } = &notice.what {
            return Ok(from.as_ref().map(|(customer, contact)| ContactRef {
                customer: customer.clone(),
                contact: contact.clone(),
            }));
        }
        let Some(id) = notice.ticket else {
            return Ok(None);
        };
        let ticket = self.store.ticket(id).await?;
        let Some(contact) = ticket.work.contact else {
            return Ok(None);
        };
        if notice.what != NoticeKind::TicketReceived {
            return Ok(Some(contact));
        }
        let filter = TicketFilter {
            asset: Some(ticket.asset),
            ..TicketFilter::default()
        };
        let page = PageRequest {
            before: None,
            limit: ASKED_LOOKED_AT,
        };
        let asked = self.store.tickets(&filter, page).await?;
        let of_the_hour = asked.iter().map(|paged| &paged.item).filter(|other| {
            other.id < id
                && other.work.contact.as_ref() == Some(&contact)
                && notice.at.hours_since(other.opened_at) < 1.0
        });
        if of_the_hour.count() < ACKNOWLEDGED_PER_HOUR {
            return Ok(Some(contact));
        }
        warn!(notice.id = %notice.id, "not acknowledged: one sender asks for a ticket again and again");
        Ok(None)
    }

    /// Time zone of the place where the machine stands.
    fn zone_of_place(&self, notice: &Notice) -> Option<String> {
        let asset = notice.asset.as_ref()?;
        self.terms.time_zone_of(asset, self.clock.now())
    }

    /// Whom the level that was reached names, and whom the first level does where a customer wrote on a ticket that nobody
    /// has, or nobody knows what about.
    async fn escalation(&self, notice: &Notice) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let reached = if let NoticeKind::SlaEscalated { clock, level } = notice.what {
            Some((clock, level))
        } else if notice.what == NoticeKind::TicketMessage && notice.technician.is_none()
            || matches!(notice.what, NoticeKind::MailUnplaced { .. })
        {
            None
        } else {
            return Ok((Vec::new(), Vec::new()));
        };
        let terms = match notice.ticket {
            Some(ticket) => self.terms.of(&self.store.ticket(ticket).await?),
            None => self.terms.standard(),
        };
        let levels = terms.escalations();
        let names = |is_it: &dyn Fn(&Escalation) -> bool| {
            let of = levels.iter().filter(|e| is_it(e));
            let names: BTreeSet<String> = of.flat_map(|e| e.to.clone()).collect();
            names.into_iter().collect()
        };
        let first = levels.iter().map(|e| e.level).min();
        Ok(match reached {
            Some(reached) => (names(&|e| (e.clock, e.level) == reached), Vec::new()),
            None => (Vec::new(), names(&|e| Some(e.level) == first)),
        })
    }

    /// Whether the customer has said how the work went, by an earlier link.
    async fn has_answered(&self, notice: &Notice) -> Result<bool, StoreError> {
        let asks = notice.what == NoticeKind::TicketClosed
            || matches!(&notice.what, NoticeKind::AutomationMessage(m) if m.survey);
        let Some(ticket) = notice.ticket.filter(|_| asks) else {
            return Ok(false);
        };
        let page = PageRequest {
            before: None,
            limit: ANSWERS_LOOKED_AT,
        };
        let said = self.store.survey_answers(Some(ticket), page).await?;
        Ok(said
            .iter()
            .map(|answer| [answer.item.csat, answer.item.nps, answer.item.ces])
            .any(|scores| scores.iter().any(Option::is_some)))
    }

    /// Says on the ticket, once for messages, for answers and for the survey, that the customer was not written to.
    async fn say_untold(&self, notice: &Notice, untold: &Untold) {
        let Some(ticket) = notice.ticket else { return };
        let Untold { asks, why } = untold;
        let purpose = if matches!(notice.what, NoticeKind::TicketReplied { .. }) {
            "reply"
        } else if *asks {
            "survey"
        } else {
            "service"
        };
        let request = WorkRequest {
            step: Work::Step(WorkStep::Note {
                text: format!("The customer is not written to: {why}."),
                visibility: Visibility::Internal,
            }),
            if_version: None,
            idempotency_key: Some(format!("untold:{ticket}:{purpose}")),
        };
        if let Err(error) = Desk::work(&self.desk, ticket, request, forecare()).await {
            warn!(notice.id = %notice.id, %error, why, "the customer was not told, and the ticket does not say so");
        }
    }

    /// Id of the customer whom a notice concerns.
    async fn customer_id(&self, notice: &Notice) -> Result<Option<RecordId>, StoreError> {
        if let Some(ticket) = notice.ticket {
            return self.customer_of(&self.store.ticket(ticket).await?).await;
        }
        Ok(match (&notice.asset, &notice.what) {
            (Some(asset), _) => self.owned(asset).await?.1,
            (None, NoticeKind::MailUnplaced { from }) => {
                let id = from.as_ref().map(|(customer, _)| customer);
                id.and_then(|id| RecordId::new(id).ok())
            }
            (None, NoticeKind::AutomationMessage(message)) => {
                let id = message.customer.as_ref();
                id.and_then(|id| RecordId::new(id).ok())
            }
            (None, _) => None,
        })
    }

    /// Whose `ticket` is: the customer for whom it was opened, as long as they are on record, else whose the machine is.
    async fn customer_of(&self, ticket: &Ticket) -> Result<Option<RecordId>, StoreError> {
        let (_, owner) = self.owned(&ticket.asset).await?;
        customer_of(self.store.as_ref(), ticket, owner).await
    }

    /// The customer whom a notice concerns, where there is one.
    async fn customer(&self, notice: &Notice) -> Result<Option<Customer>, StoreError> {
        let Some(id) = self.customer_id(notice).await? else {
            return Ok(None);
        };
        let customer = RecordRef::new(RecordKind::Customer, id);
        match self.store.record(&customer).await?.and_then(|r| r.body) {
            Some(Body::Customer(customer)) => Ok(Some(customer)),
            Some(_) | None => Ok(None),
        }
    }

    /// Sends deliveries side by side, those of a digest as one; each is recorded as soon as it is answered.
    async fn send_all(&self, due: Vec<Delivery>, now: Timestamp) -> Result<usize, StoreError> {
        let n_due = due.len();
        let mut sending = JoinSet::new();
        let places = Arc::new(Semaphore::new(SENDING_AT_ONCE));
        for parcel in parcels(due) {
            let mut kept = Vec::new();
            for delivery in parcel {
                // Programs want what happened; people what holds.
                if delivery.to_customer
                    && let Some(ticket) = delivery.notice.ticket
                    && !still_holds(&delivery.notice, &self.store.ticket(ticket).await?)
                {
                    let obsolete = attempt(&delivery, DeliveryState::Obsolete, now, None);
                    self.record(vec![(obsolete, &delivery)], now).await?;
                    continue;
                }
                kept.push(delivery);
            }
            let Some(first) = kept.first() else { continue };
            // Nothing may end the loop here: what is being sent already would be sent again.
            let zone = self.zone_of(first).await;
            let zone =
                zone.unwrap_or_else(|_later| self.speech.notify.hours.time_zone().to_owned());
            // What names people is for somebody, not for a channel that many read.
            let about = if first.to_customer || first.digest || first.address.is_empty() {
                Ok(About::default())
            } else {
                self.about(&first.notice).await
            };
            // Told without it sooner than not at all.
            let about = about.unwrap_or_else(|failure| {
                warn!(notice.id = %first.notice.id, error = %chain(&failure), "told without what else is known");
                About::default()
            });
            let message = self.message(&kept, zone, about);
            let channel = first.channel.clone();
            let channels = Arc::clone(&self.speech.channels);
            let places = Arc::clone(&places);
            sending.spawn(async move {
                // Never closed: an error cannot come.
                let _place = places.acquire().await.ok();
                let sent = match message {
                    // Receivers compare the signature's time with their own clock, whatever ours is here.
                    Ok(message) => channels.send(&channel, &message, SystemClock.now()).await,
                    Err(why) => Err(SendError::Never(why)),
                };
                (kept, sent)
            });
        }
        while let Some(joined) = sending.join_next().await {
            let Ok((parcel, sent)) = joined else {
                // Our own mistake in sending: it stays due, and is tried again.
                continue;
            };
            let attempts = parcel
                .iter()
                .map(|d| (self.outcome(d, &sent, now), d))
                .collect();
            self.record(attempts, now).await?;
        }
        Ok(n_due)
    }

    fn outcome(&self, d: &Delivery, sent: &Result<(), SendError>, now: Timestamp) -> Attempt {
        let why = match sent {
            Ok(()) => return attempt(d, DeliveryState::Delivered, now, None),
            Err(why) => why,
        };
        let key = format!("{}/{}/{}", d.notice.id, d.channel, d.address);
        let backoff = self.speech.notify.backoff(self.seed);
        let next = match why {
            SendError::Later(_) => next_attempt(&backoff, &key, d.attempts + 1, now),
            SendError::Never(_) => None,
        };
        let state = match next {
            Some(_) => DeliveryState::Waiting,
            None => DeliveryState::Dead,
        };
        attempt(d, state, next.unwrap_or(now), Some(why.to_string()))
    }

    async fn record(
        &self,
        attempts: Vec<(Attempt, &Delivery)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let all = attempts.iter().map(|(a, _)| a.clone()).collect();
        self.store.record_attempts(all, now).await?;
        for (attempt, d) in attempts {
            let outcome = match attempt.state {
                DeliveryState::Waiting => "failed",
                DeliveryState::Delivered => "delivered",
                DeliveryState::Dead => "dead",
                DeliveryState::Obsolete => "obsolete",
            };
            let counts = &self.metrics.deliveries;
            counts
                .with_label_values(&[d.channel.as_str(), outcome])
                .inc();
            let error = attempt.error.as_deref().unwrap_or_default();
            if attempt.state == DeliveryState::Dead {
                warn!(delivery.id = %d.id, notice.id = %d.notice.id, channel = d.channel, attempts = d.attempts + 1, error, "delivery given up");
            } else {
                info!(delivery.id = %d.id, notice.id = %d.notice.id, channel = d.channel, outcome, error, "delivery");
            }
        }
        Ok(())
    }

    /// One message of a parcel; the error: why it cannot be written.
    fn message(&self, parcel: &[Delivery], zone: String, about: About) -> Result<Message, String> {
        let first = parcel.first().ok_or("an empty parcel")?;
        let templates = &self.speech.templates;
        let written = if first.digest {
            let all: Vec<Shown> = parcel.iter().map(|d| self.shown(d, &zone)).collect();
            templates.digest(&first.language, &all)
        } else {
            let shown = Shown {
                visit: about.visit,
                words: about.words,
                sender: about.sender,
                ..self.shown(first, &zone)
            };
            templates.notice(&first.language, first.to_customer, &shown)
        };
        let (subject, text) = written.map_err(|error| error.to_string())?;
        let facts = serde_json::to_value(&first.notice).map_err(|error| error.to_string())?;
        let id = &first.notice.id.0;
        Ok(Message {
            id: if first.digest {
                format!("digest.{id}")
            } else {
                id.clone()
            },
            delivery: first.id.to_string(),
            event: first.notice.what.label().to_owned(),
            about: first.notice.about(),
            at: first.notice.at,
            address: first.address.clone(),
            recipient: first.recipient.clone(),
            subject,
            text,
            facts,
        })
    }

    fn shown(&self, d: &Delivery, zone: &str) -> Shown {
        let settings = &self.speech.notify.settings;
        let notice = &d.notice;
        let mut shown = Shown::of(notice, &d.recipient, zone);
        let base = settings.public_url.trim_end_matches('/');
        if matches!(notice.what, NoticeKind::MailUnplaced { .. }) && !base.is_empty() {
            shown.url = format!("{base}/inbox");
        }
        let Some(ticket) = notice.ticket.filter(|_| !base.is_empty()) else {
            return shown;
        };
        shown.url = format!("{base}/tickets/{}", ticket.0);
        if d.to_customer {
            let hours = f64::from(settings.survey_valid_days) * 24.0;
            // From the notice's time: tried again, it is the same link.
            let until = notice.at.plus_hours(hours);
            let token = self.links.token(ticket, until);
            shown.answer_url = format!("{base}/answer/{token}?lang={}", d.language);
            shown.answer_until = until;
        }
        shown
    }

    /// The time zone by which the recipient reads times.
    async fn zone_of(&self, d: &Delivery) -> Result<String, StoreError> {
        let notify = &self.speech.notify;
        if d.to_customer {
            let is_it = |c: &&Contact| {
                c.name == d.recipient && c.channels.iter().any(|to| to.address == d.address)
            };
            let customer = self.customer(&d.notice).await?;
            let contact = customer.iter().flat_map(|c| &c.contacts).find(is_it);
            let place = self.zone_of_place(&d.notice);
            let hours = contact.map(|c| hours_of_contact(notify, c, place.as_deref()));
            let hours = hours.unwrap_or(Cow::Borrowed(&notify.hours));
            return Ok(hours.time_zone().to_owned());
        }
        let mut people = notify.settings.person.iter().zip(&notify.hours_of);
        let own = people.find(|(person, _)| person.name == d.recipient);
        if own.is_none()
            && let Some(zone) = self.terms.time_zone_of_technician(&d.recipient)
        {
            return Ok(zone);
        }
        let hours = own.map_or(&notify.hours, |(_, hours)| hours);
        Ok(hours.time_zone().to_owned())
    }
}

fn attempt(
    d: &Delivery,
    state: DeliveryState,
    next_at: Timestamp,
    error: Option<String>,
) -> Attempt {
    Attempt {
        id: d.id,
        attempts: d.attempts,
        state,
        next_at,
        error,
    }
}

/// What goes out as one message: a delivery by itself, or all of one address's digest.
fn parcels(due: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let mut single = Vec::new();
    let mut digests: BTreeMap<(String, String, String), Vec<Delivery>> = BTreeMap::new();
    for d in due {
        if d.digest {
            let key = (d.channel.clone(), d.address.clone(), d.language.clone());
            digests.entry(key).or_default().push(d);
        } else {
            single.push(vec![d]);
        }
    }
    single.extend(digests.into_values());
    single
}

/// Technicians of the registry who work for us now, by id.
///
/// # Errors
/// The store does not answer.
pub(crate) async fn technicians(
    store: &dyn Store,
) -> Result<Vec<(RecordId, Technician)>, StoreError> {
    let mut all = Vec::new();
    let mut page = RecordPage {
        after: None,
        limit: 1_000,
    };
    while all.len() < TECHNICIANS_MAX {
        let kind = RecordKind::Technician;
        let found = store.records(kind, &RecordFilter::default(), &page).await?;
        let full = found.len() == page.limit;
        page.after = found.last().map(|r| r.record.id.clone());
        all.extend(found.into_iter().filter_map(|r| match r.body {
            Some(Body::Technician(technician)) if technician.active => {
                Some((r.record.id, technician))
            }
            Some(_) | None => None,
        }));
        if !full {
            break;
        }
    }
    Ok(all)
}

/// Names of the escalation chain and of the rules that lead to nobody, each with the reason. Empty where there are no
/// channels: then nobody is told of anything.
pub(crate) fn unreachable_names(
    config: &Config,
    speech: &Speech,
    technicians: &[(RecordId, Technician)],
) -> Vec<String> {
    let notify = &speech.notify;
    if speech.channels.names().next().is_none() {
        return Vec::new();
    }
    let chain = config.care.sla.escalations().iter();
    let asks_chain = notify
        .settings
        .rule
        .iter()
        .any(|r| r.to.iter().any(|to| to == "@escalation"));
    let mut names: Vec<&String> = chain
        .filter(|_| asks_chain)
        .flat_map(|level| &level.to)
        .collect();
    let rules = notify.settings.rule.iter().flat_map(|rule| &rule.to);
    names.extend(rules.filter(|to| !to.starts_with(['@', '#'])));
    names.extend(config.care.automation.people());
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| forecare_notify::reachable(notify, technicians, name).err())
        .collect()
}

/// Sends a test message by `channel`.
///
/// # Errors
/// There is no such channel, or the message was not taken.
pub(crate) async fn send_test(
    speech: &Speech,
    channel: &str,
    address: Option<String>,
    now: Timestamp,
) -> Result<()> {
    let settings = &speech.notify.settings;
    let configured = settings.channel.get(channel).with_context(|| {
        let names: Vec<&str> = speech.channels.names().collect();
        format!(
            "there is no channel \"{channel}\"; there is {}",
            names.join(", ")
        )
    })?;
    if address.is_none() && !configured.has_own_address() {
        anyhow::bail!("this channel carries messages to people: say to whom with --to ADDRESS");
    }
    let language = &settings.language;
    let (subject, text) = speech.templates.test(language, &settings.time_zone)?;
    let message = Message {
        id: format!("test.{}", now.as_millis()),
        delivery: "D-0".to_owned(),
        event: "test".to_owned(),
        about: "T-0".to_owned(),
        at: now,
        address: address.unwrap_or_default(),
        recipient: "test".to_owned(),
        subject,
        text,
        facts: serde_json::json!({ "test": true }),
    };
    speech
        .channels
        .send(channel, &message, now)
        .await
        .with_context(|| format!("channel \"{channel}\" did not take the message"))
}
