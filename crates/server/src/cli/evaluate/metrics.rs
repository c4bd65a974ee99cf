//! Files of results; `metrics.json`: the scores, for machines.

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

/// The directory of the results.
pub(super) struct Out<'a>(&'a Path);

impl<'a> Out<'a> {
    /// Makes the directory.
    pub(super) fn new(dir: &'a Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }

    /// Writes a file into it.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
