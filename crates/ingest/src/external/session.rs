//! Owns the connection: polls it, subscribes, hands messages to the queue, reconnects.
//!
//! The one rule that prevents deadlock: this task never waits for the consumer. A full queue ends the
//! connection (the broker sent beyond its window); the broker keeps the session.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forecare_domain::Clock;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, Packet, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::UNACKNOWLEDGED_MAX;
use super::backoff::Backoff;
use super::source::Received;
use super::view::View;
use crate::source::cut_payload;
use crate::stats::count;
use crate::{IngestStats, Message};

/// Requests beside acknowledgements: subscribe, disconnect.
const REQUESTS_MAX: usize = 16;
/// Longest wait for the broker to hang up after our DISCONNECT.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Session {
    pub(super) options: MqttOptions,
    pub(super) topics: Vec<String>,
    pub(super) payload_bytes_max: usize,
    pub(super) backoff: Backoff,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stats: Arc<IngestStats>,
    pub(super) view: Arc<watch::Sender<View>>,
    /// `None` once we are stopping: the source then ends.
    pub(super) queue: Option<mpsc::Sender<Received>>,
}

/// Why a connection ended.
enum End {
    /// Connect again: it failed, or was given up.
    Lost(String),
    /// We are done.
    Finished,
}

/// One connection's progress.
struct Connection {
    epoch: u64,
    client: AsyncClient,
    subscribe_id: Option<u16>,
    subscribed_at: Option<Instant>,
    /// Set when DISCONNECT is on its way: the latest time for the broker to hang up.
    goodbye_until: Option<Instant>,
}

/// Waits until nobody wants messages any more.
async fn unwanted(changes: &mut watch::Receiver<View>) {
    changes
        .wait_for(|view| view.stopping || view.abandoned)
        .await
        .map(|_view| ())
        .ok();
}

