//! Models on `/metrics`.

use anyhow::Result;
use forecare_domain::ClassName;
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::library::Role;
use super::record::Roles;
use super::watch::Watch;

/// Why a model was demoted, as a label.
pub(crate) const REASONS: [&str; 2] = ["precision", "drift"];

/// The gauges; no device is a label.
pub(crate) struct ModelGauges {
    info: IntGaugeVec,
    demoted: IntGaugeVec,
    pub(crate) demotions: IntCounterVec,
    psi: GaugeVec,
    precision: GaugeVec,
    precision_high: GaugeVec,
    verdicts: IntGaugeVec,
    agreement: GaugeVec,
    alarms: GaugeVec,
    average_precision: GaugeVec,
    shadow_rows: IntGaugeVec,
    /// Time a shadow model takes for a row.
    pub(crate) shadow_seconds: Histogram,
}

impl ModelGauges {
    /// Registers them.
    ///
    /// # Errors
    /// Two metrics of one name: our own mistake.
    pub(crate) fn new(registry: &Registry) -> Result<Self> {
        let whole = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let real = |name: &str, help: &str, labels: &[&str]| -> Result<GaugeVec> {
            let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let demotions = IntCounterVec::new(
            Opts::new(
                "forecare_model_demotions_total",
                "Models that Forecare took out of service by itself, by class and reason.",
            ),
            &["class", "reason"],
        )?;
        registry.register(Box::new(demotions.clone()))?;
        let shadow_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "forecare_model_shadow_seconds",
                "Time a shadow model takes for a row.",
            )
            .buckets(prometheus::exponential_buckets(1e-6, 2.0, 12)?),
        )?;
        registry.register(Box::new(shadow_seconds.clone()))?;
        Ok(Self {
            info: whole(
                "forecare_model_info",
                "1; the labels say which version has which role in a class.",
                &["class", "version", "role", "sha256"],
            )?,
            demoted: whole(
                "forecare_model_demoted",
                "Whether Forecare took a class's model out of service and nobody has decided since: 0 or 1.",
                &["class"],
            )?,
            demotions,
            psi: real(
                "forecare_model_psi",
                "Population stability index of the live model's inputs in the last full window, by class.",
                &["class"],
            )?,
            precision: real(
                "forecare_model_precision_ratio",
                "Mean of what the verdicts say of the precision of the live model's tickets, by class.",
                &["class"],
            )?,
            precision_high: real(
                "forecare_model_precision_upper_ratio",
                "The precision that the live model's tickets do not exceed, 95 % sure, by class.",
                &["class"],
            )?,
            verdicts: whole(
                "forecare_model_verdicts",
                "Verdicts on tickets that the live model opened since it went live, of the newest 1,000, by class.",
                &["class"],
            )?,
            agreement: real(
                "forecare_model_shadow_agreement_ratio",
                "Share of rows for which live and shadow model would act alike, by class.",
                &["class"],
            )?,
            alarms: real(
                "forecare_model_alarms_per_device_month",
                "Alarms that a model alone would raise per device and month, while a shadow is tried, by class and role.",
                &["class", "role"],
            )?,
            average_precision: real(
                "forecare_model_average_precision",
                "Average precision on the verdicts while a shadow is tried, by class and role.",
                &["class", "role"],
            )?,
            shadow_rows: whole(
                "forecare_model_shadow_rows",
                "Rows scored by the shadow model, by class.",
                &["class"],
            )?,
            shadow_seconds,
        })
    }

    /// Starts the counters of a class; its index is not a number until a first window is full.
    pub(crate) fn class(&self, class: &ClassName) {
        self.psi.with_label_values(&[class.as_str()]).set(f64::NAN);
        for reason in REASONS {
            self.demotions.with_label_values(&[class.as_str(), reason]);
        }
    }

    /// Shows who has which role in a class; what was shown before goes.
    pub(crate) fn roles(&self, class: &ClassName, before: Option<&Watch>, now: &Watch) {
        let of = |watch: &Watch| {
            let named = [(&watch.live, Role::Live), (&watch.shadow, Role::Shadow)];
            named.map(|(named, role)| {
                named.as_ref().map(|n| {
                    [
                        class.as_str().to_owned(),
                        n.version.clone(),
                        role.label().to_owned(),
                        n.sha256().to_owned(),
                    ]
                })
            })
        };
        for labels in before.map(of).into_iter().flatten().flatten() {
            // Not shown is as good as gone.
            self.info
                .remove_label_values(&labels.each_ref().map(String::as_str))
                .ok();
        }
        for labels in of(now).into_iter().flatten() {
            self.info
                .with_label_values(&labels.each_ref().map(String::as_str))
                .set(1);
        }
    }

    /// Shows whether the newest change of a class is a demotion.
    pub(crate) fn state(&self, class: &ClassName, roles: &Roles) {
        self.demoted
            .with_label_values(&[class.as_str()])
            .set(i64::from(roles.demotion().is_some()));
    }

    /// Shows what is seen of a class's models.
    pub(crate) fn seen(&self, class: &ClassName, watch: &Watch) {
        let seen = watch.seen();
        let class = class.as_str();
        let psi = seen.drift.as_ref().map_or(f64::NAN, |d| d.drift.psi);
        self.psi.with_label_values(&[class]).set(psi);
        show(&self.precision, &[class], seen.precision.map(|p| p.mean));
        show(
            &self.precision_high,
            &[class],
            seen.precision.map(|p| p.high),
        );
        let verdicts = seen.precision.map_or(0, |p| p.n_verdicts);
        self.verdicts
            .with_label_values(&[class])
            .set(i64::try_from(verdicts).unwrap_or(i64::MAX));
        let trial = seen.trial.as_ref();
        show(&self.agreement, &[class], trial.and_then(|t| t.agreement()));
        let rates = trial.and_then(|t| t.alarm_rates());
        let precision = trial.and_then(|t| t.average_precision());
        for (role, rate, precision) in [
            (Role::Live, rates.map(|r| r.0), precision.map(|p| p.0)),
            (Role::Shadow, rates.map(|r| r.1), precision.map(|p| p.1)),
        ] {
            show(&self.alarms, &[class, role.label()], rate);
            show(&self.average_precision, &[class, role.label()], precision);
        }
        self.shadow_rows
            .with_label_values(&[class])
            .set(trial.map_or(0, |t| i64::try_from(t.n_rows).unwrap_or(i64::MAX)));
    }
}

/// Shows a value, or nothing where there is none.
fn show(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        None => {
            // Not shown yet is fine.
            gauge.remove_label_values(labels).ok();
        }
    }
}
