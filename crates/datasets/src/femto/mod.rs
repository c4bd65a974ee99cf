//! FEMTO-ST PRONOSTIA: bearings run to failure on a test rig (Nectoux et al., "PRONOSTIA: an experimental platform
//! for bearings accelerated degradation tests", IEEE PHM 2012).

mod directory;
mod load;
mod score;

pub use directory::{Femto, Truth, load_directory};
pub use load::{Bearing, FemtoError, METRICS, SNAPSHOT_SECONDS, load};
pub use score::{CUT_SHARES, accuracy, percent_error};
