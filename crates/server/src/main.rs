//! The `forecare` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    forecare_server::run()
}
