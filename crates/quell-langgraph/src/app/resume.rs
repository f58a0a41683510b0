//! [`App::resume`]: gives a paused run of a thread its answer.

use std::sync::Arc;
use std::task::Poll;

use axum::http::StatusCode;
use quell::{Payload, ResumeError, RunStatus};
use quell_flow::Component;
use quell_http::{
    DisconnectGuard, NotDone, OnDisconnect, RunView, StartError, View, events_by_now,
    offload_if_large,
};
use uuid::Uuid;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::create::{CreateRequest, Created};
use crate::app::find::Found;
use crate::app::stored::{StoredRun, last_seq};
use crate::threads::{Thread, Tracked};
use crate::wire::interrupt::Interrupt;
use crate::wire::refusal::Refusal;

/// A run that has taken its answer.
pub(crate) struct Resumed {
    pub(crate) created: Created,
    /// The number of the event behind which it goes on.
    pub(crate) behind: u64,
    /// Counts the client from then on.
    pub(crate) guard: DisconnectGuard,
}

impl App {
    /// Gives the paused run of a thread its answer. Yields none if the request has no answer, or no
    /// run of its thread waits for one.
    ///
    /// The run keeps its id: it goes on as its next attempt.
    ///
    /// # Cancel safety
    ///
    /// Once the answer is given, it is taken although this is dropped, and the policy of the
    /// request decides what becomes of the run whose client has left.
    pub(crate) async fn resume(
        &self,
        view: &View,
        request: &CreateRequest<'_>,
    ) -> Result<Option<Resumed>, Refusal> {
        let answer = request.create.resume.as_ref().zip(request.thread);
        let Some((answer, thread)) = answer else { return Ok(None) };
        let (graph, _) = self.graph_of_run(view, &request.create.assistant).await?;
        let id = thread;
        let Some(thread) = self.thread(view, id) else {
            return self.resume_elsewhere(view, id, request).await;
        };
        let making = Arc::clone(&thread);
        let _one_at_a_time = making.creating.lock().await;
        let Some((tracked, run)) = thread.paused(self.engine()) else {
            return self.resume_elsewhere(view, id, request).await;
        };
        check_graph(&tracked, &graph)?;
        let Some(pause) = run.pause_state() else { return Err(Refusal::busy()) };
        // The attempt is known before: if it asks again meanwhile, this is no answer to that.
        if let Some(meant) = request.create.nodes.checkpoint {
            self.check_asks(view, &thread, meant).await?;
        }
        let answer = answer_of(Interrupt::new(run.id(), pause.attempt, pause.request), answer);
        let answer = answer.await?;
        // Nothing is written while it is paused.
        let behind = events_by_now(&run, 0).map(|event| event.last_seq()).max().unwrap_or(0);
        let view = self.owner_view(view, &thread);
        let answer = (pause.attempt, answer, request.create.on_disconnect);
        let (run, guard) = self.answer(&view, run.into(), answer).await?;
        let created = match run {
            RunView::Live(run) => Created::Here(Found { run, tracked, thread: Some(thread) }),
            run @ RunView::Stored(_) => Created::There(StoredRun { run, tracked }),
        };
        Ok(Some(Resumed { created, behind, guard }))
    }

    /// As [`App::resume`], of a run of the thread that another node has.
    async fn resume_elsewhere(
        &self,
        view: &View,
        thread: Uuid,
        request: &CreateRequest<'_>,
    ) -> Result<Option<Resumed>, Refusal> {
        let Some(answer) = request.create.resume.as_ref() else { return Ok(None) };
        if self.engine().node().is_none() {
            return Ok(None);
        }
        let is_paused = |run: &RunView| run.status() == RunStatus::Paused;
        let asking = self.stored_of(view, thread, 1, is_paused).await?;
        let Some(StoredRun { run, tracked }) = asking.into_iter().next() else { return Ok(None) };
        // The list has not what it has started on.
        let Some(run) = view.find_by_id(run.id()).await? else { return Ok(None) };
        let (graph, _) = self.graph_of_run(view, &request.create.assistant).await?;
        check_graph(&tracked, &graph)?;
        let Some(pause) = run.pause_state() else { return Err(Refusal::busy()) };
        if let Some(meant) = request.create.nodes.checkpoint
            && let Some(known) = self.thread_anywhere(view, thread).await?
        {
            self.check_asks(view, &known, meant).await?;
        }
        let answer = answer_of(Interrupt::new(run.id(), pause.attempt, pause.request), answer);
        let answer = answer.await?;
        let behind = last_seq(view, &run).await;
        let answer = (pause.attempt, answer, request.create.on_disconnect);
        let (run, guard) = self.answer(view, run, answer).await?;
        let created = match run {
            // This node has taken it over meanwhile.
            RunView::Live(run) => {
                let thread = self.thread(view, thread);
                Created::Here(Found { run, tracked, thread })
            }
            run @ RunView::Stored(_) => Created::There(StoredRun { run, tracked }),
        };
        Ok(Some(Resumed { created, behind, guard }))
    }

