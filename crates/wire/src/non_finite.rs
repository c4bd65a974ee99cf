//! Numbers that JSON cannot write, but devices do: `NaN`, `-Infinity`, `1e400`.

/// The text with quotes around every bare word that means a number which is not finite, so that the rest
/// of the message can still be read; `None` when there is no such word.
pub(crate) fn quote_non_finite(text: &str) -> Option<String> {
    let mut quoted = String::new();
    let mut copied = 0;
    for (start, end) in (Words { text, at: 0 }) {
        let word = &text[start..end];
        // Rust reads "nan", "inf" and "infinity" in any case, and overflows to infinity.
        if word.parse::<f64>().is_ok_and(|x| !x.is_finite()) {
            quoted.push_str(&text[copied..start]);
            quoted.push('"');
            quoted.push_str(word);
            quoted.push('"');
            copied = end;
        }
    }
    if copied == 0 {
        return None;
    }
    quoted.push_str(&text[copied..]);
    Some(quoted)
}

/// Runs of ASCII letters, digits, `+`, `-` and `.` outside JSON strings, as byte ranges.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let bytes = self.text.as_bytes();
        let mut in_string = false;
        while let Some(&byte) = bytes.get(self.at) {
            if in_string {
                self.at += if byte == b'\\' { 2 } else { 1 };
                in_string = byte != b'"';
            } else if is_word(byte) {
                let start = self.at;
                let n_word = bytes[start..].iter().take_while(|b| is_word(**b)).count();
                self.at += n_word;
                return Some((start, self.at));
            } else {
                self.at += 1;
                in_string = byte == b'"';
            }
        }
        None
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_outside_strings_that_are_not_finite_are_quoted() {
        for (text, expect) in [
            (r#"{"a":NaN,"b":1}"#, Some(r#"{"a":"NaN","b":1}"#)),
            (
                r#"{"a":-Infinity,"b":1e400}"#,
                Some(r#"{"a":"-Infinity","b":"1e400"}"#),
            ),
            (r#"{"NaN":1,"\"inf":2,"s":"1e999"}"#, None),
            (r#"{"a":nul,"b":1e308}"#, None),
            (r#""unterminated NaN \"#, None),
            ("é NaN", Some("é \"NaN\"")),
        ] {
            assert_eq!(quote_non_finite(text).as_deref(), expect, "{text}");
        }
    }
}
