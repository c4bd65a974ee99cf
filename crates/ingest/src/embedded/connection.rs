//! One connection to the embedded broker: who it is, what it may do, and the hook that waits for the
//! commit before the broker acknowledges.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mqtt5::broker::{
    AuthProvider, AuthResult, BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent,
    ClientPublishEvent, PublishAction,
};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use mqtt5::{QoS, Result as MqttResult};
use tokio::sync::{broadcast, oneshot};

use super::Shared;
use super::sniffer::Sniffer;
use super::source::Queued;
use crate::Message;
use crate::source::cut_payload;
use crate::stats::count;

/// Where a message goes that must not be acknowledged; nobody can subscribe to it.
const NOWHERE: &str = "$forecare/not-stored";
/// Pause before a will is offered again that could not be stored: nobody else would send it again.
const WILL_RETRY: Duration = Duration::from_secs(1);

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest connection of each client id.
#[derive(Default)]
pub(super) struct Registry {
    newest: Mutex<HashMap<String, u64>>,
    last: AtomicU64,
}

impl Registry {
    fn enter(&self, client_id: &str) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.newest).insert(client_id.to_owned(), number);
        number
    }

    /// Whether the client is connected again, by a later connection than `number`.
    fn is_back(&self, client_id: &str, number: u64) -> bool {
        lock(&self.newest)
            .get(client_id)
            .is_some_and(|newest| *newest != number)
    }

    fn leave(&self, client_id: &str, number: u64) {
        let mut newest = lock(&self.newest);
        if newest.get(client_id) == Some(&number) {
            newest.remove(client_id);
        }
    }
}

/// Who the connection is, known after its CONNECT.
#[derive(Clone)]
struct Client {
    id: String,
    number: u64,
    principal: Option<String>,
    will: Option<Will>,
}

#[derive(Clone)]
struct Will {
    topic: String,
    payload: Vec<u8>,
    content_type: Option<String>,
    delay_s: u32,
}

/// What became of a message that was offered to the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stored,
    NotStored,
}

pub(super) struct Connection {
    shared: Arc<Shared>,
    close: broadcast::Sender<()>,
    closing: AtomicBool,
    /// MQTT 3.1.1 has no reason codes: a refused message would look stored.
    without_reasons: AtomicBool,
    refuse_next: AtomicBool,
    ended: AtomicBool,
    client: Mutex<Option<Client>>,
    sniffer: Arc<Mutex<Sniffer>>,
    /// Of the message that is being authorised and then published.
    content_type: Mutex<Option<String>>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            close: broadcast::channel(1).0,
            closing: AtomicBool::new(false),
            without_reasons: AtomicBool::new(false),
            refuse_next: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            client: Mutex::new(None),
            sniffer: Arc::default(),
            content_type: Mutex::new(None),
        })
    }

    /// To be fed with what the device sends.
    pub(super) fn sniffer(&self) -> Arc<Mutex<Sniffer>> {
        Arc::clone(&self.sniffer)
    }

    /// Ends the protocol engine's loop for this connection when [`Self::close`] is called.
    pub(super) fn closed_signal(&self) -> broadcast::Receiver<()> {
        self.close.subscribe()
    }

    /// Closes the connection as soon as the message at hand is finished. Later ones are not taken.
    pub(super) fn close(&self) {
        if !self.closing.swap(true, Ordering::SeqCst) {
            // No receiver: the connection is gone already.
            self.close.send(()).ok();
        }
    }

    /// The connection is gone for good.
    pub(super) fn left(&self) {
        if let Some(client) = self.client() {
            self.shared.registry.leave(&client.id, client.number);
        }
    }

    fn client(&self) -> Option<Client> {
        lock(&self.client).clone()
    }

    /// The engine knows only success: handing it a QoS 0 message for nobody makes it send no answer.
    fn close_unanswered(&self) -> PublishAction {
        self.close();
        PublishAction::Transform(PublishPacket::new(NOWHERE, Vec::new(), QoS::AtMostOnce))
    }

    /// Puts a message into the queue, waiting while it is full, and waits for its batch.
    async fn offer(&self, message: Message) -> Outcome {
        let Some(queue) = self.shared.queue() else {
            return Outcome::NotStored;
        };
        let (settle, settled) = oneshot::channel();
        {
            let Ok(place) = queue.reserve().await else {
                return Outcome::NotStored;
            };
            count(&self.shared.stats.received, 1);
            self.shared.stats.in_flight.fetch_add(1, Ordering::Relaxed);
            place.send(Queued { message, settle });
        }
        // Held while waiting, the sender would keep the queue open.
        drop(queue);
        match settled.await {
            Ok(true) => Outcome::Stored,
            Ok(false) | Err(_) => Outcome::NotStored,
        }
    }

    fn message(&self, topic: &str, payload: &[u8], principal: Option<String>) -> Message {
        let (payload, oversized) = cut_payload(payload, self.shared.payload_bytes_max);
        if oversized {
            count(&self.shared.stats.oversized, 1);
        }
        Message {
            topic: topic.to_owned(),
            payload,
            content_type: None,
            principal,
            received_at: self.shared.clock.now(),
        }
    }

    async fn publish(&self, event: ClientPublishEvent) -> PublishAction {
        if self.closing.load(Ordering::SeqCst)
            || self.shared.closing.load(Ordering::SeqCst)
            || self.refuse_next.swap(false, Ordering::SeqCst)
        {
            return self.close_unanswered();
        }
        let principal = event.user_id.as_deref().map(str::to_owned);
        let mut message = self.message(&event.topic, &event.payload, principal);
        message.content_type = lock(&self.content_type).take();
        match self.offer(message).await {
            Outcome::Stored if event.retain => self.retain(event).await,
            Outcome::Stored => PublishAction::Continue,
            Outcome::NotStored if event.qos == QoS::AtMostOnce => {
                count(&self.shared.stats.qos0_dropped, 1);
                PublishAction::Handled
            }
            Outcome::NotStored => self.close_unanswered(),
        }
    }

    /// Retained messages are bounded: beyond the bound a message is stored and passed on, not retained.
    async fn retain(&self, event: ClientPublishEvent) -> PublishAction {
        let router = &self.shared.router;
        if event.payload.is_empty()
            || router.retained_count().await < self.shared.retained_max
            || router.has_retained_message(&event.topic).await
        {
            return PublishAction::Continue;
        }
        let mut publish = PublishPacket::new(&*event.topic, event.payload, event.qos);
        publish.packet_id = event.packet_id;
        PublishAction::Transform(publish)
    }

    /// Offers the last will to the pipeline until it is stored, or the device is back, or we stop.
    async fn deliver_will(&self, client: &Client, will: &Will) {
        loop {
            if self.shared.closing.load(Ordering::SeqCst)
                || self.shared.registry.is_back(&client.id, client.number)
            {
                return;
            }
            let mut message = self.message(&will.topic, &will.payload, client.principal.clone());
            message.content_type.clone_from(&will.content_type);
            match self.offer(message).await {
                Outcome::Stored => return,
                Outcome::NotStored => tokio::time::sleep(WILL_RETRY).await,
            }
        }
    }

    async fn check_connect(&self, connect: &ConnectPacket) -> AuthResult {
        self.without_reasons
            .store(connect.protocol_version < 5, Ordering::SeqCst);
        let authorizer = Arc::clone(&self.shared.authorizer);
        let client_id = connect.client_id.clone();
        let username = connect.username.clone();
        let password = connect.password.clone();
        // The semaphore is never closed, so that an error cannot happen; it would refuse.
        let permit = Arc::clone(&self.shared.password_checks)
            .acquire_owned()
            .await;
        let checked = tokio::task::spawn_blocking(move || {
            permit.is_ok()
                && authorizer.authenticate(&client_id, username.as_deref(), password.as_deref())
        })
        .await;
        if !checked.unwrap_or(false) {
            count(&self.shared.stats.refused_auth, 1);
            return AuthResult::fail(ReasonCode::BadUsernameOrPassword);
        }
        let principal = connect.username.clone().filter(|name| !name.is_empty());
        // Checked here, not when it is due: nobody would then be there to be told.
        if let Some(will) = &connect.will
            && !self.may_publish(principal.as_deref(), &will.topic)
        {
            count(&self.shared.stats.refused_topic, 1);
            return AuthResult::fail(ReasonCode::NotAuthorized);
        }
        *lock(&self.client) = Some(Client {
            id: connect.client_id.clone(),
            number: self.shared.registry.enter(&connect.client_id),
            principal: principal.clone(),
            will: connect.will.as_ref().map(|will| Will {
                topic: will.topic.clone(),
                payload: will.payload.clone(),
                content_type: will.properties.content_type.clone(),
                delay_s: will.properties.will_delay_interval.unwrap_or(0),
            }),
        });
        match principal {
            Some(principal) => AuthResult::success_with_user(principal),
            None => AuthResult::success(),
        }
    }

    fn may_publish(&self, principal: Option<&str>, topic: &str) -> bool {
        !topic.starts_with('$') && self.shared.authorizer.may_publish(principal, topic)
    }
}

