//! The running service, asked by the commands that work through its API, so that its rules apply.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use forecare_api::percent_encoded;
use serde_json::Value;

use super::{HomeArg, SERVE_HOME};
use crate::home::{is_running, new_secret, running};

/// Longer than the service takes at most to answer.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// Most of an answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Whose service is asked, and how the answer is shown.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    #[command(flatten)]
    home: HomeArg,
    /// The answer as JSON, as the API gives it.
    #[arg(long)]
    pub(super) json: bool,
}

/// A service that runs on this machine, with the token of its instance.
pub(super) struct Service {
    address: SocketAddr,
    token: String,
    json: bool,
}

impl ServiceArgs {
    /// The running service of the instance.
    ///
    /// # Errors
    /// None runs there, or its token cannot be read.
    pub(super) fn open(self) -> Result<Service> {
        let json = self.json;
        let home = self.home.or(SERVE_HOME);
        let Some(running) = running(&home) else {
            if is_running(&home) {
                bail!(
                    "the service in {} is starting, or does not say where it listens: try again shortly",
                    home.display()
                );
            }
            bail!(
                "no service runs in {}: this command asks it, so that its rules apply; start `forecare serve --home {}`, or name another directory with --home DIR",
                home.display(),
                home.display()
            );
        };
        let file = home.join("token");
        let token = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read the service's token in {}: run this as the user that runs the service",
                file.display()
            )
        })?;
        let mut address = running.http_listen;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Ok(Service {
            address,
            token: token.trim().to_owned(),
            json,
        })
    }
}

impl Service {
    /// The answer to a GET.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        let text = self.text(path)?;
        serde_json::from_str(&text).context("the service answers with something that is no JSON")
    }

    /// The answer to a GET as it is.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        self.ask("GET", path, None)
    }

    /// The answer to a POST.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.post_once(path, body, None)
    }

    /// The answer to a POST that counts once under `key`; without one, under a new one.
    pub(super) fn post_once(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value> {
        let key = match key {
            Some(key) => key.to_owned(),
            None => format!("cli-{}", new_secret()?),
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            bail!("a key has visible ASCII characters only, without spaces");
        }
        let text = self.ask("POST", path, Some((&body.to_string(), &key)))?;
        serde_json::from_str(&text).context("the service answers with something that is no JSON")
    }

    /// Shows an answer: as JSON where that is wanted, else as `table` has it.
    pub(super) fn show(&self, answer: &Value, table: impl FnOnce(&Value) -> String) -> Result<()> {
        if self.json {
            return print(&(serde_json::to_string_pretty(answer)? + "\n"));
        }
        print(&table(answer))
    }

    fn ask(&self, method: &str, path: &str, sent: Option<(&str, &str)>) -> Result<String> {
        let address = self.address;
        let silent = || format!("the service does not answer on http://{address}");
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX).with_context(silent)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        // HTTP/1.0: the answer ends with the connection, and comes in no chunks.
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {address}\r\naccept: application/json\r\nauthorization: Bearer {}\r\n",
            self.token
        );
        let body = match sent {
            Some((body, key)) => {
                request += &format!(
                    "content-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n",
                    body.len()
                );
                body
            }
            None => "",
        };
        stream
            .write_all(format!("{request}\r\n{body}").as_bytes())
            .with_context(silent)?;
        let mut answer = Vec::new();
        stream
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .with_context(silent)?;
        let (status, body) = taken_apart(&answer)?;
        if (200..300).contains(&status) {
            return Ok(body.to_owned());
        }
        Err(refused(status, body))
    }
}

