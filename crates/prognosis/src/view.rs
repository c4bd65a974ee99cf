//! A row as one failure mode sees it: its own metrics, its own error codes, its own component, in the same places
//! for every mode, so that what announces one mode is learnt from the failures of all of them.
//!
//! The catalogue says which metrics move in a mode and which codes point to it. Failures are rare; a mode that has
//! failed twice is known far better by what it shares with the others.

use forecare_catalogue::{Direction, FailureMode};
use serde::{Deserialize, Serialize};

use crate::features::{CODE_FEATURES, FeatureSpec, LONG_AGO_H, METRIC_FEATURES, WINDOWS_H};

/// Values of a view.
pub(crate) const VIEW_FEATURES: usize = METRIC_FEATURES + 8;
/// A departure beyond so many spreads says no more than this one.
const DEPARTURE_MAX: f64 = 20.0;

/// What a mode looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct View {
    metrics: Vec<OwnMetric>,
    /// Indices of its codes among those of the [`FeatureSpec`].
    codes: Vec<usize>,
    /// Index of its component among those of the [`FeatureSpec`].
    component: Option<usize>,
    n_metrics: usize,
    n_codes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnMetric {
    index: usize,
    /// 1: it rises, -1: it falls, 0: either.
    sign: f64,
    /// Share among the mode's metrics; they sum to 1.
    weight: f64,
}

/// What is usual of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64)", into = "(f64, f64)")]
pub(crate) struct Usual {
    /// Median over healthy rows.
    pub(crate) median: f64,
    /// Interquartile range over healthy rows as a standard deviation, above 0.
    pub(crate) spread: f64,
}

impl From<(f64, f64)> for Usual {
    fn from((median, spread): (f64, f64)) -> Self {
        Self { median, spread }
    }
}

impl From<Usual> for (f64, f64) {
    fn from(u: Usual) -> Self {
        (u.median, u.spread)
    }
}

impl View {
    /// `None` where the catalogue names neither a metric nor a code of the mode that `spec` has.
    pub(crate) fn of(mode: &FailureMode, spec: &FeatureSpec) -> Option<Self> {
        let known = || {
            mode.signature
                .iter()
                .filter(|s| s.metric < spec.metrics.len())
        };
        let total: f64 = known().map(|s| s.weight).sum();
        let metrics: Vec<OwnMetric> = known()
            .map(|s| OwnMetric {
                index: s.metric,
                sign: match s.direction {
                    Direction::Up => 1.0,
                    Direction::Down => -1.0,
                    Direction::Any => 0.0,
                },
                weight: s.weight / total,
            })
            .collect();
        let codes: Vec<usize> = (0..spec.codes.len())
            .filter(|&c| mode.event_codes.contains(&spec.codes[c]))
            .collect();
        if metrics.is_empty() && codes.is_empty() {
            return None;
        }
        let component = mode
            .component
            .as_ref()
            .and_then(|own| spec.components.iter().position(|c| c == own.as_str()));
        Some(Self {
            metrics,
            codes,
            component,
            n_metrics: spec.metrics.len(),
            n_codes: spec.codes.len(),
        })
    }

    /// Appends the view of a row `x` (the features of the spec, all known).
    ///
    /// First the features of a metric: departures of the mode's metrics from the usual, in spreads, positive where
    /// the mode would move them. Then how many of its codes came within 24 h and 48 h (share), their number,
    /// hours since the newest and since all of them, number of other codes within 24 h, hours since its
    /// component was replaced, and the largest departure of any other metric's day.
    pub(crate) fn extend(&self, x: &[f64], usual: &[Usual], out: &mut Vec<f64>) {
        let departures = departures(x, usual, self.n_metrics);
        self.extend_by(x, &departures, out);
    }

