//! [`session`]: a session that the server gives to nobody else.
//!
//! A pooler that lends a session of the server for each transaction would lend the locks of a store
//! to others, so that two processes had one name, and its settings to strangers. So this looks
//! before anything is set or taken.

use quell_core::store::StoreError;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::fault::fault;
use crate::session::Target;

/// Opens the first session of a store.
///
/// # Errors
///
/// Fails as [`Target::session`], or if a pooler shares the sessions of the server.
pub(crate) async fn session(target: &Target) -> Result<Client, StoreError> {
    let (client, other) = (target.bare_session().await?, target.bare_session().await?);
    let looked = timeout(target.options.connect_timeout, is_shared(&client, &other)).await;
    let late = |_| StoreError::Unreachable { what: target.address.words() };
    if looked.map_err(late)?? {
        return Err(StoreError::Setting {
            setting: "pool_mode",
            found: "transaction or statement: a pooler shares the sessions of the server".into(),
            wanted: "session; or give the address of the database itself".into(),
        });
    }
    target.set(&client).await.map_err(|error| fault(&error))?;
    Ok(client)
}

/// Tells whether a session is served by one process of the server after the other, or by one that
/// serves another session as well.
///
/// What a pooler lends depends on who else asks for it in that moment, so this looks several times,
/// also while the other one has a transaction.
async fn is_shared(client: &Client, other: &Client) -> Result<bool, StoreError> {
    let (own, others) = (pid_of(client).await?, pid_of(other).await?);
    for _ in 0..LOOKS {
        if own == others || pid_of(client).await? != own || pid_of(other).await? != others {
            return Ok(true);
        }
        other.batch_execute("begin").await.map_err(|error| fault(&error))?;
        let within = (pid_of(other).await?, pid_of(client).await?);
        other.batch_execute("rollback").await.map_err(|error| fault(&error))?;
        if within != (others, own) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Yields the process of the server that serves a session.
pub(crate) async fn pid_of(client: &Client) -> Result<i32, StoreError> {
    let row = client.query_typed_one("select pg_backend_pid()", &[]).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| fault(&error))
}

/// How often it looks.
const LOOKS: usize = 4;
