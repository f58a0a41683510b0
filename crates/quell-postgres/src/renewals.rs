//! [`Renewals`]: the session on which a member extends its lease.
//!
//! It is for nothing else, so that a renewal waits for no other work, whatever that waits for. A
//! renewal has it to itself, and puts it back when it has its answer: the session of one that was
//! given up ends, and the next one has another, which may find a way that the former did not.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use quell_core::store::StoreError;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::fault::{fault, is_lost};
use crate::seat::Seat;
use crate::session::Target;

/// The way to a session on which the lease is extended.
pub(crate) struct Renewals {
    target: Arc<Target>,
    /// None while a renewal has it, and before the first one.
    client: Mutex<Option<Client>>,
}

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewals").finish_non_exhaustive()
    }
}

impl Renewals {
    /// Makes the way to a session. It is not opened yet.
    pub(crate) const fn new(target: Arc<Target>) -> Self {
        Self { target, client: Mutex::new(None) }
    }

    /// Has the lease of a seat end so many milliseconds from now on. `is_drained` says that nothing
    /// live that it has executes any more. Yields whether the seat is still there.
    ///
    /// # Errors
    ///
    /// Fails as the server or the way to it does.
    pub(crate) async fn extend(
        &self,
        seat: &Seat,
        lease_ms: i64,
        is_drained: bool,
    ) -> Result<bool, StoreError> {
        let term = (lease_ms, is_drained);
        let kept = self.client.lock().take();
        if let Some(client) = kept {
            match self.extend_on(client, seat, term).await {
                // It has died while nobody used it.
                Err(error) if is_lost(&error) => {}
                other => return other.map_err(|error| fault(&error)),
            }
        }
        let client = self.target.session().await?;
        self.extend_on(client, seat, term).await.map_err(|error| fault(&error))
    }

    async fn extend_on(
        &self,
        client: Client,
        seat: &Seat,
        (lease_ms, is_drained): (i64, bool),
    ) -> Result<bool, Error> {
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
            (&&*seat.name, Type::TEXT),
            (&seat.joined, Type::INT8),
            (&lease_ms, Type::INT8),
            (&is_drained, Type::BOOL),
        ];
        let rows = client.query_typed(RENEW, &values).await?;
        let former = self.client.lock().replace(client);
        drop(former);
        Ok(!rows.is_empty())
    }
}

const RENEW: &str = "update node set lease_until = now() + $3::int8 * interval '1 millisecond',
    drained = $4 where name = $1 and joined = $2 returning 1";
