#![doc = include_str!("../README.md")]

mod bounds;
mod chart;
mod class;
mod codec;
mod density;
mod device;
mod episodes;
mod evidence;
mod health;
mod hours;
mod limits;
mod look;
mod metric;
mod novelty;
mod operation;
mod regimes;
mod settings;
mod signature;
mod tail;
mod together;
mod week;

pub use class::ClassDetector;
pub use device::{DeviceDetector, from_fleet};
pub use episodes::{EPISODES_MAX, Episodes};
pub use evidence::{Evidence, Scored};
pub use settings::{DetectError, DetectSettings, EpisodeSettings};
