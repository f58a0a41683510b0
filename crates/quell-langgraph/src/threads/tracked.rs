//! [`Tracked`]: what the adapter knows of a run.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use quell::{Engine, Payload, RunId, RunRef};
use quell_flow::{COMPONENT, Reducers};
use quell_http::{RunView, Service};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::messages::Messages;
use crate::threads::final_body::FinalBody;
use crate::threads::ground::{Ground, Here};
use crate::values::{Fold, Values};
use crate::webhooks::Owed;
use crate::wire::asked::Asked;
use crate::wire::modes::Modes;
use crate::wire::rows::{About, system_assistant};

/// A run of a thread, as the adapter knows it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Tracked {
    pub(crate) id: RunId,
    pub(crate) about: About,
    /// Knows what the run said; none for a run of another contract, which belongs to no thread.
    pub(crate) service: Option<Service>,
    /// What its request takes as text.
    pub(crate) weight: usize,
    pub(crate) modes: Modes,
    pub(crate) has_subgraphs: bool,
    pub(crate) is_resumable: bool,
    /// It is no run of the caller's, but a change of the values.
    pub(crate) is_update: bool,
    /// It has started on a state that may not have been the last one.
    pub(super) is_fork: bool,
    /// Its end is told to the `webhook` of its request.
    pub(crate) has_webhook: bool,
    pub(crate) limit_ms: Option<u64>,
    pub(crate) is_unmasked: bool,
    /// The engine has it.
    pub(crate) has_begun: AtomicBool,
    /// It is deleted: no final body is kept of it.
    pub(crate) is_deleted: Arc<AtomicBool>,
    /// It was made in a thread that is gone from memory, or in that of another process.
    pub(crate) is_adopted: bool,
    /// Its end is told, or about to be, or was before it came here.
    pub(crate) is_told: AtomicBool,
    /// The attempt whose pause was told last.
    pub(crate) told_pause: AtomicU32,
    /// The place of its webhook among those that are owed. A pause that is told has it meanwhile.
    pub(crate) owed: Mutex<Option<Owed>>,
    /// It was made behind other runs of its thread, some of which other nodes may have.
    pub(super) is_behind: bool,
    /// On what it starts, once that is decided: its body and its values start on the same.
    pub(super) ground: OnceLock<Ground>,
    /// What it has said before its log in memory is in `fold`, or there is nothing of that.
    pub(super) has_beginning: AtomicBool,
    /// What its thread goes back to if it is deleted, once it has started: what there was then,
    /// without what runs have left that were deleted since.
    pub(super) back: Mutex<Option<Ground>>,
    /// Of a run that makes its thread, or is made in a young one, among nodes: closed when the
    /// thread is known to be there with it. Until then it executes nothing, as it may have to be
    /// made once more, or be refused.
    made: Option<Box<Semaphore>>,
    /// The run, until it was followed to its end: the engine forgets one that was rolled back by
    /// itself.
    run: Mutex<Option<RunRef>>,
    pub(crate) fold: Mutex<Fold>,
    /// What clients are taking of it.
    pub(crate) body: FinalBody,
    /// What its values take since it has ended, in bytes of JSON.
    pub(crate) left_bytes: AtomicUsize,
}

impl Tracked {
    /// Makes what is known of a run that is about to be made, from what the run will keep.
    pub(crate) fn new(id: RunId, graph: &str, of: Within, asked: &Asked) -> Self {
        let about = About {
            thread: of.thread,
            assistant: asked.own_assistant.unwrap_or_else(|| system_assistant(graph)),
            graph: graph.to_owned(),
            metadata: asked.metadata.clone(),
            input: asked.input.clone(),
            kwargs: asked.kwargs.clone(),
            strategy: asked.strategy.name(),
            reducers: of.reducers,
            has_nodes: of.has_nodes,
            goes_on: asked.goes_on,
            nodes: asked.nodes.clone(),
            due: asked.due(),
        };
        Self {
            id,
            about,
            service: of.service,
            weight: asked.bytes(),
            modes: asked.modes,
            has_subgraphs: asked.has_subgraphs,
            is_resumable: asked.is_resumable,
            is_update: asked.is_update,
            is_fork: asked.fork.is_some(),
            has_webhook: asked.has_webhook,
            limit_ms: asked.limit_ms,
            is_unmasked: of.is_unmasked,
            has_begun: false.into(),
            is_deleted: Arc::default(),
            is_adopted: false,
            is_told: false.into(),
            told_pause: 0.into(),
            owed: Mutex::default(),
            is_behind: false,
            ground: OnceLock::new(),
            has_beginning: true.into(),
            back: Mutex::default(),
            made: None,
            run: Mutex::default(),
            fold: Mutex::default(),
            body: FinalBody::default(),
            left_bytes: AtomicUsize::new(0),
        }
    }

    /// Makes what is known of a run that is there, from the run alone.
    pub(crate) fn of(run: &RunView, of: Within) -> Self {
        let graph = run.label(COMPONENT).unwrap_or_default();
        let (asked, service) = match Asked::of(run) {
            Some(asked) => (asked, of.service),
            // What it said is not for this contract.
            None => (Asked::elsewhere(run, graph), None),
        };
        Self {
            has_begun: true.into(),
            ..Self::new(run.id(), graph, Within { service, ..of }, &asked)
        }
    }

    /// Declares that its thread may not have the values any more on which it was made.
    pub(crate) fn adopted(self) -> Self {
        Self { is_adopted: true, ..self }
    }

