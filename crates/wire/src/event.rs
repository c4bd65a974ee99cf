//! `devices/{device}/events`: what a device reports beside its measurements.

use forecare_domain::{ComponentName, DeviceEvent, DeviceId, EventSeverity, RejectReason};

use crate::Limits;
use crate::findings::{Finding, Findings};
use crate::json::{self, Consumer, Object, Value, no_duplicates};
use crate::shown::shown;
use crate::stamp::StampRule;
use crate::topic::same_device;

/// Longest code, characters.
const CODE_CHARS_MAX: usize = 128;
/// Longest message kept, characters.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Reads an event.
///
/// # Errors
/// The finding that refuses the whole event: an event is good or it is not, except that a message too
/// long is cut, and keys we do not know are only reported.
pub(crate) fn event(
    device: DeviceId,
    text: &str,
    rule: StampRule,
    limits: &Limits,
) -> Result<(Option<DeviceEvent>, Findings), Finding> {
    let mut reader = Reader {
        device,
        rule,
        event: None,
        findings: Findings::default(),
    };
    json::read(text, limits, &mut reader)?;
    Ok((reader.event, reader.findings))
}

struct Reader {
    device: DeviceId,
    rule: StampRule,
    event: Option<DeviceEvent>,
    findings: Findings,
}

impl<'a> Consumer<'a> for Reader {
    fn object(&mut self, index: Option<usize>, object: &mut Object<'a>) -> Result<(), Finding> {
        if index.is_some() {
            return Err(shape("an array; send one event per message"));
        }
        no_duplicates(&object.entries)?;
        let mut ts = self.rule.received_at;
        let (mut code, mut severity, mut component) = (None, None, None);
        let mut message = String::new();
        for (key, value) in object.entries.drain(..) {
            match key.as_ref() {
                "ts" => ts = self.rule.read(&value)?,
                "code" => code = Some(read_code(&value)?),
                "severity" => severity = Some(read_severity(&value)?),
                "message" => message = self.read_message(&value)?,
                "component" if value == Value::Null => {}
                "component" => component = Some(read_component(&value)?),
                "device" => same_device(value.text(), &self.device)?,
                // Numbers telemetry messages; devices that number all alike may send it here.
                "seq" => {}
                unknown => {
                    let text = format_args!("`{}` is no key of an event", shown(unknown));
                    self.findings.add(RejectReason::UnknownShape, text);
                }
            }
        }
        let (Some(code), Some(severity)) = (code, severity) else {
            return Err(shape("an event needs `code` and `severity`"));
        };
        self.event = Some(DeviceEvent {
            device: self.device.clone(),
            ts,
            code,
            severity,
            component,
            message,
        });
        Ok(())
    }

    fn other(&mut self, _: Option<usize>, value: &Value<'a>) -> Result<(), Finding> {
        Err(shape(&format!("{}, not an event object", value.kind())))
    }
}

impl Reader {
    fn read_message(&mut self, value: &Value<'_>) -> Result<String, Finding> {
        let text = match value {
            Value::Text(text) => text,
            Value::Null => return Ok(String::new()),
            Value::Unsigned(_)
            | Value::Signed(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Array
            | Value::Object => {
                return Err(shape(&format!("`message` is {}, not a text", value.kind())));
            }
        };
        if text.chars().count() > MESSAGE_CHARS_MAX {
            let text = format_args!("`message` is cut to its first {MESSAGE_CHARS_MAX} characters");
            self.findings.add(RejectReason::PayloadTooLarge, text);
        }
        Ok(text
            .chars()
            .take(MESSAGE_CHARS_MAX)
            .map(printable)
            .collect())
    }
}

/// The character, or what stands for it where it would steer a terminal, a log or a reader's eye.
fn printable(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        // Marks that turn the direction of text, or are not seen at all.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

fn read_code(value: &Value<'_>) -> Result<String, Finding> {
    let code = match value {
        Value::Text(text) => text.trim().to_owned(),
        Value::Unsigned(n) => n.to_string(),
        Value::Signed(n) => n.to_string(),
        Value::Float(_) | Value::Bool(_) | Value::Null | Value::Array | Value::Object => {
            return Err(shape(&format!("`code` is {}, not a text", value.kind())));
        }
    };
    let n_chars = code.chars().count();
    if n_chars == 0 || n_chars > CODE_CHARS_MAX || code.chars().any(|c| printable(c) != c) {
        let text = format!(
            "code `{}` is empty, too long or not printable",
            shown(&code)
        );
        return Err(Finding::new(RejectReason::InvalidName, text));
    }
    Ok(code)
}

/// Our three words, and those of syslog (RFC 5424), in any case.
fn read_severity(value: &Value<'_>) -> Result<EventSeverity, Finding> {
    let Some(word) = value.text() else {
        return Err(shape(&format!(
            "`severity` is {}, not a text",
            value.kind()
        )));
    };
    match word.to_ascii_lowercase().as_str() {
        "info" | "informational" | "notice" | "debug" => Ok(EventSeverity::Info),
        "warning" | "warn" => Ok(EventSeverity::Warning),
        "error" | "err" | "critical" | "crit" | "alert" | "emergency" | "emerg" => {
            Ok(EventSeverity::Error)
        }
        _ => Err(shape(&format!(
            "severity `{}` is none of info, warning, error",
            shown(word)
        ))),
    }
}

fn read_component(value: &Value<'_>) -> Result<ComponentName, Finding> {
    let Some(name) = value.text() else {
        return Err(shape(&format!(
            "`component` is {}, not a text",
            value.kind()
        )));
    };
    ComponentName::new(name).map_err(|e| Finding::name("component", name, &e))
}

fn shape(text: &str) -> Finding {
    Finding::new(RejectReason::UnknownShape, text)
}
