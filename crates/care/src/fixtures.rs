//! A small catalogue, and tickets and reservations made from it, for this crate's tests.

use forecare_catalogue::{AssetClass, Catalogue, FailureMode};
use forecare_domain::{
    Actor, AlarmId, Asset, AssetId, CareTask, Channel, ClassName, Contribution, Decision,
    DepotName, DeviceId, ModeName, PartNumber, Priority, Reservation, ReservationId,
    ReservationState, Rul, Severity, Supply, Ticket, TicketId, TicketState, Timestamp, Verdict,
};

use crate::dispatch::Crew;
use crate::sla::{SlaTargets, SlaTerms, SlaTermsFile};
use crate::{
    Assessment, CarePolicy, Footing, NewTicket, Precision, Standing, decide, open_ticket,
    transition,
};

pub(crate) const CATALOGUE: &str = r#"
    currency = "CHF"
    [[class]]
    name = "pump"
    title = "Pump"
    horizon_hours = 48
    sample_interval_s = 60
    [[class.metric]]
    name = "vibration"
    unit = "mm/s"
    [[class.mode]]
    name = "bearing-wear"
    title = "Bearing wear"
    iso14224 = "VIB"
    component = "bearing"
    signature = [{ metric = "vibration", direction = "up" }]
    procedure = "P-1"
    skills = ["mechanics", "alignment"]
    work_hours = 4
    parts = [{ part = "BRG-1", quantity = 2 }, { part = "SEAL-1" }]
    cost_of_failure = 10000
    cost_of_acting = 1000
    alarm_precision = 0.5
    [[part]]
    number = "BRG-1"
    title = "Bearing"
    lead_time_hours = 30
    [[part]]
    number = "SEAL-1"
    title = "Seal"
    lead_time_hours = 10
    [[depot]]
    name = "north"
    title = "North"
    transfer_hours = 6
    [[depot]]
    name = "south"
    title = "South"
    transfer_hours = 12
    [[technician]]
    name = "Ada"
    skills = ["mechanics"]
    depot = "north"
    [[technician]]
    name = "Ben"
    skills = ["mechanics", "alignment"]
    depot = "south"
    [[technician]]
    name = "Cy"
    skills = ["alignment", "electrics", "mechanics"]
    depot = "north"
    [[technician]]
    name = "Di"
    skills = ["alignment", "mechanics"]
    depot = "north"
"#;

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::parse(CATALOGUE).unwrap()
}

pub(crate) fn class(catalogue: &Catalogue) -> &AssetClass {
    &catalogue.classes[0]
}

pub(crate) fn mode(catalogue: &Catalogue) -> &FailureMode {
    &class(catalogue).modes[0]
}

pub(crate) fn asset() -> Asset {
    Asset {
        id: AssetId::new("pump-1").unwrap(),
        device: DeviceId::new("dev-1").unwrap(),
        class: ClassName::new("pump").unwrap(),
        name: "Pump 1".to_owned(),
        site: String::new(),
        depot: None,
        registered_at: at(0.0),
    }
}

/// The instant `hours` into the tests' history.
pub(crate) fn at(hours: f64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000).plus_hours(hours)
}

pub(crate) fn task(severity: Severity, probability: Option<f64>, rul: Rul) -> CareTask {
    let device = DeviceId::new("dev-1").unwrap();
    let mode = ModeName::new("bearing-wear").unwrap();
    CareTask::Assess {
        alarm: AlarmId::of(&device, &mode, at(0.0)),
        device,
        mode,
        severity,
        probability,
        horizon_hours: 48.0,
        rul,
        contributions: vec![Contribution {
            name: "vibration".to_owned(),
            share: 1.0,
            expected: 2.0,
            seen: 7.0,
            reason: "drifts up".to_owned(),
        }],
        reading_ts: at(0.0),
        at: at(0.0),
    }
}

pub(crate) fn decision(task: &CareTask, now: Timestamp) -> Decision {
    let catalogue = catalogue();
    let mode = mode(&catalogue);
    decide(
        class(&catalogue),
        mode,
        &catalogue,
        &Assessment::of(task).unwrap(),
        &Precision::prior(mode),
        &CarePolicy::default(),
        now,
    )
}

