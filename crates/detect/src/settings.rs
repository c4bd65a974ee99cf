//! The few numbers an operator may turn, and the thresholds that follow from them.

/// Settings of a [`ClassDetector`](crate::ClassDetector).
#[derive(Debug, Clone, PartialEq)]
pub struct DetectSettings {
    /// False anomaly alarms tolerated per device and 30 days, at the class's usual sampling interval.
    /// Above 0, at most 1,000. Engineering limits are not counted: they mean what they say.
    pub false_alarms_per_device_month: f64,
    /// Samples of a metric before it is judged against its own baseline, 30 to 100,000. Limits work at
    /// once.
    pub warm_up_samples: u32,
    /// History needed before slow drift and time-of-day offsets are judged, hours: until a full day has
    /// been seen, a day's cycle cannot be told from a drift. 0 for machines without a day cycle.
    pub drift_after_hours: f64,
    /// Slowest learning of the baseline: the number of samples it averages over, 100 to 1,000,000.
    pub baseline_samples: u32,
    /// A departure that lasts this long without pause is taken as the new normal, hours. Long, because
    /// a fault must not be learnt; infinity: never.
    pub relearn_after_hours: f64,
}

impl Default for DetectSettings {
    fn default() -> Self {
        Self {
            false_alarms_per_device_month: 0.1,
            warm_up_samples: 120,
            drift_after_hours: 24.0,
            baseline_samples: 2_000,
            relearn_after_hours: 720.0,
        }
    }
}

/// Settings of [`Episodes::update`](crate::Episodes::update).
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeSettings {
    /// Consecutive instants with evidence before an episode is raised. At least 1; the detectors
    /// themselves already want persistence.
    pub raise_after_samples: u32,
    /// Instants without evidence before an episode clears.
    pub clear_after_samples: u32,
    /// And time without evidence before it clears, hours.
    pub clear_after_hours: f64,
}

impl Default for EpisodeSettings {
    fn default() -> Self {
        Self {
            raise_after_samples: 1,
            clear_after_samples: 10,
            clear_after_hours: 1.0,
        }
    }
}

/// Settings or a class that cannot work, and why.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DetectError {
    /// A setting lies outside its range.
    #[error("{setting} must be {range}, not {value}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is allowed.
        range: &'static str,
        /// What was given.
        value: f64,
    },
    /// A failure mode's signature names a metric that the class does not have.
    #[error("mode {mode}: signature names metric {metric}, the class has {n_metrics}")]
    Signature {
        /// The failure mode.
        mode: String,
        /// Index named by the signature.
        metric: usize,
        /// Number of metrics of the class.
        n_metrics: usize,
    },
}

impl DetectSettings {
    pub(crate) fn check(&self) -> Result<(), DetectError> {
        let require = |ok: bool, setting, range, value| {
            if ok {
                Ok(())
            } else {
                Err(DetectError::Setting {
                    setting,
                    range,
                    value,
                })
            }
        };
        let rate = self.false_alarms_per_device_month;
        require(
            rate > 0.0 && rate <= 1_000.0,
            "false_alarms_per_device_month",
            "above 0 and at most 1000",
            rate,
        )?;
        require(
            (30..=100_000).contains(&self.warm_up_samples),
            "warm_up_samples",
            "30 to 100000",
            f64::from(self.warm_up_samples),
        )?;
        require(
            self.drift_after_hours >= 0.0,
            "drift_after_hours",
            "at least 0",
            self.drift_after_hours,
        )?;
        require(
            (100..=1_000_000).contains(&self.baseline_samples),
            "baseline_samples",
            "100 to 1000000",
            f64::from(self.baseline_samples),
        )?;
        require(
            self.relearn_after_hours > 0.0,
            "relearn_after_hours",
            "above 0",
            self.relearn_after_hours,
        )
    }
}
