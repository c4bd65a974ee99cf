//! What becomes of the waveforms of a class: which feature of which waveform is which metric.

use forecare_domain::MetricName;

/// Standard gravity, m/s².
const STANDARD_GRAVITY_M_S2: f64 = 9.806_65;
/// One inch, mm.
const INCH_MM: f64 = 25.4;

/// A waveform that devices of a class publish, and the metrics that are computed from it.
#[derive(Debug, Clone, PartialEq)]
pub struct WaveformSpec {
    /// Name, as in the payload.
    pub name: MetricName,
    /// Unit of the samples, and of every feature that has the samples' unit.
    pub unit: String,
    /// How fast the shaft turns; `None` where nobody knows.
    pub speed: Option<ShaftSpeed>,
    /// The bearing beside the sensor.
    pub bearing: Option<Bearing>,
    /// The resonance whose envelope is looked at.
    pub envelope_band: Option<Band>,
    /// What is computed; each metric once in the class.
    pub features: Vec<WaveformFeature>,
}

/// Where the speed of the shaft comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ShaftSpeed {
    /// It never changes: revolutions per minute.
    Fixed {
        /// Revolutions per minute. Above 0.
        rpm: f64,
    },
    /// A metric of the same sample.
    Metric {
        /// Index of the metric in the class.
        metric: usize,
        /// Revolutions per minute in one unit of the metric. Above 0.
        rpm_per_unit: f64,
    },
}

/// Geometry of a rolling bearing, as in its data sheet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bearing {
    /// Number of balls or rollers. At least 3.
    pub balls: u32,
    /// Diameter of a ball, mm. Above 0, below the pitch diameter.
    pub ball_diameter_mm: f64,
    /// Diameter of the circle of the balls' centres, mm.
    pub pitch_diameter_mm: f64,
    /// Contact angle, degrees. 0 to below 90.
    pub contact_angle_deg: f64,
}

/// A place of the bearing where damage shows at a frequency of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearingFault {
    /// Outer race: ball pass frequency, outer (BPFO).
    OuterRace,
    /// Inner race: ball pass frequency, inner (BPFI).
    InnerRace,
    /// Ball or roller: ball spin frequency (BSF).
    Ball,
    /// Cage: fundamental train frequency (FTF).
    Cage,
}

/// A range of frequencies, Hz: `from_hz` belongs to it, `to_hz` does not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Lower edge. At least 0.
    pub from_hz: f64,
    /// Upper edge. Above `from_hz`.
    pub to_hz: f64,
}

/// One metric computed from a waveform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaveformFeature {
    /// Index of the metric in the class.
    pub metric: usize,
    /// What it is.
    pub kind: FeatureKind,
}

/// What is computed. Everything is of the waveform less its mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FeatureKind {
    /// Root mean square.
    Rms,
    /// Largest absolute value.
    Peak,
    /// Largest less smallest value.
    PeakToPeak,
    /// Peak by root mean square.
    CrestFactor,
    /// Fourth standardised moment; 3 for Gaussian noise.
    Kurtosis,
    /// Third standardised moment; 0 for a symmetric distribution.
    Skewness,
    /// Root mean square within a band.
    BandRms(Band),
    /// Share of the energy that lies in a band, 0 to 1.
    BandShare(Band),
    /// Mean frequency, weighted by energy, Hz.
    SpectralCentroid,
    /// Root mean square of the velocity within a band, mm/s, from acceleration or velocity.
    VelocityRms(Band),
    /// Amplitude (zero to peak) at a multiple of the shaft's speed.
    OrderAmplitude {
        /// The multiple. Above 0.
        order: f64,
    },
    /// Amplitude in the envelope's spectrum at a fault frequency and its harmonics.
    EnvelopeAmplitude {
        /// The fault.
        fault: BearingFault,
        /// Harmonics looked at, the first included. At least 1.
        harmonics: u32,
    },
    /// The same relative to the envelope's spectrum around it; about 1 where there is no fault.
    EnvelopeProminence {
        /// The fault.
        fault: BearingFault,
        /// Harmonics looked at, the first included. At least 1.
        harmonics: u32,
    },
}

impl Bearing {
    /// Frequency of a fault per revolution of the shaft, for a fixed outer race and no slip. Randall and
    /// Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP 25 (2011), equations 1 to 4.
    #[must_use]
    pub fn order(&self, fault: BearingFault) -> f64 {
        let ratio = self.ball_diameter_mm / self.pitch_diameter_mm
            * self.contact_angle_deg.to_radians().cos();
        let balls = f64::from(self.balls);
        match fault {
            BearingFault::OuterRace => balls / 2.0 * (1.0 - ratio),
            BearingFault::InnerRace => balls / 2.0 * (1.0 + ratio),
            BearingFault::Ball => {
                self.pitch_diameter_mm / (2.0 * self.ball_diameter_mm) * (1.0 - ratio * ratio)
            }
            BearingFault::Cage => 0.5 * (1.0 - ratio),
        }
    }
}

