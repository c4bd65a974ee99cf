//! The envelope: impacts of a damaged bearing ring the structure at its resonance, over and over; the envelope
//! of that ringing repeats at the fault's frequency. Randall and Antoni, MSSP 25 (2011), section 5.

use forecare_catalogue::Band;
use realfft::num_complex::Complex;

use crate::plans::Plan;
use crate::spectrum::{Spectrum, windowed};

/// Spectrum of the envelope of what lies in `band` of a waveform whose transform is `bins`, in the waveform's unit.
pub(crate) fn envelope(bins: &[Complex<f64>], plan: &Plan, rate_hz: f64, band: Band) -> Spectrum {
    let bin_hz = rate_hz / plan.n as f64;
    let inside = |k: usize| (band.from_hz..band.to_hz).contains(&(k as f64 * bin_hz));
    // The analytic signal: its real part is the filtered waveform, its imaginary part the same a quarter turn later.
    let mut in_phase = vec![Complex::new(0.0, 0.0); bins.len()];
    let mut quadrature = in_phase.clone();
    for (k, bin) in bins.iter().enumerate() {
        // Bins without a mirror image have no quarter turn.
        if inside(k) && k > 0 && 2 * k < plan.n {
            in_phase[k] = *bin;
            quadrature[k] = Complex::new(bin.im, -bin.re);
        }
    }
    let in_phase = back(&mut in_phase, plan);
    let quadrature = back(&mut quadrature, plan);
    let mut envelope: Vec<f64> = in_phase
        .iter()
        .zip(&quadrature)
        .map(|(re, im)| re.hypot(*im))
        .collect();
    let mean = envelope.iter().sum::<f64>() / plan.n as f64;
    for value in &mut envelope {
        *value -= mean;
    }
    windowed(&envelope, plan, rate_hz)
}

fn back(bins: &mut [Complex<f64>], plan: &Plan) -> Vec<f64> {
    let mut output = plan.inverse.make_output_vec();
    plan.inverse
        .process(bins, &mut output)
        .unwrap_or_else(|_| unreachable!("lengths are the plan's, and the ends are zero"));
    let scale = 1.0 / plan.n as f64;
    for value in &mut output {
        *value *= scale;
    }
    output
}
