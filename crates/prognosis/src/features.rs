//! What a model sees of a device: windows of its metrics, its error codes, the age of its components.

use std::collections::BTreeMap;

use forecare_domain::{ComponentName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::own::{AXES_MAX, OwnUsual};

/// The windows of means and deviations, hours.
pub const WINDOWS_H: [u32; 4] = [3, 6, 12, 24];

/// Length of the ring, hours: the longest window.
const RING_H: i64 = 24;
const RING_SLOTS: usize = 24;
const HOUR_MS: i64 = 3_600_000;
/// Distances between readings that are remembered.
const GAPS: usize = 3;
/// Codes remembered per device; the one silent for longest gives way.
const CODES_MAX: usize = 32;
/// Times remembered per code: counts saturate here.
const TIMES_MAX: usize = 8;
/// Components remembered per device; the one replaced longest ago gives way.
const COMPONENTS_MAX: usize = 32;
/// Longest code kept, bytes; longer ones are no code of a model.
const CODE_BYTES_MAX: usize = 128;
/// Beyond this a reading counts as this: no machine measures it, and its square must stay finite.
const VALUE_MAX: f64 = 1e140;
/// "A long time ago, or never" for error codes, hours.
pub(crate) const LONG_AGO_H: f64 = 720.0;
/// Windows over which error codes are counted, hours.
const COUNT_WINDOWS_H: [f64; 2] = [24.0, 48.0];
/// Features of a metric: mean and deviation per window, slope, latest value.
pub(crate) const METRIC_FEATURES: usize = 2 * WINDOWS_H.len() + 2;
/// Features of an error code: counts per window, hours since.
pub(crate) const CODE_FEATURES: usize = COUNT_WINDOWS_H.len() + 1;
/// Places in [`WINDOWS_H`] of those that are compared with what is usual for the machine itself: 6 h and 24 h.
const OWN_WINDOWS: [usize; 2] = [1, 3];
/// Place of the slope among a metric's features; the latest value comes behind it.
const SLOPE: usize = 2 * WINDOWS_H.len();
/// A deviation needs so many values.
const DEVIATION_VALUES_MIN: f64 = 3.0;
/// A slope needs so many hours with values.
const SLOPE_HOURS_MIN: f64 = 4.0;

/// Number, mean and sum of squared departures; merged as in Chan, Golub, LeVeque (1979).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "(f64, f64, f64)", into = "(f64, f64, f64)")]
struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
}

impl From<(f64, f64, f64)> for Moments {
    fn from((n, mean, m2): (f64, f64, f64)) -> Self {
        Self { n, mean, m2 }
    }
}

impl From<Moments> for (f64, f64, f64) {
    fn from(m: Moments) -> Self {
        (m.n, m.mean, m.m2)
    }
}

impl Moments {
    fn merge(&mut self, other: Self) {
        self.merge_with(other, &mut Shares::default());
    }

    /// Metrics that are read together have the same numbers: `shares` are those of the last one.
    fn merge_with(&mut self, other: Self, shares: &mut Shares) {
        if other.n == 0.0 {
            return;
        }
        if self.n == 0.0 {
            *self = other;
            return;
        }
        if shares.own_n != self.n || shares.other_n != other.n {
            *shares = Shares::of(self.n, other.n);
        }
        self.merge_by(other, shares);
    }

    /// Merges readings whose numbers `shares` are of.
    fn merge_by(&mut self, other: Self, shares: &Shares) {
        let delta = other.mean - self.mean;
        self.mean += delta * shares.of_other;
        self.m2 += other.m2 + delta * delta * shares.of_square;
        self.n = shares.n;
    }

    fn deviation(self) -> f64 {
        if self.n < DEVIATION_VALUES_MIN {
            f64::NAN
        } else {
            (self.m2 / (self.n - 1.0)).max(0.0).sqrt()
        }
    }
}

