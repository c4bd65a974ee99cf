//! The front of TimescaleDB behaves as PostgreSQL does, for what tokio-postgres asks of it.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::pin::pin;

use bytes::Bytes;
use forecare_test_databases::Timescale;
use futures_util::SinkExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

async fn connect_as(change: impl FnOnce(&mut Config)) -> Client {
    let mut config: Config = Timescale::shared().url().parse().unwrap();
    change(&mut config);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn connect() -> Client {
    connect_as(|_| ()).await
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// A table of one unique number, and its name.
async fn table(client: &Client) -> String {
    let name = Timescale::shared().schema();
    let sql = format!("CREATE TABLE {name} (x bigint PRIMARY KEY)");
    client.batch_execute(&sql).await.unwrap();
    name
}

/// `numbers` in the binary format of COPY.
fn binary(numbers: &[i64]) -> Bytes {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for number in numbers {
        bytes.extend([0, 1, 0, 0, 0, 8]);
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend([0xff, 0xff]);
    Bytes::from(bytes)
}

async fn copy(client: &Client, table: &str, bytes: Bytes) -> Result<u64, tokio_postgres::Error> {
    let sql = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let sink = client.copy_in(&sql).await?;
    let mut sink = pin!(sink);
    sink.send(bytes).await?;
    sink.finish().await
}

fn code(error: &tokio_postgres::Error) -> &SqlState {
    error.code().unwrap()
}

#[tokio::test]
async fn a_role_logs_in_with_its_own_settings() {
    let admin = connect().await;
    let role = Timescale::shared().schema();
    let made = format!(
        "CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET default_transaction_read_only = on;
         ALTER ROLE {role} SET search_path = one, public"
    );
    admin.batch_execute(&made).await.unwrap();
    let client = connect_as(|c| {
        c.user(&role);
    })
    .await;
    let row = "SELECT session_user::text, current_setting('search_path')";
    let row = client.query_one(row, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, String>(1)),
        (role, "one, public".to_owned())
    );
    let refused = client.batch_execute("CREATE TABLE x ()").await.unwrap_err();
    assert_eq!(code(&refused), &SqlState::READ_ONLY_SQL_TRANSACTION);
    // It was for that one alone.
    table(&admin).await;
}

#[tokio::test]
async fn settings_belong_to_their_connection() {
    let one = connect_as(|c| {
        c.options("-c search_path=one,public -c work_mem=8MB");
    })
    .await;
    let other = connect().await;
    let show = async |client: &Client, name: &str| -> String {
        let sql = format!("SHOW {name}");
        client.query_one(&sql, &[]).await.unwrap().get(0)
    };
    other
        .batch_execute("SET search_path = other; SET application_name = 'it''s'")
        .await
        .unwrap();
    assert_eq!(show(&one, "search_path").await, "one,public");
    assert_eq!(show(&other, "search_path").await, "other");
    assert_eq!(show(&other, "application_name").await, "it's");
    assert_eq!(show(&one, "work_mem").await, "8MB");
    one.batch_execute("SET work_mem = '9MB'; RESET ALL")
        .await
        .unwrap();
    assert_eq!(show(&one, "work_mem").await, "8MB");
    one.batch_execute("BEGIN; SET LOCAL search_path = local; COMMIT")
        .await
        .unwrap();
    assert_eq!(show(&one, "search_path").await, "one,public");
}

#[tokio::test]
async fn a_role_is_no_more_than_it_was_granted() {
    let admin = connect().await;
    let table = table(&admin).await;
    admin
        .batch_execute("CREATE ROLE reader LOGIN")
        .await
        .unwrap();
    let reader = connect_as(|c| {
        c.user("reader");
    })
    .await;
    let sql = format!("SELECT count(*) FROM {table}");
    let error = reader.query_one(&sql, &[]).await.unwrap_err();
    assert_eq!(*code(&error), SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(number(&admin, &sql).await, 0);
}

#[tokio::test]
async fn statements_of_the_same_name_are_each_connection_s_own_and_close() {
    let (one, other) = (connect().await, connect().await);
    let of_one = one.prepare("SELECT 1::bigint + $1").await.unwrap();
    let of_other = other.prepare("SELECT 2::bigint + $1").await.unwrap();
    for n in 0..3_i64 {
        let parameters: [&(dyn ToSql + Sync); 1] = [&n];
        let (a, b) = tokio::join!(
            one.query_one(&of_one, &parameters),
            other.query_one(&of_other, &parameters)
        );
        assert_eq!(a.unwrap().get::<_, i64>(0), 1 + n);
        assert_eq!(b.unwrap().get::<_, i64>(0), 2 + n);
    }
    let prepared =
        "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%::bigint + $1'";
    assert_eq!(number(&one, prepared).await, 2);
    drop(of_one);
    assert_eq!(number(&one, prepared).await, 1);
    drop((of_other, other));
    while number(&one, prepared).await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_also_after_an_error() {
    let client = connect().await;
    let (one, bad, two) = tokio::join!(
        client.query_one("SELECT 1::bigint", &[]),
        client.query_one("SELECT 1 / 0", &[]),
        client.query_one("SELECT 2::bigint", &[]),
    );
    assert_eq!(one.unwrap().get::<_, i64>(0), 1);
    assert_eq!(*code(&bad.unwrap_err()), SqlState::DIVISION_BY_ZERO);
    assert_eq!(two.unwrap().get::<_, i64>(0), 2);
}

#[tokio::test]
async fn a_transaction_has_the_session_to_itself() {
    let (mut one, other) = (connect().await, connect().await);
    let table = table(&one).await;
    let transaction = one.transaction().await.unwrap();
    let insert = format!("INSERT INTO {table} VALUES (1)");
    transaction.execute(&insert, &[]).await.unwrap();
    let count = format!("SELECT count(*) FROM {table}");
    let seen = tokio::spawn(async move { number(&other, &count).await });
    // Time for the other one to be asked, and to wait.
    for _ in 0..3 {
        transaction.execute("SELECT 1", &[]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(!seen.is_finished());
    transaction.commit().await.unwrap();
    assert_eq!(seen.await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_lost_in_a_transaction_rolls_back() {
    let (one, other) = (connect().await, connect().await);
    let table = table(&one).await;
    one.batch_execute(&format!("BEGIN; INSERT INTO {table} VALUES (1)"))
        .await
        .unwrap();
    drop(one);
    assert_eq!(
        number(&other, &format!("SELECT count(*) FROM {table}")).await,
        0
    );
}

#[tokio::test]
async fn a_failed_transaction_stays_failed_until_rolled_back() {
    let mut client = connect().await;
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("SELECT 1 / 0").await.unwrap_err();
    let error = transaction.query_one("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(*code(&error), SqlState::IN_FAILED_SQL_TRANSACTION);
    transaction.rollback().await.unwrap();
    assert_eq!(number(&client, "SELECT 1::bigint").await, 1);
}

#[tokio::test]
async fn copy_in_stores_all_or_says_why_not() {
    let mut client = connect().await;
    let table = table(&client).await;
    let count = format!("SELECT count(*) FROM {table}");
    let many: Vec<i64> = (0..50_000).collect();
    assert_eq!(copy(&client, &table, binary(&many)).await.unwrap(), 50_000);
    let error = copy(&client, &table, binary(&[-1, 7])).await.unwrap_err();
    assert_eq!(*code(&error), SqlState::UNIQUE_VIOLATION);
    let garbage = Bytes::from_static(b"nothing of the sort");
    let error = copy(&client, &table, garbage).await.unwrap_err();
    assert_eq!(*code(&error), SqlState::BAD_COPY_FILE_FORMAT);
    assert_eq!(number(&client, &count).await, 50_000);
    // In a transaction, which the next statement finds failed; and a sink that was given up.
    let transaction = client.transaction().await.unwrap();
    let sql = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let given_up = transaction
        .copy_in::<_, Bytes>(&sql)
        .await
        .map(|sink| drop(Box::pin(sink)));
    given_up.unwrap();
    let error = transaction.query_one(&count, &[]).await.unwrap_err();
    assert_eq!(*code(&error), SqlState::IN_FAILED_SQL_TRANSACTION);
    drop(transaction);
    assert_eq!(copy(&client, &table, binary(&[-1])).await.unwrap(), 1);
    assert_eq!(number(&client, &count).await, 50_001);
}

#[tokio::test]
async fn a_copy_that_cannot_begin_fails_before_its_rows() {
    let client = connect().await;
    let sql = "COPY there_is_none FROM STDIN (FORMAT binary)";
    let error = client.copy_in::<_, Bytes>(sql).await.err().unwrap();
    assert_eq!(*code(&error), SqlState::UNDEFINED_TABLE);
}

#[tokio::test]
async fn cancelling_is_heard_and_changes_nothing() {
    let client = connect().await;
    client.cancel_token().cancel_query(NoTls).await.unwrap();
    assert_eq!(number(&client, "SELECT 1::bigint").await, 1);
}

#[tokio::test]
async fn it_is_timescaledb() {
    let client = connect().await;
    let name = Timescale::shared().schema();
    client
        .batch_execute(&format!(
            "CREATE TABLE {name} (ts timestamptz NOT NULL, x float8);
             SELECT create_hypertable('{name}', by_range('ts', INTERVAL '1 day'));
             INSERT INTO {name} SELECT '2026-01-01'::timestamptz + n * INTERVAL '1 hour', n FROM generate_series(0, 71) n"
        ))
        .await
        .unwrap();
    assert_eq!(
        number(
            &client,
            &format!("SELECT count(*) FROM show_chunks('{name}')")
        )
        .await,
        3
    );
}
