//! `devices/{device}/status`: `online` or `offline`.

use forecare_domain::{DeviceId, DeviceStatus, RejectReason, Timestamp};

use crate::findings::Finding;
use crate::shown::shown;

/// Reads the word, plain or as a JSON string; its case does not matter.
pub(crate) fn status(
    device: DeviceId,
    text: &str,
    received_at: Timestamp,
) -> Result<DeviceStatus, Finding> {
    let word = text.trim_ascii();
    let unquoted = word.strip_prefix('"').and_then(|w| w.strip_suffix('"'));
    let word = unquoted.unwrap_or(word);
    let online = if word.eq_ignore_ascii_case("online") {
        true
    } else if word.eq_ignore_ascii_case("offline") {
        false
    } else {
        let text = format!("`{}` is neither online nor offline", shown(text));
        return Err(Finding::new(RejectReason::UnknownShape, text));
    };
    Ok(DeviceStatus {
        device,
        online,
        at: received_at,
    })
}