/// Weights of a merge; divisions are dear.
#[derive(Debug, Clone, Copy, Default)]
struct Shares {
    own_n: f64,
    other_n: f64,
    n: f64,
    of_other: f64,
    of_square: f64,
}

impl Shares {
    fn of(own_n: f64, other_n: f64) -> Self {
        let n = own_n + other_n;
        Self {
            own_n,
            other_n,
            n,
            of_other: other_n / n,
            of_square: own_n * other_n / n,
        }
    }
}

/// One metric's readings from an instant backwards.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    pooled: Moments,
    /// Hours that its readings stand for, and hours that have any.
    covered_h: f64,
    hours: f64,
    /// Weighted least squares of the hourly means over the age in hours.
    w: f64,
    wx: f64,
    wy: f64,
    wxx: f64,
    wxy: f64,
}

impl Past {
    /// Takes the readings of an hour `x` hours later than now.
    fn take(&mut self, bucket: Moments, x: f64, interval_h: f64, shares: &mut Shares) {
        if bucket.n == 0.0 {
            return;
        }
        self.pooled.merge_with(bucket, shares);
        self.count(bucket, x, interval_h);
    }

    /// As [`Self::take`] of an hour with readings, where `shares` are those of this very merge; `None`: it is the first.
    fn take_alike(&mut self, bucket: Moments, x: f64, interval_h: f64, shares: Option<&Shares>) {
        match shares {
            Some(shares) => self.pooled.merge_by(bucket, shares),
            None => self.pooled = bucket,
        }
        self.count(bucket, x, interval_h);
    }

    fn count(&mut self, bucket: Moments, x: f64, interval_h: f64) {
        self.covered_h += interval_h;
        self.hours += 1.0;
        self.w += bucket.n;
        self.wx += bucket.n * x;
        self.wy += bucket.n * bucket.mean;
        self.wxx += bucket.n * x * x;
        self.wxy += bucket.n * x * bucket.mean;
    }

    /// Change per hour; NaN where too little is known.
    fn slope(&self) -> f64 {
        let spread = self.w * self.wxx - self.wx * self.wx;
        if self.hours >= SLOPE_HOURS_MIN && spread > 0.0 {
            (self.w * self.wxy - self.wx * self.wy) / spread
        } else {
            f64::NAN
        }
    }
}

/// Takes an hour of all metrics, `x` hours later than now; `n_alike` readings each of them has had so far, or they differ.
/// Returns the same afterwards. Where they are alike, as they mostly are, the metrics' sums do not wait for comparisons.
fn take_hour(
    pasts: &mut [Past],
    buckets: &[Moments],
    x: f64,
    interval_h: f64,
    n_alike: Option<f64>,
) -> Option<f64> {
    let n = buckets.first().map_or(0.0, |b| b.n);
    let alike = n_alike.filter(|_| buckets.iter().all(|b| b.n == n));
    let Some(before) = alike else {
        let mut shares = Shares::default();
        for (past, bucket) in pasts.iter_mut().zip(buckets) {
            past.take(*bucket, x, interval_h, &mut shares);
        }
        return None;
    };
    if n > 0.0 {
        let shares = (before > 0.0).then(|| Shares::of(before, n));
        for (past, bucket) in pasts.iter_mut().zip(buckets) {
            past.take_alike(*bucket, x, interval_h, shares.as_ref());
        }
    }
    Some(before + n)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CodeTimes {
    code: String,
    /// Epoch milliseconds, oldest first; never empty.
    times: Vec<i64>,
}

/// Streaming features of one device. Bounded: about 600 bytes per metric, 32 codes of 8 times, 32
/// components. The JSON round trip is bit exact.
///
/// Time is cut into hours of the epoch; a window of `w` hours at an instant is the hour of that
/// instant and the `w - 1` before it. Readings of one hour are pooled, so that any sampling interval from
/// seconds to days works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureState {
    n_metrics: usize,
    /// Newest reading, epoch milliseconds.
    last_ms: Option<i64>,
    /// The hour of the newest reading, hours since the epoch.
    head_hour: i64,
    /// The last three distances between readings, hours, newest last: their median tells the sampling
    /// interval, and a gap does not change it.
    gaps_h: Vec<f64>,
    /// Hour by hour: `slot * n_metrics + metric`, slot = hour modulo 24.
    ring: Vec<Moments>,
    /// Newest value of each metric, with its time.
    latest: Vec<Option<(i64, f64)>>,
    codes: Vec<CodeTimes>,
    replaced: BTreeMap<String, i64>,
    /// What was usual before the ring.
    #[serde(default)]
    own: OwnUsual,
}

