//! Alarm episodes: one per failure mode, raised, escalated and cleared with hysteresis in time.

use forecare_domain::{Alarm, AlarmChange, AlarmId, DeviceId, ModeName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{EpisodeSettings, Evidence};

/// Most episodes of one device at a time, pending ones included; evidence for further modes waits.
pub const EPISODES_MAX: usize = 64;

/// The episodes of one device. At most [`EPISODES_MAX`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Episodes {
    pending: Vec<Pending>,
    running: Vec<Running>,
}

/// Evidence that has not lasted long enough yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pending {
    mode: ModeName,
    n_samples: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Running {
    alarm: Alarm,
    /// The last instant with evidence.
    seen_at: Timestamp,
    n_samples_quiet: u32,
}

impl Episodes {
    /// No episode.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Weighs the evidence of one instant, from detectors and from the prognosis, and returns what
    /// changed, ordered by failure mode. Instants must not go back in time. `suppressed`: a maintenance
    /// window is on; nothing is raised or escalated, running episodes may clear.
    pub fn update(
        &mut self,
        device: &DeviceId,
        ts: Timestamp,
        evidence: &[Evidence],
        settings: &EpisodeSettings,
        suppressed: bool,
    ) -> Vec<AlarmChange> {
        if evidence.is_empty() && self.running.is_empty() {
            self.pending.clear();
            return Vec::new();
        }
        let strongest = strongest_per_mode(evidence);
        self.pending
            .retain(|p| strongest.iter().any(|e| e.mode == p.mode));
        let mut changes = self.clear_quiet(ts, &strongest, settings);
        for &e in &strongest {
            if let Some(running) = self.running.iter_mut().find(|r| r.alarm.mode == e.mode) {
                running.seen_at = ts;
                running.n_samples_quiet = 0;
                if !suppressed && e.severity > running.alarm.severity {
                    running.take(ts, e);
                    changes.push(AlarmChange::Escalated(running.alarm.clone()));
                }
            } else if !suppressed && self.long_enough(&e.mode, settings.raise_after_samples) {
                let alarm = raised(device, ts, e);
                changes.push(AlarmChange::Raised(alarm.clone()));
                self.running.push(Running {
                    alarm,
                    seen_at: ts,
                    n_samples_quiet: 0,
                });
            }
        }
        changes.sort_by(|a, b| a.alarm().mode.cmp(&b.alarm().mode));
        changes
    }

    /// A repair of the given modes: their episodes clear at once; at the time of their last change if the
    /// repair is told with an older one, because a change must not be older than the one before.
    pub fn reset_after_repair(&mut self, ts: Timestamp, modes: &[ModeName]) -> Vec<AlarmChange> {
        self.pending.retain(|p| !modes.contains(&p.mode));
        self.clear_where(ts, |r| modes.contains(&r.alarm.mode))
    }

    /// The running episodes, oldest first.
    pub fn active(&self) -> impl Iterator<Item = &Alarm> {
        self.running.iter().map(|r| &r.alarm)
    }

    /// Counts this instant for a mode without episode; true once it has lasted `n_samples_min` instants.
    fn long_enough(&mut self, mode: &ModeName, n_samples_min: u32) -> bool {
        if self.running.len() >= EPISODES_MAX {
            return false;
        }
        let place = self.pending.iter().position(|p| &p.mode == mode);
        let n_samples = place.map_or(0, |i| self.pending[i].n_samples) + 1;
        match place {
            Some(i) if n_samples >= n_samples_min => {
                self.pending.remove(i);
            }
            Some(i) => self.pending[i].n_samples = n_samples,
            None if n_samples < n_samples_min && self.pending.len() < EPISODES_MAX => {
                self.pending.push(Pending {
                    mode: mode.clone(),
                    n_samples,
                });
            }
            None => {}
        }
        n_samples >= n_samples_min
    }

    fn clear_quiet(
        &mut self,
        ts: Timestamp,
        strongest: &[&Evidence],
        settings: &EpisodeSettings,
    ) -> Vec<AlarmChange> {
        for running in &mut self.running {
            if !strongest.iter().any(|e| e.mode == running.alarm.mode) {
                running.n_samples_quiet = running.n_samples_quiet.saturating_add(1);
            }
        }
        self.clear_where(ts, |r| {
            r.n_samples_quiet >= settings.clear_after_samples.max(1)
                && ts.hours_since(r.seen_at) >= settings.clear_after_hours
        })
    }

