//! Channels against real servers on loopback: what arrives, what is tried again, what is not followed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use forecare_domain::Timestamp;
use forecare_notify::{Channels, Message, NotifySettings, SIGNATURE_HEADER, SendError, verify};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

fn settings(channels: &str) -> NotifySettings {
    let text = format!(
        "source = \"/plant\"\npublic_url = \"\"\nlanguage = \"en\"\ntemplate_dir = \"\"\nattempts_max = 3\n\
         retry_first_s = 1\nretry_max_s = 10\ntimeout_s = 1\nquiet = \"\"\ndigest_at = \"08:00\"\ntime_zone = \"UTC\"\n\
         visit_notice_hours = 24\nsurvey_valid_days = 14\nperson = []\nrule = []\n{channels}"
    );
    toml::from_str(&text).unwrap()
}

fn message(address: &str) -> Message {
    Message {
        id: "T-12.3.ticket.opened".to_owned(),
        delivery: "D-7".to_owned(),
        event: "ticket.opened".to_owned(),
        about: "T-12".to_owned(),
        at: now(),
        address: address.to_owned(),
        recipient: "Eve".to_owned(),
        subject: "轴承 \"wear\"".to_owned(),
        text: "line one\n.\nFrom here: \"quoted\"\n".to_owned(),
        facts: serde_json::json!({ "ticket": 12 }),
    }
}

fn now() -> Timestamp {
    "2026-03-02T08:00:00Z".parse().unwrap()
}

type Seen = Arc<Mutex<Vec<(Uri, HeaderMap, Bytes)>>>;

async fn heard(State(seen): State<Seen>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    seen.lock().unwrap().push((uri, headers, body));
    match path.as_str() {
        "/gone" => StatusCode::GONE.into_response(),
        "/broken" => (StatusCode::INTERNAL_SERVER_ERROR, "try\r\nlater").into_response(),
        "/moved" => Redirect::permanent("http://127.0.0.1:9/elsewhere").into_response(),
        "/silent" => std::future::pending().await,
        "/wecom" => r#"{"errcode":0,"errmsg":"ok"}"#.into_response(),
        "/refuses" => {
            r#"{"errcode":45009,"errmsg":"reach max api daily quota limit"}"#.into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}

async fn web() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = Router::new().fallback(heard).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (addr, seen)
}

fn secret(dir: &Path, text: &str) -> String {
    let file = dir.join("secret");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn a_webhook_is_a_signed_cloudevent_with_a_stable_id() {
    let (addr, seen) = web().await;
    let dir = tempfile::tempdir().unwrap();
    let file = secret(dir.path(), "0123456789abcdef\n");
    let channels = Channels::open(&settings(&format!(
        "[channel.crm]\nkind = \"webhook\"\nurl = \"http://{addr}/hook\"\nsecret_file = \"{file}\"\n"
    )))
    .unwrap();
    for _ in 0..2 {
        channels.send("crm", &message(""), now()).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].2, seen[1].2, "sent again, it is the same");
    let (_, headers, body) = &seen[0];
    assert!(
        headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("application/cloudevents+json")
    );
    let signed = headers[SIGNATURE_HEADER].to_str().unwrap();
    let sent_at_s = now().as_millis() / 1_000;
    assert!(verify(b"0123456789abcdef", signed, body, sent_at_s, 300));
    let event: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        event,
        serde_json::json!({
            "specversion": "1.0", "id": "T-12.3.ticket.opened", "source": "/plant",
            "type": "forecare.ticket.opened", "subject": "T-12", "time": "2026-03-02T08:00:00Z",
            "datacontenttype": "application/json", "data": { "ticket": 12 }
        })
    );
}

#[tokio::test]
async fn failures_are_told_apart_and_nothing_is_followed() {
    let (addr, seen) = web().await;
    let dir = tempfile::tempdir().unwrap();
    let file = secret(dir.path(), "0123456789abcdef");
    let channels = Channels::open(&settings(&format!(
        "[channel.hook]\nkind = \"webhook\"\nsecret_file = \"{file}\"\n"
    )))
    .unwrap();
    let send = async |url: String| {
        channels
            .send("hook", &message(&url), now())
            .await
            .unwrap_err()
    };
    let gone = send(format!("http://{addr}/gone")).await;
    assert!(matches!(gone, SendError::Never(_)), "{gone}");
    let broken = send(format!("http://{addr}/broken")).await;
    assert_eq!(
        broken,
        SendError::Later("500 Internal Server Error try  later".to_owned())
    );
    let moved = send(format!("http://{addr}/moved")).await;
    assert!(
        matches!(&moved, SendError::Later(why) if why.contains("redirects")),
        "{moved}"
    );
    let silent = send(format!("http://{addr}/silent")).await;
    assert_eq!(silent, SendError::Later("no answer within 1 s".to_owned()));
    let nobody = send("http://127.0.0.1:9/".to_owned()).await;
    assert!(matches!(nobody, SendError::Later(_)), "{nobody}");
    let nonsense = send("http:// no address".to_owned()).await;
    assert!(matches!(nonsense, SendError::Never(_)), "{nonsense}");
    assert_eq!(seen.lock().unwrap().len(), 4);
    let unknown = channels
        .send("none", &message(""), now())
        .await
        .unwrap_err();
    assert!(matches!(unknown, SendError::Later(_)), "{unknown}");
}

#[tokio::test]
async fn any_http_interface_is_spoken_by_templates() {
    let (addr, seen) = web().await;
    let dir = tempfile::tempdir().unwrap();
    let file = secret(dir.path(), "k&y");
    let channels = Channels::open(&settings(&format!(
        "[channel.wecom]\nkind = \"http\"\nurl = \"http://{addr}/wecom?key={{{{ secret|urlencode }}}}\"\n\
         secret_file = \"{file}\"\nbody = '{{\"msgtype\":\"text\",\"text\":{{\"content\":{{{{ text|tojson }}}}}}}}'\n\
         expect = {{ errcode = 0 }}\n\
         [channel.refuses]\nkind = \"http\"\nurl = \"http://{addr}/refuses\"\nbody = '{{}}'\nexpect = {{ errcode = 0 }}\n\
         [channel.sms]\nkind = \"http\"\nurl = \"http://{addr}/sms\"\nmethod = \"PUT\"\ncarries = \"sms\"\n\
         content_type = \"application/x-www-form-urlencoded\"\nbody = \"to={{{{ address|urlencode }}}}&m={{{{ subject|urlencode }}}}\"\n\
         headers = {{ authorization = \"Bearer {{{{ secret }}}}\" }}\nsecret_file = \"{file}\"\n"
    )))
    .unwrap();
    channels.send("wecom", &message(""), now()).await.unwrap();
    channels
        .send("sms", &message("+86 10 1234"), now())
        .await
        .unwrap();
    let refused = channels
        .send("refuses", &message(""), now())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, SendError::Later(why) if why.contains("quota")),
        "{refused}"
    );
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].0.query(), Some("key=k%26y"));
    let body: serde_json::Value = serde_json::from_slice(&seen[0].2).unwrap();
    assert_eq!(body["text"]["content"], message("").text);
    assert_eq!(seen[1].1[header::AUTHORIZATION], "Bearer k&y");
    assert!(
        seen[1].2.starts_with(b"to=%2B86%2010%201234&m=%E8%BD%B4"),
        "{:?}",
        seen[1].2
    );
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let file = secret(dir.path(), "short");
    let refusal = |channel: &str| Channels::open(&settings(channel)).unwrap_err().to_string();
    for (channel, says) in [
        (format!("[channel.a]\nkind = \"webhook\"\nurl = \"http://x/\"\nsecret_file = \"{file}\"\n"), "fewer than 16"),
        ("[channel.a]\nkind = \"webhook\"\nsecret_file = \"/nowhere\"\n".to_owned(), "cannot read /nowhere"),
        ("[channel.a]\nkind = \"http\"\nurl = \"http://x/\"\nbody = '{\"t\": \"{{ text }}\"}'\n".to_owned(), "tojson"),
        ("[channel.a]\nkind = \"http\"\nurl = \"http://x/\"\nbody = '{{ nothing }}'\n".to_owned(), "body"),
        ("[channel.a]\nkind = \"smtp\"\nhost = \"localhost\"\ntls = \"none\"\nfrom = \"nobody\"\n".to_owned(), "from"),
    ] {
        let text = refusal(&channel);
        assert!(text.starts_with("notify.channel.a: ") && text.contains(says), "{channel}: {text}");
    }
}

