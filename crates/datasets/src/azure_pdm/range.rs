//! Which machines: `1-12`, `21-40`, `1,3,5-7`.

use std::fmt;
use std::str::FromStr;

/// A set of machine numbers, as ranges in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRange(Vec<(u32, u32)>);

/// A text that names no set of machines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" names no machines: {why}; write numbers and ranges such as 1-12 or 1,3,5-7")]
pub struct MachineRangeError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl MachineRange {
    /// Every machine.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(0, u32::MAX)])
    }

    /// True when the set holds the machine.
    #[must_use]
    pub fn contains(&self, machine: u32) -> bool {
        self.0.iter().any(|(a, b)| (*a..=*b).contains(&machine))
    }
}

impl FromStr for MachineRange {
    type Err = MachineRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| MachineRangeError {
            text: text.chars().take(64).collect(),
            why,
        };
        let number = |part: &str| {
            part.trim()
                .parse::<u32>()
                .ok()
                .ok_or_else(|| wrong("a part is no number"))
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((a, b)) => (number(a)?, number(b)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(wrong("a range runs backwards"));
            }
            ranges.push((first, last));
        }
        ranges.sort_unstable();
        Ok(Self(ranges))
    }
}

impl fmt::Display for MachineRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (a, b)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if a == b {
                write!(f, "{comma}{a}")?;
            } else {
                write!(f, "{comma}{a}-{b}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_mix() {
        let range: MachineRange = "5-7, 1,3".parse().unwrap();
        let inside: Vec<u32> = (0..10).filter(|m| range.contains(*m)).collect();
        assert_eq!(inside, [1, 3, 5, 6, 7]);
        assert_eq!(range.to_string(), "1,3,5-7");
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "no number"),
            ("a", "no number"),
            ("7-5", "backwards"),
            ("1-", "no number"),
            ("-3", "no number"),
        ] {
            let err = text.parse::<MachineRange>().unwrap_err().to_string();
            assert!(err.contains(why) && err.contains("1-12"), "{err}");
        }
    }
}
