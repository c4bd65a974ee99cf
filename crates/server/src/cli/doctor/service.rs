//! The running service, asked from outside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::broker::answers;
use super::{Findings, Patient};

const CHECK: &str = "service";
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let listen = patient.config.http.listen;
    if !patient.running {
        if listen.port() != 0 && answers(listen) {
            findings.fail(
                CHECK,
                format!("not running, and another program listens on http.listen = {listen}"),
                "stop it, or set http.listen to another port",
            );
        } else {
            findings.ok(CHECK, "not running: nothing to ask");
        }
        return;
    }
    if listen.port() == 0 {
        findings.ok(CHECK, "running, on a port that it chose: not asked");
        return;
    }
    match get(listen, "/healthz") {
        Ok((200, _)) => {}
        Ok((status, body)) => {
            return findings.fail(
                CHECK,
                format!("{listen}/healthz answers {status}: {body}"),
                "see the service's log, and restart it",
            );
        }
        Err(error) => {
            return findings.fail(
                CHECK,
                format!("the running service does not answer on http.listen = {listen}: {error}"),
                "see its log; if it was started with another address, name that with --http",
            );
        }
    }
    match get(listen, "/readyz") {
        Ok((200, _)) => findings.ok(CHECK, format!("{listen} is alive and ready")),
        Ok((_, body)) => findings.fail(
            CHECK,
            format!("{listen} is alive but not ready: {}", detail(&body)),
            "mend what it names; the service goes on by itself",
        ),
        Err(error) => findings.fail(
            CHECK,
            format!("{listen}/readyz: {error}"),
            "see the service's log",
        ),
    }
}

/// The sentence of an RFC 9457 problem.
fn detail(body: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|problem| problem.get("detail")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| body.to_owned())
}

/// Status and body of a GET; enough of HTTP for our own service.
fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let address = if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    };
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: application/json\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| std::io::Error::other("what answers there speaks no HTTP"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.trim().to_owned()))
}
