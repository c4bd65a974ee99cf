//! The models on disk: `<class>/v1.json`, `<class>/v2.json`, ... never changed once written, and beside them
//! `<class>/state.json`, which says who has which role. A file `*.json` in the directory itself is from before there
//! were versions, or put there by hand: it is taken in as a version.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use forecare_catalogue::Catalogue;
use forecare_domain::ClassName;
use forecare_prognosis::Model;
use tracing::warn;

use super::record::{Action, Reason, Roles};
use super::{read, read_any, save, write_whole};

const STATE: &str = "state.json";

/// The models of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    dir: PathBuf,
}

/// A version of a class's model, read.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// `v1`, `v2`, ...
    pub(crate) version: String,
    pub(crate) model: Arc<Model>,
}

impl Named {
    /// SHA-256 on the card, hexadecimal.
    pub(crate) fn sha256(&self) -> &str {
        &self.model.card().sha256
    }
}

/// The versions that have a role in a class.
#[derive(Debug, Clone, Default)]
pub(crate) struct InRole {
    pub(crate) live: Option<Named>,
    pub(crate) shadow: Option<Named>,
}

/// What became of a model that was put into the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) version: String,
    pub(crate) role: Role,
    /// The same model was there already: nothing has changed.
    pub(crate) known: bool,
}

/// What a version does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It speaks.
    Live,
    /// It is tried beside the live one.
    Shadow,
    /// Nothing.
    Kept,
}

impl Role {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
            Self::Kept => "kept",
        }
    }
}

