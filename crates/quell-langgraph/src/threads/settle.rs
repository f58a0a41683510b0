//! [`State::settle`]: takes in what the runs of a thread have left that have ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use futures::FutureExt as _;
use quell::{Engine, RunRef, RunRow, limits};
use quell_http::whole_millis;

use crate::threads::elsewhere::Mark;
use crate::threads::thread::State;
use crate::threads::tracked::Tracked;
use crate::values::{Fold, Values, bytes_of};
use crate::wire::asked::row_in_thread;
use crate::wire::rows::thread_error;

impl State {
    /// Takes in what the runs that have ended since left, in the order in which they ended.
    pub(super) fn settle(&mut self, engine: &Engine) {
        let look = |tracked: &Arc<Tracked>| {
            let run = tracked.run(engine)?;
            // One that the store refuses is none of the thread, and it may do so yet.
            run.accepted().now_or_never()?.ok()?;
            let row = row_in_thread(&(&run).into());
            row.status.is_terminal().then_some((Arc::clone(tracked), run, row))
        };
        // Also those whose request has yet to note that they were made: the engine has had them
        // since, and one that was made long before may start behind them now.
        let mut over: Vec<_> = self.live.iter().filter_map(look).collect();
        over.sort_by_key(|(_, _, row)| row.ended_at);
        // Of one that has started it has to be known on what, and what it has said elsewhere, and
        // those behind it start on that.
        let is_known = |over: &(Arc<Tracked>, RunRef, RunRow)| {
            !over.0.awaits_start() || over.2.started_at.is_none() || over.1.is_rolled_back()
        };
        for (tracked, run, row) in over.into_iter().take_while(is_known) {
            tracked.catch_up(&run, self.here());
            self.close(&tracked, &run, &row);
        }
        // Runs that the engine has forgotten are not listed either.
        let live = self.live.extract_if(.., |one| one.has_begun() && one.run(engine).is_none());
        let mut gone: Vec<_> = live.collect();
        while self.ended.len() > ENDED_PER_THREAD_MAX
            || self.ended.front().is_some_and(|oldest| oldest.run(engine).is_none())
        {
            gone.extend(self.ended.pop_front());
        }
        for tracked in &gone {
            self.let_go(tracked);
        }
    }

    fn close(&mut self, tracked: &Arc<Tracked>, run: &RunRef, row: &RunRow) {
        self.live.retain(|one| one.id != tracked.id);
        self.ended.push_back(Arc::clone(tracked));
        let mut fold = tracked.fold.lock();
        tracked.finish(tracked.service.as_ref(), &mut fold, run, row.output.as_ref());
        if !run.is_rolled_back() {
            self.leave((tracked, row), &fold, true);
        }
    }

    /// Takes in what a run left that has ended, here or elsewhere: how it ended, unless one that
    /// ended behind it is taken in already, and its values, unless one of these has started. One
    /// that ends here now has ended behind those of the same millisecond.
    pub(super) fn leave(
        &mut self,
        (tracked, row): (&Tracked, &RunRow),
        fold: &Fold,
        ends_now: bool,
    ) {
        let now = whole_millis(row.ended_at.unwrap_or_else(SystemTime::now));
        let mark = Mark::new(now, tracked.id);
        let is_before = |known: Mark| known <= mark || ends_now && known.at() == mark.at();
        let is_last = |known: Option<Mark>| known.is_none_or(is_before);
        if is_last(self.left) {
            self.left = Some(mark);
            self.last = Some(row.status);
            self.graph = Some(tracked.graph_keys());
            self.error = thread_error(row, tracked.limit_ms, tracked.is_unmasked);
            self.updated_at = now;
        }
        if row.started_at.is_none() {
            return;
        }
        let values = fold.left(row.status, &tracked.about);
        let bytes = |values: &Arc<Values>| serde_json::to_vec(&**values).map(|text| text.len());
        let left = values.and_then(|values| Some((values, bytes(values).ok()?)));
        if let Some((_, bytes)) = left {
            let of_step = fold.step().map_or(0, |step| step.bytes());
            tracked.left_bytes.store(bytes + of_step, Ordering::SeqCst);
        }
        if !is_last(self.wrote) {
            return;
        }
        self.wrote = Some(mark);
        if fold.has_started() {
            let next = fold.next(row.status, &tracked.about);
            self.next = next.unwrap_or_else(|| tracked.next_at_start(&[]));
            self.values_updated_at = now;
            match left {
                Some((values, bytes)) if bytes <= VALUES_BYTES_MAX => {
                    (self.values, self.values_bytes) = (Some(Arc::clone(values)), bytes);
                }
                // Whoever reads the thread anew has nothing else either.
                Some(_) => {
                    let base = fold.base().cloned();
                    (self.values_bytes, self.values) = (base.as_deref().map_or(0, bytes_of), base);
                }
                // It has gone back to where there were none.
                None if tracked.is_fork => (self.values_bytes, self.values) = (0, None),
                None => {}
            }
        }
    }
}

/// The values of a thread in bytes of JSON. Of a run that leaves larger ones it keeps those on
/// which the run has started.
const VALUES_BYTES_MAX: usize = limits::PAYLOAD_BYTES_MAX;

/// Ended runs listed of one thread. The oldest leave the list first.
const ENDED_PER_THREAD_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::{Failure, Payload, RunSpec, RunStatus};
    use uuid::Uuid;

    use super::*;
    use crate::threads::elsewhere::Left;
    use crate::threads::{Thread, within};
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn a_run_whose_request_has_yet_to_note_it_has_left_what_the_next_one_starts_on() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let made = async |input: &str| {
            let spec = RunSpec::agent("r").input(Payload::from_json_text(input).unwrap());
            let run = engine.submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
            run.quiescent().await;
            let mut tracked = Tracked::of(&(&run).into(), within(id));
            tracked.has_begun = false.into();
            let tracked = Arc::new(tracked);
            assert!(thread.add(&tracked));
            (tracked, run)
        };
        made(r#"{"a":1}"#).await;
        let (next, run) = made(r#"{"b":2}"#).await;
        let ground = thread.starts(&engine, &next, &run);
        assert_eq!(ground.values.unwrap()["a"].as_json(), "1");
        let values = thread.values(&engine).unwrap();
        assert_eq!((values["a"].as_json(), values["b"].as_json()), ("1", "2"));
    }

    #[tokio::test]
    async fn what_a_later_run_of_another_node_has_left_stays_when_an_earlier_one_is_settled() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let thread = Thread::new(id, None, &Keys::new(), false);
        let run = engine.submit(RunSpec::agent("first"), async |_ctx| Ok(())).unwrap().into_ref();
        run.quiescent().await;
        let first = Arc::new(Tracked::of(&(&run).into(), within(id)).behind_others());
        assert!(thread.add(&first));
        let body = async |_ctx| Err::<(), _>(Failure::new("boom"));
        let later = engine.submit(RunSpec::agent("later"), body).unwrap().into_ref();
        later.quiescent().await;
        let tracked = Arc::new(Tracked::of(&(&later).into(), within(id)));
        let mut row = later.row();
        row.ended_at = run.row().ended_at.map(|at| at + Duration::from_secs(1));
        assert!(thread.take_left(&engine, &Left { tracked, row, fold: Fold::default() }, 0));
        // What the first one starts on is known after that.
        thread.starts(&engine, &first, &run);
        assert_eq!(thread.ended(&engine).len(), 1);
        let state = thread.state.lock();
        assert_eq!((state.last, state.left.unwrap().run()), (Some(RunStatus::Failed), later.id()));
    }
}
