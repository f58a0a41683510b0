//! [`View::events`]: the log of a run, in memory or only in the store, from its first event on.

use std::future::ready;
use std::time::Duration;

use futures::future::Either;
use futures::stream::{Stream, StreamExt as _, unfold};
use quell::store::RunRecord;
use quell::{EventKind, RunEvent, RunRef, limits};
use tokio::time::{sleep, timeout};

use crate::before_events::{Before, with_stored, with_stored_by_now};
use crate::events::{answered, events_by_now};
use crate::lookup_error::LookupError;
use crate::lost::{is_loss, is_lost};
use crate::run_view::{RunView, StoredRun};
use crate::service::view::View;
use crate::stored_events::{StoredEvents, read};

impl View {
    /// As [`View::events`], from the first one on: those that are there by now, also if another
    /// node has the run. One of a run that is only in the store and that ends early has met trouble
    /// of the store.
    pub fn events_by_now<R: Into<RunView>>(
        &self,
        run: R,
    ) -> impl Stream<Item = RunEvent> + Send + use<R> {
        let engine = self.service().engine();
        match run.into() {
            RunView::Live(run) => Either::Left(with_stored_by_now(engine, &run)),
            RunView::Stored(run) => {
                let record = run.record().clone().into();
                let events = Box::new(StoredEvents::new(engine.clone(), record, 0));
                Either::Right(events.into_stream())
            }
        }
    }

    /// Reads the events of a run after the one with this number that are there by now, and gives
    /// them away one by one, for as long as they are taken. Those that are taken are told under
    /// these numbers from then on: if there is a store, it has them.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or does not take the events in time.
    pub(crate) async fn read_log(
        &self,
        run: &RunView,
        after: u64,
        mut take: impl FnMut(&RunEvent) -> bool + Send,
    ) -> Result<(), LookupError> {
        let engine = self.service().engine();
        let run = match run {
            RunView::Live(run) => run,
            RunView::Stored(stored) => {
                let record = stored.record().clone().into();
                let mut events = Box::new(StoredEvents::new(engine.clone(), record, after));
                while let Some(event) = events.next().await?
                    && take(&event)
                {}
                return Ok(());
            }
        };
        let mut is_any = false;
        for event in events_by_now(run, after) {
            // Also between: the log in memory has gone on while the store was read.
            let Some(before) = Before::of_live_gap(engine, run, &event) else {
                if !take(&event) {
                    break;
                }
                is_any = true;
                continue;
            };
            let mut before = Box::new(before);
            while let Some(event) = before.next_patiently().await {
                let is_gap = matches!(event.kind, EventKind::Lagged { .. });
                if is_gap && !self.is_gone_for_good(&event).await {
                    // The store has not got it yet.
                    return Err(LookupError::Unavailable);
                }
                if !take(&event) {
                    return Ok(());
                }
            }
        }
        let is_kept = !is_any || !engine.has_store() || Box::pin(stored_up_to(run)).await.is_some();
        if is_kept { Ok(()) } else { Err(LookupError::Unavailable) }
    }

    /// Yields the number of the last of them, or zero: behind it comes what is new.
    pub async fn last_seq_by_now(&self, run: impl Into<RunView>) -> u64 {
        match run.into() {
            // The gap at its beginning has a last number, too.
            RunView::Live(run) => {
                events_by_now(&run, 0).map(|event| event.last_seq()).max().unwrap_or(0)
            }
            run @ RunView::Stored(_) => {
                let events = self.events_by_now(run);
                events.fold(0, |last: u64, event| ready(last.max(event.last_seq()))).await
            }
        }
    }

    /// As [`answered`], as far as the log tells by now. A run that was never in another attempt
    /// than the first is not looked through.
    pub async fn answered_by_now(&self, run: impl Into<RunView>) -> u32 {
        let run = run.into();
        let known = match &run {
            RunView::Stored(run) => run.answered(),
            RunView::Live(run) => (run.attempt() <= 1).then_some(1),
        };
        if let Some(attempt) = known {
            return attempt;
        }
        let events = self.events_by_now(run);
        events.fold(1, |last: u32, event| ready(last.max(answered([event])))).await
    }

