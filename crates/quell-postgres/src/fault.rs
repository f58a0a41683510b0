//! What PostgreSQL says, as a [`StoreError`].

use std::error::Error as _;

use quell_core::store::StoreError;
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
    if is_of(code, &DENIED) {
        return StoreError::Denied { what };
    }
    if is_of(code, &AWAY) {
        return StoreError::Unreachable { what };
    }
    match code {
        code if *code == SqlState::DISK_FULL => StoreError::Full { what },
        code if is_of(code, &READ_ONLY) => StoreError::ReadOnly { what },
        code if is_of(code, &CORRUPT) => StoreError::Corrupt { what },
        _ => StoreError::Io { what },
    }
}

/// Tells whether the connection is of no use any more.
pub(crate) fn is_lost(error: &Error) -> bool {
    let is_io = || error.source().and_then(|it| it.downcast_ref::<std::io::Error>()).is_some();
    error.is_closed() || is_io() || error.code().is_some_and(|code| is_of(code, &AWAY))
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

/// Whoever wants in may not, or there is no such database.
const DENIED: [&str; 2] = ["28", "3D000"];

/// Connections fail or end: also by whoever shuts the server down, or ends this session, and when
/// one of its limits has passed.
const AWAY: [&str; 8] = ["08", "25P03", "25P04", "53300", "57P01", "57P02", "57P03", "57P05"];

/// A transaction was rolled back because of another one.
const VICTIM: [&str; 1] = ["40"];

/// There is no right to write.
const READ_ONLY: [&str; 2] = ["25006", "42501"];

/// What is stored is damaged.
const CORRUPT: [&str; 2] = ["XX001", "XX002"];
