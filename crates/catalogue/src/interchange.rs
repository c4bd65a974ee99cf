//! Which part may stand in for which: supersession and substitutes.

use std::collections::{BTreeMap, BTreeSet};

use forecare_domain::PartNumber;

use crate::file::Findings;
use crate::model::{Catalogue, PartSpec};

/// A part with which a need may be met.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The part.
    pub part: PartNumber,
    /// It is a substitute: taken only where the part itself would come too late. Otherwise it is the part itself, or
    /// what superseded it.
    pub is_substitute: bool,
    /// Supplier's lead time, hours; `None`: it is superseded, and not ordered any more.
    pub lead_time_hours: Option<f64>,
}

impl Catalogue {
    /// `part` and all that superseded it, oldest first: a need for the first may be met with any. The last is the one
    /// that is ordered.
    #[must_use]
    pub fn line<'a>(&'a self, part: &'a PartNumber) -> Vec<&'a PartNumber> {
        let mut line = vec![part];
        let mut at = part;
        // No longer than there are parts: a catalogue has no circles.
        while let Some(next) = self.part(at).and_then(|p| p.superseded_by.as_ref())
            && line.len() <= self.parts.len()
        {
            line.push(next);
            at = next;
        }
        line
    }

    /// What is ordered where `part` is needed.
    #[must_use]
    pub fn newest<'a>(&'a self, part: &'a PartNumber) -> &'a PartNumber {
        self.line(part).last().copied().unwrap_or(part)
    }

    /// Lead time, hours, of what is ordered where `part` is needed; 0 for a part that is not in the catalogue.
    #[must_use]
    pub fn lead_time_hours(&self, part: &PartNumber) -> f64 {
        self.part(self.newest(part))
            .map_or(0.0, |p| p.lead_time_hours)
    }

    /// What a need for `part` may be met with, in the order in which it is tried: its [`line`](Self::line), then the
    /// lines of its substitutes and of its successors'. Each part once.
    #[must_use]
    pub fn choices(&self, part: &PartNumber) -> Vec<Choice> {
        let mut choices: Vec<Choice> = Vec::new();
        let mut add = |line: &[&PartNumber], is_substitute| {
            for (place, &number) in line.iter().enumerate() {
                if choices.iter().any(|c| c.part == *number) {
                    continue;
                }
                let is_newest = place + 1 == line.len();
                choices.push(Choice {
                    part: number.clone(),
                    is_substitute,
                    lead_time_hours: is_newest.then(|| self.lead_time_hours(number)),
                });
            }
        };
        let own = self.line(part);
        add(&own, false);
        for spec in own.iter().filter_map(|number| self.part(number)) {
            for substitute in &spec.substitutes {
                add(&self.line(substitute), true);
            }
        }
        choices
    }

    /// `part` and all that may have to do with it by supersession or as substitutes, either way, over any number of
    /// steps. By number.
    #[must_use]
    pub fn relatives(&self, part: &PartNumber) -> Vec<PartNumber> {
        let mut known: BTreeSet<&PartNumber> = BTreeSet::from([part]);
        loop {
            let n_known = known.len();
            for spec in &self.parts {
                let mut named = spec.substitutes.iter().chain(&spec.superseded_by);
                if known.contains(&spec.number) {
                    known.extend(named);
                } else if named.any(|other| known.contains(other)) {
                    known.insert(&spec.number);
                }
            }
            if known.len() == n_known {
                return known.into_iter().cloned().collect();
            }
        }
    }
}

