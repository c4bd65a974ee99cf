//! A fleet of compressors and everything its devices report, in time order.

use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{
    ClassName, ComponentName, DeviceEvent, DeviceId, EventSeverity, InvalidName, MetricName,
    ModeName, REPLACED_CODE, Timestamp,
};

use crate::fault::{self, Fault, InjectedFault, Mode, Outlook, REPAIR_HOURS};
use crate::machine::{METRICS, Machine, demand_block};
use crate::noise::{Noise, Purpose};

/// Name of the class that is simulated.
pub const CLASS: &str = "screw-compressor";
/// Code of the event with which a machine reports that it has stopped.
pub const STOPPED_CODE: &str = "E99";
/// Mean hours between two spurious events of a machine.
const SPURIOUS_HOURS: f64 = 120.0 * 24.0;
/// Events per hour of a controller that notices, at full damage.
const EVENTS_PER_HOUR: f64 = 0.6;

/// What fleet to simulate. The same values give the same bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetConfig {
    /// Seed of everything random.
    pub seed: u64,
    /// Number of machines, 1 to 1,000,000; one device each.
    pub n_devices: usize,
    /// Time of the first samples.
    pub start: Timestamp,
    /// Simulated seconds between two samples of a device, 1 to 3,600.
    pub sample_interval_s: f64,
    /// How many machines get a fault; at most `n_devices`.
    pub n_faults: usize,
    /// Hours from the start to the first onset. At least 0.
    pub first_onset_hours: f64,
    /// Hours from one onset to the next. At least 0.
    pub onset_spacing_hours: f64,
}

/// Why a fleet cannot be simulated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FleetError {
    /// A value of the configuration is out of range; the text says which and what is allowed.
    #[error("{0}")]
    Config(String),
    /// The catalogue and the simulated machine do not fit; the text says where.
    #[error("the catalogue does not fit the simulated class \"{CLASS}\": {0}")]
    Catalogue(String),
}

impl From<InvalidName> for FleetError {
    fn from(error: InvalidName) -> Self {
        Self::Config(error.to_string())
    }
}

/// Something a device reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Emission {
    /// A sample of all metrics.
    Telemetry {
        /// The device.
        device: DeviceId,
        /// When it measured.
        ts: Timestamp,
        /// Sequence number of the device's samples, from 1, without gaps.
        seq: u64,
        /// In the order of [`METRICS`], which is that of the catalogue; in the catalogue's units.
        values: [f64; METRICS.len()],
    },
    /// An event.
    Event(DeviceEvent),
}

impl Emission {
    /// The device that reports.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        match self {
            Self::Telemetry { device, .. } => device,
            Self::Event(event) => &event.device,
        }
    }

    /// When.
    #[must_use]
    pub fn ts(&self) -> Timestamp {
        match self {
            Self::Telemetry { ts, .. } => *ts,
            Self::Event(event) => event.ts,
        }
    }
}

/// What one device remembers between two samples.
struct Unit {
    machine: Machine,
    phase_ms: i64,
    seq: u64,
    /// Index of its next or present fault in `Fleet::plan`, which is sorted by device.
    fault: usize,
    /// Whether it has reported that it stopped.
    stopped: bool,
}

/// The fleet. Holds a few hundred bytes per device and nothing of the past or future but the plan of faults.
pub struct Fleet {
    noise: Noise,
    start: Timestamp,
    interval_ms: i64,
    devices: Vec<DeviceId>,
    units: Vec<Unit>,
    /// Devices in the order in which they sample within an interval.
    order: Vec<u32>,
    /// Next sample: round, and position in `order`.
    round: u64,
    position: usize,
    plan: Vec<Fault>,
    faults: Vec<InjectedFault>,
    /// Component that is replaced, per [`Mode::ALL`].
    components: Vec<ComponentName>,
}

