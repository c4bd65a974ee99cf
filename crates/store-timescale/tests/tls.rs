//! The database's certificate is verified, always.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

mod support;

use forecare_store_timescale::{FindingVerdict, TimescaleSettings, TimescaleStore};
use forecare_test_databases::{Authority, Options, Postgres};
use support::{open, plain, refusal};

fn with_tls(authority: &Authority, name: &str) -> Postgres {
    Postgres::start_with(Options {
        certificate: Some(&authority.issue(name)),
        ..Options::default()
    })
}

fn trusting(authority: &Authority, url: String) -> TimescaleSettings {
    TimescaleSettings {
        ca_file: Some(authority.file()),
        ..plain(url)
    }
}

#[tokio::test]
async fn the_named_authority_is_trusted_and_no_other() {
    let authority = Authority::new();
    let cluster = with_tls(&authority, "IP:127.0.0.1");
    let good = trusting(&authority, cluster.url());
    open(&good).await.unwrap();
    let connections = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'forecare'";
    let store = open(&good).await.unwrap();
    assert_eq!(cluster.sql("postgres", connections), "t");
    // Issued for a day.
    let expires_at_s = store.certificate_expires_at_s().unwrap();
    let now = cluster.sql("postgres", "SELECT extract(epoch FROM now())::int8");
    let left_s = expires_at_s - now.parse::<i64>().unwrap();
    assert!((80_000..=86_400).contains(&left_s), "{left_s}");
    let found = store
        .examine(forecare_domain::Timestamp::from_millis(
            expires_at_s * 1_000,
        ))
        .await;
    let certificate = found.iter().find(|f| f.name == "certificate").unwrap();
    assert_eq!(certificate.verdict, FindingVerdict::Warn);
    drop(store);
    // libpq's stricter names mean the same.
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{}?sslmode={mode}", cluster.url());
        open(&trusting(&authority, url)).await.unwrap();
    }
    for unknown in [
        trusting(&Authority::new(), cluster.url()),
        plain(format!("{}?sslmode=require", cluster.url())),
    ] {
        let error = open(&unknown).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ca_file"), "{text}");
        assert!(!TimescaleStore::may_pass(&error), "waiting cures nothing");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let cluster = with_tls(&authority, "DNS:elsewhere.example");
    let text = refusal(&trusting(&authority, cluster.url())).await;
    assert!(
        text.contains("certificate") && text.contains("the host as the certificate does"),
        "{text}"
    );
}

#[tokio::test]
async fn a_name_is_verified_as_a_name() {
    let authority = Authority::new();
    let cluster = with_tls(&authority, "DNS:localhost");
    let url = cluster.url().replace("127.0.0.1", "localhost");
    open(&trusting(&authority, url)).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_due() {
    let cluster = Postgres::start();
    let authority = Authority::new();
    for settings in [
        trusting(&authority, cluster.url()),
        plain(format!("{}?sslmode=require", cluster.url())),
    ] {
        let text = refusal(&settings).await;
        assert!(
            text.contains("switch ssl on there") && text.contains("sslmode=disable"),
            "{text}"
        );
    }
    let url = format!("{}?sslmode=disable", cluster.url());
    open(&plain(url)).await.unwrap();
}

#[tokio::test]
async fn a_file_of_no_certificates_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("empty.pem");
    std::fs::write(&file, "nothing").unwrap();
    let mut settings = plain("postgres://postgres@127.0.0.1:1/postgres".to_owned());
    settings.ca_file = Some(file.clone());
    let text = refusal(&settings).await;
    assert!(
        text.contains(&file.display().to_string()) && text.contains("PEM"),
        "{text}"
    );
}
