//! [`App::resume`]: gives a paused run of a thread its answer.

use std::sync::Arc;

use axum::http::StatusCode;
use quell::{ResumeError, RunStatus};
use quell_http::{NotDone, RunView, View, events_by_now, offload_if_large};
use uuid::Uuid;

use crate::app::App;
use crate::app::create::CreateRequest;
use crate::app::find::{Found, graph_of};
use crate::wire::interrupt::Interrupt;
use crate::wire::refusal::Refusal;

impl App {
    /// Gives the paused run of a thread its answer. Yields the run, and the number of the event
    /// behind which it goes on; none if the request has no answer, or no run of its thread waits
    /// for one.
    ///
    /// The run keeps its id: it goes on as its next attempt.
    pub(crate) async fn resume(
        &self,
        view: &View,
        request: &CreateRequest<'_>,
    ) -> Result<Option<(Found, u64)>, Refusal> {
        let answer = request.create.resume.as_ref().zip(request.thread);
        let Some((answer, thread)) = answer else { return Ok(None) };
        let graph = graph_of(view, &request.create.assistant)?;
        let id = thread;
        let Some(thread) = self.thread(view, id) else {
            return self.asks_elsewhere(view, id).await;
        };
        let making = Arc::clone(&thread);
        let _one_at_a_time = making.creating.lock().await;
        let Some((tracked, run)) = thread.paused(self.engine()) else {
            return self.asks_elsewhere(view, id).await;
        };
        if tracked.about.graph != graph.id() {
            let text = format!("assistant_id: the interrupted run is of {}", tracked.about.graph);
            return Err(Refusal::invalid(text));
        }
        let Some(pause) = run.pause_state() else { return Err(Refusal::busy()) };
        let asked = Interrupt::new(run.id(), pause.attempt, pause.request);
        let (id, said) = (asked.id(), answer.clone());
        let bytes = said.len();
        let answer = offload_if_large(bytes, async move { asked.answer_of(&said) }).await?;
        let Some(answer) = answer else {
            let text = format!("The thread waits for an answer to interrupt {id}");
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        };
        // Nothing is written while it is paused.
        let last = events_by_now(&run, 0).map(|event| event.seq).max().unwrap_or(0);
        let view = self.owner_view(view, &thread);
        let resumed = view.resume_attempt(&run, pause.attempt, answer).await;
        let run = resumed.map_err(|error| match error {
            NotDone::Refused(ResumeError::QueueFull { .. }) => Refusal::too_many(),
            NotDone::Refused(ResumeError::NotTaken(_) | ResumeError::NotStored(_)) => {
                let text = "The answer could not be stored";
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            NotDone::Refused(ResumeError::NoBody) => {
                let text =
                    "The run was interrupted by an earlier process, and cannot go on in this one";
                Refusal::new(StatusCode::CONFLICT, text)
            }
            // Somebody else has answered, or stopped it.
            _ => Refusal::busy(),
        })?;
        Ok(Some((Found { run, tracked, thread: Some(thread) }, last)))
    }

    /// Looks whether a run of a thread asks that another node has, which alone takes the answer:
    /// then the request is refused, and names it. Yields none otherwise.
    async fn asks_elsewhere<T>(&self, view: &View, thread: Uuid) -> Result<Option<T>, Refusal> {
        if self.engine().node().is_none() {
            return Ok(None);
        }
        let is_paused = |run: &RunView| run.status() == RunStatus::Paused;
        let asking = self.stored_of(view, thread, 1, is_paused).await?;
        let Some(asking) = asking.first() else { return Ok(None) };
        let text = format!("The thread is interrupted: {}", view.owner_of(&asking.run).await);
        Err(Refusal::new(StatusCode::CONFLICT, text))
    }
}
