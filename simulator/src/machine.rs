//! The physics of one compressor: demand, load, heat, pressures, currents, and what damage does to them.

use forecare_domain::Timestamp;

use crate::fault::Mode;
use crate::noise::{Draws, Noise, Purpose};

/// The metrics, in the order of the catalogue's class and of every reading.
pub const METRICS: [&str; 8] = [
    "load",
    "ambient_temperature",
    "discharge_temperature",
    "discharge_pressure",
    "motor_current",
    "vibration",
    "oil_pressure",
    "filter_pressure_drop",
];

/// Standard deviation of each sensor's noise, in the metric's unit.
const NOISE: [f64; 8] = [0.8, 0.25, 0.5, 0.035, 0.9, 0.09, 0.035, 0.5];
/// Smallest step each sensor shows, as steps per unit.
const STEPS_PER_UNIT: [f64; 8] = [10.0, 10.0, 10.0, 100.0, 10.0, 100.0, 100.0, 10.0];
/// Correlation time of the sensor noise, hours.
const NOISE_HOURS: f64 = 0.25;
/// Time constant of the oil circuit's heat, hours.
const HEAT_HOURS: f64 = 0.45;
/// Time constant with which load follows demand, hours.
const LOAD_HOURS: f64 = 0.08;
/// Correlation time of the weather, hours, and its standard deviation, K.
const WEATHER: (f64, f64) = (30.0, 1.8);
/// Load of a machine that runs without delivering air, %.
const IDLE_LOAD: f64 = 12.0;
/// Least load of a machine that delivers all the time, %.
const FULL_LOAD: f64 = 86.0;
/// Demand for air changes at most once per block.
const BLOCK_MS: i64 = 2 * 3_600_000;

/// How a site runs its machines.
#[derive(Clone, Copy)]
enum Shifts {
    /// 6 to 14 o'clock on weekdays.
    One,
    /// 6 to 22 o'clock on weekdays.
    Two,
    /// Always, less at weekends.
    Continuous,
}

/// How this unit differs from its sisters: factors around 1, and offsets.
struct Traits {
    shifts: Shifts,
    site_warmth: f64,
    heat: f64,
    set_point_bar: f64,
    current: f64,
    vibration: f64,
    oil: f64,
    filter: f64,
}

/// One compressor: its traits and what it remembers.
pub(crate) struct Machine {
    traits: Traits,
    load: f64,
    oil_heat: f64,
    weather: f64,
    noise: [f64; 8],
    /// Benign ageing since the last service, hours.
    filter_hours: f64,
    cooler_hours: f64,
}

impl Machine {
    pub(crate) fn new(noise: &Noise, device: usize) -> Self {
        let mut d = noise.at(device, Purpose::Traits, 0);
        let shifts = match d.index(4) {
            0 => Shifts::One,
            1 | 2 => Shifts::Two,
            _ => Shifts::Continuous,
        };
        // Truncated, because quality control does not let the tails leave the factory.
        let mut spread = |relative: f64| 1.0 + relative * d.normal().clamp(-2.0, 2.0);
        let traits = Traits {
            shifts,
            site_warmth: spread(1.0) - 1.0,
            heat: spread(0.02),
            set_point_bar: 7.5 * spread(0.006),
            current: spread(0.02),
            vibration: spread(0.08),
            oil: spread(0.025),
            filter: spread(0.06),
        };
        let filter_hours = d.between(0.0, 1500.0);
        let cooler_hours = d.between(0.0, 3000.0);
        let mut machine = Self {
            traits,
            load: IDLE_LOAD,
            oil_heat: 0.0,
            weather: WEATHER.1 * d.normal(),
            noise: std::array::from_fn(|_| d.normal()),
            filter_hours,
            cooler_hours,
        };
        machine.oil_heat = machine.heat_target(0.0);
        machine
    }

    /// After a repair: the damaged part is new, and the machine has cooled.
    pub(crate) fn renew(&mut self, mode: Mode) {
        match mode {
            Mode::FilterClogging => self.filter_hours = 0.0,
            Mode::CoolerFouling => self.cooler_hours = 0.0,
            Mode::BearingWear | Mode::ValveLeak | Mode::OilLeak => {}
        }
        self.load = 0.0;
        self.oil_heat = 5.0;
    }