    /// Refuses an answer that is meant for another state than the one that asks now: who sends it
    /// has not seen what it would answer. One without a state is for whatever is asked.
    async fn check_asks(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        meant: Uuid,
    ) -> Result<(), Refusal> {
        let now = self.state(view, thread, None).await?;
        if now.is_some_and(|(parts, _)| parts.id == meant) {
            return Ok(());
        }
        Err(does_not_ask(meant))
    }

    /// Reads of which state an answer is that nothing waits for. It goes on from one at which its
    /// run was held or cut, as null input does (contract, section 7). Behind another one, as that
    /// which had the answer before, it moves nothing.
    ///
    /// # Errors
    ///
    /// Fails if there is something to go on with by now, which is not meant.
    pub(crate) async fn meant_state(
        &self,
        view: &View,
        request: &mut CreateRequest<'_>,
    ) -> Result<(), Refusal> {
        let Some(meant) = request.create.nodes.checkpoint else { return Ok(()) };
        let thread = match request.thread {
            Some(thread) => self.thread_anywhere(view, thread).await?,
            None => None,
        };
        if let Some(thread) = &thread {
            if self.is_held_at(view, thread, meant).await? {
                return Ok(());
            }
            let is_live = !self.live_of(view, &self.buried(thread)).await?.is_empty();
            let last = if is_live { None } else { self.state(view, thread, None).await? };
            if last.is_some_and(|(parts, _)| !parts.next.is_empty()) {
                return Err(does_not_ask(meant));
            }
        }
        request.create.nodes.checkpoint = None;
        Ok(())
    }

    /// Gives a run that asks in this attempt its answer, also if the caller goes away.
    async fn answer(
        &self,
        view: &View,
        run: RunView,
        (attempt, answer, on_disconnect): (u32, Payload, OnDisconnect),
    ) -> Result<(RunView, DisconnectGuard), Refusal> {
        let (app, view) = (self.clone(), view.clone());
        let mut work = Box::pin(async move {
            let resumed = view.resume_attempt(&run, attempt, answer).await;
            let run = taken(&view, resumed, &run).await?;
            let guard = app.service().guard(&run, on_disconnect).until_pause();
            Ok((run, guard))
        });
        // A run that is here has its answer before anybody else looks at it.
        match futures::poll!(&mut work) {
            Poll::Ready(answered) => answered,
            Poll::Pending => to_the_end(work).await,
        }
    }
}

fn does_not_ask(state: Uuid) -> Refusal {
    let text = format!("Checkpoint {state} is not the one that waits for an answer now");
    Refusal::new(StatusCode::CONFLICT, text)
}

fn check_graph(asking: &Tracked, graph: &Component) -> Result<(), Refusal> {
    if asking.about.graph == graph.id() {
        return Ok(());
    }
    let text = format!("assistant_id: the interrupted run is of {}", asking.about.graph);
    Err(Refusal::invalid(text))
}

/// Yields what answers an interrupt, of what a request says.
async fn answer_of(asked: Interrupt, said: &Payload) -> Result<Payload, Refusal> {
    let (id, said) = (asked.id(), said.clone());
    let bytes = said.len();
    let answer = offload_if_large(bytes, async move { asked.answer_of(&said) }).await?;
    answer.ok_or_else(|| {
        let text = format!("The thread waits for an answer to interrupt {id}");
        Refusal::new(StatusCode::CONFLICT, text)
    })
}

/// Yields the run that has taken its answer, or says why it has not, or is not known to have.
async fn taken(
    view: &View,
    resumed: Result<RunView, NotDone<ResumeError>>,
    asked: impl Into<RunView>,
) -> Result<RunView, Refusal> {
    let error = match resumed {
        Ok(run) => return Ok(run),
        Err(error) => error,
    };
    Err(match error {
        NotDone::Refused(ResumeError::QueueFull { scope, max }) => {
            StartError::QueueFull { scope, max }.into()
        }
        NotDone::Refused(ResumeError::NotTaken(_)) => {
            let text = "The answer could not be stored; nothing has changed";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        NotDone::Refused(ResumeError::NotStored(_)) => {
            let text = "The interrupted run has its answer, which could not be stored: it goes on \
                        when it is";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        NotDone::NotDecided { .. } | NotDone::NotKnown { .. } => {
            let text = format!("The answer is not known to be taken: {error}");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        NotDone::NoAnswer(error) => Refusal::invalid(format!("command.resume: {error}")),
        NotDone::Refused(ResumeError::NoBody) => {
            let why = view.why_no_body(&asked.into()).await;
            let text = format!("The interrupted run cannot go on: {why}");
            Refusal::new(StatusCode::CONFLICT, text)
        }
        // Somebody else has answered, or stopped it.
        _ => Refusal::busy(),
    })
}
