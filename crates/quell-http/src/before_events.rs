//! [`with_stored`]: the events of a live root, with those from the store that its log has no more,
//! or never had: an earlier process wrote them. [`Before`] is what comes before a part of the log
//! in memory.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use futures::future::Either;
use futures::stream::{self, Stream, StreamExt, unfold};
use quell::{Engine, EventKind, RunEvent, RunRef, limits};
use tokio::time::Instant;

use crate::events::{RunEvents, events_by_now};
use crate::lookup_error::LookupError;
use crate::pace::Pace;
use crate::stored_events::{FIRST_PAUSE, PAGE, is_anothers, read};

/// Reads the events of a live run after the one with this number. A gap is read from the store, if
/// the run is a root and there is one: at the beginning, and wherever the reader is slower than the
/// log. What the store has not got after [`LATE_MAX`] stays a gap.
pub(crate) fn with_stored(
    engine: Engine,
    run: &RunRef,
    after: u64,
) -> impl Stream<Item = RunEvent> + Send + use<> {
    let (is_stored, began) = (is_stored(&engine, run), run.row().queued_at);
    let events = RunEvents::new(engine.clone(), run, after);
    unfold((events, None::<Box<Before>>), move |(mut events, mut before)| {
        let engine = engine.clone();
        async move {
            loop {
                if let Some(gap) = &mut before
                    // On the heap: most readers are as fast as the log.
                    && let Some(event) = Box::pin(gap.next_patiently()).await
                {
                    return Some((event, (events, before)));
                }
                let event = events.next().await?;
                before = Before::of_gap(&engine, &event, began).filter(|_| is_stored).map(Box::new);
                if before.is_none() {
                    return Some((event, (events, before)));
                }
            }
        }
    })
}

/// As [`with_stored`], those that are there by now.
pub(crate) fn with_stored_by_now(
    engine: &Engine,
    run: &RunRef,
) -> impl Stream<Item = RunEvent> + Send + use<> {
    let (engine, run) = (engine.clone(), run.clone());
    stream::iter(events_by_now(&run, 0)).flat_map(move |event| {
        // Also between: the log in memory goes on while the store is read.
        match Before::of_live_gap(&engine, &run, &event) {
            Some(before) => Either::Left(before.into_stream()),
            None => Either::Right(stream::iter([event])),
        }
    })
}

/// The events of a gap at the beginning of a log in memory, as they are stored.
pub(crate) struct Before {
    engine: Engine,
    /// As a reader is told of it.
    gap: RunEvent,
    /// When the root was accepted. It may be forgotten meanwhile, and its id used again.
    began: SystemTime,
    /// The number of the last event that was read.
    at: u64,
    to: u64,
    ready: VecDeque<RunEvent>,
}

impl Before {
    /// Yields what the log of a run has no more of the events after the one with this number, or
    /// never had. None if that is nothing, if the run is no root, or if there is no store.
    pub(crate) fn of(engine: &Engine, run: &RunRef, after: u64) -> Option<Self> {
        Self::of_live_gap(engine, run, &events_by_now(run, after).next()?)
    }

    /// As [`Before::of_gap`], of the log of a run in memory; none as well if the run is no root, or
    /// if there is no store.
    pub(crate) fn of_live_gap(engine: &Engine, run: &RunRef, gap: &RunEvent) -> Option<Self> {
        if !is_stored(engine, run) {
            return None;
        }
        Self::of_gap(engine, gap, run.row().queued_at)
    }

    /// Yields what a reader is told to be gone, if that is what this event tells.
    pub(crate) fn of_gap(engine: &Engine, gap: &RunEvent, began: SystemTime) -> Option<Self> {
        let EventKind::Lagged { from, to } = gap.kind else { return None };
        let (engine, at) = (engine.clone(), from.saturating_sub(1));
        Some(Self { engine, gap: gap.clone(), began, at, to, ready: VecDeque::new() })
    }

    /// Yields its events, as far as they are stored by now. What cannot be read stays a gap.
    fn into_stream(self) -> impl Stream<Item = RunEvent> + Send {
        unfold(self, |mut before| async move {
            let event = before.next().await?;
            Some((event, before))
        })
    }

