//! Signatures of webhooks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header that carries the signature: `t=<epoch seconds>,v1=<hex>`.
pub const SIGNATURE_HEADER: &str = "forecare-signature";

pub(crate) fn mac(secret: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104): the error cannot come.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)
        .unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    for part in parts {
        mac.update(part);
    }
    mac
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok())
        .collect()
}

/// The header's value: HMAC-SHA256 over `<t>.<body>`, RFC 2104, with the time at which it was sent, epoch seconds.
#[must_use]
pub fn signature(secret: &[u8], sent_at_s: i64, body: &[u8]) -> String {
    let time = sent_at_s.to_string();
    let mac = mac(secret, &[time.as_bytes(), b".", body]);
    format!("t={time},v1={}", hex(&mac.finalize().into_bytes()))
}

/// Whether `header` signs `body`, and was made at most `tolerance_s` seconds away from `now_s`. Compares in constant
/// time.
#[must_use]
pub fn verify(secret: &[u8], header: &str, body: &[u8], now_s: i64, tolerance_s: i64) -> bool {
    let part = |name: &str| {
        let mut parts = header.split(',').filter_map(|p| p.trim().split_once('='));
        parts.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let (Some(time), Some(sent)) = (part("t"), part("v1").and_then(unhex)) else {
        return false;
    };
    let fresh = time
        .parse::<i64>()
        .is_ok_and(|t| now_s.abs_diff(t) <= tolerance_s.unsigned_abs());
    fresh
        && mac(secret, &[time.as_bytes(), b".", body])
            .verify_slice(&sent)
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_published_construction() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac topsecret
        let header = signature(b"topsecret", 1_700_000_000, br#"{"a":1}"#);
        let expected = "6a939b0c71853d606167625a15168ee9188c6a511c773ef4f42d307f3849e50f";
        assert_eq!(header, format!("t=1700000000,v1={expected}"));
        assert!(verify(
            b"topsecret",
            &header,
            br#"{"a":1}"#,
            1_700_000_100,
            300
        ));
    }

    #[test]
    fn what_was_changed_or_is_old_does_not_verify() {
        let header = signature(b"s", 1_000, b"body");
        assert!(!verify(b"s", &header, b"bodY", 1_000, 300));
        assert!(!verify(b"t", &header, b"body", 1_000, 300));
        assert!(!verify(b"s", &header, b"body", 1_301, 300));
        assert!(!verify(
            b"s",
            &header.replace("t=1000", "t=1001"),
            b"body",
            1_000,
            300
        ));
        for nonsense in [
            "",
            "t=,v1=",
            "v1=00",
            "t=1000",
            "t=1000,v1=zz",
            "t=1000,v1=é",
        ] {
            assert!(!verify(b"s", nonsense, b"body", 1_000, 300), "{nonsense}");
        }
    }
}
