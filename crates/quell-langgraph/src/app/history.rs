//! [`App::history`]: the states that the runs of a thread have left (contract, section 4).
//!
//! Each run that has ended, or asks something, has left one: its values. A run that was rolled back
//! or deleted has left none, and neither has one that the engine and the store have forgotten, but
//! for the last one, whose values are those of the thread.

use std::sync::Arc;

use quell::{RunRow, RunStatus};
use quell_http::{RunView, View};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::app::find::Located;
use crate::app::stored::is_taken_back;
use crate::threads::{Mark, Thread, Tracked};
use crate::values::Values;
use crate::wire::asked::{Asked, base_of};
use crate::wire::exact::{Keys, written};
use crate::wire::interrupt::Interrupt;
use crate::wire::refusal::Refusal;
use crate::wire::rows::thread_error;
use crate::wire::state::StateParts;

/// A state of a thread, and its values.
pub(crate) type State = (StateParts, Option<Arc<Values>>);

/// What is known of a state before its values are read.
#[derive(Clone, Debug)]
struct Known {
    id: Uuid,
    mark: Option<Mark>,
    is_paused: bool,
    parts: StateParts,
    from: From,
}

/// Where the values of a state are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Run,
    /// The run has been forgotten: what it left is in its thread.
    Thread,
    /// The thread was made with them.
    Base,
}

impl App {
    /// Lists states of a thread, the newest first: those before one, or all; at most so many of
    /// those that are meant, which are asked with their metadata.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or has not all of it.
    pub(crate) async fn history(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        (limit, before): (usize, Option<Uuid>),
        mut is_meant: impl FnMut(&Keys) -> bool + Send,
    ) -> Result<Vec<State>, Refusal> {
        let known = self.known_states(view, thread).await?;
        let begin = match before {
            Some(before) => known.iter().position(|known| known.id == before).map(|at| at + 1),
            None => Some(0),
        };
        let known = known.into_iter().skip(begin.unwrap_or(usize::MAX));
        let mut found = Vec::new();
        let (mut weight, mut room) = (0, None);
        for known in known.filter(|it| it.parts.metadata.parse().is_ok_and(|keys| is_meant(&keys)))
        {
            if found.len() >= limit {
                break;
            }
            let values = self.values_of(view, thread, &known).await?;
            weight += values.as_deref().map_or(0, crate::values::bytes_of);
            // What is held is no more than may be answered.
            drop(room.replace(view.room_now(weight)?));
            found.push((known.parts, values));
        }
        Ok(found)
    }

    /// Yields a state of a thread: this one, or the last one.
    ///
    /// # Errors
    ///
    /// As [`App::history`].
    pub(crate) async fn state(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        id: Option<Uuid>,
    ) -> Result<Option<State>, Refusal> {
        let known = self.known_states(view, thread).await?;
        let known = known.into_iter().find(|known| id.is_none_or(|id| known.id == id));
        let Some(known) = known else { return Ok(None) };
        let values = self.values_of(view, thread, &known).await?;
        Ok(Some((known.parts, values)))
    }

