//! Nanoseconds per typical message. Run with `cargo bench -p forecare-wire`.
fn main() {}