/// Status and body of an answer, which must have come whole.
fn taken_apart(answer: &[u8]) -> Result<(u16, &str)> {
    const NO_HTTP: &str = "what answers there speaks no HTTP";
    const BETWEEN: &[u8] = b"\r\n\r\n";
    let end = answer.windows(BETWEEN.len()).position(|w| w == BETWEEN);
    let (head, body) = answer.split_at(end.context(NO_HTTP)?);
    let head = std::str::from_utf8(head).context(NO_HTTP)?;
    let body = body.get(BETWEEN.len()..).unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status: u16 = status.context(NO_HTTP)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    if let Some((_, length)) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
    {
        let length: usize = length.trim().parse().context(NO_HTTP)?;
        if body.len() != length {
            bail!(
                "the service's answer has {length} bytes, of which {} came: nothing of it is shown; ask for less, or try again",
                body.len()
            );
        }
    }
    let body = std::str::from_utf8(body).context("the service's answer is no UTF-8")?;
    Ok((status, body))
}

/// What the service says against it, with the field it speaks of.
fn refused(status: u16, body: &str) -> anyhow::Error {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let detail = text(&problem, "detail");
    let field = text(&problem, "field");
    match (detail.is_empty(), field.is_empty()) {
        (true, _) => anyhow::anyhow!("the service answers with the status {status}"),
        (false, true) => anyhow::anyhow!("{detail}"),
        (false, false) if detail.starts_with(&field) => anyhow::anyhow!("{detail}"),
        (false, false) => anyhow::anyhow!("{field}: {detail}"),
    }
}

/// Writes to standard output; a reader such as `head` may have seen enough.
pub(super) fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A path with the parameters that are given.
pub(super) fn with_query<'a>(
    path: &str,
    given: impl IntoIterator<Item = (&'a str, Option<String>)>,
) -> String {
    let mut path = path.to_owned();
    let mut mark = '?';
    for (name, value) in given {
        if let Some(value) = value {
            path.push(mark);
            let (name, value) = (percent_encoded(name), percent_encoded(&value));
            path.push_str(&format!("{name}={value}"));
            mark = '&';
        }
    }
    path
}

/// A field of an answer as text; empty where it is null or missing.
pub(super) fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The entries of a list in an answer.
pub(super) fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// `2026-01-31 08:00` of an RFC 3339 time in UTC.
pub(super) fn minute(value: &Value, field: &str) -> String {
    let text = text(value, field);
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        (_, _) => text,
    }
}

/// A number, with at most two decimals.
pub(super) fn rounded(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// Columns below their titles, each as wide as it must be; the last as it comes.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut widths = titles.map(|title| title.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in std::iter::once(titles.map(str::to_owned)).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += cell;
            line += &" ".repeat(width + 2 - cell.chars().count());
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let rows = vec![
            ["1".to_owned(), "压缩机".to_owned()],
            ["22".to_owned(), String::new()],
        ];
        assert_eq!(table(["N", "Name"], rows), "N   Name\n1   压缩机\n22\n");
    }

    #[test]
    fn parameters_that_are_not_given_are_not_asked_for() {
        let path = with_query(
            "/t",
            [
                ("a", None),
                ("b", Some("x y&z".to_owned())),
                ("c", Some("1".to_owned())),
                ("d&e", Some("2".to_owned())),
            ],
        );
        assert_eq!(path, "/t?b=x%20y%26z&c=1&d%26e=2");
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        let answer = |body: &str| format!("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n{body}");
        let whole = answer("a\r\nb");
        assert_eq!(taken_apart(whole.as_bytes()).unwrap(), (200, "a\r\nb"));
        let cut = taken_apart(answer("a\r\n").as_bytes()).unwrap_err();
        assert!(cut.to_string().contains("4 bytes, of which 3"), "{cut}");
        let open = taken_apart(b"HTTP/1.0 404 Not Found\r\n\r\nx").unwrap();
        assert_eq!(
            open,
            (404, "x"),
            "one that names no length ends with the connection"
        );
        assert!(taken_apart(b"220 mail.example ESMTP\r\n").is_err());
    }

    #[test]
    fn a_refusal_names_its_field() {
        let body = r#"{"status":400,"detail":"use P1, P2","field":"priority"}"#;
        assert_eq!(refused(400, body).to_string(), "priority: use P1, P2");
        assert_eq!(
            refused(502, "<html>").to_string(),
            "the service answers with the status 502"
        );
    }
}
