//! The service as a whole: store, broker, pipeline, care desk, API; started together, stopped in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use forecare_api::{ApiState, Desk, StreamEvent};
use forecare_care::sla::{sla_of, sla_reading};
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, ClassName, Clock, SlaKind};
use forecare_ingest::{
    BatchLimit, EmbeddedBroker, EmbeddedConfig, ExternalBroker, ExternalConfig, IngestStats,
    Source, SpillConfig, SpillStats, SpillingSource,
};
use forecare_notify::{LinkRefused, SurveyLinks};
use forecare_store::{Credential, CredentialRole, Store, StoreError};
use forecare_store_timescale::ServiceClaim;
use forecare_wire::Limits;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::auth::{ADMIN, Keys};
use crate::clock::SystemClock;
use crate::config::{Config, StoreConfig};
use crate::desk::{Automation, CareDesk, SLOT_PLACES, Terms};
use crate::home::{Home, Running, secret_hash, without_user};
use crate::jobs::JobWatch;
use crate::master_data;
use crate::metrics::Metrics;
use crate::models::gauges::ModelGauges;
use crate::models::guard::{Guard, GuardParts};
use crate::models::library::{InRole, Library};
use crate::models::record::Reason;
use crate::notifier::{Notifier, NotifierMetrics, Speech};
use crate::outage::Outage;
use crate::pipeline::{Control, Pipeline, PipelineParts, chain};
use crate::storage::Storage;
use crate::survey::Survey;

/// Events a slow listener may fall behind before it is told that it missed some.
const STREAM_EVENTS_MAX: usize = 1_024;
/// Of the jitter of retries: deliveries differ by their ids.
const JITTER_SEED: u64 = 0x666f_7265_6361_7265;
/// Requests waiting for the pipeline.
const CONTROL_MAX: usize = 64;
/// How often the sources' counts are copied to the metrics.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for a store that takes nothing.
const WITHOUT_STORE_MAX: Duration = Duration::from_secs(10);
/// How soon a device added by another process (`forecare device add`) may connect.
const NOTICE_EVERY: Duration = Duration::from_secs(5);
/// How often the store looks after itself.
const MAINTAIN_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// What a service is started from.
pub(crate) struct AppOptions {
    /// The instance's directory, locked.
    pub(crate) home: Home,
    /// Settings.
    pub(crate) config: Config,
    /// What is known of the machines: text and content.
    pub(crate) catalogue: (String, Catalogue),
    /// Judges readings.
    pub(crate) clock: Arc<dyn Clock>,
    /// Tells when messages arrive.
    pub(crate) arrival_clock: Arc<dyn Clock>,
    /// A banner for the console.
    pub(crate) notice: Option<String>,
    /// Credentials beside those in the store, valid while this process runs.
    pub(crate) credentials: Vec<Credential>,
}

/// A running service.
pub(crate) struct App {
    /// Address of the embedded broker; `None` with an external one.
    pub(crate) mqtt_addr: Option<SocketAddr>,
    /// Address of API and console.
    pub(crate) http_addr: SocketAddr,
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The API token.
    pub(crate) token: String,
    /// What the source counts.
    pub(crate) stats: Arc<IngestStats>,
    /// Live events.
    pub(crate) stream: broadcast::Sender<StreamEvent>,
    metrics: Arc<Metrics>,
    storage: Storage,
    care: CareDesk,
    broker: Broker,
    pipeline: JoinHandle<Result<()>>,
    desk: JoinHandle<()>,
    notifier: JoinHandle<()>,
    api: JoinHandle<std::io::Result<()>>,
    counting: JoinHandle<()>,
    surveying: JoinHandle<()>,
    noticing: JoinHandle<()>,
    guard: Arc<Guard>,
    stop_desk: watch::Sender<bool>,
    stop_api: watch::Sender<bool>,
    stopping: Arc<AtomicBool>,
    _home: Home,
}

enum Broker {
    Embedded(EmbeddedBroker),
    External(ExternalBroker),
}

