//! What is wrong with a record, field by field.

use std::fmt;

/// Longest name or other single line, characters.
pub(crate) const LINE_CHARS_MAX: usize = 200;
/// Longest note, characters.
pub(crate) const NOTE_CHARS_MAX: usize = 2_000;
/// Longest address of a document or channel, characters.
pub(crate) const ADDRESS_CHARS_MAX: usize = 500;
/// Most entries of a list in a record.
pub(crate) const LIST_MAX: usize = 500;
/// Faults reported of one record at most.
const FAULTS_MAX: usize = 20;

/// A field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field's path: `contacts[0].channels[1].address`; empty: the record as a whole.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub detail: String,
}

/// All that is wrong with one record, the first twenty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.detail)
        } else {
            write!(f, "{}: {}", self.field, self.detail)
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// One fault of one field.
    #[must_use]
    pub fn of(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self(vec![Fault {
            field: field.into(),
            detail: detail.into(),
        }])
    }

    pub(crate) fn add(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault {
                field: field.into(),
                detail: detail.into(),
            });
        }
    }

    /// A line that must not be empty.
    pub(crate) fn line(&mut self, field: impl Into<String>, text: &str) {
        self.text(field, text, LINE_CHARS_MAX);
    }

    /// A line that may be absent, but not empty.
    pub(crate) fn optional(&mut self, field: impl Into<String>, text: Option<&str>) {
        if let Some(text) = text {
            self.text(field, text, LINE_CHARS_MAX);
        }
    }

    /// A text of 1 to `chars_max` characters without control characters, line breaks in notes excepted, and
    /// without white space around it: what spreadsheets, terminals and databases all keep.
    pub(crate) fn text(&mut self, field: impl Into<String>, text: &str, chars_max: usize) {
        let is_note = chars_max == NOTE_CHARS_MAX;
        let n_chars = text.chars().count();
        if text.is_empty() {
            self.add(field, "must not be empty; leave it out where there is none");
        } else if n_chars > chars_max {
            self.add(
                field,
                format!("has {n_chars} characters; use at most {chars_max}"),
            );
        } else if text
            .chars()
            .any(|c| c.is_control() && !(is_note && c == '\n'))
        {
            self.add(field, "contains a control character");
        } else if text.trim() != text {
            self.add(field, "begins or ends with white space");
        }
    }

    pub(crate) fn list(&mut self, field: &str, n: usize) {
        self.list_of(field, n, LIST_MAX);
    }

    pub(crate) fn list_of(&mut self, field: &str, n: usize, n_max: usize) {
        if n > n_max {
            self.add(field, format!("has {n} entries; use at most {n_max}"));
        }
    }

    /// Lines of which none comes twice.
    pub(crate) fn lines(&mut self, field: &str, texts: &[String]) {
        self.list(field, texts.len());
        for (i, text) in texts.iter().enumerate().take(LIST_MAX) {
            let at = format!("{field}[{i}]");
            if texts.iter().take(i).any(|other| other == text) {
                self.add(at, format!("\"{text}\" comes twice"));
            } else {
                self.line(at, text);
            }
        }
    }

    pub(crate) fn distinct<T: Ord + fmt::Display>(&mut self, field: &str, items: &[T]) {
        let mut sorted: Vec<&T> = items.iter().collect();
        sorted.sort();
        for pair in sorted.windows(2) {
            if let [a, b] = pair
                && a == b
            {
                self.add(field, format!("\"{a}\" comes twice"));
            }
        }
    }

    pub(crate) fn number(&mut self, field: impl Into<String>, value: f64, min: f64, max: f64) {
        if !(value >= min && value <= max) {
            self.add(field, format!("{value} is not between {min} and {max}"));
        }
    }

    /// A name of the IANA time zone database.
    pub(crate) fn time_zone(&mut self, field: impl Into<String>, zone: &str) {
        if !crate::calendar::is_time_zone(zone) {
            self.add(
                field,
                "use a name of the IANA time zone database, such as Europe/Berlin",
            );
        }
    }

    /// A language tag such as `en` or `zh-CN` (BCP 47, by its form).
    pub(crate) fn language(&mut self, field: impl Into<String>, tag: &str) {
        let mut parts = tag.split('-');
        let first = parts.next().unwrap_or_default();
        let fits = matches!(first.len(), 2 | 3)
            && first.bytes().all(|b| b.is_ascii_alphabetic())
            && parts.all(|p| {
                (2..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric())
            })
            && tag.len() <= 35;
        if !fits {
            self.add(field, "use a language tag such as en or zh-CN");
        }
    }
}
