//! [`with_stored`]: the events of a live root, with those from the store that its log has no more,
//! or never had: an earlier process wrote them.

use std::collections::VecDeque;

use futures::stream::{Stream, StreamExt, unfold};
use futures::{FutureExt, future::Either};
use quell::{Engine, EventKind, RunEvent, RunRef};

use crate::events::RunEvents;
use crate::stored_events::{PAGE, read};

/// Reads the events of a live run after the one with this number. A gap at the beginning is read
/// from the store, if the run is a root and there is one; what is not stored stays a gap.
pub(crate) fn with_stored(
    engine: Engine,
    run: &RunRef,
    after: u64,
) -> impl Stream<Item = RunEvent> + Send + use<> {
    let mut live = RunEvents::new(engine.clone(), run, after);
    let is_filled = engine.has_store() && run.root().id() == run.id();
    let first = if is_filled { live.next().now_or_never().flatten() } else { None };
    let filled = match first {
        Some(gap) => match gap.kind {
            EventKind::Lagged { from, to } => {
                let at = from.saturating_sub(1);
                let before = Before { engine, gap, at, to, ready: VecDeque::new() };
                Either::Left(unfold(before, |mut before| async move {
                    let event = before.next().await?;
                    Some((event, before))
                }))
            }
            _ => Either::Right(futures::stream::iter([gap])),
        },
        None => return Either::Left(live),
    };
    Either::Right(filled.chain(live))
}

/// The events of a gap, as they are stored.
struct Before {
    engine: Engine,
    /// As a reader is told of it.
    gap: RunEvent,
    /// The number of the last event that was read.
    at: u64,
    to: u64,
    ready: VecDeque<RunEvent>,
}

impl Before {
    async fn next(&mut self) -> Option<RunEvent> {
        if self.ready.is_empty() && self.at < self.to {
            self.fill().await;
        }
        self.ready.pop_front()
    }

    async fn fill(&mut self) {
        let root = self.gap.root;
        let page = read(self.engine.stored_events(root, self.at, PAGE)).await.unwrap_or_default();
        for event in page {
            match event {
                // The live log goes on behind the gap.
                Ok(event) if event.seq > self.to => break,
                Ok(event) => {
                    self.leave_out(event.seq.saturating_sub(1));
                    self.at = event.seq;
                    self.ready.push_back(event);
                }
                Err(unreadable) => tracing::warn!(%unreadable, "an event could not be read"),
            }
        }
        if self.ready.is_empty() {
            self.leave_out(self.to);
        }
    }

    /// Tells of a gap up to an event, unless there is none.
    fn leave_out(&mut self, to: u64) {
        if self.at < to {
            let kind = EventKind::Lagged { from: self.at + 1, to };
            let RunEvent { root, run, at, .. } = self.gap;
            self.ready.push_back(RunEvent::new(0, root, run, at, kind));
            self.at = to;
        }
    }
}