    fn clear_where(&mut self, ts: Timestamp, over: impl Fn(&Running) -> bool) -> Vec<AlarmChange> {
        let mut changes = Vec::new();
        self.running.retain_mut(|running| {
            let clear = over(running);
            if clear {
                let at = ts.max(running.alarm.updated_at);
                running.alarm.active = false;
                running.alarm.updated_at = at;
                running.alarm.cleared_at = Some(at);
                changes.push(AlarmChange::Cleared(running.alarm.clone()));
            }
            !clear
        });
        changes
    }
}

impl Running {
    fn take(&mut self, ts: Timestamp, evidence: &Evidence) {
        self.alarm.source = evidence.source;
        self.alarm.severity = evidence.severity;
        self.alarm.strength = evidence.strength;
        self.alarm.updated_at = ts;
        self.alarm.contributions.clone_from(&evidence.contributions);
    }
}

/// One per mode: the most severe, then the strongest, then the first given; ordered by mode.
fn strongest_per_mode(evidence: &[Evidence]) -> Vec<&Evidence> {
    let mut all: Vec<&Evidence> = evidence.iter().collect();
    all.sort_by(|a, b| {
        a.mode
            .cmp(&b.mode)
            .then(b.severity.cmp(&a.severity))
            .then(b.strength.total_cmp(&a.strength))
    });
    all.dedup_by(|later, first| later.mode == first.mode);
    all
}

fn raised(device: &DeviceId, ts: Timestamp, evidence: &Evidence) -> Alarm {
    Alarm {
        id: AlarmId::of(device, &evidence.mode, ts),
        device: device.clone(),
        mode: evidence.mode.clone(),
        source: evidence.source,
        severity: evidence.severity,
        active: true,
        acknowledged: false,
        raised_at: ts,
        updated_at: ts,
        cleared_at: None,
        strength: evidence.strength,
        contributions: evidence.contributions.clone(),
    }
}

#[cfg(test)]
mod tests {
    use forecare_domain::{AlarmSource, Contribution, Severity};

    use super::*;

    const MINUTE: i64 = 60_000;

    fn evidence(mode: &str, severity: Severity, strength: f64) -> Evidence {
        Evidence {
            mode: ModeName::new(mode).unwrap(),
            source: AlarmSource::Anomaly,
            severity,
            strength,
            contributions: vec![Contribution {
                name: "vibration".into(),
                share: 1.0,
                expected: 2.0,
                seen: 5.0,
                reason: "drifts up".into(),
            }],
        }
    }

    fn device() -> DeviceId {
        DeviceId::new("pump-1").unwrap()
    }

    fn run(
        episodes: &mut Episodes,
        minute: i64,
        evidence: &[Evidence],
        suppressed: bool,
    ) -> Vec<AlarmChange> {
        let ts = Timestamp::from_millis(minute * MINUTE);
        let settings = EpisodeSettings::default();
        episodes.update(&device(), ts, evidence, &settings, suppressed)
    }

    #[test]
    fn an_episode_is_raised_once_escalates_once_and_clears_after_the_quiet_time() {
        let mut episodes = Episodes::new();
        let warning = [evidence("wear", Severity::Warning, 0.6)];
        let critical = [
            evidence("wear", Severity::Critical, 0.7),
            evidence("wear", Severity::Warning, 0.9),
        ];
        assert!(matches!(
            run(&mut episodes, 0, &warning, false)[..],
            [AlarmChange::Raised(_)]
        ));
        assert!(run(&mut episodes, 1, &warning, false).is_empty());
        let escalated = run(&mut episodes, 2, &critical, false);
        assert!(matches!(escalated[..], [AlarmChange::Escalated(_)]));
        assert_eq!(
            escalated[0].alarm().raised_at.as_millis(),
            0,
            "the same episode"
        );
        assert!(run(&mut episodes, 3, &critical, false).is_empty());
        assert!(
            run(&mut episodes, 4, &warning, false).is_empty(),
            "no way back down"
        );
        for minute in 5..64 {
            assert!(run(&mut episodes, minute, &[], false).is_empty());
        }
        let cleared = run(&mut episodes, 64, &[], false);
        assert!(
            matches!(&cleared[..], [AlarmChange::Cleared(a)] if !a.active && a.cleared_at.is_some())
        );
        assert_eq!(episodes.active().count(), 0);
    }

