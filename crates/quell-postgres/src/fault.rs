//! What PostgreSQL says, as a [`StoreError`].

use std::error::Error as _;
use std::time::Duration;

use quell_core::store::StoreError;
use tokio::time::timeout;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

/// Says what an error of PostgreSQL means to whoever has the store.
pub(crate) fn fault(error: &Error) -> StoreError {
    let what = words(error);
    let Some(code) = error.code() else {
        return if is_lost(error) {
            StoreError::Unreachable { what }
        } else {
            StoreError::Io { what }
        };
    };
    if *code == SqlState::INVALID_CATALOG_NAME {
        let what = format!("make the database, or name one that is there ({what})");
        return StoreError::Denied { what };
    }
    if is_of(code, &DENIED) {
        return StoreError::Denied { what: format!("see user and password ({what})") };
    }
    if *code == SqlState::TOO_MANY_CONNECTIONS {
        return StoreError::NoConnection { what };
    }
    if is_of(code, &AWAY) {
        return StoreError::Unreachable { what };
    }
    match code {
        code if *code == SqlState::DISK_FULL => StoreError::Full { what },
        code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::TakesNoWrites { what },
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => StoreError::ReadOnly { what },
        code if is_of(code, &CORRUPT) => StoreError::Corrupt { what },
        _ => StoreError::Io { what },
    }
}

/// Says why the tables of a schema could not be made, and what a role needs that may make none:
/// `is_new` says that it has none yet.
pub(crate) fn not_made(error: &Error, schema: &str, is_new: bool) -> StoreError {
    if !is_new || error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return fault(error);
    }
    let what = format!(
        "CREATE on the database, and on the schema if that is there, or a schema that is its own, \
         by `create schema {schema} authorization USER`: {}",
        words(error)
    );
    StoreError::ReadOnly { what }
}

/// Tells whether the connection is of no use any more.
pub(crate) fn is_lost(error: &Error) -> bool {
    let is_io = || error.source().and_then(|it| it.downcast_ref::<std::io::Error>()).is_some();
    error.is_closed() || is_io() || error.code().is_some_and(|code| is_of(code, &AWAY))
}

/// Tells whether the session takes nothing that changes anything.
pub(crate) fn is_read_only(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Tells whether the server has rolled a transaction back because of another one, so that the same
/// may go well when it is tried again: a deadlock, or an order in which both cannot be.
pub(crate) fn is_victim(error: &Error) -> bool {
    error.code().is_some_and(|code| is_of(code, &VICTIM))
}

/// Says an error in words. Its details are left out: they may show what is stored.
fn words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return of_server(error);
    }
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        source = cause.source();
    }
    words
}

fn of_server(error: &DbError) -> String {
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{}{hint}, SQLSTATE {}", error.message(), error.code().code())
}

fn is_of(code: &SqlState, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| code.code().starts_with(prefix))
}

/// Does work within a time.
///
/// # Errors
///
/// Fails as the work does, or if it takes longer.
pub(crate) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(no_answer(limit)))
}

/// Says that it is not known whether an append is stored.
pub(crate) fn in_doubt(error: StoreError) -> StoreError {
    match error {
        StoreError::Superseded { .. } | StoreError::LeaseLost { .. } => error,
        other => StoreError::Unreachable {
            what: format!("{other}; whether the append is stored is not known yet"),
        },
    }
}

/// Says that the database has not answered in time.
pub(crate) fn no_answer(limit: Duration) -> StoreError {
    StoreError::Unreachable { what: format!("no answer within {limit:?}") }
}

/// Whoever wants in may not.
const DENIED: [&str; 1] = ["28"];

/// Connections fail or end: also by whoever shuts the server down, or ends this session, and when
/// one of its limits has passed.
const AWAY: [&str; 8] = ["08", "25P03", "25P04", "53300", "57P01", "57P02", "57P03", "57P05"];

/// A transaction was rolled back because of another one.
const VICTIM: [&str; 1] = ["40"];

/// What is stored is damaged.
const CORRUPT: [&str; 2] = ["XX001", "XX002"];