impl Fleet {
    /// A fleet at rest at `config.start`.
    ///
    /// # Errors
    /// [`FleetError`] if a value is out of range, or the catalogue lacks the class, its metrics or modes.
    pub fn new(config: &FleetConfig, catalogue: &Catalogue) -> Result<Self, FleetError> {
        if config.n_faults > config.n_devices {
            return Err(FleetError::Config(format!(
                "n_faults is {}, but there are only {} devices",
                config.n_faults, config.n_devices
            )));
        }
        for (name, value) in [
            ("first_onset_hours", config.first_onset_hours),
            ("onset_spacing_hours", config.onset_spacing_hours),
        ] {
            if !(0.0..=1e6).contains(&value) {
                return Err(FleetError::Config(format!(
                    "{name} is {value}; it must lie in 0..=1000000"
                )));
            }
        }
        Self::with_plan(config, catalogue, |noise, outlook| {
            fault::staggered(config, noise, outlook)
        })
    }

    /// The devices.
    #[must_use]
    pub fn devices(&self) -> &[DeviceId] {
        &self.devices
    }

    /// The planned faults, by onset.
    #[must_use]
    pub fn faults(&self) -> &[InjectedFault] {
        &self.faults
    }

    /// Simulated time between two samples of a device, hours.
    #[must_use]
    pub fn sample_interval_hours(&self) -> f64 {
        Timestamp::from_millis(self.interval_ms).hours_since(Timestamp::from_millis(0))
    }

    /// Everything reported after the last call up to and including `until`, in time order. The result of
    /// several calls, put together, does not depend on where they were cut.
    pub fn advance(&mut self, until: Timestamp) -> Vec<Emission> {
        let mut emissions = Vec::new();
        while self.next_at() <= until {
            self.sample(&mut emissions);
            self.position += 1;
            if self.position == self.order.len() {
                self.position = 0;
                self.round += 1;
            }
        }
        emissions
    }

    /// Time of the next sample of the fleet.
    #[must_use]
    pub fn next_at(&self) -> Timestamp {
        let phase_ms = self.units[self.order[self.position] as usize].phase_ms;
        let round = i64::try_from(self.round).unwrap_or(i64::MAX);
        Timestamp::from_millis(
            self.start
                .as_millis()
                .saturating_add(round.saturating_mul(self.interval_ms))
                .saturating_add(phase_ms),
        )
    }

