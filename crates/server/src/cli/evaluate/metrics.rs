//! `metrics.json`: the scores, for machines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes `metrics.json` into the directory of the results.
pub(super) fn write(out: &Path, metrics: &impl Serialize) -> Result<()> {
    let path = out.join("metrics.json");
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let text = serde_json::to_string_pretty(metrics)?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}
