//! The checked catalogue.

use std::borrow::Cow;

use forecare_domain::{
    ClassName, ComponentName, DepotName, Marks, MetricName, ModeName, PartNumber,
};

use crate::waveform::WaveformSpec;

/// Name of the failure mode that collects evidence no signature explains.
pub const UNKNOWN_MODE: &str = "unknown";

/// Everything known before the first reading. Built by [`Catalogue::parse`]; references between its parts
/// are checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// Currency of all costs, such as `EUR`.
    pub currency: String,
    /// Asset classes, by name.
    pub classes: Vec<AssetClass>,
    /// Spare parts.
    pub parts: Vec<PartSpec>,
    /// Parts that are needed together.
    pub kits: Vec<Kit>,
    /// Places that hold stock, nearest first; at least one.
    pub depots: Vec<Depot>,
    /// Stock to start with, booked as receipts when a store is new.
    pub stock: Vec<StockLevel>,
    /// People who can do the work.
    pub technicians: Vec<Technician>,
}

/// A kind of machine.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetClass {
    /// Name, as in the `class` of an asset.
    pub name: ClassName,
    /// What people call it.
    pub title: String,
    /// Horizon of failure probabilities, hours.
    pub horizon_hours: f64,
    /// Usual time between two readings, seconds; sizes windows and warm-up.
    pub sample_interval_s: f64,
    /// Metrics in the order of the store's columns. New ones go to the end.
    pub metrics: Vec<MetricSpec>,
    /// Waveforms, of which only features are kept, as metrics; most classes have none.
    pub waveforms: Vec<WaveformSpec>,
    /// Failure modes; never contains [`UNKNOWN_MODE`], see [`AssetClass::unknown_mode`].
    pub modes: Vec<FailureMode>,
    /// What happens when evidence fits no signature.
    pub unknown_mode: FailureMode,
}

/// A measured quantity of a class.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSpec {
    /// Name, as in the payload.
    pub name: MetricName,
    /// Unit, as shown to people.
    pub unit: String,
    /// True: it describes the operating point (load, speed, ambient), not health; baselines of the others
    /// are kept per regime of these.
    pub operating_point: bool,
    /// True: it only counts up (hours, cycles, strokes): for schedules and rules, and its limits; it says nothing of health.
    pub counter: bool,
    /// Engineering limits; `None` on a side without one.
    pub limits: Limits,
}

/// Engineering limits of a metric, in its unit. Where both are given, warning lies inside critical.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Below: critical.
    pub critical_low: Option<f64>,
    /// Below: warning.
    pub warning_low: Option<f64>,
    /// Above: warning.
    pub warning_high: Option<f64>,
    /// Above: critical.
    pub critical_high: Option<f64>,
    /// How far inside the limit a value must come back before the limit counts as left. At least 0.
    pub hysteresis: f64,
    /// How many samples in a row must lie beyond a limit before it counts. At least 1.
    pub debounce_samples: u32,
}

/// Which way a metric moves in a failure mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Rises.
    Up,
    /// Falls.
    Down,
    /// Either way.
    Any,
}

/// One sign of a failure mode.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// Index of the metric in the class.
    pub metric: usize,
    /// Which way it moves.
    pub direction: Direction,
    /// How telling it is; above 0, relative to the mode's other signs.
    pub weight: f64,
}

/// A way an asset fails, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureMode {
    /// Name within the class.
    pub name: ModeName,
    /// What people call it.
    pub title: String,
    /// Failure mode code of ISO 14224, such as `VIB`.
    pub iso14224: String,
    /// The component that is replaced; a `replaced` event for it resets this mode.
    pub component: Option<ComponentName>,
    /// Signs in the metrics.
    pub signature: Vec<Signature>,
    /// Device event codes that point to it.
    pub event_codes: Vec<String>,
    /// Identifier of the standard procedure.
    pub procedure: String,
    /// Skills the work needs.
    pub skills: Vec<String>,
    /// Certificates that must be valid on the day of the work.
    pub certificates: Vec<String>,
    /// True: somebody may get hurt by the failure.
    pub is_safety: bool,
    /// Working time, hours. Above 0.
    pub work_hours: f64,
    /// Parts the work needs.
    pub parts: Vec<PartNeed>,
    /// Cost of an unplanned failure: downtime, damage, emergency call. Above 0.
    pub cost_of_failure: f64,
    /// Cost of a planned visit, parts and given-away life included. Above 0.
    pub cost_of_acting: f64,
    /// Share of this mode's alarms expected to prove right before any verdict is in, 0 to 1.
    pub alarm_precision: f64,
}

