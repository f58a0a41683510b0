//! What a thread holds, and is charged for: its values, those of its ended runs, and those on which
//! runs have started.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quell::{Engine, RunId};
use quell_http::{Ledger, Overdrawn};

use crate::threads::thread::{State, Thread};
use crate::threads::tracked::Tracked;
use crate::values::{Values, bytes_of};

impl Thread {
    /// Yields what its values take, those of its ended runs, and those on which runs have started,
    /// or to which it goes back without them.
    pub(crate) fn held(&self, engine: &Engine) -> usize {
        let mut state = self.state.lock();
        state.settle(engine);
        state.held()
    }

    /// Charges to its owner what it holds by now.
    ///
    /// # Errors
    ///
    /// Fails if there is no room; what was charged before stays charged.
    pub(crate) fn hold(&self, engine: &Engine, kept: &Ledger) -> Result<(), Overdrawn> {
        let held = self.held(engine);
        let mut charge = self.values_charge.lock();
        if let Some(charge) = &mut *charge {
            charge.shrink_to(held);
            return charge.grow(held.saturating_sub(charge.bytes()));
        }
        let owner = self.owner.as_deref().map(Arc::from);
        *charge = Some(kept.charge(owner.as_ref(), held)?);
        Ok(())
    }

    /// Takes an ended run out to make room, and gives back what is charged beyond what there is
    /// then. Yields how much less that is: the run behind it may hold what it has left.
    pub(crate) fn evict(&self, engine: &Engine, run: RunId) -> usize {
        let before = self.held(engine);
        self.remove(run);
        let held = self.held(engine);
        if let Some(charge) = &mut *self.values_charge.lock() {
            charge.shrink_to(held);
        }
        before.saturating_sub(held)
    }

    /// Tells whether something is charged for its values.
    pub(crate) fn is_charged(&self) -> bool {
        self.values_charge.lock().as_ref().is_some_and(|charge| charge.bytes() > 0)
    }

    /// Gives back what is charged for its values.
    pub(crate) fn give_back(&self) {
        drop(self.values_charge.lock().take());
    }
}

impl State {
    fn held(&self) -> usize {
        let is_in = |all: &[Option<Arc<Values>>], one: &Arc<Values>| {
            all.iter().flatten().any(|it| Arc::ptr_eq(it, one))
        };
        let (here, mut sum) = ([self.values.clone()], self.values_bytes);
        let mut before = [None, None, None];
        for tracked in self.ended.iter().chain(&self.live) {
            sum += tracked.left_bytes.load(Ordering::SeqCst);
            let holds = tracked.holds();
            // Mostly a run has started on what the one before it has left, and holds that with it.
            for (nth, values) in holds.iter().enumerate().skip(1) {
                if let Some(values) = values
                    && !is_in(&here, values)
                    && !is_in(&before, values)
                    && !is_in(&holds[..nth], values)
                {
                    sum += bytes_of(values);
                }
            }
            // One that never started is between none.
            if holds.iter().any(Option::is_some) {
                before = holds;
            }
        }
        sum
    }
}

impl Tracked {
    /// Yields the values that it holds: its own, those on which it has started, and those to which
    /// its thread goes back without it.
    fn holds(&self) -> [Option<Arc<Values>>; 3] {
        let own = self.fold.lock().current().cloned();
        let ground = self.ground.get().and_then(|ground| ground.values.clone());
        let back = self.back.lock().as_ref().and_then(|back| back.values.clone());
        [own, ground, back]
    }
}

#[cfg(test)]
mod tests {
    use quell::{CancelRequest, OnBusy, Payload, RunRef, RunSpec};
    use quell_http::whole_millis;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::threads::{Threads, within};
    use crate::wire::exact::Keys;

