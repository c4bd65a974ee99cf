//! Operating regimes, and what is normal in each.
//!
//! A reading at take-off and one at cruise differ more than a healthy and a worn machine do. So the operating
//! point is clustered at training, and every other metric is told in deviations from its mean in its regime.

use serde::{Deserialize, Serialize};

/// Most regimes looked for.
const REGIMES_MAX: usize = 12;
/// Regimes count only where they leave at most this share of the operating point's variance: a load that
/// varies without steps has none (twelve cuts of an even spread leave 0.7 %).
const SPREAD_MAX: f64 = 0.001;
/// Most rounds of Lloyd's iteration; it ends earlier when nothing moves.
const ROUNDS_MAX: usize = 50;
/// A regime needs so many readings of a metric to have a mean and deviation of its own.
const READINGS_MIN: usize = 30;
/// A metric whose deviation is below this share of its magnitude is constant: its rest is rounding.
const CONSTANT_SHARE: f64 = 1e-9;
/// Standard values beyond this count as this: a sensor that is broken, not a machine.
const STANDARD_MAX: f64 = 20.0;

/// Centres of the operating point, in deviations of its metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Regimes {
    /// Places of the operating point's metrics in a row.
    metrics: Vec<usize>,
    /// Mean and deviation of each.
    scale: Vec<(f64, f64)>,
    /// At least one.
    centres: Vec<Vec<f64>>,
}

impl Regimes {
    /// The fewest clusters (k-means, seeded by the farthest point, Gonzalez 1985) that leave at most one
    /// per mille of the variance of the operating point; one regime where up to twelve do not.
    pub(crate) fn learn(rows: &[&[Option<f64>]], operating: &[usize]) -> Self {
        let mut metrics = Vec::new();
        let mut scale = Vec::new();
        for &metric in operating {
            let moments = Moments::of(rows.iter().filter_map(|row| value(row, metric)));
            if let Some(moments) = moments.varying() {
                metrics.push(metric);
                scale.push(moments);
            }
        }
        let mut regimes = Self {
            centres: vec![vec![0.0; metrics.len()]],
            metrics,
            scale,
        };
        if regimes.metrics.is_empty() {
            return regimes;
        }
        let points: Vec<Vec<f64>> = rows.iter().filter_map(|row| regimes.point(row)).collect();
        let whole: f64 = points.iter().flatten().map(|v| v * v).sum();
        let mut seeds = regimes.centres.clone();
        for k in 2..=REGIMES_MAX {
            if k == 2 {
                // The mean of everything is no point: begin with the first.
                seeds = points.first().cloned().into_iter().collect();
            }
            let Some(far) = farthest(&points, &seeds) else {
                break;
            };
            seeds.push(far);
            let (centres, left) = lloyd(&points, &seeds);
            if left <= SPREAD_MAX * whole {
                regimes.centres = centres;
                break;
            }
        }
        regimes
    }

    pub(crate) fn count(&self) -> usize {
        self.centres.len()
    }

    pub(crate) fn is_sound(&self, n_metrics: usize) -> bool {
        self.metrics.iter().all(|m| *m < n_metrics)
            && self.scale.len() == self.metrics.len()
            && self.scale.iter().all(|(_, sd)| *sd > 0.0)
            && !self.centres.is_empty()
            && self.centres.iter().all(|c| c.len() == self.metrics.len())
    }

    /// The operating point in deviations; `None` where part of it is missing.
    fn point(&self, row: &[Option<f64>]) -> Option<Vec<f64>> {
        self.metrics
            .iter()
            .zip(&self.scale)
            .map(|(&metric, (mean, deviation))| value(row, metric).map(|v| (v - mean) / deviation))
            .collect()
    }

    /// The regime of a row; `None` where part of the operating point is missing.
    pub(crate) fn of(&self, row: &[Option<f64>]) -> Option<usize> {
        let point = self.point(row)?;
        Some(nearest(&point, &self.centres).0)
    }
}

