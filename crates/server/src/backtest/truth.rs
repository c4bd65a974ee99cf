//! What really happened: failures, faults that technicians found, and what is not known.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use forecare_catalogue::{AssetClass, Catalogue};
use forecare_domain::{
    Asset, DeviceEvent, DeviceId, EventSeverity, Label, ModeName, REPLACED_CODE, Timestamp, Verdict,
};
use serde::Serialize;

use crate::failures::{self, SAME_FAILURE_H};

/// A replacement so soon after a failure of that component mends it, hours; a failure without one counts as mended
/// then.
pub(crate) const MENDED_WITHIN_H: f64 = 24.0;

/// How a fault is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The file of failures.
    File,
    /// An event of the device.
    Event,
    /// A technician found it before it struck: when it would have struck is not known, the verdict's time stands
    /// for it.
    Verdict,
}

impl Source {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Event => "event",
            Self::Verdict => "verdict",
        }
    }
}

/// A failure, or a fault that would have become one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    /// Place of the device in the list of assets.
    pub(crate) device: usize,
    pub(crate) mode: ModeName,
    /// When it struck.
    pub(crate) at: Timestamp,
    /// When the machine is as before: its history is of no use in between.
    pub(crate) mended_at: Timestamp,
    pub(crate) source: Source,
}

/// Everything known of the faults of all devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    /// By device, then time.
    pub(crate) faults: Vec<Fault>,
    /// Visits that found nothing, by device: mode and time.
    nothing_found: BTreeMap<usize, Vec<(ModeName, Timestamp)>>,
    /// Replacements by device: component's modes are looked up by the caller.
    replaced: BTreeMap<usize, Vec<(forecare_domain::ComponentName, Timestamp)>>,
    /// True where every failure is on record: what is not there did not happen.
    pub(crate) complete: bool,
    /// Lines of the failures file that name devices which are not backtested.
    pub(crate) n_elsewhere: usize,
    /// Codes that were named as reporting failures, and that no event has.
    pub(crate) codes_absent: Vec<String>,
}

/// Where the truth is taken from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// A CSV file: device, ts, mode.
    pub(crate) failures: Option<&'a Path>,
    /// Codes of events that report a failure; the event's component says of what.
    pub(crate) failure_codes: &'a [String],
}

/// Somebody stands before a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub(crate) device: usize,
    pub(crate) mode: &'a ModeName,
    pub(crate) at: Timestamp,
    /// A fault counts that strikes within so many hours.
    pub(crate) within_hours: f64,
    /// What happens from here on is not known.
    pub(crate) known_to: Timestamp,
}

/// What a visit comes upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The fault of that place in the list: it would have struck within the horizon.
    Fault(usize),
    /// A fault of another mode.
    Other(usize),
    /// Nothing would have failed.
    Nothing,
    /// It cannot be told.
    Unknown,
}

impl Truth {
    /// Collects the faults of `assets` from file, events and verdicts.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it cannot be used; the text names the line.
    pub(crate) fn collect(
        assets: &[Asset],
        catalogue: &Catalogue,
        events: &[Vec<DeviceEvent>],
        labels: &[Label],
        sources: Sources<'_>,
    ) -> Result<Self> {
        let places: BTreeMap<&DeviceId, usize> = assets
            .iter()
            .enumerate()
            .map(|(place, asset)| (&asset.device, place))
            .collect();
        let occurs = |code: &&String| events.iter().flatten().any(|e| e.code == **code);
        let mut truth = Self {
            codes_absent: sources
                .failure_codes
                .iter()
                .filter(|code| !occurs(code))
                .cloned()
                .collect(),
            complete: sources.failures.is_some() || !sources.failure_codes.is_empty(),
            ..Self::default()
        };
        if let Some(path) = sources.failures {
            truth.read(path, &places, assets, catalogue)?;
        }
        for (device, events) in events.iter().enumerate() {
            let Some(class) = catalogue.class(&assets[device].class) else {
                continue;
            };
            for event in events {
                truth.event(device, class, event, sources.failure_codes);
            }
        }
        truth.sort();
        for label in labels {
            if let Some(device) = places.get(&label.device) {
                truth.label(*device, label);
            }
        }
        truth.sort();
        truth.mend(assets, catalogue);
        Ok(truth)
    }

    fn read(
        &mut self,
        path: &Path,
        places: &BTreeMap<&DeviceId, usize>,
        assets: &[Asset],
        catalogue: &Catalogue,
    ) -> Result<()> {
        let file = failures::read(path, assets, catalogue)?;
        self.n_elsewhere = file.n_elsewhere;
        for failure in file.failures {
            if let Some(place) = places.get(&failure.device) {
                self.faults.push(Fault {
                    device: *place,
                    mode: failure.mode,
                    at: failure.at,
                    mended_at: Timestamp::MIN,
                    source: Source::File,
                });
            }
        }
        Ok(())
    }

