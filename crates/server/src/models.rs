//! The life of models: versions on disk, which one speaks and which is tried beside it, when one is taken out of
//! service, and how one is learnt from what the instance has stored.
//!
//! [`library`] keeps files and roles; [`watch`] looks at what a model sees and says while the pipeline scores;
//! [`guard`] brings changes of roles to the running service and demotes; [`compare`] asks two versions about stored
//! history; [`learn`] turns stored history and verdicts into something to train on.

pub(crate) mod compare;
pub(crate) mod gauges;
pub(crate) mod guard;
pub(crate) mod learn;
pub(crate) mod library;
pub(crate) mod record;
pub(crate) mod watch;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use forecare_catalogue::Catalogue;
use forecare_prognosis::Model;

use crate::config::Config;

/// Where an instance keeps its models.
#[must_use]
pub(crate) fn directory(config: &Config, home: &Path) -> PathBuf {
    if config.models.dir.as_os_str().is_empty() {
        home.join("models")
    } else {
        config.models.dir.clone()
    }
}

/// Reads a model file and checks it against its class in the catalogue.
///
/// # Errors
/// It is no model, or does not fit its class; the text names the file.
pub(crate) fn read(file: &Path, catalogue: &Catalogue) -> Result<Model> {
    let model = read_any(file)?;
    let Some(class) = catalogue.class(model.class()) else {
        bail!(
            "the model {} is for class \"{}\", which the catalogue does not have: name the configuration whose catalogue has it (--config FILE), or add the class",
            file.display(),
            model.class()
        );
    };
    model
        .check_fits(class)
        .with_context(|| format!("cannot use the model {}", file.display()))?;
    Ok(model)
}

/// Reads a model file, of whatever class.
fn read_any(file: &Path) -> Result<Model> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Model::from_json(&text).with_context(|| format!("cannot use the model {}", file.display()))
}

/// Writes a model file so that a crash leaves the old one or the new one.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn save(model: &Model, file: &Path) -> Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    write_whole(file, model.to_json().as_bytes())
}

/// Writes a file whole or not at all, and durably.
fn write_whole(file: &Path, content: &[u8]) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let partial = file.with_file_name(format!("{name}.part"));
    let written = File::create(&partial).and_then(|mut part| {
        part.write_all(content)?;
        part.sync_all()?;
        fs::rename(&partial, file)?;
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests;
