//! [`App::recover`]: takes in the runs that the engine has from before, with their threads.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use quell::{EventKind, RunFilter, RunRef};
use quell_http::{LookupError, Principal, RunView, SESSION};
use tokio::runtime::Handle;
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::turn::LOOK_PAUSE;
use crate::options::CONTRACT;
use crate::threads::{Thread, Tracked};
use crate::values::Fold;
use crate::wire::asked::{Asked, base_of, started_on};

impl App {
    /// Takes in the runs of this contract that the engine has, each into its thread, so that they
    /// are shown as if this service had made them: what a run keeps of its request is all that is
    /// needed. What threads were given besides, their own metadata, is not in their runs.
    pub(crate) fn recover(&self) {
        let mut known = self.taken_in().lock();
        *known = self.engine().runs_taken_in();
        let threads = self.adopt_all(&RunFilter::new().roots());
        drop(known);
        for thread in threads {
            self.hold_values(&thread);
        }
        self.clear_left();
    }

    /// Takes in the runs that the engine has taken over since from nodes that are gone. Every
    /// reader calls it before it looks for a thread: what a node had is found as its own.
    pub(crate) fn take_in(&self) {
        let now = self.engine().runs_taken_in();
        let mut known = self.taken_in().lock();
        // Whoever comes meanwhile waits for the lock, and finds what this one takes in.
        if *known >= now {
            return;
        }
        *known = now;
        // One that has ended has lost its thread: it is shown by itself.
        let threads = self.adopt_all(&RunFilter::new().roots().live());
        drop(known);
        for thread in threads {
            self.hold_values(&thread);
        }
        self.clear_left();
    }

    /// Adds runs to their threads. Yields the threads, each once.
    fn adopt_all(&self, filter: &RunFilter) -> Vec<Arc<Thread>> {
        let mut runs = self.engine().runs(filter);
        runs.sort_by_key(|run| (run.queued_at(), run.id()));
        let mut threads: Vec<_> = runs.iter().filter_map(|run| self.adopt(run, None)).collect();
        threads.sort_by_key(|thread| thread.id);
        threads.dedup_by_key(|thread| thread.id);
        threads
    }

    /// Adds a run to its thread, which is made if it is not there; none if the run is not of this
    /// contract, its thread has it, or takes no more; and if a deletion has taken a run out of the
    /// thread since so many had: it may have been this one.
    pub(super) fn adopt(&self, run: &RunRef, undone: Option<u64>) -> Option<Arc<Thread>> {
        let asked = Asked::of(&run.into())?;
        let session = Uuid::try_parse(run.label(SESSION)?).ok()?;
        let fresh = Thread::of(session, run, &asked);
        let thread = self.threads().add(self.engine(), fresh).ok()?;
        let thread = thread.unwrap_or_else(|known| known);
        // One that is being made here is there before the engine has it.
        let is_of = thread.owner.as_deref() == run.owner() && thread.is_of_record(asked.record_us);
        if !is_of || thread.find(run.id()).is_some() {
            return None;
        }
        let view = self.service().view(CONTRACT, Principal::anonymous());
        let within = self.within(session, view.component_of(run));
        let tracked = Tracked::of(&run.into(), within).adopted();
        let tracked = if self.has_records() { tracked.beginning_elsewhere(run) } else { tracked };
        // Of what has ended nothing is certain but what it keeps.
        let (of, is_over) = (run.into(), run.status().is_terminal());
        let is_own = started_on(&of).is_some() || is_over && base_of(&of).is_some();
        let is_behind = !is_own && (self.is_node() || self.has_records() && !thread.is_temporary);
        let tracked = Arc::new(if is_behind { tracked.behind_others() } else { tracked });
        // Without a store nobody knows whether its end was told.
        let is_told = run.status().is_terminal() && !self.has_records();
        tracked.is_told.store(is_told, Ordering::SeqCst);
        if !thread.add_unless_undone(&tracked, undone) {
            return None;
        }
        // Outside of a runtime readers do what follows from its end.
        if Handle::try_current().is_ok() {
            self.follow(Arc::clone(&thread), tracked, run.clone());
        }
        Some(thread)
    }

    /// Waits until it is known on what a run starts, if it has started, and takes in what it has
    /// said in an earlier process, or on another node: as [`App::know_base`].
    pub(crate) async fn know_start(
        &self,
        thread: &Arc<Thread>,
        tracked: &Arc<Tracked>,
        run: &RunRef,
    ) {
        self.know_base(thread, tracked, run).await;
        // On the heap: hardly any run needs it.
        while Box::pin(self.know_beginning(thread, tracked, run)).await.is_err() {
            sleep(LOOK_PAUSE).await;
        }
    }

