#![doc = include_str!("../README.md")]

mod class;
mod device;
mod episodes;
mod evidence;
mod limits;
mod settings;

pub use class::ClassDetector;
pub use device::DeviceDetector;
pub use episodes::{EPISODES_MAX, Episodes};
pub use evidence::{Evidence, Scored};
pub use settings::{DetectError, DetectSettings, EpisodeSettings};