    /// The same, with the [`departures`] of the row.
    pub(crate) fn extend_by(&self, x: &[f64], departures: &[f64], out: &mut Vec<f64>) {
        for feature in 0..METRIC_FEATURES {
            let departure: f64 = self
                .metrics
                .iter()
                .map(|m| m.weight * towards(m, feature, departures))
                .sum();
            out.push(departure);
        }
        let codes = self.n_metrics * METRIC_FEATURES;
        let of_code = |code: usize| &x[codes + code * CODE_FEATURES..][..CODE_FEATURES];
        let (mut day, mut two_days, mut number) = (0.0, 0.0, 0.0);
        let (mut newest, mut oldest) = (LONG_AGO_H, 0.0_f64);
        for &code in &self.codes {
            let f = of_code(code);
            day += f64::from(u8::from(f[0] > 0.0));
            two_days += f64::from(u8::from(f[1] > 0.0));
            number += f[1];
            newest = newest.min(f[2]);
            oldest = oldest.max(f[2]);
        }
        let n_own = self.codes.len();
        if n_own == 0 {
            oldest = LONG_AGO_H;
        }
        let others: f64 = (0..self.n_codes)
            .filter(|c| !self.codes.contains(c))
            .map(|c| of_code(c)[0])
            .sum();
        let age = self
            .component
            .map_or(0.0, |c| x[codes + self.n_codes * CODE_FEATURES + c]);
        let other_metrics = (0..self.n_metrics)
            .filter(|m| self.metrics.iter().all(|own| own.index != *m))
            .map(|m| departures[m * METRIC_FEATURES + DAY_MEAN].abs())
            .fold(0.0, f64::max);
        let share = |n: f64| n / n_own.max(1) as f64;
        out.extend([
            share(day),
            share(two_days),
            number,
            newest,
            oldest,
            others,
            age,
            other_metrics,
        ]);
    }

    /// Credits what the features of the view did to the features of the row they come from.
    pub(crate) fn credit(&self, moved: &[f64], x: &[f64], usual: &[Usual], out: &mut [f64]) {
        for (feature, by) in moved[..METRIC_FEATURES].iter().enumerate() {
            for m in &self.metrics {
                out[m.index * METRIC_FEATURES + feature] += m.weight * by;
            }
        }
        let codes = self.n_metrics * METRIC_FEATURES;
        let own = &moved[METRIC_FEATURES..];
        for (place, by) in [(0, own[0]), (1, own[1] + own[2]), (2, own[3] + own[4])] {
            for &code in &self.codes {
                out[codes + code * CODE_FEATURES + place] += by / self.codes.len() as f64;
            }
        }
        let others: Vec<usize> = (0..self.n_codes)
            .filter(|c| !self.codes.contains(c))
            .collect();
        for &code in &others {
            out[codes + code * CODE_FEATURES] += own[5] / others.len() as f64;
        }
        if let Some(component) = self.component {
            out[codes + self.n_codes * CODE_FEATURES + component] += own[6];
        }
        let largest = (0..self.n_metrics)
            .filter(|m| self.metrics.iter().all(|own| own.index != *m))
            .map(|m| m * METRIC_FEATURES + DAY_MEAN)
            .max_by(|&a, &b| {
                let departure = |at: usize| spreads(x[at], usual[at]).abs();
                departure(a).total_cmp(&departure(b))
            });
        if let Some(at) = largest {
            out[at] += own[7];
        }
    }

    /// True when it fits a row of `spec`.
    pub(crate) fn is_sound(&self, spec: &FeatureSpec) -> bool {
        self.n_metrics == spec.metrics.len()
            && self.n_codes == spec.codes.len()
            && self
                .metrics
                .iter()
                .all(|m| m.index < self.n_metrics && m.sign.is_finite() && m.weight.is_finite())
            && self.codes.iter().all(|c| *c < self.n_codes)
            && self.component.is_none_or(|c| c < spec.components.len())
    }
}

/// Place of the mean of the longest window among a metric's features.
const DAY_MEAN: usize = 2 * (WINDOWS_H.len() - 1);

/// How far the features of `n_metrics` metrics lie from the usual, in spreads: the same for every mode.
pub(crate) fn departures(x: &[f64], usual: &[Usual], n_metrics: usize) -> Vec<f64> {
    let of_metrics = x.iter().zip(usual).take(n_metrics * METRIC_FEATURES);
    of_metrics.map(|(x, usual)| spreads(*x, *usual)).collect()
}

/// A departure of a mode's metric, positive where the mode would move it.
fn towards(metric: &OwnMetric, feature: usize, departures: &[f64]) -> f64 {
    let departure = departures[metric.index * METRIC_FEATURES + feature];
    if is_deviation(feature) {
        // A metric scatters more or less, whichever way the mode moves it.
        departure
    } else if metric.sign == 0.0 {
        departure.abs()
    } else {
        metric.sign * departure
    }
}

fn is_deviation(feature: usize) -> bool {
    feature < 2 * WINDOWS_H.len() && feature % 2 == 1
}

fn spreads(x: f64, usual: Usual) -> f64 {
    ((x - usual.median) / usual.spread).clamp(-DEPARTURE_MAX, DEPARTURE_MAX)
}

#[cfg(test)]
mod tests {
    use forecare_catalogue::Catalogue;

    use super::*;

