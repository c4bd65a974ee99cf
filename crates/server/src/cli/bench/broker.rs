//! A Mosquitto of the measurement's own, and a small MQTT 3.1.1 client that costs little beside it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long the broker may take to start.
const START_MAX: Duration = Duration::from_secs(10);
/// Messages of one connection under way at once.
const WINDOW: usize = 2_000;
/// Messages written at once.
const CHUNK: usize = 250;

/// A running Mosquitto; killed when dropped.
pub(super) struct Mosquitto {
    child: Child,
    pub(super) port: u16,
}

impl Mosquitto {
    /// `unlimited`: the queue of an absent client and what is under way to a present one have no bound; else the
    /// defaults hold.
    pub(super) async fn start(dir: &Path, port: u16, unlimited: bool) -> Result<Self> {
        let mut text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\n"
        );
        if unlimited {
            text.push_str("max_queued_messages 0\nmax_inflight_messages 0\n");
        }
        let path = dir.join("mosquitto.conf");
        std::fs::write(&path, text)?;
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            bail!("port {port} is in use: stop that program, or choose another with --port");
        }
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start mosquitto: apt-get install mosquitto")?;
        tokio::time::timeout(START_MAX, async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .context("mosquitto does not listen")?;
        Ok(Self { child, port })
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.child.id().context("mosquitto is gone")
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("cannot stop mosquitto")
    }
}

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    packet: u16,
    n_written: u64,
    n_acked: u64,
    /// Bytes of an acknowledgement that has not come whole.
    n_partial: usize,
    outgoing: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(port: u16, id: &str, clean_session: bool) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.push(if clean_session { 2 } else { 0 });
        body.extend_from_slice(&[0, 0]);
        put_text(&mut body, id.as_bytes());
        stream.write_all(&packet(0x10, &body)).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        if answer[0] != 0x20 || answer[3] != 0 {
            bail!("the broker refused the connection ({answer:?})");
        }
        Ok(Self {
            stream,
            packet: 0,
            n_written: 0,
            n_acked: 0,
            n_partial: 0,
            outgoing: Vec::new(),
        })
    }

    /// Leaves a session behind for which the broker queues what matches `filters`, at QoS 1.
    pub(super) async fn leave_session(port: u16, id: &str, filters: &[&str]) -> Result<()> {
        let mut client = Self::connect(port, id, false).await?;
        let mut body = vec![0, 1];
        for filter in filters {
            put_text(&mut body, filter.as_bytes());
            body.push(1);
        }
        client.stream.write_all(&packet(0x82, &body)).await?;
        let mut head = [0; 2];
        client.stream.read_exact(&mut head).await?;
        let mut answer = vec![0; usize::from(head[1])];
        client.stream.read_exact(&mut answer).await?;
        if head[0] != 0x90 || answer[2..].iter().any(|granted| *granted != 1) {
            bail!("the broker refused the subscription");
        }
        client.stream.write_all(&[0xe0, 0]).await?;
        // The broker hangs up once it has read that.
        client.stream.read_to_end(&mut answer).await?;
        Ok(())
    }

    /// Adds a QoS 1 message to what the next [`Self::flush`] sends.
    pub(super) fn put(&mut self, topic: &[u8], payload: &[u8]) {
        self.packet = self.packet.checked_add(1).unwrap_or(1);
        let length = 2 + topic.len() + 2 + payload.len();
        self.outgoing.push(0x32);
        put_length(&mut self.outgoing, length);
        put_text(&mut self.outgoing, topic);
        self.outgoing.extend_from_slice(&self.packet.to_be_bytes());
        self.outgoing.extend_from_slice(payload);
        self.n_written += 1;
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        Ok(())
    }

    /// Messages that the broker has acknowledged.
    pub(super) fn n_acked(&self) -> u64 {
        self.n_acked
    }

    /// Counts the acknowledgements that are here, without waiting.
    pub(super) fn take_acknowledgements(&mut self) -> Result<()> {
        let mut incoming = [0; 4 * WINDOW];
        match self.stream.try_read(&mut incoming) {
            Ok(n) => self.count(n),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until at most `n_open_max` messages are not acknowledged.
    pub(super) async fn settle(&mut self, n_open_max: u64) -> Result<()> {
        let mut incoming = [0; 4 * WINDOW];
        while self.n_written - self.n_acked > n_open_max {
            let n = self.stream.read(&mut incoming).await?;
            self.count(n)?;
        }
        Ok(())
    }

    /// A publisher receives nothing but acknowledgements, of 4 bytes each.
    fn count(&mut self, n_bytes: usize) -> Result<()> {
        if n_bytes == 0 {
            bail!("the broker hung up");
        }
        let n = n_bytes + self.n_partial;
        self.n_acked += u64::try_from(n / 4)?;
        self.n_partial = n % 4;
        Ok(())
    }

    /// Publishes `n` messages as fast as the broker takes them, and waits for all acknowledgements.
    pub(super) async fn publish(
        &mut self,
        n: u64,
        mut next: impl FnMut(&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<()> {
        let (mut topic, mut payload) = (Vec::new(), Vec::new());
        let mut left = n;
        while left > 0 {
            let chunk = left.min(CHUNK as u64);
            for _ in 0..chunk {
                next(&mut topic, &mut payload);
                self.put(&topic, &payload);
            }
            left -= chunk;
            self.flush().await?;
            self.settle((WINDOW - CHUNK) as u64).await?;
        }
        self.settle(0).await
    }
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    put_length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(text);
}
