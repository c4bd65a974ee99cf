//! What is written: templates by language and event, built in, or from a directory. Checked when they are loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forecare_domain::{Hold, Notice, NoticeKind, TicketState, Timestamp};
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;

/// Languages with built-in templates; the first one stands in for any other.
pub const LANGUAGES: [&str; 2] = ["en", "zh-CN"];

/// Longest subject, characters.
const SUBJECT_CHARS_MAX: usize = 200;
/// Longest text, characters.
const TEXT_CHARS_MAX: usize = 20_000;
/// Longest template file, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Steps that rendering one template may take.
const FUEL: u64 = 100_000;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// (language, name, text).
        const BUILT_IN: &[(&str, &str, &str)] = &[$(
            ("en", $name, include_str!(concat!("../templates/en/", $name, ".txt"))),
            ("zh-CN", $name, include_str!(concat!("../templates/zh-CN/", $name, ".txt"))),
        )*];
    };
}

built_in!(
    "ticket.opened",
    "ticket.changed",
    "ticket.assigned",
    "visit.offered",
    "visit.planned",
    "ticket.message",
    "ticket.replied",
    "ticket.received",
    "mail.unplaced",
    "ticket.resolved",
    "ticket.closed",
    "sla.mark",
    "sla.escalated",
    "parts.short",
    "customer.ticket.opened",
    "customer.ticket.changed",
    "customer.ticket.replied",
    "customer.ticket.received",
    "customer.mail.unplaced",
    "customer.visit.offered",
    "automation.message",
    "care.lead",
    "customer.automation.message",
    "customer.visit.planned",
    "customer.ticket.resolved",
    "customer.ticket.closed",
    "digest",
    "test",
);

/// What customers are sent of events that have no text for them of their own: where it stands. Never our own text, which
/// has our reasons and the way to the console in it.
const TO_CUSTOMERS: &str = "customer.ticket.changed";

/// The language among [`LANGUAGES`] that serves someone who reads `tag`: the same, one of the same first part, or the
/// first.
#[must_use]
pub(crate) fn language_of(tag: &str) -> &'static str {
    let first = |tag: &str| tag.split('-').next().unwrap_or_default().to_lowercase();
    let same = LANGUAGES.into_iter().find(|l| l.eq_ignore_ascii_case(tag));
    same.or_else(|| LANGUAGES.into_iter().find(|l| first(l) == first(tag)))
        .unwrap_or(LANGUAGES[0])
}

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("cannot read {path}: check notify.template_dir")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file that takes no template's place.
    #[error("{path} takes no template's place; use a name such as en/ticket.opened.txt ({known})")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Names there are.
        known: String,
    },
    /// Its text.
    #[error("template {name}: {what}")]
    Text {
        /// Language and name.
        name: String,
        /// What is wrong, and where.
        what: String,
    },
}

/// What templates are filled with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// The notice's id.
    pub id: String,
    /// Name of the event.
    pub event: String,
    /// The ticket's number, `T-12`; without a ticket what it is about: a lead, a machine, a customer.
    pub ticket: String,
    /// `[T-12] `, by which answers find their ticket; without a ticket empty.
    pub mark: String,
    /// The asset.
    pub asset: String,
    /// The ticket's title.
    pub title: String,
    /// `P1` to `P4`.
    pub priority: String,
    /// The ticket's state.
    pub state: String,
    /// The technician, or empty.
    pub technician: String,
    /// Why, in words.
    pub why: String,
    /// When it happened, RFC 3339.
    pub at: Timestamp,
    /// When the work is due.
    pub due_at: Timestamp,
    /// The recipient's name.
    pub recipient: String,
    /// The ticket's page in the console, or empty.
    pub url: String,
    /// The customer's page, or empty.
    pub answer_url: String,
    /// When that link ends.
    pub answer_until: Timestamp,
    /// Time zone of times in the text.
    pub time_zone: String,
    /// What whoever goes there has to know; filled in for `ticket.assigned`, empty otherwise.
    pub visit: Visit,
    /// The beginning of what somebody wrote, of `ticket.message` and `mail.unplaced`; or empty.
    pub words: String,
    /// Who wrote it, or empty.
    pub sender: String,
    /// What belongs to this kind of event: `start_at`, `clock`, `percent`, `level`, `parts`.
    pub what: NoticeKind,
}

