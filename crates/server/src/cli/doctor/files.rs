//! Directory, secrets, models, disk.

use std::fs::File;
use std::path::Path;

use forecare_catalogue::Catalogue;
use forecare_domain::ClassName;

use super::{Findings, Patient};
use crate::models::directory;
use crate::models::library::{InRole, Library, Role, role_of};

/// Below this share of a disk, or of bytes, free: a warning.
const FREE_SHARE_WARN: f64 = 0.1;
const FREE_BYTES_WARN: u64 = 2 << 30;
/// Below this: nothing can be promised any more.
const FREE_BYTES_FAIL: u64 = 256 << 20;

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    home(patient, findings);
    secrets(patient, findings);
    models(patient, findings);
    disk("disk", &patient.home, findings);
    spill(patient, findings);
}

fn home(patient: &Patient, findings: &mut Findings) {
    let dir = &patient.home;
    if !dir.is_dir() {
        findings.warn(
            "home",
            format!("there is no instance in {} yet", dir.display()),
            "start `forecare serve`, or name the instance's directory with --home DIR",
        );
        return;
    }
    // As a new file: the lock and the token may be another user's and still readable.
    match tempfile_in(dir) {
        Ok(()) => findings.ok(
            "home",
            format!(
                "{}, {}",
                dir.display(),
                if patient.running {
                    "a service runs in it"
                } else {
                    "no service runs in it"
                }
            ),
        ),
        Err(error) => findings.fail(
            "home",
            format!("{} cannot be written: {error}", dir.display()),
            "give the service's user write permission, or run this as that user",
        ),
    }
}

fn tempfile_in(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    drop(File::create(&path)?);
    std::fs::remove_file(path)
}

fn secrets(patient: &Patient, findings: &mut Findings) {
    let config = &patient.config;
    let mut n_private = 0;
    // Made at the first start.
    let made = [
        ("token", "the API token"),
        ("metrics-token", "the token for Prometheus"),
    ];
    let made = made.map(|(file, what)| (patient.home.join(file), what));
    let of_home = made.iter().filter(|(path, _)| path.exists());
    let mut files: Vec<(&Path, String)> = of_home
        .map(|(path, what)| (path.as_path(), (*what).to_owned()))
        .collect();
    files.extend([
        (
            config.mqtt.password_file.as_path(),
            "mqtt.password_file".to_owned(),
        ),
        (
            config.store.password_file.as_path(),
            "store.password_file".to_owned(),
        ),
    ]);
    let channels = config.notify.channel.iter();
    files.extend(channels.map(|(name, c)| (c.secret_file(), format!("notify.channel.{name}"))));
    for (path, key) in files {
        if path.as_os_str().is_empty() {
            continue;
        }
        match File::open(path) {
            Err(error) => findings.fail(
                "secrets",
                format!("{key}: {} cannot be read: {error}", path.display()),
                "give the service's user read permission, or correct the path",
            ),
            Ok(_) if is_open_to_others(path) => findings.warn(
                "secrets",
                format!("{key}: other users can read {}", path.display()),
                format!("chmod 600 {}", path.display()),
            ),
            Ok(_) => n_private += 1,
        }
    }
    if let Some(file) = &patient.config_file
        && holds_password(&config.store.url)
        && is_open_to_others(file)
    {
        findings.warn(
            "secrets",
            format!(
                "store.url holds a password, and other users can read {}",
                file.display()
            ),
            format!(
                "chmod 600 {}, or move it into a file and name that as store.password_file",
                file.display()
            ),
        );
    }
    if n_private > 0 {
        findings.ok(
            "secrets",
            format!("{n_private} files, readable by their owner only"),
        );
    }
}

/// `scheme://user:password@host`.
fn holds_password(url: &str) -> bool {
    url.split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_path: &Path) -> bool {
    false
}

fn models(patient: &Patient, findings: &mut Findings) {
    let library = Library::new(directory(&patient.config, &patient.home));
    let in_role = match library.in_role(&patient.catalogue) {
        Ok(in_role) => in_role,
        Err(error) => {
            findings.failed("models", &error);
            return;
        }
    };
    if in_role.is_empty() {
        findings.ok(
            "models",
            "none: the detectors work alone (`forecare train` learns one)",
        );
    }
    for (class, models) in in_role {
        if let Err(error) = class_models(&library, &class, &models, &patient.catalogue, findings) {
            findings.failed("models", &error);
        }
    }
}