async fn overdue(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Session {
    pub(super) async fn run(mut self) {
        let mut changes = self.view.subscribe();
        let mut attempts: u64 = 0;
        while let End::Lost(reason) = self.connection(&mut changes, &mut attempts).await {
            self.stats.set_last_error(Some(reason.clone()));
            let pause = self.backoff.next();
            tracing::warn!(reason, ?pause, "connection to the broker lost");
            if self.pause(pause, &mut changes).await.is_break() {
                break;
            }
        }
        self.queue = None;
        self.stats.connected.store(false, Ordering::Relaxed);
        self.view.send_modify(View::finish);
    }

    /// Waits before the next attempt; breaks when there shall be none.
    async fn pause(&self, pause: Duration, changes: &mut watch::Receiver<View>) -> ControlFlow<()> {
        tokio::select! {
            () = tokio::time::sleep(pause) => ControlFlow::Continue(()),
            () = unwanted(changes) => ControlFlow::Break(()),
        }
    }

    /// Makes one connection and serves it to its end. Everything of it is made new: nothing that
    /// waits in an old connection's buffers can reach the next one.
    async fn connection(&mut self, changes: &mut watch::Receiver<View>, attempts: &mut u64) -> End {
        let (client, mut event_loop) =
            AsyncClient::new(self.options.clone(), UNACKNOWLEDGED_MAX + REQUESTS_MAX);
        let mut epoch = 0;
        self.view
            .send_modify(|view| epoch = view.begin(client.clone()));
        let mut connection = Connection {
            epoch,
            client,
            subscribe_id: None,
            subscribed_at: None,
            goodbye_until: None,
        };
        let end = 'connection: loop {
            // Kept across changes of the view: a poll that is dropped may lose an acknowledgement.
            let poll = event_loop.poll();
            tokio::pin!(poll);
            let event = loop {
                if let ControlFlow::Break(end) = self.attend(&mut connection, changes) {
                    break 'connection end;
                }
                tokio::select! {
                    event = &mut poll => break event,
                    changed = changes.changed() => if changed.is_err() {
                        break 'connection End::Finished;
                    },
                    () = overdue(connection.goodbye_until) => break 'connection End::Finished,
                }
            };
            let handled = match event {
                Ok(Event::Incoming(packet)) => self.incoming(packet, &mut connection, attempts),
                Ok(Event::Outgoing(Outgoing::Subscribe(id))) => {
                    connection.subscribe_id = Some(id);
                    ControlFlow::Continue(())
                }
                // Including our own DISCONNECT: the broker hangs up once it has read all before it. To
                // hang up first could lose acknowledgements that it has not read yet.
                Ok(Event::Outgoing(_)) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(End::Lost(error.to_string())),
            };
            if let ControlFlow::Break(end) = handled {
                break end;
            }
        };
        self.stats.connected.store(false, Ordering::Relaxed);
        self.view.send_modify(|view| view.end(epoch));
        if connection
            .subscribed_at
            .is_some_and(|since| since.elapsed() >= self.backoff.max())
        {
            // A connection that held: what ended it has nothing to do with what ended the last one.
            self.backoff.reset();
        }
        // Stopping: what is not acknowledged by now comes again next time.
        if self.queue.is_none() {
            return End::Finished;
        }
        end
    }

    /// Does what the consumer or the handle asked for.
    fn attend(
        &mut self,
        connection: &mut Connection,
        changes: &mut watch::Receiver<View>,
    ) -> ControlFlow<End> {
        let (epoch, stopping, abandoned) = {
            let view = changes.borrow_and_update();
            (view.epoch, view.stopping, view.abandoned)
        };
        if abandoned {
            return ControlFlow::Break(End::Finished);
        }
        if epoch != connection.epoch {
            return ControlFlow::Break(End::Lost("a batch could not be stored".to_owned()));
        }
        if stopping {
            self.queue = None;
            if connection.subscribed_at.is_none() {
                return ControlFlow::Break(End::Finished);
            }
            if self.stats.in_flight() == 0 && connection.goodbye_until.is_none() {
                if connection.client.try_disconnect().is_err() {
                    return ControlFlow::Break(End::Finished);
                }
                connection.goodbye_until = Some(Instant::now() + GOODBYE_MAX);
            }
        }
        ControlFlow::Continue(())
    }

    fn incoming(
        &mut self,
        packet: Packet,
        connection: &mut Connection,
        attempts: &mut u64,
    ) -> ControlFlow<End> {
        match packet {
            Packet::ConnAck(accepted) => self.connected(&accepted, connection, attempts),
            Packet::SubAck(granted) if connection.subscribe_id == Some(granted.pkid) => {
                self.subscribed(&granted, connection)
            }
            Packet::Publish(publish) => self.received(publish, connection),
            // The state machine of the client library handles these.
            Packet::SubAck(_)
            | Packet::Auth(_)
            | Packet::Connect(..)
            | Packet::PubAck(_)
            | Packet::PingReq(_)
            | Packet::PingResp(_)
            | Packet::Subscribe(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::Disconnect(_) => ControlFlow::Continue(()),
        }
    }

    /// Subscribes on every connection, whatever the broker says of the session: it may have lost the
    /// subscription, or been given others.
    fn connected(
        &mut self,
        accepted: &ConnAck,
        connection: &Connection,
        attempts: &mut u64,
    ) -> ControlFlow<End> {
        self.view
            .send_modify(|view| view.accepted(connection.epoch, accepted.session_present));
        if *attempts > 0 {
            count(&self.stats.reconnects, 1);
        }
        *attempts += 1;
        let filters = self.topics.iter().map(|topic| {
            let mut filter = Filter::new(topic, QoS::AtLeastOnce);
            // Retained status messages once, not again on every reconnect.
            filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
            filter
        });
        match connection.client.try_subscribe_many(filters) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(End::Lost(error.to_string())),
        }
    }

    fn subscribed(&mut self, granted: &SubAck, connection: &mut Connection) -> ControlFlow<End> {
        for (topic, code) in self.topics.iter().zip(&granted.return_codes) {
            // At QoS 0 nothing would ever be sent again.
            if !matches!(
                code,
                SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)
            ) {
                count(&self.stats.refused_topic, 1);
                return ControlFlow::Break(End::Lost(format!(
                    "the broker refused the subscription to {topic} ({code:?}): allow this user and client id to read it"
                )));
            }
        }
        tracing::info!(topics = ?self.topics, "subscribed");
        connection.subscribed_at = Some(Instant::now());
        self.stats.set_last_error(None);
        self.stats.connected.store(true, Ordering::Relaxed);
        ControlFlow::Continue(())
    }

    fn received(&mut self, mut publish: Publish, connection: &Connection) -> ControlFlow<End> {
        let Some(queue) = &self.queue else {
            // Stopping: not acknowledged, so it comes again next time.
            return ControlFlow::Continue(());
        };
        let (payload, oversized) = cut_payload(&publish.payload, self.payload_bytes_max);
        if oversized {
            count(&self.stats.oversized, 1);
        }
        let message = Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload,
            content_type: publish
                .properties
                .take()
                .and_then(|properties| properties.content_type),
            principal: None,
            received_at: self.clock.now(),
        };
        publish.payload.clear();
        publish.topic.clear();
        let ack = (publish.qos != QoS::AtMostOnce).then_some(publish);
        let qos0 = ack.is_none();
        // Counted first: the consumer may settle it before the next line.
        self.stats.in_flight.fetch_add(1, Ordering::Relaxed);
        let epoch = connection.epoch;
        match queue.try_send(Received {
            message,
            epoch,
            ack,
        }) {
            Ok(()) => {
                count(&self.stats.received, 1);
                ControlFlow::Continue(())
            }
            Err(refused) => {
                self.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
                match refused {
                    mpsc::error::TrySendError::Closed(_) => ControlFlow::Break(End::Finished),
                    mpsc::error::TrySendError::Full(_) if qos0 => {
                        count(&self.stats.qos0_dropped, 1);
                        ControlFlow::Continue(())
                    }
                    mpsc::error::TrySendError::Full(_) => {
                        count(&self.stats.overflows, 1);
                        ControlFlow::Break(End::Lost(
                            "the broker sent more than its window allows".to_owned(),
                        ))
                    }
                }
            }
        }
    }
}