impl BearingFault {
    /// The name in catalogues.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::OuterRace => "bpfo",
            Self::InnerRace => "bpfi",
            Self::Ball => "bsf",
            Self::Cage => "ftf",
        }
    }
}

/// What a unit of vibration measures.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantity {
    /// Acceleration: m/s² in one unit.
    Acceleration(f64),
    /// Velocity: mm/s in one unit.
    Velocity(f64),
}

fn quantity(unit: &str) -> Option<Quantity> {
    Some(match unit {
        "g" => Quantity::Acceleration(STANDARD_GRAVITY_M_S2),
        "mg" => Quantity::Acceleration(STANDARD_GRAVITY_M_S2 / 1_000.0),
        "m/s2" | "m/s^2" | "m/s²" => Quantity::Acceleration(1.0),
        "mm/s2" | "mm/s^2" | "mm/s²" => Quantity::Acceleration(0.001),
        "mm/s" => Quantity::Velocity(1.0),
        "m/s" => Quantity::Velocity(1_000.0),
        "in/s" => Quantity::Velocity(INCH_MM),
        _ => return None,
    })
}

/// What makes velocity in mm/s of a waveform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ToVelocity {
    /// The samples are accelerations: integrate, then multiply. m/s² in one unit.
    Integrate {
        /// m/s² in one unit of the samples.
        m_s2_per_unit: f64,
    },
    /// The samples are velocities: multiply. mm/s in one unit.
    Scale {
        /// mm/s in one unit of the samples.
        mm_s_per_unit: f64,
    },
}

impl WaveformSpec {
    /// Factor from samples in `unit` to samples in the class's unit; `None` where there is none.
    #[must_use]
    pub fn factor_from(&self, unit: &str) -> Option<f64> {
        if unit == self.unit {
            return Some(1.0);
        }
        match (quantity(unit)?, quantity(&self.unit)?) {
            (Quantity::Acceleration(from), Quantity::Acceleration(to))
            | (Quantity::Velocity(from), Quantity::Velocity(to)) => Some(from / to),
            (Quantity::Acceleration(_), Quantity::Velocity(_))
            | (Quantity::Velocity(_), Quantity::Acceleration(_)) => None,
        }
    }

    /// How velocity comes from the samples; `None` where their unit is neither acceleration nor velocity.
    #[must_use]
    pub fn to_velocity(&self) -> Option<ToVelocity> {
        quantity(&self.unit).map(|quantity| match quantity {
            Quantity::Acceleration(m_s2_per_unit) => ToVelocity::Integrate { m_s2_per_unit },
            Quantity::Velocity(mm_s_per_unit) => ToVelocity::Scale { mm_s_per_unit },
        })
    }
}

/// Revolutions per minute in one unit of a metric of speed.
pub(crate) fn rpm_per_unit(unit: &str) -> Option<f64> {
    match unit {
        "rpm" | "1/min" | "min-1" | "r/min" => Some(1.0),
        "Hz" | "1/s" => Some(60.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_of_a_6205_are_those_of_its_data_sheet() {
        // SKF 6205-2RS of the Case Western bearing data centre: 3.5848, 5.4152, 2.3567 (2 x BSF: 4.7135), 0.39828.
        let bearing = Bearing {
            balls: 9,
            ball_diameter_mm: 7.94,
            pitch_diameter_mm: 39.04,
            contact_angle_deg: 0.0,
        };
        for (fault, order) in [
            (BearingFault::OuterRace, 3.5848),
            (BearingFault::InnerRace, 5.4152),
            (BearingFault::Ball, 2.3567),
            (BearingFault::Cage, 0.39828),
        ] {
            assert!((bearing.order(fault) - order).abs() < 2e-3, "{fault:?}");
        }
    }

    #[test]
    fn units_convert_within_their_quantity_only() {
        let spec = WaveformSpec {
            name: MetricName::new("v").unwrap(),
            unit: "m/s2".to_owned(),
            speed: None,
            bearing: None,
            envelope_band: None,
            features: Vec::new(),
        };
        assert_eq!(spec.factor_from("m/s2"), Some(1.0));
        assert_eq!(spec.factor_from("g"), Some(9.806_65));
        assert_eq!(spec.factor_from("mm/s"), None);
        assert_eq!(spec.factor_from("furlong"), None);
    }
}