    fn modes() -> Vec<FailureMode> {
        let mode = |name: &str, rest: &str| {
            format!(
                "[[class.mode]]\nname = \"{name}\"\ntitle = \"T\"\niso14224 = \"BRD\"\nprocedure = \"P\"\n\
                 work_hours = 1\ncost_of_failure = 10\ncost_of_acting = 5\n{rest}\n"
            )
        };
        let text = format!(
            "[[class]]\nname = \"pump\"\ntitle = \"Pump\"\nhorizon_hours = 24\nsample_interval_s = 3600\n\
             [[class.metric]]\nname = \"heat\"\nunit = \"1\"\n[[class.metric]]\nname = \"flow\"\nunit = \"1\"\n{}{}{}\
             [[depot]]\nname = \"d\"\ntitle = \"D\"\n",
            mode(
                "hot",
                "component = \"a\"\nevent_codes = [\"e1\"]\nsignature = [{ metric = \"heat\", direction = \"up\" }]"
            ),
            mode(
                "dry",
                "component = \"b\"\nevent_codes = [\"e2\", \"e3\"]\nsignature = [{ metric = \"flow\", direction = \"down\" }]"
            ),
            mode("odd", ""),
        );
        Catalogue::parse(&text).unwrap().classes.remove(0).modes
    }

    fn spec() -> FeatureSpec {
        FeatureSpec {
            metrics: vec!["heat".into(), "flow".into()],
            codes: vec!["e1".into(), "e2".into(), "e3".into()],
            components: vec!["a".into(), "b".into()],
            own_usual_at: None,
        }
    }

    const N: usize = 2 * METRIC_FEATURES + 3 * CODE_FEATURES + 2;

    fn usual() -> Vec<Usual> {
        vec![
            Usual {
                median: 10.0,
                spread: 2.0
            };
            N
        ]
    }

    fn seen(mode: usize, x: &[f64]) -> Vec<f64> {
        let mut out = Vec::new();
        View::of(&modes()[mode], &spec())
            .unwrap()
            .extend(x, &usual(), &mut out);
        assert_eq!(out.len(), VIEW_FEATURES);
        out
    }

    #[test]
    fn two_modes_that_are_announced_alike_look_alike() {
        let usual_row = || {
            let mut x = vec![10.0; N];
            for code in 0..3 {
                x[2 * METRIC_FEATURES + code * CODE_FEATURES..][..CODE_FEATURES]
                    .copy_from_slice(&[0.0, 0.0, 720.0]);
            }
            x
        };
        let mut hot = usual_row();
        hot[DAY_MEAN] = 16.0;
        hot[2 * METRIC_FEATURES..][..CODE_FEATURES].copy_from_slice(&[1.0, 1.0, 5.0]);
        let mut dry = usual_row();
        dry[METRIC_FEATURES + DAY_MEAN] = 4.0;
        for code in [1, 2] {
            dry[2 * METRIC_FEATURES + code * CODE_FEATURES..][..CODE_FEATURES]
                .copy_from_slice(&[1.0, 1.0, 5.0]);
        }
        let (a, b) = (seen(0, &hot), seen(1, &dry));
        assert_eq!(a[DAY_MEAN], 3.0);
        // The number of codes differs, as one mode has two of them.
        let same: Vec<usize> = (0..VIEW_FEATURES).filter(|&i| a[i] == b[i]).collect();
        let all_but_number: Vec<usize> = (0..VIEW_FEATURES)
            .filter(|&i| i != METRIC_FEATURES + 2)
            .collect();
        assert_eq!(same, all_but_number);
        assert_eq!(seen(1, &hot)[DAY_MEAN], 0.0);
        assert_eq!(seen(1, &hot)[METRIC_FEATURES + 7], 3.0);
    }

    #[test]
    fn a_mode_without_signs_has_no_view() {
        assert_eq!(View::of(&modes()[2], &spec()), None);
    }

    #[test]
    fn credit_goes_to_the_modes_own_features_and_loses_nothing() {
        let x = vec![12.0; N];
        let moved = vec![1.0; VIEW_FEATURES];
        let view = View::of(&modes()[1], &spec()).unwrap();
        let mut out = vec![0.0; N];
        view.credit(&moved, &x, &usual(), &mut out);
        let sum: f64 = out.iter().sum();
        assert!((sum - VIEW_FEATURES as f64).abs() < 1e-9, "{sum}");
        // Its metric is flow, its codes are e2 and e3.
        assert_eq!(out[METRIC_FEATURES], 1.0);
        assert_eq!(out[2 * METRIC_FEATURES + CODE_FEATURES + 1], 1.0);
        assert_eq!(out[N - 1], 1.0);
    }
}
