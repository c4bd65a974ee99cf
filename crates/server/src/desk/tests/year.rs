//! A year of a fleet and of those who care for it, on the service's own monitors and desk, by advancing the clock: what
//! always holds is looked at after each day, and the figures are counted a second time from what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use forecare_api::{Desk, OpenRequest, TransitionRequest};
use forecare_care::kpi::{Answers, Case, Cut, Links, Machine, Period, Scope, figures};
use forecare_care::{HISTORY_MAX, allowed};
use forecare_catalogue::Catalogue;
use forecare_domain::{
    Actor, Asset, AssetId, Channel, ClassName, DepotName, DeviceId, ModeName, Notice, Reservation,
    Row, SlaPoint, StockCommand, StockMove, Supply, SurveyAnswer, Ticket, TicketId, TicketKind,
    TicketState, Timestamp, Verdict,
};
use forecare_simulator::{Emission, Fleet, FleetConfig, run_to_failure};
use forecare_store::{
    CommitBatch, MemoryStore, NewTask, ReservationFilter, Store, TicketFilter, every,
};

use super::{Office, office_on};
use crate::config::Config;
use crate::pipeline::{ClassContext, Control, Monitor, class_contexts};

const MACHINES: usize = 500;
const DAYS: i64 = 365;
const TECHNICIANS: usize = 8;
const HOUR_MS: i64 = 3_600_000;
/// Hours at which the dispatcher looks, besides whenever the desk does.
const PLANNED_AT: [i64; 3] = [6, 10, 14];

/// Three depots, and eight people who between them can do everything.
fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::parse(crate::cli::DEMO_CATALOGUE).unwrap();
    assert!(catalogue.depots.len() >= 3, "{:?}", catalogue.depots);
    catalogue.depots.truncate(3);
    let depots: BTreeSet<_> = catalogue.depots.iter().map(|d| d.name.clone()).collect();
    catalogue
        .stock
        .retain(|level| depots.contains(&level.depot));
    let model = catalogue.technicians[0].clone();
    let skills: BTreeSet<String> = catalogue
        .classes
        .iter()
        .flat_map(|c| c.modes.iter())
        .flat_map(|m| m.skills.iter().cloned())
        .collect();
    catalogue.technicians = (0..TECHNICIANS)
        .map(|n| {
            let mut technician = model.clone();
            technician.name = format!("Technician {n}");
            technician.depot = catalogue.depots[n % 3].name.clone();
            technician.skills = skills.iter().cloned().collect();
            technician
        })
        .collect();
    catalogue
}

/// What was done, as it was done: the figures' second source.
#[derive(Default)]
struct Diary {
    opened: BTreeMap<TicketId, Entry>,
    answers: BTreeMap<TicketId, (u8, u8, u8)>,
}

struct Entry {
    at: Timestamp,
    is_warning: bool,
    is_failure: bool,
    taken_up: Option<Timestamp>,
    resolved: Option<Timestamp>,
    verdict: Option<&'static str>,
}

/// A machine, what it was cured of, and when.
type Cured = (DeviceId, Vec<ModeName>, Timestamp);

struct Year {
    office: Office,
    store: Arc<MemoryStore>,
    fleet: Fleet,
    contexts: Vec<Arc<ClassContext>>,
    monitors: BTreeMap<DeviceId, Monitor>,
    repaired: Arc<Mutex<Vec<Cured>>>,
    catalogue: Catalogue,
    diary: Diary,
    /// Parts under way: when, what, where, how many.
    coming: Vec<(Timestamp, forecare_domain::PartNumber, DepotName, u32)>,
    n_commands: u64,
    /// Corrective tickets, and when their machine runs again.
    mending: BTreeMap<TicketId, Timestamp>,
    /// Work under way, and when it is done.
    working: BTreeMap<TicketId, Timestamp>,
    told: BTreeSet<String>,
}

fn person(name: &str) -> Actor {
    Actor {
        name: name.to_owned(),
        channel: Channel::Api,
    }
}

