//! How things stand, for `/metrics`: what no counter can say, read from the store every few seconds.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use forecare_catalogue::Catalogue;
use forecare_domain::{Alarm, Clock, DeviceId, Priority, Severity, Supply, TicketState};
use forecare_store::{AlarmFilter, ReservationFilter, Store, TicketFilter, newest};
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tracing::warn;

use crate::metrics::Metrics;
use crate::pipeline::chain;

/// How often the store is asked.
const SURVEY_EVERY: Duration = Duration::from_secs(10);
/// Shortest pause, in multiples of the time that the answers took: of a huge fleet they take long.
const PAUSE_PER_LOOK: u32 = 9;
/// Most entries of one kind that are looked at: the newest.
const ENTRIES_MAX: usize = 100_000;
/// Verdicts that count as recent: the newest.
const VERDICTS_RECENT: usize = 1_000;
/// A device is silent after so many of its class's sampling intervals without a scored reading.
const SILENT_AFTER_INTERVALS: f64 = 6.0;
const PRIORITIES: [(Priority, &str); 4] = [
    (Priority::P1, "p1"),
    (Priority::P2, "p2"),
    (Priority::P3, "p3"),
    (Priority::P4, "p4"),
];
const VERDICTS: [&str; 5] = [
    "confirmed",
    "wrong_mode",
    "no_fault_found",
    "data_fault",
    "too_early",
];
const SEVERITIES: [(Severity, &str); 2] = [
    (Severity::Warning, "warning"),
    (Severity::Critical, "critical"),
];

/// What is asked, and the gauges that show the answers.
pub(crate) struct Survey {
    store: Arc<dyn Store>,
    catalogue: Arc<Catalogue>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    alarms_active: IntGaugeVec,
    critical_without_ticket: IntGauge,
    tickets_open: IntGaugeVec,
    tickets_overdue: IntGaugeVec,
    parts_back_ordered: IntGauge,
    parts_late: IntGauge,
    verdicts: IntGaugeVec,
    devices_online: IntGauge,
    devices_silent: IntGaugeVec,
    memory: IntGauge,
}

impl Survey {
    /// Registers the gauges.
    ///
    /// # Errors
    /// Two metrics of one name: our own mistake.
    pub(crate) fn new(
        metrics: &Arc<Metrics>,
        store: Arc<dyn Store>,
        catalogue: Arc<Catalogue>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let registry = &metrics.registry;
        let build = labelled(
            registry,
            "forecare_build_info",
            "1; the label says which version runs.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            store,
            catalogue,
            clock,
            metrics: Arc::clone(metrics),
            alarms_active: labelled(
                registry,
                "forecare_alarms_active",
                "Alarm episodes that last, by class and severity.",
                &["class", "severity"],
            )?,
            critical_without_ticket: plain(
                registry,
                "forecare_alarms_critical_without_ticket",
                "Critical alarm episodes that last, on machines without an open ticket.",
            )?,
            tickets_open: labelled(
                registry,
                "forecare_tickets_open",
                "Open tickets, by priority and state.",
                &["priority", "state"],
            )?,
            tickets_overdue: labelled(
                registry,
                "forecare_tickets_overdue",
                "Open tickets past the time by which the work was due, by priority.",
                &["priority"],
            )?,
            parts_back_ordered: plain(
                registry,
                "forecare_parts_back_ordered",
                "Parts that tickets wait for from a supplier.",
            )?,
            parts_late: plain(
                registry,
                "forecare_parts_late",
                "Reserved parts that arrive after they are needed.",
            )?,
            verdicts: labelled(
                registry,
                "forecare_verdicts_recent",
                "Technicians' verdicts among the newest thousand, by class, failure mode and verdict.",
                &["class", "mode", "verdict"],
            )?,
            devices_online: plain(
                registry,
                "forecare_devices_online",
                "Devices whose last word on their connection was \"online\".",
            )?,
            devices_silent: labelled(
                registry,
                "forecare_devices_silent",
                "Devices without a scored reading for six sampling intervals, by class; those that never sent any left out.",
                &["class"],
            )?,
            memory: plain(
                registry,
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
            )?,
        })
    }

    /// Asks again and again, until the task is ended.
    pub(crate) async fn run(self) {
        loop {
            if let Some(bytes) = resident_bytes() {
                self.memory.set(bytes);
            }
            let began = Instant::now();
            let mut pause = SURVEY_EVERY;
            match self.look().await {
                Ok(()) => {
                    self.metrics.store_available.set(1);
                    pause = pause.max(began.elapsed() * PAUSE_PER_LOOK);
                }
                Err(failure) => {
                    self.metrics.store_available.set(0);
                    warn!(error = %chain(&failure), "the store does not answer: its metrics are old");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // What the pipeline has found out is not told otherwise here.
                () = self.metrics.outage.changed() => {}
            }
        }
    }

    async fn look(&self) -> Result<(), forecare_store::StoreError> {
        let store = self.store.as_ref();
        let now = self.clock.now();
        let class_of: BTreeMap<DeviceId, String> = store
            .assets()
            .await?
            .into_iter()
            .map(|asset| (asset.device, asset.class.to_string()))
            .collect();
        let class = |device: &DeviceId| class_of.get(device).map_or("", String::as_str);

        let filter = TicketFilter {
            open: Some(true),
            ..TicketFilter::default()
        };
        let tickets = newest(ENTRIES_MAX, |page| store.tickets(&filter, page)).await?;
        let filter = AlarmFilter {
            active: Some(true),
            ..AlarmFilter::default()
        };
        let alarms = newest(ENTRIES_MAX, |page| store.alarms(&filter, page)).await?;
        let filter = ReservationFilter {
            live: true,
            ..ReservationFilter::default()
        };
        let reservations = newest(ENTRIES_MAX, |page| store.reservations(&filter, page)).await?;
        let labels = newest(VERDICTS_RECENT, |page| store.labels(page)).await?;
        let statuses = store.statuses().await?;
        let health = store.health().await?;

        for known in &self.catalogue.classes {
            for (severity, label) in SEVERITIES {
                let n = alarms
                    .iter()
                    .filter(|a| a.severity == severity && class(&a.device) == known.name.as_str());
                show(
                    &self.alarms_active,
                    &[known.name.as_str(), label],
                    n.count(),
                );
            }
            let silent_hours = SILENT_AFTER_INTERVALS * known.sample_interval_s / 3_600.0;
            let n = health.iter().filter(|h| {
                class(&h.device) == known.name.as_str() && now.hours_since(h.at) > silent_hours
            });
            show(&self.devices_silent, &[known.name.as_str()], n.count());
        }
        let n_uncared = critical_without_ticket(&alarms, tickets.iter().map(|t| &t.device));
        self.critical_without_ticket.set(int(n_uncared));
        for (priority, label) in PRIORITIES {
            let of_priority = || tickets.iter().filter(|t| t.priority == priority);
            for state in TicketState::ALL.into_iter().filter(|s| s.is_open()) {
                let n = of_priority().filter(|t| t.state == state).count();
                show(&self.tickets_open, &[label, state.label()], n);
            }
            let n = of_priority().filter(|t| t.due_at < now).count();
            show(&self.tickets_overdue, &[label], n);
        }
        let missing = |r: &&forecare_domain::Reservation| i64::from(r.quantity - r.used);
        let back_ordered = reservations
            .iter()
            .filter(|r| matches!(r.supply, Supply::BackOrder { .. }));
        self.parts_back_ordered
            .set(back_ordered.map(|r| missing(&r)).sum());
        let late = reservations
            .iter()
            .filter(|r| r.available_at > r.needed_at && r.available_at > now);
        self.parts_late.set(late.map(|r| missing(&r)).sum());

        for known in &self.catalogue.classes {
            for mode in &known.modes {
                for verdict in VERDICTS {
                    let n = labels.iter().filter(|l| {
                        l.verdict.label() == verdict
                            && l.mode == mode.name
                            && class(&l.device) == known.name.as_str()
                    });
                    let of = [known.name.as_str(), mode.name.as_str(), verdict];
                    show(&self.verdicts, &of, n.count());
                }
            }
        }
        let online = statuses.iter().filter(|s| s.online).count();
        self.devices_online.set(int(online));
        Ok(())
    }
}