    pub(crate) fn with_plan(
        config: &FleetConfig,
        catalogue: &Catalogue,
        plan: impl for<'a> FnOnce(&'a Noise, &dyn Fn(usize) -> Outlook<'a>) -> Vec<Fault>,
    ) -> Result<Self, FleetError> {
        if !(1..=1_000_000).contains(&config.n_devices) {
            return Err(FleetError::Config(format!(
                "n_devices is {}; it must lie in 1..=1000000",
                config.n_devices
            )));
        }
        if !(1.0..=3600.0).contains(&config.sample_interval_s) {
            return Err(FleetError::Config(format!(
                "sample_interval_s is {}; it must lie in 1..=3600",
                config.sample_interval_s
            )));
        }
        let components = components(catalogue)?;
        let noise = Noise::new(config.seed);
        let origin = Timestamp::from_millis(0);
        let interval_ms = origin
            .plus_hours(config.sample_interval_s / 3600.0)
            .as_millis();
        let devices = (1..=config.n_devices)
            .map(|n| DeviceId::new(format!("compressor-{n:04}")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut units: Vec<Unit> = (0..config.n_devices)
            .map(|device| {
                let share = noise.at(device, Purpose::Traits, 1).unit();
                let phase = origin.plus_hours(share * config.sample_interval_s / 3600.0);
                Unit {
                    machine: Machine::new(&noise, device),
                    phase_ms: phase.as_millis().min(interval_ms - 1),
                    seq: 0,
                    fault: 0,
                    stopped: false,
                }
            })
            .collect();
        let mut order: Vec<u32> = (0u32..).take(config.n_devices).collect();
        order.sort_by_key(|&d| units[d as usize].phase_ms);

        let mut plan = plan(&noise, &|device| Outlook {
            start: config.start,
            phase_ms: units[device].phase_ms,
            interval_ms,
            machine: &units[device].machine,
            noise: &noise,
            device,
        });
        plan.sort_by_key(|f| (f.device, f.onset));
        for (device, unit) in units.iter_mut().enumerate() {
            unit.fault = plan.partition_point(|f| f.device < device);
        }
        let mut faults = plan
            .iter()
            .map(|f| {
                Ok(InjectedFault {
                    device: devices[f.device].clone(),
                    mode: ModeName::new(f.mode.name())?,
                    onset_at: f.onset,
                    failure_at: f.failure,
                })
            })
            .collect::<Result<Vec<_>, InvalidName>>()?;
        faults.sort_by_key(|f| f.onset_at);
        Ok(Self {
            noise,
            start: config.start,
            interval_ms,
            devices,
            units,
            order,
            round: 0,
            position: 0,
            plan,
            faults,
            components,
        })
    }

    /// The fault that grows in `device` at `ts`, or for which it stands.
    #[must_use]
    pub fn present_fault(&self, device: &DeviceId, ts: Timestamp) -> Option<&InjectedFault> {
        let fault = self.plan.get(self.fault_of(device, ts)?)?;
        self.faults
            .iter()
            .find(|injected| injected.device == *device && injected.onset_at == fault.onset)
    }

    /// Mends `device` at `ts`: the fault that grows in it ends as if it had never been, and the next one comes as
    /// planned. Returns whether there was one. What it stands for already is mended by its own people.
    pub fn mend(&mut self, device: &DeviceId, ts: Timestamp) -> bool {
        let Some(place) = self.fault_of(device, ts) else {
            return false;
        };
        let fault = &self.plan[place];
        if fault.failure <= ts {
            return false;
        }
        let unit = &mut self.units[fault.device];
        unit.machine.renew(fault.mode);
        unit.fault += 1;
        true
    }

    fn fault_of(&self, device: &DeviceId, ts: Timestamp) -> Option<usize> {
        let index = self.devices.iter().position(|d| d == device)?;
        let place = self.units[index].fault;
        let fault = self.plan.get(place)?;
        (fault.device == index && fault.onset <= ts).then_some(place)
    }

    /// One device's turn: a sample, or what it has to say instead.
    fn sample(&mut self, emissions: &mut Vec<Emission>) {
        let ts = self.next_at();
        let hours = self.sample_interval_hours();
        let index = self.order[self.position] as usize;
        let device = &self.devices[index];
        let unit = &mut self.units[index];
        let fault = self.plan.get(unit.fault).filter(|f| f.device == index);
        let event = |code: &str, severity, component: Option<&ComponentName>, message: &str| {
            Emission::Event(DeviceEvent {
                device: device.clone(),
                ts,
                code: code.to_owned(),
                severity,
                component: component.cloned(),
                message: message.to_owned(),
            })
        };

        if let Some(fault) = fault.filter(|f| ts >= f.failure) {
            if ts >= fault.failure.plus_hours(REPAIR_HOURS) {
                let component = Mode::ALL
                    .iter()
                    .position(|m| *m == fault.mode)
                    .map(|i| &self.components[i]);
                emissions.push(event(
                    REPLACED_CODE,
                    EventSeverity::Info,
                    component,
                    "component replaced",
                ));
                unit.machine.renew(fault.mode);
                unit.fault += 1;
                unit.stopped = false;
            } else if !unit.stopped {
                emissions.push(event(
                    STOPPED_CODE,
                    EventSeverity::Error,
                    None,
                    "machine stopped by its protection",
                ));
                unit.stopped = true;
            }
            return;
        }

        let damage = fault.map(|f| (f.mode, f.damage(ts)));
        let mut draws = self.noise.at(index, Purpose::Sample, self.round);
        let mut demand = self.noise.at(index, Purpose::Demand, demand_block(ts));
        let values = unit
            .machine
            .step(ts, hours, &mut demand, &mut draws, damage);
        unit.seq += 1;
        emissions.push(Emission::Telemetry {
            device: device.clone(),
            ts,
            seq: unit.seq,
            values,
        });

        let (notices, spurious, which) = (draws.unit(), draws.unit(), draws.index(Mode::ALL.len()));
        let noticing = fault.filter(|f| f.speaks).map_or(0.0, |f| {
            let late = (f.damage(ts) - 0.35).max(0.0) / 0.65;
            late * EVENTS_PER_HOUR * hours
        });
        let mode = if notices < noticing {
            fault.map(|f| f.mode)
        } else if spurious < hours / SPURIOUS_HOURS {
            Some(Mode::ALL[which])
        } else {
            None
        };
        if let Some(mode) = mode {
            let (code, message) = mode.event();
            emissions.push(event(code, EventSeverity::Warning, None, message));
        }
    }
}

/// Start of [`histories`]: a Monday.
const HISTORIES_START_MS: i64 = 1_736_121_600_000;

/// Machines that run to failure again and again for `hours`, every 600 s a sample: what a model of this class
/// learns from. Take [`Fleet::faults`] for the truth and [`Fleet::advance`] to `histories_start().plus_hours(hours)`
/// for the readings, in pieces as small as memory asks for. Every machine fails every 150 to 660 hours.
///
/// # Errors
/// As [`Fleet::new`].
pub fn histories(
    seed: u64,
    n_devices: usize,
    hours: f64,
    catalogue: &Catalogue,
) -> Result<Fleet, FleetError> {
    let config = FleetConfig {
        seed,
        n_devices,
        start: histories_start(),
        sample_interval_s: 600.0,
        n_faults: 0,
        first_onset_hours: 0.0,
        onset_spacing_hours: 0.0,
    };
    run_to_failure(&config, hours, fault::HEALTHY_HOURS, catalogue)
}

/// As [`histories`], with sampling interval and begin of `config` (whose faults are not asked for), each machine without
/// fault for between `healthy_hours.0` and `healthy_hours.1` hours before each onset.
///
/// # Errors
/// As [`Fleet::new`].
pub fn run_to_failure(
    config: &FleetConfig,
    hours: f64,
    healthy_hours: (f64, f64),
    catalogue: &Catalogue,
) -> Result<Fleet, FleetError> {
    let end = config.start.plus_hours(hours);
    Fleet::with_plan(config, catalogue, |noise, outlook| {
        fault::repeated(config, end, healthy_hours, noise, outlook)
    })
}

/// When [`histories`] begin: 2025-01-06T00:00:00Z.
#[must_use]
pub fn histories_start() -> Timestamp {
    Timestamp::from_millis(HISTORIES_START_MS)
}

/// Checks that the catalogue describes the simulated machine, and gives the component of each mode.
fn components(catalogue: &Catalogue) -> Result<Vec<ComponentName>, FleetError> {
    let misfit = |text: String| FleetError::Catalogue(text);
    let class: &AssetClass = catalogue
        .class(&ClassName::new(CLASS)?)
        .ok_or_else(|| misfit("no such class".to_owned()))?;
    let names: Vec<&str> = class
        .metrics
        .iter()
        .map(|m| MetricName::as_str(&m.name))
        .collect();
    if !names.starts_with(&METRICS) {
        return Err(misfit(format!(
            "its metrics must begin with {}",
            METRICS.join(", ")
        )));
    }
    Mode::ALL
        .iter()
        .map(|mode| {
            class
                .mode(&ModeName::new(mode.name())?)
                .and_then(|m| m.component.clone())
                .ok_or_else(|| misfit(format!("no mode \"{}\" with a component", mode.name())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_takes_at_most_300_bytes() {
        // Name: a reference and its text with counters; the device's place in the order.
        let name = size_of::<DeviceId>() + 2 * size_of::<usize>() + "compressor-10000".len();
        let bytes = size_of::<Unit>() + name + size_of::<u32>();
        assert!(bytes <= 300, "{bytes}");
    }
}