    /// Declares that runs before it, perhaps of other nodes, have left what it starts on: nothing
    /// that it says is taken in until that is.
    pub(crate) fn behind_others(self) -> Self {
        Self { is_behind: true, ..self }
    }

    /// Declares that it executes nothing before [`Tracked::note_made`].
    pub(crate) fn held_until_made(self) -> Self {
        Self { made: Some(Box::new(Semaphore::new(0))), ..self }
    }

    /// Notes that its thread is there with it.
    pub(crate) fn note_made(&self) {
        self.made.iter().for_each(|made| made.close());
    }

    /// Waits until that is so.
    pub(crate) async fn until_made(&self) {
        if let Some(made) = &self.made {
            // It has no permits: this ends when it is closed.
            let _closed = made.acquire().await;
        }
    }

    /// Notes that the engine has it. It is held from now on.
    pub(crate) fn begin(&self, run: &RunRef) {
        *self.run.lock() = Some(run.clone());
        self.has_begun.store(true, Ordering::SeqCst);
    }

    /// Notes that it was followed to its end. It is there for as long as the engine has it.
    pub(crate) fn release(&self) {
        drop(self.run.lock().take());
    }

    /// Yields the run, also one that the engine has forgotten and that was not followed to its end
    /// yet.
    pub(crate) fn run(&self, engine: &Engine) -> Option<RunRef> {
        self.run.lock().clone().or_else(|| engine.get(self.id))
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::SeqCst)
    }

    /// Takes in what is in the log by now, if it is known what the run starts on, and has said
    /// before. The values are there afterwards.
    pub(super) fn catch_up(&self, run: &RunRef, here: Here<'_>) {
        if self.awaits_start() {
            return;
        }
        let (mut fold, view) = (self.fold.lock(), run.into());
        let base = || self.start_on(&view, here).values.clone();
        for event in fold.position.unread(run) {
            fold.take(&view, &event, &self.about, base);
        }
        fold.fill(&self.about);
    }

    /// Yields the values that the run has left, which has ended: on these, if it is not known yet
    /// what it has started on.
    pub(crate) fn left_on(&self, run: &RunRef, base: Option<&Arc<Values>>) -> Option<Arc<Values>> {
        self.catch_up(run, Here { values: base, ..Here::default() });
        let mut fold = self.fold.lock().clone();
        if self.awaits_base() {
            let view = run.into();
            for event in fold.position.unread(run) {
                fold.take(&view, &event, &self.about, || base.map(Arc::clone));
            }
        }
        fold.fill(&self.about);
        let row = run.row();
        self.finish(self.service.as_ref(), &mut fold, run, row.output.as_ref());
        fold.left(row.status, &self.about).map(Arc::clone)
    }

    /// Takes in what the run returned and said, if it has ended.
    pub(crate) fn finish(
        &self,
        service: Option<&Service>,
        fold: &mut Fold,
        run: &RunRef,
        output: Option<&Payload>,
    ) {
        fold.finish(run.id(), output, &self.about, |is_answer| {
            let of = |service| Messages::of(service, run, output, &self.about, is_answer);
            service.map(of).unwrap_or_default()
        });
    }

    /// Tells whether it matters to it what comes next in its thread where it starts.
    pub(crate) const fn needs_next(&self) -> bool {
        self.about.goes_on || self.is_update
    }

    pub(crate) fn graph_keys(&self) -> GraphKeys {
        let (graph, assistant) = (self.about.graph.as_str(), self.about.assistant.to_string());
        [("graph_id", graph.into()), ("assistant_id", assistant.into())]
    }
}

/// Where a run is.
#[derive(Debug)]
pub(crate) struct Within {
    pub(crate) thread: Uuid,
    /// How its graph takes new values.
    pub(crate) reducers: Reducers,
    pub(crate) has_nodes: bool,
    pub(crate) service: Option<Service>,
    pub(crate) is_unmasked: bool,
}

/// `graph_id` and `assistant_id` of a run.
pub(super) type GraphKeys = [(&'static str, Payload); 2];

#[cfg(test)]
pub(crate) mod tests {
    use quell::{Failure, RunSpec};

    use super::*;
    use crate::threads::thread::Thread;
    use crate::wire::exact::{Keys, written};

    /// Of a graph that is not in the catalog.
    pub(crate) fn within(thread: Uuid) -> Within {
        let reducers = Reducers::default();
        Within { thread, reducers, has_nodes: false, service: None, is_unmasked: false }
    }

    #[tokio::test]
    async fn the_values_of_a_live_run_are_made_of_its_input_when_somebody_asks() {
        let (engine, id) = (Engine::new(), Uuid::now_v7());
        let input = Payload::from_json_text(r#"{"n":1.50,"topic":"pens"}"#).unwrap();
        let body = async |_ctx| std::future::pending::<Result<(), Failure>>().await;
        let run = engine.submit(RunSpec::agent("r").input(input.clone()), body).unwrap();
        let run = run.into_ref();
        let tracked = Arc::new(Tracked::of(&(&run).into(), within(id)));
        let thread = Thread::new(id, None, &Keys::new(), false);
        assert!(thread.add(&tracked));
        let mut events = run.events();
        while !tracked.fold.lock().has_started() {
            let event = events.next().await.unwrap();
            thread.take(&engine, &tracked, &run, &event);
        }
        assert!(tracked.fold.lock().current().is_none(), "nobody has asked");
        let fold = thread.look(&engine, &tracked, &run);
        assert_eq!(written(&**fold.current().unwrap()), input);
    }
}
