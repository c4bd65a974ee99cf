//! What `/metrics` shows. Prefix `forecare_`, base units, no device id as a label.

use anyhow::Result;
use forecare_care::sla::SlaSignal;
use forecare_domain::{
    AlarmChange, RejectReason, Reservation, SlaKind, SlaPoint, Supply, Timestamp,
};
use forecare_ingest::{IngestStats, SpillStats};
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::outage::Outage;

/// Every counter, registered once.
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) messages: IntCounter,
    pub(crate) readings_stored: IntCounter,
    pub(crate) readings_duplicate: IntCounter,
    pub(crate) readings_conflicting: IntCounter,
    pub(crate) rows_late: IntCounter,
    pub(crate) sequence_missing: IntCounter,
    pub(crate) batches_failed: IntCounter,
    pub(crate) batch_seconds: Histogram,
    pub(crate) devices: IntGauge,
    pub(crate) tickets_opened: IntCounter,
    rejected: IntCounterVec,
    alarms: IntCounterVec,
    reservations: IntCounterVec,
    sla_breaches: IntCounterVec,
    sla_escalations: IntCounterVec,
    ingest: IngestMetrics,
    spill: SpillMetrics,
    pub(crate) outage: Outage,
    pub(crate) store_available: IntGauge,
    certificates: IntGaugeVec,
}

/// What the sources count, brought over before a scrape.
struct IngestMetrics {
    received: IntCounter,
    acknowledged: IntCounter,
    abandoned: IntCounter,
    held_up: IntCounter,
    qos0_dropped: IntCounter,
    reconnects: IntCounter,
    refused_credentials: IntCounter,
    refused_topics: IntCounter,
    connected: IntGauge,
    clients: IntGauge,
    in_flight: IntGauge,
    queue: IntGauge,
}

/// What waits for the store, in memory and on disk.
struct SpillMetrics {
    spilling: IntGauge,
    blocked: IntGauge,
    bytes: IntGauge,
    messages: IntGauge,
    oldest_age: IntGauge,
    waiting: IntGauge,
    memory_messages: IntGauge,
    memory_bytes: IntGauge,
    spilled: IntCounter,
    drained: IntCounter,
    full: IntCounter,
    failures: IntCounter,
    damaged: IntCounter,
}

