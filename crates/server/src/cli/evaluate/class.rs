//! Asset classes for data sets that have none: made from their columns.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use forecare_catalogue::{AssetClass, Catalogue};

/// A class whose metrics are `columns`, without limits, operating point and failure modes: all that is found
/// is `unknown`.
pub(super) fn of_columns(
    name: &str,
    columns: &[String],
    sample_interval_s: f64,
) -> Result<AssetClass> {
    let mut text = format!(
        "[[depot]]\nname = \"none\"\ntitle = \"None\"\n\
         [[class]]\nname = \"{name}\"\ntitle = \"{name}\"\nhorizon_hours = 24\n\
         sample_interval_s = {sample_interval_s:?}\n"
    );
    for column in columns {
        let metric = metric_name(column);
        write!(
            text,
            "[[class.metric]]\nname = \"{metric}\"\nunit = \"1\"\n"
        )?;
    }
    let mut catalogue = Catalogue::parse(&text)
        .with_context(|| format!("cannot make metrics of the columns {}", columns.join(", ")))?;
    Ok(catalogue.classes.remove(0))
}

/// `Volume Flow RateRMS` as `volume-flow-raterms`.
fn metric_name(column: &str) -> String {
    let letters = column.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    letters.collect::<String>().trim_matches('-').to_owned()
}