fn hour_of(ms: i64) -> i64 {
    ms.div_euclid(HOUR_MS)
}

fn slot_of(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(RING_H)).unwrap_or(0)
}

fn hours_between(earlier_ms: i64, later_ms: i64) -> f64 {
    (later_ms - earlier_ms) as f64 / HOUR_MS as f64
}

impl FeatureState {
    /// The state of a device that has reported nothing yet, for rows of `n_metrics` places.
    #[must_use]
    pub fn new(n_metrics: usize) -> Self {
        Self {
            n_metrics,
            last_ms: None,
            head_hour: i64::MIN / 2,
            gaps_h: Vec::new(),
            ring: vec![Moments::default(); RING_SLOTS * n_metrics],
            latest: vec![None; n_metrics],
            codes: Vec::new(),
            replaced: BTreeMap::new(),
            own: OwnUsual::default(),
        }
    }

    /// Takes a row: one place per metric in catalogue order, finite; beyond ±1e140 it counts as ±1e140. Rows
    /// come in time order; one more than 24 hours older than the newest changes nothing.
    pub fn push(&mut self, ts: Timestamp, values: &[Option<f64>]) {
        let ms = ts.as_millis();
        let hour = hour_of(ms);
        self.advance_to(hour);
        if hour <= self.head_hour - RING_H {
            return;
        }
        let slot = slot_of(hour) * self.n_metrics;
        for (metric, value) in values.iter().take(self.n_metrics).enumerate() {
            let Some(value) = value.filter(|v| v.is_finite()) else {
                continue;
            };
            let value = value.clamp(-VALUE_MAX, VALUE_MAX);
            self.ring[slot + metric].merge(Moments {
                n: 1.0,
                mean: value,
                m2: 0.0,
            });
            if self.latest[metric].is_none_or(|(at, _)| at <= ms) {
                self.latest[metric] = Some((ms, value));
            }
        }
        match self.last_ms {
            Some(last) if ms > last => {
                if self.gaps_h.len() == GAPS {
                    self.gaps_h.remove(0);
                }
                self.gaps_h.push(hours_between(last, ms));
                self.last_ms = Some(ms);
            }
            None => self.last_ms = Some(ms),
            Some(_) => {}
        }
    }

    fn advance_to(&mut self, hour: i64) {
        if hour <= self.head_hour {
            return;
        }
        let first = (self.head_hour + 1).max(hour - RING_H + 1);
        for h in first..=hour {
            let slot = slot_of(h) * self.n_metrics;
            let leaving: Vec<f64> = self.ring[slot..slot + self.n_metrics]
                .iter()
                .map(|m| if m.n > 0.0 { m.mean } else { f64::NAN })
                .collect();
            self.own.take(&leaving);
            self.ring[slot..slot + self.n_metrics].fill(Moments::default());
        }
        self.head_hour = hour;
    }

