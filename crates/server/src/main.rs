//! The `forecare` command.
fn main() {}
