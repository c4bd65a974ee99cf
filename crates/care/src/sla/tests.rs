//! Against a count of every minute.

use forecare_domain::{
    Actor, Channel, Hold, Priority, Sla, SlaKey, SlaKind, SlaPoint, Ticket, TicketState, Timestamp,
};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{at, confirmed, person, ticket};
use crate::transition;

const TERMS: &str = r#"
    name = "gold"
    pause_on_part = true
    [calendar]
    time_zone = "Europe/Zurich"
    [calendar.week]
    mon = ["08:00-12:00", "13:00-17:00"]
    tue = ["08:00-17:00"]
    wed = ["08:00-17:00"]
    thu = ["08:00-17:00"]
    fri = ["08:00-17:00", "22:00-02:00"]
    [p1]
    first_response_hours = 1
    resolution_hours = 4
    around_the_clock = true
    [p2]
    first_response_hours = 1
    resolution_hours = 8
    [p3]
    first_response_hours = 4
    resolution_hours = 16
    [p4]
    first_response_hours = 8
    resolution_hours = 40
    [[escalation]]
    level = 1
    clock = "resolution"
    at_percent = 80
    to = ["Eve"]
    [[escalation]]
    level = 2
    clock = "resolution"
    at_percent = 150
    to = ["shift lead", "Ada"]
    [[escalation]]
    level = 3
    clock = "resolution"
    after_hours = 30
    to = ["head of service"]
    [[escalation]]
    level = 1
    clock = "first_response"
    at_percent = 100
    to = ["shift lead"]
"#;

fn terms() -> SlaTerms {
    toml::from_str(TERMS).unwrap()
}

/// Another contract: by the clock, no pause for parts, its own chain.
fn silver() -> SlaTerms {
    let mut file: SlaTermsFile = terms().into();
    file.name = "silver".to_owned();
    file.calendar = crate::Calendar::around_the_clock();
    file.pause_on_part = false;
    file.pause_on_vendor = true;
    file.escalations.remove(1);
    for targets in [&mut file.p1, &mut file.p2, &mut file.p3, &mut file.p4] {
        targets.resolution_hours *= 2.0;
    }
    file.try_into().unwrap()
}

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn key(clock: SlaKind, point: SlaPoint) -> SlaKey {
    SlaKey { clock, point }
}

fn state(to: TicketState) -> SlaEvent<'static> {
    SlaEvent::State {
        to,
        by_person: true,
    }
}

#[test]
fn a_ticket_of_monday_afternoon_is_due_on_tuesday() {
    let terms = terms();
    // 15:00 in Zurich: two hours on Monday, six on Tuesday.
    let sla = sla_started(&terms, Priority::P2, t("2026-03-02T14:00:00Z"));
    assert_eq!(sla.resolution.due_at, Some(t("2026-03-03T13:00:00Z")));
    assert_eq!(sla.first_response.due_at, Some(t("2026-03-02T15:00:00Z")));
    let half = sla_reading(&sla, &terms, SlaKind::Resolution, t("2026-03-03T09:00:00Z"));
    assert_eq!((half.elapsed_hours, half.fraction), (4.0, 0.5));
    assert_eq!(half.state, SlaState::Running);
    assert_eq!(
        sla_next(&sla, &terms),
        Some((
            t("2026-03-02T14:30:00Z"),
            key(SlaKind::FirstResponse, SlaPoint::Mark(50))
        ))
    );
}

