//! Small courses of things, counted by hand.

use std::collections::BTreeMap;

use forecare_domain::{AssetId, ModeName, TicketId, TicketState, Timestamp, Verdict};

use super::*;

fn at(day: f64) -> Timestamp {
    Timestamp::from_millis(0).plus_hours(24.0 * day)
}

/// January, in days.
const MONTH: Period = Period {
    from: Timestamp::from_millis(0),
    to: Timestamp::from_millis(31 * 86_400_000),
};

fn confirmed() -> Verdict {
    Verdict::Confirmed {
        failure_code: "WEA".to_owned(),
    }
}

/// A ticket of machine `asset` for wear, opened at day `opened`.
fn case(id: i64, asset: &str, opened: f64) -> Case {
    Case {
        ticket: TicketId(id),
        asset: AssetId::new(asset).unwrap(),
        mode: Some(ModeName::new("wear").unwrap()),
        cut: BTreeMap::new(),
        is_warning: false,
        is_failure: false,
        stood: false,
        opened_at: at(opened),
        states: vec![(at(opened), TicketState::New)],
        responded_at: None,
        response: None,
        resolution: None,
        verdict: None,
        cost: None,
        cost_of_failure: None,
        cost_of_acting: None,
        part_lead_hours: None,
        at_hand: None,
        answers: Answers::default(),
    }
}

fn warning(id: i64, asset: &str, opened: f64) -> Case {
    Case {
        is_warning: true,
        cost_of_failure: Some(9_000.0),
        cost_of_acting: Some(1_000.0),
        part_lead_hours: Some(48.0),
        ..case(id, asset, opened)
    }
}

fn failure(id: i64, asset: &str, at: f64) -> Case {
    Case {
        is_failure: true,
        stood: true,
        ..case(id, asset, at)
    }
}

impl Case {
    fn to(mut self, state: TicketState, day: f64) -> Self {
        self.states.push((at(day), state));
        self
    }

    fn done(self, verdict: Verdict, day: f64) -> Self {
        let mut done = self.to(TicketState::Resolved, day);
        done.verdict = Some(verdict);
        done
    }
}

/// Value, entries, unknown ones.
fn figure(cases: &[Case], key: &str) -> (Option<f64>, usize, usize) {
    on(cases, &[], key)
}

fn on(cases: &[Case], machines: &[Machine], key: &str) -> (Option<f64>, usize, usize) {
    let scope = Scope {
        cases: cases.iter().collect(),
        machines: machines.iter().collect(),
    };
    let found = figures(&scope, &Links::of(cases), MONTH);
    let figure = found.iter().find(|f| f.kind.key == key).unwrap();
    (figure.value, figure.n, figure.n_unknown)
}

#[test]
fn nothing_known_is_no_success() {
    for figure in figures(&Scope::default(), &Links::default(), MONTH) {
        let zero = matches!(figure.kind.unit, Unit::Count).then_some(0.0);
        assert_eq!(figure.value, zero, "{}", figure.kind.key);
    }
}

#[test]
fn times_are_those_of_tickets_that_got_there_in_the_period() {
    let mut cases = vec![
        case(1, "a", 1.0).done(confirmed(), 3.0),
        case(2, "b", 2.0).done(confirmed(), 12.0),
        case(3, "c", 30.0).done(confirmed(), 40.0),
        case(4, "d", 5.0).to(TicketState::Cancelled, 6.0),
    ];
    cases[0].responded_at = Some(at(1.5));
    cases[2].responded_at = Some(at(39.0));
    assert_eq!(figure(&cases, "opened"), (Some(4.0), 4, 0));
    assert_eq!(figure(&cases, "resolved"), (Some(2.0), 2, 0));
    assert_eq!(figure(&cases, "cancelled"), (Some(1.0), 1, 0));
    assert_eq!(figure(&cases, "first_response_p50"), (Some(12.0), 1, 0));
    assert_eq!(figure(&cases, "resolution_p50"), (Some(48.0), 2, 0));
    assert_eq!(figure(&cases, "resolution_p90"), (Some(240.0), 2, 0));
    // The third is open at the end of the month, for a day.
    assert_eq!(figure(&cases, "backlog"), (Some(1.0), 1, 0));
    assert_eq!(figure(&cases, "backlog_age_p50"), (Some(24.0), 1, 0));
}

