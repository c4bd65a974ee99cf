//! Owns the connection: polls it, subscribes, hands messages to the queue, reconnects.
//!
//! The one rule that prevents deadlock: this task never waits for the consumer alone. While the queue is full
//! nothing is read, and the broker waits; acknowledgements and pings go out all the same.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forecare_domain::Clock;
use forecare_domain::Timestamp;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Disconnect, DisconnectReasonCode, Filter, Packet, PingReq, Publish, RetainForwardRule,
    SubAck, Subscribe, SubscribeReasonCode,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::backoff::Backoff;
use super::link::{Acks, Endpoint, Link, Turn};
use super::source::{QueuedBytes, Received};
use super::view::View;
use crate::source::cut_payload;
use crate::stats::count;
use crate::{IngestStats, Message};

/// Packet id of our SUBSCRIBE, the only packet of ours that has one.
const SUBSCRIBE_ID: u16 = 1;
/// After a read that emptied the socket we wait so long for company: under load a read then brings many messages
/// for one system call.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(2);
/// Longest wait for the broker to hang up after our DISCONNECT.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Session {
    pub(super) endpoint: Endpoint,
    pub(super) topics: Vec<String>,
    pub(super) payload_bytes_max: usize,
    pub(super) backoff: Backoff,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stats: Arc<IngestStats>,
    pub(super) view: Arc<watch::Sender<View>>,
    /// `None` once we are stopping: the source then ends.
    pub(super) queue: Option<mpsc::Sender<Received>>,
    pub(super) queued: Arc<QueuedBytes>,
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
    acks: Arc<Acks>,
    /// The answer to our last ping is outstanding.
    pinged: bool,
    /// The queue is full: packets that have arrived wait, and nothing is read.
    held_up: bool,
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

fn given_up() -> End {
    End::Lost("a batch could not be stored".to_owned())
}