impl Year {
    async fn begin(start: Timestamp) -> Self {
        let catalogue = catalogue();
        let config = Config::load(None, &[]).unwrap();
        let store = Arc::new(MemoryStore::new(&catalogue, start));
        let contexts = class_contexts(&catalogue, Vec::new(), &config.class_settings()).unwrap();
        let (office, mut requests) = office_on(store.clone(), config, catalogue.clone(), start);
        let repaired: Arc<Mutex<Vec<Cured>>> = Arc::default();
        let kept = Arc::clone(&repaired);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                if let Control::Repaired(device, modes, at, done) = request {
                    kept.lock().unwrap().push((device, modes, at));
                    done.send(Ok(())).unwrap();
                }
            }
        });
        let fleet_config = FleetConfig {
            seed: 2026,
            n_devices: MACHINES,
            start,
            sample_interval_s: 3_600.0,
            n_faults: 0,
            first_onset_hours: 0.0,
            onset_spacing_hours: 0.0,
        };
        // About two faults a machine and year.
        let healthy = (1_500.0, 6_000.0);
        let fleet = run_to_failure(&fleet_config, 24.0 * DAYS as f64, healthy, &catalogue).unwrap();
        let assets: Vec<Asset> = fleet
            .devices()
            .iter()
            .enumerate()
            .map(|(n, device)| Asset {
                id: AssetId::new(device.as_str()).unwrap(),
                device: device.clone(),
                class: ClassName::new(forecare_simulator::CLASS).unwrap(),
                name: device.to_string(),
                site: format!("Site {}", n % 40),
                depot: Some(catalogue.depots[n % 3].name.clone()),
                registered_at: start,
            })
            .collect();
        store.register_assets(assets).await.unwrap();
        let monitors = fleet
            .devices()
            .iter()
            .map(|device| (device.clone(), Monitor::new(&contexts[0])))
            .collect();
        Self {
            office,
            store,
            fleet,
            contexts,
            monitors,
            repaired,
            catalogue,
            diary: Diary::default(),
            coming: Vec::new(),
            n_commands: 0,
            mending: BTreeMap::new(),
            working: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    async fn hour(&mut self, now: Timestamp, hour_of_day: i64) {
        self.office.clock.set(now);
        let failed = self.listen(now).await;
        let desk = self.office.desk.clone();
        while desk.work().await.unwrap() > 0 {}
        desk.sweep(None, now).await.unwrap();
        for asset in failed {
            self.report(asset, now).await;
        }
        if PLANNED_AT.contains(&hour_of_day) {
            desk.plan_now().await.unwrap();
        }
        self.note_opened().await;
        self.receive(now).await;
        self.people(now, hour_of_day).await;
        let settled = std::mem::take(&mut *self.repaired.lock().unwrap());
        for (device, modes, at) in settled {
            let monitor = self.monitors.get_mut(&device).unwrap();
            monitor.repaired(&self.contexts[0], &modes, at, now);
        }
    }

    /// What the machines send until `now`, through their monitors; returns those that have stopped.
    async fn listen(&mut self, now: Timestamp) -> Vec<AssetId> {
        let mut batch = CommitBatch::default();
        let mut failed = Vec::new();
        for emission in self.fleet.advance(now) {
            let monitor = self.monitors.get_mut(emission.device()).unwrap();
            let outcome = match emission {
                Emission::Telemetry {
                    device, ts, values, ..
                } => {
                    let row = Row {
                        device,
                        ts,
                        values: values.iter().map(|v| Some(*v)).collect(),
                        extra: Vec::new(),
                    };
                    monitor.row(&self.contexts[0], &row, ts, false).1
                }
                Emission::Event(event) => {
                    if event.code == forecare_simulator::STOPPED_CODE {
                        failed.push(AssetId::new(event.device.as_str()).unwrap());
                    }
                    monitor.event(&self.contexts[0], &event, event.ts)
                }
            };
            batch.alarms.extend(outcome.alarms);
            batch.health.extend(outcome.health);
            batch.tasks.extend(outcome.tasks.into_iter().map(NewTask));
        }
        self.store.commit_batch(batch).await.unwrap();
        failed
    }

    /// Somebody at the plant says that the machine stands.
    async fn report(&mut self, asset: AssetId, now: Timestamp) {
        let device = DeviceId::new(asset.as_str()).unwrap();
        let mode = self.fault_of(&device, now).map(|(mode, _)| mode);
        let request = OpenRequest {
            asset,
            kind: TicketKind::CORRECTIVE.to_owned(),
            title: "it stands".to_owned(),
            report: forecare_domain::Report {
                production: forecare_domain::ProductionImpact::Stopped,
                urgency: forecare_domain::Urgency::High,
                ..forecare_domain::Report::default()
            },
            mode,
            fields: BTreeMap::new(),
            parent: None,
            contact: None,
            idempotency_key: Some(format!("stands-{device}-{now}")),
        };
        let ticket = self.office.desk.open_ticket(request, person("plant"));
        let ticket = ticket.await.unwrap();
        self.mending.insert(ticket.id, now.plus_hours(7.0));
    }

    /// The fault that a machine has at `now`, and whether it stands.
    fn fault_of(&self, device: &DeviceId, now: Timestamp) -> Option<(ModeName, bool)> {
        let fault = self.fleet.present_fault(device, now)?;
        Some((fault.mode.clone(), fault.failure_at <= now))
    }

    async fn all_tickets(&self) -> Vec<Ticket> {
        let all = TicketFilter::default();
        every(|page| self.store.tickets(&all, page)).await.unwrap()
    }

    async fn open_tickets(&self) -> Vec<Ticket> {
        let filter = TicketFilter {
            open: Some(true),
            ..TicketFilter::default()
        };
        let mut open = every(|page| self.store.tickets(&filter, page))
            .await
            .unwrap();
        open.reverse();
        open
    }

    async fn note_opened(&mut self) {
        for ticket in self.open_tickets().await {
            self.diary.opened.entry(ticket.id).or_insert(Entry {
                at: ticket.opened_at,
                is_warning: ticket.is_predicted(),
                is_failure: ticket.kind.as_str() == TicketKind::CORRECTIVE,
                taken_up: None,
                resolved: None,
                verdict: None,
            });
        }
    }

    /// What was ordered arrives, and what is lacking is ordered.
    async fn receive(&mut self, now: Timestamp) {
        let (arrived, coming) = std::mem::take(&mut self.coming)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.coming = coming;
        let arrived: Vec<_> = arrived;
        for (_, part, depot, quantity) in arrived {
            self.n_commands += 1;
            let command = StockCommand {
                idempotency_key: format!("delivery-{}", self.n_commands),
                kind: StockMove::Receipt,
                part,
                depot,
                quantity,
                order: None,
                reason: None,
                bin: None,
                marks: forecare_domain::Marks::default(),
                by: person("store"),
                at: now,
            };
            // A lorry that comes twice counts once.
            for repeated in [false, true] {
                let booked = self.store.move_stock(command.clone()).await.unwrap();
                assert_eq!(booked.repeated, repeated);
            }
        }
        for item in self.store.stock().await.unwrap() {
            let level = self
                .catalogue
                .stock
                .iter()
                .filter(|l| l.part == item.part && l.depot == item.depot)
                .map(|l| l.on_hand)
                .sum::<u32>();
            let on_order: u32 = self
                .coming
                .iter()
                .filter(|(_, part, depot, _)| *part == item.part && *depot == item.depot)
                .map(|(.., n)| n)
                .sum();
            let wanted = level + item.back_ordered;
            let there = item.on_hand + on_order;
            if there < wanted {
                let lead = self.catalogue.part(&item.part).unwrap().lead_time_hours;
                let at = now.plus_hours(lead);
                let missing = wanted - there;
                self.coming.push((at, item.part, item.depot, missing));
            }
        }
    }

    /// People set out, work, and tell what they found; customers answer.
    async fn people(&mut self, now: Timestamp, hour_of_day: i64) {
        for ticket in self.open_tickets().await {
            if let Some(done_at) = self.working.get(&ticket.id).copied() {
                if done_at <= now {
                    self.finish(&ticket, now).await;
                }
                continue;
            }
            if let Some(mended_at) = self.mending.get(&ticket.id).copied() {
                // The plant's own people mend what stands.
                if ticket.state == TicketState::New {
                    self.step(ticket.id, TicketState::Triaged, None, now).await;
                } else if mended_at <= now {
                    for to in [TicketState::Dispatched, TicketState::Accepted] {
                        self.step(ticket.id, to, None, now).await;
                    }
                    self.step(ticket.id, TicketState::InProgress, None, now)
                        .await;
                    let verdict = Verdict::Done;
                    self.step(ticket.id, TicketState::Resolved, Some(verdict), now)
                        .await;
                    self.mending.remove(&ticket.id);
                }
                continue;
            }
            let planned = ticket.proposal.as_ref().and_then(|p| p.assigned.as_ref());
            let Some(planned) = planned.filter(|a| a.start_at <= now) else {
                continue;
            };
            if !(7..17).contains(&hour_of_day) {
                continue;
            }
            let technician = planned.technician.clone();
            for to in [
                TicketState::Triaged,
                TicketState::Dispatched,
                TicketState::Accepted,
                TicketState::InProgress,
            ] {
                if self.store.ticket(ticket.id).await.unwrap().state != to {
                    self.take(ticket.id, to, &technician, now).await;
                }
            }
            self.working.insert(ticket.id, now.plus_hours(3.0));
        }
        for paged in self.resolved().await {
            let id = paged.id;
            let resolved_at = self.diary.opened[&id].resolved;
            let asked = resolved_at.is_some_and(|at| now.hours_since(at) >= 24.0);
            // Three of five answer.
            if asked && id.0 % 5 < 3 && !self.diary.answers.contains_key(&id) {
                let answers = match id.0 % 4 {
                    0 => (5, 10, 7),
                    1 => (4, 8, 5),
                    2 => (2, 3, 2),
                    _ => (3, 9, 4),
                };
                let answer = SurveyAnswer {
                    ticket: id,
                    at: now,
                    solved: Some(true),
                    csat: Some(answers.0),
                    nps: Some(answers.1),
                    ces: Some(answers.2),
                    comment: None,
                };
                self.store.put_survey_answer(answer).await.unwrap();
                self.diary.answers.insert(id, answers);
                self.step(id, TicketState::Confirmed, None, now).await;
            }
        }
    }

    async fn resolved(&self) -> Vec<Ticket> {
        let filter = TicketFilter {
            open: Some(false),
            unfinished: true,
            ..TicketFilter::default()
        };
        let mut found = every(|page| self.store.tickets(&filter, page))
            .await
            .unwrap();
        found.retain(|t| t.state == TicketState::Resolved);
        found
    }

    async fn finish(&mut self, ticket: &Ticket, now: Timestamp) {
        let found = self.fault_of(&ticket.device, now);
        let mode = ticket.mode.clone().unwrap();
        let verdict = match found {
            Some((actual, _)) if actual == mode => Verdict::Confirmed {
                failure_code: actual.to_string(),
            },
            Some((actual, _)) => Verdict::WrongMode { actual },
            None => Verdict::NoFaultFound,
        };
        self.fleet.mend(&ticket.device, now);
        self.step(ticket.id, TicketState::Resolved, Some(verdict), now)
            .await;
        self.working.remove(&ticket.id);
    }

    async fn step(
        &mut self,
        id: TicketId,
        to: TicketState,
        verdict: Option<Verdict>,
        now: Timestamp,
    ) {
        let label = verdict.as_ref().map(Verdict::label);
        self.transition(id, to, verdict, None).await;
        self.note(id, to, label, now);
    }

    async fn take(&mut self, id: TicketId, to: TicketState, technician: &str, now: Timestamp) {
        let sent = (to == TicketState::Dispatched).then(|| technician.to_owned());
        self.transition(id, to, None, sent).await;
        self.note(id, to, None, now);
    }

    fn note(
        &mut self,
        id: TicketId,
        to: TicketState,
        verdict: Option<&'static str>,
        now: Timestamp,
    ) {
        let entry = self.diary.opened.get_mut(&id).unwrap();
        entry.taken_up.get_or_insert(now);
        if to == TicketState::Resolved {
            entry.resolved = Some(now);
            entry.verdict = verdict;
        }
    }

    async fn transition(
        &self,
        id: TicketId,
        to: TicketState,
        verdict: Option<Verdict>,
        technician: Option<String>,
    ) {
        let request = TransitionRequest {
            to,
            why: "as planned".to_owned(),
            verdict,
            technician,
            parts_used: Vec::new(),
            if_version: None,
            idempotency_key: None,
        };
        let desk = &self.office.desk;
        let done = desk.transition(id, request, person("Eve")).await;
        assert!(done.is_ok(), "{id} to {to:?}: {done:?}");
    }

    /// What always holds.
    async fn check(&mut self, day: i64) {
        let tickets = self.all_tickets().await;
        let live = ReservationFilter {
            ticket: None,
            live: true,
        };
        let held: Vec<Reservation> = every(|page| self.store.reservations(&live, page))
            .await
            .unwrap();
        one_open_ticket_per_key(&tickets, day);
        for ticket in &tickets {
            a_life_is_legal(ticket);
            what_fell_due_was_said_once(ticket);
            let decided = ticket.decision.as_ref().map(|d| d.why.is_empty());
            assert_eq!(
                decided,
                ticket.is_predicted().then_some(false),
                "{}",
                ticket.id
            );
        }
        let ended: BTreeSet<TicketId> = tickets
            .iter()
            .filter(|t| !t.state.is_open())
            .map(|t| t.id)
            .collect();
        for reservation in &held {
            assert!(
                !ended.contains(&reservation.ticket),
                "day {day}: {reservation:?}"
            );
        }
        self.stock_is_balanced(&held, day).await;
        self.nobody_is_told_twice().await;
    }

    async fn stock_is_balanced(&self, held: &[Reservation], day: i64) {
        let ledger = every(|page| self.store.ledger(page)).await.unwrap();
        let mut booked: BTreeMap<_, i64> = BTreeMap::new();
        for line in &ledger {
            *booked
                .entry((line.part.clone(), line.depot.clone()))
                .or_default() += line.delta;
        }
        for item in self.store.stock().await.unwrap() {
            let key = (item.part.clone(), item.depot.clone());
            let sum = booked.get(&key).copied().unwrap_or(0);
            assert_eq!(sum, i64::from(item.on_hand), "day {day}: {item:?}");
            let on_shelf: u32 = held
                .iter()
                .filter(|r| r.part == item.part)
                .filter(|r| match &r.supply {
                    Supply::Stock { depot } | Supply::Transfer { from: depot, .. } => {
                        *depot == item.depot
                    }
                    Supply::BackOrder { .. } => false,
                })
                .map(|r| r.quantity - r.used)
                .sum();
            assert_eq!(on_shelf, item.soft + item.hard, "day {day}: {item:?}");
            assert!(on_shelf <= item.on_hand, "day {day}: oversold {item:?}");
        }
    }

    async fn nobody_is_told_twice(&mut self) {
        loop {
            let notices: Vec<Notice> = self.store.unrouted_notices(500).await.unwrap();
            if notices.is_empty() {
                return;
            }
            for notice in notices {
                assert!(self.told.insert(notice.id.0.clone()), "{notice:?}");
                let routed = self.store.route_notice(&notice.id, Vec::new(), notice.at);
                assert!(routed.await.unwrap());
            }
        }
    }
}

