//! Numbers, times and bars as people read them.

use forecare_care::Calendar;
use forecare_domain::{Rul, Severity, Timestamp};

/// An instant: exact, and as an age by the service's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    /// RFC 3339.
    pub(crate) iso: String,
    /// `2026-01-31 08:00 UTC`.
    pub(crate) utc: String,
    /// `2 h ago`, `in 3 d`.
    pub(crate) age: String,
}

impl When {
    pub(crate) fn new(now: Timestamp, at: Timestamp) -> Self {
        let iso = at.to_string();
        let utc = match (iso.get(..10), iso.get(11..16)) {
            (Some(day), Some(time)) => format!("{day} {time} UTC"),
            (_, _) => iso.clone(),
        };
        Self {
            utc,
            age: age(now, at),
            iso,
        }
    }
}

/// `text` with its RFC 3339 times in UTC as the console writes them: `2026-01-31 08:00 UTC`.
pub(crate) fn readable(text: &str) -> String {
    /// `2026-01-31T08:00`, digits as 0.
    const FORM: &[u8] = b"0000-00-00T00:00";
    let bytes = text.as_bytes();
    let is_time = |at: usize| {
        let given = bytes.get(at..at + FORM.len());
        given.is_some_and(|given| {
            given.iter().zip(FORM).all(|(c, form)| match form {
                b'0' => c.is_ascii_digit(),
                form => c == form,
            })
        })
    };
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !is_time(at) {
            at += 1;
            continue;
        }
        let rest = at + FORM.len();
        // Seconds and their fraction, to the Z.
        let tail = bytes[rest..]
            .iter()
            .position(|c| !(c.is_ascii_digit() || matches!(c, b':' | b'.')));
        match tail.map(|n| rest + n) {
            Some(end) if bytes[end] == b'Z' => {
                out.push_str(&text[done..at + 10]);
                out.push(' ');
                out.push_str(&text[at + 11..rest]);
                out.push_str(" UTC");
                done = end + 1;
                at = done;
            }
            Some(_) | None => at = rest,
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Monday first.
pub(crate) const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// `Mon 2026-03-02, 08:00\u{2013}12:00` by the clock of `calendar`; one time where both are the same.
pub(crate) fn span(
    calendar: &Calendar,
    weekdays: &[&str; 7],
    from: Timestamp,
    to: Timestamp,
) -> String {
    let (begin, end) = (calendar.wall_clock(from), calendar.wall_clock(to));
    let day = weekdays[begin.weekday];
    if from == to {
        return format!("{day} {}, {}", begin.date, begin.time);
    }
    format!("{day} {}, {}\u{2013}{}", begin.date, begin.time, end.time)
}

fn age(now: Timestamp, at: Timestamp) -> String {
    let seconds = (now.as_millis() - at.as_millis()) / 1_000;
    let (amount, unit) = match seconds.abs() {
        0..60 => return "just now".to_owned(),
        s @ 60..3_600 => (s / 60, "min"),
        s @ 3_600..172_800 => (s / 3_600, "h"),
        s @ 172_800..63_072_000 => (s / 86_400, "d"),
        s => (s / 31_536_000, "years"),
    };
    if seconds > 0 {
        format!("{amount} {unit} ago")
    } else {
        format!("in {amount} {unit}")
    }
}

/// Groups the digits before the point by three.
fn grouped(text: &str) -> String {
    let (sign, rest) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("\u{2212}", rest));
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let mut out = sign.to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A measured number with about three telling digits.
pub(crate) fn number(x: f64) -> String {
    let digits = match x.abs() {
        a if !a.is_finite() => return "\u{2014}".to_owned(),
        a if a >= 1e15 || (a > 0.0 && a < 1e-3) => return format!("{x:.2e}"),
        a if a >= 100.0 => 0,
        a if a >= 10.0 => 1,
        a if a >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{x:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    grouped(if text == "-0" { "0" } else { text })
}

/// A number with its unit.
pub(crate) fn quantity(x: f64, unit: &str) -> String {
    match unit {
        "" => number(x),
        unit => format!("{}\u{a0}{unit}", number(x)),
    }
}

/// A sum of money, without decimals.
pub(crate) fn money(x: f64, currency: &str) -> String {
    format!("{}\u{a0}{currency}", grouped(&format!("{x:.0}")))
}

/// A sum of money, with decimals where it has any.
pub(crate) fn money_exact(x: f64, currency: &str) -> String {
    let text = format!("{x:.2}");
    let text = text.strip_suffix(".00").unwrap_or(&text);
    format!("{}\u{a0}{currency}", grouped(text))
}

/// A probability: what is not certain is not shown as certain.
pub(crate) fn percent(p: f64) -> String {
    match p * 100.0 {
        p if p > 0.0 && p < 1.0 => "<\u{a0}1\u{a0}%".to_owned(),
        p if p > 99.0 && p < 100.0 => ">\u{a0}99\u{a0}%".to_owned(),
        p => format!("{p:.0}\u{a0}%"),
    }
}

/// Time that was worked: minutes below an hour, hours and minutes above.
pub(crate) fn duration(h: f64) -> String {
    let minutes = (h * 60.0).round();
    if minutes < 60.0 {
        return format!("{minutes:.0}\u{a0}min");
    }
    match (minutes % 60.0, (minutes / 60.0).floor()) {
        (0.0, whole) => format!("{whole:.0}\u{a0}h"),
        (rest, whole) => format!("{whole:.0}\u{a0}h {rest:.0}\u{a0}min"),
    }
}

/// A span of hours; in minutes or days where that reads better.
pub(crate) fn hours(h: f64) -> String {
    match h {
        h if h > 0.0 && h < 1.0 / 60.0 => "<\u{a0}1\u{a0}min".to_owned(),
        h if h > 0.0 && (h * 60.0).round() < 60.0 => format!("{:.0}\u{a0}min", h * 60.0),
        h if h > 72.0 => format!("{}\u{a0}d", number((h / 2.4).round() / 10.0)),
        h if h >= 10.0 => format!("{h:.0}\u{a0}h"),
        h => format!("{}\u{a0}h", number((h * 10.0).round() / 10.0)),
    }
}

/// Remaining useful life in a few words: median, and in brackets 10 % to 90 %, in one unit.
pub(crate) fn rul(rul: &Rul) -> String {
    let Some(quantiles) = rul.quantiles_hours() else {
        return "no trend".to_owned();
    };
    let (unit, hours) = if quantiles[2] >= 72.0 {
        ("d", 24.0)
    } else {
        ("h", 1.0)
    };
    let [p10, p50, p90] = quantiles.map(|h| number((h / hours * 10.0).round() / 10.0));
    format!("{p50}\u{a0}{unit} ({p10} to {p90})")
}

/// A share or a health index as a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Length, 0 to 100.
    pub(crate) length: String,
    /// The value in words.
    pub(crate) text: String,
    /// `good`, `warning`, `critical`, or `plain`.
    pub(crate) tone: &'static str,
}

impl Bar {
    /// Health 0 to 100.
    pub(crate) fn health(health: f64) -> Self {
        let tone = match health {
            h if h >= 70.0 => "good",
            h if h >= 40.0 => "warning",
            _ => "critical",
        };
        Self {
            length: format!("{:.1}", health.clamp(0.0, 100.0)),
            text: format!("{health:.0}\u{a0}%"),
            tone,
        }
    }

    /// A probability of failure.
    pub(crate) fn risk(p: f64) -> Self {
        let tone = match p {
            p if p >= 0.5 => "critical",
            p if p >= 0.15 => "warning",
            _ => "good",
        };
        Self {
            length: format!("{:.1}", (p * 100.0).clamp(0.0, 100.0)),
            text: percent(p),
            tone,
        }
    }

    /// A share in a whole.
    pub(crate) fn share(share: f64) -> Self {
        Self {
            length: format!("{:.1}", (share * 100.0).clamp(0.0, 100.0)),
            text: percent(share),
            tone: "plain",
        }
    }
}

/// The tone of a severity.
pub(crate) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_naturally_both_ways() {
        let now = Timestamp::from_millis(1_000_000_000_000);
        for (hours, text) in [
            (0.0, "just now"),
            (-0.1, "6 min ago"),
            (-2.0, "2 h ago"),
            (-47.0, "47 h ago"),
            (-72.0, "3 d ago"),
            (5.0, "in 5 h"),
            (24.0 * 365.0 * 3.0, "in 3 years"),
        ] {
            assert_eq!(age(now, now.plus_hours(hours)), text);
        }
    }

    #[test]
    fn numbers_show_about_three_telling_digits() {
        for (x, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (7.1, "7.1"),
            (4.256, "4.26"),
            (71.04, "71"),
            (0.1234, "0.123"),
            (1_234_567.8, "1\u{202f}234\u{202f}568"),
            (-1234.0, "\u{2212}1\u{202f}234"),
            (0.000_01, "1.00e-5"),
            (f64::NAN, "\u{2014}"),
        ] {
            assert_eq!(number(x), text, "{x}");
        }
    }

    #[test]
    fn times_in_a_text_are_written_as_elsewhere() {
        for (text, shown) in [
            ("", ""),
            (
                "at 2026-01-31T08:00:00Z: r\u{fc}ckt",
                "at 2026-01-31 08:00 UTC: r\u{fc}ckt",
            ),
            (
                "2026-01-31T08:00:00.250Z to 2026-02-01T09:30:00Z",
                "2026-01-31 08:00 UTC to 2026-02-01 09:30 UTC",
            ),
            ("2026-01-31T08:00:00+01:00", "2026-01-31T08:00:00+01:00"),
            ("2026-01-31T08:00", "2026-01-31T08:00"),
            (
                "\u{4e2d}2026-01-31T08:00Z\u{4e2d}",
                "\u{4e2d}2026-01-31 08:00 UTC\u{4e2d}",
            ),
        ] {
            assert_eq!(readable(text), shown, "{text}");
        }
    }

    #[test]
    fn spans_are_given_in_the_unit_that_tells() {
        for (h, text) in [
            (0.0, "0\u{a0}h"),
            (0.01, "<\u{a0}1\u{a0}min"),
            (0.05, "3\u{a0}min"),
            (0.999, "1\u{a0}h"),
            (1.5, "1.5\u{a0}h"),
            (48.0, "48\u{a0}h"),
            (96.0, "4\u{a0}d"),
        ] {
            assert_eq!(hours(h), text, "{h}");
        }
        assert_eq!(duration(0.75), "45\u{a0}min");
        assert_eq!(duration(1.5), "1\u{a0}h 30\u{a0}min");
        assert_eq!(duration(2.0), "2\u{a0}h");
        assert_eq!(money_exact(1_234.5, "EUR"), "1\u{202f}234.50\u{a0}EUR");
        assert_eq!(money_exact(86.0, "EUR"), "86\u{a0}EUR");
    }

    #[test]
    fn useful_life_is_given_in_one_unit() {
        let trend = |p10_hours, p50_hours, p90_hours| Rul::Trend {
            p10_hours,
            p50_hours,
            p90_hours,
        };
        assert_eq!(rul(&trend(31.0, 64.0, 118.0)), "2.7\u{a0}d (1.3 to 4.9)");
        assert_eq!(rul(&trend(3.0, 6.25, 12.0)), "6.3\u{a0}h (3 to 12)");
        assert_eq!(rul(&Rul::NoTrend), "no trend");
    }

    #[test]
    fn what_is_not_certain_is_not_shown_as_certain() {
        assert_eq!(percent(0.999), ">\u{a0}99\u{a0}%");
        assert_eq!(percent(0.001), "<\u{a0}1\u{a0}%");
        assert_eq!(percent(1.0), "100\u{a0}%");
        assert_eq!(percent(0.0), "0\u{a0}%");
    }
}
