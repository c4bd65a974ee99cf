//! Foreign text in our own sentences.

use std::fmt::{self, Write};

/// Shows foreign text so that neither a terminal, a log line, an HTML page nor a spreadsheet can be
/// attacked through it: letters, digits and harmless ASCII as they are, all else as `\u{…}`, cut to a
/// number of characters.
pub(crate) struct Shown<'a> {
    text: &'a str,
    chars_max: usize,
}

/// [`Shown`], cut to a length that fits a key or a value into a sentence.
pub(crate) fn shown(text: &str) -> Shown<'_> {
    shown_to(text, 40)
}

/// [`Shown`], cut to `chars_max` characters of the original.
pub(crate) fn shown_to(text: &str, chars_max: usize) -> Shown<'_> {
    Shown { text, chars_max }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.text.chars();
        for (i, c) in chars.by_ref().take(self.chars_max).enumerate() {
            // Spreadsheets run cells that begin with one of these as formulas.
            let formula = i == 0 && matches!(c, '=' | '+' | '-' | '@');
            if is_harmless(c) && !formula {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        if chars.next().is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

fn is_harmless(c: char) -> bool {
    if c.is_ascii() {
        let special = matches!(c, '<' | '>' | '&' | '"' | '\'' | '`' | '\\');
        (c == ' ' || c.is_ascii_graphic()) && !special
    } else {
        c.is_alphanumeric()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_spelled_out_and_names_stay_readable() {
        for (text, expect) in [
            ("devices/pump-1/telemetry", "devices/pump-1/telemetry"),
            ("压缩机", "压缩机"),
            ("<b>", "\\u{3c}b\\u{3e}"),
            ("a\r\nb\u{1b}[2J", "a\\u{d}\\u{a}b\\u{1b}[2J"),
            ("\u{202e}x\0", "\\u{202e}x\\u{0}"),
            ("=cmd|", "\\u{3d}cmd|"),
            ("a=b\\", "a=b\\u{5c}"),
        ] {
            assert_eq!(shown(text).to_string(), expect);
        }
        assert_eq!(shown_to("aaaa", 3).to_string(), "aaa...");
        assert_eq!(shown_to("aaa", 3).to_string(), "aaa");
    }
}
