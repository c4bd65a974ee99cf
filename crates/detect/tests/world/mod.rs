//! A pump of eight metrics, made from a seed: two of operation, six of health.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part; a failure ends the test"
)]

use forecare_catalogue::{AssetClass, Catalogue};
use forecare_detect::{ClassDetector, DetectSettings, DeviceDetector, Scored};
use forecare_domain::Timestamp;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub(crate) const LOAD: usize = 0;
pub(crate) const AMBIENT: usize = 1;
pub(crate) const VIBRATION: usize = 2;
pub(crate) const TEMPERATURE: usize = 3;
pub(crate) const PRESSURE: usize = 4;
pub(crate) const FLOW: usize = 5;
pub(crate) const CURRENT: usize = 6;
pub(crate) const OIL: usize = 7;

const CATALOGUE: &str = r#"
    [[class]]
    name = "pump"
    title = "Pump"
    horizon_hours = 24
    sample_interval_s = 60
    metric = [
        { name = "load", unit = "%", operating_point = true },
        { name = "ambient", unit = "°C", operating_point = true },
        { name = "vibration", unit = "mm/s", warning_high = 4.5, critical_high = 7.1, hysteresis = 0.3 },
        { name = "temperature", unit = "°C", warning_high = 90, critical_high = 110, hysteresis = 2 },
        { name = "pressure", unit = "bar" },
        { name = "flow", unit = "l/min" },
        { name = "current", unit = "A" },
        { name = "oil", unit = "l" },
    ]
    [[class.mode]]
    name = "bearing-wear"
    title = "Bearing wear"
    iso14224 = "VIB"
    component = "bearing"
    signature = [{ metric = "vibration", direction = "up", weight = 2 }, { metric = "temperature", direction = "up" }]
    procedure = "P-1"
    work_hours = 2
    cost_of_failure = 1000
    cost_of_acting = 100
    [[class.mode]]
    name = "clogging"
    title = "Clogging"
    iso14224 = "PLU"
    signature = [{ metric = "flow", direction = "down" }, { metric = "pressure", direction = "up" }]
    procedure = "P-2"
    work_hours = 2
    cost_of_failure = 1000
    cost_of_acting = 100
    [[class.mode]]
    name = "oil-leak"
    title = "Oil leak"
    iso14224 = "ELU"
    signature = [{ metric = "oil", direction = "down" }]
    procedure = "P-3"
    work_hours = 1
    cost_of_failure = 1000
    cost_of_acting = 100
    [[depot]]
    name = "main"
    title = "Main"
"#;

pub(crate) fn class() -> AssetClass {
    Catalogue::parse(CATALOGUE).unwrap().classes.remove(0)
}

/// The same machine as a class without operating point.
pub(crate) fn plain_class() -> AssetClass {
    let text = CATALOGUE.replace(", operating_point = true", "");
    Catalogue::parse(&text).unwrap().classes.remove(0)
}

pub(crate) fn detector(class: &AssetClass) -> ClassDetector {
    ClassDetector::new(class, &DetectSettings::default()).unwrap()
}

/// How the metrics wander.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Noise {
    White,
    /// AR(1) with this correlation, unit variance.
    Ar(f64),
    /// Student's t with 4 degrees of freedom.
    Heavy,
}

pub(crate) struct Source {
    rng: ChaCha8Rng,
    noise: Noise,
    state: Vec<f64>,
}

impl Source {
    pub(crate) fn new(seed: u64, noise: Noise) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            noise,
            state: vec![0.0; 8],
        }
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let u: f64 = self.rng.random::<f64>().max(1e-300);
        let v: f64 = self.rng.random();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Noise of metric `i`, unit variance or so.
    pub(crate) fn draw(&mut self, i: usize) -> f64 {
        let e = self.normal();
        match self.noise {
            Noise::White => e,
            Noise::Ar(r) => {
                self.state[i] = r * self.state[i] + (1.0 - r * r).sqrt() * e;
                self.state[i]
            }
            Noise::Heavy => {
                let chi: f64 = (0..4).map(|_| self.normal().powi(2)).sum();
                e / (chi / 4.0).sqrt()
            }
        }
    }

    /// A row at constant operation.
    pub(crate) fn row(&mut self) -> [f64; 8] {
        self.row_at(60.0, 20.0)
    }

    /// A row at this load and ambient temperature; the health metrics follow both.
    pub(crate) fn row_at(&mut self, load: f64, ambient: f64) -> [f64; 8] {
        let e: Vec<f64> = (0..8).map(|i| self.draw(i)).collect();
        let load = load + 0.5 * e[LOAD];
        let ambient = ambient + 0.3 * e[AMBIENT];
        [
            load,
            ambient,
            1.0 + 0.02 * load + 0.1 * e[VIBRATION],
            30.0 + 0.3 * load + 0.8 * ambient + 0.5 * e[TEMPERATURE],
            3.0 + 0.01 * load + 0.03 * e[PRESSURE],
            // Flow follows pressure closely: what belongs together.
            100.0 + load + 2.0 * (0.9 * e[PRESSURE] + 0.435 * e[FLOW]),
            10.0 + 0.1 * load + 0.2 * e[CURRENT],
            50.0 + 0.2 * e[OIL],
        ]
    }
}

/// A device that is fed row by row, a minute apart.
pub(crate) struct Run {
    pub(crate) class: ClassDetector,
    pub(crate) device: DeviceDetector,
    pub(crate) minute: i64,
}

impl Run {
    pub(crate) fn new(class: ClassDetector) -> Self {
        let device = DeviceDetector::new(&class);
        Self {
            class,
            device,
            minute: 0,
        }
    }

    pub(crate) fn ts(&self) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000 + self.minute * 60_000)
    }

    pub(crate) fn feed(&mut self, row: &[f64; 8]) -> Scored {
        let scored = self.device.step(&self.class, self.ts(), &row.map(Some));
        self.minute += 1;
        scored
    }

    /// Feeds quiet rows; the modes that had evidence.
    pub(crate) fn quiet(&mut self, source: &mut Source, n_samples: usize) -> Vec<String> {
        let mut modes = Vec::new();
        for _ in 0..n_samples {
            let row = source.row();
            modes.extend(self.feed(&row).evidence.iter().map(|e| e.mode.to_string()));
        }
        modes
    }
}
