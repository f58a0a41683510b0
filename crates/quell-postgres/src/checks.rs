//! [`check`]: what a server has to be for a store.

use quell_core::store::StoreError;
use tokio_postgres::{Client, Row};

use crate::fault::fault;
use crate::session::Target;

/// Checks version, encoding and the settings on which durability rests, as they are in a session
/// of which nothing was set.
///
/// # Errors
///
/// Fails with the first one that is wrong.
pub(crate) async fn check(client: &Client, target: &Target) -> Result<(), StoreError> {
    let rows = client.query_typed(SERVER, &[]).await.map_err(|error| fault(&error))?;
    let Some(row) = rows.first() else { return Ok(()) };
    let text = |column: usize| text(row, column);
    check_shape(row)?;
    for (column, name) in [(3, "fsync"), (4, "full_page_writes")] {
        if text(column)? != "on" {
            return setting(name, text(column)?, "on, for the whole server");
        }
    }
    if text(5)? == "off" {
        if !target.options.accepts_asynchronous_commit {
            let wanted = "on, also where it is set for the user or the database";
            return setting("synchronous_commit", text(5)?, wanted);
        }
        let words = "synchronous_commit is off: a crash of the server loses the last appends";
        quell_durable::catch_panic(|| tracing::warn!("{words}"));
    }
    if row.try_get(6).map_err(|error| fault(&error))? {
        let what = format!("{} is a standby", target.address.words());
        return Err(StoreError::TakesNoWrites { what });
    }
    Ok(())
}

/// Checks what a server has to be for whoever only reads: version and encoding.
///
/// # Errors
///
/// Fails with the first one that is wrong.
pub(crate) async fn check_to_read(client: &Client) -> Result<(), StoreError> {
    let rows = client.query_typed(SERVER, &[]).await.map_err(|error| fault(&error))?;
    rows.first().map_or(Ok(()), check_shape)
}

fn check_shape(row: &Row) -> Result<(), StoreError> {
    let number: i64 = row.try_get(0).map_err(|error| fault(&error))?;
    if number < VERSION_MIN {
        return setting("server_version", text(row, 1)?, "14 or newer");
    }
    if text(row, 2)? != "UTF8" {
        let wanted = "UTF8: make the database with that encoding";
        return setting("server_encoding", text(row, 2)?, wanted);
    }
    Ok(())
}

fn text(row: &Row, column: usize) -> Result<String, StoreError> {
    row.try_get(column).map_err(|error| fault(&error))
}

fn setting(setting: &'static str, found: String, wanted: &str) -> Result<(), StoreError> {
    Err(StoreError::Setting { setting, found, wanted: wanted.to_owned() })
}

const SERVER: &str = "select current_setting('server_version_num')::int8,
    current_setting('server_version'), current_setting('server_encoding'),
    current_setting('fsync'), current_setting('full_page_writes'),
    (select reset_val from pg_settings where name = 'synchronous_commit'), pg_is_in_recovery()";

/// The oldest release that its makers still mend.
const VERSION_MIN: i64 = 140_000;
