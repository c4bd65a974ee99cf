//! `mqtt://user:password@host:port`, taken apart.

use std::str::FromStr;

use crate::IngestError;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl FromStr for Address {
    type Err = IngestError;

    fn from_str(url: &str) -> Result<Self, IngestError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let bad = |reason: &str| IngestError::BadUrl {
            url: if scheme.is_empty() {
                place.to_owned()
            } else {
                format!("{scheme}://{place}")
            },
            reason: reason.to_owned(),
        };
        let tls = match scheme {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            _ => return Err(bad("it does not begin with mqtt:// or mqtts://")),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((v6, "")) => (format!("[{v6}]"), None),
            Some((v6, port)) => (
                format!("[{v6}]"),
                Some(
                    port.strip_prefix(':')
                        .ok_or_else(|| bad("it has text after ]"))?,
                ),
            ),
            None => match place.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (place.to_owned(), None),
            },
        };
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(bad("it names no host"));
        }
        if tls && host.starts_with('[') {
            return Err(bad(
                "a certificate is issued to a host name, not to an IPv6 address",
            ));
        }
        let port = match port {
            None if tls => 8883,
            None => 1883,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| bad("its port is no number from 1 to 65535"))?,
        };
        let decode = |text: &str| {
            percent_decode(text).ok_or_else(|| bad("its user or password is not percent-encoded"))
        };
        let (username, password) = match credentials {
            None => (None, None),
            Some(credentials) => match credentials.split_once(':') {
                None => (Some(decode(credentials)?), None),
                Some((user, password)) => (Some(decode(user)?), Some(decode(password)?)),
            },
        };
        Ok(Self {
            host,
            port,
            tls,
            username,
            password,
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        url: &str,
        host: &str,
        port: u16,
        tls: bool,
        credentials: (Option<&str>, Option<&str>),
    ) {
        let address: Address = url.parse().unwrap();
        let expected = Address {
            host: host.to_owned(),
            port,
            tls,
            username: credentials.0.map(str::to_owned),
            password: credentials.1.map(str::to_owned),
        };
        assert_eq!(address, expected, "{url}");
    }

    #[test]
    fn host_port_and_credentials_are_taken_apart() {
        check("mqtt://broker", "broker", 1883, false, (None, None));
        check("mqtts://broker/", "broker", 8883, true, (None, None));
        check(
            "mqtt://127.0.0.1:2883",
            "127.0.0.1",
            2883,
            false,
            (None, None),
        );
        check("mqtt://[::1]:2883", "[::1]", 2883, false, (None, None));
        check("mqtt://[::1]", "[::1]", 1883, false, (None, None));
        check("mqtt://me@b:1", "b", 1, false, (Some("me"), None));
        check(
            "mqtt://me:p%40s%3as@b",
            "b",
            1883,
            false,
            (Some("me"), Some("p@s:s")),
        );
        check(
            "mqtt://me:p@ss@b",
            "b",
            1883,
            false,
            (Some("me"), Some("p@ss")),
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_the_password() {
        for url in [
            "",
            "broker:1883",
            "http://broker",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://broker:0",
            "mqtt://broker:65536",
            "mqtt://broker:mqtt",
            "mqtt://me:secret@broker:x",
            "mqtt://me:secret%4@broker",
            "mqtt://me:secret%+4@broker",
            "mqtts://[::1]:8883",
            "mqtt://[::1]x",
            "mqtt://a/b",
        ] {
            let error = url.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("mqtt://host:1883"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