    /// Takes in what a run has said in an earlier process, or on another node, once it is known on
    /// what it has started.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, and takes nothing in.
    pub(super) async fn know_beginning(
        &self,
        thread: &Arc<Thread>,
        tracked: &Tracked,
        run: &RunRef,
    ) -> Result<(), LookupError> {
        if !tracked.awaits_beginning() || tracked.awaits_base() {
            return Ok(());
        }
        let base = thread.starts(self.engine(), tracked, run).values;
        let (view, of) = (self.all(), RunView::from(run));
        let mut tries = 0..BEGINNING_TRIES;
        loop {
            let (mut said, mut has_gap) = (Fold::default(), false);
            let mut events = pin!(view.events_by_now(run));
            while let Some(event) = events.next().await {
                has_gap |= matches!(event.kind, EventKind::Lagged { .. });
                said.take(&of, &event, &tracked.about, || base.clone());
            }
            if !has_gap || tries.next().is_none() {
                // What it has said in words, too.
                drop(view.tree_said_of(run).await);
                thread.begins_with(tracked, said);
                return Ok(());
            }
            // What could not be read is a gap, and what the store has not got is one, too.
            self.engine().stored_events(run.id(), 0, 1).await?;
        }
    }
}

/// How often what a run has said is read again that has a gap although the store can be read.
const BEGINNING_TRIES: u32 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::testing::cluster::{Node, Nodes, Trouble};
    use quell::{Engine, EngineConfig, Recovery, RunContext, RunSpec};
    use quell_flow::{Catalog, Component};
    use quell_http::{Service, Start};

    use super::*;
    use crate::app::gone::tests::two;
    use crate::options::Options;
    use crate::threads::within;
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn a_thread_that_is_made_for_a_run_is_known_by_the_record_that_the_run_names() {
        let [a, b] = two();
        let thread = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
        let thread = a.make_thread(thread, true).await.unwrap().unwrap();
        let graph = Arc::new(Component::agent("a", async |_ctx, input| Ok(input)));
        let before = b.all().start(Start::new(&graph, 1.into())).await.unwrap().run;
        let asked = Asked::elsewhere(&before.into(), "a");
        let asked = Asked { record_us: thread.record(), ..asked };
        let start = asked.write(Start::new(&graph, 1.into()), &1.into());
        let start = start.label(SESSION, thread.id.to_string());
        let run = b.all().start(start).await.unwrap().run;
        let made = b.adopt(&run, None).unwrap();
        assert!(made.record().is_some() && made.record() == thread.record());
    }

    #[tokio::test]
    async fn what_a_run_has_said_before_waits_for_a_store_in_trouble() {
        let nodes = Nodes::new(Duration::from_secs(30));
        let of = |node: &Arc<Node>| {
            let engine = Engine::with_config(EngineConfig::new().node(Arc::clone(node)));
            App::new(Service::new(engine, Catalog::new()), Options::default())
        };
        let body = async |ctx: RunContext| {
            ctx.emit("it has said this");
            Err::<(), _>(ctx.pause("may I?"))
        };
        let first = of(&nodes.join("a"));
        let run = first.engine().submit_resumable(RunSpec::agent("r"), body).unwrap().into_ref();
        run.paused().await.unwrap();
        run.stored().await.unwrap();
        let node = nodes.join("a");
        let next = of(&node);
        let decide = |_: &_| Recovery::resume(RunSpec::agent("r"), body);
        next.engine().recover(decide).await.unwrap();
        let run = next.engine().get(run.id()).unwrap();
        let thread = Arc::new(Thread::new(Uuid::now_v7(), None, &Keys::new(), false));
        let tracked = Tracked::of(&(&run).into(), within(thread.id)).beginning_elsewhere(&run);
        node.trouble(Trouble::All);
        assert!(next.know_beginning(&thread, &tracked, &run).await.is_err());
        assert!(tracked.awaits_beginning());
        node.trouble(Trouble::None);
        next.know_beginning(&thread, &tracked, &run).await.unwrap();
        assert!(!tracked.awaits_beginning());
    }

    #[tokio::test]
    async fn a_change_of_values_whose_thread_is_not_to_be_had_runs_no_graph() {
        let [_a, b] = two();
        let graph = Arc::new(Component::agent("a", async |_ctx, input| Ok(input)));
        let any = b.all().start(Start::new(&graph, 1.into())).await.unwrap().run;
        let of_change = Asked { is_update: true, ..Asked::elsewhere(&(&any).into(), "a") };
        for asked in [of_change, Asked { goes_on: true, ..Asked::elsewhere(&any.into(), "a") }] {
            // Somebody else has one of the same id.
            let thread = Thread::new(Uuid::now_v7(), Some("eve"), &Keys::new(), false);
            let thread = b.make_thread(thread, true).await.unwrap().unwrap();
            let start = asked.write(Start::new(&graph, 1.into()), &1.into());
            let start = start.label(SESSION, thread.id.to_string());
            let run = b.all().start(start).await.unwrap().run;
            let work = b.work_left(&run, &graph).expect("something else than its graph");
            let done = work.start(b.engine(), work.spec(), 1.into()).unwrap().await;
            assert!(done.unwrap_err().to_string().contains("Its thread is not there"));
        }
    }
}
