//! Waveforms become values of the row they came with; they themselves are not kept.

use std::fmt::Write;

use forecare_catalogue::{AssetClass, ShaftSpeed, WaveformSpec};
use forecare_signal::Extractor;
use forecare_wire::Waveform;

/// Longest list of findings in one detail, bytes.
const LIST_BYTES_MAX: usize = 400;

/// What was wrong with the waveforms of a message, as one bounded sentence.
#[derive(Default)]
pub(super) struct WaveformFindings {
    list: String,
    n_unlisted: usize,
}

impl WaveformFindings {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        if self.list.len() >= LIST_BYTES_MAX {
            self.n_unlisted += 1;
            return;
        }
        let separator = if self.list.is_empty() { "" } else { "; " };
        // Writing into a String cannot fail.
        write!(self.list, "{separator}{text}").unwrap_or_default();
    }

    /// The sentence; `None` when nothing was wrong.
    pub(super) fn detail(self) -> Option<String> {
        match (self.list.is_empty(), self.n_unlisted) {
            (true, _) => None,
            (false, 0) => Some(self.list),
            (false, n) => Some(format!("{}; and {n} more", self.list)),
        }
    }
}

/// Computes the features that `class` wants of `waveforms`, and puts them into `values`, the row's. Depends on the
/// sample alone: a repetition gives the same row.
pub(super) fn place(
    extractor: &mut Extractor,
    class: &AssetClass,
    waveforms: Vec<Waveform<'_>>,
    values: &mut [Option<f64>],
    findings: &mut WaveformFindings,
) {
    let sent = values.to_vec();
    for waveform in waveforms {
        let Some(spec) = class.waveform(&waveform.name) else {
            let (name, class) = (&waveform.name, &class.name);
            findings.add(format_args!(
                "waveform `{name}` is unknown to class {class}: add it as [[class.waveform]]"
            ));
            continue;
        };
        let Some(samples) = in_class_unit(spec, &waveform) else {
            let (name, unit, sent) = (&spec.name, &spec.unit, waveform.unit.unwrap_or_default());
            findings.add(format_args!(
                "waveform `{name}` is in `{sent}`, which does not convert to the catalogue's `{unit}`"
            ));
            continue;
        };
        let speed = match spec.speed {
            Some(ShaftSpeed::Metric { metric, .. }) => sent.get(metric).copied().flatten(),
            Some(ShaftSpeed::Fixed { .. }) | None => None,
        };
        let features = extractor.features(spec, &samples, waveform.rate_hz, speed);
        for (metric, value) in features.values {
            if sent[metric].is_some() {
                let (metric, name) = (&class.metrics[metric].name, &spec.name);
                findings.add(format_args!(
                    "{metric} is sent as a value and computed from waveform `{name}`: the value sent counts"
                ));
            } else {
                values[metric] = Some(value);
            }
        }
        let mend = features
            .missing
            .iter()
            .filter(|(_, why)| !why.is_operation());
        for (metric, why) in mend {
            let (metric, name) = (&class.metrics[*metric].name, &spec.name);
            findings.add(format_args!("waveform `{name}` gives no {metric}: {why}"));
        }
    }
}

/// The samples in the class's unit; `None` where the payload's unit does not convert.
fn in_class_unit(spec: &WaveformSpec, waveform: &Waveform<'_>) -> Option<Vec<f64>> {
    let factor = match &waveform.unit {
        None => 1.0,
        Some(unit) => spec.factor_from(unit)?,
    };
    Some(waveform.samples.iter().map(|x| x * factor).collect())
}