#[test]
fn waiting_for_the_customer_does_not_count() {
    let terms = terms();
    let start = t("2026-03-02T07:00:00Z");
    let mut sla = sla_started(&terms, Priority::P1, start);
    sla_event(
        &mut sla,
        &terms,
        state(TicketState::Triaged),
        start.plus_hours(0.2),
    );
    sla_event(
        &mut sla,
        &terms,
        state(TicketState::OnHold(Hold::Customer)),
        start.plus_hours(1.0),
    );
    let now = start.plus_hours(50.0);
    let held = sla_reading(&sla, &terms, SlaKind::Resolution, now);
    assert_eq!(
        (held.state, held.elapsed_hours, held.due_at),
        (SlaState::Paused, 1.0, None)
    );
    assert_eq!(sla_next(&sla, &terms), None);
    let said = sla_event(&mut sla, &terms, state(TicketState::InProgress), now);
    assert!(said.is_empty());
    assert_eq!(sla.resolution.due_at, Some(now.plus_hours(3.0)));
    sla_event(
        &mut sla,
        &terms,
        state(TicketState::Resolved),
        now.plus_hours(1.0),
    );
    let over = sla_reading(&sla, &terms, SlaKind::Resolution, now.plus_hours(90.0));
    assert_eq!((over.state, over.fraction), (SlaState::Met, 0.5));
}

#[test]
fn waiting_for_a_vendor_counts_unless_the_contract_says_otherwise() {
    let elapsed = |terms: &SlaTerms| {
        let start = t("2026-03-02T07:00:00Z");
        let mut sla = sla_started(terms, Priority::P1, start);
        sla_event(
            &mut sla,
            terms,
            state(TicketState::OnHold(Hold::Vendor)),
            start,
        );
        sla_reading(&sla, terms, SlaKind::Resolution, start.plus_hours(2.0)).elapsed_hours
    };
    assert_eq!((elapsed(&terms()), elapsed(&silver())), (2.0, 0.0));
}

#[test]
fn a_higher_priority_keeps_the_time_and_says_what_it_leaps_over() {
    let terms = terms();
    let start = t("2026-03-03T07:00:00Z");
    let mut sla = sla_started(&terms, Priority::P3, start);
    sla_event(
        &mut sla,
        &terms,
        state(TicketState::Triaged),
        start.plus_hours(0.1),
    );
    // Six working hours are 37 % of sixteen, and 150 % of four.
    let at = start.plus_hours(6.0);
    let said = sla_event(&mut sla, &terms, SlaEvent::Priority(Priority::P1), at);
    assert!(said.iter().all(|s| s.at == at));
    let points: Vec<SlaPoint> = said.iter().map(|s| s.key.point).collect();
    use SlaPoint::{Level, Mark};
    assert_eq!(points, [Mark(50), Mark(75), Mark(100), Level(1), Level(2)]);
    assert_eq!(said[4].to, ["shift lead", "Ada"]);
    assert_eq!(sla.resolution.elapsed_ms, 6 * 3_600_000);
    let reading = sla_reading(&sla, &terms, SlaKind::Resolution, at);
    assert_eq!(
        (reading.state, reading.due_at),
        (SlaState::Breached, Some(at))
    );
    // And back: the promise is kept again, but nothing is said a second time.
    assert!(sla_event(&mut sla, &terms, SlaEvent::Priority(Priority::P4), at).is_empty());
    assert_eq!(
        sla_reading(&sla, &terms, SlaKind::Resolution, at).state,
        SlaState::Running
    );
    let later = sla_advance(&mut sla, &terms, at.plus_hours(2_000.0));
    let points: Vec<SlaKey> = later.iter().map(|s| s.key).collect();
    assert_eq!(points, [key(SlaKind::Resolution, Level(3))]);
}

#[test]
fn a_reopened_ticket_goes_on_counting() {
    let terms = terms();
    let start = t("2026-03-03T07:00:00Z");
    let mut sla = sla_started(&terms, Priority::P1, start);
    sla_event(
        &mut sla,
        &terms,
        state(TicketState::Resolved),
        start.plus_hours(1.0),
    );
    sla_event(
        &mut sla,
        &terms,
        state(TicketState::Reopened),
        start.plus_hours(20.0),
    );
    assert_eq!(sla.resolution.due_at, Some(start.plus_hours(23.0)));
    assert_eq!(sla.first_response.stopped_at, Some(start.plus_hours(1.0)));
    sla_event(
        &mut sla,
        &terms,
        state(TicketState::Cancelled),
        start.plus_hours(21.0),
    );
    let reading = sla_reading(&sla, &terms, SlaKind::Resolution, start.plus_hours(99.0));
    assert_eq!(
        (reading.state, reading.elapsed_hours),
        (SlaState::Void, 2.0)
    );
}