    /// Moves on by `hours` to `ts` and reads the sensors; `damage` is that of the fault in progress, if any.
    pub(crate) fn step(
        &mut self,
        ts: Timestamp,
        hours: f64,
        demand: &mut Draws,
        draws: &mut Draws,
        damage: Option<(Mode, f64)>,
    ) -> [f64; 8] {
        let of = |mode: Mode| damage.map_or(0.0, |(m, d)| if m == mode { d } else { 0.0 });
        let (bearing, valve, cooler, oil, filter) = (
            of(Mode::BearingWear),
            of(Mode::ValveLeak),
            of(Mode::CoolerFouling),
            of(Mode::OilLeak),
            of(Mode::FilterClogging),
        );
        self.filter_hours = (self.filter_hours + hours).min(4000.0);
        self.cooler_hours = (self.cooler_hours + hours).min(6000.0);

        self.load += (self.target_load(ts, demand) - self.load) * lag(hours, LOAD_HOURS);
        let keep = 1.0 - lag(hours, WEATHER.0);
        self.weather =
            keep * self.weather + (1.0 - keep * keep).sqrt() * WEATHER.1 * draws.normal();
        let ambient = self.ambient(ts);
        self.oil_heat += (self.heat_target(cooler) - self.oil_heat) * lag(hours, HEAT_HOURS);

        let t = &self.traits;
        let part = self.load / 100.0;
        let temperature =
            ambient + self.oil_heat + (9.0 * bearing * bearing + 13.0 * oil) * (0.4 + 0.6 * part);
        let truth = [
            self.load,
            ambient,
            temperature,
            t.set_point_bar - 0.35 * part - 1.7 * valve * (0.5 + 0.5 * part),
            t.current * (48.0 + 100.0 * part) * (1.0 + 0.18 * valve + 0.08 * filter),
            t.vibration * (1.2 + 1.0 * part) + 6.8 * bearing * (0.55 + 0.45 * part),
            t.oil * (3.1 + 0.5 * part) - 0.008 * (temperature - 75.0) - 2.1 * oil,
            t.filter
                * (22.0 + 6.0 * self.filter_hours / 4000.0)
                * (0.25 + 0.75 * part * part)
                * (1.0 + 2.9 * filter),
        ];
        let keep = 1.0 - lag(hours, NOISE_HOURS);
        std::array::from_fn(|i| {
            self.noise[i] = keep * self.noise[i] + (1.0 - keep * keep).sqrt() * draws.normal();
            let value = (truth[i] + NOISE[i] * self.noise[i]).max(0.0);
            let value = if i == 0 { value.min(100.0) } else { value };
            (value * STEPS_PER_UNIT[i]).round() / STEPS_PER_UNIT[i]
        })
    }

    /// Whether demand asks for all that the machine gives.
    pub(crate) fn loaded_at(&self, ts: Timestamp, demand: &mut Draws) -> bool {
        self.target_load(ts, demand) >= FULL_LOAD
    }

    /// Rise of the discharge temperature above ambient in the steady state, K.
    fn heat_target(&self, fouling: f64) -> f64 {
        let benign = 0.04 * self.cooler_hours / 6000.0;
        self.traits.heat * (19.0 + 37.0 * self.load / 100.0) * (1.0 + benign + 0.72 * fouling)
    }

    /// Temperature in the compressor room, °C: warmest at 15 o'clock.
    fn ambient(&self, ts: Timestamp) -> f64 {
        let hour = hour_of_day(ts);
        let day = ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos();
        22.0 + self.traits.site_warmth + 3.5 * day + self.weather.clamp(-4.0, 4.0)
    }

    /// Load that the site's demand asks for, %.
    fn target_load(&self, ts: Timestamp, demand: &mut Draws) -> f64 {
        let hour = hour_of_day(ts);
        let weekend = (ts.as_millis().div_euclid(86_400_000) + 3).rem_euclid(7) >= 5;
        // Shares of time in load and in part load; the rest is idling.
        let (loaded, part) = match self.traits.shifts {
            Shifts::One if !weekend && (6.0..14.0).contains(&hour) => (0.60, 0.36),
            Shifts::Two if !weekend && (6.0..22.0).contains(&hour) => (0.60, 0.36),
            Shifts::One | Shifts::Two => (0.0, 0.08),
            Shifts::Continuous if weekend => (0.30, 0.55),
            Shifts::Continuous => (0.60, 0.36),
        };
        let (which, level) = (demand.unit(), demand.unit());
        if which < loaded {
            FULL_LOAD + 10.0 * level
        } else if which < loaded + part {
            48.0 + 22.0 * level
        } else {
            IDLE_LOAD
        }
    }
}

/// The block of hours that `ts` falls in, counted from 1970.
pub(crate) fn demand_block(ts: Timestamp) -> u64 {
    u64::try_from(ts.as_millis().div_euclid(BLOCK_MS)).unwrap_or(0)
}

fn hour_of_day(ts: Timestamp) -> f64 {
    Timestamp::from_millis(ts.as_millis().rem_euclid(86_400_000))
        .hours_since(Timestamp::from_millis(0))
}

/// Share of the way that a first-order lag goes in `hours`.
fn lag(hours: f64, constant_hours: f64) -> f64 {
    -(-hours / constant_hours).exp_m1()
}