impl AuthProvider for Connection {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _peer: SocketAddr,
    ) -> Answer<'a, MqttResult<AuthResult>> {
        Box::pin(async move { Ok(self.check_connect(connect).await) })
    }

    /// Asked for every message before its hook, and once for a will that is due.
    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        *lock(&self.content_type) = lock(&self.sniffer).next();
        Box::pin(async move {
            if self.ended.load(Ordering::SeqCst) {
                // The connection is gone, so this is its delayed will, due now.
                if let Some(client) = self.client()
                    && let Some(will) = &client.will
                {
                    self.deliver_will(&client, will).await;
                }
                return true;
            }
            if self.may_publish(user_id, topic) {
                return true;
            }
            count(&self.shared.stats.refused_topic, 1);
            tracing::debug!(user_id, topic, "message refused: topic not allowed");
            if self.without_reasons.load(Ordering::SeqCst) {
                // The hook comes next and closes the connection; the engine would acknowledge.
                self.refuse_next.store(true, Ordering::SeqCst);
                return true;
            }
            false
        })
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic_filter: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = !topic_filter.starts_with('$')
            && self.shared.authorizer.may_subscribe(user_id, topic_filter);
        if !allowed {
            count(&self.shared.stats.refused_topic, 1);
        }
        Box::pin(async move { allowed })
    }
}

impl BrokerEventHandler for Connection {
    fn on_client_connect(&self, event: ClientConnectEvent) -> Answer<'_, ()> {
        // A will waits no longer than the session lives.
        if let Some(client) = lock(&self.client).as_mut()
            && let Some(will) = client.will.as_mut()
        {
            will.delay_s = will.delay_s.min(event.session_expiry_interval);
        }
        Box::pin(async {})
    }

    fn on_client_publish(&self, event: ClientPublishEvent) -> Answer<'_, PublishAction> {
        Box::pin(self.publish(event))
    }

    fn on_client_disconnect(&self, event: ClientDisconnectEvent) -> Answer<'_, ()> {
        self.ended.store(true, Ordering::SeqCst);
        Box::pin(async move {
            if event.unexpected
                && let Some(client) = self.client()
                && let Some(will) = &client.will
                && will.delay_s == 0
            {
                self.deliver_will(&client, will).await;
            }
        })
    }
}