#[test]
fn what_forecare_does_is_no_response() {
    let terms = terms();
    let start = t("2026-03-03T07:00:00Z");
    let mut sla = sla_started(&terms, Priority::P1, start);
    let step = SlaEvent::State {
        to: TicketState::Triaged,
        by_person: false,
    };
    sla_event(&mut sla, &terms, step, start);
    assert_eq!(sla.first_response.stopped_at, None);
}

#[test]
fn a_ticket_says_each_thing_once_and_stays_otherwise() {
    let terms = terms();
    let mut opened = ticket();
    opened.priority = Priority::P1;
    assert!(sla_due(&opened, &terms, at(0.4)).is_none());
    let (after, said) = sla_due(&opened, &terms, at(0.6)).unwrap();
    assert_eq!(said.len(), 1);
    let why = &after.history.last().unwrap().why;
    assert!(
        why.starts_with("SLA first response: 50 % of 1.0 h were used at 2023-11-14T22:"),
        "{why}"
    );
    assert_eq!(after.state, opened.state);
    assert!(sla_due(&after, &terms, at(0.6)).is_none());
    let mut triaged =
        transition(&after, TicketState::Triaged, person(), "", None, at(0.7)).unwrap();
    assert!(sla_changed(&after, &mut triaged, &terms, &person(), at(0.7)).is_empty());
    let (late, said) = sla_due(&triaged, &terms, at(9.0)).unwrap();
    let points: Vec<String> = said.iter().map(|s| s.key.to_string()).collect();
    assert_eq!(
        points,
        [
            "resolution 50 %",
            "resolution 75 %",
            "resolution level 1",
            "resolution 100 %",
            "resolution level 2"
        ]
    );
    let whys: Vec<&str> = late.history.iter().map(|c| c.why.as_str()).collect();
    assert!(
        whys.iter()
            .any(|w| w.contains("escalated to level 2: shift lead, Ada")),
        "{whys:?}"
    );
    assert!(
        whys.iter()
            .any(|w| w.contains("resolution: the target of 4.0 h was missed")),
        "{whys:?}"
    );
}

#[test]
fn what_ends_a_ticket_stays_its_last_line() {
    let terms = terms();
    let mut opened = ticket();
    opened.priority = Priority::P1;
    // Nobody has looked for nine hours.
    let mut ended = crate::replaced_elsewhere(&opened, at(9.0)).unwrap();
    let said = sla_changed(
        &opened,
        &mut ended,
        &terms,
        &crate::lifecycle::forecare(),
        at(9.0),
    );
    assert!(said.len() > 3);
    assert_eq!(ended.history.len(), opened.history.len() + said.len() + 1);
    assert_eq!(
        crate::close_reason(&ended),
        Some(forecare_domain::CloseReason::ReplacedElsewhere)
    );
}

#[test]
fn a_ticket_from_before_is_counted_from_its_history() {
    let terms = terms();
    let path = [
        TicketState::Triaged,
        TicketState::Dispatched,
        TicketState::Accepted,
        TicketState::InProgress,
    ];
    let mut with = ticket();
    with.sla = Some(sla_started(&terms, with.priority, with.opened_at));
    for (n, to) in path.into_iter().enumerate() {
        let now = at(n as f64);
        let mut next = transition(&with, to, person(), "", None, now).unwrap();
        sla_changed(&with, &mut next, &terms, &person(), now);
        with = next;
    }
    let without = Ticket {
        sla: None,
        ..with.clone()
    };
    let (kept, counted) = (sla_of(&with, &terms), sla_of(&without, &terms));
    assert_eq!(
        Sla {
            said: Vec::new(),
            ..kept
        },
        counted
    );
}