/// A number of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartNeed {
    /// The part.
    pub part: PartNumber,
    /// How many. At least 1.
    pub quantity: u32,
    /// The kit it is needed as a part of.
    pub kit: Option<PartNumber>,
}

/// A spare part.
#[derive(Debug, Clone, PartialEq)]
pub struct PartSpec {
    /// Part number.
    pub number: PartNumber,
    /// What people call it.
    pub title: String,
    /// Supplier's lead time, hours. At least 0.
    pub lead_time_hours: f64,
    /// Price of one, in the catalogue's currency.
    pub unit_cost: f64,
    /// What has taken its place: it is used up, and not ordered any more.
    pub superseded_by: Option<PartNumber>,
    /// Parts that may stand in for it (not the other way round), the preferred one first.
    pub substitutes: Vec<PartNumber>,
    /// How its pieces are told apart.
    pub tracking: Tracking,
}

/// How pieces of a part are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracking {
    /// They are not.
    #[default]
    Not,
    /// By the maker's batch.
    Batch,
    /// Each by its serial number; the batch is kept where it is told.
    Serial,
}

impl Tracking {
    /// Its name in catalogue and API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Not => "no",
            Self::Batch => "batch",
            Self::Serial => "serial",
        }
    }
}

/// Parts that are needed together, under a number of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kit {
    /// The kit's number; no part has it.
    pub number: PartNumber,
    /// What people call it.
    pub title: String,
    /// What is in it. At least one part.
    pub parts: Vec<PartNeed>,
}

/// A place that holds stock.
#[derive(Debug, Clone, PartialEq)]
pub struct Depot {
    /// Name.
    pub name: DepotName,
    /// What people call it.
    pub title: String,
    /// Time to send parts from here to another depot, hours. At least 0.
    pub transfer_hours: f64,
}

/// Stock to start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockLevel {
    /// Where.
    pub depot: DepotName,
    /// What.
    pub part: PartNumber,
    /// How many.
    pub on_hand: u32,
    /// Which, where the part is tracked.
    pub marks: Marks,
}

/// Someone who can do the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Technician {
    /// Name.
    pub name: String,
    /// Skills held.
    pub skills: Vec<String>,
    /// Home depot.
    pub depot: DepotName,
}

impl Catalogue {
    /// The class of that name.
    #[must_use]
    pub fn class(&self, name: &ClassName) -> Option<&AssetClass> {
        self.classes.iter().find(|c| &c.name == name)
    }

    /// How pieces of the part are told apart; one that is not in the catalogue is not.
    #[must_use]
    pub fn tracking(&self, number: &PartNumber) -> Tracking {
        self.part(number)
            .map_or(Tracking::Not, |part| part.tracking)
    }

    /// The kit of that number.
    #[must_use]
    pub fn kit(&self, number: &PartNumber) -> Option<&Kit> {
        self.kits.iter().find(|kit| &kit.number == number)
    }

    /// The part of that number.
    #[must_use]
    pub fn part(&self, number: &PartNumber) -> Option<&PartSpec> {
        self.parts.iter().find(|p| &p.number == number)
    }
}

impl AssetClass {
    /// The failure mode of that name, [`UNKNOWN_MODE`] included.
    #[must_use]
    pub fn mode(&self, name: &ModeName) -> Option<&FailureMode> {
        if name == &self.unknown_mode.name {
            Some(&self.unknown_mode)
        } else {
            self.modes.iter().find(|m| &m.name == name)
        }
    }

    /// `values` of its metrics, in their order, without those that only count up.
    #[must_use]
    pub fn without_counters<'a>(&self, values: &'a [Option<f64>]) -> Cow<'a, [Option<f64>]> {
        if self.metrics.iter().all(|metric| !metric.counter) {
            return Cow::Borrowed(values);
        }
        let kept = values.iter().zip(&self.metrics);
        kept.map(|(value, metric)| value.filter(|_| !metric.counter))
            .collect()
    }

    /// Index of the metric of that name.
    #[must_use]
    pub fn metric_index(&self, name: &str) -> Option<usize> {
        self.metrics.iter().position(|m| m.name.as_str() == name)
    }

    /// The waveform of that name.
    #[must_use]
    pub fn waveform(&self, name: &str) -> Option<&WaveformSpec> {
        self.waveforms.iter().find(|w| w.name.as_str() == name)
    }

    /// Modes that replacing `component` cures.
    pub fn modes_of_component(
        &self,
        component: &ComponentName,
    ) -> impl Iterator<Item = &FailureMode> {
        self.modes
            .iter()
            .filter(move |m| m.component.as_ref() == Some(component))
    }
}
