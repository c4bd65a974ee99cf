//! E-mail as it came: RFC 5322 with MIME. Of it: who, about what, in which words of their own, with which files.

use mail_parser::{Address, Message, MessageParser, MimeHeaders};

/// Most files of a message that are kept.
pub(crate) const FILES_MAX: usize = 10;

/// Characters of a text that are looked at.
const TEXT_CHARS_MAX: usize = 64 * 1024;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// Its `Message-ID`.
    pub(crate) message_id: String,
    /// `Bo Lund <bo@example.com>`.
    pub(crate) from: String,
    /// `bo@example.com`, in small letters.
    pub(crate) address: String,
    /// What stands behind a plus in the addresses it was sent to: `care+pump-1@example.com`.
    pub(crate) tags: Vec<String>,
    /// Its subject.
    pub(crate) subject: String,
    /// Its text without what it answers to and without the signature.
    pub(crate) text: String,
    /// The ticket whose message it answers, as programs keep it.
    pub(crate) answers: Option<i64>,
    /// True: a machine sent it; answering would go round in circles.
    pub(crate) is_automatic: bool,
    /// True: a list passed it on, or its sender wants no answer by itself.
    pub(crate) is_listed: bool,
    /// Its files.
    pub(crate) files: Vec<MailFile>,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailFile {
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) content: Vec<u8>,
}

/// The message in `raw`; the error says what it lacks.
pub(crate) fn parse(raw: &[u8]) -> Result<Mail, &'static str> {
    let message = MessageParser::default()
        .parse(raw)
        .filter(|message| !message.headers().is_empty())
        .ok_or("this is no message (RFC 5322)")?;
    let sender = message.from().and_then(Address::first);
    let sender = sender.ok_or("the message has no sender (From)")?;
    let address = sender.address().ok_or("the sender has no address")?;
    let files = message.attachments().map(|part| {
        let media_type = part.content_type().map_or_else(
            || "application/octet-stream".to_owned(),
            |kind| {
                let subtype = kind.subtype().unwrap_or_default();
                format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase()
            },
        );
        MailFile {
            name: part.attachment_name().unwrap_or("attachment").to_owned(),
            media_type,
            content: part.contents().to_vec(),
        }
    });
    let files = files.collect();
    let text = message.body_text(0).unwrap_or_default();
    Ok(Mail {
        message_id: message
            .message_id()
            .ok_or("the message has no Message-ID")?
            .to_owned(),
        from: sender
            .name()
            .map_or_else(|| address.to_owned(), |name| format!("{name} <{address}>")),
        address: address.to_lowercase(),
        tags: tags(&message),
        subject: message.subject().unwrap_or_default().to_owned(),
        text: own_words(&text),
        answers: answers(&message),
        is_automatic: is_automatic(&message, address),
        is_listed: is_listed(&message),
        files,
    })
}

fn tags(message: &Message<'_>) -> Vec<String> {
    let lists = message.all_to().chain(message.all_cc());
    let sent_to = lists
        .flat_map(Address::iter)
        .filter_map(|a| a.address())
        .map(ToOwned::to_owned);
    // Where lists and forwarding hide the address.
    let delivered = ["Delivered-To", "X-Original-To"]
        .into_iter()
        .filter_map(|name| message.header_raw(name))
        .map(|raw| raw.trim().trim_matches(['<', '>']).to_owned());
    let tags = sent_to.chain(delivered).filter_map(|address| {
        let (local, _) = address.rsplit_once('@')?;
        let (_, tag) = local.split_once('+')?;
        (!tag.is_empty()).then(|| tag.to_owned())
    });
    tags.collect()
}