    async fn next(&mut self) -> Option<RunEvent> {
        if let Ok(event) = self.try_next().await {
            return event;
        }
        self.leave_out(self.to);
        self.ready.pop_front()
    }

    /// Reads the next event, and waits for a store that is in trouble, or has not got it yet.
    pub(crate) async fn next_patiently(&mut self) -> Option<RunEvent> {
        let (mut pace, since) = (Pace::new(FIRST_PAUSE), Instant::now());
        while self.ready.is_empty() && self.at < self.to {
            match self.fill().await {
                Ok(true) => {}
                Err(LookupError::Unreadable(_)) => self.leave_out(self.to),
                _ if since.elapsed() >= LATE_MAX => self.leave_out(self.to),
                Ok(false) => pace.rest().await,
                Err(LookupError::Unavailable) => pace.rest_in_trouble().await,
            }
        }
        self.ready.pop_front()
    }

    /// Reads the next event.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store; a later call goes on.
    pub(crate) async fn try_next(&mut self) -> Result<Option<RunEvent>, LookupError> {
        if self.ready.is_empty() && self.at < self.to && !self.fill().await? {
            self.leave_out(self.to);
        }
        Ok(self.ready.pop_front())
    }

    /// Reads a page. Tells whether the store has anything behind the last event that was read: what
    /// comes before that and is missing will not come.
    async fn fill(&mut self) -> Result<bool, LookupError> {
        let root = self.gap.root;
        let events = read(self.engine.stored_events(root, self.at, PAGE)).await?;
        if events.is_empty() {
            return Ok(false);
        }
        if is_anothers(&self.engine, root, self.began).await? {
            self.leave_out(self.to);
            return Ok(true);
        }
        for event in events {
            match event {
                // The live log goes on behind the gap.
                Ok(event) if event.seq > self.to => break,
                Ok(event) => self.take(event),
                Err(unreadable) => tracing::warn!(%unreadable, "an event could not be read"),
            }
        }
        if self.ready.is_empty() {
            self.leave_out(self.to);
        }
        Ok(true)
    }