    fn event(&mut self, device: usize, class: &AssetClass, event: &DeviceEvent, codes: &[String]) {
        let Some(component) = &event.component else {
            return;
        };
        let is_replacement = event.code == REPLACED_CODE;
        if is_replacement {
            let of_device = self.replaced.entry(device).or_default();
            of_device.push((component.clone(), event.ts));
        }
        // The device says that it replaced what had failed.
        let is_failure = codes.contains(&event.code)
            || (is_replacement && event.severity == EventSeverity::Error);
        if is_failure && let Some(mode) = class.modes_of_component(component).next() {
            self.faults.push(Fault {
                device,
                mode: mode.name.clone(),
                at: event.ts,
                mended_at: Timestamp::MIN,
                source: Source::Event,
            });
        }
    }

    fn label(&mut self, device: usize, label: &Label) {
        let mode = match &label.verdict {
            Verdict::Confirmed { .. } => &label.mode,
            Verdict::WrongMode { actual } => actual,
            Verdict::NoFaultFound | Verdict::DataFault => {
                let of_device = self.nothing_found.entry(device).or_default();
                of_device.push((label.mode.clone(), label.at));
                return;
            }
            // The part had life left: neither a fault nor none.
            Verdict::TooEarly | Verdict::Done => return,
        };
        self.faults.push(Fault {
            device,
            mode: mode.clone(),
            at: label.at,
            mended_at: Timestamp::MIN,
            source: Source::Verdict,
        });
    }

    /// By device and time; several records of one failure become the first of the most reliable kind.
    fn sort(&mut self) {
        self.faults.sort_by(|a, b| {
            (a.device, &a.mode, a.at, a.source as u8).cmp(&(
                b.device,
                &b.mode,
                b.at,
                b.source as u8,
            ))
        });
        self.faults.dedup_by(|later, first| {
            let same = (later.device, &later.mode) == (first.device, &first.mode)
                && later.at.hours_since(first.at) <= SAME_FAILURE_H;
            if same && (later.source as u8) < (first.source as u8) {
                *first = later.clone();
            }
            same
        });
        self.faults
            .sort_by(|a, b| (a.device, a.at, &a.mode).cmp(&(b.device, b.at, &b.mode)));
        for times in self.replaced.values_mut() {
            times.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        }
    }

    fn mend(&mut self, assets: &[Asset], catalogue: &Catalogue) {
        for fault in &mut self.faults {
            let component = catalogue
                .class(&assets[fault.device].class)
                .and_then(|class| class.mode(&fault.mode))
                .and_then(|mode| mode.component.as_ref());
            let latest = fault.at.plus_hours(MENDED_WITHIN_H);
            let replaced = self.replaced.get(&fault.device).into_iter().flatten();
            fault.mended_at = replaced
                .filter(|(name, at)| Some(name) == component && fault.at <= *at && *at <= latest)
                .map(|(_, at)| *at)
                .next()
                .unwrap_or(latest);
        }
    }

    /// The places of the faults of a device.
    pub(crate) fn of_device(&self, device: usize) -> std::ops::Range<usize> {
        let from = self.faults.partition_point(|f| f.device < device);
        let to = self.faults.partition_point(|f| f.device <= device);
        from..to
    }

    /// Replacements of a component of a device, oldest first.
    pub(crate) fn replacements<'a>(
        &'a self,
        device: usize,
        component: &'a forecare_domain::ComponentName,
    ) -> impl Iterator<Item = Timestamp> + 'a {
        let of_device = self.replaced.get(&device).into_iter().flatten();
        of_device
            .filter(move |(name, _)| name == component)
            .map(|(_, at)| *at)
    }

    /// What a visit comes upon. `open` tells which faults are still to come in this course of things.
    pub(crate) fn finding(
        &self,
        visit: &Visit<'_>,
        class: &AssetClass,
        open: impl Fn(usize) -> bool,
    ) -> Finding {
        let Visit {
            device, mode, at, ..
        } = *visit;
        let until = at.plus_hours(visit.within_hours);
        let near = |place: &usize| {
            let fault = &self.faults[*place];
            at <= fault.at && fault.at <= until && fault.at < visit.known_to && open(*place)
        };
        let mut near_ones = self.of_device(device).filter(near);
        let own = near_ones.clone().find(|p| self.faults[*p].mode == *mode);
        if let Some(place) = own {
            return Finding::Fault(place);
        }
        if let Some(place) = near_ones.next() {
            return Finding::Other(place);
        }
        let looked_at = self.nothing_found.get(&device).into_iter().flatten();
        if looked_at
            .into_iter()
            .any(|(m, t)| m == mode && t.hours_since(at).abs() <= visit.within_hours)
        {
            return Finding::Nothing;
        }
        // A component that was replaced as planned cannot show any more whether it would have failed.
        let component = class.mode(mode).and_then(|m| m.component.as_ref());
        let cut_short = component.is_some_and(|component| {
            self.replacements(device, component)
                .any(|t| at < t && t <= until)
        });
        if self.complete && !cut_short && until <= visit.known_to {
            Finding::Nothing
        } else {
            Finding::Unknown
        }
    }
}
