"""The constants of reference.rs, computed with NumPy and SciPy independently of the crate: python reference.py"""

import numpy as np
from scipy.signal import hilbert
from scipy.signal.windows import hann
from scipy.stats import kurtosis, skew

RATE = 25_600.0
SHAFT_HZ = 29.7
BPFO = 9 / 2 * (1 - 7.94 / 39.04)


def noise(n):
    """Uniform in -0.5..0.5, a 64-bit congruential generator (Knuth's MMIX constants)."""
    state, out = 1, np.empty(n)
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out[i] = (state >> 11) / 2**53 - 0.5
    return out


def signal(n):
    t = np.arange(n) / RATE
    x = 0.3 + 1.2 * np.sin(2 * np.pi * SHAFT_HZ * t) + 0.5 * np.sin(2 * np.pi * 2 * SHAFT_HZ * t + 0.4)
    # Impacts at the outer race, each ringing at 4 kHz.
    since = np.mod(t, 1 / (BPFO * SHAFT_HZ))
    x += 2.0 * np.exp(-800 * since) * np.sin(2 * np.pi * 4000 * since)
    return x + 0.4 * noise(n)


def line(power, hz, bin_hz, tolerance):
    f = np.arange(len(power)) * bin_hz
    half = 2.5 * bin_hz + tolerance
    return power[(f >= hz - half) & (f < hz + half)].sum()


def report(n):
    x = signal(n)
    c = x - x.mean()
    rms = np.sqrt(np.mean(c**2))
    bin_hz = RATE / n
    f = np.fft.rfftfreq(n, 1 / RATE)
    ends = np.where((f == 0) | (f == RATE / 2), 1.0, 2.0)
    plain = ends * np.abs(np.fft.rfft(c)) ** 2 / n**2
    plain[0] = 0
    w = hann(n, sym=False)
    windowed = ends * np.abs(np.fft.rfft(c * w)) ** 2 / (n * np.sum(w**2))
    windowed[0] = 0
    print(f"n = {n}")
    print("rms", repr(rms))
    print("peak", repr(np.abs(c).max()))
    print("peak_to_peak", repr(np.ptp(x)))
    print("crest_factor", repr(np.abs(c).max() / rms))
    print("kurtosis", repr(kurtosis(x, fisher=False)))
    print("skewness", repr(skew(x)))
    band = (f >= 1000) & (f < 3000)
    print("band_rms 1-3 kHz", repr(np.sqrt(plain[band].sum())))
    print("band_share 1-3 kHz", repr(plain[band].sum() / plain.sum()))
    print("spectral_centroid", repr((f * plain).sum() / plain.sum()))
    band = (f >= 20) & (f < 1000)
    print("velocity_rms 20-1000 Hz", repr(9806.65 * np.sqrt((windowed[band] / (2 * np.pi * f[band]) ** 2).sum())))
    for order in (1, 2):
        hz = order * SHAFT_HZ
        print("order", order, repr(np.sqrt(2 * line(windowed, hz, bin_hz, 0.01 * hz))))
    spectrum = np.fft.fft(c)
    freq = np.abs(np.fft.fftfreq(n, 1 / RATE))
    spectrum[(freq < 2000) | (freq >= 6000)] = 0
    envelope = np.abs(hilbert(np.fft.ifft(spectrum).real))
    envelope -= envelope.mean()
    power = ends * np.abs(np.fft.rfft(envelope * w)) ** 2 / (n * np.sum(w**2))
    power[0] = 0
    for name, order in (("bpfo", BPFO), ("bpfi", 9 / 2 * (1 + 7.94 / 39.04))):
        hz = order * SHAFT_HZ
        print("envelope", name, repr(np.sqrt(2 * sum(line(power, h * hz, bin_hz, 0.02 * h * hz) for h in (1, 2, 3)))))


report(16_384)
report(12_800)
