//! Model files: found, read, checked against the catalogue.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use forecare_catalogue::Catalogue;
use forecare_prognosis::Model;
use rust_embed::RustEmbed;

/// The models that ship with the program.
#[derive(RustEmbed)]
#[folder = "../../models"]
struct BuiltIn;

/// Reads every `*.json` in `dir` (none if it does not exist), and adds built-in models for classes of the
/// catalogue that have no file.
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
    for name in BuiltIn::iter() {
        let Some(file) = BuiltIn::get(&name).filter(|_| name.ends_with(".json")) else {
            continue;
        };
        let text = std::str::from_utf8(&file.data).context("a built-in model is damaged")?;
        let model = Model::from_json(text).context("a built-in model is damaged")?;
        // A changed catalogue may have made the built-in model useless: then it is left out.
        let fits = catalogue
            .class(model.class())
            .is_some_and(|class| model.check_fits(class).is_ok());
        if fits && !models.iter().any(|m| m.class() == model.class()) {
            models.push(model);
        }
    }
    Ok(models)
}

fn read(file: &Path, catalogue: &Catalogue) -> Result<Model> {
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
