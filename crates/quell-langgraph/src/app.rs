//! What the routes share: who calls, which run is meant, what a deleted run leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use quell::{CancelRequest, Disposition, Engine, Payload, RunId, RunRef, RunReport, RunStatus};
use quell_flow::{COMPONENT, Component, Contract, Reducers};
use quell_http::{
    Cancelled, Guard, Principal, SESSION, Service, View, Wait, next_event, run_bytes, same_id,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::final_body::FinalBody;
use crate::finals::{Final, Finals};
use crate::options::Options;
use crate::table::Threads;
use crate::threads::{Thread, Tracked};
use crate::wire::cancel::Action;
use crate::wire::exact::{Keys, null};
use crate::wire::failure;
use crate::wire::modes::Modes;
use crate::wire::refusal::Refusal;
use crate::wire::rows::{About, run_metadata, run_object, system_assistant};

/// The adapter's state. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: Service,
    options: Options,
    threads: Threads,
    finals: Finals,
    since: SystemTime,
}

/// A run that a caller may see, of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) run: RunRef,
    pub(crate) tracked: Arc<Tracked>,
    /// None for a run that another contract started.
    pub(crate) thread: Option<Arc<Thread>>,
}

impl App {
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let finals = Finals::new(service.limits_of());
        let threads = Threads::default();
        Self(Arc::new(Inner { service, options, threads, finals, since: SystemTime::now() }))
    }

    pub(crate) fn service(&self) -> &Service {
        &self.0.service
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.0.service.engine()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.0.threads
    }

    pub(crate) fn finals(&self) -> &Finals {
        &self.0.finals
    }

    pub(crate) fn since(&self) -> SystemTime {
        self.0.since
    }

    /// Finds a thread that the caller may see.
    pub(crate) fn thread(&self, view: &View, id: Uuid) -> Option<Arc<Thread>> {
        let thread = self.threads().get(id).filter(|thread| owns(view, thread))?;
        for tracked in thread.runs() {
            self.bury_if_over(&thread, &tracked);
        }
        // A stateless run takes its thread along.
        self.threads().get(id)
    }

    /// Finds a run that the caller may see; of a thread, if one is named.
    pub(crate) fn find(&self, view: &View, thread: Option<Uuid>, run: Uuid) -> Option<Found> {
        let run = view.run_by_id(RunId::from_uuid(run)).filter(|run| run.parent().is_none())?;
        let session = run.label(SESSION)?;
        if thread.is_some_and(|thread| !same_id(session, &thread.to_string())) {
            return None;
        }
        let session = Uuid::try_parse(session).ok()?;
        let thread = self.threads().get(session);
        let tracked = thread.as_ref().and_then(|thread| thread.find(run.id()));
        let Some((thread, tracked)) = thread.zip(tracked) else {
            let graph = view.component_of(&run);
            let reducers = graph.map(|graph| graph.reducers().clone()).unwrap_or_default();
            let tracked = Arc::new(stranger(&run, session, reducers));
            return Some(Found { run, tracked, thread: None });
        };
        if self.bury_if_over(&thread, &tracked) {
            return None;
        }
        Some(Found { run, tracked, thread: Some(thread) })
    }

    /// Finds what is left of a run that was deleted at its end.
    pub(crate) fn left(&self, view: &View, thread: Option<Uuid>, run: Uuid) -> Option<Arc<Final>> {
        let left = self.0.finals.get(view.principal(), RunId::from_uuid(run))?;
        thread.is_none_or(|thread| thread == left.thread.id).then_some(left)
    }

    /// As [`App::find`]; of a run that was deleted at its end, what is left.
    pub(crate) fn found_or_left(
        &self,
        view: &View,
        thread: Option<Uuid>,
        run: Uuid,
    ) -> Option<Found> {
        self.find(view, thread, run).or_else(|| {
            let left = self.left(view, thread, run)?;
            let (tracked, thread) = (Arc::clone(&left.tracked), Arc::clone(&left.thread));
            Some(Found { run: left.run.clone(), tracked, thread: Some(thread) })
        })
    }

    /// Deletes a run that is to be deleted, if it is over; tells whether it did.
    ///
    /// Whoever looks does it, so that no reader sees a run that is over and not gone.
    pub(crate) fn bury_if_over(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>) -> bool {
        self.engine().get(tracked.id).is_some_and(|run| self.bury(thread, tracked, &run))
    }

    fn bury(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) -> bool {
        let row = run.row();
        let is_stopped = matches!(row.status, RunStatus::Cancelled | RunStatus::TimedOut);
        let is_doomed = thread.is_temporary || (tracked.is_doomed() && is_stopped);
        if !is_doomed || !row.status.is_terminal() || !row.quiescent {
            return false;
        }
        let fold = thread.look(self.engine(), tracked, run);
        // As a client was told that waited for it: a run that left no values leaves its thread's.
        let of_thread = fold.current().is_none().then(|| thread.values(self.engine())).flatten();
        let body = self.final_text(&run.report(), tracked, &fold, of_thread.as_ref());
        let shown = of_thread.as_ref().or(fold.current()).map(Arc::downgrade).unwrap_or_default();
        let (kept, kept_thread) = (Arc::clone(tracked), Arc::clone(thread));
        self.0.finals.keep(Final {
            run: run.clone(),
            thread: kept_thread,
            tracked: kept,
            body: body.into(),
            shown,
            run_bytes: run_bytes(run),
        });
        self.service().view(Contract::LangGraph, Principal::anonymous()).forget(run);
        thread.remove(tracked.id);
        if thread.is_temporary {
            self.threads().remove_if_idle(self.engine(), thread);
        }
        true
    }

    /// Follows a run to its end: its values are taken over, and it is deleted if it is to be.
    pub(crate) fn follow(&self, thread: Arc<Thread>, tracked: Arc<Tracked>, run: RunRef) {
        let app = self.clone();
        drop(tokio::spawn(async move {
            let mut events = run.events();
            while let Some(event) = next_event(&mut events).await {
                thread.take(app.engine(), &tracked, &run, &event);
                if run.status().is_terminal() {
                    // From here on the log tells nothing more of the run itself.
                    break;
                }
            }
            run.ended().await;
            app.hold_values(&thread);
            run.quiescent().await;
            // Also if the engine knows it no longer.
            app.bury(&thread, &tracked, &run);
        }));
    }

    /// Says that an answer is a stream of a run, which is counted here for as long as it is kept.
    pub(crate) fn reading(&self, guard: Guard, view: &View, run: &RunRef) -> Guard {
        let app = self.clone();
        guard.reading_kept(view, run, move |id| app.finals().has(id))
    }

    /// Asks runs to stop, all of them before any is waited for.
    pub(crate) async fn stop(
        &self,
        view: &View,
        found: &[Found],
        action: Action,
        request: CancelRequest,
        wait: Wait,
    ) -> Vec<Cancelled> {
        let doomed = found
            .iter()
            .filter(|found| action == Action::Rollback && !found.run.row().status.is_terminal());
        let doomed: Vec<_> = doomed.collect();
        // Before the stop, so that no reader sees its end and not what follows from it.
        for found in &doomed {
            found.tracked.is_doomed.store(true, Ordering::SeqCst);
        }
        let runs: Vec<_> = found.iter().map(|found| found.run.clone()).collect();
        let mut answers = view.cancel_all(&runs, request, wait).await;
        for (found, answer) in found.iter().zip(&mut answers) {
            if doomed.iter().any(|doomed| doomed.run == found.run) {
                count_as_in_time(answer);
            }
        }
        for found in doomed {
            match &found.thread {
                Some(thread) => drop(self.bury_if_over(thread, &found.tracked)),
                None => forget_if_stopped(view, &found.run),
            }
        }
        answers
    }

    /// Yields the error that a client is told of a run that has ended.
    pub(crate) fn error_of(&self, report: &RunReport, tracked: &Tracked) -> Option<Value> {
        match report.status {
            RunStatus::Failed => {
                let text = report.error.as_deref().unwrap_or_default();
                Some(failure::error_object(text, self.options().unmasked_errors))
            }
            RunStatus::TimedOut if self.options().timeout_error => {
                Some(failure::timeout_object(tracked.limit_ms))
            }
            _ => None,
        }
    }
}

