//! `[[class.waveform]]`: shape and checks.

use forecare_domain::MetricName;
use serde::Deserialize;

use crate::file::{Findings, not_negative, positive};
use crate::model::MetricSpec;
use crate::waveform::{
    Band, Bearing, BearingFault, FeatureKind, ShaftSpeed, WaveformFeature, WaveformSpec,
    rpm_per_unit,
};

/// Most waveforms of a class.
const WAVEFORMS_MAX: usize = 16;
/// Highest multiple of the shaft's speed.
const ORDER_MAX: f64 = 1_000.0;
/// Most harmonics of a fault frequency.
const HARMONICS_MAX: u32 = 10;
/// The harmonics of a fault frequency looked at by default: impacts have several.
const HARMONICS_DEFAULT: u32 = 3;
/// The band of broad-band velocity, ISO 20816-1, Hz.
const VELOCITY_BAND: Band = Band {
    from_hz: 10.0,
    to_hz: 1_000.0,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaveformFile {
    pub(crate) name: MetricName,
    unit: String,
    rpm: Option<f64>,
    rpm_metric: Option<MetricName>,
    bearing: Option<BearingFile>,
    envelope_band_hz: Option<[f64; 2]>,
    #[serde(default)]
    features: Vec<FeatureFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BearingFile {
    balls: u32,
    ball_diameter_mm: f64,
    pitch_diameter_mm: f64,
    #[serde(default)]
    contact_angle_deg: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureFile {
    metric: MetricName,
    kind: String,
    from_hz: Option<f64>,
    to_hz: Option<f64>,
    order: Option<f64>,
    fault: Option<String>,
    harmonics: Option<u32>,
}

/// Checks the waveforms of a class against its metrics.
pub(crate) fn waveforms(
    files: Vec<WaveformFile>,
    at: &str,
    metrics: &[MetricSpec],
    f: &mut Findings,
) -> Vec<WaveformSpec> {
    f.require(files.len() <= WAVEFORMS_MAX, || {
        format!("{at}: more than {WAVEFORMS_MAX} waveforms")
    });
    f.unique(
        &format!("{at}: waveform"),
        files.iter().map(|w| w.name.as_str()),
    );
    let computed = files.iter().flat_map(|w| &w.features);
    f.unique(
        &format!("{at}: among the features of waveforms, metric"),
        computed.map(|feature| feature.metric.as_str()),
    );
    files
        .into_iter()
        .map(|file| waveform(file, at, metrics, f))
        .collect()
}

fn waveform(
    file: WaveformFile,
    at: &str,
    metrics: &[MetricSpec],
    f: &mut Findings,
) -> WaveformSpec {
    let at = format!("{at}: waveform {}", file.name);
    f.require(!file.features.is_empty(), || {
        format!("{at}: no features: nothing would be kept of it")
    });
    let speed = speed(file.rpm, file.rpm_metric.as_ref(), &at, metrics, f);
    let bearing = file.bearing.map(|b| bearing(&b, &at, f));
    let envelope_band = file
        .envelope_band_hz
        .map(|[from_hz, to_hz]| band(from_hz, to_hz, &at, f));
    let mut spec = WaveformSpec {
        name: file.name,
        unit: file.unit,
        speed,
        bearing,
        envelope_band,
        features: Vec::with_capacity(file.features.len()),
    };
    for file in file.features {
        let at = format!("{at}: feature {}", file.metric);
        let index = metrics.iter().position(|m| m.name == file.metric);
        f.require(index.is_some(), || {
            format!("{at}: the class has no [[class.metric]] of this name")
        });
        let by_metric = |s: &ShaftSpeed| matches!(s, ShaftSpeed::Metric { metric, .. } if Some(*metric) == index);
        f.require(!spec.speed.as_ref().is_some_and(by_metric), || {
            format!(
                "{at}: the speed of the shaft cannot be computed from the waveform that needs it"
            )
        });
        let kind = kind(&file, &spec, &at, f);
        let feature = |metric, kind| WaveformFeature { metric, kind };
        spec.features
            .extend(index.zip(kind).map(|(metric, kind)| feature(metric, kind)));
    }
    spec
}

fn speed(
    rpm: Option<f64>,
    rpm_metric: Option<&MetricName>,
    at: &str,
    metrics: &[MetricSpec],
    f: &mut Findings,
) -> Option<ShaftSpeed> {
    f.require(rpm.is_none() || rpm_metric.is_none(), || {
        format!("{at}: rpm and rpm_metric are both given: which is it?")
    });
    f.require(rpm.is_none_or(positive), || {
        format!("{at}: rpm must be above 0")
    });
    let Some(name) = rpm_metric else {
        return rpm.map(|rpm| ShaftSpeed::Fixed { rpm });
    };
    let Some(metric) = metrics.iter().position(|m| &m.name == name) else {
        f.require(false, || {
            format!("{at}: rpm_metric names unknown metric \"{name}\"")
        });
        return None;
    };
    let unit = &metrics[metric].unit;
    let rpm_per_unit = rpm_per_unit(unit);
    f.require(rpm_per_unit.is_some(), || {
        format!("{at}: rpm_metric {name} has unit \"{unit}\", none of rpm, 1/min, Hz")
    });
    Some(ShaftSpeed::Metric {
        metric,
        rpm_per_unit: rpm_per_unit?,
    })
}

fn bearing(file: &BearingFile, at: &str, f: &mut Findings) -> Bearing {
    f.require(file.balls >= 3, || {
        format!("{at}: bearing: balls must be at least 3")
    });
    f.require(
        positive(file.ball_diameter_mm)
            && positive(file.pitch_diameter_mm)
            && file.ball_diameter_mm < file.pitch_diameter_mm,
        || {
            format!(
                "{at}: bearing: ball_diameter_mm must be above 0 and below pitch_diameter_mm (mm, both)"
            )
        },
    );
    f.require((0.0..90.0).contains(&file.contact_angle_deg), || {
        format!("{at}: bearing: contact_angle_deg must be at least 0 and below 90")
    });
    Bearing {
        balls: file.balls,
        ball_diameter_mm: file.ball_diameter_mm,
        pitch_diameter_mm: file.pitch_diameter_mm,
        contact_angle_deg: file.contact_angle_deg,
    }
}

fn band(from_hz: f64, to_hz: f64, at: &str, f: &mut Findings) -> Band {
    f.require(
        not_negative(from_hz) && to_hz.is_finite() && from_hz < to_hz,
        || format!("{at}: a band goes from at least 0 Hz upwards, not from {from_hz} to {to_hz}"),
    );
    Band { from_hz, to_hz }
}

/// Keys of a feature beside `metric` and `kind`, each taken at most once; what is left has no meaning.
struct Keys<'a> {
    file: &'a FeatureFile,
    at: &'a str,
    used: Vec<&'static str>,
}

impl Keys<'_> {
    fn band(&mut self, default: Option<Band>, f: &mut Findings) -> Band {
        self.used.extend(["from_hz", "to_hz"]);
        let from_hz = self.file.from_hz.or(default.map(|b| b.from_hz));
        let to_hz = self.file.to_hz.or(default.map(|b| b.to_hz));
        f.require(from_hz.is_some() && to_hz.is_some(), || {
            format!("{}: {} needs from_hz and to_hz", self.at, self.file.kind)
        });
        match from_hz.zip(to_hz) {
            Some((from_hz, to_hz)) => band(from_hz, to_hz, self.at, f),
            None => VELOCITY_BAND,
        }
    }

    fn order(&mut self, f: &mut Findings) -> f64 {
        self.used.push("order");
        let order = self.file.order.unwrap_or(f64::NAN);
        f.require(positive(order) && order <= ORDER_MAX, || {
            let (at, kind) = (self.at, &self.file.kind);
            format!(
                "{at}: {kind} needs order, a multiple of the shaft's speed of at most {ORDER_MAX}"
            )
        });
        order
    }

    fn fault(&mut self, f: &mut Findings) -> (BearingFault, u32) {
        self.used.extend(["fault", "harmonics"]);
        let fault = match self.file.fault.as_deref() {
            Some("bpfo") => Some(BearingFault::OuterRace),
            Some("bpfi") => Some(BearingFault::InnerRace),
            Some("bsf") => Some(BearingFault::Ball),
            Some("ftf") => Some(BearingFault::Cage),
            _ => None,
        };
        f.require(fault.is_some(), || {
            let (at, kind) = (self.at, &self.file.kind);
            format!("{at}: {kind} needs fault, one of bpfo, bpfi, bsf, ftf")
        });
        let harmonics = self.file.harmonics.unwrap_or(HARMONICS_DEFAULT);
        f.require((1..=HARMONICS_MAX).contains(&harmonics), || {
            format!("{}: harmonics must be 1 to {HARMONICS_MAX}", self.at)
        });
        (fault.unwrap_or(BearingFault::OuterRace), harmonics)
    }

    fn refuse_the_rest(&self, f: &mut Findings) {
        let given = [
            ("from_hz", self.file.from_hz.is_some()),
            ("to_hz", self.file.to_hz.is_some()),
            ("order", self.file.order.is_some()),
            ("fault", self.file.fault.is_some()),
            ("harmonics", self.file.harmonics.is_some()),
        ];
        for (key, given) in given {
            f.require(!given || self.used.contains(&key), || {
                format!("{}: {} has no {key}", self.at, self.file.kind)
            });
        }
    }
}

fn kind(
    file: &FeatureFile,
    spec: &WaveformSpec,
    at: &str,
    f: &mut Findings,
) -> Option<FeatureKind> {
    let mut keys = Keys {
        file,
        at,
        used: Vec::new(),
    };
    let kind = match file.kind.as_str() {
        "rms" => FeatureKind::Rms,
        "peak" => FeatureKind::Peak,
        "peak_to_peak" => FeatureKind::PeakToPeak,
        "crest_factor" => FeatureKind::CrestFactor,
        "kurtosis" => FeatureKind::Kurtosis,
        "skewness" => FeatureKind::Skewness,
        "band_rms" => FeatureKind::BandRms(keys.band(None, f)),
        "band_share" => FeatureKind::BandShare(keys.band(None, f)),
        "spectral_centroid" => FeatureKind::SpectralCentroid,
        "velocity_rms" => {
            f.require(spec.to_velocity().is_some(), || {
                let unit = &spec.unit;
                format!("{at}: velocity_rms needs samples in g, m/s2, mm/s2, mm/s, m/s or in/s, not \"{unit}\"")
            });
            let band = keys.band(Some(VELOCITY_BAND), f);
            f.require(positive(band.from_hz), || {
                format!("{at}: velocity_rms: from_hz must be above 0: a constant acceleration has no velocity")
            });
            FeatureKind::VelocityRms(band)
        }
        "order_amplitude" => {
            f.require(spec.speed.is_some(), || {
                format!("{at}: order_amplitude needs rpm or rpm_metric of the waveform")
            });
            FeatureKind::OrderAmplitude {
                order: keys.order(f),
            }
        }
        "envelope_amplitude" | "envelope_prominence" => {
            f.require(spec.speed.is_some() && spec.bearing.is_some() && spec.envelope_band.is_some(), || {
                format!(
                    "{at}: {} needs, of the waveform, rpm or rpm_metric, bearing, and envelope_band_hz (the resonance that impacts excite, such as [2000, 6000])",
                    file.kind
                )
            });
            let (fault, harmonics) = keys.fault(f);
            if file.kind == "envelope_amplitude" {
                FeatureKind::EnvelopeAmplitude { fault, harmonics }
            } else {
                FeatureKind::EnvelopeProminence { fault, harmonics }
            }
        }
        other => {
            f.require(false, || {
                format!(
                    "{at}: kind \"{other}\" is none of rms, peak, peak_to_peak, crest_factor, kurtosis, skewness, band_rms, band_share, spectral_centroid, velocity_rms, order_amplitude, envelope_amplitude, envelope_prominence"
                )
            });
            return None;
        }
    };
    keys.refuse_the_rest(f);
    Some(kind)
}

#[cfg(test)]
mod tests;