#[test]
fn a_promise_whose_clock_runs_is_neither_kept_nor_broken() {
    let mut cases = vec![case(1, "a", 1.0), case(2, "b", 1.0), case(3, "c", 1.0)];
    cases[0].response = Some(Promise::Kept);
    cases[1].response = Some(Promise::Broken);
    cases[2].response = Some(Promise::Running);
    assert_eq!(figure(&cases, "response_kept"), (Some(0.5), 2, 1));
    assert_eq!(figure(&cases, "resolution_kept"), (None, 0, 0));
}

#[test]
fn a_fault_is_fixed_the_first_time_if_it_stays_away_for_a_month() {
    let month_old = case(1, "a", -20.0).done(confirmed(), 0.5);
    let young = case(2, "b", 10.0).done(confirmed(), 11.0);
    let nothing = case(3, "c", 10.0).done(Verdict::NoFaultFound, 11.0);
    let cases = [month_old.clone(), young.clone(), nothing];
    assert_eq!(figure(&cases, "first_time_fix"), (Some(1.0), 1, 1));
    // Another ticket for the same, on the same machine: it counts once it is judged, if there was something.
    let mut again = case(4, "b", 20.0);
    let with = |again: &Case| [month_old.clone(), young.clone(), again.clone()];
    assert_eq!(figure(&with(&again), "first_time_fix"), (Some(1.0), 1, 1));
    again = again.done(Verdict::NoFaultFound, 21.0);
    assert_eq!(figure(&with(&again), "first_time_fix"), (Some(1.0), 1, 1));
    again.verdict = Some(confirmed());
    assert_eq!(figure(&with(&again), "first_time_fix"), (Some(0.5), 2, 1));
    let reopened = month_old.to(TicketState::Reopened, 9.0);
    assert_eq!(
        figure(std::slice::from_ref(&reopened), "first_time_fix"),
        (Some(0.0), 1, 0)
    );
    assert_eq!(figure(&[reopened], "reopened"), (Some(1.0), 1, 0));
}

#[test]
fn what_was_never_sent_out_was_solved_without_a_visit() {
    let cases = [
        case(1, "a", 1.0).done(confirmed(), 2.0),
        case(2, "b", 1.0)
            .to(TicketState::Dispatched, 1.5)
            .done(confirmed(), 2.0),
    ];
    assert_eq!(figure(&cases, "first_contact"), (Some(0.5), 2, 0));
}

#[test]
fn answers_count_by_the_usual_rules() {
    let answered = |id, csat, nps, ces| Case {
        answers: Answers {
            csat: Some(csat),
            nps: Some(nps),
            ces: Some(ces),
        },
        ..case(id, "a", 1.0).done(confirmed(), 2.0)
    };
    let silent = case(9, "b", 1.0).done(confirmed(), 2.0);
    let cases = [
        answered(1, 5, 10, 7),
        answered(2, 4, 8, 5),
        answered(3, 3, 6, 3),
        answered(4, 1, 9, 5),
        silent,
    ];
    assert_eq!(figure(&cases, "csat"), (Some(0.5), 4, 0));
    // Two of four recommend, one does not.
    assert_eq!(figure(&cases, "nps"), (Some(25.0), 4, 0));
    assert_eq!(figure(&cases, "ces"), (Some(5.0), 4, 0));
}

#[test]
fn a_machine_is_available_when_it_is_not_waiting_for_its_repair() {
    let machine = |asset: &str, since| Machine {
        asset: AssetId::new(asset).unwrap(),
        cut: BTreeMap::new(),
        since: at(since),
    };
    let machines = [machine("a", -100.0), machine("b", 21.0)];
    let cases = [
        failure(1, "a", 1.0).done(confirmed(), 3.0),
        failure(2, "b", 30.0),
        failure(3, "a", 8.0).done(Verdict::NoFaultFound, 9.0),
        failure(4, "a", 9.0).to(TicketState::Cancelled, 9.5),
    ];
    // 31 and 10 days of machines; two and one of them down.
    assert_eq!(on(&cases, &machines, "failures").0, Some(2.0));
    assert_eq!(on(&cases, &machines, "mtbf").0, Some(41.0 * 24.0 / 2.0));
    assert_eq!(on(&cases, &machines, "mttr"), (Some(48.0), 1, 1));
    let availability = on(&cases, &machines, "availability").0.unwrap();
    assert!((availability - (1.0 - 3.0 / 41.0)).abs() < 1e-12);
}

