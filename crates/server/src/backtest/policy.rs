//! The policy file: what a team would try, laid over the instance's configuration and catalogue.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use figment::Figment;
use figment::providers::{Format, Toml};
use forecare_care::CarePolicy;
use forecare_catalogue::{Catalogue, FailureMode, StockLevel, Technician, Tracking};
use forecare_domain::{ClassName, DepotName, Marks, ModeName, PartNumber};
use forecare_prognosis::Model;
use serde::Deserialize;

use crate::config::Config;
use crate::desk::Terms;
use crate::models::{self, library::Library};
use crate::pipeline::ClassSettings;

/// The documented defaults: what `forecare backtest --print-policy` prints.
pub(crate) const POLICY_TOML: &str = include_str!("policy.toml");

/// Days of a week, as the file names them; 1970-01-01 was a Thursday.
const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    name: String,
    model: String,
    #[serde(default)]
    detect: DetectFile,
    #[serde(default)]
    care: CareFile,
    crew: CrewFile,
    costs: CostsFile,
    #[serde(default)]
    compare: CompareFile,
    #[serde(default)]
    stock: Vec<StockFile>,
    #[serde(default)]
    mode: Vec<ModeFile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DetectFile {
    false_alarms_per_device_month: Option<f64>,
    confirm_hours: Option<f64>,
    reassess_hours: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CareFile {
    margin: Option<f64>,
    warning_share: Option<f64>,
    withdraw_after_hours: Option<f64>,
    soft_hold_hours: Option<f64>,
    confirm_after_hours: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrewFile {
    technicians_per_depot: Option<u32>,
    response_hours: f64,
    shift: String,
    days: Vec<String>,
    utc_offset_hours: f64,
    overtime: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CostsFile {
    overtime_per_hour: f64,
    holding_share_per_year: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompareFile {
    interval_hours: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct StockFile {
    depot: DepotName,
    part: PartNumber,
    on_hand: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeFile {
    class: Option<ClassName>,
    name: ModeName,
    cost_of_failure: Option<f64>,
    cost_of_acting: Option<f64>,
    alarm_precision: Option<f64>,
    work_hours: Option<f64>,
}

/// When and how the people work.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CrewRules {
    /// Hours from the ticket until somebody stands before the machine.
    pub(crate) response_hours: f64,
    /// Begin and end of the shift, minutes of the day.
    pub(crate) shift_minutes: (i64, i64),
    /// Which days have a shift; from Thursday on.
    pub(crate) days: [bool; 7],
    /// Offset of the shift's clock from UTC, minutes.
    pub(crate) utc_offset_minutes: i64,
    /// Planned work that cannot wait is done outside the shift.
    pub(crate) overtime: bool,
}

/// A policy, ready to be tried.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// The catalogue with the policy's costs, stock and people.
    pub(crate) catalogue: Catalogue,
    pub(crate) classes: ClassSettings,
    pub(crate) care: CarePolicy,
    /// What was promised, to everybody alike: contracts are not looked at.
    pub(crate) terms: Arc<Terms>,
    pub(crate) models: Vec<Model>,
    pub(crate) crew: CrewRules,
    pub(crate) overtime_per_hour: f64,
    pub(crate) holding_share_per_year: f64,
    pub(crate) interval_hours: Option<f64>,
}

/// What a policy is laid over.
pub(crate) struct Basis<'a> {
    pub(crate) config: &'a Config,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) model_dir: &'a Path,
}

impl Policy {
    /// Reads a policy file; `None`: everything as configured.
    ///
    /// # Errors
    /// The file cannot be read, has an unknown key or a value out of range, or names what the catalogue does not
    /// have; the text says which.
    pub(crate) fn read(file: Option<&Path>, basis: &Basis<'_>) -> Result<Self> {
        let Some(path) = file else {
            return Self::parse("", basis);
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the policy {}", path.display()))?;
        let mut policy = Self::parse(&text, basis)
            .with_context(|| format!("the policy {} cannot be used", path.display()))?;
        if !text
            .lines()
            .any(|line| line.trim_start().starts_with("name"))
        {
            policy.name = path
                .file_stem()
                .map_or_else(|| "policy".to_owned(), |s| s.to_string_lossy().into_owned());
        }
        Ok(policy)
    }

    /// As [`Policy::read`], of the file's text.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn parse(text: &str, basis: &Basis<'_>) -> Result<Self> {
        let figment = Figment::from(Toml::string(POLICY_TOML)).merge(Toml::string(text));
        let file: PolicyFile = figment.extract().map_err(|errors| {
            let lines: Vec<String> = errors.into_iter().map(|e| e.to_string()).collect();
            anyhow::anyhow!("{}", lines.join("\n"))
        })?;
        file.check()?;
        let catalogue = file.catalogue(basis.catalogue)?;
        let models = match file.model.as_str() {
            "configured" => Library::new(basis.model_dir.to_owned())
                .in_role(&catalogue)?
                .into_iter()
                .filter_map(|(_, in_role)| in_role.live)
                .map(|live| Arc::unwrap_or_clone(live.model))
                .collect(),
            "none" => Vec::new(),
            path => vec![models::read(&PathBuf::from(path), &catalogue)?],
        };
        let mut classes = basis.config.class_settings();
        let mut care = basis.config.care_policy();
        let set = |to: &mut f64, from: Option<f64>| *to = from.unwrap_or(*to);
        set(
            &mut classes.detect.false_alarms_per_device_month,
            file.detect.false_alarms_per_device_month,
        );
        set(&mut classes.confirm_hours, file.detect.confirm_hours);
        set(&mut classes.reassess_hours, file.detect.reassess_hours);
        set(&mut classes.margin, file.care.margin);
        set(&mut care.margin, file.care.margin);
        set(&mut care.warning_share, file.care.warning_share);
        set(
            &mut care.withdraw_after_hours,
            file.care.withdraw_after_hours,
        );
        set(&mut care.soft_hold_hours, file.care.soft_hold_hours);
        set(&mut care.confirm_after_hours, file.care.confirm_after_hours);
        Ok(Self {
            name: file.name.clone(),
            catalogue,
            classes,
            care,
            terms: Arc::new(Terms::new(
                basis.config.care.sla.clone(),
                basis.config.tiers()?,
                &basis.catalogue.currency,
            )),
            models,
            crew: file.crew.rules()?,
            overtime_per_hour: file.costs.overtime_per_hour,
            holding_share_per_year: file.costs.holding_share_per_year,
            interval_hours: file.compare.interval_hours,
        })
    }
}

impl PolicyFile {
    fn check(&self) -> Result<()> {
        let positive = [
            (
                "detect.false_alarms_per_device_month",
                self.detect.false_alarms_per_device_month,
            ),
            ("detect.reassess_hours", self.detect.reassess_hours),
            ("care.withdraw_after_hours", self.care.withdraw_after_hours),
            ("care.soft_hold_hours", self.care.soft_hold_hours),
            ("care.confirm_after_hours", self.care.confirm_after_hours),
            ("compare.interval_hours", self.compare.interval_hours),
        ];
        for (key, value) in positive {
            if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
                bail!("{key} must be above 0");
            }
        }
        let not_negative = [
            ("detect.confirm_hours", self.detect.confirm_hours),
            ("care.margin", self.care.margin),
            ("crew.response_hours", Some(self.crew.response_hours)),
            (
                "costs.overtime_per_hour",
                Some(self.costs.overtime_per_hour),
            ),
            (
                "costs.holding_share_per_year",
                Some(self.costs.holding_share_per_year),
            ),
        ];
        for (key, value) in not_negative {
            if value.is_some_and(|v| !(v.is_finite() && v >= 0.0)) {
                bail!("{key} must be at least 0");
            }
        }
        if self
            .care
            .warning_share
            .is_some_and(|share| !(0.0..=1.0).contains(&share))
        {
            bail!("care.warning_share must lie in 0..=1");
        }
        if self.crew.technicians_per_depot == Some(0) {
            bail!("crew.technicians_per_depot must be at least 1");
        }
        Ok(())
    }

    /// The catalogue with this policy's costs, stock and people.
    fn catalogue(&self, of_instance: &Catalogue) -> Result<Catalogue> {
        let mut catalogue = of_instance.clone();
        // Nobody reads serial numbers off simulated parts.
        for part in &mut catalogue.parts {
            part.tracking = Tracking::Not;
        }
        for level in &mut catalogue.stock {
            level.marks = Marks::default();
        }
        for wanted in &self.mode {
            let mut found = false;
            for class in &mut catalogue.classes {
                if wanted.class.as_ref().is_some_and(|c| *c != class.name) {
                    continue;
                }
                let modes = class.modes.iter_mut().chain([&mut class.unknown_mode]);
                for mode in modes.filter(|m| m.name == wanted.name) {
                    found = true;
                    wanted.lay_over(mode)?;
                }
            }
            if !found {
                let class = wanted.class.as_ref().map(|c| format!("class {c} of "));
                bail!(
                    "[[mode]]: {}the catalogue has no failure mode \"{}\"",
                    class.unwrap_or_default(),
                    wanted.name
                );
            }
        }
        for level in &self.stock {
            if catalogue.part(&level.part).is_none() {
                bail!("[[stock]]: the catalogue has no part \"{}\"", level.part);
            }
            if catalogue.depots.iter().all(|d| d.name != level.depot) {
                bail!("[[stock]]: the catalogue has no depot \"{}\"", level.depot);
            }
            catalogue
                .stock
                .retain(|s| (&s.depot, &s.part) != (&level.depot, &level.part));
            catalogue.stock.push(StockLevel {
                marks: Marks::default(),
                depot: level.depot.clone(),
                part: level.part.clone(),
                on_hand: level.on_hand,
            });
        }
        if let Some(n) = self.crew.technicians_per_depot {
            catalogue.technicians = people(&catalogue, n);
        }
        Ok(catalogue)
    }
}

/// So many people with every skill that any work asks for, at every depot.
fn people(catalogue: &Catalogue, per_depot: u32) -> Vec<Technician> {
    let modes = |c: &forecare_catalogue::AssetClass| -> Vec<FailureMode> {
        let unknown = c.unknown_mode.clone();
        c.modes.iter().cloned().chain([unknown]).collect()
    };
    let mut skills: Vec<String> = catalogue
        .classes
        .iter()
        .flat_map(modes)
        .flat_map(|m| m.skills)
        .collect();
    skills.sort();
    skills.dedup();
    catalogue
        .depots
        .iter()
        .flat_map(|depot| (1..=per_depot).map(move |n| (depot, n)))
        .map(|(depot, n)| Technician {
            name: format!("{} {n}", depot.name),
            skills: skills.clone(),
            depot: depot.name.clone(),
        })
        .collect()
}

impl ModeFile {
    fn lay_over(&self, mode: &mut FailureMode) -> Result<()> {
        for (key, value, to) in [
            (
                "cost_of_failure",
                self.cost_of_failure,
                &mut mode.cost_of_failure,
            ),
            (
                "cost_of_acting",
                self.cost_of_acting,
                &mut mode.cost_of_acting,
            ),
            ("work_hours", self.work_hours, &mut mode.work_hours),
        ] {
            let Some(value) = value else { continue };
            if !(value.is_finite() && value > 0.0) {
                bail!("[[mode]] {}: {key} must be above 0", self.name);
            }
            *to = value;
        }
        if let Some(share) = self.alarm_precision {
            if !(0.0..=1.0).contains(&share) {
                bail!("[[mode]] {}: alarm_precision must lie in 0..=1", self.name);
            }
            mode.alarm_precision = share;
        }
        Ok(())
    }
}

impl CrewFile {
    fn rules(&self) -> Result<CrewRules> {
        let minutes = |text: &str| -> Option<i64> {
            let (hours, minutes) = text.trim().split_once(':')?;
            let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
            let of_day = hours * 60 + minutes;
            ((0..60).contains(&minutes) && (0..=24 * 60).contains(&of_day)).then_some(of_day)
        };
        let shift = self
            .shift
            .split_once('-')
            .and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)))
            .filter(|(from, to)| from < to);
        let Some(shift_minutes) = shift else {
            bail!(
                "crew.shift is \"{}\"; write it as \"07:00-16:30\", begin before end",
                self.shift
            );
        };
        let mut days = [false; 7];
        for day in &self.days {
            let Some(place) = DAYS.iter().position(|d| d.eq_ignore_ascii_case(day)) else {
                bail!("crew.days: \"{day}\" is no day; use mon, tue, wed, thu, fri, sat, sun");
            };
            days[place] = true;
        }
        if !days.contains(&true) {
            bail!("crew.days must name at least one day");
        }
        if !(-24.0..=24.0).contains(&self.utc_offset_hours) {
            bail!("crew.utc_offset_hours must lie in -24..=24");
        }
        #[allow(clippy::cast_possible_truncation, reason = "a day at most")]
        let utc_offset_minutes = (self.utc_offset_hours * 60.0).round() as i64;
        Ok(CrewRules {
            response_hours: self.response_hours,
            shift_minutes,
            days,
            utc_offset_minutes,
            overtime: self.overtime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy> {
        let catalogue = Catalogue::parse(crate::cli::DEMO_CATALOGUE).unwrap();
        let config = Config::load(None, &[]).unwrap();
        let empty = tempfile::tempdir().unwrap();
        Policy::parse(
            text,
            &Basis {
                config: &config,
                catalogue: &catalogue,
                model_dir: empty.path(),
            },
        )
    }

    #[test]
    fn an_empty_policy_is_the_configuration() {
        let policy = parse("").unwrap();
        let config = Config::load(None, &[]).unwrap();
        assert_eq!(policy.care, config.care_policy());
        assert_eq!(policy.classes.confirm_hours, config.detect.confirm_hours);
        assert_eq!(
            policy.catalogue,
            Catalogue::parse(crate::cli::DEMO_CATALOGUE).unwrap()
        );
    }

    #[test]
    fn what_is_written_is_laid_over() {
        let policy = parse(
            "model = \"none\"\n[care]\nmargin = 0.5\n[crew]\ntechnicians_per_depot = 3\nshift = \"07:00-16:30\"\n\
             [[stock]]\ndepot = \"hamburg\"\npart = \"BRG-6310\"\non_hand = 9\n\
             [[mode]]\nname = \"bearing-wear\"\ncost_of_acting = 100\n",
        )
        .unwrap();
        assert_eq!((policy.care.margin, policy.classes.margin), (0.5, 0.5));
        assert_eq!(
            policy.catalogue.technicians.len(),
            3 * policy.catalogue.depots.len()
        );
        assert_eq!(policy.crew.shift_minutes, (420, 990));
        let stock =
            |s: &&StockLevel| s.part.as_str() == "BRG-6310" && s.depot.as_str() == "hamburg";
        let levels: Vec<u32> = policy
            .catalogue
            .stock
            .iter()
            .filter(stock)
            .map(|s| s.on_hand)
            .collect();
        assert_eq!(levels, [9]);
        let mode = &policy.catalogue.classes[0].modes[0];
        assert_eq!(mode.cost_of_acting, 100.0);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, named) in [
            ("[care]\nmagin = 1\n", "magin"),
            ("[care]\nmargin = -1\n", "care.margin"),
            ("[crew]\nshift = \"16:00-07:00\"\n", "crew.shift"),
            ("[crew]\ndays = [\"someday\"]\n", "someday"),
            ("[[mode]]\nname = \"rust\"\n", "rust"),
            (
                "[[stock]]\ndepot = \"moon\"\npart = \"BRG-6310\"\non_hand = 1\n",
                "moon",
            ),
            ("model = \"nowhere.json\"\n", "nowhere.json"),
        ] {
            let text = format!("{:#}", parse(text).unwrap_err());
            assert!(text.contains(named), "{text}");
        }
    }
}
