//! Lives: from the first reading to the failure.

use forecare_domain::{ModeName, Timestamp};

use crate::rows::{Finding, History, HistoryItem};

/// One machine from its first reading, or the first after a failure, to the next failure.
pub(crate) struct Life<'a> {
    /// Number of the machine, in order of names.
    pub(crate) machine: usize,
    pub(crate) failed_at: Timestamp,
    pub(crate) mode: &'a ModeName,
    /// In time order; never empty.
    pub(crate) readings: Vec<(Timestamp, &'a [Option<f64>])>,
}

impl Life<'_> {
    pub(crate) fn hours(&self) -> f64 {
        self.readings
            .first()
            .map_or(0.0, |(began, _)| self.failed_at.hours_since(*began))
    }

    /// Hours from a reading to the failure.
    pub(crate) fn rul_hours(&self, reading: usize) -> f64 {
        self.failed_at
            .hours_since(self.readings[reading].0)
            .max(0.0)
    }
}

/// The lives that the histories tell to their end, by name of the machine and time. A stretch that ends with a
/// planned replacement, or with the history, tells no remaining life and is left out; so are readings between a failure
/// and the verdict on it, and those that somebody found to be wrong.
pub(crate) fn lives(histories: &[History]) -> Vec<Life<'_>> {
    let mut sorted: Vec<&History> = histories.iter().collect();
    sorted.sort_by(|a, b| {
        let began = |h: &History| h.items.first().map(HistoryItem::ts);
        a.device.cmp(&b.device).then(began(a).cmp(&began(b)))
    });
    let mut names: Vec<&str> = sorted.iter().map(|h| h.device.as_str()).collect();
    names.dedup();
    let mut lives = Vec::new();
    for history in sorted {
        let machine = names.partition_point(|name| *name < history.device.as_str());
        let mut readings: Vec<(Timestamp, &[Option<f64>])> = Vec::new();
        for item in &history.items {
            match item {
                HistoryItem::Reading { ts, values } => readings.push((*ts, values)),
                HistoryItem::Event { .. } => {}
                HistoryItem::Inspected {
                    from,
                    finding,
                    mode,
                    ..
                } => match (finding, mode) {
                    // The fault was there until then: the next life begins after it.
                    (Finding::Faulty, _) => readings.clear(),
                    // The readings themselves were wrong.
                    (Finding::Unusable, None) => readings.retain(|(ts, _)| ts < from),
                    (Finding::Sound | Finding::Unusable, _) => {}
                },
                HistoryItem::Replaced { .. } => readings.clear(),
                HistoryItem::Failure { ts, mode } => {
                    if !readings.is_empty() {
                        lives.push(Life {
                            machine,
                            failed_at: *ts,
                            mode,
                            readings: std::mem::take(&mut readings),
                        });
                    }
                }
            }
        }
    }
    lives
}

#[cfg(test)]
mod tests {
    use forecare_domain::{ComponentName, ModeName};

    use super::*;

    #[test]
    fn only_what_ends_in_a_failure_is_a_life() {
        let ts = |hour: i64| Timestamp::from_millis(hour * 3_600_000);
        let reading = |hour| HistoryItem::Reading {
            ts: ts(hour),
            values: vec![Some(1.0)],
        };
        let failure = |hour| HistoryItem::Failure {
            ts: ts(hour),
            mode: ModeName::new("wear").unwrap(),
        };
        let replaced = |hour| HistoryItem::Replaced {
            ts: ts(hour),
            component: ComponentName::new("bearing").unwrap(),
        };
        let history = |device: &str, items| History {
            device: device.to_owned(),
            items,
        };
        let found = |from, hour, mode, finding| HistoryItem::Inspected {
            from: ts(from),
            ts: ts(hour),
            mode,
            finding,
        };
        let wear = || Some(ModeName::new("wear").unwrap());
        let histories = [
            // The fault stays from hour 2 to the verdict at 4; readings of 6 to 7 were wrong.
            history(
                "c",
                vec![
                    reading(0),
                    failure(2),
                    reading(3),
                    found(2, 4, wear(), Finding::Faulty),
                    reading(5),
                    reading(6),
                    reading(7),
                    found(6, 8, None, Finding::Unusable),
                    reading(9),
                    found(8, 9, wear(), Finding::Sound),
                    failure(10),
                ],
            ),
            history(
                "b",
                vec![reading(0), reading(1), failure(5), reading(6), reading(7)],
            ),
            history(
                "a",
                vec![
                    reading(0),
                    replaced(3),
                    reading(4),
                    failure(6),
                    reading(8),
                    failure(9),
                ],
            ),
        ];
        let told: Vec<(usize, usize, f64)> = lives(&histories)
            .iter()
            .map(|l| (l.machine, l.readings.len(), l.rul_hours(0)))
            .collect();
        assert_eq!(
            told,
            [
                (0, 1, 2.0),
                (0, 1, 1.0),
                (1, 2, 5.0),
                (2, 1, 2.0),
                (2, 2, 5.0)
            ]
        );
    }
}