    /// Lists what is known of the states of a thread, the newest first, each with its parent.
    async fn known_states(&self, view: &View, thread: &Arc<Thread>) -> Result<Vec<Known>, Refusal> {
        let view = self.owner_view(view, thread);
        let (mut known, mut next) = (Vec::new(), None);
        let left = |run: &RunView| {
            let row = run.row();
            let has_left = row.status.is_terminal() || row.status == RunStatus::Paused;
            has_left && row.started_at.is_some() && !run.is_rolled_back() && !is_taken_back(run)
        };
        let shown = |run: &RunView| left(run) && !self.hidden().has(run.id());
        for _ in 0..PARTS_MAX {
            let page = view.list_with_inputs(of_thread(thread.id), PART, next, shown).await?;
            known.extend(page.runs.iter().filter_map(|run| self.known_of(run, thread.id)));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let last = thread.left_values(self.engine());
        let is_there = |mark: Mark| known.iter().any(|known| known.mark == Some(mark));
        if let Some((mark, Some(_))) = last.filter(|(mark, _)| !is_there(*mark)) {
            known.push(bare(thread, mark.run().as_uuid(), Some(mark), From::Thread));
        }
        known.sort_by_key(|known| std::cmp::Reverse((known.is_paused, known.mark, known.id)));
        if thread.card().base.is_some() && next.is_none() {
            known.push(bare(thread, Uuid::new_v5(&thread.id, b"base"), None, From::Base));
        }
        let ids: Vec<_> = known.iter().map(|known| known.id).collect();
        for (nth, known) in known.iter_mut().enumerate() {
            known.parts.parent = ids.get(nth + 1).copied();
            let mut metadata: Keys = known.parts.metadata.parse().unwrap_or_default();
            metadata.insert("step".to_owned(), json!(ids.len() - 1 - nth).into());
            known.parts.metadata = written(&metadata);
        }
        Ok(known)
    }

    fn known_of(&self, run: &RunView, thread: Uuid) -> Option<Known> {
        let asked = Asked::of(run)?;
        let row = run.row();
        let interrupt = Interrupt::of(run);
        let mut metadata: Keys = asked.metadata.parse().unwrap_or_default();
        let source = if asked.is_update { "update" } else { "loop" };
        let run_id = run.id().to_string();
        let own = [("source", json!(source)), ("run_id", json!(run_id)), ("parents", json!({}))];
        metadata.extend(own.map(|(key, value)| (key.to_owned(), value.into())));
        let is_cut = row.status != RunStatus::Completed;
        let graph = run.label(quell_flow::COMPONENT).unwrap_or_default().to_owned();
        let error = thread_error(&row, asked.limit_ms, self.options().unmasked_errors);
        let pause = run.pause_state().map(|pause| pause.attempt);
        let id = match pause {
            // What it leaves at its end is another state.
            Some(nr) => Uuid::new_v5(&run.id().as_uuid(), format!("checkpoint {nr}").as_bytes()),
            None => run.id().as_uuid(),
        };
        let parts = StateParts {
            thread,
            id,
            parent: None,
            next: is_cut.then_some(graph),
            metadata: written(&metadata),
            at: row.ended_at.or(row.started_at).unwrap_or(row.queued_at),
            interrupt,
            error: error_of(&row, &error),
        };
        let mark = row.status.is_terminal().then(|| Mark::of(&row));
        Some(Known { id, mark, is_paused: mark.is_none(), parts, from: From::Run })
    }

    /// Reads the values of a state.
    async fn values_of(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        known: &Known,
    ) -> Result<Option<Arc<Values>>, Refusal> {
        let run = match known.from {
            From::Run => run_of(known),
            From::Thread => return Ok(thread.left_values(self.engine()).and_then(|(_, it)| it)),
            From::Base => return Ok(thread.card().base),
        };
        let Some(run) = run else { return Ok(None) };
        let kept = self.find(view, Some(thread.id), run).and_then(Located::kept);
        if let Some(found) = kept {
            let values = |tracked: &Tracked| tracked.fold.lock().current().map(Arc::clone);
            if let Some(thread) = &found.thread {
                return Ok(thread
                    .look(self.engine(), &found.tracked, &found.run)
                    .current()
                    .map(Arc::clone));
            }
            // Its thread has lost it: it may keep itself what it has started on.
            let view_of = RunView::from(&found.run);
            let within = self.within(thread.id, view.component_of(&found.run));
            let tracked = Tracked::of(&view_of, within);
            let tracked = if base_of(&view_of).is_some() { tracked.adopted() } else { tracked };
            tracked.catch_up(&found.run, None);
            let row = found.run.row();
            if row.status.is_terminal() {
                let mut fold = tracked.fold.lock();
                tracked.finish(
                    tracked.service.as_ref(),
                    &mut fold,
                    &found.run,
                    row.output.as_ref(),
                );
            }
            return Ok(values(&tracked));
        }
        let stored = self.find_stored(view, Some(thread.id), run).await?;
        let Some(stored) = stored else { return Ok(None) };
        let fold = Box::pin(self.folded(view, &stored)).await?;
        Ok(fold.current().map(Arc::clone))
    }
}

/// Says in a line why a run was cut that failed.
fn error_of(row: &RunRow, error: &Value) -> Option<String> {
    if !matches!(row.status, RunStatus::Failed | RunStatus::TimedOut) {
        return None;
    }
    let part = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Some(format!("{}: {}", part("error"), part("message")))
}

fn run_of(known: &Known) -> Option<Uuid> {
    let metadata: Keys = known.parts.metadata.parse().ok()?;
    Uuid::try_parse(&metadata.get("run_id")?.parse::<String>().ok()?).ok()
}

/// Makes what is known of a state of which no run tells.
fn bare(thread: &Thread, id: Uuid, mark: Option<Mark>, from: From) -> Known {
    let source = if from == From::Base { "fork" } else { "loop" };
    let metadata = json!({ "source": source, "parents": {}, "thread_id": thread.id.to_string() });
    let parts = StateParts {
        thread: thread.id,
        id,
        parent: None,
        next: None,
        metadata: metadata.into(),
        at: mark.map_or(thread.made_at(), Mark::at),
        interrupt: None,
        error: None,
    };
    Known { id, mark, is_paused: false, parts, from }
}

/// Runs of one part of the list, and the parts that are read.
const PART: usize = 100;
const PARTS_MAX: usize = 10;