#[test]
fn what_is_said_of_a_resolved_or_reopened_ticket_moves_no_date() {
    let mut t = crate::fixtures::resolved(&confirmed());
    let resolved_at = crate::lifecycle::resolved_at(&t);
    crate::lifecycle::record(&mut t, TicketState::Resolved, person(), "said", at(99.0));
    assert_eq!(crate::lifecycle::resolved_at(&t), resolved_at);
}

#[test]
fn what_is_wrong_with_terms_is_named() {
    let refusal = |from: &str, to: &str| {
        let text = TERMS.replacen(from, to, 1);
        toml::from_str::<SlaTerms>(&text).unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("\"gold\"", "\" \"", "name must not be empty"),
        (
            "resolution_hours = 4",
            "resolution_hours = 0",
            "p1.resolution_hours = 0",
        ),
        (
            "first_response_hours = 1\n",
            "first_response_hours = 9\n",
            "p1: first_response_hours",
        ),
        ("at_percent = 80", "", "level 1: give either"),
        (
            "at_percent = 150",
            "at_percent = 1001",
            "level 2: at_percent = 1001",
        ),
        ("to = [\"Eve\"]", "to = []", "level 1: to names nobody"),
        (
            "level = 2",
            "level = 1",
            "level 1 of resolution is given twice",
        ),
        (
            "Europe/Zurich",
            "Europe/Zürich",
            "time_zone \"Europe/Zürich\"",
        ),
        ("pause_on_part", "pause_on_parts", "pause_on_parts"),
    ] {
        let text = refusal(from, to);
        assert!(text.contains(expected), "{text}");
    }
    let json = serde_json::to_string(&terms()).unwrap();
    assert_eq!(serde_json::from_str::<SlaTerms>(&json).unwrap(), terms());
}

/// One thing that happens in a trial.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Priority(Priority),
    State(TicketState, bool),
    Contract(bool),
    /// Somebody looks; the ticket is written and read again.
    Evaluated,
    /// Somebody looks, and the process dies before anything is written.
    EvaluatedInVain,
}

fn happens() -> impl Strategy<Value = Happens> {
    let priority =
        prop::sample::select(vec![Priority::P1, Priority::P2, Priority::P3, Priority::P4]);
    let state = prop::sample::select(TicketState::ALL.to_vec());
    prop_oneof![
        2 => priority.prop_map(Happens::Priority),
        4 => (state, any::<bool>()).prop_map(|(s, p)| Happens::State(s, p)),
        1 => any::<bool>().prop_map(Happens::Contract),
        4 => Just(Happens::Evaluated),
        1 => Just(Happens::EvaluatedInVain),
    ]
}

/// What counting every minute comes to.
#[derive(Debug, Default, Clone, PartialEq)]
struct ByHand {
    elapsed_min: [i64; 2],
    said: Vec<(i64, SlaKey)>,
}

