//! How fast is the embedded broker when a commit takes 2 ms?
//!
//! `cargo run --release -p forecare-ingest --example embedded_throughput -- [connections] [seconds]`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecare_domain::{ManualClock, Timestamp};
use forecare_ingest::{
    Authorizer, BatchLimit, EmbeddedBroker, EmbeddedConfig, IngestStats, Source,
};
use rumqttc::{AsyncClient, MqttOptions, QoS};

const COMMIT: Duration = Duration::from_millis(2);

struct Everyone;

impl Authorizer for Everyone {
    fn authenticate(&self, _id: &str, _user: Option<&str>, _password: Option<&[u8]>) -> bool {
        true
    }

    fn may_publish(&self, _user: Option<&str>, _topic: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _user: Option<&str>, _filter: &str) -> bool {
        true
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let connections: usize = args.next().map_or(Ok(50), |arg| arg.parse())?;
    let seconds: u64 = args.next().map_or(Ok(10), |arg| arg.parse())?;
    let stats = Arc::new(IngestStats::default());
    let config = EmbeddedConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        queue_max: 10_000,
        payload_bytes_max: 65_536,
        clients_max: connections,
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let (broker, mut source) =
        EmbeddedBroker::start(config, Arc::new(Everyone), clock, Arc::clone(&stats)).await?;
    for n in 0..connections {
        let addr = broker.local_addr();
        let options = MqttOptions::new(format!("m{n}"), addr.ip().to_string(), addr.port());
        let (client, mut events) = AsyncClient::new(options, 100);
        tokio::spawn(async move { while events.poll().await.is_ok() {} });
        tokio::spawn(async move {
            let topic = format!("devices/m{n}/telemetry");
            let payload = vec![b'x'; 194];
            let publish = || client.publish(&topic, QoS::AtLeastOnce, false, payload.clone());
            while publish().await.is_ok() {}
        });
    }
    let limit = BatchLimit {
        messages_max: 10_000,
        linger: Duration::ZERO,
    };
    let started = Instant::now();
    let mut batches = 0_u64;
    while started.elapsed() < Duration::from_secs(seconds)
        && let Some(batch) = source.next_batch(limit).await
    {
        tokio::time::sleep(COMMIT).await;
        source.commit(batch.position).await;
        batches += 1;
    }
    println!(
        "{connections} connections: {} messages/s in {} batches/s",
        stats.acked() / seconds,
        batches / seconds
    );
    drop(source);
    broker.shutdown().await;
    Ok(())
}
