//! The failure modes: how damage grows, and when and where it is injected.

use forecare_domain::{DeviceId, ModeName, Timestamp};

use crate::fleet::FleetConfig;
use crate::machine::{Machine, demand_block};
use crate::noise::{Noise, Purpose};

/// A fault the fleet injects: the truth that alarms and tickets are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedFault {
    /// The machine.
    pub device: DeviceId,
    /// The failure mode, by its name in the catalogue.
    pub mode: ModeName,
    /// When damage begins; nothing is to be seen before.
    pub onset_at: Timestamp,
    /// When damage reaches 1 and the machine stops.
    pub failure_at: Timestamp,
}

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    BearingWear,
    ValveLeak,
    CoolerFouling,
    OilLeak,
    FilterClogging,
}

impl Mode {
    /// Every mode, in the order in which faults are handed out.
    pub(crate) const ALL: [Self; 5] = [
        Self::BearingWear,
        Self::ValveLeak,
        Self::CoolerFouling,
        Self::OilLeak,
        Self::FilterClogging,
    ];

    /// Its name in the catalogue.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BearingWear => "bearing-wear",
            Self::ValveLeak => "valve-leak",
            Self::CoolerFouling => "cooler-fouling",
            Self::OilLeak => "oil-leak",
            Self::FilterClogging => "air-filter-clogging",
        }
    }

    /// The controller's own code and words for it.
    pub(crate) fn event(self) -> (&'static str, &'static str) {
        match self {
            Self::BearingWear => ("E21", "vibration switch"),
            Self::ValveLeak => ("E61", "line pressure below set point"),
            Self::CoolerFouling => ("E51", "oil temperature pre-alarm"),
            Self::OilLeak => ("E31", "oil level low"),
            Self::FilterClogging => ("W41", "intake filter indicator"),
        }
    }
}

/// A planned fault of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) device: usize,
    pub(crate) mode: Mode,
    pub(crate) onset: Timestamp,
    pub(crate) failure: Timestamp,
    /// How many times damage grows by e between onset and failure.
    sharpness: f64,
    /// Whether the controller notices before the end.
    pub(crate) speaks: bool,
}

impl Fault {
    /// Damage at `ts`: 0 until onset, then exponential growth, 1 from failure on.
    pub(crate) fn damage(&self, ts: Timestamp) -> f64 {
        let life = ts.hours_since(self.onset) / self.failure.hours_since(self.onset);
        ((self.sharpness * life.clamp(0.0, 1.0)).exp_m1() / self.sharpness.exp_m1()).clamp(0.0, 1.0)
    }
}

/// Hours from onset until the machine is worn out; it then fails in the next long stretch under load.
const LIFE_HOURS: (f64, f64) = (60.0, 124.0);
/// Longest that a worn-out machine goes on for want of load, hours.
const GRACE_HOURS: f64 = 36.0;
/// Time under load that brings a worn-out machine down, hours.
const STRAIN_HOURS: f64 = 1.5;
/// See [`Fault::sharpness`].
const SHARPNESS: (f64, f64) = (4.0, 6.0);
/// Share of faults that the controller reports before the end.
const SPEAKING_SHARE: f64 = 0.7;

/// A device as the plan sees it: when it samples, and when it is under load.
pub(crate) struct Outlook<'a> {
    pub(crate) start: Timestamp,
    pub(crate) phase_ms: i64,
    pub(crate) interval_ms: i64,
    pub(crate) machine: &'a Machine,
    pub(crate) noise: &'a Noise,
    pub(crate) device: usize,
}

impl Outlook<'_> {
    fn strained_at(&self, ts: Timestamp) -> bool {
        [ts, ts.plus_hours(-STRAIN_HOURS)].into_iter().all(|ts| {
            let mut demand = self
                .noise
                .at(self.device, Purpose::Demand, demand_block(ts));
            self.machine.loaded_at(ts, &mut demand)
        })
    }

    /// The sample at which a machine that is worn out at `ts` fails.
    fn failure_after(&self, ts: Timestamp) -> Timestamp {
        let first = self.start.as_millis() + self.phase_ms;
        let steps = ((ts.as_millis() - first).max(0) + self.interval_ms - 1) / self.interval_ms;
        let worn_out = Timestamp::from_millis(first + steps * self.interval_ms);
        let latest = worn_out.plus_hours(GRACE_HOURS);
        let mut at = worn_out;
        while !self.strained_at(at) {
            at = Timestamp::from_millis(at.as_millis() + self.interval_ms);
            if at > latest {
                return worn_out;
            }
        }
        at
    }
}

/// The `nth` fault of a device, beginning at `onset`.
fn fault(outlook: &Outlook<'_>, nth: u64, mode: Mode, onset: Timestamp) -> Fault {
    let mut draws = outlook.noise.at(outlook.device, Purpose::Plan, 1 + nth);
    let life_hours = draws.between(LIFE_HOURS.0, LIFE_HOURS.1);
    Fault {
        device: outlook.device,
        mode,
        onset,
        failure: outlook.failure_after(onset.plus_hours(life_hours)),
        sharpness: draws.between(SHARPNESS.0, SHARPNESS.1),
        speaks: draws.unit() < SPEAKING_SHARE,
    }
}

/// The faults of a demonstration: `n_faults` different machines, one after the other, over all modes.
pub(crate) fn staggered<'a>(
    config: &FleetConfig,
    noise: &Noise,
    outlook: impl Fn(usize) -> Outlook<'a>,
) -> Vec<Fault> {
    // Fisher and Yates, as far as needed.
    let mut order: Vec<usize> = (0..config.n_devices).collect();
    let mut draws = noise.at(0, Purpose::Plan, 0);
    let mut faults = Vec::with_capacity(config.n_faults);
    let mut onset = config.start.plus_hours(config.first_onset_hours);
    for (i, &mode) in (0..config.n_faults).zip(Mode::ALL.iter().cycle()) {
        let pick = i + draws.index(order.len() - i);
        order.swap(i, pick);
        let device = order[i];
        faults.push(fault(&outlook(device), 0, mode, onset));
        onset = onset.plus_hours(config.onset_spacing_hours);
    }
    faults
}

/// Hours without fault between a repair and the next onset, in the histories that models learn from.
pub const HEALTHY_HOURS: (f64, f64) = (96.0, 500.0);
/// Hours from failure to the machine running again.
pub(crate) const REPAIR_HOURS: f64 = 6.0;

/// Machines that run to failure again and again, until `end`; healthy for so many hours in between.
pub(crate) fn repeated<'a>(
    config: &FleetConfig,
    end: Timestamp,
    healthy_hours: (f64, f64),
    noise: &Noise,
    outlook: impl Fn(usize) -> Outlook<'a>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for device in 0..config.n_devices {
        let mut draws = noise.at(device, Purpose::Plan, 0);
        let outlook = outlook(device);
        let mut onset = config
            .start
            .plus_hours(draws.between(healthy_hours.0, healthy_hours.1));
        let mut nth = 0;
        while onset < end {
            let mode = Mode::ALL[draws.index(Mode::ALL.len())];
            let next = fault(&outlook, nth, mode, onset);
            onset = next
                .failure
                .plus_hours(REPAIR_HOURS + draws.between(healthy_hours.0, healthy_hours.1));
            faults.push(next);
            nth += 1;
        }
    }
    faults
}