/// Text and content of the catalogue file, or of `built_in` where the path is empty.
///
/// # Errors
/// The file cannot be read, or is no catalogue.
pub(crate) fn catalogue(path: &Path, built_in: &str) -> Result<(String, Catalogue)> {
    if path.as_os_str().is_empty() {
        let catalogue = Catalogue::parse(built_in).context("the built-in catalogue is damaged")?;
        return Ok((built_in.to_owned(), catalogue));
    }
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the catalogue {}: check the key catalogue",
            path.display()
        )
    })?;
    let catalogue = Catalogue::parse(&text)
        .with_context(|| format!("the catalogue {} cannot be used", path.display()))?;
    Ok((text, catalogue))
}

impl App {
    /// Starts everything; returns once devices and people can connect.
    ///
    /// # Errors
    /// A port in use, a model that does not fit, a store that cannot be opened: each names the fix.
    pub(crate) async fn start(options: AppOptions) -> Result<Self> {
        let AppOptions {
            home,
            config,
            catalogue,
            clock,
            arrival_clock,
            notice,
            credentials,
        } = options;
        let (catalogue_text, catalogue) = catalogue;
        let token = home.api_token()?;
        let links = SurveyLinks::new(home.link_secret()?.as_bytes());
        let speech = Speech::open(&config)?;
        // The port first: it is the cheapest thing to fail on.
        let listener = TcpListener::bind(config.http.listen).await.with_context(|| {
            format!(
                "cannot listen on {} for API and console: stop the program that uses the port, or choose another address with http.listen (or --http)",
                config.http.listen
            )
        })?;
        let http_addr = listener.local_addr()?;
        let (library, in_role) = library(&config, &home, &catalogue)?;
        // Tools that open this store later must know its classes.
        home.keep_catalogue(&catalogue_text)?;
        let metrics = Arc::new(Metrics::new()?);
        let mut own = credentials;
        own.push(Credential {
            username: ADMIN.to_owned(),
            role: CredentialRole::Api,
            secret_sha256: secret_hash(token.as_bytes()),
        });
        let keys =
            Keys::new(&[], own, config.mqtt.anonymous).with_metrics_token(&home.metrics_token()?);
        let stats = Arc::new(IngestStats::default());
        let spill_stats = Arc::new(SpillStats::default());
        let counting = count_on(&metrics, &stats, &spill_stats, &arrival_clock);
        let intake = Intake {
            config: &config,
            home: &home,
            keys: &keys,
            clock: &arrival_clock,
            stats: &stats,
            spill_stats: &spill_stats,
        };
        // Before anything is taken from the broker: a second service would take it from the first.
        let who = format!(
            "process {} in {}",
            std::process::id(),
            std::path::absolute(home.dir())?.display()
        );
        let claim = Storage::claim(&config.store, &who).await?;
        let mut running = Running {
            process: std::process::id(),
            mqtt_url: without_user(&config.mqtt.url),
            mqtt_listen: None,
            http_listen: http_addr,
        };
        home.keep_running(&running)?;
        // Before the store: while its database is away the broker's queue would overflow. The embedded broker has
        // to wait, its devices' credentials are in the store.
        let early = if config.mqtt.url.is_empty() {
            None
        } else {
            Some(intake.open().await?)
        };
        let waiting = Waiting {
            metrics: &metrics,
            keys: &keys,
        };
        let (listener, storage) = open_store(
            listener,
            &config.store,
            &home.database(),
            &catalogue,
            &*clock,
            (&who, claim),
            waiting,
        )
        .await?;
        let store = storage.store();
        let stored = store.credentials().await?;
        keys.renew(&stored);
        master_data::seed(&*store, &catalogue, clock.now()).await?;
        let catalogue = Arc::new(catalogue);
        let guard = GuardParts {
            library,
            catalogue: Arc::clone(&catalogue),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            config: config.models.clone(),
            gauges: ModelGauges::new(&metrics.registry)?,
        };
        let (devices, guard) = Guard::begin(guard, in_role, &config.class_settings()).await?;
        let guard = Arc::new(guard);
        info!(n_devices = devices.len(), "detectors restored");

        let (broker, source, mqtt_addr) = match early {
            Some(open) => open,
            None => intake.open().await?,
        };
        running.mqtt_listen = mqtt_addr;
        home.keep_running(&running)?;
        let (stream, _) = broadcast::channel(STREAM_EVENTS_MAX);
        let (control, control_requests) = mpsc::channel::<Control>(CONTROL_MAX);
        let care_wake = Arc::new(Notify::new());
        let pipeline = Pipeline::new(PipelineParts {
            store: Arc::clone(&store),
            devices,
            clock: Arc::clone(&clock),
            arrival_clock: Arc::clone(&arrival_clock),
            limits: limits(&config),
            batch: BatchLimit {
                messages_max: config.ingest.batch_messages_max,
                linger: Duration::from_millis(config.ingest.batch_linger_ms),
            },
            checkpoint_rows: config.ingest.checkpoint_rows,
            auto_register: auto_register(&config, &catalogue)?,
            devices_max: config.ingest.devices_max,
            stream: stream.clone(),
            care_wake: Arc::clone(&care_wake),
            metrics: Arc::clone(&metrics),
        });
        check_care(&config, &catalogue)?;
        let terms = Terms::new(
            config.care.sla.clone(),
            config.tiers()?,
            &catalogue.currency,
        );
        let terms = Arc::new(terms.presuming(config.registry.consent));
        terms.refresh(&*store).await?;
        let tickets = Arc::new(config.care.tickets.clone());
        let appointments = Arc::new(config.care.appointments.clone());
        let desk = CareDesk {
            store: Arc::clone(&store),
            catalogue: Arc::clone(&catalogue),
            clock: Arc::clone(&clock),
            policy: config.care_policy(),
            control: control.clone(),
            stream: stream.clone(),
            metrics: Arc::clone(&metrics),
            terms: Arc::clone(&terms),
            tickets: Arc::clone(&tickets),
            automation: Arc::new(Automation::new(
                config.care.automation.clone(),
                &metrics.registry,
            )?),
            dispatch: Arc::new(config.dispatch_settings()),
            wake: care_wake,
            one_by_one: Arc::default(),
            slot_places: Arc::new(Semaphore::new(SLOT_PLACES)),
            appointments: Arc::clone(&appointments),
            replan: Arc::default(),
            assets: Arc::default(),
        };
        let notifier = Notifier {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            metrics: NotifierMetrics::new(&metrics.registry, &speech.channels)?,
            speech,
            terms: Arc::clone(&terms),
            desk: desk.clone(),
            links: links.clone(),
            seed: JITTER_SEED,
        };
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop_desk, desk_stopped) = watch::channel(false);
        let (stop_api, mut api_stopped) = watch::channel(false);
        let survey = Survey::new(
            &metrics,
            Arc::clone(&store),
            Arc::clone(&catalogue),
            Arc::clone(&clock),
        )?;
        let state = ApiState {
            store: Arc::clone(&store),
            catalogue,
            clock,
            desk: Arc::new(desk.clone()),
            stream: stream.clone(),
            metrics: metrics.registry.clone(),
            auth: Arc::new(keys.clone()),
            sla: Arc::new(move |ticket, now| {
                let terms = terms.of(ticket);
                let sla = sla_of(ticket, &terms);
                SlaKind::ALL.map(|kind| sla_reading(&sla, &terms, kind, now))
            }),
            readiness: readiness(&stats, &spill_stats, &metrics, &stopping),
            models: {
                let guard = Arc::clone(&guard);
                Arc::new(move || guard.models())
            },
            automation: {
                let automation = Arc::clone(&desk.automation);
                Arc::new(move || automation.shown())
            },
            tiers: Arc::new(config.tiers()?),
            presumed: config.registry.consent,
            appointments,
            answer_links: Arc::new(move |token, now| {
                let read = links.read(token, now);
                read.map_err(|refused| refused == LinkRefused::Expired)
            }),
            tickets,
            parts: config.parts_policy(),
            costs: config.costs(),
            notice,
        };
        let surveying = tokio::spawn(survey.run());
        let noticing = notice_devices(Arc::clone(&store), keys, stored, control.clone());
        let maintaining = maintain(storage.clone());
        let watching_jobs =
            JobWatch::new(&metrics.registry)?.run(storage.clone(), Arc::clone(&metrics));
        let guarding = Arc::clone(&guard);
        let noticing = tokio::spawn(async move {
            tokio::join!(noticing, maintaining, watching_jobs, guarding.run(control));
        });
        Ok(Self {
            mqtt_addr,
            http_addr,
            token,
            stats,
            stream,
            metrics,
            storage,
            care: desk.clone(),
            broker,
            pipeline: tokio::spawn(pipeline.run(source, control_requests)),
            notifier: tokio::spawn(notifier.run(desk_stopped.clone())),
            desk: tokio::spawn(desk.run(desk_stopped)),
            api: tokio::spawn(forecare_api::serve(listener, state, async move {
                // The sender lives as long as the service: an error means it is gone.
                api_stopped.wait_for(|stop| *stop).await.ok();
            })),
            counting,
            surveying,
            noticing,
            guard,
            store,
            stop_desk,
            stop_api,
            stopping,
            _home: home,
        })
    }

    /// Registers assets in store and pipeline.
    ///
    /// # Errors
    /// A class that the catalogue does not have, or the store refuses.
    pub(crate) async fn register(&self, assets: Vec<Asset>) -> Result<()> {
        Ok(self.care.register_assets(assets).await?)
    }

    /// URL of the console.
    #[must_use]
    pub(crate) fn console_url(&self) -> String {
        format!("http://{}/", self.http_addr)
    }

    /// Returns when a part of the service has ended by itself, which none should.
    ///
    /// # Errors
    /// Always: what ended, and why.
    pub(crate) async fn failed(&mut self) -> Result<()> {
        tokio::select! {
            ended = &mut self.pipeline => ended.context("the pipeline broke")??,
            ended = &mut self.desk => ended.context("the care desk broke")?,
            ended = &mut self.notifier => ended.context("the notifier broke")?,
            ended = &mut self.api => ended.context("the API broke")??,
            why = self.storage.replaced() => bail!(why),
        }
        bail!("a part of the service ended unexpectedly")
    }

    /// Stops in order: no more messages, pipeline drained, care desk idle, API closed, database closed.
    ///
    /// # Errors
    /// Something could not be stored on the way; what was acknowledged is stored all the same.
    pub(crate) async fn shutdown(mut self) -> Result<()> {
        self.stopping.store(true, Ordering::SeqCst);
        self.noticing.abort();
        let pipeline = drained(self.broker, &mut self.pipeline, &self.metrics.outage).await;
        if self.metrics.outage.failure().is_none()
            && let Err(error) = self.guard.save().await
        {
            warn!(
                error = chain(error.as_ref()),
                "what was seen of the models since the last minute is not kept"
            );
        }
        self.stop_desk.send_replace(true);
        self.desk.await.context("the care desk broke")?;
        self.notifier.await.context("the notifier broke")?;
        self.stop_api.send_replace(true);
        self.api.await.context("the API broke")??;
        self.surveying.abort();
        self.counting.abort();
        pipeline??;
        drop(self.guard);
        drop(self.store);
        self.storage.close().await
    }
}