    /// Takes an error code that the device reported. Events come in time order.
    pub fn event(&mut self, ts: Timestamp, code: &str) {
        if code.len() > CODE_BYTES_MAX {
            return;
        }
        let ms = ts.as_millis();
        if let Some(known) = self.codes.iter_mut().find(|c| c.code == code) {
            if known.times.len() == TIMES_MAX {
                known.times.remove(0);
            }
            known.times.push(ms);
            return;
        }
        if self.codes.len() == CODES_MAX {
            let silent = self
                .codes
                .iter()
                .enumerate()
                .min_by_key(|(_, c)| c.times.last().copied());
            if let Some((index, _)) = silent {
                self.codes.remove(index);
            }
        }
        self.codes.push(CodeTimes {
            code: code.to_owned(),
            times: vec![ms],
        });
    }

    /// Notes that a component was replaced; may come before any reading. The newest replacement of a
    /// component counts, in whatever order they are told.
    pub fn replaced(&mut self, ts: Timestamp, component: &ComponentName) {
        let ms = ts.as_millis();
        if let Some(at) = self.replaced.get_mut(component.as_str()) {
            *at = ms.max(*at);
            return;
        }
        if self.replaced.len() == COMPONENTS_MAX {
            let oldest = self.replaced.iter().min_by_key(|(_, at)| **at);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.replaced.remove(&name);
            }
        }
        self.replaced.insert(component.as_str().to_owned(), ms);
    }

    /// Hours of the present that one reading stands for.
    fn interval_h(&self) -> f64 {
        let mut gaps = [0.0; GAPS];
        let n = self.gaps_h.len().min(GAPS);
        gaps[..n].copy_from_slice(&self.gaps_h[..n]);
        gaps[..n].sort_by(f64::total_cmp);
        let median = if n > 0 { gaps[n / 2] } else { 1.0 };
        median.clamp(1.0, RING_H as f64)
    }

    /// Puts the features of the metrics at `ms` into `out`; NaN where nothing can be said.
    fn metric_features(&self, n_metrics: usize, ms: i64, interval_h: f64, out: &mut Vec<f64>) {
        let begin = out.len();
        out.resize(begin + n_metrics * METRIC_FEATURES, f64::NAN);
        let out = &mut out[begin..];
        let known = n_metrics.min(self.n_metrics);
        let now = hour_of(ms);
        let mut pasts = vec![Past::default(); known];
        // Readings that all metrics have had alike, as long as they have.
        let mut n_alike = Some(0.0);
        let mut window = 0;
        // Hour by hour, all metrics: what one has to wait for does not hold up the others.
        for age in 0..RING_H {
            let hour = now - age;
            if hour <= self.head_hour && hour > self.head_hour - RING_H {
                let slot = slot_of(hour) * self.n_metrics;
                let buckets = &self.ring[slot..slot + known];
                n_alike = take_hour(&mut pasts, buckets, -(age as f64), interval_h, n_alike);
            }
            while WINDOWS_H
                .get(window)
                .is_some_and(|window_h| age + 1 >= i64::from(*window_h))
            {
                let half_h = f64::from(WINDOWS_H[window]) / 2.0;
                for (past, of_metric) in pasts.iter().zip(out.chunks_exact_mut(METRIC_FEATURES)) {
                    if past.covered_h >= half_h {
                        of_metric[2 * window] = past.pooled.mean;
                        of_metric[2 * window + 1] = past.pooled.deviation();
                    }
                }
                window += 1;
            }
        }
        for ((past, latest), of_metric) in pasts
            .iter()
            .zip(&self.latest)
            .zip(out.chunks_exact_mut(METRIC_FEATURES))
        {
            of_metric[SLOPE] = past.slope();
            if let Some((at, value)) = *latest
                && hours_between(at, ms) < RING_H as f64
            {
                of_metric[SLOPE + 1] = value;
            }
        }
    }

    /// Appends how far each metric lies from what is usual for this machine at its operating point; NaN where nothing
    /// can be said. `out` begins with the features of the metrics.
    fn own_features(&self, axes: &[usize], n_metrics: usize, out: &mut Vec<f64>) {
        for window in OWN_WINDOWS {
            let mean_of = |out: &[f64], metric: usize| out[metric * METRIC_FEATURES + 2 * window];
            let mut at = [0.0; AXES_MAX];
            for (at, axis) in at.iter_mut().zip(axes) {
                *at = mean_of(out, *axis);
            }
            for metric in (0..n_metrics).filter(|metric| !axes.contains(metric)) {
                let mean = mean_of(out, metric);
                out.push(self.own.departure(metric, mean, axes, &at[..axes.len()]));
            }
        }
    }

    fn code_features(&self, code: &str, ms: i64, out: &mut Vec<f64>) {
        let times: &[i64] = self
            .codes
            .iter()
            .find(|c| c.code == code)
            .map_or(&[], |c| &c.times);
        for window_h in COUNT_WINDOWS_H {
            let n = times
                .iter()
                .filter(|&&at| at <= ms && hours_between(at, ms) < window_h)
                .count();
            out.push(n as f64);
        }
        let since = times.iter().rev().find(|&&at| at <= ms);
        out.push(since.map_or(LONG_AGO_H, |&at| hours_between(at, ms).min(LONG_AGO_H)));
    }
}

