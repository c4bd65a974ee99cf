//! Quantiles of the Beta distribution.

/// The value below which a Beta(`a`, `b`) variable lies with probability `mass`; `a`, `b` above 0.
///
/// Bisection on the regularised incomplete beta function: slow but certain, and only shown to people.
pub(crate) fn quantile(a: f64, b: f64, mass: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if cumulative(a, b, middle) < mass {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Regularised incomplete beta function I_x(a, b), by the continued fraction of Numerical Recipes, 3rd
/// edition, section 6.4.
fn cumulative(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges fast on its own side of the mean only.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

/// The continued fraction of [`cumulative`], evaluated by Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-30 { 1e-30 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for step in 1..300 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-12 {
            break;
        }
    }
    h
}

/// Logarithm of the gamma function, `x` above 0 (Lanczos, g = 5, n = 6; error below 2e-10).
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 6] = [
        76.180_091_729_471_46,
        -86.505_320_329_416_77,
        24.014_098_240_830_91,
        -1.231_739_572_450_155,
        0.001_208_650_973_866_179,
        -0.000_005_395_239_384_953,
    ];
    let base = x + 5.5;
    let mut series = 1.000_000_000_190_015;
    let mut y = x;
    for coefficient in COEFFICIENTS {
        y += 1.0;
        series += coefficient / y;
    }
    (x + 0.5) * base.ln() - base + (2.506_628_274_631_000_5 * series / x).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_closed_forms() {
        // Beta(1, 1) is uniform; Beta(2, 1) has the distribution function x^2; Beta(1, 3) 1 - (1-x)^3.
        for mass in [0.05, 0.25, 0.5, 0.9, 0.975] {
            assert!((quantile(1.0, 1.0, mass) - mass).abs() < 1e-8);
            assert!((quantile(2.0, 1.0, mass) - mass.sqrt()).abs() < 1e-8);
            assert!((quantile(1.0, 3.0, mass) - (1.0 - (1.0 - mass).cbrt())).abs() < 1e-8);
        }
    }
}