/// Counts every minute from the definition, with nothing of the clock's own code but the terms' figures.
fn by_hand(start: Timestamp, script: &[(i64, Happens)], end_min: i64) -> ByHand {
    let (gold, silver) = (terms(), silver());
    let minute = |n: i64| Timestamp::from_millis(start.as_millis() + n * 60_000);
    let mut result = ByHand::default();
    let (mut is_gold, mut priority, mut now) = (true, Priority::P3, TicketState::New);
    let mut responded = false;
    for n in 0..=end_min {
        // The minute before this instant has been counted: what has been reached?
        let told =
            |result: &mut ByHand, is_gold: bool, priority, now: TicketState, responded: bool| {
                let file: SlaTermsFile = if is_gold {
                    gold.clone()
                } else {
                    silver.clone()
                }
                .into();
                let targets = match priority {
                    Priority::P1 => file.p1,
                    Priority::P2 => file.p2,
                    Priority::P3 => file.p3,
                    Priority::P4 => file.p4,
                };
                for (c, kind) in SlaKind::ALL.into_iter().enumerate() {
                    let target_min = match kind {
                        SlaKind::FirstResponse => targets.first_response_hours,
                        SlaKind::Resolution => targets.resolution_hours,
                    } * 60.0;
                    let running = match kind {
                        SlaKind::FirstResponse => !responded,
                        SlaKind::Resolution => now.is_open() && !paused(&file, now),
                    };
                    if !running {
                        continue;
                    }
                    let used = result.elapsed_min[c] as f64;
                    let mut reached: Vec<SlaPoint> = [50_u16, 75, 100]
                        .into_iter()
                        .filter(|m| used >= target_min * f64::from(*m) / 100.0)
                        .map(SlaPoint::Mark)
                        .collect();
                    for e in file.escalations.iter().filter(|e| e.clock == kind) {
                        let threshold = e.at_percent.map_or_else(
                            || e.after_hours.unwrap() * 60.0,
                            |p| target_min * f64::from(p) / 100.0,
                        );
                        if used >= threshold {
                            reached.push(SlaPoint::Level(e.level));
                        }
                    }
                    for point in reached {
                        let key = key(kind, point);
                        if result.said.iter().all(|(_, said)| *said != key) {
                            result.said.push((n, key));
                        }
                    }
                }
            };
        told(&mut result, is_gold, priority, now, responded);
        for (_, event) in script.iter().filter(|(m, _)| *m == n) {
            match event {
                Happens::Priority(p) => priority = *p,
                Happens::Contract(gold) => is_gold = *gold,
                Happens::State(s, by_person) => {
                    now = *s;
                    responded |= (*by_person && now != TicketState::New) || !now.is_open();
                }
                Happens::Evaluated | Happens::EvaluatedInVain => {}
            }
            told(&mut result, is_gold, priority, now, responded);
        }
        if n == end_min {
            break;
        }
        let terms = if is_gold { &gold } else { &silver };
        let file: SlaTermsFile = terms.clone().into();
        if terms.calendar(priority).is_open(minute(n)) {
            result.elapsed_min[0] += i64::from(!responded);
            result.elapsed_min[1] += i64::from(now.is_open() && !paused(&file, now));
        }
    }
    result.said.sort();
    result
}

