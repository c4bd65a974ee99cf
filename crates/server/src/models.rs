//! Model files: found, read, checked against the catalogue.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use forecare_catalogue::Catalogue;
use forecare_prognosis::Model;

/// Reads every `*.json` in `dir`; none if it does not exist.
///
/// # Errors
/// A file that is no model, does not fit its class, or speaks for a class that has one already.
pub(crate) fn load(dir: &Path, catalogue: &Catalogue) -> Result<Vec<Model>> {
    let mut files: Vec<PathBuf> = match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<_, _>>()
            .with_context(|| format!("cannot list the models in {}", dir.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot list the models in {}", dir.display()));
        }
    };
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    let mut models: Vec<Model> = Vec::new();
    for file in files {
        let model = read(&file, catalogue)?;
        if models.iter().any(|m| m.class() == model.class()) {
            bail!(
                "{} is a second model for class {}: keep one of them in {}",
                file.display(),
                model.class(),
                dir.display()
            );
        }
        models.push(model);
    }
    Ok(models)
}

/// Reads one model file.
///
/// # Errors
/// It is no model, or does not fit its class.
pub(crate) fn read(file: &Path, catalogue: &Catalogue) -> Result<Model> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let model = Model::from_json(&text)
        .with_context(|| format!("cannot use the model {}", file.display()))?;
    let Some(class) = catalogue.class(model.class()) else {
        bail!(
            "the model {} is for class \"{}\", which the catalogue does not have: add the class, or remove the file",
            file.display(),
            model.class()
        );
    };
    model
        .check_fits(class)
        .with_context(|| format!("cannot use the model {}", file.display()))?;
    Ok(model)
}

/// Writes a model so that a crash leaves the old file or the new one.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn save(model: &Model, file: &Path) -> Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let partial = file.with_extension("json.part");
    fs::write(&partial, model.to_json())
        .with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, file).with_context(|| format!("cannot write {}", file.display()))
}