/// The ticket in the ids of messages of ours that it answers, the last one first: `<T-7.3.ticket.replied.D-9@...>`.
fn answers(message: &Message<'_>) -> Option<i64> {
    let ids = ["In-Reply-To", "References"]
        .into_iter()
        .filter_map(|name| message.header_raw(name));
    ids.flat_map(|ids| ids.split_whitespace().rev())
        .find_map(|id| {
            let rest = id.trim_start_matches('<').strip_prefix("T-")?;
            let (number, rest) = rest.split_once('.')?;
            let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let number = number.parse().ok().filter(|_| is_number)?;
            rest.contains(".D-").then_some(number)
        })
}

/// What a header says, in small letters.
fn said(message: &Message<'_>, name: &'static str) -> Option<String> {
    let value = message.header_raw(name);
    value.map(|v| v.trim().to_ascii_lowercase())
}

/// It came by a list, as mail to a shared address may: somebody wrote it, and who would get an answer is not known. Or its
/// sender asks for none.
fn is_listed(message: &Message<'_>) -> bool {
    let any = ["List-Id", "List-Unsubscribe", "X-Auto-Response-Suppress"];
    any.into_iter().any(|name| said(message, name).is_some())
        || said(message, "Precedence").is_some_and(|v| v == "list")
}

/// RFC 3834, bounces, and what older robots say. That it came by a list, as mail to a shared address may, says nothing.
fn is_automatic(message: &Message<'_>, address: &str) -> bool {
    let said = |name: &'static str| said(message, name);
    said("Auto-Submitted").is_some_and(|v| v != "no")
        || said("Precedence").is_some_and(|v| matches!(&*v, "bulk" | "junk"))
        || said("Return-Path").is_some_and(|v| v == "<>")
        || ["X-Autoreply", "X-Autorespond", "X-Auto-Reply"]
            .into_iter()
            .any(|n| said(n).is_some())
        || address.to_ascii_lowercase().starts_with("mailer-daemon@")
}

/// `text` up to what it answers to, or the signature; all of it where nothing stands before that.
pub(crate) fn own_words(text: &str) -> String {
    let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
    let lines: Vec<&str> = text.lines().collect();
    let is_quoted = |line: &&str| line.starts_with('>') || line.trim().is_empty();
    let quoted_from = lines.len() - lines.iter().rev().take_while(|l| is_quoted(l)).count();
    let end = lines.iter().enumerate().find_map(|(i, line)| {
        let is_quote = i >= quoted_from && line.starts_with('>');
        (*line == "-- " || begins_answered(line) || is_quote).then_some(i)
    });
    let own = lines[..end.unwrap_or(lines.len())].join("\n");
    let own = own.trim();
    if own.is_empty() { text.trim() } else { own }.to_owned()
}