/// Stops the broker and waits for the pipeline's end; without a store, only for a while: what the broker has not
/// handed to the disk would never be committed.
async fn drained(
    broker: Broker,
    pipeline: &mut JoinHandle<Result<()>>,
    outage: &Outage,
) -> Result<Result<()>> {
    let aborting = pipeline.abort_handle();
    let ended = async {
        match broker {
            Broker::Embedded(broker) => broker.shutdown().await,
            Broker::External(broker) => broker.shutdown().await,
        }
        pipeline.await
    };
    tokio::pin!(ended);
    loop {
        match tokio::time::timeout(WITHOUT_STORE_MAX, &mut ended).await {
            Ok(ended) => return ended.context("the pipeline broke"),
            Err(_elapsed) => {
                if let Some(failure) = outage.failure() {
                    aborting.abort();
                    warn!(
                        error = failure,
                        "stopping without the store: what was acknowledged is on disk, and stored after the next start"
                    );
                    return Ok(Ok(()));
                }
            }
        }
    }
}

/// The instance's models: files from before there were versions are taken in as such.
///
/// # Errors
/// A live model cannot be used.
fn library(
    config: &Config,
    home: &Home,
    catalogue: &Catalogue,
) -> Result<(Library, Vec<(ClassName, InRole)>)> {
    let library = Library::new(crate::models::directory(config, home.dir()));
    let reason = Reason {
        at: SystemClock.now(),
        by: "forecare".to_owned(),
        why: String::new(),
    };
    // Before anything is moved: a model that cannot be used stays where it is.
    let in_role = library.in_role(catalogue)?;
    match library.adopt(catalogue, &reason) {
        Ok(said) if said.is_empty() => Ok((library, in_role)),
        Ok(said) => {
            for line in said {
                info!("{line}");
            }
            let in_role = library.in_role(catalogue)?;
            Ok((library, in_role))
        }
        Err(error) => {
            warn!(
                error = format!("{error:#}"),
                "model files are used where they lie, without versions"
            );
            Ok((library, in_role))
        }
    }
}