#[test]
fn a_machine_stands_once_whoever_tells_of_it_and_until_it_is_mended_for_good() {
    let machines = [Machine {
        asset: AssetId::new("a").unwrap(),
        cut: BTreeMap::new(),
        since: at(-100.0),
    }];
    let availability = |cases: &[Case]| on(cases, &machines, "availability").0;
    let up = |down_days: f64| Some(1.0 - down_days / 31.0);
    let near = |found: Option<f64>, expected: Option<f64>| {
        (found.unwrap() - expected.unwrap()).abs() < 1e-12
    };
    // Since before the period, told of twice.
    let before = failure(1, "a", -5.0).done(confirmed(), 2.0);
    let twice = failure(2, "a", 1.0).done(confirmed(), 3.0);
    assert!(near(availability(&[before, twice]), up(3.0)));
    // Resolved, reopened, resolved again; then reopened and not mended.
    let again = failure(1, "a", 10.0)
        .done(confirmed(), 11.0)
        .to(TicketState::Reopened, 12.0)
        .to(TicketState::Resolved, 14.0);
    assert!(near(availability(std::slice::from_ref(&again)), up(4.0)));
    assert_eq!(
        on(std::slice::from_ref(&again), &machines, "mttr").0,
        Some(96.0)
    );
    let still = again.to(TicketState::Reopened, 20.0);
    assert!(near(availability(std::slice::from_ref(&still)), up(21.0)));
    assert_eq!(on(&[still], &machines, "mttr"), (None, 0, 1));
}

#[test]
fn a_warning_and_its_failure_belong_together_in_whatever_group_they_are() {
    let done_by = |mut case: Case, technician: &str| {
        case.cut
            .insert(Dimension::Technician, technician.to_owned());
        case
    };
    let cases = [
        done_by(warning(1, "a", 1.0).done(confirmed(), 4.0), "Ada"),
        done_by(failure(2, "a", 3.0).done(confirmed(), 5.0), "Bo"),
        // Struck after the period: not prevented either.
        done_by(warning(3, "b", 30.0).done(confirmed(), 40.0), "Ada"),
        done_by(failure(4, "b", 35.0), "Bo"),
        // Nobody warned.
        done_by(failure(5, "c", 9.0), "Bo"),
    ];
    let scope = Scope {
        cases: cases.iter().collect(),
        machines: Vec::new(),
    };
    let links = Links::of(&cases);
    let groups = by(&scope, Dimension::Technician);
    let of = |name: &str, key: &str| {
        let found = figures(&groups[name], &links, MONTH);
        let figure = found.into_iter().find(|f| f.kind.key == key).unwrap();
        (figure.value, figure.n)
    };
    assert_eq!(of("Ada", "warning_recall"), (None, 0));
    assert_eq!(of("Ada", "avoided_cost"), (None, 0));
    assert_eq!(of("Bo", "warning_recall"), (Some(0.5), 2));
    assert_eq!(of("Bo", "warning_lead_p50"), (Some(48.0), 1));
}

#[test]
fn warnings_are_judged_by_verdicts_and_failures() {
    let cases = [
        // Right, and in time: work began after three days, the part takes two.
        warning(1, "a", 1.0)
            .to(TicketState::InProgress, 4.0)
            .done(confirmed(), 4.5),
        // Wrong.
        warning(2, "b", 1.0).done(Verdict::NoFaultFound, 2.0),
        // Not known: withdrawn.
        warning(3, "c", 1.0).to(TicketState::Cancelled, 5.0),
        // Right, but the machine failed a day later, before anyone came.
        warning(4, "d", 10.0).done(confirmed(), 14.0),
        failure(5, "d", 11.0).done(confirmed(), 13.0),
        // Nobody warned.
        failure(6, "e", 20.0).done(confirmed(), 21.0),
        // Nobody knows of what.
        Case {
            mode: None,
            ..failure(7, "a", 25.0)
        },
    ];
    assert_eq!(figure(&cases, "warnings").0, Some(4.0));
    let (precision, n, n_unknown) = figure(&cases, "warning_precision");
    assert_eq!((precision, n, n_unknown), (Some(2.0 / 3.0), 3, 1));
    assert_eq!(figure(&cases, "warning_recall"), (Some(2.0 / 3.0), 3, 1));
    assert_eq!(figure(&cases, "warning_lead_p50"), (Some(24.0), 2, 0));
    assert_eq!(figure(&cases, "warning_lead_enough"), (Some(0.5), 2, 0));
    // One failure avoided, one visit for nothing.
    assert_eq!(figure(&cases, "avoided_cost").0, Some(8_000.0 - 1_000.0));
    // Failures took two days and one, the third is not mended.
    assert_eq!(figure(&cases, "avoided_downtime"), (Some(36.0), 1, 1));
}

