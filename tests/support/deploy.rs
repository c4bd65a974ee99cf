//! What `deploy/` holds, and the tools that judge it.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The top of the tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the tree")
}

/// A file of `deploy/`, as text.
pub(crate) fn text(path: &str) -> String {
    let path = root().join("deploy").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below `dir` with this ending.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A tool that Debian has, wherever it lies.
pub(crate) fn tool(name: &str, package: &str) -> Command {
    let dirs = [
        "/usr/bin",
        "/usr/sbin",
        "/bin",
        "/usr/local/bin",
        "/usr/local/sbin",
    ];
    let path = dirs
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"));
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

/// Runs to the end; fails with what the tool said.
pub(crate) fn pass(command: &mut Command) -> String {
    let output = command.output().expect("the tool starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}:\n{said}");
    said
}

/// Copies `deploy/`, and what it reads of the tree, into `to`: `bootstrap` writes beside itself. Returns the copy of
/// `deploy/`.
pub(crate) fn copy(to: &Path) -> PathBuf {
    for part in ["deploy", "crates/catalogue/catalogues"] {
        let source = root().join(part);
        for file in files(&source, "") {
            let relative = file.strip_prefix(root()).expect("below the root");
            // What an installation in this checkout has made is not part of it.
            if relative.starts_with("deploy/compose/instance") || relative.ends_with(".env") {
                continue;
            }
            let copy = to.join(relative);
            std::fs::create_dir_all(copy.parent().expect("a parent")).expect("a directory");
            std::fs::copy(&file, &copy).expect("a copy");
        }
    }
    to.join("deploy")
}

/// Runs `bootstrap` in a copy of `deploy/`.
pub(crate) fn bootstrap(deploy: &Path, names: &[&str]) -> (bool, String) {
    let output = Command::new(deploy.join("compose/bootstrap"))
        .args(names)
        .stdin(Stdio::null())
        .output()
        .expect("bootstrap starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), said)
}
