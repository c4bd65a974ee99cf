//! Energies by frequency, from one real transform.

use realfft::num_complex::Complex;

use crate::plans::Plan;

/// Half the width of a tone's peak under a Hann window, bins, wherever between two bins the tone lies.
const LOBE_BINS: f64 = 2.5;

/// Energy per bin of a waveform without its mean: its sum is the mean square (Parseval), up to the window.
pub(crate) struct Spectrum {
    power: Vec<f64>,
    /// Distance of two bins, Hz.
    pub(crate) bin_hz: f64,
}

impl Spectrum {
    /// From the bins 0 to n/2 of a real transform of `n` values at `rate_hz`; `weights` is the sum of the squared
    /// window, `n` without one.
    pub(crate) fn new(bins: &[Complex<f64>], n: usize, rate_hz: f64, weights: f64) -> Self {
        let scale = 1.0 / (n as f64 * weights);
        let mut power: Vec<f64> = bins.iter().map(|x| 2.0 * scale * x.norm_sqr()).collect();
        // Only these two have no mirror image; the mean is none of a waveform's energy.
        power[0] = 0.0;
        if n.is_multiple_of(2)
            && let Some(last) = power.last_mut()
        {
            *last /= 2.0;
        }
        Self {
            power,
            bin_hz: rate_hz / n as f64,
        }
    }

    /// Bins with their frequencies, Hz, and energies, without the mean's.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (f64, f64)> {
        let bin = |(k, power): (usize, &f64)| (k as f64 * self.bin_hz, *power);
        self.power.iter().enumerate().skip(1).map(bin)
    }

    /// Those of at least `from_hz` and below `to_hz`.
    pub(crate) fn between(&self, from_hz: f64, to_hz: f64) -> impl Iterator<Item = (f64, f64)> {
        self.bins()
            .skip_while(move |(hz, _)| *hz < from_hz)
            .take_while(move |(hz, _)| *hz < to_hz)
    }

    /// Mean square of what lies in a band.
    pub(crate) fn energy(&self, from_hz: f64, to_hz: f64) -> f64 {
        self.between(from_hz, to_hz).map(|(_, power)| power).sum()
    }

    /// Mean frequency by energy, Hz.
    pub(crate) fn centroid_hz(&self) -> f64 {
        let (moment, energy) = self.bins().fold((0.0, 0.0), |(m, e), (hz, power)| {
            (m + hz * power, e + power)
        });
        moment / energy
    }

    /// Mean square of the integral over time of what lies in a band above 0 Hz: dividing by the angular frequency
    /// integrates.
    pub(crate) fn integrated_energy(&self, from_hz: f64, to_hz: f64) -> f64 {
        self.between(from_hz, to_hz)
            .map(|(hz, power)| power / (std::f64::consts::TAU * hz).powi(2))
            .sum()
    }

    /// The bins of a tone at `hz`, give or take `tolerance_hz`, as edges of [`Spectrum::between`].
    pub(crate) fn line(&self, hz: f64, tolerance_hz: f64) -> (f64, f64) {
        let half = LOBE_BINS * self.bin_hz + tolerance_hz;
        (hz - half, hz + half)
    }
}

/// Spectrum of the whole waveform as it is: energies of bands add up exactly.
pub(crate) fn plain(bins: &[Complex<f64>], plan: &Plan, rate_hz: f64) -> Spectrum {
    Spectrum::new(bins, plan.n, rate_hz, plan.n as f64)
}

/// Spectrum under a Hann window: tones stay within [`LOBE_BINS`], and what is slow does not leak upwards.
pub(crate) fn windowed(values: &[f64], plan: &Plan, rate_hz: f64) -> Spectrum {
    let mut input: Vec<f64> = values.iter().zip(&plan.hann).map(|(x, w)| x * w).collect();
    let bins = transform(&mut input, plan);
    Spectrum::new(&bins, plan.n, rate_hz, 0.375 * plan.n as f64)
}

/// Bins 0 to n/2 of the real transform; `input` is used up.
pub(crate) fn transform(input: &mut [f64], plan: &Plan) -> Vec<Complex<f64>> {
    let mut bins = plan.forward.make_output_vec();
    plan.forward
        .process(input, &mut bins)
        .unwrap_or_else(|_| unreachable!("buffers have the plan's lengths"));
    bins
}