fn begins_answered(line: &str) -> bool {
    let line = line.trim();
    let between_dashes = line.starts_with("-----") && line.ends_with("-----");
    between_dashes && (line.contains("riginal") || line.contains("原始邮件"))
        || (line.starts_with("On ") && line.ends_with("wrote:"))
        || (line.starts_with("Am ") && line.ends_with(':') && line.contains("schrieb"))
        || (line.starts_with('在') && (line.ends_with("写道:") || line.ends_with("写道：")))
        || (line.len() >= 32 && line.bytes().all(|b| b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(headers: &str, body: &str) -> Vec<u8> {
        format!("{headers}\r\n\r\n{body}")
            .replace('\n', "\r\n")
            .replace("\r\r", "\r")
            .into_bytes()
    }

    const HEAD: &str = "From: Bo Lund <Bo@Example.com>\nTo: Care <care+pump-1@example.com>\nMessage-ID: <1@x>\nSubject: =?UTF-8?B?5ryP5rK5?=";

    #[test]
    fn a_plain_message_is_read() {
        let mail = parse(&raw(HEAD, "It leaks.\n\n-- \nBo, +49 170 1")).unwrap();
        assert_eq!(mail.from, "Bo Lund <Bo@Example.com>");
        assert_eq!(mail.address, "bo@example.com");
        assert_eq!(mail.message_id, "1@x");
        assert_eq!(mail.subject, "漏油");
        assert_eq!(mail.tags, ["pump-1"]);
        assert_eq!(mail.text, "It leaks.");
        assert!(!mail.is_automatic && mail.files.is_empty());
    }

    #[test]
    fn of_an_answer_the_own_words_are_kept() {
        for (text, own) in [
            ("Yes.\n\nOn Mon, Eve wrote:\n> Is it?\n", "Yes."),
            ("Ja.\nAm Montag schrieb Eve:\n> Ist es?", "Ja."),
            ("好的\n在 2026年3月2日 写道：\n> 行吗", "好的"),
            ("Yes.\n-----Original Message-----\nFrom: Eve", "Yes."),
            ("Yes.\n> Is it?\n> Really?\n", "Yes."),
            ("> Is it?\nYes, it is.", "> Is it?\nYes, it is."),
            ("> only quoted", "> only quoted"),
            ("Yes.\n> Is it?\n\n> Really?\n\n", "Yes."),
            ("On time, as you wrote: good", "On time, as you wrote: good"),
        ] {
            assert_eq!(own_words(text), own, "{text}");
        }
    }

    #[test]
    fn a_text_of_quotes_is_read_in_one_pass() {
        let text = format!("{}x", ">\n".repeat(1_000_000));
        assert_eq!(own_words(&text).chars().count(), TEXT_CHARS_MAX - 1);
    }

    #[test]
    fn machines_and_lists_are_known() {
        for line in [
            "Auto-Submitted: auto-replied",
            "Precedence: bulk",
            "Return-Path: <>",
        ] {
            let mail = parse(&raw(&format!("{line}\n{HEAD}"), "Away.")).unwrap();
            assert!(mail.is_automatic, "{line}");
        }
        let by_list = parse(&raw(&format!("List-Id: <care.example.com>\n{HEAD}"), "x")).unwrap();
        assert!(!by_list.is_automatic && by_list.is_listed);
        let by_hand = parse(&raw(&format!("Auto-Submitted: no\n{HEAD}"), "x")).unwrap();
        assert!(!by_hand.is_automatic && !by_hand.is_listed);
    }

    #[test]
    fn what_answers_a_message_of_ours_names_its_ticket() {
        for (line, ticket) in [
            (
                "In-Reply-To: <T-7.3.ticket.replied.17-ab.D-9@care.example>",
                Some(7),
            ),
            (
                "References: <1@x>\n <T-7.1.ticket.received.D-1@care.example>\n <2@x>",
                Some(7),
            ),
            ("In-Reply-To: <T-7@care.example>", None),
            ("In-Reply-To: <T-x.D-9@care.example>", None),
            ("In-Reply-To: <1@x>", None),
            ("X-Other: y", None),
        ] {
            let mail = parse(&raw(&format!("{line}\n{HEAD}"), "Yes.")).unwrap();
            assert_eq!(mail.answers, ticket, "{line}");
        }
    }

    #[test]
    fn files_come_with_name_and_type() {
        let head = format!("{HEAD}\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b");
        let body = "--b\nContent-Type: text/html\n\n<p>See <b>photo</b></p>\n--b\nContent-Type: image/png; name=leak.png\nContent-Disposition: attachment; filename=leak.png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--b--\n";
        let mail = parse(&raw(&head, body)).unwrap();
        assert_eq!(mail.text, "See photo");
        assert_eq!(mail.files.len(), 1);
        let file = &mail.files[0];
        assert_eq!(
            (file.name.as_str(), file.media_type.as_str()),
            ("leak.png", "image/png")
        );
        assert_eq!(file.content, b"\x89PNG\r\n\x1a\n");
    }

    #[test]
    fn what_is_no_message_is_said() {
        assert!(parse(b"").is_err());
        assert!(parse(&raw("Subject: x\nMessage-ID: <1@x>", "x")).is_err());
        assert!(parse(&raw("From: a@b", "x")).is_err());
        assert!(parse(&[0xff; 100]).is_err());
    }
}