    /// Tells whether the store, if there is one, will not have what a reader was told to be gone:
    /// each later reader is told the same then. False also if it cannot say.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn is_gone_for_good(&self, gap: &RunEvent) -> bool {
        let engine = self.service().engine();
        let EventKind::Lagged { from, .. } = gap.kind else { return false };
        if !engine.has_store() {
            return true;
        }
        match read(engine.stored_events(gap.root, from.saturating_sub(1), 1)).await {
            Ok(events) => events.into_iter().next().is_some_and(|next| {
                // What comes before that and is missing will not come.
                next.map_or(true, |next| next.seq != from)
            }),
            Err(error) => matches!(error, LookupError::Unreadable(_)),
        }
    }

    /// Reads the events of a run after the one with this `seq`, for a client: of one that is only
    /// in the store those that are stored, of a live root those of an earlier process as well, and
    /// those that the log in memory has no more when the reader comes to them: for one that the
    /// store has not got it waits 30 s, and then tells of a gap. Of
    /// one that another node has they are followed to its end, from the store: the node tells when
    /// there is something new, and each such stream reads twice a second besides. Where nobody
    /// tells ([`quell::cluster::LogWatch`]) it is up to 250 ms late, and reads 5 times a second
    /// while nothing happens, and up to 100 times while something does. Dropped, it does not. It
    /// goes on while the store is in trouble, and ends without an end if the run is forgotten
    /// meanwhile, or the engine is shut down.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn events(
        &self,
        run: &RunView,
        after: u64,
    ) -> Result<impl Stream<Item = RunEvent> + Send + use<>, LookupError> {
        match run {
            RunView::Live(run) => {
                Ok(Either::Left(with_stored(self.service().engine().clone(), run, after)))
            }
            RunView::Stored(stored) => {
                let (engine, record) = (self.service().engine().clone(), stored.record().clone());
                let events = StoredEvents::new(engine, record.into(), after).following();
                let mut events = Box::new(events);
                // Before the answer begins: a store that fails is refused as such.
                Box::pin(events.turn()).await?;
                Ok(Either::Right(events.into_stream()))
            }
        }
    }

    /// As [`events`](Self::events), of a run in memory each when the store has it, if there is one:
    /// for a client that comes back with the number of an event. What another process tells under a
    /// number is then what the client was told. While the store is in trouble nothing is told:
    /// after 30 s ([`limits::STORE_ANSWER_WAIT`]), or if this engine stores nothing any more, the
    /// stream ends, and the client comes back.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn kept_events(
        &self,
        run: &RunView,
        after: u64,
    ) -> Result<impl Stream<Item = RunEvent> + Send + use<>, LookupError> {
        let events = Box::pin(self.events(run, after).await?);
        let here = run.live().filter(|_| self.service().engine().has_store()).cloned();
        Ok(unfold((events, here, 0), async |(mut events, here, mut last)| {
            let event = events.next().await?;
            if let Some(run) = here.as_ref().filter(|_| event.last_seq() > last) {
                last = stored_up_to(run).await?;
            }
            Some((event, (events, here, last)))
        }))
    }
}

/// Waits until the store has the events of a run by now, and yields the number of the last one;
/// none if it will not have them, or has not for half a minute.
async fn stored_up_to(run: &RunRef) -> Option<u64> {
    let stored = async {
        loop {
            match run.events_stored().await {
                Ok(last) => return Some(last).filter(|_| !is_lost(run)),
                Err(error) if is_loss(&error) => return None,
                Err(_) => sleep(TROUBLE_REST).await,
            }
        }
    };
    timeout(limits::STORE_ANSWER_WAIT, stored).await.ok().flatten()
}

/// The pause between two tries to store what is told, while the store is in trouble.
const TROUBLE_REST: Duration = Duration::from_millis(100);

impl StoredRun {
    /// As [`answered`](crate::answered), as far as its record tells. None if only its log does.
    pub fn answered(&self) -> Option<u32> {
        answered_in(self.record())
    }
}

/// As [`StoredRun::answered`].
pub(super) fn answered_in(record: &RunRecord) -> Option<u32> {
    // The event of the answer may come behind it.
    (record.attempt <= 1 || record.is_answered()).then_some(record.attempt.max(1))
}
