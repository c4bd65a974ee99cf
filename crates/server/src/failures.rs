//! Failures that are on record outside Forecare: a CSV file with the columns device, ts and mode.

use std::path::Path;

use anyhow::{Context, Result, bail};
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, ClassName, DeviceId, ModeName, Timestamp};

/// Two records of the same failure lie at most so far apart, hours.
pub(crate) const SAME_FAILURE_H: f64 = 24.0;

/// A failure of a device of the instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) device: DeviceId,
    pub(crate) mode: ModeName,
    pub(crate) at: Timestamp,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FailuresFile {
    /// In the order of the file.
    pub(crate) failures: Vec<Failure>,
    /// Lines that name devices which are not among the assets.
    pub(crate) n_elsewhere: usize,
}

/// Reads the failures of `assets`.
///
/// # Errors
/// The file cannot be read, a line of it cannot be used (the text names it), or no line names one of the assets.
pub(crate) fn read(path: &Path, assets: &[Asset], catalogue: &Catalogue) -> Result<FailuresFile> {
    let mut reader = csv::ReaderBuilder::new()
        // Lines that end with CR and LF are counted one too low otherwise; the CR is trimmed.
        .terminator(csv::Terminator::Any(b'\n'))
        .trim(csv::Trim::All)
        .flexible(true)
        .from_path(path)
        .with_context(|| format!("cannot read the failures {}", path.display()))?;
    let headers = reader.headers()?.clone();
    let column = |name: &str| {
        headers.iter().position(|h| h == name).with_context(|| {
            format!(
                "{} has no column \"{name}\"; it needs device, ts and mode",
                path.display()
            )
        })
    };
    let (device, ts, mode) = (column("device")?, column("ts")?, column("mode")?);
    let mut file = FailuresFile::default();
    let mut stranger = None;
    for record in reader.records() {
        let record = record.with_context(|| format!("{}", path.display()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let here = || format!("{}, line {line}", path.display());
        if record.iter().all(str::is_empty) {
            continue;
        }
        if record.len() != headers.len() {
            bail!(
                "{}: has {} cells, the header {}",
                here(),
                record.len(),
                headers.len()
            );
        }
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let device = DeviceId::new(cell(device)).with_context(here)?;
        let Some(asset) = assets.iter().find(|a| a.device == device) else {
            file.n_elsewhere += 1;
            stranger.get_or_insert(device);
            continue;
        };
        file.failures.push(Failure {
            mode: known_mode(catalogue, &asset.class, cell(mode)).with_context(here)?,
            at: instant(cell(ts)).with_context(here)?,
            device,
        });
    }
    if let (Some(stranger), true) = (stranger, file.failures.is_empty()) {
        bail!(
            "{}: no line names a device of this instance: \"{stranger}\" is none{}; write the devices as they are called here",
            path.display(),
            assets
                .first()
                .map_or_else(String::new, |a| format!(", \"{}\" is one", a.device))
        );
    }
    Ok(file)
}

fn known_mode(catalogue: &Catalogue, class: &ClassName, name: &str) -> Result<ModeName> {
    let class = catalogue
        .class(class)
        .with_context(|| format!("class {class} is not in the catalogue"))?;
    let mode = ModeName::new(name).ok().filter(|m| class.mode(m).is_some());
    let Some(mode) = mode else {
        let known: Vec<&str> = class.modes.iter().map(|m| m.name.as_str()).collect();
        bail!(
            "class {} has no failure mode \"{name}\"; it has {}",
            class.name,
            known.join(", ")
        );
    };
    Ok(mode)
}

/// RFC 3339, or epoch milliseconds.
fn instant(text: &str) -> Result<Timestamp> {
    match text.parse::<i64>() {
        Ok(ms) => Ok(Timestamp::from_millis(ms)),
        Err(_no_number) => Ok(text.parse()?),
    }
}