    #[test]
    fn a_flicker_keeps_one_episode() {
        let mut episodes = Episodes::new();
        let warning = [evidence("wear", Severity::Warning, 0.6)];
        let n_changes: usize = (0..300)
            .map(|minute| {
                let now: &[Evidence] = if minute % 30 == 0 { &warning } else { &[] };
                run(&mut episodes, minute, now, false).len()
            })
            .sum();
        assert_eq!(n_changes, 1);
    }

    #[test]
    fn quiet_time_alone_does_not_clear_when_samples_are_hours_apart() {
        let mut episodes = Episodes::new();
        run(
            &mut episodes,
            0,
            &[evidence("wear", Severity::Warning, 0.6)],
            false,
        );
        assert!(run(&mut episodes, 600, &[], false).is_empty());
        assert_eq!(episodes.active().count(), 1);
    }

    #[test]
    fn a_maintenance_window_raises_nothing_and_lets_clear() {
        let mut episodes = Episodes::new();
        let warning = [evidence("wear", Severity::Warning, 0.6)];
        assert!(run(&mut episodes, 0, &warning, true).is_empty());
        run(&mut episodes, 1, &warning, false);
        let critical = [evidence("wear", Severity::Critical, 0.9)];
        assert!(run(&mut episodes, 2, &critical, true).is_empty());
        let cleared: Vec<_> = (3..80)
            .flat_map(|m| run(&mut episodes, m, &[], true))
            .collect();
        assert!(matches!(cleared[..], [AlarmChange::Cleared(_)]));
    }

    #[test]
    fn evidence_must_last_when_asked_to() {
        let mut episodes = Episodes::new();
        let settings = EpisodeSettings {
            raise_after_samples: 3,
            ..EpisodeSettings::default()
        };
        let warning = [evidence("wear", Severity::Warning, 0.6)];
        let mut raised_at = Vec::new();
        for minute in 0..8 {
            let now: &[Evidence] = if minute == 2 { &[] } else { &warning };
            let ts = Timestamp::from_millis(minute * MINUTE);
            if !episodes
                .update(&device(), ts, now, &settings, false)
                .is_empty()
            {
                raised_at.push(minute);
            }
        }
        assert_eq!(raised_at, [5]);
    }

    #[test]
    fn a_repair_clears_only_the_modes_it_names() {
        let mut episodes = Episodes::new();
        run(
            &mut episodes,
            0,
            &[
                evidence("wear", Severity::Warning, 0.6),
                evidence("leak", Severity::Warning, 0.6),
            ],
            false,
        );
        let ts = Timestamp::from_millis(MINUTE);
        let changes = episodes.reset_after_repair(ts, &[ModeName::new("wear").unwrap()]);
        assert!(
            matches!(&changes[..], [AlarmChange::Cleared(a)] if a.mode.as_str() == "wear" && a.cleared_at == Some(ts))
        );
        assert_eq!(
            episodes
                .active()
                .map(|a| a.mode.as_str())
                .collect::<Vec<_>>(),
            ["leak"]
        );
    }

    #[test]
    fn a_repair_told_with_an_older_time_clears_no_earlier_than_the_last_change() {
        let mut episodes = Episodes::new();
        run(
            &mut episodes,
            0,
            &[evidence("wear", Severity::Warning, 0.6)],
            false,
        );
        run(
            &mut episodes,
            10,
            &[evidence("wear", Severity::Critical, 0.9)],
            false,
        );
        let repaired = Timestamp::from_millis(4 * MINUTE);
        let changes = episodes.reset_after_repair(repaired, &[ModeName::new("wear").unwrap()]);
        let escalated_at = Timestamp::from_millis(10 * MINUTE);
        assert!(
            matches!(&changes[..], [AlarmChange::Cleared(a)]
                if a.updated_at == escalated_at && a.cleared_at == Some(escalated_at)),
            "{changes:?}"
        );
    }

    #[test]
    fn episodes_survive_a_json_round_trip() {
        let mut episodes = Episodes::new();
        run(
            &mut episodes,
            0,
            &[evidence("wear", Severity::Warning, 1.0 / 3.0)],
            false,
        );
        let json = serde_json::to_string(&episodes).unwrap();
        assert_eq!(serde_json::from_str::<Episodes>(&json).unwrap(), episodes);
    }

    #[test]
    fn the_number_of_episodes_is_bounded() {
        let mut episodes = Episodes::new();
        let many: Vec<Evidence> = (0..200)
            .map(|i| evidence(&format!("mode-{i}"), Severity::Warning, 0.5))
            .collect();
        run(&mut episodes, 0, &many, false);
        assert_eq!(episodes.active().count(), EPISODES_MAX);
    }
}
