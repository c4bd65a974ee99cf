//! The features of one waveform against those that NumPy and SciPy compute: see `reference.py`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;

fn signal(n: usize) -> Vec<f64> {
    let mut noise = noise();
    sampled(n, |t| {
        let shaft = sine(1.2, SHAFT_HZ, t);
        let twice = 0.5 * (std::f64::consts::TAU * 2.0 * SHAFT_HZ * t + 0.4).sin();
        0.3 + shaft + twice + impacts(2.0, BPFO * SHAFT_HZ, t) + 0.4 * noise()
    })
}

/// NumPy 2.4.6, SciPy 1.17.1.
#[test]
fn features_are_those_of_numpy_and_scipy() {
    let names = [
        "rms", "peak", "p2p", "crest", "kurt", "skew", "rms_1_3k", "e1_3k", "centroid", "velocity",
        "one_x", "two_x", "bpfo", "bpfi",
    ];
    let of_16_384 = [
        0.998_168_580_146_890_5,
        3.382_743_044_899_496_6,
        6.555_769_781_188_703,
        3.388_949_634_541_384,
        2.321_132_966_609_657_6,
        -0.188_000_099_402_403_17,
        0.091_528_424_567_080_19,
        0.008_408_222_272_121_521,
        647.188_202_904_698,
        45.739_397_712_646_23,
        1.203_463_266_069_585_9,
        0.499_937_012_297_637_26,
        0.507_121_851_428_506_5,
        0.188_365_660_596_996_53,
    ];
    let of_12_800 = [
        0.999_268_611_125_695,
        3.390_863_467_822_624,
        6.555_769_781_188_703,
        3.393_345_322_838_423,
        2.335_303_451_572_501,
        -0.205_227_570_437_582_9,
        0.093_534_454_599_71,
        0.008_761_505_645_979_007,
        650.421_589_581_645_7,
        45.798_111_574_113_555,
        1.204_215_614_977_482_8,
        0.498_822_593_209_329_3,
        0.507_151_389_764_306_6,
        0.189_230_124_655_401_12,
    ];
    for (n, expected) in [(16_384, of_16_384), (12_800, of_12_800)] {
        let feature = features(&signal(n));
        for (name, expected) in names.into_iter().zip(expected) {
            let got = feature(name);
            let off = (got - expected).abs() / f64::abs(expected);
            assert!(off < 1e-9, "{name} of {n}: {got}, not {expected}");
        }
    }
}