impl Shown {
    /// `notice` for `recipient`; without links.
    #[must_use]
    pub fn of(notice: &Notice, recipient: &str, time_zone: &str) -> Self {
        Self {
            id: notice.id.to_string(),
            event: notice.what.label().to_owned(),
            ticket: notice.about(),
            mark: notice
                .ticket
                .map_or_else(String::new, |id| format!("[{id}] ")),
            asset: notice
                .asset
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            title: notice.title.clone(),
            priority: format!("{:?}", notice.priority),
            state: notice
                .state
                .map_or_else(String::new, |s| s.label().to_owned()),
            technician: notice.technician.clone().unwrap_or_default(),
            why: notice.why.clone(),
            at: notice.at,
            due_at: notice.due_at,
            recipient: recipient.to_owned(),
            url: String::new(),
            answer_url: String::new(),
            answer_until: notice.at,
            time_zone: time_zone.to_owned(),
            visit: Visit::default(),
            words: String::new(),
            sender: String::new(),
            what: notice.what.clone(),
        }
    }
}

/// A visit, as whoever goes there has to know it. What is not known is empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Visit {
    /// The machine's name.
    pub machine: String,
    /// Its serial number.
    pub serial: String,
    /// Where it stands, the highest level first.
    pub place: Vec<String>,
    /// The postal address.
    pub address: String,
    /// The customer's name.
    pub customer: String,
    /// Whom to speak to there: the name, and how to reach them.
    pub contact: String,
    /// When the work is to begin; `None`: no time is laid down.
    pub start_at: Option<Timestamp>,
    /// The standard procedure.
    pub procedure: String,
    /// The parts that are held for it.
    pub parts: Vec<VisitPart>,
}

/// Parts for a visit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VisitPart {
    /// The number.
    pub part: String,
    /// What it is called.
    pub title: String,
    /// How many.
    pub quantity: u32,
    /// Where they lie, or are to arrive.
    pub at: String,
    /// True: they lie there.
    pub is_there: bool,
    /// From when on.
    pub available_at: Timestamp,
}

/// All templates of all languages.
#[derive(Debug, Clone)]
pub struct Templates {
    env: Environment<'static>,
}

/// `2026-01-31 08:00 (Europe/Berlin)` of an RFC 3339 time.
fn time(state: &minijinja::State<'_, '_>, text: &str) -> Result<String, minijinja::Error> {
    let no_time =
        |what: String| minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, what);
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|error: jiff::Error| no_time(error.to_string()))?;
    let zone = state.lookup("time_zone");
    let zone = zone.as_ref().and_then(Value::as_str).unwrap_or("UTC");
    let local = at.in_tz(zone).map_err(|error| no_time(error.to_string()))?;
    Ok(format!("{} ({zone})", local.strftime("%Y-%m-%d %H:%M")))
}

/// A state, or a title that ends with the name of a built-in kind, in the words of the template's language.
fn words(state: &minijinja::State<'_, '_>, text: &str) -> String {
    let chinese = state.name().starts_with("zh");
    if let Ok(of) = text.parse::<TicketState>() {
        let [english, theirs] = state_words(of);
        return (if chinese { theirs } else { english }).to_owned();
    }
    let kinds = KINDS.iter().filter(|_| chinese);
    let mut titled = kinds.filter_map(|(english, theirs)| {
        let rest = text.strip_suffix(english)?;
        (rest.is_empty() || rest.ends_with(": ")).then(|| format!("{rest}{theirs}"))
    });
    titled.next().unwrap_or_else(|| text.to_owned())
}

/// Built-in kinds of tickets, as titles end with them.
const KINDS: [(&str, &str); 4] = [
    ("Repair", "维修"),
    ("Inspection", "检查"),
    ("Complaint", "投诉"),
    ("Expected failure", "预期故障"),
];

