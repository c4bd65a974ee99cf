//! The catalogue's TOML: shape, reading, checking.

use std::collections::BTreeSet;

use forecare_domain::{
    BatchNumber, ClassName, ComponentName, DepotName, Marks, MetricName, ModeName, PartNumber,
    SerialNumber,
};
use serde::Deserialize;

use crate::interchange;
use crate::model::{
    AssetClass, Catalogue, Depot, Direction, FailureMode, Kit, Limits, MetricSpec, PartNeed,
    PartSpec, Signature, StockLevel, Technician, Tracking, UNKNOWN_MODE,
};
use crate::waveform_file::{WaveformFile, waveforms};

/// What is wrong with a catalogue, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CatalogueError {
    /// Not TOML, a key is unknown or missing, or a value has the wrong type; the text shows the place.
    #[error("{0}")]
    Syntax(String),
    /// The parts do not fit together; one line per finding.
    #[error("{}", .0.join("\n"))]
    Content(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    #[serde(default = "default_currency")]
    currency: String,
    #[serde(default)]
    class: Vec<ClassFile>,
    #[serde(default)]
    part: Vec<PartFile>,
    #[serde(default)]
    kit: Vec<KitFile>,
    #[serde(default)]
    depot: Vec<DepotFile>,
    #[serde(default)]
    stock: Vec<StockFile>,
    #[serde(default)]
    technician: Vec<TechnicianFile>,
}

