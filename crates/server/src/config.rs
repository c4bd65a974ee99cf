//! The configuration file: every key, its meaning and its default. `forecare config default` prints it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use forecare_api::{Costs, PartsPolicy};
use forecare_care::appointments::Appointments;
use forecare_care::automation::{AutomationRules, Known};
use forecare_care::dispatch::DispatchWeights;
use forecare_care::reorder::ReorderPolicy;
use forecare_care::sla::SlaTerms;
use forecare_care::{Calendar, CarePolicy, TicketRules};
use forecare_detect::{DetectSettings, EpisodeSettings};
use forecare_notify::{Notify, NotifySettings};
use forecare_registry::{PresumedConsent, TierRule, TierRules};
use serde::Deserialize;

use crate::desk::DispatchSettings;
use crate::pipeline::ClassSettings;

/// The documented defaults: the file that `forecare config default` prints.
pub(crate) const DEFAULT_TOML: &str = include_str!("default.toml");

/// Everything that can be set. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Path of the catalogue; empty: the built-in one.
    pub(crate) catalogue: PathBuf,
    /// Which clock judges readings.
    pub(crate) clock: ClockMode,
    /// The broker.
    pub(crate) mqtt: MqttConfig,
    /// API and console.
    pub(crate) http: HttpConfig,
    /// Where everything is kept.
    pub(crate) store: StoreConfig,
    /// From broker to store.
    pub(crate) ingest: IngestConfig,
    /// What the store does not take for a while.
    pub(crate) spill: SpillSettings,
    /// Alarms.
    pub(crate) detect: DetectConfig,
    /// Tickets and parts.
    pub(crate) care: CareConfig,
    /// Master data.
    pub(crate) registry: RegistryConfig,
    /// Trained models.
    pub(crate) models: ModelsConfig,
    /// Who is told what.
    pub(crate) notify: NotifySettings,
    /// Log lines.
    pub(crate) log: LogConfig,
}

/// Which clock judges readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClockMode {
    /// The machine's: the live service.
    System,
    /// The devices': every reading is judged at its own time. For replaying history.
    Device,
}

/// Where messages come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MqttConfig {
    /// URL of an external broker; empty: the embedded one.
    pub(crate) url: String,
    /// Address of the embedded broker.
    pub(crate) listen: SocketAddr,
    /// True: clients of the embedded broker need no credential. Loopback addresses only.
    pub(crate) anonymous: bool,
    /// Most clients of the embedded broker.
    pub(crate) clients_max: usize,
    /// Client id towards the external broker; its session is kept under this name.
    pub(crate) client_id: String,
    /// User name towards the external broker.
    pub(crate) username: String,
    /// File that holds the password towards the external broker.
    pub(crate) password_file: PathBuf,
    /// PEM file of the authority that signed the external broker's certificate.
    pub(crate) ca_file: PathBuf,
    /// Topics to subscribe to.
    pub(crate) topics: Vec<String>,
    /// How long the external broker is to keep the session while we are away, hours.
    pub(crate) session_expiry_hours: u32,
    /// Most messages in flight from the external broker.
    pub(crate) receive_maximum: u16,
}

impl MqttConfig {
    /// The address by which passwords and readings cross a network unencrypted; `None`: by none.
    pub(crate) fn unencrypted(&self) -> Option<String> {
        if self.url.is_empty() {
            return (!self.listen.ip().is_loopback()).then(|| self.listen.to_string());
        }
        let (scheme, rest) = self.url.split_once("://")?;
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let is_local = ["127.", "localhost", "[::1]"]
            .iter()
            .any(|host| place.starts_with(host));
        (scheme == "mqtt" && !is_local).then(|| format!("{scheme}://{place}"))
    }
}

/// API and console.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpConfig {
    /// Address of API and console.
    pub(crate) listen: SocketAddr,
}