/// In English and in Chinese.
fn state_words(state: TicketState) -> [&'static str; 2] {
    match state {
        TicketState::New => ["new", "新建"],
        TicketState::Triaged => ["triaged", "已受理"],
        TicketState::Dispatched => ["dispatched", "已派出"],
        TicketState::Accepted => ["accepted", "已接单"],
        TicketState::InProgress => ["in progress", "处理中"],
        TicketState::OnHold(Hold::Customer) => ["on hold for the customer", "等待客户"],
        TicketState::OnHold(Hold::Vendor) => ["on hold for a vendor", "等待供应商"],
        TicketState::OnHold(Hold::Part) => ["on hold for a part", "等待备件"],
        TicketState::Resolved => ["resolved", "已完成"],
        TicketState::Confirmed => ["confirmed", "已确认"],
        TicketState::Closed => ["closed", "已关闭"],
        TicketState::Cancelled => ["cancelled", "已取消"],
        TicketState::Reopened => ["reopened", "已重新打开"],
    }
}

impl Templates {
    /// The built-in templates, with those of `dir` in their place: `dir/<language>/<name>.txt`.
    ///
    /// # Errors
    /// A file that cannot be read, takes no template's place, or does not render.
    pub fn load(dir: Option<&Path>) -> Result<Self, TemplateError> {
        let mut texts: BTreeMap<String, String> = BUILT_IN
            .iter()
            .map(|(language, name, text)| (format!("{language}/{name}"), (*text).to_owned()))
            .collect();
        if let Some(dir) = dir {
            read_dir(dir, &mut texts)?;
        }
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.add_filter("time", time);
        env.add_filter("words", words);
        for (name, text) in texts {
            let refused = |error: minijinja::Error| text_error(&name, &error);
            env.add_template_owned(name.clone(), text)
                .map_err(refused)?;
        }
        let templates = Self { env };
        templates.check()?;
        Ok(templates)
    }

    /// Renders every template with an example of its event.
    fn check(&self) -> Result<(), TemplateError> {
        for language in LANGUAGES {
            for what in examples() {
                let shown = example(what);
                let own = format!("{language}/{}", shown.event);
                self.render(&own, &shown)?;
                self.notice(language, true, &shown)?;
            }
            self.digest(language, &[example(NoticeKind::TicketOpened)])?;
            self.test(language, "UTC")?;
        }
        Ok(())
    }

    fn render(
        &self,
        name: &str,
        shown: &impl Serialize,
    ) -> Result<(String, String), TemplateError> {
        let template = self
            .env
            .get_template(name)
            .map_err(|error| text_error(name, &error))?;
        let text = template
            .render(shown)
            .map_err(|error| text_error(name, &error))?;
        let (subject, text) = text.split_once('\n').unwrap_or((&text, ""));
        let subject = clean(subject.trim(), SUBJECT_CHARS_MAX);
        if subject.is_empty() {
            return Err(TemplateError::Text {
                name: name.to_owned(),
                what: "the first line is the subject and must not be empty".to_owned(),
            });
        }
        let text: String = text.trim().chars().take(TEXT_CHARS_MAX).collect();
        Ok((subject, format!("{text}\n")))
    }

    /// Subject and text of one notice.
    ///
    /// # Errors
    /// The template does not render.
    pub fn notice(
        &self,
        language: &str,
        to_customer: bool,
        shown: &Shown,
    ) -> Result<(String, String), TemplateError> {
        let language = language_of(language);
        if !to_customer {
            return self.render(&format!("{language}/{}", shown.event), shown);
        }
        let theirs = format!("{language}/customer.{}", shown.event);
        if self.env.get_template(&theirs).is_ok() {
            return self.render(&theirs, shown);
        }
        self.render(&format!("{language}/{TO_CUSTOMERS}"), shown)
    }

    /// Subject and text of a digest.
    ///
    /// # Errors
    /// The template does not render.
    pub fn digest(&self, language: &str, all: &[Shown]) -> Result<(String, String), TemplateError> {
        #[derive(Serialize)]
        struct Digest<'a> {
            time_zone: &'a str,
            recipient: &'a str,
            notices: &'a [Shown],
        }
        let first = all.first();
        let digest = Digest {
            time_zone: first.map_or("UTC", |s| &s.time_zone),
            recipient: first.map_or("", |s| &s.recipient),
            notices: all,
        };
        self.render(&format!("{}/digest", language_of(language)), &digest)
    }

    /// Subject and text of a test message.
    ///
    /// # Errors
    /// The template does not render.
    pub fn test(&self, language: &str, time_zone: &str) -> Result<(String, String), TemplateError> {
        let shown = BTreeMap::from([("time_zone", time_zone)]);
        self.render(&format!("{}/test", language_of(language)), &shown)
    }
}