/// Checks what the parts say of each other.
pub(crate) fn check(parts: &[PartSpec], f: &mut Findings) {
    let next: BTreeMap<&PartNumber, &PartNumber> = parts
        .iter()
        .filter_map(|p| Some((&p.number, p.superseded_by.as_ref()?)))
        .collect();
    for part in parts {
        let at = format!("part {}", part.number);
        for (key, other) in part
            .superseded_by
            .iter()
            .map(|other| ("superseded_by", other))
            .chain(part.substitutes.iter().map(|other| ("substitutes", other)))
        {
            f.require(parts.iter().any(|p| p.number == *other), || {
                format!("{at}: {key} names unknown part \"{other}\"")
            });
        }
        let mut line = vec![&part.number];
        while let Some(successor) = line.last().and_then(|last| next.get(*last)) {
            if line.contains(successor) {
                // Told once, at the first part of the circle.
                if **successor == part.number && line.iter().all(|other| part.number <= **other) {
                    let circle: Vec<&str> = line.iter().map(|p| p.as_str()).collect();
                    f.require(false, || {
                        format!(
                            "{at}: superseded_by goes in a circle: {} -> {successor}; leave one of them out",
                            circle.join(" -> ")
                        )
                    });
                }
                break;
            }
            line.push(successor);
        }
        f.unique(
            &format!("{at}: substitute"),
            part.substitutes.iter().map(PartNumber::as_str),
        );
        for other in &part.substitutes {
            f.require(!line.contains(&other), || {
                if *other == part.number {
                    format!("{at}: it cannot be its own substitute")
                } else {
                    format!("{at}: \"{other}\" supersedes it and is used anyway; leave it out of substitutes")
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(parts: &str) -> Result<Catalogue, String> {
        let text = format!(
            "[[class]]\nname = \"pump\"\ntitle = \"Pump\"\nhorizon_hours = 24\nsample_interval_s = 60\n\
             [[class.metric]]\nname = \"vibration\"\nunit = \"mm/s\"\n[[depot]]\nname = \"main\"\ntitle = \"Main\"\n{parts}"
        );
        Catalogue::parse(&text).map_err(|e| e.to_string())
    }

    fn part(number: &str, lead: u32, more: &str) -> String {
        format!(
            "[[part]]\nnumber = \"{number}\"\ntitle = \"{number}\"\nlead_time_hours = {lead}\n{more}\n"
        )
    }

    fn number(number: &str) -> PartNumber {
        PartNumber::new(number).unwrap()
    }

    fn chain() -> Catalogue {
        let parts = [
            part("A", 10, "superseded_by = \"B\"\nsubstitutes = [\"X\"]"),
            part("B", 20, "superseded_by = \"C\""),
            part("C", 30, "substitutes = [\"Y\", \"X\"]"),
            part("X", 5, "superseded_by = \"X2\""),
            part("X2", 6, ""),
            part("Y", 7, ""),
            part("Z", 8, ""),
        ];
        catalogue(&parts.concat()).unwrap()
    }

    #[test]
    fn only_the_newest_of_a_line_is_ordered() {
        let catalogue = chain();
        let line: Vec<String> = catalogue
            .line(&number("A"))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(line, ["A", "B", "C"]);
        assert_eq!(catalogue.newest(&number("B")), &number("C"));
        assert!((catalogue.lead_time_hours(&number("A")) - 30.0).abs() < 1e-9);
        assert!(catalogue.lead_time_hours(&number("nothing")).abs() < 1e-9);
    }

    #[test]
    fn the_line_comes_before_the_substitutes_and_each_part_once() {
        let catalogue = chain();
        let seen: Vec<(String, bool, Option<f64>)> = catalogue
            .choices(&number("A"))
            .into_iter()
            .map(|c| (c.part.to_string(), c.is_substitute, c.lead_time_hours))
            .collect();
        let expected = [
            ("A", false, None),
            ("B", false, None),
            ("C", false, Some(30.0)),
            ("X", true, None),
            ("X2", true, Some(6.0)),
            ("Y", true, Some(7.0)),
        ];
        assert_eq!(
            seen,
            expected.map(|(p, is_substitute, lead)| (p.to_owned(), is_substitute, lead))
        );
        assert_eq!(catalogue.choices(&number("Z")).len(), 1);
    }

    #[test]
    fn relatives_are_found_either_way() {
        let catalogue = chain();
        for of in ["A", "C", "X2", "Y"] {
            assert_eq!(catalogue.relatives(&number(of)).len(), 6, "{of}");
        }
        assert_eq!(catalogue.relatives(&number("Z")), [number("Z")]);
    }

    #[test]
    fn circles_and_unknown_parts_are_named() {
        let says = |parts: &[String]| catalogue(&parts.concat()).unwrap_err();
        let circle = says(&[
            part("A", 1, "superseded_by = \"B\""),
            part("B", 1, "superseded_by = \"C\""),
            part("C", 1, "superseded_by = \"B\""),
        ]);
        assert!(circle.contains("circle: B -> C -> B"), "{circle}");
        assert_eq!(circle.lines().count(), 1, "told once: {circle}");
        let own = says(&[part("A", 1, "superseded_by = \"A\"")]);
        assert!(own.contains("circle: A -> A"), "{own}");
        let unknown = says(&[part("A", 1, "superseded_by = \"N\"\nsubstitutes = [\"M\"]")]);
        assert!(
            unknown.contains("superseded_by names unknown part \"N\""),
            "{unknown}"
        );
        assert!(
            unknown.contains("substitutes names unknown part \"M\""),
            "{unknown}"
        );
        let own = says(&[part("A", 1, "substitutes = [\"A\"]")]);
        assert!(own.contains("its own substitute"), "{own}");
        let successor = says(&[
            part("A", 1, "superseded_by = \"B\"\nsubstitutes = [\"B\"]"),
            part("B", 1, ""),
        ]);
        assert!(successor.contains("\"B\" supersedes it"), "{successor}");
    }
}