/// Where everything is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreConfig {
    /// URL of a TimescaleDB; empty: SQLite in the instance's directory.
    pub(crate) url: String,
    /// File that holds the password towards the database.
    pub(crate) password_file: PathBuf,
    /// PEM file of the authority that signed the database's certificate.
    pub(crate) ca_file: PathBuf,
    /// Schema of all tables and views.
    pub(crate) schema: String,
    /// Most connections, the one that writes telemetry aside.
    pub(crate) pool_max: usize,
    /// Longest run of one statement, seconds.
    pub(crate) statement_timeout_s: u32,
    /// Length of a chunk of telemetry, hours.
    pub(crate) chunk_interval_hours: ChunkInterval,
    /// Age at which a chunk is compressed, hours; 0: never.
    pub(crate) compress_after_hours: u32,
    /// Age at which readings are dropped, days; 0: never.
    pub(crate) retention_raw_days: u32,
    /// Age at which aggregates of a minute are dropped, days; 0: never.
    pub(crate) retention_1m_days: u32,
    /// Age at which aggregates of an hour are dropped, days; 0: never.
    pub(crate) retention_1h_days: u32,
    /// Age at which aggregates of a day are dropped, days; 0: never.
    pub(crate) retention_1d_days: u32,
    /// True: take a PostgreSQL without the extension, for a look around.
    pub(crate) plain_postgres: bool,
}

/// Length of a chunk of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum ChunkInterval {
    /// So many hours.
    Hours(u32),
    /// From the sample intervals and the number of devices.
    Named(Auto),
}

/// The one word that a number may be replaced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auto {
    /// Chosen by the program.
    Auto,
}

/// From broker to store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IngestConfig {
    /// Most messages in one transaction.
    pub(crate) batch_messages_max: usize,
    /// How long a batch waits for company after its first message, milliseconds.
    pub(crate) batch_linger_ms: u64,
    /// Most messages between broker and pipeline; beyond it publishers wait.
    pub(crate) queue_max: usize,
    /// Largest payload, bytes.
    pub(crate) payload_bytes_max: usize,
    /// How far ahead of our clock a reading may be stamped, minutes.
    pub(crate) future_tolerance_minutes: f64,
    /// Asset class of devices that were never registered; empty: they are refused.
    pub(crate) auto_register: String,
    /// Most devices, registered ones included.
    pub(crate) devices_max: usize,
    /// Rows of a device between two checkpoints of its detector.
    pub(crate) checkpoint_rows: u32,
}

/// What the store does not take for a while is kept on disk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpillSettings {
    /// Directory of the files; empty: `spill` in the instance's directory.
    pub(crate) dir: PathBuf,
    /// Most bytes on disk.
    pub(crate) bytes_max: u64,
    /// Bytes that stay free on that disk.
    pub(crate) disk_free_min: u64,
    /// So long the store may take nothing before messages go to disk, milliseconds.
    pub(crate) after_ms: u64,
    /// Most bytes of messages in memory.
    pub(crate) memory_bytes_max: usize,
}

/// Alarms.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetectConfig {
    /// False alarms accepted per device and month, detectors together.
    pub(crate) false_alarms_per_device_month: f64,
    /// Hours that a warning must last before the care desk weighs it, where no model speaks.
    pub(crate) confirm_hours: f64,
    /// Hours between two looks of the care desk at a lasting alarm.
    pub(crate) reassess_hours: f64,
}

/// Tickets and parts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CareConfig {
    /// A ticket nobody started on is withdrawn after so many hours without evidence.
    pub(crate) withdraw_after_hours: f64,
    /// A soft hold on a part lasts so many hours after the last evidence.
    pub(crate) soft_hold_hours: f64,
    /// The customer's silence counts as confirmation after so many hours.
    pub(crate) confirm_after_hours: f64,
    /// Act when the expected cost of waiting exceeds the cost of acting by this share.
    pub(crate) margin: f64,
    /// An hour booked on a ticket, in the catalogue's currency.
    pub(crate) labour_cost_per_hour: f64,
    /// What customers are promised who have no contract of their own.
    pub(crate) sla: SlaTerms,
    /// Kinds of tickets, checklists, schedules, events of devices.
    pub(crate) tickets: TicketRules,
    /// The plan of who does what when.
    pub(crate) dispatch: DispatchConfig,
    /// When customers may have somebody come.
    pub(crate) appointments: Appointments,
    /// What to order of spare parts.
    pub(crate) parts: PartsConfig,
    /// When something happens and conditions hold, then something is done.
    pub(crate) automation: AutomationRules,
}

