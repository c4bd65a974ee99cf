//! A Mosquitto of the test's own, a subscriber that writes everything down, and a proxy that cuts connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

const MOSQUITTO: &str = "/usr/sbin/mosquitto";
const DEADLINE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(20);

/// A running broker; ends with the value.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Broker {
    /// Starts Mosquitto on a free loopback port with queues that drop nothing.
    pub(crate) async fn start(name: &str, access: &str) -> Self {
        // The port is free again when the listener is dropped.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let file = format!("{}/mosquitto-{name}.conf", env!("CARGO_TARGET_TMPDIR"));
        let config = format!(
            "listener {} 127.0.0.1\n{access}\nmax_queued_messages 0\nmax_inflight_messages 1000\n",
            address.port()
        );
        std::fs::write(&file, config).unwrap();
        let process = Command::new(MOSQUITTO)
            .args(["-c", &file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("{MOSQUITTO} does not start ({e}); install it: apt-get install mosquitto")
            });
        let broker = Self { address, process };
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            sleep(RETRY).await;
        }
        broker
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A subscriber to everything that devices publish.
pub(crate) struct Recorder {
    /// Topic and payload of each message, in order of arrival.
    pub(crate) seen: Vec<(String, String)>,
    connection: EventLoop,
    _client: AsyncClient,
}

impl Recorder {
    /// Subscribes with QoS 1; returns once the broker has confirmed it.
    pub(crate) async fn subscribe(broker: SocketAddr) -> Self {
        let mut options = MqttOptions::new("recorder", broker.ip().to_string(), broker.port());
        options.set_receive_maximum(Some(1000));
        let (client, mut connection) = AsyncClient::new(options, 10);
        client
            .subscribe("devices/#", QoS::AtLeastOnce)
            .await
            .unwrap();
        let confirmed = async {
            while !matches!(
                connection.poll().await.unwrap(),
                Event::Incoming(Packet::SubAck(_))
            ) {}
        };
        timeout(DEADLINE, confirmed).await.unwrap();
        Self {
            seen: Vec::new(),
            connection,
            _client: client,
        }
    }

    /// Records until `enough`, at most a minute.
    pub(crate) async fn until(&mut self, enough: impl Fn(&[(String, String)]) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !enough(&self.seen) {
            let event = timeout_at(deadline, self.connection.poll())
                .await
                .unwrap_or_else(|_| panic!("only {} messages within a minute", self.seen.len()))
                .unwrap();
            if let Event::Incoming(Packet::Publish(message)) = event {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                self.seen
                    .push((text(&message.topic), text(&message.payload)));
            }
        }
    }
}

/// A way to `broker` that cuts each of its first `n_cuts` connections after `bytes` bytes towards the broker.
pub(crate) async fn cutting_proxy(broker: SocketAddr, n_cuts: usize, bytes: u64) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let limits = std::iter::repeat_n(bytes, n_cuts).chain(std::iter::repeat(u64::MAX));
        for limit in limits {
            let (device, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(broker).await.unwrap();
            tokio::spawn(relay(device, server, limit));
        }
    });
    address
}

async fn relay(mut device: TcpStream, mut server: TcpStream, limit: u64) {
    use tokio::io::AsyncReadExt;
    let (from_device, mut to_device) = device.split();
    let (mut from_server, mut to_server) = server.split();
    let mut limited = from_device.take(limit);
    // Either direction's end drops both sockets.
    tokio::select! {
        _ = tokio::io::copy(&mut limited, &mut to_server) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_device) => {}
    }
}