    fn take(&mut self, event: RunEvent) {
        // A gap that is stored has no number of its own, and may reach behind this one.
        if let EventKind::Lagged { to, .. } = event.kind {
            return self.leave_out(to.min(self.to));
        }
        self.leave_out(event.seq.saturating_sub(1));
        self.at = event.seq;
        self.ready.push_back(event);
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

/// Tells whether the store has the log of a run: that of a root.
fn is_stored(engine: &Engine, run: &RunRef) -> bool {
    engine.has_store() && run.root().id() == run.id()
}

/// How long a reader waits for an event that the store has not got, or does not yield: as long as
/// the engine waits for the store to take it.
const LATE_MAX: Duration = limits::STORE_ANSWER_WAIT;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use quell::store::{Accepted, Epoch, MemoryStore, Record, Store};
    use quell::{EngineConfig, Limits, RunContext, RunId, RunKind, RunSpec};
    use quell_flow::Catalog;
    use tokio::runtime::Handle;
    use tokio::sync::Semaphore;
    use tokio::task::block_in_place;

    use super::*;
    use crate::{NATIVE, Principal, Service};

    /// Reads events up to a number of which the store has those that are not in these gaps. Yields
    /// the numbers that are told, of a gap the first and the last one.
    async fn told(to: u64, gaps: &[(u64, u64)]) -> Vec<(u64, u64)> {
        told_of(SystemTime::UNIX_EPOCH, to, gaps).await
    }

    /// As [`told`], of a run that was accepted at this instant; the stored one was at the epoch.
    async fn told_of(began: SystemTime, to: u64, gaps: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let (root, at, epoch) = (RunId::from_text("run"), SystemTime::UNIX_EPOCH, Epoch::new(1, 1));
        let event = |seq, kind| RunEvent::new(seq, root, root, at, kind);
        let accepted = Accepted::new(root, RunKind::Agent, "run".into(), epoch, at);
        let store = Arc::new(MemoryStore::new());
        store.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
        let mut next = 1;
        for &(from, to) in gaps.iter().chain(&[(to + 9, to + 9)]) {
            for seq in next..from {
                let event = event(seq, EventKind::Started);
                store.append(vec![Record::Event { epoch, event }]).await.unwrap();
            }
            let event = event(0, EventKind::Lagged { from, to });
            store.append(vec![Record::Event { epoch, event }]).await.unwrap();
            next = to + 1;
        }
        let engine = Engine::with_config(EngineConfig::new().store(store as Arc<dyn Store>));
        let gap = event(0, EventKind::Lagged { from: 1, to });
        let mut before = Before { engine, gap, began, at: 0, to, ready: VecDeque::new() };
        let mut told = Vec::new();
        // More would be one that is told twice.
        while told.len() <= 100
            && let Some(event) = before.next().await
        {
            told.push(match event.kind {
                EventKind::Lagged { from, to } => (from, to),
                _ => (event.seq, event.seq),
            });
        }
        told
    }

    /// A run that says 200 words each of three times that it is told to; its log has 64 of them.
    fn talker() -> (Engine, RunRef, impl AsyncFn()) {
        let limits = Limits::default().events_per_root_max(64);
        let config = EngineConfig::new().store(Arc::new(MemoryStore::new())).limits(limits);
        let engine = Engine::with_config(config);
        let (gate, said) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (opens, says) = (Arc::clone(&gate), Arc::clone(&said));
        let body = async move |ctx: RunContext| {
            for burst in 0..3 {
                gate.acquire().await.unwrap().forget();
                // Nobody reads meanwhile.
                (0..200).for_each(|word| _ = ctx.emit(format!("{burst} {word}")));
                says.add_permits(1);
            }
            Ok(())
        };
        let run = engine.submit(RunSpec::agent("talker"), body).unwrap().into_ref();
        let speaks = async move || {
            opens.add_permits(1);
            said.acquire().await.unwrap().forget();
        };
        (engine, run, speaks)
    }

    #[tokio::test]
    async fn whoever_is_slower_than_the_log_reads_what_it_has_no_more_from_the_store() {
        let (engine, run, speaks) = talker();
        let mut events = Box::pin(with_stored(engine, &run, 0));
        let mut told = Vec::new();
        for _ in 0..3 {
            speaks().await;
            told.push(events.next().await.unwrap());
        }
        told.extend(events.collect::<Vec<_>>().await);
        let numbers: Vec<_> = told.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=603).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_the_log_drops_while_a_reader_reads_the_store_is_read_there_as_well() {
        let (engine, run, speaks) = talker();
        speaks().await;
        run.events_stored().await.unwrap();
        let mut events = Box::pin(with_stored_by_now(&engine, &run));
        let mut told = vec![events.next().await.unwrap()];
        speaks().await;
        run.events_stored().await.unwrap();
        told.extend(events.collect::<Vec<_>>().await);
        let numbers: Vec<_> = told.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=402).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_page_of_a_log_has_what_the_log_drops_while_it_is_made() {
        let (engine, run, speaks) = talker();
        speaks().await;
        let service = Service::new(engine, Catalog::new());
        let view = service.view(NATIVE, Principal::anonymous());
        let mut told = Vec::new();
        let take = |event: &RunEvent| {
            if told.is_empty() {
                block_in_place(|| Handle::current().block_on(speaks()));
            }
            told.push(event.seq);
            true
        };
        view.read_log(&(&run).into(), 0, take).await.unwrap();
        assert_eq!(told, (1..=402).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn of_another_run_that_has_the_id_by_now_nothing_is_told() {
        assert_eq!(told_of(SystemTime::UNIX_EPOCH, 3, &[]).await, [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(told_of(SystemTime::now(), 3, &[]).await, [(1, 3)]);
    }

    #[tokio::test]
    async fn i30_a_gap_that_is_stored_is_told_once_wherever_a_page_ends() {
        let page = PAGE as u64;
        for gap in [(1, 4), (7, 9), (page, page + 8), (page + 1, page + 1), (60, 64), (60, 90)] {
            let told = told(64, &[gap]).await;
            let numbers: Vec<_> = told.iter().flat_map(|(from, to)| *from..=*to).collect();
            assert_eq!(numbers, (1..=64).collect::<Vec<_>>(), "{gap:?}: {told:?}");
            let clipped = (gap.0, gap.1.min(64));
            assert!(told.contains(&clipped), "{gap:?}: {told:?}");
        }
    }
}
