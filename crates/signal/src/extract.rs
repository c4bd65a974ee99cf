//! From a waveform to the values of metrics.

use std::sync::Arc;

use forecare_catalogue::{
    Band, Bearing, BearingFault, FeatureKind, ShaftSpeed, ToVelocity, WaveformSpec,
};
use realfft::num_complex::Complex;

use crate::envelope::envelope;
use crate::missing::Missing;
use crate::plans::{Plan, Plans};
use crate::shape::Shape;
use crate::spectrum::{Spectrum, plain, transform, windowed};

/// Periods of a frequency that a waveform must hold: the peaks of a tone, of its neighbour and of the mean are then
/// apart.
const PERIODS_MIN: f64 = 5.0;
/// The same where lines are compared with what lies between them: they must fill at most half of it.
const PROMINENCE_PERIODS_MIN: f64 = 12.0;
/// Periods of the lower edge of a band of velocity: below, the mean leaks in.
const VELOCITY_PERIODS_MIN: f64 = 2.0;
/// How far a shaft's speed may be off, relative.
const SPEED_TOLERANCE: f64 = 0.01;
/// How far a fault frequency may be off through slip, relative (Randall and Antoni: 1 to 2 %).
const SLIP_TOLERANCE: f64 = 0.02;

/// Edges of lines in a spectrum, Hz, as of [`Spectrum::between`].
type Lines = Vec<(f64, f64)>;

/// What came of a waveform: every feature of the class is in one of the two.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Features {
    /// Index of the metric, and its value: finite, never minus zero.
    pub values: Vec<(usize, f64)>,
    /// Index of the metric, and why it has no value.
    pub missing: Vec<(usize, Missing)>,
}

/// Computes features; keeps its transforms ready for the lengths it has met, at most eight.
#[derive(Default)]
pub struct Extractor {
    plans: Plans,
}

/// A waveform under examination; spectra are made once, when first needed.
struct Waveform<'a> {
    spec: &'a WaveformSpec,
    plan: Arc<Plan>,
    rate_hz: f64,
    /// Hz; `None` where unknown.
    shaft_hz: Option<f64>,
    shape: Shape,
    /// Without the mean.
    centred: Vec<f64>,
    bins: Option<Vec<Complex<f64>>>,
    plain: Option<Spectrum>,
    windowed: Option<Spectrum>,
    envelope: Option<Spectrum>,
}

impl Extractor {
    /// With no transform prepared.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The features of one waveform: `samples` in the class's unit, at least one, finite; `rate_hz` above 0;
    /// `speed` the value of the metric that `spec` names for the shaft's speed, if the sample has it. Depends on
    /// nothing else: the same waveform gives the same bits.
    pub fn features(
        &mut self,
        spec: &WaveformSpec,
        samples: &[f64],
        rate_hz: f64,
        speed: Option<f64>,
    ) -> Features {
        let mut features = Features::default();
        if samples.is_empty() {
            return features;
        }
        let shape = Shape::of(samples);
        let mut waveform = Waveform {
            spec,
            plan: self.plans.get(samples.len()),
            rate_hz,
            shaft_hz: match spec.speed {
                None => None,
                Some(ShaftSpeed::Fixed { rpm }) => Some(rpm / 60.0),
                // A shaft that turns backwards turns.
                Some(ShaftSpeed::Metric { rpm_per_unit, .. }) => {
                    speed.map(|speed| (speed * rpm_per_unit / 60.0).abs())
                }
            },
            shape,
            centred: samples.iter().map(|x| x - shape.mean).collect(),
            bins: None,
            plain: None,
            windowed: None,
            envelope: None,
        };
        for feature in &spec.features {
            match waveform.value(feature.kind) {
                // Adding zero turns minus zero into zero.
                Ok(value) if value.is_finite() => {
                    features.values.push((feature.metric, value + 0.0));
                }
                Ok(_) => features.missing.push((feature.metric, Missing::NotFinite)),
                Err(why) => features.missing.push((feature.metric, why)),
            }
        }
        features
    }
}

