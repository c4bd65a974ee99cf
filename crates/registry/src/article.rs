//! What is known: how a fault is recognised, mended and avoided.

use serde::{Deserialize, Serialize};

use crate::asset::Document;
use crate::fault::Faults;
use crate::id::RecordId;

/// Longest text, characters.
const TEXT_CHARS_MAX: usize = 50_000;

/// An article of the knowledge base. Earlier versions are in the record's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Article {
    /// In one line.
    pub title: String,
    /// Markdown (CommonMark) without HTML, at most 50,000 characters.
    pub text: String,
    /// Language it is written in: `en`, `zh-CN`.
    pub language: String,
    /// Asset classes of the catalogue it is about; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Failure modes it is about; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<String>,
    /// Pictures, drawings, videos: links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Document>,
    /// How far it is.
    #[serde(default)]
    pub state: ArticleState,
    /// True: customers may read it once it is published.
    #[serde(default)]
    pub public: bool,
    /// Number of the ticket whose resolution it was written from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ticket: Option<i64>,
    /// The same in other languages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub translations: Vec<RecordId>,
}

/// How far an article is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ArticleState {
    /// Proposed; only those who write find it.
    #[default]
    Draft,
    /// In use.
    Published,
    /// No longer true, kept for the record.
    Withdrawn,
}

impl Article {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.line("title", &self.title);
        faults.line("language", &self.language);
        faults.lines("classes", &self.classes);
        faults.lines("modes", &self.modes);
        let n_chars = self.text.chars().count();
        if self.text.trim().is_empty() {
            faults.add("text", "must not be empty");
        } else if n_chars > TEXT_CHARS_MAX {
            faults.add(
                "text",
                format!("has {n_chars} characters; use at most {TEXT_CHARS_MAX}"),
            );
        } else if self
            .text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
        {
            faults.add("text", "contains a control character");
        }
        faults.list("documents", self.documents.len());
        for (i, document) in self.documents.iter().enumerate() {
            document.check(&format!("documents[{i}]"), faults);
        }
        faults.distinct("translations", &self.translations);
    }

    /// Whether customers may read it.
    #[must_use]
    pub fn is_for_customers(&self) -> bool {
        self.public && self.state == ArticleState::Published
    }
}