/// Most windows that a customer is offered.
const OFFERED_MAX: usize = 50;

/// What to order of spare parts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartsConfig {
    /// Share of order cycles that are to end without a part missing.
    pub(crate) service_level: f64,
    /// An order is to last so many days beyond the lead time.
    pub(crate) cycle_days: f64,
    /// Use of so many days past counts.
    pub(crate) history_days: f64,
    /// A part not used for so many days is a slow mover.
    pub(crate) slow_after_days: f64,
}

/// The plan of who does what when.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DispatchConfig {
    /// How far ahead is planned, hours.
    pub(crate) horizon_hours: f64,
    /// An hour on the road, in the catalogue's currency.
    pub(crate) travel_cost_per_hour: f64,
    /// On the road, kilometres per hour.
    pub(crate) speed_km_per_hour: f64,
    /// When technicians work whose own calendar is not known.
    pub(crate) calendar: Calendar,
}

/// Master data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryConfig {
    /// By which customers get their tier.
    pub(crate) tiers: Vec<TierRule>,
    /// What customers are taken to agree to who have said nothing.
    pub(crate) consent: PresumedConsent,
}

/// Trained models.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelsConfig {
    /// Directory of model files; empty: `models` in the instance's directory.
    pub(crate) dir: PathBuf,
    /// A live model is demoted when its tickets are surely right less often than this; 0: never.
    pub(crate) precision_min: f64,
    /// A live model is demoted when the stability index of its inputs exceeds this; 0: never.
    pub(crate) psi_max: f64,
    /// Length of the window over which inputs are compared with the training, hours.
    pub(crate) psi_window_hours: f64,
}

