//! What is known of an asset beyond what its device needs.

use forecare_domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::date::Date;
use crate::fault::{ADDRESS_CHARS_MAX, Faults};
use crate::id::RecordId;

/// Master data of a registered asset. The record has the asset's id.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AssetDetails {
    /// The maker's serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The maker's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The maker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// Version of the firmware that runs on its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<RecordId>,
    /// When it was installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_on: Option<Date>,
    /// When it went into operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commissioned_on: Option<Date>,
    /// Last day of the warranty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warranty_until: Option<Date>,
    /// Where it stood and stands, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<Placement>,
    /// The parts it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bill_of_parts: Vec<BillItem>,
    /// Manuals, drawings, certificates: links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Document>,
}

/// A span of time at a place. The begin is part of it, the end is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Placement {
    /// The place: a unit, or whatever is known above it.
    pub location: RecordId,
    /// From when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub from: Timestamp,
    /// Until when; none: it still stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub to: Option<Timestamp>,
}

/// Parts of one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BillItem {
    /// The part's number: the catalogue's, or the maker's for parts that are not stocked.
    pub part: String,
    /// How many. At least 1.
    pub quantity: u32,
    /// Where in the machine, such as `drive end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Serial number or batch of the one that is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

/// A link to a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Document {
    /// What people call it.
    pub title: String,
    /// Where it is: `https://...`, or a file that is kept here: `/files/` and its SHA-256, 64 hexadecimal digits.
    pub url: String,
}

/// What the address of a file begins with that is kept here.
const FILES: &str = "/files/";

/// Whether `text` is a SHA-256 in hexadecimal digits, as files are known by.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Placement {
    /// Whether the asset stands there at `at`.
    #[must_use]
    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.from <= at && self.to.is_none_or(|to| at < to)
    }
}

impl Document {
    /// The document that is the file `sha256`, kept here.
    #[must_use]
    pub fn of_file(title: String, sha256: &str) -> Self {
        Self {
            title,
            url: format!("{FILES}{sha256}"),
        }
    }

    /// The SHA-256 of the file that is kept here; `None`: it lies elsewhere.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.url.strip_prefix(FILES)
    }

    pub(crate) fn check(&self, field: &str, faults: &mut Faults) {
        faults.line(format!("{field}.title"), &self.title);
        let (at, url) = (format!("{field}.url"), &self.url);
        if url.starts_with("https://") || url.starts_with("http://") {
            faults.text(at, url, ADDRESS_CHARS_MAX);
        } else if !self.file().is_some_and(is_sha256) {
            faults.add(
                at,
                "must begin with https:// or http://, or be /files/ and a SHA-256",
            );
        }
    }
}

impl AssetDetails {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.optional("serial", self.serial.as_deref());
        faults.optional("model", self.model.as_deref());
        faults.optional("manufacturer", self.manufacturer.as_deref());
        faults.optional("firmware", self.firmware.as_deref());
        if let (Some(installed), Some(commissioned)) = (self.installed_on, self.commissioned_on)
            && commissioned < installed
        {
            faults.add("commissioned_on", "lies before installed_on");
        }
        faults.list("positions", self.positions.len());
        for (i, placement) in self.positions.iter().enumerate() {
            if placement.to.is_some_and(|to| to <= placement.from) {
                faults.add(format!("positions[{i}].to"), "must be later than from");
            }
        }
        for (i, pair) in self.positions.windows(2).enumerate() {
            // In order and each ended before the next begins: no two hold at one time.
            if let [before, after] = pair
                && before.to.is_none_or(|to| after.from < to)
            {
                faults.add(
                    format!("positions[{}].from", i + 1),
                    "the position before has not ended: give positions in order of time, without overlap",
                );
            }
        }
        faults.list("bill_of_parts", self.bill_of_parts.len());
        for (i, item) in self.bill_of_parts.iter().enumerate() {
            let at = |field: &str| format!("bill_of_parts[{i}].{field}");
            faults.line(at("part"), &item.part);
            faults.number(at("quantity"), f64::from(item.quantity), 1.0, 1e6);
            faults.optional(at("place"), item.place.as_deref());
            faults.optional(at("serial"), item.serial.as_deref());
        }
        faults.list("documents", self.documents.len());
        for (i, document) in self.documents.iter().enumerate() {
            document.check(&format!("documents[{i}]"), faults);
        }
    }

    /// Where it stands at `at`.
    #[must_use]
    pub fn position_at(&self, at: Timestamp) -> Option<&Placement> {
        self.positions.iter().find(|p| p.holds_at(at))
    }
}
