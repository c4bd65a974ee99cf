//! Full-text search over articles, in English and Chinese.
//!
//! Words are runs of letters and digits in lower case, English ones without their commonest endings; Chinese, Japanese
//! and Korean text, which has no spaces, is taken in pairs of neighbouring characters. Ranked by BM25 (Robertson and
//! Zaragoza, 2009, k1 = 1.2, b = 0.75), a word of the title counting as three.

use std::collections::BTreeMap;

use crate::article::Article;
use crate::id::RecordId;

const K1: f64 = 1.2;
const B: f64 = 0.75;
const TITLE_WEIGHT: u32 = 3;
/// Words of a question that are looked for.
const ASKED_MAX: usize = 32;
/// Characters of an excerpt.
const EXCERPT_CHARS: usize = 180;

/// A found article.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its id.
    pub id: RecordId,
    /// How well it fits; comparable within one answer only.
    pub score: f64,
}

/// An index over articles.
#[derive(Debug, Clone, Default)]
pub struct ArticleIndex {
    /// Per word: the place of an article and how often the word is in it.
    postings: BTreeMap<String, Vec<(usize, u32)>>,
    ids: Vec<RecordId>,
    lengths: Vec<u32>,
}

impl ArticleIndex {
    /// Takes articles in.
    pub fn new<'a>(articles: impl IntoIterator<Item = (&'a RecordId, &'a Article)>) -> Self {
        let mut index = Self::default();
        for (id, article) in articles {
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            for word in words(&article.title) {
                *counts.entry(word).or_default() += TITLE_WEIGHT;
            }
            let named = article.classes.iter().chain(&article.modes);
            for word in named
                .flat_map(|name| words(name))
                .chain(words(&article.text))
            {
                *counts.entry(word).or_default() += 1;
            }
            let place = index.ids.len();
            index.ids.push(id.clone());
            index.lengths.push(counts.values().sum());
            for (word, n) in counts {
                index.postings.entry(word).or_default().push((place, n));
            }
        }
        index
    }

    /// Articles with words of `question`, the best first, of equally good ones the one with the lesser id.
    #[must_use]
    pub fn search(&self, question: &str) -> Vec<Hit> {
        let n = self.ids.len() as f64;
        let total: f64 = self.lengths.iter().map(|l| f64::from(*l)).sum();
        let mean_length = (total / n.max(1.0)).max(1.0);
        let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
        let mut asked = words(question);
        asked.sort();
        asked.dedup();
        for word in asked.iter().take(ASKED_MAX) {
            let Some(postings) = self.postings.get(word) else {
                continue;
            };
            let n_with = postings.len() as f64;
            let rarity = ((n - n_with + 0.5) / (n_with + 0.5)).ln_1p();
            for (place, times) in postings {
                let times = f64::from(*times);
                let length = f64::from(self.lengths[*place]);
                let saturated =
                    times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length / mean_length));
                *scores.entry(*place).or_default() += rarity * saturated;
            }
        }
        let mut hits: Vec<Hit> = scores
            .into_iter()
            .map(|(place, score)| Hit {
                id: self.ids[place].clone(),
                score,
            })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        hits
    }
}

/// The stretch of `text`, Markdown, around the first word of `question` in it, in one line and without its signs; else its
/// begin.
#[must_use]
pub fn excerpt(text: &str, question: &str) -> String {
    let line: Vec<char> = plain(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .collect();
    let lower: String = line.iter().map(|c| lower(*c)).collect();
    let asked = words(question);
    let at = asked
        .iter()
        .filter_map(|word| lower.find(word.as_str()))
        .min()
        .map_or(0, |byte| lower[..byte].chars().count());
    let from = at.saturating_sub(EXCERPT_CHARS / 3);
    let to = (from + EXCERPT_CHARS).min(line.len());
    let mut found: String = line[from..to].iter().collect();
    if from > 0 {
        found.insert(0, '\u{2026}');
    }
    if to < line.len() {
        found.push('\u{2026}');
    }
    found
}

/// Markdown as a text that reads well without being rendered: lines stay, headings and emphasis lose their signs, links
/// show where they lead.
#[must_use]
pub fn plain_text(markdown: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut is_code = false;
    for line in markdown.trim().lines() {
        let begin = line.trim_start();
        if begin.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            lines.push(line.trim_end().to_owned());
        } else if begin.starts_with('|') && begin.chars().all(|c| "|-: ".contains(c)) {
            // The line below a table's head.
        } else {
            let indent = line.len() - begin.len();
            let begin = begin.trim_start_matches(['#', '>']).trim_start();
            let item = begin
                .strip_prefix("* ")
                .or_else(|| begin.strip_prefix("+ "));
            let text = item.map_or_else(|| unmarked(begin), |item| format!("- {}", unmarked(item)));
            lines.push(format!("{}{}", " ".repeat(indent), text.trim_end()));
        }
    }
    lines.join("\n")
}