fn one_open_ticket_per_key(tickets: &[Ticket], day: i64) {
    let mut open = BTreeSet::new();
    for ticket in tickets.iter().filter(|t| t.state.is_open()) {
        if let Some(key) = ticket.opening_key() {
            assert!(
                open.insert((ticket.asset.clone(), key)),
                "day {day}: {}",
                ticket.id
            );
        }
    }
}

fn a_life_is_legal(ticket: &Ticket) {
    assert!(ticket.history.len() <= HISTORY_MAX);
    let mut at = ticket.history[0].at;
    for change in &ticket.history {
        assert!(change.at >= at, "{}: {change:?}", ticket.id);
        at = change.at;
        if let Some(from) = change.from.filter(|from| *from != change.to) {
            assert!(
                allowed(from).contains(&change.to),
                "{}: {change:?}",
                ticket.id
            );
        }
    }
    assert_eq!(ticket.history.last().unwrap().to, ticket.state);
    assert_eq!(
        ticket.verdict.is_some(),
        ticket.history.iter().any(|c| c.to == TicketState::Resolved)
    );
}

fn what_fell_due_was_said_once(ticket: &Ticket) {
    let sla = ticket.sla.as_ref().unwrap();
    let distinct: BTreeSet<_> = sla.said.iter().collect();
    assert_eq!(distinct.len(), sla.said.len(), "{}", ticket.id);
    let levels = sla
        .said
        .iter()
        .filter(|k| matches!(k.point, SlaPoint::Level(_)));
    let escalated = ticket
        .history
        .iter()
        .filter(|c| c.why.contains("escalated to level"));
    assert_eq!(levels.count(), escalated.count(), "{}", ticket.id);
}

