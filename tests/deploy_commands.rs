//! The commands that `deploy/` documents and its scripts, beside a `docker` that only notes what it is told.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/deploy.rs"]
mod tree;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tree::{bootstrap, copy, files, root, text};
use yaml_rust2::YamlLoader;

/// A `docker` that notes its arguments, a line each.
struct NotedDocker {
    bin: PathBuf,
    said: PathBuf,
}

impl NotedDocker {
    fn new(dir: &Path) -> Self {
        let (bin, said) = (dir.join("bin"), dir.join("docker-said"));
        std::fs::create_dir(&bin).unwrap();
        let docker = bin.join("docker");
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{}'\ncase \"$*\" in *pg_restore*) cat >/dev/null ;; *pg_dump*) echo dump ;; esac\n",
            said.display()
        );
        std::fs::write(&docker, script).unwrap();
        std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { bin, said }
    }

    /// Runs `command` with it in front of any other.
    fn beside(&self, command: &mut Command) -> Output {
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.bin.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs lines of a shell in `dir`; fails where one of them does.
    fn shell(&self, dir: &Path, lines: &str) {
        let done = self.beside(Command::new("bash").args(["-euc", lines]).current_dir(dir));
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{lines}\n{said}");
    }

    fn heard(&self) -> Vec<String> {
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        said.lines().map(str::to_owned).collect()
    }
}

/// The blocks of shell commands in a section of `deploy/README.md`.
fn commands_of(section: &str) -> Vec<String> {
    let readme = text("README.md");
    let (_, rest) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// Content by path below `dir`.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(dir, "")
        .into_iter()
        .map(|file| {
            let content = std::fs::read(&file).unwrap();
            (file.strip_prefix(dir).unwrap().to_owned(), content)
        })
        .collect()
}

#[test]
fn a_restore_starts_the_database_alone_and_the_rest_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = commands_of("Backup, restore, upgrade");
    let [backup, restore] = blocks.as_slice() else {
        panic!("a block for the backup, and one for the restore: {blocks:?}");
    };
    let textfiles = dir.path().join("node-exporter");
    std::fs::create_dir(&textfiles).unwrap();
    let backup = backup.replace("/var/lib/node-exporter", &textfiles.display().to_string());

    let old = copy(&dir.path().join("old")).join("compose");
    assert!(bootstrap(old.parent().unwrap(), &["localhost"]).0);
    std::fs::write(old.join("instance/state/mosquitto/mosquitto.db"), "queued").unwrap();
    std::fs::write(old.join("instance/state/grafana/grafana.db"), "sessions").unwrap();
    let docker = NotedDocker::new(dir.path());
    docker.shell(&old, &backup);
    assert!(textfiles.join("forecare.prom").is_file());

    let new = copy(&dir.path().join("new")).join("compose");
    for archive in ["forecare.dump", "instance.tgz"] {
        std::fs::rename(old.join(archive), new.join(archive)).unwrap();
    }
    std::fs::remove_file(&docker.said).unwrap();
    docker.shell(&new, restore);

    let said = docker.heard();
    let at = |words: &str| {
        let found = said.iter().position(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("{words}: {said:#?}"))
    };
    let whole = at("timescaledb_post_restore");
    let order = [
        at("up -d --wait timescaledb"),
        at("DROP DATABASE"),
        at("timescaledb_pre_restore"),
        at("pg_restore"),
        whole,
    ];
    assert!(order.is_sorted(), "{said:#?}");
    let starts = |line: &str| {
        let word = line
            .split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        ["up", "start", "restart", "run", "create"].contains(&word.as_str())
    };
    for line in said[..whole].iter().filter(|line| starts(line)) {
        assert_eq!(line, "compose up -d --wait timescaledb");
    }
    assert!(
        said[whole..]
            .iter()
            .any(|line| line == "compose up -d --build"),
        "{said:#?}"
    );

    // What a new machine gets by it: everything but what Grafana and Prometheus keep for themselves.
    let mut kept = contents(&old.join("instance"));
    assert!(kept.remove(Path::new("state/grafana/grafana.db")).is_some());
    assert_eq!(contents(&new.join("instance")), kept);
    assert!(new.join("instance/state/grafana").is_dir());
    assert_eq!(
        std::fs::read(old.join(".env")).unwrap(),
        std::fs::read(new.join(".env")).unwrap()
    );
}

/// Docker takes a container that was sent a signal by `kill` for stopped by hand: `restart: unless-stopped` leaves it
/// then, also after a crash, until somebody starts it.
#[test]
fn nothing_sends_a_container_a_signal_by_docker() {
    for file in files(&root().join("deploy"), "") {
        if file.starts_with(root().join("deploy/compose/instance")) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let commands = text.lines().filter(|l| !l.trim().starts_with('#'));
        for line in commands {
            assert!(
                !line.contains("docker compose kill") && !line.contains("docker kill"),
                "{}: {line}",
                file.display()
            );
        }
    }
}

#[test]
fn services_can_read_their_configuration_whatever_umask_the_checkout_was_made_with() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = copy(dir.path());
    let all = Command::new("chmod")
        .args(["-R", "go-rwx"])
        .arg(&deploy)
        .status();
    assert!(all.unwrap().success());
    assert!(bootstrap(&deploy, &["localhost"]).0);
    let compose = YamlLoader::load_from_str(&text("compose/compose.yaml")).unwrap();
    let mut n_read = 0;
    for service in compose[0]["services"].as_hash().unwrap().values() {
        let volumes = service["volumes"].as_vec().into_iter().flatten();
        for volume in volumes.filter_map(|v| v.as_str()?.split(':').next()) {
            if !volume.starts_with('.') || volume.starts_with("./instance") {
                continue;
            }
            let mounted = deploy.join("compose").join(volume);
            let inside = if mounted.is_dir() {
                files(&mounted, "")
            } else {
                vec![mounted]
            };
            for file in inside {
                let mode = std::fs::metadata(&file).unwrap().permissions().mode();
                assert_ne!(mode & 0o004, 0, "{}", file.display());
                n_read += 1;
            }
        }
    }
    assert!(n_read >= 12, "{n_read}");
}

#[test]
fn a_device_is_not_added_under_a_name_or_option_that_cannot_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = copy(dir.path());
    assert!(bootstrap(&deploy, &["localhost"]).0);
    let docker = NotedDocker::new(dir.path());
    for (words, says) in [
        (&["pump"][..], "usage"),
        (&["--site", "Hall 1", "pump"], "usage"),
        (&["--depot", "north", "pump", "press-1"], "--site SITE"),
        (
            &["--name", "Press", "pump", "press-1", "press-2"],
            "of one device",
        ),
        (&["pump", "../press"], "cannot be a device's name"),
        (&["pump", "forecare"], "own user"),
    ] {
        let done = docker.beside(Command::new(deploy.join("compose/add-device")).args(words));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            !done.status.success() && said.contains(says),
            "{words:?}: {said}"
        );
    }
    assert_eq!(docker.heard(), [""; 0]);
}
