//! The model file: trees, calibration, card.

use std::fmt::Write as _;

use forecare_catalogue::AssetClass;
use forecare_domain::{ClassName, Contribution, ModeName, Prognosis, Rul, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::calibration::Calibration;
use crate::drift::{self, Drift, InputCounts, Inputs};
use crate::features::{FeatureSpec, FeatureState};
use crate::forest::Forest;
use crate::life::{LifeModel, LifeState};
use crate::scores::{ProbabilityScores, ReliabilityBin};
use crate::view::{Usual, VIEW_FEATURES, View, departures};

/// Version of the file's layout and of the features; a change of either makes a new one.
pub(crate) const VERSION: u32 = 2;
/// From this probability on a prognosis says what moved it.
pub const EXPLAINED_FROM: f64 = 0.05;
/// Most features named in an explanation.
const EXPLAINED_MAX: usize = 5;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not JSON, or not of a model file's shape.
    #[error("not a model file; train again with `forecare train`")]
    Shape(#[source] serde_json::Error),
    /// Written by another version.
    #[error(
        "the model has layout version {found}, this program reads {VERSION}; train again with `forecare train`"
    )]
    Version {
        /// The file's version.
        found: u64,
    },
    /// The content does not belong to the hash on its card.
    #[error(
        "the model was changed after training: its card says sha256 {card}, its content has {content}; restore the file or train again"
    )]
    Changed {
        /// Hash on the card.
        card: String,
        /// Hash of the content.
        content: String,
    },
    /// The parts do not fit together.
    #[error("the model is damaged: {0}; restore the file or train again")]
    Damaged(&'static str),
    /// Learnt for another class.
    #[error(
        "the model is for class \"{model}\", not \"{class}\"; load it for its own class, or train one for \"{class}\""
    )]
    Class {
        /// Class of the model.
        model: String,
        /// Class asked for.
        class: String,
    },
    /// The class measures something else.
    #[error(
        "the model was learnt on metrics [{model}], class {class} has [{catalogue}]; put these first and in this order in the catalogue, or train again"
    )]
    Metrics {
        /// Metrics of the model, in order.
        model: String,
        /// The class.
        class: String,
        /// Metrics of the catalogue, in order.
        catalogue: String,
    },
    /// The class does not know the failure mode.
    #[error(
        "the model knows failure mode \"{mode}\", class {class} does not; add it to the catalogue, or train again"
    )]
    Mode {
        /// The mode.
        mode: String,
        /// The class.
        class: String,
    },
    /// Learnt for another horizon.
    #[error(
        "the model looks {model} h ahead, class {class} wants {catalogue} h; set horizon_hours = {model} in the catalogue, or train again"
    )]
    Horizon {
        /// Horizon of the model, hours.
        model: f64,
        /// The class.
        class: String,
        /// Horizon of the catalogue, hours.
        catalogue: f64,
    },
}

/// What a model was learnt from, and how good it was on machines it had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// The data, in words.
    pub data: String,
    /// When it was learnt.
    pub trained_at: Timestamp,
    /// First reading of the histories.
    pub from: Timestamp,
    /// Last reading of the histories.
    pub to: Timestamp,
    /// Machines in the histories.
    pub n_machines: usize,
    /// Readings in the histories.
    pub n_rows: usize,
    /// Horizon of the probabilities, hours.
    pub horizon_hours: f64,
    /// Settings of the training, in words.
    pub settings: String,
    /// Features, in order.
    pub features: Vec<String>,
    /// Per mode: cross-validated, grouped by machine.
    pub scores: Vec<ModeScores>,
    /// Modes of the class that never occurred in the histories: the model does not speak of them.
    pub modes_left_out: Vec<String>,
    /// Modes that occurred, and whose probabilities were no better than chance: the model does not speak of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes_refused: Vec<ModeRefused>,
    /// SHA-256 of the file with this field empty, hexadecimal.
    pub sha256: String,
}