/// Brings the sources' counts to the metrics, again and again.
fn count_on(
    metrics: &Arc<Metrics>,
    stats: &Arc<IngestStats>,
    spill_stats: &Arc<SpillStats>,
    clock: &Arc<dyn Clock>,
) -> JoinHandle<()> {
    let (metrics, stats) = (Arc::clone(metrics), Arc::clone(stats));
    let (spill_stats, clock) = (Arc::clone(spill_stats), Arc::clone(clock));
    tokio::spawn(async move {
        loop {
            metrics.refresh(&stats);
            metrics.refresh_spill(&spill_stats, clock.now());
            tokio::time::sleep(REFRESH_EVERY).await;
        }
    })
}

/// What is told, and to whom, while the database is away.
struct Waiting<'a> {
    metrics: &'a Metrics,
    keys: &'a Keys,
}

/// Opens the store. While its database cannot be reached, health, readiness and metrics are answered all the same.
async fn open_store(
    listener: TcpListener,
    config: &StoreConfig,
    database: &Path,
    catalogue: &Catalogue,
    clock: &dyn Clock,
    (who, claim): (&str, Option<ServiceClaim>),
    told: Waiting<'_>,
) -> Result<(TcpListener, Storage)> {
    let listener = listener.into_std()?;
    let mut answering: Option<(watch::Sender<String>, JoinHandle<std::io::Result<()>>)> = None;
    let waiting = |why: String| {
        told.metrics.outage.failed(why.clone());
        if let Some((reason, _)) = &answering {
            reason.send_replace(why);
            return;
        }
        // A second handle on the same socket; it serves for as long as the reason has a sender.
        match listener.try_clone().and_then(TcpListener::from_std) {
            Ok(second) => {
                let (reason, reasons) = watch::channel(why);
                answering = Some((
                    reason,
                    tokio::spawn(forecare_api::serve_waiting(
                        second,
                        reasons,
                        told.metrics.registry.clone(),
                        Arc::new(told.keys.clone()),
                    )),
                ));
            }
            Err(error) => debug!(%error, "cannot answer while waiting for the database"),
        }
    };
    let now = clock.now();
    let storage =
        Storage::open_patiently(config, database, catalogue, now, who, claim, waiting).await?;
    told.metrics.outage.over();
    if let Some((reason, task)) = answering {
        drop(reason);
        task.await.context("the API broke")??;
    }
    Ok((TcpListener::from_std(listener)?, storage))
}