/// A line of Markdown without the signs of emphasis, code, tables and links.
fn unmarked(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some((shown, target, after)) = link(rest) {
            text.push_str(&unmarked(shown));
            if !target.is_empty() && target != shown && !rest.starts_with('!') {
                text.push_str(&format!(" ({target})"));
            }
            rest = after;
            continue;
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => {
                if let Some(next) = rest.chars().next() {
                    text.push(next);
                    rest = rest.get(next.len_utf8()..).unwrap_or_default();
                }
            }
            '*' if !text.ends_with(' ') || !rest.starts_with(' ') => {}
            '`' => {}
            '_' if rest.starts_with('_') || text.ends_with('_') => {}
            '|' => text.push(' '),
            _ => text.push(c),
        }
    }
    text
}

/// `[shown](target)` or `![shown](target)` at the begin, and what follows.
fn link(text: &str) -> Option<(&str, &str, &str)> {
    let rest = text.strip_prefix('!').unwrap_or(text).strip_prefix('[')?;
    let (shown, rest) = rest.split_once("](")?;
    let (target, after) = rest.split_once(')')?;
    (!shown.contains(['[', '\n'])).then_some((shown, target, after))
}

/// Markdown without the signs that people would stumble over: what begins a line, what surrounds words, where links lead.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim_start_matches(|c: char| c.is_whitespace() || "#>".contains(c));
        let line = line.strip_prefix("- ").unwrap_or(line);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' | '`' | '|' => plain.push(' '),
                '!' if chars.peek() == Some(&'[') => {}
                '[' => {}
                ']' if chars.peek() == Some(&'(') => {
                    // Where it leads.
                    while chars.next_if(|c| *c != ')').is_some() {}
                    chars.next();
                }
                ']' => {}
                '-' if chars.peek() == Some(&'-') => while chars.next_if_eq(&'-').is_some() {},
                c => plain.push(c),
            }
        }
        plain.push('\n');
    }
    plain
}

/// One character for one, so that places stay the same.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// The words of a text, as they are looked for.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut before: Option<char> = None;
    for c in text.chars().map(lower).chain([' ']) {
        if is_ideograph(c) {
            push_word(&mut word, &mut found);
            // A single one is a word as well where nothing stands beside it.
            match before {
                Some(left) => found.push([left, c].iter().collect()),
                None => found.push(c.to_string()),
            }
            before = Some(c);
        } else {
            before = None;
            if c.is_alphanumeric() {
                word.push(c);
            } else {
                push_word(&mut word, &mut found);
            }
        }
    }
    found
}

fn push_word(word: &mut String, found: &mut Vec<String>) {
    if !word.is_empty() {
        found.push(stem(word));
        word.clear();
    }
}

/// An English word without its commonest endings: one is found by the other.
fn stem(word: &str) -> String {
    if !word.is_ascii() {
        return word.to_owned();
    }
    for (ending, instead, least) in [
        ("ies", "y", 3),
        ("sses", "ss", 3),
        ("ings", "", 4),
        ("ing", "", 4),
        ("ed", "", 4),
        ("es", "", 4),
        ("s", "", 3),
        ("e", "", 4),
    ] {
        if let Some(root) = word.strip_suffix(ending)
            && root.len() >= least
            && !(ending == "s" && root.ends_with(['s', 'u', 'i']))
        {
            return format!("{root}{instead}");
        }
    }
    word.to_owned()
}

/// Chinese characters, Japanese kana, Korean syllables.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn article(title: &str, text: &str) -> Article {
        Article {
            title: title.to_owned(),
            text: text.to_owned(),
            language: "en".to_owned(),
            classes: Vec::new(),
            modes: Vec::new(),
            documents: Vec::new(),
            state: crate::ArticleState::Published,
            public: false,
            from_ticket: None,
            translations: Vec::new(),
        }
    }

    fn found(articles: &[(&str, Article)], question: &str) -> Vec<String> {
        let articles: Vec<(RecordId, &Article)> = articles
            .iter()
            .map(|(id, article)| (RecordId::new(*id).unwrap(), article))
            .collect();
        let index = ArticleIndex::new(articles.iter().map(|(id, article)| (id, *article)));
        index
            .search(question)
            .into_iter()
            .map(|hit| hit.id.to_string())
            .collect()
    }

    #[test]
    fn markdown_reads_well_as_plain_text() {
        let markdown = "## If it **leaks**\n\n1. Close `V1`.\n* Look at [the plan](https://x.example/plan)\n\n| a | b |\n|---|---|\n| 5 * 3 | snake_case |\n```\nreset --hard\n```\n![photo](p.png)\\*";
        let text = plain_text(markdown);
        assert_eq!(
            text,
            "If it leaks\n\n1. Close V1.\n- Look at the plan (https://x.example/plan)\n\n  a   b\n  5 * 3   snake_case\nreset --hard\nphoto*"
        );
    }

    #[test]
    fn the_title_counts_more_than_the_text() {
        let articles = [
            (
                "a",
                article("Oil", "The bearing may suffer, the bearing as well."),
            ),
            ("b", article("Bearing", "Grease it.")),
            ("c", article("Filter", "Blow it out.")),
        ];
        assert_eq!(found(&articles, "bearings"), ["b", "a"]);
        assert_eq!(found(&articles, "gearbox"), [""; 0]);
    }

    #[test]
    fn rare_words_count_more_than_common_ones() {
        let articles = [
            (
                "a",
                article("Compressor one", "compressor compressor valve"),
            ),
            (
                "b",
                article("Compressor two", "compressor compressor compressor"),
            ),
            ("c", article("Compressor three", "compressor")),
        ];
        assert_eq!(found(&articles, "compressor valve")[0], "a");
    }

    #[test]
    fn endings_do_not_matter() {
        let articles = [("a", article("Leaks", "It leaked; replace the batteries."))];
        for question in ["leak", "leaking", "battery", "REPLACED"] {
            assert_eq!(found(&articles, question), ["a"], "{question}");
        }
    }

    #[test]
    fn chinese_is_found_without_spaces() {
        let articles = [
            ("a", article("轴承磨损", "振动升高时更换轴承。")),
            ("b", article("滤芯堵塞", "压差升高时更换滤芯。")),
        ];
        assert_eq!(found(&articles, "轴承"), ["a"]);
        assert_eq!(found(&articles, "更换滤芯")[0], "b");
        assert_eq!(found(&articles, "压差高"), ["b"]);
    }

    #[test]
    fn an_excerpt_shows_where_it_was_found() {
        let text = format!(
            "{} the separator is torn {}",
            "word ".repeat(80),
            "tail ".repeat(80)
        );
        let shown = excerpt(&text, "separators");
        assert!(shown.contains("separator is torn"), "{shown}");
        assert!(shown.starts_with('\u{2026}') && shown.ends_with('\u{2026}'));
        assert_eq!(excerpt("short", "absent"), "short");
        let markdown = "# Noise\n\nCheck **vibration** first, see [the plan](/files/ab).\n![pump](/files/cd)\n\n| step | what |\n|---|---|\n- well-known";
        let shown = "Noise Check vibration first, see the plan. pump step what well-known";
        assert_eq!(excerpt(markdown, "absent"), shown);
    }
}