impl Library {
    /// The library in that directory, which need not exist yet.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Classes with versions, by name.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub(crate) fn classes(&self) -> Result<Vec<ClassName>> {
        let mut classes: Vec<ClassName> = entries(&self.dir)?
            .into_iter()
            .filter(|path| path.is_dir())
            .filter_map(|path| ClassName::new(path.file_name()?.to_str()?).ok())
            .collect();
        classes.sort();
        Ok(classes)
    }

    /// Names of a class's versions, oldest first.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub(crate) fn versions(&self, class: &ClassName) -> Result<Vec<String>> {
        let mut versions: Vec<String> = entries(&self.shelf(class)?)?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .filter(|path| path.file_name().is_none_or(|name| name != STATE))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        versions.sort_by(|a, b| number(a).cmp(&number(b)).then(a.cmp(b)));
        Ok(versions)
    }

    /// Who has which role in a class; nobody where there is no state file.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(crate) fn roles(&self, class: &ClassName) -> Result<Roles> {
        let file = self.shelf(class)?.join(STATE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Roles::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged: restore it, or remove it and promote a version",
                file.display()
            )
        })
    }

    /// A version of a class, checked against the catalogue.
    ///
    /// # Errors
    /// There is no such version (the text lists those there are), or it cannot be used.
    pub(crate) fn version(
        &self,
        class: &ClassName,
        version: &str,
        catalogue: &Catalogue,
    ) -> Result<Named> {
        let file = self.file(class, version)?;
        if !file.is_file() {
            let there = self.versions(class)?;
            bail!(
                "class {class} has no model \"{version}\" in {}: there {}",
                self.dir.display(),
                if there.is_empty() {
                    "is none".to_owned()
                } else {
                    format!("are {}", there.join(", "))
                }
            );
        }
        let model = read(&file, catalogue)?;
        if model.class() != class {
            bail!(
                "{} is a model for class {}, but lies with those of {class}: move it",
                file.display(),
                model.class()
            );
        }
        Ok(Named {
            version: version.to_owned(),
            model: Arc::new(model),
        })
    }

    /// What a service works with: of every class its live version and the one tried beside it. A file in the directory
    /// itself speaks for its class where that has no versions.
    ///
    /// # Errors
    /// A live model cannot be used; two files speak for one class. A shadow that cannot be used is left out with a
    /// warning.
    pub(crate) fn in_role(&self, catalogue: &Catalogue) -> Result<Vec<(ClassName, InRole)>> {
        let mut found: Vec<(ClassName, InRole)> = Vec::new();
        for class in self.classes()? {
            if catalogue.class(&class).is_none() {
                bail!(
                    "{} holds models for class \"{class}\", which the catalogue does not have: name the configuration whose catalogue has it (--config FILE), or add the class",
                    self.dir.join(class.as_str()).display()
                );
            }
            let roles = self.roles(&class)?;
            let live = match &roles.live {
                Some(version) => Some(self.live_version(&class, version, catalogue)?),
                None => None,
            };
            let shadow = roles.shadow.as_deref().and_then(|version| {
                self.version(&class, version, catalogue)
                    .map_err(|error| {
                        warn!(%class, version, error = format!("{error:#}"), "the shadow model cannot be used: left out");
                    })
                    .ok()
            });
            found.push((class, InRole { live, shadow }));
        }
        for (class, live) in self.loose_live(catalogue)? {
            let alone = InRole {
                live: Some(live),
                shadow: None,
            };
            found.push((class, alone));
        }
        Ok(found)
    }

    /// The models that lie in the directory itself and speak for a class without versions.
    ///
    /// # Errors
    /// One of them cannot be used; two are for one class.
    pub(crate) fn loose_live(&self, catalogue: &Catalogue) -> Result<Vec<(ClassName, Named)>> {
        let shelved = self.classes()?;
        let mut seen: Vec<(ClassName, PathBuf)> = Vec::new();
        let mut found = Vec::new();
        for (file, model) in self.loose(catalogue)? {
            let class = model.class().clone();
            if let Some((_, other)) = seen.iter().find(|(c, _)| *c == class) {
                bail!(
                    "{} and {} both are models for class {class}: keep one of them in {}, or put them in as versions with `forecare models add`",
                    other.display(),
                    file.display(),
                    self.dir.display()
                );
            }
            seen.push((class.clone(), file));
            if !shelved.contains(&class) {
                let live = Named {
                    version: "v1".to_owned(),
                    model: Arc::new(model),
                };
                found.push((class, live));
            }
        }
        Ok(found)
    }

    /// The live version of a class, checked against the catalogue.
    ///
    /// # Errors
    /// It cannot be used; the text names those that can.
    pub(crate) fn live_version(
        &self,
        class: &ClassName,
        version: &str,
        catalogue: &Catalogue,
    ) -> Result<Named> {
        self.version(class, version, catalogue).with_context(|| {
            let others = self.versions(class).unwrap_or_default();
            let usable: Vec<&str> = others
                .iter()
                .map(String::as_str)
                .filter(|v| *v != version && self.version(class, v, catalogue).is_ok())
                .collect();
            match usable.as_slice() {
                [] => format!("{version}, the live model of class {class}, cannot be used"),
                usable => format!(
                    "{version}, the live model of class {class}, cannot be used; {} can: `forecare models promote VERSION --class {class}` makes one live",
                    usable.join(", ")
                ),
            }
        })
    }

    /// Takes the files that lie in the directory itself in as versions; says what it did.
    ///
    /// # Errors
    /// One of them cannot be used; the directory cannot be written.
    pub(crate) fn adopt(&self, catalogue: &Catalogue, reason: &Reason) -> Result<Vec<String>> {
        let loose = self.loose(catalogue)?;
        if loose.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        let mut said = Vec::new();
        for (file, model) in loose {
            let class = model.class().clone();
            let reason = Reason {
                why: format!(
                    "found as {}",
                    file.file_name().unwrap_or_default().to_string_lossy()
                ),
                ..reason.clone()
            };
            let placed = self.place(&model, &reason)?;
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            said.push(format!(
                "{} is now {class} {}, {}",
                file.display(),
                placed.version,
                placed.role.label()
            ));
        }
        Ok(said)
    }

    /// Puts a model in as the next version of its class: live where it is the first, else tried beside the live one.
    /// A model that is there already stays what it is.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn add(&self, model: &Model, reason: &Reason) -> Result<Placed> {
        let _lock = self.lock()?;
        self.place(model, reason)
    }

    fn place(&self, model: &Model, reason: &Reason) -> Result<Placed> {
        let class = model.class();
        let mut roles = self.roles(class)?;
        let versions = self.versions(class)?;
        let mut known = None;
        for version in &versions {
            // A damaged version is not this one.
            let same = read_any(&self.file(class, version)?)
                .is_ok_and(|m| m.card().sha256 == model.card().sha256);
            if same {
                known = Some(version.clone());
            }
        }
        let has_history = !roles.history.is_empty();
        let version = match &known {
            Some(version) => version.clone(),
            None => {
                let next = versions.iter().map(|v| number(v)).max().unwrap_or(0) + 1;
                let version = format!("v{next}");
                save(model, &self.file(class, &version)?)?;
                version
            }
        };
        // A crash may have left a version that the state file does not know yet.
        if known.is_none() || !has_history {
            roles.add(&version, reason);
            self.write(class, &roles)?;
        }
        Ok(Placed {
            role: role_of(&roles, &version),
            version,
            known: known.is_some() && has_history,
        })
    }

    /// Changes roles of a class, one change at a time.
    ///
    /// # Errors
    /// What `change` says; the directory cannot be written.
    pub(crate) fn change<T>(
        &self,
        class: &ClassName,
        change: impl FnOnce(&mut Roles) -> Result<T>,
    ) -> Result<T> {
        let _lock = self.lock()?;
        let mut roles = self.roles(class)?;
        let done = change(&mut roles)?;
        self.write(class, &roles)?;
        Ok(done)
    }

    /// Makes a version live.
    ///
    /// # Errors
    /// It cannot be used, or is live already.
    pub(crate) fn promote(
        &self,
        class: &ClassName,
        version: &str,
        catalogue: &Catalogue,
        reason: &Reason,
    ) -> Result<()> {
        self.version(class, version, catalogue)?;
        self.change(class, |roles| {
            if roles.live.as_deref() == Some(version) {
                bail!("{version} is live for class {class} already");
            }
            roles.promote(version, reason);
            Ok(())
        })
    }

    /// Takes the live version back, to the one before; returns that.
    ///
    /// # Errors
    /// None was live before.
    pub(crate) fn roll_back(
        &self,
        class: &ClassName,
        catalogue: &Catalogue,
        reason: &Reason,
    ) -> Result<String> {
        self.change(class, |roles| {
            let usable = |version: &str| self.version(class, version, catalogue).is_ok();
            match roles.back(Action::RolledBack, usable, reason) {
                Some(version) => Ok(version),
                None => bail!(
                    "no usable version was live for class {class} before this one: `forecare models promote VERSION` makes another one live, `forecare models off` leaves the detectors alone"
                ),
            }
        })
    }

    /// Takes the live version out of service: the usable one before comes back, or none. Returns it. Nothing happens
    /// where `version` is no longer the live one.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn demote(
        &self,
        class: &ClassName,
        version: &str,
        catalogue: &Catalogue,
        reason: &Reason,
    ) -> Result<Option<Option<String>>> {
        self.change(class, |roles| {
            if roles.live.as_deref() != Some(version) {
                return Ok(None);
            }
            let usable = |version: &str| self.version(class, version, catalogue).is_ok();
            Ok(Some(roles.back(Action::Demoted, usable, reason)))
        })
    }

    /// The file of a version.
    ///
    /// # Errors
    /// Class or version are no names for files.
    pub(crate) fn file(&self, class: &ClassName, version: &str) -> Result<PathBuf> {
        if version.is_empty() || version.starts_with('.') || version.contains(['/', '\\']) {
            bail!("\"{version}\" is no name of a version");
        }
        Ok(self.shelf(class)?.join(format!("{version}.json")))
    }

    fn shelf(&self, class: &ClassName) -> Result<PathBuf> {
        if class.as_str().starts_with('.') {
            bail!("class \"{class}\" cannot have models: its name begins with a dot");
        }
        Ok(self.dir.join(class.as_str()))
    }

    fn write(&self, class: &ClassName, roles: &Roles) -> Result<()> {
        let dir = self.shelf(class)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        write_whole(
            &dir.join(STATE),
            (serde_json::to_string_pretty(roles)? + "\n").as_bytes(),
        )
    }

    /// Files in the directory itself, with the models in them.
    fn loose(&self, catalogue: &Catalogue) -> Result<Vec<(PathBuf, Model)>> {
        let mut files = entries(&self.dir)?;
        files.retain(|f| f.is_file() && f.extension().is_some_and(|e| e == "json"));
        files.sort();
        files
            .into_iter()
            .map(|file| {
                let model = read(&file, catalogue)?;
                Ok((file, model))
            })
            .collect()
    }

    /// Keeps other processes from changing anything while it lives.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let path = self.dir.join(".lock");
        let locked = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .and_then(|lock| {
                lock.lock()?;
                Ok(lock)
            });
        locked.with_context(|| {
            format!(
                "cannot change the models in {}: give this user write permission, or run this as the service's user",
                self.dir.display()
            )
        })
    }
}

/// What a version does.
pub(crate) fn role_of(roles: &Roles, version: &str) -> Role {
    if roles.live.as_deref() == Some(version) {
        Role::Live
    } else if roles.shadow.as_deref() == Some(version) {
        Role::Shadow
    } else {
        Role::Kept
    }
}

/// The number in `v12`; 0 where there is none.
fn number(version: &str) -> u64 {
    version
        .strip_prefix('v')
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// What lies in a directory; nothing where it does not exist.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<_, _>>(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    listed.with_context(|| format!("cannot list the models in {}", dir.display()))
}