/// How good the probabilities of one mode were on machines that the trees had not seen. The calibration of each
/// fold was fitted on the other folds, so that nothing is scored on what it was fitted on; only the kind of
/// calibration, one for all modes, was chosen by the log loss of these very predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeScores {
    /// The failure mode.
    pub mode: String,
    /// Failures of the machines in the histories with readings within the horizon before them; one that two histories tell
    /// counts once.
    pub n_failures: usize,
    /// Rows judged.
    pub n_rows: usize,
    /// Of these within the horizon before a failure.
    pub n_rows_before_failure: usize,
    /// Area under the ROC curve, 0.5 (guessing) to 1.
    pub auc: f64,
    /// Average precision (area under precision over recall), 0 to 1.
    pub average_precision: f64,
    /// Mean logarithmic loss, nats; 0 is perfect.
    pub log_loss: f64,
    /// Mean squared difference of probability and outcome; 0 is perfect.
    pub brier: f64,
    /// The same of always predicting the mean rate.
    pub brier_of_base_rate: f64,
    /// Expected calibration error over [`crate::CALIBRATION_BINS`] bins, 0 to 1.
    pub calibration_error: f64,
    /// The same over the rows predicted at [`crate::HIGH_FROM`] or above.
    pub calibration_error_high: f64,
    /// How often what was predicted came true.
    pub reliability: Vec<ReliabilityBin>,
}

impl ModeScores {
    pub(crate) fn of(mode: &str, n_failures: usize, scores: ProbabilityScores) -> Self {
        Self {
            mode: mode.to_owned(),
            n_failures,
            n_rows: scores.n_rows,
            n_rows_before_failure: scores.n_true,
            auc: scores.auc,
            average_precision: scores.average_precision,
            log_loss: scores.log_loss,
            brier: scores.brier,
            brier_of_base_rate: scores.brier_of_base_rate,
            calibration_error: scores.calibration_error,
            calibration_error_high: scores.calibration_error_high,
            reliability: scores.reliability,
        }
    }
}

/// A mode whose probabilities ranked machines left out of the training no better than chance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeRefused {
    /// The failure mode.
    pub mode: String,
    /// Failures of the machines in the histories with readings within the horizon before them; one that two histories tell
    /// counts once.
    pub n_failures: usize,
    /// Area under the ROC curve, 0.5 (guessing) to 1.
    pub auc: f64,
    /// Average precision, 0 to 1.
    pub average_precision: f64,
    /// Share of the rows that came true, 0 to 1: the average precision of guessing.
    pub base_rate: f64,
}

impl ModeRefused {
    /// `None`: the probabilities are better than chance, by their AUC and by their average precision.
    pub(crate) fn of(mode: &str, n_failures: usize, scores: &ProbabilityScores) -> Option<Self> {
        let better = scores.auc > 0.5 && scores.average_precision > scores.base_rate;
        (!better).then(|| Self {
            mode: mode.to_owned(),
            n_failures,
            auc: scores.auc,
            average_precision: scores.average_precision,
            base_rate: scores.base_rate,
        })
    }
}

impl std::fmt::Display for ModeRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: learnt from {} failure(s), and no better than chance on machines left out (average precision {:.3} where guessing has {:.3}, AUC {:.3} where guessing has 0.5): the model does not speak of it",
            self.mode, self.n_failures, self.average_precision, self.base_rate, self.auc
        )
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeModel {
    pub(crate) mode: ModeName,
    pub(crate) calibration: Calibration,
    /// How it looks at a row for the trees in common; `None`: it has its own trees alone.
    pub(crate) view: Option<View>,
    /// What is peculiar to it.
    pub(crate) forest: Option<Forest>,
}

/// A learnt model of one asset class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    version: u32,
    class: ClassName,
    card: ModelCard,
    spec: FeatureSpec,
    /// Every feature over healthy rows: what is expected, and what stands in for the unknown.
    usual: Vec<Usual>,
    /// Trees on the [`View`]s of the modes: what they have in common.
    in_common: Option<Forest>,
    modes: Vec<ModeModel>,
    /// How the features it asks for were distributed: what drift is measured against.
    inputs: Inputs,
    /// How long a machine lasts, where histories told lives to their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<LifeModel>,
}

