//! Remaining useful life from the trend of health.

use forecare_domain::{Rul, Timestamp};
use serde::{Deserialize, Serialize};

/// Health (0 to 100) at which a machine counts as failed.
pub const FAILURE_HEALTH: f64 = 20.0;

/// Points remembered; when full, the older half of the resolution goes.
const POINTS_MAX: usize = 48;
/// Fewer points say nothing.
const POINTS_MIN: usize = 8;
/// Significance asked of the trend (Mann-Kendall, one-sided), standard deviations: 1 in 30,000 by chance if
/// points were independent. Health is not, hence so strict.
const SIGNIFICANCE_Z: f64 = 4.0;
/// Least drop of health over the points, so that a significant but tiny drift says nothing.
const DROP_MIN: f64 = 3.0;
/// 10 % and 90 % point of the normal distribution, standard deviations.
const Z_90: f64 = 1.281_551_565_545;
/// Longest remaining life given, hours (10 years): beyond, a trend is no basis.
const LIFE_HOURS_MAX: f64 = 87_600.0;

/// The mean health over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Point {
    /// Mean time, epoch milliseconds.
    at_ms: f64,
    health: f64,
    n: f64,
}

impl Point {
    fn merged(self, other: Self) -> Self {
        let n = self.n + other.n;
        Self {
            at_ms: self.at_ms + (other.at_ms - self.at_ms) * (other.n / n),
            health: self.health + (other.health - self.health) * (other.n / n),
            n,
        }
    }
}

/// Follows the health of one device. Bounded (48 points), serialisable bit for bit.
///
/// Health is averaged over stretches of equal length; when 48 are full, neighbours are merged, so
/// that the points always span the time since the last reset (a repair). The slope is the median of the slopes
/// between all pairs (Theil 1950, Sen 1968), its interval Sen's, its significance Mann and Kendall's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrendState {
    points: Vec<Point>,
    /// Values per full point.
    per_point: f64,
    /// The trend as of the last full point.
    trend: Option<Trend>,
    last_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Trend {
    /// Hours to failure at `at_ms`: one in ten earlier, median, one in ten later.
    hours: [f64; 3],
    at_ms: f64,
}

impl Default for TrendState {
    fn default() -> Self {
        Self::new()
    }
}

impl TrendState {
    /// Of a device never heard of.
    #[must_use]
    pub fn new() -> Self {
        Self {
            points: Vec::new(),
            per_point: 1.0,
            trend: None,
            last_ms: i64::MIN,
        }
    }

    /// Takes the health (0 to 100) at `ts`. Values come in time order; older ones and non-finite ones change
    /// nothing.
    pub fn push(&mut self, ts: Timestamp, health: f64) {
        let ms = ts.as_millis();
        if !health.is_finite() || ms <= self.last_ms {
            return;
        }
        self.last_ms = ms;
        let point = Point {
            at_ms: ms as f64,
            health,
            n: 1.0,
        };
        match self.points.last_mut() {
            Some(open) if open.n < self.per_point => *open = open.merged(point),
            _ => {
                if self.points.len() == POINTS_MAX {
                    self.points = self
                        .points
                        .chunks(2)
                        .map(|pair| {
                            pair.iter()
                                .copied()
                                .reduce(Point::merged)
                                .unwrap_or(pair[0])
                        })
                        .collect();
                    self.per_point *= 2.0;
                }
                self.points.push(point);
            }
        }
        if self.points.last().is_some_and(|p| p.n >= self.per_point) {
            self.trend = trend_of(&self.points);
        }
    }

    /// Forgets everything: the machine was repaired.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Hours from the newest value to [`FAILURE_HEALTH`], or that there is no trend towards it.
    #[must_use]
    pub fn rul(&self) -> Rul {
        let Some(trend) = self.trend else {
            return Rul::NoTrend;
        };
        let since_h = (self.last_ms as f64 - trend.at_ms) / 3_600_000.0;
        let [p10_hours, p50_hours, p90_hours] = trend.hours.map(|h| (h - since_h).max(0.0));
        Rul::Trend {
            p10_hours,
            p50_hours,
            p90_hours,
        }
    }
}

/// The most significant trend among all points, their newer half and their newest quarter: decay often begins late.
fn trend_of(points: &[Point]) -> Option<Trend> {
    let n = points.len();
    [n, n / 2, n / 4]
        .into_iter()
        .filter(|&len| len >= POINTS_MIN)
        .filter_map(|len| fit(&points[n - len..]))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, trend)| trend)
}

/// Significance (standard deviations) and trend, where there is one.
fn fit(points: &[Point]) -> Option<(f64, Trend)> {
    // Most machines are well, and the pairs are many: look first whether health fell at all.
    let third = points.len() / 3;
    let mean = |part: &[Point]| part.iter().map(|p| p.health).sum::<f64>() / part.len() as f64;
    if mean(&points[..third]) - mean(&points[points.len() - third..]) < DROP_MIN / 2.0 {
        return None;
    }
    let n = points.len() as f64;
    let newest = points.last()?;
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    let mut score = 0.0;
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            let hours = (b.at_ms - a.at_ms) / 3_600_000.0;
            if hours > 0.0 {
                slopes.push((b.health - a.health) / hours);
            }
            if b.health < a.health {
                score += 1.0;
            } else if b.health > a.health {
                score -= 1.0;
            }
        }
    }
    let sigma = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let z = (score - 1.0) / sigma;
    if z < SIGNIFICANCE_Z.min(0.9 * (n * (n - 1.0) / 2.0 - 1.0) / sigma) || slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let slope = quantile(&slopes, 0.5);
    let span_h = (newest.at_ms - points[0].at_ms) / 3_600_000.0;
    if -slope * span_h < DROP_MIN {
        return None;
    }
    // Sen's interval: the pairs' rank spreads as Kendall's score does.
    let spread = Z_90 * sigma / slopes.len() as f64 / 2.0;
    let steep = quantile(&slopes, 0.5 - spread);
    let shallow = quantile(&slopes, 0.5 + spread);
    // Level at the newest point: median of what every point says of it.
    let mut levels: Vec<f64> = points
        .iter()
        .map(|p| p.health + slope * (newest.at_ms - p.at_ms) / 3_600_000.0)
        .collect();
    levels.sort_by(f64::total_cmp);
    let level = quantile(&levels, 0.5);
    let noise = (quantile(&levels, 0.9) - quantile(&levels, 0.1)) / 2.0 / n.sqrt();
    let hours = |level: f64, slope: f64| {
        if level <= FAILURE_HEALTH {
            0.0
        } else if slope >= 0.0 {
            LIFE_HOURS_MAX
        } else {
            ((level - FAILURE_HEALTH) / -slope).min(LIFE_HOURS_MAX)
        }
    };
    let p50 = hours(level, slope);
    Some((
        z,
        Trend {
            hours: [
                hours(level - noise, steep).min(p50),
                p50,
                hours(level + noise, shallow).max(p50),
            ],
            at_ms: newest.at_ms,
        },
    ))
}

/// Linear interpolation between the order statistics; `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length"
    )]
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let share = place - below as f64;
    sorted[below] + (sorted[above] - sorted[below]) * share
}