#[test]
fn groups_add_up_to_the_whole() {
    let of = |mut case: Case, site: Option<&str>| {
        if let Some(site) = site {
            case.cut.insert(Dimension::Site, site.to_owned());
        }
        case
    };
    let cases = [
        of(case(1, "a", 1.0), Some("north")),
        of(case(2, "b", 1.0), Some("south")),
        of(case(3, "c", 1.0), Some("north")),
        of(case(4, "d", 1.0), None),
    ];
    let scope = Scope {
        cases: cases.iter().collect(),
        machines: Vec::new(),
    };
    let groups = by(&scope, Dimension::Site);
    let sizes: Vec<(&str, usize)> = groups
        .iter()
        .map(|(name, scope)| (name.as_str(), scope.cases.len()))
        .collect();
    assert_eq!(sizes, [("", 1), ("north", 2), ("south", 1)]);
}

#[test]
fn the_most_frequent_fault_comes_first_and_shares_add_up() {
    let of = |mut case: Case, mode: &str, cost: f64| {
        case.cut.insert(Dimension::Mode, mode.to_owned());
        if case.asset.as_str() != "c" {
            case.cut.insert(Dimension::Batch, "B7".to_owned());
        }
        case.cost = Some(cost);
        case
    };
    let leak = Verdict::WrongMode {
        actual: ModeName::new("leak").unwrap(),
    };
    let cases = [
        of(failure(1, "a", 1.0).done(confirmed(), 2.0), "wear", 100.0),
        of(warning(2, "b", 1.0).done(confirmed(), 2.0), "wear", 50.0),
        // Expected to be wear, found to be a leak.
        of(warning(3, "c", 1.0).done(leak, 2.0), "wear", 700.0),
        of(
            warning(4, "d", 1.0).done(Verdict::NoFaultFound, 2.0),
            "wear",
            9.0,
        ),
        of(case(5, "e", 1.0), "wear", 9.0),
    ];
    let lines = pareto(&cases, &[Dimension::Mode, Dimension::Batch], MONTH);
    let seen: Vec<(Vec<&str>, usize, usize, f64)> = lines
        .iter()
        .map(|l| {
            let group = l.group.iter().map(String::as_str).collect();
            (group, l.n, l.n_failures, l.cost)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (vec!["wear", "B7"], 2, 1, 150.0),
            (vec!["leak", ""], 1, 0, 700.0)
        ]
    );
    assert_eq!(lines[0].downtime_hours, 24.0);
    assert!((lines[0].cumulative - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(lines[1].cumulative, 1.0);
}

#[test]
fn parts_are_at_hand_where_nothing_had_to_come() {
    let of = |id, at_hand| Case {
        at_hand,
        ..case(id, "a", 1.0)
    };
    let cases = [of(1, Some(true)), of(2, Some(false)), of(3, None)];
    assert_eq!(figure(&cases, "parts_at_hand"), (Some(0.5), 2, 0));
}

#[test]
fn work_is_a_failure_only_where_something_had_failed() {
    use forecare_domain::{Origin, ProductionImpact, Report, ScheduleName, TicketKind};

    let mut ticket = crate::fixtures::ticket();
    let told = |ticket: &forecare_domain::Ticket| {
        let case = Case::of(ticket, BTreeMap::new());
        (case.is_failure, case.is_failure && case.stood)
    };
    assert_eq!(told(&ticket), (false, false), "a warning");
    ticket.kind = TicketKind::corrective();
    ticket.origin = Origin::Event {
        code: "E42".to_owned(),
    };
    assert_eq!(told(&ticket), (true, true), "a device's event");
    ticket.origin = Origin::Person {
        by: crate::fixtures::person(),
    };
    for (production, expected) in [
        (ProductionImpact::Stopped, (true, true)),
        (ProductionImpact::Reduced, (true, false)),
        (ProductionImpact::None, (false, false)),
    ] {
        ticket.work.report = Some(Report {
            production,
            ..Report::default()
        });
        assert_eq!(told(&ticket), expected, "{production:?}");
    }
    ticket.verdict = Some(confirmed());
    assert_eq!(told(&ticket), (true, false), "noise, and a fault was found");
    ticket.work.report = None;
    ticket.origin = Origin::Schedule {
        schedule: ScheduleName::new("oil").unwrap(),
        position: 1.0,
    };
    assert_eq!(told(&ticket), (false, false), "an oil change");
}
