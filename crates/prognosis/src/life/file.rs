//! A model file that holds a life section alone.

use forecare_catalogue::AssetClass;
use forecare_domain::Timestamp;

use super::learn::{LifeError, LifeParams, learn_life};
use crate::drift::Inputs;
use crate::features::FeatureSpec;
use crate::model::{Model, ModelCard};
use crate::rows::{History, HistoryItem};
use crate::train::CardData;
use crate::view::Usual;

/// Learns a model of `class` that tells remaining useful life and no failure modes: for histories that run to
/// failure and say nothing of how. `progress` hears the share done, 0 to 1.
///
/// # Errors
/// [`LifeError`]: too little to learn from, or a setting out of range.
pub fn train_life(
    class: &AssetClass,
    histories: &[History],
    params: &LifeParams,
    card_data: &CardData,
    progress: &mut dyn FnMut(f64),
) -> Result<Model, LifeError> {
    let (life, _) = learn_life(class, histories, params, progress)?;
    let times = || histories.iter().flat_map(|h| &h.items).map(HistoryItem::ts);
    let spec = FeatureSpec {
        metrics: class.metrics.iter().map(|m| m.name.to_string()).collect(),
        codes: Vec::new(),
        components: Vec::new(),
        own_usual_at: None,
    };
    let card = ModelCard {
        data: card_data.data.clone(),
        trained_at: card_data.trained_at,
        from: times().min().unwrap_or(Timestamp::MIN),
        to: times().max().unwrap_or(Timestamp::MIN),
        n_machines: life.scores().map_or(0, |s| s.n_machines),
        n_rows: life.scores().map_or(0, |s| s.n_readings),
        horizon_hours: class.horizon_hours,
        settings: format!(
            "remaining life: {} set(s) of {} trees, depth {}, learning rate {}, leaf rows {}, l2 {}, {} of the rows and {} of the features a tree, {} folds, seed {}",
            params.forests,
            params.rounds,
            params.depth,
            params.learning_rate,
            params.leaf_rows_min,
            params.l2,
            params.rows_share,
            params.features_share,
            params.folds,
            params.seed
        ),
        features: spec.names(),
        scores: Vec::new(),
        modes_left_out: class
            .modes
            .iter()
            .map(|m| &m.name)
            .filter(|mode| life.mode() != Some(*mode))
            .map(ToString::to_string)
            .collect(),
        modes_refused: Vec::new(),
        sha256: String::new(),
    };
    // No mode has trees that would ask for them.
    let usual = vec![
        Usual {
            median: 0.0,
            spread: 1.0
        };
        card.features.len()
    ];
    let model = Model::seal(
        class.name.clone(),
        card,
        spec,
        usual,
        None,
        Vec::new(),
        Inputs::default(),
    );
    Ok(model.with_life(life))
}