/// A mail server that takes one mail per connection, and refuses what is for `nobody@`.
async fn mail_server() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let kept = mails.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let (reading, mut writing) = stream.into_split();
                let mut lines = BufReader::new(reading).lines();
                writing.write_all(b"220 test\r\n").await.unwrap();
                while let Ok(Some(line)) = lines.next_line().await {
                    let verb = line
                        .split([' ', ':'])
                        .next()
                        .unwrap_or_default()
                        .to_uppercase();
                    let answer = match verb.as_str() {
                        "EHLO" => "250-test\r\n250 8BITMIME\r\n",
                        "RCPT" if line.contains("<nobody@") => "550 5.1.1 no such user\r\n",
                        "RCPT" if line.contains("<busy@") => "451 4.3.0 try later\r\n",
                        "DATA" => {
                            writing.write_all(b"354 go on\r\n").await.unwrap();
                            let mut mail = String::new();
                            while let Ok(Some(line)) = lines.next_line().await {
                                if line == "." {
                                    break;
                                }
                                mail.push_str(line.strip_prefix('.').unwrap_or(&line));
                                mail.push('\n');
                            }
                            kept.lock().unwrap().push(mail);
                            "250 taken\r\n"
                        }
                        "QUIT" => "221 bye\r\n",
                        _ => "250 ok\r\n",
                    };
                    writing.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (addr, mails)
}

#[tokio::test]
async fn mail_goes_out_with_a_stable_message_id() {
    let (addr, mails) = mail_server().await;
    let channels = Channels::open(&settings(&format!(
        "[channel.mail]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"Care <care@example.com>\"\n",
        addr.port()
    )))
    .unwrap();
    channels
        .send("mail", &message("eve@example.com"), now())
        .await
        .unwrap();
    let refused = channels
        .send("mail", &message("nobody@example.com"), now())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, SendError::Never(why) if why.contains("no such user")),
        "{refused}"
    );
    let busy = channels
        .send("mail", &message("busy@example.com"), now())
        .await
        .unwrap_err();
    assert!(matches!(busy, SendError::Later(_)), "{busy}");
    let wrong = channels
        .send("mail", &message("eve\r\nBcc: all@example.com"), now())
        .await
        .unwrap_err();
    assert!(matches!(wrong, SendError::Never(_)), "{wrong}");
    let mails = mails.lock().unwrap();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    for header in [
        "From: Care <care@example.com>",
        "To: eve@example.com",
        "Message-ID: <T-12.3.ticket.opened.D-7@example.com>",
        "Auto-Submitted: auto-generated",
        "Subject: =?utf-8?b?",
    ] {
        assert!(mail.contains(header), "{header} in {mail}");
    }
    assert!(
        mail.contains("line one\n.\nFrom here: \"quoted\""),
        "{mail}"
    );
}
