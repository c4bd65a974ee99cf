//! Why a feature has no value.

use std::fmt;

/// Why a feature could not be computed of this waveform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Missing {
    /// The waveform is constant: there is nothing to divide by.
    Constant,
    /// The sample has no speed of the shaft.
    NoSpeed,
    /// The shaft stands still.
    AtRest,
    /// A frequency is so low that the waveform is too short for it.
    TooShort {
        /// The frequency, Hz.
        hz: f64,
        /// The shortest waveform that would do, s.
        needed_s: f64,
        /// True where the frequency follows from a speed that varies.
        varies: bool,
    },
    /// A frequency is not below what the waveform holds: half its sampling rate or, for a frequency of the
    /// envelope, the width of the envelope's band.
    TooHigh {
        /// The frequency, Hz.
        hz: f64,
        /// What the waveform holds, Hz.
        below_hz: f64,
        /// True where the frequency follows from a speed that varies.
        varies: bool,
    },
    /// The samples are so large that the feature is not a finite number.
    NotFinite,
}

impl Missing {
    /// True where it comes and goes with the machine's operation; false where somebody has to mend something.
    #[must_use]
    pub fn is_operation(self) -> bool {
        match self {
            Self::Constant | Self::AtRest => true,
            Self::TooShort { varies, .. } | Self::TooHigh { varies, .. } => varies,
            Self::NoSpeed | Self::NotFinite => false,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Constant => f.write_str("the waveform is constant"),
            Self::NoSpeed => f.write_str("the sample has no speed of the shaft"),
            Self::AtRest => f.write_str("the shaft stands still"),
            Self::TooShort { hz, needed_s, .. } => {
                write!(f, "{hz:.1} Hz needs a waveform of at least {needed_s:.3} s")
            }
            Self::TooHigh { hz, below_hz, .. } => write!(
                f,
                "{hz:.1} Hz is beyond the {below_hz:.1} Hz that the waveform holds"
            ),
            Self::NotFinite => f.write_str("the samples are too large to compute with"),
        }
    }
}
