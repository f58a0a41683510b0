//! [`StoredEvents`]: the events of a run that is only in the store, read in pages.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{Stream, unfold};
use quell::store::{ImpliedEvents, RunRecord, StoreError, Stored, Subtree};
use quell::{Engine, EventKind, RunEvent, limits};
use tokio::time::timeout;

use crate::lookup_error::LookupError;

/// The events of a stored run and its subtree, from the first one on: those that are stored, and at
/// the end those that follow from its record. What cannot be read is a gap.
#[derive(Debug)]
pub(crate) struct StoredEvents {
    engine: Engine,
    record: Arc<RunRecord>,
    /// Events before this one and it are read, and not told.
    after: u64,
    subtree: Subtree,
    implied: ImpliedEvents,
    /// The number of the last event that was read.
    read: u64,
    ready: VecDeque<RunEvent>,
    is_over: bool,
}

impl StoredEvents {
    /// Begins after the event with this number, for a run whose record was read before.
    pub(crate) fn new(engine: Engine, record: Arc<RunRecord>, after: u64) -> Self {
        let run = record.run();
        Self {
            engine,
            record,
            after,
            subtree: Subtree::new(run),
            implied: ImpliedEvents::new(run),
            read: 0,
            ready: VecDeque::new(),
            is_over: false,
        }
    }

    /// Reads until there is an event to tell, or no more.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store; a later call goes on.
    pub(crate) async fn fill(&mut self) -> Result<(), LookupError> {
        while self.ready.is_empty() && !self.is_over {
            let root = self.record.accepted.root;
            let events = read(self.engine.stored_events(root, self.read, PAGE)).await?;
            let before = self.read;
            for event in events {
                self.take(event);
            }
            if self.read == before {
                self.is_over = true;
                // The record is older than the events: of an end that it knows, the event was seen
                // if there is one.
                let missing = self.implied.missing(&self.record).into_iter();
                self.ready.extend(missing.filter(|event| event.seq > self.after));
            }
        }
        Ok(())
    }

    /// Reads the next event.
    pub(crate) async fn next(&mut self) -> Result<Option<RunEvent>, LookupError> {
        self.fill().await?;
        Ok(self.ready.pop_front())
    }

    fn take(&mut self, event: Stored<RunEvent>) {
        let event = event.unwrap_or_else(|unreadable| {
            let (root, seq) = (self.record.accepted.root, unreadable.seq.unwrap_or(self.read));
            tracing::warn!(%unreadable, "an event could not be read");
            let gap = EventKind::Lagged { from: seq, to: seq };
            RunEvent::new(0, root, root, self.record.accepted.at, gap)
        });
        let last = match event.kind {
            EventKind::Lagged { to, .. } => to,
            _ => event.seq,
        };
        self.read = self.read.max(last);
        self.implied.saw(&event);
        if self.subtree.has(&event) && last > self.after {
            self.ready.push_back(event);
        }
    }

    /// Yields the events. The stream ends early if the store fails: the client has no terminal
    /// event then, and asks again.
    pub(crate) fn into_stream(self: Box<Self>) -> impl Stream<Item = RunEvent> + Send + use<> {
        unfold(self, |mut events| async move {
            let event = events.next().await.ok()??;
            Some((event, events))
        })
    }
}

/// Reads of the store, and gives it up after a time.
pub(crate) async fn read<T>(
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, LookupError> {
    let Ok(read) = timeout(limits::STORE_WAIT, asked).await else {
        tracing::warn!("the store did not answer in time");
        return Err(LookupError::Unavailable);
    };
    Ok(read?)
}

/// Events of one read: each may have a quarter of a mebibyte, and each stream holds one page.
const PAGE: usize = 32;