/// Log lines.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// Filter, as in `info` or `info,forecare_ingest=debug`.
    pub(crate) filter: String,
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Config {
    /// Defaults, then the file, then the environment (`FORECARE_MQTT__LISTEN=…`), then `overrides` of the
    /// command line as (key, value in TOML).
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value of the wrong type or out of range; the text names
    /// key and source.
    pub(crate) fn load(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Self> {
        let mut figment = Figment::from(Toml::string(DEFAULT_TOML));
        if let Some(path) = file {
            if !path.is_file() {
                bail!("there is no config file {}", path.display());
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        // FORECARE_HOME and FORECARE_CONFIG are options of the command line.
        figment = figment.merge(
            Env::prefixed("FORECARE_")
                .ignore(&["home", "config", "datasets", "replay_login"])
                .split("__"),
        );
        for (key, value) in overrides {
            let toml = key.rsplit('.').fold(String::new(), |inner, part| {
                if inner.is_empty() {
                    format!("{part} = {value}")
                } else {
                    format!("{part}.{inner}")
                }
            });
            figment = figment.merge(Toml::string(&toml));
        }
        let config: Self = figment.extract().map_err(|errors| {
            let lines: Vec<String> = errors
                .into_iter()
                // Its name for the one profile there is.
                .map(|e| e.to_string().replace("for key \"default.", "for key \""))
                .collect();
            anyhow::anyhow!(
                "the configuration cannot be used:\n  {}",
                lines.join("\n  ")
            )
        })?;
        config.check().context("the configuration cannot be used")?;
        Ok(config)
    }

    /// What monitors are told.
    pub(crate) fn class_settings(&self) -> ClassSettings {
        ClassSettings {
            detect: DetectSettings {
                false_alarms_per_device_month: self.detect.false_alarms_per_device_month,
                ..DetectSettings::default()
            },
            episodes: EpisodeSettings::default(),
            reassess_hours: self.detect.reassess_hours,
            confirm_hours: self.detect.confirm_hours,
            margin: self.care.margin,
            tickets: Arc::new(self.care.tickets.clone()),
        }
    }

    /// What the care desk is told.
    pub(crate) fn care_policy(&self) -> CarePolicy {
        CarePolicy {
            withdraw_after_hours: self.care.withdraw_after_hours,
            soft_hold_hours: self.care.soft_hold_hours,
            confirm_after_hours: self.care.confirm_after_hours,
            margin: self.care.margin,
            ..CarePolicy::default()
        }
    }

    /// What the dispatcher is told.
    pub(crate) fn dispatch_settings(&self) -> DispatchSettings {
        let dispatch = &self.care.dispatch;
        DispatchSettings {
            horizon_hours: dispatch.horizon_hours,
            calendar: dispatch.calendar.clone(),
            weights: DispatchWeights {
                travel_per_hour: dispatch.travel_cost_per_hour,
                speed_km_per_hour: dispatch.speed_km_per_hour,
                ..DispatchWeights::default()
            },
        }
    }

    /// By which rules orders of parts are proposed.
    pub(crate) fn parts_policy(&self) -> PartsPolicy {
        let parts = &self.care.parts;
        PartsPolicy {
            reorder: ReorderPolicy {
                service_level: parts.service_level,
                cycle_hours: parts.cycle_days * 24.0,
            },
            history_hours: parts.history_days * 24.0,
            slow_after_hours: parts.slow_after_days * 24.0,
        }
    }

    /// What work costs.
    pub(crate) fn costs(&self) -> Costs {
        Costs {
            labour_per_hour: self.care.labour_cost_per_hour,
        }
    }

    /// By which customers get their tier.
    ///
    /// # Errors
    /// Rules that cannot be used.
    pub(crate) fn tiers(&self) -> Result<TierRules> {
        TierRules::new(self.registry.tiers.clone()).context("registry.tiers cannot be used")
    }

    /// Long views are read from the coarser levels: each must be kept at least as long as the finer one.
    fn check_retention(&self) -> Result<()> {
        let store = &self.store;
        let levels = [
            ("store.retention_raw_days", store.retention_raw_days),
            ("store.retention_1m_days", store.retention_1m_days),
            ("store.retention_1h_days", store.retention_1h_days),
            ("store.retention_1d_days", store.retention_1d_days),
        ];
        for pair in levels.windows(2) {
            let [(finer, a), (coarser, b)] = [pair[0], pair[1]];
            if b > 0 && (a == 0 || a > b) {
                bail!(
                    "{coarser} = {b} is shorter than {finer} = {a}{}: keep the coarser level at least as long",
                    if a == 0 { " (for ever)" } else { "" }
                );
            }
        }
        Ok(())
    }

    /// What rules of automation name is configured. Classes, modes and counters are compared with the catalogue later.
    fn check_automation(&self) -> Result<()> {
        let kinds = self.care.tickets.kinds().iter();
        let tiers = self.registry.tiers.iter();
        let channels = self.notify.channel.iter();
        let known = Known {
            kinds: kinds.map(|kind| kind.name.to_string()).collect(),
            tiers: tiers.map(|tier| tier.name.clone()).collect(),
            channels: channels
                .map(|(name, channel)| (name.clone(), channel.has_own_address()))
                .collect(),
        };
        let checked = self.care.automation.check(&known);
        checked.context("care.automation cannot be used")
    }

    fn check(&self) -> Result<()> {
        self.tiers()?;
        Notify::new(self.notify.clone())?;
        self.check_automation()?;
        let external = !self.mqtt.url.is_empty();
        if self.mqtt.anonymous && !external && !self.mqtt.listen.ip().is_loopback() {
            bail!(
                "mqtt.anonymous = true with mqtt.listen = {}: anyone on the network could publish; listen on 127.0.0.1 or give devices credentials (`forecare device add`)",
                self.mqtt.listen
            );
        }
        if !external && self.mqtt.listen == self.http.listen && self.mqtt.listen.port() != 0 {
            bail!(
                "mqtt.listen and http.listen are both {}: give them different ports",
                self.http.listen
            );
        }
        let at_least_one = [
            ("ingest.batch_messages_max", self.ingest.batch_messages_max),
            ("ingest.queue_max", self.ingest.queue_max),
            ("ingest.payload_bytes_max", self.ingest.payload_bytes_max),
            ("ingest.devices_max", self.ingest.devices_max),
            ("mqtt.clients_max", self.mqtt.clients_max),
            ("spill.memory_bytes_max", self.spill.memory_bytes_max),
            (
                "mqtt.receive_maximum",
                usize::from(self.mqtt.receive_maximum),
            ),
            (
                "ingest.checkpoint_rows",
                usize::try_from(self.ingest.checkpoint_rows).unwrap_or(usize::MAX),
            ),
            ("store.pool_max", self.store.pool_max),
            (
                "store.statement_timeout_s",
                usize::try_from(self.store.statement_timeout_s).unwrap_or(usize::MAX),
            ),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                bail!("{key} must be at least 1");
            }
        }
        if self.store.chunk_interval_hours == ChunkInterval::Hours(0) {
            bail!("store.chunk_interval_hours must be \"auto\" or at least 1");
        }
        self.check_retention()?;
        if self.store.pool_max > 100 {
            bail!("store.pool_max must be at most 100");
        }
        if self.spill.bytes_max == 0 || self.spill.after_ms == 0 {
            bail!("spill.bytes_max and spill.after_ms must be at least 1");
        }
        let positive = [
            (
                "detect.false_alarms_per_device_month",
                self.detect.false_alarms_per_device_month,
            ),
            ("detect.reassess_hours", self.detect.reassess_hours),
            ("care.withdraw_after_hours", self.care.withdraw_after_hours),
            ("care.soft_hold_hours", self.care.soft_hold_hours),
            ("care.confirm_after_hours", self.care.confirm_after_hours),
            (
                "care.dispatch.horizon_hours",
                self.care.dispatch.horizon_hours,
            ),
            (
                "care.dispatch.speed_km_per_hour",
                self.care.dispatch.speed_km_per_hour,
            ),
            (
                "care.appointments.window_hours",
                self.care.appointments.window_hours,
            ),
            ("care.parts.service_level", self.care.parts.service_level),
            ("care.parts.cycle_days", self.care.parts.cycle_days),
            ("care.parts.history_days", self.care.parts.history_days),
            (
                "care.parts.slow_after_days",
                self.care.parts.slow_after_days,
            ),
            ("models.psi_window_hours", self.models.psi_window_hours),
        ];
        for (key, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                bail!("{key} must be above 0");
            }
        }
        for (key, value) in [
            ("detect.confirm_hours", self.detect.confirm_hours),
            ("care.margin", self.care.margin),
            ("care.labour_cost_per_hour", self.care.labour_cost_per_hour),
            (
                "care.dispatch.travel_cost_per_hour",
                self.care.dispatch.travel_cost_per_hour,
            ),
            (
                "care.appointments.ahead_hours",
                self.care.appointments.ahead_hours,
            ),
            ("models.precision_min", self.models.precision_min),
            ("models.psi_max", self.models.psi_max),
            (
                "ingest.future_tolerance_minutes",
                self.ingest.future_tolerance_minutes,
            ),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                bail!("{key} must be at least 0");
            }
        }
        if let Err(what) = self.care.appointments.check_calendar() {
            bail!("care.appointments.{what}");
        }
        if !(1..=OFFERED_MAX).contains(&self.care.appointments.offered_max) {
            bail!("care.appointments.offered_max must be 1 to {OFFERED_MAX}");
        }
        if self.care.parts.service_level >= 1.0 {
            bail!("care.parts.service_level must be below 1");
        }
        if self.models.precision_min >= 1.0 {
            bail!("models.precision_min must be below 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let config = Config::load(None, &[]).unwrap();
        assert!(config.mqtt.listen.ip().is_loopback() && config.http.listen.ip().is_loopback());
        assert!(!config.mqtt.anonymous);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[mqtt]\nlisten_on = \"127.0.0.1:1\"\n").unwrap();
        let text = format!("{:#}", Config::load(Some(file.path()), &[]).unwrap_err());
        assert!(text.contains("listen_on"), "{text}");
    }

    #[test]
    fn what_is_wrong_with_service_levels_is_named() {
        let refusal = |toml: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), toml).unwrap();
            format!("{:#}", Config::load(Some(file.path()), &[]).unwrap_err())
        };
        let text = refusal("[care.sla.p2]\nresolution_hours = 0\n");
        assert!(
            text.contains("care.sla") && text.contains("p2.resolution_hours = 0"),
            "{text}"
        );
        let text =
            refusal("[care.sla.calendar]\naround_the_clock = false\ntime_zone = \"Moon/Sea\"\n");
        assert!(
            text.contains("care.sla") && text.contains("\"Moon/Sea\""),
            "{text}"
        );
        let text = refusal(
            "[care.dispatch.calendar]\naround_the_clock = false\ntime_zone = \"UTC\"\nweek = { mon = [\"8\"] }\n",
        );
        assert!(
            text.contains("care.dispatch") && text.contains("week.mon: \"8\""),
            "{text}"
        );
    }

    #[test]
    fn every_rule_of_the_page_on_automation_can_be_used() {
        let page = include_str!("../../../docs/automation.md");
        let blocks = page.split("```toml\n").skip(1);
        let rules: Vec<&str> = blocks.filter_map(|b| b.split("```").next()).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules.join("\n")).unwrap();
        let config = Config::load(Some(file.path()), &[]).unwrap();
        let (_, catalogue) =
            crate::app::catalogue(Path::new(""), crate::cli::DEMO_CATALOGUE).unwrap();
        crate::app::check_automation(&config, &catalogue).unwrap();
        let all = config.care.automation.all();
        assert!(all.len() > 12);
        // The table of events names them all, and each but those of notices has an example.
        for event in forecare_care::automation::RULE_EVENTS {
            assert!(page.contains(&format!("| `{event}` |")), "{event}");
            assert!(all.iter().any(|r| r.on.label() == event), "{event}");
        }
        for action in ["assign", "priority", "note", "open", "notify", "lead"] {
            let uses =
                |r: &forecare_care::automation::Rule| r.then.iter().any(|a| a.label() == action);
            assert!(all.iter().any(uses), "{action}");
        }
    }

    #[test]
    fn keys_are_named_as_they_are_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refusal = |toml: &str| {
            std::fs::write(file.path(), toml).unwrap();
            format!("{:#}", Config::load(Some(file.path()), &[]).unwrap_err())
        };
        let text = refusal("[store]\npool_max = \"many\"\n");
        assert!(text.contains("for key \"store.pool_max\""), "{text}");
        let text = refusal(
            "[store]\nretention_1m_days = 30\nretention_1h_days = 7\nretention_raw_days = 7\n",
        );
        assert!(
            text.contains(
                "store.retention_1h_days = 7 is shorter than store.retention_1m_days = 30"
            ),
            "{text}"
        );
        let text = refusal("[store]\nretention_1m_days = 30\n");
        assert!(
            text.contains("store.retention_raw_days = 0 (for ever)"),
            "{text}"
        );
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[http]\nlisten = \"127.0.0.1:9000\"\n").unwrap();
        let config = Config::load(
            Some(file.path()),
            &[("http.listen", "\"127.0.0.1:9001\"".to_owned())],
        )
        .unwrap();
        assert_eq!(config.http.listen.port(), 9001);
    }

    #[test]
    fn an_open_broker_on_the_network_is_refused() {
        let overrides = [
            ("mqtt.anonymous", "true".to_owned()),
            ("mqtt.listen", "\"0.0.0.0:1883\"".to_owned()),
        ];
        let text = format!("{:#}", Config::load(None, &overrides).unwrap_err());
        assert!(text.contains("anonymous"), "{text}");
    }
}
