//! A Mosquitto of the test's own, on a free loopback port.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub struct Mosquitto {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn program() -> PathBuf {
    [
        "/usr/sbin/mosquitto",
        "/usr/bin/mosquitto",
        "/usr/local/sbin/mosquitto",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("mosquitto is missing: apt-get install mosquitto")
}

impl Mosquitto {
    /// Writes the configuration; sessions survive a restart.
    pub fn prepare() -> Self {
        let mosquitto = Self {
            dir: TempDir::new().unwrap(),
            port: free_port(),
            child: None,
        };
        mosquitto.configure("");
        mosquitto
    }

    pub fn configure(&self, more: &str) {
        let dir = self.dir.path().display();
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
             persistence_location {dir}/\nautosave_interval 0\nmax_queued_messages 0\n{more}\n",
            self.port
        );
        std::fs::write(self.dir.path().join("mosquitto.conf"), config).unwrap();
    }

    pub async fn start() -> Self {
        let mut mosquitto = Self::prepare();
        mosquitto.resume().await;
        mosquitto
    }

    /// Starts it, again, on the same port with the same sessions.
    pub async fn resume(&mut self) {
        let child = Command::new(program())
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let addr = self.addr();
        super::until("mosquitto to listen", || {
            TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok()
        })
        .await;
    }

    /// Ends it so that it saves its sessions.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = Command::new("kill")
                .arg("-TERM")
                .arg(child.id().to_string())
                .status()
                .unwrap();
            assert!(ended.success());
            child.wait().unwrap();
        }
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn url(&self) -> String {
        format!("mqtt://{}", self.addr())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