fn paused(file: &SlaTermsFile, state: TicketState) -> bool {
    match state.label() {
        "on_hold:customer" => true,
        "on_hold:vendor" => file.pause_on_vendor,
        "on_hold:part" => file.pause_on_part,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_minute_counts_and_nothing_is_said_twice(
        events in prop::collection::vec((0..5_000_i64, happens()), 0..14),
        start in prop::sample::select(vec!["2026-03-27T09:00:00Z", "2026-10-23T17:30:00Z", "2026-06-01T00:00:00Z"]),
        evaluations in prop::collection::vec(0..5_000_i64, 0..10),
    ) {
        let start = t(start);
        let mut script = events;
        script.extend(evaluations.iter().map(|m| (*m, Happens::Evaluated)));
        script.sort_by_key(|(m, _)| *m);
        let expected = by_hand(start, &script, 5_000);
        let (gold, silver) = (terms(), silver());
        let minute = |n: i64| Timestamp::from_millis(start.as_millis() + n * 60_000);
        let mut in_force = &gold;
        let mut sla = sla_started(in_force, Priority::P3, start);
        let mut said: Vec<SlaSignal> = Vec::new();
        for (m, event) in script.iter().chain([&(5_000, Happens::Evaluated)]) {
            let now = minute(*m);
            // What is foreseen is what comes, unless something happens before.
            let next = sla_next(&sla, in_force).filter(|(at, _)| *at <= now);
            let mut again = sla.clone();
            let foreseen = sla_advance(&mut again, in_force, now);
            prop_assert_eq!(next, foreseen.first().map(|s| (s.at, s.key)));
            said.extend(match event {
                Happens::Priority(p) => sla_event(&mut sla, in_force, SlaEvent::Priority(*p), now),
                Happens::State(to, by_person) => {
                    let event = SlaEvent::State { to: *to, by_person: *by_person };
                    sla_event(&mut sla, in_force, event, now)
                }
                Happens::Contract(is_gold) => {
                    let new = if *is_gold { &gold } else { &silver };
                    let signals = sla_event(&mut sla, in_force, SlaEvent::Terms(new), now);
                    in_force = new;
                    signals
                }
                Happens::Evaluated => {
                    let signals = sla_advance(&mut sla, in_force, now);
                    sla = serde_json::from_str(&serde_json::to_string(&sla).unwrap()).unwrap();
                    signals
                }
                Happens::EvaluatedInVain => Vec::new(),
            });
            let reading = sla_reading(&sla, in_force, SlaKind::Resolution, now);
            prop_assert_eq!(reading.state == SlaState::Breached, reading.fraction >= 1.0);
            if reading.state == SlaState::Running {
                let due = reading.due_at.unwrap();
                let at_due = sla_reading(&sla, in_force, SlaKind::Resolution, due);
                prop_assert_eq!(at_due.fraction, 1.0);
            }
        }
        let minutes = |kind| sla.clock(kind).elapsed_ms / 60_000;
        prop_assert_eq!(SlaKind::ALL.map(minutes), expected.elapsed_min);
        let mut keys: Vec<(i64, SlaKey)> = said
            .iter()
            .map(|s| ((s.at.as_millis() - start.as_millis()) / 60_000, s.key))
            .collect();
        keys.sort();
        prop_assert_eq!(keys, expected.said);
        let mut once: Vec<SlaKey> = said.iter().map(|s| s.key).collect();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), said.len());
    }

    #[test]
    fn a_ticket_through_its_store_is_told_the_same(
        looks in prop::collection::vec(0.0..80.0_f64, 0..40),
        lost in prop::collection::vec(any::<bool>(), 40),
        raised_at in 0.0..80.0_f64,
    ) {
        let terms = terms();
        let mut looks = looks;
        looks.sort_by(f64::total_cmp);
        let system = Actor { name: "forecare".to_owned(), channel: Channel::System };
        let mut stored = ticket();
        stored.priority = Priority::P3;
        let mut all = Vec::new();
        let mut raised = false;
        for (hours, lost) in looks.iter().zip(lost).chain([(&80.0, false)]) {
            if *hours >= raised_at && !raised {
                raised = true;
                let mut after = stored.clone();
                after.priority = Priority::P2;
                all.extend(sla_changed(&stored, &mut after, &terms, &system, at(raised_at)));
                stored = after;
            }
            if let Some((after, said)) = sla_due(&stored, &terms, at(*hours)) && !lost {
                all.extend(said);
                let json = serde_json::to_string(&after).unwrap();
                stored = serde_json::from_str(&json).unwrap();
            }
        }
        // The same as one look at the end.
        let mut once = ticket();
        once.priority = Priority::P3;
        let mut after = once.clone();
        let mut expected = Vec::new();
        if raised {
            after.priority = Priority::P2;
            expected.extend(sla_changed(&once, &mut after, &terms, &system, at(raised_at)));
        }
        expected.extend(sla_due(&after, &terms, at(80.0)).map(|(_, s)| s).unwrap_or_default());
        let sorted = |mut signals: Vec<SlaSignal>| {
            signals.sort_by_key(|s| (s.at, s.key));
            signals
        };
        prop_assert_eq!(sorted(all.clone()), sorted(expected));
        let lines = stored.history.iter().filter(|c| c.why.starts_with("SLA ")).count();
        prop_assert_eq!(lines, all.len());
    }
}
