//! The broker: reached, let in, allowed to read.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use forecare_domain::Clock;
use forecare_ingest::{ExternalBroker, IngestStats};

use super::{Findings, Patient};
use crate::app::external_config;
use crate::clock::SystemClock;

const CHECK: &str = "broker";
/// Longest wait for connection and subscription.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// A certificate that expires earlier is to be renewed, days; as in `deploy/prometheus`.
const CERTIFICATE_DAYS_MIN: i64 = 21;
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn examine(patient: &Patient, findings: &mut Findings) {
    if patient.config.mqtt.url.is_empty() {
        embedded(patient, findings);
    } else {
        external(patient, findings).await;
    }
}

fn embedded(patient: &Patient, findings: &mut Findings) {
    let listen = patient.config.mqtt.listen;
    let said_by = patient.broker_said_by;
    if patient.broker_waits {
        findings.warn(
            CHECK,
            "embedded, does not listen yet: the service has yet to open its store, which knows the devices",
            "see what the store's check says; devices keep what they send until then",
        );
    } else if patient.running {
        if listen.port() == 0 {
            findings.ok(CHECK, "embedded, on a port that the service chose");
        } else if is_taken(listen) {
            findings.ok(CHECK, format!("embedded, listens on {listen} ({said_by})"));
        } else {
            findings.fail(
                CHECK,
                format!("the running service does not listen on mqtt.listen = {listen} ({said_by})"),
                "see its log; if it was started with another address, name that with --mqtt-listen, or its broker with --mqtt",
            );
        }
    } else if let Some(error) = cannot_be_had(listen) {
        findings.fail(
            CHECK,
            format!("the broker cannot listen on mqtt.listen = {listen} ({said_by}): {error}"),
            "name an address of this machine, and a port that the service's user may take (above 1023)",
        );
    } else if listen.port() != 0 && is_taken(listen) {
        findings.fail(
            CHECK,
            format!("another program listens on mqtt.listen = {listen} ({said_by})"),
            "stop it, or set mqtt.listen to another port; where it is the broker that serve is to use, name it with --mqtt or mqtt.url",
        );
    } else {
        findings.ok(
            CHECK,
            format!("embedded, will listen on {listen} ({said_by})"),
        );
    }
    if let Some(address) = patient.config.mqtt.unencrypted() {
        findings.warn(
            CHECK,
            format!("{address}: passwords and readings cross the network unencrypted"),
            "keep the embedded broker on 127.0.0.1, and put a broker with TLS before it (mqtt.url = mqtts://…)",
        );
    }
}

/// Why nobody could listen there, whoever does now: another machine's address, a port that is not for this user.
fn cannot_be_had(address: SocketAddr) -> Option<std::io::Error> {
    let refused = TcpListener::bind(address).err()?;
    (refused.kind() != ErrorKind::AddrInUse).then_some(refused)
}

/// Somebody listens there. Found out without a connection, which a broker would log as a broken one.
fn is_taken(address: SocketAddr) -> bool {
    match TcpListener::bind(address) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::AddrInUse => true,
        // A port that only root may take, or an address of another machine's or container's.
        Err(_) => listens(address.port()).unwrap_or_else(|| answers(address)),
    }
}

/// Whether a socket of this machine listens on the port, as Linux lists them; `None` where it does not say.
fn listens(port: u16) -> Option<bool> {
    let tables: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect();
    let is_it = |line: &str| is_listening(line, port);
    (!tables.is_empty()).then(|| tables.iter().any(|table| table.lines().any(is_it)))
}

/// A line of Linux's list of TCP sockets: number, local address and port in hex, remote address, state (0A: listening).
fn is_listening(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let local = fields.next().and_then(|local| local.rsplit_once(':'));
    let is_port = local.is_some_and(|(_, at)| u16::from_str_radix(at, 16) == Ok(port));
    is_port && fields.nth(1) == Some("0A")
}

/// Somebody takes connections there.
pub(super) fn answers(address: SocketAddr) -> bool {
    // An unspecified address is reached on loopback.
    let address = if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    };
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

