//! `forecare serve`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use forecare_domain::Clock;
use tracing::{info, warn};

use super::{DEMO_CATALOGUE, HomeArg, SERVE_HOME, log_to_stderr, stop_signal};
use crate::app::{App, AppOptions, catalogue};
use crate::clock::{DeviceClock, SystemClock};
use crate::config::{ClockMode, Config};
use crate::home::Home;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    home: HomeArg,
    /// Config file (`forecare config default` prints one).
    #[arg(long, env = "FORECARE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    addresses: AddressArgs,
}

/// Addresses that replace those of the configuration.
#[derive(Debug, Args)]
pub(crate) struct AddressArgs {
    /// URL of an external broker, mqtt:// or mqtts://; without it the embedded one is used.
    #[arg(long, value_name = "URL")]
    pub(super) mqtt: Option<String>,
    /// Address of the embedded broker.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) mqtt_listen: Option<String>,
    /// Address of API and console.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Option<String>,
}

impl AddressArgs {
    /// Keys of the configuration with their values, as TOML.
    pub(super) fn overrides(&self) -> Vec<(&'static str, String)> {
        [
            ("mqtt.url", &self.mqtt),
            ("mqtt.listen", &self.mqtt_listen),
            ("http.listen", &self.http),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, format!("{:?}", value.as_ref()?))))
        .collect()
    }
}

pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    let config = Config::load(args.config.as_deref(), &args.addresses.overrides())?;
    log_to_stderr(&config.log.filter, config.log.format)?;
    if let Some(address) = config.mqtt.unencrypted() {
        warn!(
            address,
            "passwords and readings cross the network unencrypted: use mqtts://, or keep mqtt.listen on 127.0.0.1"
        );
    }
    let catalogue = catalogue(&config.catalogue, DEMO_CATALOGUE)?;
    let home = Home::open(&args.home.or(SERVE_HOME))?;
    let system: Arc<dyn Clock> = Arc::new(SystemClock);
    let clock: Arc<dyn Clock> = match config.clock {
        ClockMode::System => Arc::clone(&system),
        ClockMode::Device => Arc::new(DeviceClock::new(forecare_domain::Timestamp::from_millis(0))),
    };
    let token_file = home.token_file();
    let start = App::start(AppOptions {
        home,
        config,
        catalogue,
        clock,
        arrival_clock: system,
        notice: None,
        credentials: Vec::new(),
    });
    // The database may keep us waiting.
    let mut app = tokio::select! {
        app = start => app?,
        stopped = stop_signal() => return stopped,
    };
    println!("console  {}", app.console_url());
    if let Some(addr) = app.mqtt_addr {
        println!("mqtt     mqtt://{addr}");
    }
    println!("token    in {}", token_file.display());
    tokio::select! {
        ended = app.failed() => return ended,
        stopped = stop_signal() => stopped?,
    }
    info!("stopping: no new messages, storing what is here");
    app.shutdown().await
}