impl Waveform<'_> {
    fn value(&mut self, kind: FeatureKind) -> Result<f64, Missing> {
        match kind {
            FeatureKind::Rms => Ok(self.shape.rms),
            FeatureKind::Peak => Ok(self.shape.peak),
            FeatureKind::PeakToPeak => Ok(self.shape.peak_to_peak),
            FeatureKind::CrestFactor => self.moving().map(|()| self.shape.crest_factor()),
            FeatureKind::Kurtosis => self.moving().map(|()| self.shape.kurtosis()),
            FeatureKind::Skewness => self.moving().map(|()| self.shape.skewness()),
            FeatureKind::BandRms(band) => Ok(self.band_energy(band)?.sqrt()),
            FeatureKind::BandShare(band) => {
                self.moving()?;
                Ok(self.band_energy(band)? / self.plain().energy(0.0, f64::INFINITY))
            }
            FeatureKind::SpectralCentroid => {
                self.moving()?;
                Ok(self.plain().centroid_hz())
            }
            FeatureKind::VelocityRms(band) => self.velocity_rms(band),
            FeatureKind::OrderAmplitude { order } => self.order_amplitude(order),
            FeatureKind::EnvelopeAmplitude { fault, harmonics } => {
                let (spectrum, lines) = self.fault_lines(fault, harmonics, PERIODS_MIN)?;
                let energy = |l: &(f64, f64)| spectrum.energy(l.0, l.1);
                Ok(amplitude(lines.iter().map(energy).sum()))
            }
            FeatureKind::EnvelopeProminence { fault, harmonics } => {
                let (spectrum, lines) =
                    self.fault_lines(fault, harmonics, PROMINENCE_PERIODS_MIN)?;
                prominence(spectrum, &lines)
            }
        }
    }

    fn moving(&self) -> Result<(), Missing> {
        if self.shape.is_constant() {
            Err(Missing::Constant)
        } else {
            Ok(())
        }
    }

    fn nyquist_hz(&self) -> f64 {
        self.rate_hz / 2.0
    }

    fn bin_hz(&self) -> f64 {
        self.rate_hz / self.plan.n as f64
    }

    /// Whether frequencies of the shaft vary.
    fn varies(&self) -> bool {
        matches!(self.spec.speed, Some(ShaftSpeed::Metric { .. }))
    }

    fn holds(&self, hz: f64, below_hz: f64, varies: bool) -> Result<(), Missing> {
        if hz < below_hz {
            return Ok(());
        }
        Err(Missing::TooHigh {
            hz,
            below_hz,
            varies,
        })
    }

    fn long_enough(&self, hz: f64, periods: f64, varies: bool) -> Result<(), Missing> {
        if hz >= periods * self.bin_hz() {
            return Ok(());
        }
        Err(Missing::TooShort {
            hz,
            needed_s: periods / hz,
            varies,
        })
    }

    /// The band's upper edge may be half the sampling rate itself, but not beyond.
    fn holds_band(&self, band: Band) -> Result<(), Missing> {
        if band.to_hz <= self.nyquist_hz() {
            return Ok(());
        }
        Err(Missing::TooHigh {
            hz: band.to_hz,
            below_hz: self.nyquist_hz(),
            varies: false,
        })
    }

    fn shaft_hz(&self) -> Result<f64, Missing> {
        match self.shaft_hz {
            None => Err(Missing::NoSpeed),
            Some(hz) if hz > 0.0 => Ok(hz),
            Some(_) => Err(Missing::AtRest),
        }
    }

    fn plain(&mut self) -> &Spectrum {
        let bins = bins_of(&mut self.bins, &self.centred, &self.plan);
        let (plan, rate_hz) = (&self.plan, self.rate_hz);
        self.plain.get_or_insert_with(|| plain(bins, plan, rate_hz))
    }

    fn envelope(&mut self, band: Band) -> &Spectrum {
        let bins = bins_of(&mut self.bins, &self.centred, &self.plan);
        let (plan, rate_hz) = (&self.plan, self.rate_hz);
        self.envelope
            .get_or_insert_with(|| envelope(bins, plan, rate_hz, band))
    }

    fn windowed(&mut self) -> &Spectrum {
        let (centred, plan, rate_hz) = (&self.centred, &self.plan, self.rate_hz);
        self.windowed
            .get_or_insert_with(|| windowed(centred, plan, rate_hz))
    }

    fn band_energy(&mut self, band: Band) -> Result<f64, Missing> {
        self.holds_band(band)?;
        // The topmost band holds half the sampling rate itself, so that bands add up to the whole.
        let to_hz = if band.to_hz < self.nyquist_hz() {
            band.to_hz
        } else {
            f64::INFINITY
        };
        Ok(self.plain().energy(band.from_hz, to_hz))
    }

    fn velocity_rms(&mut self, band: Band) -> Result<f64, Missing> {
        self.holds_band(band)?;
        self.long_enough(band.from_hz, VELOCITY_PERIODS_MIN, false)?;
        let to_velocity = self.spec.to_velocity();
        let spectrum = self.windowed();
        let (energy, mm_s) = match to_velocity {
            Some(ToVelocity::Integrate { m_s2_per_unit }) => (
                spectrum.integrated_energy(band.from_hz, band.to_hz),
                1_000.0 * m_s2_per_unit,
            ),
            Some(ToVelocity::Scale { mm_s_per_unit }) => {
                (spectrum.energy(band.from_hz, band.to_hz), mm_s_per_unit)
            }
            None => unreachable!("the catalogue refuses velocities of other units"),
        };
        Ok(mm_s * energy.sqrt())
    }

    fn order_amplitude(&mut self, order: f64) -> Result<f64, Missing> {
        let shaft_hz = self.shaft_hz()?;
        let (hz, varies) = (order * shaft_hz, self.varies());
        self.long_enough(hz.min(shaft_hz), PERIODS_MIN, varies)?;
        self.holds(hz, self.nyquist_hz(), varies)?;
        let spectrum = self.windowed();
        let (from_hz, to_hz) = spectrum.line(hz, (SPEED_TOLERANCE * hz).min(0.25 * shaft_hz));
        Ok(amplitude(spectrum.energy(from_hz, to_hz)))
    }

    /// The envelope's spectrum, and the edges of the fault's lines in it.
    fn fault_lines(
        &mut self,
        fault: BearingFault,
        harmonics: u32,
        periods_min: f64,
    ) -> Result<(&Spectrum, Lines), Missing> {
        let (bearing, band): (Bearing, Band) = match (self.spec.bearing, self.spec.envelope_band) {
            (Some(bearing), Some(band)) => (bearing, band),
            _ => unreachable!("the catalogue wants a bearing and a band for fault frequencies"),
        };
        self.holds_band(band)?;
        let (hz, varies) = (bearing.order(fault) * self.shaft_hz()?, self.varies());
        self.long_enough(hz, periods_min, varies)?;
        // What modulates a band faster than it is wide leaves it.
        let width_hz = band.to_hz - band.from_hz;
        self.holds(hz, width_hz, varies)?;
        let spectrum = self.envelope(band);
        let lines = (1..=harmonics)
            .map(|h| f64::from(h) * hz)
            .take_while(|hz| *hz < width_hz)
            .map(|hz| spectrum.line(hz, SLIP_TOLERANCE * hz))
            .collect();
        Ok((spectrum, lines))
    }
}