impl SpillMetrics {
    fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            spilling: gauge(
                r,
                "forecare_spill_active",
                "Whether new messages go to disk because the store does not take them: 0 or 1.",
            )?,
            blocked: gauge(
                r,
                "forecare_spill_blocked",
                "Whether the disk takes no more and publishers wait: 0 or 1.",
            )?,
            bytes: gauge(
                r,
                "forecare_spill_bytes",
                "Bytes of spilled messages on disk.",
            )?,
            messages: gauge(
                r,
                "forecare_spill_messages",
                "Messages on disk that are not in the store yet.",
            )?,
            oldest_age: gauge(
                r,
                "forecare_spill_oldest_age_seconds",
                "Time since the oldest message on disk was received; 0 without one.",
            )?,
            waiting: gauge(
                r,
                "forecare_waiting_messages",
                "Messages received and not stored, wherever they wait: in the queue, in memory, on disk.",
            )?,
            memory_messages: gauge(
                r,
                "forecare_pending_messages",
                "Messages taken from the broker that are in memory, waiting or handed to the pipeline: neither stored nor on disk.",
            )?,
            memory_bytes: gauge(
                r,
                "forecare_pending_bytes",
                "Bytes of messages in memory that are neither stored nor on disk.",
            )?,
            spilled: counter(
                r,
                "forecare_spill_written_total",
                "Messages written to disk because the store did not take them.",
            )?,
            drained: counter(
                r,
                "forecare_spill_drained_total",
                "Messages stored from disk.",
            )?,
            full: counter(
                r,
                "forecare_spill_full_total",
                "Times the spill was full: spill.bytes_max or spill.disk_free_min.",
            )?,
            failures: counter(
                r,
                "forecare_spill_failures_total",
                "Times the spill's disk failed to take or give messages.",
            )?,
            damaged: counter(
                r,
                "forecare_spill_damaged_total",
                "Spilled messages that can no longer be read.",
            )?,
        })
    }
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Two metrics of one name: our own mistake.
    pub(crate) fn new() -> Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let rejected = add(
            r,
            IntCounterVec::new(
                Opts::new(
                    "forecare_messages_rejected_total",
                    "Messages, or parts of them, refused, by reason.",
                ),
                &["reason"],
            )?,
        )?;
        for reason in RejectReason::ALL {
            rejected.with_label_values(&[reason.label()]);
        }
        let alarms = add(
            r,
            IntCounterVec::new(
                Opts::new(
                    "forecare_alarm_changes_total",
                    "Changes of alarm episodes, by change.",
                ),
                &["change"],
            )?,
        )?;
        for change in ["raised", "escalated", "cleared"] {
            alarms.with_label_values(&[change]);
        }
        let reservations = add(
            r,
            IntCounterVec::new(
                Opts::new(
                    "forecare_reservations_total",
                    "Reservations of parts made, by supply.",
                ),
                &["supply"],
            )?,
        )?;
        for supply in ["stock", "transfer", "back_order"] {
            reservations.with_label_values(&[supply]);
        }
        let by_clock = |name, help| -> Result<IntCounterVec> {
            let counts = add(r, IntCounterVec::new(Opts::new(name, help), &["clock"])?)?;
            for kind in SlaKind::ALL {
                counts.with_label_values(&[kind.label()]);
            }
            Ok(counts)
        };
        let sla_breaches = by_clock(
            "forecare_sla_breaches_total",
            "Service level targets missed, by clock.",
        )?;
        let sla_escalations = by_clock(
            "forecare_sla_escalations_total",
            "Levels of the escalation chain reached, by clock.",
        )?;
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 14)?;
        let batch_seconds = add(
            r,
            Histogram::with_opts(
                HistogramOpts::new(
                    "forecare_batch_seconds",
                    "Time from a batch's decoding to its commit.",
                )
                .buckets(buckets),
            )?,
        )?;
        let certificates = IntGaugeVec::new(
            Opts::new(
                "forecare_peer_certificate_expiry_timestamp_seconds",
                "When the first of the certificates that broker or database showed expires, as of the newest connection; nothing without TLS.",
            ),
            &["peer"],
        )?;
        registry.register(Box::new(certificates.clone()))?;
        Ok(Self {
            messages: counter(
                r,
                "forecare_messages_total",
                "Messages handled and acknowledged.",
            )?,
            readings_stored: counter(
                r,
                "forecare_readings_stored_total",
                "Readings stored for the first time.",
            )?,
            readings_duplicate: counter(
                r,
                "forecare_readings_duplicate_total",
                "Readings that were stored already.",
            )?,
            readings_conflicting: counter(
                r,
                "forecare_readings_conflicting_total",
                "Readings refused because another value is stored for the same device, metric and time.",
            )?,
            rows_late: counter(
                r,
                "forecare_rows_not_newer_total",
                "Rows that came late or again: never scored.",
            )?,
            sequence_missing: counter(
                r,
                "forecare_sequence_missing_total",
                "Messages that devices numbered but that did not arrive in order.",
            )?,
            batches_failed: counter(
                r,
                "forecare_batches_failed_total",
                "Batches that could not be stored.",
            )?,
            batch_seconds,
            devices: gauge(r, "forecare_devices", "Registered devices.")?,
            tickets_opened: counter(
                r,
                "forecare_tickets_opened_total",
                "Tickets opened by the care desk.",
            )?,
            rejected,
            alarms,
            reservations,
            sla_breaches,
            sla_escalations,
            ingest: IngestMetrics {
                received: counter(r, "forecare_ingest_received_total", "Messages received.")?,
                acknowledged: counter(
                    r,
                    "forecare_ingest_acknowledged_total",
                    "Messages acknowledged.",
                )?,
                abandoned: counter(
                    r,
                    "forecare_ingest_abandoned_total",
                    "Messages whose batch could not be stored; the sender sends those of QoS 1 and 2 again.",
                )?,
                held_up: counter(
                    r,
                    "forecare_ingest_held_up_total",
                    "Times the external broker had to wait because the queue was full.",
                )?,
                qos0_dropped: counter(
                    r,
                    "forecare_ingest_qos0_dropped_total",
                    "Messages of QoS 0 lost to a batch that could not be stored.",
                )?,
                reconnects: counter(
                    r,
                    "forecare_ingest_reconnects_total",
                    "Reconnections to the broker.",
                )?,
                refused_credentials: counter(
                    r,
                    "forecare_ingest_refused_credentials_total",
                    "Connections refused for their credentials.",
                )?,
                refused_topics: counter(
                    r,
                    "forecare_ingest_refused_topics_total",
                    "Publishes and subscriptions refused for their topic.",
                )?,
                connected: gauge(
                    r,
                    "forecare_ingest_connected",
                    "Whether the broker is connected and has granted every subscription: 0 or 1.",
                )?,
                clients: gauge(
                    r,
                    "forecare_ingest_clients",
                    "Connections of the embedded broker.",
                )?,
                in_flight: gauge(
                    r,
                    "forecare_ingest_in_flight_messages",
                    "Messages received and neither stored, abandoned nor dropped.",
                )?,
                queue: gauge(
                    r,
                    "forecare_ingest_queue_messages",
                    "Messages received that are not yet taken into the window of forecare_pending_messages.",
                )?,
            },
            spill: SpillMetrics::new(r)?,
            certificates,
            store_available: gauge(
                r,
                "forecare_store_available",
                "Whether the store answers: 0 or 1. At 0, what this page says of alarms, tickets and parts is old.",
            )?,
            outage: Outage::new(gauge(
                r,
                "forecare_store_accepting",
                "Whether the store takes what the pipeline gives it: 0 or 1.",
            )?),
            registry,
        })
    }

    pub(crate) fn rejected(&self, reason: RejectReason) {
        self.rejected.with_label_values(&[reason.label()]).inc();
    }

    pub(crate) fn alarm(&self, change: &AlarmChange) {
        let label = match change {
            AlarmChange::Raised(_) => "raised",
            AlarmChange::Escalated(_) => "escalated",
            AlarmChange::Cleared(_) => "cleared",
        };
        self.alarms.with_label_values(&[label]).inc();
    }

    /// Counts what fell due on service level clocks.
    pub(crate) fn sla(&self, signals: &[SlaSignal]) {
        for signal in signals {
            let counts = match signal.key.point {
                SlaPoint::Mark(100) => &self.sla_breaches,
                SlaPoint::Level(_) => &self.sla_escalations,
                SlaPoint::Mark(_) => continue,
            };
            counts.with_label_values(&[signal.key.clock.label()]).inc();
        }
    }

    pub(crate) fn reservation(&self, reservation: &Reservation) {
        let label = match reservation.supply {
            Supply::Stock { .. } => "stock",
            Supply::Transfer { .. } => "transfer",
            Supply::BackOrder { .. } => "back_order",
        };
        self.reservations.with_label_values(&[label]).inc();
    }

    /// Brings the sources' counts over.
    pub(crate) fn refresh(&self, stats: &IngestStats) {
        grow(&self.ingest.received, stats.received());
        grow(&self.ingest.acknowledged, stats.acked());
        grow(&self.ingest.reconnects, stats.reconnects());
        grow(&self.ingest.refused_credentials, stats.refused_auth());
        grow(&self.ingest.refused_topics, stats.refused_topic());
        grow(&self.ingest.abandoned, stats.abandoned());
        grow(&self.ingest.held_up, stats.held_up());
        grow(&self.ingest.qos0_dropped, stats.qos0_dropped());
        let level = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.ingest.clients.set(level(stats.clients()));
        self.ingest.in_flight.set(level(stats.in_flight()));
        self.ingest.queue.set(level(stats.queue_len()));
        self.ingest.connected.set(i64::from(stats.connected()));
        self.certificate("broker", stats.broker_certificate().expires_at_s());
    }

    /// Shows when the certificate of a peer expires, where it showed one.
    pub(crate) fn certificate(&self, peer: &str, expires_at_s: Option<i64>) {
        if let Some(at_s) = expires_at_s {
            self.certificates.with_label_values(&[peer]).set(at_s);
        }
    }

    /// Brings the spill's counts over; `now` is the clock that tells when messages arrive.
    pub(crate) fn refresh_spill(&self, stats: &SpillStats, now: Timestamp) {
        let spill = &self.spill;
        let on_disk = i64::try_from(stats.messages()).unwrap_or(i64::MAX);
        let in_memory = i64::try_from(stats.memory_messages()).unwrap_or(i64::MAX);
        spill
            .waiting
            .set(self.ingest.queue.get() + in_memory + on_disk);
        let set = |gauge: &IntGauge, to: u64| gauge.set(i64::try_from(to).unwrap_or(i64::MAX));
        spill.spilling.set(i64::from(stats.spilling()));
        spill.blocked.set(i64::from(stats.blocked()));
        set(&spill.bytes, stats.bytes());
        set(&spill.messages, stats.messages());
        spill.oldest_age.set(stats.oldest().map_or(0, |oldest| {
            (now.as_millis() - oldest.as_millis()).max(0) / 1_000
        }));
        set(
            &spill.memory_messages,
            u64::try_from(stats.memory_messages()).unwrap_or(u64::MAX),
        );
        set(
            &spill.memory_bytes,
            u64::try_from(stats.memory_bytes()).unwrap_or(u64::MAX),
        );
        grow(&spill.spilled, stats.spilled());
        grow(&spill.drained, stats.drained());
        grow(&spill.full, stats.full());
        grow(&spill.failures, stats.failed());
        grow(&spill.damaged, stats.damaged());
    }
}

fn grow(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    add(registry, IntCounter::new(name, help)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    add(registry, IntGauge::new(name, help)?)
}