    /// Has a run leave a text of this length under the one key of a thread.
    async fn left(engine: &Engine, thread: &Thread, length: usize) -> (RunRef, Arc<Tracked>) {
        let input = Payload::from(json!({ "text": "x".repeat(length) }));
        let spec = RunSpec::agent("r").input(input);
        let run = engine.submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
        run.quiescent().await;
        let tracked = Arc::new(Tracked::of(&(&run).into(), within(thread.id)));
        assert!(thread.add(&tracked));
        let ended = thread.ended(engine);
        assert_eq!(ended.last().map(|last| last.id), Some(run.id()));
        (run, tracked)
    }

    const LARGE: usize = 20_000;

    #[tokio::test]
    async fn on_what_a_run_has_started_counts_once_and_also_when_the_run_before_it_has_left() {
        let (engine, threads) = (Engine::new(), Threads::default());
        let thread = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
        let thread = threads.add(&engine, thread).unwrap().unwrap();
        let (first, _) = left(&engine, &thread, LARGE).await;
        left(&engine, &thread, 1).await;
        let both = thread.held(&engine);
        assert!((LARGE..LARGE + 200).contains(&both), "{both}");
        // It has made room, and the next one holds what it left.
        thread.remove(first.id());
        let one = thread.held(&engine);
        assert!((LARGE..LARGE + 200).contains(&one), "{one}");
        // To make room for as much, that one leaves as well.
        threads.evict(&engine, None, LARGE / 2);
        let none = thread.held(&engine);
        assert!(none < 200, "{none}");
    }

    #[tokio::test]
    async fn a_run_that_never_started_has_nothing_count_twice() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        left(&engine, &thread, LARGE).await;
        let body = async |_ctx| std::future::pending::<Result<(), quell::Failure>>().await;
        let spec = || RunSpec::agent("r").lane("one", OnBusy::Enqueue);
        let busy = engine.submit(spec(), body).unwrap();
        let never = engine.submit(spec(), async |_ctx| Ok(())).unwrap().into_ref();
        let tracked = Arc::new(Tracked::of(&(&never).into(), within(id)));
        assert!(thread.add(&tracked));
        never.cancel(CancelRequest::because("no"));
        never.quiescent().await;
        assert!(never.row().started_at.is_none());
        left(&engine, &thread, 1).await;
        assert_eq!(thread.ended(&engine).len(), 3);
        let held = thread.held(&engine);
        assert!((LARGE..LARGE + 200).contains(&held), "{held}");
        drop(busy);
    }

    #[tokio::test]
    async fn what_a_live_run_has_started_on_counts_when_that_is_deleted() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let (first, known) = left(&engine, &thread, LARGE).await;
        let body = async |_ctx| std::future::pending::<Result<(), quell::Failure>>().await;
        let live = engine.submit(RunSpec::agent("r"), body).unwrap().into_ref();
        let tracked = Arc::new(Tracked::of(&(&live).into(), within(id)));
        assert!(thread.add(&tracked));
        thread.starts(&engine, &tracked, &live);
        let before = thread.held(&engine);
        first.forget().unwrap();
        thread.undo(&engine, first.id(), Some(known));
        assert_eq!(thread.values(&engine), None);
        let after = thread.held(&engine);
        assert!((LARGE..before).contains(&after), "{after} of {before}");
    }

    #[tokio::test]
    async fn what_an_earlier_run_has_left_counts_behind_a_later_one_of_another_node() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let (run, tracked) = left(&engine, &thread, LARGE).await;
        let mut state = thread.state.lock();
        let later = crate::threads::Mark::new(whole_millis(std::time::SystemTime::now()), run.id());
        (state.wrote, state.left) = (Some(later), Some(later));
        tracked.left_bytes.store(0, Ordering::SeqCst);
        let fold = tracked.fold.lock();
        let mut row = run.row();
        row.ended_at = Some(std::time::UNIX_EPOCH);
        state.leave((&tracked, &row), &fold, false);
        assert!(tracked.left_bytes.load(Ordering::SeqCst) > LARGE);
    }
}