impl Found {
    /// When the run was made; of one that was to start later, when that was.
    pub(crate) fn created_at(&self) -> SystemTime {
        self.tracked.about.due.unwrap_or_else(|| self.run.row().queued_at)
    }
}

/// Writes the run object.
pub(crate) fn object_of(view: &View, found: &Found) -> Payload {
    selected_of(view, found, |_| true)
}

/// Writes the keys of the run object that are shown.
pub(crate) fn selected_of(view: &View, found: &Found, is_shown: impl Fn(&str) -> bool) -> Payload {
    let report = found.run.report();
    run_object(&found.tracked.about, report.own_row(), &view.state_of(&report), is_shown)
}

/// Finds the graph of an assistant by its UUID or by the graph's own id.
pub(crate) fn graph_of(view: &View, text: &str) -> Result<Arc<Component>, Refusal> {
    if let Some(graph) = view.find_component(text) {
        return Ok(Arc::clone(graph));
    }
    if let Ok(id) = Uuid::try_parse(text) {
        let graph = view.components().find(|graph| system_assistant(graph.id()) == id);
        return graph
            .map(Arc::clone)
            .ok_or_else(|| Refusal::missing("Thread or assistant not found."));
    }
    let names: Vec<_> = view.components().map(|graph| graph.id()).collect();
    Err(Refusal::invalid(format!(
        "Invalid assistant: '{text}'. Must be either:\n- A valid assistant UUID, or\n- One of \
         the registered graphs: {}",
        names.join(", ")
    )))
}

