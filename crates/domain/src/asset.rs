//! The machines, and how they are.

use serde::{Deserialize, Serialize};

use crate::{AssetId, ClassName, DepotName, DeviceId, Prognosis, Rul, Timestamp};

/// A machine under care, and the device that reports for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// The asset's id.
    pub id: AssetId,
    /// The device that measures it; one device per asset.
    pub device: DeviceId,
    /// Its class in the catalogue.
    pub class: ClassName,
    /// What people call it.
    pub name: String,
    /// Where it stands; may be empty.
    pub site: String,
    /// The depot that serves it; `None`: the catalogue's first.
    pub depot: Option<DepotName>,
    /// When it was registered.
    pub registered_at: Timestamp,
}

/// What a device says of its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// The device.
    pub device: DeviceId,
    /// True after `online`, false after `offline` (its last will).
    pub online: bool,
    /// When we heard of it.
    pub at: Timestamp,
}

/// The state of health of one asset as of its newest scored reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetHealth {
    /// The asset's device.
    pub device: DeviceId,
    /// The newest scored reading.
    pub at: Timestamp,
    /// 0 (failing) to 100 (as good as new).
    pub health: f64,
    /// Anomaly score of the newest reading, 0 to 1.
    pub anomaly: f64,
    /// Failure probability per failure mode; empty where no model is loaded.
    pub prognoses: Vec<Prognosis>,
    /// Remaining useful life from the trend of health.
    pub rul: Rul,
}