/// Around the clock: P1 24 h, P2 72 h, P3 168 h, P4 720 h.
pub(crate) fn terms() -> SlaTerms {
    let targets = |hours| SlaTargets {
        first_response_hours: 1.0,
        resolution_hours: hours,
        around_the_clock: false,
    };
    SlaTerms::try_from(SlaTermsFile {
        name: "standard".to_owned(),
        calendar: crate::Calendar::around_the_clock(),
        pause_on_vendor: false,
        pause_on_part: false,
        p1: targets(24.0),
        p2: targets(72.0),
        p3: targets(168.0),
        p4: targets(720.0),
        escalations: Vec::new(),
    })
    .unwrap()
}

/// A machine that is no customer's.
pub(crate) fn on_nobodys<'a>(policy: &'a CarePolicy, terms: &'a SlaTerms) -> Footing<'a> {
    static NOBODY: Standing = Standing {
        customer: None,
        tier: None,
        contract: None,
    };
    Footing {
        policy,
        terms,
        standing: &NOBODY,
    }
}

pub(crate) fn opened_by(task: &CareTask, load: &[(String, u32)]) -> NewTicket {
    let catalogue = catalogue();
    open_ticket(
        &catalogue,
        &asset(),
        mode(&catalogue),
        &Assessment::of(task).unwrap(),
        &decision(task, at(0.0)),
        Crew {
            technicians: &catalogue.technicians,
            load,
        },
        on_nobodys(&CarePolicy::default(), &terms()),
    )
}

/// A new ticket, opened at hour 0 by a model's probability of 0.9, without a trend.
pub(crate) fn ticket() -> Ticket {
    let task = task(Severity::Warning, Some(0.9), Rul::NoTrend);
    let mut ticket = opened_by(&task, &[]).ticket;
    ticket.id = TicketId(1);
    ticket
}

pub(crate) fn person() -> Actor {
    Actor {
        name: "Eve".to_owned(),
        channel: Channel::Api,
    }
}

pub(crate) fn confirmed() -> Verdict {
    Verdict::Confirmed {
        failure_code: "VIB".to_owned(),
    }
}

/// [`ticket`] taken along `path` by a person, an hour a step; resolved with `verdict`.
pub(crate) fn walked(path: &[TicketState], verdict: &Verdict) -> Ticket {
    let mut now = 0.0;
    path.iter().fold(ticket(), |t, to| {
        now += 1.0;
        let verdict = (*to == TicketState::Resolved).then(|| verdict.clone());
        transition(&t, *to, person(), "test", verdict, at(now)).unwrap()
    })
}

/// The way from new to work in progress.
pub(crate) const TO_WORK: [TicketState; 4] = [
    TicketState::Triaged,
    TicketState::Dispatched,
    TicketState::Accepted,
    TicketState::InProgress,
];

/// [`ticket`] resolved at hour 5 with `verdict`.
pub(crate) fn resolved(verdict: &Verdict) -> Ticket {
    let mut path = TO_WORK.to_vec();
    path.push(TicketState::Resolved);
    walked(&path, verdict)
}

pub(crate) fn part(number: &str) -> PartNumber {
    PartNumber::new(number).unwrap()
}

pub(crate) fn depot(name: &str) -> DepotName {
    DepotName::new(name).unwrap()
}

/// A soft hold from the north depot's stock for ticket 1: made at hour 0, needed at hour 44, held to 72.
pub(crate) fn soft_hold(id: i64, quantity: u32, priority: Priority) -> Reservation {
    Reservation {
        id: ReservationId(id),
        ticket: TicketId(1),
        priority,
        part: part("BRG-1"),
        instead_of: None,
        quantity,
        used: 0,
        supply: Supply::Stock {
            depot: depot("north"),
        },
        state: ReservationState::Soft,
        reserved_at: at(0.0),
        needed_at: at(44.0),
        available_at: at(0.0),
        expires_at: at(72.0),
    }
}
