//! What a member asks of the owner of a run: stops, and how anything is put to another member.

use quell_core::cluster::{AskedStop, RunMeant};
use quell_core::store::StoreError;
use quell_core::{CancelRequest, Disposition, limits};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::asked::{self, Put, Reply};
use crate::member::{Member, PAUSE, Waits};
use crate::readers::Query;
use crate::step::Value;

impl Member {
    /// Asks the owner of a run to stop it, and waits for the answer.
    pub(crate) async fn ask(
        &self,
        run: RunMeant,
        request: CancelRequest,
    ) -> Result<Disposition, StoreError> {
        let waits = Waits::new(self);
        let request = asked::words(&request, run.accepted_ms());
        let request = request.map_err(|error| StoreError::Io { what: error.to_string() })?;
        match self.put_on(|| self.put(waits.ask, run, &request)).await? {
            Put::Known(answer) => return Ok(answer),
            Put::Lost => return Err(self.seat.lost()),
            Put::Full(owner) => return Err(AskedStop::too_many(&owner)),
            Put::Waits => {}
        }
        let until = Instant::now() + limits::ASKED_STOP_WAIT;
        loop {
            let look_at = until.min(Instant::now() + self.pause());
            let _ = timeout_at(look_at, waits.woken.notified()).await;
            match self.in_time(self.reply(waits.ask)).await? {
                Reply::Answered(answer) => return Ok(answer),
                Reply::Gone => return Ok(Disposition::Unknown),
                Reply::Open { owner, lease_until } if Instant::now() >= until => {
                    return Ok(Disposition::Recorded { owner, lease_until });
                }
                Reply::Open { .. } => {}
            }
        }
    }

    /// Puts something to the owner of a run, and waits while that changes.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the database, or if the owner does not cease to change.
    pub(crate) async fn put_on<W>(&self, put: impl Fn() -> W) -> Result<Put, StoreError>
    where
        W: Future<Output = Result<Option<Put>, StoreError>>,
    {
        let until = Instant::now() + self.target.options.connect_timeout;
        loop {
            if let Some(put) = self.in_time(put()).await? {
                return Ok(put);
            }
            // Somebody takes it over in this moment, which may take long. No session waits for
            // that: there are others to be asked.
            if Instant::now() >= until {
                let what = "the node that has the run is being taken over from".into();
                return Err(StoreError::Unreachable { what });
            }
            sleep(PAUSE).await;
        }
    }

    async fn put(
        &self,
        ask: Uuid,
        run: RunMeant,
        request: &str,
    ) -> Result<Option<Put>, StoreError> {
        let most = [
            limits::ASKED_STOPS_WAITING_MAX,
            limits::ASKED_STOPS_MAX,
            limits::ASKED_STOPS_OF_OWNER_MAX,
        ];
        let most = most.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
        self.put_row(asked::PUT, (ask, run, request), most).await
    }

    pub(crate) async fn put_row(
        &self,
        sql: &str,
        (ask, run, text): (Uuid, RunMeant, &str),
        bounds: [i64; 3],
    ) -> Result<Option<Put>, StoreError> {
        let mut values = self.own();
        values.push(Box::new(run.id().as_uuid()));
        values.push(Box::new(ask));
        values.push(Box::new(text.to_owned()));
        values.push(Box::new(self.channel.clone()));
        values.extend(bounds.map(|bound| Box::new(bound) as Value<'static>));
        values.push(Box::new(run.accepted_ms().map(u64::cast_signed)));
        // A session is left for what others have asked for.
        let query = Query { sql: sql.to_owned(), values, is_list: true };
        let rows = self.sessions.rows(query).await?;
        rows.first().map_or(Ok(Some(Put::Known(Disposition::Unknown))), asked::put)
    }

    async fn reply(&self, ask: Uuid) -> Result<Reply, StoreError> {
        let rows = self.rows(asked::REPLY, vec![Box::new(ask)]).await?;
        rows.first().map_or(Ok(Reply::Gone), asked::reply)
    }
}
