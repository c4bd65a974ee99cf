//! The messages of the measurement: JSON of about 194 bytes, a timestamp and 8 metrics that vary as noise does.

use std::io::Write;

/// The metrics with their usual level and deviation, as in `bench/catalogue.toml`.
const METRICS: [(&str, f64, f64); 8] = [
    ("temperature", 71.0, 0.8),
    ("vib_x", 2.1, 0.1),
    ("vib_y", 2.3, 0.1),
    ("vib_z", 1.9, 0.1),
    ("current", 118.0, 1.5),
    ("rpm", 1_480.0, 4.0),
    ("pressure", 7.2, 0.05),
    ("load", 70.0, 2.0),
];

/// Devices that take turns.
pub(super) struct Fleet {
    /// Topic of a device; `{}` stands for its name.
    topic: &'static str,
    first: u64,
    n_devices: u64,
    n_sent: u64,
    /// Newest time of each device, ms: a device never stamps two messages alike.
    newest_ms: Vec<i64>,
    state: u64,
}

impl Fleet {
    /// Devices `first..first + n_devices`.
    pub(super) fn new(topic: &'static str, first: u64, n_devices: u64) -> Self {
        Self {
            topic,
            first,
            n_devices,
            n_sent: 0,
            newest_ms: vec![i64::MIN; usize::try_from(n_devices).unwrap_or(0)],
            state: 0x9e37_79b9_7f4a_7c15 ^ first,
        }
    }

    /// The next device's message: topic and payload into the buffers. Its time is `at_ms` or the millisecond
    /// after the device's last.
    pub(super) fn next(&mut self, at_ms: i64, topic: &mut Vec<u8>, payload: &mut Vec<u8>) {
        let turn = self.n_sent % self.n_devices;
        self.n_sent += 1;
        let device = self.first + turn;
        let newest = &mut self.newest_ms[usize::try_from(turn).unwrap_or(0)];
        *newest = at_ms.max(newest.saturating_add(1));
        let ts = *newest;
        topic.clear();
        payload.clear();
        let (before, after) = self.topic.split_once("{}").unwrap_or((self.topic, ""));
        // Writing to a Vec cannot fail.
        write!(topic, "{before}bench-{device}{after}").unwrap_or_default();
        write!(payload, "{{\"device\":\"bench-{device}\",\"ts\":{ts}").unwrap_or_default();
        for (name, level, deviation) in METRICS {
            let value = level + deviation * self.noise();
            write!(payload, ",\"{name}\":{value:.5}").unwrap_or_default();
        }
        payload.push(b'}');
    }

    /// Near normal: the sum of four uniform numbers, of deviation 1.
    fn noise(&mut self) -> f64 {
        let sum: f64 = (0..4)
            .map(|_| {
                // Xorshift (Marsaglia 2003).
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                f64::from(u16::try_from(self.state & 0xffff).unwrap_or(0)) / 65_536.0
            })
            .sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use forecare_catalogue::Catalogue;

    use super::*;

    #[test]
    fn the_payload_is_of_the_size_that_peers_were_measured_with() {
        let mut fleet = Fleet::new("devices/{}/telemetry", 500, 3);
        let (mut topic, mut payload) = (Vec::new(), Vec::new());
        fleet.next(1_767_225_600_000, &mut topic, &mut payload);
        assert_eq!(topic, b"devices/bench-500/telemetry");
        assert!((184..=204).contains(&payload.len()), "{}", payload.len());
    }

    #[test]
    fn the_catalogue_has_the_metrics_of_the_payload() {
        let catalogue = Catalogue::parse(super::super::consumer::CATALOGUE).unwrap();
        let names: Vec<String> = catalogue.classes[0]
            .metrics
            .iter()
            .map(|m| m.name.to_string())
            .collect();
        assert_eq!(names, METRICS.map(|(name, ..)| name));
    }
}
