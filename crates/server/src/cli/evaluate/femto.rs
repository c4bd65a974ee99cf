//! To be written.

use anyhow::{Result, bail};

use super::EvaluateArgs;

pub(super) fn run(args: &EvaluateArgs) -> Result<()> {
    bail!("not there yet: {} {}", args.data.display(), args.out.display())
}
