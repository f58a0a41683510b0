//! Acts: what members ask of each other beside stops. An act is taken by the owner of its run, or
//! withdrawn by whoever asks, each in one statement that locks its row: so never both.

use quell_core::cluster::{ActAnswer, RunMeant};
use quell_core::store::StoreError;
use quell_core::{Disposition, Payload, limits};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;

use crate::asked::{self, Put, column};
use crate::member::{Member, Waits};

impl Member {
    /// Asks the owner of a run for an act, and waits for what it says.
    pub(crate) async fn act(
        &self,
        run: RunMeant,
        words: &Payload,
    ) -> Result<ActAnswer, StoreError> {
        let waits = Waits::new(self);
        let owner = match self.put_on(|| self.put_act(&waits, run, words)).await? {
            Put::Known(Disposition::AlreadyTerminal { status }) => {
                return Ok(ActAnswer::Ended { status });
            }
            Put::Known(_) => return Ok(ActAnswer::Unknown),
            Put::Lost => return Err(self.seat.lost()),
            Put::Full(owner) => return Ok(ActAnswer::Lapsed { owner: owner.into() }),
            Put::Waits => self.owner(run.id()).await.ok().flatten().unwrap_or_default(),
        };
        let asked_at = Instant::now();
        if let Some(said) = self.said(&waits, asked_at + limits::ASKED_STOP_WAIT).await? {
            return Ok(said);
        }
        let rows = self.in_time(self.rows(asked::WITHDRAW, vec![Box::new(waits.ask)])).await?;
        if let Some(row) = rows.first() {
            return Ok(ActAnswer::Lapsed { owner: column::<String>(row, 0)?.into() });
        }
        if let Some(said) = self.said(&waits, asked_at + limits::ASKED_ACT_WAIT).await? {
            return Ok(said);
        }
        let rows = self.in_time(self.rows(asked::END, vec![Box::new(waits.ask)])).await?;
        let said = rows.first().map(said_in).transpose()?.flatten();
        Ok(said.unwrap_or(ActAnswer::Unanswered { owner }))
    }

    async fn put_act(
        &self,
        waits: &Waits<'_>,
        run: RunMeant,
        words: &Payload,
    ) -> Result<Option<Put>, StoreError> {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let until = (2 * limits::ASKED_STOP_WAIT).as_millis();
        let more = [
            number(limits::ASKED_ACTS_MAX),
            number(limits::ASKED_ACTS_BYTES_MAX),
            i64::try_from(until).unwrap_or(i64::MAX),
        ];
        self.put_row(asked::PUT_ACT, (waits.ask, run, words.as_json()), more).await
    }

    /// Waits until an act is answered, and takes it away then; yields none if it is not in time.
    async fn said(
        &self,
        waits: &Waits<'_>,
        until: Instant,
    ) -> Result<Option<ActAnswer>, StoreError> {
        while Instant::now() < until {
            let look_at = until.min(Instant::now() + self.pause());
            let _ = timeout_at(look_at, waits.woken.notified()).await;
            let rows = self.in_time(self.rows(asked::SAID, vec![Box::new(waits.ask)])).await?;
            if let Some(said) = rows.first().map(said_in).transpose()?.flatten() {
                // Else it leaves by its age.
                drop(self.in_time(self.rows(asked::END, vec![Box::new(waits.ask)])).await);
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// Takes an act that was asked of this member.
    pub(crate) async fn take(&self, act: u64) -> Result<bool, StoreError> {
        let mut values = self.own();
        values.push(Box::new(act.cast_signed()));
        Ok(!self.rows(asked::TAKE, values).await?.is_empty())
    }
}

/// Reads what the owner has said, if it has.
fn said_in(row: &Row) -> Result<Option<ActAnswer>, StoreError> {
    let Some(text) = column::<Option<&str>>(row, 0)? else { return Ok(None) };
    let said = Payload::from_json_text(text);
    let said = said.map_err(|error| StoreError::Io { what: error.to_string() })?;
    Ok(Some(ActAnswer::Said(said)))
}
