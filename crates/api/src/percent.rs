//! Text as part of an address or of a header.

/// `text` percent-encoded: ASCII letters, digits and `-_.` stay. Fit for a query string, a segment of a path and the
/// file names of RFC 8187.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.') => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_inside_its_parameter() {
        assert_eq!(percent_encoded("a&b=\"<ü"), "a%26b%3D%22%3C%C3%BC");
    }
}