fn value(row: &[Option<f64>], metric: usize) -> Option<f64> {
    row.get(metric).copied().flatten().filter(|v| v.is_finite())
}

/// Place of the nearest centre and the squared distance; the first of equals.
fn nearest(point: &[f64], centres: &[Vec<f64>]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (i, centre) in centres.iter().enumerate() {
        let distance: f64 = point
            .iter()
            .zip(centre)
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        if distance < best.1 {
            best = (i, distance);
        }
    }
    best
}

fn farthest(points: &[Vec<f64>], centres: &[Vec<f64>]) -> Option<Vec<f64>> {
    let mut best: Option<(f64, &Vec<f64>)> = None;
    for point in points {
        let (_, distance) = nearest(point, centres);
        if distance > best.map_or(0.0, |b| b.0) {
            best = Some((distance, point));
        }
    }
    best.map(|(_, point)| point.clone())
}

/// Lloyd's iteration: the centres, and the sum of squared distances to them.
fn lloyd(points: &[Vec<f64>], seeds: &[Vec<f64>]) -> (Vec<Vec<f64>>, f64) {
    let mut centres = seeds.to_vec();
    let mut left = f64::INFINITY;
    for _ in 0..ROUNDS_MAX {
        let mut sums = vec![(0.0, vec![0.0; centres[0].len()]); centres.len()];
        let mut total = 0.0;
        for point in points {
            let (at, distance) = nearest(point, &centres);
            total += distance;
            sums[at].0 += 1.0;
            for (sum, v) in sums[at].1.iter_mut().zip(point) {
                *sum += v;
            }
        }
        let settled = total >= left;
        left = total;
        if settled {
            break;
        }
        for (centre, (n, sum)) in centres.iter_mut().zip(sums) {
            if n > 0.0 {
                *centre = sum.into_iter().map(|s| s / n).collect();
            }
        }
    }
    (centres, left)
}

/// Number, mean and sum of squared departures (Welford 1962).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut moments = Self::default();
        for v in values {
            moments.n += 1.0;
            let delta = v - moments.mean;
            moments.mean += delta / moments.n;
            moments.m2 += delta * (v - moments.mean);
        }
        moments
    }

    /// Mean and deviation, where the values vary at all.
    fn varying(self) -> Option<(f64, f64)> {
        let deviation = (self.m2 / self.n.max(1.0)).sqrt();
        (deviation > CONSTANT_SHARE * (1.0 + self.mean.abs())).then_some((self.mean, deviation))
    }
}

/// Regimes, and mean and deviation of the metrics in each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standard {
    regimes: Regimes,
    /// Places in a row of the metrics used.
    pub(crate) metrics: Vec<usize>,
    /// Per regime and metric used: mean and deviation.
    normal: Vec<Vec<(f64, f64)>>,
}

impl Standard {
    /// What is normal: means and deviations over all rows of a regime, worn machines included, so that a
    /// deviation is the spread over a life. Metrics that do not vary within any regime are left out.
    pub(crate) fn learn(rows: &[&[Option<f64>]], n_metrics: usize, operating: &[usize]) -> Self {
        let regimes = Regimes::learn(rows, operating);
        let of_row: Vec<Option<usize>> = rows.iter().map(|row| regimes.of(row)).collect();
        let mut metrics = Vec::new();
        let mut normal = vec![Vec::new(); regimes.count()];
        for metric in (0..n_metrics).filter(|m| !operating.contains(m)) {
            let per_regime: Vec<Moments> = (0..regimes.count())
                .map(|regime| {
                    Moments::of(
                        rows.iter()
                            .zip(&of_row)
                            .filter(|(_, r)| **r == Some(regime))
                            .filter_map(|(row, _)| value(row, metric)),
                    )
                })
                .collect();
            // A regime with too few readings of its own borrows from the one with most.
            let Some(richest) = per_regime
                .iter()
                .copied()
                .max_by(|a, b| a.n.total_cmp(&b.n))
                .and_then(Moments::varying)
            else {
                continue;
            };
            metrics.push(metric);
            for (into, moments) in normal.iter_mut().zip(per_regime) {
                let own = (moments.n >= READINGS_MIN as f64).then_some(moments);
                into.push(match own {
                    // Constant in this regime alone: any deviation will do, its values say nothing.
                    Some(m) => m.varying().unwrap_or((m.mean, richest.1)),
                    None => richest,
                });
            }
        }
        Self {
            regimes,
            metrics,
            normal,
        }
    }