/// Waits until the queue takes another message, or nobody reads it any more.
async fn room(queue: Option<&mpsc::Sender<Received>>, queued: &QueuedBytes) {
    if let Some(queue) = queue {
        tokio::select! {
            () = queued.room() => {}
            () = queue.closed() => return,
        }
        queue.reserve().await.map(drop).ok();
    }
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
        let acks = Arc::new(Acks::default());
        let mut epoch = 0;
        self.view
            .send_modify(|view| epoch = view.begin(Arc::clone(&acks)));
        let mut connection = Connection {
            epoch,
            acks,
            pinged: false,
            held_up: false,
            subscribed_at: None,
            goodbye_until: None,
        };
        let end = match self.open(&mut connection, changes).await {
            Ok((link, accepted)) => match self.connected(link, &accepted, &connection, attempts) {
                Ok((link, pings)) => self.serve(link, pings, &mut connection, changes).await,
                Err(end) => end,
            },
            Err(end) => end,
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

    async fn open(
        &self,
        connection: &mut Connection,
        changes: &mut watch::Receiver<View>,
    ) -> Result<(Link, ConnAck), End> {
        let open = Link::open(&self.endpoint);
        tokio::pin!(open);
        loop {
            let (epoch, unwanted) = {
                let view = changes.borrow_and_update();
                (view.epoch, view.stopping || view.abandoned)
            };
            if unwanted {
                return Err(End::Finished);
            }
            if epoch != connection.epoch {
                return Err(given_up());
            }
            tokio::select! {
                opened = &mut open => return opened.map_err(End::Lost),
                changed = changes.changed() => if changed.is_err() {
                    return Err(End::Finished);
                },
            }
        }
    }

    async fn serve(
        &mut self,
        mut link: Link,
        mut pings: Interval,
        connection: &mut Connection,
        changes: &mut watch::Receiver<View>,
    ) -> End {
        // What came together with CONNACK.
        if let ControlFlow::Break(end) = self.arrived(&mut link, connection) {
            return end;
        }
        // Set after a read that emptied the socket: until then nothing is read.
        let mut read_from: Option<Instant> = None;
        // Its own handle: `self` is needed while it is waited for.
        let (queue, queued) = (self.queue.clone(), Arc::clone(&self.queued));
        loop {
            if let ControlFlow::Break(end) = self.attend(&mut link, connection, changes) {
                return end;
            }
            if let Err(reason) = link.put_acks(&connection.acks) {
                return End::Lost(reason);
            }
            let turned = tokio::select! {
                biased;
                changed = changes.changed() => match changed {
                    Ok(()) => continue,
                    Err(_gone) => return End::Finished,
                },
                () = overdue(connection.goodbye_until) => return End::Finished,
                _ = pings.tick() => {
                    if connection.pinged && !connection.held_up {
                        return End::Lost("the broker does not answer".to_owned());
                    }
                    // An answer that we do not read is no sign of a dead broker.
                    connection.pinged = !connection.held_up;
                    link.put(&Packet::PingReq(PingReq)).map(|()| Turn::Written)
                },
                () = connection.acks.pushed() => continue,
                () = overdue(read_from), if read_from.is_some() => {
                    read_from = None;
                    continue;
                },
                () = room(queue.as_ref(), &queued), if connection.held_up => {
                    connection.held_up = false;
                    if let ControlFlow::Break(end) = self.arrived(&mut link, connection) {
                        return end;
                    }
                    continue;
                },
                turned = link.turn(read_from.is_none() && !connection.held_up) => turned,
            };
            match turned {
                Ok(Turn::Written) => {}
                Ok(Turn::Read { few }) => {
                    if few {
                        read_from = Some(Instant::now() + READ_PAUSE);
                    }
                    if let ControlFlow::Break(end) = self.arrived(&mut link, connection) {
                        return end;
                    }
                }
                Err(reason) => return End::Lost(reason),
            }
        }
    }

    /// Takes the packets that one read brought.
    fn arrived(&mut self, link: &mut Link, connection: &mut Connection) -> ControlFlow<End> {
        let received_at = self.clock.now();
        loop {
            if self
                .queue
                .as_ref()
                .is_some_and(|queue| queue.capacity() == 0 || self.queued.is_full())
            {
                if !connection.held_up {
                    count(&self.stats.held_up, 1);
                }
                connection.held_up = true;
                // The answer may be among what is not read now.
                connection.pinged = false;
                return ControlFlow::Continue(());
            }
            match link.next() {
                Ok(Some(packet)) => self.incoming(packet, received_at, connection)?,
                Ok(None) => return ControlFlow::Continue(()),
                Err(reason) => return ControlFlow::Break(End::Lost(reason)),
            }
        }
    }

    /// Does what the consumer or the handle asked for.
    fn attend(
        &mut self,
        link: &mut Link,
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
            return ControlFlow::Break(given_up());
        }
        if stopping {
            self.queue = None;
            if connection.subscribed_at.is_none() {
                return ControlFlow::Break(End::Finished);
            }
            if self.stats.in_flight() == 0 && connection.goodbye_until.is_none() {
                // Behind the last acknowledgements.
                let goodbye = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
                let last = link.put_acks(&connection.acks);
                if last
                    .and_then(|()| link.put(&Packet::Disconnect(goodbye)))
                    .is_err()
                {
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
        received_at: Timestamp,
        connection: &mut Connection,
    ) -> ControlFlow<End> {
        match packet {
            Packet::Publish(publish) => self.received(publish, received_at, connection),
            Packet::SubAck(granted) if granted.pkid == SUBSCRIBE_ID => {
                self.subscribed(&granted, connection)
            }
            Packet::PingResp(_) => {
                connection.pinged = false;
                ControlFlow::Continue(())
            }
            Packet::Disconnect(why) => ControlFlow::Break(End::Lost(format!(
                "the broker ended the connection: {:?}",
                why.reason_code
            ))),
            Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::Auth(_)
            | Packet::Connect(..)
            | Packet::PubAck(_)
            | Packet::PingReq(_)
            | Packet::Subscribe(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_) => ControlFlow::Break(End::Lost(
                "the broker sent a packet that answers nothing of ours".to_owned(),
            )),
        }
    }

    /// Subscribes on every connection, whatever the broker says of the session: it may have lost the
    /// subscription, or been given others.
    fn connected(
        &mut self,
        mut link: Link,
        accepted: &ConnAck,
        connection: &Connection,
        attempts: &mut u64,
    ) -> Result<(Link, Interval), End> {
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
        let mut subscribe = Subscribe::new_many(filters, None);
        subscribe.pkid = SUBSCRIBE_ID;
        link.put(&Packet::Subscribe(subscribe)).map_err(End::Lost)?;
        let keep_alive_s = accepted
            .properties
            .as_ref()
            .and_then(|properties| properties.server_keep_alive)
            .filter(|seconds| *seconds > 0)
            .map_or(self.endpoint.connect.keep_alive, |seconds| {
                seconds.min(self.endpoint.connect.keep_alive)
            });
        let every = Duration::from_secs(u64::from(keep_alive_s));
        let mut pings = interval_at(Instant::now() + every, every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok((link, pings))
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

    fn received(
        &mut self,
        mut publish: Publish,
        received_at: Timestamp,
        connection: &Connection,
    ) -> ControlFlow<End> {
        if publish.qos == QoS::ExactlyOnce || publish.topic.is_empty() {
            // Neither was agreed upon: we subscribe at QoS 1 and take no topic aliases.
            return ControlFlow::Break(End::Lost(
                "the broker sent a message of QoS 2 or without a topic".to_owned(),
            ));
        }
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
            received_at,
        };
        let ack = (publish.qos != QoS::AtMostOnce).then_some(publish.pkid);
        // Counted first: the consumer may settle it before the next line.
        self.stats.in_flight.fetch_add(1, Ordering::Relaxed);
        self.queued.entered(&message);
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
            // There was room: the consumer is gone.
            Err(_closed) => {
                self.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
                ControlFlow::Break(End::Finished)
            }
        }
    }
}