fn owns(view: &View, thread: &Thread) -> bool {
    view.principal().sees_all() || view.principal().subject() == thread.owner.as_deref()
}

/// A run that was to be deleted before another stop ended it is deleted: the request came while it
/// was stopping, whatever the engine found a moment later.
fn count_as_in_time(answer: &mut Cancelled) {
    if let Disposition::AlreadyTerminal { status: RunStatus::Cancelled | RunStatus::TimedOut } =
        answer.disposition
        && let Some(cause) = answer.cause.clone()
    {
        let hard_deadline = Instant::now();
        answer.disposition = Disposition::AlreadyStopping { cause, hard_deadline };
    }
}

fn forget_if_stopped(view: &View, run: &RunRef) {
    if !matches!(run.row().status, RunStatus::Completed | RunStatus::Failed) {
        view.forget_when_quiescent(run);
    }
}

/// What is known of a run that another contract started.
pub(crate) fn stranger(run: &RunRef, thread: Uuid, reducers: Reducers) -> Tracked {
    let graph = run.label(COMPONENT).unwrap_or_default();
    let assistant = system_assistant(graph);
    let weight = run.input().map_or(0, Payload::bytes_max);
    let input = run.input().cloned().unwrap_or_else(null);
    let about = About {
        thread,
        assistant,
        graph: graph.to_owned(),
        metadata: run_metadata(Keys::new(), graph, assistant),
        input,
        kwargs: Payload::from(json!({ "temporary": false })),
        strategy: "enqueue",
        reducers,
        due: None,
    };
    Tracked {
        id: run.id(),
        since: run.row().queued_at,
        about,
        weight,
        modes: Modes::ALL,
        has_subgraphs: false,
        is_resumable: false,
        limit_ms: None,
        is_unmasked: false,
        has_begun: true.into(),
        is_doomed: false.into(),
        charge: None,
        fold: Mutex::default(),
        body: FinalBody::default(),
        left_bytes: AtomicUsize::new(0),
    }
}

#[cfg(test)]
mod tests {
    use quell::RunSpec;
    use quell_flow::Catalog;

    use super::*;

    #[tokio::test]
    async fn to_find_a_run_of_another_contract_nobody_looks_through_what_it_was_given() {
        let service = Service::new(Engine::new(), Catalog::new());
        let given = Payload::from_json_text("[7,1e400]").unwrap();
        let spec = RunSpec::agent("a").input(given.clone());
        let run = service.engine().submit(spec, async |_ctx| Ok(())).unwrap().run().clone();
        let tracked = Arc::new(stranger(&run, Uuid::nil(), Reducers::default()));
        assert_eq!(tracked.about.input.as_str().as_ptr(), given.as_str().as_ptr());
        let view = service.view(Contract::LangGraph, Principal::anonymous());
        let shown = object_of(&view, &Found { run, tracked, thread: None });
        assert!(shown.as_str().contains(r#""input":[7,null]"#), "{shown}");
    }
}