    pub(crate) fn n_regimes(&self) -> usize {
        self.regimes.count()
    }

    /// The regime of a row; `None` where part of the operating point is missing.
    pub(crate) fn regime_of(&self, row: &[Option<f64>]) -> Option<usize> {
        self.regimes.of(row)
    }

    pub(crate) fn is_sound(&self, n_metrics: usize) -> bool {
        self.regimes.is_sound(n_metrics)
            && self.metrics.iter().all(|m| *m < n_metrics)
            && self.normal.len() == self.regimes.count()
            && self.normal.iter().all(|n| n.len() == self.metrics.len())
            && self.normal.iter().flatten().all(|(_, sd)| *sd > 0.0)
    }

    /// The metrics used, in deviations from normal in the row's regime; all unknown where part of the
    /// operating point is missing.
    pub(crate) fn standardise(&self, row: &[Option<f64>], out: &mut Vec<Option<f64>>) {
        out.clear();
        let Some(normal) = self.regimes.of(row).map(|r| &self.normal[r]) else {
            out.resize(self.metrics.len(), None);
            return;
        };
        out.extend(
            self.metrics
                .iter()
                .zip(normal)
                .map(|(&metric, (mean, sd))| {
                    value(row, metric).map(|v| ((v - mean) / sd).clamp(-STANDARD_MAX, STANDARD_MAX))
                }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two operating metrics and one that follows the regime and wears.
    fn rows(points: &[(f64, f64)]) -> Vec<Vec<Option<f64>>> {
        (0..400)
            .map(|i| {
                let (a, b) = points[i % points.len()];
                let jitter = f64::from(u8::try_from(i * 7 % 13).unwrap()) / 1300.0;
                let wear = i as f64 / 400.0;
                vec![
                    Some(a + jitter),
                    Some(b),
                    Some(100.0 * a + b + wear),
                    Some(5.0),
                ]
            })
            .collect()
    }

    fn learn(rows: &[Vec<Option<f64>>]) -> Standard {
        let rows: Vec<&[Option<f64>]> = rows.iter().map(Vec::as_slice).collect();
        Standard::learn(&rows, 4, &[0, 1])
    }

    #[test]
    fn distinct_operating_points_are_regimes_and_jitter_is_none() {
        let four = [(0.0, 0.0), (10.0, 0.25), (20.0, 0.7), (42.0, 0.84)];
        assert_eq!(learn(&rows(&four)).n_regimes(), 4);
        assert_eq!(learn(&rows(&[(1.0, 0.5)])).n_regimes(), 1);
    }

    #[test]
    fn within_a_regime_wear_is_what_is_left() {
        let rows = rows(&[(0.0, 0.0), (10.0, 0.25), (20.0, 0.7)]);
        let standard = learn(&rows);
        assert_eq!(
            standard.metrics,
            [2],
            "the constant and the operating point are left out"
        );
        let mut z = Vec::new();
        let mut of = |row: usize| {
            standard.standardise(&rows[row], &mut z);
            z[0].unwrap()
        };
        assert!(of(0) < -1.5 && of(1) < -1.5 && of(397) > 1.5 && of(398) > 1.5);
        assert!((of(200) - of(201)).abs() < 0.05);
    }

    #[test]
    fn without_its_operating_point_a_row_says_nothing() {
        let rows = rows(&[(0.0, 0.0), (10.0, 0.25)]);
        let standard = learn(&rows);
        let mut z = Vec::new();
        standard.standardise(&[None, Some(0.0), Some(1.0), Some(5.0)], &mut z);
        assert_eq!(z, [None]);
    }
}