/// One line without control characters: a subject must not smuggle headers.
fn clean(text: &str, chars_max: usize) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(chars_max).collect()
}

fn text_error(name: &str, error: &minijinja::Error) -> TemplateError {
    let line = error
        .line()
        .map(|n| format!("line {n}: "))
        .unwrap_or_default();
    TemplateError::Text {
        name: name.to_owned(),
        what: format!("{line}{error}"),
    }
}

fn read_dir(dir: &Path, texts: &mut BTreeMap<String, String>) -> Result<(), TemplateError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TemplateError::Unreadable { path, source }
    };
    for language in std::fs::read_dir(dir).map_err(unreadable(dir))? {
        let language = language.map_err(unreadable(dir))?.path();
        if !language.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&language).map_err(unreadable(&language))? {
            let path = file.map_err(unreadable(&language))?.path();
            let stem = path
                .file_stem()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            let folder = language
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            let name = format!("{folder}/{stem}");
            let is_text = path.extension().is_some_and(|e| e == "txt");
            let Some(text) = texts.get_mut(&name).filter(|_| is_text) else {
                return Err(TemplateError::Unknown {
                    path,
                    known: texts.keys().cloned().collect::<Vec<_>>().join(", "),
                });
            };
            let bytes = std::fs::metadata(&path).map_err(unreadable(&path))?.len();
            if bytes > FILE_BYTES_MAX {
                return Err(TemplateError::Text {
                    name,
                    what: format!("it has {bytes} bytes, {FILE_BYTES_MAX} are allowed"),
                });
            }
            *text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        }
    }
    Ok(())
}

/// One notice of every kind.
fn examples() -> Vec<NoticeKind> {
    use forecare_domain::{
        AutomationMessage, CareLead, PartNumber, ShortPart, SlaKind, TicketState,
    };
    let at = example_time();
    let part = PartNumber::new("BRG-1").ok();
    let parts = part.into_iter().map(|part| ShortPart {
        part,
        instead_of: PartNumber::new("BRG-0").ok(),
        quantity: 2,
        needed_at: at,
        available_at: at,
    });
    vec![
        NoticeKind::TicketOpened,
        NoticeKind::TicketChanged {
            from: TicketState::New,
        },
        NoticeKind::TicketAssigned {
            technician: "Ada".to_owned(),
        },
        NoticeKind::VisitOffered,
        NoticeKind::VisitPlanned { start_at: at },
        NoticeKind::TicketMessage,
        NoticeKind::TicketReplied {
            text: "We come on Monday.".to_owned(),
            by: "Ada".to_owned(),
        },
        NoticeKind::TicketReceived,
        NoticeKind::MailUnplaced { from: None },
        NoticeKind::TicketResolved,
        NoticeKind::TicketClosed,
        NoticeKind::SlaMark {
            clock: SlaKind::Resolution,
            percent: 75,
        },
        NoticeKind::SlaEscalated {
            clock: SlaKind::FirstResponse,
            level: 1,
        },
        NoticeKind::PartsShort {
            parts: parts.collect(),
        },
        NoticeKind::AutomationMessage(AutomationMessage {
            rule: "first-check".to_owned(),
            text: "Thirty days in operation".to_owned(),
            to: vec!["@customer".to_owned()],
            channels: Vec::new(),
            survey: true,
            customer: Some("C-1".to_owned()),
        }),
        NoticeKind::CareLead(CareLead {
            lead: "upgrade-press-1".to_owned(),
            offer: "upgrade".to_owned(),
            customer: "C-1".to_owned(),
            contract: None,
            reason: "1000000 strokes".to_owned(),
            rule: "worn".to_owned(),
        }),
        NoticeKind::CareLead(CareLead {
            lead: "renewal-K-1".to_owned(),
            offer: "renewal".to_owned(),
            customer: "C-1".to_owned(),
            contract: Some("K-1".to_owned()),
            reason: "the contract ends on 2026-01-31".to_owned(),
            rule: "renew".to_owned(),
        }),
    ]
}