/// Lets the store look after itself, once a day.
async fn maintain(storage: Storage) {
    loop {
        tokio::time::sleep(MAINTAIN_EVERY).await;
        if let Err(error) = storage.maintain(SystemClock.now()).await {
            warn!(
                error = chain(&error),
                "the store could not look after itself: again tomorrow"
            );
        }
    }
}

/// Lets devices in that another process has added to the store.
async fn notice_devices(
    store: Arc<dyn Store>,
    keys: Keys,
    mut known: Vec<Credential>,
    control: mpsc::Sender<Control>,
) {
    loop {
        tokio::time::sleep(NOTICE_EVERY).await;
        let noticed = async {
            let stored = store.credentials().await?;
            if stored != known {
                // The pipeline first: what a device sends at once must not be refused.
                let (reply, done) = oneshot::channel();
                let assets = store.assets().await?;
                if control.send(Control::Noticed(assets, reply)).await.is_ok() {
                    done.await.ok();
                }
                keys.renew(&stored);
                known = stored;
            }
            Ok::<(), StoreError>(())
        };
        if let Err(error) = noticed.await {
            debug!(
                error = chain(&error),
                "credentials not read: looking again later"
            );
        }
    }
}

/// What the way in is made of: broker, source, and the spill behind it.
struct Intake<'a> {
    config: &'a Config,
    home: &'a Home,
    keys: &'a Keys,
    clock: &'a Arc<dyn Clock>,
    stats: &'a Arc<IngestStats>,
    spill_stats: &'a Arc<SpillStats>,
}