/// Reads the version before the rest, so that an older layout is named as such.
#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

impl Model {
    /// Puts a model together and signs its card.
    pub(crate) fn seal(
        class: ClassName,
        card: ModelCard,
        spec: FeatureSpec,
        usual: Vec<Usual>,
        in_common: Option<Forest>,
        modes: Vec<ModeModel>,
        inputs: Inputs,
    ) -> Self {
        let mut model = Self {
            version: VERSION,
            class,
            card,
            spec,
            usual,
            in_common,
            modes,
            inputs,
            life: None,
        };
        model.card.sha256 = model.content_hash();
        model
    }

    /// This model with `life` for remaining useful life; signed anew.
    #[must_use]
    pub fn with_life(mut self, life: LifeModel) -> Self {
        self.life = Some(life);
        self.card.sha256 = self.content_hash();
        self
    }

    /// How long a machine lasts; `None` where the histories told no lives to their end.
    #[must_use]
    pub fn life(&self) -> Option<&LifeModel> {
        self.life.as_ref()
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`ModelError`]: no model file, another version, changed or damaged.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let VersionOnly { version } = serde_json::from_str(text).map_err(ModelError::Shape)?;
        if version != u64::from(VERSION) {
            return Err(ModelError::Version { found: version });
        }
        let model: Self = serde_json::from_str(text).map_err(ModelError::Shape)?;
        let content = model.content_hash();
        if content != model.card.sha256 {
            return Err(ModelError::Changed {
                card: model.card.sha256,
                content,
            });
        }
        if !model.spec.is_sound() {
            return Err(ModelError::Damaged("its features do not fit its metrics"));
        }
        let n_features = model.spec.names().len();
        if model.usual.len() != n_features || model.card.features != model.spec.names() {
            return Err(ModelError::Damaged("its features do not match its card"));
        }
        let own_trees = model.modes.iter().filter_map(|m| m.forest.as_ref());
        if !own_trees.clone().all(|f| f.is_sound(n_features))
            || !model.in_common.iter().all(|f| f.is_sound(VIEW_FEATURES))
        {
            return Err(ModelError::Damaged("a tree leads nowhere"));
        }
        let n_metrics = model.spec.metrics.len();
        if model.life.as_ref().is_some_and(|l| !l.is_sound(n_metrics)) {
            return Err(ModelError::Damaged(
                "its life section does not fit together",
            ));
        }
        let views = model.modes.iter().filter_map(|m| m.view.as_ref());
        if !views.clone().all(|v| v.is_sound(&model.spec))
            || (views.count() > 0 && model.in_common.is_none())
        {
            return Err(ModelError::Damaged("a mode looks at what is not there"));
        }
        if !model.modes.iter().all(|m| m.calibration.is_sound()) {
            return Err(ModelError::Damaged("a calibration is none"));
        }
        if !model.inputs.is_sound(n_features) {
            return Err(ModelError::Damaged(
                "its input distribution does not match its features",
            ));
        }
        Ok(model)
    }

    /// The model file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Maps with string keys and finite numbers: nothing in a model can fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn content_hash(&self) -> String {
        let mut unsigned = self.clone();
        unsigned.card.sha256.clear();
        let digest = Sha256::digest(unsigned.to_json().as_bytes());
        digest.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string does not fail.
            write!(hex, "{byte:02x}").unwrap_or_default();
            hex
        })
    }

    /// Checks that the model was learnt for `class` as the catalogue has it now.
    ///
    /// # Errors
    /// [`ModelError`] names what differs, and the fix.
    pub fn check_fits(&self, class: &AssetClass) -> Result<(), ModelError> {
        let name = class.name.as_str();
        if self.class != class.name {
            return Err(ModelError::Class {
                model: self.class.as_str().to_owned(),
                class: name.to_owned(),
            });
        }
        let catalogue: Vec<&str> = class.metrics.iter().map(|m| m.name.as_str()).collect();
        if !self
            .spec
            .metrics
            .iter()
            .map(String::as_str)
            .eq(catalogue.iter().copied().take(self.spec.metrics.len()))
        {
            return Err(ModelError::Metrics {
                model: self.spec.metrics.join(", "),
                class: name.to_owned(),
                catalogue: catalogue.join(", "),
            });
        }
        let of_life = self.life.as_ref().and_then(LifeModel::mode);
        if let Some(stranger) = self
            .modes()
            .chain(of_life)
            .find(|mode| class.modes.iter().all(|known| known.name != **mode))
        {
            return Err(ModelError::Mode {
                mode: stranger.as_str().to_owned(),
                class: name.to_owned(),
            });
        }
        if (self.card.horizon_hours - class.horizon_hours).abs() > 1e-9 {
            return Err(ModelError::Horizon {
                model: self.card.horizon_hours,
                class: name.to_owned(),
                catalogue: class.horizon_hours,
            });
        }
        Ok(())
    }

    /// Where the model comes from and how good it is.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The asset class it was learnt for.
    #[must_use]
    pub fn class(&self) -> &ClassName {
        &self.class
    }

    /// The features it asks for.
    #[must_use]
    pub fn spec(&self) -> &FeatureSpec {
        &self.spec
    }

    /// The modes it speaks of, in the order of [`Self::predict`].
    pub fn modes(&self) -> impl Iterator<Item = &ModeName> {
        self.modes.iter().map(|m| &m.mode)
    }

    /// All modes it gives probabilities of: by its trees, and by remaining life where all lives ended in one mode.
    pub fn spoken_of(&self) -> impl Iterator<Item = &ModeName> {
        let of_life = self.life.as_ref().and_then(LifeModel::mode);
        let by_trees = |mode: &&ModeName| self.modes().any(|m| m == *mode);
        self.modes().chain(of_life.filter(|mode| !by_trees(mode)))
    }

    /// Probability of failure within the horizon after `ts`, per mode of the model; with the features that
    /// raised it where it is 0.05 or more.
    #[must_use]
    pub fn predict(&self, features: &FeatureState, ts: Timestamp) -> Vec<Prognosis> {
        self.predict_explaining(features, ts, EXPLAINED_FROM)
    }

    /// As [`Self::predict`], with the features only where the probability is `explained_from` or more.
    #[must_use]
    pub fn predict_explaining(
        &self,
        features: &FeatureState,
        ts: Timestamp,
        explained_from: f64,
    ) -> Vec<Prognosis> {
        if self.modes.is_empty() {
            return Vec::new();
        }
        let mut x = Vec::with_capacity(self.usual.len());
        self.spec.extract(features, ts, &mut x);
        fill_unknown(&mut x, &self.usual);
        let departures = departures(&x, &self.usual, self.spec.metrics.len());
        let mut seen = Vec::with_capacity(VIEW_FEATURES);
        self.modes
            .iter()
            .map(|mode| {
                let mut margin = mode.forest.as_ref().map_or(0.0, |own| own.margin(&x));
                if let (Some(view), Some(in_common)) = (&mode.view, &self.in_common) {
                    seen.clear();
                    view.extend_by(&x, &departures, &mut seen);
                    margin += in_common.margin(&seen);
                }
                let probability = mode.calibration.probability(margin);
                Prognosis {
                    mode: mode.mode.clone(),
                    probability,
                    horizon_hours: self.card.horizon_hours,
                    contributions: if probability >= explained_from {
                        self.explain(mode, &x)
                    } else {
                        Vec::new()
                    },
                }
            })
            .collect()
    }

    /// Probability of failure within the horizon by remaining life alone: where every life that the model learnt
    /// from ended in one failure mode, and the trees do not speak of that mode. `rul` is the newest of `state`.
    #[must_use]
    pub fn predict_from_life(&self, state: &LifeState, rul: &Rul) -> Option<Prognosis> {
        let life = self.life.as_ref()?;
        let mode = life.mode()?;
        if self.modes.iter().any(|m| m.mode == *mode) {
            return None;
        }
        let horizon_hours = self.card.horizon_hours;
        let probability = rul.share_failed_by(horizon_hours)?;
        Some(Prognosis {
            mode: mode.clone(),
            probability,
            horizon_hours,
            contributions: if probability >= EXPLAINED_FROM {
                life.explain(state, &self.spec.metrics)
            } else {
                Vec::new()
            },
        })
    }

    /// Counts what the model sees at `ts` towards [`Self::drift`]: the features, and the reading's own values for
    /// remaining life. Every row counts as much as any other: give rows at equal distances in time.
    pub fn observe(
        &self,
        features: &FeatureState,
        ts: Timestamp,
        values: &[Option<f64>],
        counts: &mut InputCounts,
    ) {
        let mut x = Vec::new();
        if !self.inputs.is_empty() {
            self.spec.extract(features, ts, &mut x);
        }
        let of_life = self.life.as_ref().map(|life| (life, life.placed(values)));
        let mut parts: Vec<(&Inputs, Option<&[f64]>)> = vec![(&self.inputs, Some(&x))];
        if let Some((life, (regime, deviations))) = &of_life {
            let here = |r: usize| (*regime == Some(r)).then_some(&deviations[..]);
            parts.extend(life.inputs().iter().enumerate().map(|(r, i)| (i, here(r))));
        }
        drift::count(&parts, counts);
    }

    /// How far the counted inputs have moved away from the training: of the trees from its healthy rows, of remaining life
    /// from whole lives; `None` before the first.
    #[must_use]
    pub fn drift(&self, counts: &InputCounts) -> Option<Drift> {
        let of_life = self.life.as_ref().map(|life| {
            let mut names = life.metrics(&self.spec.metrics);
            for name in &mut names {
                name.push_str(" at its operating point");
            }
            (life, names)
        });
        let mut parts: Vec<(&Inputs, &[String])> = vec![(&self.inputs, &self.card.features)];
        if let Some((life, names)) = &of_life {
            parts.extend(life.inputs().iter().map(|inputs| (inputs, &names[..])));
        }
        drift::drift(&parts, counts)
    }

    /// The features that raised the probability most, largest first; their shares sum to 1.
    fn explain(&self, mode: &ModeModel, x: &[f64]) -> Vec<Contribution> {
        let mut moved = vec![0.0; x.len()];
        if let Some(own) = &mode.forest {
            own.contributions(x, &mut moved);
        }
        if let (Some(view), Some(in_common)) = (&mode.view, &self.in_common) {
            let mut seen = Vec::with_capacity(VIEW_FEATURES);
            view.extend(x, &self.usual, &mut seen);
            let mut moved_in_view = [0.0; VIEW_FEATURES];
            in_common.contributions(&seen, &mut moved_in_view);
            view.credit(&moved_in_view, x, &self.usual, &mut moved);
        }
        let mut raised: Vec<(usize, f64)> = moved
            .into_iter()
            .enumerate()
            .filter(|(_, by)| *by > 0.0)
            .collect();
        raised.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        raised.truncate(EXPLAINED_MAX);
        let whole: f64 = raised.iter().map(|(_, by)| by).sum();
        raised
            .into_iter()
            .map(|(feature, by)| {
                let (expected, seen) = (self.usual[feature].median, x[feature]);
                let side = if seen > expected {
                    "above"
                } else if seen < expected {
                    "below"
                } else {
                    "at"
                };
                Contribution {
                    name: self.card.features[feature].clone(),
                    share: by / whole,
                    expected,
                    seen,
                    reason: format!("{side} the median of healthy machines"),
                }
            })
            .collect()
    }
}

/// Puts what is expected where nothing can be said.
pub(crate) fn fill_unknown(x: &mut [f64], usual: &[Usual]) {
    for (value, usual) in x.iter_mut().zip(usual.iter().cycle()) {
        if value.is_nan() {
            *value = usual.median;
        }
    }
}
