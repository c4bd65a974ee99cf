//! The columns of CSV files, by kind.

use crate::kind::RecordKind;

/// How a cell is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// Names with `;` between them, or a JSON array where a name has one.
    Names,
    /// Channels as `email:ops@example.com` with `;` between them, or as JSON.
    Channels,
    /// JSON.
    Json,
}

/// Path of the field and how its cell is written.
pub(crate) type Column = (&'static str, Form);

pub(crate) fn layout(kind: RecordKind) -> &'static [Column] {
    use Form::{Flag, Json, Names, Number, Text};
    match kind {
        RecordKind::Location => &[
            ("name", Text),
            ("level", Text),
            ("parent", Text),
            ("position.latitude_deg", Number),
            ("position.longitude_deg", Number),
            ("address", Text),
            ("region", Text),
            ("time_zone", Text),
        ],
        RecordKind::Customer => &[
            ("name", Text),
            ("address", Text),
            ("value.yearly", Number),
            ("value.lifetime", Number),
            ("contacts", Json),
            ("data_consents", Json),
            ("preferred_technicians", Names),
            ("excluded_technicians", Names),
            ("note", Text),
        ],
        RecordKind::Contract => &[
            ("customer", Text),
            ("kind", Text),
            ("title", Text),
            ("valid_from", Text),
            ("valid_to", Text),
            ("coverage.assets", Names),
            ("coverage.classes", Names),
            ("coverage.locations", Names),
            ("calendar", Text),
            ("targets", Json),
            ("includes.labour", Flag),
            ("includes.all_parts", Flag),
            ("includes.parts", Names),
            ("yearly_price", Number),
            ("note", Text),
        ],
        RecordKind::Asset => &[
            ("serial", Text),
            ("model", Text),
            ("manufacturer", Text),
            ("customer", Text),
            ("installed_on", Text),
            ("commissioned_on", Text),
            ("warranty_until", Text),
            ("firmware", Text),
            ("positions", Json),
            ("bill_of_parts", Json),
            ("documents", Json),
        ],
        RecordKind::Technician => &[
            ("name", Text),
            ("skills", Names),
            ("certificates", Json),
            ("regions", Names),
            ("depot", Text),
            ("van", Text),
            ("home.latitude_deg", Number),
            ("home.longitude_deg", Number),
            ("calendar", Text),
            ("channels", Json),
            ("language", Text),
            ("active", Flag),
        ],
        RecordKind::Depot => &[
            ("name", Text),
            ("position.latitude_deg", Number),
            ("position.longitude_deg", Number),
            ("address", Text),
            ("time_zone", Text),
        ],
        RecordKind::Van => &[
            ("name", Text),
            ("depot", Text),
            ("position.latitude_deg", Number),
            ("position.longitude_deg", Number),
        ],
        RecordKind::Calendar => &[
            ("name", Text),
            ("hours.around_the_clock", Flag),
            ("hours.time_zone", Text),
            ("hours.week", Json),
            ("hours.holiday", Json),
        ],
        RecordKind::Lead => &[
            ("customer", Text),
            ("kind", Text),
            ("title", Text),
            ("asset", Text),
            ("contract", Text),
            ("state", Text),
            ("opened_at", Text),
            ("value", Number),
            ("note", Text),
        ],
        RecordKind::Article => &[
            ("title", Text),
            ("text", Text),
            ("language", Text),
            ("classes", Names),
            ("modes", Names),
            ("documents", Json),
            ("state", Text),
            ("public", Flag),
            ("from_ticket", Number),
            ("translations", Names),
        ],
    }
}

/// The columns of a CSV file of `kind`, `id` first.
#[must_use]
pub fn columns(kind: RecordKind) -> Vec<&'static str> {
    std::iter::once("id")
        .chain(layout(kind).iter().map(|(path, _)| *path))
        .collect()
}
