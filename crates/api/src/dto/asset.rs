//! Assets, devices, health.

use forecare_domain::{Asset, AssetHealth, DeviceStatus, Prognosis, Rul, Timestamp};
use forecare_store::MaintenanceWindow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ContributionDto;

/// A device and its connection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceDto {
    /// The device's id, as in its MQTT topics.
    pub(crate) id: String,
    /// The asset it measures.
    pub(crate) asset_id: String,
    /// True after `online`, false after `offline`; null: it never said.
    pub(crate) online: Option<bool>,
    /// When we heard of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) status_at: Option<Timestamp>,
    /// Time of its newest scored reading.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) scored_at: Option<Timestamp>,
}

impl DeviceDto {
    pub(crate) fn new(
        asset: &Asset,
        status: Option<&DeviceStatus>,
        health: Option<&AssetHealth>,
    ) -> Self {
        Self {
            id: asset.device.to_string(),
            asset_id: asset.id.to_string(),
            online: status.map(|s| s.online),
            status_at: status.map(|s| s.at),
            scored_at: health.map(|h| h.at),
        }
    }
}

/// Remaining useful life.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum RulDto {
    /// A trend reaches the failure threshold after about so many hours.
    Trend {
        /// One in ten fails earlier.
        p10_hours: f64,
        /// Median.
        p50_hours: f64,
        /// One in ten lasts longer.
        p90_hours: f64,
    },
    /// What machines that ran to failure had left when they looked like this one.
    Learnt {
        /// One in ten fails earlier.
        p10_hours: f64,
        /// Median.
        p50_hours: f64,
        /// One in ten lasts longer.
        p90_hours: f64,
    },
    /// No statistically sound trend towards failure.
    NoTrend,
}

impl From<Rul> for RulDto {
    fn from(rul: Rul) -> Self {
        match rul {
            Rul::Trend {
                p10_hours,
                p50_hours,
                p90_hours,
            } => Self::Trend {
                p10_hours,
                p50_hours,
                p90_hours,
            },
            Rul::Learnt {
                p10_hours,
                p50_hours,
                p90_hours,
            } => Self::Learnt {
                p10_hours,
                p50_hours,
                p90_hours,
            },
            Rul::NoTrend => Self::NoTrend,
        }
    }
}

/// Probability that a failure mode strikes within a horizon.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PrognosisDto {
    /// The failure mode.
    pub(crate) mode: String,
    /// 0 to 1.
    pub(crate) probability: f64,
    /// The horizon, hours.
    pub(crate) horizon_hours: f64,
    /// What moved it, largest share first.
    pub(crate) contributions: Vec<ContributionDto>,
}

impl From<Prognosis> for PrognosisDto {
    fn from(p: Prognosis) -> Self {
        Self {
            mode: p.mode.into(),
            probability: p.probability,
            horizon_hours: p.horizon_hours,
            contributions: p.contributions.into_iter().map(Into::into).collect(),
        }
    }
}

/// State of health as of the newest scored reading.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct HealthDto {
    /// The device.
    pub(crate) device_id: String,
    /// The newest scored reading.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// 0 (failing) to 100 (as good as new).
    pub(crate) health_percent: f64,
    /// Anomaly score of the newest reading, 0 to 1.
    pub(crate) anomaly_score: f64,
    /// Failure probability per failure mode; empty where no model is loaded.
    pub(crate) prognoses: Vec<PrognosisDto>,
    /// Remaining useful life.
    pub(crate) rul: RulDto,
}

impl From<AssetHealth> for HealthDto {
    fn from(h: AssetHealth) -> Self {
        Self {
            device_id: h.device.into(),
            at: h.at,
            health_percent: h.health,
            anomaly_score: h.anomaly,
            prognoses: h.prognoses.into_iter().map(Into::into).collect(),
            rul: h.rul.into(),
        }
    }
}

/// A machine under care.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssetDto {
    /// The asset's id.
    pub(crate) id: String,
    /// The device that measures it.
    pub(crate) device_id: String,
    /// Its class in the catalogue.
    pub(crate) class: String,
    /// What people call it.
    pub(crate) name: String,
    /// Where it stands; may be empty.
    pub(crate) site: String,
    /// The depot that serves it; null: the catalogue's first.
    pub(crate) depot: Option<String>,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) registered_at: Timestamp,
    /// State of health; null: nothing scored yet.
    pub(crate) health: Option<HealthDto>,
    /// Number of its open tickets.
    pub(crate) n_open_tickets: u64,
}

impl AssetDto {
    pub(crate) fn new(asset: &Asset, health: Option<&AssetHealth>, n_open_tickets: u64) -> Self {
        Self {
            id: asset.id.to_string(),
            device_id: asset.device.to_string(),
            class: asset.class.to_string(),
            name: asset.name.clone(),
            site: asset.site.clone(),
            depot: asset.depot.as_ref().map(ToString::to_string),
            registered_at: asset.registered_at,
            health: health.cloned().map(Into::into),
            n_open_tickets,
        }
    }
}

/// An asset to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAssetDto {
    /// The asset's id: letters, digits, `-`, `_`, `.` and `:`, at most 128.
    #[schema(example = "pump-7")]
    pub(crate) id: String,
    /// The device that measures it; the asset's id where not given.
    pub(crate) device_id: Option<String>,
    /// Its class in the catalogue.
    #[schema(example = "pump")]
    pub(crate) class: String,
    /// What people call it, at most 200 characters; the id where not given.
    pub(crate) name: Option<String>,
    /// Where it stands, at most 200 characters.
    #[serde(default)]
    pub(crate) site: String,
    /// The depot that serves it; the catalogue's first where not given.
    pub(crate) depot: Option<String>,
}

/// Assets to register: those with a known id are replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAssetsDto {
    /// 1 to 1,000 assets.
    pub(crate) assets: Vec<NewAssetDto>,
}

/// What was registered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredDto {
    /// Number of assets stored.
    pub(crate) n_assets: u64,
}

/// A span in which an asset is worked on and nothing is raised.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMaintenanceWindowDto {
    /// Begin.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// End; later than the begin, at most 30 days.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Timestamp,
    /// Why, in words, at most 500 characters.
    pub(crate) why: String,
}

/// A maintenance window as stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MaintenanceWindowDto {
    /// The device.
    pub(crate) device_id: String,
    /// Begin.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// End.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Timestamp,
    /// Why.
    pub(crate) why: String,
}

impl From<MaintenanceWindow> for MaintenanceWindowDto {
    fn from(w: MaintenanceWindow) -> Self {
        Self {
            device_id: w.device.into(),
            from: w.from,
            to: w.to,
            why: w.why,
        }
    }
}
