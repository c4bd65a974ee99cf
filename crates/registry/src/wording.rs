//! What a reader of JSON says against a value, in the words of people.

/// `text` of a deserialisation error of `serde_json` without the language of types; anything else as it is.
///
/// `invalid type: string "x", expected u32` becomes `use a whole number from 0 on, not text "x"`.
#[must_use]
pub fn in_words(text: &str) -> String {
    let text = match text.rsplit_once(" at line ") {
        Some((before, place)) if place.contains(" column ") => before,
        Some(_) | None => text,
    };
    if let Some(name) = quoted(text, "missing field `") {
        return format!("\"{name}\" is missing");
    }
    if let Some(name) = quoted(text, "duplicate field `") {
        return format!("\"{name}\" is given twice");
    }
    if let Some(name) = quoted(text, "unknown field `") {
        return match names(text) {
            Some(names) => format!("there is no \"{name}\" here; there are {names}"),
            None => format!("there is no \"{name}\" here"),
        };
    }
    if let Some(name) = quoted(text, "unknown variant `") {
        return match names(text) {
            Some(names) => format!("\"{name}\" is not possible; use {names}"),
            None => format!("\"{name}\" is not possible"),
        };
    }
    if text.starts_with("data did not match any variant") {
        return "use text, a number, or true and false".to_owned();
    }
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((given, expected)) = text
            .strip_prefix(kind)
            .and_then(|rest| rest.rsplit_once(", expected "))
        {
            return format!("use {}, not {}", wanted(expected), sent(given));
        }
    }
    text.to_owned()
}

fn quoted<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.strip_prefix(begin)?.split('`').next()
}

/// The names that are expected, with commas.
fn names(text: &str) -> Option<String> {
    let (_, expected) = text.split_once(", expected ")?;
    let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn wanted(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string" | "str" => "text",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") || other.starts_with("internally tagged") => {
            "an object"
        }
        other => other,
    }
}

fn sent(given: &str) -> String {
    for (kind, words) in [
        ("string ", "text "),
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
    ] {
        if let Some(value) = given.strip_prefix(kind) {
            return format!("{words}{}", value.replace('`', ""));
        }
    }
    match given {
        "null" | "unit value" | "Option value" => "null".to_owned(),
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Some {
        n: u32,
        of: Option<Kind>,
        yes: Option<bool>,
        all: Option<Vec<f64>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Small,
        Large,
    }

    #[test]
    fn refusals_speak_of_values_and_not_of_types() {
        for (json, words) in [
            ("{}", "\"n\" is missing"),
            ("{\"n\":1,\"n\":2}", "\"n\" is given twice"),
            (
                "{\"n\":\"x\"}",
                "use a whole number from 0 on, not text \"x\"",
            ),
            (
                "{\"n\":-1}",
                "use a whole number from 0 on, not the number -1",
            ),
            (
                "{\"n\":1.5}",
                "use a whole number from 0 on, not the number 1.5",
            ),
            ("{\"n\":null}", "use a whole number from 0 on, not null"),
            (
                "{\"n\":1,\"of\":\"huge\"}",
                "\"huge\" is not possible; use small, large",
            ),
            (
                "{\"n\":1,\"yes\":\"no\"}",
                "use true or false, not text \"no\"",
            ),
            ("{\"n\":1,\"all\":{}}", "use a list, not an object"),
            (
                "{\"n\":1,\"m\":2}",
                "there is no \"m\" here; there are n, of, yes, all",
            ),
            ("[]", "\"n\" is missing"),
        ] {
            let error = serde_json::from_str::<Some>(json);
            let said = in_words(&error.map(|_| ()).unwrap_err().to_string());
            if json == "[]" {
                assert!(!said.contains("at line"), "{said}");
            } else {
                assert_eq!(said, words, "{json}");
            }
        }
    }
}