impl Intake<'_> {
    /// Takes messages in from now on; what nobody asks for goes to disk.
    async fn open(&self) -> Result<(Broker, Box<dyn Source>, Option<SocketAddr>)> {
        let (broker, source, addr) = broker(self.config, self.keys, self.clock, self.stats).await?;
        let source = spilling(self.config, self.home, source, self.spill_stats)?;
        Ok((broker, source, addr))
    }
}

async fn broker(
    config: &Config,
    keys: &Keys,
    clock: &Arc<dyn Clock>,
    stats: &Arc<IngestStats>,
) -> Result<(Broker, Box<dyn Source>, Option<SocketAddr>)> {
    if config.mqtt.url.is_empty() {
        let embedded = EmbeddedConfig {
            listen: config.mqtt.listen,
            queue_max: config.ingest.queue_max,
            payload_bytes_max: config.ingest.payload_bytes_max,
            clients_max: config.mqtt.clients_max,
        };
        let (broker, source) = EmbeddedBroker::start(
            embedded,
            Arc::new(keys.clone()),
            Arc::clone(clock),
            Arc::clone(stats),
        )
        .await?;
        let addr = broker.local_addr();
        return Ok((Broker::Embedded(broker), Box::new(source), Some(addr)));
    }
    let external = external_config(config)?;
    let (broker, source) = ExternalBroker::connect(external, Arc::clone(clock), Arc::clone(stats))?;
    Ok((Broker::External(broker), Box::new(source), None))
}

/// Settings of the connection to the external broker.
///
/// # Errors
/// The password file cannot be read.
pub(crate) fn external_config(config: &Config) -> Result<ExternalConfig> {
    let password = secret_file(&config.mqtt.password_file, "mqtt.password_file")?;
    Ok(ExternalConfig {
        url: config.mqtt.url.clone(),
        client_id: config.mqtt.client_id.clone(),
        username: Some(config.mqtt.username.clone()).filter(|name| !name.is_empty()),
        password,
        ca_file: Some(config.mqtt.ca_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        topics: config.mqtt.topics.clone(),
        session_expiry: Duration::from_secs(u64::from(config.mqtt.session_expiry_hours) * 3_600),
        receive_maximum: config.mqtt.receive_maximum,
        payload_bytes_max: config.ingest.payload_bytes_max,
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(30),
    })
}

/// The secret in a file; `None` where no file is named.
///
/// # Errors
/// The file cannot be read; `key` is the setting that names it.
pub(crate) fn secret_file(path: &Path, key: &str) -> Result<Option<String>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}: check {key}", path.display()))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Puts memory and disk between the source and the pipeline, for when the store is away.
fn spilling(
    config: &Config,
    home: &Home,
    source: Box<dyn Source>,
    stats: &Arc<SpillStats>,
) -> Result<Box<dyn Source>> {
    let spill = &config.spill;
    let dir = if spill.dir.as_os_str().is_empty() {
        home.spill()
    } else {
        spill.dir.clone()
    };
    let memory_messages_max = if config.mqtt.url.is_empty() {
        config.ingest.queue_max
    } else {
        // What is left of the window keeps the broker sending while a first append is synced.
        (usize::from(config.mqtt.receive_maximum) * 3 / 4).max(1)
    };
    let spill = SpillConfig {
        dir,
        bytes_max: spill.bytes_max,
        disk_free_min: spill.disk_free_min,
        after: Duration::from_millis(spill.after_ms),
        memory_messages_max,
        memory_bytes_max: spill.memory_bytes_max,
    };
    let source = SpillingSource::open(spill, source, Arc::clone(stats))
        .context("the spill cannot be opened")?;
    Ok(Box::new(source))
}