/// Which features a model uses, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// Metrics in catalogue order.
    pub metrics: Vec<String>,
    /// Error codes.
    pub codes: Vec<String>,
    /// Components whose age counts.
    pub components: Vec<String>,
    /// Places of the metrics that describe the operating point, at most two, where every other metric is compared with
    /// what is usual for the machine itself; `None`: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_usual_at: Option<Vec<usize>>,
}

impl FeatureSpec {
    /// Names of the features, as shown to people: `vibration mean 24 h`, `error1 in 24 h`,
    /// `hours since comp1 replaced`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for metric in &self.metrics {
            for window_h in WINDOWS_H {
                names.push(format!("{metric} mean {window_h} h"));
                names.push(format!("{metric} deviation {window_h} h"));
            }
            names.push(format!("{metric} slope per hour"));
            names.push(format!("{metric} latest"));
        }
        for code in &self.codes {
            for window_h in COUNT_WINDOWS_H {
                names.push(format!("{code} in {window_h} h"));
            }
            names.push(format!("hours since {code}"));
        }
        for component in &self.components {
            names.push(format!("hours since {component} replaced"));
        }
        if let Some(axes) = &self.own_usual_at {
            for window_h in OWN_WINDOWS.map(|window| WINDOWS_H[window]) {
                for (_, metric) in self.measured(axes) {
                    names.push(format!("{metric} {window_h} h against its own usual"));
                }
            }
        }
        names
    }

    /// The metrics that do not describe the operating point.
    fn measured<'a>(&'a self, axes: &'a [usize]) -> impl Iterator<Item = (usize, &'a String)> {
        let metrics = self.metrics.iter().enumerate();
        metrics.filter(|(metric, _)| !axes.contains(metric))
    }

    /// Whether the places fit the metrics.
    pub(crate) fn is_sound(&self) -> bool {
        self.own_usual_at.as_ref().is_none_or(|axes| {
            axes.len() <= AXES_MAX && axes.iter().all(|a| *a < self.metrics.len())
        })
    }

    /// Replaces `out` by the features of `state` at `ts`, in the order of [`Self::names`]; NaN where nothing
    /// can be said.
    pub fn extract(&self, state: &FeatureState, ts: Timestamp, out: &mut Vec<f64>) {
        out.clear();
        let ms = ts.as_millis();
        let interval_h = state.interval_h();
        state.metric_features(self.metrics.len(), ms, interval_h, out);
        for code in &self.codes {
            state.code_features(code, ms, out);
        }
        for component in &self.components {
            let at = state.replaced.get(component);
            out.push(at.map_or(f64::NAN, |&at| hours_between(at, ms).max(0.0)));
        }
        if let Some(axes) = &self.own_usual_at {
            state.own_features(axes, self.metrics.len(), out);
        }
    }
}