fn class_models(
    library: &Library,
    class: &ClassName,
    models: &InRole,
    catalogue: &Catalogue,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let roles = library.roles(class)?;
    let versions = library.versions(class)?;
    for version in &versions {
        // Live and shadow are told of below.
        if role_of(&roles, version) == Role::Kept
            && let Err(error) = library.version(class, version, catalogue)
        {
            findings.warn(
                "models",
                format!("{error:#}"),
                "nothing uses it; restore it or remove it",
            );
        }
    }
    if let (Some(wanted), None) = (&roles.shadow, &models.shadow) {
        let why = library.version(class, wanted, catalogue).err();
        findings.warn(
            "models",
            format!(
                "{class}: the shadow {wanted} cannot be used: {:#}",
                why.unwrap_or_else(|| anyhow::anyhow!("it is not there"))
            ),
            format!("forecare models shadow off --class {class}"),
        );
    }
    let shadow = models.shadow.as_ref().map_or(String::new(), |s| {
        format!(", {} is tried beside it", s.version)
    });
    let text = match &models.live {
        Some(live) => format!(
            "{class}: {} of {} is live and fits{shadow}",
            live.version,
            versions.len().max(1)
        ),
        None => format!(
            "{class}: none of {} is live, the detectors work alone{shadow}",
            versions.len()
        ),
    };
    match roles.demotion() {
        Some(change) => findings.warn(
            "models",
            format!(
                "{text}; {} was taken out of service at {}: {}",
                change.from.as_deref().unwrap_or("the last one"),
                change.at,
                change.why
            ),
            "`forecare models list` names the versions, `forecare models show VERSION` what became of one; learn a new one (`forecare train history`), and promote what you decide for",
        ),
        None if models.live.is_none() && roles.history.is_empty() && !versions.is_empty() => {
            findings.warn(
                "models",
                text,
                format!("forecare models promote {} --class {class}", versions[0]),
            );
        }
        None => findings.ok("models", text),
    }
    Ok(())
}

fn spill(patient: &Patient, findings: &mut Findings) {
    let config = &patient.config.spill;
    let dir = if config.dir.as_os_str().is_empty() {
        patient.home.join("spill")
    } else {
        disk("spill", &config.dir, findings);
        config.dir.clone()
    };
    let bytes: u64 = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum();
    let text = format!(
        "at most {} MiB wait on disk for the store, of {}",
        bytes >> 20,
        config.bytes_max >> 20
    );
    if bytes > config.bytes_max / 2 {
        findings.warn(
            "spill",
            text,
            "see why the store takes nothing, or too little; when it is full publishers wait",
        );
    } else {
        findings.ok("spill", text);
    }
}

/// Free space where `path` lies, or will.
fn disk(check: &'static str, path: &Path, findings: &mut Findings) {
    // A relative path that does not exist yet lies in the working directory.
    let there = path
        .ancestors()
        .find(|p| p.is_dir())
        .unwrap_or(Path::new("."));
    let Some((free, total)) = space(there) else {
        findings.warn(
            check,
            format!("free space at {} cannot be told", there.display()),
            "look at it by hand (df)",
        );
        return;
    };
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let (share, gib) = (
        free as f64 / total.max(1) as f64,
        free as f64 / f64::from(1 << 30),
    );
    let text = format!(
        "{gib:.1} GiB free at {} ({:.0} %)",
        path.display(),
        share * 100.0
    );
    let fix = "free space, or move it to a larger disk";
    if free < FREE_BYTES_FAIL {
        findings.fail(check, text, fix);
    } else if free < FREE_BYTES_WARN || share < FREE_SHARE_WARN {
        findings.warn(check, text, fix);
    } else {
        findings.ok(check, text);
    }
}

/// Bytes free for this user, and in all.
#[cfg(unix)]
fn space(path: &Path) -> Option<(u64, u64)> {
    let at = rustix::fs::statvfs(path).ok()?;
    Some((at.f_bavail * at.f_frsize, at.f_blocks * at.f_frsize))
}

#[cfg(not(unix))]
fn space(_path: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_seen() {
        assert!(holds_password("postgres://me:secret@host/db"));
        assert!(!holds_password("postgres://me@host:5432/db"));
        assert!(!holds_password("postgres://host/db"));
    }
}