fn readiness(
    stats: &Arc<IngestStats>,
    spill: &Arc<SpillStats>,
    metrics: &Arc<Metrics>,
    stopping: &Arc<AtomicBool>,
) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    let (stats, stopping) = (Arc::clone(stats), Arc::clone(stopping));
    let (spill, metrics) = (Arc::clone(spill), Arc::clone(metrics));
    Arc::new(move || {
        if stopping.load(Ordering::SeqCst) {
            return Err("shutting down".to_owned());
        }
        if !stats.connected() {
            let why = stats
                .last_error()
                .unwrap_or_else(|| "still connecting".to_owned());
            return Err(format!("not connected to the MQTT broker: {why}"));
        }
        if let Some(failure) = metrics.outage.failure() {
            let where_to = if spill.blocked() {
                "the spill takes no more: publishers wait"
            } else if spill.spilling() {
                "messages go to disk"
            } else {
                "messages wait in memory"
            };
            return Err(format!(
                "the store takes nothing: {failure}; {where_to}, {} on disk",
                spill.messages()
            ));
        }
        Ok(())
    })
}

fn limits(config: &Config) -> Limits {
    Limits {
        payload_bytes_max: config.ingest.payload_bytes_max,
        future_tolerance_hours: config.ingest.future_tolerance_minutes / 60.0,
        ..Limits::default()
    }
}

/// What the configuration's care names is in the catalogue.
///
/// # Errors
/// The first name that is not.
pub(crate) fn check_care(config: &Config, catalogue: &Catalogue) -> Result<()> {
    auto_register(config, catalogue)?;
    check_tickets(config, catalogue)?;
    check_automation(config, catalogue)
}

/// Classes, counters and parts that kinds, schedules, checklists and events name are the catalogue's.
fn check_tickets(config: &Config, catalogue: &Catalogue) -> Result<()> {
    for (class, metric) in config.care.tickets.named() {
        let Some(known) = catalogue.class(class) else {
            bail!("care.tickets names class \"{class}\", which the catalogue does not have");
        };
        if let Some(metric) = metric
            && known.metric_index(metric.as_str()).is_none()
        {
            bail!("care.tickets names the counter \"{metric}\", which class {class} does not have");
        }
    }
    for part in config.care.tickets.parts_named() {
        if catalogue.part(part).is_none() && catalogue.kit(part).is_none() {
            bail!("care.tickets names the part \"{part}\", which the catalogue does not have");
        }
    }
    Ok(())
}

/// Classes, failure modes and counters that rules of automation name are the catalogue's.
pub(crate) fn check_automation(config: &Config, catalogue: &Catalogue) -> Result<()> {
    let checked = config.care.automation.check_catalogue(catalogue);
    checked.context("care.automation cannot be used")
}

fn auto_register(config: &Config, catalogue: &Catalogue) -> Result<Option<ClassName>> {
    if config.ingest.auto_register.is_empty() {
        return Ok(None);
    }
    let class = ClassName::new(&config.ingest.auto_register).context("ingest.auto_register")?;
    if catalogue.class(&class).is_none() {
        let known: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
        bail!(
            "ingest.auto_register names class \"{class}\", the catalogue has {}",
            known.join(", ")
        );
    }
    Ok(Some(class))
}
