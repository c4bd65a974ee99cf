//! Cases that every adapter must pass.
