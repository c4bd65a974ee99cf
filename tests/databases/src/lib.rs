//! Real databases for tests, on free loopback ports: [`Postgres`] clusters to stop, restart, promote and cut off
//! ([`Proxy`]), with or without TLS ([`Authority`]), and a [`Timescale`].
//!
//! Whatever a test starts ends with it: on drop, and, as every server watches a pipe from the test process, also when
//! that process is killed. A piece that is missing fails the test with the line that installs it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "for tests only: what cannot be set up fails the test"
)]

mod certificates;
mod postgres;
mod proxy;
mod timescale;

use std::process::{Command, Stdio};
use std::time::Duration;

pub use certificates::{Authority, Certificate};
pub use postgres::{Options, Postgres};
pub use proxy::{Cut, Proxy};
pub use timescale::Timescale;

/// Longest wait for a server to start, to stop or to answer.
const DEADLINE: Duration = Duration::from_secs(90);

/// Runs a program to its end; its standard output.
fn run(command: &mut Command, install: &str) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{name} does not start ({e}): {install}"));
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs SQL with psql; the result's values, a row a line, separated by `|`.
fn psql(url: &str, sql: &str) -> String {
    let mut command = Command::new(postgres::program("psql"));
    command.args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        url,
        "-c",
        sql,
    ]);
    run(&mut command, postgres::INSTALL).trim_end().to_owned()
}