/// Connects as the service would, with a client id of its own: the same one would throw the service out.
async fn external(patient: &Patient, findings: &mut Findings) {
    let mut config = match external_config(&patient.config) {
        Ok(config) => config,
        Err(error) => return findings.failed(CHECK, &error),
    };
    config.client_id = format!("{}-doctor-{}", config.client_id, std::process::id());
    // The broker is to forget this session at once.
    config.session_expiry = Duration::from_secs(1);
    let topics = config.topics.join(", ");
    let address = shown(&config.url);
    let said_by = patient.broker_said_by;
    let stats = Arc::new(IngestStats::default());
    let connected = ExternalBroker::connect(config, Arc::new(SystemClock), Arc::clone(&stats));
    // The source is kept to the end: without it the connection is given up.
    let (broker, _source) = match connected {
        Ok(connection) => connection,
        Err(error) => return findings.failed(CHECK, &error.into()),
    };
    let waiting = async {
        loop {
            if stats.connected() {
                return Ok(());
            }
            if let Some(error) = stats.last_error() {
                return Err(error);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let outcome = tokio::time::timeout(ANSWER_MAX, waiting).await;
    drop(broker);
    match outcome {
        Ok(Ok(())) => {
            findings.ok(
                CHECK,
                format!("{address} ({said_by}): let in, may read {topics} at QoS 1"),
            );
            if let Some(at_s) = stats.broker_certificate().expires_at_s() {
                certificate(at_s, findings);
            }
        }
        Ok(Err(error)) => {
            let fix = fix(&error);
            findings.fail(CHECK, format!("{address} ({said_by}): {error}"), fix);
        }
        Err(_) => findings.fail(
            CHECK,
            format!(
                "{address} ({said_by}) did not answer within {} s",
                ANSWER_MAX.as_secs()
            ),
            "see that it runs and that no firewall is in between",
        ),
    }
    if let Some(address) = patient.config.mqtt.unencrypted() {
        findings.warn(
            CHECK,
            format!("{address}: passwords and readings cross the network unencrypted"),
            "use mqtts:// with mqtt.ca_file",
        );
    }
}

fn certificate(expires_at_s: i64, findings: &mut Findings) {
    let days = (expires_at_s - SystemClock.now().as_millis() / 1_000) / 86_400;
    let text = format!("its certificate expires in {days} days");
    if days < CERTIFICATE_DAYS_MIN {
        findings.warn(
            CHECK,
            text,
            "renew it and let the broker read it: afterwards no connection can be made",
        );
    } else {
        findings.ok(CHECK, text);
    }
}

fn fix(error: &str) -> &'static str {
    let error = error.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if says(&["subscription"]) {
        "allow this user to read the topics in the broker's access list, or correct mqtt.topics"
    } else if says(&[
        "badusernamepassword",
        "notauthorized",
        "bad user name",
        "not authorized",
    ]) {
        "correct mqtt.username and mqtt.password_file, or let the user in at the broker"
    } else if says(&["certificate", "tls"]) {
        "name the PEM file of the authority that signed the broker's certificate as mqtt.ca_file, and the host in mqtt.url as the certificate does"
    } else if says(&["lookup", "resolve", "name or service"]) {
        "correct the host name in mqtt.url"
    } else {
        "see that the broker runs, and that mqtt.url names its host and port"
    }
}

/// The address without its credentials.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            format!(
                "{scheme}://{}",
                rest.rsplit_once('@').map_or(rest, |(_, place)| place)
            )
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_in_the_systems_list() {
        let line = "   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1";
        assert!(is_listening(line, 1_883));
        assert!(!is_listening(line, 1_884));
        assert!(!is_listening(&line.replace(" 0A ", " 01 "), 1_883));
        assert!(!is_listening("  sl  local_address rem_address   st", 1_883));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if let Some(listens) = listens(port) {
            assert!(listens);
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(shown("mqtts://me:p@ss@host:8883"), "mqtts://host:8883");
        assert_eq!(shown("mqtt://host"), "mqtt://host");
    }
}
