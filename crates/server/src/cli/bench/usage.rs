//! What a process has used, read from /proc.

use anyhow::{Context, Result};

/// Kernel clock ticks per second as seen in /proc, fixed on Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time so far and memory of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_mib: f64,
    /// The most that was resident at once.
    pub(super) peak_mib: f64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let missing = "this measurement reads /proc, which only Linux has";
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context(missing)?;
        let mib = |key: &str| -> Result<f64> {
            let kib: f64 = status
                .lines()
                .find_map(|l| l.strip_prefix(key))
                .and_then(|l| l.split_whitespace().next())
                .and_then(|n| n.parse().ok())
                .context(missing)?;
            Ok(kib / 1_024.0)
        };
        Ok(Self {
            cpu_seconds: cpu_seconds(pid).context(missing)?,
            resident_mib: mib("VmRSS:")?,
            peak_mib: mib("VmHWM:")?,
        })
    }
}

/// CPU time of a process so far; `None` where it is gone.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in brackets, may hold spaces; times are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