fn example_time() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

fn example(what: NoticeKind) -> Shown {
    let at = example_time();
    Shown {
        id: "T-12.3.example".to_owned(),
        event: what.label().to_owned(),
        ticket: "T-12".to_owned(),
        mark: "[T-12] ".to_owned(),
        asset: "press-1".to_owned(),
        title: "Bearing wear on press-1".to_owned(),
        priority: "P2".to_owned(),
        state: "new".to_owned(),
        technician: "Ada".to_owned(),
        why: "vibration".to_owned(),
        at,
        due_at: at,
        recipient: "Eve".to_owned(),
        url: "https://care.example/tickets/12".to_owned(),
        answer_url: "https://care.example/answer/12".to_owned(),
        answer_until: at,
        time_zone: "UTC".to_owned(),
        visit: Visit {
            machine: "Press 1".to_owned(),
            serial: "S-1001".to_owned(),
            place: vec!["Plant".to_owned(), "Hall 3".to_owned()],
            address: "Kai 1, Hamburg".to_owned(),
            customer: "Nordwind".to_owned(),
            contact: "Bo Lund, +49 40 1".to_owned(),
            start_at: Some(at),
            procedure: "SOP-7".to_owned(),
            parts: vec![VisitPart {
                part: "BRG-1".to_owned(),
                title: "Bearing".to_owned(),
                quantity: 2,
                at: "north".to_owned(),
                is_there: false,
                available_at: at,
            }],
        },
        words: "It is loud again.".to_owned(),
        sender: "Bo Lund".to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_template_renders_in_both_languages() {
        let templates = Templates::load(None).unwrap();
        for what in examples() {
            let shown = example(what);
            let (subject, text) = templates.notice("en", false, &shown).unwrap();
            // A lead may be about no ticket, and nobody knows yet what a message is about.
            let is_about_it = |event: &str| !matches!(event, "care.lead" | "mail.unplaced");
            assert!(
                subject.contains("T-12") || !is_about_it(&shown.event),
                "{subject}"
            );
            assert!(
                text.contains("press-1") || shown.event == "mail.unplaced",
                "{text}"
            );
            let (_, chinese) = templates.notice("zh-Hans", false, &shown).unwrap();
            assert!(
                chinese.chars().any(|c| ('一'..='鿿').contains(&c)),
                "{chinese}"
            );
            let (_, other) = templates.notice("sw", false, &shown).unwrap();
            assert_eq!(other, text);
        }
    }

    #[test]
    fn customers_never_get_our_own_text() {
        let templates = Templates::load(None).unwrap();
        for what in examples() {
            let shown = example(what);
            for language in LANGUAGES {
                let (subject, text) = templates.notice(language, true, &shown).unwrap();
                for ours in [&shown.why, &shown.url, "P2", "Why"] {
                    assert!(
                        !text.contains(ours) && !subject.contains(ours),
                        "{}: {subject}\n{text}",
                        shown.event
                    );
                }
                let own = templates.notice(language, false, &shown).unwrap();
                assert_ne!(own, (subject, text), "{}", shown.event);
            }
        }
    }

    #[test]
    fn where_a_ticket_stands_is_said_in_words() {
        let templates = Templates::load(None).unwrap();
        for state in forecare_domain::TicketState::ALL {
            let mut shown = example(NoticeKind::TicketChanged { from: state });
            shown.state = state.label().to_owned();
            for language in LANGUAGES {
                let (_, text) = templates.notice(language, true, &shown).unwrap();
                assert!(
                    !text.contains('_') && !text.contains("being looked at"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn an_assignment_says_what_whoever_goes_there_has_to_know() {
        let templates = Templates::load(None).unwrap();
        let technician = "Ada".to_owned();
        let mut shown = example(NoticeKind::TicketAssigned { technician });
        shown.time_zone = "Asia/Shanghai".to_owned();
        for language in LANGUAGES {
            let (_, text) = templates.notice(language, false, &shown).unwrap();
            for known in [
                "press-1",
                "Press 1",
                "S-1001",
                "Hall 3",
                "Kai 1, Hamburg",
                "Nordwind",
                "Bo Lund",
                "2026-01-01 08:00",
                "SOP-7",
                "BRG-1",
                "north",
                "/tickets/12",
                &shown.title,
            ] {
                assert!(text.contains(known), "{known}: {text}");
            }
        }
        // Where nothing is known beside the ticket, nothing is left blank.
        shown.visit = Visit::default();
        let (_, text) = templates.notice("en", false, &shown).unwrap();
        assert!(
            !text.contains("Address") && !text.contains("Parts"),
            "{text}"
        );
        assert!(text.contains("When: no time is laid down yet"), "{text}");
    }

    #[test]
    fn what_somebody_wrote_is_told() {
        let templates = Templates::load(None).unwrap();
        for what in [
            NoticeKind::TicketMessage,
            NoticeKind::MailUnplaced { from: None },
        ] {
            let shown = example(what);
            for language in LANGUAGES {
                let (_, text) = templates.notice(language, false, &shown).unwrap();
                assert!(text.contains("It is loud again."), "{text}");
                assert!(text.contains("Bo Lund"), "{text}");
            }
        }
    }

    #[test]
    fn chinese_messages_have_no_english_states_and_kinds() {
        let templates = Templates::load(None).unwrap();
        for state in TicketState::ALL {
            for what in examples() {
                let mut shown = example(what);
                shown.state = state.label().to_owned();
                shown.title = "一号泵: Repair".to_owned();
                let (subject, text) = templates.notice("zh-CN", false, &shown).unwrap();
                let text = format!("{subject}\n{text}");
                assert!(!text.contains("Repair"), "{}: {text}", shown.event);
                for label in ["in_progress", "on_hold", "resolved", "reopened"] {
                    let is_event = text.contains(&format!("ticket.{label}"));
                    assert!(!text.contains(label) || is_event, "{}: {text}", shown.event);
                }
            }
        }
    }

    #[test]
    fn times_are_those_of_the_recipients_zone() {
        let templates = Templates::load(None).unwrap();
        let mut shown = example(NoticeKind::VisitPlanned {
            start_at: example_time(),
        });
        shown.time_zone = "Asia/Shanghai".to_owned();
        let (_, text) = templates.notice("en", true, &shown).unwrap();
        assert!(text.contains("2026-01-01 08:00 (Asia/Shanghai)"), "{text}");
    }

    #[test]
    fn a_template_of_ones_own_takes_the_place_and_faults_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("en");
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("ticket.opened.txt");
        std::fs::write(&file, "New: {{ title }}\n\nGo to {{ asset }}.\n").unwrap();
        let templates = Templates::load(Some(dir.path())).unwrap();
        let shown = example(NoticeKind::TicketOpened);
        let (subject, text) = templates.notice("en", false, &shown).unwrap();
        assert_eq!(subject, "New: Bearing wear on press-1");
        assert_eq!(text, "Go to press-1.\n");
        let refusal = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Templates::load(Some(dir.path())).unwrap_err().to_string()
        };
        for (text, says) in [
            ("{{ titel }}\n", "en/ticket.opened"),
            ("{% if %}\n", "line 1"),
            ("\nno subject", "subject"),
            (
                "{% for i in range(999999) %}x{% endfor %}\n",
                "en/ticket.opened",
            ),
        ] {
            let refused = refusal(text);
            assert!(refused.contains(says), "{text}: {refused}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(folder.join("ticket.open.txt"), "x").unwrap();
        let refused = Templates::load(Some(dir.path())).unwrap_err().to_string();
        assert!(refused.contains("ticket.open.txt") && refused.contains("en/ticket.opened"));
    }

    #[test]
    fn a_subject_is_one_line() {
        let templates = Templates::load(None).unwrap();
        let mut shown = example(NoticeKind::TicketOpened);
        shown.title = "a\r\nBcc: all@example.com".to_owned();
        let (subject, _) = templates.notice("en", false, &shown).unwrap();
        assert!(!subject.chars().any(char::is_control), "{subject}");
    }

    #[test]
    fn languages_are_found_by_their_first_part() {
        assert_eq!(language_of("zh-TW"), "zh-CN");
        assert_eq!(language_of("ZH-cn"), "zh-CN");
        assert_eq!(language_of("en-GB"), "en");
        assert_eq!(language_of("fr"), "en");
        assert_eq!(language_of(""), "en");
    }
}