/// Critical alarms of devices that are not among those with a ticket. In an alarm flood both are many.
fn critical_without_ticket<'a>(
    alarms: &[Alarm],
    with_ticket: impl Iterator<Item = &'a DeviceId>,
) -> usize {
    let with_ticket: HashSet<&DeviceId> = with_ticket.collect();
    alarms
        .iter()
        .filter(|a| a.severity == Severity::Critical && !with_ticket.contains(&a.device))
        .count()
}

/// Resident memory of this process, bytes; `None` where there is no /proc.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}

fn show(gauge: &IntGaugeVec, labels: &[&str], n: usize) {
    gauge.with_label_values(labels).set(int(n));
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn plain(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn labelled(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

#[cfg(test)]
mod tests {
    use forecare_domain::{AlarmId, AlarmSource, ModeName, Timestamp};

    use super::*;

    #[test]
    fn critical_alarms_count_as_uncared_by_their_machine_not_by_their_mode() {
        let device = |n: usize| DeviceId::new(format!("pump-{n}")).unwrap();
        let alarm = |n: usize, mode: &str, severity| {
            let (mode, raised_at) = (ModeName::new(mode).unwrap(), Timestamp::from_millis(0));
            Alarm {
                id: AlarmId::of(&device(n), &mode, raised_at),
                device: device(n),
                mode,
                source: AlarmSource::Anomaly,
                severity,
                active: true,
                acknowledged: false,
                raised_at,
                updated_at: raised_at,
                cleared_at: None,
                strength: 1.0,
                contributions: Vec::new(),
            }
        };
        let alarms = [
            alarm(1, "leak", Severity::Critical),
            alarm(1, "wear", Severity::Critical),
            alarm(2, "leak", Severity::Critical),
            alarm(3, "leak", Severity::Warning),
        ];
        let n = |with_ticket: &[DeviceId]| critical_without_ticket(&alarms, with_ticket.iter());
        assert_eq!(n(&[]), 3);
        assert_eq!(n(&[device(1), device(1), device(9)]), 1);
        assert_eq!(n(&[device(1), device(2)]), 0);
    }
}