/// The middle one of values in order: of an even number the lower.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get((values.len().max(1) - 1) / 2).copied()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_keeps_every_promise() {
    let start = forecare_simulator::histories_start();
    let mut year = Year::begin(start).await;
    for day in 0..DAYS {
        for hour in 0..24 {
            let now = Timestamp::from_millis(start.as_millis() + (day * 24 + hour + 1) * HOUR_MS);
            year.hour(now, hour).await;
        }
        year.check(day).await;
    }
    let end = Timestamp::from_millis(start.as_millis() + (DAYS * 24 + 1) * HOUR_MS);
    let tickets = year.all_tickets().await;
    let cases: Vec<Case> = tickets
        .iter()
        .map(|ticket| {
            let answers = year.diary.answers.get(&ticket.id);
            Case {
                answers: answers.map_or(Answers::default(), |(csat, nps, ces)| Answers {
                    csat: Some(*csat),
                    nps: Some(*nps),
                    ces: Some(*ces),
                }),
                ..Case::of(ticket, Cut::new())
            }
        })
        .collect();
    let machines: Vec<Machine> = year
        .monitors
        .keys()
        .map(|device| Machine {
            asset: AssetId::new(device.as_str()).unwrap(),
            cut: Cut::new(),
            since: start,
        })
        .collect();
    let scope = Scope {
        cases: cases.iter().collect(),
        machines: machines.iter().collect(),
    };
    let period = Period {
        from: start,
        to: end,
    };
    let found = figures(&scope, &Links::of(&cases), period);
    let figure = |key: &str| found.iter().find(|f| f.kind.key == key).unwrap();
    // The same from the diary.
    let entries: Vec<&Entry> = year.diary.opened.values().collect();
    let count = |of: &dyn Fn(&&&Entry) -> bool| entries.iter().filter(of).count() as f64;
    let hours = |of: &dyn Fn(&Entry) -> Option<f64>| -> Vec<f64> {
        entries.iter().filter_map(|e| of(e)).collect()
    };
    let until = |e: &Entry, at: Option<Timestamp>| at.map(|at| at.hours_since(e.at));
    assert_eq!(figure("opened").value, Some(entries.len() as f64));
    let resolved = count(&|e| e.resolved.is_some());
    assert_eq!(figure("resolved").value, Some(resolved));
    let open = entries.len() as f64 - resolved - figure("cancelled").value.unwrap();
    assert_eq!(figure("backlog").value, Some(open));
    let responses = hours(&|e| until(e, e.taken_up));
    assert_eq!(figure("first_response_p50").value, median(responses));
    let resolutions = hours(&|e| until(e, e.resolved));
    assert_eq!(figure("resolution_p50").value, median(resolutions));
    let warned = count(&|e| e.is_warning && e.verdict.is_some());
    let right = count(&|e| e.is_warning && e.verdict == Some("confirmed"));
    assert_eq!(figure("warning_precision").value, Some(right / warned));
    let failures = count(&|e| e.is_failure);
    assert_eq!(figure("failures").value, Some(failures));
    let machine_hours = MACHINES as f64 * end.hours_since(start);
    assert_eq!(figure("mtbf").value, Some(machine_hours / failures));
    let down = hours(&|e| until(e, e.resolved).filter(|_| e.is_failure));
    let mttr = down.iter().sum::<f64>() / down.len() as f64;
    assert!((figure("mttr").value.unwrap() - mttr).abs() < 1e-9);
    let answers = year.diary.answers.values();
    let content = answers.clone().filter(|a| a.0 >= 4).count() as f64;
    let n = answers.len() as f64;
    assert_eq!(figure("csat").value, Some(content / n));
    let for_us = answers.clone().filter(|a| a.1 >= 9).count() as f64;
    let against = answers.clone().filter(|a| a.1 <= 6).count() as f64;
    let nps = figure("nps").value.unwrap();
    assert!((nps - 100.0 * (for_us - against) / n).abs() < 1e-9);
    // It was a year in which something happened.
    assert!(
        failures > 50.0 && right > 200.0 && n > 200.0,
        "{failures} {right} {n}"
    );
    println!(
        "{} tickets, {failures} failures, precision {:.2}, recall {:?}, {} notices",
        entries.len(),
        right / warned,
        figure("warning_recall").value,
        year.told.len()
    );
}
