//! FEMTO-ST PRONOSTIA: bearings run to failure on a test rig (Nectoux et al., "PRONOSTIA: an experimental platform
//! for bearings accelerated degradation tests", IEEE PHM 2012).

mod load;
mod score;

pub use load::{Bearing, FemtoError, METRICS, SNAPSHOT_SECONDS, load};
pub use score::{PUBLISHED_CUTS, PublishedCut, accuracy, percent_error};