fn default_currency() -> String {
    "EUR".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassFile {
    name: ClassName,
    title: String,
    horizon_hours: f64,
    sample_interval_s: f64,
    #[serde(default)]
    metric: Vec<MetricFile>,
    #[serde(default)]
    waveform: Vec<WaveformFile>,
    #[serde(default)]
    mode: Vec<ModeFile>,
    unknown: Option<UnknownFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricFile {
    name: MetricName,
    unit: String,
    #[serde(default)]
    operating_point: bool,
    #[serde(default)]
    counter: bool,
    critical_low: Option<f64>,
    warning_low: Option<f64>,
    warning_high: Option<f64>,
    critical_high: Option<f64>,
    #[serde(default)]
    hysteresis: f64,
    #[serde(default = "default_debounce")]
    debounce_samples: u32,
}

fn default_debounce() -> u32 {
    3
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeFile {
    name: ModeName,
    title: String,
    iso14224: String,
    component: Option<ComponentName>,
    #[serde(default)]
    signature: Vec<SignatureFile>,
    #[serde(default)]
    event_codes: Vec<String>,
    procedure: String,
    #[serde(default)]
    skills: Vec<String>,
    #[serde(default)]
    certificates: Vec<String>,
    #[serde(default)]
    safety: bool,
    work_hours: f64,
    #[serde(default)]
    parts: Vec<NeedFile>,
    cost_of_failure: f64,
    cost_of_acting: f64,
    #[serde(default = "default_precision")]
    alarm_precision: f64,
}

fn default_precision() -> f64 {
    0.5
}

/// What to do about evidence that fits no signature.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnknownFile {
    procedure: String,
    #[serde(default)]
    skills: Vec<String>,
    work_hours: f64,
    cost_of_failure: f64,
    cost_of_acting: f64,
    #[serde(default)]
    alarm_precision: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    metric: MetricName,
    direction: String,
    #[serde(default = "default_weight")]
    weight: f64,
}

fn default_weight() -> f64 {
    1.0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NeedFile {
    part: PartNumber,
    #[serde(default = "default_quantity")]
    quantity: u32,
}

fn default_quantity() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFile {
    number: PartNumber,
    title: String,
    lead_time_hours: f64,
    #[serde(default)]
    unit_cost: f64,
    superseded_by: Option<PartNumber>,
    #[serde(default)]
    substitutes: Vec<PartNumber>,
    tracked: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KitFile {
    number: PartNumber,
    title: String,
    #[serde(default)]
    parts: Vec<NeedFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DepotFile {
    name: DepotName,
    title: String,
    #[serde(default)]
    transfer_hours: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockFile {
    depot: DepotName,
    part: PartNumber,
    on_hand: u32,
    batch: Option<BatchNumber>,
    #[serde(default)]
    serials: Vec<SerialNumber>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TechnicianFile {
    name: String,
    #[serde(default)]
    skills: Vec<String>,
    depot: DepotName,
}

/// Most metrics of a class: rows are a column per metric.
const METRICS_MAX: usize = 256;

pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn require(&mut self, ok: bool, finding: impl FnOnce() -> String) {
        if !ok {
            self.0.push(finding());
        }
    }

    pub(crate) fn unique<'a>(&mut self, what: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for name in names {
            self.require(seen.insert(name), || {
                format!("{what} \"{name}\" stands twice; names must be unique")
            });
        }
    }
}

pub(crate) fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

pub(crate) fn not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

impl Catalogue {
    /// Reads and checks a catalogue.
    ///
    /// # Errors
    /// [`CatalogueError::Syntax`] with line and column, or [`CatalogueError::Content`] with every finding.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let file: CatalogueFile =
            toml::from_str(text).map_err(|e| CatalogueError::Syntax(e.to_string()))?;
        let mut findings = Findings(Vec::new());
        let f = &mut findings;
        f.require(!file.class.is_empty(), || {
            "no [[class]]: at least one asset class is needed".into()
        });
        f.require(!file.depot.is_empty(), || {
            "no [[depot]]: at least one depot is needed".into()
        });
        f.unique("class", file.class.iter().map(|c| c.name.as_str()));
        f.unique("part", file.part.iter().map(|p| p.number.as_str()));
        f.unique("depot", file.depot.iter().map(|d| d.name.as_str()));
        f.unique(
            "technician",
            file.technician.iter().map(|t| t.name.as_str()),
        );
        let parts: Vec<PartSpec> = file
            .part
            .into_iter()
            .map(|p| {
                f.require(
                    not_negative(p.lead_time_hours) && not_negative(p.unit_cost),
                    || {
                        format!(
                            "part {}: lead_time_hours and unit_cost must be at least 0",
                            p.number
                        )
                    },
                );
                let tracking = match p.tracked.as_deref() {
                    None => Tracking::Not,
                    Some("batch") => Tracking::Batch,
                    Some("serial") => Tracking::Serial,
                    Some(other) => {
                        f.require(false, || {
                            format!(
                                "part {}: tracked = \"{other}\" is none of batch, serial; leave it out for parts that are not told apart",
                                p.number
                            )
                        });
                        Tracking::Not
                    }
                };
                PartSpec {
                    number: p.number,
                    title: p.title,
                    lead_time_hours: p.lead_time_hours,
                    unit_cost: p.unit_cost,
                    superseded_by: p.superseded_by,
                    substitutes: p.substitutes,
                    tracking,
                }
            })
            .collect();
        interchange::check(&parts, f);
        let kits = kits(file.kit, &parts, f);
        let depots: Vec<Depot> = file
            .depot
            .into_iter()
            .map(|d| {
                f.require(not_negative(d.transfer_hours), || {
                    format!("depot {}: transfer_hours must be at least 0", d.name)
                });
                Depot {
                    name: d.name,
                    title: d.title,
                    transfer_hours: d.transfer_hours,
                }
            })
            .collect();
        let known_depot = |name: &DepotName| depots.iter().any(|d| &d.name == name);
        let stock: Vec<StockLevel> = file
            .stock
            .into_iter()
            .map(|s| {
                f.require(known_depot(&s.depot), || {
                    format!("stock of {}: unknown depot \"{}\"", s.part, s.depot)
                });
                f.require(parts.iter().any(|p| p.number == s.part), || {
                    format!("stock: unknown part \"{}\"", s.part)
                });
                StockLevel {
                    depot: s.depot,
                    part: s.part,
                    on_hand: s.on_hand,
                    marks: Marks {
                        batch: s.batch,
                        serials: s.serials,
                    },
                }
            })
            .collect();
        check_marks(&parts, &stock, f);
        let technicians: Vec<Technician> = file
            .technician
            .into_iter()
            .map(|t| {
                f.require(known_depot(&t.depot), || {
                    format!("technician {}: unknown depot \"{}\"", t.name, t.depot)
                });
                Technician {
                    name: t.name,
                    skills: t.skills,
                    depot: t.depot,
                }
            })
            .collect();
        let classes = file
            .class
            .into_iter()
            .map(|c| class(c, &parts, &kits, f))
            .collect();
        if findings.0.is_empty() {
            Ok(Self {
                currency: file.currency,
                classes,
                parts,
                kits,
                depots,
                stock,
                technicians,
            })
        } else {
            Err(CatalogueError::Content(findings.0))
        }
    }
}

fn class(file: ClassFile, parts: &[PartSpec], kits: &[Kit], f: &mut Findings) -> AssetClass {
    let at = format!("class {}", file.name);
    f.require(positive(file.horizon_hours), || {
        format!("{at}: horizon_hours must be above 0")
    });
    f.require(positive(file.sample_interval_s), || {
        format!("{at}: sample_interval_s must be above 0")
    });
    f.require(!file.metric.is_empty(), || {
        format!("{at}: no [[class.metric]]")
    });
    f.require(file.metric.len() <= METRICS_MAX, || {
        format!("{at}: more than {METRICS_MAX} metrics")
    });
    f.unique(
        &format!("{at}: metric"),
        file.metric.iter().map(|m| m.name.as_str()),
    );
    f.unique(
        &format!("{at}: mode"),
        file.mode.iter().map(|m| m.name.as_str()),
    );
    let metrics: Vec<MetricSpec> = file.metric.into_iter().map(|m| metric(m, &at, f)).collect();
    let waveforms = waveforms(file.waveform, &at, &metrics, f);
    let modes: Vec<FailureMode> = file
        .mode
        .into_iter()
        .map(|m| mode(m, &at, &metrics, parts, kits, f))
        .collect();
    let unknown = file.unknown.unwrap_or(UnknownFile {
        procedure: "INSPECT".to_owned(),
        skills: Vec::new(),
        work_hours: 1.0,
        cost_of_failure: 1.0,
        cost_of_acting: 1.0,
        alarm_precision: 0.0,
    });
    let unknown_mode = unknown_mode(unknown, &at, f);
    AssetClass {
        name: file.name,
        title: file.title,
        horizon_hours: file.horizon_hours,
        sample_interval_s: file.sample_interval_s,
        metrics,
        waveforms,
        modes,
        unknown_mode,
    }
}

fn metric(file: MetricFile, at: &str, f: &mut Findings) -> MetricSpec {
    let limits = Limits {
        critical_low: file.critical_low,
        warning_low: file.warning_low,
        warning_high: file.warning_high,
        critical_high: file.critical_high,
        hysteresis: file.hysteresis,
        debounce_samples: file.debounce_samples,
    };
    let ascending: Vec<f64> = [
        limits.critical_low,
        limits.warning_low,
        limits.warning_high,
        limits.critical_high,
    ]
    .into_iter()
    .flatten()
    .collect();
    let name = &file.name;
    f.require(ascending.iter().all(|l| l.is_finite()), || {
        format!("{at}: metric {name}: limits must be finite")
    });
    f.require(ascending.windows(2).all(|w| w[0] <= w[1]), || {
        format!("{at}: metric {name}: limits must ascend: critical_low <= warning_low <= warning_high <= critical_high")
    });
    f.require(not_negative(limits.hysteresis), || {
        format!("{at}: metric {name}: hysteresis must be at least 0")
    });
    f.require(limits.debounce_samples >= 1, || {
        format!("{at}: metric {name}: debounce_samples must be at least 1")
    });
    f.require(!(file.counter && file.operating_point), || {
        format!("{at}: metric {name}: a counter describes no operating point")
    });
    MetricSpec {
        name: file.name,
        unit: file.unit,
        operating_point: file.operating_point,
        counter: file.counter,
        limits,
    }
}

fn mode(
    file: ModeFile,
    at: &str,
    metrics: &[MetricSpec],
    parts: &[PartSpec],
    kits: &[Kit],
    f: &mut Findings,
) -> FailureMode {
    let at = format!("{at}: mode {}", file.name);
    f.require(file.name.as_str() != UNKNOWN_MODE, || {
        format!("{at}: use [class.unknown] for the unknown mode")
    });
    f.require(positive(file.work_hours), || {
        format!("{at}: work_hours must be above 0")
    });
    costs(
        &at,
        file.cost_of_failure,
        file.cost_of_acting,
        file.alarm_precision,
        f,
    );
    let mut signature = Vec::with_capacity(file.signature.len());
    for s in file.signature {
        let index = metrics.iter().position(|m| m.name == s.metric);
        f.require(index.is_some(), || {
            format!("{at}: signature names unknown metric \"{}\"", s.metric)
        });
        f.require(positive(s.weight), || {
            format!("{at}: signature weight of {} must be above 0", s.metric)
        });
        let direction = match s.direction.as_str() {
            "up" => Direction::Up,
            "down" => Direction::Down,
            "any" => Direction::Any,
            other => {
                f.require(false, || {
                    format!("{at}: direction \"{other}\" is none of up, down, any")
                });
                Direction::Any
            }
        };
        signature.extend(index.map(|metric| Signature {
            metric,
            direction,
            weight: s.weight,
        }));
    }
    let needs = needs(file.parts, &at, parts, kits, f);
    FailureMode {
        name: file.name,
        title: file.title,
        iso14224: file.iso14224,
        component: file.component,
        signature,
        event_codes: file.event_codes,
        procedure: file.procedure,
        skills: file.skills,
        certificates: file.certificates,
        is_safety: file.safety,
        work_hours: file.work_hours,
        parts: needs,
        cost_of_failure: file.cost_of_failure,
        cost_of_acting: file.cost_of_acting,
        alarm_precision: file.alarm_precision,
    }
}

/// What is needed, with each kit as the parts in it.
fn needs(
    file: Vec<NeedFile>,
    at: &str,
    parts: &[PartSpec],
    kits: &[Kit],
    f: &mut Findings,
) -> Vec<PartNeed> {
    let mut needs = Vec::with_capacity(file.len());
    for need in file {
        f.require(need.quantity >= 1, || {
            format!("{at}: quantity of {} must be at least 1", need.part)
        });
        if let Some(kit) = kits.iter().find(|kit| kit.number == need.part) {
            needs.extend(kit.parts.iter().map(|inside| PartNeed {
                part: inside.part.clone(),
                quantity: inside.quantity.saturating_mul(need.quantity),
                kit: Some(kit.number.clone()),
            }));
            continue;
        }
        f.require(parts.iter().any(|p| p.number == need.part), || {
            format!("{at}: unknown part \"{}\"", need.part)
        });
        needs.push(PartNeed {
            part: need.part,
            quantity: need.quantity,
            kit: None,
        });
    }
    needs
}

fn kits(file: Vec<KitFile>, parts: &[PartSpec], f: &mut Findings) -> Vec<Kit> {
    f.unique("kit", file.iter().map(|k| k.number.as_str()));
    file.into_iter()
        .map(|kit| {
            let at = format!("kit {}", kit.number);
            f.require(!kit.parts.is_empty(), || {
                format!("{at}: name the parts in it")
            });
            f.require(parts.iter().all(|p| p.number != kit.number), || {
                format!("{at}: a part has the same number; give the kit another one")
            });
            Kit {
                // A kit in a kit is an unknown part.
                parts: needs(kit.parts, &at, parts, &[], f),
                number: kit.number,
                title: kit.title,
            }
        })
        .collect()
}

/// That stock to start with names its pieces where they are told apart.
fn check_marks(parts: &[PartSpec], stock: &[StockLevel], f: &mut Findings) {
    for level in stock {
        let tracking = parts.iter().find(|p| p.number == level.part);
        let tracking = tracking.map_or(Tracking::Not, |p| p.tracking);
        let at = format!("stock of {} at {}", level.part, level.depot);
        let (batch, serials) = (&level.marks.batch, &level.marks.serials);
        match tracking {
            Tracking::Not => f.require(level.marks.is_empty(), || {
                format!("{at}: the part is not tracked; leave out batch and serials")
            }),
            Tracking::Batch => f.require(
                level.on_hand == 0 || (batch.is_some() && serials.is_empty()),
                || format!("{at}: the part is tracked by batch; name the batch, and no serials"),
            ),
            Tracking::Serial => {
                f.require(serials.len() == level.on_hand as usize, || {
                    format!(
                        "{at}: the part is tracked by serial number; name {} serials, or leave the line out and book a receipt",
                        level.on_hand
                    )
                });
            }
        }
        let same = |other: &&StockLevel| other.part == level.part && other.depot == level.depot;
        let n_same = stock.iter().filter(same).count();
        f.require(tracking == Tracking::Not || n_same == 1, || {
            format!("{at}: write one line, and book further batches as receipts")
        });
    }
    for part in parts {
        let lines = stock.iter().filter(|level| level.part == part.number);
        f.unique(
            &format!("stock of {}: serial", part.number),
            lines.flat_map(|level| level.marks.serials.iter().map(SerialNumber::as_str)),
        );
    }
}

fn unknown_mode(file: UnknownFile, at: &str, f: &mut Findings) -> FailureMode {
    let at = format!("{at}: unknown");
    f.require(positive(file.work_hours), || {
        format!("{at}: work_hours must be above 0")
    });
    costs(
        &at,
        file.cost_of_failure,
        file.cost_of_acting,
        file.alarm_precision,
        f,
    );
    FailureMode {
        name: ModeName::new(UNKNOWN_MODE).unwrap_or_else(|_| unreachable!("a valid name")),
        title: "Unexplained anomaly".to_owned(),
        iso14224: "UNK".to_owned(),
        component: None,
        signature: Vec::new(),
        event_codes: Vec::new(),
        procedure: file.procedure,
        skills: file.skills,
        certificates: Vec::new(),
        is_safety: false,
        work_hours: file.work_hours,
        parts: Vec::new(),
        cost_of_failure: file.cost_of_failure,
        cost_of_acting: file.cost_of_acting,
        alarm_precision: file.alarm_precision,
    }
}

fn costs(at: &str, failure: f64, acting: f64, precision: f64, f: &mut Findings) {
    f.require(positive(failure) && positive(acting), || {
        format!("{at}: cost_of_failure and cost_of_acting must be above 0")
    });
    f.require((0.0..=1.0).contains(&precision), || {
        format!("{at}: alarm_precision must lie in 0..=1")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        [[class]]
        name = "pump"
        title = "Pump"
        horizon_hours = 24
        sample_interval_s = 60
        [[class.metric]]
        name = "vibration"
        unit = "mm/s"
        warning_high = 4.5
        critical_high = 7.1
        [[class.mode]]
        name = "bearing-wear"
        title = "Bearing wear"
        iso14224 = "VIB"
        component = "bearing"
        signature = [{ metric = "vibration", direction = "up" }]
        procedure = "P-1"
        work_hours = 2
        parts = [{ part = "BRG-1" }]
        cost_of_failure = 1000
        cost_of_acting = 100
        [[part]]
        number = "BRG-1"
        title = "Bearing"
        lead_time_hours = 48
        [[depot]]
        name = "main"
        title = "Main depot"
    "#;

    fn findings(text: &str) -> String {
        Catalogue::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_small_catalogue_parses() {
        let catalogue = Catalogue::parse(SMALL).unwrap();
        let class = &catalogue.classes[0];
        assert_eq!(class.metric_index("vibration"), Some(0));
        assert_eq!(class.modes[0].signature[0].metric, 0);
        assert_eq!(
            class
                .mode(&ModeName::new("unknown").unwrap())
                .unwrap()
                .iso14224,
            "UNK"
        );
    }

    #[test]
    fn every_broken_reference_is_named() {
        assert!(
            findings(&SMALL.replace("part = \"BRG-1\"", "part = \"X\""))
                .contains("unknown part \"X\"")
        );
        assert!(
            findings(&SMALL.replace("metric = \"vibration\"", "metric = \"x\""))
                .contains("unknown metric \"x\"")
        );
        assert!(findings(&SMALL.replace("4.5", "9")).contains("limits must ascend"));
        assert!(
            findings(&SMALL.replace("cost_of_acting = 100", "cost_of_acting = 0"))
                .contains("cost_of_acting")
        );
        assert!(findings(&SMALL.replace("\"up\"", "\"sideways\"")).contains("sideways"));
    }

    #[test]
    fn a_kit_is_needed_as_the_parts_in_it() {
        let kit = r#"
        [[kit]]
        number = "KIT-1"
        title = "Bearing kit"
        parts = [{ part = "BRG-1", quantity = 2 }]
        "#;
        let text = SMALL.replace("{ part = \"BRG-1\" }", "{ part = \"KIT-1\", quantity = 3 }");
        let catalogue = Catalogue::parse(&format!("{text}{kit}")).unwrap();
        let needs = &catalogue.classes[0].modes[0].parts;
        assert_eq!(needs.len(), 1);
        assert_eq!((needs[0].part.as_str(), needs[0].quantity), ("BRG-1", 6));
        assert_eq!(needs[0].kit, Some(PartNumber::new("KIT-1").unwrap()));
        assert!(catalogue.kit(&PartNumber::new("KIT-1").unwrap()).is_some());
        let says = |kit: &str| findings(&format!("{SMALL}{kit}"));
        assert!(says(&kit.replace("KIT-1", "BRG-1")).contains("a part has the same number"));
        assert!(says(&kit.replace("\"BRG-1\"", "\"KIT-1\"")).contains("unknown part \"KIT-1\""));
        let empty = "[[kit]]\nnumber = \"K\"\ntitle = \"K\"\n";
        assert!(says(empty).contains("name the parts in it"));
    }

    #[test]
    fn stock_of_a_tracked_part_names_its_pieces() {
        let text = SMALL.replace(
            "lead_time_hours = 48",
            "lead_time_hours = 48\ntracked = \"serial\"",
        );
        let stock = "[[stock]]\ndepot = \"main\"\npart = \"BRG-1\"\non_hand = 2\n";
        let named = format!("{text}{stock}batch = \"B7\"\nserials = [\"S1\", \"S2\"]\n");
        let catalogue = Catalogue::parse(&named).unwrap();
        assert_eq!(catalogue.parts[0].tracking, Tracking::Serial);
        assert_eq!(catalogue.stock[0].marks.serials.len(), 2);
        let says = findings(&format!("{text}{stock}"));
        assert!(says.contains("name 2 serials"), "{says}");
        let north = "[[depot]]\nname = \"north\"\ntitle = \"North\"\n";
        let there = stock.replace("main", "north").replace("= 2", "= 1");
        let twice = format!("{named}{north}{there}serials = [\"S2\"]\n");
        assert!(findings(&twice).contains("serial \"S2\" stands twice"));
        let untracked = findings(&format!("{SMALL}{stock}batch = \"B7\"\n"));
        assert!(untracked.contains("not tracked"), "{untracked}");
        let word = findings(&text.replace("\"serial\"", "\"lot\""));
        assert!(word.contains("none of batch, serial"), "{word}");
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let text = findings(&SMALL.replace("procedure =", "procedur ="));
        assert!(text.contains("procedur") && text.contains("line"), "{text}");
    }
}