/// The transform of the waveform without its mean, made once.
fn bins_of<'a>(
    made: &'a mut Option<Vec<Complex<f64>>>,
    centred: &[f64],
    plan: &Plan,
) -> &'a [Complex<f64>] {
    made.get_or_insert_with(|| transform(&mut centred.to_vec(), plan))
}

/// Zero-to-peak amplitude of a tone with that mean square.
fn amplitude(energy: f64) -> f64 {
    (2.0 * energy).sqrt()
}

/// Root of the mean energy in the lines over that of the bins from below the first line to beyond the last. The
/// latter from the median, which the lines themselves hardly move; of noise it is ln 2 of the mean.
fn prominence(spectrum: &Spectrum, lines: &[(f64, f64)]) -> Result<f64, Missing> {
    let (n_lines, energy) = lines
        .iter()
        .flat_map(|(from, to)| spectrum.between(*from, *to))
        .fold((0.0, 0.0), |(n, sum), (_, power)| (n + 1.0, sum + power));
    let first_hz = lines.first().map_or(0.0, |l| l.0);
    let last_hz = lines.last().map_or(0.0, |l| l.1);
    let mut around: Vec<f64> = spectrum
        .between(0.5 * first_hz, last_hz + 0.5 * first_hz)
        .map(|(_, power)| power)
        .collect();
    around.sort_unstable_by(f64::total_cmp);
    match around.get(around.len() / 2) {
        Some(median) if *median > 0.0 => {
            Ok((energy / n_lines / (*median / std::f64::consts::LN_2)).sqrt())
        }
        _ => Err(Missing::Constant),
    }
}
